"""CSV and TSV against Python's csv module, and against lists with quotation marks planted where they do harm."""

from __future__ import annotations

import csv
import io
import random
import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from align_data.cli import main
from align_data.common.errors import InputError
from align_data.sources.lists import Choice, Reading, delimited, find, read, units
from align_data.sources.lists.encodings import codec, separator

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


def values(path: Path, reading: Reading = Reading()) -> list[tuple[str, str]]:  # noqa: B008
    good, bad = rows_of(path, reading)
    assert bad == []
    return [(url, text) for _, url, text in good]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (r'http://u/1,"the \"best\" cat, here"', 'the "best" cat, here'),
        (r'http://u/1,"27\""', '27"'),
        (r'http://u/1,"a \\ and \"b\""', r'a \ and "b"'),
        (r'http://u/1,"in C:\"', "in C:\\"),
        ('http://u/1,5" pipe', '5" pipe'),
        ('"http://u/1",5"" pipe', '5"" pipe'),
        ('"http://u/1" ,"padded"  ', "padded"),
        ('http://u/1,"nul \0 and ""two"""', 'nul \0 and "two"'),
    ],
)
def test_quotation_marks_as_people_write_them(tmp_path: Path, line: str, value: str) -> None:
    (tmp_path / "l.csv").write_text(f"url,text\nhttp://u/0,x\n{line}\nhttp://u/2,y\n")
    assert values(tmp_path / "l.csv") == [("http://u/0", "x"), ("http://u/1", value), ("http://u/2", "y")]


def test_a_mark_that_never_closes_costs_one_row_of_many(tmp_path: Path) -> None:
    lines = [f"http://u/{i},a red barn" for i in range(60_000)]
    lines[7] = 'http://u/7,"a 27 inch screen'
    lines[20_000] = 'http://u/20000,a pipe of 5"'
    (tmp_path / "l.csv").write_text("url,text\n" + "\n".join(lines))
    good, bad = rows_of(tmp_path / "l.csv")
    assert len(good) == 59_999
    assert bad == [(8, f"a quotation mark opens a value that does not end: {lines[7]}")]


def test_a_value_over_what_looks_like_rows_is_refused_until_the_user_says_what_is_right(tmp_path: Path) -> None:
    content = 'url,text\nhttp://u/1,x\nhttp://u/2,"see\nhttp://u/3,there"\nhttp://u/4,y\n'
    (tmp_path / "l.csv").write_text(content)
    with pytest.raises(
        InputError, match=r"line 3 opens a value that runs to line 4 .* line 4 looks like a row \(http://u/3"
    ):
        rows_of(tmp_path / "l.csv")
    many = values(tmp_path / "l.csv", Reading(multiline=True))
    assert many == [("http://u/1", "x"), ("http://u/2", "see\nhttp://u/3,there"), ("http://u/4", "y")]
    good, bad = rows_of(tmp_path / "l.csv", Reading(multiline=False))
    assert [url for _, url, _ in good] == ["http://u/1", "http://u/3", "http://u/4"]
    assert [row for row, _ in bad] == [2]
    (tmp_path / "long.csv").write_text('url,text\nhttp://u/1,"' + "so, it goes\n" * 101 + '"\nhttp://u/2,y\n')
    with pytest.raises(InputError, match=r"line 2 opens a value that runs over more than 100 lines; .*--multiline"):
        rows_of(tmp_path / "long.csv")
    assert len(values(tmp_path / "long.csv", Reading(multiline=True))) == 2


@pytest.mark.parametrize("multiline", [None, True])
def test_a_row_longer_than_what_is_read_at_once_is_a_sentence(tmp_path: Path, multiline: bool | None) -> None:
    (tmp_path / "l.csv").write_text('url,text\nhttp://u/1,x\nhttp://u/2,"' + "word " * 2**22)
    with pytest.raises(InputError, match=r"cannot read .*l.csv to its end: line 3 begins a row of more than 16 MB"):
        rows_of(tmp_path / "l.csv", Reading(multiline=multiline))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [7, 8, 9, 2**22])
