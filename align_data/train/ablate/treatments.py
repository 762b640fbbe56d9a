"""What runs of an ablation differ in, beside their seed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Treatment:
    """The pairs that a model is trained on, and what it is trained to do."""

    arm: str
    objective: str
    round: int = 1
    """From the second on the pairs are those that the model of the round before keeps."""
