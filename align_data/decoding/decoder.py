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
from align_data.common.workers.values import plain
from align_data.decoding.inspected import MEMORY_REASON, Check, ImageChecks, ImageLimits, Inspected, answered
from align_data.decoding.nsfw import SLACK, TRIAL_SECONDS, NsfwModel
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
class Decoding:
    """How images are decoded: where they are, what one may cost, and what scores it."""

    store: Store
    nsfw: NsfwModel | None = None
    limits: ImageLimits = ImageLimits()  # noqa: RUF009 - frozen
    checks: tuple[Check, ...] = ()
    """Further checks available for images."""

    def setup(self) -> dict[str, Any]:
        """Return what the child has to know."""
        model = None if self.nsfw is None else plain(self.nsfw.loaded())
        return {
            "limits": plain(self.limits),
            "model": model,
            "seconds": TRIAL_SECONDS,
            "checks": plain(self.checks),
        }


Item = tuple[Place, ImageChecks]


class Decoder:
    """Looks at images in a child process, and starts another where one ends by what it was given."""

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding
        self._child: Child | None = None
        self._killed = 0

    def look(self, items: Sequence[Item], check: Callable[[], None] = lambda: None) -> Iterator[Inspected]:
        """Yield the inspection of each item, in their order."""
        reader = TarReader(self._decoding.store)
        try:
            for place, looks in items:
                if place.size > self._decoding.limits.memory // _COPIES:
                    yield Inspected("memory", MEMORY_REASON, bytes=place.size, decodable=False)
                else:
                    yield self._inspected(_bytes(reader, place), looks)
                check()
        except BaseException:
            self.close()  # what it still says would be taken for answers to the next question
            raise
        finally:
            reader.close()

    def _inspected(self, content: bytes, looks: ImageChecks) -> Inspected:
        """Return what is seen of an image; it is tried again where it ended its child by anything but its slowness."""
        for retried in (False, True):
            try:
                inspected = self._ask(content, looks)
            except ChildDiedError as died:
                self._bury(died)
                if retried or died.slow:
                    return self._less(content, looks, died)
            else:
                self._killed = 0
                return inspected
        raise AssertionError

    def _ask(self, content: bytes, looks: ImageChecks) -> Inspected:
        """Return a child's inspection of an image; ChildDiedError also if its reply makes no sense."""
        seconds = 2 * self._decoding.limits.seconds + SLACK
        types = {check.name: check.type for check in self._decoding.checks if check.name in looks.checks}
        return self._started().ask_once(
            (content, plain(looks)), lambda reply: answered(reply, len(content), types), seconds
        )

    def _less(self, content: bytes, looks: ImageChecks, died: ChildDiedError) -> Inspected:
        """Return what can be seen of an image that ended its child: as much as does not end another one."""
        status, reason = self._verdict(died)
        for less, failed in _lesser(looks):
            try:
                inspected = self._ask(content, less)
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
            return "hung", f"not finished after {self._decoding.limits.seconds:g} s"
        return "crashed", f"the decoder ended by {died.how}"

    def _started(self) -> Child:
        """Return a working child; EngineError if none starts."""
        for _ in range(_STARTS):
            if self._child is not None:
                return self._child
            try:
                self._child = Child(HANDLER, self._decoding.setup())
                self._child.begin(2 * TRIAL_SECONDS + SLACK)
            except ChildDiedError as died:
                how = died.how
                self.close()
        if self._child is not None:
            return self._child
        raise EngineError(f"no child process can decode images here: each ends with {how}")

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
