"""A small web of the benchmark's: names and hosts that take their time, each URL's status against what was planted."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from conftest import read

from align_data.cli import main
from align_data.data.layout import Dataset
from align_data.storage.store import Store

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
import simulated_web  # noqa: E402
from simulated_web import FATES, Latency, explained, fate_of, hosts, url  # noqa: E402

SHARES = {
    "gone": 0.1,
    "mute": 0.05,
    "missing": 0.1,
    "moved": 0.1,
    "slow": 0.05,
    "page": 0.05,
    "dead": 0.05,
    "reset": 0.05,
    "cut": 0.05,
    "silent": 0.02,
}


@contextmanager
def simulated() -> Iterator[tuple[int, int]]:
    """Serve a web of short latencies on 127.0.0.1 and 127.0.0.0/8; gives the ports of names and of pictures."""
    loop = asyncio.new_event_loop()
    begun, ports = threading.Event(), [0, 0]

    def serving(names: int, pictures: int) -> None:
        ports[:] = names, pictures
        begun.set()

    latency = (Latency.of("lognormal:0.02:0.61"), Latency.of("lognormal:0.02:0.83"))
    task = loop.create_task(simulated_web.serve(0, 0, "0.0.0.0", latency, serving))

    def run() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            loop.run_until_complete(loop.shutdown_asyncgens())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        assert begun.wait(10), "the web cannot be served"
        yield ports[0], ports[1]
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(10)
        assert not thread.is_alive()
        loop.close()


def run(*arguments: str) -> None:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output


def test_every_url_of_a_slow_web_comes_to_what_was_planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated_web, "_SLOW", 0.5)
    asked = hosts(200, SHARES)
    with simulated() as (names, pictures):
        urls = [url(host, pictures) for host in asked]
        pl.DataFrame({"url": urls, "alt_text": [f"a picture of {host}" for host in asked]}).write_parquet(
            tmp_path / "list.parquet"
        )
        run("ingest", str(tmp_path / "list.parquet"), "--out", str(tmp_path / "ds"))
        network = ["--allow-network", "127.0.0.0/8", "--dns", f"127.0.0.1:{names}", "--workers", "2"]
        run("fetch", str(tmp_path / "ds"), "--all", "--deadline", "6", *network)
    images = read(Dataset(Store(tmp_path / "ds")), "images").select("url", "status", "reason")
    by_url = {at: (status, reason) for at, status, reason in images.iter_rows()}
    wrong = {
        host: by_url[at] for host, at in zip(asked, urls, strict=True) if by_url[at][0] not in FATES[fate_of(host)]
    }
    assert not wrong
    assert all(reason for status, reason in by_url.values() if status != "ok")
    assert not list(explained(Counter(status for status, _ in by_url.values()), asked))


def test_what_is_wrong_with_counts_is_said() -> None:
    asked = ["fine0.example", "gone1.example", "mute2.example", "silent3.example"]
    assert not list(explained({"ok": 1, "dns": 2, "timeout": 1}, asked))
    assert not list(explained({"ok": 1, "dns": 1, "timeout": 2}, asked))
    assert list(explained({"ok": 2, "dns": 1, "timeout": 1}, asked)) == [
        "0 URLs came to dns or timeout, and 1 should",
        "1 URLs came to ok, and none should",
    ]
    assert list(explained({"ok": 1, "dns": 2}, asked)) == ["0 URLs came to timeout, and 1 should"]


def test_latencies_are_those_that_are_published() -> None:
    names = [f"fine{number}.example" for number in range(20_000)]
    look_ups = sorted(Latency.of("lognormal:0.126:0.61").seconds(name) for name in names)
    assert sum(look_ups) / len(names) == pytest.approx(0.152, rel=0.03)
    assert look_ups[int(0.9 * len(names))] == pytest.approx(0.275, rel=0.03)
    handshakes = [Latency.of("lognormal:0.1:0.84").seconds(name) for name in names]
    assert sum(seconds > 0.1 for seconds in handshakes) / len(names) == pytest.approx(0.5, abs=0.01)
    assert sum(seconds > 0.4 for seconds in handshakes) / len(names) == pytest.approx(0.05, abs=0.01)
    even = [Latency.of("even:0.1").seconds(name) for name in names]
    assert 0.05 <= min(even) < 0.051
    assert 0.149 < max(even) <= 0.15
