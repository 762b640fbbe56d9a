"""The values at places of an order, against a sorted list; and sums of a pool, against fractions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align_data.common.progress import Silent, Tick, ignore
from align_data.data import order_statistics
from align_data.data.order_statistics import (
    BITS,
    MILLIONTHS,
    WHOLE,
    CodeRange,
    Codes,
    Coding,
    Group,
    Search,
    Statistic,
    divided,
    openings,
    search,
    tally,
)
from align_data.data.pool_sums import of_codes, sums
from align_data.engines.local import LocalEngine
from align_data.storage.store import Store


@dataclass(frozen=True)
class Planted:
    """Codes that are given."""

    parts: Sequence[Sequence[Mapping[Group, Codes]]]
    scans: list[int]

    def codes(self, part: int, tick: Tick) -> Iterator[Mapping[Group, Codes]]:
        self.scans[0] += part == 0
        for piece in self.parts[part]:
            yield piece
            tick(1)


def planted(groups: Mapping[Group, Codes], parts: int) -> Planted:
    cut = {group: np.array_split(codes, 2 * parts) for group, codes in groups.items()}
    return Planted([[{g: c[2 * part + n] for g, c in cut.items()} for n in (0, 1)] for part in range(parts)], [0])


def expected(codes: Codes, places: Sequence[int]) -> list[Statistic]:
    ordered = sorted(codes.tolist())
    return [Statistic(ordered[p], sum(c < ordered[p] for c in ordered), ordered.count(ordered[p])) for p in places]


@pytest.fixture
def engine(tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    return LocalEngine(Store(tmp_path_factory.mktemp("store")).work, 1)


whole = st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 5) | st.sampled_from([2**63 - 1, -(2**63), 0, 10**6])
floats = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, -0.0, 1.5, 1e-308, -1e308, 1 / 3])
scores = st.integers(-(10**9), 10**9).map(lambda n: n / 10**6)
series = st.one_of(
    st.tuples(st.just(WHOLE), st.lists(whole, max_size=40)),
    st.tuples(st.just(BITS), st.lists(floats, max_size=40)),
    st.tuples(st.just(MILLIONTHS), st.lists(scores, max_size=40)),
)


def encoded(code: Coding, values: Sequence[float]) -> Codes:
    return code.encode(pl.Series(values, dtype=pl.Int64 if code is WHOLE else pl.Float64, strict=False))


@given(series)
def test_codes_have_the_order_of_their_values_and_become_them_again(drawn: tuple[Coding, list[float]]) -> None:
    code, values = drawn
    codes = encoded(code, values).tolist()
    assert [code.decode(each) for each in codes] == values
    for one, value in zip(codes, values, strict=True):
        for other, another in zip(codes, values, strict=True):
            assert (one < other, one == other) == (value < another, value == another)


def places_of(shares: Sequence[float], number: int) -> list[int]:
    return [min(number - 1, math.floor(share * number)) for share in shares]


def looked_up(
    source: Planted, ranges: Sequence[CodeRange], shares: Sequence[float], engine: LocalEngine
) -> dict[Group, list[Statistic]]:
    rows = [1] * len(source.parts)
    opened = openings(source, "t", ranges, rows, engine, Silent())
    searches = {group: Search(places_of(shares, of.number), of) for group, of in opened.items()}
    search(source, "t", searches, rows, engine, Silent(), several=len(shares) > 6)
    assert all(each.ended for each in searches.values())
    return {g: [each.at(place) for place in places_of(shares, each.number)] for g, each in searches.items()}


spans = st.sampled_from([(-(2**63), 2**63 - 1), (0, 2**12 - 1), (-(10**6), 10**6), (-3, 3), (2**62, 2**63 - 1)])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(series, min_size=1, max_size=3),
    st.lists(st.floats(0, 1), min_size=1, max_size=12),
    st.integers(1, 3),
    spans,
    st.sampled_from([4, 2**14]),
)
def test_what_is_at_places_is_what_a_sorted_list_has_there(
    engine: LocalEngine,
    drawn: list[tuple[Coding, list[float]]],
    shares: list[float],
    parts: int,
    span: tuple[int, int],
    limit: int,
) -> None:
    groups: dict[Group, Codes] = {(n, str(n)): encoded(code, values) for n, (code, values) in enumerate(drawn)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order_statistics, "_STEPS", (limit, limit, limit))  # of few no value is counted by itself
        ranges = [divided(*span, 64)] * len(groups)
        at = looked_up(planted(groups, parts), ranges, shares, engine)
    expected_at = {g: expected(codes, places_of(shares, len(codes))) for g, codes in groups.items() if len(codes)}
    assert at == expected_at


def test_cosines_take_two_scans_and_999_places_of_them_too(engine: LocalEngine) -> None:
    values = np.random.default_rng(1).normal(0.2, 0.1, 20_000).clip(-1, 1)
    codes = MILLIONTHS.encode(pl.Series(values))
    ordered = np.sort(codes)
    for number in (1, 999):
        shares = [i / (number + 1) for i in range(1, number + 1)]
        source = planted({(0, None): codes}, 3)
        at = looked_up(source, [divided(-(10**6), 10**6, 2**14)], shares, engine)
        assert source.scans == [2]
        assert [each.code for each in at[0, None]] == [ordered[p] for p in places_of(shares, len(codes))]


def test_floats_take_two_scans_whatever_their_bits_where_few_are_near_each_other(engine: LocalEngine) -> None:
    values = np.random.default_rng(1).lognormal(0, 3, 20_000)
    source = planted({(0, None): BITS.encode(pl.Series(values))}, 3)
    at = looked_up(source, [divided(BITS.code(2.0**-12), BITS.code(2.0**12), 2**14)], [0.3, 0.9], engine)
    assert source.scans == [2]
    assert [BITS.decode(each.code) for each in at[0, None]] == np.sort(values)[[6000, 18000]].tolist()


def test_nothing_has_no_place(engine: LocalEngine) -> None:
    assert looked_up(planted({(0, None): np.zeros(0, np.int64)}, 2), [CodeRange(-5, 5, 1)], [0.5], engine) == {}


@pytest.mark.parametrize("several", [1, 16])
def test_a_scan_of_all_codes_that_there_are_does_not_overflow(several: int) -> None:
    low, high, width = -(2**63), 2**63 - 1, 2**64 // several
    step = width // 16
    ranges = [CodeRange(low + n * width, low + (n + 1) * width - 1, step) for n in range(several)]
    codes = np.array([low, -1, 0, 1, high - 2**20], np.int64)
    group: Group = (0, None)
    counted = tally(planted({group: codes}, 1), {group: ranges}, 2, 0, ignore)[group].by_steps(ranges).tolist()
    assert sum(counted) == 5
    assert [n for n, count in enumerate(counted) if count] == sorted({(int(c) - low) // step for c in codes})


@given(st.lists(st.lists(whole, max_size=30), max_size=4))
def test_sums_are_exact_whatever_the_parts(engine: LocalEngine, parts: list[list[int]]) -> None:
    source = Planted([[{(0, None): np.array(part, np.int64)}] for part in parts], [0])
    values = [value for part in parts for value in part]
    summed = sums(source, "t", [1] * len(parts), engine, Silent())
    if not values:
        assert summed == {}
        return
    of = summed[0, None]
    assert (of.number, of.low, of.high) == (len(values), min(values), max(values))
    assert (of.total, of.squares) == (sum(values), sum(value**2 for value in values))
    assert of.mean(1000) == float(Fraction(sum(values), 1000 * len(values)))
    assert of.deviation(1) == pytest.approx(statistics.pstdev(values), rel=1e-12)


def test_sums_of_as_many_and_as_great_codes_as_a_piece_can_have() -> None:
    for code in (2**63 - 1, -(2**63), -1, 2**20, 2**21, -(2**42)):
        of = of_codes(np.full(2**17, code))
        assert (of.total, of.squares, of.deviation(1)) == (code << 17, code**2 << 17, 0.0)
