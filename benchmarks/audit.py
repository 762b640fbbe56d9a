"""The audit page of a decided ledger against measuring what is on it, as whole processes.

    python benchmarks/audit.py --pairs 10000000 --runs 3

The list has COYO's shape. Everything that needs no image is measured, languages too; then the page is made, which has
to take at most a tenth of that time, and at most 3 GB.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import time
from pathlib import Path

from text_half import HERE, SIGNALS, Cost, call

BARE = f"{SIGNALS},script,host"
"""Without languages, which cost the most by far."""


def once(dataset: Path, log: Path) -> dict[str, Cost]:
    """Measure all there is and make the page; then measure again without languages."""
    tool, recipe = str(Path(sys.executable).parent / "align-data"), str(HERE / "text_half.yaml")
    costs = {}
    for name, more in (("measure without languages", ["--signals", BARE]), ("measure", [])):
        for folder in ("measured", "counts", "verdicts"):
            shutil.rmtree(dataset / folder, ignore_errors=True)
        costs[name] = call([tool, "measure", str(dataset), *more], log)
        call([tool, "filter", str(dataset), "--recipe", recipe], log)
        page = [tool, "audit", str(dataset), "--recipe", "text-half", "--html", str(dataset.parent / "report.html")]
        costs[name.replace("measure", "page")] = call(page, log)
    sweep = [tool, "sweep", str(dataset), "--recipe", "text-half", "--signal", "images_per_text", "--values", "9,10,11"]
    costs["sweep"] = call(sweep, log)
    return costs


def main() -> None:
    """Run it some times, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path, default=HERE / "data" / "audit")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    log, dataset = options.work / "log.txt", options.work / "dataset"
    # In a process of its own: what this one holds would count as its children's peak.
    call([sys.executable, str(HERE / "coyo_shape.py"), str(options.pairs), str(options.work / "list")], log)
    tool = str(Path(sys.executable).parent / "align-data")
    call([tool, "ingest", str(options.work / "list"), "--out", str(dataset)], log)
    runs = []
    for number in range(options.runs):
        runs.append(once(dataset, log))
        print(f"run {number + 1}: " + ", ".join(f"{k} {c.seconds:.1f} s" for k, c in runs[-1].items()), flush=True)
    print(f"\n{time.strftime('%Y-%m-%d')}, {options.pairs:,} pairs, medians of {options.runs}")
    for name in runs[0]:
        middle = statistics.median(run[name].seconds for run in runs)
        print(f"{name:26} {middle:7.1f} s, {max(run[name].memory for run in runs):.2f} GB")
    for page, measured in (("page", "measure"), ("page without languages", "measure without languages")):
        ratio = statistics.median(run[page].seconds / run[measured].seconds for run in runs)
        print(f"{page}: {ratio:.1%} of {measured}")
    print(f"the page is {(options.work / 'report.html').stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
