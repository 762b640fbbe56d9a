"""One part of a dataset without what was taken down.

What is to change is written down first, with the SHA-256 of every file before. A file is rewritten if it is still as it
was then: so a killed run, run again, does the rest, and its receipt is that of an undisturbed one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from align_data.common.errors import DatasetError
from align_data.common.hashing import image_key
from align_data.common.progress import Tick
from align_data.data.image_table import sorted_rows
from align_data.data.layout import Dataset
from align_data.data.ledger import taken_down
from align_data.data.meta import PairsMeta
from align_data.data.tombstones import of_part
from align_data.stages.takedown.embeddings import image_tables, orphans, text_tables, without
from align_data.stages.takedown.files import (
    Rewritten,
    check_names,
    note,
    recall,
    rewritten,
)
from align_data.storage import names
from align_data.storage.contracts import Contract
from align_data.storage.store import sha256_of
from align_data.storage.tables import CHUNK, Manifest, Table
from align_data.storage.tars import copy_members, members

_EMPTY: Mapping[str, Any] = {"string": "", "int32": 0, "int64": 0, "float64": 0.0, "bool": False, "binary": b""}
"""What is left in a column that cannot be null."""
_ENDING = re.compile(r"(?:-t\d{4,})?\.tar$")
_WORKING = ("_images", "_content", "_embedded", "_seen")
"""What runs that were killed have of a part, row for row with its URLs as they were."""

Change = Callable[[Iterator[pl.DataFrame]], Iterator[pl.DataFrame]]


@dataclass(frozen=True)
class Scrub:
    """What is the same for all parts. It travels to other machines."""

    dataset: Dataset
    pairs: Manifest[PairsMeta]
    number: int
    """Of the takedown: in the names of new tars."""
    tombstones: str
    """Their fingerprint."""
    planned: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """Part → uids that are not tombstones yet, to see what they would change."""

    def tombstones_of(self, part: int) -> pl.Series:
        """Return all tombstones of a part."""
        tombstones = of_part(self.dataset, self.pairs, part)
        return pl.concat([tombstones, pl.Series("uid", list(self.planned.get(part, ())), pl.String)])


@dataclass
class Notes:
    """What a part has of what is taken down."""

    pairs: int = 0
    images: int = 0
    """URLs that no living pair has."""
    bytes: int = 0
    """Of their images."""
    fetched: int = 0
    """Images of theirs whose bytes are there."""
    rows: dict[str, list[int]] = field(default_factory=lambda: {"images": [], "content": []})
    """Rows that go of the tables that have a row a URL."""
    tars: dict[str, list[tuple[int, int]] | None] = field(default_factory=dict)
    """Tar → where in it the bytes of members begin that go, and how much of the tar they take; None for all of them."""
    unnamed: list[str] = field(default_factory=list)
    """Tars that no row names."""
    statuses: dict[str, int] = field(default_factory=dict)
    """Status → rows of `images` that go."""
    masks: dict[str, list[tuple[int, int, int]]] = field(default_factory=dict)
    """Ledger → failed, unknown, and how many pairs with these are taken down."""
    files: dict[str, str | None] = field(default_factory=dict)
    """File to be rewritten → its SHA-256 before."""
    embedded: dict[str, list[int]] = field(default_factory=dict)
    """Table of images' embeddings → its rows that go."""
    embeddings: int = 0
    """Embeddings of images and texts that go."""


