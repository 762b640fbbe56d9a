"""What is exported of an image: against pixels turned, cut, laid on white and converted by hand, and planted secrets."""

from __future__ import annotations

import io
import itertools
import json
import pickle
import random
import struct
import warnings
import zlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from align_data.decoding import strip
from align_data.decoding.inspected import ImageChecks
from align_data.decoding.inspection import inspect
from align_data.decoding.render import RESAMPLING, How, Rendered, UnrenderableError, render, render_decoded
from align_data.storage.image_formats import HEAD, sniff

SECRET = b"48.8584N 2.2945E by Jane"
HOWS = [How(), How("shortest", 16), How("crop", 16), How("crop", 90), How("shortest", 16, quality=60)]
FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF"]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def written(image: Image.Image, format: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def pixels(content: bytes, mode: str | None = None) -> np.ndarray:
    with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content)) as image:  # of odd metadata
        image.load()
        return np.asarray(image.convert(mode) if mode else image).astype(int)


def picture(width: int = 60, height: int = 40) -> np.ndarray:
    """Smooth, with another colour in each corner, no two places alike."""
    y, x = np.mgrid[:height, :width]
    shades = np.stack([40 + 150 * x / width, 60 + 120 * y / height, 200 - 60 * x / width - 60 * y / height], axis=-1)
    corner = max(2, min(width, height) // 4)
    for rows, columns, colour in [
        (slice(None, corner), slice(None, corner), (255, 0, 0)),
        (slice(None, corner), slice(-corner, None), (0, 200, 0)),
        (slice(-corner, None), slice(None, corner), (0, 0, 255)),
        (slice(-corner, None), slice(-corner, None), (250, 250, 0)),
    ]:
        shades[rows, columns] = colour
    return shades.round().astype(np.uint8)


IMAGE = Image.fromarray(picture())


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    channels = len(Image.new(mode, (1, 1)).getbands())
    shape = (height, width, channels) if channels > 1 else (height, width)
    return Image.frombytes(mode, (width, height), np.random.default_rng(3).integers(0, 256, shape, np.uint8).tobytes())


def checked(content: bytes, how: How) -> Rendered:
    """Render, and see that what comes is what it says it is, and the same again."""
    found = render(content, how)
    with Image.open(io.BytesIO(found.content)) as image:
        image.load()
        assert (found.width, found.height) == image.size == how.target(found.original_width, found.original_height)
        assert found.extension == {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}[image.format]
        assert not {"exif", "comment", "icc_profile", "xmp", "photoshop", "mp", "gamma"} & set(image.info)
        assert found.changed != "encoded" or (image.format == "JPEG" and image.mode in ("L", "RGB"))
    assert render(content, how) == found
    assert found.changed != "no" or found.content is content
    seen = inspect(content, ImageChecks(), 10**8)
    assert (seen.width, seen.height) == found[4:6]
    again = render(found.content, how)
    assert again.changed == "no"
    assert again.content is found.content
    return found


def alike(found: np.ndarray, wanted: np.ndarray, most: float, mean: float) -> bool:
    apart = np.abs(found - wanted)
    return found.shape == wanted.shape and apart.max() <= most and apart.mean() <= mean


def near(found: np.ndarray, wanted: np.ndarray, *, lossy: bool = False) -> bool:
    """Tell whether pixels are those wanted, when a JPEG of them is made, and one more where the source was lossy."""
    jpeg = pixels(written(Image.fromarray(wanted.astype(np.uint8)), "JPEG", quality=95))
    return alike(found, jpeg, *((90, 4) if lossy else (16, 1.5)))


LOSSY = ("JPEG", "AVIF")


# What a size comes to


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 300))
@settings(max_examples=150, deadline=None)
def test_sizes_are_exact(width: int, height: int, size: int) -> None:
    content = written(Image.new("L", (width, height), 90), "BMP")
    factor = Fraction(size, min(width, height))
    longer = int(max(width, height) * factor + Fraction(1, 2))
    shrunk = (size, longer) if width <= height else (longer, size)
    for how, wanted in [
        (How(), (width, height)),
        (How("shortest", size), (width, height) if factor >= 1 else shrunk),
        (How("crop", size), (size, size)),
    ]:
        found = render(content, how)
        assert found[2:6] == (*wanted, width, height)
        assert pixels(found.content).shape == wanted[::-1]


@pytest.mark.parametrize("size", [(1, 30_000), (30_000, 1), (2, 3), (1, 1)])
@pytest.mark.parametrize("format", ["PNG", "BMP", "JPEG"])
def test_extreme_shapes(size: tuple[int, int], format: str) -> None:
    content = written(Image.new("RGB", size, (200, 10, 10)), format)
    for how in [How(), How("shortest", 1), How("shortest", 256), How("crop", 256), How("crop", 1)]:
        found = checked(content, how)
        assert near(pixels(found.content), np.full((found.height, found.width, 3), (200, 10, 10)))


def test_a_side_that_no_jpeg_has_is_said_so() -> None:
    content = written(Image.new("L", (2, 70_000)), "BMP")
    with pytest.raises(UnrenderableError, match="2 x 70,000 pixels are more than a JPEG's 65,500 on a side"):
        render(content, How())
    assert checked(content, How("crop", 32))[2:4] == (32, 32)
    unchanged = written(Image.new("L", (2, 70_000)), "PNG")
    assert render(unchanged, How()).content is unchanged


