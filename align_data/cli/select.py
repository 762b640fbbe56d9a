"""align-data select."""

from __future__ import annotations

from typing import Any

import click

from align_data.cli.lines import counted
from align_data.cli.options import (
    dataset_argument,
    json_option,
    ledger_option,
    note,
    print_json,
    progress,
    resource_options,
    resources,
    tell,
)
from align_data.cli.selecting import draft_of, selection_options, words_of
from align_data.common.secrets import mask
from align_data.selection import DEEPEST, unheard_of
from align_data.signals.families import check_name
from align_data.signals.label import LABEL
from align_data.stages.selected import decided, keep_as_ledger, selected_uids
from align_data.stages.session import session
from align_data.storage.output_file import OutputFile


@click.command("select", short_help="Take pairs along: their uids as a list, or a ledger of their own.")
@dataset_argument
@ledger_option
@selection_options
@click.option(
    "--first",
    type=click.IntRange(1, DEEPEST),
    metavar="N",
    help="Only the first N pairs, by --nearest, --sort or --random where one of them is given.",
)
@click.option(
    "--uids",
    "file",
    metavar="FILE",
    help="Write the uids to this file or fsspec URL, one a line; - for standard output.",
)
@click.option("--as", "name", metavar="LEDGER", help="Keep the pairs as a ledger of this name, which keeps them alone.")
@resource_options
@json_option
def command(
    dataset: str, ledger: str, first: int | None, file: str | None, name: str | None, as_json: bool, **options: Any
) -> None:
    """Take the pairs of a selection along: count them, write their uids, or keep them as a ledger.

    The list of --uids, in the order of the dataset, is what `align-data takedown --uids` and `align-data label --uids`
    take. --as marks the pairs `selected` in a label of the same name and decides a ledger of the one rule that asks for
    that mark, so that `export`, `fetch`, `audit` and `diff` take them as they take any ledger.

    \b
    Examples:
      align-data select laion --recipe align --only n_words --uids short.txt
      align-data select laion --recipe align --outcome kept --random 1 --first 500 --as look-at-these
      align-data select laion --recipe align --where 'host=a.example|b.example' --uids gone.txt
    """
    words = words_of(options)
    if name is not None:
        check_name(name, LABEL)
    if file == "-" and as_json:
        raise click.UsageError("--uids - and --json both write to standard output: name a file for the uids")
    if file is not None and file != "-":
        OutputFile(file).check()
    with session(dataset, resources(options), progress(), reads=name is None) as (opened, engine, steps):
        draft, selection = draft_of(opened, ledger, words)
        of_draft, plan = decided(opened, draft, engine, steps)
        chosen = selected_uids(of_draft, draft, plan, selection, engine, steps, first)
        unheard = list(unheard_of(opened, draft.ledger, selection, progress())) if not len(chosen) else []
        if name is not None:
            keep_as_ledger(opened, draft, selection, name, chosen, engine, steps, first)
    if file == "-":
        click.echo("".join(f"{uid}\n" for uid in chosen), nl=False)
    elif file is not None:
        OutputFile(file).write("".join(f"{uid}\n" for uid in chosen).encode())
    for sentence in unheard:
        note(sentence)
    said = {"pairs": len(chosen), "uids": None if file in (None, "-") else mask(str(file)), "ledger": name}
    if as_json:
        print_json(said)
        return
    sentence = counted(len(chosen), "pairs") + (f", kept as the ledger {name}" if name is not None else "")
    (note if file == "-" else tell)(sentence)
