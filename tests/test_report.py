"""The audit page: nothing in it runs that the data says, nothing is fetched, and every kind of dataset makes one."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl
import pytest
from click.testing import CliRunner
from conftest import EVERY_RULE, HOSTILE, Built, build, read, write_list
from drawn_charts import recorded
from PIL import Image
from test_shards import fetched, jpeg

import align_data
from align_data.cli import main
from align_data.common.errors import DatasetError, RecipeError
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.engines.local import LocalEngine
from align_data.recipes.plan import Plan
from align_data.recipes.reading import parse
from align_data.report import audit_html, diff_html, vega_lite
from align_data.report import page as report_module
from align_data.report.thumbnails import SamplePictures, pictures
from align_data.stages.audit import Survey, SweepRequest, diff, survey, sweep
from align_data.stages.audit.sampling import SampledPair
from align_data.stages.pipeline import Decision, decide_ledger

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ATTACKS = (
    "</script><script>window.hacked = 1</script> one two",
    "<img src=x onerror='window.hacked = 2'> one two",
    '"><svg onload="window.hacked = 3"> one two',
    "</bdi></div><iframe srcdoc='<script>parent.hacked=4</script>'> a b",
    "{{ 7 * 7 }}{% raw %} javascript:window.hacked=5 <!-- <script> one two",
    "\u202egnp.exe\u202c <style>body{display:none}</style> right to left \u0639\u0631\u0628\u064a",
    "${window.hacked = 6} &lt;script&gt; \u2028\u2029 a b c",
)


def rows(number: int = 60) -> list[dict[str, Any]]:
    texts = [*ATTACKS, "漢字 かな ไทย", "", "alone", "two words here now", HOSTILE[:40]]
    return [
        {
            "url": f"http://<script>window.hacked=7</script>{n % 9}.example/{n % 40}'\"><b>.jpg",
            "alt_text": texts[n % len(texts)],
            "declared_width": [None, 100, 300][n % 3],
            "declared_height": 250 if n % 3 else None,
        }
        for n in range(number)
    ]


def page(built: Built, ledger: str = "every", **options: Any) -> str:
    engine = LocalEngine(Path(built.dataset.store.root) / "_w", 2)
    return audit_html(survey(built.dataset, ledger, engine, Silent(), **options), built.dataset, Silent())


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Built, str, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("hostile")
    recipe = EVERY_RULE.replace("name: every", 'name: every\ntitle: "<script>window.hacked = 8</script>"')
    built = build(folder / "dataset", write_list(folder / "lists", rows()), recipe)
    with recorded() as drawn:
        return built, page(built), drawn


def test_what_the_data_says_is_text_and_nothing_else(hostile: tuple[Built, str, list[dict[str, Any]]]) -> None:
    _, content, _ = hostile
    for attack in ("<script>window.hacked", "<img src=x", "<svg onload", "<iframe", "<style>body{display"):
        assert attack not in content
    assert "{{ 7 * 7 }}" in content
    assert "<script" not in content
    assert html.escape("<img src=x onerror='window.hacked = 2'>", quote=False)[:15] in content


def test_the_page_asks_no_network_and_allows_no_script(hostile: tuple[Built, str, list[dict[str, Any]]]) -> None:
    _, content, _ = hostile
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', content)
    policy = html.unescape(policy)
    assert "default-src 'none'" in policy
    assert "script-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", content)
    assert len(content) < 1_500_000


def test_names_in_our_texts_are_set_as_code_and_nothing_else_is_markup() -> None:
    code = report_module.environment().filters["code"]
    assert code("`top_k` of <b> and `<i>`, one ` alone") == (
        "<code>top_k</code> of &lt;b&gt; and <code>&lt;i&gt;</code>, one ` alone"
    )


def test_every_chart_is_valid_vega_lite(hostile: tuple[Built, str, list[dict[str, Any]]]) -> None:
    assert len(hostile[2]) > 10
    for spec in hostile[2]:
        alt.Chart.from_dict(spec, validate=True)


def test_the_charts_name_the_schema_that_they_are_checked_against() -> None:
    assert vega_lite.SCHEMA == alt.SCHEMA_URL


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here to look at the page with")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright, of the extra test, is not installed")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield opened
        opened.close()


def look(browser: Any, path: Path) -> tuple[Any, list[str], list[str]]:
    """Open a page; return it, what its console says and what it asks of the network."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    said: list[str] = []
    asked: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(path.as_uri())
    return tab, said, asked


