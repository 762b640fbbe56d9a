"""Small lists that unpack to much: what is too long is rejected unread, the rest is read, and memory stays small."""

from __future__ import annotations

import gzip
import io
import random
import sys
from pathlib import Path
from typing import Any

import forked
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import read
from hypothesis import given, settings
from hypothesis import strategies as st
from test_inputs import pairs, rejected, take, zst

from align_data.common.errors import InputError
from align_data.sources.files.damage import DamagedError
from align_data.sources.lists import (
    decompression,
    find,
    parquet_footer,
    parquet_long_values,
    parquet_pages,
    pieces,
    units,
)
from align_data.sources.lists import read as rows_of
from align_data.sources.lists.column_names import Choice
from align_data.sources.lists.parquet_long_values import Unread

BIG = 2**28


def peak(list_: Path, out: Path, memory: str = "256MB") -> tuple[str, int]:
    """Ingest in a process of its own; return what it said and the megabytes that it held at most."""
    code = (
        "import sys; from pathlib import Path; from align_data.cli import main\n"
        "try: main()\n"
        "finally: print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    command = [sys.executable, "-c", code, "ingest", str(list_), "--out", str(out), "--memory", memory]
    done = forked.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr, int(done.stdout.split()[-1]) // 1024


def texts(big: bytes) -> pa.Array:
    return pa.array([b"a cat"] * 5 + [big] + [b"a dog"] * 5, pa.large_binary())


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zstd"},
        {"compression": "zstd", "use_dictionary": False},
        {"compression": "brotli", "use_dictionary": False, "data_page_version": "2.0"},
    ],
)
def test_one_long_text_is_rejected_unread_and_its_neighbours_are_pairs(tmp_path: Path, options: Any) -> None:
    table = pa.table({"url": [f"http://a/{i}" for i in range(11)], "text": texts(b"a" * BIG)})
    pq.write_table(table, tmp_path / "l.parquet", **options)
    del table
    assert (tmp_path / "l.parquet").stat().st_size < 2**20
    said, held = peak(tmp_path / "l.parquet", tmp_path / "out")
    assert "11 rows in = 10 pairs + 0 merged + 1 rejected (1 too_long)" in said
    assert f"alt_text of {BIG} bytes" in said
    assert held < 500


def test_a_row_of_too_many_long_captions_is_rejected_unread(tmp_path: Path) -> None:
    captions = pa.DictionaryArray.from_arrays(np.zeros(20_000, np.int32), ["word " * 10_000])
    lists = pa.ListArray.from_arrays(pa.array([0, 20_000], pa.int32()), captions.cast(pa.large_string()))
    pq.write_table(pa.table({"url": ["http://a/1"], "text": lists}), tmp_path / "l.parquet", compression="zstd")
    del lists
    said, held = peak(tmp_path / "l.parquet", tmp_path / "out")
    assert "1 rows in = 0 pairs + 0 merged + 1 rejected (1 too_long)" in said
    assert held < 500


def test_a_long_text_that_is_decoded_is_rejected_before_it_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "MAX_BYTES", 100)
    long = ["a" * 101, "b" * 100, "c" * 5_000, None]
    table = pa.table({"url": [f"http://a/{i}" for i in range(4)], "text": long, "license": long[::-1]})
    pq.write_table(table, tmp_path / "l.parquet")
    (unit,), _ = units(find([str(tmp_path / "l.parquet")]), Choice())
    ((frame, rejects),) = rows_of(unit)
    assert frame.select("row", "license").rows() == [(2, None), (4, None)]
    told = [(1, "too_long", "alt_text of 101 bytes"), (3, "too_long", "alt_text of 5000 bytes")]
    assert list(zip(rejects.rows, rejects.reasons, rejects.details, strict=True)) == told


def test_what_cannot_be_read_value_by_value_is_rejected_row_by_row(tmp_path: Path) -> None:
    longs = pa.DictionaryArray.from_arrays(np.arange(24) % 12, [letter * 8_000_000 for letter in "abcdefghijkl"])
    pq.write_table(
        pa.table({"url": [f"http://a/{i}" for i in range(24)], "text": longs}),
        tmp_path / "l.parquet",
        compression="zstd",
    )
    dataset, account, _ = take(tmp_path / "out", tmp_path / "l.parquet")
    assert (account.rows, account.rejected) == (24, 24)
    assert set(read(dataset, "rejected")["reason"]) == {"too_long"}
    lists = pa.array([["x" * 20_000_000], ["y"]], pa.list_(pa.string()))
    pq.write_table(
        pa.table({"url": ["http://a/1", "http://a/2"], "text": lists}), tmp_path / "l.parquet", compression="zstd"
    )
    assert take(tmp_path / "lists", tmp_path / "l.parquet")[1].rejected == 2


