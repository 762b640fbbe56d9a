"""Exported shards: every kept pair once, read back by the readers that people have, the same bytes whatever happens."""

from __future__ import annotations

import hashlib
import io
import json
import random
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from conftest import read, texts, tree, write_list
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torture import process

from align_data.common.errors import DatasetError, OutputError
from align_data.common.progress import Silent
from align_data.data.image_table import image_urls
from align_data.data.layout import Dataset
from align_data.data.meta import ImagesMeta
from align_data.decoding.render import How
from align_data.engines.local import LocalEngine
from align_data.recipes.reading import parse
from align_data.stages.export import Exported, Form, Split, export
from align_data.stages.ingest import Parts, ingest
from align_data.stages.measure import measure
from align_data.stages.pipeline import Decision, decide_ledger
from align_data.stages.verify import verify
from align_data.storage import confined
from align_data.storage.store import Store
from align_data.storage.tars import TarWriter, member

RECIPE = """
name: some
rules:
  - {signal: n_chars, ge: 1, source: chosen}
  - {signal: decodable, eq: true, source: chosen}
"""


def jpeg(number: int, width: int = 40, height: int = 30, **options: Any) -> bytes:
    chance = np.random.default_rng(number)
    out = io.BytesIO()
    Image.fromarray(chance.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(out, "JPEG", **options)
    return out.getvalue()


def fetched(out: Path, rows: Sequence[dict[str, Any]], images: dict[str, bytes], parts: int = 50) -> Dataset:
    """Make a dataset whose images are there: `images` are the bytes of each URL; other URLs answer 404."""
    dataset, engine = Dataset(Store(out)), LocalEngine(out / "_work", 2)
    ingest(write_list(out.parent / f"{out.name}-lists", rows), dataset, engine, Silent(), parts=Parts(rows=parts))
    pairs = dataset.ingested()
    infos = []
    for part in range(len(pairs.parts)):
        tars = TarWriter(dataset.store, f"bytes/part-{part:05d}/001-00000", limit=20_000)
        found = []
        for key, url in image_urls(dataset, part, None).select("key", "url").iter_rows():
            content = images.get(url)
            if content is None:
                found.append((url, "http_404", None, False, None, None, None))
                continue
            place = tars.add(f"{key}.jpg", io.BytesIO(content), len(content))
            found.append((url, "ok", None, False, place.tar, place.offset, place.size))
        tars.close()
        names = dataset.images.contract.arrow().names
        schema = dict(zip(names, [*[pl.String] * 3, pl.Boolean, pl.String, pl.Int64, pl.Int64], strict=True))
        with dataset.images.writer(part, {"pairs": pairs.parts[part].identity}) as writer:
            writer.write(pl.DataFrame(found, schema, orient="row"))
        assert writer.info is not None
        infos.append(writer.info)
    meta = ImagesMeta(run=1, pairs=pairs.fingerprint, asked="all", policy={}, statuses={})
    dataset.images.commit(infos, meta)
    measure(dataset, engine, Silent(), ["n_chars", "n_words", "decodable", "width", "height", "sha256"])
    decide_ledger(Decision(parse(RECIPE, "some.yaml")), dataset, engine, Silent())
    return dataset


def plain(number: int, images: int | None = None) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Return rows about so many images, some with several texts, some empty, some gone; and the images' bytes."""
    images = images or number
    rows = [
        {"url": f"http://h{n % 7}/{n % images}.jpg", "alt_text": f"text {n}" if n % 11 else ""} for n in range(number)
    ]
    content = {row["url"]: jpeg(n % images) for n, row in enumerate(rows) if n % images % 13}
    return rows, content


def flat(*arguments: Any, **options: Any) -> Form:
    """Return a form whose shards are called 00000.tar or val/00000.tar, as they were before they had split and count."""
    return Form(*arguments, **options, shard_names="{:05d}")


def run(dataset: Dataset, out: Path, form: Form | None = None, workers: int = 2, **options: Any) -> Exported:
    engine = LocalEngine(out.parent / "_work", workers)
    return export(dataset, "some", Store(out), form or flat(shard_size=20), engine, Silent(), **options)


@dataclass(frozen=True)
class Made:
    """A dataset, and what of it must be in its shards."""

    dataset: Dataset
    kept: dict[str, tuple[str, bytes]]
    """Of each kept uid, the text and the bytes of its image."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    rows, images = plain(170, images=90)
    dataset = fetched(tmp_path_factory.mktemp("made") / "dataset", rows, images)
    assert len(dataset.ingested().parts) > 2
    pairs = read(dataset, "pairs").filter((pl.col("alt_text") != "") & pl.col("url").is_in(list(images)))
    kept = {uid: (text, images[url]) for uid, url, text in pairs.select("uid", "url", "alt_text").iter_rows()}
    assert 100 < len(kept) < 150
    return Made(dataset, kept)


def samples(folder: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Read tars with nothing but tarfile: keys with their members, which must be neighbours."""
    for path in sorted(folder.rglob("*.tar")):
        key, found = "", {}
        with tarfile.open(path) as tar:
            for member in tar:
                assert member.isfile()
                assert (member.mtime, member.uid, member.uname) == (0, 0, "")
                name, _, ending = member.name.partition(".")
                if name != key and found:
                    yield key, found
                    found = {}
                key = name
                content = tar.extractfile(member)
                assert content is not None
                found[ending] = content.read()
        if found:
            yield key, found


def test_every_kept_pair_is_there_once_and_no_other(made: Made, tmp_path: Path) -> None:
    done = run(made.dataset, tmp_path / "out")
    found = list(samples(tmp_path / "out"))
    keys = [key for key, _ in found]
    assert len(keys) == len(set(keys)) == done.pairs == len(made.kept)
    assert keys == sorted(keys)
    for key, members in found:
        text, image = made.kept[key]
        assert members["txt"].decode() == text
        assert members["jpg"] == image  # nothing had to change
        known = json.loads(members["json"])
        assert (known["uid"], known["alt_text"]) == (key, text)
        assert (known["width"], known["height"]) == (known["original_width"], known["original_height"]) == (40, 30)
        assert known["sha256"] == hashlib.sha256(image).hexdigest()
        assert known["signals"]["n_chars"] == len(text)


def test_index_sizes_and_manifest_say_what_is_there(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(made.dataset, out)
    index = pl.read_parquet(out / "index.pq")
    assert set(index["uid"]) == set(made.kept)
    for uid, shard, offset, size in index.iter_rows():
        assert (out / shard).read_bytes()[offset : offset + size] == made.kept[uid][1]
    manifest = json.loads((out / "manifest.json").read_text())
    shards = {shard["name"]: shard for shard in manifest["shards"]}
    assert sorted(path.name for path in out.glob("*.tar")) == sorted(shards)
    assert list(shards) == [f"{n:05d}.tar" for n in range(len(shards))]
    for name, shard in shards.items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == shard["sha256"]
    assert json.loads((out / "sizes.json").read_text()) == {name: shard["pairs"] for name, shard in shards.items()}
    assert [shard["pairs"] for shard in shards.values()][:-1] == [20] * (len(shards) - 1)
    stats = json.loads((out / "00000_stats.json").read_text())
    assert stats["successes"] == stats["count"] == 20
    assert not list(out.glob("_*")), "working folders are gone"
    assert verify(Store(out), 2, Silent()).whole


_READ_WEBDATASET = """
import json, os, sys, webdataset as wds
for place in json.loads(sys.argv[2]):
    os.environ.update(place)
    samples = wds.WebDataset(sys.argv[1], shardshuffle=False, empty_check=False, nodesplitter=wds.split_by_node)
    print(json.dumps([(sample["__key__"], sample["txt"], sample["jpg"].size) for sample in samples.decode("pil")]))
"""


def test_webdataset_reads_every_sample_once_whatever_the_workers_and_nodes(made: Made, tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    out = tmp_path / "out"
    done = run(made.dataset, out)
    url = str(out / f"{{00000..{len(done.files) - 1:05d}}}.tar")
    expected = sorted([uid, text, [40, 30]] for uid, (text, _) in made.kept.items())
    places = [
        {"RANK": str(rank), "WORLD_SIZE": str(nodes), "WORKER": str(worker), "NUM_WORKERS": str(workers)}
        for nodes, workers in ((1, 1), (2, 2))
        for rank in range(nodes)
        for worker in range(workers)
    ]
    # It leaves tars open, so it gets a process of its own.
    line = [sys.executable, "-W", "ignore", "-c", _READ_WEBDATASET, url, json.dumps(places)]
    printed = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    alone, *shares = map(json.loads, printed.splitlines())
    assert len(shares) == 4
    assert sorted(alone) == expected
    assert sorted(sample for share in shares for sample in share) == expected


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_hugging_face_reads_both_formats(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    for name, form in (("webdataset", flat(shard_size=20)), ("parquet", flat("parquet", shard_size=20))):
        out = tmp_path / name
        done = run(made.dataset, out, form)
        files = [str(out / file) for file in done.files]
        loaded = datasets.load_dataset(name, data_files={"train": files}, split="train", cache_dir=str(tmp_path / "hf"))
        assert len(loaded) == len(made.kept)
        keys = loaded["__key__"] if name == "webdataset" else loaded["uid"]
        assert set(keys) == set(made.kept)
        first = loaded[0]
        picture = first["jpg" if name == "webdataset" else "image"]
        assert picture.size == (40, 30)
        uid = keys[0]
        assert first["txt" if name == "webdataset" else "alt_text"] == made.kept[uid][0]


def test_duckdb_and_polars_read_parquet_shards(made: Made, tmp_path: Path) -> None:
    run(made.dataset, tmp_path / "out", flat("parquet", shard_size=30))
    rows = pl.concat([pl.read_parquet(path) for path in sorted((tmp_path / "out").glob("[0-9]*.parquet"))])
    assert dict(zip(rows["uid"], rows["alt_text"], strict=True)) == {u: text for u, (text, _) in made.kept.items()}
    for uid, image in rows.select("uid", "image").iter_rows():
        assert image["bytes"] == made.kept[uid][1]
        assert image["path"] == f"{uid}.jpg"
    assert pq.read_schema(tmp_path / "out" / "00000.parquet").field("width").type == "int32"
    duckdb = pytest.importorskip("duckdb")
    query = f"select count(*), count(distinct uid), min(width) from '{tmp_path}/out/[0-9]*.parquet'"
    assert duckdb.sql(query).fetchall() == [(len(made.kept), len(made.kept), 40)]
    assert verify(Store(tmp_path / "out"), 2, Silent()).whole


@pytest.mark.parametrize("form", [flat(shard_size=7), flat("parquet", shard_size=7), flat(shard_size=1000)])
def test_any_number_of_workers_and_a_second_run_give_the_same_bytes(made: Made, tmp_path: Path, form: Form) -> None:
    first = run(made.dataset, tmp_path / "one", form, workers=1)
    again = run(made.dataset, tmp_path / "one", form, workers=1)
    assert again == first
    run(made.dataset, tmp_path / "two", form, workers=4)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_shards_do_not_depend_on_where_parts_end(tmp_path: Path) -> None:
    rows, images = plain(60)
    names = []
    for parts in (7, 1000):
        dataset = fetched(tmp_path / f"dataset-{parts}", rows, images, parts=parts)
        run(dataset, tmp_path / f"out-{parts}")
        names.append({path.name: path.read_bytes() for path in (tmp_path / f"out-{parts}").glob("*.tar")})
    assert names[0] == names[1]
    assert len(names[0]) == 3


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Return a dataset of small parts, of some of which nothing is kept."""
    rows = [{"url": f"http://h/{n}.jpg", "alt_text": "kept" if n % 7 == 0 else ""} for n in range(42)]
    content = {row["url"]: jpeg(1) for row in rows}
    return fetched(tmp_path_factory.mktemp("sparse") / "dataset", rows, content, parts=4)


@pytest.mark.parametrize("splits", [(), (Split("val", 0.3),)])
def test_parts_of_which_nothing_is_kept_are_passed_over(
    sparse: Dataset, tmp_path: Path, splits: tuple[Split, ...]
) -> None:
    kept = read(sparse, "pairs").filter(pl.col("alt_text") == "kept")["uid"].to_list()
    in_parts = [
        p["alt_text"].eq("kept").sum()
        for n in range(len(sparse.ingested().parts))
        for p in sparse.pairs.pieces(n, ["alt_text"])
    ]
    between = in_parts[next(n for n, some in enumerate(in_parts) if some) :]
    assert 0 in between[: len(between) // 2]
    run(sparse, tmp_path / "out", flat(shard_size=5, splits=splits))
    found = [key for key, _ in samples(tmp_path / "out")]
    assert sorted(found) == kept
    assert len(found) == 6
    assert verify(Store(tmp_path / "out"), 2, Silent()).whole


def test_splits_share_no_image_and_lose_no_pair(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(made.dataset, out, flat(shard_size=10, splits=(Split("val", 0.2), Split("test", 0.1))))
    keys = {name: [key for key, _ in samples(out / name)] for name in ("train", "val", "test")}
    assert sorted(key for some in keys.values() for key in some) == sorted(made.kept)
    images = {name: {key[:16] for key in some} for name, some in keys.items()}
    assert not images["train"] & images["val"]
    assert not images["val"] & images["test"]
    assert 5 < len(keys["val"]) < 50
    assert (out / "val" / "sizes.json").exists()
    assert verify(Store(out), 2, Silent()).whole


@settings(max_examples=8)
@given(st.lists(texts | st.just("x" * 10_000), min_size=1, max_size=12, unique=True), st.integers(1, 5))
def test_hostile_texts_come_back_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, some: list[str], size: int
) -> None:
    folder = tmp_path_factory.mktemp("hostile")
    rows = [{"url": f"http://h/{n}", "alt_text": text} for n, text in enumerate(some)]
    dataset = fetched(folder / "dataset", rows, {row["url"]: jpeg(n) for n, row in enumerate(rows)}, parts=3)
    pairs = read(dataset, "pairs").filter(pl.col("alt_text") != "")
    if pairs.is_empty():
        with pytest.raises(DatasetError, match="keeps no pair"):
            run(dataset, folder / "out")
        return
    run(dataset, folder / "out", flat(shard_size=size))
    found = {key: members["txt"].decode() for key, members in samples(folder / "out")}
    assert found == dict(pairs.select("uid", "alt_text").iter_rows())


@pytest.mark.parametrize("how", [How("shortest", 20), How("crop", 24), How("shortest", 100)])
def test_sizes_are_what_was_asked_for_and_what_is_said(made: Made, tmp_path: Path, how: How) -> None:
    run(made.dataset, tmp_path / "out", flat(how=how, shard_size=50))
    expected = {"shortest 20": (27, 20), "crop 24": (24, 24), "shortest 100": (40, 30)}[f"{how.resize} {how.size}"]
    for _, members in samples(tmp_path / "out"):
        known = json.loads(members["json"])
        with Image.open(io.BytesIO(members["jpg"])) as image:
            assert image.size == (known["width"], known["height"]) == expected
        assert (known["original_width"], known["original_height"]) == (40, 30)


def test_what_tells_of_the_photographer_is_gone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "SECRET PLACE"
    exif[0x0112] = 6
    images = {"http://a/1": jpeg(1, exif=exif.tobytes()), "http://a/2": jpeg(2, comment=b"SECRET WORD")}
    dataset = fetched(tmp_path / "dataset", [{"url": url, "alt_text": "a text"} for url in images], images)
    run(dataset, tmp_path / "out")
    (path,) = (tmp_path / "out").glob("*.tar")
    assert b"SECRET" not in path.read_bytes()
    sizes = {json.loads(m["json"])["url"]: Image.open(io.BytesIO(m["jpg"])).size for _, m in samples(tmp_path / "out")}
    assert sizes == {"http://a/1": (30, 40), "http://a/2": (40, 30)}  # turned upright


def test_a_kept_pair_without_an_image_is_a_sentence(tmp_path: Path) -> None:
    rows, images = plain(30)
    dataset = fetched(tmp_path / "dataset", rows, images)
    loose = parse("name: loose\nrules:\n  - {signal: n_chars, ge: 1, source: chosen}\n", "loose.yaml")
    engine = LocalEngine(tmp_path / "_work", 1)
    decide_ledger(Decision(loose), dataset, engine, Silent())
    with pytest.raises(DatasetError, match=r"2 of the kept pairs have no decodable image"):
        export(dataset, "loose", Store(tmp_path / "out"), flat(), engine, Silent())
    done = export(dataset, "loose", Store(tmp_path / "out"), flat(), engine, Silent(), drop_pending=True)
    assert done.without_image == 2
    assert done.pairs == len(list(samples(tmp_path / "out")))


def test_a_dry_run_says_what_would_be_and_writes_nothing(made: Made, tmp_path: Path) -> None:
    told = run(made.dataset, tmp_path / "out", flat(shard_size=20, dry_run=True))
    assert not (tmp_path / "out").exists()
    assert told == run(made.dataset, tmp_path / "out")
    assert told.bytes == sum(len(image) for _, image in made.kept.values())


def test_a_folder_of_another_export_is_refused(made: Made, tmp_path: Path) -> None:
    run(made.dataset, tmp_path / "out")
    before = tree(tmp_path / "out")
    with pytest.raises(OutputError, match="not of this export"):
        run(made.dataset, tmp_path / "out", flat(shard_size=30))
    assert tree(tmp_path / "out") == before


class Crash(BaseException):
    """Stands for the end of the process at the moment when a file would have appeared."""


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("form", [flat(shard_size=9), flat("parquet", shard_size=9, splits=(Split("val", 0.3),))])
def test_a_crash_at_every_single_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool, form: Form
) -> None:
    rows, images = plain(40)
    dataset = fetched(tmp_path / "dataset", rows, images, parts=15)
    appear = confined.appear
    left = [-1]

    def counted(at: int, unfinished: str, stem: str) -> None:
        left[0] -= 1
        if left[0] == 0 and before:
            raise Crash
        appear(at, unfinished, stem)
        if left[0] == 0:
            raise Crash

    monkeypatch.setattr(confined, "appear", counted)
    run(dataset, tmp_path / "whole", form, workers=1)
    commits = -1 - left[0]
    assert commits > 12
    expected = tree(tmp_path / "whole")
    for number in range(1, commits + 1):
        out = tmp_path / f"crash-{number}"
        left[0] = number
        with pytest.raises(Crash):
            run(dataset, out, form, workers=1)
        left[0] = -1
        run(dataset, out, form, workers=1)
        assert tree(out) == expected, number


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "more", "index"])
def test_verify_names_what_differs(made: Made, tmp_path: Path, damage: str) -> None:
    out = tmp_path / "out"
    run(made.dataset, out)
    shard = out / ("index.pq" if damage == "index" else "00001.tar")
    content = bytearray(shard.read_bytes())
    if damage in ("flip", "index"):
        content[len(content) // 2] ^= 1
        shard.write_bytes(content)
    elif damage == "cut":
        shard.write_bytes(content[:-512])
    elif damage == "gone":
        shard.unlink()
    else:
        shard = out / "00099.tar"
        shard.write_bytes(content)
    found = verify(Store(out), 2, Silent())
    assert list(found.differs) == [shard.name]
    with pytest.raises(DatasetError, match="is not an export"):
        verify(Store(tmp_path), 2, Silent())


@settings(max_examples=50)
@given(st.from_regex(r"[a-z0-9._-]{1,100}", fullmatch=True), st.integers(0, 3000))
def test_a_member_is_what_tarfile_writes(name: str, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size = size
    whole = b"".join(member(name, b"x" * size))
    assert whole[:512] == info.tobuf(tarfile.USTAR_FORMAT)
    assert len(whole) % 512 == 0
    assert whole[512:].rstrip(b"\0") == b"x" * size


def test_killed_again_and_again_it_comes_to_the_same_bytes(made: Made, tmp_path: Path) -> None:
    chance = random.Random(3)
    line = ["export", made.dataset.store.url, "--recipe", "some", "--shard-size", "3", "--out"]
    whole = process.run([*line, "whole"], tmp_path)
    assert whole.code == 0, whole.err
    kills = 0
    for _ in range(6):
        death = process.Death(chance.randint(1, whole.changes), after=chance.choice((0, chance.uniform(0.0001, 0.02))))
        ended = process.run([*line, "out"], tmp_path, death)
        assert ended.killed or ended.code == 0, ended.err
        kills += ended.killed
    assert kills
    ended = process.run([*line, "out"], tmp_path)
    assert ended.code == 0, ended.err
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


@pytest.mark.parametrize("form", ["webdataset", "parquet"])
def test_stripped_urls_have_no_secret_and_the_same_uids(form: Any, tmp_path: Path) -> None:
    urls = [f"http://u:planted{n}@host/{n}.jpg?w=1&sig=planted{n}" for n in range(4)]
    rows = [{"url": url, "alt_text": f"text {n}"} for n, url in enumerate(urls)]
    dataset = fetched(tmp_path / "dataset", rows, {url: jpeg(n) for n, url in enumerate(urls)})
    run(dataset, tmp_path / "out", flat(format=form, strip_credentials=True))
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file() and b"planted" in path.read_bytes()]
    shard = next(path for path in (tmp_path / "out").rglob("*0.*") if path.suffix in (".tar", ".parquet"))
    if form == "parquet":
        found = dict(pl.read_parquet(shard).select("uid", "url").iter_rows())
    else:
        with tarfile.open(shard) as tar:
            known = [json.load(tar.extractfile(name)) for name in tar.getnames() if name.endswith(".json")]  # type: ignore[arg-type]
        found = {each["uid"]: each["url"] for each in known}
    wanted = dict(read(dataset, "pairs").select("uid", "url").iter_rows())
    assert found == {uid: url.replace(url[7 : url.index("@") + 1], "").partition("&")[0] for uid, url in wanted.items()}
    assert verify(Store(tmp_path / "out"), 2, Silent()).whole
    with pytest.raises(OutputError, match="not of this export"):
        run(dataset, tmp_path / "out", flat(format=form))
