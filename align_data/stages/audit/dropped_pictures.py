"""Dropped pairs whose image is stored: what `fetch --of-dropped` brought, to be looked at rule by rule."""

from __future__ import annotations

import numpy as np
import polars as pl

from align_data.common.progress import Progress, Tick
from align_data.data.layout import Dataset
from align_data.data.ledger import Ledger
from align_data.engines.base import Engine
from align_data.recipes.plan import Plan
from align_data.stages.audit import sampling


def dropped_pictures(
    dataset: Dataset, ledger: Ledger, plan: Plan, samples: int, engine: Engine, progress: Progress
) -> dict[str, list[sampling.SampledPair]]:
    """Return for each rule up to `samples` pairs that fail it and have a stored image, those that it alone drops first.

    Only parts that a sample was drawn of are looked at: none where all images were fetched, or those needed alone.
    """
    images = dataset.images.committed()
    sampled = 0 if images is None else min(images.meta.sampled, ledger.parts)
    if not sampled or not samples:
        return {}

    def look(part: int, tick: Tick) -> sampling.Spots:
        return _look(dataset, ledger, part, samples * sampling.SPARE, tick)

    rows = [part.rows for part in dataset.ingested().parts[:sampled]]
    parts = engine.map_parts("audit: pictures of dropped pairs", look, rows, progress)
    spots = sampling.nearest(parts, samples * sampling.SPARE)
    columns = [column for rule in plan.rules for column in rule.columns]
    pairs_at = sampling.read(dataset, plan, columns, sampling.rows_at(spots), engine, progress)
    return {rule: pairs for (rule, _), pairs in sampling.chosen(spots, pairs_at, samples).items() if pairs}


def _look(dataset: Dataset, ledger: Ledger, part: int, number: int, tick: Tick) -> sampling.Spots:
    """Return of one part the first pairs of each rule."""
    stored = [piece.filter(pl.col("tar").is_not_null())["url"] for piece in dataset.images.pieces(part, ["url", "tar"])]
    urls = pl.concat(stored) if stored else pl.Series("url", [], pl.String)
    spots: sampling.Spots = {}
    streams = (dataset.pairs.pieces(part, ["url"]), dataset.ledger(ledger.name).pieces(part, ["failed"]))
    for place, (pairs, masks) in enumerate(zip(*streams, strict=True)):
        failed = masks["failed"].to_numpy()
        shown = (failed > 0) & pairs["url"].is_in(urls.implode()).to_numpy()
        for rule in ledger.plan.in_force:
            rows = np.flatnonzero(shown & (failed & rule.bit != 0)).tolist()
            candidates = [
                sampling.Spot(float(failed[row] != rule.bit), sampling.PairPlace(part, place, row)) for row in rows
            ]
            spots[rule.name, "random", 0] = sorted([*spots.get((rule.name, "random", 0), []), *candidates])[:number]
        tick(len(pairs))
    return spots
