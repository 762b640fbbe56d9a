"""What a newcomer types at audit, sweep and diff, and what their datasets have lost: an answer or a sentence."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import audit_oracle as plain
import pytest
from click.testing import CliRunner, Result
from conftest import Built, build, write_list
from test_audit_survey import (
    MEASURED,
    ask,
    check_lists,
    decide,
    engine_of,
    pool,
    recipe_of,
    row,
    take_down,
    tries,
    world,
)
from test_shards import fetched, jpeg

from align_data.cli import main
from align_data.common.progress import Silent
from align_data.report import audit_html
from align_data.stages.audit import diff
from align_data.stages.audit.image_outcomes import PartStatuses, fetch_outcomes
from align_data.stages.measure import measure

RULES = [
    {"signal": "host", "in": ["h0.example", "[::1]", "no"]},
    {"signal": "n_words", "between": [1, 3]},
    {"signal": "rarest_ngram", "top_k": 4},
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A dataset with a host that YAML would read as a list, and one that it would read as false."""
    folder = tmp_path_factory.mktemp("edges")
    rows = [*pool(60), row("http://[::1]/x", "a b"), row("http://no/x", "a b"), row("http://no/y", "a c")]
    found = build(folder / "dataset", write_list(folder / "lists", rows))
    measure(found.dataset, engine_of(found.dataset), Silent(), MEASURED)
    decide(found.dataset, recipe_of("some", RULES), ["r0", "r2"])
    decide(found.dataset, recipe_of("all", RULES))
    return found


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def test_diff_prints_what_becomes_of_pairs_in_both(built: Built) -> None:
    root = built.dataset.store.root
    done = call("diff", root, "some", "every")
    wanted = plain.diff(world(built.dataset, "some").rows, world(built.dataset, "every").rows)["outcomes"]
    lines = [line.strip("│ ").split("│") for line in done.stdout.splitlines() if line.startswith("│")]
    table = {cells[0].strip(): [int(cell) for cell in cells[1:]] for cells in lines if len(cells) == 4}
    assert [table[name] for name in ("kept", "pending", "dropped")] == wanted
    assert sum(map(sum, wanted)) == len(world(built.dataset, "some").rows)
    assert wanted[0][1] > 0  # pending in one of them: nothing else that is printed says so


def test_a_text_is_swept_as_it_is_written(built: Built) -> None:
    values = ["[::1]", "no", "h1.example", "[red]x[/]"]
    arguments = [
        "sweep",
        built.dataset.store.root,
        "--recipe",
        "some",
        "--signal",
        "host",
        "--values",
        ",".join(values),
    ]
    done = call(*arguments, "--json")
    there = world(built.dataset, "some")
    wanted = [plain.at(there.rows, 0, "host", plain.passes("eq", value)) for value in values]
    assert [(one["kept"], one["pending"]) for one in json.loads(done.stdout)["values"]] == wanted
    assert [kept for kept, _ in wanted][:2] == [1, 2]
    assert "[red]x[/]" in call(*arguments).stdout


@pytest.mark.parametrize("value", ["nan", "-inf", "1e400", "9" * 400, "3:5", "3..5", "0x10", "null", "'3'", "yes"])
def test_what_is_no_number_is_not_swept(built: Built, value: str) -> None:
    done = call("sweep", built.dataset.store.root, "--recipe", "some", "--signal", "n_words", "--values", value)
    assert done.exit_code == 1
    assert done.stderr == f"Error: --values {value}: n_words is words, and this is not a number\n"


def test_numbers_may_be_written_in_any_way(built: Built) -> None:
    values = "1e3,3.0,-1,1e300,-1e300"
    done = call(
        "sweep", built.dataset.store.root, "--recipe", "some", "--signal", "n_words", "--values", values, "--json"
    )
    there = world(built.dataset, "some")
    for one in json.loads(done.stdout)["values"]:
        test = plain.moved_test("between", [1, 3], "le", one["value"])
        assert (one["kept"], one["pending"]) == plain.at(there.rows, 1, "n_words", test)


def test_sizes_of_a_vocabulary_that_has_nothing(job: Callable[..., Built]) -> None:
    """No text has a word: there are no n-grams, and every size keeps what has none."""
    recipe = recipe_of("top", [{"signal": "rarest_ngram", "top_k": 5}])
    for off in ((), ("r0",)):
        dataset, there = tries(job, [row(f"http://a/{i}", "") for i in range(3)], recipe, off)
        root = dataset.store.root
        done = call("sweep", root, "--recipe", "top", "--signal", "rarest_ngram", "--values", "1,43", "--json")
        assert [(one["value"], one["kept"]) for one in json.loads(done.stdout)["values"]] == [(1, 3), (43, 3)]
        assert len(there.rows) == 3


@pytest.mark.parametrize("command", [["audit", "{}", "--recipe", "some"], ["diff", "{}", "some", "all"]])
def test_a_page_that_cannot_be_written_is_said_before_anything_is_counted(
    built: Built, tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "file").touch()
    arguments = [part.format(built.dataset.store.root) for part in command]
    for place in (str(tmp_path / "no" / "a.html"), str(tmp_path / "file" / "a.html"), ""):
        done = call(*arguments, "--html", place)
        assert done.exit_code == 1
        assert done.stderr.startswith("Error: cannot write ")
        assert done.stderr.count("\n") == 1  # no line of progress
    assert call(*arguments, "--html", str(tmp_path)).exit_code == 2
    assert not list(tmp_path.glob("*.html"))


