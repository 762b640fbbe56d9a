"""A number by chance for each pair, the same wherever and whenever it is read: for samples, and for balancing."""

from __future__ import annotations

from functools import partial

import polars as pl

from align_data.common.hashing import hash01, keys
from align_data.signals.base import Piece, Signal
from align_data.signals.families import Family


def _random(name: str) -> Signal:
    return Signal(
        name=f"random_{name}",
        kind="derived",
        group="derived",
        type="float64",
        unit="0 to 1",
        about=f"A number by chance, from 0 up to 1, that hangs on the pair's uid and the seed {name} alone: lt 0.1 "
        "keeps a tenth of the pairs, the same on every machine. It is computed when it is read, and stored nowhere.",
        source="ours",
        needs=("uid",),
        repeats=False,
        measure=partial(_of_uids, name),
    )


def _of_uids(seed: str, piece: Piece) -> pl.Series:
    return pl.Series(hash01(keys(piece.frame["uid"] + f"\n{seed}")))


FAMILIES = (Family("random", "derived", _random),)
