"""What a task of the Spark engine does on an executor: messages in, messages out. Nothing here knows Spark.

A message is a row: `to`, the task of the next step that it goes to; `place`, numbers that say what it is; `keys` and
`values`, its bytes.
"""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from align_data.common.progress import ignore
from align_data.engines import local_shuffle
from align_data.engines.base import Answers, Exchange, Shuffle
from align_data.engines.exchange import SLICE, Counts, Memo, SortedRun, bounds, cut
from align_data.engines.local_exchange import SpilledRun, expect, sum_range
from align_data.engines.spill import Batches, Budget, SpilledArray
from align_data.storage.frames import frame

SCHEMA = pa.schema(
    {"to": pa.int32(), "place": pa.list_(pa.int64()), "keys": pa.large_binary(), "values": pa.large_binary()}
)
BLOB = 4 * 2**20
"""Bytes of one message's keys at most, and about those of a batch: a JVM holds them several times."""
RUN = 64 * 2**20
"""Bytes of rows that are sorted before they are cut by part."""


class Message(NamedTuple):
    """One row; see above."""

    to: int
    place: tuple[int, ...]
    keys: bytes = b""
    values: bytes = b""


def batches(messages: Iterable[Message]) -> Iterator[pa.RecordBatch]:
    """Put messages into batches."""
    waiting: list[Message] = []
    size = 0
    for message in messages:
        waiting.append(message)
        size += len(message.keys) + len(message.values)
        if size > BLOB:
            yield _batch(waiting)
            waiting, size = [], 0
    if waiting:
        yield _batch(waiting)


