"""Diff: what two ledgers of one dataset decide otherwise, and by which rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from align_data.common.progress import Progress, Tick
from align_data.common.secrets import mask_url
from align_data.data.layout import Dataset
from align_data.data.ledger import NOT_YET, OUTCOMES, Ledger, open_ledger
from align_data.engines.base import Engine
from align_data.recipes.plan import Plan
from align_data.stages.audit import sampling
from align_data.stages.audit.dimensions import counted
from align_data.stages.audit.mask_codes import Populations

SAMPLES = 6


@dataclass(frozen=True)
class Cause:
    """How often a rule is why one ledger does not keep what the other keeps."""

    rule: str
    fail: int
    fail_only: int
    """Fail it and no other rule of its ledger."""
    unknown: int


@dataclass(frozen=True)
class ComparedRule:
    """What two ledgers ask for by rules of one name, in words; None where one of them has no such rule."""

    rule: str
    a: str | None
    b: str | None


@dataclass(frozen=True)
class OnlyKept:
    """What one ledger keeps and the other does not."""

    ledger: str
    """The one that keeps them."""
    pairs: int
    pending: int
    """Of them those that the other leaves pending; it drops the others."""
    by: list[Cause]
    """Rules of the other one."""
    samples: list[sampling.SampledPair]


@dataclass(frozen=True)
class AddedPairs:
    """Pairs that came after one of two ledgers was decided, by what the other makes of them."""

    ledger: str
    """The one that decided them."""
    pairs: int
    kept: int
    pending: int
    dropped: int


@dataclass(frozen=True)
class Diff:
    """What two ledgers decide; counts are of all pairs, and exact."""

    a: str
    b: str
    pairs: int
    both: int
    """Kept by both."""
    only_a: OnlyKept
    only_b: OnlyKept
    neither: int
    """Kept by neither: `both_drop` and `undecided`."""
    both_drop: int
    undecided: int
    """Kept by neither, and pending in one or in both."""
    outcomes: list[list[int]]
    """Pairs by their outcome in A, a row each of kept, pending and dropped, and in B."""
    rules: list[ComparedRule]
    added: AddedPairs | None = None
    """The pairs that only one of the two decided, because a batch was added between them; no other count has them."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        data = asdict(self)
        for sample in (*data["only_a"]["samples"], *data["only_b"]["samples"]):
            sample["url"] = mask_url(sample["url"])
        return data


def diff(
    dataset: Dataset, a: str, b: str, engine: Engine, progress: Progress, samples: int = SAMPLES, seed: int = 0
) -> Diff:
    """Compare two ledgers in one scan; one of before a batch was added is compared on the pairs that it decided."""
    ledger_a, ledger_b = (open_ledger(dataset, name, former=True) for name in (a, b))
    of_a, of_b = Populations(ledger_a.masks), Populations(ledger_b.masks)

    def count(part: int, tick: Tick) -> tuple[Counter[tuple[int, int]], sampling.Spots]:
        return _count(dataset, (a, b), (of_a, of_b), part, samples, seed, tick)

    rows = [part.rows for part in dataset.ingested().parts]
    counted = engine.map_parts("diff", count, rows, progress)
    every = sum((counts for counts, _ in counted), Counter[tuple[int, int]]())
    together, added = _divided(every, (a, b), of_a, of_b)
    spots = sampling.nearest((spots_of_part for _, spots_of_part in counted), samples * sampling.SPARE)
    plans = [ledger.plan for ledger in (ledger_a, ledger_b)]
    signals = [name for plan in plans for name in plan.signals_of(plan.rules)]
    pairs_at = sampling.read(dataset, plans[0], signals, sampling.rows_at(spots), engine, progress)
    samples_of = sampling.chosen(spots, pairs_at, samples)
    outcomes = _outcomes(together, of_a, of_b)
    only = []
    for side, name, ledger, keeping, dropping in ((0, a, ledger_b, of_a, of_b), (1, b, ledger_a, of_b, of_a)):
        codes: Counter[int] = Counter()
        for both_codes, number in together.items():
            if keeping.kept[both_codes[side]] and not dropping.kept[both_codes[1 - side]]:
                codes[both_codes[1 - side]] += number
        chosen = samples_of.get((_SIDES[side], "random"), [])
        pending = outcomes[0][1] if side == 0 else outcomes[1][0]
        only.append(OnlyKept(name, codes.total(), pending, _by(ledger, dropping, codes), chosen))
    pairs, kept_by_both, both_drop = together.total(), outcomes[0][0], outcomes[2][2]
    neither = pairs - kept_by_both - only[0].pairs - only[1].pairs
    return Diff(
        a, b, pairs, kept_by_both, only[0], only[1], neither, both_drop, neither - both_drop, outcomes,
        _side_by_side(*plans), added,
    )  # fmt: skip


