"""A ledger: which rules each pair fails and which are unknown, and what decided that."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import polars as pl

from align_data.common.errors import AlignDataError, DatasetError, nearest
from align_data.data.columns import identities
from align_data.data.layout import Dataset
from align_data.data.tombstones import fingerprint
from align_data.recipes.model import Recipe, Rule, builtin, overridden
from align_data.signals import known
from align_data.storage.tables import Manifest

TAKEN_DOWN = -(2**63)
"""The bit of `failed` that no rule has: the pair was taken down."""
TOLERANCE = 0.1
"""What misses the size asked for by more than this part of it is worth a warning."""


@dataclass(frozen=True)
class Vocabulary:
    """What a `top_k` became: n-grams come in classes of equal count, so a size is met as nearly as these allow."""

    asked: int
    threshold: int
    """An n-gram is in the vocabulary if it occurs at least so often in the pool."""
    used: int
    """The vocabulary's size."""
    next: int | None
    """The size on the other side of the one asked for; None if there is none."""
    pool: int
    """All distinct n-grams of the pool."""

    def sentence(self, rule: str) -> str:
        """Say what the rule asked for and what is used."""
        if self.asked >= self.pool:
            return (
                f"{rule}: top_k {self.asked:,} covers all {self.pool:,} distinct n-grams of this pool, so the rule "
                f"drops nothing; --set {rule}.ge=3 would ask for n-grams seen at least 3 times in it, "
                "which few texts of a small pool pass"
            )
        beside = f"; the next class would make it {self.next:,}" if self.next is not None else ""
        used = f"the {self.used:,} n-grams seen {times(self.threshold)} or more"
        said = f"{rule}: top_k {self.asked:,} became {used}{beside}"
        off = abs(self.used - self.asked) / self.asked
        return said + (f"; warning: that is {off:.0%} off" if off > TOLERANCE else "")


def times(number: int) -> str:
    """Return 'once', 'twice' or 'N times'."""
    return {1: "once", 2: "twice"}.get(number, f"{number:,} times")


def vocabulary(asked: int, classes: Sequence[tuple[int, int]]) -> Vocabulary:
    """Resolve `top_k`; `classes` are count and number of n-grams with it, by ascending count.

    Of two sizes equally near the larger is taken, which drops less.
    """
    pool = sum(number for _, number in classes)
    sizes: list[tuple[int, int]] = []  # threshold, size, from the smallest vocabulary to the whole pool
    size = 0
    for count, number in reversed(classes):
        size += number
        sizes.append((count, size))
    if not sizes:
        return Vocabulary(asked, 1, 0, None, 0)
    best = min(sizes, key=lambda s: (abs(s[1] - asked), -s[1]))
    if best[1] >= asked:
        others = [size for _, size in sizes if size < asked]
        beside = max(others, default=None)
    else:
        beside = min((size for _, size in sizes if size > asked), default=None)
    return Vocabulary(asked, best[0], best[1], None if best[1] == asked else beside, pool)


@dataclass(frozen=True)
class Top:
    """What a `top_fraction` became: equal values pass together, so that a little more than asked for can pass."""

    asked: float
    threshold: float
    """The highest value that at least so many of the pool's pairs reach; the least there can be for a pool of none."""
    used: int
    """Pairs of the pool that reach it."""
    pool: int
    """Pairs that have a value, and that no other rule in force fails."""

    @property
    def wanted(self) -> int:
        """How many pairs were asked for: of the fraction as it is written, whatever a float makes of it; rounded up."""
        return math.ceil(Fraction(str(self.asked)) * self.pool)

    def sentence(self, rule: str) -> str:
        """Say what the rule asked for and what is used."""
        if not self.pool:
            return f"{rule}: top_fraction {self.asked} of no pair: none that no other rule fails has a score"
        said = (
            f"{rule}: top_fraction {self.asked} became ge {self.threshold}, which {self.used:,} of the {self.pool:,} "
            f"pairs reach that have a score and that no other rule fails ({self.used / self.pool:.2%})"
        )
        ties = self.used > self.wanted * (1 + TOLERANCE)
        equal = f"; warning: asked were {self.wanted:,}, the others are equal to the lowest of them"
        return said + (equal if ties else "")


