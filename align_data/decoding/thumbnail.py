"""What a child process does for pages: an image, or its place in a tar, in; a small picture out."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from align_data.children import Handler, Send
from align_data.decoding.render import How, UnrenderableError, render
from align_data.decoding.worker import at_most, confine
from align_data.store import Store
from align_data.tars import Place, TarReader

HANDLER = "align_data.decoding.thumbnail:handler"
SIDE = 144
"""Pixels of the longer side."""
_QUALITY = 72
_SECONDS = 20.0
_MEMORY = 2**30
_MAX_PIXELS = 100_000_000


@dataclass(frozen=True)
class Thumbnails:
    """Where the images are; None where they are given themselves."""

    store: Store | None


def handler(setup: Thumbnails) -> Handler:
    """Return what makes thumbnails: an image or a place in; extension and bytes of a picture out, or None for none."""
    Image.MAX_IMAGE_PIXELS = _MAX_PIXELS
    Image.init()
    confine(_MEMORY)
    reader = TarReader(setup.store) if setup.store is not None else None

    def handle(image: Place | bytes, send: Send) -> None:
        try:
            with at_most(_SECONDS):
                content = reader.read(image) if isinstance(image, Place) and reader is not None else image
                assert isinstance(content, bytes)
                made = render(content, How("fit", SIDE, _QUALITY))
        except (OSError, UnrenderableError, MemoryError):
            send(None)
        else:
            send((made.extension, made.content))

    return handle
