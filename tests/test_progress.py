"""Progress: one line that fits, whatever the terminal; a total where it is known; a rate only when it is one."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from conftest import build
from rich.console import Console
from rich.progress import Progress

from align_data.cli.bars import LiveBars, _Line
from align_data.cli.lines import counted, further
from align_data.common.progress import Tick, ignore
from align_data.data.layout import Dataset
from align_data.engines.local import LocalEngine
from align_data.sources.lists import Choice, find, units
from align_data.stages.ingest import ingest
from align_data.storage.store import Store

SEEN = Counter({"ok": 700, "http_404": 200, "too_many_redirects": 90, "refused_address": 10})


class Clock:
    """A time that is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def line(width: int, title: str, done: int, total: int | None, seconds: float, seen: Counter[str] | None = None) -> str:
    """Return what a terminal of this width shows."""
    clock, console = Clock(), Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    bars = Progress(_Line(console), console=console, get_time=clock, auto_refresh=False)
    task = bars.add_task(title, total=total, unit="images", seen=seen or Counter())
    for _ in range(10):
        clock.now += seconds / 10
        bars.advance(task, done / 10)
    (only,) = console.render_lines(bars.get_renderable(), pad=False)
    return "".join(segment.text for segment in only).rstrip()


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
@pytest.mark.parametrize("title", ["fetch", "measure: images", "a title that is longer than it should be by much"])
@pytest.mark.parametrize("total", [None, 12_345_678_901, 1000])
@pytest.mark.parametrize("seen", [None, SEEN])
def test_no_line_is_wider_than_the_terminal(
    width: int, title: str, total: int | None, seen: Counter[str] | None
) -> None:
    for seconds in (0.001, 100.0, 1e6):
        assert len(line(width, title, 1000, total, seconds, seen)) <= width  # and there is one


def test_what_matters_most_is_left() -> None:
    assert line(40, "fetch", 500, 1000, 50, SEEN) == "fetch ━━━━━━━━ 500 of 1,000 images, 10/s"
    assert line(30, "fetch", 500, 1000, 50, SEEN) == "fetch 500 of 1,000 images"
    assert line(80, "fetch", 500, 1000, 50, SEEN).endswith("500 of 1,000 images, 10/s, 0:00:50 left")
    whole = line(200, "fetch", 500, 1000, 50, SEEN)
    assert whole.endswith("10/s, 0:00:50 left, 70.0% ok, http_404 20.0%, too_many_redirects 9.0%, refused_address 1.0%")
    assert "━━━" in whole


def test_a_rate_is_said_when_there_is_one() -> None:
    assert "/s" not in line(80, "read", 500_000, 1_000_000, 0.01)
    assert "left" not in line(80, "read", 500_000, 1_000_000, 0.01)
    assert "/s" not in line(80, "read", 1000, 1000, 0.01)
    assert "20/s" in line(80, "read", 1000, 1000, 50)


@pytest.mark.parametrize(
    ("completed", "unit", "total", "sentence"),
    [
        (0, "archives", None, "0 archives"),
        (1, "archives", None, "1 archive"),
        (0, "archives", 1, "0 of 1 archive"),
        (1, "archives", 2, "1 of 2 archives"),
        (1_234, "pairs", None, "1,234 pairs"),
        (0, "bytes", 0, "0 B of 0 B"),
        (1, "bytes", 1_500, "1 B of 1.5 KB"),
    ],
)
def test_a_count_says_its_unit(completed: int, unit: str, total: int | None, sentence: str) -> None:
    assert counted(completed, unit, total) == sentence
    assert further({unit: completed} if unit != "bytes" else {}) in ("", f", {counted(completed, unit)}")


def test_a_step_without_a_total_ends() -> None:
    out = io.StringIO()
    with LiveBars(Console(file=out, width=60, force_terminal=True)).step("read", None, "rows") as tick:
        tick(7)
    assert "7 of 7 rows" in out.getvalue()


class Steps:
    """Keeps the totals of steps."""

    def __init__(self) -> None:
        self.totals: dict[str, int | None] = {}

    @contextmanager
    def step(self, title: str, total: int | None, unit: str) -> Iterator[Tick]:
        self.totals[title] = total
        yield ignore

    def say(self, sentence: str) -> None: ...


def test_parquets_rows_are_known_before_they_are_read(tmp_path: Path) -> None:
    frame = pl.DataFrame({"url": [f"http://a/{n}" for n in range(2500)], "text": "x"})
    for name, rows in (("a", 700), ("b", 900)):
        frame.write_parquet(tmp_path / f"{name}.parquet", row_group_size=rows)
    steps, dataset = Steps(), Dataset(Store(tmp_path / "out"))
    account = ingest([str(tmp_path / "*.parquet")], dataset, LocalEngine(dataset.store.work, 2), steps)
    assert steps.totals["ingest: read"] == account.rows == 5000
    frame.write_ndjson(tmp_path / "c.jsonl")
    todo, _ = units(find([str(tmp_path / f"{name}.*") for name in "abc"]), Choice())
    assert [unit.rows for unit in todo] == [2500, 2500, None]
    assert build(tmp_path / "again", [str(tmp_path / "c.jsonl")]).account.rows == 2500
