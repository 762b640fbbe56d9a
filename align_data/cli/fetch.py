"""align-data fetch."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click
from rich.table import Table

from align_data.cli.dry_run import capacity, dry_run_option, print_dry_run
from align_data.cli.fetch_policy import limits_of, policy_of, policy_options
from align_data.cli.options import (
    dataset_argument,
    json_option,
    note,
    print_json,
    progress,
    resource_options,
    resources,
    together,
    typed_options,
)
from align_data.cli.sight import SIGHT, sight_of, sight_options
from align_data.cli.tables import console
from align_data.common.errors import DatasetError
from align_data.content.plan import Sight
from align_data.data.layout import Dataset
from align_data.decoding.inspected import Smaller
from align_data.engines.resources import Resources
from align_data.fetching.client import Policy
from align_data.fetching.fetchers import FETCHERS, OWN, described, handler_of
from align_data.fetching.keeping import Keeping
from align_data.fetching.limits import Limits
from align_data.stages.fetch import FetchReport, fetch, urls_to_fetch
from align_data.stages.pipeline import measure_images
from align_data.stages.session import session


class KeepType(click.ParamType[int | str]):
    """What is stored of images: original, none, or pixels of the shorter side."""

    name = "keep"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return the word or the number of pixels."""
        if value in ("original", "none"):
            return str(value)
        if not re.fullmatch(r"[0-9]{1,5}", str(value)) or not 1 <= int(value) <= 16_384:
            self.fail(f"{value!r} is not original, none, or a number of pixels from 1 to 16384", param, ctx)
        return int(value)


look_options = together(
    click.option("--look", is_flag=True, help="Also measure images, as they arrive: what align-data measure would do."),
    click.option(
        "--keep",
        type=KeepType(),
        default="original",
        metavar="original|WIDTH|none",
        help="What to store: the bytes as fetched (default); images shrunk to a shorter side of WIDTH pixels, "
        "smaller ones as fetched; or nothing. The last two imply --look: what is measured is the original.",
    ),
    click.option(
        "--keep-format",
        type=click.Choice(["jpeg", "webp"]),
        default="jpeg",
        show_default=True,
        help="Format of images that --keep WIDTH shrinks.",
    ),
    click.option(
        "--keep-resample",
        type=click.Choice(["bicubic", "area"]),
        default="bicubic",
        show_default=True,
        help="What shrinks them, as in align-data export --resample.",
    ),
    click.option(
        "--keep-quality", type=click.IntRange(1, 100), default=95, show_default=True, help="Quality of these."
    ),
    click.option(
        "--drop-failing",
        is_flag=True,
        help="Do not store images that a rule of the ledger fails. Implies --look: what is measured stays, and so does "
        "every verdict.",
    ),
)
"""Options that say what becomes of the images."""
_SHRINKING = ("keep_format", "keep_quality", "keep_resample")
"""Names of those that only --keep WIDTH heeds."""


@click.command("fetch", short_help="Fetch the images that pairs still need, politely and safely.")
@dataset_argument
@click.option(
    "--recipe",
    "ledger",
    metavar="LEDGER",
    help="Fetch what this ledger does not drop: a recipe's name, or a name given by --as.",
)
@click.option("--all", "everything", is_flag=True, help="Fetch every image, regardless of any ledger.")
@click.option(
    "--of-dropped",
    is_flag=True,
    help="Fetch only a sample (--sample) of the images that the ledger drops, some for each rule, to look at in "
    "align-data audit --html.",
)
@click.option("--sample", type=click.IntRange(1, 1_000_000), metavar="IMAGES", help="Images that --of-dropped fetches.")
@click.option(
    "--fetcher",
    type=click.Choice(list(FETCHERS)),
    default=OWN.name,
    show_default=True,
    help=described(),
)
@policy_options
@look_options
@sight_options
@dry_run_option
@resource_options
@json_option
def command(
    dataset: str, ledger: str | None, everything: bool, fetcher: str, dry_run: bool, as_json: bool, **options: Any
) -> None:
    """Fetch the images that pairs still need, politely and safely.

    Images of pairs that the ledger drops are not requested. Every URL gets a status and a reason in DATASET/images; the
    bytes are stored in tars in DATASET/bytes, unchanged unless --keep says otherwise. Repeating the command retries
    only what can have changed: timeouts, server errors, and what a changed policy (--allow-network, --max-bytes,
    --formats, --ignore-opt-out, --robots, --keep) now allows.

    \b
    Examples:
      align-data fetch laion --recipe align --contact me@example.org
      align-data fetch laion --all --connections 256
      align-data fetch laion --recipe align --look --keep 384
      align-data fetch laion --recipe align --of-dropped --sample 500
    """
    of_dropped, sample = options.pop("of_dropped"), options.pop("sample")
    _check_sample(of_dropped, sample)
    if not of_dropped and (ledger is None) == (not everything):
        raise click.UsageError("give either --recipe LEDGER or --all")
    _able(fetcher)
    chunk, policy, limits = options.pop("chunk"), policy_of(options), limits_of(options)
    keeping = _keeping(options)
    drop_failing = options.pop("drop_failing")
    if drop_failing and of_dropped:
        raise click.UsageError("--drop-failing would not store what --of-dropped fetches")
    if drop_failing and ledger is None:
        raise click.UsageError("--drop-failing needs --recipe LEDGER, whose rules images may fail")
    sight = _looking(options, keeping.reduces or drop_failing)
    if dry_run:
        _print_dry_run(dataset, ledger, policy, limits, keeping, sample, resources(options), as_json=as_json)
        return
    with session(dataset, resources(options), progress()) as (opened, engine, steps):
        ledger = _only_ledger(opened) if of_dropped and ledger is None else ledger
        report = fetch(
            *(opened, ledger, policy, limits, engine, steps, chunk, handler_of(fetcher)),
            *(sight, keeping),
            drop_failing=drop_failing,
            of_dropped=sample,
        )
        if sight is not None:
            measure_images(opened, engine, steps, sight)
    if as_json:
        print_json(asdict(report))
        return
    print_fetched(report)
    if of_dropped:
        note(_sampled(report.sampled))
    if report.retryable:
        note(f"{report.retryable:,} can be retried: run the same command again")
    quoted = shlex.quote(dataset)
    after = f"measure {quoted}" if sight is None else f"filter {quoted} --recipe NAME"
    note(f"next: align-data {f'audit {quoted} --recipe {ledger} --html audit.html' if of_dropped else after}")


