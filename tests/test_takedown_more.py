"""What a takedown erases follows from definitions; copies go with it when asked; counts forget when asked."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import oracle
import polars as pl
import pytest
from conftest import Built, Crash, Crashes, read, tree
from test_shards import fetched, jpeg

from align_data.cli import main
from align_data.common.errors import DatasetError
from align_data.common.hashing import keys, pair_keys
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.data.pairs import normalise
from align_data.engines.local import LocalEngine
from align_data.signals import SIGNALS, Signal
from align_data.signals.contracts import measured
from align_data.stages.measure import Ranges, measure
from align_data.stages.takedown import TakedownLists, TakedownReport, takedown
from align_data.stages.takedown.part import erased
from align_data.stages.why import why
from align_data.storage.contracts import contract
from align_data.storage.store import Store


def down(dataset: Dataset, folder: Path, kind: str = "uids", *values: str, **options: Any) -> TakedownReport:
    asked = TakedownLists({kind: values}, {kind: ""})
    return takedown(dataset, asked, [], LocalEngine(folder / "_work-2", 1), Silent(), **options)


# What goes follows from what a signal says of itself.


def made_up(name: str, *, gone: bool | None) -> Signal:
    return replace(
        SIGNALS["host"],
        name=name,
        needs=("alt_text",),
        measure=lambda piece: piece.frame["alt_text"].str.head(9),
        erased_by_takedown=gone,
    )


def test_a_signal_of_text_must_say_whether_it_goes() -> None:
    with pytest.raises(TypeError, match="holds text: say whether a takedown erases it"):
        made_up("first", gone=None)
    assert replace(SIGNALS["n_words"], name="other").erased_by_takedown is None


@pytest.mark.parametrize("nullable", [True, False])
def test_a_new_signal_of_text_does_not_survive(
    job: Callable[..., Built], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nullable: bool
) -> None:
    for name, gone in (("beginning", True), ("kept_beginning", False)):
        monkeypatch.setitem(SIGNALS, name, replace(made_up(name, gone=gone), nullable=nullable))
    built = job([{"url": f"http://h/{n}", "alt_text": f"secret number {n}"} for n in range(9)])
    dataset = built.dataset
    measure(dataset, LocalEngine(tmp_path / "_work", 1), Silent(), ["beginning", "kept_beginning", "host", "n_words"])
    uid = read(dataset, "pairs")["uid"][3]
    down(dataset, tmp_path, "uids", uid)
    left = read(dataset, "measured/text").select("beginning", "kept_beginning", "host", "n_words").row(3)
    assert left == (None if nullable else "", "secret nu", "", 3)
    others = read(dataset, "measured/text")["beginning"].to_list()
    assert others[:3] + others[4:] == ["secret nu"] * 8


def test_every_text_of_a_pair_says_whether_it_goes() -> None:
    """By name in the contract; nothing that identifies may be left to a default."""
    import yaml  # noqa: PLC0415

    from align_data.common import resources  # noqa: PLC0415

    columns = yaml.safe_load(resources.text("schemas", "pairs.yaml"))["columns"]
    assert [name for name, said in columns.items() if said["type"] == "string" and "erased" not in said] == []
    assert set(erased(contract("pairs"))) == {
        "url", "alt_text", "page_url", "declared_language", "license", "source_uid",
        "crawl_file", "crawl_offset", "robots",
    }  # fmt: skip
    assert set(erased(measured("image"))) == {"sha256", "md5", "phash", "eval_nearest", "image_text"}


# Rows of large tables.


def test_rows_of_every_piece_go_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part whose images and content have several pieces."""
    rows = [{"url": f"http://h/{n}.jpg", "alt_text": f"text of {n}"} for n in range(30)]
    dataset = fetched(tmp_path / "dataset", rows, {row["url"]: jpeg(n) for n, row in enumerate(rows)})
    (only,) = dataset.ingested().parts
    for table in (dataset.images, dataset.content):
        manifest, columns = table.committed(), table.columns(0)
        assert manifest is not None
        whole = pl.concat(list(table.pieces(0, columns)))
        with table.writer(0, table.facts(0) or {}, columns) as writer:
            for start in range(0, only.rows, 7):
                writer.write(whole[start : start + 7])
        table.commit([writer.info], manifest.meta)
    before = {name: read(dataset, name) for name in ("images", "content")}
    urls = read(dataset, "images")["url"].gather([1, 8, 9, 20, 29]).to_list()
    report = down(dataset, tmp_path, "urls", *urls)
    assert report.receipt.images == 5
    for name, rows_before in before.items():
        left = rows_before.filter(~pl.col("url").is_in(urls)).drop("tar", "offset")
        assert read(dataset, name).drop("tar", "offset").equals(left)
    for row in read(dataset, "images").iter_rows(named=True):
        data = (tmp_path / "dataset" / row["tar"]).read_bytes()[row["offset"] : row["offset"] + row["size"]]
        assert data == jpeg(int(row["url"].rpartition("/")[2].removesuffix(".jpg")))


