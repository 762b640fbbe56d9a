"""Whatever a web server does, a URL ends with its status, and nobody is connected to who is not allowed."""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import forked
import polars as pl
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from click.testing import CliRunner
from conftest import Crashes, build, read, tree, write_list
from hostile_web import HOME, PAGES, Web, jpeg, serve
from hypothesis import example, given
from hypothesis import strategies as st
from in_process import child_of
from name_server import name_server

from align_data.cli import main
from align_data.common.errors import DatasetError, OutputError
from align_data.common.progress import Silent
from align_data.common.workers.values import plain
from align_data.data.image_table import names_of
from align_data.data.layout import Dataset
from align_data.engines.local import LocalEngine
from align_data.fetching import patience, worker_replies
from align_data.fetching.client import Client, Policy
from align_data.fetching.crawl import Crawl
from align_data.fetching.crawl_state import FetchedChunk
from align_data.fetching.guard import Guard
from align_data.fetching.limits import Limits
from align_data.fetching.outcome import STATUSES, Outcome
from align_data.fetching.worker import ChunkTask, FetchSettings, handler, make_room, row
from align_data.stages.fetch import FetchReport, fetch
from align_data.stages.ingest import Parts, ingest
from align_data.storage.store import Store
from align_data.storage.tars import Place, TarReader, TarWriter

AT_HOME = Guard.of([f"{HOME}/32"])
POLICY = Policy(AT_HOME, max_bytes=2**20, deadline=1.0, contact="me@example.org")
LIMITS = Limits(connections=64, per_host=64)


@pytest.fixture(scope="module", autouse=True)
def short_pause() -> Iterator[None]:
    """Hosts that name no time to come are left alone for a moment only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("align_data.fetching.client.PAUSE", 0.05)
        yield


def dataset_of(out: Path, urls: Iterable[str], parts: Parts = Parts()) -> Dataset:  # noqa: B008
    """Make a dataset of these URLs, each with a text of its own."""
    rows = [{"url": url, "alt_text": f"text {number}"} for number, url in enumerate(urls)]
    dataset = Dataset(Store(out / "dataset"))
    lists = write_list(out / "lists", rows)
    account = ingest(lists, dataset, LocalEngine(dataset.store.work, 2), Silent(), parts=parts)
    assert account.pairs == len(rows)
    return dataset


def run(
    dataset: Dataset,
    policy: Policy = POLICY,
    limits: Limits = LIMITS,
    ledger: str | None = None,
    workers: int = 1,
    chunk: int = 2048,
) -> tuple[FetchReport, pl.DataFrame]:
    """Fetch; return the report and the table."""
    report = fetch(dataset, ledger, policy, limits, LocalEngine(dataset.store.work, workers), Silent(), chunk)
    return report, read(dataset, "images")


def statuses(images: pl.DataFrame) -> dict[str, str]:
    return dict(images.select("url", "status").iter_rows())


@contextmanager
def forbidden(port: int) -> Iterator[None]:
    """Listen where nobody may connect to, on the port that all ask for; nobody has, at the end."""
    homes = ["127.0.0.1"]
    with suppress(OSError), socket.create_server(("::1", port), family=socket.AF_INET6):
        homes.append("::1")
    with ExitStack() as stack:
        found = [stack.enter_context(serve(home, port=port)) for home in homes]
        yield
        assert [web.seen.connections for web in found] == [0] * len(found)


# Every answer that a server can give, and whether another run asks again.

ANSWERS = """
ok
    /good.jpg /packed.jpg /deflated.jpg /chunked.jpg /until_closed.jpg /continue.jpg /short_announced.jpg /relative/x
    /not_packed.jpg /brotli.jpg /encoding_no_utf8.jpg /followed_by.jpg /announced?length=-1 /announced?length=%2B9
    /announced?length=9x /announced?length= /announced?length=999999999999999999999999999999
    /around/10 /robots?tag=googlebot:+noindex /busy/a?times=1&status=429&after=0 /busy/b?times=2&status=503&after=0
too_many_redirects
    /around/11 /loop
not_an_image
    /html.jpg /svg.jpg /short.jpg /empty.jpg
truncated again
    /long_announced.jpg /reset.jpg /reset_without_length.jpg /chunked_short.jpg /packed_short.jpg
connect again
    /reset_at_once.jpg
timeout again
    /slow_headers.jpg /slow_body.jpg /silent.jpg
too_large
    /endless.jpg /endless_chunked.jpg /endless_empty_blocks.jpg /bomb.jpg /huge.jpg /announced?length=1000000000000000
    /endless_after_packed.jpg
bad_response
    /chunked_badly.jpg /chunked_badly_later.jpg /endless_trailers.jpg /endless_headers.jpg /endless_line.jpg
    /garbage.jpg /old.jpg /header_of_a_megabyte.jpg /status/600 /status/999 /announced?length=5&length=6
opted_out
    /robots?tag=noai /robots?tag=all&tag=nofollow,NOIMAGEINDEX
    /robots?tag=unavailable_after:+Fri,+25+Jun+2010+15:00:00+GMT,+noindex
rate_limited again
    /busy/c?times=3&status=429&after=0
http_101
    /upgrade.jpg
http_302
    /nowhere
http_404
    /missing /no_utf8.jpg /redirect_no_utf8.jpg
http_503 again
    /busy/d?times=1&status=503
"""
CODES = {204: "", 206: "", 304: "", 400: "", 403: "", 404: "", 410: "", 451: "", 501: "", 505: ""} | dict.fromkeys(
    (408, 425, 500, 502, 503, 504, 599), "again"
)
HOGS = ("/endless_extension.jpg", "/endless_continue.jpg", "/endless_afterwards.jpg")
"""Pages that take all the time there is from others; they have a test of their own."""


def answers() -> dict[str, tuple[str, bool]]:
    """Path → its status, and whether it is retryable."""
    found = {f"/status/{code}": (f"http_{code}", again == "again") for code, again in CODES.items()}
    for line in ANSWERS.strip().splitlines():
        if not line.startswith(" "):
            status, _, again = line.partition(" ")
        found |= {path: (status, again == "again") for path in line.split() if line.startswith(" ")}
    return found


# Where a redirect leads, and what that comes to. {p} is the port that listeners wait at for whoever goes astray.
LEADS = """
refused_address
    http://127.0.0.1:{p}/good.jpg|https://127.0.0.1:{p}/|//127.0.0.1:{p}/good.jpg|http://localhost:{p}/good.jpg
    http://LOCALHOST:{p}/|http://127.1:{p}/|http://0:{p}/|http://0.0.0.0:{p}/|http://2130706433:{p}/|http://0x7f.1:{p}/
    http://0x7f000001:{p}/|http://0X7F.0.0.1:{p}/|http://0177.0.0.1:{p}/|http://017700000001:{p}/|http://127.0.0.1.:{p}/
    http://[::1]:{p}/|http://[::]:{p}/|http://[::ffff:127.0.0.1]:{p}/|http://[::ffff:7f00:1]:{p}/|http://[::127.0.0.1]:{p}/
    http://[0:0:0:0:0:ffff:127.0.0.1]:{p}/|http://[64:ff9b::7f00:1]:{p}/|http://[2002:7f00:1::]:{p}/
    http://me:you@127.0.0.1:{p}/|http://127.0.0.2@127.0.0.1:{p}/|http://１２７.0.0.1:{p}/|http://127。0。0。1:{p}/
    http://①②⑦.0.0.1:{p}/|http://10.0.0.1/|http://172.16.0.1/|http://192.168.1.1/|http://169.254.169.254/latest
    http://100.64.0.1/|http://168.63.129.16/|http://224.0.0.1/|http://255.255.255.255/|http://[fe80::1%25lo]/
    http://[fd00::1]/|http://[fec0::1]/|http://[ff02::1]/