@pytest.mark.parametrize(("width", "height"), [(90, 61), (61, 90), (91, 60), (400, 301), (33, 20)])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP"])
def test_crop_is_the_middle(width: int, height: int, format: str) -> None:
    upright = picture(width, height)
    options = {"quality": 95, "subsampling": 0} if format == "JPEG" else {}
    content = written(Image.fromarray(upright), format, **options)
    side = min(width, height)
    for size in (side, 20, 75):
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        wanted = Image.fromarray(upright).resize((size, size), Image.Resampling.BICUBIC, box)
        if size == side:
            wanted = Image.fromarray(upright[int(top) :, int(left) :][:side, :side])
        assert near(pixels(checked(content, How("crop", size)).content), np.asarray(wanted), lossy=format in LOSSY)


@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("size", [(90, 61), (127, 129), (130, 128), (600, 31), (640, 480)])
def test_what_is_decoded_already_comes_to_the_same_bytes(size: tuple[int, int], mode: str, turn: int) -> None:
    exif = Image.Exif()
    exif[274] = turn
    content = written(noise(*size).convert(mode), "JPEG", exif=exif)
    for how in (How("shortest", 30), How("shortest", 30, 80, "webp", "area")):
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            found = render_decoded(image, turn, how)
        assert found == (None if min(size) >= 120 else render(content, how))


def test_area_is_the_mean_of_what_a_pixel_covers() -> None:
    grey = np.random.default_rng(5).integers(0, 256, (80, 120), dtype=np.uint8)
    means = grey.reshape(40, 2, 60, 2).mean((1, 3)).round().astype(np.uint8)
    wanted = pixels(written(Image.fromarray(means), "JPEG", quality=100))
    errors = {}
    for resampling in RESAMPLING:
        found = checked(written(Image.fromarray(grey), "PNG"), How("shortest", 40, 100, resampling=resampling))
        assert found[2:4] == (60, 40)
        errors[resampling] = np.abs(pixels(found.content) - wanted).mean()
    assert errors["area"] < 1 < 5 < errors["bicubic"]


@pytest.mark.parametrize("size", [(1203, 801), (800, 600), (1001, 2003)])
@pytest.mark.parametrize("turn", [1, 3, 6, 7])
def test_a_jpeg_decoded_smaller_is_as_good(size: tuple[int, int], turn: int) -> None:
    blurred = noise(*(side // 6 for side in size)).resize(size, Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[274] = turn
    content = written(blurred, "JPEG", quality=90, exif=exif)
    stored = np.asarray(Image.fromarray(pixels(content).astype(np.uint8)))
    whole = Image.fromarray(UPRIGHT[turn](stored).copy())
    for how in (How("shortest", 100, quality=100), How("crop", 64, quality=100)):
        found = render(content, how)
        side = min(whole.size)
        left, top = (whole.width - side) / 2, (whole.height - side) / 2
        box = (left, top, left + side, top + side) if how.resize == "crop" else None
        wanted = written(whole.resize(found[2:4], Image.Resampling.BICUBIC, box), "JPEG", quality=100)
        error = ((pixels(found.content) - pixels(wanted)) ** 2).mean()
        assert 10 * np.log10(255**2 / error) > 38


# Orientation: rows and columns as TIFF's standard says where the first of them is

UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored[::-1].swapaxes(0, 1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: stored.swapaxes(0, 1)[::-1],
}


@pytest.mark.parametrize("turn", UPRIGHT)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_orientation(format: str, turn: int) -> None:
    stored = picture(75, 48)
    upright = UPRIGHT[turn](stored)
    exif = Image.Exif()
    exif[274] = turn
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}, "AVIF": {"quality": 95}}
    content = written(Image.fromarray(stored), format, exif=exif, **options.get(format, {}))
    for how in [*HOWS, How("crop", 48), How("crop", 47), How("shortest", 30)]:
        found = checked(content, how)
        assert found[4:6] == (upright.shape[1], upright.shape[0])
        reference = render(written(Image.fromarray(upright.copy()), "BMP"), how)
        assert reference[2:6] == found[2:6]
        if found.changed != "encoded":
            assert (pixels(found.content) == pixels(content)).all()
            continue
        assert alike(pixels(found.content), pixels(reference.content), *((110, 5) if format in LOSSY else (24, 1.5)))
        if format in ("PNG", "TIFF") and how.resize == "keep":
            assert found.content == reference.content
    assert (render(content, How()).changed == "stripped") == (turn == 1 and format in ("JPEG", "PNG", "WEBP"))


# Bytes that need no change


PLAIN = {
    "jpeg": written(IMAGE, "JPEG"),
    "jpeg progressive": written(IMAGE, "JPEG", progressive=True),
    "jpeg grey": written(IMAGE.convert("L"), "JPEG"),
    "jpeg restarts": written(IMAGE, "JPEG", restart_marker_blocks=2),
    "jpeg of rgb": written(IMAGE, "JPEG", keep_rgb=True),
    "jpeg 4:4:4": written(IMAGE, "JPEG", subsampling=0, dpi=(300, 300)),
    "png": written(IMAGE, "PNG"),
    "png grey": written(IMAGE.convert("L"), "PNG"),
    "png palette": written(IMAGE.quantize(16), "PNG"),
    "png of one bit": written(IMAGE.convert("1"), "PNG"),
    "webp": written(IMAGE, "WEBP"),
    "webp lossless": written(IMAGE, "WEBP", lossless=True),
}


