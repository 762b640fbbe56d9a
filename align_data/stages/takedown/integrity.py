"""Whether parts are as they were written: of a damaged one nobody can say what it holds of what is taken down."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa
from pyarrow import compute as pc

from align_data.common.errors import DatasetError
from align_data.data.layout import Dataset
from align_data.data.meta import PairsMeta
from align_data.signals.contracts import is_of_pool
from align_data.storage.store import Store, sha256_of
from align_data.storage.tables import Manifest, PartInfo, Table

RECEIPTS = "takedowns"
_BY_PAIRS = ("measured/", "verdicts/", "embedded_texts/")
"""Tables that are row for row with `pairs`."""


def receipts(store: Store) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and content of all receipts in order; DatasetError for a file that is not a receipt."""
    for name in store.names(RECEIPTS):
        if name.partition(".")[0].isdigit():
            try:
                yield name, dict(json.loads(store.read_bytes(f"{RECEIPTS}/{name}") or b""))
            except (ValueError, TypeError, RecursionError) as error:
                raise DatasetError(
                    f"{store.path(f'{RECEIPTS}/{name}')} is not a receipt: {error}; restore it"
                ) from error


@dataclass(frozen=True)
class Integrity:
    """What is known of how files were last written. It travels to other machines."""

    dataset: Dataset
    pairs: Manifest[PairsMeta]
    rewritten: Mapping[str, str | None]
    """File → its SHA-256 after the last takedown that wrote it anew: a manifest has that of what a stage wrote."""
    checks: bool = True

    @staticmethod
    def unchecked(dataset: Dataset, pairs: Manifest[PairsMeta]) -> Integrity:
        """Return what asks nothing: in the middle of another takedown nothing is as it was written."""
        return Integrity(dataset, pairs, {}, checks=False)

    @staticmethod
    def of(dataset: Dataset, pairs: Manifest[PairsMeta]) -> Integrity:
        """Read the receipts; DatasetError where the tombstones are not those of the last one."""
        rewritten: dict[str, str | None] = {}
        tombstones = 0
        try:
            for _, receipt in receipts(dataset.store):
                rewritten |= {str(file["name"]): file["after"] for file in receipt["files"]}
                tombstones = int(receipt["tombstones"])
        except (TypeError, KeyError, ValueError) as error:
            where = dataset.store.path(RECEIPTS)
            raise DatasetError(f"{where} has a file that is not a receipt: {error!r}; restore it") from error
        integrity = Integrity(dataset, pairs, rewritten)
        for table in (dataset.tombstones, dataset.banned):
            if table.committed() is not None and (why := integrity.amiss(table, 0)) is not None:
                raise DatasetError(f"nothing is taken down: {why}")
        manifest = dataset.tombstones.committed()
        if (0 if manifest is None else manifest.rows) < tombstones:
            raise DatasetError(
                f"nothing is taken down: {dataset.store.path(dataset.tombstones.name)} has fewer than the "
                f"{tombstones:,} tombstones of the last receipt; restore it"
            )
        return integrity

    def amiss(self, table: Table[Any], part: int, *, hashed: bool = True) -> str | None:
        """Say in what a part is not as it was written; None if it is, or nobody has said what it was."""
        manifest, name = table.committed(), table.part_name(part)
        if manifest is None or manifest.changing or not self.checks:
            return None
        where = table.store.path(name)
        if part >= len(manifest.parts):
            return f"{where} is not in its manifest"
        info = manifest.parts[part]
        if not table.has(part):
            return f"{where} is missing"
        size = table.store.size(name)
        if size != info.bytes:
            return f"{where} has {size:,} bytes, not {info.bytes:,}"
        if hashed and info.identity is not None and not self._as_written(table, part, info):
            return f"{where} is not as it was written: it has another hash"
        return None

    def _as_written(self, table: Table[Any], part: int, info: PartInfo) -> bool:
        """Tell whether a part has the hash that it had when a stage wrote it, or when a takedown did."""
        name = table.part_name(part)
        sha256 = sha256_of(table.store, name) if name in self.rewritten or info.sha256 is not None else None
        if info.sha256 is not None:
            return sha256 in (info.sha256, self.rewritten.get(name))
        return (sha256 is not None and sha256 == self.rewritten.get(name)) or table.info(part).xxh3 == info.xxh3

    def check(self, part: int, *tables: Table[Any], hashed: bool = True) -> None:
        """Raise DatasetError for the first of some tables whose part is not as it was written."""
        for table in tables:
            if (why := self.amiss(table, part, hashed=hashed)) is not None:
                raise DatasetError(why)

    def check_whole(self, part: int, *tables: Table[Any]) -> None:
        """Read all of a part of some tables; DatasetError where that cannot be done, or it is beside other pairs."""
        self.check(part, *tables)
        for table in tables:
            if table.has(part):
                self._read(table, part)

    def _read(self, table: Table[Any], part: int) -> None:
        columns, where = table.columns(part), table.store.path(table.part_name(part))
        allowed = [*(column.name for column in table.contract.columns), *table.contract.former]
        if strange := sorted(set(columns) - set(allowed)):
            raise DatasetError(f"{where} has the column {strange[0]}, which this version does not know")
        beside = table.name.startswith(_BY_PAIRS)
        if beside:
            of_pool = is_of_pool(table.name.removeprefix("measured/"))
            source = self.pairs.fingerprint if of_pool else self.pairs.parts[part].identity
            facts = table.facts(part) or {}
            if table.piece_rows(part) != self.dataset.pairs.piece_rows(part) or facts.get("pairs", source) != source:
                raise DatasetError(f"{where} is beside other pairs")
        uids = self.dataset.pairs.arrow_pieces(part, ["uid"]) if beside and "uid" in columns else None
        for piece in table.arrow_pieces(part, columns):
            try:
                piece.validate(full=True)
                table.contract.check(piece.drop_columns([n for n in columns if n in table.contract.former]))
                same = uids is None or pc.all(pc.equal(piece["uid"], next(uids)["uid"])).as_py() is not False
            except (pa.ArrowException, StopIteration) as error:
                raise DatasetError(f"cannot read {where}: {error}; it is damaged") from error
            if not same:
                raise DatasetError(f"{where} is beside other pairs")


def uids_within(dataset: Dataset, part: int, uids: pl.Series) -> Iterator[pl.DataFrame]:
    """Yield uid, url and alt_text of the living pairs of a part that have one of some uids."""
    for piece in dataset.pairs.pieces(part, ["uid", "url", "alt_text"]):
        yield piece.filter((pl.col("url") != "") & pl.col("uid").is_in(uids.implode()))
