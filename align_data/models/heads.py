"""Heads: a linear layer or a few of them on an encoder's embeddings, by file: aesthetics, watermarks, NSFW.

The weights are a .safetensors, a .npz, or a .pth or .pt of PyTorch (weights alone); a card of the same name says what
their output means. Everything is computed by NumPy, in double precision.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator

from align_data.common.errors import InputError, SignalError
from align_data.common.user_files import read_user_file
from align_data.decoding.inputs.card import Number, read_card_of
from align_data.models.encoder import ModelIdentity
from align_data.models.extras import need
from align_data.models.vectors import MAX_DIM

MAX_HEAD = 2**28
"""Bytes of a file of weights, at most."""
ENDINGS = (".safetensors", ".npz", ".pth", ".pt")
Floats = NDArray[np.float64]


class HeadCard(BaseModel):
    """What a head takes and gives; each description completes the sentence 'KEY takes …'."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dim: Annotated[StrictInt, Field(ge=1, le=MAX_DIM)] = Field(description="the length of the embeddings that it takes")
    range: tuple[Number, Number] = Field(description="the least and the greatest value that it gives")
    activation: Literal["none", "relu", "tanh", "sigmoid"] = Field(
        default="none", description="none, relu, tanh or sigmoid: what is between its layers"
    )
    output: Literal["value", "sigmoid", "softmax"] = Field(
        default="value", description="value, sigmoid or softmax: what becomes of its last layer"
    )
    index: Annotated[StrictInt, Field(ge=0, le=MAX_DIM)] | None = Field(
        default=None, description="the number of the output that is the score, counted from 0, where there are several"
    )
    encoder: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = Field(
        default=None, description="the digest of the encoder that it has been trained on, 64 digits"
    )
    about: str = Field(default="", description="a text")
    source: str = Field(default="", description="a text")
    license: str = Field(default="", description="a text")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.range[0] >= self.range[1]:
            raise ValueError(f"range takes the least value first; here it has {list(self.range)}")
        if self.output != "value" and not (self.range[0] <= 0 and self.range[1] >= 1):
            raise ValueError(f"output is {self.output}, which is 0 to 1, but range is {list(self.range)}")
        return self

    def identity(self) -> str:
        """Return what of the card decides values, as JSON."""
        return json.dumps(self.model_dump(mode="json", exclude={"about", "source", "license"}), sort_keys=True)


class Layer(NamedTuple):
    """A linear layer: weights of (outputs, inputs), and a bias for each output."""

    weights: Floats
    bias: Floats


class LinearHead:
    """A head that is ready to score embeddings."""

    def __init__(self, file: str, layers: list[Layer], card: HeadCard, digest: str) -> None:
        self.file, self.card, self.dim = file, card, card.dim
        self.identity = ModelIdentity("head", digest)
        self._layers = layers

    def check_encoder(self, digest: str, dim: int) -> None:
        """Raise SignalError where embeddings are not those that the head has been trained on, as far as it says."""
        if dim != self.dim:
            raise SignalError(f"the head {self.file} takes embeddings of {self.dim:,} dimensions; these have {dim:,}")
        if self.card.encoder not in (None, digest):
            raise SignalError(
                f"the head {self.file} belongs to the encoder {str(self.card.encoder)[:12]}…; these embeddings are of "
                f"{digest[:12]}…"
            )

    def score(self, vectors: NDArray[np.floating[Any]]) -> Floats:
        """Return the score of each row of embeddings (n, dim), which are brought to unit length before: (n,)."""
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            shape = vectors.shape
            raise SignalError(f"the head {self.file} takes embeddings of {self.dim:,} dimensions; these are {shape}")
        values = vectors.astype(np.float64)
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
        values /= np.where(lengths == 0, 1, lengths)
        with np.errstate(all="ignore"):  # what is not a number is said below
            for number, layer in enumerate(self._layers):
                values = values @ layer.weights.T + layer.bias
                if number + 1 < len(self._layers):
                    values = _ACTIVATIONS[self.card.activation](values)
            scores = _ACTIVATIONS[self.card.output](values)[:, self.card.index or 0]
        self._check(scores)
        return scores

    def _check(self, scores: Floats) -> None:
        low, high = self.card.range
        if not np.isfinite(scores).all():
            raise SignalError(f"the head {self.file} gives scores that are not numbers (NaN or infinite)")
        outside = scores[(scores < low) | (scores > high)]
        if outside.size:
            raise SignalError(
                f"the head {self.file} gives {outside[0]:.6g}, which is outside of its card's range {low:g} to {high:g}"
            )


def _sigmoid(values: Floats) -> Floats:
    scores: Floats = 1 / (1 + np.exp(-values))
    return scores


def _softmax(values: Floats) -> Floats:
    powers: Floats = np.exp(values - values.max(axis=1, keepdims=True))
    scores: Floats = powers / powers.sum(axis=1, keepdims=True)
    return scores


