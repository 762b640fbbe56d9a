"""The near-duplicates of the audit: groups and pairs are those that brute force finds."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import planted_copies as planted
import pytest
import tiny_encoders as tiny
from click.testing import CliRunner, Result
from conftest import read
from in_process import decode_here
from PIL import Image

from align_data.cli import main
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.engines.local import LocalEngine
from align_data.models.sharing import SharedModel
from align_data.stages.audit import near_duplicates
from align_data.stages.audit.near import edges, phash
from align_data.stages.audit.near.edges import _Hung, _largest
from align_data.stages.audit.near.values import GROUPS, MEMBERS, PAIRS, NearMethod
from align_data.stages.embed import embed
from align_data.stages.measure import measure
from align_data.stages.neighbours import Comparing, neighbours
from align_data.storage.store import Store

THRESHOLD, FLOOR = 0.97, 0.9
RECIPE = """
name: keep-one
rules:
  - {signal: earlier_similarity_tiny, lt: 0.97, source: chosen}
"""


@cache
def images() -> list[planted.PlantedImage]:
    """Draw the pool once, where a test needs it: every process imports this file."""
    return planted.pool(24, copied=12, copies=("jpeg_60", "resized_90", "cropped_20", "brighter", planted.EXACT))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("near")
    dataset, engine = planted.dataset_of(images(), folder, texts=2, part_rows=60), LocalEngine(folder / "work", 1)
    with pytest.MonkeyPatch.context() as patch:
        decode_here(patch)
        signals = ["sha256", "decodable", "phash", "width", "height", "near_phash", "earlier_phash_distance"]
        measure(dataset, engine, Silent(), signals)
    embed(SharedModel.open(str(tiny.write_encoder(folder / "encoder")), None), dataset, "tiny", engine, Silent())
    neighbours(dataset, "tiny", engine, Silent(), Comparing(threshold=THRESHOLD, floor=FLOOR))
    (folder / "recipe.yaml").write_text(RECIPE)
    assert run(folder, "filter", "--recipe", folder / "recipe.yaml").exit_code == 0
    return folder


def run(folder: Path, command: str, *options: object) -> Result:
    return CliRunner().invoke(main, [command, str(folder / "dataset"), *map(str, options)])


def methods(folder: Path) -> dict[str, NearMethod]:
    found = near_duplicates(Dataset(Store(folder / "dataset")), LocalEngine(folder / "work", 1), Silent())
    return {method.signal: method for method in found}


@dataclass
class Nearest:
    """The nearest earlier image of each, by brute force: of those that have one so near."""

    value: dict[str, float]
    earlier: dict[str, str]

    def groups(self, near: Callable[[float], bool]) -> list[set[str]]:
        """Return the images that hang together, the largest group first."""
        roots: dict[str, set[str]] = {}
        for url in self.earlier:
            root = url
            while root in self.earlier and near(self.value[root]):
                root = self.earlier[root]
            roots.setdefault(root, {root}).add(url)
        return sorted((group for group in roots.values() if len(group) > 1), key=len, reverse=True)


def in_order() -> list[planted.PlantedImage]:
    """Return the images in the declared order: the larger first, then by SHA-256, then by the key of the URL."""
    pairs = {row["url"]: row["uid"] for row in URLS}

    def key(image: planted.PlantedImage) -> tuple[int, str, str]:
        size = Image.open(io.BytesIO(image.content)).size
        return -size[0] * size[1], hashlib.sha256(image.content).hexdigest(), pairs[image.url][:16]

    return sorted(images(), key=key)


URLS: list[dict[str, Any]] = []


@pytest.fixture(scope="module")
def by_cosine(folder: Path) -> Nearest:
    dataset = Dataset(Store(folder / "dataset"))
    URLS[:] = read(dataset, "pairs").select("uid", "url").to_dicts()
    vectors = {
        row["sha256"]: np.frombuffer(row["embedding"], "<f2").astype(float)
        for row in read(dataset, "embedded/tiny").to_dicts()
    }
    images = in_order()
    stacked = np.stack([vectors[hashlib.sha256(image.content).hexdigest()] for image in images])
    stacked /= np.linalg.norm(stacked, axis=1, keepdims=True)
    cosines = (stacked @ stacked.T).round(6)
    nearest = Nearest({}, {})
    for at, image in enumerate(images[1:], 1):
        best = int(cosines[at, :at].argmax())  # the first of equally near ones
        if cosines[at, best] >= FLOOR:
            nearest.value[image.url], nearest.earlier[image.url] = float(cosines[at, best]), images[best].url
    return nearest


def test_groups_by_embedding_are_those_of_brute_force(folder: Path, by_cosine: Nearest) -> None:
    method = methods(folder)["earlier_similarity_tiny"]
    assert (method.images, method.threshold) == (len(images()), THRESHOLD)
    expected = by_cosine.groups(lambda value: value >= THRESHOLD)
    assert [group.images for group in method.groups] == [len(group) for group in expected[:GROUPS]]
    shown: Counter[str] = Counter()
    url_of = {row["uid"]: row["url"] for row in URLS}
    for group in method.groups:
        (of,) = [each for each in expected if group.centre.url in each]
        assert by_cosine.value.get(group.centre.url, 0) < THRESHOLD  # nothing earlier is near it: it is kept
        members = {image.url: value for value, image in group.members}
        assert set(members) <= of - {group.centre.url}
        assert sorted(url_of[uid] for uid in group.uids) == sorted(of)
        values = sorted(by_cosine.value[url] for url in of - {group.centre.url})
        assert [value for value, _ in group.members] == pytest.approx(values[:MEMBERS], abs=2e-6)
        for url, value in members.items():
            assert value == pytest.approx(by_cosine.value[url], abs=2e-6)
        shown.update([group.centre.url, *members])
    assert set(shown.values()) == {1}


def test_what_thresholds_drop_by_embedding(folder: Path, by_cosine: Nearest) -> None:
    method = methods(folder)["earlier_similarity_tiny"]
    for entry in method.keep_one:
        assert entry.images == sum(value >= entry.threshold for value in by_cosine.value.values())
    assert method.dropped == sum(value >= THRESHOLD for value in by_cosine.value.values()) > 0
    assert any("Measured recall 1.0000" in note for note in method.notes)
    assert any("not calibrated" in note for note in method.notes)


def test_pairs_around_the_threshold_are_the_nearest_to_it(folder: Path, by_cosine: Nearest) -> None:
    (_, within), (_, beyond) = methods(folder)["earlier_similarity_tiny"].pairs
    values = sorted(by_cosine.value.values())
    least = [value for value in values if value >= THRESHOLD][:PAIRS]
    most = [value for value in values if value < THRESHOLD][::-1][:PAIRS]
    assert [pair.value for pair in within] == pytest.approx(least, abs=2e-6)
    assert [pair.value for pair in beyond] == pytest.approx(most, abs=2e-6)
    for pair in [*within, *beyond]:
        assert by_cosine.value[pair.second.url] == pytest.approx(pair.value, abs=2e-6)
        sizes = [image.width * image.height for image in (pair.first, pair.second) if image.width and image.height]
        assert sizes[0] >= sizes[1]


@pytest.fixture(scope="module")
def bits_apart() -> dict[tuple[str, str], int]:
    """Return in how many bits the pHashes of two images differ, whichever is named first."""
    hashes = {}
    for image in images():
        hashes[image.url] = imagehash.phash(Image.open(io.BytesIO(image.content)).convert("RGB"))
    return {(a, b): int(hashes[a] - hashes[b]) for a in hashes for b in hashes if a != b}


def test_groups_by_phash_are_those_of_brute_force(folder: Path, bits_apart: dict[tuple[str, str], int]) -> None:
    method = methods(folder)["earlier_phash_distance"]
    near: dict[str, set[str]] = {image.url: set() for image in images()}
    for (a, b), distance in bits_apart.items():
        if distance <= 6:
            near[a].add(b)
    assert (method.images, method.threshold) == (len(images()), 6)
    largest = max(map(len, near.values())) + 1
    assert method.groups[0].images == largest > 5
    shown: Counter[str] = Counter()
    url_of = dict(read(Dataset(Store(folder / "dataset")), "pairs").select("uid", "url").rows())
    for group in method.groups:
        of = near[group.centre.url]
        assert group.images == len(of) + 1
        members = {image.url: value for value, image in group.members}
        assert set(members) <= of
        assert sorted(url_of[uid] for uid in group.uids) == sorted([group.centre.url, *of])
        farthest = sorted((bits_apart[group.centre.url, url] for url in of), reverse=True)[:MEMBERS]
        assert [value for value, _ in group.members] == farthest
        shown.update([group.centre.url, *members])
    assert set(shown.values()) == {1}
    centres = [group.centre.url for group in method.groups]
    ranks = sorted((len(others) + 1 for others in near.values()), reverse=True)
    assert len(centres) == GROUPS
    assert all(bits_apart[a, b] > 12 for a in centres for b in centres if a != b)
    assert [group.images for group in method.groups] <= ranks[:GROUPS]


def test_what_thresholds_drop_and_pairs_by_phash(folder: Path, bits_apart: dict[tuple[str, str], int]) -> None:
    URLS[:] = read(Dataset(Store(folder / "dataset")), "pairs").select("uid", "url").to_dicts()
    method = methods(folder)["earlier_phash_distance"]
    images = [image.url for image in in_order()]
    earlier = [min(bits_apart[url, before] for before in images[:at]) for at, url in enumerate(images) if at]
    for entry in method.keep_one:
        assert entry.images == sum(distance <= entry.threshold for distance in earlier)
    assert next(kind for kind, _ in method.pairs) == "equal pHash"
    assert {pair.value for _, pairs in method.pairs for pair in pairs} == {d for d in earlier if d <= 6}
    for pair in (pair for _, pairs in method.pairs for pair in pairs):
        assert bits_apart[pair.first.url, pair.second.url] == pair.value
        assert images.index(pair.first.url) < images.index(pair.second.url) or pair.first.width == pair.second.width
    assert any("no pair within the distance is missed" in note for note in method.notes)


def test_the_command_line_says_the_same(folder: Path) -> None:
    document = json.loads(run(folder, "audit", "--recipe", "keep-one", "--near", "--json").stdout)
    assert document["near_duplicates"] == [method.to_json() for method in methods(folder).values()]
    assert "near_duplicates" not in json.loads(run(folder, "audit", "--recipe", "keep-one", "--json").stdout)
    printed = run(folder, "audit", "--recipe", "keep-one", "--near").stdout
    largest = methods(folder)["earlier_similarity_tiny"].groups[0]
    assert f"{largest.images} images like {largest.centre.url}" in printed
    assert "Measured recall 1.0000" in printed


def test_the_number_of_a_groups_images_leads_to_a_pair_of_each(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("starlette", reason="needs the extra view")
    from explorer_server import client_of, opened  # noqa: PLC0415 - for whom the extra is there

    dataset = Dataset(Store(folder / "dataset"))
    numbers = re.findall(
        r'<a href="/a-token/(pairs[^"]*)">(\d+) images</a>', client_of(opened(dataset)).get("groups/tables").text
    )
    assert len(numbers) == sum(len(method.groups) for method in methods(folder).values()) > GROUPS
    for link, number in numbers:
        answer = client_of(opened(dataset)).get(unescape(link)).text
        assert f"<b>{number} pairs</b>" in answer
    monkeypatch.setattr(edges, "LISTED", 2)
    monkeypatch.setattr(phash, "LISTED", 2)
    few = [group for method in methods(folder).values() for group in method.groups]
    assert {len(group.uids) for group in few if group.images > 3} == {0}
    assert {len(group.uids) for group in few if group.images <= 3} <= {2, 3}


def page(folder: Path, *options: object) -> str:
    file = folder / "page.html"
    result = run(folder, "audit", "--recipe", "keep-one", "--html", file, *options)
    assert result.exit_code == 0, result.stderr
    return file.read_text()


def test_the_page_shows_groups_and_pairs_side_by_side(folder: Path) -> None:
    html = page(folder)
    shown = methods(folder)
    section = html[html.index('id="near"') : html.index('id="made"')]
    assert section.count('<div class="star">') == sum(len(method.groups) for method in shown.values())
    assert section.count('<div class="duo">') == sum(len(of) for m in shown.values() for _, of in m.pairs)
    images = [image for method in shown.values() for image in method.pictured()]
    assert section.count('src="data:image/') == len(images)
    assert all(image.url in section for image in images)
    without = page(folder, "--no-pictures")
    section = without[without.index('id="near"') : without.index('id="made"')]
    assert section.count("no picture") == len(images)


def test_what_cannot_be_shown_falls_back_to_text(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    for tar in (tmp_path / "copy" / "dataset" / "bytes").rglob("*.tar"):
        tar.unlink()
    html = page(tmp_path / "copy")
    assert "pictures could not be read" in html
    assert html.count("no picture") > 20


def test_a_takedown_reaches_what_is_shown(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    gone = methods(folder)["earlier_similarity_tiny"].groups[0].centre.url
    (tmp_path / "urls.txt").write_text(gone)
    result = run(tmp_path / "copy", "takedown", "--urls", tmp_path / "urls.txt")
    assert result.exit_code == 0, result.stderr
    html = page(tmp_path / "copy")
    assert gone in page(folder)
    assert gone not in html[html.index("<h2 id=") :]
    assert 'id="near"' in html  # the others are there still


def test_images_that_hang_on_each_other_in_a_circle_end() -> None:
    edges = {"a": "b", "b": "a"}  # as no table has it, unless it is damaged
    hung = _Hung(Counter(edges.values()), {"a": [(0.99, "a", "b")], "b": [(0.98, "b", "a")]}, edges)
    assert sum(group.images - 1 for group in _largest([hung])) == 2


def test_without_near_duplicates_there_is_no_section(tmp_path: Path) -> None:
    dataset, engine = planted.dataset_of(planted.pool(2, copied=0), tmp_path), LocalEngine(tmp_path / "work", 1)
    measure(dataset, engine, Silent(), ["n_words"])
    (tmp_path / "recipe.yaml").write_text("name: keep-one\nrules:\n  - {signal: n_words, ge: 1, source: chosen}\n")
    assert run(tmp_path, "filter", "--recipe", tmp_path / "recipe.yaml").exit_code == 0
    assert 'id="near"' not in page(tmp_path)
    printed = run(tmp_path, "audit", "--recipe", "keep-one", "--near")
    assert "No near-duplicates are measured" in printed.stdout
