"""The form of the page of pairs: it asks what its address asks, keeps what was typed, and each chip takes out one thing."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlsplit

import polars as pl
import pytest

pytest.importorskip("starlette", reason="needs the extra view")

from conftest import Built, build, read, write_list
from explorer_server import browser, client_of, explored, opened, watched
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from test_report import ATTACKS

from align_data.common.progress import Silent
from align_data.engines.local import LocalEngine
from align_data.explorer.chips import chips
from align_data.explorer.pair_form import SentForm
from align_data.selection import PairSelection
from align_data.stages.decision import Decision, decide_ledger
from align_data.stages.ingest import Parts

RECIPE = """
name: small
rules:
- {name: n_words, signal: n_words, between: [2, 4], source: paper}
- {name: shared, signal: images_per_text, le: 3, source: paper}
- {name: long-enough, signal: n_chars, ge: 4, source: paper}
"""
Asked = list[tuple[str, str]]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Built:
    texts = [
        "one",
        "one two",
        *(f"one two {n}" for n in range(40)),
        "a b c d",
        *(f"Stock Photo {n}" for n in range(6)),
        *ATTACKS,
    ]
    rows = [{"url": f"http://h{n % 5}.example/{n}.jpg", "alt_text": texts[n % len(texts)]} for n in range(90)]
    folder = tmp_path_factory.mktemp("form")
    return build(folder / "dataset", write_list(folder / "lists", rows), recipe=RECIPE, parts=Parts(rows=40))


@pytest.fixture(scope="module")
def client(dataset: Built) -> TestClient:
    return client_of(opened(dataset.dataset))


class FormReader(HTMLParser):
    """Reads of a page what a browser sends when the form of pairs is sent untouched."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: Asked = []
        self.select: str | None = None
        self.chosen: str | None = None
        self.option: str | None = None
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = dict(attrs)
        if tag == "form":
            self.inside = of.get("aria-label") == "Which pairs"
        if not self.inside:
            return
        if tag == "input" and of.get("name"):
            if of.get("type") != "checkbox" or "checked" in of:
                self.fields.append((of["name"] or "", of.get("value") or ""))
        elif tag == "select":
            self.select, self.chosen = of["name"], None
        elif tag == "option" and self.select:
            self.option = of.get("value", "TEXT")
            if "selected" in of or self.chosen is None:
                self.chosen = self.option

    def handle_data(self, data: str) -> None:
        if self.option == "TEXT" and self.chosen == "TEXT":
            self.chosen = data
        self.option = None

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self.inside = False
        elif tag == "select" and self.inside and self.select:
            self.fields.append((self.select, self.chosen or ""))
            self.select = None


def sent(client: TestClient, asked: Asked) -> Asked:
    """Return what the address asks that the form of an address leads to."""
    reader = FormReader()
    reader.feed(client.get("pairs", params=asked).text)
    answer = client.get("pairs/find", params=reader.fields, follow_redirects=False)
    assert answer.status_code == 303
    return parse_qsl(urlsplit(answer.headers["location"]).query, keep_blank_values=True)


ADDRESSES: list[Asked] = [
    [],
    [("where", "alt_text~stock photo")],
    [("where", "alt_text~~^one (two|three)$"), ("where", "alt_text~one"), ("where", "alt_text~~e$")],
    [("where", "host=h1.example|h2.example"), ("where", "host!=h3.example"), ("where", 'alt_text="one|two"')],
    [("where", "fails_n_words=true"), ("where", "fails_shared=false"), ("where", "fails_long-enough=null")],
    [("where", "n_words>=2"), ("where", "n_words<=3"), ("where", "n_words>=1"), ("where", "images_per_text<=7")],
    [("where", "n_words>2"), ("where", "n_words>=x"), ("where", "nothing=3"), ("where", "<b>"), ("where", "host")],
    [("only", "shared"), ("outcome", "dropped"), ("sort", "-n_words")],
    [("but", "shared"), ("but", "n_words"), ("random", "7")],
    [("nearest", "n_words"), ("side", "dropped"), ("outcome", "pending")],
    [("set", "n_words.between=3,4"), ("without", "shared"), ("moved", "kept-dropped")],
    [("sort", "nothing"), ("random", "x")],
    [("where", f"alt_text~{text}") for text in ATTACKS],
]


@pytest.mark.parametrize("asked", ADDRESSES)
def test_a_form_that_is_sent_untouched_asks_what_its_address_asks(client: TestClient, asked: Asked) -> None:
    asked = [(name, value.strip()) for name, value in asked if value.strip()]
    known = {name for name, _ in asked}
    again = [(name, value) for name, value in sent(client, asked) if name in known]
    assert sorted(again) == sorted(asked)


@pytest.mark.parametrize("asked", ADDRESSES)
def test_each_chip_takes_out_one_thing(asked: Asked) -> None:
    for chip in chips(asked):
        rest = parse_qsl(chip.without, keep_blank_values=True)
        gone = [entry for entry in asked if entry not in rest]
        assert sorted([*rest, *gone]) == sorted(asked)
        assert len({name for name, _ in gone}) == 1 or {name for name, _ in gone} == {"nearest", "side"}
    together = {entry for chip in chips(asked) for entry in asked if entry not in parse_qsl(chip.without)}
    assert together == set(asked)


