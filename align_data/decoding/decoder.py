"""Images decoded in a child process, so that no image can take the run down.

The child takes an image's bytes and returns values. It needs no file, no network and no credentials, and has none
(`common.workers.confinement`). Each image has some seconds, after which the system ends the child, whatever a decoder
is doing; the system limits memory too. A child gets some images at a time and answers for one after another, so that we
know which image it was; we try that one once more in another child unless it ran out of time, and go on with the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from align_data.common.errors import DatasetError
from align_data.common.workers import SLACK, Child, ChildDiedError
from align_data.common.workers.frames import MAX_ANSWER
from align_data.common.workers.values import of, plain
from align_data.decoding.detectors.detector import Detector, LoadedDetector
from align_data.decoding.detectors.nsfw import TRIAL_SECONDS, Model, NsfwModel
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
    columns_of,
    made_smaller,
)
from align_data.decoding.restarted import COPIES, RestartedChild, questions
from align_data.storage.store import Store
from align_data.storage.tars import DAMAGED, Place, TarReader

HANDLER = "align_data.decoding.worker:handler"
TOGETHER_BYTES = 2**20
"""Bytes of the images of one question."""


@dataclass(frozen=True)
class DecoderSetup:
    """What the child has to know."""

    limits: ImageLimits
    model: Model | None
    checks: tuple[Check, ...]
    smaller: Smaller | None = None
    seconds: float = TRIAL_SECONDS
    """What a model may take to be opened."""
    detectors: tuple[LoadedDetector, ...] = ()
    """The models of the checks that have one."""


@dataclass(frozen=True)
class Decoding:
    """How images are decoded: where they are, what one may cost, and what scores it."""

    store: Store
    nsfw: NsfwModel | None = None
    limits: ImageLimits = ImageLimits()  # noqa: RUF009 - frozen
    checks: tuple[Check, ...] = ()
    """Further checks available for images."""
    detectors: tuple[Detector, ...] = ()
    """The models of those that have one."""

    def setup(self) -> DecoderSetup:
        """Return what the child has to know."""
        model = None if self.nsfw is None else self.nsfw.loaded()
        detectors = tuple(detector.loaded() for detector in self.detectors)
        return DecoderSetup(self.limits, model, self.checks, detectors=detectors)


Item = tuple[Place, ImageChecks]
Image = tuple[bytes, ImageChecks]
Look = tuple[Inspected, SmallerImage | None]
"""What is seen of an image, and what is to be stored in its place if it is to be smaller."""


class Inspector(RestartedChild):
    """Looks at images in a child process, and starts another where one ends by what it was given."""

    def __init__(self, setup: DecoderSetup) -> None:
        super().__init__()
        self._setup = setup

    def inspect(self, images: Sequence[Image]) -> Iterator[Look]:
        """Yield what is seen of each of a few images, and what is to be stored in its place if it is to be smaller.

        One is tried again where it ended its child by anything but its slowness.
        """
        looks = self.inspect_each([image for image in images if len(image[0]) <= self.largest])
        for content, _ in images:
            yield next(looks) if len(content) <= self.largest else (too_large(len(content)), None)

    def inspect_each(self, images: Sequence[Image]) -> Iterator[Look]:
        """Yield the same of each of a few images of at most `largest` bytes, which are held in memory at once."""
        at, keeps = 0, self._setup.smaller is not None
        while at < len(images):
            try:
                for look in self._ask(images[at:], keeps=keeps):
                    at += 1
                    self._answered()
                    yield look
            except ChildDiedError as died:
                self._bury(died)
                look = self._again(images[at], died, keeps=keeps)
                at += 1
                yield look

    def _again(self, image: Image, died: ChildDiedError, *, keeps: bool) -> Look:
        """Return what is seen of an image that has ended a child; another one tries unless it was too slow."""
        if not died.slow:
            try:
                (look,) = self._ask([image], keeps=keeps)
            except ChildDiedError as again:
                self._bury(again)
                died = again
            else:
                self._answered()
                return look
        return self._less(*image, died, keeps=keeps), None

    @property
    def largest(self) -> int:
        """Bytes of an image, at most."""
        return self._setup.limits.memory // COPIES

    def _ask(self, images: Sequence[Image], *, keeps: bool = False) -> Iterator[Look]:
        """Yield what a child makes of images; ChildDiedError also if an answer makes no sense."""
        seconds = (4 if keeps else 2) * self._setup.limits.seconds + SLACK
        child, more = self._started(), ["smaller"] if keeps else []
        lent = child.lend([content for content, _ in images])
        task = [(content, plain(looks), *more) for content, (_, looks) in zip(lent, images, strict=True)]
        return child.ask_each(task, [partial(self._look, image, keeps) for image in images], seconds)

    def _look(self, image: Image, keeps: bool, reply: Any) -> Look:
        """Return what an answer says of an image; ValueError where no answer can be so."""
        content, looks = image
        types = columns_of(self._setup.checks, looks.checks)
        smaller = self._setup.smaller
        if smaller is None or not keeps:
            return answered(reply, len(content), types), None
        inspected, stored = of(tuple[Any, Any], reply)
        original = answered(inspected, len(content), types)
        return original, made_smaller(stored, smaller, original)

    def _less(self, content: bytes, looks: ImageChecks, died: ChildDiedError, *, keeps: bool) -> Inspected:
        """Return what can be seen of an image that ended its child: as much as does not end another one."""
        status, reason = self._verdict(died)
        for less, failed in [*([(looks, "")] if keeps else []), *_lesser(looks)]:
            try:
                ((inspected, _),) = self._ask([(content, less)])
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

    def _new(self) -> Child:
        if self._setup.smaller is None:
            return Child(HANDLER, plain(self._setup), borrows=True)
        return Child(HANDLER, plain(self._setup), max_bytes=MAX_ANSWER + MAX_SMALLER, borrows=True)


class Decoder(Inspector):
    """Looks at images that lie in tars."""

    def __init__(self, decoding: Decoding) -> None:
        super().__init__(decoding.setup())
        self._store = decoding.store

    def look(self, items: Sequence[Item], check: Callable[[], None] = lambda: None) -> Iterator[Inspected]:
        """Yield the inspection of each item, in their order."""
        reader = TarReader(self._store)
        try:
            reader.foretell([place for place, _ in items])
            for batch in questions(items, lambda item: item[0].size, min(TOGETHER_BYTES, self.largest)):
                if batch[0][0].size > self.largest:  # these are by themselves
                    yield too_large(batch[0][0].size)
                    check()
                    continue
                for inspected, _ in self.inspect_each([(_bytes(reader, place), looks) for place, looks in batch]):
                    yield inspected
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
