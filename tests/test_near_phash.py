"""Copies by bytes and by pHash: against comparing all with all, on both engines, on hostile pools."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_executor import ByHand
from xxhash import xxh3_64_intdigest

from align_data.common import near_pairs as hamming
from align_data.common import nearest_hash as nearest_hash_module
from align_data.common.bits import ALL, back, chunks, leading, moved, spread
from align_data.common.near_pairs import near_pairs
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.data.meta import ContentMeta
from align_data.engines.local import LocalEngine
from align_data.neighbours.phash import copies
from align_data.neighbours.phash.copies import find_copies
from align_data.neighbours.phash.tables import whole, working
from align_data.storage.store import Store

HASHES = st.integers(0, ALL)
MASKS = st.sampled_from([0, 1, 1 << 63, ALL, 0xFF00, 0xF0F0F0F0F0F0F0F0]) | HASHES


def hashes_of(values: Sequence[int]) -> NDArray[np.uint64]:
    return np.unique(np.array(values, np.uint64))


@given(st.lists(HASHES, min_size=1), MASKS)
def test_moving_bits_keeps_each_and_brings_those_of_the_mask_to_the_front(values: list[int], mask: int) -> None:
    hashes = np.array(values, np.uint64)
    moves = leading(mask)
    led = moved(hashes, moves)
    assert moved(led, back(moves)).tolist() == values
    width = mask.bit_count()
    for value, after in zip(values, led.tolist(), strict=True):
        front = [value >> place & 1 for place in range(63, -1, -1) if mask >> place & 1]
        rest = [value >> place & 1 for place in range(63, -1, -1) if not mask >> place & 1]
        assert [after >> place & 1 for place in range(63, -1, -1)] == front + rest
        assert len(front) == width


@given(st.lists(HASHES, min_size=1), HASHES)
def test_spreading_bits_keeps_distances(values: list[int], other: int) -> None:
    one, two = spread(np.array(values, np.uint64)), spread(np.array([other], np.uint64))
    assert np.bitwise_count(one ^ two).tolist() == [(value ^ other).bit_count() for value in values]


@given(MASKS, st.integers(1, 20))
def test_chunks_divide_a_mask(mask: int, number: int) -> None:
    parts = chunks(mask, number)
    assert sum(parts) == mask
    sizes = [part.bit_count() for part in parts]
    assert len(parts) == number
    assert max(sizes) - min(sizes) <= 1


def pool(kind: str, size: int, seed: int) -> NDArray[np.uint64]:
    """Return distinct hashes of a kind."""
    chance = np.random.default_rng(seed)
    hashes = chance.integers(0, 2**64, size, dtype=np.uint64)
    copied = hashes[: size // 3].copy()
    for flips in range(8):  # copies that differ in up to 8 bits
        some = copied[flips:]
        some ^= np.uint64(1) << chance.integers(0, 64, len(some)).astype(np.uint64)
    if kind == "random":
        return np.unique(np.concatenate([hashes, copied]))
    if kind == "one key":  # hostile: half of all bits the same
        return np.unique(np.concatenate([hashes, copied]) & np.uint64(0xAAAAAAAAAAAAAAAA))
    return np.unique(hashes & np.uint64(0x8001000000000FFF))  # a ball: nearly all are near


def by_force(hashes: NDArray[np.uint64], within: int, shared: int = 0) -> list[tuple[int, int]]:
    differing = hashes[:, None] ^ hashes[None]
    near = (np.bitwise_count(differing) <= within) & (differing & np.uint64(shared) == 0)
    one, other = np.nonzero(np.triu(near, 1))
    return sorted(zip(hashes[one].tolist(), hashes[other].tolist(), strict=True))


@pytest.mark.parametrize("within", [0, 1, 2, 4, 6, 10, 16])
@pytest.mark.parametrize("kind", ["random", "one key", "ball"])
@pytest.mark.parametrize("nested", [False, True])
def test_all_near_pairs_and_each_once(monkeypatch: pytest.MonkeyPatch, within: int, kind: str, *, nested: bool) -> None:
    if nested:  # index runs of one key anew early, and never compare all with all
        monkeypatch.setattr(hamming, "_LONG", 8)
        monkeypatch.setattr(hamming, "_CHOICE", 0.0)
    hashes = pool(kind, 200 if nested and kind == "ball" else 700, within)
    for shared in (0, 0xFF0):
        pairs = [(a, b) for one, other in near_pairs(hashes, within, shared) for a, b in zip(one, other, strict=True)]
        assert sorted((int(min(pair)), int(max(pair))) for pair in pairs) == by_force(hashes, within, shared)


class Image(NamedTuple):
    """A row of `content`."""

    phash: int | None
    side: int = 8
    bytes: int = 0
    """Which bytes it has, of those with its pHash and side."""


def dataset_of(folder: Path, parts: Sequence[Sequence[Image]]) -> Dataset:
    """Return a dataset that has a table `content`, and nothing else."""
    dataset = Dataset(Store(folder))
    infos = []
    for number, images in enumerate(parts):
        names = ("url", "status", "phash", "width", "height", "sha256")
        rows = pl.DataFrame(
            [
                (f"http://a/{number}-{row}", "ok", image.phash, image.side, image.side, sha256(image))
                for row, image in enumerate(images)
            ],
            dataset.content.contract.polars(*names),
            orient="row",
        )
        with dataset.content.writer(number, {}, list(rows.columns)) as writer:
            writer.write(rows)
        assert writer.info is not None
        infos.append(writer.info)
    meta = {"images": "0" * 64, "looks": {}, "open": None, "max_pixels": 1, "seconds": 1.0}
    dataset.content.commit(infos, ContentMeta.model_validate(meta))
    return dataset


def sha256(image: Image) -> str:
    return hashlib.sha256(repr(image).encode()).hexdigest()


def oracle_of(rows: Sequence[tuple[str, int | None, str | None, int, int]], within: int) -> dict[str, tuple[Any, ...]]:
    """Return each URL's values, of rows of URL, pHash, SHA-256, width and height: one compared with all."""
    known = [row for row in rows if row[1] is not None]

    def order(row: Any) -> tuple[int, str, int]:
        url, _, digest, width, height = row
        return (-width * height, digest, xxh3_64_intdigest(url.encode()))

    def values(mine: Any) -> tuple[int | None, ...]:
        _, phash, digest, *_ = mine
        if phash is None:
            return (None, None, None, None)
        far = [((phash ^ row[1]) & ALL).bit_count() for row in known]
        earlier = [distance for row, distance in zip(known, far, strict=True) if order(row) < order(mine)]
        return (
            sum(row[2] == digest for row in known),
            far.count(0),
            sum(distance <= within for distance in far) - 1,
            min((distance for distance in earlier if distance <= within), default=65),
        )

    return {row[0]: values(row) for row in rows}


