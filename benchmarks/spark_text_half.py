"""The main job on Spark against the same result in native Spark SQL, and n-grams alone, in turn; prints a table.

    python benchmarks/spark_text_half.py --pairs 4000000 --runs 3
    python benchmarks/spark_text_half.py --scale 1000000 4000000 16000000

Both run on local[2]. --scale runs ours alone at several sizes, and prints what each pass costs a pair and the largest
resident set of any Python worker: what docs/explanation/scaling.md is made of.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from text_half import HERE, SIGNALS, call

MASTER = ["--engine", "spark", "--spark-conf", "spark.master=local[2]"]
TOOL = str(Path(sys.executable).parent / "align-data")
RECIPE = str(HERE / "text_half.yaml")


def timed(command: list[str], log: Path) -> tuple[float, float]:
    """Run a process; return its seconds, and those that it says its jobs took, without start-up."""
    before = log.stat().st_size if log.exists() else 0
    seconds = call(command, log).seconds
    said = log.read_bytes()[before:].decode(errors="replace")
    inside = re.findall(r"(?:tasks|rows|pairs|ranges) in ([\d.]+) s", said) or re.findall(r"all +([\d.]+) s", said)
    return seconds, sum(map(float, inside))


def compared(source: Path, out: Path, log: Path, top_k: int) -> dict[str, tuple[float, float]]:
    """Run everything once."""
    ours, counted = out / "ours", out / "counted"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    job = [TOOL, "run", str(source), "--recipe", RECIPE, "--set", f"rarest_ngram.top_k={top_k}"]
    sql = [sys.executable, str(HERE / "spark_sql.py")]
    costs = {"job on Spark": timed([*job, "--out", str(ours), *MASTER], log)}
    costs["native Spark SQL"] = timed([*sql, "text-half", str(source), str(out / "native"), str(top_k)], log)
    call([TOOL, "ingest", str(source), "--out", str(counted)], log)
    costs["n-grams: ours, with answers"] = timed(
        [TOOL, "measure", str(counted), "--signals", "rarest_ngram", *MASTER], log
    )
    costs["n-grams: explode and groupBy"] = timed([*sql, "ngrams", str(source), str(out / "ngrams"), "0"], log)
    costs["job on the local engine"] = timed([*job, "--out", str(out / "local")], log)
    same(ours, out / "local")
    return costs


def same(one: Path, other: Path) -> None:
    """Stop if two datasets differ in a byte."""
    for table in ("pairs", "rejected", "measured", "counts", "verdicts"):
        done = subprocess.run(["diff", "-rq", str(one / table), str(other / table)], check=False, capture_output=True)
        if done.returncode:
            sys.exit(f"the engines differ: {done.stdout.decode()}")


class Workers:
    """Looks at the Python workers while something runs, for their largest resident set."""

    def __enter__(self) -> Workers:
        """Begin to look."""
        self.peak = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop looking."""
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.2):
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    if b"pyspark.daemon" in (folder / "cmdline").read_bytes():
                        found = re.search(r"VmHWM:\s+(\d+)", (folder / "status").read_text())
                        self.peak = max(self.peak, int(found[1]) / 2**20 if found else 0)
                except OSError:
                    continue


def scale(sizes: list[int], data: Path, log: Path) -> None:
    """Print what each pass costs at several sizes."""
    print("| pairs | pass | seconds | core-seconds a million pairs | exchanged bytes a pair | worker peak MB |")
    print("|---|---|---|---|---|---|")
    for pairs in sizes:
        source, out = generated(pairs, data), data / "scale"
        shutil.rmtree(out, ignore_errors=True)
        events = data / "events"
        shutil.rmtree(events, ignore_errors=True)
        events.mkdir(parents=True)
        conf = [
            *MASTER,
            *("--spark-conf", "spark.eventLog.enabled=true"),
            *("--spark-conf", "spark.eventLog.compress=false"),
            *("--spark-conf", "spark.eventLog.rolling.enabled=false"),
            *("--spark-conf", f"spark.eventLog.dir=file://{events.absolute()}"),
        ]
        commands = {
            "ingest": [TOOL, "ingest", str(source), "--out", str(out), *conf],
            "measure": [TOOL, "measure", str(out), "--signals", SIGNALS, *conf],
            "filter": [TOOL, "filter", str(out), "--recipe", RECIPE, *conf],
        }
        for name, command in commands.items():
            began = time.monotonic()
            with Workers() as workers:
                subprocess.run(command, check=True, stdout=log.open("ab"), stderr=subprocess.STDOUT)
            seconds = time.monotonic() - began
            (events_file,) = (path for path in events.rglob("*") if path.is_file() and path.stat().st_size)
            busy, moved = tasks(events_file)
            shutil.rmtree(events)
            events.mkdir()
            print(
                f"| {pairs:,} | {name} | {seconds:.1f} | {busy / pairs * 1e6:.2f} | {moved / pairs:.1f} "
                f"| {workers.peak * 1024:.0f} |",
                flush=True,
            )
    shutil.rmtree(data / "scale", ignore_errors=True)


def tasks(events: Path) -> tuple[float, int]:
    """Return the seconds that tasks ran, and the bytes that they gave to the shuffle."""
    busy = moved = 0
    for line in events.open():
        if '"SparkListenerTaskEnd"' in line[:60]:
            task = json.loads(line)
            metrics = task["Task Metrics"]
            busy += metrics["Executor Run Time"]
            moved += metrics["Shuffle Write Metrics"]["Shuffle Bytes Written"]
    return busy / 1000, moved


def generated(pairs: int, data: Path) -> Path:
    """Return a list of so many rows, made if it is not there."""
    source = data / str(pairs)
    if len(list(source.glob("*.parquet"))) != -(-pairs // 1_000_000):
        subprocess.run([sys.executable, str(HERE / "coyo_shape.py"), str(pairs), str(source)], check=True)
    return source


def main() -> None:
    """Run in turn, or at several sizes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=4_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--scale", type=int, nargs="+")
    parser.add_argument("--data", type=Path, default=HERE / "data")
    options = parser.parse_args()
    options.data.mkdir(exist_ok=True)
    log = options.data / "log.txt"
    if options.scale:
        scale(options.scale, options.data, log)
        return
    source = generated(options.pairs, options.data)
    costs: dict[str, list[tuple[float, float]]] = {}
    for number in range(options.runs):
        print(f"run {number + 1} of {options.runs}", file=sys.stderr)
        for name, cost in compared(source, options.data / "spark", log, options.pairs * 2 // 5).items():
            costs.setdefault(name, []).append(cost)
    print("| process | seconds (min - max) | without start-up |\n|---|---|---|")
    middle = {}
    for name, some in costs.items():
        seconds, inside = zip(*some, strict=True)
        middle[name] = statistics.median(seconds), statistics.median(inside)
        print(f"| {name} | {middle[name][0]:.1f} ({min(seconds):.1f} - {max(seconds):.1f}) | {middle[name][1]:.1f} |")
    for ours, theirs, aim in (
        ("job on Spark", "native Spark SQL", 0.5),
        ("n-grams: ours, with answers", "n-grams: explode and groupBy", None),
        ("job on Spark", "job on the local engine", 2),
    ):
        whole, inside = (middle[ours][i] / middle[theirs][i] for i in (0, 1))
        aimed_at = "" if aim is None else f" (aimed at: {aim})"
        print(f"{ours} / {theirs}: {whole:.2f}, without start-up {inside:.2f}{aimed_at}")
    shutil.rmtree(options.data / "spark")


if __name__ == "__main__":
    main()
