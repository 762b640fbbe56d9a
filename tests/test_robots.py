"""robots.txt as it is asked for: once a host, by the guard's rules, whatever comes of it."""

from __future__ import annotations

import asyncio
import gzip
import os
import sqlite3
import stat
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import read
from hostile_web import Page, Talk, Web, jpeg, serve
from many_names import HOMES
from test_fetch import POLICY, ask, crawl, dataset_of, forbidden
from test_polite import fetched

from align_data.cli import main
from align_data.common.errors import DatasetError
from align_data.common.progress import Silent
from align_data.engines.local import LocalEngine
from align_data.fetching import backoff, patience
from align_data.fetching.client import Policy
from align_data.fetching.guard import Guard
from align_data.fetching.limits import Limits
from align_data.fetching.machine import Machine
from align_data.fetching.outcome import Outcome
from align_data.fetching.robots_txt import MAX_ROBOTS
from align_data.stages.fetch import fetch
from align_data.stages.ingest import Parts
from align_data.storage.store import make_shared

NONE_OF_IT = b"User-agent: *\nDisallow: /\n"
HERE = Guard.of(["127.0.0.0/8"])


# What a robots.txt that cannot simply be read comes to.


def page(answer: bytes, *headers: str, status: str = "200 OK") -> Page:
    async def answered(talk: Talk) -> None:
        await talk.answer(answer, *headers, status=status)

    return answered


async def endless(talk: Talk) -> None:
    await talk.head()
    await talk.for_ever(b"User-agent: *\nDisallow: /good/1\n" * 1000)


async def dripping(talk: Talk) -> None:
    await talk.head("200 OK", "Content-Length: 100000")
    await talk.for_ever(b"#", 0.02)


async def silent(talk: Talk) -> None:
    await talk.reader.read()


async def shorter(talk: Talk) -> None:
    """Fewer bytes than announced, and the end."""
    await talk.head("200 OK", "Content-Length: 1000")
    await talk.raw(b"User-agent: *\n")


async def longer(talk: Talk) -> None:
    """More bytes than announced: what is announced is the file."""
    await talk.head("200 OK", "Content-Length: 14")
    await talk.raw(b"User-agent: *\nDisallow: /\n")


async def bomb(talk: Talk) -> None:
    packer = zlib.compressobj(9, wbits=31)
    packed = packer.compress(b"User-agent: *\nDisallow: /good/1\n") + packer.compress(bytes(2**27)) + packer.flush()
    await talk.answer(packed, "Content-Encoding: gzip")


async def garbage(talk: Talk) -> None:
    await talk.raw(b"\x00\xff\xfeSSH-2.0-what\r\n\r\n")


async def reset(talk: Talk) -> None:
    talk.reset()


async def error_of_a_gigabyte(talk: Talk) -> None:
    await talk.head("404 Not Found", "Content-Length: 1000000000")
    await talk.for_ever(b"no" * 5000)


async def error_that_drips(talk: Talk) -> None:
    await talk.head("404 Not Found", "Content-Length: 1000")
    await talk.for_ever(b"n", 0.05)


