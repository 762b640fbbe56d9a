"""Reading recipes: by name from filters/, from a file, with overrides; and the JSON Schema of the format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from align_data.common import resources
from align_data.common.errors import RecipeError, nearest
from align_data.common.yaml_lines import load_yaml, sentences
from align_data.recipes.model import Recipe, Rule
from align_data.recipes.operators import OPERATORS
from align_data.signals import FAMILIES, SIGNALS
from align_data.signals.families import NAME
from align_data.signals.score import SIMILARITY


def load(name: str, spelled: Callable[[Sequence[str]], None] = lambda _: None) -> Recipe:
    """Load a recipe by the name it has in filters/, or from a file.

    `spelled` is called with the names of its signals as they are written, which may be earlier versions'.

    Raises RecipeError with file, line, what is wrong and what is allowed.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name)
        try:
            return parse(path.read_text(encoding="utf-8"), name, spelled)
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise RecipeError(f"cannot read the recipe {name}: {why}") from error
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
        allowed = {"Recipe": _keys(Recipe), "Rule": _keys(Rule)}
        raise RecipeError("\n".join(sentences(error, file, line, allowed))) from None
    spelled([written["signal"] for written in data["rules"]])
    return recipe


def overridden_rule(assignment: str) -> str:
    """Return the name of the rule whose test a RULE.OP=VALUE replaces."""
    return assignment.partition("=")[0].rpartition(".")[0]


def override(recipe: Recipe, assignment: str) -> Recipe:
    """Apply one RULE.OP=VALUE, which replaces that rule's test whole."""
    target, equals, text = assignment.partition("=")
    name, dot, op = target.rpartition(".")
    if not (equals and dot and name and text):
        raise RecipeError(f"--set {assignment}: it takes RULE.OP=VALUE, such as n_words.between=2,30")
    recipe.position(name)
    if op not in OPERATORS:
        raise RecipeError(
            f"--set {assignment}: no operator {op}{nearest(op, OPERATORS)}; allowed: {', '.join(OPERATORS)}"
        )
    multiple = OPERATORS[op].multiple
    scalars = [scalar(part, f"--set {text}") for part in (text.split(",") if multiple else [text])]
    try:
        return recipe.with_test(name, op, scalars if multiple else scalars[0])
    except ValidationError as error:
        raise RecipeError("\n".join(sentences(error, f"--set {assignment}", lambda _: None, {}))) from None


def override_all(recipe: Recipe, overrides: Sequence[str], off: Sequence[str]) -> Recipe:
    """Apply all overrides; RecipeError for one that contradicts another, or that is of a rule in `off`."""
    off = [recipe.rule_name(name) for name in off]
    changed: set[str] = set()
    for assignment in overrides:
        recipe = override(recipe, assignment)
        name = recipe.rule_name(overridden_rule(assignment))
        if name in changed:
            raise RecipeError(f"--set gives {name} two tests; a rule has one: between takes two numbers")
        if name in off:
            raise RecipeError(f"{name} is both set and taken out")
        changed.add(name)
    return recipe


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the recipe format, for editors."""
    schema = Recipe.model_json_schema()
    rule = schema["$defs"]["Rule"]
    former = [signal.former for signal in SIGNALS.values() if signal.former is not None]
    rule["properties"]["signal"]["anyOf"] = [
        {"enum": list(SIGNALS)},
        *({"pattern": family.pattern} for family in FAMILIES.values()),
        {"enum": former, "deprecated": True},
        {"pattern": rf"^{SIMILARITY}\.{NAME}$", "deprecated": True},
    ]
    rule["oneOf"] = [{"required": [op]} for op in OPERATORS]
    for op in OPERATORS:  # null is how the model marks a test that is absent; in a file it would be a mistake
        choices = [c for c in rule["properties"][op].pop("anyOf") if c != {"type": "null"}]
        rule["properties"][op].update({"anyOf": choices} if len(choices) > 1 else choices[0])
        rule["properties"][op].pop("default")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def scalar(text: str, where: str) -> Any:
    """Read one value the way the YAML of a recipe would; `where` is what an error calls it."""
    value, _ = load_yaml(text.strip(), where)
    return value
