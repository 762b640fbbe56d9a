"""Selections of all words together: whatever can be said gives the pairs that plain Python finds, in its order."""

from __future__ import annotations

import random
import re
from typing import Any

import polars as pl
import pytest
from conftest import Built, build, read, write_list
from hypothesis import given
from hypothesis import strategies as st

from align_data.common.errors import AlignDataError
from align_data.common.progress import Silent
from align_data.data.labels import mark
from align_data.data.ledger import open_current
from align_data.data.thresholds import resolve
from align_data.engines.local import LocalEngine
from align_data.selection import Condition, PairSelection, frames, select, uids
from align_data.selection import scan as scanning
from align_data.stages.decision import Decision, decide_ledger
from align_data.stages.ingest import Parts
from align_data.stages.takedown import read as read_lists
from align_data.stages.takedown import takedown

RECIPE = """
name: base
rules:
- {name: n_words, signal: n_words, between: [2, 6], source: paper}
- {name: shared-texts, signal: images_per_text, le: 4, source: paper}
- {name: chars, signal: n_chars, by: script, ge: {Latin: 5, Han: 1, else: 2}, source: paper}
- {name: seen, signal: min_side, ge: 100, source: paper}
- name: either
  any:
  - {signal: n_chars, ge: 12}
  - {signal: n_words, ge: 3}
  source: paper
"""
BITS = {"n_words": 1, "shared-texts": 2, "chars": 4, "seen": 8, "either": 16}
DRAFT = ["n_words.between=1,6", "shared-texts.le=1", "chars.ge.Latin=9"]
TEXTS = [
    "null",
    "a|b",
    '"quoted" twice',
    "ΟΔΟΣ τέλος",
    "Straße \u212a",
    "a\\b c",
    "\u017ftock PHOTO",
    "1234",
    "",
    "日本",
]
Row = dict[str, Any]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Built:
    draw, folder = random.Random(5), tmp_path_factory.mktemp("asked")
    words = ["a", "bb", "日本", "dog", "DOGS", "Ж"]
    texts = [" ".join(draw.choices(words, k=draw.randrange(8))) for _ in range(110)] + TEXTS * 3
    rows = [{"url": f"http://{draw.choice('xyz')}.example/{n}.jpg", "alt_text": t} for n, t in enumerate(texts)]
    for n, row in enumerate(rows[::2]):
        row |= {"declared_width": 900, "declared_height": 90 + n}
    built = build(folder / "dataset", write_list(folder, rows), recipe=RECIPE, parts=Parts(rows=40))
    dataset, engine = built.dataset, LocalEngine(built.dataset.store.work, 2)
    every = read(dataset, "pairs")["uid"].to_list()
    mark(dataset, "by-hand", every[::3], "keep")
    mark(dataset, "by-hand", every[1::9], "drop")
    (folder / "gone.txt").write_text("\n".join(every[4::25]))
    takedown(dataset, read_lists({"uids": [str(folder / "gone.txt")]}), [], engine, Silent())
    decide_ledger(Decision(built.recipe), dataset, engine, Silent())
    return built


class Rows(list[Row]):
    """The pool as plain Python has it."""

    def __repr__(self) -> str:  # hypothesis prints what it gives
        return f"{len(self)} rows"


@pytest.fixture(scope="module")
def rows(pool: Built) -> Rows:
    names = ("pairs", "measured/text", "measured/corpus", "measured/image", "verdicts/base")
    tables = [read(pool.dataset, name) for name in names]
    tables[0] = tables[0].select("uid", "url", "alt_text")
    marks = dict(read(pool.dataset, "labels/by-hand").iter_rows())
    found = Rows()
    for row in pl.concat(tables, how="horizontal").to_dicts():
        row["label"] = marks.get(row["uid"], "unmarked")
        row["before"] = "taken down" if row["failed"] < 0 else outcome(row["failed"], row["unknown"])
        row["draft"] = row["before"] if row["failed"] < 0 else outcome(*masks(row, 1, 1, 9))
        found.append(row)
    assert {row["before"] for row in found} == {"kept", "pending", "dropped", "taken down"}
    assert all(masks(row, 2, 4, 5) == (row["failed"], row["unknown"]) for row in found if row["failed"] >= 0)
    return found


