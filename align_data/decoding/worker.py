"""The child process of `measure`: an image's bytes in, its inspection out, one at a time."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from PIL import AvifImagePlugin, Image

from align_data.common.workers import Handler, Send
from align_data.common.workers.confinement import at_most, confine, limit_memory
from align_data.common.workers.values import of, plain
from align_data.decoding.inspected import Check, ImageChecks, ImageLimits, fits
from align_data.decoding.inspection import Further, inspect, phash
from align_data.decoding.nsfw import EXTRAS, NUDENET, Model, Scorer, tried

OPENING_MEMORY = 4 * 2**30
"""Bytes that a model may take to be opened, and for the first image."""


def handler(setup: Mapping[str, Any]) -> Handler:
    """Return what looks at an image: its bytes and ImageChecks in, Inspected out."""
    limits, model = of(ImageLimits, setup["limits"]), of(Model | None, setup["model"])  # type: ignore[arg-type]
    further = {check.name: _imported(check) for check in of(tuple[Check, ...], setup["checks"])}
    scorer = opened(model, setup["seconds"])
    limit_memory(limits.memory)

    def handle(task: tuple[bytes, Any], send: Send) -> None:
        content, checks = task
        looks = of(ImageChecks, checks)
        with at_most(limits.seconds):
            inspected = inspect(content, looks, limits.max_pixels, scorer, limits.formats, further)
        send(plain(inspected))

    return handle


def _imported(check: Check) -> Further:
    """Import the function of a check; it raises where its value is not of the check's type."""
    module, _, name = check.function.partition(":")
    function: Further = getattr(importlib.import_module(module), name)

    def call(image: Image.Image) -> Any:
        value = function(image)
        value = float(value) if check.type == "float64" and value is not None else value
        if not fits(value, check.type):
            raise ValueError(f"{value!r} is not a value of the type {check.type}")
        return value

    return call


def trial(setup: Mapping[str, Any]) -> Handler:
    """Return what lets a model score an image for trial, and says nothing where it does."""
    scorer = opened(of(Model, setup["model"]), setup["seconds"])
    assert scorer is not None

    def handle(_: None, __: Send) -> None:
        with at_most(setup["seconds"]):
            tried(scorer)

    return handle


def opened(model: Model | None, seconds: float) -> Scorer | None:
    """Import all that images need, confine this process, and then open the model: it may be a stranger's too."""
    Image.MAX_IMAGE_PIXELS = None  # we look ourselves, before a pixel is decoded
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # one process a core does the parallel work
    Image.init()
    phash(Image.new("L", (32, 32)))  # loads scipy, whose threads take memory that is no image's
    if model is None:
        confine(OPENING_MEMORY)
        return None
    for package in EXTRAS if model.name == NUDENET else ("onnxruntime",):
        with suppress(ImportError):  # what is missing is said where it is needed
            importlib.import_module(package)
    confine(OPENING_MEMORY)
    with at_most(seconds):
        return model.open()
