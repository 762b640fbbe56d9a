"""What stands in an exported folder beside its shards: export writes it, takedown changes it, verify reads it."""

from __future__ import annotations

from typing import Any

MANIFEST = "manifest.json"
WORKING = ("_rows", "_index")
"""Folders that are there only while shards are made."""


def stats_name(shard: str) -> str:
    """Return the file that has a shard's stats."""
    return f"{shard.rpartition('.')[0]}_stats.json"


def stats(pairs: int) -> dict[str, Any]:
    """Return what img2dataset would say of a shard of so many pairs."""
    failed = {"failed_to_download": 0, "failed_to_resize": 0}
    return {"count": pairs, "successes": pairs, **failed, "status_dict": {"success": pairs}}


def sizes_name(name: str) -> str:
    """Return the file that has the pairs of all shards of a folder, given one's name or the folder with its '/'."""
    return f"{name[: name.rfind('/') + 1]}sizes.json"
