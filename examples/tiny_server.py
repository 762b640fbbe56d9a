"""Serve the pictures of a tiny web, on this machine only.

    python examples/tiny_server.py web --port 8808

serves web/pictures at http://127.0.0.1:8808 and web/evaluation below /evaluation there, also pictures that are drawn
after it has started. It ends by itself after an hour, or after --seconds, so that none is forgotten. In a program:
`with serve(folder) as address:`.
"""

from __future__ import annotations

import argparse
import mimetypes
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit


class _Server(ThreadingHTTPServer):
    """A thread for each connection; none outlives the server."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, folder: Path, port: int) -> None:
        self.root, self.evaluation = (folder / "pictures").resolve(), (folder / "evaluation").resolve()
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def find(self, address: str) -> bytes | None:
        """Return the file that an address names, if it is one of the pictures'."""
        try:
            name = unquote(urlsplit(address).path).lstrip("/")
            first, _, rest = name.partition("/")
            root, name = (self.evaluation, rest) if first == "evaluation" else (self.root, name)
            path = (root / name.lstrip("/")).resolve()
            return path.read_bytes() if path.is_relative_to(root) else None
        except (OSError, ValueError, RuntimeError):  # none, a folder, no path at all, or a loop of links
            return None

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for connection in tuple(self._open):
            with suppress(OSError):  # its client may have been quicker
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # clients may hang up
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Answers each request in one piece, and keeps the connection."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 18

    def do_GET(self) -> None:
        """Send a picture, or say that there is none."""
        found = self.server.find(self.path)
        body = b"There is no such picture.\n" if found is None else found
        kind = mimetypes.guess_type(self.path)[0] if found is not None else "text/plain"
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Type", kind or "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the base class's name

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serve(folder: Path, port: int = 0) -> Iterator[str]:
    """Serve the pictures of a web's folder until the end of the block; port 0 is any free one. Gives the address."""
    with _Server(folder, port) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="what tiny_web.py wrote, or will write")
    parser.add_argument("--port", type=int, default=8808, help="where to listen (default 8808; 0 for any free one)")
    parser.add_argument("--seconds", type=float, default=3600, help="when to end (default 3600)")
    options = parser.parse_args()
    try:
        with serve(options.folder, options.port) as address, suppress(KeyboardInterrupt):
            print(f"serving {options.folder} on {address}", flush=True)
            time.sleep(options.seconds)
    except (OSError, OverflowError) as error:
        parser.error(f"cannot listen on port {options.port}: {error}")


if __name__ == "__main__":
    main()
