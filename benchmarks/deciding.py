"""What deciding costs by recipe: `filter` as whole processes, in turn, on signals drawn at random; prints a table.

    python benchmarks/deciding.py --pairs 10000000 --runs 3

Each signal is drawn around the recipe's thresholds, so that most rules drop some pairs. Where the source leaves a
fraction open it is 0.3; another such rule is left out. Seconds are of the processor, user and system, with those of
starting apart.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from coyo_shape import write

from align_data.common.progress import Silent
from align_data.data.columns import by_group, identities
from align_data.data.layout import Dataset
from align_data.data.meta import SignalsMeta
from align_data.engines.local import LocalEngine
from align_data.recipes.plan import Plan
from align_data.recipes.reading import load
from align_data.recipes.values import each
from align_data.signals import find
from align_data.stages.ingest import ingest
from align_data.stages.measure import measure
from align_data.storage.store import Store

HERE = Path(__file__).resolve().parent
PLAIN = "datacomp-basic"
RECIPES = (PLAIN, "align", "laion-2b-en", "s-cliploss-normsim", "obelics", "cc3m", "m-flyt", "coyo")
MEASURED = ("rarest_ngram", "images_per_text")
"""What is measured: a rule of top_k looks into the counts beside it."""


def cost(*arguments: str) -> float:
    """Return the processor's seconds of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "align_data", *arguments], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def settings(recipe: str) -> list[str]:
    """Return the options that a recipe needs whose source leaves thresholds open: fractions are set to 0.3."""
    rules = [rule for rule in load(recipe).rules if rule.unspecified]
    fractions = [rule.name for rule in rules if rule.signal is not None and rule.op == "top_fraction"]
    off = [rule.name for rule in rules if rule.name not in fractions]
    chosen = [word for name in fractions for word in ("--set", f"{name}.top_fraction=0.3")]
    return [*chosen, *(["--without", ",".join(off)] if off else [])]


def thresholds(recipe: str) -> Iterator[tuple[str, object]]:
    """Yield the signals of a recipe, each with values that it is compared with."""
    plan = Plan.unresolved(load(recipe))
    compared = {leaf.signal: each(leaf.value) for rule in plan.recipe.rules for leaf in rule.leaves if leaf.signal}
    for signal in plan.signals_of(plan.rules):
        for value in compared.get(signal, [0]):
            yield signal, value


def drawn(signal: str, values: list[object], rows: int, random: np.random.Generator) -> pl.Series:
    """Return a column of a signal, whose values are around those that rules compare it with."""
    definition = find(signal)
    if definition.type == "bool":
        return pl.Series(signal, random.random(rows) < 0.9)
    if definition.type == "string":
        words = [*(str(value) for value in values if isinstance(value, str)), "other"]
        return pl.Series(signal, words).gather(random.integers(0, len(words), rows))
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    centre = max((abs(number) for number in numbers), default=0.5) or 0.5
    column = centre * random.gamma(4, 0.4, rows)
    if definition.type == "float64":
        return pl.Series(signal, column.round(6))
    return pl.Series(signal, column.astype(np.int32 if definition.type == "int32" else np.int64))


def plant(dataset: Dataset, recipes: list[str]) -> None:
    """Write columns of the signals that recipes ask for, but for those that are measured."""
    compared: dict[str, list[object]] = {}
    for recipe in recipes:
        for signal, value in thresholds(recipe):
            compared.setdefault(signal, []).append(value)
    names = [name for name in compared if name not in MEASURED and find(name).kind != "derived"]
    measured = [name for name in dict.fromkeys(names) if find(name).group == "corpus"]
    measure(dataset, LocalEngine(dataset.store.work, 2), Silent(), [*MEASURED, *measured])
    pairs, random = dataset.ingested(), np.random.default_rng(1)
    for group, of_group in by_group(name for name in names if name not in measured).items():
        table = dataset.measured(group)
        table.retract()
        for part in range(len(pairs.parts)):
            with table.writer(part, {}, of_group) as writer:
                for rows in dataset.pairs.piece_rows(part):
                    writer.write(pl.DataFrame([drawn(name, compared[name], rows, random) for name in of_group]))
        infos = [table.info(part) for part in range(len(pairs.parts))]
        said = identities(dataset, of_group, anew=True)
        table.commit(infos, SignalsMeta(signals=said, pairs=pairs.fingerprint))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--data", type=Path, default=HERE / "data" / "deciding")
    parser.add_argument("--recipes", default=",".join(RECIPES))
    options = parser.parse_args()
    recipes = options.recipes.split(",")
    folder = options.data / f"{options.pairs}"
    dataset = Dataset(Store(folder / "dataset"))
    if not folder.exists():
        write(options.pairs, folder / "list")
        ingest([str(folder / "list")], dataset, LocalEngine(dataset.store.work, 2), Silent())
        shutil.rmtree(folder / "list")
        plant(dataset, recipes)
    seconds: dict[str, list[float]] = {}
    for _ in range(options.runs):
        seconds.setdefault("start", []).append(cost("filter", "--help"))
        for recipe in recipes:
            for stale in ("verdicts", "ranks"):
                shutil.rmtree(folder / "dataset" / stale, ignore_errors=True)
            seconds.setdefault(recipe, []).append(
                cost("filter", str(folder / "dataset"), "--recipe", recipe, *settings(recipe))
            )
    start = statistics.median(seconds["start"])
    plain = statistics.median(seconds[recipes[0]]) - start
    print(
        f"{options.pairs:,} pairs; starting takes {start:.2f} s\n\n"
        f"| recipe | rules | CPU s | / {recipes[0]} |\n|---|---|---|---|"
    )
    for recipe in recipes:
        took = statistics.median(seconds[recipe]) - start
        print(f"| {recipe} | {len(load(recipe).rules)} | {took:.2f} | {took / plain:.2f} |")


if __name__ == "__main__":
    main()
