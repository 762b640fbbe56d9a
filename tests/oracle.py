"""A slow, plain oracle for the text half, written from the specification alone: it shares no code with align_data."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import regex
import xxhash

Row = dict[str, Any]
Rule = tuple[str, str, str, Any]
Mask = tuple[int, int]

SPACELESS_SCRIPTS = ("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar")
SPACELESS_EXTRAS = ("\u30fc", "\uff70")  # the prolonged sound marks: kana in use, but Script=Common
JOINERS = ("'", "\u2019", "-", "\u2010", "\u2011", "\u05f3", "\u05f4", "\u055b", "\u055c", "\u055e")
HALF_WIDTH_SOUND_MARKS = ("\uff9e", "\uff9f")
MAX_BYTES = 8 * 2**20
OTHER_COLUMNS = ("declared_width", "declared_height", "page_url", "declared_language", "license", "source_uid")
PROVENANCE = ("crawl_file", "crawl_offset", "text_from", "robots")
OPT_OUTS = ("noai", "noimageai", "noindex", "noimageindex", "none")
AGENTS = ("*", "robots", "align-data")
NO_RARE_NGRAM = 2**63 - 1


# --- characters ---


@cache
def has_property(char: str, name: str) -> bool:
    """Whether one character has a Unicode property, in the words of a regular expression's \\p{...}."""
    return regex.fullmatch(rf"\p{{{name}}}", char) is not None


def is_letter(char: str) -> bool:
    """Whether the character's category is L*."""
    return has_property(char, "L")


def is_mark(char: str) -> bool:
    """Whether the character is a mark on another one: its category is M*, or it is a half-width sound mark."""
    return has_property(char, "M") or char in HALF_WIDTH_SOUND_MARKS


def is_format(char: str) -> bool:
    """Whether the character is passed over: its category is Cf, and it is not the zero width space."""
    return has_property(char, "Cf") and char != "\u200b"


def is_spaceless(char: str) -> bool:
    """Whether the character is a letter or number of a script that is written without spaces."""
    if not is_letter(char) and not has_property(char, "N"):
        return False
    return char in SPACELESS_EXTRAS or any(has_property(char, f"Script={name}") for name in SPACELESS_SCRIPTS)


def starts_run(char: str) -> bool:
    """Whether a run of an ordinary word can begin with the character."""
    return (is_letter(char) or has_property(char, "Nd")) and not is_spaceless(char) and not is_mark(char)


# --- texts ---


def normalise(text: str | None) -> str:
    """The text without control characters, in NFC, with single spaces and none at the ends."""
    if text is None:
        return ""
    kept = [char for char in text if char.isspace() or unicodedata.category(char) != "Cc"]
    result = ""
    for char in unicodedata.normalize("NFC", "".join(kept)):
        if not char.isspace():
            result += char
        elif not result.endswith(" "):
            result += " "
    return result.strip(" ")


def end_of_marks(text: str, start: int) -> int:
    """The position after the marks that stand at `start`."""
    end = start
    while end < len(text) and is_mark(text[end]):
        end += 1
    return end


def end_of_run(text: str, start: int) -> int:
    """The position after the run that begins at `start`."""
    end = start
    while end < len(text) and (starts_run(text[end]) or is_mark(text[end])):
        end += 1
    return end


def end_of_joined_runs(text: str, start: int) -> int:
    """The position after the run that begins at `start` and all runs joined to it."""
    end = end_of_run(text, start)
    while end + 1 < len(text) and text[end] in JOINERS and starts_run(text[end + 1]):
        end = end_of_run(text, end + 1)
    return end


def words(text: str) -> list[str]:
    """The words of a text, by the default tokenizer."""
    text = "".join(char for char in text if not is_format(char))
    found = []
    position = 0
    while position < len(text):
        if is_spaceless(text[position]):
            end = end_of_marks(text, position + 1)
            found.append(text[position:end])
        elif starts_run(text[position]):
            end = end_of_joined_runs(text, position)
            found.append(text[position:end])
        else:
            end = position + 1
        position = end
    return found


def n_words(text: str) -> int:
    """The number of words by the default tokenizer."""
    return len(words(text))


