"""Moving thresholds of a large ledger together: seconds a move, and the memory that the pool takes.

    python benchmarks/what_if.py --pairs 20000000

Signals are drawn at random. Each kind of move is timed several times, at another value each time, so that nothing is
remembered of it; the first, which reads the columns, apart. Last, the counts of a move are held against those of
`filter` with the same `--set`.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from align_data.common.progress import Silent
from align_data.data.columns import by_group, identities
from align_data.data.layout import Dataset
from align_data.data.meta import SignalsMeta
from align_data.engines.local import LocalEngine
from align_data.recipes.overrides import override_all
from align_data.recipes.plan import Plan
from align_data.recipes.reading import load
from align_data.signals import find
from align_data.stages.audit import audit
from align_data.stages.audit.what_if import WhatIf
from align_data.stages.decision import Decision, decide_ledger
from align_data.stages.ingest import ingest
from align_data.storage.store import Store

RECIPE = """
name: what-if
rules:
- {name: n_words, signal: n_words, between: [3, 60], source: bench}
- {name: n_chars, signal: n_chars, ge: 12, source: bench}
- {name: language, signal: language, in: [en, de, fr], source: bench}
- {name: sure, signal: language_score, by: language, ge: {de: 0.4, fr: 0.5, else: 0.3}, source: bench}
- name: either
  any:
  - {signal: n_words, ge: 8}
  - {signal: n_chars, ge: 60}
  source: bench
- {name: script, signal: script, eq: Latin, source: bench}
- {name: best, signal: language_score, top_fraction: 0.5, source: bench}
"""
FILE_ROWS = 1_000_000
Move = Callable[[int], tuple[list[str], list[str]]]
"""Returns what a try sets, and which rules it takes out."""
MOVES: dict[str, Move] = {
    "one threshold": lambda n: ([f"n_chars.ge={10 + n}"], ["best"]),
    "three thresholds": lambda n: (
        [f"n_chars.ge={20 + n}", f"n_words.between={2 + n},50", f"sure.ge.de=0.{51 + n}"],
        ["best"],
    ),
    "five rules, one any, one taken out": lambda n: (
        [f"n_chars.ge={30 + n}", f"n_words.between={2 + n},40", f"sure.ge.fr=0.{61 + n}", f"either.n_words.ge={9 + n}"],
        ["script", "best"],
    ),
    "a fraction of what is kept": lambda n: ([f"best.top_fraction=0.{31 + n}"], []),
    "two thresholds, the fraction anew": lambda n: ([f"n_chars.ge={40 + n}", f"n_words.between={2 + n},30"], []),
}


def plant(folder: Path, pairs: int, listed: Callable[[pl.DataFrame], pl.DataFrame] | None = None) -> Dataset:
    """Make a dataset with random columns of the recipe's signals; `listed` makes a list's rows of their places."""
    listed = listed or _plain
    source = folder / "list"
    source.mkdir(parents=True)
    for start in range(0, pairs, FILE_ROWS):
        place = pl.int_range(start, min(start + FILE_ROWS, pairs), eager=True).alias("place").to_frame()
        listed(place).write_parquet(source / f"{start:09d}.parquet")
    dataset = Dataset(Store(folder / "dataset"))
    ingest([str(source)], dataset, LocalEngine(dataset.store.work, 2), Silent())
    shutil.rmtree(source)
    random, parts = np.random.default_rng(1), range(len(dataset.ingested().parts))
    for group, names in by_group(["n_words", "n_chars", "language", "language_score", "script"]).items():
        table = dataset.measured(group)
        for part in parts:
            with table.writer(part, {}, names) as writer:
                for number in dataset.pairs.piece_rows(part):
                    writer.write(pl.DataFrame([_drawn(name, number, random) for name in names]))
        said = identities(dataset, names, anew=True)
        meta = SignalsMeta(signals=said, pairs=dataset.ingested().fingerprint)
        table.commit([table.info(part) for part in parts], meta)
    return dataset


def _plain(places: pl.DataFrame) -> pl.DataFrame:
    return places.select(pl.format("http://h/{}", "place").alias("url"), alt_text=pl.lit("a text"))


def _drawn(name: str, rows: int, random: np.random.Generator) -> pl.Series:
    if name == "language":
        return pl.Series(name, ["en", "de", "fr", "ru", "th", "und"]).gather(random.integers(0, 6, rows))
    if name == "script":
        return pl.Series(name, ["Latin", "Latin", "Thai", "None"]).gather(random.integers(0, 4, rows))
    if find(name).type == "float64":
        return pl.Series(name, random.random(rows).round(6))
    return pl.Series(name, (random.gamma(2, 6 if name == "n_words" else 30, rows)).astype(np.int32))


def memory(peak: bool = False) -> float:
    """Return the process's memory in GiB, now or at its peak."""
    if peak:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**30


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=20_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parent / "data" / "what_if")
    parser.add_argument("--plant", action="store_true", help="only make the dataset")
    options = parser.parse_args()
    folder: Path = options.data
    recipe_file = folder / "recipe.yaml"
    if not folder.exists():
        dataset = plant(folder, options.pairs)
        recipe_file.write_text(RECIPE)
        engine = LocalEngine(dataset.store.work, 2)
        decide_ledger(Decision(load(str(recipe_file))), dataset, engine, Silent())
    if options.plant:
        return
    measured(Dataset(Store(folder / "dataset")), str(recipe_file), options.runs)


