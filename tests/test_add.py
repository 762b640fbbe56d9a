"""A dataset that grew batch by batch is that of one ingest of all lists: rows, counts, signals, verdicts."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from conftest import EVERY_RULE, SCHEMA, Built, build, read, rows, tree, write_list
from hostile_web import HOME, serve
from hypothesis import given, settings
from hypothesis import strategies as st
from test_corpus import pool
from test_fetch import LIMITS, POLICY, dataset_of
from torture.process import Death, run

from align_data.common.errors import DatasetError, InputError
from align_data.common.progress import Silent
from align_data.data.batches import FIRST_BATCH
from align_data.data.layout import Dataset
from align_data.data.ledger import open_ledger
from align_data.engines.base import Engine
from align_data.engines.local import LocalEngine
from align_data.recipes.reading import parse
from align_data.sources.lists import Choice
from align_data.stages.audit.diff import AddedPairs, diff
from align_data.stages.fetch import fetch
from align_data.stages.grow import Growth, grow
from align_data.stages.ingest import Parts
from align_data.stages.measure import Sight, measure
from align_data.stages.pipeline import Decision, decide_ledger
from align_data.stages.takedown import TakedownLists, takedown

ALL_ROWS = list[dict[str, Any]]
TABLES = ("measured/text", "measured/corpus", "measured/image", "counts/ngrams", "counts/texts", "verdicts/every")


def added(dataset: Dataset, folder: Path, found: ALL_ROWS, engine: Engine | None = None, **options: Any) -> Growth:
    """Add rows as a batch."""
    lists = write_list(folder, found)
    name = f"{folder.name}.parquet"  # else two batches of the same rows are one file
    lists = [str(Path(lists[0]).rename(folder / name))]
    return grow(lists, Dataset(dataset.store), engine or LocalEngine(dataset.store.work, 2), Silent(), **options)


def decided(dataset: Dataset) -> Dataset:
    """Decide the ledger again."""
    decision = Decision(parse(EVERY_RULE, "test.yaml"), ())
    decide_ledger(decision, dataset, LocalEngine(dataset.store.work, 2), Silent())
    return dataset


def assert_as_one(grown: Dataset, whole: Dataset) -> None:
    """Compare all tables of a dataset that grew with those of one that was ingested at once."""
    pairs = read(grown, "pairs")
    assert pairs.drop(FIRST_BATCH, strict=False).equals(read(whole, "pairs"))
    for name in TABLES:
        assert read(grown, name).equals(read(whole, name)), name


def split(found: ALL_ROWS, cuts: Sequence[int]) -> list[ALL_ROWS]:
    """Cut rows into batches."""
    edges = [0, *sorted(cut % (len(found) + 1) for cut in cuts), len(found)]
    return [found[start:stop] for start, stop in pairwise(edges)]


@given(
    found=rows(max_size=60),
    cuts=st.lists(st.integers(0, 80), min_size=1, max_size=4),
    part_rows=st.sampled_from([3, 1000]),
)
@settings(max_examples=20)
def test_batches_in_turn_are_one_ingest(
    tmp_path_factory: pytest.TempPathFactory, found: ALL_ROWS, cuts: list[int], part_rows: int
) -> None:
    folder = tmp_path_factory.mktemp("grown")
    first, *others = split(found, cuts)
    grown = build(folder / "grown", write_list(folder / "0", first), parts=Parts(rows=part_rows)).dataset
    seen: dict[str, str] = dict.fromkeys(read(grown, "pairs")["uid"], "1")
    accounts = [grown.ingested().meta.account]
    for number, batch in enumerate(others, 2):
        added(grown, folder / str(number), batch, name=f"b{number}")
        accounts.append(grown.ingested().meta.batches[-1].account)
        seen = {uid: seen.get(uid, f"b{number}") for uid in read(grown, "pairs")["uid"]}
    whole = build(folder / "whole", write_list(folder / "all", found))
    assert_as_one(decided(Dataset(grown.store)), whole.dataset)
    pairs = read(grown, "pairs")
    assert dict(zip(pairs["uid"], pairs[FIRST_BATCH], strict=True)) == seen
    account = grown.ingested().meta.account
    assert account.rows == account.pairs + account.merged + account.rejected == len(found)
    for name in ("rows", "pairs", "merged", "rejected"):
        assert getattr(account, name) == sum(getattr(each, name) for each in accounts)
        assert getattr(account, name) == getattr(whole.account, name)
    assert sorted(read(grown, "rejected")["reason"]) == sorted(read(whole.dataset, "rejected")["reason"])


def test_an_order_of_batches_changes_nothing_but_the_batches(tmp_path: Path) -> None:
    found = pool(600)
    batches = split(found, [200, 350])
    files: list[dict[str, bytes]] = []
    for order in ([0, 1, 2], [2, 0, 1]):
        folder = tmp_path / "".join(map(str, order))
        dataset = build(folder / "d", write_list(folder / "0", batches[order[0]]), parts=Parts(rows=200)).dataset
        for number in order[1:]:
            added(dataset, folder / str(number), batches[number])
        files.append(tree(Path(decided(Dataset(dataset.store)).store.root), "counts"))
    assert files[0] == files[1]


def test_the_counts_are_to_the_byte_those_of_one_ingest(tmp_path: Path) -> None:
    found = pool(900)
    first, second = split(found, [500])
    grown = build(tmp_path / "grown", write_list(tmp_path / "1", first)).dataset
    added(grown, tmp_path / "2", second)
    whole = build(tmp_path / "whole", write_list(tmp_path / "all", found)).dataset
    assert tree(Path(grown.store.root), "counts") == tree(Path(whole.store.root), "counts")


def test_files_that_are_there_are_left_out(tmp_path: Path, job: Callable[..., Built]) -> None:
    found = pool(60)
    dataset = job(found[:30]).dataset
    lists = write_list(tmp_path / "lists", found[30:], files=2)
    engine = LocalEngine(dataset.store.work, 2)
    once = grow(lists, Dataset(dataset.store), engine, Silent(), name="two").added
    before = tree(Path(dataset.store.root))
    again = grow(lists, Dataset(dataset.store), engine, Silent(), name="two").added
    assert again.account.already
    assert (again.batch, again.account.rows) == ("two", once.account.rows)
    assert tree(Path(dataset.store.root)) == before
    with pytest.raises(DatasetError, match="there is a batch two already"):
        added(dataset, tmp_path / "other", found[:3], name="two")
    with pytest.raises(DatasetError, match="not a valid name of a batch"):
        added(dataset, tmp_path / "others", found[:4], name="../x")
    with pytest.raises(DatasetError, match="nothing to add"):
        grow([], Dataset(dataset.store), engine, Silent())


@pytest.mark.parametrize("inside", ["", "/pairs", "/pairs/part-*.parquet"])
def test_a_dataset_is_no_list(tmp_path: Path, job: Callable[..., Built], inside: str) -> None:
    dataset = job(pool(30)).dataset
    with pytest.raises(InputError, match=r"is a dataset already.*align-data add .* LIST"):
        build(tmp_path / "other", [f"{dataset.store.root}{inside}"])


def test_what_was_taken_down_does_not_come_back(tmp_path: Path, job: Callable[..., Built]) -> None:
    urls = [f"http://a.example/{number}" for number in range(6)]
    found = [_row(url, text) for url in urls for text in ("a red cat", "a blue dog")]
    dataset = job(found).dataset
    uids = read(dataset, "pairs")
    one = uids.filter((pl.col("url") == urls[0]) & (pl.col("alt_text") == "a red cat"))["uid"].item()
    engine = LocalEngine(dataset.store.work, 2)
    for kind, value in (("uids", one), ("urls", urls[1])):
        takedown(Dataset(dataset.store), TakedownLists({kind: (value,)}, {kind: kind}), (), engine, Silent())
    again = [_row(urls[0], "a red cat"), _row(urls[0], "a red cat"), _row(urls[0], "a green bird")]
    again += [_row(urls[1], "a red cat"), _row(urls[1], "quite another text"), _row(urls[2], "a red cat")]
    report = added(dataset, tmp_path / "again", again).added
    account = report.account
    assert (account.rows, account.pairs, account.merged, account.refused_tombstone) == (6, 1, 1, 4)
    pairs = read(dataset, "pairs")
    assert set(pairs.filter(pl.col("url").is_in(urls[:2]))["alt_text"]) == {"a blue dog", "a green bird"}
    assert len(pairs.filter(pl.col("url") == "")) == 3


def _row(url: str, text: str) -> dict[str, Any]:
    return {**dict.fromkeys(SCHEMA), "url": url, "alt_text": text}


def test_ten_batches_of_which_some_are_strange_lose_nothing(tmp_path: Path) -> None:
    found = pool(200)
    first, *others = split(found, [40, 70, 100, 130, 160, 180])
    dataset = build(tmp_path / "d", write_list(tmp_path / "0", first), parts=Parts(rows=30)).dataset
    engine, rows_in = LocalEngine(dataset.store.work, 2), len(first)
    dead = read(dataset, "pairs")["url"][0]
    takedown(Dataset(dataset.store), TakedownLists({"urls": (dead,)}, {"urls": "x"}), (), engine, Silent())
    batches: list[ALL_ROWS] = [*others[:3], [], first, [_row(dead, "a text"), _row(dead, "another")], *others[3:]]
    for number, batch in enumerate(batches, 2):
        account = added(Dataset(dataset.store), tmp_path / f"batch{number}", batch).added.account
        assert account.rows == account.pairs + account.merged + account.rejected + account.refused_tombstone
        rows_in += len(batch)
    strange = tmp_path / "strange.csv"
    strange.write_text("colour,size\nred,3\n")
    before = tree(Path(dataset.store.root))
    with pytest.raises(InputError, match="no column found for url and alt_text"):
        grow([str(strange)], Dataset(dataset.store), engine, Silent())
    assert tree(Path(dataset.store.root)) == before
    other = tmp_path / "other.csv"  # of another schema, and half of it no pairs
    other.write_text("caption,link,page\na new text,http://n.example/1,http://p/\nno url,,\n")
    other_account = grow(
        [str(other)], Dataset(dataset.store), engine, Silent(), Choice("link", "caption")
    ).added.account
    assert (other_account.pairs, other_account.rejected) == (1, 1)
    opened = Dataset(dataset.store)
    meta = opened.ingested().meta
    assert [batch.name for batch in meta.batches] == [str(number) for number in range(1, 12)]
    account, pairs = meta.account, read(opened, "pairs")
    assert account.rows == rows_in + 2
    assert account.rows == account.pairs + account.merged + account.rejected + account.refused_tombstone
    assert account.pairs == len(pairs)
    assert account.refused_tombstone == 2 + sum(row["url"] == dead for row in first)
    assert account.rejected == len(read(opened, "rejected"))
    assert dead not in set(pairs["url"])
    living = pairs.filter(pl.col("url") != "")
    want = {(row["url"], row["alt_text"]) for row in found if row["url"] != dead} | {
        ("http://n.example/1", "a new text")
    }
    assert set(living.select("url", "alt_text").rows()) == want


class Undisturbed(NamedTuple):
    """A batch that was added with nobody disturbing."""

    before: Path
    """A folder with the dataset, `out`, to which it was added."""
    add: list[str]
    files: dict[str, bytes]
    changes: int
    """Of files, of which each is a moment to be killed at."""


TABLES_OF_PAIRS = ("pairs", "rejected", "measured", "counts", "verdicts")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    first, second = split(pool(2_000), [1_500])
    second.append(_row("/no-url.jpg", "it is rejected"))
    one, two = write_list(folder / "1", first), write_list(folder / "2", second)
    main = ["run", *one, "--recipe", "align", "--set", "rarest_ngram.ge=2", "--part-rows", "500", "--out", "out"]
    before, whole = folder / "before", folder / "whole"
    before.mkdir()
    assert run(main, before).code == 0
    shutil.copytree(before, whole)
    add = ["add", "out", *two, "--as", "b", "--workers", "2"]
    ended = run(add, whole)
    assert ended.code == 0, ended.err
    return Undisturbed(before, add, tree(whole / "out", *TABLES_OF_PAIRS), ended.changes)


@pytest.mark.parametrize("seed", range(8))
def test_killed_at_any_moment_it_goes_on(undisturbed: Undisturbed, tmp_path: Path, seed: int) -> None:
    chance, kills = random.Random(seed), 0
    shutil.copytree(undisturbed.before / "out", tmp_path / "out")
    for number in range(3):
        # The first kill comes in the middle of the run; a later one may find it finished.
        change = chance.randint(1, undisturbed.changes if number else undisturbed.changes * 4 // 5)
        death = Death(change, after=chance.choice((0, chance.uniform(0.0001, 0.05))))
        ended = run(undisturbed.add, tmp_path, death)
        assert ended.killed or ended.code == 0, ended.err
        kills += ended.killed
    assert kills
    ended = run(undisturbed.add, tmp_path)
    assert ended.code == 0, ended.err
    assert tree(tmp_path / "out", *TABLES_OF_PAIRS) == undisturbed.files
    assert not {"_add", "_counted"} & {path.name for path in (tmp_path / "out").iterdir()}


def test_diff_says_what_a_batch_changed(tmp_path: Path) -> None:
    text, url = "the very same text", "http://a.example/{}"
    first = [_row(url.format(number), text) for number in range(2)]
    first += [_row(url.format(number), f"some words number {number}") for number in range(10, 14)]
    dataset = build(tmp_path / "d", write_list(tmp_path / "1", first), EVERY_TEXT).dataset
    new = [_row(url.format(2), text), _row(url.format(20), "some words number 20"), _row(url.format(21), "one")]
    report = added(dataset, tmp_path / "2", new)
    assert report.stale == ["texts"]
    engine = LocalEngine(dataset.store.work, 2)
    opened = Dataset(dataset.store)
    with pytest.raises(DatasetError, match="was decided before the batch 2 was added; filter again"):
        open_ledger(opened, "texts")
    decide_ledger(Decision(parse(EVERY_TEXT, "t.yaml"), ()), opened, engine, Silent())
    assert (opened.ledgers(), opened.store.names("verdicts")) == (["texts"], ["texts", "texts.1"])
    with pytest.raises(DatasetError, match=r"texts.1 is the ledger texts as it was with the batch 1.*align-data diff"):
        open_ledger(opened, "texts.1")
    for names in (("texts.1", "texts"), ("texts", "texts.1")):
        difference = diff(opened, *names, engine, Silent())
        assert difference.pairs == 6
        only = difference.only_a if names[0] == "texts.1" else difference.only_b
        assert (difference.both, only.pairs) == (4, 2)
        assert {sample.alt_text for sample in only.samples} == {text}
        assert [(cause.rule, cause.fail) for cause in only.by] == [("images_per_text", 2)]
        assert difference.added == AddedPairs("texts", pairs=3, kept=1, pending=0, dropped=2)
    again = added(dataset, tmp_path / "3", [_row(url.format(30), "three more words")])
    assert again.stale == ["texts"]
    opened = Dataset(dataset.store)
    decide_ledger(Decision(parse(EVERY_TEXT, "t.yaml"), ()), opened, engine, Silent())
    assert opened.store.names("verdicts") == ["texts", "texts.1", "texts.2"]
    assert diff(opened, "texts.1", "texts", engine, Silent()).added == AddedPairs("texts", 4, 2, 0, 2)
    assert diff(opened, "texts.1", "texts.2", engine, Silent()).added == AddedPairs("texts.2", 3, 1, 0, 2)


EVERY_TEXT = """
name: texts
rules:
  - {signal: n_words, ge: 2}
  - {signal: images_per_text, le: 2}
