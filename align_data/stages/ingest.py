"""Ingest: input lists in, `pairs` and `rejected` out, by one shuffle into parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from align_data import __version__
from align_data.common.ahead import ahead
from align_data.common.errors import DatasetError
from align_data.common.progress import Progress, Tick
from align_data.data import pairs as pair
from align_data.data.layout import BEGUN, Dataset
from align_data.data.meta import AccountMeta, CrawlMeta, PairsMeta, RejectedMeta
from align_data.engines.base import Engine, Shuffle
from align_data.sources.lists import FORMATS, Choice, Reading, Source, Unit, find, read, units
from align_data.sources.lists.column_names import PROVENANCE
from align_data.storage.manifests import checked, unchecked
from align_data.storage.tables import PIECE_BYTES, PIECE_ROWS, Meta, PartInfo, PartWriter, Table, digest

if TYPE_CHECKING:
    from align_data.data.crawled import CrawlFolder

PART_ROWS = 500_000
"""Pairs of a part: few enough that a million keep two cores busy, and about 90 MB of Parquet."""
PART_BYTES = 256 * 2**20
HASHED = 4 * 2**30
"""Bytes of lists on this machine that are hashed whole."""
_ACCEPTED = 0.97
"""Of a usual list's rows, those that are accepted."""


@dataclass(frozen=True)
class Parts:
    """How large a part may grow, in pairs and in bytes of URL and text."""

    rows: int = PART_ROWS
    bytes: int = PART_BYTES


_FORMER_PARTS = Parts(rows=1_000_000)
"""What was the usual size: a dataset that was cut so is of the same inputs still."""


@dataclass
class Account:
    """What became of the input's rows: rows = pairs + merged + rejected, always."""

    rows: int = 0
    pairs: int = 0
    merged: int = 0
    rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    already: bool = False
    """Whether it had all been done before."""


@dataclass(frozen=True)
class _UnitAccount:
    rows: int
    accepted: int
    bytes: int
    reasons: Counter[str]
    emptied: Counter[str]
    """Of each declared column how many values are not UTF-8, and were left out."""


def ingest(
    inputs: Sequence[str],
    dataset: Dataset,
    engine: Engine,
    progress: Progress,
    choice: Choice = Choice(),  # noqa: B008 - frozen
    parts: Parts = Parts(),
    reading: Reading = Reading(),  # noqa: B008 - frozen
) -> Account:
    """Read the inputs into a new dataset and return the account of their rows.

    The same inputs again are nothing to do; other inputs are a DatasetError.
    """
    inside = dataset.store.fs.unstrip_protocol(dataset.store.root) + "/"
    # A dataset beside its lists must not eat its own parts.
    sources = find(inputs, but=inside)
    made_of = {
        "inputs": [source.identity for source in sources],
        "columns": choice.named(),
        "parts": asdict(parts),
    }
    if reading.named():  # a dataset of before there were these options is the same still
        made_of["reading"] = reading.named()
    modified = [source.modified for source in sources]
    earlier = _done_before(dataset, made_of, sources, modified)
    if earlier is not None:
        return earlier
    todo, notes = units(sources, choice, reading)
    folders = _crawl_folders(todo, inputs)
    for note in notes:
        progress.say(note)
    _begin(dataset, made_of, modified, _contents(sources))
    unit_rejects = _unit_rejects(dataset)
    declared = [name for name in pair.BESIDE if any(name in {**unit.columns, **dict(unit.constants)} for unit in todo)]
    shuffle: Shuffle[int, _UnitAccount, PartInfo] = Shuffle(
        prepare=lambda number, tick: _prepare(number, todo[number], declared, unit_rejects, tick),
        merge=pair.merge,
        split=lambda accounts: _split(accounts, parts),
        write=lambda part, frames, tick: _write(dataset.pairs, part, declared, frames, tick),
        rows=_rows(todo),
        foreseen=_foreseen(_rows(todo), parts),
    )
    accounts, written = engine.shuffle(shuffle, range(len(todo)), progress)
    account = _account(accounts, written)
    rejected = list(_gather_rejected(unit_rejects, len(todo), dataset.rejected))
    dataset.rejected.commit(rejected, RejectedMeta.model_validate(made_of))
    unit_rejects.remove()
    crawl, notes = _crawl_of(folders, todo, accounts)
    dataset.pairs.commit(written, _meta(account, _split(accounts, parts), declared, crawl))
    dataset.store.clear_work()
    notes += _left_empty(accounts)
    if account.reasons.get("invalid_utf8") and any("encoding" in FORMATS[source.format].options for source in sources):
        notes.append(_not_utf8(account.reasons["invalid_utf8"], reading))
    for note in notes:
        progress.say(note)
    return account


