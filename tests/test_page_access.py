"""Pages for everybody: each is sound HTML with its headings, labels and figures, and axe finds nothing, in either scheme."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vl_convert", reason="needs the extra report")

from conftest import HOSTILE, read
from explorer_server import browser, explored, opened
from page_faults import faults
from test_report import ATTACKS
from test_shards import fetched, jpeg

from align_data.common.progress import Silent
from align_data.data.calibration import Calibration, CurvePoint, Quantiles
from align_data.data.labels import mark
from align_data.data.layout import Dataset
from align_data.engines.local import LocalEngine
from align_data.recipes.reading import parse
from align_data.report import (
    ablation_html,
    audit_html,
    calibration_html,
    comparison_html,
    diff_html,
    search_html,
    selected_html,
)
from align_data.report.page import stylesheet
from align_data.selection.scan import Selected, SelectedPair
from align_data.stages.audit import Survey, diff, survey
from align_data.stages.audit.near.values import KeepOne, NearGroup, NearImage, NearMethod, NearPair
from align_data.stages.calibrate import CalibrationReport
from align_data.stages.calibrate.report import DrawnImage, RandomPair
from align_data.stages.compare import ComparedSide, compare
from align_data.stages.measure import measure
from align_data.stages.pipeline import Decision, decide_ledger
from align_data.storage.store import Store
from align_data.train.ablate import Ablation
from align_data.train.ablate.leaks import Leaks
from align_data.train.ablate.results import RunOutcome, Setup
from align_data.train.search import Hit, Part, SearchResults

RECIPE = """
name: some
title: "<b>some</b> & others"
rules:
- {signal: n_words, between: [2, 8], source: chosen}
- {name: n_words-again, signal: n_words, ge: 1, source: "a source as long as a sentence, for it is one"}
- {signal: width, ge: 200, source: paper}
- {signal: decodable, eq: true, source: paper}
- name: either
  any: [{signal: n_chars, ge: 30}, {signal: height, ge: 150}]
  source: paper
