"""Images as a viewer shows them, where Pillow shows them otherwise or not at all; and that none of many is lost."""

from __future__ import annotations

import hashlib
import io
import random
import struct
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import hostile_images as hostile
import numpy as np
import pytest
from PIL import Image
from test_decoding import bits_apart

from align_data.decoding.decoder import Decoder, Decoding
from align_data.decoding.inspected import MAX_PIXELS, STATUSES, ImageChecks, ImageLimits, Inspected
from align_data.decoding.inspection import inspect
from align_data.decoding.render import How, UnrenderableError, render
from align_data.storage.store import Store
from align_data.storage.tars import TarWriter

PICTURE = hostile.picture()
GREY = np.asarray(PICTURE.convert("L")).astype(np.float64) / 255
KEEP = How()


def seen(content: bytes) -> Inspected:
    return inspect(content, ImageChecks(), MAX_PIXELS)


def shown(content: bytes) -> Image.Image:
    """Return what is exported of an image."""
    return Image.open(io.BytesIO(render(content, KEEP).content)).convert("RGB")


def file(format_: str, **options: Any) -> bytes:
    return hostile.file(PICTURE, format_, **options)


# --- a GIF whose first frame is smaller than its canvas ---

RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)


def gif(canvas: tuple[int, int], frame: Image.Image, at: tuple[int, int], transparent: int | None = None) -> bytes:
    """Return a GIF of one frame of a palette of red, green, blue and yellow."""
    palette = bytes((*RED, *GREEN, *BLUE, *YELLOW))
    frame.putpalette(palette)
    alone = hostile.file(frame, "GIF", optimize=False)
    start = alone.index(b"\x2c")
    table = 3 * (2 << (alone[start + 9] & 7)) if alone[start + 9] & 0x80 else 0
    head = b"GIF89a" + struct.pack("<HHBBB", *canvas, 0x81, 2, 0) + palette
    if transparent is not None:
        head += b"\x21\xf9\x04\x01\0\0" + bytes([transparent]) + b"\0"
    return head + b"\x2c" + struct.pack("<HHHHB", *at, *frame.size, 0) + alone[start + 10 + table :]


@pytest.mark.parametrize("transparent", [None, 3])
def test_around_a_small_first_frame_a_gif_is_transparent(transparent: int | None) -> None:
    content = gif((40, 30), Image.new("P", (10, 8), 1), (5, 6), transparent)
    expected = Image.new("RGB", (40, 30), "white")
    expected.paste(GREEN, (5, 6, 15, 14))
    difference = np.abs(np.asarray(shown(content)).astype(int) - np.asarray(expected))
    assert np.median(difference) <= 2  # a JPEG
    assert difference[0, 0].max() <= 8
    assert seen(content)[:4] == ("ok", None, 40, 30)


def test_a_small_first_frame_has_the_hash_of_what_is_shown() -> None:
    pixels = (np.indices((20, 24)).sum(axis=0) // 6 % 4).astype(np.uint8)
    frame = Image.fromarray(pixels, "P")
    white = Image.new("RGB", (60, 50), "white")
    content = gif((60, 50), frame, (20, 10))
    whole = gif(frame.size, frame, (0, 0))
    white.paste(Image.open(io.BytesIO(whole)).convert("RGB"), (20, 10))
    assert seen(content).phash == seen(hostile.file(white, "PNG")).phash
    # One that fills its canvas is what it was.
    assert seen(whole).phash == seen(hostile.file(Image.open(io.BytesIO(whole)).convert("RGB"), "PNG")).phash


# --- an animated PNG ---


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("blend", [0, 1])
def test_the_first_picture_of_an_animated_png_is_shown(mode: str, blend: int) -> None:
    other = Image.new(mode, PICTURE.size, "red")
    more = {"save_all": True, "append_images": [PICTURE.convert(mode), other], "blend": blend, "duration": 100}
    content = hostile.file(other, "PNG", default_image=True, **more)
    assert seen(content).phash == seen(hostile.file(PICTURE, "PNG")).phash
    assert np.corrcoef(np.asarray(shown(content)).ravel(), np.asarray(PICTURE).ravel())[0, 1] > 0.97
    # Without pictures that can be drawn it is the other one.
    cut = content[: content.index(b"fdAT") - 4]
    assert seen(cut).phash in (seen(hostile.file(other, "PNG")).phash, None)
    assert seen(hostile.file(PICTURE, "PNG", save_all=True, append_images=[other])).phash == seen(file("PNG")).phash


# --- checksums and ends ---


def chunk(kind: bytes, body: bytes, wrong: bool = False) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) ^ wrong)


