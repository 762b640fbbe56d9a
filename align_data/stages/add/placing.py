"""The merged parts put in their places, with all tables that are row for row with them."""

from __future__ import annotations

from typing import Any

from align_data.common.errors import DatasetError
from align_data.common.progress import Progress, Tick
from align_data.data.layout import Dataset
from align_data.data.ledger import NOT_YET, TAKEN_DOWN, add_masks, listed_masks, masks_of
from align_data.data.meta import ContentMeta, ImagesMeta, LedgerMeta, PairsMeta, SignalsMeta
from align_data.engines.base import Engine
from align_data.stages.add.carrying import Carrying
from align_data.stages.add.plan import BatchPlan, batch_rejected, forget, merged_pairs
from align_data.storage.tables import Manifest, Table


def put_in_place(dataset: Dataset, plan: BatchPlan, engine: Engine, progress: Progress) -> None:
    """Do what is written down, from wherever a killed run left it."""
    before, after = dataset.pairs.committed(), plan.manifest()
    assert before is not None
    if plan.batch not in [batch.name for batch in before.meta.batches]:
        if plan.before != before.fingerprint:
            raise DatasetError(
                f"{dataset.store.url} has other pairs than when the batch {plan.batch} was read: it is damaged"
            )
        _carry(dataset, plan, before, after, engine, progress)
    forget(dataset)


def _carry(
    dataset: Dataset,
    plan: BatchPlan,
    before: Manifest[PairsMeta],
    after: Manifest[PairsMeta],
    engine: Engine,
    progress: Progress,
) -> None:
    """Bring all tables in line with the merged pairs, and put these in their place."""
    carrying = Carrying(dataset, merged_pairs(dataset), plan.batch, before, after, plan.carried)
    tables: list[Table[Any]] = [dataset.images, dataset.content, *map(dataset.measured, plan.carried)]
    tables += carrying.beside()
    if plan.merged:
        for table in (dataset.pairs, *tables):
            table.change()

    def part(place: int, tick: Tick) -> None:
        number = plan.merged[place]
        staged = merged_pairs(dataset)
        if staged.has(number):  # else a killed run has done it
            carrying.part(number, tick)
            dataset.store.move(staged.part_name(number), dataset.pairs.part_name(number))

    rows = [after.parts[number].rows for number in plan.merged]
    engine.map_parts("add: put in place", part, rows, progress)
    staged_rejects, rejected = batch_rejected(dataset), dataset.rejected.committed()
    for number, place in enumerate(plan.rejected):
        if staged_rejects.has(number):
            dataset.store.move(staged_rejects.part_name(number), dataset.rejected.part_name(place))
    if rejected is not None and plan.rejected:
        before_it = rejected.parts[: plan.rejected[0]]
        dataset.rejected.commit([*before_it, *map(dataset.rejected.info, plan.rejected)], rejected.meta)
    if plan.merged:
        for table in tables:
            _commit(dataset, table, plan, after)
    dataset.pairs.commit(list(after.parts), after.meta)


def _commit(dataset: Dataset, table: Table[Any], plan: BatchPlan, after: Manifest[PairsMeta]) -> None:
    """Bring a manifest in line with the parts; one that waits for its stage speaks of the pairs of before."""
    manifest = table.committed()
    if manifest is None or table.absent(manifest):
        return
    meta, infos = manifest.meta, [table.info(part) for part in range(len(manifest.parts))]
    if isinstance(meta, ImagesMeta) and meta.pairs == plan.before:
        new = sum(info.rows for info in infos) - manifest.rows
        statuses = {**meta.statuses, **({"untried": meta.statuses.get("untried", 0) + new} if new else {})}
        meta = meta.model_copy(update={"pairs": after.fingerprint, "statuses": statuses})
    elif isinstance(meta, ContentMeta):
        images = dataset.images.committed()
        if images is not None and images.meta.pairs == after.fingerprint:
            meta = meta.model_copy(update={"images": images.fingerprint})
    elif isinstance(meta, SignalsMeta) and (names := plan.carried.get(table.name.removeprefix("measured/"))):
        signals = {name: meta.signals[name] for name in names}
        meta = meta.model_copy(update={"pairs": after.fingerprint, "signals": signals})
    elif isinstance(meta, LedgerMeta) and meta.until is not None and meta.pairs == plan.before:
        new = sum(info.rows for info in infos) - manifest.rows
        masks = masks_of(manifest)
        add_masks(masks, {(TAKEN_DOWN, NOT_YET): new})
        meta = meta.model_copy(update={"pairs": after.fingerprint, "masks": listed_masks(masks)})
    table.commit(infos, meta)
