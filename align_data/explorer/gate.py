"""Who may ask: a browser that has the link, on this machine, from a page of the explorer's own."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",  # to others nothing; under no-referrer a form of our own would have no origin
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Of every answer."""


@dataclass(frozen=True)
class Gate:
    """Refuses what does not come from the explorer's own pages; it stands before everything else.

    The link has a token, without which nothing is answered. Another host name is refused, since a name that somebody
    points at 127.0.0.1 would make another site's script a page of ours (DNS rebinding); so is another origin.
    Whoever follows the link, from a notebook or a terminal in a browser, may: no other page can read what then comes.
    """

    app: ASGIApp
    token: str
    hosts: Collection[str]
    """HOST:PORT as a browser writes it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":  # such as a websocket, which nothing here speaks
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        answer = self.app if refusal is None else PlainTextResponse(refusal, HTTPStatus.FORBIDDEN)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                outgoing = MutableHeaders(scope=message)
                outgoing.update(HEADERS)
                outgoing.setdefault("cache-control", "no-store")
            await send(message)

        await answer(scope, receive, guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> str | None:
        """Return why a request is refused; None where it is not."""
        if headers.get("host") not in self.hosts:
            return "this host name is not the explorer's: open the link that align-data view printed"
        token = scope["path"].removeprefix("/").partition("/")[0]
        if not secrets.compare_digest(token.encode(), self.token.encode()):
            return "the link has no token, or an old one: open the link that align-data view printed"
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        own = origin is None or origin in {f"http://{host}" for host in self.hosts}
        followed = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        foreign = site in ("cross-site", "same-site")  # a browser says so even where it sends no origin
        if not own or (foreign and not (followed and scope["method"] == "GET")):
            return "another site asks, and only the explorer's own pages may"
        if scope["method"] not in ("GET", "HEAD") and origin is None:
            return "a change must come from a page of the explorer"
        return None
