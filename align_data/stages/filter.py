"""Filter: a plan applied to the measured columns, as a ledger."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from align_data.common.errors import AlignDataError
from align_data.common.progress import Progress, Tick
from align_data.data.batches import added_since
from align_data.data.columns import available, identities
from align_data.data.derived import planned_columns
from align_data.data.first_of import forget
from align_data.data.layout import Dataset
from align_data.data.ledger import Masks, add_masks, count_masks, listed_masks, taken_down
from align_data.data.meta import LedgerMeta, PairsMeta
from align_data.data.tombstones import fingerprint, of_part
from align_data.engines.base import Engine
from align_data.recipes.plan import Plan, masks
from align_data.storage.tables import Manifest, PartInfo, Table, digest


def decide(dataset: Dataset, plan: Plan, name: str, engine: Engine, progress: Progress) -> Manifest[LedgerMeta]:
    """Write the ledger `name`: for every pair the masks of the rules that it fails and of those that are unknown.

    A pair that was taken down fails by a bit of its own.
    """
    pairs = dataset.ingested()
    table = dataset.ledger(name)
    signals = sorted(set(plan.signals_of(plan.rules)) & available(dataset, pairs, plan.signals))
    # What the verdicts follow from: equal facts, equal bytes.
    origin: dict[str, Any] = {"plan": plan.dump(), "pairs": pairs.fingerprint, "signals": identities(dataset, signals)}
    facts = {"ledger": digest(origin)}
    tombstones = fingerprint(dataset)
    if tombstones is not None:  # beside it: a takedown makes nothing stale that was fetched or measured by this ledger
        facts["tombstones"] = tombstones
    committed = table.committed()
    if committed is not None:
        before = committed.meta
        plan_before = _as_now(before.plan)
        same = facts["ledger"] in (before.ledger, digest({**origin, "plan": plan_before, "signals": before.signals}))
        if same and before.pairs == pairs.fingerprint and before.tombstones == tombstones and table.whole(committed):
            return committed
        if _request(plan_before) != _request(origin["plan"]):
            progress.say(f"the ledger {name} was decided differently and is replaced; --as keeps both")
        _keep_former(dataset, name, committed, pairs, progress)
    table.retract()

    def write(part: int, tick: Tick) -> tuple[PartInfo, Masks]:
        part_facts = {**facts, "pairs": pairs.parts[part].identity}
        if table.facts(part) != part_facts:
            return _write(dataset, plan, table, part, signals, part_facts, tick)
        return table.info(part), count_masks(table.pieces(part, ["failed", "unknown"]))  # a killed run's

    parts = engine.map_parts("filter", write, [part.rows for part in pairs.parts], progress)
    total: Masks = {}
    for _, part_masks in parts:
        add_masks(total, part_masks)
    # Kept with the ledger, so that an audit of any size reads nothing else.
    meta = LedgerMeta.model_validate({**origin, **facts, "masks": listed_masks(total)})
    manifest = table.commit([info for info, _ in parts], meta)
    forget(dataset)
    return manifest


def _keep_former(
    dataset: Dataset,
    name: str,
    committed: Manifest[LedgerMeta],
    pairs: Manifest[PairsMeta],
    progress: Progress,
) -> None:
    """Keep a ledger that batches were added to since it was decided, so that what they changed can be seen."""
    table, before = dataset.ledger(name), committed.meta
    batches = [batch.name for batch in pairs.meta.batches]
    new = added_since(pairs, before.pairs)
    if not new or before.until is not None or committed.changing or not table.whole(committed):
        return
    until = batches[-len(new) - 1]
    former = dataset.ledger(f"{name}.{until}")
    former.remove()
    for part in range(len(committed.parts)):
        dataset.store.move(table.part_name(part), former.part_name(part))
    masks: Masks = {}
    for part in range(len(pairs.parts)):
        add_masks(masks, count_masks(former.pieces(part, ["failed", "unknown"])))
    meta = before.model_copy(update={"pairs": pairs.fingerprint, "masks": listed_masks(masks), "until": until})
    former.commit(list(committed.parts), meta)
    words = [dataset.store.url, former.name.partition("/")[2], name]
    progress.say(f"what it was with the batch {until} is kept: align-data diff {shlex.join(words)}")


def _as_now(plan: dict[str, Any]) -> dict[str, Any]:
    """Return a dumped plan with the names of now, so that what an earlier version decided is known again."""
    try:
        return Plan.model_validate(plan).dump()
    except (ValidationError, AlignDataError):
        return plan


def _request(plan: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the part of a dumped plan that the user chose."""
    return tuple(plan.get(key) for key in ("recipe", "overrides", "off"))


def _write(
    dataset: Dataset,
    plan: Plan,
    table: Table[LedgerMeta],
    part: int,
    signals: Sequence[str],
    facts: Mapping[str, str | None],
    tick: Tick,
) -> tuple[PartInfo, Masks]:
    """Write one part, row for row with `pairs`; return it with its masks counted."""
    known = plan.known(signals)
    failed, unknown = masks(plan.rules, known)
    read = sorted({column for rule in plan.rules for column in rule.columns} & known)
    total: Masks = {}
    tombstones = of_part(dataset, dataset.ingested(), part).implode() if "tombstones" in facts else None
    # Of the signals there may be none; a column of pairs keeps the number of rows.
    beside = ["uid"] if tombstones is not None else [] if read else ["copies"]
    with table.writer(part, facts) as writer:
        for piece in planned_columns(dataset, plan, part, beside, read):
            verdicts = piece.with_columns(failed, unknown)
            if tombstones is not None:
                verdicts = verdicts.with_columns(taken_down(verdicts["failed"], verdicts["uid"].is_in(tombstones)))
            verdicts = verdicts.select("failed", "unknown")
            add_masks(total, count_masks([verdicts]))
            writer.write(verdicts)
            tick(len(verdicts))
    assert writer.info is not None
    return writer.info, total
