"""What a run's model makes of the whole pool: the similarity of each pair, which tells noise and chooses pairs."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.errors import TrainError
from align_data.storage.store import Store

_SCHEMA = {"uid": pl.String(), "similarity": pl.Float64()}


def write(out: Store, name: str, similarities: pl.DataFrame) -> None:
    """Write the columns `uid` and `similarity`."""
    with out.create(name) as path:
        similarities.cast(dict(_SCHEMA)).write_parquet(path)  # type: ignore[arg-type]


def read(out: Store, name: str) -> pl.DataFrame | None:
    """Return what `write` wrote; None where there is none. Raises TrainError where it is damaged."""
    if not out.exists(name):
        return None
    try:
        with out.read(name) as file:
            similarities = pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _damaged(out, name, error) from error
    if similarities.schema != pl.Schema(_SCHEMA) or not similarities["similarity"].is_finite().all():
        raise _damaged(out, name, "no uid and similarity")
    return similarities


def _damaged(out: Store, name: str, why: object) -> TrainError:
    return TrainError(
        f"{out.path(name)} is not what a run's model made of the pool: {why}; remove it, and the .json of the same "
        "name, to repeat the run"
    )


def best(similarities: pl.DataFrame, pool: pl.Series, share: float) -> list[str]:
    """Return the uids of the most similar share of the pool's pairs, sorted; of equal ones those of the lower uid."""
    scored = similarities.filter(pl.col("uid").is_in(pool.implode()))
    ranked = scored.sort(["similarity", "uid"], descending=[True, False])
    return ranked.head(round(share * len(pool)))["uid"].sort().to_list()


def noise_detected(similarities: pl.DataFrame, pool: pl.Series, good: Collection[str]) -> float | None:
    """Return how often a good pair of the pool is more similar than another one: the area under the ROC curve.

    An equal similarity is half of it. None where all pairs are good, or none is.
    """
    scored = similarities.filter(pl.col("uid").is_in(pool.implode()))
    is_good, values = scored["uid"].is_in(list(good)).to_numpy(), scored["similarity"].to_numpy()
    return area(values[is_good], values[~is_good])


def area(positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> float | None:
    """Return the share of all (positive, negative) in which the positive one is greater, equal ones as a half."""
    if not len(positives) or not len(negatives):
        return None
    ordered = np.sort(negatives)
    below, upto = (np.searchsorted(ordered, positives, side) for side in ("left", "right"))
    return float((below + upto).sum() / (2 * len(positives) * len(negatives)))
