"""What an ablation found: every run, each arm's mean and interval over seeds, and the differences paired by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from align_data.train.ablate.arms import BASELINES
from align_data.train.ablate.intervals import Estimate, difference, estimate
from align_data.train.ablate.leaks import Leaks
from align_data.train.ablate.runs import Done


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


@dataclass(frozen=True)
class Difference:
    """By how much an arm's main metric exceeds another arm's."""

    arm: str
    against: str
    by: Estimate

    @property
    def distinguishable(self) -> bool | None:
        """Whether the interval leaves 0 out; None with a single seed."""
        held = self.by.holds_zero
        return None if held is None else not held

    @property
    def sentence(self) -> str:
        """Say what can be said."""
        by = self.by
        if by.low is None or by.high is None:
            return f"{self.arm} against {self.against}: {_points(by.mean)} at one seed, which proves nothing"
        interval = f"{_points(by.mean)}, 95 % interval {_points(by.low)} to {_points(by.high)}"
        if not self.distinguishable:
            return f"{self.arm} cannot be told from {self.against}: {interval}"
        return f"{self.arm} is {'better' if by.mean > 0 else 'worse'} than {self.against}: {interval}"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")


@dataclass(frozen=True)
class Ablation:
    """All that was found; means and intervals follow from the runs."""

    setup: Setup
    arms: Sequence[str]
    runs: Sequence[Done]

    @cached_property
    def metrics(self) -> list[str]:
        """The metrics, the main one first; none where every run failed."""
        return list(next((done.metrics for done in self.runs if done.metrics), {}))

    def of(self, arm: str) -> list[Done]:
        """Return the runs of an arm, by seed."""
        return sorted((done for done in self.runs if done.arm == arm), key=lambda done: done.seed)

    def size(self, arm: str) -> int:
        """Return the pairs of an arm; chance changes which these are, and not how many."""
        return self.of(arm)[0].pairs

    def values(self, arm: str, metric: str) -> dict[int, float]:
        """Return a metric of an arm by seed, of the runs that did not fail."""
        return {done.seed: done.metrics[metric] for done in self.of(arm) if done.failure is None}

    def estimate(self, arm: str, metric: str) -> Estimate | None:
        """Return the mean of a metric over seeds; None where every run of the arm failed."""
        values = self.values(arm, metric)
        return estimate(list(values.values())) if values else None

    def shown(self, arm: str, metric: str) -> str:
        """Return the mean of a metric and how far its interval reaches as text, in percent but for ranks."""
        by = self.estimate(arm, metric)
        if by is None:
            return "–"
        scale = 1 if "rank" in metric else 100
        half = "" if by.high is None else f" ± {scale * (by.high - by.mean):.1f}"
        return f"{scale * by.mean:.1f}{half}"

    @cached_property
    def failures(self) -> list[Done]:
        """The runs that failed."""
        return [done for done in self.runs if done.failure is not None]

    @cached_property
    def differences(self) -> list[Difference]:
        """Each arm against each of the baselines that are among the arms, by the main metric."""
        if not self.metrics:
            return []
        values = {arm: self.values(arm, self.metrics[0]) for arm in self.arms}
        bases = [base for base in BASELINES if base in self.arms]
        found = []
        for number, base in enumerate(bases):
            for arm in self.arms:
                by = difference(values[arm], values[base])
                if arm not in bases[: number + 1] and by is not None:  # the other way round it is said already
                    found.append(Difference(arm, base, by))
        return found

    @property
    def lines(self) -> list[tuple[str, list[str]]]:
        """The arms by size, of raw and of filtered data; none where only one size was asked for."""
        found = []
        for name, whole, tail in (("raw", "none", ":none"), ("filtered", "recipe", "")):
            some = [arm for arm in self.arms if arm == whole or _is_fraction(arm, tail)]
            found.append((name, sorted(some, key=self.size)))
        return found if any(len(arms) > 1 for _, arms in found) else []

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON data."""
        arms = [
            {
                "arm": arm,
                "pairs": self.size(arm),
                "metrics": {m: asdict(e) for m in self.metrics if (e := self.estimate(arm, m)) is not None},
                "runs": [
                    {"seed": d.seed, "metrics": dict(d.metrics), "facts": dict(d.facts), "failure": d.failure}
                    for d in self.of(arm)
                ],
            }
            for arm in self.arms
        ]
        differences = [
            {"arm": d.arm, "against": d.against, **asdict(d.by), "distinguishable": d.distinguishable}
            for d in self.differences
        ]
        main = self.metrics[0] if self.metrics else None
        return {**asdict(self.setup), "metric": main, "arms": arms, "differences": differences}


def _is_fraction(arm: str, tail: str) -> bool:
    return arm.startswith("fraction:") and arm.endswith(":none") == bool(tail)
