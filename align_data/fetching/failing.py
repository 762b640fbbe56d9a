"""Which images fail a rule of a ledger, as they arrive: by the same signals and the same masks as `filter` takes.

A rule can be decided here where its signal follows from the image and its URL alone, and its threshold does not hang on
the pool.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import polars as pl

from align_data.data.layout import Dataset
from align_data.data.references import lists
from align_data.decoding.inspected import Inspected
from align_data.recipes.model import CHOSEN, Rule
from align_data.recipes.plan import Plan, PlannedRule, masks
from align_data.signals import Piece, Signal, find, is_signal
from align_data.signals.contracts import content
from align_data.storage.store import Store

_DECLARED = ("declared_width", "declared_height")
"""What a size is taken from where none is measured: then nothing is decided here."""


def image_rules(dataset: Dataset, plan: Plan) -> str | None:
    """Return the rules of a plan that can be decided by images as they arrive, as JSON; None where there is none.

    With them comes what tells the lists that they compare images with from others.
    """
    rules, references = [], {}
    for rule in plan.in_force:
        signals = [find(name) for name in rule.columns if is_signal(name) and _of_image(find(name))]
        kinds = {signal.reference for signal in signals if signal.reference is not None}
        manifests = {kind: dataset.reference(kind).committed() for kind in kinds}
        # Of several tests those that follow from the image can decide; what is scored follows from more than it.
        scored = any(name in plan.definitions for name in rule.columns)
        if rule.rule.relative or scored or not signals or None in manifests.values():
            continue
        references.update({kind: manifest.fingerprint for kind, manifest in manifests.items() if manifest is not None})
        rules.append(rule.rule.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"source", "note"}))
    return json.dumps({"rules": rules, "references": references}, sort_keys=True) if rules else None


def _of_image(signal: Signal) -> bool:
    """Tell whether a signal follows from an image and its URL alone."""
    return bool(signal.content) and signal.measure is not None and set(signal.needs) <= {"url", *_DECLARED}


class FailingImages:
    """Tells which images fail a rule."""

    def __init__(self, store: Store, rules: str) -> None:
        """Take what `image_rules` returned for the dataset in `store`."""
        described = json.loads(rules)
        self._rules = [
            PlannedRule(position, Rule.model_validate({**rule, "source": CHOSEN}))
            for position, rule in enumerate(described["rules"])
        ]
        signals = [find(name) for rule in self._rules for name in rule.columns]
        self._signals = {signal.name: signal for signal in signals if _of_image(signal)}
        self._references = lists(Dataset(store)) if described["references"] else None

    def reasons(self, urls: Sequence[str], images: Sequence[Inspected]) -> list[str | None]:
        """Return for each image the rules that it fails, in words; None for one that fails none."""
        piece = Piece(_frame(urls, images), self._references)
        measured = pl.DataFrame(
            [signal.measure(piece).alias(name) for name, signal in self._signals.items() if signal.measure is not None]
        )
        failed, _ = masks(self._rules, self._signals)
        return [self._reason(mask) for mask in measured.select(failed.alias("failed"))["failed"]]

    def _reason(self, mask: int) -> str | None:
        names = [rule.name for rule in self._rules if mask & rule.bit]
        return f"--drop-failing: it fails {', '.join(names)}" if names else None


def _frame(urls: Sequence[str], images: Sequence[Inspected]) -> pl.DataFrame:
    """Return what signals are measured of, as rows of pairs have it that are joined with `content`."""
    types = content().polars()
    values: list[dict[str, Any]] = [image.columns for image in images]
    columns = {name: [value.get(name) for value in values] for name in types if name not in ("url", "tar", "offset")}
    frame = pl.DataFrame(columns, {name: types[name] for name in columns})
    return frame.with_columns(
        pl.Series("url", urls, pl.String), *(pl.lit(None, pl.Int32).alias(name) for name in _DECLARED)
    )


@lru_cache(maxsize=1)
def failing(store: Store, rules: str) -> FailingImages:
    """Return what tells, with lists that are read once a process."""
    return FailingImages(store, rules)
