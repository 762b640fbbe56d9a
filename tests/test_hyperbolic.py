"""Hyperbolic models: what their towers give becomes points, and distances are what everything compares them by."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from test_objectives import distance, lorentz, on_hyperboloid
from test_score import World, made, stored  # noqa: F401 - made is a fixture
from test_train import pairs, run, write

from align_data.cli import main
from align_data.common.errors import InputError
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.models.lifts import Lift, lift_of
from align_data.models.opening import open_model
from align_data.models.spaces import FARTHEST, SPHERE, Hyperboloid, space_of
from align_data.storage.store import Store
from align_data.train.embed import embed
from align_data.train.evaluate import evaluate
from align_data.train.metrics import BlockSize, ensemble, neighbours, ranks, scores, unit
from align_data.train.model import Dual
from align_data.train.objectives.hyperbolic import lifted
from align_data.train.search import Part, search
from align_data.train.shards import Shards

RED = "a red square on blue ground"


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("squares") / "shards", pairs(300))


@pytest.fixture(scope="module")
def trained(squares: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("hyperbolic") / "model"
    run(squares, folder, samples=32 * 60, objective="hyperbolic", flip=False, learning_rate=0.002)
    return str(folder)


def features(rows: int, seed: int, longest: float = 3.0) -> np.ndarray:
    chance = np.random.default_rng(seed)
    directions = chance.normal(size=(rows, 5))
    lengths = chance.uniform(0.01, longest, (rows, 1))
    return (directions / np.linalg.norm(directions, axis=1, keepdims=True) * lengths).astype(np.float32)


# --- the space ---


@given(st.floats(0.1, 10), st.integers(0, 99))
def test_what_is_stored_is_of_unit_length_and_its_score_is_minus_the_distance(c: float, seed: int) -> None:
    space, longest = Hyperboloid(c), 4 / math.sqrt(c)
    left, right = features(4, seed, longest), features(6, seed + 1, longest)
    a, b = space.lifted(left), space.lifted(right)
    assert np.allclose(np.linalg.norm(a, axis=1), 1, atol=1e-6)
    assert space.holds(a)
    found, halves = scores(a, b, space), scores(unit(a.astype(np.float16)), unit(b.astype(np.float16)), space)
    for i, x in enumerate(left):
        for j, y in enumerate(right):
            away = distance(on_hyperboloid(x, 1.0, c), on_hyperboloid(y, 1.0, c), c)
            # Near one another, cosh of the distance has half its digits.
            assert -found[i, j] * math.sqrt(c) == pytest.approx(away * math.sqrt(c), abs=4e-3)
            assert -halves[i, j] * math.sqrt(c) == pytest.approx(away * math.sqrt(c), abs=0.5)
            assert space.paired(a[[i]], b[[j]])[0] == pytest.approx(found[i, j], abs=4e-3 / math.sqrt(c))


def test_training_and_scoring_lift_alike() -> None:
    rows, c = features(20, 3, 12.0), 0.7  # some beyond the farthest that there is
    points = lifted(torch.from_numpy(rows).double() * math.sqrt(c)).numpy()
    numpy_points = Hyperboloid(c).rows(Hyperboloid(c).lifted(rows))
    assert np.abs(points - numpy_points).max() / math.cosh(FARTHEST) < 1e-3
    assert math.acosh(points[:, -1].max()) == pytest.approx(FARTHEST)
    assert (points[:, -1] ** 2 - (points[:, :-1] ** 2).sum(axis=1)).tolist() == pytest.approx([1] * 20, abs=1e-6)


@given(st.integers(1, 9), st.integers(2, 9), st.integers(0, 99), st.integers(1, 4))
def test_ranks_are_those_of_distances_whatever_the_block(queries: int, gallery: int, seed: int, block: int) -> None:
    space = Hyperboloid(2.0)
    raw = features(queries, seed), features(gallery, seed + 100)
    query, answer = np.arange(queries), np.random.default_rng(seed).integers(0, gallery, queries)
    found = ranks(*map(space.lifted, raw), query, answer, BlockSize(block, block), space)
    points = [[on_hyperboloid(row, 1.0, 2.0) for row in rows] for rows in raw]
    for row in range(queries):
        away = [-lorentz(points[0][row], other) for other in points[1]]
        assert found.above[row] == sum(other < away[answer[row]] for other in away)
    near = neighbours(space.lifted(raw[1]), np.arange(gallery) % 2, BlockSize(block, block), space)
    for row in range(gallery):
        others = [(-lorentz(points[1][row], points[1][other]), other) for other in range(gallery) if other != row]
        assert near[row] == (min(others)[1] % 2 == row % 2)


def test_equal_points_have_equal_products_far_from_the_origin_too() -> None:
    space = Hyperboloid(1.0)
    far = space.lifted(features(1, 1, 1.0) * 5).repeat(7, axis=0)
    found = ranks(far, far, np.arange(7), np.arange(7), BlockSize(2, 3), space)
    assert (found.level.tolist(), found.above.tolist()) == ([6] * 7, [0] * 7)


def test_a_mean_of_points_is_one_and_a_difference_need_not_be() -> None:
    space = Hyperboloid(1.0)
    points = space.lifted(features(6, 5))
    assert space.holds(ensemble(points.reshape(2, 3, 6)))
    assert not space.holds(unit(points[:1] - 3 * points[1:2]))
    assert SPHERE.holds(-points)
    assert (space_of(None), space_of(0.5)) == (SPHERE, Hyperboloid(0.5))


# --- the model ---


def test_a_trained_model_says_the_same_by_all_its_doors(squares: str, trained: str, tmp_path: Path) -> None:
    encoder: Any = open_model(trained, "cpu")
    dual = Dual.load(trained, "cpu")
    assert encoder.space == dual.space
    assert isinstance(encoder.space, Hyperboloid)
    assert encoder.dim == dual.dim == dual.model.config.projection_dim + 1
    sample = next(iter(Shards.open(squares)))
    assert np.abs(encoder.texts([RED]) - dual.texts([RED])).max() < 1e-5
    said = evaluate(dual, Shards.open(squares), Silent())
    assert said.retrieval.image_to_text.r_at_1.low > 3 * said.retrieval.image_to_text.chance
    assert said.shuffled.r_at_1.low <= said.shuffled.chance
    parts = [Part("text", sample.alt_text, 1.0)]
    hits = search(dual, Shards.open(squares), parts, Silent(), kind="texts", top=5).hits
    assert hits[0].alt_text == sample.alt_text
    assert hits[0].score == pytest.approx(0, abs=1e-2)
    assert all(later.score < 0 for later in hits[1:])
    everything = embed(dual, Shards.open(squares), Silent()).texts
    every_score = sorted(set(np.round(scores(dual.texts([sample.alt_text]), everything, dual.space)[0], 4)))[::-1]
    assert [round(hit.score, 4) for hit in hits] == every_score[: len(hits)]
    stored_hits = search(
        dual, Shards.open(squares), parts, Silent(), kind="texts", top=5, index=str(tmp_path / "index")
    ).hits
    assert stored_hits == hits
    parts = [Part("text", RED, 1.0), Part("text", "a green square on white ground", -9.0)]
    with pytest.raises(InputError, match="come to no point of the model's hyperbolic space: subtract less"):
        search(dual, Shards.open(squares), parts, Silent())


@pytest.mark.parametrize(
    "learnt",
    [None, [], {}, {"curvature": 1.0}, *({"curvature": c} for c in (0.0, -1.0, math.nan, math.inf, "1", True, 1e9))],
)
def test_what_no_hyperbolic_model_can_have_learnt_is_a_sentence(learnt: Any, trained: str, tmp_path: Path) -> None:
    config = json.loads((Path(trained) / "config.json").read_text())
    if isinstance(learnt, dict) and learnt:
        learnt = {**config["objective"]["learnt"], "text_scale": None, **learnt}
    shutil.copytree(trained, tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(
        json.dumps({**config, "objective": {"name": "hyperbolic", "learnt": learnt}})
    )
    for opened in (lambda: open_model(str(tmp_path / "m"), "cpu"), lambda: Dual.load(str(tmp_path / "m"), "cpu")):
        with pytest.raises(InputError, match=r"config\.json: a hyperbolic model needs the \w+ that it has learnt"):
            opened()


def test_models_of_other_objectives_have_the_sphere() -> None:
    for objective in (None, "hyperbolic", [], {"name": "softmax"}, {"learnt": {"curvature": 1.0}}):
        assert lift_of(objective, "here") == Lift()


# --- the signal ---


@pytest.fixture
def copy(made: World, tmp_path: Path) -> World:  # noqa: F811
    shutil.copytree(made.dataset.store.url, tmp_path / "dataset")
    return World(Dataset(Store(tmp_path / "dataset")), made.expected)


def test_score_writes_minus_the_distance_by_the_model_and_by_stored_embeddings(copy: World, trained: str) -> None:
    url = copy.dataset.store.url
    for line in (
        ["score", trained, url, "--as", "meru"],
        ["embed", trained, url, "--as", "points", "--texts"],
        ["score", "points", url],
    ):
        done = CliRunner().invoke(main, line)
        assert done.exit_code == 0, done.output
    by_model, by_name = stored(copy.dataset, "meru"), stored(copy.dataset, "points")
    assert {uid for uid, score in by_model.items() if score is None} == {
        uid for uid, score in copy.expected.items() if score is None
    }
    scored = [(score, by_name[uid]) for uid, score in by_model.items() if score is not None]
    assert all(score < 0 for score, _ in scored)
    assert min(score for score, _ in scored) < -0.1
    assert max(abs(score - rounded) for score, rounded in scored) < 0.05
    manifest = copy.dataset.embedded("points").committed()
    assert manifest is not None
    assert manifest.meta.curvature == open_model(trained, "cpu").space.curvature  # type: ignore[union-attr]
