"""What can be asked of a pair: its columns, what is measured, what can be computed while reading, its verdicts."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import polars as pl
import pyarrow as pa

from align_data.common.errors import nearest
from align_data.data.batches import FIRST_BATCH
from align_data.data.columns import available, lacking
from align_data.data.labels import labels
from align_data.data.layout import Dataset
from align_data.data.ledger import FAILS
from align_data.fetching.outcome import is_status
from align_data.recipes.plan import Plan
from align_data.selection.conditions import Condition, ConditionError
from align_data.selection.selection import SELECTABLE, check_in_force
from align_data.signals import SIGNALS, find, is_signal
from align_data.signals.base import Piece, Signal
from align_data.signals.families import split
from align_data.signals.label import LABEL, MARKS
from align_data.storage.contracts import TYPES

OF_PAIRS = ("uid", "url", "alt_text")
MASKS = ("failed", "unknown")
OUTCOME, STATUS, HOST = "outcome", "status", "host"
_FEW = 50
"""Hosts that a URL is searched for before its own is taken out of it, which costs ten times as much."""


@dataclass(frozen=True)
class Askable:
    """The columns that a selection can ask about; it travels to other machines."""

    dataset: Dataset
    plan: Plan
    readable: frozenset[str]
    """Signals, scores and ranks that can be read, the marks of each label among them."""
    fetched: bool
    """Whether there are images with a status."""
    batches: tuple[str, ...] = ()
    """The batches that pairs are of, where any was added to what was ingested."""

    @staticmethod
    def of(dataset: Dataset, plan: Plan) -> Askable:
        """Return what can be asked about a dataset now."""
        measured = available(dataset, dataset.ingested(), plan.signals)
        readable = plan.known(measured | {f"{LABEL}_{name}" for name in labels(dataset)})
        batches = tuple(batch.name for batch in dataset.ingested().meta.batches)
        return Askable(dataset, plan, frozenset(readable), dataset.images.committed() is not None, batches)

    @property
    def of_pairs(self) -> tuple[str, ...]:
        """The columns of `pairs` that can be asked about."""
        return (*OF_PAIRS, FIRST_BATCH) if self.batches else OF_PAIRS

    @cached_property
    def computed(self) -> frozenset[str]:
        """The signals that are not measured and follow from URL and text alone: computed as pairs are read."""
        return frozenset(name for name, signal in SIGNALS.items() if name not in self.readable and _computable(signal))

    @property
    def names(self) -> list[str]:
        """All that can be asked and costs no more than reading."""
        status = [STATUS] if self.fetched else []
        rules = [f"{FAILS}{rule.name}" for rule in self.plan.in_force]
        host = {HOST} & self.computed
        return [*self.of_pairs, *sorted(self.readable | host), OUTCOME, *status, *rules]

    def dtype(self, column: str) -> pl.DataType:
        """Return the type of one of these columns."""
        if column in (*OF_PAIRS, FIRST_BATCH, OUTCOME, STATUS):
            return pl.String()
        if column.startswith(FAILS):
            return pl.Boolean()
        if column in MASKS:
            return pl.Int64()
        signal = self.plan.definitions.get(column) or find(column)
        return pl.Schema(pa.schema({column: TYPES[signal.type]}))[column]

    def check(self, column: str) -> None:
        """Raise ConditionError for a column that cannot be asked about, with how it could be."""
        if column in (*self.of_pairs, *MASKS, OUTCOME) or column in self.readable or column in self.computed:
            return
        url = shlex.quote(self.dataset.store.url)
        if column == STATUS:
            if not self.fetched:
                raise ConditionError(f"no image has a status yet: align-data fetch {url} --recipe LEDGER")
        elif column == FIRST_BATCH:
            raise ConditionError(
                f"there is one batch, what was ingested: another comes by align-data add {url} LIST..."
            )
        elif column.startswith(FAILS):
            check_in_force(self.plan.rule(column.removeprefix(FAILS)), column)
        elif is_signal(column):
            why = lacking(self.dataset, find(column))
            how = f"it {why.replace('need ', 'needs ', 1)}" if why else f"align-data measure {url} --signals {column}"
            raise ConditionError(f"{column} is not measured: {how}")
        else:
            raise ConditionError(f"there is no column {column[:200]}{nearest(column, self.names)}")

    def check_values(self, condition: Condition) -> None:
        """Raise ConditionError for a value that its column never has."""
        if condition.op not in ("=", "!="):
            return
        possible: Iterable[str] | None = None
        if condition.column == OUTCOME:
            possible = SELECTABLE
        elif condition.column == FIRST_BATCH:
            possible = self.batches
        elif (split(condition.column) or ("",))[0] == LABEL:
            possible = MARKS
        for value in condition.values:
            if value is None:
                continue
            if possible is not None and value not in possible:
                raise ConditionError(f"{str(condition)[:200]}: {condition.column} is one of {', '.join(possible)}")
            if condition.column == STATUS and not is_status(value):
                raise ConditionError(
                    f"{str(condition)[:200]}: {value[:100]!r} is no status, such as ok, http_404, timeout, dns"
                )

    def promises(self, condition: Condition) -> pl.Expr | None:
        """Return what is cheap to tell of a URL and holds wherever a condition on its host does; None for any other."""
        hosts = condition.values
        listed = condition.column == HOST and condition.op == "=" and len(hosts) <= _FEW
        if HOST not in self.computed or not listed or not all(host and host.isascii() for host in hosts):
            return None
        return pl.col("url").str.contains("(?i)" + "|".join(pl.escape_regex(host or "") for host in hosts))

    def compute(self, frame: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
        """Return a frame of url and alt_text with these computed signals beside."""
        piece = Piece(frame)
        signals = [find(name) for name in names]
        return frame.with_columns(signal.measure(piece).alias(signal.name) for signal in signals if signal.measure)


def _computable(signal: Signal) -> bool:
    cheap = signal.kind == "row" and not signal.params and signal.missing() is None
    return cheap and set(signal.needs) <= set(OF_PAIRS)
