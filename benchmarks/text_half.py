"""The main job against hand-written DuckDB SQL in three variants, in turn, as whole processes; prints a table.

    python benchmarks/text_half.py --pairs 10000000 --runs 3

All read the same list; the verdicts of the variant that normalises as we do are compared row for row. For larger lists,
--only-ours --runs 1 shows time and memory alone.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from duckdb_sql import VARIANTS

HERE = Path(__file__).resolve().parent
TOP_K = 4_000_000
SIGNALS = "n_words,images_per_text,rarest_ngram,texts_per_image"


@dataclass
class Cost:
    """What a process took."""

    seconds: float
    cpu: float
    memory: float
    """Peak resident set in GB."""


def call(command: list[str], log: Path) -> Cost:
    """Run a process to its end and return its cost."""
    began = time.monotonic()
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"failed, see {log}: {' '.join(command)}")
    return Cost(time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20)


def ours(source: Path, out: Path, log: Path) -> dict[str, Cost]:
    """Run the job stage by stage, then a second recipe; return the costs by stage, and of the job in one go."""
    tool = str(Path(sys.executable).parent / "align-data")
    recipe = str(HERE / "text_half.yaml")
    shutil.rmtree(out, ignore_errors=True)
    costs = {"job": call([tool, "run", str(source), "--recipe", recipe, "--out", str(out)], log)}
    again = ["--set", "n_words.between=2,30", "--set", "images_per_text.le=50", "--as", "second"]
    costs["second recipe"] = call([tool, "filter", str(out), "--recipe", recipe, *again], log)
    for name in ("measured", "counts"):
        shutil.rmtree(out / name)
    costs["measure alone"] = call([tool, "measure", str(out), "--signals", SIGNALS], log)
    costs["start-up"] = call([tool, "audit", str(out), "--recipe", "second"], log)
    return costs


def same_verdicts(ours_: Path, theirs: Path) -> tuple[int, int]:
    """Return how many pairs there are, and on how many the two disagree in any count or verdict."""
    columns = ["n_words", "images_per_text", "texts_per_image", "rarest_ngram", "failed"]

    def read(*tables: str) -> pl.LazyFrame:
        return pl.concat([pl.scan_parquet(f"{ours_}/{table}/*.parquet") for table in tables], how="horizontal")

    mine = read("pairs", "measured/text", "measured/corpus").select("url", "alt_text", "copies", *columns[:-1])
    failed = pl.scan_parquet(f"{ours_}/verdicts/text-half/*.parquet").select("failed")
    mine = pl.concat([mine, failed], how="horizontal")
    other = pl.scan_parquet(f"{theirs}/verdicts/*.parquet").select("url", "alt_text", "copies", *columns)
    key = pl.concat_str("url", pl.lit("\0"), "alt_text").hash(1).alias("key")
    value = pl.struct("copies", *(pl.col(name).cast(pl.Int64) for name in columns)).hash(2).alias("value")
    both = (
        mine.select(key, value)
        .join(other.select(key, value), on="key", how="full", suffix="_other")
        .select(pl.len(), pl.col("value").ne_missing(pl.col("value_other")).sum().alias("differ"))
        .collect(engine="streaming")
    )
    return int(both["len"].item()), int(both["differ"].item())


def main() -> None:
    """Generate, run in turn, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--data", type=Path, default=HERE / "data")
    parser.add_argument("--only-ours", action="store_true", help="leave DuckDB out")
    options = parser.parse_args()
    source, out, log = options.data / str(options.pairs), options.data / "out", options.data / "log.txt"
    files = -(-options.pairs // 1_000_000)
    if len(list(source.glob("*.parquet"))) != files:
        print(f"generating {options.pairs:,} rows", file=sys.stderr)
        subprocess.run([sys.executable, str(HERE / "coyo_shape.py"), str(options.pairs), str(source)], check=True)
    out.mkdir(parents=True, exist_ok=True)
    variants = () if options.only_ours else VARIANTS
    costs: dict[str, list[Cost]] = {}
    for number in range(options.runs):
        print(f"run {number + 1} of {options.runs}", file=sys.stderr)
        for name, cost in ours(source, out / "ours", log).items():
            costs.setdefault(name, []).append(cost)
        for variant in variants:
            sql = [sys.executable, str(HERE / "duckdb_sql.py"), str(source), str(out / variant), str(TOP_K)]
            costs.setdefault(f"{variant} SQL", []).append(call([*sql, "--variant", variant], log))
    print(f"{machine()}\n")
    report(costs)
    if variants:
        pairs, differ = same_verdicts(out / "ours", out / "normalising")
        print(f"\n{pairs:,} pairs compared with the normalising SQL's in every count and verdict: {differ:,} differ")


def machine() -> str:
    """Return the day, the processor and which of the instructions it has that fast sorting and counting look for."""
    facts = Path("/proc/cpuinfo").read_text(encoding="ascii") if Path("/proc/cpuinfo").exists() else ""
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in facts.splitlines())}
    wide = [flag for flag in fields.get("flags", "").split() if re.match(r"avx|sse4_2|bmi2|sha_ni", flag)]
    cores = len(os.sched_getaffinity(0))
    return f"{time.strftime('%Y-%m-%d')}, {cores} cores of {fields.get('model name', '?')}: {' '.join(wide) or '?'}"


def report(costs: dict[str, list[Cost]]) -> None:
    """Print medians, and the ratios that matter."""
    print("| process | seconds (min - max) | CPU seconds | peak GB | job / this, run by run |")
    print("|---|---|---|---|---|")
    for name, some in costs.items():
        seconds = [cost.seconds for cost in some]
        median = statistics.median(seconds)
        cpu, memory = (statistics.median(values) for values in zip(*((c.cpu, c.memory) for c in some), strict=True))
        spread = f"{median:.1f} ({min(seconds):.1f} - {max(seconds):.1f})"
        ratio = statistics.median(job.seconds / cost.seconds for job, cost in zip(costs["job"], some, strict=True))
        print(f"| {name} | {spread} | {cpu:.1f} | {memory:.2f} | {ratio:.2f} |")
    second, start, measuring = (
        statistics.median(cost.seconds for cost in costs[name])
        for name in ("second recipe", "start-up", "measure alone")
    )
    print(
        f"\ndeciding a second recipe / measuring: {(second - start) / (measuring - start):.3f}, start-up taken off both"
    )


if __name__ == "__main__":
    main()
