"""The tables of a dataset, by name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from align_data.common.errors import DatasetError
from align_data.data.meta import (
    CodebookMeta,
    ContentMeta,
    CountsMeta,
    EmbeddedMeta,
    EvaluationsMeta,
    ImagesMeta,
    LabelMeta,
    LedgerMeta,
    ListMeta,
    NeighboursMeta,
    PairsMeta,
    RanksMeta,
    RejectedMeta,
    SignalsMeta,
)
from align_data.recipes.model import NAME
from align_data.signals import contracts as of_signals
from align_data.signals import find
from align_data.signals.families import NAME as MODEL_NAME
from align_data.signals.families import check_name
from align_data.storage.contracts import Contract, contract
from align_data.storage.contracts import contracts as in_schemas
from align_data.storage.manifests import M
from align_data.storage.names import display
from align_data.storage.store import Store
from align_data.storage.tables import Manifest, Meta, Table

BEGUN = "_log/ingest.json"
"""The inputs of an ingest, written before anything else: parts beside it are of these."""
FETCH = "_log/fetch.json"
"""What the last run of fetch was of, so that a killed one goes on."""
LONGEST = 200
"""Characters of a ledger's name: files are called by it, with more behind it, and have 255 at most."""
ADDED = "_add/plan.json"
"""What is being added and has not all been put in its place: until it has, no other stage works."""
TAKEDOWN = "_takedown/plan.json"
"""What a takedown has begun and not finished: until it has, no stage works."""


def contracts() -> list[Contract]:
    """Return the contracts of all tables of a dataset and of an export, by name."""
    groups = map(of_signals.measured, [*of_signals.groups(), *of_signals.open_groups()])
    return sorted([*in_schemas(), of_signals.content(), *groups], key=lambda contract: contract.table)


def measured_schema(signals: Iterable[str]) -> pa.Schema:
    """Return the Arrow schema of signals side by side, group by group."""
    names = list(signals)
    groups = of_signals.groups()
    scores = dict.fromkeys(group for name in names if (group := find(name).group) not in groups)
    return pa.unify_schemas([of_signals.measured(group).arrow(names) for group in (*groups, *scores)])


