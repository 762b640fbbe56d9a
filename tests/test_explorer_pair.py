"""The page of a pair: verdicts by the ledger and by a draft, what it is like, and ways back; hostile texts run nothing."""

from __future__ import annotations

import json
import re
import shlex
from html import unescape

import pytest

pytest.importorskip("starlette", reason="needs the extra view")

from click.testing import CliRunner
from conftest import read
from explorer_server import client_of, opened
from starlette.testclient import TestClient
from test_report import ATTACKS
from test_shards import fetched, jpeg

from align_data.cli import main
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.engines.local import LocalEngine
from align_data.recipes.reading import parse
from align_data.stages.decision import Decision, decide_ledger
from align_data.stages.measure import measure
from align_data.stages.why import why

RULES = """
name: small
rules:
- {signal: width, ge: 60, source: "section 3: small images are discarded"}
- {name: shared, signal: images_per_text, le: 2, source: chosen}
- {name: near, signal: near_phash, le: 0, source: chosen}
- name: either
  any:
  - {signal: n_words, ge: 3}
  - {signal: n_chars, le: 3}
  source: ours
"""
SIGNALS = [
    "phash",
    "near_phash",
    "earlier_phash_distance",
    "images_per_text",
    "texts_per_image",
    "host",
    "n_words",
    "n_chars",
    "width",
]
DRAFTS = [["width.ge=90"], ["shared.le=1", "near.le=3"], ["either.n_words.ge=9"]]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("pair")
    rows = [{"url": f"http://h{n % 3}.example/{n}.jpg", "alt_text": f"text number {n % 9}"} for n in range(18)]
    rows += [{"url": "http://h0.example/0.jpg", "alt_text": text} for text in ATTACKS]
    images = {row["url"]: jpeg(n % 14, 40 + 10 * n, 200, quality=80) for n, row in enumerate(rows[:18])}
    images |= {f"http://h{n % 3}.example/{n}.jpg": jpeg(n % 14, 120, 200, quality=60 + n) for n in (0, 1, 14, 15)}
    dataset, engine = fetched(folder / "dataset", rows, images, parts=8), LocalEngine(folder / "w", 2)
    measure(dataset, engine, Silent(), SIGNALS)
    decide_ledger(Decision(parse(RULES, "r.yaml")), dataset, engine, Silent())
    return dataset


@pytest.fixture(scope="module")
def client(dataset: Dataset) -> TestClient:
    return client_of(opened(dataset))


def uids(dataset: Dataset) -> list[str]:
    return [str(uid) for uid in read(dataset, "pairs")["uid"]]


def verdicts(text: str) -> dict[str, list[str]]:
    """Return the verdicts of each rule that a page says: by the ledger, and by the draft."""
    table = text[text.index('aria-label="Each rule"') : text.index("What is behind it")]
    rows = re.findall(r'<th scope="row">(.*?)</th>(.*?)<td class="text">', table, re.DOTALL)
    return {name.removesuffix(" *"): re.findall(r">(pass|fail|unknown|off)<", verdicts) for name, verdicts in rows}


@pytest.mark.parametrize("sets", DRAFTS)
def test_a_draft_says_what_a_ledger_decided_so_would(dataset: Dataset, client: TestClient, sets: list[str]) -> None:
    name = f"draft{DRAFTS.index(sets)}"
    engine = LocalEngine(dataset.store.work, 2)
    decide_ledger(Decision(parse(RULES, "r.yaml"), sets, (), name), dataset, engine, Silent())
    different = 0
    for uid in uids(dataset)[::2]:
        text = client.get(f"pair/{uid}", params={"recipe": "small", "set": sets}).text
        (by_ledger,), (by_draft,) = (why(dataset, ledger, uid=uid) for ledger in ("small", name))
        assert verdicts(text) == {
            old.rule: [old.verdict, new.verdict] for old, new in zip(by_ledger.verdicts, by_draft.verdicts, strict=True)
        }
        said = re.findall(r"<b class=\"\w+\">(\w+)</b> by the (ledger|draft)", text)
        assert said == [(by_ledger.outcome, "ledger"), (by_draft.outcome, "draft")]
        for verdict in by_draft.verdicts:
            assert verdict.sentence in unescape(text)
        different += by_ledger.outcome != by_draft.outcome
    assert different


