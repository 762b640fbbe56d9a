"""A model that a whole process shares: opened once, however many parts it works on, also on the executors of Spark."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TypeAlias, TypeGuard, cast

from align_data.common.errors import SignalError
from align_data.models.encoder import Encoder, PairScorer

Model: TypeAlias = Encoder | PairScorer

_ON_CPU = ("cpu", "CPUExecutionProvider")
_LOCK = threading.Lock()
_OPENED: dict[tuple[str, str | None], Model] = {}
"""The model that was opened last, by MODEL and device."""


@dataclass(frozen=True)
class SharedModel:
    """A model by its name. It travels to other machines, which open it there and must come to the same weights."""

    spec: str
    """MODEL, as the user named it."""
    device: str | None
    digest: str

    @staticmethod
    def open(spec: str, device: str | None) -> SharedModel:
        """Open a model anew; SignalError, or another of its kind, where that cannot be done."""
        from align_data.models.opening import open_model  # noqa: PLC0415 - PyTorch takes seconds to load

        return SharedModel.holding(spec, device, open_model(spec, device))

    @staticmethod
    def holding(spec: str, device: str | None, model: Model) -> SharedModel:
        """Share a model that is open already."""
        with _LOCK:
            _OPENED.clear()
            _OPENED[spec, device] = model
        return SharedModel(spec, device, model.identity.digest)

    @property
    def model(self) -> Model:
        """The model itself; SignalError where other weights lie there than those that the run began with."""
        opened = _OPENED.get((self.spec, self.device))
        if opened is None or opened.identity.digest != self.digest:
            now = SharedModel.open(self.spec, self.device)
            if now.digest != self.digest:
                raise SignalError(
                    f"the model {self.spec} is not the one that the run began with: its weights, tokenizer and card "
                    f"have the SHA-256 {now.digest[:12]}…, not {self.digest[:12]}…; every machine needs the same files"
                )
            opened = _OPENED[self.spec, self.device]
        return opened

    @property
    def encoder(self) -> Encoder:
        """The model, which embeds; SignalError for a pair scorer."""
        model = self.model
        if scores_pairs(model):
            raise SignalError(f"the model {self.spec} scores pairs, and embeds neither images nor texts")
        return cast("Encoder", model)


def embeds_texts(encoder: Encoder) -> bool:
    """Tell whether an encoder embeds texts too, or images alone."""
    try:
        encoder.texts([""])
    except SignalError:
        return False
    return True


def scores_pairs(model: Model) -> TypeGuard[PairScorer]:
    """Tell a pair scorer from an encoder."""
    return hasattr(model, "scores")


def batches_at_once(model: Model) -> int:
    """Return how many threads keep a model at work.

    On a GPU two: while it computes what one has given it, the other turns its pixels into tensors. On a CPU that
    would take the cores from the model itself.
    """
    return 1 if model.device in _ON_CPU else 2
