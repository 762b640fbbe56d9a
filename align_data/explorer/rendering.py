"""Pages as HTML: the templates, with the filters of the report's, and the files that they load."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from align_data.explorer import vega_script
from align_data.explorer.opened import Explorer
from align_data.report.page import environment, stylesheet
from align_data.selection.draft import Draft, Words

KINDS = {"css": "text/css", "js": "text/javascript", "LICENSE": "text/plain"}
_FILES = ("explorer.css", "explorer.js", "htmx.min.js", "htmx.LICENSE")
_MADE = {"style.css": stylesheet, "vega.js": vega_script.script}
ROOMS = {"thresholds": "Thresholds", "pairs": "Pairs", "groups": "Groups", "compare": "Compare", "marks": "Marks"}
"""Path of each page that the header links to, and what it is called there."""
WRITTEN = "#written"
"""What an address ends with after a ledger is written: the sentence that says so is seen by its place alone."""


def words_of(request: Request) -> Words:
    """Return the names and values of a request's address, in order."""
    return request.query_params.multi_items()


def explorer_of(request: Request) -> Explorer:
    """Return what the application shows."""
    explorer: Explorer = request.app.state.explorer
    return explorer


def root_of(request: Request) -> str:
    """Return what the addresses of the explorer begin with."""
    return f"/{request.app.state.token}"


def page(request: Request, template: str, draft: Draft | None = None, status: int = 200, **values: Any) -> Response:
    """Return a page, or a fragment of one, by its template.

    Every template has: `root`, what addresses begin with; `explorer`; `draft`, where there is one; `here`, the path.
    """
    explorer = explorer_of(request)
    root = root_of(request)
    fixed: Mapping[str, Any] = {
        "root": root,
        "here": request.url.path.removeprefix(f"{root}/"),
        "explorer": explorer,
        "draft": draft,
        "rooms": ROOMS,
        "seen": explorer.identity,  # called by whole pages alone: it reads every manifest
    }
    content = environment("align_data.explorer").get_template(template).render({**fixed, **values})
    return HTMLResponse(content, status)


def static(request: Request) -> Response:
    """Answer with one of the files that pages load; the reports' style and Vega's script among them."""
    name = request.path_params["name"]
    if name in _MADE:
        content = _MADE[name]().encode()
    elif name in _FILES:
        content = files("align_data.explorer").joinpath("static", name).read_bytes()
    else:
        return HTMLResponse("no such file", 404)
    kind = KINDS[name.rpartition(".")[2]]
    return Response(content, media_type=kind, headers={"cache-control": "private, max-age=3600"})