@pytest.mark.parametrize("kind", PLAIN)
def test_what_is_plain_keeps_its_bytes(kind: str) -> None:
    content = PLAIN[kind]
    format = kind.partition(" ")[0]
    for how in [How(), How("shortest", 40), How("shortest", 1000)]:
        found = checked(content, how)
        assert found == (content, format.replace("jpeg", "jpg"), 60, 40, 60, 40, "no")
        assert found.content is content
    square = written(Image.fromarray(picture(50, 50)), format.upper())
    assert checked(square, How("crop", 50)).content is square
    for how, size in [(How("shortest", 39), (59, 39)), (How("crop", 40), (40, 40)), (How("crop", 60), (60, 60))]:
        found = checked(content, how)
        assert (found.changed, found[2:4]) == ("encoded", size)


def test_a_picture_whose_header_shows_no_need_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*arguments: object, **options: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Image, "open", opened)
    for content in PLAIN.values():
        assert render(content, How()).content is content


# Metadata


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def segments(content: bytes) -> list[bytes]:
    """A JPEG in pieces, between which a segment may stand; written without a look at what is tested."""
    places, at = [2], 2
    while content[at + 1] != 0xD9:
        scan = content[at + 1] == 0xDA
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if scan:
            while content[at] != 0xFF or content[at + 1] == 0 or content[at + 1] in range(0xD0, 0xD8):
                at += 1
        places.append(at)
    return [content[a:b] for a, b in itertools.pairwise([0, *places, len(content)])]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def chunks(content: bytes) -> list[bytes]:
    pieces, at = [content[:8]], 8
    while at < len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        pieces.append(content[at:end])
        at = end
    return pieces


def riff(*parts: tuple[bytes, bytes]) -> bytes:
    body = b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in parts)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def with_secrets(image: Image.Image, format: str, **options) -> bytes:
    """Write an image with the secret wherever its format can say it."""
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    exif.get_ifd(0x8825)[29] = SECRET.decode()
    xmp = b"<x:xmpmeta>" + SECRET + b"</x:xmpmeta>"
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", SECRET.decode())
    text.add_itxt("XML:com.adobe.xmp", xmp.decode())
    text.add(b"prVt", SECRET, after_idat=True)
    said = {
        "JPEG": {"exif": exif, "comment": SECRET, "xmp": xmp},
        "PNG": {"exif": exif, "pnginfo": text},
        "WEBP": {"exif": exif, "xmp": xmp},
        "TIFF": {"exif": exif, "description": SECRET.decode()},
        "GIF": {"comment": SECRET},
        "AVIF": {"exif": exif, "xmp": xmp},
    }
    content = written(image, format, **said.get(format, {}), **options)
    if format == "JPEG":
        iptc = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(SECRET)) + SECRET
        thumbnail = segment(0xE0, b"JFXX\0\x13\2\2" + SECRET[:12])
        content = content[:2] + segment(0xED, iptc) + thumbnail + content[2:]
    return content + SECRET


@pytest.mark.parametrize("icc", [None, SRGB])
@pytest.mark.parametrize("format", FORMATS)
def test_no_secret_gets_out(format: str, icc: bytes | None) -> None:
    content = with_secrets(IMAGE, format, **({} if icc is None or format in ("BMP", "GIF") else {"icc_profile": icc}))
    assert SECRET in content
    for how in HOWS:
        found = checked(content, how)
        assert SECRET[:12] not in found.content
        assert b"acsp" not in found.content  # a profile's own mark
        stays = how.resize == "keep" and format in ("JPEG", "PNG", "WEBP")
        assert found.changed == ("stripped" if stays else "encoded")
        if stays:
            assert (pixels(found.content) == pixels(content)).all()
            assert len(found.content) < len(content)


JPEGS = {kind: content for kind, content in PLAIN.items() if kind.startswith("jpeg")} | {
    "jpeg cmyk": written(noise(33, 17, "CMYK"), "JPEG"),
    "jpeg cmyk progressive": written(noise(33, 17, "CMYK"), "JPEG", progressive=True, quality=100),
    "jpeg noise": written(noise(70, 33), "JPEG", quality=100, restart_marker_rows=1),
    "jpeg noise progressive": written(noise(70, 33), "JPEG", quality=100, progressive=True, optimize=True),
}
SAID = st.tuples(
    st.sampled_from([0xE0, 0xE1, 0xE2, 0xE3, 0xEB, 0xED, 0xEE, 0xEF, 0xFE]),
    st.binary(max_size=40)
    | st.sampled_from([b"Exif\0\0", b"JFIF\0\1", b"JFXX\0\x10", b"Adobe\0", b"MPF\0II", b"\xff\xd9"]),
)


