"""Scores: what a model says of each fetched pair, and the fraction of the highest that a rule keeps."""

from __future__ import annotations

import hashlib
import io
import json
import math
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from conftest import Built, read, tree, write_list
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from test_cli import answer, call
from test_shards import fetched, samples
from tiny_encoders import write_encoder

import align_data
from align_data.common.errors import AlignDataError, DatasetError, InputError, RecipeError, SignalError
from align_data.common.progress import Silent, ignore
from align_data.data.columns import available, scored_by
from align_data.data.layout import Dataset
from align_data.data.meta import SignalsMeta
from align_data.data.order_statistics import MILLIONTHS, CodeRange, openings, tally
from align_data.data.pool import Counted, PoolScan
from align_data.data.top_fraction import resolve
from align_data.decoding.inputs.preparation import Preparation
from align_data.engines.base import Engine
from align_data.engines.local import LocalEngine
from align_data.models.encoder import ModelIdentity
from align_data.models.sharing import SharedModel
from align_data.models.spaces import SPHERE, Space
from align_data.recipes.model import Recipe
from align_data.recipes.overrides import override
from align_data.recipes.plan import Plan
from align_data.recipes.reading import parse
from align_data.recipes.schema import json_schema
from align_data.recipes.thresholds import TopFraction
from align_data.report import audit_html
from align_data.signals import FAMILIES, find, is_signal, ordered
from align_data.signals.score import SIMILARITY
from align_data.stages.audit import SweepRequest, audit, diff, survey, sweep
from align_data.stages.embed import embed
from align_data.stages.export import Form, export
from align_data.stages.grow import grow
from align_data.stages.measure import measure
from align_data.stages.pipeline import Decision, decide_ledger
from align_data.stages.score import Scored, check, score, score_by_head, score_embedded, texts_are_stored
from align_data.stages.score import by_model as scoring
from align_data.stages.takedown import read as read_lists
from align_data.stages.takedown import takedown
from align_data.stages.why import why
from align_data.storage.store import Store

Score = float | None


# --- what is scored ---


def engine_of(dataset: Dataset) -> LocalEngine:
    return LocalEngine(dataset.store.work, 1)


def png(red: int, green: int, blue: int) -> bytes:
    """Return an image of one colour: however it is cut and resized, it is that."""
    out = io.BytesIO()
    Image.new("RGB", (40, 30), (red, green, blue)).save(out, "PNG")
    return out.getvalue()


def unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    found = np.asarray(vectors, np.float64) + 1e-9
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@dataclass
class Eye:
    """A model that sees an image's colour above and below, and reads a text as six numbers."""

    side: int = 8
    digest: str = "eye"
    sign: int = 1
    fails_after: int | None = None
    """Texts that it reads before something breaks."""
    images_seen: int = 0
    texts_read: list[str] = field(default_factory=list)
    device: str = "cpu"
    dim: int = 6
    space: Space = SPHERE

    @property
    def identity(self) -> ModelIdentity:
        return ModelIdentity("eye", self.digest)

    @property
    def preparation(self) -> Preparation:
        return Preparation(self.side, self.side)

    def images(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        pixels = np.stack(images)
        assert pixels.shape[1:] == (self.side, self.side, 3)
        assert pixels.dtype == np.uint8
        self.images_seen += len(pixels)
        half = self.side // 2
        return unit(np.hstack([pixels[:, :half].mean((1, 2)), pixels[:, half:].mean((1, 2))]) * self.sign)

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self.fails_after is not None and len(self.texts_read) + len(texts) > self.fails_after:
            raise KeyboardInterrupt
        self.texts_read += texts
        return unit(np.array([numbers(text) for text in texts]))


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split()] if text else [1, 2, 3, 4, 5, 6]


def cosine(text: str, above: tuple[int, int, int], below: tuple[int, int, int] | None = None) -> float:
    """Return what the eye makes of a pair, in plain Python."""
    a, b = [*above, *(below or above)], numbers(text)
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(
        math.fsum(x * x for x in a) * math.fsum(x * x for x in b)
    )


@dataclass(frozen=True)
class World:
    dataset: Dataset
    expected: dict[str, Score]
    """uid → its score."""


def world(folder: Path) -> World:
    """Make a small fetched dataset: images with several texts, some gone, some broken, one untried."""
    chance = random.Random(7)
    colours = {f"http://h{n % 3}/{n}.png": tuple(chance.randrange(256) for _ in range(3)) for n in range(40)}
    rows = [
        {"url": url, "alt_text": " ".join(str(chance.randrange(-9, 10)) for _ in range(6)) if k else ""}
        for n, url in enumerate(colours)
        for k in range(1 + n % 3)
    ]
    images = {url: png(*colour) for n, (url, colour) in enumerate(colours.items()) if n % 5}
    broken = [url for n, url in enumerate(images) if n % 7 == 0]
    images |= {url: images[url][:60] for url in broken}
    dataset = fetched(folder / "dataset", rows, images, parts=20)
    good = images.keys() - set(broken)
    pairs = read(dataset, "pairs").select("uid", "url", "alt_text")
    expected = {uid: cosine(text, colours[url]) if url in good else None for uid, url, text in pairs.iter_rows()}
    return World(dataset, expected)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    found = world(tmp_path_factory.mktemp("scored"))
    assert len(found.dataset.ingested().parts) > 2
    assert 15 < sum(value is None for value in found.expected.values()) < 50
    return found


@pytest.fixture
def copy(made: World, tmp_path: Path) -> World:
    shutil.copytree(made.dataset.store.url, tmp_path / "dataset")
    return World(Dataset(Store(tmp_path / "dataset")), made.expected)


def run(dataset: Dataset, model: Any, name: str = "eye", children: int = 1) -> Scored:
    return score(SharedModel.holding("eye", None, model), dataset, name, engine_of(dataset), Silent(), children)


def stored(dataset: Dataset, name: str = "eye") -> dict[str, Score]:
    scores = read(dataset, f"measured/score.{name}")[f"similarity_{name}"]
    return dict(zip(read(dataset, "pairs")["uid"], scores, strict=True))


def is_expected(found: dict[str, Score], expected: dict[str, Score]) -> None:
    assert found.keys() == expected.keys()
    for uid, value in expected.items():
        assert found[uid] is None if value is None else abs(found[uid] - value) < 2e-6, uid


def test_scores_are_cosines_and_null_where_there_is_no_image(copy: World) -> None:
    eye = Eye()
    done = run(copy.dataset, eye)
    is_expected(stored(copy.dataset), copy.expected)
    there = sum(value is not None for value in copy.expected.values())
    assert done == Scored("similarity_eye", "eye", len(copy.expected), there, there)
    assert len(eye.texts_read) == there
    urls = read(copy.dataset, "pairs").filter(
        pl.col("uid").is_in([u for u, v in copy.expected.items() if v is not None])
    )
    assert eye.images_seen == urls["url"].n_unique()  # each once, whatever texts it has
    for value in stored(copy.dataset).values():
        assert value is None or value == round(value, 6)
    assert "similarity_eye" in available(copy.dataset, copy.dataset.ingested())


