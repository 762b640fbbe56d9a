"""Texts that are still HTML: ingest counts those with `entities` and `markup`, and takes these out where told to."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass
from html.entities import html5

import polars as pl

from align_data.signals.base import Piece
from align_data.signals.defects import ENTITY, entities
from align_data.signals.markup import markup_of, without_markup

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
    tagged = (markup_of(suspected) > 0).arg_true()
    counts["markup"] += len(tagged)
    if rewriting.strip_markup and len(tagged):
        suspected = suspected.scatter(tagged, without_markup(suspected.gather(tagged)))
    return texts.clone().scatter(suspects, suspected) if rewriting.named() else texts


def _decoded(text: str) -> str:
    """Return a text with its references replaced, once: of &amp;lt; &lt; is left."""
    from turbohtml import unescape  # noqa: PLC0415 - few inputs need it

    def character(reference: re.Match[str]) -> str:
        name = reference[0][1:]
        return unescape(reference[0]) if name.startswith("#") or name in html5 else reference[0]

    return _REFERENCE.sub(character, text)
