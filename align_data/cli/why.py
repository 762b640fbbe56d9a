"""align-data why."""

from __future__ import annotations

import click

from align_data.cli import render
from align_data.cli.options import dataset_argument, json_option, note, print_json
from align_data.cli.tables import console
from align_data.data.layout import Dataset
from align_data.stages.why import OTHERS, why
from align_data.storage.store import Store


@click.command("why", short_help="Explain one pair: its values, every rule's verdict, the reasons.")
@dataset_argument
@click.argument("uid", required=False)
@click.option("--url", help="Explain all pairs with this image URL.")
@click.option("--text", help="Explain all pairs with this alt-text.")
@click.option(
    "--recipe", "ledger", metavar="LEDGER", help="Ledger whose verdicts to show (default: the dataset's only ledger)."
)
@click.option("--limit", type=click.IntRange(1), default=10, show_default=True, help="Maximum number of pairs to show.")
@click.option(
    "--others",
    "same_text",
    type=click.IntRange(0, 1000),
    default=OTHERS,
    show_default=True,
    help="Number of other images with the same text to list; 0 skips the search.",
)
@json_option
def command(
    dataset: str,
    uid: str | None,
    url: str | None,
    text: str | None,
    ledger: str | None,
    limit: int,
    same_text: int,
    as_json: bool,
) -> None:
    """Explain one pair: its values, and every rule's verdict and its reason as a sentence.

    \b
    Examples:
      align-data why laion 0002100e7ebb891a10b930c2c5f8cf81
      align-data why laion --recipe align --text "alt img"
    """
    if sum(value is not None for value in (uid, url, text)) != 1:
        raise click.UsageError("give one of UID, --url and --text")
    opened = Dataset(Store(dataset))
    if ledger is None:
        ledgers = opened.ledgers()
        if len(ledgers) > 1:
            raise click.UsageError(f"give --recipe LEDGER; the dataset has: {', '.join(ledgers)}")
        ledger = ledgers[0] if ledgers else None
    explained = why(opened, ledger, uid=uid, url=url, text=text, limit=limit, same_text=same_text)
    if as_json:
        print_json([pair.to_json() for pair in explained])
        return
    out = console()
    for pair in explained:
        render.why(out, pair)
    if len(explained) == limit:
        note(f"({limit} shown; there may be more: raise --limit)")
