"""Export: the kept pairs of a ledger, as metadata or as uids."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from align_data.engines.base import Engine
from align_data.errors import DatasetError, OutputError
from align_data.layout import Dataset
from align_data.ledger import Masks, Plan, masks_of, open_ledger
from align_data.measured import available, columns
from align_data.progress import Progress, Tick
from align_data.schema import contract
from align_data.signals import SIGNALS
from align_data.store import UNFINISHED, Store, writing
from align_data.tables import digest

Format = Literal["parquet", "uids"]
UIDS, MANIFEST, BEGUN = "uids.npy", "manifest.json", "_begun.json"


@dataclass(frozen=True)
class Exported:
    """What an export wrote."""

    pairs: int
    pending: int
    """Pairs left out because a rule is unknown for them."""
    files: list[str]


@dataclass(frozen=True)
class Selection:
    """Which pairs of a ledger are exported."""

    ledger: str
    plan: Plan
    without: tuple[str, ...] = ()
    """Rules that are not asked."""

    @property
    def asked(self) -> int:
        """The bits of the rules that are asked."""
        ignored = [self.plan.recipe.position(name) for name in self.without]
        return ~sum(1 << place for place in set(ignored))

    @property
    def kept(self) -> pl.Expr:
        """Whether a row of the ledger passes all rules that are asked."""
        return ((pl.col("failed") | pl.col("unknown")) & self.asked) == 0


def export(
    dataset: Dataset,
    ledger: str,
    out: Store,
    form: Format,
    engine: Engine,
    progress: Progress,
    *,
    without: Sequence[str] = (),
    drop_pending: bool = False,
    source_uid: bool = False,
) -> Exported:
    """Write the kept pairs into the folder `out`; its manifest comes last.

    Raises DatasetError while pairs are pending, OutputError if the folder holds something else.
    """
    plan, manifest = open_ledger(dataset, ledger)
    selection = Selection(ledger, plan, tuple(without))
    masks = masks_of(manifest)
    kept = sum(number for (failed, unknown), number in masks.items() if not (failed | unknown) & selection.asked)
    pending = sum(n for (f, unknown), n in masks.items() if not f & selection.asked and unknown & selection.asked)
    if pending and not drop_pending:
        raise DatasetError(_pending(selection, masks, pending, kept))
    if not kept:
        raise DatasetError(_none(selection, pending))
    what = {
        "ledger": ledger,
        "plan": plan.dump(),
        "without": list(without),
        "pairs": kept,
        "pending_dropped": pending,
        "of": manifest.meta["pairs"],
        "format": form,
        "uid": "source" if source_uid else "align-data",
    }
    _begin(out, what)
    if form == "uids":
        _uids(dataset, selection, out, kept, source_uid)
        files = [UIDS]
    else:
        rows = [part.rows for part in manifest.parts]
        there = available(dataset, dataset.ingested())
        signals = [name for name in SIGNALS if name in there]
        files = engine.map_parts(
            "export", lambda part, tick: _part(dataset, selection, signals, part, out, tick), rows, progress
        )
    out.write_bytes(MANIFEST, (json.dumps({**what, "files": files}, indent=1) + "\n").encode())
    out.remove(BEGUN)
    return Exported(kept, pending, files)


def _none(selection: Selection, pending: int) -> str:
    left = (
        f", and {pending:,} are pending and would be left out: take the unknown rules out with --without"
        if pending
        else ""
    )
    return f"the ledger {selection.ledger} keeps no pair{left}; nothing is exported"


def _pending(selection: Selection, masks: Masks, pending: int, kept: int) -> str:
    """Say what is pending, and the ways out."""
    unknown = 0
    for failed, bits in masks:
        unknown |= bits if not failed & selection.asked else 0
    names = [rule.name for i, rule in enumerate(selection.plan.recipe.rules) if unknown & selection.asked & 1 << i]
    return (
        f"{pending:,} pairs are pending: no rule fails them, but some are unknown ({kept:,} are kept). "
        "Measure what is missing and filter again, or leave these pairs out: --pending drop, "
        f"or take the rules out: --without {','.join(names)}"
    )


def _begin(out: Store, what: dict[str, object]) -> None:
    """Mark the folder as this export's; OutputError if it is another's."""
    mark = json.dumps({"export": digest(what)}).encode()
    done = out.read_bytes(MANIFEST)
    ours = _same(done, what) if done is not None else out.read_bytes(BEGUN) == mark
    if not ours and any(name != BEGUN and not UNFINISHED.fullmatch(name) for name in out.names()):
        raise OutputError(f"{out.url} is not empty, and not of this export: choose another --out")
    out.sweep()
    out.write_bytes(BEGUN, mark)
    out.remove(MANIFEST)


def _same(manifest: bytes, what: dict[str, object]) -> bool:
    try:
        before = json.loads(manifest)
        before.pop("files", None)
    except (ValueError, TypeError, AttributeError):  # somebody else's
        return False
    return digest(before) == digest(what)


def _part(dataset: Dataset, selection: Selection, signals: Sequence[str], part: int, out: Store, tick: Tick) -> str:
    """Write the kept pairs of one part with all that is known of them; return the file's name."""
    names = contract("pairs").arrow().names
    name = f"part-{part:05d}.parquet"
    schema = pa.unify_schemas([contract("pairs").arrow(), *(_schema(signals))])
    with (
        out.create(name) as path,
        pq.ParquetWriter(path, schema, compression="zstd", store_schema=False) as writer,
    ):
        masks = dataset.ledger(selection.ledger).pieces(part, ["failed", "unknown"])
        for piece, mask in zip(columns(dataset, part, names, signals), masks, strict=True):
            kept = piece.filter(mask.select(selection.kept).to_series())
            if len(kept):
                table = kept.select(schema.names).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema)
                writer.write_table(table.combine_chunks(), row_group_size=len(kept))
            tick(len(piece))
    return name


def _schema(signals: Sequence[str]) -> Iterator[pa.Schema]:
    for group in ("text", "corpus", "image"):
        yield contract(f"measured-{group}").arrow(list(signals))


def _uids(dataset: Dataset, selection: Selection, out: Store, number: int, source_uid: bool) -> None:
    """Write the kept uids as DataComp does: a sorted numpy array of two unsigned 64-bit halves, 'u8,u8'."""
    name = "source_uid" if source_uid else "uid"
    with out.create(UIDS) as path, writing(path):
        array = np.lib.format.open_memmap(path, "w+", np.dtype("u8,u8"), (number,))
        with Path(path).open("r+b") as file:  # a full disk is found here, and not as a fault of a mapped page
            os.posix_fallocate(file.fileno(), 0, Path(path).stat().st_size)
        at = 0
        for part in range(len(dataset.ingested().parts)):
            masks = dataset.ledger(selection.ledger).pieces(part, ["failed", "unknown"])
            for piece, mask in zip(dataset.pairs.pieces(part, [name]), masks, strict=True):
                halves = _halves(piece.filter(mask.select(selection.kept).to_series())[name])
                array[at : at + len(halves)] = halves
                at += len(halves)
        if source_uid:  # our own are in order already: parts are ranges of them
            array.sort()
        array.flush()


def _halves(uids: pl.Series) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    good = uids.str.contains("^[0-9a-fA-F]{32}$").fill_null(False)
    if not good.all():
        example = uids.filter(~good)[0]
        raise DatasetError(
            f"a source_uid is no 32 hexadecimal digits, but {example!r}: DataComp's format cannot hold it"
        )
    raw = b"".join(uids.str.decode("hex").to_list())
    return np.frombuffer(raw, ">u8").astype("u8").view(np.dtype("u8,u8"))
