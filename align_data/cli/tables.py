"""Where tables are printed."""

from __future__ import annotations

from rich.console import Console

WIDE = 110
"""Width of a table in columns where the terminal's width is unknown."""


class _Console(Console):
    """Tables whose reader has gone are an error, as any other output is."""

    def on_broken_pipe(self) -> None:
        raise  # noqa: PLE0704 - called where the error is handled


def console() -> Console:
    """Return where tables go: standard output."""
    out = _Console(highlight=False, emoji=False)
    if not out.is_terminal:
        out = _Console(highlight=False, emoji=False, width=max(WIDE, out.width))
    return out
