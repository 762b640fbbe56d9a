"""The corpus signals: what a part asks, what a range keeps, what a part makes of the answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.hashing import Keys
from align_data.common.progress import Tick
from align_data.data.batches import FIRST_BATCH
from align_data.data.layout import Dataset
from align_data.data.meta import CountsMeta, PairsMeta
from align_data.engines.base import Answers, Block
from align_data.engines.exchange import Counts, Memo, Places, SortedRun, count, merge, place
from align_data.signals import Piece
from align_data.signals.base import PoolCount
from align_data.signals.corpus import folded_keys, ngram_keys, text_keys
from align_data.stages.measure.group import SignalGroup
from align_data.stages.measure.images import texts_per_image
from align_data.storage.tables import Manifest, PartInfo, cut

COUNTS_ROWS = 1_000_000
"""Keys in a row group of a counts table."""

COLUMNS = {"texts": ("alt_text",), "rows": ("alt_text", "copies"), "folded": ("alt_text",), "ngrams": ("alt_text",)}
"""What of `pairs` each kind of key is made of."""
WITHOUT_TABLE = ("rows", "folded")
"""The kinds of which nobody asks what their totals say of the pool."""


@dataclass(frozen=True)
class Ranges:
    """How many pairs of the pool make one range of each kind of key; a range is counted in one task."""

    ngrams: int = 2_000_000
    texts: int = 4_000_000
    """Of the kinds "rows" and "folded" too: their keys are the same, or of texts too."""

    def of(self, kinds: Sequence[str], pairs: int) -> dict[str, int]:
        """Return the number of ranges of each kind."""
        return {kind: max(1, -(-pairs // (self.ngrams if kind == "ngrams" else self.texts))) for kind in kinds}


class _Stack:
    """Keys of the pieces of a block, each piece's sorted, and where every occurrence went."""

    def __init__(self) -> None:
        self._runs: list[tuple[Keys, Counts]] = []
        self._places: list[Places] = []

    def add(self, distinct: Keys, counts: Counts, places: Places) -> None:
        """Add one piece's distinct keys with their counts, and where each of its keys is among them."""
        self._runs.append((distinct, counts))
        self._places.append(places)

    def run(self, kind: str, *memo: NDArray[Any]) -> SortedRun:
        """Return all as one run; its memo begins with every occurrence's place in it."""
        if len(self._runs) == 1:
            return SortedRun(kind, *self._runs[0], (self._places[0], *memo))
        slices = list(merge(self._runs))
        keys, counts = joined((s.keys, s.totals) for s in slices)
        # A key's place in the run is its place in its slice, behind the slices before it.
        before = np.cumsum([0, *(len(s.keys) for s in slices)], dtype=np.int32)
        moved = [
            np.concatenate([s.places[i] + base for s, base in zip(slices, before, strict=False)] or [_NOWHERE])
            for i in range(len(self._runs))
        ]
        places = [to[of] for to, of in zip(moved, self._places, strict=True)]
        return SortedRun(kind, keys, counts, (np.concatenate(places), *memo))


_NOWHERE: Places = np.empty(0, np.int32)


def merged(runs: Sequence[tuple[Keys, Counts]]) -> tuple[Keys, Counts]:
    """Merge runs into one."""
    return runs[0] if len(runs) == 1 else joined((s.keys, s.totals) for s in merge(runs))


def joined(slices: Iterable[tuple[Keys, Counts]]) -> tuple[Keys, Counts]:
    """Put slices of keys and totals one behind the other."""
    runs = [(_NOWHERE.astype(np.int64),) * 2, *slices]
    return np.concatenate([keys for keys, _ in runs]), np.concatenate([counts for _, counts in runs])


def weighted(counts: Counts, places: Places, copies: Counts) -> Counts:
    """Return the counts of keys at `places`, each occurrence counted as often as it has copies."""
    counts = counts.copy()
    repeated = np.flatnonzero(copies > 1)  # few: merging is rare
    np.add.at(counts, places[repeated], copies[repeated] - 1)
    return counts


def only_counted(run: tuple[Keys, Counts, Places], counts: NDArray[np.bool_] | None) -> tuple[Keys, Counts, Places]:
    """Return a run of which only some occurrences count, and all are looked up; None for all."""
    distinct, of_all, places = run
    return run if counts is None else (distinct, of_all - np.bincount(places[~counts], minlength=len(of_all)), places)


class PieceKeys(NamedTuple):
    """The keys of a piece, sorted."""

    rows: int
    texts: dict[str, tuple[Keys, Counts, Places]]
    """For each kind of key of texts: the distinct ones, their counts, and each row's place among them."""
    counted: tuple[Keys, Counts] | None
    """The n-grams that are only counted."""
    queries: tuple[Keys, Counts, Places] | None
    """The n-grams that are looked up too, and each one's place."""
    lengths: NDArray[np.int32] | None
    """How many of these each row has."""
    entries: dict[str, tuple[tuple[Keys, Counts, Places], Memo]]
    """For each list whose entries are counted: the rows' entries, as `queries`; how many a row has, and the draws."""