def masks(row: Row, least_words: int, most_images: int, least_latin: int) -> tuple[int, int]:
    failed, unknown = 0, 8 * (row["min_side"] is None)
    failed |= 1 * (not least_words <= row["n_words"] <= 6) | 2 * (row["images_per_text"] > most_images)
    failed |= 4 * (row["n_chars"] < {"Latin": least_latin, "Han": 1}.get(row["script"], 2))
    failed |= 8 * (row["min_side"] is not None and row["min_side"] < 100)
    failed |= 16 * (row["n_chars"] < 12 and row["n_words"] < 3)
    return failed, unknown


def outcome(failed: int, unknown: int) -> str:
    return "dropped" if failed else "pending" if unknown else "kept"


CONDITIONS = {
    "n_words=1|2|7": lambda row: row["n_words"] in (1, 2, 7),
    "n_words != 0 | 3": lambda row: row["n_words"] not in (0, 3),
    "min_side=null|95": lambda row: row["min_side"] in (None, 95),
    "min_side!=95|null": lambda row: row["min_side"] not in (None, 95),
    "min_side!=95|96": lambda row: row["min_side"] not in (None, 95, 96),
    "script!=Latin|Han": lambda row: row["script"] not in ("Latin", "Han"),
    "host=x.example|z.example": lambda row: row["url"][7] in "xz",
    'alt_text="a|b"|"null"': lambda row: row["alt_text"] in ("a|b", "null"),
    "alt_text=null": lambda row: False,
    'alt_text~" twi"': lambda row: " twi" in row["alt_text"],
    "alt_text~STOCK": lambda row: "\u017ftock" in row["alt_text"],
    "alt_text~οδοσ": lambda row: "ΟΔΟΣ" in row["alt_text"],
    "alt_text~~^[a-z]{1,2} ": lambda row: bool(re.match("^[a-z]{1,2} ", row["alt_text"])),
    "label_by-hand=keep|drop": lambda row: row["label"] in ("keep", "drop"),
    "label_by-hand=unmarked": lambda row: row["label"] == "unmarked",
    "longest_word>=4": lambda row: max(map(len, re.findall(r"\w+", row["alt_text"])), default=0) >= 4,
}
ORDERS = [("sort", "n_chars"), ("sort", "-min_side"), ("random", "4"), None]
SIDED = [
    ("nearest", "n_words"),
    ("nearest", "chars"),
    ("nearest", "seen"),
    ("nearest", "either.n_chars"),
    ("nearest", "either.n_words.ge"),
]
NEAREST = {
    "n_words": lambda row, least: (
        min(abs(row["n_words"] - least), abs(row["n_words"] - 6)),
        least <= row["n_words"] <= 6,
    ),
    "either.n_chars": lambda row, _: (abs(row["n_chars"] - 12), row["n_chars"] >= 12),
    "either.n_words.ge": lambda row, _: (abs(row["n_words"] - 3), row["n_words"] >= 3),
}


def nearest_to(row: Row, name: str, *, drafted: bool) -> tuple[float, bool] | None:
    if name == "seen":
        return None if row["min_side"] is None else (abs(row["min_side"] - 100), row["min_side"] >= 100)
    if name != "chars":
        return NEAREST[name](row, 1 if drafted else 2)
    least = {"Latin": 9 if drafted else 5, "Han": 1}.get(row["script"], 2)
    return abs(row["n_chars"] - least), row["n_chars"] >= least


