"""What one test decides of a pair, where it alone is moved and all else stays.

A verdict is 0 where a test fails, 1 where it is unknown, 2 where it passes. All tests of a list together have the least
verdict of theirs, any of them the greatest. So has a recipe the least of its rules', and that is the pair's outcome: 0
dropped, 1 pending, 2 kept. Therefore, as one test moves, the outcome is the test's own verdict, held between what it is
where the test fails and what it is where it passes.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

Verdicts = NDArray[np.int8]

FAIL, UNKNOWN, PASS = 0, 1, 2
VERDICTS = (FAIL, UNKNOWN, PASS)
OUTCOMES = ("dropped", "pending", "kept")
"""What becomes of a pair by the verdict of all rules together."""

DROPPED, OPEN, WAITING, KEPT, PENDING, EITHER = range(6)
"""The role of a pair: dropped whatever the test says; decided by the test; dropped by it, or else pending; kept or
pending whatever it says; kept by it, or else pending. A rule that is one test leaves only the first three."""
PLAIN, ROLES = 3, 6
"""How many roles there are where the rule is one test, and in all."""
_ENDS = ((FAIL, FAIL), (FAIL, PASS), (FAIL, UNKNOWN), (PASS, PASS), (UNKNOWN, UNKNOWN), (UNKNOWN, PASS))
"""Role → the outcome where the test fails, and where it passes."""
_ROLE_OF = np.zeros((3, 3), np.int8)
for _role, _ends in enumerate(_ENDS):
    _ROLE_OF[_ends] = _role
OUTCOME = np.array([[min(max(verdict, low), high) for verdict in VERDICTS] for low, high in _ENDS], np.int8)
"""Role, verdict of the test → outcome."""


def roles(failing: Verdicts, passing: Verdicts) -> Verdicts:
    """Return the role of each pair by its outcomes where the test fails and where it passes."""
    roles_of: Verdicts = _ROLE_OF[failing, passing]
    return roles_of


_CORNERS = [c for c in product(VERDICTS, repeat=4) if c[0] <= min(c[1:3]) and max(c[1:3]) <= c[3]]
"""The outcomes of a pair as none of two tests passes, the first alone, the second alone, both: all that can be."""
_PAIRED = np.zeros((3, 3, 3, 3), np.int8)
for _role, _corner in enumerate(_CORNERS):
    _PAIRED[_corner] = _role
PAIRED_OUTCOME = np.array(
    [
        [[max(none, min(x, one), min(y, other), min(x, y, both)) for y in VERDICTS] for x in VERDICTS]
        for none, one, other, both in _CORNERS
    ],
    np.int8,
)
"""Role in moving two tests, verdict of the one, verdict of the other → outcome."""
PAIRED = len(_CORNERS)


def paired_roles(none: Verdicts, one: Verdicts, other: Verdicts, both: Verdicts) -> Verdicts:
    """Return the role of each pair in moving two tests, by its outcomes as none passes, either alone, and both."""
    roles_of: Verdicts = _PAIRED[none, one, other, both]
    return roles_of