def test_in_a_browser_no_planted_script_runs_and_all_charts_are_drawn(
    hostile: tuple[Built, str], browser: Any, tmp_path: Path
) -> None:
    (tmp_path / "page.html").write_text(hostile[1], encoding="utf-8")
    tab, said, asked = look(browser, tmp_path / "page.html")
    assert tab.evaluate("typeof window.hacked") == "undefined"
    assert said == []
    assert [url for url in asked if not url.startswith(("data:", "file:"))] == []
    assert tab.locator("text=<img src=x").count() > 0
    assert tab.evaluate("document.documentElement.scrollWidth") <= 1280
    assert tab.locator("#sweeps ~ .charts .chart svg[role=img]").count() > 4
    assert all(of.evaluate("of => of.getBoundingClientRect().height > 50") for of in tab.locator(".chart > svg").all())
    tab.emulate_media(media="print")
    assert len(tab.pdf()) > 20_000
    tab.close()


def test_the_policy_holds_where_the_escaping_does_not(browser: Any, tmp_path: Path) -> None:
    folder = tmp_path / "lists"
    content = page(build(tmp_path / "dataset", write_list(folder, rows(20))))
    broken = content.replace(
        '<h2 id="verdict">', "<script>window.hacked=9</script><img src=x onerror='window.hacked=9'><h2>"
    )
    (tmp_path / "page.html").write_text(broken, encoding="utf-8")
    tab, _, _ = look(browser, tmp_path / "page.html")
    assert tab.evaluate("typeof window.hacked") == "undefined"
    tab.close()


ONE = "name: every\nrules:\n  - {signal: n_words, ge: 1}\n"
ALL = "name: every\nrules:\n  - {signal: n_words, ge: 100000}\n"
PENDING = "name: every\nrules:\n  - {signal: nsfw, lt: 0.5}\n"
MANY = "name: every\nrules:\n" + "".join(f"  - {{signal: n_chars, ge: {n}, name: rule{n}}}\n" for n in range(63))


def test_a_diff_is_blurred_from_the_lower_threshold_of_its_ledgers_on(monkeypatch: pytest.MonkeyPatch) -> None:
    values_of_page: dict[str, Any] = {}
    monkeypatch.setattr(report_module, "_render", lambda _, **values: values_of_page.update(values))
    plans = [Plan.unresolved(parse(PENDING.replace("0.5", str(limit)), "r.yaml")) for limit in (0.7, 0.2)]
    for of in (plans, plans[::-1]):
        report_module.diff_page(None, SamplePictures(), of)  # type: ignore[arg-type]  # which nothing asks
        assert values_of_page["blur"] == 0.2


@pytest.mark.parametrize(
    ("number", "recipe"),
    [(0, EVERY_RULE), (1, EVERY_RULE), (30, ONE), (30, ALL), (30, PENDING), (40, MANY), (0, MANY)],
    ids=["no pair", "one pair", "one rule", "all dropped", "all pending", "63 rules", "nothing, 63 rules"],
)
def test_every_dataset_makes_a_page(tmp_path: Path, number: int, recipe: str) -> None:
    built = build(tmp_path / "dataset", write_list(tmp_path / "lists", rows(number)), recipe)
    with recorded() as drawn:
        content = page(built)
    kept, pairs = built.audit.kept, built.audit.pairs
    assert (f"Of {pairs:,} pairs {kept:,} are kept" in content) == (pairs > 0)
    for spec in drawn[:6]:
        alt.Chart.from_dict(spec, validate=True)


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("pictured")
    rows = [{"url": f"http://h/{n}.jpg", "alt_text": f"text number {n}"} for n in range(40)]
    images = {row["url"]: jpeg(n, 40 + 10 * n, 200) for n, row in enumerate(rows)}
    images["http://h/3.jpg"] = b"\xff\xd8\xff\xe0 no image"
    dataset = fetched(folder / "dataset", rows, images, parts=15)
    recipe = parse("name: some\nrules:\n  - {signal: width, ge: 200}\n  - {signal: decodable, eq: true}\n", "r.yaml")
    decide_ledger(Decision(recipe), dataset, LocalEngine(folder / "w", 2), Silent())
    return dataset


def surveyed(dataset: Dataset, **options: Any) -> Survey:
    return survey(dataset, "some", LocalEngine(Path(dataset.store.root) / "_w", 2), Silent(), **options)


def test_thumbnails_are_small_pictures_of_the_samples(pictured: Dataset) -> None:
    found = surveyed(pictured)
    content = audit_html(found, pictured, Silent())
    shown = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', content)
    assert len(shown) > 8
    for one in shown:
        with Image.open(io.BytesIO(base64.b64decode(one))) as image:
            image.load()
            assert max(image.size) <= 144
    assert "data:image" not in audit_html(found, pictured, Silent(), pictures=False)


