"""`subprocess` for `python -c CODE ARGUMENT…`, without the seconds of its imports.

A process is forked from a server that has imported what the package needs and used none of it. It is a process of its
own all the same: it can be killed, confined and starved, and has the environment, the folder and the pipes of a new
one. Only its beginning proves nothing: a test of imports, of an interpreter's environment or of its hash seed takes
`subprocess`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing import forkserver, get_context
from multiprocessing.reduction import DupFd
from subprocess import DEVNULL, PIPE, STDOUT, CompletedProcess, TimeoutExpired
from typing import Any
from unittest import mock

import PIL

__all__ = ["DEVNULL", "PIPE", "STDOUT", "Popen", "TimeoutExpired", "processes", "run"]

processes = get_context("forkserver")
"""Where processes come from, also for `multiprocessing`."""
PRELOADED = [
    *("align_data.cli.options", "align_data.stages.pipeline", "align_data.stages.export.making"),
    *("align_data.stages.audit", "align_data.stages.takedown", "align_data.stages.verify"),
    *("align_data.report", "align_data.report.thumbnails", "align_data.fetching.worker"),
    *("align_data.decoding.worker", "align_data.decoding.preparing.worker", "align_data.models.onnx.trial"),
    *("align_data.common.workers.serving", "scipy.fftpack"),
    *(f"PIL.{plugin}" for plugin in PIL._plugins if not plugin.startswith(("Fpx", "Mic"))),  # those need olefile
]
"""What the server has imported."""
processes.set_forkserver_preload(PRELOADED)
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""The server has no second thread, so that it can be forked: NumPy starts its own when it is imported."""


class Popen(subprocess.Popen):  # type: ignore[type-arg]
    """A process that runs Python code; its arguments are those of `subprocess.Popen`."""

    def _execute_child(self, args: Sequence[Any], *options: Any) -> None:
        cwd, env, pipes, new_session = options[4], options[5], options[9:15], options[20]
        with mock.patch.dict(os.environ, _ONE_THREAD):
            forkserver.ensure_running()
        words = [str(word) for word in args]
        self._process = processes.Process(
            target=_become,
            args=(
                ["-c", *words[words.index("-c") + 1 :]],
                [_Passed(own if fd == -1 else fd) for own, fd in enumerate((pipes[0], pipes[3], pipes[5]))],
                dict(os.environ if env is None else env),
                os.fspath(cwd or os.getcwd()),  # noqa: PTH109
                new_session,
            ),
        )
        self._process.start()
        self.pid = self._process.pid
        self._child_created = True
        self._close_pipe_fds(*pipes)

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        if self.returncode is None:
            self.returncode = self._process.exitcode
        return self.returncode

    def _wait(self, timeout: float | None) -> int | None:
        self._process.join(timeout)
        if self._internal_poll() is None:
            raise TimeoutExpired(self.args, timeout or 0)
        return self.returncode


def run(command: Sequence[Any], *, input: Any = None, timeout: float | None = None, **options: Any) -> Any:
    """Run Python code to its end, as `subprocess.run` does."""
    check = options.pop("check", False)
    if options.pop("capture_output", False):
        options |= {"stdout": PIPE, "stderr": PIPE}
    if input is not None:
        options["stdin"] = PIPE
    with Popen(command, **options) as process:
        try:
            out, err = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    done = CompletedProcess(process.args, process.returncode, out, err)
    if check:
        done.check_returncode()
    return done


class _Passed:
    """A file descriptor that a process gets from its parent."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __reduce__(self) -> Any:
        return _received, (DupFd(self._fd),)


def _received(passed: Any) -> int:
    return int(passed.detach())


def _become(line: list[str], streams: list[int], environment: dict[str, str], folder: str, new_session: bool) -> None:
    """Be what `python LINE` would be."""
    if new_session:
        os.setsid()
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
    for fd in {*streams} - {0, 1, 2}:
        os.close(fd)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w", errors="backslashreplace")
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[method-assign]  # it has the server's address
    _, code, *arguments = line
    sys.argv = ["-c", *arguments]
    exec(code, {"__name__": "__main__"})
