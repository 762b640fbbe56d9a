"""A good picture behind a bad head is fetched, as browsers and curl fetch it; or it is at least asked for again."""

from __future__ import annotations

import asyncio
import gzip
import io
import shutil
import socket
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import pairwise

import pyarrow as pa
import pytest
from hostile_web import HOME, jpeg
from hypothesis import given
from hypothesis import strategies as st

from align_data.fetching.chunked_body import ChunkedBody
from align_data.fetching.client import Client, Policy
from align_data.fetching.guard import Guard
from align_data.fetching.img2dataset.opener import opener
from align_data.fetching.img2dataset_messages import outcome
from align_data.fetching.outcome import Outcome
from align_data.fetching.response_body import ResponseBody
from align_data.fetching.response_head import Head, NoHeadError

POLICY = Policy(Guard.of([f"{HOME}/32"]), deadline=30)
BODY = jpeg()
SIZE = b"Content-Length: %d\r\n" % len(BODY)
OK = b"HTTP/1.1 200 OK\r\n"


def chunked(body: bytes = BODY, end: bytes = b"0\r\n\r\n", extension: bytes = b"") -> bytes:
    pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)]
    return b"".join(b"%x%s\r\n%s\r\n" % (len(some), extension, some) for some in pieces) + end


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def encoded(name: str, body: bytes = BODY) -> bytes:
    return OK + b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (name.encode("latin-1"), len(body)) + body


def raw_deflate(body: bytes = BODY) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


def arrow(name: str, body: bytes = BODY) -> bytes:
    return bytes(pa.Codec(name).compress(body, asbytes=True))


