"""A batch that is more than a device can train on at once: embedded in parts, with one loss over all of it.

Each part is embedded once without gradients and once more with them, between which the loss of all embeddings says what
it wants of each (GradCache: Gao et al., arXiv 2101.06983, section 3.2). All texts of the batch are negatives of each
image, so that the gradients are the whole batch's; only batch norm sees a part at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from align_data.train.objectives.objective import EmbeddedPairs

Embed = Callable[[], EmbeddedPairs]
"""Embeds one part of a batch; each time to the same numbers."""


def backward_in_parts(parts: Sequence[Embed], loss_of: Callable[[EmbeddedPairs], Tensor], towers: nn.Module) -> Tensor:
    """Leave the gradients of a whole batch's loss in the weights; return the loss, without a gradient of its own."""
    with torch.no_grad(), _still(towers):
        embedded = [embed() for embed in parts]
    whole = EmbeddedPairs(*(_leaf(torch.cat(fields)) for fields in zip(*embedded, strict=True)))
    loss = loss_of(whole)
    loss.backward()  # type: ignore[no-untyped-call]
    start = 0
    for embed in parts:
        again = embed()
        stop = start + len(again.keys)
        wanted = {number: field.grad[start:stop] for number, field in enumerate(whole) if field.grad is not None}
        torch.autograd.backward([again[number] for number in wanted], list(wanted.values()))
        start = stop
    return loss.detach()


def _leaf(values: Tensor) -> Tensor:
    """Return values whose gradient is kept, if they can have one."""
    return values.requires_grad_() if values.is_floating_point() else values


@contextmanager
def _still(towers: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch norm as they are: a part is seen twice, and counts once."""
    norms = [module for module in towers.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