def measured(dataset: Dataset, recipe_file: str, runs: int) -> None:
    """Time each kind of move, and compare the last with what is decided."""
    engine = LocalEngine(dataset.store.work, 2)
    began = time.perf_counter()
    what_if = WhatIf(dataset, "what-if", engine, Silent())
    pairs = what_if.count(what_if.plan).pairs
    print(f"{pairs:,} pairs; opened in {time.perf_counter() - began:.2f} s, {memory():.2f} GiB\n")
    print("| move | first, s | median, s | most, s | CPU s |\n|---|---|---|---|---|")
    counted = what_if.count(what_if.plan)
    sets: Sequence[str] = ()
    for name, move in MOVES.items():
        seconds, cpu = [], []
        for number in range(runs + 1):
            sets, off = move(number)
            plan = Plan.unresolved(override_all(what_if.plan.recipe, sets, off), sets, off)
            began, began_cpu = time.perf_counter(), time.process_time()
            counted = what_if.count(plan)
            seconds.append(time.perf_counter() - began)
            cpu.append(time.process_time() - began_cpu)
        first, *others = seconds
        middle = statistics.median(others)
        print(
            f"| {name} | {first:.2f} | {middle:.2f} | {max(others):.2f} | {statistics.median(cpu[1:]):.2f} |",
            flush=True,
        )
    began = time.perf_counter()
    what_if.curves(counted.plan)
    first = time.perf_counter() - began
    again = []
    for number in range(runs):
        moved = [f"n_chars.ge={70 + number}", f"n_words.between={2 + number},31"]
        plan = what_if.resolved(Plan.unresolved(override_all(what_if.plan.recipe, moved, []), moved, []))
        began = time.perf_counter()
        what_if.curves(plan)
        again.append(time.perf_counter() - began)
    middle = statistics.median(again)
    print(f"\nall histograms {first:.2f} s, {middle:.2f} behind a move of two; peak {memory(peak=True):.2f} GiB")
    began = time.perf_counter()
    decide_ledger(Decision(load(recipe_file), sets, (), "moved"), dataset, engine, Silent())
    truth = audit(dataset, "moved")
    same = (truth.kept, truth.dropped, truth.pending) == (counted.kept, counted.dropped, counted.pending)
    print(f"filter with the same --set: {time.perf_counter() - began:.2f} s, {'the same' if same else 'OTHER'} counts")


if __name__ == "__main__":
    main()
