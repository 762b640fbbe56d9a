"""Fetching on a web that takes its time, against img2dataset: in turn, as whole processes; prints a table.

    python benchmarks/web.py --urls 20000 --runs 3 --img2dataset /venv/bin/python
    python benchmarks/web.py --urls 20000 --end-to-end --img2dataset /venv/bin/python

As root it runs in a network and a mount namespace of its own, where the name server is ours and nothing leads outside.
Every URL has a host of its own (but in the first row); what becomes of each is planted, and every status is counted
against that. With --end-to-end a list becomes verified shards of 256 pixels.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from simulated_web import explained, fate_of, hosts, url
from text_half import Cost, call

HERE = Path(__file__).resolve().parent
TOOL = str(Path(sys.executable).parent / "align-data")
PROCESSES = 2
SIZE = 256
DEADLINE = 10
_INSIDE = "ALIGN_DATA_BENCHMARK_INSIDE"
_NAMESPACE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]


@dataclass(frozen=True)
class Row:
    """One web: how long names and hosts take, and what share of the hosts has another fate than to be fine."""

    names: str
    hosts: str
    shares: Mapping[str, float] = field(default_factory=dict)
    one_host: bool = False


ROWS: Mapping[str, Row] = {
    "one host": Row("even:0", "even:0", one_host=True),
    "50 ms, 100 ms": Row("even:0.05", "even:0.1"),
    "300 ms, 100 ms": Row("even:0.3", "even:0.1"),
    "100 ms, 100 ms, 5 % mute, 10 % gone": Row("even:0.1", "even:0.1", {"mute": 0.05, "gone": 0.1}),
    "300 ms, 100 ms, 5 % mute": Row("even:0.3", "even:0.1", {"mute": 0.05}),
    "real-like": Row(
        "lognormal:0.126:0.61",
        "lognormal:0.1:0.84",
        {
            "gone": 0.09,
            "mute": 0.05,
            "missing": 0.05,
            "moved": 0.05,
            "slow": 0.02,
            "page": 0.01,
            "dead": 0.01,
            "reset": 0.01,
            "cut": 0.005,
            "silent": 0.005,
        },
    ),
}

IMG2DATASET = """
import os, sys
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else it asks the network at every start
from img2dataset import download
if __name__ == "__main__":
    source, out, processes, deadline, size = sys.argv[1:]
    resizing = dict(resize_mode="no", disable_all_reencoding=True, extract_exif=False)
    if int(size):
        resizing = dict(image_size=int(size), resize_mode="keep_ratio", resize_only_if_bigger=True)
    download(url_list=source, input_format="parquet", url_col="url", caption_col="alt_text", output_folder=out,
             output_format="webdataset", processes_count=int(processes), thread_count=256, enable_wandb=False,
             number_sample_per_shard=1000, retries=0, timeout=int(deadline), **resizing)
"""


@contextmanager
def serving(row: Row) -> Iterator[None]:
    """Serve a web: names on port 53, hosts on port 80."""
    script = str(HERE / "simulated_web.py")
    halves = (["names", row.names, "--port", "53"], ["pictures", row.hosts, "--port", "80"])
    servers = [subprocess.Popen([sys.executable, script, *half], stdout=subprocess.PIPE) for half in halves]
    try:
        for server in servers:
            assert server.stdout is not None
            if server.stdout.readline() != b"serving\n":
                sys.exit("the web cannot be served here")
        yield
    finally:
        for server in servers:
            server.kill()
            server.wait()


def listed(row: Row, number: int, path: Path) -> list[str]:
    """Write the list of a web's URLs; return their hosts."""
    names = ["fine0.example"] * number if row.one_host else hosts(number, row.shares)
    urls = [f"{url(name, 80)}?{place}" for place, name in enumerate(names)]
    texts = [f"a picture of number {place}" for place in range(number)]
    pl.DataFrame({"url": urls, "alt_text": texts}).write_parquet(path)
    return names


def fetched(row: Row, folder: Path, source: Path, log: Path, options: Sequence[str]) -> tuple[Cost, Counter[str]]:
    """Fetch a list; return what that took, and the statuses."""
    dataset = folder / "dataset"
    _forget(folder, dataset)
    call([TOOL, "ingest", str(source), "--out", str(dataset)], log)
    cost = call([TOOL, "fetch", str(dataset), "--all", *_policy(row), *options], log)
    return cost, _statuses(dataset)


def _forget(folder: Path, *folders: Path) -> None:
    """Remove folders of a run before, and let the next one know nothing of any host."""
    shared = folder / "shared"
    for each in (shared, *folders):
        shutil.rmtree(each, ignore_errors=True)
    os.environ["ALIGN_DATA_SHARED"] = str(shared)


def _policy(row: Row) -> list[str]:
    per_host = ["--per-host", str(128 * PROCESSES), "--per-address", str(128 * PROCESSES)] if row.one_host else []
    return ["--allow-network", "127.0.0.0/8", "--workers", str(PROCESSES), "--deadline", str(DEADLINE), *per_host]


def _statuses(dataset: Path) -> Counter[str]:
    counts = pl.read_parquet(dataset / "images" / "*.parquet").group_by("status").len()
    return Counter(dict(counts.iter_rows()))


def by_img2dataset(folder: Path, source: Path, log: Path, python: str, size: int = 0) -> tuple[Cost, int]:
    """Let img2dataset fetch a list; return what that took, and how many images it has."""
    script, out = folder / "theirs.py", folder / "img2dataset"
    shutil.rmtree(out, ignore_errors=True)
    script.write_text(IMG2DATASET)
    cost = call([python, str(script), str(source), str(out), str(PROCESSES), str(DEADLINE), str(size)], log)
    return cost, sum(json.loads(path.read_text())["successes"] for path in out.glob("*_stats.json"))


