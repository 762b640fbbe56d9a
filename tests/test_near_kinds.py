"""Recall and precision of each method by kind of near-copy, and evaluation images that have leaked, with planted truth."""

from __future__ import annotations

import hashlib
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import planted_copies as planted
import pytest
import tiny_encoders as tiny
from click.testing import CliRunner
from conftest import read
from in_process import decode_here
from PIL import Image

from align_data.cli import main
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.decoding.phash import phash
from align_data.engines.local import LocalEngine
from align_data.models.opening import open_model
from align_data.stages.measure import measure

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import near_kinds as benchmark

PHOTOGRAPHS = Path(__file__).resolve().parents[2] / "shared" / "data" / "images" / "photos"
RECOMPRESSED = ("jpeg_60", "jpeg_30", "png", "webp", "avif", "resized_90", "resized_50")
Findings = dict[str, planted.KindFinding]


@pytest.fixture(scope="module")
def methods(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Findings]:
    """Return what each method finds by kind."""
    images = [image for image in planted.pool(32, copied=10) if not image.scene.flat]
    hashes = np.array([phash(benchmark.decoded(image.content)) for image in images], np.int64)
    encoder = open_model(str(tiny.write_encoder(tmp_path_factory.mktemp("encoder"))))
    vectors = benchmark.embeddings(encoder, images)  # type: ignore[arg-type]
    methods = [benchmark.by_bytes(images), *benchmark.by_phash(hashes)]
    methods.append(benchmark.Method("tiny", benchmark.cosines(vectors) >= 0.97))
    return {method.title: planted.by_kind(images, method.near) for method in methods}


def test_equal_bytes_are_copies_and_nothing_else(methods: dict[str, Findings]) -> None:
    for kind, finding in methods["bytes"].items():
        assert (finding.recall, finding.precision) == ((1.0, 1.0) if kind == planted.EXACT else (0.0, None))


def test_phash_finds_what_is_recompressed_and_misses_what_is_moved(methods: dict[str, Findings]) -> None:
    six = methods["pHash ≤ 6"]
    for kind in (*RECOMPRESSED, "brighter", "grey", planted.EXACT):
        assert six[kind].recall >= 0.95, kind
    for kind in ("bordered", "mirrored", "cropped_20"):
        assert six[kind].recall <= 0.1, kind
    assert 0.4 <= six["cropped_5"].recall <= 0.95
    assert six["same_layout"].recall == six["same_ground"].recall == 0


def test_no_method_takes_others_for_copies_but_the_next_frame(methods: dict[str, Findings]) -> None:
    for title in ("pHash ≤ 2", "pHash ≤ 6", "tiny"):
        for kind in RECOMPRESSED:
            precision = methods[title][kind].precision
            assert precision is not None
            assert precision >= 0.88, (title, kind)
    for kind in planted.COPIES:
        recalls = [methods[f"pHash ≤ {distance}"][kind].recall for distance in benchmark.DISTANCES]
        assert recalls == sorted(recalls)


def test_an_encoder_finds_what_it_was_made_to_find(methods: dict[str, Findings]) -> None:
    for kind in (*RECOMPRESSED, planted.EXACT):
        assert methods["tiny"][kind].recall == 1, kind
    assert methods["tiny"]["mirrored"].recall > methods["pHash ≤ 10"]["mirrored"].recall == 0


def test_what_is_counted_by_kind() -> None:
    images = planted.pool(2, seed=20, copies=("png", planted.EXACT), near_misses=("next_frame",))
    places = {(image.of, image.kind): at for at, image in enumerate(images)}
    near = np.zeros((len(images), len(images)), bool)
    for a, b in [((0, "png"), (0, "original")), ((0, "png"), (1, "png")), ((1, "next_frame"), (1, "original"))]:
        near[places[a], places[b]] = near[places[b], places[a]] = True
    findings = planted.by_kind(images, near)
    assert findings["png"] == planted.KindFinding(0.5, 1 / 3)  # one pair from its own side, the wrong one from both
    assert findings[planted.EXACT] == planted.KindFinding(0.0, None)
    assert findings["next_frame"] == planted.KindFinding(0.5, 0.0)


