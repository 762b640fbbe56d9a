"""Names: looked up at a name server of our own that lies, stays silent or sends too much; nothing forbidden is connected to."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hostile_web import HOME, Web, serve
from hypothesis import given, settings
from hypothesis import strategies as st
from name_server import (
    AAAA,
    CNAME,
    FAILED,
    NO_NAME,
    REFUSED,
    A,
    Answer,
    NameServer,
    Query,
    at,
    name_server,
    of_kind,
    packed,
)

from align_data.common.errors import InputError
from align_data.fetching import name_lookup, naming, resolver
from align_data.fetching.client import Client, Policy
from align_data.fetching.crawl import Crawl
from align_data.fetching.crawl_state import FetchedChunk
from align_data.fetching.guard import Guard, name_servers
from align_data.fetching.limits import Limits
from align_data.fetching.name_cache import MOST_ADDRESSES, NameCache, NameTable, Remembered
from align_data.fetching.name_lookup import NameChannel, NameLookup, families
from align_data.fetching.outcome import Outcome

POLICY = Policy(guard=Guard.of([HOME]), deadline=20.0)
SOON = replace(POLICY, deadline=1.0)


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    """Our server, and listeners on the same port where nobody may connect to: nobody has, at the end."""
    with serve() as server:
        homes = ["127.0.0.1", "127.9.9.9"]
        with suppress(OSError), socket.create_server(("::1", server.port), family=socket.AF_INET6):
            homes.append("::1")
        with serve(*homes, port=server.port) as forbidden:
            yield server
            assert forbidden.seen.connections == 0


def crawl(
    urls: Sequence[str], policy: Policy, limits: Limits | None = None, names: NameCache | None = None
) -> list[Outcome]:
    """Ask for URLs; return what each came to. Bounded in time."""
    found: list[Outcome] = []

    async def work(folder: str) -> None:
        async with Client.of(policy, names=names) as client:
            asked = Crawl(client, limits or Limits(64, 4, per_address=64), policy.deadline, folder)
            async with asyncio.timeout(120):
                await asked.run(iter([(0, urls)]), done, lambda: None)

    def done(chunk: FetchedChunk) -> None:
        found.extend(chunk.outcomes)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(work(folder))
    return found


def asking(server: NameServer, policy: Policy = POLICY) -> Policy:
    return replace(policy, dns=(server.address,))


def ask(web: Web, names: NameServer, host: str, policy: Policy = POLICY) -> Outcome:
    (found,) = crawl([f"http://{host}:{web.port}/good.jpg"], asking(names, policy))
    return found


FAMILIES = "align_data.fetching.name_lookup.families"


@pytest.fixture(autouse=True)
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for IPv4 alone, whether or not IPv6 leads from this machine to somewhere."""
    monkeypatch.setattr(FAMILIES, lambda: socket.AF_INET)


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch, four: None) -> None:
    """Ask for IPv6 too."""
    monkeypatch.setattr(FAMILIES, lambda: socket.AF_UNSPEC)


FORBIDDEN: dict[str, list[str]] = {
    "loopback": ["127.0.0.1"],
    "private": ["10.1.2.3", "192.168.0.1"],
    "metadata": ["169.254.169.254"],
    "six": ["::1"],
    "mapped": ["::ffff:127.0.0.1"],
    "translated": ["64:ff9b::7f00:1"],
    "unique-local": ["fd00::1"],
    "link-local": ["fe80::1"],
    "sixtofour": ["2002:7f00:1::1"],
    "many": [f"127.9.9.{number}" for number in range(1, 101)],
    "both": ["127.0.0.1", "::1", "::ffff:127.0.0.1"],
    "unspecified": ["0.0.0.0", "::"],
}


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("kind", FORBIDDEN)
def test_a_name_of_forbidden_addresses_is_refused(web: Web, kind: str) -> None:
    with name_server(lambda query: of_kind(query, *FORBIDDEN[kind])) as names:
        found = ask(web, names, "bad.example")
        assert (found.status, found.retryable) == ("refused_address", False), found
        assert any(f"bad.example: {address} is " in str(found.reason) for address in FORBIDDEN[kind])


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1", HOME],
        [HOME, "127.0.0.1"],
        ["::1", HOME, "127.0.0.1"],
        ["fd00::1", "64:ff9b::7f00:1", "10.0.0.1", HOME],
        [*FORBIDDEN["many"], HOME],
    ],
)
def test_of_mixed_answers_the_good_address_is_taken_and_no_other(web: Web, addresses: list[str]) -> None:
    with name_server(lambda query: of_kind(query, *addresses)) as names:
        assert ask(web, names, "mixed.example").status == "ok"


