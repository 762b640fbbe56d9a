"""What a child process does for `measure`: an image's bytes in, what is seen in them out, one at a time."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from PIL import AvifImagePlugin, Image

from align_data.common.workers import Handler, Send
from align_data.common.workers.confinement import at_most, confine, limit_memory
from align_data.common.workers.values import of, plain
from align_data.decoding.inspected import ImageLimits, Looks
from align_data.decoding.inspection import look, phash
from align_data.decoding.nsfw import EXTRAS, NUDENET, Model, Scorer, tried

OPENING_MEMORY = 4 * 2**30
"""Bytes that a model may take to be opened, and for the first image."""


def handler(setup: Mapping[str, Any]) -> Handler:
    """Return what looks at an image: its bytes and a Looks in, a Seen out."""
    limits, model = of(ImageLimits, setup["limits"]), of(Model | None, setup["model"])  # type: ignore[arg-type]
    scorer = opened(model, setup["seconds"])
    limit_memory(limits.memory)

    def handle(task: tuple[bytes, Any], send: Send) -> None:
        content, asked = task
        looks = of(Looks, asked)
        with at_most(limits.seconds):
            seen = look(content, looks, limits.max_pixels, scorer, limits.formats)
        send(plain(seen))

    return handle


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
