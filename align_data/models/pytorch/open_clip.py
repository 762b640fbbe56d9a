"""open_clip:ARCHITECTURE@FILE: a model that open_clip builds, with weights in a local file.

Nothing is downloaded: which pixels and which tokenizer weights have been trained with follows from the architecture
where all that is published for it agrees, and else from open_clip_config.json beside the file, as the hub has it.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from align_data.common.errors import AlignDataError, InputError, SignalError, nearest
from align_data.common.user_files import check_user_file
from align_data.decoding.inputs.normalisation import Normalisation
from align_data.decoding.inputs.preparation import Pixels, Preparation, Resample
from align_data.models.encoder import ModelIdentity, Vectors
from align_data.models.pytorch.encoders import sentences
from align_data.models.pytorch.folder_files import MAX_WEIGHTS, TOKENIZER_FILES, check_small_files, digest_of, read_json
from align_data.models.pytorch.pixel_inputs import trial_image
from align_data.models.pytorch.quiet import quiet
from align_data.models.spaces import SPHERE
from align_data.models.vectors import check_pixels, in_batches, stacked, unit

CONFIG = "open_clip_config.json"
ENDINGS = (".safetensors", ".pt", ".pth", ".bin")
_PIXELS = ("mean", "std", "interpolation", "resize_mode")
"""What decides how pixels are made, besides their size, which the architecture has."""
_DEFAULTS: Mapping[str, Any] = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
"""open_clip's own."""


class OpenClipEncoder:
    """A model of open_clip."""

    space = SPHERE

    def __init__(self, spec: str, device: torch.device) -> None:
        architecture, file = _parsed(spec)
        library = _library()
        _check_architecture(library, architecture)
        check_small_files(file.parent)
        check_user_file(str(file), "the model's file", MAX_WEIGHTS)
        pixels = _pixels(library, architecture, file)
        self._tokenize = _tokenizer(library, architecture, file)
        self._model = _model(library, architecture, file).to(device).eval()
        self._device, self._name = device, str(file)
        self.preparation = _preparation(pixels, self._model.visual.image_size, file)
        self._normalise = Normalisation(_table(pixels, file))
        self.device = str(device)
        self.identity = ModelIdentity("open_clip", _digest(architecture, pixels, file), _versions())
        trial = self.preparation.apply(trial_image())
        self.dim = unit(self._image_rows([trial]), self._name).shape[1]
        if unit(self._text_rows(["a photo of a dog"]), self._name).shape[1] != self.dim:
            raise SignalError(f"{file} embeds images and texts in spaces of different dimensions")

    def images(self, pixels: Sequence[Pixels], /) -> Vectors:
        """Embed images as `preparation` makes them."""
        check_pixels(pixels, self.preparation)
        return unit(stacked(in_batches(pixels, self._image_rows), self.dim), self._name)

    def texts(self, texts: Sequence[str], /) -> Vectors:
        """Embed texts."""
        return unit(stacked(in_batches(texts, self._text_rows), self.dim), self._name)

    def _image_rows(self, pixels: Sequence[Pixels]) -> Vectors:
        with sentences(self._name):
            return _array(self._model.encode_image(torch.from_numpy(self._normalise(pixels)).to(self._device)))

    def _text_rows(self, texts: Sequence[str]) -> Vectors:
        with sentences(self._name), quiet():
            return _array(self._model.encode_text(self._tokenize(list(texts)).to(self._device)))


def _array(features: Tensor) -> Vectors:
    return np.asarray(features.float().cpu().numpy())


def _parsed(spec: str) -> tuple[str, Path]:
    architecture, at, file = spec.partition(":")[2].partition("@")
    path = Path(file)
    if not architecture or not at or path.suffix not in ENDINGS:
        raise InputError(f"{spec}: it takes open_clip:ARCHITECTURE@FILE, a file that ends in {', '.join(ENDINGS)}")
    return architecture, path


def _library() -> Any:
    try:
        return importlib.import_module("open_clip")
    except Exception as error:  # its torchvision may be built for another PyTorch
        message = str(error).strip().partition("\n")[0] or type(error).__name__
        raise SignalError(f"open_clip is installed, but cannot be imported: {message}") from None


def _check_architecture(library: Any, architecture: str) -> None:
    known = library.list_models()
    if architecture not in known:
        raise InputError(
            f"open_clip has no architecture {architecture!r}{nearest(architecture, known)}; "
            "python -c 'import open_clip; print(open_clip.list_models())' names them"
        )


