"""What an ablation found: every run, each arm's mean and interval over seeds, and the differences paired by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from align_data.train.ablate.differences import Difference, arms_compared, models_compared
from align_data.train.ablate.intervals import SeedMean, difference, estimate
from align_data.train.ablate.leaks import Leaks
from align_data.train.ablate.metrics import CHANCE, CHANCE_OF, LABELLED, NOISE
from align_data.train.ablate.runs import RunOutcome
from align_data.train.ablate.treatments import Treatment

_HALF = 0.5
"""The area under the ROC curve of a model that guesses."""


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
    objectives: Sequence[str] = ()
    """Empty where all runs have that of the settings."""
    rounds: int = 1
    keep: float = 1.0
    """The share of the pool that a round's model keeps for the next."""
    truth: bool = False
    """Whether good pairs are known."""
    labels: bool = False
    """Whether classes of the evaluation pairs are known."""


@dataclass(frozen=True)
class Ablation:
    """All that was found; means and intervals follow from the runs."""

    setup: Setup
    arms: Sequence[str]
    runs: Sequence[RunOutcome]

    @cached_property
    def treatments(self) -> dict[str, Treatment]:
        """What runs differ in, by name: the arm, with the objective and the round where there are several."""
        met = list(dict.fromkeys(run.treatment for run in self.runs))
        objectives = list(dict.fromkeys(treatment.objective for treatment in met))
        rounds = {treatment.round for treatment in met}
        order = {arm: place for place, arm in enumerate(self.arms)}
        met.sort(key=lambda treatment: (order[treatment.arm], objectives.index(treatment.objective), treatment.round))
        names = {}
        for treatment in met:
            several = [treatment.objective] if len(objectives) > 1 else []
            several += [f"round {treatment.round}"] if len(rounds) > 1 else []
            names[f"{treatment.arm} ({', '.join(several)})" if several else treatment.arm] = treatment
        return names

    @property
    def names(self) -> list[str]:
        """The treatments' names, arm by arm."""
        return list(self.treatments)

    @cached_property
    def metrics(self) -> list[str]:
        """The metrics, the main one first, then those that need labels or truth; none where every run failed."""
        met = dict.fromkeys(name for run in self.runs for name in run.metrics if not name.startswith(CHANCE))
        main = list(met)[:1]
        return [*main, *(name for name in (*LABELLED, NOISE) if name in met), *(
            name for name in met if name not in (*main, *LABELLED, NOISE))]  # fmt: skip

    @property
    def headline(self) -> list[str]:
        """The metrics by which models are compared."""
        return [name for name in self.metrics if name in (self.metrics[0], *LABELLED, NOISE)]

    @cached_property
    def chance(self) -> float:
        """The main metric of a model that guesses: as the evaluation has it, or else one of its pairs."""
        chance = self._told(CHANCE)
        return 1 / max(1, self.setup.evaluation_pairs) if chance is None else chance

    def chance_of(self, metric: str) -> float | None:
        """Return a metric of a model that guesses, where that is known."""
        if metric == self.metrics[0]:
            return self.chance
        return _HALF if metric == NOISE else self._told(CHANCE_OF + metric)

    def _told(self, name: str) -> float | None:
        chances = [run.metrics[name] for run in self.runs if name in run.metrics]
        return sum(chances) / len(chances) if chances else None

    def title(self, run: RunOutcome) -> str:
        """Return what a message calls a run."""
        name = next(name for name, treatment in self.treatments.items() if treatment == run.treatment)
        return f"{name}, seed {run.seed}"

    def of(self, name: str) -> list[RunOutcome]:
        """Return the runs of a treatment, by seed."""
        treatment = self.treatments[name]
        return sorted((run for run in self.runs if run.treatment == treatment), key=lambda run: run.seed)

    def size(self, name: str) -> int:
        """Return the pairs of a treatment; chance changes which these are, and not how many."""
        return max(run.pairs for run in self.of(name))

    def values(self, name: str, metric: str) -> dict[int, float]:
        """Return a metric by seed, of the runs that did not fail and of which it is known."""
        return {run.seed: run.metrics[metric] for run in self.of(name) if run.failure is None and metric in run.metrics}

    def estimate(self, name: str, metric: str) -> SeedMean | None:
        """Return the mean of a metric over seeds; None where it is known of no run."""
        values = self.values(name, metric)
        return estimate(list(values.values())) if values else None

    def shown(self, name: str, metric: str) -> str:
        """Return the mean of a metric and how far its interval reaches as text, in percent but for ranks."""
        by = self.estimate(name, metric)
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
        guessed = [line for metric in self.headline if (line := self._of_chance(metric)) is not None]
        return [*guessed, *self._of_metrics(), self._of_pool()]

    def _of_chance(self, metric: str) -> str | None:
        chance = self.chance_of(metric)
        estimates = {name: by for name in self.names if (by := self.estimate(name, metric)) is not None}
        if chance is None or not estimates:
            return None
        guessed = f"Guessing gives {metric} of {100 * chance:.2f} %"
        guessing = [name for name, by in estimates.items() if (by.interval or (by.mean,))[0] <= chance]
        if not guessing:
            return f"{guessed}; every arm is above it"
        if len(guessing) == len(estimates):
            return f"{guessed}, and no arm is clearly above it: the models have learnt nothing that can be compared"
        return f"{guessed}; not clearly above it: {', '.join(guessing)}"

    def _of_metrics(self) -> list[str]:
        """Say what metrics that need labels or truth are of, and why they are not there."""
        setup, sentences = self.setup, []
        if NOISE in self.metrics:
            sentences.append(
                f"{NOISE.capitalize()} is how often a model gives a good pair of the pool a higher similarity than "
                "another one (the area under the ROC curve); a model has trained on the pairs of its own arm"
            )
        several = len(setup.objectives) > 1 or setup.rounds > 1
        for available, metrics, needed in (
            (setup.labels, LABELLED, "classes of the evaluation pairs: --labels FILE, and --classes FILE"),
            (setup.truth, (NOISE,), "a file that lists the good pairs: --truth FILE"),
        ):
            absent = [metric for metric in metrics if metric not in self.metrics]
            if several and not available and absent:
                sentences.append(f"Left out: {' and '.join(absent)}, for want of {needed}")
        wanted_metrics = [*self.headline[1:], *LABELLED[1:] * setup.labels, *[NOISE] * setup.truth]
        for metric in dict.fromkeys(wanted_metrics):
            unknown = sum(metric not in run.metrics for run in self.runs if run.failure is None)
            if unknown:
                sentences.append(
                    f"{metric[0].upper()}{metric[1:]} is not known of {unknown:,} runs, which were finished before it "
                    "was asked for: another --out trains them again"
                )
        return sentences

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
        """Each arm against each of the baselines by the main metric; objectives and rounds of an arm by all of them."""
        compared: list[tuple[tuple[str, str], str | None]] = (
            [(pair, None) for pair in arms_compared(self.treatments)] if self.metrics else []
        )
        compared += [(pair, metric) for pair in models_compared(self.treatments) for metric in self.headline]
        differences = []
        for (name, base), metric in compared:
            main = self.metrics[0]
            by = difference(self.values(name, metric or main), self.values(base, metric or main))
            if by is not None:
                differences.append(Difference(name, base, by, None if metric == main else metric))
        return differences

    @property
    def lines(self) -> dict[str, list[tuple[str, list[str]]]]:
        """The arms of the first round by size, of raw and of filtered data, by objective; none of only one size."""
        lines = {}
        for objective in dict.fromkeys(treatment.objective for treatment in self.treatments.values()):
            names = {c.arm: name for name, c in self.treatments.items() if (c.objective, c.round) == (objective, 1)}
            of = [
                (
                    line,
                    sorted((n for arm, n in names.items() if arm == whole or _is_fraction(arm, tail)), key=self.size),
                )
                for line, whole, tail in (("raw", "none", ":none"), ("filtered", "recipe", ""))
            ]
            if any(len(arms) > 1 for _, arms in of):
                lines[objective] = of
        return lines

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON data."""
        arms = [
            {
                **asdict(treatment),
                "pairs": self.size(name),
                "metrics": {m: _plain(e) for m in self.metrics if (e := self.estimate(name, m)) is not None},
                "runs": [
                    {"seed": d.seed, "metrics": dict(d.metrics), "facts": dict(d.facts), "failure": d.failure}
                    for d in self.of(name)
                ],
            }
            for name, treatment in self.treatments.items()
        ]
        main = self.metrics[0] if self.metrics else None
        chances = {metric: chance for metric in self.headline if (chance := self.chance_of(metric)) is not None}
        about = {"metric": main, "chance": self.chance, "chances": chances, "notes": self.notes}
        differences = [self._difference(d) for d in self.differences]
        return {**asdict(self.setup), **about, "arms": arms, "differences": differences}

    def _difference(self, difference: Difference) -> dict[str, Any]:
        of, base = self.treatments[difference.arm], self.treatments[difference.against]
        against = {"against": base.arm, "against_objective": base.objective, "against_round": base.round}
        by = {"metric": difference.metric or self.metrics[0], **_plain(difference.by)}
        return {**asdict(of), **against, **by, "distinguishable": difference.distinguishable}


def _plain(by: SeedMean) -> dict[str, Any]:
    """Return an estimate as JSON data; without ends where it has no interval."""
    low, high = by.interval or (None, None)
    return {"mean": by.mean, "low": low, "high": high, "seeds": by.seeds}


def _is_fraction(arm: str, tail: str) -> bool:
    return arm.startswith("fraction:") and arm.endswith(":none") == bool(tail)
