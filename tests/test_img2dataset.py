"""img2dataset: its output becomes a dataset as if we had fetched it, and as our transport it does only what the guard lets it."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.request import HTTPRedirectHandler

import fsspec
import hostile_web
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from conftest import manifest_of, read, tree
from hostile_web import HOME, jpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from align_data.cli import main
from align_data.common.errors import DatasetError
from align_data.common.progress import Silent, Tick
from align_data.common.workers import Child
from align_data.common.workers.values import plain
from align_data.data.layout import FETCH, Dataset
from align_data.engines.base import Engine
from align_data.engines.local import MEMORY, LocalEngine
from align_data.fetching import img2dataset as package
from align_data.fetching.client import Policy
from align_data.fetching.fetchers import handler_of
from align_data.fetching.guard import Guard
from align_data.fetching.img2dataset.opener import opener
from align_data.fetching.img2dataset_messages import ours, outcome
from align_data.fetching.limits import Limits
from align_data.fetching.worker import ChunkTask, FetchSettings
from align_data.fetching.worker_replies import replies
from align_data.sources import img2dataset as shards
from align_data.sources.lists import find
from align_data.stages.adopt import Adopted, adopt
from align_data.stages.fetch import fetch
from align_data.stages.ingest import Account, Parts, ingest
from align_data.storage.store import Store
from align_data.storage.tars import Place, TarReader

Form = Literal["webdataset", "parquet", "files"]
FORMS: tuple[Form, ...] = ("webdataset", "parquet", "files")
there = pytest.mark.skipif(importlib.util.find_spec("img2dataset") is None, reason="needs the extra img2dataset")


def drawn(number: int, kind: str = "JPEG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8 + number % 5, 8), (number % 256, 0, 0)).save(out, kind)
    return out.getvalue()


@dataclass
class Sample:
    """A row as img2dataset writes it; `data` is what lies beside it, for a success."""

    url: str | None
    caption: str | None = "a text"
    status: str = "success"
    error: str | None = None
    data: bytes | None = None
    sizes: tuple[int | None, int | None, int | None, int | None] = (None, None, None, None)


def write_shard(folder: Path, number: int, samples: Sequence[Sample], form: Form, stats: bool = True) -> None:
    """Write a shard as img2dataset does."""
    stem = folder / f"{number:05d}"
    folder.mkdir(parents=True, exist_ok=True)
    keys = [f"{number:05d}{i:04d}" for i in range(len(samples))]
    columns: dict[str, Any] = {
        "caption": pa.array([s.caption for s in samples], pa.string()),
        "url": pa.array([s.url for s in samples], pa.string()),
        "key": pa.array(keys, pa.string()),
        "status": pa.array([s.status for s in samples], pa.string()),
        "error_message": pa.array([s.error for s in samples], pa.string()),
    }
    for i, name in enumerate(("width", "height", "original_width", "original_height")):
        columns[name] = pa.array([s.sizes[i] for s in samples], pa.int32())
    if form == "parquet":
        columns["jpg"] = pa.array([s.data for s in samples], pa.binary())
    pq.write_table(pa.table(columns), stem.with_suffix(".parquet"), row_group_size=3)
    files = {f"{k}.jpg": s.data for k, s in zip(keys, samples, strict=True) if s.data is not None}
    around = {f"{name[:-4]}.{end}": b"{}" for name in files for end in ("txt", "json")}
    if form == "webdataset":
        with tarfile.open(stem.with_suffix(".tar"), "w") as tar:
            for name, data in sorted((files | around).items()):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    if form == "files":
        stem.mkdir()
        for name, data in (files | around).items():
            (stem / name).write_bytes(data)
    if stats:
        (folder / f"{number:05d}_stats.json").write_text(json.dumps({"count": len(samples)}))


def rewritten(file: Path, **columns: Any) -> None:
    """Put columns into a shard's metadata."""
    table = pq.read_table(file)
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, values)
    pq.write_table(table, file)


@dataclass
class Taken:
    dataset: Dataset
    account: Account
    adopted: Adopted

    @property
    def images(self) -> dict[str, dict[str, Any]]:
        """URL → its row, with its bytes."""
        reader = TarReader(self.dataset.store)
        found = {}
        for row in read(self.dataset, "images").iter_rows(named=True):
            place = None if row["tar"] is None else Place(row["tar"], row["offset"], row["size"])
            found[row["url"]] = row | {"data": None if place is None else reader.read(place)}
        reader.close()
        return found


def take(
    folder: Path | str,
    out: Path,
    parts: Parts = Parts(),  # noqa: B008
    engine: Engine | None = None,
    progress: Any = None,
    memory: int = MEMORY,
) -> Taken:
    """Ingest img2dataset's output, as the command does."""
    paths, _ = shards.finished([str(folder)])
    sources = find(paths)
    choice = shards.choice(sources[0], None)
    dataset = Dataset(Store(out))
    engine = engine or LocalEngine(dataset.store.work, 2, memory)
    account = ingest(paths, dataset, engine, progress or Silent(), choice, parts)
    return Taken(dataset, account, adopt(sources, choice, dataset, engine, progress or Silent()))


