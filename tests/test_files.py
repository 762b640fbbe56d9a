"""Exports as plain folders of files: what is in them, as in tars; a hash that a shell can take; hostile names and links."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from test_shards import fetched, flat, plain, run

from align_data.cli import main
from align_data.common.errors import DatasetError
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.engines.local import LocalEngine
from align_data.exports import formats
from align_data.exports.manifest import MANIFEST
from align_data.stages.export import Split
from align_data.stages.export.metadata import _WRITERS
from align_data.stages.takedown import TakedownLists, takedown
from align_data.stages.verify import verify
from align_data.storage.store import Store
from align_data.train.shards import CorruptShardError, Sample, Shards


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    dataset = fetched(folder / "dataset", *plain(60))
    splits = (Split("val", 0.3),)
    for name in ("webdataset", "files"):
        run(dataset, folder / name, flat(name, shard_size=10, splits=splits), drop_pending=True)
    return folder


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    for name in ("dataset", "files", "webdataset"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path / "files"


def members(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*/[0-9]*/*") if path.name != "metadata.parquet"}


def test_the_files_are_those_of_the_tars(made: Path) -> None:
    stored = members(made / "files")
    assert len(stored) > 100
    tars = {path.name: path for path in (made / "webdataset").rglob("*.tar")}
    assert len(tars) > 1
    expected: dict[str, bytes] = {}
    for path in (made / "webdataset").rglob("*.tar"):
        subprocess.run(["mkdir", "-p", made / "unpacked"], check=True)
        subprocess.run(["tar", "xf", path, "-C", made / "unpacked"], check=True)
    expected = {path.name: path.read_bytes() for path in (made / "unpacked").iterdir()}
    assert stored == expected
    index, other = (pl.read_parquet(made / name / "index.pq") for name in ("files", "webdataset"))
    assert index["uid"].equals(other["uid"])
    assert index["shard"].equals(other["shard"].str.strip_suffix(".tar"))
    assert set(index["offset"]) == {0}


def test_a_shell_takes_the_same_hash(made: Path) -> None:
    manifest = json.loads((made / "files" / MANIFEST).read_text())
    assert {shard["name"].partition("/")[0] for shard in manifest["shards"]} == {"train", "val"}
    for shard in manifest["shards"]:
        folder = made / "files" / shard["name"]
        lines = subprocess.run("LC_ALL=C; sha256sum *", shell=True, cwd=folder, check=True, capture_output=True).stdout
        assert shard["sha256"] == hashlib.sha256(lines).hexdigest()
        assert shard["bytes"] == sum(path.stat().st_size for path in folder.iterdir())


def test_the_trainer_reads_what_it_reads_from_tars(made: Path) -> None:
    def content(url: Path) -> dict[str, Sample]:
        return {sample.uid: sample for sample in Shards.open(str(url))}

    assert content(made / "files") == content(made / "webdataset")
    assert len(content(made / "files" / "val")) > 3
    assert content(made / "files" / "val") == content(made / "webdataset" / "val")


def test_a_folder_without_a_manifest_is_read_too(out: Path) -> None:
    whole = {sample.uid for sample in Shards.open(str(out / "train"))}
    (out / MANIFEST).unlink()
    assert {sample.uid for sample in Shards.open(str(out / "train"))} == whole


def shard_of(out: Path) -> Path:
    return out / json.loads((out / MANIFEST).read_text())["shards"][0]["name"]


def _flip(shard: Path) -> None:
    file = min(shard.iterdir())
    file.write_bytes(file.read_bytes()[:-1] + b"!")


def _link(shard: Path) -> None:
    file = min(shard.iterdir())
    file.rename(shard.parent / "elsewhere")
    file.symlink_to(shard.parent / "elsewhere")


def _folder(shard: Path) -> None:
    file = min(shard.iterdir())
    file.unlink()
    file.mkdir()


def _pipe(shard: Path) -> None:
    file = min(shard.iterdir())
    file.unlink()
    os.mkfifo(file)


DAMAGES: list[Callable[[Path], None]] = [
    _flip,
    lambda shard: min(shard.iterdir()).unlink(),
    lambda shard: (shard / f"{'0' * 32}.jpg").write_bytes(b"x"),
    lambda shard: min(shard.iterdir()).rename(shard / f"{'f' * 32}.txt"),
    shutil.rmtree,
    _folder,
    _pipe,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_shard_that_is_not_as_written_is_named_and_not_scrubbed_or_trained_on(
    out: Path, damage: Callable[[Path], None]
) -> None:
    shard = shard_of(out)
    damage(shard)
    name = f"{shard.parent.name}/{shard.name}"
    assert list(verify(Store(out), 2, Silent()).differs) == [name]
    dataset = Dataset(Store(out.parent / "dataset"))
    uid = pl.read_parquet(out / "index.pq").filter(pl.col("shard") == name)["uid"][0]
    before = {path: path.stat().st_size for path in out.rglob("*")}
    with pytest.raises(DatasetError, match=f"nothing is removed from .*{name}"):
        takedown(
            dataset, TakedownLists({"uids": (uid,)}, {"uids": ""}), [str(out)], LocalEngine(out / "_w", 1), Silent()
        )
    assert {path: path.stat().st_size for path in out.rglob("*")} == before
    if damage is not _pipe:  # a trainer reads the user's folder, and waits as any reader does
        shards = Shards.open(str(out))
        with pytest.raises(CorruptShardError):
            list(shards.read(name))


def test_a_link_in_a_shard_is_followed_by_nothing_that_writes(out: Path) -> None:
    shard = shard_of(out)
    _link(shard)
    with pytest.raises(DatasetError, match="is a link"):
        verify(Store(out), 2, Silent())
    dataset = Dataset(Store(out.parent / "dataset"))
    uid = min(path.name for path in shard.iterdir()).partition(".")[0]
    content = (shard.parent / "elsewhere").read_bytes()
    with pytest.raises(DatasetError, match="is a link"):
        takedown(
            dataset, TakedownLists({"uids": (uid,)}, {"uids": ""}), [str(out)], LocalEngine(out / "_w", 1), Silent()
        )
    assert (shard.parent / "elsewhere").read_bytes() == content


@pytest.mark.parametrize("name", ["notes.txt", "../x.jpg", f"{'a' * 32}.JPG", f"{'a' * 32}"])
def test_what_is_foreign_beside_the_samples_is_named(out: Path, name: str) -> None:
    (shard_of(out) / name).write_bytes(b"x")
    differs = verify(Store(out), 2, Silent()).differs
    assert any("is not in the manifest" in fault for fault in differs.values())


def test_a_manifest_whose_shard_leads_elsewhere_is_refused(out: Path) -> None:
    manifest = json.loads((out / MANIFEST).read_text())
    for name in ("../dataset", "train/../../dataset", "/etc", "train/00000.tar", "train/0000", "."):
        manifest["shards"][0]["name"] = name
        (out / MANIFEST).write_text(json.dumps(manifest))
        with pytest.raises(DatasetError):
            verify(Store(out), 2, Silent())
        with pytest.raises(DatasetError):
            list(Shards.open(str(out)).read(name))


def test_a_takedown_that_is_killed_between_two_files_goes_on(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset(Store(out.parent / "dataset"))
    index = pl.read_parquet(out / "index.pq")
    uids = index["uid"].gather([0, 1, len(index) - 1]).to_list()
    before, removed = members(out), Store.remove

    def remove(store: Store, name: str) -> None:
        removed(store, name)
        if name.endswith(".json") and name.partition("/")[0] in ("train", "val"):
            raise KeyboardInterrupt

    engine = LocalEngine(out.parent / "_w", 1)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "remove", remove)
        with pytest.raises(KeyboardInterrupt):
            takedown(dataset, TakedownLists({"uids": tuple(uids)}, {"uids": ""}), [str(out)], engine, Silent())
    report = takedown(dataset, TakedownLists(), [], engine, Silent())
    assert report.receipt.shards[0].pairs == 3
    assert verify(Store(out), 2, Silent()).whole
    assert members(out) == {name: data for name, data in before.items() if name.partition(".")[0] not in uids}


def test_a_shard_that_was_killed_in_the_making_is_made_anew(out: Path, tmp_path: Path) -> None:
    dataset = Dataset(Store(tmp_path / "dataset"))
    form = flat("files", shard_size=10, splits=(Split("val", 0.3),))
    whole, done = members(out), 0

    def kill(store: Store, name: str, content: bytes) -> None:
        nonlocal done
        done += 1
        if done > 40:
            raise KeyboardInterrupt
        written(store, name, content)

    written = Store.write_bytes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "write_bytes", kill)
        with pytest.raises(KeyboardInterrupt):
            run(dataset, tmp_path / "again", form, workers=1, drop_pending=True)
    begun = next((tmp_path / "again").glob("train/[0-9]*"))
    (begun / f".{'0' * 32}.jpg.0123abcd.tmp").write_bytes(b"half")
    shutil.rmtree(tmp_path / "again" / "_index", ignore_errors=True)
    run(dataset, tmp_path / "again", form, drop_pending=True)
    assert members(tmp_path / "again") == whole
    assert verify(Store(tmp_path / "again"), 2, Silent()).whole


# --- all formats ---


def test_a_format_that_is_none_is_a_sentence_that_lists_them_all(out: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"'webdatset' is not a format of exports \(did you mean webdataset\?\)"
    ) as e:
        formats.format_called("webdatset")
    assert all(name in str(e.value) for name in formats.FORMATS)
    manifest = json.loads((out / MANIFEST).read_text())
    for name in ("tfrecord", "", 5, None, ["files"]):
        (out / MANIFEST).write_text(json.dumps({**manifest, "format": name}))
        with pytest.raises(DatasetError, match="manifest"):
            verify(Store(out), 2, Silent())


def test_every_format_is_written_read_or_said_not_to_be() -> None:
    for name, format_ in formats.FORMATS.items():
        assert format_.name == name
        assert format_.images == (format_.read is not None) != (name in _WRITERS)
        assert not format_.images or formats.format_of(f"00000{format_.ending}") is format_
    for name in ("00000.tfrecord", "abc", "0000", ".tar", "00000.tar.gz", "_00000"):
        found = formats.format_of(name)
        assert found is None or name == ".tar"
    said = " ".join(CliRunner().invoke(main, ["export", "--help"]).output.split())
    assert all(f"{name}: {format_.about}" in said for name, format_ in formats.FORMATS.items())
