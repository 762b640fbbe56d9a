"""Hosts and addresses have their connections, and the rest that they ask for, whatever number of processes asks."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import forked
import pytest
from conftest import read
from hostile_web import Web, serve
from hypothesis import given
from hypothesis import strategies as st
from many_names import HOMES
from test_fetch import crawl, dataset_of

from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.engines.local import LocalEngine
from align_data.fetching import backoff
from align_data.fetching.backoff import NOTICES_FILE, Notice, Notices, dumped, keep, loaded
from align_data.fetching.client import Policy
from align_data.fetching.connection_slots import Slots
from align_data.fetching.guard import Guard
from align_data.fetching.limits import Limits
from align_data.stages.fetch import FetchReport, fetch
from align_data.stages.ingest import Parts
from align_data.storage.store import Store

POLICY = Policy(Guard.of(["127.0.0.0/8"]), deadline=20.0)


def fetched(dataset: Dataset, limits: Limits, workers: int, policy: Policy = POLICY) -> FetchReport:
    engine = LocalEngine(dataset.store.work, workers)
    return fetch(dataset, None, policy, limits, engine, Silent(), 16, "many_names:handler")


# Slots.

HOLDER = """
import sys
from pathlib import Path
from align_data.fetching.connection_slots import Slots
slots = Slots(Path(sys.argv[1]))
held = [slots.take("a", 5) for _ in range(int(sys.argv[2]))]
print(sum(free is not None for free in held), flush=True)
for line in sys.stdin:
    held.pop(0)()
    print("freed", flush=True)
