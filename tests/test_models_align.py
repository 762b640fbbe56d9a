"""A model of ours is an encoder like any other: what it says is what evaluation and search have of it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("transformers")

import torch
from tiny_models import TEXTS

from align_data.common.errors import AlignDataError, InputError
from align_data.models.encoder import BATCH
from align_data.models.opening import open_model
from align_data.train.model import Dual, build
from align_data.train.preprocessing import centre
from align_data.train.tokens import learn


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a folder as `align-data train` does."""
    folder = tmp_path_factory.mktemp("trained")
    tokenizer = learn(TEXTS[:4], 200)
    torch.manual_seed(0)
    model = build("tiny", 32, tokenizer.get_vocab_size(), 24, 0.1)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def png(seed: int, size: tuple[int, int]) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


FILES = [png(seed, size) for seed, size in enumerate([(1, 1), (60, 40), (31, 95), (400, 300), (38, 38)])]


def test_embeddings_are_those_of_evaluation(trained: Path) -> None:
    encoder: Any = open_model(str(trained), "cpu")
    dual = Dual.load(str(trained), "cpu")
    pixels = [encoder.preparation.apply(Image.open(io.BytesIO(file))) for file in FILES]
    assert np.array_equal(np.stack(pixels), np.stack([centre(file, 32) for file in FILES]))
    assert np.abs(encoder.images(pixels) - dual.images(np.stack(pixels))).max() < 1e-5
    assert np.abs(encoder.texts(TEXTS) - dual.texts(TEXTS)).max() < 1e-5
    assert encoder.dim == dual.dim
    assert np.abs(encoder.images(pixels)[1] - encoder.images(pixels)[2]).max() > 1e-3
    assert (encoder.identity.kind, encoder.device) == ("align", "cpu")


def test_a_vector_does_not_depend_on_its_batch(trained: Path) -> None:
    encoder: Any = open_model(str(trained), "cpu")
    pixels = [np.random.default_rng(n).integers(0, 256, (32, 32, 3), np.uint8) for n in range(BATCH + 2)]
    texts = [TEXTS[number % len(TEXTS)] for number in range(BATCH + 2)]
    for embed, rows in ((encoder.images, pixels), (encoder.texts, texts)):
        together = embed(rows)
        assert np.array_equal(together[-1], embed(rows[-1:])[0])
        assert np.array_equal(together[3:6], embed(rows[5:2:-1])[::-1])


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("tokenizer.json", b"{", r"tokenizer\.json is not a tokenizer that can be used"),
        ("tokenizer.json", None, r"cannot read the model's file .*tokenizer\.json: No such file"),
        ("model.safetensors", b"garbage" * 100_000, r"cannot be opened as AlignModel"),
    ],
)
def test_a_damaged_folder_is_a_sentence(
    trained: Path, tmp_path: Path, name: str, content: bytes | None, sentence: str
) -> None:
    for file in trained.iterdir():
        if file.name != name:
            (tmp_path / file.name).symlink_to(file)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(AlignDataError, match=sentence):
        open_model(str(tmp_path), "cpu")


def test_images_without_end_are_a_sentence(trained: Path, tmp_path: Path) -> None:
    for file in trained.iterdir():
        (tmp_path / file.name).symlink_to(file)
    config = json.loads((trained / "config.json").read_text())
    config["vision_config"]["image_size"] = 10**6
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"config\.json: image_size takes 1 to 4,096; here it has 1,000,000"):
        open_model(str(tmp_path), "cpu")
