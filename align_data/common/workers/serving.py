"""What a child process runs: it takes tasks from its standard input until that closes."""

from __future__ import annotations

import gc
import importlib
import os
import select
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
    memory = os.dup(2)  # shared with the parent, where it lends
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # what a library prints must not get between our messages, nor into what is lent
        os.dup2(nothing, stream)
    handler, setup = _next(source)
    module, _, name = handler.partition(":")
    handle: Handler | None = None

    def begin() -> None:
        nonlocal handle
        gc.disable()  # what is imported stays: to look through it for garbage costs a tenth of the start
        try:
            make = getattr(importlib.import_module(module), name)
        finally:
            gc.enable()
        handle = make(setup)

    # Before there is a second thread, as some of what confines a process is for those threads that come after it.
    _answer(out, 0, begin)
    if handle is None:
        return
    threading.Thread(target=_end_with_parent, args=(source.fileno(),), daemon=True).start()
    number = 0
    while True:
        task, number = _next(source, memory), number + 1

        def work(handle: Handler = handle, task: Any = task, number: int = number) -> None:
            handle(task, lambda result: _put(out, (number, "result", result)))

        _answer(out, number, work)


def _next(source: BinaryIO, memory: int = -1) -> Any:
    """Return what the parent says next; without it there is nothing left to do."""
    try:
        return read(source, memory)
    except EOFError:
        os._exit(0)
    except BaseException:  # such as a lack of memory: nothing that follows could be understood
        os._exit(1)


def _end_with_parent(source: int) -> None:
    """End this process when the parent does, whatever it is doing."""
    poll = select.poll()
    poll.register(source, 0)  # that the other end is closed is always told
    while not poll.poll():
        continue
    os._exit(0)


def _answer(out: BinaryIO, number: int, work: Callable[[], None]) -> None:
    """Do something, and say that it is done or what came in its way."""
    try:
        work()
        _put(out, (number, "end", None))
    except Exception as error:  # the parent hears of everything
        _put(out, (number, "error", _sendable(error)))


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
