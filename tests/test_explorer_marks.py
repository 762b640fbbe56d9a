"""Marking in the explorer: buttons, keys and two viewers at once; the measures of the page are the audit's."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs the extra view")

from conftest import Built, read
from explorer_server import OWN, TOKEN, browser, client_of, explored, opened, watched
from starlette.testclient import TestClient

from align_data.common.progress import Silent
from align_data.data.labels import counts, marks
from align_data.explorer.marks import marks_of
from align_data.explorer.opened import Explorer
from align_data.stages.audit import marked

RECIPE = """
name: small
rules:
- {name: n_words, signal: n_words, between: [2, 4], source: paper}
- {name: shared, signal: images_per_text, le: 6, source: paper}
"""


@pytest.fixture
def built(job: Callable[..., Built]) -> Built:
    texts = ["one", "one two", *(f"one two {n}" for n in range(9)), "a b c d e f"]
    rows = [{"url": f"http://h.example/{n}.jpg", "alt_text": texts[n % len(texts)]} for n in range(40)]
    return job(rows, recipe=RECIPE)


@pytest.fixture
def explorer(built: Built) -> Explorer:
    return opened(built.dataset)


@pytest.fixture
def client(explorer: Explorer) -> TestClient:
    return client_of(explorer, raise_server_exceptions=False)


def press(client: TestClient, uid: str, word: str, label: str = "mine") -> Any:
    fields = {"uid": uid, "label": label, "mark": word}
    return client.post("mark", data=fields, headers={**OWN, "hx-request": "true"})


def test_a_button_marks_and_a_second_press_takes_it_back(client: TestClient, built: Built, explorer: Explorer) -> None:
    first, second, *_ = read(built.dataset, "pairs")["uid"]
    answer = press(client, first, "keep")
    assert answer.status_code == 200
    assert re.findall(r'value="(\w+)" class="keep" aria-pressed="true"', answer.text) == ["unmarked"]
    assert re.findall(r'aria-pressed="false" data-key="(.)"', answer.text) == ["d", "u"]
    assert press(client, second, "drop").status_code == 200
    assert dict(marks(built.dataset, "mine").iter_rows()) == {first: "keep", second: "drop"}
    assert marks_of(explorer, "mine", [second, first]) == {second: "drop", first: "keep"}
    press(client, first, "unmarked")
    assert marks_of(explorer, "mine", [second, first]) == {second: "drop", first: "unmarked"}


@pytest.mark.parametrize(
    ("uid", "word", "label", "sentence"),
    [
        ("0" * 32, "keep", "mine", "has no pair 0000"),
        ("<script>", "keep", "mine", "is not a uid"),
        ("", "keep", "mine", "is not a uid"),
        ("0" * 32, "selected", "mine", "is not a mark"),
        ("0" * 32, "", "mine", "is not a mark"),
        ("0" * 32, "keep", "../../x", "not a valid label name"),
    ],
)
def test_a_form_of_a_stranger_is_a_sentence(
    client: TestClient, built: Built, uid: str, word: str, label: str, sentence: str
) -> None:
    answer = press(client, uid, word, label)
    assert (answer.status_code, sentence in unescape(answer.text)) == (400, True)
    assert "<script>" not in answer.text
    assert built.dataset.store.names("_marks") == []
    assert client.post("mark", data={"uid": uid}).status_code == 403
    assert client.get("mark").status_code == 405


def test_the_page_counts_and_measures_as_the_audit_does(client: TestClient, built: Built, explorer: Explorer) -> None:
    assert "No pair is marked yet" in client.get("marks").text
    uids = read(built.dataset, "pairs")["uid"].to_list()
    for place, uid in enumerate(uids[:21]):
        press(client, uid, ("keep", "drop", "unsure")[place % 3], "mine" if place < 18 else "other")
    shown = client.get("marks?recipe=small&label=mine").text
    assert f'<a href="/{TOKEN}/pairs?recipe=small&amp;where=label_mine%3Dkeep">6</a>' in shown
    assert f"/{TOKEN}/marks/measures?recipe=small&amp;label=mine" in shown
    measures = unescape(client.get("marks/measures?recipe=small&label=mine").text)
    audit = marked(built.dataset, "small", "mine", explorer.engine, Silent())
    whole = audit.whole
    assert (whole.keep, whole.drop, whole.unsure) == (6, 6, 6)
    assert 0 < whole.drop_dropped < whole.drop
    for rule in (*audit.rules, whole):
        share = rule.recall
        assert f"{share.number:,} of {share.of:,}; 95 %: {share.interval[0] * 100:.1f} to" in measures
    assert f"Marked keep and dropped</a>: {whole.keep_dropped} of 6" in measures
    assert f"Marked drop and kept</a>: {audit.drop_kept} of 6" in measures
    assert "pairs?recipe=small&where=label_mine%3Dkeep&outcome=dropped" in measures
    assert "pairs?recipe=small&where=label_mine%3Ddrop&outcome=kept" in measures
    links = re.findall(rf'href="/{TOKEN}/(pairs[^"]*)">(\d+|Marked \w+ and \w+)</a>(?:: (\d+))?', shown + measures)
    assert len(links) >= 8
    for link, number, after in links:  # each leads to as many pairs as it says
        pairs = "1 pair" if (after or number) == "1" else f"{after or number} pairs"
        assert f"<b>{pairs}</b>" in client.get(unescape(link)).text, link
    press(client, uids[0], "drop")  # what was counted before is old
    again = unescape(client.get("marks/measures?recipe=small&label=mine").text)
    assert (
        f"Marked drop and kept</a>: {marked(built.dataset, 'small', 'mine', explorer.engine, Silent()).drop_kept} of 7"
        in again
    )
    assert "has no label none" in unescape(client.get("marks/measures?label=none").text)


def test_keys_mark_in_a_browser_and_go_on_to_the_next_pair(explorer: Explorer, built: Built) -> None:
    uids = sorted(read(built.dataset, "pairs")["uid"])[:3]
    with browser() as chromium, explored(explorer) as link:
        page, other = chromium.new_page(), chromium.new_page()
        problems = [watched(page), watched(other)]
        for viewer in (page, other):
            viewer.goto(f"{link}marks")
            for uid in uids:
                viewer.evaluate(
                    "([link, uid]) => htmx.ajax('POST', `${link}mark`,"
                    " {target: '#main', swap: 'beforeend', values: {uid, label: 'mine', mark: 'unmarked'}})",
                    [link, uid],
                )
        page.keyboard.press("k")
        page.keyboard.press("d")
        page.keyboard.press("u")
        pressed = page.locator("[aria-pressed=true]")
        pressed.nth(2).wait_for()
        assert counts(built.dataset, "mine") == {"keep": 1, "drop": 1, "unsure": 1}
        other.locator("form.marks button.drop").first.click()
        other.wait_for_selector("button.drop[aria-pressed=true]")
        assert marks_of(explorer, "mine", uids) == dict(zip(uids, ("drop", "drop", "unsure"), strict=True))
        page.keyboard.press("u")  # the last pair has the focus still: its mark is taken back
        pressed.nth(2).wait_for(state="detached")
        assert counts(built.dataset, "mine") == {"drop": 2}
        assert problems == [[], []]
