"""Images of tars prepared for a model by several processes, in order and slightly ahead of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from queue import SimpleQueue
from typing import Self

from align_data.common.errors import DatasetError
from align_data.decoding.inputs.preparation import Pixels, Preparation
from align_data.decoding.inspected import ImageLimits
from align_data.decoding.preparing.preparer import Preparer
from align_data.storage.store import Store
from align_data.storage.tars import DAMAGED, Place, TarReader

_AHEAD = 2
"""Batches that are prepared beyond those that children work on."""


class PreparationPool:
    """So many child processes, each with a thread that reads tars for it."""

    def __init__(self, store: Store, preparation: Preparation, limits: ImageLimits, children: int) -> None:
        self._children = children
        self._threads = ThreadPoolExecutor(children)
        self._tools: SimpleQueue[tuple[TarReader, Preparer]] = SimpleQueue()
        self._open = ExitStack()
        for _ in range(children):
            reader, preparer = TarReader(store), Preparer(preparation, limits)
            self._open.enter_context(closing(reader))
            self._open.enter_context(closing(preparer))
            self._tools.put((reader, preparer))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)
        self._open.close()

    def each(self, batches: Iterable[Sequence[Place]]) -> Iterator[list[Pixels | None]]:
        """Yield the pixels of the images of each batch, None for one that cannot be decoded after all.

        Raises DatasetError where the bytes are not those that were measured.
        """
        ahead: deque[Future[list[Pixels | None]]] = deque()
        for batch in batches:
            ahead.append(self._threads.submit(self._prepare, batch))
            if len(ahead) > self._children + _AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    def _prepare(self, places: Sequence[Place]) -> list[Pixels | None]:
        reader, preparer = self._tools.get()
        try:
            reader.foretell(places)
            return list(preparer.prepare([_read(reader, place) for place in places]))
        except BaseException:
            preparer.close()  # what it still says would be taken for answers to the next question
            raise
        finally:
            self._tools.put((reader, preparer))


def _read(reader: TarReader, place: Place) -> bytes:
    try:
        return reader.read(place)
    except OSError as error:
        raise DatasetError(f"{place.tar}, at {place.offset:,}: {error.strerror or error}; {DAMAGED}") from error
