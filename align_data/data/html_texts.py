"""Texts that are still HTML: character references and tags, which ingest counts, and takes out where it is told to.

A reference is what the signal `entities` counts. Tags are those of HTML's elements: what else stands in angle brackets,
such as <PERSON>, somebody may have meant.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass
from html.entities import html5

import polars as pl

from align_data.signals.base import Piece
from align_data.signals.defects import ENTITY, entities

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


_COMMENT = "<!--(?s:.*?)-->"
_UNSEEN = "|".join(rf"<(?i-u:{name})(?:\s[^<>]*)?>(?s:.*?)</(?i-u:{name})\s*>" for name in ("script", "style"))
"""Elements of whose content nothing is shown."""
_LINE_TAG, _OTHER_TAG = _tags(_INLINE), _tags(_OTHERS)
_MARKUP = f"{_COMMENT}|{_LINE_TAG}|{_OTHER_TAG}"
_REFERENCE = re.compile(ENTITY)


@dataclass(frozen=True)
class Rewriting:
    """What is done to texts on their way in, beside making them canonical; references come before tags."""

    decode_entities: bool = False
    strip_markup: bool = False

    def named(self) -> list[str]:
        """Return what is done."""
        return [name for name, is_done in asdict(self).items() if is_done]


def rewritten(texts: pl.Series, rewriting: Rewriting, counts: Counter[str]) -> pl.Series:
    """Return the texts rewritten; add to `counts` how many have `entities` and `markup`, rewritten or not."""
    suspects = texts.str.contains_any(["&", "<"]).arg_true()
    if not len(suspects):
        return texts
    suspected = texts.gather(suspects)
    referring = (entities(Piece(pl.DataFrame({"alt_text": suspected}))) > 0).arg_true()
    counts["entities"] += len(referring)
    if rewriting.decode_entities and len(referring):
        decoded = [_decoded(text) for text in suspected.gather(referring)]
        suspected = suspected.scatter(referring, pl.Series(decoded, dtype=pl.String))
    tagged = suspected.str.contains(_MARKUP).arg_true()
    counts["markup"] += len(tagged)
    if rewriting.strip_markup and len(tagged):
        suspected = suspected.scatter(tagged, _stripped(suspected.gather(tagged)))
    return texts.clone().scatter(suspects, suspected) if rewriting.named() else texts


def _decoded(text: str) -> str:
    """Return a text with its references replaced, once: of &amp;lt; &lt; is left."""
    from turbohtml import unescape  # noqa: PLC0415 - few inputs need it

    def character(reference: re.Match[str]) -> str:
        name = reference[0][1:]
        return unescape(reference[0]) if name.startswith("#") or name in html5 else reference[0]

    return _REFERENCE.sub(character, text)


def _stripped(texts: pl.Series) -> pl.Series:
    """Return texts without tags, comments, scripts and styles."""
    for expression, replacement in ((_COMMENT, " "), (_UNSEEN, " "), (_LINE_TAG, ""), (_OTHER_TAG, " ")):
        texts = texts.str.replace_all(expression, replacement)
    return texts
