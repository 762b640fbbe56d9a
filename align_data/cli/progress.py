"""Progress on a terminal, and where there is none."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from align_data.progress import NONE, Tick
from align_data.secrets import mask

EVERY = 10.0
"""Seconds between two plain lines of a step."""


def summary(seen: Mapping[str, int], most: int = 3) -> str:
    """Say which part of the units came to a good end, and the commonest other ends; '' where nothing is known."""
    whole = sum(seen.values())
    if not whole:
        return ""
    others = sorted(((number, end) for end, number in seen.items() if end != "ok"), reverse=True)[:most]
    return f"; {seen.get('ok', 0) / whole:.1%} ok" + "".join(f", {end} {n / whole:.1%}" for n, end in others)


class _Rate(ProgressColumn):
    """Done, of how many, and how fast."""

    def render(self, task: Task) -> Text:
        """Return the column's text."""
        total = f" of {task.total:,.0f}" if task.total is not None else ""
        speed = task.finished_speed or task.speed
        rate = f", {speed:,.0f}/s" if speed else ""
        return Text(f"{task.completed:,.0f}{total} {task.fields['unit']}{rate}")


class Live:
    """Bars with rate and time left, on standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)

    @contextmanager
    def step(self, title: str, total: int | None, unit: str) -> Iterator[Tick]:
        """Show a bar while the context is open."""
        columns = (TextColumn("{task.description}"), BarColumn(), _Rate(), TimeRemainingColumn())
        with Progress(*columns, console=self._console) as bars:
            task = bars.add_task(title, total=total, unit=unit)
            seen: Counter[str] = Counter()

            def tick(done: int, outcomes: Mapping[str, int] = NONE, /) -> None:
                seen.update(outcomes)
                bars.update(task, advance=done, description=f"{title}{summary(seen)}")

            yield tick
            if total is None:
                bars.update(task, total=bars.tasks[0].completed)

    def say(self, sentence: str) -> None:
        """Print a sentence."""
        click.echo(mask(sentence), err=True)


class Lines:
    """A line now and then, and one at the end of a step."""

    @contextmanager
    def step(self, title: str, total: int | None, unit: str) -> Iterator[Tick]:
        """Print lines while the context is open."""
        began = last = time.monotonic()
        done = 0
        lock = Lock()
        seen: Counter[str] = Counter()

        def tick(units: int, outcomes: Mapping[str, int] = NONE, /) -> None:
            nonlocal done, last
            with lock:
                done += units
                seen.update(outcomes)
                now = time.monotonic()
                if now - last < EVERY:
                    return
                last = now
            rate = done / (now - began)
            of = f" of {total:,}" if total is not None else ""
            left = f", {(total - done) / rate:,.0f} s left" if total is not None and rate else ""
            click.echo(f"{title}: {done:,}{of} {unit}, {rate:,.0f}/s{left}{summary(seen)}", err=True)

        yield tick
        click.echo(f"{title}: {done:,} {unit} in {time.monotonic() - began:.1f} s{summary(seen)}", err=True)

    def say(self, sentence: str) -> None:
        """Print a sentence."""
        click.echo(mask(sentence), err=True)
