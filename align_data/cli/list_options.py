"""The options of commands that read lists: what is what in them, and how their text is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from align_data.cli.options import together
from align_data.common.errors import InputError
from align_data.sources.lists import registry
from align_data.sources.lists.encodings import Reading, codec, separator


def _checked(check: Callable[[str], str | None]) -> Callable[..., str | None]:
    """Return an option's callback from a function that raises InputError for a wrong value."""

    def callback(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
        try:
            return None if value is None else check(value)
        except InputError as error:
            raise click.BadParameter(str(error), ctx, param) from error

    return callback


list_options = together(
    click.option(
        "--url-col",
        metavar="COLUMN",
        help="Column of the image URLs (default: detected by its usual names).",
    ),
    click.option(
        "--text-col",
        metavar="COLUMN",
        help="Column of the alt-texts (default: detected by its usual names).",
    ),
    click.option(
        "--delimiter",
        metavar="CHARACTER",
        callback=_checked(separator),
        help=f"Field separator of {registry.titles('delimiter')}, such as ';' or tab (default: detected).",
    ),
    click.option(
        "--encoding",
        metavar="NAME",
        callback=_checked(codec),
        help=f"Character encoding of {registry.titles('encoding')}, such as latin-1 or utf-16 (default: UTF-8).",
    ),
    click.option(
        "--multiline/--no-multiline",
        default=None,
        help=(
            "Whether CSV values may contain line breaks (default: they may, but not across lines that look like rows)."
        ),
    ),
)
"""Options that say what is what in a list."""


def reading(options: dict[str, Any]) -> Reading:
    """Take the options on text out of a command's."""
    return Reading(*(options.pop(name) for name in ("delimiter", "encoding", "multiline")))
