"""A pool held in memory, part by part: the codes of its masks, and the columns that rules compare."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.progress import Progress, Tick
from align_data.data import first_of
from align_data.data.derived import planned_columns
from align_data.data.grouping import MEMBER, GroupedPool
from align_data.data.layout import Dataset
from align_data.data.ledger import Ledger
from align_data.data.pool import choosing, measured_by
from align_data.engines.base import Engine
from align_data.recipes.plan import Plan, PlannedRule
from align_data.recipes.scores import RANK
from align_data.stages.audit.leaf_tally import leaf_tally
from align_data.stages.audit.leaves import Comparison
from align_data.stages.audit.mask_codes import Populations
from align_data.stages.audit.roles import FAIL, PASS, UNKNOWN, Verdicts

T = TypeVar("T")
A = TypeVar("A")
THREADS = 2
VERDICTS, COLUMNS, RANKS = 24, 24, 4
"""Verdicts of rules that are kept, a byte a pair each, columns of tests' counts, two bytes each, and ranks, four."""
Code = NDArray[np.generic]
Member = NDArray[np.bool_]


@dataclass(frozen=True)
class Ranked:
    """The ranks of a rule of first_of."""

    parts: Sequence[pl.Series]
    """Of each pair that is held, part by part; null in no group."""
    sizes: list[list[int]]
    """Each size that groups have, and how many have it."""


class Recent(Generic[A]):
    """The last few of what was computed, by what it follows from."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._values: OrderedDict[str, A] = OrderedDict()

    def get(self, key: str, compute: Callable[[], A]) -> A:
        """Return what is remembered, or else computed now; two threads may compute the same at once."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        values = compute()
        with self._lock:
            self._values[key] = values
            while len(self._values) > self._most:
                self._values.popitem(last=False)
        return values


