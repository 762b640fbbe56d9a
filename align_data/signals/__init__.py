"""Every signal there is: one definition each, in the module of its family.

A signal is a value measured for a pair. Its name is its column, its key in a recipe and its heading in the docs.
"""

from __future__ import annotations

from align_data.errors import SignalError, nearest
from align_data.signals import corpus, image, language, size, text
from align_data.signals.base import Kind, Measure, Piece, Signal

__all__ = ["SIGNALS", "Kind", "Measure", "Piece", "Signal", "find"]

SIGNALS: dict[str, Signal] = {
    signal.name: signal for family in (text, language, corpus, size, image) for signal in family.SIGNALS
}


def find(name: str) -> Signal:
    """Return the signal called `name`; SignalError names what there is."""
    if name not in SIGNALS:
        raise SignalError(f"there is no signal {name}{nearest(name, SIGNALS)}; there are: {', '.join(SIGNALS)}")
    return SIGNALS[name]
