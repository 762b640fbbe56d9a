"""The Spark engine against the local one: the same files, byte for byte, whatever happens to a task."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import EVERY_RULE, HOSTILE, SCHEMA, SPARK, tree, write_list

from align_data.common.progress import Silent, Tick, ignore
from align_data.data.layout import Dataset
from align_data.engines.base import Engine, Shuffle
from align_data.engines.local import LocalEngine
from align_data.engines.spark import SparkEngine
from align_data.recipes.reading import parse
from align_data.stages.export import Form, export
from align_data.stages.grow import grow
from align_data.stages.ingest import Account, Parts, ingest
from align_data.stages.measure import Ranges, measure
from align_data.stages.pipeline import Decision, decide_ledger
from align_data.storage.store import Store

pytestmark = pytest.mark.spark
pytest.importorskip("pyspark")
TABLES = ("pairs", "rejected", "measured", "counts", "verdicts")


def hostile(rows: int, seed: int = 1) -> list[dict[str, Any]]:
    """Return rows of hostile texts, few URLs with many of them, and rows that are no pairs."""
    chance = random.Random(seed)
    words = ["a", "A", "b-c", "don't", "Don’t", "é", "日本", "1", "İ", "x" * 5_000]
    found = []
    for _ in range(rows):
        text = "".join(chance.choices(HOSTILE, k=chance.randrange(30)))
        few = " ".join(chance.choices(words, weights=[9] * 9 + [1], k=chance.randrange(7)))
        row = {
            "url": chance.choice(
                ["http://a/{}", "HTTPS://B.example/{}?q", "/{}", "http://a\0b/{}"][: chance.choice([2, 2, 4])]
            ),
            "alt_text": chance.choice([text, few, few, None]),
            "declared_width": chance.choice([None, 1, 200, 201, 600]),
            "declared_height": chance.choice([None, 1, 200, 201, 600]),
            "page_url": chance.choice([None, "http://p/1"]),
            "declared_language": None,
            "license": None,
            "source_uid": None,
        }
        row["url"] = row["url"].format(chance.randrange(rows // 2 + 1))
        found.append(row)
    return found + found[: rows // 10]


def job(
    out: Path,
    inputs: list[str],
    engine: Engine,
    parts: Parts = Parts(),  # noqa: B008
    ranges: Ranges = Ranges(),  # noqa: B008
) -> Account:
    """Run the main job with every knob."""
    dataset = Dataset(Store(out))
    account = ingest(inputs, dataset, engine, Silent(), parts=parts)
    measure(dataset, engine, Silent(), ranges=ranges)
    decide_ledger(Decision(parse(EVERY_RULE, "every.yaml")), dataset, engine, Silent())
    return account


def test_hostile_texts_in_many_small_parts_give_the_same_files(tmp_path: Path, spark: SparkEngine) -> None:
    inputs = write_list(tmp_path / "lists", hostile(4_000), files=3)
    parts, ranges = Parts(rows=700), Ranges(ngrams=1_000, texts=1_500)
    ours = job(tmp_path / "local", inputs, LocalEngine(tmp_path / "work"), parts, ranges)
    theirs = job(tmp_path / "spark", inputs, spark, parts, ranges)
    assert theirs == ours
    assert ours.rows == 4_400
    assert min(ours.merged, ours.rejected) > 100
    assert tree(tmp_path / "spark", *TABLES) == tree(tmp_path / "local", *TABLES)


class Titles(Silent):
    """Remembers the steps."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    @contextmanager
    def step(self, title: str, total: int | None, unit: str) -> Iterator[Tick]:
        self.steps.append(title)
        yield ignore


@pytest.mark.parametrize(
    ("unusable", "steps"),
    [
        (0, ["ingest: write"]),  # 5 parts, foreseen from the 1,000 rows of the lists
        (500, ["ingest: write", "ingest: write"]),  # 5 were foreseen, and the accounts say 3
        (None, ["ingest: account", "ingest: write"]),  # a list that does not say how many rows it has
    ],
)
def test_lists_are_read_once_where_the_parts_are_as_foreseen(
    tmp_path: Path, spark: SparkEngine, unusable: int | None, steps: list[str]
) -> None:
    found = [
        {"url": f"http://a.example/{n}" if n >= (unusable or 0) else "none", "alt_text": f"text {n}"}
        for n in range(1_000)
    ]
    inputs = write_list(tmp_path / "lists", [{**dict.fromkeys(SCHEMA), **row} for row in found], files=2)
    if unusable is None:
        inputs = [str(tmp_path / "list.csv")]
        pl.DataFrame(found).write_csv(inputs[0])
    titles, accounts = Titles(), []
    for name, engine, progress in (("local", LocalEngine(tmp_path / "work"), Silent()), ("spark", spark, titles)):
        accounts.append(ingest(inputs, Dataset(Store(tmp_path / name)), engine, progress, parts=Parts(rows=200)))
    assert titles.steps == steps
    assert accounts[0] == accounts[1]
    assert accounts[0].pairs == 1_000 - (unusable or 0)
    assert tree(tmp_path / "spark", "pairs", "rejected") == tree(tmp_path / "local", "pairs", "rejected")


