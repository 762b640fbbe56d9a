"""The architectures of transformers that can be opened: class, padding of texts, and what is taken of the output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Architecture:
    """One architecture."""

    architecture: str
    """The class, in transformers."""
    processor: str
    """The image processor of a folder that does not name one."""
    pools: Literal["vectors", "first"] = "vectors"
    """Whether its features are vectors, or those of all tokens, whose first is the vector."""
    fixed_length: int | None = None
    """The tokens that every text is padded to, at most; None pads as far as a text needs."""
    unused: tuple[str, ...] = ()
    """What its tokenizer gives and it does not take."""
    scorer: bool = False
    """Whether it scores pairs, and embeds neither."""


FAMILIES: Mapping[str, Architecture] = {
    "clip": Architecture("CLIPModel", "CLIP"),
    "siglip": Architecture("SiglipModel", "Siglip", fixed_length=8192),
    "siglip2": Architecture("Siglip2Model", "Siglip2", fixed_length=64),
    "align": Architecture("AlignModel", "EfficientNet", fixed_length=64),
    "flava": Architecture("FlavaModel", "Flava", pools="first"),
    "chinese_clip": Architecture("ChineseCLIPModel", "ChineseCLIP"),
    "blip": Architecture("BlipForImageTextRetrieval", "Blip", unused=("token_type_ids",), scorer=True),
    "vilt": Architecture("ViltForImageAndTextRetrieval", "Vilt", scorer=True),
}
"""By the model_type of their config."""
