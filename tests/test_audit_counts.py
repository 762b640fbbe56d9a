"""What an audit counts fast, against the plain way to count it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from conftest import build, write_list

from align_data.common.errors import DatasetError
from align_data.recipes.operators import Bound
from align_data.stages.audit import dimensions
from align_data.stages.audit.bins import Scale
from align_data.stages.audit.dimensions import DIMENSIONS, Dimension, DimensionCounts, DimensionTally, merged
from align_data.stages.audit.extremes import TOP, _starts
from align_data.stages.audit.mask_codes import Populations
from align_data.stages.audit.sampling import RandomDraw, first_least
from align_data.stages.audit.values import Values, values_of

SEEDS = range(6)
WHOLE = [0, 1, -1, 999, 1000, 1001, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 10**18]
FLOATS = [0.0, -0.0, 1.0, -1.0, 5e-324, 2.0**-20, 2.0**53, 1e300, -1e300, math.inf, -math.inf, math.nan]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("fine", [True, False])
@pytest.mark.parametrize("op", ["ge", "gt"])
def test_a_value_is_in_the_bin_between_its_cuts(seed: int, whole: bool, fine: bool, op: str) -> None:
    chance = np.random.default_rng(seed)
    spread = 10.0 ** chance.uniform(-8, 17, 3000) * chance.choice([1, 1, 1, -1], 3000)
    drawn = spread.astype(np.int64) if whole else spread
    scale = Scale(whole, [Bound(op, v) for v in drawn[:3].tolist()], fine=fine)
    near = scale.cuts[chance.integers(0, len(scale.cuts), 2000)]
    sides = [near, near - 1, near + 1] if whole else [near, np.nextafter(near, -np.inf), np.nextafter(near, np.inf)]
    values = np.concatenate([drawn, *sides, np.array(WHOLE if whole else FLOATS)])
    assert np.array_equal(scale.place(pl.Series(values)), np.searchsorted(scale.cuts, values, side="right"))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("bits", [1, 5, 16, 17, 62])
def test_a_code_stands_for_both_masks(seed: int, bits: int) -> None:
    chance = np.random.default_rng(seed)
    masks = {(int(f), int(u)) for f, u in chance.integers(0, 2**bits, (12, 2)) & chance.integers(0, 2**bits, (12, 2))}
    if seed % 2:  # some were taken down
        masks |= {(failed - 2**63, unknown) for failed, unknown in list(masks)[:5]}
    populations = Populations(masks)
    known = sorted(masks)
    at = chance.integers(0, len(known), 500)
    verdicts = pl.DataFrame([known[i] for i in at], schema=["failed", "unknown"], orient="row")
    codes = populations.codes(verdicts)
    assert [(populations.failed[c], populations.unknown[c]) for c in codes] == verdicts.rows()
    for stranger in ((2**62, 0), (known[0][0], 2**62), (-1, 0), (known[0][0] ^ 1, known[0][1])):
        if stranger not in masks:
            with pytest.raises(DatasetError, match="filter again"):
                populations.codes(pl.DataFrame([stranger], schema=["failed", "unknown"], orient="row"))


def test_of_no_masks_there_are_no_codes() -> None:
    empty = pl.DataFrame(schema={"failed": pl.Int64, "unknown": pl.Int64})
    assert len(Populations([]).codes(empty)) == 0
    with pytest.raises(DatasetError, match="filter again"):
        Populations([]).codes(pl.DataFrame({"failed": [0], "unknown": [0]}))


def encoded(texts: Sequence[str | None], pieces: int) -> list[Values]:
    """Return texts as a table's reader gives them, in several chunks with dictionaries of their own."""
    cuts = np.linspace(0, len(texts), pieces + 1).astype(int)
    series = (pl.Series(texts[a:b], dtype=pl.String) for a, b in pairwise(cuts))
    return [values_of(pl.DataFrame({"t": one}).to_arrow()["t"].dictionary_encode()) for one in series]


def as_counter(counts: DimensionCounts) -> Counter[tuple[str | int | None, int]]:
    values = [*counts.values.to_list(), None]
    assert len(set(values)) == len(values)
    found = {(values[place], code): pairs for place, code, pairs in counts.rows.iter_rows()}
    assert len(found) == len(counts.rows)
    by_value = Counter[str | int | None]()
    for (value, _), pairs in found.items():
        by_value[value] += pairs
    assert dict(counts.sizes.select("value", "pairs").iter_rows()) == by_value
    return Counter(found)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sparse", [False, True])