_NONE: Mapping[str, Sequence[str]] = MappingProxyType({})


class Asking:
    """Gathers the keys of pieces until they are many enough for a block, which has their runs in the kinds' order.

    Where there are tombstones, the empty texts that stand for the texts of pairs taken down do not count. Of a kind
    that was counted before, only the pairs of the batches that were added since count.
    """

    def __init__(
        self, kinds: Sequence[str], flush: int, tombstones: bool = False, since: Mapping[str, Sequence[str]] = _NONE
    ) -> None:
        self.kinds = kinds
        self._tombstones = tombstones
        self._since = since
        self._flush = flush
        self._clear()

    def _clear(self) -> None:
        self.rows = self._held = 0
        self._stacks = {kind: _Stack() for kind in self.kinds}
        self._counted: list[tuple[Keys, Counts]] = []
        self._memos: dict[str, list[Memo]] = {kind: [] for kind in self.kinds}

    @property
    def columns(self) -> set[str]:
        """The columns of `pairs` that it reads."""
        columns = {column for kind in self.kinds for column in COLUMNS.get(kind, ("uid", "alt_text"))}
        return columns | ({"url"} if self._tombstones else set()) | ({FIRST_BATCH} if self._since else set())

    @property
    def lists(self) -> list[str]:
        """The kinds that are entries of a list."""
        return [kind for kind in self.kinds if kind not in COLUMNS]

    def keys(self, piece: Piece) -> PieceKeys:
        """Return the keys of one piece; it changes nothing here."""
        texts = self._texts(piece) if set(self.kinds) - {"ngrams", *self.lists} else {}
        entries = {kind: _entries(piece, kind) for kind in self.lists}
        if "ngrams" not in self.kinds:
            return PieceKeys(len(piece.frame), texts, None, None, None, entries)
        counted, queries, lengths = ngram_keys(piece)
        placed, new = place(queries), self._new(piece, "ngrams")
        if new is not None:
            placed = only_counted(placed, np.repeat(new, lengths))
            counted = ngram_keys(Piece(piece.frame.filter(pl.Series(new))))[0]
        return PieceKeys(len(piece.frame), texts, count(counted), placed, lengths, entries)

    def _new(self, piece: Piece, kind: str) -> NDArray[np.bool_] | None:
        """Tell which pairs a kind has not counted; None for all."""
        batches = self._since.get(kind)
        return None if batches is None else piece.frame[FIRST_BATCH].is_in(list(batches)).to_numpy()

    def _texts(self, piece: Piece) -> dict[str, tuple[Keys, Counts, Places]]:
        alive = (piece.frame["url"] != "").to_numpy() if self._tombstones else None
        runs = {}
        if "folded" in self.kinds:
            runs["folded"] = only_counted(place(folded_keys(piece)), alive)
        if {"texts", "rows"} & set(self.kinds):
            placed = place(text_keys(piece))
            new = self._new(piece, "texts")
            runs["texts"] = only_counted(placed, alive if new is None else new if alive is None else new & alive)
            if "rows" in self.kinds:
                distinct, counts, places = only_counted(placed, alive)
                copies = piece.frame["copies"].to_numpy()
                copies = copies if alive is None else np.where(alive, copies, 1)
                runs["rows"] = distinct, weighted(counts, places, copies), places
        return {kind: runs[kind] for kind in self.kinds if kind in runs}

    def add(self, keys: PieceKeys) -> None:
        """Add one piece's keys."""
        self.rows += keys.rows
        runs = dict(keys.texts)
        if keys.counted is not None and keys.queries is not None and keys.lengths is not None:
            runs["ngrams"] = keys.queries
            self._held += int(keys.counted[1].sum())
            self._counted.append(keys.counted)
            self._memos["ngrams"].append((keys.lengths,))
        for kind, (run, memo) in keys.entries.items():
            runs[kind] = run
            self._memos[kind].append(memo)
        for kind, run in runs.items():
            self._held += len(run[2])
            self._stacks[kind].add(*run)

    @property
    def full(self) -> bool:
        """Whether a block should be made now."""
        return self._held >= self._flush

    def block(self) -> Block:
        """Return what was gathered, and begin anew."""
        runs = []
        for kind, stack in self._stacks.items():
            if kind == "ngrams":
                runs.append(SortedRun(kind, *merged(self._counted)))
            runs.append(stack.run(kind, *map(np.concatenate, zip(*self._memos[kind], strict=True))))
        self._clear()
        return tuple(runs)


