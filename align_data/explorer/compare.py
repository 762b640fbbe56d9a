"""Compare: two ledgers side by side."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from align_data.explorer.rendering import explorer_of, page, words_of


def _compare(request: Request) -> Response:
    explorer = explorer_of(request)
    draft = explorer.draft(words_of(request))
    ledgers = explorer.dataset().ledgers()
    return page(request, "compare.html.j2", draft, ledgers=ledgers, other=request.query_params.get("other"))


ROUTES = [Route("/compare", _compare)]
