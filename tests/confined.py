"""What a child process tries that decodes images: its handler does on request what it should not be able to do."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from align_data.common.workers import Handler, Send
from align_data.common.workers.confinement import at_most, confine


def tcp(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), 5).close()


def udp(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"x", ("127.0.0.1", port))


def local(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(path)


def io_uring() -> None:
    parameters = ctypes.create_string_buffer(200)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(425, 1, parameters) < 0:
        raise OSError(ctypes.get_errno(), "io_uring_setup")


def execute(program: str) -> None:
    os.execv(program, [program, "x"])


def burn(seconds: float) -> None:
    """Take all the time of a processor, deaf to the alarm."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    with at_most(seconds):
        until = time.monotonic() + 60
        while time.monotonic() < until:
            pass


def sleep(seconds: float) -> None:
    with at_most(seconds):
        time.sleep(60)


def limits() -> list[Any]:
    return [resource.getrlimit(which) for which in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE)]


def hold(size: int) -> None:
    len(bytearray(size))


ACTIONS: dict[str, Callable[..., Any]] = {
    "tcp": tcp,
    "udp": udp,
    "local": local,
    "io_uring": io_uring,
    "exec": execute,
    "fork": os.fork,
    "kill": os.kill,
    "read": lambda path: Path(path).read_text(encoding="utf-8")[:1],
    "write": lambda path: Path(path).write_text("x", encoding="utf-8"),
    "unlink": os.unlink,
    "list": os.listdir,
    "environment": lambda: sorted(os.environ),
    "environment of the process": lambda: Path("/proc/self/environ").read_bytes(),
    "status": lambda: Path("/proc/self/status").read_text(encoding="utf-8"),
    "burn": burn,
    "sleep": sleep,
    "limits": limits,
    "hold": hold,
    "abort": os.abort,
}


def handler(memory: int) -> Handler:
    """Return what sends what is enforced, and then what came of an action."""
    enforced = sorted(confine(memory))

    def handle(task: Any, send: Send) -> None:
        name, *arguments = task
        send(enforced)
        try:
            send(("done", ACTIONS[name](*arguments)))
        except (OSError, MemoryError) as error:
            send(("refused", type(error).__name__))

    return handle


def trial(setup: Any) -> Handler:
    """Stand for what tries a model, where that ends the process."""
    os.abort()
