"""Takedown: what was asked for is nowhere any more, all else is as it was, and nothing brings it back."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forked
import fsspec
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from click import ClickException
from conftest import Built, Crash, Crashes, manifest_of, read, write_list
from hypothesis import given
from hypothesis import strategies as st
from test_shards import flat

from align_data.cli import main
from align_data.common.errors import DatasetError, InputError, OutputError
from align_data.common.progress import Silent
from align_data.data.layout import TAKEDOWN, Dataset
from align_data.data.references import give_evaluation
from align_data.decoding.decoder import Decoder
from align_data.engines.base import Engine
from align_data.engines.local import LocalEngine
from align_data.exports.formats import FORMATS
from align_data.fetching.client import Policy
from align_data.fetching.guard import Guard
from align_data.fetching.limits import Limits
from align_data.recipes.reading import load
from align_data.stages import takedown as stage
from align_data.stages.audit import audit, examples
from align_data.stages.eval_index import index
from align_data.stages.export import Split, export
from align_data.stages.fetch import FetchReport as Fetched
from align_data.stages.fetch import fetch
from align_data.stages.ingest import Parts, ingest
from align_data.stages.measure import measure
from align_data.stages.pipeline import Decision, decide_ledger
from align_data.stages.takedown import TakedownReport, takedown
from align_data.stages.takedown.lists import read as read_lists
from align_data.stages.takedown.lists import rejected
from align_data.stages.verify import verify
from align_data.stages.why import why
from align_data.storage.store import Store

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "examples"))
import tiny_web  # noqa: E402
from tiny_server import serve  # noqa: E402

DECISION = Decision(load("align"), ["rarest_ngram.ge=2"], ["nsfw"])
LOOSE = Decision(load("align"), ["n_words.between=1,40"], ["nsfw", "rarest_ngram", "eval_distance"], "loose")
FORMS = tuple(name for name, format_ in FORMATS.items() if format_.scrub is not None)
HOT = "/img1/scenes/popular.jpg"


def fetch_all(dataset: Dataset, engine: LocalEngine) -> Fetched:
    policy = Policy(guard=Guard.of(["127.0.0.0/8"]))
    return fetch(dataset, None, policy, Limits(per_host=8), engine, Silent(), chunk=10)


def export_all(dataset: Dataset, folder: Path) -> None:
    """Export in every form; shards are of few pairs, and of two splits in tars."""
    engine = LocalEngine(dataset.store.work, 1)
    for form in (*FORMS, "uids"):
        splits = (Split("val", 0.3),) if form == "webdataset" else ()
        how = flat(form, shard_size=9, splits=splits)
        export(dataset, "loose", Store(folder / form), how, engine, Silent(), drop_pending=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny web, fetched, measured, decided twice and exported in every form: several parts, tars and shards."""
    folder = tmp_path_factory.mktemp("takedown")
    web = folder / "web"
    with serve(web) as address, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_web, "MANY_TEXTS", 30)
        rates = {**tiny_web.NOISE, **tiny_web.PICTURE_NOISE, "broken_url": 0.1}
        evaluation = tiny_web.make_evaluation(70, 5)
        rows = tiny_web.make(70, 5, rates, address)
        tiny_web.write(rows, web, sizes=True)
        tiny_web.write_all_pictures(rows, evaluation, web)
        dataset = Dataset(Store(folder / "base" / "dataset"))
        engine = LocalEngine(dataset.store.work, 2)
        ingest([str(web / "pairs.parquet")], dataset, engine, Silent(), parts=Parts(rows=40))
        fetch_all(dataset, engine)
    index([str(web / "evaluation")], str(folder / "evaluation.parquet"), 2, Silent())
    give_evaluation(dataset, str(folder / "evaluation.parquet"))
    measure(dataset, engine, Silent())
    for decision in (DECISION, LOOSE):
        decide_ledger(decision, dataset, engine, Silent())
    export_all(dataset, folder / "base")
    with dataset.store.lock():
        return folder / "base"


@dataclass(frozen=True)
class Place:
    """A copy of the web's dataset and exports."""

    folder: Path

    @property
    def dataset(self) -> Dataset:
        return Dataset(Store(self.folder / "dataset"))

    @property
    def exports(self) -> list[str]:
        return [str(self.folder / form) for form in FORMS]

    def engine(self) -> LocalEngine:
        return LocalEngine(self.dataset.store.work, 1)

    def takedown(
        self, folders: Sequence[str] | None = None, dry_run: bool = False, **lists: Sequence[str]
    ) -> TakedownReport:
        files = {}
        for kind, values in lists.items():
            files[kind] = [str(self.folder.parent / f"{kind}.txt")]
            Path(files[kind][0]).write_text("# asked for\n\n" + "\n".join(values) + "\n", encoding="utf-8")
        where = self.exports if folders is None else folders
        with self.dataset.store.lock():
            return takedown(self.dataset, read_lists(files), where, self.engine(), Silent(), dry_run=dry_run)

    def table(self, name: str) -> pl.DataFrame:
        return read(self.dataset, name)

    def pairs(self) -> pl.DataFrame:
        """All that is known of every pair."""
        names = ("pairs", "measured/text", "measured/corpus", "measured/image")
        frames = [self.table(name) for name in names]
        ledgers = [self.table(f"verdicts/{name}").select(pl.all().name.suffix(f".{name}"))
                   for name in ("align", "loose")]  # fmt: skip
        part = pl.Series("part", [n for n, p in enumerate(self.dataset.pairs.committed().parts) for _ in range(p.rows)])
        return pl.concat([*frames, *ledgers, part.to_frame()], how="horizontal")

    def bytes_of(self) -> dict[str, bytes]:
        """The bytes of every image by URL, where the table says that they lie."""
        found = {}
        for row in self.table("images").filter(pl.col("tar").is_not_null()).iter_rows(named=True):
            data = (self.folder / "dataset" / row["tar"]).read_bytes()
            found[row["url"]] = data[row["offset"] : row["offset"] + row["size"]]
        return found

    def tree(self) -> dict[str, bytes]:
        """Every file, hidden ones too."""
        return {p.relative_to(self.folder).as_posix(): p.read_bytes() for p in self.folder.rglob("*") if p.is_file()}


@pytest.fixture
def place(base: Path, tmp_path: Path) -> Place:
    shutil.copytree(base, tmp_path / "place")
    return Place(tmp_path / "place")


def cells(content: bytes) -> set[object]:
    """Every text, number and piece of bytes in a Parquet file."""
    found: set[object] = set()
    table = pq.read_table(io.BytesIO(content))
    for column in table.columns:
        for value in column.to_pylist():
            found |= set(value.values()) if isinstance(value, dict) else {value}
    return found


