"""Lists as people have them: columns called otherwise, captions in lists, arrays, folders that say something, links."""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import read
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st
from test_cli import call
from test_inputs import pairs, rejected, take, zst

from align_data.common.errors import DatasetError, InputError
from align_data.sources.lists import Choice, find
from align_data.sources.lists.column_names import by_name
from align_data.sources.lists.json_elements import lines

LINE = b'{"url": "http://a/1", "text": "a cat"}\n'


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (["Image URL", "Alt Text (en)", "W", "H"], {"url": "Image URL", "alt_text": "Alt Text (en)"}),
        (["src", "captions"], {"url": "src", "alt_text": "captions"}),
        (["IMAGE-URL", "alt"], {"url": "IMAGE-URL", "alt_text": "alt"}),
        (["alt text (de)", "alt_text", "url [https]"], {"url": "url [https]", "alt_text": "alt_text"}),
        (["url", "text (en)", "text (de)"], {"url": "url", "alt_text": "text (en)"}),
        (["url", "Text", "text"], {"url": "url", "alt_text": "Text"}),
        (["(url)", "url", "text"], {"url": "url", "alt_text": "text"}),
    ],
)
def test_columns_are_known_without_blanks_signs_and_brackets(columns: list[str], found: dict[str, str]) -> None:
    columns_, said = by_name(columns, Choice(), "l.csv")
    assert {role: columns_[role] for role in found} == found
    assert ("(not " in said) == (sum("ext" in name for name in columns) > 1)


def test_sizes_are_called_w_and_h(tmp_path: Path) -> None:
    (tmp_path / "l.jsonl").write_text(json.dumps({"src": "http://a/1", "alt text": "x", "w": 3, "h": "4"}))
    dataset, _, _ = take(tmp_path / "out", tmp_path / "l.jsonl")
    assert read(dataset, "pairs").select("declared_width", "declared_height").rows() == [(3, 4)]


LISTS: list[list[str | None] | None] = [["a b", "c"], [], None, ["d", None], ["e", "e"]]
CAPTIONS = {(0, "a b"), (0, "c"), (1, ""), (2, ""), (3, "d"), (3, ""), (4, "e")}


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.large_list(pa.large_string()), pa.list_(pa.binary())])
def test_each_caption_of_a_list_is_a_row(tmp_path: Path, kind: Any) -> None:
    urls = [f"http://a/{i}" for i in range(5)]
    binary = kind.value_type == pa.binary()
    values = [texts and [t if t is None or not binary else t.encode() for t in texts] for texts in LISTS]
    table = pa.table({"url": urls, "captions": pa.array(values, kind), "id": list(range(5))})
    pq.write_table(table, tmp_path / "l.parquet", row_group_size=2)
    lines = [{"url": u, "captions": texts, "id": i} for i, (u, texts) in enumerate(zip(urls, LISTS, strict=True))]
    (tmp_path / "l.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "l.json").write_text(json.dumps(lines, indent=2))
    for name in ("l.parquet", "l.jsonl", "l.json"):
        dataset, account, said = take(tmp_path / f"{name}.out", tmp_path / name)
        assert pairs(dataset) == {(urls[i], text) for i, text in CAPTIONS}
        assert (account.rows, account.pairs, account.merged) == (8, 7, 1)
        assert "(captions is a list: each of its captions is a row)" in said[0]
        ids = read(dataset, "pairs").select("url", "source_uid").rows()
        assert all(url.endswith(uid) for url, uid in ids)


def test_a_list_of_captions_that_are_not_all_text_is_rejected(tmp_path: Path) -> None:
    lines = [{"url": "http://a/1", "text": ["x", 7]}, {"url": "http://a/2", "text": ["x", "y"]}]
    (tmp_path / "l.jsonl").write_text("\n".join(map(json.dumps, lines)))
    dataset, _, _ = take(tmp_path / "out", tmp_path / "l.jsonl")
    assert rejected(dataset) == [("l.jsonl", 1, "bad_row")]
    assert pairs(dataset) == {("http://a/2", "x"), ("http://a/2", "y")}


WORDS = st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda deeper: st.lists(deeper, max_size=3) | st.dictionaries(WORDS, deeper, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.dictionaries(WORDS, JSON, max_size=3), max_size=5), st.sampled_from([None, 1]), st.booleans())
def test_an_array_is_read_as_its_lines(tmp_path: Path, rows: list[Any], indent: int | None, ascii_: bool) -> None:
    content = json.dumps([{"url": "http://a/0"}, *rows], indent=indent, ensure_ascii=ascii_)
    (tmp_path / "l.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    found = [
        json.loads(bytes(line).decode("utf-8", "surrogatepass")) for line in lines(find([str(tmp_path / "l.json")])[0])
    ]  # type: ignore[arg-type]
    assert found == [{"url": "http://a/0"}, *rows]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'[{"url": "http://a/1", "text": "x"}, {"url": ', "one JSON array that cannot be read from element 2 on"),
        (b'[{"url": "http://a/1", "text": "x"}] x', "one JSON array followed by other data"),
        (b'{"images": [\n{"url": "http://a/1"}]}', "none of its first lines is a whole object"),
        (b"[]", "no column found"),
        (b'[["http://a/1", "x"]]', "has rows that are arrays"),
    ],
)
def test_what_is_not_json_lines_is_a_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "l.json").write_bytes(content)
    with pytest.raises(InputError, match=said):
        take(tmp_path / "out", tmp_path / "l.json")


