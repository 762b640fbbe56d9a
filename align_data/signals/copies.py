"""Signals of an image's copies in the pool: of its bytes, and of its pHash."""

from __future__ import annotations

from dataclasses import replace

from align_data.common.nearest_hash import FAR
from align_data.signals.base import Signal, Type
from align_data.signals.image import SIGNALS as OF_IMAGES

WITHIN = 6
"""The distance that is looked up to where nobody says another."""
FARTHEST = 16
"""The farthest that can be looked: beyond, nearly all pairs would have to be compared."""
_ORDER = (
    "the larger image (width times height), then the one with the smaller SHA-256 (its first 64 bits), then the one "
    "whose URL has the smaller key"
)
_PHASH = next(signal for signal in OF_IMAGES if signal.name == "phash")


def _copies(
    name: str,
    about: str,
    source: str,
    *,
    type_: Type = "int64",
    unit: str = "images",
    none: int | None = None,
    within: int | None = None,
) -> Signal:
    return replace(
        _PHASH,
        name=name,
        group="copies",
        type=type_,
        repeats=True,
        unit=unit,
        about=about,
        source=source,
        content=("phash", "sha256"),
        measure=lambda piece: piece.frame[name],
        erased_by_takedown=False,
        null="their images are not fetched, or cannot be decoded",
        none=none,
        within=within,
    )


SIGNALS = (
    _copies(
        "urls_per_sha256",
        "How many images of the pool, a URL each, have exactly these bytes, this one among them.",
        "DataComp, which joins by SHA-256; LAION-5B counts equal bytes",
    ),
    _copies(
        "images_per_phash",
        "How many images of the pool, a URL each, have this pHash, this one among them.",
        "COYO-700M, which keeps one image of each pHash and text",
    ),
    _copies(
        "near_phash",
        f"How many other images of the pool have a pHash that differs in at most --phash-within bits ({WITHIN} unless "
        "said otherwise).",
        "COYO-700M, image_phash; SemDeDup (Abbas et al. 2023) counts by embedding",
        within=WITHIN,
    ),
    _copies(
        "earlier_phash_distance",
        "In how many bits the pHash of the nearest earlier image of the pool differs; none where none is within "
        f"--phash-within. Earlier is {_ORDER}. So gt T keeps of near-duplicates the first.",
        "COYO-700M, which keeps the first of a pHash; ours beyond distance 0",
        type_="int32",
        unit="bits of 64",
        none=FAR,
        within=WITHIN,
    ),
)
