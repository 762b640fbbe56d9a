"""Images decoded in a child process, so that no image can take the run down.

The child takes an image's bytes and returns values. It needs no file, no network and no credentials, and has none
(`common.workers.confinement`). Each image has some seconds, after which the system ends the child, whatever a decoder
is doing; the system limits memory too. We know which image it was, try it once more in another child unless it ran out
of time, and go on with the next.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from align_data.common.errors import DatasetError, EngineError
from align_data.common.workers import Child, ChildDiedError
from align_data.common.workers.frames import MAX_ANSWER
from align_data.common.workers.values import of, plain
from align_data.decoding.inspected import (
    MAX_SMALLER,
    MEMORY_REASON,
    Check,
    ImageChecks,
    ImageLimits,
    Inspected,
    Smaller,
    SmallerImage,
    answered,
    made_smaller,
)
from align_data.decoding.nsfw import SLACK, TRIAL_SECONDS, Model, NsfwModel
from align_data.storage.store import Store
from align_data.storage.tars import DAMAGED, Place, TarReader

HANDLER = "align_data.decoding.worker:handler"
_STARTS = 3
"""Children that end before they have done anything, one after another, until we give up."""
_KILLED = 20
"""Children killed one after another before it is no longer the images that are to blame: no image sends SIGKILL."""
_COPIES = 4
"""How often an image's bytes may be held at once, on their way to the decoder."""


@dataclass(frozen=True)
class DecoderSetup:
    """What the child has to know."""

    limits: ImageLimits
    model: Model | None
    checks: tuple[Check, ...]
    smaller: Smaller | None = None
    seconds: float = TRIAL_SECONDS
    """What a model may take to be opened."""


@dataclass(frozen=True)
class Decoding:
    """How images are decoded: where they are, what one may cost, and what scores it."""

    store: Store
    nsfw: NsfwModel | None = None
    limits: ImageLimits = ImageLimits()  # noqa: RUF009 - frozen
    checks: tuple[Check, ...] = ()
    """Further checks available for images."""

    def setup(self) -> DecoderSetup:
        """Return what the child has to know."""
        return DecoderSetup(self.limits, None if self.nsfw is None else self.nsfw.loaded(), self.checks)


Item = tuple[Place, ImageChecks]


class Inspector:
    """Looks at images in a child process, and starts another where one ends by what it was given."""

    def __init__(self, setup: DecoderSetup) -> None:
        self._setup = setup
        self._child: Child | None = None
        self._killed = 0

    def inspect(self, content: bytes, looks: ImageChecks) -> tuple[Inspected, SmallerImage | None]:
        """Return what is seen of an image, and what is to be stored in its place if it is to be smaller.

        It is tried again where it ended its child by anything but its slowness.
        """
        if len(content) > self.largest:
            return too_large(len(content)), None
        for retried in (False, True):
            try:
                seen = self._ask(content, looks, keeps=self._setup.smaller is not None)
            except ChildDiedError as died:
                self._bury(died)
                if retried or died.slow:
                    return self._less(content, looks, died), None
            else:
                self._killed = 0
                return seen
        raise AssertionError

    @property
    def largest(self) -> int:
        """Bytes of an image, at most."""
        return self._setup.limits.memory // _COPIES

    def _ask(self, content: bytes, looks: ImageChecks, *, keeps: bool = False) -> tuple[Inspected, SmallerImage | None]:
        """Return what a child makes of an image; ChildDiedError also if its reply makes no sense."""
        seconds = (4 if keeps else 2) * self._setup.limits.seconds + SLACK
        types = {check.name: check.type for check in self._setup.checks if check.name in looks.checks}
        smaller = self._setup.smaller

        def make(reply: Any) -> tuple[Inspected, SmallerImage | None]:
            if smaller is None or not keeps:
                return answered(reply, len(content), types), None
            inspected, image = of(tuple[Any, Any], reply)
            original = answered(inspected, len(content), types)
            return original, made_smaller(image, smaller, original)

        task = (content, plain(looks), *(["smaller"] if keeps else []))
        return self._started().ask_once(task, make, seconds)

    def _less(self, content: bytes, looks: ImageChecks, died: ChildDiedError) -> Inspected:
        """Return what can be seen of an image that ended its child: as much as does not end another one."""
        status, reason = self._verdict(died)
        for less, failed in _lesser(looks):
            try:
                inspected, _ = self._ask(content, less)
            except ChildDiedError as again:
                self._bury(again)
                continue
            if failed and inspected.decodable:
                inspected = inspected if looks.pixels else inspected._replace(phash=None)
                return inspected._replace(status="unscored", reason=f"no {failed}: {reason}")
            if inspected.decodable is None:
                return inspected._replace(status=status, reason=reason, decodable=False)
            return inspected
        return Inspected(status, reason, bytes=len(content), decodable=False)

    def _verdict(self, died: ChildDiedError) -> tuple[str, str]:
        if died.slow:
            return "hung", f"not finished after {self._setup.limits.seconds:g} s"
        return "crashed", f"the decoder ended by {died.how}"

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

    def _new(self) -> Child:
        if self._setup.smaller is None:
            return Child(HANDLER, plain(self._setup))
        return Child(HANDLER, plain(self._setup), max_bytes=MAX_ANSWER + MAX_SMALLER)

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


class Decoder(Inspector):
    """Looks at images that lie in tars."""

    def __init__(self, decoding: Decoding) -> None:
        super().__init__(decoding.setup())
        self._store = decoding.store

    def look(self, items: Sequence[Item], check: Callable[[], None] = lambda: None) -> Iterator[Inspected]:
        """Yield the inspection of each item, in their order."""
        reader = TarReader(self._store)
        try:
            for place, looks in items:
                if place.size > self.largest:
                    yield too_large(place.size)
                else:
                    yield self.inspect(_bytes(reader, place), looks)[0]
                check()
        except BaseException:
            self.close()  # what it still says would be taken for answers to the next question
            raise
        finally:
            reader.close()


def too_large(size: int) -> Inspected:
    """Return what is seen of an image that takes too much memory on its way already."""
    return Inspected("memory", MEMORY_REASON, bytes=size, decodable=False)


def _lesser(looks: ImageChecks) -> Iterator[tuple[ImageChecks, str]]:
    """Yield less and less to look at, with what is then to blame for the end of a child, until it is the decoder."""
    checks = ", ".join(looks.checks)
    if looks.checks and looks.nsfw:
        yield replace(looks, checks=()), checks
    if looks.checks or looks.nsfw:
        yield ImageChecks(header=looks.header), "score" if looks.nsfw else checks
    yield ImageChecks(header=looks.header, pixels=False), ""


def _bytes(reader: TarReader, place: Place) -> bytes:
    try:
        return reader.read(place)
    except OSError as error:
        raise DatasetError(f"cannot read {place.tar}: {error.strerror or error}; {DAMAGED}") from error
