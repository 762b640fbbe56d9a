"""Exports of a dataset that has changed, folders that have been tampered with, and options that would do nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click import UsageError
from conftest import read
from test_shards import fetched, flat, jpeg, run, samples

from align_data.cli import main
from align_data.common.errors import DatasetError, OutputError
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.data.references import give_evaluation
from align_data.engines.local import LocalEngine
from align_data.exports.formats import FORMATS
from align_data.exports.manifest import MANIFEST
from align_data.recipes.reading import parse
from align_data.stages.eval_index import index
from align_data.stages.export import Form, Split, selection, shards
from align_data.stages.measure import measure
from align_data.stages.pipeline import Decision, decide_ledger
from align_data.stages.takedown import TakedownLists, takedown
from align_data.stages.verify import verify
from align_data.storage.store import Store

APART = """
name: some
rules:
  - {signal: decodable, eq: true, source: chosen}
  - {signal: eval_distance, gt: 0, source: chosen}
"""
SHARDED = [flat(name, shard_size=4) for name, format_ in FORMATS.items() if format_.images]
FORMS = [*SHARDED, *(flat(name) for name, format_ in FORMATS.items() if not format_.images)]


def form_name(form: Form) -> str:
    return form.format


def apart_from(dataset: Dataset, number: int, folder: Path) -> str:
    """Decide anew with another image to keep away from; return the uid that goes."""
    engine = LocalEngine(folder / "_work", 1)
    evaluation = folder / f"evaluation-{number}"
    evaluation.mkdir()
    (evaluation / "one.jpg").write_bytes(jpeg(number))
    index([str(evaluation)], str(folder / "evaluation.parquet"), 1, Silent())
    give_evaluation(dataset, str(folder / "evaluation.parquet"))
    measure(dataset, engine, Silent(), ["decodable", "eval_distance"])
    decide_ledger(Decision(parse(APART, "some.yaml")), dataset, engine, Silent())
    pairs = read(dataset, "pairs")
    return str(pairs.filter(pl.col("url") == f"http://h/{number}.jpg")["uid"].item())


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    rows = [{"url": f"http://h/{n}.jpg", "alt_text": f"text {n}"} for n in range(12)]
    return fetched(tmp_path / "dataset", rows, {row["url"]: jpeg(n) for n, row in enumerate(rows)}, parts=20)


def kill(*_: Any) -> None:
    raise KeyboardInterrupt


def uids(folder: Path, form: Form) -> set[str]:
    if form.format == "webdataset":
        return {key for key, _ in samples(folder)}
    if form.format == "files":
        return {path.name.partition(".")[0] for path in folder.glob("0*/*.txt")}
    if form.format == "uids":
        return {f"{first:016x}{second:016x}" for first, second in np.load(folder / "uids.npy").tolist()}
    return set(pl.concat([pl.read_parquet(file, columns=["uid"]) for file in folder.glob("[0p]*.parquet")])["uid"])


@pytest.mark.parametrize("form", FORMS, ids=form_name)
@pytest.mark.parametrize("killed", [False, True])
def test_a_ledger_that_was_decided_anew_is_another_export(
    dataset: Dataset, tmp_path: Path, form: Form, killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same plan and the same counts, and another pair is kept."""
    first = apart_from(dataset, 1, tmp_path)
    if killed:
        with monkeypatch.context() as patch:
            patch.setattr("align_data.stages.export.finish", kill)
            with pytest.raises(KeyboardInterrupt):
                run(dataset, tmp_path / "out", form)
    else:
        run(dataset, tmp_path / "out", form)
    second = apart_from(dataset, 4, tmp_path)
    with pytest.raises(OutputError, match="not of this export"):
        run(dataset, tmp_path / "out", form)
    run(dataset, tmp_path / "other", form)
    every = set(read(dataset, "pairs")["uid"])
    assert uids(tmp_path / "other", form) == every - {second}
    if not killed:
        assert uids(tmp_path / "out", form) == every - {first}


