"""A name server of our own, by UDP and TCP, that says whatever a test wants of it; it notes what it is asked."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

A, CNAME, SOA, AAAA = 1, 5, 6, 28
NO_NAME, FAILED, REFUSED = 3, 2, 5


@dataclass(frozen=True)
class Query:
    """One question, as it came."""

    raw: bytes
    name: str
    """In lower case: a client may vary the case, and wants it back as it was."""
    kind: int
    tcp: bool
    times: int
    """How often this question was asked before."""

    @property
    def question(self) -> bytes:
        return self.raw[12 : _end(self.raw, 12) + 4]


@dataclass
class Answer:
    """What is said to a question; `later` comes after so many seconds."""

    records: list[tuple[str, int, int, bytes]] = field(default_factory=list)
    """Owner ('' for the name asked for), type, seconds, data."""
    code: int = 0
    truncated: bool = False
    later: float = 0.0
    raw: bytes | None = None
    """Sent as it is."""
    number: int | None = None
    """The answer's id, where it is not the question's."""
    question: bytes | None = None


Zone = Callable[[Query], Answer | None]
"""None: never answered."""


def packed(name: str) -> bytes:
    """A name as it is on the wire."""
    labels = [label.encode() for label in name.rstrip(".").split(".")]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def at(*addresses: str, ttl: int = 60, owner: str = "") -> list[tuple[str, int, int, bytes]]:
    """Records of addresses."""
    found = [ipaddress.ip_address(address) for address in addresses]
    return [(owner, A if each.version == 4 else AAAA, ttl, each.packed) for each in found]


def of_kind(query: Query, *addresses: str, ttl: int = 60) -> Answer:
    """The addresses of the kind that was asked for."""
    return Answer([record for record in at(*addresses, ttl=ttl) if record[1] == query.kind])


def wire(query: Query, answer: Answer) -> bytes:
    """An answer in bytes."""
    if answer.raw is not None:
        return answer.raw
    flags = 0x8180 | answer.code | (0x200 if answer.truncated else 0)
    question = query.question if answer.question is None else answer.question
    number = struct.unpack_from(">H", query.raw)[0] if answer.number is None else answer.number
    head = struct.pack(">HHHHHH", number, flags, 1, len(answer.records), 0, 0)
    lines = [
        (packed(owner) if owner else b"\xc0\x0c") + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data
        for owner, kind, ttl, data in answer.records
    ]
    return head + question + b"".join(lines)


@dataclass
class NameServer:
    """The server while it runs."""

    zone: Zone
    port: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    """Name → how often it was asked for, whatever was asked."""
    _times: Counter[tuple[str, int]] = field(default_factory=Counter)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def reply(self, raw: bytes, tcp: bool) -> tuple[float, bytes] | None:
        end = _end(raw, 12)
        (kind,) = struct.unpack_from(">H", raw, end)
        name = _name(raw).lower()
        query = Query(raw, name, kind, tcp, self._times[name, kind])
        self._times[name, kind] += 1
        self.asked[name] += 1
        answer = self.zone(query)
        return None if answer is None else (answer.later, wire(query, answer))


def _name(raw: bytes) -> str:
    labels, place = [], 12
    while raw[place]:
        labels.append(raw[place + 1 : place + 1 + raw[place]].decode("latin-1"))
        place += 1 + raw[place]
    return ".".join(labels)


def _end(raw: bytes, place: int) -> int:
    while raw[place]:
        place += 1 + raw[place]
    return place + 1


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, peer: Any) -> None:
        reply = self._server.reply(data, False)
        if reply is not None:
            asyncio.get_running_loop().call_later(reply[0], self._transport.sendto, reply[1], peer)


async def _stream(server: NameServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            (size,) = struct.unpack(">H", await reader.readexactly(2))
            reply = server.reply(await reader.readexactly(size), True)
            if reply is not None:
                await asyncio.sleep(reply[0])
                writer.write(struct.pack(">H", len(reply[1])) + reply[1])
                await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
        return
    finally:
        writer.close()


@contextmanager
def name_server(zone: Zone, port: int = 0) -> Iterator[NameServer]:
    """Serve names in a thread."""
    server = NameServer(zone, port)
    loop = asyncio.new_event_loop()
    started, stop = threading.Event(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(_run(server, started, stop)), daemon=True)
    thread.start()
    try:
        assert started.wait(10), "the name server cannot listen"
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        assert not thread.is_alive()
        loop.close()


async def _run(server: NameServer, started: threading.Event, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    streams = await asyncio.start_server(lambda r, w: _stream(server, r, w), "127.0.0.1", server.port)
    server.port = streams.sockets[0].getsockname()[1]
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Datagrams(server), local_addr=("127.0.0.1", server.port)
    )
    started.set()
    await stop.wait()
    transport.close()
    streams.close()
    talking = asyncio.all_tasks() - {asyncio.current_task()}
    for task in talking:
        task.cancel()
    await asyncio.gather(*talking, return_exceptions=True)