def test_without_a_draft_the_ledger_decides_alone(dataset: Dataset, client: TestClient) -> None:
    for uid in uids(dataset)[::2]:
        (explained,) = why(dataset, "small", uid=uid)
        text = client.get(f"pair/{uid}?recipe=small").text
        assert verdicts(text) == {verdict.rule: [verdict.verdict] for verdict in explained.verdicts}
        assert "by the draft" not in text
        assert "shared *" in text
        assert "width *" not in text


def test_what_a_pair_is_like_is_what_plain_python_finds(dataset: Dataset, client: TestClient) -> None:
    pairs = read(dataset, "pairs").select("uid", "url", "alt_text").rows()
    phash = dict(zip(read(dataset, "pairs")["url"], read(dataset, "measured/image")["phash"], strict=True))
    kinds = set()
    for uid, url, alt_text in pairs:
        near = {
            other
            for other, value in phash.items()
            if other != url and value is not None and phash[url] is not None and (value ^ phash[url]).bit_count() <= 6
        }
        expected = {
            "Other texts of this image": {u for u, other, _ in pairs if other == url and u != uid},
            "Other images with this text": {u for u, other, text in pairs if text == alt_text and other != url},
            "Images near this one": {next(u for u, of, _ in pairs if of == other) for other in near},
        }
        text = client.get(f"pair/{uid}/alike?recipe=small").text
        sections = re.findall(r"<h3>(.*?)</h3>(.*?)(?=<h3>|\Z)", text, re.DOTALL)
        shown = {name: set(re.findall(r'aria-label="Pair (\w+)"', of)) for name, of in sections}
        assert shown == {name: found for name, found in expected.items() if found}
        kinds |= {*shown}
    assert len(kinds) == 3


def test_the_ways_back_lead_to_the_pairs_that_share_something(dataset: Dataset, client: TestClient) -> None:
    pairs = read(dataset, "pairs").with_columns(host=read(dataset, "measured/text")["host"])
    for row in pairs[::4].iter_rows(named=True):
        text = client.get(f"pair/{row['uid']}?recipe=small").text
        links = re.findall(r'<a href="/a-token/(pairs\?[^"]*where=(\w+)[^"]*)">', text)
        assert {column for _, column in links} >= {"alt_text", "url", "host"}
        for link, column in links:
            if column in pairs.columns:
                number = len(pairs.filter(pairs[column] == row[column]))
                said = f"<b>{number} pair{'s' if number != 1 else ''}</b>"
                assert said in client.get(unescape(link)).text, (link, row)


def test_no_text_of_a_pair_is_markup(dataset: Dataset, client: TestClient) -> None:
    for uid in uids(dataset)[::2]:
        for path in (f"pair/{uid}", f"pair/{uid}/alike"):
            text = client.get(path).text
            assert not re.search(r"<(script>|img src=x|svg|iframe|style>)", text)


def test_no_such_pair_is_a_sentence(client: TestClient) -> None:
    for path in ("pair/none", "pair/none/alike", "pair/%3Cb%3E?set=width.ge%3D90"):
        answer = client.get(path)
        assert answer.status_code == 400
        assert "has no pair with the uid" in answer.text


def test_its_command_explains_the_pair(dataset: Dataset, client: TestClient) -> None:
    uid = uids(dataset)[0]
    (shown,) = re.findall(r"on the command line: <code>(.*?)</code>", client.get(f"pair/{uid}?recipe=small").text)
    explained = CliRunner().invoke(main, [*shlex.split(unescape(shown))[1:], "--json"])
    assert explained.exit_code == 0, explained.output
    assert [pair["uid"] for pair in json.loads(explained.stdout)] == [uid]


def test_near_duplicates_say_what_becomes_of_them(dataset: Dataset, client: TestClient) -> None:
    recipe = parse("name: own-host\nrules:\n- {signal: host, in: [h0.example], source: chosen}\n", "h.yaml")
    decide_ledger(Decision(recipe), dataset, LocalEngine(dataset.store.work, 2), Silent())
    try:
        tables = client.get("groups/tables?recipe=own-host").text
        said = re.findall(r'<b class="\w+">(\w+)</b> <a href="/a-token/pair/(\w+)\?recipe=own-host">why</a>', tables)
        assert len(said) == tables.count(">why</a>")
        assert {outcome for outcome, _ in said} == {"kept", "dropped"}
        for outcome, uid in said:
            (explained,) = why(dataset, "own-host", uid=uid)
            assert explained.outcome == outcome
    finally:
        dataset.ledger("own-host").retract()
