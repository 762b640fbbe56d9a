"""The scales of scores: what minmax, standard and rank are in a pool, of all of its pairs that have a value."""

from __future__ import annotations

from collections.abc import Iterable

from align_data.common.progress import Progress
from align_data.data.layout import Dataset
from align_data.data.order_statistics import BITS, MILLION, MILLIONTHS, WHOLE, Coding, Group, Search, search
from align_data.data.pool import Counted, PoolScan, coding, definition
from align_data.data.pool_sums import Sums, sums
from align_data.engines.base import Engine
from align_data.recipes.plan import Plan
from align_data.recipes.scores import RANKS, Term, TermScale


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
    wanted = {(term.signal, term.scale): _counted(plan, term) for term in terms}
    scan = PoolScan(dataset, plan, measured, tuple(dict.fromkeys(wanted.values())))
    rows = [part.rows for part in dataset.ingested().parts]
    totals = sums(scan, "scales", rows, engine, progress)
    numbers: dict[Counted, Group] = {of: (number, None) for number, of in enumerate(scan.counted)}
    searches: dict[Group, Search] = {
        numbers[of]: Search(_cuts, totals[numbers[of]].low, totals[numbers[of]].high)
        for (_, kind), of in wanted.items()
        if kind == "rank" and numbers[of] in totals
    }
    search(scan, "scales", searches, rows, engine, progress, several=True)
    scales: dict[tuple[str, str], TermScale] = {}
    for (column, kind), of in wanted.items():
        if kind == "rank":
            scales[column, kind] = _rank(searches.get(numbers[of]), of.coding)
        else:
            scales[column, kind] = _linear(kind, totals.get(numbers[of]), of.coding)
    return scales


def _counted(plan: Plan, term: Term) -> Counted:
    """Return how a term's values are counted: for sums in whole numbers, where they have decimals of millionths."""
    code = coding(definition(plan, term.signal))
    return Counted(term.signal, MILLIONTHS if code == BITS and term.scale != "rank" else code)


def _cuts(number: int) -> list[int]:
    """Return the places of the values that 1, 2, … 999 thousandths of so many values reach at most."""
    return [-(-number * cut // RANKS) - 1 for cut in range(1, RANKS)]


def _rank(search_: Search | None, code: Coding) -> TermScale:
    if search_ is None:
        return TermScale(kind="rank", pool=0)
    cuts = tuple(float(code.decode(each.code)) for each in search_.statistics)
    return TermScale(kind="rank", pool=search_.number or 0, cuts=cuts)


def _linear(kind: str, of: Sums | None, code: Coding) -> TermScale:
    if of is None:
        return TermScale.model_validate({"kind": kind, "pool": 0})
    unit = 1 if code == WHOLE else MILLION
    if kind == "minmax":
        return TermScale(kind="minmax", pool=of.number, low=of.low / unit, span=(of.high - of.low) / unit)
    return TermScale(kind="standard", pool=of.number, low=of.mean(unit), span=of.deviation(unit))
