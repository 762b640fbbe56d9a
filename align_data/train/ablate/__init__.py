"""Ablation: the same model trained on different choices of a pool's pairs, to see which filter pays."""

from __future__ import annotations

from align_data.train.ablate.design import AblationRequest, ablate
from align_data.train.ablate.results import Ablation

__all__ = ["Ablation", "AblationRequest", "ablate"]