ANSWERS: dict[str, tuple[Page, str, str]] = {
    # name → what answers, and what /good/1 and /good/2 come to, where 'Disallow: /good/1' is read or is not.
    "plain": (page(b"User-agent: *\nDisallow: /good/1\n"), "robots_disallowed", "ok"),
    "packed": (page(gzip.compress(b"User-agent: *\nDisallow: /good/1\n"), "Content-Encoding: gzip"), "robots_disallowed", "ok"),
    "created": (page(b"User-agent: *\nDisallow: /good/1\n", status="201 Created"), "robots_disallowed", "ok"),
    "empty": (page(b""), "ok", "ok"),
    "nothing": (page(b"", status="204 No Content"), "ok", "ok"),
    "binary": (page(bytes(range(256)) * 500), "ok", "ok"),
    "html": (page(b"<!DOCTYPE html><p>User-agent: *<p>Disallow: /</p>", "Content-Type: text/html"), "ok", "ok"),
    "huge": (page(b"User-agent: *\nDisallow: /good/1\n" + b"#\n" * 2**20 + b"Disallow: /\n"), "robots_disallowed", "ok"),
    "endless": (endless, "robots_disallowed", "ok"),
    "bomb": (bomb, "robots_disallowed", "ok"),
    "longer": (longer, "ok", "ok"),
    "400": (page(b"no", status="400 Bad"), "ok", "ok"),
    "401": (page(b"no", status="401 Who"), "ok", "ok"),
    "403": (page(b"no", status="403 No"), "ok", "ok"),
    "404": (page(b"no", status="404 Not Found"), "ok", "ok"),
    "410": (page(b"no", status="410 Gone"), "ok", "ok"),
    "304": (page(b"", status="304 Same"), "ok", "ok"),
    "404 of a gigabyte": (error_of_a_gigabyte, "ok", "ok"),
    "404 that drips": (error_that_drips, "ok", "ok"),
    "500": (page(b"", status="500 Oh"), "robots_unreachable", "robots_unreachable"),
    "503": (page(b"", status="503 Oh"), "robots_unreachable", "robots_unreachable"),
    "599": (page(b"", status="599 Oh"), "robots_unreachable", "robots_unreachable"),
    "600": (page(b"", status="600 Oh"), "robots_unreachable", "robots_unreachable"),
    "101": (page(b"", "Upgrade: websocket", "Connection: upgrade", status="101 Switch"), "robots_unreachable", "robots_unreachable"),
    "shorter": (shorter, "robots_unreachable", "robots_unreachable"),
    "garbage": (garbage, "robots_unreachable", "robots_unreachable"),
    "dripping": (dripping, "robots_unreachable", "robots_unreachable"),
    "silent": (silent, "timeout", "timeout"),
    "reset": (reset, "connect", "connect"),
}  # fmt: skip


def test_whatever_a_robots_txt_comes_to_is_an_outcome_of_its_host_alone() -> None:
    with serve() as web:
        hosts = {f"h{number}.example": name for number, name in enumerate(ANSWERS)}
        web.robots = {host: ANSWERS[name][0] for host, name in hosts.items()}
        urls = [f"http://{host}:{web.port}/good/{number}" for host in hosts for number in (1, 2)]
        outcomes, _ = crawl(urls, Policy(HERE, deadline=4.0), Limits(64, 4))
        pairs = list(zip(outcomes[::2], outcomes[1::2], strict=True))
        found = {name: tuple(each.status for each in pair) for name, pair in zip(ANSWERS, pairs, strict=True)}
        assert found == {name: tuple(statuses) for name, (_, *statuses) in ANSWERS.items()}
        for outcome in outcomes:
            said = outcome.reason or ""
            assert outcome.status == "ok" or said.startswith("robots.txt: ")
            assert "unforeseen" not in said
            assert outcome.retryable == (outcome.status not in ("ok", "robots_disallowed"))
        assert pairs[0][0].reason == "robots.txt: Disallow: /good/1"
        # Nothing was asked for that was not allowed, and no robots.txt twice.
        asked = Counter((each.host, each.path) for each in web.seen.asked)
        assert asked == {
            (host, f"/good/{number}"): 1
            for host, pair in zip(hosts, pairs, strict=True)
            for number, outcome in enumerate(pair, 1)
            if outcome.status == "ok"
        }
        robots = Counter(each.host for each in web.seen.robots)
        (of_reset,) = (host for host, name in hosts.items() if name == "reset")
        assert robots.pop(of_reset) <= 2  # aiohttp tries a connection that is reset once more
        assert robots == {host: 1 for host in hosts if host != of_reset}
        assert {each.headers["user-agent"].partition("/")[0] for each in web.seen.robots} == {"align-data"}


def test_as_much_as_500_kib_is_read_and_little_more() -> None:
    with serve() as web:
        text = b"User-agent: *\n" + b"#" * (MAX_ROBOTS - 40) + b"\nDisallow: /good/1\n"
        web.robots = {"a.example": page(text), "b.example": page(text + b"#\nDisallow: /good/2\n" * 2**16)}
        urls = [f"http://{host}.example:{web.port}/good/{number}" for host in "ab" for number in (1, 2)]
        outcomes, _ = crawl(urls, Policy(HERE, deadline=10.0))
        assert [each.status for each in outcomes] == ["robots_disallowed", "ok"] * 2


