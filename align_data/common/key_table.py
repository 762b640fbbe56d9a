"""Looking up very many 64-bit keys among some hundred thousand, several times as fast as by bisection.

The keys are evenly spread hashes, so where one would lie among the sorted ones follows from its first bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from align_data.common.hashing import Hashes

_MOST_BITS = 24
"""Of the first bits that are looked at: 64 MB of beginnings, for lists of millions."""
Places = NDArray[np.intp]


class KeyTable:
    """Distinct ascending keys, and where those with equal first bits begin."""

    def __init__(self, keys: Hashes) -> None:
        self.keys = keys
        # So many that few keys share theirs with another one.
        bits = min(_MOST_BITS, len(keys).bit_length() + 2)
        self._shift = np.uint64(64 - bits)
        firsts = np.arange(2**bits, dtype=np.uint64) << self._shift
        self._begins = np.searchsorted(keys, firsts).astype(np.int32)
        # Behind the last key a search would read on.
        self._ended = np.append(keys, np.uint64(2**64 - 1))

    def hits(self, sought: Hashes) -> tuple[Places, Places]:
        """Return which of the sought keys are there, in order, and the place of each among the keys."""
        at = self._begins.take((sought >> self._shift).view(np.int64)).astype(np.intp)
        keys = self._ended.take(at)
        below = np.flatnonzero(keys < sought)
        while len(below):
            at[below] += 1
            following = self._ended.take(at.take(below))
            keys[below] = following
            below = below[following < sought.take(below)]
        which = np.flatnonzero(keys == sought)
        places = at.take(which)
        is_key = places < len(self.keys)
        return (which, places) if is_key.all() else (which[is_key], places[is_key])

    def places(self, sought: Hashes) -> Places:
        """Return the place of each sought key among the keys; -1 for one that is not there."""
        places = np.full(len(sought), -1, np.intp)
        which, at = self.hits(sought)
        places[which] = at
        return places
