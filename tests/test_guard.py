"""Which addresses are let through, which URLs are asked for, what asks not to be used, and how long a host wants to be left alone."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import example, given
from hypothesis import strategies as st

from align_data.common.errors import InputError
from align_data.fetching.client import wait_asked
from align_data.fetching.guard import Guard, RefusedAddressError
from align_data.fetching.opt_outs import robots_tag
from align_data.fetching.outcome import STATUSES, Outcome
from align_data.fetching.resolver import Resolver
from align_data.fetching.target import target
from align_data.fetching.worker import row

# DESIGN section 5, RFC 6890 and its registries: the first and the last address of each network, or some of it.
REFUSED = {
    "this network": ["0.0.0.0", "0.255.255.255"],
    "private": ["10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255"],
    "carrier's": ["100.64.0.0", "100.127.255.255"],
    "loopback": ["127.0.0.0", "127.0.0.1", "127.255.255.255"],
    "link-local and metadata": ["169.254.0.0", "169.254.169.254", "169.254.255.255"],
    "protocols": ["192.0.0.0", "192.0.0.8", "192.0.0.9", "192.0.0.10", "192.0.0.170", "192.0.0.255"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.255"],
    "relay": ["192.88.99.0", "192.88.99.1", "192.88.99.255"],
    "benchmarks": ["198.18.0.0", "198.19.255.255"],
    "multicast": ["224.0.0.0", "224.0.0.1", "233.252.0.1", "239.255.255.255"],
    "reserved": ["240.0.0.0", "254.255.255.255", "255.255.255.255"],
    "Azure": ["168.63.129.16"],
    "v6 unspecified and loopback": ["::", "::1"],
    "v6 link-local": ["fe80::", "fe80::1%eth0", "fe80::1%25eth0", "febf:ffff::1"],
    "v6 unique local": ["fc00::", "fd00:ec2::254", "fdff:ffff::1"],
    "v6 site-local": ["fec0::", "feff:ffff::1"],
    "v6 multicast": ["ff00::", "ff02::1", "ff0e::1", "ffff::1"],
    "mapped": ["::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "::ffff:0.0.0.0", "::ffff:168.63.129.16"],
    "compatible": ["::10.0.0.1", "::8.8.8.8", "::2"],
    "translated": ["::ffff:0:10.0.0.1", "::ffff:0:8.8.8.8"],
    "NAT64": ["64:ff9b::a00:1", "64:ff9b::8.8.8.8", "64:ff9b:1::1", "64:ff9b:1:ffff::8.8.8.8"],
    "6to4": ["2002:7f00:1::", "2002:808:808::1"],
    "Teredo": ["2001::1", "2001:0:ffff::1"],
    "v6 protocols": ["2001:1::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:30::1", "2001:1ff:ffff::1"],
    "v6 documentation": ["2001:db8::", "2001:db8:ffff::1", "3fff::1", "3fff:fff:ffff::1"],
    "discard": ["100::", "100::ffff"],
    "segments": ["5f00::1"],
    "not given out": ["200::1", "400::1", "1000::1", "4000::1", "8000::1", "c000::1", "e000::1", "fa00::1"],
    "none at all": [
        "",
        "localhost",
        "1.2.3",
        "0x7f.1",
        "1.2.3.4.5",
        "2130706433",
        "[::1]",
        "1.2.3.4/32",
        "::g",
        "٣.3.3.3",
    ],
}
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "168.63.129.17",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.88.98.255",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "::ffff:8.8.8.8",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2606:4700::1111",
    "2a00:1450:4001::1",
    "3ffe:ffff::1",
]


@pytest.mark.parametrize("address", [address for some in REFUSED.values() for address in some])
def test_what_is_not_public_is_refused_with_a_reason(address: str) -> None:
    why = Guard().why_not(address)
    assert why is not None
    assert why.startswith(f"{address} is ")


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_let_through(address: str) -> None:
    assert Guard().why_not(address) is None


addresses = st.ip_addresses() | st.one_of(
    st.sampled_from(
        [one for some in REFUSED.values() for one in some if "." in one and ":" not in one and one.count(".") == 3]
    )
    .filter(str.isascii)
    .filter(lambda text: "/" not in text)
    .map(ipaddress.IPv4Address)
    .flatmap(lambda four: st.sampled_from([four, *disguises(four)]))
)


def disguises(four: ipaddress.IPv4Address) -> list[ipaddress.IPv6Address]:
    """Every IPv6 address that leads to this IPv4 address somewhere."""
    low = int(four)
    prefixes = ["::", "::ffff:0:0", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::"]
    return [
        *(ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | low) for prefix in prefixes),
        ipaddress.IPv6Address(0x2002 << 112 | low << 80 | 1),
        ipaddress.IPv6Address(0x20010000 << 96 | low ^ 0xFFFFFFFF),
    ]


@given(addresses)
@example(ipaddress.ip_address("64:ff9b::7f00:1"))
def test_nothing_passes_that_python_calls_special(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    special = (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or not address.is_global
        or getattr(address, "is_site_local", False)
    )
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:  # Python before 3.13 judges the disguise, not the address
        assert (Guard().why_not(str(address)) is None) == (Guard().why_not(str(mapped)) is None)
    elif special or getattr(address, "sixtofour", None) or getattr(address, "teredo", None):
        assert Guard().why_not(str(address)) is not None


@given(addresses, st.integers(0, 32))
def test_an_allowed_network_opens_itself_and_nothing_else(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, bits: int
) -> None:
    network = ipaddress.ip_network((address, bits if address.version == 4 else 4 * bits), strict=False)
    guard = Guard.of([str(network)])
    assert guard.why_not(str(address)) is None or _mapped(address)
    assert guard.why_not(str(network[0])) is None or _mapped(network[0])
    for outside in (int(network[0]) - 1, int(network[-1]) + 1):
        if 0 <= outside < 2**address.max_prefixlen:
            one = str(type(address)(outside))
            assert (guard.why_not(one) is None) == (Guard().why_not(one) is None)


def _mapped(address: Any) -> bool:
    return getattr(address, "ipv4_mapped", None) is not None


@pytest.mark.parametrize(
    ("networks", "address", "allowed"),
    [
        (["127.0.0.0/8"], "127.0.0.1", True),
        (["127.0.0.0/8"], "::1", False),
        (["127.0.0.0/8"], "::ffff:127.0.0.1", True),
        (["127.0.0.0/8"], "::127.0.0.1", False),
        (["127.0.0.0/8"], "10.0.0.1", False),
        (["10.0.0.0/8"], "64:ff9b::10.0.0.1", False),
        (["64:ff9b::/96"], "64:ff9b::10.0.0.1", True),
        (["::ffff:10.0.0.0/104"], "10.255.255.255", True),
        (["::ffff:10.0.0.0/104"], "::ffff:10.0.0.1", True),
        (["::ffff:10.0.0.0/104"], "11.0.0.1", True),
        (["::ffff:10.0.0.0/104"], "127.0.0.1", False),
        (["::/0"], "::1", True),
        (["::/0"], "127.0.0.1", False),
        (["::/0"], "::ffff:127.0.0.1", False),
        (["0.0.0.0/0"], "169.254.169.254", True),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["127.0.0.1"], "127.0.0.1", True),
        (["127.0.0.1"], "127.0.0.2", False),
        (["10.0.0.0/8", "192.168.0.0/16"], "192.168.1.1", True),
    ],
)
def test_allowed_networks(networks: list[str], address: str, allowed: bool) -> None:
    assert (Guard.of(networks).why_not(address) is None) == allowed


@given(st.ip_addresses(v=4), st.integers(0, 32), st.booleans())
def test_a_denied_network_is_closed_in_every_disguise_and_whatever_is_allowed(
    four: ipaddress.IPv4Address, bits: int, mapped: bool
) -> None:
    network = ipaddress.ip_network((four, bits), strict=False)
    denied = f"::ffff:{network[0]}/{bits + 96}" if mapped else str(network)
    every = Guard.of(["0.0.0.0/0", "::/0"], [denied])
    for one in (four, network[0], network[-1]):
        for spelt in (one, *disguises(one)):
            assert every.why_not(str(spelt)) == f"{spelt} is in {network}, which is denied"
    for outside in (int(network[0]) - 1, int(network[-1]) + 1):
        if 0 <= outside < 2**32:
            other = ipaddress.IPv4Address(outside)
            assert every.why_not(str(other)) is None
            assert Guard.of([], [denied]).why_not(str(other)) == Guard().why_not(str(other))


@pytest.mark.parametrize(
    ("denied", "address", "why"),
    [
        (["2606:4700::/32"], "2606:4700::1111", "2606:4700::1111 is in 2606:4700::/32, which is denied"),
        (["2606:4700::/32"], "2a00:1450:4001::1", None),
        (["8.8.8.8"], "8.8.8.8", "8.8.8.8 is in 8.8.8.8/32, which is denied"),
        (["8.8.8.8"], "8.8.4.4", None),
        (["fe80::/10"], "fe80::1%eth0", "fe80::1%eth0 is in fe80::/10, which is denied"),
        ([], "127.0.0.1", "127.0.0.1 is not public"),
    ],
)
def test_denied_networks(denied: list[str], address: str, why: str | None) -> None:
    assert Guard.of([], denied).why_not(address) == why


@pytest.mark.parametrize(
    "text", ["", "here", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/-1", "::1/129", "10.0.0.0/8,::1", "0x7f.1", "10"]
)
def test_no_network_is_a_sentence(text: str) -> None:
    with pytest.raises(InputError, match=r"^.* is not a network: .*; write it as 10\.0\.0\.0/8 or fd00::/8$"):
        Guard.of([text])
    with pytest.raises(InputError, match="is not a network"):
        Guard.of([], [text])


def test_the_same_networks_are_the_same_guard() -> None:
    assert Guard.of(["::1/128", "10.0.0.0/8"]) == Guard.of(["10.0.0.0/8", "::1", "10.0.0.0/255.0.0.0"])


def test_no_socket_is_made_for_what_is_denied() -> None:
    guard = Guard.of(["127.0.0.0/8"], ["127.0.0.2"])
    for family, address in ((socket.AF_INET, "127.0.0.2"), (socket.AF_INET6, "::ffff:127.0.0.2")):
        with pytest.raises(RefusedAddressError, match="which is denied"):
            guard.socket((family, socket.SOCK_STREAM, 0, "", (address, 80)))
    guard.socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.3", 80))).close()


def test_a_socket_is_made_for_what_may_be_connected_to_only() -> None:
    def info(family: int, *address: Any) -> tuple[Any, ...]:
        return (family, socket.SOCK_STREAM, 0, "", address)

    Guard().socket(info(socket.AF_INET, "8.8.8.8", 80)).close()
    for family, *address in [
        (socket.AF_INET, "127.0.0.1", 80),
        (socket.AF_INET, "127.1", 80),
        (socket.AF_INET6, "::1", 80, 0, 0),
        (socket.AF_INET6, "::ffff:127.0.0.1", 80, 0, 0),
        (socket.AF_UNIX, "/run/docker.sock"),
    ]:
        with pytest.raises(RefusedAddressError):
            Guard().socket(info(family, *address))


class Names(AbstractResolver):
    """Resolves a name to the next of some lists of addresses."""

    def __init__(self, *found: list[str]) -> None:
        self.found = list(found)

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=a, port=port, family=family, proto=0, flags=0) for a in self.found.pop(0)
        ]

    async def close(self) -> None:
        pass


def test_a_resolver_hands_on_what_is_public_and_asks_once_a_minute() -> None:
    async def main() -> None:
        names = Names(["10.0.0.1", "8.8.8.8"], ["127.0.0.1"], [])
        resolver = Resolver(names, Guard())
        for _ in range(2):
            assert [each["host"] for each in await resolver.resolve("a.example", 80)] == ["8.8.8.8"]
        with pytest.raises(RefusedAddressError, match=r"^b\.example: 127\.0\.0\.1 is not public$"):
            await resolver.resolve("b.example", 80)
        with pytest.raises(socket.gaierror):
            await resolver.resolve("c.example", 80)
        assert not names.found

    asyncio.run(main())


def test_a_name_is_judged_at_each_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        resolver = Resolver(Names(["8.8.8.8"], ["169.254.169.254"]), Guard())
        await resolver.resolve("rebinding.example", 80)
        with pytest.raises(RefusedAddressError):
            await resolver.resolve("rebinding.example", 80)

    monkeypatch.setattr("align_data.fetching.resolver.REMEMBERED", -1)
    asyncio.run(main())


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], None),
        ([""], None),
        (["all"], None),
        (["noai"], "noai"),
        (["noimageai"], "noimageai"),
        (["noindex"], "noindex"),
        (["noimageindex"], "noimageindex"),
        (["none"], "none"),
        (["nofollow"], None),
        (["noarchive, nosnippet, notranslate, indexifembedded"], None),
        (["noindexed"], None),
        (["NOAI"], "noai"),
        ([" nofollow ,  NoIndex "], "noindex"),
        (["nofollow,noai"], "noai"),
        (["nofollow", "noai"], "noai"),
        (["googlebot: noindex"], None),
        (["googlebot: noindex, noai"], None),
        (["googlebot: noindex", "noai"], "noai"),
        (["noai, googlebot: noindex"], "noai"),
        (["googlebot: noindex, align-data: noai"], "noai"),
        (["googlebot: noindex, align-data: all"], None),
        (["align-data: nofollow, noai"], "noai"),
        (["Align-Data : NoAI"], "noai"),
        (["align-data/1.0: noai"], "noai"),
        (["align-data: noai, googlebot: all"], "noai"),
        (["align-database: noai"], None),
        (["*: noai"], "noai"),
        (["robots: noindex"], "noindex"),
        (["otherbot: all, *: noindex"], "noindex"),
        (["noindex: "], "noindex"),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST"], None),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST, noindex"], "noindex"),
        (["unavailable_after: Friday, 25-Jun-10 15:00:00 PST, noindex"], "noindex"),
        (["unavailable_after: Fri, 25 Jun 2010 15:00:00 GMT, noai"], "noai"),
        (["unavailable_after: 2010-06-25T15:00:00+02:00, noai"], "noai"),
        (["unavailable_after: Fri, 25 Jun 2010, 15:00:00, noai"], "noai"),
        (["googlebot: unavailable_after: Fri, 25 Jun 2010 15:00:00 GMT, noai"], None),
        (["max-snippet: 0, noai"], "noai"),
        (["max-snippet:-1, max-image-preview:large, max-video-preview:-1, noimageai"], "noimageai"),
        (["max-image-preview: none"], None),
        (["googlebot: max-snippet: 5, noai"], None),
        ([","], None),
        ([":"], None),
        ([": noai"], None),
        (["noai\udcff"], None),
    ],
)
def test_opt_out(headers: list[str], found: str | None) -> None:
    assert robots_tag(headers) == found


@given(st.lists(st.text() | st.text("noaidexmg:,- *;", max_size=30), max_size=4))
def test_opt_out_takes_whatever_comes(headers: list[str]) -> None:
    found = robots_tag(headers)
    assert found is None or any(found in header.lower() for header in headers)
    assert robots_tag([*headers, "noai"]) is not None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 5),
        ("0", 5),
        ("0, 0", 5),
        ("0" * 99, 5),
        ("1", 1),
        (" 120 ", 120),
        ("86400, 86400", 86400),
        ("90 ; x", 90),
        (", 90", 5),
        ("3600", 3600),
        ("1" * 400, float("inf")),
        ("1" * 5000, float("inf")),
        ("", 5),
        ("-1", 5),
        ("+1", 5),
        ("1.5", 5),
        ("1e3", 5),
        ("²", 5),
        ("soon", 5),
        ("nan", 5),
        ("inf", 5),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 5),
        ("Fri, 31 Dec 1999 23:59:59 -0000", 5),
        ("Friday, 31-Dec-99 23:59:59 GMT", 5),
        ("Fri, 31 Dec 1999", 5),
        ("Fri, 99 Dec 1999 23:59:59 GMT", 5),
        ("Fri, 31 Dec 99999 23:59:59 GMT", 5),
        ("Fri, 31 Dec 1999 23:59:59 +99999999999999999999", 5),
        ("\udcff", 5),
    ],
)
def test_wait_asked(value: str | None, seconds: float) -> None:
    assert wait_asked(value) == seconds


@pytest.mark.parametrize("ahead", [30, 90, 3600, 10**8])
def test_a_date_is_waited_for(ahead: int) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
    assert ahead - 30 < wait_asked(date) <= ahead


@given(st.text() | st.text("0123456789 :,+-JanMonGMT", max_size=40))
def test_wait_asked_takes_whatever_comes(value: str) -> None:
    assert wait_asked(value) > 0


URLS = {
    # Asked for as it is: whoever signed the path signed these signs.
    "http://h/%2c%7E%41'(),x?a=%2C+b%20c": "http://h/%2c%7E%41'(),x?a=%2C+b%20c",
    "http://h/%zz": "http://h/%zz",
    "http://h/a//b/../c": "http://h/a//b/../c",
    "HTTP://User@H.Example:80/A?B#c": "http://User@h.example/A?B",
    "https://h:443?x=1": "https://h/?x=1",
    "http://h#f": "http://h/",
    'http://h/a b<>"': "http://h/a%20b%3C%3E%22",
    "http://h/ü?ü": "http://h/%C3%BC?%C3%BC",
    "http://münchen.example/": "http://xn--mnchen-3ya.example/",
    "http://xn--a/": "http://xn--a/",
    "http://under_score.example/": "http://under_score.example/",
    "http://h./": "http://h./",
    "http://a\tb/": "http://ab/",
    "http://a\u2215b/": "http://xn--ab-6bv/",
    "http://[2606:4700::1111]/": "http://[2606:4700::1111]/",
    "http://8.8.8.8/": "http://8.8.8.8/",
    "http://１２７.0.0.1/": "http://127.0.0.1/",  # the guard judges it
}
NOT_ASKED = {
    "refused_scheme": "ftp://h/ data:,x FILE:///x a+b.c-d:x",
    "refused_address": "http://0/ http://127.1/ http://0x7f.1/ http://127.0.0.1./ http://0300.0250.1.1/ http://0x7F000001/",
    "bad_url": """
        /x //h/x h/x http: http:/h http:// http:/// http://? http://# http://@/ http://u:p@/ http://:80/ http://h:0/
        http://h:65536/ http://h:-1/ http://h:x/ http://h:80:80/ http://h:٣x/ http://[::1 http://[::g]/ http://[1.2.3.4]/
        http://[::1]x/ http://::1/ http://a..b/ http://.a/ http://../ http://./ http://a%00b/ http://%31/ http://a*b/
        http://a,b/ http://a℀b/ http://a\\b/ http://1.1.1.1.1/ http://256.1.1.1/ http://4294967296/ http://a.0x1/
        http://134744072/ http://8.8.2056/ http://0x08080808/ http://010.8.8.8/
    """,
}
LARGE = ["http://h/" + "a" * 2**16, "http://h/" + "é" * 2**23, "http://" + "é" * 2**23, "http://" + "a." * 2**22 + "/"]
LARGE += [
    "http://u" + "\u0300" * 2**20 + "@h/",
    f"http://{'a' * 64}/",
    f"http://{'a.' * 127}a/",
    f"http://{'é' * 100}/",
]
STRANGE = ["", "http://a b/", "http://a\0b/", "http://\u200b/", "http://\ud800/", "http://h/\ud800", "http://h/\udcff"]


@pytest.mark.parametrize("url", URLS)
def test_how_a_url_is_asked_for(url: str) -> None:
    assert str(target(url, Guard())) == URLS[url]


@pytest.mark.parametrize(
    ("status", "url"),
    [(status, url) for status, urls in NOT_ASKED.items() for url in urls.split()]
    + [("bad_url", url) for url in LARGE + STRANGE],
    ids=lambda value: ascii(value)[:40],
)
def test_what_no_request_is_made_of(status: str, url: str) -> None:
    found = target(url, Guard())
    assert isinstance(found, Outcome)
    assert found.status == status
    assert found.reason
    assert not row(found).retryable
    json.dumps(row(found), ensure_ascii=False).encode()


signs = [
    "http",
    "https",
    ":",
    "/",
    "//",
    "@",
    "[",
    "]",
    "::1",
    "%",
    "%00",
    "?",
    "#",
    ".",
    "..",
    "a",
    "é",
    "127.0.0.1",
    "0x7f",
    "1",
    "\\",
    "xn--a",
    "xn--",
    "ß",
    "İ",
    "-",
    "_",
    ":80",
    ":99999",
    "ｅ",
    "。",
    "℀",
    "ﷺ",
]
signs += [" ", "\t", "\n", "\0", "\u200b", "\ud800"]


@given(st.lists(st.sampled_from(signs), max_size=12).map(lambda some: "http://" + "".join(some)) | st.text())
@example("http://[::g]/")
def test_any_text_is_asked_for_or_has_a_status(url: str) -> None:
    found = target(url, Guard())
    if isinstance(found, Outcome):
        assert found.status in STATUSES
    else:
        assert found.raw_host
        assert str(found).isascii()
