"""A gzip file's members, inflated one by one: what is damaged costs its member, and the next one is looked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from isal import isal_zlib

InflateError: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # which its types take for an exception
"""What isal raises for damaged bytes."""
GZIP = b"\x1f\x8b\x08"
"""How a member begins: gzip, deflate."""
LARGEST_PIECE = 16 * 2**20
"""Bytes of a member that are inflated before any are passed on, at most."""
_STRETCH = 2**20
"""Bytes that a longer member is then passed on by, at most."""
_WINDOWS = (16 * 2**10, 64 * 2**10)
"""Stored bytes that are inflated at once, the first time and then: counted from the member's first byte.

So what comes out of a damaged member does not depend on the blocks that the file comes in.
"""
_PROBE = 1024
"""Stored bytes by which a member is recognized."""
_REREAD = (64 * 2**20, 4)
"""Bytes that are read again in search of a member, at most: so many, and so many times what was read."""
_MEMBER = re.compile(rb"\x1f\x8b\x08[\x00-\x1f]")
_NOT_ZERO = re.compile(rb"[^\0]")


class Inflated(NamedTuple):
    """Bytes of a member: all of them, unless it is long or damaged."""

    offset: int
    """The member's first byte in the file."""
    data: bytes
    begins: bool
    """Whether they are the member's first."""
    ends: bool
    """Whether they are its last, and its checksum is right."""


_inflated = tuple.__new__  # which takes half the time that Inflated does


class BrokenMember(NamedTuple):
    """A member, or what lies between two of them, that cannot be inflated."""

    offset: int
    reason: str
    """`gzip`; `junk` of what does not begin as a member does; `truncated` of what the file ends in."""
    begun: bool
    """Whether bytes of it were passed on."""