def found_by_python(rows: list[Row], words: dict[str, Any], *, drafted: bool) -> list[Row]:
    decided = "draft" if drafted else "before"

    def holds(row: Row) -> bool:
        failed, unknown = masks(row, *((1, 1, 9) if drafted else (2, 4, 5))) if row["failed"] >= 0 else (0, 0)
        if (row["before"] == "taken down") != (words.get("outcome") == "taken down"):
            return False
        others = ~sum(BITS[name] for name in words.get("but", []))
        side = nearest_to(row, words["nearest"], drafted=drafted) if "nearest" in words else (0, True)
        return (
            all(CONDITIONS[line](row) for line in words.get("where", []))
            and ("only" not in words or failed == BITS[words["only"]])
            and ("but" not in words or bool(failed and not (failed | unknown) & others))
            and ("outcome" not in words or row[decided] == words["outcome"])
            and ("moved" not in words or (row["before"], row["draft"]) == tuple(words["moved"].split("-")))
            and side is not None
            and ("side" not in words or side[1] == (words["side"] == "kept"))
        )

    found = [row for row in rows if holds(row)]
    if "nearest" in words:
        found.sort(key=lambda row: nearest_to(row, words["nearest"], drafted=drafted)[0])  # type: ignore[index]
    if name := words.get("sort"):
        column = name.removeprefix("-")
        valued = [row for row in found if row[column] is not None]
        valued.sort(key=lambda row: row[column], reverse=name.startswith("-"))
        found = [*valued, *(row for row in found if row[column] is None)]
    return found


@st.composite
def asked(draw: Any) -> dict[str, Any]:
    words: dict[str, Any] = {"where": draw(st.lists(st.sampled_from(sorted(CONDITIONS)), max_size=2, unique=True))}
    if draw(st.booleans()):
        failing = st.one_of(
            st.tuples(st.just("only"), st.sampled_from(sorted(BITS))),
            st.tuples(st.just("but"), st.lists(st.sampled_from(sorted(BITS)), min_size=1, max_size=3, unique=True)),
        )
        words |= dict([draw(failing)])
    if draw(st.booleans()):
        words["outcome"] = draw(st.sampled_from(["kept", "pending", "dropped", "taken down"]))
    if draw(st.integers(0, 3)) == 0:
        words["moved"] = draw(st.sampled_from(["kept-dropped", "dropped-kept", "pending-dropped", "dropped-pending"]))
    order = draw(st.sampled_from([*ORDERS, *SIDED]))
    words |= dict([order]) if order else {}
    if "nearest" in words and draw(st.booleans()):
        words["side"] = draw(st.sampled_from(["kept", "dropped"]))
    return words


@given(asked(), st.booleans())
def test_any_words_give_what_plain_python_finds(
    pool: Built, rows: list[Row], words: dict[str, Any], drafted: bool
) -> None:
    drafted = drafted or "moved" in words
    ledger, engine = open_current(pool.dataset, "base"), LocalEngine(pool.dataset.store.work, 2)
    plan = resolve(pool.dataset, pool.recipe, engine, Silent(), DRAFT) if drafted else ledger.plan
    entries = [(name, v) for name, value in words.items() for v in ([value] if isinstance(value, str) else value)]
    selection = PairSelection.from_words(entries)
    assert PairSelection.from_words(selection.words) == selection
    expected = [row["uid"] for row in found_by_python(rows, words, drafted=drafted)]
    chosen = select(pool.dataset, ledger, plan, selection, engine, Silent(), number=500)
    shown = [pair.uid for pair in chosen.pairs]
    assert (chosen.total, shown if "random" not in words else sorted(shown)) == (len(expected), expected)
    streamed = [uid for piece in uids(pool.dataset, ledger, plan, selection, Silent()) for uid in piece]
    assert streamed == sorted(expected)


