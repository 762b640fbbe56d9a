"""Images of every kind that there is on the web, and bytes that mean ill: made here, none stored."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

WIDTH, HEIGHT = 88, 62
"""Of all good images: neither square nor a multiple of any block, so that nothing fits by chance."""


def picture(width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> Image.Image:
    """Draw something without any symmetry whose pHash survives compression."""
    cells = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)


def file(image: Image.Image, format_: str, **options: Any) -> bytes:
    """Return an image as the bytes of a file."""
    out = io.BytesIO()
    # Copies, because saving leaves traces in what was saved.
    more = (
        {"append_images": [each.copy() for each in options.pop("append_images")]} if "append_images" in options else {}
    )
    image.copy().save(out, format_, **options, **more)
    return out.getvalue()


def exif(orientation: Any) -> Image.Exif:
    """Return EXIF that says how the image has to be turned."""
    made = Image.Exif()
    made[0x112] = orientation
    return made


# --- PNG by hand: what Pillow would not write ---

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    size: tuple[int, int],
    depth: int,
    colour: int,
    pixels: bytes,
    before: bytes = b"",
    after: bytes = b"",
    lace: int = 0,
) -> bytes:
    """Return a PNG: `pixels` are its scan lines, each behind a byte for its filter; other chunks around them."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, lace))
    return SIGNATURE + head + before + chunk(b"IDAT", zlib.compress(pixels, 1)) + after + chunk(b"IEND", b"")


def lines(values: np.ndarray[Any, Any]) -> bytes:
    """Return the rows of an array as scan lines without a filter."""
    return b"".join(b"\0" + np.ascontiguousarray(row).tobytes() for row in values)


def png16(image: Image.Image, **chunks: bytes) -> bytes:
    """Return a PNG of 16 bits a channel, grey or RGB."""
    deep = np.asarray(image).astype(">u2") * 257
    return png(image.size, 16, 0 if image.mode == "L" else 2, lines(deep.astype(">u2")), **chunks)


def interlaced(image: Image.Image) -> bytes:
    """Return an RGB image as an interlaced PNG."""
    values = np.asarray(image)
    steps = ((0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1))
    passes = (values[top::down, left::right] for top, down, left, right in steps)
    return png(image.size, 8, 2, b"".join(lines(each) for each in passes if each.size), lace=1)


def empty_png(width: int, height: int, colour: int = 0) -> bytes:
    """Return a PNG of black pixels."""
    packer = zlib.compressobj(1)
    line = bytes(1 + width * (3 if colour == 2 else 1))
    packed = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    return SIGNATURE + head + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def announced_png(width: int, height: int) -> bytes:
    """Return a PNG that announces a size and has a megabyte of zeros, packed, for it."""
    return png((width, height), 8, 0, bytes(2**20))


# --- other formats by hand ---


def tiff(tags: Iterable[tuple[int, int, int, int]], data: bytes = b"") -> bytes:
    """Return a little-endian TIFF of tags: number, type, count and value or offset."""
    entries = sorted(tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + b"".join(struct.pack("<HHII", *entry) for entry in entries) + struct.pack("<I", 0) + data


def tiff_tags(width: int, height: int, **changed: tuple[int, int, int]) -> list[tuple[int, int, int, int]]:
    """Return the tags of a grey TIFF whose pixels begin at byte 200; `t256=(type, count, value)` changes one."""
    plain = {256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1)}
    plain |= {273: (4, 1, 200), 278: (4, 1, height), 279: (4, 1, width * height % 2**32)}
    plain |= {int(name[1:]): value for name, value in changed.items()}
    return [(number, *value) for number, value in plain.items()]


def bmp(width: int, height: int, pixels: bytes = bytes(4000)) -> bytes:
    """Return a BMP of 24 bits with whatever sides."""
    sides = struct.pack("<ii", *((side + 2**31) % 2**32 - 2**31 for side in (width, height)))
    head = (
        struct.pack("<IHHII", 54 + len(pixels), 0, 0, 54, 40)
        + sides
        + struct.pack("<HHIIiiII", 1, 24, 0, 0, 0, 0, 0, 0)
    )
    return b"BM" + head + pixels


def gif(screen: tuple[int, int]) -> bytes:
    """Return a GIF of one pixel on a logical screen of any size."""
    head = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + bytes(6)
    return head + b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00;"


def webp_canvas(width: int, height: int) -> bytes:
    """Return an animated WebP of one small frame on a canvas of any size."""
    still = file(picture(16, 16), "WEBP")[12:]
    sides = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    extended = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + sides
    animation = b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    frame = bytes(6) + struct.pack("<I", 15)[:3] * 2 + struct.pack("<I", 100)[:3] + b"\0" + still
    body = b"WEBP" + extended + animation + b"ANMF" + struct.pack("<I", len(frame)) + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


