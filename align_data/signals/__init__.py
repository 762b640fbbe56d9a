"""Every signal there is: one definition each, in the module of its family.

A signal is a value measured for a pair. Its name is its column, its key in a recipe and its heading in the docs. The
names of one family are open: `similarity.NAME` is whatever model its user called so.
"""

from __future__ import annotations

from collections.abc import Iterable

from align_data.common.errors import SignalError, nearest
from align_data.common.registry import registry
from align_data.signals import corpus, image, language, score, text
from align_data.signals.base import CHECKS, Kind, Measure, Piece, Signal

__all__ = ["SIGNALS", "Kind", "Measure", "Piece", "Signal", "checks", "find", "is_signal", "ordered"]

SIGNALS: dict[str, Signal] = registry(
    "signals", ((signal.name, signal) for family in (text, language, corpus, image) for signal in family.SIGNALS)
)
"""All but those of the open family."""


def find(name: str) -> Signal:
    """Return the signal called `name`; SignalError lists all names."""
    if name in SIGNALS:
        return SIGNALS[name]
    family, _, model = name.partition(".")
    if family == score.SIMILARITY and model:
        return score.similarity(model)
    names = [*SIGNALS, score.SHOWN.name]
    raise SignalError(f"there is no signal {name}{nearest(name, names)}; there are: {', '.join(names)}")


def is_signal(name: str) -> bool:
    """Tell whether there is a signal of this name."""
    try:
        find(name)
    except SignalError:
        return False
    return True


def ordered(names: Iterable[str]) -> list[str]:
    """Return signals in the order of the docs, those of the open family last and by name."""
    unordered = set(names)
    return [*(name for name in SIGNALS if name in unordered), *sorted(unordered - SIGNALS.keys())]


def checks() -> dict[str, list[Signal]]:
    """Return the checks of images, the cheapest first, each with the signals that it measures."""
    by_check: dict[str, list[Signal]] = {name: [] for name in CHECKS}
    for signal in SIGNALS.values():
        if signal.checked and signal.check is not None:
            by_check.setdefault(signal.check, []).append(signal)
    return by_check
