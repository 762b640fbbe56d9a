"""Recipes against their sources: the same pairs are kept as by each source's own filter in plain Python."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from planted_signals import outcomes
from published_filters import COSINES, PUBLISHED, datacomps_clip_score

from align_data.common.errors import RecipeError
from align_data.recipes.overrides import override
from align_data.recipes.reading import builtin, load

SHIPPED = sorted(PUBLISHED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_recipe_keeps_what_its_source_keeps(tmp_path: Path, name: str) -> None:
    published = PUBLISHED[name]
    recipe, rows = load(name), published.rows(seed=len(name))
    verdicts = outcomes(tmp_path / "dataset", recipe, rows, published.overrides, published.off)
    expected = published.keep(rows)
    kept = [not failed and not unknown for failed, unknown in verdicts]
    assert [row for row, ours, theirs in zip(rows, kept, expected, strict=True) if ours != theirs] == []
    assert not any(unknown for _, unknown in verdicts)
    assert {*kept} == {True, False}
    failed_once = 0
    for failed, _ in verdicts:
        failed_once |= failed
    vacuous = ("rarest_ngram", *published.off)  # of 100 million n-grams there are not so many
    assert [r.name for n, r in enumerate(recipe.rules) if not failed_once >> n & 1 and r.name not in vacuous] == []


@pytest.mark.parametrize("name", sorted(name for name, published in PUBLISHED.items() if not published.relative))
def test_every_edge_of_a_source_decides(name: str) -> None:
    """No value is in vain: for each signal there is a row whose fate hangs on which of the values it has."""
    published = PUBLISHED[name]
    for signal, values in published.edges.items():
        assert any(
            {
                *published.keep(
                    [{**each, **published.derived(each)} for each in ({**row, signal: value} for value in values)]
                )
            }
            == {True, False}
            for row in published.rows(seed=0)
        ), signal


@pytest.mark.parametrize("scores", [COSINES[:100], COSINES[:97], [0.3] * 4 + [0.2] * 6, [0.1]])
def test_datacomps_code_keeps_one_row_more_than_the_fraction(tmp_path: Path, scores: Sequence[float]) -> None:
    rows = [{"similarity_l14": score} for score in scores]
    ours = [not failed for failed, _ in outcomes(tmp_path / "dataset", load("datacomp-clip"), rows)]
    theirs = datacomps_clip_score(scores, 0.3)
    assert all(their for our, their in zip(ours, theirs, strict=True) if our)
    beyond = {score for our, their, score in zip(ours, theirs, scores, strict=True) if their and not our}
    assert len(beyond) <= 1  # one more score at the end, and what is equal to it


def _passes(verdicts: Sequence[tuple[int, int]], position: int) -> list[bool]:
    assert not any(unknown >> position & 1 for _, unknown in verdicts)
    return [not failed >> position & 1 for failed, _ in verdicts]


def test_metaclip_2_keeps_one_text_of_each_image_whichever_rules_the_others_fail(tmp_path: Path) -> None:
    draw = random.Random(2)
    rows = [
        {
            "url": f"http://image/{n % 40}",
            "alt_text": f"text {n}",
            "language": draw.choice(["en", "de"]),
            "entries_metaclip2": draw.randint(0, 2),
            "balance_metaclip2": draw.choice([10.0, 200.0, 1000.0]),
        }
        for n in range(160)
    ]
    recipe, published = load("metaclip-2"), PUBLISHED["metaclip-2"]
    verdicts = outcomes(tmp_path / "dataset", recipe, rows, published.overrides)
    one_text = _passes(verdicts, recipe.position("one_text"))
    eligible = published.keep(rows)
    kept = Counter(row["url"] for row, first, able in zip(rows, one_text, eligible, strict=True) if first and able)
    assert kept == dict.fromkeys({row["url"] for row, able in zip(rows, eligible, strict=True) if able}, 1)
    # Chosen by chance: not by what stands first in the list, nor by its text.
    firsts = {url: next(n for n, row in enumerate(rows) if row["url"] == url and eligible[n]) for url in kept}
    others = [n for n, first in enumerate(one_text) if first and eligible[n] and firsts[rows[n]["url"]] != n]
    assert len(kept) // 4 < len(others)


def test_coyo_keeps_the_largest_of_pairs_with_equal_hash_and_text(tmp_path: Path) -> None:
    draw = random.Random(3)
    sizes = draw.sample(range(150, 900), 120)
    rows = [
        {**PUBLISHED["coyo"].kept_row, "phash": n % 7, "alt_text": f"text {n % 5}", "min_side": size}
        for n, size in enumerate(sizes)
    ]
    recipe = load("coyo")
    verdicts = outcomes(tmp_path / "dataset", recipe, rows)
    kept = [row for row, (failed, unknown) in zip(rows, verdicts, strict=True) if not failed and not unknown]
    largest: dict[tuple[int, str], int] = {}
    for row in rows:
        if row["min_side"] >= 200:
            group = (row["phash"], row["alt_text"])
            largest[group] = max(largest.get(group, 0), row["min_side"])
    assert {(row["phash"], row["alt_text"]): row["min_side"] for row in kept} == largest
    assert len(kept) == len(largest)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_recipe_says_where_each_number_is_from_and_what_it_leaves_out(name: str) -> None:
    recipe = load(name)
    assert recipe.title
    assert (
        "arXiv" in recipe.paper or "https://" in recipe.paper or any(year in recipe.paper for year in ("2011", "2018"))
    )
    assert recipe.note
    assert all(score.source != "chosen" or score.note for score in (recipe.scores or {}).values())
    for rule in recipe.rules:
        assert not rule.chosen or rule.note, rule.name


@pytest.mark.parametrize("name", [name for name in SHIPPED if any(rule.unspecified for rule in load(name).rules)])
def test_what_a_source_leaves_open_is_refused_until_it_is_set(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecipeError, match=r"--set .*--without|--without .*--set"):
        outcomes(tmp_path / "dataset", load(name), [PUBLISHED[name].kept_row])


NAMED_OVERRIDE = re.compile(r"--set (\S+=[\d.]*\d)")


def test_overrides_that_notes_name_are_ones() -> None:
    named = [(name, of) for name in builtin() for of in NAMED_OVERRIDE.findall(load(name).note or "")]
    assert len(named) >= 3
    for name, assignment in named:
        assert override(load(name), assignment) != load(name)
