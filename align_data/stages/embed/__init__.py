"""Embed: what an encoder makes of each image that can be decoded, once, and of each text where that is wanted.

Parts are embedded one after another, for there is one model on a machine; while it computes, child processes decode
what comes next. A part has a row an image by its SHA-256: rows that are there stay, and only what is new is embedded.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from align_data.common.errors import SignalError
from align_data.common.progress import Progress
from align_data.data.layout import Dataset
from align_data.data.ledger import open_ledger
from align_data.data.meta import EmbeddedMeta
from align_data.data.model_inputs import check_side, decodable_images, embedded_by
from align_data.engines.base import Engine
from align_data.models.sharing import SharedModel
from align_data.stages.embed.images import ImagesRun, embed_images
from align_data.stages.embed.texts import TextsRun, embed_texts
from align_data.storage.tables import Table

__all__ = ["EmbedReport", "check_embeddable", "embed"]


@dataclass(frozen=True)
class EmbedReport:
    """What a run of `embed` did."""

    name: str
    model: str
    """The model's digest."""
    device: str
    dim: int
    images: int
    """Images that have an embedding now: of those with equal bytes one in each part."""
    embedded: int
    """Of these, embedded now."""
    left_out: int
    """Images that cannot be decoded after all."""
    texts: int | None = None
    """Texts that have an embedding now; None where none are wanted."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return asdict(self)


def check_embeddable(dataset: Dataset, name: str, only_open: str | None = None) -> None:
    """Raise what `embed` raises of a dataset and a name, before a model is opened."""
    dataset.embedded(name)
    dataset.ingested()
    decodable_images(dataset, "embed")
    if only_open is not None:
        open_ledger(dataset, only_open)


def embed(
    shared: SharedModel,
    dataset: Dataset,
    name: str,
    engine: Engine,
    progress: Progress,
    children: int = 1,
    *,
    only_open: str | None = None,
    texts: bool = False,
) -> EmbedReport:
    """Write embedded/NAME, and with `texts` embedded_texts/NAME: what is there of the same model and images stays.

    With `only_open`, a ledger, only images of pairs that it does not drop are embedded. Raises SignalError where the
    name has embeddings of another model.
    """
    pairs, images = dataset.ingested(), decodable_images(dataset, "embed")
    for table in (dataset.embedded(name), dataset.embedded_texts(name)):
        _check_model(table, shared, len(pairs.parts))
    model = shared.encoder
    check_side(dataset, model.preparation.side, len(images.parts), "embed")
    if texts:  # an encoder of images alone is to be told before hours of images
        embedded_by(model, model.texts, [""])
    opened = None if only_open is None else open_ledger(dataset, only_open).facts.ledger
    run = ImagesRun(dataset, name, shared, model.dim, images, only_open, opened, children)
    total = embed_images(run, engine, progress)
    embedded = embed_texts(TextsRun(dataset, name, shared, model.dim, pairs), engine, progress) if texts else None
    return EmbedReport(name, shared.digest, model.device, model.dim, *total, embedded)


def _check_model(table: Table[EmbeddedMeta], shared: SharedModel, parts: int) -> None:
    """Raise SignalError where a table, or a part that a killed run has left of it, is of another model."""
    manifest = table.committed()
    if manifest is not None:
        owner, spec = manifest.meta.model, f", {manifest.meta.spec}"
    else:
        facts = next((facts for part in range(parts) if (facts := table.facts(part)) is not None), None)
        if facts is None:
            return
        owner, spec = str(facts.get("model")), ""
    if owner != shared.digest:
        raise SignalError(
            f"{table.store.path(table.name)} has embeddings of another model{spec} (SHA-256 {owner[:12]}…), or of "
            f"other weights than {shared.spec} has now ({shared.digest[:12]}…): embed under another name, or remove "
            "that folder"
        )
