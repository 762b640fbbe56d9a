"""What is exported of an image: its own bytes where they will do, or else a JPEG or WebP of its upright sRGB pixels.

The same bytes come of the same input and the same Pillow. Whoever made the input may wish us ill, as for `look`: set
what that needs (Pillow's limits, a child process, its memory) before.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, product
from typing import Any, Literal, NamedTuple

from PIL import Image, ImageChops, ImageCms
from PIL.TiffImagePlugin import TiffImageFile

from align_data.decoding import strip
from align_data.decoding.opening import LYING, PARSERS, TURNS, eight_bits, error_text, loaded, orientation, upright_size
from align_data.decoding.repair import repaired
from align_data.storage.image_formats import EXTENSIONS, HEAD, OPTIONAL, sniff

Resampling = Literal["bicubic", "area"]
RESAMPLING: Mapping[Resampling, Image.Resampling] = {
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
}
"""How images are shrunk. Bicubic is what CLIP's own preprocessing uses; Pillow's heeds every pixel when it shrinks, and
Lanczos is slower and rings more. The mean of an area is what img2dataset shrinks by, softer and in 0.4 of the time."""
SUBSAMPLING = "4:2:0"
"""What nearly every JPEG of the web has already, and what img2dataset writes."""
METHOD = 4
"""How long WebP's encoder searches, of 0 to 6: its own default."""
LONGEST = {"jpeg": 65_500, "webp": 16_383}
"""Pixels that a side can have, by format."""
_REDUCING_GAP = 2
"""How much larger than needed a JPEG is decoded, at least.

Photographs come out 44 to 52 dB from what resampling all of their pixels gives; quality 95 costs 33 to 38.
"""


class UnrenderableError(ValueError):
    """Bytes of which no image can be made; its text is a sentence."""


@dataclass(frozen=True)
class How:
    """How images are exported."""

    resize: Literal["keep", "shortest", "crop", "fit"] = "keep"
    """All pixels; at most `size` on the shorter side; `size` x `size` from the middle, enlarged where needed; or at
    most `size` on the longer side."""
    size: int = 256
    """Pixels."""
    quality: int = 95
    """Of what has to be encoded."""
    encoder: Literal["jpeg", "webp"] = "jpeg"
    """The format of what has to be encoded."""
    resampling: Resampling = "bicubic"
    """What shrinks images."""
    one_type: bool = False
    """Whether images of any other format have to be: readers take the types of a few samples for those of all."""

    def target(self, width: int, height: int) -> tuple[int, int]:
        """Return the size that an image is exported in; the longer side is rounded, a half up."""
        short, long = sorted((width, height))
        if self.resize == "fit":
            scale = min(1.0, self.size / long)
            return max(1, round(width * scale)), max(1, round(height * scale))
        if self.resize == "keep" or (self.resize == "shortest" and short <= self.size):
            return width, height
        if self.resize == "crop":
            return self.size, self.size
        return (2 * width * self.size + short) // (2 * short), (2 * height * self.size + short) // (2 * short)

    def describe(self) -> dict[str, Any]:
        """Return all that decides the bytes, besides the image and Pillow."""
        sized = {} if self.resize == "keep" else {"size": self.size, "resampling": self.resampling}
        encoded: dict[str, Any] = {"format": self.encoder, "quality": self.quality}
        encoded |= {"subsampling": SUBSAMPLING} if self.encoder == "jpeg" else {"method": METHOD}
        colours = {"colour_space": "sRGB", "rendering_intent": "relative colorimetric", "background": "white"}
        one_type = {"one_type": True} if self.one_type else {}
        return {"resize": self.resize, **sized, **encoded, **colours, **one_type}


class Rendered(NamedTuple):
    """What is exported of an image."""

    content: bytes
    extension: str
    width: int
    height: int
    original_width: int
    """Upright, as the signal `width` has it."""
    original_height: int
    changed: Literal["no", "stripped", "encoded"]
    """Whether these are the bytes that were fetched, those without metadata, or others."""


def render(content: bytes, how: How) -> Rendered:
    """Return what is exported of an image that can be decoded; UnrenderableError where it turns out that it cannot.

    Where the image's structure shows that nothing has to change, no pixel is decoded to see whether it can be.
    """
    try:
        return _rendered(content, how)
    except UnrenderableError:
        better = repaired(content, sniff(content[:HEAD], OPTIONAL))
        if better is None:
            raise
        rendered = _rendered(better, how)
        return rendered._replace(changed="stripped") if rendered.changed == "no" else rendered