def _meta(account: Account, splits: Sequence[int], declared: Sequence[str], crawl: CrawlMeta | None) -> PairsMeta:
    """Return what the manifest of `pairs` says: of a crawl only where there is one."""
    meta: dict[str, Any] = {"account": AccountMeta(**asdict(account)), "splits": [f"{key:016x}" for key in splits]}
    if provenance := [name for name in PROVENANCE if name in declared]:
        meta["provenance"] = provenance
    return PairsMeta(**meta) if crawl is None else PairsMeta(**meta, crawl=crawl)


def _left_empty(accounts: Sequence[_UnitAccount]) -> Iterator[str]:
    """Yield which declared values could not be read."""
    for name, values in sorted(sum((a.emptied for a in accounts), Counter[str]()).items()):
        yield f"{name}: {values:,} values are not UTF-8, and are left empty; their rows stay"


def _crawl_folders(todo: Sequence[Unit], inputs: Sequence[str]) -> list[CrawlFolder]:
    """Return the folders of a crawl's rows that inputs lie in."""
    crawled = {unit.source.path: unit.source for unit in todo if "crawl_file" in unit.columns}
    if not crawled:
        return []
    from align_data.data.crawled import crawl_folders  # noqa: PLC0415 - other lists do not wait for it

    return crawl_folders(crawled.values(), inputs)


def _crawl_of(
    folders: Sequence[CrawlFolder], todo: Sequence[Unit], accounts: Sequence[_UnitAccount]
) -> tuple[CrawlMeta | None, list[str]]:
    """Return what became of the archives whose rows were read, and notes."""
    if not folders:
        return None, []
    from align_data.data.crawled import crawl_of  # noqa: PLC0415 - other lists do not wait for it

    rows: Counter[str] = Counter()
    for unit, account in zip(todo, accounts, strict=True):
        rows[unit.source.path] += account.rows
    return crawl_of(folders, rows)


def _not_utf8(rows: int, reading: Reading) -> str:
    rejected = "1 row was rejected because it is" if rows == 1 else f"{rows:,} rows were rejected because they are"
    if reading.encoding:
        return f"{rejected} not {reading.encoding}: name another --encoding"
    return (
        f"{rejected} not UTF-8: name what the list was written in, "
        "such as --encoding latin-1 or --encoding cp1252, with another --out"
    )


def _rows(todo: Sequence[Unit]) -> int | None:
    """Return how many rows there are; None where only reading tells."""
    counts = [unit.rows for unit in todo if unit.rows is not None]
    return sum(counts) if len(counts) == len(todo) else None


def _unit_rejects(dataset: Dataset) -> Table[Meta]:
    """Return the table of the rejected rows of each unit, there only while they are read."""
    return Table(dataset.store, "_rejected", dataset.rejected.contract, Meta)


def _contents(sources: Sequence[Source]) -> list[str] | None:
    """Return the hash of each whole file, where that costs little: a file that was only touched is then known again."""
    if any(source.remote for source in sources) or sum(source.size for source in sources) > HASHED:
        return None
    return [source.content() for source in sources]


def _alike(contents: Sequence[str], sources: Sequence[Source]) -> bool:
    """Tell whether files have the contents that an earlier run noted, by the kind of hash that it noted."""
    known = [source for source in sources if not source.remote]
    return len(known) == len(contents) and all(
        source.content(like) == like for source, like in zip(known, contents, strict=True)
    )


def _same(begun: Mapping[str, Any], sources: Sequence[Source], modified: Sequence[str]) -> bool:
    """Tell whether no input was written to since: by when that was, and if it was, by the whole content."""
    if begun.get("modified", list(modified)) == list(modified):
        return True
    contents = begun.get("contents")
    return contents is not None and _alike(contents, sources)


