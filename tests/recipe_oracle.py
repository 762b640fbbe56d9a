"""A slow, plain oracle of the recipe format, written from its description alone: it shares no code with align_data.

A recipe is what its YAML says: a dict. A pair is a dict of its signals' values, None where one has none, and of `uid`. A
verdict is True, False or None for unknown. All of it is counted pair by pair, and nothing is fast.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import xxhash

Pair = dict[str, Any]
Verdict = bool | None
Test = Mapping[str, Any]

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda value, than: value > than,
    "ge": lambda value, than: value >= than,
    "lt": lambda value, than: value < than,
    "le": lambda value, than: value <= than,
    "eq": lambda value, than: value == than,
    "in": lambda value, of: value in of,
    "between": lambda value, ends: ends[0] <= value <= ends[1],
}
RELATIVE = ("top_fraction", "top_k")
FORMS = ("sum", "product", "min", "max")


# --- verdicts of several ---


def all_of(verdicts: Iterable[Verdict]) -> Verdict:
    """False if one is, else unknown if one is, else True."""
    verdicts = list(verdicts)
    return False if False in verdicts else None if None in verdicts else True


def any_of(verdicts: Iterable[Verdict]) -> Verdict:
    """True if one is, else unknown if one is, else False."""
    verdicts = list(verdicts)
    return True if True in verdicts else None if None in verdicts else False


def class_of(pair: Pair, signal: str) -> str | None:
    """What a pair's class is called: a truth or a number as text."""
    value = pair[signal]
    return None if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def operator(test: Test) -> str:
    """The name of a test's operator."""
    return next(name for name in (*OPERATORS, *RELATIVE) if name in test)


def compared(value: Any, op: str, operand: Any) -> Verdict:
    """Whether a value passes; unknown without one."""
    return None if value is None or operand is None else OPERATORS[op](value, operand)


def leaves(form: Test) -> list[Test]:
    """The tests of a rule in the order in which it is written; that of first_of is the rule itself."""
    for word in ("any", "all"):
        if word in form:
            return [leaf for part in form[word] for leaf in leaves(part)]
    return [form]


# --- scores, and numbers by chance ---


def by_chance(uid: str, seed: str) -> float:
    """A pair's number from 0 up to 1: the upper 53 bits of the hash of its uid and the seed, a line each."""
    return float(xxhash.xxh3_64_intdigest(f"{uid}\n{seed}".encode()) >> 11) / 2**53


def millionths(value: float) -> int:
    """A value as whole millionths, by the nearest; of two equally near the even one."""
    return round(Fraction(value) * 10**6)


