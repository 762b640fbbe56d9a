"""Batches where the model is: copied while it trains on the one before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from align_data.stages.run_log import peak_memory as peak_of_process
from align_data.train.batches import TrainingBatch


class PlacedBatch(NamedTuple):
    """A process's pairs of a step, on its device; the fields are those of `TrainingBatch`."""

    images: Tensor
    corners: Tensor
    mirrored: Tensor
    ids: Tensor
    mask: Tensor
    keys: Tensor


class Placing:
    """Copies batches to a device; to a GPU from pinned memory and beside what is computed there."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._beside = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def each(self, batches: Iterable[TrainingBatch]) -> Iterator[tuple[PlacedBatch, torch.Event | None]]:
        """Yield batches, and the event behind each copy that may still be under way; `arrived` waits for it."""
        for batch in batches:
            tensors = [torch.from_numpy(numbers) for numbers in batch]
            if self._beside is None:
                yield PlacedBatch(*(tensor.to(self._device) for tensor in tensors)), None
                continue
            with torch.cuda.stream(self._beside):
                copies = [tensor.pin_memory().to(self._device, non_blocking=True) for tensor in tensors]
            yield PlacedBatch(*copies), self._beside.record_event()

    def arrived(self, batch: PlacedBatch, copied: torch.Event | None) -> PlacedBatch:
        """Return a batch that can be computed with: what is asked of the device from now on waits for it there."""
        if copied is not None:
            computing = torch.cuda.current_stream(self._device)
            computing.wait_event(copied)
            for tensor in batch:  # else its memory would be given to the next copy while it is computed with
                tensor.record_stream(computing)
        return batch


def peak_memory(device: torch.device) -> int:
    """Return the most bytes that this process has had: of a GPU as PyTorch counts them, else of the machine."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_of_process()["process"]
