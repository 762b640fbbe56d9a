"""Options and output that several commands share. Nothing that works on data is loaded here: --help is quick."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from align_data.cli.lines import PlainLines
from align_data.common.progress import Progress
from align_data.common.secrets import mask
from align_data.engines.resources import Resources

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Number(click.FloatRange):
    """A number in a range; NaN, which is neither below nor above anything, is in none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not in the range {self._describe_range()}", param, ctx)
        return number


class ByteSize(click.ParamType[int]):
    """A number of bytes, such as 4GB, 500MB or 1GiB: units of 1,024; without one bytes, where they are `plain`."""

    name = "size"

    def __init__(self, *, plain: bool = False) -> None:
        self._plain = plain

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of bytes."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?B)?", str(value).strip(), re.IGNORECASE)
        if not match:
            self.fail(f"{value!r} is not a size; write it as 4GB or 500MB", param, ctx)
        size = float(match[1]) * _UNITS[match[2].upper()]
        if 0 < size <= 2**50 and not (self._plain or match[2] or match[3]):
            self.fail(f"{value} needs a unit: write {value}MB or {value}GB", param, ctx)
        if not 2**10 <= size <= 2**50:
            self.fail(f"{value} is out of range: from 1KB to 1000TB", param, ctx)
        return int(size)


def typed_options(*options: str) -> list[str]:
    """Return those of the running command's options, as they are typed, that somebody has given."""
    context = click.get_current_context()
    typed = {option.name: option.opts[0] for option in context.command.params}
    return [typed[name] for name in options if context.get_parameter_source(name) is not ParameterSource.DEFAULT]


def settings(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Split KEY=VALUE."""
    for value in values:
        if "=" not in value.strip("="):
            key = value.partition("=")[0]  # what stands behind it may be secret
            raise click.BadParameter(
                f"{key!r} is not a setting; write it as {param.metavar or 'KEY=VALUE'}", ctx, param
            )
    return tuple((value.partition("=")[0], value.partition("=")[2]) for value in values)


def names(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Split values at commas: a,b given twice is four names."""
    parts = tuple(name.strip() for value in values for name in value.split(",") if name.strip())
    if values and not parts:
        raise click.BadParameter("is empty", ctx, param)
    return parts


def local_folder(ctx: click.Context, param: click.Parameter, value: T) -> T:
    """Refuse a URL where a folder must be on this machine: of its name a folder would be made here."""
    if "://" in str(value) or re.match(r"[a-z][a-z0-9]+:/\w", str(value)):
        raise click.BadParameter(f"{value} is a URL, and this must be a folder on this machine", ctx, param)
    return value


def together(*options: Callable[[Any], Any]) -> Callable[[F], F]:
    """Return what adds some options to a command, in this order."""

    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add


dataset_argument = click.argument("dataset", metavar="DATASET")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON to standard output.")
ledger_option = click.option(
    "--recipe",
    "ledger",
    required=True,
    metavar="LEDGER",
    help="Ledger to read: a recipe's name, or a name given by --as.",
)
"""For commands that read a ledger."""

decision_options = together(
    click.option(
        "--recipe",
        required=True,
        metavar="NAME|FILE",
        help="Recipe to apply: its name, or a file that ends in .yaml.",
    ),
    click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="RULE.OP=VALUE",
        help="Replace a rule's whole test, such as --set n_words.between=2,30; one test of any or all, by "
        "RULE.SIGNAL.OP=VALUE; one class's value, by RULE.OP.CLASS=VALUE; how many first_of keeps, by RULE.keep=N.",
    ),
    click.option(
        "--without",
        "off",
        multiple=True,
        metavar="RULE[,RULE...]",
        callback=names,
        help="Leave out these rules.",
    ),
    click.option("--as", "name", metavar="LEDGER", help="Ledger name (default: the recipe's)."),
)
"""Options that say how a recipe is applied."""

engine_option = click.option(
    "--engine",
    type=click.Choice(["local", "spark"]),
    default="local",
    show_default=True,
    help=("Where the work runs: on this machine, or on Spark (the extra spark). The output is identical to the byte."),
)
spark_conf_option = click.option(
    "--spark-conf",
    multiple=True,
    metavar="KEY=VALUE",
    callback=settings,
    help="Spark setting, such as spark.master=local[4].",
)

metrics_option = click.option(
    "--metrics",
    metavar="FILE",
    help="File for the running figures in the text format of Prometheus, written anew every 10 seconds at most.",
)

resource_options = together(
    engine_option,
    click.option(
        "--workers", type=click.IntRange(1, 1024), help="Threads of the local engine (default: one per processor)."
    ),
    click.option(
        "--memory",
        type=ByteSize(),
        help="Memory limit (default: 4GB in total; on Spark, 512MB per task).",
    ),
    click.option(
        "--work",
        metavar="FOLDER",
        callback=local_folder,
        help="Local folder where the local engine spills what does not fit in memory (default: inside DATASET).",
    ),
    spark_conf_option,
    metrics_option,
)
"""Options that say which engine works and what it may use."""


def resources(options: dict[str, Any]) -> Resources:
    """Take the resource options out of a command's."""
    return Resources(
        engine=options.pop("engine"),
        workers=options.pop("workers"),
        memory=options.pop("memory"),
        work=options.pop("work"),
        spark_conf=options.pop("spark_conf"),
        metrics=options.pop("metrics"),
    )


def progress() -> Progress:
    """Return a progress bar, or plain lines if standard error is not a terminal."""
    if not sys.stderr.isatty():
        return PlainLines()
    from align_data.cli.bars import LiveBars  # noqa: PLC0415 - for a terminal

    return LiveBars()


def former_names(names: Iterable[str]) -> None:
    """Note, once a command, what signals are called now that are named as earlier versions called them."""
    from align_data.signals import current_name  # noqa: PLC0415 - --help needs none of it

    told = click.get_current_context().meta.setdefault("align_data.former", set())
    for name in names:
        if name not in told and (now := current_name(name)) != name:
            told.add(name)
            note(f"{name} is called {now} now: write it so; the name with a dot is understood for a while")


def print_json(value: Any) -> None:
    """Print one JSON value to standard output."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=1))


def tell(sentence: str) -> None:
    """Print a sentence to standard output."""
    click.echo(mask(sentence))


def note(sentence: str) -> None:
    """Print a sentence to standard error."""
    click.echo(mask(sentence), err=True)