@pytest.mark.parametrize("command", [["audit", "{}", "--recipe", "some"], ["diff", "{}", "some", "all"]])
def test_a_page_without_samples(built: Built, tmp_path: Path, command: list[str]) -> None:
    arguments = [part.format(built.dataset.store.root) for part in command]
    for samples in (1, 0):
        done = call(*arguments, "--html", str(tmp_path / "a.html"), "--samples", str(samples))
        assert done.exit_code == 0
        content = (tmp_path / "a.html").read_text(encoding="utf-8")
        assert (content.count('class="card"') > 0) == (samples > 0)


def test_images_whose_tars_are_gone_have_no_picture(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"url": f"http://h/{n}.jpg", "alt_text": f"text number {n}"} for n in range(3)]
    images = {one["url"]: jpeg(n, 100, 100) for n, one in enumerate(rows)}
    dataset = fetched(tmp_path / "dataset", rows, images)
    decide(dataset, recipe_of("some", [{"signal": "width", "ge": 200}]))
    found = ask(dataset, "some")
    assert "data:image/jpeg" in audit_html(found, dataset, Silent())
    tars = list(Path(dataset.store.root).glob("bytes/**/*.tar"))
    for tar in tars:
        tar.write_bytes(tar.read_bytes()[:100])
    assert "data:image/jpeg" not in audit_html(found, dataset, Silent())
    for tar in tars:
        tar.unlink()
    assert "data:image/jpeg" not in audit_html(found, dataset, Silent())


def test_lists_where_some_was_taken_down_before_it_was_counted(job: Callable[..., Built], tmp_path: Path) -> None:
    """The rows of an image are then no run of one count: each is listed once, with the pairs that are left."""
    rows = [row(f"http://a/{i}", f"text {j}") for i in range(12) for j in range(2 + i % 4)]
    recipe = recipe_of("down", [{"signal": "n_words", "ge": 1}])
    dataset = job(rows, recipe=recipe_of("none", [{"signal": "nsfw", "lt": 1}])).dataset
    decide(dataset, recipe)
    before = world(dataset, "down")
    take_down(dataset, tmp_path, uids=[one["uid"] for one in before.rows[1::3]])
    measure(dataset, engine_of(dataset), Silent(), MEASURED)
    decide(dataset, recipe)
    there = world(dataset, "down", before.counts)
    left = Counter(one["url"] for one in there.living)
    found = ask(dataset, "down")
    assert {one.value: one.pairs for one in found.lists.images} == {url: n for url, n in left.items() if n > 1}
    assert len(found.lists.images) == len({one.value for one in found.lists.images})
    texts = Counter(one["alt_text"] for one in there.living)
    assert {one.value: one.pairs for one in found.lists.texts} == {text: n for text, n in texts.items() if n > 1}


def test_lists_are_the_oracles_where_much_is_shared_alike(job: Callable[..., Built]) -> None:
    """More texts of each count than are listed, in several parts."""
    rows = [row(f"http://a/{i}-{j}", f"text {i}") for i in range(120) for j in range(1 + i % 3)]
    dataset, there = tries(job, rows, recipe_of("some", RULES))
    check_lists(ask(dataset, "some"), there)
    same = diff(dataset, "some", "some", engine_of(dataset), Silent())
    assert same.outcomes == plain.diff(there.rows, there.rows)["outcomes"]


def test_a_text_without_words_has_no_rarest_ngram_and_is_shown_so(job: Callable[..., Built]) -> None:
    rules = [{"signal": "rarest_ngram", "le": 3}]
    dataset, _ = tries(
        job, [row("http://a/1", "..."), row("http://a/2", "a b"), row("http://a/3", "a b")], recipe_of("few", rules)
    )
    root = dataset.store.root
    asked = ["--recipe", "few", "--signal", "rarest_ngram", "--values", f"3,{2**63 - 1}", "--moved", "5", "--json"]
    (moved,) = json.loads(call("sweep", root, *asked).stdout)["moved"]
    assert (moved["alt_text"], moved["value"], moved["before"], moved["after"]) == ("...", "none", "dropped", "kept")
    shown = json.loads(call("audit", root, "--recipe", "few", "--examples", "3", "--json").stdout)["examples"]["r0"]
    assert [one["value"] for one in shown] == ["none"]


def test_an_end_of_what_is_no_range_is_said_to_mean_nothing(built: Built) -> None:
    asked = ["sweep", built.dataset.store.root, "--recipe", "all", "--end", "lower"]
    assert "has no range, so --end lower has no effect" in call(*asked, "--signal", "rarest_ngram").stderr
    assert "the lower end of r1 was varied" in call(*asked, "--signal", "n_words", "--values", "1,2").stderr


def test_reasons_as_frequent_as_each_other_are_in_one_order() -> None:
    """Counting gives them in any order, and the page of one dataset is always the same."""
    reasons = [("timeout", 2), ("http_404", 2), ("dns", 3)]
    told = [PartStatuses({"ok": 1}, {"a": Counter(dict(some))}) for some in (reasons, reasons[::-1])]
    first, second = (fetch_outcomes([one]).hosts[0].reasons for one in told)
    assert list(first) == list(second) == ["dns", "http_404", "timeout"]
