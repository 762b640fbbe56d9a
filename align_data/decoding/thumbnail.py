"""What a child process does for pages: an image's bytes in; a small picture out."""

from __future__ import annotations

from typing import Any

from PIL import Image

from align_data.common.workers import Handler, Send
from align_data.common.workers.confinement import at_most, confine
from align_data.decoding.render import How, UnrenderableError, render

HANDLER = "align_data.decoding.thumbnail:handler"
SIDE = 144
"""Pixels of the longer side."""
MAX_BYTES = 2**20
"""Maximum bytes of a picture: one that is small already is not re-encoded."""
SECONDS = 20.0
_QUALITY = 72
_MEMORY = 2**30
_MAX_PIXELS = 100_000_000


def handler(_: Any) -> Handler:
    """Return what makes thumbnails: an image's bytes in; extension and bytes of a picture out, or None for none."""
    Image.MAX_IMAGE_PIXELS = _MAX_PIXELS
    Image.init()
    confine(_MEMORY)

    def handle(content: bytes, send: Send) -> None:
        try:
            with at_most(SECONDS):
                picture = render(content, How("fit", SIDE, _QUALITY))
        except (OSError, UnrenderableError, MemoryError):
            send(None)
        else:
            send((picture.extension, picture.content) if len(picture.content) <= MAX_BYTES else None)

    return handle