def test_a_busy_host_is_asked_for_its_robots_txt_later() -> None:
    async def busy(talk: Talk) -> None:
        times = sum(each.host == talk.asked.host for each in talk.web.seen.robots)
        if times == 1:
            await talk.answer(b"", "Retry-After: 1", status="429 Busy")
        else:
            await talk.answer(b"User-agent: *\nDisallow: /good/1")

    async def busy_for_a_day(talk: Talk) -> None:
        await talk.answer(b"", "Retry-After: 86400", status="503 Busy")

    with serve() as web:
        web.robots = {"a.example": busy, "b.example": busy_for_a_day}
        urls = [f"http://{host}.example:{web.port}/good/{number}" for host in "ab" for number in (1, 2)]
        outcomes, _ = crawl(urls, Policy(HERE, deadline=10.0))
        assert [each.status for each in outcomes] == ["robots_disallowed", "ok", "rate_limited", "rate_limited"]
        first, second = (each for each in web.seen.robots if each.host == "a.example")
        assert second.when - (first.left or 0) > 0.95
        assert {each.path for each in web.seen.asked} == {"/good/2"}


# Redirects.


def redirect(where: str) -> Page:
    return page(b"moved", f"Location: {where}", status="301 Moved")


def test_redirects_of_robots_txt_are_followed_five_times_across_hosts_and_judged() -> None:
    with serve() as web, serve() as other, forbidden(web.port):
        port = web.port

        async def hop(talk: Talk) -> None:
            """/robots.txt, then /hop/N down to /hop/0."""
            await talk.answer(b"", "Location: /hop/3", status="302 Found")

        async def count(talk: Talk) -> None:
            number = int(talk.asked.path.rpartition("/")[2])
            if number == 0:
                await talk.answer(b"User-agent: *\nDisallow: /good/1")
            else:
                await talk.answer(b"", f"Location: /hop/{number - 1}", status="302 Found")

        web.pages["/hop"] = count
        other.robots = {"www.example": b"User-agent: *\nDisallow: /good/1"}
        web.robots = {
            "five.example": hop,
            "six.example": redirect("/hop/5"),
            "loop.example": redirect("/robots.txt"),
            "www.example": b"",
            "across.example": redirect(f"http://www.example:{other.port}/robots.txt"),
            "private.example": redirect(f"http://127.0.0.1:{port}/robots.txt"),
            "metadata.example": redirect("http://169.254.169.254/robots.txt"),
            "mapped.example": redirect(f"http://[::ffff:127.0.0.1]:{port}/robots.txt"),
            "file.example": redirect("file:///etc/robots.txt"),
            "port.example": redirect("http://127.0.0.2:25/robots.txt"),
            "nowhere.example": page(b"", status="302 Found"),
            "home.example": redirect("/good/3"),
        }
        expected = {
            "five": ("robots_disallowed", "ok"),
            "six": ("ok", "ok"),
            "loop": ("ok", "ok"),
            "across": ("robots_disallowed", "ok"),
            "private": ("robots_unreachable",) * 2,
            "metadata": ("robots_unreachable",) * 2,
            "mapped": ("robots_unreachable",) * 2,
            "file": ("robots_unreachable",) * 2,
            "port": ("robots_unreachable",) * 2,
            "nowhere": ("ok", "ok"),
            "home": ("ok", "ok"),
        }
        urls = [f"http://{host}.example:{port}/good/{number}" for host in expected for number in (1, 2)]
        outcomes, _ = crawl(urls, POLICY, Limits(64, 4))
        pairs = zip(outcomes[::2], outcomes[1::2], strict=True)
        assert {host: (a.status, b.status) for host, (a, b) in zip(expected, pairs, strict=True)} == expected
        assert outcomes[8].reason == "robots.txt: refused_address, 127.0.0.1 is not public"
        assert sum(each.host == "loop.example" for each in web.seen.robots) == 6
        # What a redirect led to is known of that host too: it is not asked again.
        other.seen.forget()
        outcomes, _ = crawl([urls[6], f"http://www.example:{other.port}/good/1"], POLICY, Limits(1, 1))
        assert [each.status for each in outcomes] == ["robots_disallowed"] * 2
        assert len(other.seen.robots) == 1
        assert not other.seen.asked


def test_a_redirect_takes_a_connection_of_the_host_that_it_leads_to() -> None:
    with serve() as web, serve() as other:

        async def slow(talk: Talk) -> None:
            await asyncio.sleep(0.1)
            await talk.answer(b"")

        other.pages["/all"] = slow
        hosts = [f"h{number}.example" for number in range(12)]
        web.robots = {host: redirect(f"http://www.example:{other.port}/all") for host in hosts}
        outcomes, _ = crawl(
            [f"http://{host}:{web.port}/good/1" for host in hosts], Policy(HERE, deadline=20.0), Limits(64, 2)
        )
        assert {each.status for each in outcomes} == {"ok"}
        assert other.seen.most_busy == 2


