"""The dataset that the explorer shows: opened anew for each request, so that what changes on disk is seen."""

from __future__ import annotations

import shlex
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from align_data.common.errors import DatasetError
from align_data.common.progress import Progress, Silent
from align_data.common.secrets import mask
from align_data.data.layout import Dataset
from align_data.data.ledger import open_current
from align_data.engines.base import Engine
from align_data.explorer.picture_cache import PictureCache
from align_data.selection.draft import RECIPE, Draft, Words
from align_data.storage.store import Store
from align_data.storage.tables import Table, digest

T = TypeVar("T")
_KEPT = 64
"""Values that the cache keeps."""


class Explorer:
    """A dataset and what of it is kept in memory; safe to use from several threads."""

    def __init__(self, url: str, engine: Engine, ledger: str | None = None) -> None:
        self.url, self.engine = url, engine
        self.progress: Progress = Silent()
        self._store = Store(url)
        self.pictures = PictureCache(self._store)
        self._cache: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()
        self._making: dict[Hashable, threading.Lock] = {}
        self.default = self._current(ledger)

    @property
    def name(self) -> str:
        """The dataset's address as it may be shown."""
        return mask(self.url)

    def dataset(self) -> Dataset:
        """Open the dataset as it is now."""
        return Dataset(self._store)

    def _current(self, ledger: str | None) -> str:
        """Return the ledger that is shown first; DatasetError where there is none."""
        dataset = self.dataset()
        dataset.ingested()
        if ledger is None:
            names = dataset.ledgers()
            if not names:
                raise DatasetError(
                    f"{self.name} has no ledger to look at; make one with: "
                    f"align-data filter {shlex.quote(self.name)} --recipe align"
                )
            ledger = names[0]
        return open_current(dataset, ledger).name

    def draft(self, words: Words) -> Draft:
        """Return the draft that an address asks for; DatasetError for a ledger that there is not, or is stale."""
        name = next((value for key, value in words if key == RECIPE and value), self.default)
        return Draft.of(open_current(self.dataset(), name), words)

    def identity(self) -> str:
        """Return what changes where the dataset does: its pairs, signals, images, ledgers and what was taken down."""
        dataset = self.dataset()
        tables: list[Table[Any]] = [dataset.pairs, dataset.images, dataset.content, dataset.tombstones]
        tables += [dataset.measured(group) for group in dataset.groups()]
        tables += [dataset.ledger(name) for name in self._store.names("verdicts")]
        committed = {table.name: table.committed() for table in tables}
        states = {name: of and [of.meta.dump(), [vars(part) for part in of.parts]] for name, of in committed.items()}
        return digest(states)[:16]

    @property
    def taken_down(self) -> int:
        """How many pairs were taken down."""
        tombstones = self.dataset().tombstones.committed()
        return tombstones.rows if tombstones is not None else 0

    def cached(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what is kept under a key, or make it: once, however many ask, while other keys are not waited for."""
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._cache:
                    self._cache.move_to_end(key)
                    cached: T = self._cache[key]
                    return cached
            value = make()
            with self._lock:
                self._cache[key] = value
                while len(self._cache) > _KEPT:
                    oldest, _ = self._cache.popitem(last=False)
                    self._making.pop(oldest, None)
            return value
