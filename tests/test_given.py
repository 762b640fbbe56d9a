"""What users give to compare images with: evaluation indexes and blocklists, against slow oracles; mistakes as sentences."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import hostile_images as hostile
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result
from conftest import read
from hypothesis import given
from hypothesis import strategies as st
from test_content import Pool, here
from test_decoding import bits_apart, phash, upright

from align_data.cli import main
from align_data.common.errors import InputError
from align_data.common.progress import Silent
from align_data.data.references import (
    LoadedReferences,
    give_blocklist,
    give_evaluation,
    listed_hosts,
    nearest,
    read_blocklist,
)
from align_data.stages.eval_index import index
from align_data.storage.tables import Table

__all__ = ["here"]  # images are looked at in this process, but where `children` are asked for

HASHES = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 1, -1, 3, 2**63 - 1, -(2**63)])


def apart(one: int, other: int) -> int:
    """Return the number of bits that differ, the slow way."""
    return bin((one ^ other) & (2**64 - 1)).count("1")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture
def children() -> None:
    """Ask for real child processes."""


# --- nearest ---


@given(st.lists(st.none() | HASHES, max_size=12), st.lists(HASHES, max_size=9))
def test_nearest_is_the_slow_oracles(mine: list[int | None], listed: list[int]) -> None:
    distance, place = nearest(pl.Series("phash", mine, pl.Int64), np.array(listed, np.int64))
    assert (distance.dtype, place.dtype) == (pl.Int32, pl.Int64)
    for ours, found, at in zip(mine, distance, place, strict=True):
        if ours is None or not listed:
            assert (found, at) == (None, None)
        else:
            every = [apart(ours, each) for each in listed]
            assert (found, at) == (min(every), every.index(min(every)))


def test_nearest_of_more_than_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(1)
    mine = chance.integers(-(2**63), 2**63, 300, dtype=np.int64)
    listed = np.concatenate([chance.integers(-(2**63), 2**63, 70_000, dtype=np.int64), mine[::7] ^ 5, mine[::7] ^ 9])
    monkeypatch.setattr("align_data.data.references._BLOCK", 2**18)
    distance, place = nearest(pl.Series("phash", mine), listed)
    for number in range(0, 300, 13):
        every = np.bitwise_count(mine[number].view(np.uint64) ^ listed.view(np.uint64))
        assert (distance[number], place[number]) == (every.min(), every.argmin())


@given(st.lists(st.tuples(st.sampled_from("abcd"), HASHES), max_size=6), st.lists(st.none() | HASHES, max_size=6))
def test_of_equally_near_images_the_first_by_name(images: list[tuple[str, int]], mine: list[int | None]) -> None:
    schema = {"kind": pl.String, "value": pl.String, "within": pl.Int32}
    evaluation = pl.DataFrame(images, {"name": pl.String, "phash": pl.Int64}, orient="row")
    lists = LoadedReferences(evaluation, pl.DataFrame(schema=schema))
    distance, name = lists.nearest(pl.DataFrame({"phash": pl.Series(mine, dtype=pl.Int64)}))
    for ours, near, called in zip(mine, distance, name, strict=True):
        if ours is None or not images:
            assert (near, called) == (None, None)
        else:
            assert (near, called) == min((apart(ours, each), other) for other, each in images)


# --- eval-index ---


@pytest.fixture
def benchmark_images(tmp_path: Path) -> Path:
    """Write a folder of evaluation images: good ones, and some that cannot be read."""
    folder = tmp_path / "evaluation"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "a.png").write_bytes(hostile.good()["png/rgb"])
    (folder / "B.JPEG").write_bytes(hostile.oriented("JPEG", 6, hostile.picture(seed=5)))
    (folder / "deep" / "er" / "é 2.webp").write_bytes(hostile.file(hostile.picture(seed=6), "WEBP"))
    (folder / "deep" / "wrong.jpg").write_bytes(hostile.good()["gif/plain"])
    (folder / "deep" / "cut.png").write_bytes(hostile.broken()["png/rgb cut at 50 %"])
    (folder / "empty.tif").write_bytes(b"")
    (folder / "page.jpg").write_bytes(hostile.NO_IMAGE["html"])
    (folder / "notes.txt").write_text("no image")
    (folder / "folder.png").mkdir()
    (folder / "dangling.bmp").symlink_to("nowhere")
    return folder


GOOD = {"a.png", "B.JPEG", "deep/er/é 2.webp", "deep/wrong.jpg"}
BAD = {"deep/cut.png", "empty.tif", "page.jpg"}


def indexed(file: Path) -> dict[str, int]:
    rows = pl.read_parquet(file)
    assert rows["name"].to_list() == sorted(rows["name"])
    return dict(rows.iter_rows())


def hashes(folder: Path, names: set[str]) -> dict[str, int]:
    return {name: phash(upright((folder / name).read_bytes())) for name in names}


def test_a_folder(benchmark_images: Path, tmp_path: Path, children: None) -> None:
    out = tmp_path / "new" / "index.parquet"
    result = invoke("eval-index", benchmark_images, "--out", out, "--json", "--workers", 2)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["images"] == 4
    assert set(told["skipped"]) == {*BAD, "dangling.bmp"}
    assert "No such file" in told["skipped"]["dangling.bmp"]
    assert told["skipped"]["page.jpg"] == "not_an_image: does not begin like any image format"
    assert indexed(out) == hashes(benchmark_images, GOOD)


def test_a_tar_and_a_file(benchmark_images: Path, tmp_path: Path) -> None:
    tar, out = tmp_path / "set.tar", tmp_path / "index.parquet"
    with tarfile.open(tar, "w") as made:
        made.add(benchmark_images, "images")
    result = index([str(tar), str(benchmark_images / "a.png")], str(out), 1, Silent())
    assert result.images == 5
    assert set(result.skipped) == {f"set.tar/images/{name}" for name in BAD}
    inside = {f"set.tar/images/{name}": value for name, value in hashes(benchmark_images, GOOD).items()}
    assert indexed(out) == inside | hashes(benchmark_images, {"a.png"})


def test_inputs_whose_images_are_called_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, folder in enumerate(("one", "two")):
        Path(folder).mkdir()
        Path(folder, "1.png").write_bytes(hostile.file(hostile.picture(seed=number), "PNG"))
        Path(folder, "bad.png").write_bytes(b"")
    Path("two", "2.png").write_bytes(hostile.good()["png/rgb"])
    result = index(["one", "two", "two"], "index.parquet", 1, Silent())
    assert result.images == 3
    assert set(result.skipped) == {"one/bad.png", "two/bad.png"}
    assert set(indexed(Path("index.parquet"))) == {"one/1.png", "two/1.png", "two/2.png"}


@pytest.mark.parametrize("shares", [1, 2, 256])
def test_the_index_does_not_depend_on_how_work_is_shared(
    benchmark_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, children: None, shares: int
) -> None:
    monkeypatch.setattr("align_data.stages.eval_index._SHARE", shares)
    out = tmp_path / "index.parquet"
    result = index([str(benchmark_images)], str(out), 2, Silent())
    assert (result.images, len(result.skipped)) == (4, 4)
    assert indexed(out) == hashes(benchmark_images, GOOD)


def test_what_a_killed_eval_index_was_writing_goes_with_the_next(benchmark_images: Path, tmp_path: Path) -> None:
    mine = (".index.parquet.0123abcd.tmp.mine", ".index.parquet.tmp", ".other.parquet.0123abcd.tmp")
    for name in (".index.parquet.0123abcd.tmp", *mine):
        (tmp_path / name).write_text("left")
    index([str(benchmark_images)], str(tmp_path / "index.parquet"), 2, Silent())
    assert {path.name for path in tmp_path.iterdir()} - {"index.parquet", *mine} <= {benchmark_images.name}
    assert all((tmp_path / name).read_text() == "left" for name in mine)


def three(path: Path) -> list[int]:
    """Write a tar of three images; return where the headers begin, and where the end does."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(3):
            content = hostile.file(hostile.picture(seed=number), "PNG")
            info = tarfile.TarInfo(f"{number}.png")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with tarfile.open(path) as tar:
        return [*(member.offset for member in tar), tar.offset]


