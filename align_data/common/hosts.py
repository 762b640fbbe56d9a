"""Which hosts are on a list of domains."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

import idna
import polars as pl


def listed_hosts(hosts: pl.Series, listed: Collection[str]) -> dict[str, str]:
    """Return host → the listed domain that it is or lies in, for those of `hosts` that do; IDNs in either form."""
    domains = {_ascii(name): name for name in listed}
    listed_as = {}
    for name in hosts.unique().drop_nulls():
        parts = _ascii(name).rstrip(".").split(".")
        domain = next((part for i in range(len(parts)) if (part := ".".join(parts[i:])) in domains), None)
        if domain:
            listed_as[name] = domains[domain]
    return listed_as


def _ascii(host: str) -> str:
    """Return a host as it is looked up: an internationalised one as xn--, an IPv6 address in its shortest form."""
    try:
        if host.startswith("["):
            return f"[{ipaddress.ip_address(host.strip('[]'))}]"
        return host if host.isascii() else idna.encode(host, uts46=True).decode()
    except ValueError:
        return host
