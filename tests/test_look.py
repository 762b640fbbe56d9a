"""One pass: images are measured as they are fetched, and stored as fetched, smaller, or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hostile_images as hostile
import made_up_signals
import polars as pl
import pytest
from conftest import Crashes, read, tree, write_list
from in_process import child_of, decode_here
from onnx_models import magenta_model, tiny_face_model, tiny_text_models
from PIL import Image
from test_fetch import children, gone, marked, needs_proc, wait_for

from align_data.common.errors import DatasetError
from align_data.common.progress import Silent
from align_data.common.workers import ChildDiedError
from align_data.common.workers.values import plain
from align_data.content import looking as content_looking
from align_data.content.plan import Sight
from align_data.data.layout import Dataset
from align_data.data.references import give_blocklist, give_evaluation
from align_data.decoding import decoder
from align_data.decoding.decoder import DecoderSetup, Inspector
from align_data.decoding.detectors.detector import Detector
from align_data.decoding.detectors.nsfw import NsfwModel
from align_data.decoding.inspected import ImageChecks, ImageLimits, Inspected, Smaller, StoredFacts
from align_data.engines.local import LocalEngine
from align_data.fetching import looking, worker_replies
from align_data.fetching.client import Policy
from align_data.fetching.crawl import Limits
from align_data.fetching.guard import Guard
from align_data.fetching.keeping import Keeping
from align_data.fetching.looking import BodySpan, Looker, LookSettings
from align_data.fetching.worker import ChunkTask, Row, SeenImage, handler
from align_data.recipes.reading import parse
from align_data.signals.contracts import STORED
from align_data.stages.eval_index import index
from align_data.stages.export import Form, How, export
from align_data.stages.fetch import FetchReport, fetch
from align_data.stages.ingest import Parts, ingest
from align_data.stages.measure import measure
from align_data.stages.pipeline import Decision, decide_ledger, measure_images
from align_data.stages.takedown import read as read_lists
from align_data.stages.takedown import takedown
from align_data.stages.verify import verify
from align_data.stages.why import why
from align_data.storage.store import Store

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
from tiny_server import serve

__all__ = ["marked"]
POLICY = Policy(guard=Guard.of(["127.0.0.0/8"]), deadline=20.0)
SIDE = 48
RULES = """
name: sides
rules:
  - {signal: n_words, ge: 1}
  - {signal: decodable, eq: true}
  - {signal: min_side, gt: 40}
  - {signal: aspect, lt: 3}
"""


def jpeg(width: int, height: int, seed: int, **options: Any) -> bytes:
    return hostile.file(hostile.picture(width, height, seed), "JPEG", **options)


def pictures() -> dict[str, bytes]:
    """Images of all kinds: larger and smaller than is kept, turned, transparent, broken, too large, and none."""
    large = {f"large{n}.jpg": jpeg(60 + 7 * n, 50 + 3 * n, n) for n in range(8)}
    small = {f"small{n}.jpg": jpeg(90, 30 + n, n) for n in range(4)}
    turned = {f"turned{n}.jpg": hostile.oriented("JPEG", n, hostile.picture(100, 60, n)) for n in (3, 6)}
    others = {
        "exact.jpg": jpeg(SIDE, 70, 1),
        "alpha.png": hostile.file(hostile.picture(80, 90).convert("RGBA"), "PNG"),
        "grey.png": hostile.file(hostile.picture(80, 90).convert("L"), "PNG"),
        "flat.gif": hostile.file(hostile.picture(64, 64).convert("P"), "GIF"),
        "lossless.webp": hostile.file(hostile.picture(70, 100), "WEBP", lossless=True),
        "long.jpg": jpeg(400, 60, 5),
        "cut.jpg": jpeg(200, 200, 6)[:900],
        "huge.png": hostile.announced_png(30_000, 30_000),
    }
    return large | small | turned | others


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Serve the images; give where, and each by its name."""
    folder = tmp_path_factory.mktemp("web")
    (folder / "pictures").mkdir()
    for name, content in pictures().items():
        (folder / "pictures" / name).write_bytes(content)
    with serve(folder) as base:
        yield base, pictures()


