"""Lists of the user's: what matches, against plain Python and MetaCLIP's published rule; files of all kinds."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import polars as pl
import pytest
from conftest import SCHEMA, Built, read
from hypothesis import given, settings
from hypothesis import strategies as st

from align_data.common.errors import InputError, SignalError
from align_data.common.key_table import KeyTable
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.data.user_lists import LARGEST, ListFiles, read_list
from align_data.engines.local import LocalEngine
from align_data.signals import Piece, find, user_lists
from align_data.signals.user_lists import MATCHES, NO_ENTRY, NO_WORD, UNRANKED, ListRows, UserList
from align_data.stages.measure import measure
from align_data.storage.store import Store

WORDS = ["a", "aa", "dog", "Dog", "hot", "hot-dog", "don't", "犬", "猫", "é", "e", "York", "1", "x̂"]
MARKS = [" ", " ", " ", ",", ".", ";", ":", "?", "!", "`", ", ", "-", "'", "("]


def pieces(least: int, most: int) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(WORDS + MARKS), min_size=least, max_size=most).map("".join).map(oracle.normalise)


def list_of(entries: Sequence[str], match: str, counts: Sequence[int] = ()) -> UserList:
    frame = read_list("\n".join(entries).encode(), "list.txt", match)
    rows = ListRows(*frame.get_columns())
    return MATCHES[match].make(rows, 0)


def values(entries: Sequence[str], match: str, texts: Sequence[str], signal: str = "list") -> list[int]:
    return list_of(entries, match).columns[signal](Piece(pl.DataFrame({"alt_text": texts}))).to_list()


def runs(of: Sequence[str], entry: Sequence[str]) -> int:
    return sum(list(of[i : i + len(entry)]) == list(entry) for i in range(len(of))) if entry else 0


def by_words(text: str, entries: Sequence[str]) -> dict[Any, int]:
    """How often each entry is in a text, an entry being a run of words."""
    split = [oracle.words(of.lower()) for of in entries]
    return {tuple(entry): runs(oracle.words(text.lower()), entry) for entry in split if entry}


def within(text: str, entry: str) -> int:
    return sum(text.startswith(entry, at) for at in range(len(text)))


def by_substring(text: str, entries: Sequence[str]) -> dict[Any, int]:
    return {entry: within(text, entry) for entry in entries}


def by_metaclip(text: str, entries: Sequence[str]) -> dict[Any, int]:
    """MetaCLIP's substring matching as it is published: spaces around the text, punctuation and the entry."""
    spaced = f" {text} "
    for mark in ",.;:?!`":
        spaced = spaced.replace(mark, f" {mark} ")
    return {entry: within(spaced, f" {entry} ") for entry in entries}


ORACLES: dict[str, Callable[[str, Sequence[str]], dict[Any, int]]] = {
    "word": by_words,
    "substring": by_substring,
    "padded": by_metaclip,
}


