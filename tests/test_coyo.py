"""COYO-700M's recipe: its edges, and where it parts from ALIGN's and DataComp's on the same pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import SCHEMA, Built, read
from test_shards import fetched, jpeg

from align_data.common.progress import Silent
from align_data.engines.local import LocalEngine
from align_data.recipes.reading import load
from align_data.signals import language_cld3
from align_data.stages.measure import measure
from align_data.stages.pipeline import Decision, decide_ledger

TEXT = "a dog sleeps on the warm stones"


def row(url: str, text: str = TEXT, width: int = 400, height: int = 400) -> dict[str, Any]:
    return dict.fromkeys(SCHEMA) | {"url": url, "alt_text": text, "declared_width": width, "declared_height": height}


def fails(job: Callable[..., Built], recipe: str, found: Sequence[dict[str, Any]]) -> dict[str, set[str]]:
    """Return for each URL the rules of a recipe that its pair fails."""
    built = job(found, recipe=load(recipe))
    masks = pl.concat([built.table("pairs"), built.table(f"verdicts/{recipe}")], how="horizontal")
    rules = [rule.name for rule in built.recipe.rules]
    return {
        url: {name for bit, name in enumerate(rules) if mask >> bit & 1}
        for url, mask in masks.select("url", "failed").iter_rows()
    }


@pytest.mark.parametrize(
    ("rule", "passing", "failing"),
    [
        ("n_words_whitespace", [3, 256], [2, 257]),
        ("n_chars", [6, 1000], [5, 1001]),
        ("rows_per_text", [1, 10], [11]),
        ("language_cld3", ["en"], ["de", "und"]),
        ("decodable", [True], [False]),
        ("bytes", [5000], [4999]),
        ("min_side", [200], [199]),
        ("aspect", [3.0], [3.0001]),
        ("nsfw", [0.5], [0.5001]),
        ("eval_distance", [1], [0]),
    ],
)
def test_exact_edges(rule: str, passing: list[Any], failing: list[Any]) -> None:
    recipe = load("coyo")
    test = recipe.rules[recipe.position(rule)]
    verdicts = pl.DataFrame({rule: [*passing, *failing]}).select(test.passes(pl.col(rule))).to_series().to_list()
    assert verdicts == [True] * len(passing) + [False] * len(failing)


SIZES = {
    # width, height: the rules that fail in COYO and DataComp (at least 200, at most 3), and in ALIGN (more, less)
    (199, 300): ({"min_side"}, {"min_side"}),
    (200, 300): (set(), {"min_side"}),
    (201, 300): (set(), set()),
    (300, 897): (set(), set()),  # 2.99
    (300, 900): (set(), {"aspect"}),  # 3
    (300, 903): ({"aspect"}, {"aspect"}),  # 3.01
    (200, 600): (set(), {"min_side", "aspect"}),
    (199, 600): ({"min_side", "aspect"}, {"min_side", "aspect"}),
}


@pytest.mark.parametrize(("recipe", "strict"), [("coyo", False), ("datacomp-basic", False), ("align", True)])
def test_a_pair_on_the_edge_of_a_size_is_kept_by_coyo_and_datacomp_and_dropped_by_align(
    job: Callable[..., Built], recipe: str, strict: bool
) -> None:
    lying = {f"http://a/{w}x{h}": (row(f"http://a/{w}x{h}", width=w, height=h), SIZES[w, h]) for w, h in SIZES}
    upright = {f"{url}/turned": (row(f"{url}/turned", width=r["declared_height"], height=r["declared_width"]), want) for url, (r, want) in lying.items()}  # fmt: skip
    planted = {**lying, **upright}
    found = fails(job, recipe, [one for one, _ in planted.values()])
    assert {url: rules & {"min_side", "aspect"} for url, rules in found.items()} == {
        url: want[strict] for url, (_, want) in planted.items()
    }


def test_a_text_in_eleven_rows_of_one_url_is_too_frequent_for_coyo_and_not_for_align(job: Callable[..., Built]) -> None:
    rows = [row("http://a/one", "eleven rows of one picture")] * 11
    rows += [row("http://a/ten", "ten rows of one picture")] * 10
    rows += [row(f"http://b/{i}", "eleven pictures in a row") for i in range(11)]
    rows += [row("http://c/twice", "two pictures in eleven rows")] * 2 + [row("http://c/more", "two pictures in eleven rows")] * 9  # fmt: skip
    everyone = {one["url"] for one in rows}

    coyo = fails(job, "coyo", rows)
    assert {url for url, rules in coyo.items() if "rows_per_text" in rules} == everyone - {"http://a/ten"}
    align = fails(job, "align", rows)
    assert {url for url, rules in align.items() if "images_per_text" in rules} == {f"http://b/{i}" for i in range(11)}
    assert set(coyo) == set(align) == everyone


def test_a_texts_length_in_words_and_characters(job: Callable[..., Built]) -> None:
    planted = {
        "a photo": {"n_words_whitespace"},
        "a, b": {"n_words_whitespace", "n_chars"},
        "a b c": {"n_chars"},
        "a b cd": set(),
        "a b  \n c": {"n_chars"},  # counted when white space is collapsed
        " ".join(["dog"] * 250 + ["a"] * 6): {"n_chars"},
        " ".join(["dog"] * 244 + ["a"] * 12): set(),
        " ".join(["dog"] * 200 + ["a"] * 57): {"n_words_whitespace"},
        "dogs or " + "x" * 992: set(),
        "dogs or " + "x" * 993: {"n_chars"},
    }
    found = fails(job, "coyo", [row(f"http://a/{i}", text) for i, text in enumerate(planted)])
    assert [found[f"http://a/{i}"] & {"n_words_whitespace", "n_chars"} for i in range(len(planted))] == [
        *planted.values()
    ]


def test_the_edges_are_those_of_the_measured_size_and_declared_ones_may_lie(tmp_path: Path) -> None:
    sizes = [(199, 300), (200, 300), (201, 300), (300, 899), (300, 900), (300, 901), (900, 300)]
    images = {f"http://h/{n}": jpeg(n, *size) for n, size in enumerate(sizes)}
    rows_ = [row(url, f"{TEXT} {n}", 640, 480) for n, url in enumerate(images)]
    dataset = fetched(tmp_path / "dataset", rows_, images)
    engine = LocalEngine(tmp_path / "work", 2)
    measure(dataset, engine, Silent())
    if language_cld3.missing() is None:  # on request alone
        measure(dataset, engine, Silent(), ["language_cld3"])
    found: dict[str, dict[tuple[int, int], set[str]]] = {}
    for recipe in ("align", "coyo", "datacomp-basic"):
        loaded = load(recipe)
        decide_ledger(Decision(loaded), dataset, engine, Silent())
        pairs = read(dataset, "pairs").hstack(read(dataset, f"verdicts/{recipe}").select("failed", "unknown"))
        found[recipe] = {}
        for url, failed in pairs.select("url", "failed").iter_rows():
            names = {rule.name for bit, rule in enumerate(loaded.rules) if failed >> bit & 1}
            found[recipe][sizes[int(url.rpartition("/")[2])]] = names & {"min_side", "aspect"}
        masks = set(pairs["unknown"])
        unknown = {rule.name for b, rule in enumerate(loaded.rules) if any(mask >> b & 1 for mask in masks)}
        # Nobody gave a detector, an index, a list or a tagger, and CLD3 is an extra that tests do without.
        absent = {"nsfw", "eval_distance", "n_nouns", "nsfw_words"} | (
            {"language_cld3"} if language_cld3.missing() else set()
        )
        assert unknown <= absent, recipe
    loose = {(199, 300): {"min_side"}, (300, 901): {"aspect"}}
    strict = loose | {(200, 300): {"min_side"}, (300, 900): {"aspect"}, (900, 300): {"aspect"}}
    assert found["coyo"] == found["datacomp-basic"] == {size: loose.get(size, set()) for size in sizes}
    assert found["align"] == {size: strict.get(size, set()) for size in sizes}