refused_scheme
    file:///etc/passwd|FILE:/etc/passwd|data:image/jpeg;base64,/9j/|javascript:alert(1)|about:blank|ftp://127.0.0.1:{p}/
    gopher://127.0.0.1:{p}/|ws://127.0.0.1:{p}/|unix:/run/docker.sock|http+unix://%2Frun/
bad_url
    http://[|http://[::1|http://:80/|http://a..b/|http://127.0.0.2:0/|http://127.0.0.2:99999/|http://127.0.0.2:x/
    http://1.2.3.4.5/|http://256.256.256.256/|http://8.8.2056/|http://%31%32%37.0.0.1/|http://127.0.0.2\\@127.0.0.1:{p}/
    http://a b/|http://*/
ok
    /good.jpg|../good.jpg|./../good.jpg|../../good.jpg|//127.0.0.2:{p}/good.jpg|HTTP://127.0.0.2:{p}/good.jpg
    /good.jpg#there|/good.jpg?a b&ü|  /good.jpg  |http://me:you@127.0.0.2:{p}/good.jpg|http:/good.jpg
http_404
    http:///x
too_many_redirects
    http://|http:
"""


def leads(port: int) -> dict[str, tuple[str, str]]:
    """Path → where it redirects to, and what it comes to."""
    found: list[tuple[str, str]] = [("", "too_many_redirects"), (f"http://{'a' * 64}.example/", "bad_url")]
    status = ""
    for line in LEADS.strip().splitlines():
        if line.startswith("    "):
            found.extend((where.replace("{p}", str(port)), status) for where in line[4:].split("|"))
        else:
            status = line
    return {f"/to/{number}": each for number, each in enumerate(found)}


def test_every_page_is_tried() -> None:
    tried = {path.partition("?")[0] for path in answers()} | set(HOGS)
    assert {path for path in PAGES if not any(each == path or each.startswith(f"{path}/") for each in tried)} == {
        *("/good", "/pause", "/silent", "/raw")  # by other tests
    }


def test_every_answer_is_a_status_and_only_who_is_allowed_is_connected(tmp_path: Path) -> None:
    with serve() as web, forbidden(web.port):
        away = leads(web.port)
        web.places = {path: where for path, (where, _) in away.items()}
        expected = {web.url(path): answer for path, answer in answers().items()}
        expected |= {web.url(path): (status, False) for path, (_, status) in away.items()}
        # The same without a redirect: it is in the list.
        expected |= {where: (s, False) for where, s in away.values() if s == "refused_address" and where[0] != "/"}
        dataset = dataset_of(tmp_path, expected)
        report, images = run(dataset, replace(POLICY, deadline=2.0))
        found = {url: (status, again) for url, status, again in images.select("url", "status", "retryable").iter_rows()}
        wrong = {
            url: (away.get(url.removeprefix(web.url(""))), each) for url, each in found.items() if each != expected[url]
        }
        assert not wrong
        assert report.asked == len(expected)
        assert report.outcomes == report.statuses == dict(Counter(status for status, _ in expected.values()))
        assert report.retryable == sum(again for _, again in expected.values())
        assert all(status in STATUSES or status.startswith("http_") for status in report.statuses)
        # Every URL that came to nothing says why, in words that any table can hold.
        assert images.filter((pl.col("status") != "ok") & pl.col("reason").is_null()).is_empty()
        assert images.filter(pl.col("reason").str.len_chars() > 300).is_empty()
        assert set(check_tars(dataset).values()) == {jpeg()}
        assert {each.method for each in web.seen.asked} == {"GET"}
        (agent,) = {each.headers["user-agent"] for each in web.seen.asked}
        assert agent.startswith("align-data/")
        assert "me@example.org" in agent
        assert not any("cookie" in each.headers for each in web.seen.asked)


# The client and the crawl by themselves, in this process.


class Names(AbstractResolver):
    """Resolves every name to our server, or to the next of what it is told."""

    def __init__(self, told: dict[str, list[list[str]]] | None = None) -> None:
        self.told = told or {}

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[ResolveResult]:
        found = self.told[host].pop(0) if host in self.told else [HOME]
        family = {host: socket.AF_INET6 if ":" in host else socket.AF_INET for host in found}
        return [ResolveResult(hostname=host, host=a, port=port, family=family[a], proto=0, flags=0) for a in found]

    async def close(self) -> None:
        pass


def crawl(
    urls: Sequence[str], policy: Policy = POLICY, limits: Limits = LIMITS, names: AbstractResolver | None = None
) -> tuple[list[Outcome], list[bytes | None]]:
    """Ask for URLs in chunks of a hundred; return what each came to, and its body. Bounded in time."""
    found: dict[int, tuple[list[Outcome], list[bytes | None]]] = {}

    def finish(fetched: FetchedChunk) -> None:
        bodies: list[bytes | None] = [None] * len(fetched.outcomes)
        for place, (start, size) in fetched.places.items():
            fetched.spool.seek(start)
            bodies[place] = fetched.spool.read(size)
        found[fetched.number] = (fetched.outcomes, bodies)

    async def work(folder: str) -> None:
        async with Client.of(policy, names or Names()) as client:
            crawl = Crawl(client, limits, policy.deadline, folder)
            chunks = enumerate(urls[at : at + 100] for at in range(0, len(urls), 100))
            async with asyncio.timeout(60):
                await crawl.run(chunks, finish, lambda: None)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(work(folder))
    ordered = [found[number] for number in range(len(found))]
    return [o for outcomes, _ in ordered for o in outcomes], [b for _, bodies in ordered for b in bodies]


def ask(url: str, policy: Policy = POLICY, names: AbstractResolver | None = None) -> Outcome:
    return crawl([url], policy, names=names)[0][0]


def test_a_body_belongs_to_its_url() -> None:
    with serve() as web:
        urls = [f"http://h{number % 7}.example:{web.port}/good/{number}" for number in range(250)]
        outcomes, bodies = crawl(urls, limits=Limits(16, 3))
        assert {outcome.status for outcome in outcomes} == {"ok"}
        assert bodies == [jpeg(number) for number in range(250)]
        assert web.seen.connections < 250 / 2  # they are kept while a host has more to give


def test_a_name_of_forbidden_addresses_is_refused_at_each_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("align_data.fetching.resolver.REMEMBERED", -1)
    with serve() as web, forbidden(web.port):
        names = Names(
            {
                "private.example": [["127.0.0.1"], ["169.254.169.254"]],
                "mapped.example": [["::ffff:127.0.0.1"]],
                "six.example": [["::1", "127.0.0.1", "10.0.0.1"]],
                "mixed.example": [["127.0.0.1", HOME]],
                "later.example": [[HOME], ["127.0.0.1"]],
                "none.example": [[]],
            }
        )
        web.places["/away"] = f"http://private.example:{web.port}/good.jpg"

        def at(host: str) -> tuple[str, str | None, bool]:
            found = ask(f"http://{host}.example:{web.port}/good.jpg", names=names)
            return found.status, found.reason, found.retryable

        def refused(host: str, address: str, why: str = "is not public") -> tuple[str, str, bool]:
            return "refused_address", f"{host}.example: {address} {why}", False

        assert at("private") == refused("private", "127.0.0.1")
        assert at("mapped") == refused("mapped", "::ffff:127.0.0.1")
        assert at("six") == refused("six", "::1", "is an IPv4 address in disguise")
        assert at("mixed") == at("later") == ("ok", None, False)
        assert at("later") == refused("later", "127.0.0.1")
        assert at("none") == ("dns", "[Errno -2] the name has no address", False)
        assert ask(web.url("/away"), names=names).reason == "private.example: 169.254.169.254 is not public"


def test_a_guard_holds_where_a_resolver_lets_everything_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("align_data.fetching.resolver.Resolver._let_through", lambda self, host, found: found)
    with serve() as web, forbidden(web.port):
        for addresses in (["127.0.0.1"], ["::1"], ["127.0.0.1", "::1"], ["::ffff:127.0.0.1", "127.0.0.1"]):
            found = ask(f"http://lying.example:{web.port}/good.jpg", names=Names({"lying.example": [addresses]}))
            assert found.status in ("refused_address", "connect"), found
            assert " is " in str(found.reason)


class NoNames(AbstractResolver):
    """Fails like the system's resolver."""

    def __init__(self, errno: int) -> None:
        self.errno = errno

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[ResolveResult]:
        raise socket.gaierror(self.errno, "as the system says")

    async def close(self) -> None:
        pass