# Hosts without an answer come to what they came to before.


def test_a_host_that_cannot_be_connected_to_has_the_status_that_its_urls_would_have() -> None:
    with serve() as web:
        port = web.port
    found = [
        ask(url) for url in (f"http://127.0.0.2:{port}/x", "http://127.0.0.1/x", "http://10.0.0.1:99/", "http://a b/")
    ]
    assert [each.status for each in found] == ["connect", "refused_address", "refused_address", "bad_url"]
    assert (found[0].reason or "").startswith("robots.txt: ")
    assert found[1].reason == "127.0.0.1 is not public"


# Once a host: by visits, chunks, children, parts and runs.


def test_a_robots_txt_is_asked_for_once_by_all_parts_children_and_runs(tmp_path: Path) -> None:
    with serve(*HOMES) as web:
        port, hosts = web.port, [f"n{2 + number}.example" for number in range(8)]
        web.robots = dict.fromkeys(hosts[:6], b"User-agent: *\nDisallow: /good/1")
        urls = [f"http://{host}:{port}/good/{number}" for host in hosts for number in range(40)]
        dataset = dataset_of(tmp_path, urls, Parts(rows=120))
        assert len(dataset.ingested().parts) >= 2
        report = fetched(dataset, Limits(None, 4), workers=4)
        disallowed = 6 * sum(str(number).startswith("1") for number in range(40))
        assert report.statuses == {"ok": 320 - disallowed, "robots_disallowed": disallowed}
        assert Counter(each.host for each in web.seen.robots) == dict.fromkeys(hosts, 1)
        asked = {(each.host, each.path) for each in web.seen.asked}
        assert len(asked) == len(web.seen.asked) == 320 - disallowed
        assert not [path for host, path in asked if host in hosts[:6] and path.startswith("/good/1")]
        # Another run over another dataset, within a day.
        other = dataset_of(tmp_path / "other", [f"http://{host}:{port}/good/{n}" for host in hosts for n in (1, 41)])
        report = fetched(other, Limits(None, 4), workers=2)
        assert report.statuses == {"ok": 10, "robots_disallowed": 6}
        assert Counter(each.host for each in web.seen.robots) == dict.fromkeys(hosts, 1)


def test_a_robots_txt_that_could_not_be_had_is_asked_for_again_by_the_next_run_alone(tmp_path: Path) -> None:
    with serve(*HOMES) as web:
        host = "n3.example"
        urls = [f"http://{host}:{web.port}/good/{number}" for number in range(60)]
        web.robots = {host: page(b"", status="500 Oh")}
        dataset = dataset_of(tmp_path, urls, Parts(rows=30))
        report = fetched(dataset, Limits(None, 4), workers=4)
        assert (report.statuses, report.retryable) == ({"robots_unreachable": 60}, 60)
        assert len(web.seen.robots) == 1
        assert not web.seen.asked
        assert set(read(dataset, "images")["reason"]) == {"robots.txt: http_500, Oh"}
        web.robots = {}
        report = fetched(dataset, Limits(None, 4), workers=4)
        assert report.statuses == {"ok": 60}
        assert len(web.seen.robots) == 2


def test_after_a_day_it_is_asked_for_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with serve(*HOMES) as web:
        host = "n3.example"
        web.robots = {host: NONE_OF_IT}
        for run_number, hours in enumerate((0, 23.9, 24.1)):
            later = backoff.now() + hours * 3600
            with monkeypatch.context() as patch:
                patch.setattr(backoff, "now", lambda later=later: later)
                machine = Machine(make_shared(), "run")
                known = machine.robots(f"http://{host}:{web.port}")
                machine.close()
            if run_number == 0:
                assert known is None
                dataset = dataset_of(tmp_path, [f"http://{host}:{web.port}/good/1"])
                fetched(dataset, Limits(), 1)
            else:
                assert (known is not None) == (run_number == 1)


def test_an_origin_has_its_own() -> None:
    with serve() as web, serve() as other:
        web.robots = {"h.example": NONE_OF_IT}
        urls = [f"http://h.example:{each.port}/good/{number}" for number in range(20) for each in (web, other)]
        outcomes, _ = crawl(urls, limits=Limits(64, 4))
        assert [each.status for each in outcomes] == ["robots_disallowed", "ok"] * 20
        assert (len(web.seen.robots), len(other.seen.robots)) == (1, 1)
        assert not web.seen.asked