"""


def test_a_fetch_asks_only_for_what_is_new(tmp_path: Path) -> None:
    with serve(HOME) as web:
        urls = [f"http://{HOME}:{web.port}{path}" for path in ("/good.jpg?1", "/good.jpg?2", "/missing", "/good.jpg?3")]
        dataset = dataset_of(tmp_path, urls, Parts(rows=2))
        engine = LocalEngine(dataset.store.work, 2)
        fetch(dataset, None, POLICY, LIMITS, engine, Silent(), sight=Sight())
        measure(Dataset(dataset.store), engine, Silent())
        before = {name: read(dataset, name) for name in ("images", "content", "measured/image")}
        asked = len(web.seen.asked)
        new_url = f"http://{HOME}:{web.port}/good.jpg?4"
        added(dataset, tmp_path / "new", [_row(urls[0], "a text that is new"), _row(new_url, "an image that is new")])
        opened = Dataset(dataset.store)
        images = opened.images.committed()
        assert images is not None
        assert images.meta.statuses == {"http_404": 1, "ok": 3, "untried": 1}
        for name in ("images", "content"):
            assert set(before[name].rows()) <= set(read(opened, name).rows())
        report = fetch(opened, None, POLICY, LIMITS, engine, Silent(), sight=Sight())
        assert (report.asked, report.statuses) == (1, {"http_404": 1, "ok": 4})
        assert [request.target for request in web.seen.asked[asked:]] == ["/good.jpg?4"]
        measure(opened, engine, Silent())
    pairs, values = read(opened, "pairs"), read(opened, "measured/image")
    assert values.columns == before["measured/image"].columns
    sizes = dict(zip(pairs["uid"], values["width"], strict=True))
    missing = set(pairs.filter(pl.col("url") == urls[2])["uid"])
    assert {uid for uid, width in sizes.items() if width is None} == missing
