"""Near-copies of images as a model sees them, made in a child process: bytes go there, pixels come back."""

from __future__ import annotations

from typing import Any

from align_data.common.workers import SLACK, Child, ChildDiedError
from align_data.common.workers.frames import MAX_ANSWER
from align_data.common.workers.values import WrongValueError, of, plain
from align_data.decoding.augmenting.augmentations import AUGMENTATIONS
from align_data.decoding.inputs.preparation import Pixels, Preparation
from align_data.decoding.inspected import ImageLimits
from align_data.decoding.preparing.preparer import PreparationSetup, checked_pixels, most_bytes
from align_data.decoding.restarted import RestartedChild

HANDLER = "align_data.decoding.augmenting.worker:handler"


class Augmenter(RestartedChild):
    """Makes near-copies of each kind of AUGMENTATIONS in a child process."""

    def __init__(self, preparation: Preparation, limits: ImageLimits = ImageLimits()) -> None:  # noqa: B008 - frozen
        super().__init__()
        self._setup = PreparationSetup(preparation, limits)

    def copies(self, content: bytes) -> list[Pixels] | None:
        """Return the pixels of each near-copy of an image; None where it cannot be decoded after all."""
        child = self._started()
        try:
            copies = child.ask_once(content, self._copies, 2 * self._setup.limits.seconds + SLACK)
        except ChildDiedError as died:
            self._bury(died)
            return None
        self._answered()
        return copies

    def _copies(self, reply: Any) -> list[Pixels] | None:
        """Return what an answer says of an image; ValueError where no answer can be so."""
        if reply is None:
            return None
        copies = [checked_pixels(self._setup.preparation, copy) for copy in of(tuple[Any, ...], reply)]
        if len(copies) != len(AUGMENTATIONS):
            raise WrongValueError(f"{len(copies)} near-copies, and not {len(AUGMENTATIONS)}")
        return copies

    def _new(self) -> Child:
        most = most_bytes(self._setup.preparation) * len(AUGMENTATIONS)
        return Child(HANDLER, plain(self._setup), max_bytes=MAX_ANSWER + most)
