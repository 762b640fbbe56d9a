"""Which pairs a rule's curve is about: those that no other rule drops."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl
from numpy.typing import NDArray

Codes = NDArray[np.int32]
Which = NDArray[np.bool_]

DROPPED, OPEN, WAITING = 0, 1, 2
"""The verdict of the other rules on a pair: one fails; all pass; none fails and one is unknown."""
POPULATIONS = 3


class Populations:
    """The masks of a ledger, numbered: a pair's code stands for both of its masks."""

    def __init__(self, masks: Iterable[tuple[int, int]]) -> None:
        ordered = sorted(masks)
        self.failed = np.array([failed for failed, _ in ordered], np.int64)
        self.unknown = np.array([unknown for _, unknown in ordered], np.int64)
        self._frame = pl.DataFrame(
            {"failed": self.failed, "unknown": self.unknown, "code": np.arange(len(ordered), dtype=np.int32)}
        )

    def __len__(self) -> int:
        return len(self.failed)

    def codes(self, verdicts: pl.DataFrame) -> Codes:
        """Return each pair's code."""
        joined = verdicts.join(self._frame, on=["failed", "unknown"], how="left", maintain_order="left")
        return joined["code"].to_numpy()

    def beside(self, bit: int) -> NDArray[np.uint8]:
        """Return for each code the verdict of all rules but the one of `bit`: DROPPED, OPEN or WAITING."""
        mask = ~np.int64(bit)
        waiting = np.where(self.unknown & mask, WAITING, OPEN)
        return np.where(self.failed & mask, DROPPED, waiting).astype(np.uint8)

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
