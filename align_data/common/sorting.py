"""Sorting 64-bit keys that are hashes, and what is read of values in order."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.hashing import Hashes, Keys

K = TypeVar("K", Keys, Hashes)


def argsort(keys: K) -> tuple[NDArray[np.intp], K]:
    """Return an order that sorts keys, and them in it.

    The leading bits of a key and its index make one number, so that Polars' sort of numbers does it: numpy's is as
    fast only where the processor's vector instructions suit it. Of hashes few share the bits that are left out.
    """
    if not len(keys):
        return np.empty(0, np.intp), keys
    bits = len(keys).bit_length()
    packed: Hashes = keys.view(np.uint64) - keys.min().view(np.uint64)
    packed >>= np.uint64(max(0, int(packed.max()).bit_length() + bits - 64))
    packed <<= np.uint64(bits)
    packed |= np.arange(len(keys), dtype=np.uint64)
    packed = pl.Series(packed).sort(multithreaded=False).to_numpy()
    order = (packed & np.uint64(2**bits - 1)).view(np.intp)
    ordered = keys[order]
    disordered = np.flatnonzero(ordered[1:] < ordered[:-1])
    if len(disordered) > len(keys) // 256:
        order = np.argsort(keys)
        return order, keys[order]
    if len(disordered):
        leading = packed >> np.uint64(bits)
        alike = np.unique(leading[disordered])
        begins, ends = np.searchsorted(leading, alike), np.searchsorted(leading, alike, side="right")
        for start, stop in zip(begins, ends, strict=True):
            order[start:stop] = order[start:stop][np.argsort(ordered[start:stop])]
            ordered[start:stop] = keys[order[start:stop]]
    return order, ordered


def starts(ordered: Keys | Hashes) -> NDArray[np.bool_]:
    """Tell for each of some sorted keys whether it is the first of its value."""
    is_start = np.empty(len(ordered), dtype=bool)
    is_start[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=is_start[1:])
    return is_start


def least(values: NDArray[Any], lengths: NDArray[Any], of_none: int) -> NDArray[Any]:
    """Return for each row the least of its values, which are `lengths` many; `of_none` for a row of none."""
    each = np.full(len(lengths), of_none, values.dtype)
    full = lengths > 0
    if full.any():
        ends = np.cumsum(lengths[full], dtype=np.int64)
        each[full] = np.minimum.reduceat(values, ends - lengths[full])
    return each
