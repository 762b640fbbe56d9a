"""A ledger against marks by hand: of each rule and of all together, how right it is where people have looked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import polars as pl

from align_data.common.progress import Progress
from align_data.data.labels import check, marks
from align_data.data.layout import Dataset
from align_data.data.ledger import open_ledger
from align_data.data.tombstones import bounds
from align_data.engines.base import Engine
from align_data.signals.label import DROP, KEEP, UNSURE

DRAW = (
    "Marks are as good as their draw: for the pool these numbers hold where the marked pairs were drawn at random from "
    "it, and not where they were picked by what they look like or by a rule."
)
_Z = 1.959964
"""Of a normal distribution, 95 % lies within so many standard deviations."""


@dataclass(frozen=True)
class Share:
    """A part of some pairs, with its 95 % interval after Wilson (1927)."""

    number: int
    of: int

    @property
    def interval(self) -> tuple[float, float]:
        """The ends of the interval; 0 and 1 of no pairs."""
        if not self.of:
            return 0.0, 1.0
        square, at = _Z * _Z, self.number / self.of
        middle = at + square / (2 * self.of)
        half = _Z * sqrt(at * (1 - at) / self.of + square / (4 * self.of * self.of))
        low, high = ((middle + sign * half) / (1 + square / self.of) for sign in (-1, 1))
        return (0.0 if self.number == 0 else low), (1.0 if self.number == self.of else high)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        value = round(self.number / self.of, 6) if self.of else None
        return {"number": self.number, "of": self.of, "value": value, "interval": [round(e, 6) for e in self.interval]}


@dataclass(frozen=True)
class MarkedRule:
    """Marked pairs by whether a rule drops them; `unknown` ones, which it cannot decide, it does not drop."""

    rule: str | None
    """None of the ledger as a whole."""
    keep: int = 0
    """Marked keep."""
    keep_dropped: int = 0
    """Of those, that it drops: wrongly."""
    drop: int = 0
    drop_dropped: int = 0
    unsure: int = 0
    unsure_dropped: int = 0
    unknown: int = 0
    """Of those marked keep or drop, for how many it waits."""

    @property
    def precision(self) -> Share:
        """Of the pairs that it drops, those marked drop; unsure ones are left out."""
        return Share(self.drop_dropped, self.drop_dropped + self.keep_dropped)

    @property
    def recall(self) -> Share:
        """Of the pairs marked drop, those that it drops."""
        return Share(self.drop_dropped, self.drop)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {**asdict(self), "precision": self.precision.to_json(), "recall": self.recall.to_json()}


@dataclass(frozen=True)
class MarkedAudit:
    """A ledger against the marks of a label."""

    ledger: str
    label: str
    whole: MarkedRule
    rules: tuple[MarkedRule, ...]
    """Those in force, in the recipe's order."""
    drop_kept: int
    """Pairs marked drop that the ledger keeps."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        rules = [rule.to_json() for rule in self.rules]
        whole = {**self.whole.to_json(), "drop_kept": self.drop_kept}
        return {"label": self.label, "ledger": whole, "rules": rules, "note": DRAW}


def marked(dataset: Dataset, ledger: str, label: str, engine: Engine, progress: Progress) -> MarkedAudit:
    """Count the marked pairs by what a ledger decides of them; DatasetError where there is no such label."""
    pairs, opened = dataset.ingested(), open_ledger(dataset, ledger)
    check(dataset, label)

    def verdicts(part: int, tick: Callable[[int], None]) -> pl.DataFrame:
        by_hand = marks(dataset, label, *bounds(pairs, part)).filter(pl.col("mark").is_in([KEEP, DROP, UNSURE]))
        frames = [pl.DataFrame(schema={"mark": pl.String, "failed": pl.Int64, "unknown": pl.Int64})]
        if len(by_hand):
            pieces = zip(
                dataset.pairs.pieces(part, ["uid"]),
                dataset.ledger(ledger).pieces(part, ["failed", "unknown"]),
                strict=True,
            )
            for columns in pieces:
                rows = pl.concat(columns, how="horizontal").join(by_hand, on="uid")
                frames.append(rows.select("mark", "failed", "unknown"))
        tick(pairs.parts[part].rows)
        return pl.concat(frames)

    parts = engine.map_parts("audit: marks", verdicts, [part.rows for part in pairs.parts], progress)
    rows = pl.concat(parts)
    whole = _of_rule(rows, None, ~0)
    kept = (pl.col("mark") == DROP) & (pl.col("failed") == 0) & (pl.col("unknown") == 0)
    drop_kept = int(rows.select(kept.sum()).item())
    return MarkedAudit(
        ledger, label, whole, tuple(_of_rule(rows, r.name, r.bit) for r in opened.plan.in_force), drop_kept
    )


def _of_rule(rows: pl.DataFrame, name: str | None, bit: int) -> MarkedRule:
    dropped = rows["failed"] & bit != 0
    waits = (rows["unknown"] & bit != 0) & ~dropped & (rows["mark"] != UNSURE)
    numbers = {mark: int((rows["mark"] == mark).sum()) for mark in (KEEP, DROP, UNSURE)}
    numbers |= {f"{mark}_dropped": int((dropped & (rows["mark"] == mark)).sum()) for mark in (KEEP, DROP, UNSURE)}
    return MarkedRule(name, **numbers, unknown=int(waits.sum()))
