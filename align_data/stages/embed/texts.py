"""The table embedded_texts/NAME: the texts, row for row with pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from pyarrow import compute as pc

from align_data.common.progress import Progress, Tick
from align_data.data.batches import CARRIED
from align_data.data.embeddings import change_embeddings, column_of, commit_embeddings, halves, same_part
from align_data.data.layout import Dataset
from align_data.data.meta import EmbeddedMeta, PairsMeta
from align_data.data.model_inputs import embedded_by, meta_of
from align_data.engines.base import Engine
from align_data.models.encoder import BATCH
from align_data.models.sharing import SharedModel
from align_data.storage.tables import Manifest, PartInfo, Table

_TOGETHER = 16 * BATCH
"""Texts that are embedded between two ticks."""


@dataclass(frozen=True)
class TextsRun:
    """What all parts share. It travels to other machines."""

    dataset: Dataset
    name: str
    shared: SharedModel
    dim: int
    pairs: Manifest[PairsMeta]

    @property
    def table(self) -> Table[EmbeddedMeta]:
        """Where the embeddings go."""
        return self.dataset.embedded_texts(self.name)

    def facts(self, part: int) -> dict[str, Any]:
        """Say what a part is made from."""
        return {"model": self.shared.digest, "dim": self.dim, "pairs": self.pairs.parts[part].identity}

    def part(self, number: int, tick: Tick) -> tuple[int, PartInfo]:
        """Embed one part, if it is not there; return how many texts have an embedding."""
        facts, stored = self.facts(number), self.table.facts(number) or {}
        texts = stored.pop("texts", 0)
        if stored == facts:
            tick(self.pairs.parts[number].rows)
            return int(texts), same_part(self.table, number)
        facts["texts"] = 0
        # Where pairs have come between those that were embedded: only theirs are null.
        carried = stored.get(CARRIED) and all(stored.get(key) == facts[key] for key in ("model", "dim", "pairs"))
        earlier = self.table.arrow_pieces(number, ["embedding"]) if carried else None
        with self.table.writer(number, facts) as writer:
            for piece in self.dataset.pairs.pieces(number, ["url", "alt_text"]):
                writer.write(self._embedded(piece, tick, None if earlier is None else next(earlier)["embedding"]))
                facts["texts"] += int((piece["url"] != "").sum())
        assert writer.info is not None
        return facts["texts"], writer.info

    def _embedded(self, piece: pl.DataFrame, tick: Tick, earlier: pa.ChunkedArray | None = None) -> pa.Table:
        """Return the embeddings of a piece, each different text being embedded once; null for what was taken down.

        Those of `earlier` stay.
        """
        encoder, alive = self.shared.encoder, (piece["url"] != "").to_numpy()
        absent = alive if earlier is None else alive & ~np.asarray(earlier.is_valid())
        texts = piece.filter(pl.Series(absent))["alt_text"]
        distinct = texts.unique(maintain_order=True)
        place = dict(zip(distinct, range(len(distinct)), strict=True))
        vectors = np.zeros((len(distinct), self.dim), np.float16)
        ticked = 0
        for at in range(0, len(distinct), _TOGETHER):
            some = distinct[at : at + _TOGETHER].to_list()
            vectors[at : at + len(some)] = halves(embedded_by(encoder, encoder.texts, some))
            upto = len(piece) * (at + len(some)) // len(distinct)
            tick(upto - ticked)
            ticked = upto
        tick(len(piece) - ticked)
        rows = np.array([place[text] for text in texts], np.int64)
        column = column_of(vectors[rows])
        places = np.cumsum(absent) - 1
        embedded = column.take(pa.array(places, mask=~absent))
        return pa.table({"embedding": embedded if earlier is None else pc.coalesce(earlier, embedded)})


def embed_texts(run: TextsRun, engine: Engine, progress: Progress) -> int:
    """Embed all texts; return how many have an embedding."""
    meta = meta_of(run.shared, {"pairs": run.pairs.fingerprint})
    change_embeddings(run.table, meta.source)
    parts = engine.map_parts("embed: texts", run.part, [part.rows for part in run.pairs.parts], progress)
    commit_embeddings(run.table, [info for _, info in parts], meta)
    return sum(texts for texts, _ in parts)
