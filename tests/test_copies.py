"""Signals of copies from images to recipes: measured, looked up, refused beyond, kept through growth and takedown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from conftest import tree
from planted_copies import PlantedImage, dataset_of, fetch_bytes, pool
from test_near_phash import oracle_of

from align_data.cli import main
from align_data.common.errors import DatasetError, RecipeError
from align_data.common.progress import Silent
from align_data.content.plan import Sight
from align_data.data.layout import Dataset
from align_data.data.references import give_evaluation
from align_data.engines.local import LocalEngine
from align_data.recipes.reading import parse
from align_data.stages.audit import audit
from align_data.stages.audit.sweep import SweepRequest, sweep
from align_data.stages.decision import Decision, decide_ledger
from align_data.stages.measure import measure
from align_data.storage.store import Store

NAMES = ("urls_per_sha256", "images_per_phash", "near_phash", "earlier_phash_distance")


@pytest.fixture(scope="module")
def images() -> list[PlantedImage]:
    return pool(originals=5, seed=17)


def columns(dataset: Dataset) -> pl.DataFrame:
    """Return URL and copies of all pairs."""
    frames = []
    for part in range(len(dataset.ingested().parts)):
        pairs = pl.concat(dataset.pairs.pieces(part, ["url"]))
        frames.append(pairs.hstack(pl.concat(dataset.measured("copies").pieces(part, NAMES))))
    return pl.concat(frames)


def truth(dataset: Dataset, within: int) -> dict[str, tuple[Any, ...]]:
    """Return the copies of each URL by comparing all images with all."""
    names = ["url", "phash", "sha256", "width", "height"]
    parts = range(len(dataset.ingested().parts))
    rows = [row for part in parts for piece in dataset.content.pieces(part, names) for row in piece.rows()]
    return oracle_of(rows, within)


def check(dataset: Dataset, within: int) -> None:
    by_url = truth(dataset, within)
    for url, *values in columns(dataset).rows():
        assert tuple(values) == by_url[url], url


def local(tmp_path: Path) -> LocalEngine:
    return LocalEngine(tmp_path / "engine", 2)


def recipe(test: str) -> Decision:
    return Decision(parse(f"name: r\nrules:\n  - {{signal: earlier_phash_distance, {test}, source: chosen}}", "r.yaml"))


def test_all_pairs_of_an_image_have_its_copies_and_keep_one_is_a_threshold(
    images: list[PlantedImage], tmp_path: Path
) -> None:
    dataset = dataset_of(images, tmp_path, texts=2, part_rows=60)
    assert len(dataset.ingested().parts) > 2
    invoked = CliRunner().invoke(main, ["measure", dataset.store.root, "--phash-within", "4"])
    assert invoked.exit_code == 0, invoked.output
    check(dataset, 4)
    assert not dataset.store.names("_copies")
    measured = columns(dataset)
    assert measured["earlier_phash_distance"].is_between(0, 4).any()  # copies were planted
    decide_ledger(recipe("gt: 2"), dataset, local(tmp_path), Silent())
    kept = audit(dataset, "r").kept
    assert kept == len(measured.filter(pl.col("earlier_phash_distance") > 2))
    swept = sweep(dataset, "r", SweepRequest("earlier_phash_distance", [0, 1, 4]), local(tmp_path), Silent())
    assert [point.kept for point in swept.values] == [
        len(measured.filter(pl.col("earlier_phash_distance") > at)) for at in (0, 1, 4)
    ]
    # Of the images of each pHash one stays.
    by_url = measured.unique("url")
    assert (by_url["urls_per_sha256"] > 1).any()
    hashes = round(sum(1 / images for images in by_url["images_per_phash"]))
    assert len(by_url.filter(pl.col("earlier_phash_distance") > 0)) == hashes


@pytest.mark.parametrize(
    ("test", "needed"),
    [
        ("gt: 7", 7), ("ge: 8", 7), ("lt: 8", 7), ("le: 7", 7), ("eq: 9", 9), ("in: [0, 12]", 12),
        ("between: [3, 9]", 9), ("le: 64", 64), ("ge: 65", 64), ("eq: 65", 65), ("gt: 6.5", None), ("gt: 6", None),
        ("ge: 7", None), ("le: 6", None), ("lt: 7", None), ("between: [7, 65]", None), ("le: 65", None),
        ("gt: 65", None), ("ge: 0", None), ("lt: 0", None), ("in: [0, 6]", None),
    ],
)  # fmt: skip
def test_a_rule_that_asks_beyond_what_was_looked_up_is_refused(
    decidable: Dataset, tmp_path: Path, test: str, needed: int | None
) -> None:
    if needed is None:
        decide_ledger(recipe(test), decidable, local(tmp_path), Silent())
        return
    with pytest.raises(RecipeError, match=f"up to {needed}, and earlier_phash_distance was looked up to 6"):
        decide_ledger(recipe(test), decidable, local(tmp_path), Silent())
    decide_ledger(recipe("gt: 6"), decidable, local(tmp_path), Silent())
    if test.startswith("gt"):
        with pytest.raises(RecipeError, match="measure it again with --phash-within 7"):
            sweep(decidable, "r", SweepRequest("earlier_phash_distance", [3, 7]), local(tmp_path), Silent())


@pytest.mark.parametrize(
    "rule",
    [
        "any: [{signal: n_words, ge: 1}, {all: [{signal: earlier_phash_distance, gt: 7}]}]",
        "signal: earlier_phash_distance, by: n_words, gt: {3: 7, else: 1}",
    ],
)
def test_so_is_one_of_several_tests_or_classes(decidable: Dataset, tmp_path: Path, rule: str) -> None:
    far, near = (
        Decision(parse(f"name: r\nrules:\n  - {{name: far, {of}}}", "r.yaml")) for of in (rule, rule.replace("7", "6"))
    )
    with pytest.raises(RecipeError, match="the rule far asks about distances up to 7"):
        decide_ledger(far, decidable, local(tmp_path), Silent())
    decide_ledger(near, decidable, local(tmp_path), Silent())


@pytest.fixture(scope="module")
def decidable(images: list[PlantedImage], tmp_path_factory: Any) -> Dataset:
    folder = tmp_path_factory.mktemp("decidable")
    dataset = dataset_of(images[:12], folder)
    measure(dataset, LocalEngine(folder / "engine", 1), Silent(), list(NAMES))
    return dataset


def test_the_distance_stays_until_another_is_chosen(images: list[PlantedImage], tmp_path: Path) -> None:
    dataset, engine = dataset_of(images[:30], tmp_path), local(tmp_path)

    def measured(*names: str, **within: int) -> list[str]:
        return measure(dataset, engine, Silent(), names or list(NAMES), sight=Sight(within=within)).measured

    both = {"near_phash": 3, "earlier_phash_distance": 3}
    assert set(measured(**both)) == set(NAMES)
    check(dataset, 3)
    assert measured() == []  # as it was, though 6 is usual
    assert set(measured("near_phash", near_phash=9, earlier_phash_distance=9)) == set(both)  # the other would be beside
    check(dataset, 9)
    assert set(measured(near_phash=6, earlier_phash_distance=6)) == set(both)
    check(dataset, 6)


def test_more_images_make_copies_stale_and_are_counted(images: list[PlantedImage], tmp_path: Path) -> None:
    dataset, engine = dataset_of(images, tmp_path / "pool"), local(tmp_path)
    contents: dict[str, bytes | None] = {image.url: image.content for image in images}
    fetch_bytes(dataset, {**contents, **dict.fromkeys(list(contents)[::3])})
    measure(dataset, engine, Silent(), list(NAMES))
    check(dataset, 6)
    before = columns(dataset)
    assert before["near_phash"].null_count() == len(images[::3])
    fetch_bytes(dataset, contents)
    with pytest.raises(DatasetError, match="measured before the last fetch"):
        decide_ledger(recipe("gt: 6"), dataset, engine, Silent())
    measure(dataset, engine, Silent(), list(NAMES))
    check(dataset, 6)
    assert columns(dataset)["near_phash"].null_count() == 0


def test_a_takedown_leaves_what_others_have_and_no_hash_behind(images: list[PlantedImage], tmp_path: Path) -> None:
    dataset, engine = dataset_of(images[:30], tmp_path), local(tmp_path)
    measure(dataset, engine, Silent())
    before = columns(dataset)
    dataset.store.write_bytes("_copies/hashes/part-00000.parquet", b"of a search that was killed")
    (tmp_path / "list.txt").write_text(images[0].url)
    invoked = CliRunner().invoke(main, ["takedown", dataset.store.root, "--urls", str(tmp_path / "list.txt")])
    assert invoked.exit_code == 0, invoked.output
    assert not dataset.store.exists("_copies/hashes/part-00000.parquet")
    after = Dataset(Store(dataset.store.root))
    assert measure(after, engine, Silent()).measured == []
    assert columns(after).drop("url").equals(before.drop("url"))  # counted as long as nothing is fetched


@pytest.mark.parametrize("again", [None, ["near_phash"], ["n_words"]])
def test_a_search_killed_at_its_end_is_cleared_by_the_next_run_whatever_it_measures(
    images: list[PlantedImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: list[str] | None
) -> None:
    clean, killed = (dataset_of(images[:8], tmp_path / name) for name in ("clean", "killed"))
    for dataset in (clean, killed):
        measure(dataset, local(tmp_path), Silent(), ["n_chars"])
    measure(clean, local(tmp_path), Silent())

    def kill(self: Store, folder: str, form: Any) -> None:
        if folder == "_copies" and self.names(folder):
            raise KeyboardInterrupt
        clear(self, folder, form)

    clear = Store.clear
    monkeypatch.setattr(Store, "clear", kill)
    with pytest.raises(KeyboardInterrupt):
        measure(killed, local(tmp_path), Silent())
    monkeypatch.undo()
    assert len(killed.store.names("_copies")) == 5
    assert measure(Dataset(killed.store), local(tmp_path), Silent(), again).measured == []
    assert tree(Path(killed.store.root)) == tree(Path(clean.store.root))


@pytest.mark.parametrize("left", ["_copies/hashes/part-00000.parquet", "_neighbours/eye/part-00001.parquet"])
def test_a_takedown_clears_what_a_killed_comparison_has_left_also_where_it_takes_nothing_down(
    images: list[PlantedImage], tmp_path: Path, left: str
) -> None:
    dataset = dataset_of(images[:4], tmp_path)
    dataset.store.write_bytes(left, b"of a search that was killed")
    (tmp_path / "list.txt").write_text("http://nowhere.example/a.jpg")
    for options, stays in (["--dry-run"], True), ([], False):
        invoked = CliRunner().invoke(
            main, ["takedown", dataset.store.root, "--urls", str(tmp_path / "list.txt"), *options]
        )
        assert invoked.exit_code == 0, invoked.output
        assert dataset.store.exists(left) == stays


def test_spark_measures_the_same_copies(images: list[PlantedImage], tmp_path: Path, spark: Any) -> None:
    for name, engine in {"local": local(tmp_path), "spark": spark}.items():
        dataset = dataset_of(images[:40], tmp_path / name, part_rows=15)
        measure(dataset, engine, Silent(), [*NAMES])
    trees = [tree(tmp_path / name / "dataset" / "measured") for name in ("local", "spark")]
    assert trees[0] == trees[1]
    check(dataset, 6)


def test_evaluation_images_are_looked_for_as_far_as_is_chosen_and_many_not_to_the_end(
    images: list[PlantedImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, engine = dataset_of(images[:30], tmp_path), local(tmp_path)
    measure(dataset, engine, Silent(), ["phash"])
    phashes = [p for piece in dataset.measured("image").pieces(0, ["phash"]) for p in piece["phash"]]
    listed = [phashes[0], phashes[1] ^ 0b111, phashes[2] ^ 0x1FF]

    def measured(file: str, **chosen: int) -> list[tuple[int, str | None]]:
        pl.DataFrame({"name": list("abc"), "phash": listed}).write_parquet(tmp_path / file)
        give_evaluation(dataset, str(tmp_path / file))
        sight = Sight(within={name: chosen["within"] for name in ("eval_distance", "eval_nearest") if chosen})
        measure(dataset, engine, Silent(), ["eval_distance", "eval_nearest"], sight=sight)
        pieces = dataset.measured("image").pieces(0, ["eval_distance", "eval_nearest"])
        return [row for piece in pieces for row in piece.rows()]

    def truth(within: int) -> list[tuple[int, str | None]]:
        nearest = [min(((p ^ q) & (2**64 - 1)).bit_count() for q in listed) for p in phashes]
        names = [
            min("abc", key=lambda n: (((p ^ listed["abc".index(n)]) & (2**64 - 1)).bit_count(), n)) for p in phashes
        ]
        return [(d, n) if d <= within else (65, None) for d, n in zip(nearest, names, strict=True)]

    assert measured("few.parquet") == truth(64)
    assert measured("few.parquet", within=3) == truth(3)
    assert measured("few.parquet") == truth(3)  # as before
    with pytest.raises(RecipeError, match="measure it again with --eval-within 6"):
        decide_ledger(
            Decision(parse("name: r\nrules:\n  - {signal: eval_distance, gt: 6, source: chosen}", "r.yaml")),
            dataset,
            engine,
            Silent(),
        )
    for test in ("gt: 6", "between: [7, 64]"):  # it would be told what a rule that is taken out drops
        out = parse(f"name: r\nrules:\n  - {{signal: eval_distance, {test}, source: chosen}}", "r.yaml")
        with pytest.raises(RecipeError, match="measure it again with --eval-within"):
            decide_ledger(Decision(out, off=["eval_distance"]), dataset, engine, Silent())
    monkeypatch.setattr("align_data.data.references.FEW_EVALUATION", 2)
    listed[2] = phashes[2] ^ 0x1FFFF
    assert measured("many.parquet") == truth(8)
