"""A takedown that is under way, and the receipt of one that is done."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from align_data.common.secrets import mask
from align_data.data.layout import Dataset
from align_data.data.tombstones import write
from align_data.stages.takedown.files import FOLDER, Rewritten, check_names, note, recall
from align_data.stages.takedown.integrity import RECEIPTS, receipts
from align_data.stages.takedown.lists import TakedownLists
from align_data.stages.takedown.part import touchable
from align_data.stages.takedown.references import edge_tables
from align_data.stages.takedown.shards import ScrubbedExport
from align_data.storage.contracts import contract
from align_data.storage.store import Store, sha256_of
from align_data.storage.tables import CHUNK, Meta, Table, digest

_NOTES = re.compile(
    rf"plan\.json|(?:part|rejected|references|shards|counts-(?:ngrams|texts))-\d{{5,}}(?:-done)?\.json|{CHUNK.pattern}"
)
"""What is in the folder of a takedown that is under way."""


@dataclass(frozen=True)
class TakedownPlan:
    """What a takedown does; from the moment that it is written down it is binding, and any later one begins with it."""

    number: int
    request: str
    """What tells its request from another's."""
    asked: Mapping[str, Mapping[str, int | str]]
    """List → what of it was found where."""
    rejected: Mapping[str, Sequence[int]]
    """Part of `rejected` → its rows that lose their detail."""
    banned: Sequence[str]
    """Of bytes asked for by their SHA-256, what the table of that name has not yet."""
    shards: Sequence[str]
    manifests: Mapping[str, str | None]
    """File that stands for a whole table → its SHA-256 before."""
    unread: Sequence[str] = ()
    """What could not be read."""
    copies: Mapping[str, Any] = field(default_factory=dict)
    """Of pairs of other URLs with the same bytes: how many, and whether they are taken down too."""
    forget: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Kind → keys that are counted no more."""
    same_bytes: Sequence[str] = ()
    """Of the copies those that stay."""

    def __post_init__(self) -> None:
        """Raise ValueError for what none of ours says: a dataset may come from a stranger."""
        valid = isinstance(self.number, int) and 0 < self.number < 10**9
        valid &= all(re.fullmatch("[0-9]{1,9}", part) is not None for part in self.rejected)
        valid &= all(
            isinstance(row, int) for numbers in (*self.rejected.values(), *self.forget.values()) for row in numbers
        )
        valid &= all(isinstance(word, str) for word in (*self.banned, *self.shards, *self.unread, *self.same_bytes))
        if not valid or not set(self.forget) <= {"ngrams", "texts"}:
            raise ValueError("it is not a takedown's plan")


@dataclass
class Receipt:
    """What a takedown did. No dates are in it: those are in the log, beside the command."""

    takedown: int
    asked: Mapping[str, Mapping[str, int | str]]
    pairs: int = 0
    images: int = 0
    """URLs that no pair has any more."""
    fetched: int = 0
    """Of these, whose bytes were there."""
    bytes: int = 0
    tars: int = 0
    """Rewritten or removed."""
    embeddings: int = 0
    """Embeddings of images that no pair of their part has any more, and of the texts."""
    marks: int = 0
    """Marks of pairs taken down, in all labels."""
    rejected: int = 0
    """Rejected rows that lost their detail."""
    tombstones: int = 0
    """All there are now."""
    banned: int = 0
    """SHA-256 that no fetch stores again, by this takedown."""
    copies: Mapping[str, Any] = field(default_factory=dict)
    """Pairs and URLs, other than those asked for, that have bytes of an image taken down; and whether they went too."""
    forgotten: dict[str, int] = field(default_factory=dict)
    """Kind → keys that are counted no more."""
    unread: list[str] = field(default_factory=list)
    """What could not be read: the takedown is not complete before it has been."""
    uids: list[str] = field(default_factory=list)
    """Pairs that are tombstones by this takedown."""
    same_bytes: list[str] = field(default_factory=list)
    """Pairs of other URLs with the bytes of an image taken down, which stay: by these uids they can go later."""
    files: list[Rewritten] = field(default_factory=list)
    shards: list[ScrubbedExport] = field(default_factory=list)

    @staticmethod
    def of(plan: TakedownPlan, uids: Sequence[str]) -> Receipt:
        """Return what a plan says of its receipt."""
        receipt = Receipt(plan.number, plan.asked, pairs=len(uids), uids=list(uids), banned=len(plan.banned))
        receipt.rejected = sum(map(len, plan.rejected.values()))
        receipt.copies, receipt.unread = plan.copies, list(plan.unread)
        receipt.same_bytes = list(plan.same_bytes)
        return receipt

    def to_json(self) -> dict[str, Any]:
        """Return the receipt as JSON data."""
        receipt = asdict(self)
        for files in (receipt["files"], *(shard["files"] for shard in receipt["shards"])):
            files[:] = [file._asdict() for file in files]
        for shard in receipt["shards"]:
            shard["folder"] = mask(shard["folder"])
        return receipt


def request_of(lists: TakedownLists, folders: Sequence[str], **options: bool) -> str:
    """Return what tells a request from another, whatever order it is given in."""
    return digest({"lists": dict(lists.digests), "shards": sorted(folders), **options})


def fresh(dataset: Dataset) -> Table[Meta]:
    """Return the table of the uids that a takedown makes tombstones."""
    return Table(dataset.store, FOLDER, contract("tombstones"), Meta)


def begin(dataset: Dataset, plan: TakedownPlan, uids: Sequence[str]) -> None:
    """Write a takedown down: the uids first, and then the plan, which makes it binding."""
    write(fresh(dataset), uids)
    note(dataset.store, "plan", asdict(plan))


def under_way(dataset: Dataset) -> TakedownPlan | None:
    """Return the plan of a takedown that was begun and has not finished."""
    plan = recall(dataset.store, "plan", lambda values: TakedownPlan(**values))
    if plan is not None:
        check_names(dataset.store, "plan", plan.manifests, _whole(dataset))
    return plan


def not_read(unread: Sequence[str]) -> str:
    """Say what could not be read, and what to do."""
    subject = f"{len(unread):,} files" if len(unread) > 1 else "a file"
    return f"{subject} could not be read: {unread[0]}. Repair that, and run the same command again"


def store_receipt(dataset: Dataset, receipt: Receipt) -> str:
    """Write a receipt; return its name. Now the takedown is done."""
    name = f"{RECEIPTS}/{receipt.takedown:04d}.json"
    dataset.store.write_bytes(name, (json.dumps(receipt.to_json(), indent=1) + "\n").encode())
    dataset.store.remove(f"{FOLDER}/plan.json")
    forget(dataset)
    return name


def forget(dataset: Dataset) -> None:
    """Remove what was written down."""
    dataset.store.clear(FOLDER, _NOTES)


def next_number(store: Store) -> int:
    """Return the number of the next takedown."""
    numbers = [int(stem) for name in store.names(RECEIPTS) if (stem := name.partition(".")[0]).isdigit()]
    return max(numbers, default=0) + 1


def same_lists(store: Store, lists: TakedownLists) -> dict[str, str]:
    """Return for each list that was given before, to the byte, the receipt of that takedown."""
    earlier: dict[str, str] = {}
    for name, receipt in receipts(store):
        before = receipt.get("asked") or {}
        for kind, digest_ in lists.digests.items():
            if isinstance(before, dict) and dict(before.get(kind) or {}).get("list_sha256") == digest_:
                earlier.setdefault(kind, f"{RECEIPTS}/{name}")
    return earlier


def tables(dataset: Dataset) -> list[Table[Any]]:
    """Return all tables whose parts a takedown rewrites."""
    counts = [table(kind) for kind in ("ngrams", "texts") for table in (dataset.counts, dataset.classes)]
    return [*touchable(dataset), dataset.rejected, *edge_tables(dataset), *counts]


def _whole(dataset: Dataset) -> list[str]:
    """Return all files that a takedown rewrites whatever part it works on."""
    own = (dataset.tombstones, dataset.banned)
    classes = (dataset.classes("ngrams"), dataset.classes("texts"))
    names = [name for table in (*tables(dataset), *own) for name in table.manifest_names]
    return [*names, *(table.part_name(0) for table in (*own, *classes))]


def manifests(dataset: Dataset) -> dict[str, str | None]:
    """Return the SHA-256 of all files that a takedown rewrites whatever part it works on."""
    return {name: sha256_of(dataset.store, name) for name in _whole(dataset)}
