"""Reading ahead from an object store: the same bytes, in few requests, and never much more than is asked for."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from align_data.common.errors import DatasetError
from align_data.storage import ahead
from align_data.storage.ahead import FileRange, merged
from align_data.storage.store import Store
from align_data.storage.tars import Place, TarReader, TarWriter


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return the ranges that the store is asked for; each takes a hundredth of a second."""
    asked: list[tuple[int, int]] = []
    cat = MemoryFileSystem.cat_file

    def slow(self: Any, path: str, start: int | None = None, end: int | None = None, **options: Any) -> Any:
        asked.append((start or 0, end or 0))
        time.sleep(0.01)
        return cat(self, path, start, end, **options)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", slow)
    return asked


@pytest.fixture
def tar() -> Iterator[tuple[Store, list[Place], list[bytes]]]:
    store = Store("memory://ahead")
    contents = [bytes([number % 251]) * (1000 + 97 * number) for number in range(300)]
    with TarWriter(store, "bytes/part-00000") as writer:
        places = [writer.add(f"{number:016x}", io.BytesIO(each), len(each)) for number, each in enumerate(contents)]
    yield store, places, contents
    fsspec.filesystem("memory").store.clear()


def test_what_is_foretold_takes_few_requests(tar: Any, requests: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    store, places, contents = tar
    monkeypatch.setattr(ahead, "SPAN", 2**20)
    reader = TarReader(store)
    reader.foretell(places)
    assert [reader.read(place) for place in places] == contents
    reader.close()
    whole = places[-1].offset + places[-1].size
    assert len(requests) <= whole // 2**19 + 1
    assert sum(stop - start for start, stop in requests) <= whole


def test_what_is_not_foretold_is_read_by_itself(tar: Any, requests: list[Any]) -> None:
    store, places, contents = tar
    reader = TarReader(store)
    reader.foretell(places[:3])
    assert [reader.read(places[number]) for number in (250, 7, 0, 299)] == [contents[i] for i in (250, 7, 0, 299)]
    reader.close()
    assert sorted(stop - start for start, stop in requests)[-1] < 2 * len(contents[-1])
    assert len(requests) <= 4


@pytest.mark.parametrize("order", [lambda n: list(range(n))[::-1], lambda n: [0, 0, 5, 5, 2, *range(100, 110), 3]])
def test_any_order_gives_the_same_bytes(tar: Any, order: Callable[[int], list[int]]) -> None:
    store, places, contents = tar
    reader = TarReader(store)
    reader.foretell(places[number] for number in order(300))
    assert [reader.read(places[number]) for number in order(300)] == [contents[number] for number in order(300)]
    reader.close()


def test_no_more_than_two_ranges_are_held(tar: Any, requests: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    store, places, _ = tar
    monkeypatch.setattr(ahead, "SPAN", 2**18)
    reader = TarReader(store)
    reader.foretell(places)
    reader.read(places[0])
    time.sleep(0.2)
    reader.close()
    assert len(requests) == 2


def test_damage_is_told_as_without_it(tar: Any) -> None:
    store, places, _ = tar
    beyond = Place(places[-1].tar, places[-1].offset, 10**12)
    for wrong, message in (
        (beyond, "ends before byte"),
        (Place(places[0].tar, places[0].offset, 999), "no image of 999 bytes begins there"),
        (Place(places[0].tar, places[0].offset, places[0].size, "0" * 64), "not those that were measured"),
    ):
        reader = TarReader(store)
        reader.foretell([places[0], wrong])
        with pytest.raises(DatasetError, match=message):
            reader.read(wrong)
        reader.close()
    gone = TarReader(store)
    gone.foretell([Place("bytes/gone.tar", 512, 7)])
    with pytest.raises(FileNotFoundError):
        gone.read(Place("bytes/gone.tar", 512, 7))
    gone.close()


def test_neighbours_are_one_range() -> None:
    spans = [
        FileRange("a", 0, 10),
        FileRange("a", 20, 30),
        FileRange("a", 2**19, 2**19 + 5),
        FileRange("b", 0, 3),
        FileRange("a", 0, 1),
    ]
    assert list(merged(spans)) == [
        FileRange("a", 0, 30),
        FileRange("a", 2**19, 2**19 + 5),
        FileRange("b", 0, 3),
        FileRange("a", 0, 1),
    ]
