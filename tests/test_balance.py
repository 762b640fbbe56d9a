"""Balancing by a list of entries is a threshold: MetaCLIP's loop with the same draws keeps the same pairs."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import Built, Crashes, build, read, tree, write_list
from test_user_lists import by_metaclip, pool
from xxhash import xxh3_64_intdigest

import align_data
from align_data.common.errors import DatasetError, SignalError
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.data.user_lists import ListFiles
from align_data.engines.base import Engine
from align_data.engines.local import LocalEngine
from align_data.engines.spark import SparkEngine
from align_data.signals.user_lists import NO_ENTRY
from align_data.stages.ingest import Parts, ingest
from align_data.stages.measure import Ranges, measure
from align_data.stages.takedown import takedown
from align_data.stages.takedown.lists import read as read_lists
from align_data.stages.why import why
from align_data.storage.store import Store

WORD = 2**64 - 1
ENTRIES = ["dog", "cat", "New York", "hot dog", "dog .", "w1", "w2", "w3", "w20", "w2 w1", "w300", "nowhere"]


def captions(number: int) -> list[str]:
    """Texts whose words, and so whose entries, are as unevenly frequent as those of the web."""
    random = np.random.default_rng(18)
    words = ["dog", "cat", "dog.", "New", "York", "hot", *(f"w{i}" for i in range(500))]
    at = np.minimum(random.zipf(1.3, number * 5), len(words)) - 1
    return [" ".join(words[i] for i in at[5 * n : 5 * n + int(random.integers(0, 6))]) for n in range(number)]


def xxh3(text: str) -> int:
    return xxh3_64_intdigest(text.encode())


def mix(leading: int, following: int) -> int:
    key = (leading * 0x9E3779B97F4A7C15 + following) & WORD
    key = ((key ^ key >> 32) * 0xD6E8FEB86659FD93) & WORD
    return key ^ key >> 32


def draw(uid: str, entry: str, seed: int) -> float:
    """The number drawn for a pair and an entry."""
    first, *others = map(xxh3, entry.split(" "))
    for unit in others:
        first = mix(first, unit)
    return (mix(mix(xxh3(uid), xxh3(str(seed))), first) >> 11) / 2**53


def drawn(uids: Sequence[str], texts: Sequence[str], seed: int) -> list[list[tuple[float, int]]]:
    """For each text, the number drawn for each of its entries, and how many texts have the entry."""
    matches = [[e for e, times in by_metaclip(text, ENTRIES).items() if times] for text in texts]
    counts = Counter(entry for of_text in matches for entry in of_text)
    pairs = zip(uids, matches, strict=True)
    return [[(draw(uid, entry, seed), counts[entry]) for entry in of_text] for uid, of_text in pairs]


def loop(drawings: Sequence[Sequence[tuple[float, int]]], most: float) -> list[bool]:
    """MetaCLIP's algorithm 1: a text stays where one of its entries draws below min(1, t / its count)."""
    return [any(number < min(1, most / count) for number, count in of_text) for of_text in drawings]


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("entries") / "entries.txt"
    file.write_text("\n".join(ENTRIES))
    return file


def balance(dataset: Dataset, entries: Path, engine: Engine, seed: int = 0, **options: Ranges) -> None:
    ListFiles([("e", str(entries))], "padded", seed).give(dataset)
    measure(dataset, engine, Silent(), ["list_e", "entries_e", "balance_e"], **options)


@pytest.mark.parametrize("seed", [0, 7])
def test_it_is_metaclips_loop(job: Callable[..., Built], entries: Path, seed: int) -> None:
    dataset = job(pool(captions(12_000)), parts=Parts(rows=5_000)).dataset
    balance(dataset, entries, LocalEngine(dataset.store.work, 2), seed)
    pairs, values = read(dataset, "pairs"), read(dataset, "measured/balance.e")["balance_e"]
    uids, texts = pairs["uid"].to_list(), pairs["alt_text"].to_list()
    drawings = drawn(uids, texts, seed)
    for most in (1, 2.5, 20, 200, 2_000):
        expected = loop(drawings, most)
        assert (values < most).to_list() == expected
        assert 0 < sum(expected) < len(expected)
    assert (values == NO_ENTRY).to_list() == [not of_text for of_text in drawings]
    # So many of an entry's pairs are expected as the threshold is, where it is the only one of its texts.
    is_w1 = ["w1" in text.split() for text in texts]
    alone = [w1 and len(of_text) == 1 for w1, of_text in zip(is_w1, drawings, strict=True)]
    count = sum(is_w1)
    share = values.filter(alone).lt(count / 4).mean()
    assert abs(share - 1 / 4) < 5 * (3 / 16 / sum(alone)) ** 0.5