TOLD = [  # what img2dataset 1.47 was seen to write: status, message; our status, whether to ask again
    ("failed_to_download", "HTTP Error 404: Not Found", "http_404", False),
    ("failed_to_download", "HTTP Error 403: Forbidden", "http_403", False),
    ("failed_to_download", "HTTP Error 500: Internal Server Error", "http_500", True),
    ("failed_to_download", "HTTP Error 503: ", "http_503", True),
    ("failed_to_download", "HTTP Error 408: Request timed out", "http_408", True),
    ("failed_to_download", "HTTP Error 429: Too Many Requests", "rate_limited", True),
    ("failed_to_download", "HTTP Error 999: Request denied", "bad_response", False),
    (
        "failed_to_download",
        f"HTTP Error 302: {HTTPRedirectHandler.inf_msg}Found",
        "too_many_redirects",
        False,
    ),
    (
        "failed_to_download",
        "HTTP Error 302: Found - Redirection to url 'file:///etc/passwd' is not allowed",
        "refused_scheme",
        False,
    ),
    ("failed_to_download", "<urlopen error timed out>", "timeout", True),
    ("failed_to_download", "The read operation timed out", "timeout", True),
    ("failed_to_download", "<urlopen error _ssl.c:990: The handshake operation timed out>", "timeout", True),
    ("failed_to_download", "<urlopen error [Errno 110] Connection timed out>", "timeout", True),
    ("failed_to_download", "<urlopen error [Errno -2] Name or service not known>", "dns", False),
    ("failed_to_download", "<urlopen error [Errno -5] No address associated with hostname>", "dns", False),
    ("failed_to_download", "<urlopen error [Errno -3] Temporary failure in name resolution>", "dns", True),
    ("failed_to_download", "Use of image disallowed by X-Robots-Tag directive", "opted_out", False),
    (
        "failed_to_download",
        "<urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired (_ssl.c:1006)>",
        "tls",
        False,
    ),
    ("failed_to_download", "IncompleteRead(1234 bytes read, 5678 more expected)", "truncated", True),
    ("failed_to_download", "<urlopen error [Errno 111] Connection refused>", "connect", True),
    ("failed_to_download", "Remote end closed connection without response", "connect", True),
    ("failed_to_download", "", "connect", True),
    ("failed_to_download", None, "connect", True),
    ("failed_to_download", "hash mismatch", "bad_response", False),
    ("failed_to_download", "URL can't contain control characters. '/a b.jpg' (found at least ' ')", "untried", True),
    ("failed_to_download", "'ascii' codec can't encode character '\\xe9' in position 5: ordinal", "untried", True),
    ("failed_to_resize", "Image decoding error", "not_an_image", False),
    ("failed_to_resize", "OpenCV(4.14.0) loadsave.cpp:77: error: (-215:Assertion failed)", "not_an_image", False),
    ("failed_to_resize", "image too small", "untried", True),
    ("failed_to_resize", "aspect ratio too large", "untried", True),
    ("who_knows", None, "connect", True),
    ("failed_to_download", ours("too_large", "more than 20 bytes"), "too_large", False),
    ("failed_to_download", f"<urlopen error {ours('http_500', '')}>", "http_500", True),
    ("failed_to_download", ours("ok", "says a hostile server"), "connect", True),
    ("failed_to_download", ours("nonsense", "says a hostile server"), "connect", True),
]


@pytest.mark.parametrize(("status", "message", "expected", "again"), TOLD)
def test_what_img2dataset_says_is_one_of_our_statuses(
    status: str, message: str | None, expected: str, again: bool
) -> None:
    found = outcome(status, message)
    assert (found.status, found.retryable) == (expected, again)


def url(number: int) -> str:
    return f"http://h{number % 7}.example/{number}"


def planted(form: Form, folder: Path) -> dict[str, tuple[str, bytes | None]]:
    """Write shards with all that can be; return what must become of each URL."""
    truth: dict[str, tuple[str, bytes | None]] = {}
    kinds = ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"]
    samples: list[Sample] = []
    for number in range(40):
        data = drawn(number, kinds[number % len(kinds)])
        samples.append(Sample(url(number), f"text {number}", data=data, sizes=(8, 8, 300 + number, 200)))
        truth[url(number)] = ("ok", data)
    for number, (status, message, expected, _) in enumerate(TOLD, 100):
        samples.append(Sample(url(number), f"text {number}", status, message))
        truth[url(number)] = (expected, None)
    samples.append(Sample(url(200), "lost", data=None))
    samples.append(Sample(url(201), "a page", data=b"<html>no</html>"))
    samples.append(Sample(url(202), "nothing", data=b""))
    truth |= {url(200): ("truncated", None), url(201): ("not_an_image", None), url(202): ("not_an_image", None)}
    samples.append(Sample(f"  {url(203)} ", None, data=drawn(203)))
    truth[url(203)] = ("ok", drawn(203))
    samples += [Sample("ftp://h/1", data=drawn(1)), Sample(None), Sample("http://h/\0", "x")]  # no pairs
    samples += [
        Sample(url(3), "another text", data=drawn(99)),
        Sample(url(0), "text 0", data=drawn(99)),
    ]  # merged, later
    random.Random(4).shuffle(samples)
    for number in range(7):
        write_shard(folder, number, samples[number::7], form)
    first = {}
    for number in range(7):
        for sample in samples[number::7]:
            if sample.data and sample.url and sample.url.strip() in (url(0), url(3)):
                first.setdefault(sample.url.strip(), sample.data)
    return truth | {each: ("ok", data) for each, data in first.items()}