VALUE = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=12).map(str.strip)


@given(st.lists(st.tuples(st.sampled_from(["text", "is.host", "where", "outcome", "random"]), VALUE), max_size=4))
def test_a_sent_form_loses_nothing_that_was_typed(fields: Asked) -> None:
    fields = list(dict(fields).items())
    words = SentForm(fields).words()
    for name, value in fields:
        if value:
            assert any(value in word for _, word in words), (name, value)
    assert len(words) == sum(1 for _, value in fields if value)


@pytest.mark.parametrize(
    ("asked", "typed", "said"),
    [
        ([("where", "n_words>=x")], 'value="x"', "a number"),
        ([("where", "n_words")], 'value="n_words"', "not a condition"),
        ([("where", "nothing=<i>")], 'value="nothing=&lt;i&gt;"', "no column nothing"),
        ([("where", "alt_text~~(")], 'value="("', "regular expression"),
        ([("random", "x")], 'value="x"', "not a seed"),
        ([("moved", "kept-dropped")], "", "set a threshold"),
        ([("only", "nope")], "", "nope"),
        ([("sort", "n_words"), ("random", "3")], 'value="3"', "choose one"),
    ],
)
def test_what_cannot_be_asked_is_said_and_stays_as_it_was_typed(
    client: TestClient, asked: Asked, typed: str, said: str
) -> None:
    answer = client.get("pairs", params=asked)
    assert answer.status_code == 400
    (problem,) = re.findall(r'<p class="problem" role="alert">(.*?)</p>', answer.text, re.DOTALL)
    assert said in unescape(problem)
    assert typed in answer.text
    assert 'action="/a-token/pairs/find"' in answer.text
    assert "<article" not in answer.text


def test_fields_are_of_what_is_measured_and_the_others_say_how(client: TestClient) -> None:
    text = unescape(client.get("pairs").text)
    assert 'name="is.host"' in text  # which follows from the URL
    assert 'name="is.status"' not in text
    assert "no image has a status yet: align-data fetch" in text


def test_the_ledger_is_chosen_in_the_form(dataset: Built, client: TestClient) -> None:
    assert '<select name="recipe">' not in client.get("pairs").text  # there is one alone
    engine = LocalEngine(dataset.dataset.store.work, 2)
    decide_ledger(Decision(dataset.recipe, ["n_words.between=90,99"], (), "none"), dataset.dataset, engine, Silent())
    try:
        assert ("recipe", "none") in sent(client, [("recipe", "none"), ("outcome", "kept")])
        text = client.get("pairs", params={"recipe": "none", "outcome": "kept"}).text
        assert "<b>0 pairs</b>" in text
        assert "take a condition out" in text
        assert (
            '<select name="recipe">' not in client.get("pairs?recipe=none&without=shared").text
        )  # which a draft is of
    finally:
        dataset.dataset.ledger("none").retract()


def test_the_values_of_a_column_are_offered_as_they_are_counted(dataset: Built, client: TestClient) -> None:
    text = client.get("pairs/values?column=script").text
    offered = re.findall(r'<option value="(.*?)">.*?: ([\d,]+) pairs</option>', text)
    assert sum(int(number) for _, number in offered) == len(read(dataset.dataset, "pairs"))
    for value, number in offered:
        found = client.get("pairs", params={"where": f"script={unescape(value)}"}).text
        assert f"<b>{number} pairs</b>" in found


def counted(rows: pl.DataFrame) -> str:
    return "1 pair" if len(rows) == 1 else f"{len(rows)} pairs"


def test_a_browser_narrows_and_widens_a_selection(dataset: Built) -> None:
    pairs = read(dataset.dataset, "pairs")
    with explored(opened(dataset.dataset)) as link, browser() as chromium:
        page = chromium.new_page()
        problems = watched(page)
        page.goto(f"{link}pairs")
        page.get_by_label("Text", exact=True).fill("stock photo")
        page.get_by_label("Host", exact=True).fill("h1.example")
        page.get_by_label("Host", exact=True).press("Enter")
        found = pairs.filter(pairs["alt_text"].str.to_lowercase().str.contains("stock photo"))
        of_host = found.filter(found["url"].str.contains("//h1.example/"))
        assert 0 < len(of_host) < len(found)
        assert page.get_by_text(counted(of_host), exact=True).count() == 1
        page.get_by_role("link", name="host = h1.example").click()
        assert page.get_by_text(counted(found), exact=True).count() == 1
        assert page.get_by_label("Text", exact=True).input_value() == "stock photo"
        assert page.get_by_label("Host", exact=True).input_value() == ""
        assert problems == []
        selection = PairSelection.from_words(parse_qsl(urlsplit(page.url).query))
        assert [str(condition) for condition in selection.where] == ["alt_text~stock photo"]
