"""What an engine does: three verbs over functions that know nothing of it.

The functions are the same on every engine, take numbers of parts and yield Arrow-backed batches, and may run
twice (a task tried again, a job run again): what they write appears whole, and always with the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import polars as pl

from align_data.common.hashing import Keys
from align_data.common.progress import Progress, Tick
from align_data.engines.exchange import Counts, Memo, SortedRun

T = TypeVar("T")
U = TypeVar("U")
A = TypeVar("A")
K = TypeVar("K")

Block = tuple[SortedRun, ...]
"""The runs of one stretch of a part's rows."""
Answers = tuple[tuple[Memo, Counts], ...]
"""For each run of a block that has a memo: the memo, and the totals of its keys in the run's order."""


class Each(Protocol):
    """The built-in map, or one that works ahead in threads: so its function must not depend on what is taken."""

    def __call__(self, function: Callable[[T], U], items: Iterable[T], /) -> Iterator[U]:
        """Yield the function's results in the order of the items."""


@dataclass(frozen=True)
class Before:
    """Totals of before, which those of an exchange are added to: sorted already, so that runs are looked up in them."""

    most: Mapping[str, int]
    """Kind of key that there are such totals of → the greatest."""
    range_of: Callable[[str, int, int], Iterator[tuple[Keys, Counts]]]
    """`range_of(kind, number, ranges)` yields the distinct keys of one of so many ranges, ascending, with totals."""

    def of(self, kind: str, number: int, ranges: int) -> Iterator[tuple[Keys, Counts]] | None:
        """Return the totals of one range; None for a kind that has none."""
        return self.range_of(kind, number, ranges) if kind in self.most else None


@dataclass(frozen=True)
class Exchange(Generic[K, T]):
    """Counting over the whole pool: parts ask, ranges of the key keep, parts are answered.

    `ask(part, tick, each)` yields blocks of runs, and may use `each` for its steps; `keep(kind, range, totals)` is
    given one range's keys in ascending order with their totals, slice by slice, and takes all of it; `answer(part,
    answers, tick)` gets a block's answers in the order in which it asked. What is summed between them, the engine sums.
    """

    ask: Callable[[int, Tick, Each], Iterator[Block]]
    keep: Callable[[str, int, Iterator[tuple[Keys, Counts]]], K]
    answer: Callable[[int, Iterator[Answers], Tick], T]
    before: Before | None = None
    """Of the kinds that it has, a key that counts nothing in a run is only looked up."""


@dataclass(frozen=True)
class Shuffle(Generic[U, A, T]):
    """A move of rows: units of input in, parts by a 64-bit key out.

    `prepare(unit, tick)` yields frames with the columns `key` and `tie`, both of UInt64 without nulls, and any others,
    of one schema; it returns the unit's account. `merge(frame)` sorts some rows by key and tie,
    then by what else tells them apart, and may make one row of several with equal key and tie; it is applied again and
    again, to rows in any order. `split(accounts)` returns the keys at which the
    parts begin, after the first; `write(part, frames, tick)` is given a part's rows merged, in frames that ascend.
    A frame ends between two keys, or where one key has many rows between two ties: rows with both equal come together.
    """

    prepare: Callable[[U, Tick], Generator[pl.DataFrame, None, A]]
    merge: Callable[[pl.DataFrame], pl.DataFrame]
    split: Callable[[Sequence[A]], Sequence[int]]
    write: Callable[[int, Iterator[pl.DataFrame], Tick], T]
    rows: int | None = None
    """How many rows all units have; None where only reading tells."""
    foreseen: Sequence[int] | None = None
    """What `split` will return, as far as that can be told before reading; None where it cannot. An engine that cannot
    hold the rows until all accounts are known may send them by it, and must see in the end whether it was right."""
    is_certain: bool = False
    """Whether `split` returns what is foreseen, whatever the accounts say."""
    key: str = "url_key"
    """The column whose ranges are the parts."""
    tie: str = "pair_key"
    """The column that orders, and divides, the rows of one key."""
    title: str = "ingest"
    """What the progress bar calls the move."""
    unit: str = "pairs"
    """What it calls a row that is written."""


class Engine(Protocol):
    """Where the work is done."""

    @property
    def flush(self) -> int:
        """How many keys a task may hold before it hands them on."""

    def map_parts(
        self, title: str, function: Callable[[int, Tick], T], rows: Sequence[int], progress: Progress, unit: str = ...
    ) -> list[T]:
        """Call `function` for every part, 0 to len(rows) - 1; `rows` are the parts' sizes, the results in order."""

    def share(self, tasks: int) -> int:
        """Return how many bytes each of `tasks` tasks may hold."""

    def children(self, parts: int) -> int:
        """Return how many child processes each task may start for this number of parts."""

    def at_once(self, parts: int) -> int:
        """Return how many of `parts` tasks run at once on one machine, as far as the engine knows."""

    @property
    def spread(self) -> bool:
        """Whether tasks may run on several machines."""

    def exchange(
        self, exchange: Exchange[K, T], rows: Sequence[int], ranges: Mapping[str, int], progress: Progress
    ) -> tuple[dict[str, list[K]], list[T]]:
        """Run an exchange with so many `ranges` of each kind of key; return what `keep` and `answer` returned."""

    def shuffle(self, shuffle: Shuffle[U, A, T], units: Sequence[U], progress: Progress) -> tuple[list[A], list[T]]:
        """Run a shuffle; return the accounts of the units and what `write` returned."""
