"""align-data audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from align_data.cli import render
from align_data.cli.marked import render_marked
from align_data.cli.options import (
    dataset_argument,
    json_option,
    ledger_option,
    note,
    print_json,
    progress,
    resource_options,
    resources,
)
from align_data.cli.pages import before_page, page_options, write_page
from align_data.cli.selecting import DRAFTED, draft_of, pair_json, render_selected, selection_options, words_of
from align_data.cli.tables import console
from align_data.common.secrets import mask
from align_data.engines.resources import Resources
from align_data.report import audit_html, selected_html
from align_data.selection import columns_of, select, unheard_of
from align_data.selection.draft import Words
from align_data.stages.audit import (
    Audit,
    MarkedAudit,
    NearMethod,
    audit,
    examples,
    marked,
    near_duplicates,
    survey,
)
from align_data.stages.selected import decided
from align_data.stages.session import session


@click.command("audit", short_help="Show what each rule of a recipe did.")
@dataset_argument
@ledger_option
@click.option("--overlap", is_flag=True, help="Also show how many pairs fail both of two rules.")
@click.option(
    "--examples",
    "number",
    type=click.IntRange(0, 1_000_000),
    default=0,
    help="Number of pairs to show for each rule that only that rule drops.",
)
@click.option("--near", is_flag=True, help="Also show near-duplicates: what thresholds drop, and the largest groups.")
@click.option(
    "--labels",
    "label",
    metavar="NAME",
    help="Also show how right each rule is by the marks of this label (align-data label): precision and recall.",
)
@selection_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "html"]),
    default="table",
    show_default=True,
    help="What to print: of pairs that are selected, of the summary else.",
)
@page_options
@resource_options
@json_option
def command(dataset: str, ledger: str, overlap: bool, number: int, near: bool, as_json: bool, **options: Any) -> None:
    """Show what each rule of a recipe did, exactly, from the ledger alone.

    For each rule: its test, how many pairs fail it, how many fail only it, for how many it is unknown, and how many
    pairs pass all rules up to it. A star marks thresholds that were chosen rather than published.

    --html writes a page, one file that works offline: the funnel, how rules overlap, what other thresholds would keep,
    samples with pictures, who is removed, the pool's extremes, the largest groups of near-duplicates, how it was made.
    It needs the extra report.

    --where, --only, --but, --outcome, --moved, --nearest, --sort and --random show pairs in place of the summary: how
    many there are, and --samples of them. `align-data select` takes them along.

    \b
    Examples:
      align-data audit laion --recipe align --examples 5
      align-data audit laion --recipe align --html report.html
      align-data audit laion --recipe align --where 'host=a.example' --only n_words --samples 20 --format json
    """
    label: str | None = options.pop("label")
    form: str = options.pop("form")
    words = words_of(options)
    output = _Output("json" if as_json else form, options.pop("html"), pictures=options.pop("pictures"))
    samples, seed = options.pop("samples"), options.pop("seed")
    if words:
        if overlap or number or near or label is not None:
            raise click.UsageError(
                "--overlap, --examples, --near and --labels are of the summary: leave out what selects"
            )
        if all(name in DRAFTED for name, _ in words):
            raise click.UsageError(
                "--set, --without and --with go with what selects pairs, such as --moved kept-dropped; "
                "to count what other thresholds keep, use `align-data sweep`"
            )
        _print_pairs(dataset, ledger, words, samples, output, resources(options))
        return
    if output.page:
        before_page(output.html)
    with session(dataset, resources(options), progress(), reads=True) as (opened, engine, steps):
        result = audit(opened, ledger)
        dropped_alone = examples(opened, ledger, number) if number else {}
        by_hand = marked(opened, ledger, label, engine, steps) if label is not None else None
        methods = near_duplicates(opened, engine, steps) if near else None
        if output.page:
            surveyed = survey(opened, ledger, engine, steps, samples, seed)
            write_page(output.html, audit_html(surveyed, opened, steps, pictures=output.pictures))
    if output.form == "json":
        also: dict[str, Any] = {"examples": dropped_alone} if number else {}
        also |= {"near_duplicates": [method.to_json() for method in methods]} if methods is not None else {}
        also |= {"labels": by_hand.to_json()} if by_hand is not None else {}
        print_json({**result.to_json(), **also})
    elif output.form == "table":
        _print_tables(result, methods, dropped_alone, by_hand, overlap=overlap)


@dataclass(frozen=True)
class _Output:
    """What is printed, and the page's file where one is named."""

    form: str
    html: str | None
    pictures: bool

    @property
    def page(self) -> bool:
        """Whether a page is made."""
        return self.html is not None or self.form == "html"


def _print_tables(
    result: Audit,
    methods: Sequence[NearMethod] | None,
    dropped_alone: dict[str, list[dict[str, Any]]],
    by_hand: MarkedAudit | None,
    *,
    overlap: bool,
) -> None:
    out = console()
    render.audit(out, result)
    if overlap:
        render.overlap(out, result)
    if by_hand is not None:
        render_marked(out, by_hand)
    if methods is not None:
        render.near_duplicates(out, methods)
    render.examples(out, dropped_alone)


def _print_pairs(dataset: str, ledger: str, words: Words, samples: int, output: _Output, resources: Resources) -> None:
    """Show the pairs of a selection, in place of the summary."""
    if output.page:
        before_page(output.html)
    with session(dataset, resources, progress(), reads=True) as (opened, engine, steps):
        draft, selection = draft_of(opened, ledger, words)
        of_draft, plan = decided(opened, draft, engine, steps)
        beside = {"nsfw"} & set(columns_of(of_draft, plan)) if output.page else ()
        chosen = select(of_draft, draft.ledger, plan, selection, engine, steps, number=samples, beside=beside)
        unheard = list(unheard_of(opened, draft.ledger, selection, steps)) if not chosen.total else []
        if output.page:
            title = mask(" ".join(f"{name}={value}" for name, value in words))
            write_page(output.html, selected_html(chosen, plan, title, opened, steps, pictures=output.pictures))
    if output.form == "json":
        print_json({"total": chosen.total, "pairs": [pair_json(pair) for pair in chosen.pairs]})
    elif output.form == "table":
        render_selected(console(), chosen)
    for sentence in unheard:
        note(sentence)