def test_a_picture_that_cannot_be_decoded_is_left_out_and_the_next_one_is_there(pictured: Dataset) -> None:
    urls = [f"http://h/{n}.jpg" for n in range(6)]
    parts = {
        url: part
        for part in range(len(pictured.ingested().parts))
        for p in pictured.pairs.pieces(part, ["url"])
        for url in p["url"]
    }
    samples = [SampledPair("u", url, "", {}, parts[url]) for url in urls]
    assert set(pictures(pictured, samples, Silent())) == set(urls) - {"http://h/3.jpg"}


def test_pictures_are_blurred_from_the_threshold_on() -> None:
    from align_data.report.page import environment  # noqa: PLC0415

    module = environment().get_template("macros.html.j2").module
    shown = {"http://a/1": "data:image/jpeg;base64,AA"}
    for score, blurred in ((0.49, False), (0.5, True), (None, False)):
        sample = SampledPair("u", "http://a/1", "text", {} if score is None else {"nsfw": score}, 0)
        assert ('class="hide"' in module.picture(sample, shown, 0.5)) == blurred  # type: ignore[attr-defined]


def test_the_same_survey_makes_the_same_page_and_the_seed_another_sample(tmp_path: Path) -> None:
    built = build(tmp_path / "dataset", write_list(tmp_path / "lists", rows()), ALL)
    first = page(built, samples=2)
    assert page(built, samples=2) == first
    assert page(built, samples=2, seed=1) != first


def test_diff_is_a_page_too(tmp_path: Path, browser: Any) -> None:
    built = build(tmp_path / "dataset", write_list(tmp_path / "lists", rows()), ONE)
    engine = LocalEngine(tmp_path / "w", 2)
    decide_ledger(Decision(parse(ONE, "r.yaml"), ["n_words.ge=3"], name="strict"), built.dataset, engine, Silent())
    found = diff(built.dataset, "every", "strict", engine, Silent())
    words = built.dataset.measured("text")
    number = sum(
        int((p["n_words"].is_between(1, 2)).sum())
        for n in range(len(built.dataset.ingested().parts))
        for p in words.pieces(n, ["n_words"])
    )
    assert found.only_a.pairs == number > 0
    assert found.only_b.pairs == 0
    assert [(by.rule, by.fail) for by in found.only_a.by] == [("n_words", number)]
    content = diff_html(found, built.dataset, Silent())
    assert "<script" not in content  # it has no charts
    assert [(rule.a, rule.b) for rule in found.rules] == [("at least 1", "at least 3")]
    assert "<td>at least 1</td><td>at least 3</td>" in content
    (tmp_path / "diff.html").write_text(content, encoding="utf-8")
    tab, said, _ = look(browser, tmp_path / "diff.html")
    assert said == []
    assert f"only every {number}" in tab.inner_text("body").replace("\n", " ")
    tab.close()


def test_diff_keeps_what_is_pending_apart(tmp_path: Path) -> None:
    """Pairs of one word are dropped by both, all others are pending in one."""
    built = build(tmp_path / "dataset", write_list(tmp_path / "lists", rows()), ONE)
    engine, dataset = LocalEngine(tmp_path / "w", 2), built.dataset
    waiting = "name: w\nrules:\n  - {signal: n_words, ge: 2}\n  - {signal: nsfw, lt: 0.5}\n"
    stricter = "name: s\nrules:\n  - {signal: n_words, ge: 3, name: words}\n"
    for name, recipe, off in (("w", waiting, []), ("off", waiting, ["nsfw"]), ("s", stricter, [])):
        decide_ledger(Decision(parse(recipe, "r.yaml"), off=off, name=name), dataset, engine, Silent())
    against = diff(dataset, "w", "off", engine, Silent())
    kept = against.only_b.pairs
    assert (against.both, against.only_a.pairs, against.undecided) == (0, 0, 0)
    assert kept == against.only_b.pending > 0
    assert against.both_drop == against.neither == against.pairs - kept
    assert [(rule.rule, rule.a, rule.b) for rule in against.rules] == [
        ("n_words", "at least 2", "at least 2"),
        ("nsfw", "less than 0.5", "taken out (less than 0.5)"),
    ]
    shown = re.sub(r"\s+", " ", diff_html(against, dataset, Silent()))
    assert f"only off {kept} (" in shown
    assert f"{kept} of them pending in w)" in shown
    against = diff(dataset, "w", "w", engine, Silent())
    assert (against.undecided, against.both_drop) == (kept, against.pairs - kept)
    assert f"the other {kept} (" in diff_html(against, dataset, Silent())
    done = CliRunner().invoke(main, ["diff", dataset.store.root, "w", "s"], catch_exceptions=False)
    assert re.search(r"words +│ no such rule +│ n_words at least 3", done.stdout)
    assert re.search(r"kept by neither, pending +\d+ .*; pending in one or both", done.stdout)


