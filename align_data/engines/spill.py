"""What a step holds between its passes: in memory while the budget lasts, then in files of a work folder."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from align_data.storage.store import writing

Array = NDArray[Any]


class Budget:
    """Bytes that may be held in memory, shared by threads."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._lock = Lock()

    def take(self, size: int) -> bool:
        """Take bytes if enough are free, and tell whether they were."""
        with self._lock:
            if size > self._free:
                return False
            self._free -= size
            return True

    def give(self, size: int) -> None:
        """Give bytes back."""
        with self._lock:
            self._free += size


class SpilledArray:
    """One array of numbers, in memory or in a file."""

    def __init__(self, array: Array, file: Path, budget: Budget) -> None:
        self.dtype, self._length = array.dtype, len(array)
        self._budget = budget
        self._array: Array | None = None
        self._file = file
        if budget.take(array.nbytes):
            self._array = array
        else:
            with writing(file):
                array.tofile(file)

    def __len__(self) -> int:
        return self._length

    def read(self, start: int = 0, stop: int | None = None) -> Array:
        """Return a stretch of the array: a view, or read from the file."""
        stop = self._length if stop is None else stop
        if self._array is not None:
            return self._array[start:stop]
        # Not mapped: what is read once is read faster by one call than by faults on its pages.
        return np.fromfile(self._file, self.dtype, stop - start, offset=start * self.dtype.itemsize)

    def write(self, start: int, values: Array) -> None:
        """Write over a stretch of the array; stretches of different tasks do not overlap."""
        if self._array is not None:
            self._array[start : start + len(values)] = values
            return
        with writing(self._file), self._file.open("r+b") as file:
            file.seek(start * self.dtype.itemsize)
            values.astype(self.dtype).tofile(file)

    def drop(self) -> None:
        """Free it."""
        if self._array is not None:
            self._budget.give(self._array.nbytes)
            self._array = None
        self._file.unlink(missing_ok=True)


class Batches:
    """Sorted record batches of one schema: in memory while the budget lasts, the later ones in one Arrow file."""

    def __init__(self, file: Path, budget: Budget) -> None:
        self._in_memory: list[pa.RecordBatch] = []
        self._budget = budget
        self._file = file
        self._sink: Any = None
        self._writer: Any = None
        self._lock = Lock()

    def keep(self, batch: pa.RecordBatch) -> bool:
        """Keep a batch in memory, if there is room and none of this file's has been written, and tell whether."""
        with self._lock:
            fits = self._writer is None and self._budget.take(batch.nbytes)
            if fits:
                self._in_memory.append(batch)
            return fits

    def write(self, batch: pa.RecordBatch) -> None:
        """Write a batch to the file."""
        with self._lock, writing(self._file):
            if self._writer is None:
                self._sink = pa.OSFile(str(self._file), "wb")
                self._writer = pa.ipc.new_file(self._sink, batch.schema)
            self._writer.write_batch(batch)

    def close(self) -> None:
        """End the file, if there is one."""
        if self._writer is not None:
            with writing(self._file):
                self._writer.close()
                self._sink.close()

    @contextmanager
    def read(self) -> Iterator[tuple[list[pa.RecordBatch], Callable[[], None] | None]]:
        """Give all batches, and what lets go of the memory that was mapped; None where nothing is.

        What is read of a map counts as this process's memory until it is let go, and is read again where needed.
        """
        if self._writer is None:
            yield self._in_memory, None
            return
        with self._file.open("rb") as file:
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        opened = pa.ipc.open_file(pa.py_buffer(mapping))
        # The map is closed by whoever is the last to hold a batch.
        yield (
            [*self._in_memory, *(opened.get_batch(number) for number in range(opened.num_record_batches))],
            lambda: mapping.madvise(mmap.MADV_DONTNEED),
        )
