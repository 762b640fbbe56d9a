"""Arrow IPC as an input: the rows that Parquet and JSON lines give, of whoever wrote it, and sentences for damage."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from test_bombs import peak
from test_inputs import pairs, rejected, take

from align_data.cli import main
from align_data.common.errors import InputError
from align_data.sources.files.damage import DamagedError
from align_data.sources.lists import FORMATS, Choice, find, registry, units
from align_data.sources.lists import read as rows_of
from align_data.sources.lists.flatbuffers import FlatTable

ROWS = 500
TABLE = pa.table(
    {
        "id": pa.array(range(ROWS), pa.int64()),
        "url": [f"http://h{i % 9}.example/{i}.jpg" for i in range(ROWS)],
        "text": pa.array([None if i % 7 == 0 else f"a caption of some length, {i}" * (i % 4) for i in range(ROWS)]),
        "width": pa.array([None if i % 5 == 0 else i for i in range(ROWS)], pa.int32()),
        "license": pa.array([("cc0", "by-sa 4.0 and more", None)[i % 3] for i in range(ROWS)]),
        "flag": pa.array([i % 2 == 0 for i in range(ROWS)]),
        "nested": pa.array([{"a": [i], "b": {"c": str(i)}} for i in range(ROWS)]),
        "bytes": pa.array([bytes(i % 40) for i in range(ROWS)], pa.binary()),
    }
)
CAPTIONS = [
    None if i % 11 == 0 else [f"caption {n} of {i}" if n % 3 else None for n in range(i % 5)] for i in range(90)
]


def rows(file: Path) -> pl.DataFrame:
    """Return all rows of a list as ingest reads them."""
    planned, _ = units(find([str(file)]), Choice())
    return pl.concat([frame for unit in planned for frame, _ in rows_of(unit)])


def write(file: Path, table: pa.Table, chunk: int = 77, compression: str | None = None, stream: bool = False) -> Path:
    options = pa.ipc.IpcWriteOptions(compression=compression)
    opened = pa.ipc.new_stream if stream else pa.ipc.new_file
    with opened(file, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=chunk)
    return file


def as_parquet(folder: Path, table: pa.Table) -> pl.DataFrame:
    pq.write_table(table, folder / "truth.parquet")
    return rows(folder / "truth.parquet")


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
@pytest.mark.parametrize("stream", [False, True])
def test_the_rows_are_those_of_parquet_and_json(tmp_path: Path, compression: str | None, stream: bool) -> None:
    truth = as_parquet(tmp_path, TABLE)
    lines = TABLE.select(["id", "url", "text", "width", "license"]).to_pylist()
    (tmp_path / "l.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    columns = [name for name in truth.columns if name != "source_uid"]
    assert truth.select(columns).equals(rows(tmp_path / "l.jsonl").select(columns))
    for chunk in (3, 77, ROWS):
        assert rows(write(tmp_path / "l.arrow", TABLE, chunk, compression, stream)).equals(truth)


TYPES: dict[str, Callable[[pa.Array], pa.Array]] = {
    "large": lambda column: column.cast(pa.large_string()),
    "view": lambda column: column.cast(pa.string_view()),
    "bytes": lambda column: column.cast(pa.binary()),
    "dictionary": lambda column: column.dictionary_encode(),
    "sliced": lambda column: pa.concat_arrays([pa.array(["before it"] * 3), column])[3:],
}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("compression", [None, "zstd"])
def test_texts_are_texts_however_they_are_stored(tmp_path: Path, kind: str, compression: str | None) -> None:
    text = TYPES[kind](TABLE["text"].combine_chunks())
    table = TABLE.set_column(2, "text", text).set_column(4, "license", TYPES[kind](TABLE["license"].combine_chunks()))
    truth = as_parquet(tmp_path, TABLE)
    for stream in (False, True):
        assert rows(write(tmp_path / "l.arrow", table, 100, compression, stream)).equals(truth)


@pytest.mark.parametrize(
    "lists",
    [
        pa.array(CAPTIONS, pa.list_(pa.string())),
        pa.array(CAPTIONS, pa.large_list(pa.large_string())),
        pa.array(CAPTIONS, pa.list_(pa.string_view())),
        pa.concat_arrays([pa.array([["x", "y"]]), pa.array(CAPTIONS, pa.list_(pa.string()))])[1:],
        pa.array([[str(i), None, "c"] if i % 4 else None for i in range(90)], pa.list_(pa.string(), 3)),
    ],
    ids=["list", "large", "views", "sliced", "fixed"],
)
def test_each_caption_of_a_list_is_a_row(tmp_path: Path, lists: pa.Array) -> None:
    table = pa.table({"url": [f"http://a/{i}" for i in range(90)], "text": lists})
    plain = pa.table({"url": table["url"], "text": pa.array(lists.to_pylist(), pa.list_(pa.string()))})
    truth = as_parquet(tmp_path, plain)
    assert len(truth) > 90
    for compression in (None, "zstd"):
        assert rows(write(tmp_path / "l.arrow", table, 13, compression)).equals(truth)


def test_dictionaries_may_grow_and_be_replaced(tmp_path: Path) -> None:
    schema = pa.schema({"url": pa.string(), "text": pa.dictionary(pa.int8(), pa.string())})
    words = [["a", "b"], ["a", "b", "c"], ["x", "y", "z"]]
    for name, options, many in (("delta", {"emit_dictionary_deltas": True}, 2), ("replaced", {}, 3)):
        with pa.ipc.new_stream(tmp_path / f"{name}.arrow", schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
            for number, own in enumerate(words[:many]):
                text = pa.DictionaryArray.from_arrays(pa.array(range(len(own)), pa.int8()), own)
                url = [f"http://a/{number}/{word}" for word in own]
                writer.write_batch(pa.record_batch({"url": url, "text": text}, schema))
        expected = [word for own in words[:many] for word in own]
        assert rows(tmp_path / f"{name}.arrow")["alt_text"].to_list() == expected


def polars_(file: Path) -> None:
    pl.from_arrow(TABLE).write_ipc(file)  # type: ignore[union-attr]


def polars_packed(file: Path) -> None:
    pl.from_arrow(TABLE).write_ipc(file, compression="zstd")  # type: ignore[union-attr]


def polars_stream(file: Path) -> None:
    pl.from_arrow(TABLE).write_ipc_stream(file)  # type: ignore[union-attr]


def duckdb_(file: Path) -> None:
    list_ = TABLE  # noqa: F841 - DuckDB finds it by its name
    reader = duckdb.sql("SELECT * FROM list_ ORDER BY id").to_arrow_reader(64)
    with pa.ipc.new_file(file, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)


def hugging_face(file: Path) -> None:
    folder = file.with_suffix("")
    datasets.Dataset(TABLE).save_to_disk(folder)
    (only,) = folder.glob("*.arrow")
    only.rename(file)


def feather(file: Path) -> None:
    from pyarrow import feather  # noqa: PLC0415 - only here

    feather.write_feather(TABLE.drop_columns(["nested"]), file)  # compressed with LZ4


WRITERS = [polars_, polars_packed, polars_stream, duckdb_, hugging_face, feather]


@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer_s_files_are_read(tmp_path: Path, writer: Callable[[Path], None]) -> None:
    writer(tmp_path / "l.arrow")
    assert rows(tmp_path / "l.arrow").equals(as_parquet(tmp_path, TABLE))


def test_a_folder_of_hugging_face_is_a_list(tmp_path: Path) -> None:
    datasets.Dataset(TABLE).save_to_disk(tmp_path / "saved", num_shards=3)
    dataset, account, _ = take(tmp_path / "out", tmp_path / "saved")
    assert account.rows == ROWS
    assert len(pairs(dataset)) == ROWS


def test_rows_are_accounted_for_as_those_of_other_formats_are(tmp_path: Path) -> None:
    texts = pa.array([b"fine", b"not \xff UTF-8", None, b"x" * (9 * 2**20), b"fine"], pa.binary())
    table = pa.table({"url": ["http://a/1", "http://a/2", "ftp://a/3", "http://a/4", "http://a/1"], "text": texts})
    pq.write_table(table, tmp_path / "l.parquet")
    write(tmp_path / "l.arrow", table)
    accounts = []
    for name in ("l.parquet", "l.arrow"):
        dataset, account, _ = take(tmp_path / f"out-{name}", tmp_path / name)
        accounts.append((account, pairs(dataset), [entry[1:] for entry in rejected(dataset)]))
    assert accounts[0] == accounts[1]
    assert accounts[1][2] == [(2, "invalid_utf8"), (3, "url_not_http"), (4, "too_long")]


@pytest.mark.parametrize("kind", ["text", "dictionary", "view", "list"])
def test_much_in_a_small_file_takes_little_memory(tmp_path: Path, kind: str) -> None:
    rows_, text = 1_200, "word " * 50_000
    texts: Any = pa.array([text] * rows_, pa.large_string())
    if kind == "dictionary":
        texts = pa.DictionaryArray.from_arrays(pa.array([0] * rows_, pa.int32()), pa.array([text]))
    if kind == "view":
        _, view, value = pa.array([text], pa.string_view()).buffers()
        texts = pa.Array.from_buffers(pa.string_view(), rows_, [None, pa.py_buffer(view.to_pybytes() * rows_), value])
    if kind == "list":
        texts = pa.LargeListArray.from_arrays(pa.array(range(0, rows_ + 1, 4), pa.int64()), texts)
    # Without a URL they are read and rejected, which costs little.
    table = pa.table({"url": pa.array([""] * len(texts)), "text": texts})
    write(tmp_path / "l.arrow", table, rows_, "zstd")
    del table, texts
    assert (tmp_path / "l.arrow").stat().st_size < 2**20
    said, held = peak(tmp_path / "l.arrow", tmp_path / "out")
    assert f"{rows_:,} rows in = " in said
    assert held < 400


def test_one_text_that_is_too_long_is_rejected_unread(tmp_path: Path) -> None:
    table = pa.table({"url": ["http://a/1", "http://a/2"], "text": pa.array(["w" * 2**28, "a dog"], pa.large_string())})
    write(tmp_path / "l.arrow", table, 2, "lz4")
    del table
    said, held = peak(tmp_path / "l.arrow", tmp_path / "out")
    assert "2 rows in = 1 pairs + 0 merged + 1 rejected (1 too_long)" in said
    assert held < 500


# --- damage ---


def refused(tmp_path: Path, content: bytes, name: str = "l.arrow") -> str:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        rows(tmp_path / name)
    assert name in str(caught.value)
    return str(caught.value)


def test_what_breaks_off_is_a_sentence(tmp_path: Path) -> None:
    file = write(tmp_path / "f.arrow", TABLE).read_bytes()
    assert "does not end as an Arrow file does" in refused(tmp_path, file[:-20])
    stream = write(tmp_path / "s.arrow", TABLE, stream=True).read_bytes()
    assert "it has no end: what wrote it was killed" in refused(tmp_path, stream[:-8])
    assert "extends past its end" in refused(tmp_path, stream[: len(stream) // 2])
    assert "data follows the end" in refused(tmp_path, stream + stream)
    assert "Feather version 1" in refused(tmp_path, b"FEA1" + bytes(40))
    for length in (0, 4, 6, 8, 17):
        if length:
            refused(tmp_path, b"ARROW1\0\0ARROW1ARROW1"[:length])


def two_rows() -> tuple[bytes, bytes]:
    """Return a stream of one small batch, and the offsets of its URLs."""
    table = pa.table({"url": pa.array(["http://a/1", "http://a/22"], pa.large_string()), "text": ["x", "yy"]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes(), np.array([0, 10, 21], "<i8").tobytes()


@pytest.mark.parametrize(
    ("offsets", "sentence"),
    [
        ([0, 25, 21], "not in order"),
        ([0, -5, 21], "not in order"),
        ([0, 10, 2**40], "not in order"),
        ([-1, 10, 21], "not in order"),
    ],
)
def test_offsets_that_lead_elsewhere_are_a_sentence(tmp_path: Path, offsets: list[int], sentence: str) -> None:
    content, own = two_rows()
    assert content.count(own) == 1
    assert sentence in refused(tmp_path, content.replace(own, np.array(offsets, "<i8").tobytes()))


def test_an_index_that_no_dictionary_has_is_a_sentence(tmp_path: Path) -> None:
    indices = [1, 0, 1, 0, 0, 1, 1, 1]
    text = pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), ["x", "y"])
    content = write(tmp_path / "l.arrow", pa.table({"url": ["http://a/1"] * 8, "text": text})).read_bytes()
    own = np.array(indices, "<i4").tobytes()
    assert content.count(own) == 1
    assert "out of bounds" in refused(tmp_path, content.replace(own, np.array([1, 0, 1, 0, 0, 1, 1, 9], "<i4")))


@pytest.mark.parametrize("declared", [2**62, 2**61, 2**40, -2, 3])
def test_a_length_that_is_declared_and_not_there_takes_no_memory(tmp_path: Path, declared: int) -> None:
    text = pa.array(["word " * 1000] * 7)
    table = pa.table({"url": ["http://a/1"] * 7, "text": text})
    content = write(tmp_path / "l.arrow", table, compression="zstd").read_bytes()
    begins = b"\x28\xb5\x2f\xfd"  # what is compressed by zstd
    own = (5000 * 7).to_bytes(8, "little") + begins
    assert content.count(own) == 1
    wrong = content.replace(own, declared.to_bytes(8, "little", signed=True) + begins)
    if declared in (2**61, 2**40):  # no offset leads there, so nobody asks for it
        (tmp_path / "l.arrow").write_bytes(wrong)
        assert rows(tmp_path / "l.arrow")["alt_text"].to_list() == text.to_pylist()
    else:
        refused(tmp_path, wrong)


def test_views_that_lead_elsewhere_are_a_sentence(tmp_path: Path) -> None:
    text = pa.array(["a text that is not kept in its view"] * 3, pa.string_view())
    content = write(tmp_path / "l.arrow", pa.table({"url": ["http://a/1"] * 3, "text": text})).read_bytes()
    view = np.frombuffer(text.buffers()[1], "<i4")[:4].copy()
    assert content.count(view.tobytes()) >= 1
    for place, value in ((2, 7), (2, -1), (3, 2**30), (3, -4), (0, 2**31 - 1), (0, -1)):
        wrong = view.copy()
        wrong[place] = value
        refused(tmp_path, content.replace(view.tobytes(), wrong.tobytes()))


def test_a_footer_that_names_others_is_a_sentence(tmp_path: Path) -> None:
    content = write(tmp_path / "l.arrow", TABLE, 250).read_bytes()
    footer = FlatTable.root(content[-10 - int.from_bytes(content[-10:-6], "little") : -10])
    first, second = (block[0] for block in footer.structs(3, "qi4xq"))
    whole = content.rindex(second.to_bytes(8, "little"))
    for offset in (first, 0, 3, 2**50, len(content) - 12, second + 8):
        refused(tmp_path, content[:whole] + offset.to_bytes(8, "little") + content[whole + 8 :])


def test_columns_without_values_cannot_claim_rows_without_end(tmp_path: Path) -> None:
    table = pa.table({"url": pa.nulls(5_003), "text": pa.nulls(5_003)})
    content = write(tmp_path / "l.arrow", table, 5_003, stream=True).read_bytes()
    number = (5_003).to_bytes(8, "little")
    assert "claims" in refused(tmp_path, content.replace(number, (2**55).to_bytes(8, "little")))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_table_or_damaged(data: bytes) -> None:
    try:
        table = FlatTable.root(data)
        table.tables(1)
        table.structs(2, "qq")
        table.number(3, "q")
    except DamagedError:
        pass


@pytest.mark.parametrize("seed", range(6))
def test_mutated_files_are_read_or_refused_in_a_sentence(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    view = TABLE.set_column(2, "text", TYPES["view"](TABLE["text"].combine_chunks()))
    words = TABLE.set_column(2, "text", TYPES["dictionary"](TABLE["text"].combine_chunks()))
    lists = pa.table({"url": [f"http://a/{i}" for i in range(90)], "text": CAPTIONS})
    ends = {"rows": 0, "refused": 0}
    for _ in range(60):
        table, stream = chance.choice((TABLE, view, words, lists)), chance.random() < 0.5
        write(tmp_path / "l.arrow", table, 60, chance.choice((None, "zstd", "lz4")), stream)
        content = bytearray((tmp_path / "l.arrow").read_bytes())
        for _ in range(chance.choice((1, 4, 40))):
            content[chance.randrange(len(content))] = chance.choice((0, 1, 0x7F, 0xFF, chance.randrange(256)))
        (tmp_path / "l.arrow").write_bytes(content)
        try:
            assert len(rows(tmp_path / "l.arrow")) < 100_000
            ends["rows"] += 1
        except InputError as error:
            assert "l.arrow" in str(error)  # noqa: PT017 - either is right
            ends["refused"] += 1
    assert min(ends.values()) > 3


# --- all formats ---


def test_a_file_of_no_format_is_a_sentence_that_lists_them_all(tmp_path: Path) -> None:
    (tmp_path / "l.arow").write_bytes(b"x")
    with pytest.raises(InputError, match=r"did you mean \.arrow\?") as caught:
        find([str(tmp_path / "l.arow")])
    said = str(caught.value)
    assert all(ending in said for ending in registry.ENDINGS)
    assert "CSV, TSV and JSON also with .gz" in said


def test_a_format_is_known_by_its_first_bytes_where_its_name_does_not_tell(tmp_path: Path) -> None:
    write(tmp_path / "list", TABLE)
    pq.write_table(TABLE, tmp_path / "0a1b2c")
    sources = find([str(tmp_path / "list"), str(tmp_path / "0a1b2c")])
    assert [source.format for source in sources] == ["parquet", "arrow"]
    with pytest.raises(InputError, match="is not in a known format"):
        find([str(write(tmp_path / "l.arrow.gz", TABLE))])


def test_help_and_readme_name_every_format() -> None:
    said = " ".join(CliRunner().invoke(main, ["ingest", "--help"]).output.split())
    assert registry.described() in said
    assert all(format_.title in said for format_ in FORMATS.values())
