"""The child process of `measure`: the bytes of some images in, one inspection after another out."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from PIL import AvifImagePlugin, Image

from align_data.common.workers import Handler, Send
from align_data.common.workers.confinement import at_most, confine, limit_memory
from align_data.common.workers.values import of, plain
from align_data.decoding.decoder import DecoderSetup
from align_data.decoding.inspected import MAX_SMALLER, Check, ImageChecks, Smaller, SmallerImage, fits
from align_data.decoding.inspection import Further, inspect
from align_data.decoding.nsfw import EXTRAS, NUDENET, Model, Scorer, tried
from align_data.decoding.phash import phash
from align_data.decoding.render import How, UnrenderableError, render

OPENING_MEMORY = 4 * 2**30
"""Bytes that a model may take to be opened, and for the first image."""


def handler(setup: Mapping[str, Any]) -> Handler:
    """Return what looks at images: bytes and ImageChecks of each in, one Inspected after another out.

    With 'smaller' behind them, a SmallerImage is beside it, where there is to be one and can be.
    """
    decoding = of(DecoderSetup, setup)
    limits, smaller = decoding.limits, decoding.smaller
    further = {check.name: _imported(check) for check in decoding.checks}
    scorer = opened(decoding.model, decoding.seconds)
    limit_memory(limits.memory)

    def look(content: bytes, checks: Any, *asked: str) -> Any:
        looks = of(ImageChecks, checks)
        with at_most(limits.seconds):
            inspected = inspect(content, looks, limits.max_pixels, scorer, limits.formats, further)
        if smaller is None or not asked:
            return plain(inspected)
        with at_most(limits.seconds):
            image = _smaller(content, smaller) if smaller.replaces(inspected) else None
        return [plain(inspected), plain(image)]

    def handle(images: Sequence[tuple[Any, ...]], send: Send) -> None:
        for image in images:
            send(look(*image))

    return handle


def _smaller(content: bytes, smaller: Smaller) -> SmallerImage | None:
    """Return an image made smaller; None where it cannot be, and is best stored as it is."""
    try:
        how = How("shortest", smaller.size, smaller.quality, smaller.format, smaller.resampling)
        image = render(content, how)
    except (UnrenderableError, MemoryError):
        return None
    small = SmallerImage(image.content, smaller.format, image.width, image.height)
    return small if len(small.content) <= MAX_SMALLER and min(image.width, image.height) == smaller.size else None


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
    phash(Image.new("L", (64, 64)))  # loads numpy's and scipy's algebra, whose memory is no image's
    if model is None:
        confine(OPENING_MEMORY)
        return None
    for package in EXTRAS if model.name == NUDENET else ("onnxruntime",):
        with suppress(ImportError):  # what is missing is said where it is needed
            importlib.import_module(package)
    confine(OPENING_MEMORY)
    with at_most(seconds):
        return model.open()
