"""The values that tests take: numbers, texts, truths, a value for each class, and `unspecified`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AllowInfNan,
    BeforeValidator,
    Discriminator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
)

from align_data.common.errors import encodable
from align_data.recipes.operators import text

ELSE = "else"
"""The class of all pairs whose class is not named."""
UNSPECIFIED = "unspecified"
"""The value of a test whose threshold the source does not give: who uses the recipe has to set it."""

Number = StrictInt | Annotated[StrictFloat, AllowInfNan(False)]
Value = StrictBool | Number | StrictStr
Pair = tuple[Number, Number]
Values = Annotated[tuple[Value, ...], Field(min_length=1)]
Size = Annotated[StrictInt, Field(ge=1)]
Fraction = Annotated[StrictFloat, AllowInfNan(False), Field(gt=0, le=1)]


def _classes(value: Any) -> Any:
    """Spell classes as text, as JSON has them: a class may be a truth or a whole number."""
    if isinstance(value, Mapping):
        return {text(name) if isinstance(name, bool | int) else name: of for name, of in value.items()}
    return value


def _branch(value: Any) -> str:
    return "classes" if isinstance(value, Mapping) else "unspecified" if value == UNSPECIFIED else "value"


def threshold(type_: Any) -> Any:
    """Return the type of a test's value: one of `type_`, one for each class, or `unspecified`."""
    unspecified = Literal["unspecified"]
    one = Annotated[
        Annotated[type_, Tag("value")] | Annotated[unspecified, Tag("unspecified")],
        Discriminator(
            _branch,
            custom_error_type="nested_classes",
            custom_error_message="a class has a value, and no classes of its own",
        ),
    ]
    return (
        Annotated[
            Annotated[type_, Tag("value")]
            | Annotated[unspecified, Tag("unspecified")]
            | Annotated[dict[StrictStr, one], Tag("classes")],
            Discriminator(_branch),
            BeforeValidator(_classes),
        ]
        | None
    )


def each(value: Any) -> Sequence[Any]:
    """Return the single values in the value of a test: of all classes, and of both ends of a range."""
    if isinstance(value, Mapping):
        return [single for of in value.values() for single in each(of)]
    return value if isinstance(value, tuple) else (value,)


def unspecified(value: Any) -> bool:
    """Tell whether a test's value, or that of a class, is still to be set."""
    return value == UNSPECIFIED or (isinstance(value, Mapping) and UNSPECIFIED in value.values())


def check_storable(value: Any) -> None:
    """Raise ValueError for a value that no column could hold."""
    for single in (*each(value), *(value if isinstance(value, Mapping) else ())):
        if isinstance(single, int) and not -(2**63) <= single < 2**63:
            raise ValueError(f"{single:.3g} is beyond what 64 bits hold" if abs(single) < 1e300 else "too large")
        if isinstance(single, str) and not encodable(single):
            raise ValueError("a text has half of a surrogate pair, which is not a character")