@dataclass(frozen=True)
class Scale:
    """What a scale takes from the pool."""

    kind: str
    values: Sequence[Any]
    """Of all pairs that have one, ascending."""

    def of(self, value: Any) -> Fraction | float:
        """A value on the scale: constants are of six decimals, but those of ranks, which compare values as they are."""
        exact = Fraction(value)
        if self.kind == "none":
            return exact
        if self.kind == "rank":
            cuts = [self.values[-(-i * len(self.values) // 1000) - 1] for i in range(1, 1000)]
            return Fraction(sum(1 for cut in cuts if cut < value), 1000)
        whole = [millionths(each) for each in self.values]
        if self.kind == "minmax":
            low, high = Fraction(whole[0], 10**6), Fraction(whole[-1], 10**6)
            return (exact - low) / (high - low) if high > low else Fraction(0)
        mean = Fraction(sum(whole), len(whole))
        square = Fraction(sum(each * each for each in whole), len(whole)) - mean * mean
        return float(exact * 10**6 - mean) / math.sqrt(square) if square else Fraction(0)


COMBINE: dict[str, Callable[[list[Any]], Any]] = {"sum": sum, "product": math.prod, "min": min, "max": max}


# --- a recipe on a pool ---


@dataclass
class Decided:
    """A recipe decided on a pool, pair by pair."""

    recipe: Mapping[str, Any]
    pairs: Sequence[Pair]
    """With the values of scores, once they are derived."""
    off: frozenset[str] = frozenset()
    names: list[str] = field(default_factory=list)
    thresholds: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    """Rule, signal, fraction and class → the least value that passes."""
    ranks: dict[str, list[int | None]] = field(default_factory=dict)
    """Rule of first_of → the rank of each pair in its group."""
    _verdicts: dict[str, list[Verdict]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Name the rules, and decide them all."""
        self.names = [self.name(rule) for rule in self.rules]
        for name in self.names:
            self.verdicts(name)

    @property
    def rules(self) -> Sequence[Mapping[str, Any]]:
        """The rules as they are written."""
        return self.recipe["rules"]

    def name(self, rule: Mapping[str, Any]) -> str:
        """A rule's name: the signal's by default."""
        return rule.get("name") or rule["signal"]

    def rule(self, name: str) -> Mapping[str, Any]:
        """The rule of a name."""
        return self.rules[self.names.index(name)]

    def verdicts(self, name: str) -> list[Verdict]:
        """The verdict of one rule on each pair, whether it is in force or not."""
        if name not in self._verdicts:
            self._verdicts[name] = [self.of_form(name, self.rule(name), at) for at in range(len(self.pairs))]
        return self._verdicts[name]

    def of_form(self, name: str, form: Test, at: int) -> Verdict:
        """The verdict of a rule, or of a part of it, on one pair."""
        if "any" in form:
            return any_of(self.of_form(name, part, at) for part in form["any"])
        if "all" in form:
            return all_of(self.of_form(name, part, at) for part in form["all"])
        if "first_of" in form:
            return compared(self.rank(name)[at], "le", form.get("keep", 1))
        return compared(self.pairs[at][form["signal"]], *self.asked(name, form, at))

    def asked(self, name: str, test: Test, at: int) -> tuple[str, Any]:
        """The operator and the value that a test asks of one pair; None where the pair has no class."""
        op = operator(test)
        if op == "top_fraction":
            return "ge", self.least(name, test, at)
        if "by" not in test:
            return op, test[op]
        of = class_of(self.pairs[at], test["by"])
        return op, None if of is None else test[op].get(of, test[op]["else"])

    # what is relative to the pool

    def relative(self, name: str) -> bool:
        """Whether a rule chooses pairs itself, so that `kept` leaves it out."""
        return any("first_of" in leaf or "top_fraction" in leaf for leaf in leaves(self.rule(name)))

    def pool(self, name: str, form: Test) -> list[int]:
        """The pairs among which a rule takes its fraction or its first."""
        among = form.get("among", "kept")
        if among == "pool":
            return list(range(len(self.pairs)))
        in_force = [other for other in self.names if other not in self.off]
        if among == "kept":
            others = [other for other in in_force if other != name and not self.relative(other)]
        else:
            others = [other for other in in_force if other in among]
        failing = [self.verdicts(other) for other in others]
        return [at for at in range(len(self.pairs)) if not any(verdicts[at] is False for verdicts in failing)]

    def least(self, name: str, test: Test, at: int) -> Any:
        """The least value that a top_fraction lets pass, of the pair's class; None where the pair has no class."""
        per = test.get("per")
        of = None if per is None else class_of(self.pairs[at], per)
        if per is not None and of is None:
            return None
        key = (name, test["signal"], test["top_fraction"], of)
        if key not in self.thresholds:
            there = [i for i in self.pool(name, test) if per is None or class_of(self.pairs[i], per) == of]
            whole = range(len(self.pairs)) if test.get("of", "among") == "pool" else there
            whole = [i for i in whole if per is None or class_of(self.pairs[i], per) == of]
            self.thresholds[key] = self.reached(test, there, whole)
        return self.thresholds[key]

    def reached(self, test: Test, there: Sequence[int], whole: Sequence[int]) -> Any:
        """The highest value that enough of the pairs reach; below all values where they are not enough."""
        values = sorted((v for i in there if (v := self.pairs[i][test["signal"]]) is not None), reverse=True)
        number = sum(1 for i in whole if self.pairs[i][test["signal"]] is not None)
        wanted = math.ceil(Fraction(str(test["top_fraction"])) * number)
        if not values:
            return -math.inf
        return values[min(wanted, len(values)) - 1]

    def rank(self, name: str) -> list[int | None]:
        """One more than the pairs before each in its group that the rule chooses among; None without a key."""
        if name not in self.ranks:
            rule = self.rule(name)
            members = set(self.pool(name, rule))
            groups: dict[tuple[Any, ...], list[int]] = {}
            for at, pair in enumerate(self.pairs):
                groups.setdefault(tuple(pair[column] for column in rule["first_of"]), []).append(at)
            ranks: list[int | None] = [None] * len(self.pairs)
            for key, group in groups.items():
                if None not in key:
                    before = 0
                    for at in sorted(group, key=lambda at: self.place(rule, at)):
                        ranks[at] = 1 + before
                        before += at in members
            self.ranks[name] = ranks
        return self.ranks[name]

    def place(self, rule: Mapping[str, Any], at: int) -> list[Any]:
        """What a pair is sorted by in its group: nulls behind all values, its uid where all else is equal."""
        pair, key = self.pairs[at], []
        for column in rule.get("order", []):
            value, down = pair[column.removeprefix("-")], column.startswith("-")
            key.append((value is None, Down(value) if down and value is not None else value or 0))
        return [*key, pair["uid"]]

    # what an audit counts

    def masks(self) -> list[tuple[int, int]]:
        """The masks (failed, unknown) of each pair; a rule that is taken out sets no bit."""
        bits = [(1 << place, self.verdicts(name)) for place, name in enumerate(self.names) if name not in self.off]
        return [
            (
                sum(bit for bit, verdicts in bits if verdicts[at] is False),
                sum(bit for bit, verdicts in bits if verdicts[at] is None),
            )
            for at in range(len(self.pairs))
        ]

    def outcome(self, at: int, moved: Moved | None = None, also: Sequence[str] = ()) -> str:
        """What becomes of a pair; `moved` may say another verdict for a test, and rules of `also` are in force too."""

        def of(name: str, form: Test) -> Verdict:
            for word, of_several in (("any", any_of), ("all", all_of)):
                if word in form:
                    return of_several(of(name, part) for part in form[word])
            verdict = AS_IT_IS if moved is None else moved(name, form, at)
            return self.of_form(name, form, at) if isinstance(verdict, str) else verdict

        in_force = [name for name in self.names if name in also or name not in self.off]
        verdict = all_of(of(name, self.rule(name)) for name in in_force)
        return {True: "kept", False: "dropped", None: "pending"}[verdict]

    def at(self, moved: Moved, also: Sequence[str]) -> tuple[int, int]:
        """Pairs kept and pending with other verdicts."""
        outcomes = Counter(self.outcome(at, moved, also) for at in range(len(self.pairs)))
        return outcomes["kept"], outcomes["pending"]

    def tried(self, name: str, form: Test, at: int, end: str, value: Any) -> Verdict:
        """The verdict of a test on one pair, where its end is at another value."""
        if "first_of" in form:
            return compared(self.rank(name)[at], "le", value)
        measured = self.pairs[at][form["signal"]]
        op = operator(form)
        if op == "top_fraction":
            return compared(measured, "ge", self.least(name, {**form, op: value}, at))
        if op in ("eq", "in"):
            return compared(measured, "eq", value)
        if op == "between":
            low, high = self.asked(name, form, at)[1]
            verdict = compared(measured, end, value)
            fixed = compared(measured, *(("ge", low) if end == "le" else ("le", high)))
            return all_of([verdict, fixed])
        return compared(measured, op, value)


Moved = Callable[[str, Test, int], Verdict | str]
"""Rule, test, pair → the verdict that the test has instead, or AS_IT_IS."""
AS_IT_IS = "as it is"


class Down:
    """Sorts a value before what is less."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: Down) -> bool:
        return bool(other.value < self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Down) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]


def scores(recipe: Mapping[str, Any], pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs with the values of the recipe's scores, as exact as a float is: null where a term is null."""
    pairs = [dict(pair) for pair in pairs]
    waiting = dict(recipe.get("scores", {}))
    while waiting:
        name = next(n for n, score in waiting.items() if not any(t["signal"] in waiting for t in _terms(score)))
        score = waiting.pop(name)
        form = next(word for word in FORMS if word in score)
        scales = [
            Scale(term.get("scale", "none"), sorted(v for p in pairs if (v := p[term["signal"]]) is not None))
            for term in score[form]
        ]  # fmt: skip
        for pair in pairs:
            values = [pair[term["signal"]] for term in score[form]]
            pair[name] = None
            if None not in values:
                scaled = [
                    float(scale.of(value)) * term.get("weight", 1)
                    for value, scale, term in zip(values, scales, score[form], strict=True)
                ]
                pair[name] = round(COMBINE[form](scaled), 6)
    return pairs


def _terms(score: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return next(score[form] for form in FORMS if form in score)
