"""The survey: one pass over a decided dataset, and everything that the audit page says comes of it.

Parts are counted alone and their counts added, so that the pass is the same on any engine and at any size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from align_data import __version__
from align_data.common.errors import DatasetError
from align_data.common.progress import Progress, Tick
from align_data.common.secrets import mask, mask_command
from align_data.data.columns import available, columns
from align_data.data.layout import Dataset
from align_data.data.ledger import TAKEN_DOWN, Ledger, open_current
from align_data.data.thresholds import classes, complete
from align_data.engines.base import Engine
from align_data.recipes.plan import Plan, PlannedRule
from align_data.recipes.thresholds import Classes, vocabulary_size
from align_data.stages.audit import extremes, groups, image_outcomes, sampling
from align_data.stages.audit.counts import Audit, audit
from align_data.stages.audit.curves import Counts, Curve, Tally
from align_data.stages.audit.mask_codes import Populations
from align_data.storage.manifests import unchecked

SAMPLES = 6
_COUNTED = ("images_per_text", "texts_per_image", "rarest_ngram")


@dataclass(frozen=True)
class Overlap:
    """Pairs that fail exactly these rules."""

    rules: tuple[str, ...]
    pairs: int


@dataclass(frozen=True)
class Run:
    """One run of a command on the dataset, from its log."""

    command: str
    began: str
    seconds: float
    version: str


@dataclass(frozen=True)
class Survey:
    """All that the audit page says, as numbers. Counts are exact unless an `error` beside them says otherwise."""

    audit: Audit
    plan: Plan
    account: Mapping[str, Any]
    """Of the input's rows, by ingest."""
    inputs: list[str]
    overlaps: list[Overlap]
    """Sets of rules that pairs fail, the most pairs first."""
    curves: dict[str, Curve]
    """Rule → its curve; rules whose signal nobody has measured have none."""
    samples: sampling.Samples
    who: groups.Who
    lists: extremes.Lists
    fetched: image_outcomes.Fetched | None
    """None where nothing has been fetched."""
    sizes: dict[str, int]
    """How declared and measured sizes agree → pairs."""
    runs: list[Run]
    classes: Classes
    """How many n-grams have each count; none where they are not counted."""
    version: str = __version__

    def vocabulary(self, threshold: float) -> int:
        """Return how many n-grams occur at least so often."""
        return vocabulary_size(self.classes, threshold)


@dataclass(frozen=True)
class _Pass:
    """What is the same for all parts. It travels to other machines."""

    dataset: Dataset
    ledger: str
    plan: Plan
    masks: tuple[tuple[int, int], ...]
    there: frozenset[str]
    limit: extremes.CountLimit
    hosts: int
    samples: int
    seed: int
    images: bool

    @property
    def rules(self) -> tuple[PlannedRule, ...]:
        """The rules of the plan, those that are taken out too."""
        return self.plan.rules

    @property
    def dimensions(self) -> list[groups.Dimension]:
        """What divides the pool and is measured."""
        return [dimension for dimension in groups.DIMENSIONS if dimension.signal in self.there]


@dataclass
class _Part:
    """What one part has to say."""

    curves: dict[str, Counts] = field(default_factory=dict)
    divided: list[groups.Counted] = field(default_factory=list)
    spots: list[sampling.Spots] = field(default_factory=list)
    extremes: extremes.Found = field(default_factory=extremes.Found)
    statuses: image_outcomes.Statuses = field(default_factory=image_outcomes.Statuses)
    sizes: Counter[str] = field(default_factory=Counter)


