"""Which pairs of a ledger are exported, and the folder that they go to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from align_data.common.errors import AlignDataError, DatasetError, OutputError
from align_data.data.layout import Dataset
from align_data.data.ledger import Ledger, Masks, open_current
from align_data.exports.manifest import FILE, MANIFEST, WORKING
from align_data.storage.store import UNFINISHED, Store
from align_data.storage.tables import digest

BEGUN = "_begun.json"
STRIPPED = "strip_credentials"
"""What a manifest says of an export whose URLs were stripped, and no other."""


@dataclass(frozen=True)
class Exported:
    """What an export wrote, or would write."""

    pairs: int
    pending: int
    """Pairs left out because a rule is unknown for them."""
    files: list[str]
    bytes: int = 0
    """Of the images, as fetched; 0 where none are written."""
    without_image: int = 0
    """Kept pairs left out because their image cannot be had or decoded."""
    types: Sequence[str] = field(default=(), compare=False)
    """What the names of the images end in; not known of a dry run."""


@dataclass(frozen=True)
class Selection:
    """Which pairs of a ledger are exported."""

    ledger: Ledger
    without: tuple[str, ...] = ()
    """Rules that are not asked."""

    @property
    def rule_bits(self) -> int:
        """The bits of the rules that are asked."""
        return ~self.ledger.plan.bits(self.without)

    @property
    def passes(self) -> pl.Expr:
        """Whether a row of the ledger passes all rules that are asked."""
        return ((pl.col("failed") | pl.col("unknown")) & self.rule_bits) == 0

    def counts(self) -> tuple[int, int]:
        """Return how many pairs are kept, and how many are pending."""
        masks, rule_bits = self.ledger.masks, self.rule_bits
        passes = sum(number for (failed, unknown), number in masks.items() if not (failed | unknown) & rule_bits)
        return passes, sum(
            n for (failed, unknown), n in masks.items() if not failed & rule_bits and unknown & rule_bits
        )

    def describe(self, form: str) -> dict[str, Any]:
        """Return what decides which pairs are exported, for the manifest."""
        passes, pending = self.counts()
        return {
            "ledger": self.ledger.name,
            "plan": self.ledger.plan.dump(),
            "without": list(self.without),
            "pairs": passes,
            "pending_dropped": pending,
            "of": self.ledger.facts.pairs,
            "verdicts": self.ledger.facts.ledger,
            "tombstones": self.ledger.facts.tombstones,
            "format": form,
        }


def select(dataset: Dataset, ledger: str, without: Sequence[str], drop_pending: bool) -> Selection:
    """Return what of a ledger is exported; DatasetError while pairs are pending, and where none is kept."""
    opened = open_current(dataset, ledger)
    selection = Selection(opened, tuple(opened.plan.rule(name).name for name in without))
    passed, pending = selection.counts()
    if pending and not drop_pending:
        raise DatasetError(_pending(selection, selection.ledger.masks, pending, passed))
    if not passed:
        raise DatasetError(_none(selection, pending))
    return selection


def _none(selection: Selection, pending: int) -> str:
    pending_note = (
        f", and {pending:,} are pending and would be left out: take the unknown rules out with --without"
        if pending
        else ""
    )
    return f"the ledger {selection.ledger.name} keeps no pair{pending_note}; nothing is exported"


def _pending(selection: Selection, masks: Masks, pending: int, passed: int) -> str:
    """Say what is pending, and the ways out."""
    unknown = 0
    for failed, bits in masks:
        unknown |= bits if not failed & selection.rule_bits else 0
    names = selection.ledger.plan.names(unknown & selection.rule_bits)
    return (
        f"{pending:,} pairs are pending: no rule fails them, but some are unknown ({passed:,} are kept). "
        "Measure what is missing and filter again, or leave these pairs out: --pending drop, "
        f"or take the rules out: --without {','.join(names)}"
    )


def check_free(out: Store) -> None:
    """Raise OutputError for a folder that holds something, and no export, finished or not: before hours of work."""
    if any(out.exists(name) for name in (MANIFEST, BEGUN)):
        return
    if any(not UNFINISHED.fullmatch(name) for name in out.names()):
        raise OutputError(f"{out.url} is not empty, and no export: choose another folder")


def begin(out: Store, identity: Mapping[str, Any], folders: Sequence[str]) -> bool:
    """Mark the folder as this export's; return whether it is done already. OutputError if the folder is another's.

    `folders` are those inside it that files go to.
    """
    mark = json.dumps({"export": digest(identity)}).encode()
    manifest = out.read_bytes(MANIFEST)
    finished = manifest is not None and _same(manifest, identity)
    ours = finished or (manifest is None and out.read_bytes(BEGUN) == mark)
    if not ours and any(name != BEGUN and not UNFINISHED.fullmatch(name) for name in out.names()):
        raise OutputError(
            f"{out.url} is not empty, and not of this export: choose another --out. An export depends on the "
            "ledger with its verdicts, what is measured, and the options"
        )
    out.sweep(["", *folders])
    if finished:
        _tidy(out)
        return True
    out.write_bytes(BEGUN, mark)
    return False


@contextmanager
def unchanged(out: Store, identity: Mapping[str, Any], now: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
    """Refuse what is made of a dataset that changes meanwhile, above all by a takedown: nothing of it stays.

    `now` says again what is exported, which was `identity`; the folder is not finished before.
    """
    failed: AlignDataError | None = None
    try:
        yield
    except AlignDataError as error:
        failed = error
    try:
        same = now() == identity
    except AlignDataError as error:
        same, failed = False, failed or error
    if same:
        if failed is not None:
            raise failed
        return
    out.clear("", FILE)
    raise DatasetError(
        "the dataset was changed during the export, by a takedown, a new verdict or a measurement; what had been "
        f"written to {out.url} is removed: export again"
    ) from failed


def finish(out: Store, identity: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Write the manifest: what was asked, and what was made; now the export is there."""
    out.write_bytes(MANIFEST, (json.dumps({**identity, **facts}, indent=1) + "\n").encode())
    _tidy(out)


def _tidy(out: Store) -> None:
    """Remove what is there only while an export is made."""
    out.remove(BEGUN)
    for folder in WORKING:
        out.clear(folder, FILE)


def _same(manifest: bytes, identity: Mapping[str, Any]) -> bool:
    try:
        before = json.loads(manifest)
        expected = {STRIPPED: None, **identity}  # what is not said of one export may be said of another
        return digest({key: before.get(key) for key in expected}) == digest(expected)
    except (ValueError, TypeError, AttributeError, RecursionError):  # somebody else's
        return False