def test_the_commands(hostile: tuple[Built, str], pictured: Dataset, tmp_path: Path) -> None:
    dataset = hostile[0].dataset.store.root

    def call(*arguments: str) -> Any:
        return CliRunner().invoke(main, list(arguments), catch_exceptions=False)

    done = call("audit", dataset, "--recipe", "every", "--html", str(tmp_path / "a.html"), "--no-pictures")
    assert done.exit_code == 0
    assert "open it in a browser" in done.stderr
    assert (tmp_path / "a.html").stat().st_size > 100_000
    done = call("sweep", dataset, "--recipe", "every", "--signal", "images_per_text", "--values", "1,2,3", "--json")
    data = json.loads(done.stdout)
    assert list(data) == ["signal", "values"]
    assert [one["value"] for one in data["values"]] == [1, 2, 3]
    assert set(data["values"][0]) == {"value", "kept", "pending"}
    moving = ["--signal", "width", "--values", "100,300", "--moved", "3"]
    done = call("sweep", pictured.store.root, "--recipe", "some", *moving, "--json")
    assert [(one["before"], one["after"]) for one in json.loads(done.stdout)["moved"]] == [("kept", "dropped")] * 3
    assert call("audit", dataset, "--recipe", "every", "--html", str(tmp_path / "no" / "a.html")).exit_code == 1
    done = call("diff", dataset, "every", "every", "--json")
    assert json.loads(done.stdout)["only_a"]["pairs"] == 0


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (SweepRequest("bytes"), "no rule of every tests bytes"),
        (SweepRequest("n_words", ["three"]), "--values three: n_words is .*, and this is not a number"),
        (SweepRequest("n_words", rule="aspect"), "tests aspect, not n_words"),
        (SweepRequest("n_words", rule="nothing"), "has no rule nothing"),
    ],
)
def test_a_sweep_that_cannot_be_is_a_sentence(hostile: tuple[Built, str], asked: SweepRequest, said: str) -> None:
    dataset = hostile[0].dataset
    with pytest.raises(RecipeError, match=said):
        sweep(dataset, "every", asked, LocalEngine(Path(dataset.store.root) / "_w", 1), Silent())


def test_without_the_extra_there_is_a_sentence(hostile: tuple[Built, str], tmp_path: Path) -> None:
    code = "import sys; sys.modules['jinja2'] = None; from align_data.cli import main; main()"
    arguments = ["audit", hostile[0].dataset.store.root, "--recipe", "every", "--html", "a.html"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "pip install 'align-data[report]'" in done.stderr


def test_the_python_door(pictured: Dataset) -> None:
    opened = align_data.open(pictured.store.root)
    assert opened.ledgers() == ["some"]
    verdicts = opened.verdicts("some").collect()
    pairs = read(pictured, "pairs")
    assert verdicts["uid"].to_list() == pairs["uid"].to_list()
    stored = pairs.hstack(read(pictured, "verdicts/some"))
    kept = stored.filter((pl.col("failed") == 0) & (pl.col("unknown") == 0))["uid"].to_list()
    assert verdicts.filter(pl.col("outcome") == "kept")["uid"].to_list() == kept
    assert verdicts["fails_width"].to_list() == (pl.Series(verdicts["width"]) < 200).to_list()
    report = opened.audit("some")
    frame = report._repr_html_()
    assert report.survey.audit.kept == len(kept) > 0
    (inner,) = re.findall(r'srcdoc="([^"]*)"', frame)
    assert html.unescape(inner) == report.html
    with pytest.raises(DatasetError, match="is not a dataset"):
        align_data.open(Path(pictured.store.root) / "nothing")


def test_why_names_the_picture_and_others_with_the_text(
    pictured: Dataset, hostile: tuple[Built, str], tmp_path: Path
) -> None:
    from align_data.stages.why import why  # noqa: PLC0415

    (found,) = why(pictured, "some", url="http://h/5.jpg")
    assert found.picture is not None
    with Path(found.picture["tar"]).open("rb") as tar:
        tar.seek(found.picture["offset"])
        assert tar.read(found.picture["size"]) == jpeg(5, 90, 200)
    dataset = hostile[0].dataset
    pairs = read(dataset, "pairs")
    for text, group in pairs.group_by("alt_text"):
        for one in why(dataset, "every", text=str(text[0]), limit=100, same_text=100):
            assert sorted(one.others) == sorted(set(group["url"].to_list()) - {one.url})


def test_a_text_of_megabytes_does_not_make_a_page_of_megabytes() -> None:
    page = pytest.importorskip("align_data.report.page")
    assert page._cut("x" * page.LONGEST) == "x" * page.LONGEST
    assert page._cut("x" * 10**6) == "x" * page.LONGEST + " [...] (1,000,000 characters)"
