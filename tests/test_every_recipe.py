"""Every recipe that comes along goes through every command that takes one, also where hardly a signal is measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from planted_signals import planted
from published_filters import PUBLISHED
from test_cli import answer, call

from align_data.recipes.reading import builtin, load


def options(name: str, *, without: bool = False) -> list[str]:
    """Return what sets the thresholds that the source leaves open; `without` takes out the rules looked at apart."""
    published = PUBLISHED.get(name)
    if published is None:
        return []
    off = ["--without", ",".join(published.off)] if without and published.off else []
    return [*off, *(word for assignment in published.overrides for word in ("--set", assignment))]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pairs of which nothing is measured."""
    folder = tmp_path_factory.mktemp("every") / "pool"
    planted(folder, [{"alt_text": f"a red dog {n}"} for n in range(10)])
    return folder


@pytest.mark.parametrize("name", builtin())
def test_a_recipe_goes_through_every_command_where_nothing_is_measured(pool: Path, name: str) -> None:
    call("filter", pool, "--recipe", name, *options(name))
    counted = answer("audit", pool, "--recipe", name)
    assert counted["pairs"] == counted["kept"] + counted["dropped"] + counted["pending"] == 10
    assert [rule["rule"] for rule in counted["rules"]] == [rule.name for rule in load(name).rules]
    assert {rule["unknown"] for rule in counted["rules"]} <= {0, 10}
    (told,) = answer("why", pool, "--recipe", name, "--text", "a red dog 3")
    assert told["outcome"] == "pending"
    shown = call("recipes", name).stdout
    assert all(rule.name in "".join(shown.split()) or rule.name in shown for rule in load(name).rules)


@pytest.mark.parametrize("name", [name for name in sorted(PUBLISHED) if load(name).format == 2])
def test_a_recipe_is_explained_and_swept_where_all_is_measured(tmp_path: Path, name: str) -> None:
    published = PUBLISHED[name]
    rows = [{**row, "alt_text": f"a red dog {n}"} for n, row in enumerate(published.rows(seed=1)[:40])]
    pool, recipe = tmp_path / "pool", load(name)
    planted(pool, rows)
    call("filter", pool, "--recipe", name, *options(name, without=True))
    told = [answer("why", pool, "--recipe", name, "--text", f"a red dog {n}")[0] for n in range(0, 40, 20)]
    assert {verdict["outcome"] for verdict in told} <= {"kept", "dropped"}
    swept = next(leaf.signal for rule in recipe.rules for leaf in rule.leaves if leaf.signal is not None)
    points = answer("sweep", pool, "--recipe", name, "--signal", swept)["values"]
    assert all(point["pending"] == 0 for point in points)
