"""What a tag of HTML looks like in a text: of the elements that there are, for what else stands in angle brackets, such
as <PERSON>, somebody may have meant.

Each expression is gone through a text with by itself: where one can begin that never ends, others would be looked for
from there to the end of the text again and again.
"""

from __future__ import annotations

import polars as pl

_INLINE = """
    a abbr acronym b bdi bdo big blink cite code data del dfn em font i ins kbd label mark nobr q rb rp rt rtc ruby s
    samp slot small span strike strong sub sup time tt u var wbr
"""
"""Elements that stand in a line of text: in the place of a tag of theirs is nothing, of any other a blank."""
_OTHERS = """
    address applet area article aside audio base basefont bgsound blockquote body br button canvas caption center col
    colgroup datalist dd details dialog dir div dl dt embed fieldset figcaption figure footer form frame frameset h1 h2
    h3 h4 h5 h6 head header hgroup hr html iframe img input isindex keygen legend li link listing main map marquee math
    menu menuitem meta meter nav noframes noscript o:p object ol optgroup option output p param picture plaintext portal
    pre progress script search section select source style summary svg table tbody td template textarea tfoot th thead
    title tr track ul video xmp
"""


def _tags(elements: str) -> str:
    """Return what tags of elements look like, also with a stray quotation mark or cut off by the end of the text."""
    tag = rf"</?(?i-u:{'|'.join(elements.split())})"
    return rf"""{tag}(?:[\s/](?:[^<>"']|"[^"]*"|'[^']*')*)?>|{tag}[\s/][^<>]*>|{tag}\s[^<>]*=[^<>]*$"""


COMMENT = "<!--(?s:.*?)-->"
LINE_TAG, OTHER_TAG = _tags(_INLINE), _tags(_OTHERS)
UNSEEN = tuple(rf"<(?i-u:{name})(?:\s[^<>]*)?>(?s:.*?)</(?i-u:{name})\s*>" for name in ("script", "style"))
"""Elements of whose content nothing is shown."""


def markup_of(texts: pl.Series) -> pl.Series:
    """Return how many comments and tags each text has."""
    return texts.str.count_matches(COMMENT) + texts.str.count_matches(f"{LINE_TAG}|{OTHER_TAG}")


def without_markup(texts: pl.Series) -> pl.Series:
    """Return texts without comments, tags, scripts and styles."""
    for expression in (COMMENT, *UNSEEN):
        texts = texts.str.replace_all(expression, " ")
    return texts.str.replace_all(LINE_TAG, "").str.replace_all(OTHER_TAG, " ")