def test_a_row_group_that_is_read_value_by_value_may_stand_beside_others(tmp_path: Path) -> None:
    schema = pa.schema({"url": pa.string(), "text": pa.string()})
    with pq.ParquetWriter(tmp_path / "l.parquet", schema, compression="zstd", use_dictionary=False) as writer:
        for number, text in enumerate(("a cat", "w" * 20_000_000, "a dog")):
            writer.write_table(pa.table({"url": [f"http://a/{number}"], "text": [text]}, schema))
    dataset, account, _ = take(tmp_path / "out", tmp_path / "l.parquet")
    assert (account.rows, account.pairs, account.reasons) == (3, 2, {"too_long": 1})
    assert set(read(dataset, "pairs")["alt_text"]) == {"a cat", "a dog"}


@given(
    st.lists(st.none() | st.binary(max_size=40), min_size=1, max_size=300),
    st.sampled_from(["none", "gzip", "zstd", "brotli", "snappy", "lz4"]),
    st.sampled_from(["1.0", "2.0"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1, 7, 1024]),
)
def test_values_are_those_of_pyarrow(
    tmp_path: Path, values: list[bytes | None], codec: str, version: str, coded: bool, nulls: bool, batch: int
) -> None:
    values = values if nulls else [value or b"" for value in values]
    schema = pa.schema([pa.field("v", pa.binary(), nullable=nulls)])
    pq.write_table(
        pa.table([pa.array(values, pa.binary())], schema=schema), tmp_path / "l.parquet", compression=codec,
        data_page_version=version, use_dictionary=coded, write_batch_size=batch, data_page_size=64,
        dictionary_pagesize_limit=200,
    )  # fmt: skip
    with pa.OSFile(str(tmp_path / "l.parquet")) as file:
        (chunk,) = parquet_footer.read(file).groups[0].chunks
        all_pages = list(parquet_pages.pages(file, chunk))
        assert sum(page.values for page in all_pages if page.kind != parquet_pages.DICTIONARY) == len(values)
        bounds = parquet_pages.Bounds(file, chunk, all_pages)
        for rows in (1, 3, 1024):
            largest = max(sum(len(v or b"") for v in values[i : i + rows]) for i in range(len(values)))
            assert bounds.of(rows) >= largest
        found = list(parquet_long_values.values(file, chunk, all_pages))
    if codec in ("snappy", "lz4"):
        assert all(isinstance(value, Unread) for value in found)
        assert len(found) == len(values)
    else:
        assert found == values


