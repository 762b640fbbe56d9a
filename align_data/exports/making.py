"""What makes shards, in this process or as the handler of a child, which imports no more than that takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from align_data.common.progress import Tick
from align_data.common.workers import Handler, Send
from align_data.common.workers.confinement import refuse_network
from align_data.common.workers.values import of
from align_data.exports.shard import Shard, stored, write_shard
from align_data.exports.shard_format import ShardJob
from align_data.storage.store import Store


@dataclass(frozen=True)
class Making:
    """What is the same for all shards. It travels to other processes."""

    out: Store
    job: ShardJob
    export: str
    """The digest of all that was asked: files of another export are never taken for this one's."""

    @property
    def local(self) -> bool:
        """Whether images and shards are on this machine: whoever makes them needs no network and no credentials."""
        return self.out.local and self.job.store.local

    def make(self, shard: Shard, tick: Tick) -> None:
        """Make one shard."""
        write_shard(self.out, self.job, shard, self.export, tick)

    def finished(self, shard: Shard) -> bool:
        """Tell whether a run of the same export has finished a shard."""
        return stored(self.out, shard, self.export) is not None


def handler(setup: Any) -> Handler:
    """Return what makes a shard in a child: numbers of pairs out, as they are done."""
    making = of(Making, setup)
    if making.local:
        refuse_network()

    def handle(shard: Any, send: Send) -> None:
        making.make(of(Shard, shard), lambda pairs, *_: send(pairs))

    return handle