@pytest.mark.parametrize("kind", JPEGS)
@given(st.lists(st.tuples(st.integers(0, 99), SAID, st.integers(0, 3)), max_size=6), st.binary(max_size=30))
@settings(max_examples=60, deadline=None)
def test_a_jpeg_is_stripped_to_the_pixel(kind: str, said: list, rest: bytes) -> None:
    """Planted segments stand anywhere, between scans too, some with bytes of filling before them."""
    content = JPEGS[kind]
    pieces = segments(content)
    for place, (marker, body), filling in said:
        planted = b"\xff" * filling + segment(marker, body + SECRET)
        pieces.insert(1 + place % (len(pieces) - 1), planted)
    odd = b"".join(pieces) + rest
    found = strip.strip(odd, "jpeg")
    assert SECRET not in found
    assert (pixels(found) == pixels(odd)).all()
    assert strip.strip(found, "jpeg") is found
    if not any((marker, body[:4]) == (0xE0, b"JFIF") or body[:5] == b"Adobe" for _, (marker, body), _ in said):
        assert found == content
        assert (found is odd) == (odd == content)
    header = strip.header(odd, "jpeg")
    assert header[:2] == (pixels(content).shape[1], pixels(content).shape[0])
    assert header.plain == ("cmyk" not in kind)


def test_what_says_which_colours_a_jpeg_has_stays() -> None:
    jfif = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\2\2" + SECRET[:12])
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0\0" + SECRET)
    for kind in ("jpeg of rgb", "jpeg cmyk"):  # what they have for it is an Adobe, no JFIF
        marker, *others = segments(JPEGS[kind])
        assert others[0][:9] == b"\xff\xee\0\x0eAdobe"
        found = strip.strip(b"".join([marker, adobe, *others]), "jpeg")
        assert found == b"".join([marker, adobe[:2] + b"\0\x0e" + adobe[4:16], *others])
        assert (pixels(found) == pixels(JPEGS[kind])).all()
    content = JPEGS["jpeg"]
    found = strip.strip(content[:2] + jfif + content[20:], "jpeg")
    assert found == content


def test_a_mark_too_short_to_be_heeded_goes() -> None:
    content = PLAIN["jpeg"]
    for body in (b"JFIF\0\1\1\0\0\1\0\1\0", b"JFIF" + b"\1" * 20, b"Adobe\0\x64\0\0\0\0", b"adobe\0\x64\0\0\0\0\0"):
        marked = content[:2] + segment(0xE0 if body[:1] == b"J" else 0xEE, body) + content[2:]
        assert strip.strip(marked, "jpeg") == content
        assert (pixels(marked) == pixels(content)).all()


def test_metadata_that_is_odd_is_no_error() -> None:
    content = PLAIN["jpeg"]
    for odd in (
        segment(0xE2, b"MPF\0" + SECRET),
        segment(0xE1, b"Exif\0\0II*\0" + SECRET),
        segment(0xED, b"Photoshop 3.0\x008BIM"),
    ):
        assert render(content[:2] + odd + content[2:], How()) == (content, "jpg", 60, 40, 60, 40, "stripped")


def test_headers_that_tell_of_no_plain_image() -> None:
    content = PLAIN["jpeg"]
    frame = content.index(b"\xff\xc0")
    twelve = content[: frame + 4] + b"\x0c" + content[frame + 5 :]
    assert not strip.header(twelve, "jpeg").plain
    twice = content[:frame] + content[frame : frame + 19] + content[frame:]
    assert strip.header(twice, "jpeg") is strip.strip(twice, "jpeg") is None
    assert strip.header(content[:frame] + content[frame + 19 :], "jpeg") is None
    assert strip.header(content, "gif") is strip.strip(content, None) is None
    smaller = riff((b"VP8X", b"\0" * 10), (b"VP8 ", PLAIN["webp"][20:]))
    assert strip.header(smaller, "webp") is None
    double = riff(*[(b"VP8 ", PLAIN["webp"][20:])] * 2)
    assert strip.header(double, "webp") is strip.strip(double, "webp") is None


def test_what_follows_a_jpeg_goes() -> None:
    first, second = picture(40, 30), picture(40, 30)[::-1]
    content = written(
        Image.fromarray(first), "MPO", save_all=True, append_images=[Image.fromarray(second.copy())], quality=90
    )
    with Image.open(io.BytesIO(content)) as image:
        assert image.n_frames == 2
    found = checked(content, How())
    assert found.changed == "stripped"
    assert found.content.count(b"\xff\xd8\xff") == 1
    assert near(pixels(found.content), first, lossy=True)
    assert near(pixels(checked(content, How("crop", 30)).content), pixels(content)[:, 5:35])


