"""The marks that people gave pairs by hand, as a signal: its name ends in the label's."""

from __future__ import annotations

from functools import partial

import polars as pl

from align_data.signals.base import Piece, Signal
from align_data.signals.families import Family

LABEL = "label"
"""What the names of these signals begin with."""
KEEP, DROP, UNSURE = BY_HAND = ("keep", "drop", "unsure")
"""The marks that say what a pair is worth."""
SELECTED = "selected"
"""The mark of a selection that was saved."""
UNMARKED = "unmarked"
"""The value of a pair that has no mark; to mark a pair so takes its mark back."""
MARKS = (*BY_HAND, SELECTED, UNMARKED)


def _label(name: str) -> Signal:
    return Signal(
        name=f"{LABEL}_{name}",
        kind="derived",
        group="derived",
        type="string",
        unit="mark",
        about=f"The mark that the label {name} gives the pair by hand: keep, drop or unsure; selected in a selection "
        "that was saved; unmarked for all others. It is looked up by uid when it is read.",
        source="ours",
        needs=("uid",),
        lacks=f"need marks: align-data label DATASET {name} --mark keep --uids FILE",
        erased_by_takedown=True,
        measure=partial(_of_marks, name),
    )


def _of_marks(name: str, piece: Piece) -> pl.Series:
    marks = piece.frame.select("uid").join(piece.marks[name], on="uid", how="left", maintain_order="left")
    return marks["mark"].fill_null(UNMARKED)


FAMILIES = (Family(LABEL, "derived", _label),)
