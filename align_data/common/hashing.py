"""Stable 64-bit keys of strings, words and pairs of words, and the uid made of them.

Two different strings share a key by chance once in about 10^19 pairs of strings: a handful of collisions among
10^10 keys, which change a count and nothing else, for a URL is always compared as itself.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar

import numpy as np
import polars as pl
import polars_hash
import pyarrow as pa
from numpy.typing import NDArray
from xxhash import xxh3_128

Keys = NDArray[np.int64]
"""64-bit keys as signed integers, for tables that know no other."""
Hashes = NDArray[np.uint64]

Uids = TypeVar("Uids", str, pl.Expr, pl.Series)

_HEX = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), dtype=np.uint16)


def xxh3(strings: pl.Expr) -> pl.Expr:
    """Hash each string's UTF-8 bytes with xxh3_64, as UInt64; the same on every machine and version."""
    return polars_hash.NonCryptographicHashingNameSpace(strings).xxh3_64()


def keys(strings: pl.Series) -> Hashes:
    """Hash a series of strings."""
    return strings.to_frame("s").select(xxh3(pl.col("s"))).to_series().to_numpy()


def xxh3_of(file: Any) -> str:
    """Return the xxh3_128 of the content of a file that is open, 32 hex characters."""
    return hashlib.file_digest(file, xxh3_128).hexdigest()


def pair_keys(leading: Hashes, following: Hashes) -> Hashes:
    """Return the key of each pair of words from the words' keys; order matters."""
    key = leading * np.uint64(0x9E3779B97F4A7C15)
    key += following
    # Without this a range of keys would be a range of sums: ranges must be even, whatever the words are.
    key ^= key >> np.uint64(32)
    key *= np.uint64(0xD6E8FEB86659FD93)
    key ^= key >> np.uint64(32)
    return key


def hash01(hashes: Hashes) -> NDArray[np.float64]:
    """Return each evenly spread hash as a number from 0 to below 1, of its first 53 bits: all that a float64 holds."""
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53


def image_key(uids: Uids) -> Uids:
    """Return the key of each pair's image, 16 hex characters: the first half of its uid, or of what a uid begins with.

    The key of a URL by `xxh3` in hex is the same.
    """
    return uids[:16] if isinstance(uids, str) else uids.str.head(16)


def uid(url_keys: Hashes, pair_keys_: Hashes) -> pl.Series:
    """Return the uids, 32 hex characters each, of pairs given by the keys of URL and of URL + NUL + text."""
    raw = np.empty((len(url_keys), 2), dtype=">u8")
    raw[:, 0], raw[:, 1] = url_keys, pair_keys_
    text = _HEX[raw.view(np.uint8)]
    ends = np.arange(len(raw) + 1, dtype=np.int64) * 32
    return pl.Series("uid", pa.LargeStringArray.from_buffers(len(raw), pa.py_buffer(ends), pa.py_buffer(text)))
