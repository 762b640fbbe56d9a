"""From archives to rows: nothing is lost in silence, whatever a page does to the process that reads it."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import tree
from evil_crawler import WRONG, archive, member

from align_data.common.errors import DatasetError, EngineError, InputError
from align_data.common.progress import Silent
from align_data.common.workers import frames
from align_data.engines.local import LocalEngine
from align_data.sources.crawl import children, reading
from align_data.sources.crawl.accounts import read_total
from align_data.sources.crawl.answers import Answers
from align_data.sources.crawl.children import close_all
from align_data.sources.crawl.inputs import ArchiveSelection
from align_data.sources.crawl.rows import CONTRACT
from align_data.sources.crawl.settings import CrawlSettings
from align_data.stages import crawl as stage
from align_data.stages.crawl import CrawlReport, crawl, row_groups
from align_data.storage.store import Store

EVIL = CrawlSettings(page_seconds=60, handler="evil_crawler:handler")


class Told(Silent):
    """Remembers what is said."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)


def crawled(
    inputs: Sequence[Path | str],
    out: Path | str,
    settings: CrawlSettings = EVIL,
    selection: ArchiveSelection = ArchiveSelection(),  # noqa: B008
    workers: int = 2,
    progress: Silent | None = None,
) -> CrawlReport:
    store = Store(str(out))
    return crawl(
        [str(each) for each in inputs],
        selection,
        store,
        LocalEngine(store.work, workers),
        progress or Silent(),
        settings,
    )


def account(out: Path, name: str) -> dict[str, Any]:
    value = json.loads((out / "_accounts" / f"{name}.json").read_text())
    assert value["records"] == value["pages"] + sum(value["skipped"].values()) + sum(value["damaged"].values())
    assert (
        value["images"] + value["further_texts"] == value["rows"] + sum(value["refused"].values()) + value["repeated"]
    )
    assert value["rows"] == len(pl.read_parquet(out / "data" / f"{name}.parquet"))
    return dict(value)


ENDS = {
    "hang": "page_too_costly", "burn": "page_too_costly", "eat": "page_too_costly", "crash": "page_crashed",
    "exit": "page_crashed", "raise": "page_crashed", "recurse": "page_crashed",
}  # fmt: skip


@pytest.mark.parametrize("action", ENDS)
def test_a_page_that_ends_its_process_costs_itself(tmp_path: Path, action: str) -> None:
    (tmp_path / "a.warc.gz").write_bytes(archive([b"images=2"] * 9 + [action.encode()] + [b"images=3"] * 5))
    crawled([tmp_path / "a.warc.gz"], tmp_path / "out", replace(EVIL, page_seconds=1))
    of = account(tmp_path / "out", "a.warc")
    assert (of["records"], of["pages"], of["rows"]) == (15, 14, 33)
    assert of["skipped"] == {ENDS[action]: 1}
    (lost,) = of["lost"]
    assert lost["reason"] == ENDS[action]
    assert (tmp_path / "a.warc.gz").read_bytes()[lost["offset"] :].startswith(member(9, action.encode()))
    urls = pl.read_parquet(tmp_path / "out" / "data" / "a.warc.parquet")["page_url"].unique(maintain_order=True)
    assert urls.to_list() == [f"http://a.example/{number}" for number in range(15) if number != 9]


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
def test_a_page_that_takes_over_its_process_reaches_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.warc.gz").write_bytes(archive([b"connect", b"fork", b"write"]))
    crawled([tmp_path / "a.warc.gz"], tmp_path / "out")
    assert account(tmp_path / "out", "a.warc")["skipped"] == {
        "page_crashed": 3
    }  # each is refused, which it does not catch


