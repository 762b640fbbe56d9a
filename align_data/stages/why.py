"""Why: one pair's values, each rule's verdict as a sentence, and what explains it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import polars as pl

from align_data.common.errors import DatasetError
from align_data.common.hashing import keys
from align_data.common.secrets import mask, mask_url
from align_data.data.columns import available, by_group
from align_data.data.image_table import sorted_rows
from align_data.data.layout import Dataset
from align_data.data.ledger import open_current
from align_data.data.ngrams import rarest
from align_data.data.pairs import normalise
from align_data.recipes.plan import Plan, PlannedRule
from align_data.recipes.thresholds import times
from align_data.signals import find, ordered
from align_data.sources.lists.batches import DETAIL
from align_data.storage.tables import Table
from align_data.storage.tars import Place

OTHERS = 5
"""URLs of other images with the text that are named."""
_SAID = ["status", "reason"]
_GONE = "the pair was taken down: its URL, its text and what else identified it are gone, what was counted stays"


@dataclass(frozen=True)
class Verdict:
    """One rule on one pair."""

    rule: str
    verdict: str
    """pass, fail, unknown or off."""
    sentence: str


@dataclass(frozen=True)
class Why:
    """What is known of one pair."""

    uid: str
    url: str
    alt_text: str
    copies: int
    values: dict[str, Any]
    outcome: str
    """kept, dropped or pending; 'undecided' without a ledger; 'taken down', whatever a ledger says."""
    verdicts: list[Verdict]
    explanations: list[str]
    picture: dict[str, Any] | None
    """Where the image's bytes lie: tar, offset and size; None where there are none."""
    others: list[str]
    """URLs of other images with the same text, some."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return asdict(self)


def why(
    dataset: Dataset,
    ledger: str | None,
    *,
    uid: str | None = None,
    url: str | None = None,
    text: str | None = None,
    limit: int = 10,
    others: int = OTHERS,
) -> list[Why]:
    """Return what is known of the pairs with this uid, URL or text, at most `limit`; DatasetError if there is none.

    With each pair come up to `others` URLs of other images that have its text.
    """
    pairs = dataset.ingested()
    plan = open_current(dataset, ledger).plan if ledger is not None else None
    signals = ordered(available(dataset, pairs, [] if plan is None else plan.signals))
    if text is not None:
        text = normalise(pl.Series([text])).item()
    found = []
    for part, group in _where(dataset, uid, url):
        for row in _rows(dataset, part, group, signals, ledger, _matching(uid, url, text)):
            known = _known(dataset, part, row, others) if row["url"] else _Known([_GONE])
            found.append(_explain(row, signals, plan, known))
            if len(found) == limit:
                return found
    if not found:
        what = f"uid {uid}" if uid else f"URL {url}" if url else f"text {text!r}"
        raise DatasetError(f"{dataset.store.url} has no pair with the {what}; {_rejected(dataset, url)}")
    return found


def _rejected(dataset: Dataset, url: str | None) -> str:
    """Say where a URL was rejected, or how many rows were."""
    manifest = dataset.rejected.committed()
    parts = range(len(manifest.parts) if manifest else 0)
    if url is not None:
        for part in parts:
            for piece in dataset.rejected.pieces(part, ["source", "row", "reason", "detail"]):
                for row in piece.filter(pl.col("detail") == url[:DETAIL]).iter_rows(named=True):
                    return f"row {row['row']} of {row['source']} was rejected with it: {row['reason']}"
    number = manifest.rows if manifest else 0
    return f"the {number:,} rejected rows are in {dataset.store.url}/rejected"


def _matching(uid: str | None, url: str | None, text: str | None) -> pl.Expr:
    asked = {"uid": uid, "url": url, "alt_text": text}
    found = pl.all_horizontal([pl.col(name) == value for name, value in asked.items() if value is not None])
    # What was taken down has no text, which is not the empty text.
    return found if uid is not None else found & (pl.col("url") != "")


def _where(dataset: Dataset, uid: str | None, url: str | None) -> Iterator[tuple[int, int]]:
    """Yield part and piece numbers that can hold the pair: by the ranges of uid, or all of them for a text."""
    prefix = uid or (f"{int(keys(pl.Series([url]))[0]):016x}" if url else "")
    for part in range(len(dataset.ingested().parts)):
        for group, (least, greatest) in enumerate(dataset.pairs.piece_statistics(part, "uid")):
            if least[: len(prefix)] <= prefix <= greatest[: len(prefix)]:
                yield part, group


def _rows(
    dataset: Dataset, part: int, group: int, signals: Sequence[str], ledger: str | None, matching: pl.Expr
) -> Iterator[dict[str, Any]]:
    piece = (
        dataset.pairs.piece(part, group, ["uid", "url", "alt_text", "copies"]).with_row_index("_row").filter(matching)
    )
    if not len(piece):
        return
    frames = [piece]
    tables: list[tuple[Table[Any], list[str]]] = [
        (dataset.measured(group), names) for group, names in by_group(signals).items()
    ]
    if ledger is not None:
        tables.append((dataset.ledger(ledger), ["failed", "unknown"]))
    frames += [table.piece(part, group, names)[piece["_row"]] for table, names in tables]
    yield from pl.concat(frames, how="horizontal").iter_rows(named=True)


@dataclass(frozen=True)
class _Known:
    """What is known of a pair beside its values."""

    explanations: list[str]
    picture: dict[str, Any] | None = None
    others: list[str] = field(default_factory=list)


def _known(dataset: Dataset, part: int, row: dict[str, Any], others: int) -> _Known:
    said, place = _image(dataset, part, row["url"])
    picture = (
        None
        if place is None
        else {"tar": mask(dataset.store.path(place.tar)), "offset": place.offset, "size": place.size}
    )
    urls = list(islice(_others(dataset, row), others))
    return _Known([*_explanations(dataset, row), *said, *_nearest(row)], picture, urls)


def _others(dataset: Dataset, row: dict[str, Any]) -> Iterator[str]:
    """Yield URLs of other images with a pair's text: that have its count, which is looked through much faster."""
    count = row.get("images_per_text")
    left = (count or 1) - 1
    for part in range(len(dataset.ingested().parts) if left else 0):
        for number, piece in enumerate(dataset.measured("corpus").pieces(part, ["images_per_text"])):
            rows = (piece["images_per_text"] == count).arg_true()
            if len(rows):
                pairs = dataset.pairs.piece(part, number, ["url", "alt_text"])[rows]
                same = pairs.filter((pl.col("alt_text") == row["alt_text"]) & ~pl.col("url").is_in([row["url"], ""]))
                yield from same["url"].to_list()
                left -= len(same)
        if left <= 0:
            return


