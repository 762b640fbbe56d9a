"""A tiny encoder in the form of a folder (image.onnx, text.onnx, tokenizer.json, card.yaml) whose embeddings mean something.

An image's embedding is a fixed random projection of its low frequencies, which count more to the middle and little for
what is odd from left to right, and of its mean colour: so near-copies are near, other pictures are not, and the texts,
which name colours, are near pictures of these colours. Nothing is trained, and it is written in a second.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Floats = NDArray[np.float32]

SIDE = 32
FREQUENCIES = 9
TOKENS = 8
COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (200, 40, 40),
    "green": (40, 170, 60),
    "blue": (40, 60, 200),
    "yellow": (230, 220, 60),
    "black": (10, 10, 10),
    "white": (245, 245, 245),
    "grey": (128, 128, 128),
    "purple": (130, 40, 160),
}
"""Words that the texts' half knows → what they look like."""
PADDING, UNKNOWN = "[PAD]", "[UNK]"
CARD: Mapping[str, Any] = {
    "size": SIDE,
    "layout": "nchw",
    "channels": "rgb",
    "scale": 1 / 255,
    "resize": "squash",
    "resample": "bicubic",
}
_FLAT = 0.05
"""Contrast that counts for little: of a flat picture only its colour is left."""
_COLOUR, _CONSTANT = 0.2, 0.05
"""Weights of the mean colour, and of what all embeddings have in common."""


def write_encoder(folder: Path, *, dim: int = 48, seed: int = 5, texts: bool = True, **card: Any) -> Path:
    """Write the folder of an encoder; `card` has keys of its card to change, or to leave out where None."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(seed)
    features = _features()
    projection = (features @ chance.standard_normal((features.shape[1], dim)) / dim**0.5).astype(np.float32)
    colour = (_COLOUR * chance.standard_normal((3, dim)) / dim**0.5).astype(np.float32)
    constant = (_CONSTANT * chance.standard_normal((1, dim)) / dim**0.5).astype(np.float32)
    onnx.save(_image_model(projection, colour, constant, dim), str(folder / "image.onnx"))
    if texts:
        known = np.array([(128, 128, 128), (128, 128, 128), *COLOURS.values()]) / 255 - 0.5
        onnx.save(_text_model((known @ colour + constant).astype(np.float32), dim), str(folder / "text.onnx"))
        (folder / "tokenizer.json").write_text(json.dumps(_tokenizer()))
    of_texts = {"max_tokens": TOKENS, "pad_token": PADDING} if texts else {}
    keys = {**CARD, "dim": dim, **of_texts, **card}
    content = "".join(f"{key}: {json.dumps(value)}\n" for key, value in keys.items() if value is not None)
    (folder / "card.yaml").write_text(content)
    return folder


def _features() -> NDArray[np.float64]:
    """Return the matrix from the pixels of a picture to its low frequencies: of brightness, and less of colours."""
    orders, places = np.arange(FREQUENCIES), (np.arange(SIDE) + 0.5) / SIDE
    window = 0.5 + 0.5 * np.hanning(SIDE + 2)[1:-1]
    waves = np.cos(np.pi * orders[:, None] * places) * window / SIDE
    frequency = np.hypot(orders[:, None], orders)
    weights = np.where(frequency < FREQUENCIES, 2 / (1 + frequency) ** 0.5, 0) * np.where(orders % 2 == 1, 0.25, 1)
    planes = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]]) / np.sqrt([[3], [2], [6]]) * [[1], [0.25], [0.25]]
    matrix = np.einsum("pc,ky,lx,kl->cyxpkl", planes, waves, waves, weights)
    return matrix.reshape(3 * SIDE * SIDE, -1)


def _image_model(projection: Floats, colour: Floats, constant: Floats, dim: int) -> Any:
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixels"], ["levels"]),
        helper.make_node("Sub", ["pixels", "levels"], ["around"]),
        helper.make_node("Flatten", ["around"], ["centred"]),
        helper.make_node("Mul", ["centred", "centred"], ["squared"]),
        helper.make_node("ReduceMean", ["squared", "last"], ["variance"], keepdims=1),
        helper.make_node("Sqrt", ["variance"], ["deviation"]),
        helper.make_node("Add", ["deviation", "some"], ["contrast"]),
        helper.make_node("Div", ["centred", "contrast"], ["shape"]),
        helper.make_node("MatMul", ["shape", "projection"], ["of_shape"]),
        helper.make_node("Flatten", ["levels"], ["means"]),
        helper.make_node("Sub", ["means", "half"], ["tint"]),
        helper.make_node("MatMul", ["tint", "colour"], ["of_colour"]),
        helper.make_node("Add", ["of_shape", "of_colour"], ["both"]),
        helper.make_node("Add", ["both", "constant"], ["embedding"]),
    ]
    held = {
        "last": np.array([1], np.int64),
        "some": np.array([_FLAT], np.float32),
        "half": np.array([0.5], np.float32),
        "projection": projection,
        "colour": colour,
        "constant": constant,
    }
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])
    return _model(nodes, [pixels], held, dim)


def _text_model(words: Floats, dim: int) -> Any:
    nodes = [
        helper.make_node("Gather", ["words", "input_ids"], ["vectors"]),
        helper.make_node("Cast", ["attention_mask"], ["weights"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["weights", "last"], ["columns"]),
        helper.make_node("Mul", ["vectors", "columns"], ["words_only"]),
        helper.make_node("ReduceSum", ["words_only", "tokens"], ["embedding"], keepdims=0),
    ]
    held = {"words": words, "last": np.array([2], np.int64), "tokens": np.array([1], np.int64)}
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    return _model(nodes, inputs, held, dim)


def _model(nodes: list[Any], inputs: list[Any], held: Mapping[str, NDArray[Any]], dim: int) -> Any:
    output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", dim])
    weights = [numpy_helper.from_array(values, name) for name, values in held.items()]
    graph = helper.make_graph(nodes, "encoder", inputs, [output], weights)
    # An old format, which every onnxruntime of the last years reads.
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _tokenizer() -> dict[str, Any]:
    """Return a tokenizer of whole words as the library `tokenizers` stores it."""
    words = [PADDING, UNKNOWN, *COLOURS]
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": at, "content": word, **special} for at, word in enumerate(words[:2])],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {word: at for at, word in enumerate(words)}, "unk_token": UNKNOWN},
    }
