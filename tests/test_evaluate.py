"""Evaluation and search: every figure against a slow oracle written from its definition, and planted truth."""

from __future__ import annotations

import html
import io
import itertools
import json
import re
import statistics
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import comb, sqrt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_report import ATTACKS

from align_data.cli import main
from align_data.common.errors import AlignDataError, DatasetError, InputError
from align_data.common.progress import Silent
from align_data.models.spaces import SPHERE
from align_data.report import search_html
from align_data.storage.tars import ending, member
from align_data.train.embed import batches, embed
from align_data.train.evaluate import evaluate
from align_data.train.labels import read_classes, read_labels, read_templates
from align_data.train.metrics import (
    BlockSize,
    distinct,
    ensemble,
    estimates,
    neighbours,
    ranks,
    retrieval,
    scores,
    unit,
)
from align_data.train.search import Part, combine, search
from align_data.train.shards import Shards
from align_data.train.zero_shot import Classes

# Few values, so that many scores are equal; multiples of 1/4 stay what they are.
coordinate = st.integers(-2, 2).map(lambda value: value / 4)


def vectors(most: int) -> st.SearchStrategy[np.ndarray]:
    return st.lists(st.lists(coordinate, min_size=2, max_size=2), min_size=1, max_size=most).map(
        lambda rows: np.array(rows, np.float32)
    )


@dataclass(frozen=True)
class Case:
    queries: np.ndarray
    gallery: np.ndarray
    right: list[tuple[int, int]]
    block: BlockSize


@st.composite
def cases(draw: st.DrawFn) -> Case:
    queries, gallery = draw(vectors(5)), draw(vectors(6))
    answer = st.integers(0, len(gallery) - 1)
    right = [(row, draw(answer)) for row in range(len(queries))]  # one at least
    right += draw(st.lists(st.tuples(st.integers(0, len(queries) - 1), answer), max_size=8))
    return Case(
        queries, gallery, draw(st.permutations(right)), BlockSize(draw(st.integers(1, 6)), draw(st.integers(1, 7)))
    )


def dot(a: Sequence[float], b: Sequence[float]) -> Fraction:
    return sum((Fraction(float(x)) * Fraction(float(y)) for x, y in zip(a, b, strict=True)), Fraction(0))


def all_ranks(query: Sequence[float], gallery: Sequence[Sequence[float]], right: set[int]) -> list[int]:
    """Return the rank of the best right answer in every order that has higher scores first: all orders of equal ones."""
    found = [dot(query, row) for row in gallery]
    best: list[int] = []
    for shuffled in itertools.permutations(range(len(gallery))):
        order = sorted(shuffled, key=lambda place: -found[place])  # stable
        best.append(next(rank for rank, place in enumerate(order, 1) if place in right))
    return best


@given(cases())
def test_ranks_are_the_means_over_all_orders_of_equal_scores(case: Case) -> None:
    query, answer = (np.array(some) for some in zip(*case.right, strict=True))
    found = ranks(case.queries, case.gallery, query, answer, case.block)
    for row, vector in enumerate(case.queries):
        every = all_ranks(vector, case.gallery, {b for a, b in case.right if a == row})
        assert found.expected()[row] == pytest.approx(statistics.fmean(every))
        for k in (1, 2, 5, 10):
            assert found.hits(k)[row] == pytest.approx(sum(rank <= k for rank in every) / len(every), abs=1e-12)


@given(st.data())
def test_retrieval_counts_equal_texts_and_equal_images_once(data: st.DataObject) -> None:
    image_vectors, text_vectors = data.draw(vectors(4)), data.draw(vectors(4))
    pair = st.tuples(st.integers(0, len(image_vectors) - 1), st.integers(0, len(text_vectors) - 1))
    pairs = data.draw(st.lists(pair, min_size=1, max_size=7))
    image_rows, image_of = distinct(image for image, _ in pairs)
    text_rows, text_of = distinct(f"text {text}" for _, text in pairs)
    images = image_vectors[[pairs[row][0] for row in image_rows]]
    texts = text_vectors[[pairs[row][1] for row in text_rows]]
    found = retrieval(images, texts, image_of, text_of, block=BlockSize(2, 3))

    of_image: dict[int, set[int]] = {}
    of_text: dict[int, set[int]] = {}
    for image, text in pairs:
        of_image.setdefault(image, set()).add(text)
        of_text.setdefault(text, set()).add(image)
    for direction, right, mine, others in (
        (found.image_to_text, of_image, image_vectors, text_vectors),
        (found.text_to_image, of_text, text_vectors, image_vectors),
    ):
        gallery = sorted(of_text if right is of_image else of_image)
        every = [
            all_ranks(mine[query], [others[place] for place in gallery], {gallery.index(one) for one in answers})
            for query, answers in right.items()
        ]
        assert (direction.queries, direction.gallery) == (len(right), len(gallery))
        for k, estimate in ((1, direction.r_at_1), (5, direction.r_at_5), (10, direction.r_at_10)):
            want = statistics.fmean(sum(rank <= k for rank in some) / len(some) for some in every)
            assert estimate.value == pytest.approx(want, abs=1e-12)
            assert 0 <= estimate.low <= estimate.high <= 1 + 1e-12
        assert direction.median_rank.value == pytest.approx(statistics.median(map(statistics.fmean, every)))
        # Chance is what a tower gets that says the same of all.
        same = np.zeros_like(mine[:1])
        blind = ranks(np.repeat(same, len(right), 0), others[gallery], *_edges(right, gallery))
        assert direction.chance == pytest.approx(blind.hits(1).mean())