# Copies.

SAME = (0, 1, 2, 11, 15)


@pytest.fixture
def copied(tmp_path: Path) -> Dataset:
    """Images 0, 1 and 2 have the same bytes under five URLs in several parts; 3 has a URL of two texts."""
    rows = [{"url": f"http://h/{n}.jpg", "alt_text": f"text {n}"} for n in range(20)]
    rows += [{"url": "http://h/2.jpg", "alt_text": "again"}, {"url": "http://h/3.jpg", "alt_text": "again"}]
    images = {f"http://h/{n}.jpg": jpeg(0 if n in SAME else n) for n in range(20)}
    return fetched(tmp_path / "dataset", rows, images, parts=5)


def test_copies_are_counted_and_stay_unless_they_are_asked_for(copied: Dataset, tmp_path: Path) -> None:
    assert len(copied.ingested().parts) > 2
    said = down(copied, tmp_path, "urls", "http://h/1.jpg", dry_run=True).receipt
    assert (said.pairs, dict(said.copies)) == (1, {"pairs": 5, "urls": 4, "taken": 0})
    report = down(copied, tmp_path, "urls", "http://h/1.jpg")
    assert dict(report.receipt.copies) == {"pairs": 5, "urls": 4, "taken": 0}
    assert len(read(copied, "pairs").filter(pl.col("url") == "")) == 1
    report = down(copied, tmp_path, "urls", "http://h/0.jpg", copies=True)
    assert dict(report.receipt.copies) == {"pairs": 4, "urls": 3, "taken": 4}
    assert report.receipt.pairs == 5
    left = set(read(copied, "pairs")["url"])
    assert not left & {f"http://h/{n}.jpg" for n in (0, 1, 2, 11, 15)}
    assert len(left) == 16  # the others, and what is empty
    sha = oracle_sha256(jpeg(0))
    assert sha not in read(copied, "content")["sha256"].to_list()
    stored = json.loads((tmp_path / "dataset" / "takedowns" / "0002.json").read_text())
    assert stored["copies"] == {"pairs": 4, "urls": 3, "taken": 4}


def test_copies_that_stayed_can_go_later_by_the_receipt(copied: Dataset, tmp_path: Path) -> None:
    stored = down(copied, tmp_path, "urls", "http://h/1.jpg").stored
    receipt = json.loads((tmp_path / "dataset" / str(stored)).read_text())
    assert len(receipt["same_bytes"]) == 5
    assert down(copied, tmp_path, "uids", *receipt["same_bytes"]).receipt.same_bytes == []
    assert oracle_sha256(jpeg(0)) not in read(copied, "content")["sha256"].to_list()
    assert set(read(copied, "pairs")["url"]) == {"", *(f"http://h/{n}.jpg" for n in range(20) if n not in SAME)}


