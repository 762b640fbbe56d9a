"""All objectives by name: how each follows from a run's settings, and what a model's config.json says of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from align_data.common.errors import TrainError
from align_data.train.objectives.hyperbolic import HyperbolicObjective
from align_data.train.objectives.objective import Objective
from align_data.train.objectives.sigmoid import SigmoidObjective
from align_data.train.objectives.softmax import SoftmaxObjective
from align_data.train.objectives.triplet import TripletObjective
from align_data.train.settings import TrainSettings

MARGIN = 0.2
"""Of the triplets, as in the experiments of VSE++ (arXiv 1707.05612)."""
SOFTMAX_SHARE = 0.5
"""Of the steps, before the triplets: chosen."""
CURVATURE = 1.0
"""Of the hyperboloid at first, as in MERU (arXiv 2304.09172)."""
ENTAILMENT = 0.2
"""Weight of the cones, as in MERU."""

Learnt = Mapping[str, float]
"""Weights of an objective, by name."""


def _softmax(settings: TrainSettings, _: Learnt, __: int) -> Objective:
    return SoftmaxObjective(settings.label_smoothing)


def _sigmoid(settings: TrainSettings, learnt: Learnt, _: int) -> Objective:
    bias = learnt.get("bias", -math.log(settings.batch)) if settings.bias is None else settings.bias
    return SigmoidObjective(bias)


def _triplet(settings: TrainSettings, _: Learnt, __: int) -> Objective:
    margin, share = settings.margin, settings.softmax_share
    return TripletObjective(MARGIN if margin is None else margin, SOFTMAX_SHARE if share is None else share)


def _hyperbolic(settings: TrainSettings, learnt: Learnt, width: int) -> Objective:
    curvature = learnt.get("curvature", CURVATURE) if settings.curvature is None else settings.curvature
    image_scale, text_scale = (learnt.get(name, width**-0.5) for name in ("image_scale", "text_scale"))
    entailment = ENTAILMENT if settings.entailment is None else settings.entailment
    return HyperbolicObjective(curvature, image_scale, text_scale, entailment)


OBJECTIVES: Mapping[str, Callable[[TrainSettings, Learnt, int], Objective]] = {
    SoftmaxObjective.name: _softmax,
    SigmoidObjective.name: _sigmoid,
    TripletObjective.name: _triplet,
    HyperbolicObjective.name: _hyperbolic,
}


def objective_of(settings: TrainSettings, trained: Mapping[str, Any], width: int) -> Objective:
    """Return the objective of a run; it goes on from what `trained` says that the model before it has learnt.

    `trained` is what the model has `recorded`; TrainError where that is damaged. `width` is how many numbers its towers
    give of an image or a text.
    """
    learnt = trained.get("learnt", {}) if trained.get("name") == settings.objective else {}
    if not isinstance(learnt, dict) or not all(
        isinstance(value, float) and math.isfinite(value) for value in learnt.values()
    ):
        raise TrainError(
            f"the config.json of {settings.init} has weights of the objective {settings.objective} that are not "
            "numbers: give a model that is whole as --init"
        )
    return OBJECTIVES[settings.objective](settings, learnt, width)


def described(objective: Objective) -> dict[str, Any]:
    """Return what a model's config.json has under `objective`."""
    return {"name": objective.name, "learnt": objective.learnt(), "given": objective.given()}


def recorded(config: Any) -> Mapping[str, Any]:
    """Return what the config of a model says of its objective; nothing where it is of before, or from elsewhere."""
    objective = getattr(config, "objective", None)
    return objective if isinstance(objective, dict) else {}