@dataclass(frozen=True)
class Plan:
    """A recipe as it is applied: overrides in force, rules taken out, top_k and top_fraction resolved."""

    recipe: Recipe
    overrides: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    vocabularies: Mapping[str, Vocabulary] = field(default_factory=dict)
    """Rule → what its top_k became."""
    unmeasured: tuple[str, ...] = ()
    """Signals of the rules in force that nobody has measured."""
    tops: Mapping[str, Top] = field(default_factory=dict)
    """Rule → what its top_fraction became, or would become of a rule that is taken out."""

    @property
    def signals(self) -> list[str]:
        """The signals of the rules in force."""
        return [rule.signal for rule in self.recipe.rules if rule.name not in self.off]

    @property
    def deciding(self) -> tuple[Rule, ...]:
        """The rules as they decide: with a threshold for a top_k or a top_fraction."""
        found: dict[str, Vocabulary | Top] = {**self.vocabularies, **self.tops}
        return tuple(
            rule.with_test("ge", found[rule.name].threshold) if rule.name in found else rule
            for rule in self.recipe.rules
        )

    def became(self, name: str) -> Vocabulary | Top | None:
        """Return what the test of a rule in force became, if its threshold was found in the pool."""
        return None if name in self.off else self.vocabularies.get(name) or self.tops.get(name)

    def dump(self) -> dict[str, Any]:
        """Return the plan as JSON data."""
        return {
            "recipe": self.recipe.model_dump(mode="json", by_alias=True, exclude_none=True),
            "overrides": list(self.overrides),
            "off": list(self.off),
            "vocabularies": {name: vars(v) for name, v in self.vocabularies.items()},
            "unmeasured": list(self.unmeasured),
            **({"tops": {name: vars(top) for name, top in self.tops.items()}} if self.tops else {}),
        }

    @staticmethod
    def load(data: Mapping[str, Any]) -> Plan:
        """Make a plan of what `dump` returned."""
        return Plan(
            Recipe.model_validate(data["recipe"]),
            tuple(data["overrides"]),
            tuple(data["off"]),
            {name: Vocabulary(**v) for name, v in data["vocabularies"].items()},
            tuple(data["unmeasured"]),
            {name: Top(**top) for name, top in data.get("tops", {}).items()},
        )


Masks = dict[tuple[int, int], int]
"""(failed, unknown) → number of pairs. A few hundred groups at most, and every count of an audit follows from them."""


def count_masks(verdicts: Iterable[pl.DataFrame], found: Masks | None = None) -> Masks:
    """Group verdicts by their two masks, on top of what was found before."""
    found = {} if found is None else found
    for piece in verdicts:
        grouped = piece.group_by("failed", "unknown").len()
        add_masks(found, {(failed, unknown): number for failed, unknown, number in grouped.iter_rows()})
    return found


def add_masks(total: Masks, found: Masks) -> None:
    """Add one count of masks to another."""
    for key, number in found.items():
        total[key] = total.get(key, 0) + number


def taken_down(failed: pl.Series, taken: pl.Series) -> pl.Series:
    """Return the column `failed` with the pairs marked that are `taken` down."""
    return (failed | (taken.cast(pl.Int64) * TAKEN_DOWN)).alias("failed")


def masks_of(manifest: Manifest) -> Masks:
    """Return a ledger's masks, counted when it was written."""
    return {(failed, unknown): number for failed, unknown, number in manifest.meta["masks"]}


