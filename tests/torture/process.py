"""One command of align-data in a process of its own: what it printed, how it ended, how much memory it took.

Processes are forked from a server that has imported what the commands need and used none of it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from forked import processes

LIMIT = 120.0
"""Seconds until a command hangs, on a machine that has other work."""
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate")
"""What Python tells an audit hook before it changes a file, beside `open`."""
_WRITES = os.O_WRONLY | os.O_RDWR


@dataclass(frozen=True)
class Death:
    """When a process is to be killed: just before the n-th change of a file, or some seconds after it."""

    change: int
    after: float = 0

    def __str__(self) -> str:
        return f"before change {self.change}" if not self.after else f"{self.after * 1000:.1f} ms after {self.change}"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int | None
    """The exit code, minus a signal's number, or None if it had not ended after its limit."""
    out: str
    err: str
    changes: int = 0
    """Changes of files in its folder, by Python."""
    peak: int = 0
    """The most bytes of memory that it held; 0 if it was killed."""

    @property
    def killed(self) -> bool:
        """Whether it died as it was to."""
        return self.code in (-signal.SIGKILL, -signal.SIGALRM)


def run(arguments: Sequence[str], folder: Path, death: Death | None = None, limit: float = LIMIT) -> Ended:
    """Run a command of align-data in a folder."""
    return call(_align_data, (list(arguments),), folder, death, limit)


def call(
    work: Callable[..., Any], arguments: Sequence[Any], folder: Path, death: Death | None = None, limit: float = LIMIT
) -> Ended:
    """Call a function of a module in a process of its own, in a folder."""
    with tempfile.TemporaryDirectory(prefix="torture-") as kept:
        process = processes.Process(target=_child, args=(work, arguments, str(folder.absolute()), death, kept))
        process.start()
        process.join(limit)
        hangs = process.is_alive()
        process.kill()
        process.join()
        out, err, ended = (_text(Path(kept) / name) for name in ("out", "err", "ended"))
        return Ended(None if hangs else process.exitcode, out, err, **json.loads(ended or "{}"))


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="backslashreplace") if file.exists() else ""


def _align_data(arguments: list[str]) -> None:
    from align_data.cli import main  # noqa: PLC0415 - where it is run

    sys.argv = ["align-data", *arguments]
    main(prog_name="align-data")


def _child(work: Callable[..., Any], arguments: Sequence[Any], folder: str, death: Death | None, kept: str) -> None:
    """Call `work` where `folder` is the current one, and temporary files are in the folder `kept`."""
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{kept}/{name}", os.O_WRONLY | os.O_CREAT), number)
    os.chdir(folder)
    os.environ["TMPDIR"] = tempfile.tempdir = kept
    os.environ["HF_HUB_OFFLINE"] = "1"  # a model that is damaged is not to be looked for elsewhere
    changes = _Changes(folder, death)
    sys.addaudithook(changes.hear)
    try:
        work(*arguments)
    finally:
        changes.death = None
        ended = {"changes": changes.number, "peak": _peak()}
        Path(kept, "ended").write_text(json.dumps(ended), encoding="utf-8")


def _peak() -> int:
    """Return the most bytes that this process has held: VmHWM, for ru_maxrss is the server's too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


class _Changes:
    """Counts changes of files below a folder, and kills this process at one of them."""

    def __init__(self, folder: str, death: Death | None) -> None:
        self.number, self.death = 0, death
        self._folder, self._lock = f"{folder}/", Lock()

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Be told of whatever Python does."""
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & _WRITES:
                return
        elif event in _CHANGES:
            path = arguments[0]
        else:
            return
        if isinstance(path, int) or not os.path.abspath(os.fsdecode(path)).startswith(self._folder):  # noqa: PTH100
            return
        with self._lock:
            self.number += 1
            if self.death is None or self.number != self.death.change:
                return
            if self.death.after:
                signal.setitimer(signal.ITIMER_REAL, self.death.after)  # nobody handles it, so it ends the process
            else:
                os.kill(os.getpid(), signal.SIGKILL)
