"""A store changes nothing outside itself, and inside itself nothing that it has not written."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
from click.testing import CliRunner, Result
from test_shards import fetched, plain

from align_data.cli import main
from align_data.common.errors import AlignDataError, DatasetError
from align_data.common.progress import Silent
from align_data.engines.local import LocalEngine
from align_data.stages.measure import measure
from align_data.storage import confined
from align_data.storage.store import Store, make_work
from align_data.storage.tables import CHUNKED

TABLES = ("pairs", "rejected", "images", "content", "measured/text", "counts/ngrams", "verdicts/some", "bytes")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a dataset with images, all of its tables, and a shard's export."""
    folder = tmp_path_factory.mktemp("whole")
    dataset = fetched(folder / "dataset", *plain(30), parts=15)
    measure(dataset, LocalEngine(dataset.store.work, 1), Silent())
    assert call("filter", folder / "dataset", "--recipe", "align", "--set", "rarest_ngram.ge=2").exit_code == 0
    assert call("filter", folder / "dataset", "--recipe", _recipe(folder)).exit_code == 0
    assert call("export", folder / "dataset", "--recipe", "some", "--out", folder / "out").exit_code == 0
    return folder


def _recipe(folder: Path) -> Path:
    path = folder / "some.yaml"
    path.write_text("name: some\nrules:\n  - {signal: decodable, eq: true, source: chosen}\n")
    return path


@pytest.fixture
def here(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "here", symlinks=True)
    return tmp_path / "here"


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def state(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return all that can be told of a folder without following a link."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*")):
        seen = path.lstat()
        content = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(folder))] = (stat.S_IFMT(seen.st_mode), content)
    return found


def commands(here: Path) -> Iterator[list[object]]:
    """Yield everything that writes to a dataset."""
    dataset, lists = here / "dataset", here / "dataset-lists"
    yield ["ingest", lists, "--out", dataset]
    yield ["measure", dataset]
    yield ["filter", dataset, "--recipe", here / "some.yaml", "--without", "decodable", "--as", "other"]
    yield ["filter", dataset, "--recipe", here / "some.yaml", "--without", "decodable", "--as", "some"]
    yield ["takedown", dataset, "--hosts", here / "hosts.txt"]


@pytest.mark.parametrize(
    "place",
    [
        *(*TABLES, "measured", "counts", "verdicts", "bytes/part-00000", "_work", "_log", "_images", "_content"),
        *("_takedown", "takedowns", "tombstones", "banned", "_rejected", ".lock", "_log/ingest.json"),
        *(f"{table}/part-00000.parquet" for table in TABLES[:-1]),
        *(f"_manifests/{table}.json" for table in TABLES[:-1]),
        *("pairs/_manifest.json", "measured/text/_manifest.json", "_manifests", "_manifests/measured"),
    ],
)
def test_no_link_in_a_dataset_is_followed(here: Path, place: str) -> None:
    """Whatever is linked elsewhere: no command changes what it leads to, or what is beside that."""
    (here / "hosts.txt").write_text("h1\n")
    path, outside = here / "dataset" / place, here.parent / "outside"
    moved = outside / "moved"
    if path.exists():
        outside.mkdir()
        shutil.move(path, moved)
    else:
        moved.mkdir(parents=True)
        (moved / "part-00000.parquet").write_bytes(b"mine")
        (moved / ".part-00000.parquet.0123abcd.tmp").write_bytes(b"mine")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(moved)
    before = state(outside)
    for words in commands(here):
        result = call(*words)
        assert result.exit_code in (0, 1, 2), words
        assert "unforeseen" not in result.output, (words, result.output)
        assert state(outside) == before, words
    assert path.is_symlink()
    assert path.readlink() == moved


