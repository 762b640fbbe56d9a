"""Progress bars, for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import click
from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task
from rich.text import Text

from align_data.cli.lines import amount, counted, further, summary
from align_data.common.progress import NONE, Tick
from align_data.common.secrets import mask

_TELLING = 1.0
"""Seconds after which a rate is one."""
_BAR, _LEAST = 40, 8
"""Characters of a bar, at most and at least."""


class _Line(ProgressColumn):
    """All of a step in one line that fits the terminal, however narrow: what matters least is left out first."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def render(self, task: Task) -> Text:
        """Return the line."""
        width = self._console.width
        also = further(task.fields.get("also", {})).removeprefix(", ")
        counts = counted(task.completed, task.fields["unit"], task.total)
        columns = [counts, _rate(task), _clock(task), also, summary(task.fields["seen"]).removeprefix("; ")]
        parts = [part for part in columns if part]
        head = task.description
        while len(parts) > 1 and len(head) + 1 + len(", ".join(parts)) > width:
            parts.pop()
        line = Text(f"{head} ", no_wrap=True, overflow="ellipsis")
        line.append_text(_bar(task, min(_BAR, width - len(head) - len(", ".join(parts)) - 2)))
        line.append(", ".join(parts))
        line.truncate(width, overflow="ellipsis")
        return line


def _rate(task: Task) -> str:
    """Return how fast it goes, once there has been time enough to tell."""
    elapsed = task.finished_time if task.finished else task.elapsed
    speed = task.finished_speed if task.finished else task.speed
    return f"{amount(speed, task.fields['unit'])}/s" if speed and elapsed is not None and elapsed >= _TELLING else ""


def _clock(task: Task) -> str:
    """Return the remaining time of a running step, or the time that a finished one took."""
    if task.finished:
        return f"{task.finished_time or 0:,.1f} s"
    remaining = task.time_remaining if (task.elapsed or 0) >= _TELLING else None
    return f"{timedelta(seconds=int(remaining))} left" if remaining is not None else ""


def _bar(task: Task, width: int) -> Text:
    """Return a bar followed by a space; nothing if there is no room for it."""
    if width < _LEAST or task.total is None:
        return Text("")
    filled = int(width * task.percentage / 100)
    return Text.assemble(("━" * filled, "bar.complete"), ("━" * (width - filled), "bar.back"), " ")


class LiveBars:
    """Bars with rate and time left, on standard error."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)

    @contextmanager
    def step(self, title: str, total: int | None, unit: str) -> Iterator[Tick]:
        """Show a bar while the context is open."""
        totals, also = Counter[str](), Counter[str]()
        with Progress(_Line(self._console), console=self._console) as bars:
            task = bars.add_task(title, total=total, unit=unit, seen=totals, also=also)

            def tick(number: int, outcomes: Mapping[str, int] = NONE, counts: Mapping[str, int] = NONE, /) -> None:
                totals.update(outcomes)
                also.update(counts)
                bars.update(task, advance=number)

            yield tick
            if total is None:
                bars.update(task, total=bars.tasks[0].completed)

    def say(self, sentence: str) -> None:
        """Print a sentence."""
        click.echo(mask(sentence), err=True)