def _side_by_side(a: Plan, b: Plan) -> list[ComparedRule]:
    """Return what each of two plans asks for, rule by rule."""
    names = dict.fromkeys(rule.name for plan in (a, b) for rule in plan.rules)
    return [ComparedRule(name, _request(a, name), _request(b, name)) for name in names]


def _request(plan: Plan, name: str) -> str | None:
    rule = next((rule for rule in plan.rules if rule.name == name), None)
    if rule is None:
        return None
    request = f"{rule.rule.signal} {rule.request}" if rule.rule.signal not in (None, name) else rule.request
    return request if rule.in_force else f"taken out ({request})"


_SIDES = ("a", "b")


def _count(
    dataset: Dataset,
    ledgers: tuple[str, str],
    populations: tuple[Populations, Populations],
    part: int,
    samples: int,
    seed: int,
    tick: Tick,
) -> tuple[Counter[tuple[int, int]], sampling.Spots]:
    """Count one part by both ledgers' masks, and draw of what only one of them keeps."""
    a, b = populations
    totals: Counter[int] = Counter()
    drawing = sampling.RandomDraw(seed, part, samples * sampling.SPARE)
    keeps_a, keeps_b = np.meshgrid(a.kept, b.kept, indexing="ij")
    there_a, there_b = np.meshgrid(_there(a), _there(b), indexing="ij")
    there = there_a & there_b
    keeps = {"a": (there & keeps_a & ~keeps_b).ravel(), "b": (there & keeps_b & ~keeps_a).ravel()}
    streams = [dataset.ledger(name).pieces(part, ["failed", "unknown"]) for name in ledgers]
    for number, (of_a, of_b) in enumerate(zip(*streams, strict=True)):
        codes = a.codes(of_a) * len(b) + b.codes(of_b)
        present, pairs = counted(codes, len(a) * len(b))
        totals.update(dict(zip(present.tolist(), pairs.tolist(), strict=True)))
        drawing.add(number, keeps, codes)
        tick(len(codes))
    return Counter({divmod(code, len(b)): pairs for code, pairs in totals.items()}), drawing.spots


def _there(of: Populations) -> NDArray[np.bool_]:
    """Tell for each code whether its pairs were there when the ledger was decided."""
    return np.asarray(of.unknown & NOT_YET == 0)


def _divided(
    every: Mapping[tuple[int, int], int], names: tuple[str, str], a: Populations, b: Populations
) -> tuple[Counter[tuple[int, int]], AddedPairs | None]:
    """Return the counts of the pairs that both ledgers decided, and what there is of those that only one did."""
    there_a, there_b = _there(a), _there(b)
    if there_a.all() and there_b.all():
        return Counter(every), None
    both = Counter({(x, y): number for (x, y), number in every.items() if there_a[x] and there_b[y]})
    later = 0 if there_a.all() else 1
    outcomes = [0] * len(OUTCOMES)
    for codes, number in every.items():
        if there_a[codes[0]] != there_b[codes[1]] and (there_a, there_b)[later][codes[later]]:
            outcomes[_outcome((a, b)[later], codes[later])] += number
    return both, AddedPairs(names[later], sum(outcomes), *outcomes)


def _outcomes(together: Mapping[tuple[int, int], int], a: Populations, b: Populations) -> list[list[int]]:
    table = [[0] * len(OUTCOMES) for _ in OUTCOMES]
    for (x, y), number in together.items():
        table[_outcome(a, x)][_outcome(b, y)] += number
    return table


def _outcome(of: Populations, code: int) -> int:
    return 2 if of.failed[code] else 1 if of.unknown[code] else 0


def _by(ledger: Ledger, of: Populations, codes: Mapping[int, int]) -> list[Cause]:
    """Return the rules that some of these pairs fail, or are unknown for; the most pairs first."""
    causes = []
    for rule in ledger.plan.rules:
        bit = rule.bit
        fail = sum(n for code, n in codes.items() if of.failed[code] & bit)
        alone = sum(n for code, n in codes.items() if of.failed[code] == bit)
        unknown = sum(n for code, n in codes.items() if of.unknown[code] & bit)
        if fail or unknown:
            causes.append(Cause(rule.name, fail, alone, unknown))
    return sorted(causes, key=lambda cause: (-cause.fail, -cause.unknown))
