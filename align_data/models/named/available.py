"""The models that `align-data model add` knows: which package brings each, and which files it becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from align_data.common import placed_models as place
from align_data.common import resources
from align_data.common.errors import InputError, nearest
from align_data.common.placed_models import PlacedModel
from align_data.common.registry import registry
from align_data.models.named import detectors, english, nsfwjs
from align_data.models.named.packages import Package, origin_of, package_files

_CARDS = "models/named/cards"
Files = Mapping[str, bytes]


@dataclass(frozen=True)
class AvailableModel:
    """A model that can be added by name."""

    name: str
    about: str
    package: Package
    make: Callable[[Files], Files]
    """The files of the package to those of the model."""
    use: str
    """The command that takes it."""

    def add(self, source: str | None) -> bool:
        """Put the model in its place; return whether it is new. `source` as `package_files` has it."""
        present = place.lookup(self.name) if source is None else None
        if present is not None and present.origin.items() >= self.origin.items() and place.is_whole(present):
            return False
        return place.put(self.name, self.make(package_files(self.package, source)), self.origin)

    @property
    def origin(self) -> Mapping[str, Any]:
        """What the note beside its files says."""
        return {"about": self.about, **origin_of(self.package)}


def card(name: str) -> bytes:
    """Return a card that is part of align-data."""
    return resources.text(_CARDS, name).encode()


AVAILABLE = registry(
    "models",
    (
        (model.name, model)
        for model in (
            AvailableModel(
                "nsfw",
                "GantMan's NSFW classifier, MobileNet v2: drawings, hentai, neutral, porn, sexy",
                nsfwjs.PACKAGE,
                lambda files: {"model.onnx": nsfwjs.classifier(files), "model.yaml": card("nsfw.yaml")},
                "align-data measure DATASET --nsfw-model nsfw",
            ),
            AvailableModel(
                "mobilenet",
                "the same network as an encoder of images: 1,280 features, for near-duplicates",
                nsfwjs.PACKAGE,
                lambda files: {"image.onnx": nsfwjs.encoder(files), "card.yaml": card("mobilenet.yaml")},
                "align-data embed mobilenet DATASET --as mobilenet",
            ),
            AvailableModel(
                "text",
                "PP-OCRv4's networks that find text and read it, in Latin letters and Chinese",
                detectors.TEXT,
                detectors.text_files,
                "align-data measure DATASET --detect text",
            ),
            AvailableModel(
                "faces",
                "CenterFace, which finds faces",
                detectors.FACES,
                detectors.face_files,
                "align-data measure DATASET --detect faces",
            ),
            AvailableModel(
                "pos",
                "an averaged perceptron that tags parts of speech, English, trained on the Penn Treebank",
                english.TAGGER,
                english.tagger_files,
                "align-data measure DATASET --signals n_nouns,n_determiners,n_prepositions,noun_ratio",
            ),
            AvailableModel(
                "wordnet",
                "WordNet 3.0: which synsets an English word has",
                english.WORDNET,
                english.wordnet_files,
                "align-data model add in21k",
            ),
            AvailableModel(
                "in21k",
                "the 21,843 synsets of ImageNet-21k",
                english.IN21K,
                english.synset_files,
                "align-data measure DATASET --signals has_hypernym_in21k",
            ),
        )
    ),
)
"""Name → model."""


def available(name: str) -> AvailableModel:
    """Return the model that can be added by this name; InputError lists all."""
    if name not in AVAILABLE:
        raise InputError(
            f"there is no model {name}{nearest(name, AVAILABLE)} to add; there are: {', '.join(AVAILABLE)}"
        )
    return AVAILABLE[name]


def added(name: str) -> PlacedModel:
    """Return a model that is in its place; InputError says how to get it."""
    model = place.lookup(name)
    if model is not None:
        return model
    if name in AVAILABLE:
        raise InputError(f"the model {name} is not in {place.place()}: align-data model add {name} puts it there")
    names = dict.fromkeys([*AVAILABLE, *(placed.name for placed in place.placed())])
    raise InputError(f"there is no model {name}{nearest(name, names)}; there are: {', '.join(names)}")
