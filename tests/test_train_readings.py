"""When the trainer reads what its device has computed: seldom, for each reading waits; and never too late."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from test_train import asked, metrics, pairs, run, write
from torch import Tensor

from align_data.common.errors import TrainError
from align_data.train import loop
from align_data.train.batches import Feed, Rank, TrainingBatch
from align_data.train.model import SIZES, attended, build, text_features
from align_data.train.objectives.registry import OBJECTIVES, objective_of
from align_data.train.objectives.softmax import SoftmaxObjective
from align_data.train.placing import Placing
from align_data.train.run_folder import Folder


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("readings") / "shards", pairs(150))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
def test_a_step_reads_nothing(objective: str, optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device `meta` has shapes and no values, and refuses to be read: what passes there waits for no device."""
    settings = asked(objective=objective, optimizer=optimizer)
    made = objective_of(settings, {}, 96)
    monkeypatch.setattr(type(made), "at_first", lambda *_: "")  # reads, before the first step
    towers = loop.Towers(build("tiny", 32, 200, 16, 0.1).train(), made).to("meta")
    device = torch.device("meta")
    at_work = loop._TrainingRun(Folder(tmp_path), settings, cast("Feed", None), towers, Rank(), device)
    images, ids = np.zeros((8, 38, 38, 3), np.uint8), np.ones((8, 5), np.int64)
    numbers = np.arange(16).reshape(8, 2)
    whole = TrainingBatch(images, numbers % 6, numbers[:, 0] > 7, ids, ids, numbers)
    for batch, _ in Placing(device).each([whole, whole]):
        loss = at_work._step(batch)
    assert loss.device == device
    assert all(weight.grad is not None for weight in towers.parameters() if weight.requires_grad)
    with pytest.raises(RuntimeError, match="meta"):
        float(loss)  # so the test can fail


@pytest.mark.parametrize(("checkpoint", "expected"), [(500, {1, 6, 10, 12, 18, 20, 24, 30}), (4, {4, 8, 16, 28})])
def test_the_loss_is_read_where_something_is_said_or_written(
    checkpoint: int, expected: set[int], squares: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    means = loop.means
    monkeypatch.setattr(loop, "means", lambda losses: read.append(len(losses)) or means(losses))
    run(squares, tmp_path / "m", samples=8 * 30, batch=8, checkpoint=checkpoint)
    plain = {1, *range(10, 31, 10), *range(3, 31, 3), *range(checkpoint, 31, checkpoint)}
    assert np.cumsum(read).tolist() == sorted(plain)
    assert expected <= plain


@pytest.mark.parametrize(("number", "step"), [(math.nan, 12), (math.inf, 15)])
def test_a_loss_that_is_no_number_is_found_though_later_ones_are(
    number: float, step: int, squares: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its step is named, and neither it nor what was learnt after it gets into the folder."""
    forward, calls = SoftmaxObjective.forward, []

    def broken(self: Any, *given: Any) -> Tensor:
        calls.append(1)
        loss: Tensor = forward(self, *given)
        return loss + number if len(calls) == step else loss

    monkeypatch.setattr(SoftmaxObjective, "forward", broken)
    folder = tmp_path / "m"
    with pytest.raises(TrainError, match=rf"the loss is {number} at step {step}: a lower --learning-rate"):
        run(squares, folder, samples=8 * 200, batch=8, checkpoint=11)  # read at 1, 10, 11, 20, 22
    assert len(calls) == 20
    assert [line["step"] for line in metrics(folder)] == [1, 10]
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["position"][0] == 11


@pytest.mark.parametrize("lengths", [[5, 2, 1], [5, 5], [1]])
def test_both_forms_of_a_mask_mean_the_same(lengths: list[int]) -> None:
    model = build("tiny", SIZES["tiny"].side, 200, 16, 0.1).eval()
    ids = torch.randint(5, 200, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(3))
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    with torch.inference_mode():
        torch.testing.assert_close(
            text_features(model, ids, attended(mask)), text_features(model, ids, mask), atol=1e-6, rtol=0
        )
