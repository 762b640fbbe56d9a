"""Finding the pairs of a selection: one scan of the columns that it compares; texts are read of what is shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from typing import Any

import polars as pl

from align_data.common.progress import Progress, Tick
from align_data.data.derived import planned_columns, planned_rows
from align_data.data.layout import Dataset
from align_data.data.ledger import Ledger, fails, outcome
from align_data.engines.base import Engine
from align_data.recipes.plan import Plan, masks
from align_data.selection.askable import FAILS, MASKS, OF_PAIRS, OUTCOME, STATUS, Askable
from align_data.selection.conditions import ConditionError
from align_data.selection.margin import Margin
from align_data.selection.selection import TAKEN_DOWN, PairSelection
from align_data.signals import find
from align_data.signals.base import Piece

DEEPEST = 100_000
"""Pairs of a selection that can be shown page by page: all before a page are kept while it is looked for."""
_BEFORE = "_before"
_PLACE = ["_part", "_piece", "_row"]


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
) -> Selected:
    """Return pairs from place `start` of a selection, with the columns `beside`, and count all of it.

    `plan` decides: the ledger's own, whose verdicts are stored, or another whose thresholds are resolved.
    ConditionError for what cannot be asked, and for places that lie too deep.
    """
    if start + number > DEEPEST:
        raise ConditionError(
            f"pairs are shown up to the {DEEPEST:,}th: narrow the selection or order it otherwise, or take all uids"
        )
    scan = Scan.of(dataset, ledger, plan, selection, beside)
    rows = [part.rows for part in dataset.ingested().parts]
    parts = engine.map_parts("select", scan.first_pairs(start + number), rows, progress)
    chosen = _ordered([rows_of for _, rows_of in parts], selection, start + number)[start:]
    return Selected(sum(total for total, _ in parts), list(_read(scan, chosen)))


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
    scan = Scan.of(dataset, ledger, plan, selection, columns)
    rows = [part.rows for part in dataset.ingested().parts]

    def read() -> Iterator[pl.DataFrame]:
        with progress.step("select", sum(rows), "pairs") as tick:
            for part in range(len(rows)):
                for piece in scan.pieces(part, columns):
                    tick(len(piece))
                    yield piece.filter("_holds").select(*columns)

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
    def of(dataset: Dataset, ledger: Ledger, plan: Plan, selection: PairSelection, beside: Iterable[str]) -> Scan:
        """Return the scan for a selection; ConditionError or RecipeError for what it cannot ask."""
        askable, columns = Askable.of(dataset, plan), tuple(dict.fromkeys([*selection.columns, *beside]))
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
        return Scan(dataset, ledger, plan, selection, askable, margin, columns)

    def first_pairs(self, number: int) -> _FirstPairs:
        """Return what finds the first pairs of a part."""
        return _FirstPairs(self, number)

    @cached_property
    def _own(self) -> bool:
        return self.ledger.plan is self.plan

    def pieces(self, part: int, columns: Sequence[str] = ()) -> Iterator[pl.DataFrame]:
        """Yield for each piece of a part its masks, these columns, those that are compared, and whether all holds."""
        margin = self.margin.test.columns if self.margin is not None else ()
        compared = dict.fromkeys([*self.selection.columns, *columns, *margin])
        computed = [name for name in compared if name in self.askable.computed]
        rules = [self.plan.rule(name.removeprefix(FAILS)) for name in compared if name.startswith(FAILS)]
        verdicts = self.dataset.ledger(self.ledger.name).pieces(part, list(MASKS))
        statuses = _statuses(self.dataset, part) if STATUS in compared else None
        for stored, of_ledger in self._beside(part, compared, computed, verdicts):
            frame = self.askable.compute(stored, computed) if computed else stored
            before = of_ledger.select(_outcome().alias(_BEFORE)).to_series()
            frame = self._decided(frame, of_ledger).with_columns(before, _outcome(), *map(fails, rules))
            if statuses is not None:
                frame = frame.join(statuses, on="url", how="left", maintain_order="left")
            yield frame.with_columns(self._holds(frame.schema).alias("_holds"))

    def _beside(
        self, part: int, compared: Iterable[str], computed: Sequence[str], verdicts: Iterator[pl.DataFrame]
    ) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Yield what is read of each piece, and its verdicts by the ledger."""
        needs = {need for name in computed for need in find(name).needs} | ({"url"} if STATUS in compared else set())
        pairs = [name for name in OF_PAIRS if name in {*compared, *needs}]
        readable = self.askable.readable
        deciding = (
            [] if self._own else sorted({column for rule in self.plan.rules for column in rule.columns} & readable)
        )
        names = [name for name in dict.fromkeys([*compared, *deciding]) if name in readable]
        if not pairs and not names:
            yield from ((pl.DataFrame(), of_ledger) for of_ledger in verdicts)
            return
        yield from zip(planned_columns(self.dataset, self.plan, part, pairs, names), verdicts, strict=True)

    def _decided(self, frame: pl.DataFrame, of_ledger: pl.DataFrame) -> pl.DataFrame:
        """Return a frame with the masks by the plan beside."""
        together = of_ledger.with_columns(frame.get_columns())
        if self._own:
            return together
        failed, unknown = masks(self.plan.rules, self.askable.readable)
        decided = together.with_columns(failed, unknown)
        taken = of_ledger["failed"] < 0  # taken down, which no rule decides
        return decided.with_columns(pl.when(taken).then(of_ledger["failed"]).otherwise("failed").alias("failed"))

    def _holds(self, schema: pl.Schema) -> pl.Expr:
        selection = self.selection
        holds = [condition.holds(schema[condition.column]) for condition in selection.where]
        if not self._asks_taken_down:
            holds.append(pl.col("failed") >= 0)
        if selection.only is not None:
            holds.append(pl.col("failed") == self.plan.rule(selection.only).bit)
        if selection.but:
            other_rules = ~self.plan.bits(selection.but)
            holds += [pl.col("failed") != 0, (pl.col("failed") | pl.col("unknown")) & other_rules == 0]
        if selection.outcome is not None:
            holds.append(pl.col(OUTCOME) == selection.outcome)
        if selection.moved is not None:
            holds += [pl.col(_BEFORE) == selection.moved[0], pl.col(OUTCOME) == selection.moved[1]]
        if self.margin is not None:
            holds.append(self.margin.holds)
        return pl.all_horizontal(holds) if holds else pl.lit(True)

    @property
    def _asks_taken_down(self) -> bool:
        outcomes = [c for c in self.selection.where if c.column == OUTCOME and c.op == "="]
        return self.selection.outcome == TAKEN_DOWN or any(TAKEN_DOWN in c.values for c in outcomes)