"""
TEXTS = (*ATTACKS, *HOSTILE[:30], "x" * 10_000, "", "long words " * 60, "漢字 かな ไทย")
PAGES = (
    "audit",
    "empty audit",
    "diff",
    "selected",
    "ablation",
    "failed ablation",
    "search",
    "comparison",
    "calibration",
)


@dataclass
class Looked:
    """A dataset with hostile texts, pictures and two ledgers."""

    dataset: Dataset
    engine: LocalEngine

    def survey(self) -> Survey:
        """Return a survey that has all that a page can show: near-duplicates too, which are made up."""
        found = survey(self.dataset, "some", self.engine, Silent(), samples=2)
        images = [
            NearImage(one.part, one.url, one.uid, one.alt_text, 300, 200, 0.9 if n else None)
            for n, one in enumerate(pair for pairs in found.samples.values() for pair in pairs)
        ][:6]
        methods = [
            NearMethod(
                f"method {unit}",
                f"signal_{unit}",
                unit,
                3,
                40,
                [KeepOne(2, 5), KeepOne(3, 9)],
                [NearGroup(3, images[0], [(1, images[1]), (2, images[2])], [images[1].uid, images[2].uid])],
                [("equal", [NearPair(0, images[3], images[4])])],
                ["A note."],
            )
            for unit in ("bits", "cosine")
        ]
        return replace(found, near=methods)


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Looked:
    folder = tmp_path_factory.mktemp("looked")
    rows = [
        {"url": f"http://<b>{n % 4}</b>.example/{'long/' * (n % 30)}{n}.jpg", "alt_text": TEXTS[n % len(TEXTS)]}
        for n in range(90)
    ]
    images = {row["url"]: jpeg(n, 100 + 5 * n, 200) for n, row in enumerate(rows)}
    dataset = fetched(folder / "dataset", rows, images)
    engine = LocalEngine(folder / "work", 2)
    measure(dataset, engine, Silent(), ["script", "host"])
    for name, off in (("some", []), ("loose", ["width"])):
        decide_ledger(Decision(parse(RECIPE, "r.yaml"), off=off, name=name), dataset, engine, Silent())
    return Looked(dataset, engine)


def ablation(metric: str | None = "R@1") -> Ablation:
    """Return an ablation of five arms, by a metric, or one of which every run failed."""
    arms = {"none": 0.1, "recipe": 0.5, "fraction:0.5": 0.3, "fraction:0.5:none": 0.05, ATTACKS[0]: 0.11}
    setup = Setup(
        "data",
        "some",
        "shards",
        10,
        100,
        90,
        3,
        Leaks(0, 0, 0, 0, 4),
        3,
        {"size": "tiny", "samples": 100},
        {"torch": "2"},
    )
    runs = [
        RunOutcome(arm, seed, 50, {metric: value + seed * 0.01} if metric else {}, {}, None if metric else ATTACKS[1])
        for arm, value in arms.items()
        for seed in range(3)
    ]
    return Ablation(setup, list(arms), runs)


def calibration(dataset: Dataset) -> CalibrationReport:
    points = [
        CurvePoint(
            threshold=0.8 + n / 50,
            copies={"half_size": 1 - n / 20},
            false_pairs=9 - n,
            per_million=9 - n,
            low=0,
            high=11 - n,
        )
        for n in range(9)
    ]
    quantiles = {"half_size": Quantiles(least=0.8, at_1=0.85, at_10=0.9, median=0.95, copies=50)}
    known = Calibration(
        name="tiny", model="0" * 64, seed=0, images=50, compared=50, pairs=10**6, left_out=3, lone=False, phash_within=6, pool=90,
        allowed=4.0, threshold=points[7].threshold, kinds=quantiles, random_median=0.1, random_999=0.5, curve=points,
    )  # fmt: skip
    first, second = (DrawnImage(0, url, None) for url in read(dataset, "pairs")["url"][:2])
    return CalibrationReport(known, [RandomPair(0.81, first, second)], 0)


@pytest.fixture(scope="module")
def pages(looked: Looked, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    dataset, engine = looked.dataset, looked.engine
    empty = fetched(tmp_path_factory.mktemp("empty") / "dataset", [], {})
    decide_ledger(Decision(parse(RECIPE, "r.yaml")), empty, engine, Silent())
    found = looked.survey()
    pairs = [pair for sampled in found.samples.values() for pair in sampled]
    hits = tuple(Hit(0.9, f"{n:032x}", f"http://a.example/{n}", text, 1 + n % 3) for n, text in enumerate(TEXTS))
    query = (Part("image", "<b>.jpg", 1, jpeg(1, 80, 80)), Part("text", ATTACKS[0], -0.5))
    results = SearchResults(query, "images", hits, (jpeg(2, 90, 60),) * len(hits), 90, 90, {}, {})
    copied = shutil.copytree(dataset.store.root, tmp_path_factory.mktemp("copied") / "<b>")
    sides = [ComparedSide(each, None, "some") for each in (dataset, Dataset(Store(copied)))]
    chosen = [SelectedPair(pair.part, pair.uid, pair.url, pair.alt_text, "kept", (), (), pair.values) for pair in pairs]
    return {
        "audit": audit_html(found, dataset, Silent()),
        "empty audit": audit_html(survey(empty, "some", engine, Silent()), empty, Silent()),
        "diff": diff_html(diff(dataset, "some", "loose", engine, Silent()), dataset, Silent()),
        "selected": selected_html(Selected(99, chosen), found.plan, f"where={ATTACKS[0]}", dataset, Silent()),
        "ablation": ablation_html(ablation()),
        "failed ablation": ablation_html(ablation(None)),
        "search": search_html(results),
        "comparison": comparison_html(compare(sides[0], sides[1], engine, Silent())),
        "calibration": calibration_html(calibration(dataset), dataset, Silent()),
    }


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_sound_for_those_who_do_not_see_it(pages: dict[str, str], name: str) -> None:
    assert faults(pages[name]) == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_allows_its_own_style_and_no_other(pages: dict[str, str], name: str) -> None:
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', pages[name])
    digest = base64.b64encode(hashlib.sha256(stylesheet().encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}';" in html.unescape(policy)
    assert f"<style>{stylesheet()}</style>" in pages[name]


@pytest.mark.parametrize(
    ("sound", "broken", "said"),
    [
        ('<html lang="en">', "<html>", "the page has no language"),
        ('<main id="main"', "<main", "#main leads nowhere"),
        ('<h2 id="rules">', "<h2>", "#rules leads nowhere"),
        ('<h2 id="rules">', "<h2>", "no contents lead to What each asks for"),
        ('<h2 id="rules">', '<h2 id="outcomes">', "id outcomes is there 2 times"),
        ("<h1>", "<p>", "0 first headings, and the first is of level [2]"),
        ("</h1>", "</h1><h3>three</h3>", "h3 follows h1"),
        ("<h1>", "<h1></h1><h1>", "a heading says nothing"),
        ("</main>", "</main><main></main>", "2 main parts"),
        ("</main>", "<img src='data:,'></main>", "a picture without an alternative text"),
        ("</main>", "<p style='color: red'>red</p></main>", "p has a style of its own"),
        ("</main>", "</b></main>", "unexpected-end-tag {'name': 'b'}"),
        ('<th scope="col">rule</th>', "<th>rule</th>", "a table's heading is of no row and no column"),
        ('<th scope="col">rule</th>', '<th scope="col"></th>', "a table's heading says nothing"),
        ("</main>", "<table><tbody><tr><td>cell</table></main>", "a row of a table has no heading: cell"),
        ("</main>", "<table><tr><td>cell</table></main>", "a table that keys cannot scroll, in main None"),
        (
            'aria-label="Rules of both ledgers"',
            'aria-label="Outcomes in both ledgers"',
            "2 regions 'Outcomes in both ledgers'",
        ),
        ("</main>", "<div class='chart'></div></main>", "a chart without a caption"),
        ("</main>", "<figure><div class='chart'></div></figure></main>", "a chart without its figures"),
        ("</main>", "<div class='chart'></div></main>", "a chart that is not drawn, or whose drawing has no label"),
    ],
)
def test_what_is_wrong_with_a_page_is_found(pages: dict[str, str], sound: str, broken: str, said: str) -> None:
    assert sound in pages["diff"]
    assert said in faults(pages["diff"].replace(sound, broken, 1))


def test_a_picture_is_described_by_its_text_and_a_long_one_is_cut(pages: dict[str, str]) -> None:
    told = [html.unescape(alt) for alt in re.findall(r'<img src="data:image/[^"]*" alt="([^"]*)"', pages["search"])]
    told_of = [text.strip() for text in TEXTS]
    assert told == ["<b>.jpg", *(text[:119] + "…" if len(text) > 120 else text or "(no text)" for text in told_of)]


def test_a_text_of_any_length_is_whole_on_demand(pages: dict[str, str]) -> None:
    card = pages["search"].index("x" * 200 + "…</bdi></summary>")
    assert "x" * 5_000 + " [...]" in pages["search"][card:]


VIEWS = [(1280, "light"), (390, "dark")]
"""Width and scheme: what axe finds of colours depends on the one, what it finds of places on the other."""


@contextmanager
def examined() -> Iterator[Any]:
    """Open a browser's page, with what finds in it all that axe does, in both schemes, wide and narrow."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()

    def examine(tab: Any) -> list[str]:
        found: list[str] = []
        tab.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
        for width, scheme in VIEWS:
            tab.set_viewport_size({"width": width, "height": 800})
            tab.emulate_media(color_scheme=scheme)
            if (wide := tab.evaluate("document.documentElement.scrollWidth")) > width:
                found.append(f"{scheme}, {width}: {wide} pixels wide")
            for violation in axe.run(tab).response["violations"]:
                found += [f"{scheme}, {width}: {violation['id']} {node['html'][:200]}" for node in violation["nodes"]]
        return found

    with browser() as chromium:
        yield chromium.new_page(), examine