@pytest.mark.parametrize("form", FORMS)
def test_planted_shards_come_out_as_they_were_planted(form: Form, tmp_path: Path) -> None:
    truth = planted(form, tmp_path / "in")
    taken = take(tmp_path / "in", tmp_path / "out", Parts(rows=20), memory=2**16)
    found = taken.images
    assert {each: (row["status"], row["data"]) for each, row in found.items()} == truth
    account = taken.account
    assert account.rows == account.pairs + account.merged + account.rejected
    assert (account.rows, account.merged, account.rejected) == (len(truth) + 5, 1, 3)
    assert {row["source"] for row in read(taken.dataset, "rejected").iter_rows(named=True)} <= {
        f"{number:05d}.parquet" for number in range(7)
    }
    pairs = read(taken.dataset, "pairs")
    assert pairs.filter(pl.col("url") == url(5))["declared_width"].to_list() == [305]
    assert set(pairs["source_uid"].str.len_chars()) == {9}
    assert taken.adopted.statuses == dict(Counter(status for status, _ in truth.values()))
    assert taken.adopted.resized == 40
    assert all(row["reason"] for row in found.values() if row["status"] not in ("ok", "http_503", "http_500"))


def test_images_are_as_fetch_would_have_left_them(tmp_path: Path) -> None:
    planted("webdataset", tmp_path / "in")
    taken = take(tmp_path / "in", tmp_path / "out", Parts(rows=20))
    dataset = taken.dataset
    manifest = dataset.images.committed()
    pairs = dataset.ingested()
    assert manifest is not None
    assert len(manifest.parts) == len(pairs.parts) > 2
    for part in range(len(pairs.parts)):
        of = pl.concat(dataset.pairs.pieces(part, ["uid", "url"]))
        rows = pl.concat(dataset.images.pieces(part, ["url", "tar", "offset", "size"]))
        assert rows["url"].to_list() == of["url"].unique(maintain_order=True).to_list()
        key = dict(of.select("url", pl.col("uid").str.head(16)).iter_rows())
        members = {}
        for name in dataset.store.names(f"bytes/part-{part:05d}"):
            with tarfile.open(dataset.store.path(f"bytes/part-{part:05d}/{name}")) as tar:
                members |= {(f"bytes/part-{part:05d}/{name}", m.offset_data): m for m in tar}
        for each, tar_, offset, size in rows.drop_nulls().iter_rows():
            member = members.pop((tar_, offset))
            assert member.size == size
            assert member.name.split(".")[0] == key[each]
            assert member.name.split(".")[1] in ("jpg", "png", "gif", "webp", "bmp", "tif")
        assert not members
    assert not dataset.store.exists("_images")


def test_shards_on_another_file_system_make_the_same_bytes(tmp_path: Path) -> None:
    planted("webdataset", tmp_path / "in")
    write_shard(tmp_path / "in", 7, [Sample(url(i), data=drawn(i)) for i in range(300, 310)], "files")
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "in"), "/img2dataset-shards", recursive=True)
    try:
        take("memory://img2dataset-shards", tmp_path / "there", Parts(rows=20))
    finally:
        memory.rm("/img2dataset-shards", recursive=True)
    take(tmp_path / "in", tmp_path / "here", Parts(rows=20))
    assert tree(tmp_path / "there", "images", "bytes") == tree(tmp_path / "here", "images", "bytes")


class Outcomes:
    """What can stand in a row of a shard; with each URL's bytes its own in each shard."""

    OK, LOST, PAGE, GONE, LATE, UNDECODED, REJECTED = range(7)


