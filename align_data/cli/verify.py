"""align-data verify."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

import click

from align_data.cli.lines import counted
from align_data.cli.options import json_option, note, print_json, progress, tell
from align_data.common.errors import DatasetError
from align_data.stages.verify import ExportCheck, verify
from align_data.storage.store import Store

_MAX_LISTED = 20


@click.command("verify", short_help="Check every file of an export against its manifest.")
@click.argument("folder", metavar="FOLDER")
@click.option("--workers", type=click.IntRange(1, 1024), help="Files to read at once (default: one per processor).")
@json_option
def command(folder: str, workers: int | None, as_json: bool) -> None:
    """Check every file of an export against its manifest.

    Reads and hashes every shard. Files that are missing, differ, or are not in the manifest are listed, and the command
    fails.

    \b
    Example:
      align-data verify shards
    """
    check = verify(Store(folder), readers(workers), progress())
    if as_json:
        print_json(check_json(check))
    else:
        print_check(check)
    require_whole(check, folder)


def readers(workers: int | None) -> int:
    """Return how many files are read at once: one per processor unless that is said."""
    return workers or len(os.sched_getaffinity(0))


def check_json(check: ExportCheck) -> dict[str, Any]:
    """Return what was verified, for JSON."""
    return {**asdict(check), "whole": check.whole}


def print_check(check: ExportCheck) -> None:
    """Say what is wrong with an export, or that nothing is."""
    for name, problem in list(check.differs.items())[:_MAX_LISTED]:
        note(f"{name} {problem}")
    if check.whole:
        content = f"{counted(check.pairs, 'pairs')} in {counted(check.shards, 'files')}"
        tell(f"{content}, {check.bytes:,} bytes: all as written")


def require_whole(check: ExportCheck, folder: str) -> None:
    """Raise DatasetError where an export is not as it was written."""
    if not check.whole:
        raise DatasetError(f"{len(check.differs):,} files of {folder} are not as they were written")
