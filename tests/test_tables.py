"""Tables: whole or not there, under a contract, of this version, locked."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from conftest import SCHEMA, Built, manifest_of

from align_data.common.errors import DatasetError, OutputError
from align_data.data.layout import BEGUN, Dataset, contracts
from align_data.signals import SIGNALS
from align_data.stages.ingest import Parts
from align_data.storage import confined
from align_data.storage.contracts import contract
from align_data.storage.store import Store
from align_data.storage.tables import Meta, Table

ONE = [dict.fromkeys(SCHEMA) | {"url": "http://a/1", "alt_text": "a b c"}]


def verdicts(rows: int) -> pl.DataFrame:
    return pl.DataFrame({"failed": [0] * rows, "unknown": list(range(rows))})


def test_an_exception_while_writing_leaves_nothing(tmp_path: Path) -> None:
    table = Dataset(Store(tmp_path)).ledger("x")

    def stopped() -> None:
        with table.writer(0, {}) as writer:
            writer.write(verdicts(10))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stopped()
    assert list(tmp_path.rglob("*.parquet*")) == []
    assert list(tmp_path.rglob(".*.tmp")) == []


def test_a_table_is_there_only_when_committed_and_stray_parts_go(tmp_path: Path) -> None:
    table = Table(Store(tmp_path), "verdicts/x", contract("verdicts"), Meta)
    for part in (0, 1):
        with table.writer(part, {"a": part}) as writer:
            writer.write(verdicts(3))
    assert table.committed() is None
    assert table.facts(1) == {"a": 1}
    manifest = table.commit([table.info(0)], Meta.model_validate({"m": 1}))
    assert table.committed() == manifest
    assert (manifest.rows, manifest.meta.dump()) == (3, {"m": 1})
    assert sorted(p.name for p in (tmp_path / "verdicts/x").iterdir()) == ["part-00000.parquet"]
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.json")] == ["_manifests/verdicts/x.json"]


def test_the_contract_lists_every_mismatch_at_once() -> None:
    table = pa.table(
        {"source": pa.array(["a", None]), "row": pa.array([1, 2], pa.uint64()), "reason": ["", ""], "more": [1, 2]}
    )
    with pytest.raises(DatasetError) as error:
        contract("rejected").check(table)
    assert str(error.value) == (
        "table rejected breaks its contract: column detail is missing; column more is not in the contract; "
        "column row is uint64, not int64; column source has 1 nulls"
    )


def test_contracts_know_no_unsigned_and_no_wide_integers() -> None:
    for each in contracts():
        for column in each.columns:
            assert column.type in ("string", "int32", "int64", "float64", "bool", "binary")
            assert column.about
        assert each.about


def test_every_measurable_signal_has_a_column_of_its_type() -> None:
    columns = {(c.table, column.name): column.type for c in contracts() for column in c.columns if c.partial}
    for signal in SIGNALS.values():
        assert columns[f"measured/{signal.group}", signal.name] == signal.type
        assert (("content", signal.name) in columns) == (signal.check is not None and signal.content == (signal.name,))


def test_a_dataset_of_another_version_is_a_sentence(job: Callable[..., Built]) -> None:
    built = job(ONE)
    path = manifest_of(Path(built.dataset.store.root), "pairs")
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "format": 99, "align_data": "7.0"}))
    with pytest.raises(
        DatasetError, match=r"has format 99; align-data .* reads format 3, 2 and 1: use the version .*\(7.0\)"
    ):
        built.dataset.ingested()
    path.write_text("{")
    with pytest.raises(DatasetError, match="cannot be understood"):
        built.dataset.ingested()


def test_no_dataset_and_half_a_dataset_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is not a dataset; make one with: align-data ingest"):
        Dataset(Store(tmp_path)).ingested()
    Dataset(Store(tmp_path)).store.write_bytes(BEGUN, b"{}")
    with pytest.raises(DatasetError, match="ingest did not finish; run it again"):
        Dataset(Store(tmp_path)).ingested()


def test_a_damaged_part_is_a_sentence(job: Callable[..., Built]) -> None:
    built = job(ONE)
    path = Path(built.dataset.store.root) / "pairs/part-00000.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DatasetError, match=r"cannot read .*part-00000.parquet: .*; the dataset is damaged"):
        list(built.dataset.pairs.pieces(0, ["uid"]))
    path.unlink()
    with pytest.raises(DatasetError, match=r"cannot read .*part-00000.parquet"):
        list(built.dataset.pairs.pieces(0, ["uid"]))


def test_what_a_dead_task_was_writing_goes_with_the_commit(tmp_path: Path) -> None:
    table = Table(Store(tmp_path), "verdicts/x", contract("verdicts"), Meta)
    with table.writer(0, {}) as writer:
        writer.write(verdicts(3))
    left = tmp_path / "verdicts" / "x" / ".part-00000.parquet.1234abcd.tmp"
    left.write_bytes(b"half")
    table.commit([table.info(0)], Meta())
    assert not left.exists()
    assert len(list(table.pieces(0, ["failed"]))) == 1


def test_a_part_is_hashed_on_its_way_to_the_file_seal_and_all(job: Callable[..., Built]) -> None:
    built = job([{**ONE[0], "url": f"http://a/{n}"} for n in range(40)], parts=Parts(rows=15))
    manifest = built.dataset.ingested()
    assert len(manifest.parts) > 1
    for part, info in enumerate(manifest.parts):
        content = Path(built.dataset.store.path(built.dataset.pairs.part_name(part))).read_bytes()
        assert (info.xxh3, info.bytes, info.sha256) == (xxhash.xxh3_128_hexdigest(content), len(content), None)
        assert built.dataset.pairs.info(part) == info


def test_two_processes_cannot_work_on_one_dataset(tmp_path: Path) -> None:
    with (
        Store(tmp_path).lock(),
        pytest.raises(DatasetError, match="another align-data process is working"),
        Store(tmp_path).lock(),
    ):
        pass
    with Store(tmp_path).lock():
        pass


def test_what_a_killed_run_was_writing_is_removed(tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    left = tmp_path / "pairs" / ".part-00000.parquet.1234abcd.tmp"
    left.write_bytes(b"half")
    with Store(tmp_path).lock():
        assert not left.exists()


def test_no_space_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Dataset(Store(tmp_path)).ledger("x")

    def full(at: int, unfinished: str, stem: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(confined, "appear", full)
    with (
        pytest.raises(
            OutputError, match=r"cannot write .*part-00000\.parquet: No space left on device; finished work is kept"
        ),
        table.writer(0, {}) as writer,
    ):
        writer.write(verdicts(1))
    assert list(tmp_path.rglob(".*.tmp")) == []


def test_tables_are_plain_parquet_that_others_read(job: Callable[..., Built]) -> None:
    built = job(ONE * 3)
    store = built.dataset.store
    frame = pl.scan_parquet(f"{store.root}/pairs/*.parquet").collect()
    assert frame["copies"].to_list() == [3]
    assert isinstance(built.dataset.pairs, Table)
    assert pl.read_parquet_schema(f"{store.root}/verdicts/every/part-00000.parquet") == {
        "failed": pl.Int64, "unknown": pl.Int64,
    }  # fmt: skip


def test_every_column_is_read_alike_by_pyarrow_polars_and_duckdb(job: Callable[..., Built]) -> None:
    """Whatever it is encoded by: the sizes are differences, with gaps, and what is plain has no dictionary."""
    rows = [
        dict.fromkeys(SCHEMA)
        | {"url": f"http://a/{n}", "alt_text": "é" * (n % 5) + f" {n}", "declared_width": None if n % 3 else 7 + n * 99}
        | {"declared_height": 2**31 - 1 - n if n % 2 else None, "license": "CC0" if n % 4 else None}
        for n in range(200)
    ]
    built = job(rows, parts=Parts(rows=70))
    for name in ("pairs", "measured/text", "measured/corpus", "verdicts/every", "counts/ngrams"):
        files = f"{built.dataset.store.root}/{name}/part-*.parquet"
        ours = pl.concat([pl.read_parquet(path) for path in sorted(Path("/").glob(files[1:]))])
        arrow = pl.concat([pl.from_arrow(pq.read_table(path)) for path in sorted(Path("/").glob(files[1:]))])
        assert ours.rows() == arrow.rows() == duckdb.sql(f"FROM '{files}'").fetchall()
    pairs = {row["url"]: row for row in built.table("pairs").to_dicts()}
    for row in rows:
        assert [pairs[row["url"]][name] for name in ("declared_width", "declared_height", "license")] == [
            row["declared_width"], row["declared_height"], row["license"],
        ]  # fmt: skip
    metadata = pq.read_metadata(f"{built.dataset.store.root}/pairs/part-00000.parquet").row_group(0)
    stored = {metadata.column(n).path_in_schema: metadata.column(n) for n in range(metadata.num_columns)}
    assert "DELTA_BINARY_PACKED" in stored["declared_width"].encodings
    assert [stored[name].compression for name in ("uid", "url", "alt_text")] == ["UNCOMPRESSED", "ZSTD", "UNCOMPRESSED"]


FORMAT_1 = {
    "align_data": "0.0.9",
    "format": 1,
    "table": "pairs",
    "rows": 1,
    "meta": {
        "account": {"rows": 1, "pairs": 1, "merged": 0, "rejected": 0, "reasons": {}, "already": False},
        "splits": [],
    },
    "parts": [{"rows": 1, "bytes": 999, "sha256": "0" * 64}],
}
"""A manifest as the first versions wrote it."""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        (
            {"meta": {}},
            r"not a manifest as align-data .* account: .* an early version: use the one that .* \(0\.0\.9\)",
        ),
        ({"rows": 2}, "of the table 'pairs' with 2 rows"),
        ({"rows": -1}, "greater than or equal to 0"),
        ({"rows": 2**70}, "less than"),
        ({"table": "images"}, "of the table 'images'"),
        ({"parts": [[]]}, "parts.0"),
        ({"parts": [{"rows": 1, "bytes": "1", "sha256": None}]}, r"parts\.0\.bytes"),
        ({"more": 1}, "more: Extra"),
        ({"format": 2}, "it has no checksum"),
        ({"format": 3}, "it has no checksum"),
        ({"format": 4}, r"has format 4; .* use the version that wrote it \(0\.0\.9\)"),
        ({"format": "1"}, "format is not a number"),
        ({"checksum": "0" * 64}, "its checksum does not match"),
    ],
)
def test_manifests_of_older_versions_are_read_and_of_other_shapes_refused(
    tmp_path: Path, change: dict[str, object], said: str | None
) -> None:
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "_manifest.json").write_text(json.dumps({**FORMAT_1, **change}))
    dataset = Dataset(Store(tmp_path))
    if said is None:
        assert dataset.ingested().rows == 1
        return
    with pytest.raises(DatasetError, match=said) as error:
        dataset.ingested()
    assert str(tmp_path / "pairs" / "_manifest.json") in str(error.value)


def test_parts_carry_checksums_and_a_swapped_one_is_named(job: Callable[..., Built]) -> None:
    rows = [{**ONE[0], "url": f"http://a/{n}"} for n in range(40)]
    built = job(rows, parts=Parts(rows=15))
    for name in ("pairs", "measured/corpus", "verdicts/every"):
        folder = Path(built.dataset.store.root) / name
        first, second = (folder / f"part-{n:05d}.parquet" for n in (0, 1))
        assert pq.ParquetFile(first, page_checksum_verification=True).read().num_rows
        content = first.read_bytes()
        first.write_bytes(second.read_bytes())
        dataset = Dataset(Store(built.dataset.store.root))
        table = {"pairs": dataset.pairs, "measured/corpus": dataset.measured("corpus")}.get(name) or Table(
            built.dataset.store, name, contract("verdicts"), Meta
        )
        with pytest.raises(DatasetError, match=r"part-00000\.parquet: it is not the part that the manifest names"):
            list(table.pieces(0, []))
        first.write_bytes(content)
        at = content.index(b"\0", 100)
        first.write_bytes(content[:at] + b"\1" + content[at + 1 :])


def test_a_part_may_be_another_while_its_table_is_being_changed(job: Callable[..., Built]) -> None:
    """A killed run leaves parts of which the manifest does not know yet: it has said so before."""
    built = job(ONE)
    table = built.dataset.measured("text")
    before = list(table.pieces(0, table.columns(0)))
    table.change()
    assert table.committed().changing
    with table.writer(0, {"of": "a later run"}, table.columns(0)) as writer:
        writer.write(before[0])
    assert next(Dataset(built.dataset.store).measured("text").pieces(0, table.columns(0))).equals(before[0])
    table.commit([table.info(0)], table.committed().meta)
    assert not table.committed().changing
