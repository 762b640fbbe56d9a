"""Losses over many rows a chunk at a time: pairs times pairs of a large batch are more than a device can hold."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK = 1024
"""Rows whose scores are held at once: 64 MiB of them where 16,384 pairs are compared."""


def mean_of_rows(rows_loss: Callable[..., Tensor], *columns: Tensor) -> Tensor:
    """Return the mean loss of all rows, where `rows_loss` takes the same rows of each column and returns their mean.

    What a chunk holds is made again for its gradient, so that one chunk is held at a time.
    """
    rows = len(columns[0])
    if rows <= CHUNK:
        return rows_loss(*columns)
    parts = (slice(start, start + CHUNK) for start in range(0, rows, CHUNK))
    chunks = [[column[part] for column in columns] for part in parts]
    losses = [
        checkpoint(rows_loss, *chunk, use_reentrant=False, preserve_rng_state=False) * (len(chunk[0]) / rows)
        for chunk in chunks
    ]
    return torch.stack(losses).sum()
