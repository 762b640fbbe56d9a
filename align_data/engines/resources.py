"""Which engine works, and what it may use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Resources:
    """Which engine works, and what it may use."""

    engine: Literal["local", "spark"] = "local"
    workers: int | None = None
    """Threads of the local engine; None for one a processor."""
    memory: int | None = None
    """Bytes that may be held: by all local tasks together (None for 4 GB), by each task on Spark (None for 512 MB)."""
    work: str | None = None
    """Where the local engine spills; None for a folder inside the dataset."""
    spark_conf: Sequence[tuple[str, str]] = ()
    """Settings of Spark, which go before ours."""
    metrics: str | None = None
    """The file for the figures of the running command; None where nobody wants them."""
