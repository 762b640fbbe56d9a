"""Failures: what a request came to that raised an error, and whether another run can do better."""

from __future__ import annotations

import socket
import ssl

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError, PayloadEncodingError

from align_data.fetching.guard import RefusedAddressError
from align_data.fetching.outcome import Outcome

_NAMES_UNKNOWN = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
_FAILURES: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((aiohttp.ClientSSLError, ssl.SSLError), "tls"),
    ((aiohttp.ClientPayloadError,), "truncated"),
    ((aiohttp.InvalidURL,), "bad_url"),
    ((aiohttp.ClientResponseError, ValueError), "bad_response"),
    ((aiohttp.ClientError, OSError), "connect"),
)
"""What a client raises, and what it is to us."""


def failure(error: Exception) -> Outcome:
    """Return the outcome of a request that raised."""
    cause = getattr(error, "os_error", None) or error
    message = str(cause) or type(cause).__name__
    if isinstance(cause, RefusedAddressError):
        return Outcome("refused_address", message)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return no_name(cause)
    # Of a body too, and not for want of more of it.
    http_error = error.__cause__ if isinstance(error, aiohttp.ClientPayloadError) else error
    if isinstance(http_error, HttpProcessingError) and not isinstance(http_error, PayloadEncodingError):
        return Outcome("bad_response", http_error.message)
    if isinstance(error, aiohttp.ClientHttpProxyError):  # its own words have the proxy's password in them
        return Outcome("connect", f"the proxy answered {error.status} {error.message}")
    if isinstance(error, aiohttp.ClientResponseError):
        message = error.message
    status = next((status for kinds, status in _FAILURES if isinstance(error, kinds)), None)
    if status is None:
        return Outcome("bad_response", f"unforeseen, {type(error).__name__}: {message}", retry=True)
    return Outcome(status, message)


def no_name(error: BaseException) -> Outcome:
    """Return the outcome of a name without an address: final if there is none, not if nobody said so."""
    unknown = isinstance(error, socket.gaierror) and error.errno in _NAMES_UNKNOWN
    return Outcome("dns", str(error) or type(error).__name__, retry=not unknown)