def test_all_line_ends_and_blank_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, size: int) -> None:
    monkeypatch.setattr(delimited, "_BLOCK", size)
    lines = ["url,text", "", "http://u/1,x", "", '"http://u/2","a\n\rb"', "http://u/3", "http://u/4,y"]
    (tmp_path / "l.csv").write_bytes(("\ufeff" + end.join(lines)).encode())
    assert rows_of(tmp_path / "l.csv") == (
        [(1, "http://u/1", "x"), (2, "http://u/2", "a\n\rb"), (4, "http://u/4", "y")],
        [(3, "1 fields, not 2: http://u/3")],
    )


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("l.csv", "url;alt text;caption\nhttp://u/1;a, b;x\n", "separated by semicolons"),
        ("l.csv", "caption\turl\nx\thttp://u/1\n", "separated by tabs"),
        ("l.csv", "url|caption\nhttp://u/1|x\n", "separated by vertical bars"),
        ("l.tsv", 'url,caption\nhttp://u/1,"x"\n', "separated by commas"),
        ("l.csv", "http://u/1;x\nhttp://u/2;y, z\n", "url is column 1, alt_text is column 2; its fields are separated by semi"),
        ("l.csv", "x, y\thttp://u/1\nz\thttp://u/2\n", "url is column 2, alt_text is column 1; its fields are separated by tabs"),
        ("l.csv", "http://u/1;a,x\nhttp://u/2;b,y\n", "url is column 1, alt_text is column 2"),
        ("l.tsv", "http://u/1\tx, y; z\n", "url is column 1, alt_text is column 2"),
    ],
)  # fmt: skip
def test_another_delimiter_is_recognised_where_it_alone_makes_sense(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    (tmp_path / name).write_text(content)
    (unit,), notes = units(find([str(tmp_path / name)]), Choice())
    assert said in notes[0]
    assert ("separated" in notes[0]) == ("separated" in said)
    urls = [url for frame, _ in read(unit) for url in frame["url"]]
    assert [url[:8] for url in urls] == ["http://u"] * len(urls)
    assert len(urls) == content.count("http")


def test_a_delimiter_that_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("url;x|url\tcaption;caption|y\n")
    (tmp_path / "m.csv").write_text("http://u/1|a;http://u/2\nhttp://u/3|b;http://u/4\n")
    with pytest.raises(InputError, match="separated by semicolons or vertical bars; choose one with --delimiter"):
        rows_of(tmp_path / "m.csv")
    assert len(values(tmp_path / "m.csv", Reading("|"))) == 2
    with pytest.raises(InputError, match="no column found"):
        rows_of(tmp_path / "l.csv")


@pytest.mark.parametrize(("sign", "name"), [("^", "carets"), ("~", "tildes"), ("\x01", "U\\+0001")])
def test_a_rare_delimiter_is_named(tmp_path: Path, sign: str, name: str) -> None:
    (tmp_path / "l.csv").write_text(f"url{sign}text\nhttp://u/1{sign}x\n")
    with pytest.raises(InputError, match=f"seem to be separated by {name}.*--delimiter"):
        rows_of(tmp_path / "l.csv")
    assert values(tmp_path / "l.csv", Reading(separator(sign))) == [("http://u/1", "x")]


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("multiline", [None, True, False])
def test_a_value_that_ends_in_an_escaped_mark_takes_no_row_with_it(tmp_path: Path, multiline: bool | None) -> None:
    rows = [(f"http://u/{i}", text) for i, text in enumerate(['a 12"', ", b", 'a, "b"', 'a "', ", b, c"] * 4)]
    quoted = [(url, '"{}"'.format(text.replace('"', '\\"'))) for url, text in rows]
    (tmp_path / "l.csv").write_text("text,url\n" + "".join(f"{text},{url}\n" for url, text in quoted))
    (tmp_path / "m.csv").write_text("url,text,id\n" + "".join(f"{url},{text},1\n" for url, text in quoted))
    for name in ("l.csv", "m.csv"):
        assert values(tmp_path / name, Reading(multiline=multiline)) == rows


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-32", "shift_jis", "gb18030"])
@pytest.mark.parametrize("name", ["l.csv", "l.jsonl", "l.tsv"])
def test_other_encodings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, name: str) -> None:
    monkeypatch.setattr(delimited, "_BLOCK", 7)
    text = {"shift_jis": "日本語の猫", "gb18030": "漢字 café"}.get(encoding, "café au lait ÿ")
    content = {
        "l.csv": f"url,text\nhttp://u/1,{text}\nhttp://u/2,plain\n",
        "l.tsv": f"url\ttext\nhttp://u/1\t{text}\nhttp://u/2\tplain\n",
        "l.jsonl": f'{{"url": "http://u/1", "text": "{text}"}}\n{{"url": "http://u/2", "text": "plain"}}\n',
    }[name]
    (tmp_path / name).write_bytes(content.encode(encoding))
    assert values(tmp_path / name, Reading(encoding=codec(encoding))) == [("http://u/1", text), ("http://u/2", "plain")]
    if encoding.startswith(("utf-16", "utf-32")):
        with pytest.raises(
            InputError, match=f"{encoding[:6].upper()}; convert it to UTF-8, or read it with --encoding {encoding}"
        ):
            rows_of(tmp_path / name)