def n_words_whitespace(text: str) -> int:
    """The number of words between white space."""
    return len(text.split())


def n_words_fasttext(text: str) -> int:
    """The number of words that fastText's reader returns, a byte at a time, until it is at the end."""
    number, inside = 0, False
    for byte in text.encode():
        if byte in b" \n\r\t\v\f\0":
            number += inside + (byte == ord("\n"))
            inside = False
        else:
            inside = True
    return number + inside


def n_chars(text: str) -> int:
    """The number of code points."""
    return len(text)


def script_of(char: str, scripts: Sequence[str]) -> str:
    """The character's script if it is in the list, else "Other"."""
    for name in scripts:
        if has_property(char, f"Script={name}"):
            return name
    return "Other"


def script(text: str, scripts: Sequence[str]) -> str:
    """The script of most letters of the text: one of the list, "Other", or "None" without letters."""
    counts = Counter(script_of(char, scripts) for char in text if is_letter(char))
    if not counts:
        return "None"
    best = "Other"
    for name in reversed(scripts):  # from the last to the first, so that an equal count goes to the earlier one
        if counts[name] >= counts[best]:
            best = name
    return best


# --- URLs ---


def strip_url(url: str | None) -> str:
    """The URL without Unicode white space around it; None is empty."""
    chars = list(url or "")
    while chars and has_property(chars[0], "White_Space"):
        chars.pop(0)
    while chars and has_property(chars[-1], "White_Space"):
        chars.pop()
    return "".join(chars)


def up_to(text: str, stops: str) -> str:
    """The beginning of the text before the first of the stop characters."""
    for position, char in enumerate(text):
        if char in stops:
            return text[:position]
    return text


def without_userinfo(rest: str) -> str:
    """What follows "scheme://", without the userinfo and its "@" if it has them."""
    userinfo = up_to(rest, "/?#@")
    if rest[len(userinfo) :].startswith("@"):
        return rest[len(userinfo) + 1 :]
    return rest


def is_absolute_http(url: str) -> bool:
    """Whether the URL begins with http:// or https://, perhaps userinfo, and a character of a host."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        return False
    first = without_userinfo(rest)[:1]
    return first != "" and first not in "/?#@:" and not has_property(first, "White_Space")


def is_too_long(text: str | None) -> bool:
    """Whether the text's UTF-8 has more than 8 MiB."""
    return len((text or "").encode()) > MAX_BYTES


def reject_reason(url: str | None, alt_text: str | None) -> str | None:
    """Why a raw row is rejected, or None if it is fine."""
    stripped = strip_url(url)
    if stripped == "":
        return "url_missing"
    if is_too_long(stripped) or is_too_long(alt_text):
        return "too_long"
    if any(char <= "\u001f" or char == "\u007f" for char in stripped):
        return "url_control_character"
    if not is_absolute_http(stripped):
        return "url_not_http"
    return None


def is_pair_url(url: str | None) -> str | None:
    """Why the URL alone would be rejected, or None if it is fine."""
    return reject_reason(url, None)


def host(url: str) -> str:
    """The lower-cased host of an absolute URL, without userinfo and port; IPv6 literals keep their brackets."""
    rest = without_userinfo(url.partition("://")[2])
    inside = up_to(rest[1:], "/?#]")
    if rest.startswith("[") and rest[1 + len(inside) :].startswith("]"):
        return f"[{inside}]".lower()
    return up_to(rest, "/?#:").lower()


# --- pairs ---


def hex64(text: str) -> str:
    """xxh3_64 of the text's UTF-8 as 16 lower-case hex digits."""
    return format(xxhash.xxh3_64_intdigest(text.encode()), "016x")


def uid(url: str, alt_text: str) -> str:
    """The pair's key, whose first half is the image's."""
    return hex64(url) + hex64(url + "\0" + alt_text)


def sort_key(value: int | str | None) -> tuple[bool, int | bytes]:
    """A key that puts None after everything and compares strings by their UTF-8 bytes."""
    if value is None:
        return (True, 0)
    return (False, value.encode() if isinstance(value, str) else value)


