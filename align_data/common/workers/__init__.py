"""Child processes: a handler that runs where its crash, its memory or its hanging cannot take the run down.

A child is a new Python, not a fork, that imports what it needs by name. It ends when its parent does, however that
ends: it reads its standard input, which closes with the parent. What both say are plain values (`frames`), and what a
child answers is taken for what a stranger may have written: whoever made the bytes that it decodes may control it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from align_data.common.errors import AlignDataError, arrived
from align_data.common.workers.frames import MAX_ANSWER, frame, value
from align_data.common.workers.lending import SharedMemory
from align_data.common.workers.pipes import Pipes, SilentError
from align_data.common.workers.values import of

T = TypeVar("T")

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_PASSED_ON = (
    *("PATH", "HOME", "TMPDIR", "TZ", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "POLARS_MAX_THREADS"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "RES_OPTIONS", "LOCALDOMAIN"),
)
_KEPT_PREFIXES = ("LC_", "ALIGN_DATA_")
"""What of the environment a child needs to work: all else may be a secret."""
_BOOT = "from align_data.common.workers.serving import serve; serve()"
_IMPORT_SECONDS = 600.0
"""What a child may take to import what it needs, where its questions have a limit."""
_END_SECONDS = 10.0
"""What a child may take to end once it has closed its pipes."""
SLACK = 10.0
"""Seconds beyond its own limit that a child is waited for, before it is ended from here."""
SILENT = "no answer in time"
BAD_ANSWER = "an answer of the wrong form"

Send = Callable[[Any], None]
"""Gives the parent one result, a plain value."""
Handler = Callable[[Any, Send], None]
"""What a child runs: a task in, results sent; all are plain values."""


class ChildDiedError(AlignDataError):
    """A child ended in the middle of a task, or was ended for what it answered; `how` says by what."""

    def __init__(self, how: str) -> None:
        super().__init__(f"a child process ended: {how}")
        self.how = how

    @property
    def slow(self) -> bool:
        """Whether it ran out of time."""
        return self.how in (signal.SIGALRM.name, signal.SIGXCPU.name, SILENT)


class Child:
    """A process that handles one task after another.

    `handler` is 'module:function': called once in the child with `setup`, a plain value, it returns the handler. An
    answer has at most `max_bytes` bytes. Only with `environment` has the child all variables of this process, and with
    them the credentials of object stores. One that `borrows` shares memory with this process.
    """

    def __init__(
        self,
        handler: str,
        setup: Any,
        *,
        max_bytes: int = MAX_ANSWER,
        environment: bool = False,
        borrows: bool = False,
    ) -> None:
        self._memory = SharedMemory() if borrows else None
        shared = None if self._memory is None else self._memory.file
        self._process = subprocess.Popen(  # noqa: S603 - this Python
            [sys.executable, "-P", "-c", _BOOT],  # -P: no module is taken from the folder that one happens to be in
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if shared is None else shared,  # which `serve` takes for its memory
            bufsize=0,
            env=_environment(whole=environment),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._pipes = Pipes(self._process.stdin, self._process.stdout, max_bytes)
        self._tasks = 0
        self._handshake: bytes | None = frame((handler, setup))

    def begin(self, seconds: float | None = None) -> None:
        """Wait until the child has its handler; it may take so many seconds, and much longer to import what it needs.

        Raises what the handler's setup raises, and ChildDiedError if the child ends before.
        """
        if self._handshake is not None:
            handshake, self._handshake = self._handshake, None
            for _ in self._answers(handshake, None if seconds is None else seconds + _IMPORT_SECONDS):
                raise self.misbehaved()

    def ask(self, task: Any, seconds: float | None = None) -> Iterator[Any]:
        """Yield the results of a task; each may take so many seconds.

        Raises ChildDiedError if the child ends before it has finished, and ends it for any answer of a wrong form.
        """
        self.begin(seconds)
        self._tasks += 1
        yield from self._answers(frame(task), seconds)

    def ask_once(self, task: Any, make: Callable[[Any], T], seconds: float) -> T:
        """Return the only result of a task, as `make` makes it of a plain value.

        Raises ChildDiedError also where the child has an error, or a result that `make` finds wrong (ValueError).
        """
        (result,) = self.ask_each(task, [make], seconds)
        return result

    def ask_each(self, task: Any, makers: Sequence[Callable[[Any], T]], seconds: float) -> Iterator[T]:
        """Yield the results of a task, of which it has as many as there are makers of them, as `ask_once` does."""
        results = self.ask(task, seconds)
        try:
            for make, result in zip(makers[:-1], results, strict=False):
                yield self.checked(make, result)
            (last,) = results  # which counts once the child has said that there is no more
        except ChildDiedError:
            raise
        except (ValueError, AlignDataError):
            raise self.misbehaved() from None
        yield self.checked(makers[-1], last)

    def checked(self, make: Callable[[Any], T], result: Any) -> T:
        """Return what `make` makes of a result; ChildDiedError, the child being ended, where it finds it wrong."""
        try:
            return make(result)
        except ValueError:
            raise self.misbehaved() from None

    def lend(self, contents: Sequence[bytes]) -> list[Any]:
        """Return what stands for bytes in the next task: of a child that borrows, they are where both see them."""
        return list(contents) if self._memory is None else self._memory.lend(contents)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        if self._memory is not None:
            self._memory.close()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()

    def misbehaved(self) -> ChildDiedError:
        """End the process for an answer that cannot be one; return what to raise."""
        self._process.kill()
        return ChildDiedError(BAD_ANSWER)

    def _answers(self, question: bytes, seconds: float | None) -> Iterator[Any]:
        try:
            self._pipes.write(question, seconds)
            while True:
                number, kind, content = of(tuple[int, str, Any], value(self._pipes.read(seconds)))
                if number != self._tasks:
                    raise self.misbehaved()
                if kind == "end" and content is None:
                    return
                if kind == "error":
                    raise arrived(*of(tuple[str, str], content))
                if kind != "result":
                    raise self.misbehaved()
                yield content
        except ValueError:
            raise self.misbehaved() from None
        except SilentError:
            self._process.kill()
            raise ChildDiedError(SILENT) from None
        except (EOFError, OSError):
            raise ChildDiedError(self._how()) from None

    def _how(self) -> str:
        """Say how the process ended, or end it: it may have closed its pipes only."""
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return BAD_ANSWER
        return signal.Signals(-code).name if code < 0 else f"exit {code}"


def _environment(*, whole: bool) -> dict[str, str]:
    passed = {
        name: value
        for name, value in os.environ.items()
        if whole or name in _PASSED_ON or name.startswith(_KEPT_PREFIXES)
    }
    path = os.pathsep.join(p for p in sys.path if p)
    # One process, one core: what is parallel are the processes.
    return {**passed, **dict.fromkeys(_ONE_THREAD, "1"), "PYTHONPATH": path}
