"""Figures of a running command in the text format of Prometheus, version 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from align_data.common.steps import StepFigures

STATES = ("running", "done", "failed", "stopped")


@dataclass(frozen=True)
class RunFigures:
    """A command on a dataset: when it began, in seconds of Unix time, and how far it is."""

    dataset: str
    command: str
    state: str
    began: float
    seconds: float
    peak_memory: Mapping[str, int]
    """Bytes of the process, and of its largest child."""
    steps: Sequence[StepFigures]


@dataclass(frozen=True)
class _Family:
    """The values of one metric, by their labels beside dataset and command."""

    name: str
    type: str
    help: str
    values: Iterable[tuple[Mapping[str, str], float]]


def exposition(run: RunFigures) -> str:
    """Return the figures as text; steps of one name are one series."""
    labels = {"dataset": run.dataset, "command": run.command}
    lines: list[str] = []
    for family in _families(run):
        name = f"align_data_{family.name}"
        values = [f"{name}{_labelled({**labels, **of})} {value:.15g}" for of, value in family.values]
        if values:
            lines += [f"# HELP {name} {family.help}", f"# TYPE {name} {family.type}", *values]
    return "\n".join(lines) + "\n"


def _families(run: RunFigures) -> list[_Family]:
    steps = _by_name(run.steps)
    named = [({"step": step.step, "unit": step.unit}, step) for step in steps]
    totals = [(of, float(step.total)) for of, step in named if step.total is not None]
    outcomes = [({**of, "outcome": end}, float(n)) for of, step in named for end, n in sorted(step.outcomes.items())]
    counts = [({**of, "counted": what}, float(n)) for of, step in named for what, n in sorted(step.counts.items())]
    states = [({"state": state}, float(state == run.state)) for state in STATES]
    memory = [({"process": process}, float(size)) for process, size in run.peak_memory.items()]
    return [
        _Family("run_state", "gauge", "1 for the state that the command is in.", states),
        _Family("run_start_time_seconds", "gauge", "Unix time at which the command began.", [({}, run.began)]),
        _Family("run_seconds", "gauge", "How long the command has run.", [({}, run.seconds)]),
        _Family("peak_memory_bytes", "gauge", "Largest resident memory so far.", memory),
        _Family("step_units_total", "counter", "Units that a step has done.", [(of, step.done) for of, step in named]),
        _Family("step_expected_units", "gauge", "Units that a step will have done.", totals),
        _Family("step_seconds", "gauge", "How long a step has run.", [(of, step.seconds) for of, step in named]),
        _Family("step_outcomes_total", "counter", "Units of a step by what they came to.", outcomes),
        _Family("step_counted_total", "counter", "What else a step has counted.", counts),
    ]


def _by_name(steps: Iterable[StepFigures]) -> list[StepFigures]:
    """Return steps of equal name and unit added up."""
    together: dict[tuple[str, str], StepFigures] = {}
    for step in steps:
        key = (step.step, step.unit)
        before = together.get(key, StepFigures(*key, total=0))
        unknown = step.total is None or before.total is None
        together[key] = StepFigures(
            *key,
            total=None if unknown else (step.total or 0) + (before.total or 0),
            done=before.done + step.done,
            seconds=before.seconds + step.seconds,
            outcomes=before.outcomes + step.outcomes,
            counts=before.counts + step.counts,
        )
    return list(together.values())


def _labelled(labels: Mapping[str, str]) -> str:
    escaped = {
        name: value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for name, value in labels.items()
    }
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped.items()) + "}"