def oracle(parts: Sequence[Sequence[Image]], within: int) -> list[list[tuple[int | None, ...]]]:
    """Return the values of all images, one compared with all."""
    rows = [
        [
            (f"http://a/{number}-{row}", image.phash, sha256(image), image.side, image.side)
            for row, image in enumerate(images)
        ]
        for number, images in enumerate(parts)
    ]
    by_url = oracle_of([row for images in rows for row in images], within)
    return [[by_url[row[0]] for row in images] for images in rows]


def signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


CENTRES = st.sampled_from([0, ALL, 1 << 63, (1 << 63) - 1, 0x0F0F0F0F0F0F0F0F])
NEAR = st.builds(
    lambda centre, bits: signed(centre ^ sum(1 << b for b in bits)), CENTRES, st.sets(st.integers(0, 63), max_size=5)
)
IMAGES = st.builds(Image, NEAR | st.none() | HASHES.map(signed), st.sampled_from([8, 9]), st.integers(0, 1))


def measured(dataset: Dataset, engine: Any, within: int, parts: int) -> list[list[tuple[Any, ...]]]:
    find_copies(dataset, engine, Silent(), within)
    table = working(dataset, "values")
    return [whole(table, part).rows() for part in range(parts)]


@given(
    st.lists(st.lists(IMAGES, max_size=9), min_size=1, max_size=3), st.sampled_from([0, 1, 2, 4, 6, 16]), st.booleans()
)
@example([[]], 6, False)
@example([[Image(5)]], 6, True)
@example([[Image(None)], [Image(-1), Image(-1), Image(-1, 9)]], 0, True)
@example([[Image(7)] * 9, [Image(7)] * 9], 6, True)
@settings(max_examples=30, deadline=None)
def test_values_are_those_of_comparing_all_with_all_on_both_engines(
    tmp_path_factory: Any, parts: list[list[Image]], within: int, small: bool
) -> None:
    folder = tmp_path_factory.mktemp("pool")
    truth = oracle(parts, within)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copies, "_ROWS", 5 if small else 1_000_000)  # several ranges of the pHash
        memory = 1_000 if small else 2**28  # slices, each its task
        dataset = dataset_of(folder / "local", parts)
        assert measured(dataset, LocalEngine(folder / "work", 1, memory), within, len(parts)) == truth
        by_hand = ByHand(within, memory)
        assert measured(dataset_of(folder / "hand", parts), by_hand, within, len(parts)) == truth


@pytest.mark.parametrize("within", [0, 1, 3, 6, 8, 16, 30, 64])
@pytest.mark.parametrize("indexed", [False, True])
def test_the_nearest_listed_hash_is_that_of_comparing_with_all(within: int, *, indexed: bool) -> None:
    hashes = np.concatenate([pool("random", 300, within), pool("ball", 40, 1)])
    listed = pool("random", 400, within + 100)
    listed = np.concatenate(
        [listed, hashes[::3] ^ np.uint64(1 << 63), hashes[::5] ^ np.uint64(0x8000000000000101), listed]
    )
    if indexed and within < 10:
        distance, place = nearest_hash_module._looked_up(spread(hashes), spread(listed), within, within + 2)
        place[distance > within], distance[distance > within] = 0, 65
    else:
        distance, place = nearest_hash_module.nearest_hash(hashes, listed, within)
    far = np.bitwise_count(hashes[:, None] ^ listed[None])
    near = far.min(axis=1) <= within
    assert distance.tolist() == np.where(near, far.min(axis=1), 65).tolist()
    assert place.tolist() == np.where(near, far.argmin(axis=1), 0).tolist()  # the first of the nearest
