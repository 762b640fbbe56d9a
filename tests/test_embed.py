"""Embed: a vector for each image that can be decoded, whatever kills, workers, engine and store there are."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import fsspec
import numpy as np
import polars as pl
import pytest
from conftest import read, tree, write_list
from in_process import prepare_here
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from test_cli import answer, call
from test_shards import fetched
from tiny_encoders import write_encoder

from align_data.common.errors import DatasetError, SignalError
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.decoding.inputs.preparation import Preparation
from align_data.decoding.inspected import ImageLimits
from align_data.decoding.preparing import preparer
from align_data.decoding.preparing.pool import PreparationPool
from align_data.engines.base import Engine
from align_data.engines.local import LocalEngine
from align_data.models.encoder import ModelIdentity
from align_data.models.opening import open_model
from align_data.models.sharing import SharedModel
from align_data.models.spaces import SPHERE, Space
from align_data.recipes.reading import parse
from align_data.stages.embed import EmbedReport, embed
from align_data.stages.embed import images as embedding
from align_data.stages.grow import grow
from align_data.stages.measure import measure
from align_data.stages.pipeline import Decision, decide_ledger
from align_data.stages.score import score, score_embedded
from align_data.stages.takedown import TakedownReport, takedown
from align_data.stages.takedown import part as taking_down
from align_data.stages.takedown import read as read_lists
from align_data.storage.store import Store
from align_data.storage.tars import TarWriter

SIDE = 8


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    exact = np.asarray(vectors, np.float64) + 1e-9
    return (exact / np.linalg.norm(exact, axis=1, keepdims=True)).astype(np.float32)


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split()] if text else [1, 2, 3, 4, 5, 6]


@dataclass
class Eye:
    """An encoder that sees the mean colours above and below, and reads a text as six numbers."""

    name: str = "eye"
    sign: int = 1
    side: int = SIDE
    fails_after: int | None = None
    """Images that it sees before something breaks."""
    seen: list[int] = field(default_factory=list)
    """Images of each call."""
    texts_read: list[str] = field(default_factory=list)
    device: str = "cpu"
    dim: int = 6
    space: Space = SPHERE

    @property
    def identity(self) -> ModelIdentity:
        return ModelIdentity("eye", sha256(self.name.encode()), {"eye": "1.0"})

    @property
    def preparation(self) -> Preparation:
        return Preparation(self.side, self.side, "bilinear")

    def images(self, pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        if self.fails_after is not None and sum(self.seen) + len(pixels) > self.fails_after:
            self.fails_after = 0  # batches that are on their way break too
            raise KeyboardInterrupt
        self.seen.append(len(pixels))
        stacked = np.stack(pixels)
        assert stacked.shape[1:] == (self.side, self.side, 3)
        assert stacked.dtype == np.uint8
        half = self.side // 2
        return unit(np.hstack([stacked[:, :half].mean((1, 2)), stacked[:, half:].mean((1, 2))]) * self.sign)

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.texts_read += texts
        return unit(np.array([numbers(text) for text in texts]))


def png(above: Sequence[int], below: Sequence[int] | None = None) -> bytes:
    image = Image.new("RGB", (40, 30), tuple(above))
    image.paste(tuple(below or above), (0, 15, 40, 30))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def seen_by_eye(content: bytes) -> NDArray[np.float64]:
    """Return what the eye makes of an image, by Pillow and numpy alone."""
    image = Image.open(io.BytesIO(content)).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, np.float64)
    vector = np.concatenate([pixels[: SIDE // 2].mean((0, 1)), pixels[SIDE // 2 :].mean((0, 1))]) + 1e-9
    return vector / np.linalg.norm(vector)


@dataclass(frozen=True)
class World:
    dataset: Dataset
    images: dict[str, bytes]
    """URL → bytes, of those that can be decoded."""


def world(folder: Path, parts: int = 20) -> World:
    """Make a fetched dataset: images with several texts, equal ones under several URLs, gone ones and broken ones."""
    chance = np.random.default_rng(3)
    contents = [png(*chance.integers(0, 256, (2, 3)).tolist()) for _ in range(30)]
    urls = [f"http://h{n % 3}/{n}.png" for n in range(45)]
    images = {url: contents[n % 30] for n, url in enumerate(urls) if n % 7}
    broken = [url for n, url in enumerate(images) if n % 9 == 0]
    images |= {url: images[url][:60] for url in broken}
    rows = [
        {"url": url, "alt_text": " ".join(map(str, chance.integers(-9, 10, 6))) if k else ""}
        for n, url in enumerate(urls)
        for k in range(1 + n % 3)
    ]
    dataset = fetched(folder / "dataset", rows, images, parts=parts)
    return World(dataset, {url: content for url, content in images.items() if url not in broken})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world(tmp_path_factory.mktemp("embedded"))


@pytest.fixture
def copy(made: World, tmp_path: Path) -> World:
    return copied(made, tmp_path / "dataset")


def copied(made: World, folder: Path) -> World:
    shutil.copytree(made.dataset.store.url, folder)
    return World(Dataset(Store(folder)), made.images)


def run(dataset: Dataset, model: Any, name: str = "eye", children: int = 0, **options: Any) -> EmbedReport:
    """Embed; images are prepared in this process, unless there are children."""
    engine, shared = LocalEngine(dataset.store.work, 1), SharedModel.holding("eye", None, model)
    with pytest.MonkeyPatch.context() as patch:
        if not children:
            prepare_here(patch)
        return embed(shared, dataset, name, engine, Silent(), children or 1, **options)


def by_part(dataset: Dataset, images: dict[str, bytes]) -> list[dict[str, bytes]]:
    """Return the distinct images of each part, by their SHA-256."""
    parts = range(len(dataset.ingested().parts))
    urls = [pl.concat(dataset.images.pieces(part, ["url"]))["url"] for part in parts]
    return [{sha256(images[url]): images[url] for url in each if url in images} for each in urls]


def stored(dataset: Dataset, part: int, name: str = "eye") -> dict[str, NDArray[np.float16]]:
    rows = pl.read_parquet(f"{dataset.store.url}/embedded/{name}/part-{part:05d}.parquet")
    assert rows["sha256"].is_unique().all()
    return {key: np.frombuffer(value, "<f2") for key, value in rows.select("sha256", "embedding").iter_rows()}


def is_embedded(dataset: Dataset, images: dict[str, bytes], name: str = "eye", sign: int = 1) -> int:
    """Check all of a table against what Pillow and numpy make of the images; return its rows."""
    rows = 0
    for part, expected in enumerate(by_part(dataset, images)):
        now = stored(dataset, part, name)
        assert now.keys() == expected.keys()
        rows += len(now)
        for key, content in expected.items():
            assert np.abs(now[key] - sign * seen_by_eye(content)).max() < 5e-4  # half a step of float16 below 1
    return rows


def test_each_distinct_image_of_a_part_has_its_embedding(copy: World) -> None:
    eye = Eye()
    report = run(copy.dataset, eye, children=2)
    rows = is_embedded(copy.dataset, copy.images)
    assert report == EmbedReport("eye", eye.identity.digest, "cpu", 6, rows, rows, 0)
    assert sum(eye.seen) == rows
    assert len(set(map(sha256, copy.images.values()))) < rows < len(copy.images)  # parts stand alone
    manifest = copy.dataset.embedded("eye").committed()
    assert manifest is not None
    meta = manifest.meta
    assert (meta.model, meta.kind, meta.versions, meta.spec) == (eye.identity.digest, "eye", {"eye": "1.0"}, "eye")
    assert (meta.device, meta.dim, manifest.rows) == ("cpu", 6, rows)
    assert not copy.dataset.store.names("_embedded")


def test_the_same_again_embeds_nothing(copy: World) -> None:
    first = run(copy.dataset, Eye())
    files = tree(Path(copy.dataset.store.url))
    again = run(copy.dataset, Eye(fails_after=0))
    assert (again.embedded, again.images) == (0, first.images)
    assert tree(Path(copy.dataset.store.url)) == files


def test_equal_bytes_whatever_the_workers(made: World, tmp_path: Path) -> None:
    trees = []
    for children in (1, 3):
        dataset = copied(made, tmp_path / str(children)).dataset
        run(dataset, Eye(), children=children, texts=True)
        trees.append(tree(tmp_path / str(children)))
    assert trees[0] == trees[1]


def test_a_killed_run_goes_on_with_the_images_it_had_not_finished(
    made: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "ROWS", 3)
    undisturbed, killed = (copied(made, tmp_path / name).dataset for name in ("undisturbed", "killed"))
    total = run(undisturbed, Eye(), texts=True)
    seen = 0
    for after in (7, 8, 0):
        eye = Eye(fails_after=after)
        with pytest.raises(KeyboardInterrupt):
            run(killed, eye, texts=True)
        seen += sum(eye.seen)
    assert killed.embedded("eye").committed() is None
    rest = Eye()
    report = run(killed, rest, texts=True)
    assert 0 < sum(rest.seen) == total.images - seen
    assert report.images == total.images
    assert tree(tmp_path / "killed") == tree(tmp_path / "undisturbed")


def test_texts_are_embedded_row_for_row(copy: World) -> None:
    eye = Eye()
    report = run(copy.dataset, eye, texts=True)
    texts = read(copy.dataset, "pairs")["alt_text"].to_list()
    vectors = read(copy.dataset, "embedded_texts/eye")["embedding"].to_list()
    assert report.texts == len(texts) == len(vectors)
    for text, vector in zip(texts, vectors, strict=True):
        assert np.abs(np.frombuffer(vector, "<f2") - unit(np.array([numbers(text)]))[0]).max() < 5e-4
    assert len(eye.texts_read) - 1 < len(texts)  # equal ones of a part once; and one to see that it reads texts at all


def test_of_a_batch_only_the_new_is_embedded(copy: World, tmp_path: Path) -> None:
    run(copy.dataset, Eye(), texts=True)
    pairs, vectors = read(copy.dataset, "pairs"), read(copy.dataset, "embedded_texts/eye")["embedding"]
    before = dict(zip(pairs["uid"], vectors, strict=True))
    rows = [{"url": next(iter(copy.images)), "alt_text": "9 8 7 6 5 4"}]
    lists = write_list(tmp_path / "batch", rows)
    grow(lists, Dataset(copy.dataset.store), LocalEngine(copy.dataset.store.work, 2), Silent())
    opened, eye = Dataset(copy.dataset.store), Eye()
    report = run(opened, eye, texts=True)
    assert report.texts == len(before) + 1
    assert eye.texts_read == ["", "9 8 7 6 5 4"]  # one to see that it reads texts at all
    assert not eye.seen
    after = dict(zip(read(opened, "pairs")["uid"], read(opened, "embedded_texts/eye")["embedding"], strict=True))
    assert {uid: after[uid] for uid in before} == before
    assert None not in after.values()


def test_two_models_are_never_mixed_under_a_name(copy: World) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(copy.dataset, Eye(fails_after=12))
    with pytest.raises(SignalError, match=r"embedded/eye has embeddings of another model \(SHA-256 \w{12}…\), or of"):
        run(copy.dataset, Eye("other"))
    run(copy.dataset, Eye())
    files = tree(Path(copy.dataset.store.url))
    with pytest.raises(SignalError, match=r"has embeddings of another model, eye \(SHA-256 .*embed under another name"):
        run(copy.dataset, Eye("other", sign=-1))
    assert tree(Path(copy.dataset.store.url)) == files
    run(copy.dataset, Eye("other", sign=-1), "beside")
    is_embedded(copy.dataset, copy.images, "beside", sign=-1)
    is_embedded(copy.dataset, copy.images)


# --- the command, with a real model ---


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_encoder(tmp_path_factory.mktemp("encoder") / "tiny"))


def test_the_command(copy: World, folder: str) -> None:
    url = copy.dataset.store.url
    done = call("embed", folder, url, "--as", "tiny")
    rows = sum(len(part) for part in by_part(copy.dataset, copy.images))
    said = f"embedded/tiny: {rows} images, 48 numbers each, {rows} images embedded now on CPUExecutionProvider"
    assert done.stdout.splitlines() == [said]
    assert "embed: " in done.stderr
    assert f"next: align-data score tiny {url}" in done.stderr
    again = answer("embed", folder, url, "--as", "tiny", "--workers", "3", "--texts")
    assert again["model"] == open_model(folder).identity.digest
    assert (again["images"], again["embedded"], again["left_out"]) == (rows, 0, 0)
    assert again["texts"] == len(read(copy.dataset, "pairs"))


def test_what_the_command_refuses_is_a_sentence(copy: World, folder: str, tmp_path: Path) -> None:
    url = copy.dataset.store.url
    for arguments, said in (
        (["nothing", url, "--as", "eye"], "there is no model 'nothing'"),
        ([folder, url, "--as", "Eye"], "Error: 'Eye' is not a valid score name"),
        ([folder, f"{url}/no", "--as", "eye"], "is not a dataset; make one with"),
        ([folder, url, "--as", "eye", "--only-open", "no"], "has no ledger no; there are: some"),
        ([folder, url, "--as", "eye", "--device", "abacus"], "abacus"),
    ):
        assert said in call("embed", *arguments, code=1).stderr
    assert "Missing option '--as'" in call("embed", "eye", url, code=2).stderr
    call("embed", folder, url, "--as", "eye")
    other = write_encoder(tmp_path / "tiny", seed=6)
    refused = call("embed", other, url, "--as", "eye", code=1).stderr
    assert f"has embeddings of another model, {folder} (SHA-256 " in refused


def test_a_ledger_chooses_images_and_those_that_are_there_stay(copy: World) -> None:
    dataset, engine = copy.dataset, LocalEngine(copy.dataset.store.work, 1)
    for name, rule in (("few", "{signal: n_chars, ge: 17}"), ("many", "{signal: n_chars, ge: 15}")):
        recipe = parse(f"name: {name}\nrules:\n  - {rule}\n", f"{name}.yaml")
        decide_ledger(Decision(recipe, name=name), dataset, engine, Silent())
    pairs = read(dataset, "pairs").select("url", pl.col("alt_text").str.len_chars().alias("n"))
    open_urls = {least: set(pairs.filter(pl.col("n") >= least)["url"]) for least in (15, 17)}
    few, many = ({url: copy.images[url] for url in copy.images if url in open_urls[least]} for least in (17, 15))
    assert 0 < len(few) < len(many) < len(copy.images)
    eye = Eye()
    assert run(dataset, eye, only_open="few").images == sum(eye.seen) == is_embedded(dataset, few)
    more = Eye()
    assert run(dataset, more, only_open="many").embedded == sum(more.seen) > 0
    assert is_embedded(dataset, many) == sum(eye.seen) + sum(more.seen)
    assert run(dataset, Eye(fails_after=0), only_open="few").embedded == 0
    is_embedded(dataset, many)  # what is there stays
    run(dataset, Eye())
    is_embedded(dataset, copy.images)


def test_another_ledger_that_opens_nothing_new_changes_nothing(copy: World) -> None:
    dataset, engine = copy.dataset, LocalEngine(copy.dataset.store.work, 1)
    for name, least in (("few", 17), ("fewer", 20)):
        recipe = parse(f"name: {name}\nrules:\n  - {{signal: n_chars, ge: {least}}}\n", f"{name}.yaml")
        decide_ledger(Decision(recipe, name=name), dataset, engine, Silent())
    shared = SharedModel.holding("eye", None, Eye())
    for chosen in ("few", None):
        run(dataset, Eye(), only_open=chosen, texts=True)
        scored = score_embedded("eye", shared, dataset, "eye", engine, Silent())
        files = tree(Path(dataset.store.url))
        for ledger in ("fewer", "few"):
            assert run(dataset, Eye(fails_after=0), only_open=ledger, texts=True).embedded == 0
            assert score_embedded("eye", shared, dataset, "eye", engine, Silent()).computed == 0
            assert tree(Path(dataset.store.url)) == files
        assert scored.computed > 0


@dataclass
class Meeting(Eye):
    """An encoder that works on a batch only when another is at its side: for the first two, or for what is written."""

    batches: list[Event] = field(default_factory=lambda: [Event() for _ in range(99)])
    at_once: Barrier = field(default_factory=lambda: Barrier(2))

    def images(self, pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        if self.device != "cpu" and not self.batches[1].is_set():
            self.batches[self.at_once.wait(60)].set()
        vectors = super().images(pixels)
        self.batches[len(self.seen) - 1].set()
        return vectors


def test_the_model_works_while_its_last_batch_is_written_and_a_gpu_on_two_at_once(
    made: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "ROWS", 3)
    trees, columns = [], embedding.column_of
    chunks = -(-len(by_part(made.dataset, made.images)[0]) // 3)
    assert chunks > 2
    for device in ("cpu", "cuda:0"):
        model, written = Meeting(device=device), 0

        def column_of(vectors: Any, model: Meeting = model) -> Any:
            nonlocal written
            written += 1
            if written < chunks:  # of the first part
                assert model.batches[written].wait(60), "the model stands still while embeddings are written"
            return columns(vectors)

        monkeypatch.setattr(embedding, "column_of", column_of)
        dataset = copied(made, tmp_path / device).dataset
        run(dataset, model)
        monkeypatch.setattr(embedding, "column_of", columns)
        is_embedded(dataset, made.images)
        trees.append(tree(tmp_path / device, "embedded"))
    assert trees[0] == trees[1]


def fetch_again(dataset: Dataset, images: dict[str, bytes], number: int) -> None:
    """Put the bytes of these URLs into new tars, as another fetch does, and measure what is new."""
    before = dataset.images.committed()
    assert before is not None
    infos = []
    for part in range(len(before.parts)):
        rows = pl.concat(dataset.images.pieces(part, list(dataset.images.contract.polars()))).to_dicts()
        tars = TarWriter(dataset.store, f"bytes/part-{part:05d}/{number:03d}-00000", limit=20_000)
        for at, row in enumerate(rows):
            if row["url"] in images and row["tar"] is None:
                content = images[row["url"]]
                place = tars.add(f"{number:08x}{at:08x}.png", io.BytesIO(content), len(content))
                row |= {"status": "ok", "tar": place.tar, "offset": place.offset, "size": place.size}
        tars.close()
        with dataset.images.writer(part, {}) as writer:
            writer.write(pl.DataFrame(rows, dataset.images.contract.polars()))
        assert writer.info is not None
        infos.append(writer.info)
    dataset.images.commit(infos, before.meta.model_copy(update={"run": number}))
    measure(dataset, LocalEngine(dataset.store.work, 1), Silent(), ["decodable", "sha256"])


def test_after_another_fetch_only_what_is_new_is_embedded(copy: World) -> None:
    dataset = copy.dataset
    first = run(dataset, Eye())
    before = [stored(dataset, part) for part in range(len(dataset.ingested().parts))]
    urls = set(read(dataset, "images").filter(pl.col("tar").is_null())["url"])
    new = {url: png((n, 40, 200 - n)) for n, url in enumerate(sorted(urls))}
    new[min(new)] = next(iter(copy.images.values()))  # and bytes that the part, or another, has already
    fetch_again(dataset, new, 2)
    with pytest.raises(KeyboardInterrupt):
        run(dataset, Eye(fails_after=2))
    eye = Eye()
    report = run(dataset, eye)
    rows = is_embedded(dataset, {**copy.images, **new})
    assert report.images == rows
    assert 0 < sum(eye.seen) <= rows - first.images
    for part, rows_before in enumerate(before):  # and what was there is the same to the bit
        now = stored(dataset, part)
        assert all(np.array_equal(now[key], vector) for key, vector in rows_before.items())


# --- hostile images and models ---


def marked(content: bytes, marker: str) -> bytes:
    """Return a PNG with a text beside its pixels."""
    text = PngInfo()
    text.add_text("Comment", f"evil:{marker}")
    out = io.BytesIO()
    Image.open(io.BytesIO(content)).save(out, "PNG", pnginfo=text)
    return out.getvalue()


def test_an_image_that_ends_its_child_or_lies_costs_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparer, "HANDLER", "evil_preparer:handler")
    monkeypatch.setattr(preparer, "SLACK", 0.5)
    markers = ("crash", "short", "other size", "negative", "text", "array", "slow")
    good = {f"http://a/{n}.png": png((n * 9, 200 - n, 77), (3, n, 250)) for n in range(20)}
    bad = {f"http://b/{n}.png": marked(png((250, n, 0)), marker) for n, marker in enumerate(markers)}
    rows = [{"url": url, "alt_text": "1 2 3 4 5 6"} for url in [*good, *bad]]
    dataset = fetched(tmp_path / "dataset", rows, {**good, **bad}, parts=100)
    assert read(dataset, "content")["decodable"].all()
    limits = ImageLimits(seconds=2)  # waiting counts too, where the machine is busy: a good one needs milliseconds
    monkeypatch.setattr(embedding, "limits_of", lambda _: limits)
    report = run(dataset, Eye(), children=2)
    assert (report.images, report.left_out) == (len(good), len(bad))
    is_embedded(dataset, good)
    manifest = dataset.embedded("eye").committed()
    assert manifest is not None
    assert manifest.meta.left_out == len(bad)


class Broken(Eye):
    """An encoder whose embeddings of images are `fault` of what they should be."""

    fault: Any = None

    def images(self, pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        vectors = super().images(pixels)
        return self.fault(vectors)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda vectors: np.where(np.arange(6) == 3, np.nan, vectors), r"embeddings are not numbers \(NaN\)"),
        (lambda vectors: np.where(np.arange(6) == 3, np.inf, vectors), r"embeddings are not numbers"),
        (lambda vectors: vectors[:, :5], r"gives an array of \(\d+, 5\) for \d+ rows, not of \(\d+, 6\)"),
        (lambda vectors: vectors[1:], r"gives an array of"),
    ],
)
def test_embeddings_that_are_none_are_a_sentence_and_nothing_is_stored(copy: World, fault: Any, said: str) -> None:
    broken = Broken()
    broken.fault = fault
    with pytest.raises(SignalError, match=said):
        run(copy.dataset, broken)
    assert copy.dataset.embedded("eye").committed() is None
    assert not list(Path(copy.dataset.store.url).glob("embedded/**/*.parquet"))


def test_an_encoder_of_images_alone_is_told_before_the_images(
    copy: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = write_encoder(tmp_path / "alone", texts=False)
    refused = call("embed", alone, copy.dataset.store.url, "--as", "alone", "--texts", code=1).stderr
    assert "embeds images alone" in refused
    assert not list(Path(copy.dataset.store.url).glob("embedded*"))
    url = copy.dataset.store.url
    assert "next: align-data neighbours alone " in call("embed", alone, url, "--as", "alone").stderr
    assert "embeds images alone" in call("score", "alone", url, code=1).stderr
    with monkeypatch.context() as patched:
        patched.setattr(PreparationPool, "each", None)  # whatever decodes an image fails
        assert "embeds images alone" in call("score", alone, url, "--as", "other", code=1).stderr
    assert "has no embeddings 'nothing' (there are: alone)" in call("score", "nothing", url, code=2).stderr


def test_weights_that_change_while_a_run_works_are_a_sentence(copy: World, folder: str, tmp_path: Path) -> None:
    model = shutil.copytree(folder, tmp_path / "tiny")
    shared = SharedModel.open(str(model), None)
    write_encoder(model, seed=9)
    SharedModel.holding("another", None, Eye())  # another process, such as an executor, has it not open
    with pytest.raises(SignalError, match=r"tiny is not the one that the run began with: .* every machine needs the"):
        embed(shared, copy.dataset, "eye", LocalEngine(copy.dataset.store.work, 1), Silent())
    assert not list(Path(copy.dataset.store.url).glob("embedded/**/*.parquet"))


def test_images_that_are_stored_smaller_than_the_model_sees_are_refused(copy: World) -> None:
    content = copy.dataset.content
    manifest = content.committed()
    assert manifest is not None
    infos = []
    for part in range(len(manifest.parts)):
        small = {"stored_format": "webp", "stored_width": 24, "stored_height": 16, "stored_sha256": "0" * 64}
        facts, names = content.facts(part), list(content.contract.polars())
        rows = pl.concat(content.pieces(part, list(content.columns(part))))
        kept = pl.col("tar").is_not_null()
        types = content.contract.polars()
        rows = rows.with_columns(
            pl.when(kept).then(pl.lit(value, types[name])).alias(name) for name, value in small.items()
        )
        names = [name for name in names if name in rows.columns]
        with content.writer(part, facts or {}, names) as writer:
            writer.write(rows.select(names))
        assert writer.info is not None
        infos.append(writer.info)
    content.commit(infos, manifest.meta.model_copy(update={"reduced": True}))
    with pytest.raises(DatasetError, match=r"sees 20 x 20 pixels, and images of .* side of 16 .* --keep 20"):
        run(copy.dataset, Eye(side=20))


# --- other places ---


def test_an_object_store_has_the_same_bytes(made: World, copy: World, folder: str) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(copy.dataset.store.url, "/embedded-there", recursive=True)
    there = Dataset(Store("memory://embedded-there"))
    for dataset in (there, copy.dataset):
        engine = LocalEngine(dataset.store.work, 1)
        embed(SharedModel.open(folder, None), dataset, "tiny", engine, Silent(), 2, texts=True)
    for name, content in tree(Path(copy.dataset.store.url), "embedded", "embedded_texts").items():
        assert memory.cat_file(f"/embedded-there/{name}") == content
    memory.rm("/embedded-there", recursive=True)


@pytest.mark.spark
def test_spark_embeds_and_scores_the_same_bytes(made: World, tmp_path: Path, folder: str, spark: Engine) -> None:
    trees = []
    for name, engine in (("local", LocalEngine(tmp_path / "work", 1)), ("spark", spark)):
        dataset = copied(made, tmp_path / name).dataset
        shared = SharedModel.open(folder, "cpu")
        report = embed(shared, dataset, "tiny", engine, Silent(), texts=True)
        scored = [
            score_embedded("tiny", shared, dataset, "tiny", engine, Silent()),
            score_embedded("tiny", None, dataset, "stored", engine, Silent()),
            score(shared, dataset, "decoded", engine, Silent()),
        ]
        assert report.embedded == report.images > 0
        assert all(each.computed > 0 for each in scored)
        names = [f"measured/score.{each}" for each in ("tiny", "stored", "decoded")]
        trees.append(tree(tmp_path / name, "embedded", "embedded_texts", *names))
    assert trees[0] == trees[1]


# --- takedown ---


def take_down(dataset: Dataset, kind: str, values: Sequence[str], tmp_path: Path, **options: Any) -> TakedownReport:
    (tmp_path / "list.txt").write_text("\n".join(values) + "\n")
    lists = read_lists({kind: [str(tmp_path / "list.txt")]})
    return takedown(dataset, lists, [], LocalEngine(dataset.store.work, 1), Silent(), **options)


def test_a_takedown_reaches_embeddings_but_not_those_of_images_that_another_url_has(
    copy: World, tmp_path: Path
) -> None:
    dataset = copy.dataset
    run(dataset, Eye(), texts=True)
    run(dataset, Eye("other", sign=-1), "beside")
    parts = by_part(dataset, copy.images)
    keys = {url: sha256(content) for url, content in copy.images.items()}
    urls_of = [list(pl.concat(dataset.images.pieces(part, ["url"]))["url"]) for part in range(len(parts))]
    twins = [  # two URLs of a part with equal bytes: one of them goes, and the image stays
        url
        for urls in urls_of
        for n, url in enumerate(urls)
        if url in keys and keys[url] in [keys.get(other) for other in urls[:n]]
    ]
    assert twins
    dead = {twins[0], *[url for url in copy.images if keys[url] not in [keys[twin] for twin in twins]][:5]}
    survivors = {url: content for url, content in copy.images.items() if url not in dead}
    gone = sum(len(part) for part in parts) - sum(len(part) for part in by_part(dataset, survivors))
    texts = read(dataset, "pairs").filter(pl.col("url").is_in(dead))
    foreseen = take_down(dataset, "urls", sorted(dead), tmp_path, dry_run=True).receipt
    receipt = take_down(dataset, "urls", sorted(dead), tmp_path).receipt
    assert 0 < gone < len(dead)
    assert receipt.embeddings == foreseen.embeddings == 2 * gone + len(texts)
    assert {file.name for file in foreseen.files} == {file.name for file in receipt.files}
    is_embedded(dataset, survivors)
    is_embedded(dataset, survivors, "beside", sign=-1)
    blank = read(dataset, "embedded_texts/eye")["embedding"].is_null().to_list()
    assert blank == (read(dataset, "pairs")["url"] == "").to_list()
    assert sum(blank) == len(texts)
    # What is taken down makes nothing stale, and nobody embeds it again.
    files = tree(Path(dataset.store.url), "embedded/eye")
    assert run(dataset, Eye(fails_after=0), texts=True).embedded == 0
    assert tree(Path(dataset.store.url), "embedded/eye") == files
    shutil.rmtree(Path(dataset.store.url) / "embedded/eye")
    run(dataset, Eye())
    is_embedded(dataset, survivors)


def test_a_killed_takedown_goes_on_in_the_embeddings(
    made: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = sorted(made.images)[:9]
    folders = [copied(made, tmp_path / name).dataset for name in ("undisturbed", "killed")]
    for dataset in folders:
        run(dataset, Eye(), texts=True)
    undisturbed, killed = folders
    take_down(undisturbed, "urls", dead, tmp_path)
    rewrite = taking_down.rewrite
    for after in (1, 1, 0):
        written: list[str] = []

        def dies(table: Any, *arguments: Any, after: int = after, written: list[str] = written) -> None:
            if table.name.startswith("embedded") and len(written) == after:
                raise KeyboardInterrupt
            rewrite(table, *arguments)
            written += [table.name] if table.name.startswith("embedded") else []

        monkeypatch.setattr(taking_down, "rewrite", dies)
        with pytest.raises(KeyboardInterrupt):
            take_down(killed, "urls", dead, tmp_path)
        with pytest.raises(DatasetError, match="a takedown began here and did not finish"):
            run(killed, Eye())
    monkeypatch.setattr(taking_down, "rewrite", rewrite)
    take_down(killed, "urls", dead, tmp_path)
    assert tree(tmp_path / "killed") == tree(tmp_path / "undisturbed")


def test_what_a_killed_run_of_embed_has_left_of_a_part_goes_with_a_takedown(
    copy: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "ROWS", 3)
    with pytest.raises(KeyboardInterrupt):
        run(copy.dataset, Eye(fails_after=4))
    working = Path(copy.dataset.store.url) / "_embedded/00000"
    assert list(working.glob("*.parquet"))
    urls = pl.concat(copy.dataset.images.pieces(0, ["url"]))["url"].to_list()
    take_down(copy.dataset, "urls", [url for url in urls if url in copy.images][:1], tmp_path)
    assert not list(working.glob("*.parquet"))
