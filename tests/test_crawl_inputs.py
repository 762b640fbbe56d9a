"""Finding archives: what names what, what is sampled, and what a server that stumbles costs."""

from __future__ import annotations

import gzip
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pytest
from conftest import tree
from evil_crawler import archive
from hypothesis import given
from hypothesis import strategies as st
from test_crawl import EVIL, account, crawled

from align_data.common.errors import InputError
from align_data.sources.crawl import blocks, inputs
from align_data.sources.crawl.archive import Archive
from align_data.sources.crawl.inputs import ArchiveSelection, find_archives
from align_data.sources.crawl.settings import CrawlSettings
from align_data.sources.inputs import divide

CONTENT = archive([b"images=1"] * 3)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of archives, and of what is beside them."""
    monkeypatch.chdir(tmp_path)
    names = ["a.warc.gz", "b.warc", "c.warc.wat.gz", "d/e.warc.gz", ".hidden/f.warc.gz", "_work/g.warc.gz", "list.csv"]
    for name in [*names, "h.warc.wet.gz", "warc.paths"]:
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "in" / name).write_bytes(CONTENT)
    return tmp_path / "in"


def names(patterns: list[str], **selection: Any) -> list[str]:
    return [each.name for each in find_archives(patterns, ArchiveSelection(**selection))[0]]


def test_folders_patterns_and_files(folder: Path) -> None:
    archives, notes = find_archives(["in"])
    assert [each.name for each in archives] == ["a.warc.gz", "b.warc", "c.warc.wat.gz", "d/e.warc.gz"]
    assert [each.table for each in archives] == [
        "data/a.warc.parquet",
        "data/b.warc.parquet",
        "data/c.warc.wat.parquet",
        "data/e.warc.parquet",
    ]
    assert [each.size for each in archives] == [len(CONTENT)] * 4
    assert len(notes) == 1
    assert notes[0].startswith("passed over: ")
    assert "and 1 more, which" in notes[0]
    assert names(["in/*.warc.gz"]) == ["a.warc.gz"]
    assert names(["in/**/*.warc.gz", "in/a.warc.gz"]) == ["a.warc.gz", "d/e.warc.gz"]
    assert names([f"file://{folder}/b.warc"]) == ["b.warc"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("x.warc.wet.gz", CONTENT, "is a WET file, which has a page's text and not its images: take the WARC or WAT"),
        ("x.arc.gz", CONTENT, "is an ARC file, which WARC replaced in 2009: convert it, with warcio recompress"),
        ("x.warc.zst", CONTENT, "is compressed with Zstandard: make it .warc.gz of it"),
        ("x.wacz", CONTENT, "is a ZIP file: unpack it, the archives are in its folder archive"),
        (
            "x.gz",
            gzip.compress(b"hello", mtime=0),
            "is not a WARC or WAT file: read are .warc, .warc.gz and .wat.gz; or say what",
        ),
        ("x", b"PK\x03\x04....", "is a ZIP file"),
        ("x", b"filedesc://a", "is an ARC file"),
    ],
)
def test_what_is_not_read_is_a_sentence(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as raised:
        find_archives([str(tmp_path / name)])
    assert f"{name} {sentence}" in str(raised.value)


def test_a_name_that_does_not_say_is_looked_into(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(CONTENT)
    (tmp_path / "y.gz").write_bytes(gzip.compress(b"hello"))
    assert names([str(tmp_path / "x")]) == ["x"]
    assert names([str(tmp_path / "y.gz")], kind="warc") == ["y.gz"]


def test_equal_base_names_have_tables_of_their_own(tmp_path: Path) -> None:
    for name in ("one/a.warc.gz", "two/a.warc.gz", "two/b.warc.gz", "a.warc", "d é.warc.gz", "_e.warc.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(CONTENT)
    patterns = [str(tmp_path / pattern) for pattern in ("one", "two", "a.warc", "d*.warc.gz", "_e.warc.gz")]
    archives, _ = find_archives(patterns)
    of = {each.name: each for each in archives}
    assert of["two/b.warc.gz"].table == "data/b.warc.parquet"
    assert of["two/b.warc.gz"].crawl_file == "b.warc.gz"
    assert of["one/a.warc.gz"].crawl_file == "one/a.warc.gz"
    tables = [each.table.removeprefix("data/") for each in archives]
    assert len(set(tables)) == 6
    assert all(table[0] not in "._" and table.isascii() for table in tables)
    assert sum(table.startswith("a.warc-") for table in tables) == 3
    crawled(patterns, tmp_path / "out")
    rows = pl.concat([pl.read_parquet(path) for path in sorted((tmp_path / "out" / "data").iterdir())])
    assert rows["crawl_file"].unique().sort().to_list() == sorted(each.crawl_file for each in archives)


PATHS = "".join(f"crawl-data/{n // 100}/{n:05d}.warc.gz\n" for n in range(1_000))


def test_lists_of_paths(tmp_path: Path) -> None:
    (tmp_path / "warc.paths.gz").write_bytes(gzip.compress(PATHS.encode()))
    (tmp_path / "warc.paths").write_text(PATHS)
    for name in ("warc.paths", "warc.paths.gz"):
        archives, _ = find_archives([str(tmp_path / name)], ArchiveSelection(prefix="https://data.example/"))
        assert len(archives) == 1_000
        assert archives[7].path == "https://data.example/crawl-data/0/00007.warc.gz"
        assert (archives[7].name, archives[7].crawl_file) == ("0/00007.warc.gz", "00007.warc.gz")
        assert all(each.listed and each.size is None for each in archives)


@pytest.mark.parametrize(
    ("content", "prefix", "sentence"),
    [
        (b"a/b.warc.gz\n", None, "line 1 of .* is a path, a/b.warc.gz, and nothing says where it begins: add --prefix"),
        (b"a/b.warc.gz\n\n../c.warc.gz\n", "https://x.example", "line 3 of .* leads out of --prefix"),
        (b"file:///etc/passwd\n", "https://x.example", "line 1 of .* leads out of --prefix"),
        (b"\xff\xfe\n", "https://x.example", "line 1 of .*"),
        (b"a\0b.warc.gz\n", "https://x.example", "line 1 of .* is not the path of an archive"),
        (b"a" * 5_000 + b"\n", "https://x.example", "line 1 of .* is not the path of an archive: it is too long"),
        (b"a.warc.wet.gz\n", "https://x.example", "a.warc.wet.gz is a WET file"),
        (b"\n", "https://x.example", "no archive is named by"),
        (
            gzip.compress(PATHS.encode(), mtime=0)[:-9],
            "https://x.example",
            "cannot read .* to its end: .*; download it again",
        ),
    ],
)
def test_lists_that_cannot_be(tmp_path: Path, content: bytes, prefix: str | None, sentence: str) -> None:
    (tmp_path / "warc.paths").write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        find_archives([str(tmp_path / "warc.paths")], ArchiveSelection(prefix=prefix))


def test_a_prefix_without_a_list(tmp_path: Path) -> None:
    (tmp_path / "a.warc.gz").write_bytes(CONTENT)
    with pytest.raises(
        InputError, match=r"--prefix is for lists of paths, such as warc\.paths\.gz, and no input is one"
    ):
        find_archives([str(tmp_path / "a.warc.gz")], ArchiveSelection(prefix="s3://x"))


def test_a_list_of_90_000_paths_is_looked_at_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "".join(f"crawl-data/segments/{n % 100}/{n:05d}.warc.gz\n" for n in range(90_000))
    (tmp_path / "warc.paths.gz").write_bytes(gzip.compress(lines.encode()))
    resolved = Counter[str]()
    real = fsspec.core.url_to_fs
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda url, **o: (resolved.update([url]), real(url, **o))[1])
    selection = ArchiveSelection(prefix="https://data.example", share=0.01, seed=7)
    assert len(find_archives([str(tmp_path / "warc.paths.gz")], selection)[0]) == 900
    assert list(resolved) == [str(tmp_path / "warc.paths.gz")]


def some(names: list[str], share: float, seed: int) -> set[str]:
    archives = [Archive(name, name, name, name) for name in names]
    return {each.name for each in inputs._sampled(archives, ArchiveSelection(share=share, seed=seed))}


@given(
    st.integers(1, 300), st.floats(0.001, 1), st.floats(0.001, 1), st.integers(0, 2**40), st.sampled_from(["", "x/y/"])
)
def test_a_larger_sample_contains_a_smaller_one(number: int, a: float, b: float, seed: int, folder: str) -> None:
    names = [f"{n:05d}.warc.gz" for n in range(number)]
    small, large = some(names, min(a, b), seed), some(names, max(a, b), seed)
    assert small <= large
    assert len(small) == max(1, round(number * min(a, b)))
    assert some(names, 1, seed) == set(names)
    # It does not matter where they lie, nor in which order they are named.
    elsewhere = some([f"{folder}{name}" for name in reversed(names)], min(a, b), seed)
    assert {name.removeprefix(folder) for name in elsewhere} == small


def test_seeds_sample_evenly() -> None:
    names = [f"{n:05d}.warc.gz" for n in range(50)]
    times = Counter(name for seed in range(400) for name in some(names, 0.1, seed))
    assert sum(times.values()) == 2_000
    # Each is expected 40 times, with a standard deviation of 6.
    assert 40 - 5 * 6 < min(times.values()) <= max(times.values()) < 40 + 5 * 6
    assert some(names, 0.1, 1) == {"00007.warc.gz", "00043.warc.gz", "00045.warc.gz", "00047.warc.gz", "00049.warc.gz"}


def test_which_inputs_are_archives(folder: Path) -> None:
    assert divide(["in/a.warc.gz", "in/list.csv", "s3://x/y.wat.gz", "https://x.example/wat.paths.gz"]) == (
        ["in/a.warc.gz", "s3://x/y.wat.gz", "https://x.example/wat.paths.gz"],
        ["in/list.csv"],
    )
    assert divide(["in"]) == (["in"], ["in"])
    assert divide(["in/d"]) == (["in/d"], [])
    archives, lists = divide(["in/[al]*"])
    assert [each.rpartition("/")[2] for each in (*archives, *lists)] == ["a.warc.gz", "list.csv"]
    with pytest.raises(InputError, match="nothing matches"):
        divide(["in/nothing"])


# --- where they lie ---


class Files(BaseHTTPRequestHandler):
    """Serves ranges of a file, and now and then says that it cannot."""

    protocol_version = "HTTP/1.1"
    content = b""
    stumbles: Iterator[int] = iter(())
    requests: Counter[str]

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        type(self).requests[self.command] += 1
        status = next(type(self).stumbles, 200) if body else 200
        if self.path.endswith("missing.warc.gz"):
            status = 404
        if status != 200:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.send_header("Retry-After", "0")
            self.end_headers()
            return
        start, _, end = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        part = self.content[int(start) : int(end) + 1 if end else None]
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part) if body else len(self.content)))
        if "Range" in self.headers:
            self.send_header("Content-Range", f"bytes {start}-{int(start) + len(part) - 1}/{len(self.content)}")
        self.end_headers()
        if body:
            self.wfile.write(part)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(content: bytes, stumbles: list[int]) -> Iterator[str]:
    Files.content, Files.stumbles, Files.requests = content, iter(stumbles), Counter()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "FIRST_WAIT", 0.001)


@pytest.mark.usefixtures("impatient")
def test_a_server_that_says_slow_down(tmp_path: Path) -> None:
    chance = os.urandom
    content = archive([b"images=3 " + chance(3_000).hex().encode() for _ in range(40)])
    (tmp_path / "a.warc.gz").write_bytes(content)
    settings = CrawlSettings(block=20_000, handler=EVIL.handler)
    crawled([tmp_path / "a.warc.gz"], tmp_path / "local", settings)
    with serving(content, [200, 503, 503, 429, 200, 500, 503, 200]) as url:
        (tmp_path / "warc.paths").write_text("a.warc.gz\nmissing.warc.gz\n")
        selection = ArchiveSelection(prefix=url)
        report = crawled([tmp_path / "warc.paths"], tmp_path / "remote", settings, selection, workers=1)
        assert report.total.account.rows == 120
        (unread,) = report.total.unread
        assert unread.name == "missing.warc.gz"
        assert "see that the address is right" in unread.reason
    local, remote = (pl.read_parquet(tmp_path / name / "data" / "a.warc.parquet") for name in ("local", "remote"))
    assert local.equals(remote)


@pytest.mark.usefixtures("impatient")
def test_a_server_that_never_answers_well(tmp_path: Path) -> None:
    with serving(CONTENT, [503] * 100) as url:
        report = crawled([f"{url}/a.warc.gz"], tmp_path / "out")
    (unread,) = report.total.unread
    assert "503" in unread.reason
    assert "try again later" in unread.reason
    assert Files.requests["GET"] == blocks.ATTEMPTS


def test_archives_and_rows_in_memory(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/in/a.warc.gz", CONTENT)
    memory.pipe("/in/b/c.warc.gz", CONTENT)
    crawled(["memory://in"], "memory://out")
    crawled(["memory://in"], "memory://out")
    names = sorted(path.removeprefix("/out/") for path in memory.find("/out"))
    assert names == [
        "_account.json", "_accounts/a.warc.json", "_accounts/c.warc.json", "_crawl.json",
        "data/a.warc.parquet", "data/c.warc.parquet",
    ]  # fmt: skip
    for name in ("a.warc.gz", "b/c.warc.gz"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(CONTENT)
    crawled([tmp_path / "in"], tmp_path / "out")
    assert memory.cat("/out/data/a.warc.parquet") == tree(tmp_path / "out")["data/a.warc.parquet"]
    assert account(tmp_path / "out", "c.warc")["rows"] == 3