@dataclass
class PartReceipt:
    """What was done in a part."""

    pairs: int = 0
    images: int = 0
    bytes: int = 0
    fetched: int = 0
    tars: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    masks: dict[str, list[tuple[int, int, int]]] = field(default_factory=dict)
    files: list[Rewritten] = field(default_factory=list)
    sizes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Table → what its part is now, without its hash."""
    forgotten: dict[str, int] = field(default_factory=dict)
    """Kind → keys that are counted no more."""
    embeddings: int = 0


def understood(values: dict[str, Any]) -> PartReceipt:
    """Return what was noted of a part that is done."""
    return PartReceipt(**{**values, "files": [Rewritten(*file) for file in values["files"]]})


def done_of(table: Table[Any], part: int, files: list[Rewritten], **more_counts: Any) -> PartReceipt:
    """Return what was done where one part of one table was written anew."""
    return PartReceipt(files=files, sizes={table.name: asdict(table.now(part))}, **more_counts)


def erased(contract: Contract) -> dict[str, Any]:
    """Return the columns of a table that a takedown empties, and what is left in them: by what defines each."""
    return {
        column.name: None if column.nullable else _EMPTY[column.type] for column in contract.columns if column.erased
    }


def scrub(job: Scrub, part: int, tick: Tick) -> PartReceipt:
    """Take out of one part what its tombstones stand for."""
    store, name = job.dataset.store, f"part-{part:05d}"
    receipt = recall(store, f"{name}-done", understood)
    if receipt is None:
        before = recall(store, name, lambda values: Notes(**values))
        if before is not None:
            form = names.tar_of(part)
            tars = [tar for tar in (*before.tars, *before.unnamed) if form.fits(tar)]
            tables = [table.part_name(part) for table in touchable(job.dataset)]
            check_names(store, name, [*before.tars, *before.unnamed, *before.files], [*tars, *tables])
        notes = before if before is not None else examine(job, part)
        if before is None:
            notes.files = {file: sha256_of(store, file) for file in notes.files}
            note(store, name, asdict(notes))
        receipt = _carry_out(job, part, notes, fresh=before is None)
        note(store, f"{name}-done", asdict(receipt))
    tick(job.pairs.parts[part].rows)
    return receipt


def touchable(dataset: Dataset) -> list[Table[Any]]:
    """Return all tables whose parts a takedown writes anew."""
    measured = [dataset.measured(group) for group in dataset.groups()]
    ledgers = [dataset.ledger(name) for name in dataset.store.names("verdicts")]
    embedded = [*image_tables(dataset), *text_tables(dataset)]
    return [dataset.pairs, dataset.images, dataset.content, *measured, *embedded, *ledgers]


def examine(job: Scrub, part: int) -> Notes:
    """See what a part has of what is taken down; the files without their SHA-256."""
    dataset, notes, tombstones = job.dataset, Notes(), job.tombstones_of(part)
    dead = tombstones.implode()
    heads = image_key(tombstones).unique().implode()
    pieces = dataset.pairs.pieces(part, ["uid", "url"])
    near = pl.concat([piece.filter(image_key(pl.col("uid")).is_in(heads)) for piece in pieces])
    rows = near.filter(pl.col("url") != "").with_columns(dead=pl.col("uid").is_in(dead))
    notes.pairs = int(rows["dead"].sum())
    urls = set(rows.filter("dead")["url"]) - set(rows.filter(~pl.col("dead"))["url"])
    notes.images = len(urls)
    touched: list[Table[Any]] = [dataset.pairs]
    for group in dataset.groups():
        table = dataset.measured(group)
        if table.has(part) and erased(table.contract).keys() & set(table.columns(part)):
            touched.append(table)
    for name in dataset.store.names("verdicts"):
        ledger = dataset.ledger(name)
        if ledger.has(part):
            touched.append(ledger)
            notes.masks[name] = _masks(dataset, ledger, part, dead)
    texts = [table for table in text_tables(dataset) if table.has(part)]
    touched += texts
    notes.embeddings = notes.pairs * len(texts)
    if urls:
        gone = pl.Series(sorted(urls)).implode()
        touched += _examine_images(dataset, part, gone, notes)
        notes.embedded = dict(orphans(dataset, part, gone))
        notes.embeddings += sum(map(len, notes.embedded.values()))
        touched += [table for table in image_tables(dataset) if table.name in notes.embedded]
    notes.files |= {table.part_name(part): None for table in touched}
    return notes


def _masks(dataset: Dataset, table: Table[Any], part: int, dead: pl.Series) -> list[tuple[int, int, int]]:
    """Count the masks of the pairs that are taken down now."""
    masks = [
        masks.filter(pairs.select(pl.col("uid").is_in(dead) & (pl.col("url") != "")).to_series())
        for pairs, masks in _beside(dataset, part, ["uid", "url"], table.pieces(part, ["failed", "unknown"]))
    ]
    return pl.concat(masks).group_by("failed", "unknown").len().sort("failed", "unknown").rows()


def _beside(
    dataset: Dataset, part: int, columns: list[str], pieces: Iterator[pl.DataFrame]
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Yield the pieces of `pairs` with those of a table that is row for row with it."""
    return zip(dataset.pairs.pieces(part, columns), pieces, strict=True)


