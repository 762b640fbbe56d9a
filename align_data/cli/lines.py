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


def summary(outcomes: Mapping[str, int], limit: int = 3) -> str:
    """Say which part of the units came to a good end, and the commonest other ends; '' where nothing is known."""
    whole = sum(outcomes.values())
    if not whole:
        return ""
    failures = sorted(((number, end) for end, number in outcomes.items() if end != "ok"), reverse=True)[:limit]
    return f"; {outcomes.get('ok', 0) / whole:.1%} ok" + "".join(f", {end} {n / whole:.1%}" for n, end in failures)


class PlainLines:
    """A line now and then, and one at the end of a step."""

    @contextmanager
    def step(self, title: str, total: int | None, unit: str) -> Iterator[Tick]:
        """Print lines while the context is open."""
        began = printed_at = time.monotonic()
        completed = 0
        lock = Lock()
        totals: Counter[str] = Counter()

        def tick(units: int, outcomes: Mapping[str, int] = NONE, /) -> None:
            nonlocal completed, printed_at
            with lock:
                completed += units
                totals.update(outcomes)
                now = time.monotonic()
                if now - printed_at < LINE_SECONDS:
                    return
                printed_at = now
            rate = completed / (now - began)
            of = f" of {total:,}" if total is not None else ""
            remaining = f", {(total - completed) / rate:,.0f} s left" if total is not None and rate else ""
            click.echo(f"{title}: {completed:,}{of} {unit}, {rate:,.0f}/s{remaining}{summary(totals)}", err=True)

        yield tick
        click.echo(f"{title}: {completed:,} {unit} in {time.monotonic() - began:.1f} s{summary(totals)}", err=True)

    def say(self, sentence: str) -> None:
        """Print a sentence."""
        click.echo(mask(sentence), err=True)
