"""The masks of a ledger, numbered, and what its rules decide of the pairs that have them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.errors import DatasetError
from align_data.stages.audit.roles import FAIL, PASS, UNKNOWN, Verdicts, roles

Codes = NDArray[np.intp]
Which = NDArray[np.bool_]

_TABLE = 2**16
"""Masks below it are looked up in a table; greater ones, of a recipe with more than 16 rules, are searched for."""
_SIGN = np.int64(-(2**63))


class _Numbering:
    """The different masks of one column, numbered."""

    def __init__(self, masks: NDArray[np.int64]) -> None:
        self._masks = np.unique(masks)
        self._signed = bool((self._masks < 0).any())  # such as of pairs that were taken down
        greatest = int((self._masks & ~_SIGN).max(initial=0))
        self._half = 1 << greatest.bit_length()
        self._table = np.zeros(2 * self._half, np.intp) if greatest < _TABLE else None
        if self._table is not None:
            self._table[self._index(self._masks)] = np.arange(len(self))

    def __len__(self) -> int:
        return len(self._masks)

    def _index(self, masks: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where(masks < 0, (masks & ~_SIGN) + self._half, masks) if self._signed else masks

    def numbers(self, masks: NDArray[np.int64]) -> NDArray[np.intp]:
        """Return the number of each mask; some number for one that is not among them."""
        if self._table is not None:
            return self._table.take(self._index(masks), mode="clip")
        return np.minimum(np.searchsorted(self._masks, masks), len(self) - 1)


class Populations:
    """The masks of a ledger, numbered: a pair's code stands for both of its masks."""

    def __init__(self, masks: Iterable[tuple[int, int]]) -> None:
        ordered = sorted(masks)
        self.failed = np.array([failed for failed, _ in ordered], np.int64)
        self.unknown = np.array([unknown for _, unknown in ordered], np.int64)
        self._failed, self._unknown = _Numbering(self.failed), _Numbering(self.unknown)
        self._codes = np.zeros(len(self._failed) * len(self._unknown), np.intp)
        self._codes[self._cells(self.failed, self.unknown)] = np.arange(len(ordered))

    def __len__(self) -> int:
        return len(self.failed)

    def _cells(self, failed: NDArray[np.int64], unknown: NDArray[np.int64]) -> NDArray[np.intp]:
        return self._failed.numbers(failed) * len(self._unknown) + self._unknown.numbers(unknown)

    def codes(self, verdicts: pl.DataFrame) -> Codes:
        """Return each pair's code; DatasetError for masks that the ledger's manifest has not counted."""
        failed, unknown = verdicts["failed"].to_numpy(), verdicts["unknown"].to_numpy()
        if len(self):
            codes = self._codes[self._cells(failed, unknown)]
            if (self.failed[codes] == failed).all() and (self.unknown[codes] == unknown).all():
                return codes
        elif not len(verdicts):
            return np.empty(0, np.intp)
        raise DatasetError("a part of the ledger has verdicts that its manifest has not counted; filter again")

    def others(self, bits: int) -> Verdicts:
        """Return for each code the verdict of all rules but those of `bits` together: the outcome if these passed."""
        mask = ~np.int64(bits)
        undecided = np.where(self.unknown & mask, UNKNOWN, PASS)
        return np.where(self.failed & mask, FAIL, undecided).astype(np.int8)

    def beside(self, bit: int) -> Verdicts:
        """Return for each code the role of a pair in moving the one test of the rule of `bit`."""
        others = self.others(bit)
        return roles(np.zeros_like(others), others)

    def alone(self, bit: int) -> Which:
        """Return which numbers are of pairs that fail the rule of `bit` and no other."""
        return np.asarray(self.failed == np.int64(bit))

    @property
    def living(self) -> Which:
        """Which numbers are of pairs that were not taken down."""
        return np.asarray(self.failed >= 0)

    @property
    def undropped(self) -> Which:
        """Which numbers are of pairs that no rule fails."""
        return np.asarray(self.failed == 0)

    @property
    def kept(self) -> Which:
        """Which numbers are of pairs that pass every rule."""
        return np.asarray((self.failed == 0) & (self.unknown == 0))

    def fails(self, rules: int) -> Which:
        """Return, a row a rule, which numbers are of pairs that it fails."""
        bits = np.int64(1) << np.arange(rules, dtype=np.int64)
        return np.asarray((self.failed[None, :] & bits[:, None]) != 0)