def test_a_name_that_changes_its_mind_is_judged_anew(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "SHORTEST", 0.0)

    def zone(query: Query) -> Answer:
        return of_kind(query, HOME if query.times == 0 else "127.0.0.1", ttl=0)

    with name_server(zone) as names:
        cache = NameCache()
        url = f"http://rebinding.example:{web.port}/good.jpg"
        assert crawl([url], asking(names), names=cache)[0].status == "ok"
        found = crawl([url], asking(names), names=cache)[0]
        assert found.reason == "rebinding.example: 127.0.0.1 is not public"


def test_an_answer_of_no_seconds_holds_a_little_while(web: Web) -> None:
    def zone(query: Query) -> Answer:
        return of_kind(query, HOME if query.times == 0 else "127.0.0.1", ttl=0)

    with name_server(zone) as names:
        cache = NameCache()
        for _ in range(3):
            urls = [f"http://zero.example:{web.port}/good/{number}" for number in range(40)]
            assert {each.status for each in crawl(urls, asking(names), Limits(8, 8), cache)} == {"ok"}
        assert names.asked["zero.example"] == 1


def test_a_redirect_to_a_name_of_forbidden_addresses_is_refused(web: Web) -> None:
    addresses = {"fine.example": HOME, "other.example": HOME, "inside.example": "127.0.0.1"}
    web.places["/to_other"] = f"http://other.example:{web.port}/good.jpg"
    web.places["/to_inside"] = f"http://inside.example:{web.port}/good.jpg"
    with name_server(lambda query: of_kind(query, addresses[query.name])) as names:
        found = crawl([f"http://fine.example:{web.port}/to_{where}" for where in ("other", "inside")], asking(names))
        assert [each.status for each in found] == ["ok", "refused_address"]
        assert names.asked == Counter(addresses.keys())


def chain(query: Query, *names: str, address: str) -> Answer:
    """From the name asked for over others to an address."""
    owners = ["", *names]
    records = [(owner, CNAME, 60, packed(name)) for owner, name in zip(owners, names, strict=False)]
    return Answer(records + at(address, owner=owners[-1]))


def to_nowhere(query: Query) -> Answer:
    return Answer([("", CNAME, 60, packed("b.example")), ("b.example", CNAME, 60, packed(query.name))])


