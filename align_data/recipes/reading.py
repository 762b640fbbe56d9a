"""Reading recipes: by name from filters/, or from a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from align_data.common import resources
from align_data.common.errors import InputError, RecipeError, nearest
from align_data.common.user_files import read_user_file
from align_data.common.yaml_lines import load_yaml, sentences
from align_data.recipes.conditions import Test
from align_data.recipes.model import Recipe, Rule
from align_data.recipes.operators import OPERATORS
from align_data.recipes.scores import Score, Term

LARGEST = 2**20
"""Bytes of a recipe's file, at most: a recipe has far fewer."""


def load(name: str, spelled: Callable[[Sequence[str]], None] = lambda _: None) -> Recipe:
    """Load a recipe by the name it has in filters/, or from a file.

    `spelled` is called with the names of its signals as they are written, which may be earlier versions'.

    Raises RecipeError with file, line, what is wrong and what is allowed.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        try:
            text = read_user_file(name, "the recipe", LARGEST).decode()
        except InputError as error:
            raise RecipeError(str(error)) from error
        except UnicodeDecodeError as error:
            raise RecipeError(f"cannot read the recipe {name}: it is not UTF-8") from error
        return parse(text, name, spelled)
    names = builtin()
    if name not in names:
        raise RecipeError(
            f"there is no recipe {name}{nearest(name, names)}; there are: {', '.join(names)}; "
            "for a file of your own, give a path that ends in .yaml"
        )
    return parse(resources.text("filters", f"{name}.yaml"), f"{name}.yaml")


def builtin() -> list[str]:
    """Return the names of the recipes in filters/."""
    return resources.names("filters", ".yaml")


def parse(text: str, file: str, spelled: Callable[[Sequence[str]], None] = lambda _: None) -> Recipe:
    """Make a recipe of YAML text; `file` is what an error calls it, and `spelled` as `load` has it."""
    data, line = load_yaml(text, file)
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError("\n".join(sentences(error, file, line, data, _KEYS))) from None
    spelled(list(_signals(data["rules"])))
    return recipe


def _signals(tests: Sequence[Any]) -> Iterator[str]:
    """Yield the names of the signals in rules as they are written."""
    for test in tests:
        yield from (test[key] for key in ("signal", "by", "per") if key in test)
        yield from _signals([*test.get("any", ()), *test.get("all", ())])


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


_KEYS = {
    "recipe": _keys(Recipe),
    "rule": list(dict.fromkeys(["signal", "name", *OPERATORS, *_keys(Rule)])),
    "test": _keys(Test),
    "score": _keys(Score),
    "term": _keys(Term),
}
"""The keys of each mapping in a recipe."""


def scalar(text: str, where: str) -> Any:
    """Read one value the way the YAML of a recipe would; `where` is what an error calls it."""
    value, _ = load_yaml(text.strip(), where)
    return value
