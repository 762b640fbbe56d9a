"""Finding the pairs of a selection: one scan of the columns that it compares; texts are read of what is shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from align_data.common.progress import Progress, Tick
from align_data.data.columns import available
from align_data.data.derived import planned_columns, planned_rows
from align_data.data.labels import labels
from align_data.data.layout import Dataset
from align_data.data.ledger import Ledger, fails, outcome
from align_data.engines.base import Engine
from align_data.recipes.plan import Plan, masks
from align_data.selection.selection import PairSelection
from align_data.signals import find
from align_data.signals.base import Piece
from align_data.signals.label import LABEL

OF_PAIRS = ("uid", "url", "alt_text")
_OUTCOME, _BEFORE, _STATUS = "outcome", "_before", "status"
_FAILS = "fails_"
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
    values: Mapping[str, Any]

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
    readable = _readable(dataset, plan)
    status = [_STATUS] if dataset.images.committed() is not None else []
    rules = [f"{_FAILS}{rule.name}" for rule in plan.in_force]
    return [*OF_PAIRS, *sorted(readable), _OUTCOME, *status, *rules]


def _readable(dataset: Dataset, plan: Plan) -> set[str]:
    """Return the signals, scores and ranks that can be read, the marks of each label among them."""
    measured = available(dataset, dataset.ingested(), plan.signals)
    return plan.known(measured | {f"{LABEL}_{name}" for name in labels(dataset)})


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
    """
    selection.check(plan, columns_of(dataset, plan))
    scan = _Scan(dataset, ledger, plan, selection, start + number)
    rows = [part.rows for part in dataset.ingested().parts]
    parts = engine.map_parts("select", scan.part, rows, progress)
    chosen = _ordered([rows_of for _, rows_of in parts], selection, start + number)[start:]
    return Selected(sum(total for total, _ in parts), list(_read(dataset, plan, chosen, [*selection.columns, *beside])))


def uids(
    dataset: Dataset, ledger: Ledger, plan: Plan, selection: PairSelection, progress: Progress
) -> Iterator[pl.Series]:
    """Yield the uids of a selection, piece by piece, in the dataset's order."""
    selection.check(plan, columns_of(dataset, plan))
    scan = _Scan(dataset, ledger, plan, selection, 0)
    rows = [part.rows for part in dataset.ingested().parts]
    with progress.step("select", sum(rows), "pairs") as tick:
        for part in range(len(rows)):
            for piece in scan.pieces(part, ["uid"]):
                tick(len(piece))
                yield piece.filter("_holds")["uid"]


