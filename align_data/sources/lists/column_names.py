"""Which column of an input is what: by its usual names, by the user's word, or by looking at the values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from align_data.common.errors import InputError, nearest

# Our column: the names that others use for it, the best first. Compared as `_folded` makes them.
NAMES: Mapping[str, tuple[str, ...]] = {
    "url": ("url", "image_url", "img_url", "image_link", "urls", "src", "image_src", "img_src"),
    "alt_text": ("alt_text", "text", "caption", "alt", "texts", "captions"),
    # Before resizing, where a tool says both.
    "declared_width": ("declared_width", "original_width", "width", "image_width", "w"),
    "declared_height": ("declared_height", "original_height", "height", "image_height", "h"),
    "page_url": ("page_url", "page", "page_link"),
    "declared_language": ("declared_language", "language", "lang"),
    "license": ("license", "licence"),
    "source_uid": ("source_uid", "uid", "id", "sample_id", "key"),
    # As align-data crawl calls them, and nobody else.
    "crawl_file": ("crawl_file",),
    "crawl_offset": ("crawl_offset",),
    "text_from": ("text_from",),
    "robots": ("robots",),
    # What somebody has published of each pair: under a name that is theirs, so that only a user can tell.
    "score": (),
}
NEEDED = ("url", "alt_text")
PROVENANCE = ("crawl_file", "crawl_offset", "text_from", "robots")
"""What a crawl says of a row, and few other lists do: a dataset has these columns where an input has them."""
SCORE = "score"
_BESIDE_TEXT = ("title", "caption")
"""Columns of a crawl that hold other texts of the image."""
_BRACKETS = re.compile(r"\s*(?:\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\}|<[^<>]*>)$")
_BETWEEN = re.compile(r"[ \t\xa0_-]+")
_SEPARATORS = {
    ";": "semicolons",
    "\t": "tabs",
    "|": "bars",
    "^": "carets",
    "~": "tildes",
    "\x01": r"U+0001, as Hive writes them, in a shell $'\x01'",
    ":": "colons",
}
_URL = re.compile(r"^\s*https?://\S", re.IGNORECASE)


@dataclass(frozen=True)
class Choice:
    """The columns that the user names; None leaves one to be found."""

    url: str | None = None
    alt_text: str | None = None
    score: str | None = None
    """Where it is named, only it and what tells whose it is are read."""
    uid: str | None = None
    """The column that tells the pair in place of URL and text."""
    texts: bool | None = True
    """Whether texts are needed; None where they are read if they are there, False where they are not read."""

    def named(self) -> dict[str, str]:
        """Return the columns that were named."""
        roles = {"url": self.url, "alt_text": self.alt_text, "source_uid": self.uid, SCORE: self.score}
        return {role: name for role, name in roles.items() if name}

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns without which a list is of no use."""
        if self.uid is not None:
            return ("source_uid",)
        return NEEDED if self.texts else ("url",)

    def reads(self, role: str) -> bool:
        """Tell whether a column is read where it is there."""
        if self.score is None or role in (SCORE, *self.needed):
            return True
        return role == "alt_text" and self.texts is None and self.uid is None


def _folded(name: str) -> str:
    """Return a column's name without case, blanks, underscores, hyphens and what stands in brackets behind it."""
    bare = _BRACKETS.sub("", name.strip())
    return _BETWEEN.sub("", (bare or name).casefold())


_FOLDED = {role: tuple(_folded(name) for name in names) for role, names in NAMES.items()}


def usual(columns: Sequence[str]) -> dict[str, str]:
    """Return our column → the input's, by the best of the usual names that is there.

    Of several that are alike the first is taken, one without brackets before one with.
    """
    by_folded: dict[str, str] = {}
    for name in sorted(columns, key=lambda name: _BRACKETS.search(name.strip()) is not None):
        by_folded.setdefault(_folded(name), name)
    exact = {name.lower(): name for name in reversed(columns)}
    by_folded |= {_folded(name): exact[name] for name in exact if any(name in names for names in NAMES.values())}
    matches = {
        role: next((by_folded[name] for name in names if name in by_folded), None) for role, names in _FOLDED.items()
    }
    return {role: name for role, name in matches.items() if name is not None}


