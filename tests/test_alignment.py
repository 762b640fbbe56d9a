"""Tables that are row for row with `pairs`: no key in them says so, so their pieces and their rows are compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import oracle
import polars as pl
import pytest
from click.testing import CliRunner
from conftest import SCHEMA, Built, read

from align_data.cli import main
from align_data.common.errors import DatasetError
from align_data.data.layout import Dataset
from align_data.stages.ingest import Parts
from align_data.stages.takedown.integrity import Integrity
from align_data.storage.store import Store

RECIPE = """
name: short
rules:
  - {signal: n_words, between: [2, 4], source: chosen}
  - {signal: images_per_text, le: 3, source: chosen}
"""
ROWS = [
    {**dict.fromkeys(SCHEMA), "url": f"http://host/{n}", "alt_text": " ".join(["word"] * (n % 7)) + f" {n // 40}"}
    for n in range(100)
]


@pytest.fixture
def built(job: Callable[..., Built], monkeypatch: pytest.MonkeyPatch) -> Built:
    """Give a dataset of several parts, each of several pieces."""
    monkeypatch.setattr("align_data.data.pairs.PIECE_ROWS", 7)
    return job(ROWS, recipe=RECIPE, parts=Parts(rows=20))


def beside(dataset: Dataset) -> list[Any]:
    tables = [*map(dataset.measured, dataset.groups()), *map(dataset.ledger, dataset.ledgers())]
    return [table for table in tables if table.committed() is not None]


def check(dataset: Dataset, dead: frozenset[str] = frozenset()) -> None:
    """Compare the pieces of all tables, and each row's count and verdict with what its own text asks for."""
    parts = range(len(dataset.ingested().parts))
    assert len(beside(dataset)) == 3
    for table in beside(dataset):
        assert [table.piece_rows(part) for part in parts] == [dataset.pairs.piece_rows(part) for part in parts]
    tables = ("pairs", "measured/text", "measured/corpus", "verdicts/short")
    for row in pl.concat([read(dataset, name) for name in tables], how="horizontal").to_dicts():
        assert (row["failed"] < 0) == (row["uid"] in dead)
        if row["uid"] not in dead:
            number = oracle.n_words(row["alt_text"])
            assert row["n_words"] == number
            assert row["failed"] == (not 2 <= number <= 4) + 2 * (row["images_per_text"] > 3)


def test_ledgers_and_measured_tables_are_row_for_row_with_pairs_also_after_a_takedown(
    built: Built, tmp_path: Path
) -> None:
    dataset = built.dataset
    assert len(dataset.ingested().parts) > 3
    assert len(dataset.pairs.piece_rows(0)) > 1
    check(dataset)
    dead = built.table("pairs")["uid"].gather_every(6).to_list()
    (tmp_path / "uids.txt").write_text("\n".join(dead))
    taken = CliRunner().invoke(main, ["takedown", dataset.store.url, "--uids", str(tmp_path / "uids.txt")])
    assert taken.exit_code == 0, taken.output
    check(Dataset(Store(dataset.store.root)), frozenset(dead))


def test_a_part_of_a_ledger_says_which_part_of_pairs_it_is_beside(built: Built) -> None:
    """Two parts of a ledger may have equal masks; they are not each other's."""
    dataset = built.dataset
    pairs, ledger = dataset.ingested(), dataset.ledger("short")
    said = [ledger.facts(part)["pairs"] for part in range(len(pairs.parts))]
    assert said == [part.identity for part in pairs.parts]
    Integrity(dataset, pairs, {}).check_whole(0, ledger)
    manifest, facts = ledger.committed(), ledger.facts(0)
    pieces = list(ledger.pieces(0, ["failed", "unknown"]))
    with ledger.writer(0, {**facts, "pairs": pairs.parts[1].identity}) as writer:
        for piece in pieces:
            writer.write(piece)
    ledger.commit([writer.info, *manifest.parts[1:]], manifest.meta)
    with pytest.raises(DatasetError, match="is beside other pairs"):
        Integrity(dataset, pairs, {}).check_whole(0, ledger)
