"""The ranks of first_of, against sorting the pairs of each group in plain Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pytest
from conftest import Crashes, build, write_list
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from align_data.common.progress import Silent, Tick
from align_data.data.grouping import MEMBER, UID, Grouping
from align_data.data.layout import Dataset
from align_data.data.ranks import WORKING, Ranking
from align_data.engines import local_shuffle
from align_data.engines.base import Engine
from align_data.engines.local import LocalEngine
from align_data.stages.ingest import Parts

PAIRS = 60
Row = dict[str, Any]
Order = tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class Given:
    """Rows that are given, part by part."""

    parts: Sequence[pl.DataFrame]
    group: tuple[str, ...]

    def pieces(self, part: int, tick: Tick) -> Iterator[pl.DataFrame]:
        for piece in self.parts[part].iter_slices(9):
            yield piece
            tick(len(piece))

    def grouped(self, part: int) -> Iterator[pl.Series]:
        for piece in self.parts[part].iter_slices(9):
            yield piece.select(pl.all_horizontal(pl.col(name).is_not_null() for name in self.group)).to_series()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("ranks")
    rows = [{"url": f"http://a/{n}", "alt_text": str(n)} for n in range(PAIRS)]
    return build(folder / "dataset", write_list(folder / "lists", rows), parts=Parts(rows=17)).dataset


def before(one: Row, other: Row, order: Order) -> bool:
    """Whether one pair comes before another, by the rule's order and then by uid; missing values are last."""
    for name, downwards in (*order, (UID, False)):
        a, b = one[name], other[name]
        if a == b:
            continue
        if a is None or b is None:
            return b is None
        return bool(a > b if downwards else a < b)
    return False


def oracle(rows: Sequence[Row], group: Sequence[str], order: Order) -> list[int | None]:
    ranks: list[int | None] = []
    for row in rows:
        key = [row[name] for name in group]
        same = [other for other in rows if [other[name] for name in group] == key and other[MEMBER]]
        ranks.append(None if None in key else 1 + sum(before(other, row, order) for other in same))
    return ranks


def ranked(dataset: Dataset, rows: Sequence[Row], group: tuple[str, ...], order: Order, engine: Engine) -> list[Any]:
    frame = pl.DataFrame(rows, SCHEMA)
    sizes = [part.rows for part in dataset.ingested().parts]
    starts = [sum(sizes[:n]) for n in range(len(sizes))]
    parts = [frame[start : start + size] for start, size in zip(starts, sizes, strict=True)]
    table = dataset.ranks("0" * 16)
    ranking = Ranking(dataset, table, Given(parts, group), Grouping(group, order), tuple(sizes))
    members = Counter(tuple(row[name] for name in group) for row in rows if row[MEMBER])
    groups = Counter(size for key, size in members.items() if None not in key)
    assert ranking.run(engine, Silent()).meta.sizes == [[size, groups[size]] for size in sorted(groups)]
    assert not dataset.store.names(WORKING)
    return [rank for part in range(len(sizes)) for piece in table.pieces(part, ["rank"]) for rank in piece["rank"]]


SCHEMA = {"text": pl.String, "hash": pl.Int64, "size": pl.Int32, "near": pl.Float64, "flag": pl.Boolean} | {
    UID: pl.String,
    MEMBER: pl.Boolean,
}
drawn = st.fixed_dictionaries(
    {
        "text": st.sampled_from(["", "a", "b", "the same beginning 1", "the same beginning 2", None]),
        "hash": st.sampled_from([0, -1, 2**63 - 1, -(2**63), None]),
        "size": st.integers(-2, 2) | st.none(),
        "near": st.sampled_from([0.0, -0.0, 1.5, -1.5, 1e300, None]),
        "flag": st.booleans() | st.none(),
        MEMBER: st.booleans(),
    }
)
groups = st.lists(st.sampled_from(["text", "hash", "flag", "near"]), min_size=1, max_size=2, unique=True).map(tuple)
orders = st.lists(
    st.tuples(st.sampled_from(["size", "near", "hash", "text", UID]), st.booleans()),
    max_size=3,
    unique_by=lambda o: o[0],
).map(tuple)


@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.lists(drawn, min_size=PAIRS, max_size=PAIRS), groups, orders, st.booleans())
def test_a_rank_is_one_more_than_the_pairs_before_it(
    dataset: Dataset, rows: list[Row], group: tuple[str, ...], order: Order, small: bool
) -> None:
    given_rows = [{**row, UID: f"{n:032x}"} for n, row in enumerate(rows)]
    engine = LocalEngine(dataset.store.work, 2)
    with pytest.MonkeyPatch.context() as patch:
        if small:  # groups are divided over many frames
            patch.setattr(local_shuffle, "WINDOW", 64)
        assert ranked(dataset, given_rows, group, order, engine) == oracle(given_rows, group, order)


def rows_of(number: int) -> list[Row]:
    return [
        {"text": "x" if n % 4 else f"y{n % 5}", "hash": n, "size": n % 3 or None, "near": None, "flag": None, UID: f"{n:032x}", MEMBER: n % 7 > 0}
        for n in range(number)
    ]  # fmt: skip


def test_a_ranking_that_ends_at_any_file_begins_again(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, engine = rows_of(PAIRS), LocalEngine(dataset.store.work, 1)
    expected = oracle(rows, ("text",), (("size", True),))
    for before_it in (True, False):
        crashes = Crashes(monkeypatch, before_it)

        def run(_: int) -> list[Any]:
            return ranked(dataset, rows, ("text",), (("size", True),), engine)

        for _ in crashes.everywhere(run, least=5):
            assert run(0) == expected
