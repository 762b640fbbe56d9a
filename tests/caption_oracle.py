"""What the statistics of a caption are, in plain Python: written from their definitions, without align_data's code."""

from __future__ import annotations

import html.entities
import math
import re
from collections import Counter

from oracle import has_property, is_letter, is_mark, words

STOPS = set(",;:?!.")
EXTENSIONS = ("jpg", "jpeg", "jfif", "png", "gif", "webp", "bmp", "tif", "tiff", "svg", "avif", "heic", "ico")


def is_core(char: str) -> bool:
    """Whether the character is a letter, or a mark that stands on letters."""
    if is_letter(char):
        return True
    return is_mark(char) and not has_property(char, "Me") and not has_property(char, "Variation_Selector")


def is_upper(char: str) -> bool:
    """Whether the character is an upper-case or a title-case letter."""
    return has_property(char, "Lu") or has_property(char, "Lt")


def share(part: int, whole: int) -> float:
    """The share, 0 of nothing."""
    return part / whole if whole else 0.0


def lower(text: str) -> str:
    """Each character in lower case by itself, as far as that is one character."""
    return "".join(char.lower() if len(char.lower()) == 1 else char for char in text)


def stripped(text: str) -> list[str]:
    """What stands between blanks, without what is no letter at both ends."""
    tokens = []
    for token in text.split(" "):
        cores = [place for place, char in enumerate(token) if is_core(char)]
        if cores:
            tokens.append(token[cores[0] : cores[-1] + 1])
    return tokens


def caption_words(text: str) -> list[str]:
    """The same in lower case."""
    return [lower(token) for token in stripped(text)]


def capital_words(text: str) -> float:
    """The share of the words that begin in upper case."""
    tokens = stripped(text)
    return share(sum(is_upper(token[0]) for token in tokens), len(tokens))


def lower_words(text: str) -> list[str]:
    """The words of the default tokenizer."""
    return words(text.lower())


def word_repeat(text: str) -> float:
    """The share of the most frequent word, if it occurs twice."""
    counts = Counter(lower_words(text))
    most = max(counts.values(), default=0)
    return share(most, counts.total()) if most > 1 else 0.0


def unique_words(text: str) -> float:
    """Different words to a word."""
    return share(len(set(lower_words(text))), len(lower_words(text)))


def word_repetition_5(text: str) -> float:
    """The share of the five-word runs that are there more than once."""
    tokens = caption_words(text)
    counts = Counter(tuple(tokens[at : at + 5]) for at in range(len(tokens) - 4))
    return share(sum(count for count in counts.values() if count > 1), counts.total())


def char_repetition_10(text: str) -> float:
    """The share of the most frequent repeated ten-character runs."""
    counts = Counter(text[at : at + 10] for at in range(len(text) - 9))
    repeated = sorted((count for count in counts.values() if count > 1), reverse=True)
    return share(sum(repeated[: math.isqrt(len(counts))]), counts.total())


def stop_words(text: str, stops: set[str]) -> float:
    """The share of the words that are in a list."""
    tokens = caption_words(text)
    return share(sum(token in stops for token in tokens), len(tokens))


def special_characters(text: str) -> float:
    """The share of the characters that are no letters."""
    return share(sum(not is_core(char) for char in text), len(text))


def punctuation(text: str) -> float:
    """The share of marks among runs and marks."""
    return share(sum(char in STOPS for char in text), runs_and_marks(text))


def runs_and_marks(text: str) -> int:
    """The number of runs of letters, marks and numbers, and of marks of punctuation."""
    runs = 0
    inside = False
    for char in text:
        was, inside = inside, is_letter(char) or is_mark(char) or has_property(char, "N") or char in "_'"
        runs += inside and not was
    return runs + sum(char in STOPS for char in text)


def digits(text: str) -> float:
    """The share of the characters that are decimal digits."""
    return share(sum(has_property(char, "Nd") for char in text), len(text))


def upper_case(text: str) -> float:
    """The share of the letters that are upper case."""
    return share(sum(is_upper(char) for char in text), sum(is_letter(char) for char in text))


def longest_word(text: str) -> int:
    """The length of the longest token between blanks."""
    return max(len(token) for token in text.split(" "))


def first_capital(text: str) -> bool:
    """Whether the first letter or digit is upper case."""
    for char in text:
        if is_letter(char) or has_property(char, "Nd"):
            return is_upper(char)
    return False


def han_characters(text: str) -> int:
    """The number of Han characters."""
    return sum(has_property(char, "Script=Han") for char in text)


def words_of_digits(text: str) -> float:
    """The share of the words with a digit."""
    tokens = words(text)
    return share(sum(any(has_property(char, "Nd") for char in token) for token in tokens), len(tokens))


def entities(text: str) -> int:
    """The number of character references, by cutting the text at each ampersand."""
    references = 0
    for after in text.split("&")[1:]:
        name, semicolon, _ = after.partition(";")
        if not semicolon:
            continue
        is_number = re.fullmatch("#[0-9]+", name) or re.fullmatch("#[xX][0-9a-fA-F]+", name)
        references += bool(is_number) or f"{name};" in html.entities.html5
    return references


