"""A child process that decodes images, and another one in its place where what it was given has ended it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from align_data.common.errors import EngineError
from align_data.common.workers import SLACK, Child, ChildDiedError
from align_data.decoding.detectors.nsfw import TRIAL_SECONDS

T = TypeVar("T")

COPIES = 4
"""How often an image's bytes may be held at once, on their way to the decoder."""
TOGETHER = 16
"""Images of one question: each question wakes two processes, which find their caches cold."""
_STARTS = 3
"""Children that end before they have done anything, one after another, until we give up."""
_KILLED = 20
"""Children killed one after another before it is no longer the images that are to blame: no image sends SIGKILL."""


class RestartedChild:
    """One child at a time, started when it is first needed."""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._killed = 0

    def _new(self) -> Child:
        """Start a child."""
        raise NotImplementedError

    def _started(self) -> Child:
        """Return a working child; EngineError if none starts."""
        for _ in range(_STARTS):
            if self._child is not None:
                return self._child
            try:
                self._child = self._new()
                self._child.begin(2 * TRIAL_SECONDS + SLACK)
            except ChildDiedError as died:
                how = died.how
                self.close()
        if self._child is not None:
            return self._child
        raise EngineError(f"no child process can decode images here: each ends with {how}")

    def _answered(self) -> None:
        """Take note of an image that did not end its child."""
        self._killed = 0

    def _bury(self, died: ChildDiedError) -> None:
        self.close()
        self._killed += died.how == signal.SIGKILL.name
        if self._killed >= _KILLED:
            raise EngineError(
                "the child processes that decode images are killed one after another: there may be too little memory "
                "for so many; use fewer --workers"
            ) from None

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.close()
            self._child = None


def questions(images: Sequence[T], size_of: Callable[[T], int], most: int) -> Iterator[Sequence[T]]:
    """Cut images into those that are asked of a child together, of at most so many bytes: a larger one by itself."""
    start = size = 0
    for at, image in enumerate(images):
        size += size_of(image)
        if at > start and (at - start == TOGETHER or size > most):
            yield images[start:at]
            start, size = at, size_of(image)
    if images:
        yield images[start:]
