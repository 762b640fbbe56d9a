"""Near-duplicates by embedding: equal to brute force where cells cover all, never a false pair, and what is missed told."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from conftest import tree
from embedded_pools import Picture, brute_force, cosine, embed, pool, stored
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import answer, call

from align_data.common.errors import AlignDataError, DatasetError, InputError, SignalError
from align_data.common.progress import Silent
from align_data.data.columns import available, fresh
from align_data.data.embeddings import column_of
from align_data.data.layout import Dataset
from align_data.engines.local import LocalEngine
from align_data.neighbours.embedding import cell, cosines, joining
from align_data.neighbours.embedding.codebook import MOST_CELLS, Codebook, cells_for, train
from align_data.neighbours.embedding.cosines import MILLION, Vectors, pairs_within
from align_data.signals.near import NONE
from align_data.stages.neighbours import Comparing, NeighboursReport, neighbours
from align_data.stages.takedown import read as read_lists
from align_data.stages.takedown import takedown
from align_data.storage.store import Store

ALL_CELLS = 1000.0
"""A margin at which everybody is a guest everywhere."""


def run(dataset: Dataset, *, memory: int = 2**28, workers: int = 2, **how: Any) -> NeighboursReport:
    engine = LocalEngine(dataset.store.work, workers, memory)
    return neighbours(dataset, "eye", engine, Silent(), Comparing(**{"threshold": 0.98, "floor": 0.9, **how}))


def copies_of(seed: int, number: int, dim: int = 8, contents: int = 10**9) -> list[Picture]:
    """Return pictures of a few scenes, more or less alike, some with equal bytes, some with equal embeddings."""
    chance = random.Random(seed)
    scenes = [[chance.gauss(0, 1) for _ in range(dim)] for _ in range(max(1, number // 12))]
    pictures: dict[str, Picture] = {}
    drawn = []
    for place in range(number):
        noise = chance.choice([0, 0.01, 0.05, 0.2])
        vector = [x + chance.gauss(0, noise) if noise else x for x in chance.choice(scenes)]
        content = f"bytes {chance.randrange(contents)}" if chance.random() < 0.8 else f"copied {chance.randrange(4)}"
        picture = Picture(f"http://h/{place}", content, vector, 100 * chance.randrange(1, 4))
        first = pictures.setdefault(content, picture)
        drawn.append(replace(first, url=picture.url, texts=("a", "b")[: chance.randrange(1, 3)]))
    return drawn


# --- against brute force ---


@pytest.mark.parametrize("cells", [1, 5])
def test_values_are_those_of_brute_force_where_everybody_is_compared(tmp_path: Path, cells: int) -> None:
    pictures = copies_of(cells, 150)
    dataset = pool(tmp_path / "pool", [*pictures, "http://h/gone"], parts=40)
    report = run(dataset, cells=cells, margin=ALL_CELLS)
    values = stored(dataset)
    assert values.pop("http://h/gone") == (None,) * 4
    assert values == brute_force(dataset, pictures, 0.98, 0.9)
    assert report.meta.cells == cells
    assert report.meta.images == 150
    recall = report.meta.recall
    assert recall is not None
    assert recall.pairs == recall.among > 100
    assert recall.floor_pairs == recall.floor_among > recall.pairs
    assert report.meta.late == sum(earlier >= 0.98 for earlier, *_ in values.values() if earlier is not None)
    # Each late image hangs on the earlier one that its value speaks of.
    edges = pl.read_parquet(f"{dataset.store.url}/neighbours/eye/*.parquet")
    by_uid = dict(zip(edges["uid"], edges["similarity"], strict=True))
    assert sorted(by_uid.values()) == sorted(v for v, *_ in values.values() if v is not None and v > NONE)


SIDES = st.integers(1, 3).map(lambda side: side * 100)
ENTRY = st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0, 1.01])


@given(
    st.lists(st.tuples(st.lists(ENTRY, min_size=3, max_size=3).filter(any), SIDES, st.integers(0, 3)), max_size=14),
    st.integers(1, 3),
    st.sampled_from([3, 100]),
    st.sampled_from([-1.0, 0.0, 0.9, 1.0]),
)
@settings(max_examples=12)
def test_small_pools_are_as_brute_force_has_them(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[tuple[list[float], int, int]],
    cells: int,
    parts: int,
    floor: float,
) -> None:
    contents: dict[int, Picture] = {}
    pictures = []
    for place, (vector, side, content) in enumerate(drawn):
        picture = Picture(f"http://h/{place}", f"{content}", vector, side)
        first = contents.setdefault(content, picture) if content else replace(picture, content=f"own {place}")
        pictures.append(replace(first, url=picture.url))
    dataset = pool(tmp_path_factory.mktemp("pools") / "pool", pictures or ["http://h/x"], parts=parts)
    run(dataset, cells=cells, margin=ALL_CELLS, floor=floor, threshold=max(floor, 0.98))
    values = stored(dataset)
    assert {url: values[url] for url in (p.url for p in pictures)} == brute_force(
        dataset, pictures, max(floor, 0.98), floor
    )


@pytest.mark.parametrize("margin", [0.0, 0.5, 2.0])
def test_no_pair_is_false_and_what_is_missed_is_measured(tmp_path: Path, margin: float) -> None:
    pictures = copies_of(7, 130, dim=6)
    dataset = pool(tmp_path / "pool", pictures, parts=50)
    report = run(dataset, cells=6, margin=margin, sample=10_000)
    truth, values = brute_force(dataset, pictures, 0.98, 0.9), stored(dataset)
    by_uid = {
        uid: next(p for p in pictures if p.url == url)
        for part in range(len(dataset.ingested().parts))
        for piece in dataset.pairs.pieces(part, ["uid", "url"])
        for uid, url in piece.iter_rows()
    }
    for picture in pictures:
        earlier, nearest, uid, near = values[picture.url]
        assert earlier is not None
        assert nearest is not None
        assert near is not None
        assert earlier <= truth[picture.url][0]
        assert nearest <= truth[picture.url][1]
        assert near <= truth[picture.url][3]
        assert nearest == (NONE if uid is None else cosine(picture, by_uid[uid]))
    # With everybody in the sample the recall is that of all pairs whose embeddings differ.
    distinct = list({p.content: p for p in pictures}.values())
    in_parts = {(p.content, part) for p in pictures for part in [_part_of(dataset, p.url)]}
    rows = [next(p for p in distinct if p.content == content) for content, _ in in_parts]
    pairs = sum(cosine(a, b) >= 0.98 and bool((a.half != b.half).any()) for a in distinct for b in rows if a is not b)
    assert report.meta.recall is not None
    assert report.meta.recall.pairs == pairs
    assert report.meta.recall.among <= pairs
    assert (report.meta.recall.among == pairs) or values != truth
    assert report.meta.recall.floor_among >= 0.5 * report.meta.recall.floor_pairs


@pytest.mark.parametrize("margin", [0.2, 0.6, 1.5])
def test_who_is_compared_with_whom(tmp_path: Path, margin: float) -> None:
    generator = np.random.default_rng(9)
    centres = generator.normal(size=(5, 4))
    vectors = [centres[place % 5] + generator.normal(size=4) * 0.7 for place in range(220)]
    pictures = [Picture(f"http://h/{place}", f"{place}", vector.tolist()) for place, vector in enumerate(vectors)]
    dataset = pool(tmp_path / "pool", pictures, parts=60)
    run(dataset, cells=9, margin=margin)
    pieces = pl.concat(list(dataset.codebook("eye").pieces(0, ["centroid"])))
    centroids = np.frombuffer(b"".join(pieces["centroid"]), "<f2").reshape(-1, 4).astype(np.float64)
    assert len(centroids) > 5
    width = margin * (2 - 2 * 0.98) ** 0.5 / 4**0.5
    halves = np.array([p.half for p in pictures]).astype(np.float64)
    distances = ((halves[:, None] - centroids) ** 2).sum(axis=2)
    home = distances.argmin(axis=1)
    apart = np.sqrt(((centroids[home][:, None] - centroids) ** 2).sum(axis=2))
    borders = (distances - distances[np.arange(220), home][:, None]) / (2 * np.maximum(apart, 1e-9))
    met, missed = np.zeros(220, np.int64), 0
    for x in range(220):
        for y in range(220):
            if x != y and cosine(pictures[x], pictures[y]) >= 0.98:
                near, far = sorted((borders[x, home[y]], borders[y, home[x]]))
                meets = home[x] == home[y] or (near <= width and far <= 2 * width)
                met[x] += meets
                missed += not meets
    assert {url: near for url, (_, _, _, near) in stored(dataset).items()} == dict(
        zip((p.url for p in pictures), met.tolist(), strict=True)
    )
    assert missed or margin > 1


@pytest.mark.parametrize("sample", [0, 1, 40, 119])
def test_where_all_are_compared_the_recall_of_any_sample_is_one(tmp_path: Path, sample: int) -> None:
    dataset = pool(tmp_path / "pool", copies_of(26, 120), parts=30)
    recall = run(dataset, cells=1, sample=sample).meta.recall
    if not sample:
        assert recall is None
    else:
        assert recall is not None
        assert 0.4 * sample - 2 <= recall.images <= 1.6 * sample + 2
        assert recall.among == recall.pairs
        assert recall.floor_among == recall.floor_pairs
        assert sample < 40 or recall.pairs


def _part_of(dataset: Dataset, url: str) -> int:
    parts = range(len(dataset.ingested().parts))
    return next(p for p in parts if any(url in piece["url"] for piece in dataset.pairs.pieces(p, ["url"])))


# --- cosines and cells ---


@pytest.mark.parametrize(("near", "rows"), [(0.0, 24), (0.9, 24)])
def test_cosines_are_exact_one_by_one_and_all_at_once(near: float, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(3)
    halves = generator.normal(size=(rows, 33)) + near * 10 * generator.normal(size=33)
    halves = (halves / np.linalg.norm(halves, axis=1, keepdims=True)).astype(np.float16)
    halves[7] = halves[3]
    exact = np.array([[_millionths(a, b) for b in halves] for a in halves])
    for dense in (0.0, 1.0):
        monkeypatch.setattr(cosines, "_DENSE", dense)
        for least in (-MILLION, 0, int(exact[0, 1]), MILLION):
            i, j, values = pairs_within(Vectors(halves), Vectors(halves), least)
            assert [*zip(i, j, strict=True)] == [*zip(*np.nonzero(exact >= least), strict=True)]
            assert (values == exact[i, j]).all()


def _millionths(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> int:
    whole = [[int(float(x) * 2**24) for x in each] for each in (a, b)]  # every float16 is a multiple of 2^-24
    dot, left, right = (
        sum(x * y for x, y in zip(whole[i], whole[j], strict=True)) / 2**48 for i, j in ((0, 1), (0, 0), (1, 1))
    )
    return round(max(-1.0, min(1.0, dot / left**0.5 / right**0.5)) * MILLION)


def test_cells_are_the_nearest_and_those_whose_border_is_near() -> None:
    generator = np.random.default_rng(5)
    points = generator.normal(size=(900, 5))
    halves = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float16)
    codebook = train(halves, 40)
    assert len(codebook) > 20
    centres = codebook.centroids.astype(np.float64)
    for margin in (0.0, 0.02, 0.1):
        for row, cells in zip(halves.astype(np.float64), codebook.cells(halves, margin), strict=True):
            distances = ((row - centres) ** 2).sum(axis=1)
            home = int(distances.argmin())
            apart = np.sqrt(((centres - centres[home]) ** 2).sum(axis=1))
            borders = (distances - distances[home]) / (2 * np.maximum(apart, 1e-9))
            others = [c for c in np.argsort(borders, kind="stable") if c != home and borders[c] <= margin]
            assert cells[0] == home
            assert sorted(c for c in cells[1:] if c >= 0) == sorted(others[: MOST_CELLS - 1])


def test_a_codebook_follows_from_its_sample_and_tells_of_no_image() -> None:
    generator = np.random.default_rng(6)
    points = generator.normal(size=(500, 7))
    halves = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float16)
    first, again = train(halves, 9), train(halves.copy(), 9)
    assert first.centroids.tobytes() == again.centroids.tobytes()
    homes = first.cells(halves, 0.0)[:, 0]
    assert np.bincount(homes, minlength=len(first)).min() >= 1
    assert not (first.centroids[:, None] == halves).all(axis=2).any()
    # Of few images none can be the mean of several: there is one cell, in the middle of nothing.
    assert train(halves[:6], 6).centroids.tolist() == [[0.0] * 7]
    assert train(np.empty((0, 7), np.float16), 3).centroids.tolist() == [[0.0] * 7]
    assert cells_for(0) == cells_for(4096) == 1
    assert cells_for(10**6) == 2000


def test_a_full_cell_is_divided() -> None:
    generator = np.random.default_rng(8)
    crowd = np.array([1, 0, 0, 0]) + generator.normal(size=(2000, 4)) * 0.05
    rest = generator.normal(size=(400, 4))
    points = np.concatenate([rest, crowd])
    halves = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float16)
    codebook = train(halves, 24)
    assert len(codebook) > 24
    assert np.bincount(codebook.cells(halves, 0.0)[:, 0]).max() < 1000


# --- one result, however it is computed ---


def values(folder: Path) -> dict[str, bytes]:
    """Return all files of a dataset but what says how many cosines it took: by blocks, of which some are halved."""
    return {name: content for name, content in tree(folder).items() if name != "_manifests/neighbours/eye.json"}


def test_memory_workers_and_tasks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = copies_of(11, 300)
    dataset = pool(tmp_path / "pool", pictures, parts=60)
    run(dataset, cells=20)
    before = values(tmp_path / "pool")
    for memory, size, rows in ((2**28, 2**28, 128), (1000, 2**6, 3)):
        monkeypatch.setattr(joining, "_RANGE", size)
        monkeypatch.setattr(cell, "_BLOCK_ROWS", rows)
        monkeypatch.setattr(cell, "_BLOCK_COLUMNS", 2 * rows)
        monkeypatch.setattr(cell, "_PREPARED", size)
        monkeypatch.setattr(cell, "_BORDERS", rows)
        for table in (dataset.measured("near.eye"), dataset.neighbours("eye")):
            table.remove()
        assert run(dataset, memory=memory, workers=1).computed
        assert values(tmp_path / "pool") == before


def test_what_is_there_is_not_compared_again(tmp_path: Path) -> None:
    pictures = copies_of(12, 60)
    dataset = pool(tmp_path / "pool", pictures)
    first = run(dataset)
    assert first.computed
    again = run(dataset)
    assert not again.computed
    assert again.meta == first.meta
    assert run(dataset, threshold=0.95).computed
    pairs = dataset.ingested()
    assert fresh(dataset, "near.eye", pairs)
    embed(dataset, copies_of(13, 60))
    with pytest.raises(DatasetError, match=r"compare them again: align-data neighbours eye .*pool"):
        available(dataset, pairs)
    assert run(dataset, threshold=0.95).computed
    assert available(dataset, pairs) >= {"earlier_similarity_eye", "near_duplicates_eye"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of a dataset before and after a run of which nothing is killed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    pool(folder / "before", copies_of(14, 120), parts=40)
    shutil.copytree(folder / "before", folder / "after")
    run(Dataset(Store(folder / "after")), cells=6)
    return folder


@pytest.mark.parametrize("at", range(4))
def test_a_killed_run_is_run_to_its_end(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    shutil.copytree(undisturbed / "before", tmp_path / "pool")
    dataset, writes = Dataset(Store(tmp_path / "pool")), 0
    create = Store.create

    def killed(self: Store, name: str) -> Any:
        nonlocal writes
        writes += not name.startswith("_log")
        if writes == 1 + 4 * at:
            raise KeyboardInterrupt
        return create(self, name)

    monkeypatch.setattr(Store, "create", killed)
    with pytest.raises(KeyboardInterrupt):
        run(dataset, cells=6, workers=1)
    monkeypatch.undo()
    assert "earlier_similarity_eye" not in available(dataset, dataset.ingested(), [])
    run(dataset, cells=6)
    for folder in ("measured/near.eye", "neighbours/eye", "codebooks/eye"):
        assert tree(tmp_path / "pool" / folder) == tree(undisturbed / "after" / folder)
    assert not (tmp_path / "pool" / "_neighbours").exists()
    dataset.store.write_bytes("_neighbours/eye/part-00000.parquet", b"of a run that was killed at its end")
    assert not run(dataset, cells=6).computed
    assert not (tmp_path / "pool" / "_neighbours").exists()


def test_images_that_come_later_are_compared_in_the_same_cells(tmp_path: Path) -> None:
    pictures = copies_of(15, 240)
    urls = [p.url for p in pictures]
    dataset = pool(tmp_path / "pool", pictures, parts=70)
    embed(dataset, [picture for place, picture in enumerate(pictures) if place % 3])
    run(dataset, cells=8)
    codebook = tree(tmp_path / "pool" / "codebooks")
    embed(dataset, pictures)  # a second fetch has brought the others
    assert run(dataset, cells=99).computed
    assert tree(tmp_path / "pool" / "codebooks") == codebook
    scratch = pool(tmp_path / "scratch", pictures, parts=70)
    for folder in ("codebooks", "_manifests/codebooks"):
        shutil.copytree(tmp_path / "pool" / folder, tmp_path / "scratch" / folder)
    run(scratch)
    for folder in ("measured/near.eye", "neighbours/eye"):
        assert tree(tmp_path / "pool" / folder) == tree(tmp_path / "scratch" / folder)
    assert set(stored(dataset)) == set(urls)


# --- in a recipe ---

RULE = """
name: near
rules:
  - {signal: earlier_similarity_eye, lt: 0.98}
  - {signal: near_duplicates_eye, le: 3}
