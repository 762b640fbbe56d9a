"""How far the comparison behind a signal looked: beyond that a stored value says no more than 'nothing is so near'."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from typing import Any

from align_data.common.errors import RecipeError
from align_data.data.layout import Dataset
from align_data.signals import Signal, find
from align_data.signals.families import split
from align_data.signals.near import FLOORED

MILLION = 10**6


def check_reach(dataset: Dataset, tests: Iterable[tuple[str, Any]]) -> None:
    """Raise RecipeError where a signal, the first of each pair, would be compared with a value beyond its reach."""
    for name, value in tests:
        signal = find(name)
        floor = _floor(dataset, signal)
        for number in _numbers(value) if floor is not None else ():
            if floor is not None and number < floor and number != signal.none:
                of_user = signal.group.partition(".")[2]
                raise RecipeError(
                    f"{name} cannot be compared with {number:g}: cosines below {floor:g} are not stored; compare the "
                    f"images again: align-data neighbours {of_user} {shlex.quote(dataset.store.url)} --floor {number:g}"
                )


def _floor(dataset: Dataset, signal: Signal) -> float | None:
    """Return the least value that is stored of a signal, but for 'none'; None for one that is stored however low."""
    opened = split(signal.name)
    if opened is None or opened[0] not in FLOORED:
        return None
    manifest = dataset.measured(signal.group).committed()
    run = manifest.meta.signals.get(signal.name, {}).get("run") if manifest is not None else None
    return run["floor"] / MILLION if isinstance(run, dict) and isinstance(run.get("floor"), int) else None


def _numbers(value: Any) -> Iterator[float]:
    for number in value if isinstance(value, list | tuple) else (value,):
        if isinstance(number, int | float):
            yield number
