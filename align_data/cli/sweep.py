"""align-data sweep."""

from __future__ import annotations

from typing import Any

import click

from align_data.cli import render
from align_data.cli.options import (
    dataset_argument,
    former_names,
    json_option,
    ledger_option,
    names,
    note,
    print_json,
    progress,
    resource_options,
    resources,
)
from align_data.cli.tables import console
from align_data.stages.audit import SweepRequest, Swept, SweptSide, SweptTable, sweep, sweep_table
from align_data.stages.session import session


def _lists(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Split each list of values at commas."""
    return tuple(names(ctx, param, (value,)) for value in values)


@click.command("sweep", short_help="Count what other thresholds would keep, without measuring or filtering again.")
@dataset_argument
@ledger_option
@click.option(
    "--signal", metavar="SIGNAL", help="Signal whose rule to vary; not needed with the --rule of a single test."
)
@click.option(
    "--values",
    multiple=True,
    metavar="V[,V...]",
    callback=_lists,
    help=(
        "Thresholds to try: vocabulary sizes for top_k, shares for top_fraction (default: a selection). With --and it "
        "is given twice: first for --signal, then for --and."
    ),
)
@click.option("--rule", metavar="RULE", help="Rule to vary, if several test the signal.")
@click.option("--op", metavar="OP", help="Operator of the test to vary, if the rule has several tests of the signal.")
@click.option(
    "--class",
    "of_class",
    metavar="CLASS",
    help="Class whose threshold to vary, for a rule with a value per class, such as en; else is all other classes.",
)
@click.option(
    "--end",
    type=click.Choice(["lower", "upper"]),
    help="End of the range to vary, for a rule with a range (default: upper).",
)
@click.option(
    "--and",
    "second",
    metavar="SIGNAL",
    help="Second signal whose rule to vary at the same time: counts every combination of both signals' values.",
)
@click.option("--and-rule", metavar="RULE", help="Rule of the second signal, if several test it.")
@click.option(
    "--and-op", metavar="OP", help="Operator of the second test, if its rule has several tests of the signal."
)
@click.option("--and-class", metavar="CLASS", help="Class of the second threshold.")
@click.option("--and-end", type=click.Choice(["lower", "upper"]), help="End of the second rule's range to vary.")
@click.option(
    "--moved",
    type=click.IntRange(0, 10_000),
    default=0,
    help="Number of pairs to show whose outcome changes between the first and the last of --values.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed that selects the pairs of --moved."
)
@resource_options
@json_option
def command(dataset: str, ledger: str, as_json: bool, **options: Any) -> None:
    """Count what other thresholds of one rule, or of two, would keep, with every other rule in force, in one scan.

    \b
    Examples:
      align-data sweep laion --recipe align --signal images_per_text --values 5,10,20
      align-data sweep laion --recipe align --signal n_words --end lower --values 2,3,4 --moved 5
      align-data sweep laion --recipe align --signal n_words --values 10,20 --and min_side --values 100,200
      align-data sweep laion --recipe laion-multi --signal similarity_b32 --class en --values 0.26,0.28,0.3
    """
    former_names(filter(None, (options[name] for name in ("signal", "rule", "second", "and_rule"))))
    ends = {"--end": options["end"], "--and-end": options["and_end"]}
    first, second = _requests(options)
    moved, seed = options.pop("moved"), options.pop("seed")
    with session(dataset, resources(options), progress(), reads=True) as (opened, engine, steps):
        swept: Swept | SweptTable = (
            sweep(opened, ledger, first, engine, steps, moved, seed)
            if second is None
            else sweep_table(opened, ledger, (first, second), engine, steps)
        )
    if as_json:
        print_json(swept.to_json())
        return
    if isinstance(swept, SweptTable):
        render.swept_table(console(), swept)
        sides: list[Swept | SweptSide] = [swept.rows, swept.columns]
    else:
        render.swept(console(), swept)
        sides = [swept]
    for side, (option, end) in zip(sides, ends.items(), strict=False):
        _note_end(side, option, end)


_CHOICES = ("signal", "rule", "op", "of_class", "end")
_SECOND = ("second", "and_rule", "and_op", "and_class", "and_end")


def _requests(options: dict[str, Any]) -> tuple[SweepRequest, SweepRequest | None]:
    """Take what is to be swept out of the options."""
    values = options.pop("values")
    first, second = ({name: options.pop(name) for name in names} for names in (_CHOICES, _SECOND))
    if not (first["signal"] or first["rule"]):
        raise click.UsageError("give --signal, --rule or both")
    if not any(second.values()):
        return _request(tuple(value for each in values for value in each), *first.values()), None
    if not (second["second"] or second["and_rule"]):
        raise click.UsageError("--and-op, --and-class and --and-end go with --and or --and-rule")
    if len(values) != 2:
        raise click.UsageError("--and needs --values twice: first those of --signal, then those of --and")
    if options["moved"]:
        raise click.UsageError("--moved is of one signal: leave out --and")
    return _request(values[0], *first.values()), _request(values[1], *second.values())


def _request(
    values: tuple[str, ...], signal: str | None, rule: str | None, op: str | None, of_class: str | None, end: str | None
) -> SweepRequest:
    return SweepRequest(signal, values, rule, end != "lower", op, of_class)


def _note_end(side: Swept | SweptSide, option: str, end: str | None) -> None:
    """Note which end of a range was varied, and where an end was chosen of what has none."""
    if end is not None and not side.ranged:
        note(f"{side.rule} has no range, so {option} {end} has no effect")
    elif side.ranged:
        note(f"the {end or 'upper'} end of {side.rule} was varied; {option} selects the other")
