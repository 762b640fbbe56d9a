"""The place for models by name: a folder each, with its files and a note of where they are from.

It is $ALIGN_DATA_MODELS, else align-data/models where the user's data lies.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align_data.common.errors import InputError, OutputError, nearest

NOTE = "origin.json"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_NOTE_BYTES = 2**16


@dataclass(frozen=True)
class PlacedModel:
    """A model in its folder."""

    name: str
    folder: Path
    origin: Mapping[str, Any]
    """What its note says: package, version, license, and the SHA-256 of each file."""


def place() -> Path:
    """Return the folder of all models; it need not exist."""
    chosen = os.environ.get("ALIGN_DATA_MODELS")
    if chosen:
        return Path(chosen).expanduser().absolute()
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home).absolute() / "align-data" / "models"


def placed() -> list[PlacedModel]:
    """Return every model that is there, by name."""
    try:
        names = sorted(path.name for path in place().iterdir())
    except OSError:
        return []
    return [model for name in names if (model := lookup(name)) is not None]


def lookup(name: str) -> PlacedModel | None:
    """Return the model of this name; None where there is none, or its note cannot be read."""
    if not NAME.fullmatch(name):
        return None
    folder = place() / name
    try:
        with (folder / NOTE).open("rb") as file:
            origin = json.loads(file.read(_NOTE_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return PlacedModel(name, folder, origin) if isinstance(origin, dict) else None


def put(name: str, files: Mapping[str, bytes], origin: Mapping[str, Any]) -> bool:
    """Put a model in its place, whole or not at all; return whether it is new.

    InputError where another one has the name.
    """
    note = {**origin, "files": {file: hashlib.sha256(content).hexdigest() for file, content in sorted(files.items())}}
    folder = place() / name
    if folder.exists():
        if (there := lookup(name)) is not None and there.origin.get("files") == note["files"] and is_whole(there):
            return False
        raise InputError(f"{folder} has another model, or parts of one: align-data model remove {name}, then add it")
    try:
        place().mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=place()))
        try:
            for file, content in files.items():
                (unfinished / file).write_bytes(content)
            (unfinished / NOTE).write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
            unfinished.chmod(0o755)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            f"cannot write {folder}: {error.strerror or error}; $ALIGN_DATA_MODELS is another place"
        ) from error
    return True


def is_whole(model: PlacedModel) -> bool:
    """Tell whether each of its files is what was put there."""
    with suppress(OSError, AttributeError):
        return all(
            hashlib.sha256((model.folder / file).read_bytes()).hexdigest() == sha256
            for file, sha256 in model.origin["files"].items()
        )
    return False


def digest(name: str) -> str | None:
    """Return one hash for the files of a model, as its note has them; None where there is no such model."""
    model = lookup(name)
    files = model.origin.get("files") if model is not None else None
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest() if files else None


def contents(name: str) -> dict[str, bytes]:
    """Return the files of a model that is in its place; InputError where it is not, or not as it was put there."""
    model = lookup(name)
    again = f"align-data model remove {name}, then align-data model add {name}"
    if model is None:
        raise InputError(f"the model {name} is not in {place()}: align-data model add {name} puts it there")
    try:
        files = {file: (model.folder / file).read_bytes() for file in model.origin["files"]}
        whole = all(hashlib.sha256(files[file]).hexdigest() == hash_ for file, hash_ in model.origin["files"].items())
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"cannot read the model in {model.folder}: {error}; {again}") from error
    if not whole:
        raise InputError(f"{model.folder} has other files than were put there: {again}")
    return files


def remove(name: str) -> Path:
    """Remove a model; return where it was. InputError where there is none."""
    folder = place() / name
    if not NAME.fullmatch(name) or not folder.is_dir() or folder.is_symlink():
        names = [model.name for model in placed()]
        raise InputError(f"there is no model {name}{nearest(name, names)} in {place()}")
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise OutputError(f"cannot remove {folder}: {error.strerror or error}") from error
    return folder