LIES: dict[str, tuple[Callable[[Query], Answer | None], set[str]]] = {
    "aliases to inside": (
        lambda query: chain(query, "a.example", "localhost", "metadata.internal", address="127.0.0.1"),
        {"refused_address"},
    ),
    "an alias loop": (to_nowhere, {"dns"}),
    "an alias to itself": (lambda query: Answer([("", CNAME, 60, b"\xc0\x0c")]), {"dns"}),
    "a thousand aliases": (
        lambda query: Answer(
            [(f"a{n}.example" if n else "", CNAME, 60, packed(f"a{n + 1}.example")) for n in range(900)],
            truncated=not query.tcp,
        ),
        {"dns"},
    ),
    "another's id": (
        lambda query: replace(of_kind(query, HOME), number=(query.raw[0] << 8 | query.raw[1]) ^ 1),
        {"timeout"},
    ),
    "another question": (
        lambda query: replace(of_kind(query, HOME), question=packed("other.example") + b"\0\1\0\1"),
        {"timeout", "dns"},
    ),
    "another case": (
        lambda query: replace(of_kind(query, HOME), question=packed("LIE.EXAMPLE") + b"\0\1\0\1"),
        {"timeout", "dns", "ok"},  # of 2^10 ways one is the one that was asked
    ),
    "another's address": (lambda query: Answer(at("127.0.0.1", owner="other.example")), {"dns", "refused_address"}),
    "another kind": (lambda query: Answer([("", AAAA, 60, bytes(16))]), {"dns", "refused_address"}),
    "an address of three bytes": (lambda query: Answer([("", A, 60, b"\x7f\0\0")]), {"dns", "timeout"}),
    "an address of sixteen bytes": (
        lambda query: Answer([("", A, 60, bytes(16))]),
        {"dns", "timeout", "refused_address"},
    ),
    "garbage": (lambda query: Answer(raw=query.raw[:2] + os.urandom(300)), {"dns", "timeout"}),
    "its question": (lambda query: Answer(raw=query.raw), {"dns", "timeout"}),
    "nothing": (lambda query: Answer(raw=b""), {"dns", "timeout"}),
    "a head alone": (lambda query: Answer(raw=query.raw[:2] + b"\x81\x80\0\1\xff\xff\0\0\0\0"), {"dns", "timeout"}),
    "no address": (lambda query: Answer(), {"dns"}),
    "truncated for ever": (lambda query: Answer(truncated=True), {"dns", "timeout"}),
    "seconds without end": (lambda query: Answer([("", A, 2**32 - 1, socket.inet_aton(HOME))]), {"ok"}),
    "five thousand addresses": (
        lambda query: of_kind(query, "127.0.0.1") if not query.tcp else Answer(at(*["127.0.0.1"] * 3500)),
        {"refused_address"},
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_name_server_that_lies_is_believed_nothing_that_leads_inside(web: Web, lie: str) -> None:
    zone, expected = LIES[lie]
    with name_server(zone) as names:
        found = ask(web, names, "lie.example", SOON)
        assert found.status in expected, found
        assert found.reason or found.status == "ok"


def test_an_answer_too_long_for_a_datagram_comes_by_tcp(web: Web) -> None:
    def zone(query: Query) -> Answer:
        return of_kind(query, *FORBIDDEN["many"], HOME) if query.tcp else Answer(truncated=True)

    with name_server(zone) as names:
        assert ask(web, names, "long.example").status == "ok"


def test_what_a_name_server_says_is_a_status(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RES_OPTIONS", "timeout:1 attempts:1")
    monkeypatch.setattr("align_data.fetching.name_lookup._PATIENCE", 0.5)
    said = {
        "none.example": Answer(code=NO_NAME),
        "empty.example": Answer(),
        "failing.example": Answer(code=FAILED),
        "refusing.example": Answer(code=REFUSED),
        "silent.example": None,
    }
    with name_server(lambda query: said[query.name]) as names:
        found = crawl([f"http://{host}:{web.port}/good.jpg" for host in said], asking(names))
    assert [(each.status, each.retryable, each.reason) for each in found] == [
        ("dns", False, "[Errno -2] the name does not exist"),
        ("dns", False, "[Errno -2] the name has no address"),
        ("dns", True, "[Errno -3] the name server failed"),
        ("dns", True, "[Errno -3] the name server refused"),
        ("dns", True, "[Errno -3] no name server answered in time"),
    ]
    closed = crawl([f"http://h.example:{web.port}/"], replace(POLICY, dns=(names.address,)))[0]
    assert (closed.status, closed.retryable) == ("dns", True)


def test_a_name_is_asked_for_once_and_failures_are_remembered(web: Web) -> None:
    def zone(query: Query) -> Answer:
        answer = of_kind(query, HOME) if query.name.startswith("good") else Answer(code=NO_NAME)
        return replace(answer, later=0.2)

    hosts = [f"{kind}{number}.example" for kind in ("good", "gone") for number in range(5)]
    with name_server(zone) as names:
        cache = NameCache()
        for _ in range(2):
            found = crawl(
                [f"http://{host}:{web.port}/good/{n}" for n in range(8) for host in hosts], asking(names), names=cache
            )
            assert Counter(each.status for each in found) == {"ok": 40, "dns": 40}
        assert names.asked == Counter(hosts)


def test_a_name_that_is_not_answered_takes_no_connection(web: Web) -> None:
    """Hosts without an answer are many times the connections, and come first."""

    def zone(query: Query) -> Answer | None:
        return None if query.name.startswith("mute") else of_kind(query, HOME)

    mute = [f"http://mute{number}.example:{web.port}/good.jpg" for number in range(300)]
    fine = [f"http://h{number}.example:{web.port}/good/{number}" for number in range(40)]
    with name_server(zone) as names:
        before = time.monotonic()
        web.seen.forget()
        found = crawl(mute + fine, asking(names, replace(POLICY, deadline=4.0)), Limits(4, 2, per_address=4))
        assert [each.status for each in found] == ["timeout"] * 300 + ["ok"] * 40
        assert found[0].reason == "the name was not looked up after 4 s"
        assert len(web.seen.asked) == 40
        # All 40 were asked while the others waited: none waited for a deadline of theirs.
        assert max(asked.when for asked in web.seen.asked) - before < 4.0


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_thousands_of_slow_hosts_at_once(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """5,000 names are answered late; files stay few, connections within their limit, and every URL has its status."""
    under_way, most, files = set[str](), [0], [0]

    def zone(query: Query) -> Answer:
        under_way.add(query.name)
        most[0] = max(most[0], len(under_way))
        files[0] = max(files[0], open_files() if len(under_way) % 50 == 0 else 0)
        asyncio.get_running_loop().call_later(1.5, under_way.discard, query.name)
        ok = int(query.name[1:5]) % 10 == 0
        return replace(of_kind(query, HOME) if ok else Answer(code=NO_NAME), later=1.5)

    monkeypatch.setattr(naming, "_RATE", 4000.0)
    monkeypatch.setattr(name_lookup, "_PATIENCE", 60.0)  # the server shares this process, and so a busy machine with it
    urls = [f"http://h{number:04}.example:{web.port}/pause?s=0.2" for number in range(5000)]
    before = open_files()
    with name_server(zone) as names:
        web.seen.most_connections = 0
        found = crawl(urls, asking(names), Limits(100, 4, per_address=100))
    assert [each.status for each in found] == ["ok" if n % 10 == 0 else "dns" for n in range(5000)]
    assert most[0] > 1000
    assert most[0] <= naming.AT_ONCE
    assert web.seen.most_connections <= 100
    assert files[0] < before + 3 * 100 + 50  # both ends of each connection, and what a body may need


# What is remembered.

ADDRESSES = st.one_of(
    st.binary(min_size=4, max_size=4).map(lambda octets: socket.inet_ntop(socket.AF_INET, octets)),
    st.binary(min_size=16, max_size=16).map(lambda octets: socket.inet_ntop(socket.AF_INET6, octets)),
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([f"n{number}.example" for number in range(6)]),
            st.one_of(
                st.lists(ADDRESSES, min_size=1, max_size=MOST_ADDRESSES),
                st.tuples(st.sampled_from([socket.EAI_NONAME, socket.EAI_AGAIN]), st.text(max_size=80)),
            ),
            st.sampled_from([-10.0, 1000.0]),
        ),
        max_size=30,
    ),
    st.sampled_from([1, 3, 1000]),
)
@settings(max_examples=30)
def test_a_table_has_the_last_answer_of_a_name_or_none(
    puts: list[tuple[str, list[str] | tuple[int, str], float]], slots: int
) -> None:
    last: dict[str, Remembered] = {}
    with tempfile.TemporaryDirectory() as folder:
        writer, reader = (NameTable(Path(folder) / "names.log", slots) for _ in range(2))
        for name, came_to, seconds in puts:
            until = time.time() + seconds
            last[name] = Remembered(until, came_to) if isinstance(came_to, list) else Remembered(until, (), *came_to)
            writer.put(name, last[name])
        found = {name: reader.get(name) for name in last}
        for name, remembered in found.items():
            assert remembered is None or remembered == last[name]
            assert remembered is None or last[name].until > time.time()
        valid = [name for name, remembered in last.items() if remembered.until > time.time()]
        if slots == 1000:  # these six names have a slot each
            assert all(found[name] is not None for name in valid)
        assert (Path(folder) / "names.log").stat().st_size <= slots * 1024
        writer.close()
        reader.close()


def test_a_slot_that_is_torn_is_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "names.log"
    table = NameTable(path, 1)
    table.put("a.example", Remembered(time.time() + 100, ["8.8.8.8", "2a00::1"]))
    whole = path.read_bytes()
    assert table.get("a.example") is not None
    assert table.get("b.example") is None
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert table.get("a.example") is None
        path.write_bytes(whole[:place])
        assert table.get("a.example") is None
    table.close()


def test_processes_share_what_names_came_to(web: Web, tmp_path: Path) -> None:
    """Two clients with a table each of the same file, as two processes have it."""

    def zone(query: Query) -> Answer:
        return of_kind(query, HOME) if query.name.startswith("good") else Answer(code=NO_NAME)

    hosts = [f"{kind}{number}.example" for kind in ("good", "gone") for number in range(20)]
    with name_server(zone) as names:
        for _ in range(2):
            cache = NameCache(NameTable(tmp_path / "names.log"))
            found = crawl([f"http://{host}:{web.port}/good.jpg" for host in hosts], asking(names), names=cache)
            assert [each.status for each in found] == ["ok"] * 20 + ["dns"] * 20
        assert names.asked == Counter(hosts)


def test_what_is_shared_is_judged_again(web: Web, tmp_path: Path) -> None:
    table = NameTable(tmp_path / "names.log")
    table.put("planted.example", Remembered(time.time() + 100, ["127.0.0.1"]))
    with name_server(lambda query: of_kind(query, HOME)) as names:
        found = crawl([f"http://planted.example:{web.port}/good.jpg"], asking(names), names=NameCache(table))[0]
    assert found.reason == "planted.example: 127.0.0.1 is not public"


# By whom names are looked up.


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("192.0.2.1", "192.0.2.1:53"),
        ("192.0.2.1:5353", "192.0.2.1:5353"),
        ("2001:DB8::1", "[2001:db8::1]:53"),
        ("[2001:db8::1]", "[2001:db8::1]:53"),
        ("[2001:db8::1]:53", "[2001:db8::1]:53"),
    ],
)
def test_a_name_server_is_an_address_and_perhaps_a_port(text: str, server: str) -> None:
    assert name_servers([text, text]) == (server, server)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dns.example",
        "192.0.2.1:0",
        "192.0.2.1:65536",
        "192.0.2.1:x",
        "1.2.3",
        "[::1",
        "::1:53:x",
        "1.1.1.1,8.8.8.8",
    ],
)
def test_no_name_server_is_a_sentence(text: str) -> None:
    with pytest.raises(InputError, match=r"^.* is not a name server: .*; write it as 192\.0\.2\.1, "):
        name_servers([text])


