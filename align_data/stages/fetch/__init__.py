"""Fetch: the bytes of every image that some pair needs, and what became of each URL."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any
from uuid import uuid4

import polars as pl

from align_data.common.errors import DatasetError, EngineError
from align_data.common.progress import Progress, Tick, ignore
from align_data.common.workers import Child, ChildDiedError
from align_data.common.workers.pool import StopCheck, WorkerPool
from align_data.common.workers.values import plain
from align_data.content.arriving import SEEN, Arrivals
from align_data.content.looking import CHUNKS, UNTRIED, write_part
from align_data.content.plan import ContentRun, Sight, every_check, planned
from align_data.data.dropped_images import dropped_images
from align_data.data.image_table import IMAGES, names_of, sorted_rows
from align_data.data.layout import FETCH, Dataset
from align_data.data.ledger import open_ledger
from align_data.data.tombstones import every
from align_data.decoding.inspected import columns_of
from align_data.engines.base import Engine
from align_data.fetching import backoff, record
from align_data.fetching.client import Policy
from align_data.fetching.failing import image_rules
from align_data.fetching.keeping import Keeping
from align_data.fetching.limits import Limits
from align_data.fetching.looking import LookSettings
from align_data.fetching.worker import ANSWER, HANDLER, ROW, ChunkTask, FetchSettings, Row, SeenImage
from align_data.fetching.worker_replies import replies
from align_data.signals.text import HOST
from align_data.stages.fetch.run import FetchRun, chunk_table, state_of, urls_of
from align_data.storage.image_formats import optional
from align_data.storage.manifests import checked, unchecked
from align_data.storage.tables import CHUNKED, PART, PartInfo, cut
from align_data.storage.tars import TAR

_KEEP = 5.0
"""Seconds after which what hosts have asked for is kept: what a killed run forgets of it, at most."""
_RUNS = 10**9
"""More than there can have been: a run's number is in the names of its tars."""
CHUNK = 2048
"""URLs that are finished together: what a killed run loses, at most, is the chunks that were open."""


@dataclass
class FetchReport:
    """What a run of `fetch` did, and what is there now; counts are of URLs."""

    asked: int = 0
    """URLs asked for in this run."""
    outcomes: dict[str, int] = field(default_factory=dict)
    """Status → URLs asked for in this run that came to it."""
    statuses: dict[str, int] = field(default_factory=dict)
    """Status → all URLs of the dataset."""
    retryable: int = 0
    """URLs that another run of the same command would ask for again."""
    sampled: dict[str, int] = field(default_factory=dict)
    """Rule → images of the sample of dropped pairs that have a pair which fails it."""


def fetch(
    dataset: Dataset,
    ledger: str | None,
    policy: Policy,
    limits: Limits,
    engine: Engine,
    progress: Progress,
    chunk: int = CHUNK,
    handler: str = HANDLER,
    sight: Sight | None = None,
    keeping: Keeping = Keeping(),  # noqa: B008 - frozen
    *,
    drop_failing: bool = False,
    of_dropped: int | None = None,
) -> FetchReport:
    """Fetch every URL that a pair not dropped by `ledger` needs (all URLs for None) and that has no final status.

    `handler` is what the child processes run (`fetching.fetchers`). With `sight` images are looked at as they come,
    which `keeping` anything but all of their bytes needs: the table `content` is then written beside `images`. With
    `drop_failing` images that fail a rule of the ledger are not stored. With `of_dropped` so many of the images that
    the ledger drops are fetched instead, of each rule some.
    """
    keeping = _with_rules(keeping, dataset, ledger) if drop_failing else keeping
    run, note = _run_of(dataset, ledger, policy, limits, engine, progress, chunk, handler, keeping, of_dropped)
    if note is not None:
        dataset.store.write_bytes(FETCH, note)
    run = _with_sight(run, sight)
    pairs, sample, number = run.pairs, run.sample, len(run.pairs.parts)
    if engine.spread:
        progress.say(
            f"hosts are counted machine by machine: one may get up to {limits.per_host:,} connections, one address up "
            f"to {limits.per_address:,}, from each machine that tasks run on, and each keeps a Crawl-delay for itself"
        )
    rows = [part.rows for part in pairs.parts]
    todo = engine.map_parts(
        "fetch: plan", lambda part, tick: int(state_of(run, part, tick)["todo"].sum()), rows, progress
    )
    before = dataset.images.committed()
    if before is not None and (absent := dataset.images.absent(before)):
        progress.say(f"missing, so all of their URLs are requested again: {', '.join(absent)}")
    if before is not None and before.meta.statuses.get("ok") and record.keeps_otherwise(before.meta.policy, run.policy):
        progress.say("what is stored of images already stays as it is: --keep holds for what is fetched from now on")
    same = before is not None and before.meta.pairs == pairs.fingerprint and dataset.images.whole(before)
    if before is not None and same and not any(todo):
        # Nothing is written anew: what is measured of the images stays what it is.
        _tidy(dataset, number)
        return FetchReport(statuses=dict(before.meta.statuses), sampled=dict(sample.rules if sample else {}))
    dataset.images.retract()
    if run.content is not None:
        dataset.content.change()
    fetched = engine.map_parts("fetch", lambda part, tick: _part(run, part, tick), todo, progress, unit="images")
    report = FetchReport(asked=sum(todo), sampled=dict(sample.rules if sample else {}))
    for part in fetched:
        _add(report.outcomes, part.outcomes)
        _add(report.statuses, part.statuses)
        report.retryable += part.retryable
    meta = record.meta(
        run.number, pairs, run.scope, run.policy, report.statuses, run.formats, reduced=run.reduced, sampled=run.sampled
    )
    images = dataset.images.commit([part.images for part in fetched], meta)
    if run.content is not None:
        infos = [part.content for part in fetched if part.content is not None]
        dataset.content.commit(infos, run.content.meta(images.fingerprint))
    _tidy(dataset, number)
    return report


