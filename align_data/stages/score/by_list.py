"""Scores that somebody has published: a column of a list, joined to the pairs by their keys in one shuffle.

Rows go to the parts of `pairs`, which are ranges of the URL's key, so that no part is looked at twice.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Literal

import numpy as np
import polars as pl

from align_data.common.errors import InputError
from align_data.common.hashing import xxh3
from align_data.common.progress import Progress, Tick
from align_data.data import pairs as pair
from align_data.data.columns import scored_by
from align_data.data.html_texts import Rewriting, rewritten
from align_data.data.layout import Dataset
from align_data.data.meta import ListedMeta, PairsMeta, SignalsMeta
from align_data.engines.base import Engine, Shuffle
from align_data.signals import FAMILIES, Signal
from align_data.sources.lists import Choice, Reading, Source, Unit, contents_of, find, read, units
from align_data.sources.lists.column_names import SCORE
from align_data.stages.score.run import MOST, Values, rounded, say_other_way
from align_data.storage.tables import Manifest, PartInfo

By = Literal["pair", "url", "uid"]
_UID = "^[0-9a-f]{32}$"
_WORDS = {"": None, "true": "1", "True": "1", "false": "0", "False": "0"}
"""Texts that stand for numbers, as columns of truth values do, or for none."""
_NO_TIE = pl.lit(0, pl.UInt64)
"""By URL alone a key has one row."""


@dataclass(frozen=True)
class ScoreList:
    """A column of some files, and how its rows are told apart."""

    inputs: tuple[str, ...]
    column: str
    by: By | None = None
    """None for pair where the files have texts, and url where they have not."""
    url: str | None = None
    alt_text: str | None = None
    reading: Reading = Reading()  # noqa: RUF009 - frozen

    @property
    def choice(self) -> Choice:
        """Which columns are read."""
        texts = {"pair": True, "url": False, "uid": False}[self.by] if self.by else self.alt_text is not None or None
        uid = "uid" if self.by == "uid" else None
        return Choice(self.url, self.alt_text, self.column, uid, texts)


@dataclass(frozen=True)
class RejectedScore:
    """A row of a list that has no score of a pair, as an example of its reason."""

    source: str
    row: int
    reason: str
    detail: str


@dataclass(frozen=True)
class ListScored:
    """What became of the pairs, and of the rows of a list: each is in one of the numbers."""

    signal: str
    by: By
    pairs: int
    scored: int
    listed: ListedMeta
    already: bool = False
    examples: tuple[RejectedScore, ...] = ()
    """One rejected row for each reason, where they were read now."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        examples = [asdict(example) for example in self.examples]
        own = {name: getattr(self, name) for name in ("signal", "by", "pairs", "scored", "already")}
        return {**own, **self.listed.dump(), "examples": examples}


@dataclass(frozen=True)
class _UnitAccount:
    rows: int
    reasons: Counter[str]
    examples: tuple[RejectedScore, ...]


@dataclass(frozen=True)
class _PartAccount:
    info: PartInfo
    scored: int
    contradicted: int
    counts: Counter[str]
    """Of the rows that came to the part: taken, repeated, contradicting, without_pair."""


