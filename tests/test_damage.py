"""Damage of every kind to every kind of file: a sentence that names the file, or nothing that anybody could see."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from conftest import tree
from test_shards import fetched, plain

from align_data.cli import main
from align_data.common.errors import AlignDataError
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.engines.local import LocalEngine
from align_data.stages.measure import measure
from align_data.storage.manifests import digest
from align_data.storage.store import Store
from align_data.storage.tables import MANIFESTS, Table

SEED = int(os.environ.get("DAMAGE_SEED", "12"))
EACH = int(os.environ.get("DAMAGE_EACH", "1"))
"""Damages of each file."""
FLIPS = 6
"""Of each file."""
RECIPE = "name: some\nrules:\n  - {signal: rarest_ngram, ge: 2, source: chosen}\n  - {signal: decodable, eq: true, source: chosen}\n"
SHAPES = (
    "[]",
    "{}",
    "null",
    '"x"',
    '{"format": 1}',
    '{"format": 2}',
    '{"format": "1"}',
    "[" * 100_000,
    "{",
    "9" * 9999,
)


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def make(folder: Path, rows: int) -> Path:
    """Make a dataset with every table that needs no network, and an export."""
    found, images = plain(rows, images=rows // 2)
    dataset = fetched(folder / "dataset", [*found, {"url": "ftp://x", "alt_text": "of no use"}], images, parts=12)
    measure(dataset, LocalEngine(dataset.store.work, 1), Silent())
    (folder / "some.yaml").write_text(RECIPE)
    (folder / "blocked.txt").write_text("host h3\n")
    (folder / "hosts.txt").write_text("h1\n")
    (folder / "later.txt").write_text("h2\n")
    for words in (
        ("measure", folder / "dataset", "--blocklist", folder / "blocked.txt"),
        ("filter", folder / "dataset", "--recipe", folder / "some.yaml"),
        ("filter", folder / "dataset", "--recipe", folder / "some.yaml", "--without", "decodable", "--as", "two"),
        ("export", folder / "dataset", "--recipe", "some", "--out", folder / "out", "--shard-names", "{:05d}"),
        ("takedown", folder / "dataset", "--hosts", folder / "hosts.txt"),
    ):
        assert call(*words).exit_code == 0, call(*words).output
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("whole"), 30)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("other"), 34)


def commands(here: Path) -> Iterator[list[object]]:
    dataset, out = here / "dataset", here / "out"
    yield ["diff", dataset, "some", "two"]
    yield ["audit", dataset, "--recipe", "some", "--html", here / "page.html"]
    yield ["sweep", dataset, "--recipe", "some", "--signal", "rarest_ngram"]
    yield ["why", dataset, "--recipe", "some", "--text", "text 2"]
    yield ["takedown", dataset, "--hosts", here / "later.txt", "--dry-run"]
    yield ["takedown", dataset, "--hosts", here / "later.txt", "--shards", out, "--dry-run"]
    yield ["verify", out]
    yield ["export", dataset, "--recipe", "some", "--out", here / "again", "--shard-names", "{:05d}"]
    yield ["export", dataset, "--recipe", "some", "--out", here / "ids", "--format", "uids"]
    yield ["ingest", here / "dataset-lists", "--out", dataset]
    yield ["filter", dataset, "--recipe", here / "some.yaml", "--without", "rarest_ngram", "--as", "three"]
    yield ["measure", dataset]
    yield ["filter", dataset, "--recipe", here / "some.yaml"]
    yield ["takedown", dataset, "--hosts", here / "later.txt"]


def part_of(folder: Path, pattern: str) -> Path:
    return sorted(folder.glob(pattern))[0]


FILES = (
    *(f"dataset/{table}/part-00001.parquet" for table in ("pairs", "images", "content", "measured/text")),
    *(f"dataset/{table}/part-00001.parquet" for table in ("measured/corpus", "measured/image", "verdicts/some")),
    *(f"dataset/{table}/part-00000.parquet" for table in ("rejected", "counts/ngrams", "counts/ngrams-classes")),
    *(f"dataset/{table}/part-00000.parquet" for table in ("tombstones", "blocklist", "counts/texts")),
    *(f"dataset/{MANIFESTS}/{table}.json" for table in ("pairs", "images", "content", "measured/text", "rejected")),
    *(
        f"dataset/{MANIFESTS}/{table}.json"
        for table in ("measured/image", "verdicts/some", "counts/ngrams", "tombstones")
    ),
    *("dataset/_log/ingest.json", "dataset/_log/2*.json", "dataset/takedowns/0001.json", "dataset/bytes/*1/*.tar"),
    *("out/manifest.json", "out/index.pq", "out/00000.tar", "out/00000_stats.json", "out/sizes.json"),
    *("out/README.md", "out/croissant.json", "out/wids-train.json"),
)


def truncated(path: Path, _: Path, chance: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: chance.randrange(1, path.stat().st_size)])


def emptied(path: Path, _: Path, __: random.Random) -> None:
    path.write_bytes(b"")


def deleted(path: Path, _: Path, __: random.Random) -> None:
    path.unlink()


def made_a_folder(path: Path, _: Path, __: random.Random) -> None:
    path.unlink()
    path.mkdir()


def of_another_dataset(path: Path, theirs: Path, _: random.Random) -> None:
    shutil.copyfile(theirs, path)


def of_a_sibling(path: Path, _: Path, __: random.Random) -> None:
    siblings = [each for each in sorted(path.parent.iterdir()) if each != path and each.suffix == path.suffix]
    root = next(each for each in path.parents if (each / "dataset").is_dir())
    instead = "pairs/part-00000.parquet" if path.suffix == ".parquet" else f"{MANIFESTS}/rejected.json"
    shutil.copyfile(siblings[0] if siblings else root / "dataset" / instead, path)


def flipped(path: Path, _: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def of_another_shape(path: Path, _: Path, chance: random.Random) -> None:
    path.write_text(chance.choice(SHAPES))


def of_another_shape_inside(path: Path, _: Path, chance: random.Random) -> None:
    """Change one value of a manifest, and give it the checksum of that: somebody has made it so."""
    if path.suffix != ".json":
        return of_another_shape(path, _, chance)
    value = json.loads(path.read_text())
    value.pop("checksum", None)
    inside, key = value, chance.choice(sorted(value))
    while isinstance(inside[key], dict) and inside[key] and chance.random() < 0.7:
        inside = inside[key]
        key = chance.choice(sorted(inside))
    inside[key] = chance.choice([None, [], {}, "x", -1, 2**70, True, [[1]], {"a": 1}, 1.5])
    path.write_text(json.dumps({**value, "checksum": digest(value)}))
    return None


DAMAGES: tuple[Callable[[Path, Path, random.Random], None], ...] = (
    *(truncated, emptied, deleted, made_a_folder, of_another_dataset, of_a_sibling, flipped),
    *(of_another_shape, of_another_shape_inside, of_another_shape_inside),
)


@pytest.mark.parametrize("file", FILES)
def test_damage_is_a_sentence(tmp_path: Path, whole: Path, other: Path, file: str) -> None:
    """All commands, one after another, on a dataset with one file damaged: each says a sentence, or does its work."""
    chance = random.Random(f"{SEED} {file}")
    for number, damage in enumerate(chance.sample(DAMAGES, EACH)):
        here = tmp_path / str(number)
        shutil.copytree(whole, here)
        path = part_of(here, file)
        damage(path, part_of(other, file), chance)
        said = []
        for words in commands(here):
            result = call(*words)
            context = (file, damage.__name__, words, result.output)
            assert result.exit_code in (0, 1, 2), context
            assert "unforeseen" not in result.output, context
            assert not isinstance(result.exception, AlignDataError), context
            said.append(result.output)
        shutil.rmtree(here)


def values(root: Path) -> dict[Any, Any]:
    """Return every value of every table of a dataset, with what the manifests and footers say."""
    dataset, found = Dataset(Store(root)), {}
    tables: list[Table[Any]] = [*dataset._tables.values(), dataset.reference("blocklist")]
    tables += [dataset.measured(group) for group in dataset.groups()]
    tables += [table for kind in ("ngrams", "texts") for table in (dataset.counts(kind), dataset.classes(kind))]
    tables += [dataset.ledger(name) for name in dataset.store.names("verdicts")]
    for table in tables:
        manifest = table.committed()
        if manifest is None:
            continue
        found[table.name] = (manifest.parts, json.dumps(manifest.meta.dump(), sort_keys=True))
        for part in range(len(manifest.parts)):
            columns = table.columns(part)
            found[table.name, part] = (columns, [piece.rows() for piece in table.pieces(part, columns)])
            found[table.name, part, "facts"] = table.facts(part)
    return found


def test_a_flipped_byte_is_said_or_changes_no_value(tmp_path: Path, whole: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(whole / "dataset", root)
    before, chance, said = values(root), random.Random(SEED), 0
    assert len(before) > 40
    files = sorted([*root.rglob("*.parquet"), *(root / MANIFESTS).rglob("*.json")])
    for path in files:
        content = path.read_bytes()
        for at in (chance.randrange(len(content)) for _ in range(FLIPS)):
            path.write_bytes(content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :])
            try:
                assert values(root) == before, (path, at)
            except AlignDataError as error:
                said += str(path.relative_to(root)) in str(error)
        path.write_bytes(content)
    assert said > len(files) * FLIPS * 0.8
    assert tree(root) == tree(whole / "dataset")
