"""The child process that makes near-copies: an image's bytes in, the pixels of each augmentation of it out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import AvifImagePlugin, Image, ImageCms

from align_data.common.workers import Handler, Send
from align_data.common.workers.confinement import at_most, confine
from align_data.common.workers.values import of
from align_data.decoding.augmenting.augmentations import AUGMENTATIONS
from align_data.decoding.preparing.preparer import PreparationSetup
from align_data.decoding.render import UnrenderableError, upright


def handler(setup: Mapping[str, Any]) -> Handler:
    """Return what makes near-copies: the bytes of one image in; for each kind width, height and the pixels' bytes out.

    None stands for all of them where the image cannot be decoded after all.
    """
    prepares = of(PreparationSetup, setup)
    limits, preparation = prepares.limits, prepares.preparation
    Image.MAX_IMAGE_PIXELS = None  # measure has judged how many are too many
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # one process a core does the parallel work
    Image.init()
    for augmentation in AUGMENTATIONS.values():  # what they load, they load before the child is confined
        preparation.apply(augmentation.apply(Image.new("RGB", (8, 8))))
    ImageCms.createProfile("sRGB")
    confine(limits.memory)

    def copies(content: bytes) -> list[tuple[int, int, bytes]] | None:
        try:
            with at_most(limits.seconds):
                picture = upright(content)
                prepared = [preparation.apply(each.apply(picture)) for each in AUGMENTATIONS.values()]
        except (UnrenderableError, MemoryError):
            return None
        return [(pixels.shape[1], pixels.shape[0], pixels.tobytes()) for pixels in prepared]

    def handle(content: bytes, send: Send) -> None:
        send(copies(content))

    return handle
