"""The model: ALIGN's two towers as transformers has them, in named sizes, and one that is ready to embed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AlignConfig, AlignModel, AlignTextConfig, AlignVisionConfig

from align_data.common.errors import InputError, TrainError
from align_data.models.lifts import lift_of
from align_data.models.pytorch.device import torch_device
from align_data.models.pytorch.folder_files import weight_files
from align_data.models.pytorch.hub import downloaded
from align_data.models.pytorch.quiet import quiet
from align_data.train.metrics import unit
from align_data.train.pixel_tensors import to_input
from align_data.train.preprocessing import Pixels
from align_data.train.tokens import Ids, encode, padded

TOKENIZER = "tokenizer.json"
Embeddings = NDArray[np.float32]
"""(rows, dimension), of unit length."""
_TOGETHER = 64
"""Images or texts that are embedded at a time."""


@dataclass(frozen=True)
class ModelSize:
    """A named model: the side of its images, and what its towers differ in from transformers' defaults."""

    side: int
    vision: dict[str, Any]
    text: dict[str, Any]


SIZES = {
    "tiny": ModelSize(
        32,
        {
            "width_coefficient": 1.0,
            "depth_coefficient": 1.0,
            "kernel_sizes": [3, 3, 3, 3],
            "in_channels": [32, 16, 24, 48],
            "out_channels": [16, 24, 48, 96],
            "strides": [1, 2, 2, 1],
            "num_block_repeats": [1, 2, 2, 1],
            "expand_ratios": [1, 4, 4, 4],
            "hidden_dim": 64,
            "drop_connect_rate": 0.0,
        },
        {
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 256,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
    ),
    "small": ModelSize(
        128,
        {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280},
        {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 512},
    ),
    "b3-mini": ModelSize(
        289,
        {"width_coefficient": 1.2, "depth_coefficient": 1.4, "hidden_dim": 1536},
        {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024},
    ),
    "b7-base": ModelSize(
        289,
        {"width_coefficient": 2.0, "depth_coefficient": 3.1, "hidden_dim": 2560},
        {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    ),
}


def build(size: str, side: int, vocabulary: int, max_tokens: int, temperature: float) -> AlignModel:
    """Return a model of a named size with random weights."""
    named = SIZES[size]
    # 0.99 would make each batch's own statistics the running ones: PyTorch's momentum is 1 minus TensorFlow's.
    vision = AlignVisionConfig(batch_norm_momentum=0.1, **named.vision)
    text = AlignTextConfig(vocab_size=vocabulary, max_position_embeddings=max_tokens, **named.text)
    config = AlignConfig(
        text_config=text.to_dict(),
        vision_config=vision.to_dict(),
        projection_dim=_width(vision),
        temperature_init_value=temperature,
    )
    model = AlignModel(config)
    for module in model.vision_model.modules():
        if isinstance(module, nn.Conv2d):
            # As EfficientNet has it. With transformers' 0.02 the variance is far below what batch norm adds to it.
            fan_out = module.out_channels // module.groups * math.prod(module.kernel_size)
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
    return _usable(sized(model, side))


def sized(model: AlignModel, side: int) -> AlignModel:
    """Make a model one of images of `side` pixels, which its weights have nothing to do with."""
    vision = model.config.vision_config
    vision.image_size = side
    last_map = math.ceil(side / (2 * math.prod(vision.strides)))
    if last_map > vision.hidden_dim:  # what is averaged must be all of the map
        vision.hidden_dim = last_map
        model.vision_model.pooler = nn.AvgPool2d(last_map, ceil_mode=True)
    return model


def _width(vision: AlignVisionConfig) -> int:
    """Return how many channels the last map has: there is no projection behind it, so the text's must be as wide."""
    divisor, width = vision.depth_divisor, vision.out_channels[-1] * vision.width_coefficient
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return int(rounded if rounded >= 0.9 * width else rounded + divisor)


def _usable(model: AlignModel) -> AlignModel:
    """Leave out of training what the embeddings do not depend on."""
    if model.text_model.pooler is not None:
        model.text_model.pooler.requires_grad_(False)
    return model


def open_checkpoint(path: str) -> tuple[AlignModel, Tokenizer, int]:
    """Return model, tokenizer and side of a folder, or of a name on the Hugging Face hub; or TrainError."""
    try:
        with quiet():
            folder = Path(path) if Path(path).is_dir() else downloaded(path)
            kind = json.loads((folder / "config.json").read_text()).get("model_type")
            if kind != AlignConfig.model_type:
                raise TrainError(f"it is a model of the type {kind}")
            weight_files(folder)
            model, loading = AlignModel.from_pretrained(folder, output_loading_info=True, ignore_mismatched_sizes=True)
            if unusable := [str(name) for key in ("missing_keys", "mismatched_keys") for name in loading[key]]:
                raise TrainError(f"{len(unusable):,} weights are missing or of another shape, the first: {unusable[0]}")
            tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:
        message = str(error).strip().partition("\n")[0] or type(error).__name__
        raise TrainError(
            f"{path} is not a model that can be opened ({message}): give a folder that `align-data train` wrote, or a "
            "checkpoint of transformers' AlignModel with its tokenizer.json"
        ) from error
    return _usable(model), tokenizer, _side(folder, model)


def _side(folder: Path, model: AlignModel) -> int:
    """Return the pixels that a model's images have: the crop of its preprocessor, where it comes with one."""
    with_crop = folder / "preprocessor_config.json"
    if with_crop.exists():
        crop = json.loads(with_crop.read_text()).get("crop_size")
        if crop:
            return int(crop["height"] if isinstance(crop, dict) else crop)
    return int(model.config.vision_config.image_size)


def image_features(model: AlignModel, pixels: Tensor) -> Tensor:
    """Return what the image tower gives (images, width), of any length."""
    features: Tensor = model.get_image_features(pixel_values=pixels).pooler_output
    return features


def attended(mask: Tensor) -> Tensor:
    """Return a mask as what attention adds: 0 for a token, the least number for none; (texts, 1, tokens, tokens)."""
    added = torch.zeros(mask.shape, device=mask.device).masked_fill(mask == 0, torch.finfo(torch.float32).min)
    return added[:, None, None, :].expand(-1, 1, mask.shape[1], -1)


def text_features(model: AlignModel, ids: Tensor, mask: Tensor) -> Tensor:
    """Return what the text tower gives (texts, width), of any length."""
    if mask.device.type != "cpu":
        mask = attended(mask)  # else transformers asks whether all of it is set, and so waits for the device
    features: Tensor = model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output
    return features


class Dual:
    """A model that is ready to embed."""

    def __init__(self, model: AlignModel, tokenizer: Tokenizer, side: int, device: torch.device) -> None:
        self.model = model.to(device).eval()
        self.tokenizer, self.side, self.device = tokenizer, side, device
        self._width = int(model.config.projection_dim)
        self._lift = lift_of(getattr(model.config, "objective", None), "the model's config.json")
        self.dim, self.space = self._lift.dim(self._width), self._lift.space
        self.temperature = float(model.temperature.detach())

    @classmethod
    def load(cls, path: str, device: str | None = None) -> Dual:
        """Open a folder that train wrote, a checkpoint of transformers, or a name on the hub; TrainError otherwise."""
        return cls(*open_checkpoint(path), device_of(device))

    @property
    def digest(self) -> str:
        """The SHA-256 of weights and tokenizer, and of how a hyperbolic model lifts what its towers give."""
        digest = hashlib.sha256(self.tokenizer.to_str().encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        if self.space.curvature is not None:
            digest.update(repr(self._lift).encode())
        return digest.hexdigest()

    def images(self, pixels: Pixels) -> Embeddings:
        """Embed images of (n, side, side, 3)."""
        with torch.inference_mode():
            parts = [
                image_features(self.model, to_input(pixels[at : at + _TOGETHER], self.device)).cpu().numpy()
                for at in range(0, len(pixels), _TOGETHER)
            ]
        return unit(self._lift.images(np.concatenate([np.empty((0, self._width), np.float32), *parts])))

    def texts(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts."""
        tokens = encode(self.tokenizer, texts, int(self.model.config.text_config.max_position_embeddings))
        with torch.inference_mode():
            parts = [self._texts(tokens[at : at + _TOGETHER]) for at in range(0, len(tokens), _TOGETHER)]
        return unit(self._lift.texts(np.concatenate([np.empty((0, self._width), np.float32), *parts])))

    def _texts(self, tokens: Sequence[Ids]) -> Embeddings:
        ids, mask = (torch.from_numpy(array).to(self.device) for array in padded(tokens))
        return np.asarray(text_features(self.model, ids, mask).cpu().numpy(), np.float32)


def device_of(name: str | None) -> torch.device:
    """Return the named device, by default a GPU if there is one; TrainError if there is no such device."""
    try:
        return torch_device(name)
    except InputError as error:
        raise TrainError(str(error)) from error


def parameters(model: nn.Module) -> int:
    """Return how many weights are trained."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
