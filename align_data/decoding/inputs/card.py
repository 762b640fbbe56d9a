"""What the cards of models share: a YAML file that says how an image becomes a model's input."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    ValidationError,
    model_validator,
)

from align_data.common.errors import InputError, RecipeError, nearest
from align_data.common.user_files import read_user_file
from align_data.common.yaml_lines import Line, load_yaml
from align_data.decoding.inputs.normalisation import Normalisation
from align_data.decoding.inputs.preparation import Preparation

_MAX_CARD = 2**20
"""Bytes of a card, at most."""
_SHOWN = 200
"""Characters of a wrong value that an error shows."""

AnyCard = TypeVar("AnyCard", bound=BaseModel)
Pixels = Annotated[StrictInt, Field(ge=1, le=4096)]
Size = Annotated[tuple[Pixels, Pixels], BeforeValidator(lambda size: (size, size) if isinstance(size, int) else size)]
Number = Annotated[StrictInt | StrictFloat, Field(ge=-1e6, le=1e6)]
Three = tuple[Number, Number, Number]


class InputCard(BaseModel):
    """How an image becomes a model's input; each description completes the sentence 'KEY takes …'."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: Size = Field(description="the input's side in pixels, or [width, height]")
    layout: Literal["nchw", "nhwc"] = Field(description="nchw or nhwc")
    channels: Literal["rgb", "bgr"] = Field(description="rgb or bgr")
    scale: Number = Field(description="the number that pixel values, 0 to 255, are multiplied by, and not 0")
    mean: Three = Field(default=(0, 0, 0), description="three numbers in the order of channels, subtracted after scale")
    std: Three = Field(
        default=(1, 1, 1), description="three numbers in the order of channels, above 0, divided by last"
    )
    resize: Literal["squash", "crop", "shortest"] = Field(description="squash, crop or shortest")
    resize_to: Size | None = Field(default=None, description="a side or [width, height], whose centre is cut out")
    resample: Literal["bilinear", "bicubic", "nearest", "lanczos"] = Field(
        description="bilinear, bicubic, nearest or lanczos"
    )
    about: str = Field(default="", description="a text")
    source: str = Field(default="", description="a text")
    license: str = Field(default="", description="a text")

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.scale == 0:
            raise ValueError("scale is 0, which makes all images alike")
        if min(self.std) <= 0:
            raise ValueError("std takes numbers above 0")
        width, height = self.size if self.resize_to is None else self.resize_to
        if width < self.size[0] or height < self.size[1]:
            raise ValueError(f"resize_to {self.resize_to} is below size {self.size}: the crop does not fit")
        return self

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of the model's input for one image."""
        width, height = self.size
        return (1, 3, height, width) if self.layout == "nchw" else (1, height, width, 3)

    @property
    def preparation(self) -> Preparation:
        """How an image becomes pixels."""
        width, height = self.size
        return Preparation(width, height, self.resample, self.resize, self.resize_to)

    @property
    def normalisation(self) -> Normalisation:
        """How pixels become the model's input."""
        values = np.arange(256, dtype=np.float32)[:, np.newaxis]
        scale, mean, std = (np.array(numbers, dtype=np.float32) for numbers in (self.scale, self.mean, self.std))
        return Normalisation((values * scale - mean) / std, self.layout, self.channels)

    def identity(self) -> str:
        """Return what of the card decides values, as JSON."""
        return json.dumps(self.model_dump(mode="json", exclude={"about", "source", "license"}), sort_keys=True)


def read_card_of(kind: type[AnyCard], path: str) -> AnyCard:
    """Read a card of a kind from a file; InputError says what is wrong with it."""
    try:
        return parse_card_of(kind, read_user_file(path, "the card", _MAX_CARD).decode(), path)
    except UnicodeDecodeError:
        raise InputError(f"cannot read the card {path}: it is not UTF-8") from None


def parse_card_of(kind: type[AnyCard], text: str, file: str) -> AnyCard:
    """Make a card of a kind of YAML text; `file` is what an error calls it."""
    try:
        data, line = load_yaml(text, file)
        return kind.model_validate(data)
    except RecipeError as error:  # YAML is read by the recipes' reader, which knows lines and keys given twice
        raise InputError(str(error)) from None
    except ValidationError as error:
        raise InputError("\n".join(_sentences(error, kind, file, line))) from None


def _sentences(error: ValidationError, kind: type[BaseModel], file: str, line: Line) -> list[str]:
    """Return one sentence for each key that is wrong: file, line, what is allowed."""
    by_key: dict[str, str] = {}
    for mistake in error.errors():
        key, at = str((*mistake["loc"], "")[0]), line(mistake["loc"][:1])
        where = file if at is None else f"{file}, line {at}"
        # A value that fits no branch of a union is reported once a branch.
        by_key.setdefault(key, f"{where}: {_sentence(mistake, key, kind)}")
    return list(by_key.values())


def _sentence(mistake: Any, key: str, kind: type[BaseModel]) -> str:
    fields = kind.model_fields
    if mistake["type"] == "value_error":
        return str(mistake["ctx"]["error"])
    if mistake["type"] == "missing" and len(mistake["loc"]) == 1:
        return f"the key {key} is missing; it takes {fields[key].description}"
    if key not in fields:
        if key:
            return f"there is no key {key[:_SHOWN]}{nearest(key, fields)}; allowed are: {', '.join(fields)}"
        return f"a card must be a mapping of keys to values, not {_shown(mistake['input'])}"
    return f"{key} takes {fields[key].description}; here it has {_shown(mistake['input'])}"


def _shown(value: object) -> str:
    """Return what a key has, as far as it can be read at a glance."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "a number that is far too long"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
