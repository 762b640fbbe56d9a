"""The Python door, for notebooks: a dataset's verdicts as a frame, and its audit as a page."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from align_data.common.progress import Progress, Silent
from align_data.common.secrets import mask
from align_data.data import labels
from align_data.data.balancing import entry_counts, thresholds_like
from align_data.data.columns import available, by_group
from align_data.data.layout import Dataset
from align_data.data.ledger import Ledger, fails, open_current, outcome
from align_data.engines.base import Engine
from align_data.engines.local import LocalEngine
from align_data.report import audit_html
from align_data.selection import PairSelection, frames
from align_data.selection.askable import MASKS, Askable
from align_data.selection.draft import RECIPE, SET, WITH, WITHOUT, Draft
from align_data.selection.selection import BUT, MOVED, ONLY, OUTCOME, WHERE, with_values
from align_data.signals import is_signal, ordered
from align_data.stages.audit import (
    SAMPLES,
    MarkedAudit,
    Survey,
    SweepRequest,
    Swept,
    SweptTable,
    marked,
    survey,
    sweep,
    sweep_table,
)
from align_data.stages.audit.what_if import MovedPool, WhatIf
from align_data.stages.selected import decided
from align_data.storage.output_file import OutputFile
from align_data.storage.store import Store
from align_data.storage.tables import Table

__all__ = ["AuditReport", "MovedPool", "Opened", "SweepRequest", "open"]


class AuditReport:
    """An audit: `survey` has its numbers, a notebook shows its page."""

    def __init__(self, dataset: Dataset, survey: Survey, *, pictures: bool = True) -> None:
        self.survey = survey
        self._dataset, self._pictures = dataset, pictures

    @cached_property
    def html(self) -> str:
        """The page, which needs no network."""
        return audit_html(self.survey, self._dataset, Silent(), pictures=self._pictures)

    def __repr__(self) -> str:
        audit = self.survey.audit
        return (
            f"<align-data audit of {mask(self._dataset.store.url)}, ledger {audit.recipe}: {audit.kept:,} kept, "
            f"{audit.dropped:,} dropped, {audit.pending:,} pending; save(FILE) writes its page>"
        )

    def save(self, path: str | Path) -> None:
        """Write the page to a file, by its path or fsspec URL."""
        OutputFile(path).write(self.html.encode())

    def _repr_html_(self) -> str:
        """Return the page in a frame of its own: the notebook's styles and the page's leave each other alone."""
        escaped = self.html.replace("&", "&amp;").replace('"', "&quot;")
        return f'<iframe style="width:100%;height:80vh;border:1px solid #ddd" srcdoc="{escaped}"></iframe>'


@dataclass(frozen=True, repr=False)
class Opened:
    """A dataset opened for reading; its repr lists its contents."""

    dataset: Dataset
    engine: Engine
    progress: Progress
    _pools: dict[str, tuple[Ledger, WhatIf]] = field(default_factory=dict, compare=False)
    """The pool that is held, by its ledger's name."""
    _lock: threading.Lock = field(default_factory=threading.Lock, compare=False)

    def __repr__(self) -> str:
        pairs, ledgers = self.dataset.ingested().rows, ", ".join(self.ledgers()) or "none yet"
        measured = [name for group in self.dataset.groups() for name in self._signals(group)]
        of = self.dataset
        tables = [
            table.name
            for table in (of.pairs, of.rejected, of.images, of.content, of.tombstones)
            if table.committed() is not None
        ]
        return (
            f"<align-data dataset {mask(self.dataset.store.url)}: {pairs:,} pairs; tables: {', '.join(tables)}; "
            f"measured: {', '.join(ordered(measured)) or 'nothing yet'}; ledgers: {ledgers}>"
        )

    def _signals(self, group: str) -> list[str]:
        manifest = self.dataset.measured(group).committed()
        return [] if manifest is None else [name for name in manifest.meta.signals if is_signal(name)]

    def ledgers(self) -> list[str]:
        """Return the names of the ledgers there are."""
        return self.dataset.ledgers()

    def verdicts(self, ledger: str) -> pl.LazyFrame:
        """Return every pair with its verdicts, lazily: what is not asked for is not read.

        The columns are uid, url, alt_text, all measured signals, the masks `failed` and `unknown` (a rule's bit is its
        place in the recipe; a negative `failed` says that the pair was taken down), a column `fails_RULE` for each rule
        that was not taken out (true, false, or null for unknown), and `outcome`: kept, dropped or pending.
        """
        plan = open_current(self.dataset, ledger).plan
        measured = available(self.dataset, self.dataset.ingested())
        frames = [self._scan(self.dataset.pairs, ["uid", "url", "alt_text"])]
        groups = by_group(ordered(measured))
        frames += [self._scan(self.dataset.measured(group), names) for group, names in groups.items()]
        frames.append(self._scan(self.dataset.ledger(ledger), ["failed", "unknown"]))
        return pl.concat(frames, how="horizontal").with_columns(*map(fails, plan.in_force), outcome())

    def pairs(
        self,
        ledger: str,
        where: Sequence[str] = (),
        only: str | None = None,
        but: Sequence[str] = (),
        outcome: str | None = None,
        moved: str | None = None,
        *,
        set: Sequence[str] = (),
        without: Sequence[str] = (),
        restore: Sequence[str] = (),
        columns: Sequence[str] | None = None,
    ) -> pl.LazyFrame:
        """Return the pairs of a selection, lazily: what is not asked for is not read.

        The words are those of `align-data audit`: `pairs("align", where=["host=a.example"], only="n_words")`; `set`,
        `without` and `restore` move the ledger's rules first. The columns are those of `verdicts` and the marks of each
        label, or the named ones, among which may be any signal that follows from URL and text. The order is the
        dataset's. ConditionError for what cannot be asked, RecipeError for what cannot be set.
        """
        words = [(WHERE, condition) for condition in _each(where)] + [(BUT, rule) for rule in _each(but)]
        words += [(name, word) for name, word in ((ONLY, only), (OUTCOME, outcome), (MOVED, moved)) if word is not None]
        draft = self._draft(ledger, set, without, restore)
        selection = PairSelection.from_words(with_values(words))
        dataset, plan = decided(self.dataset, draft, self.engine, self.progress)
        askable = Askable.of(dataset, plan)
        names = list(_each(columns)) if columns is not None else [*askable.names, *MASKS]
        for name in names:
            askable.check(name)

        def read(
            with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _: int | None
        ) -> Iterator[pl.DataFrame]:
            pieces = frames(dataset, draft.ledger, plan, selection, with_columns or names, self.progress)
            return _bounded(pieces, predicate, n_rows)

        schema = pl.Schema({name: askable.dtype(name) for name in names})
        return register_io_source(read, schema=schema, is_pure=True).select(names)

    def audit(self, ledger: str, samples: int = SAMPLES, seed: int = 0, *, pictures: bool = True) -> AuditReport:
        """Count all that an audit says; shown by a notebook as a page."""
        surveyed = survey(self.dataset, ledger, self.engine, self.progress, samples, seed)
        return AuditReport(self.dataset, surveyed, pictures=pictures)

    def entries(self, name: str) -> pl.DataFrame:
        """Return class, entry and count of each entry of a list: how many pairs of the pool have it."""
        return entry_counts(self.dataset, name)

    def balance_thresholds(self, name: str, like: str, threshold: float) -> dict[str, int]:
        """Return for each language of a list the threshold of balance_NAME that leaves the tail of one by its own.

        MetaCLIP 2 sets t for English, and lets the other languages' follow: balance_thresholds(NAME, "en", 170_000).
        """
        return thresholds_like(self.dataset, name, like, threshold)

    def mark(self, label: str, uids: Iterable[str], mark: str) -> int:
        """Mark pairs by hand: keep, drop or unsure, or unmarked to take it back; return how many."""
        return labels.mark(self.dataset, label, uids, mark)

    def marks(self, label: str) -> pl.DataFrame:
        """Return uid and mark of the pairs that a label marks, sorted by uid."""
        return labels.check(self.dataset, label)

    def marked(self, ledger: str, label: str) -> MarkedAudit:
        """Count how right each rule of a ledger, and all together, are by the marks of a label."""
        return marked(self.dataset, ledger, label, self.engine, self.progress)

    def sweep(self, ledger: str, request: SweepRequest, moved: int = 0, seed: int = 0) -> Swept:
        """Count what other thresholds of one test would keep, with every other rule in force, in one scan.

        Such as `SweepRequest("n_words", [3, 4, 5])`; `moved` pairs that change hands come with it, drawn by `seed`.
        """
        return sweep(self.dataset, ledger, request, self.engine, self.progress, moved, seed)

    def sweep_table(self, ledger: str, rows: SweepRequest, columns: SweepRequest) -> SweptTable:
        """Count what each combination of two tests' values would keep, in one scan: `kept[i][j]`, `pending[i][j]`."""
        return sweep_table(self.dataset, ledger, (rows, columns), self.engine, self.progress)

    def what_if(
        self,
        ledger: str,
        set: Sequence[str] = (),
        without: Sequence[str] = (),
        restore: Sequence[str] = (),
        *,
        whole: bool = False,
    ) -> MovedPool:
        """Count what `filter` would make of a ledger's pool with rules moved, which are as `--set` and `--without` say.

        Such as `what_if("align", set=["n_words.ge=4"], without=["min_side"])`; `restore` puts rules back that the
        ledger took out. The pool of one ledger stays in memory for the next move: up to 20 million pairs of it, and of
        more those, with the `error` of what is kept; `whole` counts all in scans. RecipeError for what cannot be set.
        """
        draft = self._draft(ledger, set, without, restore)
        opened, plan = draft.ledger, draft.plan
        with self._lock:
            if self._pools.get(ledger, (None,))[0] != opened:
                self._pools.clear()
                self._pools[ledger] = opened, WhatIf(self.dataset, ledger, self.engine, self.progress)
            _, pool = self._pools[ledger]
        return pool.count(plan, whole=whole)

    def _draft(self, ledger: str, set: Sequence[str], without: Sequence[str], restore: Sequence[str]) -> Draft:
        moved = ((SET, set), (WITHOUT, without), (WITH, restore))
        words = with_values([(name, word) for name, of in moved for word in _each(of)])
        return Draft.of(open_current(self.dataset, ledger), [(RECIPE, ledger), *words])

    def _scan(self, table: Table[Any], columns: list[str]) -> pl.LazyFrame:
        manifest = table.committed()
        assert manifest is not None
        parts = range(len(manifest.parts))

        # Not pl.scan_parquet, which does not look at checksums.
        def read(
            with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _: int | None
        ) -> Iterator[pl.DataFrame]:
            pieces = (piece for part in parts for piece in table.pieces(part, with_columns or columns))
            return _bounded(pieces, predicate, n_rows)

        return register_io_source(read, schema=table.contract.polars(*columns), is_pure=True).select(columns)


def _each(words: Sequence[str]) -> Sequence[str]:
    """Return words that are given as a list; one alone is itself, not its letters."""
    return [words] if isinstance(words, str) else words


def _bounded(pieces: Iterable[pl.DataFrame], predicate: pl.Expr | None, n_rows: int | None) -> Iterator[pl.DataFrame]:
    """Yield the first rows of some pieces, those of them for which a predicate holds."""
    remaining = n_rows
    for piece in pieces:
        rows = piece if remaining is None else piece[:remaining]
        remaining = None if remaining is None else remaining - len(rows)
        yield rows if predicate is None else rows.filter(predicate)
        if remaining == 0:
            return


def open(url: str | Path, workers: int | None = None) -> Opened:
    """Open a dataset by its path or fsspec URL; DatasetError if there is none."""
    store = Store(str(url))
    dataset = Dataset(store)
    dataset.ingested()
    return Opened(dataset, LocalEngine(store.work, workers), Silent())
