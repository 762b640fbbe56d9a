"""How near each image is to the nearest evaluation image, by stored embeddings: all are compared with all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.progress import Progress, Tick
from align_data.data.columns import compared_by
from align_data.data.embeddings import Halves
from align_data.data.evaluations import keep_index, kept_index
from align_data.data.image_table import with_images
from align_data.data.layout import Dataset
from align_data.data.meta import PairsMeta, SignalsMeta
from align_data.data.model_inputs import current_embeddings
from align_data.engines.base import Engine
from align_data.neighbours.embedding.cosines import MILLION, Vectors, highest
from align_data.neighbours.embedding.images import EmbeddedImages
from align_data.signals import Signal, family_signals
from align_data.storage.tables import Manifest


@dataclass(frozen=True)
class EvaluationReport:
    """What a comparison with evaluation images came to."""

    name: str
    evaluation: int
    """Evaluation images."""
    images: int
    """With an embedding."""
    computed: bool = True
    """False where it was all there."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return vars(self)


def compare_with_evaluation(
    dataset: Dataset, name: str, file: str, engine: Engine, progress: Progress
) -> EvaluationReport:
    """Write eval_similarity_NAME and eval_nearest_NAME: the nearest of the evaluation images in an index.

    Raises InputError for a file that is not an index of the model that the embeddings are of.
    """
    pairs = dataset.ingested()
    embedded = current_embeddings(dataset, name)
    keep_index(dataset, name, file)
    names, vectors = kept_index(dataset, name)
    signals, table = family_signals("eval", name), dataset.measured(f"eval.{name}")
    compared = compared_by(dataset, f"eval.{name}", None)
    identities = {signal.name: {**signal.identity(), **compared} for signal in signals.values()}
    meta = SignalsMeta(signals=identities, pairs=pairs.fingerprint)
    before = table.committed()
    if (
        before is not None
        and (before.meta.signals, before.meta.pairs) == (identities, meta.pairs)
        and table.whole(before)
    ):
        return EvaluationReport(name, len(names), embedded.rows, computed=False)
    table.retract()
    images = EmbeddedImages(dataset, name, embedded.meta.dim)
    writing = _EvaluationWriting(images, pairs, tuple(names), vectors, identities, signals)
    counts = engine.map_parts("neighbours: evaluation", writing.part, [part.rows for part in pairs.parts], progress)
    table.commit([table.info(part) for part in range(len(pairs.parts))], meta)
    return EvaluationReport(name, len(names), sum(counts))


@dataclass(frozen=True)
class _EvaluationWriting:
    """What is the same for all parts. It travels to other machines."""

    images: EmbeddedImages
    pairs: Manifest[PairsMeta]
    names: tuple[str, ...]
    """Of the evaluation images, in order."""
    vectors: Halves
    identities: dict[str, dict[str, Any]]
    signals: dict[str, Signal]

    def part(self, number: int, tick: Tick) -> int:
        """Compare the images of one part; return how many have an embedding."""
        dataset, evaluation = self.images.dataset, Vectors(self.vectors)
        hashes: list[str] = []
        cosines, places = [np.empty(0, np.int64)], [np.empty(0, np.intp)]
        for sha256, halves in self.images.vectors(number, self.images.hashes(number)):
            hashes.extend(sha256)
            near, place = highest(Vectors(halves), evaluation)
            cosines.append(near)
            places.append(place)
        nearest = pl.DataFrame(
            {
                "sha256": pl.Series(hashes, dtype=pl.String).str.decode("hex"),
                self.signals["eval_similarity"].name: _decimals(np.concatenate(cosines)),
                self.signals["eval_nearest"].name: pl.Series(self.names)[np.concatenate(places)],
            }
        )
        images = self.images.images(number).select("url", "sha256").join(nearest, on="sha256", how="inner")
        facts = {"signals": self.identities, "pairs": self.pairs.parts[number].identity}
        table = dataset.measured(f"eval.{self.images.name}")
        with table.writer(number, facts, [signal.name for signal in self.signals.values()]) as writer:
            for piece in dataset.pairs.pieces(number, ["url"]):
                writer.write(with_images(piece, images.drop("sha256")).drop("url"))
                tick(len(piece))
        return len(images)


def _decimals(millionths: NDArray[np.int64]) -> NDArray[np.float64]:
    cosines: NDArray[np.float64] = millionths.astype(np.float64) / MILLION
    return cosines
