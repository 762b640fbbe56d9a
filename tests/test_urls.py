"""What stands in a URL goes over the wire to the byte; only what may not stand there is escaped, as browsers do it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator

import pytest
from hostile_web import HOME, Web, serve
from hypothesis import given
from hypothesis import strategies as st

from align_data.fetching.client import Client, Policy
from align_data.fetching.guard import Guard
from align_data.fetching.img2dataset.opener import opener
from align_data.fetching.img2dataset_messages import outcome
from align_data.fetching.outcome import Outcome
from align_data.fetching.target import BAD_PORTS, resolved, target

POLICY = Policy(Guard.of([f"{HOME}/32"]), deadline=30)


def wire(rest: str) -> str:
    """What the URL standard sends for path, query and fragment: its percent-encode sets, written from its text.

    But for ' in a query, which it escapes and we leave: it is legal in a URL. And '..' stays where a list has it.
    """
    control = {*range(0x21), *range(0x7F, 0x100)}  # with the space, which is in all sets that are asked for here
    in_query = control | set(b'"#<>')
    in_path = in_query | set(b"?^`{}")
    rest = "".join(sign for sign in rest if sign not in "\t\n\r").split("#", 1)[0]
    path, *query = rest.split("?", 1)
    if not path.startswith("/"):
        path = "/" + path
    sent = [(path.replace("\\", "/"), in_path), *(("?" + some, in_query - {0x3F}) for some in query)]
    return "".join(f"%{b:02X}" if b in escaped else chr(b) for part, escaped in sent for b in part.encode())


def by_client(url: str, policy: Policy = POLICY) -> Outcome:
    """Ask as `fetch` does, for the URL and for where it leads."""

    async def get() -> Outcome:
        async with Client.of(policy) as client, client.visit() as visit:
            found = Outcome("", location=url)
            for _ in range(3):
                if found.location is not None:
                    found = await visit.get(found.location, io.BytesIO(), policy.deadline)
            return found

    return asyncio.run(get())


def by_urllib(url: str, policy: Policy = POLICY) -> Outcome:
    """Ask as img2dataset does under our guard."""
    try:
        with opener(policy).open(url) as response:
            response.read()
    except Exception as error:  # as img2dataset does
        return outcome("failed_to_download", str(error))
    return Outcome("ok")


FETCHERS = {"client": by_client, "urllib": by_urllib}
Fetch = Callable[[str], Outcome]


@pytest.fixture(params=FETCHERS)
def fetcher(request: pytest.FixtureRequest) -> Fetch:
    return FETCHERS[request.param]


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with serve() as found:
        yield found


REST = [
    # Signed as S3, GCS, Azure and CloudFront sign; a space or two do not make them others.
    "/b/a%20b.jpg?X-Amz-Credential=AK%2F20260101%2Fus%2Fs3%2Faws4_request&X-Amz-Signature=0a&x=a%2Bb%2Fc%3D",
    "/a b.jpg?sig=a%2Bb%2Fc%3D&sp=r&se=2026-01-01T00%3A00%3A00Z",
    "/ü.jpg?sig=a%2Bb%2Fc%3D",
    "/a.jpg?Policy=eyJ__~-&Signature=a~b-c_&Key-Pair-Id=K<",
    "/a.jpg?q=a b+c%20d+",
    "/a+b c.jpg",
    "/%2f%2F/%2e%2E/%7e~%41",
    "/%zz%/%4?%zz%&%",
    "/a//b/../c/./d",
    '/a"<>`{}|^[]\\b?a"<>`{}|^[]\\b',
    "/a;b=1,2!$&'()*@:?a;b=1,2!$&'()*@:/?",
    "/x?",
    "/x??",
    "?x=1",
    "",
    "#there",
    "/x#a?b",
    "/x?a#b#c d",
    "/\u00e9\u0301\U0001f600?\u00e9\U0001f600",
    "/\x01\x7f\x80?\x01\x7f\x80",
]


@pytest.mark.parametrize("rest", REST, ids=ascii)
def test_a_url_is_sent_to_the_byte(web: Web, fetcher: Fetch, rest: str) -> None:
    web.seen.forget()
    fetcher(web.url(rest))
    assert [each.target for each in web.seen.asked] == [wire(rest)]


signs = st.sampled_from("abcZ09-._~:/?[]@!$&'()*+,;=%{}|^`\\\"<> \t#\x00\x1f\x7f\x80éÿ€\U0001f600") | st.characters(
    exclude_categories=["Cs"]
)
tails = st.lists(signs | st.sampled_from(["%2F", "%2b", "%zz", "//", "/../", "?a=b"]), max_size=20).map("".join)


@given(tails)
def test_any_url_is_sent_to_the_byte(rest: str) -> None:
    asked = target("http://h.example/" + rest)
    assert not isinstance(asked, Outcome)
    assert asked.raw_path_qs == wire("/" + rest)
    again = target(str(asked))
    assert not isinstance(again, Outcome)
    assert again.raw_path_qs == asked.raw_path_qs


# Without '..', which is resolved in a redirect: the examples of RFC 3986 are for that.
AWAY = [rest for rest in REST if rest.startswith("/") and "/.." not in rest and "%2e" not in rest]


@pytest.mark.parametrize("rest", AWAY, ids=ascii)
def test_a_redirect_is_followed_to_the_byte(web: Web, fetcher: Fetch, rest: str) -> None:
    web.seen.forget()
    web.places["/away"] = rest
    fetcher(web.url("/away"))
    assert [each.target for each in web.seen.asked] == ["/away", wire(rest)]


@pytest.mark.parametrize(
    ("location", "sent"),
    [
        (b"/caf\xe9.jpg?\xfc", "/caf%E9.jpg?%FC"),  # Latin-1: the bytes are what the server knows it by
        ("/café.jpg?ü".encode(), "/caf%C3%A9.jpg?%C3%BC"),
        (b"\xe9 a%2Fb\xff", "/%E9%20a%2Fb%FF"),
        (b"/a b?c d", "/a%20b?c%20d"),
    ],
)
def test_a_redirect_of_raw_bytes_is_followed(web: Web, fetcher: Fetch, location: bytes, sent: str) -> None:
    web.seen.forget()
    web.raw = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nConnection: close\r\nLocation: " + location + b"\r\n\r\n"
    fetcher(web.url("/raw"))
    assert [each.target for each in web.seen.asked] == ["/raw", sent]


BASE = "http://a/b/c/d;p?q"
RESOLVED = """
g:h g:h|g http://a/b/c/g|./g http://a/b/c/g|g/ http://a/b/c/g/|/g http://a/g|//g http://g|?y http://a/b/c/d;p?y
g?y http://a/b/c/g?y|g#s http://a/b/c/g#s|g?y#s http://a/b/c/g?y#s|;x http://a/b/c/;x|g;x http://a/b/c/g;x
g;x?y#s http://a/b/c/g;x?y#s| http://a/b/c/d;p?q|. http://a/b/c/|./ http://a/b/c/|.. http://a/b/|../ http://a/b/
../g http://a/b/g|../.. http://a/|../../ http://a/|../../g http://a/g|../../../g http://a/g|../../../../g http://a/g
/./g http://a/g|/../g http://a/g|g. http://a/b/c/g.|.g http://a/b/c/.g|g.. http://a/b/c/g..|..g http://a/b/c/..g
./../g http://a/b/g|./g/. http://a/b/c/g/|g/./h http://a/b/c/g/h|g/../h http://a/b/c/h|g;x=1/./y http://a/b/c/g;x=1/y
g;x=1/../y http://a/b/c/y|g?y/./x http://a/b/c/g?y/./x|g?y/../x http://a/b/c/g?y/../x|http:g http://a/b/c/g
%2e%2E/g http://a/b/g|\\g http://a/g|\\\\g\\h http://g/h|g?\\ http://a/b/c/g?\\|https://x/%7e?a+b https://x/%7e?a+b
g? http://a/b/c/g?|g%2F%zz http://a/b/c/g%2F%zz
"""


@pytest.mark.parametrize("example", RESOLVED.strip().replace("\n", "|").split("|"))
def test_references_are_resolved_as_rfc_3986_has_them(example: str) -> None:
    reference, _, where = example.rpartition(" ")
    assert resolved(BASE, reference.strip()) == where


@given(tails, tails)
def test_where_a_redirect_leads_can_always_be_said(base: str, location: str) -> None:
    resolved("http://h.example/" + base, location)
    resolved(base, location)


# The Fetch standard's list, by its names: fetch.spec.whatwg.org/#port-blocking
NAMED = """
1 tcpmux|7 echo|9 discard|11 systat|13 daytime|15 netstat|17 qotd|19 chargen|20 ftp-data|21 ftp|22 ssh|23 telnet|25 smtp
37 time|42 name|43 nicname|53 domain|69 tftp|77|79 finger|87|95 supdup|101 hostname|102 iso-tsap|103 gppitnp|104 acr-nema
109 pop2|110 pop3|111 sunrpc|113 auth|115 sftp|117 uucp-path|119 nntp|123 ntp|135 epmap|137 netbios-ns|139 netbios-ssn
143 imap|161 snmp|179 bgp|389 ldap|427 svrloc|465 submissions|512 exec|513 login|514 shell|515 printer|526 tempo
530 courier|531 chat|532 netnews|540 uucp|548 afp|554 rtsp|556 remotefs|563 nntps|587 submission|601 syslog-conn
636 ldaps|989 ftps-data|990 ftps|993 imaps|995 pop3s|1719 h323gatestat|1720 h323hostcall|1723 pptp|2049 nfs
3659 apple-sasl|4045 npp|4190 sieve|5060 sip|5061 sips|6000 x11|6566 sane-port|6665 ircu|6666 ircu|6667 ircu|6668 ircu
6669 ircu|6679 osaut|6697 ircs-u|10080 amanda
"""


def test_ports_of_other_services_are_never_asked(web: Web, fetcher: Fetch) -> None:
    bad = {int(each.split()[0]) for each in NAMED.strip().replace("\n", "|").split("|")}
    assert bad == BAD_PORTS
    for port in sorted(bad):
        found = target(f"https://u:p@h.example:{port}/", POLICY.guard)
        assert isinstance(found, Outcome)
        assert (found.status, found.retryable) == ("refused_port", False)
    for port in (1, 25, 6667):
        assert fetcher(f"http://{HOME}:{port}/").status == "refused_port"
    web.places["/away"] = f"http://{HOME}:25/HELO"
    assert fetcher(web.url("/away")).status == "refused_port"
    for port in (80, 443, 8080, 8443, 6001, 10081):
        assert not isinstance(target(f"http://h.example:{port}/", POLICY.guard), Outcome)