PNG_SAYS = [
    (b"tEXt", b"Comment\0" + SECRET),
    (b"zTXt", b"Comment\0\0" + zlib.compress(SECRET)),
    (b"iTXt", b"Comment\0\0\0\0\0" + SECRET),
    (b"tIME", struct.pack(">HBBBBB", 2024, 5, 6, 7, 8, 9)),
    (b"pHYs", struct.pack(">IIB", 300, 300, 1)),
    (b"gAMA", struct.pack(">I", 100_000)),
    (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
    (b"iCCP", b"sRGB\0\0" + zlib.compress(SRGB)),
    (b"eXIf", b"II*\0\x08\0\0\0\0\0\0\0\0\0"),
    (b"bKGD", b"\0\0\0\0\0\0"),
    (b"prVt", SECRET),
]


@pytest.mark.parametrize("kind", [kind for kind in PLAIN if kind.startswith("png")])
@given(st.lists(st.tuples(st.booleans(), st.sampled_from(PNG_SAYS)), max_size=6), st.booleans(), st.binary(max_size=9))
@settings(max_examples=40, deadline=None)
def test_a_png_is_stripped_to_the_pixel(kind: str, said: list, srgb: bool, rest: bytes) -> None:
    first, head, *others, end = chunks(PLAIN[kind])
    head += chunk(b"sRGB", b"\0") * srgb
    before, after = (b"".join(chunk(*what) for late, what in said if late is side) for side in (False, True))
    content = b"".join([first, head, *others, end])
    odd = b"".join([first, head, before, *others, after, end, rest])
    found = render(odd, How())
    assert found[1:] == ("png", 60, 40, 60, 40, "no" if odd == content else "stripped")
    assert found.content == content
    assert (pixels(odd) == pixels(content)).all()


@pytest.mark.parametrize("kind", ["webp", "webp lossless"])
@given(
    st.lists(st.sampled_from([b"EXIF", b"XMP ", b"ICCP", b"junk"]), max_size=5), st.binary(max_size=9), st.booleans()
)
@settings(max_examples=40, deadline=None)
def test_a_webp_is_stripped_to_the_pixel(kind: str, said: list, rest: bytes, extended: bool) -> None:
    content = PLAIN[kind]
    frame = (content[12:16], content[20 : 20 + int.from_bytes(content[16:20], "little")])
    header = (b"VP8X", struct.pack("<I", 0x2C) + (59).to_bytes(3, "little") + (39).to_bytes(3, "little"))
    before = [(what, SECRET) for what in said if what == b"ICCP"] if extended else []
    after = [(what, SECRET) for what in said if what != b"ICCP" or not extended]
    odd = riff(*[header] * extended, *before, frame, *after) + rest
    found = render(odd, How())
    assert found[1:] == ("webp", 60, 40, 60, 40, "no" if not (before or after or rest) else "stripped")
    assert SECRET not in found.content
    assert (pixels(found.content) == pixels(content)).all()
    if found.changed == "stripped":
        assert found.content == riff(*[(b"VP8X", b"\0" + header[1][1:])] * extended, frame)


def test_a_structure_that_is_not_certain_is_decoded() -> None:
    """Readers differ on these; none of them is passed on, and its pixels are what Pillow sees."""
    jpeg, png = segments(PLAIN["jpeg"]), chunks(PLAIN["png"])
    size = (59).to_bytes(3, "little") + (39).to_bytes(3, "little")
    frame = b"\0" * 6 + size + b"\0" * 4 + PLAIN["webp"][12:]
    odd = {
        "junk between segments": b"".join([*jpeg[:2], b"junk", *jpeg[2:]]),
        "a frame of an animation": b"".join([*png[:2], chunk(b"acTL", struct.pack(">II", 1, 0)), *png[2:]]),
        "an end with something in it": b"".join([*png[:-1], chunk(b"IEND", SECRET)]),
        "an animation of one": riff((b"VP8X", b"\2\0\0\0" + size), (b"ANIM", b"\0" * 6), (b"ANMF", frame)),
        "an unknown chunk that is needed": b"".join([*png[:2], chunk(b"NEED", b""), *png[2:]]),
    }
    for name, content in odd.items():
        format = sniff(content[:HEAD])
        assert strip.strip(content, format) is None, name
        found = checked(content, How())
        assert found.changed == "encoded", name
        assert near(pixels(found.content), pixels(content, "RGB")), name


def test_pixels_in_two_places_are_not_put_together() -> None:
    """Pillow sees only the first of them, and takes the image for one cut off."""
    first, head, data, end = chunks(PLAIN["png"])
    apart = [chunk(b"IDAT", data[8:99]), chunk(b"tEXt", b"a\0b"), chunk(b"IDAT", data[99:-4])]
    with pytest.raises(UnrenderableError, match="truncated"):
        render(b"".join([first, head, *apart, end]), How())
    whole = b"".join([first, head, apart[0], apart[2], end])
    assert render(whole, How()).content is whole


# Colours


def xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def profile(space: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile by hand."""
    table, data = struct.pack(">I", len(tags)), b""
    at = 132 + 12 * len(tags)
    for name, body in tags.items():
        table += name + struct.pack(">II", at + len(data), len(body))
        data += body + b"\0" * (-len(body) % 4)
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    head = struct.pack(">I4sI", at + len(data), b"\0" * 4, 0x02400000) + kind + space + pcs + b"\0" * 12 + b"acsp"
    return head.ljust(68, b"\0") + xyz(0.9642, 1, 0.8249)[8:] + b"\0" * 48 + table + data


def curve(values: np.ndarray) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">I", len(values)) + (values * 65535).round().astype(">u2").tobytes()


def shades_of(black: list[int]) -> bytes:
    """A table from CMYK to Lab that knows black ink only, by its lightness of none and of all of it."""
    head = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + xyz(1, 0, 0, 0, 1, 0, 0, 0, 1)[8:] + bytes(range(256)) * 4
    return (
        head + b"".join(bytes([lightness, 128, 128]) for _ in range(8) for lightness in black) + bytes(range(256)) * 3
    )


def of_rgb(curve: bytes, decimals: int = 5) -> bytes:
    """A profile of sRGB's primaries; what is white on its medium is not what is white in print."""
    primaries = zip(b"rgb", np.round(PRIMARIES, decimals), strict=True)
    tags = {bytes([letter]) + b"XYZ": xyz(*primary) for letter, primary in primaries}
    tags |= {bytes([letter]) + b"TRC": curve for letter in b"rgb"}
    return profile(b"RGB ", b"XYZ ", {b"wtpt": xyz(0.9505, 1, 1.089), **tags})


PRIMARIES = [(0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)]
WHITE = {b"wtpt": xyz(0.9642, 1, 0.8249)}
LINEAR = of_rgb(curve(np.array([0.0, 1.0])))
LIFTED = of_rgb(curve(np.array([0.02, 1.0])))
"""Linear too, but for a black that is not quite."""
LINEAR_GREY = profile(b"GRAY", b"XYZ ", {**WHITE, b"kTRC": curve(np.array([0.0, 1.0]))})
SWAPPED = SRGB.replace(b"rXYZ", b"    ").replace(b"bXYZ", b"rXYZ").replace(b"    ", b"bXYZ", 1)
ONLY_BLACK = profile(b"CMYK", b"Lab ", {**WHITE, b"A2B0": shades_of([128, 128]), b"A2B1": shades_of([255, 0])})
"""Where only black ink prints, and lightness falls evenly with it; made to please, all is of one grey."""
CODED = np.linspace(0, 1, 1024)
ROUNDED = of_rgb(curve(np.where(CODED <= 0.04045, CODED / 12.92, ((CODED + 0.055) / 1.055) ** 2.4)), decimals=3)
"""sRGB, as one of its many makers has it."""
GAMMA = of_rgb(b"curv\0\0\0\0\0\0\0\1" + struct.pack(">H", round(2.2 * 256)))
"""Almost sRGB."""


def as_srgb(linear: np.ndarray) -> np.ndarray:
    """By IEC 61966-2-1."""
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_profile_is_heeded(format: str) -> None:
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}, "AVIF": {"quality": 95}}
    shades = Image.fromarray(picture(64, 64))
    for icc, meant in [
        (SWAPPED, lambda image: image[..., ::-1]),
        (LINEAR, lambda image: as_srgb(image / 255)),
        (LIFTED, lambda image: as_srgb(image / 255)),
        (GAMMA, lambda image: as_srgb((image / 255) ** 2.2)),
    ]:
        content = written(shades, format, icc_profile=icc, **options.get(format, {}))
        for how in (How(), How("shortest", 32), How("crop", 32)):
            found = checked(content, how)
            assert found.changed == "encoded"
            plain = np.asarray(shades.resize(found[2:4], Image.Resampling.BICUBIC))
            assert near(pixels(found.content), meant(plain).round(), lossy=format in LOSSY)


