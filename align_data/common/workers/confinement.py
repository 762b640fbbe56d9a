"""What a process that decodes bytes of strangers gives up: privileges, the network, files, other processes, resources.

Each is the kernel's own, needs no privilege and stays for the life of the process. Where a kernel does not have one
the others hold: docs/explanation/confinement.md says what is in force where, and what this is not.
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

_OPEN_FILES = 64
_LIBC = ctypes.CDLL(None, use_errno=True)


def no_new_privileges() -> bool:
    """Let no program that this process starts have more rights than it; return whether the system does so."""
    return sys.platform == "linux" and bool(_LIBC.prctl(38, 1, 0, 0, 0) == 0)


def confine(memory: int) -> frozenset[str]:
    """Confine this process, which has one thread and has imported what it needs.

    It may hold `memory` bytes more than it does already, for libraries take some a core; reads no file but those that
    Python, its packages and the system's libraries are made of; and writes none. Returns what of 'privileges', 'files'
    and 'network' the kernel enforces.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # whatever we were started under may have had it ignored
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM, signal.SIGXCPU})
    limit_memory(memory)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, 0)
    _lower(resource.RLIMIT_NOFILE, _OPEN_FILES)
    enforced = {
        "privileges": no_new_privileges(),
        "files": _landlock(_readable()),
        "network": refuse_network(),
    }
    return frozenset(name for name, is_so in enforced.items() if is_so)


def limit_memory(extra: int) -> None:
    """Limit this process to `extra` bytes more than it uses now."""
    used = 0
    with suppress(OSError):  # there is no /proc but on Linux
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    if hard == resource.RLIM_INFINITY or hard > used + extra:
        resource.setrlimit(resource.RLIMIT_DATA, (used + extra, hard))


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """End this process if the block takes longer, or uses more processor time than one thread can."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    limit = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _lower(which: int, limit: int) -> None:
    hard = resource.getrlimit(which)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(which, (limit, limit))


# --- files, by Landlock ---

_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_FS_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
"""Version of Landlock → how many rights on files it knows: none that it knows is left to the process."""
_NET, _SCOPES = 0b11, 0b11
"""Binding and connecting by TCP, from version 4; abstract sockets and signals to others, from version 6."""
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_SYSTEM = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"),
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu", "/dev/null", "/dev/urandom"),
)


def _readable() -> list[str]:
    """Return where Python, its packages and the system's libraries lie."""
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    return [path for path in (*sys.path, sys.prefix, sys.base_prefix, *libraries, *_SYSTEM) if path not in ("", "/")]


def _landlock(readable: Iterable[str]) -> bool:
    """Let this thread, and those that it starts, read below these paths and nothing else; return whether it is so."""
    version = _call(_CREATE, None, 0, 1) if sys.platform == "linux" else -1
    if version < 1:
        return False
    rights = (1 << max(bits for least, bits in _FS_RIGHTS.items() if least <= version)) - 1
    attribute = struct.pack("=QQQ", rights, _NET, _SCOPES)[: 24 if version >= 6 else 16 if version >= 4 else 8]
    rules = _call(_CREATE, attribute, len(attribute), 0)
    if rules < 0:
        return False
    try:
        for path in readable:
            _allow(rules, path)
        return _call(_RESTRICT, rules, 0) == 0
    finally:
        os.close(rules)


def _allow(rules: int, path: str) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    allowed = _READ_FILE | (_READ_DIR if Path(path).is_dir() else 0)
    _call(_ADD, rules, 1, struct.pack("=Qi", allowed, place), 0)
    os.close(place)


def _call(number: int, *arguments: int | bytes | None) -> int:
    converted = (ctypes.c_long(word) if isinstance(word, int) else ctypes.c_char_p(word) for word in arguments)
    return int(_LIBC.syscall(ctypes.c_long(number), *converted))


# --- the network and other processes, by seccomp ---


class _Machine(NamedTuple):
    """What a processor's family calls things, in the kernel's numbers."""

    audit: int
    seccomp: int
    clone: int
    refused: tuple[int, ...]


_EVERYWHERE = (424, 425, 434)  # pidfd_send_signal, io_uring_setup (which makes sockets without `socket`), pidfd_open
_CLONE3 = 435
_MACHINES = {
    # socket, socketpair; fork, vfork, execve, execveat; kill, tkill, ptrace, process_vm_readv, process_vm_writev;
    # unshare, setns, mount; add_key, request_key, keyctl; bpf, userfaultfd, perf_event_open
    "x86_64": _Machine(
        0xC000003E,
        317,
        56,
        (41, 53, 57, 58, 59, 322, 62, 200, 101, 310, 311, 272, 308, 165, 248, 249, 250, 321, 323, 298),
    ),
    # the same, but that fork and vfork are `clone` there
    "aarch64": _Machine(
        0xC00000B7,
        277,
        220,
        (198, 199, 221, 281, 129, 130, 117, 270, 271, 97, 268, 40, 217, 218, 219, 280, 282, 241),
    ),
}
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
"""Where in what a filter is given the call's number, the machine and the first argument's lower half are."""
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_X32, _CLONE_THREAD = 0x40000000, 0x00010000
_ALL_THREADS_AND_NO_SLOWER = 0b101
"""The filter's flags: for threads that are there already too, and without what slows a process down for spying ones."""


def refuse_network() -> bool:
    """Refuse this process sockets, other programs and other processes; return whether it is so."""
    machine = _MACHINES.get(platform.machine()) if sys.platform == "linux" else None
    if machine is None or sys.maxsize < 2**32:
        return False
    code = _filter(machine)
    instructions = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(instructions))
    return _call(machine.seccomp, 1, _ALL_THREADS_AND_NO_SLOWER, program) == 0


def _filter(machine: _Machine) -> bytes:
    """Return the filter: instructions of the kernel's packet filter, each with its jumps if true and if false."""
    refused = (*machine.refused, *_EVERYWHERE)
    ends = [(_RETURN, 0, 0, _ERRNO | errno.EPERM), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS), (_RETURN, 0, 0, _ALLOW)]
    # clone3 is not there: its flags lie where a filter cannot look, and whoever asks for a thread then asks clone.
    checks: list[tuple[int, int, int, int]] = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, machine.audit)]
    checks += [(_RETURN, 0, 0, _ERRNO | errno.EPERM), (_LOAD, 0, 0, _NUMBER)]
    tests = [(_AT_LEAST, _X32), *((_EQUAL, number) for number in refused)]
    distance = len(tests) + 4
    for test, number in tests:
        distance -= 1
        checks.append((test, distance, 0, number))
    checks += [(_EQUAL, 4, 0, _CLONE3), (_EQUAL, 0, 4, machine.clone)]
    checks += [(_LOAD, 0, 0, _FIRST_ARGUMENT), (_ANY_BIT, 2, 0, _CLONE_THREAD)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in (*checks, *ends))
