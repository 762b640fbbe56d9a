"""What a child process does for pages: an image, or its place in a tar, in; a small picture out."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from PIL import Image

from align_data.children import Handler, Send
from align_data.decoding.render import How, UnrenderableError, render
from align_data.decoding.worker import limit_memory
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
    limit_memory(_MEMORY)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    reader = TarReader(setup.store) if setup.store is not None else None

    def handle(image: Place | bytes, send: Send) -> None:
        signal.setitimer(signal.ITIMER_REAL, _SECONDS)
        try:
            content = reader.read(image) if isinstance(image, Place) and reader is not None else image
            assert isinstance(content, bytes)
            made = render(content, How("fit", SIDE, _QUALITY))
            send((made.extension, made.content))
        except (OSError, UnrenderableError, MemoryError):
            send(None)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    return handle
