"""What the explorer keeps of pictures in memory: thumbnails that browsers asked for, and where images lie."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict

from align_data.common.errors import DatasetError
from align_data.report.thumbnails import Shrinking
from align_data.storage.store import Store
from align_data.storage.tars import Place, TarReader

KEPT_BYTES, KEPT_PLACES = 32 * 2**20, 2**14
"""Bytes of thumbnails, and places of images, that are kept."""


class PictureCache:
    """Thumbnails and where images lie, what was asked for last; one child makes them. Safe to use from threads."""

    def __init__(self, store: Store) -> None:
        self._reader, self._shrinking = TarReader(store), Shrinking()
        self._making, self._keeping = threading.Lock(), threading.Lock()
        self._thumbnails: OrderedDict[Place, tuple[str, bytes]] = OrderedDict()
        self._places: OrderedDict[str, Place] = OrderedDict()
        self._bytes = 0
        self._taken_down: str | None = None
        weakref.finalize(self, self._shrinking.close)
        weakref.finalize(self, self._reader.close)

    def begin(self, taken_down: str | None) -> None:
        """Forget everything where other pairs are taken down than at the last request.

        What a request finds it keeps under what was taken down when it began: a takedown may have come meanwhile.
        """
        with self._keeping:
            if taken_down != self._taken_down:
                self._thumbnails.clear()
                self._places.clear()
                self._taken_down, self._bytes = taken_down, 0

    def keep(self, uid: str, place: Place, taken_down: str | None) -> None:
        """Keep where the image of a pair lies."""
        with self._keeping:
            if taken_down != self._taken_down:
                return
            self._places[uid] = place
            self._places.move_to_end(uid)
            while len(self._places) > KEPT_PLACES:
                self._places.popitem(last=False)

    def place(self, uid: str) -> Place | None:
        """Return where the image of a pair lies, as far as it is kept."""
        with self._keeping:
            return self._places.get(uid)

    def thumbnail(self, place: Place, taken_down: str | None) -> tuple[str, bytes]:
        """Return media type and bytes; OSError or DatasetError for what cannot be read or decoded."""
        if (thumbnail := self._kept(place)) is not None:
            return thumbnail
        with self._making:
            if (thumbnail := self._kept(place)) is not None:  # made while it waited
                return thumbnail
            thumbnail = self._shrinking.thumbnail(self._reader.read(place))
        if thumbnail is None:
            raise DatasetError("it cannot be decoded")
        with self._keeping:
            if taken_down != self._taken_down:
                return thumbnail
            self._thumbnails[place] = thumbnail
            self._bytes += len(thumbnail[1])
            while self._bytes > KEPT_BYTES:
                _, (_, content) = self._thumbnails.popitem(last=False)
                self._bytes -= len(content)
        return thumbnail

    def _kept(self, place: Place) -> tuple[str, bytes] | None:
        with self._keeping:
            if place in self._thumbnails:
                self._thumbnails.move_to_end(place)
            return self._thumbnails.get(place)
