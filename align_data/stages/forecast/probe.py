"""A few URLs of the sample, fetched as the run would, into a folder that is thrown away."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from align_data.common.progress import Progress
from align_data.data import pairs as pair
from align_data.data.image_table import sorted_rows
from align_data.data.layout import Dataset
from align_data.engines.base import Engine
from align_data.fetching.client import Policy
from align_data.fetching.limits import Limits
from align_data.stages.fetch import fetch
from align_data.stages.forecast.costs import WebFigures
from align_data.stages.forecast.figures import Figure
from align_data.stages.forecast.trial import write_pairs
from align_data.storage.store import Store

_Z = 1.959964


@dataclass(frozen=True)
class Probe:
    """How many URLs are asked for, and what the fetch of them may do."""

    urls: int
    policy: Policy
    limits: Limits


def probed(probe: Probe, urls: pl.DataFrame, folder: Path, engine: Engine, progress: Progress) -> WebFigures:
    """Fetch the first of these URLs, which are in the order of their hashes; return what they came to."""
    chosen = urls.head(probe.urls)
    if not len(chosen):
        return WebFigures()
    dataset = Dataset(Store(folder))
    write_pairs(dataset, pair.merge(pair.keyed(chosen, ())), (), 1)
    began = time.monotonic()
    fetch(dataset, None, probe.policy, probe.limits, engine, progress)
    seconds = time.monotonic() - began
    images = sorted_rows(dataset.images, 0, ["status", "size"])
    alive = (images["status"] == "ok").to_numpy()
    sizes = images.filter(pl.col("status") == "ok")["size"].to_list()
    busy = min(probe.limits.in_process, len(chosen))
    return WebFigures(
        alive=_mean(alive.astype(float).tolist(), "images/URL"),
        bytes=_mean(sizes, "bytes/image") if sizes else WebFigures().bytes,
        seconds=Figure(seconds * busy / len(chosen), "seconds/URL", "probed", None),
    )


def _mean(values: Sequence[float], unit: str) -> Figure:
    of = np.asarray(values, np.float64)
    error = _Z * float(of.std(ddof=1)) / len(of) ** 0.5 if len(of) > 1 else None
    return Figure(float(of.mean()), unit, "probed", error)