def test_json_beside_lists_is_read_only_where_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "l.jsonl").write_bytes(LINE)
    (tmp_path / "dataset_info.json").write_text("{}")
    assert [source.name for source in find([str(tmp_path)])] == ["l.jsonl"]


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_folders_say_what_the_rows_do_not(tmp_path: Path, form: str) -> None:
    folders = ["language=de/w=640", "language=__HIVE_DEFAULT_PARTITION__/w=0", "language=zh%2FHans/w=x"]
    for number, folder in enumerate(folders):
        (tmp_path / "in" / folder).mkdir(parents=True)
        frame = pl.DataFrame({"url": [f"http://a/{number}"], "text": ["x"]})
        file = tmp_path / "in" / folder / f"part-0.{form}"
        {"parquet": frame.write_parquet, "csv": frame.write_csv, "jsonl": frame.write_ndjson}[form](file)
    dataset, _, said = take(tmp_path / "out", tmp_path / "in")
    found = read(dataset, "pairs").sort("url").select("declared_language", "declared_width").rows()
    assert found == [("de", 640), (None, None), ("zh/Hans", None)]
    assert any("by its folders: declared_width, declared_language" in sentence for sentence in said)


def test_a_row_goes_before_its_folder(tmp_path: Path) -> None:
    (tmp_path / "language=de").mkdir()
    lines = [{"url": "http://a/1", "text": "x", "lang": "en"}, {"url": "http://a/2", "text": "x"}]
    (tmp_path / "language=de" / "l.jsonl").write_text("\n".join(map(json.dumps, lines)))
    dataset, _, _ = take(tmp_path / "out", tmp_path / "language=de")
    assert read(dataset, "pairs").sort("url")["declared_language"].to_list() == ["en", "de"]


