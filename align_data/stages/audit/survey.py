"""The survey: one pass over a decided dataset that counts everything on the audit page.

Parts are counted alone and their counts added, so that the pass is the same on any engine and at any size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from align_data import __version__
from align_data.common.errors import DatasetError
from align_data.common.progress import Progress, Tick
from align_data.common.secrets import mask, mask_command
from align_data.data.batches import batches_of
from align_data.data.columns import available, by_group
from align_data.data.derived import planned_columns
from align_data.data.layout import Dataset
from align_data.data.ledger import TAKEN_DOWN, Ledger, open_current
from align_data.data.meta import BatchMeta, PairsMeta
from align_data.data.ngrams import Totals
from align_data.data.thresholds import classes, complete
from align_data.engines.base import Engine
from align_data.recipes.plan import Plan, PlannedRule
from align_data.recipes.thresholds import Classes, vocabulary_size
from align_data.signals import find, is_signal
from align_data.stages.audit import extremes, groups, image_outcomes, sampling
from align_data.stages.audit.counts import Audit, audit
from align_data.stages.audit.curves import Counts, Curve
from align_data.stages.audit.dimensions import DIMENSIONS, Dimension, DimensionCounts, DimensionTally, merged
from align_data.stages.audit.dropped_pictures import dropped_pictures
from align_data.stages.audit.leaf_tally import LeafTally, leaf_tally
from align_data.stages.audit.leaves import Comparison, RuleVerdicts, drawn
from align_data.stages.audit.mask_codes import Populations
from align_data.stages.audit.near import NearMethod, near_duplicates
from align_data.stages.audit.values import Values, series_of, values_of
from align_data.storage.manifests import unchecked
from align_data.storage.tables import Manifest, Table

SAMPLES = 6
_COUNTED = ("images_per_text", "texts_per_image", "rarest_ngram")


@dataclass(frozen=True)
class Overlap:
    """Pairs that fail exactly these rules."""

    rules: tuple[str, ...]
    pairs: int


@dataclass(frozen=True)
class LoggedRun:
    """One run of a command on the dataset, from its log."""

    command: str
    began: str
    seconds: float
    version: str
    outcome: str = "done"
    """Or how it failed; an earlier version logged what was done alone."""


@dataclass(frozen=True)
class Survey:
    """The numbers of the audit page. Counts are exact unless an `error` beside them is not 0."""

    audit: Audit
    plan: Plan
    account: Mapping[str, Any]
    """Of the input's rows, by ingest."""
    batches: list[BatchMeta]
    """What was added to what was ingested, with that before it; none where nothing was."""
    inputs: list[str]
    overlaps: list[Overlap]
    """Sets of rules that pairs fail, the most pairs first."""
    curves: dict[str, Curve]
    """Rule → its curve; of a rule of several tests or classes one for each, called as `--set` does; none for what is
    not measured."""
    samples: sampling.Samples
    who: groups.GroupSurvey
    lists: extremes.PoolExtremes
    fetched: image_outcomes.FetchOutcomes | None
    """None where nothing has been fetched."""
    sizes: dict[str, int]
    """How declared and measured sizes agree → pairs."""
    runs: list[LoggedRun]
    classes: Classes
    """How many n-grams have each count; none where they are not counted."""
    near: list[NearMethod] = field(default_factory=list)
    """Near-duplicates, by each method that is measured."""
    pictured: dict[str, list[sampling.SampledPair]] = field(default_factory=dict)
    """Rule → pairs that fail it, of those dropped pairs whose images were fetched to be looked at."""
    version: str = __version__

    def vocabulary(self, threshold: float) -> int:
        """Return how many n-grams occur at least so often."""
        return vocabulary_size(self.classes, threshold)


@dataclass(frozen=True)
class _SurveyScan:
    """What is the same for all parts. It travels to other machines."""

    dataset: Dataset
    ledger: str
    plan: Plan
    masks: tuple[tuple[int, int], ...]
    measured: frozenset[str]
    limit: extremes.CountLimit
    hosts: int
    samples: int
    seed: int
    images: bool

    @property
    def rules(self) -> tuple[PlannedRule, ...]:
        """The rules of the plan, those that are taken out too."""
        return self.plan.rules

    @cached_property
    def leaves(self) -> dict[str, Comparison]:
        """The tests whose curves are counted, by name."""
        return drawn(self.plan, self.known)

    @cached_property
    def known(self) -> frozenset[str]:
        """The columns that there are: signals that are measured, scores and ranks."""
        return frozenset(self.plan.known(self.measured))

    @property
    def dimensions(self) -> list[Dimension]:
        """What divides the pool and is measured."""
        return [dimension for dimension in DIMENSIONS if dimension.signal in self.measured]