class Held:
    """The parts of a pool that are held. A column costs its width times the pairs, a code one to four bytes a pair."""

    def __init__(
        self, dataset: Dataset, ledger: Ledger, parts: Sequence[int], engine: Engine, progress: Progress
    ) -> None:
        self.parts = list(parts)
        self.populations = Populations(ledger.masks)
        self._dataset, self._engine, self._progress = dataset, engine, progress
        self._lock = threading.Lock()
        self._columns: dict[str, list[pl.Series]] = {}
        self._coded: dict[str, list[str]] = {}
        self._verdicts = Recent[list[Verdicts]](VERDICTS)
        self._counted_in = Recent[list[Code]](COLUMNS)
        self._ranks = Recent[Ranked](RANKS)
        self._grouped: dict[str, GroupedPool] = {}
        width = np.min_scalar_type(max(1, len(self.populations) - 1))

        def codes(part: int, tick: Tick) -> Code:
            pieces = dataset.ledger(ledger.name).pieces(part, ["failed", "unknown"])
            parts_codes = []
            for piece in pieces:
                parts_codes.append(self.populations.codes(piece).astype(width))
                tick(len(piece))
            return np.concatenate(parts_codes) if parts_codes else np.empty(0, width)

        self.codes: list[Code] = self._over_parts("verdicts", codes)
        self.pairs = sum(map(len, self.codes))
        self.whole = len(self.parts) == len(dataset.ingested().parts)
        """Whether these are all parts of the pool."""

    def each(self, work: Callable[[int], T]) -> list[T]:
        """Return what `work` makes of each part, by its place among those that are held."""
        with ThreadPoolExecutor(THREADS) as threads:
            return list(threads.map(work, range(len(self.parts))))

    def load(self, plan: Plan, names: Iterable[str]) -> None:
        """Read columns that are not held yet: signals, and what a plan derives of them; ranks are held apart."""
        with self._lock:
            missing = [name for name in dict.fromkeys(names) if name not in self._columns and not _ranks(plan, name)]
            if missing:
                self._read(plan, missing)
            classes = {test.by.name for rule in plan.rules for test in rule.tests if test.by is not None}
            for name in classes.intersection(self._columns).difference(self._coded):
                self._code(name)

    def _read(self, plan: Plan, names: Sequence[str]) -> None:
        def read(part: int, tick: Tick) -> pl.DataFrame:
            frames = []
            for piece in planned_columns(self._dataset, plan, part, [], names):
                frames.append(piece)
                tick(len(piece))
            return pl.concat(frames, rechunk=True) if frames else pl.DataFrame(schema=names)

        frames = self._over_parts(", ".join(names), read)
        for name in names:
            self._columns[name] = [frame[name] for frame in frames]

    def _code(self, name: str) -> None:
        """Hold a column of classes as codes, if it is text: what is looked up by a code is not compared as text."""
        columns = self._columns[name]
        if columns and all(column.dtype == pl.String for column in columns):
            texts = pl.concat([column.unique() for column in columns]).drop_nulls().unique().sort()
            coded = pl.Enum(texts)
            self._columns[name] = self.each(lambda place: columns[place].cast(coded))
            self._coded[name] = texts.to_list()

    def frame(self, plan: Plan, place: int, names: Iterable[str]) -> pl.DataFrame:
        """Return columns of one part, which are held."""
        return pl.DataFrame({name: self._column(plan, name)[place] for name in dict.fromkeys(names)})

    def _column(self, plan: Plan, name: str) -> Sequence[pl.Series]:
        if (table_name := _ranks(plan, name)) is not None:
            return self.ranked(plan, name.removeprefix(RANK), table_name).parts
        return self._columns[name]

    def ranked(self, plan: Plan, name: str, table_name: str) -> Ranked:
        """Return the ranks of a rule as their table has them, or would have them: then all parts are held."""
        return self._ranks.get(table_name, lambda: self._stored(table_name) or self._ranked(plan, name))

    def _stored(self, table_name: str) -> Ranked | None:
        """Return the ranks that a table has; None where there is no such table."""
        manifest, table = first_of.stored(self._dataset, table_name), self._dataset.ranks(table_name)
        if manifest is None:
            return None

        def read(part: int, tick: Tick) -> pl.Series:
            ranks = [pl.Series("rank", [], pl.Int32)]
            for piece in table.pieces(part, ["rank"]):
                ranks.append(piece["rank"].cast(pl.Int32))
                tick(len(piece))
            return pl.concat(ranks, rechunk=True)

        return Ranked(self._over_parts("ranks", read), manifest.meta.sizes)

    def _ranked(self, plan: Plan, name: str) -> Ranked:
        among = self.among(plan, choosing(plan, plan.rule(name)))
        ranks, sizes = self._grouping(plan, name).ranks(np.concatenate(among) if among else np.ones(0, np.bool_))
        starts = np.cumsum([0, *map(len, among)])
        column = pl.Series("rank", ranks)
        column = column.set(column == 0, None)
        return Ranked([column[start : start + len(of)] for start, of in zip(starts, among, strict=False)], sizes)

    def _grouping(self, plan: Plan, name: str) -> GroupedPool:
        """Return the pairs in the groups of a rule: they hang on no threshold."""
        with self._lock:
            if name not in self._grouped:
                self._grouped[name] = self._put_together(plan, name)
            return self._grouped[name]

    def _put_together(self, plan: Plan, name: str) -> GroupedPool:
        grouping = first_of.grouping(plan.rule(name))
        candidates = first_of.candidates(self._dataset, plan, name, ())
        starts = dict(zip(self.parts, np.cumsum([0, *map(len, self.codes)]).tolist(), strict=False))

        def keyed(part: int, tick: Tick) -> list[pl.DataFrame]:
            frames, start = [], starts[part]
            for piece in candidates.pieces(part, tick):
                frames.append(grouping.keyed(piece, start).drop(MEMBER))
                start += len(piece)
            return frames

        frames = [frame for of_part in self._over_parts(f"groups of {name}", keyed) for frame in of_part]
        return GroupedPool(grouping, frames, self.pairs)

    def among(self, plan: Plan, rules: Iterable[PlannedRule]) -> list[Member]:
        """Return which pairs none of these rules drops, part by part."""
        known = frozenset(plan.known(measured_by(self._dataset, plan)))
        failing = [self.verdicts(plan, rule, known) for rule in rules]

        def members(place: int) -> Member:
            member = np.ones(len(self.codes[place]), np.bool_)
            for verdicts in failing:
                member &= verdicts[place] != FAIL
            return member

        return self.each(members)

    def verdicts(self, plan: Plan, rule: PlannedRule, known: frozenset[str]) -> list[Verdicts]:
        """Return what a rule decides of each pair, part by part; its columns are read where they are not held."""
        columns = frozenset(rule.columns) & known
        self.load(plan, sorted(columns))
        key = f"{rule.planned} {sorted(columns)} {_ranks(plan, *columns)}"
        verdict = rule.verdict(columns, self._coded)
        number = pl.when(verdict.is_null()).then(UNKNOWN).when(verdict).then(PASS).otherwise(FAIL).cast(pl.Int8)

        def decide(place: int) -> Verdicts:
            if not columns:
                return np.full(len(self.codes[place]), UNKNOWN, np.int8)
            decided: Verdicts = self.frame(plan, place, columns).select(number.alias("verdict"))["verdict"].to_numpy()
            return decided

        return self._verdicts.get(key, lambda: self.each(decide))

    def counted_in(self, plan: Plan, leaf: Comparison) -> list[Code]:
        """Return the column of a test's counts that each pair is counted in, part by part, its columns being held.

        It hangs on the pair's value alone: where other rules are moved it stays.
        """

        def columns(place: int) -> Code:
            frame, tally = self.frame(plan, place, leaf.whole.columns), leaf_tally(leaf)
            found: Code = tally.columns(frame[leaf.test.signal], len(frame), leaf.matches(frame))
            return found.astype(np.min_scalar_type(tally.counts.shape[1]))

        ranks = _ranks(plan, *leaf.whole.columns)
        return self._counted_in.get(f"{leaf.whole} {leaf.of_class} {ranks}", lambda: self.each(columns))

    def _over_parts(self, what: str, work: Callable[[int, Tick], Any]) -> list[Any]:
        infos = self._dataset.ingested().parts
        return self._engine.map_parts(
            f"what if: {what}",
            lambda number, tick: work(self.parts[number], tick),
            [infos[part].rows for part in self.parts],
            self._progress,
        )


def _ranks(plan: Plan, *columns: str) -> str | None:
    """Return the name of the table of the ranks that a rule of first_of compares; None of any other columns."""
    if len(columns) != 1 or not columns[0].startswith(RANK):
        return None
    first = plan.firsts.get(columns[0].removeprefix(RANK))
    return None if first is None else first.ranks
