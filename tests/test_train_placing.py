"""How batches come to the device, and what is fast there: the order of copies, layouts, and the fused optimizer."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from test_train import asked, pairs, run, write
from torch import Tensor

from align_data.cli import main
from align_data.train.batches import Feed, TrainingBatch
from align_data.train.loop import Towers
from align_data.train.model import Dual, build
from align_data.train.objectives.registry import objective_of
from align_data.train.optimizers import optimizer
from align_data.train.placing import Placing, peak_memory
from align_data.train.settings import TrainSettings


def towers_of(settings: TrainSettings) -> Towers:
    torch.manual_seed(0)
    return Towers(build("tiny", 32, 200, 16, 0.1).train(), objective_of(settings, {}, 96))


def batch_of(pairs_in_it: int, seed: int = 0) -> TrainingBatch:
    chance = np.random.default_rng(seed)
    ids = chance.integers(5, 200, (pairs_in_it, 6))
    images = chance.integers(0, 256, (pairs_in_it, 38, 38, 3)).astype(np.uint8)
    corners, keys = chance.integers(0, 7, (pairs_in_it, 2)), np.arange(2 * pairs_in_it).reshape(-1, 2)
    return TrainingBatch(images, corners, corners[:, 0] > 3, ids, np.ones_like(ids), keys)


def test_copies_wait_for_nothing_and_what_is_computed_waits_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that only writes down what it is asked."""
    done: list[str] = []

    class Stream:
        def __init__(self, device: torch.device) -> None:
            self.name = f"stream of {device}"

        def record_event(self) -> str:
            done.append("record")
            return "event"

        def wait_event(self, event: str) -> None:
            done.append(f"wait for {event}")

    @contextmanager
    def beside(_: Any) -> Any:
        done.append("beside")
        yield
        done.append("before")

    def to(tensor: Tensor, device: torch.device, non_blocking: bool = False) -> Tensor:
        done.append(f"to {device}{' at once' if non_blocking else ''}")
        return tensor

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", beside)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: done.append("pin") or tensor)
    monkeypatch.setattr(Tensor, "to", to)
    monkeypatch.setattr(Tensor, "record_stream", lambda _, stream: done.append(f"kept for the {stream.name}"))
    placing, given = Placing(torch.device("cuda:1")), batch_of(2)
    ((batch, copied),) = placing.each([given])
    assert done == ["beside", *["pin", "to cuda:1 at once"] * 6, "before", "record"]
    done.clear()
    placing.arrived(batch, copied)
    assert done == ["wait for event", *["kept for the stream of cuda:1"] * 6]
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(batch, given, strict=True))


def test_a_run_asks_for_no_batch_beyond_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is made ahead, and the last step has none to wait for."""
    shards, made = write(tmp_path / "shards", pairs(150)), []
    whole = Feed._batch
    monkeypatch.setattr(Feed, "_batch", lambda self, *given: made.append(given[2:]) or whole(self, *given))
    run(shards, tmp_path / "m", samples=32 * 6)  # an epoch has four batches
    assert made == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]


def test_the_image_tower_lies_as_its_pixels_do_and_so_does_what_is_learnt_of_it(tmp_path: Path) -> None:
    towers = towers_of(asked())
    convolutions = [w for w in towers.model.vision_model.parameters() if w.ndim == 4]
    assert len(convolutions) > 10
    steps = optimizer(towers, asked())
    batch, _ = next(Placing(torch.device("cpu")).each([batch_of(8)]))
    pixels = torch.rand(8, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    towers(pixels, batch.ids, batch.mask, batch.keys).backward()
    steps.step()
    for weight in convolutions:
        alike = (weight, weight.grad, steps.state[weight]["exp_avg"], steps.state[weight]["exp_avg_sq"])
        assert all(each.is_contiguous(memory_format=torch.channels_last) for each in alike)
    run(write(tmp_path / "shards", pairs(64)), tmp_path / "m", samples=64)
    assert Dual.load(str(tmp_path / "m"), "cpu").dim == 96  # what is written is plain


def test_a_fused_step_is_the_plain_one() -> None:
    """AdamW by its definition, in double precision (Loshchilov and Hutter, arXiv 1711.05101, algorithm 2)."""
    settings = asked(learning_rate=0.01, weight_decay=0.1)
    towers = towers_of(settings)
    steps = optimizer(towers, settings)
    assert all(group["fused"] for group in steps.param_groups)
    weights = [weight for weight in towers.parameters() if weight.requires_grad]
    expected = [(weight.detach().double(), 0.0, 0.0) for weight in weights]
    for step in range(1, 4):
        for number, weight in enumerate(weights):
            slope = torch.randn(weight.shape, generator=torch.Generator().manual_seed(97 * step + number))
            weight.grad = torch.empty_like(weight).copy_(slope)
            value, mean, square = expected[number]
            mean, square = 0.9 * mean + 0.1 * slope.double(), 0.999 * square + 0.001 * slope.double() ** 2
            value = value * (1 - 0.01 * (0.1 if weight.ndim > 1 else 0))
            value = value - 0.01 * (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
            expected[number] = value, mean, square
        steps.step()
    for weight, (value, _, _) in zip(weights, expected, strict=True):
        assert torch.allclose(weight.detach().double(), value, atol=1e-5)


def test_no_optimizer_is_fused_where_pytorch_has_none() -> None:
    towers = towers_of(asked()).to("meta")
    assert not any(group["fused"] for group in optimizer(towers, asked()).param_groups)


def test_the_memory_that_a_run_had_is_written_and_said(tmp_path: Path) -> None:
    """What the kernel says of the process, VmHWM, in place of what it says of its use."""
    shards = write(tmp_path / "shards", pairs(64))
    done = CliRunner().invoke(main, ["train", shards, "--out", str(tmp_path / "m"), "--samples", "64", "--batch", "32"])
    assert done.exit_code == 0, done.output
    written = json.loads((tmp_path / "m" / "trained.json").read_text())["peak_memory"]
    highest = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    assert written == pytest.approx(int(highest.split()[1]) * 1024, rel=0.2)
    assert f"{written / 2**30:.1f} GiB of memory at most" in done.stdout


def test_a_gpus_memory_is_what_pytorch_had_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: {"cuda:1": 37_258_000_000}[str(device)])
    assert peak_memory(torch.device("cuda:1")) == 37_258_000_000
