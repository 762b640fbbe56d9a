"""What a page's images become, by html5lib's parser and code of its own, from the definition of a pair alone."""

import re
from collections import Counter

import ada_url
import html5lib
from html5lib.constants import namespaces

HTML = f"{{{namespaces['html']}}}"
SPACE = " \t\n\f\r"
LAZY = ["data-src", "data-original", "data-lazy-src", "data-lazy", "data-img-src"]
BLOCKS = re.compile(
    "address|article|aside|blockquote|caption|center|dd|details|dialog|dir|div|dl|dt|fieldset|figcaption|figure|footer|form"
    "|h[1-6r]|header|hgroup|legend|li|listing|main|menu|nav|ol|option|p|plaintext|pre|search|section|summary|table|tbody"
    "|td|tfoot|th|thead|tr|ul|xmp"
)


def candidates(text):
    """Yield the URLs and descriptors of a srcset, by the standard's algorithm, letter by letter."""
    at = 0
    while True:
        while at < len(text) and text[at] in SPACE + ",":
            at += 1
        if at >= len(text):
            return
        start = at
        while at < len(text) and text[at] not in SPACE:
            at += 1
        url, descriptors = text[start:at], []
        if url.endswith(","):
            yield url.rstrip(","), []
            continue
        current, state = "", "in"
        while at < len(text):
            char = text[at]
            if state == "parens":
                current += char
                state = "in" if char == ")" else state
            elif char in SPACE:
                descriptors += [current] if current else []
                current = ""
            elif char == ",":
                break
            else:
                current += char
                state = "parens" if char == "(" else state
            at += 1
        at += 1
        yield url, descriptors + ([current] if current else [])


def candidate_size(descriptors):
    words = sorted((word[-1], word[:-1]) for word in descriptors)
    whole = all(number.isdigit() and int(number) for _, number in words)
    match [unit for unit, _ in words]:
        case []:
            return False, 1.0
        case ["w"] | ["h", "w"] if whole:
            return True, float(words[-1][1])
        case ["x"] if re.fullmatch(r"(\d+|\d*\.\d+)(e\d+)?", words[0][1]):
            return False, float(words[0][1])
    return None


def largest(srcset):
    sizes = [(size, url) for url, descriptors in candidates(srcset or "") if (size := candidate_size(descriptors))]
    return max(sizes, key=lambda candidate: candidate[0], default=(None, None))[1]


def without_ends(value):
    while value and (value[0] <= " " or value[0].isspace()):
        value = value[1:]
    while value and (value[-1] <= " " or value[-1].isspace()):
        value = value[:-1]
    return value


def resolve(base, value):
    """Return a URL and None, or None and the reason why there is none."""
    value = without_ends(value or "")
    flat = "".join(char for char in value if char not in "\t\r\n")
    scheme = re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:", flat)
    word = scheme[0][:-1].lower() if scheme else "http"
    if not flat:
        return None, "url_missing"
    if word not in ("http", "https"):
        return None, f"{word}_url" if word in ("data", "javascript", "blob", "cid", "about") else "not_http"
    if "{{" in flat:
        return None, "template_url"
    if len(flat) > 2048:
        return None, "url_too_long"
    if re.search(r"\s[0-9.]+[wx]\s*($|,\s*\S*/)", value):
        return None, "srcset_as_url"
    try:
        joined = ada_url.join_url(base, flat)
    except ValueError:
        return None, "url_invalid"
    host = flat.partition("://")[2].split("/")[0].split("?")[0].split("#")[0]
    plain = host and "\\" not in host and host.count("@") < 2 and host[0] not in ":@" and not host.endswith("@")
    if scheme and plain and not re.search(r"[\x00-\x1f\x7f]", flat):
        return flat, None
    return (joined, None) if len(joined) <= 2048 else (None, "url_too_long")


def line(text):
    kept = "".join(char for char in text if char.isspace() or not (char < " " or "\x7f" <= char <= "\x9f"))
    return " ".join(kept.split())


