"""What other libraries make of an exported folder: every text and every picture, split by split, and nothing beside."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from click.testing import CliRunner
from conftest import read
from docs_pages import blocks
from PIL import Image
from test_shards import fetched, flat, run

from align_data.cli import main
from align_data.common.errors import DatasetError
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.decoding.render import How
from align_data.engines.local import LocalEngine
from align_data.exports.shard_names import DEFAULT, ShardNames
from align_data.stages.export import Form, Split
from align_data.stages.takedown import TakedownLists, takedown
from align_data.stages.verify import verify
from align_data.storage.store import Store
from align_data.train.shards import Shards

TEXTS = [
    "a dog",
    "NA",
    "None",
    "null",
    '"quoted", it said',
    "a\\b",
    "1e5",
    "emoji 🐕‍🦺, İ",
    "2020-01-01",
    "N/A",
    "''",
    "nan",
]
TYPES = ("JPEG", "PNG", "WEBP", "GIF")
SPLITS = (Split("val", 0.25), Split("held_out", 0.15))
"""One that datasets knows by its name, and one that it does not."""
Seen = dict[str, tuple[str, Any]]
"""uid → text and picture."""
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)


def content(number: int, type_: str) -> bytes:
    """A smooth picture, of which a JPEG loses little, in its own size and colours."""
    height, width = np.mgrid[0:48, 0 : 40 + number]
    pixels = np.stack([height * 5, width * 3, np.full_like(width, number * 4)], axis=2).clip(0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, type_, **({"lossless": True} if type_ == "WEBP" else {}))
    return out.getvalue()


@dataclass(frozen=True)
class Exports:
    """Exports of one dataset, and what must be in them."""

    folder: Path
    dataset: Dataset
    truth: dict[str, tuple[str, bytes]]
    """uid → text and the image's bytes as fetched."""

    def of(self, form: str) -> Path:
        return self.folder / form

    def check(self, form: str, seen: dict[str, Seen], splits: dict[str, str] | None = None) -> None:
        """Compare what a reader gave with the truth, each split with what the manifest says of it."""
        manifest = json.loads((self.of(form) / "manifest.json").read_text())
        pairs: dict[str, int] = {}
        for shard in manifest["shards"]:
            name = (splits or {}).get(shard["split"], shard["split"])
            pairs[name] = pairs.get(name, 0) + shard["pairs"]
        assert {split: len(rows) for split, rows in seen.items()} == pairs
        assert all(pairs.values())
        together = {uid: row for rows in seen.values() for uid, row in rows.items()}
        assert together.keys() == self.truth.keys()
        for uid, (text, image) in together.items():
            assert text == self.truth[uid][0]
            if image is not None:
                same_picture(image, self.truth[uid][1])


def same_picture(image: Any, source: bytes) -> None:
    if isinstance(image, dict):
        image = image["bytes"]
    picture = Image.open(io.BytesIO(image)) if isinstance(image, bytes) else image
    expected = np.asarray(Image.open(io.BytesIO(source)).convert("RGB")).astype(int)
    seen = np.asarray(picture.convert("RGB")).astype(int)
    assert seen.shape == expected.shape
    assert np.abs(seen - expected).mean() < (0.01 if source[:2] == b"\xff\xd8" else 4)


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    folder = tmp_path_factory.mktemp("readers")
    rows = [
        {"url": f"http://h/{n}", "alt_text": TEXTS[n % len(TEXTS)], "page_url": "http://p/" if n % 3 else None}
        for n in range(48)
    ]
    images = {row["url"]: content(n, TYPES[n % 4]) for n, row in enumerate(rows)}
    dataset = fetched(folder / "dataset", rows, images)
    for form in ("webdataset", "parquet", "files"):
        run(dataset, folder / form, Form(form, shard_size=10, splits=SPLITS))
        assert verify(Store(folder / form), 2, Silent()).whole
    run(dataset, folder / "metadata", Form("metadata"))
    run(dataset, folder / "mixed", Form(how=How(), shard_size=10, splits=SPLITS))
    pairs = read(dataset, "pairs")
    truth = {uid: (text, images[url]) for uid, url, text in pairs.select("uid", "url", "alt_text").iter_rows()}
    return Exports(folder, dataset, truth)


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()

    def load(*arguments: str, **options: Any) -> dict[str, Seen]:
        """Return what load_dataset gives, by the names that each of our formats has for things."""
        loaded = datasets.load_dataset(*arguments, **options, cache_dir=str(tmp_path / "cache"))
        seen: dict[str, Seen] = {}
        for split, rows in loaded.items():
            for row in rows:
                known = row.get("json", row)
                image = row["image"] if "image" in row else next((row[e] for e in ENDINGS if row.get(e)), None)
                text = row["txt"] if "txt" in row else row["alt_text"]
                assert text == known["alt_text"]
                seen.setdefault(split, {})[known["uid"]] = (text, image)
        return seen

    return load


