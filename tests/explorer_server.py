"""The explorer as a browser meets it: a real server on this machine, in a thread, for the length of a test."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient

from align_data.data.layout import Dataset
from align_data.engines.local import LocalEngine
from align_data.explorer.app import application
from align_data.explorer.opened import Explorer
from align_data.explorer.serving import HOST, listening

TOKEN = "a-token"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


SITE = "127.0.0.1:4711"
"""HOST:PORT of an explorer that answers a test in its own process."""
OWN = {"origin": f"http://{SITE}"}
"""The header by which a page of its own asks for a change."""


def opened(dataset: Dataset) -> Explorer:
    """Open a dataset as `view` does."""
    return Explorer(dataset.store.url, LocalEngine(dataset.store.work, 2))


def client_of(explorer: Explorer, **options: Any) -> TestClient:
    """Return what asks an explorer without a server; addresses are those below the token."""
    return TestClient(application(explorer, TOKEN, {SITE}), base_url=f"http://{SITE}/{TOKEN}/", **options)


@contextmanager
def served(app: Any, port: int = 0) -> Iterator[int]:
    """Serve an application; yields the port."""
    with listening(port) as sock:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)


@contextmanager
def explored(explorer: Explorer) -> Iterator[str]:
    """Serve a dataset; yields the link."""
    with listening(0) as sock:
        port = sock.getsockname()[1]
    with served(application(explorer, TOKEN, {f"{HOST}:{port}"}), port):
        yield f"http://{HOST}:{port}/{TOKEN}/"


@contextmanager
def browser() -> Iterator[Any]:
    """Start a browser; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield chromium
        finally:
            chromium.close()


def settled(page: Any) -> None:
    """Wait until all requests of a page are answered, those that it puts off for a moment too."""
    page.wait_for_timeout(400)
    while page.locator(".htmx-request").count():
        page.wait_for_timeout(50)


def watched(page: Any) -> list[str]:
    """Return a list that takes what goes wrong on a page: errors, warnings of its policy, dialogs, requests elsewhere."""
    problems: list[str] = []

    def dismiss(dialog: Any) -> None:
        problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    page.on("console", lambda line: problems.append(line.text) if line.type in ("error", "warning") else None)
    page.on(
        "request",
        lambda request: (
            None if HOST in request.url or request.url.startswith("data:") else problems.append(request.url)
        ),
    )
    return problems
