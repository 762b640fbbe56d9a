"""The files of a model's folder: which there are, how large they may be, and the hash of those that decide values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from align_data.common.errors import InputError
from align_data.common.user_files import check_user_file, read_user_file

CONFIG = "config.json"
SAFE, PICKLED = "model.safetensors", "pytorch_model.bin"
INDEX = ".index.json"
VOCABULARIES = (
    *("tokenizer.json", "vocab.json", "vocab.txt"),
    *("spiece.model", "tokenizer.model", "sentencepiece.bpe.model"),
)
"""Files one of which a tokenizer has: without any, the library makes one that knows no word."""
TOKENIZER_FILES = (
    *VOCABULARIES,
    *("merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
)
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
MAX_WEIGHTS = 16 * 2**30
"""Bytes of all weights, at most: no encoder that is published has more."""
MAX_FILE = 2**26
"""Bytes of any other file."""
_READ_WHOLE = (".json", ".txt", ".model", ".jinja")
_MAX_NUMBER, _MAX_LAYERS = 2**24, 1000
"""What no number of a config exceeds, and how often it has layers at most: models are built as it says."""


def read_json(path: Path) -> dict[str, Any]:
    """Return the mapping of a JSON file; InputError where it is none."""
    content = read_user_file(str(path), "the model's file", MAX_FILE)
    try:
        mapping = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    if not isinstance(mapping, dict):
        raise InputError(f"{path} is not a mapping")
    return mapping


def read_config(folder: Path) -> dict[str, Any]:
    """Return a folder's config; InputError where it describes a model that could not be built."""
    path = folder / CONFIG
    config = read_json(path)
    for key, number in _numbers(config):
        if abs(number) > (_MAX_LAYERS if "layers" in key else _MAX_NUMBER):
            raise InputError(f"{path}: {key} is {number:,}, which no model has")
    return config


def check_small_files(folder: Path) -> None:
    """Raise InputError where a file that libraries read whole, whatever it is for, is too large or is no file."""
    for path in sorted(folder.iterdir()):
        if path.suffix in _READ_WHOLE and path.exists():
            check_user_file(str(path), "the model's file", MAX_FILE)


def _numbers(tree: Any, key: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(tree, dict):
        for name, branch in tree.items():
            yield from _numbers(branch, str(name))
    elif isinstance(tree, list):
        for branch in tree:
            yield from _numbers(branch, key)
    elif type(tree) is int:
        yield key, tree


def weight_files(folder: Path) -> tuple[list[str], bool]:
    """Return the names of the files of weights, and whether they are safetensors; nothing of them is read.

    InputError where there are none, where an index names a file outside of the folder, and where they are too large.
    """
    for whole, safe in ((SAFE, True), (PICKLED, False)):
        index = folder / f"{whole}{INDEX}"
        if (folder / whole).exists():
            names = [whole]
        elif index.exists():
            names = _indexed(index)
        else:
            continue
        sizes = [check_user_file(str(folder / name), "the model's file", MAX_WEIGHTS) for name in names]
        if sum(sizes) > MAX_WEIGHTS:
            raise InputError(f"the weights of {folder} have {sum(sizes):,} bytes; at most {MAX_WEIGHTS:,} are read")
        return names, safe
    raise InputError(f"{folder} has no weights: it takes {SAFE}, {PICKLED} or several with their index")


def _indexed(index: Path) -> list[str]:
    weights = read_json(index).get("weight_map")
    if not isinstance(weights, dict) or not weights:
        raise InputError(f"{index} names no file")
    names = sorted({str(name) for name in weights.values()})
    for name in names:
        if Path(name).name != name:
            raise InputError(f"{index} names {name!r}, which is not a file of the folder")
    return names


def digest_of(folder: Path, weights: Sequence[str], others: Sequence[str]) -> str:
    """Return the SHA-256 of all files that decide what a model says, of those that there are."""
    digest = hashlib.sha256()
    for name in sorted({*weights, *others}):
        if not (folder / name).exists():
            continue
        check_user_file(str(folder / name), "the model's file", MAX_WEIGHTS if name in weights else MAX_FILE)
        digest.update(f"{name}\0".encode())
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
