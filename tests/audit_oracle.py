"""A slow, plain oracle for the audit page, sweep and diff, written from the specification: plain Python over dicts.

A row is a pair: the columns of its tables, its signals (None where one is null), and the masks `failed` and `unknown`.
A rule is (name, signal, op, operand), as in tests/oracle.py; a top_k has been resolved to `ge` a count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Any

import oracle

Row = dict[str, Any]
Rule = tuple[str, str, str, Any]
Test = Callable[[Any], bool]

TAKEN = 63
"""The bit of a pair that was taken down: the sign of a 64-bit number."""


# --- masks ---


@cache
def bits(mask: int) -> frozenset[int]:
    """The positions of the bits that are set, 63 for the sign."""
    return frozenset(bit for bit in range(64) if mask >> bit & 1)


def outcome(row: Row) -> str:
    """What became of a pair: kept, pending or dropped."""
    if bits(row["failed"]):
        return "dropped"
    return "pending" if bits(row["unknown"]) else "kept"


def beside(row: Row, rule: int) -> str:
    """What would become of a pair if it passed a rule, with every other in force."""
    if bits(row["failed"]) - {rule}:
        return "dropped"
    return "pending" if bits(row["unknown"]) - {rule} else "kept"


def fails(row: Row, rule: int) -> bool:
    """Whether a pair fails a rule, whatever else it fails."""
    return rule in bits(row["failed"])


def fails_alone(row: Row, rule: int) -> bool:
    """Whether a rule is the only reason why a pair is dropped."""
    return bits(row["failed"]) == {rule}


def totals(rows: Sequence[Row]) -> dict[str, int]:
    """Pairs by what became of them."""
    found = Counter(outcome(row) for row in rows)
    gone = sum(1 for row in rows if fails(row, TAKEN))
    return {"pairs": len(rows), **{name: found[name] for name in ("kept", "dropped", "pending")}, "taken_down": gone}


def rule_counts(rows: Sequence[Row], rule: int) -> dict[str, int]:
    """One rule's line of an audit: as measured, pairs that were taken down too."""
    failed = [bits(row["failed"]) - {TAKEN} for row in rows]
    return {
        "fail": sum(1 for found in failed if rule in found),
        "fail_only": sum(1 for found in failed if found == {rule}),
        "unknown": sum(1 for row in rows if rule in bits(row["unknown"])),
        "left_after": sum(1 for found in failed if not any(one <= rule for one in found)),
    }


def overlap(rows: Sequence[Row], n_rules: int) -> list[list[int]]:
    """Pairs that fail both of two rules."""
    failed = [bits(row["failed"]) for row in rows]
    return [[sum(1 for f in failed if i in f and j in f) for j in range(n_rules)] for i in range(n_rules)]


def overlaps(rows: Sequence[Row], rules: Sequence[Rule]) -> Counter[tuple[str, ...]]:
    """Exact sets of rules that pairs fail → pairs."""
    found = Counter(tuple(sorted(bits(row["failed"]) - {TAKEN})) for row in rows)
    return Counter({tuple(rules[i][0] for i in some): number for some, number in found.items() if some})


# --- curves ---


def passes(op: str, operand: Any) -> Test:
    """A test of values that are there."""
    return lambda value: oracle.OPERATORS[op](value, operand)


def at(rows: Iterable[Row], rule: int, signal: str, test: Test) -> tuple[int, int]:
    """Pairs kept and pending if the rule had another test, with every other rule in force."""
    kept = pending = 0
    for row in rows:
        others, value = beside(row, rule), row.get(signal)
        if others == "dropped" or (value is not None and not test(value)):
            continue
        if others == "kept" and value is not None:
            kept += 1
        else:
            pending += 1
    return kept, pending


def moved_test(op: str, operand: Any, end: str, value: Any) -> Test:
    """The test of a rule of which one end ('gt', 'ge', 'lt' or 'le') is at `value` and the other where it was."""
    if op != "between":
        return passes(end, value)
    return passes("between", (operand[0], value) if end == "le" else (value, operand[1]))