def test_either_engine_goes_on_with_the_others_dataset(tmp_path: Path, spark: SparkEngine) -> None:
    inputs = write_list(tmp_path / "lists", hostile(900))
    local, parts = LocalEngine(tmp_path / "work"), Parts(rows=300)
    job(tmp_path / "local", inputs, local, parts)
    decision = Decision(parse(EVERY_RULE, "every.yaml"))
    for name, engines in {"a": (spark, local), "b": (local, spark)}.items():
        dataset = Dataset(Store(tmp_path / name))
        ingest(inputs, dataset, engines[0], Silent(), parts=parts)
        measure(dataset, engines[1], Silent(), ["n_words", "images_per_text"])
        measure(dataset, engines[0], Silent())
        decide_ledger(decision, dataset, engines[1], Silent())
        assert tree(tmp_path / name, *TABLES) == tree(tmp_path / "local", *TABLES)
        for engine in engines:
            kept = Store(tmp_path / f"{name}-{type(engine).__name__}")
            form = Form("metadata")
            export(dataset, "every", kept, form, engine, Silent(), without=["nsfw"], drop_pending=True)
    exports = [tree(tmp_path / f"{name}-{kind}") for name in "ab" for kind in ("LocalEngine", "SparkEngine")]
    assert all(one == exports[0] for one in exports)
    assert any(name.endswith(".parquet") for name in exports[0])


def test_tiny_budgets_and_512_ranges_give_the_same_ledger(tmp_path: Path, spark: SparkEngine) -> None:
    inputs = write_list(tmp_path / "lists", hostile(3_600))
    job(tmp_path / "local", inputs, LocalEngine(tmp_path / "work"))
    tiny = SparkEngine(SPARK, memory=20_000)
    assert tiny.session is spark.session
    job(tmp_path / "spark", inputs, tiny, Parts(rows=1_000), Ranges(ngrams=5, texts=1_000))
    same = [pl.scan_parquet(f"{tmp_path}/{name}/verdicts/every/*.parquet").collect() for name in ("local", "spark")]
    assert same[0].equals(same[1])
    counts = [pl.scan_parquet(f"{tmp_path}/{name}/counts/ngrams/*.parquet").collect() for name in ("local", "spark")]
    assert counts[0].equals(counts[1])
    assert len(list((tmp_path / "spark/counts/ngrams").glob("*.parquet"))) >= 512


@pytest.mark.parametrize("certain", [True, False])
def test_rows_move_by_any_key_as_on_the_local_engine(tmp_path: Path, spark: SparkEngine, *, certain: bool) -> None:
    units = [range(start, 40_000, 3) for start in range(3)]

    def prepare(unit: range, tick: Tick) -> Any:
        numbers = pl.Series(unit, dtype=pl.UInt64)
        yield pl.DataFrame({"cell": numbers % 7, "name": numbers, "vector": [bytes(n % 5) for n in unit]})
        return len(unit)

    def write(part: int, frames: Any, tick: Tick) -> list[Any]:
        return [row for rows in frames for row in rows.rows()]

    shuffle: Shuffle[range, int, list[Any]] = Shuffle(
        prepare,
        lambda rows: rows.sort("cell", "name"),
        lambda accounts: [1, 3, 100],
        write,
        foreseen=[1, 3, 100] if certain else None,
        is_certain=certain,
        key="cell",
        tie="name",
        title="move",
    )
    local = LocalEngine(tmp_path / "work", 2).shuffle(shuffle, units, Silent())
    assert spark.shuffle(shuffle, units, Silent()) == local
    assert [row for part in local[1] for row in part] == sorted((n % 7, n, bytes(n % 5)) for n in range(40_000))
    assert [{cell for cell, *_ in part} for part in local[1]] == [{0}, {1, 2}, {3, 4, 5, 6}, set()]


def test_a_batch_is_added_alike_on_either_engine(tmp_path: Path, spark: SparkEngine) -> None:
    found = hostile(400)
    lists = write_list(tmp_path / "lists", found[:300])
    later = [str(Path(path).rename(tmp_path / "later.parquet")) for path in write_list(tmp_path / "later", found[300:])]
    for out, engine in (("a", LocalEngine(tmp_path / "work", 2)), ("b", spark)):
        job(tmp_path / out, lists, engine, Parts(rows=60))
        grow(later, Dataset(Store(tmp_path / out)), engine, Silent(), name="later")
        decide_ledger(Decision(parse(EVERY_RULE, "e.yaml")), Dataset(Store(tmp_path / out)), engine, Silent())
    tables = ("pairs", "rejected", "measured", "counts", "verdicts")
    assert tree(tmp_path / "a", *tables) == tree(tmp_path / "b", *tables)