@pytest.mark.parametrize("how", ["a damaged header", "cut in a header", "cut between two", "cut behind the last"])
def test_a_tar_that_is_not_whole_is_no_index(tmp_path: Path, how: str) -> None:
    tar = tmp_path / "set.tar"
    _, _, third, end = three(tar)
    content = bytearray(tar.read_bytes())
    if how == "a damaged header":
        content[third + 150] ^= 1
    stop = {"cut in a header": third + 100, "cut between two": third, "cut behind the last": end}.get(how)
    tar.write_bytes(content[:stop])
    with pytest.raises(InputError, match=r"cannot read the tar .*set.tar: it is damaged or cut off at byte"):
        index([str(tar)], str(tmp_path / "index.parquet"), 1, Silent())
    assert not (tmp_path / "index.parquet").exists()


def test_what_is_no_plain_file_is_named(benchmark_images: Path, tmp_path: Path) -> None:
    os.mkfifo(benchmark_images / "pipe.jpg")
    (benchmark_images / "more").symlink_to(benchmark_images / "deep")
    odd = os.fsdecode(bytes(benchmark_images / "x") + b"\xff.png")
    shutil.copy(benchmark_images / "a.png", odd)
    out = tmp_path / "index.parquet"
    result = index([str(benchmark_images)], str(out), 1, Silent())
    assert result.skipped["pipe.jpg"] == "is not a regular file"
    assert result.skipped["more"] == "is a link to a folder: give that folder too"
    assert indexed(out).keys() == GOOD | {"x\\udcff.png"}
    with pytest.raises(InputError, match="an input without a name"):
        index([str(benchmark_images), ""], str(out), 1, Silent())