@settings(max_examples=15)
@given(
    form=st.sampled_from(FORMS),
    drawn_rows=st.lists(
        st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=6), min_size=1, max_size=5
    ).filter(any),
    parts=st.integers(1, 5),
)
def test_bytes_win_then_the_first_shard(
    form: Form,
    drawn_rows: list[list[tuple[int, int]]],
    parts: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    expected: dict[str, tuple[str, bytes | None]] = {}
    for number, rows in enumerate(drawn_rows):
        samples = []
        for place, (which, end) in enumerate(rows):
            data = drawn(50 * number + place)
            said = {
                Outcomes.OK: (Sample(url(which), data=data), ("ok", data)),
                Outcomes.LOST: (Sample(url(which)), ("truncated", None)),
                Outcomes.PAGE: (Sample(url(which), data=b"<html>"), ("not_an_image", None)),
                Outcomes.GONE: (
                    Sample(url(which), status="failed_to_download", error="HTTP Error 410: Gone"),
                    ("http_410", None),
                ),
                Outcomes.LATE: (Sample(url(which), status="failed_to_download", error="timed out"), ("timeout", None)),
                Outcomes.UNDECODED: (
                    Sample(url(which), status="failed_to_resize", error="Image decoding error"),
                    ("not_an_image", None),
                ),
                Outcomes.REJECTED: (Sample(f"/relative/{which}", data=data), ("", None)),
            }[end]
            samples.append(said[0])
            if end != Outcomes.REJECTED and (
                url(which) not in expected or (expected[url(which)][0] != "ok" and said[1][0] == "ok")
            ):
                expected[url(which)] = said[1]
        write_shard(folder / "in", number, samples, form)
    taken = take(folder / "in", folder / "out", Parts(rows=parts), memory=2**14)
    assert {each: (row["status"], row["data"]) for each, row in taken.images.items()} == expected
    assert taken.account.rows == sum(map(len, drawn_rows))


def test_a_cut_tar_gives_what_is_whole_and_the_rest_can_be_fetched(tmp_path: Path) -> None:
    samples = [Sample(url(i), f"text {i}", data=jpeg(i)) for i in range(30)]
    write_shard(tmp_path / "in", 0, samples, "webdataset")
    write_shard(tmp_path / "in", 1, [Sample(url(40), data=jpeg(1))], "webdataset")
    tar = tmp_path / "in" / "00000.tar"
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2])
    (tmp_path / "in" / "00001.tar").unlink()
    found = take(tmp_path / "in", tmp_path / "out").images
    whole = [i for i in range(30) if found[url(i)]["status"] == "ok"]
    assert 10 < len(whole) < 20
    assert whole == list(range(len(whole)))
    assert all(found[url(i)]["data"] == jpeg(i) for i in whole)
    for i in [*range(len(whole), 30), 40]:
        assert (found[url(i)]["status"], found[url(i)]["retryable"]) == ("truncated", True)
        assert "0000" in found[url(i)]["reason"]


@pytest.mark.parametrize("form", ["webdataset", "files"])
def test_bytes_of_a_key_that_two_rows_have_are_nobodys(tmp_path: Path, form: Form) -> None:
    write_shard(tmp_path / "in", 0, [Sample(url(i), data=drawn(i)) for i in range(6)], form)
    keys = pq.read_table(tmp_path / "in" / "00000.parquet")["key"].to_pylist()
    rewritten(tmp_path / "in" / "00000.parquet", key=pa.array([*keys[:4], keys[5], keys[5]]))
    if form == "webdataset":  # and one that two images have
        with tarfile.open(tmp_path / "in" / "00000.tar", "a") as tar:
            info = tarfile.TarInfo(f"{keys[1]}.jpg")
            info.size = len(drawn(9))
            tar.addfile(info, io.BytesIO(drawn(9)))
    found = take(tmp_path / "in", tmp_path / "out").images
    nobodys = {4, 5} | ({1} if form == "webdataset" else set())
    for i in range(6):
        expected = ("truncated", True, None) if i in nobodys else ("ok", False, drawn(i))
        assert (found[url(i)]["status"], found[url(i)]["retryable"], found[url(i)]["data"]) == expected


