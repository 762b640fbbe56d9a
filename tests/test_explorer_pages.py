"""Pages of the explorer: a draft is what the command line decides; groups and comparisons are the audit's; errors are said."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from html import unescape
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="needs the extra view")

from conftest import Built, read, write_list
from explorer_server import client_of
from starlette.testclient import TestClient

from align_data.common.errors import AlignDataError, DatasetError, RecipeError
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.data.ledger import open_current
from align_data.engines.local import LocalEngine
from align_data.explorer.opened import Explorer
from align_data.selection.draft import Draft, Words
from align_data.stages.audit import survey
from align_data.stages.decision import Decision, decide_ledger
from align_data.stages.grow import grow
from align_data.stages.ingest import Parts

RECIPE = """
name: small
rules:
- {name: n_words, signal: n_words, between: [2, 4], source: paper}
- {name: shared, signal: images_per_text, le: 3, source: paper}
- name: either
  any:
  - {signal: n_words, ge: 3}
  - {signal: images_per_text, ge: 2}
  source: paper
"""
HOSTILE = "</script><script>window.hacked=1</script> \"'><img src=x onerror=alert(1)> \u202e b"


@pytest.fixture
def dataset(job: Callable[..., Built]) -> Built:
    texts = ["one", "one two", *(f"one two {n}" for n in range(40)), "a b c d", "a b c d e f", HOSTILE]
    rows = [{"url": f"http://h{n % 5}.example/{n}.jpg", "alt_text": texts[n * n % len(texts)]} for n in range(60)]
    return job(rows, recipe=RECIPE, overrides=["shared.le=4"], parts=Parts(rows=25))


@pytest.fixture
def engine(dataset: Built) -> LocalEngine:
    return LocalEngine(dataset.dataset.store.work, 2)


@pytest.fixture
def explorer(dataset: Built, engine: LocalEngine) -> Explorer:
    return Explorer(dataset.dataset.store.url, engine)


@pytest.fixture
def client(explorer: Explorer) -> TestClient:
    return client_of(explorer)


@pytest.mark.parametrize(
    ("words", "overrides", "off"),
    [
        ([], ["shared.le=4"], []),
        ([("set", "n_words.between=3,5")], ["shared.le=4", "n_words.between=3,5"], []),
        ([("set", "n_words.ge=3"), ("set", "shared.le=12")], ["n_words.ge=3", "shared.le=12"], []),
        ([("set", "either.n_words.ge=4")], ["shared.le=4", "either.n_words.ge=4"], []),
        ([("without", "n_words"), ("without", "n_words")], ["shared.le=4"], ["n_words"]),
    ],
)
def test_a_draft_decides_as_the_command_does(
    dataset: Built, engine: LocalEngine, words: Words, overrides: Sequence[str], off: Sequence[str]
) -> None:
    draft = Draft.of(open_current(dataset.dataset, "small"), words)
    assert sorted(draft.plan.overrides) == sorted(overrides)
    decide_ledger(Decision(dataset.recipe, overrides, off, "by_command"), dataset.dataset, engine, Silent())
    plan = open_current(dataset.dataset, "by_command").plan
    assert draft.plan.recipe == plan.recipe
    assert draft.plan.off == plan.off
    assert draft.moved == bool(words)
    assert Draft.of(draft.ledger, draft.words) == draft


def test_a_rule_is_put_back(dataset: Built, engine: LocalEngine) -> None:
    decide_ledger(Decision(dataset.recipe, (), ["n_words"], "less"), dataset.dataset, engine, Silent())
    ledger = open_current(dataset.dataset, "less")
    draft = Draft.of(ledger, [("with", "n_words"), ("with", "shared"), ("without", "n_words")])
    assert (draft.restored, draft.without, draft.plan.off) == (("n_words",), (), ())


@pytest.mark.parametrize(
    "words", [[("set", "n_words.gt")], [("set", "nope.ge=3")], [("without", "nope")], [("set", "n_words.ge=x")]]
)
def test_what_cannot_be_set_is_a_sentence(dataset: Built, words: Words) -> None:
    with pytest.raises(RecipeError):
        _ = Draft.of(open_current(dataset.dataset, "small"), words).plan


def test_a_dataset_without_a_ledger_says_what_makes_one(dataset: Built, engine: LocalEngine) -> None:
    dataset.dataset.ledger("small").retract()
    with pytest.raises(DatasetError, match="align-data filter"):
        Explorer(dataset.dataset.store.url, engine)
    with pytest.raises(AlignDataError):
        Explorer(f"{dataset.dataset.store.url}-none", engine)


def test_groups_are_the_audits(dataset: Built, engine: LocalEngine, client: TestClient) -> None:
    tables = unescape(client.get("groups/tables").text)
    who = survey(dataset.dataset, "small", engine, Silent(), samples=0).who
    assert who.divisions
    for division in who.divisions:
        for group in division.groups:
            row = next(
                row for row in re.findall(r"<tr>.*?</tr>", tables, re.DOTALL) if f"<bdi>{group.label}</bdi>" in row
            )
            row = re.sub(r'<a href="[^"]*">|</a>', "", row)
            assert f'<td class="n">{group.pairs:,}</td>' in row
            assert f'<td class="n">{group.kept:,}</td>' in row
    whole = client.get("groups").text
    assert "hx-get" in whole
    assert re.findall(r"<option[^>]*>(.*?)</option>", whole) == dataset.dataset.ledgers()


@pytest.mark.parametrize(
    ("group", "conditions"),
    [
        ("n_words", "where=n_words%3E%3D3&where=n_words%3C4"),
        ("n_words", "where=n_words%3E%3D2&where=n_words%3C3"),
    ],
)
def test_a_group_leads_to_its_pairs(client: TestClient, group: str, conditions: str) -> None:
    assert f'pairs?recipe=small&{conditions}"' in unescape(client.get("groups/tables").text), group


def test_batches_are_compared(dataset: Built, engine: LocalEngine, client: TestClient, tmp_path: Path) -> None:
    assert "Two batches" not in client.get("compare").text
    assert client.get("pairs", params={"where": "first_batch=1"}).status_code == 400
    new = [{"url": f"http://new.example/{n}.jpg", "alt_text": "one two three"} for n in range(7)]
    lists = write_list(tmp_path / "new", new)
    grow(lists, Dataset(dataset.dataset.store), engine, Silent(), name="later")
    decide_ledger(
        Decision(dataset.recipe, ["shared.le=4"], name="small"), Dataset(dataset.dataset.store), engine, Silent()
    )
    opened = Dataset(dataset.dataset.store)
    pairs, masks = read(opened, "pairs"), read(opened, "verdicts/small")
    text = client.get("compare", params=[("recipe", "small"), ("batch", "1"), ("batch", "later")]).text
    for batch in ("1", "later"):
        of_batch = (pairs["first_batch"] == batch).to_numpy()
        kept = int(((masks["failed"] == 0).to_numpy() & of_batch).sum())
        where = f"where=first_batch%3D{batch}"
        assert f'{where}">{int(of_batch.sum())}</a>' in text
        assert f'{where}&amp;outcome=kept">{kept}</a>' in text
        listed = client.get("pairs", params={"recipe": "small", "where": f"first_batch={batch}"}).text
        assert f"{int(of_batch.sum())} of" in listed or f"{int(of_batch.sum())} pairs" in listed
    for query in ([("batch", "1")], [("batch", "1"), ("batch", "1")], [("batch", "1"), ("batch", "<script>")]):
        answer = client.get("compare", params=[("recipe", "small"), *query])
        assert answer.status_code == 400
        assert "<script>" not in answer.text.replace("<script src=", "")
    assert client.get("pairs", params={"recipe": "small", "where": "first_batch=never"}).status_code == 400


def test_ledgers_are_compared(dataset: Built, engine: LocalEngine, client: TestClient) -> None:
    decide_ledger(
        Decision(dataset.recipe, ["n_words.between=1,2"], ["shared"], "other"), dataset.dataset, engine, Silent()
    )
    kept = {
        name: set(read(dataset.dataset, "pairs")["uid"].filter(masks["failed"] == 0))
        for name in ("small", "other")
        for masks in [read(dataset.dataset, f"verdicts/{name}")]
    }
    text = client.get("compare", params={"recipe": "small", "other": "other"}).text
    assert kept["small"] - kept["other"]
    assert kept["other"] - kept["small"]
    assert f"both keep {len(kept['small'] & kept['other'])} " in text
    assert f"Only small keeps {len(kept['small'] - kept['other'])}<" in text
    assert f"Only other keeps {len(kept['other'] - kept['small'])}<" in text
    assert "taken out" in text
    samples = re.findall(r'href="/a-token/(pair/(\w+)\?recipe=(\w+))"', text)
    assert samples
    assert {(uid, "small" if uid in kept["other"] else "other") for _, uid, _ in samples} == {
        (uid, ledger) for _, uid, ledger in samples
    }
    for link, uid, ledger in samples[:4]:  # why the ledger does not keep it that does not
        assert f"dropped</b> by the ledger {ledger}" in client.get(link).text, uid


def test_htmx_is_the_file_that_its_release_has(client: TestClient) -> None:
    script = client.get("static/htmx.min.js").content  # dist/htmx.min.js of htmx.org 2.0.11
    assert hashlib.sha256(script).hexdigest() == "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"
    assert b"Zero-Clause BSD" in client.get("static/htmx.LICENSE").content


def test_texts_are_escaped(client: TestClient) -> None:
    for path in ("groups/tables", "compare?recipe=%3Cscript%3E", "groups?recipe=small&set=%3Cscript%3Ex.y%3D1"):
        text = client.get(path).text
        assert "<script>window" not in text
        assert "<img src=x" not in text
        assert "<script>x" not in text
        assert "<script> " not in text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("groups?recipe=none", 400),
        ("compare?other=small", 400),
        ("nothing", 404),
        ("static/../app.py", 404),
        ("static/x", 404),
    ],
)
def test_an_error_is_a_page_with_a_sentence(client: TestClient, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert "Traceback" not in answer.text
    fragment = client.get(path, headers={"hx-request": "true"})
    assert fragment.status_code == status


def test_what_changes_underneath_is_said(dataset: Built, engine: LocalEngine, client: TestClient) -> None:
    seen = re.search(r"changed\?seen=(\w+)", client.get("groups").text)
    assert seen
    assert "changed since" not in client.get("changed", params={"seen": seen[1]}).text
    decide_ledger(Decision(dataset.recipe, ["n_words.ge=3"], [], "small"), dataset.dataset, engine, Silent())
    assert "changed since" in client.get("changed", params={"seen": seen[1]}).text


def test_pairs_are_those_of_the_selection_and_each_is_explained(dataset: Built, client: TestClient) -> None:
    pairs, verdicts = read(dataset.dataset, "pairs"), read(dataset.dataset, "verdicts/small")
    dropped = pairs.filter(verdicts["failed"] != 0)["uid"].to_list()
    text = client.get("pairs", params={"outcome": "dropped"}).text
    assert f"{len(dropped)} pairs</b>" in text
    assert client.get("pairs/uids.txt", params={"outcome": "dropped"}).text.split() == dropped
    assert re.findall(r'aria-label="Pair (\w+)"', text) == dropped[:24]
    for uid in (dropped[0], dropped[-1]):
        explained = client.get(f"pair/{uid}")
        assert explained.status_code == 200
        assert "dropped</b> by the ledger" in explained.text
    assert client.get("pair/none").status_code == 400


def test_a_draft_is_looked_at_too(client: TestClient) -> None:
    words = {"recipe": "small", "set": "n_words.between=4,4", "moved": "kept-dropped"}
    text = client.get("pairs", params=words).text
    number = re.findall(r"<b>([\d,]+) pairs?</b>", text)
    changes = re.findall(r"([\d,]+) kept → dropped", client.get("thresholds", params=words).text)
    assert number == changes != []


def test_a_fault_of_our_own_is_a_sentence_too(explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Explorer, "draft", lambda *_: 1 // 0)
    answer = client_of(explorer, raise_server_exceptions=False).get("pairs")
    assert answer.status_code == 500
    assert "ZeroDivisionError" in answer.text
    assert "Traceback" not in answer.text
