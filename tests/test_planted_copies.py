"""The planted pool is what it says: copies are of their originals, near-misses are not, and all is as the seed has it."""

from __future__ import annotations

import hashlib
import io
from functools import cache
from pathlib import Path

import imagehash
import numpy as np
import planted_copies as planted
import polars as pl
import pytest
from conftest import read
from in_process import decode_here
from PIL import Image, ImageOps

from align_data.common.progress import Silent
from align_data.engines.local import LocalEngine
from align_data.stages.measure import measure


@cache
def pool() -> list[planted.PlantedImage]:
    """Draw the pool once, where a test needs it: every process imports this file."""
    return planted.pool(14)


def picture(image: planted.PlantedImage) -> Image.Image:
    return Image.open(io.BytesIO(image.content)).convert("RGB")


def of_kind(kind: str) -> list[tuple[planted.PlantedImage, planted.PlantedImage]]:
    """Return the images of a kind, each with its original."""
    originals = {image.of: image for image in pool() if image.kind == "original"}
    return [(originals[image.of], image) for image in pool() if image.kind == kind]


def distance(a: planted.PlantedImage, b: planted.PlantedImage) -> int:
    return int(imagehash.phash(picture(a)) - imagehash.phash(picture(b)))


def test_it_follows_from_its_seed() -> None:
    assert planted.pool(2) == pool()[: len(planted.pool(2))]
    assert planted.pool(1, seed=18) != planted.pool(1)
    assert len({image.url for image in pool()}) == len(pool())
    assert all(max(picture(image).size) <= 256 + 40 + 256 // 3 for image in pool())


def test_only_exact_copies_are_equal() -> None:
    for original, copy in of_kind(planted.EXACT):
        assert copy.content == original.content
    others = [image for image in pool() if image.kind != planted.EXACT and not image.scene.flat]
    assert len({hashlib.sha256(image.content).digest() for image in others}) == len(others)


def test_copies_show_what_their_originals_do() -> None:
    for original, copy in of_kind("mirrored"):
        difference = np.asarray(ImageOps.mirror(picture(copy)), int) - np.asarray(picture(original), int)
        assert np.abs(difference).mean() < 8
    for original, copy in of_kind("bordered"):
        assert picture(copy).size == tuple(side + 40 for side in picture(original).size)
    for original, copy in of_kind("resized_50"):
        assert abs(picture(copy).width * 2 - picture(original).width) <= 1
    for kind in ("jpeg_60", "jpeg_30", "png", "webp", "avif", "grey"):
        assert all(distance(*both) <= 6 for both in of_kind(kind) if not both[0].scene.flat), kind
    formats = {
        kind: {Image.open(io.BytesIO(copy.content)).format for _, copy in of_kind(kind)} for kind in planted.COPIES
    }
    assert (formats["png"], formats["webp"], formats["avif"]) == ({"PNG"}, {"WEBP"}, {"AVIF"})


def test_originals_are_different_pictures() -> None:
    originals = [image for image in planted.pool(50, copied=0) if not image.scene.flat]
    hashes = np.array([imagehash.phash(picture(image)).hash.ravel() for image in originals])
    apart = (hashes[:, None] != hashes[None]).sum(axis=2)[np.triu_indices(len(originals), 1)]
    assert apart.min() > 10


@pytest.mark.parametrize("kind", planted.NEAR_MISSES)
def test_near_misses_are_like_their_originals_and_not_the_same(kind: str) -> None:
    for original, miss in of_kind(kind):
        assert picture(miss).size == picture(original).size
        difference = np.abs(np.asarray(picture(miss), int) - np.asarray(picture(original), int)).max(axis=2)
        changed = (difference > 40).mean()
        assert changed > (0.3 if kind == "same_layout" else 0.005)


def test_the_truth_about_pairs() -> None:
    pairs = planted.true_pairs(pool())
    members = 2 + len(planted.COPIES)
    assert len(pairs) == 14 * members * (members - 1) // 2
    assert all(
        pool()[a].of == pool()[b].of and not {pool()[a].kind, pool()[b].kind} & set(planted.NEAR_MISSES)
        for a, b in pairs
    )


def test_a_dataset_of_it_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode_here(monkeypatch)
    images = [*planted.pool(3, copies=("avif", planted.EXACT)), planted.pool(4)[-1]]
    contents = {image.url: image.content for image in images} | {"http://gone.example/1": None}
    dataset = planted.dataset_of_bytes(contents, tmp_path, texts=2, part_rows=7)
    assert len(dataset.ingested().parts) > 1
    measure(dataset, LocalEngine(tmp_path / "work", 1), Silent(), ["sha256", "decodable"])
    values = read(dataset, "pairs").hstack(read(dataset, "measured/image"))
    expected = {
        url: None if content is None else hashlib.sha256(content).hexdigest() for url, content in contents.items()
    }
    assert dict(values.select("url", "sha256").iter_rows()) == expected
    assert values.filter(pl.col("decodable").fill_null(False)).height == 2 * len(images)
