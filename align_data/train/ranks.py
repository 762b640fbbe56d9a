"""The processes of a run: one, or as many as torchrun starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from align_data.common.errors import TrainError
from align_data.train.batches import Rank
from align_data.train.model import device_of


@contextmanager
def ranks(device: str | None, batch: int) -> Iterator[tuple[Rank, torch.device]]:
    """Join the other processes for as long as the context is open; TrainError if a batch cannot be divided by them."""
    rank = Rank(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
    if batch % rank.of:
        raise TrainError(f"a batch of {batch:,} is not divisible by {rank.of} processes: give another --batch")
    local = os.environ.get("LOCAL_RANK", "0")
    chosen = device_of(f"cuda:{local}" if device is None and rank.of > 1 and torch.cuda.is_available() else device)
    if rank.of == 1:
        yield rank, chosen
        return
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield rank, chosen
    finally:
        distributed.destroy_process_group()


def parallel(module: nn.Module, rank: Rank, device: torch.device) -> nn.Module:
    """Return a module whose gradients are the mean over processes; on GPUs its batch norm sees the whole batch."""
    if rank.of == 1:
        return module
    if device.type == "cuda":  # PyTorch has no synchronised batch norm for CPUs
        module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
    return DistributedDataParallel(module, broadcast_buffers=device.type == "cuda")


def means(values: Tensor) -> list[float]:
    """Return the mean over the processes of each of some numbers."""
    total = values.detach().clone()
    if distributed.is_initialized():
        distributed.all_reduce(total)
        total /= distributed.get_world_size()
    return [float(value) for value in total.tolist()]


def wait() -> None:
    """Wait for the other processes."""
    if distributed.is_initialized():
        distributed.barrier()
