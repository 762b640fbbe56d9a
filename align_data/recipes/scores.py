"""Scores: values that follow from signals, derived when a recipe decides. They are stored nowhere."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, get_args

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, model_validator

from align_data.common.errors import SignalError, nearest
from align_data.recipes import graph
from align_data.recipes.operators import text
from align_data.recipes.values import Number, check_storable
from align_data.signals import Signal, current_name, find, is_signal
from align_data.signals.score import DECIMALS

Kind = Literal["none", "minmax", "standard", "rank"]
KINDS = get_args(Kind)
RANKS = 1000
"""Steps of the scale `rank`."""
SCORE_NAME = r"^[a-z][a-z0-9_]{0,63}$"
RANK = "rank_"
"""What the column of a rule's ranks begins with: of a pair in its group, from 1."""
OF_PAIRS = ("url", "alt_text", "uid")
"""The columns of `pairs` that first_of and its order take beside signals."""
_TAKEN = (*OF_PAIRS, "copies", "failed", "unknown")
"""Columns that stand beside a score where it is derived."""
MAX_SCORES = 63
"""As many as rules: a chain of thousands is no recipe, and each link is derived behind the one before."""


class TermScale(BaseModel):
    """What a term's scale became in a pool: the constants that put its values on the scale."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    pool: int
    """Pairs that have a value."""
    low: float = 0.0
    """Of minmax the least value, of standard the mean."""
    span: float = 0.0
    """Of minmax the greatest value less the least, of standard the standard deviation of the whole pool."""
    cuts: tuple[float, ...] = ()
    """Of rank: the values that 1, 2, … 999 thousandths of the pool's values reach at most, ascending."""

    @property
    def words(self) -> str:
        """What the values are put on, in words."""
        ends = {
            "none": "as it is",
            "minmax": f"from {self.low:.6g} to {self.low + self.span:.6g}",
            "standard": f"from the mean {self.low:.6g} in standard deviations of {self.span:.6g}",
            "rank": "by rank",
        }[self.kind]
        return ends if self.kind == "none" else f"{ends}, of {self.pool:,} pairs"

    def apply(self, column: pl.Expr) -> pl.Expr:
        """Return the column on the scale: null where it is null."""
        if self.kind == "none":
            return column.cast(pl.Float64)
        if self.kind == "rank":
            below = pl.lit(pl.Series(self.cuts, dtype=pl.Float64)).search_sorted(column.cast(pl.Float64), side="left")
            return pl.when(column.is_null()).then(None).otherwise(below.cast(pl.Float64) / RANKS)
        if not self.span:
            return pl.when(column.is_null()).then(None).otherwise(0.0)
        return (column.cast(pl.Float64) - self.low) / self.span