@pytest.mark.parametrize(("match", "many"), [*((match, user_lists.MANY) for match in ORACLES), ("substring", 0)])
@given(data=st.data())
@settings(max_examples=60)
def test_occurrences_and_entries_are_those_of_plain_python(match: str, many: int, data: st.DataObject) -> None:
    entries = data.draw(st.lists(pieces(1, 6).filter(bool), min_size=1, max_size=12, unique=True))
    texts = data.draw(st.lists(pieces(0, 14), min_size=1, max_size=20))
    expected = [ORACLES[match](text, entries) for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(user_lists, "MANY", many)
        assert values(entries, match, texts) == [sum(counts.values()) for counts in expected]
        assert values(entries, match, texts, "entries") == [sum(map(bool, counts.values())) for counts in expected]


@given(st.lists(st.integers(0, 2**64 - 1), unique=True), st.lists(st.integers(0, 2**64 - 1)))
def test_keys_are_where_they_lie(keys: list[int], others: list[int]) -> None:
    # Also keys that share all the bits that are looked at first.
    near = [key ^ 1 for key in keys] + [0, 2**64 - 1]
    ascending = sorted(keys)
    places = KeyTable(np.array(ascending, np.uint64)).places(np.array(keys + others + near, np.uint64))
    assert places.tolist() == [ascending.index(k) if k in ascending else -1 for k in keys + others + near]


def test_half_a_million_entries_that_overlap() -> None:
    entries = [
        *(f"{n:06x}" for n in range(440_000)),
        *(f"{n:04x}" for n in range(60_000)),
        *("a" * n for n in range(1, 41)),
    ]
    texts = ["00ffff", "a" * 39, "05ffff00aa", ""]
    listed = set(entries)
    runs_in = [
        sum(text[i:j] in listed for i in range(len(text)) for j in range(i + 1, len(text) + 1)) for text in texts
    ]
    assert values(entries, "substring", texts) == runs_in
    assert values(entries, "padded", texts) == [int(text in listed) for text in texts]


def test_lists_of_hosts_urls_uids_and_frequencies() -> None:
    urls = ["http://A.b.example/1", "https://b.example:80/2", "http://c.example/3", "", "http://xb.example/"]
    frame = pl.DataFrame(
        {"url": urls, "uid": [f"{i:032x}" for i in range(5)], "alt_text": ["", "a b", "b", "B c", "?"]}
    )
    piece = Piece(frame)

    def column(entries: Sequence[str], match: str, signal: str) -> list[int]:
        return list_of(entries, match).columns[signal](piece).to_list()

    assert column(["b.example", "A.b.example.", "zz.example"], "host", "list") == [1, 1, 0, 0, 0]
    assert column(["b.example", "A.b.example.", "b.example"], "host", "host_rank") == [2, 1, *[UNRANKED] * 3]
    assert column(["http://c.example/3", urls[1]], "url", "list") == [0, 1, 1, 0, 0]
    assert column([f"{4:032X}", f"{0:032x}"], "uid", "list") == [1, 0, 0, 0, 1]
    words = ["a\t7", "b\t5", "B\t9", "two words\t1", "!\t3"]
    assert column(words, "count", "rarest_word") == [NO_WORD, 7, 9, 0, NO_WORD]


@pytest.mark.parametrize(
    ("content", "entries"),
    [
        (b"\xef\xbb\xbfa\r\nb\r\n\r\n  \r\na\r\n", [("a", 1), ("b", 2)]),
        (b"a\rb", [("a", 1), ("b", 2)]),
        ("e\u0301\n\u00e9\n a\u00a0 b \nx\x00y\n".encode(), [("\u00e9", 1), ("a b", 3), ("xy", 4)]),
        ("a\u2028b\x0bc".encode(), [("a b c", 1)]),
    ],
)
def test_entries_are_lines_normalised_as_texts_are(content: bytes, entries: list[tuple[str, int]]) -> None:
    frame = read_list(content, "list.txt", "word")
    assert list(frame.select("entry", "line").iter_rows()) == entries


@pytest.mark.parametrize(
    ("content", "match", "sentence"),
    [
        (b"", "word", "list.txt has no entries"),
        (b" \n\t\n", "padded", "list.txt has no entries"),
        (b"\x00\n", "padded", "list.txt has no entries"),
        (b"a\n\xff\n", "word", "it is not UTF-8"),
        (b"a\n" + b"b" * 10**7, "word", "list.txt, line 2: 10,000,000 characters; an entry has at most 10,000"),
        (b"a.example\nhttp://b/\n", "host", "line 2: 'http://b/' is not a host"),
        (b"a.example", "url", "line 1: 'a.example' is not a URL"),
        (b"\n0123", "uid", "line 2: '0123' is not a uid"),
        (b"dog\t3\ncat 3\n", "count", "line 2: 'cat 3' is not a word, a tab and a count"),
        (b"dog\t-3\n", "count", "is not a word, a tab and a count"),
        (b"dog\t" + b"9" * 19, "count", "is not a word, a tab and a count"),
    ],
)
def test_a_file_that_is_not_a_list_is_a_sentence(content: bytes, match: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_list(content, "list.txt", match)


TEXTS = ["a dog", "Dog, dog!", "a hot dog", "no", "", "New York City", "New York", "a cat and a dog"]


def pool(texts: Sequence[str]) -> list[dict[str, Any]]:
    rows = [{"url": f"http://h{i % 3}.example/{i}", "alt_text": text} for i, text in enumerate(texts)]
    return [dict.fromkeys(SCHEMA) | row for row in rows]


def engine_of(dataset: Dataset) -> LocalEngine:
    return LocalEngine(dataset.store.work, 2)


def measured(built: Built, **options: Any) -> dict[str, Any]:
    """Measure; return the pairs with what was measured by lists, by their texts and places."""
    dataset = built.dataset
    measure(dataset, engine_of(dataset), Silent(), **options)
    groups = [group for group in dataset.groups() if group.startswith(("list.", "balance."))]
    return {
        name: column.to_list()
        for frame in [read(dataset, "pairs"), *(read(dataset, f"measured/{group}") for group in groups)]
        for name, column in frame.to_dict().items()
    }


def test_a_list_stays_with_the_dataset_and_a_changed_one_is_measured_again(
    job: Callable[..., Built], tmp_path: Path
) -> None:
    built, file = job(pool(TEXTS)), tmp_path / "list.txt"
    file.write_text("dog\nNew York\n")
    give = ListFiles([("pets", str(file))]).give
    give(built.dataset)
    table = measured(built)
    by_text = dict(zip(table["alt_text"], table["list_pets"], strict=True))
    assert by_text == dict(zip(TEXTS, [1, 2, 1, 0, 0, 1, 1, 1], strict=True))
    report = measure(built.dataset, engine_of(built.dataset), Silent())
    assert not report.measured
    assert {"list_pets", "entries_pets", "balance_pets"} <= set(report.before)

    file.write_text("cat\n")
    give(built.dataset)
    table = measured(built)
    assert {t: n for t, n in zip(table["alt_text"], table["list_pets"], strict=True) if n} == {"a cat and a dog": 1}
    assert sorted(table["balance_pets"])[1] == NO_ENTRY


def test_signals_of_lists_need_a_list_that_measures_them(job: Callable[..., Built], tmp_path: Path) -> None:
    built, file = job(pool(TEXTS)), tmp_path / "list.txt"
    file.write_text("h1.example\n")
    with pytest.raises(SignalError, match="list_a cannot be measured: it would need a list: align-data measure"):
        measured(built, names=["list_a"])
    ListFiles([("a", str(file))], "host").give(built.dataset)
    with pytest.raises(SignalError, match=r"balance_a cannot .* --list a=FILE --match word\|substring\|padded"):
        measured(built, names=["balance_a"])
    table = measured(built, names=["list_a"])
    assert sum(table["list_a"]) == 3
    assert "host_rank_a" not in table


def test_the_pairs_of_each_class_are_matched_with_its_own_list(job: Callable[..., Built], tmp_path: Path) -> None:
    texts = ["a dog", "dog 1", "собака dog", "собака", "犬 dog", "犬", "dog dog", "", "α dog"]
    folder = tmp_path / "lists"
    folder.mkdir()
    for name, content in (("Latin", "dog\na\n"), ("Han", "犬\n"), ("else", "dog\nсобака\n")):
        (folder / f"{name}.txt").write_text(content)
    (folder / "notes.md").write_text("dog\n")
    built = job(pool(texts))
    ListFiles([("w", str(folder))], "word", per="script").give(built.dataset)
    table = measured(built)
    by_text = {t: (n, m) for t, n, m in zip(table["alt_text"], table["list_w"], table["entries_w"], strict=True)}
    assert by_text == {
        "a dog": (2, 2), "dog 1": (1, 1), "dog dog": (2, 1), "собака dog": (2, 2), "собака": (1, 1), "犬 dog": (1, 1),
        "犬": (1, 1), "": (0, 0), "α dog": (1, 1),
    }  # fmt: skip
    # The dogs of one class are not counted with those of another one; 犬 dog is Latin, as most of its letters are.
    counts = sorted(built.table("counts/balance.w")["count"].to_list())
    assert counts == sorted([5, 1, 1, 1, 2])
    with pytest.raises(InputError, match=r"has no files such as en\.txt"):
        ListFiles([("w", str(tmp_path))], "word", per="script").give(built.dataset)
    with pytest.raises(InputError, match=r"cannot read the lists in .*: Not a directory"):
        ListFiles([("w", str(folder / "Han.txt"))], "word", per="script").give(built.dataset)
    with pytest.raises(InputError, match="lists of host are not divided by script"):
        ListFiles([("w", str(folder))], "host", per="script").give(built.dataset)


def test_names_of_lists_are_names() -> None:
    assert find("list_a-b").group == "list.a-b"
    assert find("balance_metaclip").group == "balance.metaclip"
    with pytest.raises(SignalError, match="'A' is not a valid list name: use lower-case letters"):
        find("entries_A")


@pytest.mark.parametrize("form", ["pipe", "large", "one line", "one line of CR"])
def test_a_file_that_waits_or_is_no_list_is_refused_unread(form: str, tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    if form == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("the system has no named pipes")
        os.mkfifo(file)
    else:
        file.write_bytes(b"dog\r" if form == "one line of CR" else b"dog\n")
        os.truncate(file, LARGEST + 1 if form == "large" else 2**26 + 10)  # sparse: it takes no room
    problem = {"pipe": "not a regular file", "large": f"at most {LARGEST:,} are read"}
    with pytest.raises(InputError, match=problem.get(form, "has a line of more than")):
        ListFiles([("x", str(file))]).give(Dataset(Store(tmp_path / "dataset")))