def render_decoded(image: Image.Image, turn: int, how: How) -> Rendered | None:
    """Return what `render` makes of a larger JPEG whose pixels are decoded already; None where it goes another way."""
    if min(side // (_REDUCING_GAP * how.size) for side in image.size) >= 2:  # it would decode it smaller
        return None
    try:
        return _encoded(image, turn, how, scalable=False)
    except Exception:  # it says what is wrong
        return None


def upright(content: bytes) -> Image.Image:
    """Return an image's pixels as they are exported, all of them: upright, in sRGB, on white, and in the mode RGB.

    UnrenderableError where it cannot be decoded.
    """
    try:
        return _upright(content)
    except UnrenderableError:
        better = repaired(content, sniff(content[:HEAD], OPTIONAL))
        if better is None:
            raise
        return _upright(better)


def _upright(content: bytes) -> Image.Image:
    with _opened(content, sniff(content[:HEAD], OPTIONAL)) as image:
        conversion, turn = _conversion(image), orientation(image, content)
        srgb = _srgb(turned(opaque(_loaded(image)), _remaining(image, turn)), conversion)
        return srgb if srgb.mode == "RGB" else srgb.convert("RGB")


@contextmanager
def _opened(content: bytes, format: str | None) -> Iterator[Image.Image]:
    """Open an image; UnrenderableError for whatever goes wrong with it."""
    if format is None:
        raise UnrenderableError("does not begin like any image format")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata that is odd
            with Image.open(io.BytesIO(content), formats=[PARSERS[format]]) as image:
                yield image
    except UnrenderableError:
        raise
    except Exception as error:
        raise UnrenderableError(f"cannot be decoded: {error_text(error)}") from error


def _loaded(image: Image.Image) -> Image.Image:
    """Decode an opened image's first picture."""
    if image.mode == "L":
        image.palette = None  # of a GIF, where it is other pictures' and would make this one's pixels unreadable
    return loaded(image)


def _remaining(image: Image.Image, turn: int) -> int:
    """Return how a loaded image is still to be turned."""
    return 1 if isinstance(image, TiffImageFile) else turn  # Pillow turns these as they are loaded


def _rendered(content: bytes, how: How) -> Rendered:
    format = sniff(content[:HEAD], OPTIONAL)
    if format is None:
        raise UnrenderableError("does not begin like any image format")
    header = strip.header(content, format)
    kept = header is not None and header.plain and (format == how.encoder or not how.one_type)
    stays = kept and header is not None and how.target(header.width, header.height) == header[:2]
    bare = strip.strip(content, format) if stays else None
    if header is not None and bare is content:
        return Rendered(content, EXTENSIONS[format], *header[:2], *header[:2], "no")
    with _opened(content, format) as image:
        turn = orientation(image, content)
        if bare is not None and turn == 1 and _conversion(image) is None:
            return Rendered(bare, EXTENSIONS[format], *image.size, *image.size, "stripped")
        return _encoded(image, turn, how, scalable=header is not None and header.scalable)


def _encoded(image: Image.Image, turn: int, how: How, *, scalable: bool) -> Rendered:
    original = upright_size(image, turn)
    target = how.target(*original)
    longest = LONGEST[how.encoder]
    if max(target) > longest and how.one_type:
        target = How("fit", longest).target(*target)
    elif max(target) > longest:
        name = {"jpeg": "JPEG", "webp": "WebP"}[how.encoder]
        raise UnrenderableError(f"{target[0]:,} x {target[1]:,} pixels are more than a {name}'s {longest:,} on a side")
    conversion = _conversion(image)
    shrunk = max(target) if how.resize == "keep" else how.size
    drafted = image.draft(None, (_REDUCING_GAP * shrunk,) * 2) if scalable and target != original else None
    picture = _loaded(image)
    extent = picture.size if drafted is None else drafted[1][2:]  # the last pixels of a smaller one can be fractions
    srgb = _srgb(_fitted(opaque(picture), extent, _remaining(image, turn), target, how), conversion)
    srgb.info = {}  # Pillow would write a comment that it finds there
    return Rendered(_written(srgb, how), EXTENSIONS[how.encoder], *srgb.size, *original, "encoded")


def _written(image: Image.Image, how: How) -> bytes:
    file = io.BytesIO()
    if how.encoder == "webp":
        image.save(file, "WEBP", quality=how.quality, method=METHOD)
    else:
        sampling = {"subsampling": SUBSAMPLING} if image.mode == "RGB" else {}
        image.save(file, "JPEG", quality=how.quality, **sampling)
    return file.getvalue()


def opaque(image: Image.Image) -> Image.Image:
    """Return an image in L, RGB or CMYK of 8 bits, on white."""
    if image.mode == "LAB":
        return _to_srgb(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), "LAB").apply(image)
    mode = _pixels(image)
    image = eight_bits(image)
    if image.has_transparency_data:
        layer = image if image.mode == "RGBA" else image.convert("RGBA")
        image = Image.new("RGB", image.size, "white")
        image.paste(layer, mask=layer)
    return image if image.mode == mode else image.convert(mode)