def test_what_follows_from_url_and_text_needs_no_measuring(pool: Built, rows: list[Row]) -> None:
    ledger = open_current(pool.dataset, "base")
    selection = PairSelection.from_words([("where", "digits>0")])
    columns = ["uid", "digits", "host", "outcome", "failed", "fails_chars", "label_by-hand"]
    found = pl.concat(frames(pool.dataset, ledger, ledger.plan, selection, columns, Silent()))
    assert found.columns == columns
    living = {row["uid"]: row for row in rows if row["failed"] >= 0}
    assert found["uid"].to_list() == [uid for uid, row in living.items() if re.search("[0-9]", row["alt_text"])]
    for row in found.iter_rows(named=True):
        of = living[row["uid"]]
        assert row["digits"] == sum(map(str.isdigit, of["alt_text"])) / len(of["alt_text"])
        assert (row["host"], row["outcome"]) == (of["url"].split("/")[2], of["before"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([("where", "language=th")], "language is not measured: (it needs|align-data measure)"),
        ([("where", "nsfw>0.5")], "nsfw is not measured: it needs"),
        ([("where", "status=ok")], "no image has a status yet: align-data fetch"),
        ([("where", "n_word=1")], "no column n_word .did you mean n_words"),
        ([("where", "outcome=gone")], "outcome is one of kept, pending, dropped, taken down"),
        ([("where", "label_by-hand=kept")], "is one of keep, drop, unsure, selected, unmarked"),
        ([("where", "alt_text~~(")], "unclosed group$"),
        ([("where", "alt_text~~(?=a)b")], "look-around.* is not supported$"),
        ([("where", "=1")], "is not a condition"),
        ([("where", "n_words!3")], "is not a condition"),
        ([("sort", "-")], "there is no column"),
        ([("sort", "n_chars"), ("random", "1")], "two orders"),
        ([("only", "chars"), ("only", "n_words")], "only is asked twice"),
        ([("only", "chars"), ("but", "n_words")], "exclude each other"),
        ([("side", "kept")], "side is of a threshold"),
        ([("nearest", "either")], "several tests: say which, either.n_chars"),
        ([("nearest", "eithre")], "no such rule"),
        ([("nearest", "chars"), ("side", "left")], "not a side of a threshold: dropped or kept"),
        ([("but", "nope")], "has no rule nope"),
        ([("moved", "kept-dropped")], "nothing is changed"),
    ],
)
def test_what_cannot_be_asked_says_how_it_could(pool: Built, words: list[tuple[str, str]], sentence: str) -> None:
    ledger = open_current(pool.dataset, "base")
    with pytest.raises(AlignDataError, match=sentence):
        uids(pool.dataset, ledger, ledger.plan, PairSelection.from_words(words), Silent())


@pytest.mark.parametrize("words", [[("only", "chars")], [("but", "chars")], [("nearest", "chars")]])
def test_a_rule_that_is_taken_out_is_not_asked_about(pool: Built, words: list[tuple[str, str]]) -> None:
    ledger, engine = open_current(pool.dataset, "base"), LocalEngine(pool.dataset.store.work, 2)
    plan = resolve(pool.dataset, pool.recipe, engine, Silent(), [], ["chars"])
    with pytest.raises(AlignDataError, match="the rule is taken out"):
        uids(pool.dataset, ledger, plan, PairSelection.from_words(words), Silent())


@given(
    st.lists(st.one_of(st.none(), st.text(max_size=8), st.sampled_from([*TEXTS, "|", '"', "\\", '"a"|b', " null "])))
)
def test_a_condition_of_values_is_read_as_it_was_meant(values: list[str | None]) -> None:
    if values:
        condition = Condition.equal("alt_text", *values)
        assert Condition.parse(str(condition)) == condition
        assert condition.values == tuple(values)


def test_pages_end_where_too_much_would_be_kept(pool: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "DEEPEST", 30)
    ledger, engine = open_current(pool.dataset, "base"), LocalEngine(pool.dataset.store.work, 2)
    assert (
        len(select(pool.dataset, ledger, ledger.plan, PairSelection(), engine, Silent(), start=20, number=10).pairs)
        == 10
    )
    with pytest.raises(AlignDataError, match="pairs are shown up to the 30th"):
        select(pool.dataset, ledger, ledger.plan, PairSelection(), engine, Silent(), start=21, number=10)
