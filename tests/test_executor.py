"""The Spark engine's tasks without Spark: routed by hand, in any order, against the local engine."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from conftest import EVERY_RULE, rows, tree, write_list
from hypothesis import given, settings
from hypothesis import strategies as st

from align_data.common.progress import Silent, ignore
from align_data.data.layout import Dataset
from align_data.engines.base import Shuffle
from align_data.engines.executor import SCHEMA, Counting, Message, Moved, Moving, batches, messages, pack, unpack
from align_data.engines.local import LocalEngine
from align_data.recipes.reading import parse
from align_data.stages.ingest import Parts, ingest
from align_data.stages.measure import Ranges, measure
from align_data.stages.pipeline import Decision, decide_ledger
from align_data.storage.store import Store


class ByHand:
    """An engine that sends messages through Arrow batches, shuffles them, and runs every task twice."""

    def __init__(self, seed: int, memory: int) -> None:
        self.memory = memory
        self.flush = max(1, memory // 64)
        self._chance = random.Random(seed)

    def _routed(self, sent: Iterable[Message], tasks: int) -> list[list[Message]]:
        inboxes: list[list[Message]] = [[] for _ in range(tasks)]
        for one in messages(batches(sent)):
            inboxes[one.to].append(one)
        for inbox in inboxes:
            self._chance.shuffle(inbox)
        return inboxes

    def _twice(self, call: Any) -> list[Message]:
        first, second = list(call()), list(call())  # a task tried again
        assert [m[:2] for m in first] == [m[:2] for m in second]
        return second

    def map_parts(
        self, title: str, function: Any, rows: Sequence[int], progress: Any, unit: str = "pairs"
    ) -> list[Any]:
        return [function(part, ignore) for part in range(len(rows)) for _ in range(2)][1::2]

    def exchange(self, exchange: Any, rows: Sequence[int], ranges: Any, progress: Any) -> Any:
        c = Counting(exchange, len(rows), ranges, self.memory)
        asked = self._routed([m for p in range(len(rows)) for m in self._twice(lambda p=p: c.ask(p))], len(c.tasks))
        counted = [m for i, inbox in enumerate(asked) for m in self._twice(lambda i=i, inbox=inbox: c.count(i, inbox))]
        told = self._routed(counted, len(rows) + 1)
        done = [m for i, inbox in enumerate(told) for m in self._twice(lambda i=i, inbox=inbox: c.answer(i, inbox))]
        found = {m.place: pickle.loads(m.keys) for m in done}
        kept = {kind: [found[1, i] for i, (k, _) in enumerate(c.tasks) if k == kind] for kind in ranges}
        return kept, [found[0, part] for part in range(len(rows))]

    def share(self, tasks: int) -> int:
        return self.memory

    def shuffle(self, shuffle: Any, units: Sequence[Any], progress: Any) -> Any:
        moving = Moving(shuffle, units, self.memory)
        accounts = [moving.account(unit) for unit in range(len(units))]
        starts = shuffle.split(accounts)
        # Rows that were sent to other parts than the accounts tell are not written.
        if not shuffle.is_certain:
            guess = self._chance.choice([[*starts, 2**64 - 1], [2**63 + 1]])
            sent = self._moved(moving, guess, tell=True)
            assert all(part.misplaced and part.accounts == accounts for part in sent)
        moved = self._moved(moving, starts, tell=self._chance.random() < 0.5)
        assert not any(part.misplaced for part in moved)
        return accounts, [part.written for part in moved]

    def _moved(self, moving: Moving, starts: Sequence[int], tell: bool) -> list[Moved]:
        edges = [0, *starts, 2**64]
        units = range(len(moving.units))
        sent = [m for unit in units for m in self._twice(lambda unit=unit: moving.send(unit, edges, tell=tell))]
        return [moving.write(part, inbox, edges) for part, inbox in enumerate(self._routed(sent, len(edges) - 1))]


@given(
    rows(max_size=60),
    st.integers(1, 4),
    st.sampled_from([1, 7, 1_000]),
    st.sampled_from([1_000, 2**29]),
    st.integers(0, 9),
)
@settings(max_examples=15)
def test_messages_in_any_order_and_tasks_tried_twice_give_the_local_engines_files(
    tmp_path_factory: Any, found: list[dict[str, Any]], files: int, part_rows: int, memory: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("pool")
    inputs = write_list(folder / "lists", found, files)
    parts, ranges = Parts(rows=part_rows), Ranges(ngrams=10, texts=30)
    for name, engine in {"local": LocalEngine(folder / "work"), "hand": ByHand(seed, memory)}.items():
        dataset = Dataset(Store(folder / name))
        ingest(inputs, dataset, engine, Silent(), parts=parts)
        measure(dataset, engine, Silent(), ranges=ranges)
        decide_ledger(Decision(parse(EVERY_RULE, "every.yaml")), dataset, engine, Silent())
    assert tree(folder / "hand") == tree(folder / "local")


@given(st.lists(st.tuples(st.integers(0, 9), st.lists(st.integers(-9, 9)), st.binary(), st.binary())))
def test_messages_survive_batches(sent: list[tuple[int, list[int], bytes, bytes]]) -> None:
    given_ = [Message(to, tuple(place), keys, values) for to, place, keys, values in sent]
    assert list(messages(batches(given_))) == given_
    assert all(batch.schema == SCHEMA and isinstance(batch, pa.RecordBatch) for batch in batches(given_))


@given(st.sampled_from(["<i8", "<u1", "<u2", "<i4"]), st.lists(st.integers(0, 99)))
def test_packed_arrays_come_back(dtype: str, values: list[int]) -> None:
    array = np.array(values, dtype)
    assert unpack(pack(array)).dtype == array.dtype
    assert unpack(pack(array)).tolist() == values


KEYS = st.sampled_from([0, 1, 2, 3, 2**63 - 1, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)
MOVED = st.fixed_dictionaries(
    {"cell": KEYS, "tie": KEYS, "vector": st.lists(st.integers(-9, 9), min_size=2, max_size=2)}
)


@given(
    st.lists(st.lists(st.lists(MOVED, max_size=9), max_size=3), max_size=4),
    st.sets(st.integers(1, 2**64 - 1), max_size=4),
    st.booleans(),
    st.sampled_from([1_000, 2**29]),
    st.integers(0, 9),
)
@settings(max_examples=30)
def test_rows_move_by_any_key_and_rows_of_one_key_and_tie_come_together(
    tmp_path_factory: Any,
    units: list[list[list[dict[str, Any]]]],
    edges: set[int],
    certain: bool,
    memory: int,
    seed: int,
) -> None:
    schema = pl.Schema({"cell": pl.UInt64, "tie": pl.UInt64, "vector": pl.Array(pl.Float32, 2)})
    starts = sorted(edges)

    def prepare(unit: int, tick: Any) -> Any:
        for piece in units[unit]:
            yield pl.DataFrame(piece, schema)
        return sum(map(len, units[unit]))

    def write(part: int, frames: Any, tick: Any) -> list[list[dict[str, Any]]]:
        return [rows.to_dicts() for rows in frames]

    shuffle: Any = Shuffle(
        prepare,
        lambda rows: rows.sort("cell", "tie", pl.col("vector").arr.first(), pl.col("vector").arr.last()),
        lambda accounts: starts,
        write,
        foreseen=starts,
        is_certain=certain,
        key="cell",
        tie="tie",
    )
    truth = sorted((row["cell"], row["tie"], row["vector"]) for unit in units for piece in unit for row in piece)
    work = tmp_path_factory.mktemp("work")
    moved = ByHand(seed, memory)._moved(Moving(shuffle, range(len(units)), memory), starts, tell=True)
    assert all(list(part.accounts) == [] for part in moved[1:]) or not certain
    accounts, local = LocalEngine(work, 1, memory).shuffle(shuffle, range(len(units)), Silent())
    assert moved[0].accounts == accounts == [sum(map(len, unit)) for unit in units]
    for parts in (local, [part.written for part in moved]):
        assert [tuple(row.values()) for part in parts for rows in part for row in rows] == truth
        ends = [(rows[-1], after[0]) for part in parts for rows, after in pairwise(part)]
        assert not any((a["cell"], a["tie"]) == (b["cell"], b["tie"]) for a, b in ends)
        for part, (start, stop) in zip(parts, pairwise([0, *starts, 2**64]), strict=True):
            assert all(start <= row["cell"] < stop for rows in part for row in rows)
