"""Signals of the lists that the user gives with `measure --list NAME=FILE`: their names end in the list's."""

from __future__ import annotations

from functools import partial

import polars as pl

from align_data.signals.base import PREFIXES, Piece, PoolCount, Signal, Type
from align_data.signals.families import Family
from align_data.signals.user_lists import MATCHES, NO_ENTRY, NO_WORD, UNRANKED, balance

BALANCE = "balance"
"""What the names of signals begin with, and their groups, that need the entries counted over the pool."""


def matches_for(prefix: str) -> list[str]:
    """Return the ways to match a list that measure the signals whose names begin so."""
    return [name for name, match in MATCHES.items() if prefix in match.prefixes]


def _listed(
    name: str,
    *,
    prefix: str,
    type_: Type,
    unit: str,
    about: str,
    source: str,
    needs: tuple[str, ...],
    none: int | None = None,
) -> Signal:
    group = f"{PREFIXES[prefix]}.{name}"
    counted = prefix == BALANCE

    def measure(piece: Piece) -> pl.Series:
        return piece.lists[name].columns[prefix](piece)

    return Signal(
        name=f"{prefix}_{name}",
        kind="list",
        group=group,
        type=type_,
        unit=unit,
        about=about.format(name=name),
        source=source,
        needs=needs,
        repeats=not counted,
        lacks=f"need a list: align-data measure DATASET --list {name}=FILE --match {'|'.join(matches_for(prefix))}",
        measure=None if counted else measure,
        counted=PoolCount(group, balance) if counted else None,
        none=none,
    )


def _family(prefix: str, **definition: object) -> Family:
    return Family(prefix, PREFIXES[prefix], partial(_listed, prefix=prefix, **definition))  # type: ignore[arg-type]


_TEXT, _ANY = ("alt_text",), ("uid", "url", "alt_text")

FAMILIES = (
    _family(
        "list",
        type_="int32",
        unit="occurrences",
        about="How many occurrences of entries of the list {name} the text has, also of entries within others, by the "
        "--match that the list was given with. Of a list of hosts, URLs or uids 1 where the pair's is listed, else 0.",
        source="LAION-400M, COYO-700M, RedCaps and OBELICS drop texts with listed words; YFCC15M is a list of ids",
        needs=_ANY,
    ),
    _family(
        "entries",
        type_="int32",
        unit="entries",
        about="How many entries of the list {name} the text has, each counted once.",
        source="MetaCLIP (Xu et al. 2024), which keeps texts with an entry",
        needs=_TEXT,
    ),
    _family(
        "host_rank",
        type_="int32",
        unit="line",
        about="The line of the list {name} that has the image's host, or the nearest domain that it lies in.",
        source="ours, for lists of domains by rank",
        needs=("url",),
        none=UNRANKED,
    ),
    _family(
        "rarest_word",
        type_="int64",
        unit="occurrences",
        about="The least count that the list {name} has of a word of the text (tokenizer `words`, lower case); 0 for a "
        "word that it does not have.",
        source="CC3M (Sharma et al. 2018) and CC12M, which drop texts with words that are rare elsewhere",
        needs=_TEXT,
        none=NO_WORD,
    ),
    _family(
        BALANCE,
        type_="float64",
        unit="pairs",
        about="The least, over the entries of the list {name} that the text has, of a number from 0 to 1 drawn for the "
        "pair and the entry, times how many pairs of the pool have the entry; rounded down to six decimals. So lt T is "
        "MetaCLIP's balancing: an entry that at most T pairs have keeps them all, of others T are expected.",
        source="MetaCLIP (Xu et al. 2024), algorithm 1",
        needs=("uid", "alt_text"),
        none=NO_ENTRY,
    ),
)
