"""align-data takedown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from align_data.cli.lines import counted
from align_data.cli.options import (
    dataset_argument,
    json_option,
    note,
    print_json,
    progress,
    resource_options,
    resources,
    tell,
    together,
)
from align_data.common.errors import DatasetError
from align_data.stages.session import session
from align_data.stages.takedown import KINDS, TakedownReport, read, takedown

_ABOUT = {
    "urls": "Image URLs, as in the input.",
    "hosts": "Hosts, including their subdomains.",
    "sha256": "SHA-256 of the fetched bytes of images.",
    "uids": "Uids: 32 hex digits for a pair, or its first 16 for an image.",
}


list_options = together(
    *(
        click.option(f"--{kind}", metavar="FILE", multiple=True, help=f"{_ABOUT[kind]} One per line. Repeatable.")
        for kind in KINDS
    )
)


@click.command("takedown", short_help="Remove pairs from a dataset and its exports, permanently.")
@dataset_argument
@list_options
@click.option(
    "--shards",
    "folders",
    multiple=True,
    metavar="FOLDER",
    help="Export of this dataset to clean as well, of everything ever taken down. Repeatable.",
)
@click.option(
    "--copies",
    is_flag=True,
    help=("Also take down pairs of other URLs whose images are byte-for-byte identical, as far as they are measured."),
)
@click.option(
    "--forget",
    is_flag=True,
    help="Also remove the keys of words and texts that only these pairs had from counts/; reads every text.",
)
@click.option("--dry-run", is_flag=True, help="Report what would be taken down; write nothing.")
@resource_options
@json_option
def command(dataset: str, folders: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Remove pairs from a dataset and its exports, permanently.

    A pair that is taken down becomes a tombstone. Its uid and its counts stay; its URL, its text and everything else
    that identifies it are erased, and so are the image's bytes, unless another pair has the same URL. Tars and shards
    that contain them are rewritten. All later stages and exports skip tombstones. A URL, a host or a SHA-256 selects
    all pairs of the image. In lists, lines that begin with # are comments.

    Damaged files are not rewritten: the pairs in them stay, the receipt names the files, and the command fails; repair
    them and run the same command again. A uid, and the keys in counts/, confirm a text to anyone who guesses it: uids
    stay, and --forget removes the keys that no pair has any more.

    A receipt in DATASET/takedowns records the request, what was found where, and each file's SHA-256 before and after.
    If the command is killed, no other command works on the dataset until a takedown, with the same lists, others or
    none, has finished it.

    \b
    Examples:
      align-data takedown laion --urls removals.txt --shards shards --dry-run
      align-data takedown laion --urls removals.txt --hosts hosts.txt --shards shards
    """
    files = {kind: paths for kind in KINDS if (paths := options.pop(kind))}
    request, work = read(files), options.get("work")
    flags = {"copies": options.pop("copies"), "forget_counts": options.pop("forget"), "dry_run": options.pop("dry_run")}
    with session(dataset, resources(options), progress(), reads=flags["dry_run"]) as (opened, engine, steps):
        report = takedown(opened, request, folders, engine, steps, **flags, work=work)
    if as_json:
        print_json(report.to_json())
    else:
        _print(report, dataset)
    if report.receipt.unread:
        number, example = len(report.receipt.unread), report.receipt.unread[0]
        raise DatasetError(
            f"this takedown is incomplete: {number:,} of the dataset's files could not be read, the first: "
            f"{example}. Pairs in them stay: repair them and run the same command again"
        )
    undone = [shards.folder for shards in report.receipt.shards if shards.note]
    if undone:
        raise DatasetError(f"taken down, but not from {', '.join(undone)}: repair that, and give --shards for it again")


def _print(report: TakedownReport, dataset: str) -> None:
    receipt = report.receipt
    for name in report.before:
        tell(f"finished an earlier takedown: {dataset}/{name}")
    for kind, counts in receipt.asked.items():
        matches = ", ".join(f"{counts[name]:,} {label}" for name, label in _MATCHES.items() if counts[name])
        same = f" (the list of {counts['same_list_as']})" if "same_list_as" in counts else ""
        tell(f"{kind}: {counts['asked']:,} requested{same}" + (f": {matches}" if matches else ""))
    if report.nothing:
        tell("nothing to do" if not report.dry_run else "nothing would be done")
        return
    tell(
        f"{'would take' if report.dry_run else 'taken'} down: {receipt.pairs:,} pairs; {receipt.images:,} images, "
        f"{receipt.fetched:,} of them fetched, {receipt.bytes:,} bytes in {receipt.tars:,} tars; "
        f"{receipt.rejected:,} rejected rows; {len(receipt.files):,} files"
    )
    erased = {"embeddings": receipt.embeddings, "marks": receipt.marks}
    for unit in filter(erased.get, erased):
        tell(counted(erased[unit], unit))
    if receipt.banned:
        tell(f"{receipt.banned:,} SHA-256 that no fetch stores again")
    for shards in receipt.shards:
        done = f"{counted(shards.pairs, 'pairs')} in {counted(len(shards.shards), 'files')}"
        tell(f"{shards.folder}: {shards.note or done}")
    tell(_same_bytes(receipt.copies, dry_run=report.dry_run))
    for kind, number in receipt.forgotten.items():
        tell(f"counts/{kind}: {number:,} keys that no pair has any more")
    if report.stored:
        note(f"receipt: {dataset}/{report.stored}")
    elif report.dry_run:
        note("nothing was written")


def _same_bytes(copies: Mapping[str, Any], *, dry_run: bool) -> str:
    if not copies.get("pairs"):
        return "the same bytes: no pair of another URL, as far as images are measured"
    later = "give --copies to take them too" if dry_run else "the receipt has their uids: --uids takes them too"
    went = f"{copies['taken']:,} of them with it" if copies["taken"] else later
    return f"the same bytes: {copies['pairs']:,} pairs of {copies['urls']:,} other URLs ({went})"


_MATCHES = {
    "found": "found",
    "taken_down_before": "taken down before",
    "rejected_only": "only among rejected rows",
    "nowhere": "found nowhere",
}