def put_in(png: bytes, *more: bytes, at: int = 33) -> bytes:
    return png[:at] + b"".join(more) + png[at:]


OPTIONAL = {
    "text": (b"tEXt", b"a\0bcde"),
    "packed text": (b"zTXt", b"a\0\0" + zlib.compress(b"x" * 99)),
    "time": (b"tIME", bytes(7)),
    "sRGB": (b"sRGB", b"\0"),
    "profile": (b"iCCP", b"a\0\0" + zlib.compress(b"x" * 999)),
    "transparency": (b"tRNS", bytes(6)),
    "an unknown one": (b"quUx", b"?"),
}


@pytest.mark.parametrize("name", OPTIONAL)
def test_an_optional_chunk_with_a_wrong_checksum_is_passed_over(name: str) -> None:
    plain = file("PNG")
    right = put_in(plain, chunk(b"pHYs", bytes(9)))
    for content in (
        put_in(plain, chunk(*OPTIONAL[name], wrong=True)),
        put_in(right, chunk(*OPTIONAL[name], wrong=True)),
    ):
        with pytest.raises((OSError, SyntaxError)):  # as Pillow has it
            Image.open(io.BytesIO(content)).load()
        assert seen(content)[3:6] == (seen(plain)[3], len(content), "png")
        assert (seen(content).status, seen(content).phash) == ("ok", seen(plain).phash)
        assert seen(content).sha256 == hashlib.sha256(content).hexdigest()
        exported = render(content, KEEP)
        assert exported.changed == "stripped"
        assert exported.content == plain


def test_a_chunk_that_pixels_need_must_be_right() -> None:
    plain = file("PNG")
    assert seen(plain[:29] + bytes(4) + plain[33:]).status == "broken"
    unknown = put_in(plain, chunk(b"QUUX", b"?", wrong=True))
    assert seen(unknown).status == "broken"


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_only_its_end_is_whole(progressive: bool) -> None:
    plain = file("JPEG", quality=90, progressive=progressive)
    for content in (plain[:-1], plain[:-2]):
        assert (seen(content).status, seen(content).phash) == ("ok", seen(plain).phash)
        exported = render(content, KEEP)
        assert exported.changed == "stripped"
        assert Image.open(io.BytesIO(exported.content)).tobytes() == Image.open(io.BytesIO(plain)).tobytes()
    for missing in (3, 5, 20, 200, len(plain) // 2):  # pixels are missing: a viewer guesses them, and we say so
        assert seen(plain[:-missing]).status == "broken", missing
        with pytest.raises(UnrenderableError, match="truncated"):
            render(plain[:-missing], KEEP)
    assert seen(plain + b"more" * 99).phash == seen(plain).phash


def test_a_webp_that_lacks_only_its_last_byte_of_padding_is_whole() -> None:
    plain = file("WEBP")
    body = plain[8:] + b"XTRA" + struct.pack("<I", 3) + b"abc\0"
    odd = b"RIFF" + struct.pack("<I", len(body)) + body
    assert seen(odd).phash == seen(plain).phash
    assert (seen(odd[:-1]).status, seen(odd[:-1]).phash) == ("ok", seen(plain).phash)
    assert render(odd[:-1], KEEP).content == plain
    assert seen(odd[:-2]).status == seen(plain[:-1]).status == "broken"


# --- TIFF of more than eight bits ---


def tiff(values: np.ndarray[Any, Any], kind: int, white_is_zero: bool = False, order: str = "<") -> bytes:
    """Return a TIFF of one strip; `kind` is its sample format: 1 unsigned, 2 signed, 3 floating."""
    height, width = values.shape
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()  # type: ignore[arg-type]
    tags = [(256, 4, width), (257, 4, height), (258, 3, values.itemsize * 8), (259, 3, 1), (262, 3, 1 - white_is_zero)]
    tags += [(273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, len(data)), (339, 3, kind)]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(data))
    entries = (struct.pack(order + ("HHIHH" if t == 3 else "HHII"), tag, t, 1, *((v, 0) if t == 3 else (v,))) for tag, t, v in tags)  # fmt: skip
    return head + data + struct.pack(order + "H", len(tags)) + b"".join(entries) + bytes(4)