def _entries(piece: Piece, kind: str) -> tuple[tuple[Keys, Counts, Places], Memo]:
    """Return the entries of a list that the texts of a piece have, with what `balance` needs of them."""
    entries, lengths, draws = piece.lists[kind.partition(".")[2]].draws(piece)
    return place(entries.view(np.int64)), (lengths, draws)


Classes = dict[int, int]
"""A count → how many keys have it."""


Kept = tuple[PartInfo, Classes] | None
"""A range of a counts table, with its counts of counts; None for a kind that has no table."""


def classes_of(counts: Counts) -> Iterator[tuple[int, int]]:
    """Yield how many keys have each count: the many small ones without sorting."""
    frequencies = np.bincount(np.minimum(counts, _SMALL))
    large, times = np.unique(counts[counts >= _SMALL], return_counts=True)
    small = np.flatnonzero(frequencies[:_SMALL])
    yield from zip(small.tolist(), frequencies[small].tolist(), strict=True)
    yield from zip(large.tolist(), times.tolist(), strict=True)


_SMALL = 4096


def keep(dataset: Dataset, kind: str, number: int, totals: Iterator[tuple[Keys, Counts]]) -> Kept:
    """Write one range of a counts table."""
    if kind in WITHOUT_TABLE:
        for _ in totals:
            pass
        return None
    classes: Classes = {}

    def frames() -> Iterator[pl.DataFrame]:
        for keys, counts in totals:
            if not counts.all():  # the empty text, where only tombstones have it
                keys, counts = keys[counts > 0], counts[counts > 0]  # noqa: PLW2901
            for value, times in classes_of(counts):
                classes[value] = classes.get(value, 0) + times
            yield pl.DataFrame({"key": keys, "count": counts})

    with dataset.counts(kind).writer(number, {}) as writer:
        for frame in cut(frames(), COUNTS_ROWS):
            writer.write(frame)
    assert writer.info is not None
    return writer.info, classes


def commit_counts(dataset: Dataset, pairs: Manifest[PairsMeta], ranges_of: Mapping[str, Sequence[Kept]]) -> None:
    """Commit the counts tables, and write their counts of counts."""
    for kind, of_kind in ranges_of.items():
        ranges = [written for written in of_kind if written is not None]
        if not ranges:
            continue
        classes: Classes = {}
        for _, frequencies in ranges:
            for value, times in frequencies.items():
                classes[value] = classes.get(value, 0) + times
        table = dataset.classes(kind)
        with table.writer(0, {}) as writer:
            values = sorted(classes)
            writer.write(pl.DataFrame({"count": values, "keys": [classes[v] for v in values]}, _CLASSES))
        assert writer.info is not None
        meta = CountsMeta(pairs=pairs.fingerprint)
        dataset.counts(kind).commit([info for info, _ in ranges], meta)
        table.commit([writer.info], meta)


_CLASSES = {"count": pl.Int64, "keys": pl.Int64}


def answer(
    groups: Sequence[SignalGroup], kinds: Sequence[str], part: int, answers: Iterator[Answers], tick: Tick
) -> None:
    """Write the corpus signals of one part."""
    looks = [look for group in groups if not (look := group.part(part)).finished]
    if not looks:
        return
    absent = [signal for look in looks for signal in look.absent]
    counted = {signal.name: signal.counted for signal in absent if signal.counted is not None}
    by_url = [name for name, of in counted.items() if of.keys == "urls"]
    pairs = looks[0].group.source
    images = texts_per_image(pairs, part) if by_url else None
    block: dict[str, NDArray[Any]] = {}
    with ExitStack() as stack:
        writers = [stack.enter_context(look.writer()) for look in looks]
        for number, rows in enumerate(pairs.piece_rows(part)):
            if not block or not len(next(iter(block.values()))):
                block = _columns(counted, dict(zip(kinds, next(answers, ()), strict=False)))
            series = {name: pl.Series(name, column[:rows]) for name, column in block.items()}
            block = {name: column[rows:] for name, column in block.items()}
            if images is not None:
                values = images.take(rows)
                series |= {name: pl.Series(name, values) for name in by_url}
            for look, writer in zip(looks, writers, strict=True):
                writer.write(look.joined(number, [series[signal.name] for signal in look.absent]))
            tick(rows)


def _columns(counted: Mapping[str, PoolCount], block: Mapping[str, tuple[Memo, Counts]]) -> dict[str, NDArray[Any]]:
    """Return the counted columns of a block from its answers by kind."""
    columns = {}
    for name, of in counted.items():
        if of.keys == "urls":
            continue
        (places, *memo), totals = block[of.keys if of.keys in block else "texts"]
        values = totals[places].astype(np.int64)
        columns[name] = values if of.reduce is None else of.reduce(values, *memo)
    return columns
