"""Classifiers of texts, as transformers has them: Detoxify's, which says how toxic a text is, and others alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from align_data.common.errors import InputError, SignalError, nearest
from align_data.models.encoder import BATCH, ModelIdentity
from align_data.models.pytorch.device import torch_device
from align_data.models.pytorch.encoders import sentences
from align_data.models.pytorch.folder_files import (
    CONFIG,
    TOKENIZER_FILES,
    check_small_files,
    digest_of,
    read_config,
    weight_files,
)
from align_data.models.pytorch.text_inputs import TextInputs
from align_data.models.pytorch.transformers_folder import load

_KINDS: Mapping[str, str] = {
    "albert": "AlbertForSequenceClassification",
    "bert": "BertForSequenceClassification",
    "deberta-v2": "DebertaV2ForSequenceClassification",
    "distilbert": "DistilBertForSequenceClassification",
    "electra": "ElectraForSequenceClassification",
    "roberta": "RobertaForSequenceClassification",
    "xlm-roberta": "XLMRobertaForSequenceClassification",
}
"""The class of transformers, by the model_type of a config."""
_OFFSET = {"roberta": 2, "xlm-roberta": 2}
"""Positions that no token has, by model_type: theirs begin behind that of the padding."""


class TextClassifier:
    """A classifier of texts that is ready, and those of its labels that count."""

    def __init__(self, folder: Path, device: str | None, labels: Sequence[str] = ()) -> None:
        """Open a folder of transformers; InputError or SignalError says what is wrong with it or with a label."""
        check_small_files(folder)
        config = read_config(folder)
        kind = str(config.get("model_type"))
        if kind not in _KINDS:
            raise InputError(
                f"{folder / CONFIG}: a classifier of the type {kind[:100]}; known are: {', '.join(_KINDS)}"
            )
        weights, safe = weight_files(folder)
        self._name, self._device = str(folder), torch_device(device)
        unused = ("token_type_ids",) if kind == "distilbert" else ()
        self._texts = TextInputs(folder, _max_tokens(config, kind, folder), fixed=False, unused=unused)
        digest = digest_of(folder, weights, [CONFIG, *TOKENIZER_FILES])
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        self.identity = ModelIdentity(kind, digest, versions)
        self._model: Any = load(folder, _KINDS[kind], config, weights, safe=safe).to(self._device).eval()
        self._one_of = self._model.config.problem_type == "single_label_classification"
        own = [str(label) for _, label in sorted(self._model.config.id2label.items())]
        self.labels = tuple(labels or own)
        self._columns = [_place(label, own, self._name) for label in self.labels]
        if self._one_of and not labels:
            raise SignalError(
                f"{folder} gives each text one of the labels {', '.join(own)}: name those that count with --label"
            )

    def scores(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the greatest probability of a label that counts, of each text: 0 to 1."""
        out = np.empty(len(texts))
        for places, tensors in self._texts.groups(texts, BATCH):
            with sentences(self._name):
                inputs = {name: tensor.to(self._device) for name, tensor in tensors.items()}
                logits = self._model(**inputs).logits.float()
                probabilities = logits.softmax(dim=-1) if self._one_of else logits.sigmoid()
                greatest = probabilities[: len(places), self._columns].amax(dim=-1)
                out[places] = greatest.cpu().numpy()
        if not np.isfinite(out).all():
            raise SignalError(f"{self._name} gives scores that are not numbers (NaN)")
        return out


def _place(label: str, labels: Sequence[str], model: str) -> int:
    if label not in labels:
        raise SignalError(f"{model} has no label {label}{nearest(label, labels)}; it has: {', '.join(labels)}")
    return labels.index(label)


def _max_tokens(config: Mapping[str, Any], kind: str, folder: Path) -> int:
    places = config.get("max_position_embeddings", 512)
    if type(places) is not int or places < 4:
        raise InputError(f"{folder / CONFIG}: max_position_embeddings takes a number above 3; here it has {places!r}")
    return places - _OFFSET.get(kind, 0)
