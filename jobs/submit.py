"""Run any align-data command that takes --engine on Spark, with the master that spark-submit names.

spark-submit --master yarn --py-files dist/align_data-*.zip jobs/submit.py filter DATASET --recipe align
"""

from __future__ import annotations

import sys

import click

from align_data.cli import COMMANDS, main


def takes_engine(command: click.Command | None) -> bool:
    """Tell whether a command has the option --engine."""
    return command is not None and any(option.name == "engine" for option in command.params)


def on_spark(words: list[str]) -> list[str]:
    """Return a command line with --engine spark; UsageError for a command that does not take --engine."""
    name, context = words[0] if words else "--help", click.Context(main)
    if name not in COMMANDS:  # --help, --version, or an unknown command, which `align-data` reports
        return words or ["--help"]
    if not takes_engine(main.get_command(context, name)):
        names = ", ".join(name for name in COMMANDS if takes_engine(main.get_command(context, name)))
        raise click.UsageError(f"{name} does not run on Spark; these commands do: {names}")
    return [name, "--engine", "spark", *words[1:]]


if __name__ == "__main__":
    try:
        arguments = on_spark(sys.argv[1:])
    except click.UsageError as error:
        error.show()
        sys.exit(error.exit_code)
    main(arguments)
