"""The text's language by CLD3 (extra `cld3`), as COYO-700M had it; it calls far fewer short texts English than lid.176.

The PyPI package cld3-py, like gcld3 before it, has the module gcld3. The model is part of its compiled code.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from importlib import metadata

import polars as pl

from align_data.signals.base import Piece, Signal
from align_data.signals.language import UNDETERMINED

_MOST_BYTES = 1000
"""What CLD3 looks at of a longer text, taken from all over it."""


def missing() -> str | None:
    """Say why CLD3 cannot be asked here, or None if it can."""
    if importlib.util.find_spec("gcld3"):
        return None
    return "need the extra cld3: pip install 'align-data[cld3]'"


@cache
def _version() -> str | None:
    for package in ("cld3-py", "gcld3"):
        try:
            return f"{package} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            continue
    return None


def language_cld3(piece: Piece) -> pl.Series:
    """Return the likeliest language of each text, each distinct text being asked about once."""
    # An identifier keeps what it works on, and threads measure side by side.
    identifier = importlib.import_module("gcld3").NNetLanguageIdentifier(min_num_bytes=0, max_num_bytes=_MOST_BYTES)
    texts = piece.frame["alt_text"]
    distinct = texts.unique()
    languages = [identifier.FindLanguage(text).language if text else UNDETERMINED for text in distinct]
    return texts.replace_strict(distinct, pl.Series(languages, dtype=pl.String), return_dtype=pl.String)


SIGNALS = (
    Signal(
        name="language_cld3",
        kind="row",
        group="text",
        type="string",
        unit="BCP 47 code",
        about="The likeliest language of the normalised text by CLD3, of at most 1,000 bytes and whether reliable or "
        "not; `und` for the empty text. What has no letters is one of its languages too.",
        source="COYO-700M, README, Text Level: only English texts, by cld3",
        needs=("alt_text",),
        measure=language_cld3,
        erased_by_takedown=False,
        params={"cld3": _version},
        on_request=True,
        missing=missing,
    ),
)