def test_ipv6_is_asked_for_where_it_leads_somewhere(tmp_path: Path) -> None:
    for lines, expected in [
        ("", socket.AF_INET),
        ("00000000000000000000000000000001 01 80 10 80       lo\n", socket.AF_INET),
        ("fe800000000000000000000000000001 02 40 20 80     eth0\n", socket.AF_INET),
        ("2a000000000000000000000000000001 02 40 00 80     eth0\n", socket.AF_UNSPEC),
    ]:
        (tmp_path / "if_inet6").write_text(lines)
        assert families(tmp_path / "if_inet6") == expected
    assert families(tmp_path / "none") == socket.AF_UNSPEC


def test_a_channel_is_left_for_another_after_some_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """It remembers answers without a limit, so channels come and go, and what was asked of them is still answered."""
    made, left, closed = [0], [0], NameChannel.close

    class Counted(NameChannel):
        def __init__(self, servers: Sequence[str]) -> None:
            made[0] += 1
            super().__init__(servers)

        def close(self) -> None:
            left[0] += 1
            closed(self)

    monkeypatch.setattr(name_lookup, "_CHANNEL_NAMES", 10)
    monkeypatch.setattr(name_lookup, "NameChannel", Counted)

    async def work(server: str) -> list[str]:
        lookup = NameLookup([server])
        found = await asyncio.gather(*(lookup.resolve(f"h{number}.example") for number in range(95)))
        await asyncio.sleep(0)  # the last of a channel has its answer before that closes
        assert (made[0], left[0]) == (10, 9)
        await lookup.close()
        return [answer[0]["host"] for answer in found]

    def zone(query: Query) -> Answer:
        return replace(of_kind(query, f"10.0.0.{query.name[1:].partition('.')[0]}"), later=0.05)

    with name_server(zone) as names:
        assert asyncio.run(work(names.address)) == [f"10.0.0.{number}" for number in range(95)]
    assert made == left