def _nearest(row: dict[str, Any]) -> Iterator[str]:
    """Say which evaluation image is nearest."""
    if row.get("eval_nearest") is not None:
        yield f"the nearest evaluation image is {row['eval_nearest']}: {row['eval_distance']} of the 64 bits differ"


def _explain(row: dict[str, Any], signals: Sequence[str], plan: Plan | None, known: _Known) -> Why:
    verdicts = [] if plan is None else [_verdict(plan, rule, row) for rule in plan.rules]
    outcome = "undecided"
    if plan is not None:
        outcome = "dropped" if row["failed"] else "pending" if row["unknown"] else "kept"
    if not row["url"]:
        outcome = "taken down"
    return Why(
        uid=row["uid"],
        url=mask_url(row["url"]),
        alt_text=row["alt_text"],
        copies=row["copies"],
        values={name: find(name).shown(row[name]) for name in signals},
        outcome=outcome,
        verdicts=verdicts,
        explanations=known.explanations,
        picture=known.picture,
        others=[mask_url(other) for other in known.others],
    )


def _verdict(plan: Plan, rule: PlannedRule, row: dict[str, Any]) -> Verdict:
    if not rule.in_force:
        return Verdict(rule.name, "off", f"{rule.name} was left out (--without)")
    verdict = "fail" if row["failed"] & rule.bit else "unknown" if row["unknown"] & rule.bit else "pass"
    request = f"{'your --set' if rule.overridden else plan.recipe.name} asks for {rule.request}"
    if verdict == "unknown":
        return Verdict(rule.name, verdict, f"{rule.signal} is not measured; {request}: unknown")
    value = find(rule.signal).shown(row[rule.signal])
    return Verdict(rule.name, verdict, f"{rule.signal} is {value}; {request}: {verdict}")


def _explanations(dataset: Dataset, row: dict[str, Any]) -> Iterator[str]:
    """Say what is behind the corpus signals."""
    images, texts = row.get("images_per_text"), row.get("texts_per_image")
    if images is not None:
        yield (f"{images:,} pairs of the pool have exactly this text" if images > 1 else "no other pair has this text")
    if texts is not None:
        yield f"{texts:,} pairs of the pool have this URL" if texts > 1 else "no other pair has this URL"
    if row.get("rarest_ngram") is not None:
        (ngram,) = rarest(dataset, [row["alt_text"]])
        if ngram is None:
            yield "the text has no words, so it has no rare n-gram"
        else:
            yield f"its rarest n-gram is {ngram.text!r}, seen {times(ngram.occurrences)} in the pool"


def _image(dataset: Dataset, part: int, url: str) -> tuple[list[str], Place | None]:
    """Say what became of the image: fetched and where, or why not; and why it cannot be decoded."""
    place = None
    for table, names in ((dataset.images, ["status", "reason", "tar", "offset", "size"]), (dataset.content, _SAID)):
        if table.committed() is None:
            break
        rows = sorted_rows(table, part, ["url", *names]).filter(pl.col("url") == url).rows()
        _, status, reason, *where = rows[0]
        if status == "untried":
            return ["the image has not been requested"], None
        if status != "ok":  # of fetching, and then content says the same again; or of decoding, and the bytes are there
            return [f"the image is not usable: {status}" + (f" ({reason})" if reason else "")], place
        if where:
            place = Place(*where)
    said = [f"the image is {place.size:,} bytes at {place.offset:,} of {place.tar}"] if place is not None else []
    return said, place
