"""What a stage would do to a dataset now, and what that takes: what is to do is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from align_data.content.plan import Sight
from align_data.data.layout import Dataset
from align_data.signals import Signal
from align_data.sources.crawl.accounts import ACCOUNTS
from align_data.sources.crawl.archive import TABLES
from align_data.sources.crawl.inputs import ArchiveSelection
from align_data.stages.forecast import Forecast, assumptions
from align_data.stages.forecast.archives import add_archives
from align_data.stages.forecast.costs import Capacity, WebFigures, add_fetch, add_images, stage
from align_data.stages.forecast.figures import Figure, binomial, counted
from align_data.stages.measure import to_measure
from align_data.storage.store import Store

_HOSTS = 5


def forecast_fetch(dataset: Dataset, hosts: Counter[str], machine: Capacity) -> Forecast:
    """Forecast a fetch of so many URLs of each host; how many answer goes by what was fetched before, if any was."""
    result = Forecast("fetch")
    result.hosts = [(host, counted(number, "URLs")) for host, number in hosts.most_common(_HOSTS)]
    web = WebFigures(alive=_alive(dataset))
    heaviest = result.hosts[0][1] if result.hosts else None
    images = add_fetch(result.costs, counted(hosts.total(), "URLs"), heaviest, web, machine)
    add_images(result.costs, images, web, machine)
    return result


def _alive(dataset: Dataset) -> Figure:
    manifest = dataset.images.committed()
    statuses = {} if manifest is None else manifest.meta.statuses
    tried = sum(statuses.values()) - statuses.get("untried", 0)
    return binomial(statuses.get("ok", 0), tried, "images/URL") if tried else assumptions.ALIVE


def forecast_measure(
    dataset: Dataset, names: Sequence[str] | None, sight: Sight, machine: Capacity
) -> tuple[Forecast, list[Signal]]:
    """Forecast measuring; return the signals that would be measured too."""
    result, todo = Forecast("measure"), to_measure(dataset, names, sight)
    pairs = dataset.ingested().rows
    result.rows = {"pairs": counted(pairs, "pairs"), "signals": counted(len(todo), "signals")}
    text = [signal for signal in todo if signal.check is None and not signal.content]
    if text:
        languages = any(signal.name.startswith("language") for signal in text)
        rate = assumptions.LANGUAGE_CORE_SECONDS if languages else assumptions.TEXT_CORE_SECONDS
        work = counted(pairs, "pairs").times(rate, "core-seconds")
        memory = assumptions.text_memory(pairs, machine.memory)
        seconds = work.times(1 / machine.cores, "seconds")
        result.costs.stages["measure"] = stage(work, seconds, machine, spark=assumptions.SPARK_FACTOR, memory=memory)
    manifest = dataset.images.committed()
    if manifest is not None and any(signal.content for signal in todo):
        images = counted(manifest.meta.statuses.get("ok", 0), "images")
        work = images.times(assumptions.IMAGE_CORE_SECONDS, "core-seconds")
        result.costs.images["to_measure"] = images
        result.costs.stages["images"] = stage(work, work.times(1 / machine.cores, "seconds"), machine)
        result.notes.append("images whose checks are taken already are not opened again: the time is an upper bound")
    return result, todo


def forecast_crawl(inputs: Sequence[str], selection: ArchiveSelection, rows: Store, machine: Capacity) -> Forecast:
    """Forecast reading archives into the folder `rows`; those that it has are taken to be as they were."""
    result = Forecast("crawl")
    tables = {name.removesuffix(".parquet") for name in rows.names(TABLES)}
    read = tables & {name.removesuffix(".json") for name in rows.names(ACCOUNTS)}
    result.notes += add_archives(inputs, selection, result.costs, machine, read)
    return result
