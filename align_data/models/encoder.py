"""The one protocol of models: an encoder embeds images and texts, a pair scorer says how well they go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from align_data.decoding.inputs.preparation import Pixels, Preparation
from align_data.models.spaces import Space

Vectors = NDArray[np.float32]
"""(rows, dimension), of unit length."""
Scores = NDArray[np.float32]

BATCH = 64
"""Rows that go through a model together: always so many, so that a row's value depends on no other row."""


@dataclass(frozen=True)
class ModelIdentity:
    """What decides what a model says."""

    kind: str
    """onnx, open_clip, or the model_type of transformers."""
    digest: str
    """SHA-256 of weights, tokenizer and card."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the libraries that run it. Not part of what must be equal: results are rounded to what these agree on."""


class Encoder(Protocol):
    """Embeds images and texts in one space."""

    @property
    def identity(self) -> ModelIdentity:
        """What decides its embeddings."""

    @property
    def device(self) -> str:
        """Where it runs, as the library that runs it says: cpu, cuda:0, CPUExecutionProvider."""

    @property
    def dim(self) -> int:
        """Length of its vectors."""

    @property
    def space(self) -> Space:
        """Where its vectors lie, and so how an image and a text are compared."""

    @property
    def preparation(self) -> Preparation:
        """How it sees an image."""

    def images(self, pixels: Sequence[Pixels], /) -> Vectors:
        """Embed images as `preparation` makes them. Two threads may do so at once."""

    def texts(self, texts: Sequence[str], /) -> Vectors:
        """Embed texts; SignalError for an encoder of images alone."""


class PairScorer(Protocol):
    """Scores an image and a text together; embeds neither."""

    @property
    def identity(self) -> ModelIdentity:
        """What decides its scores."""

    @property
    def device(self) -> str:
        """Where it runs."""

    @property
    def preparation(self) -> Preparation:
        """How it sees an image."""

    def scores(self, pixels: Sequence[Pixels], texts: Sequence[str], /) -> Scores:
        """Return the probability that each image and text belong together: 0 to 1."""
