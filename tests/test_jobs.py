"""jobs/submit.py runs every command that takes --engine on Spark, and no other."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import click
import pytest

from align_data import __version__
from align_data.cli import COMMANDS, main

SUBMIT = Path(__file__).parents[1] / "jobs" / "submit.py"


def submit(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", [str(SUBMIT), *words])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(SUBMIT), run_name="__main__")
    return end.value.code if isinstance(end.value.code, int) else 0


def engines(name: str) -> list[str]:
    """Return the command's --engine choices, as its help has them."""
    command = main.get_command(click.Context(main), name)
    assert command is not None
    text = command.get_help(click.Context(command))
    match = re.search(r"--engine \[([a-z|]+)\]", text)
    return match[1].split("|") if match else []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_runs_on_spark_exactly_if_it_takes_an_engine(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(main, "main", lambda words: sys.exit(calls.append(words)))
    code = submit(monkeypatch, name, "DATASET", "--recipe", "align")
    if "spark" in engines(name):
        assert code == 0
        assert calls == [[name, "--engine", "spark", "DATASET", "--recipe", "align"]]
    else:
        assert (code, calls) == (2, [])
        sentence = capsys.readouterr().err
        assert f"Error: {name} does not run on Spark; these commands do: " in sentence
        named = sentence.partition("commands do: ")[2].strip().split(", ")
        assert named == [command for command in COMMANDS if "spark" in engines(command)]


def test_an_unknown_command_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit(monkeypatch, "filtre", "DATASET") == 2
    assert "filtre" in (error := capsys.readouterr().err)
    assert "did you mean filter?" in error


def test_help_and_version_are_the_command_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(monkeypatch) == submit(monkeypatch, "--help") == 0
    assert "Build a dataset:" in capsys.readouterr().out
    assert submit(monkeypatch, "--version") == 0
    assert __version__ in capsys.readouterr().out
    assert submit(monkeypatch, "filter", "--help") == 0
    assert "--engine" in capsys.readouterr().out


def test_a_command_does_its_work_with_the_engine_that_is_named_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_text("url,text\nhttp://a/1,a red cat\n")
    words = ["ingest", str(tmp_path / "list.csv"), "--out", str(tmp_path / "out"), "--engine", "local"]
    assert submit(monkeypatch, *words) == 0
    assert "1 rows in = 1 pairs" in capsys.readouterr().out
