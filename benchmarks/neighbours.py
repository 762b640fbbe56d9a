"""Near-duplicates by embedding: `align-data neighbours` against SemDeDup's own way and faiss IVF, on planted copies.

    python benchmarks/neighbours.py --images 200000 --dim 256

Each arm is a process of its own in one thread; CPU seconds are user and system, reading and writing included where an
arm is a command. Recall of the command is of all planted pairs, that of the others of the pairs that a few thousand
images have with all others, by brute force.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from embedded_pool import NAME, Singles, make, planted_pairs, unit
from numpy.typing import NDArray

from align_data.common.progress import Silent
from align_data.engines.local import LocalEngine
from align_data.neighbours.embedding.codebook import POINTS, cells_for, train
from align_data.stages.neighbours import Comparing, neighbours

THRESHOLD = 0.975
SAMPLE = 3000
Pairs = NDArray[np.int64]


def command(folder: Path, memory: int) -> dict[str, Any]:
    """Run the stage, as the command does."""
    from align_data.data.layout import Dataset  # noqa: PLC0415 - not in the arms that hold all vectors
    from align_data.storage.store import Store  # noqa: PLC0415

    engine = LocalEngine(folder / "_work", 1, memory)
    comparing = Comparing(threshold=THRESHOLD, new_codebook=True, sample=0)
    meta = neighbours(Dataset(Store(folder)), NAME, engine, Silent(), comparing).meta
    return {"cells": meta.cells, "copies": round(meta.copies, 3), "cosines each": round(meta.cosines / meta.images)}


def recall_of_command(folder: Path, number: int, dim: int) -> dict[str, Any]:
    """Return which share of the planted pairs the stage has: it counts each for both of its images."""
    near = pl.scan_parquet(folder / "measured" / f"near.{NAME}" / "*.parquet").select(f"near_duplicates_{NAME}").sum()
    planted = planted_pairs(number, dim, THRESHOLD)
    return {"planted pairs": planted, "recall": round(near.collect().item() / 2 / planted, 5)}


def home_only(every: Singles) -> dict[str, Any]:
    """Compare within each cell alone, all with all, as SemDeDup does."""
    number = len(every)
    cells = cells_for(number)
    points = np.random.default_rng(1).permutation(number)[: cells * POINTS]
    codebook = train(every[points].astype(np.float16), cells)
    home = codebook.cells(every.astype(np.float16), 0.0)[:, 0]
    order = np.argsort(home, kind="stable")
    starts = np.searchsorted(home[order], np.arange(len(codebook) + 1))
    cosines, pairs = 0, []
    for start, stop in pairwise(starts):
        members = order[start:stop]
        for begin in range(0, len(members), 2048):
            rows = members[begin : begin + 2048]
            near = every[rows] @ every[members].T
            cosines += near.size
            i, j = np.nonzero(near >= THRESHOLD)
            pairs.append(np.stack([rows[i], members[j]]))
    recall = _recall(every, np.concatenate(pairs, axis=1))
    return {"cells": len(codebook), "copies": 1, "cosines each": round(cosines / number), **recall}


def faiss_ivf(every: Singles) -> dict[str, Any]:
    """Range search of every vector in an inverted file, in as many lists as recall .999 takes."""
    import faiss  # noqa: PLC0415 - the extra bench

    faiss.omp_set_num_threads(1)
    number, dim = every.shape
    lists = cells_for(number)
    quantizer = faiss.IndexFlatIP(dim)
    index: Any = faiss.IndexIVFFlat(quantizer, dim, lists, faiss.METRIC_INNER_PRODUCT)
    index.train(every[np.random.default_rng(1).permutation(number)[: lists * 40]])
    index.add(every)
    index.nprobe = 6
    pairs = []
    for start in range(0, number, 20_000):
        limits, _, labels = index.range_search(every[start : start + 20_000], THRESHOLD)
        rows = np.repeat(np.arange(len(limits) - 1), np.diff(limits.astype(np.int64)))
        pairs.append(np.stack([start + rows, labels]))
    recall = _recall(every, np.concatenate(pairs, axis=1))
    return {"cells": lists, "copies": 1, "nprobe": index.nprobe, **recall}


def _recall(every: Singles, pairs: Pairs) -> dict[str, Any]:
    """Return the CPU seconds so far, and what share of the pairs of some images, by brute force, are among `pairs`."""
    seconds = time.process_time()
    sample = np.sort(np.random.default_rng(2).permutation(len(every))[:SAMPLE])
    truth = np.concatenate([_near(every, rows) for rows in np.array_split(sample, 30)])
    keys = np.unique(pairs[0] * len(every) + pairs[1])
    return {"recall": round(float(np.isin(truth, keys).mean()), 5), "cpu": round(seconds, 1)}


def _near(every: Singles, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    i, j = np.nonzero(every[rows] @ every.T >= THRESHOLD)
    different = rows[i] != j
    keys: NDArray[np.int64] = rows[i[different]] * len(every) + j[different]
    return keys


ARMS: dict[str, Callable[[Singles], dict[str, Any]]] = {"home cells only": home_only, "faiss IVF": faiss_ivf}


def arms(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Run every arm in a process of its own."""
    for arm in options.arms.split(","):
        words = [sys.executable, __file__, "--arm", arm, "--work", str(options.work), "--memory", str(options.memory)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
        ended = subprocess.run(words, env=environment, check=True, stdout=subprocess.PIPE)
        yield json.loads(ended.stdout)


def run_arm(options: argparse.Namespace) -> None:
    """Run one arm in this process, and print what it took."""
    folder, began = options.work / "pool", time.monotonic()
    if options.arm == "align-data":
        figures = command(folder, options.memory * 2**20)
        figures["cpu"] = round(time.process_time(), 1)
    elif options.arm == "recall":
        figures = recall_of_command(folder, *np.load(options.work / "pool.npy", mmap_mode="r").shape)
    else:
        figures = ARMS[options.arm](unit(np.load(options.work / "pool.npy", mmap_mode="r")))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    wall = round(time.monotonic() - began, 1)
    print(json.dumps({"arm": options.arm, **figures, "wall": wall, "peak GB": round(peak, 2)}))


def main() -> None:
    """Make the pool, and run the arms."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--memory", type=int, default=1024, help="megabytes for the command")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / "data" / "neighbours")
    parser.add_argument("--arms", default="align-data,recall,home cells only,faiss IVF")
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        run_arm(options)
        return
    if not (options.work / "pool.npy").exists():
        make(options.work / "pool", options.images, options.dim)
    for figures in arms(options):
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