class Dataset:
    """A folder of tables; `contracts` describes them.

    `aside` is where ranks are written, and read, that its folder does not have.
    """

    def __init__(self, store: Store, aside: Store | None = None) -> None:
        self.store, self._aside = store, aside
        self._tables: dict[str, Table[Any]] = {}
        self.pairs = self._table("pairs", PairsMeta, hashed=True)
        self.rejected = self._table("rejected", RejectedMeta)
        self.images = self._table("images", ImagesMeta, hashed=True)
        self.content = self._table("content", ContentMeta, of_signals.content(), hashed=True)
        self.tombstones = self._table("tombstones", Meta, hashed=True)
        self.banned = self._table("banned", Meta)

    def _table(self, name: str, meta: type[M], of: Contract | None = None, *, hashed: bool = False) -> Table[M]:
        """Return the table of this name, the same each time: it remembers its manifest."""
        if name not in self._tables:
            self._tables[name] = Table(self.store, name, of or contract(name), meta, hashed=hashed)
        return self._tables[name]

    def reference(self, kind: str) -> Table[Meta]:
        """Return the table of what a user wants images compared with: 'evaluation' or 'blocklist'."""
        return self._table(kind, Meta, hashed=True)

    def measured(self, group: str) -> Table[SignalsMeta]:
        """Return the table of one group of signals."""
        return self._table(f"measured/{group}", SignalsMeta, of_signals.measured(group))

    def groups(self) -> list[str]:
        """Return the groups of signals: those of every dataset, and those that are called as their user wants."""
        return [*of_signals.groups(), *filter(of_signals.is_open, self.store.names("measured"))]

    def behind(self, signal: str) -> list[Table[CountsMeta]]:
        """Return the tables that must be whole, beside its own, for a measured signal to be of use."""
        counted = find(signal).counted
        return [self.counts("ngrams"), self.classes("ngrams")] if counted and counted.keys == "ngrams" else []

    def embedded(self, name: str) -> Table[EmbeddedMeta]:
        """Return the table of the images' embeddings that are called `name`; SignalError for what cannot be a name."""
        return self._table(f"embedded/{check_name(name)}", EmbeddedMeta, contract("embedded"), hashed=True)

    def embedded_texts(self, name: str) -> Table[EmbeddedMeta]:
        """Return the table of the texts' embeddings that are called `name`."""
        return self._table(f"embedded_texts/{check_name(name)}", EmbeddedMeta, contract("embedded_texts"), hashed=True)

    def embeddings(self) -> list[str]:
        """Return the names of all embeddings that there are, also of tables that are not finished."""
        names = {name for family in ("embedded", "embedded_texts") for name in self.store.names(family)}
        return sorted(name for name in names if re.fullmatch(MODEL_NAME, name))

    def codebook(self, name: str) -> Table[CodebookMeta]:
        """Return the table of the cells in which the embeddings `name` are compared."""
        return self._table(f"codebooks/{check_name(name)}", CodebookMeta, contract("codebooks"), hashed=True)

    def neighbours(self, name: str) -> Table[NeighboursMeta]:
        """Return the table of each image's nearest earlier one by the embeddings `name`."""
        return self._table(f"neighbours/{check_name(name)}", NeighboursMeta, contract("neighbours"))

    def evaluations(self, name: str) -> Table[EvaluationsMeta]:
        """Return the table of the evaluation images that the embeddings `name` are compared with."""
        return self._table(f"evaluations/{check_name(name)}", EvaluationsMeta, contract("evaluations"), hashed=True)

    def user_list(self, name: str) -> Table[ListMeta]:
        """Return the table of the list that its user calls `name`; SignalError for what cannot be a name."""
        return self._table(f"lists/{check_name(name, 'list')}", ListMeta, contract("lists"), hashed=True)

    def user_lists(self) -> list[str]:
        """Return the names of the lists that there are."""
        names = (name for name in self.store.names("lists") if re.fullmatch(MODEL_NAME, name))
        return [name for name in names if self.user_list(name).committed() is not None]

    def label(self, name: str) -> Table[LabelMeta]:
        """Return the table of the label `name`; SignalError for what cannot be a name."""
        return self._table(f"labels/{check_name(name, 'label')}", LabelMeta, contract("labels"))

    def compared(self) -> list[str]:
        """Return the names of the embeddings whose images have been compared, also where that is not finished."""
        return [name for name in self.store.names("neighbours") if re.fullmatch(MODEL_NAME, name)]

    def counts(self, kind: str) -> Table[CountsMeta]:
        """Return the totals of one kind of key: 'ngrams' or 'texts'."""
        return self._table(f"counts/{kind}", CountsMeta, contract("counts"))

    def classes(self, kind: str) -> Table[CountsMeta]:
        """Return the counts of counts of one kind of key."""
        return self._table(f"counts/{kind}-classes", CountsMeta, contract("classes"))

    def ledger(self, name: str) -> Table[LedgerMeta]:
        """Return a ledger; DatasetError for what cannot be its name."""
        if not re.fullmatch(NAME, name):
            raise DatasetError(f"{display(name)} is not a valid ledger name: use letters, digits, '.', '_' and '-'")
        if len(name) > LONGEST:  # it names files, and what is written is called by more than that
            raise DatasetError(
                f"{display(name)} is {len(name):,} characters long, and a ledger's name at most {LONGEST}: "
                "choose a shorter one, with --as on the command line"
            )
        return self._table(f"verdicts/{name}", LedgerMeta, contract("verdicts"))

    def ledgers(self) -> list[str]:
        """Return the names of the committed ledgers, but for those that are kept from before a batch was added."""
        manifests = ((name, self.ledger(name).committed()) for name in self.store.names("verdicts"))
        return [name for name, manifest in manifests if manifest is not None and manifest.meta.until is None]

    def ranks(self, name: str) -> Table[RanksMeta]:
        """Return the table of a rule's ranks, which is called by what they follow from."""
        table = self._table(f"ranks/{name}", RanksMeta, contract("ranks"))
        if self._aside is None or table.whole(table.committed()):
            return table
        return Table(self._aside, table.name, table.contract, RanksMeta)

    def check_added(self) -> None:
        """Raise DatasetError where a batch has been added in part."""
        if self.store.exists(ADDED):
            raise DatasetError(
                f"{self.store.url}: adding a batch began here and did not finish; run it again: "
                f"align-data add {shlex.quote(self.store.url)}"
            )

    def ingested(self) -> Manifest[PairsMeta]:
        """Return the manifest of `pairs`; DatasetError if nothing has been ingested, or a takedown is unfinished."""
        self.check_added()
        if self.store.exists(TAKEDOWN):
            raise DatasetError(
                f"{self.store.url}: a takedown began here and did not finish; run it again: "
                f"align-data takedown {shlex.quote(self.store.url)}"
            )
        for table in (self.tombstones, self.banned):
            if table.uncommitted:
                raise DatasetError(
                    f"{self.store.path(table.name)} has lost its manifest, {table.manifest_names[0]}, which lists "
                    "what was taken down; restore it"
                )
        manifest = self.pairs.committed()
        if manifest is not None:
            if len(manifest.meta.splits) != len(manifest.parts) - 1:
                raise DatasetError(
                    f"the manifest of {self.store.path('pairs')} does not say where each of its parts begins; "
                    "it is damaged"
                )
            return manifest
        if self.store.exists(BEGUN):
            raise DatasetError(f"{self.store.url}: ingest did not finish; run it again with the same inputs")
        raise DatasetError(
            f"{self.store.url} is not a dataset; make one with: align-data ingest INPUT... "
            f"--out {shlex.quote(self.store.url)}"
        )
