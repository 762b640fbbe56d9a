"""A web of one's own, on 127.0.0.0/8: name servers and hosts that take their time, and some that never answer.

What becomes of a URL is in its host's name, so that name server, hosts and whoever counts the statuses agree without a
word: `gone17.example` does not exist, `mute18.example` is never answered, `moved19.example` leads to another host.
How long each takes follows from its name too, by a distribution of one of these forms:

    even:M          between half of M and one and a half
    lognormal:M:S   of median M seconds and shape S

Sources of what `benchmarks/web.py` takes: 90 % of look-ups are answered within 275 ms, 152 ms on the average, 9 % name
what does not exist, and 12 % of queries are never answered (Brandhorst and Pras, "DNS: a statistical analysis of name
server traffic at local network-to-Internet connections", 2005): lognormal, median 126 ms, shape 0.61. Of 15,000
handshakes of one browser half took less than 100 ms, and most of the others at most 300 more (Patrick McManus, "Note to
self: the web is slow", 2011): lognormal, median 100 ms, shape 0.84, which has 5 % beyond 400 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import random
import socket
import statistics
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from PIL import Image

FATES: Mapping[str, tuple[str, ...]] = {
    "fine": ("ok",),
    "slow": ("ok",),
    "moved": ("ok",),
    "missing": ("http_404",),
    "page": ("not_an_image",),
    "cut": ("truncated",),
    "reset": ("connect",),
    "dead": ("connect",),
    "silent": ("timeout",),
    "gone": ("dns",),
    "mute": ("dns", "timeout"),
}
"""What may become of a URL → the statuses that are right for it."""
PICTURES = 50
_SLOW = 3.0
"""Seconds that a slow host takes beside."""
_NAME_ERROR = 3


@dataclass(frozen=True)
class Latency:
    """How long something takes, of each name always the same."""

    kind: str
    middle: float
    shape: float = 0.0

    @staticmethod
    def of(text: str) -> Latency:
        """Read one: `even:0.1`, `lognormal:0.126:0.61`."""
        kind, *numbers = text.split(":")
        return Latency(kind, *map(float, numbers))

    def seconds(self, name: str) -> float:
        """Return what it takes for a name."""
        chance = (zlib.crc32(name.encode()) + 0.5) / 2**32
        if self.kind == "even":
            return self.middle * (0.5 + chance)
        return self.middle * float(2.718281828459045 ** (self.shape * statistics.NormalDist().inv_cdf(chance)))


def fate_of(host: str) -> str:
    """Return what becomes of a host's URLs."""
    return host.partition(".")[0].rstrip("0123456789")


def hosts(number: int, shares: Mapping[str, float], seed: int = 7) -> list[str]:
    """Return so many hosts, of which these shares have another fate than to be fine."""
    fates = [fate for fate, share in shares.items() for _ in range(round(number * share))]
    fates += ["fine"] * (number - len(fates))
    random.Random(seed).shuffle(fates)
    return [f"{fate}{place}.example" for place, fate in enumerate(fates)]


def url(host: str, port: int) -> str:
    """Return the URL of a host's picture; of a dead one at a port where nobody listens."""
    authority = host if port == 80 else f"{host}:{port}"
    return f"http://{host}:{port + 1}/0.jpg" if fate_of(host) == "dead" else f"http://{authority}/0.jpg"


def address_of(name: str) -> bytes:
    """Return a name's address in 127.0.0.0/8."""
    code = zlib.crc32(name.encode())
    return bytes((127, 1 + (code >> 16) % 250, (code >> 8) % 256, 1 + code % 250))