@pytest.mark.parametrize("place", ["", "_index", "_rows", "00000.tar", "manifest.json", "_begun.json"])
def test_no_link_in_an_export_is_followed(here: Path, place: str) -> None:
    """An export, again and for the first time, changes nothing that a name in its folder leads to."""
    outside = here.parent / "outside"
    outside.mkdir()
    (outside / "manifest.json").write_text("{}")
    (outside / "00000.tar").write_bytes(b"mine")
    out = here / "new"
    if place:
        out.mkdir()
    (out / place).symlink_to(outside if place in ("", "_index", "_rows") else outside / place)
    before = state(outside)
    result = call("export", here / "dataset", "--recipe", "some", "--out", out)
    assert result.exit_code == 1, result.output
    assert "unforeseen" not in result.output
    assert state(outside) == before


@pytest.mark.parametrize("function", ["create", "remove", "clear", "read", "names"])
def test_a_folder_that_becomes_a_link_meanwhile_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    """Each moment between two calls of the system is tried: the folder is swapped there for a link to another."""
    inside, outside = tmp_path / "store", tmp_path / "outside"
    work: dict[str, Callable[[Store], object]] = {
        "create": lambda store: store.write_bytes("a/b/part-00000.parquet", b"new"),
        "remove": lambda store: store.remove("a/b/part-00000.parquet"),
        "clear": lambda store: store.clear("a", re.compile(".+")),
        "read": lambda store: store.read_bytes("a/b/part-00000.parquet"),
        "names": lambda store: store.names("a/b"),
    }
    swaps = 0
    for name in ("open", "stat", "unlink", "replace", "rmdir", "mkdir", "fwalk", "listdir"):
        real = getattr(os, name)
        for moment in range(12):
            for folder in (inside, outside):
                shutil.rmtree(folder, ignore_errors=True)
                (folder / "b").mkdir(parents=True) if folder == outside else (folder / "a" / "b").mkdir(parents=True)
            (inside / "a/b/part-00000.parquet").write_bytes(b"ours")
            (outside / "b/part-00000.parquet").write_bytes(b"mine")
            before, left = state(outside), [moment]

            def swapped(*arguments: object, left: list[int] = left, real: object = real, **options: object) -> object:
                left[0] -= 1
                if left[0] == -1:
                    (inside / "a").rename(inside / "was")
                    (inside / "a").symlink_to(outside)
                return real(*arguments, **options)  # type: ignore[operator]

            with monkeypatch.context() as patch:
                patch.setattr(confined.os, name, swapped)
                try:
                    found = work[function](Store(inside))
                except (AlignDataError, OSError):
                    found = None
            swaps += (inside / "a").is_symlink()
            assert state(outside) == before, (name, moment)
            assert found != b"mine", (name, moment)
    assert swaps > 3