"""


def test_a_rule_keeps_the_first_of_near_duplicates(tmp_path: Path) -> None:
    pictures = copies_of(21, 90)
    dataset = pool(tmp_path / "pool", [*pictures, "http://h/gone"], parts=30)
    (tmp_path / "near.yaml").write_text(RULE)
    run(dataset)
    call("filter", tmp_path / "pool", "--recipe", tmp_path / "near.yaml")
    truth = brute_force(dataset, pictures, 0.98, 0.9)
    verdicts = pl.concat(
        [
            pl.concat(
                [
                    pl.concat(list(dataset.pairs.pieces(part, ["url"]))),
                    pl.concat(list(dataset.ledger("near").pieces(part, ["failed", "unknown"]))),
                ],
                how="horizontal",
            )
            for part in range(len(dataset.ingested().parts))
        ]
    )
    for url, failed, unknown in verdicts.iter_rows():
        if url == "http://h/gone":
            assert (failed, unknown) == (0, 3)
        else:
            earlier, _, _, near = truth[url]
            assert (failed, unknown) == ((earlier >= 0.98) + 2 * (near > 3), 0)
    swept = answer(
        "sweep", tmp_path / "pool", "--recipe", "near", "--signal", "earlier_similarity_eye", "--values", "0.9,0.95"
    )
    assert [point["value"] for point in swept["values"]] == [0.9, 0.95]
    audited = answer("audit", tmp_path / "pool", "--recipe", "near")
    assert audited
    nearest = next(url for url, (_, similarity, _, _) in truth.items() if similarity > NONE)
    said = call("why", tmp_path / "pool", "--recipe", "near", "--url", nearest).stdout
    _, similarity, uid, _ = truth[nearest]
    assert f"the nearest other image by eye is that of {uid}, at a cosine of {similarity:g}" in said


def test_a_threshold_below_the_floor_is_refused(tmp_path: Path) -> None:
    dataset = pool(tmp_path / "pool", copies_of(22, 40))
    (tmp_path / "near.yaml").write_text(RULE)
    run(dataset)
    words = ["filter", tmp_path / "pool", "--recipe", tmp_path / "near.yaml"]
    refused = call(*words, "--set", "earlier_similarity_eye.lt=0.85", code=1).output
    assert "earlier_similarity_eye cannot be compared with 0.85: cosines below 0.9 are not stored" in refused
    assert f"align-data neighbours eye {tmp_path}/pool --floor 0.85" in refused
    (tmp_path / "low.yaml").write_text(RULE.replace("0.98", "0.85"))  # it is told what rules taken out would drop
    out = ["filter", tmp_path / "pool", "--recipe", tmp_path / "low.yaml", "--without", "earlier_similarity_eye"]
    assert "are not stored" in call(*out, code=1).output
    assert "--floor 0.5" in call(*words, "--set", "earlier_similarity_eye.between=0.5,0.95", code=1).output
    for allowed in ("lt=0.9", "ge=0.9", "gt=-1", "between=-1,0.9", "in=-1,1"):
        call(*words, "--set", f"earlier_similarity_eye.{allowed}")
    call(*words)
    sweep = ["sweep", tmp_path / "pool", "--recipe", "near", "--signal", "earlier_similarity_eye", "--values"]
    assert "are not stored" in call(*sweep, "0.8,0.95", code=1).output


# --- what is hostile, or little ---


class Said(Silent):
    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)


def test_a_floor_below_everything_is_answered_and_remarked_upon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("align_data.stages.neighbours._MANY", 20)
    pictures = copies_of(16, 60)
    dataset, said = pool(tmp_path / "pool", pictures), Said()
    engine = LocalEngine(dataset.store.work, 1)
    neighbours(dataset, "eye", engine, said, Comparing(threshold=0.98, floor=-1.0))
    assert stored(dataset) == brute_force(dataset, pictures, 0.98, -1)
    assert any("a higher --floor is faster" in sentence for sentence in said.sentences)
    with pytest.raises(InputError, match=r"the floor 0\.99 is above the threshold 0\.98"):
        run(dataset, floor=0.99)


def test_a_codebook_of_far_fewer_images_is_called_coarse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = copies_of(17, 90)
    dataset, said = pool(tmp_path / "pool", pictures), Said()
    run(dataset, cells=4)
    monkeypatch.setattr("align_data.stages.neighbours.ONE_CELL", 1)
    monkeypatch.setattr("align_data.stages.neighbours._COARSE", 0.5)
    neighbours(dataset, "eye", LocalEngine(dataset.store.work, 1), said, Comparing(threshold=0.97))
    assert any("--new-codebook trains it anew" in sentence for sentence in said.sentences)


def test_all_equal_one_and_none(tmp_path: Path) -> None:
    alike = [Picture(f"http://h/{n}", f"bytes {n}", [1, 2, 3], 100 + n) for n in range(50)]
    dataset = pool(tmp_path / "alike", alike)
    report = run(dataset, cells=5)
    assert stored(dataset) == brute_force(dataset, alike, 0.98, 0.9)
    assert report.meta.late == 49
    assert report.meta.cosines <= 5  # equal embeddings are compared once, whatever their number
    one = pool(tmp_path / "one", [alike[0], "http://h/gone"])
    assert run(one).meta.images == 1
    assert stored(one) == {"http://h/0": (NONE, NONE, None, 0), "http://h/gone": (None,) * 4}
    none = pool(tmp_path / "none", ["http://h/gone"])
    assert run(none).meta.recall is None
    assert stored(none) == {"http://h/gone": (None,) * 4}


def test_an_embedding_without_length_is_near_nothing(tmp_path: Path) -> None:
    pictures = [Picture(f"http://h/{n}", f"bytes {n}", [0, 0, 0] if n < 2 else [1, 0, n], 100) for n in range(5)]
    dataset = pool(tmp_path / "pool", pictures)
    run(dataset, floor=-1.0)
    values = stored(dataset)
    assert values["http://h/0"] == values["http://h/1"] == (NONE, NONE, None, 0)
    assert {url: values[url] for url in ("http://h/2", "http://h/3", "http://h/4")} == brute_force(
        dataset, pictures[2:], 0.98, -1
    )


@pytest.mark.parametrize(
    ("vector", "sentence"),
    [
        ([float("nan"), 0, 0], r"an embedding that is not of numbers \(NaN\)"),
        ([float("inf"), 0, 0], "an embedding that is not of numbers"),
        ([3, 0, 0], "an embedding that is not of unit length"),
        ([1, 0], "an embedding that is not of 3 numbers"),
    ],
)
def test_a_damaged_embedding_is_a_sentence(tmp_path: Path, vector: Sequence[float], sentence: str) -> None:
    pictures = [Picture(f"http://h/{n}", f"bytes {n}", [1, 0, n]) for n in range(3)]
    dataset = pool(tmp_path / "pool", pictures)
    table = dataset.embedded("eye")
    manifest = table.committed()
    assert manifest is not None
    table.retract()
    column = pl.Series(column_of(np.array([vector], np.float16)), dtype=pl.Binary)
    with table.writer(0, {}) as writer:
        writer.write(pl.DataFrame({"sha256": [pictures[0].sha256], "embedding": column}))
    table.commit([table.info(0)], manifest.meta)
    with pytest.raises(DatasetError, match=sentence):
        run(dataset)
    assert dataset.measured("near.eye").committed() is None


def test_the_lowest_floor_is_the_lowest_cosine() -> None:
    assert Comparing(threshold=-1).nearness.floor == -(10**6)


def test_what_is_not_there_or_older_is_a_sentence(tmp_path: Path) -> None:
    dataset = pool(tmp_path / "pool", copies_of(18, 30))
    engine = LocalEngine(dataset.store.work, 1)
    with pytest.raises(DatasetError, match="has no embeddings 'ear'"):
        neighbours(dataset, "ear", engine, Silent())
    with pytest.raises(SignalError, match="is not a valid"):
        neighbours(dataset, "../x", engine, Silent())
    run(dataset)
    table = dataset.codebook("eye")
    manifest = table.committed()
    assert manifest is not None
    table.retract()
    with table.writer(0, {}) as writer:
        writer.write(pl.DataFrame({"centroid": [b"too short"]}))
    table.commit([table.info(0)], manifest.meta)
    with pytest.raises(AlignDataError, match="a centroid that is not of 8 numbers"):
        run(dataset, threshold=0.99)
    assert run(dataset, new_codebook=True).computed


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    pictures = copies_of(19, 80)
    pool(tmp_path / "pool", pictures)
    words = ["neighbours", "eye", str(tmp_path / "pool"), "--threshold", "0.98"]
    said = call(*words)
    assert said.exit_code == 0, said.output
    assert "of 80 images have an earlier one within 0.98" in said.output
    assert "recall 1.0000:" in said.output
    report = answer(*words)
    assert report["computed"] is False
    assert report["recall"]["pairs"] == report["recall"]["among"]
    assert "not in the range" in call(*words, "--floor", "nan", code=2).output


def test_codebooks_of_zeros_are_one_cell() -> None:
    codebook = Codebook(np.zeros((1, 3), np.float16))
    halves = np.eye(3, dtype=np.float16)
    assert codebook.cells(halves, 1.0)[:, 0].tolist() == [0, 0, 0]
    assert (codebook.cells(halves, 1.0)[:, 1:] == -1).all()


# --- takedown ---


def test_a_takedown_reaches_what_other_images_say(tmp_path: Path) -> None:
    pictures = copies_of(23, 150)
    dataset = pool(tmp_path / "pool", pictures, parts=40)
    run(dataset, cells=4)
    before = stored(dataset)
    named = sorted({uid for _, _, uid, _ in before.values() if uid is not None})
    dead = set(named[::5])
    (tmp_path / "uids.txt").write_text("\n".join(sorted(dead)) + "\n")
    foreseen = answer("takedown", tmp_path / "pool", "--uids", tmp_path / "uids.txt", "--dry-run")
    carried_out = answer("takedown", tmp_path / "pool", "--uids", tmp_path / "uids.txt")
    assert {file["name"] for file in carried_out["files"]} <= {file["name"] for file in foreseen["files"]}
    pairs = dataset.ingested()
    assert {"nearest_duplicate_eye"} <= available(dataset, pairs)
    for part in range(len(pairs.parts)):
        columns = ["earlier_similarity_eye", "nearest_similarity_eye", "nearest_duplicate_eye", "near_duplicates_eye"]
        living = pl.concat(list(dataset.pairs.pieces(part, ["uid", "url"])))
        values = pl.concat(list(dataset.measured("near.eye").pieces(part, columns))).select(columns)
        for (uid, url), row in zip(living.iter_rows(), values.iter_rows(), strict=True):
            if uid in dead:
                assert url == ""
                assert row[2] is None
            else:
                earlier, nearest, duplicate, near = before[url]
                assert row == (earlier, nearest, None if duplicate in dead else duplicate, near)
    edges = pl.read_parquet(f"{dataset.store.url}/neighbours/eye/*.parquet")
    assert len(edges)
    assert not dead & {*edges["uid"], *edges["earlier"]}
    # Again, images are compared without what was taken down.
    assert not run(dataset).computed
    run(dataset, threshold=0.97)
    remaining = {url for url, (_, _, uid, _) in stored(dataset).items() if url and uid not in dead}
    assert remaining
    assert not dead & {uid for _, _, uid, _ in stored(dataset).values()}


@pytest.mark.parametrize("at", [4, 8, 12, 16])
def test_a_killed_takedown_is_carried_out_as_an_undisturbed_one(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    shutil.copytree(undisturbed / "after", tmp_path / "pool")
    dataset = Dataset(Store(tmp_path / "pool"))
    dead = sorted({uid for _, _, uid, _ in stored(dataset).values() if uid is not None})[::4]
    (tmp_path / "uids.txt").write_text("\n".join(dead) + "\n")
    shutil.copytree(tmp_path / "pool", tmp_path / "clean")
    create, writes = Store.create, 0

    def killed(self: Store, name: str) -> Any:
        nonlocal writes
        writes += 1
        if writes == at:
            raise KeyboardInterrupt
        return create(self, name)

    monkeypatch.setattr(Store, "create", killed)
    lists = read_lists({"uids": [str(tmp_path / "uids.txt")]})
    engine = LocalEngine(dataset.store.work, 1)
    with pytest.raises(KeyboardInterrupt):
        takedown(dataset, lists, [], engine, Silent())
    monkeypatch.undo()
    for folder in ("pool", "clean"):
        opened = Dataset(Store(tmp_path / folder))
        takedown(opened, lists, [], LocalEngine(opened.store.work, 1), Silent())
    assert tree(tmp_path / "pool") == tree(tmp_path / "clean")


# --- on Spark ---


@pytest.mark.spark
def test_spark_writes_the_same_files(tmp_path: Path, spark: Any) -> None:
    pictures = copies_of(25, 120)
    dataset = pool(tmp_path / "local", pictures, parts=40)
    shutil.copytree(tmp_path / "local", tmp_path / "spark")
    run(dataset, cells=6)
    other = Dataset(Store(tmp_path / "spark"))
    neighbours(other, "eye", spark, Silent(), Comparing(threshold=0.98, floor=0.9, cells=6))
    for folder in ("measured/near.eye", "neighbours/eye", "codebooks/eye", "_manifests"):
        assert tree(tmp_path / "spark" / folder) == tree(tmp_path / "local" / folder)
    uids = sorted({uid for _, _, uid, _ in stored(dataset).values() if uid is not None})[::5]
    (tmp_path / "uids.txt").write_text("\n".join(uids) + "\n")
    for opened, engine in ((dataset, LocalEngine(dataset.store.work, 1)), (other, spark)):
        takedown(opened, read_lists({"uids": [str(tmp_path / "uids.txt")]}), [], engine, Silent())
    assert tree(tmp_path / "spark") == tree(tmp_path / "local")