def test_many_such_pages_of_a_mixed_archive(tmp_path: Path) -> None:
    chance = random.Random(5)
    pages = [b"images=%d" % chance.randrange(5) for _ in range(60)]
    for at, action in ((3, b"crash"), (4, b"exit"), (30, b"raise"), (31, b"crash"), (59, b"exit")):
        pages[at] = action
    (tmp_path / "a.warc.gz").write_bytes(archive(pages))
    for block in (200, 3_000, 10**6):
        settings = replace(EVIL, block=block)
        crawled([tmp_path / "a.warc.gz"], tmp_path / str(block), settings)
        of = account(tmp_path / str(block), "a.warc")
        assert (of["pages"], of["skipped"]) == (55, {"page_crashed": 5})
        assert of["rows"] == sum(int(page[7:]) for page in pages if page.startswith(b"images"))
    first, *others = (tree(tmp_path / str(block)) for block in (200, 3_000, 10**6))
    assert all(other == first for other in others)


@pytest.mark.parametrize("name", WRONG)
def test_an_answer_of_a_wrong_form_is_seen(name: str) -> None:
    checks = Answers(None, None)

    def check() -> None:
        for answer in map(wired, [*WRONG[name](), None]):  # a question has an end, which `None` is not
            if checks.in_hand(answer, 1_000) is None:
                checks.take(answer, 1_000)

    with pytest.raises(ValueError):  # noqa: PT011 - each has a text of its own
        check()


def wired(answer: Any) -> Any:
    """Return an answer as it arrives."""
    return frames.value(frames.frame(answer)[frames.LENGTH.size :])


@pytest.mark.parametrize("name", ["nothing", "texts that are not UTF-8", "offsets that go back", "an answer of 40 MB"])
def test_an_answer_of_a_wrong_form_ends_the_process(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_DEATHS", 1)
    (tmp_path / f"{name}.warc.gz").write_bytes(archive([b"a"] * 3))
    (tmp_path / "b.warc.gz").write_bytes(archive([b"a"] * 3))
    settings = CrawlSettings(handler="evil_crawler:taken_over")
    report = crawled([tmp_path], tmp_path / "out", settings)
    assert [unread.name for unread in report.total.unread] == [f"{name}.warc.gz"]
    assert "the process that reads it ends with an answer of the wrong form" in report.total.unread[0].reason
    assert report.total.account.rows == 3
    assert sorted(path.name for path in (tmp_path / "out" / "data").iterdir()) == ["b.warc.parquet"]


def test_pages_of_many_rows_and_of_too_many(tmp_path: Path) -> None:
    pages = [
        b"images=3",
        b"images=40000 text=300",
        b"images=2",
        b"images=40000 text=2000",
        b"images=1",
        b"text=3000000",
    ]
    (tmp_path / "a.warc.gz").write_bytes(archive(pages))
    crawled([tmp_path / "a.warc.gz"], tmp_path / "out")
    of = account(tmp_path / "out", "a.warc")
    assert of["skipped"] == {"page_too_costly": 1}
    rows = pl.read_parquet(tmp_path / "out" / "data" / "a.warc.parquet")
    assert rows["page_url"].value_counts(sort=True).rows() == [
        ("http://a.example/1", 40_000), ("http://a.example/0", 3), ("http://a.example/2", 2),
        ("http://a.example/4", 1), ("http://a.example/5", 1),
    ]  # fmt: skip
    assert rows["crawl_offset"].is_sorted()
    assert rows["position"][3:40_003].to_list() == list(range(40_000))


def table(rows: int, length: int) -> pa.Table:
    texts = {"url": "http://a.example/", "alt_text": "x" * length}
    columns = {
        field.name: [texts.get(field.name, "" if pa.types.is_large_string(field.type) else 1)] * rows
        for field in CONTRACT.arrow()
    }
    return pa.table(columns, schema=CONTRACT.arrow())


def test_row_groups_depend_on_the_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "GROUP_ROWS", 10)
    monkeypatch.setattr(stage, "GROUP_BYTES", 1_000)
    chance = random.Random(3)
    lengths = chance.choices([3, 30, 300, 3_000], [20, 20, 1, 1], k=200)
    whole = pa.concat_tables([table(1, length) for length in lengths]).combine_chunks()
    expected = [group.num_rows for group in row_groups(iter([whole]))]
    assert sum(expected) == 200
    assert max(expected) == 10
    for seed in range(20):
        cuts = sorted(random.Random(seed).sample(range(1, 200), 30))
        parts = [whole.slice(a, b - a) for a, b in zip([0, *cuts], [*cuts, 200], strict=True)]
        groups = list(row_groups(iter(parts)))
        assert [group.num_rows for group in groups] == expected
        assert pa.concat_tables(groups).combine_chunks() == whole


