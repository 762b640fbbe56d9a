"""Changes: what a button of a page writes, each by a form that only a page of the explorer can send."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from align_data.selection.draft import Words

Change = Callable[[Request, Words], Response]
LONGEST_FORM = 2**20


def posted(path: str, change: Change) -> Route:
    """Return the route of a change: `change` gets the request and the fields of its form, in a thread of its own."""

    async def endpoint(request: Request) -> Response:
        body = bytearray()
        async for received in request.stream():
            body += received
            if len(body) > LONGEST_FORM:
                raise HTTPException(413, f"a form of more than {LONGEST_FORM:,} bytes")
        words = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
        return await run_in_threadpool(change, request, words)

    return Route(path, endpoint, methods=["POST"])
