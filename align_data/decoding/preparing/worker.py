"""The child process that prepares images for a model: bytes of some images in, the pixels of one after another out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import AvifImagePlugin, Image, ImageCms

from align_data.common.workers import Handler, Send
from align_data.common.workers.confinement import at_most, confine
from align_data.common.workers.values import of
from align_data.decoding.preparing.preparer import PreparationSetup
from align_data.decoding.render import UnrenderableError, upright


def handler(setup: Mapping[str, Any]) -> Handler:
    """Return what prepares images: bytes of each in; width, height and the pixels out, None where it has none."""
    prepares = of(PreparationSetup, setup)
    limits, preparation = prepares.limits, prepares.preparation
    Image.MAX_IMAGE_PIXELS = None  # measure has judged how many are too many
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # one process a core does the parallel work
    Image.init()
    preparation.apply(Image.new("RGB", (8, 8)))
    ImageCms.createProfile("sRGB")
    confine(limits.memory)

    def prepare(content: bytes) -> tuple[int, int, bytes] | None:
        try:
            with at_most(limits.seconds):
                pixels = preparation.apply(upright(content))
        except (UnrenderableError, MemoryError):
            return None
        height, width, _ = pixels.shape
        return width, height, pixels.tobytes()

    def handle(images: Sequence[bytes], send: Send) -> None:
        for content in images:
            send(prepare(content))

    return handle
