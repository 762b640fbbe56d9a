"""What an ablation found: every run, each arm's mean and interval over seeds, and the differences paired by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from align_data.train.ablate.arms import BASELINES
from align_data.train.ablate.intervals import SeedMean, difference, estimate
from align_data.train.ablate.leaks import Leaks
from align_data.train.ablate.runs import RunOutcome

CHANCE = "chance"
"""Among the metrics of a run: the main metric of a model that guesses. It is of the evaluation, not of the arm."""


@dataclass(frozen=True)
class Setup:
    """What the numbers are of."""

    dataset: str
    ledger: str
    evaluation: str
    evaluation_pairs: int
    pairs: int
    """Of the dataset."""
    pool: int
    """Pairs with an image, without those that leaked."""
    unfetched: int
    leaks: Leaks
    seeds: int
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    untested: Sequence[str] = ()
    """Rules of the ledger that no pair of the pool fails, or hardly any."""


@dataclass(frozen=True)
class Difference:
    """By how much an arm's main metric exceeds another arm's."""

    arm: str
    against: str
    by: SeedMean

    @property
    def distinguishable(self) -> bool | None:
        """Whether the interval leaves 0 out; None with a single seed."""
        holds_zero = self.by.holds_zero
        return None if holds_zero is None else not holds_zero

    @property
    def sentence(self) -> str:
        """The difference as a sentence."""
        by, ends = self.by, self.by.interval
        undecided = f"{self.arm} cannot be distinguished from {self.against}: {_points(by.mean)}"
        if by.seeds < 2:
            return f"{self.arm} against {self.against}: {_points(by.mean)} at one seed, which shows nothing"
        if ends is None:
            return f"{undecided} at each of {by.seeds:,} seeds; without any spread there is no interval"
        interval = f"95 % interval {_apart(*ends)}"
        if not self.distinguishable:
            return f"{undecided}, {interval}"
        return (
            f"{self.arm} is {'better' if by.mean > 0 else 'worse'} than {self.against}: {_points(by.mean)}, {interval}"
        )


def _points(value: float, digits: int = 1) -> str:
    return f"{100 * value:+.{digits}f}".replace("-", "−")


def _apart(low: float, high: float) -> str:
    """Return the ends of an interval, in as many digits as tell them apart."""
    digits = next(digits for digits in range(1, 13) if _points(low, digits) != _points(high, digits))
    return f"{_points(low, digits)} to {_points(high, digits)}"


@dataclass(frozen=True)
class Ablation:
    """All that was found; means and intervals follow from the runs."""

    setup: Setup
    arms: Sequence[str]
    runs: Sequence[RunOutcome]

    @cached_property
    def metrics(self) -> list[str]:
        """The metrics, the main one first; none where every run failed."""
        return [name for name in next((run.metrics for run in self.runs if run.metrics), {}) if name != CHANCE]

    @cached_property
    def chance(self) -> float:
        """The main metric of a model that guesses: as the evaluation has it, or else one of its pairs."""
        told = [run.metrics[CHANCE] for run in self.runs if CHANCE in run.metrics]
        return sum(told) / len(told) if told else 1 / max(1, self.setup.evaluation_pairs)

    def of(self, arm: str) -> list[RunOutcome]:
        """Return the runs of an arm, by seed."""
        return sorted((run for run in self.runs if run.arm == arm), key=lambda run: run.seed)

    def size(self, arm: str) -> int:
        """Return the pairs of an arm; chance changes which these are, and not how many."""
        return self.of(arm)[0].pairs

    def values(self, arm: str, metric: str) -> dict[int, float]:
        """Return a metric of an arm by seed, of the runs that did not fail."""
        return {run.seed: run.metrics[metric] for run in self.of(arm) if run.failure is None}

    def estimate(self, arm: str, metric: str) -> SeedMean | None:
        """Return the mean of a metric over seeds; None where every run of the arm failed."""
        values = self.values(arm, metric)
        return estimate(list(values.values())) if values else None

    def shown(self, arm: str, metric: str) -> str:
        """Return the mean of a metric and how far its interval reaches as text, in percent but for ranks."""
        by = self.estimate(arm, metric)
        if by is None:
            return "–"
        scale = 1 if "rank" in metric else 100
        if by.interval is None:
            return f"{scale * by.mean:.1f}"
        half = scale * (by.interval[1] - by.mean)
        return f"{scale * by.mean:.1f} ± {half:{'.1f' if half >= 0.05 else '.2g'}}"

    @cached_property
    def notes(self) -> list[str]:
        """What a reader must know before the verdict, as sentences: what guessing gives, and what the pool is."""
        return [*self._of_chance(), self._of_pool()]

    def _of_chance(self) -> list[str]:
        if not self.metrics:
            return []
        metric = self.metrics[0]
        guessed = f"Guessing gives {metric} of {100 * self.chance:.2f} %"
        estimates = {arm: by for arm in self.arms if (by := self.estimate(arm, metric)) is not None}
        guessing = [arm for arm, by in estimates.items() if (by.interval or (by.mean,))[0] <= self.chance]
        if not guessing:
            return [f"{guessed}; every arm is above it"]
        if len(guessing) == len(estimates):
            return [f"{guessed}, and no arm is clearly above it: the models have learnt nothing that can be compared"]
        return [f"{guessed}; not clearly above it: {', '.join(guessing)}"]

    def _of_pool(self) -> str:
        setup = self.setup
        sentences = [f"The arm none is the pool: {setup.pool:,} pairs with an image that was fetched and decodes"]
        if setup.unfetched:
            sentences.append(
                f"The images of {setup.unfetched:,} of {setup.pairs:,} pairs are not fetched; align-data fetch takes "
                "only pairs that the recipe leaves open, and all with --all"
            )
        if setup.untested:
            sentences.append(
                f"Not tested, because no pair of the pool fails them, or hardly any: {', '.join(setup.untested)}"
            )
        return ". ".join(sentences)

    @cached_property
    def failures(self) -> list[RunOutcome]:
        """The runs that failed."""
        return [run for run in self.runs if run.failure is not None]

    @cached_property
    def differences(self) -> list[Difference]:
        """Each arm against each of the baselines that are among the arms, by the main metric."""
        if not self.metrics:
            return []
        values = {arm: self.values(arm, self.metrics[0]) for arm in self.arms}
        bases = [base for base in BASELINES if base in self.arms]
        differences = []
        for number, base in enumerate(bases):
            for arm in self.arms:
                by = difference(values[arm], values[base])
                if arm not in bases[: number + 1] and by is not None:  # the reverse is in already
                    differences.append(Difference(arm, base, by))
        return differences

    @property
    def lines(self) -> list[tuple[str, list[str]]]:
        """The arms by size, of raw and of filtered data; none where there is only one size."""
        lines = []
        for name, whole, tail in (("raw", "none", ":none"), ("filtered", "recipe", "")):
            arms = [arm for arm in self.arms if arm == whole or _is_fraction(arm, tail)]
            lines.append((name, sorted(arms, key=self.size)))
        return lines if any(len(arms) > 1 for _, arms in lines) else []

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON data."""
        arms = [
            {
                "arm": arm,
                "pairs": self.size(arm),
                "metrics": {m: _plain(e) for m in self.metrics if (e := self.estimate(arm, m)) is not None},
                "runs": [
                    {"seed": d.seed, "metrics": dict(d.metrics), "facts": dict(d.facts), "failure": d.failure}
                    for d in self.of(arm)
                ],
            }
            for arm in self.arms
        ]
        differences = [
            {"arm": d.arm, "against": d.against, **_plain(d.by), "distinguishable": d.distinguishable}
            for d in self.differences
        ]
        main = self.metrics[0] if self.metrics else None
        about = {"metric": main, "chance": self.chance, "notes": self.notes}
        return {**asdict(self.setup), **about, "arms": arms, "differences": differences}


def _plain(by: SeedMean) -> dict[str, Any]:
    """Return an estimate as JSON data; without ends where it has no interval."""
    low, high = by.interval or (None, None)
    return {"mean": by.mean, "low": low, "high": high, "seeds": by.seeds}


def _is_fraction(arm: str, tail: str) -> bool:
    return arm.startswith("fraction:") and arm.endswith(":none") == bool(tail)