"""


def holder(path: Path, number: int) -> forked.Popen:
    command = [sys.executable, "-c", HOLDER, str(path), str(number)]
    return forked.Popen(command, stdin=forked.PIPE, stdout=forked.PIPE, text=True)


def said(process: forked.Popen, word: str = "") -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    if word:
        process.stdin.write(word + "\n")
        process.stdin.flush()
    return process.stdout.readline().strip()


def test_slots_are_counted_over_processes_and_free_however_one_ends(tmp_path: Path) -> None:
    path = tmp_path / "slots"
    slots = Slots(path)
    frees = [slots.take("a", 5) for _ in range(2)]
    assert all(frees)
    with holder(path, 9) as one:
        assert said(one) == "3"
        assert slots.take("a", 5) is None
        assert slots.room("a", 5, 9) == 0
        assert slots.room("b", 5, 9) == 5
        assert slots.room("b", 5, 2) == 2
        assert said(one, "free") == "freed"
        assert slots.room("a", 5, 9) == 1
        for free in frees:
            assert free is not None
            free()
        assert slots.room("a", 5, 9) == 3
        one.send_signal(signal.SIGKILL)
        one.wait()
        assert slots.room("a", 5, 9) == 5
    slots.close()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4), st.booleans()), max_size=40))
def test_slots_of_one_process_are_those_of_a_plain_count(tmp_path_factory: Any, steps: list[Any]) -> None:
    slots = Slots(tmp_path_factory.mktemp("slots") / "slots")
    held: dict[str, list[Any]] = {name: [] for name in "abc"}
    for name, most, takes in steps:
        if takes:
            free = slots.take(name, most)
            assert (free is not None) or len(held[name]) >= most
            held[name] += [free] if free is not None else []
            assert len(held[name]) <= 4
        elif held[name]:
            held[name].pop()()
    slots.close()


def test_where_there_are_no_locks_a_process_counts_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("align_data.fetching.connection_slots.fcntl.lockf", none)
    slots = Slots(tmp_path / "slots")
    assert slots.room("a", 3, 9) == 3
    slots.close()


# Connections to a host and to an address.


def test_an_address_has_its_connections_whatever_hosts_share_it() -> None:
    with serve() as web:
        urls = [f"http://h{number % 400}.example:{web.port}/pause/{number}?s=0.005" for number in range(800)]
        outcomes, _ = crawl(urls, limits=Limits(128, 4, per_address=6))
        assert {outcome.status for outcome in outcomes} == {"ok"}
        assert web.seen.most_busy == 6
        # Who may have more to a host has it at its address too, and others do not.
        urls = [f"http://h.example:{web.port}/pause/{number}?s=0.02" for number in range(100)]
        web.seen.most_busy = 0
        outcomes, _ = crawl(urls, limits=Limits(128, 4, {"h.example": 9}, per_address=6))
        assert {outcome.status for outcome in outcomes} == {"ok"}
        assert web.seen.most_busy == 9


def test_children_share_the_connections_to_a_host_and_to_an_address(tmp_path: Path) -> None:
    with serve(*HOMES) as web:
        # Names of one address, hosts that are addresses, and one host with much to give; in two parts, by two each.
        urls = [f"http://many{number % 30}.example:{web.port}/pause/a{number}?s=0.01" for number in range(150)]
        urls += [f"http://{home}:{web.port}/pause/b{number}?s=0.01" for home in HOMES[1:4] for number in range(30)]
        urls += [f"http://n9.example:{web.port}/pause/c{number}?s=0.01" for number in range(100)]
        dataset = dataset_of(tmp_path, urls, Parts(rows=180))
        assert len(dataset.ingested().parts) == 2
        report = fetched(dataset, Limits(None, 3, per_address=5), workers=4)
        assert report.statuses == {"ok": len(urls)}
        busiest = web.seen.most_busy_of
        assert busiest["n9.example"] == 3
        assert max(busiest[home] for home in HOMES[1:4]) <= 3
        assert most_at(web, HOMES[0]) <= 5
        assert max(most_at(web, home) for home in HOMES[1:]) <= 3


def most_at(web: Web, home: str) -> int:
    """Return how many requests an address had at once."""
    ends = [(each.when, 1) for each in web.seen.asked if each.home == home]
    ends += [(each.left or 0.0, -1) for each in web.seen.asked if each.home == home]
    now = most = 0
    for _, step in sorted(ends):
        now += step
        most = max(most, now)
    return most


def test_connections_are_shared_out(tmp_path: Path) -> None:
    assert Limits().shared(8).in_process == 128
    assert [Limits(100).shared(number).in_process for number in (1, 3, 100, 200)] == [100, 33, 1, 1]
    with serve(*HOMES) as web:
        urls = [f"http://{home}:{web.port}/pause/{number}?s=0.02" for home in HOMES for number in range(20)]
        report = fetched(dataset_of(tmp_path, urls), Limits(6, 4), workers=3)
        assert report.statuses == {"ok": len(urls)}
        assert web.seen.most_busy <= 6


# What hosts ask for.


def test_a_host_that_asks_for_a_day_is_asked_once_by_all_parts_children_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(*HOMES) as web:
        day = [f"http://n3.example:{web.port}/busy/{n}?times=999&status=429&after=86400" for n in range(60)]
        others = [f"http://n{2 + number % 7}.example:{web.port}/good/{number}" for number in range(40)]
        others = [url for url in others if "//n3." not in url]
        dataset = dataset_of(tmp_path, [*day, *others], Parts(rows=30))
        assert len(dataset.ingested().parts) >= 3
        limits = Limits(None, 2)

        def asked() -> int:
            web.seen.forget()
            report = fetched(dataset, limits, workers=2)
            assert report.statuses == {"ok": len(others), "rate_limited": 60}
            return sum(each.host == "n3.example" for each in web.seen.asked)

        assert 1 <= asked() <= 2  # two were on their way together
        (kept,) = loaded(dataset.store.read_bytes(NOTICES_FILE)).values()
        assert kept.host == "n3.example"
        assert 86000 < kept.until - backoff.now() < 86400
        assert asked() == 0
        later = kept.until + 1
        monkeypatch.setattr(backoff, "now", lambda: later)
        assert 1 <= asked() <= 2
    reasons = set(read(dataset, "images")["reason"].drop_nulls())
    assert reasons >= {"not requested: the host answered before, HTTP 429, Retry-After: 86400"}


def test_a_wait_of_seconds_is_one_of_all_children(tmp_path: Path) -> None:
    with serve(*HOMES) as web:
        at = f"http://n4.example:{web.port}"
        urls = [f"{at}/busy/a?times=1&status=429&after=2", *(f"{at}/pause/{n}?s=0.05" for n in range(60))]
        report = fetched(dataset_of(tmp_path, urls), Limits(None, 2), workers=2)
        assert report.statuses == {"ok": len(urls)}
        told = next(each for each in web.seen.asked if each.path == "/busy/a")
        assert told.left is not None
        assert not [each for each in web.seen.asked if told.left + 0.3 < each.when < told.left + 1.7]


def test_a_host_that_does_not_answer_is_left_alone_for_the_run_and_asked_by_the_next(tmp_path: Path) -> None:
    with serve(*HOMES) as web:
        silent = [f"http://n5.example:{web.port}/silent/{number}" for number in range(90)]
        dataset = dataset_of(tmp_path, silent, Parts(rows=45))
        policy = Policy(POLICY.guard, deadline=0.3)
        for _ in range(2):
            web.seen.forget()
            report = fetched(dataset, Limits(None, 4), 2, policy)
            assert report.statuses == {"timeout": 90}
            assert 16 <= len(web.seen.asked) <= 2 * 16 + 4
        assert dataset.store.read_bytes(NOTICES_FILE) is None


def test_notices_are_read_by_others_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = Notices(tmp_path / "log"), Notices(tmp_path / "log")
    now = backoff.now()
    first = Notice("a.example", now + 100, "rate_limited", "it said so")
    one.tell(first)
    assert one.news() == other.news() == []  # of this process
    monkeypatch.setattr(os, "getpid", lambda: -1)
    one.tell(Notice("b.example", now + 1e12, "timeout", "ü" * 300, asked=False))
    monkeypatch.undo()
    (found,) = other.news()
    assert (found.host, found.reason) == ("b.example", "ü" * 300)
    assert found.until <= backoff.now() + backoff.LONGEST
    assert other.news() == []
    store = Store(tmp_path / "dataset")
    keep(store, tmp_path / "log")
    assert loaded(store.read_bytes(NOTICES_FILE)) == {"a.example": first}
    before = store.read_bytes(NOTICES_FILE)
    keep(store, tmp_path / "log")
    keep(store, tmp_path / "no log")
    assert store.read_bytes(NOTICES_FILE) == before
    one.close()
    other.close()


json_like = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*Notice.__annotations__, "x"]), inner),
    max_leaves=9,
)


@given(json_like)
def test_whatever_a_dataset_says_of_hosts_is_notices_or_nothing(found: Any) -> None:
    import json  # noqa: PLC0415

    for text in (json.dumps(found), json.dumps([found]), str(found)):
        assert all(isinstance(each, Notice) for each in loaded(text).values())


def test_of_two_notices_the_longer_counts() -> None:
    now = backoff.now()
    every = [Notice("h", now + after, "rate_limited", str(after)) for after in (5, 60, -5, 30)]
    assert Counter(each.reason for each in loaded(dumped(every)).values()) == {"60": 1}
