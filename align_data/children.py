"""Child processes: a handler that runs where its crash, its memory or its hanging cannot take the run down.

A child is a new Python, not a fork, that imports what it needs by name. It ends when its parent does, however that
ends: it reads its standard input, which closes with the parent.
"""

from __future__ import annotations

import importlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import islice
from typing import Any, BinaryIO, TypeVar

from align_data.errors import AlignDataError, EngineError

T = TypeVar("T")

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
BLINK = 0.2
"""Seconds of a wait: with Polars loaded an interrupt does not end one, and is only seen between two."""
_BOOT = "from align_data.children import serve; serve()"

Send = Callable[[Any], None]
"""Gives the parent one result."""
Handler = Callable[[Any, Send], None]
"""What a child runs: a task in, results sent."""


class ChildDiedError(AlignDataError):
    """A child ended in the middle of a task; `how` says by what."""

    def __init__(self, how: str) -> None:
        super().__init__(f"a child process ended: {how}")
        self.how = how


class _StoppedError(AlignDataError):
    """Another thread failed, so this one ends too."""


class Child:
    """A process that handles one task after another.

    `handler` is 'module:function': called once in the child with `setup`, it returns the handler.
    """

    def __init__(self, handler: str, setup: Any) -> None:
        path = os.pathsep.join(p for p in sys.path if p)
        self._process = subprocess.Popen(  # noqa: S603 - this Python
            [sys.executable, "-P", "-c", _BOOT],  # -P: no module is taken from the folder that one happens to be in
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # One process, one core: what is parallel are the processes.
            env={**os.environ, **dict.fromkeys(_ONE_THREAD, "1"), "PYTHONPATH": path},
        )
        self._send((handler, setup))

    def ask(self, task: Any) -> Iterator[Any]:
        """Yield the results of a task; ChildDiedError if the child ends before it has finished."""
        self._send(task)
        while True:
            try:
                kind, value = pickle.load(self._process.stdout)  # type: ignore[arg-type]  # noqa: S301 - our own child
            except (EOFError, pickle.UnpicklingError):
                raise ChildDiedError(self._how()) from None
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()

    def _send(self, value: Any) -> None:
        try:
            pickle.dump(value, self._process.stdin)  # type: ignore[arg-type]
            self._process.stdin.flush()  # type: ignore[union-attr]
        except (BrokenPipeError, OSError):
            raise ChildDiedError(self._how()) from None

    def _how(self) -> str:
        """Say how the process ended."""
        code = self._process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit {code}"


def shared(function: Callable[[Iterator[T], Callable[[], None]], None], items: Sequence[T], workers: int) -> None:
    """Call `function(items, check)` in so many threads at once, which take the items from each other.

    The first failure ends the others: `check`, to be called now and then, raises where another has failed.
    """
    failed, lock, left = threading.Event(), threading.Lock(), iter(items)

    def check() -> None:
        if failed.is_set():
            raise _StoppedError("another child process failed")

    def mine() -> Iterator[T]:
        while True:
            with lock:
                item = list(islice(left, 1))
            if not item:
                return
            yield item[0]

    def call() -> None:
        try:
            function(mine(), check)
        except BaseException:
            failed.set()
            raise

    if not items:
        return
    with ThreadPoolExecutor(min(workers, len(items))) as pool:
        futures = [pool.submit(call) for _ in range(min(workers, len(items)))]
        try:
            _await(futures)
        except BaseException:
            failed.set()
            raise


def _await(futures: Sequence[Future[None]]) -> None:
    """Wait for all; raise the error that came first, if any did."""
    while wait(futures, timeout=BLINK).not_done:
        pass
    errors = [error for future in futures if (error := future.exception())]
    for error in sorted(errors, key=lambda e: isinstance(e, _StoppedError)):
        raise error


def serve() -> None:
    """Handle tasks until there is no parent; a child's main function."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the parent decides
    source = os.fdopen(os.dup(0), "rb")
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between our messages
    tasks: queue.Queue[Any] = queue.Queue()
    handler, setup = pickle.load(source)  # noqa: S301 - our own parent
    threading.Thread(target=_read, args=(source, tasks), daemon=True).start()
    module, _, name = handler.partition(":")
    handle: Handler | None = None
    while True:
        task = tasks.get()
        try:
            handle = handle or getattr(importlib.import_module(module), name)(setup)
            handle(task, lambda result: _put(out, ("result", result)))
            _put(out, ("end", None))
        except Exception as error:  # the parent hears of everything
            _put(out, ("error", _sendable(error)))


def _read(source: BinaryIO, tasks: queue.Queue[Any]) -> None:
    """Take tasks as they come; without a parent there is nothing left to do."""
    try:
        while True:
            tasks.put(pickle.load(source))  # noqa: S301 - our own parent
    except (EOFError, pickle.UnpicklingError, OSError):
        os._exit(0)


def _put(out: BinaryIO, message: tuple[str, Any]) -> None:
    pickle.dump(message, out)
    out.flush()


def _sendable(error: Exception) -> AlignDataError:
    """Return the error as one that can travel and says what happened."""
    if isinstance(error, AlignDataError):
        return error
    said = traceback.format_exception_only(error)[-1].strip()
    place = traceback.extract_tb(error.__traceback__)[-1]
    return EngineError(f"a child process failed: {said} ({place.filename}, line {place.lineno})")