def _done_before(
    dataset: Dataset, made_of: dict[str, Any], sources: Sequence[Source], modified: Sequence[str]
) -> Account | None:
    """Return the account of a dataset that holds these inputs already, None without one; DatasetError for others."""
    manifest = dataset.pairs.committed()
    if manifest is None:
        return None
    before = dataset.rejected.committed()
    if before is not None and _made_alike(before.meta.dump(), made_of):
        begun = unchecked(dataset.store.read_bytes(BEGUN) or b"{}", dataset.store.path(BEGUN), "remove it")
        if not _same(begun, sources, modified):
            raise DatasetError(
                f"{dataset.store.url} was made from these inputs, but one has changed since: choose another --out"
            )
        return Account(**{**manifest.meta.account.dump(), "already": True})
    names = ", ".join(i.name for i in before.meta.inputs[:3]) if before else "other inputs"
    further = " and others" if before and len(before.meta.inputs) > 3 else ""
    contents = f"other inputs ({names}{further})" if before else names
    if before is not None and before.meta.dump()["inputs"] == made_of["inputs"]:
        contents = "these inputs read otherwise (--url-col, --text-col, --delimiter, --encoding, --multiline)"
    raise DatasetError(f"{dataset.store.url} already holds {manifest.rows:,} pairs of {contents}: choose another --out")


def _made_alike(before: Mapping[str, Any], made_of: Mapping[str, Any]) -> bool:
    """Tell whether a dataset was made of the same inputs in the same way."""
    former = {**made_of, "parts": asdict(_FORMER_PARTS)} if made_of["parts"] == asdict(Parts()) else made_of
    return digest(before) in (digest(made_of), digest(former))


def _begin(dataset: Dataset, made_of: dict[str, Any], modified: Sequence[str], contents: Sequence[str] | None) -> None:
    """Keep the parts that a killed run of the same inputs and packages has finished; remove any others.

    Raises DatasetError for a folder that holds something else than a dataset.
    """
    store = dataset.store
    packages = {"align_data": __version__, "polars": pl.__version__, "pyarrow": pa.__version__}
    mark = checked({**packages, **made_of, "modified": list(modified), "contents": contents})
    begun = store.read_bytes(BEGUN)
    foreign = [name for name in store.names() if name not in (".lock", "_log", "_work")]
    if begun is None and foreign:
        raise DatasetError(f"{store.url} holds {foreign[0]}, and is not a dataset: choose an empty or a new --out")
    if begun != mark:
        for table in (dataset.pairs, dataset.rejected, _unit_rejects(dataset)):
            table.remove()
        store.clear_work()
        store.write_bytes(BEGUN, mark)


def _prepare(
    number: int, unit: Unit, declared: Sequence[str], rejected: Table[Meta], tick: Tick
) -> Generator[pl.DataFrame, None, _UnitAccount]:
    """Yield the unit's pairs, keyed, piece by piece; write its rejected rows beside."""
    rows = accepted = size = 0
    reasons, emptied = Counter[str](), Counter[str]()
    with ExitStack() as stack:
        writer: PartWriter | None = None
        for accepted_rows, rejected_rows in _cleaned(unit, emptied):
            rows += len(accepted_rows) + len(rejected_rows)
            accepted += len(accepted_rows)
            size += pair.size(accepted_rows)
            reasons.update(rejected_rows["reason"].to_list())
            if len(rejected_rows):
                writer = writer or stack.enter_context(rejected.writer(number, {}))
                writer.write(rejected_rows.select(pl.lit(unit.source.name).alias("source"), "row", "reason", "detail"))
            if len(accepted_rows):
                yield pair.keyed(accepted_rows, declared)
            tick(len(accepted_rows) + len(rejected_rows))
    return _UnitAccount(rows, accepted, size, reasons, emptied)


@dataclass(frozen=True)
class Rejected:
    """A rejected row, as an example of its reason."""

    source: str
    row: int
    reason: str
    detail: str


