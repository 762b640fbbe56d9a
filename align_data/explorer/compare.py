"""Compare: two ledgers side by side, what each asks for and which pairs only one of them keeps."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from align_data.common.errors import DatasetError
from align_data.data.ledger import OUTCOMES
from align_data.explorer.opened import Explorer
from align_data.explorer.rendering import explorer_of, page, words_of
from align_data.report.page import BLUR
from align_data.report.thumbnails import SamplePictures, pictures
from align_data.stages.audit import Diff, diff

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
    difference, thumbnails = explorer.cached(("compare", explorer.identity(), a, b), lambda: _count(explorer, a, b))
    return page(
        request,
        "compare.html.j2",
        draft,
        ledgers=ledgers,
        other=b,
        diff=difference,
        outcomes=OUTCOMES,
        pictures=thumbnails,
        blur=BLUR,
    )


def _count(explorer: Explorer, a: str, b: str) -> tuple[Diff, SamplePictures]:
    dataset = explorer.dataset()
    difference = diff(dataset, a, b, explorer.engine, explorer.progress, SAMPLES)
    samples = [*difference.only_a.samples, *difference.only_b.samples]
    return difference, pictures(dataset, samples, explorer.progress)


ROUTES = [Route("/compare", _compare)]
