"""A web server that misbehaves on purpose, by path; it notes all that it sees."""

from __future__ import annotations

import asyncio
import gzip
import io
import random
import socket
import ssl
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import parse_qs, urlsplit

from PIL import Image

HOME = "127.0.0.2"
"""Where the server listens: a network of its own, so that 127.0.0.1 stays forbidden."""


@cache
def jpeg(number: int = 0, side: int = 64) -> bytes:
    """A JPEG; another one for each number."""
    out = io.BytesIO()
    Image.frombytes("L", (side, side), random.Random(number).randbytes(side * side)).save(out, "JPEG")
    return out.getvalue()


@cache
def zeros() -> bytes:
    """A JPEG and a gigabyte of zeros, packed into one megabyte."""
    packer = zlib.compressobj(9, wbits=31)
    packed = packer.compress(jpeg()) + packer.flush(zlib.Z_FULL_FLUSH)
    # A full flush ends on a byte and forgets what was before, so a stretch of zeros can be sent again and again.
    once = zlib.compressobj(9, wbits=-15)
    stretch = once.compress(bytes(2**22)) + once.flush(zlib.Z_FULL_FLUSH)
    return packed + stretch * 256


@dataclass
class Asked:
    """One request, as it came."""

    when: float
    method: str
    target: str
    headers: dict[str, str]
    home: str
    """The address that was connected to."""
    left: float | None = None
    """When it was answered, or its connection gone."""

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def host(self) -> str:
        """The name that it was asked by."""
        return self.headers.get("host", "").rpartition(":")[0]

    def number(self, name: str, default: float = 0) -> float:
        """A number from the query."""
        return float(parse_qs(urlsplit(self.target).query).get(name, [default])[0])


@dataclass
class Seen:
    """What a server saw."""

    asked: list[Asked] = field(default_factory=list)
    """Requests, but for those for robots.txt."""
    robots: list[Asked] = field(default_factory=list)
    connections: int = 0
    most_connections: int = 0
    """Connections that were open at once."""
    most_busy: int = 0
    """Requests that waited for the end of their answer at once."""
    most_busy_of: Counter[str] = field(default_factory=Counter)
    """Host, as it was called → the same of it."""
    _open: int = 0
    _busy: Counter[str] = field(default_factory=Counter)

    def came(self) -> None:
        self.connections += 1
        self._open += 1
        self.most_connections = max(self.most_connections, self._open)

    def went(self) -> None:
        self._open -= 1

    def begins(self, asked: Asked) -> None:
        (self.robots if asked.path == "/robots.txt" else self.asked).append(asked)
        self._busy[asked.host] += 1
        self.most_busy = max(self.most_busy, self._busy.total())
        self.most_busy_of[asked.host] = max(self.most_busy_of[asked.host], self._busy[asked.host])

    def ends(self, asked: Asked) -> None:
        asked.left = time.monotonic()
        self._busy[asked.host] -= 1

    def paths(self) -> Counter[str]:
        """How often each path was asked for."""
        return Counter(each.path for each in self.asked)

    def targets(self) -> Counter[str]:
        """How often each path with its query was asked for."""
        return Counter(each.target for each in self.asked)

    def forget(self) -> None:
        """Begin anew."""
        self.asked.clear()
        self.robots.clear()


Page = Callable[["Talk"], Awaitable[None]]
PAGES: dict[str, Page] = {}


def page(*paths: str) -> Callable[[Page], Page]:
    def add(function: Page) -> Page:
        for path in paths:
            PAGES[path] = function
        return function

    return add