@pytest.mark.parametrize("column", ["key", "status", "error_message"])
def test_a_column_of_another_kind_is_a_sentence(tmp_path: Path, column: str) -> None:
    write_shard(tmp_path / "in", 0, [Sample(url(1), data=drawn(1))], "webdataset")
    rewritten(tmp_path / "in" / "00000.parquet", **{column: pa.array([5])})
    command = ["ingest", "--from", "img2dataset", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "00000.parquet" in result.stderr
    assert "unforeseen" not in result.stderr


def test_shards_need_not_say_how_large_their_images_are(tmp_path: Path) -> None:
    write_shard(tmp_path / "in", 0, [Sample(url(i), data=drawn(i)) for i in (1, 2)], "webdataset")
    metadata = tmp_path / "in" / "00000.parquet"
    pq.write_table(pq.read_table(metadata).drop_columns(["width", "height", "original_height"]), metadata)
    command = ["ingest", "--from", "img2dataset", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--json"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["images"] == {"statuses": {"ok": 2}, "resized": 0}


def test_only_finished_shards_are_taken_and_the_others_named(tmp_path: Path) -> None:
    folder = tmp_path / "a[1]*"  # no pattern
    (tmp_path / "a1x").mkdir()
    write_shard(tmp_path / "a1x", 0, [Sample(url(i), data=drawn(i)) for i in (8, 9)], "webdataset")
    write_shard(folder, 0, [Sample(url(1), data=drawn(1))], "webdataset")
    write_shard(folder, 1, [Sample(url(2), data=drawn(2))], "webdataset", stats=False)
    (folder / "00002.tar").write_bytes(b"begun")
    (folder / "_tmp").mkdir()
    result = CliRunner().invoke(main, ["ingest", "--from", "img2dataset", str(folder), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "not finished, so passed over: 00001, 00002" in result.stderr
    assert result.stdout.splitlines() == ["1 rows in = 1 pairs + 0 merged + 0 rejected", "images: 1 ok"]
    again = ["ingest", "--from", "img2dataset", str(folder), "--out", str(tmp_path / "out"), "--json"]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.suffix != ".json"}
    said = json.loads(CliRunner().invoke(main, again).stdout)
    assert said["already"]
    assert said["images"] == {"statuses": {"ok": 1}, "resized": 0}
    for path, when in before.items():
        assert path.is_dir() or path.name == ".lock" or path.stat().st_mtime_ns == when
    (folder / "00001_stats.json").write_text("{}")
    more = CliRunner().invoke(main, again)
    assert more.exit_code == 1
    assert "other inputs" in more.stderr


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code in (1, 2), result.output
    assert "Traceback" not in result.output
    return result.stderr


def test_what_is_no_finished_output_is_refused_in_a_sentence(tmp_path: Path) -> None:
    command = ["ingest", "--from", "img2dataset", "--out", str(tmp_path / "out")]
    assert "cannot look for img2dataset's shards" in refused(*command, str(tmp_path / "none"))
    (tmp_path / "in").mkdir()
    assert "has no finished shard of img2dataset" in refused(*command, str(tmp_path / "in"))
    write_shard(tmp_path / "in", 0, [Sample(url(1), data=drawn(1))], "webdataset")
    assert "omit --url-col" in refused(*command, str(tmp_path / "in"), "--url-col", "url")
    (tmp_path / "in" / "00000.tfrecord").write_bytes(b"")
    assert "00000.tfrecord" in refused(*command, str(tmp_path / "in"))
    (tmp_path / "in" / "00000.tfrecord").unlink()
    table = pq.read_table(tmp_path / "in" / "00000.parquet")
    pq.write_table(table.drop_columns(["status"]), tmp_path / "in" / "00000.parquet")
    assert "is not a shard of img2dataset: it has no column status" in refused(*command, str(tmp_path / "in"))
    pq.write_table(table.drop_columns(["caption"]), tmp_path / "in" / "00000.parquet")
    assert "no column found for alt_text" in refused(*command, str(tmp_path / "in"), "--out", str(tmp_path / "out2"))
    (tmp_path / "in" / "00000.parquet").write_bytes(b"PAR1 no")
    assert "cannot read" in refused(*command, str(tmp_path / "in"), "--out", str(tmp_path / "out3"))


class Said(Silent):
    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((256, 128, 512, 256), "img2dataset resized 1 images"),
        ((512, 256, 512, 256), "may have re-encoded the images"),
        ((None, None, None, None), None),
    ],
)
def test_the_user_hears_of_images_that_are_not_the_originals(
    sizes: tuple[int, int, int, int], expected: str | None, tmp_path: Path
) -> None:
    write_shard(tmp_path / "in", 0, [Sample(url(1), data=drawn(1), sizes=sizes)], "webdataset")
    said = Said()
    take(tmp_path / "in", tmp_path / "out", progress=said)
    told = [sentence for sentence in said.sentences if "img2dataset" in sentence]
    assert [expected in sentence for sentence in told] == [True] if expected else told == []


class Interrupted(Exception):  # noqa: N818
    pass


class Interrupting(Silent):
    """Ends a run after so many ticks."""

    def __init__(self, after: int) -> None:
        self.left = after

    @contextmanager
    def step(self, title: str, total: int | None, unit: str) -> Iterator[Tick]:
        def tick(done: int, *_: Any) -> None:
            self.left -= 1
            if self.left < 0:
                raise Interrupted

        yield tick


def test_an_interrupted_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    planted("webdataset", tmp_path / "in")
    parts = Parts(rows=15)
    take(tmp_path / "in", tmp_path / "whole", parts)
    whole = tree(tmp_path / "whole")
    interrupted = 0
    for after in range(0, 60, 7):
        out = tmp_path / f"after{after}"
        try:
            take(tmp_path / "in", out, parts, progress=Interrupting(after))
        except Interrupted:
            interrupted += 1
            assert Dataset(Store(out)).images.committed() is None
        take(tmp_path / "in", out, parts)
        assert tree(out) == whole
    assert interrupted > 3


def test_adopting_does_not_overwrite_what_fetch_has_begun(tmp_path: Path) -> None:
    write_shard(tmp_path / "in", 0, [Sample(url(1), data=drawn(1))], "webdataset")
    taken = take(tmp_path / "in", tmp_path / "out")
    taken.dataset.store.write_bytes(FETCH, b"{}")
    take(tmp_path / "in", tmp_path / "out")
    taken.dataset.images.retract()
    with pytest.raises(DatasetError, match="align-data fetch did not finish here"):
        take(tmp_path / "in", tmp_path / "out")


def test_fetch_goes_on_from_there_and_asks_only_for_what_can_change(tmp_path: Path) -> None:
    with hostile_web.serve(HOME) as web:
        samples = [Sample(web.url(f"/good/{i}"), f"text {i}", data=jpeg(i, 64)) for i in range(20)]
        samples += [Sample(web.url(f"/good/{i}"), "late", "failed_to_download", "timed out") for i in range(20, 25)]
        samples += [Sample(web.url(f"/good/{i}"), "lost") for i in range(25, 28)]
        samples += [Sample(web.url("/good/28"), "small", "failed_to_resize", "image too small")]
        samples += [Sample(web.url("/good/29"), "gone", "failed_to_download", "HTTP Error 404: Not Found")]
        samples += [
            Sample(web.url("/good/30"), "no", "failed_to_download", "Use of image disallowed by X-Robots-Tag x")
        ]
        for number in range(3):
            write_shard(tmp_path / "in", number, samples[number::3], "webdataset")
        taken = take(tmp_path / "in", tmp_path / "out", Parts(rows=10))
        policy = Policy(guard=Guard.of([HOME]))
        engine = LocalEngine(tmp_path / "work", 2)
        report = fetch(taken.dataset, None, policy, Limits(), engine, Silent(), chunk=4)
        assert web.seen.paths() == Counter(f"/good/{i}" for i in range(20, 29))
        assert report.outcomes == {"ok": 9}
        assert report.statuses == {"http_404": 1, "ok": 29, "opted_out": 1}
        found = taken.images
        assert all(found[web.url(f"/good/{i}")]["data"] == jpeg(i, 64) for i in range(29))
        assert fetch(taken.dataset, None, policy, Limits(), engine, Silent(), chunk=4).asked == 0
        ignoring = Policy(guard=Guard.of([HOME]), ignore_opt_out=True)
        assert fetch(taken.dataset, None, ignoring, Limits(), engine, Silent(), chunk=4).outcomes == {"ok": 1}


@pytest.mark.spark
def test_spark_takes_the_same_bytes(tmp_path: Path, spark: Engine) -> None:
    planted("webdataset", tmp_path / "in")
    write_shard(tmp_path / "in", 7, [Sample(url(i), data=drawn(i)) for i in range(300, 340)], "parquet")
    local = take(tmp_path / "in", tmp_path / "local", Parts(rows=40))
    distributed = take(tmp_path / "in", tmp_path / "spark", Parts(rows=40), spark)
    assert tree(tmp_path / "spark") == tree(tmp_path / "local")
    assert distributed.adopted == local.adopted
    assert distributed.adopted.statuses["ok"] > 80


# What follows is the guard around urllib, which img2dataset fetches by, without that package and with it.

REFUSED = ("file:///etc/hostname", "data:image/png;base64,iVBORw0KGgo=", "ftp://127.0.0.2/x", "gopher://127.0.0.2/x")
LEADS = ("http://169.254.169.254/", "http://10.0.0.1/", "http://[::1]:{port}/", "http://[::ffff:127.0.0.1]:{port}/")
STRANGE = ("http://2130706433:{port}/good.jpg", "http://0x7f.1:{port}/good.jpg", "http://localhost:{port}/good.jpg")
ENDS = {  # of the hostile server's pages
    "ok": "/good/1 /pause /packed.jpg /deflated.jpg /chunked.jpg /until_closed.jpg /continue.jpg /short_announced.jpg "
    "/not_packed.jpg /brotli.jpg /encoding_no_utf8.jpg /followed_by.jpg /announced?length=-5 /announced?length=abc "
    "/relative/x /endless_afterwards.jpg /around/3 /around/10 /robots?tag=googlebot:noindex",
    "too_many_redirects": "/loop /around/11",
    "not_an_image": "/html.jpg /svg.jpg /short.jpg /empty.jpg",
    "truncated": "/long_announced.jpg /reset.jpg /reset_without_length.jpg /chunked_short.jpg /packed_short.jpg",
    "connect": "/reset_at_once.jpg",
    "too_large": "/endless.jpg /endless_chunked.jpg /endless_empty_blocks.jpg /bomb.jpg /huge.jpg "
    "/announced?length=99999999",
    "timeout": "/endless_extension.jpg /endless_continue.jpg /slow_headers.jpg /slow_body.jpg /silent.jpg",
    "bad_response": "/endless_headers.jpg /endless_line.jpg /endless_trailers.jpg /garbage.jpg /old.jpg "
    "/header_of_a_megabyte.jpg /status/999 /announced?length=5&length=7",
    "http_404": "/status/404 /no_utf8.jpg",
    "http_302": "/nowhere",
    "http_204": "/status/204",
    "http_503": "/status/503",
    "opted_out": "/robots?tag=noai /robots?tag=googlebot:noindex&tag=noimageai",
    "rate_limited": "/status/429 /busy/a?times=99&status=503&after=100",
}
POLICY = Policy(guard=Guard.of([HOME]), max_bytes=100_000, deadline=5)  # a busy machine takes its time too
PATIENT, HASTY = replace(POLICY, deadline=60), replace(POLICY, deadline=1)


@dataclass
class Hostile:
    """A server that misbehaves, another that nothing may connect to, and what each URL must come to."""

    web: hostile_web.Web
    forbidden: hostile_web.Web
    truth: dict[str, str]


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    with hostile_web.serve(HOME) as web, hostile_web.serve("127.0.0.1") as forbidden:
        inside = [each.format(port=forbidden.port) for each in (*LEADS, *STRANGE, "http://127.0.0.1:{port}/good.jpg")]
        truth = dict.fromkeys(REFUSED, "refused_scheme") | dict.fromkeys(inside, "refused_address")
        leads = {f"/leads/{number}": lead for number, lead in enumerate(truth)}
        truth |= {web.url(path): truth[lead] for path, lead in leads.items()}
        web.places = leads
        truth |= {web.url(path): status for status, paths in ENDS.items() for path in paths.split()}
        yield Hostile(web, forbidden, truth)


def by_urllib(each: str, policy: Policy = PATIENT) -> str:
    try:
        with opener(policy).open(each) as response:
            response.read()
    except Exception as error:  # as img2dataset does
        return outcome("failed_to_download", str(error)).status
    return "ok"


def test_urllib_under_the_guard_comes_to_an_end_whatever_a_host_does(hostile: Hostile) -> None:
    truth = hostile.truth
    policies = [HASTY if truth[each] == "timeout" else PATIENT for each in truth]
    with ThreadPoolExecutor(len(truth)) as pool:
        found = dict(zip(truth, pool.map(by_urllib, truth, policies), strict=True))
    assert found == truth
    assert hostile.forbidden.seen.connections == 0


def test_urllib_under_the_guard_knows_nothing_but_http(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (*REFUSED, "FILE:///etc/hostname", "file://localhost/etc/hostname", " file:///etc/hostname"):
        assert by_urllib(each) in ("refused_scheme", "bad_url")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, hostile.forbidden.url("/"))
    assert by_urllib(hostile.web.url("/good.jpg")) == "ok"
    assert hostile.forbidden.seen.connections == 0
    agents = {each.headers["user-agent"] for each in hostile.web.seen.asked}
    assert agents == {POLICY.agent}


def test_urllib_asks_for_no_url_with_a_user_and_ours_may(hostile: Hostile) -> None:
    assert by_urllib(hostile.web.url("/good.jpg").replace("://", "://me:secret@")) == "untried"


def test_a_missing_or_impossible_img2dataset_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = ["fetch", str(tmp_path), "--all", "--fetcher", "img2dataset"]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert "pip install 'align-data[img2dataset]'" in refused(*command)
    monkeypatch.setattr(package.sys, "version_info", (3, 13, 1))
    assert "needs Python 3.12 or older" in refused(*command)
    monkeypatch.undo()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: "there")
    for option in (["--per-host", "4"], ["--proxy", "http://127.0.0.1:1"], ["--host-limits", "x"]):
        assert f"the fetcher img2dataset does not support {option[0]}" in refused(*command, *option)