def test_the_connection_of_the_robots_txt_is_kept_for_the_images() -> None:
    with serve() as web:
        hosts = [f"h{number}.example" for number in range(30)]
        web.robots = dict.fromkeys(hosts[:10], b"User-agent: *\nDisallow: /x")  # the others have none: 404
        outcomes, _ = crawl([f"http://{host}:{web.port}/good/1" for host in hosts])
        assert {each.status for each in outcomes} == {"ok"}
        assert len(web.seen.robots) == len(web.seen.asked) == web.seen.connections == 30


def test_a_redirected_image_is_judged_where_it_leads() -> None:
    with serve() as web:
        web.places = {
            "/away": f"http://no.example:{web.port}/good/1",
            "/along": f"http://yes.example:{web.port}/good/2",
        }
        web.robots = {"no.example": NONE_OF_IT}
        outcomes, _ = crawl([f"http://h.example:{web.port}/{path}" for path in ("away", "along")])
        assert [(each.status, each.reason) for each in outcomes] == [
            ("robots_disallowed", "robots.txt: Disallow: /"),
            ("ok", None),
        ]
        assert "no.example" not in {each.host for each in web.seen.asked}


# Policies.


def test_robots_and_opt_outs_by_option(tmp_path: Path) -> None:
    with serve(*HOMES) as web:
        at = f"http://n3.example:{web.port}"
        web.robots = {"n3.example": b"User-agent: *\nDisallow: /good/1\nContent-Usage: /good/2 train-ai=n\n"}
        tagged = f"{at}/robots?tag=noai"
        urls = [f"{at}/good/1", f"{at}/good/2", f"{at}/good/3", tagged]
        dataset = dataset_of(tmp_path, urls)
        line = ["fetch", dataset.store.url, "--all", "--allow-network", "127.0.0.0/8", "--workers", "1"]

        def statuses(*options: str) -> tuple[dict[str, tuple[str, str | None]], set[str], str]:
            web.seen.forget()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("align_data.cli.fetch.handler_of", lambda _: "many_names:handler")
                done = CliRunner().invoke(main, [*line, *options])
            assert done.exit_code == 0, done.output
            rows = read(dataset, "images").select("url", "status", "reason").iter_rows()
            return {url: (status, reason) for url, status, reason in rows}, set(web.seen.targets()), done.stderr

        respected = {
            urls[0]: ("robots_disallowed", "robots.txt: Disallow: /good/1"),
            urls[1]: ("opted_out", "robots.txt: Content-Usage: /good/2 train-ai=n"),
            urls[2]: ("ok", None),
            tagged: ("opted_out", "X-Robots-Tag: noai"),
        }
        found, asked, said = statuses()
        assert found == respected
        assert asked == {"/good/3", "/robots?tag=noai"}
        assert "left out as their hosts ask: 1 disallowed by robots.txt, 2 opted out" in " ".join(said.split())
        assert statuses()[:2] == (respected, set())
        assert statuses("--robots", "respect")[:2] == (respected, set())
        found, asked, _ = statuses("--ignore-opt-out")
        assert found == respected | {urls[1]: ("ok", None), tagged: ("ok", None)}
        assert asked == {"/good/2", "/robots?tag=noai"}
        found, asked, _ = statuses("--ignore-opt-out", "--robots", "ignore")
        assert found == dict.fromkeys(urls, ("ok", None))
        assert asked == {"/good/1"}
        assert not web.seen.robots


def test_ignoring_robots_asks_again_for_what_robots_txt_kept_out_and_nothing_else(tmp_path: Path) -> None:
    with serve(*HOMES) as web:
        at = f"http://n3.example:{web.port}"
        web.robots = {"n3.example": b"User-agent: *\nDisallow: /good/1\nContent-Usage: /good/2 train-ai=n\n"}
        dataset = dataset_of(tmp_path, [f"{at}/good/1", f"{at}/good/2", f"{at}/robots?tag=noai", f"{at}/missing"])
        fetched(dataset, Limits(), 1)
        web.seen.forget()
        report = fetched(dataset, Limits(), 1, Policy(HERE, ignore_robots=True))
        assert report.outcomes == {"ok": 2}
        assert set(web.seen.targets()) == {"/good/1", "/good/2"}
        assert not web.seen.robots


