"""Exact cosines of stored embeddings, in blocks: single precision says where to look, exact sums say how near.

An embedding is of float16 numbers, multiples of 2^-24, and about of unit length. So each product of two of them is a
multiple of 2^-48, every sum of these below 2^4 fits a float64 exactly, and a cosine is the same in whatever order, on
whatever machine it is summed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Halves = NDArray[np.float16]
Singles = NDArray[np.float32]
Doubles = NDArray[np.float64]
Places = NDArray[np.intp]
Millionths = NDArray[np.int64]
"""Cosines as whole numbers of millionths, so that equal ones are equal."""

MILLION = 10**6
_ROWS = 128
"""Rows that are compared at once with everything."""
_DENSE = 1 / 64
"""Share of a block's cosines from which computing all of them exactly costs less than one by one."""
_GATHERED = 2**20
"""Numbers that are gathered at once to compute cosines one by one."""
_LENGTH_ERROR = 0.01
"""How far a stored length may be from 1. Rounding to float16 moves it by less than a thousandth."""


class Vectors:
    """Embeddings (rows, dimension) of about unit length, and what is computed from them once."""

    def __init__(self, halves: Halves) -> None:
        self.halves = halves
        self.lengths = lengths(halves)
        self.singles: Singles = halves.astype(np.float32)
        """Each at a length of 1, but for rounding."""
        self.singles /= self.lengths[:, None].astype(np.float32)

    def __len__(self) -> int:
        return len(self.halves)

    def __getitem__(self, rows: slice | Places) -> Vectors:
        """Return some of them."""
        chosen = object.__new__(Vectors)
        chosen.halves, chosen.lengths, chosen.singles = self.halves[rows], self.lengths[rows], self.singles[rows]
        return chosen


def lengths(halves: Halves) -> Doubles:
    """Return the length of each embedding."""
    exact = halves.astype(np.float64)
    squares: Doubles = np.einsum("ij,ij->i", exact, exact)
    return np.sqrt(squares)


def is_unit(length: Doubles) -> NDArray[np.bool_]:
    """Tell which lengths an encoder's embedding can have."""
    return np.abs(length - 1) <= _LENGTH_ERROR


def pairs_within(rows: Vectors, columns: Vectors, least: int) -> tuple[Places, Places, Millionths]:
    """Return row, column and cosine of all pairs with a cosine of at least so many millionths, row by row.

    Exact: single precision errs by less than `slack`, and what it lets through is computed again.
    """
    rough = rows.singles @ columns.singles.T
    slack = (rows.halves.shape[1] + 8) * 2.0**-24
    i, j = np.nonzero(rough >= (least - 0.5) / MILLION - slack)
    if len(i) > rough.size * _DENSE:
        exact = rows.halves.astype(np.float64) @ columns.halves.astype(np.float64).T
        exact /= rows.lengths[:, None]
        exact /= columns.lengths
        cosines = _millionths(exact)
        i, j = np.nonzero(cosines >= least)
        return i, j, cosines[i, j]
    cosines = _millionths(_one_by_one(rows, columns, i, j))
    near = cosines >= least
    return i[near], j[near], cosines[near]


def highest(rows: Vectors, columns: Vectors) -> tuple[Millionths, Places]:
    """Return the highest cosine of each row with any column, and the first column that has it."""
    cosines, places = np.empty(len(rows), np.int64), np.empty(len(rows), np.intp)
    slack = 2 * (rows.halves.shape[1] + 8) * 2.0**-24 + 1 / MILLION  # which equal decimals can be apart
    for start in range(0, len(rows), _ROWS):
        block = rows[start : start + _ROWS]
        rough = block.singles @ columns.singles.T
        i, j = np.nonzero(rough >= rough.max(axis=1, keepdims=True) - slack)
        keys = _millionths(_one_by_one(block, columns, i, j)) * len(columns) - j
        best = np.maximum.reduceat(keys, np.flatnonzero(np.diff(i, prepend=-1)))
        cosines[start : start + len(block)] = -(-best // len(columns))
        places[start : start + len(block)] = -best % len(columns)
    return cosines, places


def _one_by_one(rows: Vectors, columns: Vectors, i: Places, j: Places) -> Doubles:
    dots = np.empty(len(i))
    step = max(1, _GATHERED // max(1, rows.halves.shape[1]))
    for start in range(0, len(i), step):
        at = slice(start, start + step)
        of_rows, of_columns = rows.halves[i[at]].astype(np.float64), columns.halves[j[at]].astype(np.float64)
        dots[at] = np.einsum("ij,ij->i", of_rows, of_columns)
    dots /= rows.lengths[i]
    dots /= columns.lengths[j]
    return dots


def _millionths(cosines: Doubles) -> Millionths:
    np.clip(cosines, -1, 1, out=cosines)
    cosines *= MILLION
    return np.rint(cosines, out=cosines).astype(np.int64)