def _examine_images(dataset: Dataset, part: int, urls: pl.Series, notes: Notes) -> list[Table[Any]]:
    """See what the tables with a row a URL, and the tars, have of some URLs; return the tables that have any."""
    touched, named = [], pl.Series("tar", [], pl.String)
    for table in (dataset.images, dataset.content):
        if table.has(part):
            rows = sorted_rows(table, part, ["url"])
            notes.rows[table.name] = rows.select(pl.col("url").is_in(urls).arg_true()).to_series().to_list()
            if notes.rows[table.name]:
                touched.append(table)
    if dataset.images in touched:
        rows = sorted_rows(dataset.images, part, ["status", "tar", "offset", "size"])
        going = rows[notes.rows["images"]]
        living = rows.with_row_index().filter(~pl.col("index").is_in(pl.Series(notes.rows["images"]).implode()))
        notes.statuses = dict(going.group_by("status").len().sort("status").rows())
        with_bytes = going.filter(pl.col("tar").is_not_null())
        notes.fetched, notes.bytes = len(with_bytes), int(with_bytes["size"].sum())
        for tar in sorted(set(with_bytes["tar"])):
            notes.tars[tar] = _going(dataset, tar, living.filter(pl.col("tar") == tar))
        named = rows["tar"].drop_nulls()
        if notes.tars and dataset.content not in touched and dataset.content.has(part):
            touched.append(dataset.content)
    folder = f"bytes/part-{part:05d}"
    stored = [tar for name in dataset.store.names(folder) if names.tar_of(part).fits(tar := f"{folder}/{name}")]
    notes.unnamed = sorted(set(stored) - set(named))
    notes.files |= dict.fromkeys([*notes.tars, *notes.unnamed])
    return touched


def _going(dataset: Dataset, tar: str, living: pl.DataFrame) -> list[tuple[int, int]] | None:
    """Return where the members of a tar begin that go, and what they take; None where all of it goes."""
    stays = dict(living.select("offset", "size").iter_rows())
    if not stays:
        return None
    stored = members(dataset.store, tar, names.IMAGE)
    if stays.items() - {(member.data, member.size) for member in stored}:
        raise DatasetError(f"{dataset.store.path(tar)} has no images where the table images says; it is damaged")
    return [(member.data, member.end - member.start) for member in stored if member.data not in stays]


def _carry_out(job: Scrub, part: int, notes: Notes, *, fresh: bool) -> PartReceipt:
    """Change what the notes say, where it has not been changed yet."""
    store = job.dataset.store
    new = {tar: anew(tar, job.number) for tar, removed in notes.tars.items() if removed is not None}
    # Tars first and the old ones last: the rows always point into one that is there.
    for tar, name in new.items():
        if not store.exists(name) and store.exists(tar):
            removed = {offset for offset, _ in notes.tars[tar] or ()}
            with store.create(name) as path:
                copy_members(store, tar, [m for m in members(store, tar, names.IMAGE) if m.data not in removed], path)
    sizes = {}
    for table, change in _changes(job, part, notes):
        file = table.part_name(part)
        if file not in notes.files:
            continue
        if fresh or sha256_of(store, file) == notes.files[file]:
            facts = table.facts(part) or {}
            if table.name.startswith("verdicts/"):
                facts["tombstones"] = job.tombstones
            rewrite(table, part, change, facts)
        sizes[table.name] = asdict(table.now(part))
    if notes.images:
        for folder in _WORKING:
            store.clear(f"{folder}/{part:05d}", CHUNK)
    for tar in (*notes.tars, *notes.unnamed):
        store.remove(tar)
    files = rewritten([*notes.files.items(), *((name, None) for name in new.values())], partial(sha256_of, store))
    return PartReceipt(
        pairs=notes.pairs,
        images=notes.images,
        bytes=notes.bytes,
        fetched=notes.fetched,
        tars=len(notes.tars),
        statuses=notes.statuses,
        masks=notes.masks,
        files=files,
        sizes=sizes,
        embeddings=notes.embeddings,
    )


def rewrite(table: Table[Any], part: int, change: Change, facts: Mapping[str, Any]) -> None:
    """Write a part anew, with its pieces, and its columns but for former ones."""
    columns = [name for name in table.columns(part) if name not in table.contract.former]
    with table.writer(part, facts, columns) as writer:
        for piece in change(table.pieces(part, columns)):
            writer.write(piece)