PLAIN = ["aws-chunked", "utf-8", "UTF8", "none", "binary", "identity", "8bit", "image/jpeg", "x", "", ",", "gzip", "br"]
PLAIN += ["deflate", "zstd", "aws-chunked, gzip", "compress", "sdch", "\xff\xfe"]
TAKEN = {f"Content-Encoding: {name!r} of a plain picture": encoded(name) for name in PLAIN} | {
    "gzip": encoded("gzip", gzip.compress(BODY)),
    "GZIP": encoded(" GZIP ", gzip.compress(BODY)),
    "x-gzip": encoded("x-gzip", gzip.compress(BODY)),
    "gzip, and more": encoded("gzip", gzip.compress(BODY) + b"and more"),
    "gzip of another name": encoded("deflate", gzip.compress(BODY)),
    "gzip, gzip": encoded("gzip, gzip", gzip.compress(gzip.compress(BODY))),
    "aws-chunked, gzip": encoded("aws-chunked,gzip", gzip.compress(BODY)),
    "deflate": encoded("deflate", zlib.compress(BODY)),
    "raw deflate": encoded("deflate", raw_deflate()),
    "brotli": encoded("br", arrow("brotli")),
    "zstd": encoded("zstd", arrow("zstd")),
    "zstd in gzip": encoded("zstd, gzip", gzip.compress(arrow("zstd"))),
    "gzip as transfer encoding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunked(gzip.compress(BODY)),
    "a header of 60 kB": OK + b"X-Long: " + b"x" * 60_000 + b"\r\n" + SIZE + b"\r\n" + BODY,
    "a header name of 10 kB": OK + b"x" * 10_000 + b": y\r\n" + SIZE + b"\r\n" + BODY,
    "a head of 200 kB": OK + b"Set-Cookie: a=b\r\n" * 12_000 + SIZE + b"\r\n" + BODY,
    "300 headers": OK + b"".join(b"X-%d: y\r\n" % n for n in range(300)) + SIZE + b"\r\n" + BODY,
    "a reason of 10 kB": b"HTTP/1.1 200 " + b"O" * 10_000 + b"\r\n" + SIZE + b"\r\n" + BODY,
    "two equal lengths": OK + SIZE * 2 + b"\r\n" + BODY,
    "two equal lengths in one": OK + b"Content-Length: %d, %d\r\n\r\n" % (len(BODY), len(BODY)) + BODY,
    "a length that is none": OK + b"Content-Length: many\r\n\r\n" + BODY,
    "a length of nothing": OK + b"Content-Length:\r\n\r\n" + BODY,
    "a length with zeros": OK + b"Content-Length: 000%d\r\n\r\n" % len(BODY) + BODY,
    "a length and a blank": OK + b"Content-Length:%d \r\n\r\n" % len(BODY) + BODY,
    "a blank before the colon": OK + b"Content-Length : %d\r\n\r\n" % len(BODY) + BODY,
    "a line without a colon": OK + b"no colon\r\n" + SIZE + b"\r\n" + BODY,
    "a line of one sign": OK + b"X\r\n" + SIZE + b"\r\n" + BODY,
    "a line of a colon": OK + b":\r\n: x\r\n" + SIZE + b"\r\n" + BODY,
    "a name with blanks": OK + b"X Y Z: a\r\n" + SIZE + b"\r\n" + BODY,
    "a name of Latin-1": OK + b"X-\xfc: \xfc\r\n" + SIZE + b"\r\n" + BODY,
    "a status line again": OK + b"HTTP/1.1 200 OK\r\n" + SIZE + b"\r\n" + BODY,
    "a folded line": OK + b"X: a\r\n b\r\n\tc\r\n" + SIZE + b"\r\n" + BODY,
    "a first line that is folded": OK + b" X: a\r\n" + SIZE + b"\r\n" + BODY,
    "control characters": OK + b"X: a\x01\x02\x7f\x1b[2Jb\r\n" + SIZE + b"\r\n" + BODY,
    "a lone carriage return": OK + b"X: a\rb\r\n" + SIZE + b"\r\n" + BODY,
    "UTF-8 in a value": OK + "Content-Disposition: inline; filename=ü€.jpg\r\n".encode() + SIZE + b"\r\n" + BODY,
    "line feeds alone": (OK + SIZE + b"\r\n").replace(b"\r\n", b"\n") + BODY,
    "line feeds here and there": OK + b"A: b\nC: d\r\n" + SIZE + b"\n" + BODY,
    "no reason": b"HTTP/1.1 200\r\n" + SIZE + b"\r\n" + BODY,
    "no reason and a blank": b"HTTP/1.1 200 \r\n" + SIZE + b"\r\n" + BODY,
    "a reason of Latin-1": b"HTTP/1.1 200 \xd6kay\r\n" + SIZE + b"\r\n" + BODY,
    "two blanks": b"HTTP/1.1  200  OK\r\n" + SIZE + b"\r\n" + BODY,
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n" + SIZE + b"\r\n" + BODY,
    "HTTP/1.0 without headers": b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
    "HTTP/1.0 in chunks": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(),
    "small letters": b"http/1.1 200 ok\r\n" + SIZE.lower() + b"\r\n" + BODY,
    "ICY": b"ICY 200 OK\r\n" + SIZE + b"\r\n" + BODY,
    "empty lines first": b"\r\n\r\n" + OK + SIZE + b"\r\n" + BODY,
    "early hints": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK + SIZE + b"\r\n" + BODY,
    "processing": b"HTTP/1.1 102 Processing\r\n\r\n" * 3 + OK + SIZE + b"\r\n" + BODY,
    "no length": OK + b"\r\n" + BODY,
    "closing": OK + b"Connection: close\r\n" + SIZE + b"\r\n" + BODY,
    "something after the body": OK + SIZE + b"\r\n" + BODY + b"\r\n\r\nand more",
    "something after a closing body": OK + b"Connection: close\r\n" + SIZE + b"\r\n" + BODY + b"and more",
    "chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(),
    "Chunks": OK + b"Transfer-Encoding: Chunked \r\n\r\n" + chunked(),
    "chunks twice": OK + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n" + chunked(),
    "chunks and a length": OK + SIZE + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(),
    "chunks and a wrong length": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(),
    "chunks with extensions": OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(extension=b';a=b;c="d"'),
    "chunks with blanks": OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(extension=b"  "),
    "chunks with trailers": OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(end=b"0\r\nX-Checksum: 1\r\n\r\n"),
    "chunks and something behind": OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked() + b"and more",
    "chunks of zeros": OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(end=b"000\r\n\r\n"),
    "identity as transfer encoding": OK + b"Transfer-Encoding: identity\r\n" + SIZE + b"\r\n" + BODY,
    "a version that is none": b"HTTP/x.y 200 OK\r\n" + SIZE + b"\r\n" + BODY,
    "no version": b"HTTP 200 OK\r\n" + SIZE + b"\r\n" + BODY,
    "a version of three numbers": b"HTTP/1.1.1 200 OK\r\n" + SIZE + b"\r\n" + BODY,
    "a version of 5,000 digits": b"HTTP/1." + b"9" * 5000 + b" 200 OK\r\n" + SIZE + b"\r\n" + BODY,
    "HTTP/2": b"HTTP/2 200 OK\r\n" + SIZE + b"\r\n" + BODY,
    **{f"{code}": b"HTTP/1.1 %d So\r\n" % code + SIZE + b"\r\n" + BODY for code in (201, 202, 203, 206)},
    "all as a part": b"HTTP/1.1 206 So\r\nContent-Range: bytes 0-%d/%d\r\n" % (len(BODY) - 1, len(BODY))
    + SIZE
    + b"\r\n"
    + BODY,
    "chunks with line feeds alone": CHUNKED + b"%x\n%s\n0\n\n" % (len(BODY), BODY),
    "chunks with an empty extension": CHUNKED + chunked(extension=b";"),
    "chunks with an odd extension": CHUNKED + chunked(extension=b" ; a = b; \xff\x01"),
    "chunks with a long extension": CHUNKED + chunked(extension=b";" + b"a" * 20_000),
    "chunks with 40 zeros": CHUNKED + b"0" * 40 + chunked(),
    "a trailer without a colon": CHUNKED + chunked(end=b"0\r\nno colon\r\n\r\n"),
    "a trailer of a length": CHUNKED + chunked(end=b"0\r\nContent-Length: 5\r\n\r\n"),
    "3,000 trailers": CHUNKED + chunked(end=b"0\r\n" + b"X: a\r\n" * 3000 + b"\r\n"),
    "an upgrade that is offered": OK + b"Upgrade: h2,h2c\r\nConnection: Upgrade\r\n" + SIZE + b"\r\n" + BODY,
}
"""What browsers or curl take."""
REFUSED = {
    "lengths that differ": OK + SIZE + b"Content-Length: 5\r\n\r\n" + BODY,
    "no HTTP": b"SSH-2.0-x\r\n\r\n" + BODY,
    "a body alone": BODY,
    "no status": b"HTTP/1.1 OK\r\n\r\n" + BODY,
    "a head of 300 kB": OK + b"Set-Cookie: a=b\r\n" * 18_000 + SIZE + b"\r\n" + BODY,
    "chunks that are none": CHUNKED + BODY,
    "chunks without ends": CHUNKED + b"%x\r\n%s0\r\n\r\n" % (len(BODY), BODY),
    "a chunk of -1": CHUNKED + b"-1\r\n" + BODY,
    "a chunk beyond all measure": CHUNKED + b"f" * 18 + b"\r\n" + BODY,
    "packed otherwise": encoded("gzip", gzip.compress(BODY)[:10] + b"\xff" * 1000),
}
"""What nobody takes."""


