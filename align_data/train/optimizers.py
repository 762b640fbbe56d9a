"""AdamW and LAMB, and the learning rate of each step."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.optim import Optimizer

from align_data.train.settings import TrainSettings

_FUSED = ("cpu", "cuda")
"""Devices for which PyTorch has a step of AdamW over all weights at once."""


def optimizer(model: nn.Module, settings: TrainSettings) -> Optimizer:
    """Return the optimizer that settings name; biases, norms and the temperature do not decay."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "lamb":
        from pytorch_optimizer import Lamb  # noqa: PLC0415 - costs seconds

        return cast("Optimizer", Lamb(groups, lr=settings.learning_rate))
    fused = all(parameter.device.type in _FUSED for parameter in trained)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=fused)


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Return the learning rate of a step, the first of which is 0: up to the highest, then down to 0 in a line."""
    rising = round(settings.warm_up * settings.steps)
    if step < rising:
        return settings.learning_rate * (step + 1) / rising
    return settings.learning_rate * (settings.steps - step) / max(1, settings.steps - rising)