def _outcome() -> pl.Expr:
    """Return what becomes of pairs by their masks, those taken down apart."""
    return pl.when(pl.col("failed") < 0).then(pl.lit(TAKEN_DOWN)).otherwise(outcome()).alias(OUTCOME)


@dataclass(frozen=True)
class _FirstPairs:
    """Finds the first pairs of a part."""

    scan: Scan
    number: int

    def __call__(self, part: int, tick: Tick) -> tuple[int, pl.DataFrame]:
        """Return how many pairs of a part there are, and the first ones by the order, with their places."""
        selection = self.scan.selection
        total, rows, behind = 0, list[pl.DataFrame](), False
        for number, piece in enumerate(self.scan.pieces(part, ["uid"] if selection.random is not None else [])):
            tick(len(piece))
            if behind:
                total += int(piece["_holds"].sum())
                continue
            chosen = piece.with_row_index("_row").filter("_holds")
            total += len(chosen)
            places = [pl.lit(part).alias("_part"), pl.lit(number).alias("_piece"), pl.col("_row").cast(pl.Int64)]
            part_rows = chosen.with_columns(self._key(chosen)).select(*places, *MASKS, "_key")
            rows = [_ordered([*rows, part_rows], selection, self.number)]
            behind = not selection.ordered and len(rows[0]) >= self.number
        return total, rows[0] if rows else pl.DataFrame()

    def _key(self, rows: pl.DataFrame) -> pl.Series:
        selection = self.scan.selection
        if selection.random is not None:
            measure = find(f"random_{selection.random}").measure
            assert measure is not None
            return measure(Piece(rows)).alias("_key")
        if self.scan.margin is not None:
            return rows.select(self.scan.margin.distance.alias("_key")).to_series()
        if selection.sort:
            return rows[selection.sort.removeprefix("-")].alias("_key")
        return pl.Series("_key", [None] * len(rows), pl.Null)


def _statuses(dataset: Dataset, part: int) -> pl.DataFrame:
    """Return url and status of the images of a part."""
    pieces = list(dataset.images.pieces(part, ["url", STATUS]))
    empty = pl.DataFrame(schema={"url": pl.String, STATUS: pl.String})
    return pl.concat(pieces).unique("url") if pieces else empty


def _ordered(rows: Sequence[pl.DataFrame], selection: PairSelection, number: int) -> pl.DataFrame:
    """Return the first rows by the order of a selection: the dataset's where there is none."""
    frames_with_rows = [frame for frame in rows if len(frame)]
    if not frames_with_rows:
        return pl.DataFrame()
    together = pl.concat(frames_with_rows, how="vertical_relaxed")
    if selection.ordered:
        descending = bool(selection.sort and selection.sort.startswith("-"))
        together = together.sort(["_key", *_PLACE], descending=[descending, False, False, False], nulls_last=True)
    return together[:number]


def _read(scan: Scan, chosen: pl.DataFrame) -> Iterator[SelectedPair]:
    """Read the pairs at some places, with the columns that are shown."""
    beside = [*scan.beside, *(scan.margin.test.columns if scan.margin is not None else ())]
    names = [name for name in dict.fromkeys(beside) if name in scan.askable.readable]
    computed = [name for name in dict.fromkeys(beside) if name in scan.askable.computed]
    read: dict[tuple[int, int, int], dict[str, Any]] = {}
    if len(chosen):
        for (part, piece), rows in chosen.group_by("_part", "_piece"):
            places = rows["_row"].to_list()
            pairs = planned_rows(scan.dataset, scan.plan, (int(str(part)), int(str(piece))), places, names)
            pairs = scan.askable.compute(pairs, computed)
            if STATUS in beside:
                pairs = pairs.join(_statuses(scan.dataset, int(str(part))), on="url", how="left", maintain_order="left")
            for row, pair in zip(places, pairs.iter_rows(named=True), strict=True):
                read[int(str(part)), int(str(piece)), row] = pair
    columns = [*names, *computed, *([STATUS] if STATUS in beside else [])]
    for row in chosen.iter_rows(named=True):
        pair = read[row["_part"], row["_piece"], row["_row"]]
        failed, unknown = row["failed"], row["unknown"]
        undecided = "pending" if unknown else "kept"
        yield SelectedPair(
            part=row["_part"],
            uid=pair["uid"],
            url=pair["url"],
            alt_text=pair["alt_text"],
            outcome=TAKEN_DOWN if failed < 0 else "dropped" if failed else undecided,
            fails=scan.plan.names(max(failed, 0)),
            unknown=scan.plan.names(unknown) if failed >= 0 else (),
            values={name: pair[name] for name in columns},
        )
