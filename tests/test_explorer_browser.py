"""The explorer in a real browser: nothing that the data says runs, and no other site's page gets anything."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode

import pytest

pytest.importorskip("starlette", reason="needs the extra view")

from conftest import Built
from explorer_server import browser, explored, served, watched
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from test_report import ATTACKS

from align_data.engines.local import LocalEngine
from align_data.explorer.gate import Gate
from align_data.explorer.opened import Explorer
from align_data.explorer.rendering import ROOMS
from align_data.explorer.serving import listening

OTHER_SITE = """<!doctype html><title>another site</title><iframe src="{link}x"></iframe><img src="{link}x.png">
<script src="{link}x.js"></script><link rel="stylesheet" href="{link}x.css">
<form method="post" action="{link}decide" target="_blank"><button id="send">send</button></form>"""
READ = """async (link) => { try { const answer = await fetch(link); return await answer.text() } catch (error) { return "refused" } }"""
BLIND = """(link) => fetch(link, {method: "POST", mode: "no-cors", body: "a=b"}).then(() => "sent", () => "refused")"""


def test_another_sites_page_gets_nothing_and_changes_nothing() -> None:
    reached: list[str] = []

    def answer(request: Request) -> Response:
        reached.append(f"{request.method} {request.url.path}")
        return PlainTextResponse("secret")

    def gate(port: int) -> Gate:
        app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])
        return Gate(app, "token", {f"127.0.0.1:{port}"})

    with listening(0) as sock, listening(0) as another:
        free, other_free = (of.getsockname()[1] for of in (sock, another))
    with browser() as chromium, served(gate(free), free):
        link = f"http://127.0.0.1:{free}/token/"  # which the other site has learnt
        site = Starlette(routes=[Route("/", lambda _: HTMLResponse(OTHER_SITE.format(link=link)))])
        with served(site, other_free):
            page = chromium.new_page()
            page.goto(f"http://127.0.0.1:{other_free}/", wait_until="load")
            assert page.evaluate(READ, f"{link}fetched") == "refused"
            page.evaluate(BLIND, f"{link}decide")
            with page.expect_popup() as popup:
                page.click("#send")
            popup.value.wait_for_load_state()
            assert "secret" not in popup.value.content()
            assert reached == []
            page.goto(f"http://localhost:{free}/token/rebound")  # a name that is not the explorer's
            assert "secret" not in page.content()
            assert reached == []
            page.goto(link)
            assert "secret" in page.content()


def test_no_page_runs_what_the_data_says(job: Callable[..., Built]) -> None:
    texts = [*ATTACKS, *ATTACKS, "x" * 10_000, "\u202eright to left", "one two three"]
    rows = [
        {"url": f"http://<script>window.hacked=7</script>{n % 3}.example/{n}'\"><b>.jpg", "alt_text": text}
        for n, text in enumerate(texts)
    ]
    dataset = job(rows).dataset
    with explored(Explorer(dataset.store.url, LocalEngine(dataset.store.work, 2))) as link, browser() as chromium:
        page = chromium.new_page(viewport={"width": 390, "height": 800})
        problems = watched(page)
        asked = [urlencode({"where": f"alt_text~{text}"}) for text in ATTACKS]
        uids = [uid for piece in dataset.pairs.pieces(0, ["uid"]) for uid in piece["uid"]]
        paths = [*ROOMS, *(f"pairs?{query}" for query in asked), *(f"pair/{uid}" for uid in uids[::3])]
        for room in paths:
            page.goto(f"{link}{room}", wait_until="networkidle")
            assert page.locator("main h1").count() == 1, room
            assert page.evaluate("window.hacked") is None, room
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, room
        assert problems == []
