"""robots.txt as RFC 9309 has it, with Crawl-delay and the rules of the IETF's AI preferences (Content-Usage).

Of a file only the lines of the groups that are for us are kept. What no line can be made of is passed over: a page of
HTML, or any bytes, has no rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from align_data.fetching.opt_outs import refuses_training

PRODUCT = "align-data"
"""What a group calls us."""
MAX_ROBOTS = 500 * 2**10
"""Bytes of a robots.txt that are read; no more need be."""
_KEYS = {
    key: words[0]
    for words in (
        (b"user-agent", b"useragent", b"user agent"),
        (b"allow",),
        (b"disallow", b"dissallow", b"disalow"),
        (b"content-usage",),
        (b"crawl-delay", b"crawl delay"),
    )
    for key in words
}
"""What a line may begin with, and how we write it: some spellings are so common that what they mean is plain."""
_RULES = frozenset({b"allow", b"disallow", b"content-usage"})
"""Lines after which a User-agent begins another group."""
_LINE_END = re.compile(rb"\r\n?|\n")
_TOKEN = re.compile(rb"\*(?!\S)|[A-Za-z_-]+")
_DELAY = re.compile(r"\d{1,9}(?:\.\d{0,9})?|\.\d{1,9}")
_SPELLING = re.compile(rb"%([0-9A-Fa-f]{2})|[^A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]")
_UNRESERVED = re.compile(rb"[A-Za-z0-9\-._~]")
_MOST_STEPS = 2**28
"""Rules with wildcards times characters of a URL, at most: what more would keep all other hosts waiting."""
_REASON = 200
"""Characters of a rule in a reason, at most."""


def own_lines(content: bytes, product: str = PRODUCT) -> bytes:
    """Return the lines of a robots.txt that are for a product: of its groups, or else of those for everyone."""
    if len(content) > MAX_ROBOTS:  # a line that is cut might say more than the whole
        content = b"\n".join(_LINE_END.split(content[:MAX_ROBOTS])[:-1])
    own: list[bytes] | None = None
    everyone: list[bytes] = []
    for products, lines in _groups(content.removeprefix(b"\xef\xbb\xbf")):
        if product.encode() in products:
            own = (own or []) + lines
        if b"*" in products:
            everyone += lines
    return b"\n".join(everyone if own is None else own)


def _groups(content: bytes) -> Iterator[tuple[set[bytes], list[bytes]]]:
    """Yield the groups of a robots.txt: their products in small letters, and their lines."""
    products: set[bytes] = set()
    lines: list[bytes] = []
    complete = False
    for key, value in _fields(content):
        if key == b"user-agent":
            if complete:
                yield products, lines
                products, lines, complete = set(), [], False
            token = _TOKEN.match(value)
            products.add(token[0].lower() if token else b"")
        elif products:  # a line before any User-agent is nobody's
            lines.append(key + b":" + value)
            complete = complete or key in _RULES
    yield products, lines


def _fields(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    for line in _LINE_END.split(content):
        word, colon, value = line.partition(b"#")[0].partition(b":")
        key = _KEYS.get(word.strip().lower())
        if colon and key is not None:
            yield key, value.strip()


def _spelt(path: bytes) -> bytes:
    """Return a path in the one spelling in which paths are compared: escaped is what must be, and nothing else."""

    def escape(match: re.Match[bytes]) -> bytes:
        octet = match[0] if match[1] is None else bytes.fromhex(match[1].decode())
        return octet if _UNRESERVED.fullmatch(octet) else b"%%%02X" % ord(octet)

    return _SPELLING.sub(escape, path)


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A path with wildcards."""

    parts: tuple[bytes, ...]
    anchored: bool

    @staticmethod
    def of(path: bytes) -> _Pattern:
        """Return the pattern of a rule's path."""
        return _Pattern(tuple(path.removesuffix(b"$").split(b"*")), path.endswith(b"$"))

    def matches(self, path: bytes) -> bool:
        first, *between = self.parts
        last = between.pop() if between and self.anchored else b""
        if not path.startswith(first):
            return False
        at = len(first)
        for part in between:
            at = path.find(part, at)
            if at < 0:
                return False
            at += len(part)
        if len(self.parts) == 1:
            return not self.anchored or at == len(path)
        return not self.anchored or (path.endswith(last) and len(path) - len(last) >= at)


