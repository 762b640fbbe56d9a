"""The pool: every pair with an image that was fetched and can be decoded, dropped or not, and its shards.

Pixels are decoded once: the pool's images are exported at about the size that models see, and every arm reads these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from align_data.common.errors import DatasetError
from align_data.common.progress import Progress
from align_data.data.columns import available, columns
from align_data.data.layout import Dataset
from align_data.data.ledger import open_current
from align_data.decoding.render import How
from align_data.engines.base import Engine
from align_data.exports.manifest import FILE
from align_data.models.pytorch.align_pixels import resized_side
from align_data.recipes.plan import Plan
from align_data.stages.export import Form, export
from align_data.storage.store import Store
from align_data.storage.tables import digest

SHARD = 2_000
"""Pairs of a shard."""
LEAST = 128
"""Pixels of the shorter side, for the smallest of models too: a JPEG has colours at half of its size."""
_NEEDED = ("decodable", "phash")
HARDLY = 0.1
"""A rule is not tested by a pool with fewer than this share of the pairs that fail it, such as a sample of them."""


@dataclass(frozen=True)
class Pool:
    """The pairs that arms are made of."""

    plan: Plan
    """Of the ledger whose rules are compared."""
    rows: pl.DataFrame
    """uid, url, phash, failed, unknown, and failed:NAME and unknown:NAME of each other ledger."""
    pairs: int
    """Of the dataset."""
    unfetched: int = 0
    """Pairs that are left out because their image is not fetched and measured."""
    drop_pending: bool = False
    truth: frozenset[str] | None = None
    """uids of the pairs that a truth file names as good."""
    failing: Mapping[str, int] = field(default_factory=dict)
    """Rule → pairs of the dataset that fail it."""

    @property
    def untested(self) -> list[str]:
        """The rules in force that no pair of the pool fails, or hardly any: arms without them are the same."""
        counts = self.rows.group_by("failed").len().rows()
        in_pool = {rule.name: sum(n for mask, n in counts if mask & rule.bit) for rule in self.plan.in_force}
        return [rule for rule, n in in_pool.items() if not n or n < HARDLY * self.failing.get(rule, 0)]

    def less(self, leaking: pl.Series) -> Pool:
        """Return the pool without some rows, which a column of booleans marks."""
        return replace(self, rows=self.rows.filter(~leaking))


def read(dataset: Dataset, ledger: str, ledgers: Sequence[str] = ()) -> Pool:
    """Read the pool of a dataset; DatasetError where images or a ledger are missing."""
    pairs = dataset.ingested()
    opened = open_current(dataset, ledger)
    plan = opened.plan
    for name in ledgers:
        open_current(dataset, name)
    if missing := [name for name in _NEEDED if name not in available(dataset, pairs)]:
        raise DatasetError(
            f"{dataset.store.url} lacks {', '.join(missing)}: an ablation needs images, so run align-data fetch and "
            "align-data measure"
        )
    frames, unfetched = [], 0
    for part in range(len(pairs.parts)):
        names = {"": ledger, **{f":{name}": name for name in ledgers}}
        masks = [dataset.ledger(name).pieces(part, ["failed", "unknown"]) for name in names.values()]
        for piece, *verdicts in zip(columns(dataset, part, ["uid", "url"], _NEEDED), *masks, strict=True):
            named = [
                verdict.rename({"failed": f"failed{end}", "unknown": f"unknown{end}"})
                for end, verdict in zip(names, verdicts, strict=True)
            ]
            whole = pl.concat([piece, *named], how="horizontal")
            whole = whole.filter(pl.col("failed") >= 0)  # the sign is the bit of what was taken down
            unfetched += whole["decodable"].null_count()
            frames.append(whole.filter(pl.col("decodable").fill_null(False)).drop("decodable"))
    if not sum(map(len, frames)):
        raise DatasetError(f"no pair of {dataset.store.url} has an image that can be decoded: nothing can be trained")
    failing = {
        rule.name: sum(n for (failed, _), n in opened.masks.items() if failed > 0 and failed & rule.bit)
        for rule in plan.in_force
    }
    return Pool(plan, pl.concat(frames), pairs.rows, unfetched, failing=failing)


def how(side: int) -> How:
    """Return how the pool's images are exported for models that see `side` pixels."""
    return How("shortest", max(LEAST, resized_side(side)))


def identity(dataset: Dataset, side: int) -> dict[str, Any]:
    """Return what decides the bytes of the pool's images."""
    content = dataset.content.committed()
    assert content is not None
    return {"content": content.fingerprint, "images": how(side).describe()}


def export_pool(dataset: Dataset, ledger: str, out: Store, side: int, engine: Engine, progress: Progress) -> str:
    """Write the pool's shards below `out`, unless they are there; return their folder. Those of another pool go."""
    opened = open_current(dataset, ledger)
    # By all that decides what is written, so that a ledger decided anew, or a takedown, makes another.
    facts = [identity(dataset, side), ledger, opened.facts.ledger, opened.facts.tombstones]
    name = f"pool-{digest(facts)[:12]}"
    for stale in out.names():
        if re.fullmatch(r"pool-[0-9a-f]{12}", stale) and stale != name:
            out.clear(stale, FILE)
    folder = Store(out.path(name))
    rules = [rule.name for rule in opened.plan.rules]
    # Without any rule, all pairs with an image: that is the pool.
    export(
        dataset, ledger, folder, Form(how=how(side), shard_size=SHARD, shard_names="{:05d}"), engine, progress,
        without=rules, drop_pending=True,
    )  # fmt: skip
    return folder.url
