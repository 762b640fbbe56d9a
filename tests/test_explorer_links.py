"""Numbers of the explorer are links to the pairs that they count: followed, they count as many."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="needs the extra view")

from conftest import Built, build, read, write_list
from explorer_server import client_of, opened
from starlette.testclient import TestClient
from test_report import ATTACKS

from align_data.common.progress import Silent
from align_data.engines.local import LocalEngine
from align_data.stages.ingest import Parts
from align_data.stages.takedown import takedown
from align_data.stages.takedown.lists import TakedownLists

RECIPE = """
name: small
rules:
- {name: n_words, signal: n_words, between: [2, 4], source: paper}
- {name: shared-by.sons, signal: images_per_text, le: 3, source: paper}
- {name: wide, signal: min_side, gt: 200, source: chosen}
- name: either
  any:
  - {signal: n_words, ge: 3}
  - {signal: images_per_text, ge: 2}
  source: paper
"""
LINK = re.compile(r'<a href="/a-token/(pairs\?[^"]*)">([^<]*)</a>')


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    folder = tmp_path_factory.mktemp("links")
    texts = ["one", "one two", *(f"one two {n}" for n in range(20)), "a b c d", "a|b c", "null", "", *ATTACKS]
    rows = [
        {
            "url": f"http://h{n % 5}.example/{n}.jpg",
            "alt_text": texts[n % len(texts)],
            "declared_width": [None, 100, 300][n % 3],
            "declared_height": 250 if n % 3 else None,
        }
        for n in range(120)
    ]
    dataset: Built = build(folder / "dataset", write_list(folder / "lists", rows), recipe=RECIPE, parts=Parts(rows=50))
    return client_of(opened(dataset.dataset))


def test_what_is_taken_down_is_said_where_it_is_counted(tmp_path: Path) -> None:
    rows = [{"url": f"http://h.example/{n}.jpg", "alt_text": f"one two {n}"} for n in range(6)]
    dataset = build(tmp_path / "dataset", write_list(tmp_path / "lists", rows), recipe=RECIPE).dataset
    client, uid = client_of(opened(dataset)), str(read(dataset, "pairs")["uid"][0])
    assert "taken down" not in client.get("thresholds").text
    takedown(dataset, TakedownLists({"uids": (uid,)}, {"uids": ""}), [], LocalEngine(tmp_path / "w", 2), Silent())
    text = client.get("thresholds").text
    assert "1 pairs were taken down: they are counted among the dropped" in text
    lost = sum(number for link, number in linked(text) if "outcome=" in link)
    assert sum(total(client, link) for link, _ in linked(text) if "outcome=" in link) == lost - 1 == len(rows) - 1


def linked(text: str) -> list[tuple[str, int]]:
    """Return the links of a page to pairs whose words begin with a number, and the number."""
    links = [(unescape(link), re.match(r"[\d,]+", words)) for link, words in LINK.findall(text)]
    return [(link, int(number[0].replace(",", ""))) for link, number in links if number is not None]


def total(client: TestClient, link: str) -> int:
    answer = client.get(link)
    assert answer.status_code == 200, unescape(answer.text)
    return int(re.findall(r"<b>([\d,]+) pairs?</b>", answer.text)[0].replace(",", ""))


@pytest.mark.parametrize(
    "draft",
    [
        {},
        {"set": ["n_words.between=3,5", "wide.gt=90"]},
        {"without": ["n_words"]},
        {"set": ["shared-by.sons.le=1"], "without": ["wide", "either"]},
    ],
)
def test_every_number_of_the_thresholds_leads_to_as_many_pairs(client: TestClient, draft: dict[str, list[str]]) -> None:
    text = client.get("thresholds", params={"recipe": "small", **draft}).text
    links = linked(text)
    assert len(links) >= 3 + 2 * (4 - len(draft.get("without", [])))
    assert any("moved=" in link for link, _ in links) == bool(draft)
    assert [(link, total(client, link)) for link, _ in links] == links


def test_every_number_of_the_groups_leads_to_as_many_pairs(client: TestClient) -> None:
    links = linked(client.get("groups/tables").text)
    assert len(links) > 30
    assert [(link, total(client, link)) for link, _ in links] == links


def test_the_list_of_rules_leads_to_each_rule(client: TestClient) -> None:
    text = client.get("thresholds").text
    targets = re.findall(r'<li><a href="#([^"]+)">', text)
    assert [target.removeprefix("rule-") for target in targets[:4]] == ["n_words", "shared-by.sons", "wide", "either"]
    assert all(text.count(f'id="{target}"') == 1 for target in targets)