def urls_to_fetch(
    dataset: Dataset,
    ledger: str | None,
    policy: Policy,
    limits: Limits,
    engine: Engine,
    progress: Progress,
    chunk: int = CHUNK,
    keeping: Keeping = Keeping(),  # noqa: B008 - frozen
    of_dropped: int | None = None,
) -> Counter[str]:
    """Return how many URLs of each host `fetch` would ask for now; nothing is written."""
    run, _ = _run_of(dataset, ledger, policy, limits, engine, progress, chunk, HANDLER, keeping, of_dropped)

    def hosts(part: int, tick: Tick) -> Counter[str]:
        state = state_of(run, part, tick)
        host = pl.col("url").str.extract(HOST, 1).str.to_lowercase().fill_null("").alias("host")
        counts = state.filter("todo").select(host).to_series().value_counts()
        return Counter(dict(counts.iter_rows()))

    rows = [part.rows for part in run.pairs.parts]
    return sum(engine.map_parts("fetch: plan", hosts, rows, progress), Counter[str]())


def _run_of(
    dataset: Dataset,
    ledger: str | None,
    policy: Policy,
    limits: Limits,
    engine: Engine,
    progress: Progress,
    chunk: int,
    handler: str,
    keeping: Keeping,
    of_dropped: int | None,
) -> tuple[FetchRun, bytes | None]:
    """Return a run, and the note that is to be kept of it before it begins; None for one that goes on."""
    pairs = dataset.ingested()
    scope = "all" if ledger is None else open_ledger(dataset, ledger).facts.ledger
    sample = None
    if of_dropped is not None and ledger is not None:
        sample = dropped_images(dataset, open_ledger(dataset, ledger), of_dropped, progress)
        scope = f"{of_dropped} dropped by {scope}"
    number = len(pairs.parts)
    children = engine.children(number)
    log, names = (f"{kind}-{uuid4().hex}.log" for kind in ("hosts", "names"))  # a killed run's are nobody's
    shared_limits = limits.shared(engine.at_once(number) * children)
    banned = frozenset(every(dataset.banned))
    settings = FetchSettings(policy, shared_limits, dataset.store, banned, log=log, names=names)
    run = FetchRun(dataset, pairs, ledger, settings, 0, chunk, children, handler, keeping, sample=sample, scope=scope)
    return _numbered(run)


def _with_rules(keeping: Keeping, dataset: Dataset, ledger: str | None) -> Keeping:
    """Return what is kept by the rules of a ledger too; DatasetError where none can be decided by an image alone."""
    rules = None if ledger is None else image_rules(dataset, open_ledger(dataset, ledger).plan)
    if rules is None:
        raise DatasetError(
            "--drop-failing needs a ledger with a rule that an image alone decides, such as one on min_side, aspect, "
            f"decodable, nsfw, eval_distance or blocked; {'none is given' if ledger is None else f'{ledger} has none'}"
        )
    return replace(keeping, rules=rules)


