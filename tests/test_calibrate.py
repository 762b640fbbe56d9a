"""Calibration: what it says of random pairs and of copies is so, and a threshold follows from it by its rule."""

from __future__ import annotations

import io
import json
import math
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import planted_copies as planted
import pytest
import tiny_encoders as tiny
from click.testing import CliRunner, Result
from conftest import tree
from in_process import decode_here, prepare_here
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from align_data.cli import main
from align_data.common.errors import DatasetError
from align_data.common.progress import Silent
from align_data.data.calibration import read_calibration
from align_data.data.layout import Dataset
from align_data.decoding.augmenting.augmentations import AUGMENTATIONS
from align_data.decoding.augmenting.augmenter import Augmenter
from align_data.decoding.inputs.preparation import Preparation
from align_data.engines.local import LocalEngine
from align_data.models.onnx.folder import OnnxEncoder
from align_data.models.sharing import SharedModel
from align_data.stages.calibrate import LEAST
from align_data.stages.calibrate.curve import (
    PHASH_WITHIN,
    copy_groups,
    curve,
    interval,
    proposed,
    quantiles,
    random_pairs,
)
from align_data.stages.embed import embed
from align_data.stages.measure import measure
from align_data.storage.store import Store

Halves = NDArray[np.float16]


def cdf(count: int, mean: float) -> float:
    """Return the probability of at most so many events."""
    return sum(math.exp(n * math.log(mean) - mean - math.lgamma(n + 1)) for n in range(count + 1))


@pytest.mark.parametrize("count", [0, 1, 2, 5, 20, 100])
def test_independent_pairs_have_poissons_interval(count: int) -> None:
    low, high = interval(count, 10**6, 0)
    assert cdf(count, high) == pytest.approx(0.025, rel=0.06)
    if count == 0:
        assert low == 0
    else:  # of few, the approximation's lower end is lower
        assert (0.02 if count > 2 else 0.01) < 1 - cdf(count - 1, low) < 0.03


def clustered(chance: np.random.Generator, images: int, dim: int = 6) -> Halves:
    """Draw directions about some few centres, as those of real pictures are: many pairs share an image."""
    centres = np.random.default_rng(0).normal(size=(8, dim))
    points = centres[chance.integers(0, 8, images)] + chance.normal(size=(images, dim)) * chance.exponential(
        1, (images, 1)
    )
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), np.float16)


def rate(pairs: Any, threshold: float) -> tuple[float, float, float]:
    point = next(point for point in curve(pairs, {}) if point.threshold == threshold)
    return point.per_million, point.low, point.high


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    chance = np.random.default_rng(1)
    truth, *_ = rate(random_pairs(clustered(chance, 4000), np.arange(4000)), 0.995)
    inside = 0
    for _ in range(120):
        _, low, high = rate(random_pairs(clustered(chance, 150), np.arange(150)), 0.995)
        inside += low <= truth <= high
    assert inside >= 0.88 * 120


def plain_cosine(a: Halves, b: Halves) -> float:
    x, y = a.astype(float).tolist(), b.astype(float).tolist()
    length = math.sqrt(math.fsum(v * v for v in x) * math.fsum(v * v for v in y))
    return round(math.fsum(v * w for v, w in zip(x, y, strict=True)) / length, 6)


def groups_by_search(phashes: list[int], known: list[bool]) -> list[set[int]]:
    """Return the groups by a search from each image, of those whose pHash is known."""
    groups: list[set[int]] = []
    for start in (at for at, is_known in enumerate(known) if is_known):
        if any(start in group for group in groups):
            continue
        group, frontier = {start}, [start]
        while frontier:
            at = frontier.pop()
            near = {
                other
                for other, is_known in enumerate(known)
                if is_known and (phashes[at] ^ phashes[other]).bit_count() <= PHASH_WITHIN
            }
            frontier += near - group
            group |= near
        groups.append(group)
    return groups


def test_what_is_near_by_phash_or_near_to_what_is_near_is_one_group() -> None:
    chance = np.random.default_rng(5)
    phashes = chance.integers(-(2**63), 2**63 - 1, 120)
    for at in range(1, 40):  # chains of small steps, which lead far away
        phashes[at] = phashes[at - 1] ^ chance.choice([0, 2**9 - 1, 2**40 - 2**30, 2**63 - 2**53])
    known = chance.random(120) < 0.9
    groups = copy_groups(phashes, known)
    searched = groups_by_search(phashes.tolist(), known.tolist())
    assert max(map(len, searched)) > 10
    assert len(set(groups.tolist())) == len(searched) + int((~known).sum())
    assert all(len(set(groups[sorted(group)].tolist())) == 1 for group in searched)


