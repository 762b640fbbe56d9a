"""What becomes of a pool with a recipe's rules moved, from joint counts of old masks and new verdicts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from align_data.data.ledger import TAKEN_DOWN
from align_data.recipes.plan import Plan, PlannedRule
from align_data.stages.audit.mask_codes import Populations
from align_data.stages.audit.roles import FAIL, OUTCOMES, UNKNOWN

Cells = NDArray[np.int64]
"""A row for each combination that pairs have: code, verdict of each moved rule that is in force, how many they are."""
NORMAL = 1.96
"""Standard deviations to each side of an interval of 95 %."""


@dataclass(frozen=True)
class RuleMoved:
    """What a rule does in a moved pool, in pairs."""

    fail: int
    fail_only: int
    """Fail it and no other rule."""
    unknown: int
    off: bool
    words: str
    """What it asks for in this pool."""


@dataclass(frozen=True)
class MovedPool:
    """What becomes of a pool; of a sample of its pairs, what is expected of all."""

    pairs: int
    kept: int
    pending: int
    dropped: int
    error: int
    """Half the interval of 95 % of `kept`, in pairs; 0 where all pairs were counted."""
    rules: Mapping[str, RuleMoved]
    changes: Mapping[tuple[str, str], int]
    """(outcome by the ledger, outcome now) → pairs; kept, pending and dropped."""
    counted: int
    """Pairs that were looked at."""
    plan: Plan
    """The plan, its relative thresholds resolved."""
    notes: Sequence[str] = field(default_factory=list)
    """What is not as `filter` would decide it: a sentence each."""

    @property
    def more(self) -> Mapping[str, int]:
        """Outcome → how many more pairs have it now than by the ledger; fewer where it is below 0."""
        after, before = Counter[str](), Counter[str]()
        for (was, now), pairs in self.changes.items():
            before[was] += pairs
            after[now] += pairs
        return {outcome: after[outcome] - before[outcome] for outcome in OUTCOMES}

    @property
    def exact(self) -> bool:
        """Whether these are the numbers that `filter` would count."""
        return self.counted == self.pairs and not self.notes


def masks_of(cells: Cells, populations: Populations, moved: Sequence[PlannedRule]) -> tuple[Cells, Cells]:
    """Return the masks `failed` and `unknown` of each cell, with what the moved rules decide in place of the old."""
    bits = np.int64(sum(rule.bit for rule in moved))
    codes = cells[:, 0]
    failed, unknown = populations.failed[codes] & ~bits, populations.unknown[codes] & ~bits
    for column, rule in enumerate((rule for rule in moved if rule.in_force), 1):
        failed |= np.where(cells[:, column] == FAIL, rule.bit, 0)
        unknown |= np.where(cells[:, column] == UNKNOWN, rule.bit, 0)
    return failed, unknown


def pool(
    cells: Cells,
    populations: Populations,
    plan: Plan,
    moved: Sequence[PlannedRule],
    pairs: int,
    notes: Sequence[str],
) -> MovedPool:
    """Return what becomes of a pool of `pairs`, of which the cells count all or a random part."""
    numbers, counted = cells[:, -1], int(cells[:, -1].sum())
    failed, unknown = masks_of(cells, populations, moved)
    before = _outcomes(populations.failed[cells[:, 0]], populations.unknown[cells[:, 0]])
    after = _outcomes(failed, unknown)

    def scaled(which: NDArray[np.bool_]) -> int:
        number = int(numbers[which].sum())
        return number if counted == pairs else round(number * pairs / max(1, counted))

    rules = {
        rule.name: RuleMoved(
            scaled((failed & rule.bit) != 0),
            scaled((failed & ~TAKEN_DOWN) == rule.bit),
            scaled((unknown & rule.bit) != 0),
            not rule.in_force,
            rule.request,
        )
        for rule in plan.rules
    }
    changes = Counter[tuple[str, str]]()
    for was in (FAIL, UNKNOWN, 2):
        for now in (FAIL, UNKNOWN, 2):
            changes[OUTCOMES[was], OUTCOMES[now]] = scaled((before == was) & (after == now))
    kept, pending = scaled(after == 2), scaled(after == UNKNOWN)
    return MovedPool(
        pairs=pairs,
        kept=kept,
        pending=pending,
        dropped=pairs - kept - pending,
        error=_error(kept, counted, pairs),
        rules=rules,
        changes=changes,
        counted=counted,
        plan=plan,
        notes=notes,
    )


def _error(kept: int, counted: int, pairs: int) -> int:
    """Return half the interval, in pairs, of a number that is estimated from `counted` of them.

    Two are added of each kind (Agresti and Coull 1998), so that none, or all, of a sample is not taken for certain.
    """
    if counted == pairs:
        return 0
    share = (kept * counted / pairs + 2) / (counted + 4)
    return math.ceil(NORMAL * math.sqrt(share * (1 - share) / (counted + 4) * (1 - counted / pairs)) * pairs)


def _outcomes(failed: Cells, unknown: Cells) -> NDArray[np.int8]:
    """Return the outcome of each cell, as an index of OUTCOMES."""
    return np.where(failed != 0, 0, np.where(unknown != 0, 1, 2)).astype(np.int8)