def test_what_an_encoding_does_not_know_rejects_its_row_only(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_bytes(b"url,text\nhttp://u/1,caf\x81\nhttp://u/2,caf\xe9\n")
    good, bad = rows_of(tmp_path / "l.csv", Reading(encoding="cp1252"))
    assert good == [(2, "http://u/2", "café")]
    assert [row for row, _ in bad] == [1]


@pytest.mark.parametrize("encoding", ["nonsense", "base64", "hex", "", "a\0b", "../x", "é"])
def test_what_is_not_an_encoding_is_a_sentence(encoding: str) -> None:
    with pytest.raises(InputError, match="is not the name of a text encoding"):
        codec(encoding)


@pytest.mark.parametrize("delimiter", ["", "ab", "x", '"', "\n", " ", "§", "\0"])
def test_what_cannot_separate_fields_is_a_sentence(delimiter: str) -> None:
    with pytest.raises(InputError, match="cannot separate fields"):
        separator(delimiter)
    assert separator("tab") == separator(r"\t") == "\t"


def test_the_options_are_part_of_what_pairs_are_made_of(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_bytes(b"url;text\nhttp://u/1;caf\xe9\nhttp://u/2;x\n")
    ingest = ["ingest", str(tmp_path / "l.csv"), "--out", str(tmp_path / "out")]
    plain = CliRunner().invoke(main, ingest)
    assert "1 row was rejected because it is not UTF-8" in plain.stderr
    assert "--encoding latin-1" in plain.stderr
    assert CliRunner().invoke(main, [*ingest, "--encoding", "utf8"]).exit_code == 0
    for option in (["--encoding", "latin1"], ["--delimiter", ";"], ["--multiline"], ["--no-multiline"]):
        again = CliRunner().invoke(main, [*ingest, *option])
        assert again.exit_code == 1
        assert "of these inputs read otherwise" in again.stderr
    other = CliRunner().invoke(main, [*ingest[:3], str(tmp_path / "out2"), "--encoding", "latin1", "--delimiter", ";"])
    assert "2 rows in = 2 pairs" in other.stdout


def test_an_option_that_no_input_has_a_use_for_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"url": ["http://u/1"], "text": ["x"]}).write_parquet(tmp_path / "l.parquet")
    for reading in (Reading(delimiter=";"), Reading(encoding="cp1252"), Reading(multiline=True)):
        with pytest.raises(InputError, match=r"--\w+ applies to csv.* and no input is one: omit it"):
            rows_of(tmp_path / "l.parquet", reading)
