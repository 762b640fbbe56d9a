"""A number by chance for each pair, the same wherever and whenever it is read: for samples, and for balancing."""

from __future__ import annotations

from functools import partial

import polars as pl

from align_data.common.hashing import xxh3
from align_data.signals.base import Piece, Signal
from align_data.signals.families import Family

BITS = 53
"""Of a hash, as many as a float64 holds: so a number is a whole number of 2 to the -53."""


def hash01(strings: pl.Expr) -> pl.Expr:
    """Return a number from 0 up to 1, without it, for each string: the upper 53 bits of its xxh3_64."""
    numbers: pl.Expr = (xxh3(strings) // 2 ** (64 - BITS)).cast(pl.Float64) / 2**BITS
    return numbers


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
    return piece.frame.select(hash01(pl.concat_str(pl.col("uid"), pl.lit(f"\n{seed}")))).to_series()


FAMILIES = (Family("random", "derived", _random),)
