"""Looking up very many 64-bit keys among some hundred thousand, several times as fast as by bisection.

The keys are evenly spread hashes, so where one would lie among the sorted ones follows from its first bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from align_data.common.hashing import Hashes

_MOST_BITS = 24
"""Of the first bits that are looked at: 64 MB of beginnings, for lists of millions."""


class KeyTable:
    """Distinct ascending keys, and where those with equal first bits begin."""

    def __init__(self, keys: Hashes) -> None:
        self.keys = keys
        bits = min(_MOST_BITS, max(1, len(keys).bit_length() + 1))
        self._shift = np.uint64(64 - bits)
        firsts = np.arange(2**bits, dtype=np.uint64) << self._shift
        self._begins = np.searchsorted(keys, firsts).astype(np.int32)
        # Behind the last key a search would read on.
        self._ended = np.append(keys, np.uint64(2**64 - 1))

    def places(self, sought: Hashes) -> NDArray[np.int32]:
        """Return the place of each sought key among the keys; -1 for one that is not there."""
        at: NDArray[np.int32] = self._begins[sought >> self._shift]
        below = np.flatnonzero(self._ended[at] < sought)
        while len(below):
            at[below] += 1
            below = below[self._ended[at[below]] < sought[below]]
        missing = self._ended[at] != sought
        missing |= at == len(self.keys)
        at[missing] = -1
        return at
