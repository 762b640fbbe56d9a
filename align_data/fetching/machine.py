"""What all runs of a user on this machine know of hosts together: what their robots.txt says, and when to ask next.

A database in a folder that is the user's alone. What is in it saves requests, and holds for a day at most: where it is
damaged it is made anew, and where it cannot be used each process remembers for itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from align_data.fetching import backoff
from align_data.fetching.outcome import STATUSES, Outcome

HOSTS = "hosts.sqlite"
DAY = 86400.0
"""Seconds for which a robots.txt is believed, at most."""
_PAGES = 2**17
"""Pages of 4 KB that the database may have: those of a million hosts with rules for us."""
_WAIT = 10.0
"""Seconds for which another process may hold the database."""
_TABLES = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
CREATE TABLE IF NOT EXISTS robots (
    origin TEXT UNIQUE, until REAL NOT NULL, run TEXT, lines BLOB, status TEXT, reason TEXT, again INTEGER);
CREATE TABLE IF NOT EXISTS turns (host TEXT PRIMARY KEY, at REAL NOT NULL);
"""
_OLDEST = "DELETE FROM robots WHERE rowid <= (SELECT min(rowid) + (max(rowid) - min(rowid)) / 8 FROM robots)"


class Machine:
    """The database as one process has it; `run` tells this run from others."""

    def __init__(self, folder: Path | None, run: str) -> None:
        """Open it in a folder; without one it is this process's alone."""
        self._run = run
        self._database = _opened(folder / HOSTS) if folder else _in_memory()
        now = backoff.now()
        self._do("DELETE FROM robots WHERE until < ?", now)
        self._do("DELETE FROM turns WHERE at < ?", now)

    def robots(self, origin: str) -> tuple[float, bytes | Outcome] | None:
        """Return until when what is known of a robots.txt holds, and its lines for us or what asking for it came to."""
        now = backoff.now()
        rows = self._do(
            "SELECT until, lines, status, reason, again FROM robots"
            " WHERE origin = ? AND until > ? AND until < ? AND (run IS NULL OR run = ?)",
            *(origin, now, now + DAY + 1, self._run),
        )
        for until, lines, status, reason, again in rows:
            if isinstance(lines, bytes):
                return until, lines
            if status in STATUSES and isinstance(reason, str):
                return until, Outcome(status, reason, retry=bool(again))
        return None

    def keep_robots(self, origins: Iterable[str], robots: bytes | Outcome, seconds: float) -> float:
        """Remember the lines for us for all runs, or for this run what asking came to; return until when."""
        until = backoff.now() + seconds
        lines, failed = (robots, None) if isinstance(robots, bytes) else (None, robots)
        words = (None, None, None) if failed is None else (failed.status, failed.reason or "", failed.retryable)
        run = None if failed is None else self._run
        for origin in origins:
            self._do("REPLACE INTO robots VALUES (?, ?, ?, ?, ?, ?, ?)", origin, until, run, lines, *words)
        return until

    def wait(self, host: str) -> float:
        """Return the seconds until a host may be asked again."""
        now = backoff.now()
        rows = self._do("SELECT at FROM turns WHERE host = ? AND at < ?", host, now + backoff.LONGEST)
        return max(0.0, max((at for (at,) in rows), default=now) - now)

    def rest(self, host: str, seconds: float) -> None:
        """Let a host be asked again only after some seconds."""
        self._do("REPLACE INTO turns VALUES (?, ?)", host, backoff.now() + min(seconds, backoff.LONGEST))

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _do(self, statement: str, *values: Any) -> Sequence[Any]:
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        with suppress(sqlite3.Error):
            if full:
                self._database.execute(_OLDEST)
                return self._database.execute(statement, values).fetchall()
        self._database.close()
        self._database = _in_memory()
        return self._database.execute(statement, values).fetchall()


def _in_memory() -> sqlite3.Connection:
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.executescript(_TABLES)
    return database


def _opened(path: Path) -> sqlite3.Connection:
    """Open the database of a path; a damaged one is made anew, and one that cannot be is in memory."""
    for _ in range(2):
        database = None
        try:
            database = sqlite3.connect(path, timeout=_WAIT, isolation_level=None)
            database.executescript(_TABLES)
            database.execute(f"PRAGMA max_page_count = {_PAGES}")
            database.execute("SELECT origin, until, run, lines, status, reason, again FROM robots LIMIT 1")
            database.execute("SELECT host, at FROM turns LIMIT 1")
        except sqlite3.OperationalError:
            if database is not None:
                database.close()
            return _in_memory()
        except sqlite3.DatabaseError:
            if database is not None:
                database.close()
            for ending in ("", "-wal", "-shm"):
                with suppress(OSError):
                    path.with_name(path.name + ending).unlink()
        else:
            return database
    return _in_memory()