def test_grey_and_cmyk_have_profiles_of_their_own() -> None:
    ramp = np.tile(np.arange(0, 256, 4, np.uint8), (16, 1))
    for icc in (LINEAR_GREY, LINEAR):  # a profile for RGB says it of a grey as well
        found = checked(written(Image.fromarray(ramp), "PNG", icc_profile=icc), How())
        assert found.changed == "encoded"
        assert near(pixels(found.content), as_srgb(ramp / 255).round())
    inks = np.zeros((16, 64, 4), np.uint8)
    inks[..., 3] = ramp
    inks[8:, :, :3] = 255
    lightness = 100 * (1 - ramp / 255)
    luminance = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    content = written(Image.fromarray(inks, "CMYK"), "JPEG", quality=100, icc_profile=ONLY_BLACK)
    found = checked(content, How(quality=100))
    assert near(pixels(found.content), np.repeat(as_srgb(luminance)[..., None], 3, 2).round())


USELESS = [
    SRGB,
    ROUNDED,
    b"",
    b"no profile",
    SRGB[:200],
    SRGB[:128] + b"\xff" * 99,
    SRGB[:16] + b"\xd2" + SRGB[17:],
    LINEAR_GREY,
    ONLY_BLACK,
]


@pytest.mark.parametrize("icc", USELESS)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_profile_that_changes_nothing_goes_without_loss(format: str, icc: bytes) -> None:
    """That of sRGB, a broken one, and one for colours that the image has not."""
    content = written(IMAGE, format, icc_profile=icc)
    found = checked(content, How())
    assert found.changed == ("stripped" if icc else "no")
    assert (pixels(found.content) == pixels(content)).all()
    plain = render(PLAIN[format.lower()], How("crop", 90))
    assert checked(content, How("crop", 90)).content == plain.content
    if icc != LINEAR_GREY:
        assert checked(written(IMAGE.convert("L"), format, icc_profile=icc), How()).changed == found.changed


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_what_is_transparent_lies_on_white(format: str) -> None:
    colours, alpha = picture(64, 48), np.tile(np.linspace(0, 255, 64).round(), (48, 1))
    image = Image.fromarray(np.dstack([colours, alpha]).astype(np.uint8))
    options = {"WEBP": {"lossless": True, "exact": True}, "AVIF": {"quality": 100}}
    content = written(image, format, **options.get(format, {}))
    white = (colours * (alpha / 255)[..., None] + 255 * (1 - (alpha / 255)[..., None])).round()
    for how in (How(), How("crop", 24)):
        found = checked(content, how)
        wanted = Image.fromarray(white.astype(np.uint8)).resize(
            found[2:4], 3, (8, 0, 56, 48) if how.resize == "crop" else None
        )
        assert found.changed == "encoded"
        assert near(pixels(found.content), np.asarray(wanted), lossy=format in LOSSY)


