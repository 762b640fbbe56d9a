"""Samples: for each rule the pairs nearest to its threshold, and pairs at random that it alone drops.

A part is a range of a hash, so what comes first in it is as good as drawn; where values are equal the first are taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.progress import Progress, Tick
from align_data.data.columns import available
from align_data.data.derived import planned_rows
from align_data.data.layout import Dataset
from align_data.engines.base import Engine
from align_data.recipes.operators import Bound
from align_data.recipes.plan import Plan
from align_data.recipes.planned import PlannedTest
from align_data.stages.audit.mask_codes import Codes, Which
from align_data.stages.audit.values import Values

Kind = Literal["dropped", "kept", "random"]
KINDS: tuple[Kind, ...] = ("dropped", "kept", "random")
"""Nearest on the side that the rule drops, of pairs that no other does; nearest on the other; dropped, at random."""


class PairPlace(NamedTuple):
    """Where a pair is."""

    part: int
    piece: int
    row: int


class Spot(NamedTuple):
    """A row that may be shown. The least are taken."""

    distance: float
    row: PairPlace


Key = tuple[str, Kind, int]
"""Rule, or one of its tests, kind and which end of it."""
Spots = dict[Key, list[Spot]]
SPARE = 3
"""Times as many rows are read as are shown, so that these are of different texts where there are any."""


Marks = Callable[[Kind, NDArray[np.intp]], Which]
"""Which of some rows may be shown: dropped by what is tested alone, or kept."""


class Nearest:
    """Looks for the rows of one part that are nearest to the thresholds of a test."""

    def __init__(self, name: str, test: PlannedTest, number: int) -> None:
        self._name, self._test, self._number = name, test, number
        self.spots: Spots = {}

    def add(self, part: int, piece: int, values: Values, marks: Marks) -> None:
        """Look at one piece."""
        if not self._number:
            return
        for at, end in enumerate(self._test.bounds):
            assert isinstance(values, pl.Series)
            for kind in KINDS[:2]:
                spots = self.spots.setdefault((self._name, kind, at), [])
                greatest = spots[-1].distance if len(spots) >= self._number else None
                if greatest is not None and greatest <= _least(end, kind, values.dtype):
                    continue
                rows, distances = _near(values, marks, end, kind, greatest)
                nearest_rows = first_least(distances, self._number)
                spots += [Spot(float(distances[i]), PairPlace(part, piece, int(rows[i]))) for i in nearest_rows]
                self.spots[self._name, kind, at] = sorted(spots)[: self._number]


def first_least(values: NDArray[Any], number: int) -> NDArray[np.intp]:
    """Return the places of the `number` least values in their order; of equal ones the first."""
    if len(values) <= number:
        return np.argsort(values, kind="stable")
    limit = np.partition(values, number - 1)[number - 1]
    candidates = np.flatnonzero(values <= limit)
    return candidates[np.argsort(values[candidates], kind="stable")][:number]


def _least(bound: Bound, kind: str, dtype: pl.DataType) -> float:
    """Return the least distance that a value can have: none nearer need be looked for."""
    exclusive = bound.inclusive != (kind == "kept")
    return 1.0 if exclusive and dtype.is_integer() and float(bound.value).is_integer() else 0.0


def _near(
    values: pl.Series, marks: Marks, end: Bound, kind: Kind, limit: float | None
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return rows on one side of an end that are nearer than `limit` and may be shown, and how near."""
    with np.errstate(over="ignore"):  # as far away as can be
        away = values.cast(pl.Float64).to_numpy() - end.value  # NaN for null
    above = end.lower == (kind == "kept")
    distance = away if above else -away
    near = distance >= 0 if limit is None else (distance >= 0) & (distance < limit)
    rows = np.flatnonzero(near)
    rows = rows[marks(kind, rows)]
    if not len(rows):
        return rows, distance[rows]
    # At the threshold itself the operator decides; the masks do not know, where the rule is taken out.
    passes = values.gather(rows).to_frame().select(end.passes(pl.first())).to_series().to_numpy()
    rows = rows[passes == (kind == "kept")]
    return rows, distance[rows]