def open_ledger(dataset: Dataset, name: str) -> tuple[Plan, Manifest]:
    """Return the plan and the manifest of a ledger; DatasetError names the ledgers there are.

    One that does not know of the last takedown, because its files were put back from somewhere, is a DatasetError too.
    """
    dataset.ingested()
    if name.endswith((".yaml", ".yml")):
        raise DatasetError(
            f"{name} is a recipe's file; a ledger is called by the recipe's name, or what --as called it "
            f"(there are: {', '.join(dataset.ledgers()) or 'none'})"
        )
    manifest = dataset.ledger(name).committed()
    if manifest is None:
        there = dataset.ledgers()
        recipe = name if name in builtin() else f"RECIPE --as {name}"
        raise DatasetError(
            f"{dataset.store.url} has no ledger {name}{nearest(name, there)}; there are: {', '.join(there) or 'none'}; "
            f"make it with: align-data filter {shlex.quote(dataset.store.url)} --recipe {recipe}"
        )
    plan = _loaded(dataset, name, manifest)
    if manifest.meta.get("tombstones") != fingerprint(dataset):
        raise DatasetError(
            f"the ledger {name} of {dataset.store.url} was decided before the last takedown; decide again: "
            f"{filter_command(dataset.store.url, name, plan)}"
        )
    return plan, manifest


def _loaded(dataset: Dataset, name: str, manifest: Manifest) -> Plan:
    """Return a ledger's plan; DatasetError if it is none, or if the ledger is of other pairs."""
    where = dataset.store.path(dataset.ledger(name).name)
    try:
        plan = Plan.load(manifest.meta["plan"])
    except (KeyError, TypeError, AttributeError, ValueError, AlignDataError) as error:
        what = " ".join(str(error).split())[:200]
        raise DatasetError(
            f"the plan of {where} cannot be understood: {what}; it is damaged, or of another version: remove "
            f"{where} and decide again: align-data filter {shlex.quote(dataset.store.url)} --recipe {name}"
        ) from error
    if manifest.meta["pairs"] != dataset.ingested().fingerprint:
        raise DatasetError(
            f"{where} was decided of other pairs than those here: decide again: "
            f"{filter_command(dataset.store.url, name, plan)}"
        )
    return plan


def filter_command(url: str, name: str, plan: Plan, without: Sequence[str] = ()) -> str:
    """Return the command that decides as a plan did, but without some more rules, as the ledger `name`.

    A recipe that is not one of filters/ is taken for a file that is called as the recipe is.
    """
    recipe, off = plan.recipe.name, [*plan.off, *without]
    words = ["align-data", "filter", url, "--recipe", recipe if recipe in builtin() else f"{recipe}.yaml"]
    for assignment in plan.overrides:
        if overridden(assignment) not in off:
            words += ["--set", assignment]
    words += ["--without", ",".join(off)] if off else []
    return shlex.join(words + (["--as", name] if recipe != name else []))


def as_recipe(dataset: Dataset, name: str) -> str | None:
    """Say what to do where a ledger's name was given for a recipe's; None where no ledger is called so."""
    if name not in dataset.ledgers():
        return None
    plan, _ = open_ledger(dataset, name)
    return (
        f"no recipe is called {name}, only a ledger of {dataset.store.url}, which was decided by the recipe "
        f"{plan.recipe.name}; decide it again: {filter_command(dataset.store.url, name, plan)}"
    )


def outdated(dataset: Dataset, manifest: Manifest) -> list[str]:
    """Return the signals that a ledger was decided by and that have been measured anew since."""
    then = {name: identity for name, identity in manifest.meta.get("signals", {}).items() if known(name)}
    now = identities(dataset, then)
    return [name for name in then if now[name] != then[name]]


def open_current(dataset: Dataset, name: str) -> tuple[Plan, Manifest]:
    """Open a ledger for what reads signals beside its verdicts; DatasetError where these are of older signals too."""
    plan, manifest = open_ledger(dataset, name)
    if anew := outdated(dataset, manifest):
        raise DatasetError(
            f"the ledger {name} was decided before {', '.join(anew)} {'was' if len(anew) == 1 else 'were'} measured "
            f"anew; decide again: {filter_command(dataset.store.url, name, plan)}"
        )
    return plan, manifest
