"""The processes that torchrun starts: alone as without it, and which GPU is whose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_train import asked, metrics, pairs, run, weights, write
from torch import distributed

from align_data.common.errors import TrainError
from align_data.train import ranks as ranks_module
from align_data.train.ranks import ranks


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A machine of two GPUs, and what is asked of it; the second of two processes."""
    asked_of: dict[str, Any] = {}
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: asked_of.update(current=str(device)))
    monkeypatch.setattr(ranks_module, "device_of", torch.device)

    def init(backend: str, device_id: torch.device | None = None) -> None:
        asked_of.update(backend=backend, device=str(device_id))

    monkeypatch.setattr(distributed, "init_process_group", init)
    monkeypatch.setattr(distributed, "destroy_process_group", lambda: asked_of.update(ended=True))
    return asked_of


@pytest.mark.parametrize("device", [None, "cuda"])
def test_each_process_has_a_gpu_and_says_which(device: str | None, gpus: dict[str, Any]) -> None:
    with ranks(device, asked()) as (rank, chosen):
        assert (rank.number, rank.of, str(chosen)) == (1, 2, "cuda:1")
        assert gpus == {"backend": "nccl", "device": "cuda:1", "current": "cuda:1"}
    assert gpus["ended"]


def test_on_cpus_they_join_by_gloo(gpus: dict[str, Any]) -> None:
    with ranks("cpu", asked()) as (_, chosen):
        assert (str(chosen), gpus) == ("cpu", {"backend": "gloo", "device": "None"})


@pytest.mark.parametrize(("device", "number"), [(None, 1), ("cuda", 1), ("cuda:0", 2)])
def test_two_processes_of_one_gpu_are_a_sentence_in_each_of_them(
    device: str | None, number: int, gpus: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """NCCL takes no GPU twice: where one process ends and the other waits for it, the run hangs."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: number)
    for local in ("0", "1"):
        monkeypatch.setenv("LOCAL_RANK", local)
        said = rf"started 2 processes on a machine whose GPUs are {number}, .*smaller --nproc-per-node"
        with pytest.raises(TrainError, match=said), ranks(device, asked()):
            pass
    assert gpus == {}


def test_alone_under_torchrun_a_run_goes_the_way_of_many_and_comes_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = write(tmp_path / "shards", pairs(150))
    run(shards, tmp_path / "plain", samples=32 * 3)
    began = distributed.init_process_group

    def init(backend: str) -> None:  # as torchrun's variables would have it, by a file in place of a port
        began(backend, init_method=f"file://{tmp_path}/store", rank=0, world_size=1)

    monkeypatch.setattr(distributed, "is_torchelastic_launched", lambda: True)
    monkeypatch.setattr(distributed, "init_process_group", init)
    run(shards, tmp_path / "torchrun", samples=32 * 3)
    assert not distributed.is_initialized()
    assert metrics(tmp_path / "torchrun") == metrics(tmp_path / "plain")
    assert weights(tmp_path / "torchrun") == weights(tmp_path / "plain")
