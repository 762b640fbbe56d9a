"""What a command leaves of itself: its line in the log, and the figures of --metrics."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from align_data.cli import main
from align_data.common.metrics import RunFigures, exposition
from align_data.common.progress import Silent
from align_data.common.steps import NotedSteps, StepFigures
from align_data.engines.local import LocalEngine
from align_data.stages import run_log
from align_data.stages.run_log import RunRecord
from align_data.storage.store import Store

SERIES = re.compile(r'([a-z_]+)\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\} (\S+)')
UNESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\[\\"n])*)"')

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Series:
    """The series of a text in Prometheus' format 0.0.4; refuses what a scraper would refuse."""
    assert text.endswith("\n")
    series: Series = {}
    types: dict[str, str] = {}
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# "):
            _, kind, name, told = line.split(" ", 3)
            assert kind in ("HELP", "TYPE")
            if kind == "TYPE":
                assert name not in types
                assert told in ("gauge", "counter")
                types[name] = told
            continue
        match = SERIES.fullmatch(line)
        assert match is not None, line
        assert match[1] in types
        assert (types[match[1]] == "counter") == match[1].endswith("_total")
        labels = [(n, re.sub(r"\\.", lambda m: UNESCAPED[m[0]], v)) for n, v in LABEL.findall(match[2])]
        key = (match[1], frozenset(labels))
        assert len(dict(labels)) == len(labels)
        assert key not in series, "two values of one series"
        series[key] = float(match[3])
    return series


