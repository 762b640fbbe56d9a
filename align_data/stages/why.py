"""Why: one pair's values, each rule's verdict as a sentence, and what explains it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import islice
from typing import Any

import polars as pl

from align_data.common.errors import DatasetError
from align_data.common.hashing import keys
from align_data.common.secrets import mask, mask_url
from align_data.data.balancing import matched_entries
from align_data.data.columns import available, by_group
from align_data.data.derived import planned_rows
from align_data.data.groups import group_of
from align_data.data.image_pairs import image_pairs
from align_data.data.image_table import sorted_rows
from align_data.data.layout import Dataset
from align_data.data.ledger import Ledger, open_current, outcome_of
from align_data.data.ngrams import Ngram, rarest
from align_data.data.pairs import normalise
from align_data.fetching.outcome import NOT_KEPT
from align_data.recipes.plan import Plan, PlannedRule, chosen_by, masks
from align_data.recipes.thresholds import times
from align_data.recipes.verdicts import PairGroup, sentence
from align_data.signals import find, is_signal, ordered
from align_data.signals.families import split
from align_data.sources.lists.batches import DETAIL
from align_data.sources.lists.column_names import PROVENANCE
from align_data.storage.tables import Table
from align_data.storage.tars import Place

OTHERS = 5
"""URLs of other images with the text that are listed."""
_STATUS = ["status", "reason"]
_PAGE = "page_url"
_GONE = "the pair was taken down: its URL, its text and what else identified it are gone, what was counted stays"
_ENTRIES = 5
"""Entries of a list that are named, at most: the rarest, by which balancing keeps a pair most likely."""


@dataclass(frozen=True)
class RuleVerdict:
    """One rule on one pair."""

    rule: str
    verdict: str
    """pass, fail, unknown or off."""
    sentence: str


@dataclass(frozen=True)
class Why:
    """One pair, explained."""

    uid: str
    url: str
    alt_text: str
    copies: int
    values: dict[str, Any]
    outcome: str
    """kept, dropped or pending; 'undecided' without a ledger; 'taken down' with any ledger."""
    verdicts: list[RuleVerdict]
    explanations: list[str]
    picture: dict[str, Any] | None
    """Where the image's bytes lie: tar, offset and size; None where there are none."""
    others: list[str]
    """URLs of other images with the same text, at most as many as requested."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Where the pair is from, as far as its list says: page_url, crawl_file, crawl_offset, text_from, robots."""

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
    same_text: int = OTHERS,
) -> list[Why]:
    """Explain the pairs with this uid, URL or text, at most `limit`; DatasetError if there is none.

    With each pair come up to `same_text` URLs of other images that have its text.
    """
    pairs = dataset.ingested()
    opened = open_current(dataset, ledger) if ledger is not None else None
    measured = available(dataset, pairs, [] if opened is None else opened.plan.signals)
    signals = ordered(name for name in measured if find(name).kind != "derived")
    if text is not None:
        text = normalise(pl.Series([text])).item()
    query = {name: value for name, value in (("uid", uid), ("url", url), ("alt_text", text)) if value is not None}
    # Pairs with one text have one answer.
    rarest_of = cache(lambda text: rarest(dataset, [text])[0])
    plan = None if opened is None else opened.plan
    derived = [] if plan is None else _derived(plan, signals)
    explained = []
    for part, group in _where(dataset, uid, url):
        for place, stored in _rows(dataset, part, group, signals, ledger, query):
            row, groups = stored, {}
            if opened is not None and derived:
                row = stored | planned_rows(dataset, opened.plan, (part, group), [place], derived).row(0, named=True)
                groups = _groups(dataset, opened, row)
            background = _background(dataset, part, row, same_text, rarest_of) if row["url"] else _Background([_GONE])
            explained.append(_explain(row, [*signals, *derived], plan, background, groups))
            if len(explained) == limit:
                return explained
    if not explained:
        sought = f"uid {uid}" if uid else f"URL {url}" if url else f"text {text!r}"
        raise DatasetError(f"{dataset.store.url} has no pair with the {sought}; {_rejected(dataset, url)}")
    return explained