def _pixels(library: Any, architecture: str, file: Path) -> dict[str, Any]:
    """Return how pixels are made for the weights of a file."""
    beside = file.parent / CONFIG
    if beside.exists():
        written = read_json(beside).get("preprocess_cfg")
        if not isinstance(written, dict):
            raise InputError(f"{beside} has no mapping preprocess_cfg")
        return {key: written.get(key) or _DEFAULTS[key] for key in _PIXELS}
    published = []
    for tag in library.list_pretrained_tags_by_model(architecture):
        tagged = library.get_pretrained_cfg(architecture, tag)
        pixels = {key: tagged.get(key) or _DEFAULTS[key] for key in _PIXELS}
        if pixels not in published:
            published.append(pixels)
    if len(published) > 1:
        raise InputError(
            f"weights of {architecture} are published for {len(published)} ways to prepare images: put your {CONFIG} "
            f"beside {file}"
        )
    return published[0] if published else dict(_DEFAULTS)


def _preparation(pixels: Mapping[str, Any], size: Any, file: Path) -> Preparation:
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    mode, resample = pixels["resize_mode"], pixels["interpolation"]
    resamples: Mapping[Any, Resample] = {"bicubic": "bicubic", "bilinear": "bilinear"}
    if resample not in resamples or mode not in ("shortest", "squash") or (mode == "shortest" and height != width):
        raise InputError(
            f"{file}: images of {width} x {height} by resize_mode {mode!r} and interpolation {resample!r} cannot be "
            "prepared; it takes shortest (of squares) or squash, bicubic or bilinear"
        )
    to = (width, height) if mode == "shortest" else None
    return Preparation(width, height, resamples[resample], mode, to, offset="even")


def _table(pixels: Mapping[str, Any], file: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return what each value becomes, in the steps of torchvision."""
    try:
        mean, std = (np.array(pixels[key], np.float32) for key in ("mean", "std"))
        with np.errstate(all="ignore"):  # what is not a number is refused below
            table = (np.arange(256, dtype=np.float32)[:, np.newaxis] / np.float32(255) - mean) / std
    except (TypeError, ValueError):
        table = np.full((256, 3), np.nan, np.float32)
    if table.shape != (256, 3) or not np.isfinite(table).all():
        raise InputError(f"{file.parent / CONFIG}: mean and std take three numbers, those of std not 0")
    return np.asarray(table, np.float32)


def _tokenizer(library: Any, architecture: str, file: Path) -> Any:
    """Return what makes tokens of texts: open_clip's own, or one whose files are beside the weights."""
    text = library.get_model_config(architecture)["text_cfg"]
    if text.get("hf_model_name"):
        raise InputError(
            f"the text tower of {architecture} is built from the hub's {text['hf_model_name']}, and cannot be opened "
            "from a file"
        )
    name, settings = text.get("hf_tokenizer_name"), dict(text.get("tokenizer_kwargs", {}))
    if not name and "siglip" not in architecture.lower():
        return library.get_tokenizer(architecture)
    if not (file.parent / "tokenizer.json").exists():
        raise InputError(
            f"texts for {architecture} need the tokenizer of {name or 'SigLIP'}: put its tokenizer.json and "
            f"tokenizer_config.json beside {file}"
        )
    try:
        with quiet():
            return library.tokenizer.HFTokenizer(
                str(file.parent),
                context_length=text.get("context_length", 77),
                tokenizer_mode=text.get("tokenizer_mode"),
                trust_remote_code=False,
                local_files_only=True,
                **settings,
            )
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # of every kind, for files may say anything; tokenizers panics, too
        message = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(f"the tokenizer of {file.parent} cannot be used: {message[:300]}") from None


def _model(library: Any, architecture: str, file: Path) -> Any:
    try:
        with quiet(), _silent():
            return library.create_model(architecture, pretrained=str(file), weights_only=True, require_pretrained=True)
    except AlignDataError:
        raise
    except Exception as error:  # of every kind, for a file may hold anything
        message = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(f"{file} cannot be opened as {architecture}: {message[:300]}") from None


@contextmanager
def _silent() -> Iterator[None]:
    """Silence what open_clip logs, which is not of the level of anything that would be raised."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _digest(architecture: str, pixels: Mapping[str, Any], file: Path) -> str:
    chosen = hashlib.sha256(json.dumps([architecture, dict(pixels)], sort_keys=True).encode())
    chosen.update(digest_of(file.parent, [file.name], TOKENIZER_FILES).encode())
    return chosen.hexdigest()


def _versions() -> dict[str, str]:
    return {"open_clip_torch": metadata.version("open_clip_torch"), "torch": torch.__version__}
