"""The server: on 127.0.0.1, a link with a token, until it is stopped."""

from __future__ import annotations

import secrets
import socket
import webbrowser
from collections.abc import Callable

import uvicorn

from align_data.common.errors import OutputError
from align_data.engines.base import Engine
from align_data.explorer import vega_script
from align_data.explorer.app import application
from align_data.explorer.opened import Explorer

HOST = "127.0.0.1"


def serve(
    url: str,
    engine: Engine,
    ledger: str | None,
    port: int,
    *,
    browser: bool,
    ready: Callable[[str], None],
) -> None:
    """Serve a dataset until the process is told to stop; OutputError for a port that is taken.

    `ready` gets the link as soon as it answers.
    """
    explorer = Explorer(url, engine, ledger)
    vega_script.begin()  # Vega's script, while a browser opens
    with listening(port) as sock:
        port = sock.getsockname()[1]
        token = secrets.token_urlsafe(16)
        hosts = {f"{HOST}:{port}", f"localhost:{port}"}
        link = f"http://{HOST}:{port}/{token}/"
        ready(link)
        if browser:
            webbrowser.open(link)
        config = uvicorn.Config(
            application(explorer, token, hosts),
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            limit_concurrency=64,
            timeout_graceful_shutdown=2,
        )
        uvicorn.Server(config).run(sockets=[sock])


def listening(port: int) -> socket.socket:
    """Return a socket that listens to this machine; OutputError for a port that is taken."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((HOST, port))
    except OSError as error:
        sock.close()
        raise OutputError(f"cannot listen on {HOST}:{port}: {error.strerror}; --port 0 takes a free one") from error
    return sock
