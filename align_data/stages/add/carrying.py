"""What is known of the pairs of a part, put beside them again after others have come between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from align_data.common.progress import Tick
from align_data.data.batches import CARRIED, FIRST_BATCH
from align_data.data.columns import part_facts
from align_data.data.image_table import sorted_rows, untried
from align_data.data.layout import Dataset
from align_data.data.ledger import NOT_YET, TAKEN_DOWN
from align_data.data.meta import PairsMeta
from align_data.data.user_lists import load
from align_data.signals import Piece, find
from align_data.signals.contracts import is_of_pool
from align_data.storage.tables import Manifest, Meta, Table, cut

Filler = Callable[[pl.DataFrame], pl.DataFrame]
"""What makes of new pairs, with what its signals need, the columns of a table."""


@dataclass(frozen=True)
class Carrying:
    """What all parts share. It travels to other machines."""

    dataset: Dataset
    merged: Table[Meta]
    batch: str
    before: Manifest[PairsMeta]
    after: Manifest[PairsMeta]
    carried: Mapping[str, Sequence[str]]
    """Group → its signals that are measured of the new pairs."""

    def part(self, number: int, tick: Tick) -> None:
        """Bring every table of a part in line with the merged part of `pairs`."""
        for group, names in self.carried.items():
            self._measured(group, list(names), number)
        for table in self.beside():
            self._with_blanks(table, number)
        self._images(number)
        tick(self.after.parts[number].rows)

    def beside(self) -> list[Table[Any]]:
        """Return the tables that are row for row with `pairs` and whose values wait for the new pairs."""
        dataset = self.dataset
        measured = [dataset.measured(group) for group in dataset.groups() if group not in self.carried]
        ledgers = [dataset.ledger(name) for name in dataset.store.names("verdicts")]
        return [*measured, *ledgers, *(dataset.embedded_texts(name) for name in dataset.embeddings())]

    def _source(self, table: Table[Any], of: Manifest[PairsMeta], part: int) -> str | None:
        pool = table.name.startswith("measured/") and is_of_pool(table.name.removeprefix("measured/"))
        return of.fingerprint if pool else of.parts[part].identity

    def _measured(self, group: str, names: list[str], part: int) -> None:
        """Carry signals, and measure them of the new pairs."""
        table, pairs = self.dataset.measured(group), self.after.parts[part].identity
        facts = part_facts(table, part)
        if facts.get("pairs") != self.before.parts[part].identity:
            return
        stored = {name: facts["signals"][name] for name in names}
        signals = [find(name) for name in names]
        lists = load(self.dataset, {group.partition(".")[2]} if group.startswith("list.") else set())

        def measure(rows: pl.DataFrame) -> pl.DataFrame:
            piece = Piece(rows, lists=lists)
            return pl.DataFrame([signal.measure(piece).alias(signal.name) for signal in signals if signal.measure])

        needed = {column for signal in signals for column in signal.needs}
        self._write(table, part, names, {"signals": stored, "pairs": pairs}, measure, needed)

    def _with_blanks(self, table: Table[Any], part: int) -> None:
        """Carry a table that a stage brings up to date: until then its new rows say nothing."""
        facts = table.facts(part) or {}
        if facts.get("pairs") != self._source(table, self.before, part):
            return
        columns = table.columns(part)
        columns = [name for name in columns if name not in table.contract.former]
        types = table.contract.polars(*columns)
        nullable = {column.name: column.nullable for column in table.contract.columns}
        blanks = {name: pl.lit(None if nullable[name] else _BLANK.get(name, 0), types[name]) for name in columns}
        blanked = {**facts, "pairs": self._source(table, self.after, part)}
        if "signals" in facts:  # its stage knows by what is carried which values stay
            blanked |= {"signals": {}, CARRIED: facts.get(CARRIED, facts["signals"])}
        elif "model" in facts:
            blanked[CARRIED] = True
        self._write(table, part, columns, blanked, lambda rows: rows.with_columns(**blanks), set())

    def _write(
        self, table: Table[Any], part: int, columns: list[str], facts: Mapping[str, Any], fill: Filler, needs: set[str]
    ) -> None:
        """Write a part with the rows that it has where they belong now, and what `fill` makes of the new pairs."""
        old = _Stream(table.pieces(part, columns))
        with table.writer(part, facts, columns) as writer:
            for piece in self.merged.pieces(part, sorted({FIRST_BATCH, *needs})):
                new = (piece[FIRST_BATCH] == self.batch).to_numpy()
                frames = old.take(int((~new).sum()))
                if new.any():
                    frames.append(fill(piece.filter(pl.Series(new))).select(columns))
                rows = np.empty(len(piece), np.int64)
                rows[np.concatenate([np.flatnonzero(~new), np.flatnonzero(new)])] = np.arange(len(piece))
                writer.write(pl.concat(frames)[rows])

    def _images(self, part: int) -> None:
        """Carry `images` and `content`: a row for each URL, in the order in which they come now."""
        images, content = self.dataset.images, self.dataset.content
        facts = images.facts(part) or {}
        if facts.get("pairs") == self.before.parts[part].identity:
            carried = {**facts, "pairs": self.after.parts[part].identity, CARRIED: images.info(part).identity}
            _rewrite(images, part, _in_order(self._urls(part), sorted_rows(images, part), untried), carried)
        elif facts.get("pairs") != self.after.parts[part].identity:
            return
        beside = content.facts(part) or {}
        # That of the part before: a killed run may have carried the one and not the other.
        if beside and beside.get("images") == (images.facts(part) or {}).get(CARRIED):
            urls = sorted_rows(images, part, ["url"])["url"]
            stored = sorted_rows(content, part, content.columns(part))
            seen = _in_order(urls, stored, lambda new: _unseen(new, stored.schema))
            _rewrite(content, part, seen, {**beside, "images": images.info(part).identity})

    def _urls(self, part: int) -> pl.Series:
        """Return the URLs of a part in the order in which they first come; what was taken down has none."""
        pieces = [piece["url"].filter(piece["url"] != "") for piece in self.merged.pieces(part, ["url"])]
        return pl.concat([pl.Series("url", [], pl.String), *pieces]).unique(maintain_order=True)


_BLANK = {"failed": TAKEN_DOWN, "unknown": NOT_YET}
"""What stands in a column that cannot be null where nothing is known."""


class _Stream:
    """The rows of pieces, as many at a time as are asked for."""

    def __init__(self, pieces: Iterator[pl.DataFrame]) -> None:
        self._pieces = pieces
        self._unread: pl.DataFrame | None = None

    def take(self, rows: int) -> list[pl.DataFrame]:
        """Return the next rows."""
        frames: list[pl.DataFrame] = []
        while rows:
            if self._unread is None or self._unread.is_empty():
                self._unread = next(self._pieces)
            frames.append(self._unread[:rows])
            self._unread = self._unread[rows:]
            rows -= len(frames[-1])
        return frames


def _in_order(urls: pl.Series, stored: pl.DataFrame, unknown: Callable[[pl.Series], pl.DataFrame]) -> pl.DataFrame:
    """Return the rows of URLs, in their order: those that are known, and of the others what is said of these."""
    new = urls.filter(~urls.is_in(stored["url"].implode()))
    every = pl.concat([stored, unknown(new).select(stored.columns)], how="vertical") if len(new) else stored
    return urls.to_frame("url").join(every, on="url", how="left", maintain_order="left").select(stored.columns)


def _unseen(urls: pl.Series, schema: pl.Schema) -> pl.DataFrame:
    """Return the rows of `content` of URLs whose images nobody has looked at."""
    absent = {name: pl.lit(None, of) for name, of in schema.items() if name not in ("url", "status")}
    return urls.to_frame("url").with_columns(status=pl.lit("untried"), **absent)


def _rewrite(table: Table[Any], part: int, rows: pl.DataFrame, facts: Mapping[str, Any]) -> None:
    with table.writer(part, facts, rows.columns) as writer:
        for piece in cut([rows]):
            writer.write(piece)
