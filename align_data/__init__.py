"""align-data builds image-text training sets from the web's alt-text, and explains every pair it drops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from align_data.api import open

__version__ = "0.1.0"
__all__ = ["open"]


def __getattr__(name: str) -> Any:
    """Load the Python door when somebody knocks: the command line must start without it."""
    if name != "open":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from align_data.api import open  # noqa: PLC0415

    return open
