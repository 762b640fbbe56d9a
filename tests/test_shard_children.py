"""Shards made in child processes: the same bytes and the same sentences, and nothing that outlives the run."""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import forked
import pytest
from conftest import tree
from hypothesis import given
from hypothesis import strategies as st
from test_shards import fetched, flat, jpeg, plain, run

from align_data.common.errors import DatasetError, EngineError
from align_data.common.progress import Silent
from align_data.common.workers import Handler, Send
from align_data.data.columns import identities
from align_data.data.layout import Dataset
from align_data.decoding import strip
from align_data.decoding.render import How
from align_data.engines.local import LocalEngine
from align_data.stages.export import Form, export, making
from align_data.storage.store import Store


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    rows, images = plain(120, images=70)
    return fetched(tmp_path_factory.mktemp("made") / "dataset", rows, images)


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the smallest export have children."""
    monkeypatch.setattr(making, "ALONE", 0)


class Counting(Silent):
    """Counts what was said to be done."""

    def __init__(self) -> None:
        self.done: dict[str, list[int]] = {}

    def step(self, title: str, total: int | None, unit: str) -> Any:
        """Take down what is ticked."""
        said = self.done.setdefault(title, [])
        return nullcontext(lambda done, *_: said.append(done))


@pytest.mark.parametrize("form", [flat(shard_size=7), flat("parquet", How("crop", 16), shard_size=7)])
def test_the_same_bytes_and_every_pair_said_once(dataset: Dataset, tmp_path: Path, children: None, form: Form) -> None:
    first = run(dataset, tmp_path / "one", form, workers=1)
    progress = Counting()
    engine = LocalEngine(tmp_path / "_work", 3)
    assert export(dataset, "some", Store(tmp_path / "two"), form, engine, progress) == first
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert sum(progress.done["export: shards"]) == first.pairs


def test_few_pairs_start_no_child(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "Child", None)
    run(dataset, tmp_path / "out", workers=2)


def test_a_damaged_tar_is_the_same_sentence(tmp_path: Path, children: None) -> None:
    rows, images = plain(40)
    made = fetched(tmp_path / "dataset", rows, images)
    for tar in (tmp_path / "dataset" / "bytes").rglob("*.tar"):
        tar.write_bytes(b"")
    for workers in (1, 2):
        with pytest.raises(DatasetError, match=r"bytes/part-.*at [\d,]+: .*; the dataset is damaged"):
            run(made, tmp_path / str(workers), workers=workers)


def test_a_manifest_is_read_as_often_for_many_signals_as_for_one(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    read = Store.read_bytes
    monkeypatch.setattr(Store, "read_bytes", lambda self, name: asked.append(name) or read(self, name))

    def manifests(*signals: str) -> list[str]:
        asked.clear()
        assert set(identities(dataset, signals)) == set(signals)
        return sorted(asked)

    assert manifests("width") == manifests("width", "height", "phash", "decodable") != []


def dying(_: Any) -> Handler:
    """Return what ends its process where it should make a shard."""

    def handle(_: Any, send: Send) -> None:
        send(1)
        os.kill(os.getpid(), signal.SIGKILL)

    return handle


def test_a_child_that_ends_is_a_sentence(
    dataset: Dataset, tmp_path: Path, children: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(making, "_HANDLER", f"{__name__}:dying")
        with pytest.raises(EngineError, match=r"that wrote \d+\.tar ended with SIGKILL.*fewer --workers"):
            run(dataset, tmp_path / "out", workers=3)
    run(dataset, tmp_path / "out", workers=3)
    run(dataset, tmp_path / "whole", workers=1)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


_MARK = "ALIGN_DATA_TEST_OF_EXPORTING"


def alive(mark: str) -> list[str]:
    """Return the processes of a run that have not ended."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                inside = f"{_MARK}={mark}".encode() in (process / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            found += [process.name] if inside else []
    return found


def test_killed_its_children_end_and_the_same_bytes_come_of_a_second_run(tmp_path: Path) -> None:
    rows = [{"url": f"http://h/{n}.jpg", "alt_text": f"text {n}"} for n in range(60)]
    images = {row["url"]: jpeg(n, 900, 700) for n, row in enumerate(rows)}
    made = fetched(tmp_path / "dataset", rows, images)
    code = "from align_data.stages.export import making; making.ALONE = 0; from align_data.cli import main; main()"
    line = [sys.executable, "-c", code, "export", made.store.url, "--recipe", "some", "--shard-size", "2"]
    line += ["--workers", "3", "--resize", "crop", "--out"]
    began = time.monotonic()
    forked.run([*line, str(tmp_path / "whole")], check=True, capture_output=True)
    seconds, chance = time.monotonic() - began, random.Random(5)
    for number in range(4):
        environment = {**os.environ, _MARK: str(number)}
        process = forked.Popen([*line, str(tmp_path / "out")], env=environment, stderr=forked.DEVNULL)
        time.sleep(chance.uniform(0.6, 0.95) * seconds)
        process.kill()
        process.wait()
        until = time.monotonic() + 15
        while alive(str(number)) and time.monotonic() < until:
            time.sleep(0.05)
        assert not alive(str(number))
    forked.run([*line, str(tmp_path / "out")], check=True, capture_output=True)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


@given(st.integers(0, 700_000), st.sampled_from([b"", b"\xff", b"\xff\xff", b"\xff\0", b"\xff\xd3"]), st.booleans())
def test_a_scan_ends_where_a_search_byte_by_byte_says(length: int, before: bytes, ends: bool) -> None:
    """Windows of the search begin and end inside of what is searched for, too."""
    content = b"ab" + b"\xff\0x" * (length // 3) + b"y" * (length % 3) + before + (b"\xff\xd9" if ends else b"\xff")
    found = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]").search(content, 2)
    if found is None:
        with pytest.raises(strip._MalformedError):
            strip._scan_end(content, 2)
    else:
        assert strip._scan_end(content, 2) == found.start()


@pytest.mark.parametrize("edge", [strip._NEAR, strip._NEAR + strip._WINDOW, strip._NEAR + 2 * strip._WINDOW])
def test_a_marker_on_the_edge_of_a_window_is_found(edge: int) -> None:
    for place in range(edge - 4, edge + 5):
        content = b"\0" * place + b"\xff\xd9" + b"\0" * 10
        assert strip._scan_end(content, 0) == place