def test_the_same_model_again_computes_nothing_and_another_one_all(copy: World) -> None:
    first = run(copy.dataset, Eye())
    files = tree(Path(copy.dataset.store.url), "measured/score.eye")
    again = run(copy.dataset, Eye(fails_after=0))
    assert again == Scored(first.signal, first.model, first.pairs, first.scored, 0)
    assert tree(Path(copy.dataset.store.url), "measured/score.eye") == files
    other = run(copy.dataset, Eye(digest="other", sign=-1))
    assert (other.computed, other.model) == (first.scored, "other")
    is_expected(stored(copy.dataset), {uid: None if v is None else -v for uid, v in copy.expected.items()})
    beside = run(copy.dataset, Eye(), "beside-2")  # and another name is another signal
    assert beside.computed == first.scored
    is_expected(stored(copy.dataset, "beside-2"), copy.expected)


def test_a_batch_is_scored_and_nobody_else_again(copy: World, tmp_path: Path) -> None:
    run(copy.dataset, Eye())
    before = stored(copy.dataset)
    pairs = read(copy.dataset, "pairs")
    scored = next(uid for uid, value in before.items() if value is not None)
    url = pairs.filter(pl.col("uid") == scored)["url"].item()
    rows = [{"url": url, "alt_text": "9 8 7 6 5 4"}, {"url": "http://new/1.png", "alt_text": "1 1 1 1 1 2"}]
    lists = write_list(tmp_path / "batch", rows)
    grow(lists, Dataset(copy.dataset.store), LocalEngine(copy.dataset.store.work, 2), Silent())
    opened, eye = Dataset(copy.dataset.store), Eye()
    again = run(opened, eye)
    assert (again.computed, eye.texts_read, again.pairs) == (1, ["9 8 7 6 5 4"], len(before) + 2)
    after = stored(opened)
    assert {uid: after[uid] for uid in before} == before
    other = run(Dataset(copy.dataset.store), Eye(digest="other", sign=-1))
    assert other.computed == other.scored


def test_equal_bytes_whatever_the_workers(made: World, tmp_path: Path) -> None:
    found = []
    for children in (1, 3):
        shutil.copytree(made.dataset.store.url, tmp_path / str(children))
        run(Dataset(Store(tmp_path / str(children))), Eye(), children=children)
        found.append(tree(tmp_path / str(children), "measured/score.eye"))
    assert found[0] == found[1]
    assert len(found[0]) > 3


def test_windows_and_batches_do_not_show(copy: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "WINDOW", 7)
    monkeypatch.setattr(scoring, "BATCH", 3)
    run(copy.dataset, Eye())
    is_expected(stored(copy.dataset), copy.expected)


def test_an_image_is_seen_as_it_is_exported(tmp_path: Path) -> None:
    """Upright, and white where one sees through it: a model sees in training what was exported."""
    above, below = (200, 10, 30), (20, 60, 240)
    image = Image.new("RGB", (32, 32), above)
    image.paste(below, (0, 16, 32, 32))
    turned = Image.Exif()
    turned[0x0112] = 3
    out, clear = io.BytesIO(), io.BytesIO()
    image.rotate(180).save(out, "PNG", exif=turned)
    Image.new("RGBA", (32, 32), (9, 9, 9, 0)).save(clear, "PNG")
    text = "9 1 2 1 3 8"
    rows = [{"url": f"http://a/{n}.png", "alt_text": text} for n in range(2)]
    dataset = fetched(
        tmp_path / "dataset", rows, {"http://a/0.png": out.getvalue(), "http://a/1.png": clear.getvalue()}
    )
    run(dataset, Eye())
    found = dict(zip(read(dataset, "pairs")["url"], stored(dataset).values(), strict=True))
    assert found["http://a/0.png"] == pytest.approx(cosine(text, above, below), abs=0.01)  # a JPEG is between
    assert found["http://a/0.png"] != pytest.approx(cosine(text, below, above), abs=0.1)
    assert found["http://a/1.png"] == pytest.approx(cosine(text, (255, 255, 255)), abs=1e-3)