def opts_out(robots: str | None) -> bool:
    """Whether directives parted by commas hold one that asks not to be used, of everyone or of us."""
    for directive in (robots or "").lower().split(","):
        agent, _, word = (part.strip() for part in directive.partition(":"))
        if agent in OPT_OUTS or (word in OPT_OUTS and agent.split("/")[0] in AGENTS):
            return True
    return False


def smallest_others(rows: list[Row], columns: Sequence[str]) -> Row:
    """The other columns of the row whose tuple of them is the smallest, of those that opt out where any does."""
    rows = [row for row in rows if opts_out(row.get("robots"))] or rows
    first = min(rows, key=lambda row: tuple(sort_key(row[column]) for column in columns))
    return {column: first[column] for column in columns}


def merge(rows: Iterable[Row], columns: Sequence[str] = OTHER_COLUMNS) -> tuple[list[Row], list[Row]]:
    """The unique pairs sorted by uid, and the rejected rows as they came, each with its `reason`."""
    groups: dict[tuple[str, str], list[Row]] = {}
    rejected = []
    for row in rows:
        reason = reject_reason(row["url"], row["alt_text"])
        if reason is not None:
            rejected.append({**row, "reason": reason})
            continue
        # What a list declares as the empty text it does not declare.
        said = {**row, **{column: None for column in OTHER_COLUMNS if row[column] == ""}}
        groups.setdefault((strip_url(row["url"]), normalise(row["alt_text"])), []).append(said)
    pairs = []
    for (url, alt_text), group in groups.items():
        keys = {"uid": uid(url, alt_text), "url": url, "alt_text": alt_text, "copies": len(group)}
        pairs.append({**keys, **smallest_others(group, columns)})
    return sorted(pairs, key=lambda pair: pair["uid"]), rejected


# --- corpus signals ---


def images_per_text(pairs: Sequence[Row]) -> list[int]:
    """For each pair the number of pairs with exactly its text."""
    counts = Counter(pair["alt_text"] for pair in pairs)
    return [counts[pair["alt_text"]] for pair in pairs]


def rows_per_text(pairs: Sequence[Row]) -> list[int]:
    """For each pair the number of input rows with exactly its text: every copy of every pair counts."""
    counts: Counter[str] = Counter()
    for pair in pairs:
        counts[pair["alt_text"]] += pair["copies"]
    return [counts[pair["alt_text"]] for pair in pairs]


def texts_per_image(pairs: Sequence[Row]) -> list[int]:
    """For each pair the number of pairs with exactly its URL."""
    counts = Counter(pair["url"] for pair in pairs)
    return [counts[pair["url"]] for pair in pairs]


def ngrams(text: str) -> list[tuple[str, ...]]:
    """Every unigram and bigram of the lower-cased text, repeated as often as it occurs."""
    tokens = words(text.lower())
    unigrams = [(token,) for token in tokens]
    bigrams = [(tokens[i], tokens[i + 1]) for i in range(len(tokens) - 1)]
    return [*unigrams, *bigrams]


def ngram_counts(texts: Iterable[str]) -> Counter[tuple[str, ...]]:
    """How often each n-gram occurs; `texts` has one text for each unique pair, so equal texts count each time."""
    counts: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        counts.update(ngrams(text))
    return counts


def rarest_ngram(text: str, counts: Counter[tuple[str, ...]]) -> int:
    """The count of the text's least frequent n-gram; 2**63 - 1 for a text without words."""
    return min((counts[ngram] for ngram in ngrams(text)), default=NO_RARE_NGRAM)


def vocabulary(top_k: int, counts: Counter[tuple[str, ...]]) -> tuple[int, int, int | None]:
    """The count c whose vocabulary size is nearest to `top_k`, that size, and the next one beyond `top_k`."""
    sizes = {c: sum(1 for count in counts.values() if count >= c) for c in set(counts.values())}
    if not sizes:
        return (1, 0, None)
    best = min(sizes, key=lambda c: (abs(sizes[c] - top_k), c))
    size = sizes[best]
    if size == top_k:
        return (best, size, None)
    if size > top_k:
        return (best, size, max((other for other in sizes.values() if other < top_k), default=None))
    return (best, size, min((other for other in sizes.values() if other > top_k), default=None))


# --- sizes ---


