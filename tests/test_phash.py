"""The pHash: imagehash's to the bit, whichever way it is computed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import hostile_images as hostile
import imagehash
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from align_data.decoding import phash as module
from align_data.decoding.phash import phash, quick_bits, shrunk

PHOTOGRAPHS = Path(__file__).resolve().parents[2] / "shared" / "data" / "images"


def plain(image: Image.Image) -> int:
    value = int(str(imagehash.phash(image)), 16)
    return value - 2**64 if value >= 2**63 else value


def is_quick(image: Image.Image) -> bool:
    return quick_bits(image.convert("L")) is not None


def scene(chance: np.random.Generator) -> Image.Image:
    """Draw something between a photograph and noise: waves, edges and grain of random strength."""
    height, width = (int(side) for side in chance.integers(33, 500, 2))
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    pixels: NDArray[np.float64] = np.zeros((height, width, 3))
    for _ in range(int(chance.integers(1, 9))):
        wave = np.sin(2 * np.pi * (chance.uniform(-9, 9) * x + chance.uniform(-9, 9) * y) + chance.uniform(0, 7))
        shape = np.sign(wave) if chance.random() < 0.3 else wave
        pixels += shape[..., None] * chance.uniform(-80, 80, 3)
    pixels += 128 + chance.normal(0, chance.choice([0, 2, 60]), pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def stored(image: Image.Image, chance: np.random.Generator) -> Image.Image:
    """Return an image as some file of it gives it back."""
    kind = chance.choice(["JPEG", "L", "P", "RGBA", "LA", "1", "CMYK", "blurred"])
    if kind == "JPEG":
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(chance.integers(10, 99)), subsampling=int(chance.integers(0, 3)))
        return Image.open(file)
    if kind == "blurred":
        return image.filter(ImageFilter.GaussianBlur(float(chance.uniform(0, 20))))
    return image.quantize(16) if kind == "P" else image.convert(str(kind))


def test_the_hash_is_imagehashs_whatever_the_picture() -> None:
    chance = np.random.default_rng(15)
    images = [stored(scene(chance), chance) for _ in range(250)]
    wrong = [number for number, image in enumerate(images) if phash(image) != plain(image)]
    assert not wrong
    ways = [is_quick(image) for image in images]
    assert 0.5 < np.mean(ways) < 1  # both were tried


def photographs() -> Iterator[Image.Image]:
    for path in sorted(PHOTOGRAPHS.rglob("*.jpg")):
        with Image.open(path) as image:
            yield from (image, image.convert("L"), image.crop((7, 5, image.width - 9, image.height - 3)))


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="the real photographs are not in the repository, and not here")
def test_the_hash_is_imagehashs_of_photographs() -> None:
    for image in photographs():
        assert phash(image) == plain(image)


def test_the_hash_is_imagehashs_of_every_kind_of_file() -> None:
    for name, content in hostile.good().items():
        if name not in hostile.DEEP and "transparent" not in name:  # of whose transparency Pillow warns
            with Image.open(io.BytesIO(content)) as image:
                assert phash(image) == plain(image), name


def lengths() -> list[int]:
    chance = np.random.default_rng(2)
    return [33, 34, 63, 64, 65, 127, 480, 639, 640, 1024, 4095, 4096, *map(int, chance.integers(35, 4000, 60))]


@pytest.mark.parametrize("length", lengths())
def test_shrunk_pixels_are_pillows(length: int) -> None:
    chance = np.random.default_rng(length)
    for size in ((40, length), (length, 40)):
        # Noise of two values: the sums go furthest beyond 0 and 255.
        noise = chance.choice(np.array([0, 255], np.uint8), size)
        turned = noise.T if size[0] > 2 * size[1] - 32 else noise
        grey = Image.fromarray(np.ascontiguousarray(turned))
        small = shrunk(grey)
        if small is not None:
            assert np.array_equal(small, np.asarray(grey.resize((32, 32), Image.Resampling.LANCZOS)))


def test_nearly_all_lengths_have_weights() -> None:
    unsure = [length for length in range(33, 4097, 7) if module._weights(length) is None]
    assert len(unsure) <= 2


def mirrored(image: Image.Image) -> Image.Image:
    whole = Image.new("L", (image.width * 2, image.height))
    whole.paste(image)
    whole.paste(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (image.width, 0))
    return whole


@pytest.mark.parametrize("side", [33, 64, 99])
def test_where_coefficients_tie_imagehash_decides(side: int) -> None:
    for flat in (Image.new("L", (side, side), 99), Image.new("RGB", (99, side))):
        assert not is_quick(flat)
        assert phash(flat) == plain(flat)


def test_symmetric_pictures_whose_coefficients_are_zero() -> None:
    chance = np.random.default_rng(4)
    for _ in range(20):
        image = mirrored(Image.fromarray(chance.integers(0, 256, (64, 64), np.uint8)))
        assert phash(image) == plain(image)


@pytest.mark.parametrize(
    ("size", "quick"), [((100, 168), True), ((100, 169), False), ((32, 90), False), ((5000, 90), False)]
)
def test_what_versions_of_pillow_shrink_differently_is_left_to_it(size: tuple[int, int], quick: bool) -> None:
    noise = np.random.default_rng(3).integers(0, 256, size[::-1], np.uint8)
    image = Image.fromarray(noise)
    assert is_quick(image) is quick
    assert phash(image) == plain(image)


@pytest.fixture
def forgetful() -> Iterator[None]:
    module._is_pillows.cache_clear()
    yield
    module._is_pillows.cache_clear()


@pytest.mark.usefixtures("forgetful")
def test_another_pillow_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    resize = Image.Image.resize

    def other(self: Image.Image, size: tuple[int, int], resample: int) -> Image.Image:
        return resize(self, size, Image.Resampling.BICUBIC)

    image = Image.fromarray(np.random.default_rng(3).integers(0, 256, (90, 90), np.uint8))
    monkeypatch.setattr(Image.Image, "resize", other)
    assert not is_quick(image)
    assert phash(image) == plain(image)