def test_a_killed_run_goes_on_and_what_it_left_is_not_taken_for_a_score(
    made: World, copy: World, tmp_path: Path
) -> None:
    there = sum(value is not None for value in copy.expected.values())
    with pytest.raises(KeyboardInterrupt):
        run(copy.dataset, Eye(fails_after=there // 2))
    assert "similarity_eye" not in available(copy.dataset, copy.dataset.ingested())
    rest = Eye()
    done = run(copy.dataset, rest)
    assert 0 < done.computed == len(rest.texts_read) < there
    assert done.scored == there
    shutil.copytree(made.dataset.store.url, tmp_path / "undisturbed")
    run(Dataset(Store(tmp_path / "undisturbed")), Eye())
    assert tree(Path(copy.dataset.store.url), "measured/score.eye") == tree(
        tmp_path / "undisturbed", "measured/score.eye"
    )


def test_two_models_are_never_mixed(copy: World) -> None:
    run(copy.dataset, Eye())
    with pytest.raises(KeyboardInterrupt):
        run(copy.dataset, Eye(digest="other", sign=-1, fails_after=40))
    assert "similarity_eye" not in available(copy.dataset, copy.dataset.ingested())
    run(copy.dataset, Eye())
    is_expected(stored(copy.dataset), copy.expected)


def test_another_detector_leaves_scores_what_they_are_and_other_images_do_not(copy: World) -> None:
    dataset = copy.dataset
    run(dataset, Eye())
    content, images = dataset.content.committed(), dataset.images.committed()
    assert content is not None
    assert images is not None
    dataset.content.commit(content.parts, content.meta.model_copy(update={"open": "scored"}))
    assert run(dataset, Eye()).computed == 0
    # Another crawl found one image less in part 1.
    piece = pl.concat(dataset.images.pieces(1, dataset.images.contract.arrow().names))
    first = piece.filter(pl.col("tar").is_not_null())["url"][0]
    gone = pl.col("url") == first
    less = piece.with_columns(
        status=pl.when(gone).then(pl.lit("http_404")).otherwise("status"),
        **{name: pl.when(~gone).then(name) for name in ("tar", "offset", "size")},
    )
    with dataset.images.writer(1, {}) as writer:
        writer.write(less)
    assert writer.info is not None
    parts = [writer.info if number == 1 else info for number, info in enumerate(images.parts)]
    dataset.images.commit(parts, images.meta)
    with pytest.raises(DatasetError, match=r"it is unknown, or outdated, which images of .* can be decoded"):
        run(dataset, Eye())
    measure(dataset, engine_of(dataset), Silent(), ["decodable", "width", "height", "sha256"])
    said = (
        r"similarity_eye of .* were measured before the last fetch.*align-data score MODEL .* --as eye; or do without"
    )
    for work in (lambda: decided(dataset, "ge: 0"), lambda: available(dataset, dataset.ingested())):
        with pytest.raises(DatasetError, match=said):
            work()
    again = run(dataset, Eye())
    urls = dict(read(dataset, "pairs").select("uid", "url").iter_rows())
    now = {uid: None if urls[uid] == first else value for uid, value in copy.expected.items()}
    is_expected(stored(dataset), now)
    assert 0 < again.computed < again.scored  # the other parts stayed


def test_after_a_takedown_nothing_is_scored_again_and_nobody_else_is_decided_otherwise(
    copy: World, tmp_path: Path
) -> None:
    dataset = copy.dataset
    run(dataset, Eye())
    before = decided(dataset, "top_fraction: 0.4")
    dead = [uid for uid, value in copy.expected.items() if value is not None][::4]
    (tmp_path / "uids.txt").write_text("\n".join(dead) + "\n")
    takedown(dataset, read_lists({"uids": [str(tmp_path / "uids.txt")]}), [], engine_of(dataset), Silent())
    assert run(dataset, Eye(fails_after=0)).computed == 0
    after = decided(dataset, "top_fraction: 0.4")
    assert after.tops == before.tops
    found = dict(zip(read(dataset, "pairs")["uid"], read(dataset, "verdicts/mine")["failed"], strict=True))
    assert all(found[uid] < 0 for uid in dead)
    top = before.tops["similarity_eye"]
    for uid, value in copy.expected.items():
        if uid not in dead and value is not None:
            assert bool(found[uid] & 1) == (stored(dataset)[uid] < top.threshold)  # type: ignore[operator]
    other = run(dataset, Eye(digest="other"))
    there = {uid: None if uid in dead else value for uid, value in copy.expected.items()}
    is_expected(stored(dataset), there)
    assert other.scored == sum(value is not None for value in there.values())


def recipe_of(*rules: str, name: str = "mine") -> Recipe:
    return parse(f"name: {name}\nrules:\n" + "".join(f"  - {{{rule}}}\n" for rule in rules), "mine.yaml")


def decided(dataset: Dataset, test: str, *others: str, off: Sequence[str] = ()) -> Plan:
    """Decide by a rule of the eye's score, and others; return how."""
    recipe = recipe_of(f"signal: similarity_eye, {test}", *others)
    manifest = decide_ledger(Decision(recipe, off=off), dataset, engine_of(dataset), Silent())
    return Plan.model_validate(manifest.meta.plan)


# --- sentences ---


@pytest.mark.parametrize("name", ["", "Base", "a b", "a.b", "a/b", "-a", "é", "a\n", "a" * 65])
def test_a_name_that_is_none(name: str, copy: World) -> None:
    with pytest.raises(SignalError, match="is not a valid score name: use lower-case letters, digits, '-' and '_'"):
        run(copy.dataset, Eye(), name)
    assert not is_signal(f"similarity_{name}")


def test_what_cannot_be_scored_is_a_sentence(job: Callable[..., Built], copy: World) -> None:
    bare = job([{"url": "http://a/1", "alt_text": "a"}]).dataset
    with pytest.raises(DatasetError, match=r"has no images to score: run align-data fetch .*, then align-data measure"):
        check(bare, "eye")
    with pytest.raises(DatasetError, match="is not a dataset; make one with"):
        check(Dataset(Store(Path(bare.store.url) / "nothing")), "eye")
    broken = Eye()
    broken.texts = lambda texts: np.full((len(texts), 6), np.nan, np.float32)  # type: ignore[method-assign]
    with pytest.raises(AlignDataError, match=r"not numbers \(NaN\)"):
        run(copy.dataset, broken)
    for tar in Path(copy.dataset.store.url).glob("bytes/*/*.tar"):
        tar.write_bytes(tar.read_bytes()[:700])
    with pytest.raises(DatasetError, match=r"bytes/part-\d+/.*\.tar, at [\d,]+: .*; the dataset is damaged"):
        run(copy.dataset, Eye())
    for tar in Path(copy.dataset.store.url).glob("bytes/*/*.tar"):
        tar.unlink()
    with pytest.raises(DatasetError, match="the dataset is damaged"):
        run(copy.dataset, Eye())


def test_measure_says_who_scores(copy: World) -> None:
    with pytest.raises(
        SignalError, match=r"similarity_eye cannot be measured: it would need a model: align-data score"
    ):
        measure(copy.dataset, engine_of(copy.dataset), Silent(), ["similarity_eye"])
    decided(copy.dataset, "top_fraction: 0.5")
    assert any("similarity_eye needs a model: align-data score" in note for note in audit(copy.dataset, "mine").notes)


# --- the family of signals ---


def test_the_names_of_the_family_are_open() -> None:
    assert find("similarity_base").name == "similarity_base"
    assert find("similarity_base") == FAMILIES[SIMILARITY].named("base")
    for name in ("similarity", "similarity.", "similarities.base", "n_words.base"):
        assert not is_signal(name)
    with pytest.raises(SignalError, match=r"there are: n_words, .*, similarity_NAME, .*eval_nearest_NAME"):
        find("similarty.base")
    assert ordered(["similarity_b", "nsfw", "similarity_a", "n_words"]) == [
        "n_words",
        "nsfw",
        "similarity_a",
        "similarity_b",
    ]


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("top_fraction: 0", "top_fraction: input should be greater than 0, not 0"),
        ("top_fraction: 1.5", "top_fraction: input should be less than or equal to 1, not 1.5"),
        ("top_fraction: -0.1", "top_fraction: input should be greater than 0, not -0.1"),
        ("top_fraction: .nan", "top_fraction: input should be a finite number, not nan"),
        ("top_fraction: many", "top_fraction takes a number, not 'many'"),
        ("top_fraction: true", "top_fraction takes a number, not True"),
        ("top_fraction: 0.3, ge: 0.2", "has 2 tests (ge, top_fraction); it takes exactly one of"),
    ],
)
def test_a_fraction_that_is_none_is_a_sentence_with_its_line(test: str, said: str) -> None:
    with pytest.raises(RecipeError) as error:
        recipe_of("signal: n_words, ge: 3", f"signal: similarity_base, {test}")
    assert str(error.value).startswith(f"mine.yaml, line 4: {said}")


def test_a_fraction_is_of_numbers_alone() -> None:
    for signal in ("language", "decodable"):
        with pytest.raises(RecipeError, match=f"line 3: top_fraction compares numbers, but {signal} is "):
            recipe_of(f"signal: {signal}, top_fraction: 0.3")
    with pytest.raises(RecipeError, match="line 3: 'Base' is not a valid score name"):
        recipe_of("signal: similarity_Base, ge: 0.3")
    with pytest.raises(RecipeError, match="top_k is a test of rarest_ngram alone"):
        recipe_of("signal: similarity_base, top_k: 3")


def test_overrides_phrases_and_the_schema() -> None:
    recipe = recipe_of("signal: similarity_base, top_fraction: 0.3")
    assert (recipe.rules[0].test, recipe.rules[0].phrase()) == ("top_fraction 0.3", "among the highest 30%")
    assert Recipe.model_validate(recipe.model_dump(mode="json", by_alias=True, exclude_none=True)) == recipe
    assert override(recipe, "similarity_base.ge=0.25").rules[0].test == "ge 0.25"
    assert override(recipe, "similarity_base.top_fraction=1").rules[0].test == "top_fraction 1.0"
    with pytest.raises(RecipeError, match="less than or equal to 1"):
        override(recipe, "similarity_base.top_fraction=2")
    rule = json_schema()["$defs"]["Rule"]["properties"]
    (fraction,) = [one for one in rule["top_fraction"]["oneOf"] if one.get("type") == "number"]
    assert (fraction["exclusiveMinimum"], fraction["maximum"]) == (0, 1)
    patterns = [one["pattern"] for one in rule["signal"]["anyOf"] if "pattern" in one]
    families = [rf"^{prefix}_[a-z0-9][a-z0-9_-]{{0,63}}$" for prefix in FAMILIES]
    assert families[0] == r"^similarity_[a-z0-9][a-z0-9_-]{0,63}$"
    of_score = r"^[a-z][a-z0-9_]{0,63}$"
    assert patterns == [*families, r"^similarity\.[a-z0-9][a-z0-9_-]{0,63}$", of_score]


