"""A forecast as tables: each number with what it is worth."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from align_data.cli.lines import amount
from align_data.cli.options import note
from align_data.cli.tables import console
from align_data.stages.forecast import Figure, Forecast

_TITLES = {"fetch": "Fetch", "images": "Images", "storage": "Storage", "money": "Money"}


def print_forecast(forecast: Forecast) -> None:
    """Print the sections that have numbers."""
    out, worth = console(), _Worth()
    if forecast.rows:
        _section(out, "Rows", forecast.rows, worth)
    for reason, number in forecast.reasons.items():
        out.print(escape(f"rejected: {number:,} {reason}"))
    _rules(out, forecast, worth)
    for name, title in _TITLES.items():
        _section(out, title, getattr(forecast.costs, name), worth)
    for host, urls in forecast.hosts:
        out.print(escape(f"host {host}: {_value(urls)}, {worth.of(urls)}"), soft_wrap=True)
    _stages(out, forecast, worth)
    for number, source in enumerate(worth.sources, 1):
        out.print(escape(f"[{number}] {source}"), soft_wrap=True)
    for sentence in forecast.notes:
        note(sentence)


class _Worth:
    """What numbers are worth, with the sources of what is assumed as notes below."""

    def __init__(self) -> None:
        self.sources: list[str] = []

    def of(self, figure: Figure) -> str:
        """Return the words for one number."""
        if not figure.sources:
            return figure.worth
        self.sources += [source for source in figure.sources if source not in self.sources]
        return f"{figure.basis} {''.join(f'[{self.sources.index(source) + 1}]' for source in figure.sources)}"


def _section(out: Console, title: str, figures: Mapping[str, Figure], worth: _Worth) -> None:
    if not figures:
        return
    table = Table(title=title, title_justify="left")
    table.add_column("what", no_wrap=True)
    table.add_column("how much", justify="right", no_wrap=True)
    table.add_column("worth", overflow="fold")
    for name, figure in figures.items():
        table.add_row(name.replace("_", " "), _value(figure), escape(worth.of(figure)))
    out.print(table)


def _rules(out: Console, forecast: Forecast, worth: _Worth) -> None:
    if not forecast.rules:
        return
    table = Table(title=f"What each rule of {escape(forecast.recipe)} drops", title_justify="left")
    table.add_column("rule", no_wrap=True)
    table.add_column("test", overflow="fold")
    table.add_column("fail", justify="right", no_wrap=True)
    table.add_column("unknown yet", justify="right", no_wrap=True)
    table.add_column("worth", no_wrap=True)
    for rule in forecast.rules:
        fail = "not told" if rule.fail is None else f"{rule.fail.value:,.0f}"
        told = "" if rule.fail is None else worth.of(rule.fail)
        table.add_row(escape(rule.rule), escape(rule.test), fail, f"{rule.unknown.value:,.0f}", escape(told))
    out.print(table)


def _stages(out: Console, forecast: Forecast, worth: _Worth) -> None:
    if not forecast.costs.stages:
        return
    table = Table(title="Stages", title_justify="left")
    table.add_column("stage")
    for name in ("time here", "core-hours", "on executors", "memory", "leaves on disk"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("worth of the time", overflow="fold")
    for name, cost in forecast.costs.stages.items():
        cells = [cost.seconds, cost.core_seconds.times(1 / 3600, "core-hours"), cost.executor_seconds, cost.memory]
        shown = ["" if cell is None else _value(cell) for cell in (*cells, cost.disk)]
        table.add_row(name, *shown, escape(worth.of(cost.seconds)))
    out.print(table)


def _value(figure: Figure) -> str:
    """Return a number with its unit, in words that people use."""
    value, unit = figure.value, figure.unit
    match unit:
        case "bytes" | "bytes/image":
            return amount(value, "bytes")
        case "seconds":
            return _duration(value)
        case "hours":
            return _duration(value * 3600)
        case "dollars":
            return f"${value:,.2f}"
        case "core-hours" | "images/URL" | "seconds/URL":
            return f"{value:,.3g} {unit}" if value < 100 else f"{value:,.0f} {unit}"
        case _:
            return f"{value:,.0f} {unit}"


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} s"
