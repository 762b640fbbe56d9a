"""What becomes of images on the web, as changes of a decoded image: near-copies whose truth is known."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageEnhance, ImageOps

Picture = Image.Image
BORDER = 20
"""Pixels on each side."""


@dataclass(frozen=True)
class Augmentation:
    """One change of an upright RGB image."""

    about: str
    apply: Callable[[Picture], Picture]


def _jpeg(quality: int) -> Callable[[Picture], Picture]:
    def apply(picture: Picture) -> Picture:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        return Image.open(file).convert("RGB")

    return apply


def _half(picture: Picture) -> Picture:
    return picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)), Image.Resampling.LANCZOS)


def _cropped(share: float) -> Callable[[Picture], Picture]:
    """Cut off a share of width and height: three fifths of it on the left and above, where most crops are not even."""

    def apply(picture: Picture) -> Picture:
        width, height = (max(1, round(side * (1 - share))) for side in picture.size)
        left, top = (round((side - to) * 0.6) for side, to in zip(picture.size, (width, height), strict=True))
        return picture.crop((left, top, left + width, top + height))

    return apply


def _with_text(picture: Picture) -> Picture:
    marked = picture.copy()
    size = max(8, picture.height // 10)
    place = (picture.width * 0.06, picture.height - 1.6 * size)
    ImageDraw.Draw(marked).text(place, "stock photo", "white", font_size=size, stroke_width=1, stroke_fill="black")
    return marked


AUGMENTATIONS: Mapping[str, Augmentation] = {
    "jpeg_30": Augmentation("JPEG of quality 30", _jpeg(30)),
    "half_size": Augmentation("half the width and height", _half),
    "brighter": Augmentation("brighter by 30 %", lambda picture: ImageEnhance.Brightness(picture).enhance(1.3)),
    "grey": Augmentation("in grey", lambda picture: picture.convert("L").convert("RGB")),
    "crop_5": Augmentation("5 % cropped", _cropped(0.05)),
    "crop_20": Augmentation("20 % cropped", _cropped(0.20)),
    "border": Augmentation(
        f"white border of {BORDER} pixels", lambda picture: ImageOps.expand(picture, BORDER, "white")
    ),
    "text": Augmentation("text across it", _with_text),
    "mirrored": Augmentation("mirrored", ImageOps.mirror),
}
"""Name → change; each is deterministic."""
