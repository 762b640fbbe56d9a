"""All objectives by name: how each follows from a run's settings, and what a model's config.json says of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from align_data.common.errors import TrainError
from align_data.train.objectives.objective import Objective
from align_data.train.objectives.sigmoid import SigmoidObjective
from align_data.train.objectives.softmax import SoftmaxObjective
from align_data.train.objectives.triplet import TripletObjective
from align_data.train.settings import TrainSettings

MARGIN = 0.2
"""Of the triplets, as in the experiments of VSE++ (arXiv 1707.05612)."""
SOFTMAX_SHARE = 0.5
"""Of the steps, before the triplets: chosen."""

Learnt = Mapping[str, float]
"""Weights of an objective, by name."""


def _softmax(settings: TrainSettings, _: Learnt) -> Objective:
    return SoftmaxObjective(settings.label_smoothing)


def _sigmoid(settings: TrainSettings, learnt: Learnt) -> Objective:
    bias = learnt.get("bias", -math.log(settings.batch)) if settings.bias is None else settings.bias
    return SigmoidObjective(bias)


def _triplet(settings: TrainSettings, _: Learnt) -> Objective:
    margin, share = settings.margin, settings.softmax_share
    return TripletObjective(MARGIN if margin is None else margin, SOFTMAX_SHARE if share is None else share)


OBJECTIVES: Mapping[str, Callable[[TrainSettings, Learnt], Objective]] = {
    SoftmaxObjective.name: _softmax,
    SigmoidObjective.name: _sigmoid,
    TripletObjective.name: _triplet,
}


def objective_of(settings: TrainSettings, trained: Mapping[str, Any]) -> Objective:
    """Return the objective of a run; it goes on from what `trained` says that the model before it has learnt.

    `trained` is what the model has `recorded`. Raises TrainError where that is damaged.
    """
    learnt = trained.get("learnt", {}) if trained.get("name") == settings.objective else {}
    if not isinstance(learnt, dict) or not all(
        isinstance(value, float) and math.isfinite(value) for value in learnt.values()
    ):
        raise TrainError(
            f"the config.json of {settings.init} has weights of the objective {settings.objective} that are not "
            "numbers: give a model that is whole as --init"
        )
    return OBJECTIVES[settings.objective](settings, learnt)


def described(objective: Objective) -> dict[str, Any]:
    """Return what a model's config.json has under `objective`."""
    return {"name": objective.name, "learnt": objective.learnt(), "given": objective.given()}


def recorded(config: Any) -> Mapping[str, Any]:
    """Return what the config of a model says of its objective; nothing where it is of before, or from elsewhere."""
    objective = getattr(config, "objective", None)
    return objective if isinstance(objective, dict) else {}