def _edges(right: dict[int, set[int]], gallery: list[int]) -> tuple[np.ndarray, np.ndarray]:
    edges = [(row, gallery.index(one)) for row, answers in enumerate(right.values()) for one in answers]
    first, second = zip(*edges, strict=True)
    return np.array(first), np.array(second)


@given(st.integers(0, 12), st.integers(1, 4), st.integers(0, 9), st.integers(1, 14))
def test_hits_among_equals_are_the_hypergeometric_chance(level: int, right: int, above: int, k: int) -> None:
    found = ranks_of(above, level, right)
    drawn = min(max(k - above, 0), level + right)
    assert found.hits(k)[0] == pytest.approx(1 - comb(level, drawn) / comb(level + right, drawn), abs=1e-12)


def ranks_of(above: int, level: int, right: int) -> Any:
    """Make one query with so many answers above, level and right."""
    gallery = np.array([[1.0]] * above + [[0.5]] * (level + right) + [[0.0]], np.float32)
    answer = np.arange(above + level, above + level + right)
    found = ranks(np.ones((1, 1), np.float32), gallery, np.zeros(right, np.int64), answer)
    assert (found.above[0], found.level[0], found.answers[0]) == (above, level, right)
    return found


def random_unit(number: int, dim: int, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(number, dim)).astype(np.float32))


def test_scores_are_exact_so_blocks_and_places_change_nothing() -> None:
    """Sums of float32 depend on the order in which a library adds, and so on where in a block a row is."""
    images = random_unit(5, 640)
    texts = np.repeat(random_unit(1, 640, 1), 301, axis=0)
    found = scores(images, texts)
    assert (found == found[:, :1]).all()
    rounded = [[Fraction(round(float(x) * 2**24), 2**24) for x in row] for row in (images[0], texts[0])]
    assert Fraction(found[0, 0]) == sum((x * y for x, y in zip(*rounded, strict=True)), Fraction(0))
    at = np.arange(301)
    for block in (BlockSize(1, 1), BlockSize(7, 64), BlockSize(301, 301)):
        tied = ranks(texts, images, at, at % 5, block)
        other = ranks(images, texts, at % 5, at, block)
        assert (tied.above == ranks(texts, images, at, at % 5).above).all()
        assert (other.level + other.answers == 301).all()


def test_memory_is_bounded_by_the_block() -> None:
    many = random_unit(3000, 8)
    rows = np.arange(len(many))
    ranks(many[:10], many[:10], rows[:10], rows[:10])
    tracemalloc.start()
    ranks(many, many, rows, rows, BlockSize(100, 200))
    neighbours(many, rows % 7, BlockSize(100, 200))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000 < len(many) ** 2  # a byte a score would be 9 MB


@given(st.data())
def test_nearest_neighbours_are_what_the_definition_says(data: st.DataObject) -> None:
    images = data.draw(vectors(7).filter(lambda rows: len(rows) > 1))
    classes = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(images), max_size=len(images))))
    found = neighbours(images, classes, BlockSize(data.draw(st.integers(1, 8)), data.draw(st.integers(1, 8))))
    for row, vector in enumerate(images):
        others = {place: dot(vector, other) for place, other in enumerate(images) if place != row}
        nearest = [place for place, score in others.items() if score == max(others.values())]
        assert found[row] == pytest.approx(sum(classes[place] == classes[row] for place in nearest) / len(nearest))


def test_the_bootstrap_is_that_of_its_draws() -> None:
    values = np.random.default_rng(1).random(9)
    mean, median = estimates([(values, np.mean), (values, np.median)], seed=5, draws=200)
    picks = np.random.default_rng(5).integers(0, 9, (200, 9)).tolist()
    drawn = [[values[place] for place in some] for some in picks]
    for found, statistic in ((mean, statistics.fmean), (median, statistics.median)):
        ends = np.percentile([statistic(some) for some in drawn], (2.5, 97.5))
        assert found.value == pytest.approx(statistic(values.tolist()))
        assert (found.low, found.high) == pytest.approx(tuple(ends))


