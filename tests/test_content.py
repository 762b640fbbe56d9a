"""What `measure` makes of fetched bytes, against Pillow, imagehash and hashlib; and that nothing is looked at twice."""

from __future__ import annotations

import hashlib
import io
import math
import os
import random
import re
import shutil
import signal
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import forked
import hostile_images as hostile
import numpy as np
import oracle
import polars as pl
import pytest
from conftest import SCHEMA, read, tree, write_list
from in_process import decode_here
from onnx_models import card_text, classifier
from PIL import Image
from test_decoding import bits_apart, phash, upright

from align_data.common.errors import DatasetError, SignalError
from align_data.common.progress import NONE, Silent
from align_data.data.image_table import IMAGES, image_urls
from align_data.data.layout import Dataset
from align_data.data.meta import ImagesMeta
from align_data.data.references import give_blocklist
from align_data.decoding.detectors.nsfw import NsfwModel
from align_data.decoding.inspected import identities
from align_data.engines.local import LocalEngine
from align_data.fetching.outcome import retryable
from align_data.recipes.reading import parse
from align_data.stages.ingest import Parts, ingest
from align_data.stages.measure import MeasureReport, Sight, measure
from align_data.stages.pipeline import Decision, decide_ledger
from align_data.storage.store import Store
from align_data.storage.tables import Table
from align_data.storage.tars import TarWriter

Outcome = bytes | str
"""What became of a URL: its bytes, or the status of fetching."""
BYTES = ("width", "height", "bytes", "format", "sha256", "md5", "decodable", "phash")


class Counted(Silent):
    """Counts the images that are looked at, by what they come to."""

    def __init__(self) -> None:
        self.looked: Counter[str] = Counter()
        self.done: Counter[str] = Counter()

    @contextmanager
    def step(self, title: str, total: int | None, unit: str) -> Iterator[Any]:
        def tick(done: int, outcomes: Mapping[str, int] = NONE, *_: Mapping[str, int]) -> None:
            self.done[title] += done
            self.looked.update(outcomes)

        yield tick
        if title == "measure: images":
            assert self.done[title] == total


class Pool:
    """A dataset, and what became of its URLs."""

    def __init__(self, folder: Path, found: Mapping[str, Outcome], texts: int = 2, part_rows: int = 10**6) -> None:
        self.found = dict(found)
        rows = [
            {**dict.fromkeys(SCHEMA), "url": url, "alt_text": f"text {n}", "declared_width": 40, "declared_height": 30}
            for number, url in enumerate(found)
            for n in range(1 + number % texts)
        ]
        self.dataset = Dataset(Store(folder / "dataset"))
        self.engine = LocalEngine(folder / "work", 1)
        ingest(write_list(folder / "lists", rows), self.dataset, self.engine, Silent(), parts=Parts(rows=part_rows))
        self.run = 0
        self.fetch()

    @property
    def folder(self) -> Path:
        return Path(self.dataset.store.url)

    def fetch(self, **found: Outcome) -> None:
        """Do as `fetch` does: what is final stays where it is, what comes anew comes to another tar."""
        self.run += 1
        self.found |= found
        pairs, images = self.dataset.ingested(), self.dataset.images
        infos = []
        for part in range(len(pairs.parts)):
            before = {}
            if self.run > 1:
                before = {row["url"]: row for piece in images.pieces(part, list(IMAGES)) for row in piece.to_dicts()}
            with TarWriter(self.dataset.store, f"bytes/part-{part:05d}/{self.run:03d}-00000") as tar:
                rows = [
                    self._row(url, before.get(url), found, tar) for url in image_urls(self.dataset, part, None)["url"]
                ]
            with images.writer(part, {"run": self.run}) as writer:
                writer.write(pl.DataFrame(rows, IMAGES))
            infos.append(writer.info)
        meta = {"run": self.run, "pairs": pairs.fingerprint, "asked": "all", "policy": {}, "statuses": {}}
        images.commit(infos, ImagesMeta.model_validate(meta))

    def _row(
        self, url: str, before: dict[str, Any] | None, found: Mapping[str, Outcome], tar: TarWriter
    ) -> dict[str, Any]:
        if before is not None and url not in found:
            return before
        row: dict[str, Any] = {**dict.fromkeys(IMAGES), "url": url, "status": "ok", "retryable": False}
        outcome = self.found[url]
        if isinstance(outcome, str):
            return {**row, "status": outcome, "reason": f"it is {outcome}", "retryable": retryable(outcome)}
        place = tar.add(url.rpartition("/")[2], io.BytesIO(outcome), len(outcome))
        return {**row, "tar": place.tar, "offset": place.offset, "size": place.size}

    def measure(self, *names: str, workers: int = 1, **sight: Any) -> tuple[MeasureReport, Counter[str]]:
        """Measure; return what was done, and the images that were looked at."""
        progress = Counted()
        engine = LocalEngine(self.engine.work, workers)
        measured = measure(self.dataset, engine, progress, names or NAMES, sight=Sight(**sight))
        return measured, progress.looked

    @property
    def values(self) -> pl.DataFrame:
        """Every pair with its image signals."""
        return read(self.dataset, "pairs").hstack(read(self.dataset, "measured/image"))

    def column(self, name: str) -> dict[str, Any]:
        """Return URL → value, which all pairs of a URL share."""
        values = self.values.group_by("url").agg(pl.col(name).n_unique().alias("n"), pl.col(name).first())
        assert set(values["n"]) <= {1}
        return dict(values.select("url", name).iter_rows())

    @property
    def decoded(self) -> set[str]:
        """The URLs whose images are good."""
        return {url for url, outcome in self.found.items() if expected(outcome)["decodable"]}


