"""align-data calibrate."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from align_data.cli.model_options import device_option, open_shared
from align_data.cli.options import Number, dataset_argument, json_option, note, print_json, progress, tell
from align_data.cli.pages import before_page, write_page
from align_data.cli.tables import console
from align_data.common.errors import InputError
from align_data.engines.resources import Resources
from align_data.models.sharing import SharedModel
from align_data.report import calibration_html
from align_data.stages.calibrate import AUGMENTATIONS, CalibrationPlan, calibrate, model_of
from align_data.stages.session import session

if TYPE_CHECKING:
    from align_data.stages.calibrate import CalibrationReport

_PLAN = CalibrationPlan()


@click.command("calibrate", short_help="Propose a threshold for near-duplicates by an encoder.")
@click.argument("name", metavar="NAME")
@dataset_argument
@click.option("--model", metavar="MODEL", help="Where the model is now (default: where align-data embed had it).")
@device_option
@click.option(
    "--images",
    type=click.IntRange(1, 1_000_000),
    default=_PLAN.images,
    show_default=True,
    help="Number of images that copies are made of.",
)
@click.option(
    "--compared",
    type=click.IntRange(2, 50_000),
    default=_PLAN.compared,
    show_default=True,
    help="Number of images whose pairs are the random ones.",
)
@click.option(
    "--false-pairs",
    "allowed",
    type=Number(0, 1_000_000, min_open=True),
    default=_PLAN.allowed,
    show_default=True,
    help="False pairs per million random pairs that the threshold may find.",
)
@click.option(
    "--lone",
    is_flag=True,
    help="Compare only images without a likely copy in the sample, by pHash: for a small pool with many copies.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed that selects the images.")
@click.option(
    "--html",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write a page for the browser to this file, or fsspec URL.",
)
@click.option("--pictures/--no-pictures", default=True, help="Whether the page shows pictures of the nearest pairs.")
@click.option(
    "--workers", type=click.IntRange(1, 1024), help="Processes that decode images (default: one per processor)."
)
@json_option
def command(name: str, dataset: str, as_json: bool, **options: Any) -> None:
    """Find the threshold from which on near-duplicates by the embeddings embedded/NAME are copies.

    How near copies are differs from encoder to encoder. So some of the dataset's images are changed as images are on
    the web (JPEG of quality 30, half size, brighter, grey, cropped, with a border, with text, mirrored) and embedded,
    and held against random pairs of different images. What is shown: how near the copies of each kind are, and the
    lowest threshold that finds at most --false-pairs of a million random pairs. What it comes to is kept, in
    _calibration/NAME.json.

    \b
    Examples:
      align-data calibrate clip laion
      align-data calibrate clip laion --html calibration.html --false-pairs 0.1
    """
    html, pictures = options.pop("html"), options.pop("pictures")
    model, device, workers = options.pop("model"), options.pop("device"), options.pop("workers")
    if html is not None:
        before_page(html)
    with session(dataset, Resources(workers=1), progress()) as (opened, _, steps):
        shared = _opened(model, model_of(opened, name), device)
        children = workers or len(os.sched_getaffinity(0))
        report = calibrate(opened, name, shared, CalibrationPlan(**options), children, steps)
        if html is not None:
            write_page(html, calibration_html(report, opened, steps, pictures=pictures))
    if as_json:
        print_json(report.to_json())
        return
    _show(report)


def _opened(model: str | None, embedded_by: str, device: str | None) -> SharedModel:
    """Open the model; InputError says how to name another place of it."""
    try:
        return open_shared(model or embedded_by, device)
    except InputError as error:
        if model is not None:
            raise
        raise InputError(f"{error}; --model says where the model is now") from None


def _show(report: CalibrationReport) -> None:
    """Print the quantiles of each kind of copy, and what follows."""
    calibration = report.calibration
    table = Table(title=f"cosines to copies, {calibration.images:,} images", title_justify="left", box=None)
    for column in ("copy", "least", "1 % below", "10 % below", "median", "found"):
        table.add_column(column, justify="left" if column == "copy" else "right")
    at = calibration.at_threshold
    for kind, of in calibration.kinds.items():
        cosines = (f"{value:.3f}" for value in (of.least, of.at_1, of.at_10, of.median))
        table.add_row(AUGMENTATIONS[kind].about, *cosines, "–" if at is None else f"{at.copies[kind]:.1%}")
    console().print(table)
    tell(report.verdict)
    for line in report.notes:
        note(line)