@dataclass(frozen=True)
class _Joining:
    """What all units and parts share. It travels to other machines."""

    dataset: Dataset
    signal: Signal
    by: By
    said: dict[str, Any]
    todo: list[Unit]
    pairs: Manifest[PairsMeta]

    @property
    def identity(self) -> dict[str, Any]:
        """What the scores follow from, beside the pairs."""
        return {**self.signal.identity(), **scored_by(self.dataset, **self.said)}

    def keyed(self, number: int, tick: Tick) -> Generator[pl.DataFrame, None, _UnitAccount]:
        """Yield the keys and scores of a unit's rows; return what became of the others."""
        unit, rewriting = self.todo[number], Rewriting(**dict.fromkeys(self.pairs.meta.rewriting, True))
        rows, reasons, examples = 0, Counter[str](), dict[str, RejectedScore]()
        for frame, rejects in read(unit):
            accepted, rejected = self._judged(frame, rewriting)
            early = pl.DataFrame([rejects.rows, rejects.reasons, rejects.details], rejected.schema)
            together = pl.concat([early, rejected])
            for row, reason, detail in together.unique("reason", keep="first", maintain_order=True).iter_rows():
                examples.setdefault(reason, RejectedScore(unit.source.name, row, reason, detail))
            reasons.update(together["reason"].to_list())
            rows += len(frame) + len(rejects.rows)
            tick(len(frame) + len(rejects.rows))
            if len(accepted):
                yield accepted
        return _UnitAccount(rows, reasons, tuple(examples.values()))

    def _judged(self, frame: pl.DataFrame, rewriting: Rewriting) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the keys and scores of the rows that have both; and row, reason and detail of the others."""
        if self.by == "uid":
            uid = pl.col("source_uid").str.strip_chars().str.to_lowercase()
            frame, unkeyed = _divided(frame, [(~uid.str.contains(_UID), "uid_invalid", pl.col("source_uid"))])
            keys = [_number(uid.str.head(16)), _number(uid.str.tail(16))]
        else:
            frame, unkeyed = pair.clean(frame, lambda texts: rewritten(texts, rewriting, Counter()))
            text_key = xxh3(pl.concat_str("url", pl.lit("\0"), "alt_text"))
            keys = [xxh3(pl.col("url")), text_key if self.by == "pair" else _NO_TIE]
        raw = pl.col(SCORE)
        if frame.schema[SCORE] == pl.String:
            raw = raw.str.strip_chars().replace(_WORDS)
        frame = frame.with_columns(raw.alias("raw"), raw.cast(pl.Float64, strict=False).alias(SCORE))
        score = pl.col(SCORE)
        shown = pl.col("raw").cast(pl.String)
        frame, unscored = _divided(
            frame,
            [
                (pl.col("raw").is_null(), "score_missing", pl.lit("")),
                (score.is_null() | ~score.is_finite(), "score_not_a_number", shown),
                (score.abs() > MOST, "score_too_large", shown),
            ],
        )
        scores = pl.Series(rounded(frame[SCORE].to_numpy()))
        accepted = frame.select(
            url_key=keys[0], pair_key=keys[1], least=scores, greatest=scores, rows=pl.lit(1, pl.Int64)
        )
        return accepted, pl.concat([unkeyed, unscored])

    def write(self, part: int, frames: Iterator[pl.DataFrame], tick: Tick) -> _PartAccount:
        """Write the scores of one part of `pairs`: of a killed run the same again."""
        own = self._pairs(part)
        scores: Values = np.full(self.pairs.parts[part].rows, np.nan)
        contradicted, counts = 0, Counter[str]()
        on = ["url_key"] if self.by == "url" else ["url_key", "pair_key"]
        for frame in frames:
            listed = frame.with_columns(agrees=pl.col("least") == pl.col("greatest"))
            has_pair = listed.join(own, on=on, how="semi")
            counts += _told(has_pair, listed)
            joined = own.join(has_pair, on=on, how="inner")
            contradicted += len(joined.filter(~pl.col("agrees")))
            agreeing = joined.filter("agrees")
            scores[agreeing["at"].to_numpy()] = agreeing["least"].to_numpy()
        name, identity = self.signal.name, self.pairs.parts[part].identity
        facts = {"signals": {name: self.identity}, "pairs": identity}
        table, start = self.dataset.measured(self.signal.group), 0
        with table.writer(part, facts, [name]) as writer:
            for rows in self.dataset.pairs.piece_rows(part):
                writer.write(pl.Series(name, scores[start : start + rows]).fill_nan(None).to_frame())
                start += rows
                tick(rows)
        assert writer.info is not None
        return _PartAccount(writer.info, int(np.isfinite(scores).sum()), contradicted, counts)

    def _pairs(self, part: int) -> pl.DataFrame:
        """Return the keys of a part's pairs and where each is; without those that are taken down."""
        uid = pl.col("uid")
        pieces = [
            piece.select(
                _number(uid.str.head(16)).alias("url_key"),
                _number(uid.str.tail(16)).alias("pair_key"),
                is_there=pl.col("url").fill_null("") != "",
            )
            for piece in self.dataset.pairs.pieces(part, ["uid", "url"])
        ]
        keys = pl.concat(pieces).with_row_index("at")
        return keys.filter("is_there").drop("is_there")


def score_by_list(
    scores: ScoreList, dataset: Dataset, name: str, family: str, engine: Engine, progress: Progress
) -> ListScored:
    """Write FAMILY_NAME of every pair that a row of the list is of; null where none is, or rows contradict each other.

    The same files again are nothing to do. A killed run is read again: its rows are nowhere yet.
    """
    signal, pairs = FAMILIES[family].named(name), dataset.ingested()
    if not scores.column:
        raise InputError("--column is empty: name the column of the scores")
    sources = find(scores.inputs)
    todo, notes = units(sources, scores.choice, scores.reading)
    by = scores.by or _by(todo)
    said = {"model": _digest(scores, sources, by), "column": scores.column, "by": by}
    run = _Joining(dataset, signal, by, said, todo, pairs)
    table = dataset.measured(signal.group)
    before = table.committed()
    if before is not None and before.meta.listed is not None and _is_of(run, before):
        return ListScored(signal.name, by, pairs.rows, before.meta.scored, before.meta.listed, already=True)
    for note in notes:
        progress.say(f"{note}; joined by {by}")
    if before is not None:
        say_other_way(signal.name, before.meta.signals.get(signal.name, {}), said, progress)
    # While parts are replaced no manifest may speak for them: scores of two lists would be mixed.
    table.retract()
    splits = [int(key, 16) for key in pairs.meta.splits]
    shuffle: Shuffle[int, _UnitAccount, _PartAccount] = Shuffle(
        prepare=run.keyed,
        merge=_merge,
        split=lambda _: splits,
        write=run.write,
        foreseen=splits,
        is_certain=True,
        title="score",
    )
    read_units, written = engine.shuffle(shuffle, range(len(todo)), progress)
    listed, scored = _account(read_units, written), sum(part.scored for part in written)
    meta = SignalsMeta(signals={signal.name: run.identity}, pairs=pairs.fingerprint, scored=scored, listed=listed)
    table.commit([part.info for part in written], meta)
    dataset.store.clear_work()
    if not listed.taken:
        progress.say(
            f"no row of the list is the score of a pair: is {scores.column} the right column, and {by} the key?"
        )
    examples = {example.reason: example for unit in reversed(read_units) for example in unit.examples}
    return ListScored(signal.name, by, pairs.rows, scored, listed, examples=tuple(examples.values()))


