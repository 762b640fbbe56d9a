"""align-data crawl."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from align_data.cli import render
from align_data.cli.dry_run import capacity, dry_run_option, print_dry_run
from align_data.cli.options import (
    Number,
    json_option,
    names,
    note,
    print_json,
    progress,
    resource_options,
    resources,
    tell,
    together,
    typed_options,
)
from align_data.common.errors import InputError
from align_data.sources.crawl.inputs import ArchiveSelection
from align_data.sources.crawl.pages.texts import TEXTS
from align_data.sources.crawl.reasons import GIVEN_UP
from align_data.sources.crawl.settings import KINDS, CrawlSettings
from align_data.storage.store import Store

if TYPE_CHECKING:
    from align_data.data.html_texts import Rewriting
    from align_data.sources.crawl.accounts import CrawlTotal
    from align_data.sources.lists import Choice, Reading
    from align_data.stages.crawl import CrawlReport
    from align_data.stages.ingest import Parts
    from align_data.stages.pipeline import Intake

_NAMED = 5
"""Archives that are named one by one, of those that something is wrong with."""


def _texts(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Return which texts rows are made of, each once, in the order of an image's."""
    wanted = names(ctx, param, values)
    for each in wanted:
        if each not in TEXTS:
            raise click.BadParameter(f"{each!r} is not one of {', '.join(TEXTS)}", ctx, param)
    return tuple(text for text in TEXTS if text in wanted)


archive_options = together(
    click.option(
        "--from",
        "kind",
        type=click.Choice(KINDS),
        help="What the archives are (default: told by their records).",
    ),
    click.option(
        "--prefix",
        metavar="URL",
        help="Where the paths of a list such as warc.paths.gz begin: https://data.commoncrawl.org, s3://commoncrawl "
        "or a folder.",
    ),
    click.option(
        "--sample",
        type=Number(0, 1, min_open=True),
        metavar="SHARE",
        help="Read only this share of the archives, at least one; a larger share contains a smaller one.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(0, 2**63 - 1),
        default=0,
        show_default=True,
        help="Which archives --sample takes: the same on every machine.",
    ),
    click.option(
        "--text",
        "texts",
        multiple=True,
        default=("alt",),
        metavar="TEXT[,TEXT...]",
        callback=_texts,
        help="Texts of an image to make rows of, one each: alt, title, caption (default: alt).",
    ),
    click.option(
        "--page-seconds",
        type=Number(0.1, 3600),
        default=CrawlSettings().page_seconds,
        show_default=True,
        help="Time that one page may take; one that takes more is counted as page_too_costly.",
    ),
)
"""Options that say which archives are read, and what of them."""


def selection_of(options: dict[str, Any]) -> ArchiveSelection:
    """Take which archives are read out of a command's options."""
    return ArchiveSelection(*(options.pop(name) for name in ("kind", "prefix", "sample", "seed")))


def intake_of(
    inputs: tuple[str, ...],
    choice: Choice,
    parts: Parts,
    read: Reading,
    rewriting: Rewriting,
    options: dict[str, Any],
) -> Intake:
    """Return what goes into a dataset, with what a command's options say of archives."""
    from align_data.stages.pipeline import Intake  # noqa: PLC0415 - this command itself needs none of it

    typed = typed_options("kind", "prefix", "sample", "seed", "texts", "page_seconds")
    selection = selection_of(options)
    return Intake(inputs, choice, parts, read, selection if typed else None, settings_of(options), rewriting)


def settings_of(options: dict[str, Any]) -> CrawlSettings:
    """Take what is read of archives out of a command's options."""
    return CrawlSettings(options.pop("texts"), options.pop("page_seconds"))


@click.command("crawl", short_help="Read WARC and WAT archives of a web crawl into rows of images.")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--out", required=True, metavar="ROWS", help="The folder or fsspec URL for the rows.")
@archive_options
@dry_run_option
@resource_options
@json_option
def command(inputs: tuple[str, ...], out: str, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Read WARC and WAT archives of a web crawl into rows of images, which align-data ingest takes.

    INPUT is a .warc, .warc.gz or .wat.gz file, a folder, a pattern, an fsspec URL, or a list of paths such as Common
    Crawl's warc.paths.gz, with --prefix. ROWS/data gets a Parquet table of each archive; ROWS itself an account of
    each, and one of all: every record is a page, skipped or damaged, and every image a row, refused with a reason, or
    repeated on its page.

    If it is stopped, repeat the command: it continues with the archives that are not read. One that has changed is read
    again. One that cannot be read does not stop the others; the command then ends with exit code 1.

    \b
    Examples:
      align-data crawl archives/ --out rows
      align-data crawl wat.paths.gz --prefix https://data.commoncrawl.org --sample 0.01 --seed 7 --out rows
      align-data ingest rows --out my-dataset
    """
    from align_data.stages.crawl import crawl  # noqa: PLC0415 - --help needs none of it
    from align_data.stages.session import session  # noqa: PLC0415

    selection, settings = selection_of(options), settings_of(options)
    if dry_run:
        from align_data.stages.forecast.of_dataset import forecast_crawl  # noqa: PLC0415

        spent = resources(options)
        result = forecast_crawl(inputs, selection, Store(out, spent.work), capacity(spent))
        print_dry_run(result, as_json=as_json)
        return
    with session(out, resources(options), progress(), create=True) as (dataset, engine, steps):
        report = crawl(inputs, selection, dataset.store, engine, steps, settings)
    total = report.total
    if as_json:
        print_json(crawled_json(report))
    else:
        print_crawled(total)
    require_read(total)
    if not as_json:
        note(f"next: align-data ingest {shlex.quote(out)} --out DATASET")


def crawled_json(report: CrawlReport) -> dict[str, Any]:
    """Return a crawl's account as JSON, with how many archives this run has read."""
    return {**report.total.to_json(), "read": report.read}


def print_crawled(total: CrawlTotal) -> None:
    """Print what became of the archives, and what is wrong with some."""
    for line in render.crawl_account(total.archives, total.account):
        tell(line)
    for record in total.lost[:_NAMED]:
        note(f"{record['archive']}: {record['reason']} at byte {record['offset']:,}")
    number = total.account.damaged.total() + sum(total.account.skipped[reason] for reason in GIVEN_UP)
    if number > _NAMED:
        note(f"and {number - _NAMED:,} more damaged records and pages; the account of each archive names its first")
    if total.cut_short:
        note(f"cut short, so perhaps not downloaded to the end: {_few(total.cut_short)}")
    if not total.account.rows:
        note("no image of these archives makes a row; the reasons are in the account")


def _few(listed: list[str]) -> str:
    more = f" and {len(listed) - _NAMED:,} more" if len(listed) > _NAMED else ""
    return f"{', '.join(listed[:_NAMED])}{more}"


def require_read(total: CrawlTotal) -> None:
    """Raise InputError where an archive could not be read."""
    if not total.unread:
        return
    for each in total.unread[:_NAMED]:
        note(each.sentence)
    raise InputError(
        f"{len(total.unread):,} of {total.archives + len(total.unread):,} archives could not be read: run the command "
        "again to try these, or leave them out and choose another --out"
    )
