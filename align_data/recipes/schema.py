"""The JSON Schema of the recipe format, for editors."""

from __future__ import annotations

from typing import Any

from align_data.recipes.model import Recipe
from align_data.recipes.operators import OPERATORS
from align_data.recipes.scores import SCORE_NAME
from align_data.signals import FAMILIES, SIGNALS
from align_data.signals.families import NAME
from align_data.signals.score import SIMILARITY


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the recipe format."""
    schema = _without_null(Recipe.model_json_schema())
    former = [signal.former for signal in SIGNALS.values() if signal.former is not None]
    names = [
        {"enum": list(SIGNALS)},
        *({"pattern": family.pattern} for family in FAMILIES.values()),
        {"enum": former, "deprecated": True},
        {"pattern": rf"^{SIMILARITY}\.{NAME}$", "deprecated": True},
    ]
    of_score = {"pattern": SCORE_NAME, "description": "A score of the recipe."}
    for model in ("Test", "Rule"):
        properties = schema["$defs"][model]["properties"]
        for key in {"signal", "by", "per"} & properties.keys():
            properties[key]["anyOf"] = [*names, *([of_score] if key == "signal" else [])]
        forms = [{"required": ["signal", op]} for op in OPERATORS]
        several = ["any", "all"] if model == "Test" else ["any", "all", "first_of"]
        forms += [{"required": [form, *(["name"] if model == "Rule" else [])]} for form in several]
        schema["$defs"][model]["oneOf"] = forms
    schema["properties"]["scores"]["propertyNames"] = {"pattern": SCORE_NAME}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _without_null(schema: Any) -> Any:
    """Return a schema without null, which is how the models mark what is absent; in a file it would be a mistake."""
    if isinstance(schema, list):
        return [_without_null(of) for of in schema]
    if not isinstance(schema, dict):
        return schema
    cleaned = {key: _without_null(of) for key, of in schema.items() if not (key == "default" and of is None)}
    if "anyOf" in cleaned:
        choices = [choice for choice in cleaned.pop("anyOf") if choice != {"type": "null"}]
        cleaned |= {"anyOf": choices} if len(choices) > 1 else choices[0]
    return cleaned
