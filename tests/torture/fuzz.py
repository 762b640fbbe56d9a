"""Fuzz: mutated images, lists, archives and recipes; each image, row and record is accounted for, or a sentence says why.

A list under a megabyte takes no more memory than `--memory` and half a gigabyte, and nothing takes for ever.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random

import hostile_images as hostile
import polars as pl
from PIL import Image

from align_data.decoding.decoder import Decoder, Decoding
from align_data.decoding.inspected import STATUSES, ImageChecks, ImageLimits
from align_data.storage.store import Store
from align_data.storage.tars import Place
from torture.archives import faults, mutated_archive
from torture.lists import rows, write_list, write_recipe, write_swollen
from torture.mutations import OF_IMAGES, mutated
from torture.process import Ended, call, run
from torture.trials import Outcome

MEMORY = 200 * 10**6
MORE = 500 * 2**20
"""Bytes beyond `--memory` that a small list may take."""
BATCH = 60
"""Images of a trial."""
ARCHIVES = 300
"""Archives of a trial."""
SECONDS = 3.0
"""For an image."""


class Fuzz:
    """Mutates what comes in."""

    FAILURES = frozenset({"miscounted", "vague", "unforeseen", "crash", "hang", "memory"})

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def trial(self, chance: Random) -> Outcome:
        """Mutate some images, a list or a recipe."""
        with tempfile.TemporaryDirectory(dir=self._folder) as place:
            return chance.choice(_KINDS)(Path(place), chance)


def _images(place: Path, chance: Random) -> Outcome:
    """Look at mutated images as `measure` does."""
    contents = [mutated(chance.choice(_good()), OF_IMAGES, chance) for _ in range(BATCH)]
    with tarfile.open(place / "images.tar", "w") as tar:
        for number, content in enumerate(contents):
            info = tarfile.TarInfo(str(number))
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with tarfile.open(place / "images.tar") as tar:
        spans = [(member.offset_data, member.size) for member in tar]
    ended = call(_look, (spans,), place, limit=600)
    bad = _ended_badly(ended)
    if bad or ended.code != 0:
        return Outcome("images", bad or "crash", f"{BATCH} images: {ended.code} {ended.err.strip()[-300:]}")
    seen = json.loads(ended.out)
    wrong = [
        f"image {number}: {status}, {reason}, {sha256}"
        for number, (content, (status, reason, sha256)) in enumerate(zip(contents, seen, strict=False))
        if status not in STATUSES
        or (reason is None) != (status == "ok")
        or sha256 not in ({hashlib.sha256(content).hexdigest()} | ({None} if status in ("hung", "crashed") else set()))
    ]
    if len(seen) != BATCH or wrong:
        return Outcome("images", "miscounted", f"{len(seen)} of {BATCH} images; {', '.join(wrong)}")
    statuses = Counter(status for status, _, _ in seen)
    return Outcome("images", "accounted", ", ".join(f"{number} {status}" for status, number in statuses.items()))


def _look(spans: list[tuple[int, int]]) -> None:
    """Print of each image in images.tar its status, the reason and its SHA-256."""
    decoder = Decoder(Decoding(Store("."), limits=ImageLimits(seconds=SECONDS)))
    seen = decoder.look([(Place("images.tar", *span), ImageChecks()) for span in spans])
    print(json.dumps([(one.status, one.reason, one.sha256) for one in seen]))
    decoder.close()


@cache
def _good() -> list[bytes]:
    """Return images of every kind that we know, and of every format that Pillow writes."""
    found, picture = list(hostile.good().values()), hostile.picture()
    Image.init()
    for name in sorted(Image.SAVE):
        for mode in ("RGB", "L", "1", "P"):
            file = io.BytesIO()
            try:
                picture.convert(mode).save(file, name)
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue  # a format that has no such mode, or needs another program
            found.append(file.getvalue())
            break
    return found


def _list(place: Path, chance: Random) -> Outcome:
    """Ingest a mutated list."""
    return _ingested(write_list(place, chance), "")


def _swollen(place: Path, chance: Random) -> Outcome:
    """Ingest a list that is much larger than it looks."""
    return _ingested(write_swollen(place, chance), "swollen ")


def _ingested(file: Path, kind: str) -> Outcome:
    place, kind = file.parent, kind + file.name.removeprefix("list.")
    ended = run(["ingest", file.name, "--out", "dataset", "--memory", f"{MEMORY // 10**6}MB", "--json"], place)
    bad = _ended_badly(ended)
    if bad or ended.code != 0:
        verdict = bad or ("sentence" if file.name in ended.err else "vague")
        size, peak = file.stat().st_size, ended.peak // 2**20
        return Outcome(kind, verdict, f"{kind}, {size} bytes: {ended.code}, {peak} MB, {ended.err.strip()[-300:]}")
    wrong = "; ".join(_miscounted(json.loads(ended.out), rows(file), place / "dataset"))
    return Outcome(kind, "miscounted" if wrong else "accounted", f"{kind}, {file.stat().st_size} bytes: {wrong}")


def _miscounted(account: dict[str, int], between: tuple[int, float] | None, dataset: Path) -> Iterator[str]:
    """Yield what is wrong with an account, given how many rows there can be."""
    if account["rows"] != account["pairs"] + account["merged"] + account["rejected"]:
        yield f"{account} does not add up"
    pairs, rejected = (pl.read_parquet(dataset / name / "part-*.parquet") for name in ("pairs", "rejected"))
    if (len(pairs), pairs["copies"].sum()) != (account["pairs"], account["pairs"] + account["merged"]):
        yield f"{account}, but {len(pairs)} pairs of {pairs['copies'].sum()} rows are there"
    if len(rejected) != account["rejected"]:
        yield f"{account}, but {len(rejected)} rejected are there"
    if between is None:
        yield f"{account['rows']} rows of a file that cannot be read to its end"
    elif not between[0] <= account["rows"] <= between[1]:
        yield f"{account['rows']} rows where {between[0]} to {between[1]} are"


def _archives(place: Path, chance: Random) -> Outcome:
    """Read archives with a mutated record each: all others come out."""
    seed = chance.random()
    ended = call(_read, (seed,), place, limit=600)
    verdict = _ended_badly(ended) or ("accounted" if ended.code == 0 and not ended.out.strip() else "miscounted")
    what = f"{ARCHIVES} archives of seed {seed}: {ended.code} {ended.out.strip()[-300:]} {ended.err.strip()[-300:]}"
    return Outcome("archives", verdict, what)


def _read(seed: float) -> None:
    """Print what is wrong with how mutated archives are read."""
    chance = Random(seed)
    for number in range(ARCHIVES):
        for fault in faults(mutated_archive(chance), chance.choice((100, 4096, 10**6))):
            print(f"archive {number}: {fault}")


def _recipe(place: Path, chance: Random) -> Outcome:
    """Show a mutated recipe."""
    file = write_recipe(place, chance)
    ended = run(["recipes", file.name, "--json"], place, limit=40)
    verdict = _ended_badly(ended) or ("accounted" if ended.code == 0 else "sentence")
    return Outcome("recipe", verdict, f"{file.stat().st_size} bytes: {ended.code} {ended.err.strip()[-300:]}")


def _ended_badly(ended: Ended) -> str | None:
    """Say how a command failed in a way that nothing may."""
    if ended.code is None:
        return "hang"
    if ended.code < 0 or "Traceback" in ended.err:
        return "crash"
    if "unforeseen" in ended.err:
        return "unforeseen"
    return "memory" if ended.peak > MEMORY + MORE else None


_KINDS = (_images, _list, _list, _list, _list, _swollen, _archives, _recipe)


@contextmanager
def fuzz(models: bool = False) -> Iterator[Fuzz]:
    """Give the machine."""
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        yield Fuzz(Path(folder))