def everything(files: dict[str, bytes]) -> tuple[set[object], bytes]:
    """All that is in some files: what Parquet holds, and the rest as it is."""
    held: set[object] = set()
    raw = []
    for name, content in files.items():
        if name.endswith(".parquet"):
            held |= cells(content)
        raw.append(content)
    return held, b"\0".join(raw)


def samples(folder: Path) -> dict[str, Any]:
    """What each pair of an export is: its members or its row."""
    found: dict[str, Any] = {}
    if folder.name == "webdataset":
        for file in sorted(folder.rglob("*.tar")):
            with tarfile.open(file) as tar:
                for member in tar:
                    inside = tar.extractfile(member)
                    assert inside is not None
                    head = member.tobuf(tarfile.USTAR_FORMAT)
                    found.setdefault(member.name.partition(".")[0], []).append((member.name, head, inside.read()))
        return found
    if folder.name == "files":
        for path in sorted(set(folder.glob("0*/*")) - set(folder.glob("0*/metadata.parquet"))):
            found.setdefault(path.name.partition(".")[0], []).append((path.name, path.read_bytes()))
        return found
    for file in sorted(set(folder.glob("*.parquet")) - {folder / "index.pq"}):
        found |= {row["uid"]: row for row in pq.read_table(file).to_pylist()}
    return found