def test_texts_are_counted_by_code_over_all_parts(seed: int, sparse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if sparse:
        monkeypatch.setattr(dimensions, "_LEAST", 0)
        monkeypatch.setattr(dimensions, "_DENSE", 0)
    chance, codes = np.random.default_rng(seed), 7
    names = [None, "", "é", *(f"host{n}" for n in range(30))]
    parts, plain = [], Counter[tuple[str | int | None, int]]()
    for number in (400, 0, 90):
        tally = DimensionTally(Dimension("language", "language"), codes, 10)
        for values in encoded([names[n] for n in chance.geometric(0.1, number) % len(names)], 3) if number else ():
            rows = chance.integers(0, codes, len(values))
            tally.add(values, rows)
            plain.update(zip(values.to_pylist(), rows.tolist(), strict=True))
        parts.append(tally.result())
    assert as_counter(merged(parts, codes)) == plain
    assert merged(parts, codes).tail is None


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dimension", [d for d in DIMENSIONS if d.edges], ids=lambda d: d.signal)
def test_numbers_are_counted_by_class(seed: int, dimension: Dimension) -> None:
    chance, codes = np.random.default_rng(seed), 5
    parts, plain = [], Counter[tuple[str | int | None, int]]()
    for _ in range(3):
        tally = DimensionTally(dimension, codes, 10)
        for _ in range(2):
            drawn = [*chance.geometric(0.01, 200).tolist(), 0, -1, 2**31 - 1, *dimension.edges, None, None]
            values = pl.Series(drawn if seed % 2 else drawn[:-2], dtype=pl.Int32)
            rows = chance.integers(0, codes, len(values))
            tally.add(values, rows)
            of = [None if v is None else sum(v >= edge for edge in dimension.edges) for v in values.to_list()]
            plain.update(zip(of, rows.tolist(), strict=True))
        parts.append(tally.result())
    assert as_counter(merged(parts, codes)) == plain


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_not_named_is_added_up_and_bounded(seed: int) -> None:
    chance, codes, limit = np.random.default_rng(seed), 3, 24
    host = next(dimension for dimension in DIMENSIONS if dimension.endless)
    parts, plain = [], []
    for _ in range(3):
        tally = DimensionTally(host, codes, limit)
        counter = Counter[tuple[str | int | None, int]]()
        for values in encoded([f"host{n}" for n in chance.zipf(1.3, 800) % 100], 2):
            rows = chance.integers(0, codes, len(values))
            tally.add(values, rows)
            counter.update(zip(values.to_pylist(), rows.tolist(), strict=True))
        part = tally.result()
        sizes = Counter[str | int | None]()
        for (value, _), pairs in counter.items():
            sizes[value] += pairs
        ranked = sorted(sizes, key=lambda value: (-sizes[value], str(value)))
        assert set(part.values.to_list()) == set(ranked[: limit // 4])
        assert part.error == sizes[ranked[limit // 4]]
        parts.append(part)
        plain.append(counter)
    together = merged(parts, codes)
    assert together.tail is not None
    named = set(as_counter(together))
    everything = sum(plain, Counter[tuple[str | int | None, int]]())
    for code in range(codes):
        of_code = sum(pairs for (_, c), pairs in everything.items() if c == code)
        tail = together.tail.filter(pl.col("code") == code)["pairs"].sum()
        assert sum(as_counter(together)[key] for key in named if key[1] == code) + tail == of_code
    for key in named:
        assert as_counter(together)[key] <= everything[key]
    assert together.error == sum(part.error for part in parts)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_first_of_the_least(seed: int) -> None:
    chance = np.random.default_rng(seed)
    for size in (0, 1, 7, 8, 9, 300):
        values = chance.integers(0, 5, size).astype(float)
        plain = sorted(range(size), key=lambda at: (values[at], at))[:8]
        assert first_least(values, 8).tolist() == plain


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("largest", [1, 3, 40, 3000])
def test_the_images_with_most_texts(seed: int, largest: int) -> None:
    chance = np.random.default_rng(seed)
    sizes = np.minimum(chance.zipf(1.5, 400), largest)
    counts = np.repeat(sizes, sizes)
    starts = np.cumsum(sizes) - sizes
    plain = sorted(((-size, start) for size, start in zip(sizes, starts, strict=True) if size >= 2))[:TOP]
    assert _starts(counts.astype(np.int64)) == [start for _, start in plain]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("number", [0, 5])
def test_a_draw_of_few_pieces_is_that_of_all(seed: int, number: int) -> None:
    chance = np.random.default_rng(seed)
    marked = {"often": np.array([True, False, True]), "seldom": np.array([False, True, False])}
    drawing, plain = RandomDraw(seed, 4, number), {name: [] for name in marked}
    for piece in range(30):
        codes = chance.choice(3, 40, p=[0.45, 0.02, 0.53])
        drawing.add(piece, marked, codes)
        for name, which in marked.items():
            rows = np.flatnonzero(which[codes])
            if len(rows):
                drawn = np.random.default_rng([seed, 4, piece])
                order = drawn.random()
                chosen = drawn.choice(rows, min(number, len(rows)), replace=False)
                plain[name] += [(order, (4, piece, int(row))) for row in chosen]
    assert {name: [tuple(spot) for spot in spots] for (name, *_), spots in drawing.spots.items()} == {
        name: sorted(drawn)[:number] for name, drawn in plain.items()
    }


def test_encoded_texts_are_the_texts(tmp_path: Path) -> None:
    rows = [
        {"url": f"http://h{n % 7}.example/{n}", "alt_text": f"ein Bild {n % 3}", "license": [None, "cc", ""][n % 3]}
        for n in range(300)
    ]
    table = build(tmp_path / "dataset", write_list(tmp_path / "lists", rows)).dataset.pairs
    names = ["copies", "alt_text", "license"]
    pieces = list(table.arrow_pieces(0, names, encoded=True))
    assert [pa.types.is_dictionary(kind) for kind in pieces[0].schema.types] == [False, True, True]
    assert len(pieces[0]["alt_text"].chunk(0).dictionary) == 3
    rows_read = [row for piece in pieces for row in piece.to_pylist()]
    assert rows_read == pl.concat(table.pieces(0, names)).to_dicts()
