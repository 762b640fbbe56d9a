"""Marks by hand: what was last said of a pair holds, whoever marks meanwhile; readers and takedown know of all."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from conftest import build, read, write_list
from hypothesis import given, settings
from hypothesis import strategies as st

from align_data import api
from align_data.cli import main
from align_data.common.errors import AlignDataError, DatasetError, InputError, SignalError
from align_data.common.progress import Silent
from align_data.data import labels
from align_data.data.columns import columns
from align_data.data.labels import counts, fingerprint, fold, mark, marks
from align_data.data.layout import Dataset
from align_data.data.ledger import open_current
from align_data.data.tombstones import write
from align_data.engines.local import LocalEngine
from align_data.recipes.reading import parse
from align_data.stages.audit import MarkedRule, Share
from align_data.stages.decision import Decision, decide_ledger
from align_data.stages.ingest import Parts
from align_data.stages.takedown import read as read_lists
from align_data.stages.takedown import takedown
from align_data.stages.why import why
from align_data.storage.part_writer import PartWriter
from align_data.storage.store import Store, sha256_of

PAIRS = 60
BY_LABEL = """
name: by-label
title: What people marked
rules:
  - {name: marked, signal: label_mine, in: [keep, unsure], source: chosen}
"""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    rows: list[dict[str, Any]] = [{"url": f"http://a.example/{n}.jpg", "alt_text": f"a dog {n}"} for n in range(PAIRS)]
    build(folder / "dataset", write_list(folder / "lists", rows), parts=Parts(rows=17))
    return folder / "dataset"


@pytest.fixture
def dataset(pool: Path, tmp_path: Path) -> Dataset:
    shutil.copytree(pool, tmp_path / "dataset")
    return Dataset(Store(tmp_path / "dataset"))


def uids_of(dataset: Dataset) -> list[str]:
    return read(dataset, "pairs")["uid"].to_list()


def as_column(dataset: Dataset, name: str) -> dict[str, str]:
    """Read a label as a signal, part by part, as all stages do."""
    pieces = [
        piece
        for part in range(len(dataset.ingested().parts))
        for piece in columns(dataset, part, ["uid"], [f"label_{name}"])
    ]
    return dict(pl.concat(pieces).iter_rows())


def decide(dataset: Dataset) -> dict[int, int]:
    manifest = decide_ledger(
        Decision(parse(BY_LABEL, "by-label.yaml")), dataset, LocalEngine(dataset.store.work, 2), Silent()
    )
    return {failed: number for failed, _, number in manifest.meta.masks}


changes = st.lists(
    st.tuples(
        st.lists(st.integers(0, PAIRS - 1), min_size=1, max_size=8),
        st.sampled_from(["keep", "drop", "unsure", "unmarked", "fold"]),
    ),
    max_size=8,
)


@settings(max_examples=15)
@given(changes)
def test_the_last_mark_holds(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory, said: list[Any]) -> None:
    """Whenever changes are folded, a pair's value is what was last said of it, and unmarked without."""
    name = f"x{tmp_path_factory.mktemp('n').name[1:]}"
    uids = uids_of(dataset)
    truth: dict[str, str] = dict.fromkeys(uids, "unmarked")
    mark(dataset, name, uids[:1], "unmarked")
    for places, what in said:
        before = fingerprint(dataset, name)
        if what == "fold":
            fold(dataset, name)
            assert fingerprint(dataset, name) == before
        else:
            mark(dataset, name, [uids[place] for place in places], what)
            truth |= {uids[place]: what for place in places}
            assert fingerprint(dataset, name) != before
    assert as_column(dataset, name) == truth
    marked = {uid: what for uid, what in truth.items() if what != "unmarked"}
    assert dict(marks(dataset, name).iter_rows()) == marked
    assert counts(dataset, name) == {
        what: number
        for what in ("keep", "drop", "unsure")
        if (number := sum(value == what for value in marked.values()))
    }
    assert fingerprint(Dataset(dataset.store), name) == fingerprint(dataset, name)


def test_many_mark_at_once_and_fold(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """No mark is lost, while the lock is held by a stage and while changes are folded."""
    monkeypatch.setattr(labels, "_FOLD_AT", 5)
    uids = uids_of(dataset)
    with dataset.store.lock(), ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda uid: mark(Dataset(dataset.store), "mine", [uid], "keep"), uids[:20]))
        assert len(dataset.store.names("_marks/mine")) == 20
    seen = []
    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(mark, Dataset(dataset.store), "mine", [uid], "drop") for uid in uids[20:50]]
        while not all(each.done() for each in done):
            seen.append(len(marks(Dataset(dataset.store), "mine")))
        for each in done:
            each.result()
    assert counts(Dataset(dataset.store), "mine") == {"keep": 20, "drop": 30}
    assert seen == sorted(seen)
    assert all(number >= 20 for number in seen)
    assert len(dataset.store.names("_marks/mine")) < 50


