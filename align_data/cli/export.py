"""align-data export."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from align_data.cli.common import (
    dataset_argument,
    json_option,
    ledger_option,
    names,
    print_json,
    progress,
    resource_options,
    resources,
)
from align_data.pipeline import session
from align_data.stages.export import Format, export
from align_data.store import Store


@click.command("export", short_help="Write the kept pairs: metadata as Parquet, or their uids.")
@dataset_argument
@ledger_option
@click.option("--out", required=True, metavar="FOLDER", help="An empty or new folder, or fsspec URL.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "uids"]),
    default="parquet",
    show_default=True,
    help="Parquet: all that is known of the pairs. uids: DataComp's sorted .npy of u8,u8.",
)
@click.option(
    "--uid",
    type=click.Choice(["align-data", "source"]),
    default="align-data",
    show_default=True,
    help="For uids: ours, or the input's own ids.",
)
@click.option("--pending", type=click.Choice(["drop"]), help="Leave out the pairs for which a rule is unknown.")
@click.option("--without", multiple=True, metavar="RULE[,RULE...]", callback=names, help="Do not ask these rules.")
@resource_options
@json_option
def command(
    dataset: str,
    ledger: str,
    out: str,
    form: Format,
    uid: str,
    pending: str | None,
    without: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Write the kept pairs of a ledger: their metadata as Parquet, or their uids.

    While pairs are pending, because a signal is not measured, nothing is exported: measure it, or say --pending drop or
    --without RULE.

    \b
    Examples:
      align-data export laion --recipe align --without decodable,min_side,aspect,nsfw,eval_distance --out kept
      align-data export commonpool --recipe datacomp-basic --format uids --uid source --out subset
    """
    with session(dataset, resources(options), reads=True) as (opened, engine):
        result = export(
            opened,
            ledger,
            Store(out, options.get("work")),
            form,
            engine,
            progress(),
            without=without,
            drop_pending=pending == "drop",
            source_uid=uid == "source",
        )
    if as_json:
        print_json(asdict(result))
    else:
        left = f"; {result.pending:,} pending ones left out" if result.pending else ""
        click.echo(f"{result.pairs:,} pairs in {len(result.files):,} files in {out}{left}")
