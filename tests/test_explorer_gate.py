"""Who may ask the explorer: no one without its link, by another host name, or from another site's page."""

from __future__ import annotations

import pytest

pytest.importorskip("starlette", reason="needs the extra view")

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from align_data.explorer.gate import HEADERS, Gate

TOKEN, HOST = "abc-123", "127.0.0.1:4711"


@pytest.fixture
def reached() -> list[str]:
    """The paths that the application behind the guard was asked for."""
    return []


@pytest.fixture
def client(reached: list[str]) -> TestClient:
    def answer(request: Request) -> Response:
        reached.append(request.url.path)
        return PlainTextResponse("inside")

    app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])
    return TestClient(Gate(app, TOKEN, {HOST, "localhost:4711"}), base_url=f"http://{HOST}")


def test_the_link_opens(client: TestClient, reached: list[str]) -> None:
    answer = client.get(f"/{TOKEN}/pairs")
    assert (answer.status_code, answer.text, reached) == (200, "inside", [f"/{TOKEN}/pairs"])
    assert client.get(f"http://localhost:4711/{TOKEN}/pairs").status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/pairs", "/abc-12/pairs", f"/{TOKEN}x/pairs", f"/x/{TOKEN}/", f"//{TOKEN}/", "/é/"]
)
def test_no_token_is_refused(client: TestClient, reached: list[str], path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, reached) == (403, [])
    assert "align-data view" in answer.text
    assert TOKEN not in answer.text


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:80", "127.0.0.1.evil.example:4711", "", "[::1]:4711"]
)
def test_another_host_name_is_refused(client: TestClient, reached: list[str], host: str) -> None:
    assert client.get(f"/{TOKEN}/pairs", headers={"host": host}).status_code == 403
    assert reached == []


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:80"},
        {"origin": f"https://{HOST}"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_site_is_refused(client: TestClient, reached: list[str], headers: dict[str, str], method: str) -> None:
    assert client.request(method, f"/{TOKEN}/decide", headers=headers).status_code == 403
    assert reached == []


def test_the_link_may_be_followed_from_another_page(client: TestClient, reached: list[str]) -> None:
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client.get(f"/{TOKEN}/", headers=followed).status_code == 200
    for headers in (followed | {"sec-fetch-dest": "iframe"}, followed | {"sec-fetch-mode": "no-cors"}):
        assert client.get(f"/{TOKEN}/", headers=headers).status_code == 403
    assert client.post(f"/{TOKEN}/", headers=followed).status_code == 403
    assert reached == [f"/{TOKEN}/"]


def test_a_change_needs_the_origin_of_the_explorer(client: TestClient, reached: list[str]) -> None:
    assert client.post(f"/{TOKEN}/decide").status_code == 403
    assert reached == []
    assert client.post(f"/{TOKEN}/decide", headers={"origin": f"http://{HOST}"}).status_code == 200


def test_every_answer_says_what_a_page_may_load(client: TestClient) -> None:
    for path in (f"/{TOKEN}/pairs", "/"):
        headers = client.get(path).headers
        assert {name: headers.get(name) for name in HEADERS} == HEADERS
        assert headers["cache-control"] == "no-store"
