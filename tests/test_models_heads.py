"""Heads on embeddings: equal to PyTorch's own layers, and a sentence for everything that is wrong."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import itertools

import torch
from safetensors.numpy import save_file
from torch import nn

from align_data.common.errors import AlignDataError, SignalError
from align_data.models import heads
from align_data.models.heads import LinearHead, open_head

DIGEST = "ab" * 32
Arrays = dict[str, Any]


def laion() -> nn.Module:
    """Return a head of the shape of LAION's aesthetics predictor: linear layers, dropout and nothing between."""
    torch.manual_seed(0)
    sizes = [12, 16, 8, 1]
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.Dropout(0.2)]
    model = nn.Module()
    model.layers = nn.Sequential(*layers[:-1])
    return model.eval()


def write(path: Path, arrays: Arrays, **card: Any) -> Path:
    keys = {"dim": 12, "range": "[-10, 10]", **card}
    path.with_suffix(".yaml").write_text("".join(f"{key}: {v}\n" for key, v in keys.items() if v is not None))
    if path.suffix == ".safetensors":
        save_file(arrays, path)
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, path)
    return path


def arrays_of(model: nn.Module) -> Arrays:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def unit_vectors(count: int = 50, dim: int = 12) -> np.ndarray[Any, np.dtype[np.float32]]:
    vectors = np.random.default_rng(0).normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("ending", [".pth", ".pt", ".safetensors", ".npz"])
def test_scores_are_those_of_pytorch(tmp_path: Path, ending: str) -> None:
    model, vectors = laion(), unit_vectors()
    head = open_head(str(write(tmp_path / f"aesthetics{ending}", arrays_of(model))))
    with torch.inference_mode():
        wanted = model.layers(torch.from_numpy(vectors))[:, 0].numpy()  # type: ignore[operator]
    scores = head.score(vectors)
    assert scores.dtype == np.float64
    assert np.abs(scores - wanted).max() < 1e-5
    assert np.abs(head.score(vectors.astype(np.float16)) - wanted).max() < 1e-2
    assert np.allclose(head.score(vectors * 7), scores)  # embeddings are brought to unit length
    assert np.ptp(scores) > 1e-2


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("output", ["value", "sigmoid", "softmax"])
def test_activations_are_those_of_pytorch(tmp_path: Path, activation: str, output: str) -> None:
    torch.manual_seed(1)
    kind = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[activation]
    model = nn.Sequential(nn.Linear(12, 9), kind(), nn.Linear(9, 3, bias=False))
    vectors = unit_vectors()
    path = write(tmp_path / "h.safetensors", arrays_of(model), activation=activation, output=output, index=2)
    with torch.inference_mode():
        logits = model(torch.from_numpy(vectors))
        wanted = {"value": logits, "sigmoid": logits.sigmoid(), "softmax": logits.softmax(dim=1)}[output][:, 2]
    assert np.abs(open_head(str(path)).score(vectors) - wanted.numpy()).max() < 1e-6


def test_layers_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    sizes = [12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 2, 1]
    arrays = {f"layers.{n}.weight": np.ones((sizes[n + 1], sizes[n]), np.float32) for n in range(12)}
    assert open_head(str(write(tmp_path / "h.npz", arrays, range="[-1e5, 1e5]"))).dim == 12  # .10 is behind .9


def test_scores_do_not_depend_on_their_batch(tmp_path: Path) -> None:
    head = open_head(str(write(tmp_path / "h.pth", arrays_of(laion()))))
    vectors = unit_vectors(500)
    together = head.score(vectors).round(6)
    assert np.array_equal(together, np.concatenate([head.score(vectors[n : n + 1]) for n in range(500)]).round(6))
    assert head.score(vectors[:0]).shape == (0,)


def linear(dim: int = 12, outputs: int = 1) -> Arrays:
    return {"weight": np.full((outputs, dim), 0.1, np.float32), "bias": np.zeros(outputs, np.float32)}


def test_a_head_belongs_to_an_encoder(tmp_path: Path) -> None:
    head = open_head(str(write(tmp_path / "h.npz", linear(), encoder=DIGEST)))
    head.check_encoder(DIGEST, 12)
    with pytest.raises(
        SignalError, match=r"belongs to the encoder abababababab…; these embeddings are of 121212121212…"
    ):
        head.check_encoder("12" * 32, 12)
    with pytest.raises(SignalError, match="takes embeddings of 12 dimensions; these have 24"):
        head.check_encoder(DIGEST, 24)
    open_head(str(write(tmp_path / "h.npz", linear()))).check_encoder("12" * 32, 12)  # it does not say


def test_the_digest_is_of_weights_and_card(tmp_path: Path) -> None:
    def digest(arrays: Arrays, **card: Any) -> str:
        return open_head(str(write(tmp_path / "h.npz", arrays, **card))).identity.digest

    before = digest(linear())
    assert digest(linear(), about="a remark") == before
    assert len({before, digest({**linear(), "bias": np.ones(1, np.float32)}), digest(linear(), range="[-9, 9]")}) == 3


class _Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("evil"),))


_ZEROS = bytes(2**16)


def _bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("weight.npy", "w") as file:
        for _ in range(300):
            file.write(_ZEROS)