UNSIGNED = GREY * (2**32 - 1)
DEEP = {
    "16 bits": tiff((GREY * 65535).astype(np.uint16), 1),
    "16 bits, big-endian": tiff((GREY * 65535).astype(np.uint16), 1, order=">"),
    "16 bits, white is zero": tiff(((1 - GREY) * 65535).astype(np.uint16), 1, white_is_zero=True),
    "16 bits, signed": tiff((GREY * 65535 - 32768).astype(np.int16), 2),
    "32 bits": tiff(UNSIGNED.astype(np.uint32), 1),
    "32 bits, all in the upper half": tiff((UNSIGNED / 2 + 2**31).astype(np.uint32), 1),
    "32 bits, little of them": tiff((GREY * 255).astype(np.uint32), 1),
    "32 bits, signed": tiff((GREY * (2**31 - 1)).astype(np.int32), 2),
    "32 bits, signed, below 0 too": tiff((UNSIGNED - 2**31).astype(np.int32), 2),
    "32 bits, signed, big-endian": tiff((GREY * 1e6 - 5e5).astype(np.int32), 2, order=">"),
    "floats": tiff(GREY.astype(np.float32), 3),
    "floats, big-endian": tiff((GREY * 255).astype(np.float32), 3, order=">"),
    "floats, white is zero": tiff((1 - GREY).astype(np.float32), 3, white_is_zero=True),
    **{f"floats with {value}": tiff(np.where(np.indices(GREY.shape).sum(axis=0) == 40, value, GREY).astype(np.float32), 3) for value in (np.nan, np.inf, -np.inf, 3.4e38, -3.4e38)},
}  # fmt: skip


@pytest.mark.parametrize("name", DEEP)
def test_a_deep_tiff_is_the_same_picture_in_eight_bits(name: str) -> None:
    plain = seen(hostile.file(PICTURE.convert("L"), "PNG"))
    here = seen(DEEP[name])
    assert here.status == "ok", here.reason
    assert bits_apart(here.phash, plain.phash) <= (4 if " with " in name else 2)
    grey = np.asarray(shown(DEEP[name]).convert("L")).astype(float).ravel()
    assert np.corrcoef(grey, GREY.ravel())[0, 1] > (0.95 if " with " in name else 0.97)


# --- none is lost ---


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Return bytes with some flipped, cut out, doubled or cut off."""
    made = bytearray(content)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(made)) if made else 0
        how = chance.randrange(4)
        if how == 0 and made:
            made[at] = chance.randrange(256)
        elif how == 1:
            del made[at : at + chance.randint(1, 40)]
        elif how == 2:
            made[at:at] = made[at : at + chance.randint(1, 40)]
        elif chance.random() < 0.3:
            del made[at:]
    return bytes(made)


def test_every_mutated_image_is_accounted_for(tmp_path: Path) -> None:
    all_accounted_for(list(hostile.good().values()), 400, tmp_path)


def all_accounted_for(good: list[bytes], number: int, tmp_path: Path, **limits: Any) -> None:
    """Look at mutations of good images, and assert that each has a row of its own that makes sense."""
    chance = random.Random(12)
    contents = [mutated(chance.choice(good), chance) for _ in range(number)]
    with TarWriter(Store(tmp_path), "mutated") as tar:
        places = [tar.add(f"{n:05d}.bin", io.BytesIO(content), len(content)) for n, content in enumerate(contents)]
    items = [(place, ImageChecks()) for place in places]
    with closing(Decoder(Decoding(Store(tmp_path), limits=ImageLimits(**limits)))) as one:
        found = list(one.look(items))
    assert len(found) == len(contents)
    for content, each in zip(contents, found, strict=True):
        assert each.status in STATUSES
        assert (each.status == "ok") == (each.reason is None) == (each.decodable is True) == (each.phash is not None)
        assert each.bytes == len(content)
        if each.status != "crashed":
            assert each.sha256 == hashlib.sha256(content).hexdigest()
    assert {"ok", "broken"} <= {each.status for each in found}
