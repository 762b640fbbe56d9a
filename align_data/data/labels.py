"""Labels: marks that people give pairs by hand, under a name; a recipe reads them as the signal label_NAME.

Each change is a small table of its own in _marks/NAME, which appears by one rename: whoever marks waits for nobody, not
even for a stage that has the dataset's lock, and one that is killed loses nothing earlier. Of two changes to a pair the
later one holds. Under the lock they are folded into the table labels/NAME.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import polars as pl

from align_data.common.errors import DatasetError, InputError, nearest
from align_data.data.layout import Dataset
from align_data.data.meta import LabelMeta
from align_data.data.tombstones import bounds, every, rows_within, within
from align_data.signals import Signal
from align_data.signals.families import NAME, split
from align_data.signals.label import LABEL, MARKS, UNMARKED
from align_data.storage.contracts import contract
from align_data.storage.store import UNFINISHED, sha256_of
from align_data.storage.tables import Meta, Table, cut, digest

_FORM = re.compile(r"part-([0-9]{19,30})\.parquet")
"""A change: nanoseconds since 1970, and six digits by chance."""
_FOLD_AT = 200
"""Changes that are folded as soon as the lock is free: every reader reads all of them."""
_TRIES = 20
_UID = "^[0-9a-f]{32}$"


def labels(dataset: Dataset) -> list[str]:
    """Return the names of the labels that there are."""
    names = {*dataset.store.names("labels"), *dataset.store.names("_marks")}
    return [name for name in sorted(names) if re.fullmatch(NAME, name) and fingerprint(dataset, name) is not None]


def label_of(signal: str) -> str | None:
    """Return the name of the label that a signal is of; None for any other signal."""
    prefix, name = split(signal) or ("", "")
    return name if prefix == LABEL else None


def fingerprint(dataset: Dataset, name: str) -> str | None:
    """Return what tells these marks from any others; None where there is no such label.

    It is chained over the changes, so that to fold them, or to erase the marks of pairs taken down, leaves it.
    """
    manifest, changes = dataset.label(name).committed(), _changes(dataset, name)
    if manifest is None:
        return _chained("", changes) if changes else None
    return _chained(manifest.meta.chain, [change for change in changes if change not in manifest.meta.folded])


def _chained(chain: str, changes: Iterable[str]) -> str:
    for change in changes:
        chain = digest([chain, change])
    return chain


def marks(dataset: Dataset, name: str, low: str = "", high: str = "g") -> pl.DataFrame:
    """Return uid and mark of the marked pairs from `low` on and before `high`, sorted; none of a pair taken down."""
    dead = within(dataset.tombstones, low, high).implode()
    frame = _stored(dataset, name, low, high).frame
    return frame.filter(~pl.col("uid").is_in(dead), pl.col("mark") != UNMARKED)


def marks_of(dataset: Dataset, part: int, signals: Iterable[Signal]) -> dict[str, pl.DataFrame]:
    """Return the marks in one part of the labels that some of these signals are of, by the label's name."""
    names = [name for signal in signals if (name := label_of(signal.name)) is not None]
    return {name: marks(dataset, name, *bounds(dataset.ingested(), part)) for name in names}


def counts(dataset: Dataset, name: str) -> dict[str, int]:
    """Return how many pairs have each mark."""
    counted = check(dataset, name).group_by("mark").len()
    numbers = dict(counted.iter_rows())
    return {mark: numbers[mark] for mark in MARKS if mark in numbers}


def marked_so(dataset: Dataset, name: str, mark: str) -> list[str]:
    """Return the uids of the pairs with a mark, sorted."""
    return check(dataset, name).filter(pl.col("mark") == mark)["uid"].to_list()


def check(dataset: Dataset, name: str) -> pl.DataFrame:
    """Return all marks of a label; DatasetError where there is none of this name."""
    if fingerprint(dataset, name) is None:
        names = labels(dataset)
        raise DatasetError(
            f"{dataset.store.url} has no label {name}{nearest(name, names)}; there are: {', '.join(names) or 'none'}"
        )
    return marks(dataset, name)


def mark(dataset: Dataset, name: str, uids: Iterable[str], mark: str) -> int:
    """Give pairs a mark, in place of the one that they have; return how many.

    Raises InputError for what is not a mark or a uid, DatasetError for a uid that no pair has or that was taken down.
    """
    if mark not in MARKS:
        raise InputError(f"{mark!r} is not a mark{nearest(mark, MARKS)}; there are: {', '.join(MARKS)}")
    dataset.label(name)  # before anything is read: it may be no name
    distinct = pl.Series("uid", list(uids), pl.String).unique().sort()
    _check_uids(dataset, distinct)
    if len(distinct):
        _write(dataset, name, pl.DataFrame({"uid": distinct}).with_columns(pl.lit(mark).alias("mark")))
    if len(_changes(dataset, name)) >= _FOLD_AT:
        with suppress(DatasetError), dataset.store.lock():  # whoever has it, or the next one, does it later
            fold(dataset, name)
    return len(distinct)


