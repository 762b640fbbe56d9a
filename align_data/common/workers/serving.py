"""What a child process runs: it takes tasks from its standard input until that closes."""

from __future__ import annotations

import importlib
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

from align_data.common.errors import AlignDataError, EngineError, departing
from align_data.common.workers import Handler
from align_data.common.workers.confinement import no_new_privileges
from align_data.common.workers.frames import frame, read


def serve() -> None:
    """Handle tasks until the parent ends; a child's main function."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the parent decides
    no_new_privileges()
    source = os.fdopen(os.dup(0), "rb")
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between our messages
    (module, _, name), setup = _read_setup(source)
    handle: Handler | None = None

    def begin() -> None:
        nonlocal handle
        handle = getattr(importlib.import_module(module), name)(setup)

    # Before there is a second thread, as some of what confines a process is for those threads that come after it.
    _answer(out, 0, begin)
    if handle is None:
        return
    tasks: queue.Queue[Any] = queue.Queue(1)
    threading.Thread(target=_read, args=(source, tasks), daemon=True).start()
    number = 0
    while True:
        task, number = tasks.get(), number + 1

        def work(handle: Handler = handle, task: Any = task, number: int = number) -> None:
            handle(task, lambda result: _put(out, (number, "result", result)))

        _answer(out, number, work)


def _read_setup(source: BinaryIO) -> tuple[tuple[str, str, str], Any]:
    try:
        handler, setup = read(source)
    except EOFError:
        os._exit(0)
    return handler.partition(":"), setup


def _answer(out: BinaryIO, number: int, work: Callable[[], None]) -> None:
    """Do something, and say that it is done or what came in its way."""
    try:
        work()
        _put(out, (number, "end", None))
    except Exception as error:  # the parent hears of everything
        _put(out, (number, "error", _sendable(error)))


def _read(source: BinaryIO, tasks: queue.Queue[Any]) -> None:
    """Take tasks as they come; without a parent there is nothing left to do."""
    try:
        while True:
            tasks.put(read(source))
    except EOFError:
        os._exit(0)
    except BaseException:  # such as a lack of memory: without this thread nothing would go on
        os._exit(1)


def _put(out: BinaryIO, message: tuple[int, str, Any]) -> None:
    out.write(frame(message))
    out.flush()


def _sendable(error: Exception) -> tuple[str, str]:
    """Return the name and the text of an error that can travel and says what happened."""
    if not isinstance(error, AlignDataError):
        message = traceback.format_exception_only(error)[-1].strip()
        place = traceback.extract_tb(error.__traceback__)[-1]
        error = EngineError(f"a child process failed: {message} ({place.filename}, line {place.lineno})")
    return departing(error)
