"""One group of measured columns: what is in it, what is to come, and that both can be told apart part by part."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import polars as pl

from align_data.data.columns import NO_CHOICE, fresh, identities, part_facts, within_of
from align_data.data.layout import Dataset
from align_data.data.meta import PairsMeta, SignalsMeta
from align_data.data.tombstones import fingerprint
from align_data.signals import Piece, Signal, find, ordered
from align_data.signals.contracts import is_of_pool
from align_data.storage.tables import Manifest, PartWriter, digest


class SignalGroup:
    """A group on its way from the signals it has to those and the new ones.

    Parts are replaced one by one by parts with more columns, so a reader that goes by the manifest always finds
    what the manifest names, and a killed run goes on at the first part without the new columns.
    """

    def __init__(
        self,
        dataset: Dataset,
        pairs: Manifest[PairsMeta],
        name: str,
        todo: list[Signal],
        within: Mapping[str, int] = NO_CHOICE,
    ) -> None:
        self.name = name
        self.pairs = pairs
        self.source = dataset.pairs
        self.table = dataset.measured(name)
        # Names, not definitions: a group travels to other machines.
        self.new = [signal.name for signal in todo if signal.group == name]
        self.columns = ordered([*fresh(dataset, name, pairs, within=within), *self.new])
        stored = identities(dataset, [column for column in self.columns if column not in self.new])
        self._identities = {**stored, **identities(dataset, self.new, anew=True, within=within)}
        self.tombstones = fingerprint(dataset) is not None

    def kinds(self) -> list[str]:
        """Return the kinds of keys that the group's new signals need counted."""
        # Where no row was merged, a text's rows are its pairs.
        rows = "rows" if self.pairs.meta.account.merged else "texts"
        counted = [counted.keys for name in self.new if (counted := find(name).counted) is not None]
        return list(dict.fromkeys(rows if keys == "rows" else keys for keys in counted if keys != "urls"))

    @property
    def of_pool(self) -> bool:
        """Whether its signals are counted over the whole pool."""
        return is_of_pool(self.name)

    @property
    def within(self) -> int:
        """Up to which distance the group's signals look: all of one group look equally far."""
        return max(within_of(self._identities).values(), default=0)

    def part(self, number: int) -> GroupPart:
        """Look at one part: what it has, and what is absent."""
        # What is counted over the pool depends on all of it, what is measured on a pair on its own part alone.
        source = self.pairs.fingerprint if self.of_pool else self.pairs.parts[number].identity
        facts = {"signals": self._identities, "pairs": source}
        stored = part_facts(self.table, number)
        same_pairs = stored.get("pairs") == source
        present = [n for n in self.columns if same_pairs and stored["signals"].get(n) == self._identities[n]]
        return GroupPart(self, number, facts, present, finished=digest(stored) == digest(facts))

    def commit(self) -> None:
        """Write the manifest over the finished parts."""
        infos = [self.table.info(part) for part in range(len(self.pairs.parts))]
        self.table.commit(infos, SignalsMeta(signals=self._identities, pairs=self.pairs.fingerprint))


@dataclass(frozen=True)
class GroupPart:
    """One part of a group: the columns that it has, `there`, and whether these are all."""

    group: SignalGroup
    number: int
    facts: dict[str, Any]
    there: list[str]
    finished: bool

    @property
    def absent(self) -> list[Signal]:
        """The signals that are still to be measured."""
        return [find(name) for name in self.group.columns if name not in self.there]

    def writer(self) -> AbstractContextManager[PartWriter]:
        """Open the part for writing all columns."""
        return self.group.table.writer(self.number, self.facts, self.group.columns)

    def measured(self, number: int, piece: Piece) -> pl.DataFrame:
        """Return all columns of piece `number`: those that are there read, the absent ones measured."""
        columns = [signal.measure(piece).alias(signal.name) for signal in self.absent if signal.measure is not None]
        return self.joined(number, columns)

    def joined(self, number: int, columns: list[pl.Series]) -> pl.DataFrame:
        """Put new columns of piece `number` beside those that are there."""
        old = self.group.table.piece(self.number, number, self.there).get_columns() if self.there else []
        if self.group.tombstones:
            columns = self._as_before(number, columns)
        return pl.DataFrame([*old, *columns]).select(self.group.columns)

    def _as_before(self, number: int, columns: list[pl.Series]) -> list[pl.Series]:
        """Return new columns with what older ones have of pairs taken down since: there is nothing to measure."""
        table = self.group.table
        stored = table.columns(self.number) if table.facts(self.number) is not None else []
        older = [column.name for column in columns if column.name in stored]
        taken_down = self.group.source.piece(self.number, number, ["url"])["url"] == ""
        if not older or not taken_down.any():
            return columns
        before = {columns.name: columns for columns in table.piece(self.number, number, older)}
        return [before[new.name].zip_with(taken_down, new) if new.name in before else new for new in columns]
