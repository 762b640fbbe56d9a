"""The packages that the emoji web is made of: fetched by npm, and read without unpacking them.

- `emoji-datasource-google` 16.0.0: Noto Emoji as a sheet of 64 px sprites, Apache-2.0; the list of emoji, MIT
- `emoji-datasource-twitter` 16.0.0: Twemoji, by Twitter and others, as a sheet of 64 px sprites, CC-BY-4.0
- `openmoji` 17.0.0: OpenMoji, by its contributors (openmoji.org), an SVG each, CC-BY-SA-4.0
- `cldr-annotations-full` 48.2.0: names and keywords in every language, by Unicode, Inc., Unicode-3.0

These are the packages' own words: the first two have it in README.md, whose package.json says MIT of the rest.
Nothing of them is part of this project, and what is made of their pictures is under their licences.
"""

from __future__ import annotations

import gzip
import json
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, Any

from PIL import Image

from align_data.common.errors import InputError
from align_data.models.named.packages import Package, fetched_archive

LANGUAGES = ("en", "de", "fr", "es", "ru", "ar", "hi", "zh", "ja", "th")
SPRITE = 64
"""Side of a sprite in pixels; each has a margin of one pixel on a sheet."""
KEYWORDS = 2
"""Of an emoji, beside its name, in every language at least."""
FEWEST = 20
"""Emoji that all packages have, at least: a tenth of fewer is no evaluation."""
LARGEST = 512 * 2**20
"""Bytes that a package unpacks to, at most."""
LARGEST_FILE = 32 * 2**20
_DAMAGED = (OSError, EOFError, ValueError, KeyError, RuntimeError, zlib.error, tarfile.TarError)


class PackageError(Exception):
    """A package cannot be had, or is not what it should be; says what to do."""


class NpmPackage(Package):
    """A package of npm, pinned by its archive."""

    def __init__(self, name: str, version: str, sha256: str, license_: str) -> None:
        super().__init__("npm", name, version, sha256, license_, ())

    @property
    def archive(self) -> str:
        """What `npm pack` calls the file that it writes."""
        return f"{self.name}-{self.version}.tgz"


GOOGLE = NpmPackage(
    "emoji-datasource-google", "16.0.0", "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
    "Apache-2.0",
)  # fmt: skip
TWITTER = NpmPackage(
    "emoji-datasource-twitter", "16.0.0", "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
    "CC-BY-4.0",
)  # fmt: skip
OPENMOJI = NpmPackage(
    "openmoji", "17.0.0", "55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68", "CC-BY-SA-4.0"
)
CLDR = NpmPackage(
    "cldr-annotations-full", "48.2.0", "28576e51225deb51e3ddd734b0f824a0079682cb5d8c27faa9f68149317a14d1",
    "Unicode-3.0",
)  # fmt: skip
DESIGNERS = {"google": GOOGLE, "twitter": TWITTER, "openmoji": OPENMOJI}


@dataclass(frozen=True)
class Emoji:
    """One emoji that every designer has drawn and every language has words for."""

    code: str
    """Its code points in hexadecimal, without variation selectors: 1F436."""
    cell: tuple[int, int]
    """Where it is on the sheets: column and row."""
    names: Mapping[str, str]
    keywords: Mapping[str, Sequence[str]]
    """By language; none is the name."""


def take(folder: Path) -> None:
    """Fetch by npm each package whose archive is not in a folder yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in (*DESIGNERS.values(), CLDR):
        if not (folder / package.archive).is_file():
            _fetch(package, folder)


def _fetch(package: NpmPackage, folder: Path) -> None:
    with TemporaryDirectory(prefix="emoji-", dir=folder) as fetched:
        try:
            archive = fetched_archive(package, Path(fetched), "give its folder as --packages")
        except InputError as error:
            raise PackageError(str(error)) from None
        archive.rename(folder / package.archive)


class _Counted:
    """Bytes of a file, of which there must not be more than LARGEST."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file, self._left = file, LARGEST

    def read(self, size: int) -> bytes:
        """Return so many bytes, fewer at the end."""
        content = self._file.read(min(size, self._left + 1))
        self._left -= len(content)
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {LARGEST >> 20} MB")
        return content


@contextmanager
def _read(package: NpmPackage, folder: Path) -> Iterator[Iterator[tuple[str, IO[bytes]]]]:
    """Give the plain files of a package, in the order in which they lie there, by their path below its folder."""
    path = folder / package.archive
    try:
        with gzip.open(path) as unpacked:
            counted: Any = _Counted(unpacked)
            with tarfile.open(fileobj=counted, mode="r|") as archive:
                yield _members(archive)
    except PackageError:
        raise
    except _DAMAGED as error:
        raise PackageError(
            f"cannot read {path} as {package}: {_why(error)}; remove it, and it is fetched anew"
        ) from None


def _why(error: BaseException) -> str:
    """Return what an error says in its first line; vl-convert's go on with what called what."""
    return _first_line(str(getattr(error, "strerror", None) or error)) or type(error).__name__


