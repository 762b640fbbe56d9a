"""The card of a model: a YAML file that says how an image becomes its input, and what its output means."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    ValidationError,
    model_validator,
)

from align_data.common import resources
from align_data.common.errors import InputError, RecipeError, SignalError, nearest
from align_data.common.user_files import read_user_file
from align_data.common.yaml_lines import Line, load_yaml
from align_data.decoding.inputs.corners import corner_to_corner
from align_data.decoding.inputs.normalisation import Normalisation
from align_data.decoding.inputs.preparation import Preparation

if TYPE_CHECKING:
    from PIL.Image import Image

TOLERANCE = 1e-4
"""How far beyond 0 and 1 rounding may carry a probability."""

CARDS = "decoding/detectors/cards"

MAX_MODEL = 2**31
"""Bytes of an .onnx file, at most: a larger one cannot have its weights in it."""
MAX_CARD = 2**20
_SHOWN = 200
"""Characters of a wrong value that an error shows."""

Floats = NDArray[np.float32]
Pixels = Annotated[StrictInt, Field(ge=1, le=4096)]
Size = Annotated[tuple[Pixels, Pixels], BeforeValidator(lambda size: (size, size) if isinstance(size, int) else size)]
Number = Annotated[StrictInt | StrictFloat, Field(ge=-1e6, le=1e6)]
Three = tuple[Number, Number, Number]
Quality = Annotated[StrictInt, Field(ge=1, le=100)]
Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


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


class Card(InputCard):
    """How a classifier in an .onnx file is used."""

    resize: Literal["squash", "crop"] = Field(description="squash or crop")
    resample: Literal["bilinear", "bicubic", "nearest"] = Field(description="bilinear, bicubic or nearest")
    align_corners: StrictBool = Field(
        default=False,
        description="true or false: resized bilinearly from corner to corner, without smoothing, as TensorFlow.js does",
    )
    jpeg: Quality | None = Field(default=None, description="1 to 100: the resized image becomes a JPEG of this quality")
    classes: Names = Field(description="the names of the classes in the order of the output")
    unsafe: Names = Field(description="the names of those classes whose probabilities are summed to the score")
    output: Literal["softmax", "probabilities"] = Field(description="probabilities, or softmax if it gives logits")

    @model_validator(mode="after")
    def _classes_fit(self) -> Self:
        plain = (self.resize, self.resize_to, self.resample, self.jpeg) == ("squash", None, "bilinear", None)
        if self.align_corners and not plain:
            raise ValueError("align_corners goes with resize squash and resample bilinear, without resize_to and jpeg")
        for key, names in (("classes", self.classes), ("unsafe", self.unsafe)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{key} has {', '.join(twice)} twice")
        for name in self.unsafe:
            if name not in self.classes:
                classes = ", ".join(self.classes)
                raise ValueError(f"unsafe names {name}{nearest(name, self.classes)}, but the classes are: {classes}")
        if len(self.unsafe) == len(self.classes) and (len(self.classes) > 1 or self.output == "softmax"):
            raise ValueError("unsafe names every class: the score would always be 1")
        return self

    def identity(self) -> str:
        """Return what of the card decides values, as JSON; as earlier versions did, where it says no more than then."""
        identity = super().identity()
        return identity if self.align_corners else identity.replace('"align_corners": false, ', "", 1)

    def prepare(self, image: Image) -> Floats:
        """Make the model's input of an RGB image."""
        if not self.align_corners:
            return self.normalisation([np.asarray(self._view(image))])
        values = corner_to_corner(np.asarray(image), *self.size)
        ordered = values[:, :, ::-1] if self.channels == "bgr" else values
        scale, mean, std = (np.array(numbers, dtype=np.float32) for numbers in (self.scale, self.mean, self.std))
        normal = (ordered * scale - mean) / std
        return np.ascontiguousarray((normal.transpose(2, 0, 1) if self.layout == "nchw" else normal)[np.newaxis])

    def _view(self, image: Image) -> Image:
        from PIL import Image as Pillow  # noqa: PLC0415 - the CLI needs Choice at every start

        view = self.preparation.resized(image)
        if self.jpeg is not None:
            file = io.BytesIO()
            view.save(file, format="JPEG", quality=self.jpeg)
            view = Pillow.open(file)
        return self.preparation.centre(view)

    def probabilities(self, output: NDArray[Any], model: str) -> list[float]:
        """Return each class's probability from a model's output; SignalError if the values are not probabilities."""
        values = np.asarray(output, dtype=np.float64).ravel()
        if values.size != len(self.classes):
            produced, named = f"{values.size} values for an image", f"{len(self.classes)} classes"
            raise SignalError(f"{model} gives {produced}, but its card names {named}: {', '.join(self.classes)}")
        if self.output == "softmax":
            with np.errstate(invalid="ignore"):  # infinite logits become NaN, which is reported
                values = np.exp(values - values.max())
            values /= values.sum()
        hint = "" if self.output == "softmax" else "if it gives logits, its card must say output: softmax; else "
        for name, value in zip(self.classes, values.tolist(), strict=True):
            if not -TOLERANCE <= value <= 1 + TOLERANCE:  # NaN too
                fault = f"{model} gives {name} {value:.6g}, which is not a probability"
                raise SignalError(f"{fault}: {hint}the card's scale, mean or std may be wrong")
        return [float(value) for value in values]


def ready_cards() -> list[str]:
    """Return the names of the cards that are part of align-data."""
    return resources.names(CARDS, ".yaml")


def read_card(path: str) -> Card:
    """Read a classifier's card from a file; InputError says what is wrong with it."""
    return read_card_of(Card, path)


def parse_card(text: str, file: str) -> Card:
    """Make a classifier's card of YAML text; `file` is what an error calls it."""
    return parse_card_of(Card, text, file)


AnyCard = TypeVar("AnyCard", bound=BaseModel)


def read_card_of(kind: type[AnyCard], path: str) -> AnyCard:
    """Read a card of a kind from a file; InputError says what is wrong with it."""
    try:
        return parse_card_of(kind, read_user_file(path, "the card", MAX_CARD).decode(), path)
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


def read_file(path: str, kind: str) -> bytes:
    """Return a file that the user has named; InputError where it cannot be read, or is too large for a model."""
    return read_user_file(path, f"the {kind}", MAX_MODEL)
