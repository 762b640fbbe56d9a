"""Samples: for each rule the pairs nearest to its threshold, and pairs at random that it alone drops.

A part is a range of a hash, so what comes first in it is as good as drawn; where values are equal the first are taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.progress import Progress, Tick
from align_data.data.columns import available, by_group
from align_data.data.layout import Dataset
from align_data.engines.base import Engine
from align_data.recipes.model import Rule
from align_data.recipes.operators import Bound
from align_data.stages.audit.mask_codes import Codes, Populations, Which
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
"""Rule, kind and which end of the rule."""
Spots = dict[Key, list[Spot]]
SPARE = 3
"""Times as many rows are read as are shown, so that these are of different texts where there are any."""


class Nearest:
    """Looks for the rows of one part that are nearest to a rule's thresholds."""

    def __init__(self, rule: Rule, bit: int, populations: Populations, number: int) -> None:
        self._rule, self._number = rule, number
        self._alone = populations.alone(bit)
        self._undropped = populations.undropped
        self.spots: Spots = {}

    def add(self, part: int, piece: int, values: Values, codes: Codes) -> None:
        """Look at one piece."""
        if not self._number:
            return
        for at, end in enumerate(self._rule.bounds):
            assert isinstance(values, pl.Series)
            for kind, which in (("dropped", self._alone), ("kept", self._undropped)):
                key: tuple[str, Kind, int] = (self._rule.name, kind, at)  # type: ignore[assignment]
                spots = self.spots.setdefault(key, [])
                greatest = spots[-1].distance if len(spots) >= self._number else None
                if greatest is not None and greatest <= _least(end, kind, values.dtype):
                    continue
                rows, distances = _near(values, which, codes, end, kind, greatest)
                nearest_rows = first_least(distances, self._number)
                spots += [Spot(float(distances[i]), PairPlace(part, piece, int(rows[i]))) for i in nearest_rows]
                self.spots[key] = sorted(spots)[: self._number]


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
    values: pl.Series, which: Which, codes: Codes, end: Bound, kind: str, limit: float | None
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return rows on one side of an end that are nearer than `limit`, and how near; `which` is of their codes."""
    with np.errstate(over="ignore"):  # as far away as can be
        away = values.cast(pl.Float64).to_numpy() - end.value  # NaN for null
    above = end.lower == (kind == "kept")
    distance = away if above else -away
    near = distance >= 0 if limit is None else (distance >= 0) & (distance < limit)
    rows = np.flatnonzero(near)
    rows = rows[which[codes[rows]]]
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
    dataset: Dataset, signals: Iterable[str], rows: Iterable[PairPlace], engine: Engine, progress: Progress
) -> dict[PairPlace, SampledPair]:
    """Read the pairs in these rows, with these signals as far as they are measured; each piece once."""
    names = sorted({*signals, "nsfw"} & available(dataset, dataset.ingested(), ()))
    rows_of: dict[tuple[int, int], list[PairPlace]] = defaultdict(list)
    for row in sorted(set(rows)):
        rows_of[row.part, row.piece].append(row)
    places = sorted(rows_of)

    def look(place: int, tick: Tick) -> dict[PairPlace, SampledPair]:
        part, piece = places[place]
        rows = rows_of[part, piece]
        tick(1)
        pairs_at = at(dataset, part, piece, [row.row for row in rows], names).iter_rows(named=True)
        return {row: _sample(pair, part) for row, pair in zip(rows, pairs_at, strict=True)}

    pairs: dict[PairPlace, SampledPair] = {}
    for piece_pairs in engine.map_parts("audit: samples", look, [1] * len(places), progress, "pieces"):
        pairs |= piece_pairs
    return pairs


def _sample(row: dict[str, Any], part: int) -> SampledPair:
    return SampledPair(row.pop("uid"), row.pop("url"), row.pop("alt_text"), row, part)


def at(dataset: Dataset, part: int, piece: int, rows: Sequence[int], signals: Sequence[str]) -> pl.DataFrame:
    """Return some rows of one piece: uid, url, alt_text and signals."""
    frames = [dataset.pairs.piece(part, piece, ["uid", "url", "alt_text"])[list(rows)]]
    for group, names in sorted(by_group(signals).items()):
        frames.append(dataset.measured(group).piece(part, piece, names)[list(rows)])
    return pl.concat(frames, how="horizontal")


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
