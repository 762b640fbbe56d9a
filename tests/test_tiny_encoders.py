"""The tiny encoder is one that tests can learn from: copies are near, other pictures are not, words are what they name."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnxruntime
import planted_copies as planted
import tiny_encoders as tiny
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float64)


def pixels(contents: list[bytes]) -> NDArray[np.float32]:
    """Prepare images as the card says, without the code that reads it."""
    size = (tiny.SIDE, tiny.SIDE)
    pictures = [
        Image.open(io.BytesIO(content)).convert("RGB").resize(size, Image.Resampling.BICUBIC) for content in contents
    ]
    return np.stack([np.asarray(picture, np.float32).transpose(2, 0, 1) / 255 for picture in pictures])


def test_copies_are_near_and_others_are_not(tmp_path: Path) -> None:
    session = onnxruntime.InferenceSession(str(tiny.write_encoder(tmp_path) / "image.onnx"))
    images = [image for image in planted.pool(16) if not image.scene.flat]
    (embeddings,) = session.run(None, {"pixels": pixels([image.content for image in images])})
    assert embeddings.shape == (len(images), 48)
    cosines = unit(embeddings) @ unit(embeddings).T
    originals = {image.of: at for at, image in enumerate(images) if image.kind == "original"}
    places = list(originals.values())
    apart = cosines[np.ix_(places, places)][np.triu_indices(len(places), 1)]
    near = {
        kind: [cosines[at, originals[image.of]] for at, image in enumerate(images) if image.kind == kind]
        for kind in planted.COPIES
    }
    for kind in ("jpeg_60", "jpeg_30", "png", "webp", "avif", "resized_90", "resized_50"):
        assert min(near[kind]) > 0.99 > max(apart), kind
    for kind in ("cropped_5", "brighter", "hue", "mirrored", "watermarked", "grey"):
        assert np.median(near[kind]) > 0.9 > np.quantile(apart, 0.95), kind


def test_a_colour_is_near_the_word_for_it(tmp_path: Path) -> None:
    folder = tiny.write_encoder(tmp_path)
    flat = np.stack([np.full((tiny.SIDE, tiny.SIDE, 3), colour) for colour in tiny.COLOURS.values()])
    (images,) = onnxruntime.InferenceSession(str(folder / "image.onnx")).run(
        None, {"pixels": (flat / 255).transpose(0, 3, 1, 2).astype(np.float32)}
    )
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = np.array([[*tokenizer.encode(word.title()).ids, 0] for word in tiny.COLOURS])
    texts = onnxruntime.InferenceSession(str(folder / "text.onnx"))
    (words,) = texts.run(None, {"input_ids": ids, "attention_mask": np.array([[1, 0]] * len(ids))})
    cosines = unit(images) @ unit(words).T
    assert (cosines.argmax(axis=1) == np.arange(len(ids))).all()
    assert np.allclose(np.diag(cosines), 1, atol=1e-4)


def test_equal_seeds_make_equal_files(tmp_path: Path) -> None:
    first, again, other = (tiny.write_encoder(tmp_path / str(n), seed=n // 2) for n in range(3))
    assert [(first / file).read_bytes() for file in ("image.onnx", "text.onnx")] == [
        (again / file).read_bytes() for file in ("image.onnx", "text.onnx")
    ]
    assert (other / "image.onnx").read_bytes() != (first / "image.onnx").read_bytes()
