"""The local engine's exchange: runs held between asking, counting and answering."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from align_data.common.hashing import Keys
from align_data.engines.base import Answers, Block, Each
from align_data.engines.exchange import CACHED, STRETCH, Counts, SortedRun, cut, merge
from align_data.engines.spill import Budget, SpilledArray


class SpilledRun:
    """A run with its keys cut by range; `totals` are its answers, once there is room for them."""

    def __init__(self, run: SortedRun, path: Path, bounds: Keys, budget: Budget) -> None:
        self.kind = run.kind
        self.cuts = cut(run.keys, bounds)
        self.occurrences = int(run.counts.sum())
        self.keys = SpilledArray(run.keys, path.with_suffix(".keys"), budget)
        # The smallest type that holds them: what is held is what an exchange costs.
        counts = run.counts.astype(np.min_scalar_type(int(run.counts.max(initial=0))))
        self.counts = SpilledArray(counts, path.with_suffix(".counts"), budget)
        memo = enumerate(run.memo or ())
        self.memo = [SpilledArray(array, path.with_suffix(f".memo{i}"), budget) for i, array in memo]
        self.asks = run.memo is not None
        self.totals: SpilledArray | None = None
        self._path, self._budget = path, budget

    def expect(self, dtype: np.dtype[Any]) -> None:
        """Make room for the totals."""
        if self.asks:
            self.totals = SpilledArray(np.zeros(len(self.keys), dtype), self._path.with_suffix(".totals"), self._budget)

    def slice(self, number: int) -> tuple[Keys, Counts]:
        """Return the keys and counts of one range."""
        start, stop = self.cuts[number : number + 2]
        return self.keys.read(start, stop), self.counts.read(start, stop)


def hold(block: Block, folder: Path, name: str, bounds: dict[str, Keys], budget: Budget) -> list[SpilledRun]:
    """Hold the runs of a block, cut at the bounds of their kind's ranges."""
    return [SpilledRun(run, folder / f"{name}-{i}", bounds[run.kind], budget) for i, run in enumerate(block)]


def expect(runs: Sequence[SpilledRun], before: int = 0) -> None:
    """Make room for the totals of all runs of one kind, in the smallest type that holds any.

    `before` is the greatest total that they are added to.
    """
    dtype = np.min_scalar_type(sum(run.occurrences for run in runs) + before)
    for run in runs:
        run.expect(dtype)


def sum_range(
    runs: Sequence[SpilledRun],
    number: int,
    slice_keys: int,
    each: Each,
    before: Iterator[tuple[Keys, Counts]] | None = None,
) -> Iterator[tuple[Keys, Counts]]:
    """Yield one range's keys with their totals in ascending slices, each merged of at most `slice_keys` keys or so.

    When all are taken, the totals of every run that asks have been written beside it. With totals of `before` these are
    in the slices too, and runs are looked up in them: that costs a fraction of merging them all.
    """
    if before is not None:
        yield from _added(runs, number, slice_keys, each, before)
        return
    runs = sorted(runs, key=lambda run: run.totals is None)
    asking = [run.totals for run in runs if run.totals is not None]
    answers: list[list[NDArray[Any]]] = [[] for _ in asking]
    size = min(slice_keys, max(CACHED, STRETCH * len(runs)))
    for merged in merge([run.slice(number) for run in runs], size, each):
        if asking:
            ends = merged.ends[: len(asking)]
            totals = merged.totals.astype(asking[0].dtype)[merged.at[: ends[-1]]]
            for slices, (start, stop) in zip(answers, pairwise([0, *ends]), strict=True):
                slices.append(totals[start:stop])
        yield merged.keys, merged.totals
    for run, totals_of_run, slices in zip(runs, asking, answers, strict=False):
        if slices:
            totals_of_run.write(run.cuts[number], np.concatenate(slices))


def _added(
    runs: Sequence[SpilledRun], number: int, slice_keys: int, each: Each, before: Iterator[tuple[Keys, Counts]]
) -> Iterator[tuple[Keys, Counts]]:
    """Yield one range's totals of before with those of the runs added to them, and write what the runs ask."""
    slices = [run.slice(number) for run in runs]
    counting = [(keys[counts > 0], counts[counts > 0]) for keys, counts in slices]
    size = min(slice_keys, max(CACHED, STRETCH * len(runs)))
    new = ((merged.keys, merged.totals) for merged in merge([run for run in counting if len(run[0])], size, each))
    asking = [
        (run.totals, run.cuts[number], keys)
        for run, (keys, _) in zip(runs, slices, strict=True)
        if run.totals is not None
    ]
    looked_up = [0] * len(asking)
    for keys, totals in united(before, new):
        for i, (answer, start, wanted) in enumerate(asking):
            stop = int(np.searchsorted(wanted, keys[-1], side="right"))
            stretch = wanted[looked_up[i] : stop]
            if len(stretch):
                at = np.minimum(np.searchsorted(keys, stretch), len(keys) - 1)
                # A key that nobody counts has no total: the empty text, where only tombstones have it.
                values = np.where(keys[at] == stretch, totals[at], 0)
                answer.write(start + looked_up[i], values.astype(answer.dtype))
            looked_up[i] = stop
        yield keys, totals


def united(before: Iterator[tuple[Keys, Counts]], new: Iterator[tuple[Keys, Counts]]) -> Iterator[tuple[Keys, Counts]]:
    """Yield two streams of distinct ascending keys as one: of those in both the counts added."""
    left, right = next(before, None), next(new, None)
    while left is not None and right is not None:
        end = min(left[0][-1], right[0][-1])
        cuts = [int(np.searchsorted(keys, end, side="right")) for keys, _ in (left, right)]
        (keys, totals), (more, counts) = ((k[:at], c[:at]) for (k, c), at in zip((left, right), cuts, strict=True))
        at = np.searchsorted(keys, more)
        within = np.minimum(at, max(0, len(keys) - 1))
        again = keys[within] == more if len(keys) else np.zeros(len(more), bool)
        totals = totals.copy()
        totals[within[again]] += counts[again]
        if not again.all():
            keys, totals = np.insert(keys, at[~again], more[~again]), np.insert(totals, at[~again], counts[~again])
        yield keys, totals
        left = (left[0][cuts[0] :], left[1][cuts[0] :]) if cuts[0] < len(left[0]) else next(before, None)
        right = (right[0][cuts[1] :], right[1][cuts[1] :]) if cuts[1] < len(right[0]) else next(new, None)
    for head, behind in ((left, before), (right, new)):
        if head is not None:
            yield head
            yield from behind


def answers(blocks: Sequence[Sequence[SpilledRun]]) -> Iterator[Answers]:
    """Yield block by block the memos and totals of the runs that asked, and free them."""
    for block in blocks:
        runs = [(run, run.totals) for run in block if run.totals is not None]
        yield tuple((tuple(memo.read() for memo in run.memo), totals.read()) for run, totals in runs)
        for run, totals in runs:
            for array in (totals, *run.memo):
                array.drop()
