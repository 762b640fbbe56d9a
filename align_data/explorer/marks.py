"""Marks: buttons that mark a pair by hand, and how right each rule is by the marks."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlencode

import polars as pl
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from align_data.common.errors import InputError
from align_data.data import labels
from align_data.data.ledger import FAILS
from align_data.explorer.changes import posted
from align_data.explorer.opened import Explorer
from align_data.explorer.rendering import explorer_of, page, words_of
from align_data.selection.draft import Draft, Words
from align_data.signals.families import check_name
from align_data.signals.label import BY_HAND, DROP, KEEP, LABEL, UNMARKED
from align_data.stages.audit import DRAW, marked

FIRST = "mine"
"""The label that buttons write to where an address names none."""


def label_of(words: Words) -> str:
    """Return the label that an address or a form names; SignalError for what cannot be one."""
    return check_name(next((value for name, value in words if name == LABEL and value), FIRST), LABEL)


def marks_of(explorer: Explorer, label: str, uids: Iterable[str]) -> dict[str, str]:
    """Return the mark of each of some pairs, `unmarked` for those without, for the fragment mark_buttons.html.j2."""
    sought = list(uids)
    if not sought:
        return {}
    marks = labels.marks(explorer.dataset(), label, min(sought), f"{max(sought)}~")
    by_uid = dict(marks.filter(pl.col("uid").is_in(sought)).iter_rows())
    return {uid: by_uid.get(uid, UNMARKED) for uid in sought}


def _mark(request: Request, words: Words) -> Response:
    """Mark a pair, and answer with its buttons as they are now."""
    fields, explorer = dict(words), explorer_of(request)
    label, uid, word = label_of(words), fields.get("uid", ""), fields.get("mark", "")
    if word not in (*BY_HAND, UNMARKED):  # to save a selection is another button
        raise InputError(f"{word[:100]!r} is not a mark: keep, drop, unsure or unmarked")
    labels.mark(explorer.dataset(), label, [uid], word)
    return page(request, "mark_buttons.html.j2", uid=uid, label=label, mark=word)


def _marks(request: Request) -> Response:
    """Show the labels with their counts; the measures follow, for they take a look at each marked pair."""
    explorer, words = explorer_of(request), words_of(request)
    dataset, draft = explorer.dataset(), explorer.draft(words_of(request))
    counts = {name: labels.counts(dataset, name) for name in labels.labels(dataset)}
    by_hand = [name for name, of in counts.items() if of.keys() & {*BY_HAND}]  # others are kept selections
    named = any(name == LABEL for name, _ in words) or FIRST in by_hand
    label = label_of(words) if named else next(iter(by_hand), FIRST)
    return page(request, "marks.html.j2", draft, counts=counts, label=label, by_hand=by_hand)


def _measures(request: Request) -> Response:
    explorer, words = explorer_of(request), words_of(request)
    dataset, draft, label = explorer.dataset(), explorer.draft(words), label_of(words)
    key = ("marks", explorer.identity(), draft.ledger.name, label, labels.fingerprint(dataset, label))
    audit = explorer.cached(key, lambda: marked(dataset, draft.ledger.name, label, explorer.engine, explorer.progress))
    return page(request, "marks_measures.html.j2", draft, audit=audit, pairs_of=_pairs_of, note=DRAW)


def _pairs_of(draft: Draft, label: str, *, wrong: str, rule: str | None) -> str:
    """Return the address, below the root, of the marked pairs that a rule, or the ledger, decides the other way."""
    drops = wrong == KEEP
    assert drops or wrong == DROP
    by_rule = ("where", f"{FAILS}{rule}={'true' if drops else 'false'}")
    decided = ("outcome", "dropped" if drops else "kept") if rule is None else by_rule
    return f"pairs?{urlencode([*draft.words, ('where', f'label_{label}={wrong}'), decided])}"


ROUTES = [Route("/marks", _marks), Route("/marks/measures", _measures), posted("/mark", _mark)]
