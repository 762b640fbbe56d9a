"""What the parent takes from a child that fetches: what a stranger may have written is checked, value by value."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from align_data.common.workers import Child
from align_data.common.workers.values import WrongValueError, of, plain
from align_data.decoding.inspected import is_plausible
from align_data.fetching.outcome import NOT_KEPT, is_status
from align_data.fetching.worker import REASON, ChunkTask, Row

_MAX_COUNT = 2**40


def replies(
    child: Child, tasks: Sequence[ChunkTask], types: Mapping[str, str] | None = None
) -> Iterator[Counter[str] | tuple[int, list[Row]]]:
    """Yield counts of statuses, and the number and rows of each chunk as soon as it is whole.

    `types` are those of further checks, where bodies are looked at; None where they are not.

    Raises ChildDiedError for what cannot be an answer, and where rows are missing at the end.
    """
    todo = {task.number: task for task in tasks}
    rows: dict[int, list[Row]] = {task.number: [] for task in tasks}
    try:
        for reply in child.ask(plain(tasks)):
            if isinstance(reply, dict):
                yield _counts(reply)
                continue
            number, chunk_rows = of(tuple[int, tuple[Row, ...]], reply)
            task = todo[number]
            rows[number] += chunk_rows
            if len(rows[number]) > len(task.urls) or not all(_possible(row, task.tar, types) for row in chunk_rows):
                raise WrongValueError("not the rows of its chunk")
            if len(rows[number]) == len(task.urls):
                del todo[number]
                yield number, rows.pop(number)
        if todo:
            raise WrongValueError("chunks without their rows")
    except (ValueError, KeyError):
        raise child.misbehaved() from None


def _counts(reply: Any) -> Counter[str]:
    counts = of(dict[str, int], reply)
    if not all(is_status(status) and abs(count) < _MAX_COUNT for status, count in counts.items()):
        raise WrongValueError("not counts of statuses")
    return Counter(counts)


def _possible(row: Row, tar: str, types: Mapping[str, str] | None) -> bool:
    """Tell whether a row can be that of a URL whose bytes go into tars of this name."""
    if not is_status(row.status) or not _printable(row.reason) or not _can_be_seen(row, types):
        return False
    if row.tar is None or row.offset is None or row.size is None:
        return row.status != "ok" and (row.tar, row.offset, row.size) == (None, None, None)
    ours = re.fullmatch(re.escape(tar) + r"(-[0-9]+)?\.tar", row.tar)
    return row.status == "ok" and ours is not None and min(row.offset, row.size) >= 0


def _can_be_seen(row: Row, types: Mapping[str, str] | None) -> bool:
    """Tell whether what was seen of an image can be so: of every one whose bytes came, where bodies are looked at."""
    if row.image is None:
        return row.status != NOT_KEPT
    inspected, stored = row.image
    if types is None or row.status not in ("ok", NOT_KEPT):
        return False
    size = row.size if row.status == "ok" and stored is None else inspected.bytes
    beside = stored is None or (row.status == "ok" and stored.plausible)
    return beside and size is not None and size >= 0 and is_plausible(inspected, size, types)


def _printable(reason: str | None) -> bool:
    return reason is None or (len(reason) <= REASON and reason.isprintable())
