"""Audit: what each rule of a ledger did, counted from the ledger alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import polars as pl

from align_data.common.errors import DatasetError
from align_data.common.secrets import mask, mask_url
from align_data.data.columns import available
from align_data.data.derived import planned_columns
from align_data.data.layout import Dataset
from align_data.data.ledger import TAKEN_DOWN, Ledger, Masks, add_masks, open_current, open_ledger, outdated
from align_data.recipes.plan import Plan, PlannedRule
from align_data.stages.audit.notes import DatasetState, notes, state_of
from align_data.stages.audit.origin import CrawlOrigin, origin


@dataclass(frozen=True)
class RuleAudit:
    """One rule's line of an audit; counts are of pairs, those that were taken down since among them."""

    rule: str
    signal: str
    """What it compares; of several tests all that they do, parted by commas."""
    test: str
    source: str
    chosen: bool
    """Whether the threshold was chosen by the recipe's author or an override, and is not published."""
    off: bool
    fail: int
    fail_only: int
    """Fail this rule and no other."""
    unknown: int
    left_after: int
    """Pairs that neither this rule nor one before it fails."""


@dataclass(frozen=True)
class Audit:
    """A ledger's counts: exact, of all pairs."""

    recipe: str
    title: str
    paper: str
    pairs: int
    kept: int
    dropped: int
    pending: int
    rules: list[RuleAudit]
    overlap: list[list[int]]
    """Pairs that fail both of two rules, in the rules' order."""
    taken_down: int = 0
    """Of the dropped pairs, those that were taken down, whether a rule fails them or not."""
    overrides: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Sentences that explain the counts."""
    origin: CrawlOrigin | None = None
    """Where the rows are from; None where none are of a crawl."""

    def to_json(self) -> dict[str, Any]:
        """Return the audit as JSON data, with `crawl` where rows are of one."""
        data = asdict(replace(self, origin=None))
        del data["origin"]
        return data if self.origin is None else {**data, "crawl": self.origin.to_json()}


def audit(dataset: Dataset, name: str) -> Audit:
    """Count a ledger."""
    ledger = open_ledger(dataset, name)
    audited = count(name, ledger.plan, ledger.masks, state_of(dataset, ledger.plan))
    if stale := outdated(dataset, ledger):
        audited.notes.append(_outdated(dataset, stale))
    return replace(audited, origin=origin(dataset))


def _outdated(dataset: Dataset, signals: Sequence[str]) -> str:
    """Say what to do where a ledger was decided by other values than those that are to be had."""
    try:
        available(dataset, dataset.ingested(), signals)
    except DatasetError as error:  # those that are stored are stale too
        return f"{error}; then filter again"
    return f"decided before these were measured again, so filter again: {', '.join(signals)}"


def count(name: str, plan: Plan, masks: Masks, state: DatasetState = DatasetState()) -> Audit:  # noqa: B008 - frozen
    """Make an audit of a plan and its pairs grouped by masks; its notes go by the dataset's state."""
    rules = plan.rules
    pairs = sum(masks.values())
    by_rules: Masks = {}
    for (failed, unknown), number in masks.items():
        add_masks(by_rules, {(failed & ~TAKEN_DOWN, unknown): number})
    living = {mask: number for mask, number in masks.items() if not mask[0] & TAKEN_DOWN}

    def pairs_where(test: Any, of: Masks = by_rules) -> int:
        return sum(number for (failed, unknown), number in of.items() if test(failed, unknown))

    lines = [
        RuleAudit(
            rule=rule.name,
            signal=", ".join(rule.columns),
            test=rule.rule.test,
            source=rule.rule.source,
            chosen=rule.rule.chosen,
            off=not rule.in_force,
            fail=pairs_where(lambda failed, _, bit=rule.bit: failed & bit),
            fail_only=pairs_where(lambda failed, _, bit=rule.bit: failed == bit),
            unknown=pairs_where(lambda _, unknown, bit=rule.bit: unknown & bit),
            left_after=pairs_where(lambda failed, _, below=2 * rule.bit - 1: not failed & below),
        )
        for rule in rules
    ]
    overlap = [[pairs_where(lambda failed, _, bits=a.bit | b.bit: failed & bits == bits) for b in rules] for a in rules]
    pending = pairs_where(lambda failed, unknown: not failed and unknown, living)
    kept = pairs_where(lambda failed, unknown: not failed and not unknown, living)
    taken_down = pairs - sum(living.values())
    sentences = list(notes(name, plan, living, state))
    if taken_down:
        sentences.append(
            f"{taken_down:,} pairs were taken down: they are among the dropped, and in the rules' lines as measured"
        )
    return Audit(
        recipe=name,
        title=plan.recipe.title or plan.recipe.name,
        paper=plan.recipe.paper,
        pairs=pairs,
        kept=kept,
        dropped=pairs - kept - pending,
        pending=pending,
        rules=lines,
        overlap=overlap,
        taken_down=taken_down,
        overrides=[*(f"--set {o}" for o in plan.overrides), *(f"--without {name}" for name in plan.off)],
        notes=[mask(sentence) for sentence in sentences],
    )


def examples(dataset: Dataset, name: str, number: int) -> dict[str, list[dict[str, Any]]]:
    """Return for each rule up to `number` pairs that it alone drops: uid, url, alt_text and the value that it compares.

    Of a rule that compares several, `value` has them all by name. Parts are ranges of a hash, so the first ones found
    are a random sample, the same each time.
    """
    ledger = open_current(dataset, name)
    plan = ledger.plan
    known = plan.known(available(dataset, dataset.ingested(), plan.signals))
    columns = sorted({column for rule in plan.rules for column in rule.columns} & known)
    rows_of: dict[str, list[dict[str, Any]]] = {rule.name: [] for rule in plan.rules}
    for part in range(ledger.parts):
        for piece in _with_masks(dataset, ledger, part, columns):
            for rule in plan.rules:
                # A rule of which nothing is measured fails nowhere, and has no column.
                alone = piece.filter(pl.col("failed") == rule.bit).head(number - len(rows_of[rule.name]))
                rows_of[rule.name] += [
                    {
                        "uid": row["uid"],
                        "url": mask_url(row["url"]),
                        "alt_text": row["alt_text"],
                        "value": _value(rule, row),
                    }
                    for row in alone.iter_rows(named=True)
                ]
        if all(len(pairs) >= number for pairs in rows_of.values()):
            break
    return rows_of


def _value(rule: PlannedRule, row: Mapping[str, Any]) -> Any:
    """Return what a rule compares of a pair; by name, where it is several values."""
    shown = {test.signal: test.definition.shown(row.get(test.signal)) for test in rule.tests}
    shown |= {test.by.name: row.get(test.by.name) for test in rule.tests if test.by is not None}
    return shown if len(shown) > 1 else next(iter(shown.values()))


def _with_masks(dataset: Dataset, ledger: Ledger, part: int, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    pieces = planned_columns(dataset, ledger.plan, part, ["uid", "url", "alt_text"], columns)
    masks = dataset.ledger(ledger.name).pieces(part, ["failed", "unknown"])
    for piece, verdicts in zip(pieces, masks, strict=True):
        yield pl.concat([piece, verdicts], how="horizontal")
