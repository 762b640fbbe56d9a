"""Limits: how many connections there may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

CONNECTIONS = 128
PER_HOST = 4
PER_ADDRESS = 16
"""As many as four hosts may have: a small server with hundreds of names bears it, and it is enough for the address of a
network that serves thousands of them: a hundred images a second, and there it has many addresses."""


@dataclass(frozen=True)
class Limits:
    """How many connections there may be: in all, to a host, to an address."""

    connections: int | None = None
    """By all processes on the machine together; None for CONNECTIONS by each."""
    per_host: int = PER_HOST
    hosts: Mapping[str, int] = field(default_factory=dict)
    """Hosts that bear another number."""
    per_address: int = PER_ADDRESS

    @property
    def in_process(self) -> int:
        """How many connections there may be in all, in one process."""
        return self.connections or CONNECTIONS

    def shared(self, processes: int) -> Limits:
        """Return the limits of each of `processes`: what all of them count together stays as it is."""
        connections = None if self.connections is None else max(1, self.connections // processes)
        return replace(self, connections=connections)

    def of(self, host: str) -> int:
        """Return how many connections a host may have."""
        return self.hosts.get(host, self.per_host)

    def at(self, host: str) -> int:
        """Return how many connections its address may have when a host wants one: never fewer than the host may."""
        return max(self.per_address, self.of(host))
