"""align-data filter."""

from __future__ import annotations

import shlex
from typing import Any

import click

from align_data.cli.options import (
    dataset_argument,
    decision_options,
    json_option,
    note,
    print_json,
    progress,
    resource_options,
    resources,
    tell,
)
from align_data.cli.recipe_argument import decision_of
from align_data.stages.audit import audit
from align_data.stages.decision import decide_ledger
from align_data.stages.session import session


@click.command("filter", short_help="Apply a recipe: decide every pair, and record why.")
@dataset_argument
@decision_options
@resource_options
@json_option
def command(
    dataset: str,
    recipe: str,
    overrides: tuple[str, ...],
    off: tuple[str, ...],
    name: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Apply a recipe: decide every pair, and record why.

    The ledger DATASET/verdicts/LEDGER records, for every pair, the rules that it fails and those that are unknown
    because their signal is not measured. Nothing is measured, so trying another threshold is one quick scan.

    \b
    Examples:
      align-data filter laion --recipe align
      align-data filter laion --recipe align --set n_words.between=2,30 --without nsfw --as loose
    """
    decision = decision_of(recipe, dataset, overrides, off, name)
    with session(dataset, resources(options), progress()) as (opened, engine, steps):
        decide_ledger(decision, opened, engine, steps)
        result = audit(opened, decision.ledger)
    counts = {"kept": result.kept, "dropped": result.dropped, "pending": result.pending}
    if as_json:
        print_json({"ledger": decision.ledger, "pairs": result.pairs, **counts})
        return
    tell(f"{decision.ledger}: " + ", ".join(f"{number:,} {outcome}" for outcome, number in counts.items()))
    for line in result.notes:
        note(line)
    note(f"next: align-data audit {shlex.quote(dataset)} --recipe {decision.ledger}")