class RandomDraw:
    """Draws rows of one part: of its pieces in an order that the seed gives, as many as are needed."""

    def __init__(self, seed: int, part: int, number: int) -> None:
        self._seed, self._part, self._number = seed, part, number
        self.spots: Spots = {}

    def add(self, piece: int, names: Mapping[str, Which], codes: Codes) -> None:
        """Draw, for each name, of the rows of one piece whose codes are marked."""
        order = float(self._chance(piece).random())
        for name, which in names.items():
            spots = self.spots.setdefault((name, "random", 0), [])
            if len(spots) >= self._number and (not spots or spots[-1].distance < order):
                continue
            rows = np.flatnonzero(which[codes])
            if len(rows):
                chance = self._chance(piece)
                chance.random()  # the order
                chosen = chance.choice(rows, min(self._number, len(rows)), replace=False).tolist()
                spots += [Spot(order, PairPlace(self._part, piece, row)) for row in chosen]
                self.spots[name, "random", 0] = sorted(spots)[: self._number]

    def _chance(self, piece: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, self._part, piece])


@dataclass(frozen=True)
class SampledPair:
    """A pair that is shown."""

    uid: str
    url: str
    alt_text: str
    values: Mapping[str, Any]
    """Of its signals."""
    part: int

    @property
    def nsfw(self) -> float | None:
        """Its nsfw score; None where it is not measured."""
        score: float | None = self.values.get("nsfw")
        return score


Samples = dict[tuple[str, Kind], list[SampledPair]]


def nearest(parts: Iterable[Spots], number: int) -> Spots:
    """Return the nearest spots of all parts."""
    together: dict[Key, list[Spot]] = defaultdict(list)
    for spots in parts:
        for key, part_spots in spots.items():
            together[key] += part_spots
    return {key: sorted(part_spots)[:number] for key, part_spots in together.items()}


def read(
    dataset: Dataset,
    plan: Plan,
    columns: Iterable[str],
    rows: Iterable[PairPlace],
    engine: Engine,
    progress: Progress,
) -> dict[PairPlace, SampledPair]:
    """Read the pairs in these rows, with these columns of a plan as far as they are known; each piece once."""
    names = sorted({*columns, "nsfw"} & plan.known(available(dataset, dataset.ingested(), ())))
    rows_of: dict[tuple[int, int], list[PairPlace]] = defaultdict(list)
    for row in sorted(set(rows)):
        rows_of[row.part, row.piece].append(row)
    places = sorted(rows_of)

    def look(place: int, tick: Tick) -> dict[PairPlace, SampledPair]:
        part, piece = places[place]
        rows = rows_of[part, piece]
        tick(1)
        pairs_at = planned_rows(dataset, plan, (part, piece), [row.row for row in rows], names).iter_rows(named=True)
        return {row: _sample(pair, part) for row, pair in zip(rows, pairs_at, strict=True)}

    pairs: dict[PairPlace, SampledPair] = {}
    for piece_pairs in engine.map_parts("audit: samples", look, [1] * len(places), progress, "pieces"):
        pairs |= piece_pairs
    return pairs


def _sample(row: dict[str, Any], part: int) -> SampledPair:
    return SampledPair(row.pop("uid"), row.pop("url"), row.pop("alt_text"), row, part)


def rows_at(spots: Spots) -> Iterator[PairPlace]:
    """Yield the row of each spot."""
    return (spot.row for key_spots in spots.values() for spot in key_spots)


def chosen(spots: Spots, pairs: Mapping[PairPlace, SampledPair], number: int) -> Samples:
    """Return at most `number` pairs of each key in order, each once a rule: what is nearest is not random too."""
    samples: Samples = defaultdict(list)
    used: dict[str, set[str]] = defaultdict(set)
    for name, kind, end in sorted(spots, key=lambda key: (key[0], KINDS.index(key[1]), key[2])):
        candidates = [pairs[spot.row] for spot in spots[name, kind, end]]
        fresh = [sample for sample in candidates if sample.uid not in used[name]]
        different = _different(fresh, number)
        used[name].update(sample.uid for sample in different)
        samples[name, kind] += different
    return dict(samples)


def _different(samples: Sequence[SampledPair], number: int) -> list[SampledPair]:
    """Take samples of different texts first, and keep their order."""
    texts: dict[str, int] = {}
    for place, sample in enumerate(samples):
        texts.setdefault(sample.alt_text, place)
    distinct = sorted(texts.values())
    repeated = [place for place in range(len(samples)) if place not in set(distinct)]
    return [samples[place] for place in sorted([*distinct, *repeated][:number])]
