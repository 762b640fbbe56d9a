"""Adding a tenth to a dataset against doing all anew, as whole processes.

    python benchmarks/add.py --pairs 10000000 --runs 3

The list has COYO's shape. Adding is `align-data add` and `filter`; all anew is `align-data run` of all lists, which
ingests, measures and decides. Both must come to the same ledger. Adding may take 0.3 of all anew.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from pathlib import Path

from text_half import HERE, Cost, call

TOOL = str(Path(sys.executable).parent / "align-data")
RECIPE = str(HERE / "text_half.yaml")
TENTH = 11
"""The list is cut so that one of so many files is the batch."""


def cut(source: Path, first: Path, batch: Path) -> None:
    """Cut a list: its last rows are the batch."""
    import polars as pl  # noqa: PLC0415 - this process is to stay small

    rows = pl.scan_parquet(source / "*.parquet")
    number = rows.select(pl.len()).collect().item()
    first.mkdir(parents=True)
    batch.mkdir(parents=True)
    rows.head(number - number // TENTH).sink_parquet(first / "first.parquet")
    rows.tail(number // TENTH).sink_parquet(batch / "batch.parquet")


def masks(dataset: Path) -> list[list[int]]:
    """Return what the ledger counts."""
    return list(json.loads((dataset / "_manifests" / "verdicts" / "text-half.json").read_bytes())["meta"]["masks"])


def once(folder: Path, log: Path) -> dict[str, Cost]:
    """Do all anew, and add the batch to a copy of the dataset that has the rest."""
    whole, grown = folder / "whole", folder / "grown"
    for dataset in (whole, grown):
        shutil.rmtree(dataset, ignore_errors=True)
    shutil.copytree(folder / "before", grown)
    lists = [str(folder / name) for name in ("first", "batch")]
    costs = {"all anew": call([TOOL, "run", *lists, "--recipe", RECIPE, "--out", str(whole)], log)}
    costs["add"] = call([TOOL, "add", str(grown), lists[1]], log)
    costs["filter"] = call([TOOL, "filter", str(grown), "--recipe", RECIPE], log)
    assert masks(grown) == masks(whole), "the two ledgers differ"
    return costs


def main() -> None:
    """Run it some times, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path, default=HERE / "data" / "add")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    log, source = options.work / "log.txt", options.work / "list"
    rows = options.pairs * TENTH // (TENTH - 1)
    call([sys.executable, str(HERE / "coyo_shape.py"), str(rows), str(source)], log)
    cut(source, options.work / "first", options.work / "batch")
    before = str(options.work / "before")
    call([TOOL, "run", str(options.work / "first"), "--recipe", RECIPE, "--out", before], log)
    runs = []
    for number in range(options.runs):
        runs.append(once(options.work, log))
        print(f"run {number + 1}: " + ", ".join(f"{k} {c.seconds:.1f} s" for k, c in runs[-1].items()), flush=True)
    print(f"\n{time.strftime('%Y-%m-%d')}, a tenth added to {options.pairs:,} pairs, medians of {options.runs}")
    for name in runs[0]:
        middle = statistics.median(run[name].seconds for run in runs)
        cpu = statistics.median(run[name].cpu for run in runs)
        print(f"{name:10} {middle:7.1f} s, {cpu:.1f} CPU s, {max(run[name].memory for run in runs):.2f} GB")
    for what in ("seconds", "cpu"):
        taken = [{name: getattr(cost, what) for name, cost in run.items()} for run in runs]
        ratio = statistics.median((run["add"] + run["filter"]) / run["all anew"] for run in taken)
        print(f"adding and deciding, {what}: {ratio:.2f} of all anew (aimed at: 0.3)")


if __name__ == "__main__":
    main()