def min_side(width: int | None, height: int | None) -> int | None:
    """The shorter side, or None unless both sides are known."""
    if width is None or height is None:
        return None
    return min(width, height)


def aspect(width: int | None, height: int | None) -> float | None:
    """The longer side over the shorter one, or None unless both sides are known."""
    if width is None or height is None:
        return None
    return float(max(width, height) / min(width, height))


# --- all signals of a pool without images ---


def signals(pairs: Sequence[Row], scripts: Sequence[str]) -> list[Row]:
    """Each pair's signals by their names; no image has been fetched."""
    counts = ngram_counts(pair["alt_text"] for pair in pairs)
    corpus = zip(pairs, images_per_text(pairs), rows_per_text(pairs), texts_per_image(pairs), strict=True)
    return [
        {
            "n_words": n_words(pair["alt_text"]),
            "images_per_text": images,
            "rows_per_text": appearances,
            "texts_per_image": texts,
            "rarest_ngram": rarest_ngram(pair["alt_text"], counts),
            "min_side": min_side(pair["declared_width"], pair["declared_height"]),
            "aspect": aspect(pair["declared_width"], pair["declared_height"]),
            "script": script(pair["alt_text"], scripts),
            "n_chars": n_chars(pair["alt_text"]),
            "n_words_whitespace": n_words_whitespace(pair["alt_text"]),
            "nsfw": None,
        }
        for pair, images, appearances, texts in corpus
    ]


# --- verdicts ---

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda value, operand: value > operand,
    "ge": lambda value, operand: value >= operand,
    "lt": lambda value, operand: value < operand,
    "le": lambda value, operand: value <= operand,
    "eq": lambda value, operand: value == operand,
    "in": lambda value, operand: value in operand,
    "between": lambda value, operand: operand[0] <= value <= operand[1],
}


def verdict(value: Any, op: str, operand: Any) -> bool | None:
    """Whether the value passes; None (unknown) if it was not measured."""
    if value is None:
        return None
    return OPERATORS[op](value, operand)


def masks_of(pair: Row, rules: Sequence[Rule], off: set[str]) -> Mask:
    """The two masks of one pair: what it fails, and what is unknown."""
    failed = unknown = 0
    for bit, (name, signal, op, operand) in enumerate(rules):
        if name in off:
            continue
        passes = verdict(pair[signal], op, operand)
        if passes is None:
            unknown += 2**bit
        elif not passes:
            failed += 2**bit
    return failed, unknown


def ledger(pairs: Sequence[Row], rules: Sequence[Rule], off: set[str]) -> list[Mask]:
    """The masks (failed, unknown) of each pair; a rule's bit is its position, and one in `off` never sets it."""
    return [masks_of(pair, rules, off) for pair in pairs]


def bits(mask: int, n_rules: int) -> set[int]:
    """The positions of the bits that are set."""
    return {bit for bit in range(n_rules) if (mask >> bit) % 2 == 1}


def rule_counts(rule: int, failed: list[set[int]], unknown: list[set[int]]) -> dict[str, int]:
    """What one rule does to the pool, from every pair's failed and unknown rules."""
    return {
        "fail": sum(1 for fails in failed if rule in fails),
        "fail_only": sum(1 for fails in failed if fails == {rule}),
        "unknown": sum(1 for unknowns in unknown if rule in unknowns),
        "left_after": sum(1 for fails in failed if all(other > rule for other in fails)),
    }


def audit(masks: Sequence[Mask], n_rules: int) -> dict[str, Any]:
    """The totals, the counts of each rule (`rules`), and the pairs that fail both i and j (`overlap[i][j]`)."""
    failed = [bits(mask, n_rules) for mask, _ in masks]
    unknown = [bits(mask, n_rules) for _, mask in masks]
    both = list(zip(failed, unknown, strict=True))
    every = range(n_rules)
    return {
        "pairs": len(masks),
        "kept": sum(1 for fails, unknowns in both if not fails and not unknowns),
        "dropped": sum(1 for fails in failed if fails),
        "pending": sum(1 for fails, unknowns in both if not fails and unknowns),
        "rules": [rule_counts(rule, failed, unknown) for rule in every],
        "overlap": [[sum(1 for fails in failed if i in fails and j in fails) for j in every] for i in every],
    }
