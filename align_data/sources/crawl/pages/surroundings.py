"""What an image on a page is in: a figure with its caption, a picture with its sources, a template that nobody sees.

Pages are strangers': however they are nested, an element is looked at once for each question, and a long caption is not
read to its end.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from turbohtml import Document, DocumentFragment, Element, Namespace, Node, Text

from align_data.sources.crawl.pages.images import MAX_CAPTION
from align_data.sources.crawl.pages.srcset import largest
from align_data.sources.crawl.pages.texts import collapsed

SRCSETS = ("data-srcset", "srcset")
"""Attributes of candidates; scripts put the first in the place of the second."""
_PLACEHOLDER = re.compile(r"\s*(?:$|data:|about:)", re.IGNORECASE)
_UNSEEN = ("script", "style")
_BLOCKS = frozenset(
    re.findall(
        r"\w+",
        """
        address article aside blockquote caption center dd details dialog dir div dl dt fieldset figcaption figure
        footer form h1 h2 h3 h4 h5 h6 header hgroup hr legend li listing main menu nav ol option p plaintext pre search
        section summary table tbody td tfoot th thead tr ul xmp
        """,
    )
)
"""Elements that begin a line of their own, or a cell."""
MAX_CAPTIONS = 1_000_000
"""Nodes and characters of all captions of a page: they can stand in each other, and each has what is inside."""
_OVERLONG = " " * (MAX_CAPTION + 1)


def is_placeholder(value: str) -> bool:
    """Tell whether an attribute for an image's URL is blank, or holds what is shown until a script sets another."""
    return _PLACEHOLDER.match(value) is not None


def candidate(element: Element, srcset: str) -> str | None:
    """Return the largest candidate of an attribute such as srcset; None without one that may be an image's URL."""
    value = element.attr(srcset)
    url = largest(value) if value else None
    return url if url and not is_placeholder(url) else None


class Surroundings:
    """Answers what the elements of a page are in."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._templates = _Nearest(document, lambda node: isinstance(node, DocumentFragment))
        self._figures = _Nearest(document, lambda node: _is(node, "figure"))
        self._blocks = _Nearest(document, lambda node: isinstance(node, Element) and node.tag in _BLOCKS)
        self._has_templates = document.find("template") is not None
        self._has_pictures = document.find("picture") is not None
        self._figcaptions: dict[Node, Element] = {}
        for figcaption in self.elements("figcaption"):
            figure = self._figures.of(figcaption)
            if figure is not None:
                self._figcaptions.setdefault(figure, figcaption)
        self._captions: dict[Node, str] = {}
        self._looked_at = 0
        self._sources: dict[Node, dict[Node, str | None]] = {}

    def elements(self, tag: str) -> list[Element]:
        """Return the page's elements with this tag that it shows, in the order of the document."""
        return [element for element in self._document.find_all(tag) if self.shows(element)]

    def shows(self, element: Element) -> bool:
        """Tell whether an element is one of HTML, and not in a template."""
        return element.namespace is Namespace.HTML and not self._in_template(element)

    def _in_template(self, node: Node) -> bool:
        return self._has_templates and self._templates.of(node) is not None

    def caption(self, image: Element) -> str | None:
        """Return the text of the first figcaption of the nearest figure, with white space between lines and cells.

        None where that has no figcaption; an overlong text for one of more nodes than are looked at.
        """
        figure = self._figures.of(image) if self._figcaptions else None
        if figure is None or figure not in self._figcaptions:
            return None
        if figure not in self._captions:
            text = self._text(self._figcaptions[figure])
            self._captions[figure] = _OVERLONG if text is None else collapsed(text)
        return self._captions[figure]

    def _text(self, figcaption: Element) -> str | None:
        """Return the text; None for one of more characters or nodes than are looked at."""
        texts: list[str] = []
        size, block = 0, None
        for number, node in enumerate(figcaption.descendants, start=1):
            self._looked_at += 1
            if max(number, size) > MAX_CAPTION or self._looked_at > MAX_CAPTIONS:
                return None
            if _is(node, "br"):
                texts.append("\n")
            if not isinstance(node, Text) or self._in_template(node) or _is(node.parent, *_UNSEEN):
                continue
            before, block = block, self._blocks.of(node)
            if texts and block is not before:
                texts.append("\n")
            texts.append(node.data)
            size += len(texts[-1])
            self._looked_at += len(texts[-1])
        return "".join(texts) if size <= MAX_CAPTION else None

    def source(self, image: Element) -> str | None:
        """Return the candidate of the first source before an image in its picture that has one."""
        picture = image.parent if self._has_pictures else None
        if picture is None or not _is(picture, "picture"):
            return None
        if picture not in self._sources:
            sources: dict[Node, str | None] = {}
            first = None
            for child in picture:
                if _is(child, "img"):
                    sources[child] = first
                elif first is None and isinstance(child, Element) and _is(child, "source"):
                    first = next(filter(None, (candidate(child, srcset) for srcset in SRCSETS)), None)
            self._sources[picture] = sources
        return self._sources[picture].get(image)


class _Nearest:
    """The nearest node around another, itself included, that a test is true of; every node is tested once."""

    def __init__(self, document: Document, test: Callable[[Node], bool]) -> None:
        self._test = test
        self._nearest: dict[Node, Node | None] = {document: None}

    def of(self, node: Node) -> Node | None:
        """Return it; None if there is none."""
        nearest, path = self._nearest, []
        at: Node | None = node
        while at is not None and at not in nearest:
            path.append(at)
            at = at.parent
        around = nearest[at] if at is not None else None
        for each in reversed(path):
            around = nearest[each] = each if self._test(each) else around
        return around


def _is(node: Node | None, *tags: str) -> bool:
    return isinstance(node, Element) and node.tag in tags and node.namespace is Namespace.HTML
