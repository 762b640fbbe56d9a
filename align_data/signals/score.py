"""Scores: what a model says of the pair, or of its image. Their names are open: each is called by its user."""

from __future__ import annotations

from align_data.signals.base import Signal
from align_data.signals.families import Family

SIMILARITY = "similarity"
DECIMALS = 6
"""Of a stored score: so it is a whole number of millionths, and what is equal in them is equal."""
_UNSCORED = (
    "they have no image that could be had and decoded when it was scored, or no score in the list that it is from"
)
_LISTED = "align-data score FILE... DATASET --column COLUMN --as"
"""How a score is taken from what somebody has published, up to its name."""


def _similarity(name: str) -> Signal:
    return _score(
        SIMILARITY,
        name,
        group="score",
        unit="cosine",
        about="Cosine of the image's and the text's embedding by the model that align-data score was given with "
        f"--as {name}, or by a list's column, rounded to {DECIMALS} decimals; by a hyperbolic model, minus their "
        "Lorentzian distance.",
        source="LAION-400M, which dropped pairs below 0.3 by CLIP ViT-B/32; DataComp",
        needs=("alt_text",),
        lacks=f"need a model: align-data score MODEL DATASET --as {name}, or a list that has them: {_LISTED} {name}",
        former=f"{SIMILARITY}.{name}",
    )


def _itm(name: str) -> Signal:
    return _score(
        "itm",
        name,
        group="itm",
        unit="0 to 1",
        about="Probability that the image and the text belong together by the pair scorer that align-data score was "
        f"given with --as {name}, or by a list's column, rounded to {DECIMALS} decimals.",
        source="BLIP's CapFilt (Li et al. 2022), ViLT (Kim et al. 2021)",
        needs=("alt_text",),
        lacks=f"need a pair scorer: align-data score MODEL DATASET --as {name}, or a list that has them: "
        f"{_LISTED} {name} --family itm",
    )


def _head(name: str) -> Signal:
    return _score(
        "head",
        name,
        group="head",
        unit="the head's",
        about="What a head says of the image's embedding, such as an aesthetics, NSFW or watermark score, or a "
        "classifier of texts of the text, such as Detoxify's: the head or the classifier that align-data score was "
        f"given with --as {name}, or by a list's column, rounded to {DECIMALS} decimals.",
        source="LAION-Aesthetics; LAION-5B's NSFW and watermark detectors; CommonPool's Detoxify",
        needs=("alt_text",),
        lacks=f"need a head or a classifier of texts: align-data score EMBEDDED DATASET --head FILE --as {name}, or "
        f"align-data score FOLDER DATASET --as {name}, or a list that has them: {_LISTED} {name} --family head",
    )


def _score(
    prefix: str,
    name: str,
    *,
    group: str,
    unit: str,
    about: str,
    source: str,
    needs: tuple[str, ...],
    lacks: str,
    former: str | None = None,
) -> Signal:
    return Signal(
        name=f"{prefix}_{name}",
        kind="score",
        group=f"{group}.{name}",
        type="float64",
        unit=unit,
        about=about,
        source=source,
        needs=needs,
        nullable=True,
        repeats=False,
        lacks=lacks,
        null=_UNSCORED,
        former=former,
    )


FAMILIES = (Family(SIMILARITY, "score", _similarity), Family("itm", "itm", _itm), Family("head", "head", _head))
