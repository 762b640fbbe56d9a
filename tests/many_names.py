"""The worker of `fetch` with names of our own, for child processes: it imports no test."""

from __future__ import annotations

import socket
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from align_data.common.workers import Handler
from align_data.fetching import client, worker

HOMES = [f"127.0.0.{number}" for number in range(2, 10)]


class ManyNames(AbstractResolver):
    """Resolves n3.example to 127.0.0.3, and every other name to 127.0.0.2."""

    def __init__(self, *_: Any) -> None:
        pass

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[ResolveResult]:
        number = host.removeprefix("n").partition(".")[0]
        address = f"127.0.0.{number}" if number.isdecimal() else HOMES[0]
        return [ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        pass


def handler(setup: Any) -> Handler:
    """What the children run: the worker, with names of our own."""
    client.NameLookup = ManyNames  # type: ignore[misc, assignment]
    return worker.handler(setup)