@dataclass
class _PartCounts:
    """The counts of one part."""

    curves: dict[str, Counts] = field(default_factory=dict)
    divided: list[DimensionCounts] = field(default_factory=list)
    spots: list[sampling.Spots] = field(default_factory=list)
    extremes: extremes.PartExtremes = field(default_factory=extremes.PartExtremes)
    statuses: image_outcomes.PartStatuses = field(default_factory=image_outcomes.PartStatuses)
    sizes: Counter[str] = field(default_factory=Counter)


def survey(
    dataset: Dataset, ledger: str, engine: Engine, progress: Progress, samples: int = SAMPLES, seed: int = 0
) -> Survey:
    """Count what the audit page of a ledger shows, with `samples` pairs of each kind for each rule, drawn by `seed`."""
    opened = open_current(dataset, ledger)
    plan = opened.plan
    pairs = dataset.ingested()
    measured = frozenset(available(dataset, pairs, plan.signals))
    masks = opened.masks
    erased = any(failed & TAKEN_DOWN for failed, _ in masks)
    limit = extremes.threshold(dataset, erased) if "images_per_text" in measured else extremes.CountLimit({})
    hosts = max(groups.LEAST, groups.HELD // max(1, len(pairs.parts)))
    images = dataset.images.committed() is not None
    ngrams = classes(dataset) if "rarest_ngram" in measured else None
    completed = complete(dataset, plan, engine, progress)
    scan = _SurveyScan(dataset, ledger, completed, tuple(sorted(masks)), measured, limit, hosts, samples, seed, images)
    rows = [part.rows for part in pairs.parts]
    parts = engine.map_parts("audit: count", lambda part, tick: _part(scan, part, tick), rows, progress)
    populations = Populations(scan.masks)
    numbers = np.array([masks[mask] for mask in scan.masks], np.int64)
    number = samples * sampling.SPARE
    spots = sampling.nearest((spots for part in parts for spots in part.spots), number)
    listed = extremes.to_list([part.extremes for part in parts])
    rows_to_read = {*sampling.rows_at(spots), *listed.rows}
    compared = [column for rule in scan.rules for column in rule.columns]
    pairs_at = sampling.read(dataset, completed, compared, rows_to_read, engine, progress)

    def over_counts(look_up: Callable[[int], Totals], ranges: range) -> list[Totals]:
        def look(number: int, tick: Tick) -> Totals:
            tick(1)
            return look_up(number)

        return engine.map_parts("audit: n-grams", look, [1] * len(ranges), progress, "ranges")

    return Survey(
        audit=audit(dataset, ledger),
        plan=plan,
        account=pairs.meta.account.model_dump(mode="json"),
        batches=list(pairs.meta.batches),
        inputs=_inputs(dataset, pairs),
        overlaps=_overlaps(opened),
        curves=_curves(scan, parts),
        samples=sampling.chosen(spots, pairs_at, samples),
        pictured=dropped_pictures(dataset, opened, completed, samples, engine, progress),
        who=_who(scan, parts, populations, numbers),
        lists=extremes.lists(dataset, ledger, limit, listed, pairs_at, over_counts),
        fetched=image_outcomes.fetch_outcomes([part.statuses for part in parts]) if images else None,
        sizes=dict(sum((part.sizes for part in parts), Counter())),
        runs=list(_runs(dataset)),
        classes=ngrams or [],
        near=near_duplicates(dataset, engine, progress),
    )


def _part(scan: _SurveyScan, part: int, tick: Tick) -> _PartCounts:
    """Count one part."""
    populations = Populations(scan.masks)
    number = scan.samples * sampling.SPARE
    tallies = {name: LeafTally(leaf, populations, scan.known, number) for name, leaf in scan.leaves.items()}
    divided = [DimensionTally(dimension, len(populations), scan.hosts) for dimension in scan.dimensions]
    extreme = extremes.Extremes(scan.dataset, part, scan.limit)
    drawing = sampling.RandomDraw(scan.seed, part, number)
    alone = {rule.name: populations.alone(rule.bit) for rule in scan.rules}
    counts = _PartCounts()
    for piece_number, (piece, masks) in enumerate(_pieces(scan, part)):
        codes = populations.codes(masks)
        frame = _frame(scan, piece)
        memo: RuleVerdicts = {}
        for tally in tallies.values():
            tally.add((part, piece_number), piece[tally.leaf.test.signal], codes, frame, memo)
        for division in divided:
            division.add(piece[division.dimension.signal], codes)
        extreme.add(piece_number, piece, populations.living[codes])
        drawing.add(piece_number, alone, codes)
        counts.sizes.update(image_outcomes.agreement(piece, len(codes)))
        tick(len(codes))
    counts.curves = {name: tally.counts for name, tally in tallies.items()}
    counts.spots = [*(tally.spots for tally in tallies.values()), drawing.spots]
    counts.divided = [division.result() for division in divided]
    counts.extremes = extreme.result()
    if scan.images:
        counts.statuses = image_outcomes.statuses(scan.dataset, part)
    return counts


def _pieces(scan: _SurveyScan, part: int) -> Iterator[tuple[dict[str, Values], pl.DataFrame]]:
    """Yield the columns that are counted, and the masks, of each piece."""
    compared = {column for leaf in scan.leaves.values() for column in leaf.rule.columns} & scan.known
    signals = compared | {dimension.signal for dimension in scan.dimensions} | {*_COUNTED, "width", "height"}
    derived = sorted(name for name in compared if not (is_signal(name) and find(name).kind != "derived"))
    tables: list[tuple[Table[Any], list[str]]] = [(scan.dataset.pairs, ["declared_width", "declared_height"])]
    tables += [
        (scan.dataset.measured(group), names) for group, names in by_group(sorted(signals & scan.measured)).items()
    ]
    streams = [table.arrow_pieces(part, names, encoded=True) for table, names in tables]
    scores = planned_columns(scan.dataset, scan.plan, part, [], derived) if derived else repeat(pl.DataFrame())
    masks = scan.dataset.ledger(scan.ledger).pieces(part, ["failed", "unknown"])
    for *frames, verdicts, scored in zip(*streams, masks, scores, strict=bool(derived)):
        piece = {name: values_of(frame[name]) for frame in frames for name in frame.column_names}
        yield piece | dict(zip(scored.columns, scored.iter_columns(), strict=True)), verdicts


def _frame(scan: _SurveyScan, piece: Mapping[str, Values]) -> pl.DataFrame:
    """Return what rules of several tests, or of classes, compare, as Polars has it."""
    names = {column for leaf in scan.leaves.values() if not leaf.plain for column in leaf.rule.columns} & scan.known
    return pl.DataFrame({name: series_of(piece[name]) for name in sorted(names)})


def _curves(scan: _SurveyScan, parts: Sequence[_PartCounts]) -> dict[str, Curve]:
    curves = {}
    for name, leaf in scan.leaves.items():
        tally = leaf_tally(leaf)
        curves[name] = tally.curve(sum((part.curves[name] for part in parts), tally.counts))
    return curves


def _who(
    scan: _SurveyScan, parts: Sequence[_PartCounts], populations: Populations, numbers: NDArray[np.int64]
) -> groups.GroupSurvey:
    rules = scan.rules
    pool = groups.pool_of(populations, numbers, len(rules))
    counted = {
        dimension: merged([part.divided[at] for part in parts], len(populations))
        for at, dimension in enumerate(scan.dimensions)
    }
    divisions = [
        groups.division(dimension, groups_of, populations, len(rules)) for dimension, groups_of in counted.items()
    ]
    losing, gaining = groups.moved(counted, rules, pool, populations) if pool.pairs else ([], [])
    absent = [dimension.signal for dimension in DIMENSIONS if dimension.signal not in scan.measured]
    return groups.GroupSurvey(pool, divisions, losing, gaining, absent)


def _overlaps(ledger: Ledger) -> list[Overlap]:
    """Return the sets of rules that pairs fail, with how many pairs fail exactly them; those taken down too."""
    pairs_of: Counter[int] = Counter()
    for (failed, _), number in ledger.masks.items():
        pairs_of[failed & (2**63 - 1)] += number
    sets = [(ledger.plan.names(mask), number) for mask, number in pairs_of.items() if mask]
    return [Overlap(names, number) for names, number in sorted(sets, key=lambda entry: (-entry[1], entry[0]))]


def _inputs(dataset: Dataset, pairs: Manifest[PairsMeta]) -> list[str]:
    return [mask(source.name) for batch in batches_of(dataset, pairs) for source in batch.inputs]


def _runs(dataset: Dataset) -> Iterator[LoggedRun]:
    """Yield the runs in the log, the earliest first."""
    for name in dataset.store.names("_log"):
        content = dataset.store.read_bytes(f"_log/{name}") if name[:1].isdigit() else None
        if content is not None:
            yield _run_of(content, dataset.store.path(f"_log/{name}"))


def _run_of(content: bytes, where: str) -> LoggedRun:
    """Return the run in one file of the log; that it is damaged, where it is, since nothing depends on it."""
    try:
        entry = _Entry.model_validate(unchecked(content, where))
    except (DatasetError, ValidationError):
        return LoggedRun(f"{where} is damaged, and cannot be read", "", 0.0, "")
    command = " ".join(["align-data", *mask_command(entry.command)])
    outcome = f"{entry.outcome}: {entry.error}" if entry.error else entry.outcome
    return LoggedRun(command, entry.began, entry.seconds, entry.align_data, outcome)


class _Entry(BaseModel):
    """A run as the log has it."""

    model_config = ConfigDict(strict=True)

    command: list[str]
    began: str
    seconds: float
    align_data: str
    outcome: str = "done"
    error: str | None = None
