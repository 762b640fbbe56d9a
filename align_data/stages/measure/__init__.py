"""Measure: every signal that has become measurable and is not measured yet, once.

What is in an image's bytes is measured a URL first (content.py), and then put beside the pairs like any row signal.
Row signals are measured piece by piece. Corpus signals are counted over the whole pool by one exchange, whose first
pass over the texts serves the row signals too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import polars as pl

from align_data.common.bits import WIDTH
from align_data.common.errors import SignalError
from align_data.common.progress import Progress, Tick
from align_data.content.plan import Sight
from align_data.data import counted
from align_data.data.columns import fresh, lacking, measured_by_lists, within_of
from align_data.data.image_table import sorted_rows, with_images
from align_data.data.layout import Dataset
from align_data.data.references import LoadedReferences, compared_before, lists, usual_for_evaluation
from align_data.data.tombstones import fingerprint
from align_data.data.user_lists import load, unload
from align_data.engines.base import Block, Each, Engine, Exchange
from align_data.neighbours.phash.copies import find_copies
from align_data.neighbours.phash.tables import copies_of
from align_data.neighbours.scratch import clear_scratch
from align_data.signals import SIGNALS, Piece, Signal, by_names, current_name, find
from align_data.signals.contracts import groups as groups_of_signals
from align_data.signals.families import OF_LISTS
from align_data.stages.measure.content import measure_content
from align_data.stages.measure.counting import Asking, PieceKeys, Ranges, answer, commit_counts, keep
from align_data.stages.measure.group import SignalGroup

__all__ = ["MeasureReport", "Ranges", "Sight", "measure", "to_measure"]


@dataclass
class MeasureReport:
    """What a run of `measure` did."""

    measured: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    """Measured already, from the same pairs and by the same definitions."""
    missing: dict[str, str] = field(default_factory=dict)
    """Cannot be measured here, and what they need."""


def measure(
    dataset: Dataset,
    engine: Engine,
    progress: Progress,
    names: Sequence[str] | None = None,
    ranges: Ranges = Ranges(),  # noqa: B008 - frozen
    sight: Sight = Sight(),  # noqa: B008 - frozen
) -> MeasureReport:
    """Measure the named signals, or all that can be but for those on request; return what was done.

    A name may be that of a group, of which what can be measured is. A signal on request that has been measured is
    measured again where it is stale.

    Raises SignalError for a signal named that does not exist or cannot be measured.
    """
    pairs = dataset.ingested()
    within = _within(dataset, sight)
    signals, lacks, missing = _measurable(dataset, names, sight, within)
    checks = {s.check for s in signals if s.check is not None and s.name not in missing}
    if checks and dataset.images.committed() is not None:
        measure_content(dataset, checks, sight, engine, progress)
    have, todo = _todo(dataset, signals, lacks, within)
    groups = [
        SignalGroup(dataset, pairs, name, todo, within)
        for name in _groups(dataset)
        if any(s.group == name for s in todo)
    ]
    if groups:
        _run(dataset, groups, engine, progress, ranges)
    unload()
    clear_scratch(dataset)  # also where a run that was killed at its end has left nothing but this to do
    dataset.store.clear_work()
    return MeasureReport(
        measured=[s.name for s in todo],
        before=[s.name for s in signals if s.name in have],
        missing=missing,
    )


def to_measure(dataset: Dataset, names: Sequence[str] | None = None, sight: Sight = Sight()) -> list[Signal]:  # noqa: B008 - frozen
    """Return the signals that `measure` would measure now; what a look at images may change besides is not in it."""
    within = _within(dataset, sight)
    signals, lacks, _ = _measurable(dataset, names, sight, within)
    return _todo(dataset, signals, lacks, within)[1]


def _measurable(
    dataset: Dataset, names: Sequence[str] | None, sight: Sight, within: Mapping[str, int]
) -> tuple[list[Signal], dict[str, str], dict[str, str]]:
    """Return the signals that are wanted, what some lack, and that of those which are not measured already either."""
    signals = _usual(dataset) if names is None else by_names(names)
    before = _up_to_date(dataset, within)
    lacks = {signal.name: why for signal in signals if (why := lacking(dataset, signal, sight.chosen))}
    missing = {name: why for name, why in lacks.items() if name not in before}
    if refused := [name for name in map(current_name, names or ()) if name in missing]:
        raise SignalError("; ".join(f"{name} cannot be measured: it would {missing[name]}" for name in refused))
    return signals, lacks, missing


def _todo(
    dataset: Dataset, signals: Sequence[Signal], lacks: Mapping[str, str], within: Mapping[str, int]
) -> tuple[set[str], list[Signal]]:
    """Return the names of what is measured already, and what is to be."""
    # What cannot be measured here stays as it was measured elsewhere.
    have = _up_to_date(dataset, within, anew=True) | (_up_to_date(dataset, within) & set(lacks))
    todo = [s for s in signals if s.name not in have and s.name not in lacks]
    return have, todo + _behind(dataset, have, todo)


def _up_to_date(dataset: Dataset, within: Mapping[str, int], *, anew: bool = False) -> set[str]:
    pairs = dataset.ingested()
    return {name for group in _groups(dataset) for name in fresh(dataset, group, pairs, anew=anew, within=within)}


def _groups(dataset: Dataset) -> list[str]:
    """Return the groups of signals that are measured here, but for scores: those of every dataset, and of its lists."""
    return [*groups_of_signals(), *(f"{family}.{name}" for name in dataset.user_lists() for family in OF_LISTS)]


def _usual(dataset: Dataset) -> list[Signal]:
    """Return the signals that are measured where none is named: those on request where they have been measured."""
    manifests = (dataset.measured(group).committed() for group in groups_of_signals())
    stored = {name for manifest in manifests if manifest is not None for name in manifest.meta.signals}
    usual = [signal for signal in SIGNALS.values() if not signal.on_request or signal.name in stored]
    return [*usual, *map(find, measured_by_lists(dataset, dataset.user_lists()))]


def _behind(dataset: Dataset, have: set[str], todo: Sequence[Signal]) -> list[Signal]:
    """Return image signals that were measured before the last look at the images: what is new must not undo them."""
    old: list[Signal] = []
    for group in dict.fromkeys(signal.group for signal in todo if signal.kind == "image"):
        manifest = dataset.measured(group).committed()
        stored = manifest.meta.signals if manifest is not None else {}
        old += [SIGNALS[name] for name in stored if name in SIGNALS and name not in have]
    return [signal for signal in old if signal not in todo and lacking(dataset, signal) is None]


def _within(dataset: Dataset, sight: Sight) -> dict[str, int]:
    """Return how far signals look: as is chosen now, as it was before, or as is usual; those of a group equally far."""
    within: dict[str, int] = {}
    for group in ("copies", "image"):
        manifest = dataset.measured(group).committed()
        stored = manifest.meta.signals if manifest is not None else {}
        before = max(within_of(stored).values(), default=None)
        if group == "image" and not compared_before(dataset, stored):
            before = usual_for_evaluation(dataset) or WIDTH
        names = [name for name, signal in SIGNALS.items() if signal.group == group and signal.within is not None]
        within |= dict.fromkeys(names, before) if before is not None else {}
    return {**within, **sight.within}


def _run(dataset: Dataset, groups: list[SignalGroup], engine: Engine, progress: Progress, ranges: Ranges) -> None:
    pairs = groups[0].pairs
    rows = [part.rows for part in pairs.parts]
    of_pool = [group for group in groups if group.of_pool]
    for table in (group.table for group in groups):
        table.change()
    by_row = [group for group in groups if not group.of_pool]
    copies = next((group for group in groups if group.name == "copies"), None)
    if copies is not None:
        find_copies(dataset, engine, progress, copies.within)
    if not of_pool:

        def scan(part: int, tick: Tick) -> None:
            for _ in _scan(dataset, part, by_row, None, tick):
                pass

        engine.map_parts("measure", scan, rows, progress)
    else:
        kinds = list(dict.fromkeys(kind for group in of_pool for kind in group.kinds()))
        flush = engine.flush  # the engine itself does not travel
        tombstones = fingerprint(dataset) is not None
        before = counted.counted_before(dataset, pairs, kinds)
        for kind in kinds:
            dataset.counts(kind).change()
            dataset.classes(kind).change()
        exchange = Exchange(
            ask=lambda part, tick, each: _scan(
                dataset, part, by_row, Asking(kinds, flush, tombstones, before.since), tick, each
            ),
            keep=lambda kind, number, totals: keep(dataset, kind, number, totals),
            answer=lambda part, answers, tick: answer(of_pool, kinds, part, answers, tick),
            before=before.totals,
        )
        counts, _ = engine.exchange(exchange, rows, ranges.of(kinds, pairs.rows), progress)
        commit_counts(dataset, pairs, counts)
        counted.forget(dataset)
    for group in groups:
        group.commit()


def _content(dataset: Dataset, part: int, columns: set[str]) -> pl.DataFrame | None:
    """Return columns of `content` for the URLs of a part; None where none are needed, or nothing has been fetched."""
    if not columns or dataset.content.committed() is None:
        return None
    return sorted_rows(dataset.content, part, ["url", *sorted(columns)])


def _references(
    dataset: Dataset, groups: Sequence[SignalGroup], absent: Sequence[Signal], content: pl.DataFrame | None
) -> LoadedReferences | None:
    """Return what images are compared with, where a signal compares; None where none does."""
    kinds = {signal.reference for signal in absent} - {None}
    if not kinds:
        return None
    references = lists(dataset, next(group.within for group in groups if group.name == "image"))
    if "evaluation" in kinds and content is not None:
        references.look_up(content["phash"])
    return references


def _scan(
    dataset: Dataset, part: int, groups: Sequence[SignalGroup], asking: Asking | None, tick: Tick, each: Each = map
) -> Iterator[Block]:
    """Measure the row signals of a part; yield blocks of keys to count on the way."""
    todo = [look for group in groups if not (look := group.part(part)).finished]
    absent = [signal for look in todo for signal in look.absent]
    columns = {column for signal in absent for column in signal.needs}
    content = _content(dataset, part, {column for signal in absent for column in signal.content})
    if content is not None and any(signal.group == "copies" for signal in absent):
        content = content.hstack(copies_of(dataset, part))
    references = _references(dataset, groups, absent, content)
    asked = {signal.group for signal in absent if signal.kind == "list"} | set(asking.lists if asking else ())
    user_lists = load(dataset, {group.partition(".")[2] for group in asked})
    columns |= {"url"} if content is not None else set()
    if asking is not None:
        columns |= asking.columns
    if not todo and not columns:
        return

    def look_at(numbered: tuple[int, pl.DataFrame]) -> tuple[int, list[pl.DataFrame], PieceKeys | None]:
        number, frame = numbered
        piece = Piece(frame if content is None else with_images(frame, content), references, user_lists)
        measured = [look.measured(number, piece) for look in todo]
        return len(frame), measured, asking.keys(piece) if asking is not None else None

    with ExitStack() as stack:
        writers = [stack.enter_context(look.writer()) for look in todo]
        pieces = enumerate(dataset.pairs.pieces(part, sorted(columns or {"uid"})))
        for rows, measured, keys in each(look_at, pieces):
            for writer, columns_of_group in zip(writers, measured, strict=True):
                writer.write(columns_of_group)
            if asking is not None and keys is not None:
                asking.add(keys)
                if asking.full:
                    yield asking.block()
            tick(rows)
    if asking is not None and asking.rows:
        yield asking.block()
