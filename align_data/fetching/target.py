"""The target of a request: a URL as it is requested, or why it cannot be."""

from __future__ import annotations

import ipaddress
import re
import socket

from yarl import URL

from align_data.common.errors import encodable
from align_data.fetching.guard import Guard
from align_data.fetching.outcome import Outcome

LONGEST = 2**16
"""Characters of a URL that anyone would serve, at most, and then some."""
_LONGEST_AUTHORITY = 1024
"""Characters of user, host and port: to look at a host takes the square of its length."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_AUTHORITY = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
_HOST_FOLLOWS = re.compile(r"[/\\]{2}[^/?#]")
_PATH_ENDS = re.compile(r"[?#]")
# What a request may not hold as it is: the sets of the URL standard (url.spec.whatwg.org). A quotation mark ' may stand
# in a query: a browser escapes it, but it is legal, and may be signed.
_NOT_IN_PATH = re.compile(r"""[^!-~]|["<>^`{}]""")
_NOT_IN_QUERY = re.compile(r"""[^!-~]|["<>]""")
_REMOVED = dict.fromkeys(map(ord, "\t\n\r"))
_AROUND = "".join(map(chr, range(33)))
"""Control characters and the space, which count for nothing at both ends of a URL."""
_UNDECODED = re.compile("[\udc80-\udcff]")
"""Bytes of a header that were no UTF-8, as Python has them in a text."""
_NAME = re.compile(r"(?!.{254})([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?")
_NUMBER_LAST = re.compile(r"(^|\.)(\d+|0x[0-9a-f]*)\.?$")
_NOT_HTTP = """
1 7 9 11 13 15 17 19 20 21 22 23 25 37 42 43 53 69 77 79 87 95 101 102 103 104 109 110 111 113 115 117 119 123 135 137
139 143 161 179 389 427 465 512 513 514 515 526 530 531 532 540 548 554 556 563 587 601 636 989 990 993 995 1719 1720
1723 2049 3659 4045 4190 5060 5061 6000 6566 6665 6666 6667 6668 6669 6679 6697 10080
"""
BAD_PORTS = frozenset(map(int, _NOT_HTTP.split()))
"""Ports where something else than HTTP listens: the Fetch standard's bad ports, which no browser asks either."""


def target(url: str, guard: Guard | None = None) -> URL | Outcome:
    """Return a URL as it is requested, or the outcome of one that cannot be."""
    scheme = _SCHEME.match(url)
    if scheme is not None and scheme[1].lower() not in ("http", "https"):
        return Outcome("refused_scheme", f"{scheme[1][:40].lower()}: is neither http nor https")
    try:
        request_url = _request_url(url)
        return _refusal(request_url, guard) or request_url
    except ValueError as error:
        return Outcome("bad_url", str(error))


def _request_url(url: str) -> URL:
    """Return the URL with its host in ASCII, and the rest as it is: a signed one may not be spelt otherwise."""
    if len(url) > LONGEST:
        raise ValueError(f"{len(url):,} characters")
    if not encodable(url):
        raise ValueError("not UTF-8")
    url = url.translate(_REMOVED)
    authority_match = _AUTHORITY.match(url)
    if authority_match is None or not authority_match[1]:
        raise ValueError("no host")
    if len(authority_match[1]) > _LONGEST_AUTHORITY:
        raise ValueError(f"a host of {len(authority_match[1]):,} characters")
    scheme, _, authority = str(URL(f"{authority_match[0]}/")).removesuffix("/").partition("://")
    # As one path, the query too: then nothing takes it apart to put it together otherwise.
    return URL.build(scheme=scheme, authority=authority, path=_escaped(url[authority_match.end() :]), encoded=True)


def _escaped(path_and_query: str) -> str:
    """Return path and query with illegal characters escaped, and nothing else changed."""
    path, mark, query = path_and_query.partition("#")[0].partition("?")
    path = path.replace("\\", "/")  # as browsers have it
    path = path if path.startswith("/") else f"/{path}"
    return _NOT_IN_PATH.sub(_percent, path) + mark + _NOT_IN_QUERY.sub(_percent, query)


def _percent(sign: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in sign[0].encode())


def resolved(url: str, location: str) -> str:
    """Return where a redirect's Location leads from a URL: references resolved, nothing else changed."""
    location = location.strip(_AROUND).translate(_REMOVED)
    location = _UNDECODED.sub(lambda sign: f"%{ord(sign[0]) - 0xDC00:02X}", location)
    base, scheme = _AUTHORITY.match(url), _SCHEME.match(location)
    if base is None:
        return location
    if scheme is not None:
        same = scheme[1].lower() == url.partition(":")[0].lower()
        if not same or _HOST_FOLLOWS.match(location, scheme.end()):
            return location
        # 'http:/path' and 'http:path' are a path of the host that was asked.
        location = location[scheme.end() :].removeprefix("//")
    end = _PATH_ENDS.search(location)
    path, suffix = (location[: end.start()], location[end.start() :]) if end is not None else (location, "")
    path = path.replace("\\", "/")
    if path.startswith("//"):
        return f"{url.partition(':')[0]}:{path}{suffix}"
    ours, mark, query = url[base.end() :].partition("#")[0].partition("?")
    if path:
        folder = ours.replace("\\", "/").rpartition("/")[0]
        return base[0] + _without_dots(path if path.startswith("/") else f"{folder}/{path}") + suffix
    return base[0] + ours + (suffix if suffix.startswith("?") else mark + query + suffix)


def _without_dots(path: str) -> str:
    """Return a path without its '.' and '..', however they are spelt."""
    segments: list[str] = []
    names = path.split("/")[1:]
    for number, name in enumerate(names, 1):
        plain = name.lower().replace("%2e", ".")
        if plain == "..":
            del segments[-1:]
        if plain not in (".", ".."):
            segments.append(name)
        elif number == len(names):
            segments.append("")
    return "/" + "/".join(segments)


def _refusal(url: URL, guard: Guard | None) -> Outcome | None:
    host = host_of(url)
    if not _NAME.fullmatch(host) and not _is_ipv6(host):
        return Outcome("bad_url", f"{host!r} is not a valid host name")
    if url.port == 0:
        return Outcome("bad_url", "port 0")
    if guard is not None and url.port in BAD_PORTS:
        return Outcome("refused_port", f"port {url.port} is not for HTTP")
    return _number_in_disguise(host, guard) if guard is not None else None


def _is_ipv6(host: str) -> bool:
    try:
        return isinstance(ipaddress.ip_address(host), ipaddress.IPv6Address)
    except ValueError:
        return False


def _number_in_disguise(host: str, guard: Guard) -> Outcome | None:
    """Look at a host such as 2130706433, 0177.0.0.1 or 127.1, which is an address to the system only."""
    try:
        address = socket.inet_ntoa(socket.inet_aton(host.removesuffix(".")))
    except OSError:
        return Outcome("bad_url", f"{host} is not an address") if _NUMBER_LAST.search(host) else None
    if address == host:
        return None
    why = guard.why_not(address)
    if why is not None:
        return Outcome("refused_address", f"{host}: {why}")
    return Outcome("bad_url", f"{host} is {address} in disguise")


def is_address(host: str) -> bool:
    """Tell whether a host is an address, and no name that must be looked up."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def host_of(url: URL) -> str:
    """Return the host of a URL, in ASCII."""
    return (url.raw_host or "").lower()


def origin(url: URL) -> str:
    """Return scheme, host and port of a URL: what a connection is kept to."""
    return f"{url.scheme}://{host_of(url)}:{url.port}"