def test_the_bootstrap_does_not_depend_on_how_much_is_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).random(50)
    whole = estimates([(values, np.mean)])
    monkeypatch.setattr("align_data.train.metrics._CELLS", 120)
    assert estimates([(values, np.mean)]) == whole


def test_the_bootstrap_covers_a_known_share_about_as_often_as_it_says() -> None:
    chance = np.random.default_rng(3)
    covered = 0
    for seed in range(300):
        (found,) = estimates([((chance.random(150) < 0.3).astype(float), np.mean)], seed, draws=400)
        covered += found.low <= 0.3 <= found.high
    assert 0.90 <= covered / 300 <= 0.98
    (certain,) = estimates([(np.ones(20), np.mean)])
    assert (certain.value, certain.low, certain.high) == (1, 1, 1)


def test_an_ensemble_is_the_mean_of_unit_vectors() -> None:
    prompts = np.array([[[3, 0], [0, 0.5]], [[0, 2], [0, 7]]], np.float32)
    assert ensemble(prompts) == pytest.approx(np.array([[sqrt(0.5), sqrt(0.5)], [0, 1]]), abs=1e-6)
    assert ensemble(np.zeros((1, 2, 3), np.float32)).tolist() == [[0, 0, 0]]


# Shards whose images are of one colour, which a model that looks at nothing else can tell apart.

SIDE = 8
DIM = 32


def code_of(pixel: Sequence[int]) -> int:
    red, green = (round((value - 8) / 16) for value in pixel[:2])
    return int(16 * red + green)


