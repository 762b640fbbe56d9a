"""Compare: two ledgers side by side, what each asks for and which pairs only one of them keeps."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from align_data.common.errors import DatasetError
from align_data.data.ledger import OUTCOMES, open_current
from align_data.explorer.pictures import addresses
from align_data.explorer.rendering import explorer_of, page, words_of
from align_data.report.page import blur_of
from align_data.stages.audit import diff

SAMPLES = 12


def _compare(request: Request) -> Response:
    explorer = explorer_of(request)
    draft = explorer.draft(words_of(request))
    ledgers = explorer.dataset().ledgers()
    a, b = draft.ledger.name, request.query_params.get("other")
    if b is None:
        return page(request, "compare.html.j2", draft, ledgers=ledgers, other=None)
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
        diff=difference,
        outcomes=OUTCOMES,
        pictures=addresses(request, dataset, [*difference.only_a.samples, *difference.only_b.samples]),
        blur=min(blur_of(draft.ledger.plan), blur_of(open_current(dataset, b).plan)),
    )


ROUTES = [Route("/compare", _compare)]
