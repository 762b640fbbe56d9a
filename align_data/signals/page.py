"""What the page says, and asks for, that an image was found on; and what a list says in its place."""

from __future__ import annotations

import re

import polars as pl

from align_data.common.opt_outs import DIRECTIVES, FOR_US
from align_data.signals.base import Piece, Signal
from align_data.signals.text import HOST


def _any_of(words: frozenset[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words))


_OPT_OUT = rf"(?i)(?:^|,)\s*(?:(?:{_any_of(FOR_US)})(?:/[^,:]*)?\s*:\s*)?(?:{_any_of(DIRECTIVES)})\s*(?:[,:]|$)"


def opts_out(robots: pl.Series) -> pl.Series:
    """Tell which pages ask not to be used, by their directives parted by commas; null where these are not known."""
    return robots.str.contains(_OPT_OUT)


def page_opt_out(piece: Piece) -> pl.Series:
    """Tell whether the page asks that its images not be used."""
    return opts_out(piece.frame["robots"])


_LANGUAGE = r"^\s*([A-Za-z]{2,8})(?:[-_]|\s*$)"
"""A language tag's first part, as group 1."""
_CC_TERMS = r"by(?:[-_ ](?:nc|nd|sa))*"
_CC_URL = (
    rf"creativecommons\.org/licenses/({_CC_TERMS}|sa|nc|nd|nc-sa|nd-nc|sampling\+?|nc-sampling\+?|devnations)(?:/|$)"
)
_CC_CODE = rf"^\s*cc[-_ ]({_CC_TERMS})(?:[-_ ]\d|\s*$)"
_CC0 = r"creativecommons\.org/publicdomain/zero(?:/|$)|^\s*cc[-_ ]?(?:0|zero)(?:[-_ ]\d|\s*$)"
_PUBLIC_DOMAIN = (
    r"creativecommons\.org/(?:publicdomain/mark|licenses/publicdomain)(?:/|$)|^\s*public domain(?: mark)?(?: \d|\s*$)"
)


def page_host(piece: Piece) -> pl.Series:
    """Take the host out of the page's URL, in lower case."""
    return piece.frame["page_url"].str.extract(HOST, 1).str.to_lowercase()


def page_language(piece: Piece) -> pl.Series:
    """Return the language that is declared, without region and script, in lower case."""
    return piece.frame["declared_language"].str.extract(_LANGUAGE, 1).str.to_lowercase()


def page_license(piece: Piece) -> pl.Series:
    """Name the licence that is declared, if it is one of Creative Commons."""
    stated = pl.col("license").str.to_lowercase()
    terms = pl.coalesce(stated.str.extract(_CC_URL, 1), stated.str.extract(_CC_CODE, 1))
    named = (
        pl.when(stated.str.strip_chars() == "")
        .then(None)
        .when(stated.str.contains(_CC0))
        .then(pl.lit("cc0"))
        .when(stated.str.contains(_PUBLIC_DOMAIN))
        .then(pl.lit("public-domain"))
        .when(terms.is_not_null())
        .then("cc-" + terms.str.replace_all("[_ ]", "-"))
        .when(stated.is_not_null())
        .then(pl.lit("other"))
    )
    return piece.frame.select(license=named)["license"]


def text_source(piece: Piece) -> pl.Series:
    """Return what the text was on its page."""
    return piece.frame["text_from"]


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
    Signal(
        name="page_host",
        kind="row",
        group="caption",
        type="string",
        unit="host name",
        about="The host in the URL of the page that the pair was found on, in lower case, without port and user. Null "
        "where the list does not say.",
        source="ours; RedCaps, WIT and others are of certain sites",
        needs=("page_url",),
        nullable=True,
        measure=page_host,
        on_request=True,
        null="the list does not say on which page they are",
        erased_by_takedown=True,
    ),
    Signal(
        name="page_language",
        kind="row",
        group="caption",
        type="string",
        unit="language tag",
        about="The language that the list or the page's lang declares, without region and script: `en` of `en-US`. "
        "Null where none is declared.",
        source="ours; MetaCLIP 2 and WIT are made by language",
        needs=("declared_language",),
        nullable=True,
        measure=page_language,
        on_request=True,
        null="no language is declared for them",
        erased_by_takedown=True,
    ),
    Signal(
        name="page_license",
        kind="row",
        group="caption",
        type="string",
        unit="licence",
        about="The licence that the list or a link of the page with rel=license declares: a Creative Commons licence "
        "without its version, such as `cc-by-sa`; `cc0`; `public-domain`; `other` for any other. Null where none is "
        "declared. A page's licence need not be its image's.",
        source="ours; YFCC100M and WIT take what Creative Commons licences allow",
        needs=("license",),
        nullable=True,
        measure=page_license,
        on_request=True,
        null="no licence is declared for them",
        erased_by_takedown=False,
    ),
    Signal(
        name="text_source",
        kind="row",
        group="caption",
        type="string",
        unit="alt, title or caption",
        about="What the text was on its page: the image's alt or title, or its figure's caption. Null where the list "
        "does not say.",
        source="ours; OBELICS and others take alt texts alone",
        needs=("text_from",),
        nullable=True,
        measure=text_source,
        on_request=True,
        lacks="need a list that says where its texts are from, such as the rows of align-data crawl",
        null="the list does not say where their texts are from",
        erased_by_takedown=False,
    ),
)