def _with_sight(run: FetchRun, sight: Sight | None) -> FetchRun:
    """Return the run with how it looks at images: what is not stored as fetched could not be looked at later."""
    if sight is None and not run.reduced:
        return run
    sight, formats = sight or Sight(), optional(list(run.formats))
    content = planned(run.dataset, every_check(sight), sight, run.children, formats, reduced=run.reduced).written()
    setup = replace(content.decoding.setup(), smaller=run.keeping.smaller)
    look = LookSettings(setup, content.checks(UNTRIED, is_open=True), run.keeping)
    return replace(run, content=content, settings=replace(run.settings, look=look))


def _tidy(dataset: Dataset, parts: int) -> None:
    """Remove what only a run needs, and the bytes of parts that are no more."""
    store, named = dataset.store, {f"part-{part:05d}" for part in range(parts)}
    for name in set(store.names("bytes")) - named:
        if re.fullmatch(PART, name):
            store.clear(f"bytes/{name}", TAR)
    store.clear("_images", CHUNKED)
    store.clear(SEEN, CHUNKED)
    store.clear(CHUNKS, CHUNKED)
    dataset.store.clear_work()


def _add(total: dict[str, int], counts: Mapping[str, int]) -> None:
    for status, number in sorted(counts.items()):
        total[status] = total.get(status, 0) + number


def _begun(content: bytes | None) -> dict[str, Any]:
    """Return what the last run was; one whose note is damaged is none that could go on."""
    try:
        begun = unchecked(content or b"{}", FETCH)
        run = begun.get("run", 0)
        return begun if isinstance(run, int) and 0 <= run < _RUNS else {}
    except DatasetError:
        return {}


def _numbered(run: FetchRun) -> tuple[FetchRun, bytes | None]:
    """Number the run, and return the note of it: a killed run of the same plan goes on, any other begins."""
    store = run.dataset.store
    plan = {"asked": run.scope, "pairs": run.pairs.fingerprint, "policy": run.policy, "chunk": run.chunk}
    begun = _begun(store.read_bytes(FETCH))
    formats = sorted({*optional(begun.get("formats")), *run.settings.policy.formats})
    committed = run.dataset.images.committed()
    reduced = begun.get("reduced") is True or run.keeping.reduces
    reduced |= committed is not None and committed.meta.reduced
    sampled = max(0 if run.sample is None else run.sample.parts, 0 if committed is None else committed.meta.sampled)
    sampled = max(sampled, begun["sampled"] if isinstance(begun.get("sampled"), int) else 0)
    over = committed is not None and committed.meta.run == begun.get("run")
    number = max(begun.get("run", 0), 0 if committed is None else committed.meta.run)
    note = None
    if over or begun.get("plan") != plan:
        number += 1
        beside = {**({"reduced": True} if reduced else {}), **({"sampled": sampled} if sampled else {})}
        note = checked({"run": number, "plan": plan, "formats": formats, **beside})
    return replace(run, number=number, formats=tuple(formats), reduced=reduced, sampled=sampled), note


@dataclass(frozen=True)
class _FetchedPart:
    """What one part came to; counts are of URLs."""

    images: PartInfo
    content: PartInfo | None
    outcomes: Mapping[str, int]
    """Of this run."""
    statuses: Mapping[str, int]
    """Of all of it."""
    retryable: int


def _part(run: FetchRun, part: int, tick: Tick) -> _FetchedPart:
    """Fetch one part."""
    table, facts = run.dataset.images, run.facts(part)
    outcomes: Counter[str] = Counter()
    if table.facts(part) == facts:
        is_open = urls_of(run, part)["open"]
    else:
        state = state_of(run, part)
        is_open = state["open"]
        outcomes = _fetch(run, part, state, tick)
        _fold(run, part, state)
    rows, info = sorted_rows(table, part), table.info(part)
    content = None if run.content is None else _content(run, run.content, part, info, rows)
    store, folder = run.dataset.store, f"bytes/part-{part:05d}"
    for tar in {f"{folder}/{name}" for name in store.names(folder) if TAR.fullmatch(name)} - set(rows["tar"]):
        store.remove(tar)
    statuses = dict(rows.group_by("status").len().sort("status").iter_rows())
    again = rows.filter(is_open & pl.col("retryable") & (pl.col("status") != "untried"))
    return _FetchedPart(info, content, outcomes, statuses, len(again))


def _content(run: FetchRun, content: ContentRun, part: int, info: PartInfo, rows: pl.DataFrame) -> PartInfo:
    """Write a part of `content` of what was seen of the images as they came, and look at what came before that."""
    table = run.dataset.content
    if table.facts(part) == content.facts(info.identity):
        return table.info(part)
    arrivals = Arrivals(content, part, len(rows), run.chunk, run.facts(part))
    return write_part(content, part, info.identity, rows, arrivals.previous(), ignore)


