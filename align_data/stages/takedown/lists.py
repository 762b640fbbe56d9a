"""What a takedown is to take down: lists of URLs, hosts, SHA-256 of bytes, and uids."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import polars as pl

from align_data.common.errors import InputError
from align_data.common.hosts import listed_hosts
from align_data.common.user_files import lines_of, read_user_file
from align_data.data.references import FORMS
from align_data.sources.lists.batches import DETAIL

KINDS = ("urls", "hosts", "sha256", "uids")
_FORMS = {
    # Rejected rows show what is not an absolute URL, and can be listed too; a host is in another list.
    "urls": (re.compile(r".*[:/].*"), "a URL, as http://a.example/1.jpg"),
    "hosts": (FORMS["host"], "a host, as a.example, without scheme and port"),
    "sha256": (FORMS["sha256"], "the SHA-256 of an image's bytes, 64 hex digits"),
    "uids": (re.compile(r"[0-9a-fA-F]{16}(?:[0-9a-fA-F]{16})?"), "a uid, 32 hex digits, or its first 16 for an image"),
}
"""What a line of each list can be, and how to say so."""
_HOST = r"^(?:(?:[A-Za-z][A-Za-z0-9+.-]*:)?//)?(?:[^/?#]*@)?(\[[^\]/?#]*\]|[^/?#:]+)"
"""Of a URL of whatever form: some are rejected because they have no scheme."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
"""What a rejected row shows as U+FFFD."""
_CUT = r"^([^\x{FFFD}\\]*)"
"""Of what a rejected row shows, what stands before a byte or a character that no URL has."""


@dataclass(frozen=True)
class TakedownLists:
    """A list of values of each kind, without repeats; and the SHA-256 of each list's files, one after the other."""

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)

    def of(self, kind: str) -> tuple[str, ...]:
        """Return the values of one kind."""
        return self.values.get(kind, ())


def read(files: Mapping[str, Sequence[str]]) -> TakedownLists:
    """Read the files of each kind; InputError names the line that cannot be understood."""
    values: dict[str, tuple[str, ...]] = {}
    digests = {}
    for kind, names in files.items():
        raw = [read_user_file(file, "the list") for file in names]
        lines = chain.from_iterable(_lines(kind, *file_and_bytes) for file_and_bytes in zip(names, raw, strict=True))
        values[kind] = tuple(dict.fromkeys(lines))
        digests[kind] = hashlib.sha256(b"".join(raw)).hexdigest()
    return TakedownLists(values, digests)


def _lines(kind: str, file: str, content: bytes) -> Iterator[str]:
    form, description = _FORMS[kind]
    for number, value in lines_of(content, file, "the list"):
        if value.startswith("#"):
            continue
        if not form.fullmatch(value):
            raise InputError(f"{file}, line {number}: {value[:100]!r} is not {description}")
        yield value if kind == "urls" else value.lower().strip(".") if kind == "hosts" else value.lower()


def rejected(details: pl.Series, lists: TakedownLists) -> tuple[pl.Series, dict[str, set[str]]]:
    """Tell which of the rejected rows' details show a listed URL, or one of a listed host; and which values they show.

    A detail is a URL's beginning; before a byte that is not UTF-8 stands the column's name, and the URL ends there.
    """
    urls = {_CONTROL.sub("\N{REPLACEMENT CHARACTER}", url)[:DETAIL]: url for url in lists.of("urls")}
    text = details.str.strip_prefix("url: ")
    cut = text.str.extract(_CUT, 1)
    listed = pl.Series(list(urls), dtype=pl.String).implode()
    hosts = text.str.extract(_HOST, 1).str.to_lowercase()
    of_host = listed_hosts(hosts, set(lists.of("hosts")))
    by_url, by_cut = text.is_in(listed), cut.is_in(listed)
    by_host = hosts.is_in(pl.Series(list(of_host), dtype=pl.String).implode()).fill_null(False)
    matches = {*text.filter(by_url), *cut.filter(by_cut)}
    return by_url | by_cut | by_host, {
        "urls": {urls[detail] for detail in matches},
        "hosts": {of_host[host] for host in hosts.filter(by_host)},
    }