def _check_uids(dataset: Dataset, uids: pl.Series) -> None:
    """Raise for the first of some sorted uids that cannot be marked."""
    pairs = dataset.ingested()
    wrong = uids.filter(~uids.str.contains(_UID))
    if len(wrong):
        raise InputError(f"{wrong[0][:100]!r} is not a uid, 32 hex digits")
    for part in range(len(pairs.parts)):
        low, high = bounds(pairs, part)
        unknown = uids.filter((uids >= low) & (uids < high))
        for piece in dataset.pairs.pieces(part, ["uid"]):
            if not len(unknown):
                break
            unknown = unknown.filter(~unknown.is_in(piece["uid"].implode()))
        if len(unknown):
            raise DatasetError(f"{dataset.store.url} has no pair {unknown[0]}")
    taken = uids.filter(uids.is_in(every(dataset.tombstones).implode()))
    if len(taken):
        raise DatasetError(f"the pair {taken[0]} was taken down: it cannot be marked")


def _write(dataset: Dataset, name: str, frame: pl.DataFrame) -> None:
    """Add a change, behind all that there are whatever this machine's clock says."""
    last = max((int(change[:-6]) for change in _changes(dataset, name)), default=0)
    number = int(f"{max(time.time_ns(), last + 1)}{secrets.randbelow(10**6):06d}")
    with _table(dataset, name).writer(number, {}) as writer:
        for piece in cut([frame]):
            writer.write(piece)


def _table(dataset: Dataset, name: str) -> Table[Meta]:
    """Return the changes of a label, each a part; nothing commits them."""
    return Table(dataset.store, f"_marks/{name}", contract("labels"), Meta)


def _changes(dataset: Dataset, name: str) -> list[str]:
    """Return the numbers of the changes, the earliest first."""
    forms = map(_FORM.fullmatch, dataset.store.names(f"_marks/{name}"))
    return sorted((form[1] for form in forms if form), key=int)


@dataclass(frozen=True)
class _Stored:
    """What is stored of a label."""

    frame: pl.DataFrame
    changes: Sequence[str]
    """Those that are in the folder."""
    chain: str


def _stored(dataset: Dataset, name: str, low: str = "", high: str = "g") -> _Stored:
    """Return the marks of a range of uids, also of pairs that were taken down, with the changes in force."""
    for _ in range(_TRIES):
        changes = _changes(dataset, name)
        try:
            stored = _read(dataset, name, changes, low, high)
        except DatasetError:
            if changes == _changes(dataset, name):
                raise
            continue
        if changes == _changes(dataset, name):  # or they were folded, or added to, meanwhile
            return stored
    return stored


def _read(dataset: Dataset, name: str, changes: Sequence[str], low: str, high: str) -> _Stored:
    table, added = dataset.label(name), _table(dataset, name)
    manifest = table.committed()
    folded = set(manifest.meta.folded) if manifest is not None else set()
    chain = manifest.meta.chain if manifest is not None else ""
    newer = [change for change in changes if change not in folded]
    rows = rows_within(table, low, high, ["uid", "mark"])
    if newer:  # the table alone is sorted, and has each pair once
        frames = [piece for change in newer for piece in added.pieces(int(change), ["uid", "mark"])]
        changed = pl.concat(frames).filter((pl.col("uid") >= low) & (pl.col("uid") < high))
        rows = pl.concat([rows, changed]).unique("uid", keep="last").sort("uid")
    return _Stored(rows, changes, _chained(chain, newer))


def fold(dataset: Dataset, name: str) -> int:
    """Fold all changes into the table, without the marks of pairs taken down; return how many of these there were.

    The caller has the dataset's lock. One that is killed leaves what the next one begins with.
    """
    table, added = dataset.label(name), _table(dataset, name)
    stored = _stored(dataset, name)
    dead = stored.frame["uid"].is_in(every(dataset.tombstones).implode())
    manifest = table.committed()
    if not stored.changes and not dead.any() and manifest is not None and not manifest.changing:
        return 0
    table.change()
    with table.writer(0, {}) as writer:
        for piece in cut([stored.frame.filter(~dead, pl.col("mark") != UNMARKED)]):
            writer.write(piece)
    assert writer.info is not None
    table.commit([writer.info], LabelMeta(chain=stored.chain, folded=list(stored.changes)))
    for change in stored.changes:
        dataset.store.remove(added.part_name(int(change)))
    return int(dead.sum())


Change = tuple[str, str | None, str | None]
"""A file, and its SHA-256 before and after."""


def erase(dataset: Dataset) -> tuple[int, list[Change]]:
    """Take the marks of pairs that were taken down out of all labels; return how many there were, and what changed."""
    erased, changed = 0, list[Change]()
    for name in labels(dataset):
        before = _hashes(dataset, name)
        erased += fold(dataset, name)
        after = _hashes(dataset, name)
        files = sorted(before.keys() | after.keys())
        changed += [(file, before.get(file), after.get(file)) for file in files if before.get(file) != after.get(file)]
    for name in dataset.store.names("_marks"):
        for file in dataset.store.names(f"_marks/{name}"):
            if UNFINISHED.fullmatch(file):  # of a process that was killed
                dataset.store.remove(f"_marks/{name}/{file}")
    return erased, changed


def _hashes(dataset: Dataset, name: str) -> dict[str, str | None]:
    """Return the SHA-256 of each file of a label."""
    table, added = dataset.label(name), _table(dataset, name)
    files = [table.part_name(0), *table.manifest_names, *map(added.part_name, map(int, _changes(dataset, name)))]
    return {file: digest_of for file in files if (digest_of := sha256_of(dataset.store, file)) is not None}
