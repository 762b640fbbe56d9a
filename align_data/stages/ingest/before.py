"""What a dataset is made of: whether these inputs are in it already, and what a killed run has left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from align_data import __version__
from align_data.common.errors import DatasetError
from align_data.data.accounts import Account
from align_data.data.intake import rejected_of_units
from align_data.data.layout import BEGUN, Dataset
from align_data.sources.lists import Source
from align_data.storage.manifests import checked, unchecked
from align_data.storage.tables import digest

PART_ROWS = 500_000
"""Pairs of a part: few enough that a million keep two cores busy, and about 90 MB of Parquet."""
PART_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Parts:
    """How large a part may grow, in pairs and in bytes of URL and text."""

    rows: int = PART_ROWS
    bytes: int = PART_BYTES


_FORMER_PARTS = Parts(rows=1_000_000)
"""What was the usual size: a dataset that was cut so is of the same inputs still."""


def _alike(contents: Sequence[str], sources: Sequence[Source]) -> bool:
    """Tell whether files have the contents that an earlier run noted, by the kind of hash that it noted."""
    known = [source for source in sources if not source.remote]
    return len(known) == len(contents) and all(
        source.content(like) == like for source, like in zip(known, contents, strict=True)
    )


def _same(begun: Mapping[str, Any], sources: Sequence[Source], modified: Sequence[str]) -> bool:
    """Tell whether no input was written to since: by when that was, and if it was, by the whole content."""
    if begun.get("modified", list(modified)) == list(modified):
        return True
    contents = begun.get("contents")
    return contents is not None and _alike(contents, sources)


def done_before(
    dataset: Dataset, made_of: dict[str, Any], sources: Sequence[Source], modified: Sequence[str]
) -> Account | None:
    """Return the account of a dataset that holds these inputs already, None without one; DatasetError for others."""
    manifest = dataset.pairs.committed()
    if manifest is None:
        return None
    before = dataset.rejected.committed()
    if before is not None and _made_alike(before.meta.dump(), made_of):
        begun = unchecked(dataset.store.read_bytes(BEGUN) or b"{}", dataset.store.path(BEGUN), "remove it")
        if not _same(begun, sources, modified):
            raise DatasetError(
                f"{dataset.store.url} was made from these inputs, but one has changed since: choose another --out"
            )
        return Account(**{**manifest.meta.account.dump(), "already": True})
    names = ", ".join(i.name for i in before.meta.inputs[:3]) if before else "other inputs"
    further = " and others" if before and len(before.meta.inputs) > 3 else ""
    contents = f"other inputs ({names}{further})" if before else names
    if before is not None and (stored := before.meta.dump())["inputs"] == made_of["inputs"]:
        contents = "these inputs read otherwise (--url-col, --text-col, --delimiter, --encoding, --multiline)"
        if (done := stored.get("rewriting", [])) != made_of.get("rewriting", []):
            contents = f"these inputs, read {_by_options(done)}"
    raise DatasetError(f"{dataset.store.url} already holds {manifest.rows:,} pairs of {contents}: choose another --out")


def _by_options(rewriting: Sequence[str]) -> str:
    """Return the options by which texts were rewritten, for a sentence."""
    options = " ".join(f"--{name.replace('_', '-')}" for name in rewriting)
    return f"with {options}" if options else "without --decode-entities and --strip-markup"


def _made_alike(before: Mapping[str, Any], made_of: Mapping[str, Any]) -> bool:
    """Tell whether a dataset was made of the same inputs in the same way."""
    former = {**made_of, "parts": asdict(_FORMER_PARTS)} if made_of["parts"] == asdict(Parts()) else made_of
    return digest(before) in (digest(made_of), digest(former))


def begin(dataset: Dataset, made_of: dict[str, Any], modified: Sequence[str], contents: Sequence[str] | None) -> None:
    """Keep the parts that a killed run of the same inputs and packages has finished; remove any others.

    Raises DatasetError for a folder that holds something else than a dataset.
    """
    store = dataset.store
    packages = {"align_data": __version__, "polars": pl.__version__, "pyarrow": pa.__version__}
    mark = checked({**packages, **made_of, "modified": list(modified), "contents": contents})
    begun = store.read_bytes(BEGUN)
    foreign = [name for name in store.names() if name not in (".lock", "_log", "_work")]
    if begun is None and foreign:
        raise DatasetError(f"{store.url} holds {foreign[0]}, and is not a dataset: choose an empty or a new --out")
    if begun != mark:
        for table in (dataset.pairs, dataset.rejected, rejected_of_units(dataset)):
            table.remove()
        store.clear_work()
        store.write_bytes(BEGUN, mark)
