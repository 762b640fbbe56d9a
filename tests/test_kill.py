"""Killed at any moment and run again, the job ends with the same bytes as an undisturbed run."""

from __future__ import annotations

import random
import resource
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

import forked
import pytest
from conftest import Crashes, build, tree, write_list
from test_corpus import pool
from torture.process import Death, run

from align_data.stages.ingest import Parts

ARGUMENTS = ["--recipe", "align", "--set", "rarest_ngram.ge=2", "--part-rows", "2000", "--memory", "3MB"]


def start(lists: list[str], out: Path) -> forked.Popen:
    code = "from align_data.cli import main; main()"
    command = [sys.executable, "-c", code, "run", *lists, *ARGUMENTS, "--out", str(out)]
    return forked.Popen(command, stdout=forked.DEVNULL, stderr=forked.PIPE)


class Undisturbed(NamedTuple):
    """A run that nobody disturbed."""

    lists: list[str]
    files: dict[str, bytes]
    changes: int
    """Of files, of which each is a moment to be killed at."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    lists = write_list(folder / "lists", pool(20_000), files=3)
    ended = run(["run", *lists, *ARGUMENTS, "--out", "out"], folder)
    assert ended.code == 0, ended.err
    return Undisturbed(lists, tree(folder / "out"), ended.changes)


@pytest.mark.parametrize("seed", range(6))
def test_killed_again_and_again(undisturbed: Undisturbed, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    command = ["run", *undisturbed.lists, *ARGUMENTS, "--out", "out"]
    kills = 0
    for number in range(4):
        # The first kill comes in the middle of the run; a later one may find it finished.
        change = chance.randint(1, undisturbed.changes if number else undisturbed.changes * 4 // 5)
        ended = run(command, tmp_path, Death(change, after=chance.choice((0, chance.uniform(0.0001, 0.05)))))
        assert ended.killed or ended.code == 0, ended.err
        kills += ended.killed
    assert kills
    ended = run(command, tmp_path)
    assert ended.code == 0, ended.err
    assert tree(tmp_path / "out") == undisturbed.files


def test_an_interrupt_ends_with_a_sentence(undisturbed: Undisturbed, tmp_path: Path) -> None:
    process = start(undisturbed.lists, tmp_path / "out")
    while process.poll() is None and not (tmp_path / "out" / "_log" / "ingest.json").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    if process.returncode:  # it may have been faster
        assert process.returncode == 130
        assert b"Stopped. What was finished stays: the same command goes on from there." in said
        assert b"Traceback" not in said


def test_a_file_that_may_not_grow_is_a_sentence(undisturbed: Undisturbed, tmp_path: Path) -> None:
    lists, expected = undisturbed.lists, undisturbed.files
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))\n"
        "from align_data.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "run", *lists, *ARGUMENTS, "--out", str(tmp_path / "out")]
    done = forked.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Error: cannot write " in done.stderr
    assert "File too large; what was finished stays, run again to go on" in done.stderr
    assert "Traceback" not in done.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 20_000
    # And when there is room again, the same command goes on to the same bytes.
    process = start(lists, tmp_path / "out")
    assert process.wait() == 0
    if process.stderr:
        process.stderr.close()
    assert tree(tmp_path / "out") == expected


@pytest.mark.parametrize("before", [True, False])
def test_a_crash_at_every_single_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool) -> None:
    """Crash at the n-th file that appears, just before or just after, for every n; then run again."""
    lists, parts = write_list(tmp_path / "lists", pool(60), files=2), Parts(rows=25)
    crashes = Crashes(monkeypatch, before)
    for number in crashes.everywhere(lambda n: build(tmp_path / str(n), lists, parts=parts, workers=1), least=15):
        assert tree(tmp_path / str(number)) == tree(tmp_path / "0"), number
