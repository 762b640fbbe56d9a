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
from align_data.train.settings import TrainSettings


@contextmanager
def ranks(device: str | None, settings: TrainSettings) -> Iterator[tuple[Rank, torch.device]]:
    """Join the other processes for as long as the context is open.

    Raises TrainError if a batch cannot be divided by them, or if they are more than the GPUs.
    """
    rank = Rank(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
    _check_divides(settings, rank)
    joins = rank.of > 1 or distributed.is_torchelastic_launched()  # alone under torchrun it goes the way of many
    chosen = _own_device(device) if joins else device_of(device)
    if not joins:
        yield rank, chosen
        return
    if chosen.type == "cuda":
        distributed.init_process_group("nccl", device_id=chosen)  # else a barrier guesses whose GPU is which
    else:
        distributed.init_process_group("gloo")
    try:
        yield rank, chosen
    finally:
        distributed.destroy_process_group()


def _own_device(device: str | None) -> torch.device:
    """Return this process's device; TrainError where two would have one GPU, which NCCL refuses or never joins."""
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if not name.startswith("cuda"):
        return device_of(name)
    here, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if here > (gpus if name == "cuda" else 1):
        raise TrainError(
            f"torchrun started {here} processes on a machine whose GPUs are {gpus}, with --device {name}: each needs a "
            "GPU of its own, so give a smaller --nproc-per-node and no number of a GPU, or --device cpu"
        )
    own = device_of(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if name == "cuda" else name)
    torch.cuda.set_device(own)
    return own


def _check_divides(settings: TrainSettings, rank: Rank) -> None:
    parts, processes = settings.accumulate, rank.of
    if settings.batch % (parts * processes):
        shares = [*[f"{parts:,} parts"] * (parts > 1), *[f"{processes:,} processes"] * (processes > 1)]
        other = "--batch or --accumulate" if parts > 1 else "--batch"
        raise TrainError(
            f"a batch of {settings.batch:,} is not divisible by {' times '.join(shares)}: give another {other}"
        )


def parallel(module: nn.Module, device: torch.device, *, reduces: bool = True) -> nn.Module:
    """Return a module whose batch norm, on GPUs, sees what all processes have.

    One that reduces has the mean over processes for its gradients, of one call and one `backward`.
    """
    if not distributed.is_initialized():
        return module
    if device.type == "cuda":  # PyTorch has no synchronised batch norm for CPUs
        module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
    return DistributedDataParallel(module) if reduces else module


def average_gradients(module: nn.Module) -> None:
    """Give every process the mean over all of their gradients."""
    if not distributed.is_initialized():
        return
    gradients = [weight.grad for weight in module.parameters() if weight.grad is not None]
    total = torch.cat([gradient.reshape(-1) for gradient in gradients])
    distributed.all_reduce(total)
    total /= distributed.get_world_size()
    means_of = torch.split(total, [gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, means_of, strict=True):
        gradient.copy_(mean.view(gradient.shape))


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
