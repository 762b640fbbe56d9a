"""Add: another batch of lists merged into a dataset, and everything that is known of its pairs kept.

The rows are read and merged beside the dataset first. Then the batch is written down, which makes it binding: the
merged parts are put in place, each with the tables that are row for row with it, and no other stage works before that
is done.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from align_data.common.errors import DatasetError
from align_data.common.progress import Progress
from align_data.data import pairs as pair
from align_data.data.accounts import Account, UnitAccount
from align_data.data.batches import batches_of
from align_data.data.columns import fresh
from align_data.data.html_texts import Rewriting
from align_data.data.intake import (
    crawl_of_units,
    declared_by,
    folders_of_crawls,
    gathered,
    keyed_rows,
    notes_on,
    rejected_of_units,
    rows_of,
)
from align_data.data.layout import Dataset
from align_data.data.meta import (
    AccountMeta,
    BatchMeta,
    InputMeta,
    PairsMeta,
)
from align_data.engines.base import Engine, Shuffle
from align_data.recipes.model import NAME
from align_data.signals import find
from align_data.signals.contracts import is_of_pool
from align_data.sources.lists import Choice, Reading, Source, units
from align_data.sources.lists import find as find_lists
from align_data.stages.add.accounting import account_of, pairs_meta
from align_data.stages.add.merging import Grown, Merging
from align_data.stages.add.placing import put_in_place
from align_data.stages.add.plan import BatchPlan, batch_rejected, forget, merged_pairs, under_way
from align_data.storage.names import display
from align_data.storage.tables import Manifest, PartInfo

__all__ = ["AddReport", "add"]


@dataclass(frozen=True)
class AddReport:
    """What adding did."""

    batch: str
    """Its name; of inputs that are all in the dataset already, the batch that they are in."""
    account: Account
    """Of the batch's rows; `pairs` are those that were new."""
    pairs: int
    """All pairs that there are now."""
    before: str | None = None
    """A batch that a killed run had begun, and that this one has put in its place first."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return asdict(self)


def add(
    inputs: Sequence[str],
    dataset: Dataset,
    engine: Engine,
    progress: Progress,
    choice: Choice = Choice(),  # noqa: B008 - frozen
    reading: Reading = Reading(),  # noqa: B008 - frozen
    name: str | None = None,
) -> AddReport:
    """Merge the rows of lists into a dataset as the batch `name`, or the next number; texts are rewritten as before.

    Inputs that are in it already are left out. Without inputs, what a killed run has begun is finished.
    """
    begun = under_way(dataset)
    if begun is not None:
        progress.say(f"the batch {begun.batch} was not all in its place: that is done now")
        put_in_place(dataset, begun, engine, progress)
    pairs = dataset.ingested()
    batches = batches_of(dataset, pairs)
    before = None if begun is None else begun.batch
    if not inputs:
        if begun is None:
            raise DatasetError("nothing to add: give a list of image URLs and alt-texts")
        return _report(batches[-1], pairs, before)
    inside = dataset.store.fs.unstrip_protocol(dataset.store.root) + "/"
    sources, earlier = _unread(find_lists(inputs, but=inside), batches)
    for source, batch in earlier:
        progress.say(f"{source.name} is in the batch {batch.name} already: it is left out")
    if not sources:
        return _already(earlier[-1][1], pairs, before)
    name = _batch_name(batches, name)
    plan = _merged(dataset, pairs, batches, _BatchLists(sources, inputs, choice, reading), name, engine, progress)
    plan.store(dataset.store)
    put_in_place(dataset, plan, engine, progress)
    pairs = dataset.ingested()
    return _report(pairs.meta.batches[-1], pairs, before)


def _report(batch: BatchMeta, pairs: Manifest[PairsMeta], before: str | None) -> AddReport:
    return AddReport(batch.name, Account(**batch.account.dump()), pairs.rows, before)


def _already(batch: BatchMeta, pairs: Manifest[PairsMeta], before: str | None) -> AddReport:
    report = _report(batch, pairs, before)
    return replace(report, account=replace(report.account, already=True))


def _batch_name(batches: Sequence[BatchMeta], name: str | None) -> str:
    """Return the name of a new batch; DatasetError for one that is taken, or that cannot be one."""
    names = [batch.name for batch in batches]
    if name is None:
        number = len(names) + 1
        while str(number) in names:
            number += 1
        return str(number)
    if not re.fullmatch(NAME, name):
        raise DatasetError(f"{display(name)} is not a valid name of a batch: use letters, digits, '.', '_' and '-'")
    if name in names:
        raise DatasetError(f"there is a batch {name} already, of other inputs: choose another name with --as")
    return name


def _unread(
    sources: Sequence[Source], batches: Sequence[BatchMeta]
) -> tuple[list[Source], list[tuple[Source, BatchMeta]]]:
    """Return the files that are in no batch, and those that are, with theirs."""
    unread, earlier = [], []
    for source in sources:
        identity = InputMeta.model_validate(source.identity)
        batch = next((batch for batch in batches if identity in batch.inputs), None)
        if batch is None:
            unread.append(source)
        else:
            earlier.append((source, batch))
    return unread, earlier


@dataclass(frozen=True)
class _BatchLists:
    """The lists of a batch, and how they are read."""

    sources: Sequence[Source]
    inputs: Sequence[str]
    choice: Choice
    reading: Reading


def _merged(
    dataset: Dataset,
    pairs: Manifest[PairsMeta],
    batches: Sequence[BatchMeta],
    lists: _BatchLists,
    name: str,
    engine: Engine,
    progress: Progress,
) -> BatchPlan:
    """Read the lists and merge them with the pairs, beside these; return what is to be put in their place."""
    forget(dataset)  # of a run that was killed before anything was binding
    rewriting = Rewriting(**{option: option in pairs.meta.rewriting for option in ("decode_entities", "strip_markup")})
    todo, notes = units(lists.sources, lists.choice, lists.reading)
    folders = folders_of_crawls(todo, lists.inputs)
    for note in notes:
        progress.say(note)
    rejects = rejected_of_units(dataset)
    rejects.remove()
    declared = [n for n in pair.BESIDE if n in (*declared_by(todo), *pairs.meta.provenance, *pair.DECLARED)]
    merging = Merging(dataset, merged_pairs(dataset), name, batches[0].name, declared)
    splits = [int(key, 16) for key in pairs.meta.splits]
    shuffle: Shuffle[int, UnitAccount, Grown] = Shuffle(
        prepare=lambda number, tick: keyed_rows(number, todo[number], declared_by(todo), rewriting, rejects, tick),
        merge=pair.merge,
        split=lambda _: splits,
        write=merging.write,
        rows=rows_of(todo),
        foreseen=splits,
        is_certain=True,
        title="add",
    )
    accounts, grown = engine.shuffle(shuffle, range(len(todo)), progress)
    infos = [PartInfo(**part.info) if part.info else pairs.parts[part.part] for part in grown]
    account = account_of(accounts, grown)
    crawl, notes = crawl_of_units(folders, todo, accounts)
    for note in (*notes, *notes_on(accounts, account, lists.sources, rewriting, lists.reading)):
        progress.say(note)
    rejected = list(gathered(rejects, len(todo), batch_rejected(dataset))) if account.rejected else []
    rejects.remove()
    dataset.store.clear_work()
    batch = BatchMeta(
        name=name,
        inputs=[InputMeta.model_validate(source.identity) for source in lists.sources],
        account=AccountMeta(**asdict(account)),
        pairs=Manifest("pairs", tuple(infos), pairs.meta).fingerprint,
        added=datetime.now(UTC).isoformat(timespec="seconds"),
        **({} if crawl is None else {"crawl": crawl}),
    )
    stored = dataset.rejected.committed()
    behind = 0 if stored is None else len(stored.parts)
    return BatchPlan(
        batch=name,
        before=pairs.fingerprint,
        pairs=[asdict(info) for info in infos],
        merged=[part.part for part in grown if part.info],
        meta=pairs_meta(pairs, batches, batch, declared).dump(),
        rejected=[behind + number for number in range(len(rejected))],
        carried=_carried(dataset, pairs),
    )


_KEYS = {"uid", "url", "alt_text"}
"""The columns of `pairs` that make a pair what it is."""


def _carried(dataset: Dataset, pairs: Manifest[PairsMeta]) -> dict[str, list[str]]:
    """Return the signals that the new pairs are given too, by group: of those that measuring would measure alike.

    They need nothing but URL and text, which stay what they were; of equal pairs another row's size or page may count.
    """
    carried = {}
    for group in dataset.groups():
        signals = [] if is_of_pool(group) else map(find, fresh(dataset, group, pairs, anew=True))
        able = [
            signal.name
            for signal in signals
            if signal.kind in ("row", "list") and _KEYS.issuperset(signal.needs) and signal.missing() is None
        ]
        if able:
            carried[group] = able
    return carried
