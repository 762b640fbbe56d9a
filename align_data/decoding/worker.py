"""The child process of `measure`: the bytes of some images in, one inspection after another out."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from PIL import AvifImagePlugin, Image

from align_data.common.errors import SignalError
from align_data.common.workers import Handler, Send
from align_data.common.workers.confinement import at_most, confine, limit_memory
from align_data.common.workers.values import of, plain
from align_data.decoding.decoder import DecoderSetup
from align_data.decoding.detectors.detector import LoadedDetector, OpenDetector
from align_data.decoding.detectors.nsfw import NUDENET, Model, Scorer, tried
from align_data.decoding.inspected import MAX_SMALLER, Check, ImageChecks, Inspected, Smaller, SmallerImage, fits
from align_data.decoding.inspection import Further, inspect
from align_data.decoding.opening import error_text
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
    further = {check.name: _imported(check) for check in decoding.checks if check.function}
    scorer, detectors = opened(decoding.model, decoding.seconds, decoding.detectors)
    further |= {check.name: _by(detectors[check.name], check) for check in decoding.checks if not check.function}
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
    """Import the function of a check; it raises where a value is not of its column's type."""
    module, _, name = check.function.partition(":")
    function = getattr(importlib.import_module(module), name)

    def call(image: Image.Image) -> Mapping[str, Any]:
        returned = function(image)
        return _typed(returned if isinstance(returned, Mapping) else {check.name: returned}, check)

    return call


def _by(detector: OpenDetector, check: Check) -> Further:
    """Return the check by a detector."""
    return lambda image: _typed(detector.measure(image), check)


def _typed(values: Mapping[str, Any], check: Check) -> Mapping[str, Any]:
    """Return the values of a check's columns; it raises where one is missing, or not of its column's type."""
    typed = {}
    for column, type_ in check.columns.items():
        value = values[column]
        typed[column] = float(value) if type_ == "float64" and value is not None else value
        if not fits(typed[column], type_):
            raise ValueError(f"{typed[column]!r} is not a value of the type {type_}")
    return typed


def trial(setup: Mapping[str, Any]) -> Handler:
    """Return what lets a model score an image for trial, and says nothing where it does."""
    scorer, _ = opened(of(Model, setup["model"]), setup["seconds"])
    assert scorer is not None

    def handle(_: None, __: Send) -> None:
        with at_most(setup["seconds"]):
            tried(scorer)

    return handle


def detector_trial(setup: Mapping[str, Any]) -> Handler:
    """Return what lets a detector look at an image for trial, and says nothing where it does."""
    loaded = of(LoadedDetector, setup["detector"])
    _, detectors = opened(None, setup["seconds"], [loaded])

    def handle(_: None, __: Send) -> None:
        try:
            with at_most(setup["seconds"]):
                detectors[loaded.name].measure(Image.linear_gradient("L").convert("RGB"))
        except Exception as error:
            raise SignalError(f"the detector {loaded.name} cannot look at an image: {error_text(error)}") from None

    return handle


def opened(
    model: Model | None, seconds: float, detectors: Sequence[LoadedDetector] = ()
) -> tuple[Scorer | None, dict[str, OpenDetector]]:
    """Import all that images need, confine this process, and then open the models: they may be a stranger's too."""
    Image.MAX_IMAGE_PIXELS = None  # we look ourselves, before a pixel is decoded
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # one process a core does the parallel work
    Image.init()
    phash(Image.new("L", (64, 64)))  # loads numpy's and scipy's algebra, whose memory is no image's
    packages = {NUDENET} if model is not None and model.name == NUDENET else set()
    if model is not None or detectors:
        packages |= {"onnxruntime", "scipy.ndimage"}
    for package in sorted(packages):
        with suppress(ImportError):  # what is missing is said where it is needed
            importlib.import_module(package)
    confine(OPENING_MEMORY)
    if model is None and not detectors:
        return None, {}
    with at_most(seconds):
        return None if model is None else model.open(), {each.name: each.open() for each in detectors}