def _fetch(run: FetchRun, part: int, state: pl.DataFrame, tick: Tick) -> Counter[str]:
    """Fetch what is to do, in as many child processes as this part may have; write each chunk as it is done."""
    outcomes: Counter[str] = Counter()
    lock = Lock()
    tasks = list(_tasks(run, part, state))
    table, content = chunk_table(run, part), run.content
    arrivals = None if content is None else Arrivals(content, part, len(state), run.chunk, run.facts(part))
    types = None if content is None else columns_of(content.further)
    store, log = run.dataset.store, run.dataset.store.work / run.settings.log
    settings = replace(
        run.settings, notices=backoff.dumped(backoff.loaded(store.read_bytes(backoff.NOTICES_FILE)).values())
    )
    saved = [time.monotonic()]

    def fetch_share(child: Child, share: Sequence[ChunkTask], check: StopCheck) -> None:
        try:
            for answer in replies(child, share, types):
                check()
                if time.monotonic() - saved[0] > _KEEP:
                    saved[0] = time.monotonic()
                    backoff.keep(store, log)
                if isinstance(answer, Counter):
                    with lock:
                        outcomes.update(answer)
                    tick(answer.total(), answer)
                else:
                    number, rows = answer
                    before = state.filter(pl.col("chunk") == number)
                    merged = _with_fetched(before, rows)
                    if arrivals is not None:  # first: what `images` has of a chunk is known of its images
                        arrivals.write(number, merged, _arrived(before, rows), before["scored"].to_list())
                    with table.writer(number, run.facts(part)) as writer:
                        writer.write(merged)
        except ChildDiedError as died:
            raise EngineError(
                f"the process that fetches ended: {died.how}; finished work is kept, run the command again to continue"
            ) from None

    # Whoever writes to an object store needs this process's credentials for it.
    remote = not run.settings.store.local
    pool: WorkerPool[Sequence[ChunkTask], Child] = WorkerPool(
        run.children, lambda _: closing(Child(run.handler, plain(settings), max_bytes=ANSWER, environment=remote))
    )
    # A share each, as a crawl asks better the more URLs it can choose from.
    try:
        pool.run([share for i in range(run.children) if (share := tasks[i :: run.children])], fetch_share)
    finally:
        backoff.keep(store, log)
    return outcomes


def _tasks(run: FetchRun, part: int, state: pl.DataFrame) -> Iterator[ChunkTask]:
    todo = state.with_columns(name=names_of(state["key"])).filter("todo")
    for (number,), of_chunk in todo.group_by("chunk", maintain_order=True):
        tar = f"bytes/part-{part:05d}/{run.number:03d}-{number:05d}"
        names, urls, scored = (of_chunk[name].to_list() for name in ("name", "url", "scored"))
        yield ChunkTask(int(number), tar, names, urls, () if all(scored) else scored)


def _with_fetched(before: pl.DataFrame, rows: Sequence[Row]) -> pl.DataFrame:
    """Return all rows of a chunk: what was known, with what was fetched put in."""
    values = [row[: len(ROW)] for row in rows]
    fetched = pl.DataFrame(values, {name: IMAGES[name] for name in ROW}, orient="row")
    at = before["todo"].arg_true()
    return before.select(*IMAGES).with_columns(before[name].scatter(at, fetched[name]) for name in ROW)


def _arrived(before: pl.DataFrame, rows: Sequence[Row]) -> dict[int, SeenImage]:
    """Return what was seen of images, by row of their chunk."""
    at = before["todo"].arg_true()
    return {place: row.image for place, row in zip(at, rows, strict=True) if row.image is not None}


def _fold(run: FetchRun, part: int, state: pl.DataFrame) -> None:
    """Write the part from its chunks."""
    with run.dataset.images.writer(part, run.facts(part)) as writer:
        for piece in cut(_chunks(run, part, state)):
            writer.write(piece)


def _chunks(run: FetchRun, part: int, state: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield the rows of a part chunk by chunk: as fetched in this run, or as they were."""
    chunked = chunk_table(run, part)
    for (number,), before in state.group_by("chunk", maintain_order=True):
        facts = chunked.facts(int(number))
        fetched = facts is not None and facts["run"] == run.number
        yield sorted_rows(chunked, int(number)) if fetched else before.select(*IMAGES)