def anew(tar: str, number: int) -> str:
    """Return the name of what stays of a tar."""
    return _ENDING.sub(f"-t{number:04d}.tar", tar)


def _changes(job: Scrub, part: int, notes: Notes) -> Iterator[tuple[Table[Any], Change]]:
    """Yield every table that can have to change, and how."""
    dataset, dead = job.dataset, job.tombstones_of(part).implode()

    def verdicts(pieces: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        for pairs, piece in _beside(dataset, part, ["uid"], pieces):
            yield piece.with_columns(taken_down(piece["failed"], pairs["uid"].is_in(dead)))

    yield from ((table, _less(notes, table, job.number)) for table in (dataset.images, dataset.content))
    beside = [*map(dataset.measured, dataset.groups()), *text_tables(dataset)]
    yield from ((table, _emptying(dataset, table, part, dead)) for table in beside)
    embedded = ((table, notes.embedded.get(table.name, [])) for table in image_tables(dataset))
    yield from ((table, partial(without, rows)) for table, rows in embedded)
    yield from ((dataset.ledger(name), verdicts) for name in notes.masks)
    yield dataset.pairs, _emptying(dataset, dataset.pairs, part, dead)


def _less(notes: Notes, table: Table[Any], number: int) -> Change:
    """Return what takes rows out of a table that has a row a URL."""

    def change(pieces: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        removed, at = set(notes.rows[table.name]), 0
        for piece in pieces:
            stays = [row not in removed for row in range(at, at + len(piece))]
            yield _moved(piece.filter(pl.Series(stays, dtype=pl.Boolean)), notes.tars, number)
            at += len(piece)

    return change


def _emptying(dataset: Dataset, table: Table[Any], part: int, dead: pl.Series) -> Change:
    """Return what takes out of a table that is row for row with `pairs` what identifies dead rows."""
    blanks = erased(table.contract)

    def change(pieces: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        for pairs, piece in _beside(dataset, part, ["uid"], pieces):
            yield _emptied(piece, pairs["uid"].is_in(dead), blanks)

    return change


def _emptied(piece: pl.DataFrame, dead: pl.Series, columns: Mapping[str, Any]) -> pl.DataFrame:
    """Return a piece with what identifies dead rows taken out."""
    blanks = {name: blank for name, blank in columns.items() if name in piece.columns}
    return piece.with_columns(
        pl.when(~dead).then(pl.col(name)).otherwise(pl.lit(blank, piece.schema[name])).alias(name)
        for name, blank in blanks.items()
    )


def _moved(rows: pl.DataFrame, tars: Mapping[str, list[tuple[int, int]] | None], number: int) -> pl.DataFrame:
    """Return rows with the places that their bytes have in the new tars."""
    for tar, removed in tars.items():
        at = rows.select((pl.col("tar") == tar).arg_true()).to_series()
        if not len(at) or removed is None:
            continue
        offsets, taken = np.array(sorted(removed), np.int64).reshape(-1, 2).T
        before = np.concatenate([[0], np.cumsum(taken)])
        old = rows["offset"].gather(at).to_numpy()
        places = pl.Series(old - before[np.searchsorted(offsets, old)])
        rows = rows.with_columns(
            rows["tar"].scatter(at, pl.Series([anew(tar, number)] * len(at))), rows["offset"].scatter(at, places)
        )
    return rows


def scrub_rejected(job: Scrub, part: int, rows: Sequence[int], tick: Tick) -> PartReceipt:
    """Take the detail out of some rows of one part of `rejected`."""
    table, store, name = job.dataset.rejected, job.dataset.store, f"rejected-{part:05d}"
    file, removed = table.part_name(part), pl.Series(rows, dtype=pl.Int64).implode()

    def change(pieces: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        at = 0
        for piece in pieces:
            dead = pl.int_range(at, at + len(piece), eager=True).is_in(removed)
            yield piece.with_columns(pl.when(~dead).then("detail").otherwise(pl.lit("")).alias("detail"))
            at += len(piece)

    noted = recall(store, name, lambda values: {"before": values["before"]})
    before = noted["before"] if noted is not None else sha256_of(store, file)
    if noted is None:
        note(store, name, {"before": before})
    if sha256_of(store, file) == before:
        rewrite(table, part, change, table.facts(part) or {})
    receipt = done_of(table, part, rewritten([(file, before)], partial(sha256_of, store)))
    tick(receipt.sizes[table.name]["rows"])
    return receipt
