"""Compare: two ledgers side by side, what each asks for and which pairs only one of them keeps; or two batches."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from align_data.common.errors import DatasetError
from align_data.data.batches import check_batch
from align_data.data.ledger import OUTCOMES, open_current
from align_data.explorer.opened import Explorer
from align_data.explorer.pictures import addresses
from align_data.explorer.rendering import explorer_of, page, words_of
from align_data.report.page import blur_of
from align_data.selection.draft import Draft
from align_data.stages.audit import by_batch, diff

SAMPLES = 12


def _compare(request: Request) -> Response:
    explorer = explorer_of(request)
    draft = explorer.draft(words_of(request))
    ledgers = explorer.dataset().ledgers()
    a, b = draft.ledger.name, request.query_params.get("other")
    if b is None:
        return page(
            request, "compare.html.j2", draft, ledgers=ledgers, other=None, **_batches(explorer, request, draft)
        )
    if a == b:
        raise DatasetError(f"{a} is compared with itself: choose another ledger")
    dataset = explorer.dataset()
    difference = explorer.cached(
        ("compare", explorer.identity(), a, b),
        lambda: diff(dataset, a, b, explorer.engine, explorer.progress, SAMPLES),
    )
    return page(
        request,
        "compare.html.j2",
        draft,
        ledgers=ledgers,
        other=b,
        names=[],
        diff=difference,
        outcomes=OUTCOMES,
        pictures=addresses(request, dataset, [*difference.only_a.samples, *difference.only_b.samples]),
        blur=min(blur_of(draft.ledger.plan), blur_of(open_current(dataset, b).plan)),
    )


def _batches(explorer: Explorer, request: Request, draft: Draft) -> dict[str, Any]:
    """Return the batches of the dataset, and the audits of the two that are asked for."""
    dataset = explorer.dataset()
    names = [batch.name for batch in dataset.ingested().meta.batches]
    chosen = request.query_params.getlist("batch")
    if not names or not chosen:
        return {"names": names, "batches": names[-2:]}
    for name in chosen:
        check_batch(dataset, name)
    if len(chosen) != 2 or chosen[0] == chosen[1]:
        raise DatasetError("two batches are compared: choose one and another")
    ledger = draft.ledger.name
    audits = explorer.cached(
        ("batches", explorer.identity(), ledger),
        lambda: by_batch(dataset, ledger, explorer.engine, explorer.progress),
    )
    return {"names": names, "batches": chosen, "audits": [audits[name] for name in chosen]}


ROUTES = [Route("/compare", _compare)]
