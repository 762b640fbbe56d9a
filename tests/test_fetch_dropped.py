"""A sample of what a ledger drops is fetched to be looked at: of each rule some, and nothing else is touched by it."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from conftest import build, read, tree, write_list
from hostile_web import Web, serve
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fetch import LIMITS, POLICY, statuses

from align_data.cli import main
from align_data.common.progress import Silent
from align_data.data.dropped_images import dropped_images
from align_data.data.layout import Dataset
from align_data.data.ledger import open_ledger
from align_data.engines.local import LocalEngine
from align_data.recipes.reading import parse
from align_data.report import audit_html
from align_data.stages.audit import survey
from align_data.stages.export import Form, export
from align_data.stages.fetch import FetchReport, fetch
from align_data.stages.ingest import Parts
from align_data.stages.measure import measure
from align_data.stages.pipeline import Decision, decide_ledger
from align_data.storage.store import Store

RULES = {"n_words": 3, "n_chars": 20, "images_per_text": 2}
RECIPE = """
name: some
rules:
  - {signal: n_words, ge: 3}
  - {signal: n_chars, le: 20}
  - {signal: images_per_text, le: 2}
"""


def rows_of(web_url: Any, number: int) -> list[dict[str, Any]]:
    """Of each 20 pairs 10 are kept; 6 are too short, 3 too long, and 1 is both short and long."""
    texts = [
        *["cat sat {}"] * 10,
        *["c{}"] * 6,
        *["a cat sat on a mat here {}"] * 3,
        "a{}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ]
    rows = [{"url": web_url(f"/good/{n}"), "alt_text": texts[n % 20].format(n)} for n in range(number)]
    rows += [{"url": web_url(f"/good/same{n}"), "alt_text": "the very same"} for n in range(3)]
    # Its image is needed by another pair, so the sample has no need of it.
    return [*rows, {"url": web_url("/good/0"), "alt_text": "x"}]


def dataset_of(folder: Path, rows: list[dict[str, Any]], part: int = 100) -> Dataset:
    return build(folder / "dataset", write_list(folder / "lists", rows), RECIPE, parts=Parts(rows=part)).dataset


def failing(dataset: Dataset) -> dict[str, set[str]]:
    """URL → the rules that a pair with it fails; of those that no pair needs, by the specification alone."""
    pairs = read(dataset, "pairs")
    seen = pairs["alt_text"].value_counts()
    shared = dict(seen.iter_rows())
    rules: dict[str, set[str]] = defaultdict(set)
    needed = set()
    for url, text in pairs.select("url", "alt_text").iter_rows():
        values = {"n_words": len(text.split()), "n_chars": len(text), "images_per_text": shared[text]}
        fails = {rule for rule, value in values.items() if (value < 3 if rule == "n_words" else value > RULES[rule])}
        rules[url] |= fails
        if not fails:
            needed.add(url)
    return {url: fails for url, fails in rules.items() if url not in needed}


def take(dataset: Dataset, number: int | None, ledger: str | None = "some", chunk: int = 2048) -> FetchReport:
    engine = LocalEngine(dataset.store.work, 1)
    return fetch(dataset, ledger, POLICY, LIMITS, engine, Silent(), chunk, of_dropped=number)


def asked(web: Web) -> set[str]:
    urls = {web.url(each.target) for each in web.seen.asked}
    web.seen.forget()
    return urls


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return dataset_of(tmp_path_factory.mktemp("pool"), rows_of("http://a.example{}".format, 300), part=60)


@settings(max_examples=12)
@given(st.integers(1, 200))
def test_a_sample_is_of_dropped_images_alone_and_of_each_rule(pool: Dataset, number: int) -> None:
    dropped = failing(pool)
    sample = dropped_images(pool, open_ledger(pool, "some"), number, Silent())
    urls = [url for of_part in sample.urls.values() for url in of_part]
    assert len(urls) == len(set(urls)) == min(number, len(dropped))
    assert set(urls) <= set(dropped)
    assert sample.rules == {rule: sum(rule in dropped[url] for url in urls) for rule in RULES}
    available = {rule: sum(rule in fails for fails in dropped.values()) for rule in RULES}
    assert all(sample.rules[rule] >= min(available[rule], number // 3, 1) for rule in RULES)
    for part, of_part in sample.urls.items():
        assert of_part <= {url for piece in pool.pairs.pieces(part, ["url"]) for url in piece["url"]}
        assert part < sample.parts
    assert dropped_images(pool, open_ledger(pool, "some"), number, Silent()) == sample


def test_shares_are_even_where_every_rule_has_enough(pool: Dataset) -> None:
    """Of 60 for three rules each has 20, but for what one cannot give: three images have the very same text."""
    sample = dropped_images(pool, open_ledger(pool, "some"), 60, Silent())
    assert sample.rules["images_per_text"] == 3
    assert sample.rules["n_words"] >= 20
    assert sample.rules["n_chars"] >= 20
    few = dropped_images(pool, open_ledger(pool, "some"), 6, Silent())
    assert few.parts < len(pool.ingested().parts)


def test_what_is_fetched_is_the_sample_and_what_was_there_stays(tmp_path: Path) -> None:
    with serve() as web:
        dataset = dataset_of(tmp_path, [*rows_of(web.url, 80), {"url": web.url("/status/404"), "alt_text": "no"}])
        dropped = failing(dataset)
        take(dataset, None)
        needed = asked(web)
        assert not needed & set(dropped)
        out = {}
        measure(dataset, LocalEngine(dataset.store.work, 1), Silent(), ["decodable"])
        for name in ("before", "after"):
            engine = LocalEngine(dataset.store.work, 1)
            export(dataset, "some", Store(str(tmp_path / name)), Form(), engine, Silent())
            out[name] = {k: v for k, v in tree(tmp_path / name).items() if k.endswith(".tar")}
            ledger = tree(Path(dataset.store.root), "verdicts")
            if name == "before":
                kept = ledger
                report = take(dataset, 24)
                sampled = asked(web)
                assert len(sampled) == report.asked == 24
                assert sampled <= set(dropped)
                assert report.sampled == {rule: sum(rule in dropped[url] for url in sampled) for rule in RULES}
                images = statuses(read(dataset, "images"))
                assert {url for url, status in images.items() if status == "untried"} == set(dropped) - sampled
                assert report.statuses["untried"] == len(dropped) - 24
                measure(dataset, LocalEngine(dataset.store.work, 1), Silent(), ["decodable"])
        assert out["before"] == out["after"] != {}
        assert ledger == kept
        # Again nothing is asked for, of more only what is new; and the recipe's own fetch asks nobody.
        assert take(dataset, 24).asked == 0
        assert asked(web) == set()
        more = take(dataset, 30)
        assert more.asked == len(asked(web) - sampled) < 30
        assert take(dataset, None).asked == 0
        assert dataset.images.committed().meta.sampled > 0  # type: ignore[union-attr]
        rest = take(dataset, None, ledger=None)
        assert rest.statuses.get("untried", 0) == 0


def test_a_killed_sample_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve() as web:
        dataset = dataset_of(tmp_path, rows_of(web.url, 80), part=1000)
        whole = dropped_images(dataset, open_ledger(dataset, "some"), 24, Silent())
        monkeypatch.setattr("align_data.stages.fetch._fold", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            take(dataset, 24, chunk=16)
        first = asked(web)
        assert first == set().union(*whole.urls.values())
        monkeypatch.undo()
        take(dataset, 24, chunk=16)
        assert asked(web) == set()
        found = statuses(read(dataset, "images"))
        assert {url for url, status in found.items() if status == "ok"} == first
        assert dataset.images.committed().meta.sampled == 1  # type: ignore[union-attr]


def test_the_page_shows_pictures_of_dropped_pairs_or_says_how_to_get_them(tmp_path: Path) -> None:
    with serve() as web:
        dataset = dataset_of(tmp_path, rows_of(web.url, 80)[:-1])  # no image is of a kept and of a dropped pair
        engine = LocalEngine(dataset.store.work, 1)

        def page() -> str:
            return audit_html(survey(dataset, "some", engine, Silent()), dataset, Silent())

        heading = "dropped by this rule, at random of those with a picture"
        take(dataset, None)
        content = page()
        assert "--recipe some --of-dropped --sample 500</code>" in content
        assert heading not in content
        take(dataset, 24)
        content = page()
        assert "--of-dropped" not in content
        assert content.count(f"<h4>{heading}</h4>") == 3
        shown = survey(dataset, "some", engine, Silent()).pictured
        dropped = failing(dataset)
        ok = {url for url, status in statuses(read(dataset, "images")).items() if status == "ok"}
        assert shown.keys() == set(RULES)
        for rule, pairs in shown.items():
            assert len(pairs) >= 2
            assert len({pair.uid for pair in pairs}) == len(pairs)
            assert all(rule in dropped[pair.url] and pair.url in ok for pair in pairs)
        take(dataset, None)  # what was sampled is remembered by later runs
        assert survey(dataset, "some", engine, Silent()).pictured == shown


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["fetch", *arguments])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--of-dropped", "--recipe", "some"], "--of-dropped needs --sample IMAGES"),
        (["--sample", "5", "--recipe", "some"], "--sample needs --of-dropped"),
        (["--of-dropped", "--sample", "0"], "0 is not in the range"),
        (["--of-dropped", "--sample", "5", "--recipe", "some", "--drop-failing"], "would not store"),
        (["--of-dropped", "--sample", "5", "--recipe", "no"], "has no ledger no"),
    ],
)
def test_wrong_options_are_sentences(pool: Dataset, options: list[str], said: str) -> None:
    done = call(pool.store.root, *options)
    assert done.exit_code != 0
    assert said in done.stderr
    assert "unforeseen" not in done.stderr


def test_without_a_name_it_is_the_ledger_there_is(tmp_path: Path) -> None:
    with serve() as web:
        dataset = dataset_of(tmp_path, rows_of(web.url, 40))
        root, few = dataset.store.root, ["--sample", "6", "--of-dropped", "--allow-network", "127.0.0.0/8"]
        done = call(root, "--all", *few, "--json")
        assert done.exit_code == 0, done.stderr
        assert json.loads(done.stdout)["asked"] == 6
        assert asked(web) <= set(failing(dataset))
        engine = LocalEngine(dataset.store.work, 1)
        nothing = parse("name: all\nrules:\n  - {signal: n_words, ge: 0}\n", "all.yaml")
        decide_ledger(Decision(nothing), dataset, engine, Silent())
        assert "--of-dropped needs --recipe LEDGER, which drops them; there are: all, some" in call(root, *few).stderr
        done = call(root, *few, "--recipe", "all")
        assert done.exit_code == 0
        assert "no image is dropped" in done.stderr
        assert asked(web) == set()