def picture(code: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 14), (16 * (code // 16) + 8, 16 * (code % 16) + 8, 128)).save(out, "PNG")
    return out.getvalue()


class Fake:
    """Embeds an image of code n, and a text whose first number is n, as the n-th of some vectors."""

    side, dim, digest, temperature, space = SIDE, DIM, "fake", 0.1, SPHERE

    def __init__(self, *, blur: float = 0.0, constant: bool = False) -> None:
        self.table = random_unit(256, DIM, 7)
        self.noise = random_unit(256, DIM, 8) * blur
        self.constant = constant
        self.asked: list[str] = []

    def images(self, pixels: np.ndarray) -> np.ndarray:
        assert pixels.shape[1:] == (SIDE, SIDE, 3)
        assert pixels.dtype == np.uint8
        codes = [0 if self.constant else code_of(image[SIDE // 2, SIDE // 2]) for image in pixels]
        return unit(self.table[codes] + self.noise[codes])

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        numbers = [re.search(r"\d+", text) for text in texts]
        return self.table[[int(number[0]) % 256 if number else 255 for number in numbers]]


def uid_of(image: int, pair: int) -> str:
    return f"{image:016x}{pair:016x}"


@dataclass(frozen=True)
class Row:
    image: int
    text: str
    content: bytes | None = None


def write_shards(folder: Path, rows: Sequence[Row], size: int = 100) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(rows), size):
        content = bytearray()
        for place, row in enumerate(rows[start : start + size], start):
            known = {"uid": uid_of(row.image, place), "url": f"http://h/{row.image}.png", "alt_text": row.text}
            image = picture(row.image % 256) if row.content is None else row.content
            files = {"png": image, "txt": row.text.encode(), "json": json.dumps(known).encode()}
            for extension, some in files.items():
                content += b"".join(member(f"{place:09}.{extension}", some))
        (folder / f"{start // size:05}.tar").write_bytes(content + ending(len(content)))
    return folder


def rows(number: int) -> list[Row]:
    return [Row(code, f"the number {code}") for code in range(number)]


def opened(folder: Path, some: Sequence[Row]) -> Shards:
    return Shards.open(str(write_shards(folder, some)))


def test_all_pairs_are_embedded_in_order_whatever_the_batch(tmp_path: Path) -> None:
    some = [*rows(30), Row(3, "again 3"), Row(200, "broken", b"\x89PNG\r\n\x1a\n no picture"), Row(4, "日本 \0 4")]
    model = Fake()
    found = embed(model, opened(tmp_path, some), Silent(), size=7)
    whole = [row for row in some if row.content is None]
    assert found.alt_texts == [row.text for row in whole]
    assert found.urls == [f"http://h/{row.image}.png" for row in whole]
    assert list(found.undecodable) == [uid_of(200, 31)]
    assert "decoded" in found.undecodable[uid_of(200, 31)]
    assert found.images == pytest.approx(model.table[[row.image for row in whole]], abs=1e-6)
    for size in (1, 1000):
        again = embed(model, opened(tmp_path, some), Silent(), size=size)
        assert again.uids == found.uids
        assert (again.images == found.images).all()
        assert (again.texts == found.texts).all()


def test_what_is_not_asked_for_is_not_made(tmp_path: Path) -> None:
    model = Fake()
    broken = opened(tmp_path, [Row(1, "a 1", b"no image"), Row(2, "a 2")])
    (texts,) = batches(model, broken, Silent(), images=False)
    assert (texts.images.shape, texts.texts.shape, texts.undecodable) == ((0, DIM), (2, DIM), {})
    model.asked.clear()
    (images,) = batches(model, broken, Silent(), texts=False)
    assert (images.images.shape, images.texts.shape, len(images.undecodable)) == ((1, DIM), (0, DIM), 1)
    assert model.asked == []


def test_a_model_that_knows_finds_all_and_shuffled_captions_come_out_at_chance(tmp_path: Path) -> None:
    found = evaluate(Fake(), opened(tmp_path, rows(100)), Silent())
    for direction in (found.retrieval.image_to_text, found.retrieval.text_to_image):
        assert direction.r_at_1.value == direction.r_at_1.low == 1
        assert direction.median_rank.value == 1
        assert direction.chance == pytest.approx(0.01)
    assert found.shuffled.r_at_1.value < 0.06  # six of 100 fixed points: once in 1,700 shuffles
    assert found.shuffled.chance == pytest.approx(0.01)
    assert found.notes == ()
    assert json.loads(json.dumps(found.to_json()))["retrieval"]["image_to_text"]["r_at_10"]["value"] == 1


def test_a_shuffled_caption_column_is_caught(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(100)
    found = evaluate(Fake(), opened(tmp_path, [Row(n, f"the number {order[n]}") for n in range(100)]), Silent())
    assert found.retrieval.image_to_text.r_at_1.value < 0.06
    assert [note.partition(" is not beyond chance")[0] for note in found.notes] == [
        "image to text R@1",
        "text to image R@1",
    ]


def test_a_constant_image_tower_is_caught_and_exactly_at_chance(tmp_path: Path) -> None:
    found = evaluate(Fake(constant=True), opened(tmp_path, rows(100)), Silent())
    down, up = found.retrieval.image_to_text, found.retrieval.text_to_image
    assert down.r_at_1.value == pytest.approx(0.01)  # the one text that is nearest is right for one image
    assert (up.r_at_1.value, up.r_at_5.value, up.r_at_10.value) == pytest.approx((0.01, 0.05, 0.10))
    assert up.median_rank.value == pytest.approx(50.5)
    assert found.notes[0] == "all 100 images have the same embedding: the image tower is constant"
    assert len(found.notes) == 3


def test_several_right_answers_count_as_the_best_of_them(tmp_path: Path) -> None:
    """Images 0 and 1 share a text, image 2 has a true and a false one; nothing else is wrong."""
    some = [Row(0, "number 0"), Row(1, "number 0"), Row(2, "number 99"), Row(2, "number 2"), *rows(60)[3:]]
    found = evaluate(Fake(), opened(tmp_path, some), Silent()).retrieval
    assert (found.image_to_text.queries, found.image_to_text.gallery) == (60, 60)
    assert found.image_to_text.r_at_1.value == pytest.approx(59 / 60)  # image 1's only text is another image's
    assert found.text_to_image.r_at_1.value == pytest.approx(59 / 60)  # "number 99" is of an image that is not 99
    assert found.image_to_text.chance == pytest.approx(61 / 3600)


def test_the_same_seed_gives_the_same_figures_and_another_moves_only_intervals(tmp_path: Path) -> None:
    shards = opened(tmp_path, [Row(n, f"the number {n if n % 3 else n + 1}") for n in range(90)])
    one, again, other = (evaluate(Fake(), shards, Silent(), seed=seed) for seed in (0, 0, 1))
    assert one == again
    assert one.retrieval.image_to_text.r_at_1.value == other.retrieval.image_to_text.r_at_1.value
    assert one.retrieval != other.retrieval
    assert one.retrieval.image_to_text.r_at_1.low < 2 / 3 < one.retrieval.image_to_text.r_at_1.high


def test_classes_by_prompts_and_by_neighbours_against_an_oracle(tmp_path: Path) -> None:
    """Labels are of class n % 5, prompts of the numbers 0 to 4: a model that knows numbers, and not classes."""
    model = Fake(blur=1.2)
    shards = opened(tmp_path, rows(40))
    labels = {uid_of(n, n): f"class {n % 5}" for n in range(40) if n != 7}
    names = tuple(f"class {n}" for n in range(5))
    templates = ("a photo of {}", "{} and 17", "8 {}")
    found = evaluate(model, shards, Silent(), classes=Classes(labels, names, templates))
    assert found.zero_shot is not None
    assert found.neighbours is not None
    assert {"a photo of class 3", "class 3 and 17", "8 class 3"} <= set(model.asked)

    images = [model.images(np.full((1, SIDE, SIDE, 3), colour(n), np.uint8))[0] for n in range(40) if n != 7]
    of_class = [n % 5 for n in range(40) if n != 7]
    prompts = []
    for name in names:
        total = sum(model.texts([template.replace("{}", name)])[0].astype(float) for template in templates)
        prompts.append(total / np.linalg.norm(total))
    first = second = near = 0
    for row, (image, right) in enumerate(zip(images, of_class, strict=True)):
        order = sorted(range(5), key=lambda place: -float(image @ prompts[place]))
        first += order[0] == right
        second += right in order[:5]
        others = [place for place in range(len(images)) if place != row]
        near += of_class[max(others, key=lambda place: float(image @ images[place]))] == right
    assert found.zero_shot.top_1.value == pytest.approx(first / 39)
    assert found.zero_shot.top_5.value == pytest.approx(second / 39) == 1
    assert found.neighbours.r_at_1.value == pytest.approx(near / 39)
    assert (found.zero_shot.images, found.zero_shot.classes, found.zero_shot.templates) == (39, 5, 3)
    assert found.neighbours.chance == pytest.approx((4 * 8 * 7 + 7 * 6) / (39 * 38))


def colour(code: int) -> tuple[int, int, int]:
    return 16 * (code // 16) + 8, 16 * (code % 16) + 8, 128


def test_a_constant_tower_classifies_at_chance(tmp_path: Path) -> None:
    class Blind(Fake):
        def texts(self, texts: Sequence[str]) -> np.ndarray:
            return self.table[[0] * len(texts)]

    labels = {f"http://h/{n}.png": f"{n % 10}" for n in range(40)}
    classes = Classes(labels, tuple(str(n) for n in range(10)))
    found = evaluate(Blind(constant=True), opened(tmp_path, rows(40)), Silent(), classes=classes)
    assert found.zero_shot is not None
    assert found.neighbours is not None
    assert (found.zero_shot.top_1.value, found.zero_shot.top_5.value) == pytest.approx((0.1, 0.5))
    assert found.neighbours.r_at_1.value == pytest.approx(found.neighbours.chance) == pytest.approx(3 / 39)
    assert len(found.notes) == 6


def test_nan_embeddings_are_a_sentence(tmp_path: Path) -> None:
    model = Fake()
    model.table[5] = np.nan
    with pytest.raises(AlignDataError, match="not numbers"):
        evaluate(model, opened(tmp_path, rows(9)), Silent())


# Labels and the like, as files


@pytest.mark.parametrize("ending", ["parquet", "csv", "json", "jsonl"])
def test_labels_are_read_from_every_format(tmp_path: Path, ending: str) -> None:
    frame = pl.DataFrame({"label": ["cat", "7", None, "cat"], "url": ["u1", "u2", "u3", "u1"]})
    file = tmp_path / f"labels.{ending}"
    write = {
        "parquet": frame.write_parquet,
        "csv": frame.write_csv,
        "json": frame.write_json,
        "jsonl": frame.write_ndjson,
    }
    write[ending](file)
    assert read_labels(str(file)) == {"u1": "cat", "u2": "7"}


def test_numbers_are_labels_too(tmp_path: Path) -> None:
    pl.DataFrame({"uid": ["a", "b"], "label": [3, 11]}).write_parquet(tmp_path / "l.parquet")
    assert read_labels(str(tmp_path / "l.parquet")) == {"a": "3", "b": "11"}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("l.txt", "", "labels are read from .parquet, .csv, .json, .jsonl"),
        ("l.csv", "", "cannot read the labels"),
        ("l.json", "{", "cannot read the labels"),
        ("l.parquet", "PAR1", "cannot read the labels"),
        ("l.csv", "uid,class\na,b\n", "has the columns uid, class: labels need uid or url, and label"),
        ("l.csv", "uid,label\na,b\na,c\n", "labels a both 'b' and 'c'"),
        ("l.json", '[{"uid": "a", "label": ["x"]}]', "must be texts or numbers"),
        ("absent.csv", None, "cannot read the labels"),
    ],
)
def test_bad_labels_are_sentences(tmp_path: Path, name: str, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=re.escape(says)):
        read_labels(str(tmp_path / name))


def test_classes_and_templates_are_lines(tmp_path: Path) -> None:
    file = tmp_path / "some.txt"
    file.write_text("\ufeffa {} here\n\n  the {}  \n", encoding="utf-8")
    assert read_templates(str(file)) == ("a {} here", "the {}")
    for content, says in (("a photo\n", "must contain"), ("{} {}\n", "exactly once"), ("\n \n", "has no templates")):
        file.write_text(content)
        with pytest.raises(InputError, match=says):
            read_templates(str(file))
    for content, says in (("", "has no classes"), ("cat\ndog\ncat\n", "'cat' twice")):
        file.write_text(content)
        with pytest.raises(InputError, match=says):
            read_classes(str(file))
    file.write_bytes(b"\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        read_classes(str(file))


def test_labels_that_do_not_fit_are_sentences(tmp_path: Path) -> None:
    shards = opened(tmp_path, [Row(0, "a 0"), Row(0, "b 0"), Row(1, "c 1")])
    first, second, third = uid_of(0, 0), uid_of(0, 1), uid_of(1, 2)
    for classes, says in (
        (Classes({"x": "cat"}), "none of the 1 labels matches a pair"),
        (Classes({first: "cat", second: "dog"}), "an image has one class"),
        (Classes({third: "cats"}, ("cat", "dog")), r"'cats' is not one of the 2 classes \(did you mean cat\?\)"),
    ):
        with pytest.raises(InputError, match=says):
            evaluate(Fake(), shards, Silent(), classes=classes)
    alone = evaluate(Fake(), shards, Silent(), classes=Classes({third: "cat"}, ("cat", "dog")))
    assert alone.neighbours is None
    assert alone.zero_shot is not None


# Search


def text(name: str, weight: float = 1.0) -> Part:
    return Part("text", name, weight)


def image(code: int, weight: float = 1.0) -> Part:
    return Part("image", f"{code}.png", weight, picture(code))


weighted = st.tuples(st.integers(0, 31), st.sampled_from([-2.0, -1.0, 0.5, 1.0]), st.booleans())


@settings(max_examples=25)
@given(st.lists(weighted, min_size=1, max_size=4), st.integers(1, 40))
def test_a_search_is_the_sum_of_unit_vectors_against_all(
    tmp_path: Path, drawn: list[tuple[int, float, bool]], top: int
) -> None:
    if not (tmp_path / "00000.tar").exists():
        write_shards(tmp_path, [Row(n % 32, f"{n % 20} of {n % 3}") for n in range(50)], 30)
    model = Fake()
    parts = [image(code, weight) if looks else text(f"a {code}", weight) for code, weight, looks in drawn]
    total = [sum(weight * float(model.table[code][axis]) for code, weight, _ in drawn) for axis in range(DIM)]
    length = sqrt(sum(value * value for value in total))
    for kind in ("images", "texts"):
        if length < 1e-5:
            with pytest.raises(InputError, match="cancel out"):
                search(model, Shards.open(str(tmp_path)), parts, Silent(), kind=kind, top=top)
            continue
        found = search(model, Shards.open(str(tmp_path)), parts, Silent(), kind=kind, top=top)
        want: dict[str, list[Any]] = {}  # uid of the first pair → score, pairs
        first: dict[Any, str] = {}
        for n in range(50):
            key, code = (n % 32, n % 32) if kind == "images" else (f"{n % 20} of {n % 3}", n % 20)
            score = sum(float(model.table[code][axis]) * total[axis] / length for axis in range(DIM))
            want.setdefault(first.setdefault(key, uid_of(n % 32, n)), [score, 0])[1] += 1
        best = sorted((score for score, _ in want.values()), reverse=True)[:top]
        assert [hit.score for hit in found.hits] == pytest.approx(best, abs=1e-6)
        assert len({hit.uid for hit in found.hits}) == len(found.hits) == min(top, len(want))
        for hit in found.hits:
            assert [hit.score, hit.pairs] == pytest.approx(want[hit.uid], abs=1e-6)


def test_equal_scores_come_in_the_order_of_the_shards(tmp_path: Path) -> None:
    found = search(Fake(constant=True), opened(tmp_path, rows(150)), [text("a 0")], Silent(), top=7)
    assert [hit.uid for hit in found.hits] == [uid_of(n, n) for n in range(7)]


def test_weights_are_of_unit_vectors() -> None:
    made = combine(np.array([[10, 0], [0, 0.1]], np.float32), [1.0, -2.0])
    assert made == pytest.approx(np.array([1, -2]) / sqrt(5), abs=1e-6)


def test_the_page_shows_pictures_and_runs_nothing(tmp_path: Path) -> None:
    some = [Row(n, attack) for n, attack in enumerate(ATTACKS)]
    some.append(Row(90, "number 90", b"\xff\xd8\xff\xe0 no picture"))
    asked = [image(3), text("<script>window.hacked = 1</script> 2", -0.5)]
    found = search(Fake(), opened(tmp_path, some), asked, Silent(), kind="texts", top=50)
    content = search_html(found)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', content)
    assert html.unescape(policy).startswith("default-src 'none'; script-src 'none';")
    assert "<script" not in content
    for attack in ("<img src=x", "<svg onload", "<iframe", "<style>body{display"):
        assert attack not in content
    assert "{{ 7 * 7 }}" in content
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", content)
    assert content.count("data:image/png;base64,") == len(ATTACKS) + 1  # and the query's, and not what is no picture
    assert "− 0.5 ×" in content


# The command line


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    model = Fake()

    def load(path: str, device: str | None = None) -> Fake:
        assert device in (None, "cpu")
        if path != "model":
            raise AlignDataError(f"{path} is not a model that can be opened")
        return model

    monkeypatch.setitem(sys.modules, "align_data.train.model", SimpleNamespace(Dual=SimpleNamespace(load=load)))
    return model


def call(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    assert "unforeseen" not in result.output
    return result


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return write_shards(tmp_path / "shards", rows(50), 20)


@pytest.mark.usefixtures("fake")
def test_a_page_that_cannot_be_written_is_refused_before_the_search(shards: Path, tmp_path: Path) -> None:
    page = tmp_path / "nowhere" / "found.html"
    refused = call("search", "model", shards, "--text", "3", "--html", page, code=1)
    assert f"cannot write {page}" in refused.stderr
    assert "embed" not in refused.stderr  # nothing was searched yet


@pytest.mark.usefixtures("fake")
def test_evaluate_prints_a_table_and_json(shards: Path, tmp_path: Path) -> None:
    pl.DataFrame({"uid": [uid_of(n, n) for n in range(50)], "label": [f"n{n % 4}" for n in range(50)]}).write_csv(
        tmp_path / "labels.csv"
    )
    (tmp_path / "classes.txt").write_text("n0\nn1\nn2\nn3\n")
    with_labels = ("--labels", tmp_path / "labels.csv", "--classes", tmp_path / "classes.txt")
    shown = call("evaluate", "model", shards, *with_labels)
    assert "50 pairs" in shown.stdout
    assert re.search(r"R@1 +│ 100.0% \(100.0% to 100.0%\) │ 100.0% \(100.0% to 100.0%\) │", shown.stdout)
    assert "R@1 with captions shuffled:" in shown.stdout
    assert "chance is 2.00%" in shown.stdout
    assert "nearest other image of the same class" in shown.stdout
    assert "zero-shot: top-1 " in shown.stdout
    said = json.loads(call("evaluate", "model", shards, *with_labels, "--json", "--device", "cpu").stdout)
    assert said["retrieval"]["text_to_image"]["r_at_1"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert said["zero_shot"]["templates"] == 1
    assert said["model"] == "fake"
    assert json.loads(call("evaluate", "model", shards, "--json").stdout)["neighbours"] is None


@pytest.mark.usefixtures("fake")
def test_damaged_shards_are_skipped_counted_and_named(shards: Path) -> None:
    damaged = shards / "00001.tar"
    damaged.write_bytes(damaged.read_bytes()[:5000])
    shown = call("evaluate", "model", shards)
    assert "30 pairs" in shown.stdout
    assert "1 shards skipped" in shown.stderr
    assert "00001.tar" in shown.stderr
    assert "00001.tar" in json.loads(call("search", "model", shards, "--text", "3", "--json").stdout)["skipped"]
    for file in shards.iterdir():
        file.write_bytes(file.read_bytes()[:700])
    for command in (("evaluate", "model", shards), ("search", "model", shards, "--text", "3")):
        assert "3 damaged shards, the first: " in call(*command, code=1).stderr


@pytest.mark.usefixtures("fake")
def test_search_finds_and_prints(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "query.png").write_bytes(picture(4))
    said = json.loads(call("search", "model", shards, "--text", "number 7", "--top", 3, "--json").stdout)
    assert [hit["rank"] for hit in said["hits"]] == [1, 2, 3]
    assert said["hits"][0]["uid"] == uid_of(7, 7)
    assert said["hits"][0]["score"] == pytest.approx(1, abs=1e-6)
    both = ("--image", tmp_path / "query.png", "--text", "9", "--minus-text", "11", "--text-weight", "0.5")
    said = json.loads(call("search", "model", shards, *both, "--top", 50, "--json").stdout)
    order = [hit["uid"] for hit in said["hits"]]
    assert order[:2] == [uid_of(4, 4), uid_of(9, 9)]
    assert said["hits"][order.index(uid_of(11, 11))]["score"] < -0.2
    assert [part["weight"] for part in said["query"]] == [1, 0.5, -0.5]
    shown = call("search", "model", shards, "--image", tmp_path / "query.png", "--find", "texts").stdout
    assert "the number 4" in shown.splitlines()[4]
    page = tmp_path / "found.html"
    call("search", "model", shards, "--text", "3", "--html", page, "--top", 5)
    assert page.read_text().count("data:image/png") == 5


@pytest.mark.usefixtures("fake")
def test_every_mistake_is_a_sentence(shards: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "no-pair").mkdir()
    (tmp_path / "no-pair" / "0.tar").write_bytes(ending(0))
    words, none, labels = tmp_path / "words.txt", tmp_path / "none.txt", tmp_path / "labels.csv"
    words.write_text("a photo\n")
    none.write_text("\n")
    labels.write_text("uid,label\nx,cat\n")
    evaluation, looking = ("evaluate", "model", shards), ("search", "model", shards)
    for code, says, *arguments in (
        (1, "is not a model", "evaluate", "nowhere", shards),
        (1, "is not a model", "search", "nowhere", shards, "--text", "x"),
        (1, "has no shards", "evaluate", "model", empty),
        (1, "the shards have no pair", "evaluate", "model", tmp_path / "no-pair"),
        (1, "the shards have no pair", "search", "model", tmp_path / "no-pair", "--text", "x"),
        (2, "give a query: --text or --image", *looking),
        (2, "give a query: --text or --image", *looking, "--minus-text", "x"),
        (2, "a query text is empty", *looking, "--text", " "),
        (1, "is not an image that can be read", *looking, "--image", words),
        (1, "cannot read the image", *looking, "--image", tmp_path / "absent.png"),
        (1, "cancel out", *looking, "--text", "3", "--minus-text", "3"),
        (1, "must contain {} exactly once", *evaluation, "--labels", labels, "--classes", words, "--templates", words),
        (1, "has no classes", *evaluation, "--labels", labels, "--classes", none),
        (1, "none of the 1 labels matches a pair", *evaluation, "--labels", labels),
        (2, "give --labels too", *evaluation, "--classes", words),
        (2, "--templates needs the names of the classes", *evaluation, "--labels", labels, "--templates", words),
    ):
        assert says in " ".join(call(*arguments, code=code).stderr.split())


def test_without_torch_there_is_a_sentence(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "align_data.train.model", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "pip install 'align-data[train]'" in call("evaluate", "model", shards, code=1).stderr


NUMBERS = ("no", "one", "two", "three", "four", "five")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny model that has seen 36 colours with their names for some seconds, and the shards."""
    for name in ("torch", "transformers", "tokenizers"):
        pytest.importorskip(name, reason=f"{name}, of the extra train, is not installed")
    from align_data.train.loop import train  # noqa: PLC0415 - PyTorch takes seconds to load
    from align_data.train.settings import TrainSettings  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("trained")
    named = [(32 * a + 2 * b, f"{NUMBERS[a]} red and {NUMBERS[b]} green") for a in range(6) for b in range(6)]
    shards = write_shards(folder / "shards", [Row(code, name) for code, name in named])
    settings = TrainSettings(batch=12, samples=12 * 90, learning_rate=3e-3, vocabulary=100, flip=False)
    train(Shards.open(str(shards)), folder / "model", settings, Silent(), workers=1, threads=1, device="cpu")
    return folder / "model", shards


def test_a_trained_model_is_evaluated_and_searched_with(trained: tuple[Path, Path], tmp_path: Path) -> None:
    model, shards = trained
    said = json.loads(call("evaluate", model, shards, "--json", "--device", "cpu").stdout)
    assert said["pairs"] == 36
    for direction in ("image_to_text", "text_to_image"):
        assert said["retrieval"][direction]["r_at_1"]["low"] > 0.3
    assert said["shuffled"]["r_at_1"]["value"] < 0.2
    assert said["notes"] == []
    assert json.loads(call("evaluate", model, shards, "--json", "--device", "cpu").stdout) == said
    shown = call("search", model, shards, "--text", "five red and no green", "--top", 5, "--json", "--device", "cpu")
    assert "five red and no green" in [hit["alt_text"] for hit in json.loads(shown.stdout)["hits"]]
    (tmp_path / "query.png").write_bytes(picture(32 * 2 + 2 * 4))
    shown = call("search", model, shards, "--image", tmp_path / "query.png", "--find", "texts", "--top", 5)
    assert "two red and four green" in shown.stdout
    nowhere = call("evaluate", tmp_path / "nowhere", shards, code=1).stderr
    assert "nowhere is not a model that can be opened" in " ".join(nowhere.split())


def test_help_loads_no_torch() -> None:
    code = (
        "import sys\nfrom align_data.cli import main\n"
        "for name in ('evaluate', 'search'):\n    main([name, '--help'], standalone_mode=False)\n"
        "assert not {'torch', 'transformers', 'tokenizers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_an_empty_folder_is_no_shards(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="has no shards"):
        Shards.open(str(tmp_path))
