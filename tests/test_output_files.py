"""Files that commands write where the user wants them: on a disk, or by any fsspec URL, whole or not at all."""

from __future__ import annotations

import io
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import polars as pl
import pytest
from click.testing import CliRunner, Result
from conftest import Built
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

import align_data
from align_data.cli import main
from align_data.common.errors import OutputError
from align_data.storage.output_file import OutputFile


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    """Begin with nothing in memory, and leave nothing."""
    MemoryFileSystem.store.clear()
    yield
    MemoryFileSystem.store.clear()


def call(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    assert "unforeseen" not in result.output, result.output
    return result


@pytest.fixture
def place(job: Callable[..., Built]) -> str:
    rows = [{"url": f"http://a/{n}", "alt_text": "word " * (n % 6)} for n in range(9)]
    return job(rows).dataset.store.url


def test_pages_go_to_any_url_and_are_those_of_a_disk(place: str, tmp_path: Path) -> None:
    for command in (["audit", place, "--recipe", "every"], ["diff", place, "every", "every"]):
        page = tmp_path / f"{command[0]}.html"
        there = f"memory://bucket/pages/{command[0]}.html"
        assert call(*command, "--html", page).exit_code == 0
        told = call(*command, "--html", there)
        assert told.exit_code == 0, told.output
        assert f"wrote {there}" in told.output
        assert fsspec.open(there, "rb").open().read() == page.read_bytes()
    align_data.open(place).audit("every").save("memory://bucket/saved.html")
    assert b"<html" in fsspec.open("memory://bucket/saved.html", "rb").open().read()


def test_an_index_goes_to_any_url_and_is_taken_from_there(place: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (40, 30), "red").save(tmp_path / "images" / "red.png")
    assert call("eval-index", tmp_path / "images", "--out", "memory://bucket/coco.parquet").exit_code == 0
    assert call("eval-index", tmp_path / "images", "--out", tmp_path / "coco.parquet").exit_code == 0
    content = fsspec.open("memory://bucket/coco.parquet", "rb").open().read()
    assert content == (tmp_path / "coco.parquet").read_bytes()
    assert pl.read_parquet(io.BytesIO(content))["name"].to_list() == ["red.png"]
    told = call("measure", place, "--signals", "n_words", "--eval-index", "memory://bucket/coco.parquet")
    assert told.exit_code == 0, told.output
    assert call("measure", place, "--signals", "n_words", "--eval-index", tmp_path / "coco.parquet").exit_code == 0
    missing = call("measure", place, "--signals", "n_words", "--eval-index", "memory://bucket/none.parquet")
    assert missing.exit_code == 1
    assert "memory://bucket/none.parquet is not an index of evaluation images" in missing.output


def test_datasets_and_exports_go_to_any_url(tmp_path: Path) -> None:
    pl.DataFrame({"url": [f"http://a/{n}" for n in range(9)], "text": ["a dog here"] * 9}).write_parquet(
        tmp_path / "list.parquet"
    )
    (tmp_path / "mine.yaml").write_text("name: mine\nrules:\n  - {signal: n_words, ge: 2}\n")
    done = call(
        "run", tmp_path / "list.parquet", "--recipe", tmp_path / "mine.yaml", "--out", "memory://bucket/dataset"
    )
    assert done.exit_code == 0, done.output
    for form in ("metadata", "uids"):
        out = f"memory://bucket/{form}"
        assert (
            call("export", "memory://bucket/dataset", "--recipe", "mine", "--format", form, "--out", out).exit_code == 0
        )
        assert call("verify", out).exit_code == 0
    assert (
        call("audit", "memory://bucket/dataset", "--recipe", "mine", "--html", "memory://bucket/x.html").exit_code == 0
    )


@pytest.mark.parametrize(
    ("there", "why"),
    [
        ("memory://bucket/folder", "Is a directory"),
        ("nothing://bucket/x.html", "Protocol not known"),
        ("memory://me:hunter2@bucket/folder", "Is a directory"),
        ("full://me:hunter2@bucket/x.html", "the bucket .* is full"),
        ("closed://bucket/x.html?secret=hunter2", "no credentials"),
    ],
)
def test_what_cannot_be_written_is_a_sentence_without_secrets(place: str, there: str, why: str) -> None:
    memory = MemoryFileSystem()
    memory.makedirs("/bucket/folder", exist_ok=True)
    memory.makedirs("/me:hunter2@bucket/folder", exist_ok=True)
    fsspec.register_implementation("full", Full, clobber=True)
    fsspec.register_implementation("closed", Closed, clobber=True)
    told = call("audit", place, "--recipe", "every", "--html", there)
    assert told.exit_code == 1
    assert "Error: cannot write " in told.output
    assert "hunter2" not in told.output
    with pytest.raises(OutputError, match=why) as error:
        align_data.open(place).audit("every").save(there) if "folder" not in there else OutputFile(there).check()
    assert "hunter2" not in str(error.value)


class Full(MemoryFileSystem):
    """A file system that has no room."""

    protocol = "full"

    def put_file(self, lpath: str, rpath: str, *_: object, **__: object) -> None:
        raise OSError(28, f"the bucket {rpath} is full: full://me:hunter2@bucket/x.html")


class Closed(MemoryFileSystem):
    """A file system whose client raises an error of its own, as botocore's does without credentials."""

    protocol = "closed"

    def isdir(self, path: str) -> bool:
        raise Exception("no credentials")

    def put_file(self, lpath: str, rpath: str, *_: object, **__: object) -> None:
        raise Exception("no credentials")


def half(file: OutputFile) -> None:
    with file.create() as path:
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt


def test_a_file_on_a_disk_appears_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    for url in (str(page), f"file://{page}"):
        OutputFile(url).write(b"before")
        (tmp_path / ".page.html.0123abcd.tmp").write_bytes(b"of a run that was killed")
        (tmp_path / ".other.html.0123abcd.tmp").write_bytes(b"of another file")
        with pytest.raises(KeyboardInterrupt):
            half(OutputFile(url))
        assert page.read_bytes() == b"before"
        OutputFile(url).write(b"after")
        assert page.read_bytes() == b"after"
        assert sorted(each.name for each in tmp_path.iterdir()) == [".other.html.0123abcd.tmp", "page.html"]


def test_links_pipes_and_devices_are_written_through(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link, pipe = tmp_path / "elsewhere" / "page.html", tmp_path / "link.html", tmp_path / "pipe"
    target.write_bytes(b"before")
    link.symlink_to(target)
    OutputFile(link).write(b"after")
    assert link.is_symlink()
    assert target.read_bytes() == b"after"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    OutputFile(pipe).write(b"through")
    reader.join(30)
    assert read == [b"through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    OutputFile("/dev/null").write(b"away")


@pytest.mark.parametrize("name", ["none/page.html", "", "page.html/x"])
def test_what_a_disk_cannot_have_is_a_sentence_before_the_work(place: str, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "page.html").write_bytes(b"")
    there = str(tmp_path / name) if name else ""
    told = call("audit", place, "--recipe", "every", "--html", there)
    assert told.exit_code == 1
    assert f"cannot write {there or '.'}: " in told.output
    assert "choose another place" in told.output


@pytest.mark.parametrize(
    "words",
    [
        ["train", "shards", "--out", "s3://me:hunter2@bucket/model"],
        ["ablate", "dataset", "--recipe", "x", "--eval", "shards", "--out", "memory://bucket/ablation"],
        ["measure", "dataset", "--work", "s3://bucket/work"],
    ],
)
def test_a_folder_that_must_be_local_is_refused_as_a_url_and_not_made(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = call(*words)
    assert told.exit_code == 2
    assert "is a URL, and this must be a folder on this machine" in " ".join(told.output.split())
    assert "hunter2" not in told.output
    assert not list(tmp_path.iterdir())
