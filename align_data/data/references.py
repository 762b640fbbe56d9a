"""What a user gives to compare images with: evaluation images that no training image may copy, and blocklists."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from align_data.common.bits import WIDTH
from align_data.common.errors import DatasetError, InputError
from align_data.common.hosts import listed_hosts
from align_data.common.nearest_hash import FAR, HELD, nearest_hash
from align_data.common.user_files import read_lines
from align_data.data.layout import Dataset
from align_data.signals.base import Piece, Signal
from align_data.signals.text import host
from align_data.storage.contracts import contract
from align_data.storage.frames import frame
from align_data.storage.tables import Meta, Table, digest

_BLOCK = HELD
FEW_EVALUATION = 20_000
"""Evaluation images up to which every distance is measured: comparing with all costs less than decoding then."""
NEAR_EVALUATION = 8
"""How far is looked where there are more."""
FORMS = {
    "sha256": re.compile(r"[0-9a-fA-F]{64}"),
    "md5": re.compile(r"[0-9a-fA-F]{32}"),
    "phash": re.compile(r"[0-9a-fA-F]{16}"),
    "url": re.compile(r"[hH][tT][tT][pP][sS]?://\S+"),
    "host": re.compile(r"[\w.-]*\w[\w.-]*|\[[0-9a-fA-F:.]+\]"),
}
"""What a line of a blocklist can hold; of a value without its kind, the first that it fits."""
_DISTANCE = re.compile(r"[0-9]|[1-5][0-9]|6[0-4]")


class LoadedReferences:
    """Evaluation images and blocklist of a dataset, as signals ask for them."""

    def __init__(self, evaluation: pl.DataFrame, blocklist: pl.DataFrame, within: int = WIDTH) -> None:
        """Look for evaluation images up to a distance of `within`."""
        by_name = evaluation.sort("name")
        self._within = within
        self._nearest: pl.DataFrame | None = None
        self._names = by_name["name"]
        self._phashes = by_name["phash"].to_numpy()
        self._blocked = {kind: blocklist.filter(pl.col("kind") == kind) for kind in FORMS}

    def look_up(self, phashes: pl.Series) -> None:
        """Look for the evaluation images nearest to many pHashes at once, which costs less than piece by piece."""
        unique = phashes.drop_nulls().unique()
        self._nearest = unique.to_frame("phash").with_columns(*self._nearest_to(unique))

    def nearest(self, frame: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
        """Return the distance to the nearest evaluation image, and the first such by name; null for null.

        Where none is within the distance that is looked to, that is FAR and no name.
        """
        if self._nearest is None:
            distance, name = self._nearest_to(frame["phash"])
            return distance, name
        joined = frame.select("phash").join(self._nearest, on="phash", how="left", maintain_order="left")
        return joined["distance"], joined["name"]

    def _nearest_to(self, phashes: pl.Series) -> tuple[pl.Series, pl.Series]:
        distance, place = nearest(phashes, self._phashes, self._within)
        return distance.alias("distance"), self._names.gather(place).alias("name")

    def blocked(self, rows: pl.DataFrame) -> pl.Series:
        """Tell which rows are on the list; null where only the bytes could tell, and they may still come."""
        listed = rows["url"].is_in(self._blocked["url"]["value"].implode()) | self._of_hosts(rows)
        hashed = [kind for kind in ("sha256", "md5", "phash") if len(self._blocked[kind])]
        if not hashed:
            return listed.alias("blocked")
        if "sha256" not in rows.columns:  # nothing has been fetched
            return listed.replace_strict({True: True, False: None}, return_dtype=pl.Boolean).alias("blocked")
        for kind in ("sha256", "md5"):
            listed |= rows[kind].is_in(self._blocked[kind]["value"].implode()).fill_null(False)
        listed |= self._near(rows["phash"])
        unknown = ~listed & rows["decodable"].is_null()
        return listed.to_frame("blocked").select(pl.when(~unknown).then(pl.col("blocked"))).to_series()

    def _of_hosts(self, rows: pl.DataFrame) -> pl.Series:
        listed = set(self._blocked["host"]["value"])
        if not listed:
            return pl.Series([False]).new_from_index(0, len(rows))
        hosts = host(Piece(rows))
        return hosts.is_in(list(listed_hosts(hosts, listed))).fill_null(False)

    def _near(self, phashes: pl.Series) -> pl.Series:
        near = pl.Series([False]).new_from_index(0, len(phashes))
        for (within,), entries in self._blocked["phash"].group_by("within", maintain_order=True):
            listed = np.array([_signed(value) for value in entries["value"]], dtype=np.int64)
            near |= (nearest(phashes, listed, within)[0] <= within).fill_null(False)
        return near


def _signed(value: str) -> int:
    return int.from_bytes(bytes.fromhex(value), "big", signed=True)


def nearest(phashes: pl.Series, listed: NDArray[np.int64], within: int = WIDTH) -> tuple[pl.Series, pl.Series]:
    """Return for each pHash the least number of bits by which a listed one differs, and the first such one's place.

    Exact: null for null, and where nothing is listed. Where none is `within` so many bits, the distance is FAR and the
    place null.
    """
    unique = phashes.drop_nulls().unique()
    if not len(listed) or not len(unique):
        nothing = [pl.Series([None], dtype=type_).new_from_index(0, len(phashes)) for type_ in (pl.Int32, pl.Int64)]
        return nothing[0], nothing[1]
    best, place = nearest_hash(unique.to_numpy().view(np.uint64), listed.view(np.uint64), within, _BLOCK)
    by_phash = pl.DataFrame({"phash": unique, "distance": best.astype(np.int32), "place": place})
    by_phash = by_phash.with_columns(place=pl.when(pl.col("distance") != FAR).then("place"))
    joined = phashes.to_frame("phash").join(by_phash, on="phash", how="left", maintain_order="left")
    return joined["distance"], joined["place"]


def lists(dataset: Dataset, within: int = WIDTH) -> LoadedReferences:
    """Load what was given to a dataset; evaluation images are looked for up to a distance of `within`."""
    return LoadedReferences(_rows(dataset.reference("evaluation")), _rows(dataset.reference("blocklist")), within)


def compared_before(dataset: Dataset, identities: Mapping[str, Mapping[str, Any]]) -> bool:
    """Tell whether a stored signal was measured against the evaluation images that there are now."""
    manifest = dataset.reference("evaluation").committed()
    compared = [identity["evaluation"] for identity in identities.values() if "evaluation" in identity]
    return manifest is not None and manifest.fingerprint in compared


def usual_for_evaluation(dataset: Dataset) -> int | None:
    """Return how far is looked for evaluation images where nobody says it: of many not to the end, None for to it."""
    manifest = dataset.reference("evaluation").committed()
    return NEAR_EVALUATION if manifest is not None and manifest.rows > FEW_EVALUATION else None


def _rows(table: Table[Meta]) -> pl.DataFrame:
    none = pl.DataFrame(schema=table.contract.polars())
    return none if table.committed() is None else pl.concat([none, *table.pieces(0, none.columns)])


@dataclass(frozen=True)
class ReferenceFiles:
    """Files that images are compared with."""

    evaluation: str | None = None
    blocklist: str | None = None

    def give(self, dataset: Dataset) -> None:
        """Keep what they name with a dataset."""
        if self.evaluation is not None:
            give_evaluation(dataset, self.evaluation)
        if self.blocklist is not None:
            give_blocklist(dataset, self.blocklist)

    def have(self, signal: Signal) -> bool:
        """Tell whether a signal's file is among them."""
        return {"evaluation": self.evaluation, "blocklist": self.blocklist}.get(signal.reference or "") is not None


