"""The index of evaluation images: the pHash of each, so that near copies of them can be kept out of training."""

from __future__ import annotations

import stat
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from align_data.common.errors import InputError
from align_data.common.progress import Progress
from align_data.common.workers.pool import StopCheck, WorkerPool
from align_data.data.embeddings import Halves, halves
from align_data.data.evaluations import write_index
from align_data.data.model_inputs import embedded_by
from align_data.decoding.decoder import Decoder, Decoding
from align_data.decoding.inspected import ImageChecks, ImageLimits, Inspected
from align_data.decoding.preparing.pool import PreparationPool
from align_data.models.encoder import BATCH
from align_data.models.sharing import SharedModel
from align_data.storage.contracts import contract
from align_data.storage.image_formats import EXTENSIONS, HEAD, sniff
from align_data.storage.output_file import OutputFile
from align_data.storage.store import Store
from align_data.storage.tables import PartWriter
from align_data.storage.tars import Place, ended, regular

_SUFFIXES = {f".{extension}" for extension in (*EXTENSIONS.values(), "jpeg", "tiff")}
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_SHARE = 256


@dataclass
class IndexResult:
    """What became of the files: how many images are in the index, and which could not be decoded."""

    images: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    """Name → why."""


@dataclass(frozen=True)
class _InputImage:
    """An image of an input."""

    name: str
    place: Place | None = None
    lost: str | None = None
    """Why it cannot be read, if it has no place."""


def index(inputs: Sequence[str], out: str, workers: int, progress: Progress) -> IndexResult:
    """Write the pHashes of all images in folders, tars and files to a Parquet file.

    Raises InputError for an input that is not there or holds no image, and where no image can be decoded; an image
    that cannot is skipped, and said so.
    """
    target, images, result = _begun(inputs, out)
    places = [(image.name, image.place) for image in images if image.place is not None]
    shares = [places[i : i + _SHARE] for i in range(0, len(places), _SHARE)]
    inspected: dict[int, list[Inspected]] = {}
    with progress.step("eval-index", len(places), "images") as tick:

        def look(decoder: Decoder, number: int, check: StopCheck) -> None:
            inspected[number] = []
            for image in decoder.look([(place, ImageChecks(header=False)) for _, place in shares[number]], check):
                inspected[number].append(image)
                tick(1, Counter([image.status]))

        pool: WorkerPool[int, Decoder] = WorkerPool(
            workers, lambda _: closing(Decoder(Decoding(Store("/", own=False))))
        )
        pool.run(range(len(shares)), look)
    rows = []
    for (name, _), image in zip(places, (s for number in range(len(shares)) for s in inspected[number]), strict=True):
        if image.phash is None:
            result.skipped[name] = f"{image.status}: {image.reason}"
        else:
            rows.append((name, image.phash))
    _check_any(rows, images, result)
    _write(target, pl.DataFrame(rows, contract("evaluation").polars(), orient="row").sort("name"))
    return result


def embedding_index(
    inputs: Sequence[str], out: str, shared: SharedModel, workers: int, progress: Progress
) -> IndexResult:
    """Write what an encoder makes of images in folders, tars and files to a Parquet file; raises as `index` does."""
    target, images, result = _begun(inputs, out)
    encoder = shared.encoder
    places = [(image.name, image.place) for image in images if image.place is not None]
    batches = [places[at : at + BATCH] for at in range(0, len(places), BATCH)]
    names: list[str] = []
    vectors: list[Halves] = []
    with (
        progress.step("eval-index", len(places), "images") as tick,
        PreparationPool(Store("/", own=False), encoder.preparation, ImageLimits(), workers) as pool,
    ):
        each = pool.each([place for _, place in batch] for batch in batches)
        for batch, prepared in zip(batches, each, strict=True):
            pixels = [image for image in prepared if image is not None]
            vectors.append(halves(embedded_by(encoder, encoder.images, pixels)))
            names += [name for (name, _), image in zip(batch, prepared, strict=True) if image is not None]
            undecodable = [name for (name, _), image in zip(batch, prepared, strict=True) if image is None]
            result.skipped |= dict.fromkeys(undecodable, "cannot be decoded")
            tick(len(batch))
    _check_any(names, images, result)
    write_index(target, names, np.concatenate(vectors), shared.digest)
    return result