def test_patterns_pass_over_what_folders_do(tmp_path: Path) -> None:
    names = ["a/x.jsonl", "a/_x.jsonl", ".ipynb_checkpoints/x.jsonl", "_delta_log/0.jsonl", "a/.x.jsonl", "b/y.csv"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(LINE)

    def found(pattern: str) -> list[str]:
        return [source.path.removeprefix(f"{tmp_path}/") for source in find([f"{tmp_path}/{pattern}"])]

    assert found("**/*.jsonl") == found("*/x.jsonl") == ["a/x.jsonl"]
    assert found("_delta_log/*.jsonl") == found("**/_delta_log/*.jsonl") == ["_delta_log/0.jsonl"]
    assert found("a/*.jsonl") == ["a/_x.jsonl", "a/x.jsonl"]
    assert found("{a/x.jsonl,b/{y,y}.csv}") == ["a/x.jsonl", "b/y.csv"]
    assert found("{a,b}/*[xy].*") == ["a/_x.jsonl", "a/x.jsonl", "b/y.csv"]
    with pytest.raises(InputError, match=r"nothing matches .*/c/\*.csv"):
        found("{b,c}/*.csv")
    with pytest.raises(InputError, match="more than 10,000 patterns"):
        found("{a,b}" * 20)
    (tmp_path / "{a,b}.jsonl").write_bytes(LINE)
    assert found("{a,b}.jsonl") == ["{a,b}.jsonl"]


@pytest.mark.parametrize("zeros", [0, 1, 512, 3_000_000])
def test_gzip_ends_in_zeros_and_goes_on_in_members(tmp_path: Path, zeros: int) -> None:
    lines = [LINE.replace(b"/1", b"/%d" % i) for i in range(3)]
    content = b"\0".join(map(gzip.compress, lines)) if zeros else b"".join(map(gzip.compress, lines))
    (tmp_path / "l.jsonl.gz").write_bytes(content + bytes(zeros))
    (tmp_path / "z.jsonl.zst").write_bytes(b"".join(map(zst, lines)))
    for name in ("l.jsonl.gz", "z.jsonl.zst"):
        _, account, _ = take(tmp_path / name.replace(".", "-"), tmp_path / name)
        assert account.pairs == 3
    (tmp_path / "l.jsonl.gz").write_bytes(content + bytes(zeros) + b"garbage")
    with pytest.raises(InputError, match="data that is not gzip follows its end"):
        take(tmp_path / "bad", tmp_path / "l.jsonl.gz")


def test_an_id_that_cannot_be_one_does_not_reject_its_pair(tmp_path: Path) -> None:
    urls = [f"http://a/{i}" for i in range(2)]
    for number, ids in enumerate([[[1], [2]], [{"a": 1}, None]]):
        pq.write_table(pa.table({"url": urls, "text": ["x", "y"], "id": ids}), tmp_path / f"{number}.parquet")
        dataset, account, said = take(tmp_path / f"{number}", tmp_path / f"{number}.parquet")
        assert (account.pairs, read(dataset, "pairs")["source_uid"].null_count()) == (2, 2)
        assert "so source_uid is left empty" in said[0]
    pq.write_table(pa.table({"url": urls, "text": ["x", "y"], "id": [b"\xff", b"ok"]}), tmp_path / "b.parquet")
    dataset, account, said = take(tmp_path / "b", tmp_path / "b.parquet")
    assert "source_uid: 1 values are not UTF-8, and are left empty; their rows stay" in said
    assert read(dataset, "pairs").sort("url")["source_uid"].to_list() == [None, "ok"]
    assert account.rejected == 0


@pytest.mark.parametrize("form", ["{}\n{}\n", "[{}, {}]"])
def test_an_id_of_any_length_does_not_reject_its_pair(tmp_path: Path, form: str) -> None:
    digits = "9" * 5_000  # more than Python makes a number of
    rows = [f'{{"url": "http://a/{i}", "text": "x", "id": {number}}}' for i, number in enumerate((digits, 7))]
    (tmp_path / "l.json").write_text(form.format(*rows))
    dataset, account, _ = take(tmp_path / "out", tmp_path / "l.json")
    assert account.rejected == 0
    assert read(dataset, "pairs").sort("url")["source_uid"].to_list() == [digits, "7"]


def test_a_list_that_was_only_touched_is_the_same(tmp_path: Path) -> None:
    content = b"".join(LINE.replace(b"/1", b"/%06d" % i) for i in range(5_000))
    (tmp_path / "l.jsonl").write_bytes(content)
    take(tmp_path / "out", tmp_path / "l.jsonl")
    os.utime(tmp_path / "l.jsonl", (1, 1))
    _, account, _ = take(tmp_path / "out", tmp_path / "l.jsonl")
    assert account.already
    (tmp_path / "l.jsonl").write_bytes(content.replace(b"/002500", b"/009999"))  # ends and size are the same
    with pytest.raises(DatasetError, match="one has changed since"):
        take(tmp_path / "out", tmp_path / "l.jsonl")


def test_where_rejected_rows_lie_is_said_with_an_example(tmp_path: Path) -> None:
    lines = [LINE, b"not json\x1b[31m\n", b'{"url": "ftp://a/1", "text": "x"}\n', b"{}}\n"]
    (tmp_path / "l.jsonl").write_bytes(b"".join(lines))
    said = " ".join(call("ingest", tmp_path / "l.jsonl", "--out", tmp_path / "out").stderr.split())
    assert (
        f"the rejected rows are in {tmp_path}/out/rejected; most frequent is bad_row (2), such as row 2 of l.jsonl"
        in said
    )
    assert "\x1b" not in said


class _Server(BaseHTTPRequestHandler):
    lists: ClassVar[dict[str, bytes]] = {"/l.jsonl": LINE, "/l.jsonl.gz": gzip.compress(LINE)}

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        status = int(path[1:4]) if path[1:4].isdigit() else 200 if path in self.lists else 404
        data = self.lists.get(path, b"no")
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) * (2 if path == "/cut.jsonl" else 1)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with _served() as url:
        yield url


