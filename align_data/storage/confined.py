"""Files below a local folder, reached without following a link inside it.

Each folder is opened relative to the one that it is in, and what is done is done relative to it: a folder that is
swapped for a link meanwhile leads nowhere else. The outermost folder itself may be reached through links.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

from align_data.common.errors import DatasetError

UNFINISHED = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
"""What a file is called before it is whole."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PROC = "/proc/self/fd"


@contextmanager
def folder(root: str, name: str = "", *, make: bool = False) -> Iterator[int]:
    """Open folder `name` below `root` and give its descriptor; `make` makes what is missing.

    Raises DatasetError where a component of `name` is a link, OSError where it is missing or is not a folder.
    """
    if make:
        os.makedirs(root or "/", exist_ok=True)  # noqa: PTH103 - as all here, by name
    opened = [os.open(root or "/", _FOLDER)]
    try:
        where = root
        for part in filter(None, name.split("/")):
            where = f"{where}/{part}"
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=opened[-1])
            refuse_link(opened[-1], part, where)
            opened.append(_named(where, part, _FOLDER | os.O_NOFOLLOW, opened[-1]))
        yield opened[-1]
    finally:
        for each in opened:
            os.close(each)


def _named(where: str, part: str, flags: int, at: int) -> int:
    """Open a name in a folder; an OSError has the whole path."""
    try:
        return os.open(part, flags, 0o666, dir_fd=at)
    except OSError as error:
        refuse_link(at, part, where)  # it may have been swapped in
        raise OSError(error.errno, error.strerror, where) from None


def refuse_link(at: int, part: str, where: str) -> None:
    """Raise DatasetError if a name in an open folder is a link."""
    with suppress(FileNotFoundError, NotADirectoryError):
        if stat.S_ISLNK(os.stat(part, dir_fd=at, follow_symlinks=False).st_mode):
            raise DatasetError(
                f"{where} is a link, and links inside align-data's folders are not followed: replace it by its "
                "target, or remove it"
            )


def names(root: str, name: str) -> list[str]:
    """Return the sorted names in a folder."""
    with folder(root, name) as at:
        return sorted(os.listdir(at))  # noqa: PTH208


def open_file(root: str, name: str, flags: int = os.O_RDONLY) -> int:
    """Open a regular file below `root`; DatasetError for a link, OSError for a missing or irregular file."""
    inside, _, stem = name.rpartition("/")
    where = f"{root}/{name}"
    with folder(root, inside) as at:
        refuse_link(at, stem, where)
        # Without waiting: a pipe in a file's place would be waited for until somebody writes to it.
        handle = _named(where, stem, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, at)
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return handle
    os.close(handle)
    raise OSError(f"{where} is {'a folder' if stat.S_ISDIR(mode) else 'not a regular file'}")


def path_of(handle: int, fallback: str) -> str:
    """Return a path that leads to what is open, whatever has become of its name; `fallback` where there is none."""
    return f"{_PROC}/{handle}" if os.path.isdir(_PROC) else fallback  # noqa: PTH112


def exists(root: str, name: str) -> bool:
    """Tell whether a file or folder is there; DatasetError for a link."""
    inside, _, stem = name.rpartition("/")
    try:
        with folder(root, inside) as at:
            refuse_link(at, stem, f"{root}/{name}")
            os.stat(stem or ".", dir_fd=at, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


@contextmanager
def create(root: str, name: str) -> Iterator[str]:
    """Give a path to write to; what is written appears as `name` by one rename, if no error came."""
    inside, _, stem = name.rpartition("/")
    with folder(root, inside, make=True) as at:
        refuse_link(at, stem, f"{root}/{name}")
        unfinished = f".{stem}.{uuid4().hex[:8]}.tmp"
        try:
            yield f"{path_of(at, f'{root}/{inside}')}/{unfinished}"
            appear(at, unfinished, stem)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(unfinished, dir_fd=at)


def appear(at: int, unfinished: str, stem: str) -> None:
    """Give a whole file its name."""
    os.replace(unfinished, stem, src_dir_fd=at, dst_dir_fd=at)


def move(root: str, name: str, to: str) -> None:
    """Give a file another name, in place of what has it; DatasetError where either is a link."""
    (inside, _, stem), (outside, _, target) = name.rpartition("/"), to.rpartition("/")
    with folder(root, inside) as at, folder(root, outside, make=True) as there:
        refuse_link(at, stem, f"{root}/{name}")
        refuse_link(there, target, f"{root}/{to}")
        os.replace(stem, target, src_dir_fd=at, dst_dir_fd=there)


def remove(root: str, name: str) -> None:
    """Remove a file, if it is there; DatasetError for a link, OSError for a folder."""
    inside, _, stem = name.rpartition("/")
    with suppress(FileNotFoundError), folder(root, inside) as at:
        refuse_link(at, stem, f"{root}/{name}")
        os.unlink(stem, dir_fd=at)


def clear(root: str, name: str, form: re.Pattern[str]) -> None:
    """Remove what is of our form in a folder and below, and then the folders that are empty; all else stays.

    `form` is of the path inside the folder. Links are neither followed nor removed.
    """
    above, _, stem = name.rpartition("/")
    with suppress(FileNotFoundError), folder(root, above) as outside:
        with folder(root, name) as at:
            for path, folders, files, inside in os.fwalk(".", topdown=False, dir_fd=at):
                for file in files:
                    ours = form.fullmatch(f"{path}/{file}".removeprefix("./")) or UNFINISHED.fullmatch(file)
                    if ours and not stat.S_ISLNK(os.stat(file, dir_fd=inside, follow_symlinks=False).st_mode):
                        os.unlink(file, dir_fd=inside)
                _remove_empty(folders, inside)
        if stem:
            _remove_empty([stem], outside)


def _remove_empty(folders: list[str], at: int) -> None:
    for folder in folders:
        with suppress(OSError):  # it is not empty, or it is a link
            os.rmdir(folder, dir_fd=at)


def private(path: str, options: str = "--work or TMPDIR") -> None:
    """Make a folder that nobody else can read or write; DatasetError where one is there that is not so.

    Its place may be one where everybody can write: what somebody else has put there is not used. `options` are what
    chooses another place.
    """
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)  # noqa: PTH102
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise DatasetError(
            f"{path} is not a folder that is yours alone (mode 700), so nothing is written there: remove it, or choose "
            f"another place with {options}"
        )