def test_headers_that_opt_out_are_respected_and_quoted() -> None:
    said = {
        "Content-Usage: train-ai=n": "Content-Usage: train-ai=n",
        "content-usage: search=y,\ttrain-ai=n;why=1": "Content-Usage: search=y,\ttrain-ai=n;why=1",
        "TDM-Reservation: 1": "tdm-reservation: 1",
        "tdm-reservation: 1\r\ntdm-policy: https://a.example/p": "tdm-reservation: 1, tdm-policy: https://a.example/p",
        "Content-Usage: train-ai=y": None,
        "tdm-reservation: 0": None,
    }

    async def with_header(talk: Talk) -> None:
        header = list(said)[int(talk.asked.path.rpartition("/")[2])]
        await talk.answer(jpeg(), header)

    with serve() as web:
        web.pages["/header"] = with_header
        urls = [web.url(f"/header/{number}") for number in range(len(said))]
        outcomes, _ = crawl(urls)
        assert [(each.status, each.reason) for each in outcomes] == [
            ("ok", None) if reason is None else ("opted_out", reason) for reason in said.values()
        ]
        outcomes, _ = crawl(urls, Policy(HERE, ignore_opt_out=True))
        assert {each.status for each in outcomes} == {"ok"}


class Cluster(LocalEngine):
    """Says that it has more machines."""

    spread = True


