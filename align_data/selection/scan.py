"""Finding the pairs of a selection: one scan of the columns that it compares; texts are read of what is shown."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from typing import Any

import polars as pl

from align_data.common.progress import Progress, Tick
from align_data.data.derived import planned_columns, planned_rows
from align_data.data.layout import Dataset
from align_data.data.ledger import DROPPED, FAILS, KEPT, Ledger, fails, outcome, outcome_of
from align_data.engines.base import Engine
from align_data.recipes.plan import Plan, PlannedRule, masks
from align_data.selection.askable import MASKS, OUTCOME, STATUS, Askable
from align_data.selection.conditions import ConditionError
from align_data.selection.first_pairs import FirstPairs, in_order
from align_data.selection.margin import Margin
from align_data.selection.selection import TAKEN_DOWN, PairSelection
from align_data.signals import find, is_signal

DEEPEST = 100_000
"""Pairs of a selection that can be shown page by page: all before a page are kept while it is looked for."""
_BEFORE = "_before_"
"""What the ledger's masks are called beside those of a draft."""


@dataclass(frozen=True)
class SelectedPair:
    """A pair of a selection."""

    part: int
    uid: str
    url: str
    alt_text: str
    outcome: str
    fails: tuple[str, ...]
    unknown: tuple[str, ...]
    values: dict[str, Any]

    @property
    def nsfw(self) -> float | None:
        """The score by which its picture is blurred."""
        return self.values.get("nsfw")


@dataclass(frozen=True)
class Selected:
    """Some pairs of a selection, and how many it has."""

    total: int
    pairs: list[SelectedPair]


def columns_of(dataset: Dataset, plan: Plan) -> list[str]:
    """Return the columns that a selection can ask about."""
    return Askable.of(dataset, plan).names


def select(
    dataset: Dataset,
    ledger: Ledger,
    plan: Plan,
    selection: PairSelection,
    engine: Engine,
    progress: Progress,
    *,
    start: int = 0,
    number: int = 24,
    beside: Iterable[str] = (),
    askable: Askable | None = None,
) -> Selected:
    """Return pairs from place `start` of a selection, with the columns `beside`, and count all of it.

    `plan` decides: the ledger's own, whose verdicts are stored, or another whose thresholds are resolved; `askable` is
    what can be asked by it, where that is known. ConditionError for what cannot be asked, and for places too deep.
    """
    if start + number > DEEPEST:
        raise ConditionError(
            f"pairs are shown up to the {DEEPEST:,}th: narrow the selection or order it otherwise, or take all uids"
        )
    scan = Scan.of(askable or Askable.of(dataset, plan), ledger, selection, beside)
    rows = [part.rows for part in dataset.ingested().parts]
    find_first = FirstPairs(scan.pieces, selection, start + number, stops=scan.of_masks)
    parts = engine.map_parts("select", find_first, rows, progress)
    chosen = in_order([first for _, first in parts], selection, start + number)[start:]
    total = scan.counted() if scan.of_masks else sum(found for found, _ in parts)
    return Selected(total, list(_read(scan, chosen, engine, progress)))


def uids(
    dataset: Dataset, ledger: Ledger, plan: Plan, selection: PairSelection, progress: Progress
) -> Iterator[pl.Series]:
    """Yield the uids of a selection, piece by piece, in the dataset's order whatever its own is."""
    return (piece["uid"] for piece in frames(dataset, ledger, plan, selection, ["uid"], progress))


def frames(
    dataset: Dataset,
    ledger: Ledger,
    plan: Plan,
    selection: PairSelection,
    columns: Sequence[str],
    progress: Progress,
) -> Iterator[pl.DataFrame]:
    """Yield these columns of the pairs of a selection, piece by piece, in the dataset's order whatever its own is.

    Columns are those of `columns_of`, and `failed` and `unknown`. ConditionError at once for what cannot be asked.
    """
    scan = Scan.of(Askable.of(dataset, plan), ledger, selection, columns)
    rows = [part.rows for part in dataset.ingested().parts]

    def read() -> Iterator[pl.DataFrame]:
        with progress.step("select", sum(rows), "pairs") as tick:
            for part in range(len(rows)):
                for number, holding in scan.pieces(part, columns):
                    tick(number)
                    yield holding.select(*columns)

    pieces = read()
    peeked = list(islice(pieces, 1))  # what cannot be compared shows there: now, and not when an answer has begun
    return chain(peeked, pieces)


