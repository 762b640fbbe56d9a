"""What is asked for: a URL as a request is made of it, or why none can be."""

from __future__ import annotations

import ipaddress
import re
import socket

from yarl import URL

from align_data.errors import encodable
from align_data.fetching.guard import Guard
from align_data.fetching.outcome import Outcome

_LONGEST = 2**16
"""Characters of a URL that anyone would serve, at most, and then some."""
_LONGEST_AUTHORITY = 1024
"""Characters of user, host and port: to look at a host takes the square of its length."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_AUTHORITY = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
_NAME = re.compile(r"(?!.{254})([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?")
_NUMBER_LAST = re.compile(r"(^|\.)(\d+|0x[0-9a-f]*)\.?$")
_AS_IT_IS = re.compile(r"[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]*")


def target(url: str, guard: Guard | None = None) -> URL | Outcome:
    """Return a URL as it is asked for, or the outcome of one that no request is made of."""
    scheme = _SCHEME.match(url)
    if scheme is not None and scheme[1].lower() not in ("http", "https"):
        return Outcome("refused_scheme", f"{scheme[1][:40].lower()}: is neither http nor https")
    try:
        asked = _asked(url)
        return _wrong(asked, guard) or asked
    except ValueError as error:
        return Outcome("bad_url", str(error))


def _asked(url: str) -> URL:
    """Return the URL with its host in ASCII, and with its path as it is: a signed one may not be spelt otherwise."""
    if len(url) > _LONGEST:
        raise ValueError(f"{len(url):,} characters")
    if not encodable(url):
        raise ValueError("not UTF-8")
    found = _AUTHORITY.match(url)
    if found is None or not found[1]:
        raise ValueError("no host")
    if len(found[1]) > _LONGEST_AUTHORITY:
        raise ValueError(f"a host of {len(found[1]):,} characters")
    base, rest = str(URL(f"{found[0]}/")).removesuffix("/"), url[found.end() :].partition("#")[0]
    rest = rest if rest.startswith("/") else f"/{rest}"
    return URL(base + rest, encoded=_AS_IT_IS.fullmatch(rest) is not None)


def _wrong(asked: URL, guard: Guard | None) -> Outcome | None:
    host = host_of(asked)
    if not _NAME.fullmatch(host) and not _is_ipv6(host):
        return Outcome("bad_url", f"{host!r} cannot be a host's name")
    if asked.port == 0:
        return Outcome("bad_url", "port 0")
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
        return Outcome("bad_url", f"{host} is no address") if _NUMBER_LAST.search(host) else None
    if address == host:
        return None
    why = guard.why_not(address)
    if why is not None:
        return Outcome("refused_address", f"{host}: {why}")
    return Outcome("bad_url", f"{host} is {address} in disguise")


def host_of(url: URL) -> str:
    """Return the host of a URL, in ASCII."""
    return (url.raw_host or "").lower()


def origin(url: URL) -> str:
    """Return scheme, host and port of a URL: what a connection is kept to."""
    return f"{url.scheme}://{host_of(url)}:{url.port}"
