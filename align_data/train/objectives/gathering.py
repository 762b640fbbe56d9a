"""What all processes of a run have of a batch, with gradients to each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


class _Gathered(torch.autograd.Function):
    """The embeddings of all ranks, with gradients to each: what `all_gather` alone does not give."""

    @staticmethod
    def forward(_: Any, own: Tensor) -> Tensor:
        """Return (world x rows, dimension), rank by rank."""
        parts = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, own.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        """Return what all ranks' losses want of this rank's embeddings."""
        total = gradients[0].contiguous()
        distributed.all_reduce(total)
        rows = len(total) // distributed.get_world_size()
        start = distributed.get_rank() * rows
        return total[start : start + rows]


def _spread() -> bool:
    return distributed.is_initialized() and distributed.get_world_size() > 1


def gathered(own: Tensor) -> Tensor:
    """Return the rows (pairs, ...) of all processes, rank by rank; gradients go back to each."""
    if not _spread():
        return own
    rows: Tensor = _Gathered.apply(own)  # type: ignore[no-untyped-call]
    return rows


def own_rows(pairs: int, device: torch.device) -> Tensor:
    """Return which of all rows are this process's own (pairs,)."""
    offset = distributed.get_rank() * pairs if _spread() else 0
    return torch.arange(offset, offset + pairs, device=device)