NAMES = (*BYTES, "min_side", "aspect")
_GOOD = {content: name for name, content in hostile.good().items()}


def expected(outcome: Outcome) -> dict[str, Any]:
    """Return what is to be measured of a URL, by Pillow, imagehash and hashlib; no size and no hash of what is broken."""
    row = dict.fromkeys(BYTES)
    if isinstance(outcome, str):
        return {**row, "decodable": None if retryable(outcome) else False}
    row |= {"bytes": len(outcome), "decodable": outcome in _GOOD}
    row |= {"sha256": hashlib.sha256(outcome).hexdigest(), "md5": hashlib.md5(outcome).hexdigest()}
    if outcome in _GOOD:
        image = upright(outcome)
        row |= {"width": image.width, "height": image.height, "format": _GOOD[outcome].partition("/")[0]}
        if _GOOD[outcome] not in hostile.DEEP:
            row["phash"] = phash(image)
    return row


def check(values: pl.DataFrame, found: Mapping[str, Outcome]) -> None:
    """Assert that every pair has what is to be measured of its URL."""
    assert set(values["url"]) == set(found)
    for row in values.to_dicts():
        outcome = found[row["url"]]
        want = expected(outcome)
        if want["decodable"]:
            for name, value in want.items():
                assert row[name] == value or (name == "phash" and _GOOD[outcome] in hostile.DEEP), (row["url"], name)
        else:
            names = ("bytes", "sha256", "md5", "decodable") if isinstance(outcome, bytes) else BYTES
            assert {name: row[name] for name in names} == {name: want[name] for name in names}
            assert row["phash"] is None
        sides = (row["width"], row["height"]) if row["width"] is not None else (40, 30)
        assert (row["min_side"], row["aspect"]) == (oracle.min_side(*sides), oracle.aspect(*sides))


STATUSES = ("untried", "timeout", "dns", "http_503", "http_404", "refused_address", "opted_out", "not_an_image")


def some(number: int = 20) -> dict[str, Outcome]:
    """Return URLs of every kind."""
    chance = random.Random(1)
    contents = chance.sample(list(hostile.good().values()), number) + chance.sample(list(hostile.broken().values()), 6)
    contents += [hostile.too_large()["png"][0], hostile.NO_IMAGE["html"], b""]
    return {f"http://a/{n}": outcome for n, outcome in enumerate([*contents, *STATUSES])}


