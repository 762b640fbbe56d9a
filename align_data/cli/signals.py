"""align-data signals."""

from __future__ import annotations

from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from align_data.cli.options import former_names, json_option, print_json
from align_data.cli.tables import console
from align_data.signals import SHOWN, SIGNALS, Signal, find


@click.command("signals", short_help="List the signals, or show one.")
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the signals, or show one: its unit, kind, definition and source."""
    former_names([name] if name else [])
    listed = [find(name)] if name else [*SIGNALS.values(), *SHOWN]
    if as_json:
        print_json(_data(listed[0]) if name else [_data(signal) for signal in listed])
        return
    out = console()
    if name:
        for key, value in _data(listed[0]).items():
            out.print(f"[bold]{key:11}[/bold] {escape(str(value))}")
        return
    table = Table("signal", "kind", "unit", "definition")
    for signal in listed:
        missing = signal.missing()
        about = escape(signal.about) + (f" [dim](not here: it would {escape(missing)})[/dim]" if missing else "")
        table.add_row(signal.name, signal.kind, signal.unit, about)
    out.print(table)


def _data(signal: Signal) -> dict[str, Any]:
    needs = signal.missing() or signal.lacks or ("the images" if signal.kind == "image" else "nothing more")
    return {
        "name": signal.name,
        "kind": signal.kind,
        "type": signal.type,
        "unit": signal.unit,
        "definition": signal.about,
        "source": signal.source,
        "version": signal.version,
        "measurable": signal.missing() is None,
        "needs": needs.removeprefix("need "),
    }
