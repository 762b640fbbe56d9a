"""What became of a URL: one status each, and whether asking again can change it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

NOT_KEPT = "not_kept"
"""The status of a URL whose bytes were measured and then not stored: `content` has what was measured."""
STATUSES: Mapping[str, str] = {
    "untried": "not requested: no pair that the ledger keeps open needs it",
    "ok": "fetched; its bytes are in `bytes/`",
    "http_404": "the server answered with this status; likewise every other one from 100 to 599 that brings no picture",
    "rate_limited": "the server asked to come back later than this run waits (429, or 503 with Retry-After; or the "
    "Crawl-delay of its robots.txt)",
    "timeout": "not done within the deadline, which covers everything from the name look-up to the last byte",
    "dns": "the host's name has no address (final), or no name server said which (retried)",
    "connect": "no connection, or one that broke before an answer; likewise a proxy that makes none",
    "tls": "the server's certificate is not valid for its name",
    "refused_address": "the host's address is not public, and no --allow-network allows it",
    "refused_port": "the URL's port belongs to something else than HTTP: one of the Fetch standard's bad ports",
    "refused_scheme": "a redirect leads to something else than http or https",
    "bad_url": "no request can be made of the URL, or of where a redirect leads",
    "bad_response": "what came is not HTTP, even as browsers read it, or cannot be unpacked",
    "too_many_redirects": "more than ten",
    "too_large": "more than --max-bytes, announced or sent, packed or unpacked",
    "truncated": "the body ended before its announced end",
    "not_an_image": "the body does not begin like any image format that is known here",
    "taken_down": "these bytes were taken down by their SHA-256; they are not stored again",
    NOT_KEPT: "fetched and measured, and not stored: by --keep, or by --drop-failing; `reason` says which",
    "robots_disallowed": "not requested: the host's robots.txt disallows it, and `--robots ignore` is not given",
    "robots_unreachable": "not requested: the host's robots.txt could not be had (a server error, or no whole answer), "
    "which forbids all for now",
    "opted_out": "its server asks not to use it so: X-Robots-Tag (noai, noimageai, noindex, noimageindex, none), "
    "Content-Usage (train-ai=n, also in robots.txt) or tdm-reservation (1)",
}
"""Every status of the table `images`, and what it means."""

_RETRYABLE = {"untried", "rate_limited", "timeout", "dns", "connect", "truncated", "robots_unreachable"}
_RETRYABLE_HTTP = {408, 425, 429, *range(500, 600)} - {501, 505}


def retryable(status: str) -> bool:
    """Tell whether another run should ask again for a URL of this status."""
    code = status.removeprefix("http_")
    return status in _RETRYABLE or (code.isdigit() and int(code) in _RETRYABLE_HTTP)


def is_status(status: str) -> bool:
    """Tell whether the table `images` can have this status."""
    code = status.removeprefix("http_")
    return status in STATUSES or (status != code and len(code) <= 3 and code.isdecimal() and code.isascii())


@dataclass(frozen=True)
class Outcome:
    """What one request came to."""

    status: str
    reason: str | None = None
    location: str | None = None
    """Where a redirect leads; there is no status yet."""
    retry_after: float | None = None
    """Seconds after which the server wants to be asked again."""
    full: str | None = None
    """The address without a free connection; there is no status yet."""
    retry: bool | None = None
    """Whether another run should ask again, where the status alone does not say it."""

    @property
    def retryable(self) -> bool:
        """Whether another run should ask again."""
        return retryable(self.status) if self.retry is None else self.retry
