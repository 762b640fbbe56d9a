"""Every objective against the equation of its paper in plain numbers, its gradients, its gathering, and bad input."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from test_train import Stopping, metrics, pairs, picture, right, run, weights, write

from align_data.cli import main
from align_data.cli.model_options import settings_of
from align_data.common.errors import OutputError, TrainError
from align_data.common.progress import Silent
from align_data.models.opening import open_model
from align_data.train.evaluate import evaluate
from align_data.train.model import Dual
from align_data.train.objectives import chunks
from align_data.train.objectives.hyperbolic import HyperbolicObjective
from align_data.train.objectives.objective import EmbeddedPairs, Objective
from align_data.train.objectives.registry import OBJECTIVES, objective_of
from align_data.train.objectives.sigmoid import SigmoidObjective
from align_data.train.objectives.softmax import SoftmaxObjective
from align_data.train.objectives.triplet import TripletObjective
from align_data.train.settings import TrainSettings
from align_data.train.shards import Shards

NAMES = sorted(OBJECTIVES)
Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("squares") / "shards", pairs(300))


def drawn(n: int, seed: int, dim: int = 7) -> Pairs:
    """Return unit vectors of images and texts, and keys: some pairs have their image or their text in common."""
    chance = np.random.default_rng(seed)
    images, texts = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in chance.normal(size=(2, n, dim)))
    keys = chance.integers(0, n, (n, 2))
    for column, vectors in enumerate((images, texts)):
        vectors[:] = vectors[keys[:, column]]
    return images, texts, keys


def late(name: str, batch: int) -> Objective:
    """Return an objective as it is at the end of a run, where the triplets have no softmax before them any more."""
    objective = objective_of(TrainSettings(batch=batch, objective=name), {}, 7)
    objective.begin(0.99)
    return objective


def loss_of(objective: Any, drawn_pairs: Pairs, temperature: float = 0.1) -> float:
    embedded = EmbeddedPairs(*map(torch.from_numpy, drawn_pairs))
    with torch.no_grad():
        return float(objective.double()(embedded, torch.tensor(temperature, dtype=torch.double)))


# --- the equations ---


def slow_softmax(images: np.ndarray, texts: np.ndarray, temperature: float, smoothing: float) -> float:
    """The definition, a logarithm at a time."""
    total, n = 0.0, len(images)
    for ours, theirs in ((images, texts), (texts, images)):
        for i in range(n):
            scores = [float(ours[i] @ theirs[j]) / temperature for j in range(n)]
            everything = math.log(sum(math.exp(score - max(scores)) for score in scores)) + max(scores)
            logs = [score - everything for score in scores]
            total -= (1 - smoothing) * logs[i] + smoothing * sum(logs) / n
    return total / (2 * n)


@given(st.integers(1, 9), st.floats(0.02, 2), st.floats(0, 0.5), st.integers(0, 99))
def test_the_softmax_is_its_definition(n: int, temperature: float, smoothing: float, seed: int) -> None:
    images, texts, keys = drawn(n, seed)
    found = loss_of(SoftmaxObjective(smoothing), (images, texts, keys), temperature)
    assert found == pytest.approx(slow_softmax(images, texts, temperature, smoothing), rel=1e-6, abs=1e-9)


@given(st.integers(1, 9), st.floats(0.02, 2), st.floats(-12, 5), st.integers(0, 99))
def test_the_sigmoid_is_its_definition(n: int, temperature: float, bias: float, seed: int) -> None:
    """-1/B sum_i sum_j log 1 / (1 + exp(-z_ij (t x_i y_j + b))), z_ij = 1 where i = j and else -1."""
    images, texts, keys = drawn(n, seed)
    expected = 0.0
    for i in range(n):
        for j in range(n):
            z = 1 if i == j else -1
            expected += np.logaddexp(0, -z * (float(images[i] @ texts[j]) / temperature + bias)) / n
    found = loss_of(SigmoidObjective(bias), (images, texts, keys), temperature)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(st.integers(1, 9), st.floats(0.01, 1), st.integers(0, 99))
def test_the_triplets_are_their_definition(n: int, margin: float, seed: int) -> None:
    """The greatest of max(0, margin + s(i, t') - s(i, t)) over the other texts, and so over the other images."""
    images, texts, keys = drawn(n, seed)
    expected = 0.0
    for i in range(n):
        others = [j for j in range(n) if keys[i, 0] != keys[j, 0] and keys[i, 1] != keys[j, 1]]
        true = float(images[i] @ texts[i])
        expected += max([0.0, *(margin + float(images[i] @ texts[j]) - true for j in others)]) / n
        expected += max([0.0, *(margin + float(images[j] @ texts[i]) - true for j in others)]) / n
    found = loss_of(TripletObjective(margin, 0), (images, texts, keys))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


def on_hyperboloid(features: np.ndarray, scale: float, c: float) -> tuple[np.ndarray, float]:
    """A feature, scaled, under MERU's exponential map at the origin: its space and its time."""
    tangent = scale * features
    length = math.sqrt(c) * float(np.linalg.norm(tangent))
    space = math.sinh(length) / length * tangent
    return space, math.sqrt(1 / c + float(space @ space))


def lorentz(x: tuple[np.ndarray, float], y: tuple[np.ndarray, float]) -> float:
    """The inner product of space, less the product of times."""
    return float(x[0] @ y[0]) - x[1] * y[1]


def distance(x: tuple[np.ndarray, float], y: tuple[np.ndarray, float], c: float) -> float:
    """The Lorentzian distance."""
    return math.sqrt(1 / c) * math.acosh(max(1.0, -c * lorentz(x, y)))


def out_of_cone(text: tuple[np.ndarray, float], image: tuple[np.ndarray, float], c: float) -> float:
    """The exterior angle of an image at a text, less half the aperture of the text's cone."""
    inner, size = c * lorentz(text, image), float(np.linalg.norm(text[0]))
    aperture = math.asin(min(1.0, 2 * 0.1 / (math.sqrt(c) * size)))
    angle = math.acos((image[1] + text[1] * inner) / (size * math.sqrt(inner**2 - 1)))
    return max(0.0, angle - aperture)


@given(
    st.integers(1, 7), st.floats(0.05, 2), st.floats(0.1, 10), st.tuples(*[st.floats(0.01, 1)] * 2), st.integers(0, 99)
)
def test_the_hyperbolic_loss_is_its_definition(
    n: int, temperature: float, c: float, scales: tuple[float, float], seed: int
) -> None:
    images, texts, keys = drawn(n, seed)
    lengths = np.random.default_rng(seed).uniform(0.2, 1.8, (2, n, 1))  # features are of any length
    images, texts = images * lengths[0], texts * lengths[1]
    points = [
        [on_hyperboloid(row, scale, c) for row in rows] for rows, scale in zip((images, texts), scales, strict=True)
    ]
    expected = 0.2 * sum(out_of_cone(text, image, c) for image, text in zip(*points, strict=True)) / n
    for ours, theirs in (points, points[::-1]):
        for i in range(n):
            logits = np.array([-distance(ours[i], other, c) / temperature for other in theirs])
            expected += (np.logaddexp.reduce(logits) - logits[i]) / (2 * n)
    found = loss_of(HyperbolicObjective(c, *scales, 0.2).double(), (images, texts, keys), temperature)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_those_of_differences(name: str, seed: int) -> None:
    objective = late(name, 6).double()
    keys = torch.arange(12).view(6, 2)
    rows = [torch.from_numpy(x).requires_grad_() for x in np.random.default_rng(seed).normal(size=(2, 6, 5))]
    temperature = torch.tensor(0.3, dtype=torch.double, requires_grad=True)
    own = [weight.detach().requires_grad_() for weight in objective.parameters()]

    def loss(images: torch.Tensor, texts: torch.Tensor, temperature: torch.Tensor, *weights: torch.Tensor) -> Any:
        named = dict(zip(dict(objective.named_parameters()), weights, strict=True))
        return torch.func.functional_call(objective, named, (EmbeddedPairs(images, texts, keys), temperature))

    assert torch.autograd.gradcheck(loss, (*rows, temperature, *own))
    loss(*rows, temperature, *own).backward()
    assert (temperature.grad is not None) == objective.has_temperature
    assert all(float(weight.grad.abs()) > 0 for weight in own)  # what is learnt is learnt


_RANK = """
import sys, torch
from torch import distributed
from align_data.common.progress import Silent
from align_data.train.batches import Feed
from align_data.train.loop import Towers
from align_data.train.model import build
from align_data.train.pixel_tensors import crops, normalised
from align_data.train.placing import Placing
from align_data.train.objectives.registry import OBJECTIVES, objective_of
from align_data.train.ranks import parallel, ranks
from align_data.train.settings import TrainSettings
from align_data.train.shards import Shards
from align_data.train.tokens import learn

torch.set_num_threads(1)
settings = TrainSettings(batch=16, samples=16, vocabulary=200, seed=1)
with ranks("cpu", settings) as (rank, device):
    feed = Feed(Shards.open(sys.argv[1]), 32, settings, 1, rank)
    feed.read(Silent())
    tokenizer = learn(list(feed.texts), settings.vocabulary)
    feed.begin(tokenizer)
    batch, _ = next(Placing(device).each(feed.epoch(0)))
    pixels = normalised(crops(batch.images, 32, batch.corners, batch.mirrored)).double()
    done = {}
    for name in OBJECTIVES:
        torch.manual_seed(0)
        model = build("tiny", 32, tokenizer.get_vocab_size(), 64, 0.1).double().eval()  # eval: batch norm is frozen
        objective = objective_of(settings.model_copy(update={"objective": name}), {}, model.config.projection_dim).double()
        objective.begin(0.99)
        whole = Towers(model, objective)
        towers = parallel(whole, device)
        towers_loss = towers(pixels, batch.ids, batch.mask, batch.keys)
        towers_loss.backward()
        mean = towers_loss.detach().clone()
        if rank.of > 1:
            distributed.all_reduce(mean)
            mean /= rank.of
        gradients = {n: p.grad for n, p in whole.named_parameters() if p.grad is not None}
        done[name] = {"loss": mean, "gradients": gradients, "keys": batch.keys.tolist()}
    if rank.number == 0:
        torch.save(done, sys.argv[2])
    feed.close()
"""


@pytest.fixture(scope="module")
def by_ranks(squares: str, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What one process, and two at half the batch, come to for each objective."""
    outs = [str(tmp_path_factory.mktemp("ranks") / f"{world}.pt") for world in (1, 2)]
    store = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(20_000 + os.getpid() % 20_000), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-c", _RANK, squares, outs[1]]
    environments = [{**os.environ, **store, "RANK": str(rank), "WORLD_SIZE": "2"} for rank in range(2)]
    processes = [subprocess.Popen(line, env=e, stderr=subprocess.PIPE, text=True) for e in environments]
    with pytest.MonkeyPatch.context() as patch:  # one rank needs no process of its own
        for name, value in {"RANK": "0", "WORLD_SIZE": "1"}.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["-c", squares, outs[0]])
        threads = torch.get_num_threads()
        exec(_RANK, {})
        torch.set_num_threads(threads)
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert not any(process.returncode for process in processes), said
    return [torch.load(out) for out in outs]


@pytest.mark.parametrize("name", NAMES)
def test_two_ranks_at_half_the_batch_are_one_rank(by_ranks: list[dict[str, Any]], name: str) -> None:
    one, two = (done[name] for done in by_ranks)
    assert float(one["loss"]) == pytest.approx(float(two["loss"]), abs=1e-5)
    assert one["gradients"].keys() == two["gradients"].keys()
    for weight, gradient in one["gradients"].items():
        assert torch.allclose(gradient, two["gradients"][weight], atol=1e-5), weight
    assert (
        max(float(gradient.abs().max()) for gradient in one["gradients"].values()) > 1e-2
    )  # there is something to equal
    texts = [text for _, text in one["keys"]]
    assert len(set(texts)) < len(texts)  # and the triplets have texts that are no negatives of each other


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_in_chunks_is_the_batch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for chunk in (1024, 3, 1):
        monkeypatch.setattr(chunks, "CHUNK", chunk)
        objective = late(name, 7).double()
        temperature = torch.tensor(0.2, dtype=torch.double, requires_grad=True)
        images, texts, keys = map(torch.from_numpy, drawn(7, 3))
        loss = objective(EmbeddedPairs(images.requires_grad_(), texts.requires_grad_(), keys), temperature)
        loss.backward()
        learnt = [temperature, *objective.parameters()] if objective.has_temperature else []
        results.append([loss.detach(), *(weight.grad for weight in (images, texts, *learnt))])
    for whole, *in_chunks in zip(*results, strict=True):
        assert float(whole.abs().max()) > 0
        assert all(torch.allclose(whole, part, rtol=0, atol=1e-12) for part in in_chunks)


@pytest.mark.parametrize("name", NAMES)
def test_a_chunk_at_a_time_is_held(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept for the gradients grows with the pairs, and not with their square."""
    held = []
    for n in (60, 120):
        monkeypatch.setattr(chunks, "CHUNK", 4)
        images, texts, keys = map(torch.from_numpy, drawn(n, 1))
        sizes: list[int] = []

        def note(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        pairs_of = EmbeddedPairs(images.requires_grad_(), texts.requires_grad_(), keys)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            late(name, n).double()(pairs_of, torch.tensor(0.2, dtype=torch.double))
        held.append(sum(sizes))
    assert 0 < held[1] < 2.1 * held[0]


# --- what is degenerate ---


@pytest.mark.parametrize("name", NAMES)
def test_a_pair_alone_and_pairs_that_are_alike_have_a_loss(name: str) -> None:
    objective = late(name, 4)
    images, texts, keys = drawn(4, 1)
    alone = loss_of(objective, (images[:1], texts[:1], keys[:1]))
    assert math.isfinite(alone)
    alike = loss_of(objective, (np.repeat(images[:1], 4, 0), np.repeat(texts[:1], 4, 0), np.arange(8).reshape(4, 2)))
    if name == "triplet":
        assert alone == 0  # there is nothing to tell it from
        assert alike == pytest.approx(2 * 0.2)  # a constant tower: all scores are equal
    if name == "softmax":
        assert alone == 0
        assert alike == pytest.approx(math.log(4))


def test_what_has_the_same_text_or_image_is_no_negative() -> None:
    images, texts, _ = drawn(3, 4)
    keys = np.array([[1, 7], [2, 7], [1, 8]])
    alone = [loss_of(TripletObjective(0.2, 0), (images[[n]], texts[[n]], keys[[n]])) for n in range(3)]
    assert alone == [0, 0, 0]
    both = [
        loss_of(TripletObjective(2.0, 0), tuple(x[rows] for x in (images, texts, keys))) for rows in ([0, 1], [0, 2])
    ]  # type: ignore[arg-type]
    assert both == [0, 0]
    assert loss_of(TripletObjective(2.0, 0), (images[[1, 2]], texts[[1, 2]], keys[[1, 2]])) > 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tower", [0, 1])
def test_what_is_no_number_stays_none(name: str, tower: int) -> None:
    """A loss that forgets a NaN would train on."""
    objective = late(name, 4)
    whole = drawn(4, 2)
    whole[tower][3, 0] = np.nan
    assert math.isnan(loss_of(objective, whole))


# --- whole runs ---


def test_every_objective_that_is_chosen_is_registered() -> None:
    assert set(get_args(TrainSettings.model_fields["objective"].annotation)) == OBJECTIVES.keys()
    assert all(maker(TrainSettings(), {}, 7).name == name for name, maker in OBJECTIVES.items())


@pytest.mark.parametrize("name", [name for name in NAMES if name != "softmax"])  # the softmax is in test_train
def test_true_captions_teach_and_shuffled_ones_do_not(name: str, tmp_path: Path) -> None:
    fresh = pairs(300)[:100]
    shares = []
    for shuffled in (False, True):
        shards = write(tmp_path / f"{shuffled}", pairs(300, shuffled))
        common = {"samples": 32 * 90, "learning_rate": 0.002, "flip": False, "temperature": 0.2, "objective": name}
        run(shards, tmp_path / f"m-{shuffled}", **common)
        shares.append(right(tmp_path / f"m-{shuffled}", fresh))
    assert shares[0] > 0.6
    assert shares[1] < 0.3  # of 16 captions


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_is_stopped_goes_on_as_if_it_had_not_been(name: str, squares: str, tmp_path: Path) -> None:
    whole = run(squares, tmp_path / "whole", objective=name)
    for after in (2, 7):  # with the softmax before the triplets, and with triplets
        with pytest.raises(KeyboardInterrupt):
            run(squares, tmp_path / "stopped", Stopping(after), objective=name)
    stopped = run(squares, tmp_path / "stopped", objective=name)
    assert metrics(tmp_path / "stopped") == metrics(tmp_path / "whole")
    assert weights(tmp_path / "stopped") == weights(tmp_path / "whole")
    assert stopped.objective == whole.objective
    with pytest.raises(OutputError, match="a run with other objective"):
        run(squares, tmp_path / "stopped", objective=next(other for other in NAMES if other != name))


@pytest.mark.parametrize("name", NAMES)
def test_a_model_says_its_objective_and_is_an_encoder(name: str, squares: str, tmp_path: Path) -> None:
    trained = run(squares, tmp_path / "m", samples=64, objective=name)
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert (
        config["objective"]
        == trained.objective
        == json.loads((tmp_path / "m" / "trained.json").read_text())["objective"]
    )
    assert config["objective"]["name"] == name
    own = {"sigmoid": {"bias"}, "hyperbolic": {"curvature", "image_scale", "text_scale"}}
    assert set(config["objective"]["learnt"]) == own.get(name, set())
    assert (config["objective"]["learnt"].get("bias", 0) != -math.log(32)) or name != "sigmoid"
    encoder: Any = open_model(str(tmp_path / "m"), "cpu")
    dual = Dual.load(str(tmp_path / "m"), "cpu")
    assert np.abs(encoder.texts(["a red square"]) - dual.texts(["a red square"])).max() < 1e-5
    assert (
        trained.parameters
        == {"softmax": 0, "sigmoid": 1, "triplet": -1, "hyperbolic": 3}[name]
        + run(squares, tmp_path / "s", samples=32).parameters
    )


def test_models_and_results_of_before_are_of_the_softmax(squares: str, tmp_path: Path) -> None:
    trained = run(squares, tmp_path / "m", samples=64)
    for name in ("config.json", "trained.json"):
        path = tmp_path / "m" / name
        content = json.loads(path.read_text())
        content.pop("objective")
        path.write_text(json.dumps(content))
    assert run(squares, tmp_path / "m", samples=64).objective["name"] == "softmax"
    assert Dual.load(str(tmp_path / "m")).dim == open_model(str(tmp_path / "m"), "cpu").dim
    after = run(squares, tmp_path / "n", samples=64, init=str(tmp_path / "m"), objective="sigmoid")
    assert after.objective["learnt"]["bias"] == pytest.approx(-math.log(32), abs=0.01)
    assert trained.objective["name"] == "softmax"


def test_a_bias_that_is_learnt_goes_on_in_the_next_run(squares: str, tmp_path: Path) -> None:
    first = run(squares, tmp_path / "first", samples=64, objective="sigmoid", bias=-7)
    assert first.objective["learnt"]["bias"] == pytest.approx(-7, abs=0.01)
    second = run(squares, tmp_path / "second", samples=64, objective="sigmoid", init=str(tmp_path / "first"))
    assert second.objective["learnt"]["bias"] == pytest.approx(-7, abs=0.02)
    other = run(squares, tmp_path / "other", samples=64, objective="sigmoid", init=str(tmp_path / "first"), bias=-2)
    assert other.objective["learnt"]["bias"] == pytest.approx(-2, abs=0.01)
    path = tmp_path / "first" / "config.json"
    for damage in ({"bias": "x"}, {"bias": math.nan}, ["bias"], {"bias": 10**400}):
        config = json.loads(path.read_text())
        path.write_text(json.dumps({**config, "objective": {"name": "sigmoid", "learnt": damage}}))
        with pytest.raises(TrainError, match="weights of the objective sigmoid that are not numbers"):
            run(squares, tmp_path / "third", samples=64, objective="sigmoid", init=str(tmp_path / "first"))


@pytest.mark.parametrize("name", NAMES)
def test_a_tower_that_sees_nothing_is_caught(name: str, tmp_path: Path) -> None:
    """All pictures are one, under many URLs: whatever the loss, evaluation is at chance and says why."""
    grey = picture("white", "white")
    shards = write(tmp_path / "shards", [sample._replace(image=grey) for sample in pairs(64)])
    trained = run(shards, tmp_path / "m", samples=32 * 8, objective=name)
    assert math.isfinite(trained.last_loss)
    evaluated = evaluate(Dual.load(str(tmp_path / "m"), "cpu"), Shards.open(shards), Silent())
    assert evaluated.notes[0] == "all 64 images have the same embedding: the image tower is constant"
    found = evaluated.retrieval.text_to_image
    assert found.r_at_1.value == pytest.approx(found.chance)


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_that_is_no_number_is_a_sentence(name: str, squares: str, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"the loss is (nan|inf) at step \d+: a lower --learning-rate") as raised:
        run(squares, tmp_path / "m", learning_rate=1e30, clip=1e30, warm_up=0, objective=name)
    assert ("--temperature" in str(raised.value)) == (name != "triplet")  # which has none that is learnt


def test_the_command_takes_an_objective_and_what_belongs_to_it(squares: str, tmp_path: Path) -> None:
    line = ["train", squares, "--samples", "64", "--batch", "32"]
    done = CliRunner().invoke(main, [*line, "--out", str(tmp_path / "m"), "--objective", "sigmoid", "--bias", "-4"])
    assert done.exit_code == 0, done.output
    at_first = math.log1p(math.exp(4)) + 31 * math.log1p(math.exp(-4))
    assert f"with every cosine at 0 it is {at_first:.3f}" in done.stderr
    assert "bias -" in done.stdout
    for wrong, said in (
        (["--margin", "0.3"], "--margin: 0.3: only --objective triplet takes it"),
        (["--objective", "triplet", "--bias", "1"], "--bias: 1.0: only --objective sigmoid takes it"),
        (
            ["--objective", "sigmoid", "--label-smoothing", "0.1"],
            "--label-smoothing: 0.1: only --objective softmax takes",
        ),
        (
            ["--objective", "triplet", "--label-smoothing", "0.2"],
            "--label-smoothing: 0.2: only --objective softmax takes",
        ),
        (["--objective", "triplet", "--margin", "nan"], "--margin"),
        (["--objective", "triplet", "--softmax-share", "1"], "--softmax-share"),
        (["--objective", "cosine"], "--objective"),
    ):
        failed = CliRunner().invoke(main, [*line, "--out", str(tmp_path / "n"), *wrong])
        assert (failed.exit_code, said in failed.stderr) == (2, True), failed.stderr


def test_what_a_preset_has_of_another_objective_is_left_out() -> None:
    options: dict[str, Any] = dict.fromkeys(TrainSettings.model_fields)
    (found,) = settings_of({**options, "preset": "paper", "objective": "sigmoid", "bias": -3.0, "batch": 64})
    assert (found.objective, found.bias, found.batch, found.temperature) == ("sigmoid", -3.0, 64, 1.0)
