"""Recipes against their sources: the same pairs are kept as by each source's own filter in plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from planted_signals import outcomes
from published_filters import COSINES, PUBLISHED, datacomps_clip_score

from align_data.recipes.reading import builtin, load

SHIPPED = sorted(PUBLISHED.keys() & {*builtin()} - {"coyo"})


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


@pytest.mark.parametrize("scores", [COSINES, COSINES[:97], [0.3] * 4 + [0.2] * 6, [0.1]])
def test_datacomps_code_keeps_one_row_more_than_the_fraction(tmp_path: Path, scores: Sequence[float]) -> None:
    rows = [{"similarity_l14": score} for score in scores]
    ours = [not failed for failed, _ in outcomes(tmp_path / "dataset", load("datacomp-clip"), rows)]
    theirs = datacomps_clip_score(scores, 0.3)
    assert all(their for our, their in zip(ours, theirs, strict=True) if our)
    beyond = {score for our, their, score in zip(ours, theirs, scores, strict=True) if their and not our}
    assert len(beyond) <= 1  # one more score at the end, and what is equal to it
