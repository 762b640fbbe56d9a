"""The application: which address answers with which page, and what an error looks like."""

from __future__ import annotations

from collections.abc import Collection

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from align_data.common.errors import AlignDataError, printable
from align_data.common.secrets import mask
from align_data.explorer import compare, groups, marks, pair, pairs, pictures, taking, thresholds
from align_data.explorer.gate import Gate
from align_data.explorer.opened import Explorer
from align_data.explorer.rendering import ROOMS, explorer_of, page, root_of, static


def application(explorer: Explorer, token: str, hosts: Collection[str]) -> ASGIApp:
    """Return the application behind its gate; all addresses begin with the token."""
    routes: list[BaseRoute] = [
        Route("/", _begin),
        Route("/changed", _changed),
        Route("/static/{name}", static),
        *thresholds.ROUTES,
        *pairs.ROUTES,
        *pair.ROUTES,
        *pictures.ROUTES,
        *taking.ROUTES,
        *groups.ROUTES,
        *compare.ROUTES,
        *marks.ROUTES,
    ]
    app = Starlette(
        routes=[Mount(f"/{token}", routes=routes)],
        exception_handlers={
            AlignDataError: _refused,
            OSError: _refused,
            HTTPException: _missing,
            Exception: _unforeseen,
        },
    )
    app.state.explorer, app.state.token = explorer, token
    return Gate(app, token, hosts)


def _begin(request: Request) -> Response:
    room = next(iter(ROOMS))
    return RedirectResponse(f"{root_of(request)}/{room}")


def _changed(request: Request) -> Response:
    """Say whether the dataset is another than a page has seen; the page asks now and then."""
    changed = explorer_of(request).identity() != request.query_params.get("seen")
    return page(request, "changed.html.j2", changed=changed)


def _refused(request: Request, error: Exception) -> Response:
    """Say what is wrong, as the command line does."""
    sentence = printable(mask(str(error)))
    return _problem(request, 400, sentence)


def _problem(request: Request, status: int, sentence: str) -> Response:
    """Answer with a sentence: in the place of a part of a page that was asked for, else as a page."""
    template = "problem.html.j2" if "hx-request" in request.headers else "error.html.j2"
    return page(request, template, status=status, sentence=sentence)


def _missing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _problem(request, error.status_code, error.detail)


def _unforeseen(request: Request, error: Exception) -> Response:
    """Say that something is wrong with the explorer itself; where, the server's log says."""
    sentence = (
        f"an error that align-data did not foresee, {type(error).__name__}: the terminal that it runs in says more"
    )
    return _problem(request, 500, sentence)