class Term(BaseModel):
    """One value that a score is made of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    signal: str = Field(description="A signal that is a number, or another score.")
    weight: Number = Field(default=1, description="What the value is multiplied by.")
    scale: Kind = Field(
        default="none",
        description="What the value is put on first: none; minmax, from 0 at the pool's least to 1 at its greatest "
        "value; standard, its distance from the pool's mean in standard deviations; rank, the share of the pool's "
        "values that are below it, in thousandths.",
    )

    @model_validator(mode="before")
    @classmethod
    def _spelled_as_now(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("signal"), str):
            return {**data, "signal": current_name(data["signal"])}
        return data

    @model_validator(mode="after")
    def _storable(self) -> Self:
        check_storable(self.weight)
        return self

    def words(self) -> str:
        """Return the term in words: '0.8 × similarity_a (standard)'."""
        scaled = f" ({self.scale})" if self.scale != "none" else ""
        return f"{text(self.weight)} × {self.signal}{scaled}" if self.weight != 1 else f"{self.signal}{scaled}"


Terms = tuple[Term, ...]
_COMBINED = {
    "sum": pl.sum_horizontal,
    "product": lambda columns: pl.fold(pl.lit(1.0), lambda a, b: a * b, columns),
    "min": pl.min_horizontal,
    "max": pl.max_horizontal,
}
"""How the terms of a score become one value."""


class Score(BaseModel):
    """A value derived from others when the recipe decides, rounded to six decimals; missing where one of them is."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    sum_: Terms | None = Field(default=None, alias="sum", description="The sum of these.")
    product: Terms | None = Field(default=None, description="The product of these.")
    min_: Terms | None = Field(default=None, alias="min", description="The least of these.")
    max_: Terms | None = Field(default=None, alias="max", description="The greatest of these.")
    source: str = Field(default="chosen", min_length=1, description="Where it is published.")
    note: str | None = Field(default=None, description="A note for readers.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [name for name in _COMBINED if self._terms(name) is not None]
        if len(ways) != 1:
            said = f"has {len(ways)} ({', '.join(ways)})" if ways else "has none"
            raise ValueError(f"a score takes exactly one of {', '.join(_COMBINED)}; this one {said}")
        if not self.terms:
            raise ValueError(f"{ways[0]} takes at least one term")
        return self

    def _terms(self, way: str) -> Terms | None:
        terms: Terms | None = getattr(self, way if way == "product" else f"{way}_")
        return terms

    @property
    def way(self) -> str:
        """How the terms become one: sum, product, min or max."""
        return next(way for way in _COMBINED if self._terms(way) is not None)

    @property
    def terms(self) -> Terms:
        """What it is made of."""
        return self._terms(self.way) or ()

    @property
    def scaled(self) -> bool:
        """Whether it hangs on the pool: a term has a scale."""
        return any(term.scale != "none" for term in self.terms)

    def words(self) -> str:
        """Return the score in words: 'the sum of 0.5 × similarity_a (minmax) and head_b'."""
        terms = [term.words() for term in self.terms]
        listed = terms[0] if len(terms) == 1 else f"{', '.join(terms[:-1])} and {terms[-1]}"
        return f"the {self.way} of {listed}"

    def value(self, scales: Sequence[TermScale | None]) -> pl.Expr:
        """Return the score of columns that are named as its terms, each on its scale."""
        columns = [
            (pl.col(term.signal).cast(pl.Float64) if scale is None else scale.apply(pl.col(term.signal))) * term.weight
            for term, scale in zip(self.terms, scales, strict=True)
        ]
        missing = pl.any_horizontal([column.is_null() for column in columns])
        return pl.when(missing).then(None).otherwise(_COMBINED[self.way](columns)).round(DECIMALS)


def definition(name: str, score: Score) -> Signal:
    """Return a score as a signal: what a test of it compares."""
    return Signal(
        name=name,
        kind="derived",
        group="derived",
        type="float64",
        unit="score",
        about=f"The recipe's score: {score.words()}.",
        source=score.source,
        needs=(),
        nullable=True,
        repeats=False,
        null="one of its terms is missing",
    )


def check_scores(scores: Mapping[str, Score]) -> None:
    """Raise ValueError for too many, a name that a score cannot have, a term that is no number, or a circle."""
    if len(scores) > MAX_SCORES:
        raise ValueError(f"a recipe has at most {MAX_SCORES} scores, not {len(scores):,}")
    for name, score in scores.items():
        if not re.fullmatch(SCORE_NAME, name):
            raise ValueError(f"{name!r} is not a score's name: lower-case letters, digits and _, 64 at most")
        if is_signal(name):
            raise ValueError(f"the score {name} has the name of a signal; give it another")
        if name in _TAKEN or name.startswith(RANK):
            other = "a column of the dataset" if name in _TAKEN else "the rank of a rule of first_of"
            raise ValueError(f"the score {name} has the name of {other}; give it another")
        for term in score.terms:
            _check_term(name, term.signal, scores)
    in_order(scores)


def _check_term(name: str, term: str, scores: Mapping[str, Score]) -> None:
    if term in scores:
        return
    try:
        signal = find(term)
    except SignalError as error:
        hint = nearest(term, scores) if scores.keys() - {name} else ""
        raise ValueError(
            f"the score {name}: {f'{term} is neither a signal nor a score{hint}' if hint else error}"
        ) from None
    if not signal.number:
        raise ValueError(f"the score {name} adds numbers, but {term} is {signal.unit}")


def in_order(scores: Mapping[str, Score]) -> list[str]:
    """Return the scores, each behind those that it is made of; ValueError for a circle."""
    behind = {name: [term.signal for term in score.terms if term.signal in scores] for name, score in scores.items()}
    return graph.in_order(behind, "scores are made of each other in a circle")