def test_its_folder_can_be_deleted(tmp_path: Path) -> None:
    """Without the folder there is no such fetcher, and all else works: its output is read, and we fetch ourselves."""
    root = Path(package.__file__).parents[3]
    shutil.copytree(root / "align_data", tmp_path / "align_data", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("filters", "schemas"):
        if (root / name).is_dir():
            shutil.copytree(root / name, tmp_path / "align_data" / name, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "align_data" / "fetching" / "img2dataset")

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "align_data", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    late = "http://127.0.0.1:8099/2.jpg"  # an address that the guard lets nobody connect to
    samples = [Sample("http://a/1.jpg", data=drawn(1)), Sample(late, status="failed_to_download", error="timed out")]
    write_shard(tmp_path / "shards", 0, samples, "webdataset")
    said = call("fetch", "--help")
    assert said.returncode == 0
    assert "img2dataset" not in said.stdout
    assert call("ingest", "--from", "img2dataset", "shards", "--out", "dataset").returncode == 0
    assert manifest_of(tmp_path / "dataset", "images").exists()
    done = call("fetch", "dataset", "--all", "--json")
    assert (done.returncode, json.loads(done.stdout)["outcomes"]) == (0, {"refused_address": 1}), done.stderr
    refusal = call("fetch", "dataset", "--all", "--fetcher", "img2dataset")
    assert refusal.returncode == 2
    assert "'img2dataset' is not 'align-data'" in refusal.stderr


@there
def test_the_workers_that_img2dataset_spawns_are_guarded(hostile: Hostile, tmp_path: Path) -> None:
    urls = list(hostile.truth)
    child = Child(handler_of("img2dataset"), plain(FetchSettings(POLICY, Limits(connections=64), Store(tmp_path))))
    task = ChunkTask(0, "bytes/x", [str(number) for number in range(len(urls))], urls)
    watch = threading.Timer(120, child.close)  # without the guard some of these pages take for ever
    watch.start()
    try:
        counted, (number, rows) = replies(child, [task])
    finally:
        watch.cancel()
        child.close()
    assert {each: row.status for each, row in zip(urls, rows, strict=True)} == hostile.truth
    assert counted == Counter(hostile.truth.values())
    assert hostile.forbidden.seen.connections == number == 0
    assert {each.headers["user-agent"] for each in hostile.web.seen.asked} == {POLICY.agent}
    assert not any((tmp_path / "_work").iterdir())
    reader = TarReader(Store(tmp_path))
    stored = {each: reader.read(Place(*row[3:])) for each, row in zip(urls, rows, strict=True) if row.status == "ok"}  # type: ignore[arg-type]
    reader.close()
    assert stored[hostile.web.url("/good/1")] == jpeg(1, 64)
    assert stored[hostile.web.url("/packed.jpg")] == jpeg()
    assert max(map(len, stored.values())) <= POLICY.max_bytes


PLAIN = """
import os, sys, urllib.request
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import img2dataset
from align_data.fetching.client import Policy
from align_data.fetching.img2dataset.opener import opener

class Nothing:  # a process more that takes seconds to start
    def __init__(self, *_): pass
    def start(self): pass
    join = start

if __name__ == "__main__":
    sys.modules["img2dataset.main"].LoggerProcess = Nothing
    urllib.request.install_opener(opener(Policy()))
    raw, small = dict(resize_mode="no", disable_all_reencoding=True), dict(resize_mode="keep_ratio", image_size=32)
    for form, how in (("webdataset", raw), ("parquet", small)):
        img2dataset.download(
            "list.parquet", input_format="parquet", caption_col="alt", output_folder=form, output_format=form,
            thread_count=32, number_sample_per_shard=8, timeout=2, **how,
        )
"""


@there
def test_what_img2dataset_really_writes_is_taken(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(PLAIN)
    with hostile_web.serve(HOME) as web:
        ends = {f"/good/{i}?side=48": "ok" for i in range(12)}
        ends |= {"/status/404": "http_404", "/status/500": "http_500", "/silent.jpg": "timeout"}
        ends |= {"/robots?tag=noai": "opted_out", "/html.jpg": "not_an_image", "/nowhere": "http_302"}
        ends |= {"/loop": "too_many_redirects", "/long_announced.jpg": "truncated", "/reset_at_once.jpg": "connect"}
        truth = {web.url(path): end for path, end in ends.items()} | {"http://no.invalid/": "dns"}
        pl.DataFrame({"url": list(truth), "alt": ["a text"] * len(truth)}).write_parquet(tmp_path / "list.parquet")
        done = subprocess.run([sys.executable, "plain.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        # The opener of the process above reached none of the workers: it lets nobody connect to this server.
        assert web.seen.paths()["/good/1"] == 2
    for form, side in (("webdataset", 48), ("parquet", 32)):
        said = Said()
        taken = take(tmp_path / form, tmp_path / f"out-{form}", Parts(rows=5), progress=said)
        found = taken.images
        assert {each: row["status"] for each, row in found.items()} == truth
        assert taken.account.pairs == len(truth)
        assert any("resized 12 images" in sentence for sentence in said.sentences) == (side == 32)
        for i in range(12):
            stored = found[web.url(f"/good/{i}?side=48")]["data"]
            assert Image.open(io.BytesIO(stored)).size == (side, side)
            assert side == 32 or stored == jpeg(i, 48)


@there
def test_fetching_by_img2dataset_ends_as_our_own_fetching_does_and_leaves_no_process(tmp_path: Path) -> None:
    mark = f"ALIGN_DATA_TEST={tmp_path}"
    with hostile_web.serve(HOME) as web:
        rows = [{"url": web.url(f"/good/{i}"), "alt_text": "a text"} for i in range(30)]
        rows.append({"url": web.url("/silent"), "alt_text": "a text"})
        pl.DataFrame(rows).write_parquet(tmp_path / "list.parquet")
        dataset = Dataset(Store(tmp_path / "out"))
        engine = LocalEngine(tmp_path / "work", 1)
        ingest([str(tmp_path / "list.parquet")], dataset, engine, Silent())
        options = ["--all", "--fetcher", "img2dataset", "--allow-network", HOME, "--chunk", "8", "--workers", "1"]
        command = [sys.executable, "-c", "from align_data.cli import main; main()", "fetch", str(tmp_path / "out")]
        environment = os.environ | dict([mark.split("=")])
        process = subprocess.Popen([*command, *options, "--deadline", "60"], env=environment, stdout=-3, stderr=-3)
        waited(lambda: web.seen.paths()["/silent"] > 0)
        assert len(processes(mark)) >= 3
        process.send_signal(signal.SIGKILL)
        process.wait()
        waited(lambda: not processes(mark))
        report = fetch(
            dataset, None, replace(POLICY, deadline=2), Limits(), engine, Silent(), 8, handler_of("img2dataset")
        )
    assert report.statuses == {"ok": 30, "timeout": 1}
    reader = TarReader(dataset.store)
    for each, *place in read(dataset, "images").drop_nulls("tar").select("url", "tar", "offset", "size").iter_rows():
        assert reader.read(Place(*place)) == jpeg(int(each.rpartition("/")[2]), 64)
    reader.close()


def processes(mark: str) -> list[str]:
    """Return the processes that have a variable in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it has ended meanwhile
            continue
    return found


def waited(over: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not over():
        assert time.monotonic() < end
        time.sleep(0.05)
