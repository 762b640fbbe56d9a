"""Overrides: what `--set` changes of a recipe's rules."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from align_data.common.errors import RecipeError, nearest
from align_data.common.yaml_lines import sentences
from align_data.recipes.conditions import Test, scores_in_scope
from align_data.recipes.model import CHOSEN, Recipe, Rule
from align_data.recipes.operators import OPERATORS
from align_data.recipes.reading import scalar
from align_data.recipes.values import UNSPECIFIED
from align_data.signals import current_name

T = TypeVar("T", bound=Test)
_FORMS = "RULE.OP=VALUE, such as n_words.between=2,30"


def overridden_rule(assignment: str, names: Collection[str]) -> str:
    """Return the rule that an assignment changes as it spells it: the longest of `names` that it begins with.

    Where it begins with none, all up to the last dot.
    """
    target = assignment.partition("=")[0]
    name = target.rpartition(".")[0]
    while name:
        if name in names or current_name(name) in names:
            return name
        name = name.rpartition(".")[0]
    return target.rpartition(".")[0]


def override(recipe: Recipe, assignment: str) -> Recipe:
    """Apply one assignment; what the rule's source states it no longer is.

    RULE.OP=VALUE replaces the test of a rule of one signal whole, RULE.OP.CLASS=VALUE its value for a class,
    RULE.SIGNAL.OP=VALUE that of a signal in a rule of several tests, and RULE.keep=N how many of a group pass.
    """
    target, equals, text = assignment.partition("=")
    spelled = overridden_rule(assignment, [rule.name for rule in recipe.rules])
    if not (equals and spelled and text and target[len(spelled) + 1 :]):
        raise RecipeError(f"--set {assignment}: it takes {_FORMS}")
    rule = recipe.rules[recipe.position(spelled)]
    place = target[len(spelled) + 1 :].split(".")
    with scores_in_scope(recipe.definitions):
        changed = _changed(rule, place, text, f"--set {assignment}")
    return recipe.with_rule(rule.name, changed)


def unset(rule: Rule) -> list[str]:
    """Return what `--set` takes to set each value of a rule that is unspecified, with the value left out."""
    settings = []
    for leaf in (leaf for leaf in rule.leaves if leaf.signal is not None):
        place = [rule.name, *([str(leaf.signal)] if rule.parts else []), leaf.op]
        classes = leaf.value if isinstance(leaf.value, dict) else {None: leaf.value}
        names = [name for name, value in classes.items() if value == UNSPECIFIED]
        value = "LOW,HIGH" if leaf.op == "between" else "VALUE"
        settings += [f"{'.'.join([*place, *([name] if name is not None else [])])}={value}" for name in names]
    return settings


def _changed(rule: Rule, place: Sequence[str], text: str, where: str) -> Rule:
    """Return a rule with another value at a place: OP, OP.CLASS, or these behind a signal; or keep."""
    if rule.first_of is not None:
        if list(place) != ["keep"]:
            raise RecipeError(f"{where}: of {rule.name} only keep can be set, as in {rule.name}.keep=2")
        return _read(Rule, {**_dump(rule), "keep": scalar(text, where), "source": CHOSEN}, where)
    if not rule.parts:
        return _with_value(rule, place, text, where)
    leaves = [leaf for leaf in rule.leaves if leaf.signal == current_name(place[0])]
    if len(leaves) != 1:
        signals = list(dict.fromkeys(str(leaf.signal) for leaf in rule.leaves))
        problem = "has several tests of" if leaves else "has no test of"
        raise RecipeError(
            f"{where}: {rule.name} {problem} {place[0]}{nearest(place[0], signals)}; it takes "
            f"RULE.SIGNAL.OP=VALUE with one of: {', '.join(signals)}"
        )
    if len(place) < 2:
        raise RecipeError(f"{where}: it takes RULE.SIGNAL.OP=VALUE, such as {rule.name}.{leaves[0].signal}.ge=3")
    leaf = _with_value(leaves[0], place[1:], text, where)
    data: dict[str, Any] = _replaced(_dump(rule), _dump(leaves[0]), _dump(leaf))
    return _read(Rule, {**data, "source": CHOSEN}, where)


def _with_value(test: T, place: Sequence[str], text: str, where: str) -> T:
    """Return a test of one signal with another operator or value; `place` is OP or OP.CLASS."""
    op, name = place[0], ".".join(place[1:]) if len(place) > 1 else None
    if op not in OPERATORS:
        raise RecipeError(f"{where}: no operator {op}{nearest(op, OPERATORS)}; allowed: {', '.join(OPERATORS)}")
    multiple = OPERATORS[op].multiple
    scalars = [scalar(part, where) for part in (text.split(",") if multiple else [text])]
    value: Any = scalars if multiple else scalars[0]
    if name is None:
        return _read(type(test), test.identity(op) | {op: value} | _source(test), where)
    if test.by is None or test.op != op:
        has = f"it asks for {test.phrase()}" if test.by is None else f"its values by {test.by} are of {test.op}"
        raise RecipeError(f"{where}: {test.signal} has no {op} for the class {name}: {has}")
    return _read(type(test), {**_dump(test), op: {**test.value, name: value}, **_source(test)}, where)


def _read(model: type[T], data: dict[str, Any], where: str) -> T:
    """Return a test; RecipeError for one that cannot be."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise RecipeError("\n".join(sentences(error, where, lambda _: None, data, {}))) from None


def _source(test: Test) -> dict[str, str]:
    return {"source": CHOSEN} if isinstance(test, Rule) else {}


def _dump(test: Test) -> dict[str, Any]:
    return test.model_dump(by_alias=True, exclude_none=True)


def _replaced(data: Any, old: Any, new: Any) -> Any:
    """Return nested data with one test in it replaced."""
    if data == old:
        return new
    if isinstance(data, dict):
        return {key: _replaced(of, old, new) if key in ("any", "all") else of for key, of in data.items()}
    return tuple(_replaced(of, old, new) for of in data) if isinstance(data, tuple) else data


def override_all(recipe: Recipe, overrides: Sequence[str], off: Sequence[str]) -> Recipe:
    """Apply all overrides; RecipeError for one that contradicts another, or that is of a rule in `off`."""
    off = [recipe.rule_name(name) for name in off]
    names = [rule.name for rule in recipe.rules]
    places: dict[tuple[str, str], list[str]] = {}
    for assignment in overrides:
        spelled = overridden_rule(assignment, names)
        name = recipe.rule_name(spelled)
        place = assignment.partition("=")[0][len(spelled) + 1 :]
        of_several = place.partition(".")[0] if recipe.rules[recipe.position(name)].parts else ""
        test, place = (name, of_several), place.removeprefix(f"{of_several}.")
        before = places.setdefault(test, [])
        whole = "." not in place or any("." not in earlier for earlier in before)
        if before and (whole or place in before):
            raise RecipeError(f"--set gives {name} two tests; a rule has one: between takes two numbers")
        if name in off:
            raise RecipeError(f"{name} is both set and taken out")
        before.append(place)
        recipe = override(recipe, assignment)
    return recipe