@pytest.mark.parametrize("table", ["pairs", "images", "content", "measured/text", "_manifests/content.json"])
def test_copies_go_all_at_once_or_not(copied: Dataset, tmp_path: Path, table: str) -> None:
    """Else the same command, given again when all is mended, would know of none."""
    folder = tmp_path / "dataset"
    part = next(n for n in range(9) if "http://h/0.jpg" in read_part(copied, n))
    url = next(f"http://h/{n}.jpg" for n in SAME if f"http://h/{n}.jpg" not in read_part(copied, part))
    file = folder / table if table.endswith(".json") else folder / table / f"part-{part:05d}.parquet"
    content = file.read_bytes()
    file.unlink() if table.endswith(".json") else file.write_bytes(content[:-9])
    before = tree(folder)
    with pytest.raises(
        DatasetError,
        match=f"--copies must take all of them at once: .*{table.removeprefix('_manifests/').partition('/')[0].partition('.')[0]}",
    ):
        down(copied, tmp_path, "urls", url, copies=True)
    assert tree(folder) == before
    file.write_bytes(content)
    assert down(copied, tmp_path, "urls", url, copies=True).receipt.pairs == 6
    assert oracle_sha256(jpeg(0)) not in read(copied, "content")["sha256"].to_list()


def read_part(dataset: Dataset, part: int) -> set[str]:
    return {url for piece in dataset.pairs.pieces(part, ["url"]) for url in piece["url"]}


def oracle_sha256(content: bytes) -> str:
    import hashlib  # noqa: PLC0415

    return hashlib.sha256(content).hexdigest()


def test_a_text_whose_image_stays_has_no_copies(copied: Dataset, tmp_path: Path) -> None:
    pairs = read(copied, "pairs")
    uid = pairs.filter((pl.col("url") == "http://h/2.jpg") & (pl.col("alt_text") == "again"))["uid"].item()
    assert down(copied, tmp_path, "uids", uid, copies=True).receipt.pairs == 1
    assert down(copied, tmp_path, "sha256", oracle_sha256(jpeg(0))).receipt.copies["pairs"] == 0


