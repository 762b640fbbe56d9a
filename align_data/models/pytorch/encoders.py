"""Encoders and pair scorers of transformers: fixed batches of pixels and tokens in, vectors or probabilities out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from align_data.common.errors import AlignDataError, SignalError
from align_data.decoding.inputs.preparation import Pixels
from align_data.models.encoder import BATCH, Scores, Vectors
from align_data.models.pytorch.pixel_inputs import PixelInputs
from align_data.models.pytorch.transformers_folder import OpenedFolder
from align_data.models.spaces import SPHERE
from align_data.models.vectors import in_batches, stacked, unit

_TRIAL_TEXT = "a photo of a dog"


@contextmanager
def sentences(model: str) -> Iterator[None]:
    """Run a model without gradients; SignalError for whatever it raises."""
    try:
        with torch.inference_mode():
            yield
    except (AlignDataError, MemoryError):
        raise
    except Exception as error:  # a config may promise what weights and tokens do not keep
        message = str(error).strip().partition("\n")[0] or type(error).__name__
        raise SignalError(f"{model} cannot be run: {message[:300]}") from error


class TransformersEncoder:
    """CLIP, SigLIP, SigLIP 2, ALIGN, FLAVA or Chinese-CLIP, as transformers has them."""

    space = SPHERE

    def __init__(self, opened: OpenedFolder, device: torch.device) -> None:
        self._model, self._texts, self._name = opened.model, opened.texts, str(opened.folder)
        self._pools, self._device = opened.family.pools, device
        self._pixels = PixelInputs(opened.images)
        self.identity, self.device, self.preparation = opened.identity, str(device), opened.images.preparation
        self.dim = unit(self._image_rows([self._pixels.trial()]), self._name).shape[1]
        unit(self._text_rows([_TRIAL_TEXT], 1), self._name)

    def images(self, pixels: Sequence[Pixels], /) -> Vectors:
        """Embed images as `preparation` makes them."""
        return unit(stacked(in_batches(pixels, self._image_rows, BATCH), self.dim), self._name)

    def texts(self, texts: Sequence[str], /) -> Vectors:
        """Embed texts."""
        return unit(self._text_rows(texts, BATCH), self._name)

    def _image_rows(self, pixels: Sequence[Pixels]) -> Vectors:
        return self._features("get_image_features", self._pixels.tensors(pixels))

    def _text_rows(self, texts: Sequence[str], size: int) -> Vectors:
        out = np.empty((len(texts), self.dim), np.float32)
        for places, tensors in self._texts.groups(texts, size):
            rows = self._features("get_text_features", tensors)
            if rows.shape[1] != self.dim:
                raise SignalError(f"{self._name} embeds images in {self.dim:,} dimensions, texts in {rows.shape[1]:,}")
            out[places] = rows[: len(places)]
        return out

    def _features(self, method: str, tensors: dict[str, Tensor]) -> Vectors:
        with sentences(self._name):
            features = getattr(self._model, method)(**_on(self._device, tensors)).pooler_output
            features = features[:, 0] if self._pools == "first" else features
            return np.asarray(features.float().cpu().numpy())


class TransformersScorer:
    """BLIP's or ViLT's head that says whether an image and a text belong together."""

    def __init__(self, opened: OpenedFolder, device: torch.device) -> None:
        self._model, self._texts, self._name = opened.model, opened.texts, str(opened.folder)
        self._device, self._pixels = device, PixelInputs(opened.images)
        self.identity, self.device, self.preparation = opened.identity, str(device), opened.images.preparation
        self._rows([self._pixels.trial()], [_TRIAL_TEXT], 1)

    def scores(self, pixels: Sequence[Pixels], texts: Sequence[str], /) -> Scores:
        """Return the probability that each image and text belong together: 0 to 1."""
        if len(pixels) != len(texts):
            raise ValueError(f"{len(pixels)} images and {len(texts)} texts")
        return self._rows(pixels, texts, BATCH)

    def _rows(self, pixels: Sequence[Pixels], texts: Sequence[str], size: int) -> Scores:
        out = np.empty(len(texts), np.float32)
        for places, tensors in self._texts.groups(texts, size):
            batch = [pixels[place] for place in places]
            images = self._pixels.tensors(batch + batch[-1:] * (size - len(batch)))
            rows = len(images["pixel_values"])
            inputs = images | {name: torch.cat([ids, ids[-1:]])[:rows] for name, ids in tensors.items()}
            with sentences(self._name), self._device:  # BLIP makes a mask wherever tensors are made by default
                out[places] = _probabilities(self._model(**_on(self._device, inputs)))[: len(places)].cpu().numpy()
        if not np.isfinite(out).all():
            raise SignalError(f"{self._name} gives scores that are not numbers (NaN)")
        return out


def _on(device: torch.device, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def _probabilities(output: Any) -> Tensor:
    """Return BLIP's second class, or the logistic function of the one score of ViLT, which ranks and is no odds."""
    if hasattr(output, "itm_score"):
        probabilities: Tensor = output.itm_score.float().softmax(dim=-1)[:, 1]
    else:
        probabilities = output.logits.float()[:, 0].sigmoid()
    return probabilities
