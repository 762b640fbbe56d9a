"""What happens to files: each damage is a function of a file, the folder that it is in, and chance.

A damage returns None, and changes nothing, where it is not possible; else a word on what it did.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

OUTSIDE = "outside"
"""The folder, beside what is damaged, in which nothing may change."""
KEPT = "kept"
"""A file that somebody else has put where one of ours was."""

Damage = Callable[[Path, Path, Random], str | None]


def truncate(file: Path, place: Path, chance: Random) -> str | None:
    """Cut the end off."""
    size = file.stat().st_size
    if not size:
        return None
    left = chance.randrange(size)
    file.write_bytes(file.read_bytes()[:left])
    return f"to {left} of {size} bytes"


def empty(file: Path, place: Path, chance: Random) -> str | None:
    """Leave nothing of it."""
    file.write_bytes(b"")
    return ""


def flip(file: Path, place: Path, chance: Random) -> str | None:
    """Change one bit."""
    content = bytearray(file.read_bytes())
    if not content:
        return None
    at, bit = chance.randrange(len(content)), chance.randrange(8)
    content[at] ^= 1 << bit
    file.write_bytes(content)
    return f"bit {bit} of byte {at} of {len(content)}"


def swap(file: Path, place: Path, chance: Random) -> str | None:
    """Change it for another file of its folder."""
    siblings = [
        other
        for other in sorted(file.parent.iterdir())
        if other != file and other.is_file() and other.suffix == file.suffix and not other.name.startswith(".")
    ]
    if not siblings:
        return None
    other = chance.choice(siblings)
    mine, its = file.read_bytes(), other.read_bytes()
    file.write_bytes(its)
    other.write_bytes(mine)
    return f"with {other.name}"


def replace(file: Path, place: Path, chance: Random) -> str | None:
    """Put a file of the same name out of another dataset or export in its place."""
    table = file.parent.name
    others = [
        other
        for other in sorted(place.rglob(file.name))
        if other.is_file() and other.parent != file.parent and other.read_bytes() != file.read_bytes()
    ]
    others = [other for other in others if other.parent.name == table] or others
    if not others:
        return None
    other = chance.choice(others)
    shutil.copyfile(other, file)
    return f"by {other.relative_to(place)}"


_SHAPES: tuple[Any, ...] = ([], {}, None, 3, -1, 1.5, "", "x", True, [[]], {"a": 1}, 2**70, "../outside/kept")


def reshape(file: Path, place: Path, chance: Random) -> str | None:
    """Put another value somewhere into JSON, or take one out."""
    if file.suffix != ".json":
        return None
    value = json.loads(file.read_bytes())
    spots = list(_spots(value))
    shape, where = chance.choice(_SHAPES), "all"
    if not spots or chance.random() < 0.2:
        value = shape
    else:
        holder, key = chance.choice(spots)
        where = str(key)
        if chance.random() < 0.3:
            del holder[key]
            shape = "nothing"
        else:
            holder[key] = shape
    file.write_text(json.dumps(value), encoding="utf-8")
    return f"{where} is {shape!r}"


def _spots(value: Any) -> Any:
    """Yield every container in a JSON value with each of its keys."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _spots(value[key])


def escape(file: Path, place: Path, chance: Random) -> str | None:
    """Let names in a table or in JSON lead to somewhere else."""
    away = chance.choice((f"../{OUTSIDE}/{KEPT}", f"../{OUTSIDE}/{KEPT}.tar", str(place / OUTSIDE / KEPT)))
    if file.suffix == ".json":
        value = json.loads(file.read_bytes())
        names = [(holder, key) for holder, key in _spots(value) if _is_name(holder[key])]
        if not names:
            return None
        holder, key = chance.choice(names)
        holder[key] = away
        file.write_text(json.dumps(value), encoding="utf-8")
        return f"{key} is {away}"
    return _escape_table(file, away) if file.suffix == ".parquet" else None


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value.endswith((".tar", ".parquet", ".npy", ".json"))


def _escape_table(file: Path, away: str) -> str | None:
    table = pq.read_table(file, partitioning=None)
    for number, name in enumerate(table.column_names):
        values = table.column(name).to_pylist() if pa.types.is_string(table.schema.field(name).type) else []
        if any(map(_is_name, values)):
            changed = pa.array([away if _is_name(value) else value for value in values], pa.string())
            pq.write_table(table.set_column(number, table.schema.field(name), changed), file)
            return f"{name} is {away}"
    return None


def delete(file: Path, place: Path, chance: Random) -> str | None:
    """Remove it."""
    file.unlink()
    return ""


def folder(file: Path, place: Path, chance: Random) -> str | None:
    """Put a folder of somebody else's in its place."""
    file.unlink()
    file.mkdir()
    (file / KEPT).write_text("somebody else's", encoding="utf-8")
    return ""


def link(file: Path, place: Path, chance: Random) -> str | None:
    """Let it be a link to a copy elsewhere."""
    away = place / OUTSIDE / file.name
    shutil.move(file, away)
    file.symlink_to(away)
    return ""


def link_folder(file: Path, place: Path, chance: Random) -> str | None:
    """Let its folder, or one above that, be a link to a copy elsewhere; a whole dataset or export may be one."""
    above = [parent for parent in file.parents if parent.parent.is_relative_to(place) and parent.parent != place]
    if not above:
        return None
    one = chance.choice(above)
    away = place / OUTSIDE / one.name
    shutil.move(one, away)
    one.symlink_to(away)
    return f"{one.relative_to(place)}"


DAMAGES: Mapping[str, Damage] = {
    "truncate": truncate,
    "empty": empty,
    "flip": flip,
    "swap": swap,
    "replace": replace,
    "reshape": reshape,
    "escape": escape,
    "delete": delete,
    "folder": folder,
    "link": link,
    "link folder": link_folder,
}
