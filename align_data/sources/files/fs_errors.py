"""What a file system says when it cannot reach a list, as a sentence with the next step."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from align_data.common.errors import AlignDataError, InputError
from align_data.common.secrets import mask
from align_data.sources.files.damage import DamagedError

_STEPS = {
    "gated restricted": "ask for access on the dataset's page, and set HF_TOKEN",
    "credential token 401 unauthorized": "set the credentials of this service",
    "403 permission forbidden denied": "see that you may read it, and that its link has not expired",
    "404 410 filenotfound": "see that the address is right",
    "429 500 502 503 504": "try again later",
    "timeout timed connect disconnect payload reset resolution ssl": "see that it can be reached, and try again",
}
"""What helps, by words of which an error has one."""
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://\S*", re.IGNORECASE)
"""Its words say nothing: a signed one has "credential" and "token" in it, whatever the server answered."""


@contextmanager
def reaching(place: str, doing: str = "look for") -> Iterator[None]:
    """Turn whatever a file system raises into an InputError: clients of clouds raise errors of every kind."""
    try:
        yield
    except (AlignDataError, DamagedError, pa.ArrowException, EOFError, AssertionError, NameError, AttributeError):
        raise
    except Exception as error:
        raise InputError(f"cannot {doing} {place}: {_explanation(error)}") from error


def _explanation(error: Exception) -> str:
    """Return what an error says, and what helps against it."""
    if isinstance(error, FileNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # fsspec says of all but an answer of 200 that nothing is there
    message = " ".join(mask(str(error)).split())[:300] or type(error).__name__
    status = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, ImportError):
        return message  # fsspec says what to install
    signs = f"{type(error).__name__} {status or ''} {_ADDRESS.sub('', message)}".lower()
    numbers = set(re.findall(r"\d+", signs))
    step = next((step for words, step in _STEPS.items() if _any(words.split(), signs, numbers)), None)
    message = f"{status}, {message}" if status and str(status) not in message else message
    return f"{message}; {step}" if step else message


def _any(words: list[str], signs: str, numbers: set[str]) -> bool:
    """Tell whether one of the words is in `signs`; a number only as a whole, for a port may have it in it."""
    return any(word in numbers if word.isdigit() else word in signs for word in words)
