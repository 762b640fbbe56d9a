"""Models with random weights, built in milliseconds: the architectures are real, what they say is not."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from transformers import CLIPConfig, CLIPModel

from align_data.train.tokens import learn

TEXTS = ["a dog", "two cats on a mat", "", "Der Hund läuft", "a photo of a very long caption " * 9, "猫和狗"]

ENCODER_CARD: dict[str, Any] = {
    "size": 32,
    "layout": "nchw",
    "channels": "rgb",
    "scale": 1 / 255,
    "mean": [0.5, 0.4, 0.3],
    "std": [0.25, 0.3, 0.5],
    "resize": "shortest",
    "resize_to": 40,
    "resample": "bicubic",
    "dim": 24,
    "max_tokens": 16,
    "padding": "longest",
    "pad_token": '"[PAD]"',
}


def card_text(**changed: Any) -> str:
    """Return ENCODER_CARD as YAML, with keys changed, added, or left out where None."""
    card = {**ENCODER_CARD, **changed}
    return "".join(f"{key}: {str(value).lower() if value in (True, False) else value}\n"
                   for key, value in card.items() if value is not None)  # fmt: skip


def save_tokenizer(path: Path) -> None:
    """Learn WordPiece from a few texts."""
    learn(TEXTS[:4], 200).save(str(path))


def tiny_clip() -> Any:
    """Return a CLIP whose tokenizer is WordPiece's: its end is [SEP]."""
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**small, "vocab_size": 200, "max_position_embeddings": 16}
    text |= {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text, vision_config={**small, "image_size": 32, "patch_size": 8}, projection_dim=24)
    return CLIPModel(config).eval()


def export_clip(folder: Path) -> None:
    """Write a tiny CLIP as image.onnx and text.onnx, with its tokenizer and card."""
    model = tiny_clip()

    class Part(torch.nn.Module):
        def __init__(self, method: str) -> None:
            super().__init__()
            self.model, self.method = model, method

        def forward(self, *tensors: Any) -> Any:
            names = ["pixel_values"] if self.method == "get_image_features" else ["input_ids", "attention_mask"]
            return getattr(self.model, self.method)(**dict(zip(names, tensors, strict=True))).pooler_output

    ids = torch.randint(4, 99, (3, 16))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no further package is the old one
        torch.onnx.export(
            Part("get_image_features"), (torch.randn(3, 3, 32, 32),), folder / "image.onnx", dynamo=False,
            input_names=["pixel_values"], output_names=["image_embeds"], dynamic_axes={"pixel_values": {0: "rows"}},
        )  # fmt: skip
        dynamic = {0: "rows", 1: "tokens"}
        torch.onnx.export(
            Part("get_text_features"), (ids, torch.ones_like(ids)), folder / "text.onnx", dynamo=False,
            input_names=["input_ids", "attention_mask"], output_names=["text_embeds"],
            dynamic_axes={"input_ids": dynamic, "attention_mask": dynamic},
        )  # fmt: skip
    save_tokenizer(folder / "tokenizer.json")
    (folder / "card.yaml").write_text(card_text())


def linear_encoder(
    folder: Path,
    *,
    dim: int = 4,
    side: int | str = 8,
    rows: int | str = "rows",
    bias: float = 0.0,
    kind: int = TensorProto.FLOAT,
    name: str = "pixel_values",
    extra: str | None = None,
    **card: Any,
) -> Path:
    """Write an encoder of images alone: the channels' means times random weights, plus a bias."""
    weights = np.random.default_rng(0).normal(size=(dim, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", [name], ["float"], to=TensorProto.FLOAT),
        helper.make_node("GlobalAveragePool", ["float"], ["means"]),
        helper.make_node("Flatten", ["means"], ["row"]),
        helper.make_node("Gemm", ["row", "weights", "bias"], ["image_embeds"], transB=1),
    ]
    inputs = [helper.make_tensor_value_info(name, kind, [rows, 3, side, side])]
    if extra is not None:
        inputs.append(helper.make_tensor_value_info(extra, TensorProto.FLOAT, [1]))
    outputs = [helper.make_tensor_value_info("image_embeds", TensorProto.FLOAT, [rows, dim])]
    held = [
        numpy_helper.from_array(weights, "weights"),
        numpy_helper.from_array(np.full(dim, bias, np.float32), "bias"),
    ]
    graph = helper.make_graph(nodes, "encoder", inputs, outputs, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    folder.mkdir(exist_ok=True)
    onnx.save(model, str(folder / "image.onnx"))
    plain = {"size": 8, "resize": "squash", "resize_to": None, "dim": dim, "max_tokens": None, "pad_token": None}
    (folder / "card.yaml").write_text(card_text(**{**plain, "mean": [0, 0, 0], "std": [1, 1, 1], **card}))
    return folder
