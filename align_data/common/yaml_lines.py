"""Reading a recipe's YAML so that every mistake has a line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import yaml
from pydantic import ValidationError

from align_data.common.errors import RecipeError, nearest

_LONGEST = 200_000
_DEEPEST = 20
"""A recipe is a mapping with a list of mappings with lists."""
Loc = tuple[int | str, ...]
Line = Callable[[Loc], int | None]


class _Loader(yaml.SafeLoader):
    """YAML in which a word stays a word: 3:5 is not 185, no is not false, 010 is not 8, and 2026-01-01 is not a date.

    PyYAML reads YAML 1.1. Of what it takes for something else than text, this leaves true, false, null and numbers.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}  # type: ignore[misc]  # none are inherited


_PLAIN = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(0|[1-9][0-9_]*)", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
    "merge": (r"<<", ["<"]),
}
for _tag, (_pattern, _initial) in _PLAIN.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _initial)


def load_yaml(text: str, file: str) -> tuple[Any, Line]:
    """Return the data of a YAML text, and a function from a place in the data to its line.

    Raises RecipeError for what is no YAML, and for a key given twice, of which YAML would silently take the last.
    """
    if len(text) > _LONGEST:
        raise RecipeError(f"{file}: {len(text):,} characters are too many for a recipe; {_LONGEST:,} are allowed")
    try:
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise RecipeError(f"{file}: *{event.anchor}: a recipe has no aliases")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:  # before anything is made of it: that takes time in the square of its depth
                raise RecipeError(f"{file}: not YAML of a recipe: it is nested too deeply")
        node = yaml.compose(text, _Loader)
        data = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}, line {mark.line + 1}" if mark else file
        raise RecipeError(f"{where}: not YAML: {getattr(error, 'problem', None) or error}") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:  # a date that is none, a tag that lies
        raise RecipeError(f"{file}: not YAML of a recipe: {error}") from None
    for key, line in _twice(node):
        raise RecipeError(f"{file}, line {line}: {key} is given twice")
    return data, lambda loc: _line(node, loc)


def _twice(node: yaml.Node | None) -> Iterator[tuple[str, int]]:
    """Yield the keys that a mapping has twice, with the second's line."""
    if isinstance(node, yaml.MappingNode):
        keys = set()
        for key, value in node.value:
            if key.value in keys:
                yield key.value, key.start_mark.line + 1
            keys.add(key.value)
            yield from _twice(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _twice(value)


def _line(node: yaml.Node | None, loc: Loc) -> int | None:
    """Return the line of the place `loc`, or of the nearest place around it that is there."""
    if node is None:
        return None
    line = int(node.start_mark.line) + 1
    if not loc:
        return line
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == loc[0]:
                return key.start_mark.line + 1 if len(loc) == 1 else _line(value, loc[1:])
    elif isinstance(node, yaml.SequenceNode) and isinstance(loc[0], int) and loc[0] < len(node.value):
        return _line(node.value[loc[0]], loc[1:])
    return line


def sentences(error: ValidationError, file: str, line: Line, data: Any, allowed: Mapping[str, list[str]]) -> list[str]:
    """Return one sentence for each mistake: file, line, what is wrong, what is allowed.

    `data` is what was read, and `allowed` has the keys of each kind of mapping in it: of a recipe, a rule, a test, a
    score, a term.
    """
    by_place: dict[Loc, str] = {}
    for mistake in error.errors():
        loc = _in_file(mistake["loc"], data, missing=mistake["type"] == "missing")
        at = line(loc)
        where = file if at is None else f"{file}, line {at}"
        # A value that fits no branch of a union is reported once a branch: the first says enough.
        by_place.setdefault(loc, f"{where}: {_sentence(mistake, loc, allowed)}")
    return list(by_place.values())


def _in_file(loc: Loc, data: Any, *, missing: bool) -> Loc:
    """Drop from a place what names only a branch of a model's union, such as 'float'."""
    place: list[int | str] = []
    for step in loc:
        within = isinstance(data, list) and isinstance(step, int) and step < len(data)
        if within or (isinstance(data, dict) and step in data):
            place.append(step)
            data = data[step]
    return (*place, loc[-1]) if missing else tuple(place)


def _kind(loc: Loc) -> str:
    """Return what stands at a place of a recipe, or around it."""
    names = [step for step in loc if isinstance(step, str)]
    if names[:1] == ["scores"]:
        return "term" if any(isinstance(step, int) for step in loc) else "score"
    if names[:1] != ["rules"] or len(loc) == 1:
        return "recipe"
    return "test" if sum(isinstance(step, int) for step in loc) > 1 else "rule"


def _sentence(mistake: Any, loc: Loc, allowed: Mapping[str, list[str]]) -> str:
    key = str(loc[-1]) if loc else ""
    keys = allowed.get(_kind(loc), [])
    entered = repr(mistake["input"])
    message = mistake["msg"][0].lower() + mistake["msg"][1:]
    if mistake["type"] == "value_error":
        return str(mistake["ctx"]["error"])
    if "between" in loc:
        return "between takes two numbers, the lower end first"
    number = f"{key} takes a number, not {entered}"
    return {
        "extra_forbidden": f"there is no key {key}{nearest(key, keys)}; allowed are: {', '.join(keys)}",
        "missing": f"the key {key} is missing",
        "tuple_type": f"{key} takes a list, as in [{mistake['input']}], not {entered}",
        "model_type": f"a {_kind(loc)} must be a mapping of keys to values, not {entered}",
        "int_type": number,
        "float_type": number,
    }.get(mistake["type"], f"{key}: {message}, not {entered}")
