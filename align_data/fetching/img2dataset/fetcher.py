"""img2dataset as the transport, under our guard; this module alone knows that package (the extra img2dataset).

It fetches in processes that it spawns, and what was set up in the process above does not reach them: the guard is put
in place by the downloader itself, where it runs.
"""

from __future__ import annotations

import importlib
import math
import multiprocessing
import os
import tempfile
import threading
import urllib.request
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from align_data.common.errors import EngineError
from align_data.common.opt_outs import DIRECTIVES
from align_data.common.workers import Handler, Send
from align_data.common.workers.values import of
from align_data.fetching.client import Policy
from align_data.fetching.crawl_state import FetchedChunk
from align_data.fetching.img2dataset.opener import opener
from align_data.fetching.img2dataset_messages import judged, outcome
from align_data.fetching.limits import Limits
from align_data.fetching.outcome import Outcome
from align_data.fetching.worker import ChunkTask, FetchSettings, Row, make_room, send_rows, store
from align_data.sources import img2dataset as shards
from align_data.sources.img2dataset import StoredImage
from align_data.sources.lists import Source, find
from align_data.storage.store import make_work

# A library of its asks the web for a newer version of itself, each time that it is imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
from img2dataset.downloader import Downloader

_MAIN: Any = importlib.import_module("img2dataset.main")  # the package has a function of this name

_TOGETHER = 5
"""Chunks that are fetched by one call: img2dataset ends a process after so many shards."""
_SHARD_ROWS = 10_000


class GuardedDownloader(Downloader):  # type: ignore[misc]
    """img2dataset's downloader, which puts the guard in place before it asks for anything."""

    def __init__(self, *arguments: Any, policy: Policy, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.policy = policy

    def download_shard(self, row: tuple[int, str]) -> None:
        """Download one shard."""
        _end_with_parent()
        urllib.request.install_opener(opener(self.policy))
        super().download_shard(row)


def _end_with_parent() -> None:
    """End this process when the one that spawned it ends, however it does; a host may keep a download waiting."""
    parent = multiprocessing.parent_process()
    name = "align-data: end with parent"
    if parent is None or any(thread.name == name for thread in threading.enumerate()):
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name=name, daemon=True).start()


class _NoLogger:
    """In the place of img2dataset's process for logs, which would outlive a parent that is killed."""

    def __init__(self, *_: Any) -> None:
        self.done_shards: set[int] = set()

    def start(self) -> None:
        """Do nothing."""

    terminate = join = start


def download(policy: Policy, limits: Limits, lists: Path, out: Path, rows: int) -> None:
    """Run img2dataset on a folder of Parquet lists with at most `rows` URLs each: list number i becomes shard i."""
    _MAIN.Downloader = partial(GuardedDownloader, policy=policy)
    _MAIN.LoggerProcess = _NoLogger
    _MAIN.download(
        url_list=str(lists),
        input_format="parquet",
        output_folder=str(out),
        output_format="webdataset",
        processes_count=1,
        thread_count=limits.in_process,
        number_sample_per_shard=max(rows, _SHARD_ROWS),
        resize_mode="no",
        disable_all_reencoding=True,
        extract_exif=False,
        compute_hash=None,
        enable_wandb=False,
        timeout=math.ceil(policy.deadline),
        user_agent_token="align-data",  # noqa: S106 - what a robots directive calls us
        disallowed_header_directives=[] if policy.ignore_opt_out else sorted(DIRECTIVES),
    )


def handler(setup: Any) -> Handler:
    """Return what fetches chunks: of each it sends counts of statuses, and (number, rows) until it is whole."""
    settings = of(FetchSettings, setup)
    make_room(settings.limits.in_process)

    def fetch(message: Any, send: Send) -> None:
        tasks = of(tuple[ChunkTask, ...], message)
        for start in range(0, len(tasks), _TOGETHER):
            _fetch(settings, tasks[start : start + _TOGETHER], send)

    return fetch


def _fetch(settings: FetchSettings, tasks: Sequence[ChunkTask], send: Send) -> None:
    with tempfile.TemporaryDirectory(prefix="fetcher-", dir=make_work(settings.store.work)) as folder:
        lists, out = Path(folder) / "lists", Path(folder) / "out"
        for path in (lists, out):
            path.mkdir()
        for number, task in enumerate(tasks):
            pl.DataFrame({"url": task.urls}, {"url": pl.String}).write_parquet(lists / f"{number:05d}.parquet")
        download(settings.policy, settings.limits, lists, out, max(len(task.urls) for task in tasks))
        names, _ = shards.finished([str(out)])
        finished = find(names)
        if len(finished) < len(tasks):
            raise EngineError(
                f"img2dataset finished {len(finished)} of {len(tasks)} shards; run the command again to continue"
            )
        for task, source in zip(tasks, finished, strict=True):
            rows = _taken(settings, task, source)
            send(dict(Counter(row.status for row in rows)))
            send_rows(send, task.number, rows)


def _taken(settings: FetchSettings, task: ChunkTask, source: Source) -> list[Row]:
    """Store what one shard has of a chunk's URLs; return their rows."""
    samples = shards.samples(source)
    images = shards.images_beside(source, samples["key"])
    urls = pl.read_parquet(source.path, columns=["url"])["url"]
    ends: dict[str, tuple[Outcome, StoredImage | None]] = {}
    for url, key, status, message in zip(urls, *samples.select("key", "status", "error_message"), strict=True):
        place = images.get(key)
        reported, policy = outcome(status, message), settings.policy
        end = judged(reported, place, "not in img2dataset's tar", policy.max_bytes, policy.formats)
        ends[url] = (end, place if end.status == "ok" else None)
    lost = (Outcome("connect", "img2dataset lost it"), None)
    outcomes = [ends.get(url, lost) for url in task.urls]
    places = {number: (place.offset, place.size) for number, (_, place) in enumerate(outcomes) if place is not None}
    with Path(source.path).with_suffix(".tar").open("rb") as tar:
        return store(settings, task, FetchedChunk(task.number, [end for end, _ in outcomes], tar, places))
