"""What the thresholds that are relative to a pool become in it: a vocabulary of n-grams, a fraction of the pairs."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Protocol

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

TOLERANCE = 0.1
"""A size further from the requested one than this part of it is worth a warning."""
Classes = Sequence[tuple[int, int]]
"""Counts of n-grams, ascending, and how many n-grams have each."""


class Threshold(Protocol):
    """What a relative threshold became."""

    @property
    def threshold(self) -> float:
        """The least value that passes."""
        ...

    @property
    def words(self) -> str:
        """What passes, in words."""
        ...

    def sentence(self, rule: str) -> str:
        """Return what the rule asks for and what is used."""
        ...


class Vocabulary(BaseModel):
    """What a `top_k` became: n-grams come in classes of equal count, so a size is met as nearly as these allow."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(validation_alias=AliasChoices("size", "asked"), serialization_alias="asked")
    """The vocabulary's size by the recipe."""
    threshold: int
    """An n-gram is in the vocabulary if it occurs at least this often in the pool."""
    used: int
    """The vocabulary's size in this pool."""
    next: int | None
    """The nearest size on the other side of the requested one; None if there is none."""
    pool: int
    """All distinct n-grams of the pool."""

    @property
    def words(self) -> str:
        """What passes, in words."""
        return f"those seen {times(self.threshold)} or more"

    def sentence(self, rule: str) -> str:
        """Return what the rule asks for and what is used."""
        if self.size >= self.pool:
            return (
                f"{rule}: top_k {self.size:,} covers all {self.pool:,} distinct n-grams of this pool, so the rule "
                f"drops nothing; --set {rule}.ge=3 would ask for n-grams seen at least 3 times in it, "
                "which few texts of a small pool pass"
            )
        beside = f"; the next class would make it {self.next:,}" if self.next is not None else ""
        used = f"the {self.used:,} n-grams seen {times(self.threshold)} or more"
        off = abs(self.used - self.size) / self.size
        warning = f"; warning: that is {off:.0%} off" if off > TOLERANCE else ""
        return f"{rule}: top_k {self.size:,} became {used}{beside}{warning}"


class TopFraction(BaseModel):
    """What a `top_fraction` became: equal values pass together, so that a little more than the fraction can pass."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fraction: float = Field(validation_alias=AliasChoices("fraction", "asked"), serialization_alias="asked")
    threshold: int | float
    """The highest value that at least the fraction of the pool's pairs reach; the least value for an empty pool."""
    used: int
    """Pairs of the pool that reach it."""
    pool: int
    """Pairs that have a value, and that the rule chooses among."""
    whole: int | None = None
    """Pairs that have a value, whether it chooses among them or not, where the fraction is of these."""
    among: str | tuple[str, ...] | None = None
    """The pairs that it chooses among, as the recipe names them; None for those that no other rule in force fails."""

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is as earlier versions had it, so that their ledgers are the same."""
        return {
            name: value for name, value in dump(self).items() if name not in ("whole", "among") or value is not None
        }

    @property
    def pairs(self) -> int:
        """How many pairs the fraction is, rounded up: of the fraction as written, whatever a float makes of it."""
        whole = self.pool if self.whole is None else self.whole
        return min(self.pool, math.ceil(Fraction(str(self.fraction)) * whole))

    @property
    def _choice(self) -> str:
        """Which pairs it chooses among, as the end of a sentence."""
        if self.among is None:
            return "have a score and that no other rule fails"
        if isinstance(self.among, str):
            return "have a value"
        return f"have a value and that {' and '.join(self.among)} {'does' if len(self.among) == 1 else 'do'} not fail"

    @property
    def words(self) -> str:
        """What passes, in words."""
        return f"those of at least {self.threshold}"

    def sentence(self, rule: str) -> str:
        """Return what the rule asks for and what is used."""
        if not self.pool:
            nobody = (
                "none that no other rule fails has a score"
                if self.among is None
                else f"there are none that {self._choice}"
            )
            return f"{rule}: top_fraction {self.fraction} of no pair: {nobody}"
        share, ties = self.used / self.pool, self.used > self.pairs * (1 + TOLERANCE)
        warning = f"; warning: {self.pairs:,} were requested; the others tie with the lowest of them" if ties else ""
        of = f"; of the whole pool, {self.whole:,}, that is {self.used / self.whole:.2%}" if self.whole else ""
        return (
            f"{rule}: top_fraction {self.fraction} became ge {self.threshold}, which {self.used:,} of the "
            f"{self.pool:,} pairs reach that {self._choice} ({share:.2%}){of}{warning}"
        )


class TopFractions(BaseModel):
    """What a `top_fraction` with `per` became: one threshold a class, in the order of the classes' names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per: str
    by_class: Mapping[str, TopFraction]

    @property
    def threshold(self) -> float:
        """The least of the thresholds; where there is no class all values pass."""
        return min((top.threshold for top in self.by_class.values()), default=-math.inf)

    @property
    def words(self) -> str:
        """What passes, in words."""
        number = len(self.by_class)
        if number > _MOST_CLASSES:
            ends = sorted(top.threshold for top in self.by_class.values())
            return f"those of at least {ends[0]} to {ends[-1]} in {number:,} classes of {self.per}"
        classes = [f"{top.threshold} where {self.per} is {name}" for name, top in self.by_class.items()]
        return f"those of at least {', '.join(classes)}" if classes else "all, for no pair has a class"

    def sentence(self, rule: str) -> str:
        """Return what the rule asks for and what is used."""
        used, pool = (sum(getattr(top, name) for top in self.by_class.values()) for name in ("used", "pool"))
        fraction = next((top.fraction for top in self.by_class.values()), None)
        if fraction is None:
            return f"{rule}: top_fraction of no pair: none has a value and a class"
        return f"{rule}: top_fraction {fraction} became {self.words}, which {used:,} of {pool:,} pairs reach"