def example(dataset: Dataset, account: Account) -> Rejected | None:
    """Return the first row that was rejected for the most frequent reason, None where none was."""
    manifest = dataset.rejected.committed()
    if not account.reasons or manifest is None:
        return None
    frequent = max(account.reasons, key=lambda reason: account.reasons[reason])
    for part in range(len(manifest.parts)):
        for piece in dataset.rejected.pieces(part, ["source", "row", "reason", "detail"]):
            for row in piece.filter(pl.col("reason") == frequent).head(1).iter_rows():
                return Rejected(*row)
    return None


def _cleaned(unit: Unit, emptied: Counter[str]) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Yield good and rejected rows; what a file stores in small row groups is joined to pieces worth sorting."""
    waiting: list[tuple[pl.DataFrame, pl.DataFrame]] = []
    rows = size = 0
    for frame, rejects in ahead(read(unit)):  # where there are fewer units than cores, these are not idle
        accepted, rejected = pair.clean(frame)
        emptied.update(rejects.emptied)
        early = pl.DataFrame(
            {"row": rejects.rows, "reason": rejects.reasons, "detail": rejects.details}, rejected.schema
        )
        waiting.append((accepted, pl.concat([early, rejected]).sort("row") if len(early) else rejected))
        rows, size = rows + len(frame) + len(rejects.rows), size + pair.size(accepted, pair.BESIDE)
        if rows > PIECE_ROWS // 2 or size > PIECE_BYTES // 4:
            yield _joined(waiting)
            waiting, rows, size = [], 0, 0
    if waiting:
        yield _joined(waiting)


def _joined(waiting: list[tuple[pl.DataFrame, pl.DataFrame]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    if len(waiting) == 1:
        return waiting[0]
    return pl.concat([accepted for accepted, _ in waiting]), pl.concat([rejected for _, rejected in waiting])


def _split(accounts: Sequence[_UnitAccount], parts: Parts) -> list[int]:
    """Return the URL keys at which the parts begin, after the first: equal ranges, as many as the size asks for."""
    rows, size = sum(a.accepted for a in accounts), sum(a.bytes for a in accounts)
    return _edges(max(1, -(-rows // parts.rows), -(-size // parts.bytes)))


def _foreseen(rows: int | None, parts: Parts) -> list[int] | None:
    """Return what _split will, if texts are of usual length and few rows are rejected; None where a few change it."""
    if rows is None:
        return None
    most, least = max(1, -(-rows // parts.rows)), max(1, -(-int(rows * _ACCEPTED) // parts.rows))
    return _edges(most) if most == least else None


def _edges(number: int) -> list[int]:
    return [(i << 64) // number for i in range(1, number)]


def _write(
    table: Table[PairsMeta], part: int, declared: Sequence[str], frames: Iterator[pl.DataFrame], tick: Tick
) -> PartInfo:
    """Write one part of `pairs`, if a killed run has not."""
    if table.facts(part) is not None:
        return table.info(part)
    with table.writer(part, {}, pair.table_columns(declared)) as writer:
        for piece in ahead(pair.pieces(map(pair.finished, frames))):
            writer.write(piece)
            tick(len(piece))
    assert writer.info is not None
    return writer.info


def _gather_rejected(units_: Table[Meta], number: int, rejected: Table[RejectedMeta]) -> Iterator[PartInfo]:
    """Write the units' rejected rows, in their order, as parts."""
    pieces = (
        piece
        for unit in range(number)
        if units_.facts(unit) is not None
        for piece in units_.pieces(unit, rejected.contract.arrow().names)
    )
    part, piece = 0, next(pieces, None)
    while piece is not None or part == 0:
        with rejected.writer(part, {}) as writer:
            rows = 0
            while piece is not None and rows < PART_ROWS:
                writer.write(piece)
                rows += len(piece)
                piece = next(pieces, None)
        assert writer.info is not None
        yield writer.info
        part += 1


def _account(accounts: Sequence[_UnitAccount], written: Sequence[PartInfo]) -> Account:
    reasons: Counter[str] = Counter()
    for account in accounts:
        reasons.update(account.reasons)
    pairs = sum(info.rows for info in written)
    accepted = sum(a.accepted for a in accounts)
    return Account(
        rows=sum(a.rows for a in accounts),
        pairs=pairs,
        merged=accepted - pairs,
        rejected=sum(reasons.values()),
        reasons=dict(sorted(reasons.items())),
    )


__all__ = ["Account", "Parts", "Source", "ingest"]