@given(st.integers(0, 20), st.lists(st.tuples(st.booleans(), st.integers(1, 40), st.integers(0)), max_size=20))
def test_hybrid_runs_are_decoded(width: int, runs: list[tuple[bool, int, int]]) -> None:
    data, wanted = b"", list[int]()
    for packed, length, seed in runs:
        if packed:
            numbers = [(seed >> i) % 2**width for i in range(8 * length)]
            bits = sum(number << (width * i) for i, number in enumerate(numbers))
            head, body = length << 1 | 1, bits.to_bytes(width * length, "little")
        else:
            numbers = [seed % 2**width] * length
            head, body = length << 1, numbers[0].to_bytes((width + 7) // 8, "little")
        data += bytes([head & 127 | 128, head >> 7]) + body
        wanted += numbers
    assert parquet_pages.hybrid(data, width, len(wanted)).tolist() == wanted
    if width and wanted:
        with pytest.raises(DamagedError):
            parquet_pages.hybrid(data, width, len(wanted) + 1)


def test_rows_of_lists_are_bounded_by_their_levels(tmp_path: Path) -> None:
    lists = [["a" * 100] * (i % 7) for i in range(1000)]
    for version in ("1.0", "2.0"):
        table = pa.table({"url": ["http://a"] * 1000, "text": lists})
        pq.write_table(
            table, tmp_path / "l.parquet", data_page_version=version, data_page_size=500, write_batch_size=10
        )
        with pa.OSFile(str(tmp_path / "l.parquet")) as file:
            chunk = parquet_footer.read(file).groups[0].chunks[1]
            bounds = parquet_pages.Bounds(file, chunk, list(parquet_pages.pages(file, chunk)))
        for rows in (1, 5, 64):
            assert bounds.of(rows) >= max(100 * sum(i % 7 for i in range(f, f + rows)) for f in range(1000 - rows))


def small(**options: Any) -> bytes:
    file = io.BytesIO()
    columns = {
        "url": [f"http://a/{i}" for i in range(50)],
        "text": ["x y"] * 50,
        "l": [["a"]] * 50,
        "s": [{"a": 1}] * 50,
    }
    pq.write_table(pa.table(columns), file, row_group_size=20, **options)
    return file.getvalue()


@pytest.mark.parametrize("where", ["footer", "pages"])
def test_damage_is_a_sentence_or_an_account(tmp_path: Path, where: str) -> None:
    raw = small()
    foot = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
    chance = random.Random(7)
    outcomes = set()
    for _ in range(400):
        data = bytearray(raw)
        for _ in range(chance.choice([1, 1, 3])):
            data[chance.randrange(*((foot, len(raw) - 8) if where == "footer" else (4, foot)))] = chance.randrange(256)
        (tmp_path / "l.parquet").write_bytes(data)
        try:
            todo, _ = units(find([str(tmp_path / "l.parquet")]), Choice())
            taken = sum(len(frame) + len(rejects.rows) for unit in todo for frame, rejects in rows_of(unit))
            assert taken == sum(group.rows for unit in todo for group in unit.section.groups)
            outcomes.add("account")
        except InputError:
            outcomes.add("sentence")
    assert outcomes == {"account", "sentence"}


def varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


@pytest.mark.parametrize(
    ("foot", "said"),
    [
        (b"\x1c" * 200, "nested too deeply"),
        (b"\x19\xfc" + varint(2**40) + b"\x00", "is truncated"),
        (b"\x18" + varint(2**40), "is truncated"),
        (b"\x15" + b"\xff" * 20, "more than 64 bits"),
        (b"\x00", "a list of its footer is missing"),
    ],
)
def test_a_footer_that_is_a_bomb_is_a_sentence(tmp_path: Path, foot: bytes, said: str) -> None:
    (tmp_path / "l.parquet").write_bytes(b"PAR1" + foot + len(foot).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(InputError, match=rf"cannot read .*l.parquet to its end: .*{said}"):
        take(tmp_path / "out", tmp_path / "l.parquet")


def test_more_rows_than_a_file_can_have_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_footer, "_ROWS", 1_000)
    pq.write_table(pa.table({"url": ["http://a/1"] * 90_000, "text": ["x"] * 90_000}), tmp_path / "l.parquet")
    with pytest.raises(InputError, match=r"claims 90,000 (rows|values) in"):
        take(tmp_path / "out", tmp_path / "l.parquet")


def test_a_list_that_decodes_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "_DECODED", 2**24)
    table = pa.table({"url": [f"http://a/{i}" for i in range(200)], "text": ["x" * 500_000] * 200})
    pq.write_table(table, tmp_path / "l.parquet")
    with pytest.raises(InputError, match="is not a list but a bomb"):
        take(tmp_path / "out", tmp_path / "l.parquet")


@pytest.mark.parametrize("pack", [gzip.compress, zst])
def test_a_line_of_megabytes_is_rejected_and_a_stream_of_zeros_refused(tmp_path: Path, pack: Any) -> None:
    rows = [b'{"url": "http://a/%d", "text": "%s"}\n' % (i, b"x" * (40_000_000 if i == 1 else 1)) for i in range(3)]
    (tmp_path / "l.jsonl.gz" if pack is not zst else tmp_path / "l.jsonl.zst").write_bytes(pack(b"".join(rows)))
    dataset, account, _ = take(tmp_path / "out", tmp_path / "*.jsonl.*")
    assert pairs(dataset) == {("http://a/0", "x"), ("http://a/2", "x")}
    assert [row for _, row, _ in rejected(dataset)] == [2]
    assert account.reasons == {"too_long": 1}


def test_a_stream_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompression, "_ALWAYS", 2**19)
    for fill in (b"\0", b"\n", b"{}\n"):
        line = b'{"url": "http://a/1", "text": "x"}\n' * 20
        (tmp_path / "l.jsonl.zst").write_bytes(zst(line + fill * 4_000_000))
        with pytest.raises(InputError, match="is not a list but a bomb"):
            take(tmp_path / "out", tmp_path / "l.jsonl.zst")


@settings(max_examples=20)
@given(st.integers(1, 5), st.integers(1, 40), st.booleans())
def test_ordinary_lists_are_read_whole(tmp_path: Path, groups: int, rows: int, twice: bool) -> None:
    frame = pl.DataFrame(
        {"url": [f"http://a/{i}" for i in range(groups * rows)], "text": [str(i % 3) for i in range(groups * rows)]}
    )
    frame.write_parquet(tmp_path / "l.parquet", row_group_size=rows, use_pyarrow=twice)
    todo, _ = units(find([str(tmp_path / "l.parquet")]), Choice())
    found = pl.concat([frame for unit in todo for frame, _ in rows_of(unit)])
    assert found.select("url", text="alt_text").equals(frame)
    assert found["row"].to_list() == list(range(1, len(frame) + 1))
