"""Lists that a user gives with `measure --list NAME=FILE`: kept with the dataset, so that parts that come later are
measured by the same entries, and a reader of its values can see by which.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import polars as pl

from align_data.common.errors import DatasetError, InputError
from align_data.common.user_files import lines_of, read_user_file
from align_data.data.layout import Dataset
from align_data.data.meta import ListMeta
from align_data.signals import find
from align_data.signals.user_lists import MATCHES, ListRows, PhraseList, UserList, of_classes
from align_data.storage.tables import digest

PER = ("language", "language_cld3", "script")
"""The signals whose classes can have a list each."""
LARGEST = 2**30
"""Bytes of a list, at most: 15 million URLs are fewer."""
LONGEST = 10_000
"""Characters of an entry, at most: a file of other things would make phrases of millions of words."""
_SCHEMA = {"class": pl.String, "entry": pl.String, "line": pl.Int32, "count": pl.Int64}


@dataclass(frozen=True)
class ListFiles:
    """Lists by name, each with its file, and how pairs are matched with them."""

    files: Sequence[tuple[str, str]] = ()
    match: str = "word"
    seed: int = 0
    """Of the numbers that balance_NAME draws."""
    per: str | None = None
    """The signal whose classes have a list each: then each file is a folder with CLASS.txt for them."""

    def give(self, dataset: Dataset) -> None:
        """Keep the lists with a dataset; InputError for a file that is not one."""
        for name, file in self.files:
            give_list(dataset, name, file, self)


def give_list(dataset: Dataset, name: str, file: str, how: ListFiles) -> None:
    """Keep a list with a dataset, in place of another one of this name; InputError if the file is not one."""
    table = dataset.user_list(name)
    files = {"": file} if how.per is None else _files_of(file, how)
    contents = {of: read_user_file(path, "the list", LARGEST) for of, path in files.items()}
    digests = [f"{of} {hashlib.sha256(content).hexdigest()}" for of, content in contents.items()]
    sha256 = digests[0][1:] if how.per is None else hashlib.sha256("\n".join(digests).encode()).hexdigest()
    meta = ListMeta(match=how.match, sha256=sha256, seed=how.seed, per=how.per, entries=0)
    stored = table.committed()
    if stored is not None and _identity(stored.meta) == _identity(meta):
        return
    rows = pl.concat([read_list(content, files[of], how.match, of) for of, content in contents.items()])
    meta = meta.model_copy(update={"entries": len(rows)})
    table.retract()  # or a run killed here would leave the old list's name on the new one
    with table.writer(0, _identity(meta)) as writer:
        writer.write(rows)
    assert writer.info is not None
    table.commit([writer.info], meta)


def _files_of(folder: str, how: ListFiles) -> dict[str, str]:
    """Return the files of a folder by the class that each is for; InputError where it has none."""
    if "balance" not in MATCHES[how.match].prefixes:
        raise InputError(f"lists of {how.match} are not divided by {how.per}: a pair's is the same in all")
    try:
        paths = sorted(path for path in Path(folder).iterdir() if path.suffix == ".txt" and path.stem)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the lists in {folder}: {getattr(error, 'strerror', None) or error}") from error
    if not paths:
        raise InputError(f"{folder} has no files such as en.txt, each a list for the pairs of one {how.per}")
    return {path.stem: str(path) for path in paths}


def _identity(meta: ListMeta) -> dict[str, Any]:
    per = {} if meta.per is None else {"per": meta.per}
    return {"sha256": meta.sha256, "match": meta.match, "seed": meta.seed, **per}


def read_list(content: bytes, file: str, match: str, of_class: str = "") -> pl.DataFrame:
    """Return the rows of a list's file: a line an entry, each once, blank lines left out; InputError names the line."""
    _check_lengths(content, file)
    lines = lines_of(content, file, "the list")
    rows = pl.DataFrame({"line": [n for n, _ in lines], "entry": [text for _, text in lines]}, _LINES)
    too_long = rows.filter(pl.col("entry").str.len_chars() > LONGEST)
    if len(too_long):
        line, entry = too_long.row(0)
        raise InputError(f"{file}, line {line}: {len(entry):,} characters; an entry has at most {LONGEST:,}")
    counts = pl.Series("count", [0], pl.Int64).new_from_index(0, len(rows))
    if match == "count":
        rows, counts = _counted(rows, file)
    from align_data.data.pairs import normalise  # noqa: PLC0415 - it knows the readers of lists, half of a start

    rows = rows.select(normalise(rows["entry"]).alias("entry"), "line").with_columns(counts)
    if match in ("host", "uid"):
        rows = rows.with_columns(pl.col("entry").str.to_lowercase().str.strip_chars("."))
    _check(rows, file, match)
    rows = rows.filter(pl.col("entry") != "").unique("entry", keep="first", maintain_order=True)
    if not len(rows):
        raise InputError(f"{file} has no entries: write one a line")
    rows = rows.with_columns(pl.lit(of_class).alias("class"))
    return rows.select(pl.col(name).cast(type_) for name, type_ in _SCHEMA.items())


