"""Selections: the pairs for which all that somebody asks holds, counted and listed."""

from align_data.selection.classes import CLASSES, frequent, unheard_of
from align_data.selection.conditions import Condition
from align_data.selection.scan import DEEPEST, Selected, SelectedPair, columns_of, frames, select, uids
from align_data.selection.selection import PairSelection

__all__ = [
    "CLASSES",
    "DEEPEST",
    "Condition",
    "PairSelection",
    "Selected",
    "SelectedPair",
    "columns_of",
    "frames",
    "frequent",
    "select",
    "uids",
    "unheard_of",
]