def _opened(file: str) -> AbstractContextManager[Any]:
    """Return what gives a file to read, by its path or fsspec URL."""
    if "://" not in file:
        return nullcontext(file)
    import fsspec  # noqa: PLC0415 - for those who need it

    opened: AbstractContextManager[Any] = fsspec.open(file, "rb")
    return opened


def give_evaluation(dataset: Dataset, file: str) -> None:
    """Keep the index of evaluation images that `align-data eval-index` wrote; InputError if the file is not one."""
    try:
        form = contract("evaluation")
        with _opened(file) as source:
            table = form.check(pq.read_table(source, columns=form.arrow().names, page_checksum_verification=True))
    except (OSError, ImportError, pa.ArrowException, ValueError, KeyError, DatasetError) as error:
        why = " ".join(str(error).split())[:200]
        raise InputError(
            f"{file} is not an index of evaluation images: {why}; make it with align-data eval-index"
        ) from error
    _give(dataset.reference("evaluation"), frame(table).unique().sort("name", "phash"))


def give_blocklist(dataset: Dataset, file: str) -> None:
    """Keep a blocklist; InputError names the line that cannot be understood."""
    rows = list(dict.fromkeys(read_blocklist(file)))
    schema = contract("blocklist").polars()
    _give(dataset.reference("blocklist"), pl.DataFrame(rows, schema, orient="row").sort(*schema))


def _give(table: Table[Meta], rows: pl.DataFrame) -> None:
    facts = {"rows": digest(rows.rows())}
    if table.committed() is not None and table.facts(0) == facts:
        return
    table.retract()  # or a run killed here would leave the old list's name on the new one
    with table.writer(0, facts) as writer:
        writer.write(rows)
    assert writer.info is not None
    table.commit([writer.info], Meta.model_validate(facts))


def read_blocklist(file: str) -> Iterator[tuple[str, str, int]]:
    """Yield kind, value and `within` of each line; a kind may stand before the value, and behind a phash a distance.

    Raises InputError for a file that cannot be read, and for a line that is not an entry.
    """
    for number, line in read_lines(file, "the blocklist"):
        words = [] if line.startswith("#") else line.split()
        if not words:
            continue
        kind = words.pop(0) if words[0] in FORMS and len(words) > 1 else _kind(words[0])
        within = words.pop() if kind == "phash" and len(words) == 2 else "0"
        if len(words) != 1 or not _DISTANCE.fullmatch(within) or not FORMS[kind].fullmatch(words[0]):
            raise InputError(
                f"{file}, line {number}: {line[:100]!r} is not an entry; write KIND VALUE, with a KIND of "
                f"{', '.join(FORMS)}, and after a phash of 16 hex digits the number of bits that may differ"
            )
        yield kind, _plain(kind, words[0]), int(within)


def _kind(value: str) -> str:
    """Return the kind of a value without one; what is neither a hash nor a URL is a host only if it has a dot."""
    kind = next((kind for kind, form in FORMS.items() if form.fullmatch(value)), "url")
    return kind if kind != "host" or "." in value.strip(".") or value.startswith("[") else "url"


def _plain(kind: str, value: str) -> str:
    if kind == "url":
        return value
    return value.lower().strip(".") if kind == "host" else value.lower()