@dataclass(frozen=True)
class Scan:
    """A selection as it is looked for in each part; it travels to other machines."""

    dataset: Dataset
    ledger: Ledger
    plan: Plan
    selection: PairSelection
    askable: Askable
    margin: Margin | None
    beside: tuple[str, ...]
    """The columns that are read of the pairs that are returned."""

    @staticmethod
    def of(askable: Askable, ledger: Ledger, selection: PairSelection, beside: Iterable[str]) -> Scan:
        """Return the scan for a selection; ConditionError or RecipeError for what it cannot ask."""
        plan, columns = askable.plan, tuple(dict.fromkeys([*selection.columns, *beside]))
        selection.check_rules(plan)
        if selection.moved is not None and ledger.plan is plan:
            raise ConditionError(
                "moved asks what changes against the ledger, and nothing is changed: set a threshold first"
            )
        margin = Margin.of(selection, plan)
        for column in (*columns, *(margin.test.columns if margin is not None else ())):
            askable.check(column)
        for condition in selection.where:
            askable.check_values(condition)
        return Scan(askable.dataset, ledger, plan, selection, askable, margin, columns)

    @property
    def of_masks(self) -> bool:
        """Whether the ledger's masks alone tell which pairs it has."""
        computed_or_stored = {name for name in self._compared(()) if name != OUTCOME and not name.startswith(FAILS)}
        return self.ledger.plan is self.plan and not computed_or_stored

    def counted(self) -> int:
        """Return how many pairs it has, where the masks tell: these were counted when the ledger was written."""
        masks_with_pairs = [(*key, pairs) for key, pairs in self.ledger.masks.items()]
        schema = {"failed": pl.Int64, "unknown": pl.Int64, "pairs": pl.Int64}
        frame = self._with_verdicts(pl.DataFrame(masks_with_pairs, schema, orient="row"), ())
        return int(frame.filter(self._holds(frame.schema, ()))["pairs"].sum())

    def pieces(self, part: int, columns: Sequence[str] = ()) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield for each piece of a part how many pairs it has, and those of the selection.

        A frame has these columns and those that are compared, the masks, and each pair's place in the piece, `_row`.
        """
        compared = self._compared(columns)
        computed = [name for name in compared if name in self.askable.computed]
        verdicts = self.dataset.ledger(self.ledger.name).pieces(part, list(MASKS))
        statuses = _statuses(self.dataset, part) if STATUS in compared else None
        for stored, of_ledger in self._beside(part, compared, computed, verdicts):
            frame = of_ledger.with_columns(stored.get_columns()).with_row_index("_row")
            frame = self._with_verdicts(self._decided(frame), compared)
            frame = frame.filter(self._holds(frame.schema, computed))
            if computed:  # of those alone for which all else holds
                frame = self.askable.compute(frame, computed)
                frame = frame.filter(self._conditions(frame.schema, computed))
            if statuses is not None:
                frame = frame.join(statuses, on="url", how="left", maintain_order="left")
                frame = frame.filter(self._conditions(frame.schema, [STATUS]))
            if self.margin is not None:
                frame = self.margin.of_those_with_one(frame)
            yield len(of_ledger), frame

    def _compared(self, columns: Iterable[str]) -> dict[str, None]:
        """Return the columns that are compared, and these."""
        margin = self.margin.test.columns if self.margin is not None else ()
        return dict.fromkeys([*self.selection.columns, *columns, *margin])

    def _beside(
        self, part: int, compared: Iterable[str], computed: Sequence[str], verdicts: Iterator[pl.DataFrame]
    ) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Yield what is read of each piece, and its verdicts by the ledger."""
        needs = {need for name in computed for need in find(name).needs} | ({"url"} if STATUS in compared else set())
        pairs = [name for name in self.askable.of_pairs if name in {*compared, *needs}]
        readable = self.askable.readable
        deciding = sorted({column for rule in self._anew for column in rule.columns} & readable)
        names = [name for name in dict.fromkeys([*compared, *deciding]) if name in readable]
        if not pairs and not names:
            yield from ((pl.DataFrame(), of_ledger) for of_ledger in verdicts)
            return
        yield from zip(planned_columns(self.dataset, self.plan, part, pairs, names), verdicts, strict=True)

    @cached_property
    def _anew(self) -> list[PlannedRule]:
        """The rules that decide otherwise than in the ledger, or may: of all others its verdicts are theirs."""
        late = {column for column in self.ledger.plan.unmeasured if column in self.askable.readable}

        def same(rule: PlannedRule, before: PlannedRule) -> bool:
            if not rule.in_force or not before.in_force:
                return rule.in_force == before.in_force
            signals = all(is_signal(column) and column not in late for column in rule.columns)  # no scores, no ranks
            return signals and rule.planned == before.planned

        if self.ledger.plan is self.plan:
            return []
        together = zip(self.plan.rules, self.ledger.plan.rules, strict=True)
        return [rule for rule, before in together if not same(rule, before)]

    def _decided(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return a frame that has the ledger's masks with those of the plan in their place."""
        if self.ledger.plan is self.plan:
            return frame
        before = frame.select(pl.col(mask).alias(f"{_BEFORE}{mask}") for mask in MASKS)
        others = ~sum(rule.bit for rule in self._anew)
        anew = masks(self._anew, self.askable.readable)
        return frame.with_columns(
            *before, *((pl.col(mask) & others) | decided for mask, decided in zip(MASKS, anew, strict=True))
        )

    def _with_verdicts(self, frame: pl.DataFrame, compared: Iterable[str]) -> pl.DataFrame:
        """Return a frame with the columns that follow from its masks and that are compared."""
        names = {*compared, *self.selection.columns}
        rules = [self.plan.rule(name.removeprefix(FAILS)) for name in names if name.startswith(FAILS)]
        return frame.with_columns(*([_outcome()] if OUTCOME in names else []), *map(fails, rules))

    def _holds(self, schema: pl.Schema, later: Container[str]) -> pl.Expr:
        """Return whether all holds but the conditions on columns that come `later`, and the side of a threshold."""
        selection, failed, unknown = self.selection, pl.col("failed"), pl.col("unknown")
        early = [c.column for c in selection.where if c.column not in later and c.column != STATUS]
        promised = [self.askable.promises(condition) for condition in selection.where]
        holds = [self._conditions(schema, early), *(holds for holds in promised if holds is not None)]
        if not self._asks_taken_down:
            holds.append(failed >= 0)
        if selection.only is not None:
            holds.append(failed == self.plan.rule(selection.only).bit)
        if selection.but:
            other_rules = ~self.plan.bits(selection.but)
            holds += [failed != 0, (failed | unknown) & other_rules == 0]
        if selection.outcome is not None:
            holds.append(_became(selection.outcome, failed, unknown))
        if selection.moved is not None:
            before = [pl.col(f"{_BEFORE}{mask}") for mask in MASKS]
            holds += [_became(selection.moved[0], *before), _became(selection.moved[1], failed, unknown)]
        return pl.all_horizontal(holds)

    @property
    def _asks_taken_down(self) -> bool:
        outcomes = [c for c in self.selection.where if c.column == OUTCOME and c.op == "="]
        return self.selection.outcome == TAKEN_DOWN or any(TAKEN_DOWN in c.values for c in outcomes)

    def _conditions(self, schema: pl.Schema, columns: Container[str]) -> pl.Expr:
        """Return whether the conditions on these columns hold."""
        asked = [condition for condition in self.selection.where if condition.column in columns]
        return pl.all_horizontal([pl.lit(True), *(condition.holds(schema[condition.column]) for condition in asked)])


def _became(word: str, failed: pl.Expr, unknown: pl.Expr) -> pl.Expr:
    """Return whether an outcome is that of pairs, by their masks."""
    if word == TAKEN_DOWN:
        return failed < 0
    if word == DROPPED:
        return failed > 0
    return (failed == 0) & ((unknown == 0) if word == KEPT else (unknown != 0))


def _outcome() -> pl.Expr:
    """Return what becomes of pairs by their masks, those taken down apart."""
    return pl.when(pl.col("failed") < 0).then(pl.lit(TAKEN_DOWN)).otherwise(outcome()).alias(OUTCOME)


def _statuses(dataset: Dataset, part: int) -> pl.DataFrame:
    """Return url and status of the images of a part."""
    pieces = list(dataset.images.pieces(part, ["url", STATUS]))
    empty = pl.DataFrame(schema={"url": pl.String, STATUS: pl.String})
    return pl.concat(pieces).unique("url") if pieces else empty


def _read(scan: Scan, chosen: pl.DataFrame, engine: Engine, progress: Progress) -> Iterator[SelectedPair]:
    """Read the pairs at some places, with the columns that are shown: they can lie in as many pieces as they are."""
    beside = [*scan.beside, *(scan.margin.test.columns if scan.margin is not None else ())]
    names = [name for name in dict.fromkeys(beside) if name in scan.askable.readable]
    computed = [name for name in dict.fromkeys(beside) if name in scan.askable.computed]
    rows: dict[tuple[int, int], list[int]] = {}
    for part, piece, row in chosen.select("_part", "_piece", "_row").iter_rows() if len(chosen) else ():
        rows.setdefault((part, piece), []).append(row)
    pieces = list(rows)

    def of_piece(number: int, tick: Tick) -> list[dict[str, Any]]:
        part, piece = pieces[number]
        pairs = planned_rows(scan.dataset, scan.plan, (part, piece), rows[part, piece], names)
        pairs = scan.askable.compute(pairs, computed)
        if STATUS in beside:
            pairs = pairs.join(_statuses(scan.dataset, part), on="url", how="left", maintain_order="left")
        tick(len(pairs))
        return pairs.to_dicts()

    together = engine.map_parts("select: read", of_piece, [len(rows[place]) for place in pieces], progress)
    read = {
        (*place, row): pair
        for place, pairs in zip(pieces, together, strict=True)
        for row, pair in zip(rows[place], pairs, strict=True)
    }
    columns = [*names, *computed, *([STATUS] if STATUS in beside else [])]
    for row in chosen.iter_rows(named=True):
        pair = read[row["_part"], row["_piece"], row["_row"]]
        failed, unknown = row["failed"], row["unknown"]
        yield SelectedPair(
            part=row["_part"],
            uid=pair["uid"],
            url=pair["url"],
            alt_text=pair["alt_text"],
            outcome=TAKEN_DOWN if failed < 0 else outcome_of(failed, unknown),
            fails=scan.plan.names(max(failed, 0)),
            unknown=scan.plan.names(unknown) if failed >= 0 else (),
            values={name: pair[name] for name in columns},
        )
