"""A pool held in memory, part by part: the codes of its masks, and the columns that rules compare."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.progress import Progress, Tick
from align_data.data.derived import planned_columns
from align_data.data.layout import Dataset
from align_data.data.ledger import Ledger
from align_data.engines.base import Engine
from align_data.recipes.plan import Plan, PlannedRule
from align_data.stages.audit.leaf_tally import leaf_tally
from align_data.stages.audit.leaves import Comparison
from align_data.stages.audit.mask_codes import Populations
from align_data.stages.audit.roles import FAIL, PASS, UNKNOWN, Verdicts

T = TypeVar("T")
A = TypeVar("A")
THREADS = 2
VERDICTS, COLUMNS = 24, 24
"""Verdicts of rules that are kept, a byte a pair each, and columns of tests' counts, two bytes a pair each."""
Code = NDArray[np.generic]


class Recent(Generic[A]):
    """The last few of what was computed for each part, by what it follows from."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._values: OrderedDict[str, list[A]] = OrderedDict()

    def get(self, key: str, compute: Callable[[], list[A]]) -> list[A]:
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
        self._verdicts = Recent[Verdicts](VERDICTS)
        self._counted_in = Recent[Code](COLUMNS)
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

    def each(self, work: Callable[[int], T]) -> list[T]:
        """Return what `work` makes of each part, by its place among those that are held."""
        with ThreadPoolExecutor(THREADS) as threads:
            return list(threads.map(work, range(len(self.parts))))

    def load(self, plan: Plan, names: Iterable[str]) -> None:
        """Read columns that are not held yet: signals, and what a plan derives of them."""
        with self._lock:
            missing = [name for name in dict.fromkeys(names) if name not in self._columns]
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

    def frame(self, place: int, names: Iterable[str]) -> pl.DataFrame:
        """Return columns of one part, which are held."""
        return pl.DataFrame({name: self._columns[name][place] for name in dict.fromkeys(names)})

    def verdicts(self, plan: Plan, rule: PlannedRule, known: frozenset[str]) -> list[Verdicts]:
        """Return what a rule decides of each pair, part by part; its columns are read where they are not held."""
        columns = frozenset(rule.columns) & known
        self.load(plan, sorted(columns))
        key = f"{rule.planned} {sorted(columns)}"
        verdict = rule.verdict(columns, self._coded)
        number = pl.when(verdict.is_null()).then(UNKNOWN).when(verdict).then(PASS).otherwise(FAIL).cast(pl.Int8)

        def decide(place: int) -> Verdicts:
            if not columns:
                return np.full(len(self.codes[place]), UNKNOWN, np.int8)
            decided: Verdicts = self.frame(place, columns).select(number.alias("verdict"))["verdict"].to_numpy()
            return decided

        return self._verdicts.get(key, lambda: self.each(decide))

    def counted_in(self, leaf: Comparison) -> list[Code]:
        """Return the column of a test's counts that each pair is counted in, part by part, its columns being held.

        It hangs on the pair's value alone: where other rules are moved it stays.
        """

        def columns(place: int) -> Code:
            frame, tally = self.frame(place, leaf.whole.columns), leaf_tally(leaf)
            found: Code = tally.columns(frame[leaf.test.signal], len(frame), leaf.matches(frame))
            return found.astype(np.min_scalar_type(tally.counts.shape[1]))

        return self._counted_in.get(f"{leaf.whole} {leaf.of_class}", lambda: self.each(columns))

    def _over_parts(self, what: str, work: Callable[[int, Tick], Any]) -> list[Any]:
        infos = self._dataset.ingested().parts
        return self._engine.map_parts(
            f"what if: {what}",
            lambda number, tick: work(self.parts[number], tick),
            [infos[part].rows for part in self.parts],
            self._progress,
        )
