"""What img2dataset and the urllib below it say of a URL, as an outcome of ours."""

from __future__ import annotations

import re
from collections.abc import Container
from functools import lru_cache

from align_data.fetching.outcome import STATUSES, Outcome
from align_data.sources.img2dataset import StoredImage
from align_data.storage.image_formats import sniff

_LEFT_OUT = ("image too small", "image area too large", "aspect ratio too large", "blurrer not defined")
"""What img2dataset says of an image that it was told not to keep: it may be fetched again."""
_SIGNS: tuple[tuple[str, str, bool | None], ...] = (
    (r"disallowed by X-Robots-Tag", "opted_out", None),
    (r"Name or service not known|No address associated|nodename nor servname|Name does not resolve", "dns", False),
    (r"name resolution|getaddrinfo failed", "dns", None),
    (r"timed out", "timeout", None),
    (r"SSL: |certificate verify failed", "tls", None),
    (r"IncompleteRead|bytes read, \d+ more expected", "truncated", None),
    (r"Image decoding error", "not_an_image", None),
    (r"hash mismatch", "bad_response", False),
    (r"unknown url type|no host given", "bad_url", None),
    # urllib asks for no such URL; our own client can.
    (r"codec can't encode|can't contain control characters|nonnumeric port", "untried", None),
)
"""What is seen in a message, the status, and whether to ask again where the status alone does not say it."""
_OURS = re.compile(r"\[align-data (\w+)\] ?(.*)")
_WRAPPED = re.compile(r"<urlopen error (.*)>")
_HTTP = re.compile(r"HTTP Error (\d{3})(?:: ?(.*))?")
_REASON = 200
"""Characters of a reason."""


def ours(status: str, reason: str) -> str:
    """Return a message that says a status of ours; `outcome` understands it."""
    return f"[align-data {status}] {reason}"


@lru_cache(maxsize=10_000)
def outcome(status: str | None, message: str | None) -> Outcome:
    """Return the outcome that a row of img2dataset's tells of; `ok` says nothing of the bytes."""
    text = _WRAPPED.sub(r"\1", " ".join((message or "").split()))[:_REASON]
    if status == "success":
        return Outcome("ok")
    if status == "failed_to_resize":
        left_out = text in _LEFT_OUT
        return Outcome("untried", f"img2dataset left it out: {text}") if left_out else Outcome("not_an_image", text)
    if status != "failed_to_download":
        return Outcome("connect", f"img2dataset reports the status {status}")
    return _failed(text)


def judged(
    reported: Outcome, sample: StoredImage | None, lost: str, max_bytes: int, formats: Container[str] = ()
) -> Outcome:
    """Return the outcome by what there is: `said` is `outcome`'s; without bytes `lost` is the reason."""
    if reported.status != "ok":
        return reported
    if sample is None:
        return Outcome("truncated", lost)
    if sniff(sample.head, formats) is None:
        return Outcome("not_an_image", "does not begin like an image" if sample.size else "the body is empty")
    return Outcome("too_large", f"{sample.size:,} bytes") if sample.size > max_bytes else reported


def _failed(text: str) -> Outcome:
    """Return the outcome of a URL that img2dataset got no bytes of."""
    own = _OURS.fullmatch(text)
    if own is not None and own[1] != "ok" and (own[1] in STATUSES or own[1].startswith("http_")):
        return Outcome(own[1], own[2] or None)
    http = _HTTP.fullmatch(text)
    if http is not None:
        return _answered(http[1], http[2] or "", text)
    sign = next(((status, retry) for pattern, status, retry in _SIGNS if re.search(pattern, text)), None)
    if sign is not None:
        return Outcome(sign[0], text, retry=sign[1])
    return Outcome("connect", text or "img2dataset gave no reason")


def _answered(code: str, reason: str, text: str) -> Outcome:
    """Return the outcome of a URL that a server answered with an error, or a redirect that urllib did not follow."""
    if code.startswith("3") and "would lead to an infinite loop" in reason:
        return Outcome("too_many_redirects", text)
    if code.startswith("3") and re.search(r"Redirection to url .* is not allowed", reason):
        return Outcome("refused_scheme", text)
    if code == "429":
        return Outcome("rate_limited", text)
    return Outcome(f"http_{code}", reason or None) if 100 <= int(code) <= 599 else Outcome("bad_response", text)