@dataclass
class Made:
    """A dataset of the images."""

    dataset: Dataset
    folder: Path
    engine: LocalEngine

    def fetch(
        self, sight: Sight | None = None, keep: Any = "original", ledger: str | None = None, **more: Any
    ) -> FetchReport:
        limits, keeping = Limits(per_host=8), Keeping(keep)
        more |= {"sight": sight, "keeping": keeping}
        report = fetch(self.dataset, ledger, POLICY, limits, self.engine, Silent(), 7, **more)
        if sight is not None or keeping.reduces:
            measure_images(self.dataset, self.engine, Silent(), sight or Sight())
        return report

    def measure(self, sight: Sight = Sight()) -> None:  # noqa: B008
        measure(self.dataset, self.engine, Silent(), sight=sight)

    def table(self, name: str) -> pl.DataFrame:
        return read(self.dataset, name)

    def bytes(self) -> dict[str, bytes | None]:
        """Return what lies in the tars of each URL, by its file's name, read without our code."""
        stored: dict[str, bytes | None] = {}
        for url, tar, offset, size in self.table("images").select("url", "tar", "offset", "size").iter_rows():
            name = url.rpartition("/")[2]
            stored[name] = None if tar is None else (self.folder / tar).read_bytes()[offset : offset + size]
        return stored

    def decide(self, rules: str = RULES) -> None:
        self.measure()
        decide_ledger(Decision(parse(rules, "sides.yaml")), self.dataset, self.engine, Silent())

    def export(self, out: Path, *options: Any, **more: Any) -> None:
        form = Form(how=How(*options), shard_size=10)
        export(self.dataset, "sides", Store(out), form, self.engine, Silent(), **more)


Make = Callable[..., Made]


@pytest.fixture
def make(tmp_path: Path, web: tuple[str, dict[str, bytes]]) -> Make:
    """Make datasets of the images, each in a folder of its own."""
    base, images = web
    rows = [{"url": f"{base}/{name}", "alt_text": f"a picture {name}"} for name in [*images, "gone.jpg"]]
    lists = write_list(tmp_path / "lists", rows)
    number = 0

    def made(workers: int = 2, part_rows: int = 15) -> Made:
        nonlocal number
        number += 1
        folder = tmp_path / f"dataset{number}"
        engine = LocalEngine(tmp_path / f"work{number}", workers)
        dataset = Dataset(Store(folder))
        ingest(lists, dataset, engine, Silent(), parts=Parts(rows=part_rows))
        return Made(dataset, folder, engine)

    return made


@pytest.fixture
def model(tmp_path: Path) -> NsfwModel:
    magenta_model(tmp_path / "magenta.onnx")
    return NsfwModel(str(tmp_path / "magenta.onnx"), None)


TABLES = ("images", "bytes", "content", "measured/image")


def test_one_pass_measures_what_two_do_to_the_byte(make: Make, model: NsfwModel) -> None:
    two, one = make(), make()
    for each in (two, one):
        each.decide()  # nothing is known of the images
    with made_up_signals.registered():
        for each in (two, one):
            each.dataset = Dataset(Store(each.folder))
        sight = Sight(nsfw=model, only_open="sides", chunk=4)
        two.fetch()
        two.measure(sight)
        report = one.fetch(sight)
        seen = tree(one.folder, *TABLES)
        assert seen == tree(two.folder, *TABLES)
        assert report.statuses == {"ok": len(pictures()), "http_404": 1}
        content = one.table("content")
        assert not set(STORED) & set(content.columns)
        assert content["nsfw"].null_count() < len(content)
        assert content["redness"].drop_nulls().len() == content["decodable"].sum()
        assert not (one.folder / "_seen").exists()


