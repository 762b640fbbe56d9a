"""A pool of pictures with near-copies of each kind and near-misses, and the truth about each.

A picture is a ground with objects on it, drawn from three seeds, so that another can have the same ground, the same
layout or the same objects. All are at most 256 pixels wide and high, and the same for the same seed.

    images = pool(originals=40, seed=17)
    dataset = dataset_of(images, tmp_path)  # as `fetch` leaves it, without a web
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from conftest import SCHEMA, write_list
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from align_data.common.progress import Silent
from align_data.data.image_table import IMAGES, image_urls, names_of
from align_data.data.layout import Dataset
from align_data.data.meta import ImagesMeta
from align_data.engines.local import LocalEngine
from align_data.stages.ingest import Parts, ingest
from align_data.storage.image_formats import EXTENSIONS, HEAD, sniff
from align_data.storage.store import Store
from align_data.storage.tars import TarWriter

Floats = NDArray[np.float64]
Picture = Image.Image

GROUNDS = ("clouds", "land", "waves", "tiles", "gradient", "grain")
FLAT = ("flat", "near_flat")
"""Grounds that no method can tell apart by layout; they have no objects."""


@dataclass(frozen=True)
class Scene:
    """What decides a picture."""

    width: int
    height: int
    ground: str
    ground_seed: int
    layout_seed: int
    """Of where the objects are, and how large."""
    object_seed: int
    """Of what they are."""
    frame: int = 0
    """Of a film: the objects move from frame to frame, and the camera less."""

    @property
    def flat(self) -> bool:
        """Whether it has no layout."""
        return self.ground in FLAT


def scene(seed: int, ground: str | None = None) -> Scene:
    """Draw a scene; some few are flat, unless a ground is named."""
    chance = np.random.default_rng([seed, 1])
    width, height = (int(side) for side in chance.integers(144, 257, 2))
    grounds = [*GROUNDS, *FLAT]
    drawn = str(chance.choice(grounds, p=[0.95 / len(GROUNDS)] * len(GROUNDS) + [0.025] * len(FLAT)))
    return Scene(width, height, ground or drawn, *(int(n) for n in chance.integers(0, 2**31, 3)))


def draw(scene: Scene) -> Picture:
    """Draw a scene, in RGB."""
    picture = _ground(scene)
    return picture if scene.flat else _with_objects(picture, scene)


def _ground(scene: Scene) -> Picture:
    chance = np.random.default_rng([scene.ground_seed, (*GROUNDS, *FLAT).index(scene.ground)])
    dark, light = chance.uniform(20, 110, 3), chance.uniform(130, 235, 3)
    shape = (scene.height, scene.width, 3)
    if scene.ground == "flat":
        return _picture(np.broadcast_to(light, shape))
    noise = chance.standard_normal(shape[:2], np.float32)[..., None]
    if scene.ground == "near_flat":
        return _picture(light + 1.5 * noise)
    shade = _shade(scene, chance)[..., None]
    return _picture(dark + (light - dark) * shade + 3 * noise)


def _shade(scene: Scene, chance: np.random.Generator) -> Floats:
    """Return 0 to 1 for each pixel."""
    longer = max(scene.width, scene.height)
    x = np.arange(scene.width) / longer + 0.008 * scene.frame
    y = np.arange(scene.height)[:, None] / longer
    if scene.ground == "gradient":
        return _stretched(
            x * chance.uniform(-1, 1) + y * chance.uniform(-1, 1) + (x - 0.5) ** 2 * chance.uniform(-2, 2)
        )
    if scene.ground == "waves":
        return _stretched(np.sin(9 * _octaves(x, y, chance, 2) + x * chance.uniform(4, 16)))
    if scene.ground == "tiles":
        slant, lean = chance.uniform(-0.6, 0.6, 2)
        across, down = (
            np.floor(axis * chance.uniform(3, 8) + chance.uniform(0, 1)).astype(int) % 16
            for axis in (x + slant * y, y + lean * x)
        )
        return np.asarray(chance.random((16, 16))[down, across])
    rough = _stretched(_octaves(x, y, chance, 5 if scene.ground == "clouds" else 4))
    if scene.ground == "land":
        horizon = chance.uniform(0.25, 0.6) + 0.25 * _octaves(x, np.zeros((1, 1)), chance, 3)
        return np.where(y < horizon, 0.25 * y / y.max(), 0.5 + 0.5 * rough)
    if scene.ground == "grain":
        return np.clip(0.6 * rough + 0.4 * chance.random(rough.shape), 0, 1)
    return rough


def _octaves(x: Floats, y: Floats, chance: np.random.Generator, octaves: int) -> Floats:
    """Return a sum of waves whose amplitudes fall as their frequencies rise, as those of photographs do.

    A wave along a slanted line is a sum of two products of waves along x and along y: all together are one of matrices.
    """
    amplitudes = np.repeat(0.5 ** np.arange(octaves), 3) / 3
    across, down = chance.normal(0, 1.3 * 2 * np.pi, (2, 3 * octaves)) * np.repeat(2.0 ** np.arange(octaves), 3)
    along_x = np.outer(across, x) + chance.uniform(0, 2 * np.pi, (3 * octaves, 1))
    along_y = y * down
    return np.asarray(
        (np.cos(along_y) * amplitudes) @ np.sin(along_x) + (np.sin(along_y) * amplitudes) @ np.cos(along_x)
    )


def _stretched(values: Floats) -> Floats:
    return np.asarray((values - values.min()) / max(float(np.ptp(values)), 1e-9))


def _picture(values: Floats) -> Picture:
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def _with_objects(picture: Picture, scene: Scene) -> Picture:
    layout, chance = np.random.default_rng([scene.layout_seed, 2]), np.random.default_rng([scene.object_seed, 3])
    side = min(picture.size)
    for _ in range(int(layout.integers(2, 6))):
        x, y, size = layout.uniform(0.1, 0.9), layout.uniform(0.15, 0.85), layout.uniform(0.12, 0.34)
        x += 0.03 * scene.frame
        corners = int(chance.integers(3, 9))
        angles = np.sort(chance.uniform(0, 2 * np.pi, corners))
        radii = side * size * chance.uniform(0.7, 1.2, corners)
        outline = [
            (x * picture.width + r * np.cos(a), y * picture.height + r * np.sin(a))
            for r, a in zip(radii, angles, strict=True)
        ]
        mask = Image.new("L", picture.size)
        pen = ImageDraw.Draw(mask)
        if corners > 6:
            pen.ellipse(_box(outline), fill=255)
        else:
            pen.polygon(outline, fill=255)
        surface = replace(scene, ground=str(chance.choice(GROUNDS)), ground_seed=int(chance.integers(2**31)), frame=0)
        picture.paste(_ground(surface), mask=mask.filter(ImageFilter.GaussianBlur(1)))
    return picture


def _box(outline: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
    xs, ys = zip(*outline, strict=True)
    return min(xs), min(ys), max(xs) + 1, max(ys) + 1


# --- copies ---


def encoded(picture: Picture, format_: str = "JPEG", **options: Any) -> bytes:
    """Return a picture as a file."""
    file = io.BytesIO()
    picture.save(file, format_, **({"quality": 90} | options if format_ == "JPEG" else options))
    return file.getvalue()


def _resized(share: float) -> Callable[[Picture], bytes]:
    def copy(picture: Picture) -> bytes:
        size = (max(1, round(picture.width * share)), max(1, round(picture.height * share)))
        return encoded(picture.resize(size, Image.Resampling.LANCZOS))

    return copy


def _cropped(share: float) -> Callable[[Picture], bytes]:
    """Cut off a share of each side: three fifths of it on the left and above."""

    def copy(picture: Picture) -> bytes:
        left, top = (round(side * share * 0.6) for side in picture.size)
        width, height = (round(side * (1 - share)) for side in picture.size)
        return encoded(picture.crop((left, top, left + width, top + height)))

    return copy


def _letterboxed(picture: Picture) -> bytes:
    bar = picture.height // 6
    return encoded(ImageOps.expand(picture, (0, bar), "black"))


def _other_hue(picture: Picture) -> bytes:
    hue, saturation, value = picture.convert("HSV").split()
    turned = hue.point([(level + 20) % 256 for level in range(256)])
    return encoded(Image.merge("HSV", (turned, saturation, value)).convert("RGB"))


def _watermarked(picture: Picture) -> bytes:
    copy = picture.copy()
    place = (picture.width * 0.08, picture.height * 0.8)
    ImageDraw.Draw(copy).text(place, "stock.example", "white", font_size=picture.height // 9, stroke_fill="black")
    return encoded(copy)


COPIES: Mapping[str, Callable[[Picture], bytes]] = {
    "jpeg_60": lambda picture: encoded(picture, quality=60),
    "jpeg_30": lambda picture: encoded(picture, quality=30),
    "png": lambda picture: encoded(picture, "PNG"),
    "webp": lambda picture: encoded(picture, "WEBP", quality=75),
    "avif": lambda picture: encoded(picture, "AVIF", quality=60, speed=10),
    "resized_90": _resized(0.9),
    "resized_50": _resized(0.5),
    "cropped_5": _cropped(0.05),
    "cropped_20": _cropped(0.20),
    "bordered": lambda picture: encoded(ImageOps.expand(picture, 20, "white")),
    "letterboxed": _letterboxed,
    "mirrored": lambda picture: encoded(ImageOps.mirror(picture)),
    "brighter": lambda picture: encoded(ImageEnhance.Brightness(picture).enhance(1.3)),
    "grey": lambda picture: encoded(picture.convert("L")),
    "hue": _other_hue,
    "watermarked": _watermarked,
}
"""Kind of near-copy → how it is made of the decoded original."""
EXACT = "exact"
"""The kind of a copy to the byte, under another URL."""


def _other_content(original: Scene, seed: int) -> Scene:
    other = scene(seed, original.ground)
    return replace(original, ground_seed=other.ground_seed, object_seed=other.object_seed)


def _other_objects(original: Scene, seed: int) -> Scene:
    other = scene(seed)
    return replace(original, layout_seed=other.layout_seed, object_seed=other.object_seed)


NEAR_MISSES: Mapping[str, Callable[[Scene, int], Scene]] = {
    "same_layout": _other_content,
    "same_ground": _other_objects,
    "next_frame": lambda original, _: replace(original, frame=1),
}
"""Kind of near-miss → the scene of it: no copy of the original, but like it."""


@dataclass(frozen=True)
class PlantedImage:
    """An image of the pool, and the truth about it."""

    url: str
    kind: str
    """'original', 'exact', or of COPIES or NEAR_MISSES."""
    of: int
    """The number of the original that it is, or is a copy of, or is like."""
    scene: Scene
    content: bytes

    @property
    def is_copy(self) -> bool:
        """Whether it is a copy, exact or near, of the original `of`."""
        return self.kind == EXACT or self.kind in COPIES

    @property
    def group(self) -> tuple[int, str]:
        """What is equal for an original and its copies, and differs for all else."""
        return self.of, self.kind if self.kind in NEAR_MISSES else "original"


def pool(
    originals: int = 40,
    seed: int = 17,
    *,
    copies: Iterable[str] = (*COPIES, EXACT),
    near_misses: Iterable[str] = tuple(NEAR_MISSES),
    copied: int | None = None,
) -> list[PlantedImage]:
    """Return originals, the first `copied` of them (all by default) with copies and near-misses of these kinds.

    About one in twenty is flat, as `scene.flat` says: those have copies, of which some are
    equal to the byte, and no near-misses.
    """
    images = []
    copies, near_misses = tuple(copies), tuple(near_misses)
    for number in range(originals):
        drawn = scene(seed * 1_000_003 + number)
        content = encoded(draw(drawn))
        images.append(_planted(number, "original", drawn, content))
        if number >= (originals if copied is None else copied):
            continue
        decoded = Image.open(io.BytesIO(content)).convert("RGB")
        images += [
            _planted(number, kind, drawn, content if kind == EXACT else COPIES[kind](decoded)) for kind in copies
        ]
        if not drawn.flat:
            for kind in near_misses:
                like = NEAR_MISSES[kind](drawn, seed * 1_000_003 + 500_000 + number)
                images.append(_planted(number, kind, like, encoded(draw(like))))
    return images


def _planted(number: int, kind: str, drawn: Scene, content: bytes) -> PlantedImage:
    return PlantedImage(f"http://{kind.replace('_', '-')}.example/{number:05d}", kind, number, drawn, content)


def true_pairs(images: Sequence[PlantedImage]) -> set[tuple[int, int]]:
    """Return the pairs (i, j), i < j, of images that are copies of one original, or its copies."""
    members: dict[tuple[int, str], list[int]] = {}
    for place, image in enumerate(images):
        members.setdefault(image.group, []).append(place)
    return {(a, b) for group in members.values() for at, a in enumerate(group) for b in group[at + 1 :]}


@dataclass(frozen=True)
class KindFinding:
    """What a method finds of one kind of the pool."""

    recall: float
    """Share of its images that are near their original; for a near-miss, the share that is taken for a copy."""
    precision: float | None
    """Share of the pairs with an image of this kind that are of one original; None where there are no pairs."""


def by_kind(images: Sequence[PlantedImage], near: NDArray[np.bool_]) -> dict[str, KindFinding]:
    """Return what a method finds by kind; `near` (images, images) says which it takes for copies of which."""
    originals = {image.of: place for place, image in enumerate(images) if image.kind == "original"}
    same = np.array([[a.group == b.group for b in images] for a in images])
    others = near & ~np.eye(len(images), dtype=bool)
    findings = {}
    for kind in dict.fromkeys(image.kind for image in images if image.kind != "original"):
        of_kind = np.array([place for place, image in enumerate(images) if image.kind == kind])
        recall = float(np.mean([near[place, originals[images[place].of]] for place in of_kind]))
        pairs = int(others[of_kind].sum())
        true = int((others & same)[of_kind].sum())
        findings[kind] = KindFinding(recall, true / pairs if pairs else None)
    return findings


def dataset_of(images: Sequence[PlantedImage], folder: Path, *, texts: int = 1, part_rows: int = 10**6) -> Dataset:
    """Make a dataset of the images as `fetch` leaves it; each URL has so many texts."""
    return dataset_of_bytes({image.url: image.content for image in images}, folder, texts=texts, part_rows=part_rows)


def dataset_of_bytes(
    contents: Mapping[str, bytes | None], folder: Path, *, texts: int = 1, part_rows: int = 10**6
) -> Dataset:
    """Make a dataset of URLs with their bytes, None where there are none."""
    dataset = Dataset(Store(folder / "dataset"))
    rows = [{**dict.fromkeys(SCHEMA), "url": url, "alt_text": f"text {n}"} for url in contents for n in range(texts)]
    ingest(
        write_list(folder / "lists", rows),
        dataset,
        LocalEngine(folder / "work", 1),
        Silent(),
        parts=Parts(rows=part_rows),
    )
    fetch_bytes(dataset, contents)
    return dataset


def fetch_bytes(dataset: Dataset, contents: Mapping[str, bytes | None]) -> None:
    """Write the table `images` and its tars as a first run of `fetch` does."""
    pairs = dataset.ingested()
    infos = []
    for part in range(len(pairs.parts)):
        with TarWriter(dataset.store, f"bytes/part-{part:05d}/001-00000") as tar:
            urls = image_urls(dataset, part, None)
            rows = [
                _image_row(url, contents[url], name, tar)
                for url, name in zip(urls["url"], names_of(urls["key"]), strict=True)
            ]
        with dataset.images.writer(part, {"run": 1}) as writer:
            writer.write(pl.DataFrame(rows, IMAGES))
        infos.append(writer.info)
    meta = {"run": 1, "pairs": pairs.fingerprint, "asked": "all", "policy": {}, "statuses": {}}
    dataset.images.commit(infos, ImagesMeta.model_validate(meta))


def _image_row(url: str, content: bytes | None, name: str, tar: TarWriter) -> dict[str, Any]:
    row: dict[str, Any] = {**dict.fromkeys(IMAGES), "url": url, "retryable": False}
    if content is None:
        return {**row, "status": "http_404", "reason": "it is gone"}
    ending = EXTENSIONS.get(sniff(content[:HEAD]) or "", "bin")
    place = tar.add(f"{name}.{ending}", io.BytesIO(content), len(content))
    return {**row, "status": "ok", "tar": place.tar, "offset": place.offset, "size": place.size}
