"""A stand-in for a child process that hostile bytes have taken over: an image says how it is answered."""

from __future__ import annotations

import datetime
import os
import pickle
import struct
import sys
import time
from typing import Any

import msgpack

from align_data.common.workers.frames import LENGTH, frame, read


class Command:
    """Runs a command where it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {os.environ['ALIGN_DATA_MARK']}",)


def framed(body: bytes) -> bytes:
    return LENGTH.pack(len(body)) + body


def seen(size: int, **changed: Any) -> dict[str, Any]:
    """Return a Seen as it is sent, by its fields' names."""
    names = ("status", "reason", "width", "height", "bytes", "format", "sha256", "md5", "decodable", "phash", "nsfw")
    values = {"status": "ok", "bytes": size, "format": "png", "width": 3, "height": 2, "decodable": True, "phash": 5}
    return {**dict.fromkeys(names), **values, "further": {}, **changed}


WRONG_FIELDS: dict[str, dict[str, Any]] = {
    "status of no kind": {"status": "fine"},
    "status with a reason": {"reason": "why"},
    "reason that a terminal obeys": {"status": "broken", "reason": "\x1b[2J"},
    "reason of a megabyte": {"status": "broken", "reason": "x" * 50_000},
    "reason of half a pair": {"status": "broken", "reason": "\ud800"},
    "width of 2^31": {"width": 2**31},
    "width of 2^63": {"width": 2**63},
    "width below 1": {"width": 0},
    "width alone": {"height": None},
    "width that is true": {"width": True},
    "width that is a text": {"width": "3"},
    "phash of 2^64": {"phash": 2**64 - 1},
    "phash that is a float": {"phash": 0.5},
    "format of its own": {"format": "../../x"},
    "sha256 that is short": {"sha256": "ab"},
    "sha256 that is none": {"sha256": "X" * 64},
    "nsfw that is no number": {"nsfw": float("nan")},
    "nsfw above 1": {"nsfw": 1.5},
    "bytes of another": {"bytes": 1},
    "decodable that is a list": {"decodable": [1]},
    "value of a check that nobody asked for": {"further": {"blur": 1.0}},
    "checks that are not a mapping": {"further": 5},
}


def answers(name: str, number: int, size: int) -> list[bytes]:
    """Return what is written for a question."""
    one = list(seen(size).values())
    good, end = frame((number, "result", one)), frame((number, "end", None))
    if name in WRONG_FIELDS:
        return [frame((number, "result", list(seen(size, **WRONG_FIELDS[name]).values()))), end]
    bomb = pickle.dumps(Command())
    deep = b"\xdd\xff\xff\xff\xff" * 900
    return {
        "good": [good, end],
        "pickle": [bomb],
        "pickle in a frame": [framed(bomb)],
        "pickle in a result": [frame((number, "result", bomb)), end],
        "garbage": [bytes(range(256)) * 40],
        "4 GiB": [LENGTH.pack(2**32), bytes(2**20)],
        "2^64 bytes": [b"\xff" * 8],
        "arrays of 2^32 in each other": [framed(deep)],
        "arrays of 4,000 in each other": [framed(b"\xdc\x0f\xa0" * 20_000)],
        "arrays of one in each other": [framed(b"\x91" * 60_000)],
        "extension": [framed(msgpack.packb((number, "result", msgpack.ExtType(5, b"x"))))],
        "date": [frame_of_date(number), end],
        "no tuple": [frame("result")],
        "numbers": [frame(7)],
        "another question's": [frame((number + 1, "end", None))],
        "a kind of its own": [frame((number, "run", "x"))],
        "nothing before the end": [end],
        "two results": [good, good, end],
        "results without end": [good] * 100_000,
        "a result after the end": [good, end, good],
        "half a frame": [good[: len(good) // 2]],
        "fields missing": [frame((number, "result", one[:-1])), end],
        "a mapping": [frame((number, "result", seen(size))), end],
        "an error": [frame((number, "error", ("InputError", "no")))],
        "an error of another kind": [frame((number, "error", ("SystemExit", "no")))],
        "an error of no form": [frame((number, "error", 3))],
        "an end that says more": [good, frame((number, "end", 1))],
    }[name]


def frame_of_date(number: int) -> bytes:
    return framed(msgpack.packb((number, "result", datetime.datetime.now(datetime.UTC)), datetime=True))


NAMES = (
    *WRONG_FIELDS,
    *("pickle", "pickle in a frame", "pickle in a result", "garbage", "4 GiB", "2^64 bytes"),
    *("arrays of 2^32 in each other", "arrays of 4,000 in each other", "arrays of one in each other"),
    *("extension", "date", "no tuple", "numbers", "another question's", "a kind of its own"),
    *("nothing before the end", "two results", "results without end", "half a frame", "fields missing", "a mapping"),
    *("an error", "an error of another kind", "an error of no form", "an end that says more"),
)


def serve() -> None:
    """Answer questions: a question's bytes say how."""
    source, number = sys.stdin.buffer, 0
    read(source)
    write(frame((0, "end", None)))
    while True:
        task, number = read(source, 2), number + 1
        if isinstance(task, bytes):  # a picture of a page
            task = ((task, None),)
        for content, _ in task[:-1]:  # of several the last says how it is answered, and the others are good
            write(frame((number, "result", list(seen(len(content)).values()))))
        name = task[-1][0].decode()
        if name == "silence":
            time.sleep(100)
        if name == "closed pipes":
            os.close(1)
            time.sleep(100)
        for each in answers(name, number, len(task[-1][0])):
            write(each)
        if name == "half a frame":
            struct.pack("x")
            os._exit(0)


def write(some: bytes) -> None:
    while some:
        some = some[os.write(1, some) :]