def file_name(text: str) -> bool:
    """Whether an image's extension stands behind a character of a name, and nothing that goes on with it."""
    for place, char in enumerate(text):
        before = text[place - 1 : place]
        if char != "." or not before or not (is_letter(before) or is_mark(before) or is_name(before)):
            continue
        for extension in EXTENSIONS:
            behind = text[place + 1 + len(extension) :][:1]
            if _ascii_lower(text[place + 1 :][: len(extension)]) == extension and not (behind and is_part(behind)):
                return True
    return False


def is_name(char: str) -> bool:
    """Whether the character can stand before an extension, beside letters."""
    return has_property(char, "N") or char in "_)]-"


def is_part(char: str) -> bool:
    """Whether an extension goes on with the character."""
    return is_letter(char) or has_property(char, "N")


def slug(text: str) -> int:
    """The number of joints between the parts of a slug."""
    parts = re.split("[-_]+", text)
    is_slug = all(parts) and all(is_part(char) or is_mark(char) for part in parts for char in part)
    return len(parts) - 1 if is_slug else 0


ELEMENTS = """
    a abbr acronym address applet area article aside audio b base basefont bdi bdo bgsound big blink blockquote body br
    button canvas caption center cite code col colgroup data datalist dd del details dfn dialog dir div dl dt em embed
    fieldset figcaption figure font footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html i iframe img
    input ins isindex kbd keygen label legend li link listing main map mark marquee math menu menuitem meta meter nav nobr
    noframes noscript o:p object ol optgroup option output p param picture plaintext portal pre progress q rb rp rt rtc
    ruby s samp script search section select slot small source span strike strong style sub summary sup svg table tbody
    td template textarea tfoot th thead time title tr track tt u ul var video wbr xmp
"""


def markup(text: str) -> int:
    """The number of comments, and of tags by going through the text once."""
    comments = 0
    rest = text
    while "<!--" in rest and "-->" in rest.partition("<!--")[2]:
        rest = rest.partition("<!--")[2].partition("-->")[2]
        comments += 1
    tags = place = 0
    while (place := text.find("<", place)) >= 0:
        end = end_of_tag(text, place)
        tags += end > 0
        place = end if end > 0 else place + 1
    return comments + tags


def end_of_tag(text: str, start: int) -> int:
    """Where the tag that begins at `start` ends; 0 for none."""
    place = start + 1 + text[start + 1 :].startswith("/")
    begin = place
    while place < len(text) and text[place] not in "/>" and not text[place].isspace():
        place += 1
    if _ascii_lower(text[begin:place]) not in ELEMENTS.split() or place == len(text):
        return 0
    if text[place] == ">":
        return place + 1
    return quoted_end(text, place) or plain_end(text, place)


def quoted_end(text: str, place: int) -> int:
    """Behind the first `>` outside quotation marks; 0 where there is none before a `<`."""
    while (place := place + 1) < len(text) and text[place] != "<":
        if text[place] == ">":
            return place + 1
        if text[place] in "'\"":
            place = text.find(text[place], place + 1)
            if place < 0:
                return 0
    return 0


def plain_end(text: str, place: int) -> int:
    """Behind the first `>`, or the end of a text that cuts off an attribute; 0 where there is none before a `<`."""
    rest = text[place + 1 :]
    attributes, closed, _ = rest.partition(">")
    if "<" in attributes:
        return 0
    if closed:
        return place + 1 + len(attributes) + 1
    return len(text) if text[place].isspace() and "=" in attributes else 0


def url_in_text(text: str) -> bool:
    """Whether a URL begins anywhere."""
    for place in range(len(text)):
        rest = text[place:]
        for scheme in ("http://", "https://", "ftp://"):
            behind = rest[len(scheme) :][:1]
            if _ascii_lower(rest[: len(scheme)]) == scheme and behind and not behind.isspace():
                return True
        starts = not place or not is_part(text[place - 1])
        if starts and _ascii_lower(rest[:4]) == "www." and rest[4:5] and is_part(rest[4]):
            return True
    return False


def _ascii_lower(text: str) -> str:
    """The text with its ASCII letters in lower case."""
    return text.encode().lower().decode()


def url_path_words(url: str) -> int:
    """The number of runs of two letters or more in the path without its extension."""
    _, scheme, rest = url.partition("://")
    path = re.split("[?#]", rest)[0].partition("/")[2] if scheme else ""
    path = re.sub(r"\.[A-Za-z0-9]{1,5}\Z", "", path)
    encoded = re.sub("%[89A-Fa-f][0-9A-Fa-f]", "\N{LATIN SMALL LETTER E WITH ACUTE}", path)
    in_runs = "".join(char if is_letter(char) or is_mark(char) else " " for char in encoded)
    return sum(len(run) > 1 for run in in_runs.split(" "))


def folded(text: str) -> str:
    """The text's letters in lower case and a 0 for each number, in runs between single blanks."""
    visible = "".join(char for char in text if not has_property(char, "Cf") or char == "\u200b").lower()
    characters, after_digit = [], False
    for char in visible:
        is_digit = has_property(char, "Nd")
        if is_digit and not after_digit:
            characters.append("0")
        elif not is_digit:
            characters.append(char if is_core(char) else " ")
        after_digit = is_digit
    return " ".join("".join(characters).split())
