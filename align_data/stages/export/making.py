"""All shards of an export, made in several processes: what an image costs besides hashing holds an interpreter's lock.

This process makes shards too, so that no work waits for a child that is still starting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext

from align_data.common.errors import EngineError
from align_data.common.progress import Progress, Tick
from align_data.common.workers import Child, ChildDiedError
from align_data.common.workers.pool import StopCheck, WorkerPool
from align_data.common.workers.values import plain
from align_data.engines.base import Engine
from align_data.exports.making import Making
from align_data.exports.shard import Shard

ALONE = 4_000
"""Pairs, about as many as one process has done before a child has started: for fewer there are only threads."""
_HANDLER = "align_data.exports.making:handler"
_TOGETHER = 8
"""Shards of one task: few enough for all workers to have some, many enough not to begin a task for each."""


def make_all(making: Making, plan: Sequence[Shard], engine: Engine, progress: Progress) -> None:
    """Make all shards that are not there yet."""
    processes = engine.children(1)  # one task with all of them, where an engine lets a task have more than itself
    if processes > 1 and sum(shard.pairs for shard in plan) > ALONE:
        tasks, function = [plan], _shared(making, processes)
    else:
        together = max(1, min(_TOGETHER, len(plan) // 64))
        tasks, function = [plan[i : i + together] for i in range(0, len(plan), together)], _alone(making)
    engine.map_parts(
        "export: shards",
        lambda task, tick: function(tasks[task], tick),
        [sum(shard.pairs for shard in task) for task in tasks],
        progress,
    )


def _alone(making: Making) -> Callable[[Sequence[Shard], Tick], None]:
    """Return what makes some shards one after another, in this process."""

    def make(shards: Sequence[Shard], tick: Tick) -> None:
        for shard in shards:
            if making.finished(shard):
                tick(shard.pairs)
            else:
                making.make(shard, tick)

    return make


def _shared(making: Making, processes: int) -> Callable[[Sequence[Shard], Tick], None]:
    """Return what makes some shards in so many processes, of which this is one."""

    def make(shards: Sequence[Shard], tick: Tick) -> None:
        def work(child: Child | None, shard: Shard, check: StopCheck) -> None:
            def checked(pairs: int) -> None:
                check()
                tick(pairs)

            if making.finished(shard):
                checked(shard.pairs)
            elif child is None:
                making.make(shard, lambda pairs, *_: checked(pairs))
            else:
                _ask(child, shard, checked)

        pool: WorkerPool[Shard, Child | None] = WorkerPool(processes, lambda number: _child(making, number))
        pool.run(shards, work)

    return make


def _child(making: Making, number: int) -> AbstractContextManager[Child | None]:
    """Return the child process of a worker; the first has none, and works in this one."""
    if not number:
        return nullcontext()
    return closing(Child(_HANDLER, plain(making), environment=not making.local))


def _ask(child: Child, shard: Shard, report: Callable[[int], None]) -> None:
    remaining = shard.pairs
    try:
        for pairs in child.ask(plain(shard)):
            if type(pairs) is not int or not 0 < pairs <= remaining:
                raise child.misbehaved()
            remaining -= pairs
            report(pairs)
    except ChildDiedError as died:
        raise EngineError(
            f"a child process that wrote {shard.name} ended with {died.how}: there may be too little memory for so "
            "many; use fewer --workers. Finished work is kept: run the same command again to continue"
        ) from None
