"""The guard: which addresses a socket may connect to.

It judges the address that is connected to, where the socket is made: whatever a URL says, however a name was
resolved, wherever a redirect leads.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from align_data.common.errors import InputError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_REFUSED: tuple[tuple[Network, str], ...] = tuple(
    (ipaddress.ip_network(network), why)
    for network, why in (
        # Python's is_global lets these through, or did before 3.12.4.
        ("168.63.129.16/32", "a cloud's own service"),
        ("192.0.0.0/24", "of the network's own protocols"),
        ("192.88.99.0/24", "a relay into IPv6"),
        ("224.0.0.0/4", "multicast"),
        ("ff00::/8", "multicast"),
        ("fec0::/10", "site-local"),
        ("::/96", "an IPv4 address in disguise"),
        ("::ffff:0:0:0/96", "an IPv4 address in disguise"),
        ("64:ff9b::/96", "an IPv4 address in disguise"),
        ("64:ff9b:1::/48", "an IPv4 address in disguise"),
        ("2001::/32", "an IPv4 address in disguise"),
        ("2001::/23", "of the network's own protocols"),
        ("2002::/16", "an IPv4 address in disguise"),
        ("3fff::/20", "for documentation"),
    )
)
_GIVEN_OUT = ipaddress.IPv6Network("2000::/3")
"""Of IPv6, all that is public so far; Python calls the rest global too."""
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_TRANSLATED = tuple(
    ipaddress.IPv6Network(prefix) for prefix in ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")
)
"""IPv6 addresses that end in the IPv4 address which they stand for."""
_WITH_PORT = re.compile(r"(?:\[(?P<six>[^]]+)\]|(?P<four>[0-9.]+))(?::(?P<port>[0-9]{1,5}))?")


class Socket(socket.socket):
    """A socket that says when it is closed."""

    on_close: Callable[[], None] | None = None

    def close(self) -> None:
        """Close it; say so once."""
        super().close()
        if self.on_close is not None:
            callback, self.on_close = self.on_close, None
            callback()


class RefusedAddressError(OSError):
    """An address that nothing may connect to."""


@cache
def _network(text: str) -> Network:
    """Return a network; one of mapped addresses as the IPv4 network that it is."""
    network = ipaddress.ip_network(text)
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        start = network.network_address.ipv4_mapped
        return ipaddress.ip_network(f"{start}/{network.prefixlen - 96}")
    return network


def _within(address: Address) -> tuple[Address, ...]:
    """Return an address and the IPv4 addresses that it may stand for: translated, tunnelled or mapped."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    tail = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    ends = (tail,) if any(address in network for network in _TRANSLATED) else ()
    embedded = (address.ipv4_mapped, address.sixtofour, *(address.teredo or ()))
    return (address, *ends, *(ipv4 for ipv4 in embedded if ipv4 is not None))


def plain(text: str) -> str:
    """Return an address, as sockets know it, in one spelling: a mapped one as the IPv4 address that it is."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)


def networks(texts: Iterable[str]) -> tuple[str, ...]:
    """Return networks in canonical form, sorted; InputError for an invalid one."""
    spelled = set()
    for text in texts:
        try:
            spelled.add(str(_network(text)))
        except ValueError as error:
            raise InputError(f"{text} is not a network: {error}; write it as 10.0.0.0/8 or fd00::/8") from None
    return tuple(sorted(spelled))


def name_servers(texts: Iterable[str]) -> tuple[str, ...]:
    """Return name servers as ADDRESS:PORT, in the order in which they are asked; InputError for an invalid one."""
    return tuple(map(_name_server, texts))


def _name_server(text: str) -> str:
    address, port = text, "53"
    if (spelled := _WITH_PORT.fullmatch(text)) is not None:
        address, port = spelled["six"] or spelled["four"], spelled["port"] or port
    try:
        server = ipaddress.ip_address(address)
        if not 1 <= int(port) <= 65535:
            raise ValueError(f"port {port}")
    except ValueError as error:
        raise InputError(
            f"{text} is not a name server: {error}; write it as 192.0.2.1, 192.0.2.1:5353 or [2001:db8::1]:5353"
        ) from None
    return f"[{server}]:{int(port)}" if server.version == 6 else f"{server}:{int(port)}"


@dataclass(frozen=True)
class Guard:
    """Lets through public addresses and the networks that are allowed by name, but none that is denied by name."""

    allowed: tuple[str, ...] = ()
    """Networks in CIDR notation, beside the public ones."""
    denied: tuple[str, ...] = ()
    """Networks that are never connected to, public or allowed as they may be."""

    @staticmethod
    def of(allowed: Iterable[str], denied: Iterable[str] = ()) -> Guard:
        """Return a guard that allows and denies these networks; InputError for an invalid one."""
        return Guard(networks(allowed), networks(denied))

    def why_not(self, text: str) -> str | None:
        """Say why an address, as sockets know it, must not be connected to; None if it may be."""
        try:
            address: Address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return f"{text} is not an IP address"
        meant = _within(address)
        denied = next(
            (cidr for cidr in self.denied for possible in meant if possible in _network(cidr)),
            None,
        )
        if denied is not None:
            return f"{text} is in {denied}, which is denied"
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped or address
        if any(address in _network(network) for network in self.allowed):
            return None
        for network, why in _REFUSED:
            if address in network:
                return f"{text} is {why}"
        public = address.is_global and (address.version == 4 or address in _GIVEN_OUT)
        return None if public else f"{text} is not public"

    def socket(self, info: Sequence[Any]) -> Socket:
        """Make the socket for an address of getaddrinfo; RefusedAddressError for one that may not be connected to."""
        family, kind, protocol, _, address = info
        why = (
            self.why_not(address[0])
            if family in (socket.AF_INET, socket.AF_INET6)
            else f"{address} is not an IP address"
        )
        if why is not None:
            raise RefusedAddressError(why)
        return Socket(family, kind, protocol)