def test_transparency_of_every_kind() -> None:
    half = Image.new("L", (32, 32), 255)
    half.paste(0, (0, 0, 16, 32))
    grey = Image.merge("LA", [Image.new("L", (32, 32), 80), half])
    coloured = Image.merge("RGBA", [*Image.new("RGB", (32, 32), (0, 90, 0)).split(), half])
    flat = Image.new("RGB", (32, 32), (0, 90, 0))
    flat.paste((1, 2, 3), (0, 0, 16, 32))
    for content, colour in [
        (written(grey, "PNG"), (80,)),
        (written(grey, "TIFF"), (80,)),
        (written(flat, "PNG", transparency=(1, 2, 3)), (0, 90, 0)),
        (written(flat.convert("L"), "PNG", transparency=flat.convert("L").getpixel((0, 0))), (53,)),
        (written(flat.quantize(4), "PNG", transparency=flat.quantize(4).getpixel((0, 0))), (0, 90, 0)),
        (written(coloured, "GIF"), (0, 90, 0)),
        (written(flat.quantize(4), "PNG", transparency=bytes([255, 255])), None),
    ]:
        found = checked(content, How())
        assert found.changed == "encoded"
        right = pixels(found.content)[:, 20:].reshape(32 * 12, -1)
        left = pixels(found.content)[:, :12].reshape(32 * 12, -1)
        if colour is not None:
            assert near(right, np.tile(np.array(colour), (len(right), 1)))
            assert left.min() >= 250
        else:
            assert left.max() <= 12


def test_other_makes_of_pixels() -> None:
    wide = np.linspace(0, 65535, 64 * 32).reshape(32, 64).astype(np.uint16)
    for format in ("PNG", "TIFF"):
        found = checked(written(Image.fromarray(wide), format), How())
        assert near(pixels(found.content), wide >> 8)
    cmyk = Image.new("CMYK", (32, 32), (200, 40, 0, 60))
    for format in ("JPEG", "TIFF"):
        found = checked(written(cmyk, format), How())
        wanted = [(255 - ink) * (255 - 60) / 255 for ink in (200, 40, 0)]
        assert near(pixels(found.content), np.tile(np.array(wanted).round(), (32, 32, 1)))
    red = Image.new("RGB", (32, 32), (200, 30, 60))
    lab = ImageCms.profileToProfile(
        red, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert near(pixels(checked(written(lab, "TIFF"), How("crop", 8)).content), np.tile([200, 30, 60], (8, 8, 1)))
    assert near(
        pixels(checked(written(red.convert("YCbCr"), "TIFF"), How()).content), np.tile([200, 30, 60], (32, 32, 1))
    )


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_of_moving_pictures_the_first(format: str) -> None:
    frames = [Image.new("RGB", (24, 16), colour) for colour in [(220, 0, 0), (0, 0, 220), (0, 220, 0)]]
    content = written(frames[0], format, save_all=True, append_images=frames[1:])
    for how in HOWS:
        found = checked(content, how)
        assert found.changed == "encoded"
        assert near(pixels(found.content), np.tile([220, 0, 0], (found.height, found.width, 1)))


def test_a_grey_gif_among_coloured_ones() -> None:
    """Its own palette is grey, the one of the whole file is not: Pillow mixes up the two."""
    grey = np.tile(np.arange(256, dtype=np.uint8), (16, 1))
    content = written(Image.fromarray(grey), "GIF", transparency=255, interlace=0)
    shared, at = content[13:781], content.index(b"\x2c\0\0\0\0", 781) + 9
    assert (shared, content[at]) == (bytes(np.repeat(np.arange(256, dtype=np.uint8), 3)), 0)
    odd = content[:13] + bytes(reversed(range(256))) * 3 + content[781:at] + b"\x87" + shared + content[at + 1 :]
    assert near(pixels(checked(odd, How()).content), grey)


def lossless_jpeg(grey: np.ndarray) -> bytes:
    """A JPEG without DCT (SOF3): each pixel's difference to its neighbour, in a Huffman code of four bits a length."""
    before = np.empty_like(grey, int)
    before[:, 1:], before[1:, 0], before[0, 0] = grey[:, :-1], grey[:-1, 0], 128
    bits = ""
    for apart in map(int, (grey.astype(int) - before).ravel()):
        size = abs(apart).bit_length()
        bits += f"{size:04b}" + (f"{apart if apart > 0 else apart + (1 << size) - 1:0{size}b}" if size else "")
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    frame = struct.pack(">BHHB", 8, *grey.shape, 1) + b"\1\x11\0"
    code = b"\0" + bytes([0, 0, 0, 9] + [0] * 12) + bytes(range(9))
    scan = segment(0xDA, b"\1\1\0\1\0\0") + data
    return b"\xff\xd8" + segment(0xC3, frame) + segment(0xC4, code) + scan + b"\xff\xd9"


def test_a_jpeg_that_cannot_be_decoded_smaller_is_decoded_in_full() -> None:
    grey = picture(400, 300)[..., 0]
    content = lossless_jpeg(grey)
    assert (pixels(content) == grey).all()
    found = checked(content, How("shortest", 30))
    assert near(pixels(found.content), np.asarray(Image.fromarray(grey).resize((40, 30), 3)))
    assert checked(content, How()).changed == "encoded"  # browsers know no such JPEG


# What is no image, or no longer one


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\4\0\0\0WEBP", b"GIF89a", b"BM", b"II*\0"]
)
def test_what_is_no_image_is_said_so(content: bytes) -> None:
    with pytest.raises(UnrenderableError, match=r"^[ -~]{10,200}$"):
        render(content, How())


