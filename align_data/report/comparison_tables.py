"""A comparison of two datasets as what its page puts into tables."""

from __future__ import annotations

from typing import Any

from align_data.data.ledger import OUTCOMES
from align_data.report.shares import share
from align_data.stages.compare.comparison import DatasetComparison, StillAlive, ValueCounts

_WORDS = {"both": "in both", "only_a": "only in A", "only_b": "only in B"}


def comparison_values(of: DatasetComparison) -> dict[str, Any]:
    """Return what the template of a comparison takes."""
    every, urls = sum(of.pairs.values()), sum(of.urls[name] for name in _WORDS)
    asked = sum(of.images.values()) if of.images is not None else 0
    columns = {"in both": "both", "only in A": "only_a", "only in B": "only_b"}
    if of.images is not None:
        columns |= {"same image": "same", "another": "other", "gone": "gone"}
    if of.verdicts is not None:
        columns["verdict changed"] = "changed"
    return {
        "of": of,
        "title": f"{of.a.name} against {of.b.name}",
        "every": every,
        "sides": [f"A: {of.a.sentence}", f"B: {of.b.sentence}"],
        "common": [
            (words, of.pairs[name], share(of.pairs[name], every), of.urls[name], share(of.urls[name], urls))
            for name, words in _WORDS.items()
        ],
        "images": [(name, number, share(number, asked)) for name, number in (of.images or {}).items()],
        "by_host": [_still(row) for row in of.rot.by_host] if of.rot is not None else [],
        "by_batch": [(*_still(row), (row.added or "")[:10]) for row in of.rot.by_batch] if of.rot is not None else [],
        "outcomes": list(OUTCOMES),
        "verdicts": [(name, *row) for name, row in zip(OUTCOMES, of.verdicts or [], strict=False)],
        "heads": list(columns),
        "rows": {name: [_row(value, columns) for value in values.values] for name, values in of.by.items()},
    }


def _row(value: ValueCounts, columns: dict[str, str]) -> tuple[Any, ...]:
    return (value.value, *(getattr(value, column) for column in columns.values()))


def _still(row: StillAlive) -> tuple[str | None, int, int, str]:
    return row.of, row.urls, row.still, share(row.still, row.urls)
