"""The image processors of transformers, read as a preparation and what its pixels become.

The library reads the file itself, with its own defaults, and never runs code that comes with a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import transformers

from align_data.common.errors import InputError
from align_data.decoding.inputs.normalisation import Normalisation
from align_data.decoding.inputs.preparation import Preparation, Resample
from align_data.models.pytorch.folder_files import PROCESSOR_FILES, read_json
from align_data.models.vectors import MAX_PIXELS

KNOWN = ("CLIP", "Siglip", "Siglip2", "EfficientNet", "Flava", "ChineseCLIP", "Blip", "Vilt")
_MAX_SIDE, _MAX_PATCHES = 4096, 2**16
_RESAMPLE: Mapping[int, Resample] = {
    0: "nearest",
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
    4: "box",
    5: "hamming",
}
_LONGEST, _SHORTEST = 1333, 800
"""How much longer than its shorter side an image may be for ViLT: the proportions that its library has for COCO."""


class ImageInput(NamedTuple):
    """How an image becomes a model's input."""

    preparation: Preparation
    normalisation: Normalisation


def image_input(folder: Path, usual: str) -> ImageInput:
    """Read a folder's image processor, by default the one called `usual`; InputError where it is not one of KNOWN."""
    file = folder / _kind_file(folder)
    settings = read_json(file)
    settings = settings.get("image_processor", settings)
    kind = str(settings.get("image_processor_type", settings.get("feature_extractor_type", usual)))
    for ending in ("Pil", "Fast", "ImageProcessor", "FeatureExtractor"):
        kind = kind.removesuffix(ending)
    if kind not in KNOWN:
        raise InputError(f"{file}: images are prepared by {kind}ImageProcessor; known are: {', '.join(KNOWN)}")
    name = f"{kind}ImageProcessor"
    # Pillow's, where there are two: with torchvision the library has another one by that name, of other values.
    processor = getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)
    known = {key: value for key, value in settings.items() if key != "auto_map"}
    try:
        return _read(processor.from_dict(known), str(file))
    except InputError:
        raise
    except Exception as error:  # of every kind, for a file may say anything
        message = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(f"{file} is not how images are prepared: {message[:300]}") from None


def _kind_file(folder: Path) -> str:
    for name in PROCESSOR_FILES:
        if (folder / name).exists():
            return name
    raise InputError(f"{folder} has no {PROCESSOR_FILES[0]}: it does not say how images are prepared")


def _read(processor: Any, file: str) -> ImageInput:
    if not processor.do_resize:
        raise InputError(f"{file}: do_resize is false, but images of every size have to be resized")
    resample = _RESAMPLE[int(processor.resample)]
    name = type(processor).__name__
    if name.startswith("Siglip2"):
        size = _whole(processor.patch_size, "patch_size", file)
        patches = _whole(processor.max_num_patches, "max_num_patches", file, _MAX_PATCHES)
        preparation = Preparation(0, 0, resample, "patches", multiple=size, patches=patches)
    elif name.startswith("Vilt"):
        short = _whole(processor.size.shortest_edge, "shortest_edge", file)
        longest, multiple = int(_LONGEST / _SHORTEST * short), _whole(processor.size_divisor, "size_divisor", file)
        preparation = Preparation(short, longest, resample, "bounded", multiple=multiple)
    else:
        preparation = _fixed(processor, resample, file)
    if preparation.most_pixels > MAX_PIXELS:
        raise InputError(f"{file}: images come out larger than the {MAX_PIXELS:,} pixels that an encoder may see")
    return ImageInput(preparation, Normalisation(_table(processor)))


def _fixed(processor: Any, resample: Resample, file: str) -> Preparation:
    size, crop = processor.size, processor.crop_size if getattr(processor, "do_center_crop", False) else None
    shortest = size.shortest_edge
    if shortest is not None and (size.longest_edge is not None or crop is None):
        raise InputError(f"{file}: images come out in sizes of their own, but the model takes one size")
    to = [_whole(side, "size", file) for side in ((shortest, shortest) if shortest else (size.width, size.height))]
    cut = to if crop is None else [_whole(side, "crop_size", file) for side in (crop.width, crop.height)]
    resize_to = None if crop is None else (to[0], to[1])
    return Preparation(cut[0], cut[1], resample, "shortest" if shortest else "squash", resize_to)


def _whole(number: Any, key: str, file: str, most: int = _MAX_SIDE) -> int:
    if type(number) is not int or not 0 < number <= most:
        raise InputError(f"{file}: {key} takes 1 to {most:,}; here it has {number!r}")
    return number


def _table(processor: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return what each value becomes, computed in the same steps and precisions as the library has them."""
    values = np.repeat(np.arange(256, dtype=np.uint8)[:, np.newaxis], 3, axis=1)
    table = values.astype(np.float32)
    if processor.do_rescale:
        table = (values.astype(np.float64) * processor.rescale_factor).astype(np.float32)
        if getattr(processor, "rescale_offset", False):
            table = table - np.float32(1)
    mean, std = (np.array(three, np.float32) for three in (processor.image_mean, processor.image_std))
    with np.errstate(all="ignore"):  # what is not a number is refused below
        if processor.do_normalize:
            table = (table - mean) / std
        if getattr(processor, "include_top", False):
            table = table / std
    if not mean.shape == std.shape == (3,) or not np.isfinite(table).all():
        raise ValueError("image_mean, image_std and rescale_factor do not make numbers of pixels")
    return table