def race(row: Row, number: int, runs: int, folder: Path, python: str | None, options: Sequence[str]) -> None:
    """Run both in turn on one web, and print medians and the ratio."""
    source, log = folder / "list.parquet", folder / "log.txt"
    names = listed(row, number, source)
    ours: list[Cost] = []
    theirs: list[Cost] = []
    with serving(row):
        for _ in range(runs):
            cost, statuses = fetched(row, folder, source, log, options)
            ours.append(cost)
            _explain(statuses, names)
            if python is not None:
                theirs.append(by_img2dataset(folder, source, log, python)[0])
    _print(number, "fetch", ours, theirs)


def _explain(statuses: Counter[str], names: Sequence[str]) -> None:
    wrong = list(explained(statuses, names))
    print(f"  statuses: {dict(statuses.most_common())}; " + ("; ".join(wrong) or "each as planted"), flush=True)


def _print(number: int, name: str, ours: Sequence[Cost], theirs: Sequence[Cost]) -> None:
    for who, costs in ((name, ours), ("img2dataset", theirs)):
        if costs:
            middle = statistics.median(cost.seconds for cost in costs)
            cpu = statistics.median(cost.cpu for cost in costs) / number * 1000
            print(f"  {who:12} {middle:7.2f} s, {number / middle:6,.0f} images/s, {cpu:.2f} ms of CPU a URL")
    if theirs:
        ratio = statistics.median(their.seconds / our.seconds for our, their in zip(ours, theirs, strict=True))
        print(f"  {ratio:.2f} x the rate of img2dataset, median of the runs' ratios", flush=True)


def from_list_to_shards(row: Row, folder: Path, source: Path, log: Path, options: Sequence[str]) -> tuple[Cost, int]:
    """Make verified shards of a list; return what that took, and the bytes of dataset and shards together."""
    dataset, shards = folder / "dataset", folder / "shards"
    _forget(folder, dataset, shards)
    where = ["--recipe", str(HERE / "decodable.yaml"), "--out", str(dataset), "--shards", str(shards)]
    resizing = ["--resize", "shortest", "--size", str(SIZE), "--resample", "area"]  # as img2dataset
    cost = call([TOOL, "build", str(source), *where, *resizing, *_policy(row), *options], log)
    return cost, _size(dataset) + _size(shards)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def race_to_shards(row: Row, number: int, runs: int, folder: Path, python: str | None, options: Sequence[str]) -> None:
    """Run both from the list to shards, and print medians, the ratio and bytes a pair."""
    source, log = folder / "list.parquet", folder / "log.txt"
    names = listed(row, number, source)
    good = sum(fate_of(name) in ("fine", "slow", "moved") for name in names)
    ours: list[Cost] = []
    theirs: list[Cost] = []
    with serving(row):
        for _ in range(runs):
            cost, size = from_list_to_shards(row, folder, source, log, options)
            ours.append(cost)
            _explain(_statuses(folder / "dataset"), names)
            shards = _size(folder / "shards")
            print(f"  {size / good:,.0f} bytes a pair, list to shards; {shards / good:,.0f} of them shards", flush=True)
            if python is not None:
                theirs.append(by_img2dataset(folder, source, log, python, SIZE)[0])
                print(f"  img2dataset: {_size(folder / 'img2dataset') / good:,.0f} bytes a pair", flush=True)
    _print(number, "to shards", ours, theirs)


def _enter(arguments: Sequence[str]) -> None:
    """Begin again in a namespace of our own, or end with a sentence."""
    if os.environ.get(_INSIDE) is None:
        done = subprocess.run([*_NAMESPACE, "true"], capture_output=True, check=False)
        if done.returncode:
            sys.exit(f"this benchmark needs a network namespace: run it as root ({done.stderr.decode().strip()})")
        os.environ[_INSIDE] = "1"
        os.execvp(_NAMESPACE[0], [*_NAMESPACE, sys.executable, *arguments])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    resolv = HERE / "data" / "resolv.conf"
    resolv.parent.mkdir(exist_ok=True)
    resolv.write_text("nameserver 127.0.0.1\n")
    subprocess.run(["mount", "--bind", str(resolv), "/etc/resolv.conf"], check=True)


def main() -> None:
    """Race on every row, or to shards on one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--urls", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rows", nargs="*", choices=ROWS, help="default: all, or real-like to shards")
    parser.add_argument("--end-to-end", action="store_true", help="from the list to verified shards")
    parser.add_argument("--work", type=Path, default=HERE / "data" / "web")
    parser.add_argument("--img2dataset", help="a Python that has img2dataset; without, only ours is run")
    parser.add_argument("--options", default="", help="more options of align-data fetch or build, as one argument")
    options = parser.parse_args()
    _enter(sys.argv)
    with suppress(FileNotFoundError):
        shutil.rmtree(options.work)
    options.work.mkdir(parents=True)
    print(f"{time.strftime('%Y-%m-%d')}, {options.urls:,} URLs, medians of {options.runs}", flush=True)
    racing = race_to_shards if options.end_to_end else race
    for name in options.rows or (["real-like"] if options.end_to_end else ROWS):
        print(name, flush=True)
        racing(ROWS[name], options.urls, options.runs, options.work, options.img2dataset, options.options.split())


if __name__ == "__main__":
    main()