@contextmanager
def serve(answers: dict[str, bytes]) -> Iterator[dict[str, str]]:
    """Answer with these bytes, and then say goodbye; give the URL of each."""
    bodies = list(answers.values())

    def answer(connection: socket.socket) -> None:
        with connection:
            connection.settimeout(30)
            come = b""
            while b"\r\n\r\n" not in come:
                if not (some := connection.recv(2**16)):
                    return
                come += some
            try:
                connection.sendall(bodies[int(come.split(b" ")[1][1:])])
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(2**16):
                    pass
            except OSError:  # it has heard enough
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    with socket.create_server((HOME, 0), backlog=200) as server:
        threading.Thread(target=accept, daemon=True).start()
        port = server.getsockname()[1]
        yield {name: f"http://{HOME}:{port}/{number}" for number, name in enumerate(answers)}
        server.shutdown(socket.SHUT_RDWR)


def by_client(url: str) -> tuple[Outcome, bytes]:
    async def get() -> tuple[Outcome, bytes]:
        body = io.BytesIO()
        async with Client.of(POLICY) as client, client.visit() as visit:
            return await visit.get(url, body, POLICY.deadline), body.getvalue()

    return asyncio.run(get())


def by_urllib(url: str) -> tuple[Outcome, bytes]:
    try:
        with opener(POLICY).open(url) as response:
            return Outcome("ok"), response.read()
    except Exception as error:  # as img2dataset does
        return outcome("failed_to_download", str(error)), b""


