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
from align_data.decoding.inspected import MAX_SMALLER, Check, ImageChecks, Inspected, Smaller, SmallerImage, fits
from align_data.decoding.inspection import Further, inspect
from align_data.decoding.nsfw import EXTRAS, NUDENET, Model, Scorer, tried
from align_data.decoding.phash import phash
from align_data.decoding.render import How, Rendered, UnrenderableError, render, render_decoded

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
        shrinking = _Shrinking(smaller) if smaller is not None and asked else None
        decoded = None if shrinking is None else shrinking.take
        with at_most(limits.seconds):
            inspected = inspect(content, looks, limits.max_pixels, scorer, limits.formats, further, decoded)
        if shrinking is None:
            return plain(inspected)
        with at_most(limits.seconds):
            image = shrinking.image(content, inspected)
        return [plain(inspected), plain(image)]

    def handle(images: Sequence[tuple[Any, ...]], send: Send) -> None:
        for image in images:
            send(look(*image))

    return handle


class _Shrinking:
    """Makes one image smaller: from the pixels that are decoded to look at it, where that comes to the same bytes."""

    def __init__(self, smaller: Smaller) -> None:
        self._smaller = smaller
        self._how = How("shortest", smaller.size, smaller.quality, smaller.format, smaller.resampling)
        self._rendered: Rendered | None = None

    def take(self, image: Image.Image, turn: int) -> None:
        """Use a decoded image."""
        if min(image.size) > self._smaller.size:
            self._rendered = render_decoded(image, turn, self._how)

    def image(self, content: bytes, inspected: Inspected) -> SmallerImage | None:
        """Return the smaller image; None where it cannot be made, and the image is best stored as it is."""
        smaller = self._smaller
        if not smaller.replaces(inspected):
            return None
        try:
            image = self._rendered or render(content, self._how)
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
