"""CSV and TSV against Python's csv module, and against lists with quotation marks planted where they do harm."""

from __future__ import annotations

import csv
import io
import random
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align_data.errors import InputError
from align_data.inputs import Choice, Reading, delimited, find, read, units

BREAK = re.compile(rb"\r\n|\r|\n")
Rows = list[tuple[int, str, str]]


def rows_of(path: Path, reading: Reading = Reading()) -> tuple[Rows, list[tuple[int, str]]]:  # noqa: B008
    """Return a list's rows, with their numbers, and the rejected ones with what is said of them."""
    good: Rows = []
    bad: list[tuple[int, str]] = []
    for unit in units(find([str(path)]), Choice(), reading)[0]:
        for frame, rejects in read(unit):
            good += frame.select("row", "url", "alt_text").rows()
            bad += zip(rejects.rows, rejects.details, strict=True)
    return good, sorted(bad)


def oracle(content: str, delimiter: str = ",") -> list[list[str]] | None:
    """Return the rows behind the header as RFC 4180 has them, or None where it has none."""
    try:
        return [row for row in csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True) if row][
            1:
        ]
    except csv.Error:
        return None


def written(table: Sequence[Sequence[str]], delimiter: str = ",", end: str = "\n", always: bool = False) -> str:
    """Write a table as RFC 4180 says; Python's writer leaves a lone CR unquoted."""

    def value(text: str) -> str:
        quoted = always or any(sign in text for sign in f'"\r\n{delimiter}')
        return '"{}"'.format(text.replace('"', '""')) if quoted else text

    return "".join(delimiter.join(map(value, row)) + end for row in table)


def lines_of(values: Rows, rejected: list[tuple[int, str]]) -> int:
    """Count the physical lines that are accounted for."""
    breaks = sum(len(BREAK.findall(text.encode())) for row in values for text in row[1:])
    return len(values) + len(rejected) + breaks + sum(len(BREAK.findall(said.encode())) for _, said in rejected)


pieces = st.lists(
    st.sampled_from(['"', '""', ",", "\n", "\r\n", "\r", "\\", '\\"', " ", "a", "é", "http://a/1", "http://b/2,x", "5\" pipe", ";", "\t"]),
    max_size=8,
).map("".join)  # fmt: skip
tables = st.lists(st.tuples(st.integers(0, 9).map("http://u/{}".format), pieces), min_size=1, max_size=6)


