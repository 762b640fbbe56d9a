"""What people have: every format and codec, every way a file can be broken, and the account that always holds."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import build, manifest_of, read
from hypothesis import given, settings
from hypothesis import strategies as st

from align_data.common.errors import DatasetError, InputError, OutputError
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.engines.local import LocalEngine
from align_data.sources.lists import Choice, find
from align_data.stages.ingest import Account, ingest
from align_data.storage.store import Store

ROWS = [
    ("http://a/1", "one cat"),
    ("http://a/2", 'a "quoted" dog, with comma'),
    ("http://a/3", "zwei Hündchen\nund mehr"),
]


class Notes(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


def take(out: Path, *inputs: object, choice: Choice = Choice()) -> tuple[Dataset, Account, list[str]]:  # noqa: B008
    store = Store(out)
    notes = Notes()
    account = ingest([str(i) for i in inputs], Dataset(store), LocalEngine(store.work, 2), notes, choice)
    assert account.rows == account.pairs + account.merged + account.rejected
    return Dataset(store), account, notes.said


def pairs(dataset: Dataset) -> set[tuple[str, str]]:
    return set(read(dataset, "pairs").select("url", "alt_text").rows())


def rejected(dataset: Dataset) -> list[tuple[str, int, str]]:
    return read(dataset, "rejected").select("source", "row", "reason").rows()


def as_csv(found: list[tuple[str, str]], header: str = "url,text\n") -> bytes:
    lines = ['"{}","{}"'.format(*(v.replace('"', '""') for v in row)) for row in found]
    return (header + "\n".join(lines) + "\n").encode()


def as_jsonl(found: list[tuple[str, str]]) -> bytes:
    return b"".join(json.dumps({"url": u, "caption": t, "key": i}).encode() + b"\n" for i, (u, t) in enumerate(found))


def zst(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        out.write(data)
    return sink.getvalue().to_pybytes()


NORMAL = {(u, " ".join(t.split())) for u, t in ROWS}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.csv", as_csv(ROWS)),
        ("list.csv.gz", gzip.compress(as_csv(ROWS), mtime=0)),
        ("list.csv.zst", zst(as_csv(ROWS))),
        ("bom.csv", b"\xef\xbb\xbf" + as_csv(ROWS)),
        ("crlf.csv", as_csv(ROWS).replace(b'\n"http', b'\r\n"http')),
        ("list.jsonl", as_jsonl(ROWS)),
        ("list.jsonl.gz", gzip.compress(as_jsonl(ROWS), mtime=0)),
        ("list.ndjson", b"\xef\xbb\xbf\n" + as_jsonl(ROWS) + b"\n\n"),
    ],
)
def test_formats(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    dataset, account, _ = take(tmp_path / "out", tmp_path / name)
    assert pairs(dataset) == NORMAL
    assert account.pairs == 3


def test_tsv_has_no_quotes(tmp_path: Path) -> None:
    (tmp_path / "list.tsv").write_text('url\tTEXT\nhttp://a/1\t"half a quote\nhttp://a/2\tan "inner" one\n')
    dataset, _, _ = take(tmp_path / "out", tmp_path / "list.tsv")
    assert pairs(dataset) == {("http://a/1", '"half a quote'), ("http://a/2", 'an "inner" one')}


def test_a_headerless_list_is_recognised_by_its_values_and_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "cc.tsv").write_text("a cat sits .\thttp://a/1\nthe url of a dog\thttp://a/2\n", "utf-8-sig")
    dataset, account, said = take(tmp_path / "out", tmp_path / "cc.tsv")
    assert said == ["cc.tsv has no header line; by its values url is column 2, alt_text is column 1"]
    assert pairs(dataset) == {("http://a/1", "a cat sits ."), ("http://a/2", "the url of a dog")}
    assert account.rows == 2


@pytest.mark.parametrize(
    "columns",
    [
        {"url": "u", "alt_text": "t", "width": 3, "height": 4, "uid": "x", "page_url": "p", "language": "en", "license": "l"},
        {"URL": "u", "TEXT": "t", "WIDTH": 3.0, "HEIGHT": 4.0, "SAMPLE_ID": "x", "page_url": "p", "LANGUAGE": "en", "LICENSE": "l"},
        {"image_url": "u", "caption": "t", "original_width": "3", "original_height": "4", "width": 9, "height": 9, "key": "x", "page_url": "p", "lang": "en", "licence": "l"},
        {"Url": "u", "alt": "t", "Width": 3, "Height": 4, "id": "x", "page_url": "p", "language": "en", "license": "l"},
    ],
)  # fmt: skip
def test_columns_are_found_by_their_usual_names(tmp_path: Path, columns: dict[str, Any]) -> None:
    row = {name: "http://a/1" if value == "u" else value for name, value in columns.items()}
    pl.DataFrame([row]).write_parquet(tmp_path / "list.parquet")
    dataset, _, _ = take(tmp_path / "out", tmp_path / "list.parquet")
    assert read(dataset, "pairs").drop("uid").to_dicts() == [
        {
            "url": "http://a/1", "alt_text": "t", "copies": 1, "declared_width": 3, "declared_height": 4,
            "page_url": "p", "declared_language": "en", "license": "l", "source_uid": "x",
        }
    ]  # fmt: skip


def test_columns_by_the_users_word(tmp_path: Path) -> None:
    pl.DataFrame({"link": ["http://a/1"], "words": ["x"], "text": ["y"]}).write_parquet(tmp_path / "l.parquet")
    dataset, _, _ = take(tmp_path / "out", tmp_path / "l.parquet", choice=Choice("link", "words"))
    assert pairs(dataset) == {("http://a/1", "x")}
    with pytest.raises(InputError, match=r"has no column link2 \(did you mean link\?\); it has: link, words, text"):
        take(tmp_path / "out2", tmp_path / "l.parquet", choice=Choice("link2"))


def test_numbers_as_ids_and_sizes(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "url": [f"http://a/{i}" for i in range(6)],
            "text": pl.Series(["x"] * 6, dtype=pl.Categorical),
            "id": [1.0, None, 2.5, 1e18, 4.0, 5.0],
            "width": [100.0, float("nan"), -1.0, 0.0, 1e300, 7.9],
        }
    )
    frame.write_parquet(tmp_path / "l.parquet")
    dataset, _, _ = take(tmp_path / "out", tmp_path / "l.parquet")
    found = read(dataset, "pairs").sort("url")
    assert found["source_uid"].to_list() == ["1", None, "2.5", "1000000000000000000", "4", "5"]
    assert found["declared_width"].to_list() == [100, None, None, None, None, 7]


def test_invalid_utf8_is_rejected_row_by_row(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_bytes(b"url,text\nhttp://a/1,caf\xe9\nhttp://a/2,ok\nhttp://\xff/3,ok\n")
    (tmp_path / "l.jsonl").write_bytes(b'{"url":"http://b/1","text":"caf\xe9"}\n{"url":"http://b/2","text":"ok"}\n')
    values = pa.array([b"http://c/1", b"http://c/2", b"http://c/3"])
    raw = pa.array([b"caf\xe9", b"ok", b"\xed\xa0\x80"])
    bad = pa.StringArray.from_buffers(3, *raw.buffers()[1:])
    pq.write_table(pa.table({"url": values.cast(pa.string()), "text": bad}), tmp_path / "l.parquet")
    pq.write_table(pa.table({"url": values, "text": raw}), tmp_path / "binary.parquet")
    dataset, account, _ = take(tmp_path / "out", tmp_path / "*.*")
    assert rejected(dataset) == [
        ("binary.parquet", 1, "invalid_utf8"),
        ("binary.parquet", 3, "invalid_utf8"),
        ("l.csv", 1, "invalid_utf8"),
        ("l.csv", 3, "invalid_utf8"),
        ("l.jsonl", 1, "invalid_utf8"),
        ("l.parquet", 1, "invalid_utf8"),
        ("l.parquet", 3, "invalid_utf8"),
    ]
    assert account.merged == 1
    assert pairs(dataset) == {("http://a/2", "ok"), ("http://b/2", "ok"), ("http://c/2", "ok")}
    assert r"caf\xe9" in read(dataset, "rejected")["detail"][0]


def test_hostile_json_lines(tmp_path: Path) -> None:
    lines = [
        r'{"url": "http://a/1", "text": "lone \ud800 surrogate"}',
        r'{"url": "http://a/2", "text": "lone \udcc3\udca9 pair that looks like UTF-8"}',
        r'{"url": "http://a/3", "text": "a pair \ud83d\ude00 of them, and \u0000 NUL"}',
        '{"url": "http://a/4", "text": ',
        "[1, 2]",
        "null",
        '{"url": 7, "text": "x"}',
        '{"url": "http://a/5", "text": ["x"]}',
        '{"text": "no url"}',
        '{"url": "http://a/6"}',
        "[" * 100_000,
        '{"url": "http://a/7", "text": "x", "width": 1e999, "height": {"a": 1}}',
    ]
    (tmp_path / "l.jsonl").write_text("\n".join(lines))
    dataset, account, _ = take(tmp_path / "out", tmp_path / "l.jsonl")
    assert [(row, reason) for _, row, reason in rejected(dataset)] == [
        (1, "invalid_utf8"), (2, "invalid_utf8"), (4, "bad_row"), (5, "bad_row"), (6, "bad_row"), (7, "bad_row"),
        (9, "url_missing"), (11, "bad_row"),
    ]  # fmt: skip
    texts = {"3": "a pair 😀 of them, and NUL", "5": "x", "6": "", "7": "x"}
    assert pairs(dataset) == {(f"http://a/{number}", text) for number, text in texts.items()}
    assert account.rows == 12


def test_ragged_rows_are_rejected_with_their_numbers(tmp_path: Path) -> None:
    lines = ["url,text", "http://a/1,x", "http://a/2", "http://a/3,x", "a,b,c", "", "http://a/4,x", "last"]
    (tmp_path / "l.csv").write_text("\n".join(lines))
    dataset, account, _ = take(tmp_path / "out", tmp_path / "l.csv")
    assert rejected(dataset) == [("l.csv", 2, "bad_row"), ("l.csv", 4, "bad_row"), ("l.csv", 6, "bad_row")]
    assert (account.rows, account.pairs) == (6, 3)


def test_bad_urls_and_long_texts_are_rejected_with_reasons(tmp_path: Path) -> None:
    urls = [
        None,
        "",
        "  ",
        "/a.png",
        "a.png",
        "data:image/png;base64,xx",
        "ftp://a/b",
        "http://",
        "http:///x",
        "javascript:0",
    ]
    urls += ["http://a/\0", "HTTP://OK/1", " https://ok/2 ", "http://ok/3"]
    texts = ["x"] * 13 + ["x" * 10_000_000]
    pl.DataFrame({"url": urls, "text": texts}).write_parquet(tmp_path / "l.parquet")
    dataset, account, _ = take(tmp_path / "out", tmp_path / "l.parquet")
    assert account.reasons == {"too_long": 1, "url_control_character": 1, "url_missing": 3, "url_not_http": 7}
    assert pairs(dataset) == {("HTTP://OK/1", "x"), ("https://ok/2", "x")}
    assert read(dataset, "rejected")["detail"][-1] == "alt_text of 10000000 bytes"


def test_a_text_of_five_megabytes_is_a_pair(tmp_path: Path) -> None:
    pl.DataFrame({"url": ["http://a/1"], "text": ["word " * 1_000_000]}).write_parquet(tmp_path / "l.parquet")
    built = build(tmp_path / "out", [str(tmp_path / "l.parquet")])
    assert built.table("measured/text")["n_words"].to_list() == [1_000_000]
    assert built.table("measured/corpus")["rarest_ngram"].to_list() == [999_999]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("l.csv", b"", "l.csv is empty"),
        ("l.parquet", b"", "l.parquet is empty"),
        ("l.parquet", b"PAR1 not really", "cannot read .*l.parquet to its end"),
        ("l.csv.gz", gzip.compress(as_csv(ROWS * 500), mtime=0)[:-40], "cannot read .*l.csv.gz to its end: Truncated"),
        (
            "l.jsonl.gz",
            gzip.compress(as_jsonl(ROWS * 500), mtime=0)[:-40],
            "cannot read .*l.jsonl.gz to its end: Truncated",
        ),
        ("l.csv.gz", b"no gzip at all", "cannot read .*l.csv.gz to its end"),
        ("l.csv", b"a,b\n1,2\n", "no column found for url and alt_text; it has: a, b; url is usually called url, "),
        ("l.csv", b"url,b\nhttp://a/1,2\n", "no column found for alt_text; it has: url, b; .*--text-col"),
        ("l.jsonl", b'{"a": 1}\n', "no column found for url and alt_text; it has: a"),
        ("l.jsonl", b"\n\n", "no column found for url and alt_text; it has: none"),
        ("l.csv", b"\n\n", "has no rows"),
        ("l.csv", "url,text\nhttp://a,b\n".encode("utf-16"), "is UTF-16; convert it to UTF-8"),
        ("l.txt", b"x", "is not in a known format: known are .parquet, "),
        ("l.parquett", b"x", r"did you mean .parquet\?"),
        ("l.csv", b'url,text\nhttp://a,"' + b"x" * 40_000_000, "cannot read .*l.csv to its end"),
    ],
)
def test_a_broken_file_is_a_sentence_and_leaves_nothing(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        take(tmp_path / "out", tmp_path / name)
    assert not manifest_of(tmp_path / "out", "pairs").exists()


def test_a_truncated_parquet_is_a_sentence(tmp_path: Path) -> None:
    pl.DataFrame({"url": ["http://a/1"] * 99, "text": ["x"] * 99}).write_parquet(tmp_path / "l.parquet")
    whole = (tmp_path / "l.parquet").read_bytes()
    (tmp_path / "l.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cannot read .*l.parquet to its end"):
        take(tmp_path / "out", tmp_path / "l.parquet")
    damaged = bytearray(whole)
    damaged[8:60] = b"\xff" * 52
    (tmp_path / "l.parquet").write_bytes(bytes(damaged))
    with pytest.raises(InputError, match=r"cannot read .*l.parquet to its end"):
        take(tmp_path / "out", tmp_path / "l.parquet")


def test_a_column_of_no_text_is_a_sentence(tmp_path: Path) -> None:
    pl.DataFrame({"url": ["http://a/1"], "text": [[1]]}).write_parquet(tmp_path / "l.parquet")
    with pytest.raises(InputError, match=r"the column for alt_text holds .*list.*, not text"):
        take(tmp_path / "out", tmp_path / "l.parquet")
    pl.DataFrame({"url": [["http://a/1"]], "text": ["x"]}).write_parquet(tmp_path / "l.parquet")
    with pytest.raises(InputError, match=r"the column for url holds .*list.*, not text"):
        take(tmp_path / "out", tmp_path / "l.parquet")


def test_no_match_and_no_such_protocol_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing matches .*none"):
        take(tmp_path / "out", tmp_path / "none*.parquet")
    with pytest.raises(InputError, match="cannot look for nope://x"):
        take(tmp_path / "out", "nope://x")


def test_no_rows_are_a_dataset_of_none(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("url,text\n")
    built = build(tmp_path / "out", [str(tmp_path / "l.csv")])
    assert (built.audit.pairs, built.audit.kept, built.account.rows) == (0, 0, 0)


def test_folders_globs_and_urls_name_each_file_once(tmp_path: Path) -> None:
    for name in ("x/a.csv", "x/y/b.csv", "x/_hidden.csv", "x/.c.csv", "x/y/readme.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(as_csv(ROWS))
    sources = find([str(tmp_path / "x"), str(tmp_path / "x/*.csv"), f"file://{tmp_path}/x/a.csv"])
    assert [s.name for s in sources] == ["_hidden.csv", "a.csv", "y/b.csv"]
    assert [s.name for s in find([str(tmp_path / "x")])] == ["a.csv", "y/b.csv"]


def test_inputs_and_dataset_on_an_fsspec_file_system(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/lists/l.csv.gz", gzip.compress(as_csv(ROWS)))
    built = build("memory://remote/dataset", ["memory://lists/*.csv.gz"])  # type: ignore[arg-type]
    build(tmp_path / "local", ["memory://lists/l.csv.gz"])
    for name in ("pairs", "measured/text", "measured/corpus", "verdicts/every", "counts/ngrams"):
        part = f"{name}/part-00000.parquet"
        assert memory.cat(f"/remote/dataset/{part}") == (tmp_path / "local" / part).read_bytes()
    assert built.audit.pairs == 3
    memory.rm("/", recursive=True)


def test_other_inputs_into_a_dataset_are_refused_and_the_same_are_nothing_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(as_csv(ROWS))
    (tmp_path / "b.csv").write_bytes(as_csv(ROWS[:2]))
    _, first, _ = take(tmp_path / "out", tmp_path / "a.csv")
    _, again, _ = take(tmp_path / "out", tmp_path / "a.csv")
    assert again.already
    assert (again.rows, again.pairs) == (first.rows, first.pairs)
    with pytest.raises(DatasetError, match=r"already holds 3 pairs of other inputs \(a.csv\): choose another --out"):
        take(tmp_path / "out", tmp_path / "b.csv")
    with pytest.raises(DatasetError, match="already holds"):
        take(tmp_path / "out", tmp_path / "a.csv", tmp_path / "b.csv")


def test_an_output_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(as_csv(ROWS))
    (tmp_path / "file").write_text("a file where a folder should be")
    said = r"cannot write .*file/out: .*; choose another place"
    with pytest.raises(OutputError, match=said), Store(tmp_path / "file" / "out").lock():
        pass


@given(st.lists(st.lists(st.binary(max_size=12), min_size=1, max_size=3), max_size=8))
@settings(max_examples=40)
def test_any_bytes_in_a_tsv_end_as_pairs_or_rejected(tmp_path: Path, lines: list[list[bytes]]) -> None:
    clean = [b"\t".join(f.replace(b"\n", b"").replace(b"\r", b"").replace(b"\t", b"") for f in line) for line in lines]
    content = b"url\ttext\nhttp://a/1\tx\n" + b"\n".join(clean)
    (tmp_path / "l.tsv").write_bytes(content)
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    _, account, _ = take(tmp_path / "out", tmp_path / "l.tsv")
    assert account.rows == 1 + sum(line != b"" for line in clean)
