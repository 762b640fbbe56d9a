"""Options and output of the commands that write a page for the browser."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import click

from align_data.cli.options import note, together
from align_data.report import begin, drawing
from align_data.stages.audit import SAMPLES
from align_data.storage.store import writing

page_options = together(
    click.option(
        "--html",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Write a page for the browser to this file.",
    ),
    click.option("--pictures/--no-pictures", default=True, help="Whether the page shows pictures of its samples."),
    click.option(
        "--samples",
        type=click.IntRange(0, 1000),
        default=SAMPLES,
        show_default=True,
        help="Number of samples of each kind.",
    ),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed that selects the samples."),
)
"""The options of a report to look at."""


def before_page(path: Path, *, charts: bool = False) -> None:
    """Raise an error if a page cannot be drawn or written, before a long count; and begin what its charts need."""
    if charts:
        begin()
    drawing()
    with writing(path):
        os.stat(os.path.join(path.parent, ""))  # noqa: PTH116, PTH118 - pathlib drops the slash, which asks for a folder
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise PermissionError(errno.EACCES, "")


def write_page(path: Path, content: str) -> None:
    """Write a page."""
    with writing(path):
        path.write_text(content, encoding="utf-8")
    note(f"wrote {path}: open it in a browser; it needs no network")
