"""Evaluation images by embedding: every image is held against all of them, exactly; another model's index is refused."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from embedded_pools import MODEL, Picture, cosine, embed, pool
from PIL import Image
from test_cli import answer, call
from tiny_encoders import write_encoder

from align_data.common.errors import DatasetError, InputError
from align_data.common.progress import Silent
from align_data.data.columns import available
from align_data.data.evaluations import write_index
from align_data.data.layout import Dataset
from align_data.engines.local import LocalEngine
from align_data.models.sharing import SharedModel
from align_data.neighbours.embedding import cosines
from align_data.stages.neighbours.evaluation import EvaluationReport, compare_with_evaluation
from align_data.storage.output_file import OutputFile


def drawn(seed: int, number: int, kind: str, dim: int = 6) -> list[Picture]:
    generator = np.random.default_rng(seed)
    vectors = np.round(generator.normal(size=(number, dim)), 1) + 1e-3
    return [Picture(f"http://h/{kind}{n}", f"{kind} {n}", vector) for n, vector in enumerate(vectors)]


def write(file: Path, pictures: list[Picture], model: str = MODEL) -> Path:
    vectors = np.array([each.half for each in pictures], np.float16).reshape(
        -1, 6 if not pictures else len(pictures[0].vector)
    )
    write_index(OutputFile(str(file)), [each.content for each in pictures], vectors, model)
    return file


def compare(dataset: Dataset, file: Path) -> EvaluationReport:
    return compare_with_evaluation(dataset, "eye", str(file), LocalEngine(dataset.store.work, 2), Silent())


def values(dataset: Dataset) -> dict[str, Any]:
    columns = ["eval_similarity_eye", "eval_nearest_eye"]
    rows: dict[str, Any] = {}
    for part in range(len(dataset.ingested().parts)):
        pairs = pl.concat(list(dataset.pairs.pieces(part, ["url"])))
        signals = pl.concat(list(dataset.measured("eval.eye").pieces(part, columns))).select(columns)
        rows |= dict(zip(pairs["url"], signals.iter_rows(), strict=True))
    return rows


@pytest.mark.parametrize("rows", [128, 3])
def test_every_image_is_held_against_all_evaluation_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(cosines, "_ROWS", rows)
    pictures, held_out = drawn(1, 40, "p"), drawn(2, 25, "e")
    held_out += [Picture("", "e 99", held_out[0].vector), Picture("", "e copy", pictures[3].vector)]
    dataset = pool(tmp_path / "pool", [*pictures, "http://h/gone"], parts=15)
    report = compare(dataset, write(tmp_path / "index.parquet", held_out))
    assert (report.images, report.evaluation, report.computed) == (40, 27, True)
    truth: dict[str, Any] = {"http://h/gone": (None, None)}
    for each in pictures:
        similarity, name = min((-cosine(each, other), other.content) for other in held_out)
        truth[each.url] = (-similarity, name)
    assert values(dataset) == truth
    assert truth["http://h/p3"] == (1.0, "e copy")
    assert not compare(dataset, tmp_path / "index.parquet").computed
    # The measured values follow from the embeddings and from the index.
    assert available(dataset, dataset.ingested()) >= {"eval_similarity_eye", "eval_nearest_eye"}
    assert compare(dataset, write(tmp_path / "other.parquet", held_out[1:])).computed
    embed(dataset, pictures[::-1][1:])
    with pytest.raises(DatasetError, match=r"compare them again: align-data neighbours eye .* --eval-index FILE"):
        available(dataset, dataset.ingested())


def test_an_image_without_length_has_no_nearest_one(tmp_path: Path) -> None:
    pictures = [*drawn(1, 3, "p"), Picture("http://h/flat", "flat", [0] * 6)]
    dataset = pool(tmp_path / "pool", pictures)
    compare(dataset, write(tmp_path / "index.parquet", drawn(2, 5, "e")))
    assert values(dataset)["http://h/flat"] == (None, None)


def test_what_is_not_an_index_of_this_model_is_a_sentence(tmp_path: Path) -> None:
    pictures, held_out = drawn(1, 9, "p"), drawn(2, 5, "e")
    dataset = pool(tmp_path / "pool", pictures)
    other = write(tmp_path / "other.parquet", held_out, "f" * 64)
    with pytest.raises(InputError, match=r"another model than embedded/eye: ffffffffffff…, not .*--model eye"):
        compare(dataset, other)
    pl.DataFrame({"name": ["a"], "phash": [1]}).write_parquet(tmp_path / "phash.parquet")
    with pytest.raises(InputError, match="is not an index of evaluation images by embedding"):
        compare(dataset, tmp_path / "phash.parquet")
    pl.DataFrame({"name": ["a"], "embedding": [held_out[0].half.tobytes()]}).write_parquet(tmp_path / "bare.parquet")
    with pytest.raises(InputError, match="another model than embedded/eye: an unknown one"):
        compare(dataset, tmp_path / "bare.parquet")
    (tmp_path / "text.parquet").write_text("no Parquet")
    os.mkfifo(tmp_path / "pipe.parquet")
    for absent in ("text.parquet", "absent.parquet", "pipe.parquet"):
        with pytest.raises(InputError, match="is not an index of evaluation images by embedding"):
            compare(dataset, tmp_path / absent)
    with pytest.raises(InputError, match="has no evaluation images"):
        compare(dataset, write(tmp_path / "none.parquet", []))
    with pytest.raises(InputError, match="an embedding that is not of 6 numbers, of unit length"):
        compare(dataset, write(tmp_path / "short.parquet", drawn(2, 5, "e", dim=5)))
    long = np.full((2, 6), np.nan, np.float16)
    write_index(OutputFile(str(tmp_path / "nan.parquet")), ["a", "b"], long, MODEL)
    with pytest.raises(InputError, match="an embedding that is not of 6 numbers, of unit length"):
        compare(dataset, tmp_path / "nan.parquet")
    assert dataset.measured("eval.eye").committed() is None


def test_eval_index_embeds_with_a_model(tmp_path: Path) -> None:
    encoder = write_encoder(tmp_path / "eye")
    folder = tmp_path / "held out"
    folder.mkdir()
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 255, (40, 60, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 100)
    result = answer("eval-index", folder, "--model", encoder, "--out", tmp_path / "index.parquet", "--workers", 1)
    assert result == {"images": 3, "skipped": {"broken.png": "cannot be decoded"}}
    written = pl.read_parquet(tmp_path / "index.parquet")
    assert written["name"].to_list() == ["0.png", "1.png", "2.png"]
    shared = SharedModel.open(str(encoder), None)
    model = shared.encoder
    for name, embedding in written.iter_rows():
        content = io.BytesIO((folder / name).read_bytes())
        pixels = model.preparation.apply(Image.open(content).convert("RGB"))
        truth = model.images([pixels])[0].astype(np.float16)
        assert np.frombuffer(embedding, "<f2").tolist() == truth.tolist()
    dataset = pool(tmp_path / "pool", drawn(1, 4, "p", dim=48), model=shared.digest)
    said = call("neighbours", "eye", dataset.store.url, "--eval-index", tmp_path / "index.parquet")
    assert "4 images compared with 3 evaluation images" in said.output
    assert answer("neighbours", "eye", dataset.store.url, "--eval-index", tmp_path / "index.parquet") == {
        "name": "eye",
        "evaluation": 3,
        "images": 4,
        "computed": False,
    }
    refused = call(
        "neighbours", "eye", dataset.store.url, "--eval-index", tmp_path / "index.parquet", "--floor", "0.5", code=2
    )
    assert "--eval-index compares with evaluation images alone, without --floor" in refused.output
