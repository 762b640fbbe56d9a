"""Write what is made from the code: docs/cli.md, docs/signals.md and schemas/recipe.schema.json.

`make docs` runs it; a test fails where a file is not what it would write.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from align_data.cli import COMMANDS, main
from align_data.data.layout import contracts
from align_data.decoding.inspected import STATUSES as LOOKING
from align_data.fetching.outcome import STATUSES as FETCHING
from align_data.fetching.outcome import retryable
from align_data.recipes.reading import json_schema
from align_data.signals import SIGNALS
from align_data.signals.score import SHOWN

EVERYWHERE = (
    "Exit codes: 0 done, 1 failed with a sentence that says what to do, 2 wrong options, 130 stopped by Ctrl-C.",
    "Standard output has what was asked for, standard error all else; if the former cannot be written, that is a 1.",
    "",
    "`--memory` takes a number and a unit, KB, MB, GB or TB (also KiB and so on), each 1,024 of the one before.",
    "",
    'Shells complete commands and options: `eval "$(_ALIGN_DATA_COMPLETE=bash_source align-data)"` in `~/.bashrc`,',
    "`zsh_source` in place of `bash_source` in `~/.zshrc`, and for fish",
    "`_ALIGN_DATA_COMPLETE=fish_source align-data | source` in `~/.config/fish/config.fish`.",
)
ROOT = Path(__file__).resolve().parent.parent


def cli() -> str:
    """Return the reference of the command line: every command's help, as it prints it."""
    lines = ["# The command line", "", "Made by `make docs` from the commands' own help.", "", *EVERYWHERE, ""]
    context = click.Context(main, info_name="align-data", terminal_width=100, help_option_names=["-h", "--help"])
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        lines += [f"## align-data {name}", "", "```text", command.get_help(inner), "```", ""]
    return "\n".join(lines)


def signals() -> str:
    """Return the reference of the signals and of the tables."""
    lines = [
        "# Signals",
        "",
        "Made by `make docs` from the definitions in `align_data/signals/`. A signal's name is its column, its key in",
        "a recipe and its name everywhere else. Null means that it is not measured for a pair, and nothing else.",
        "",
        "| signal | kind | type | unit | definition | source |",
        "|---|---|---|---|---|---|",
    ]
    for s in [*SIGNALS.values(), SHOWN]:
        none = f" Without one: {s.none}, shown as none." if s.none is not None else ""
        lines.append(f"| `{s.name}` | {s.kind} | {s.type} | {s.unit} | {s.about}{none} | {s.source} |")
    lines += ["", "# Tables", "", "Every table is a folder of Parquet files with a contract in `schemas/`.", ""]
    for contract in contracts():
        lines += [
            f"## {contract.table}",
            "",
            contract.about,
            "",
            "| column | type | null | meaning |",
            "|---|---|---|---|",
        ]
        lines += [f"| `{c.name}` | {c.type} | {'yes' if c.nullable else 'no'} | {c.about} |" for c in contract.columns]
        lines.append("")
    for title, statuses in (("fetching (`images`)", FETCHING), ("looking into the bytes (`content`)", LOOKING)):
        lines += [f"# Statuses of {title}", "", "| status | meaning | asked again |", "|---|---|---|"]
        for status, meaning in statuses.items():
            again = "yes" if statuses is FETCHING and retryable(status) else "no"
            lines.append(f"| `{status}` | {meaning} | {again} |")
        lines.append("")
    return "\n".join(lines)


def generated() -> dict[Path, str]:
    """Return every generated file's path and content."""
    return {
        ROOT / "docs" / "cli.md": cli(),
        ROOT / "docs" / "signals.md": signals(),
        ROOT / "schemas" / "recipe.schema.json": json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n",
    }


if __name__ == "__main__":
    for path, content in generated().items():
        path.write_text(content, encoding="utf-8")
