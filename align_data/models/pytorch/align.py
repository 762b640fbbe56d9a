"""A model that `align-data train` wrote: ALIGN's two towers, on pictures squeezed as the paper squeezes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from align_data.common.errors import InputError
from align_data.common.user_files import read_user_file
from align_data.decoding.inputs.normalisation import Normalisation
from align_data.decoding.inputs.preparation import Pixels
from align_data.models.encoder import ModelIdentity, Vectors
from align_data.models.lifts import lift_of
from align_data.models.pytorch.align_pixels import align_preparation
from align_data.models.pytorch.encoders import sentences
from align_data.models.pytorch.folder_files import CONFIG, MAX_FILE, PROCESSOR_FILES, digest_of, weight_files
from align_data.models.pytorch.transformers_folder import load
from align_data.models.tokens import Ids, TextTokenizer
from align_data.models.vectors import check_pixels, in_batches, stacked, unit

TOKENIZER = "tokenizer.json"
ARCHITECTURE, MODEL_TYPE = "AlignModel", "align"


def is_trained_here(folder: Path, config: Mapping[str, Any]) -> bool:
    """Tell whether a folder is as `align-data train` writes it: transformers' own say how images are prepared."""
    prepared = any((folder / name).exists() for name in PROCESSOR_FILES)
    return config.get("model_type") == MODEL_TYPE and not prepared


class AlignEncoder:
    """A model that `align-data train` wrote."""

    def __init__(self, folder: Path, config: Mapping[str, Any], device: torch.device) -> None:
        weights, safe = weight_files(folder)
        self._model = load(folder, ARCHITECTURE, config, weights, safe=safe).to(device).eval()
        self._device, self._name = device, str(folder)
        settings = self._model.config
        self._tokenizer = _tokenizer(folder, int(settings.text_config.max_position_embeddings))
        side = int(settings.vision_config.image_size)
        if not 0 < side <= _MAX_SIDE:
            raise InputError(f"{folder / CONFIG}: image_size takes 1 to {_MAX_SIDE:,}; here it has {side:,}")
        self.preparation = align_preparation(side)
        self._normalise = Normalisation(_TABLE)
        self._width = int(settings.projection_dim)
        self._lift = lift_of(config.get("objective"), str(folder / CONFIG))
        self.device, self.dim, self.space = str(device), self._lift.dim(self._width), self._lift.space
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        self.identity = ModelIdentity(MODEL_TYPE, digest_of(folder, weights, [CONFIG, TOKENIZER]), versions)
        self.images([np.zeros((side, side, 3), np.uint8)])
        self.texts(["a photo of a dog"])

    def images(self, pixels: Sequence[Pixels], /) -> Vectors:
        """Embed images as `preparation` makes them."""
        check_pixels(pixels, self.preparation)
        features = stacked(in_batches(pixels, self._image_rows), self._width)
        return unit(self._lift.images(features), self._name)

    def texts(self, texts: Sequence[str], /) -> Vectors:
        """Embed texts."""
        encoded = self._tokenizer.encode(texts)
        out = np.empty((len(texts), self._width), np.float32)
        for length, places in self._tokenizer.by_length(encoded).items():
            rows = in_batches([encoded[place] for place in places], partial(self._text_rows, length=length))
            out[places] = stacked(rows, self._width)
        return unit(self._lift.texts(out), self._name)

    def _image_rows(self, pixels: Sequence[Pixels]) -> Vectors:
        return self._features("get_image_features", pixel_values=self._normalise(pixels))

    def _text_rows(self, ids: Sequence[Ids], length: int) -> Vectors:
        tokens, mask = self._tokenizer.padded(ids, length)
        return self._features("get_text_features", input_ids=tokens, attention_mask=mask)

    def _features(self, method: str, **arrays: Any) -> Vectors:
        with sentences(self._name):
            tensors = {name: torch.from_numpy(array).to(self._device) for name, array in arrays.items()}
            return np.asarray(getattr(self._model, method)(**tensors).pooler_output.cpu().numpy(), np.float32)


_MAX_SIDE = 4096
_TABLE = np.repeat((np.arange(256, dtype=np.float32) / np.float32(127.5) - 1)[:, np.newaxis], 3, axis=1)
"""From -1 to 1, as it is trained."""


def _tokenizer(folder: Path, max_tokens: int) -> TextTokenizer:
    file = str(folder / TOKENIZER)
    content = read_user_file(file, "the model's file", MAX_FILE)
    return TextTokenizer(content, file, max_tokens, pad_id=0, longest=True)