def survey(
    dataset: Dataset, ledger: str, engine: Engine, progress: Progress, samples: int = SAMPLES, seed: int = 0
) -> Survey:
    """Count all that the audit page of a ledger says; so many samples of each kind a rule, drawn by `seed`."""
    opened = open_current(dataset, ledger)
    plan = opened.plan
    pairs = dataset.ingested()
    there = frozenset(available(dataset, pairs, plan.signals))
    masks = opened.masks
    gone = any(failed & TAKEN_DOWN for failed, _ in masks)
    limit = extremes.threshold(dataset, gone) if "images_per_text" in there else extremes.CountLimit({})
    hosts = max(groups.LEAST, groups.HELD // max(1, len(pairs.parts)))
    images = dataset.images.committed() is not None
    known = classes(dataset) if "rarest_ngram" in there else None
    completed = complete(dataset, plan, engine, progress)
    run = _Pass(dataset, ledger, completed, tuple(sorted(masks)), there, limit, hosts, samples, seed, images)
    rows = [part.rows for part in pairs.parts]
    parts = engine.map_parts("audit: count", lambda part, tick: _part(run, part, tick), rows, progress)
    populations = Populations(run.masks)
    numbers = np.array([masks[mask] for mask in run.masks], np.int64)
    number = samples * sampling.SPARE
    spots = sampling.nearest((spots for part in parts for spots in part.spots), number)
    return Survey(
        audit=audit(dataset, ledger),
        plan=plan,
        account=pairs.meta.account.dump(),
        inputs=_inputs(dataset),
        overlaps=_overlaps(opened),
        curves=_curves(run, parts, populations),
        samples=sampling.read(dataset, [rule.signal for rule in run.rules], spots, samples, engine, progress),
        who=_who(run, parts, populations, numbers),
        lists=extremes.lists(dataset, [part.extremes for part in parts]),
        fetched=image_outcomes.fetched([part.statuses for part in parts]) if images else None,
        sizes=dict(sum((part.sizes for part in parts), Counter())),
        runs=list(_runs(dataset)),
        classes=known or [],
    )


def _part(run: _Pass, part: int, tick: Tick) -> _Part:
    """Count one part."""
    populations = Populations(run.masks)
    tallies = {rule.name: Tally(rule.deciding, rule.bit, populations) for rule in run.rules if rule.signal in run.there}
    nearest = [
        sampling.Nearest(tally.rule, run.plan.rule(name).bit, populations, run.samples * sampling.SPARE)
        for name, tally in tallies.items()
    ]
    divided = [groups.Divided(dimension, run.hosts) for dimension in run.dimensions]
    extreme = extremes.Extremes(run.dataset, part, run.limit)
    living = populations.living
    drawing = sampling.Drawing(run.seed, part, run.samples * sampling.SPARE)
    alone = {rule.name: populations.alone(rule.bit) for rule in run.rules}
    found = _Part()
    for number, (piece, masks) in enumerate(_pieces(run, part)):
        codes = populations.codes(masks)
        for tally, near in zip(tallies.values(), nearest, strict=True):
            values = piece[tally.rule.signal]
            tally.add(values, codes)
            near.add(part, number, values, codes)
        for each in divided:
            each.add(piece, codes)
        extreme.add(number, piece, living[codes])
        for name, which in alone.items():
            drawing.add(number, name, which[codes])
        found.sizes.update(image_outcomes.agreement(piece))
        tick(len(piece))
    found.curves = {name: tally.counts for name, tally in tallies.items()}
    found.spots = [*(near.spots for near in nearest), drawing.spots]
    found.divided = [each.result() for each in divided]
    found.extremes = extreme.result()
    if run.images:
        found.statuses = image_outcomes.statuses(run.dataset, part)
    return found


def _pieces(run: _Pass, part: int) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Yield the columns that are counted, and the masks, of each piece."""
    signals = (
        {rule.signal for rule in run.rules} | {each.signal for each in run.dimensions} | {*_COUNTED, "width", "height"}
    )
    declared = ["copies", "declared_width", "declared_height"]
    masks = run.dataset.ledger(run.ledger).pieces(part, ["failed", "unknown"])
    yield from zip(columns(run.dataset, part, declared, sorted(signals & run.there)), masks, strict=True)


def _curves(run: _Pass, parts: Sequence[_Part], populations: Populations) -> dict[str, Curve]:
    found = {}
    for rule in run.rules:
        if rule.signal in run.there:
            tally = Tally(rule.deciding, rule.bit, populations)
            found[rule.name] = tally.curve(sum((part.curves[rule.name] for part in parts), tally.counts))
    return found


def _who(run: _Pass, parts: Sequence[_Part], populations: Populations, numbers: NDArray[np.int64]) -> groups.Who:
    rules = run.rules
    pool = groups.pool_of(populations, numbers, len(rules))
    counted = {
        dimension: groups.merged([part.divided[at] for part in parts]) for at, dimension in enumerate(run.dimensions)
    }
    divisions = [groups.division(dimension, found, populations, len(rules)) for dimension, found in counted.items()]
    losing, gaining = groups.moved(counted, rules, pool, populations) if pool.pairs else ([], [])
    absent = [dimension.signal for dimension in groups.DIMENSIONS if dimension.signal not in run.there]
    return groups.Who(pool, divisions, losing, gaining, absent)


def _overlaps(ledger: Ledger) -> list[Overlap]:
    """Return the sets of rules that pairs fail, with how many pairs fail exactly them; those taken down too."""
    found: Counter[int] = Counter()
    for (failed, _), number in ledger.masks.items():
        found[failed & (2**63 - 1)] += number
    sets = [(ledger.plan.names(mask), number) for mask, number in found.items() if mask]
    return [Overlap(names, number) for names, number in sorted(sets, key=lambda one: (-one[1], one[0]))]


def _inputs(dataset: Dataset) -> list[str]:
    manifest = dataset.rejected.committed()
    return [mask(each.name) for each in manifest.meta.inputs] if manifest is not None else []


def _runs(dataset: Dataset) -> Iterator[Run]:
    """Yield what the log says, the first run first."""
    for name in dataset.store.names("_log"):
        content = dataset.store.read_bytes(f"_log/{name}") if name[:1].isdigit() else None
        if content is not None:
            yield _run_of(content, dataset.store.path(f"_log/{name}"))


def _run_of(content: bytes, where: str) -> Run:
    """Return what one file of the log says, or that it is damaged: nothing else follows from it."""
    try:
        entry = _Entry.model_validate(unchecked(content, where))
    except (DatasetError, ValidationError):
        return Run(f"{where} is damaged, and cannot be read", "", 0.0, "")
    return Run(" ".join(["align-data", *mask_command(entry.command)]), entry.began, entry.seconds, entry.align_data)


class _Entry(BaseModel):
    """A run as the log has it."""

    model_config = ConfigDict(strict=True)

    command: list[str]
    began: str
    seconds: float
    align_data: str