class GzipMembers:
    """Takes a gzip file in blocks of any size, and yields what is in its members.

    Behind a damage it goes on with the next member that a WARC record begins in. `offset` is where the first block
    lies; where `lost`, a member is looked for from there. Holds 16 MiB of the file, and as much of what is in it.
    """

    def __init__(self, offset: int = 0, *, lost: bool = False) -> None:
        self.lost = lost
        """Whether a member is being looked for, from `next` on."""
        self._stored = b""
        self._first = self._base = offset  # of the first byte fed, and of the first one still stored
        self._at = 0  # the first stored byte that is not inflated
        self._final = self._starved = False
        self._reread = 0
        self._begin(0)

    def _begin(self, at: int) -> None:
        """Go to the member, or the search for one, that begins at a stored byte."""
        self._at = at
        self.next = self._base + at
        """The first byte of the member that is being read, or will be."""
        self._member: Any = None
        self._windows = 0
        self._full = False  # whether the inflater may have more without further bytes
        self._pieces: list[bytes] = []
        self._inflated = 0
        self._begun = False

    def feed(self, data: bytes) -> Iterator[Inflated | BrokenMember]:
        """Yield what is in the file's next bytes."""
        self._stored += data
        return self._read()

    def end(self) -> Iterator[Inflated | BrokenMember]:
        """Yield what remains once the whole file was fed."""
        self._final = True
        return self._read()

    def abandon(self) -> None:
        """Leave the member that is being read, and look for another one behind what was read of it."""
        self.lost = True
        # What was taken of the file for it, and not inflated, may hold the next one.
        self._begin(self._at - len(b"" if self._member is None else self._member.unconsumed_tail))

    def _read(self) -> Iterator[Inflated | BrokenMember]:
        self._starved = False
        while not self._starved:
            if self.lost:
                self._search()
            elif self._member is None:
                yield from self._short_members()
                yield from self._open()
            else:
                yield from self._inflate()
        # A damaged member is searched for another one, so the member being read is stored, up to a limit.
        start = self.next - self._base
        unneeded = max(0, start, self._at - LARGEST_PIECE)
        self._stored = self._stored[unneeded:]
        self._base += unneeded
        self._at -= unneeded

    def _short_members(self) -> Iterator[Inflated]:
        """Yield members that one window holds, as nearly all are, as `_open` and `_inflate` would."""
        stored, base, at = self._stored, self._base, self._at
        size = _WINDOWS[0]
        last = len(stored) - (0 if self._final else size)
        view = memoryview(stored)
        while at <= last and stored.startswith(GZIP, at):
            member = isal_zlib.decompressobj(31)
            window = view[at : at + size]
            try:
                data = member.decompress(window, LARGEST_PIECE)
            except InflateError:
                break
            if not member.eof:
                break
            offset = base + at
            at += len(window) - len(member.unused_data)
            self._at, self.next = at, base + at
            yield _inflated(Inflated, (offset, data, True, True))

    def _open(self) -> Sequence[BrokenMember]:
        """Begin the member that follows, behind the zeros with which tapes and some tools fill a block."""
        filled = _NOT_ZERO.search(self._stored, self._at)
        self._begin(filled.start() if filled else len(self._stored))
        head = self._stored[self._at : self._at + len(GZIP)]
        if head == GZIP:
            self._member = isal_zlib.decompressobj(31)
            return ()
        if GZIP.startswith(head):
            self._starved = True
            if not (self._final and head):
                return ()
            self._at = len(self._stored)
            return (BrokenMember(self.next, "truncated", begun=False),)
        self.lost = True
        return (BrokenMember(self.next, "junk", begun=False),)

    def _search(self) -> None:
        """Look for the next member in which a record begins, as far as the stored bytes go."""
        at = self._next_member(self._at)
        if at is None:
            self._starved = True
        else:
            self.lost = False
            self._begin(at)

    def _next_member(self, at: int) -> int | None:
        """Return the first stored byte of a member in which a record begins; None, having gone on, if there is none."""
        while magic := _MEMBER.search(self._stored, at):
            at = magic.start()
            probe = self._stored[at : at + _PROBE]
            if len(probe) < _PROBE and not self._final:
                self._begin(at)
                return None
            try:
                if isal_zlib.decompressobj(31).decompress(probe, 5) == b"WARC/":
                    return at
            except InflateError:
                pass
            at += 1
        self._begin(max(at, len(self._stored) - len(GZIP)))
        return None

    def _inflate(self) -> Sequence[Inflated | BrokenMember]:
        """Inflate a window of the member, or what is left of one."""
        window: bytes = self._member.unconsumed_tail
        if not window and not self._full:
            size = _WINDOWS[min(self._windows, 1)]
            window = self._stored[self._at : self._at + size]
            if len(window) < size and not self._final:
                self._starved = True
                return ()
            if not window:
                return self._break("truncated")
            self._windows += 1
            self._at += len(window)
        most = _STRETCH if self._begun else LARGEST_PIECE - self._inflated
        try:
            piece = self._member.decompress(window, most)
        except InflateError:
            return self._break("gzip")
        self._full = len(piece) == most
        self._pieces.append(piece)
        self._inflated += len(piece)
        if self._member.eof:
            inflated = self._passed_on(ends=True)
            self._begin(self._at - len(self._member.unused_data))
            return (inflated,)
        return (self._passed_on(),) if self._begun or self._inflated >= LARGEST_PIECE else ()

    def _passed_on(self, *, ends: bool = False) -> Inflated:
        inflated = Inflated(self.next, b"".join(self._pieces), begins=not self._begun, ends=ends)
        self._pieces = []
        self._begun = True
        return inflated

    def _break(self, reason: str) -> Sequence[Inflated | BrokenMember]:
        """Pass on what was inflated of a damaged member, and look for another one from its second byte on."""
        events: list[Inflated | BrokenMember] = [self._passed_on()] if self._pieces else []
        broken = BrokenMember(self.next, reason, self._begun)
        again = max(self.next - self._base + 1, self._at - LARGEST_PIECE)
        least, times = _REREAD
        if self._reread + self._at - again > least + times * (self._base + self._at - self._first):
            again = self._at  # a file made to be read again and again
        self._reread += self._at - again
        self.lost = True
        self._begin(again)
        if reason == "truncated":  # or so it seems: what is damaged may inflate to the file's end
            self._search()
            broken = broken if self.lost else broken._replace(reason="gzip")
        return [*events, broken]