class Heard(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


def test_where_machines_count_each_for_itself_it_is_said(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, ["http://10.0.0.1/x"])
    for engine, sentences in (
        (LocalEngine, []),
        (Cluster, ["up to 3 connections, one address up to 7, from each"]),
    ):
        heard = Heard()
        fetch(dataset, None, POLICY, Limits(None, 3, per_address=7), engine(dataset.store.work, 1), heard)
        assert len(heard.said) == len(sentences)
        assert all(words in said for words, said in zip(sentences, heard.said, strict=True))


# Crawl-delay.


def between(web: Web, host: str) -> list[float]:
    """Return the seconds from the end of each request to a host to the beginning of the next."""
    asked = sorted(
        (each for each in (*web.seen.robots, *web.seen.asked) if each.host == host), key=lambda each: each.when
    )
    return [after.when - (before.left or 0.0) for before, after in pairwise(asked)]


def test_a_crawl_delay_is_kept_by_all_children_and_runs_together(tmp_path: Path) -> None:
    with serve(*HOMES) as web:
        web.robots = {"n3.example": b"User-agent: *\nCrawl-delay: 0.5\n"}
        one, two = (
            dataset_of(
                tmp_path / name,
                [f"http://n3.example:{web.port}/pause/{name}{n}?s=0.05" for n in range(6)],
                Parts(rows=3),
            )
            for name in "ab"
        )
        reports = []
        threads = [threading.Thread(target=lambda d=d: reports.append(fetched(d, Limits(), 2))) for d in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert [report.statuses for report in reports] == [{"ok": 6}] * 2
        assert len(web.seen.robots) == 1
        assert web.seen.most_busy_of["n3.example"] == 1
        assert len(between(web, "n3.example")) == 12
        assert min(between(web, "n3.example")) > 0.45


def test_a_delay_that_is_longer_than_a_run_waits_closes_the_host(tmp_path: Path) -> None:
    with serve(*HOMES) as web:
        web.robots = {"n3.example": b"User-agent: *\nCrawl-delay: 100\n"}
        dataset = dataset_of(tmp_path, [f"http://n3.example:{web.port}/good/{number}" for number in range(30)])
        report = fetched(dataset, Limits(), 2)
        assert (report.statuses, report.retryable) == ({"rate_limited": 30}, 30)
        reasons = set(read(dataset, "images")["reason"])
        assert reasons == {"not requested: Crawl-delay: 100 in robots.txt, and this run waits no longer for the host"}
        assert not web.seen.asked


def test_a_run_waits_for_a_host_with_a_delay_so_long_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_PATIENCE_IN_ALL", 1.0)
    with serve() as web:
        web.robots = {"h.example": b"User-agent: *\nCrawl-delay: 0.3\n"}
        others = [f"http://h{number}.example:{web.port}/good/{number}" for number in range(50)]
        slow = [f"http://h.example:{web.port}/good/{number}" for number in range(100)]
        outcomes, _ = crawl([*slow, *others])
        statuses = Counter(each.status for each in outcomes)
        assert 50 + 2 <= statuses["ok"] <= 50 + 4
        assert statuses["rate_limited"] == 150 - statuses["ok"]
        assert {each.status for each in outcomes[100:]} == {"ok"}


# Hosts' connections on a machine.


def test_two_runs_over_two_datasets_share_the_connections_to_a_host(tmp_path: Path) -> None:
    with serve(*HOMES) as web:
        datasets = [
            dataset_of(tmp_path / name, [f"http://n3.example:{web.port}/pause/{name}{n}?s=0.03" for n in range(60)])
            for name in "ab"
        ]
        reports = []
        threads = [
            threading.Thread(target=lambda d=d: reports.append(fetched(d, Limits(None, 3), 2))) for d in datasets
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert [report.statuses for report in reports] == [{"ok": 60}] * 2
        assert web.seen.most_busy_of["n3.example"] == 3
        assert len(web.seen.robots) == 1


def test_the_shared_folder_is_the_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIGN_DATA_SHARED", str(tmp_path / "here"))
    folder = make_shared()
    assert folder.is_relative_to(tmp_path / "here")
    for each in (folder, folder.parent):
        assert stat.S_IMODE(each.stat().st_mode) == 0o700
    assert make_shared() == folder
    # What others can write, or a link to elsewhere, is not used.
    folder.parent.chmod(0o777)
    with pytest.raises(DatasetError, match="choose another place with the variable ALIGN_DATA_SHARED"):
        make_shared()
    folder.rmdir()
    folder.parent.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match="is not a folder that is yours alone"):
        make_shared()
    assert not list((tmp_path / "elsewhere").iterdir())
    if os.geteuid() == 0:
        folder.parent.unlink()
        folder.parent.mkdir(mode=0o700)
        os.chown(folder.parent, 12345, 12345)
        with pytest.raises(DatasetError, match="is not a folder that is yours alone"):
            make_shared()


# What a machine knows.


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    opened = Machine(tmp_path, "run")
    yield opened
    opened.close()


DAMAGES = [b"", b"not a database" * 1000, b"SQLite format 3\0" + bytes(5000)]


@pytest.mark.parametrize("content", DAMAGES)
def test_a_damaged_database_is_made_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "hosts.sqlite").write_bytes(content)
    for known in (None, b"x"):
        machine = Machine(tmp_path, "run")
        found = machine.robots("http://a")
        assert (None if found is None else found[1]) == known
        machine.keep_robots(["http://a"], b"x", 100)
        machine.close()


def test_tables_of_another_form_are_made_anew(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "hosts.sqlite") as database:
        database.execute("CREATE TABLE robots (x)")
    database.close()
    machine = Machine(tmp_path, "run")
    machine.keep_robots(["http://a"], b"x", 100)
    assert machine.robots("http://a") is not None
    machine.close()


def test_a_full_database_forgets_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("align_data.fetching.machine._PAGES", 60)
    machine = Machine(tmp_path, "run")
    for number in range(500):
        machine.keep_robots([f"http://{number}"], bytes(2000), 1000)
    assert machine.robots("http://499") is not None
    assert machine.robots("http://0") is None
    assert (tmp_path / "hosts.sqlite").stat().st_size <= 60 * 4096
    machine.close()


def test_a_machine_remembers_for_all_runs_what_was_read_and_for_one_what_failed(
    machine: Machine, tmp_path: Path
) -> None:
    failed = Outcome("robots_unreachable", "robots.txt: http_500", retry=True)
    machine.keep_robots(["http://a", "http://b"], b"disallow:/", 100)
    machine.keep_robots(["http://c"], failed, 100)
    machine.keep_robots(["http://past"], b"", -1)
    machine.rest("a", 50)
    machine.rest("past", -1)
    for run_name, of_c in (("run", failed), ("another", None)):
        same = Machine(tmp_path, run_name)
        a, b, c, past, d = (same.robots(f"http://{name}") for name in ("a", "b", "c", "past", "d"))
        assert a is not None
        assert b is not None
        assert a[1] == b[1] == b"disallow:/"
        assert (None if c is None else c[1]) == of_c
        assert past is None
        assert d is None
        assert 49 < same.wait("a") <= 50
        assert same.wait("past") == same.wait("b") == 0
        same.close()
