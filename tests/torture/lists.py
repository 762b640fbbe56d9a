"""Lists and recipes that are mutated, and what can be known of a list's rows without our readers."""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from torture.mutations import OF_ANYTHING, OF_TEXTS, mutated
from torture.process import call

_WORDS = ("a", "cat", "on", "the", "mat", "blau", "日本", "é", 'the "best" one', "x,y", "don't", '12" vinyl', "")
_RECIPES = Path(__file__).resolve().parents[2] / "filters"
HEADER = {"csv": "url,text,license\n", "tsv": "url\ttext\tlicense\n"}


def _fields(chance: Random) -> list[tuple[str, str, str]]:
    """Return rows whose URLs begin as nothing else does."""
    return [
        (f"http://h{number}.example/{number}.jpg", " ".join(chance.choices(_WORDS, k=chance.randrange(9))), "cc0")
        for number in range(chance.choice((3, 40, 2_000)))
    ]


def _csv(chance: Random) -> bytes:
    quoted = [[field.replace('"', '""') for field in row] for row in _fields(chance)]
    return "".join(",".join(f'"{f}"' if set(f) & set('",') else f for f in row) + "\n" for row in quoted).encode()


def _tsv(chance: Random) -> bytes:
    return "".join("\t".join(row) + "\n" for row in _fields(chance)).encode()


def _jsonl(chance: Random) -> bytes:
    return "".join(json.dumps({"url": url, "text": text}) + "\n" for url, text, _ in _fields(chance)).encode()


def _parquet(chance: Random) -> bytes:
    file = io.BytesIO()
    pl.DataFrame(_fields(chance), ["url", "text", "license"], orient="row").write_parquet(
        file, row_group_size=chance.choice((10, 500, 10_000)), compression=chance.choice(("zstd", "snappy"))
    )
    return file.getvalue()


def _arrow(chance: Random) -> bytes:
    file = io.BytesIO()
    frame = pl.DataFrame(_fields(chance), ["url", "text", "license"], orient="row")
    packed: Any = chance.choice(("uncompressed", "lz4", "zstd"))
    if chance.random() < 0.5:
        frame.write_ipc(file, compression=packed, compat_level=chance.choice((None, pl.CompatLevel.oldest())))
    else:
        frame.write_ipc_stream(file, compression=packed, compat_level=chance.choice((None, pl.CompatLevel.oldest())))
    return file.getvalue()


_BINARY: Mapping[str, Callable[[Random], bytes]] = {"parquet": _parquet, "arrow": _arrow}
_TEXTS: Mapping[str, Callable[[Random], bytes]] = {"csv": _csv, "tsv": _tsv, "jsonl": _jsonl}
_PACKERS: Mapping[str, Callable[[bytes], bytes]] = {
    "gz": lambda content: gzip.compress(content, mtime=0),
    "zst": lambda content: bytes(pa.compress(content, "zstd", asbytes=True)),
}


def write_list(folder: Path, chance: Random) -> Path:
    """Write a mutated list; of text either the lines are mutated, perhaps packed then, or what they are packed in."""
    name = chance.choice((*_TEXTS, *_BINARY))
    if name in _BINARY:
        return _written(folder / f"list.{name}", mutated(_BINARY[name](chance), OF_ANYTHING, chance))
    header, body = HEADER.get(name, "").encode(), _TEXTS[name](chance)
    packer = chance.choice(("", "", "gz", "zst"))
    if not packer or chance.random() < 0.5:
        body = mutated(body, OF_TEXTS, chance)
    else:
        return _written(
            folder / f"list.{name}.{packer}", mutated(_PACKERS[packer](header + body), OF_ANYTHING, chance, most=1)
        )
    content = header + body if chance.random() < 0.9 else mutated(header + body, OF_TEXTS, chance)
    if packer:
        return _written(folder / f"list.{name}.{packer}", _PACKERS[packer](content))
    return _written(folder / f"list.{name}", content)


def write_swollen(folder: Path, chance: Random) -> Path:
    """Write a list of few bytes and much text: the same words very often, in one row or in many."""
    rows, size = chance.choice(((1, 2**24), (1, 2**28), (30, 2**23), (2_000, 2**16), (20_000, 2**14)))
    urls, text = [f"http://h{number}.example/1.jpg" for number in range(rows)], "word " * (size // 5)
    name = chance.choice(("parquet", "arrow", "csv", "tsv", "jsonl"))
    if name in _BINARY:
        same = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([text]))
        if name == "arrow":
            table = pa.table({"url": urls, "text": same})
            with pa.ipc.new_file(
                folder / "list.arrow", table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")
            ) as out:
                out.write_table(table)
            return folder / "list.arrow"
        pq.write_table(pa.table({"url": urls, "text": same}), folder / "list.parquet", compression="zstd")
        return folder / "list.parquet"
    line = {"csv": "{},{},cc0\n", "tsv": "{}\t{}\tcc0\n", "jsonl": '{{"url": "{}", "text": "{}"}}\n'}[name]
    packer = chance.choice(list(_PACKERS))
    content = HEADER.get(name, "") + "".join(line.format(url, text) for url in urls)
    return _written(folder / f"list.{name}.{packer}", _PACKERS[packer](content.encode()))


def write_recipe(folder: Path, chance: Random) -> Path:
    """Write a mutated recipe."""
    content = chance.choice(sorted(_RECIPES.glob("*.yaml"))).read_bytes()
    return _written(folder / "recipe.yaml", mutated(content, OF_TEXTS, chance))


def _written(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file


def rows(file: Path) -> tuple[int, float] | None:
    """Return the least and the most rows that a list can have; None if it cannot be read to its end at all."""
    if file.suffix == ".parquet":
        ended = call(_parquet_rows, (str(file),), file.parent)  # a damaged footer may end the process
        return (int(ended.out), int(ended.out)) if ended.code == 0 else (0, float("inf"))
    if file.suffix == ".arrow":
        ended = call(_arrow_rows, (str(file),), file.parent)
        return (int(ended.out), int(ended.out)) if ended.code == 0 else (0, float("inf"))
    content = _unpacked(file)
    if content is None:
        return None
    lines = [line for line in re.split(rb"[\r\n]", content) if line.strip()]
    if ".jsonl" in file.name:
        whole = [line for line in content.split(b"\n") if line.strip()]
        return len(whole), len(whole)
    return sum(line.startswith(b"http://h") for line in lines), len(lines)


def _parquet_rows(file: str) -> None:
    print(pq.read_metadata(file).num_rows)


def _arrow_rows(file: str) -> None:
    """Print how many rows there are by the lengths of the batches: what is in them is not looked at."""
    with pa.OSFile(file, "rb") as source:
        reader = pa.ipc.open_file(source) if source.read(6) == b"ARROW1" else pa.ipc.open_stream(file)
        if isinstance(reader, pa.ipc.RecordBatchFileReader):
            print(sum(reader.get_batch(i).num_rows for i in range(reader.num_record_batches)))
        else:
            print(sum(batch.num_rows for batch in reader))


def _unpacked(file: Path) -> bytes | None:
    content = file.read_bytes()
    try:
        if file.suffix == ".gz":
            return gzip.decompress(content)
        if file.suffix == ".zst":
            return bytes(pa.CompressedInputStream(pa.BufferReader(content), "zstd").read())
    except (OSError, EOFError, zlib.error):
        return None
    return content