HOSTILE: list[tuple[str, Arrays, dict[str, Any], str]] = [
    (".npz", linear(13), {}, r"takes 13 dimensions, but its card says 12"),
    (".npz", linear(outputs=3), {}, r"gives 3 values: its card must say by index which is the score"),
    (".npz", linear(), {"index": 1}, r"gives 1 values, but its card's index is 1"),
    (".npz", linear(), {"output": "softmax"}, r"of which a softmax is always 1: its card may mean sigmoid"),
    (".npz", {"weight": np.full((1, 12), np.nan)}, {}, r"weight has values that are not numbers"),
    (".npz", {"a.weight": np.ones((5, 12)), "b.weight": np.ones((1, 6))}, {}, r"do not fit each other: 12 to 5, 6 to 1"),
    (".npz", {"weight": np.ones(12)}, {}, r"weight of the shape \(12,\) is not of a linear layer"),
    (".npz", {"weight": np.ones((1, 12)), "bias": np.ones(2)}, {}, r"is not of a linear layer"),
    (".npz", {"weight": np.ones((0, 12))}, {}, r"is not of a linear layer"),
    (".npz", {"weight": np.array([["a"] * 12])}, {}, r"weight is not of numbers"),
    (".npz", {"layers.1.running_mean": np.ones(12)}, {}, r"has layers\.1\.running_mean, which is not of a linear layer"),
    (".npz", {}, {}, r"has no linear layer"),
    (".npz", linear(), {"dim": 0}, r"h\.yaml, line 1: dim takes the length of the embeddings"),
    (".npz", linear(), {"range": "[5, 1]"}, r"range takes the least value first; here it has \[5, 1\]"),
    (".npz", linear(), {"range": None}, r"the key range is missing"),
    (".npz", linear(), {"output": "sigmoid", "range": "[0, 0.5]"}, r"output is sigmoid, which is 0 to 1, but range is"),
    (".npz", linear(), {"activation": "gelu"}, r"activation takes none, relu, tanh or sigmoid"),
    (".npz", linear(), {"encoder": "abc"}, r"encoder takes the digest of the encoder"),
    (".npz", linear(), {"inputs": "raw"}, r"there is no key inputs"),
]  # fmt: skip


@pytest.mark.parametrize(("ending", "arrays", "card", "sentence"), HOSTILE, ids=[row[3][:40] for row in HOSTILE])
def test_a_head_that_lies_is_a_sentence(tmp_path: Path, ending: str, arrays: Arrays, card: Any, sentence: str) -> None:
    with pytest.raises(AlignDataError, match=sentence) as caught:
        open_head(str(write(tmp_path / f"h{ending}", arrays, **card)))
    assert len(str(caught.value).splitlines()) == 1


FILES: list[tuple[str, Callable[[Path], Any], str]] = [
    (".pth", lambda path: torch.save({"weight": _Evil()}, path), r"cannot be read as weights: Weights only load failed"),
    (".pth", lambda path: torch.save([1], path), r"cannot be read as weights: "),
    (".pth", lambda path: path.write_bytes(b"garbage"), r"cannot be read as weights: "),
    (".safetensors", lambda path: path.write_bytes(b"\xff" * 100), r"cannot be read as weights: "),
    (".npz", lambda path: path.write_bytes(b"PK"), r"cannot be read as weights: "),
    (".npz", lambda path: np.savez(path, weight=np.array([_Evil()], object)), r"cannot be read as weights: "),
    (".npz", _bomb, r"cannot be read as weights: it has 19,660,800 bytes when unpacked; at most"),
    (".npz", lambda path: os.truncate(path, 20 * 10**9), r"h\.npz has 20,000,000,000 bytes; at most 268,435,456 are read"),
    (".pth", lambda path: path.with_suffix(".yaml").unlink(), r"has no card: there is no .*h\.yaml"),
    (".pth", lambda path: path.unlink(), r"cannot read the head .*h\.pth: No such file"),
]  # fmt: skip


@pytest.mark.parametrize(("ending", "change", "sentence"), FILES, ids=[row[2][:40] for row in FILES])
def test_a_hostile_file_is_a_sentence(
    tmp_path: Path, ending: str, change: Callable[[Path], Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / f"h{ending}", linear())
    change(path)
    if change is _bomb:
        monkeypatch.setattr(heads, "MAX_HEAD", 2**20)
    with pytest.raises(AlignDataError, match=sentence) as caught:
        open_head(str(path))
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "evil").exists()


def test_another_ending_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(AlignDataError, match=r"it takes a file that ends in \.safetensors, \.npz, \.pth, \.pt"):
        open_head(str(tmp_path / "h.onnx"))


def head(tmp_path: Path, bias: float, **card: Any) -> LinearHead:
    arrays = {"weight": np.ones((1, 12), np.float32), "bias": np.array([bias], np.float32)}
    return open_head(str(write(tmp_path / "h.npz", arrays, **card)))


def test_scores_beyond_the_range_or_of_other_vectors_are_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SignalError, match=r"gives [\d.]+, which is outside of its card's range 0 to 1"):
        head(tmp_path, 50, range="[0, 1]").score(unit_vectors())
    with pytest.raises(SignalError, match=r"takes embeddings of 12 dimensions; these are \(50, 13\)"):
        head(tmp_path, 0).score(unit_vectors(dim=13))
    vectors = unit_vectors()
    vectors[3, 4] = np.nan
    with pytest.raises(SignalError, match=r"gives scores that are not numbers"):
        head(tmp_path, 0).score(vectors)
