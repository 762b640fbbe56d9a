"""The fields of a form that moves thresholds: each value of each test as `--set` takes it, and where sliders stop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from align_data.common.errors import RecipeError
from align_data.recipes.conditions import Test
from align_data.recipes.operators import OPERATORS, text
from align_data.recipes.plan import PlannedRule
from align_data.recipes.values import ELSE, UNSPECIFIED
from align_data.selection.draft import RECIPE, SET, WITH, WITHOUT, Draft, Words
from align_data.stages.audit.curves import Curve, points

STOPS = 120
"""Places of a slider, about."""
FIELD, SLIDER, RULE = "field.", "slider.", "on"
"""What the names of fields begin with: of a value, of the place of a slider; and the name of the boxes of rules."""
CLASS, CLASS_VALUE = "class.", "value."
"""What the names of the two fields begin with that give one more class a value of its own."""


@dataclass(frozen=True)
class Field:
    """One value of a test."""

    target: str
    """RULE.OP, RULE.SIGNAL.OP or either with .CLASS: what stands before `=` in `--set`."""
    end: int
    """Which of the values of a target it is: 0, or 1 for the upper end of a range."""
    label: str
    value: str
    number: bool
    stops: tuple[float, ...] = ()
    """Values at which its slider stops, ascending; none where it has no slider."""
    choices: tuple[str, ...] = ()
    """All that its value can be, where that is little: both truths."""

    @property
    def name(self) -> str:
        """What the form calls it."""
        return f"{self.target}.{self.end}"

    @property
    def place(self) -> int:
        """The stop of its slider that is nearest to its value."""
        value = float(self.value)
        return min(range(len(self.stops)), key=lambda at: abs(self.stops[at] - value))


def fields(rule: PlannedRule, curves: Mapping[str, Curve]) -> Iterator[Field]:
    """Yield the fields of a rule, in the order of the file; a test that `--set` cannot name has none."""
    if rule.rule.first_of is not None:
        yield Field(f"{rule.name}.keep", 0, "kept of each group", str(rule.rule.keep or 1), number=True)
        return
    for target, leaf in _settable(rule):
        classes: dict[str | None, Any] = leaf.value if isinstance(leaf.value, dict) else {None: leaf.value}
        for name, value in classes.items():
            yield from _of_value(leaf, target, name, value, curves)


def by_class(rule: PlannedRule) -> dict[str, str]:
    """Return the tests of a rule whose value hangs on a class, as `--set` takes them, and the classes' signal.

    A class that such a test does not name yet can be given a value of its own.
    """
    return {target: leaf.by for target, leaf in _settable(rule) if leaf.by is not None}


def _settable(rule: PlannedRule) -> Iterator[tuple[str, Test]]:
    """Yield the tests of a rule that `--set` can name, as it takes them."""
    leaves = rule.rule.leaves if rule.rule.first_of is None else ()
    for leaf in leaves:
        if [other.signal for other in leaves].count(leaf.signal) == 1:
            yield ".".join([rule.name, *([str(leaf.signal)] if rule.rule.parts else []), leaf.op]), leaf


def _of_value(leaf: Test, target: str, name: str | None, value: Any, curves: Mapping[str, Curve]) -> Iterator[Field]:
    named = target if name is None else f"{target}.{name}"
    curve = curves.get(named) or curves.get(named.rpartition(".")[0]) or curves.get(f"{target}.{ELSE}")
    of_class = f"any other {leaf.by}" if name == ELSE else f"{leaf.by} {name}"
    asks = f"{leaf.signal} {leaf.op}" + (f", {of_class}" if name is not None else "")
    ranged = leaf.op == "between" and isinstance(value, list | tuple)
    for end, single in enumerate(value if ranged else [value]):
        label = f"{asks}{', upper end' if end else ', lower end' if ranged else ''}"
        number = isinstance(single, int | float) and not isinstance(single, bool)
        stops = _stops(leaf.op, end, curve) if number else ()
        shown = "" if single == UNSPECIFIED else text(single, ",")
        choices = ("true", "false") if isinstance(single, bool) else ()
        yield Field(named, end, label, shown, number, stops, choices)


def _stops(op: str, end: int, curve: Curve | None) -> tuple[float, ...]:
    """Return where a slider stops: where about equally many pairs lie between, and at equal distances."""
    if op == "top_fraction":
        return tuple(at / 100 for at in range(1, 101))
    if curve is None or curve.scale is None or OPERATORS[op].relative or len(curve.test.bounds) <= end:
        return ()
    return tuple(point.value for point in points(curve, curve.test.bounds[end], STOPS))


@dataclass(frozen=True)
class PanelForm:
    """A form as a browser sends it, against the draft that its page showed before somebody touched it."""

    before: Draft
    words: Words
    curves: Mapping[str, Curve]

    @cached_property
    def _values(self) -> dict[str, str]:
        return dict(self.words)

    def draft(self) -> Draft:
        """Return the draft that the form asks for."""
        rules = {value for name, value in self.words if name == RULE}
        words = [(RECIPE, self.before.ledger.name)]
        shown = {rule.name: list(fields(rule, self.curves)) for rule in self.before.plan.rules}
        for rule in self.before.ledger.plan.rules:
            if rule.in_force != (rule.name in rules):
                words.append((WITHOUT if rule.in_force else WITH, rule.name))
            if rule.name in rules:
                now = self._targets(self.value(field) for field in shown[rule.name])
                decided = self._targets((field, field.value) for field in fields(rule, self.curves))
                now = {target: value for target, value in now.items() if target in decided or not self._emptied(target)}
                words += [(SET, f"{target}={value}") for target, value in now.items() if value != decided.get(target)]
        return Draft.of(self.before.ledger, [*words, *self._more_classes(shown)])

    def _emptied(self, target: str) -> bool:
        """Tell whether somebody emptied the field of a target: a class that the ledger does not name is given up so."""
        return self._values.get(f"{FIELD}{target}.0", "x").strip() == ""

    def _more_classes(self, shown: Mapping[str, Sequence[Field]]) -> Iterator[tuple[str, str]]:
        """Yield what is set of classes that no field is of yet."""
        rules = {value for name, value in self.words if name == RULE}
        for rule in self.before.plan.rules:
            there = {field.target for field in shown[rule.name]}
            for target in by_class(rule) if rule.name in rules else ():
                name = self._values.get(f"{CLASS}{target}", "").strip()
                value = self._values.get(f"{CLASS_VALUE}{target}", "").strip()
                if name and value:
                    if f"{target}.{name}" in there:
                        raise RecipeError(f"{target} has a field for {name}: change its value there")
                    yield SET, f"{target}.{name}={value}"

    def value(self, field: Field) -> tuple[Field, str]:
        """Return the value of a field as it is now: by its slider, where that is what somebody moved."""
        if self.by_slider(field):
            return field, text(field.stops[int(self._values[f"{SLIDER}{field.name}"])], ",")
        return field, self._values.get(f"{FIELD}{field.name}", "").strip() or field.value

    def by_slider(self, field: Field) -> bool:
        """Tell whether a field's slider was moved, and not the field."""
        place = self._values.get(f"{SLIDER}{field.name}", "")
        typed = self._values.get(f"{FIELD}{field.name}", field.value).strip() != field.value
        stop = int(place) if place.isdecimal() and len(place) < 6 else len(field.stops)
        return stop < len(field.stops) and stop != field.place and not typed

    @staticmethod
    def _targets(values: Iterable[tuple[Field, str]]) -> dict[str, str]:
        """Return what each target is set to: of a range both ends."""
        targets: dict[str, list[str]] = {}
        for field, value in values:
            targets.setdefault(field.target, []).append(value)
        return {target: ",".join(ends) for target, ends in targets.items()}
