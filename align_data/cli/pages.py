"""Options and output of the commands that write a page for the browser."""

from __future__ import annotations

import click

from align_data.cli.options import note, together
from align_data.report import drawing
from align_data.stages.audit import SAMPLES
from align_data.storage.output_file import OutputFile

page_options = together(
    click.option(
        "--html",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        help="Write a page for the browser to this file, or fsspec URL.",
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


def before_page(file: str | None) -> None:
    """Raise an error if a page cannot be drawn or written, before a long count."""
    drawing()
    if file is not None:
        OutputFile(file).check()


def write_page(file: str | None, content: str) -> None:
    """Write a page to a file, or to standard output."""
    if file is None:
        click.echo(content, nl=False)
        return
    OutputFile(file).write(content.encode())
    note(f"wrote {file}: open it in a browser; it needs no network")
