"""The option --dry-run of the commands that a forecast tells of, and what they print then."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from align_data.cli.options import note, print_json

if TYPE_CHECKING:
    from align_data.engines.resources import Resources
    from align_data.fetching.limits import Limits
    from align_data.stages.forecast import Capacity, Forecast

dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Tell what the command would do now and what that takes; write nothing."
)


def capacity(resources: Resources, limits: Limits | None = None) -> Capacity:
    """Return what a run of these options has to work with."""
    from align_data.engines.local import MEMORY  # noqa: PLC0415 - --help needs none of it
    from align_data.fetching.limits import Limits  # noqa: PLC0415
    from align_data.stages.forecast import Capacity  # noqa: PLC0415

    limits, cores = limits or Limits(), resources.workers or len(os.sched_getaffinity(0))
    connections = limits.connections or limits.in_process * cores
    return Capacity(cores, resources.memory or MEMORY, None, connections, limits.per_host)


def print_dry_run(forecast: Forecast, *, as_json: bool) -> None:
    """Print a forecast."""
    if as_json:
        print_json(forecast.to_json())
        return
    from align_data.cli.forecast_tables import print_forecast  # noqa: PLC0415

    print_forecast(forecast)
    note("nothing was written")
