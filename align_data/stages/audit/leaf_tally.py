"""What one pass counts of one test: its curve, and the pairs nearest to its thresholds."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import polars as pl
from numpy.typing import NDArray

from align_data.stages.audit.curves import Axis, Counts, Tally
from align_data.stages.audit.leaves import Comparison, RoleFinder, RuleVerdicts
from align_data.stages.audit.mask_codes import Codes, Populations, Which
from align_data.stages.audit.roles import FAIL, OUTCOME, PASS
from align_data.stages.audit.sampling import Kind, Nearest, Spots
from align_data.stages.audit.values import Values


def leaf_tally(leaf: Comparison) -> Tally:
    """Return an empty tally of a test."""
    return Tally(Axis(leaf.test), leaf.roles, of_class=leaf.of_class is not None)


class LeafTally:
    """Counts one test in one part."""

    def __init__(self, leaf: Comparison, populations: Populations, known: Collection[str], samples: int) -> None:
        self.leaf = leaf
        self._tally = leaf_tally(leaf)
        self._finder = RoleFinder([leaf], populations, known)
        self._near = Nearest(leaf.name, leaf.test, samples)
        self._alone, self._undropped = populations.alone(leaf.rule.bit), populations.undropped

    @property
    def counts(self) -> Counts:
        """Pairs by role and bin."""
        return self._tally.counts

    @property
    def spots(self) -> Spots:
        """The pairs nearest to the thresholds."""
        return self._near.spots

    def add(
        self, place: tuple[int, int], values: Values, codes: Codes, frame: pl.DataFrame, memo: RuleVerdicts
    ) -> None:
        """Count one piece; `frame` has what rules of several tests compare, `memo` what of them has been decided."""
        roles = self._finder.find(codes, frame, memo)
        matches = None if self.leaf.plain else self.leaf.matches(frame)
        self._tally.add(values, roles, matches)
        decides = OUTCOME[:, FAIL] != OUTCOME[:, PASS]

        def marks(kind: Kind, rows: NDArray[np.intp]) -> Which:
            of_code = self._alone if kind == "dropped" else self._undropped
            marked: Which = of_code[codes[rows]]
            if not self.leaf.plain and kind == "dropped":
                marked &= decides[roles[rows]]
            return marked if matches is None else marked & matches[rows]

        self._near.add(*place, values, marks)
