"""Every signal there is: one definition each, in the module of its family.

A signal is a value measured for a pair. Its name is its column, its key in a recipe and its heading in the docs. The
names of some families are open: `similarity_NAME` is whatever model its user called so. Earlier versions wrote names
with a dot, `n_words.whitespace` and `similarity.NAME`; these are understood wherever a name is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from align_data.common.errors import SignalError, nearest
from align_data.common.registry import registry
from align_data.signals import (
    caption,
    copies,
    corpus,
    detected,
    families,
    hypernyms,
    image,
    label,
    language,
    language_cld3,
    lists,
    mojibake,
    near,
    page,
    polarity,
    random,
    score,
    speech,
    text,
    words_icu,
)
from align_data.signals.base import CHECKS, Kind, Measure, Piece, Signal
from align_data.signals.families import Family

__all__ = [
    "FAMILIES",
    "SHOWN",
    "SIGNALS",
    "Kind",
    "Measure",
    "Piece",
    "Signal",
    "by_current_name",
    "by_names",
    "checks",
    "current_name",
    "family_signals",
    "find",
    "is_signal",
    "ordered",
]

T = TypeVar("T")

_OF_TEXTS = (text, words_icu, language, language_cld3, page, caption, speech, hypernyms, mojibake, polarity)
SIGNALS: dict[str, Signal] = registry(
    "signals",
    ((signal.name, signal) for family in (*_OF_TEXTS, corpus, image, detected, copies) for signal in family.SIGNALS),
)
"""All but those of open families."""
FAMILIES: dict[str, Family] = registry(
    "families of signals",
    ((family.prefix, family) for module in (score, near, random, label, lists) for family in module.FAMILIES),
)
"""The open families, by what their names begin with."""
SHOWN = tuple(family.shown for family in FAMILIES.values())
"""A signal of each open family, as lists of signals show it."""


_FORMER = {signal.former: signal.name for signal in SIGNALS.values() if signal.former is not None}
_FORMER_SCORE = re.compile(rf"{score.SIMILARITY}\.({families.NAME})")


def current_name(name: str) -> str:
    """Return what a signal is called now that earlier versions called `name`; any other name as it is."""
    if name in _FORMER:
        return _FORMER[name]
    former = _FORMER_SCORE.fullmatch(name)
    return name if former is None else f"{score.SIMILARITY}_{former[1]}"


def by_current_name(values: Mapping[str, T]) -> dict[str, T]:
    """Return values by signal, each under its name of now."""
    return {current_name(name): value for name, value in values.items()}


def find(name: str) -> Signal:
    """Return the signal called `name`, now or formerly; SignalError lists all names."""
    name = current_name(name)
    if name in SIGNALS:
        return SIGNALS[name]
    if (opened := families.split(name)) is not None:
        prefix, of_user = opened
        return FAMILIES[prefix].named(of_user)
    names = [*SIGNALS, *(signal.name for signal in SHOWN)]
    raise SignalError(f"there is no signal {name}{nearest(name, names)}; there are: {', '.join(names)}")


def by_names(names: Iterable[str]) -> list[Signal]:
    """Return the signals called so, and all of a group where a name is a group's; SignalError for any other."""
    named: dict[str, Signal] = {}
    for name in names:
        members = [] if name in SIGNALS else [signal for signal in SIGNALS.values() if signal.group == name]
        named |= {signal.name: signal for signal in members or [find(name)]}
    return list(named.values())


def family_signals(group: str, name: str) -> dict[str, Signal]:
    """Return the signals of a group such as near.NAME, by what their names begin with; SignalError for a bad NAME."""
    return {prefix: family.named(name) for prefix, family in FAMILIES.items() if family.group == group}


def is_signal(name: str) -> bool:
    """Tell whether there is a signal of this name."""
    try:
        find(name)
    except SignalError:
        return False
    return True


def ordered(names: Iterable[str]) -> list[str]:
    """Return signals in the order of the docs, those of open families last and by name."""
    unordered = set(names)
    return [*(name for name in SIGNALS if name in unordered), *sorted(unordered - SIGNALS.keys())]


def checks() -> dict[str, list[Signal]]:
    """Return the checks of images, the cheapest first, each with the signals that it measures."""
    by_check: dict[str, list[Signal]] = {name: [] for name in CHECKS}
    for signal in SIGNALS.values():
        if signal.checked and signal.check is not None:
            by_check.setdefault(signal.check, []).append(signal)
    return by_check