FETCHERS = {"client": by_client, "urllib": by_urllib}


@pytest.fixture(params=FETCHERS)
def fetcher(request: pytest.FixtureRequest) -> Callable[[str], tuple[Outcome, bytes]]:
    return FETCHERS[request.param]


@pytest.fixture(scope="module")
def taken() -> Iterator[dict[str, str]]:
    with serve(TAKEN) as urls:
        yield urls


@pytest.mark.parametrize("name", TAKEN)
def test_what_browsers_take_is_taken(
    taken: dict[str, str], name: str, fetcher: Callable[[str], tuple[Outcome, bytes]]
) -> None:
    found, body = fetcher(taken[name])
    assert (found.status, found.reason) == ("ok", None)
    assert body == BODY


def test_what_nobody_takes_has_a_status(fetcher: Callable[[str], tuple[Outcome, bytes]]) -> None:
    with serve(REFUSED) as urls:
        found = {name: fetcher(url)[0] for name, url in urls.items()}
    assert {name: each.status for name, each in found.items()} == dict.fromkeys(REFUSED, "bad_response")
    assert not any("http://" in str(each.reason) for each in found.values())


def test_a_part_and_what_fails_its_checksum_are_not_taken_for_the_picture(
    fetcher: Callable[[str], tuple[Outcome, bytes]],
) -> None:
    part = b"HTTP/1.1 206 So\r\nContent-Range: bytes 0-%d/9999\r\n" % (len(BODY) - 1) + SIZE + b"\r\n" + BODY
    packed = gzip.compress(BODY)
    with serve({"part": part, "sum": encoded("gzip", packed[:-8] + bytes(4) + packed[-4:])}) as urls:
        assert fetcher(urls["part"])[0].status == "http_206"
        assert fetcher(urls["sum"])[0].status == "bad_response"
        assert by_client(urls["sum"])[0].retryable


def by_curl(url: str, *options: str) -> bytes | None:
    """Return what curl takes; None where it takes nothing."""
    command = ["curl", "-q", "--noproxy", "*", "--silent", "--http1.1", "--max-time", "20", *options, url]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    return None if done.returncode else done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="compares with curl")
def test_what_curl_takes_is_taken_or_asked_for_again() -> None:
    with serve(TAKEN | REFUSED) as urls:
        del urls["a head of 300 kB"]  # an old curl takes a head of any length
        by_it = {name for name, url in urls.items() if BODY in (by_curl(url), by_curl(url, "--compressed"))}
        ours = {name: by_client(urls[name])[0] for name in by_it}
    assert {name: each for name, each in ours.items() if each.status != "ok" and not each.retryable} == {}
    assert len(by_it) > len(TAKEN) / 2


# Whatever comes, and however it is cut.

