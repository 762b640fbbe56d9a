"""The card of a classifier in an .onnx file: its input, its classes, and which of them are unsafe."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StrictBool, StrictInt, model_validator

from align_data.common import resources
from align_data.common.errors import SignalError, nearest
from align_data.decoding.inputs.card import InputCard, parse_card_of, read_card_of
from align_data.decoding.inputs.corners import corner_to_corner

if TYPE_CHECKING:
    from PIL.Image import Image

TOLERANCE = 1e-4
"""How far beyond 0 and 1 rounding may carry a probability."""

CARDS = "decoding/detectors/cards"

Floats = NDArray[np.float32]
Quality = Annotated[StrictInt, Field(ge=1, le=100)]
Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


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
