"""From archives to rows: ours against cc2dataset's algorithm, and against gunzip and parsing alone; prints a table.

    python benchmarks/crawl.py --megabytes 60 --runs 3 [--cc2dataset /venv/bin/python]

Archives are of our own making, with planted truth; --megabytes is the size of each WAT, and its WARC has two to four
times that. All run in turn, as whole processes on one core; then two archives by two workers against by one. The rows
are compared with the truth, row for row, and with the baseline's, where that is right.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from crawl_corpus import COMPARED, MIXES, truths, write
from text_half import machine

HERE = Path(__file__).resolve().parent
TOOL = str(Path(sys.executable).parent / "align-data")
_POLL = 0.02


@dataclass
class Cost:
    """What a process and those that it started took."""

    seconds: float
    cpu: float
    peaks: list[float] = field(default_factory=list)
    """The most resident memory of each of them, in MB, the largest first."""


def call(command: Sequence[str], log: Path, cores: Sequence[int] = ()) -> Cost:
    """Run a process to its end, on some cores alone, and return its cost."""
    pinned = ["taskset", "--cpu-list", ",".join(map(str, cores)), *command] if cores else list(command)
    began = time.monotonic()
    with log.open("ab") as out:
        process = subprocess.Popen(pinned, stdout=out, stderr=out)
        peaks: dict[int, float] = {}
        ended = threading.Event()
        watcher = threading.Thread(target=_watch, args=(process.pid, peaks, ended))
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        ended.set()
        watcher.join()
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"failed, see {log}: {' '.join(command)}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, sorted(peaks.values(), reverse=True))


def _watch(pid: int, peaks: dict[int, float], ended: threading.Event) -> None:
    """Note the peak of a process and of all below it, until it has ended."""
    while not ended.wait(_POLL):
        for each in _family(pid):
            try:
                status = Path(f"/proc/{each}/status").read_text(encoding="utf-8")
            except OSError:
                continue
            for line in status.splitlines():
                if line.startswith("VmHWM:"):
                    peaks[each] = int(line.split()[1]) / 1024


def _family(pid: int) -> list[int]:
    family = [pid]
    for each in family:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                family.extend(map(int, children.read_text(encoding="ascii").split()))
            except OSError:
                continue
    return family


def crawl(archives: Sequence[Path], out: Path, log: Path, workers: int = 1, cores: Sequence[int] = (0,)) -> Cost:
    """Run our command."""
    shutil.rmtree(out, ignore_errors=True)
    command = [TOOL, "crawl", *map(str, archives), "--out", str(out), "--workers", str(workers)]
    return call(command, log, cores)


def limit(archive: Path, what: str) -> Mapping[str, float]:
    """Return the CPU seconds of gunzip or of parsing alone, for the whole archive."""
    command = ["taskset", "--cpu-list", "0", sys.executable, str(HERE / "crawl_limits.py"), str(archive), what]
    facts: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return facts


def ours(out: Path) -> pl.DataFrame:
    """Return our rows, in the order in which they lie."""
    return pl.read_parquet(sorted(out.rglob("*.parquet")))


def differences(rows: pl.DataFrame, truth: pl.DataFrame) -> list[str]:
    """Return in what the rows are not the truth: nothing, if all is well."""
    if len(rows) != len(truth):
        return [f"{len(rows):,} rows and not {len(truth):,}"]
    return [name for name in COMPARED if not rows[name].cast(COMPARED[name]).equals(truth[name])]


def where_right(baseline: pl.DataFrame) -> pl.DataFrame:
    """Return the baseline's pairs as they would be with white space collapsed and repeated images dropped."""
    return (
        baseline.select(
            "url", alt_text=pl.col("alt").str.replace_all(r"\s+", " ").str.strip_chars(), page_url="page_url"
        )
        .filter(pl.col("alt_text") != "")
        .unique(maintain_order=True)
    )