def test_what_is_measured_since_is_another_export(dataset: Dataset, tmp_path: Path) -> None:
    run(dataset, tmp_path / "out")
    measure(dataset, LocalEngine(tmp_path / "_work", 1), Silent(), ["host"])
    with pytest.raises(OutputError, match="not of this export"):
        run(dataset, tmp_path / "out")


@pytest.mark.parametrize("when", ["before the shards", "after the shards"])
def test_what_is_taken_down_while_it_is_exported_is_in_no_export(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    gone = read(dataset, "pairs")["uid"][3]

    def meanwhile(*arguments: Any) -> None:
        if when == "after the shards":
            make_all(*arguments)
        asked = TakedownLists({"uids": (gone,)}, {"uids": ""})
        takedown(dataset, asked, [], LocalEngine(tmp_path / "_work-2", 1), Silent())
        if when == "before the shards":
            make_all(*arguments)

    make_all = shards.make_all
    with monkeypatch.context() as patch:
        patch.setattr(shards, "make_all", meanwhile)
        with pytest.raises(DatasetError, match="was changed during the export, by a takedown"):
            run(dataset, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    run(dataset, tmp_path / "out")
    assert {key for key, _ in samples(tmp_path / "out")} == set(read(dataset, "pairs")["uid"]) - {gone}


def test_a_failure_without_a_change_is_told_as_it_was(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OutputError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(shards, "make_all", fail)
        with pytest.raises(OutputError, match="no space left"):
            run(dataset, tmp_path / "out")
    assert (tmp_path / "out" / selection.BEGUN).exists()
    run(dataset, tmp_path / "out")


def test_what_a_killed_export_was_writing_goes_from_every_split(dataset: Dataset, tmp_path: Path) -> None:
    form = flat(shard_size=3, splits=(Split("val", 0.4),))
    run(dataset, tmp_path / "out", form)
    (tmp_path / "out" / MANIFEST).rename(tmp_path / MANIFEST)
    left = [tmp_path / "out" / folder / ".00000.tar.0123abcd.tmp" for folder in ("", "train", "val")]
    for again in (False, True):
        for path in left:
            path.write_bytes(b"half a shard")
        if again:
            shutil.copy(tmp_path / MANIFEST, tmp_path / "out" / MANIFEST)
        else:
            what = json.loads((tmp_path / MANIFEST).read_text())
            made = ("exported", "without_image", "index", "shards", "files")
            mark = {"export": selection.digest({key: value for key, value in what.items() if key not in made})}
            (tmp_path / "out" / selection.BEGUN).write_text(json.dumps(mark))
        run(dataset, tmp_path / "out", form)
        assert not any(path.exists() for path in left)
        assert verify(Store(tmp_path / "out"), 2, Silent()).whole


# Verify.


def _json(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def damage(out: Path) -> None:
        (out / name).write_text(json.dumps(change(json.loads((out / name).read_text()))))

    return damage


def _written(name: str) -> Callable[[Path], None]:
    def damage(out: Path) -> None:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(b"x")

    return damage


DAMAGES: list[tuple[str, Callable[[Path], None]]] = [
    ("sizes.json", lambda out: (out / "sizes.json").unlink()),
    ("sizes.json", _json("sizes.json", lambda sizes: {**sizes, "00000.tar": 3})),
    ("sizes.json", _json("sizes.json", lambda sizes: {**sizes, "00099.tar": 4})),
    ("00001_stats.json", _json("00001_stats.json", lambda stats: {**stats, "successes": 1})),
    ("00001_stats.json", lambda out: (out / "00001_stats.json").write_text("{")),
    *((name, _written(name)) for name in ("extra/00000.tar", "_00000.tar", "0.tar.gz", "0.TAR", "notes.txt")),
    ("_rows/0/part-00000.parquet", lambda out: _nested(out / "_rows" / "0" / "part-00000.parquet")),
    ("_begun.json", _written("_begun.json")),
    (MANIFEST, _json(MANIFEST, lambda manifest: {**manifest, "pairs": manifest["pairs"] - 1})),
    (MANIFEST, _json(MANIFEST, lambda manifest: {**manifest, "exported": manifest["exported"] - 1})),
]


def _nested(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an export in every form."""
    folder = tmp_path_factory.mktemp("exported")
    rows = [{"url": f"http://h/{n}.jpg", "alt_text": f"text {n}"} for n in range(12)]
    dataset = fetched(folder / "dataset", rows, {row["url"]: jpeg(n) for n, row in enumerate(rows)}, parts=20)
    for form in FORMS:
        run(dataset, folder / form.format, form)
    return folder


@pytest.mark.parametrize(("name", "damage"), DAMAGES, ids=[str(n) for n in range(len(DAMAGES))])
def test_verify_names_everything_that_is_not_as_written(
    exported: Path, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    shutil.copytree(exported / "webdataset", tmp_path / "out")
    damage(tmp_path / "out")
    assert list(verify(Store(tmp_path / "out"), 2, Silent()).differs) == [name]


@pytest.mark.parametrize("form", FORMS, ids=form_name)
def test_every_form_can_be_verified(exported: Path, tmp_path: Path, form: Form) -> None:
    found = verify(Store(exported / form.format), 2, Silent())
    assert (found.whole, found.pairs) == (True, 12)
    manifest = json.loads((exported / form.format / MANIFEST).read_text())
    assert found.shards == len(manifest["shards"])
    assert sum(shard["pairs"] for shard in manifest["shards"]) == 12
    out = tmp_path / "out"
    shutil.copytree(exported / form.format, out)
    shard = out / manifest["shards"][0]["name"]
    file = shard if shard.is_file() else max(shard.iterdir())
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert list(verify(Store(out), 2, Silent()).differs) == [shard.name]


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: [manifest],
        lambda manifest: {**manifest, "shards": 5},
        lambda manifest: {**manifest, "shards": [5]},
        lambda manifest: {**manifest, "shards": [{**manifest["shards"][0], "bytes": "5"}]},
        lambda manifest: {**manifest, "shards": [{**manifest["shards"][0], "name": 5}]},
        lambda manifest: {**manifest, "index": None},
        lambda manifest: {**manifest, "index": {"name": "index.pq", "sha256": ""}},
        lambda manifest: {**manifest, "exported": True},
    ],
)
def test_what_is_no_manifest_is_a_sentence(exported: Path, tmp_path: Path, change: Callable[[Any], Any]) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps(change(json.loads((exported / "webdataset" / MANIFEST).read_text()))))
    with pytest.raises(DatasetError, match=r"is not a manifest of an export"):
        verify(Store(tmp_path), 2, Silent())


# Options.


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--format", "metadata", "--split", "val=0.5"], "--split applies to shards with images"),
        (["--format", "metadata", "--shard-size", "5"], "--shard-size applies to shards"),
        (["--format", "uids", "--resize", "crop"], "--resize applies to shards"),
        (["--uid", "source"], "--uid applies to --format uids"),
        (["--size", "64"], "--size needs --resize shortest or crop"),
    ],
)
def test_an_option_without_an_effect_is_refused(exported: Path, tmp_path: Path, options: list[str], said: str) -> None:
    line = ["export", str(exported / "dataset"), "--recipe", "some", "--out", str(tmp_path / "out"), *options]
    with pytest.raises(UsageError, match=said):
        main(line, standalone_mode=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", FORMS, ids=form_name)
def test_a_dry_run_foresees_the_files(exported: Path, tmp_path: Path, form: Form) -> None:
    foreseen = run(
        Dataset(Store(exported / "dataset")), tmp_path / "out", flat(form.format, shard_size=4, dry_run=True)
    )
    manifest = json.loads((exported / form.format / MANIFEST).read_text())
    assert foreseen.files == [shard["name"] for shard in manifest["shards"]]
    assert foreseen.pairs == 12
    assert not (tmp_path / "out").exists()
