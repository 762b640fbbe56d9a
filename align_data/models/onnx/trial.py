"""The child process in which a stranger's encoder is tried: it reads the files, is confined, and opens them then."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from PIL import Image

from align_data.common.errors import InputError
from align_data.common.workers import Handler, Send
from align_data.common.workers.confinement import at_most, confine
from align_data.models.onnx.folder import OnnxEncoder, OnnxFiles

MEMORY = 4 * 2**30
"""Bytes that an encoder may take, besides three times its files."""


def handler(setup: Mapping[str, Any]) -> Handler:
    """Return what lets an encoder embed an image and a text, and says nothing where it does."""
    files = OnnxFiles.read(str(setup["folder"]))
    if files.digest != setup["digest"]:
        raise InputError(f"the encoder {files.folder} changed while it was tried")
    for package in ("onnxruntime", "tokenizers"):
        with suppress(ImportError):  # what is missing is said where it is needed
            importlib.import_module(package)
    Image.init()
    sizes = sum(len(content) for content in (files.image, files.text, files.tokenizer) if content is not None)
    confine(MEMORY + 3 * sizes)
    with at_most(setup["seconds"]):
        encoder = OnnxEncoder(files, "cpu", threads=1, rows=1)

    def handle(_: None, __: Send) -> None:
        with at_most(setup["seconds"]):
            _tried(encoder, files)

    return handle


def _tried(encoder: OnnxEncoder, files: OnnxFiles) -> None:
    trial = Image.merge("RGB", [Image.linear_gradient("L").rotate(angle) for angle in (0, 90, 180)])
    encoder.images([encoder.preparation.apply(trial)])
    if files.text is not None:
        # As long as a text can be: whether the model has so many places for tokens, is seen by no shorter one.
        encoder.texts(["", "a photo of a dog " * (files.card.max_tokens or 0)])
