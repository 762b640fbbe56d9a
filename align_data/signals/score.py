"""Scores: what a model says of the pair. A family whose names are open: each model's is called by its user."""

from __future__ import annotations

import re

from align_data.common.errors import SignalError
from align_data.signals.base import Signal

SIMILARITY = "similarity"
GROUP = "score"
"""What the groups are called that scores lie in, each in its own: 'score.NAME'."""
NAME = "[a-z0-9][a-z0-9_-]{0,63}"
DECIMALS = 6
"""Of a stored similarity: so its distribution is a histogram of two million and one values, and is exact."""


def check_name(name: str) -> str:
    """Return a name that scores can be stored under; SignalError for any other."""
    if not re.fullmatch(NAME, name):
        raise SignalError(
            f"{name!r} is not a valid score name: use lower-case letters, digits, '-' and '_', "
            "64 at most, the first a letter or a digit"
        )
    return name


def similarity(name: str) -> Signal:
    """Return the signal of the scores that are stored under `name`; SignalError for what cannot be one."""
    return _signal(check_name(name))


def _signal(name: str) -> Signal:
    return Signal(
        name=f"{SIMILARITY}_{name}",
        kind="score",
        group=f"{GROUP}.{name}",
        type="float64",
        unit="cosine",
        about="Cosine of the image's and the text's embedding by the model that align-data score was given with "
        f"--as {name}, rounded to {DECIMALS} decimals.",
        source="LAION-400M, which dropped pairs below 0.3 by CLIP ViT-B/32; DataComp",
        needs=("alt_text",),
        nullable=True,
        repeats=False,
        lacks=f"need a model: align-data score MODEL DATASET --as {name}",
        null="they have no image that could be had and decoded when it was scored",
        former=f"{SIMILARITY}.{name}",
    )


SHOWN = _signal("NAME")
"""The family as lists of signals show it."""
