"""Filtering as a user asks for it: a recipe, what to change of it, and the ledger's name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from align_data.common.progress import Progress
from align_data.data.layout import Dataset
from align_data.data.meta import LedgerMeta
from align_data.data.thresholds import resolve
from align_data.engines.base import Engine
from align_data.recipes.model import Recipe
from align_data.stages.filter import decide
from align_data.storage.tables import Manifest


@dataclass(frozen=True)
class Decision:
    """How a ledger is decided."""

    recipe: Recipe
    overrides: Sequence[str] = ()
    off: Sequence[str] = ()
    name: str | None = None

    @property
    def ledger(self) -> str:
        """The ledger's name: the recipe's unless given."""
        return self.recipe.name if self.name is None else self.name


def decide_ledger(decision: Decision, dataset: Dataset, engine: Engine, progress: Progress) -> Manifest[LedgerMeta]:
    """Apply a recipe and write its ledger."""
    plan = resolve(dataset, decision.recipe, engine, progress, decision.overrides, decision.off)
    return decide(dataset, plan, decision.ledger, engine, progress)