def call(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = {"url": ["http://a/1", "http://a/1", "http://a/2", "x"], "text": ["one dog", "one dog", "a cat", "y"]}
    pl.DataFrame(rows).write_parquet(tmp_path / "list.parquet")
    monkeypatch.setattr("sys.argv", ["align-data", "ingest"])
    call("ingest", tmp_path / "list.parquet", "--out", tmp_path / "out")
    return tmp_path / "out"


def logged(dataset: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((dataset / "_log").glob("2*.json"))]


def test_the_log_has_steps_tables_memory_and_versions(dataset: Path) -> None:
    (entry,) = logged(dataset)
    assert entry["outcome"] == "done"
    assert [(s["step"], s["unit"], s["done"]) for s in entry["steps"]] == [
        ("ingest: read", "rows", 4), ("ingest: write", "pairs", 2)
    ]  # fmt: skip
    sizes = {
        name: sum(path.stat().st_size for path in (dataset / name).glob("*.parquet")) for name in ("pairs", "rejected")
    }
    assert entry["tables"] == {
        "rejected": {"rows": 1, "bytes": sizes["rejected"]}, "pairs": {"rows": 2, "bytes": sizes["pairs"]}
    }  # fmt: skip
    assert entry["peak_memory"]["process"] > 10**7
    assert set(entry["versions"]) == {"python", "numpy", "polars", "pyarrow"}


def test_a_failure_is_logged_by_its_kind_alone(dataset: Path) -> None:
    call("measure", dataset, "--signals", "secret-of-a-text", code=1)
    *_, entry = logged(dataset)
    assert (entry["outcome"], entry["error"]) == ("failed", "SignalError")
    assert "secret-of-a-text" not in json.dumps(entry).replace(json.dumps(entry["command"]), "")


def test_what_is_no_dataset_gets_no_log(tmp_path: Path, dataset: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "holiday.jpg").write_bytes(b"mine")
    call("ingest", tmp_path / "list.parquet", "--out", foreign, code=1)
    assert not (foreign / "_log").exists()


def test_a_stopped_command_is_logged_as_stopped(dataset: Path) -> None:
    record = RunRecord(Store(dataset), ["measure", "d"], Silent())
    with pytest.raises(KeyboardInterrupt), record.logged():
        raise KeyboardInterrupt
    assert logged(dataset)[-1]["outcome"] == "stopped"


def test_metrics_are_what_a_scraper_reads(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["align-data", "measure", str(dataset)])
    call("measure", dataset, "--signals", "n_words", "--metrics", tmp_path / "m.prom")
    series = parsed((tmp_path / "m.prom").read_text())
    about = {("dataset", str(dataset)), ("command", "measure")}
    states = {s: series["align_data_run_state", frozenset({*about, ("state", s)})] for s in ("running", "done")}
    assert states == {"running": 0, "done": 1}
    assert series["align_data_step_units_total", frozenset({*about, ("step", "measure"), ("unit", "pairs")})] == 2
    call("measure", dataset, "--signals", "nothing", "--metrics", tmp_path / "m.prom", code=1)
    assert parsed((tmp_path / "m.prom").read_text())["align_data_run_state", frozenset({*about, ("state", "failed")})]


def test_what_only_reads_has_figures_and_no_log(dataset: Path, tmp_path: Path) -> None:
    call("filter", dataset, "--recipe", "align")
    before = logged(dataset)
    call(
        "sweep",
        dataset,
        "--recipe",
        "align",
        "--signal",
        "n_words",
        "--values",
        "1,2",
        "--metrics",
        tmp_path / "m.prom",
    )
    assert logged(dataset) == before
    assert ("done", 1.0) in {
        (dict(labels).get("state"), v) for (_, labels), v in parsed((tmp_path / "m.prom").read_text()).items()
    }


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_done(dataset: Path, tmp_path: Path) -> None:
    before = logged(dataset)
    refused = call("measure", dataset, "--metrics", tmp_path / "nowhere" / "m.prom", code=1)
    assert "cannot write" in refused.output
    assert "choose another place" in refused.output
    assert logged(dataset) == before


def test_a_file_that_cannot_be_written_any_more_stops_nothing(dataset: Path, tmp_path: Path) -> None:
    said: list[str] = []

    class Telling(Silent):
        def say(self, sentence: str) -> None:
            said.append(sentence)

    (tmp_path / "here").mkdir()
    record = RunRecord(Store(dataset), ["measure"], Telling(), str(tmp_path / "here" / "m.prom"))
    with record:
        (tmp_path / "here" / "m.prom").unlink()
        (tmp_path / "here").rmdir()
    assert len(said) == 1
    assert said[0].startswith("no more metrics: cannot write")


def test_the_file_is_written_at_most_every_ten_seconds(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(run_log.time, "monotonic", lambda: now[0])
    written: list[float] = []
    monkeypatch.setattr(run_log.OutputFile, "write", lambda *_: written.append(now[0]))
    with (
        (record := RunRecord(Store(dataset), ["measure"], Silent(), str(tmp_path / "m"))),
        record.progress.step("a", 9, "rows") as tick,
    ):
        for now[0] in (100.5, 109.0, 110.0, 110.1, 119.9, 120.5, 121.0):
            tick(1)
    assert written == [100.0, 110.0, 120.5, 121.0]  # the last as it ends


TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
STEPS = st.builds(
    StepFigures,
    TEXTS,
    st.sampled_from(["rows", "pairs"]),
    st.none() | st.integers(0, 2**50),
    st.integers(0, 2**50),
    st.floats(0, 1e9),
    st.dictionaries(TEXTS, st.integers(1, 9)).map(Counter),
    st.dictionaries(TEXTS, st.integers(1, 9)).map(Counter),
)


@given(TEXTS, TEXTS, st.lists(STEPS, max_size=4))
def test_any_names_are_labels_that_are_read_back(dataset_url: str, command: str, steps: list[StepFigures]) -> None:
    run = RunFigures(dataset_url, command, "running", 1.5, 2.5, {"process": 7}, steps)
    series = parsed(exposition(run))
    about = {("dataset", dataset_url), ("command", command)}
    assert series["align_data_run_start_time_seconds", frozenset(about)] == 1.5
    done: Counter[tuple[str, str]] = Counter()
    for step in steps:
        done[step.step, step.unit] += step.done
    for (name, unit), number in done.items():
        labels = frozenset({*about, ("step", name), ("unit", unit)})
        assert series["align_data_step_units_total", labels] == pytest.approx(number)


def test_steps_are_noted_from_many_threads() -> None:
    noted = NotedSteps(Silent())

    def work(_: int, tick: Any) -> None:
        for _ in range(100):
            tick(1, {"ok": 1}, {"bytes": 3})

    LocalEngine(Path("unused"), 4).map_parts("count", work, [100] * 8, noted, unit="rows")
    (step,) = noted.figures
    assert (step.done, step.outcomes, step.counts) == (800, {"ok": 800}, {"bytes": 2400})
