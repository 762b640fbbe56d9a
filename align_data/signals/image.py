"""Signals of the fetched bytes: what was measured of each URL, put beside each pair with it."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from align_data.common.bits import WIDTH
from align_data.common.nearest_hash import FAR
from align_data.signals import size
from align_data.signals.base import Check, Measure, Piece, Signal, Type

_NOT_FETCHED = "their images are not fetched, or could not be"
_NOT_CHECKED = f"{_NOT_FETCHED}, or the check failed: the table content has the reason"


def _column(name: str) -> Measure:
    return lambda piece: piece.frame[name]


def checked(
    name: str,
    type_: Type,
    unit: str,
    about: str,
    source: str,
    check: str | Check = "header",
    *,
    identifies: bool = False,
    repeats: bool = True,
    version: int = 1,
) -> Signal:
    """Return a signal that is a column of the table `content`; one that `identifies` an image is erased with it.

    `check` measures it: a function of the decoded image, which is then a check of its own, or one of CHECKS.
    """
    return Signal(
        name=name,
        kind="image",
        group="image",
        type=type_,
        unit=unit,
        about=about,
        source=source,
        needs=(),
        nullable=True,
        repeats=repeats,
        content=(name,),
        check=check if isinstance(check, str) else name,
        function=None if isinstance(check, str) else check,
        version=version,
        measure=_column(name),
        null=_NOT_FETCHED if isinstance(check, str) else _NOT_CHECKED,
        erased_by_takedown=identifies,
    )


def _eval_distance(piece: Piece) -> pl.Series:
    return piece.once(piece.references.nearest)[0].alias("eval_distance")


def _eval_nearest(piece: Piece) -> pl.Series:
    return piece.once(piece.references.nearest)[1].alias("eval_nearest")


def _blocked(piece: Piece) -> pl.Series:
    return piece.references.blocked(piece.frame)


_PHASH = checked(
    "phash",
    "int64",
    "64 bits",
    "The image's perceptual hash by imagehash.phash, after EXIF orientation, as a signed integer.",
    "COYO-700M, image_phash",
    "pixels",
    identifies=True,
    repeats=False,
)

SIGNALS = (
    checked(
        "decodable",
        "bool",
        "true or false",
        "Whether the image could be had and all of it decoded: false after a final failure of either, null while it is "
        "untried or worth another try.",
        "COYO-700M; ours where fetching fails: what cannot be had cannot be trained on",
        "pixels",
    ),
    checked("width", "int32", "pixels", "The image's width, after EXIF orientation.", "ours"),
    checked("height", "int32", "pixels", "The image's height, after EXIF orientation.", "ours"),
    *size.SIGNALS,  # behind the sides that they are computed from
    checked("bytes", "int64", "bytes", "The image's size as fetched.", "COYO-700M, LAION-400M", repeats=False),
    checked(
        "format",
        "string",
        "format",
        "jpeg, png, gif, webp, tiff, bmp or avif, or what fetch --formats kept: what the bytes begin like, whatever "
        "the URL says.",
        "CC3M and CC12M, which keep JPEG",
    ),
    checked("sha256", "string", "hex", "SHA-256 of the bytes.", "DataComp, sha256", identifies=True, repeats=False),
    checked(
        "md5",
        "string",
        "hex",
        "MD5 of the bytes: removal lists are given by it.",
        "Re-LAION-5B",
        identifies=True,
        repeats=False,
    ),
    _PHASH,
    replace(
        checked(
            "nsfw",
            "float64",
            "0 to 1",
            "A detector's score that the image is not safe for work; the detector is given by --nsfw-model.",
            "ALIGN section 3 names neither detector nor threshold",
            "nsfw",
        ),
        lacks="need --nsfw-model: an ONNX classifier's file, or nudenet",
        null="their images are not fetched, cannot be decoded, or were passed over by --only-open",
    ),
    replace(
        _PHASH,
        name="eval_distance",
        type="int32",
        repeats=True,
        unit="bits of 64",
        about="Hamming distance of the image's pHash to the nearest of the evaluation images given by --eval-index; "
        "none where none is within --eval-within.",
        source="ours; ALIGN appendix A compares embeddings of a private network",
        content=("phash",),
        reference="evaluation",
        measure=_eval_distance,
        erased_by_takedown=False,
        lacks="need --eval-index, which align-data eval-index makes",
        none=FAR,
        within=WIDTH,
    ),
    replace(
        _PHASH,
        name="eval_nearest",
        type="string",
        repeats=True,
        unit="name",
        about="The evaluation image that is so near; of several the first by name. It has no value where none is "
        "within --eval-within, and a rule on it leaves such pairs pending: rules ask eval_distance.",
        source="ours",
        content=("phash",),
        reference="evaluation",
        measure=_eval_nearest,
        lacks="need --eval-index, which align-data eval-index makes",
        within=WIDTH,
        null=f"{_NOT_FETCHED}, or no evaluation image is so near",
    ),
    replace(
        _PHASH,
        name="blocked",
        type="bool",
        repeats=True,
        unit="true or false",
        about="Whether a list given by --blocklist names the image: by SHA-256, MD5, pHash within a distance, URL or "
        "host. Null where only its bytes could tell, and they are not there yet.",
        source="Re-LAION-5B, which removed links by lists of hashes",
        needs=("url",),
        content=("sha256", "md5", "phash", "decodable"),
        reference="blocklist",
        measure=_blocked,
        erased_by_takedown=False,
        without_images=True,
        lacks="need --blocklist",
    ),
)