@cache
def pictures() -> tuple[bytes, ...]:
    """Draw JPEGs of some hundred pixels a side."""
    chance = random.Random(1)
    drawn = []
    for _ in range(PICTURES):
        width, height = chance.randint(280, 640), chance.randint(280, 640)
        noise = Image.frombytes("RGB", (width // 10, height // 10), chance.randbytes(width // 10 * (height // 10) * 3))
        out = io.BytesIO()
        noise.resize((width, height), Image.Resampling.BICUBIC).save(out, "JPEG", quality=85)
        drawn.append(out.getvalue())
    return tuple(drawn)


class NameServer(asyncio.DatagramProtocol):
    """Answers each name when its time has come."""

    def __init__(self, latency: Latency) -> None:
        self._latency = latency

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self._transport = transport
        self._loop = asyncio.get_running_loop()

    def datagram_received(self, data: bytes, peer: Any) -> None:
        """Answer a question, later."""
        labels, place = [], 12
        while size := data[place]:
            labels.append(data[place + 1 : place + 1 + size])
            place += 1 + size
        name = b".".join(labels).lower().decode("latin-1")
        fate = fate_of(name)
        if fate == "mute":
            return
        exists = fate in FATES and fate != "gone" and name.endswith(".example")
        wants_address = data[place + 1 : place + 3] == b"\0\1"
        answered = exists and wants_address
        flags = 0x8180 if exists else 0x8180 | _NAME_ERROR
        head = data[:2] + struct.pack(">HHHHH", flags, 1, int(answered), 0, 0) + data[12 : place + 5]
        record = b"\xc0\x0c\0\1\0\1\0\0\x01\x2c\0\4" + address_of(name) if answered else b""
        self._loop.call_later(self._latency.seconds(name), self._transport.sendto, head + record, peer)


class Host(asyncio.Protocol):
    """Answers requests as the fate of the host that they name has it."""

    def __init__(self, latency: Latency) -> None:
        self._latency = latency
        self._asked = b""

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._port = transport.get_extra_info("sockname")[1]

    def data_received(self, data: bytes) -> None:
        """Take a request, and answer it later."""
        self._asked += data
        while b"\r\n\r\n" in self._asked:
            head, _, self._asked = self._asked.partition(b"\r\n\r\n")
            path = head.split(b" ", 2)[1]
            host = _header(head, b"host").partition(":")[0].lower()
            fate = fate_of(host)
            seconds = self._latency.seconds(f"{host}/") + (_SLOW if fate == "slow" else 0)
            if fate != "silent":
                self._loop.call_later(seconds, self._answer, host, fate, path, b"close" in head.lower())

    def _answer(self, host: str, fate: str, path: bytes, close: bool) -> None:
        if self._transport.is_closing():
            return
        picture = pictures()[zlib.crc32(host.encode()) % PICTURES]
        if path == b"/robots.txt" or fate == "missing":
            self._transport.write(_answer("404 Not Found", b"no"))
        elif fate == "moved" and path == b"/0.jpg":
            number = host.partition(".")[0].removeprefix("moved")
            away = url(f"fine{number}.example", self._port).replace("/0.jpg", "/moved.jpg")
            self._transport.write(_answer("302 Found", b"", f"Location: {away}"))
        elif fate == "page":
            self._transport.write(_answer("200 OK", b"<!DOCTYPE html><title>Sign in</title>" + b" " * 100))
        elif fate == "cut":
            self._transport.write(_answer("200 OK", picture)[: -len(picture) // 2])
            self._transport.close()
        elif fate == "reset":
            connection = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        else:
            self._transport.write(_answer("200 OK", picture))
        if close:
            self._transport.close()


def _header(head: bytes, name: bytes) -> str:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip().decode("latin-1")
    return ""


def _answer(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def explained(statuses: Mapping[str, int], asked: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with the counts of statuses, given the hosts that were asked; nothing where all is right."""
    left = dict(statuses)
    expected: dict[tuple[str, ...], int] = {}
    for host in asked:
        right = FATES[fate_of(host)]
        expected[right] = expected.get(right, 0) + 1
    for right, number in sorted(expected.items(), key=lambda item: len(item[0])):
        taken = 0
        for status in right:
            here = min(left.get(status, 0), number - taken)
            taken += here
            left[status] = left.get(status, 0) - here
        if taken != number:
            yield f"{taken:,} URLs came to {' or '.join(right)}, and {number:,} should"
    yield from (f"{number:,} URLs came to {status}, and none should" for status, number in left.items() if number)


async def serve(
    name_port: int, port: int, address: str, latency: tuple[Latency, Latency], begun: Callable[[int, int], None]
) -> None:
    """Serve names on 127.0.0.1 and pictures on an address, until cancelled; port 0 is any."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: NameServer(latency[0]), local_addr=("127.0.0.1", name_port)
    )
    server = await loop.create_server(lambda: Host(latency[1]), address, port, backlog=4096)
    pictures()
    begun(transport.get_extra_info("sockname")[1], server.sockets[0].getsockname()[1])
    try:
        await server.serve_forever()
    finally:
        transport.close()


def main() -> None:
    """Serve one half, names or pictures, in this process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("half", choices=["names", "pictures"])
    parser.add_argument("latency", type=Latency.of)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        if options.half == "names":
            await loop.create_datagram_endpoint(
                lambda: NameServer(options.latency), local_addr=("127.0.0.1", options.port)
            )
        else:
            pictures()
            await loop.create_server(lambda: Host(options.latency), "0.0.0.0", options.port, backlog=4096)
        print("serving", flush=True)
        await asyncio.Event().wait()

    asyncio.run(run())


if __name__ == "__main__":
    main()
