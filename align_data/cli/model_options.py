"""What the commands that train, and those that use a model, share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args, get_origin

import click
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from align_data.cli.options import ByteSize, F, engine_option, metrics_option, note, spark_conf_option, together
from align_data.common.errors import TrainError
from align_data.engines.resources import Resources
from align_data.models.sharing import SharedModel
from align_data.train.embed import TwoTowers
from align_data.train.settings import OWNERS, PRESETS, TrainSettings

_NAMED = 10
"""Skipped items that are listed by name."""

model_argument = click.argument("model", metavar="MODEL")
shards_argument = click.argument("shards", metavar="SHARDS")
device_option = click.option(
    "--device", metavar="NAME", help="Device to run the model on, such as cpu or cuda (default: the best available)."
)

model_run_options = together(
    engine_option,
    click.option(
        "--workers",
        type=click.IntRange(1, 1024),
        help="Processes that decode images for the model (default: one per processor; on Spark, one per task).",
    ),
    spark_conf_option,
    metrics_option,
)
"""Options that say where a model works through a dataset."""


def model_run(options: dict[str, Any]) -> tuple[Resources, int]:
    """Take these options out of a command's; return what the engine may use, and how many children decode."""
    engine, workers = options.pop("engine"), options.pop("workers")
    children = workers or (1 if engine == "spark" else len(os.sched_getaffinity(0)))
    # One part at a time on a machine: there is one model.
    return Resources(engine, 1, spark_conf=options.pop("spark_conf"), metrics=options.pop("metrics")), children


def open_shared(model: str, device: str | None) -> SharedModel:
    """Open a model of any kind; raise an error with advice if there is none, or if an extra is not installed."""
    with extra():
        return SharedModel.open(model, device)


@contextmanager
def extra() -> Iterator[None]:
    """Say in a sentence that the extra is missing, where it is."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "align_data":
            raise
        raise TrainError(f"this needs {error.name}: pip install 'align-data[train]'") from error


def setting_options(function: F) -> F:
    """Add an option for each setting of a run, and --preset."""
    for name, field in reversed(TrainSettings.model_fields.items()):
        function = _option(name, field)(function)
    return click.option(
        "--preset", type=click.Choice(list(PRESETS)), help="Settings of a publication; other options override them."
    )(function)


def _option(name: str, field: FieldInfo) -> Any:
    flag = f"--{name.replace('_', '-')}"
    help_text = f"{(field.description or '')[:1].upper()}{(field.description or '')[1:]}."
    if field.default is not None:
        help_text += f"  [default: {_default_text(field.default)}{'MB' if name == 'memory' else ''}]"
    if name == "memory":  # as every other command takes it
        return click.option(flag, name, type=ByteSize(), default=None, help=help_text)
    if field.annotation is bool:
        return click.option(f"{flag}/--no-{name.replace('_', '-')}", name, default=None, help=help_text)
    kinds = [field.annotation, *get_args(field.annotation)]
    choices = next((get_args(kind) for kind in kinds if get_origin(kind) is Literal), None)
    number = next((kind for kind in (int, float) if kind in kinds or _within(kind, kinds)), None)
    kind = click.Choice(choices) if choices else number or str
    return click.option(
        flag, name, type=kind, default=None, metavar=None if choices or number else "MODEL", help=help_text
    )


def _within(kind: type, kinds: list[Any]) -> bool:
    return any(kind in get_args(candidate) for candidate in kinds)


def _default_text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:,}" if isinstance(value, int) else str(value)


def settings_of(options: dict[str, Any], objectives: Sequence[str] = ()) -> list[TrainSettings]:
    """Take the settings out of a command's options: one for each of the objectives, or of the one that they name.

    A setting of one objective is in its settings alone. Raises click's usage error for settings that cannot be.
    """
    preset = options.pop("preset")
    chosen = {name: value for name in TrainSettings.model_fields if (value := options.pop(name)) is not None}
    if "memory" in chosen:
        chosen["memory"] = max(1, chosen["memory"] // 2**20)
    whole = {**(PRESETS[preset] if preset else {}), **chosen}
    objectives = objectives or [whole.get("objective", TrainSettings.model_fields["objective"].default)]
    for name, owner in OWNERS.items():
        if name in chosen and owner not in objectives:
            raise _mistaken(name, chosen[name], f"only --objective {owner} takes it")
    return [_valid({**whole, "objective": objective}) for objective in objectives]


def _valid(whole: Mapping[str, Any]) -> TrainSettings:
    own = {name: value for name, value in whole.items() if OWNERS.get(name) in (None, whole["objective"])}
    try:
        return TrainSettings(**own)
    except ValidationError as error:
        mistake = error.errors()[0]
        raise _mistaken(str(mistake["loc"][0]), mistake["input"], mistake["msg"].lower()) from None


def _mistaken(name: str, value: Any, why: str) -> click.BadParameter:
    return click.BadParameter(f"{value}: {why}", param_hint=f"--{name.replace('_', '-')}")


def load_model(model: str, device: str | None) -> TwoTowers:
    """Open a trained model; raise an error with advice if there is none, or if the extra is not installed."""
    with extra():
        from align_data.train.model import Dual  # noqa: PLC0415 - PyTorch takes seconds to load
    return Dual.load(model, device)


def lost(undecodable: Mapping[str, str], skipped: Mapping[str, str]) -> None:
    """Name what of some shards was passed over: pairs whose image cannot be decoded, and damaged shards."""
    for reasons, label in ((undecodable, "pairs left out"), (skipped, "shards skipped")):
        if reasons:
            note(f"{len(reasons):,} {label}")
        for name, why in list(reasons.items())[:_NAMED]:
            note(f"  {name}: {why}")