sizes = st.sampled_from([b"", b"0", b"00"])


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=9), sizes, st.sampled_from([b"\n", b"\r\n"]), st.data())
def test_chunks_are_plain_however_they_come(bodies: list[bytes], zeros: bytes, end: bytes, data: st.DataObject) -> None:
    extensions = st.sampled_from([b"", b" ", b";", b";a", b' ; "b"=\xff;'])
    sent = b"".join(b"%s%x%s%s%s%s" % (zeros, len(b), data.draw(extensions), end, b, end) for b in bodies)
    sent += b"0" + zeros + end + b"".join(data.draw(st.lists(st.just(b"X" + end), max_size=3))) + end
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=5)))
    chunks = ChunkedBody()
    plain = b"".join(chunks.take(sent[a:b]) for a, b in pairwise([0, *cuts, len(sent)])) + chunks.take(b"after")
    come = b""
    while not plain.startswith(b"0\r\n"):
        size, _, plain = plain.partition(b"\r\n")
        come, plain = come + plain[: int(size, 16)], plain[int(size, 16) :]
        assert plain.startswith(b"\r\n")
        plain = plain[2:]
    assert (come, plain) == (b"".join(bodies), b"0\r\n\r\nafter")


def whole(data: bytes, cuts: list[int]) -> tuple[bytes, bytes] | str:
    """Return what the head of some data is, fed in pieces."""
    head, plain, body = Head(), b"", b""
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    try:
        for start, end in pairwise(edges):
            some, rest = head.take(data[start:end])
            plain, body = plain + some, body + rest
    except NoHeadError as error:
        return str(error)
    return plain, body


lines = st.sampled_from(
    [OK, SIZE, b"HTTP/1.0 200\n", b"\r\n", b"\n", b" a\r\n", b":\r\n", b"Transfer-Encoding: chunked\r\n"]
)
heads = st.lists(lines | st.binary(max_size=9), max_size=9).map(b"".join)


@given(heads, st.lists(st.integers(0, 300), max_size=9))
def test_how_a_head_is_cut_changes_nothing(data: bytes, cuts: list[int]) -> None:
    once, again = whole(data, []), whole(data, cuts)
    assert type(once) is type(again)
    if not isinstance(once, str):
        assert once == again
        plain, body = once
        assert data.endswith(body)
        # What is plain stays as it is.
        assert plain == b"" or whole(plain + body, []) == once


@given(heads)
def test_a_plain_head_has_one_end_of_its_body(data: bytes) -> None:
    found = whole(data, [])
    if isinstance(found, str) or not found[0]:
        return
    first, *headers, last, end = found[0].split(b"\r\n")
    assert first.startswith((b"HTTP/1.1 ", b"HTTP/1.0 "))
    assert last == end == b""
    names = [line.partition(b":")[0].lower() for line in headers]
    assert sum(names.count(name) for name in (b"content-length", b"transfer-encoding")) <= 1
    assert not any(b"\0" in line or b"\r" in line or b"\n" in line for line in headers)


codings = st.lists(st.sampled_from(["gzip", "deflate", "br", "zstd", "x", "identity"]), max_size=4)
PACK = {"gzip": gzip.compress, "deflate": zlib.compress, "br": lambda b: arrow("brotli", b)}
PACK["zstd"] = lambda b: arrow("zstd", b)


@given(codings, st.integers(1, 5000), st.booleans())
def test_a_body_is_unpacked_whatever_its_layers_and_pieces(names: list[str], piece: int, packed: bool) -> None:
    body = BODY
    for name in names if packed else ():
        body = PACK.get(name, bytes)(body)
    come = b""
    with closing(ResponseBody(", ".join(names), 2**20)) as content:
        for at in range(0, len(body), piece):
            some = content.take(body[at : at + piece])
            assert isinstance(some, bytes)
            come += some
        rest, end = content.end()
    assert (come + rest, end.status) == (BODY, "ok")


@given(codings, st.binary(max_size=300), st.sampled_from([b"", *(pack(bytes(10**6)) for pack in PACK.values())]))
def test_any_body_comes_to_an_outcome_and_no_more_than_it_may(names: list[str], some: bytes, bomb: bytes) -> None:
    with closing(ResponseBody(", ".join(names), 10_000)) as content:
        come = content.take(bomb + some)
        rest, end = content.end() if isinstance(come, bytes) else (b"", come)
    assert end.status in ("ok", "not_an_image", "bad_response", "truncated", "too_large")
    assert not isinstance(come, bytes) or len(come + rest) <= 10_000
