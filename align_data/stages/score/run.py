"""How scores are written, whatever they come from: part by part, a column row for row with pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.common.errors import SignalError
from align_data.common.progress import Progress, Tick
from align_data.data.batches import CARRIED
from align_data.data.columns import part_facts, scored_by
from align_data.data.layout import Dataset
from align_data.data.meta import ImagesMeta, PairsMeta, SignalsMeta
from align_data.engines.base import Engine
from align_data.signals import Signal
from align_data.signals.score import DECIMALS
from align_data.storage.tables import Manifest, Table

Values = NDArray[np.float64]
MOST = 2**53 / 10**DECIMALS
"""Beyond it a float has no six decimals."""


class ScoreSource(Protocol):
    """What scores come from. It travels to other machines."""

    def identity(self, part: int) -> str | None:
        """Return what else the scores of a part follow from, beside pairs and images."""

    def scores(self, part: int, tick: Tick, scored: Iterator[NDArray[np.bool_]] | None = None) -> Iterator[Values]:
        """Yield a score for each row of each piece of pairs, NaN where there is none.

        `scored` tells piece by piece which rows have theirs already: what is yielded of these is not used.
        """


@dataclass(frozen=True)
class Scored:
    """What a run of `score` did."""

    signal: str
    model: str
    """The model's digest."""
    pairs: int
    scored: int
    """Pairs that have a score now; the others have no image that could be had and decoded, or that is embedded."""
    computed: int
    """Pairs that had to be scored for it."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return asdict(self)


@dataclass(frozen=True)
class ScoreRun:
    """What all parts share. It travels to other machines."""

    dataset: Dataset
    signal: Signal
    said: Mapping[str, Any]
    """Which model, embeddings and head say it."""
    source: ScoreSource
    pairs: Manifest[PairsMeta]
    images: Manifest[ImagesMeta] | None
    """None where only texts are scored."""

    @property
    def table(self) -> Table[SignalsMeta]:
        """Where the scores go."""
        return self.dataset.measured(self.signal.group)

    @property
    def identity(self) -> dict[str, Any]:
        """What the scores follow from, beside the pairs."""
        return {**self.signal.identity(), **scored_by(self.dataset, **self.said)}

    def wrote(self, meta: SignalsMeta) -> bool:
        """Tell whether a table that says this of itself has what this run would write."""
        return meta.signals == {self.signal.name: self.identity} and meta.pairs == self.pairs.fingerprint

    def facts(self, part: int) -> dict[str, Any]:
        """Say what a part is made from: of pairs and images its own, so that others may come and go."""
        own = {"images": self.images.parts[part].identity} if self.images is not None else {}
        said = {**self.said}
        if "vectors" in said:
            said["vectors"] = {**said["vectors"], "fingerprint": self.source.identity(part)}
        return {
            "signals": {self.signal.name: {**self.identity, **said, **own}},
            "pairs": self.pairs.parts[part].identity,
        }

    def part(self, number: int, tick: Tick) -> tuple[int, int]:
        """Score one part, if it is not there; return how many pairs have a score, and how many were computed now."""
        facts, name = self.facts(number), self.signal.name
        if part_facts(self.table, number) == facts:
            tick(self.pairs.parts[number].rows)
            return sum(len(piece[name].drop_nulls()) for piece in self.table.pieces(number, [name])), 0
        scored = computed = 0
        earlier = self._carried(number)
        known = None if earlier is None else (values.is_not_null().to_numpy() for values in earlier)
        with self.table.writer(number, facts, [name]) as writer:
            for at, values in enumerate(self.source.scores(number, tick, known)):
                column = pl.Series(name, rounded(values)).fill_nan(None)
                if earlier is not None:
                    column = earlier[at].zip_with(earlier[at].is_not_null(), column)
                    computed -= len(earlier[at].drop_nulls())
                writer.write(column.to_frame())
                scored += len(column.drop_nulls())
        return scored, scored + computed

    def _carried(self, number: int) -> list[pl.Series] | None:
        """Return the scores of a part's pairs from before others came between them; None where there are none.

        The bytes of an image that was fetched stay what they are, so a score of the same model and definition does.
        """
        name, was = self.signal.name, (part_facts(self.table, number).get(CARRIED) or {}).get(self.signal.name)
        if was is None or "vectors" in self.said or "column" in self.said:
            return None
        now = {**self.signal.identity(), **self.said}
        if any(was.get(key) != value for key, value in now.items()):
            return None
        return [piece[name] for piece in self.table.pieces(number, [name])]


def run_scores(run: ScoreRun, engine: Engine, progress: Progress) -> Scored:
    """Score all pairs, and commit the table."""
    table, pairs, signal, model = run.table, run.pairs, run.signal, str(run.said["model"])
    before = table.committed()
    if before is not None and run.wrote(before.meta) and table.whole(before):
        return Scored(signal.name, model, pairs.rows, before.meta.scored, 0)
    if before is not None:
        say_other_way(signal.name, before.meta.signals.get(signal.name, {}), run.said, progress)
    # While parts are replaced no manifest may speak for them: the old model's scores would be mixed with the new one's.
    table.retract()
    counts = engine.map_parts("score", run.part, [part.rows for part in pairs.parts], progress)
    scored = sum(number for number, _ in counts)
    meta = SignalsMeta(signals={signal.name: run.identity}, pairs=pairs.fingerprint, scored=scored)
    table.commit([table.info(part) for part in range(len(pairs.parts))], meta)
    return Scored(signal.name, model, pairs.rows, scored, sum(computed for _, computed in counts))


def say_other_way(signal: str, before: Mapping[str, Any], now: Mapping[str, Any], progress: Progress) -> None:
    """Say that scores of one way take the place of those of another: they differ, be it in the last decimals."""
    was, is_now = _way(before), _way(now)
    if was != is_now:
        differ = "are not mixed" if _LISTED in (was, is_now) else "differ in the last decimals, and are not mixed"
        progress.say(f"{signal} was scored from {was}, and is scored anew from {is_now}: the two {differ}")


_LISTED = "a list"


def _way(said: Mapping[str, Any]) -> str:
    if "column" in said:
        return _LISTED
    return "stored embeddings (float16)" if "vectors" in said else "decoded images"


def rounded(values: Values) -> Values:
    """Return scores with six decimals; SignalError for one that has none."""
    if np.isinf(values).any() or np.nanmax(np.abs(values), initial=0) > MOST:
        raise SignalError("what the model says is not a number that can be stored with six decimals: it is damaged")
    # A whole number divided once is the float nearest to the decimals: what is equal in them is equal.
    decimals: Values = np.rint(values * 10**DECIMALS) / 10**DECIMALS
    return decimals + 0.0  # of -0 too