def test_a_killed_fold_is_done_again(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may die between any two of its writes; a later change holds against what it left."""
    uids = uids_of(dataset)
    mark(dataset, "mine", uids[:3], "keep")
    mark(dataset, "mine", uids[1:2], "drop")
    before, at = fingerprint(dataset, "mine"), 0
    while True:
        left, real = at, Store.create

        def create(store: Store, name: str, real: Any = real) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return real(store, name)

        def remove(store: Store, name: str, real: Any = Store.remove) -> None:
            nonlocal left
            left -= name.startswith("_marks")
            if left < 0:
                raise KeyboardInterrupt
            real(store, name)

        with monkeypatch.context() as patch:
            patch.setattr(Store, "create", create)
            patch.setattr(Store, "remove", remove)
            try:
                fold(Dataset(dataset.store), "mine")
            except KeyboardInterrupt:
                at += 1
                assert fingerprint(Dataset(dataset.store), "mine") == before
                assert counts(Dataset(dataset.store), "mine") == {"keep": 2, "drop": 1}
                continue
        break
    assert at >= 3
    assert (fingerprint(dataset, "mine"), counts(dataset, "mine")) == (before, {"keep": 2, "drop": 1})


def test_a_recipe_decides_by_marks_and_its_ledger_grows_old(dataset: Dataset) -> None:
    uids = uids_of(dataset)
    mark(dataset, "mine", uids[:7], "keep")
    mark(dataset, "mine", uids[7:9], "unsure")
    assert decide(dataset) == {0: 9, 1: PAIRS - 9}
    fold(dataset, "mine")
    open_current(dataset, "by-label")
    mark(dataset, "mine", uids[:1], "drop")
    with pytest.raises(DatasetError, match="decided before pairs were marked in the label mine; filter again: align"):
        open_current(dataset, "by-label")
    assert decide(dataset) == {0: 8, 1: PAIRS - 8}
    open_current(dataset, "by-label")
    (explained,) = why(dataset, "by-label", uid=uids[0])
    assert "'drop'" in str(explained) or '"drop"' in str(explained)


def test_without_marks_the_rule_waits(dataset: Dataset) -> None:
    manifest = decide_ledger(
        Decision(parse(BY_LABEL, "by-label.yaml")), dataset, LocalEngine(dataset.store.work, 2), Silent()
    )
    assert manifest.meta.masks == [[0, 1, PAIRS]]


def test_takedown_erases_marks_and_forbids_new_ones(dataset: Dataset) -> None:
    uids = uids_of(dataset)
    mark(dataset, "mine", uids[:4], "keep")
    fold(dataset, "mine")
    mark(dataset, "mine", uids[2:6], "drop")
    decide(dataset)
    (Path(dataset.store.root) / "uids.txt").write_text(f"{uids[0]}\n{uids[3]}\n")
    lists = read_lists({"uids": [str(Path(dataset.store.root) / "uids.txt")]})
    report = takedown(dataset, lists, [], LocalEngine(dataset.store.work, 2), Silent())
    assert report.receipt.marks == 2
    changed = {file.name: file for file in report.receipt.files}
    assert changed["labels/mine/part-00000.parquet"].after == sha256_of(dataset.store, "labels/mine/part-00000.parquet")
    assert [file.after for name, file in changed.items() if name.startswith("_marks/")] == [None]
    after = Dataset(dataset.store)
    assert set(read(after, "labels/mine")["uid"]) == {uids[1], uids[2], uids[4], uids[5]}
    assert after.store.names("_marks/mine") == []
    assert counts(after, "mine") == {"keep": 1, "drop": 3}
    open_current(after, "by-label")  # what is taken down makes nothing stale
    with pytest.raises(DatasetError, match="was taken down: it cannot be marked"):
        mark(after, "mine", [uids[0], uids[1]], "keep")
    assert counts(after, "mine") == {"keep": 1, "drop": 3}


@pytest.mark.parametrize(
    ("name", "uids", "what", "error", "words"),
    [
        ("mine", ["0" * 32], "keep", DatasetError, "has no pair 0000"),
        ("mine", ["x" * 200], "keep", InputError, "is not a uid"),
        ("mine", [""], "keep", InputError, "is not a uid"),
        ("mine", [], "kepe", InputError, "'kepe' is not a mark.*keep"),
        ("../x", [], "keep", SignalError, "not a valid label name"),
        ("", [], "keep", SignalError, "not a valid label name"),
    ],
)
def test_what_cannot_be_marked_is_a_sentence(
    dataset: Dataset, name: str, uids: list[str], what: str, error: type[AlignDataError], words: str
) -> None:
    with pytest.raises(error, match=words):
        mark(dataset, name, uids, what)
    assert "mine" not in labels.labels(dataset)


def test_a_damaged_change_is_a_sentence(dataset: Dataset) -> None:
    mark(dataset, "mine", uids_of(dataset)[:1], "keep")
    (file,) = Path(dataset.store.path("_marks/mine")).iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(DatasetError, match=r"cannot read .*_marks/mine/part-.*damaged"):
        counts(dataset, "mine")


def call(*words: Any, code: int = 0) -> str:
    result = CliRunner().invoke(main, [*map(str, words)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.output


def test_the_command_marks_counts_and_lists(dataset: Dataset, tmp_path: Path) -> None:
    uids, root = sorted(uids_of(dataset)), dataset.store.root
    (tmp_path / "list").write_text("\n".join(uids[:3]) + "\n\n")
    assert call("label", root) == "no labels\n"
    with dataset.store.lock():  # another command works here
        assert call("label", root, "mine", "--mark", "drop", "--uids", tmp_path / "list", uids[3]) == "mine: 4 drop\n"
    assert call("label", root, "mine", "--mark", "keep", uids[0]) == "mine: 1 keep, 3 drop\n"
    assert call("label", root, "mine", "--mark", "unmarked", uids[1]) == "mine: 1 keep, 2 drop\n"
    assert call("label", root, "mine", "--show", "drop").split() == uids[2:4]
    assert json.loads(call("label", root, "--json")) == {"mine": {"keep": 1, "drop": 2}}
    assert "has no label mnie (did you mean mine?)" in call("label", root, "mnie", code=1)
    for wrong in (
        ["mine", "--mark", "keep"],
        ["mine", uids[0]],
        ["--show", "keep"],
        ["mine", uids[0], "--show", "keep"],
    ):
        assert "give NAME" in call("label", root, *wrong, code=2)


def test_precision_and_recall_are_those_of_a_plain_count(dataset: Dataset) -> None:
    """The oracle counts sets of uids; the pairs marked unsure are in no share."""
    recipe = """
name: two
title: Two rules
rules:
  - {name: odd, signal: n_chars, ge: 8, source: chosen}
  - {name: waits, signal: min_side, gt: 200, source: chosen}
"""
    engine = LocalEngine(dataset.store.work, 2)
    decide_ledger(Decision(parse(recipe, "two.yaml")), dataset, engine, Silent())
    rows = read(dataset, "pairs")
    failing = {uid for uid, text in rows.select("uid", "alt_text").iter_rows() if len(text) < 8}
    uids = rows["uid"].to_list()
    keep, drop, unsure = set(uids[::3]), set(uids[1::3]), set(uids[2:9:3])
    for what, of in (("keep", keep), ("drop", drop), ("unsure", unsure)):
        mark(dataset, "mine", of, what)
    answer = json.loads(call("audit", dataset.store.root, "--recipe", "two", "--labels", "mine", "--json"))["labels"]
    odd, waits = answer["rules"]
    assert len(failing) == 10
    for of in (odd, answer["ledger"]):
        dropped = [len(failing & marked) for marked in (keep, drop, unsure)]
        assert [of["keep_dropped"], of["drop_dropped"], of["unsure_dropped"]] == dropped
        assert [of["keep"], of["drop"], of["unsure"]] == [len(keep), len(drop), len(unsure)]
        assert of["precision"]["of"] == dropped[0] + dropped[1]
        assert of["recall"] == {**of["recall"], "number": dropped[1], "of": len(drop)}
    assert waits["unknown"] == len(keep | drop)
    assert waits["precision"] == {"number": 0, "of": 0, "value": None, "interval": [0.0, 1.0]}
    assert answer["ledger"]["unknown"] == len((keep | drop) - failing)
    shown = call("audit", dataset.store.root, "--recipe", "two", "--labels", "mine")
    assert "Marks are as good as their draw" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("number", "of", "low", "high"),  # from the closed form in Newcombe (1998), and R's prop.test without correction
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1),
    ],
)
def test_intervals_are_wilsons(number: int, of: int, low: float, high: float) -> None:
    assert Share(number, of).interval == pytest.approx((low, high), abs=6e-5)


def test_a_writer_that_is_killed_loses_nothing_earlier(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *_ = uids_of(dataset)
    mark(dataset, "mine", [first], "keep")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PartWriter, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            mark(dataset, "mine", [first, second], "drop")
    assert dict(marks(dataset, "mine").iter_rows()) == {first: "keep"}
    mark(dataset, "mine", [second], "drop")
    assert counts(dataset, "mine") == {"keep": 1, "drop": 1}


def test_a_mark_that_came_while_its_pair_was_taken_down_is_not_read(dataset: Dataset) -> None:
    first, second, *_ = uids_of(dataset)
    mark(dataset, "mine", [second], "keep")
    write(dataset.tombstones, [first])
    labels._write(dataset, "mine", pl.DataFrame({"uid": [first], "mark": ["drop"]}))
    assert dict(marks(dataset, "mine").iter_rows()) == {second: "keep"}
    assert as_column(dataset, "mine")[first] == "unmarked"
    assert fold(dataset, "mine") == 1
    assert read(dataset, "labels/mine").rows() == [(second, "keep")]


def test_the_python_door_marks_and_measures(dataset: Dataset) -> None:
    opened, uids = api.open(dataset.store.url), uids_of(dataset)
    assert opened.mark("mine", uids[:3], "keep") == 3
    assert opened.marks("mine").rows() == sorted((uid, "keep") for uid in uids[:3])
    decide(dataset)
    assert opened.marked("by-label", "mine").whole == MarkedRule(None, keep=3)
