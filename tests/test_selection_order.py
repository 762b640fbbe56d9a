"""The first pairs of an order, found piece by piece, are the first that plain Python sorts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from align_data.selection import PairSelection
from align_data.selection.first_pairs import FirstPairs, in_order
from align_data.selection.margin import DISTANCE

VALUES: dict[Any, Any] = {
    pl.Int32: st.integers(-2, 3),
    pl.Float64: st.sampled_from([0.5, -1.0, 2.0, float("inf"), 0.0]),
    pl.String: st.sampled_from(["", "a", "b", "é", "z"]),
    pl.Boolean: st.booleans(),
}


@st.composite
def parts(draw: Any) -> tuple[Any, list[list[list[tuple[int, Any]]]]]:
    """Return a type, and of each piece of each part the places that hold, each with its value."""
    dtype = draw(st.sampled_from(list(VALUES)))
    values = st.one_of(st.none(), VALUES[dtype])
    pieces = st.lists(st.lists(values, max_size=7).map(lambda piece: list(enumerate(piece))[::2]), max_size=5)
    return dtype, draw(st.lists(pieces, min_size=1, max_size=3))


@given(parts(), st.integers(1, 9), st.sampled_from(["value", "-value", "nearest", "none"]))
def test_the_first_pairs_are_those_that_sorting_all_gives(drawn: Any, number: int, order: str) -> None:
    dtype, pool = drawn

    def pieces(part: int) -> Iterator[tuple[int, pl.DataFrame]]:
        for rows in pool[part]:
            schema = {"_row": pl.UInt32, "value": dtype}
            frame = pl.DataFrame(rows, schema, orient="row").with_columns(failed=pl.lit(0), unknown=pl.lit(0))
            yield 7, frame.with_columns(pl.col("value").alias(DISTANCE))

    every = [
        (part, piece, row, value)
        for part, of_part in enumerate(pool)
        for piece, rows in enumerate(of_part)
        for row, value in rows
    ]
    selection = {"nearest": PairSelection(nearest="r"), "none": PairSelection()}.get(order, PairSelection(sort=order))
    if order != "none":  # Python's sort keeps the order of equals, from the greatest too
        valued = [each for each in every if each[3] is not None]
        valued.sort(key=lambda each: each[3], reverse=order == "-value")
        every = [*valued, *(each for each in every if each[3] is None)]
    found = [FirstPairs(pieces, selection, number, stops=False)(part, lambda _: None) for part in range(len(pool))]
    first = in_order([rows for _, rows in found], selection, number)
    places = first.select("_part", "_piece", "_row").rows() if len(first) else []
    assert places == [each[:3] for each in every[:number]]
    assert sum(total for total, _ in found) == len(every)


@pytest.mark.parametrize("seed", [0, 7])
def test_a_random_order_has_every_place_once_and_no_pattern(seed: int) -> None:
    frame = pl.DataFrame({"_row": range(4000)}, {"_row": pl.UInt32}).with_columns(failed=pl.lit(0), unknown=pl.lit(0))
    selection = PairSelection(random=seed)
    _, first = FirstPairs(lambda _: iter([(4000, frame)] * 3), selection, 12_000, stops=False)(2, lambda _: None)
    places = (first["_piece"] * 4000 + first["_row"]).to_list()
    assert sorted(places) == list(range(12_000))
    firsts = places[:600]  # as many of each piece, and in no order
    assert all(130 < sum(place // 4000 == piece for place in firsts) < 270 for piece in range(3))
    assert 250 < sum(a < b for a, b in itertools.pairwise(firsts)) < 350