class _PathRules:
    """Rules by path: of those that match, the longest count."""

    def __init__(self, rules: Iterable[tuple[bytes, bytes]]) -> None:
        """Take rules: the path of each, and its line."""
        self._plain: dict[bytes, dict[bytes, None]] = {}
        """Beginning of a path → the lines that have it."""
        patterns: dict[bytes, dict[bytes, None]] = {}
        for path, line in rules:
            anchored = path.endswith(b"$")
            spelt = _spelt(path.removesuffix(b"$")).replace(b"$", b"%24")
            is_plain = not anchored and b"*" not in spelt
            (self._plain if is_plain else patterns).setdefault(spelt + b"$" * anchored, {})[line] = None
        self._lengths = sorted({len(path) for path in self._plain}, reverse=True)
        self._patterns = sorted(
            ((len(path), _Pattern.of(path), tuple(lines)) for path, lines in patterns.items()),
            key=lambda rule: -rule[0],
        )

    def __bool__(self) -> bool:
        return bool(self._plain or self._patterns)

    def longest(self, path: bytes) -> list[bytes]:
        """Return the lines of the longest rules that match a path, which is in `_spelt`."""
        path = path.replace(b"*", b"%2A").replace(b"$", b"%24")  # in a URL they stand for themselves
        best, matching = 0, []
        for length in self._lengths:
            if length <= len(path) and path[:length] in self._plain:
                best, matching = length, [*self._plain[path[:length]]]
                break
        if len(self._patterns) * len(path) > _MOST_STEPS:
            return [b"disallow:more rules with * than a URL of this length can be judged by"]
        for length, pattern, lines in self._patterns:
            if length < best:
                break
            if pattern.matches(path):
                matching = matching if length == best else []
                matching += lines
                best = length
        return matching


@dataclass
class RobotsRules:
    """What some lines of a robots.txt say, which `own_lines` has returned."""

    lines: bytes
    delay: float = 0.0
    """Seconds between two requests."""
    _access: _PathRules = field(init=False)
    _usage: _PathRules = field(init=False)

    def __post_init__(self) -> None:
        access, usage = [], []
        for line in self.lines.split(b"\n") if self.lines else ():
            key, _, value = line.partition(b":")
            if key == b"crawl-delay":
                delay = _DELAY.match(value.decode("latin-1"))
                self.delay = max(self.delay, float(delay[0]) if delay else 0.0)
            elif key == b"content-usage":
                usage.append((_usage(value)[0], line))
            elif value:
                access.append((value, line))
        self._access, self._usage = _PathRules(access), _PathRules(usage)

    @property
    def judges(self) -> bool:
        """Whether there is anything that a path must be looked at for."""
        return bool(self._access or self._usage)

    def disallowed(self, path: str) -> str | None:
        """Return the rule by which a path, with its query, may not be requested; None if it may be."""
        lines = [] if path == "/robots.txt" else self._access.longest(_spelt(path.encode()))
        if not lines or any(line.startswith(b"allow:") for line in lines):
            return None
        return _shown(lines[0])

    def refused_usage(self, path: str) -> str | None:
        """Return the rule that does not want what is at a path to train models; None without."""
        for line in self._usage.longest(_spelt(path.encode())):
            if refuses_training(_usage(line.partition(b":")[2])[1].decode("latin-1")):
                return _shown(line)
        return None


def _usage(value: bytes) -> tuple[bytes, bytes]:
    """Return the path and the preference of a rule on usage; earlier drafts had such for all paths."""
    path, *preference = value.split(None, 1) if value.startswith((b"/", b"*")) else (b"/", value)
    return path, b"".join(preference)


def _shown(line: bytes) -> str:
    """Return a line as files have it."""
    key, _, value = line.decode("utf-8", "backslashreplace").partition(":")
    return f"{'-'.join(word.capitalize() for word in key.split('-'))}: {value}"[:_REASON]
