"""Options that say what a fetch may do: whom it asks, and over how many connections."""

from __future__ import annotations

import re
from typing import Any

import click

from align_data.cli.options import ByteSize, Number, names, together
from align_data.common.errors import InputError, nearest
from align_data.common.user_files import read_lines
from align_data.data.references import FORMS
from align_data.fetching.client import DEADLINE, MAX_BYTES, Policy
from align_data.fetching.guard import Guard, name_servers
from align_data.fetching.limits import CONNECTIONS, PER_ADDRESS, PER_HOST, Limits
from align_data.fetching.outcome import Outcome
from align_data.fetching.target import host_of, target
from align_data.stages.fetch import CHUNK
from align_data.storage.image_formats import OPTIONAL

_LARGEST = 900 * 2**20
"""Bytes of an image: no larger one fits into a tar."""


policy_options = together(
    click.option(
        "--connections",
        type=click.IntRange(1, 10_000),
        help=f"Total connections, shared by the processes on a machine (default: {CONNECTIONS} for each process).",
    ),
    click.option(
        "--per-host",
        type=click.IntRange(1, 1000),
        default=PER_HOST,
        show_default=True,
        help="Connections to one host, across all processes on a machine.",
    ),
    click.option(
        "--per-address",
        type=click.IntRange(1, 10_000),
        default=PER_ADDRESS,
        show_default=True,
        help=(
            "Connections to one IP address, however many hosts share it, across all processes on a machine; "
            "never below a host's own limit (--per-host, --host-limits)."
        ),
    ),
    click.option(
        "--host-limits",
        metavar="FILE",
        help="File of lines with a host and its number of connections, for hosts that differ from --per-host.",
    ),
    click.option(
        "--max-bytes",
        type=ByteSize(plain=True),
        default=MAX_BYTES,
        help="Maximum bytes to read of one image (default: 20MB).",
    ),
    click.option(
        "--formats",
        multiple=True,
        metavar="NAME[,NAME...]",
        callback=names,
        help=f"Also accept these image formats: {', '.join(OPTIONAL)}. They are measured and exported like any other.",
    ),
    click.option(
        "--deadline",
        type=Number(0.01, 3600),
        default=DEADLINE,
        show_default=True,
        help="Time limit for one URL in seconds: name lookup, connection, headers, redirects and body together.",
    ),
    click.option(
        "--allow-network",
        "networks",
        multiple=True,
        metavar="CIDR",
        help="Also connect to addresses in this network (default: public addresses only).",
    ),
    click.option(
        "--deny-network",
        "denied",
        multiple=True,
        metavar="CIDR",
        help="Never connect to addresses in this network, even if public or allowed.",
    ),
    click.option(
        "--dns",
        "servers",
        multiple=True,
        metavar="ADDRESS[:PORT]",
        help="Look names up at this name server, not at those of the system; several are asked in turn.",
    ),
    click.option("--contact", metavar="TEXT", help="Contact address to send to every server with each request."),
    click.option(
        "--ignore-opt-out",
        is_flag=True,
        help="Also store images whose server opts out of such use (X-Robots-Tag, Content-Usage, tdm-reservation).",
    ),
    click.option(
        "--robots",
        type=click.Choice(["respect", "ignore"]),
        default="respect",
        show_default=True,
        help="Whether a host's robots.txt is requested first and followed (RFC 9309), its Crawl-delay too.",
    ),
    click.option(
        "--proxy",
        metavar="URL",
        help="HTTP proxy. Checking addresses, including denied ones, is then up to the proxy.",
    ),
    click.option("--chunk", type=click.IntRange(1), default=CHUNK, hidden=True),
)
"""Options that say what a fetch may do."""


def policy_of(options: dict[str, Any]) -> Policy:
    """Take these options out of a command's: whom a fetch may ask, and how."""
    proxy = options.pop("proxy")
    if proxy is not None and isinstance(target(proxy), Outcome):
        raise click.BadParameter(f"{proxy!r} is not a proxy; write it as http://HOST:PORT", param_hint="--proxy")
    if options["max_bytes"] > _LARGEST:
        raise click.BadParameter("at most 900MB: a tar holds a gigabyte", param_hint="--max-bytes")
    contact = options.pop("contact")
    if contact is not None and not (contact.isascii() and contact.isprintable()):
        raise click.BadParameter("a header can only contain printable ASCII", param_hint="--contact")
    formats = options.pop("formats")
    for name in formats:
        if name not in OPTIONAL:
            near, optional = nearest(name, OPTIONAL), ", ".join(OPTIONAL)
            raise click.BadParameter(f"there is no {name}{near}; there are: {optional}", param_hint="--formats")
    return Policy(
        guard=Guard.of(options.pop("networks"), options.pop("denied")),
        max_bytes=options.pop("max_bytes"),
        deadline=options.pop("deadline"),
        ignore_opt_out=options.pop("ignore_opt_out"),
        ignore_robots=options.pop("robots") == "ignore",
        contact=contact,
        proxy=proxy,
        formats=formats,
        dns=name_servers(options.pop("servers")),
    )


def limits_of(options: dict[str, Any]) -> Limits:
    """Take these options out of a command's: how many connections there may be."""
    file = options.pop("host_limits")
    hosts = {} if file is None else _hosts(file)
    return Limits(options.pop("connections"), options.pop("per_host"), hosts, options.pop("per_address"))


def _hosts(file: str) -> dict[str, int]:
    """Read lines of host and number; InputError names the first invalid line."""
    limits = {}
    for number, line in read_lines(file, "the host limits in"):
        words = line.partition("#")[0].split()
        if not words:
            continue
        host = target(f"http://{words[0]}/")
        connections = int(words[1]) if len(words) == 2 and re.fullmatch(r"[0-9]{1,5}", words[1]) else 0
        if isinstance(host, Outcome) or not FORMS["host"].fullmatch(words[0]) or not 1 <= connections <= 10_000:
            raise InputError(f"{file}, line {number}: {line!r} is not a host and a number from 1 to 10,000")
        limits[host_of(host).rstrip(".")] = connections
    return limits