def _derived(plan: Plan, signals: Sequence[str]) -> list[str]:
    """Return the columns that a plan's rules compare and that are stored nowhere: scores, ranks, numbers by chance."""
    columns = {column for rule in plan.rules for column in (*rule.columns, *chosen_by(rule.rule))}
    needed = columns | {*plan.scores(columns), *plan.behind(columns)}
    computed = {name for name in needed if is_signal(name) and find(name).kind == "derived"}
    return sorted((needed & plan.known({*signals, *computed})) - {*signals})


def verdicts_by(dataset: Dataset, plan: Plan, uid: str) -> tuple[str, list[RuleVerdict]]:
    """Return what becomes of a pair, and each rule's verdict, by a plan that no ledger has.

    The plan's thresholds are resolved; DatasetError where there is no such pair.
    """
    places = image_pairs(dataset, uid).filter(uid=uid).select("part", "piece", "row").rows()
    if not places:
        raise DatasetError(f"{dataset.store.url} has no pair with the uid {uid[:64]}")
    ((part, piece, place),) = places
    measured = available(dataset, dataset.ingested(), plan.signals)
    signals = [name for name in plan.signals if name in measured]
    columns = dict.fromkeys([*signals, *_derived(plan, signals)])
    failed, unknown = masks(plan.rules, plan.known(measured))
    rows = planned_rows(dataset, plan, (part, piece), [place], columns).with_columns(failed, unknown)
    row = rows.row(0, named=True)
    return outcome_of(row["failed"], row["unknown"]), [_verdict(plan, rule, row, None) for rule in plan.rules]


def _groups(dataset: Dataset, ledger: Ledger, row: Mapping[str, Any]) -> dict[str, PairGroup]:
    """Return the group that each rule of first_of has a pair in."""
    groups = {rule.name: group_of(dataset, ledger, rule, row) for rule in ledger.plan.in_force if rule.rule.first_of}
    return {name: group for name, group in groups.items() if group is not None}


def _rejected(dataset: Dataset, url: str | None) -> str:
    """Return where a URL was rejected, or how many rows were."""
    manifest = dataset.rejected.committed()
    parts = range(len(manifest.parts) if manifest else 0)
    if url is not None:
        for part in parts:
            for piece in dataset.rejected.pieces(part, ["source", "row", "reason", "detail"]):
                for row in piece.filter(pl.col("detail") == url[:DETAIL]).iter_rows(named=True):
                    return f"row {row['row']} of {row['source']} was rejected with it: {row['reason']}"
    number = manifest.rows if manifest else 0
    return f"the {number:,} rejected rows are in {dataset.store.url}/rejected"


def _matching(query: Mapping[str, str]) -> pl.Expr:
    matches = pl.all_horizontal([pl.col(name) == value for name, value in query.items()])
    # What was taken down has no text, which is not the empty text.
    return matches if "uid" in query else matches & (pl.col("url") != "")


def _where(dataset: Dataset, uid: str | None, url: str | None) -> Iterator[tuple[int, int]]:
    """Yield part and piece numbers that can hold the pair: by the ranges of uid, or all of them for a text."""
    prefix = uid or (f"{int(keys(pl.Series([url]))[0]):016x}" if url else "")
    for part in range(len(dataset.ingested().parts)):
        for group, (least, greatest) in enumerate(dataset.pairs.piece_statistics(part, "uid")):
            if least[: len(prefix)] <= prefix <= greatest[: len(prefix)]:
                yield part, group