def test_the_docs_have_a_row_for_each_kind() -> None:
    text = benchmark.DOCS.read_text()
    drawn = text[text.index(benchmark.BEGIN) : text.index(benchmark.END)].split("photographs:")[0]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in drawn.splitlines() if line.startswith("| ")]
    assert sorted(rows) == sorted(["kind", *benchmark.ABOUT.values(), "*not a copy*: any two originals"])
    assert set(benchmark.ABOUT) == {*planted.COPIES, *planted.NEAR_MISSES, planted.EXACT}


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="the real photographs are not in the repository, and not here")
def test_phash_of_photographs_that_are_copied() -> None:
    kinds = ("jpeg_30", "resized_50", "brighter", "bordered")
    distances: dict[str, list[int]] = {kind: [] for kind in kinds}
    for path in sorted(PHOTOGRAPHS.glob("*.jpg")):
        picture = Image.open(path).convert("RGB")
        for kind in kinds:
            copy = benchmark.decoded(planted.COPIES[kind](picture))
            distances[kind].append((phash(picture) ^ phash(copy)).bit_count())
    assert all(max(distances[kind]) <= 6 for kind in ("jpeg_30", "resized_50", "brighter"))
    assert sum(distance <= 6 for distance in distances["bordered"]) <= len(distances["bordered"]) // 3


# --- the pipeline ---


def test_exact_groups_are_of_one_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode_here(monkeypatch)
    images = planted.pool(12, copied=6, copies=(planted.EXACT, "png"), near_misses=("next_frame",))
    dataset = planted.dataset_of(images, tmp_path, part_rows=12)
    measure(dataset, LocalEngine(tmp_path / "work", 1), Silent(), ["urls_per_sha256", "images_per_phash"])
    measured = values(dataset, "copies")
    contents = Counter(hashlib.sha256(image.content).hexdigest() for image in images)
    hashes = {image.url: phash(benchmark.decoded(image.content)) for image in images}
    of_hash = Counter(hashes.values())
    assert max(contents.values()) > 1
    for image in images:
        row = measured[image.url]
        assert row["urls_per_sha256"] == contents[hashlib.sha256(image.content).hexdigest()]
        assert row["images_per_phash"] == of_hash[hashes[image.url]]


LEAKED = ("jpeg_30", "resized_50", "webp", "grey", planted.EXACT)


@pytest.fixture
def leaked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Dataset, Path, list[planted.PlantedImage]]:
    """Return a dataset with copies of six evaluation images, their folder, and what the dataset has."""
    decode_here(monkeypatch)
    drawn = planted.pool(30, copied=6, copies=(*LEAKED, "mirrored"), near_misses=())
    images = [image for image in drawn if not image.scene.flat]
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    for image in images:
        if image.kind == "original" and image.of < 6:
            (evaluation / f"{image.of:03d}.jpg").write_bytes(image.content)
    pool = [image for image in images if image.kind != "original" or image.of >= 6]
    return planted.dataset_of(pool, tmp_path, part_rows=25), evaluation, pool


def call(*arguments: object) -> None:
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output


def values(dataset: Dataset, group: str) -> dict[str, Any]:
    rows = read(dataset, "pairs").hstack(read(dataset, f"measured/{group}"))
    return {row["url"]: row for row in rows.iter_rows(named=True)}


def is_named(name: str | None, image: planted.PlantedImage) -> bool:
    return name is not None and re.search(rf"\b{image.of:03d}\.jpg$", name) is not None


def test_a_leaked_evaluation_image_is_found_and_named_by_phash(leaked: Any, tmp_path: Path) -> None:
    dataset, evaluation, pool = leaked
    index = tmp_path / "index.parquet"
    call("eval-index", evaluation, "--out", index)
    call("measure", dataset.store.url, "--eval-index", index, "--signals", "eval_distance,eval_nearest")
    measured = values(dataset, "image")
    for image in pool:
        row = measured[image.url]
        if image.kind in LEAKED:
            assert row["eval_distance"] <= 6, image.kind
            assert is_named(row["eval_nearest"], image)
        else:  # no copy; or a mirrored one, which pHash does not see
            assert row["eval_distance"] > 6


def test_a_leaked_evaluation_image_is_found_and_named_by_embedding(leaked: Any, tmp_path: Path) -> None:
    dataset, evaluation, pool = leaked
    index, encoder = tmp_path / "index.parquet", tiny.write_encoder(tmp_path / "encoder")
    call("measure", dataset.store.url, "--signals", "sha256,decodable,phash")
    call("embed", encoder, dataset.store.url, "--as", "tiny")
    call("eval-index", evaluation, "--model", encoder, "--out", index)
    call("neighbours", "tiny", dataset.store.url, "--eval-index", index)
    compared = values(dataset, "eval.tiny")
    mirrored = 0
    for image in pool:
        row = compared[image.url]
        if image.kind in LEAKED and image.kind != "grey":  # without its colours this encoder sees another picture
            assert row["eval_similarity_tiny"] >= 0.99, image.kind
            assert is_named(row["eval_nearest_tiny"], image)
        elif image.kind == "original":
            assert row["eval_similarity_tiny"] < 0.99
        mirrored += image.kind == "mirrored" and is_named(row["eval_nearest_tiny"], image)
    assert mirrored >= 3