@contextmanager
def _served() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def test_a_presigned_link_is_read_and_its_signature_kept_out(tmp_path: Path, server: str) -> None:
    pytest.importorskip("aiohttp")
    signed = "?X-Amz-Signature=SECRET&X-Amz-Expires=60"
    _, account, said = take(tmp_path / "out", f"{server}/l.jsonl{signed}", f"{server}/l.jsonl.gz{signed}")
    assert (account.rows, account.merged) == (2, 1)
    files = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not any(b"SECRET" in content for content in files)
    assert "SECRET" not in " ".join(said)
    again = take(tmp_path / "out", f"{server}/l.jsonl?X-Amz-Signature=OTHER", f"{server}/l.jsonl.gz?sig=OTHER")[1]
    assert again.already


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("403.jsonl", "see that you may read it"),
        ("401.jsonl", "set the credentials"),
        ("404.jsonl", "nothing matches|see that the address is right"),
        ("500.jsonl", "try again later"),
    ],
)
@pytest.mark.parametrize("query", ["sig=SECRET", "X-Amz-Credential=x&token=a404&X-Amz-Signature=SECRET"])
def test_a_server_that_refuses_is_a_sentence(tmp_path: Path, server: str, path: str, said: str, query: str) -> None:
    pytest.importorskip("aiohttp")
    with pytest.raises(InputError, match=said) as refused:
        take(tmp_path / "out", f"{server}/{path}?{query}")
    assert f"{server}/{path}" in str(refused.value)
    assert "SECRET" not in str(refused.value)


def test_a_server_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    with _served() as url:
        pass
    with pytest.raises(InputError, match=r"connect.*; see that it can be reached, and try again"):
        take(tmp_path / "out", f"{url}/404.csv?sig=SECRET")


class _GatedRepoError(Exception):
    pass


def test_any_error_of_a_file_system_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise _GatedRepoError("Access to dataset x is restricted")

    monkeypatch.setattr(MemoryFileSystem, "isdir", refuse)
    with pytest.raises(InputError, match=r"cannot look for memory://x.csv: .*restricted; ask for access.*HF_TOKEN"):
        take(tmp_path / "out", "memory://x.csv")
