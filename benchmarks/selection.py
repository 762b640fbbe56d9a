"""Pages of selections of a large ledger: seconds until the first pairs of one are found, and all of it is counted.

    python benchmarks/selection.py --pairs 20000000

Signals are drawn at random, texts are sentences of words of our own making, each with a number of its own. Each page is
timed several times; its total is held against what DuckDB counts in the same files.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from random import Random

import duckdb
import numpy as np
import polars as pl
from made_words import Words
from what_if import RECIPE, memory, plant

from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.data.ledger import Ledger, open_current
from align_data.data.thresholds import resolve
from align_data.engines.base import Engine
from align_data.engines.local import LocalEngine
from align_data.recipes.plan import Plan
from align_data.recipes.reading import load
from align_data.selection import PairSelection, select, uids
from align_data.stages.decision import Decision, decide_ledger
from align_data.storage.store import Store

SENTENCES = 100_000
PAGES: dict[str, tuple[list[tuple[str, str]], str]] = {
    "all pairs": ([], "true"),
    "dropped": ([("outcome", "dropped")], "failed != 0"),
    "one rule alone drops them": ([("only", "n_chars")], "failed = 2"),
    "all rules pass but two": ([("but", "n_words"), ("but", "script")], "failed != 0 AND (failed | unknown) & ~33 = 0"),
    "two signals": (
        [("where", "n_words>=20"), ("where", "language=de|fr")],
        "n_words >= 20 AND language IN ('de', 'fr')",
    ),
    "sorted by a whole number": ([("sort", "-n_words")], "true"),
    "sorted by a float": ([("sort", "language_score")], "true"),
    "random by a seed": ([("random", "7"), ("outcome", "kept")], "failed = 0 AND unknown = 0"),
    "nearest to a threshold": ([("nearest", "n_chars")], "true"),
    "nearest, a threshold per class": ([("nearest", "sure"), ("side", "dropped")], "failed & 8 != 0"),
    "a host, of the URL": ([("where", "host=h7.example")], "url LIKE 'http://h7.example/%'"),
    "a text contains": ([("where", "alt_text~STOCK photo")], "alt_text ILIKE '%stock photo%'"),
    "a text matches": ([("where", "alt_text~~^[a-z]+ [0-9]*7$")], "regexp_matches(alt_text, '^[a-z]+ [0-9]*7$')"),
}
SET = ["n_chars.ge=20", "n_words.between=4,50"]


class Sentences:
    """Makes rows of a list: every thousandth text is of a stock photo."""

    def __init__(self) -> None:
        random = Random(1)
        words = Words(random, "en")
        lengths = random.choices(range(1, 24), k=SENTENCES)
        self._texts = pl.Series([words.text(length) for length in lengths])
        self._draw = np.random.default_rng(2)

    def __call__(self, places: pl.DataFrame) -> pl.DataFrame:
        """Return url and alt_text of these places."""
        texts = self._texts.gather(self._draw.integers(0, SENTENCES, len(places))).alias("text")
        stock = pl.when(pl.col("place") % 1000 == 0).then(pl.lit(" Stock Photo")).otherwise(pl.lit(""))
        return places.with_columns(texts).select(
            pl.format("http://h{}.example/images/{}.jpg", pl.col("place") % 5003, "place").alias("url"),
            pl.format("{}{} {}", "text", stock, "place").alias("alt_text"),
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=20_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parent / "data" / "selection")
    parser.add_argument("--plant", action="store_true", help="only make the dataset")
    options = parser.parse_args()
    folder: Path = options.data
    if not folder.exists():
        dataset = plant(folder, options.pairs, Sentences())
        (folder / "recipe.yaml").write_text(RECIPE)
        engine = LocalEngine(dataset.store.work, 2)
        decide_ledger(Decision(load(str(folder / "recipe.yaml"))), dataset, engine, Silent())
    if not options.plant:
        measured(Dataset(Store(folder / "dataset")), str(folder / "recipe.yaml"), options.runs)


def measured(dataset: Dataset, recipe_file: str, runs: int) -> None:
    """Time the first page of each selection, a page that a draft moves, and the list of uids."""
    engine, ledger = LocalEngine(dataset.store.work, 2), open_current(dataset, "what-if")
    print(f"{dataset.ingested().rows:,} pairs\n\n| page | pairs of it | median, s | CPU s |\n|---|---|---|---|")
    for name, (words, truth) in PAGES.items():
        selection = PairSelection.from_words(words)
        total = _timed(name, dataset, ledger, ledger.plan, selection, engine, runs)
        counted = _counted(dataset, truth)
        if total != counted:
            print(f"OTHER than DuckDB's {counted:,}")
    plan = resolve(dataset, load(recipe_file), engine, Silent(), SET, ["best"])
    _timed("what two thresholds move", dataset, ledger, plan, PairSelection(moved=("pending", "dropped")), engine, 1)
    _timed("what a draft drops", dataset, ledger, plan, PairSelection(moved=("kept", "dropped")), engine, runs)
    began = time.perf_counter()
    number = sum(map(len, uids(dataset, ledger, ledger.plan, PairSelection(outcome="kept"), Silent())))
    print(
        f"\nall {number:,} uids of what is kept: {time.perf_counter() - began:.2f} s; peak {memory(peak=True):.2f} GiB"
    )


def _timed(
    name: str, dataset: Dataset, ledger: Ledger, plan: Plan, selection: PairSelection, engine: Engine, runs: int
) -> int:
    seconds, cpu, total = [], [], 0
    for _ in range(runs):
        began, began_cpu = time.perf_counter(), time.process_time()
        total = select(dataset, ledger, plan, selection, engine, Silent()).total
        seconds.append(time.perf_counter() - began)
        cpu.append(time.process_time() - began_cpu)
    print(f"| {name} | {total:,} | {statistics.median(seconds):.2f} | {statistics.median(cpu):.2f} |", flush=True)
    return total


def _counted(dataset: Dataset, truth: str) -> int:
    """Return how many pairs DuckDB finds, which knows nothing of ours."""
    groups = [group for group in dataset.groups() if dataset.measured(group).committed() is not None]
    names = [dataset.pairs.name, *(dataset.measured(group).name for group in groups), dataset.ledger("what-if").name]
    joined = " POSITIONAL JOIN ".join(f"read_parquet('{dataset.store.path(name)}/part-*.parquet')" for name in names)
    counted = duckdb.sql(f"SELECT count(*) FROM {joined} WHERE {truth}")
    assert counted is not None
    return int(counted.fetchall()[0][0])


if __name__ == "__main__":
    main()