def mistaken(tmp_path: Path) -> dict[str, tuple[list[str], str]]:
    """Return inputs that are wrong, and the sentences."""
    image = hostile.good()["png/rgb"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "1.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "1.png").write_bytes(image)
    (tmp_path / "page.jpg").write_bytes(hostile.NO_IMAGE["html"])
    for name, how in (("packed.tar.gz", "w:gz"), ("packed.tar", "w:xz"), ("packed.tbz", "w:bz2"), ("whole.tar", "w")):
        with tarfile.open(tmp_path / name, how) as tar:
            tar.add(tmp_path / "1.png", "1.png")
    (tmp_path / "cut.tar").write_bytes((tmp_path / "whole.tar").read_bytes()[:3000])
    with tarfile.open(tmp_path / "none.tar", "w"):
        pass
    (tmp_path / "zero.tar").write_bytes(b"")
    return {
        "nothing there": (["nowhere"], "nowhere does not exist; give folders, tars or image files"),
        "an empty folder": (["empty"], "empty holds no image; images are recognised by their endings: .avif, .bmp"),
        "an empty tar": (["none.tar"], "none.tar holds no image"),
        "a tar of 0 bytes": (["zero.tar"], "cannot read the tar zero.tar: empty file"),
        "a tar that ends early": (["cut.tar"], "cannot read the tar cut.tar: unexpected end of data"),
        "gzip": (["packed.tar.gz"], "packed.tar.gz is not an image: it is compressed by gzip, unpack it first"),
        "xz by another name": (
            ["packed.tar"],
            "cannot read the tar packed.tar: it is compressed by xz, unpack it first",
        ),
        "bzip2": (["1.png", "packed.tbz"], "packed.tbz is not an image: it is compressed by bzip2, unpack it first"),
        "a page": (["page.jpg"], "page.jpg is not an image; give folders, tars or image files"),
        "only bad ones": (["bad"], "none of the 1 images can be decoded; 1.jpg: broken: "),
        "no place to write": (["1.png", "--out", "empty"], "empty: Is a directory; choose another place"),
        "a file for a folder": (["1.png", "--out", "1.png/index.parquet"], "cannot write 1.png/index.parquet: "),
    }


@pytest.mark.parametrize(
    "name",
    ["nothing there", "an empty folder", "an empty tar", "a tar of 0 bytes", "a tar that ends early", "gzip",
     "xz by another name", "bzip2", "a page", "only bad ones", "no place to write", "a file for a folder"],
)  # fmt: skip
def test_wrong_inputs_are_sentences(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, sentence = mistaken(tmp_path)[name]
    result = invoke("eval-index", "--out", "index.parquet", *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Error: " in result.stderr
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert not Path("index.parquet").exists()


# --- measured with them ---


def near(content: bytes) -> bytes:
    """Return a copy of an image, as the web makes them: smaller, and compressed again."""
    image = upright(content).convert("RGB")
    return hostile.file(image.resize((image.width - 9, image.height - 7)), "JPEG", quality=60)


@pytest.fixture
def pool(tmp_path: Path, benchmark_images: Path) -> Pool:
    """Return a dataset with copies of the evaluation images among others."""
    sources = [(benchmark_images / name).read_bytes() for name in sorted(GOOD)]
    made = {f"http://copy.example/{n}": near(content) for n, content in enumerate(sources)}
    made |= {f"http://a.example/{n}": hostile.file(hostile.picture(seed=20 + n), "PNG") for n in range(5)}
    return Pool(tmp_path / "pool", {**made, "http://b.Example/1": "http_404", "http://b.example:80/2": "timeout"})


def test_distances(pool: Pool, benchmark_images: Path, tmp_path: Path, children: None) -> None:
    """Through the commands, to the nearest image and its name; and a new index is compared with at once."""
    first, second = tmp_path / "first.parquet", tmp_path / "second.parquet"
    assert invoke("eval-index", benchmark_images, "--out", first).exit_code == 0
    assert invoke("eval-index", benchmark_images / "a.png", "--out", second).exit_code == 0
    names = ("--signals", "phash,eval_distance,eval_nearest", "--workers", 1)
    result = invoke("measure", pool.folder, *names)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "eval_distance cannot be measured: it would need --eval-index" in result.stderr
    for file in (first, second):
        result = invoke("measure", pool.folder, "--eval-index", file, *names)
        assert result.exit_code == 0, result.output
        listed = indexed(file)
        hashed, distances, nearest_ = (pool.column(name) for name in ("phash", "eval_distance", "eval_nearest"))
        for url in pool.found:
            if hashed[url] is None:
                assert (distances[url], nearest_[url]) == (None, None)
            else:
                every = sorted((apart(hashed[url], value), name) for name, value in listed.items())
                assert (distances[url], nearest_[url]) == every[0]
        if file == first:
            assert sum(d is not None and d <= 6 for d in distances.values()) == len(GOOD)
            # Images are not needed any more for another index.
            for tar in pool.folder.glob("bytes/*/*.tar"):
                tar.unlink()
    assert "measured: eval_distance, eval_nearest" in result.stdout
    # And once given it stays.
    result = invoke("measure", pool.folder, *names)
    assert "measured: nothing new" in result.stdout


def test_an_index_that_is_none_is_a_sentence(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.parquet").write_text("no")
    Path("empty").write_bytes(b"")
    Path("folder").mkdir()
    pl.DataFrame({"a": [1]}).write_parquet("columns.parquet")
    pl.DataFrame({"name": ["a"], "phash": ["b"]}).write_parquet("types.parquet")
    pl.DataFrame({"name": ["a", None], "phash": [1, 2]}).write_parquet("nulls.parquet")
    pl.DataFrame({"name": ["a"], "phash": pl.Series([1], dtype=pl.UInt64)}).write_parquet("unsigned.parquet")
    for file in ("nowhere", "text.parquet", "empty", "folder", "columns.parquet", "types.parquet", "nulls.parquet", "unsigned.parquet"):  # fmt: skip
        result = invoke("measure", pool.folder, "--eval-index", file, "--signals", "n_words")
        assert result.exit_code == 1
        assert f"Error: {file} is not an index of evaluation images: " in result.stderr
        assert result.stderr.endswith("; make it with align-data eval-index\n")
    assert pool.dataset.reference("evaluation").committed() is None


@pytest.mark.parametrize("kind", ["evaluation", "blocklist"])
def test_killed_while_it_is_taken_in(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Whatever was being replaced then, the new one, given again, is compared with."""
    give = {"evaluation": give_evaluation, "blocklist": give_blocklist}[kind]
    signal = {"evaluation": "eval_distance", "blocklist": "blocked"}[kind]
    hashed = [phash(upright(content)) for content in pool.found.values() if isinstance(content, bytes)][:2]
    files = [tmp_path / f"{number}" for number in range(2)]
    for file, value in zip(files, hashed, strict=True):
        if kind == "evaluation":
            pl.DataFrame({"name": ["x"], "phash": [value]}).write_parquet(file)
        else:
            file.write_text(f"phash {value % 2**64:016x}")
    give(pool.dataset, str(files[0]))
    pool.measure("phash", signal)
    with monkeypatch.context() as patch:
        patch.setattr(Table, "commit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            give(pool.dataset, str(files[1]))
    give(pool.dataset, str(files[1]))
    pool.measure("phash", signal)
    found, mine = pool.column(signal), pool.column("phash")
    for url, value in mine.items():
        if value is not None:
            assert found[url] == (bits_apart(value, hashed[1]) if kind == "evaluation" else value == hashed[1])


# --- blocklists ---


def lines(tmp_path: Path, *entries: str) -> Path:
    file = tmp_path / "block.txt"
    file.write_text("\n".join(entries) + "\n", encoding="utf-8")
    return file


def blocked(pool: Pool, tmp_path: Path, *entries: str) -> dict[str, bool | None]:
    """Return URL → blocked, by a list of these lines."""
    give_blocklist(pool.dataset, str(lines(tmp_path, *entries)))
    pool.measure("blocked")
    found: dict[str, bool | None] = pool.column("blocked")
    return found


PENDING = "http://b.example:80/2"
"""What may still come."""


@pytest.mark.parametrize("kind", ["sha256", "md5", "SHA256", "upper", "bare", "phash", "url", "host", "none"])
def test_every_kind_of_entry(pool: Pool, tmp_path: Path, kind: str) -> None:
    target = "http://a.example/3"
    content = pool.found[target]
    assert isinstance(content, bytes)
    sha256, md5 = hashlib.sha256(content).hexdigest(), hashlib.md5(content).hexdigest()
    entries, hit = {
        "sha256": ([f"sha256 {sha256}"], {target}),
        "md5": ([f"  md5\t{md5}  "], {target}),
        "SHA256": (["# a comment", "", f"sha256 {sha256.upper()}"], {target}),
        "upper": ([md5.upper()], {target}),
        "bare": ([sha256], {target}),
        "phash": ([f"phash {phash(upright(content)) % 2**64:016X}"], {target}),
        "url": ([f"url {target}"], {target}),
        "host": (["a.example"], {url for url in pool.found if "//a.example/" in url}),
        "none": (["# nothing"], set()),
    }[kind]
    found = blocked(pool, tmp_path, *entries)
    assert {url for url, value in found.items() if value} == hit
    hashed = kind not in ("url", "host", "none")
    # Only of what may still come nothing can be told, and only by bytes.
    assert {url for url, value in found.items() if value is None} == ({PENDING} if hashed else set())


@pytest.mark.parametrize("within", [None, 0, 1, 3, 20, 64])
def test_hashes_within_a_distance(pool: Pool, tmp_path: Path, within: int | None) -> None:
    pool.measure("phash")
    hashed = {url: value for url, value in pool.column("phash").items() if value is not None}
    centre = hashed["http://copy.example/1"] ^ 0b101
    entry = f"phash {centre % 2**64:016x}" + (f" {within}" if within is not None else "")
    found = blocked(pool, tmp_path, entry, f"{~centre % 2**64:016x} 1")
    for url in pool.found:
        expected = (
            apart(hashed[url], centre) <= (within or 0) or apart(hashed[url], ~centre) <= 1 if url in hashed else None
        )
        assert found[url] == (expected if url in hashed else None if url == PENDING else False)


@pytest.mark.parametrize(
    ("entry", "hosts"),
    [
        ("b.example", {"b.example"}),
        ("B.EXAMPLE", {"b.example"}),
        ("host b.example.", {"b.example"}),
        (".b.example", {"b.example"}),
        ("host example", {"a.example", "b.example", "copy.example"}),
        ("le.example", set()),
        ("www.b.example", set()),
    ],
)
def test_a_host_stands_for_its_subdomains(pool: Pool, tmp_path: Path, entry: str, hosts: set[str]) -> None:
    found = blocked(pool, tmp_path, entry)
    assert {url for url, value in found.items() if value} == {
        url for url in pool.found if url.lower().split("/")[2].partition(":")[0] in hosts
    }


def test_a_list_before_anything_is_fetched(pool: Pool, tmp_path: Path) -> None:
    pool.dataset.images.retract()
    found = blocked(pool, tmp_path, "b.example", "http://a.example/1")
    assert None not in found.values()
    assert {url for url, value in found.items() if value} == {"http://b.Example/1", PENDING, "http://a.example/1"}
    found = blocked(pool, tmp_path, "b.example", "sha256 " + "0" * 64)
    assert Counter(found.values()) == {None: 9, True: 2}
    pool.fetch()
    found = blocked(pool, tmp_path, "b.example", "sha256 " + "0" * 64)
    assert Counter(found.values()) == {False: 9, True: 2}


def test_a_list_through_the_command(pool: Pool, tmp_path: Path, children: None) -> None:
    file = lines(tmp_path, "\ufeff# from a Windows editor", "a.example")
    result = invoke("measure", pool.folder, "--blocklist", file, "--signals", "blocked", "--workers", 1)
    assert result.exit_code == 0, result.output
    assert sum(map(bool, pool.column("blocked").values())) == 5
    file.write_text("copy.example\nhost\n")
    result = invoke("measure", pool.folder, "--blocklist", file, "--signals", "blocked")
    assert result.exit_code == 1
    assert (
        f"Error: {file}, line 2: 'host' is not an entry; write KIND VALUE, with a KIND of sha256, md5" in result.stderr
    )
    assert sum(map(bool, pool.column("blocked").values())) == 5


WRONG = [
    "sha256",
    "sha256 " + "0" * 63,
    "sha256 " + "g" * 64,
    "0" * 63,
    "md5 " + "0" * 64,
    "phash " + "0" * 16 + " 65",
    "phash " + "0" * 16 + " -1",
    "phash " + "0" * 16 + " ²",
    "phash " + "0" * 16 + " 1 2",
    "0" * 16 + " x",
    "url ftp://a/1",
    "url http://",
    "http://a/1 http://a/2",
    "host a.example/1",
    "host a.example:80",
    "host user@a.example",
    "host *.example",
    "*.example",
    "deadbeef",
    "colour red",
    "host .",
    "-- a.example",
]


@pytest.mark.parametrize("line", WRONG)
def test_wrong_lines_are_sentences(line: str, tmp_path: Path) -> None:
    file = lines(tmp_path, "# first", "a.example", line, "b.example")
    with pytest.raises(InputError) as told:
        list(read_blocklist(str(file)))
    assert str(told.value).startswith(f"{file}, line 3: {line[:100]!r} is not an entry; write KIND VALUE")


@given(
    st.lists(
        st.text(max_size=30) | st.sampled_from(["sha256", "phash", "host", "url", "md5", "0" * 16, "3"]), max_size=6
    )
)
def test_any_file_is_entries_or_a_sentence(tmp_path: Path, words: Sequence[str]) -> None:
    file = tmp_path / "any.txt"
    file.write_text(" ".join(words), encoding="utf-8", errors="replace")
    with suppress(InputError):
        for kind, value, within in read_blocklist(str(file)):
            assert kind in ("sha256", "md5", "phash", "url", "host")
            assert value == value.strip()
            assert 0 <= within <= 64


@pytest.mark.parametrize(
    ("content", "sentence"), [(b"\xff\xfe", "it is not UTF-8"), (None, "No such file or directory")]
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    file = tmp_path / "block.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=f"cannot read the blocklist {file}: {sentence}"):
        list(read_blocklist(str(file)))


def test_ipv6_hosts(tmp_path: Path) -> None:
    pool = Pool(tmp_path / "pool", {"http://[2001:DB8::1]/1": "dns", "http://[2001:db8::2]:8080/1": "dns"})
    assert blocked(pool, tmp_path, "[2001:db8::1]") == {
        "http://[2001:DB8::1]/1": True,
        "http://[2001:db8::2]:8080/1": False,
    }


def test_hosts_are_those_that_would_be_asked() -> None:
    hosts = [
        "straße.de",
        "strasse.de",
        "xn--strae-oqa.de",
        "a.straße.de",
        "[0:0:0:0:0:0:0:1]",
        "BÜCHER.example",
        "a。b",
    ]
    for listed, expected in (
        ("straße.de", {"straße.de", "xn--strae-oqa.de", "a.straße.de"}),
        ("xn--strae-oqa.de", {"straße.de", "xn--strae-oqa.de", "a.straße.de"}),
        ("strasse.de", {"strasse.de"}),
        ("[::1]", {"[0:0:0:0:0:0:0:1]"}),
        ("bücher.example", {"BÜCHER.example"}),
        ("a.b", {"a。b"}),
    ):
        assert listed_hosts(pl.Series(hosts), {listed}) == dict.fromkeys(expected, listed)


def test_a_list_given_anew_replaces_the_old_one(pool: Pool, tmp_path: Path) -> None:
    assert sum(map(bool, blocked(pool, tmp_path, "a.example").values())) == 5
    assert sum(map(bool, blocked(pool, tmp_path, "copy.example").values())) == 4
    assert read(pool.dataset, "blocklist").rows() == [("host", "copy.example", 0)]
    # Order and repetition mean nothing: nothing is measured again.
    give_blocklist(pool.dataset, str(lines(tmp_path, "copy.example", "# again", "COPY.example")))
    measured, looked = pool.measure("blocked")
    assert (measured.measured, looked) == ([], Counter())