def _is_of(run: _Joining, before: Manifest[SignalsMeta]) -> bool:
    """Tell whether a table has what this run would write."""
    same = before.meta.signals == {run.signal.name: run.identity} and before.meta.pairs == run.pairs.fingerprint
    return same and run.dataset.measured(run.signal.group).whole(before)


def _by(todo: Sequence[Unit]) -> By:
    """Return what rows are joined by where nobody chose; InputError where some files have texts and others have not."""
    texts = {"alt_text" in unit.columns: unit.source.path for unit in todo}
    if len(texts) > 1:
        raise InputError(
            f"{texts[True]} has texts and {texts[False]} has not: choose --by url for both, or score them by two names"
        )
    return "pair" if True in texts else "url"


def _digest(scores: ScoreList, sources: Sequence[Source], by: By) -> str:
    """Return the hash of what is read and how: files by their content, or when they were written where that is long."""
    contents = contents_of(sources) or [source.modified for source in sources]
    files = [[source.identity, content] for source, content in zip(sources, contents, strict=True)]
    what = [files, scores.choice.named(), by, scores.reading.named()]
    return sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _merge(rows: pl.DataFrame) -> pl.DataFrame:
    """Return a row a key, in their order: the least and the greatest score that is said of it, and by how many rows."""
    return (
        rows.group_by("url_key", "pair_key")
        .agg(pl.col("least").min(), pl.col("greatest").max(), pl.col("rows").sum())
        .sort("url_key", "pair_key")
    )


def _told(has_pair: pl.DataFrame, listed: pl.DataFrame) -> Counter[str]:
    """Count what becomes of merged rows of which some have a pair."""
    agreeing = has_pair.filter("agrees")
    of_pairs = int(has_pair["rows"].sum())
    agree = int(agreeing["rows"].sum())
    return Counter(
        taken=len(agreeing),
        repeated=agree - len(agreeing),
        contradicting=of_pairs - agree,
        without_pair=int(listed["rows"].sum()) - of_pairs,
    )


def _account(read_units: Sequence[_UnitAccount], written: Sequence[_PartAccount]) -> ListedMeta:
    counts = sum((part.counts for part in written), Counter[str]())
    reasons = sum((unit.reasons for unit in read_units), Counter[str]())
    return ListedMeta(
        rows=sum(unit.rows for unit in read_units),
        rejected=reasons.total(),
        reasons=dict(sorted(reasons.items())),
        contradicted_pairs=sum(part.contradicted for part in written),
        **{name: counts[name] for name in ("taken", "repeated", "contradicting", "without_pair")},
    )


def _divided(frame: pl.DataFrame, faults: Sequence[tuple[pl.Expr, str, pl.Expr]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows without fault; and row, reason and detail of the others, by the first fault of each."""
    is_faulty = frame.select(pl.any_horizontal([fault.fill_null(True) for fault, _, _ in faults])).to_series()
    reason = pl.coalesce([pl.when(fault.fill_null(True)).then(pl.lit(name)) for fault, name, _ in faults])
    detail = pl.coalesce(
        [pl.when(fault.fill_null(True)).then(shown.fill_null("").str.slice(0, 200)) for fault, _, shown in faults]
    )
    rejected = frame.filter(is_faulty).select(pl.col("row").cast(pl.Int64), reason=reason, detail=detail)
    return frame.filter(~is_faulty), rejected


def _number(hexadecimal: pl.Expr) -> pl.Expr:
    """Return the key that 16 hexadecimal digits are."""
    return hexadecimal.str.to_integer(base=16, dtype=pl.UInt64)


__all__ = ["By", "ListScored", "RejectedScore", "ScoreList", "score_by_list"]
