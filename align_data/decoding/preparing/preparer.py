"""Images as a model sees them, made in child processes beside it: bytes go there, pixels come back.

A child reads some images' bytes and answers with the pixels of each. What it says is checked like any child's answer:
as many bytes as the model's input has. An image that ends its child, twice unless it was only too slow, has no pixels,
and costs nobody else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from align_data.common.workers import SLACK, Child, ChildDiedError
from align_data.common.workers.frames import MAX_ANSWER
from align_data.common.workers.values import WrongValueError, of, plain
from align_data.decoding.inputs.preparation import Pixels, Preparation
from align_data.decoding.inspected import ImageLimits
from align_data.decoding.restarted import COPIES, RestartedChild, questions

HANDLER = "align_data.decoding.preparing.worker:handler"
_TOGETHER_BYTES = 2**21
"""Bytes of the images of one question."""


@dataclass(frozen=True)
class PreparationSetup:
    """What the child has to know."""

    preparation: Preparation
    limits: ImageLimits


class Preparer(RestartedChild):
    """Prepares images for a model in a child process."""

    def __init__(self, preparation: Preparation, limits: ImageLimits = ImageLimits()) -> None:  # noqa: B008 - frozen
        super().__init__()
        self._setup = PreparationSetup(preparation, limits)

    def prepare(self, images: Sequence[bytes]) -> Iterator[Pixels | None]:
        """Yield the pixels of each image; None for one that has none after all."""
        for question in questions(images, len, _TOGETHER_BYTES):
            if len(question[0]) > self._setup.limits.memory // COPIES:  # these are by themselves
                yield None
            else:
                yield from self._prepare(question)

    def _prepare(self, images: Sequence[bytes]) -> Iterator[Pixels | None]:
        at = 0
        while at < len(images):
            try:
                for pixels in self._ask(images[at:]):
                    at += 1
                    self._answered()
                    yield pixels
            except ChildDiedError as died:
                self._bury(died)
                at += 1
                yield None if died.slow else self._again(images[at - 1])

    def _again(self, image: bytes) -> Pixels | None:
        """Try an image that has ended its child once more in another."""
        try:
            (pixels,) = self._ask([image])
        except ChildDiedError as died:
            self._bury(died)
            return None
        self._answered()
        return pixels

    def _ask(self, images: Sequence[bytes]) -> Iterator[Pixels | None]:
        child = self._started()
        seconds = 2 * self._setup.limits.seconds + SLACK
        return child.ask_each(child.lend(images), [self._pixels] * len(images), seconds)

    def _pixels(self, reply: Any) -> Pixels | None:
        """Return what an answer says of an image; ValueError where no answer can be so."""
        return None if reply is None else checked_pixels(self._setup.preparation, reply)

    def _new(self) -> Child:
        most = MAX_ANSWER + most_bytes(self._setup.preparation)
        return Child(HANDLER, plain(self._setup), max_bytes=most, borrows=True)


def most_bytes(preparation: Preparation) -> int:
    """Return how many bytes the pixels of an image can have."""
    return 3 * max(preparation.width * preparation.height, preparation.patches * preparation.multiple**2)


def checked_pixels(preparation: Preparation, reply: Any) -> Pixels:
    """Return the pixels that a child has sent; WrongValueError where they are not as the preparation makes them."""
    width, height, content = of(tuple[int, int, bytes], reply)
    if not (width > 0 and height > 0 and 3 * width * height == len(content)):
        raise WrongValueError(f"{len(content)} bytes are not {width} x {height} pixels")
    if not preparation.makes(width, height):
        raise WrongValueError(f"{width} x {height} pixels are not what the model takes")
    return np.frombuffer(content, np.uint8).reshape(height, width, 3)