def _print_dry_run(
    dataset: str,
    ledger: str | None,
    policy: Policy,
    limits: Limits,
    keeping: Keeping,
    of_dropped: int | None,
    spent: Resources,
    *,
    as_json: bool,
) -> None:
    """Tell which URLs would be asked for, and what that takes."""
    from align_data.stages.forecast.of_dataset import forecast_fetch  # noqa: PLC0415 - a fetch needs none of it

    with session(dataset, spent, progress(), reads=True) as (opened, engine, steps):
        ledger = _only_ledger(opened) if of_dropped is not None and ledger is None else ledger
        hosts = urls_to_fetch(opened, ledger, policy, limits, engine, steps, keeping=keeping, of_dropped=of_dropped)
        result = forecast_fetch(opened, hosts, capacity(spent, limits))
    print_dry_run(result, as_json=as_json)


def _check_sample(of_dropped: bool, sample: int | None) -> None:
    if of_dropped and sample is None:
        raise click.UsageError("--of-dropped needs --sample IMAGES: how many to fetch, such as --sample 500")
    if sample is not None and not of_dropped:
        raise click.UsageError("--sample needs --of-dropped; without it all images are fetched that are needed")


def _only_ledger(dataset: Dataset) -> str:
    """Return the dataset's ledger; DatasetError where there is none, or more than one."""
    ledgers = dataset.ledgers()
    if len(ledgers) == 1:
        return ledgers[0]
    raise DatasetError(
        f"--of-dropped needs --recipe LEDGER, which drops them; there are: {', '.join(ledgers) or 'none'}"
    )


def _keeping(options: dict[str, Any]) -> Keeping:
    """Take out what is to be stored; a format or quality that nothing would have is refused."""
    keep, form, quality, resampling = (options.pop(name) for name in ("keep", *_SHRINKING))
    if not isinstance(keep, int):
        if idle := typed_options(*_SHRINKING):
            raise click.UsageError(f"{idle[0]} needs --keep WIDTH; otherwise nothing is encoded")
        return Keeping(keep)
    return Keeping(Smaller(keep, form, quality, resampling))


def _looking(options: dict[str, Any], implied: bool) -> Sight | None:
    """Take out how images are looked at; None where they are not."""
    looks, idle = options.pop("look") or implied, typed_options(*SIGHT)
    if idle and not looks:
        raise click.UsageError(f"{idle[0]} needs --look; otherwise nothing is measured")
    sight = sight_of(options)
    return sight if looks else None


_RESPECTED = {
    "robots_disallowed": "disallowed by robots.txt",
    "opted_out": "opted out",
    "rate_limited": "to be asked later",
}
"""Statuses of URLs that are left out because their hosts ask for that."""


def _respected(statuses: Mapping[str, int]) -> str:
    """Say how many URLs are left out because their hosts ask for that."""
    return ", ".join(f"{statuses[status]:,} {words}" for status, words in _RESPECTED.items() if status in statuses)


def _able(fetcher: str) -> None:
    """Refuse options that the fetcher knows nothing of."""
    handler_of(fetcher)
    if ignored := typed_options(*FETCHERS[fetcher].ignored):
        raise click.UsageError(f"the fetcher {fetcher} does not support {ignored[0]}")
    if "robots" in FETCHERS[fetcher].ignored:
        note(f"the fetcher {fetcher} requests no robots.txt")


def _sampled(rules: Mapping[str, int]) -> str:
    if not any(rules.values()):
        return "no image is dropped: each has a pair that the ledger does not drop"
    by_rule = ", ".join(f"{rule} {number:,}" for rule, number in rules.items())
    return f"images of the sample, by a rule that drops them (one can be dropped by several): {by_rule}"


def print_fetched(report: FetchReport) -> None:
    """Print what became of the URLs, and say what was left out as hosts ask."""
    table = Table("status", title=f"{report.asked:,} images requested", title_justify="left")
    table.add_column("now", justify="right")
    table.add_column("all images", justify="right")
    for status, number in sorted(report.statuses.items(), key=lambda item: -item[1]):
        table.add_row(status, f"{report.outcomes.get(status, 0):,}", f"{number:,}")
    console().print(table)
    if respected := _respected(report.statuses):
        note(f"left out as their hosts ask: {respected}")