class FirstOf(BaseModel):
    """What a `first_of` became: the pairs of the pool in groups, each in order. Ranks stand beside the ledger."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keep: int
    """How many of each group pass."""
    groups: int
    pool: int
    """Pairs in them: that it chooses among and that have every value they are grouped by."""
    used: int
    """Pairs whose rank passes."""
    largest: int
    """Pairs of the largest group."""
    ranks: str
    """The name of the table of its ranks."""

    @property
    def threshold(self) -> float:
        """The greatest rank that passes."""
        return self.keep

    @property
    def words(self) -> str:
        """What passes, in words."""
        return f"{self.used:,} of {self.pool:,} pairs in {self.groups:,} groups"

    def sentence(self, rule: str) -> str:
        """Return what the rule asks for and what is used."""
        if not self.pool:
            return f"{rule}: no pair to group: none that it chooses among has every value it groups by"
        return f"{rule}: keeps {self.words}; the largest has {self.largest:,}"


_MOST_CLASSES = 5
"""Classes whose thresholds are listed one by one."""


def times(number: int) -> str:
    """Return 'once', 'twice' or 'N times'."""
    return {1: "once", 2: "twice"}.get(number, f"{number:,} times")


def vocabulary(size: int, classes: Classes) -> Vocabulary:
    """Resolve `top_k`. Of two sizes equally near the larger is taken, which drops less."""
    pool = sum(ngrams for _, ngrams in classes)
    sizes: list[tuple[int, int]] = []  # threshold, size, from the smallest vocabulary to the whole pool
    total = 0
    for count, ngrams in reversed(classes):
        total += ngrams
        sizes.append((count, total))
    if not sizes:
        return Vocabulary(size=size, threshold=1, used=0, next=None, pool=0)
    threshold, used = min(sizes, key=lambda entry: (abs(entry[1] - size), -entry[1]))
    if used >= size:
        beside = max((total for _, total in sizes if total < size), default=None)
    else:
        beside = min((total for _, total in sizes if total > size), default=None)
    return Vocabulary(size=size, threshold=threshold, used=used, next=None if used == size else beside, pool=pool)


def vocabulary_size(classes: Classes, threshold: float) -> int:
    """Return how many n-grams occur at least `threshold` times."""
    return sum(ngrams for _, ngrams in classes[bisect_left(classes, (threshold, 0)) :])
