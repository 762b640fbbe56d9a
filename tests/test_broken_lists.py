"""Lists that break off: whatever is wrong, and wherever, the sentence comes and the process ends behind it."""

from __future__ import annotations

import gzip
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

LIMIT = 120
"""Seconds after which a process has not ended."""
ROWS = 100_000
COMMAND = """
import sys, threading
from align_data.cli import main
before = threading.active_count()
for number, path in enumerate(sys.argv[2:]):
    try:
        main(["ingest", *path.split("+"), "--out", f"{sys.argv[1]}/{number}", "--workers", "2"], standalone_mode=False)
        raise SystemExit(f"{path} was read")
    except Exception as error:
        print(type(error).__name__, error)
    assert threading.active_count() == before, threading.enumerate()
"""


def csv(rows: int, delimiter: bytes = b",") -> bytes:
    header, row = b"url,caption\n", b"https://img.example/a/b/c.jpg,a red barn by the old sea\n"
    return (header + row * rows).replace(b",", delimiter)


def jsonl(rows: int) -> bytes:
    return b'{"url": "https://img.example/a/b/c.jpg", "caption": "a red barn by the old sea"}\n' * rows


def zst(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        out.write(data)
    return bytes(sink.getvalue())


def runs_on(delimiter: bytes = b",") -> bytes:
    """Return a list whose first row has an open quotation mark, and no row behind it."""
    return (
        csv(0, delimiter)
        + b'https://img.example/1.jpg,"a 27 inch screen\n'.replace(b",", delimiter)
        + b"so, that\n" * 120 * ROWS
    )


def damaged(data: bytes, at: int) -> bytes:
    return data[:at] + bytes(byte ^ 0xFF for byte in data[at : at + 8]) + data[at + 8 :]


def noise(rows: int) -> bytes:
    """Return a list that compression does not make small, so that damage lies in the midst of it."""
    draw = np.random.default_rng(1)
    return csv(0) + b"".join(
        b"https://img.example/%d.jpg,%x\n" % (i, i * i) for i in draw.integers(0, 2**40, rows).tolist()
    )


def noise_in_json(rows: int) -> bytes:
    pairs = (line.split(",") for line in noise(rows).decode().splitlines()[1:])
    return "".join(f'{{"url": "{url}", "caption": "{caption}"}}\n' for url, caption in pairs).encode()


def table(path: Path) -> bytes:
    rows = noise(60_000).decode().splitlines()[1:]
    urls, texts = zip(*(row.split(",") for row in rows), strict=True)
    pq.write_table(pa.table({"url": urls, "caption": texts}), path, row_group_size=5_000)
    return path.read_bytes()


def broken(folder: Path, form: str) -> list[str]:
    """Write lists of a form, each broken in another way; return their paths, and those of two read together."""
    if form == "parquet":
        whole = table(folder / "whole.parquet")
        content = {
            "short": whole[:-5_000],
            "footer": damaged(whole, len(whole) - 8),
            "page": damaged(whole, 4),
        }
    elif "." not in form:
        content = {"opened": runs_on(), "long": csv(9) + b'https://img.example/1.jpg,"' + b"x" * 2**25}
    else:
        lists = jsonl(ROWS) if form.startswith("jsonl") else csv(ROWS, b"\t" if form.startswith("tsv") else b",")
        compress = partial(gzip.compress, compresslevel=1) if form.endswith("gz") else zst
        rough = compress(noise_in_json(60_000) if form.startswith("jsonl") else noise(60_000))
        packed = compress(lists)
        content = {"short": packed[:-12], "half": packed[: len(packed) // 2], "none": b"nothing packed" * 9}
        if form.startswith("csv"):
            content["opened"] = compress(runs_on())
        if form.endswith("gz"):  # Arrow's zstd has no checksum
            content |= {"sum": damaged(packed, len(packed) - 8), "middle": damaged(rough, len(rough) // 2)}
    for name, data in content.items():
        (folder / f"{name}.{form}").write_bytes(data)
    (folder / f"a.{form}").write_bytes(
        table(folder / "b.parquet") if form == "parquet" else compress(lists) if "." in form else csv(ROWS)
    )
    paths = [str(folder / f"{name}.{form}") for name in content]
    return [*paths, f"{folder / f'a.{form}'}+{paths[0]}"]


@pytest.mark.parametrize("form", ["csv", "csv.gz", "csv.zst", "tsv.gz", "jsonl.gz", "jsonl.zst", "parquet"])
def test_a_process_ends_after_the_error(tmp_path: Path, form: str) -> None:
    paths = broken(tmp_path, form)
    ended = subprocess.run(
        [sys.executable, "-c", COMMAND, str(tmp_path), *paths],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    said = ended.stdout.splitlines()
    assert len(said) == len(paths)
    assert all(line.startswith("ClickException cannot read ") or "opens a value" in line for line in said), said
    assert "terminate called" not in ended.stderr
