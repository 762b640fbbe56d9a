"""align-data compare."""

from __future__ import annotations

from typing import Any

import click

from align_data.cli.options import json_option, names, note, print_json, progress, resource_options, resources
from align_data.cli.pages import before_page, write_page
from align_data.cli.tables import console
from align_data.common.secrets import mask
from align_data.data.layout import Dataset
from align_data.stages.compare import BY, ComparedSide, UidFolder, compare, side_of_batch
from align_data.stages.session import session
from align_data.storage.store import Store


@click.command("compare", short_help="Compare two datasets, or two batches: pairs, images, link rot.")
@click.argument("a", metavar="A")
@click.argument("b", metavar="[B]", required=False)
@click.option("--batches", nargs=2, metavar="BATCH BATCH", help="Compare two batches of A.")
@click.option("--recipe", "ledger", metavar="LEDGER", help="Compare the verdicts of this ledger, which both have.")
@click.option(
    "--by",
    multiple=True,
    metavar="SIGNAL[,SIGNAL...]",
    callback=names,
    help=f"Divide the pairs by these alone, of {', '.join(BY)} (default: all of them).",
)
@click.option(
    "--export-intersection",
    "folder",
    metavar="FOLDER",
    help="Write the uids of the pairs in both to this new folder: Parquet files, and uids.txt with one a line.",
)
@click.option("--same-images", is_flag=True, help="Write only the uids of pairs whose images have the same bytes.")
@click.option(
    "--html",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write a page for the browser to this file, or fsspec URL.",
)
@resource_options
@json_option
def command(
    a: str,
    b: str | None,
    batches: tuple[str, str] | None,
    ledger: str | None,
    by: tuple[str, ...],
    folder: str | None,
    same_images: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare two datasets, or two batches of one.

    Counts the pairs that both have and those that only one has; the URLs in both whose texts differ; of the images that
    both have fetched those with the same bytes, with others, or of another size; and link rot: how many URLs that were
    alive in A still are in B, and why not. Pairs are divided by host, language and script.

    A batch is the pairs that were first in it: a pair that two batches have is of the earlier one, and counted as
    merged in the account of the later one.

    \b
    Examples:
      align-data compare laion-january laion-june
      align-data compare laion-january laion-june --recipe align --html compare.html
      align-data compare laion --batches 1 2026-12
      align-data compare ours theirs --export-intersection both --same-images
    """
    html: str | None = options.pop("html")
    _check(b, batches, by, folder, same_images)
    uids = None if folder is None else UidFolder(folder, same_images=same_images)
    if html is not None:
        before_page(html)
    if uids is not None:
        uids.check()
    with session(a, resources(options), progress(), reads=True) as (opened, engine, steps):
        if batches:
            side_a, side_b = (side_of_batch(opened, name, ledger) for name in batches)
        else:
            assert b is not None
            side_a, side_b = (ComparedSide(dataset, None, ledger) for dataset in (opened, Dataset(Store(b))))
        comparison = compare(side_a, side_b, engine, steps, by=by or BY, folder=uids)
    if html is not None:
        from align_data.report import comparison_html  # noqa: PLC0415 - for those who want a page

        write_page(html, comparison_html(comparison))
    if as_json:
        print_json(comparison.to_json())
        return
    from align_data.cli.compared_tables import print_comparison  # noqa: PLC0415 - JSON needs no tables

    print_comparison(console(), comparison)
    if comparison.exported is not None:
        note(f"wrote {comparison.exported.uids:,} uids to {mask(comparison.exported.folder)}")


def _check(
    b: str | None, batches: tuple[str, str] | None, by: tuple[str, ...], folder: str | None, same_images: bool
) -> None:
    """Refuse options that do not go together."""
    if (b is None) == (not batches):
        raise click.UsageError("name two datasets, A and B, or one with two of its batches: A --batches BATCH BATCH")
    if unknown := [name for name in by if name not in BY]:
        raise click.UsageError(f"--by takes {', '.join(BY)}, and not {unknown[0]}")
    if same_images and folder is None:
        raise click.UsageError("--same-images says which uids --export-intersection writes: name a folder there")
    if batches and folder is not None:
        raise click.UsageError("no pair is in two batches: --export-intersection is of two datasets")
