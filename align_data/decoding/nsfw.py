"""The signal `nsfw`: how unsafe for work an image is, from 0 to 1, by a model of the user's choice.

Two backends: NudeNet (the package nudenet, with the model that it brings), and any image classifier in one .onnx file
(onnxruntime) with a card, a YAML file that says how an image becomes the model's input and which classes are unsafe.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
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

from align_data import resources
from align_data.errors import InputError, RecipeError, SignalError, nearest
from align_data.recipe_yaml import Line, load_yaml

if TYPE_CHECKING:
    from PIL.Image import Image

NUDENET = "nudenet"
EXTRAS = {"onnxruntime": "nsfw", "nudenet": "nudenet"}
"""The extra that brings each package."""
TOLERANCE = 1e-4
"""How far beyond 0 and 1 rounding may carry a probability."""
MAX_SIDE = 4096
"""NudeNet pads an image to a square of its longer side: one of 100,000 × 500 pixels would take 30 GB."""

_CARDS = "decoding/cards"

Floats = NDArray[np.float32]
Pixels = Annotated[StrictInt, Field(ge=1, le=4096)]
Size = Annotated[tuple[Pixels, Pixels], BeforeValidator(lambda size: (size, size) if isinstance(size, int) else size)]
Number = Annotated[StrictInt | StrictFloat, Field(ge=-1e6, le=1e6)]
Three = tuple[Number, Number, Number]
Quality = Annotated[StrictInt, Field(ge=1, le=100)]
Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class Scorer(Protocol):
    """What gives an image its score."""

    def score(self, image: Image) -> float:
        """Return how unsafe an RGB image is, its EXIF orientation applied: 0 to 1."""
        ...


class Card(BaseModel):
    """How a classifier in an .onnx file is used; each description completes the sentence 'KEY takes …'."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: Size = Field(description="the input's side in pixels, or [width, height]")
    layout: Literal["nchw", "nhwc"] = Field(description="nchw or nhwc")
    channels: Literal["rgb", "bgr"] = Field(description="rgb or bgr")
    scale: Number = Field(description="the number that pixel values, 0 to 255, are multiplied by, and not 0")
    mean: Three = Field(default=(0, 0, 0), description="three numbers in the order of channels, subtracted after scale")
    std: Three = Field(
        default=(1, 1, 1), description="three numbers in the order of channels, above 0, divided by last"
    )
    resize: Literal["squash", "crop"] = Field(description="squash or crop")
    resize_to: Size | None = Field(default=None, description="a side or [width, height], whose centre is cut out")
    resample: Literal["bilinear", "bicubic", "nearest"] = Field(description="bilinear, bicubic or nearest")
    jpeg: Quality | None = Field(default=None, description="1 to 100: the resized image becomes a JPEG of this quality")
    classes: Names = Field(description="the names of the classes in the order of the output")
    unsafe: Names = Field(description="the names of those classes whose probabilities are summed to the score")
    output: Literal["softmax", "probabilities"] = Field(description="probabilities, or softmax if it gives logits")
    about: str = Field(default="", description="a text")
    source: str = Field(default="", description="a text")
    license: str = Field(default="", description="a text")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.scale == 0:
            raise ValueError("scale is 0, which makes all images alike")
        if min(self.std) <= 0:
            raise ValueError("std takes numbers above 0")
        if self.resized[0] < self.size[0] or self.resized[1] < self.size[1]:
            raise ValueError(f"resize_to {self.resized} is below size {self.size}: there is no centre to cut out")
        for key, names in (("classes", self.classes), ("unsafe", self.unsafe)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{key} has {', '.join(twice)} twice")
        for name in self.unsafe:
            if name not in self.classes:
                there = ", ".join(self.classes)
                raise ValueError(f"unsafe names {name}{nearest(name, self.classes)}, but the classes are: {there}")
        if len(self.unsafe) == len(self.classes) and (len(self.classes) > 1 or self.output == "softmax"):
            raise ValueError("unsafe names every class: the score would always be 1")
        return self

    @property
    def resized(self) -> tuple[int, int]:
        """Width and height that an image is resized to before its centre is cut out."""
        return self.size if self.resize_to is None else self.resize_to

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of the model's input."""
        width, height = self.size
        return (1, 3, height, width) if self.layout == "nchw" else (1, height, width, 3)

    def identity(self) -> str:
        """Return what of the card decides values, as JSON."""
        return json.dumps(self.model_dump(mode="json", exclude={"about", "source", "license"}), sort_keys=True)

    def prepare(self, image: Image) -> Floats:
        """Make the model's input of an RGB image."""
        values: Floats = np.asarray(self._view(image), dtype=np.float32)
        if self.channels == "bgr":
            values = values[:, :, ::-1]
        scale, mean, std = (np.array(numbers, dtype=np.float32) for numbers in (self.scale, self.mean, self.std))
        values = (values * scale - mean) / std
        if self.layout == "nchw":
            values = values.transpose(2, 0, 1)
        return np.ascontiguousarray(values[np.newaxis])

    def _view(self, image: Image) -> Image:
        from PIL import Image as Pillow  # noqa: PLC0415 - the CLI needs Choice at every start

        # A crop is cut out before it is resized: the whole of a long image could be too large for any memory.
        box = _centre(image.size, self.resized) if self.resize == "crop" else None
        view = image.resize(self.resized, Pillow.Resampling[self.resample.upper()], box)
        if self.jpeg is not None:
            file = io.BytesIO()
            view.save(file, format="JPEG", quality=self.jpeg)
            view = Pillow.open(file)
        left, top = ((to - side) // 2 for to, side in zip(self.resized, self.size, strict=True))
        return view.crop((left, top, left + self.size[0], top + self.size[1]))

    def probabilities(self, output: NDArray[Any], model: str) -> list[float]:
        """Return each class's probability from a model's output; SignalError if they are none."""
        values = np.asarray(output, dtype=np.float64).ravel()
        if values.size != len(self.classes):
            found, named = f"{values.size} values for an image", f"{len(self.classes)} classes"
            raise SignalError(f"{model} gives {found}, but its card names {named}: {', '.join(self.classes)}")
        if self.output == "softmax":
            with np.errstate(invalid="ignore"):  # infinite logits become NaN, which is reported
                values = np.exp(values - values.max())
            values /= values.sum()
        hint = "" if self.output == "softmax" else "if it gives logits, its card must say output: softmax; else "
        for name, value in zip(self.classes, values.tolist(), strict=True):
            if not -TOLERANCE <= value <= 1 + TOLERANCE:  # NaN too
                wrong = f"{model} gives {name} {value:.6g}, which is no probability"
                raise SignalError(f"{wrong}: {hint}the card's scale, mean or std may be wrong")
        return [float(value) for value in values]


@dataclass(frozen=True)
class Choice:
    """The model that the user asked for, and its card."""

    model: str
    """'nudenet', or the path of an .onnx file."""
    card: str | None = None
    """A ready card's name or a YAML file's path; None for the one beside the model: model.yaml of model.onnx."""

    def check(self) -> None:
        """Raise InputError or SignalError if this model cannot score images here; a trial image tells."""
        from PIL import Image as Pillow  # noqa: PLC0415 - the CLI needs Choice at every start

        trial = Pillow.merge("RGB", [Pillow.linear_gradient("L").rotate(angle) for angle in (0, 90, 180)])
        scorer = self.open()
        scorer.score(trial)
        if isinstance(scorer, _Classifier):
            scorer.check_logits(trial)

    def identity(self) -> dict[str, str]:
        """Return what decides the values."""
        if self.model == NUDENET:
            _need(NUDENET)
            sha256 = hashlib.sha256(_nudenet_model()).hexdigest()
            return {"backend": NUDENET, "version": metadata.version(NUDENET), "model": sha256}
        sha256 = hashlib.sha256(_read(self.model, "nsfw model")).hexdigest()
        return {"backend": "onnx", "model": sha256, "card": self._card().identity()}

    def open(self) -> Scorer:
        """Load the model, to run on one thread: one process a core does the parallel work."""
        if self.model == NUDENET:
            if self.card is not None:
                raise InputError(f"the card {self.card}: nudenet takes no card; only an .onnx file does")
            return _NudeNet()
        if not self.model.endswith(".onnx"):
            raise InputError(
                f"the nsfw model {self.model}: it takes nudenet{nearest(self.model, [NUDENET])}, "
                "or the path of a file that ends in .onnx"
            )
        # Before the package: a wrong path should not be found only after an installation.
        model, card = _read(self.model, "nsfw model"), self._card()
        return _Classifier(self.model, _session(model, self.model), card)

    def _card(self) -> Card:
        there = ready_cards()
        if self.card is None:
            beside = Path(self.model).with_suffix(".yaml")
            if not beside.is_file():
                raise InputError(
                    f"the nsfw model {self.model} has no card: there is no {beside}; "
                    f"write one, or name a ready card: {', '.join(there)}"
                )
            return read_card(str(beside))
        if self.card in there:
            return parse_card(resources.text(_CARDS, f"{self.card}.yaml"), f"{self.card}.yaml")
        if self.card.endswith((".yaml", ".yml")) or "/" in self.card:
            return read_card(self.card)
        raise InputError(
            f"there is no card {self.card}{nearest(self.card, there)}; there are: {', '.join(there)}; "
            "a file of your own is given by a path that ends in .yaml"
        )


def ready_cards() -> list[str]:
    """Return the names of the cards that are part of align-data."""
    return resources.names(_CARDS, ".yaml")


def read_card(path: str) -> Card:
    """Read a card from a file; InputError says what is wrong with it."""
    try:
        return parse_card(_read(path, "card").decode(), path)
    except UnicodeDecodeError:
        raise InputError(f"cannot read the card {path}: it is not UTF-8") from None


def parse_card(text: str, file: str) -> Card:
    """Make a card of YAML text; `file` is what an error calls it."""
    try:
        data, line = load_yaml(text, file)
        return Card.model_validate(data)
    except RecipeError as error:  # YAML is read by the recipes' reader, which knows lines and keys given twice
        raise InputError(str(error)) from None
    except ValidationError as error:
        raise InputError("\n".join(_sentences(error, file, line))) from None


def _sentences(error: ValidationError, file: str, line: Line) -> list[str]:
    """Return one sentence for each key that is wrong: file, line, what is allowed."""
    found: dict[str, str] = {}
    for mistake in error.errors():
        key, at = str((*mistake["loc"], "")[0]), line(mistake["loc"][:1])
        where = file if at is None else f"{file}, line {at}"
        # A value that fits no branch of a union is reported once a branch.
        found.setdefault(key, f"{where}: {_sentence(mistake, key)}")
    return list(found.values())


def _sentence(mistake: Any, key: str) -> str:
    keys = list(Card.model_fields)
    if mistake["type"] == "value_error":
        return str(mistake["ctx"]["error"])
    if mistake["type"] == "missing" and len(mistake["loc"]) == 1:
        return f"the key {key} is missing; it takes {Card.model_fields[key].description}"
    if key not in keys:
        if key:
            return f"there is no key {key}{nearest(key, keys)}; allowed are: {', '.join(keys)}"
        return f"a card must be a mapping of keys to values, not {mistake['input']!r}"
    return f"{key} takes {Card.model_fields[key].description}; here it has {mistake['input']!r}"


class _Classifier:
    """A classifier in an .onnx file, used as its card says."""

    def __init__(self, model: str, session: Any, card: Card) -> None:
        self.session, self._model, self._card = session, model, card
        inputs, outputs = session.get_inputs(), session.get_outputs()
        for kind, found in (("input", inputs), ("output", outputs)):
            if len(found) != 1:
                names = ", ".join(each.name for each in found)
                raise SignalError(f"{model} has {len(found)} {kind}s ({names}); an image classifier has one")
            if found[0].type != "tensor(float)":
                raise SignalError(f"{model} has an {kind} of type {found[0].type}; it can only be tensor(float)")
        self._input = inputs[0].name
        self._check_shape([side if isinstance(side, int) else "any" for side in inputs[0].shape])

    def _check_shape(self, declared: list[int | str]) -> None:
        shape = self._card.shape
        if len(declared) != 4 or any(fixed not in ("any", side) for side, fixed in zip(shape, declared, strict=True)):
            takes, given = (", ".join(map(str, sides)) for sides in (declared, shape))
            raise SignalError(f"{self._model} takes [{takes}], but its card's size and layout give it [{given}]")

    def score(self, image: Image) -> float:
        """Return the sum of the unsafe classes' probabilities."""
        named = dict(zip(self._card.classes, self._card.probabilities(self._run(image), self._model), strict=True))
        score = sum(named[name] for name in self._card.unsafe)
        if not -TOLERANCE <= score <= 1 + TOLERANCE:
            raise SignalError(
                f"{self._model} gives the unsafe classes {score:.6g} together, more than 1: "
                "its classes do not exclude each other; name one of them in unsafe, or give output: softmax for logits"
            )
        return min(1.0, max(0.0, score))

    def check_logits(self, trial: Image) -> None:
        """Raise SignalError if the card asks for the softmax of what already are probabilities."""
        values = np.asarray(self._run(trial), dtype=np.float64)
        if self._card.output == "softmax" and values.min() >= 0 and math.isclose(values.sum(), 1, abs_tol=TOLERANCE):
            raise SignalError(f"{self._model} gives probabilities, not logits: its card must say output: probabilities")

    def _run(self, image: Image) -> NDArray[Any]:
        named = {self._input: self._card.prepare(image)}
        output: NDArray[Any] = _loud(lambda: self.session.run(None, named)[0], f"{self._model} cannot be run")
        return output


class _NudeNet:
    """NudeNet's detector: the highest score among what it finds of the nine classes called *_EXPOSED.

    These are BUTTOCKS, FEMALE_BREAST, FEMALE_GENITALIA, MALE_BREAST, ANUS, FEET, ARMPITS, BELLY and MALE_GENITALIA.
    NudeNet reports no detection below 0.25, so a score is 0 or at least that.
    """

    def __init__(self) -> None:
        _need(NUDENET)
        try:
            cv2, nudenet = importlib.import_module("cv2"), importlib.import_module(NUDENET)
        except ImportError as error:
            raise SignalError(f"nudenet is installed, but cannot be imported: {error}") from None
        cv2.setNumThreads(1)
        self.detector = nudenet.NudeDetector()
        # Its constructor takes no options, so its session has a thread for every core.
        self.detector.onnx_session = _session(_nudenet_model(), "NudeNet's model")

    def score(self, image: Image) -> float:
        """Return the highest score of an exposed part of a body, 0 if there is none."""
        if max(image.size) > MAX_SIDE:
            image = image.copy()
            image.thumbnail((MAX_SIDE, MAX_SIDE))
        bgr = np.ascontiguousarray(np.asarray(image)[:, :, ::-1])  # as cv2.imread would give it
        found = self.detector.detect(bgr)
        scores = [float(each["score"]) for each in found if each["class"].endswith("_EXPOSED")]
        return min(1.0, max(scores, default=0.0))


def _session(model: bytes, name: str) -> Any:
    """Open a model on one thread; from bytes, so that what is run is what was hashed and nothing beside it."""
    _need("onnxruntime")
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised; the rest is not for the user
    return _loud(
        lambda: onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]),
        f"{name} is not an ONNX model that can be opened (its weights must be in the file itself)",
    )


def _loud(action: Callable[[], Any], what: str) -> Any:
    """Return action(), with any error of onnxruntime's as one sentence."""
    try:
        return action()
    except Exception as error:  # onnxruntime's errors have no base of their own
        # '[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : what it says, often in several lines'
        raise InputError(f"{what}: {str(error).partition(chr(10))[0].split(' : ', 3)[-1]}") from error


def _need(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        extra = EXTRAS[package]
        raise SignalError(f"the signal nsfw needs {package}, the extra {extra}: pip install 'align-data[{extra}]'")


def _nudenet_model() -> bytes:
    return _read(str(metadata.distribution(NUDENET).locate_file("nudenet/320n.onnx")), "nsfw model")


def _read(path: str, what: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        raise InputError(f"cannot read the {what} {path}: {getattr(error, 'strerror', None) or error}") from error


def _centre(whole: tuple[int, int], shape: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the largest box about the centre of `whole` with the proportions of `shape`."""
    scale = min(side / to for side, to in zip(whole, shape, strict=True))
    left, top = (max(0.0, (side - to * scale) / 2) for side, to in zip(whole, shape, strict=True))
    return left, top, whole[0] - left, whole[1] - top