class Oracle:
    """The rows of a page as tuples of their columns, its facts, and its account."""

    def __init__(self, page_url, text, texts=("alt",)):
        root = html5lib.parse(text, treebuilder="etree", scripting=False)
        self.parents = {child: parent for parent in root.iter() for child in parent}
        self.order = [each for each in root.iter() if isinstance(each.tag, str) and each.tag.startswith(HTML)]
        self.order = [
            each for each in self.order if not any(self.is_a(around, "template") for around in self.around(each))
        ]
        bases = [href for each in self.all("base") if (href := each.get("href")) is not None]
        self.base = page_url
        if bases:
            joined = self.joined(page_url, bases[0])
            self.base = joined if joined and re.match("https?:", joined) else page_url
        self.language = line(root.get("lang", "")) or None
        licenses = [
            url
            for each in self.order
            if any(self.is_a(each, tag) for tag in ("a", "area", "link"))
            and "license" in re.split(f"[{SPACE}]+", each.get("rel", "").lower())
            if (url := resolve(self.base, each.get("href"))[0])
        ]
        self.license = licenses[0] if licenses else None
        self.rows, self.refused, self.repeated, self.further, seen = [], Counter(), 0, 0, set()
        self.images = self.all("img")
        for position, image in enumerate(self.images):
            self.judge(image, position, texts, seen)

    def judge(self, image, position, texts, seen):
        values = {"alt": image.get("alt"), "title": image.get("title"), "caption": self.caption(image)}
        chosen = [(line(values[kind]), kind) for kind in texts if values[kind] is not None and line(values[kind])]
        if not chosen:
            self.refused[f"{texts[0]}_{'missing' if values[texts[0]] is None else 'empty'}"] += 1
            return
        value, url_from = self.source(image)
        url, reason = resolve(self.base, value)
        if reason:
            self.refused[reason] += 1
            return
        self.further += len(chosen) - 1
        best = largest(image.get("data-srcset") or image.get("srcset"))
        sizes = [self.size(image.get(name)) for name in ("width", "height")]
        for text, kind in chosen:
            if (url, text) in seen:
                self.repeated += 1
                continue
            seen.add((url, text))
            beside = [line(values[name] or "") or None for name in ("title", "caption")]
            self.rows.append(
                (url, text, kind, *beside, *sizes, url_from, best and resolve(self.base, best)[0], position)
            )

    @staticmethod
    def joined(base, url):
        try:
            return ada_url.join_url(base, url)
        except ValueError:
            return None

    @staticmethod
    def size(value):
        value = (value or "").strip(SPACE).removeprefix("+")
        return int(value) if value.isascii() and value.isdigit() and len(value) < 11 and int(value) < 2**31 else None

    @staticmethod
    def is_a(element, tag):
        return element.tag == HTML + tag

    def all(self, tag):
        return [each for each in self.order if self.is_a(each, tag)]

    def around(self, element):
        while (element := self.parents.get(element)) is not None:
            yield element

    def figure(self, element):
        return next((each for each in self.around(element) if self.is_a(each, "figure")), None)

    def caption(self, image):
        figure = self.figure(image)
        captions = [each for each in self.all("figcaption") if figure is not None and self.figure(each) is figure]
        return "".join(self.words(captions[0])) if captions else None

    def words(self, element):
        tag = element.tag.removeprefix(HTML) if isinstance(element.tag, str) else None
        if tag == "br":
            yield " "
        if tag in ("script", "style", "template", None):
            return
        edge = " " if BLOCKS.fullmatch(tag) else ""
        yield edge + (element.text or "")
        for child in element:
            yield from self.words(child)
            yield child.tail or ""
        yield edge

    def source(self, image):
        def usable(value):
            return value and not re.match(r"($|data:|about:)", value.strip(), re.I)

        options = [(image.get(name), name) for name in ["src", *LAZY]]
        options += [(largest(image.get(name)), name) for name in ("data-srcset", "srcset")]
        picture = self.parents.get(image)
        for child in picture if picture is not None and self.is_a(picture, "picture") else ():
            if child is image:
                break
            if self.is_a(child, "source"):
                options += [(largest(child.get(name)), "source") for name in ("data-srcset", "srcset")]
        return next(((value, name) for value, name in options if usable(value)), options[0])
