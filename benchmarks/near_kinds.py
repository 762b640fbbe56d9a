"""What each method finds of near-copies, by kind: exact bytes, pHash within distances, embeddings from thresholds.

    python benchmarks/near_kinds.py --encoder mobilenet=FOLDER --photographs FOLDER
    python benchmarks/near_kinds.py ... --docs    # writes the tables into the docs

The pool is drawn (tests/planted_copies.py), with the truth about each picture; an encoder's threshold is calibrated on
its originals as `align-data calibrate` does. Photographs are copied in the same ways, in memory only.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import planted_copies as planted  # noqa: E402
import tiny_encoders as tiny  # noqa: E402

from align_data.decoding.phash import phash  # noqa: E402
from align_data.models.encoder import Encoder  # noqa: E402
from align_data.models.opening import open_model  # noqa: E402
from align_data.stages.calibrate.curve import copy_groups, curve, proposed, random_pairs  # noqa: E402

DISTANCES = (2, 4, 6, 10)
ALLOWED = 100.0
"""False pairs per million of a calibrated threshold."""
DOCS = ROOT / "docs" / "explanation" / "near-duplicates.md"
BEGIN, END = "<!-- near_kinds.py: begin -->", "<!-- near_kinds.py: end -->"
Near = NDArray[np.bool_]
ABOUT = {
    "exact": "the same bytes, another URL",
    "jpeg_60": "JPEG of quality 60",
    "jpeg_30": "JPEG of quality 30",
    "png": "as PNG",
    "webp": "as WebP",
    "avif": "as AVIF",
    "resized_90": "90 % of width and height",
    "resized_50": "half of width and height",
    "cropped_5": "5 % cropped",
    "cropped_20": "20 % cropped",
    "bordered": "white border of 20 pixels",
    "letterboxed": "black bars above and below",
    "mirrored": "mirrored",
    "brighter": "brighter by 30 %",
    "grey": "in grey",
    "hue": "another hue",
    "watermarked": "text across it",
    "same_layout": "*not a copy*: same layout, other content",
    "same_ground": "*not a copy*: same background, other objects",
    "next_frame": "*not a copy*: the next frame of a film",
}


@dataclass(frozen=True)
class Method:
    """A way to call two images copies."""

    title: str
    near: Near


def decoded(content: bytes) -> Image.Image:
    """Return an image in RGB."""
    return Image.open(io.BytesIO(content)).convert("RGB")


def by_bytes(images: Sequence[planted.PlantedImage]) -> Method:
    """Call images with equal bytes copies."""
    hashes = np.array([hashlib.sha256(image.content).hexdigest() for image in images])
    return Method("bytes", hashes[:, None] == hashes)


def by_phash(hashes: NDArray[np.int64]) -> list[Method]:
    """Call images within each distance by pHash copies."""
    apart = np.bitwise_count(hashes[:, None] ^ hashes)
    return [Method(f"pHash ≤ {distance}", apart <= distance) for distance in DISTANCES]


def embeddings(encoder: Encoder, images: Sequence[planted.PlantedImage]) -> NDArray[np.float16]:
    """Embed images as they are stored."""
    pixels = [encoder.preparation.apply(decoded(image.content)) for image in images]
    return encoder.images(pixels).astype(np.float16)


def cosines(vectors: NDArray[np.float16]) -> NDArray[np.float64]:
    """Return all cosines."""
    unit = vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return np.asarray(unit @ unit.T)


def calibrated(vectors: NDArray[np.float16], hashes: NDArray[np.int64]) -> float | None:
    """Return the threshold that `align-data calibrate` proposes for these images."""
    groups = copy_groups(hashes, np.ones(len(hashes), np.bool_))
    return proposed(curve(random_pairs(vectors, groups), {}), ALLOWED)


def table(images: Sequence[planted.PlantedImage], methods: Sequence[Method]) -> str:
    """Return recall and precision by kind as Markdown."""
    findings = [planted.by_kind(images, method.near) for method in methods]
    lines = ["| kind | " + " | ".join(method.title for method in methods) + " |", "|---" * (len(methods) + 1) + "|"]
    for kind in findings[0]:
        cells = (_cell(finding[kind], copy=kind not in planted.NEAR_MISSES) for finding in findings)
        lines.append(f"| {ABOUT[kind]} | " + " | ".join(cells) + " |")
    originals = [place for place, image in enumerate(images) if image.kind == "original"]
    apart = np.triu_indices(len(originals), 1)
    counts = [int(method.near[np.ix_(originals, originals)][apart].sum()) for method in methods]
    lines.append(
        "| *not a copy*: any two originals | " + " | ".join(f"{n} of {len(apart[0]):,}" for n in counts) + " |"
    )
    return "\n".join(lines)


def _cell(finding: planted.KindFinding, *, copy: bool) -> str:
    if not copy or finding.precision is None:
        return f"{finding.recall:.0%}"
    return f"{finding.recall:.0%} ({finding.precision:.2f})"


def planted_table(originals: int, encoders: Mapping[str, Encoder]) -> str:
    """Return the table of the planted pool."""
    images = [image for image in planted.pool(originals, copied=originals // 4) if not image.scene.flat]
    hashes = np.array([phash(decoded(image.content)) for image in images], np.int64)
    single = np.array([image.kind == "original" for image in images])
    methods = [by_bytes(images), *by_phash(hashes)]
    for name, encoder in encoders.items():
        vectors = embeddings(encoder, images)
        threshold = calibrated(vectors[single], hashes[single])
        assert threshold is not None, f"no threshold of {name} finds so few false pairs among so few originals"
        methods.append(Method(f"{name} ≥ {threshold:.3f}", cosines(vectors) >= threshold))
    return table(images, methods)


def photographs_table(folder: Path, encoders: Mapping[str, Encoder], thresholds: Sequence[float]) -> str:
    """Return the table of photographs: no near-misses, and thresholds that nobody has calibrated."""
    images: list[planted.PlantedImage] = []
    anything = planted.scene(0)
    for number, path in enumerate(sorted(folder.rglob("*.jpg"))):
        content = path.read_bytes()
        picture = decoded(content)
        kinds = {"original": content, planted.EXACT: content}
        kinds |= {kind: copy(picture) for kind, copy in planted.COPIES.items()}
        images += [planted.PlantedImage(f"{number}/{kind}", kind, number, anything, of) for kind, of in kinds.items()]
    methods = [by_bytes(images), *by_phash(np.array([phash(decoded(image.content)) for image in images], np.int64))]
    for name, encoder in encoders.items():
        near = cosines(embeddings(encoder, images))
        methods += [Method(f"{name} ≥ {threshold:g}", near >= threshold) for threshold in thresholds]
    return table(images, methods)


def write_docs(content: str) -> None:
    """Put a table between the marks of the docs."""
    text = DOCS.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCS.write_text(f"{before}{BEGIN}\n\n{content}\n\n{END}{after}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--originals", type=int, default=320)
    parser.add_argument("--encoder", action="append", default=[], metavar="NAME=FOLDER", help="also by this one")
    parser.add_argument("--photographs", type=Path, help="also of the photographs in this folder")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.9, 0.95, 0.975])
    parser.add_argument("--docs", action="store_true", help="write the tables into the docs")
    options: Any = parser.parse_args(arguments)
    opened = {name: _encoder(folder) for name, _, folder in (each.partition("=") for each in options.encoder)}
    with tempfile.TemporaryDirectory() as folder:
        encoders = {"tiny": _encoder(str(tiny.write_encoder(Path(folder)))), **opened}
        tables = [f"{options.originals} drawn pictures:", planted_table(options.originals, encoders)]
    if options.photographs is not None:
        photographs = len(list(options.photographs.rglob("*.jpg")))
        of_photographs = photographs_table(options.photographs, opened, options.thresholds)
        tables += [f"{photographs} photographs:", of_photographs]
    print("\n\n".join(tables))
    if options.docs:
        write_docs("\n\n".join(tables))


def _encoder(folder: str) -> Encoder:
    model: Any = open_model(folder)
    return model  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()