@pytest.fixture
def pool(tmp_path: Path) -> Callable[..., Pool]:
    """Make a dataset of some URLs, in a folder of its own each time."""

    def make(found: Mapping[str, Outcome] | None = None, **options: Any) -> Pool:
        return Pool(tmp_path / uuid.uuid4().hex, some() if found is None else found, **options)

    return make


@pytest.fixture
def children() -> None:
    """Ask for real child processes."""


@pytest.fixture(autouse=True)
def here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "children" not in request.fixturenames:
        decode_here(monkeypatch)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)


# --- values ---


def test_every_pair_has_its_images_values(pool: Any, children: None) -> None:
    made = pool(some(len(hostile.good())), texts=3)
    measured, looked = made.measure()
    assert set(measured.measured) == set(NAMES)
    check(made.values, made.found)
    content = read(made.dataset, "content")
    assert looked == Counter(content.filter(pl.col("tar").is_not_null())["status"])
    # Again: nothing is to do.
    before = tree(made.folder)
    measured, looked = made.measure()
    assert (measured.measured, looked) == ([], Counter())
    assert tree(made.folder) == before


@pytest.mark.parametrize(("workers", "chunk", "part_rows"), [(1, 1, 10**6), (1, 3, 10**6), (1, 3, 7), (1, 2048, 7)])
def test_values_do_not_depend_on_how_work_is_cut(pool: Any, workers: int, chunk: int, part_rows: int) -> None:
    cut(pool, workers, chunk, part_rows)


@pytest.mark.parametrize(("workers", "chunk", "part_rows"), [(2, 3, 10**6), (2, 2048, 20)])
def test_nor_on_how_many_processes_there_are(
    pool: Any, children: None, workers: int, chunk: int, part_rows: int
) -> None:
    cut(pool, workers, chunk, part_rows)


def cut(pool: Any, workers: int, chunk: int, part_rows: int) -> None:
    made = pool(part_rows=part_rows)
    assert (len(made.dataset.ingested().parts) > 1) == (part_rows < 10**6)
    made.measure(workers=workers, chunk=chunk)
    check(made.values, made.found)
    plain = pool()
    plain.measure()
    assert made.values.sort("uid").equals(plain.values.sort("uid"))
    content = [read(each.dataset, "content").drop("tar", "offset").sort("url") for each in (made, plain)]
    assert content[0].equals(content[1])
    assert not (made.folder / "_content").exists()


@pytest.mark.parametrize("found", [{}, dict.fromkeys(("http://a/1", "http://a/2"), "http_404"),
                                   dict.fromkeys(("http://a/1", "http://a/2"), "timeout")])  # fmt: skip
def test_where_there_is_nothing_to_look_at(pool: Any, found: dict[str, Outcome]) -> None:
    made = pool(found)
    _, looked = made.measure()
    assert not looked
    check(made.values, made.found)


def test_without_images_sizes_are_the_declared(pool: Any) -> None:
    made = pool()
    made.dataset.images.retract()
    made.measure("min_side", "aspect")
    assert set(made.values["min_side"]) == {30}
    with pytest.raises(SignalError, match="width cannot be measured: it would need the images: align-data fetch"):
        made.measure("width")


def test_a_signal_may_change_its_mind_with_the_images(pool: Any) -> None:
    """Declared sizes first, then the measured ones, without being asked to forget."""
    made = pool()
    manifest = made.dataset.images.committed()
    made.dataset.images.retract()
    made.measure("min_side", "aspect")
    made.dataset.images.commit(manifest.parts, manifest.meta)
    with pytest.raises(DatasetError, match="measured before the last fetch"):
        decide(made, "{signal: min_side, gt: 0}")
    made.measure()
    check(made.values, made.found)


# --- nothing twice, and nothing stale ---


def decide(made: Pool, rule: str, name: str = "test") -> pl.DataFrame:
    """Decide by one rule."""
    recipe = parse(f"name: {name}\nrules:\n  - {rule}\n", "test.yaml")
    decide_ledger(Decision(recipe), made.dataset, made.engine, Silent())
    return read(made.dataset, f"verdicts/{name}")