class Talk:
    """One request and the connection to answer on."""

    def __init__(self, asked: Asked, writer: asyncio.StreamWriter, reader: asyncio.StreamReader, web: Web) -> None:
        self.asked, self.writer, self.reader, self.web = asked, writer, reader, web
        self.keep = False

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: str = "200 OK", *headers: str) -> None:
        await self.raw("\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode("utf-8", "surrogateescape"))

    async def answer(self, body: bytes, *headers: str, status: str = "200 OK") -> None:
        """A whole answer, after which the connection is kept."""
        await self.head(status, f"Content-Length: {len(body)}", *headers)
        await self.raw(body)
        self.keep = True

    async def drip(self, data: bytes, seconds: float = 0.05) -> None:
        for at in range(len(data)):
            await self.raw(data[at : at + 1])
            await asyncio.sleep(seconds)

    async def for_ever(self, data: bytes, pause: float = 0) -> None:
        while True:
            await self.raw(data)
            await asyncio.sleep(pause)

    def reset(self) -> None:
        """End the connection as a crash does, not with a goodbye."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


class Web:
    """The server while it runs."""

    def __init__(self, port: int, homes: Sequence[str]) -> None:
        self.port, self.homes = port, homes
        self.scheme = "http"
        self.seen = Seen()
        self.places: dict[str, str] = {}
        """Path → where it redirects to; set by tests."""
        self.robots: dict[str, bytes | Page] = {}
        """Host, as it is called → its robots.txt, or what answers for it; set by tests. Others have none."""
        self.pages: dict[str, Page] = {}
        """Path's beginning → what answers; set by tests."""
        self.raw = b""
        """What /raw answers; set by tests."""

    def url(self, target: str, host: str = "") -> str:
        return f"{self.scheme}://{host or self.homes[0]}:{self.port}{target}"

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.seen.came()
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError, ConnectionError):
            return
        finally:
            self.seen.went()
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection is kept."""
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("utf-8", "surrogateescape").split("\r\n")
        if len(words := lines[0].split(" ", 2)) < 3:
            return False
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
        asked = Asked(time.monotonic(), words[0], words[1], headers, writer.get_extra_info("sockname")[0])
        talk = Talk(asked, writer, reader, self)
        self.seen.begins(asked)
        try:
            await self._page(asked.path, asked.host)(talk)
        finally:
            self.seen.ends(asked)
        return talk.keep

    def _page(self, path: str, host: str) -> Page:
        robots = self.robots.get(host) if path == "/robots.txt" else None
        if robots is not None:
            return robots if callable(robots) else lambda talk: talk.answer(robots)
        if path in self.places:
            return lambda talk: talk.answer(b"", f"Location: {self.places[path]}", status="302 Found")
        if not path.startswith("/"):  # a host and a port, of one who takes us for a proxy
            return stranger
        first = f"/{path.split('/')[1]}"
        return self.pages.get(first) or PAGES.get(path) or PAGES.get(first) or PAGES["/missing"]


@contextmanager
def serve(*homes: str, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Web]:
    """Serve in a thread on these addresses of the loopback network, all on one port."""
    web = Web(port, homes or (HOME,))
    web.scheme = "https" if tls else "http"
    loop = asyncio.new_event_loop()
    started, stop = threading.Event(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(_run(web, started, stop, tls)), daemon=True)
    thread.start()
    try:
        assert started.wait(10), "the server cannot listen"
        yield web
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        assert not thread.is_alive()
        loop.close()


async def _run(web: Web, started: threading.Event, stop: asyncio.Event, tls: ssl.SSLContext | None) -> None:
    servers = []
    for home in web.homes:
        # A backlog for as many as come at once: none is to be refused for want of room.
        servers.append(await asyncio.start_server(web.talk, home, web.port, limit=2**20, backlog=2048, ssl=tls))
        web.port = servers[0].sockets[0].getsockname()[1]
    started.set()
    await stop.wait()
    for server in servers:
        server.close()
    talking = asyncio.all_tasks() - {asyncio.current_task()}
    for task in talking:
        task.cancel()
    await asyncio.gather(*talking, return_exceptions=True)


# What is well behaved.


@page("/good", "/good.jpg")
async def good(talk: Talk) -> None:
    """A picture of its own for each path, /good/N?side=S."""
    number = talk.asked.path.rpartition("/")[2]
    await talk.answer(jpeg(int(number) if number.isdigit() else 0, int(talk.asked.number("side", 64))))


@page("/pause")
async def pause(talk: Talk) -> None:
    await asyncio.sleep(talk.asked.number("s", 0.05))
    await talk.answer(jpeg())


@page("/packed.jpg")
async def packed(talk: Talk) -> None:
    await talk.answer(gzip.compress(jpeg()), "Content-Encoding: gzip")


@page("/deflated.jpg")
async def deflated(talk: Talk) -> None:
    await talk.answer(zlib.compress(jpeg()), "Content-Encoding: deflate")


@page("/chunked.jpg")
async def chunked(talk: Talk) -> None:
    await talk.head("200 OK", "Transfer-Encoding: chunked")
    for at in range(0, len(jpeg()), 100):
        some = jpeg()[at : at + 100]
        await talk.raw(b"%x\r\n%s\r\n" % (len(some), some))
    await talk.raw(b"0\r\n\r\n")
    talk.keep = True


@page("/until_closed.jpg")
async def until_closed(talk: Talk) -> None:
    await talk.head()
    await talk.raw(jpeg())


@page("/continue.jpg")
async def with_continue(talk: Talk) -> None:
    await talk.raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 3)
    await talk.answer(jpeg())


@page("/short_announced.jpg")
async def short_announced(talk: Talk) -> None:
    """More comes than is announced: what is announced is the answer."""
    await talk.head("200 OK", f"Content-Length: {len(jpeg())}")
    await asyncio.sleep(0.02)
    await talk.raw(jpeg() + b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsmuggled!")
    talk.keep = True


# What says how it is.


@page("/status")
async def status(talk: Talk) -> None:
    """/status/CODE, with no body."""
    code = talk.asked.path.rpartition("/")[2]
    if code in ("204", "304"):
        await talk.head(f"{code} So")
        talk.keep = True
    else:
        await talk.answer(b"", status=f"{code} So")


@page("/robots")
async def robots(talk: Talk) -> None:
    """A picture with the X-Robots-Tag headers of the query: ?tag=...&tag=..."""
    tags = parse_qs(urlsplit(talk.asked.target).query).get("tag", [])
    await talk.answer(jpeg(), *(f"X-Robots-Tag: {tag}" for tag in tags))


@page("/busy")
async def busy(talk: Talk) -> None:
    """/busy/NAME?times=N&status=S&after=A&s=T: so often busy, after T seconds, then a picture."""
    await asyncio.sleep(talk.asked.number("s"))
    query = parse_qs(urlsplit(talk.asked.target).query)
    times = sum(each.target == talk.asked.target for each in talk.web.seen.asked)
    if times <= int(query["times"][0]):
        after = [f"Retry-After: {query['after'][0]}"] if "after" in query else []
        await talk.answer(b"", *after, status=f"{query['status'][0]} Busy")
    else:
        await talk.answer(jpeg())


async def stranger(talk: Talk) -> None:
    """What a proxy says to a user whom it does not know."""
    await talk.answer(b"", "Proxy-Authenticate: Basic", status="407 Who")


# What redirects.


@page("/around")
async def around(talk: Talk) -> None:
    """/around/N redirects N times, then is a picture."""
    left = int(talk.asked.path.rpartition("/")[2])
    if left:
        await talk.answer(b"moved", f"Location: /around/{left - 1}", status="301 Moved")
    else:
        await talk.answer(jpeg())


@page("/relative/x")
async def relative(talk: Talk) -> None:
    await talk.answer(b"", "Location: ../good.jpg?a b", status="307 Moved")


@page("/loop")
async def loop(talk: Talk) -> None:
    await talk.answer(b"", "Location: /loop", status="302 Found")


@page("/nowhere")
async def nowhere(talk: Talk) -> None:
    await talk.answer(b"", status="302 Found")


# What is no image.


@page("/html.jpg")
async def html(talk: Talk) -> None:
    await talk.answer(b"<!DOCTYPE html>" + b" " * 100, "Content-Type: image/jpeg")


@page("/svg.jpg")
async def svg(talk: Talk) -> None:
    await talk.answer(b'<svg xmlns="http://www.w3.org/2000/svg"/>' + b" " * 100)


@page("/short.jpg")
async def short(talk: Talk) -> None:
    await talk.answer(b"hi")


@page("/empty.jpg")
async def empty(talk: Talk) -> None:
    await talk.answer(b"", "Content-Type: image/jpeg")


# What lies about its length.


@page("/long_announced.jpg")
async def long_announced(talk: Talk) -> None:
    await talk.head("200 OK", f"Content-Length: {len(jpeg()) + 1000}")
    await talk.raw(jpeg())


@page("/reset.jpg")
async def reset(talk: Talk) -> None:
    await talk.head("200 OK", f"Content-Length: {len(jpeg()) + 1000}")
    await talk.raw(jpeg())
    await asyncio.sleep(0.05)
    talk.reset()


@page("/reset_at_once.jpg")
async def reset_at_once(talk: Talk) -> None:
    talk.reset()


@page("/reset_without_length.jpg")
async def reset_without_length(talk: Talk) -> None:
    await talk.head()
    await talk.raw(jpeg())
    await asyncio.sleep(0.05)
    talk.reset()


@page("/chunked_short.jpg")
async def chunked_short(talk: Talk) -> None:
    await talk.head("200 OK", "Transfer-Encoding: chunked")
    await talk.raw(b"%x\r\n%s\r\n" % (len(jpeg()), jpeg()))


@page("/chunked_badly.jpg")
async def chunked_badly(talk: Talk) -> None:
    await talk.head("200 OK", "Transfer-Encoding: chunked")
    await talk.raw(b"zz\r\n" + jpeg())


@page("/chunked_badly_later.jpg")
async def chunked_badly_later(talk: Talk) -> None:
    await talk.head("200 OK", "Transfer-Encoding: chunked")
    await talk.raw(b"%x\r\n%s\r\n" % (len(jpeg()), jpeg()))
    await asyncio.sleep(0.05)
    await talk.raw(b"zz\r\n" + jpeg())
    await talk.reader.read()


@page("/packed_short.jpg")
async def packed_short(talk: Talk) -> None:
    await talk.answer(gzip.compress(jpeg())[:-20], "Content-Encoding: gzip")


@page("/announced")
async def announced(talk: Talk) -> None:
    """A picture with the Content-Length headers of the query, whatever they are."""
    lengths = parse_qs(urlsplit(talk.asked.target).query, keep_blank_values=True)["length"]
    await talk.head("200 OK", *(f"Content-Length: {length}" for length in lengths))
    await talk.raw(jpeg())
    await asyncio.sleep(0.2)


# What does not end.


@page("/endless.jpg")
async def endless(talk: Talk) -> None:
    await talk.head()
    await talk.raw(jpeg())
    await talk.for_ever(bytes(2**16))


@page("/endless_chunked.jpg")
async def endless_chunked(talk: Talk) -> None:
    await talk.head("200 OK", "Transfer-Encoding: chunked")
    await talk.raw(b"%x\r\n%s\r\n" % (len(jpeg()), jpeg()))
    await talk.for_ever(b"10000\r\n" + bytes(2**16) + b"\r\n")


@page("/endless_trailers.jpg")
async def endless_trailers(talk: Talk) -> None:
    await talk.head("200 OK", "Transfer-Encoding: chunked")
    await talk.raw(b"%x\r\n%s\r\n" % (len(jpeg()), jpeg()))
    await asyncio.sleep(0.05)
    await talk.raw(b"0\r\n")
    await talk.for_ever(b"X-More: and more\r\n" * 1000)


@page("/endless_extension.jpg")
async def endless_extension(talk: Talk) -> None:
    await talk.head("200 OK", "Transfer-Encoding: chunked")
    await talk.raw(b"10;")
    await talk.for_ever(b"x" * 2**16)


@page("/endless_headers.jpg")
async def endless_headers(talk: Talk) -> None:
    await talk.raw(b"HTTP/1.1 200 OK\r\n")
    await talk.for_ever(b"X-More: and more\r\n" * 1000)


@page("/endless_line.jpg")
async def endless_line(talk: Talk) -> None:
    await talk.raw(b"HTTP/1.1 200 ")
    await talk.for_ever(b"O" * 2**16)


@page("/endless_continue.jpg")
async def endless_continue(talk: Talk) -> None:
    await talk.for_ever(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


@page("/endless_empty_blocks.jpg")
async def endless_empty_blocks(talk: Talk) -> None:
    """A packed body that never yields a byte more."""
    await talk.head("200 OK", "Content-Encoding: gzip")
    packer = zlib.compressobj(wbits=31)
    await talk.raw(packer.compress(jpeg()) + packer.flush(zlib.Z_SYNC_FLUSH))
    await talk.for_ever(b"\x00\x00\x00\xff\xff" * 10_000)


@page("/endless_after_packed.jpg")
async def endless_after_packed(talk: Talk) -> None:
    await talk.head("200 OK", "Content-Encoding: gzip")
    await talk.raw(gzip.compress(jpeg()))
    await asyncio.sleep(0.05)
    await talk.for_ever(bytes(2**16))


@page("/endless_afterwards.jpg")
async def endless_afterwards(talk: Talk) -> None:
    """A whole answer, then answers that nobody asked for."""
    await talk.answer(jpeg())
    with suppress(ConnectionError):
        await asyncio.sleep(0.02)
        await talk.for_ever(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * 1000)


@page("/bomb.jpg")
async def bomb(talk: Talk) -> None:
    await talk.answer(zeros(), "Content-Encoding: gzip")


@page("/huge.jpg")
async def huge(talk: Talk) -> None:
    await talk.head("200 OK", f"Content-Length: {10 * 2**30}")
    await talk.raw(jpeg())
    await talk.for_ever(bytes(2**16))


# What takes its time.


@page("/slow_headers.jpg")
async def slow_headers(talk: Talk) -> None:
    await talk.raw(b"HTTP/1.1 200 OK\r\n")
    while True:
        await talk.drip(b"X-Slow: yes\r\n")


@page("/slow_body.jpg")
async def slow_body(talk: Talk) -> None:
    await talk.head("200 OK", f"Content-Length: {len(jpeg())}")
    await talk.drip(jpeg())


@page("/silent.jpg", "/silent")
async def silent(talk: Talk) -> None:
    await talk.reader.read()


# What is hardly HTTP.


@page("/garbage.jpg")
async def garbage(talk: Talk) -> None:
    await talk.raw(b"\x00\xff\xfeSSH-2.0-what\r\n\r\n")


@page("/old.jpg")
async def old(talk: Talk) -> None:
    """HTTP/0.9: a body alone."""
    await talk.raw(jpeg())


@page("/header_of_a_megabyte.jpg")
async def header_of_a_megabyte(talk: Talk) -> None:
    await talk.answer(jpeg(), "X-Much: " + "m" * 2**20)


@page("/brotli.jpg")
async def brotli(talk: Talk) -> None:
    await talk.answer(jpeg(), "Content-Encoding: br")


@page("/not_packed.jpg")
async def not_packed(talk: Talk) -> None:
    await talk.answer(jpeg(), "Content-Encoding: gzip")


@page("/followed_by.jpg")
async def followed_by(talk: Talk) -> None:
    await talk.answer(gzip.compress(jpeg()) + b"and more", "Content-Encoding: gzip")


@page("/no_utf8.jpg")
async def no_utf8(talk: Talk) -> None:
    await talk.raw(b"HTTP/1.1 404 Nicht gefunden \xff\xfc\r\nContent-Length: 0\r\nX-Odd: \xff\r\n\r\n")


@page("/redirect_no_utf8.jpg")
async def redirect_no_utf8(talk: Talk) -> None:
    await talk.raw(b"HTTP/1.1 302 Found\r\nLocation: /\xff\xfe\r\nContent-Length: 0\r\n\r\n")


@page("/encoding_no_utf8.jpg")
async def encoding_no_utf8(talk: Talk) -> None:
    await talk.answer(jpeg(), "Content-Encoding: \udcff\udcfe")


@page("/upgrade.jpg")
async def upgrade(talk: Talk) -> None:
    await talk.head("101 Switching Protocols", "Upgrade: websocket", "Connection: upgrade")
    await talk.for_ever(b"\x82\x7f" + bytes(1000))


@page("/raw")
async def raw(talk: Talk) -> None:
    """Whatever a test wants."""
    await talk.raw(talk.web.raw)


@page("/missing")
async def missing(talk: Talk) -> None:
    await talk.answer(b"<p>no</p>", status="404 Not Found")