def test_an_archive_that_changed_is_read_again_and_no_other(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.warc.gz").write_bytes(archive([b"images=1"] * 4))
    inputs, out = [tmp_path / f"{name}.warc.gz" for name in "abc"], tmp_path / "out"
    assert crawled(inputs, out).read == 3
    before = tree(out)
    assert crawled(inputs, out).read == 0
    assert tree(out) == before
    (tmp_path / "b.warc.gz").write_bytes(archive([b"images=2"] * 4))
    told = Told()
    report = crawled(inputs, out, progress=told)
    assert (report.read, report.total.account.rows) == (1, 16)
    assert told.sentences == ["changed since they were read, so read again: b.warc.gz"]
    assert account(out, "b.warc")["rows"] == 8


def test_an_archive_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.warc.gz").write_bytes(archive([b"images=1"] * 4))
    (tmp_path / "b.warc.gz").write_bytes(archive([b"images=1"] * 4))
    real = stage.ArchiveReading.portions

    def portions(reading: Any) -> Any:
        for portion in real(reading):
            if reading._archive.name == "a.warc.gz":
                with (tmp_path / "a.warc.gz").open("ab") as file:
                    file.write(archive([b"images=1"]))
            yield portion

    monkeypatch.setattr(stage.ArchiveReading, "portions", portions)
    report = crawled([tmp_path], tmp_path / "out")
    assert report.total.unread[0].reason == "a.warc.gz has changed while it was read: run the command again"
    assert not (tmp_path / "out" / "data" / "a.warc.parquet").exists()
    monkeypatch.undo()
    assert crawled([tmp_path], tmp_path / "out").total.account.rows == 5 + 4


def test_a_run_that_goes_on(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.warc.gz").write_bytes(archive([b"images=1"] * 4))
    out = tmp_path / "out"
    crawled([tmp_path], out)
    whole = tree(out)
    # What a killed run leaves: an account without a table, an unfinished file, and no account of all.
    (out / "data" / "b.warc.parquet").unlink()
    (out / "data" / ".c.warc.parquet.0123abcd.tmp").write_text("x")
    (out / "_account.json").unlink()
    assert crawled([tmp_path], out).read == 1
    assert tree(out) == whole
    (out / "_accounts" / "c.warc.json").write_text("{}")
    (out / "data" / "a.warc.parquet").write_text("PAR1")
    assert crawled([tmp_path], out).read == 2
    assert tree(out) == whole


def test_what_is_refused(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.warc.gz").write_bytes(archive([b"images=1"] * 4))
    out = tmp_path / "out"
    crawled([tmp_path / "a.warc.gz", tmp_path / "b.warc.gz"], out)
    with pytest.raises(DatasetError, match=r"has the rows of b\.warc, which these inputs do not name"):
        crawled([tmp_path / "a.warc.gz"], out)
    with pytest.raises(DatasetError, match=r"made with --text alt, not alt,title"):
        crawled([tmp_path], out, CrawlSettings(texts=("alt", "title"), handler=EVIL.handler))
    with pytest.raises(DatasetError, match=r"made with --from nothing, not wat"):
        crawled([tmp_path], out, selection=ArchiveSelection("wat"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match=r"holds notes\.txt, and is not a folder of rows"):
        crawled([tmp_path / "a.warc.gz"], tmp_path / "other")
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["notes.txt"]


def test_archives_may_be_added(tmp_path: Path) -> None:
    (tmp_path / "a.warc.gz").write_bytes(archive([b"images=1"] * 4))
    crawled([tmp_path], tmp_path / "out")
    (tmp_path / "b.warc.gz").write_bytes(archive([b"images=1"] * 4))
    report = crawled([tmp_path], tmp_path / "out")
    assert (report.read, report.total.archives) == (1, 2)
    assert read_total(Store(tmp_path / "out")) == report.total


def test_an_archive_that_cannot_be_read_does_not_stop_the_others(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.warc.gz").write_bytes(archive([b"images=1"] * 4))
    (tmp_path / "b.warc.gz").write_bytes(b"filedesc://x.arc 0.0.0.0 2008 text/plain 76\n1 1 X\n" * 9)
    report = crawled([tmp_path], tmp_path / "out")
    assert [each.name for each in report.total.unread] == ["b.warc.gz"]
    assert "ARC" in report.total.unread[0].reason
    assert report.total.account.rows == 8
    (tmp_path / "b.warc.gz").write_bytes(archive([b"images=1"] * 4))
    report = crawled([tmp_path], tmp_path / "out")
    assert (report.read, report.total.account.rows, report.total.unread) == (1, 12, [])


def test_no_process_starts(tmp_path: Path) -> None:
    (tmp_path / "a.warc.gz").write_bytes(archive([b"a"]))
    with pytest.raises(EngineError, match="no child process can read archives here: each ends with SIGABRT"):
        crawled([tmp_path], tmp_path / "out", CrawlSettings(handler="confined:trial"))


def test_many_small_archives_share_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = Counter[str]()
    real = stage.ArchiveReading.__init__

    def counted(*arguments: Any) -> None:
        started["archives"] += 1
        real(*arguments)

    monkeypatch.setattr(stage.ArchiveReading, "__init__", counted)
    child = children.Child

    class Counted(child):  # type: ignore[misc,valid-type]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            started["processes"] += 1
            super().__init__(*arguments, **options)

    monkeypatch.setattr(children, "Child", Counted)
    close_all()
    (tmp_path / "in").mkdir()
    for number in range(300):
        (tmp_path / "in" / f"{number:05d}.warc.gz").write_bytes(archive([b"images=2"] if number % 3 else []))
    report = crawled([tmp_path / "in"], tmp_path / "out")
    assert started == {"archives": 300, "processes": 2}
    assert (report.total.archives, report.total.account.rows) == (300, 400)
    assert len(list((tmp_path / "out" / "data").iterdir())) == 300


@pytest.mark.parametrize(
    ("content", "records"), [(b"", 0), (archive([]), 0), (archive([b"images=0"] * 3), 3)], ids=["empty", "none", "bare"]
)
def test_archives_of_nothing(tmp_path: Path, content: bytes, records: int) -> None:
    (tmp_path / "a.warc.gz").write_bytes(content)
    crawled([tmp_path / "a.warc.gz"], tmp_path / "out")
    of = account(tmp_path / "out", "a.warc")
    assert (of["records"], of["rows"]) == (records, 0)
    assert of["cut_short"] is not bool(records)
    assert pq.read_schema(tmp_path / "out" / "data" / "a.warc.parquet").names == CONTRACT.arrow().names


def test_workers_and_blocks_change_nothing(tmp_path: Path) -> None:
    chance = random.Random(9)
    (tmp_path / "in").mkdir()
    for number in range(5):
        pages = [
            b"images=%d text=%d" % (chance.randrange(40), chance.randrange(99)) for _ in range(chance.randrange(90))
        ]
        (tmp_path / "in" / f"{number}.warc.gz").write_bytes(archive(pages))
    for name, workers, block in (("one", 1, 2**21), ("many", 4, 777)):
        crawled([tmp_path / "in"], tmp_path / name, CrawlSettings(block=block, handler=EVIL.handler), workers=workers)
    assert tree(tmp_path / "one") == tree(tmp_path / "many")


def test_input_errors_are_the_archives_own(tmp_path: Path) -> None:
    (tmp_path / "a.warc.gz").write_bytes(archive([b"a"]))
    with pytest.raises(InputError, match="nothing matches"):
        crawled([tmp_path / "a.warc.gz", tmp_path / "missing.warc.gz"], tmp_path / "out")