def test_a_refetch_makes_values_stale_and_measure_mends_what_has_changed(pool: Any) -> None:
    made = pool()
    made.measure()
    ledger = decide(made, "{signal: decodable, eq: true}")
    urls = {outcome: url for url, outcome in made.found.items() if isinstance(outcome, str)}
    good = list(hostile.good().values())
    new = {urls["timeout"]: good[0], urls["dns"]: "http_404", urls["untried"]: hostile.NO_IMAGE["pdf"]}
    made.fetch(**new)
    sentence = r"decodable.* were measured before the last fetch.*align-data measure"
    with pytest.raises(DatasetError, match=sentence):
        decide(made, "{signal: decodable, eq: true}")
    for old in made.folder.glob("bytes/*/001-*.tar"):
        old.write_bytes(b"no one may look here")
    measured, looked = made.measure()
    assert set(measured.measured) == set(NAMES)
    assert looked == Counter({"ok": 1, "not_an_image": 1})
    check(made.values, made.found)
    assert not decide(made, "{signal: decodable, eq: true}").equals(ledger)


def test_an_image_that_has_gone_leaves_nothing_behind(pool: Any) -> None:
    made = pool()
    made.measure()
    gone = next(iter(made.decoded))
    made.fetch(**{gone: "http_404"})
    made.measure()
    check(made.values, made.found)
    assert made.column("sha256")[gone] is None


def test_an_image_that_has_changed_is_looked_at_anew(pool: Any) -> None:
    made = pool()
    made.measure()
    contents = list(hostile.good().values())
    changed = {url: contents[n] for n, url in enumerate(sorted(made.decoded)[:5])}
    made.fetch(**changed)
    _, looked = made.measure()
    assert looked == Counter({"ok": 5})
    check(made.values, made.found)


def test_an_interrupted_fetch_leaves_nothing_that_can_mislead(pool: Any) -> None:
    made = pool()
    made.measure()
    made.dataset.images.retract()
    with pytest.raises(DatasetError, match="measure them again"):
        decide(made, "{signal: decodable, eq: true}")
    measured = measure(made.dataset, made.engine, Silent())
    assert "need the images" in measured.missing["decodable"]
    assert set(decide(made, "{signal: decodable, eq: true}")["unknown"]) == {1}
    made.fetch()
    made.measure()
    check(made.values, made.found)


def test_the_header_alone_first(pool: Any) -> None:
    """Sizes without decoding, of what cannot be decoded too; decoding comes later, and takes no header again."""
    cut = {name: content for name, content in hostile.broken().items() if "png/rgb cut" in name}
    found: dict[str, Outcome] = {f"http://cut/{n}": content for n, content in enumerate(cut.values())}
    made = pool(some() | found)
    made.measure("width")
    assert read(made.dataset, "measured/image").columns == ["width"]
    widths = made.column("width")
    assert {widths[url] for url in [*found, *made.decoded]} == {hostile.WIDTH}
    content = read(made.dataset, "content")
    assert content["phash"].null_count() == len(content)
    assert content.filter(pl.col("url").str.contains("http://cut/"))["decodable"].null_count() == len(found)
    hashes = content["sha256"]
    _, looked = made.measure()
    # What is known to be no image is not decoded.
    assert looked.total() == content.filter(pl.col("tar").is_not_null())["decodable"].null_count()
    check(made.values, made.found)
    assert read(made.dataset, "content")["sha256"].equals(hashes)
    assert made.column("width") == widths
    whole = pool(made.found)
    whole.measure()
    assert read(made.dataset, "content").equals(read(whole.dataset, "content"))


@pytest.mark.parametrize("first", [1, 1000])
def test_other_max_pixels_change_only_what_lies_between(pool: Any, first: int) -> None:
    found = {f"http://a/{side}": hostile.empty_png(side, 10) for side in (20, 100, 101, 300)}
    made = pool({**found, "http://a/x": b"no", "http://a/y": "http_404"})
    made.measure(max_pixels=first)
    _, looked = made.measure(max_pixels=1000)
    assert looked == (Counter({"ok": 2}) if first == 1 else Counter())
    good = {f"http://a/{side}": side <= 100 for side in (20, 100, 101, 300)}
    assert made.column("decodable") == {**good, "http://a/x": False, "http://a/y": False}
    assert made.column("width") == {f"http://a/{s}": s for s in (20, 100, 101, 300)} | dict.fromkeys(
        ("http://a/x", "http://a/y")
    )
    # Wider, and narrower again: each time only what lies between.
    _, looked = made.measure(max_pixels=2000)
    assert looked == Counter({"ok": 1})
    _, looked = made.measure(max_pixels=999)
    assert looked == Counter({"too_many_pixels": 2})
    plain = pool(made.found)
    plain.measure(max_pixels=999)
    assert read(made.dataset, "content").equals(read(plain.dataset, "content"))


