"""Opt-outs: headers by which a server says that what it sends is not to be used so.

X-Robots-Tag; Content-Usage, the IETF's AI preferences (draft-ietf-aipref-attach and -vocab); and tdm-reservation, the
W3C community's TDMRep.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from align_data.common.opt_outs import DIRECTIVES, FOR_US, directives

_TRAINING = ("train-ai", "train-genai", "genai")
"""Uses of a training set; the last two are those of earlier drafts."""
_WIDER = ("ai", "tdm", "bots", "all")
"""Uses of earlier drafts that training is one of, where nothing is said of training itself."""
# A dictionary of RFC 9651, in which nothing is nested deeper than a list: so one expression has it all.
_KEY = r"[a-z*][a-z0-9_.*-]*"
_STRING = r'"(?:[ !#-\[\]-~]|\\["\\])*"'
_WORD = r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*"
_NUMBER = r"-?\d{1,12}\.\d{1,3}|@?-?\d{1,15}"
_ITEM = rf"(?:{_STRING}|%{_STRING}|{_WORD}|{_NUMBER}|:[A-Za-z0-9+/=]*:|\?[01])"
_PARAMETERS = rf"(?:; *{_KEY}(?:={_ITEM})?)*"
_LIST = rf"\( *(?:{_ITEM}{_PARAMETERS}(?: +{_ITEM}{_PARAMETERS})*)? *\)"
_MEMBER = re.compile(rf"({_KEY})(?:=({_ITEM}|{_LIST}))?{_PARAMETERS}")
_COMMA = re.compile(r"[ \t]*,[ \t]*")


def opt_out(values: Callable[[str], list[str]]) -> str | None:
    """Return the header, and what it says, that asks not to be used so; None without. `values` are those of a name."""
    directive = robots_tag(values("X-Robots-Tag"))
    if directive is not None:
        return f"X-Robots-Tag: {directive}"
    usage = ", ".join(values("Content-Usage"))
    if usage and refuses_training(usage):
        return f"Content-Usage: {usage}"
    if any(word.strip() == "1" for value in values("tdm-reservation") for word in value.split(",")):
        policy = ", ".join(values("tdm-policy"))
        return f"tdm-reservation: 1, tdm-policy: {policy}" if policy else "tdm-reservation: 1"
    return None


def robots_tag(values: list[str]) -> str | None:
    """Return the directive of X-Robots-Tag headers that asks not to be used, for everyone or for us; None without."""
    for value in values:
        for agent, name, _ in directives(value):
            if name in DIRECTIVES and (not agent or agent.partition("/")[0] in FOR_US):
                return name
    return None


def refuses_training(usage: str) -> bool:
    """Tell whether a preference such as 'train-ai=n' does not allow training; one of another form says nothing."""
    preferences = _dictionary(usage)
    wider = _WIDER if preferences.get("train-ai") != "y" else ()
    return any(preferences.get(use) == "n" for use in (*_TRAINING, *wider))


def _dictionary(text: str) -> dict[str, str | None]:
    """Return the keys of a dictionary of RFC 9651 and their values as they stand there; empty if it is none."""
    text = text.strip(" \t")
    members: dict[str, str | None] = {}
    at = 0
    while at < len(text):
        member = _MEMBER.match(text, at)
        if member is None:
            return {}
        members[member[1]] = member[2]
        at = member.end()
        comma = _COMMA.match(text, at)
        trailing = comma is not None and comma.end() == len(text)
        if (comma is None and at < len(text)) or trailing:
            return {}
        at = comma.end() if comma else at
    return members