def ends(op: str, operand: Any) -> list[tuple[str, Any]]:
    """The ends of what passes a rule that compares numbers, the lower first."""
    if op == "between":
        return [("ge", operand[0]), ("le", operand[1])]
    return [(op, operand)] if op in ("gt", "ge", "lt", "le") else []


def within(rows: Sequence[Row], rule: int, signal: str, test: Test) -> tuple[int, int]:
    """Pairs whose value passes a test: of all, and of those that no other rule fails."""
    some = [row for row in rows if row.get(signal) is not None and test(row[signal])]
    return len(some), sum(1 for row in some if beside(row, rule) != "dropped")


# --- who is removed ---

EDGES = {
    "text length": (1, 2, 3, 4, 6, 11, 21, 51, 101),
    "image size": (1, 64, 101, 201, 257, 385, 513, 1025),
}
SIGNAL = {
    "language": "language",
    "script": "script",
    "host": "host",
    "text length": "n_words",
    "image size": "min_side",
    "format": "format",
}
NAMED = {"host": 50}


def label(dimension: str, value: Any) -> str:
    """What a pair's group is called."""
    if value is None:
        return "not measured"
    if dimension not in EDGES:
        return value or "(none)"
    edges = EDGES[dimension]
    if value < edges[0]:
        return "0"
    if value >= edges[-1]:
        return f"{edges[-1]} or more"
    low, high = next((a, b) for a, b in pairwise(edges) if a <= value < b)
    return str(low) if high == low + 1 else f"{low} to {high - 1}"


Group = dict[str, Any]


def group(rows: Sequence[Row], n_rules: int) -> Group:
    """What became of some pairs."""
    return {
        "pairs": len(rows),
        "left": sum(1 for row in rows if outcome(row) != "dropped"),
        "kept": sum(1 for row in rows if outcome(row) == "kept"),
        "fails": tuple(sum(1 for row in rows if fails(row, rule)) for rule in range(n_rules)),
    }


def groups(rows: Sequence[Row], dimension: str, n_rules: int) -> dict[str, Group]:
    """The groups of a dimension by label."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(label(dimension, row[SIGNAL[dimension]]), []).append(row)
    return {name: group(some, n_rules) for name, some in found.items()}


def added(some: Iterable[Group], n_rules: int) -> Group:
    """Groups together."""
    some = list(some)
    result: Group = {name: sum(one[name] for one in some) for name in ("pairs", "left", "kept")}
    return {**result, "fails": tuple(sum(one["fails"][i] for one in some) for i in range(n_rules))}


def excess(one: Group, pool: Group) -> Fraction:
    """Pairs left beyond what a group would have if it were treated as the pool is."""
    return one["left"] - Fraction(one["pairs"] * pool["left"], pool["pairs"])


def failing_excess(one: Group, pool: Group) -> list[Fraction]:
    """For each rule, the pairs that it fails beyond the group's share."""
    return [f - Fraction(one["pairs"] * p, pool["pairs"]) for f, p in zip(one["fails"], pool["fails"], strict=True)]


# --- extremes, sizes, fetching ---


def most_shared(rows: Sequence[Row], column: str, top: int = 20) -> tuple[dict[str, int], list[int]]:
    """Values that at least two pairs have → pairs; and the numbers of the `top` of them."""
    found = {value: number for value, number in Counter(row[column] for row in rows).items() if number > 1}
    return found, sorted(found.values(), reverse=True)[:top]


def rarest_of(text: str, counts: Mapping[tuple[str, ...], int]) -> set[str]:
    """The n-grams of a text that are its rarest."""
    least = min(counts[ngram] for ngram in oracle.ngrams(text))
    return {" ".join(ngram) for ngram in oracle.ngrams(text) if counts[ngram] == least}


def agreement(row: Row) -> str:
    """How declared and measured size of a pair agree."""
    declared = (row["declared_width"], row["declared_height"])
    measured = (row.get("width"), row.get("height"))
    if None in declared or None in measured:
        known = [name for name, size in (("declared", declared), ("measured", measured)) if None not in size]
        return known[0] if known else "neither"
    if declared == measured:
        return "equal"
    if declared == measured[::-1]:
        return "turned"
    if all(m <= d for m, d in zip(measured, declared, strict=True)):
        return "smaller"
    if all(m >= d for m, d in zip(measured, declared, strict=True)):
        return "larger"
    return "other"


