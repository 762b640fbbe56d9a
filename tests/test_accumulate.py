"""A batch in parts is the batch: gradients, random draws, batch norm, resuming, two processes, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from test_train import Stopping, asked, metrics, pairs, run, weights, write
from test_train_placing import batch_of

from align_data.common.errors import OutputError, TrainError
from align_data.train import loop
from align_data.train.batches import Feed, Rank
from align_data.train.model import SIZES, build
from align_data.train.objectives.registry import OBJECTIVES, objective_of
from align_data.train.placing import Placing
from align_data.train.run_folder import Folder

CPU, ALONE = torch.device("cpu"), Rank()


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("accumulate") / "shards", pairs(150))


def stepping(folder: Path, *, rank: Rank = ALONE, frozen: bool = True, dropout: float = 0.0, **more: Any) -> Any:
    """Return a run that can be given batches; frozen batch norm does not look at a batch."""
    torch.set_num_threads(1)  # as `train` has it for tiny
    settings = asked(batch=32, **more)
    torch.manual_seed(0)
    model = build("tiny", 32, 200, 16, 0.1)
    for module in model.text_model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    objective = objective_of(settings, {}, 96)
    towers = loop.Towers(model.train(), objective)
    if frozen:
        model.vision_model.eval()
    return loop._TrainingRun(Folder(folder), settings, cast("Feed", None), towers, rank, CPU)


def gradients(at_work: Any) -> dict[str, torch.Tensor]:
    return {n: w.grad.clone() for n, w in at_work._weights.named_parameters() if w.grad is not None}


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have all in double precision, so that what differs is more than rounding."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.set_default_dtype(torch.double)
    yield
    torch.set_default_dtype(torch.float)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("parts", [4, 32])
def test_parts_have_the_gradients_of_the_batch(objective: str, parts: int, tmp_path: Path) -> None:
    batch, _ = next(Placing(CPU).each([batch_of(32)]))
    found = []
    for accumulate in (1, parts):
        at_work = stepping(tmp_path, objective=objective, accumulate=accumulate)
        at_work._objective.begin(0.99)
        found.append((float(at_work._backward(batch)), gradients(at_work)))
    (loss, whole), (loss_of_parts, in_parts) = found
    assert loss == pytest.approx(loss_of_parts, abs=1e-9)
    assert whole.keys() == in_parts.keys()
    assert max(float(gradient.abs().max()) for gradient in whole.values()) > 1e-3
    for name, gradient in whole.items():
        assert torch.allclose(gradient, in_parts[name], rtol=0, atol=1e-9), name


@pytest.mark.usefixtures("double")
def test_the_mean_over_smaller_batches_would_be_another_gradient(tmp_path: Path) -> None:
    """Their negatives are fewer: what --accumulate does not do."""
    batch, _ = next(Placing(CPU).each([batch_of(32)]))
    at_work = stepping(tmp_path, accumulate=4)
    at_work._backward(batch)
    whole = gradients(at_work)
    at_work._optimizer.zero_grad()
    for part in zip(*(numbers.chunk(4) for numbers in batch), strict=True):
        (at_work._weights(*at_work._inputs(type(batch)(*part))) / 4).backward()
    assert any(not torch.allclose(whole[name], gradient, rtol=0.1) for name, gradient in gradients(at_work).items())


@pytest.mark.usefixtures("double")
def test_what_is_dropped_out_is_the_same_in_both_passes(tmp_path: Path) -> None:
    """The gradient is that of the loss that is told: a step against it lowers this very loss by its square."""
    batch, _ = next(Placing(CPU).each([batch_of(32)]))
    at_work = stepping(tmp_path, accumulate=4, dropout=0.5)
    before = float(at_work._backward(batch))
    slopes, step = gradients(at_work), 1e-6
    with torch.no_grad():
        for name, weight in at_work._weights.named_parameters():
            if name in slopes:
                weight.sub_(step * slopes[name])
    after = float(at_work._backward(batch))
    expected = step * sum(float((slope**2).sum()) for slope in slopes.values())
    assert before - after == pytest.approx(expected, rel=1e-2)


@pytest.mark.usefixtures("double")
def test_batch_norm_sees_a_part_at_a_time_and_counts_it_once(tmp_path: Path) -> None:
    """Its running means against the definition, part after part: 0.9 of what there was and 0.1 of the part's mean."""
    batch, _ = next(Placing(CPU).each([batch_of(32)]))
    at_work = stepping(tmp_path, frozen=False, accumulate=4)
    embeddings = at_work._model.vision_model.embeddings
    pixels, *_ = at_work._inputs(batch)
    expected = np.zeros(len(embeddings.batchnorm.running_mean))
    for part in pixels.chunk(4):
        with torch.no_grad():
            seen = embeddings.convolution(embeddings.padding(part))
        expected = 0.9 * expected + 0.1 * seen.mean(dim=(0, 2, 3)).numpy()
    at_work._backward(batch)
    assert np.allclose(embeddings.batchnorm.running_mean.numpy(), expected, atol=1e-12)
    assert embeddings.batchnorm.momentum == 0.1


