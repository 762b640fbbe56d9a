"""A folder of transformers: its weights loaded into a class that is ours to choose, never into code beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers

from align_data.common.errors import InputError
from align_data.models.encoder import ModelIdentity
from align_data.models.pytorch.families import FAMILIES, Architecture
from align_data.models.pytorch.folder_files import (
    CONFIG,
    PROCESSOR_FILES,
    TOKENIZER_FILES,
    digest_of,
    weight_files,
)
from align_data.models.pytorch.image_processors import ImageInput, image_input
from align_data.models.pytorch.quiet import quiet
from align_data.models.pytorch.text_inputs import TextInputs

ADAPTER = "adapter_config.json"
_ELSEWHERE = frozenset(
    {
        *("auto_map", "quantization_config", "transformers_weights", "kernel_config", "use_kernels"),
        *("attn_implementation", "_attn_implementation", "_attn_implementation_internal"),
        *("experts_implementation", "_experts_implementation", "_experts_implementation_internal"),
    }
)
"""Keys of a config by which weights or code could come from elsewhere than the files that are hashed."""


class OpenedFolder(NamedTuple):
    """A model that is ready, with how images and texts become its input."""

    family: Architecture
    model: Any
    images: ImageInput
    texts: TextInputs
    identity: ModelIdentity
    folder: Path


def open_folder(folder: Path, config: Mapping[str, Any], device: torch.device) -> OpenedFolder:
    """Open a folder of transformers; InputError says what is wrong with it."""
    kind = config.get("model_type")
    family = FAMILIES.get(str(kind))
    if family is None:
        raise InputError(f"{folder / CONFIG}: a model of the type {str(kind)[:100]}; known are: {', '.join(FAMILIES)}")
    weights, safe = weight_files(folder)
    images = image_input(folder, family.processor)
    texts = TextInputs(
        folder, _max_tokens(config, family, folder), fixed=family.fixed_length is not None, unused=family.unused
    )
    digest = digest_of(folder, weights, [CONFIG, *TOKENIZER_FILES, *PROCESSOR_FILES])
    model = load(folder, family.architecture, config, weights, safe=safe)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    identity = ModelIdentity(str(kind), digest, versions)
    return OpenedFolder(family, model.to(device).eval(), images, texts, identity, folder)


def _max_tokens(config: Mapping[str, Any], family: Architecture, folder: Path) -> int:
    text = config.get("text_config")
    places = (text if isinstance(text, dict) else config).get("max_position_embeddings")
    if places is None:  # as the library has it
        default = getattr(transformers, family.architecture).config_class()
        places = getattr(default, "text_config", default).max_position_embeddings
    if type(places) is not int or places < 2:
        raise InputError(f"{folder / CONFIG}: max_position_embeddings takes a number above 1; here it has {places!r}")
    return min(places, family.fixed_length or places)


def load(folder: Path, architecture: str, config: Mapping[str, Any], weights: list[str], *, safe: bool) -> Any:
    """Return a model of a class of transformers with a folder's weights; InputError where they do not fit it."""
    kind = getattr(transformers, architecture)
    if (folder / ADAPTER).exists():  # whose weights the library would take instead
        raise InputError(f"{folder} has {ADAPTER}: it is an adapter of another model, which cannot be opened")
    try:
        with quiet():
            settings = kind.config_class.from_dict(_harmless(config))
            _check_size(kind, settings, folder, sum((folder / name).stat().st_size for name in weights))
            model, loading = kind.from_pretrained(
                str(folder),
                config=settings,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                use_safetensors=safe,
                weights_only=True,
                trust_remote_code=False,
                local_files_only=True,
                dtype=torch.float32,
            )
        # Of another shape, a name comes with both shapes.
        unusable = [*loading["missing_keys"], *(mismatch[0] for mismatch in loading["mismatched_keys"])]
    except InputError:
        raise
    except Exception as error:  # of every kind, for files may say anything
        message = (str(error).strip().partition("\n")[0] or type(error).__name__)[:300]
        raise InputError(f"{folder} cannot be opened as {architecture}: {message}") from None
    if unusable:
        raise InputError(
            f"{folder} cannot be opened as {architecture}: {len(unusable):,} weights are missing or of another "
            f"shape, the first: {unusable[0]}"
        )
    return model


def _harmless(tree: Any) -> Any:
    """Return a config without what names other files, code, or kernels of the hub."""
    if isinstance(tree, dict):
        return {key: _harmless(branch) for key, branch in tree.items() if key not in _ELSEWHERE}
    return tree


def _check_size(kind: Any, settings: Any, folder: Path, size: int) -> None:
    """Raise InputError where a config describes more weights than its files can hold: they would all be made first."""
    with torch.device("meta"):
        model = kind(settings)
    count = sum(parameter.numel() for parameter in model.parameters())
    if count > size:
        raise InputError(f"{folder / CONFIG} describes {count:,} weights, but their files have {size:,} bytes")