_ACTIVATIONS: Mapping[str, Callable[[Floats], Floats]] = {
    "none": lambda values: values,
    "value": lambda values: values,
    "relu": lambda values: np.maximum(values, 0),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "softmax": _softmax,
}


def open_head(file: str) -> LinearHead:
    """Open a head and the card beside it (head.yaml of head.pth); InputError says what is wrong with either."""
    path = Path(file)
    if path.suffix not in ENDINGS:
        raise InputError(f"the head {file}: it takes a file that ends in {', '.join(ENDINGS)}")
    content = read_user_file(file, "the head", MAX_HEAD)
    beside = path.with_suffix(".yaml")
    if not beside.exists():
        raise InputError(f"the head {file} has no card: there is no {beside}")
    card = read_card_of(HeadCard, str(beside))
    layers = _layers(_tensors(content, path), file)
    _check_widths(layers, card, file)
    digest = hashlib.sha256(hashlib.sha256(content).digest() + card.identity().encode()).hexdigest()
    return LinearHead(file, layers, card, digest)


def _tensors(content: bytes, path: Path) -> dict[str, NDArray[Any]]:
    """Return the named arrays of a file; nothing that is in it is run."""
    if path.suffix == ".safetensors":
        need("models", "safetensors")
    elif path.suffix != ".npz":
        need("models", "torch")
    readers = {".safetensors": _of_safetensors, ".npz": _of_npz}
    try:
        return readers.get(path.suffix, _of_torch)(content)
    except Exception as error:  # of every kind, for a file may hold anything
        message = (str(error).strip().partition("\n")[0] or type(error).__name__)[:300]
        raise InputError(f"the head {path} cannot be read as weights: {message}") from None


def _of_safetensors(content: bytes) -> dict[str, NDArray[Any]]:
    from safetensors.numpy import load  # noqa: PLC0415 - an extra

    return dict(load(content))


def _of_npz(content: bytes) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > MAX_HEAD:
        raise ValueError(f"it has {size:,} bytes when unpacked; at most {MAX_HEAD:,} are read")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _of_torch(content: bytes) -> dict[str, NDArray[Any]]:
    import torch  # noqa: PLC0415 - an extra, which takes seconds to load

    loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    mapping = loaded.get("state_dict", loaded)
    return {str(name): tensor.detach().float().numpy() for name, tensor in mapping.items()}


def _layers(tensors: Mapping[str, NDArray[Any]], file: str) -> list[Layer]:
    """Return the layers in the order of their names, numbers in them as numbers."""
    weights = sorted((name for name in tensors if name.endswith("weight")), key=_natural)
    biases = {name: f"{name.removesuffix('weight')}bias" for name in weights}
    if unknown := set(tensors) - set(weights) - set(biases.values()):
        raise InputError(f"the head {file} has {min(unknown)}, which is not of a linear layer (NAME.weight, NAME.bias)")
    layers = []
    for name, array in tensors.items():
        if array.dtype.kind not in "fiu":
            raise InputError(f"the head {file}: {name} is not of numbers, but of the type {array.dtype}")
    for name in weights:
        weight = np.asarray(tensors[name], np.float64)
        bias = np.asarray(tensors.get(biases[name], np.zeros(weight.shape[:1])), np.float64)
        if weight.ndim != 2 or 0 in weight.shape or bias.shape != weight.shape[:1]:
            raise InputError(f"the head {file}: {name} of the shape {weight.shape} is not of a linear layer")
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise InputError(f"the head {file}: {name} has values that are not numbers (NaN or infinite)")
        layers.append(Layer(weight, bias))
    if not layers:
        raise InputError(f"the head {file} has no linear layer (NAME.weight, NAME.bias)")
    return layers


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in re.split(r"(\d+)", name)]


def _check_widths(layers: list[Layer], card: HeadCard, file: str) -> None:
    inputs = [layer.weights.shape[1] for layer in layers]
    outputs = [layer.weights.shape[0] for layer in layers]
    if inputs[0] != card.dim:
        raise InputError(f"the head {file} takes {inputs[0]:,} dimensions, but its card says {card.dim:,}")
    if inputs[1:] != outputs[:-1]:
        widths = ", ".join(f"{took} to {gave}" for took, gave in zip(inputs, outputs, strict=True))
        raise InputError(f"the layers of the head {file} do not fit each other: {widths}")
    if card.index is None and outputs[-1] != 1:
        raise InputError(f"the head {file} gives {outputs[-1]:,} values: its card must say by index which is the score")
    if card.index is not None and card.index >= outputs[-1]:
        raise InputError(f"the head {file} gives {outputs[-1]:,} values, but its card's index is {card.index}")
    if card.output == "softmax" and outputs[-1] == 1:
        raise InputError(f"the head {file} gives one value, of which a softmax is always 1: its card may mean sigmoid")
