"""Trials: each follows from its machine's name, a seed and a number, and is one line to run again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import count
from math import inf
from random import Random
from typing import Protocol


@dataclass(frozen=True)
class Outcome:
    """What a trial showed."""

    kind: str
    """What was tried, for the table: a stage, a damage, a format."""
    verdict: str
    what: str = ""
    """All that was tried and, of a failure, what was wrong."""


class Machine(Protocol):
    """What makes trials."""

    FAILURES: frozenset[str]
    """Verdicts that nothing may have."""

    def trial(self, chance: Random) -> Outcome:
        """Try what chance will have."""


Maker = Callable[[bool], AbstractContextManager[Machine]]
"""Gives a machine; told whether it is to train and use models too, where it can."""


@dataclass
class Report:
    """What all trials showed."""

    table: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Kind and verdict → trials."""
    failures: list[str] = field(default_factory=list)
    """A line each, which begins with the command that shows it again."""


def trials(
    name: str,
    machine: Machine,
    seed: int,
    numbers: Iterable[int],
    until: float = inf,
    say: Callable[[str], None] = print,
    *,
    all_of_them: bool = False,
) -> Report:
    """Run trials by their numbers until a moment of time.monotonic; say of each failure, or of all, what it was."""
    report = Report()
    for number in numbers:
        if time.monotonic() > until:
            break
        outcome = machine.trial(Random(f"{name} {seed} {number}"))
        report.table[outcome.kind, outcome.verdict] += 1
        what = " ".join(outcome.what.split())
        line = f"PYTHONPATH=tests python -m torture {name} --seed {seed} --trial {number}  # {outcome.verdict}: {what}"
        failed = outcome.verdict in machine.FAILURES
        if failed:
            report.failures.append(line)
        if failed or all_of_them:
            say(line)
    return report


def forever() -> Iterable[int]:
    """Return the numbers of all trials that there are."""
    return count(1)


def table(report: Report) -> str:
    """Return how often each kind of trial had which verdict."""
    kinds = sorted({kind for kind, _ in report.table})
    verdicts = sorted({verdict for _, verdict in report.table})
    width = max(map(len, kinds), default=0)
    head = " " * width + "".join(f"  {verdict}" for verdict in verdicts)
    lines = [
        kind.ljust(width) + "".join(f"  {report.table[kind, verdict] or '':>{len(verdict)}}" for verdict in verdicts)
        for kind in kinds
    ]
    return "\n".join([head, *lines])
