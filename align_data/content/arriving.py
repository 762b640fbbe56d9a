"""What a fetch sees of images as they come: kept chunk by chunk, and then the rows of the table `content`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from align_data.content.looking import UNTRIED, known_of, merged
from align_data.content.plan import ContentRun
from align_data.data.image_table import chunks
from align_data.decoding.inspected import Inspected, StoredFacts
from align_data.storage.tables import Meta, Table

SEEN = "_seen"
"""The folder of what was seen of the images of a chunk."""
Arrived = tuple[Inspected, StoredFacts | None]
"""What was seen of an image, and what is stored in its place."""


class Arrivals:
    """What a fetch sees of the images of one part."""

    def __init__(self, run: ContentRun, part: int, rows: int, chunk: int, facts: Mapping[str, Any]) -> None:
        """Take chunks of `chunk` URLs, which have the facts of the fetch."""
        self._run, self._rows, self._chunk, self._facts = run, rows, chunk, facts
        self._table = Table(run.dataset.store, f"{SEEN}/{part:05d}", run.dataset.content.contract, Meta)
        self._before = known_of(run, run.dataset.content, part, rows)

    def write(
        self, number: int, images: pl.DataFrame, arrived: Mapping[int, Arrived], scored: Sequence[bool] = ()
    ) -> None:
        """Write what is known of the images of a chunk: what was before, with what has come put in.

        `arrived` is by row of `images`; `scored` says of each row whether a detector was to score it, empty for all.
        """
        rows = self._known(number, number * self._chunk, len(images)).to_dicts()
        for row, url in zip(rows, images["url"], strict=True):
            row["url"] = url
        for at, (inspected, stored) in arrived.items():
            checks = self._run.checks(UNTRIED, is_open=not scored or scored[at])
            rows[at] = {
                **images.row(at, named=True),
                **merged(UNTRIED, inspected, checks).columns,
                **({} if stored is None else stored.columns),
            }
        schema = self._run.dataset.content.contract.polars(*self._run.columns)
        frame = pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema)
        # As a part of `content` says it, so that both are read alike.
        facts = {**self._run.facts(self._facts["pairs"]), **self._facts}
        with self._table.writer(number, facts, self._run.columns) as writer:
            writer.write(frame)

    def previous(self) -> pl.DataFrame | None:
        """Return what is known of all images of the part, a row each; None where there are none."""
        frames = [self._known(*chunk) for chunk in chunks(self._rows, self._chunk)]
        return pl.concat(frames, how="diagonal") if frames else None

    def _known(self, number: int, start: int, rows: int) -> pl.DataFrame:
        facts = self._table.facts(number)
        if facts is not None and all(facts.get(name) == self._facts[name] for name in ("pairs", "chunk")):
            chunk = known_of(self._run, self._table, number, rows)
            if chunk is not None:
                return chunk
        if self._before is not None:
            return self._before[start : start + rows]
        return pl.DataFrame({"status": [UNTRIED.status] * rows})