def test_a_plan_goes_through_json_and_one_without_fractions_is_what_it_was() -> None:
    recipe = recipe_of("signal: similarity_base, top_fraction: 0.3")
    top = TopFraction(fraction=0.3, threshold=0.123456, used=4, pool=10)
    plan = Plan.unresolved(recipe).with_thresholds({"similarity_base": top})
    assert Plan.model_validate(json.loads(json.dumps(plan.dump()))) == plan
    assert [rule.deciding.test for rule in plan.rules] == ["ge 0.123456"]
    assert plan.rule("similarity_base").threshold == top
    assert plan.dump()["tops"] == {"similarity_base": {"asked": 0.3, "threshold": 0.123456, "used": 4, "pool": 10}}
    assert "tops" not in Plan.unresolved(recipe).dump()


# --- a fraction of the highest, against an oracle ---

POOL = 12


def plant(dataset: Dataset, name: str, values: Sequence[Score], family: str = SIMILARITY) -> None:
    """Write scores as if a model had given them, in the order of the pairs."""
    signal, pairs = FAMILIES[family].named(name), dataset.ingested()
    table, column = dataset.measured(signal.group), pl.Series(signal.name, values, pl.Float64)
    at = 0
    table.retract()
    for part in range(len(pairs.parts)):
        with table.writer(part, {}, [signal.name]) as writer:
            for rows in dataset.pairs.piece_rows(part):
                writer.write(column[at : at + rows].to_frame())
                at += rows
    infos = [table.info(part) for part in range(len(pairs.parts))]
    identity = {**signal.identity(), **scored_by(dataset, str(values))}
    table.commit(infos, SignalsMeta(signals={signal.name: identity}, pairs=pairs.fingerprint))


