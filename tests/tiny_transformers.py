"""Folders of transformers with random weights, one of every architecture that can be opened, saved by the library."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
import transformers
from tiny_models import TEXTS

from align_data.train.tokens import learn

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
SEEN = {"image_size": 32, "patch_size": 8}
WORDS = {"vocab_size": 200, "max_position_embeddings": 24, "pad_token_id": 0}
EFFICIENT = {
    "width_coefficient": 1.0,
    "depth_coefficient": 1.0,
    "kernel_sizes": [3, 3, 3, 3],
    "in_channels": [32, 16, 24, 48],
    "out_channels": [16, 24, 48, 64],
    "strides": [1, 2, 2, 1],
    "num_block_repeats": [1, 1, 1, 1],
    "expand_ratios": [1, 2, 2, 2],
    "hidden_dim": 64,
}


def _pair(kind: Any, text: dict[str, Any], vision: dict[str, Any], **more: Any) -> Any:
    return kind(text_config={**SMALL, **WORDS, **text}, vision_config={**SMALL, **SEEN, **vision}, **more)


def config(name: str) -> Any:
    """Return the config of one architecture."""
    t = transformers
    marks = {"bos_token_id": 2, "eos_token_id": 3}
    if name == "clip":
        return _pair(t.CLIPConfig, marks, {}, projection_dim=24)
    if name == "siglip":
        return _pair(t.SiglipConfig, {"projection_size": 32, **marks}, {})
    if name == "siglip2":
        text = {"projection_size": 32, **marks, "max_position_embeddings": 64}
        return _pair(t.Siglip2Config, text, {"patch_size": 4, "num_patches": 16})
    if name == "align":
        text = {"max_position_embeddings": 80, "hidden_dropout_prob": 0.0}
        return t.AlignConfig(text_config={**SMALL, **WORDS, **text}, vision_config=EFFICIENT, projection_dim=64)
    if name == "flava":
        parts = {part: {**SMALL, **SEEN} for part in ("image_config", "multimodal_config")}
        return t.FlavaConfig(text_config={**SMALL, **WORDS}, **parts, hidden_size=32, projection_dim=24)
    if name == "chinese_clip":
        return _pair(t.ChineseCLIPConfig, {}, {}, projection_dim=24)
    if name == "blip":
        text = {"encoder_hidden_size": 32, "bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3}
        return _pair(t.BlipConfig, text, {}, image_text_hidden_size=24, projection_dim=24)
    return t.ViltConfig(**SMALL, **SEEN, **WORDS, max_image_length=-1)


def processor(name: str) -> Any:
    """Return the image processor of one architecture."""
    t = transformers
    crop = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
    square = {"height": 32, "width": 32}
    return {
        "clip": lambda: t.CLIPImageProcessorPil(**crop),
        "siglip": lambda: t.SiglipImageProcessorPil(size=square),
        "siglip2": lambda: t.Siglip2ImageProcessorPil(patch_size=4, max_num_patches=30),
        "align": lambda: t.EfficientNetImageProcessorPil(
            size={"height": 38, "width": 38}, crop_size=square, do_center_crop=True, include_top=False,
            rescale_factor=1 / 127.5, rescale_offset=True, do_normalize=False,
        ),
        "flava": lambda: t.FlavaImageProcessorPil(size=square, crop_size=square),
        "chinese_clip": lambda: t.ChineseCLIPImageProcessorPil(**crop),
        "blip": lambda: t.BlipImageProcessorPil(size=square),
        "vilt": lambda: t.ViltImageProcessorPil(size={"shortest_edge": 32}, size_divisor=8),
    }[name]()  # fmt: skip


ARCHITECTURES = {
    "clip": "CLIPModel",
    "siglip": "SiglipModel",
    "siglip2": "Siglip2Model",
    "align": "AlignModel",
    "flava": "FlavaModel",
    "chinese_clip": "ChineseCLIPModel",
    "blip": "BlipForImageTextRetrieval",
    "vilt": "ViltForImageAndTextRetrieval",
}


def save_model(name: str, folder: Path) -> Any:
    """Write a folder as the library does, and return the model."""
    torch.manual_seed(1)
    model = getattr(transformers, ARCHITECTURES[name])(config(name)).eval()
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            # Of their own ranges some are 0 or so small that nothing matters; a map of few channels needs more.
            kernel = math.prod(parameter.shape[1:]) if isinstance(module, torch.nn.Conv2d) else 50
            if not isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.normal_(parameter, std=math.sqrt(2 / kernel))
    model.save_pretrained(folder)
    processor(name).save_pretrained(folder)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=learn(TEXTS[:4], 200),
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=512,
        model_input_names=["input_ids"]
        if name.startswith("siglip")
        else ["input_ids", "token_type_ids", "attention_mask"],
    )
    tokenizer.save_pretrained(folder)
    return model
