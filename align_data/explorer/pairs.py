"""Pairs: those of a selection with pictures and texts, each of them explained, and the list of their uids."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from align_data.data.image_pairs import image_pairs
from align_data.data.layout import Dataset
from align_data.data.ledger import OUTCOMES
from align_data.explorer.draft import Draft, Words
from align_data.explorer.marks import label_of, marks_of
from align_data.explorer.opened import Explorer
from align_data.explorer.pictures import ImageOfPair, addresses
from align_data.explorer.rendering import explorer_of, page, words_of
from align_data.explorer.thresholds import what_if
from align_data.recipes.plan import Plan
from align_data.report.page import blur_of
from align_data.selection import PairSelection, select
from align_data.selection.scan import columns_of, uids
from align_data.signals.label import LABEL
from align_data.stages.why import Why, why

PAGE, SHOWN = "page", 24
"""The word that names a page, and how many pairs are on one."""
CHANGES = [f"{before}-{after}" for before in OUTCOMES for after in OUTCOMES if before != after]
EMPTY = 3
"""Fields for conditions, beside those that are filled."""


def _pairs(request: Request) -> Response:
    explorer, words = explorer_of(request), words_of(request)
    draft, selection = explorer.draft(words), PairSelection.from_words(words)
    dataset, plan = explorer.dataset(), _plan(explorer, draft)
    number = next((value for name, value in words if name == PAGE), "1")
    at = max(1, int(number)) if number.isdecimal() and len(number) < 10 else 1
    columns = columns_of(dataset, plan)
    beside = [name for name in ("nsfw", "decodable") if name in columns]
    chosen = select(
        dataset,
        draft.ledger,
        plan,
        selection,
        explorer.engine,
        explorer.progress,
        start=(at - 1) * SHOWN,
        number=SHOWN,
        beside=beside,
    )
    label = label_of(words)
    return page(
        request,
        "pairs.html.j2",
        draft,
        selection=selection,
        selected=chosen,
        conditions=[str(condition) for condition in selection.where] + [""] * EMPTY,
        columns=columns,
        rules=[rule.name for rule in plan.in_force],
        outcomes=OUTCOMES,
        changes=CHANGES if draft.moved else [],
        pictures=addresses(request, dataset, [pair for pair in chosen.pairs if _usable(pair.values)]),
        blur=blur_of(draft.ledger.plan),
        marks=marks_of(explorer, label, [pair.uid for pair in chosen.pairs if pair.url]),
        label=label,
        at=at,
        pages=-(-chosen.total // SHOWN),
        query=lambda **changed: _query(draft, selection, label, **changed),
    )


def _plan(explorer: Explorer, draft: Draft) -> Plan:
    """Return the plan that decides: the ledger's own, or the draft's with its thresholds resolved."""
    return what_if(explorer, draft.ledger.name).resolved(draft.plan) if draft.moved else draft.ledger.plan


def _query(draft: Draft, selection: PairSelection, label: str, **changed: str) -> str:
    """Return the part of an address that says a selection by a draft, with other words too."""
    words: Words = [*draft.words, *selection.words, (LABEL, label), *changed.items()]
    return urlencode([*words])


def _pair(request: Request) -> Response:
    """Explain one pair."""
    explorer, words = explorer_of(request), words_of(request)
    draft, uid = explorer.draft(words), request.path_params["uid"]
    dataset, label = explorer.dataset(), label_of(words)
    (explained,) = why(dataset, draft.ledger.name, uid=uid, limit=1)
    rules = {rule.name: rule.rule for rule in draft.ledger.plan.rules}
    image = _image_of(dataset, explained)
    return page(
        request,
        "pair.html.j2",
        draft,
        why=explained,
        rules=rules,
        image=image,
        pictures=addresses(request, dataset, [image] if image.url and _usable(explained.values) else []),
        blur=blur_of(draft.ledger.plan),
        label=label,
        mark=marks_of(explorer, label, [explained.uid])[explained.uid] if explained.url else None,
        command=shlex.join(["align-data", "why", explorer.name, "--uid", explained.uid, "--recipe", draft.ledger.name]),
    )


def _usable(values: Mapping[str, Any]) -> bool:
    """Tell whether an image may have a picture: it is not measured to be none."""
    return values.get("decodable") is not False


def _image_of(dataset: Dataset, explained: Why) -> ImageOfPair:
    """Return the image of a pair by its URL as it is stored, which what explains it may mask."""
    ((part, url),) = image_pairs(dataset, explained.uid).filter(uid=explained.uid).select("part", "url").rows()
    return ImageOfPair(part, explained.uid, url, explained.alt_text, explained.values.get("nsfw"))


def _uids(request: Request) -> Response:
    """Answer with the uids of a selection, a line each, as they are chosen."""
    explorer, words = explorer_of(request), words_of(request)
    draft, selection = explorer.draft(words), PairSelection.from_words(words)
    dataset, plan = explorer.dataset(), _plan(explorer, draft)
    chosen = uids(dataset, draft.ledger, plan, selection, explorer.progress)

    def lines() -> Iterator[str]:
        for piece in chosen:
            if len(piece):
                yield "\n".join(piece.to_list()) + "\n"

    headers = {"content-disposition": 'attachment; filename="uids.txt"'}
    return StreamingResponse(lines(), media_type="text/plain; charset=utf-8", headers=headers)


ROUTES = [Route("/pairs", _pairs), Route("/pairs/uids.txt", _uids), Route("/pair/{uid}", _pair)]
