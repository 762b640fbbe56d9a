"""Standard output that is closed, full, or that nobody reads any more: an error and a sentence, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LINES = {"json": ["recipes", "--json"], "table": ["signals"]}
"""More than a buffer holds, and a table."""


def run(words: list[str], how: str) -> subprocess.CompletedProcess[str]:
    line = f'"{sys.executable}" -m align_data {" ".join(words)} {how}'
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize(
    "words", [LINES["json"], LINES["table"], ["signals", "--json"], ["--help"], ["fetch", "--help"]]
)
def test_a_full_device_is_an_error(words: list[str]) -> None:
    done = run(words, "> /dev/full")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert done.stderr == "Error: cannot write standard output: No space left on device\n"


@pytest.mark.parametrize("words", [LINES["json"], LINES["table"], ["signals", "n_words", "--json"]])
def test_a_reader_that_has_gone_is_an_error(words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    line = [sys.executable, "-m", "align_data", *words]
    done = subprocess.run(line, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "Error: cannot write standard output: Broken pipe\n")


@pytest.mark.parametrize("words", [LINES["json"], LINES["table"], ["--help"]])
def test_a_closed_output_is_an_error_before_anything_is_done(words: list[str]) -> None:
    done = run(words, ">&-")
    assert done.returncode == 1
    assert done.stderr == "Error: standard output is closed; send it to /dev/null if it is not wanted\n"


@pytest.mark.parametrize("words", [LINES["json"], LINES["table"]])
def test_a_closed_error_stream_is_none(words: list[str]) -> None:
    done = run(words, "2>&-")
    assert (done.returncode, bool(done.stdout)) == (0, True)


def test_both_closed() -> None:
    assert run(LINES["table"], ">&- 2>&-").returncode == 1