def failing_hosts(images: Sequence[Row]) -> dict[str, Counter[str]]:
    """Host → failures of fetching, by status."""
    found: dict[str, Counter[str]] = {}
    for row in images:
        if row["status"] not in ("ok", "untried"):
            found.setdefault(oracle.host(row["url"]), Counter())[row["status"]] += 1
    return found


# --- samples ---


def distance(value: Any, end: str, threshold: Any, kind: str) -> float | None:
    """How far a value lies from an end of a rule, on the side that `kind` asks for; None on the other."""
    if value is None or oracle.OPERATORS[end](value, threshold) != (kind == "kept"):
        return None
    return abs(float(value) - threshold)


def candidates(rows: Sequence[Row], rule: int, kind: str) -> list[Row]:
    """The pairs that may be shown for a rule: that it alone drops, or that are not dropped."""
    if kind == "kept":
        return [row for row in rows if outcome(row) != "dropped"]
    return [row for row in rows if fails_alone(row, rule)]


def nearest(rows: Sequence[Row], rule: int, kind: str, signal: str, end: tuple[str, Any]) -> list[tuple[float, Row]]:
    """All pairs that could be shown at one end of a rule, the nearest first."""
    found = [(distance(row.get(signal), *end, kind), row) for row in candidates(rows, rule, kind)]
    return sorted(((d, row) for d, row in found if d is not None), key=lambda one: one[0])


def chosen_distances(near: Sequence[tuple[float, Row]], number: int) -> list[float] | None:
    """The distances of those shown: of the 3 x `number` nearest, different texts first, then whatever is nearest.

    None where equal distances leave a choice that changes them.
    """
    most = 3 * number
    if len(near) > most and near[most - 1][0] == near[most][0]:
        return None
    pool = near[:most]
    by_text: dict[str, float] = {}
    for d, row in pool:
        by_text.setdefault(row["alt_text"], d)
    first = sorted(by_text.values())[:number]
    rest = Counter(d for d, _ in pool)
    rest.subtract(by_text.values())
    return sorted([*first, *sorted(rest.elements())[: number - len(first)]])


# --- diff ---

OUTCOMES = ("kept", "pending", "dropped")


def diff(a: Sequence[Row], b: Sequence[Row]) -> dict[str, Any]:
    """What two ledgers of the same pairs decide."""
    both = [(outcome(x), outcome(y)) for x, y in zip(a, b, strict=True)]
    table = [[sum(1 for pair in both if pair == (x, y)) for y in OUTCOMES] for x in OUTCOMES]
    return {
        "pairs": len(both),
        "both": sum(1 for x, y in both if x == y == "kept"),
        "only_a": sum(1 for x, y in both if x == "kept" != y),
        "only_b": sum(1 for x, y in both if y == "kept" != x),
        "neither": sum(1 for x, y in both if "kept" not in (x, y)),
        "both_drop": sum(1 for x, y in both if x == y == "dropped"),
        "undecided": sum(1 for x, y in both if "kept" not in (x, y) and "pending" in (x, y)),
        "outcomes": table,
    }


def by(keeps: Sequence[Row], other: Sequence[Row], rules: Sequence[Rule]) -> dict[str, tuple[int, int, int]]:
    """Of pairs that one ledger keeps and the other does not: rules of the other → fail, fail alone, unknown."""
    some = [y for x, y in zip(keeps, other, strict=True) if outcome(x) == "kept" != outcome(y)]
    found = {
        name: (
            sum(1 for row in some if fails(row, i)),
            sum(1 for row in some if fails_alone(row, i)),
            sum(1 for row in some if i in bits(row["unknown"])),
        )
        for i, (name, *_) in enumerate(rules)
    }
    return {name: counts for name, counts in found.items() if any(counts)}
