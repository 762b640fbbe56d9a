"""What a takedown will do, before anything changes: which pairs it takes, and what cannot be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from align_data.common.banned import ban
from align_data.common.errors import DatasetError
from align_data.common.progress import Progress, Tick
from align_data.data.layout import Dataset
from align_data.data.meta import PairsMeta
from align_data.data.tombstones import every, part_of
from align_data.engines.base import Engine
from align_data.stages.takedown.copies import Copies, copies_of
from align_data.stages.takedown.forget import only_theirs
from align_data.stages.takedown.integrity import Integrity
from align_data.stages.takedown.lists import TakedownLists
from align_data.stages.takedown.matches import Matches, find
from align_data.stages.takedown.part import Scrub, examine, touchable
from align_data.stages.takedown.plan import TakedownPlan, manifests, next_number, same_lists
from align_data.storage.tables import Manifest


@dataclass(frozen=True)
class Request:
    """What a takedown is to do."""

    lists: TakedownLists
    folders: Sequence[str]
    """Exported folders."""
    digest: str
    copies: bool = False
    forget: bool = False


def make_plan(
    integrity: Integrity, request: Request, engine: Engine, progress: Progress
) -> tuple[TakedownPlan, list[str]]:
    """Return what a takedown does, and the uids that become tombstones."""
    dataset, lists = integrity.dataset, request.lists
    matches = find(integrity, lists, engine, progress)
    copies = copies_of(integrity, by_part(integrity.pairs, matches.uids), engine, progress)
    parts = by_part(integrity.pairs, [*matches.uids, *(copies.uids if request.copies else ())])
    unread = [*matches.unread, *copies.unread]
    damaged = _damaged(integrity, parts, engine, progress)
    if request.copies:
        _refuse_some(copies, damaged, by_part(integrity.pairs, copies.uids))
    for part, why in damaged.items():
        del parts[part]
        unread.append(why)
    forget = only_theirs(integrity, parts, engine, progress) if request.forget else {}
    uids = sorted(uid for uids in parts.values() for uid in uids)
    plan = TakedownPlan(
        next_number(dataset.store),
        request.digest,
        _account(dataset, matches, lists),
        {str(part): rows for part, rows in sorted(matches.rejected.items())},
        sorted({ban(sha256) for sha256 in lists.of("sha256")} - set(every(dataset.banned))),
        request.folders,
        manifests(dataset),
        list(dict.fromkeys(unread)),
        _copies(copies, set(uids), taken=request.copies),
        forget,
        sorted(set(copies.uids) - set(uids)),
    )
    return plan, uids


def by_part(pairs: Manifest[PairsMeta], uids: Sequence[str]) -> dict[int, list[str]]:
    """Return the uids of each part that has any."""
    uids_of: dict[int, list[str]] = {}
    for uid in sorted(uids):
        uids_of.setdefault(part_of(pairs, uid), []).append(uid)
    return uids_of


def _account(dataset: Dataset, matches: Matches, lists: TakedownLists) -> dict[str, dict[str, int | str]]:
    account = matches.account(lists)
    for kind, name in same_lists(dataset.store, lists).items():
        account[kind]["same_list_as"] = name
    return account


def _copies(copies: Copies, uids: set[str], *, taken: bool) -> dict[str, int | bool]:
    """Say how many pairs of other URLs have the same bytes: all there are, and those of them that are taken down."""
    return {"pairs": len(copies.uids), "urls": copies.urls, "taken": len(uids & set(copies.uids)) if taken else 0}


def _refuse_some(copies: Copies, damaged: Mapping[int, str], by_part: Mapping[int, Sequence[str]]) -> None:
    """Raise DatasetError where copies would stay: when the image is gone nobody can tell what its copies are."""
    if unread := [*copies.unread, *(damaged[part] for part in by_part if part in damaged)]:
        raise DatasetError(
            f"nothing is taken down: --copies must take all of them at once: {unread[0]}; repair that, or do "
            "without --copies"
        )


def _damaged(
    integrity: Integrity, uids_by_part: Mapping[int, Sequence[str]], engine: Engine, progress: Progress
) -> dict[int, str]:
    """Return of the parts that are to be written anew those that cannot be, and why."""
    parts = list(uids_by_part)
    job = Scrub(integrity.dataset, integrity.pairs, 0, "", uids_by_part)

    def check(number: int, tick: Tick) -> str | None:
        part = parts[number]
        tick(integrity.pairs.parts[part].rows)
        try:
            integrity.check_whole(part, *touchable(integrity.dataset))
            examine(job, part)
        except DatasetError as error:
            return str(error)
        except (OSError, ValueError, pl.exceptions.PolarsError) as error:  # of what reads like a table and is none
            return f"part {part} of {integrity.dataset.store.url} cannot be read: {error}"
        return None

    rows = [integrity.pairs.parts[part].rows for part in parts]
    reasons = engine.map_parts("takedown: check", check, rows, progress)
    return {part: why for part, why in zip(parts, reasons, strict=True) if why is not None}
