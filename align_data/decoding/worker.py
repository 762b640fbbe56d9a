"""What a child process does for `measure`: bytes in, what is seen in them out, one image at a time."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from PIL import AvifImagePlugin, Image

from align_data.children import Handler, Send
from align_data.decoding.decoder import Decoding, Item
from align_data.decoding.look import look, phash
from align_data.errors import DatasetError
from align_data.tars import Place, TarReader

_DAMAGED = "the dataset is damaged: put the file back, or remove its folders images, content and bytes and fetch again"


def handler(decoding: Decoding) -> Handler:
    """Return what looks at images: a list of items in, a Seen for each out, in their order."""
    Image.MAX_IMAGE_PIXELS = None  # we look ourselves, before a pixel is decoded
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # one process a core does the parallel work
    scorer = decoding.nsfw.open() if decoding.nsfw is not None else None
    Image.init()
    phash(Image.new("L", (32, 32)))  # loads scipy, whose threads take memory that is no image's
    confine(decoding.memory)

    def handle(items: Sequence[Item], send: Send) -> None:
        reader = TarReader(decoding.store)
        for place, looks in items:
            content = _bytes(reader, place)
            with at_most(decoding.seconds):
                seen = look(content, looks, decoding.max_pixels, scorer)
            send(seen)
        reader.close()

    return handle


def confine(more: int) -> None:
    """Let this process hold so many bytes more than it does already, for libraries take some a core; and be timed."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # whatever we were started under may have had it ignored
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    held = 0
    with suppress(OSError):  # there is no /proc but on Linux
        held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    if hard == resource.RLIM_INFINITY or hard > held + more:
        resource.setrlimit(resource.RLIMIT_DATA, (held + more, hard))


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """End this process if what is inside takes longer."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _bytes(reader: TarReader, place: Place) -> bytes:
    try:
        content = reader.read(place)
    except OSError as error:
        raise DatasetError(f"cannot read {place.tar}: {error.strerror or error}; {_DAMAGED}") from error
    if len(content) != place.size:
        raise DatasetError(f"{place.tar} ends before byte {place.offset + place.size:,}; {_DAMAGED}")
    return content