def test_what_hung_is_tried_again_with_more_time(pool: Any, children: None) -> None:
    slow = hostile.slow_jpeg(8192, scans=500)
    made = pool({"http://a/1": hostile.good()["png/rgb"], "http://a/2": slow, "http://a/3": b""})
    _, looked = made.measure(seconds=0.5)
    assert looked == Counter({"ok": 1, "hung": 1, "not_an_image": 1})
    assert made.column("decodable") == {"http://a/1": True, "http://a/2": False, "http://a/3": False}
    assert made.column("sha256")["http://a/2"] == hashlib.sha256(slow).hexdigest()
    assert made.measure(seconds=0.5)[1] == made.measure(seconds=0.4)[1] == Counter()
    assert made.measure(seconds=60.0)[1] == Counter({"ok": 1})
    assert made.column("decodable")["http://a/2"] is True
    assert made.measure(seconds=0.5)[1] == Counter()


@pytest.mark.parametrize("look_", ["header", "pixels"])
def test_another_version_of_a_decoder_looks_again(pool: Any, monkeypatch: pytest.MonkeyPatch, look_: str) -> None:
    made = pool()
    made.measure()
    before, content = made.values, read(made.dataset, "content")
    today = identities(None, {})
    changed = {**today, look_: {**(today[look_] or {}), "pillow": "1"}}
    monkeypatch.setattr("align_data.data.columns.looks", lambda *_: changed)
    decide(made, "{signal: decodable, eq: true}")  # what is stored is of use whatever is installed where it is read
    _, looked = made.measure()
    there = content.filter(pl.col("tar").is_not_null())
    assert looked.total() == len(there)
    assert made.values.equals(before)
    assert read(made.dataset, "content").equals(content)