def _pixels(image: Image.Image) -> str:
    """Return the mode that an image's pixels are handled in."""
    if image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I"):
        return "L"
    return image.mode if image.mode in ("CMYK", "LAB") else "RGB"


def _fitted(
    image: Image.Image, extent: tuple[float, float], turn: int, target: tuple[int, int], how: How
) -> Image.Image:
    """Return an image upright and in the size asked for; what a square has no place for is cut off on both sides alike.

    Where nothing is resampled and a pixel more has to go on one side, it is the right one, or the one below.
    """
    side = min(extent)
    if side == min(target):
        upright = turned(image, turn)
        dx, dy = ((has - needed) // 2 for has, needed in zip(upright.size, target, strict=True))
        return upright if upright.size == target else upright.crop((dx, dy, dx + target[0], dy + target[1]))
    box = (0.0, 0.0, *extent)
    if how.resize == "crop":
        x, y = ((length - side) / 2 for length in extent)
        box = (x, y, x + side, y + side)
    return turned(image.resize(target[::-1] if turn in LYING else target, RESAMPLING[how.resampling], box), turn)


def turned(image: Image.Image, turn: int) -> Image.Image:
    """Return an image as its EXIF orientation asks for."""
    return image.transpose(TURNS[turn]) if turn in TURNS else image


_SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""A profile's colour space, by ICC's name → the mode that its transform reads."""
_TAKEN = {"L": ("L", "RGB"), "RGB": ("RGB",), "CMYK": ("CMYK",)}
"""Mode → modes of the profiles that apply to it. A profile for other colours than the image's is a mistake."""
_UNSEEN = 3
"""Of 255: a profile that moves no colour further is one of sRGB with roundings of its own, and a JPEG moves more."""


def _conversion(image: Image.Image) -> tuple[str, ImageCms.ImageCmsTransform] | None:
    """Return what makes sRGB of an image's pixels, and the mode that it reads; None where they are taken for sRGB."""
    profile = image.info.get("icc_profile")
    conversion = _read(profile) if isinstance(profile, bytes) else None
    return conversion if conversion is not None and conversion[0] in _TAKEN.get(_pixels(image), ()) else None


@lru_cache(maxsize=16)
def _read(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform] | None:
    """Return what makes sRGB of a profile's colours; None where they are sRGB, or where it cannot be understood."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _SPACES[opened.profile.xcolor_space]
        transform = _to_srgb(opened, mode)
        return None if mode != "CMYK" and _is_srgb(transform, mode) else (mode, transform)
    except (KeyError, OSError, ValueError, ImageCms.PyCMSError):
        return None


def _to_srgb(profile: ImageCms.ImageCmsProfile, mode: str) -> ImageCms.ImageCmsTransform:
    """Return a transform that leaves every colour that sRGB has what it is, and makes black black."""
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    srgb = ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(profile, srgb, mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC, flags)


def _is_srgb(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Tell by what becomes of colours: sRGB's profiles are many, and so are their names."""
    if mode == "L":
        sample = Image.frombytes("L", (256, 1), bytes(range(256)))
    else:
        sample = Image.frombytes("RGB", (64, 64), bytes(chain.from_iterable(product(range(0, 256, 17), repeat=3))))
    moved = ImageChops.difference(sample.convert("RGB"), transform.apply(sample))
    return max(moved.tobytes()) <= _UNSEEN


def _srgb(image: Image.Image, conversion: tuple[str, ImageCms.ImageCmsTransform] | None) -> Image.Image:
    """Return an image of L, RGB or CMYK in sRGB: grey stays L, as what is exported unchanged does."""
    if conversion is None:
        return image.convert("RGB") if image.mode == "CMYK" else image
    mode, transform = conversion
    converted = transform.apply(image if image.mode == mode else image.convert(mode))
    return converted.convert("L") if image.mode == "L" else converted
