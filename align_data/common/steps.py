"""What a command's steps came to: noted on the way to whoever shows them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from align_data.common.progress import NONE, Progress, Tick


@dataclass
class StepFigures:
    """One step, as far as it is; `done` and `total` are of its `unit`, and `total` is None where nobody knows."""

    step: str
    unit: str
    total: int | None
    done: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data: what is empty is left out."""
        outcomes, counts = dict(sorted(self.outcomes.items())), dict(sorted(self.counts.items()))
        beside = {"outcomes": outcomes, "counts": counts}
        step = {"step": self.step, "unit": self.unit, "total": self.total, "done": self.done}
        return {**step, "seconds": round(self.seconds, 3), **{name: of for name, of in beside.items() if of}}


class NotedSteps:
    """Passes all that a stage reports on to another Progress, and keeps the figures; `changed` hears of each tick."""

    def __init__(self, shown: Progress, changed: Callable[[], None] = lambda: None) -> None:
        self.figures: list[StepFigures] = []
        self._shown, self._changed = shown, changed
        self._lock = Lock()

    @contextmanager
    def step(self, title: str, total: int | None, unit: str) -> Iterator[Tick]:
        """Show the step, and note it."""
        began, figures = time.monotonic(), StepFigures(title, unit, total)
        self.figures.append(figures)
        with self._shown.step(title, total, unit) as shown:

            def tick(units: int, outcomes: Mapping[str, int] = NONE, counts: Mapping[str, int] = NONE, /) -> None:
                with self._lock:
                    figures.done += units
                    figures.outcomes.update(outcomes)
                    figures.counts.update(counts)
                    figures.seconds = time.monotonic() - began
                shown(units, outcomes, counts)
                self._changed()

            try:
                yield tick
            finally:
                figures.seconds = time.monotonic() - began

    def say(self, sentence: str) -> None:
        """Tell the user."""
        self._shown.say(sentence)