ENDINGS = ("jpg", "png", "webp")


@pytest.mark.parametrize("form", ["webdataset", "parquet", "files", "metadata", "mixed"])
def test_datasets_reads_a_folder_by_its_card(exports: Exports, load: Any, form: str) -> None:
    seen = load(str(exports.of(form)))
    exports.check(form, seen)
    pictures = [image for rows in seen.values() for _, image in rows.values()]
    assert (None in pictures) == (form == "metadata")


@pytest.mark.parametrize("form", ["webdataset", "parquet", "metadata"])
def test_datasets_reads_a_folder_by_the_name_of_the_format(exports: Exports, load: Any, form: str) -> None:
    seen = load("parquet" if form == "metadata" else form, data_dir=str(exports.of(form)))
    exports.check(form, seen)


def test_datasets_reads_a_folder_of_images(exports: Exports, load: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(exports.dataset, out, Form("files", shard_size=10))
    seen = load("imagefolder", data_dir=str(out))
    assert {uid: text for uid, (text, _) in seen["train"].items()} == {
        u: text for u, (text, _) in exports.truth.items()
    }
    for uid, (_, image) in seen["train"].items():
        same_picture(image, exports.truth[uid][1])


def test_a_signal_that_is_null_of_some_is_read_by_the_card(exports: Exports, load: Any, tmp_path: Path) -> None:
    """datasets takes the types of tars from five samples, and fails where one of them has null: the card says them."""
    out = shutil.copytree(exports.of("webdataset"), tmp_path / "out")
    number = 0
    for path in sorted((out / "data").glob("*.tar")):
        with tarfile.open(path) as old, tarfile.open(tmp_path / "new.tar", "w") as new:
            for member in old:
                inside = old.extractfile(member)
                assert inside is not None
                data = inside.read()
                if member.name.endswith(".json"):
                    facts, number = json.loads(data), number + 1
                    facts["signals"]["n_words"] = None if number % 10 < 8 else 5
                    data = json.dumps(facts).encode()
                    member.size = len(data)
                new.addfile(member, io.BytesIO(data))
        shutil.move(tmp_path / "new.tar", path)
    exports.check("webdataset", load(str(out)))


def test_the_card_says_what_is_there(exports: Exports) -> None:
    head = yaml.safe_load((exports.of("webdataset") / "README.md").read_text().split("---\n")[1])
    assert (head["license"], head["license_name"]) == ("other", "unknown")
    assert "webdataset" in head["tags"]
    assert head["size_categories"] == ["n<1K"]
    assert [files["split"] for files in head["configs"][0]["data_files"]] == ["train", "val", "held_out"]
    body = (exports.of("webdataset") / "README.md").read_text()
    assert "- `n_chars`: n_chars at least 1" in body
    assert "48 pairs of an image" in body


def test_the_licence_is_the_card_s_and_croissant_s(exports: Exports, tmp_path: Path) -> None:
    run(exports.dataset, tmp_path / "out", Form("metadata", license="cc-by-4.0"))
    head = yaml.safe_load((tmp_path / "out" / "README.md").read_text().split("---\n")[1])
    assert head["license"] == "cc-by-4.0"
    assert "license_name" not in head
    assert json.loads((tmp_path / "out" / "croissant.json").read_text())["license"] == "cc-by-4.0"


# Tables.


def count_polars(folder: Path) -> int:
    return int(pl.scan_parquet(folder).select(pl.len()).collect().item())


def count_pandas(folder: Path) -> int:
    return len(pytest.importorskip("pandas").read_parquet(folder))


def count_arrow(folder: Path) -> int:
    dataset = pytest.importorskip("pyarrow.dataset")
    return int(dataset.dataset(folder, format="parquet").count_rows())


def count_daft(folder: Path) -> int:
    return int(pytest.importorskip("daft", reason="daft is not installed").read_parquet(str(folder)).count_rows())


def count_lance(folder: Path) -> int:
    lance = pytest.importorskip("lance", reason="pylance is not installed")
    dataset = pytest.importorskip("pyarrow.dataset")
    written = lance.write_dataset(
        dataset.dataset(folder, format="parquet"), folder.parent.parent / f"{folder.parent.name}.lance"
    )
    return int(written.count_rows())


@pytest.mark.parametrize("count", [count_polars, count_pandas, count_arrow, count_daft, count_lance])
@pytest.mark.parametrize("form", ["parquet", "metadata"])
def test_a_table_reader_counts_each_pair_once(exports: Exports, count: Any, form: str) -> None:
    assert count(exports.of(form) / "data") == len(exports.truth)


@pytest.mark.parametrize("form", ["parquet", "metadata", "files"])
def test_every_parquet_file_below_an_export_is_of_its_pairs(exports: Exports, form: str) -> None:
    duckdb = pytest.importorskip("duckdb")
    pattern = f"{exports.of(form)}/**/*.parquet"
    rows = duckdb.execute(f"select uid, alt_text from '{pattern}'").fetchall()
    expected = sorted((uid, text) for uid, (text, _) in exports.truth.items())
    assert sorted(rows) == expected
    assert sorted(pl.scan_parquet(pattern).select("uid", "alt_text").collect().iter_rows()) == expected


# What trains.


def test_wids_reads_each_split_by_its_index(exports: Exports, tmp_path: Path) -> None:
    pytest.importorskip("wids")
    code = """
import json, sys, wids
print(json.dumps([
    [sample[".json"]["uid"], sample[".txt"], sample[".jpg"].size]
    for sample in wids.ShardListDataset(sys.argv[1], cache_dir=sys.argv[2])
]))
"""
    for split in ("train", "val", "held_out"):
        index = exports.of("webdataset") / f"wids-{split}.json"
        cache = tmp_path / split
        cache.mkdir()
        line = [sys.executable, "-W", "ignore", "-c", code, str(index), str(cache)]
        samples = json.loads(subprocess.run(line, capture_output=True, text=True, check=True).stdout)
        listed = json.loads(index.read_text())["shardlist"]
        assert len(samples) == sum(shard["nsamples"] for shard in listed)
        assert samples
        for uid, text, size in samples:
            assert text == exports.truth[uid][0]
            assert tuple(size) == Image.open(io.BytesIO(exports.truth[uid][1])).size
        assert [shard["filesize"] for shard in listed] == [
            (exports.of("webdataset") / shard["url"]).stat().st_size for shard in listed
        ]


def test_pandas_reads_the_captions_that_open_clip_trains_on(exports: Exports) -> None:
    pandas = pytest.importorskip("pandas")
    seen: dict[str, Seen] = {}
    for split in ("train", "val", "held_out"):
        table = pandas.read_csv(exports.of("files") / f"{split}.tsv", sep="\t")  # as open_clip reads it
        for path, title in zip(table["filepath"], table["title"], strict=True):
            text = str(title)  # as open_clip makes a text of it
            seen.setdefault(split, {})[Path(path).stem] = (
                text.removesuffix(" "),
                (exports.of("files") / path).read_bytes(),
            )
    exports.check("files", seen)


def test_open_clip_trains_on_tars_and_on_captions(exports: Exports, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pytest.importorskip("open_clip_train.data", reason="open_clip is not installed")
    tars, size = exports.of("webdataset"), 0
    names = sorted(str(path) for path in (tars / "data").glob("train-*.tar"))
    size, number = data.get_dataset_size("::".join(names))
    assert number == len(names)
    assert size == sum(shard["nsamples"] for shard in json.loads((tars / "wids-train.json").read_text())["shardlist"])
    monkeypatch.chdir(exports.of("files"))
    seen = data.CsvDataset("train.tsv", lambda image: image.copy(), "filepath", "title", tokenizer=lambda texts: texts)
    rows = {Path(path).stem: seen[n] for n, path in enumerate(seen.images)}
    assert rows
    for uid, (image, text) in rows.items():
        assert text.strip() == exports.truth[uid][0]
        same_picture(image, exports.truth[uid][1])


def test_our_trainer_takes_an_export_and_a_split_of_it(exports: Exports) -> None:
    for form in ("webdataset", "parquet", "files"):
        seen = {
            split: {s.uid: (s.alt_text, s.image) for s in Shards.open(f"{exports.of(form)}/{split}")}
            for split in ("train", "val", "held_out")
        }
        exports.check(form, seen)
        assert {sample.uid for sample in Shards.open(str(exports.of(form)))} == exports.truth.keys()
        with pytest.raises(DatasetError, match="has no shards"):
            Shards.open(f"{exports.of(form)}/test")


def test_croissant_is_valid_and_its_records_are_the_pairs(
    exports: Exports, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("mlcroissant", reason="mlcroissant is not installed")
    code = """
import json, os, sys, mlcroissant
data = mlcroissant.Dataset(jsonld=sys.argv[1])
print(json.dumps([[str(v.decode() if isinstance(v, bytes) else "") for v in r.values()] for r in data.records(sys.argv[2])]))
sys.stdout.flush()
os._exit(0)  # threads of the libraries that it loads can abort an interpreter that ends
"""
    for form, records in (
        ("parquet", "pairs"),
        ("metadata", "pairs"),
        ("files", "pairs"),
        ("webdataset", "txt-files"),
        ("webdataset", "jpg-files"),
    ):
        line = [sys.executable, "-W", "ignore", "-c", code, str(exports.of(form) / "croissant.json"), records]
        done = subprocess.run(
            line, capture_output=True, text=True, env={"HOME": str(tmp_path), "PATH": "/usr/bin"}, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        rows = json.loads(done.stdout)
        found = {next(value for value in row if value in exports.truth): row for row in rows}
        assert found.keys() == exports.truth.keys()
        assert len(rows) == len(found)
        if records != "jpg-files":
            assert all(exports.truth[uid][0] in row for uid, row in found.items())


# Types of images.


@pytest.mark.parametrize("encode", ["jpeg", "webp"])
def test_a_set_has_one_type_and_what_has_it_stays(exports: Exports, tmp_path: Path, encode: Any) -> None:
    out = tmp_path / "out"
    done = run(exports.dataset, out, Form(how=How(encoder=encode, one_type=True, quality=100), shard_size=10))
    assert list(done.types) == [{"jpeg": "jpg", "webp": "webp"}[encode]]
    magic = b"\xff\xd8" if encode == "jpeg" else b"RIFF"
    seen = {sample.uid: sample.image for sample in Shards.open(str(out))}
    assert seen.keys() == exports.truth.keys()
    for uid, image in seen.items():
        source = exports.truth[uid][1]
        assert image.startswith(magic)
        assert (image == source) == source.startswith(magic)
        picture, expected = (np.asarray(Image.open(io.BytesIO(b)).convert("RGB")).astype(int) for b in (image, source))
        assert np.abs(picture - expected).mean() < 4


def test_kept_types_are_all_there_and_told(exports: Exports) -> None:
    seen = {sample.uid: sample.image for sample in Shards.open(str(exports.of("mixed")))}
    assert seen.keys() == exports.truth.keys()
    for uid, image in seen.items():
        source = exports.truth[uid][1]
        assert (image == source) == (not source.startswith(b"GIF"))  # whose colours few trainers take as they are
        same_picture(image, source)
    manifest = json.loads((exports.of("mixed") / "manifest.json").read_text())
    assert {type_ for shard in manifest["shards"] for type_ in shard["types"]} == {"jpg", "png", "webp"}


# Names.


@pytest.mark.parametrize(
    ("pattern", "splits", "expected"),
    [
        (DEFAULT, (), "data/train-00000-of-00003"),
        (DEFAULT, ("val",), "data/train-00000-of-00003"),
        ("{:05d}", (), "00000"),
        ("{:05d}", ("val",), "train/00000"),
        ("{:08d}.tar", (), "00000000"),
        ("wds/{split}/part_{:06d}", ("val",), "wds/train/part_000000"),
    ],
)
def test_a_pattern_names_shards(pattern: str, splits: tuple[str, ...], expected: str) -> None:
    assert ShardNames.of(pattern, splits, ".tar").name("train", 0, 3) == expected


def test_all_names_are_of_one_width() -> None:
    names = ShardNames.of(DEFAULT, (), ".tar")
    assert names.name("train", 7, 100_001) == "data/train-000007-of-100001"
    assert names.name("train", 100_000, 100_001) == "data/train-100000-of-100001"


@pytest.mark.parametrize(
    "pattern",
    ["", "x", "{split}", "{:05d}-{:05d}", "{:03d}", "{:d}", "{0.__class__}", "../{:05d}", "/{:05d}", "_x/{:05d}", ".{:05d}", "a//{:05d}", "{:05d}/", "a b{:05d}", "{:05d}.png", "{:05d}\n", "a/b/c/d/{:05d}", "{split", "{:05d}{", "x" * 200 + "{:05d}"],
)  # fmt: skip
def test_what_names_no_shards_is_a_sentence(pattern: str) -> None:
    with pytest.raises(DatasetError, match="does not name shards"):
        ShardNames.of(pattern, (), ".tar")


@pytest.mark.parametrize("form", ["webdataset", "parquet", "files", "metadata"])
def test_an_export_by_another_pattern_is_whole_and_read(exports: Exports, load: Any, tmp_path: Path, form: str) -> None:
    out = tmp_path / "out"
    splits = () if form == "metadata" else (Split("val", 0.3),)
    run(exports.dataset, out, Form(form, shard_size=20, splits=splits, shard_names="sets/{split}_{:08d}"))
    assert verify(Store(out), 1, Silent()).whole
    seen = load(str(out))
    assert {uid: text for rows in seen.values() for uid, (text, _) in rows.items()} == {
        u: t for u, (t, _) in exports.truth.items()
    }


# Takedown.


@pytest.fixture
def place(exports: Exports, tmp_path: Path) -> Path:
    shutil.copytree(exports.folder, tmp_path / "place")
    return tmp_path / "place"


def test_what_is_taken_down_is_in_no_file_beside_the_shards(exports: Exports, place: Path, load: Any) -> None:
    dead = sorted(exports.truth)[::9]
    dataset, engine = Dataset(Store(place / "dataset")), LocalEngine(place / "_w", 2)
    forms = ("webdataset", "parquet", "files", "metadata", "mixed")
    lists = TakedownLists({"uids": tuple(dead)}, {"uids": ""})
    takedown(dataset, lists, [str(place / form) for form in forms], engine, Silent())
    living = {uid: row for uid, row in exports.truth.items() if uid not in dead}
    after = Exports(place, dataset, living)
    for form in forms:
        assert verify(Store(place / form), 1, Silent()).whole
        after.check(form, load(str(place / form)))
        for file in (place / form).rglob("*"):
            if file.is_file() and file.name != "manifest.json":
                assert not any(uid.encode() in file.read_bytes() for uid in dead), file
        assert f"{len(living)} pairs of an image" in (place / form / "README.md").read_text()
        assert f"{len(dead)} pairs were taken down" in (place / form / "README.md").read_text()
        shards = {s["name"]: s for s in json.loads((place / form / "manifest.json").read_text())["shards"]}
        for file in json.loads((place / form / "croissant.json").read_text())["distribution"]:
            if file["@type"] == "cr:FileObject":
                assert file["sha256"] == shards[file["name"]]["sha256"]
    listed = json.loads((place / "webdataset" / "wids-train.json").read_text())["shardlist"]
    assert [s["nsamples"] for s in listed] == [s["pairs"] for s in shards_of(place / "webdataset", "train")]
    lines = [
        line
        for split in ("train", "val", "held_out")
        for line in (place / "files" / f"{split}.tsv").read_text().splitlines()[1:]
    ]
    assert len(lines) == len(living)


def shards_of(folder: Path, split: str) -> list[dict[str, Any]]:
    return [s for s in json.loads((folder / "manifest.json").read_text())["shards"] if s["split"] == split]


def older(folder: Path) -> None:
    """Make of an export one as align-data wrote it before it had a card: its index a *.parquet, counts beside shards."""
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    for beside in manifest.pop("files"):
        (folder / beside["name"]).unlink()
    for key in ("card", "shard_names"):
        del manifest[key]
    (folder / "index.pq").rename(folder / "index.parquet")
    manifest["index"]["name"] = "index.parquet"
    sizes: dict[str, dict[str, int]] = {f"{split}/": {} for split in ("train", *manifest["splits"])}
    for shard in manifest["shards"]:
        del shard["split"], shard["types"]
        split, _, name = shard["name"].rpartition("/")
        sizes[f"{split}/"][name] = pairs = shard["pairs"]
        failed = {"failed_to_download": 0, "failed_to_resize": 0, "status_dict": {"success": pairs}}
        stats = folder / f"{shard['name'].removesuffix('.tar').removesuffix('.parquet')}_stats.json"
        stats.write_text(json.dumps({"count": pairs, "successes": pairs, **failed}))
    for split, inside in sizes.items():
        (folder / split / "sizes.json").write_text(json.dumps(inside))
    file.write_text(json.dumps(manifest))


@pytest.mark.parametrize("form", ["webdataset", "parquet"])
def test_an_older_export_is_verified_trained_on_and_taken_down_from(exports: Exports, place: Path, form: str) -> None:
    out, dead = place / "older", sorted(exports.truth)[::7]
    dataset = Dataset(Store(place / "dataset"))
    run(dataset, out, flat(form, shard_size=10, splits=SPLITS))
    older(out)
    assert verify(Store(out), 1, Silent()).whole
    assert {s.uid for s in Shards.open(f"{out}/train")} < exports.truth.keys() == {s.uid for s in Shards.open(str(out))}
    lists = TakedownLists({"uids": tuple(dead)}, {"uids": ""})
    takedown(dataset, lists, [str(out)], LocalEngine(place / "_w", 1), Silent())
    assert verify(Store(out), 1, Silent()).whole
    assert {s.uid for s in Shards.open(str(out))} == exports.truth.keys() - set(dead)
    assert json.loads((out / "train" / "sizes.json").read_text()) == {
        Path(s["name"]).name: s["pairs"]
        for s in json.loads((out / "manifest.json").read_text())["shards"]
        if s["name"].startswith("train/")
    }
    assert not (out / "README.md").exists()


# The guide's snippets.

GUIDE = Path(__file__).parent.parent / "docs" / "how-to" / "readers.md"


@pytest.mark.parametrize("library", ["lance", "daft", "ray", "streaming", "litdata"])
def test_a_snippet_of_the_guide_runs(exports: Exports, tmp_path: Path, library: str) -> None:
    found = importlib.util.find_spec(library)
    if found is None:
        pytest.skip(f"{library} is not installed")
    (block,) = [
        block
        for block in blocks(GUIDE)
        if block.not_run and f"import {library}" in block.text.replace("from streaming", "import streaming")
    ]
    shutil.copytree(exports.of("webdataset"), tmp_path / "tars")
    shutil.copytree(exports.of("parquet"), tmp_path / "parquet")
    quiet = {"DO_NOT_TRACK": "1", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
    line = [sys.executable, "-W", "ignore", "-c", block.text]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, **quiet}, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


# The command.


def test_the_command_tells_of_types_that_are_kept_and_refuses_what_names_no_shards(
    exports: Exports, tmp_path: Path
) -> None:
    line = ["export", str(exports.folder / "dataset"), "--recipe", "some", "--out", str(tmp_path / "out")]
    kept = CliRunner().invoke(main, [*line, "--encode", "keep"])
    assert kept.exit_code == 0
    assert "the images are of 3 types (jpg, png, webp)" in " ".join(kept.output.split())
    again = CliRunner().invoke(main, [*line, "--encode", "keep"])
    assert "of 3 types" in " ".join(again.output.split())
    one = CliRunner().invoke(main, [*line[:-1], str(tmp_path / "one"), "--shard-names", "{:08d}", "--license", "mit"])
    assert one.exit_code == 0
    assert "types" not in one.output
    assert (tmp_path / "one" / "00000000.tar").exists()
    assert json.loads((tmp_path / "one" / "sizes.json").read_text()) == {"00000000.tar": 48}
    bad = CliRunner().invoke(main, [*line, "--shard-names", "../{:05d}"])
    assert bad.exit_code == 2
    assert "does not name shards" in " ".join(bad.output.split())
    for option in (["--encode", "webp"], ["--license", "mit"], ["--shard-names", "{:05d}"]):
        idle = CliRunner().invoke(main, [*line, "--format", "uids", *option])
        assert idle.exit_code == 2
        assert f"{option[0]} applies to" in " ".join(idle.output.replace("\u2502", " ").split())
