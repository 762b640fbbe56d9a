"""The evaluation set, and the pairs of a pool that are in it: the same pair, the same URL, or a copy of the image."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.errors import DatasetError
from align_data.data.references import nearest
from align_data.decoding.inspected import MAX_PIXELS, ImageChecks
from align_data.decoding.inspection import inspect
from align_data.recipes.plan import Plan
from align_data.train.shards import Sample

DISTANCE = 4
"""Bits in which the pHash of a copy may differ, unless a rule sets it."""


@dataclass(frozen=True)
class EvaluationSet:
    """What must never be in training."""

    uids: frozenset[str]
    urls: frozenset[str]
    phashes: NDArray[np.int64]
    digest: str
    """Of all pairs, with their images."""
    pairs: int


@dataclass(frozen=True)
class Leaks:
    """Pairs of the pool that were taken out of every arm, by how they were known. One can be known by several."""

    uid: int
    url: int
    phash: int
    pairs: int
    distance: int


def evaluation(examples: Iterable[Sample], where: str) -> EvaluationSet:
    """Read an evaluation set; DatasetError where it is empty or has an image that cannot be decoded."""
    uids, urls, phashes, whole = set(), set(), [], hashlib.sha256()
    pairs = 0
    for pairs, example in enumerate(examples, 1):  # noqa: B007 - their number
        inspected = inspect(example.image, ImageChecks(header=False), MAX_PIXELS)
        if inspected.phash is None:
            raise DatasetError(f"{where}: the image of {example.uid} cannot be decoded: {inspected.reason}")
        uids.add(example.uid)
        urls.add(example.url)
        phashes.append(inspected.phash)
        for value in (example.uid.encode(), example.alt_text.encode(), example.image):
            whole.update(hashlib.sha256(value).digest())
    if not pairs:
        raise DatasetError(f"{where} has no pair: there is nothing to evaluate on")
    return EvaluationSet(frozenset(uids), frozenset(urls), np.array(phashes, np.int64), whole.hexdigest(), pairs)


def allowed(plan: Plan) -> int:
    """Return the bits in which a copy's pHash may differ: as many as the rule on eval_distance drops, else DISTANCE."""
    tests = [test for rule in plan.rules for test in rule.tests if test.signal == "eval_distance"]
    for test in tests:
        for bound in test.bounds:
            if bound.lower and (least := bound.cut(whole=True)) is not None:
                return int(least) - 1
    return DISTANCE


def leaking(rows: pl.DataFrame, held_out: EvaluationSet, distance: int) -> tuple[pl.Series, Leaks]:
    """Tell which rows, of uid, url and phash, are in the evaluation set; and how many by what."""
    by_uid = rows["uid"].is_in(list(held_out.uids))
    by_url = rows["url"].is_in(list(held_out.urls))
    by_phash = (nearest(rows["phash"], held_out.phashes)[0] <= distance).fill_null(False)
    either = (by_uid | by_url | by_phash).alias("leaks")
    return either, Leaks(int(by_uid.sum()), int(by_url.sum()), int(by_phash.sum()), int(either.sum()), distance)
