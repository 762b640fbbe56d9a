"""What became of a batch's rows, and of the rows of all batches together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from align_data.data.accounts import Account, UnitAccount, total
from align_data.data.meta import AccountMeta, BatchMeta, CrawlMeta, PairsMeta
from align_data.sources.lists.column_names import PROVENANCE
from align_data.stages.add.merging import Grown
from align_data.storage.tables import Manifest

_NUMBERS = ("rows", "pairs", "merged", "rejected", "refused_tombstone")


def account_of(accounts: Sequence[UnitAccount], grown: Sequence[Grown]) -> Account:
    """Return what became of the batch's rows."""
    account = total(accounts, [])
    pairs, refused = (sum(getattr(part, name) for part in grown) for name in ("pairs", "refused"))
    return replace(account, pairs=pairs, merged=account.merged - pairs - refused, refused_tombstone=refused)


def pairs_meta(
    pairs: Manifest[PairsMeta], batches: Sequence[BatchMeta], batch: BatchMeta, declared: Sequence[str]
) -> PairsMeta:
    """Return what the manifest of `pairs` says with the batch."""
    of_all = {"account": _sum(pairs.meta.account, batch.account), "batches": [*batches, batch]}
    if provenance := [name for name in PROVENANCE if name in declared]:
        of_all["provenance"] = provenance
    crawls = [crawl for crawl in (pairs.meta.crawl, batch.crawl) if crawl is not None]
    if crawls:
        of_all["crawl"] = crawls[0] if len(crawls) == 1 else _both_crawls(*crawls)
    return PairsMeta(**{**dict(pairs.meta), **of_all})


def _sum(before: AccountMeta, batch: AccountMeta) -> AccountMeta:
    """Return the account of all rows that were ever read."""
    reasons = {
        reason: before.reasons.get(reason, 0) + batch.reasons.get(reason, 0)
        for reason in sorted({*before.reasons, *batch.reasons})
    }
    numbers = {name: getattr(before, name) + getattr(batch, name) for name in _NUMBERS}
    entities, markup = (_known_sum(getattr(before, name), getattr(batch, name)) for name in ("entities", "markup"))
    return AccountMeta(**numbers, entities=entities, markup=markup, reasons=reasons, already=False)


def _known_sum(before: int | None, batch: int | None) -> int | None:
    """Return a sum; None where nobody looked at the rows of before."""
    return None if before is None or batch is None else before + batch


def _both_crawls(before: CrawlMeta, batch: CrawlMeta) -> CrawlMeta:
    """Return what became of the archives of two batches."""
    sums: dict[str, Any] = {}
    for name, number in before:
        further = getattr(batch, name)
        if isinstance(number, Mapping):
            sums[name] = {
                reason: number.get(reason, 0) + further.get(reason, 0) for reason in sorted({*number, *further})
            }
        else:
            sums[name] = number + further
    return CrawlMeta(**sums)
