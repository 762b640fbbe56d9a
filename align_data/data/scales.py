"""The scales of scores: what minmax, standard and rank are in a pool, of all of its pairs that have a value."""

from __future__ import annotations

from collections.abc import Iterable

from align_data.common.progress import Progress
from align_data.data.layout import Dataset
from align_data.data.order_statistics import (
    BITS,
    MILLION,
    MILLIONTHS,
    WHOLE,
    Coding,
    Group,
    Search,
    openings,
    search,
)
from align_data.data.pool import Counted, PoolScan, coding, definition, first_range
from align_data.data.pool_sums import Sums, sums
from align_data.data.remembered import remembered
from align_data.engines.base import Engine
from align_data.recipes.plan import Plan
from align_data.recipes.scores import RANKS, Term, TermScale

_STEPS = 2**16
"""Into how many steps the first scan for ranks divides values."""


def resolve(
    dataset: Dataset, plan: Plan, columns: Iterable[str], measured: frozenset[str], engine: Engine, progress: Progress
) -> Plan:
    """Return the plan with the scales of the scores that these columns follow from, as far as they are measured."""
    scores = plan.recipe.scores or {}
    pending = [name for name in plan.scores(columns) if scores[name].scaled and name not in plan.scales]
    while True:
        readable = plan.known(measured)
        ready = [name for name in pending if all(term.signal in readable for term in scores[name].terms)]
        if not ready:
            return plan
        terms = [term for name in ready for term in scores[name].terms if term.scale != "none"]
        scales = _scales(dataset, plan, terms, measured, engine, progress)
        no_scale = TermScale(kind="none", pool=0)
        plan = plan.with_scales(
            {
                name: tuple(scales.get((term.signal, term.scale), no_scale) for term in scores[name].terms)
                for name in ready
            }
        )
        pending = [name for name in pending if name not in ready]


def _scales(
    dataset: Dataset, plan: Plan, terms: Iterable[Term], measured: frozenset[str], engine: Engine, progress: Progress
) -> dict[tuple[str, str], TermScale]:
    """Return the scale of each column by its kind: in one scan, and ranks in some more."""
    by_kind = {(term.signal, term.scale): _counted(plan, term) for term in terms}
    linear = [of for (_, kind), of in by_kind.items() if kind != "rank"]
    ranked = [of for (_, kind), of in by_kind.items() if kind == "rank"]
    rows = [part.rows for part in dataset.ingested().parts]
    totals: dict[Group, Sums] = {}
    if linear:
        scan = PoolScan(dataset, plan, measured, tuple(dict.fromkeys(linear)))
        totals = sums(scan, "scales", rows, engine, progress)
    searches: dict[Group, Search] = {}
    if ranked:
        distinct = tuple(dict.fromkeys(ranked))
        codes = remembered(PoolScan(dataset, plan, measured, distinct), engine)
        ranges = [first_range(plan, of, _STEPS) for of in distinct]
        opened = openings(codes, "scales", ranges, rows, engine, progress)
        searches = {group: Search(_cuts(opening.number), opening) for group, opening in opened.items()}
        search(codes, "scales", searches, rows, engine, progress, several=True)
    scales: dict[tuple[str, str], TermScale] = {}
    for (column, kind), of in by_kind.items():
        if kind == "rank":
            scales[column, kind] = _rank(searches.get((list(dict.fromkeys(ranked)).index(of), None)), of.coding)
        else:
            scales[column, kind] = _linear(kind, totals.get((list(dict.fromkeys(linear)).index(of), None)), of.coding)
    return scales


def _counted(plan: Plan, term: Term) -> Counted:
    """Return how a term's values are counted: for sums in whole numbers, where they have decimals of millionths."""
    code = coding(definition(plan, term.signal))
    return Counted(term.signal, MILLIONTHS if code == BITS and term.scale != "rank" else code)


def _cuts(number: int) -> list[int]:
    """Return the places of the values that 1, 2, … 999 thousandths of so many values reach at most."""
    return [-(-number * cut // RANKS) - 1 for cut in range(1, RANKS)]


def _rank(searched: Search | None, code: Coding) -> TermScale:
    if searched is None:
        return TermScale(kind="rank", pool=0)
    cuts = tuple(float(code.decode(searched.at(place).code)) for place in _cuts(searched.number))
    return TermScale(kind="rank", pool=searched.number, cuts=cuts)


def _linear(kind: str, of: Sums | None, code: Coding) -> TermScale:
    if of is None:
        return TermScale.model_validate({"kind": kind, "pool": 0})
    unit = 1 if code == WHOLE else MILLION
    if kind == "minmax":
        return TermScale(kind="minmax", pool=of.number, low=of.low / unit, span=(of.high - of.low) / unit)
    return TermScale(kind="standard", pool=of.number, low=of.mean(unit), span=of.deviation(unit))
