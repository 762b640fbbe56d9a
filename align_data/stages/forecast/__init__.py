"""What a run will come to and cost, before it: what can be counted is, the rest is sampled, probed or assumed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from align_data.common.errors import InputError
from align_data.common.progress import Progress
from align_data.data.html_texts import Rewriting
from align_data.engines.local import LocalEngine
from align_data.recipes.plan import Plan
from align_data.signals import find
from align_data.sources.crawl.inputs import ArchiveSelection
from align_data.sources.inputs import divide
from align_data.sources.lists import Choice, Reading
from align_data.stages.decision import Decision
from align_data.stages.forecast import assumptions
from align_data.stages.forecast.costs import (
    Capacity,
    Costs,
    Prices,
    WebFigures,
    add_fetch,
    add_images,
    add_money,
    stage,
)
from align_data.stages.forecast.figures import Figure, counted
from align_data.stages.forecast.lists import SampledLists, TextKey, sampled_lists
from align_data.stages.forecast.probe import Probe, probed
from align_data.stages.forecast.sample import no_pairs
from align_data.stages.forecast.text import RuleForecast, TextForecast, side
from align_data.stages.forecast.trial import OF_TEXT, OF_URL, Scaling, Trial, tried

__all__ = ["SAMPLE", "Capacity", "Figure", "Forecast", "Forecasting", "Prices", "Probe", "RuleForecast", "forecast"]

SAMPLE = 200_000
"""Pairs that are sampled where nobody says how many."""
_HOSTS = 5
"""Hosts of most URLs that are named."""


@dataclass(frozen=True)
class Forecasting:
    """What is to be forecast, and how closely it is looked at."""

    inputs: Sequence[str]
    choice: Choice = field(default_factory=Choice)
    reading: Reading = field(default_factory=Reading)
    rewriting: Rewriting = field(default_factory=Rewriting)
    selection: ArchiveSelection | None = None
    sample: int = SAMPLE
    probe: Probe | None = None
    """None where no URL is asked for."""


@dataclass
class Forecast:
    """The numbers, in the order in which they follow from each other."""

    recipe: str
    rows: dict[str, Figure] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    """Why rows are rejected."""
    rules: list[RuleForecast] = field(default_factory=list)
    hosts: list[tuple[str, Figure]] = field(default_factory=list)
    """Those of most URLs to be fetched."""
    costs: Costs = field(default_factory=Costs)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        rules = [
            {"rule": rule.rule, "test": rule.test, "fail": _json(rule.fail), "unknown": _json(rule.unknown)}
            for rule in self.rules
        ]
        sections = {name: _figures(getattr(self.costs, name)) for name in ("fetch", "images", "storage", "money")}
        stages = {
            name: {entry: _json(figure) for entry, figure in vars(cost).items()}
            for name, cost in self.costs.stages.items()
        }
        hosts = [{"host": host, "urls": _json(urls)} for host, urls in self.hosts]
        sections_of_lists = {"rows": _figures(self.rows), "reasons": self.reasons, "rules": rules, "hosts": hosts}
        return {"recipe": self.recipe, **sections_of_lists, **sections, "stages": stages, "notes": self.notes}


def _json(figure: Figure | None) -> dict[str, Any] | None:
    return None if figure is None else figure.to_json()


def _figures(figures: dict[str, Figure]) -> dict[str, Any]:
    return {name: figure.to_json() for name, figure in figures.items()}


def forecast(
    request: Forecasting,
    decision: Decision,
    machine: Capacity,
    prices: Prices,
    progress: Progress,
    work: str | None = None,
) -> Forecast:
    """Forecast a run of a recipe over lists or archives; nothing is written but in a temporary folder, in `work`.

    Raises InputError for inputs that ingest or crawl refuses, RecipeError for a recipe that cannot decide.
    """
    archives, lists = divide(request.inputs)
    if archives and lists:
        raise InputError("plan takes lists, or archives: not both at once")
    result = Forecast(decision.ledger)
    if archives:
        from align_data.stages.forecast.archives import add_archives  # noqa: PLC0415 - for those who have archives

        result.notes += add_archives(archives, request.selection or ArchiveSelection(), result.costs, machine)
    else:
        if request.selection is not None:
            raise InputError("--from and --prefix are for archives, and no input is one: omit them")
        with tempfile.TemporaryDirectory(prefix="align-data-plan-", dir=work) as folder:
            _add_lists(result, request, decision, machine, progress, Path(folder))
    add_money(result.costs, prices)
    return result


def _add_lists(
    result: Forecast, request: Forecasting, decision: Decision, machine: Capacity, progress: Progress, folder: Path
) -> None:
    engine = LocalEngine(folder / "work", machine.cores, machine.memory)
    # Of nothing first: what is wrong with the recipe is told before hours of reading.
    tried(no_pairs(()), (), decision, folder / "none", machine.cores, Scaling((), 1.0))
    texts = _counted_by_pool(decision)
    lists = sampled_lists(
        request.inputs, request.sample, engine, progress, request.choice, request.reading, request.rewriting, texts
    )
    counts = lists.counts
    result.reasons = dict(sorted(counts.reasons.items()))
    pool, trial = _tried(lists, decision, folder, machine, texts)
    web = (
        WebFigures()
        if request.probe is None
        else probed(request.probe, pool.openings, folder / "probe", engine, progress)
    )
    accepted = counted(counts.accepted, "rows")
    result.rows = {
        "rows": counted(counts.rows, "rows"),
        "rejected": counted(counts.rejected, "rows"),
        "pairs": pool.pairs,
        "merged": accepted.plus(pool.pairs.times(-1)),
        "urls": pool.urls,
        "hosts": counted(counts.hosts, "hosts"),
        "dropped": pool.dropped,
        "open": pool.pairs.plus(pool.dropped.times(-1)),
    }
    result.rules, result.hosts = pool.rules, pool.open_hosts(_HOSTS)
    _add_text_stages(result.costs, pool, trial, counts.seconds, machine)
    heaviest = result.hosts[0][1] if result.hosts else None
    images = add_fetch(result.costs, pool.open_urls, heaviest, web, machine)
    add_images(result.costs, images, web, machine)
    if pool.untold:
        result.notes.append(
            f"no sample tells {', '.join(pool.untold)}, which is of the pool as a whole: it is taken to drop nothing, "
            "so dropped pairs are a lower bound, and URLs an upper one"
        )


def _counted_by_pool(decision: Decision) -> TextKey | None:
    """Return how texts are sampled: None where no rule counts pairs over the pool."""
    signals = [find(name) for name in Plan.unresolved(decision.recipe, off=decision.off).signals]
    kinds = {signal.counted.keys for signal in signals if signal.counted is not None}
    return None if not kinds & {*OF_TEXT, *OF_URL} else "folded" if "folded" in kinds else "texts"


def _tried(
    lists: SampledLists, decision: Decision, folder: Path, machine: Capacity, texts: TextKey | None
) -> tuple[TextForecast, Trial]:
    """Run the text half on the samples."""
    accepted, share = counted(lists.counts.accepted, "rows"), lists.by_url.share
    sampled = lists.by_url.merged()
    trial = tried(sampled, lists.declared, decision, folder / "urls", machine.cores, Scaling(OF_TEXT, share))
    of_urls, of_texts = side(trial, None, texts, share, accepted), None
    if lists.by_text is not None and texts is not None and share < 1:
        sampled, of_share = lists.by_text.merged(), lists.by_text.share
        of_text = tried(sampled, lists.declared, decision, folder / "texts", machine.cores, Scaling(OF_URL, of_share))
        of_texts = side(of_text, texts, None, of_share, accepted)
    return TextForecast(trial.plan, of_urls, of_texts), trial


def _add_text_stages(costs: Costs, pool: TextForecast, trial: Trial, reading: float, machine: Capacity) -> None:
    """Add what ingest, measure and filter take, by what the sample took."""
    sampled = len(trial.verdicts)
    growth = pool.pairs.times(1 / max(1, sampled), "")
    clock = Figure(1.0, "", "sampled", None)  # how one machine's seconds vary no sample tells
    read = clock.times(reading, "seconds")
    memory = assumptions.text_memory(pool.pairs.value, machine.memory)
    for name, steps in (("ingest", ("write",)), ("measure", ("measure",)), ("filter", ("filter",))):
        seconds = growth.times(clock).times(sum(trial.seconds[step] for step in steps), "seconds")
        if name == "ingest":
            seconds = seconds.plus(read)
        work = seconds.times(machine.cores, "core-seconds")
        disk = growth.times(sum(trial.bytes[step] for step in steps), "bytes")
        costs.stages[name] = stage(work, seconds, machine, spark=assumptions.SPARK_FACTOR, memory=memory, disk=disk)
