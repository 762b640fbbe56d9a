"""align-data label."""

from __future__ import annotations

import click

from align_data.cli.options import dataset_argument, json_option, print_json, tell
from align_data.common.user_files import lines_of, read_user_file
from align_data.data.labels import counts, labels, mark, marked_so
from align_data.data.layout import Dataset
from align_data.signals.label import BY_HAND, MARKS, UNMARKED
from align_data.storage.store import Store

_LARGEST = 2**30
"""Bytes of a list of uids, at most."""


@click.command("label", short_help="Mark pairs by hand: keep, drop or unsure.")
@dataset_argument
@click.argument("name", required=False)
@click.argument("uids", nargs=-1, metavar="[UID]...")
@click.option("--mark", "word", type=click.Choice([*BY_HAND, UNMARKED]), help="Mark to give; unmarked takes it back.")
@click.option("--uids", "files", multiple=True, metavar="FILE", help="Uids to mark, one per line. Repeatable.")
@click.option("--show", type=click.Choice(MARKS[:-1]), help="Print the uids with this mark, one per line.")
@json_option
def command(
    dataset: str,
    name: str | None,
    uids: tuple[str, ...],
    word: str | None,
    files: tuple[str, ...],
    show: str | None,
    as_json: bool,
) -> None:
    """Mark pairs by hand under a label's NAME, or count its marks; without NAME, list the labels.

    A pair has one mark in a label: the last one. Recipes read the marks as the signal label_NAME, whose value is
    unmarked for all other pairs; `align-data audit --labels NAME` measures each rule by them. To mark needs no lock: it
    works while another command does, and a takedown erases the marks of the pairs that it takes down.

    \b
    Examples:
      align-data label laion mine --mark drop 0002100e7ebb891a10b930c2c5f8cf81
      align-data label laion mine --mark keep --uids good.txt
      align-data label laion mine --show drop
    """
    opened = Dataset(Store(dataset))
    opened.ingested()
    given = bool(uids or files)
    if (name is None and (word or show)) or given != (word is not None) or (given and show):
        raise click.UsageError("give NAME, --mark and uids to mark pairs, or NAME and --show, or NAME alone to count")
    if name is None:
        names = labels(opened)
        if as_json:
            print_json({label: counts(opened, label) for label in names})
        for label in [] if as_json else names:
            tell(f"{label}: {_words(counts(opened, label))}")
        if not names and not as_json:
            tell("no labels")
        return
    listed = [line for file in files for line in lines_of(read_user_file(file, "the list", _LARGEST), file, "the list")]
    number = mark(opened, name, [*uids, *(uid for _, uid in listed)], word) if word is not None else None
    if show is not None:
        shown = marked_so(opened, name, show)
        if as_json:
            print_json({"label": name, "mark": show, "uids": shown})
        for uid in [] if as_json else shown:
            click.echo(uid)
        return
    counted = counts(opened, name)
    if as_json:
        print_json({"label": name, "counts": counted} | ({} if number is None else {"marked": number}))
        return
    tell(f"{name}: {_words(counted)}")


def _words(counted: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {what}" for what, number in counted.items()) or "no marks"