def test_no_such_name_is_final_and_no_answer_is_not() -> None:
    gone = ask("http://gone.example/", names=NoNames(socket.EAI_NONAME))
    busy = ask("http://busy.example/", names=NoNames(socket.EAI_AGAIN))
    assert [(each.status, each.retryable) for each in (gone, busy)] == [("dns", False), ("dns", True)]


@contextmanager
def listening(answer: bytes) -> Iterator[int]:
    """Accept one connection and say this, whatever is asked."""

    def serve_one() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(2**16)
            connection.sendall(answer)
            connection.recv(2**16)

    with socket.create_server((HOME, 0)) as server:
        server.settimeout(10)
        thread = threading.Thread(target=serve_one, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


def test_nobody_listens_and_tls_that_is_none(tmp_path: Path) -> None:
    with socket.create_server((HOME, 0)) as gone:
        port = gone.getsockname()[1]
    nobody = ask(f"http://{HOME}:{port}/")
    assert (nobody.status, nobody.retryable) == ("connect", True)
    with listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        plain = ask(f"https://{HOME}:{port}/good.jpg")
        assert (plain.status, plain.retryable) == ("tls", False)
    with socket.create_server((HOME, 0)) as deaf:  # it accepts, and never says hello
        assert ask(f"https://{HOME}:{deaf.getsockname()[1]}/", replace(POLICY, deadline=0.3)).status == "timeout"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_a_certificate_that_nobody_vouches_for_is_not_accepted(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={HOME}"]
    command = ["openssl", "req", "-x509", *kind, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serve(tls=context) as web:
        found = ask(web.url("/good.jpg"))
        assert (found.status, found.retryable) == ("tls", False)
        assert not web.seen.asked


LINES = b"""HTTP/1.1 200 OK|HTTP/1.0 200|HTTP/1.1 301 M|HTTP/2 200|HTTP/1.1 -1|HTTP/1.1 99999 x|HTTP/1.1 100 C|ICY 200 OK
Content-Length: 5|Content-Length: 0|Content-Length: -5|Content-Length: 99999999999999999999|Content-Length:
Transfer-Encoding: chunked|Transfer-Encoding: gzip, chunked|Transfer-Encoding: x|Content-Encoding: gzip|Upgrade: h2c
Location: \xff|Location: http://[|Location: /good.jpg|Retry-After: 0|X-Robots-Tag: \xff:noai|Set-Cookie: a=b
Connection: close|Connection: upgrade| folded|no colon|:|\0||0|5|hello|\x1f\x8b\x08|\xff\xd8\xff"""
lines = st.sampled_from(LINES.replace(b"\n", b"|").split(b"|"))


@pytest.fixture(scope="module")
def raw() -> Iterator[Web]:
    with serve() as web:
        yield web


@given(head=st.lists(lines, max_size=8).map(b"\r\n".join) | st.binary(max_size=60), tail=st.binary(max_size=20))
@example(head=b"HTTP/1.1 404 \xff\xfe\r\nContent-Length: 0", tail=b"")
def test_any_bytes_for_an_answer_are_a_status(raw: Web, head: bytes, tail: bytes) -> None:
    raw.raw = head + b"\r\n\r\n" + tail
    found = ask(raw.url("/raw"), replace(POLICY, deadline=0.2))
    assert found.status in STATUSES or found.status.removeprefix("http_") in map(str, range(100, 600))
    assert "unforeseen" not in (found.reason or "")
    json.dumps(row(found), ensure_ascii=False).encode()


def test_more_than_is_announced_is_never_taken() -> None:
    with serve() as web:
        # An answer behind the answer is not the next URL's.
        urls = [f"{web.url(path)}?{n}" for n in range(10) for path in ("/short_announced.jpg", f"/good/{n}")]
        outcomes, bodies = crawl(urls, limits=Limits(1, 1))
        assert {outcome.status for outcome in outcomes} == {"ok"}
        assert bodies == [jpeg(number) for n in range(10) for number in (0, n)]
        outcomes, bodies = crawl([f"{web.url('/announced')}?length=3&{n}" for n in range(20)])
        # As the rest comes together with what is announced, or behind it.
        assert {outcome.status for outcome in outcomes} <= {"ok", "bad_response"}
        assert set(bodies) <= {jpeg()[:3], None}


def test_a_client_that_fails_as_nobody_has_thought_of_is_one_url_not_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise AssertionError("of the client")

    monkeypatch.setattr("align_data.fetching.client.opt_out", broken)
    with serve() as web:
        found = ask(web.url("/good.jpg"))
    assert (found.status, found.retryable) == ("bad_response", True)
    assert found.reason == "unforeseen, AssertionError: of the client"


# Limits, and patience.


class Counted(Guard):
    """Counts the sockets that are open at once."""

    def socket(self, info: Sequence[Any]) -> socket.socket:
        made = super().socket(info)
        OPEN.append(made)
        OPEN[:] = [each for each in OPEN if each.fileno() >= 0]
        MOST[0] = max(MOST[0], len(OPEN))
        return made


OPEN: list[socket.socket] = []
MOST = [0]


def test_there_are_never_more_connections_than_allowed_also_not_kept_ones() -> None:
    MOST[0] = 0
    with serve() as web:
        urls = [f"http://h{number % 300}.example:{web.port}/good/{number}" for number in range(900)]
        outcomes, _ = crawl(urls, replace(POLICY, guard=Counted((f"{HOME}/32",))), Limits(8, 2))
        assert {outcome.status for outcome in outcomes} == {"ok"}
        assert web.seen.most_busy <= 8
        # A socket that is being closed is there until the loop has gone round once more.
        assert MOST[0] <= 2 * 8


def test_a_connection_to_another_port_is_instead_of_the_one_before() -> None:
    MOST[0] = 0
    with serve() as a, serve() as b, serve() as c, serve() as d, serve() as e:
        urls = [f"http://h.example:{web.port}/good/{n}" for n in range(40) for web in (a, b, c, d, e)]
        outcomes, _ = crawl(urls, replace(POLICY, guard=Counted((f"{HOME}/32",))), Limits(4, 4))
        assert {outcome.status for outcome in outcomes} == {"ok"}
        assert MOST[0] <= 2 * 4
        assert sum(web.seen.connections for web in (a, b, c, d, e)) < 200 / 4  # and URLs of a port come in a row


def test_slow_hosts_share_the_connections() -> None:
    with serve() as web:
        urls = [f"http://h{number % 400}.example:{web.port}/silent/{number}" for number in range(2000)]
        began = time.monotonic()
        outcomes, _ = crawl(urls, replace(POLICY, deadline=0.4), Limits(500, 4, per_address=500))
        assert {(outcome.status, outcome.retryable) for outcome in outcomes} == {("timeout", True)}
        assert len(web.seen.asked) <= 2000
        assert web.seen.most_busy <= 2 * 500  # the server hears late that one is gone
        # One after another they would take 800 s, host by host on four connections each 500 / 4.
        assert time.monotonic() - began < 60


def test_a_host_has_its_connections_and_no_more_also_by_redirects() -> None:
    with serve() as web:
        at = {host: f"http://{host}.example:{web.port}" for host in "abcdefgh"}
        web.places = {f"/go/{number}": f"{at['a']}/pause/{number}?s=0.02" for number in range(40)}
        urls = [f"{at[host]}/go/{number}" for number, host in zip(range(40), 5 * "bcdefgh", strict=False)]
        urls += [f"{at['a']}/pause/x{number}?s=0.02" for number in range(20)]
        urls += [f"{at['b']}/pause/x{number}?s=0.02" for number in range(40)]
        urls += [f"HTTP://C.EXAMPLE.:{web.port}/pause/x{number}?s=0.02" for number in range(40)]
        outcomes, _ = crawl(urls, limits=Limits(64, 3, {"b.example": 9, "c.example": 1}))
        assert {outcome.status for outcome in outcomes} == {"ok"}
        most = web.seen.most_busy_of
        assert most["a.example"] == 3
        assert most["b.example"] == 9
        assert most["c.example"] == 1
        assert max(most[f"{host}.example"] for host in "defgh") <= 3


def test_a_host_whose_names_differ_is_one_host() -> None:
    with serve() as web:
        spelt = ["bücher.example", "BÜCHER.example", "xn--bcher-kva.example", "bücher.example.", "bu\u0308cher.example"]
        urls = [f"http://{host}:{web.port}/pause/{number}?s=0.02" for host in spelt for number in range(10)]
        outcomes, _ = crawl(urls, limits=Limits(64, 2))
        assert {outcome.status for outcome in outcomes} == {"ok"}
        assert web.seen.most_busy <= 2


def test_a_host_is_left_alone_for_as_long_as_it_asks() -> None:
    with serve() as web:
        hosts = ("once", "date", "thrice", "hour", "far", "zero", "past")
        at = {host: f"http://{host}.example:{web.port}" for host in hosts}
        now = datetime.now(UTC).replace(microsecond=0)
        promised = time.monotonic() + (now + timedelta(seconds=3) - datetime.now(UTC)).total_seconds()
        date, past, far = (quote(format_datetime(now + timedelta(seconds=s), usegmt=True)) for s in (3, -9, 10**8))
        busy = {
            at["once"] + "/busy/0?times=1&status=429&after=1": "ok",
            at["date"] + f"/busy/0?times=1&status=503&after={date}": "ok",
            at["thrice"] + "/busy/0?times=9&status=429&after=1": "rate_limited",
            at["hour"] + "/busy/0?times=9&status=429&after=3600": "rate_limited",
            at["far"] + f"/busy/0?times=9&status=503&after={far}": "rate_limited",
            at["zero"] + "/busy/0?times=2&status=429&after=0": "ok",
            at["past"] + f"/busy/0?times=2&status=429&after={past}": "ok",
        }
        urls = list(busy) + [f"{where}/pause/{number}?s=0.1" for where in at.values() for number in range(30)]
        outcomes, _ = crawl(urls, limits=Limits(64, 2))
        found = {url: outcome.status for url, outcome in zip(urls, outcomes, strict=True)}
        assert {url: found[url] for url in busy} == busy
        for host, where in at.items():
            asked = [each for each in web.seen.asked if each.host == f"{host}.example"]
            rest = Counter(found[url] for url in urls if url.startswith(where) and url not in busy)
            if host in ("hour", "far"):
                assert len(asked) <= 2 + 1  # what was on its way
                assert rest["rate_limited"] >= 28
                continue
            assert rest == {"ok": 30}
            refusals = [each for each in asked if "/busy" in each.target][: {"once": 1, "thrice": 3}.get(host, 0)]
            for told in refusals:
                assert told.left is not None
                assert not [each for each in asked if told.left + 0.05 < each.when < told.left + 0.95], host
        thrice = [each for each in web.seen.asked if each.host == "thrice.example" and "/busy" in each.target]
        assert len(thrice) == 3
        _, second = (each for each in web.seen.asked if each.host == "date.example" and "/busy" in each.target)
        assert second.when > promised - 0.05


@pytest.mark.parametrize("after", ["", "&after=0", "&after=Fri,+31+Dec+1999+23:59:59+GMT"])
def test_a_busy_host_that_names_no_time_to_come_is_not_asked_again_at_once(
    after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("align_data.fetching.client.PAUSE", 1.0)
    with serve() as web:
        busy = web.url(f"/busy/0?times=1&status=429{after}")
        outcomes, _ = crawl([busy, *(web.url(f"/pause/{number}?s=0.1") for number in range(9))], limits=Limits(64, 2))
        assert {outcome.status for outcome in outcomes} == {"ok"}
        told = next(each for each in web.seen.asked if "/busy" in each.target)
        assert told.left is not None
        assert not [each for each in web.seen.asked if told.left + 0.05 < each.when < told.left + 0.95]


def test_the_longest_wait_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two answers on their way ask for different patience: the host has the longer one."""
    with serve() as web:
        at = f"http://h.example:{web.port}"
        urls = [f"{at}/busy/a?times=1&status=429&after=0", f"{at}/busy/b?times=1&status=429&after=2&s=0.1"]
        urls += [f"{at}/busy/c?times=1&status=429&after=1"]
        crawl(urls, limits=Limits(64, 3))
        told = next(each for each in web.seen.asked if each.path == "/busy/b")
        assert told.left is not None
        assert not [each for each in web.seen.asked if told.left + 0.2 < each.when < told.left + 1.9]


def test_a_host_that_is_given_up_is_not_asked_by_what_was_on_its_way() -> None:
    with serve() as web:
        at = f"http://h.example:{web.port}"
        urls = [
            f"{at}/busy/a?times=9&status=429&after=3600",
            f"{at}/busy/b?times=9&status=429&after=0&s=0.2",
            f"{at}/good/1",
        ]
        outcomes, _ = crawl(urls, limits=Limits(64, 2))
        assert [outcome.status for outcome in outcomes] == ["rate_limited"] * 3
        assert web.seen.paths() == {"/busy/a": 1, "/busy/b": 1}


def test_a_host_that_asks_again_and_again_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_PATIENCE_IN_ALL", 1.5)
    with serve() as web:
        urls = [f"http://h.example:{web.port}/busy/{number}?times=99&status=429&after=1" for number in range(50)]
        outcomes, _ = crawl(urls, limits=Limits(64, 2))
        assert {(outcome.status, outcome.retryable) for outcome in outcomes} == {("rate_limited", True)}
        assert len(web.seen.asked) < 20


def test_a_host_that_never_answers_is_given_up_and_holds_up_nobody() -> None:
    with serve() as web:
        silent = [f"http://dead.example:{web.port}/silent/{number}" for number in range(100)]
        good = [f"http://h{number}.example:{web.port}/good/{number}" for number in range(200)]
        mixed = [url for some in zip(good, silent + [""] * 100, strict=True) for url in some if url]
        patient = replace(POLICY, deadline=2.0)  # a busy machine answers late
        outcomes, _ = crawl(mixed, patient, Limits(24, 8, per_address=24))
        found = dict(zip(mixed, outcomes, strict=True))
        assert {found[url].status for url in good} == {"ok"}
        assert {(found[url].status, found[url].retryable) for url in silent} == {("timeout", True)}
        asked = [each for each in web.seen.asked if each.host == "dead.example"]
        assert 16 <= len(asked) < 16 + 8
        assert sum("not requested" in str(found[url].reason) for url in silent) == 100 - len(asked)


def test_what_cannot_be_written_is_not_the_hosts_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with serve() as web:
        monkeypatch.setattr(tempfile.SpooledTemporaryFile, "write", full)
        with pytest.raises(OutputError, match=r"cannot write .*: No space left on device; finished work is kept"):
            ask(web.url("/good.jpg"))
        monkeypatch.undo()
        monkeypatch.setattr(tempfile, "TemporaryFile", full)
        with pytest.raises(OutputError, match="No space left on device"):
            ask(web.url("/good.jpg"))


def test_more_connections_than_files_are_a_sentence() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (300, 1000))\n"
        "from align_data.fetching.worker import make_room\n"
        "make_room(100); print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
        "try: make_room(10_000)\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = forked.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    room, said = done.stdout.splitlines()
    assert room == "456"
    assert said == (
        "EngineError 10,000 connections need 20,256 open files, and a process may have 1,000 here: "
        "raise ulimit -n, or lower --connections"
    )
    make_room(1)


def test_a_name_server_that_keeps_one_waiting_does_not_hold_up_the_end(
    tmp_path: Path,
) -> None:
    with serve() as web, name_server(lambda _: None) as names:
        urls = [f"http://h{number}.hangs.example/" for number in range(100)] + [
            web.url(f"/good/{n}") for n in range(20)
        ]
        policy = replace(POLICY, deadline=4.0, dns=(names.address,))
        settings = FetchSettings(policy, Limits(64, 4), Store(tmp_path))
        began = time.monotonic()
        sent = said(settings, ChunkTask(0, "bytes/x", [f"n{n}" for n in range(120)], urls))
        assert time.monotonic() - began < 20
    rows = next(rows for number, rows in (message for message in sent if isinstance(message, tuple)) if number == 0)
    assert [each.status for each in rows] == ["timeout"] * 100 + ["ok"] * 20
    assert sum((message for message in sent if isinstance(message, Counter)), Counter()).total() == 120


def said(settings: FetchSettings, *tasks: ChunkTask) -> list[Any]:
    """Return what the parent is told of some tasks, done in this process."""
    return list(worker_replies.replies(child_of(handler)("", plain(settings)), tasks))


MEMORY_CODE = """
import sys
from pathlib import Path
from align_data.fetching.client import Policy
from align_data.fetching.limits import Limits
from align_data.fetching.guard import Guard
from align_data.fetching.worker import ChunkTask, FetchSettings, handler
from align_data.common.workers.frames import LENGTH, frame, value
from align_data.common.workers.values import plain
from align_data.storage.store import Store

def wired(each):
    return value(frame(each)[LENGTH.size:], bounded=False)

for line in sys.stdin:
    deadline, *urls = line.split()
    policy = Policy(Guard.of([sys.argv[2] + "/32"]), max_bytes=4 * 2**20, deadline=float(deadline))
    found = []
    tasks = [ChunkTask(0, "bytes/x", [f"n{n}" for n in range(len(urls))], urls)]
    settings = wired(plain(FetchSettings(policy, Limits(64, 64), Store(sys.argv[1]))))
    handler(settings)(wired(plain(tasks)), found.append)
    print(*(row[0] for row in next(message[1] for message in found if isinstance(message, tuple))))
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
def test_memory_is_bounded_whatever_comes(tmp_path: Path) -> None:
    endless = [path for path in answers() if path.startswith("/endless") and path != "/endless.jpg"] + ["/huge.jpg"]
    with serve() as web:
        large = [web.url(f"{path}?{number}") for number in range(64) for path in ("/endless.jpg", "/bomb.jpg")]
        others = [web.url(f"{path}?{number}") for number in range(8) for path in endless]
        hogs = [web.url(f"{path}?{number}") for number in range(16) for path in (*HOGS, f"/good/{number}")]
        lines = f"60 {' '.join(large + others)}\n1 {' '.join(hogs)}\n"
        command = [sys.executable, "-c", MEMORY_CODE, str(tmp_path), HOME]
        done = forked.run(command, input=lines, capture_output=True, text=True, check=True, timeout=100)
    first, second, peak = done.stdout.splitlines()
    assert first.split() == ["too_large"] * 128 + [answers()[path][0] for _ in range(8) for path in endless]
    assert set(second.split()[::4]) == set(second.split()[1::4]) == {"timeout"}
    # The hogs leave others little time; and who answers what nobody asked has it taken for an answer of his own.
    assert set(second.split()) <= {"timeout", "ok", "not_an_image"}
    assert int(peak) < 300, f"{peak} MB"  # of which 64 bodies in memory would be 256


# The stage: what a second run asks for, and what is never asked for.


def test_a_second_run_asks_for_what_can_have_changed_and_nothing_else(tmp_path: Path) -> None:
    with serve(HOME, "127.0.0.3", "127.0.0.4") as web:
        other = web.url("/good/9", "127.0.0.3")
        kept = {"/good/1": "ok", "/status/404": "http_404", "/html.jpg": "not_an_image", "/loop": "too_many_redirects"}
        again = {"/silent.jpg": "timeout", "/status/500": "http_500", "/long_announced.jpg": "truncated"}
        changing = {"/robots?tag=noai": "opted_out", "/endless.jpg": "too_large", "/good/2?side=600": "too_large"}
        busy = web.url("/busy/x?times=99&status=429&after=100", "127.0.0.4")
        expected = {web.url(path): status for path, status in (kept | again | changing).items()}
        expected |= {other: "refused_address", busy: "rate_limited"}
        dataset = dataset_of(tmp_path, expected)
        homes = [f"{HOME}/32", "127.0.0.4/32"]
        small = replace(POLICY, guard=Guard.of(homes), max_bytes=50_000, deadline=0.4)

        def asked(policy: Policy) -> tuple[set[str], dict[str, str], FetchReport]:
            web.seen.forget()
            report, images = run(dataset, policy)
            return {web.url(each.target, each.home) for each in web.seen.asked}, statuses(images), report

        seen, found, report = asked(small)
        assert found == expected
        assert seen == set(expected) - {other}
        before = images_by_url(dataset)
        retried = {web.url(path) for path in again} | {busy}
        seen, found, report = asked(small)
        assert seen == retried - {busy}  # it has asked for a hundred seconds
        assert found == expected
        assert report.asked == 4
        assert report.retryable == 4
        assert report.outcomes.keys() <= {"timeout", "http_500", "truncated", "rate_limited"}
        assert {url: each for url, each in images_by_url(dataset).items() if url not in retried} == {
            url: each for url, each in before.items() if url not in retried
        }
        wide = replace(small, guard=Guard.of([*homes, "127.0.0.3/32"], ["127.0.0.9/32"]))
        seen, found, _ = asked(wide)
        assert seen - retried == {other}
        assert found == expected | {other: "ok"}
        seen, found, _ = asked(replace(wide, ignore_opt_out=True))
        assert seen - retried == {web.url("/robots?tag=noai")}
        assert found[web.url("/robots?tag=noai")] == "ok"
        seen, found, _ = asked(replace(wide, ignore_opt_out=True, max_bytes=2**20))
        assert seen - retried == {web.url("/endless.jpg"), web.url("/good/2?side=600")}
        assert (found[web.url("/endless.jpg")], found[web.url("/good/2?side=600")]) == ("too_large", "ok")
        # Back to where they were: what is there stays, and nothing final is asked for.
        seen, found, _ = asked(small)
        assert seen == retried - {busy}
        assert found[other] == "ok"
        check_tars(dataset)


def test_what_was_denied_or_given_up_by_an_older_client_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(HOME, "127.0.0.3") as web:
        urls = [web.url("/good/1"), web.url("/good/2", "127.0.0.3"), web.url("/garbage.jpg"), web.url("/status/404")]
        dataset = dataset_of(tmp_path, urls)
        homes = ["127.0.0.0/8"]
        monkeypatch.setattr("align_data.fetching.record.CLIENT", 1)
        _, images = run(dataset, replace(POLICY, guard=Guard.of(homes, ["127.0.0.3"])))
        assert [statuses(images)[url] for url in urls] == ["ok", "refused_address", "bad_response", "http_404"]
        assert {each.home for each in web.seen.asked} == {HOME}
        for policy, asked in ((Guard.of(homes), {"/good/2"}), (Guard.of(homes, ["127.0.0.3"]), set())):
            web.seen.forget()
            _, images = run(dataset, replace(POLICY, guard=policy))
            assert set(web.seen.paths()) == asked
            assert statuses(images)[urls[1]] == "ok"
        monkeypatch.undo()
        web.seen.forget()
        run(dataset, replace(POLICY, guard=Guard.of(homes)))
        assert web.seen.paths() == {"/garbage.jpg": 1}


def images_by_url(dataset: Dataset) -> dict[str, tuple[Any, ...]]:
    return {each[0]: each for each in read(dataset, "images").iter_rows()}


def check_tars(dataset: Dataset) -> dict[str, bytes]:
    """Every tar is one that tarfile reads to its end, with the members that `images` names; return URL → bytes."""
    rows = read(dataset, "images")
    assert rows.filter((pl.col("status") == "ok") != pl.col("tar").is_not_null()).is_empty()
    found: dict[str, bytes] = {}
    places: dict[tuple[str, int], tuple[str, bytes]] = {}
    root = Path(dataset.store.path(""))
    for path in sorted((root / "bytes").rglob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                assert member.isreg()
                assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")
                content = tar.extractfile(member)
                assert content is not None
                places[path.relative_to(root).as_posix(), member.offset_data] = (member.name, content.read())
        assert path.stat().st_size % tarfile.RECORDSIZE == 0
        assert path.read_bytes()[257:265] == b"ustar\x0000"
    pairs = read(dataset, "pairs")
    keys = dict(pairs.select("url", pl.col("uid").str.head(16)).iter_rows())
    for url, tar, offset, size in rows.filter(status="ok").select("url", "tar", "offset", "size").iter_rows():
        name, content = places.pop((tar, offset))
        assert name == f"{keys[url]}.jpg"
        assert size == len(content)
        found[url] = content
    assert not places, "bytes that no row names"
    return found


def test_what_a_ledger_drops_is_never_asked_for(tmp_path: Path) -> None:
    with serve() as web:
        rows = [{"url": web.url(f"/good/{n}"), "alt_text": "a b c" if n % 3 else "a"} for n in range(30)]
        rows += [{"url": web.url("/good/99"), "alt_text": text} for text in ("a", "a b c")]
        rows += [{"url": web.url("/status/500"), "alt_text": "a"}, {"url": web.url("/status/502"), "alt_text": "a b c"}]
        lists = write_list(tmp_path / "lists", rows)
        dataset = build(tmp_path / "dataset", lists, "name: short\nrules:\n  - {signal: n_words, ge: 2}\n").dataset
        report, images = run(dataset, ledger="short")
        kept = {each["url"] for each in rows if each["alt_text"] == "a b c"}
        assert {web.url(each.target) for each in web.seen.asked} == kept
        found = statuses(images)
        assert {url for url, status in found.items() if status == "ok"} == kept - {web.url("/status/502")}
        assert {status for url, status in found.items() if url not in kept} == {"untried"}
        assert (report.asked, report.retryable) == (22, 1)
        web.seen.forget()
        report, images = run(dataset)
        assert {web.url(each.target) for each in web.seen.asked} == set(found) - kept | {web.url("/status/502")}
        assert (report.asked, report.retryable) == (12, 2)
        web.seen.forget()
        # What no pair needs is not said to be worth another try.
        report, images = run(dataset, ledger="short")
        assert [each.path for each in web.seen.asked] == ["/status/502"]
        assert (report.asked, report.retryable) == (1, 1)
        assert report.statuses == {"ok": 31, "http_500": 1, "http_502": 1}
        check_tars(dataset)


def test_the_same_bytes_however_often_and_by_however_many(tmp_path: Path) -> None:
    with serve() as web:
        urls = [web.url(f"/good/{number}?side={8 + number % 50}") for number in range(300)]
        urls += [web.url(f"/status/{400 + number}") for number in range(20)] + [
            web.url(f"/html.jpg?{n}") for n in range(20)
        ]
        found = []
        # One part or several, a child process or two for a part, in chunks of many or of few.
        for number, (workers, chunk, parts) in enumerate(
            [(1, 64, 170), (2, 64, 170), (2, 64, 999), (1, 64, 999), (1, 7, 999)]
        ):
            folder = tmp_path / str(number)
            dataset = dataset_of(folder, urls, Parts(rows=parts))
            run(dataset, workers=workers, chunk=chunk)
            content = check_tars(dataset)
            assert content == {url: jpeg(n, 8 + n % 50) for n, url in enumerate(urls[:300])}
            images = read(dataset, "images").drop("tar", "offset").sort("url")
            found.append((tree(folder / "dataset", "images", "bytes"), images))
        assert found[0][0] == found[1][0]
        assert found[2][0] == found[3][0]
        assert all(images.equals(found[0][1]) for _, images in found)


@given(
    st.lists(st.integers(0, 3000), max_size=20)
    | st.lists(st.sampled_from([0, 1, 511, 512, 513, 1024, 9000]), max_size=20),
    st.integers(1, 40_000),
)
@example([512, 8000], 20_294)
def test_tars_hold_what_was_written_and_no_more_than_they_may(sizes: list[int], limit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        bodies = [random.Random(number).randbytes(size) for number, size in enumerate(sizes)]
        with TarWriter(store, "bytes/x", limit) as writer:
            places = [writer.add(f"{n}.jpg", io.BytesIO(body), len(body)) for n, body in enumerate(bodies)]
        reader = TarReader(store)
        assert [reader.read(place) for place in places] == bodies
        reader.close()
        names = []
        for path in sorted(Path(folder).glob("bytes/*"), key=lambda path: (len(path.name), path.name)):
            with tarfile.open(path) as tar:
                members = tar.getmembers()
            names += [(path.name, member.name) for member in members]
            assert path.stat().st_size <= limit or len(members) == 1
        assert names == [(place.tar.removeprefix("bytes/"), f"{n}.jpg") for n, place in enumerate(places)]


def test_tars_of_a_chunk_that_is_large(tmp_path: Path) -> None:
    with serve() as web:
        urls = [web.url(f"/good/{number}?side=100") for number in range(40)]
        settings = FetchSettings(POLICY, LIMITS, Store(tmp_path), max_tar=40_000)
        sent: list[Any] = []
        sent += said(settings, ChunkTask(5, "bytes/part-00000/001-00005", [f"name{n}" for n in range(40)], urls))
        ((number, rows),) = (message for message in sent if isinstance(message, tuple))
        assert number == 5
        assert len({each.tar for each in rows}) > 3
        sizes = [path.stat().st_size for path in (tmp_path / "bytes" / "part-00000").iterdir()]
        assert len(sizes) == len({each.tar for each in rows})
        assert max(sizes) <= 40_000
        reader = TarReader(settings.store)
        for n, each in enumerate(rows):
            assert reader.read(Place(each.tar, each.offset, each.size)) == jpeg(n, 100)
        reader.close()


def test_two_urls_of_one_key_have_two_names() -> None:
    assert names_of(pl.Series(["a", "b", "b", "c", "b"])).to_list() == ["a", "b", "b-1", "c", "b-2"]


# The command.


def arguments(dataset: Dataset, *more: str) -> list[str]:
    return ["fetch", dataset.store.url, "--all", "--allow-network", f"{HOME}/32", "--deadline", "1", *more]


def test_the_command_says_who_it_is_and_obeys_a_list_of_hosts(tmp_path: Path) -> None:
    with serve() as web:
        dataset = dataset_of(
            tmp_path, [web.url(f"/pause/{number}?s=0.05") for number in range(40)] + [web.url("/status/500")]
        )
        hosts = tmp_path / "hosts.txt"
        hosts.write_text(f"# ours\nother.example 3\n\n{HOME} 7 # it bears more\n")
        options = ["--contact", "Jane Doe <jane@example.org>", "--host-limits", str(hosts), "--json"]
        done = CliRunner().invoke(main, arguments(dataset, *options))
        assert done.exit_code == 0, done.stderr
        said = json.loads(done.stdout)
        assert said["statuses"] == said["outcomes"] == {"http_500": 1, "ok": 40}
        assert (said["asked"], said["retryable"]) == (41, 1)
        assert web.seen.most_busy == 7
        assert all("jane@example.org" in each.headers["user-agent"] for each in web.seen.asked)
        web.seen.forget()
        done = CliRunner().invoke(main, arguments(dataset))
        assert [each.path for each in web.seen.asked] == ["/status/500"]
        assert "1 can be retried: run the same command again" in done.stderr


def test_a_run_with_nothing_to_ask_for_changes_nothing(tmp_path: Path) -> None:
    with serve() as web:
        dataset = dataset_of(tmp_path, [web.url("/good/1"), web.url("/status/404")])
        first, _ = run(dataset)
        before = tree(tmp_path / "dataset", "images", "bytes")
        second, _ = run(dataset)
        assert tree(tmp_path / "dataset", "images", "bytes") == before
        assert second == FetchReport(statuses=first.statuses)
        assert len(web.seen.asked) == 2


def test_what_is_lost_of_a_fetch_is_told_before_anybody_is_asked_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve() as web:
        dataset = dataset_of(tmp_path, [web.url(f"/good/{n}") for n in range(6)], Parts(rows=3))
        run(dataset)
        whole = tree(tmp_path / "dataset", "images", "bytes")
        part = tmp_path / "dataset" / "images" / "part-00001.parquet"
        content = part.read_bytes()
        asked = len(web.seen.asked)
        for damaged in (b"", content[:-9], content[: len(content) // 2]):
            part.write_bytes(damaged)
            with pytest.raises(DatasetError, match=r"images/part-00001\.parquet: .* remove it and fetch again"):
                run(dataset)
            part.write_bytes(content)
            assert tree(tmp_path / "dataset", "images", "bytes") == whole
        assert len(web.seen.asked) == asked
        part.unlink()
        line = ["fetch", str(tmp_path / "dataset"), "--all", "--allow-network", f"{HOME}/32"]
        main(line, standalone_mode=False)
        assert f"missing, so all of their URLs are requested again: {part}" in " ".join(capsys.readouterr().err.split())
        assert len(web.seen.asked) - asked == dataset.ingested().parts[1].rows
        assert set(read(dataset, "images")["status"]) == {"ok"}
        check_tars(dataset)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--allow-network", "here"], "here is not a network"),
        (["--deadline", "nan"], "--deadline"),
        (["--deadline", "inf"], "--deadline"),
        (["--deadline", "0"], "--deadline"),
        (["--max-bytes", "2TB"], "--max-bytes"),
        (["--contact", "a\nb"], "only contain printable ASCII"),
        (["--contact", "é"], "only contain printable ASCII"),
        (["--proxy", "localhost:80"], "is not a proxy"),
        (["--proxy", "http://"], "is not a proxy"),
        (["--proxy", "http://[::1"], "is not a proxy"),
        (["--proxy", "http://a b:80"], "is not a proxy"),
        (["--host-limits", "/nowhere"], "cannot read the host limits in /nowhere"),
        (["--host-limits", "HERE/hosts"], "hosts, line 2: 'a.example ²' is not a host and a number from 1 to 10,000"),
        (["--host-limits", "HERE/no-host"], "no-host, line 1: 'a b 4' is not"),
        *((["--host-limits", f"HERE/hosts-{n}"], f"hosts-{n}, line 1: ") for n in range(5)),
        (["--connections", "0"], "--connections"),
    ],
)
def test_wrong_options_are_sentences(tmp_path: Path, options: list[str], said: str) -> None:
    dataset = dataset_of(tmp_path, ["http://10.0.0.1/"])
    (tmp_path / "hosts").write_text("a.example 4\na.example ²\n")
    (tmp_path / "no-host").write_text("a b 4")
    for number, line in enumerate(("http://a.b 1", "a.b:99 3", "u:p@a.b 4", "a.b/path 3", f"a.b {'1' * 5000}")):
        (tmp_path / f"hosts-{number}").write_text(line)
    done = CliRunner().invoke(
        main, ["fetch", dataset.store.url, "--all", *(o.replace("HERE", str(tmp_path)) for o in options)]
    )
    assert done.exit_code in (1, 2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "unforeseen" not in done.stderr


def test_a_proxy_of_the_environment_is_not_used_and_one_that_is_given_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve() as web, serve("127.0.0.1") as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        (tmp_path / "netrc").write_text(f"machine {HOME} login me password secret\n")
        dataset = dataset_of(
            tmp_path, [web.url("/good/1"), f"http://name.invalid:{web.port}/good/2", "http://10.0.0.1/good/3"]
        )
        _, images = run(dataset)
        assert Counter(statuses(images).values()) in (
            Counter(ok=1, dns=1, refused_address=1),
            Counter(ok=1, timeout=1, refused_address=1),
        )
        assert not proxy.seen.connections
        assert all("authorization" not in each.headers for each in web.seen.asked)
        web.seen.forget()
        # By name, and at an address that is not public: it is the user's own choice.
        _, images = run(dataset, replace(POLICY, guard=Guard(), proxy=f"http://localhost:{proxy.port}"))
        assert set(statuses(images).values()) == {"ok"}
        assert not web.seen.asked
        assert {each.target for each in proxy.seen.asked} == {
            f"http://name.invalid:{web.port}/good/2",
            "http://10.0.0.1/good/3",
        }
        tunnelled = dataset_of(tmp_path / "tls", [f"https://name.invalid:{web.port}/good/2"])
        report, _ = run(tunnelled, replace(POLICY, guard=Guard(), proxy=f"http://127.0.0.1:{proxy.port}"))
        assert (report.statuses, report.retryable) == ({"connect": 1}, 1)
        assert [each.method for each in proxy.seen.asked][-1] == "CONNECT"


def test_a_proxy_that_wants_another_user_is_no_answer_of_the_hosts(tmp_path: Path) -> None:
    """Nor is its password written anywhere."""
    urls = ["http://10.0.0.1/status/407", "https://10.0.0.1/2"]
    with serve("127.0.0.1") as proxy:
        dataset = dataset_of(tmp_path, urls)
        line = [
            "fetch",
            dataset.store.url,
            "--all",
            "--proxy",
            f"http://me:secret@127.0.0.1:{proxy.port}",
            "--workers",
            "1",
        ]
        code = "from align_data.cli import main; main()"
        done = forked.run([sys.executable, "-c", code, *line], capture_output=True, text=True, check=True)
    assert "secret" not in done.stdout + done.stderr
    images = read(dataset, "images")
    assert set(images["status"]) == {"connect"}
    assert images["retryable"].all()
    assert images["reason"].str.contains("the proxy (refuses this user|answered)").all()
    for path in (tmp_path / "dataset").rglob("*"):
        assert path.is_dir() or b"secret" not in path.read_bytes(), path


def test_a_host_that_wants_to_be_asked_again_does_not_prolong_the_deadline() -> None:
    with serve() as web:
        began = time.monotonic()
        outcomes, _ = crawl([web.url("/busy/x?times=9&status=429&after=0&s=0.7")], replace(POLICY, deadline=1.0))
        assert time.monotonic() - began < 1.9
    assert [outcome.status for outcome in outcomes] == ["timeout"]
    assert web.seen.paths()["/busy/x"] == 2


def test_reasons_are_safe_to_print() -> None:
    said = row(Outcome("http_404", "gone \x1b[31m\x07 \udcff é")).reason
    assert said == "gone \\x1b[31m\\x07 \\udcff é"
    assert len(row(Outcome("http_404", "\x1b" * 900)).reason or "") == 300


@pytest.mark.parametrize("content", ["{", "[]", '{"run": "x"}', '{"run": 1}'])
def test_a_damaged_note_of_the_last_run_begins_another(tmp_path: Path, content: str) -> None:
    with serve() as web:
        dataset = dataset_of(tmp_path, [web.url("/good/1"), web.url("/status/500")])
        run(dataset)
        (tmp_path / "dataset" / "_log" / "fetch.json").write_text(content)
        _, images = run(dataset)
        assert sorted(images["status"])[-1] == "ok"
        assert set(check_tars(dataset).values()) == {jpeg(1)}


# Killed.


def start(dataset: Path, *more: str) -> forked.Popen:
    options = ["--all", "--allow-network", f"{HOME}/32", "--deadline", "2", "--chunk", "20", "--workers", "2", *more]
    # What runs the tests may ignore interrupts, and a process inherits that.
    code = "import signal; signal.signal(2, signal.default_int_handler); from align_data.cli import main; main()"
    command = [sys.executable, "-c", code, "fetch", str(dataset), *options]
    return forked.Popen(command, stdout=forked.DEVNULL, stderr=forked.PIPE)


def ended(process: forked.Popen, timeout: float = 60) -> str:
    _, said = process.communicate(timeout=timeout)
    return said.decode()


def children() -> list[int]:
    """The child processes of what these tests started, whoever their parent is by now."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (
                    b"align_data.common.workers" in (entry / "cmdline").read_bytes()
                    and MARK.encode() in (entry / "environ").read_bytes()
                ):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


MARK = f"ALIGN_DATA_TEST={os.getpid()}."  # the dot, for one number may begin like another


def gone() -> bool:
    """Wait until no child is there, but not for long."""
    until = time.monotonic() + 10
    while children() and time.monotonic() < until:
        time.sleep(0.02)
    return not children()


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(*MARK.split("="))


def web_urls(web: Web, number: int) -> list[str]:
    return [web.url(f"/pause/{n}?s=0.02") for n in range(number)] + [web.url(f"/status/{400 + n}") for n in range(8)]


needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")


def wait_for(condition: Callable[[], Any], process: forked.Popen | None = None) -> None:
    """Wait, but not for ever, and not for a process that has ended."""
    until = time.monotonic() + 30
    while not condition() and time.monotonic() < until and (process is None or process.poll() is None):
        time.sleep(0.005)


@needs_proc
def test_killed_again_and_again_it_comes_to_the_same_bytes(tmp_path: Path, marked: None) -> None:
    chance = random.Random(4)
    with serve() as web:
        urls = web_urls(web, 240)
        whole = dataset_of(tmp_path / "whole", urls, Parts(rows=130))
        process = start(Path(whole.store.path("")))
        said = ended(process)
        assert process.returncode == 0, said
        check_tars(whole)
        dataset = dataset_of(tmp_path / "killed", urls, Parts(rows=130))
        folder = Path(dataset.store.path(""))
        for asked in (10, chance.randrange(20, 80), chance.randrange(60, 120)):
            web.seen.forget()
            process = start(folder)
            wait_for(lambda asked=asked: len(web.seen.asked) >= asked, process)
            process.kill()
            said = ended(process)
            assert process.returncode == -signal.SIGKILL, said
            assert gone()
            for tar in folder.glob("bytes/*/*.tar"):  # whole, whenever the kill came
                with tarfile.open(tar) as opened:
                    assert opened.getmembers()
                assert tar.stat().st_size % tarfile.RECORDSIZE == 0
        process = start(folder)
        said = ended(process)
        assert process.returncode == 0, said
        assert tree(folder, "images", "bytes") == tree(tmp_path / "whole" / "dataset", "images", "bytes")
        assert not [path for path in folder.rglob("*") if path.name.endswith(".tmp")]
        assert not (folder / "_images").exists()
        assert not (folder / "_work").exists()
        assert gone()


@pytest.mark.parametrize("before", [True, False])
def test_a_crash_at_every_single_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool) -> None:
    """Crash at the n-th file that appears, tars too, just before or just after, for every n; then run again."""
    monkeypatch.setattr("align_data.stages.fetch.Child", child_of(handler))
    with serve() as web:
        clean = dataset_of(tmp_path, [web.url(f"/good/{n}") for n in range(10)] + [web.url("/html.jpg")], Parts(rows=7))

        def work(number: int) -> None:
            out = tmp_path / str(number)
            if not out.exists():
                shutil.copytree(clean.store.path(""), out)
            run(Dataset(Store(out)), chunk=3)

        for number in Crashes(monkeypatch, before).everywhere(work, least=10):
            out = tmp_path / str(number)
            assert tree(out, "images", "bytes") == tree(tmp_path / "0", "images", "bytes"), number
            assert not (out / "_images").exists()


@needs_proc
def test_a_child_that_is_killed_is_a_sentence_and_another_run_goes_on(tmp_path: Path, marked: None) -> None:
    with serve() as web:
        dataset = dataset_of(tmp_path, web_urls(web, 150))
        folder = Path(dataset.store.path(""))
        process = start(folder, "--per-host", "1")
        wait_for(lambda: len(web.seen.asked) >= 60, process)
        os.kill(children()[0], signal.SIGKILL)
        said = ended(process)
        assert process.returncode == 1
        assert (
            "Error: the process that fetches ended: SIGKILL; finished work is kept, run the command again to continue"
            in said
        )
        assert "Traceback" not in said
        assert gone()
        before = web.seen.paths()
        process = start(folder)
        said = ended(process)
        assert process.returncode == 0, said
        assert len(check_tars(dataset)) == 150
        # What was finished is not asked for again.
        assert any(web.seen.paths()[path] == 1 for path in before)
        assert max(web.seen.paths().values()) <= 2


@needs_proc
def test_an_interrupt_ends_it_with_a_sentence(tmp_path: Path, marked: None) -> None:
    with serve() as web:
        dataset = dataset_of(tmp_path, [web.url(f"/silent/{n}") for n in range(100)])
        folder = Path(dataset.store.path(""))
        process = start(folder, "--deadline", "300")
        wait_for(lambda: web.seen.asked, process)
        process.send_signal(signal.SIGINT)
        said = ended(process, 20)
        assert process.returncode == 130
        assert "Stopped. Finished work is kept: run the same command again to continue." in said
        assert "Traceback" not in said
        assert gone()


def test_a_full_disk_is_a_sentence_and_another_run_goes_on(tmp_path: Path) -> None:
    with serve() as web:
        urls = [web.url(f"/good/{n}?side=300") for n in range(40)]
        dataset = dataset_of(tmp_path, urls)
        folder = dataset.store.path("")
        code = (
            "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))\n"
            "from align_data.cli import main; main()"
        )
        command = [sys.executable, "-c", code, "fetch", folder, "--all", "--allow-network", f"{HOME}/32"]
        done = forked.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1
        assert "Error: cannot write " in done.stderr
        assert "File too large; finished work is kept, run the command again to continue" in done.stderr
        assert "Traceback" not in done.stderr
        _, images = run(dataset)
        assert set(statuses(images).values()) == {"ok"}
        assert len(check_tars(dataset)) == 40


def test_a_module_of_the_folder_one_is_in_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "queue.py").write_text("raise SystemExit('taken')")
    (tmp_path / "aiohttp.py").write_text("raise SystemExit('taken')")
    with serve() as web:
        dataset = dataset_of(tmp_path / "here", [web.url("/good/1")])
        monkeypatch.chdir(tmp_path)
        _, images = run(dataset)
        assert statuses(images) == {web.url("/good/1"): "ok"}
