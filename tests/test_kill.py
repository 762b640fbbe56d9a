"""Killed at any moment and run again, the job ends with the same bytes as an undisturbed run."""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import time
from pathlib import Path

import forked
import pytest
from conftest import Crashes, build, tree, write_list
from test_corpus import pool

from align_data.stages.ingest import Parts

ARGUMENTS = ["--recipe", "align", "--set", "rarest_ngram.ge=2", "--part-rows", "2000", "--memory", "3MB"]


def start(lists: list[str], out: Path) -> forked.Popen:
    code = "from align_data.cli import main; main()"
    command = [sys.executable, "-c", code, "run", *lists, *ARGUMENTS, "--out", str(out)]
    return forked.Popen(command, stdout=forked.DEVNULL, stderr=forked.PIPE)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict[str, bytes], float]:
    folder = tmp_path_factory.mktemp("undisturbed")
    lists = write_list(folder / "lists", pool(20_000), files=3)
    began = time.monotonic()
    process = start(lists, folder / "out")
    assert process.wait() == 0, process.stderr and process.stderr.read()
    if process.stderr:
        process.stderr.close()
    return lists, tree(folder / "out"), time.monotonic() - began


# The first kill comes at this part of an undisturbed run, of which the imports are the first half.
@pytest.mark.parametrize("first", [0.45, 0.55, 0.65, 0.75, 0.85, 0.95])
def test_killed_again_and_again(
    undisturbed: tuple[list[str], dict[str, bytes], float], tmp_path: Path, first: float
) -> None:
    lists, expected, seconds = undisturbed
    chance = random.Random(first)
    out = tmp_path / "out"
    at = first
    for kills in range(9):
        process = start(lists, out)
        try:
            process.wait(
                at * seconds if kills < 8 else None
            )  # a machine that has become slow would never get to the end
        except forked.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        at = chance.uniform(0.4, 1.2)
        if process.stderr:
            said = process.stderr.read()
            process.stderr.close()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, said
    assert process.returncode == 0
    assert tree(out) == expected


def test_an_interrupt_ends_with_a_sentence(
    undisturbed: tuple[list[str], dict[str, bytes], float], tmp_path: Path
) -> None:
    lists, _, _ = undisturbed
    process = start(lists, tmp_path / "out")
    while process.poll() is None and not (tmp_path / "out" / "_log" / "ingest.json").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    if process.returncode:  # it may have been faster
        assert process.returncode == 130
        assert b"Stopped. Finished work is kept: run the same command again to continue." in said
        assert b"Traceback" not in said


def test_a_file_that_may_not_grow_is_a_sentence(
    undisturbed: tuple[list[str], dict[str, bytes], float], tmp_path: Path
) -> None:
    lists, expected, _ = undisturbed
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))\n"
        "from align_data.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "run", *lists, *ARGUMENTS, "--out", str(tmp_path / "out")]
    done = forked.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Error: cannot write " in done.stderr
    assert "File too large; finished work is kept, run the command again to continue" in done.stderr
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