@pytest.fixture(params=[40, 2**22], ids=["small blocks", "one block"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "_BLOCK", request.param)


@pytest.mark.usefixtures("blocks")
@given(
    tables,
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([",", ";", "\t"]),
)
@settings(max_examples=120)
def test_what_a_csv_writer_wrote_is_read_or_refused(
    tmp_path: Path, table: list[tuple[str, str]], end: str, always: bool, text_first: bool, delimiter: str
) -> None:
    order = [1, 0] if text_first else [0, 1]
    content = written([[row[i] for i in order] for row in [("url", "text"), *table]], delimiter, end, always)
    (tmp_path / "l.csv").write_bytes(content.encode())
    truth = [(number, *row) for number, row in enumerate(table, 1)]
    assert rows_of(tmp_path / "l.csv", Reading(delimiter, multiline=True)) == (truth, [])
    try:
        assert rows_of(tmp_path / "l.csv", Reading(delimiter)) == (truth, [])
    except InputError as error:
        assert re.search(r"a quotation mark on line \d+ opens a value that runs .*--multiline", str(error))  # noqa: PT017


@pytest.mark.usefixtures("blocks")
@given(st.lists(pieces, max_size=12).map("".join), st.sampled_from([None, True, False]))
@settings(max_examples=300)
def test_every_line_of_anything_is_accounted_for(tmp_path: Path, soup: str, multiline: bool | None) -> None:
    content = "url,text\nhttp://u/0,x\n" + soup
    (tmp_path / "l.csv").write_bytes(content.encode())
    reading = Reading(multiline=multiline)
    try:
        good, bad = rows_of(tmp_path / "l.csv", reading)
    except InputError as error:
        assert "a quotation mark on line" in str(error) and multiline is None  # noqa: PT017, PT018
        return
    lines = BREAK.split(content.encode())[1:]
    assert sum(line != b"" for line in lines) <= lines_of(good, bad) <= len(lines)
    assert sorted(row for row, *_ in [*good, *bad]) == list(range(1, len(good) + len(bad) + 1))
    truth = oracle(content)
    if truth is not None and multiline:
        assert [row[1:] for row in good] == [tuple(row) for row in truth if len(row) == 2]
    if truth is not None and multiline is None and not bad:
        assert [row[1:] for row in good] == [tuple(row) for row in truth]
    if multiline is False:
        assert len(good) + len(bad) == sum(line != b"" for line in lines)


def good_list(seed: int, rows: int = 150) -> list[tuple[str, str]]:
    """Draw rows as lists have them: commas, inches, quoted words, and a few line breaks."""
    draw = random.Random(seed)
    words = ["red", "barn,", '5"', "the", '"best"', "of", "cats\nand", "dogs", "3' x 4\"", "café", "(sale)"]
    weights = [9, 3, 2, 9, 2, 9, 1, 9, 1, 2, 1]
    return [
        (f"https://img.example/{i}.jpg", " ".join(["a", *draw.choices(words, weights, k=draw.randint(1, 8))]))
        for i in range(rows)
    ]


@pytest.mark.parametrize("always", [False, True], ids=["quoted where needed", "always quoted"])
@pytest.mark.parametrize("text_first", [False, True], ids=["url first", "text first"])
@pytest.mark.parametrize("inches", [False, True], ids=["by the rules", "inches unquoted"])
def test_a_stray_quotation_mark_touches_its_own_row_or_is_refused_by_its_line(
    tmp_path: Path, always: bool, text_first: bool, inches: bool
) -> None:
    draw = random.Random(f"{always}{text_first}{inches}")
    table = [row for row in good_list(7) if not inches or ("\n" not in row[1] and "," not in row[1])]
    order = [1, 0] if text_first else [0, 1]
    header, *lines = [
        ",".join(row[i] for i in order)
        if inches and not always
        else written([[row[i] for i in order]], always=always)[:-1]
        for row in [("url", "text"), *table]
    ]
    path = tmp_path / "l.csv"
    path.write_text("\n".join([header, *lines, ""]), newline="")
    whole = [(url, text) for _, url, text in rows_of(path)[0]]
    assert whole == table
    outcomes = set()
    for _ in range(60):
        place = draw.randrange(len(lines))
        edges = [0, len(lines[place]), *(m.start() + draw.randint(0, 1) for m in re.finditer('[,"]', lines[place]))]
        at = draw.choice([*edges, draw.randint(0, len(lines[place]))])
        line = lines[place][:at] + '"' + lines[place][at:]
        path.write_text("\n".join([header, *lines[:place], line, *lines[place + 1 :], ""]), newline="")
        first = 2 + sum(1 + before.count("\n") for before in lines[:place])
        try:
            good, bad = rows_of(path)
        except InputError as error:
            named = re.search(r"a quotation mark on line (\d+) opens", str(error))
            assert named and first <= int(named[1]) <= first + line.count("\n")  # noqa: PT018
            outcomes.add("refused")
            continue
        others = table[:place] + table[place + 1 :]
        found = [(url, text) for _, url, text in good if url.startswith("http")]
        bad += [(row, url) for row, url, _ in good if not url.startswith("http")]  # they are rejected later
        assert [row for row in found if row in set(others)] == others
        assert len(found) <= len(table)
        assert bad or len(found) == len(table)
        outcomes.add("rejected" if bad else "read")
    assert "rejected" in outcomes