def _begun(inputs: Sequence[str], out: str) -> tuple[OutputFile, list[_InputImage], IndexResult]:
    """Return where the index goes, the images of all inputs, and a result that has those that cannot be read."""
    target = OutputFile(out)
    target.check(make=True)
    if not all(inputs):
        raise InputError("an input without a name; give folders, tars or image files")
    images = _named([(source, item) for source in inputs for item in _images_of(Path(source))])
    skipped = {image.name: image.lost for image in images if image.lost is not None}
    return target, images, IndexResult(skipped=skipped)


def _check_any(indexed: Sequence[Any], images: Sequence[_InputImage], result: IndexResult) -> None:
    """Say how many images an index has; InputError where it has none."""
    if not indexed:
        name, why = next(iter(result.skipped.items()))
        raise InputError(f"none of the {len(images):,} images can be decoded; {name}: {why}")
    result.images = len(indexed)


def _write(target: OutputFile, rows: pl.DataFrame) -> None:
    with target.create() as path:
        writer = PartWriter(contract("evaluation"), None, path, hashed=False)
        writer.write(rows)
        writer.close({})


def _named(images: Sequence[tuple[str, _InputImage]]) -> list[_InputImage]:
    """Return all images, each once; of those called alike in several inputs, each with its input's name before its."""
    counts = Counter(image.name for _, image in images)
    unlike = [
        image if counts[image.name] == 1 else _InputImage(f"{source}/{image.name}", image.place, image.lost)
        for source, image in images
    ]
    # A name of other bytes than UTF-8 is spelt out: it goes into a table.
    encodable = [replace(image, name=image.name.encode("utf-8", "backslashreplace").decode()) for image in unlike]
    return list({(image.name, image.place): image for image in encodable}.values())


def _images_of(source: Path) -> list[_InputImage]:
    """Return the images of a folder, a tar or a single file; InputError if there is none."""
    if source.is_dir():
        files = [(path.relative_to(source).as_posix(), path) for path in sorted(source.rglob("*"))]
        links = [name for name, path in files if path.is_symlink() and path.is_dir()]
        items = [_InputImage(name, lost="is a link to a folder: give that folder too") for name in links]
        items += [_file(name, path) for name, path in files if path.suffix.lower() in _SUFFIXES and not path.is_dir()]
    elif not source.is_file():
        raise InputError(f"{source} does not exist; give folders, tars or image files")
    elif source.suffix.lower() == ".tar":
        items = [_InputImage(f"{source.name}/{name}", place) for name, place in _members(source)]
    else:
        items = [_file(source.name, source)]
        if items[0].place is not None and sniff(_head(source)) is None:
            raise InputError(f"{source} is not an image{_packed(source)}; give folders, tars or image files")
    if not items:
        raise InputError(
            f"{source} holds no image; images are recognised by their endings: {', '.join(sorted(_SUFFIXES))}"
        )
    return items


def _file(name: str, path: Path) -> _InputImage:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return _InputImage(name, lost="is not a regular file")
        with path.open("rb"):
            return _InputImage(name, Place(str(path.absolute()).lstrip("/"), 0, path.stat().st_size))
    except OSError as error:
        return _InputImage(name, lost=f"cannot be read: {error.strerror}")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)


def _packed(path: Path) -> str:
    """Say how a file is compressed, if it is."""
    by = next((name for magic, name in _PACKED.items() if _head(path).startswith(magic)), None)
    return "" if by is None else f": it is compressed by {by}, unpack it first"


def _members(path: Path) -> Iterator[tuple[str, Place]]:
    """Yield the images of a tar, without unpacking it; InputError for a file that is none."""
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.size < 0:  # or reading would go back, and never end
                    raise tarfile.ReadError(f"{member.name} has {member.size:,} bytes")
                if regular(member) and Path(member.name).suffix.lower() in _SUFFIXES:
                    yield member.name, Place(str(path.absolute()).lstrip("/"), member.offset_data, member.size)
            end = tar.offset
        with path.open("rb") as file:
            if not ended(file, end, blocks=1):
                raise InputError(f"cannot read the tar {path}: it is damaged or cut off at byte {end:,}")
    except tarfile.TarError as error:
        raise InputError(f"cannot read the tar {path}{_packed(path) or f': {error}'}") from error
    except OSError as error:
        raise InputError(f"cannot read the tar {path}: {error.strerror or error}") from error
