"""Which treatments are compared, and the difference of two as a number and as a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from align_data.train.ablate.arms import BASELINES
from align_data.train.ablate.intervals import SeedMean
from align_data.train.ablate.treatments import Treatment


@dataclass(frozen=True)
class Difference:
    """By how much a metric of an arm, as `Ablation.names` has it, exceeds that of another one."""

    arm: str
    against: str
    by: SeedMean
    metric: str | None = None
    """None is the main one."""

    @property
    def distinguishable(self) -> bool | None:
        """Whether the interval leaves 0 out; None with a single seed."""
        holds_zero = self.by.holds_zero
        return None if holds_zero is None else not holds_zero

    @property
    def sentence(self) -> str:
        """The difference as a sentence."""
        by, ends = self.by, self.by.interval
        arm = self.arm if self.metric is None else f"by {self.metric}, {self.arm}"
        undecided = f"{arm} cannot be distinguished from {self.against}: {_points(by.mean)}"
        if by.seeds < 2:
            return f"{arm} against {self.against}: {_points(by.mean)} at one seed, which shows nothing"
        if ends is None:
            return f"{undecided} at each of {by.seeds:,} seeds; without any spread there is no interval"
        interval = f"95 % interval {_apart(*ends)}"
        if not self.distinguishable:
            return f"{undecided}, {interval}"
        return f"{arm} is {'better' if by.mean > 0 else 'worse'} than {self.against}: {_points(by.mean)}, {interval}"


def _points(value: float, digits: int = 1) -> str:
    return f"{100 * value:+.{digits}f}".replace("-", "−")


def _apart(low: float, high: float) -> str:
    """Return the ends of an interval, in as many digits as tell them apart."""
    digits = next(digits for digits in range(1, 13) if _points(low, digits) != _points(high, digits))
    return f"{_points(low, digits)} to {_points(high, digits)}"


def arms_compared(treatments: Mapping[str, Treatment]) -> Iterator[tuple[str, str]]:
    """Yield each arm with each of the baselines that are among the arms, of the same objective and round; by name."""
    name_of = {treatment: name for name, treatment in treatments.items()}
    arms = list(dict.fromkeys(treatment.arm for treatment in treatments.values()))
    bases = [base for base in BASELINES if base in arms]
    for objective, round_ in dict.fromkeys((c.objective, c.round) for c in treatments.values()):
        for number, base in enumerate(bases):
            for arm in arms:
                if arm not in bases[: number + 1]:  # the reverse is in already
                    yield name_of[Treatment(arm, objective, round_)], name_of[Treatment(base, objective, round_)]


def models_compared(treatments: Mapping[str, Treatment]) -> Iterator[tuple[str, str]]:
    """Yield of each arm every two objectives of the same round, and each later round with its first; by name."""
    for (base, earlier), (name, later) in combinations(treatments.items(), 2):
        if earlier.arm != later.arm:
            continue
        if earlier.round == later.round or (earlier.objective == later.objective and earlier.round == 1):
            yield name, base
