"""What the page asks for that an image was found on."""

from __future__ import annotations

import re

import polars as pl

from align_data.common.opt_outs import DIRECTIVES, FOR_US
from align_data.signals.base import Piece, Signal


def _any_of(words: frozenset[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words))


_OPT_OUT = rf"(?i)(?:^|,)\s*(?:(?:{_any_of(FOR_US)})(?:/[^,:]*)?\s*:\s*)?(?:{_any_of(DIRECTIVES)})\s*(?:[,:]|$)"


def opts_out(robots: pl.Series) -> pl.Series:
    """Tell which pages ask not to be used, by their directives parted by commas; null where these are not known."""
    return robots.str.contains(_OPT_OUT)


def page_opt_out(piece: Piece) -> pl.Series:
    """Tell whether the page asks that its images not be used."""
    return opts_out(piece.frame["robots"])


SIGNALS = (
    Signal(
        name="page_opt_out",
        kind="row",
        group="text",
        type="bool",
        unit="true or false",
        about="Whether the page opts out: its meta robots or X-Robots-Tag says noai, noimageai, noindex, noimageindex "
        "or none. For the same words in an image's own X-Robots-Tag fetch does not store it; noindex is among them, "
        "though a page may mean search engines alone. Null where the list does not say.",
        source="ours; noai and noimageai are DeviantArt's, the others Google's",
        needs=("robots",),
        nullable=True,
        measure=page_opt_out,
        lacks="need a list that says what its pages ask of robots, such as the rows of align-data crawl",
        null="the list does not say what their pages ask of robots",
    ),
)