@pytest.mark.parametrize("format", FORMATS)
def test_an_image_cut_off_is_said_so(format: str) -> None:
    content = written(noise(50, 50), format)
    for share, how in itertools.product((0.1, 0.5, 0.9), (How(), How("crop", 20))):
        with pytest.raises(UnrenderableError):
            render(content[: int(len(content) * share)], how)


MUTABLE = [
    *JPEGS.values(),
    *PLAIN.values(),
    *(with_secrets(noise(24, 20), format) for format in FORMATS),
    *(with_secrets(noise(24, 20, "RGBA"), format) for format in ("PNG", "WEBP", "TIFF", "AVIF")),
    written(IMAGE, "JPEG", icc_profile=SWAPPED),
    written(IMAGE, "PNG", icc_profile=SWAPPED),
    written(noise(33, 17, "CMYK"), "JPEG", icc_profile=ONLY_BLACK),
    lossless_jpeg(picture()[..., 0]),
    written(IMAGE, "GIF", save_all=True, append_images=[noise(60, 40)]),
    written(IMAGE, "PNG", save_all=True, append_images=[noise(60, 40)]),
    written(IMAGE, "WEBP", save_all=True, append_images=[noise(60, 40)]),
]


@given(st.integers(0, 10**6), st.sampled_from(MUTABLE), st.sampled_from(HOWS))
@settings(max_examples=600, deadline=None)
def test_broken_bytes_give_an_error_or_an_image(seed: int, content: bytes, how: How) -> None:
    chance = random.Random(seed)
    broken = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 8])):
        at = chance.randrange(min(len(broken), chance.choice([40, 400, 10**6])))
        gone, new = chance.choice([(1, 1), (1, 1), (2, 2), (4, 4), (0, 1), (1, 0), (9, 0)])
        broken[at : at + gone] = chance.randbytes(new)
    seen = inspect(bytes(broken), ImageChecks(), 10**6)
    if seen.status == "too_many_pixels":
        return
    try:
        found = render(bytes(broken), how)
    except UnrenderableError:
        assert not seen.decodable
        return
    assert seen.decodable or found.changed != "encoded"
    if seen.decodable:
        assert (seen.width, seen.height) == found[4:6]
        with Image.open(io.BytesIO(found.content)) as image:
            image.load()
            assert image.size == found[2:4] == how.target(*found[4:6])


# What is recorded


def test_how_travels_and_is_recorded() -> None:
    for how in HOWS:
        assert pickle.loads(pickle.dumps(how)) == how
        assert json.loads(json.dumps(how.describe())) == how.describe()
    described = [json.dumps(how.describe(), sort_keys=True) for how in HOWS]
    assert len(set(described)) == len(HOWS)
    assert How("crop", 224, 90).describe() == {
        "resize": "crop", "size": 224, "resampling": "bicubic", "format": "jpeg", "quality": 90,
        "subsampling": "4:2:0", "colour_space": "sRGB", "rendering_intent": "relative colorimetric", "background": "white",
    }  # fmt: skip
    assert not {"size", "resampling"} & set(How().describe())


def test_what_is_recorded_is_so() -> None:
    content = written(noise(64, 64), "PNG")
    for quality in (95, 40):
        with Image.open(io.BytesIO(render(content, How("crop", 32, quality)).content)) as image:
            assert [layer[1:3] for layer in image.layer] == [(2, 2), (1, 1), (1, 1)]
            found = image.quantization
        with Image.open(io.BytesIO(written(IMAGE, "JPEG", quality=quality))) as image:
            assert found == image.quantization
    with Image.open(io.BytesIO(render(written(noise(64, 64, "L"), "PNG"), How("crop", 32)).content)) as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)]


@pytest.mark.parametrize(("encoder", "longest"), [("webp", 16_383), ("jpeg", 65_500)])
def test_what_is_too_long_for_the_one_type_is_made_smaller(encoder: str, longest: int) -> None:
    wide = written(Image.new("RGB", (longest + 400, 40), (200, 30, 60)), "PNG")
    rendered = render(wide, How(encoder=encoder, one_type=True))
    assert (rendered.width, rendered.original_width, rendered.extension) == (
        longest,
        longest + 400,
        {"webp": "webp", "jpeg": "jpg"}[encoder],
    )
    assert near(pixels(rendered.content), np.tile([200, 30, 60], (rendered.height, longest, 1)), lossy=True)
    assert How(encoder=encoder, one_type=True).describe()["one_type"]
