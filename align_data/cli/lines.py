"""Progress as plain lines, for what is no terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock

import click

from align_data.common.progress import NONE, Tick
from align_data.common.secrets import mask

LINE_SECONDS = 10.0
"""Seconds between two plain lines of a step."""
_SIZES = (("TB", 2**40), ("GB", 2**30), ("MB", 2**20), ("KB", 2**10))


def summary(outcomes: Mapping[str, int], limit: int = 3) -> str:
    """Say which part of the units came to a good end, and the commonest other ends; '' where nothing is known."""
    whole = sum(outcomes.values())
    if not whole:
        return ""
    failures = sorted(((number, end) for end, number in outcomes.items() if end != "ok"), reverse=True)[:limit]
    return f"; {outcomes.get('ok', 0) / whole:.1%} ok" + "".join(f", {end} {n / whole:.1%}" for n, end in failures)


def amount(number: float, unit: str) -> str:
    """Say how many units: bytes as people have them."""
    if unit != "bytes":
        return f"{number:,.0f}"
    for name, size in _SIZES:
        if number >= size:
            return f"{number / size:,.1f} {name}"
    return f"{number:,.0f} B"


def counted(completed: float, unit: str, total: float | None = None) -> str:
    """Say how many units are done, of how many; bytes say themselves what they are."""
    done = amount(completed, unit) + (f" of {amount(total, unit)}" if total is not None else "")
    return done if unit == "bytes" else f"{done} {_word(completed if total is None else total, unit)}"


def _word(number: float, unit: str) -> str:
    return unit.removesuffix("s") if number == 1 else unit


def further(counts: Mapping[str, int]) -> str:
    """Say what else was counted; '' where nothing was."""
    return "".join(f", {number:,} {_word(number, unit)}" for unit, number in counts.items())


class PlainLines:
    """A line now and then, and one at the end of a step."""

    @contextmanager
    def step(self, title: str, total: int | None, unit: str) -> Iterator[Tick]:
        """Print lines while the context is open."""
        began = printed_at = time.monotonic()
        completed = 0
        lock = Lock()
        totals, also = Counter[str](), Counter[str]()

        def tick(number: int, outcomes: Mapping[str, int] = NONE, counts: Mapping[str, int] = NONE, /) -> None:
            nonlocal completed, printed_at
            with lock:
                completed += number
                totals.update(outcomes)
                also.update(counts)
                now = time.monotonic()
                if now - printed_at < LINE_SECONDS:
                    return
                printed_at = now
            rate = completed / (now - began)
            remaining = f", {(total - completed) / rate:,.0f} s left" if total is not None and rate else ""
            done = counted(completed, unit, total) + further(also)
            click.echo(f"{title}: {done}, {amount(rate, unit)}/s{remaining}{summary(totals)}", err=True)

        yield tick
        done = counted(completed, unit) + further(also)
        click.echo(f"{title}: {done} in {time.monotonic() - began:.1f} s{summary(totals)}", err=True)

    def say(self, sentence: str) -> None:
        """Print a sentence."""
        click.echo(mask(sentence), err=True)
