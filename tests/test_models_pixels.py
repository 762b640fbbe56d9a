"""What an encoder sees of an image, against the processors of the libraries: equal values, whatever the shape."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from align_data.common.workers.frames import frame, value
from align_data.common.workers.values import of, plain
from align_data.decoding.inputs.normalisation import Normalisation
from align_data.decoding.inputs.preparation import Preparation
from align_data.decoding.opening import loaded, orientation
from align_data.decoding.render import opaque, turned
from align_data.models.onnx.card import EncoderCard

transformers = pytest.importorskip("transformers")
if transformers.utils.is_torchvision_available():
    pytest.skip("with torchvision, transformers has other processors than Pillow's", allow_module_level=True)
from transformers import (  # noqa: E402
    CLIPImageProcessorPil,
    EfficientNetImageProcessorPil,
    Siglip2ImageProcessorPil,
    SiglipImageProcessorPil,
    ViltImageProcessorPil,
)

SHAPES = [(1, 1), (7, 5), (32, 32), (33, 32), (100, 75), (75, 100), (641, 480), (1500, 30), (3, 400), (224, 225)]
CLIP = {"size": {"shortest_edge": 30}, "crop_size": {"height": 24, "width": 24}}


def noise(size: tuple[int, int], seed: int = 1) -> Image.Image:
    chance = np.random.default_rng(seed)
    return Image.fromarray(chance.integers(0, 256, (size[1], size[0], 3), np.uint8))


def upright(content: bytes) -> Image.Image:
    """Return an image as the decoder hands it to a model."""
    with Image.open(io.BytesIO(content)) as image:
        turn = orientation(image, content)
        return turned(opaque(loaded(image)).convert("RGB"), turn)


def encoded(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def normalised(mean: Any, std: Any, scale: float = 1 / 255) -> Normalisation:
    values = (np.arange(256, dtype=np.float64)[:, None] * scale).astype(np.float32)
    return Normalisation((values - np.array(mean, np.float32)) / np.array(std, np.float32))


LIBRARY: dict[str, tuple[Any, Preparation]] = {
    "clip": (CLIPImageProcessorPil(**CLIP), Preparation(24, 24, "bicubic", "shortest", (30, 30))),
    "clip, cropped larger": (
        CLIPImageProcessorPil(size={"shortest_edge": 20}, crop_size={"height": 25, "width": 31}),
        Preparation(31, 25, "bicubic", "shortest", (20, 20)),
    ),
    "siglip": (SiglipImageProcessorPil(size={"height": 24, "width": 32}), Preparation(32, 24)),
    "align": (
        EfficientNetImageProcessorPil(
            size={"height": 34, "width": 34},
            crop_size={"height": 29, "width": 29},
            do_center_crop=True,
            include_top=False,
            resample=Image.Resampling.BICUBIC,
        ),
        Preparation(29, 29, "bicubic", "squash", (34, 34)),
    ),
    "siglip, lanczos": (
        SiglipImageProcessorPil(size={"height": 9, "width": 9}, resample=Image.Resampling.LANCZOS),
        Preparation(9, 9, "lanczos"),
    ),
}


@pytest.mark.parametrize("name", LIBRARY)
@pytest.mark.parametrize("size", SHAPES, ids=str)
def test_pixels_are_those_of_the_librarys_processor(name: str, size: tuple[int, int]) -> None:
    processor, preparation = LIBRARY[name]
    image = noise(size)
    wanted = processor(image, return_tensors="np")["pixel_values"]
    pixels = preparation.apply(image)
    assert pixels.shape == (preparation.height, preparation.width, 3)
    assert np.array_equal(normalised(processor.image_mean, processor.image_std)([pixels]), wanted)


@pytest.mark.parametrize("kind", ["grey", "alpha", "palette", "turned"])
def test_pixels_of_every_kind_of_file_are_those_of_the_librarys_processor(kind: str) -> None:
    image = noise((50, 31))
    if kind == "grey":
        content = encoded(image.convert("L"), format="PNG")
    elif kind == "alpha":
        image.putalpha(noise((50, 31), 2).convert("L"))
        content = encoded(image, format="PNG")
    elif kind == "palette":
        content = encoded(image.quantize(16), format="PNG")
    else:
        exif = Image.Exif()
        exif[0x0112] = 6
        content = encoded(image, format="JPEG", exif=exif)
    processor, preparation = LIBRARY["clip"]
    wanted = processor(ImageOps.exif_transpose(Image.open(io.BytesIO(content))), return_tensors="np")["pixel_values"]
    pixels = preparation.apply(upright(content))
    assert np.array_equal(normalised(processor.image_mean, processor.image_std)([pixels]), wanted)


@given(st.integers(1, 900), st.integers(1, 900))
def test_patches_are_the_grid_of_the_librarys_processor(width: int, height: int) -> None:
    processor = Siglip2ImageProcessorPil(patch_size=4, max_num_patches=20)
    wanted = processor(noise((width, height)), return_tensors="np")
    preparation = Preparation(0, 0, "bilinear", "patches", multiple=4, patches=20)
    pixels = preparation.apply(noise((width, height)))
    assert preparation.makes(pixels.shape[1], pixels.shape[0])
    assert [side // 4 for side in pixels.shape[:2]] == wanted["spatial_shapes"][0].tolist()
    count = pixels.shape[0] * pixels.shape[1] // 16
    values = normalised([0.5] * 3, [0.5] * 3)([pixels])[0]
    patches = values.reshape(3, pixels.shape[0] // 4, 4, -1, 4).transpose(1, 3, 2, 4, 0).reshape(count, -1)
    assert np.array_equal(patches, wanted["pixel_values"][0][:count])


@given(st.integers(1, 900), st.integers(1, 900))
def test_bounded_sides_are_those_of_the_librarys_processor(width: int, height: int) -> None:
    preparation = Preparation(64, int(1333 / 800 * 64), "bicubic", "bounded", multiple=8)
    pixels = preparation.apply(noise((width, height)))
    assert preparation.makes(pixels.shape[1], pixels.shape[0])
    if max(width, height) / min(width, height) >= 106 / 8:
        assert min(pixels.shape[:2]) == 8  # of which the library makes an image without a pixel, and fails
        return
    processor = ViltImageProcessorPil(size={"shortest_edge": 64}, size_divisor=8)
    wanted = processor(noise((width, height)), return_tensors="np")["pixel_values"]
    assert np.array_equal(normalised(processor.image_mean, processor.image_std)([pixels]), wanted)


@pytest.mark.parametrize(("width", "height"), [(60_000, 1), (1, 60_000), (90_000, 2)])
def test_an_absurdly_long_image_takes_no_memory(width: int, height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # 24 x 1,440,000 pixels for the middle 24 x 24 of them.
    preparation = Preparation(24, 24, "bicubic", "shortest", (24, 24))
    image = noise((width, height))
    sizes: list[tuple[int, int]] = []
    resize = Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, size, *rest: sizes.append(size) or resize(self, size, *rest)
    )
    pixels = preparation.apply(image)
    assert sizes == [(24, 24)]
    monkeypatch.setattr("align_data.decoding.inputs.preparation._WHOLE", math.inf)
    whole = preparation.apply(image)
    assert np.abs(pixels.astype(int) - whole).max() <= 1


def test_half_a_pixel_is_rounded_as_torchvision_does() -> None:
    # torchvision's CenterCrop begins at int(round((side - crop) / 2)), and pads the odd pixel behind.
    for offset, begins in (("down", [(27, 1), (25, 0), (21, -2)]), ("even", [(27, 2), (25, 0), (21, -1)])):
        for side, begin in begins:
            image = noise((side, 24))
            pixels = Preparation(24, 24, resize_to=(side, 24), offset=offset).apply(image)  # type: ignore[arg-type]
            seen = np.asarray(image)
            if begin < 0:
                assert not pixels[:, :-begin].any()
                assert np.array_equal(pixels[:, -begin : side - begin], seen)
            else:
                assert np.array_equal(pixels, seen[:, begin : begin + 24])


def test_a_preparation_travels_as_plain_values() -> None:
    for _, preparation in LIBRARY.values():
        sent = value(frame(plain(preparation))[8:])
        assert of(Preparation, sent) == preparation


@pytest.mark.parametrize(
    ("preparation", "sizes"),
    [
        (Preparation(24, 20), [(20, 24), (24, 24), (0, 0), (48, 40)]),
        (
            Preparation(0, 0, "bilinear", "patches", multiple=4, patches=20),
            [(0, 4), (84, 4), (20, 20), (6, 4), (-4, -4)],
        ),
        (Preparation(64, 106, "bicubic", "bounded", multiple=8), [(64, 112), (72, 72), (0, 64), (60, 64)]),
    ],
)
def test_a_preparation_does_not_make_other_sizes(preparation: Preparation, sizes: list[tuple[int, int]]) -> None:
    for width, height in sizes:
        assert not preparation.makes(width, height)


def test_a_card_prepares_as_it_says() -> None:
    card = EncoderCard(
        size=(24, 20),
        layout="nhwc",
        channels="bgr",
        scale=0.5,
        mean=(1, 2, 3),
        std=(1, 2, 4),
        resize="shortest",
        resize_to=30,
        resample="bicubic",
        dim=4,
    )
    image = noise((90, 60))
    pixels = card.preparation.apply(image)
    assert np.array_equal(pixels, np.asarray(image.resize((45, 30), Image.Resampling.BICUBIC))[5:25, 10:34])
    wanted = (pixels[None, :, :, ::-1] * 0.5 - [1, 2, 3]) / [1, 2, 4]
    assert np.array_equal(card.normalisation([pixels]), wanted.astype(np.float32))
