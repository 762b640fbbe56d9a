"""Hold what `align-data plan` says against what `align-data run` then comes to, on lists of COYO's shape.

    python benchmarks/plan.py data/1m data/10m

Each list is a folder that `benchmarks/coyo_shape.py` has written.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TOLD = ("--recipe", "align", "--without", "decodable,min_side,aspect,nsfw,eval_distance")
STEPS = {
    "ingest": ("ingest: read", "ingest: write"),
    "measure": ("measure: read", "measure: count", "measure: write"),
    "filter": ("filter",),
}
"""Stage → its steps in the log."""


def answer(*words: str) -> Any:
    """Return what a command prints as JSON."""
    command = [sys.executable, "-m", "align_data", *words, "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def compared(lists: str, out: Path) -> list[tuple[str, float, float]]:
    """Plan, run, and return each number's name, what was planned and what came."""
    plan = answer("plan", lists, *TOLD)
    ran = answer("run", lists, *TOLD, "--out", str(out))
    (entry,) = (json.loads(path.read_bytes()) for path in (out / "_log").glob("2*.json"))
    account, audit = ran["account"], ran["audit"]
    actual = {"pairs": account["pairs"], "merged": account["merged"], "dropped": audit["dropped"]}
    rows = [(name, plan["rows"][name]["value"], number) for name, number in actual.items()]
    for rule, came in zip(plan["rules"], (rule for rule in audit["rules"] if not rule["off"]), strict=True):
        if rule["fail"] is not None:
            rows.append((f"fail {rule['rule']}", rule["fail"]["value"], came["fail"]))
    size = sum(table["bytes"] for table in entry["tables"].values())
    rows.append(("bytes of tables", sum(plan["stages"][stage]["disk"]["value"] for stage in STEPS), size))
    seconds = {step["step"]: step["seconds"] for step in entry["steps"]}
    for stage, steps in STEPS.items():
        rows.append((f"seconds of {stage}", plan["stages"][stage]["seconds"]["value"], sum(map(seconds.get, steps))))
    rows.append(("seconds", sum(row[1] for row in rows[-3:]), sum(row[2] for row in rows[-3:])))
    rows.append(("peak memory", plan["stages"]["measure"]["memory"]["value"], entry["peak_memory"]["process"]))
    return rows


def main() -> None:
    """Print a table for each list."""
    for lists in sys.argv[1:]:
        with tempfile.TemporaryDirectory(dir=Path(lists).parent) as folder:
            print(f"{lists}\n| number | planned | came | error |\n|---|---|---|---|")
            for name, planned, came in compared(lists, Path(folder) / "out"):
                print(f"| {name} | {planned:,.1f} | {came:,.1f} | {planned / came - 1:+.1%} |")
            shutil.rmtree(Path(folder) / "out")


if __name__ == "__main__":
    main()
