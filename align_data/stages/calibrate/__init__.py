"""Calibrate: how near an encoder sees copies of a dataset's own images, how near it sees others, and where to cut.

A threshold that is right for one encoder is wrong for another. So some of the images are changed as images are on the
web, and embedded; and these near-copies are held against pairs of different images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from align_data.common.errors import DatasetError, SignalError
from align_data.common.progress import Progress
from align_data.data.calibration import Calibration, store_calibration
from align_data.data.embeddings import committed_embeddings
from align_data.data.layout import Dataset
from align_data.data.model_inputs import check_side, decodable_images
from align_data.decoding.augmenting.augmentations import AUGMENTATIONS
from align_data.models.sharing import SharedModel
from align_data.stages.calibrate.copies import copy_cosines
from align_data.stages.calibrate.curve import (
    PHASH_WITHIN,
    Places,
    RandomPairs,
    copy_groups,
    curve,
    proposed,
    quantiles,
    random_pairs,
)
from align_data.stages.calibrate.report import CalibrationReport, DrawnImage, RandomPair
from align_data.stages.calibrate.sample import places_of, sample
from align_data.storage.tars import Place

LEAST = 20
"""Distinct images of which anything can be told."""
NEAREST = 24
"""Random pairs that are shown, at most."""

__all__ = ["AUGMENTATIONS", "CalibrationPlan", "CalibrationReport", "calibrate", "model_of"]


@dataclass(frozen=True)
class CalibrationPlan:
    """What a calibration is to be of."""

    images: int = 1_000
    """That copies are made of."""
    compared: int = 10_000
    """Whose pairs are the random ones."""
    allowed: float = 1.0
    """False pairs per million."""
    seed: int = 0
    lone: bool = False
    """Whether only images without a copy in the sample are compared."""


def model_of(dataset: Dataset, name: str) -> str:
    """Return MODEL of embedded/NAME, as its user named it; DatasetError where there is none."""
    return committed_embeddings(dataset, name).meta.spec


def calibrate(
    dataset: Dataset, name: str, shared: SharedModel, plan: CalibrationPlan, children: int, progress: Progress
) -> CalibrationReport:
    """Calibrate the embeddings embedded/NAME, and keep what it came to.

    SignalError for another model than theirs, DatasetError for too few images, or no two that differ.
    """
    manifest = committed_embeddings(dataset, name)
    decodable_images(dataset, "calibrate")
    if shared.digest != manifest.meta.model:
        raise SignalError(
            f"embedded/{name} is of another model than {shared.spec}: its weights, tokenizer and card have the SHA-256 "
            f"{manifest.meta.model[:12]}…, not {shared.digest[:12]}…; embed with this one under another name"
        )
    encoder = shared.encoder
    check_side(dataset, encoder.preparation.side, len(manifest.parts), "calibrate")
    drawn = sample(dataset, name, manifest, max(plan.images, plan.compared), plan.seed, progress)
    if len(drawn.rows) < LEAST:
        raise DatasetError(
            f"{dataset.store.url} has {len(drawn.rows):,} different images in embedded/{name} whose bytes are there; "
            f"a calibration needs {LEAST} at least"
        )
    groups = copy_groups(*drawn.phashes)
    chosen = _compared(groups, plan)
    random = random_pairs(drawn.vectors[chosen], groups[chosen])
    if not random.number and plan.lone:
        raise DatasetError(
            f"{len(chosen):,} of {len(drawn.rows):,} images of {dataset.store.url} have no likely copy in the sample: "
            "there are no random pairs to hold copies against; calibrate without --lone"
        )
    if not random.number:
        raise DatasetError(
            f"no two of {len(drawn.rows):,} images of {dataset.store.url} are different by pHash: there are no random "
            "pairs to hold copies against"
        )
    places = [Place(*place) for place in places_of(drawn, plan.images)]
    with progress.step("calibrate: copies", len(places), "images") as tick:
        copies = copy_cosines(dataset, places, drawn.vectors, encoder, children, tick)
    points = curve(random, copies)
    of_kind = {kind: quantiles(cosines) for kind, cosines in copies.items()}
    calibration = Calibration(
        name=name,
        model=shared.digest,
        seed=plan.seed,
        images=min(plan.images, len(drawn.rows)),
        compared=random.images,
        pairs=random.number,
        left_out=random.left_out,
        lone=plan.lone,
        phash_within=PHASH_WITHIN if drawn.phashes[1].any() else None,
        pool=manifest.rows,
        allowed=plan.allowed,
        threshold=proposed(points, plan.allowed),
        kinds={kind: of for kind, of in of_kind.items() if of is not None},
        random_median=random.below(0.5),
        random_999=random.below(0.999),
        curve=points,
    )
    store_calibration(dataset, calibration)
    undecodable = int(np.isnan(next(iter(copies.values()))).sum())
    return CalibrationReport(calibration, _nearest(drawn.rows[chosen], random), undecodable)


def _compared(groups: Places, plan: CalibrationPlan) -> Places:
    """Return the images of the sample whose pairs are the random ones."""
    chosen = np.arange(len(groups))
    if plan.lone:
        sizes = np.bincount(groups)
        chosen = chosen[sizes[groups] == 1]
    return chosen[: plan.compared]


def _nearest(rows: pl.DataFrame, random: RandomPairs) -> list[RandomPair]:
    """Return the nearest random pairs, each image in one of them at most: a group would fill all places."""
    pairs: list[RandomPair] = []
    shown: set[int] = set()
    for cosine, *pair in zip(random.cosines.tolist(), random.first.tolist(), random.second.tolist(), strict=True):
        if shown.isdisjoint(pair):
            shown.update(pair)
            pairs.append(RandomPair(cosine, *(_image(rows, at) for at in pair)))
            if len(pairs) == NEAREST:
                break
    return pairs


def _image(rows: pl.DataFrame, at: int) -> DrawnImage:
    return DrawnImage(rows["part"][at], rows["url"][at], rows["nsfw"][at])