@dataclass
class Race:
    """The archives of one kind, and what each process took on them."""

    kind: str
    folder: Path
    log: Path
    costs: dict[str, list[Cost]] = field(default_factory=dict)

    @property
    def archives(self) -> list[Path]:
        """The archives, in order."""
        return sorted((self.folder / self.kind).glob("*.gz"))

    def note(self, name: str, cost: Cost) -> None:
        """Keep what a process took."""
        self.costs.setdefault(name, []).append(cost)

    def once(self, cc2dataset: str | None) -> None:
        """Run all in turn."""
        first, out = self.archives[0], self.folder / "out"
        self.note("align-data crawl", crawl([first], out / self.kind, self.log))
        if self.kind == "wat":
            script, pairs = str(HERE / "crawl_baseline.py"), str(out / "baseline.parquet")
            self.note("cc2dataset's algorithm", call([sys.executable, script, str(first), pairs], self.log, (0,)))
            if cc2dataset is not None:
                pairs = str(out / "cc2dataset.parquet")
                command = [cc2dataset, script, str(first), pairs, "--installed"]
                self.note("cc2dataset itself", call(command, self.log, (0,)))
        cores = sorted(os.sched_getaffinity(0))[:2]
        for workers in (1, 2):
            cost = crawl(self.archives, out / f"{self.kind}-{workers}", self.log, workers, cores[:workers])
            self.note(f"{len(self.archives)} archives, {workers} worker{'s' if workers > 1 else ''}", cost)

    def report(self) -> None:
        """Print costs, limits, ratios, and whether the rows are right."""
        (truth, *_), size = truths(self.folder, self.kind), self.archives[0].stat().st_size / 1e6
        inside, html = truth[f"{self.kind}_raw"] / 1e6, truth["html"] / 1e6
        print(f"\n### {self.kind.upper()}: {size:.1f} MB, {inside:.1f} MB inside, {truth['rows']:,} rows\n")
        print("| process | seconds (min - max) | CPU seconds | MB/s stored | MB/s of HTML | rows/s | peak MB |")
        print("|---|---|---|---|---|---|---|")
        for what in ("gunzip", "parse"):
            facts = limit(self.archives[0], what)
            seconds = facts["seconds"] * (1 if what == "gunzip" else inside / facts["bytes"] * 1e6)
            print(f"| {what} alone | | {seconds:.2f} | {size / seconds:.0f} | {html / seconds:.0f} | | |")
        for name, costs in self.costs.items():
            files = len(self.archives) if "archives" in name else 1
            walls = [cost.seconds for cost in costs]
            middle, cpu = statistics.median(walls), statistics.median(cost.cpu for cost in costs)
            highest = max(costs, key=lambda cost: cost.peaks[:1])
            peaks = ", ".join(f"{peak:.0f}" for peak in highest.peaks[:3])
            spread = f"{middle:.2f} ({min(walls):.2f} - {max(walls):.2f})"
            rates = (f"{files * part / middle:,.0f}" for part in (size, html, truth["rows"]))
            print(f"| {name} | {spread} | {cpu:.2f} | {' | '.join(rates)} | {peaks} |")
        self._ratios()
        self._compare()

    def _ratios(self) -> None:
        def ratio(slow: str, fast: str) -> float:
            pairs = zip(self.costs[slow], self.costs[fast], strict=True)
            return statistics.median(one.seconds / other.seconds for one, other in pairs)

        for name in self.costs:
            if name.startswith("cc2dataset"):
                print(f"\n{ratio(name, 'align-data crawl'):.2f} x the rate of {name}, median of the runs' ratios")
        one, two = (name for name in self.costs if "archives" in name)
        print(f"\ntwo workers: {ratio(one, two):.2f} x one")

    def _compare(self) -> None:
        out = self.folder / "out"
        rows = ours(out / self.kind)
        truth = pl.read_parquet(self.folder / "truth" / f"{self.kind}-00000.parquet")
        wrong = differences(rows, truth)
        print(f"\n{len(rows):,} rows: " + ("not as planted: " + ", ".join(wrong) if wrong else "each as planted"))
        for path in (path for path in (out / "baseline.parquet", out / "cc2dataset.parquet") if self.kind == "wat"):
            if path.exists():
                pairs = where_right(pl.read_parquet(path))
                same = pairs.equals(rows.select(pairs.columns))
                print(f"{path.stem}: {'the same pairs' if same else 'OTHER PAIRS'} where it is right ({len(pairs):,})")


def main() -> None:
    """Make archives, run all in turn, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--megabytes", type=float, default=60, help="of each WAT (default 60)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--kinds", nargs="*", choices=("wat", "warc"), default=("wat", "warc"))
    parser.add_argument("--mix", choices=MIXES, default="mixed", help="kinds of pages (default mixed)")
    parser.add_argument("--work", type=Path, default=HERE / "data" / "crawl")
    parser.add_argument("--keep", action="store_true", help="use the archives that an earlier run has left")
    parser.add_argument("--cc2dataset", help="a Python that has cc2dataset; without, only its algorithm is run")
    options = parser.parse_args()
    if not (options.keep and options.work.exists()):
        write(options.work, options.megabytes, files=2, mix=options.mix)
    shutil.rmtree(options.work / "out", ignore_errors=True)
    (options.work / "out").mkdir()
    print(f"{machine()}; medians of {options.runs}; pages: {options.mix}", flush=True)
    races = [Race(kind, options.work, options.work / "log.txt") for kind in options.kinds]
    for race in races:
        for _ in range(options.runs):
            race.once(options.cc2dataset)
        race.report()


if __name__ == "__main__":
    main()
