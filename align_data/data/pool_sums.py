"""Sums over a whole pool, in one scan and in whole numbers: so they are the same on every engine and for any parts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np

from align_data.common.progress import Progress, Tick
from align_data.data.order_statistics import Codes, CodeSource, Group
from align_data.engines.base import Engine

_LIMB = 21
"""Bits of the numbers that codes are squared in: the sum of 2^20 such products fits in 64 bits."""


@dataclass(frozen=True)
class Sums:
    """Sums of the codes of some values."""

    number: int
    low: int
    high: int
    total: int
    squares: int

    def add(self, other: Sums) -> Sums:
        """Return the sums of both."""
        return Sums(
            self.number + other.number,
            min(self.low, other.low),
            max(self.high, other.high),
            self.total + other.total,
            self.squares + other.squares,
        )

    def mean(self, unit: int) -> float:
        """Return the mean of the values, of which `unit` codes are 1."""
        return float(Fraction(self.total, self.number * unit))

    def deviation(self, unit: int) -> float:
        """Return the standard deviation of the values, of the whole pool."""
        return math.sqrt(Fraction(self.number * self.squares - self.total**2, (self.number * unit) ** 2))


def sums(source: CodeSource, title: str, rows: Sequence[int], engine: Engine, progress: Progress) -> dict[Group, Sums]:
    """Return the sums of each group; a group without values is absent."""
    totals: dict[Group, Sums] = {}
    for part in engine.map_parts(title, partial(_of_part, source), rows, progress):
        _add(totals, part)
    return totals


def _of_part(source: CodeSource, part: int, tick: Tick) -> dict[Group, Sums]:
    totals: dict[Group, Sums] = {}
    for groups in source.codes(part, tick):
        _add(totals, {group: of_codes(codes) for group, codes in groups.items() if len(codes)})
    return totals


def _add(totals: dict[Group, Sums], others: Mapping[Group, Sums]) -> None:
    for group, other in others.items():
        totals[group] = totals[group].add(other) if group in totals else other


def of_codes(codes: Codes) -> Sums:
    """Return the sums of at most 2^20 codes, at least one."""
    low, high = int(codes.min()), int(codes.max())
    count = -(-max(abs(low), abs(high) + 1).bit_length() // _LIMB)
    mask = np.int64((1 << _LIMB) - 1)
    # The last limb has the sign; the others are positive.
    limbs = [
        codes >> np.int64(_LIMB * n) if n == count - 1 else (codes >> np.int64(_LIMB * n)) & mask for n in range(count)
    ]
    total = sum(int(limb.sum()) << (_LIMB * n) for n, limb in enumerate(limbs))
    squares = sum(int(np.dot(a, b)) << (_LIMB * (i + j)) for i, a in enumerate(limbs) for j, b in enumerate(limbs))
    return Sums(len(codes), low, high, total, squares)
