"""Draw the pictures of the tiny web: every one shows what its scene says, and no two are alike.

A picture depends on its path and scene alone, so the same web is drawn to the same bytes, by however many processes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from io import BytesIO
from itertools import pairwise
from math import cos, pi, sin, sqrt
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageEnhance

if TYPE_CHECKING:
    from tiny_web import Picture, Scene

Point = tuple[float, float]
Colour = tuple[int, int, int]

COLOURS: dict[str, tuple[Colour, Colour]] = {
    "red": ((222, 32, 32), (140, 8, 8)),
    "green": ((34, 168, 52), (8, 98, 22)),
    "blue": ((36, 72, 226), (112, 150, 250)),
    "yellow": ((250, 226, 28), (204, 168, 0)),
    "orange": ((250, 138, 18), (192, 90, 0)),
    "purple": ((124, 38, 168), (182, 122, 216)),
    "black": ((14, 14, 14), (96, 96, 96)),
    "white": ((250, 250, 250), (178, 178, 178)),
}
"""Each colour, and the shade of it that textures are drawn in."""
GROUNDS: dict[str, Colour] = {
    "grey": (132, 132, 132),
    "pink": (244, 168, 190),
    "brown": (118, 76, 42),
    "light": (206, 208, 200),
    "dark": (58, 58, 66),
}
EXPOSED: Colour = (255, 0, 255)
"""The ground that stands for what a detector of nudity finds; no scene has it."""
CELLS = 9
"""Cells a side of the pattern in the ground: as fine as what a pHash sees, so that no two grounds hash alike."""
WEB_PAGE = b"""<!DOCTYPE html>
<html><head><title>Moved</title></head>
<body><h1>This picture has moved</h1><p>Please sign in to see it.</p></body></html>
"""


def draw(picture: Picture) -> Image.Image:
    """Draw what a picture shows."""
    random = Random(f"{picture.path} {picture.scene}")
    scene, width, height = picture.scene, picture.width, picture.height
    exposed = picture.kind == "exposed"
    image = _ground(EXPOSED if exposed else GROUNDS[scene.ground], 12 if exposed else 30, random).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    largest = 0.7 * min(width, height)
    if exposed:  # the ground is nine tenths of it
        largest = min(largest, sqrt(0.06 * width * height / scene.number))
    side, centres = _arrange(scene.place, scene.number, (width, height), largest, random)
    colour, shade = (_near(base, 10, random) for base in COLOURS[scene.colour])
    edge = (16, 16, 16) if sum(colour) > 370 else (240, 240, 240)
    outer, filled, inner = _sprite(scene, round(side), colour, shade, random)
    for x, y in centres:
        corner = (round(x - outer.width / 2), round(y - outer.height / 2))
        image.paste(edge, (*corner, corner[0] + outer.width, corner[1] + outer.height), outer)
        image.paste(filled, corner, inner)
    return image


def content(picture: Picture) -> bytes | None:
    """Return the file's bytes, or None if there is to be none."""
    if picture.kind == "gone":
        return None
    if picture.kind == "web_page":
        return WEB_PAGE
    if picture.source is not None:
        return _copy(picture, picture.source)
    data = _jpeg(draw(picture), 85)
    return data[: len(data) // 2] if picture.kind == "cut_off" else data


def write_pictures(pictures: Sequence[Picture], out: Path, processes: int | None = None) -> None:
    """Write the files below a folder, with so many processes, or one for each core."""
    for folder in {(out / picture.path).parent for picture in pictures}:
        folder.mkdir(parents=True, exist_ok=True)
    processes = min(processes or os.cpu_count() or 1, 1 + len(pictures) // 100)
    if processes == 1:
        for picture in pictures:
            _write(out, picture)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(partial(_write, out), pictures, chunksize=20):
            pass


def _write(out: Path, picture: Picture) -> None:
    if (data := content(picture)) is not None:
        (out / picture.path).write_bytes(data)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _copy(picture: Picture, source: Picture) -> bytes:
    """Copy a picture as the web does: decoded, resized, brightened or darkened a little, compressed again."""
    random = Random(picture.path)
    data = content(source)
    assert data is not None
    with Image.open(BytesIO(data)) as image:
        resized = image.resize((picture.width, picture.height), Image.Resampling.BICUBIC)
    return _jpeg(ImageEnhance.Brightness(resized).enhance(random.uniform(0.93, 1.07)), random.randint(60, 90))


def _near(colour: Colour, by: int, random: Random) -> Colour:
    red, green, blue = (min(255, max(0, channel + random.randint(-by, by))) for channel in colour)
    return red, green, blue


def _ground(base: Colour, contrast: int, random: Random) -> Image.Image:
    """Return the ground's pattern, a pixel for each cell: brighter and darker, and hardly another hue."""
    base = _near(base, 6, random)
    cells = bytearray()
    for _ in range(CELLS * CELLS):
        by = random.choice((-1, 1)) * random.uniform(0.4, 1) * contrast
        cells.extend(min(255, max(0, round(channel + by + random.uniform(-4, 4)))) for channel in base)
    return Image.frombytes("RGB", (CELLS, CELLS), bytes(cells))


def _arrange(
    place: str, number: int, size: tuple[int, int], largest: float, random: Random
) -> tuple[float, list[Point]]:
    """Return how large the shapes are, and their centres: none overlap, and all are inside."""
    if place == "in a column":
        side, centres = _arrange("in a row", number, (size[1], size[0]), largest, random)
        return side, [(x, y) for y, x in centres]
    scale = random.uniform(0.85, 1)
    if place == "in a row":
        return _row(number, size, largest, scale, random)
    if place == "on a diagonal":
        return _diagonal(number, size, largest, scale, random)
    if place == "in a circle" and number > 1:
        return _circle(number, size, largest, scale, random)
    return _all_over(number, size, largest, scale, random)


def _row(number: int, size: tuple[int, int], largest: float, scale: float, random: Random) -> tuple[float, list[Point]]:
    width, height = size
    side = scale * min(largest, 0.92 * width / number)
    step = random.uniform(1.06 * side, width / number) if number > 1 else 0
    first = random.uniform(side / 2, width - side / 2 - step * (number - 1))
    y = random.uniform(side / 2, height - side / 2)
    return side, [(first + step * i, y) for i in range(number)]


def _diagonal(
    number: int, size: tuple[int, int], largest: float, scale: float, random: Random
) -> tuple[float, list[Point]]:
    width, height = size
    side = scale * min(largest, 0.92 * max(size) / number)
    ways = [i / (number - 1) for i in range(number)] if number > 1 else [random.uniform(0.2, 0.8)]
    centres = [(side / 2 + way * (width - side), side / 2 + way * (height - side)) for way in ways]
    return side, [(x, height - y) for x, y in centres] if random.random() < 0.5 else centres


def _circle(
    number: int, size: tuple[int, int], largest: float, scale: float, random: Random
) -> tuple[float, list[Point]]:
    width, height = size
    chord = sin(pi / number)
    reach = scale * min(size)
    side = min(largest, reach * chord / (1.06 + chord))
    radius, start = (reach - side) / 2, random.uniform(0, 2 * pi)
    x, y = (random.uniform(reach / 2, length - reach / 2) for length in (width, height))
    angles = (start + 2 * pi * i / number for i in range(number))
    return side, [(x + radius * cos(angle), y + radius * sin(angle)) for angle in angles]


def _all_over(
    number: int, size: tuple[int, int], largest: float, scale: float, random: Random
) -> tuple[float, list[Point]]:
    side = scale * min(largest, 0.66 * sqrt(size[0] * size[1] / number))
    while True:
        centres: list[Point] = []
        for _ in range(20 * number):
            x, y = (random.uniform(side / 2, length - side / 2) for length in size)
            if all((x - a) ** 2 + (y - b) ** 2 > (1.05 * side) ** 2 for a, b in centres):
                centres.append((x, y))
            if len(centres) == number:
                return side, centres
        side *= 0.93


def _sprite(
    scene: Scene, side: int, colour: Colour, shade: Colour, random: Random
) -> tuple[Image.Image, Image.Image, Image.Image]:
    """Return a shape as a mask, its texture, and the mask without its edge."""
    fine = 2 if side < 200 else 1  # the edges of large ones are smooth enough
    large = max(side, 4) * fine
    filled = Image.new("RGB", (large, large), colour)
    _TEXTURES[scene.texture](ImageDraw.Draw(filled), large, shade)
    if random.random() < 0.5:
        filled = filled.transpose(Image.Transpose.ROTATE_90)
    angle, edge = random.uniform(-0.2, 0.2), max(fine, round(0.02 * large))
    images = (_mask(scene.shape, large, angle, 0), filled, _mask(scene.shape, large, angle, edge))
    outer, filled, inner = (image.reduce(fine) if fine > 1 else image for image in images)
    return outer, filled, inner


def _mask(shape: str, side: int, angle: float, edge: int) -> Image.Image:
    mask = Image.new("L", (side, side))
    pen = ImageDraw.Draw(mask)
    if shape in ("circle", "ring"):
        pen.ellipse((edge, edge, side - 1 - edge, side - 1 - edge), fill=255)
        if shape == "ring":
            hole = 0.24 * side - edge
            pen.ellipse((hole, hole, side - 1 - hole, side - 1 - hole), fill=0)
        return mask
    turned = [(x * cos(angle) - y * sin(angle), x * sin(angle) + y * cos(angle)) for x, y in _CORNERS[shape]]
    points = [((1 + x) * side / 2, (1 + y) * side / 2) for x, y in turned]
    pen.polygon(points, fill=255)
    if edge:
        pen.line([*points, *points[:2]], fill=0, width=2 * edge, joint="curve")
    return mask


def _round(number: int, *radii: float) -> list[Point]:
    """Return points on circles of these radii in turn, from the top on, within the circle of radius 1."""
    angles = (2 * pi * i / number for i in range(number))
    return [(radii[i % len(radii)] * sin(a), -radii[i % len(radii)] * cos(a)) for i, a in enumerate(angles)]


_CORNERS: dict[str, list[Point]] = {
    "square": [(-0.7, -0.7), (0.7, -0.7), (0.7, 0.7), (-0.7, 0.7)],
    "triangle": _round(3, 1),
    "star": _round(10, 1, 0.45),
    "cross": [
        *((-0.3, -0.93), (0.3, -0.93), (0.3, -0.3), (0.93, -0.3), (0.93, 0.3), (0.3, 0.3)),
        *((0.3, 0.93), (-0.3, 0.93), (-0.3, 0.3), (-0.93, 0.3), (-0.93, -0.3), (-0.3, -0.3)),
    ],
}


def _plain(pen: ImageDraw.ImageDraw, side: int, shade: Colour) -> None:
    pass


def _striped(pen: ImageDraw.ImageDraw, side: int, shade: Colour) -> None:
    for i in range(6):
        pen.rectangle((0, side * (i + 0.3) / 6, side, side * (i + 0.7) / 6), fill=shade)


def _dotted(pen: ImageDraw.ImageDraw, side: int, shade: Colour) -> None:
    radius = side / 22
    for i in range(6):
        for j in range(6):
            x, y = side * (i + 0.5) / 6, side * (j + 0.5) / 6
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=shade)


def _checked(pen: ImageDraw.ImageDraw, side: int, shade: Colour) -> None:
    for i in range(6):
        for j in range(i % 2, 6, 2):
            pen.rectangle((side * i / 6, side * j / 6, side * (i + 1) / 6, side * (j + 1) / 6), fill=shade)


def _wavy(pen: ImageDraw.ImageDraw, side: int, shade: Colour) -> None:
    width = max(1, round(side / 16))
    for i in range(6):
        curve = [(side * k / 24, side * ((i + 0.5) / 6 + 0.04 * sin(k * pi / 3))) for k in range(25)]
        for ends in pairwise(curve):
            pen.line(ends, fill=shade, width=width)


_TEXTURES = {"plain": _plain, "striped": _striped, "dotted": _dotted, "checked": _checked, "wavy": _wavy}