@pytest.fixture(scope="module")
def unscored(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    rows = [{"url": f"http://a/{n}", "alt_text": "word " * (n % 5)} for n in range(POOL)]
    return fetched(tmp_path_factory.mktemp("unscored") / "dataset", rows, {}, parts=5)


grid = st.sampled_from([-1.0, -0.5, -1e-06, 0.0, 1e-06, 0.299999, 0.3, 0.300001, 0.3005, 0.9, 1.0])
scores = st.none() | grid | st.integers(-1_000_000, 1_000_000).map(lambda n: n / 1_000_000)
columns_of = st.lists(scores, min_size=POOL, max_size=POOL)
fractions = st.sampled_from([0.0001, 0.1, 0.25, 0.3, 1 / 3, 0.5, 0.7, 0.999, 1.0]) | st.floats(0.001, 1)
rules_of = st.lists(
    st.one_of(
        st.tuples(st.just("n_words"), st.just("ge"), st.integers(0, 5)),
        st.tuples(st.just("n_words"), st.just("lt"), st.integers(0, 5)),
        st.tuples(st.just("nsfw"), st.just("lt"), st.just(0.5)),
        st.tuples(st.sampled_from(["similarity_a", "similarity_b"]), st.just("ge"), grid),
        st.tuples(st.sampled_from(["similarity_a", "similarity_b"]), st.just("top_fraction"), fractions),
    ),
    max_size=4,
)


def says(test: tuple[str, str, Any], row: dict[str, Any]) -> bool | None:
    signal, op, value = test
    found = row.get(signal)
    if found is None:
        return None
    return bool(found < value if op == "lt" else found >= value)


def oracle(
    tests: Sequence[tuple[str, str, Any]], off: set[int], rows: Sequence[dict[str, Any]], place: int
) -> TopFraction:
    """Sort the pool, and count from the top."""
    signal, _, fraction = tests[place]
    others = [test for n, test in enumerate(tests) if n not in off and test[1] != "top_fraction"]
    pool = [row[signal] for row in rows if row[signal] is not None and not any(says(t, row) is False for t in others)]
    if not pool:
        return TopFraction(fraction=fraction, threshold=-1.0, used=0, pool=0)
    wanted = math.ceil(Fraction(repr(fraction)) * len(pool))
    threshold = sorted(pool, reverse=True)[wanted - 1]
    used = sum(value >= threshold for value in pool)
    return TopFraction(fraction=fraction, threshold=threshold, used=used, pool=len(pool))


@given(columns_of, columns_of, fractions, rules_of, st.data())
def test_a_fraction_is_the_oracles(
    unscored: Dataset, a: list[Score], b: list[Score], fraction: float, more: list[tuple[str, str, Any]], data: Any
) -> None:
    tests = [("similarity_a", "top_fraction", fraction), *more]
    off = data.draw(st.sets(st.integers(0, len(tests) - 1), max_size=2))
    plant(unscored, "a", a)
    plant(unscored, "b", b)
    rules = [{"name": f"r{n}", "signal": s, op: v} for n, (s, op, v) in enumerate(tests)]
    recipe = Recipe.model_validate({"name": "mine", "rules": rules})  # YAML takes 1e-06 for a text
    words = read(unscored, "measured/text")["n_words"]
    rows = [{"n_words": n, "similarity_a": x, "similarity_b": y} for n, x, y in zip(words, a, b, strict=True)]
    manifest = decide_ledger(
        Decision(recipe, off=[f"r{n}" for n in sorted(off)]), unscored, engine_of(unscored), Silent()
    )
    found = Plan.model_validate(manifest.meta.plan)
    expected = {f"r{n}": oracle(tests, off, rows, n) for n, test in enumerate(tests) if test[1] == "top_fraction"}
    assert found.tops == expected
    resolved = [(s, "ge", expected[f"r{n}"].threshold) if op == "top_fraction" else (s, op, v)
                for n, (s, op, v) in enumerate(tests)]  # fmt: skip
    masks = read(unscored, "verdicts/mine").select("failed", "unknown").rows()
    for row, (failed, unknown) in zip(rows, masks, strict=True):
        for n, test in enumerate(resolved):
            verdict = None if n in off else says(test, row)
            assert bool(failed >> n & 1) == (verdict is False)
            assert bool(unknown >> n & 1) == (n not in off and verdict is None)


@settings(max_examples=15)
@given(columns_of, st.lists(fractions, min_size=1, max_size=3), st.integers(0, 5))
def test_a_sweep_of_fractions_keeps_what_filtering_by_each_would(
    unscored: Dataset, a: list[Score], asked: list[float], least: int
) -> None:
    plant(unscored, "a", a)
    rules = ("name: top, signal: similarity_a, top_fraction: 0.5", f"signal: n_words, ge: {least}")
    engine = engine_of(unscored)
    decide_ledger(Decision(recipe_of(*rules)), unscored, engine, Silent())
    swept = sweep(unscored, "mine", SweepRequest("similarity_a", asked), engine, Silent())
    assert (swept.op, [point.value for point in swept.values]) == ("top_fraction", asked)
    for point in swept.values:
        other = Decision(recipe_of(*rules), [f"top.top_fraction={point.value!r}"], name="other")
        decide_ledger(other, unscored, engine, Silent())
        counts = audit(unscored, "other")
        assert (point.kept, point.pending) == (counts.kept, counts.pending)
    ours = sweep(unscored, "mine", SweepRequest("similarity_a"), engine, Silent())
    threshold = audit_plan(unscored).tops["top"].threshold
    assert ours.op == "ge"
    kept = {point.value: point.kept for point in ours.values}
    assert kept[threshold] == audit(unscored, "mine").kept


def audit_plan(dataset: Dataset, ledger: str = "mine") -> Plan:
    manifest = dataset.ledger(ledger).committed()
    assert manifest is not None
    return Plan.model_validate(manifest.meta.plan)


wide = st.floats(-9e9, 9e9).map(lambda value: round(value, 6)) | st.floats(-12, 12).map(lambda value: round(value, 6))


@settings(max_examples=25)
@given(st.lists(st.none() | wide, min_size=POOL, max_size=POOL), st.floats(0.01, 1))
def test_scores_of_any_range_resolve_and_are_swept_exactly(
    unscored: Dataset, values: list[Score], fraction: float
) -> None:
    """A head's score can be anything with six decimals: aesthetics are 1 to 10, logits have no end."""
    there = sorted((value for value in values if value is not None), reverse=True)
    plant(unscored, "wide", values, "head")
    engine = engine_of(unscored)
    recipe = recipe_of(f"name: top, signal: head_wide, top_fraction: {fraction!r}")
    decide_ledger(Decision(recipe), unscored, engine, Silent())
    top = audit_plan(unscored).tops["top"]
    assert top.pool == len(there)
    if there:
        assert top.threshold == there[math.ceil(Fraction(repr(fraction)) * len(there)) - 1]
    assert audit(unscored, "mine").kept == sum(value >= top.threshold for value in there) == top.used
    for point in sweep(unscored, "mine", SweepRequest("head_wide"), engine, Silent()).values:
        assert point.kept == sum(value >= point.value for value in there)
        assert point.pending == POOL - len(there)


def test_thresholds_that_are_offered_of_a_head_are_fine_on_both_sides_of_nothing(unscored: Dataset) -> None:
    """Negative scores are cut as finely as positive ones."""
    plant(unscored, "logit", [-7.25 + n for n in range(POOL)], "head")
    decide_ledger(Decision(recipe_of("signal: head_logit, ge: 0.0")), unscored, engine_of(unscored), Silent())
    swept = sweep(unscored, "mine", SweepRequest("head_logit"), engine_of(unscored), Silent())
    assert (
        len({point.kept for point in swept.values}) > POOL - 2
    )  # of twenty thresholds, two may be between the same values


def test_one_threshold_of_many_values_takes_kilobytes(tmp_path: Path) -> None:
    """What a part says of its scores is as large for 4 pairs as for 20,000."""
    rows = [{"url": f"http://a/{n}", "alt_text": str(n)} for n in range(20_000)]
    sizes = set()
    for number in (4, 20_000):
        dataset = fetched(tmp_path / str(number), rows[:number], {}, parts=20_000)
        chance = np.random.default_rng(number)
        values = np.rint(chance.normal(0.2, 0.1, number).clip(-1, 1) * 1e6) / 1e6
        plant(dataset, "a", values.tolist())
        plan = Plan.unresolved(recipe_of("signal: similarity_a, top_fraction: 0.5"))
        scan = PoolScan(dataset, plan, frozenset(["similarity_a"]), (Counted("similarity_a", MILLIONTHS),))
        coarse = openings(scan, "t", [CodeRange(-1_000_000, 1_000_000, 1000)], [number], engine_of(dataset), Silent())
        fine = tally(scan, {(0, None): [CodeRange(200_000, 200_999, 1)]}, 2**14, 0, ignore)[0, None]
        assert coarse[0, None].number == number
        sizes.add((coarse[0, None].counts.nbytes, fine.counts.nbytes))
        asked = {"similarity_a": [0.001, 0.1, 0.5, 0.9]}
        found = resolve(dataset, plan, asked, engine_of(dataset), Silent())
        down = np.sort(values)[::-1]
        for top in found["similarity_a"]:
            assert top.threshold == down[math.ceil(Fraction(repr(top.fraction)) * number) - 1]
            assert top.used == int((values >= top.threshold).sum())
    assert len(sizes) == 1
    assert sum(sizes.pop()) < 2**15


def test_taking_a_rule_out_resolves_again_and_the_sentence_says_it(unscored: Dataset) -> None:
    values = [n / 100 for n in range(POOL)]
    plant(unscored, "eye", values)
    words = read(unscored, "measured/text")["n_words"].to_list()
    some = [value for value, n in zip(values, words, strict=True) if n >= 2]
    with_rule = decided(unscored, "top_fraction: 0.3", "signal: n_words, ge: 2").tops["similarity_eye"]
    alone = decided(unscored, "top_fraction: 0.3", "signal: n_words, ge: 2", off=["n_words"]).tops["similarity_eye"]
    assert (with_rule.pool, alone.pool) == (len(some), POOL)
    assert with_rule.threshold == sorted(some)[-math.ceil(len(some) * 3 / 10)]
    assert alone.threshold == 0.08
    assert audit(unscored, "mine").notes[0] == (
        "similarity_eye: top_fraction 0.3 became ge 0.08, which 4 of the 12 pairs reach that have a score and that no "
        "other rule fails (33.33%)"
    )
    plant(unscored, "eye", [0.5] * POOL)
    assert (
        decided(unscored, "top_fraction: 0.3")
        .tops["similarity_eye"]
        .sentence("r")
        .endswith("(100.00%); warning: 4 were requested; the others tie with the lowest of them")
    )
    plant(unscored, "eye", [None] * POOL)
    decided(unscored, "top_fraction: 0.3")
    assert audit(unscored, "mine").pending == POOL
    assert "of no pair" in audit(unscored, "mine").notes[0]


def test_other_scores_decide_the_ledger_again(unscored: Dataset) -> None:
    plant(unscored, "eye", [0.1, 0.2] * (POOL // 2))
    first = decided(unscored, "top_fraction: 0.5")
    files = tree(Path(unscored.store.url), "verdicts/mine")
    assert decided(unscored, "top_fraction: 0.5") == first
    assert tree(Path(unscored.store.url), "verdicts/mine") == files
    plant(unscored, "eye", [0.2, 0.1] * (POOL // 2))
    assert decided(unscored, "top_fraction: 0.5").tops == first.tops
    assert tree(Path(unscored.store.url), "verdicts/mine") != files


def test_a_ledger_of_older_scores_is_read_by_nobody_as_one_of_todays(unscored: Dataset, tmp_path: Path) -> None:
    plant(unscored, "eye", [0.1, 0.2] * (POOL // 2))
    decided(unscored, "top_fraction: 0.5")
    engine = engine_of(unscored)
    uid = read(unscored, "pairs")["uid"][0]
    asked = SweepRequest("similarity_eye", ("0.5",))
    readers: list[Callable[[], object]] = [
        lambda: why(unscored, "mine", uid=uid),
        lambda: sweep(unscored, "mine", asked, engine, Silent()),
        lambda: survey(unscored, "mine", engine, Silent()),
        lambda: export(unscored, "mine", Store(tmp_path / "out"), Form("uids"), engine, Silent()),
        lambda: align_data.open(unscored.store.url).verdicts("mine"),
    ]
    for reads in readers:
        reads()
    assert not any("measured again" in note for note in audit(unscored, "mine").notes)
    plant(unscored, "eye", [0.2, 0.1] * (POOL // 2))
    for reads in readers:
        with pytest.raises(
            DatasetError, match=r"decided before similarity_eye was measured again; filter again: align-d"
        ):
            reads()
    assert (
        audit(unscored, "mine").notes[-1] == "decided before these were measured again, so filter again: similarity_eye"
    )


@pytest.mark.spark
def test_spark_decides_alike(unscored: Dataset, spark: Engine) -> None:
    plant(unscored, "eye", [None if n % 5 == 0 else n / 1000 for n in range(POOL)])
    recipe = recipe_of("signal: n_words, ge: 1", "signal: similarity_eye, top_fraction: 0.4")
    for name, engine in (("of-local", engine_of(unscored)), ("of-spark", spark)):
        decide_ledger(Decision(recipe, name=name), unscored, engine, Silent())
    assert audit_plan(unscored, "of-spark") == audit_plan(unscored, "of-local")
    assert read(unscored, "verdicts/of-spark").equals(read(unscored, "verdicts/of-local"))
    assert audit(unscored, "of-local").kept > 0


# --- every command reads it ---


@pytest.fixture(scope="module")
def decided_world(made: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("decided") / "dataset"
    shutil.copytree(made.dataset.store.url, folder)
    dataset = Dataset(Store(folder))
    run(dataset, Eye())
    decided(dataset, "top_fraction: 0.4", "signal: decodable, eq: true")
    decide_ledger(
        Decision(recipe_of("signal: similarity_eye, ge: 0.0"), name="loose"), dataset, engine_of(dataset), Silent()
    )
    return World(dataset, made.expected)


def test_every_report_reads_such_a_ledger(decided_world: World) -> None:
    dataset, scores = decided_world.dataset, stored(decided_world.dataset)
    engine, there = engine_of(dataset), sorted(v for v in scores.values() if v is not None)
    threshold = there[-math.ceil(len(there) * 4 / 10)]
    kept = {uid for uid, value in scores.items() if value is not None and value >= threshold}
    counts = audit(dataset, "mine")
    assert (counts.kept, counts.rules[0].test) == (len(kept), "top_fraction 0.4")
    assert f"became ge {threshold}, which {len(kept)} of the {len(there)}" in counts.notes[0]
    page = audit_html(survey(dataset, "mine", engine, Silent()), dataset, Silent(), pictures=False)
    assert f"top_fraction 0.4 became ge {threshold}" in page
    uid = min(kept)
    (found,) = why(dataset, "mine", uid=uid)
    assert found.values["similarity_eye"] == scores[uid]
    assert found.verdicts[0].sentence == (
        f"similarity_eye is {scores[uid]}; mine asks for the highest 40%, here those of at least {threshold}: pass"
    )
    verdicts = align_data.open(dataset.store.url).verdicts("mine").collect()
    assert set(verdicts.filter(pl.col("outcome") == "kept")["uid"]) == kept
    assert dict(verdicts.select("uid", "similarity_eye").iter_rows()) == scores
    both = diff(dataset, "mine", "loose", engine, Silent())
    assert both.both == len([uid for uid in kept if scores[uid] >= 0])  # type: ignore[operator]
    assert all("similarity_eye" in sample.values for sample in both.only_b.samples)


def test_every_export_has_the_score(decided_world: World, tmp_path: Path) -> None:
    dataset, scores = decided_world.dataset, stored(decided_world.dataset)
    done = [
        export(dataset, "mine", Store(tmp_path / form), Form(form), engine_of(dataset), Silent(), drop_pending=True)
        for form in ("webdataset", "parquet", "metadata")
    ]
    assert len({one.pairs for one in done}) == 1
    told = {uid: json.loads(members["json"]) for uid, members in samples(tmp_path / "webdataset")}
    assert len(told) == done[0].pairs
    assert all(one["signals"]["similarity_eye"] == scores[uid] for uid, one in told.items())
    for form in ("parquet", "metadata"):
        files = sorted((tmp_path / form).rglob("*.parquet"))
        rows = [row for file in files for row in pq.read_table(file).to_pylist()]
        assert {row["uid"]: row["similarity_eye"] for row in rows} == {uid: scores[uid] for uid in told}


def test_another_models_scores_are_another_export(copy: World, tmp_path: Path) -> None:
    run(copy.dataset, Eye())
    run(copy.dataset, Eye(), "beside")
    decided(copy.dataset, "ge: -1.0", "signal: decodable, eq: true")
    form, out = Form("webdataset"), Store(tmp_path / "out")
    export(copy.dataset, "mine", out, form, engine_of(copy.dataset), Silent(), drop_pending=True)
    run(copy.dataset, Eye(digest="other", sign=-1), "beside")  # no rule asks for it, but the shards have it
    with pytest.raises(AlignDataError, match="is not empty, and not of this export"):
        export(copy.dataset, "mine", out, form, engine_of(copy.dataset), Silent(), drop_pending=True)


# --- the command ---


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for what opens a model."""

    def open_model(spec: str, device: str | None = None) -> Eye:
        if spec != "eye":
            raise InputError(f"{spec} is not a model that can be opened")
        return Eye(digest=str(device))

    monkeypatch.setattr("align_data.models.opening.open_model", open_model)


@pytest.mark.usefixtures("loads")
def test_the_command(copy: World, tmp_path: Path) -> None:
    url, there = copy.dataset.store.url, sum(value is not None for value in copy.expected.values())
    done = call("score", "eye", url, "--as", "eye")
    nothing = len(copy.expected) - there
    said = f"similarity_eye: {there} of {there + nothing} pairs have a score, {nothing} have no decodable image"
    assert done.stdout.splitlines() == [said]
    assert "score: " in done.stderr
    assert f"next: align-data filter {url}" in done.stderr
    assert call("score", "eye", url, "--as", "eye").stdout.splitlines() == [f"{said} (all scored before)"]
    again = answer("score", "eye", url, "--as", "eye", "--device", "cuda", "--workers", "3")
    assert again == {
        "signal": "similarity_eye",
        "model": "cuda",
        "pairs": there + nothing,
        "scored": there,
        "computed": there,
    }
    is_expected(stored(copy.dataset), copy.expected)
    (tmp_path / "mine.yaml").write_text("name: mine\nrules:\n  - {signal: similarity_eye, top_fraction: 0.25}\n")
    shown = call("filter", url, "--recipe", tmp_path / "mine.yaml")
    assert "similarity_eye: top_fraction 0.25 became ge " in shown.stderr
    assert "top_fraction 0.25 *" in call("audit", url, "--recipe", "mine").stdout
    swept = answer("sweep", url, "--recipe", "mine", "--signal", "similarity_eye", "--values", "0.25,1")
    assert [point["kept"] for point in swept["values"]] == [math.ceil(there / 4), there]
    assert "asks for the highest 25%" in call("why", url, "--recipe", "mine", min(copy.expected)).stdout
    assert call("signals", "similarity_eye").stdout.startswith("name        similarity_eye")


@pytest.mark.usefixtures("loads")
def test_what_the_command_refuses_is_a_sentence(copy: World, dataset_without_images: Path) -> None:
    url = copy.dataset.store.url
    for arguments, said in (
        (["nothing", url, "--as", "eye"], "Error: nothing is not a model that can be opened"),
        (["eye", url, "--as", "Eye"], "Error: 'Eye' is not a valid score name"),
        (["eye", dataset_without_images, "--as", "eye"], "has no images to score: run align-data fetch"),
        (["eye", f"{url}/no", "--as", "eye"], "is not a dataset; make one with"),
    ):
        assert said in call("score", *arguments, code=1).stderr
    assert "Missing option '--as'" in call("score", "eye", url, code=2).stderr


def test_a_model_that_fails_leaves_no_empty_folder(copy: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(Eye):
        def images(self, pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
            return super().images(pixels) * np.float32("nan")

    monkeypatch.setattr("align_data.models.opening.open_model", lambda spec, device: Failing(digest=digest_of(spec)))
    before = sorted(Path(copy.dataset.store.url).rglob("*/"))
    for command in ("score", "embed"):
        assert "not numbers" in call(command, "eye", copy.dataset.store.url, "--as", "never", code=1).stderr
    assert sorted(Path(copy.dataset.store.url).rglob("*/")) == before


@pytest.fixture
def dataset_without_images(job: Callable[..., Built]) -> Path:
    return Path(job([{"url": "http://a/1", "alt_text": "a"}]).dataset.store.url)


# --- by embeddings that are stored ---


def digest_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def eye(name: str = "eye", **more: Any) -> Eye:
    return Eye(digest=digest_of(name), **more)


def embedded(dataset: Dataset, model: Any, name: str = "eye", **options: Any) -> None:
    embed(SharedModel.holding("eye", None, model), dataset, name, engine_of(dataset), Silent(), **options)


def by_name(dataset: Dataset, model: Any, name: str = "eye", embeddings: str = "eye", said: Any = None) -> Scored:
    shared = None if model is None else SharedModel.holding("eye", None, model)
    return score_embedded(embeddings, shared, dataset, name, engine_of(dataset), said or Silent())


class Told(Silent):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)


def near(found: dict[str, Score], expected: dict[str, Score], within: float) -> None:
    assert found.keys() == expected.keys()
    for uid, value in expected.items():
        assert found[uid] is None if value is None else abs(found[uid] - value) < within, uid  # type: ignore[operator]


def rounded(colour: Sequence[int]) -> NDArray[np.float64]:
    """Return the embedding of an image of one colour as it is stored, by numpy alone."""
    stored_vector = unit(np.array([[*colour, *colour]])).astype(np.float16).astype(np.float64)[0]
    return stored_vector / np.linalg.norm(stored_vector)


def test_stored_embeddings_score_without_decoding_an_image(copy: World, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = copy.dataset
    embedded(dataset, eye(), texts=True)
    monkeypatch.setattr("align_data.decoding.preparing.preparer.Child", None)  # none can be started from here on
    reader, there = eye(), sum(value is not None for value in copy.expected.values())
    done = by_name(dataset, reader)
    assert done == Scored("similarity_eye", digest_of("eye"), len(copy.expected), there, there)
    assert (reader.images_seen, len(reader.texts_read)) == (0, there)
    near(stored(dataset), copy.expected, 5e-4)  # the images' side is rounded to float16, and only that
    pairs = dict(zip(read(dataset, "pairs")["uid"], read(dataset, "pairs").rows(named=True), strict=True))
    colours = colours_of()
    for uid, value in stored(dataset).items():
        if value is not None:
            text = np.array(numbers(pairs[uid]["alt_text"]), np.float64)
            exact = float(rounded(colours[pairs[uid]["url"]]) @ text / np.linalg.norm(text))
            assert value == round(value, 6)
            assert abs(value - exact) < 1.5e-6
    assert by_name(dataset, eye()).computed == 0
    # With the texts' embeddings stored too no model is needed at all.
    assert texts_are_stored(dataset, "eye")
    assert by_name(dataset, None, "stored").computed == there
    near(stored(dataset, "stored"), copy.expected, 1e-3)
    assert {"similarity_eye", "similarity_stored"} <= available(dataset, dataset.ingested())


def colours_of() -> dict[str, tuple[int, int, int]]:
    """Return the colour of each image of `world`."""
    chance = random.Random(7)
    return {f"http://h{n % 3}/{n}.png": tuple(chance.randrange(256) for _ in range(3)) for n in range(40)}  # type: ignore[misc]


def test_scores_of_the_two_ways_are_told_apart_and_never_mixed(copy: World) -> None:
    dataset, told = copy.dataset, Told()
    run(dataset, eye())
    of_pixels = stored(dataset)
    embedded(dataset, eye())
    with pytest.raises(KeyboardInterrupt):
        by_name(dataset, eye(fails_after=30), said=told)
    assert told.sentences == [
        (
            "similarity_eye was scored from decoded images, and is scored anew from stored embeddings (float16): the two "
            "differ in the last decimals, and are not mixed"
        )
    ]
    assert "similarity_eye" not in available(dataset, dataset.ingested())
    assert run(dataset, eye()).computed > 0  # the parts of the other way are not taken for its own
    assert stored(dataset) == of_pixels
    assert by_name(dataset, eye()).computed > 0
    assert stored(dataset) != of_pixels
    manifest = dataset.measured("score.eye").committed()
    assert manifest is not None
    assert manifest.meta.signals["similarity_eye"]["vectors"]["images"] == "float16"


def test_more_embeddings_are_scored_and_the_rest_stays(copy: World) -> None:
    dataset = copy.dataset
    decide_ledger(
        Decision(recipe_of("signal: n_chars, ge: 12", name="long"), name="long"), dataset, engine_of(dataset), Silent()
    )
    embedded(dataset, eye(), only_open="long")
    some = by_name(dataset, eye())
    texts = dict(read(dataset, "pairs").select("uid", "alt_text").iter_rows())
    urls = dict(read(dataset, "pairs").select("uid", "url").iter_rows())
    open_urls = {urls[uid] for uid, text in texts.items() if len(text) >= 12}
    few = {uid: value if urls[uid] in open_urls else None for uid, value in copy.expected.items()}
    near(stored(dataset), few, 5e-4)
    assert 0 < some.scored < sum(value is not None for value in copy.expected.values())
    embedded(dataset, eye())
    assert by_name(dataset, eye()).computed > 0
    near(stored(dataset), copy.expected, 5e-4)


def test_embeddings_that_are_older_than_the_images_are_said_to_be(copy: World) -> None:
    dataset, told = copy.dataset, Told()
    embedded(dataset, eye())
    by_name(dataset, eye(), said=told)
    assert told.sentences == []
    images = dataset.images.committed()
    assert images is not None
    piece = pl.concat(dataset.images.pieces(0, dataset.images.contract.arrow().names))
    gone = pl.col("url") == piece.filter(pl.col("tar").is_not_null())["url"][0]
    less = piece.with_columns(
        status=pl.when(gone).then(pl.lit("http_404")).otherwise("status"),
        **{name: pl.when(~gone).then(name) for name in ("tar", "offset", "size")},
    )
    with dataset.images.writer(0, {}) as writer:
        writer.write(less)
    assert writer.info is not None
    dataset.images.commit([writer.info, *images.parts[1:]], images.meta)
    measure(dataset, engine_of(dataset), Silent(), ["decodable", "sha256"])
    by_name(dataset, eye(), said=told)
    assert len(told.sentences) == 1
    assert told.sentences[0].startswith("the embeddings eye are older than the last fetch or measure: pairs of images")


def test_another_model_than_the_embeddings_have_is_a_sentence(copy: World) -> None:
    dataset = copy.dataset
    with pytest.raises(DatasetError, match="has no embeddings 'eye'"):
        by_name(dataset, eye())
    embedded(dataset, eye())
    with pytest.raises(SignalError, match=r"the embeddings eye are of another model than eye \(SHA-256 .*--model"):
        by_name(dataset, eye("other"))
    with pytest.raises(SignalError, match="the texts have no embeddings eye"):
        by_name(dataset, None)
    assert not list(Path(dataset.store.url).glob("measured/score.*"))


@dataclass
class Bright:
    """A head that says how bright an image is: 10 for white, and less than nothing for what is dark."""

    dim: int = 6
    name: str = "bright"

    @property
    def identity(self) -> ModelIdentity:
        return ModelIdentity("head", digest_of(self.name))

    def check_encoder(self, digest: str, dim: int) -> None:
        if dim != self.dim:
            raise SignalError(f"the head takes {self.dim} numbers")

    def score(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        return 40 * vectors[:, 0] - 9.5


def test_a_head_scores_images_by_their_embeddings(copy: World) -> None:
    dataset = copy.dataset
    embedded(dataset, eye())
    done = score_by_head("eye", Bright(), dataset, "bright", engine_of(dataset), Silent())
    assert (done.signal, done.scored) == ("head_bright", sum(v is not None for v in copy.expected.values()))
    values = dict(zip(read(dataset, "pairs")["uid"], read(dataset, "measured/head.bright")["head_bright"], strict=True))
    urls = dict(read(dataset, "pairs").select("uid", "url").iter_rows())
    colours = colours_of()
    exact = {
        uid: None if score is None else 40 * rounded(colours[urls[uid]])[0] - 9.5
        for uid, score in copy.expected.items()
    }
    near(values, exact, 1.5e-6)
    assert score_by_head("eye", Bright(), dataset, "bright", engine_of(dataset), Silent()).computed == 0
    assert score_by_head("eye", Bright(name="b"), dataset, "bright", engine_of(dataset), Silent()).computed > 0
    with pytest.raises(SignalError, match="the head takes 5 numbers"):
        score_by_head("eye", Bright(dim=5), dataset, "bright", engine_of(dataset), Silent())
    assert "head_bright" in available(dataset, dataset.ingested())


@dataclass
class Judge(Eye):
    """A pair scorer: it looks at image and text together."""

    def scores(self, images: Sequence[NDArray[np.uint8]], texts: Sequence[str]) -> NDArray[np.float32]:
        self.texts_read += texts
        return np.array([(image.mean() + len(text)) / 512 for image, text in zip(images, texts, strict=True)], "f4")


def test_a_pair_scorer_writes_its_own_signal(copy: World) -> None:
    judge, dataset = Judge(), copy.dataset
    done = run(dataset, judge, "blip")
    there = {uid for uid, value in copy.expected.items() if value is not None}
    assert (done.signal, done.scored, len(judge.texts_read)) == ("itm_blip", len(there), len(there))
    values = dict(zip(read(dataset, "pairs")["uid"], read(dataset, "measured/itm.blip")["itm_blip"], strict=True))
    colours = colours_of()
    for row in read(dataset, "pairs").rows(named=True):
        value = values[row["uid"]]
        if row["uid"] in there:
            assert abs(value - (np.mean(colours[row["url"]]) + len(row["alt_text"])) / 512) < 1e-6
        else:
            assert value is None


def test_the_command_by_name_and_by_head(copy: World, tmp_path: Path) -> None:
    url = copy.dataset.store.url
    model = write_encoder(tmp_path / "tiny")
    there = sum(value is not None for value in copy.expected.values())
    total = f"{there} of {len(copy.expected)} pairs have a score, {len(copy.expected) - there} have no"
    assert "Missing option '--as'" in call("score", model, url, code=2).stderr
    assert "--model goes with embeddings, and" in call("score", "no", url, "--as", "a", "--model", model, code=2).stderr
    call("embed", model, url, "--as", "tiny")
    assert call("score", "tiny", url).stdout.splitlines() == [f"similarity_tiny: {total} image that is embedded"]
    assert call("score", model, url, "--as", "decoded").stdout.splitlines() == [
        f"similarity_decoded: {total} decodable image"
    ]
    assert any(value is not None for value in stored(copy.dataset, "tiny").values())
    near(stored(copy.dataset, "tiny"), stored(copy.dataset, "decoded"), 1e-3)
    chance = np.random.default_rng(1)
    np.savez(tmp_path / "head.npz", weight=chance.normal(size=(1, 48)), bias=chance.normal(size=1))
    (tmp_path / "head.yaml").write_text("dim: 48\nrange: [-100, 100]\n")
    assert "Missing option '--as'" in call("score", "tiny", url, "--head", tmp_path / "head.npz", code=2).stderr
    done = call("score", "tiny", url, "--head", tmp_path / "head.npz", "--as", "aesthetics")
    assert done.stdout.splitlines() == [f"head_aesthetics: {total} image that is embedded"]
    weights = np.load(tmp_path / "head.npz")
    vectors = {
        key: np.frombuffer(value, "<f2").astype(np.float64)
        for key, value in read(copy.dataset, "embedded/tiny").select("sha256", "embedding").iter_rows()
    }
    keys = dict(read(copy.dataset, "content").select("url", "sha256").iter_rows())
    for row, value in zip(
        read(copy.dataset, "pairs").rows(named=True),
        read(copy.dataset, "measured/head.aesthetics")["head_aesthetics"],
        strict=True,
    ):
        vector = vectors.get(keys[row["url"]])
        if vector is None:
            assert value is None
        else:
            exact = weights["weight"][0] @ (vector / np.linalg.norm(vector)) + weights["bias"][0]
            assert value == pytest.approx(exact, abs=6e-7)
    # Another model where the embeddings' was: nothing is mixed, and the way out is said.
    shutil.move(model, tmp_path / "moved")
    write_encoder(tmp_path / "tiny", seed=8)
    refused = call("score", "tiny", url, "--as", "again", code=1).stderr
    assert f"the embeddings tiny are of another model than {model} (SHA-256 " in refused
    assert call("score", "tiny", url, "--as", "again", "--model", tmp_path / "moved").stdout.startswith("similarity_ag")
    assert stored(copy.dataset, "again") == stored(copy.dataset, "tiny")