def test_random_pairs_are_all_pairs_but_those_of_one_group() -> None:
    chance = np.random.default_rng(2)
    vectors = clustered(chance, 90)
    groups = chance.integers(0, 40, 90)
    pairs = random_pairs(vectors, groups)
    near = {(i, j) for i, j in combinations(range(90), 2) if groups[i] == groups[j]}
    assert near
    cosines = {
        (i, j): plain_cosine(vectors[i], vectors[j]) for i, j in combinations(range(90), 2) if (i, j) not in near
    }
    assert (pairs.number, pairs.left_out) == (len(cosines), len(near))
    expected = {pair: cosine for pair, cosine in cosines.items() if cosine >= pairs.floor}
    places = zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
    assert dict(zip(places, pairs.cosines.tolist(), strict=True)) == pytest.approx(expected, abs=1.1e-6)
    assert pairs.cosines.tolist() == sorted(pairs.cosines.tolist(), reverse=True)
    median = sorted(cosines.values())[len(cosines) // 2]
    assert pairs.below(0.5) == pytest.approx(median, abs=0.01)


def test_what_a_threshold_finds_is_counted() -> None:
    chance = np.random.default_rng(3)
    vectors = clustered(chance, 200)
    pairs = random_pairs(vectors, np.arange(200))
    copies = {"jpeg": np.array([0.99, 0.5, np.nan, 0.995, 1.0]), "none": np.array([np.nan])}
    points = curve(pairs, copies)
    assert [point.threshold for point in points][-1] == 1
    cosines = np.array([plain_cosine(vectors[i], vectors[j]) for i, j in combinations(range(200), 2)])
    for point in points[:: len(points) // 7]:
        assert abs(point.false_pairs - int((cosines >= point.threshold).sum())) <= 1  # of six decimals
        assert point.low <= point.per_million <= point.high
        assert point.copies == {"jpeg": sum(c >= point.threshold for c in (0.99, 0.5, 0.995, 1.0)) / 4}
    spread = quantiles(copies["jpeg"])
    assert spread is not None
    assert (spread.least, spread.median, spread.copies) == (0.5, 0.99, 4)
    assert quantiles(copies["none"]) is None


def test_the_threshold_is_the_lowest_that_allows_no_more_false_pairs() -> None:
    pairs = random_pairs(clustered(np.random.default_rng(4), 400), np.arange(400))
    points = curve(pairs, {})
    allowed = 5_000.0
    threshold = proposed(points, allowed)
    assert threshold is not None
    assert all(point.high <= allowed for point in points if point.threshold >= threshold)
    below = [point for point in points if point.threshold < threshold]
    assert below[-1].high > allowed
    assert proposed(points, 1.0) is None  # 80,000 pairs cannot show it


def test_images_that_a_model_sees_alike_leave_no_threshold() -> None:
    alike = np.tile(np.array([0.6, 0.8], np.float16), (60, 1))
    points = curve(random_pairs(alike, np.arange(60)), {})
    assert [point.false_pairs for point in points] == [60 * 59 // 2] * len(points)
    assert proposed(points, 10**5) is None


# --- the command ---


def embedded(images: list[planted.PlantedImage], folder: Path, **cut: Any) -> Dataset:
    """Make a dataset whose images are measured, and embedded as `tiny` by the encoder beside it."""
    dataset = planted.dataset_of(images, folder, **cut)
    engine = LocalEngine(folder / "work", 1)
    with pytest.MonkeyPatch.context() as patch:
        decode_here(patch)
        prepare_here(patch)
        measure(dataset, engine, Silent(), ["sha256", "decodable", "phash"])
        embed(SharedModel.open(str(tiny.write_encoder(folder / "encoder")), None), dataset, "tiny", engine, Silent())
    return dataset


@cache
def images() -> list[planted.PlantedImage]:
    """Draw the pool once, where a test needs it: every process imports this file."""
    return planted.pool(70, copied=4, copies=("jpeg_60", "resized_50", planted.EXACT), near_misses=())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrated")
    embedded(images(), folder)
    return folder


def run(folder: Path, *options: object, name: str = "tiny") -> Result:
    return CliRunner().invoke(main, ["calibrate", name, str(folder / "dataset"), "--workers", "2", *map(str, options)])


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_here(monkeypatch)


def calibrated(folder: Path, *options: object) -> Any:
    result = run(folder, "--json", *options)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def document(folder: Path) -> Any:
    return calibrated(folder, "--false-pairs", 50_000)


def plain_embeddings(folder: Path, pictures: list[Image.Image]) -> NDArray[np.float16]:
    """Embed pictures without our code."""
    size = (tiny.SIDE, tiny.SIDE)
    resized = [picture.convert("RGB").resize(size, Image.Resampling.BICUBIC) for picture in pictures]
    pixels = np.stack([np.asarray(picture, np.float32).transpose(2, 0, 1) / 255 for picture in resized])
    (vectors,) = onnxruntime.InferenceSession(str(folder / "encoder" / "image.onnx")).run(None, {"pixels": pixels})
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float16)


def test_it_says_how_near_the_copies_of_each_kind_are(folder: Path, document: Any) -> None:
    contents = list(dict.fromkeys(image.content for image in images()))
    pictures = [Image.open(io.BytesIO(content)).convert("RGB") for content in contents]
    originals = plain_embeddings(folder, pictures)
    changed = {
        "mirrored": [ImageOps.mirror(picture) for picture in pictures],
        "brighter": [ImageEnhance.Brightness(picture).enhance(1.3) for picture in pictures],
        "border": [ImageOps.expand(picture, 20, "white") for picture in pictures],
    }
    assert set(document["kinds"]) == set(AUGMENTATIONS)
    assert (document["images"], document["compared"], document["undecodable"]) == (len(contents), len(contents), 0)
    for kind, copies in changed.items():
        embeddings = plain_embeddings(folder, copies)
        cosines = np.array([plain_cosine(a, b) for a, b in zip(originals, embeddings, strict=True)])
        stated = document["kinds"][kind]
        assert stated["least"] == pytest.approx(cosines.min(), abs=0.005)
        assert stated["median"] == pytest.approx(np.median(cosines), abs=0.01)
        for point in document["curve"][::100]:
            share = (cosines >= point["threshold"]).mean()
            assert point["copies"][kind] == pytest.approx(share, abs=0.04)  # of 70 images, where two are near


def test_copies_in_the_pool_are_no_random_pairs(here: None, folder: Path, document: Any) -> None:
    # Of the four images with copies three different files each, of which no two are a random pair.
    whole = document["compared"] * (document["compared"] - 1) // 2
    assert document["pairs"] + document["left_out"] == whole
    originals = {image.url: (image.of, image.scene.flat) for image in images()}
    for pair in document["nearest_random_pairs"]:
        first, second = (originals[url] for url in pair["urls"])
        assert first != second or first[1]
    shown = [url for pair in document["nearest_random_pairs"] for url in pair["urls"]]
    assert len(shown) == len(set(shown)) > 20
    lone = calibrated(folder, "--false-pairs", 50_000, "--lone")
    assert lone["compared"] < document["compared"]
    assert lone["left_out"] == 0
    alone = {url for pair in lone["nearest_random_pairs"] for url in pair["urls"]}
    assert not {image.url for image in images() if image.of < 4 and not image.scene.flat} & alone


def test_what_is_found_is_kept_for_the_model_that_it_is_of(here: None, folder: Path) -> None:
    document = calibrated(folder, "--false-pairs", 50_000)
    dataset = Dataset(Store(folder / "dataset"))
    digest = document["model"]
    stored = read_calibration(dataset, "tiny", digest)
    assert stored is not None
    assert stored.model_dump(mode="json") == {name: document[name] for name in type(stored).model_fields}
    assert document["threshold"] == proposed(stored.curve, 50_000)
    assert read_calibration(dataset, "tiny", "0" * 64) is None
    file = folder / "dataset" / "_calibration" / "tiny.json"
    content = file.read_text()
    assert not any(image.url in content for image in images())  # a takedown has nothing to do there
    calibrated(folder, "--false-pairs", 50_000)
    assert file.read_text() == content
    for damaged in (content.replace(digest, "0" * 64), content[:100], content.replace('"pairs"', '"pears"')):
        file.write_text(damaged)
        with pytest.raises(DatasetError, match=r"tiny.json cannot be understood.*run align-data calibrate"):
            read_calibration(dataset, "tiny", digest)
    file.write_text(content)


def test_parts_change_nothing(here: None, document: Any, tmp_path: Path) -> None:
    before = document
    embedded(images(), tmp_path, part_rows=30)
    after = calibrated(tmp_path, "--false-pairs", 50_000)
    assert after["pool"] >= before["pool"]  # an image that is in two parts is counted in both
    assert {**after, "pool": 0} == {**before, "pool": 0}


def test_what_people_read(here: None, folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = run(folder, "--false-pairs", 50_000, "--html", page)
    assert result.exit_code == 0, result.stderr
    assert "half the width and height" in result.stdout
    assert "Threshold 0." in result.stdout
    assert "Left out as likely copies" in result.stderr
    html = page.read_text()
    assert html.count('<div class="chart') >= 2
    duos = html.count('<div class="duo">')
    assert 10 < duos <= 24
    assert html.count('src="data:image/jpeg;base64,') + html.count('class="none"') == 2 * duos
    assert "http-equiv" in html
    few = run(folder)
    assert "No threshold:" in few.stdout
    assert "are too few to show at most 1 false pair per million" in few.stdout


# --- hostile ---


def refused(result: Result) -> str:
    assert result.exit_code == 1
    assert "unforeseen" not in result.stderr
    return result.stderr


def test_too_few_images_are_a_sentence(here: None, tmp_path: Path) -> None:
    embedded(images()[:3], tmp_path)
    assert f"a calibration needs {LEAST} at least" in refused(run(tmp_path))


def test_images_that_are_all_alike_are_a_sentence(here: None, tmp_path: Path) -> None:
    original = planted.pool(1, copies=("png",), near_misses=())[1]
    picture = Image.open(io.BytesIO(original.content))
    alike = [
        planted.PlantedImage(
            f"http://a.example/{n}", "exact", 0, original.scene, planted.encoded(picture, quality=60 + n)
        )
        for n in range(25)
    ]
    embedded(alike, tmp_path)
    assert "no two of 25 images" in refused(run(tmp_path))
    assert "0 of 25 images" in refused(run(tmp_path, "--lone"))


def test_another_model_is_a_sentence(here: None, folder: Path, tmp_path: Path) -> None:
    other = tiny.write_encoder(tmp_path / "other", seed=6)
    before = tree(folder / "dataset")
    assert "embedded/tiny is of another model" in refused(run(folder, "--model", other))
    assert "has no embeddings 'huge' (there are: tiny)" in refused(run(folder, name="huge"))
    assert "not a valid" in refused(run(folder, name="../x"))
    (folder / "encoder").rename(folder / "moved")
    assert "--model says where the model is now" in refused(run(folder))
    assert tree(folder / "dataset") == before
    assert calibrated(folder, "--model", folder / "moved")["images"] > LEAST
    (folder / "moved").rename(folder / "encoder")


def test_embeddings_that_are_none_are_a_sentence_and_nothing_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(folder / "dataset")
    usual = OnnxEncoder.images

    def images(encoder: OnnxEncoder, pixels: Any) -> Any:
        vectors = usual(encoder, pixels)
        vectors[-1, 0] = np.nan
        return vectors

    monkeypatch.setattr(OnnxEncoder, "images", images)
    assert "the model's embeddings are not numbers (NaN)" in refused(run(folder))
    assert tree(folder / "dataset") == before


def test_what_cannot_be_decoded_has_no_copies_and_costs_nobody_else() -> None:
    augmenter = Augmenter(Preparation(16, 16))
    good = images()[0].content
    try:
        copies = [augmenter.copies(content) for content in (good, b"\xff\xd8\xff nothing", good)]
    finally:
        augmenter.close()
    assert copies[1] is None
    assert copies[0] is not None
    assert copies[2] is not None
    assert [pixels.shape for pixels in copies[0]] == [(16, 16, 3)] * len(AUGMENTATIONS)
    assert all((a == b).all() for a, b in zip(copies[0], copies[2], strict=True))


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (2, 3)])
def test_images_of_any_size_are_changed(size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, "red")
    for augmentation in AUGMENTATIONS.values():
        assert min(augmentation.apply(picture).size) >= 1
    assert picture.tobytes() == Image.new("RGB", size, "red").tobytes()
