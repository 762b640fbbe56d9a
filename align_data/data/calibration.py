"""What `calibrate` has learnt of the embeddings embedded/NAME: how near copies are, and how near random pairs.

It lies in _calibration/NAME.json, and has nothing in it of any image: a takedown leaves it as it is.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from align_data.common.errors import DatasetError
from align_data.data.layout import Dataset
from align_data.signals.families import check_name
from align_data.storage.manifests import HASH, NUMBER, checked, unchecked

FOLDER = "_calibration"
Cosine = Annotated[float, Field(ge=-1, le=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, le=1e6)]
_STRICT = ConfigDict(strict=True, frozen=True, extra="forbid")


class CurvePoint(BaseModel):
    """What a threshold finds: pairs at least as near."""

    model_config = _STRICT

    threshold: Cosine
    copies: dict[str, Share]
    """Share of each kind of copy that is found."""
    false_pairs: NUMBER
    """Random pairs."""
    per_million: Rate
    low: Rate
    """Of a confidence interval of 95 % of `per_million`, as `high`."""
    high: Rate


class Quantiles(BaseModel):
    """How near the copies of a kind are to their originals."""

    model_config = _STRICT

    least: Cosine
    at_1: Cosine
    """The cosine that 1 % of them are below."""
    at_10: Cosine
    median: Cosine
    copies: NUMBER


class Calibration(BaseModel):
    """How near copies and random pairs are by an encoder."""

    model_config = _STRICT

    name: str
    model: HASH
    """The encoder's digest."""
    seed: NUMBER
    images: NUMBER
    """That copies were made of."""
    compared: NUMBER
    """Images whose pairs are the random ones."""
    pairs: NUMBER
    """Random pairs, without those that are left out."""
    left_out: NUMBER
    """Pairs that are near by pHash already, or near to what is near, and so are likely to be copies."""
    lone: bool
    """Whether all images that have such a copy are left out, with all of their pairs."""
    phash_within: NUMBER | None
    """Bits; None where no pHash is measured, so that none could be left out."""
    pool: NUMBER
    """Images of embedded/NAME."""
    allowed: Rate
    """False pairs per million that a threshold may find."""
    threshold: Cosine | None
    """The lowest at which the interval's upper end, and that of each above it, is at most `allowed`; None for none."""
    kinds: dict[str, Quantiles]
    random_median: Cosine
    random_999: Cosine
    """The cosine that 99.9 % of the random pairs are below."""
    curve: list[CurvePoint]
    """By rising threshold."""

    def at(self, threshold: float) -> CurvePoint | None:
        """Return the point of the curve at a threshold, or the next below it; None where the curve begins above."""
        return next((point for point in reversed(self.curve) if point.threshold <= threshold), None)

    @property
    def promise(self) -> str:
        """What a threshold may find at most, in words."""
        return f"{self.allowed:g} false {'pair' if self.allowed == 1 else 'pairs'} per million"

    @property
    def at_threshold(self) -> CurvePoint | None:
        """The point of the curve that is proposed; None where none is."""
        return next((point for point in self.curve if point.threshold == self.threshold), None)


def store_calibration(dataset: Dataset, calibration: Calibration) -> None:
    """Keep a calibration beside the embeddings, in place of the one before."""
    dataset.store.write_bytes(_file(calibration.name), checked(calibration.model_dump(mode="json")))


def read_calibration(dataset: Dataset, name: str, model: str) -> Calibration | None:
    """Return the calibration of embedded/NAME for the model that it is of; None where there is none.

    DatasetError for a file that is damaged.
    """
    file = _file(name)
    content = dataset.store.read_bytes(file)
    if content is None:
        return None
    where, advice = dataset.store.path(file), f"run align-data calibrate {name} again"
    try:
        calibration = Calibration.model_validate(unchecked(content, where, advice, old=False))
    except ValidationError as error:
        mistake = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, mistake["loc"]))[:100]
        raise DatasetError(f"{where} cannot be understood: {place}: {mistake['msg']}; {advice}") from None
    return calibration if (calibration.name, calibration.model) == (name, model) else None


def _file(name: str) -> str:
    return f"{FOLDER}/{check_name(name)}.json"