@dataclass(frozen=True)
class _Scan:
    """What is the same for all parts. It travels to other machines."""

    dataset: Dataset
    ledger: Ledger
    plan: Plan
    selection: PairSelection
    number: int

    def part(self, part: int, tick: Tick) -> tuple[int, pl.DataFrame]:
        """Return how many pairs of a part there are, and the first ones by the order, with their places."""
        total, rows, behind = 0, [], False
        for number, piece in enumerate(self.pieces(part, ["uid"] if self.selection.random is not None else [])):
            tick(len(piece))
            chosen = piece.with_row_index("_row").filter("_holds")
            total += len(chosen)
            if behind:
                continue
            key = self._key(chosen)
            places = [pl.lit(part).alias("_part"), pl.lit(number).alias("_piece"), pl.col("_row").cast(pl.Int64)]
            rows.append(chosen.with_columns(key).select(*places, "failed", "unknown", "_key"))
            behind = key.dtype == pl.Null and sum(map(len, rows)) >= self.number
        return total, _ordered(rows, self.selection, self.number) if rows else pl.DataFrame()

    def _key(self, rows: pl.DataFrame) -> pl.Series:
        if self.selection.random is not None:
            measure = find(f"random_{self.selection.random}").measure
            assert measure is not None
            return measure(Piece(rows)).alias("_key")
        if self.selection.sort:
            return rows[self.selection.sort.removeprefix("-")].alias("_key")
        return pl.Series("_key", [None] * len(rows), pl.Null)

    def pieces(self, part: int, beside: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield for each piece of a part its masks, the columns that are compared, and whether all holds."""
        wanted = self.selection.columns
        own = self.ledger.plan is self.plan
        readable = _readable(self.dataset, self.plan)
        compared = [] if own else sorted({column for rule in self.plan.rules for column in rule.columns} & readable)
        pairs = [name for name in OF_PAIRS if name in (*wanted, *beside) or (name == "url" and _STATUS in wanted)]
        stored = [name for name in dict.fromkeys([*wanted, *compared]) if name in readable]
        failed, unknown = masks(self.plan.rules, readable)
        verdicts = self.dataset.ledger(self.ledger.name).pieces(part, ["failed", "unknown"])
        statuses = _statuses(self.dataset, part) if _STATUS in wanted else None
        rules = [self.plan.rule(name.removeprefix(_FAILS)) for name in wanted if name.startswith(_FAILS)]
        for piece, of_ledger in zip(
            planned_columns(self.dataset, self.plan, part, pairs or ["uid"], stored), verdicts, strict=True
        ):
            before = of_ledger.select(outcome().alias(_BEFORE)).to_series()
            if own:
                frame = pl.concat([piece, of_ledger], how="horizontal")
            else:
                taken = of_ledger["failed"] < 0  # taken down, which no rule decides
                frame = piece.with_columns(failed, unknown)
                frame = frame.with_columns(pl.when(taken).then(of_ledger["failed"]).otherwise("failed").alias("failed"))
            frame = frame.with_columns(before, outcome(), *map(fails, rules))
            if statuses is not None:
                frame = frame.join(statuses, on="url", how="left", maintain_order="left")
            yield frame.with_columns(self._holds(frame.schema).alias("_holds"))

    def _holds(self, schema: Mapping[str, Any]) -> pl.Expr:
        selection = self.selection
        holds = [condition.holds(schema[condition.column]) for condition in selection.where]
        if selection.only is not None:
            holds.append(pl.col("failed") == self.plan.rule(selection.only).bit)
        if selection.outcome is not None:
            holds.append(pl.col(_OUTCOME) == selection.outcome)
        if selection.moved is not None:
            holds += [pl.col(_BEFORE) == selection.moved[0], pl.col(_OUTCOME) == selection.moved[1]]
        return pl.all_horizontal(holds) if holds else pl.lit(True)


def _statuses(dataset: Dataset, part: int) -> pl.DataFrame:
    """Return url and status of the images of a part."""
    pieces = list(dataset.images.pieces(part, ["url", _STATUS]))
    empty = pl.DataFrame(schema={"url": pl.String, _STATUS: pl.String})
    return pl.concat(pieces).unique("url") if pieces else empty


def _ordered(rows: Sequence[pl.DataFrame], selection: PairSelection, number: int) -> pl.DataFrame:
    """Return the first rows by the order of a selection: the dataset's where there is none."""
    frames = [frame for frame in rows if len(frame)]
    if not frames:
        return pl.DataFrame()
    together = pl.concat(frames, how="vertical_relaxed")
    if selection.sort or selection.random is not None:
        descending = bool(selection.sort and selection.sort.startswith("-")) and selection.random is None
        together = together.sort(["_key", *_PLACE], descending=[descending, False, False, False], nulls_last=True)
    return together[:number]


def _read(dataset: Dataset, plan: Plan, chosen: pl.DataFrame, columns: Iterable[str]) -> Iterator[SelectedPair]:
    readable = _readable(dataset, plan)
    names = [name for name in dict.fromkeys(columns) if name in readable]
    read: dict[tuple[int, int, int], dict[str, Any]] = {}
    if len(chosen):
        for (part, piece), rows in chosen.group_by("_part", "_piece"):
            places = rows["_row"].to_list()
            pairs = planned_rows(dataset, plan, (int(str(part)), int(str(piece))), places, names)
            for row, pair in zip(places, pairs.iter_rows(named=True), strict=True):
                read[int(str(part)), int(str(piece)), row] = pair
    for row in chosen.iter_rows(named=True):
        pair = read[row["_part"], row["_piece"], row["_row"]]
        failed, unknown = row["failed"], row["unknown"]
        yield SelectedPair(
            part=row["_part"],
            uid=pair["uid"],
            url=pair["url"],
            alt_text=pair["alt_text"],
            outcome="taken down" if failed < 0 else "dropped" if failed else "pending" if unknown else "kept",
            fails=plan.names(failed),
            unknown=plan.names(unknown),
            values={name: pair[name] for name in names},
        )