def _check_lengths(content: bytes, file: str) -> None:
    """Raise InputError for a line that is too long in any encoding, before a copy is made of it."""
    start = 0
    while len(content) - start > _WINDOW:
        end = max(content.rfind(sign, start, start + _WINDOW) for sign in (b"\n", b"\r"))
        if end < 0:
            raise InputError(
                f"{file} has a line of more than {_WINDOW:,} bytes from byte {start:,} on; an entry has at most "
                f"{LONGEST:,} characters"
            )
        start = end + 1


_WINDOW = 2**26
"""Bytes in which a list has an end of a line."""
_LINES = {"line": pl.Int32, "entry": pl.String}


def _counted(rows: pl.DataFrame, file: str) -> tuple[pl.DataFrame, pl.Series]:
    """Divide each line at its last tab; InputError where no count is behind it."""
    divided = rows.with_columns(
        pl.col("entry").str.extract(r"^(.*)\t", 1).alias("word"), pl.col("entry").str.extract(r"\t *([0-9]{1,18})$", 1)
    )
    wrong = divided.select("line", rows["entry"].alias("text"), "word", "entry").filter(pl.col("entry").is_null())
    if len(wrong):
        line, text, *_ = wrong.row(0)
        raise InputError(f"{file}, line {line}: {text[:100]!r} is not a word, a tab and a count")
    return divided.select("line", pl.col("word").alias("entry")), divided["entry"].cast(pl.Int64).alias("count")


def _check(rows: pl.DataFrame, file: str, match: str) -> None:
    """Raise InputError for the first entry that nothing could match."""
    form, what = _FORMS.get(match, (None, ""))
    wrong = rows.filter(~pl.col("entry").str.contains(form)) if form is not None else rows.clear()
    if len(wrong):
        entry, line, _ = wrong.row(0)
        raise InputError(f"{file}, line {line}: {entry[:100]!r} is not {what}")


_FORMS = {
    "host": (r"^(?:[\w.-]*\w[\w.-]*|\[[0-9a-f:.]+\])$", "a host, as a.example, without scheme and port"),
    "url": (r"^[hH][tT][tT][pP][sS]?://\S+$", "a URL, as http://a.example/1.jpg"),
    "uid": ("^[0-9a-f]{32}$", "a uid, 32 hex digits"),
}
"""What an entry of a list must look like, and how to say so."""


def load(dataset: Dataset, names: Iterable[str]) -> dict[str, UserList]:
    """Return lists, ready to match."""
    return {name: _loaded(dataset, name) for name in names}


_READY: dict[str, tuple[str, UserList]] = {}
"""Lists that have been made ready in this process by where they lie, each with what tells it from a later one."""
_LOCK = Lock()


def _loaded(dataset: Dataset, name: str) -> UserList:
    table = dataset.user_list(name)
    manifest, place = table.committed(), table.store.path(table.name)
    if manifest is None:
        raise DatasetError(f"{place} is not there any more: give the list again")
    meta = manifest.meta
    version = digest([manifest.fingerprint, _identity(meta)])
    with _LOCK:  # threads that wait for a list of half a million are faster than those that make one too
        if _READY.get(place, ("",))[0] != version:
            _READY[place] = version, _made(pl.concat(list(table.pieces(0, list(_SCHEMA)))), meta)
        return _READY[place][1]


def _made(rows: pl.DataFrame, meta: ListMeta) -> UserList:
    make = MATCHES[meta.match].make
    if meta.per is None:
        return make(ListRows(*rows.get_columns()), meta.seed)
    measure = find(meta.per).measure
    assert measure is not None
    by_class = rows.partition_by("class", as_dict=True, maintain_order=True)
    lists = {str(name): make(ListRows(*of.get_columns()), meta.seed) for (name,), of in by_class.items()}
    return of_classes({name: of for name, of in lists.items() if isinstance(of, PhraseList)}, meta.seed, measure)


def unload() -> None:
    """Free what the lists that were loaded take of memory."""
    with _LOCK:
        _READY.clear()
