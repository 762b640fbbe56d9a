"""The two moves of a comparison: embeddings to their cells, and what is learnt there back to the images' parts."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import polars as pl

from align_data.common.progress import Progress, Tick
from align_data.data.meta import PairsMeta
from align_data.engines.base import Engine, Shuffle
from align_data.neighbours.embedding.answers import in_order
from align_data.neighbours.embedding.cell import LEARNT, Nearness, compare
from align_data.neighbours.embedding.codebook import Codebook
from align_data.neighbours.embedding.images import EmbeddedImages, url_key
from align_data.neighbours.scratch import LEARNT as FOLDER
from align_data.neighbours.scratch import clear_scratch
from align_data.storage.contracts import Column, Contract
from align_data.storage.tables import Manifest, Meta, Table

T = TypeVar("T")

_RANGE = 2**28
"""Bytes of embeddings, about, whose cells one task compares."""
_REACH = 2
"""How many margins from a border those at home are that guests from beyond it are compared with."""
LEARNT_CONTRACT = Contract(
    FOLDER,
    "What cells have learnt, on its way back to the parts of the images.",
    tuple(
        Column(name, {"Binary": "binary", "Int32": "int32", "Int64": "int64"}[str(type_)], nullable=False, about="")
        for name, type_ in LEARNT.items()
    ),
)
"""Of a working table: it is gone when the comparison is done."""


@dataclass
class Cost:
    """What comparing took."""

    rows: int = 0
    """Embeddings that cells were sent: those of an image count once for each of its cells."""
    cosines: int = 0
    pairs: int = 0
    """Found within the floor, some of them by two cells."""

    def add(self, cost: Cost) -> None:
        """Add what another took."""
        self.rows += cost.rows
        self.cosines += cost.cosines
        self.pairs += cost.pairs


@dataclass(frozen=True)
class Joining:
    """How images are compared. It travels to other machines."""

    images: EmbeddedImages
    pairs: Manifest[PairsMeta]
    codebook: Codebook
    margin: float
    nearness: Nearness
    learnt: Table[Meta]

    def run(
        self,
        rows: Sequence[int],
        write: Callable[[int, pl.DataFrame, Tick], T],
        engine: Engine,
        progress: Progress,
    ) -> tuple[Cost, list[T]]:
        """Compare, and call `write` for every part with what was LEARNT of its images; `rows` are embeddings a part.

        What one task learns does not depend on how many there are.
        """
        starts = self._ranges(sum(rows))
        clear_scratch(self.images.dataset)
        to_cells: Shuffle[int, None, Cost] = Shuffle(
            prepare=self._prepare,
            merge=_by_cell,
            split=lambda _: starts,
            write=self._compare,
            rows=sum(rows),
            foreseen=starts,
            is_certain=True,
            key="key",
            tie="tie",
            title="neighbours: compare",
            unit="embeddings",
        )
        _, costs = engine.shuffle(to_cells, range(len(rows)), progress)
        total = Cost()
        for cost in costs:
            total.add(cost)
        edges = [int(key, 16) for key in self.pairs.meta.splits]
        back: Shuffle[int, None, T] = Shuffle(
            prepare=self._learnt,
            merge=_by_image,
            split=lambda _: edges,
            write=lambda part, frames, tick: write(part, _concat(frames), tick),
            foreseen=edges,
            is_certain=True,
            key="key",
            tie="tie",
            title="neighbours: answer",
        )
        _, written = engine.shuffle(back, range(len(costs)), progress)
        clear_scratch(self.images.dataset)
        return total, written

    def _ranges(self, rows: int) -> list[int]:
        """Return the first cell of each task but the first."""
        cells = len(self.codebook)
        tasks = min(cells, max(1, round(rows * self.images.dim * 2 / _RANGE), min(8, cells // 16)))
        return [cells * task // tasks for task in range(1, tasks)]

    def _prepare(self, part: int, tick: Tick) -> Generator[pl.DataFrame, None, None]:
        for rows in self.images.to_cells(part, self.codebook, self.margin):
            tick(rows["tie"].n_unique())
            yield rows

    def _compare(self, number: int, frames: Iterator[pl.DataFrame], tick: Tick) -> Cost:
        total = Cost()
        with self.learnt.writer(number, {}) as writer:
            for cell, rows in _cells(frames):
                learnt, cosines, pairs = compare(cell, rows, self.nearness, self.codebook, _REACH * self.margin)
                writer.write(in_order(learnt))
                total.add(Cost(len(rows), cosines, pairs))
                tick(len(rows))
        return total

    def _learnt(self, number: int, tick: Tick) -> Generator[pl.DataFrame, None, None]:
        for piece in self.learnt.pieces(number, list(LEARNT)):
            yield piece.with_columns(url_key("image").alias("key"), pl.col("kind").cast(pl.UInt64).alias("tie"))
            tick(len(piece))


def _cells(frames: Iterator[pl.DataFrame]) -> Iterator[tuple[int, pl.DataFrame]]:
    """Yield the rows of each cell, which may be in several frames."""
    cell, waiting = -1, list[pl.DataFrame]()
    for frame in frames:
        for (key,), rows in frame.group_by("key", maintain_order=True):
            number: Any = key
            if waiting and number != cell:
                yield cell, pl.concat(waiting)
                waiting = []
            cell = number
            waiting.append(rows)
    if waiting:
        yield cell, pl.concat(waiting)


def _by_cell(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.sort("key", "tie", "uid")


def _by_image(rows: pl.DataFrame) -> pl.DataFrame:
    return in_order(rows).sort("key", "tie", maintain_order=True)


def _concat(frames: Iterator[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=LEARNT), *(frame.select(*LEARNT) for frame in frames)])
