"""What is tortured: a tiny web, served on this machine, and beside it a dataset and its exports after every stage."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import oracle
import polars as pl

from torture.commands import Command
from torture.process import run

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
import tiny_crawl
import tiny_web
from tiny_server import serve

PORT = 8819
"""Where the web is served if nobody else is there: the same trial has the same URLs then, and so the same parts."""
IMAGES, SEED, MANY_TEXTS = 40, 5, 60
_RATES = tiny_web.NOISE | tiny_web.PICTURE_NOISE | {"broken_url": 0.1, "gone": 0.05, "duplicate": 0.1}
_PASSING = ("_log/", "_work/", ".lock", "metrics.jsonl", "trained.json")
"""What is no part of a result: dates and durations, what is only needed while a stage runs, and the lock."""

Tree = dict[str, str]
"""File → its SHA-256, or where it leads if it is a link."""


def tree(folder: Path) -> Tree:
    """Return all files below a folder that are results."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"leads to {path.readlink()}"
        elif path.is_file() and not name.partition("/")[2].startswith(_PASSING):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def differences(one: Tree, other: Tree) -> list[str]:
    """Return the names of files that are in one tree only, or differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


@dataclass(frozen=True)
class World:
    """A folder with the web, and for each stage what there was before it, for the last also after it."""

    folder: Path
    stages: Sequence[Command]
    states: Sequence[Path]
    changes: Sequence[int]
    """Of files, by each stage."""

    @contextmanager
    def place(self, stage: int) -> Iterator[Path]:
        """Give a copy of what there was before a stage, always at the same place: some output has paths in it."""
        place = self.folder / "place"
        shutil.copytree(self.states[stage], place)
        try:
            yield place
        finally:
            shutil.rmtree(place)


@contextmanager
def world(stages: Sequence[Command]) -> Iterator[World]:
    """Give a world in which some stages have been run, one after another."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="torture-")))
        web = folder / "web"
        _write_web(web, stack.enter_context(_served(web)))
        states, changes = [folder / "state-00"], []
        states[0].mkdir()
        for number, stage in enumerate(stages, 1):
            states.append(folder / f"state-{number:02d}")
            shutil.copytree(states[-2], states[-1])
            ended = run(stage.arguments, states[-1])
            if ended.code != 0:
                raise RuntimeError(f"{stage.line}: ended with {ended.code}: {ended.err}")
            changes.append(ended.changes)
        yield World(folder, stages, states, changes)


@contextmanager
def _served(web: Path) -> Iterator[str]:
    """Serve the web, on our own port if it is free; give the address."""
    with ExitStack() as stack:
        try:
            address = stack.enter_context(serve(web, PORT))
        except OSError:
            address = stack.enter_context(serve(web))
        yield address


def _write_web(web: Path, address: str) -> None:
    """Write lists, pictures, what img2dataset would have made of some of them, and what is to be taken down."""
    evaluation = tiny_web.make_evaluation(IMAGES, SEED, 5)
    with mock.patch.object(tiny_web, "MANY_TEXTS", MANY_TEXTS):
        rows = tiny_web.make(IMAGES, SEED, _RATES, address, 5)
    tiny_web.write(rows, web, sizes=True)
    tiny_web.write_all_pictures(rows, evaluation, web)
    tiny_crawl.write_archives(rows, SEED, address, web)
    paths = dict.fromkeys(row.picture.path for row in rows if row.picture and row.kind == "caption")
    urls = [row.url for path in paths for row in rows if row.picture and row.picture.path == path]
    _write_img2dataset(web / "img2dataset", {f"http://there.example/{path}": (web / path) for path in paths})
    (web / "shapes.txt").write_text("circle\nsquare\nstar\nin a row\nring ,\n", encoding="utf-8")
    (web / "removals.txt").write_text("\n".join(urls[:2]), encoding="utf-8")
    (web / "uids.txt").write_text("\n".join(oracle.hex64(url) for url in urls[2:5]), encoding="utf-8")


def _write_img2dataset(folder: Path, pictures: dict[str, Path]) -> None:
    """Write a shard as img2dataset does: a tar, its metadata, its stats; the last picture is one that it did not get."""
    folder.mkdir()
    keys = [f"{number:09d}" for number in range(len(pictures))]
    with tarfile.open(folder / "00000.tar", "w") as tar:
        for key, path in list(zip(keys, pictures.values(), strict=True))[:-1]:
            info = tarfile.TarInfo(f"{key}.jpg")
            content = path.read_bytes()
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    got = [*["success"] * (len(keys) - 1), "failed_to_download"]
    columns = {"url": list(pictures), "key": keys, "status": got, "caption": [f"text of {key}" for key in keys]}
    errors = [*[None] * (len(keys) - 1), "HTTP Error 404: Not Found"]
    pl.DataFrame({**columns, "error_message": errors}).write_parquet(folder / "00000.parquet")
    (folder / "00000_stats.json").write_text(json.dumps({"count": len(keys)}), encoding="utf-8")