def test_a_run_in_parts_that_is_stopped_goes_on_as_if_it_had_not_been(
    squares: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = {**SIZES["tiny"].text, "hidden_dropout_prob": 0.3}
    monkeypatch.setitem(SIZES, "tiny", replace(SIZES["tiny"], text=text))
    run(squares, tmp_path / "whole", accumulate=2)
    with pytest.raises(KeyboardInterrupt):
        run(squares, tmp_path / "stopped", Stopping(6), accumulate=2)
    run(squares, tmp_path / "stopped", accumulate=2)
    assert metrics(tmp_path / "stopped") == metrics(tmp_path / "whole")
    assert weights(tmp_path / "stopped") == weights(tmp_path / "whole")
    with pytest.raises(OutputError, match="a run with other accumulate"):
        run(squares, tmp_path / "stopped", accumulate=4)


_RANK = """
import sys, torch
from pathlib import Path
from test_accumulate import gradients, stepping
from test_train_placing import batch_of
from align_data.train.batches import TrainingBatch
from align_data.train.placing import Placing
from align_data.train.ranks import ranks
from align_data.train.settings import TrainSettings

torch.set_num_threads(1)
torch.set_default_dtype(torch.double)
torch.Tensor.float = torch.Tensor.double
with ranks("cpu", TrainSettings(batch=32, accumulate=2)) as (rank, device):
    mine = TrainingBatch(*(numbers[rank.number :: rank.of] for numbers in batch_of(32)))
    at_work = stepping(Path(sys.argv[1]), rank=rank, accumulate=2)
    batch, _ = next(Placing(device).each([mine]))
    at_work._backward(batch)
    torch.save(gradients(at_work), f"{sys.argv[1]}/{rank.number}.pt")
"""


@pytest.mark.usefixtures("double")
def test_two_processes_in_parts_are_one_process_with_the_whole_batch(tmp_path: Path) -> None:
    store = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(20_000 + (os.getpid() + 7) % 20_000),
        "OMP_NUM_THREADS": "1",
    }
    paths = {"PYTHONPATH": str(Path(__file__).parent), "WORLD_SIZE": "2"}
    line = [sys.executable, "-c", _RANK, str(tmp_path)]
    environments = [{**os.environ, **store, **paths, "RANK": str(rank)} for rank in range(2)]
    processes = [subprocess.Popen(line, env=each, stderr=subprocess.PIPE, text=True) for each in environments]
    batch, _ = next(Placing(CPU).each([batch_of(32)]))
    at_work = stepping(tmp_path)
    at_work._backward(batch)
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert not any(process.returncode for process in processes), said
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    expected = gradients(at_work)
    assert expected.keys() == ranks[0].keys() == ranks[1].keys()
    for name, gradient in expected.items():
        assert torch.equal(ranks[0][name], ranks[1][name]), name
        assert torch.allclose(ranks[0][name], gradient, rtol=0, atol=1e-9), name


@pytest.mark.parametrize(
    ("processes", "accumulate", "said"), [(1, 3, "3 parts"), (2, 12, "12 parts times 2 processes")]
)
def test_parts_that_do_not_come_out_even_are_a_sentence(
    processes: int, accumulate: int, said: str, squares: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    with pytest.raises(TrainError, match=rf"a batch of 32 is not divisible by {said}: give another --batch or --acc"):
        run(squares, tmp_path / "m", accumulate=accumulate)