def draw(tab: Any, content: str, path: Path) -> list[str]:
    """Open a page; returns the list that takes what its console says."""
    path.write_text(content, encoding="utf-8")
    said: list[str] = []
    tab.on("console", lambda line: said.append(line.text))
    tab.goto(path.as_uri())
    return said


def test_axe_finds_nothing_in_the_pages(pages: dict[str, str], tmp_path: Path) -> None:
    with examined() as (tab, examine):
        for name, content in pages.items():
            assert draw(tab, content, tmp_path / "page.html") == [], name
            assert examine(tab) == [], name


def test_axe_finds_what_is_wrong() -> None:
    with examined() as (tab, examine):
        tab.goto("data:text/html,<title>t</title><img src='data:,'><p style='color: silver; background: white'>faint")
        assert {found.split()[2] for found in examine(tab)} >= {"image-alt", "color-contrast", "html-has-lang"}


def test_keys_lead_past_the_contents_and_paper_is_light_and_whole(pages: dict[str, str], tmp_path: Path) -> None:
    with browser() as chromium:
        tab = chromium.new_page(color_scheme="dark")
        draw(tab, pages["audit"], tmp_path / "page.html")
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.textContent") == "Skip to the content"
        tab.keyboard.press("Enter")
        assert tab.evaluate("document.activeElement.id") == "main"
        color, hidden = "getComputedStyle(document.body).backgroundColor", tab.locator("details.long > bdi").first
        assert tab.evaluate(color) == "rgb(20, 24, 29)"
        assert not hidden.is_visible()
        tab.emulate_media(media="print", color_scheme="dark")
        assert tab.evaluate(color) == "rgb(255, 255, 255)"
        assert hidden.bounding_box()["height"] > 0
        cut = "[...document.querySelectorAll('.alt, .url, td')].filter((of) => of.scrollHeight > of.clientHeight + 2 && getComputedStyle(of).overflowY == 'hidden').length"
        assert tab.evaluate(cut) == 0


def test_the_figures_of_a_chart_are_below_it(pages: dict[str, str], tmp_path: Path) -> None:
    with browser() as chromium:
        tab = chromium.new_page()
        assert draw(tab, pages["audit"], tmp_path / "page.html") == []
        table = tab.locator("#sweeps ~ .charts table").first
        assert not table.is_visible()
        tab.locator("#sweeps ~ .charts summary").first.press("Enter")
        assert table.is_visible()


def test_axe_finds_nothing_in_the_explorer(looked: Looked) -> None:
    pytest.importorskip("starlette", reason="needs the extra view")
    uids = read(looked.dataset, "pairs")["uid"]
    mark(looked.dataset, "mine", uids[:5], "keep")
    places = (
        "thresholds?recipe=some", "pairs?recipe=some&label=mine&outcome=dropped", f"pair/{uids[0]}?recipe=some", "groups?recipe=some",
        "compare?recipe=some&other=loose", "marks?recipe=some&label=mine", "pairs?recipe=none",
    )  # fmt: skip
    with explored(opened(looked.dataset)) as link, examined() as (tab, examine):
        for place in places:
            tab.goto(link + place, wait_until="networkidle")
            assert tab.locator("main h1").count() == 1, place
            assert examine(tab) == [], place
