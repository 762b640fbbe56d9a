"""Images to pixels: resized to a square and cropped."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from align_data.common.errors import InputError
from align_data.decoding.opening import orientation
from align_data.decoding.render import opaque, turned
from align_data.models.pytorch.align_pixels import resized_side

# Of metadata that is odd. Once for all: where images are decoded in threads, no filter can be set for a while.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

Pixels = NDArray[np.uint8]
"""(images, side, side, 3), or one image without the first."""
_SIDED = re.compile(
    r"\b(left|right|links?|rechts?|linken?|rechten?|gauche|droite?|izquierd[ao]|derech[ao]|sinistr[ao]|destr[ao])\b|[左右]",
    re.IGNORECASE,
)
"""Words that a mirrored image would make false."""


def resized(content: bytes, side: int) -> Pixels:
    """Decode an image, upright, and resize it to a square, as the paper does; InputError if it cannot be decoded."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            turn = 1 if isinstance(image, TiffImageFile) else orientation(image, content)  # Pillow turns these itself
            image.draft("RGB", (side, side))
            small = opaque(image).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
            small = turned(small, turn)
            return np.frombuffer(small.tobytes(), np.uint8).reshape(side, side, 3)
    except Exception as error:
        raise InputError(f"an image cannot be decoded: {error}") from error


def centre(content: bytes, side: int) -> Pixels:
    """Return what evaluation sees of an image: the middle of it, `side` pixels square."""
    image: Pixels = centres(resized(content, resized_side(side))[None], side)[0]
    return image


def centres(images: Pixels, side: int) -> Pixels:
    """Cut the middle out of resized images."""
    at = (images.shape[1] - side) // 2
    return images[:, at : at + side, at : at + side]


def sided(texts: Sequence[str]) -> NDArray[np.bool_]:
    """Tell which texts say left or right."""
    return np.array([_SIDED.search(text) is not None for text in texts], bool)
