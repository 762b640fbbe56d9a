"""The page of thresholds: what it counts is what its command decides, what it saves is a recipe, what it writes a ledger."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, urlencode

import pytest

pytest.importorskip("starlette", reason="needs the extra view")

from click.testing import CliRunner
from conftest import Built
from explorer_server import OWN, SITE, browser, client_of, explored, opened, settled, watched
from starlette.testclient import TestClient

import align_data
from align_data.cli import main
from align_data.data.layout import Dataset
from align_data.explorer.opened import Explorer
from align_data.stages.audit import Audit, audit

RECIPE = """
name: small
rules:
- {name: n_words, signal: n_words, between: [2, 6], source: section 3}
- {name: shared, signal: images_per_text, le: 9, source: section 3}
- name: either
  any:
  - {signal: n_chars, ge: 12}
  - {signal: texts_per_image, le: 1}
  source: ours
- {name: chars, signal: n_chars, by: script, ge: {Latin: 5, else: 2}, source: ours}
- {name: longest, signal: n_chars, top_fraction: 0.7, source: ours}
"""


@pytest.fixture
def dataset(job: Callable[..., Built], tmp_path: Path) -> Dataset:
    words = ["a", "bb", "ccc", "日本", "dog", "Ж", "seven"]
    rows = [
        {"url": f"http://h.example/{n % 90}", "alt_text": " ".join(words[(n * k) % 7] for k in range(n % 8))}
        for n in range(150)
    ]
    (tmp_path / "small.yaml").write_text(RECIPE, encoding="utf-8")
    return job(rows, recipe=RECIPE).dataset


@pytest.fixture
def explorer(dataset: Dataset) -> Explorer:
    return opened(dataset)


@pytest.fixture
def client(explorer: Explorer) -> TestClient:
    return client_of(explorer)


def kept(text: str) -> tuple[int, ...]:
    """Return the pairs that a page says are kept, pending and dropped."""
    return tuple(
        int(re.findall(rf">([\d,]+) {what}<", text)[0].replace(",", "")) for what in ("kept", "pending", "dropped")
    )


def outcomes(counted: Audit) -> tuple[int, ...]:
    return (counted.kept, counted.pending, counted.dropped)


def form(client: TestClient, words: Sequence[tuple[str, str]] = ()) -> dict[str, list[str]]:
    """Return the fields of the form as a browser would send them."""
    text = client.get("thresholds", params=list(words)).text
    panel = text[text.index('id="panel"') : text.index('id="actions"')]
    fields: dict[str, list[str]] = {}
    for tag in re.findall(r"<input[^>]*>", panel):
        entry = {name: unescape(value) for name, value in re.findall(r'([\w-]+)="([^"]*)"', tag)}
        if "form" not in entry and (entry.get("type") != "checkbox" or " checked" in tag):
            fields.setdefault(entry["name"], []).append(entry["value"])
    return fields


def command_of(text: str) -> list[str]:
    """Return the words of the command that a page shows."""
    return shlex.split(unescape(re.findall(r'id="command"[^>]*value="([^"]*)"', text)[0]))


MOVES: list[dict[str, list[str]]] = [
    {},
    {"field.n_words.between.0": ["1"]},
    {"field.n_words.between.0": ["3"], "field.shared.le.0": ["4"], "field.longest.top_fraction.0": ["0.4"]},
    {"field.either.n_chars.ge.0": ["3"], "field.chars.ge.Latin.0": ["9"], "on": ["n_words", "either", "chars"]},
    {"field.chars.ge.else.0": ["4"], "on": ["n_words", "shared", "chars", "longest"]},
]


MORE_CLASSES = {"class.chars.ge": ["Cyrillic"], "value.chars.ge": ["1"]}
"""What the button sends that gives one more script a value of its own."""
MOVES.append({**MORE_CLASSES, "field.n_words.between.0": ["1"]})


@pytest.mark.parametrize("moves", MOVES)
def test_what_is_shown_is_what_the_command_decides(
    dataset: Dataset, client: TestClient, moves: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = client.get("thresholds/moved", params={**form(client), **moves})
    assert "Exact" in answer.text
    monkeypatch.chdir(tmp_path)  # where the recipe's file is
    words = command_of(answer.text)
    assert words[:2] == ["align-data", "filter"]
    decided = CliRunner().invoke(main, words[1:])
    assert decided.exit_code == 0, decided.output
    name = words[words.index("--as") + 1] if "--as" in words else "small"
    assert kept(answer.text) == outcomes(audit(Dataset(dataset.store), name))
    link = answer.headers["hx-replace-url"].partition("?")[2]
    assert kept(client.get(f"thresholds?{link}").text) == kept(answer.text)


@pytest.mark.parametrize("moves", MOVES[1:])
def test_a_saved_recipe_decides_the_same(
    dataset: Dataset, client: TestClient, moves: dict[str, list[str]], tmp_path: Path
) -> None:
    answer = client.get("thresholds/moved", params={**form(client), **moves})
    link = answer.headers["hx-replace-url"].partition("?")[2]
    saved = client.get(f"thresholds/recipe.yaml?{link}")
    assert "attachment" in saved.headers["content-disposition"]
    assert "paper" not in saved.text  # of which the recipe says nothing
    assert "source: chosen" in saved.text or all(name == "on" for name in moves)
    file = tmp_path / "saved.yaml"
    file.write_bytes(saved.content)
    decided = CliRunner().invoke(main, ["filter", dataset.store.url, "--recipe", str(file), "--as", "saved"])
    assert decided.exit_code == 0, decided.output
    assert kept(answer.text) == outcomes(audit(Dataset(dataset.store), "saved"))


def test_a_slider_moves_its_field_and_a_field_its_slider(client: TestClient) -> None:
    fields = form(client)
    answer = client.get("thresholds/moved", params={**fields, "slider.shared.le.0": ["0"]})
    (stop,) = re.findall(r'name="field.shared.le.0" value="([\d.]+)"', answer.text)
    assert stop != "9"
    assert f"set=shared.le%3D{stop}" in answer.headers["hx-replace-url"]
    # Typed again, while the slider is still where it was: the field counts, and the slider follows.
    address = {"hx-current-url": f"http://{SITE}{answer.headers['hx-replace-url']}"}
    typed = {**fields, "field.shared.le.0": ["9"], "slider.shared.le.0": ["0"]}
    answer = client.get("thresholds/moved", params=typed, headers=address)
    assert "set=" not in answer.headers["hx-replace-url"]
    (place,) = re.findall(r'name="slider.shared.le.0" min="0" max="\d+" value="(\d+)"', answer.text)
    assert place == fields["slider.shared.le.0"][0] != "0"


def test_a_class_of_its_own_is_a_field_from_then_on_until_it_is_emptied(client: TestClient) -> None:
    fields = form(client)
    assert "field.chars.ge.Cyrillic.0" not in fields
    answer = client.get("thresholds/moved", params={**fields, **MORE_CLASSES})
    link = answer.headers["hx-replace-url"].partition("?")[2]
    assert parse_qs(link) == {"recipe": ["small"], "set": ["chars.ge.Cyrillic=1"]}
    assert 'name="field.chars.ge.Cyrillic.0" value="1"' in answer.text  # the rule's fields are sent anew
    fields = form(client, parse_qsl(link))
    assert fields["field.chars.ge.Cyrillic.0"] == ["1"]
    address = {"hx-current-url": f"http://{SITE}{answer.headers['hx-replace-url']}"}

    def sets(words: dict[str, list[str]]) -> list[str]:
        moved = client.get("thresholds/moved", params=fields | words, headers=address)
        return parse_qs(moved.headers["hx-replace-url"].partition("?")[2]).get("set", [])

    assert sets({}) == ["chars.ge.Cyrillic=1"]  # another touch leaves it
    assert sets({"field.chars.ge.Cyrillic.0": ["3"]}) == ["chars.ge.Cyrillic=3"]
    assert sets({"field.chars.ge.Cyrillic.0": [""]}) == []
    more = {"class.chars.ge": ["Han"], "value.chars.ge": ["7"]}
    assert sets(more) == ["chars.ge.Cyrillic=1", "chars.ge.Han=7"]
    assert sets({**more, "value.chars.ge": [""]}) == ["chars.ge.Cyrillic=1"]
    assert sets({"on": ["n_words"]}) == []  # the rule is taken out, and with it what is set of it


def test_each_class_has_a_histogram_of_its_own_pairs(dataset: Dataset, client: TestClient) -> None:
    scripts = Counter(align_data.open(dataset.store.url).verdicts("small").collect()["script"])
    text = client.get("thresholds/charts", params=[("recipe", "small"), ("set", "chars.ge.Han=1")]).text
    figures = dict(re.findall(r'<figure class="histogram" id="chart-chars\.ge\.(\w+)">(.*?)</figure>', text, re.DOTALL))
    assert set(figures) == {"Latin", "Han", "else"}
    counted = {name: sum(map(int, re.findall(r"</th><td[^>]*>(\d+)<", figure))) for name, figure in figures.items()}
    others = sum(scripts.values()) - scripts["Latin"] - scripts["Han"] - scripts[None]
    assert counted == {"Latin": scripts["Latin"], "Han": scripts["Han"], "else": others}
    assert scripts["Han"] > 0
    plain = client.get("thresholds/charts", params=[("recipe", "small")]).text
    assert "chart-chars.ge.Han" not in plain


@pytest.mark.parametrize("words", [("Latin", "3"), ("Han", "x"), ("Han", "1,2"), ("a=b", "1"), ("Han", "<script>")])
def test_a_class_that_cannot_be_is_a_sentence(client: TestClient, words: tuple[str, str]) -> None:
    name, value = words
    params = {**form(client), "class.chars.ge": [name], "value.chars.ge": [value]}
    answer = client.get("thresholds/moved", params=params, headers={"hx-request": "true"})
    assert answer.status_code == 400
    assert "chars.ge" in answer.text
    assert "<script>" not in answer.text


def test_an_operator_that_an_address_asks_for_stays_when_something_else_is_touched(client: TestClient) -> None:
    words = [("recipe", "small"), ("set", "chars.ge=7"), ("set", "n_words.ge=3")]
    fields = form(client, words)
    address = {"hx-current-url": f"http://{SITE}/thresholds?{urlencode(words)}"}
    answer = client.get("thresholds/moved", params=fields | {"field.shared.le.0": ["4"]}, headers=address)
    link = parse_qs(answer.headers["hx-replace-url"].partition("?")[2])
    assert sorted(link["set"]) == ["chars.ge=7", "n_words.ge=3", "shared.le=4"]


def test_what_was_chosen_has_a_star(client: TestClient) -> None:
    def starred(words: Sequence[tuple[str, str]]) -> list[str]:
        asked = re.findall(
            r'id="numbers-(\d)"[^>]*>asks for [^:]*?( \*)?: drops', client.get("thresholds", params=list(words)).text
        )
        assert len(asked) == 5
        return [number for number, star in asked if star]

    assert starred([]) == []
    assert starred([("recipe", "small"), ("set", "shared.le=4"), ("set", "chars.ge.Latin=4")]) == ["1", "3"]


def test_a_truth_is_chosen_from_both(job: Callable[..., Built]) -> None:
    recipe = "name: small\nrules: [{signal: file_name, eq: false, source: ours}]"
    built = job(
        [{"url": f"http://h/{n}", "alt_text": ["a dog", "IMG_1.jpg", ""][n % 3]} for n in range(30)], recipe=recipe
    )
    client = client_of(opened(built.dataset))
    text = client.get("thresholds").text
    (choices,) = re.findall(r'<select name="field.file_name.eq.0">(.*?)</select>', text)
    assert choices == "<option>true</option><option selected>false</option>"
    before = kept(text)
    words = {"recipe": "small", "on": "file_name", "field.file_name.eq.0": "true"}
    assert kept(client.get("thresholds/moved", params=words).text) == (before[2], before[1], before[0])


def test_a_place_that_no_slider_has_moves_nothing(client: TestClient) -> None:
    for place in ("9" * 5_000, "99999", "-1", "x", ""):
        answer = client.get("thresholds/moved", params={**form(client), "slider.shared.le.0": [place]})
        assert answer.status_code == 200
        assert "set=" not in answer.headers["hx-replace-url"]


def test_a_recipe_without_rules_is_not_saved(client: TestClient) -> None:
    off = [("recipe", "small"), *(("without", name) for name in ("n_words", "shared", "either", "chars", "longest"))]
    answer = client.get("thresholds/recipe.yaml", params=off)
    assert answer.status_code == 400
    assert "at least one" in answer.text


@pytest.mark.parametrize("value", ["x", "", "1,2", "nan", "1e999", "<script>", "9" * 400])
def test_a_value_that_cannot_be_is_a_sentence(client: TestClient, value: str) -> None:
    answer = client.get(
        "thresholds/moved", params={**form(client), "field.shared.le.0": [value]}, headers={"hx-request": "true"}
    )
    assert answer.status_code in (200, 400)
    assert (answer.status_code == 200) == (value == "")
    assert "<script>" not in answer.text


def test_deciding_writes_a_ledger_and_never_over_another(dataset: Dataset, client: TestClient) -> None:
    before = dataset.ledgers()
    words = [("recipe", "small"), ("set", "n_words.ge=3"), ("without", "shared")]
    page = client.get("thresholds", params=words).text
    shown = kept(page)
    assert 'name="name" required maxlength="200" pattern="[A-Za-z0-9._\\-]+" value="small-2"' in page
    assert client.post("thresholds/decide", data={}, headers={}).status_code == 403  # no page of ours sent it
    refused = client.post("thresholds/decide", data=dict(words) | {"name": "small"}, headers=OWN)
    assert refused.status_code == 400
    assert "decided otherwise" in refused.text
    long = client.post("thresholds/decide", data=dict(words) | {"name": "a" * 300}, headers=OWN)
    assert long.status_code == 400
    assert "300 characters long" in long.text
    assert client.post("thresholds/decide", data=dict(words) | {"name": "../x"}, headers=OWN).status_code == 400
    assert dataset.ledgers() == before
    answer = client.post("thresholds/decide", data=dict(words) | {"name": "new"}, headers=OWN, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"].endswith("#written")
    assert (
        outcomes(audit(Dataset(dataset.store), "new"))
        == shown
        == kept(client.get(f"http://{SITE}{answer.headers['location']}").text)
    )
    decided = client.post(
        "thresholds/decide", data=dict(words) | {"name": "small-2"}, headers=OWN, follow_redirects=False
    )
    assert decided.status_code == 303
    page = client.get("thresholds", params=words).text  # where a name is taken, both it and the command say the next
    assert 'value="small-3"' in page
    assert command_of(page)[-1] == "small-3"
    again = client.post("thresholds/decide", data=dict(words) | {"name": "new"}, headers=OWN, follow_redirects=False)
    assert again.status_code == 303  # the same again is no other
    with dataset.store.lock():
        locked = client.post("thresholds/decide", data=dict(words) | {"name": "third"}, headers=OWN)
    assert locked.status_code == 400
    assert "another align-data process" in locked.text


def test_in_a_browser_two_sliders_move_and_two_people_look(dataset: Dataset, explorer: Explorer) -> None:
    with explored(explorer) as link, browser() as chromium:
        page, other = chromium.new_page(), chromium.new_page()
        problems = watched(page)
        other.goto(f"{link}thresholds", wait_until="networkidle")
        page.goto(f"{link}thresholds", wait_until="networkidle")
        assert page.locator("figure.histogram svg").count() >= 4
        for name in ("slider.n_words.between.0", "slider.shared.le.0"):
            slider = page.locator(f'input[name="{name}"]')
            slider.focus()
            with page.expect_response(lambda answer: "thresholds/moved" in answer.url):
                page.keyboard.press("Home")
            settled(page)
        page.uncheck('input[name="on"][value="either"]')
        page.wait_for_url(re.compile("without=either"))
        settled(page)
        page.focus('input[name="class.chars.ge"]')  # which offers the classes that there are
        page.wait_for_selector('datalist[id^="values-script"] option[value="Han"]', state="attached")
        page.fill('input[name="class.chars.ge"]', "Han")
        page.fill('input[name="value.chars.ge"]', "many")
        page.click("text=Give it a value of its own")
        page.wait_for_selector("#summary >> text=takes a number, not 'many'")
        problems.clear()  # the browser says of itself that an answer was a refusal
        page.fill('input[name="value.chars.ge"]', "30")
        page.wait_for_timeout(300)
        assert "Han" not in page.url  # half of what is typed is not yet a value
        page.click("text=Give it a value of its own")
        page.wait_for_url(re.compile("chars.ge.Han%3D30"))
        settled(page)
        assert page.input_value('input[name="field.chars.ge.Han.0"]') == "30"
        page.wait_for_selector('figure[id="chart-chars.ge.Han"] svg')
        shown = kept(page.content())
        words = shlex.split(page.input_value("#command"))
        assert {"--set", "--without"} <= set(words)
        page.fill('form[action$="decide"] input[name="name"]', "by-browser")
        page.click("text=Decide")
        page.wait_for_url(re.compile("recipe=by-browser"))
        assert page.is_visible("text=The ledger by-browser is written")
        assert outcomes(audit(Dataset(dataset.store), "by-browser")) == shown
        other.reload(wait_until="networkidle")
        assert kept(other.content()) == outcomes(audit(dataset, "small"))
        assert problems == []