def test_the_command_says_how_many_copies_there_are(
    copied: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.txt").write_text("http://h/1.jpg\nhttp://h/5.jpg\n")
    line = ["takedown", str(tmp_path / "dataset"), "--urls", str(tmp_path / "list.txt")]
    main([*line, "--dry-run"], standalone_mode=False)
    assert "the same bytes: 5 pairs of 4 other URLs (give --copies to take them too)" in capsys.readouterr().out
    main([*line, "--copies"], standalone_mode=False)
    assert "the same bytes: 5 pairs of 4 other URLs (5 of them with it)" in capsys.readouterr().out
    assert copied.ingested().rows == 22


# Forgetting.

TEXTS = ["a red cat", "a red dog", "only here twice twice", "only here", "", "a red cat", "Привет мир", "a", "zebra a"]


def ngrams(texts: list[str]) -> Counter[int]:
    """Every key of words and pairs of words, by the plain oracle, with how often it comes."""
    found: Counter[int] = Counter()
    for text in texts:
        words = [word.lower() for word in oracle.words(text.lower())]
        hashed = keys(pl.Series(words, dtype=pl.String))
        found.update(hashed.view("int64").tolist())
        found.update(pair_keys(hashed[:-1], hashed[1:]).view("int64").tolist() if list(pairwise(words)) else [])
    return found


def texts_of(dataset: Dataset) -> list[str]:
    return read(dataset, "pairs").filter(pl.col("url") != "")["alt_text"].to_list()


def counted(dataset: Dataset, kind: str) -> dict[int, int]:
    rows = read(dataset, f"counts/{kind}")
    assert rows["key"].is_unique().all()
    manifest = dataset.counts(kind).committed()
    assert manifest is not None
    assert manifest.rows == len(rows)
    classes = dict(read(dataset, f"counts/{kind}-classes").iter_rows())
    assert classes == dict(Counter(rows["count"].to_list()))
    return dict(rows.iter_rows())


@pytest.fixture
def pool(job: Callable[..., Built]) -> Dataset:
    rows = [{"url": f"http://h{n}/{n}", "alt_text": text} for n, text in enumerate(TEXTS * 2) if n != 12]
    rows += [{"url": f"http://x/{n}", "alt_text": f"word{n} word{n + 1}"} for n in range(30)]
    from align_data.stages.ingest import Parts  # noqa: PLC0415

    dataset = job(rows, parts=Parts(rows=10)).dataset
    for kind in ("ngrams", "texts"):  # again, in several ranges
        dataset.counts(kind).retract()
    dataset.measured("corpus").retract()
    engine = LocalEngine(Path(dataset.store.url) / "_work", 1)
    measure(dataset, engine, Silent(), ranges=Ranges(ngrams=7, texts=9))
    assert len(dataset.counts("ngrams").committed().parts) > 3  # type: ignore[union-attr]
    assert len(dataset.ingested().parts) > 2
    return dataset


def test_counts_forget_what_only_they_had_and_nothing_else(pool: Dataset, tmp_path: Path) -> None:
    before = {kind: counted(pool, kind) for kind in ("ngrams", "texts")}
    assert before["ngrams"] == ngrams(texts_of(pool))
    pairs, known = read(pool, "pairs"), {}
    for row in pairs.iter_rows(named=True):
        known[row["uid"]] = why(pool, None, uid=row["uid"])[0].to_json()
    gone: list[str] = []
    for step, texts in enumerate(
        [["only here twice twice", "zebra a"], ["only here"], ["word3 word4", "", "Привет мир"]]
    ):
        uids = pairs.filter(pl.col("alt_text").is_in(texts))["uid"].to_list()
        if step == 0:
            said = down(pool, tmp_path, "uids", *uids, forget_counts=True, dry_run=True).receipt.forgotten
        report = down(pool, tmp_path, "uids", *uids, forget_counts=True)
        if step == 0:
            assert said == report.receipt.forgotten
        gone += uids
        living = texts_of(pool)
        now = {kind: counted(pool, kind) for kind in before}
        assert now["ngrams"].keys() == ngrams(living).keys()
        assert now["texts"].keys() == set(keys(pl.Series(living)).view("int64").tolist())
        for kind, counts in now.items():
            assert counts.items() <= before[kind].items()
            assert report.receipt.forgotten[kind] >= 0
        for uid in pairs.filter(~pl.col("uid").is_in(gone))["uid"]:
            left = why(pool, None, uid=uid)[0].to_json()
            assert {**left, "others": known[uid]["others"]} == known[uid]
    assert read(pool, "measured/corpus").height == pairs.height


def test_without_it_every_key_stays(pool: Dataset, tmp_path: Path) -> None:
    before = tree(Path(pool.store.url), "counts")
    report = down(pool, tmp_path, "uids", *read(pool, "pairs")["uid"][:9])
    assert report.receipt.forgotten == {}
    assert tree(Path(pool.store.url), "counts") == before


def test_forgetting_that_is_killed_comes_to_the_same(
    pool: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil  # noqa: PLC0415

    base, folder = Path(pool.store.url), tmp_path / "place"
    uids = read(pool, "pairs").filter(pl.col("alt_text").str.contains("only|word"))["uid"].to_list()

    def again() -> Dataset:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(base, folder)
        return Dataset(Store(folder))

    crashes = Crashes(monkeypatch)
    down(again(), tmp_path, "uids", *uids, forget_counts=True)
    steps, expected = crashes.seen, tree(folder)
    for number in range(1, steps + 1, 5):
        dataset = again()
        crashes.left = number
        with pytest.raises(Crash):
            down(dataset, tmp_path, "uids", *uids, forget_counts=True)
        crashes.left = -1
        down(dataset, tmp_path, "uids", *uids, forget_counts=True)
        assert tree(folder) == expected, number


def test_counts_that_cannot_be_read_are_said_before_anything_changes(pool: Dataset, tmp_path: Path) -> None:
    file = Path(pool.store.path(pool.counts("ngrams").part_name(1)))
    file.write_bytes(file.read_bytes()[:-1])
    before = tree(Path(pool.store.url))
    with pytest.raises(
        Exception, match=r"nothing is taken down: its keys cannot be forgotten: .*counts/ngrams/part-00001"
    ):
        down(pool, tmp_path, "uids", *read(pool, "pairs")["uid"][:2], forget_counts=True)
    assert tree(Path(pool.store.url)) == before
    assert normalise(pl.Series(["a"])).item() == "a"