def by_name(columns: Sequence[str], choice: Choice, where: str) -> tuple[dict[str, str], str]:
    """Return our column → the input's, for those that are there; and a sentence that says so.

    Raises InputError if the URL or the text is not found, or a column that the user named.
    """
    roles = {}
    names = usual(columns)
    for role in filter(choice.reads, NAMES):
        named = choice.named().get(role)
        if named is not None and named not in columns:
            listing = ", ".join(columns)
            raise InputError(f"{where} has no column {named}{nearest(named, columns)}; it has: {listing}")
        if named or role in names:
            roles[role] = named or names[role]
            if columns.count(roles[role]) > 1:
                if role not in PROVENANCE:
                    raise InputError(f"{where} has {columns.count(roles[role])} columns named {roles[role]}: keep one")
                del roles[role]  # no crawl wrote these
    if roles.get("alt_text") != names.get("alt_text"):
        roles.pop("text_from", None)  # it speaks of the usual column of texts
    missing = [role for role in choice.needed if role not in roles]
    if missing:
        option = {"url": "--url-col", "alt_text": "--text-col"}
        usual_names = "; ".join(f"{role} is usually called {', '.join(NAMES[role])}" for role in missing)
        raise InputError(
            f"{where}: no column found for {' and '.join(missing)}; it has: {', '.join(columns) or 'none'}; "
            f"{usual_names}; name yours with {' and '.join(option[role] for role in missing)}{_separator(columns)}"
        )
    return roles, _sentence(roles, columns, choice)


def _separator(columns: Sequence[str]) -> str:
    """Guess that a header was cut at the wrong character."""
    name = next((name for sign, name in _SEPARATORS.items() if len(columns) == 1 and sign in columns[0]), None)
    return f" (its fields seem to be separated by {name}: --delimiter)" if name else ""


def _sentence(roles: Mapping[str, str], columns: Sequence[str], choice: Choice) -> str:
    """Say which columns are taken, and which others would fit the URL and the text."""
    taken = ", ".join(name if role == name else f"{role} from {name}" for role, name in roles.items())
    alternatives = [
        column
        for role in NEEDED
        if role in roles and role not in choice.named()
        for column in columns
        if _folded(column) in _FOLDED[role] and column != roles[role]
    ]
    crawled = [name for name in _BESIDE_TEXT if "text_from" in roles and name in columns and name != roles["alt_text"]]
    alternatives = [name for name in alternatives if name not in crawled]
    texts = ",".join(("alt", *crawled))
    return (
        f"columns: {taken}"
        + (f" (not {', '.join(alternatives)}: --url-col and --text-col choose)" if alternatives else "")
        + (f" (not {', '.join(crawled)}: a crawl with --text {texts} makes rows of them)" if crawled else "")
    )


def knows(columns: Sequence[str], choice: Choice) -> bool:
    """Tell whether some of these look like column names: ours, the usual ones or the user's."""
    names = {name for role in NEEDED for name in _FOLDED[role]}
    return any(_folded(name) in names or name in choice.named().values() for name in columns)


def by_value(rows: Sequence[Sequence[str]]) -> dict[str, int] | None:
    """Return the positions of URL and text in rows without a header, or None if no column is mostly URLs.

    The text is the column, of the others, with the most white space in it.
    """
    width = max((len(row) for row in rows), default=0)
    whole = [row for row in rows if len(row) == width]
    if width < 2 or not whole:
        return None
    urls = [sum(bool(_URL.match(row[i])) for row in whole) for i in range(width)]
    url = urls.index(max(urls))
    if urls[url] * 2 <= len(whole):
        return None
    spaces = {i: sum(row[i].count(" ") for row in whole) for i in range(width) if i != url}
    return {"url": url, "alt_text": max(spaces, key=lambda i: spaces[i])}
