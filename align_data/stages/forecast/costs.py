"""What a forecast's numbers cost: a fetch, images and shards; seconds, memory and disk of each stage; money."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from align_data.stages.forecast import assumptions
from align_data.stages.forecast.figures import Figure, counted

_HOUR, _GB = 3600.0, 1e9


@dataclass(frozen=True)
class WebFigures:
    """What is known of URLs before they are fetched: assumed, or probed."""

    alive: Figure = assumptions.ALIVE
    bytes: Figure = assumptions.FETCHED_BYTES
    seconds: Figure = assumptions.URL_SECONDS


@dataclass(frozen=True)
class Prices:
    """Dollars, of a core for an hour, of a GB kept for a month, of a GB sent out; None for what nobody asks for."""

    core_hour: float | None = None
    gb_month: float | None = None
    gb_egress: float | None = None


@dataclass(frozen=True)
class Capacity:
    """What works: cores and memory of this machine, executors of Spark, and how a fetch asks."""

    cores: int
    memory: int
    """Bytes that the tasks may hold together."""
    executors: int | None = None
    connections: int = 128
    per_host: int = 4
    shard: int = 10_000
    """Pairs of a shard."""


@dataclass(frozen=True)
class StageCost:
    """What one stage takes."""

    core_seconds: Figure
    seconds: Figure
    """On this machine."""
    executor_seconds: Figure | None
    """On so many executors; None where no number is given."""
    memory: Figure | None
    disk: Figure | None
    """Bytes that it leaves."""


@dataclass
class Costs:
    """The numbers by their names, and the stages in order."""

    fetch: dict[str, Figure] = field(default_factory=dict)
    images: dict[str, Figure] = field(default_factory=dict)
    storage: dict[str, Figure] = field(default_factory=dict)
    stages: dict[str, StageCost] = field(default_factory=dict)
    money: dict[str, Figure] = field(default_factory=dict)


def stage(
    core_seconds: Figure,
    seconds: Figure,
    machine: Capacity,
    *,
    spark: Figure | float = 1.0,
    memory: Figure | None = None,
    disk: Figure | None = None,
) -> StageCost:
    """Return a stage's costs; on executors its core-seconds, times `spark`, are shared by all cores."""
    on_executors = None
    if machine.executors is not None:
        cores = machine.executors * assumptions.EXECUTOR_CORES
        on_executors = core_seconds.times(spark).times(1 / cores, "seconds")
    return StageCost(core_seconds, seconds, on_executors, memory, disk)


def add_fetch(costs: Costs, urls: Figure, heaviest: Figure | None, web: WebFigures, machine: Capacity) -> Figure:
    """Add what fetching these URLs takes; return how many images come of it.

    The hours are those of the connections, or of the cores, or of the host that has most of the URLs: whichever is
    slowest.
    """
    images = urls.times(web.alive, "images")
    fetched = images.times(web.bytes, "bytes")
    work = urls.times(assumptions.FETCH_CORE_SECONDS, "core-seconds")
    bounds = {
        "hours_by_connections": urls.times(web.seconds).times(1 / machine.connections / _HOUR, "hours"),
        "hours_by_cores": work.times(1 / machine.cores / _HOUR, "hours"),
    }
    if heaviest is not None:
        bounds["hours_by_heaviest_host"] = heaviest.times(web.seconds).times(1 / machine.per_host / _HOUR, "hours")
    hours = max(bounds.values(), key=lambda figure: figure.value)
    spread = None
    if machine.executors is not None:  # a host is no faster for it
        spread = _spread(bounds, machine.executors, machine.cores)
    costs.fetch |= {"urls": urls, "alive": web.alive, "images": images, "bytes": fetched, "hours": hours, **bounds}
    costs.stages["fetch"] = StageCost(work, hours.times(_HOUR, "seconds"), spread, None, fetched)
    return images


def _spread(bounds: Mapping[str, Figure], executors: int, cores: int) -> Figure:
    """Return the seconds of a fetch on executors, each of which has as many connections as this machine."""
    by_cores = bounds["hours_by_cores"].times(cores / (executors * assumptions.EXECUTOR_CORES))
    slowest = [bounds["hours_by_connections"].times(1 / executors), by_cores]
    slowest += [figure for name, figure in bounds.items() if name.endswith("host")]
    return max(slowest, key=lambda figure: figure.value).times(_HOUR, "seconds")


def add_images(costs: Costs, images: Figure, web: WebFigures, machine: Capacity) -> None:
    """Add what measuring and exporting these images takes."""
    for name, by_image in (("images", assumptions.IMAGE_CORE_SECONDS), ("export", assumptions.EXPORT_CORE_SECONDS)):
        work = images.times(by_image, "core-seconds")
        disk = images.times(assumptions.RESIZED_BYTES, "bytes") if name == "export" else None
        costs.stages[name] = stage(work, work.times(1 / machine.cores, "seconds"), machine, disk=disk)
    measured = costs.stages["images"].core_seconds
    costs.images |= {"to_measure": images, "core_hours": measured.times(1 / _HOUR, "core-hours")}
    costs.storage |= {
        "bytes_as_fetched": images.times(web.bytes, "bytes"),
        "bytes_resized": images.times(assumptions.RESIZED_BYTES, "bytes"),
        "shards": _whole(images.times(1 / machine.shard, "shards")),
    }


def _whole(figure: Figure) -> Figure:
    return replace(figure, value=float(math.ceil(figure.value)))


def add_money(costs: Costs, prices: Prices) -> None:
    """Add what it costs at the prices that are given."""
    hours = _total([cost.core_seconds for cost in costs.stages.values()], "core-seconds").times(1 / _HOUR, "core-hours")
    disk = _total([cost.disk for cost in costs.stages.values() if cost.disk is not None], "bytes")
    resized = costs.storage.get("bytes_resized", counted(0, "bytes"))
    priced: Mapping[str, tuple[Figure, float | None]] = {
        "core_hours": (hours, prices.core_hour),
        "storage_month": (disk.times(1 / _GB), prices.gb_month),
        "egress": (resized.times(1 / _GB), prices.gb_egress),
    }
    costs.money |= {
        name: amount.times(price, "dollars") for name, (amount, price) in priced.items() if price is not None
    }


def _total(figures: list[Figure], unit: str) -> Figure:
    total = counted(0, unit)
    for figure in figures:
        total = total.plus(figure)
    return total
