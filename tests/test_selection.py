"""Selections: whatever is asked, the pairs are those that plain Python finds, in the order that it gives them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from conftest import HOSTILE, Built, read
from test_audit_survey import give_images

from align_data.common.errors import AlignDataError
from align_data.common.progress import Silent
from align_data.data.ledger import open_current
from align_data.data.thresholds import resolve
from align_data.engines.local import LocalEngine
from align_data.selection import Condition, PairSelection, select
from align_data.selection.conditions import ConditionError
from align_data.selection.scan import uids
from align_data.stages.ingest import Parts

RECIPE = """
name: base
rules:
- {name: n_words, signal: n_words, between: [2, 6], source: paper}
- {name: shared, signal: images_per_text, le: 4, source: paper}
- {name: chars, signal: n_chars, by: script, ge: {Latin: 5, else: 2}, source: paper}
- {name: seen, signal: min_side, ge: 100, source: paper}
"""
Row = dict[str, Any]
ASKED: dict[str, Callable[[Row], bool]] = {
    "n_words>=3": lambda row: row["n_words"] >= 3,
    "n_words<3": lambda row: row["n_words"] < 3,
    "n_words!=2": lambda row: row["n_words"] != 2,
    "n_chars > 4.5": lambda row: row["n_chars"] > 4.5,
    "script=Latin": lambda row: row["script"] == "Latin",
    "script!=Latin": lambda row: row["script"] is not None and row["script"] != "Latin",
    "script=null": lambda row: row["script"] is None,
    "script!=null": lambda row: row["script"] is not None,
    "alt_text~DOG": lambda row: "dog" in row["alt_text"].lower(),
    "alt_text~~^a( |$)": lambda row: row["alt_text"] == "a" or row["alt_text"].startswith("a "),
    "alt_text=": lambda row: row["alt_text"] == "",
    "url~1.jpg": lambda row: "1.jpg" in row["url"],
    "outcome=dropped": lambda row: row["outcome"] == "dropped",
    "fails_shared=true": lambda row: bool(row["failed"] & 2),
    "fails_seen=null": lambda row: bool(row["unknown"] & 8),
    "fails_n_words=false": lambda row: not row["failed"] & 1,
}


@pytest.fixture
def pool(job: Callable[..., Built]) -> Built:
    draw = random.Random(3)
    words = ["a", "bb", "日本", "dog", "DOGS", "Ж", HOSTILE[0]]
    rows = [
        {
            "url": f"http://h.example/{draw.randrange(90)}.jpg",
            "alt_text": " ".join(draw.choices(words, k=draw.randrange(8))),
        }
        for _ in range(130)
    ]
    return job(rows, recipe=RECIPE, parts=Parts(rows=40))


def rows_of(pool: Built, ledger: str = "base") -> list[Row]:
    tables = [read(pool.dataset, name) for name in ("pairs", "measured/text", "measured/corpus", f"verdicts/{ledger}")]
    rows = pl.concat([tables[0].select("uid", "url", "alt_text"), *tables[1:]], how="horizontal").to_dicts()
    return [row | {"outcome": outcome(row["failed"], row["unknown"])} for row in rows]


def outcome(failed: int, unknown: int) -> str:
    return "dropped" if failed else "pending" if unknown else "kept"


def selected(pool: Built, selection: PairSelection, **options: Any) -> tuple[int, list[str]]:
    ledger = open_current(pool.dataset, "base")
    engine = LocalEngine(pool.dataset.store.work, 2)
    chosen = select(pool.dataset, ledger, options.pop("plan", ledger.plan), selection, engine, Silent(), **options)
    return chosen.total, [pair.uid for pair in chosen.pairs]


def test_conditions_hold_of_what_plain_python_finds(pool: Built) -> None:
    rows, draw, some = rows_of(pool), random.Random(1), 0
    for _ in range(60):
        lines = draw.sample(list(ASKED), draw.choice([1, 1, 2, 3]))
        outcome_, only = draw.choice([None, None, "dropped", "pending"]), draw.choice([None, None, "shared"])
        expected = [
            row
            for row in rows
            if all(ASKED[line](row) for line in lines)
            and (outcome_ is None or row["outcome"] == outcome_)
            and (only is None or row["failed"] == 2)
        ]
        words = [("where", line) for line in lines] + [("outcome", outcome_ or ""), ("only", only or "")]
        selection = PairSelection.from_words(words)
        assert PairSelection.from_words(selection.words) == selection
        assert selected(pool, selection, number=500) == (len(expected), [row["uid"] for row in expected]), lines
        ledger = open_current(pool.dataset, "base")
        streamed = [uid for piece in uids(pool.dataset, ledger, ledger.plan, selection, Silent()) for uid in piece]
        assert streamed == [row["uid"] for row in expected]
        some += bool(expected)
    assert some > 20


@pytest.mark.parametrize("sort", ["n_words", "-n_words", "script", "-n_chars"])
def test_pages_of_an_order_are_all_of_it(pool: Built, sort: str) -> None:
    name = sort.removeprefix("-")
    rows = rows_of(pool)
    valued = [row for row in rows if row[name] is not None]
    by_value = sorted(valued, key=lambda row: row[name], reverse=sort.startswith("-"))  # both ways equal ones in order
    expected = [row["uid"] for row in [*by_value, *(row for row in rows if row[name] is None)]]
    selection = PairSelection(sort=sort)
    pages = [selected(pool, selection, start=at, number=7) for at in range(0, len(rows) + 7, 7)]
    assert [uid for _, page in pages for uid in page] == expected
    assert {total for total, _ in pages} == {len(rows)}


def test_a_random_order_is_of_its_seed(pool: Built) -> None:
    orders = [selected(pool, PairSelection(random=seed), number=500)[1] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2]) == sorted(row["uid"] for row in rows_of(pool))


STATUSES = {"0": "ok", "1": "http_404", "2": "timeout", "3": "ok"}
OF_STATUS: dict[str, Callable[[str | None], bool]] = {
    "status=ok": lambda status: status == "ok",
    "status=ok|timeout": lambda status: status in ("ok", "timeout"),
    "status!=ok": lambda status: status not in (None, "ok"),
    "status=null": lambda status: status is None,
    "status=null|http_404": lambda status: status in (None, "http_404"),
    "status!=null": lambda status: status is not None,
    "status~OUT": lambda status: status == "timeout",
}


def test_a_status_is_that_of_the_image_of_the_pair(job: Callable[..., Built]) -> None:
    rows = [{"url": f"http://H.example/{n % 50}.jpg", "alt_text": "a dog " * (n % 3)} for n in range(90)]
    pool = job(rows, recipe="name: base\nrules:\n- {signal: n_words, ge: 1, source: paper}\n", parts=Parts(rows=40))
    give_images(pool.dataset, lambda url: STATUSES.get(url[-5]))
    pairs = read(pool.dataset, "pairs").to_dicts()
    for line, holds in OF_STATUS.items():
        expected = [pair for pair in pairs if pair["alt_text"] and holds(STATUSES.get(pair["url"][-5]))]
        words = [("where", line), ("where", "host=h.example"), ("where", "n_words>0")]
        found = selected(pool, PairSelection.from_words(words), number=500)
        assert found == (len(expected), [pair["uid"] for pair in expected]), line
        expected.sort(key=lambda pair: STATUSES.get(pair["url"][-5], "zz"))
        found = selected(pool, PairSelection.from_words([*words, ("sort", "status")]), number=500)
        assert found[1] == [pair["uid"] for pair in expected]


@pytest.mark.parametrize("number", [1, 50, 51])
def test_a_host_is_found_in_any_number_of_alternatives(job: Callable[..., Built], number: int) -> None:
    """Of few, URLs are searched before their hosts are taken out of them."""
    hosts = ["h.example", "H.EXAMPLE:80", "x.example", "xh.example", "\u212a.example", "user@h.example", "k.example"]
    rows = [{"url": f"http://{host}/h.example/{n}", "alt_text": "a dog"} for n, host in enumerate(hosts)]
    pool = job(rows, recipe="name: base\nrules:\n- {signal: n_words, ge: 1, source: paper}\n")
    asked = ["h.example", *(f"other{n}.example" for n in range(number - 2)), "k.example"][:number]
    _, found = selected(pool, PairSelection.from_words([("where", f"host={'|'.join(asked)}")]))
    urls = {row["uid"]: row["url"] for row in read(pool.dataset, "pairs").iter_rows(named=True)}
    places = sorted(int(urls[uid].rpartition("/")[2]) for uid in found)
    assert places == ([0, 1, 5] if number == 1 else [0, 1, 4, 5, 6])


def test_what_a_draft_moves_is_found(pool: Built) -> None:
    engine = LocalEngine(pool.dataset.store.work, 2)
    plan = resolve(pool.dataset, pool.recipe, engine, Silent(), ["n_words.ge=1", "shared.le=1"], ["seen"])
    before = {row["uid"]: row["outcome"] for row in rows_of(pool)}
    expected: dict[tuple[str, str], list[str]] = {}
    for row in rows_of(pool):
        fails = row["n_words"] < 1 or row["images_per_text"] > 1
        least = None if row["script"] is None else 5 if row["script"] == "Latin" else 2
        now = outcome(fails or (least is not None and row["n_chars"] < least), least is None)
        expected.setdefault((before[row["uid"]], now), []).append(row["uid"])
    assert len(expected) > 3
    for (was, now), of_change in expected.items():
        selection = PairSelection.from_words([("moved", f"{was}-{now}")])
        assert selected(pool, selection, plan=plan, number=500) == (len(of_change), of_change)


@pytest.mark.parametrize(
    "words",
    [
        [("where", "n_words")],
        [("where", "n_words=x")],
        [("where", "n_words>nan")],
        [("where", "n_word>3")],
        [("where", "alt_text~~(")],
        [("where", "n_words~3")],
        [("where", "fails_seen=maybe")],
        [("where", "fails_nope=true")],
        [("where", "decodable>true")],
        [("where", "<script>=1")],
        [("outcome", "gone")],
        [("moved", "kept")],
        [("random", "x")],
        [("random", "9" * 30)],
        [("sort", "nope")],
        [("but", "nope")],
        [("only", "nope")],
    ],
)
def test_what_cannot_be_asked_is_a_sentence(pool: Built, words: list[tuple[str, str]]) -> None:
    with pytest.raises(AlignDataError):
        selected(pool, PairSelection.from_words(words))


def test_a_pattern_that_would_take_forever_elsewhere_does_not(pool: Built) -> None:
    total, _ = selected(pool, PairSelection(where=(Condition.parse("alt_text~~^(a+)+$"),)))
    assert total == sum(bool(row["alt_text"]) and not row["alt_text"].strip("a") for row in rows_of(pool)) > 0
    with pytest.raises(ConditionError):
        selected(pool, PairSelection(where=(Condition.parse("alt_text~~" + "(a{1000}){1000}"),)))
