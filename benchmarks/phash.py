"""How long near-copies by pHash take, and how much memory: python benchmarks/phash.py [self|evaluation] SIZE WITHIN.

`self` compares SIZE pHashes with each other, `evaluation` a million with SIZE evaluation images. Of the hashes 5 % are
copies that differ in up to 8 bits. Against brute force on a sample of rows, and faiss's binary indexes if installed.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from align_data.common.nearest_hash import FAR, nearest_hash
from align_data.neighbours.phash.index import DistinctHashes, nearness

T = TypeVar("T")
SAMPLE = 200
"""Rows that are compared with all."""


def hashes_with_copies(size: int, seed: int = 0) -> NDArray[np.uint64]:
    """Return distinct hashes, some of them near others."""
    chance = np.random.default_rng(seed)
    hashes = chance.integers(0, 2**64, size, dtype=np.uint64)
    copies = chance.permutation(size)[: size // 20]
    copied = hashes[chance.integers(0, size, len(copies))]
    flips = chance.integers(0, 9, len(copies))
    for flip in range(9):
        flipped = np.flatnonzero(flips > flip)
        copied[flipped] ^= np.uint64(1) << chance.integers(0, 64, len(flipped)).astype(np.uint64)
    hashes[copies] = copied
    return np.unique(hashes)


def timed(label: str, compute: Callable[[], T]) -> T:
    """Print what a call costs, and return what it returns."""
    wall, cpu = time.perf_counter(), time.process_time()
    value = compute()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{label}: {time.process_time() - cpu:.1f} CPU s, {time.perf_counter() - wall:.1f} s, peak {peak:.2f} GiB",
        flush=True,
    )
    return value


def self_join(size: int, within: int) -> None:
    """Compare hashes with each other."""
    hashes = hashes_with_copies(size)
    chance = np.random.default_rng(1)
    ones = np.ones(len(hashes), np.int64)
    distinct = DistinctHashes(hashes, ones, ones, chance.integers(0, 2**64, len(hashes), dtype=np.uint64))
    near = timed(f"{size:,} pHashes within {within}", lambda: nearness(distinct, within)).near
    sample = chance.integers(0, len(hashes), SAMPLE)
    truth = [int((np.bitwise_count(hashes ^ hashes[row]) <= within).sum()) - 1 for row in sample]
    print(f"pairs {near.sum() // 2:,}; of {sum(truth):,} near a sample of {SAMPLE}, found {near[sample].sum():,}")
    try:
        import faiss  # noqa: PLC0415 - not one of ours
    except ImportError:
        print("faiss is not installed: no comparison")
        return
    faiss.omp_set_num_threads(1)
    rows = hashes.view(np.uint8).reshape(-1, 8)
    index = faiss.IndexBinaryFlat(64)
    index.add(rows)
    queries = rows[sample]
    timed(f"faiss IndexBinaryFlat, {SAMPLE} of these queries", lambda: index.range_search(queries, within + 1))
    hashed = faiss.IndexBinaryMultiHash(64, 4, 16)
    timed("faiss IndexBinaryMultiHash, build", lambda: hashed.add(rows))
    hashed.nflip = within // 4
    timed(f"faiss IndexBinaryMultiHash, {SAMPLE} of these queries", lambda: hashed.range_search(queries, within + 1))


def evaluation(size: int, within: int) -> None:
    """Compare a million hashes with evaluation images."""
    hashes = hashes_with_copies(1_000_000, 2)
    listed = hashes_with_copies(size, 3)
    listed[:1000] = hashes[:1000] ^ np.uint64(5)
    distance, _ = timed(f"1 M pHashes, {size:,} listed, within {within}", lambda: nearest_hash(hashes, listed, within))
    some = hashes[:2000]
    every, _ = timed("brute force, 2,000 of them", lambda: nearest_hash(some, listed, 64))
    assert np.array_equal(np.where(every <= within, every, FAR), distance[: len(some)])


def main() -> None:
    """Run what the command line says."""
    {"self": self_join, "evaluation": evaluation}[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3]))


if __name__ == "__main__":
    main()