def crash_after(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Let a run end just before this table's manifest is written."""
    commit = Table.commit

    def crashing(self: Table, *arguments: Any) -> Any:
        if self.name == what:
            raise KeyboardInterrupt
        return commit(self, *arguments)

    monkeypatch.setattr(Table, "commit", crashing)


def test_a_run_of_other_options_that_was_killed_leaves_nothing(pool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of the killed run are there under the manifest of the one before: they must not be taken for its."""
    made = pool(part_rows=7)
    made.measure()
    before = tree(made.folder, "content", "measured")
    with monkeypatch.context() as patch:
        crash_after(patch, "content")
        with pytest.raises(KeyboardInterrupt):
            made.measure(max_pixels=10)
    assert tree(made.folder, "content") != {name: b for name, b in before.items() if name.startswith("content")}
    made.measure()
    assert tree(made.folder, "content", "measured") == before
    check(made.values, made.found)


# --- the detector ---


WEIGHTS = [[0.0, 0.0, 0.0], [1.0, 2.0, -1.5]]


@pytest.fixture
def detector(tmp_path: Path) -> Callable[..., NsfwModel]:
    def make(name: str = "one", weights: Any = WEIGHTS, **card: Any) -> NsfwModel:
        path = tmp_path / f"{name}.onnx"
        classifier(path, weights, [0, -0.5])
        path.with_suffix(".yaml").write_text(card_text(**card))
        return NsfwModel(str(path))

    return make


def score(content: bytes) -> float:
    """Return what the detector gives, by hand: the logistic function of its weights times the channels' means."""
    small = upright(content).convert("RGB").resize((8, 8), Image.Resampling.BILINEAR)
    red, green, blue = np.asarray(small).reshape(-1, 3).mean(axis=0) / 255
    return 1 / (1 + math.exp(-(red + 2 * green - 1.5 * blue - 0.5)))


def scores(made: Pool, of: set[str]) -> None:
    """Assert that exactly these URLs have scores, and which."""
    found = made.column("nsfw")
    assert {url for url, value in found.items() if value is not None} == of
    for url in of:
        assert found[url] == pytest.approx(score(made.found[url]), abs=1e-5)


def plain_images() -> dict[str, Outcome]:
    """Return good images of 8 bits and RGB, whose score is easily worked out, and some others."""
    made: dict[str, Outcome] = {
        f"http://a/{n}": hostile.file(hostile.picture(60 + n, 50, seed=n), "PNG") for n in range(12)
    }
    for content in made.values():
        _GOOD[content] = "png/rgb"
    return {
        **made,
        "http://b/1": hostile.broken()["png/rgb cut at 50 %"],
        "http://b/2": "http_404",
        "http://b/3": "dns",
    }


def test_scores_come_later_and_undo_nothing(pool: Any, detector: Any) -> None:
    made = pool(plain_images())
    measured = measure(made.dataset, made.engine, Silent())
    assert "need --nsfw-model" in measured.missing["nsfw"]
    before = made.values
    measured, looked = made.measure("nsfw", nsfw=detector())
    assert looked == Counter({"ok": 12})  # what cannot be decoded is not tried again
    assert "nsfw" in measured.measured
    scores(made, made.decoded)
    assert made.values.drop("nsfw").equals(before)
    check(made.values, made.found)
    # With all of it from the start, the same.
    whole = pool(made.found)
    whole.measure(*NAMES, "nsfw", nsfw=detector())
    assert whole.values.select(made.values.columns).equals(made.values)
    assert made.measure(*NAMES, "nsfw", nsfw=detector()) == (MeasureReport([], [*NAMES, "nsfw"], {}), Counter())
    # And without the detector they stay.
    assert made.measure(*NAMES, "nsfw")[1] == made.measure()[1] == Counter()
    scores(made, made.decoded)


def test_another_detector_scores_all_again_and_decodes_nothing_else(pool: Any, detector: Any) -> None:
    made = pool(plain_images())
    made.measure(*NAMES, "nsfw", nsfw=detector("other", [[0, 0, 0], [9, 9, 9]]))
    hashes = made.column("phash")
    _, looked = made.measure("nsfw", nsfw=detector())
    assert looked == Counter({"ok": 12})
    scores(made, made.decoded)
    assert made.column("phash") == hashes


def wide(made: Pool) -> set[str]:
    """Return the URLs that the ledger `wide` keeps open, of a pool of plain images."""
    decide(made, "{signal: width, gt: 65}", "wide")
    return {f"http://a/{n}" for n in range(6, 12)}


def test_only_open_pairs_are_scored_and_later_the_rest(pool: Any, detector: Any) -> None:
    made = pool(plain_images())
    made.measure()
    open_ = wide(made)
    _, looked = made.measure("nsfw", nsfw=detector(), only_open="wide")
    assert looked == Counter({"ok": 6})
    scores(made, open_)
    assert made.measure("nsfw", nsfw=detector(), only_open="wide")[1] == Counter()
    _, looked = made.measure("nsfw", nsfw=detector())
    assert looked == Counter({"ok": 6})
    scores(made, made.decoded)
    check(made.values, made.found)


def test_a_run_without_the_detector_does_not_hide_what_is_still_to_be_scored(pool: Any, detector: Any) -> None:
    made = pool(plain_images())
    made.measure()
    open_ = wide(made)
    made.measure("nsfw", nsfw=detector(), only_open="wide")
    before = tree(made.folder, "content")
    measure(made.dataset, made.engine, Silent())
    assert tree(made.folder, "content") == before
    scores(made, open_)
    _, looked = made.measure("nsfw", nsfw=detector())
    assert looked == Counter({"ok": 6})
    scores(made, made.decoded)


def test_images_that_come_after_the_scores_are_scored_too(pool: Any, detector: Any) -> None:
    made = pool(plain_images())
    made.measure(*NAMES, "nsfw", nsfw=detector())
    scored = made.decoded
    new = hostile.file(hostile.picture(99, 70, seed=99), "PNG")
    _GOOD[new] = "png/rgb"
    made.fetch(**{"http://b/3": new})
    measure(made.dataset, made.engine, Silent())  # all that can be, without the detector
    scores(made, scored)
    check(made.values, made.found)
    # Another detector, given where no score is asked for, scores nothing.
    assert made.measure("width", nsfw=detector("other", [[0, 0, 0], [9, 9, 9]]))[1] == Counter()
    _, looked = made.measure("nsfw", nsfw=detector())
    assert looked == Counter({"ok": 1})
    scores(made, made.decoded)


def test_scores_outlive_another_max_pixels(pool: Any, detector: Any) -> None:
    made = pool(plain_images())
    made.measure(*NAMES, "nsfw", nsfw=detector())
    made.measure(*NAMES, "nsfw", max_pixels=65 * 50)
    small = {f"http://a/{n}" for n in range(6)}
    scores(made, small)
    made.measure(*NAMES, "nsfw")
    scores(made, small)
    _, looked = made.measure("nsfw", nsfw=detector())
    assert looked == Counter({"ok": 6})
    scores(made, made.decoded)


def test_an_image_that_the_detector_cannot_score(pool: Any, detector: Any) -> None:
    """A card that does not fit shows on some images only: they have no score, and the run goes on."""
    dark, light = (hostile.file(Image.new("RGB", (40, 40), (n, n, n)), "PNG") for n in (20, 240))
    made = pool({"http://a/1": dark, "http://a/2": light, "http://a/3": dark + b"x"})
    choice = detector("odd", [[1, 1, 1], [1, 1, 1]], output="probabilities")
    card = Path(choice.model).with_suffix(".yaml")
    classifier(Path(choice.model), [[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]], [1, 0])
    card.write_text(card_text(output="probabilities"))
    _, looked = made.measure(*NAMES, "nsfw", nsfw=choice)
    assert looked == Counter({"ok": 2, "unscored": 1})
    content = read(made.dataset, "content").filter(pl.col("url") == "http://a/2")
    assert "not a probability" in content["reason"].item()
    found = made.column("nsfw")
    assert found["http://a/2"] is None
    assert found["http://a/1"] == found["http://a/3"] == pytest.approx(1.5 * 20 / 255, abs=1e-5)
    assert set(made.column("decodable").values()) == {True}
    assert bits_apart(made.column("phash")["http://a/1"], made.column("phash")["http://a/3"]) == 0


def test_a_ledger_that_is_not_there_is_a_sentence(pool: Any) -> None:
    made = pool({"http://a/1": "dns"})
    with pytest.raises(DatasetError, match="has no ledger align; there are: none"):
        made.measure(only_open="align")


# --- what goes wrong ---


@pytest.mark.parametrize(("how", "workers"), [("gone", 1), ("gone", 2), ("cut", 2), ("folder", 1)])
def test_a_damaged_tar_is_a_sentence(pool: Any, children: None, how: str, workers: int) -> None:
    made = pool()
    (tar,) = made.folder.glob("bytes/*/*.tar")
    content = tar.read_bytes()
    tar.unlink()
    if how == "cut":
        tar.write_bytes(content[: len(content) // 2])
    elif how == "folder":
        tar.mkdir()
    sentence = r"bytes/part-00000/001-00000\.tar.*; the dataset is damaged: put the file back, or remove its folders"
    with pytest.raises(DatasetError, match=sentence):
        made.measure(workers=workers, chunk=3)
    # What was finished stays, and with the bytes back the same command goes on.
    if how == "folder":
        tar.rmdir()
    tar.write_bytes(content)
    made.measure(workers=workers, chunk=3)
    check(made.values, made.found)


MARK = f"ALIGN_DATA_TEST_OF_KILLING_{os.getpid()}"  # other suites may run beside this one


def start(folder: Path, mark: str, *options: object) -> forked.Popen:
    """Measure as a user does, in a process that can be told with all of its children."""
    code = "from align_data.cli import main; main()"
    names = ["--signals", ",".join((*NAMES, "n_words")), "--chunk", "2", "--workers", "2"]
    command = [sys.executable, "-c", code, "measure", str(folder), *names, *map(str, options)]
    environment = {**os.environ, MARK: mark}
    return forked.Popen(command, env=environment, stdout=forked.DEVNULL, stderr=forked.PIPE)


def alive(mark: str) -> list[str]:
    """Return the processes of a run, its children too, that have not ended."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                inside = f"{MARK}={mark}".encode() in (process / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if inside:
                found.append(process.name)
    return found


def ended(mark: str) -> bool:
    """Wait a while for all processes of a run to end."""
    for _ in range(300):
        if not alive(mark):
            return True
        time.sleep(0.05)
    return False


def finish(process: forked.Popen) -> bytes:
    _, said = process.communicate()
    return said


def test_killed_again_and_again(tmp_path: Path) -> None:
    """Killed at any moment and run again: the same bytes as an undisturbed run, and no process is left."""
    slow = {f"http://slow/{n}": hostile.slow_jpeg(4096, scans=150 + n) for n in range(4)}
    made, out = Pool(tmp_path / "undisturbed", some(12) | slow), tmp_path / "killed"
    before = tmp_path / "before"
    shutil.copytree(made.folder, before)
    began = time.monotonic()
    process = start(made.folder, "undisturbed")
    said = finish(process)
    assert process.returncode == 0, said
    seconds = time.monotonic() - began
    chance = random.Random(4)
    kills = 0
    for sooner in range(1, 9):  # what is told by the clock of a busy machine may come too late for a run that is faster
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(before, out)
        process = None
        while process is None or process.returncode != 0:
            process = start(out, f"{sooner}-{kills}")
            try:
                process.wait(chance.uniform(0.5, 0.95) * seconds / sooner if kills < 4 else None)
            except forked.TimeoutExpired:
                process.kill()
            said = finish(process)
            assert ended(f"{sooner}-{kills}")
            assert process.returncode in (0, -signal.SIGKILL), said
            kills += process.returncode != 0
        assert tree(out) == tree(made.folder)
        if kills:
            break
    assert kills


def test_a_kill_between_the_last_word_and_tidying_up(pool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = pool()
    made.measure()
    whole = tree(made.folder)
    again = pool()
    with monkeypatch.context() as patch:
        clear = Store.clear

        def crashing(self: Store, name: str, form: re.Pattern[str]) -> None:
            if name == "_content":
                raise KeyboardInterrupt
            clear(self, name, form)

        patch.setattr(Store, "clear", crashing)
        with pytest.raises(KeyboardInterrupt):
            again.measure()
    assert (again.folder / "_content").exists()
    _, looked = again.measure()
    assert not looked
    assert tree(again.folder, "content", "measured") == tree(made.folder, "content", "measured")
    assert whole.keys() == tree(again.folder).keys()


@pytest.mark.parametrize(
    "names", [("width",), ("decodable",), ("phash", "nsfw"), ("blocked",), ("nsfw",), ("min_side",)]
)
def test_signals_one_by_one_are_the_same_as_together(pool: Any, detector: Any, names: Sequence[str]) -> None:
    """Whatever is measured first, all of it comes to the same in the end."""
    found = plain_images() | some(5)
    found |= {"http://c/1": hostile.broken()["jpeg/rgb cut at 50 %"], "http://c/2": hostile.announced_png(9999, 9999)}
    made, whole = pool(found), pool(found)
    for each in (made, whole):
        listed = each.folder.parent / "blocklist.txt"
        listed.write_text(f"sha256 {hashlib.sha256(found['http://a/3']).hexdigest()}\n")
        give_blocklist(each.dataset, str(listed))
    every = (*NAMES, "nsfw", "blocked")
    made.measure(*names, nsfw=detector())
    if "blocked" in names:
        assert made.column("blocked")["http://a/3"] is True
    made.measure(*every, nsfw=detector())
    whole.measure(*every, nsfw=detector())
    assert made.values.select(whole.values.columns).equals(whole.values)
    assert read(made.dataset, "content").equals(read(whole.dataset, "content"))