def test_detectors_see_as_images_come_what_they_see_afterwards(make: Make, tmp_path: Path) -> None:
    detectors = []
    for name, files in (("text", tiny_text_models()), ("faces", tiny_face_model())):
        (tmp_path / name).mkdir()
        for file, content in files.items():
            (tmp_path / name / file).write_bytes(content)
        detectors.append(Detector(name, str(tmp_path / name)))
    sight = Sight(detectors=tuple(detectors), texture=True, only_open="sides", chunk=4)
    two, one = make(), make()
    for each in (two, one):
        each.decide()
    two.fetch()
    two.measure(sight)
    one.fetch(sight)
    assert tree(one.folder, *TABLES) == tree(two.folder, *TABLES)
    content = one.table("content")
    decodable = content["decodable"].sum()
    assert content["entropy"].drop_nulls().len() == decodable
    assert content["n_faces"].drop_nulls().len() == content["image_text"].drop_nulls().len() == decodable


def test_nothing_is_decoded_again_afterwards(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make()
    made.fetch(Sight())
    before = tree(made.folder, *TABLES)

    def none(*_: Any) -> Any:
        raise AssertionError("an image was decoded")

    monkeypatch.setattr(content_looking, "Decoder", none)
    made.measure()
    assert tree(made.folder, *TABLES) == before


def test_what_was_fetched_before_is_looked_at_too(make: Make, web: tuple[str, dict[str, bytes]]) -> None:
    two, one = make(), make()
    for each in (two, one):
        each.fetch()
    two.measure()
    assert one.fetch(Sight()).asked == 0
    assert tree(one.folder, "content") == tree(two.folder, "content")


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_smaller_images_are_stored_and_the_originals_measured(make: Make, form: Any) -> None:
    plain_, made = make(), make()
    plain_.fetch(Sight())
    report = made.fetch(keep=Smaller(SIDE, form, 90))
    stored, content = made.bytes(), made.table("content")
    rows = {row["url"].rpartition("/")[2]: row for row in content.iter_rows(named=True)}
    originals = {row["url"].rpartition("/")[2]: row for row in plain_.table("content").iter_rows(named=True)}
    smaller = 0
    for name, original in pictures().items():
        row, bytes_ = rows[name], stored[name]
        apart = ("tar", "offset")
        assert {k: v for k, v in row.items() if k not in (*STORED, *apart)} == {
            k: v for k, v in originals[name].items() if k not in apart
        }, name
        sides = (row["width"], row["height"])
        if not row["decodable"]:
            assert bytes_ is None, name
        elif min(sides) <= SIDE:
            assert bytes_ == original, name
        if not row["decodable"] or min(sides) <= SIDE:
            assert [row[column] for column in STORED] == [None] * 4
            continue
        smaller += 1
        assert bytes_ is not None
        with Image.open(io.BytesIO(bytes_)) as image:
            image.load()
            assert (image.format or "").lower() == row["stored_format"] == form
            assert image.size == (row["stored_width"], row["stored_height"])
            assert min(image.size) == SIDE
            assert abs(max(image.size) - SIDE * max(sides) / min(sides)) <= 0.5
            assert (image.size[0] > image.size[1]) == (sides[0] > sides[1]) or sides[0] == sides[1]
            assert not image.getexif()
        assert row["stored_sha256"] == hashlib.sha256(bytes_).hexdigest()
        assert row["sha256"] == hashlib.sha256(original).hexdigest()
    assert smaller >= 12
    assert report.statuses == {"ok": len(pictures()) - 2, "not_kept": 2, "http_404": 1}
    assert made.table("measured/image").equals(plain_.table("measured/image"))
    reasons = dict(made.table("images").select(pl.col("url").str.split("/").list.last(), "reason").iter_rows())
    assert reasons["cut.jpg"] == "it cannot be made smaller: broken"
    assert reasons["huge.png"] == "it cannot be made smaller: too_many_pixels"


def test_what_is_not_stored_at_all_is_measured_and_comes_when_it_is_wanted(make: Make, tmp_path: Path) -> None:
    plain_, made = make(), make()
    plain_.fetch(Sight())
    plain_.decide()
    assert made.fetch(keep="none").statuses == {"not_kept": len(pictures()), "http_404": 1}
    made.decide()
    assert not list(made.folder.glob("bytes/*/*.tar"))
    assert made.table("verdicts/sides").equals(plain_.table("verdicts/sides"))
    assert made.table("measured/image").equals(plain_.table("measured/image"))
    with pytest.raises(DatasetError, match=r"15 of the kept pairs have an image that was measured and not stored"):
        made.export(tmp_path / "shards")
    form = Form(format="metadata")
    assert export(made.dataset, "sides", Store(tmp_path / "rows"), form, made.engine, Silent()).pairs == 15
    (explained,) = why(made.dataset, "sides", text="a picture large0.jpg")
    assert explained.outcome == "kept"
    assert "the image was measured and is not stored: --keep none" in explained.explanations
    # Asked for again with the same policy nothing happens; with another the images come.
    assert made.fetch(keep="none").asked == 0
    assert made.fetch(keep=Smaller(SIDE)).asked == len(pictures())
    other = make()
    other.fetch(keep=Smaller(SIDE))
    assert made.bytes() == other.bytes()


def sizes(out: Path) -> dict[str, tuple[bytes, dict[str, Any]]]:
    """Return image and facts of each sample of exported tars, by its file's name, read without our code."""
    samples: dict[str, dict[str, bytes]] = {}
    for path in sorted(out.rglob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, ending = member.name.partition(".")
                content = tar.extractfile(member)
                assert content is not None
                samples.setdefault(key, {})["json" if ending == "json" else "txt" if ending == "txt" else "image"] = (
                    content.read()
                )
    facts = [(sample["image"], json.loads(sample["json"])) for sample in samples.values()]
    return {fact["url"].rpartition("/")[2]: (image, fact) for image, fact in facts}


def test_an_export_takes_what_is_stored_and_no_more(make: Make, tmp_path: Path) -> None:
    made = make()
    made.fetch(keep=Smaller(SIDE))
    made.decide()
    for how in (("keep",), ("shortest", SIDE)):
        made.export(tmp_path / how[0], *how)
        samples, stored = sizes(tmp_path / how[0]), made.bytes()
        assert len(samples) == 15
        for name, (image, facts) in samples.items():
            if name.startswith("large"):
                assert image == stored[name]  # nothing is encoded twice
            with Image.open(io.BytesIO(pictures()[name])) as original:
                turned = name == "turned6.jpg"
                size = original.size[::-1] if turned else original.size
            assert (facts["original_width"], facts["original_height"]) == size
            assert facts["sha256"] == hashlib.sha256(pictures()[name]).hexdigest()
            with Image.open(io.BytesIO(image)) as written:
                assert (facts["width"], facts["height"]) == written.size
        assert verify(Store(tmp_path / how[0]), 1, Silent()).whole
    made.export(tmp_path / "crop", "crop", 32)
    for resize in ("shortest", "crop"):
        with pytest.raises(
            DatasetError, match=rf"--size 49 asks for more .* of 14 pairs, down to a shorter side of {SIDE}"
        ):
            made.export(tmp_path / "larger", resize, SIDE + 1)


def test_a_changed_byte_of_a_smaller_image_is_not_exported(make: Make, tmp_path: Path) -> None:
    made = make(part_rows=1000)
    made.fetch(keep=Smaller(SIDE))
    made.decide()
    row = made.table("images").filter(pl.col("url").str.ends_with("large1.jpg")).row(0, named=True)
    with (made.folder / row["tar"]).open("r+b") as file:
        file.seek(row["offset"] + row["size"] - 5)
        file.write(b"\0")
    with pytest.raises(DatasetError, match="the bytes are not those that were measured"):
        made.export(tmp_path / "shards")


@pytest.mark.parametrize("keep", [Smaller(SIDE), "none"])
def test_a_takedown_goes_by_the_original(make: Make, tmp_path: Path, keep: Any) -> None:
    made = make()
    made.fetch(keep=keep)
    made.decide()
    names = ("large2.jpg", "small1.jpg")
    file = tmp_path / "hashes.txt"
    file.write_text("".join(f"{hashlib.sha256(pictures()[name]).hexdigest()}\n" for name in names))
    report = takedown(made.dataset, read_lists({"sha256": [str(file)]}), [], made.engine, Silent())
    assert report.receipt.pairs == 2
    urls = {url.rpartition("/")[2] for url in made.table("content")["url"]}
    assert not urls & set(names)
    stored = {name: content for name, content in made.bytes().items() if content is not None}
    assert not set(stored) & set(names)
    made.decide()
    # And they are not stored again, whatever they would be stored as.
    other = make()
    assert other.fetch(Sight()).statuses["ok"] == len(pictures())


def test_what_is_banned_is_neither_stored_nor_measured(make: Make, tmp_path: Path) -> None:
    made, file = make(), tmp_path / "hashes.txt"
    file.write_text(hashlib.sha256(pictures()["large2.jpg"]).hexdigest())
    takedown(made.dataset, read_lists({"sha256": [str(file)]}), [], made.engine, Silent())
    assert made.fetch(keep=Smaller(SIDE)).statuses["taken_down"] == 1
    (row,) = made.table("content").filter(pl.col("url").str.ends_with("large2.jpg")).iter_rows(named=True)
    assert (row["status"], row["sha256"], row["tar"]) == ("taken_down", None, None)


def test_values_of_originals_stay_when_nobody_can_measure_them_again(
    make: Make, model: NsfwModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make()
    made.fetch(keep=Smaller(SIDE))
    before = made.table("content")
    monkeypatch.setattr("align_data.decoding.inspected.version", lambda _: "0.0")  # another Pillow
    said: list[str] = []
    monkeypatch.setattr(Silent, "say", lambda _, sentence: said.append(sentence))
    made.measure(Sight(nsfw=model))
    after = made.table("content")
    assert after.drop("nsfw").equals(before.drop("nsfw"))
    scored = after.filter(pl.col("nsfw").is_not_null())
    assert scored["stored_sha256"].null_count() == len(scored) > 0
    unknown = after.filter(pl.col("nsfw").is_null(), pl.col("decodable").fill_null(value=False))
    assert any(sentence.startswith(f"nsfw stays unknown for {len(unknown)} images") for sentence in said)
    shutil.rmtree(made.folder / "content")
    with pytest.raises(DatasetError, match="is lost, and with it what was measured of images that are stored smaller"):
        Made(Dataset(Store(made.folder)), made.folder, made.engine).measure()


def test_another_size_holds_for_what_is_fetched_from_then_on(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made, said = make(), []
    made.fetch(keep=Smaller(SIDE))
    before = tree(made.folder, "bytes", "content")
    monkeypatch.setattr(Silent, "say", lambda _, sentence: said.append(sentence))
    made.fetch(Sight())
    assert said[0].startswith("what is stored of images already stays as it is")
    images = made.table("images")
    assert images.filter(pl.col("status") == "not_kept").is_empty()  # two that could not be made smaller came
    after = tree(made.folder, "bytes", "content")
    assert {name: content for name, content in after.items() if name in before and name.endswith(".tar")} == {
        name: content for name, content in before.items() if name.endswith(".tar")
    }
    smaller = made.table("content")["stored_sha256"].drop_nulls()
    assert len(smaller) > 10


# Images that fail a rule.

FAILING = """
name: sides
rules:
  - {signal: n_words, ge: 1}
  - {signal: images_per_text, le: 10}
  - {signal: decodable, eq: true}
  - {signal: min_side, gt: 40}
  - {signal: aspect, lt: 3}
  - {signal: format, in: [jpeg, png]}
  - {signal: nsfw, lt: 0.5}
  - {signal: eval_distance, ge: 4}
  - {signal: blocked, eq: false}
"""


def test_what_a_rule_fails_is_not_stored_and_every_verdict_stays(make: Make, model: NsfwModel, tmp_path: Path) -> None:
    whole, made = make(), make()
    images = pictures()
    for number, name in enumerate(("large3.jpg", "large4.jpg")):
        (tmp_path / "evaluation").mkdir(exist_ok=True)
        (tmp_path / "evaluation" / f"{number}.jpg").write_bytes(images[name])
    index([str(tmp_path / "evaluation")], str(tmp_path / "evaluation.parquet"), 1, Silent())
    (tmp_path / "block.txt").write_text(f"md5 {hashlib.md5(images['large5.jpg']).hexdigest()}\n")
    for each in (whole, made):
        give_evaluation(each.dataset, str(tmp_path / "evaluation.parquet"))
        give_blocklist(each.dataset, str(tmp_path / "block.txt"))
        each.decide(FAILING)
    sight = Sight(nsfw=model)
    whole.fetch(sight)
    made.fetch(sight, ledger="sides", drop_failing=True, keep=Smaller(SIDE))
    for each in (whole, made):
        each.decide(FAILING)
    verdicts = whole.table("verdicts/sides")
    assert made.table("verdicts/sides").equals(verdicts)
    assert made.table("measured/image").equals(whole.table("measured/image"))
    # By the verdicts of the dataset that has all: a row a pair, and a pair an image.
    pairs = whole.table("pairs")["url"].str.split("/").list.last()
    failed = {name for name, mask in zip(pairs, verdicts["failed"], strict=True) if mask}
    stored = {name for name, content in made.bytes().items() if content is not None}
    assert stored == images.keys() - failed
    assert {"large3.jpg", "large4.jpg", "large5.jpg", "cut.jpg", "long.jpg", "flat.gif"} <= failed
    reasons = dict(made.table("images").select(pl.col("url").str.split("/").list.last(), "reason").iter_rows())
    assert reasons["long.jpg"] == "--drop-failing: it fails aspect"
    assert reasons["flat.gif"] == "--drop-failing: it fails format"
    (explained,) = why(made.dataset, "sides", text="a picture long.jpg")
    assert explained.outcome == "dropped"
    assert "the image was measured and is not stored: --drop-failing: it fails aspect" in explained.explanations
    # The same rules ask for nothing; others for what they no longer fail, and for no more.
    assert made.fetch(sight, ledger="sides", drop_failing=True, keep=Smaller(SIDE)).asked == 0
    looser = FAILING.replace("lt: 3", "lt: 30")
    made.decide(looser)
    report = made.fetch(sight, ledger="sides", drop_failing=True, keep=Smaller(SIDE))
    assert (report.asked, report.outcomes) == (1, {"ok": 1})
    assert made.bytes()["long.jpg"] is not None


SEVERAL = """
name: sides
rules:
  - {name: either, any: [{signal: min_side, gt: 60}, {all: [{signal: aspect, lt: 2}, {signal: format, eq: png}]}]}
  - {name: both, all: [{signal: n_words, ge: 1}, {signal: aspect, lt: 3}]}
  - {name: text_or_image, any: [{signal: n_words, ge: 99}, {signal: min_side, gt: 60}]}
  - {name: classes, signal: min_side, by: format, gt: {gif: 1000, else: 30}}
  - {signal: decodable, eq: true}
"""


def test_rules_of_several_tests_are_decided_as_images_arrive(make: Make) -> None:
    """By what follows from the image: what the text could save is not decided here, what it cannot is."""
    whole, made = make(), make()
    for each in (whole, made):
        each.decide(SEVERAL)
    whole.fetch(Sight())
    made.fetch(Sight(), ledger="sides", drop_failing=True, keep=Smaller(SIDE))
    for each in (whole, made):
        each.decide(SEVERAL)
    verdicts = whole.table("verdicts/sides")
    assert made.table("verdicts/sides").equals(verdicts)
    pairs = whole.table("pairs")["url"].str.split("/").list.last()
    failed = {name for name, mask in zip(pairs, verdicts["failed"], strict=True) if mask & 0b11011}
    assert {name for name, content in made.bytes().items() if content is not None} == pictures().keys() - failed
    reasons = dict(made.table("images").select(pl.col("url").str.split("/").list.last(), "reason").iter_rows())
    assert "classes" in reasons["flat.gif"]
    assert "both" in reasons["long.jpg"]
    assert not any("text_or_image" in (reason or "") for reason in reasons.values())
    assert {bool(mask & 0b100) for mask in verdicts["failed"]} == {False, True}


def test_a_ledger_without_rules_on_images_is_a_sentence(make: Make) -> None:
    made = make()
    made.decide("name: sides\nrules:\n  - {signal: n_words, ge: 1}\n")
    with pytest.raises(DatasetError, match=r"needs a ledger with a rule that an image alone decides.*; sides has none"):
        made.fetch(ledger="sides", drop_failing=True)


# Killed.


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("keep", ["original", Smaller(SIDE)])
def test_a_crash_at_every_single_commit(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool, keep: Any
) -> None:
    """Crash at the n-th file that appears, tars too, just before or just after, for every n; then run again."""
    monkeypatch.setattr("align_data.stages.fetch.Child", child_of(handler))
    decode_here(monkeypatch)
    clean = make(workers=1)

    def work(number: int) -> None:
        out = tmp_path / f"{number}"
        if not out.exists():
            shutil.copytree(clean.folder, out)
        Made(Dataset(Store(out)), out, clean.engine).fetch(Sight(), keep=keep)

    for number in Crashes(monkeypatch, before).everywhere(work, least=20):
        assert tree(tmp_path / f"{number}", *TABLES) == tree(tmp_path / "0", *TABLES), number
        assert not (tmp_path / f"{number}" / "_seen").exists()


@needs_proc
def test_killed_it_leaves_no_process_and_goes_on_to_the_same_bytes(make: Make, marked: None) -> None:
    options = ["--keep", str(SIDE), "--chunk", "5", "--all", "--allow-network", "127.0.0.0/8"]
    whole, killed = make(), make()

    def start(made: Made) -> subprocess.Popen[bytes]:
        # Not forked: what is forked cannot be told by its environment.
        command = [sys.executable, "-c", "from align_data.cli import main; main()", "fetch", str(made.folder)]
        return subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    for made, chunks in ((killed, 1), (killed, 3), (killed, None), (whole, None)):
        process = start(made)
        if chunks is not None:
            wait_for(lambda chunks=chunks: len(list(killed.folder.glob("_seen/*/part-*"))) >= chunks, process)
            assert children()
            process.kill()
        _, said = process.communicate(timeout=60)
        assert process.returncode == (0 if chunks is None else -signal.SIGKILL), said
        assert gone()  # those that decode too, which are children of children
    assert tree(killed.folder, *TABLES) == tree(whole.folder, *TABLES)
    assert not [path for path in killed.folder.rglob("*") if path.name.endswith(".tmp")]
    assert not (killed.folder / "_seen").exists()


# What a child says.

TASK = ChunkTask(3, "bytes/part-00000/001-00003", ("a", "b"), ("http://a/", "http://b/"))
SOUND = Inspected("ok", None, 90, 60, 10, "jpeg", "0" * 64, "0" * 32, True, 5)
SMALL = StoredFacts("jpeg", 72, 48, "1" * 64)
PLACE = (f"{TASK.tar}.tar", 512, 10)


@pytest.mark.parametrize(
    ("row", "possible"),
    [
        (Row("ok", None, False, *PLACE, SeenImage(SOUND)), True),
        (Row("ok", None, False, *PLACE, SeenImage(SOUND, SMALL)), True),
        (Row("ok", None, False, *PLACE, SeenImage(SOUND._replace(bytes=11))), False),
        (Row("ok", None, False, *PLACE, SeenImage(SOUND._replace(bytes=11), SMALL)), True),
        (Row("ok", None, False, *PLACE, SeenImage(SOUND._replace(bytes=-1), SMALL)), False),
        (Row("ok", None, False, *PLACE, SeenImage(SOUND._replace(further={"made_up": 1.0}))), False),
        (Row("ok", None, False, *PLACE, SeenImage(SOUND, SMALL._replace(width=0))), False),
        (Row("ok", None, False, *PLACE, SeenImage(SOUND, SMALL._replace(format="exe"))), False),
        (Row("ok", None, False, *PLACE, SeenImage(SOUND, SMALL._replace(sha256="x"))), False),
        (Row("not_kept", "--keep none", False, image=SeenImage(SOUND)), True),
        (Row("not_kept", "--keep none", False, image=SeenImage(SOUND, SMALL)), False),
        (Row("not_kept", "--keep none", False), False),
        (Row("not_kept", "--keep none", False, *PLACE, SeenImage(SOUND)), False),
        (Row("timeout", "late", True, image=SeenImage(SOUND)), False),
    ],
)
def test_what_cannot_have_been_seen_ends_the_child(row: Row, possible: bool) -> None:
    class Saying:
        def ask(self, _: Any) -> Iterator[Any]:
            yield (3, (plain_row(row), plain_row(Row("timeout", "late", True))))

        def misbehaved(self) -> ChildDiedError:
            return ChildDiedError("misbehaved")

    def said(types: Any) -> bool:
        try:
            return len(list(worker_replies.replies(Saying(), [TASK], types))) == 1  # type: ignore[arg-type]
        except ChildDiedError:
            return False

    assert said({}) == possible
    assert not said(None)  # where nobody was told to look


def plain_row(row: Row) -> Any:
    def tuples(value: Any) -> Any:
        return tuple(map(tuples, value)) if isinstance(value, list) else value

    return tuples(plain(row))


def test_what_ends_its_child_only_when_it_is_made_smaller_is_measured_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decode_here(monkeypatch)

    class Dying(decoder.Child):  # type: ignore[misc, valid-type]
        def ask_each(self, task: Any, makers: Any, seconds: float) -> Iterator[Any]:
            if any(len(image) == 3 for image in task):
                raise ChildDiedError("SIGSEGV")
            return super().ask_each(task, makers, seconds)

    monkeypatch.setattr(decoder, "Child", Dying)
    setup = DecoderSetup(ImageLimits(), None, (), Smaller(SIDE))
    content = jpeg(100, 80, 1)
    with closing(Inspector(setup)) as inspector:
        ((inspected, smaller),) = inspector.inspect([(content, ImageChecks())])
    assert (inspected.status, inspected.decodable, inspected.width, smaller) == ("ok", True, 100, None)
    assert inspected.phash is not None


def test_the_oldest_chunk_is_looked_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[bytes] = []

    class Slow:
        def __init__(self, _: Any) -> None:
            pass

        def inspect(self, images: Sequence[tuple[bytes, ImageChecks]]) -> Iterator[tuple[Inspected, None]]:
            for content, _ in images:
                order.append(content)
                if content == b"0":
                    begun.set_result(None)
                    gate.result(30)
                if content == b"4":
                    raise DatasetError("as may be")
                yield SOUND, None

        def close(self) -> None:
            order.append(b"closed")

    monkeypatch.setattr(looking, "Inspector", Slow)
    path = tmp_path / "spool"
    path.write_bytes(b"01234")
    begun, gate = Future[None](), Future[None]()
    with path.open("rb") as file, closing(Looker(LookSettings(None, ImageChecks()))) as looker:  # type: ignore[arg-type]
        jobs = [looker.look(9, BodySpan(file.fileno(), 0, 1), ImageChecks())]
        begun.result(30)
        jobs += [
            looker.look(chunk, BodySpan(file.fileno(), n, 1), ImageChecks()) for n, chunk in enumerate((5, 2, 2, 7), 1)
        ]
        gate.set_result(None)
        for job in jobs[:4]:
            assert job.result(30).inspected == SOUND
        with pytest.raises(DatasetError, match="as may be"):
            jobs[4].result(30)
    assert order == [b"0", b"2", b"3", b"1", b"4", b"closed"]