def dead_of(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    return before.filter((after["url"] == "") & (before["url"] != ""))


def check(place: Place, base: Path, uids: set[str], report: TakedownReport) -> None:
    """All of some pairs is gone, everywhere; all of the others is as it was."""
    old, before, after = Place(base), Place(base).pairs(), place.pairs()
    assert before["uid"].equals(after["uid"])
    dead = dead_of(before, after)
    assert set(dead["uid"]) == uids == set(report.receipt.uids)
    assert report.receipt.pairs == len(uids)
    assert place.dataset.store.names("_takedown") == []
    # The others: every column as it was.
    alive = ~pl.col("uid").is_in(list(uids))
    assert after.filter(alive).equals(before.filter(alive))
    # The gone ones: what was counted as it was, a bit of the ledgers set.
    kept = ["uid", "copies", "declared_width", "declared_height", "n_words", "images_per_text", "rarest_ngram",
            "texts_per_image", "language", "min_side", "decodable", "bytes", "eval_distance", "unknown.align"]  # fmt: skip
    assert after.filter(~alive).select(kept).equals(before.filter(~alive).select(kept))
    marked = before.filter(~alive).with_columns(pl.col("failed.align", "failed.loose") | pl.lit(-(2**63)))
    assert (
        after.filter(~alive)
        .select("failed.align", "failed.loose")
        .equals(marked.select("failed.align", "failed.loose"))
    )
    # Images stay row for row with the URLs of pairs, and the bytes of those that stay are the same.
    urls = after.filter(pl.col("url") != "")["url"].unique(maintain_order=True)
    for name in ("images", "content"):
        assert place.table(name)["url"].equals(urls)
        some = pl.exclude("tar", "offset")
        assert (
            place.table(name)
            .select(some)
            .equals(old.table(name).filter(pl.col("url").is_in(urls.implode())).select(some))
        )
    bytes_before, bytes_after = old.bytes_of(), place.bytes_of()
    assert bytes_after == {url: data for url, data in bytes_before.items() if url in set(urls)}
    assert place.table("images").select("tar", "offset").equals(place.table("content").select("tar", "offset"))
    # Nowhere in any file is what identified them.
    held, raw = everything(place.tree())
    living = "\n".join(after["alt_text"])
    texts = {text for text in dead["alt_text"] if text not in living}
    assert len(uids) < 5 or texts
    for url in set(dead["url"]) - set(urls):
        assert url not in held
        assert url.encode() not in raw
        if url in bytes_before:
            data = bytes_before[url]
            same = data in bytes_after.values()
            assert same or data not in held
            assert same or data[len(data) // 3 : len(data) // 3 + 300] not in raw
            assert same or hashlib.sha256(data).hexdigest() not in held
            assert same or hashlib.sha256(data).hexdigest().encode() not in raw
    for text in texts:
        assert text not in held
        assert text.encode() not in raw
    # And what was exported has the others, byte for byte.
    for form in FORMS:
        expected = {uid: sample for uid, sample in samples(base / form).items() if uid not in uids}
        assert samples(place.folder / form) == expected
        check_export(place.folder / form, len(expected))


def check_export(folder: Path, pairs: int) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["pairs"] == pairs
    if folder.name == "metadata":
        return
    assert verify(Store(folder), 2, Silent()).differs == {}
    assert manifest["exported"] == pairs
    rows = pl.read_parquet(folder / "index.pq")
    shards = samples(folder)
    assert set(rows["uid"]) == set(shards)
    for uid, shard, offset, size in rows.iter_rows():
        if folder.name == "files":
            (image,) = [name for name, _ in shards[uid] if not name.endswith((".txt", ".json"))]
            assert (offset, size) == (0, (folder / shard / image).stat().st_size)
        elif folder.name == "parquet":
            (image,) = pq.read_table(folder / shard)["image"].to_pylist()[offset : offset + 1]
            assert image["path"].startswith(uid)
            assert image["bytes"] == shards[uid]["image"]["bytes"]
            assert len(image["bytes"]) == size
        else:
            assert (folder / shard).read_bytes()[offset : offset + size] == shards[uid][0][2]
    for shard in manifest["shards"]:
        file = folder / shard["name"]
        if folder.name == "webdataset":
            assert json.loads((file.parent / "sizes.json").read_text())[file.name] == shard["pairs"]
        stats = json.loads((file.parent / f"{file.stem}_stats.json").read_text())
        assert stats["count"] == stats["successes"] == stats["status_dict"]["success"] == shard["pairs"]


def listed(tree: dict[str, bytes]) -> dict[str, bytes]:
    """A tree with what sha256sum prints in place of the files of a shard that is a folder."""
    folders: dict[str, bytes] = {}
    for name in sorted(tree):
        if re.match(r"(?:again/)?files/\d+/", name):
            shard, _, file = name.rpartition("/")
            line = f"{hashlib.sha256(tree[name]).hexdigest()}  {file}\n"
            folders[shard] = folders.get(shard, b"") + line.encode()
    return {**{n: content for n, content in tree.items() if n.rpartition("/")[0] not in folders}, **folders}


def check_receipt(place: Place, base: Path, report: TakedownReport) -> None:
    """The receipt names every file that has changed, with its SHA-256 before and after, and no other."""
    before, after = listed(Place(base).tree()), listed(place.tree())
    stored = json.loads(after.pop(f"dataset/{report.stored}"))
    assert {**stored, "stored": report.stored, "finished_before": [], "dry_run": False} == json.loads(
        json.dumps(report.to_json())
    )
    changed = {
        name: (before.get(name), after.get(name))
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name)
    }
    said = {f"dataset/{file['name']}": (file["before"], file["after"]) for file in stored["files"]}
    for export_ in stored["shards"]:
        inside = Path(export_["folder"]).relative_to(place.folder)
        said |= {f"{inside}/{file['name']}": (file["before"], file["after"]) for file in export_["files"]}

    def hashed(content: bytes | None) -> str | None:
        return None if content is None else hashlib.sha256(content).hexdigest()

    assert said == {name: (hashed(one), hashed(other)) for name, (one, other) in changed.items()}
    for url in place.pairs()["url"].unique().drop_nulls():
        assert not url or url.encode() not in after.get(f"dataset/{report.stored}", b"")


def chosen(base: Path, every: int) -> pl.DataFrame:
    """Some images of all parts, with all of their pairs; the one of many texts is not among them."""
    pairs = Place(base).pairs().filter(~pl.col("url").str.ends_with(HOT))
    urls = pairs["url"].unique(maintain_order=True).gather_every(every)
    return pairs.filter(pl.col("url").is_in(urls.implode()))


@pytest.mark.parametrize("kind", ["urls", "sha256", "images", "uids", "together"])
def test_what_is_asked_for_goes_and_all_else_stays(base: Path, place: Place, kind: str) -> None:
    some = chosen(base, 4)
    if kind == "sha256":
        hashes = some["sha256"].drop_nulls().unique().to_list()
        every = Place(base).pairs()
        report = place.takedown(sha256=[value.upper() for value in hashes])
        uids = set(every.filter(pl.col("sha256").is_in(hashes))["uid"])
    elif kind == "together":
        third = len(some) // 3
        uids = set(some["uid"])
        report = place.takedown(urls=some["url"][: 2 * third].to_list(), uids=some["uid"][third:].to_list())
    else:
        values = {"urls": some["url"], "uids": some["uid"], "images": some["uid"].str.head(16)}[kind].to_list()
        report = place.takedown(**{"uids" if kind == "images" else kind: [*values, *values]})
        uids = set(some["uid"])
    assert Place(base).pairs().filter(pl.col("uid").is_in(list(uids)))["part"].n_unique() > 1
    assert all(counts["nowhere"] == 0 for counts in report.receipt.asked.values())
    check(place, base, uids, report)
    check_receipt(place, base, report)
    assert [bool(shards.pairs) for shards in report.receipt.shards] == [True] * len(FORMS)


def test_one_text_of_many_goes_and_the_image_stays(base: Path, place: Place) -> None:
    hot = Place(base).pairs().filter(pl.col("url").str.ends_with(HOT))
    assert len(hot) == 30
    report = place.takedown(uids=[hot["uid"][7]])
    check(place, base, {hot["uid"][7]}, report)
    check_receipt(place, base, report)
    assert report.receipt.images == report.receipt.tars == 0
    unchanged = [name for name in place.tree() if name.startswith(("dataset/images", "dataset/bytes"))]
    assert all(place.tree()[name] == Place(base).tree()[name] for name in unchanged)
    # When the last of them go, so does the image.
    report = place.takedown(urls=[hot["url"][0], "http://nobody.example/1.jpg"])
    assert report.receipt.pairs == 29
    assert report.receipt.images == report.receipt.fetched == report.receipt.tars == 1
    assert report.receipt.asked["urls"]["nowhere"] == 1
    assert hot["url"][0] not in set(place.table("images")["url"])


def test_all_pairs_of_a_part_and_then_all_there_are(base: Path, place: Place) -> None:
    pairs = Place(base).pairs()
    part = pairs.filter(pl.col("part") == 1)
    check(place, base, set(part["uid"]), place.takedown(uids=part["uid"].to_list()))
    assert place.dataset.images.committed().parts[1].rows == 0
    assert list((place.folder / "dataset" / "bytes" / "part-00001").glob("*")) == []
    report = place.takedown(hosts=["127.0.0.1"])
    assert report.receipt.pairs == len(pairs) - len(part)
    assert report.stored == "takedowns/0002.json"
    assert set(place.pairs()["url"]) == {""}
    assert place.bytes_of() == {}
    assert json.loads((place.folder / "webdataset" / "manifest.json").read_text())["exported"] == 0
    assert verify(Store(place.folder / "webdataset"), 1, Silent()).whole
    assert len(pl.read_parquet(place.folder / "parquet" / "00000.parquet")) == 0
    assert audit(place.dataset, "loose").taken_down == len(pairs)
    with pytest.raises(DatasetError, match="keeps no pair"):
        export_all(place.dataset, place.folder / "again")


def test_a_second_time_there_is_nothing_to_do(base: Path, place: Place) -> None:
    lists = {"urls": chosen(base, 5)["url"].to_list(), "uids": chosen(base, 3)["uid"].to_list()}
    place.takedown(**lists)
    before = place.tree()
    again = place.takedown(**lists)
    assert again.nothing
    assert {counts["same_list_as"] for counts in again.receipt.asked.values()} == {"takedowns/0001.json"}
    assert again.stored is None
    known = [len(set(lists["urls"])), len(lists["uids"])]
    assert [counts["taken_down_before"] for counts in again.receipt.asked.values()] == known
    assert place.tree() == before


def test_takedowns_follow_each_other(base: Path, place: Place) -> None:
    one, other = chosen(base, 4), chosen(base, 3)
    place.takedown(uids=one["uid"].to_list(), folders=[])
    report = place.takedown(uids=other["uid"].to_list())
    assert set(report.receipt.uids) == set(other["uid"]) - set(one["uid"])
    assert place.dataset.store.names("takedowns") == ["0001.json", "0002.json"]
    # What the first took down goes out of the exports too.
    report.receipt.uids, report.receipt.pairs = sorted({*one["uid"], *other["uid"]}), len({*one["uid"], *other["uid"]})
    check(place, base, {*one["uid"], *other["uid"]}, report)
    tars = {Path(tar).name for tar in place.table("images")["tar"].drop_nulls()}
    assert any(tar.endswith("-t0002.tar") for tar in tars)
    assert not any("t0001-t" in tar for tar in tars)


def test_a_dry_run_says_it_and_writes_nothing(base: Path, place: Place) -> None:
    urls = [*chosen(base, 4)["url"].to_list(), "http://nobody.example/1.jpg"]
    before = place.tree()
    file = place.folder.parent / "list.txt"
    file.write_text("\n".join(urls))
    line = ["takedown", str(place.folder / "dataset"), "--urls", str(file), "--dry-run", "--json"]
    line += [item for folder in place.exports for item in ("--shards", folder)]
    done = forked.run([sys.executable, "-c", "from align_data.cli import main; main()", *line],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert place.tree() == before
    foreseen = json.loads(done.stdout)
    did = place.takedown(urls=urls).to_json()
    for name in ("pairs", "images", "fetched", "bytes", "tars", "uids", "tombstones"):
        assert foreseen[name] == did[name], name
    assert {k: v for k, v in foreseen["asked"]["urls"].items() if k != "list_sha256"} == {
        k: v for k, v in did["asked"]["urls"].items() if k != "list_sha256"
    }
    assert [(s["pairs"], s["shards"]) for s in foreseen["shards"]] == [(s["pairs"], s["shards"]) for s in did["shards"]]
    assert {file["name"] for file in foreseen["files"]} == {file["name"] for file in did["files"]}


def test_nothing_found_is_said(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    before = place.tree()
    report = place.takedown(urls=["http://nobody.example/1.jpg"], hosts=["nobody.example"], uids=["0" * 32])
    assert report.nothing
    assert [counts["nowhere"] for counts in report.receipt.asked.values()] == [1, 1, 1]
    assert place.tree() == before
    file = place.folder.parent / "list.txt"
    file.write_text("http://nobody.example/1.jpg\n")
    main(["takedown", str(place.folder / "dataset"), "--urls", str(file)], standalone_mode=False)
    assert capsys.readouterr().out == "urls: 1 requested: 1 found nowhere\nnothing to do\n"


# What comes later.


class Closed(Decoder):
    """A decoder that nobody may ask."""

    def look(self, items: Any, check: Any) -> Any:
        assert not list(items)
        return iter(())


def test_later_stages_do_nothing_again_and_bring_nothing_back(
    base: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    uids = chosen(base, 4)["uid"].to_list()
    report = place.takedown(uids=uids)
    after = {name: content for name, content in place.tree().items() if "_log" not in name}
    dataset, engine = place.dataset, place.engine()
    monkeypatch.setattr("align_data.content.looking.Decoder", Closed)
    assert measure(dataset, engine, Silent()).measured == []
    for decision in (DECISION, LOOSE):
        decide_ledger(decision, dataset, engine, Silent())
    assert ingest_again(place, base).already
    assert {name: content for name, content in place.tree().items() if "_log" not in name} == after
    # A fetch numbers its run anew, so measuring puts columns beside pairs again; but no image is asked for or looked at.
    assert fetch_all(dataset, engine).asked == 0
    measure(dataset, engine, Silent())
    decide_ledger(DECISION, dataset, engine, Silent())
    decide_ledger(LOOSE, dataset, engine, Silent())
    alive = ~pl.col("uid").is_in(uids)
    now, was = place.pairs(), Place(base).pairs()
    assert now.filter(alive).equals(was.filter(alive))
    counted = ["n_words", "images_per_text", "texts_per_image", "decodable", "bytes", "eval_distance", "width"]
    assert now.filter(~alive).select(counted).equals(was.filter(~alive).select(counted))
    for name in ("align", "loose"):  # and the rules' counts stay as measured
        assert now[f"unknown.{name}"].equals(was[f"unknown.{name}"])
        assert now.filter(~alive)[f"failed.{name}"].equals(was.filter(~alive)[f"failed.{name}"] | -(2**63))
    assert set(now.filter(~alive)["url"]) == {""}
    # What is exported now is what the rewritten shards have.
    export_all(dataset, place.folder / "again")
    for form in FORMS:
        assert samples(place.folder / "again" / form) == samples(place.folder / form)
    halves = np.load(place.folder / "again" / "uids" / "uids.npy")
    assert len(halves) == len(samples(place.folder / "again" / "metadata"))
    # What was exported before is not taken for an export of what is there now.
    with pytest.raises(OutputError, match="not of this export"):
        export_all(dataset, place.folder)
    assert report.receipt.tombstones == len(uids)


def ingest_again(place: Place, base: Path) -> Any:
    source = str(base.parent / "web" / "pairs.parquet")
    return ingest([source], place.dataset, place.engine(), Silent(), parts=Parts(rows=40))


def test_a_ledger_decided_later_is_the_one_that_was_marked(base: Path, place: Place) -> None:
    place.takedown(uids=chosen(base, 4)["uid"].to_list())
    marked, meta = place.table("verdicts/loose"), place.dataset.ledger("loose").committed().meta
    shutil.rmtree(place.folder / "dataset" / "verdicts" / "loose")
    decide_ledger(LOOSE, place.dataset, place.engine(), Silent())
    assert place.table("verdicts/loose").equals(marked)
    assert place.dataset.ledger("loose").committed().meta == meta


def test_a_ledger_put_back_from_before_is_not_believed(base: Path, place: Place) -> None:
    place.takedown(uids=chosen(base, 4)["uid"].to_list())
    marked = place.table("verdicts/loose")
    shutil.rmtree(place.folder / "dataset" / "verdicts" / "loose")
    shutil.copytree(base / "dataset" / "verdicts" / "loose", place.folder / "dataset" / "verdicts" / "loose")
    shutil.copy(
        manifest_of(base / "dataset", "verdicts/loose"), manifest_of(place.folder / "dataset", "verdicts/loose")
    )
    for use in (lambda: audit(place.dataset, "loose"), lambda: export_all(place.dataset, place.folder / "again")):
        with pytest.raises(DatasetError, match="decided before the last takedown; filter again"):
            use()
    decide_ledger(LOOSE, place.dataset, place.engine(), Silent())
    assert place.table("verdicts/loose").equals(marked)


def test_the_audit_says_how_many(base: Path, place: Place) -> None:
    before = audit(place.dataset, "loose")
    masks = place.table("pairs").select("uid").hstack(place.table("verdicts/loose"))
    uids = chosen(base, 3)["uid"].to_list()
    place.takedown(uids=uids)
    after = audit(place.dataset, "loose")
    gone = masks.filter(pl.col("uid").is_in(uids))
    kept = gone.filter((pl.col("failed") == 0) & (pl.col("unknown") == 0))
    assert 0 < len(kept) < len(uids)
    assert (before.taken_down, after.taken_down) == (0, len(uids))
    assert after.pairs == before.pairs
    assert after.kept == before.kept - len(kept)
    assert after.dropped == before.dropped + len(kept)
    assert (after.rules, after.overlap) == (before.rules, before.overlap)
    assert f"{len(uids):,} pairs were taken down" in after.notes[-1]
    assert after.to_json()["taken_down"] == len(uids)
    shown = {row["uid"] for rows in examples(place.dataset, "loose", 10**6).values() for row in rows}
    assert shown
    assert not shown & set(uids)


def test_why_says_it_and_finds_it_no_more_by_url_or_text(base: Path, place: Place) -> None:
    gone = chosen(base, 4).row(1, named=True)
    place.takedown(uids=chosen(base, 4)["uid"].to_list())
    (told,) = why(place.dataset, "align", uid=gone["uid"])
    assert told.outcome == "taken down"
    assert (told.url, told.alt_text) == ("", "")
    assert told.values["n_words"] == gone["n_words"]
    assert [line.partition(":")[0] for line in told.explanations] == ["the pair was taken down"]
    for what in ({"url": gone["url"]}, {"text": ""}):
        if what.get("text") == "" and "" in set(place.pairs().filter(pl.col("url") != "")["alt_text"]):
            assert all(found.url for found in why(place.dataset, None, text="", limit=1000))
            continue
        with pytest.raises(DatasetError, match="has no pair with the"):
            why(place.dataset, "align", **what)


def test_what_is_counted_later_does_not_count_it(job: Callable[..., Built], tmp_path: Path) -> None:
    """Counts made after a takedown are those of a pool without the pairs, also where others have an empty text."""
    texts = ["", "a b", "a b", "c d e", "a", ""]
    rows = [{"url": f"http://{'no' if i % 3 else 'yes'}.example/{i // 2}", "alt_text": texts[i % 6]} for i in range(60)]
    rows += rows[:20]
    names = ["images_per_text", "rows_per_text", "texts_per_image", "rarest_ngram", "n_words", "host", "language"]
    names.append("images_per_folded_text")
    found = {}
    for without in (False, True):
        some = [row for row in rows if not (without and "//no." in row["url"])]
        dataset = Dataset(Store(tmp_path / str(without)))
        engine = LocalEngine(dataset.store.work, 2)
        ingest(write_list(tmp_path / f"{without}-lists", some), dataset, engine, Silent(), parts=Parts(rows=20))
        if not without:
            asked = tmp_path / "hosts.txt"
            asked.write_text("NO.example.\n")
            report = takedown(dataset, read_lists({"hosts": [str(asked)]}), [], engine, Silent())
            assert report.receipt.asked["hosts"]["found"] == 1
        measure(dataset, engine, Silent(), names)
        measured = [read(dataset, f"measured/{group}") for group in ("text", "corpus")]
        known = pl.concat([read(dataset, "pairs"), *measured], how="horizontal")
        found[without] = known.filter(pl.col("url") != "").select("uid", "url", "alt_text", *names)
        found[without] = (found[without].sort("uid"), read(dataset, "counts/texts").sort("key"))
    assert found[False][0].equals(found[True][0])
    assert found[False][1].equals(found[True][1])
    assert len(found[True][0]) > 10


# Lists and where else to look.


def test_hosts_and_those_below_them(tmp_path: Path) -> None:
    hosts = ["a.example", "b.a.example", "xa.example", "A.example:8080", "u:p@b.a.example", "c.example", "[::1]"]
    rows = [{"url": f"http://{host}/{i}", "alt_text": f"text {i}"} for i, host in enumerate(hosts * 3)]
    rows += [{"url": "ftp://b.a.example/x", "alt_text": "no"}, {"url": "ftp://c.example/x", "alt_text": "no"}]
    dataset = Dataset(Store(tmp_path / "dataset"))
    engine = LocalEngine(dataset.store.work, 2)
    ingest(write_list(tmp_path / "lists", rows), dataset, engine, Silent(), parts=Parts(rows=8))
    (tmp_path / "hosts.txt").write_text("a.EXAMPLE\n[::1]\nnobody.example\n")
    report = takedown(dataset, read_lists({"hosts": [str(tmp_path / "hosts.txt")]}), [], engine, Silent())
    left = {url.split("/")[2] for url in read(dataset, "pairs")["url"] if url}
    assert left == {"xa.example", "c.example"}
    assert report.receipt.pairs == 15
    assert report.receipt.rejected == 1
    assert report.receipt.asked["hosts"]["found"] == 2
    assert report.receipt.asked["hosts"]["nowhere"] == 1
    assert read(dataset, "rejected").rows() == [
        ("0.parquet", 22, "url_not_http", ""),
        ("0.parquet", 23, "url_not_http", "ftp://c.example/x"),
    ]


def test_a_host_is_found_in_either_form_of_its_name(tmp_path: Path) -> None:
    hosts = ["müller.example", "xn--mller-kva.example", "a。example", "img.MÜLLER.example", "b.example"]
    rows = [{"url": f"http://{host}/{i}", "alt_text": f"text {i}"} for i, host in enumerate(hosts)]
    for asked, left in (("müller.example", [2, 4]), ("xn--mller-kva.example", [2, 4]), ("a.example", [0, 1, 3, 4])):
        folder = tmp_path / asked
        dataset = Dataset(Store(folder / "dataset"))
        engine = LocalEngine(dataset.store.work, 1)
        ingest(write_list(folder / "lists", rows), dataset, engine, Silent())
        found = takedown(dataset, stage.TakedownLists({"hosts": (asked,)}, {"hosts": ""}), [], engine, Silent())
        assert sorted(int(url[-1]) for url in read(dataset, "pairs")["url"] if url) == left
        assert found.receipt.asked["hosts"]["found"] == 1


def test_rejected_urls_of_every_kind_can_be_asked_for(tmp_path: Path) -> None:
    urls = [
        "b.example/1.jpg",
        "//b.example/2.jpg",
        "http://b.example/\x013.jpg",
        "http://u@v@b.example/4.jpg",
        "x/b.example",
    ]
    for kind, asked in (("urls", urls[:4]), ("hosts", ["b.example"])):
        folder = tmp_path / kind
        dataset = Dataset(Store(folder / "dataset"))
        engine = LocalEngine(dataset.store.work, 1)
        rows = [{"url": url, "alt_text": "text"} for url in [*urls, "http://c.example/"]]
        ingest(write_list(folder / "lists", rows), dataset, engine, Silent())
        (folder / "asked.txt").write_text("\n".join(asked), encoding="utf-8")
        report = takedown(dataset, read_lists({kind: [str(folder / "asked.txt")]}), [], engine, Silent())
        assert report.receipt.rejected == 4
        assert [detail for detail in read(dataset, "rejected")["detail"] if detail] == ["x/b.example"]


def test_lists_of_one_kind_are_all_meant(base: Path, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    urls = chosen(base, 4)["url"].unique(maintain_order=True).to_list()[:2]
    line = ["takedown", str(place.folder / "dataset")]
    for number, url in enumerate(urls):
        (place.folder.parent / f"{number}.txt").write_text(url)
        line += ["--urls", str(place.folder.parent / f"{number}.txt")]
    main(line, standalone_mode=False)
    assert capsys.readouterr().out.startswith("urls: 2 requested: 2 found\n")
    assert not set(urls) & set(place.pairs()["url"])


def test_bytes_that_were_taken_down_are_not_stored_again(base: Path, place: Place) -> None:
    """One picture of several URLs: only one was fetched when it was asked for; and one that nobody had fetched."""
    known = Place(base).pairs().filter(pl.col("sha256").is_not_null())
    asked = known["sha256"][3]
    later = "f" * 64
    web = base.parent / "web"
    before = place.takedown(sha256=[asked, later], folders=[])
    assert before.receipt.asked["sha256"]["found"] == before.receipt.asked["sha256"]["nowhere"] == 1
    assert before.receipt.banned == 2
    assert asked not in json.dumps(before.to_json())
    again = place.takedown(sha256=[asked, later], folders=[])
    assert again.nothing
    assert again.receipt.asked["sha256"]["taken_down_before"] == 2
    with serve(web) as address:
        (port,) = {url.partition("://")[2].partition("/")[0] for url in known["url"]}
        rows = [
            {"url": url.replace(port, address.partition("://")[2]), "alt_text": "a new pair"} for url in known["url"]
        ]
        dataset = Dataset(Store(place.folder / "again"))
        ingest(write_list(place.folder / "list", rows), dataset, place.engine(), Silent())
        shutil.copytree(place.folder / "dataset" / "banned", place.folder / "again" / "banned")
        shutil.copy(manifest_of(place.folder / "dataset", "banned"), manifest_of(place.folder / "again", "banned"))
        fetched = fetch_all(dataset, place.engine())
    images = read(dataset, "images")
    gone = images.filter(pl.col("status") == "taken_down")
    assert len(gone) == known.filter(pl.col("sha256") == asked)["url"].n_unique() > 0
    assert gone.filter("retryable").is_empty()
    assert gone["tar"].null_count() == len(gone)
    assert fetched.outcomes["taken_down"] == fetched.statuses["taken_down"] == len(gone)
    assert fetched.outcomes["ok"] == fetched.statuses["ok"] == images["tar"].count()


def damaged(folder: Path, shard: str, how: str) -> None:
    path = folder / shard
    if how == "flipped":
        content = bytearray(path.read_bytes())
        content[600] ^= 1
        path.write_bytes(content)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-1000])
    elif how == "gone":
        path.unlink()
    elif how == "sizes":
        (path.parent / "sizes.json").write_text("x")
    else:
        (folder / "index.pq").write_bytes(b"x")


DAMAGED = [
    ("flipped", r"has the SHA-256"),
    ("cut", r"has [\d,]+ bytes, not"),
    ("gone", r"is missing"),
    ("sizes", r"sizes.json is not JSON"),
    ("index", r"cannot read .*index.pq"),
]


@pytest.mark.parametrize(("how", "said"), DAMAGED)
def test_a_damaged_shard_is_never_made_to_look_whole(base: Path, place: Place, how: str, said: str) -> None:
    uids = chosen(base, 4)["uid"].to_list()
    held = pl.read_parquet(base / "webdataset" / "index.pq").filter(pl.col("uid").is_in(uids))
    damaged(place.folder / "webdataset", held["shard"][0], how)
    before = place.tree()
    for dry_run in (True, False):
        with pytest.raises(DatasetError, match=said):
            place.takedown(uids=uids, dry_run=dry_run)
    assert place.tree() == before


def test_an_index_that_names_no_pair_any_more_is_not_believed(base: Path, place: Place) -> None:
    uids = chosen(base, 4)["uid"].to_list()
    file = place.folder / "webdataset" / "index.pq"
    index = pl.read_parquet(file)
    index.filter(~pl.col("uid").is_in(uids)).write_parquet(file)
    with pytest.raises(DatasetError, match=r"index.pq has the SHA-256"):
        place.takedown(uids=uids)


@pytest.mark.parametrize(("how", "said"), DAMAGED)
def test_a_folder_that_is_damaged_on_the_way_holds_up_no_other(
    base: Path, place: Place, monkeypatch: pytest.MonkeyPatch, how: str, said: str
) -> None:
    uids = chosen(base, 4)["uid"].to_list()
    held = pl.read_parquet(base / "webdataset" / "index.pq").filter(pl.col("uid").is_in(uids))

    def begin(*arguments: Any) -> None:
        stage_begin(*arguments)
        damaged(place.folder / "webdataset", held["shard"][0], how)

    stage_begin = stage.begin
    with monkeypatch.context() as patch:
        patch.setattr(stage, "begin", begin)
        report = place.takedown(uids=uids)
    assert (
        [bool(folder.note) for folder in report.receipt.shards]
        == [folder.format == "" for folder in report.receipt.shards]
        == [True, False, False, False]
    )
    assert re.search(said, report.receipt.shards[0].note)
    assert not set(uids) & samples(place.folder / "parquet").keys()
    shutil.rmtree(place.folder / "webdataset")
    shutil.copytree(base / "webdataset", place.folder / "webdataset")  # mended, it is done
    place.takedown()
    assert not set(uids) & samples(place.folder / "webdataset").keys()


def test_a_folder_that_nothing_was_taken_out_of_fails_the_command(
    base: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfinished(base, place, monkeypatch)
    shutil.rmtree(place.folder / "parquet")
    with pytest.raises(ClickException, match=r"taken down, but not from .*parquet"):
        main(["takedown", str(place.folder / "dataset")], standalone_mode=False)


def test_rejected_rows_lose_what_they_show(place: Place) -> None:
    before = place.table("rejected")
    details = before.filter(pl.col("detail").str.contains(":"))["detail"].to_list()
    assert details
    report = place.takedown(urls=[details[0], "http://nobody.example/"])
    assert report.receipt.pairs == 0
    assert report.receipt.rejected == details.count(details[0])
    assert report.receipt.asked["urls"] == {
        "list_sha256": report.receipt.asked["urls"]["list_sha256"],
        "asked": 2, "found": 0, "taken_down_before": 0, "rejected_only": 1, "nowhere": 1,
    }  # fmt: skip
    blank = pl.when(pl.col("detail") == details[0]).then(pl.lit("")).otherwise("detail").alias("detail")
    assert place.table("rejected").equals(before.with_columns(blank))
    assert audit(place.dataset, "loose").taken_down == 0
    measure(place.dataset, place.engine(), Silent())


@given(st.lists(st.sampled_from(["http://a/1", "http://a/10", "ftp://b.c/", "http://b.c/\N{REPLACEMENT CHARACTER}x"])))
def test_a_detail_is_compared_whole(details: list[str]) -> None:
    asked = stage.TakedownLists({"urls": ("http://a/1", "http://b.c/"), "hosts": ("c",)}, {})
    shown = [("url: " if i % 2 else "") + detail for i, detail in enumerate(details)]
    hit, found = rejected(pl.Series(shown, dtype=pl.String), asked)
    assert hit.to_list() == [detail != "http://a/10" for detail in details]
    assert ("http://a/1" in found["urls"]) == ("http://a/1" in details)
    assert ("c" in found["hosts"]) == any("//b.c" in detail for detail in details)


def test_bytes_that_nobody_has_measured_are_found_too(base: Path, place: Place) -> None:
    shutil.rmtree(place.folder / "dataset" / "content")
    shutil.rmtree(place.folder / "dataset" / "measured" / "image")
    known = Place(base).pairs().filter(pl.col("sha256").is_not_null())
    report = place.takedown(sha256=[known["sha256"][3]], folders=[])
    assert set(report.receipt.uids) == set(known.filter(pl.col("sha256") == known["sha256"][3])["uid"])
    assert known["url"][3] not in place.bytes_of()


def test_what_a_killed_fetch_has_left_goes_too(base: Path, place: Place) -> None:
    """Chunks of its rows, tars that no row names, its work folder; then the fetch begins anew there."""
    dataset, out = place.dataset, place.folder / "dataset"
    gone = chosen(base, 4)
    part = int(gone["part"][0])
    dataset.images.retract()
    for folder in ("_images", "_content"):
        for number in (part, part + 1):
            (out / folder / f"{number:05d}").mkdir(parents=True)
            (out / folder / f"{number:05d}" / "part-00000.parquet").write_bytes(b"rows")
    (out / "bytes" / f"part-{part:05d}" / "009-00000.tar").write_bytes(b"an image")
    (out / "_work").mkdir(exist_ok=True)
    (out / "_work" / "tmp0a1b2c3d").write_bytes(b"an image")
    uids = gone.filter(pl.col("part") == part)["uid"].to_list()
    report = place.takedown(uids=uids, folders=[])
    assert not (out / "_work").exists()
    assert [(out / f"_{name}" / f"{part:05d}").exists() for name in ("images", "content")] == [False, False]
    assert [(out / f"_{name}" / f"{part + 1:05d}").exists() for name in ("images", "content")] == [True, True]
    assert not (out / "bytes" / f"part-{part:05d}" / "009-00000.tar").exists()
    removed = next(file for file in report.receipt.files if file.name.endswith("009-00000.tar"))
    assert (removed.before, removed.after) == (hashlib.sha256(b"an image").hexdigest(), None)
    shutil.rmtree(out / "_images")
    assert fetch_all(dataset, place.engine()).asked == 0
    assert not set(gone.filter(pl.col("part") == part)["url"]) & set(place.table("images")["url"])


def test_what_a_killed_export_has_left_goes_too(base: Path, place: Place) -> None:
    left = ("_rows/0/part-00000.parquet", "_index/00000.tar.parquet", "train/.00000.tar.0123abcd.tmp")
    for name in left:
        (place.folder / "webdataset" / name).parent.mkdir(parents=True, exist_ok=True)
        (place.folder / "webdataset" / name).write_bytes(b"an image")
    place.takedown(uids=chosen(base, 4)["uid"].to_list())
    assert [(place.folder / "webdataset" / name).exists() for name in left] == [False] * 3


def test_a_dataset_that_is_on_no_disk(base: Path, place: Place) -> None:
    memory = fsspec.filesystem("memory")
    for name, content in place.tree().items():
        memory.pipe_file(f"/takedown/{name}", content)
    dataset = Dataset(Store("memory://takedown/dataset", place.folder / "work"))
    folders = [f"memory://takedown/{form}" for form in FORMS]
    asked = stage.TakedownLists({"uids": tuple(chosen(base, 4)["uid"])}, {"uids": ""})
    report = takedown(dataset, asked, folders, place.engine(), Silent())
    place.takedown(uids=chosen(base, 4)["uid"].to_list())
    tree = {name.removeprefix("/takedown/"): memory.cat_file(name) for name in memory.find("/takedown")}
    memory.rm("/takedown", recursive=True)
    assert report.stored == "takedowns/0001.json"
    assert {n: c for n, c in tree.items() if report.stored not in n} == {
        n: c for n, c in place.tree().items() if report.stored not in n
    }


# Killed.


def small(base: Path, place: Place) -> list[str]:
    """URLs of one part, of two shards; and one that is among the rejected rows."""
    pairs = Place(base).pairs().filter(pl.col("failed.loose") == 0, pl.col("unknown.loose") == 0, pl.col("part") == 2)
    index = pl.read_parquet(base / "webdataset" / "index.pq").select("uid", "shard")
    pairs = pairs.join(index, on="uid", maintain_order="left")
    some = pl.concat([pairs.head(1), pairs.filter(pl.col("shard") != pairs["shard"][0]).tail(1)])
    assert len(pairs) > 5
    assert len(some) == 2
    detail = place.table("rejected").filter(pl.col("detail").str.contains(":"))["detail"][0]
    return [*some["url"].to_list(), detail]


def unfinished(base: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin a takedown, and crash."""
    with monkeypatch.context() as patch:
        crashes = Crashes(patch, removals=True)
        crashes.left = 9
        with pytest.raises(Crash):
            place.takedown(urls=small(base, place))


def test_a_dataset_tar_that_is_damaged_is_not_cut_short(base: Path, place: Place) -> None:
    """Its images behind the damage would be lost, and all rows behind point elsewhere."""
    images = place.table("images").filter(pl.col("tar").is_not_null()).sort("tar", "offset")
    many = images.group_by("tar").len().sort("len")["tar"][-1]
    there = images.filter(pl.col("tar") == many)
    path = place.folder / "dataset" / many
    content = bytearray(path.read_bytes())
    content[there["offset"][2] - 300] ^= 1  # in the third header
    path.write_bytes(content)
    before = place.tree()
    with pytest.raises(DatasetError, match=r"cannot read .*tar: there is no end at byte .*; it is damaged"):
        place.takedown(urls=[there["url"][0]], folders=[], dry_run=True)
    with pytest.raises(DatasetError, match=r"it is damaged"):
        place.takedown(urls=[there["url"][0]], folders=[])
    assert place.tree()[f"dataset/{many}"] == before[f"dataset/{many}"]


def test_a_crash_at_every_single_step(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Crash at the n-th file that appears or goes, for every n; then run again: the same tree, the same receipt."""
    folder = tmp_path / "place"  # always the same one: a receipt says where the shards are

    def again() -> Place:
        if folder.exists():  # removing all of it would take longer than a takedown
            folder.rename(tmp_path / f"before-{number}")
        shutil.copytree(base, folder, ignore=shutil.ignore_patterns("uids", "parquet", "counts"))
        return Place(folder)

    exports = [str(folder / "webdataset"), str(folder / "metadata")]

    crashes = Crashes(monkeypatch, removals=True)
    number = 0
    place = again()
    urls = small(base, place)
    place.takedown(exports, urls=urls)
    steps, expected = crashes.seen, place.tree()
    assert steps > 50
    for number in range(1, steps + 1):
        place = again()
        crashes.left = number
        with pytest.raises(Crash):
            place.takedown(exports, urls=urls)
        crashes.left = -1
        if number % 2 or not (folder / "dataset" / TAKEDOWN).exists():
            place.takedown(exports, urls=urls)
        else:  # any other takedown does, also one that asks for nothing
            place.takedown(folders=[])
        found = place.tree()
        assert found.keys() == expected.keys(), number
        assert found == expected, number


def test_until_it_is_finished_no_stage_works(base: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    urls = small(base, place)
    with monkeypatch.context() as patch:
        crashes = Crashes(patch, removals=True)
        crashes.left = 9
        with pytest.raises(Crash):
            place.takedown(urls=urls)
    assert (place.folder / "dataset" / TAKEDOWN).exists()
    dataset, engine = place.dataset, place.engine()
    for use in (
        lambda: measure(dataset, engine, Silent()),
        lambda: decide_ledger(LOOSE, dataset, engine, Silent()),
        lambda: fetch_all(dataset, engine),
        lambda: audit(dataset, "loose"),
        lambda: why(dataset, None, url=urls[0]),
        lambda: export_all(dataset, place.folder / "again"),
    ):
        with pytest.raises(DatasetError, match="a takedown began here and did not finish; run it again"):
            use()
    # Another one carries it out, leaves it its own receipt, and says so; a dry run only says so.
    other = chosen(base, 3).filter(pl.col("part") == 0)["uid"].to_list()
    assert place.takedown(uids=other, dry_run=True).receipt.pairs == len(other)
    assert (place.folder / "dataset" / TAKEDOWN).exists()
    report = place.takedown(uids=other)
    assert report.before == ["takedowns/0001.json"]
    assert report.stored == "takedowns/0002.json"
    first = json.loads((place.folder / "dataset" / report.before[0]).read_text())
    report.receipt.uids = sorted([*first["uids"], *other])
    report.receipt.pairs += first["pairs"]
    check(place, base, {*first["uids"], *other}, report)


def test_folders_that_are_gone_when_it_goes_on_are_named(
    base: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfinished(base, place, monkeypatch)
    shutil.rmtree(place.folder / "parquet")
    report = place.takedown(folders=[])
    assert [bool(shards.note) for shards in report.receipt.shards] == [False, True, *([False] * (len(FORMS) - 2))]
    assert "has no manifest.json" in report.receipt.shards[1].note


# Sentences.


@pytest.mark.parametrize(
    ("kind", "line", "said"),
    [
        ("urls", "a.example", "is not a URL"),
        ("hosts", "http://a.example", "is not a host"),
        ("hosts", "a.example:80", "is not a host"),
        ("sha256", "abc", "is not the SHA-256 of an image's bytes"),
        ("uids", "0" * 31, "is not a uid, 32 hex digits, or its first 16"),
    ],
)
def test_a_line_that_is_none_is_a_sentence(tmp_path: Path, kind: str, line: str, said: str) -> None:
    file = tmp_path / "list.txt"
    file.write_bytes(b"\xef\xbb\xbf# a comment\r\n\r\n" + line.encode() + b"\r\n")
    with pytest.raises(InputError, match=f"list.txt, line 3: '{line}' {said}"):
        read_lists({kind: [str(file)]})


def test_a_list_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xff")
    with pytest.raises(InputError, match="it is not UTF-8"):
        read_lists({"urls": [str(tmp_path / "list.txt")]})
    with pytest.raises(InputError, match="No such file"):
        read_lists({"urls": [str(tmp_path / "none.txt")]})


def test_folders_that_are_no_exports_are_sentences(place: Place, tmp_path: Path) -> None:
    before = place.tree()
    other = tmp_path / "other"
    shutil.copytree(place.folder / "webdataset", other)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps({**manifest, "of": "0" * 64}))
    (tmp_path / "empty").mkdir()
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "manifest.json").write_text("[]")
    for folder, said in (
        (other, "is an export of another dataset"),
        (tmp_path / "empty", "has no manifest.json: it is not an export, or an unfinished one"),
        (tmp_path / "strange", "is not a manifest of an export"),
        (place.folder / "uids", "holds uids and nothing else, .* export again"),
    ):
        with pytest.raises(DatasetError, match=said):
            place.takedown(hosts=["127.0.0.1"], folders=[str(folder)])
    with pytest.raises(DatasetError, match="nothing to take down: give a list"):
        place.takedown(folders=[])
    assert place.tree() == before
    with pytest.raises(DatasetError, match="is not a dataset"):
        takedown(
            Dataset(Store(tmp_path / "none")),
            stage.TakedownLists({"uids": ("0" * 32,)}, {"uids": ""}),
            [],
            place.engine(),
            Silent(),
        )


def test_the_command_prints_and_stores_a_receipt(base: Path, place: Place) -> None:
    (place.folder.parent / "list.txt").write_text("\n".join(chosen(base, 4)["url"]))
    line = ["takedown", str(place.folder / "dataset"), "--urls", str(place.folder.parent / "list.txt")]
    line += [item for folder in place.exports for item in ("--shards", folder)]
    code = "from align_data.cli import main; main()"
    done = forked.run([sys.executable, "-c", code, *line], capture_output=True, text=True, check=True)
    receipt = json.loads((place.folder / "dataset" / "takedowns" / "0001.json").read_text())
    lines = done.stdout.splitlines()
    asked = chosen(base, 4)["url"].n_unique()
    assert lines[0] == f"urls: {asked} requested: {asked} found"
    assert lines[1].startswith(f"taken down: {receipt['pairs']} pairs; {asked} images, ")
    assert lines[2].startswith(f"{place.folder}/webdataset: {receipt['shards'][0]['pairs']} pairs in ")
    assert f"receipt: {place.folder}/dataset/takedowns/0001.json" in done.stderr
    for url in chosen(base, 4)["url"]:
        assert url not in json.dumps(receipt)


@pytest.mark.spark
def test_spark_rewrites_the_same_bytes(base: Path, tmp_path: Path, spark: Engine) -> None:
    folder = tmp_path / "place"
    asked = stage.TakedownLists({"urls": tuple(chosen(base, 4)["url"])}, {"urls": ""})
    trees = []
    for engine in (LocalEngine(tmp_path / "work", 2), spark):
        shutil.copytree(base, folder)
        place = Place(folder)
        assert takedown(place.dataset, asked, place.exports, engine, Silent()).receipt.pairs
        trees.append(place.tree())
        shutil.rmtree(folder)
    assert trees[0] == trees[1]