def _rows(
    dataset: Dataset, part: int, group: int, signals: Sequence[str], ledger: str | None, query: Mapping[str, str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a piece that are looked for, each with its place there."""
    # First what is looked for alone: a text can be in any piece, and hardly one has it.
    sought = dataset.pairs.piece(part, group, list(query))
    if not sought.select(pl.all_horizontal(pl.col(name) == value for name, value in query.items()).any()).item():
        return
    provenance = dataset.ingested().meta.provenance
    names = ["uid", "url", "alt_text", "copies", _PAGE, *(name for name in PROVENANCE if name in provenance)]
    piece = dataset.pairs.piece(part, group, names)
    piece = piece.with_row_index("_row").filter(_matching(query))
    if not len(piece):
        return
    frames = [piece]
    tables: list[tuple[Table[Any], list[str]]] = [
        (dataset.measured(group), names) for group, names in by_group(signals).items()
    ]
    if ledger is not None:
        tables.append((dataset.ledger(ledger), ["failed", "unknown"]))
    frames += [table.piece(part, group, names)[piece["_row"]] for table, names in tables]
    for row in pl.concat(frames, how="horizontal").iter_rows(named=True):
        yield row.pop("_row"), row


@dataclass(frozen=True)
class _Background:
    """What explains a pair beside its values."""

    explanations: list[str]
    picture: dict[str, Any] | None = None
    others: list[str] = field(default_factory=list)


def _background(
    dataset: Dataset, part: int, row: dict[str, Any], limit: int, rarest_of: Callable[[str], Ngram | None]
) -> _Background:
    sentences, place = _image(dataset, part, row["url"])
    picture = (
        None
        if place is None
        else {"tar": mask(dataset.store.path(place.tar)), "offset": place.offset, "size": place.size}
    )
    urls = [url for _, _, url in islice(with_same_text(dataset, row), limit)]
    explanations = [*_explanations(row, rarest_of), *_entries(dataset, row), *sentences, *_nearest(row)]
    return _Background(explanations, picture, urls)


def with_same_text(dataset: Dataset, row: Mapping[str, Any]) -> Iterator[tuple[int, str, str]]:
    """Yield part, uid and URL of other images with a pair's text: that have its count, which is looked through faster.

    `row` has the pair's URL and text, and `images_per_text`, without which there is none.
    """
    count = row.get("images_per_text")
    missing = (count or 1) - 1
    for part in range(len(dataset.ingested().parts) if missing else 0):
        for number, piece in enumerate(dataset.measured("corpus").pieces(part, ["images_per_text"])):
            rows = (piece["images_per_text"] == count).arg_true()
            if len(rows):
                pairs = dataset.pairs.piece(part, number, ["uid", "url", "alt_text"])[rows]
                same = pairs.filter((pl.col("alt_text") == row["alt_text"]) & ~pl.col("url").is_in([row["url"], ""]))
                yield from ((part, uid, url) for uid, url in same.select("uid", "url").iter_rows())
                missing -= len(same)
        if missing <= 0:
            return


def _nearest(row: dict[str, Any]) -> Iterator[str]:
    """Yield which evaluation image, and which other image of the pool, is nearest."""
    if row.get("eval_nearest") is not None:
        yield f"the nearest evaluation image is {row['eval_nearest']}: {row['eval_distance']} of the 64 bits differ"
    for name, value in row.items():
        prefix, of_user = split(name) or ("", "")
        if value is not None and prefix == "eval_nearest":
            cosine = row[f"eval_similarity_{of_user}"]
            yield f"the nearest evaluation image by {of_user} is {value}, at a cosine of {cosine:g}"
        if value is not None and prefix == "nearest_duplicate":
            cosine = row[f"nearest_similarity_{of_user}"]
            yield f"the nearest other image by {of_user} is that of {value}, at a cosine of {cosine:g}"


def _explain(
    row: dict[str, Any],
    signals: Sequence[str],
    plan: Plan | None,
    background: _Background,
    groups: Mapping[str, PairGroup],
) -> Why:
    verdicts = [] if plan is None else [_verdict(plan, rule, row, groups.get(rule.name)) for rule in plan.rules]
    outcome = "undecided"
    if plan is not None:
        outcome = outcome_of(row["failed"], row["unknown"])
    if not row["url"]:
        outcome = "taken down"
    return Why(
        uid=row["uid"],
        url=mask_url(row["url"]),
        alt_text=row["alt_text"],
        copies=row["copies"],
        values={name: find(name).shown(row[name]) if is_signal(name) else row[name] for name in signals},
        outcome=outcome,
        verdicts=verdicts,
        explanations=background.explanations,
        picture=background.picture,
        others=[mask_url(url) for url in background.others],
        provenance=_provenance(row),
    )


def _provenance(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return where a pair is from, as far as its list says."""
    origin = {name: row[name] for name in (_PAGE, *PROVENANCE) if row.get(name) is not None}
    return {**origin, **({_PAGE: mask_url(origin[_PAGE])} if _PAGE in origin else {})}


def _verdict(plan: Plan, rule: PlannedRule, row: dict[str, Any], group: PairGroup | None) -> RuleVerdict:
    if not rule.in_force:
        return RuleVerdict(rule.name, "off", f"{rule.name} was taken out (--without)")
    verdict = "fail" if row["failed"] & rule.bit else "unknown" if row["unknown"] & rule.bit else "pass"
    return RuleVerdict(rule.name, verdict, sentence(plan, rule, row, verdict, group))


def _entries(dataset: Dataset, row: dict[str, Any]) -> Iterator[str]:
    """Yield which entries of the user's lists the text has, and how many pairs of the pool have each."""
    for name, value in row.items():
        prefix, of_user = split(name) or ("", "")
        if prefix == "entries" and value and dataset.user_list(of_user).committed() is not None:
            entries = matched_entries(dataset, of_user, row)[:_ENTRIES]
            named = [
                repr(entry) + ("" if count is None else f" (in {count:,} pair{'s' * (count > 1)})")
                for entry, count in entries
            ]
            more = ", ..." if value > len(named) else ""
            yield f"of the list {of_user} the text has {', '.join(named)}{more}"


def _explanations(row: dict[str, Any], rarest_of: Callable[[str], Ngram | None]) -> Iterator[str]:
    """Yield what is behind the corpus signals."""
    images, texts = row.get("images_per_text"), row.get("texts_per_image")
    if images is not None:
        yield (f"{images:,} pairs of the pool have exactly this text" if images > 1 else "no other pair has this text")
    if texts is not None:
        yield f"{texts:,} pairs of the pool have this URL" if texts > 1 else "no other pair has this URL"
    if row.get("rarest_ngram") is not None:
        ngram = rarest_of(row["alt_text"])
        if ngram is None:
            yield "the text has no words, so it has no rare n-gram"
        else:
            yield f"its rarest n-gram is {ngram.text!r}, seen {times(ngram.occurrences)} in the pool"


def _image(dataset: Dataset, part: int, url: str) -> tuple[list[str], Place | None]:
    """Return what became of the image: fetched and where, or why not; and why it cannot be decoded."""
    place, sentences = None, []
    for table, names in ((dataset.images, ["status", "reason", "tar", "offset", "size"]), (dataset.content, _STATUS)):
        if table.committed() is None:
            break
        rows = sorted_rows(table, part, ["url", *names]).filter(pl.col("url") == url).rows()
        _, status, reason, *where = rows[0]
        if status == "untried":
            return ["the image has not been requested"], None
        if status == NOT_KEPT:
            sentences.append(f"the image was measured and is not stored: {reason}")
            continue
        if status != "ok":  # of fetching, which content repeats; or of decoding, and then there are bytes
            unusable = f"the image is not usable: {status}" + (f" ({reason})" if reason else "")
            return [*sentences, unusable], place
        if where:
            place = Place(*where)
    if place is not None:
        sentences.append(f"the image is {place.size:,} bytes at {place.offset:,} of {place.tar}")
    return sentences, place