# What the system says: in a network of its own, where its files are ours.

IN_NAMESPACE = r"""
import asyncio, socket, subprocess, sys
from dataclasses import replace
from name_server import NO_NAME, Answer, at, name_server, of_kind
from align_data.fetching.name_lookup import NameLookup

KNOWN = {"web.corp.test": "10.0.0.1", "deep.web.corp.test": "10.0.0.2", "h.example": "10.0.0.3"}

def zone(query):
    return of_kind(query, KNOWN[query.name]) if query.name in KNOWN else Answer(code=NO_NAME)

async def main():
    lookup = NameLookup()
    for name in sys.argv[1:]:
        try:
            print(name, *[answer["host"] for answer in await lookup.resolve(name)])
        except socket.gaierror as error:
            print(name, error.errno)
    await lookup.close()

with name_server(zone, 53) as names:
    asyncio.run(main())
    print("asked", *sorted(names.asked))
"""


@pytest.fixture(scope="module")
def namespace(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """Run a script where this machine's files of names are ours, and its network is of its own."""
    folder = tmp_path_factory.mktemp("namespace")
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\nsearch corp.test\noptions timeout:1 attempts:1\n")
    (folder / "hosts").write_text("127.0.0.1 localhost\n10.0.0.9 by-hand by-hand.example # and more\n")
    line = "ip link set lo up && mount --bind {0}/resolv.conf /etc/resolv.conf && mount --bind {0}/hosts /etc/hosts"
    enter = ["unshare", "-n", "-m", "sh", "-c", line.format(folder) + ' && exec "$@"', "sh"]
    if shutil.which("unshare") is None or subprocess.run([*enter, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no network namespace may be made here")

    def run(script: str, *arguments: str) -> list[str]:
        path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
        done = subprocess.run(
            [*enter, sys.executable, "-c", script, *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def test_hosts_file_search_domains_and_name_servers_of_the_system_are_heeded(
    namespace: Callable[..., list[str]],
) -> None:
    found = namespace(
        IN_NAMESPACE, "h.example", "web", "deep.web", "by-hand", "by-hand.example", "localhost", "gone.example"
    )
    assert found[:-1] == [
        "h.example 10.0.0.3",
        "web 10.0.0.1",
        "deep.web 10.0.0.2",
        "by-hand 10.0.0.9",
        "by-hand.example 10.0.0.9",
        "localhost 127.0.0.1",
        f"gone.example {socket.EAI_NONAME}",
    ]
    asked = found[-1].split()[1:]
    assert {"h.example", "web.corp.test", "deep.web.corp.test", "gone.example"} <= set(asked)
    assert not any("by-hand" in name or name == "localhost" for name in asked)