@pytest.mark.parametrize("name", ["../x", "a/../x", "/etc/passwd", "a//b", "a\\b", "a\0b", ".", "a/./b", "a/"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path / "store")
    for work in (store.path, store.read_bytes, store.exists, store.names, store.remove, store.open, store.size):
        with pytest.raises(DatasetError, match="is not a name of a file in"):
            work(name)
    with pytest.raises(DatasetError, match="is not a name of a file in"):
        store.write_bytes(name, b"")


@pytest.mark.parametrize("place", [str, lambda path: f"memory://{path}"], ids=["local", "memory"])
def test_what_is_foreign_in_a_folder_of_ours_stays(tmp_path: Path, place: Callable[[Path], str]) -> None:
    store = Store(place(tmp_path / "store"), tmp_path / "work")
    ours = ["00000/part-00000.parquet", "00001/_manifest.json", "00001/.part-00000.parquet.0123abcd.tmp"]
    foreign = ["00001/notes.txt", "00000/part-00000.parquet.bak", "00002/deep/part-00000.parquet", "mine/x"]
    for name in (*ours, *foreign):
        store.fs.makedirs(store.path(f"_images/{name}").rpartition("/")[0], exist_ok=True)
        store.fs.pipe_file(store.path(f"_images/{name}"), b"x")
    store.clear("_images", CHUNKED)
    there = {path.partition("_images/")[2] for path in store.fs.find(store.path("_images"))}
    assert there == set(foreign)
    for name in foreign:
        store.fs.rm_file(store.path(f"_images/{name}"))
    store.clear("_images", CHUNKED)
    assert not store.exists("_images")


def test_the_lock_follows_no_link_and_waits_for_no_pipe(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (tmp_path / "store").mkdir()
    lock = tmp_path / "store" / ".lock"
    lock.symlink_to(mine)
    with pytest.raises(DatasetError, match="is a link"), Store(tmp_path / "store").lock():
        pass
    assert not mine.exists()
    lock.unlink()
    os.mkfifo(lock)
    with pytest.raises(AlignDataError, match="is not a regular file"), Store(tmp_path / "store").lock():
        pass


def test_a_lock_that_its_holder_removed_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second process has opened the file when an error of the first removes it, and locks it after that."""
    real, holder, error = confined.open_file, Store(tmp_path / "store").lock(), KeyError()
    holder.__enter__()

    def open_file(root: str, name: str, flags: int = os.O_RDONLY) -> int:
        handle = real(root, name, flags)
        assert not holder.__exit__(KeyError, error, None)
        return handle

    monkeypatch.setattr(confined, "open_file", open_file)
    with pytest.raises(DatasetError, match="another align-data process"), Store(tmp_path / "store").lock():
        pass
    assert not (tmp_path / "store").exists()


def test_a_folder_made_for_a_lock_goes_only_if_it_is_empty(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")

    def fail(*names: str) -> None:
        with store.lock():
            for name in names:
                store.write_bytes(name, b"")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not (tmp_path / "store").exists()
    with pytest.raises(KeyError):
        fail("a")
    with pytest.raises(KeyError):
        fail()
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == [".lock", "a"]


def test_a_work_folder_in_a_place_for_all_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody else has put where it would be is not used, whatever it is."""
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    work = Store("memory://somewhere").work
    assert work.parent.parent == shared
    make_work(work)
    assert [stat.S_IMODE(path.lstat().st_mode) for path in (work, work.parent)] == [0o700, 0o700]
    assert make_work(work) == work  # again: what a killed run has left is found
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    shutil.rmtree(work.parent)
    for put in (lambda: work.parent.symlink_to(elsewhere), lambda: work.parent.mkdir(mode=0o755), work.parent.touch):
        put()
        with pytest.raises(DatasetError, match="is not a folder that is yours alone"):
            make_work(work)
        with pytest.raises(DatasetError, match="is not a folder that is yours alone"):
            Store("memory://somewhere").write_bytes("x", b"x")
        work.parent.unlink() if not work.parent.is_dir() or work.parent.is_symlink() else work.parent.rmdir()
    assert not fsspec.filesystem("memory").exists("/somewhere/x")
    assert list(elsewhere.iterdir()) == []


def test_what_a_killed_run_has_spilled_is_removed_and_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    left = tmp_path / "store" / "_work" / "exchange-0a1b2c3d"
    left.mkdir(parents=True)
    (left / "0-0-0.keys").write_bytes(b"left")
    mine = tmp_path / "store" / "_work" / "exchange"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    engine = LocalEngine(store.work, 1)
    with engine._folder("exchange") as folder:
        assert not left.exists()
        assert folder.parent == store.work
    store.clear_work()
    assert [path.name for path in (tmp_path / "store").rglob("*")] == ["_work", "exchange", "notes.txt"]


def test_metrics_go_into_no_file_that_has_another_name(tmp_path: Path) -> None:
    training = pytest.importorskip("align_data.train.run_folder")
    (tmp_path / "run").mkdir()
    mine = tmp_path / "mine"
    mine.write_text("mine")
    metrics = tmp_path / "run" / "metrics.jsonl"
    for put in (metrics.symlink_to, metrics.hardlink_to):
        put(mine)
        with pytest.raises(AlignDataError, match=r"is a link|is hard-linked under another name"):
            training.Folder(tmp_path / "run").note({"step": 1})
        metrics.unlink()
    assert mine.read_text() == "mine"
    training.Folder(tmp_path / "run").note({"step": 1})
    assert metrics.read_text() == '{"step": 1}\n'
