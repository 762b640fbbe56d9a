"""A search with stored embeddings: seconds of a query over so many texts, exactly, by comparing all of them.

    python benchmarks/search.py --pairs 5000000 --dim 96

The model draws its vectors at random and takes no time: the first search shows what storing costs, those after it
what reading and comparing do.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Collection, Sequence
from typing import Any, cast

import numpy as np
from what_if import memory

from align_data.common.progress import Silent
from align_data.models.spaces import SPHERE
from align_data.train.metrics import Vectors, unit
from align_data.train.search import Part, search
from align_data.train.shards import Sample, Shards

PER_SHARD = 100_000


class Drawn:
    """A model of texts."""

    side, digest, temperature, space = 1, "drawn", 1.0, SPHERE

    def __init__(self, dim: int) -> None:
        self.dim, self._random = dim, np.random.default_rng(0)

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Draw a vector for each text."""
        return unit(self._random.standard_normal((len(texts), self.dim), np.float32))

    def images(self, pixels: Any) -> Vectors:
        """Embed nothing."""
        raise NotImplementedError


class MadeShards:
    """Shards of pairs that are made as they are read."""

    def __init__(self, pairs: int) -> None:
        self.names = [f"{shard:05}.tar" for shard in range(pairs // PER_SHARD)]
        self.pairs, self.skipped = len(self.names) * PER_SHARD, dict[str, str]()

    def pairs_of(self, shards: Collection[str]) -> int:
        """Count the pairs of some shards."""
        return len(shards) * PER_SHARD

    def content_key(self, name: str) -> str:
        """Return what a shard is known by."""
        return name.partition(".")[0].rjust(32, "0")

    def whole(self, name: str) -> list[Sample]:
        """Make the pairs of a shard."""
        begin = int(name.partition(".")[0]) * PER_SHARD
        return [
            Sample(f"{n:032x}", f"http://h{n % 97}.example/{n}.jpg", f"a text of some words, number {n}", b"")
            for n in range(begin, begin + PER_SHARD)
        ]


def main() -> None:
    """Print what each search took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5_000_000)
    parser.add_argument("--dim", type=int, default=96)
    parser.add_argument("--queries", type=int, default=5)
    options = parser.parse_args()
    model, shards = Drawn(options.dim), cast("Shards", MadeShards(options.pairs))
    seconds, cpu = [], []
    with tempfile.TemporaryDirectory() as index:
        for number in range(1 + options.queries):
            begin = time.perf_counter(), time.process_time()
            query = [Part("text", str(number), 1.0)]
            search(model, shards, query, Silent(), kind="texts", index=index, pictures=False)
            seconds.append(time.perf_counter() - begin[0])
            cpu.append(time.process_time() - begin[1])
    print(f"{shards.pairs:,} texts, {options.dim} dimensions; memory at its peak {memory(peak=True):.1f} GiB")
    print(f"stored and searched: {seconds[0]:.1f} s")
    print(f"searched: {statistics.median(seconds[1:]):.2f} s, CPU {statistics.median(cpu[1:]):.2f} s (medians)")


if __name__ == "__main__":
    main()
