"""The signal `nsfw`: how unsafe for work an image is, from 0 to 1, by a model of the user's choice.

Two backends: NudeNet (the package nudenet, with the model that it brings), and any image classifier in one .onnx file
(onnxruntime) with a card, a YAML file that says how an image becomes the model's input and which classes are unsafe.
A model may be a stranger's, so it is only opened in a child process (`decoding.worker`).
"""

from __future__ import annotations

import hashlib
import importlib
import math
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from align_data.common import resources
from align_data.common.errors import InputError, SignalError, nearest
from align_data.common.workers import ChildDiedError
from align_data.common.workers.trial import try_model
from align_data.common.workers.values import plain
from align_data.decoding.detectors.card import CARDS, TOLERANCE, Card, parse_card, read_card, ready_cards
from align_data.decoding.detectors.session import loud, need, read_file, session

if TYPE_CHECKING:
    from PIL.Image import Image

NUDENET = "nudenet"
MAX_SIDE = 4096
"""NudeNet pads an image to a square of its longer side: one of 100,000 × 500 pixels would take 30 GB."""

TRIAL = "align_data.decoding.worker:trial"
TRIAL_SECONDS = 60.0
"""What a model may take to be opened, and again to score the first image."""


class Scorer(Protocol):
    """What gives an image its score."""

    def score(self, image: Image) -> float:
        """Return how unsafe an RGB image is, its EXIF orientation applied: 0 to 1."""
        ...


@dataclass(frozen=True)
class NsfwModel:
    """The model that the user chose, and its card."""

    model: str
    """'nudenet', or the path of an .onnx file."""
    card: str | None = None
    """A ready card's name or a YAML file's path; None for the one beside the model: model.yaml of model.onnx."""

    def check(self, seconds: float = TRIAL_SECONDS) -> None:
        """Raise InputError or SignalError if this model cannot score images here; a trial image tells.

        It is opened in a child process, and has so many seconds for that and again for the image.
        """
        model = self.loaded()
        _need(NUDENET if model.content is None else "onnxruntime")
        try:
            try_model(TRIAL, {"model": plain(model)}, seconds)
        except ChildDiedError as died:
            raise SignalError(f"the nsfw model {self.model} {_ended(died, seconds)}") from None

    def identity(self) -> dict[str, str]:
        """Return what decides the values."""
        if self.model == NUDENET:
            _need(NUDENET)
            sha256 = hashlib.sha256(_nudenet_model()).hexdigest()
            return {"backend": NUDENET, "version": metadata.version(NUDENET), "model": sha256}
        sha256 = hashlib.sha256(read_file(self.model, "nsfw model")).hexdigest()
        return {"backend": "onnx", "model": sha256, "card": self._card().identity()}

    def open(self) -> Scorer:
        """Load the model and open it in this process."""
        return self.loaded().open()

    def loaded(self) -> Model:
        """Read the model's file and its card; InputError says what is wrong with either."""
        if self.model == NUDENET:
            if self.card is not None:
                raise InputError(f"the card {self.card}: nudenet takes no card; only an .onnx file does")
            return Model(NUDENET)
        if not self.model.endswith(".onnx"):
            raise InputError(
                f"the nsfw model {self.model}: it takes nudenet{nearest(self.model, [NUDENET])}, "
                "or the path of a file that ends in .onnx, or the name of a model that align-data model add has put in "
                "place"
            )
        content = read_file(self.model, "nsfw model")
        return Model(self.model, content, self._card().model_dump_json())

    def _card(self) -> Card:
        ready = ready_cards()
        if self.card is None:
            beside = Path(self.model).with_suffix(".yaml")
            if not beside.is_file():
                raise InputError(
                    f"the nsfw model {self.model} has no card: there is no {beside}; "
                    f"write one, or name a ready card: {', '.join(ready)}"
                )
            return read_card(str(beside))
        if self.card in ready:
            return parse_card(resources.text(CARDS, f"{self.card}.yaml"), f"{self.card}.yaml")
        if self.card.endswith((".yaml", ".yml")) or "/" in self.card:
            return read_card(self.card)
        raise InputError(
            f"there is no card {self.card}{nearest(self.card, ready)}; there are: {', '.join(ready)}; "
            "for a file of your own, give a path that ends in .yaml"
        )


@dataclass(frozen=True)
class Model:
    """A model as it travels to the process that opens it."""

    name: str
    """'nudenet', or what an error calls the file."""
    content: bytes | None = None
    card: str | None = None
    """In JSON; None for nudenet, as is the content."""

    def open(self) -> Scorer:
        """Open the model, to run on one thread: one process a core does the parallel work."""
        if self.content is None or self.card is None:
            return _NudeNet()
        _need("onnxruntime")
        return _Classifier(self.name, session(self.content, self.name), Card.model_validate_json(self.card))


def tried(scorer: Scorer) -> None:
    """Score a trial image; SignalError where the model does not do what its card says."""
    from PIL import Image as Pillow  # noqa: PLC0415 - the CLI needs Choice at every start

    trial = Pillow.merge("RGB", [Pillow.linear_gradient("L").rotate(angle) for angle in (0, 90, 180)])
    scorer.score(trial)
    if isinstance(scorer, _Classifier):
        scorer.check_logits(trial)


def _ended(died: ChildDiedError, seconds: float) -> str:
    if died.slow:
        return f"was not opened, or did not score an image, within {seconds:g} s"
    return f"ended the process that tried it with {died.how}: it is damaged, or needs more memory than is available"


class _Classifier:
    """A classifier in an .onnx file, used as its card says."""

    def __init__(self, model: str, session: Any, card: Card) -> None:
        self.session, self._model, self._card = session, model, card
        inputs, outputs = session.get_inputs(), session.get_outputs()
        for kind, tensors in (("input", inputs), ("output", outputs)):
            if len(tensors) != 1:
                names = ", ".join(tensor.name for tensor in tensors)
                raise SignalError(f"{model} has {len(tensors)} {kind}s ({names}); an image classifier has one")
            if tensors[0].type != "tensor(float)":
                raise SignalError(f"{model} has an {kind} of type {tensors[0].type}; it can only be tensor(float)")
        self._input = inputs[0].name
        self._check_shape([side if isinstance(side, int) else "any" for side in inputs[0].shape])

    def _check_shape(self, declared: list[int | str]) -> None:
        shape = self._card.shape
        if len(declared) != 4 or any(fixed not in ("any", side) for side, fixed in zip(shape, declared, strict=True)):
            takes, gives = (", ".join(map(str, sides)) for sides in (declared, shape))
            raise SignalError(f"{self._model} takes [{takes}], but its card's size and layout give it [{gives}]")

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
        output: NDArray[Any] = loud(lambda: self.session.run(None, named)[0], f"{self._model} cannot be run")
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
        self.detector.onnx_session = session(_nudenet_model(), "NudeNet's model")

    def score(self, image: Image) -> float:
        """Return the highest score of an exposed body part, or 0."""
        if max(image.size) > MAX_SIDE:
            image = image.copy()
            image.thumbnail((MAX_SIDE, MAX_SIDE))
        bgr = np.ascontiguousarray(np.asarray(image)[:, :, ::-1])  # as cv2.imread would give it
        detections = self.detector.detect(bgr)
        scores = [float(detection["score"]) for detection in detections if detection["class"].endswith("_EXPOSED")]
        return min(1.0, max(scores, default=0.0))


def _need(package: str) -> None:
    need(package, "the signal nsfw needs")


def _nudenet_model() -> bytes:
    return read_file(str(metadata.distribution(NUDENET).locate_file("nudenet/320n.onnx")), "nsfw model")