def _first_line(text: str) -> str:
    """Return the first line that says anything, without what does not print."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    return "".join(sign for sign in line if sign.isprintable())[:150]


def _members(archive: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes]]]:
    for member in archive:
        parts = PurePosixPath(member.name).parts
        if not parts or ".." in parts or parts[0] == "/":
            raise ValueError(f"it has a path that leads out of it, {member.name[:100]!r}")
        if member.isreg() and member.size <= LARGEST_FILE and (file := archive.extractfile(member)) is not None:
            yield "/".join(parts[1:]), file


def _files(package: NpmPackage, folder: Path, wanted: set[str]) -> dict[str, bytes]:
    """Return files of a package by path, all of which it must have."""
    found: dict[str, bytes] = {}
    with _read(package, folder) as members:
        for path, file in members:
            if path in wanted:
                found[path] = file.read()
            if len(found) == len(wanted):
                break
    if absent := sorted(wanted - found.keys()):
        raise PackageError(f"{folder / package.archive} is not {package}: it has no file {absent[0]}")
    return found


def _code(unified: str) -> str:
    return "-".join(point for point in unified.upper().split("-") if point != "FE0F")


@contextmanager
def _shape_of(package: NpmPackage) -> Iterator[None]:
    """Say of which package the data is that is not of the shape that its version has."""
    try:
        yield
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        why = f"{type(error).__name__}: {_why(error)}"
        raise PackageError(f"the data in {package.archive} is not that of {package} ({why})") from None


def read_emoji(folder: Path) -> list[Emoji]:
    """Return the emoji that all designers drew, and that have a name and KEYWORDS others in all languages; by code."""
    listed = _files(GOOGLE, folder, {"emoji.json"})["emoji.json"]
    pages = {language: f"annotations/{language}/annotations.json" for language in LANGUAGES}
    annotations = _files(CLDR, folder, set(pages.values()))
    with _read(OPENMOJI, folder) as members:
        drawn = {_code(PurePosixPath(path).stem) for path, _ in members if path.startswith("color/svg/")}
    with _shape_of(CLDR):
        words = {language: _words(annotations[page]) for language, page in pages.items()}
    with _shape_of(GOOGLE):
        cells = {
            _code(entry["unified"]): (int(entry["sheet_x"]), int(entry["sheet_y"]))
            for entry in json.loads(listed)
            if entry["has_img_google"] and entry["has_img_twitter"]
        }
    common = sorted(drawn.intersection(cells, *words.values()))
    if len(common) < FEWEST:
        packages = ", ".join(str(one) for one in (*DESIGNERS.values(), CLDR))
        raise PackageError(f"{packages} have {len(common)} emoji in common, of at least {FEWEST}: fetch them anew")
    return [
        Emoji(
            code,
            cells[code],
            {language: of[code][0] for language, of in words.items()},
            {language: of[code][1] for language, of in words.items()},
        )
        for code in common
    ]


def _words(page: bytes) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return names and keywords of one language by code, where there are KEYWORDS beside the name."""
    found = {}
    for signs, annotation in json.loads(page)["annotations"]["annotations"].items():
        name = str(annotation["tts"][0]) if annotation.get("tts") else ""
        keywords = tuple(str(word) for word in annotation.get("default", ()) if word != name)
        if name and len(keywords) >= KEYWORDS:
            found[_code("-".join(f"{ord(sign):04X}" for sign in signs))] = (name, keywords)
    return found


def read_sprites(folder: Path, emoji: Sequence[Emoji]) -> dict[tuple[str, str], Image.Image]:
    """Return the pictures of emoji with their transparency, by designer and code."""
    found = {}
    for designer in ("google", "twitter"):
        sheet = _sheet(DESIGNERS[designer], folder, f"img/{designer}/sheets/{SPRITE}.png")
        for one in emoji:
            left, top = (1 + (SPRITE + 2) * at for at in one.cell)
            if not (0 < left < sheet.width - SPRITE and 0 < top < sheet.height - SPRITE):
                raise PackageError(f"the sheet in {DESIGNERS[designer].archive} has no cell {one.cell} for {one.code}")
            found[designer, one.code] = sheet.crop((left, top, left + SPRITE, top + SPRITE))
    return found | {("openmoji", code): image for code, image in _drawings(folder, {one.code for one in emoji})}


def _sheet(package: NpmPackage, folder: Path, path: str) -> Image.Image:
    content = _files(package, folder, {path})[path]
    try:
        with Image.open(BytesIO(content), formats=("PNG",)) as image:
            if max(image.size) > 100 * (SPRITE + 2):
                raise ValueError(f"it has {image.width:,} x {image.height:,} pixels")
            return image.convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise PackageError(f"{path} in {package.archive} is no sheet of {package}: {_why(error)}") from None


def _drawings(folder: Path, codes: set[str]) -> Iterator[tuple[str, Image.Image]]:
    from vl_convert import svg_to_png  # noqa: PLC0415  the list alone does without

    with _read(OPENMOJI, folder) as members:
        for path, file in members:
            code = _code(PurePosixPath(path).stem)
            if not path.startswith("color/svg/") or code not in codes:
                continue
            try:
                svg = file.read().decode()
                if "<image" in svg or "<!ENTITY" in svg:
                    raise ValueError("it refers to other files")
                with Image.open(BytesIO(svg_to_png(svg, scale=2)), formats=("PNG",)) as image:
                    yield code, image.convert("RGBA")
            except (ValueError, RuntimeError, OSError, Image.DecompressionBombError) as error:
                raise PackageError(f"{path} in {OPENMOJI.archive} is no picture of it: {_why(error)}") from None