def test_neither_parts_nor_memory_nor_ranges_change_it(
    job: Callable[..., Built], entries: Path, tmp_path: Path
) -> None:
    rows = pool(captions(6_000))
    one, many = job(rows).dataset, job(rows, parts=Parts(rows=500)).dataset
    balance(one, entries, LocalEngine(tmp_path / "one"))
    balance(many, entries, LocalEngine(tmp_path / "many", 2, 3_000), ranges=Ranges(texts=500))
    assert len(many.pairs.committed().parts) > 10
    assert len(many.counts("balance.e").committed().parts) > 10
    for table in ("measured/list.e", "measured/balance.e", "counts/balance.e-classes"):
        assert read(many, table).equals(read(one, table))
    assert read(many, "counts/balance.e").sort("key").equals(read(one, "counts/balance.e"))


def test_another_pool_another_balance_and_the_same_list_values(
    job: Callable[..., Built], entries: Path, tmp_path: Path
) -> None:
    rows = pool(captions(3_000))
    inputs = [write_list(tmp_path / name, of)[0] for name, of in (("all", rows), ("half", rows[:1_500]))]
    smaller, larger = (build(tmp_path / str(n), [path]).dataset for n, path in enumerate(reversed(inputs)))
    for dataset in (smaller, larger):
        balance(dataset, entries, LocalEngine(dataset.store.work))
    of_both = [
        {
            uid: values
            for uid, *values in zip(
                read(dataset, "pairs")["uid"],
                read(dataset, "measured/list.e")["list_e"],
                read(dataset, "measured/balance.e")["balance_e"],
                strict=True,
            )
        }
        for dataset in (smaller, larger)
    ]
    differ = [value != of_both[1][uid] for uid, value in of_both[0].items()]
    assert any(differ)
    for uid, (occurrences, value) in of_both[0].items():
        assert occurrences == of_both[1][uid][0]
        assert value <= of_both[1][uid][1]  # the draw is the same, and counts only grow


def test_killed_at_any_file_it_ends_alike(entries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "ingested")
    ingest(
        write_list(tmp_path / "lists", pool(captions(300))), Dataset(store), LocalEngine(store.work), Silent(),
        parts=Parts(rows=100),
    )  # fmt: skip

    def work(number: int) -> None:
        folder = tmp_path / str(number)
        if not folder.exists():
            shutil.copytree(tmp_path / "ingested", folder)
        dataset = Dataset(Store(folder))
        balance(dataset, entries, LocalEngine(dataset.store.work, 1))

    for number in Crashes(monkeypatch).everywhere(work, 9):
        assert tree(tmp_path / str(number)) == tree(tmp_path / "0")
        shutil.rmtree(tmp_path / str(number))


def test_what_is_taken_down_is_counted_no_more_and_keeps_its_values(
    job: Callable[..., Built], entries: Path, tmp_path: Path
) -> None:
    dataset = job(pool(["dog", "dog cat", "dog w1", "cat", "w1"]), parts=Parts(rows=2)).dataset
    engine = LocalEngine(dataset.store.work, 1)
    balance(dataset, entries, engine)
    pairs, before = read(dataset, "pairs"), read(dataset, "measured/balance.e")["balance_e"]
    at = pairs["alt_text"].to_list().index("dog w1")
    (tmp_path / "uids.txt").write_text(pairs["uid"][at])
    with dataset.store.lock():
        report = takedown(dataset, read_lists({"uids": [str(tmp_path / "uids.txt")]}), [], engine, Silent())
    assert report.receipt.pairs == 1
    assert measure(dataset, engine, Silent(), ["balance_e"]).before == ["balance_e"]
    assert read(dataset, "measured/balance.e")["balance_e"].equals(before)
    balance(dataset, entries, engine, seed=1)
    assert read(dataset, "measured/balance.e")["balance_e"][at] == before[at]
    assert sorted(read(dataset, "counts/balance.e")["count"]) == [1, 2, 2]


