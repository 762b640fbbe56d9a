"""Counting by sorted runs, against a Counter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from align_data.engines.exchange import SortedRun, bounds, count, cut, merge, place
from align_data.engines.local_exchange import SpilledRun, expect, sum_range
from align_data.engines.spill import Budget
from align_data.stages.measure.counting import classes_of

extremes = st.sampled_from([-(2**63), -1, 0, 1, 2**63 - 1])
keys = st.lists(st.integers(-5, 5) | extremes | st.integers(-(2**63), 2**63 - 1), max_size=60)
widths = st.integers(0, 63)


def array(found: list[int]) -> np.ndarray:
    return np.array(found, dtype=np.int64)


@given(keys)
def test_count(found: list[int]) -> None:
    distinct, counts = count(array(found))
    assert dict(zip(distinct.tolist(), counts.tolist(), strict=True)) == Counter(found)
    assert distinct.tolist() == sorted(set(found))


@given(keys)
def test_place(found: list[int]) -> None:
    distinct, counts, places = place(array(found))
    assert distinct[places].tolist() == found
    assert counts[places].tolist() == [Counter(found)[k] for k in found]


@example(52, 0, 4_000, 1)
@given(widths, widths, st.integers(2, 4_000), st.integers(0, 2**32))
def test_place_of_keys_that_few_bits_tell_apart(width: int, shift: int, number: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    found = random.integers(0, 2**width, number).astype(np.int64) << np.int64(shift)
    found[random.integers(0, number, 3)] = -(2**63), 2**63 - 1, 1
    distinct, counts, places = place(found)
    wanted, wanted_places, wanted_counts = np.unique(found, return_inverse=True, return_counts=True)
    for seen, right in ((distinct, wanted), (counts, wanted_counts), (places, wanted_places)):
        np.testing.assert_array_equal(seen, right)


@given(st.lists(keys, max_size=5), st.integers(1, 50))
def test_merge_sums_in_ascending_slices_and_places_every_key(runs: list[list[int]], size: int) -> None:
    counted = [count(array(run)) for run in runs]
    slices = list(merge(counted, size))
    total = Counter(key for run in runs for key in run)
    merged = [key for s in slices for key in s.keys.tolist()]
    assert merged == sorted(total)
    assert [n for s in slices for n in s.totals.tolist()] == [total[key] for key in merged]
    for number, (run, _) in enumerate(counted):
        placed = [s.keys[s.places[number]] for s in slices]
        assert [key for some in placed for key in some.tolist()] == run.tolist()


@given(keys, st.integers(1, 700))
def test_ranges_cut_all_keys_in_order(found: list[int], ranges: int) -> None:
    distinct, _ = count(array(found))
    cuts = cut(distinct, bounds(ranges))
    assert len(cuts) == ranges + 1
    assert [k for i, j in pairwise(cuts) for k in distinct[i:j].tolist()] == distinct.tolist()
    for number, (i, j) in enumerate(pairwise(cuts)):
        for key in distinct[i:j].tolist():
            assert min(ranges - 1, (key + 2**63) // (2**64 // ranges)) == number


@given(st.lists(st.integers(1, 3) | st.integers(4_090, 4_100) | st.integers(1, 2**62), max_size=40))
def test_counts_of_counts(found: list[int]) -> None:
    classes = list(classes_of(array(found)))
    assert len(classes) == len(dict(classes))
    assert dict(classes) == Counter(found)


def _stream(totals: Counter[int], size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield totals in slices of so many keys, ascending."""
    ordered = sorted(totals)
    for start in range(0, len(ordered), size):
        some = ordered[start : start + size]
        yield array(some), array([totals[key] for key in some])


@given(keys, st.lists(keys, max_size=3), st.lists(keys, max_size=3), st.integers(1, 9), st.integers(1, 9))
def test_runs_are_added_to_totals_of_before_and_looked_up_in_them(
    earlier: list[int], counting: list[list[int]], looking: list[list[int]], size: int, slice_keys: int
) -> None:
    before, new = Counter(earlier), Counter(key for run in counting for key in run)
    total = before + new
    with TemporaryDirectory() as folder:
        budget = Budget(200)  # so that some are held and some spilled
        runs = []
        for number, found in enumerate([*counting, *looking]):
            distinct, counts = count(array(found))
            counts = counts if number < len(counting) else np.zeros_like(counts)
            run = SortedRun("k", distinct, counts, ())
            runs.append(SpilledRun(run, Path(folder) / str(number), bounds(1), budget))
        expect(runs, max(before.values(), default=0))
        united = list(sum_range(runs, 0, slice_keys, map, _stream(before, size)))
        merged = [key for slice_of, _ in united for key in slice_of.tolist()]
        assert merged == sorted(total)
        assert [n for _, totals in united for n in totals.tolist()] == [total[key] for key in merged]
        for run, found in zip(runs, [*counting, *looking], strict=True):
            assert run.totals is not None
            assert run.totals.read().tolist() == [total[key] for key in sorted(set(found))]