def slow_jpeg(side: int = 2048, scans: int = 200) -> bytes:
    """Return a progressive JPEG, grey, that goes through all of its pixels again with every few bytes.

    `side` is a multiple of 1024.
    """

    def segment(kind: int, data: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, kind, len(data) + 2) + data

    blocks = (side // 8) ** 2
    frame = segment(0xC2, struct.pack(">BHHBBBB", 8, side, side, 1, 1, 0x11, 0))
    tables = segment(0xDB, b"\0" + b"\1" * 64)
    tables += segment(0xC4, b"\x00" + b"\1" + bytes(15) + b"\x00")  # DC: one bit for "as before"
    tables += segment(0xC4, b"\x10" + b"\1" + bytes(15) + b"\xe0")  # AC: one bit, then 14 for how many blocks are empty
    first = segment(0xDA, b"\1\1\0\0\0\0") + bytes(blocks // 8)
    packed = bytes(-(-blocks // 2**14 * 15 // 8))  # 15 bits, all 0, for 2**14 empty blocks
    return b"\xff\xd8" + tables + frame + first + (segment(0xDA, b"\1\1\0\1\x3f\0") + packed) * scans + b"\xff\xd9"


# --- all of them ---


def without_adobe(jpeg: bytes) -> bytes:
    """Take the segment out of a JPEG that says that Adobe wrote it: then its CMYK is not inverted."""
    at = jpeg.index(b"\xff\xee")
    return jpeg[:at] + jpeg[at + 2 + struct.unpack_from(">H", jpeg, at + 2)[0] :]


@cache
def good() -> dict[str, bytes]:
    """Return an image of every kind, by the name of its format and its kind; all are WIDTH x HEIGHT."""
    image = picture()
    grey, palette = image.convert("L"), image.quantize(32)
    clear = image.copy()
    clear.putalpha(grey)
    frames = [picture(seed=n) for n in (1, 2)]
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    cmyk = file(image.convert("CMYK"), "JPEG", quality=95)
    translucent = {"transparency": bytes(range(0, 256, 8))}
    return {
        "jpeg/rgb": file(image, "JPEG"),
        "jpeg/grey": file(grey, "JPEG"),
        "jpeg/cmyk adobe": cmyk,
        "jpeg/cmyk": without_adobe(cmyk),
        "jpeg/progressive": file(image, "JPEG", progressive=True),
        "jpeg/icc": file(image, "JPEG", icc_profile=icc),
        "jpeg/mpo": file(image, "MPO", save_all=True, append_images=frames),
        "jpeg/thumbnail": file(image, "JPEG", exif=exif(1), comment=file(picture(8, 8), "JPEG")),
        "png/rgb": file(image, "PNG"),
        "png/rgba": file(clear, "PNG"),
        "png/grey": file(grey, "PNG"),
        "png/grey alpha": file(clear.convert("LA"), "PNG"),
        "png/palette": file(palette, "PNG"),
        "png/palette transparent": file(palette, "PNG", **translucent),
        "png/palette one transparent": file(palette, "PNG", transparency=3),
        "png/1 bit": file(image.convert("1"), "PNG"),
        "png/16 bits": png16(grey),
        "png/16 bits rgb": png16(image),
        "png/interlaced": interlaced(image),
        "png/animated": file(image, "PNG", save_all=True, append_images=frames),
        "png/icc": file(image, "PNG", icc_profile=icc),
        "webp/lossy": file(image, "WEBP"),
        "webp/lossless": file(image, "WEBP", lossless=True),
        "webp/alpha": file(clear, "WEBP"),
        "webp/animated": file(image, "WEBP", save_all=True, append_images=frames),
        "gif/plain": file(palette, "GIF"),
        "gif/animated": file(palette, "GIF", save_all=True, append_images=[f.quantize(32) for f in frames]),
        "gif/transparent": file(palette, "GIF", transparency=2),
        "bmp/rgb": file(image, "BMP"),
        "bmp/palette": file(palette, "BMP"),
        "bmp/1 bit": file(image.convert("1"), "BMP"),
        "tiff/rgb": file(image, "TIFF"),
        "tiff/lzw": file(image, "TIFF", compression="tiff_lzw"),
        "tiff/jpeg": file(image, "TIFF", compression="jpeg"),
        "tiff/pages": file(image, "TIFF", save_all=True, append_images=frames),
        "tiff/cmyk": file(image.convert("CMYK"), "TIFF"),
        "tiff/lab": file(lab(image), "TIFF"),
        "tiff/16 bits": file(deep, "TIFF"),
        "tiff/16 bits lzw": file(deep, "TIFF", compression="tiff_lzw"),
        "tiff/32 bits": file(Image.fromarray(np.asarray(grey).astype(np.int32) * 2**20), "TIFF"),
        "tiff/float": file(Image.fromarray(np.asarray(grey).astype(np.float32) / 255), "TIFF"),
        "avif/rgb": file(image, "AVIF", speed=10),
        "avif/alpha": file(clear, "AVIF", speed=10),
        "avif/animated": file(image, "AVIF", speed=10, save_all=True, append_images=frames),
    }


def lab(image: Image.Image) -> Image.Image:
    """Return an image in Lab colours."""
    profiles = (ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"))
    turned = ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    assert turned is not None
    return turned


DEEP = ("png/16 bits", "tiff/16 bits", "tiff/16 bits lzw", "tiff/32 bits", "tiff/float", "tiff/lab")
"""Good images that hold more than 8 bits of grey, or that Pillow cannot make grey: imagehash alone would hash white."""


def oriented(format_: str, orientation: int, image: Image.Image | None = None) -> bytes:
    """Return an image that has to be turned, by the way of its format."""
    image = image or picture()
    if format_ == "PNG late":  # behind the pixels, where ExifTool puts it
        return png(image.size, 8, 2, lines(np.asarray(image)), after=chunk(b"eXIf", exif(orientation).tobytes()[6:]))
    if format_.startswith("TIFF"):
        more = {"compression": "tiff_lzw"} if format_ == "TIFF LZW" else {}
        return file(image, "TIFF", tiffinfo={0x112: orientation}, **more)
    more = {"JPEG": {"quality": 98}, "WEBP": {"lossless": True}, "AVIF": {"quality": 95, "speed": 10}}.get(format_, {})
    return file(image, format_, exif=exif(orientation), **more)


ORIENTED = ("JPEG", "PNG", "PNG late", "WEBP", "TIFF", "TIFF LZW", "AVIF")
LOSSLESS = ("PNG", "PNG late", "WEBP", "TIFF", "TIFF LZW")


def strange_exif() -> dict[str, bytes]:
    """Return EXIF blocks, without 'Exif', that say nothing sensible."""

    def ifd(kind: int, count: int, value: bytes, next_: int = 0) -> bytes:
        entry = struct.pack(">HHI", 0x112, kind, count) + value.ljust(4, b"\0")
        return b"MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", next_)

    short = struct.pack(">H", 6)
    return {
        "nothing": b"",
        "garbage": random.Random(1).randbytes(200),
        "half a header": b"MM\0",
        "no such byte order": b"XX\0*" + bytes(40),
        "directory beyond the end": b"MM\0*" + struct.pack(">I", 10**6),
        "directory before the start": b"MM\0*" + struct.pack(">I", 0),
        "65,535 entries": b"MM\0*" + struct.pack(">IH", 8, 65535) + bytes(30),
        "a ring of directories": ifd(3, 1, short, next_=8),
        "orientation 0": ifd(3, 1, b"\0\0"),
        "orientation 9": ifd(3, 1, b"\0\x09"),
        "orientation 65,535": ifd(3, 1, b"\xff\xff"),
        "a text": ifd(2, 2, b"6\0"),
        "a fraction": ifd(5, 1, struct.pack(">I", 26)) + struct.pack(">II", 6, 1),
        "a division by zero": ifd(5, 1, struct.pack(">I", 26)) + struct.pack(">II", 6, 0),
        "a float": ifd(11, 1, struct.pack(">f", 6.0)),
        "not a number": ifd(11, 1, struct.pack(">f", float("nan"))),
        "two values": ifd(3, 2, short * 2),
        "four thousand million values": ifd(3, 2**32 - 1, struct.pack(">I", 26)),
        "no such type": ifd(99, 1, short),
        "signed": ifd(8, 1, struct.pack(">h", -6)),
    }


def with_exif(format_: str, block: bytes) -> bytes:
    """Return an image with an EXIF block of whatever bytes."""
    if format_ == "PNG":
        image = picture()
        return png(image.size, 8, 2, lines(np.asarray(image)), before=chunk(b"eXIf", block))
    return file(picture(), format_, exif=b"Exif\0\0" + block)


NO_IMAGE = {
    "empty": b"",
    "a byte": b"\xff",
    "html": b"<!DOCTYPE html><html><body><img src=1.jpg></body></html>",
    "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>',
    "pdf": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj",
    "photoshop": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 10, 10, 8, 3) + bytes(60),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "icon": struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, 100, 22) + bytes(100),
    "zip": b"PK\3\4" + bytes(60),
    "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60),
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(60),
    "text": b"BLUE\n",
    "half a signature": SIGNATURE[:5],
    "an image behind a blank": b" " + file(picture(), "PNG"),
}
"""Bytes that begin like no image format that is let in."""

MAGIC = {
    "jpeg": b"\xff\xd8\xff",
    "png": SIGNATURE,
    "gif": b"GIF89a",
    "webp": b"RIFF\x10\0\0\0WEBP",
    "tiff": b"II*\0",
    "bmp": b"BM",
    "avif": b"\0\0\0\x1cftypavif",
}


@cache
def broken() -> dict[str, bytes]:
    """Return bytes that begin like an image and are none, or not all of one."""
    some = good()
    made = {f"only the magic of {name}": magic for name, magic in MAGIC.items()}
    noise = random.Random(2).randbytes(3000)
    made |= {f"noise behind the magic of {name}": magic + noise for name, magic in MAGIC.items()}
    for name in ("jpeg/rgb", "jpeg/progressive", "png/rgb", "png/interlaced", "webp/lossy", "gif/plain", "bmp/rgb",
                 "tiff/rgb", "tiff/lzw", "avif/rgb"):  # fmt: skip
        whole = some[name]
        for percent in (3, 10, 25, 50, 80):
            made[f"{name} cut at {percent} %"] = whole[: len(whole) * percent // 100]
    packed = zlib.compress(bytes(50 * 2**20))
    return made | {
        "png/text bomb": png((3, 2), 8, 0, bytes(8), before=chunk(b"zTXt", b"a\0\0" + packed)),
        "png/profile bomb": png((3, 2), 8, 0, bytes(8), before=chunk(b"iCCP", b"a\0\0" + packed)),
        "png/0 x 5": png((0, 5), 8, 0, bytes(8)),
        "png/no pixels": png((5, 5), 8, 0, b""),
        "png/4,294,967,295 x 1": png((2**32 - 1, 1), 8, 0, bytes(8)),
        "bmp/-5 x 5": bmp(-5, 5),
        "bmp/0 x 5": bmp(0, 5),
        "bmp/-1 x 1": bmp(-1, 1),
        "tiff/0 x 5": tiff(tiff_tags(0, 5), bytes(200)),
        "tiff/4,294,967,295 x 1": tiff(tiff_tags(2**32 - 1, 1), bytes(200)),
        "tiff/4,294,967,295 x 4,294,967,295": tiff(tiff_tags(2**32 - 1, 2**32 - 1), bytes(200)),
        "tiff/many offsets": tiff(tiff_tags(4, 3, t273=(4, 2**31, 200)), bytes(200)),
        "tiff/pixels elsewhere": tiff(tiff_tags(4, 3, t273=(4, 1, 2**32 - 10)), bytes(200)),
        "tiff/1,000 bits": tiff(tiff_tags(4, 3, t258=(3, 1, 1000)), bytes(200)),
        "tiff/no such compression": tiff(tiff_tags(4, 3, t259=(3, 1, 999)), bytes(200)),
        "tiff/a text for a width": tiff(tiff_tags(4, 3, t256=(2, 4, 0x3434)), bytes(200)),
        "tiff/65,535 samples": tiff(tiff_tags(4, 3, t277=(3, 1, 65535)), bytes(200)),
        "tiff/huge tiles": tiff(
            [*tiff_tags(4000, 4000), (322, 4, 1, 2**31 - 16), (323, 4, 1, 2**31 - 16), (324, 4, 1, 200)], bytes(200)
        ),
    }  # fmt: skip


def too_large() -> dict[str, tuple[bytes, int, int]]:
    """Return small files that announce more pixels than the usual limit, with the size announced."""
    return {
        "png": (announced_png(50_000, 50_000), 50_000, 50_000),
        "gif": (gif((65_535, 65_535)), 65_535, 65_535),
        "webp": (webp_canvas(16_383, 16_383), 16_383, 16_383),
        "webp wide": (webp_canvas(2**24, 200), 2**24, 200),
        "tiff": (tiff(tiff_tags(60_000, 50_000), bytes(200)), 60_000, 50_000),
        "bmp": (bmp(30_000, 20_000), 30_000, 20_000),
        "jpeg": (slow_jpeg(16_384, scans=0), 16_384, 16_384),
    }


def polyglots() -> dict[str, bytes]:
    """Return images that are something else as well."""
    some = good()
    page = b"<html><script>alert(1)</script></html>"
    return {
        "jpeg/then a zip": some["jpeg/rgb"] + b"PK\3\4" + bytes(100),
        "jpeg/then a png": some["jpeg/rgb"] + some["png/rgb"],
        "jpeg/a page in its comment": file(picture(), "JPEG", comment=page),
        "png/then a page": some["png/rgb"] + page,
        "gif/then a program": some["gif/plain"] + b"MZ" + bytes(100),
        "bmp/then a tar": some["bmp/rgb"] + bytes(1024),
    }