def test_a_damaged_list_is_a_sentence_where_it_is_needed(
    job: Callable[..., Built], entries: Path, tmp_path: Path
) -> None:
    dataset = job(pool(captions(50))).dataset
    engine = LocalEngine(dataset.store.work, 1)
    balance(dataset, entries, engine)
    part = Path(dataset.store.path("lists/e/part-00000.parquet"))
    part.write_bytes(part.read_bytes()[:-9])
    assert measure(dataset, engine, Silent(), ["list_e"]).before == ["list_e"]
    dataset.measured("list.e").remove()
    with pytest.raises(DatasetError, match=r"cannot read .*lists/e/part-00000\.parquet: .*the dataset is damaged"):
        measure(dataset, engine, Silent(), ["list_e"])
    shutil.rmtree(part.parent)
    with pytest.raises(SignalError, match="list_e cannot be measured"):
        measure(Dataset(Store(dataset.store.url)), engine, Silent(), ["list_e"])


def test_why_names_the_entries_and_how_many_pairs_have_them(job: Callable[..., Built], entries: Path) -> None:
    dataset = job(pool(["dog", "New York, a dog.", "cat", "a"])).dataset
    balance(dataset, entries, LocalEngine(dataset.store.work, 1))
    (pair,) = why(dataset, None, text="New York, a dog.")
    said = [line for line in pair.explanations if "list e" in line]
    assert said == ["of the list e the text has 'New York' (in 1 pair), 'dog .' (in 1 pair), 'dog' (in 2 pairs)"]
    (pair,) = why(dataset, None, text="a")
    assert not [line for line in pair.explanations if "list e" in line]


def test_thresholds_of_languages_leave_the_same_tail(job: Callable[..., Built], tmp_path: Path) -> None:
    latin, greek = {"a": 8, "b": 4, "c": 2, "d": 1, "D": 0, "e": 0}, {"α": 100, "β": 40, "γ": 20}
    texts = [entry for counts in (latin, greek) for entry, count in counts.items() for _ in range(count)]
    folder = tmp_path / "lists"
    folder.mkdir()
    for name, counts in (("Latin", latin), ("Greek", greek)):
        (folder / f"{name}.txt").write_text("\n".join(counts))
    dataset = job(pool(texts)).dataset
    ListFiles([("w", str(folder))], "word", per="script").give(dataset)
    measure(dataset, LocalEngine(dataset.store.work), Silent(), ["balance_w"])
    door = align_data.open(dataset.store.url)
    assert {entry: count for _, entry, count in door.entries("w").iter_rows()} == latin | greek
    # Latin's tail below 5 is 7 of 15; of Greek's 160 that is nearest to the 60 up to β.
    assert door.balance_thresholds("w", "Latin", 5) == {"Greek": 40, "Latin": 4}
    with pytest.raises(DatasetError, match="no entry of 'Han' is in the pool; there are those of Greek, Latin"):
        door.balance_thresholds("w", "Han", 5)
    with pytest.raises(DatasetError, match=r"balance_v of .* is not measured: align-data measure"):
        door.entries("v")


def test_spark_gives_the_same_files(entries: Path, tmp_path: Path, spark: SparkEngine) -> None:
    inputs = write_list(tmp_path / "lists", pool(captions(900)), files=2)
    for name, engine in (("spark", spark), ("local", LocalEngine(tmp_path / "work"))):
        dataset = Dataset(Store(tmp_path / name))
        ingest(inputs, dataset, engine, Silent(), parts=Parts(rows=400))
        balance(dataset, entries, engine, ranges=Ranges(texts=400))
    tables = ("measured", "counts", "lists", "_manifests")
    assert tree(tmp_path / "spark", *tables) == tree(tmp_path / "local", *tables)