def _batch(rows: list[Message]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    return pa.RecordBatch.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def messages(rows: Iterable[pa.RecordBatch]) -> Iterator[Message]:
    """Take messages out of batches."""
    for batch in rows:
        for to, place, keys, values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield Message(to, tuple(place), keys, values)


def pack(array: NDArray[Any]) -> bytes:
    """Return a flat array as bytes that say of what type it is."""
    return array.dtype.str.encode().ljust(8) + array.tobytes()


def unpack(blob: bytes) -> NDArray[Any]:
    """Return what was packed."""
    return np.frombuffer(blob, np.dtype(blob[:8].decode().strip()), offset=8)


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder on this executor's own disk, and remove it."""
    places = os.environ.get("SPARK_LOCAL_DIRS", tempfile.gettempdir()).split(",")
    with tempfile.TemporaryDirectory(prefix="align-data-", dir=places[os.getpid() % len(places)]) as folder:
        yield Path(folder)


@dataclass(frozen=True)
class Counting:
    """The three steps of an exchange."""

    exchange: Exchange[Any, Any]
    parts: int
    ranges: Mapping[str, int]
    memory: int
    """Bytes that a task may hold."""

    @property
    def tasks(self) -> list[tuple[str, int]]:
        """Kind and number of each range, in the order of the tasks that count them."""
        return [(kind, number) for kind, ranges in self.ranges.items() for number in range(ranges)]

    def ask(self, part: int) -> Iterator[Message]:
        """Ask for one part: every run's keys to their ranges, and by way of any range its memo to the part's answer."""
        first_task = dict(zip(self.ranges, accumulate(self.ranges.values(), initial=0), strict=False))
        at = {kind: bounds(number) for kind, number in self.ranges.items()}
        for block_number, block in enumerate(self.exchange.ask(part, ignore, map)):
            way = (part + block_number) % len(self.tasks)
            for run_number, run in enumerate(block):
                place = (part, block_number, run_number)
                # The smallest type that holds them: what is sent is what an exchange costs.
                counts = run.counts.astype(np.min_scalar_type(int(run.counts.max(initial=0))))
                cuts = cut(run.keys, at[run.kind])
                for number, (start, stop) in enumerate(pairwise(cuts)):
                    for piece in _pieces(start, stop):
                        to = first_task[run.kind] + number
                        what = _UNANSWERED if run.memo is None else _TOTALS
                        yield Message(to, (*place, what, piece.start), pack(run.keys[piece]), pack(counts[piece]))
                for what, memo in enumerate(run.memo or (), _MEMO):
                    for piece in _pieces(0, max(1, len(memo))):
                        yield Message(way, (*place, what, piece.start), pack(memo[piece]))

    def count(self, task: int, received: Iterable[Message]) -> Iterator[Message]:
        """Sum one range; send its summary to the driver, and the totals to the parts that asked."""
        kind, number = self.tasks[task]
        with scratch() as folder:
            budget = Budget(self.memory // 2)
            places, runs = [], []
            for i, message in enumerate(received):
                part, *place, what, begin = message.place
                if what >= _MEMO:
                    yield Message(part, (*place, what, begin), message.keys)
                    continue
                memo = None if what == _UNANSWERED else ()
                run = SortedRun(kind, unpack(message.keys), unpack(message.values), memo)
                runs.append(SpilledRun(run, folder / str(i), bounds(1), budget))
                places.append((part, (*place, what, begin)))
            before = self.exchange.before
            expect(runs, 0 if before is None else before.most.get(kind, 0))
            counted = None if before is None else before.of(kind, number, self.ranges[kind])
            totals = sum_range(runs, 0, min(SLICE, max(1, self.memory // 128)), map, counted)
            summary = self.exchange.keep(kind, number, totals)
            yield Message(self.parts, (task,), pickle.dumps(summary))
            for (part, whole_place), spilled in zip(places, runs, strict=True):
                if spilled.totals is not None:
                    yield Message(part, whole_place, pack(spilled.totals.read()))

    def answer(self, task: int, received: Iterable[Message]) -> Iterator[Message]:
        """Answer one part; the task behind the parts passes on what was kept."""
        if task == self.parts:
            yield from (Message(0, (1, *message.place), message.keys) for message in received)
            return
        with scratch() as folder:
            budget = Budget(self.memory // 2)
            # A part is as large as its hottest image: what comes for it may be too.
            blocks: dict[int, dict[int, dict[int, list[_Piece]]]] = {}
            for i, message in enumerate(received):
                block, run, what, begin = message.place
                piece = begin, SpilledArray(unpack(message.keys), folder / str(i), budget)
                blocks.setdefault(block, {}).setdefault(run, {}).setdefault(what, []).append(piece)

            def answers() -> Iterator[Answers]:
                for block in sorted(blocks):
                    runs = blocks.pop(block)
                    yield tuple(_answered(runs.pop(run)) for run in sorted(runs))

            yield Message(0, (0, task), pickle.dumps(self.exchange.answer(task, answers(), ignore)))


_UNANSWERED, _TOTALS, _MEMO = range(3)
"""What a message of an exchange holds: keys that need no answer, keys that do or their totals, the first memo or,
counting on, a later one."""
_Piece = tuple[int, SpilledArray]
"""Where a piece of an array begins, and the piece."""


def _pieces(start: int, stop: int) -> Iterator[slice]:
    """Cut a stretch of numbers into pieces that a message may hold."""
    for begin in range(start, stop, BLOB // 8):
        yield slice(begin, min(stop, begin + BLOB // 8))


def _answered(pieces: dict[int, list[_Piece]]) -> tuple[Memo, Counts]:
    """Return a run's memo and its totals, of which there are none where it has no keys."""
    totals = _joined(pieces.pop(_TOTALS, []))
    return tuple(_joined(pieces[what]) for what in sorted(pieces)), totals


def _joined(pieces: list[_Piece]) -> NDArray[Any]:
    """Join the pieces of an array in order, and free them."""
    pieces.sort(key=lambda piece: piece[0])
    whole = np.concatenate([array.read() for _, array in pieces] or [np.empty(0, np.int64)])
    for _, array in pieces:
        array.drop()
    return whole


@dataclass(frozen=True)
class Moving:
    """The steps of a shuffle."""

    shuffle: Shuffle[Any, Any, Any]
    units: Sequence[Any]
    memory: int

    def account(self, task: int) -> Any:
        """Read one unit for its account alone."""
        accounts: list[Any] = []
        for _ in _returning(self.shuffle.prepare(self.units[task], ignore), accounts):
            pass
        return accounts[0]

    def send(self, task: int, edges: Sequence[int], *, tell: bool = False) -> Iterator[Message]:
        """Read one unit and send its rows to their parts, sorted and merged in runs; with `tell` its account too.

        It goes to all parts, which see by it whether they are right; where that is certain to one, for the driver.
        """
        starts = np.array(edges[1:-1], dtype=np.uint64)
        accounts: list[Any] = []
        for rows in self._runs(_returning(self.shuffle.prepare(self.units[task], ignore), accounts)):
            run = self.shuffle.merge(rows)
            cuts = [0, *np.searchsorted(run[self.shuffle.key].to_numpy(), starts).tolist(), len(run)]
            rows_of_a_blob = max(1, len(run) * BLOB // max(1, int(run.estimated_size())))
            for part, (start, stop) in enumerate(pairwise(cuts)):
                for begin in range(start, stop, rows_of_a_blob):
                    yield Message(part, (task,), _to_bytes(run[begin : min(stop, begin + rows_of_a_blob)]))
        told = 1 if self.shuffle.is_certain else len(edges) - 1
        for part in range(told) if tell else ():
            yield Message(part, (task, _ACCOUNT), pickle.dumps(accounts[0]))

    def _runs(self, rows: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        limit = min(RUN, self.memory // 8)
        waiting: list[pl.DataFrame] = []
        size = 0
        for piece in rows:
            waiting.append(piece)
            size += int(piece.estimated_size())
            if size > limit:
                yield pl.concat(waiting)
                waiting, size = [], 0
        if waiting:
            yield pl.concat(waiting)

    def write(self, part: int, sent: Iterable[Message], edges: Sequence[int]) -> Moved:
        """Write one part of all that was sent to it, unless accounts that came with it say that parts are others."""
        with scratch() as folder:
            spilled = Batches(folder / "rows.arrow", Budget(self.memory // 2))
            told: dict[int, Any] = {}

            def rows() -> Generator[pl.DataFrame, None, None]:
                for message in sent:
                    if message.place[1:] == (_ACCOUNT,):
                        told[message.place[0]] = pickle.loads(message.keys)  # noqa: S301 - made by our own tasks
                    else:
                        yield _from_bytes(message.keys)

            local_shuffle.hold(rows(), self.shuffle.merge, spilled, min(RUN, self.memory // 8))
            spilled.close()
            accounts = [told[unit] for unit in sorted(told)]
            if accounts and [*self.shuffle.split(accounts)] != [*edges[1:-1]]:
                return Moved(accounts, misplaced=True)
            limit = min(local_shuffle.WINDOW, self.memory // 4)
            frames = local_shuffle.windows([spilled], self.shuffle, edges[part], edges[part + 1], limit)
            return Moved(accounts, self.shuffle.write(part, frames, ignore))


@dataclass(frozen=True)
class Moved:
    """What became of a part."""

    accounts: Sequence[Any]
    """Of all units, if they were told."""
    written: Any = None
    misplaced: bool = False
    """Whether the rows were sent by edges that the accounts do not bear out, so that nothing was written."""


_ACCOUNT = 1


def _returning(frames: Generator[pl.DataFrame, None, Any], returned: list[Any]) -> Iterator[pl.DataFrame]:
    """Yield frames, and append what their generator returns."""
    returned.append((yield from frames))


def _to_bytes(rows: pl.DataFrame) -> bytes:
    table = rows.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _from_bytes(blob: bytes) -> pl.DataFrame:
    return frame(pa.ipc.open_stream(blob).read_all())
