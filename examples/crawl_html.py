"""HTML in the making, and beside it what the WAT of Common Crawl says of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape

_LINKS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "a": ("href", ("target", "alt", "title", "rel", "hreflang", "type")),
    "area": ("href", ("rel",)),
    "form": ("action", ("target", "method")),
    "img": ("src", ("alt", "title")),
}
"""Of a WAT's links: the attribute with the URL, and the attributes that are kept beside it."""
_BARE_LINKS: Mapping[str, tuple[str, ...]] = {
    "audio": ("src",),
    "blockquote": ("cite",),
    "button": ("formaction",),
    "embed": ("src",),
    "iframe": ("src",),
    "img": ("longdesc",),
    "input": ("src", "formaction"),
    "source": ("src",),
    "video": ("src", "poster"),
}
_HEAD_LINKS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "link": ("Link", "href", ("rel", "type")),
    "script": ("Scripts", "src", ("type",)),
}
_META = ("name", "rel", "content", "http-equiv", "property")
_GLOBAL = ("background", "data-href", "data-uri")
_LONGEST_TEXT = 128
"""Characters of a title or an anchor that a WAT keeps."""


class Html:
    """A page in the making: its HTML, and what a WAT says of it."""

    def __init__(self) -> None:
        self._written: list[str] = []
        self._head: dict[str, object] = {}
        self._links: list[dict[str, str]] = []
        self._anchors: list[tuple[dict[str, str], list[str]]] = []

    def open(self, name: str, attributes: Mapping[str, str] | None = None, **spelt: str) -> None:
        """Open an element; attributes are values, but for those that are spelt: these are markup as it stands."""
        values = dict(attributes or {})
        written = {key: spelt.get(key.replace("-", "_"), escape(value)) for key, value in values.items()}
        self._written.append("".join((f"<{name}", *(f' {key}="{value}"' for key, value in written.items()), ">")))
        self.note(name, values)

    def close(self, name: str) -> None:
        """Close an element."""
        self._written.append(f"</{name}>")
        if name == "a" and self._anchors:
            link, texts = self._anchors.pop()
            if text := " ".join("".join(texts).split())[:_LONGEST_TEXT]:
                link["text"] = text
            if link.get("path"):
                self._links.append(link)

    def text(self, text: str) -> None:
        """Write text."""
        self._written.append(escape(text, quote=False))
        for _, texts in self._anchors:
            texts.append(text)

    def element(self, name: str, text: str, attributes: Mapping[str, str] | None = None) -> None:
        """Write an element that holds text alone."""
        if name == "title":
            self._head.setdefault("Title", text[:_LONGEST_TEXT])
        self.open(name, attributes)
        self.text(text)
        self.close(name)

    def markup(self, markup: str) -> None:
        """Write markup of which a WAT says nothing: comments, styles, scripts, closing tags."""
        self._written.append(markup)

    def note(self, name: str, values: Mapping[str, str]) -> None:
        """Note an element for the WAT alone, where its markup was written otherwise."""
        tag = name.upper()
        self._links.extend({"path": f"{tag}@/{key}", "url": _cut(values[key])} for key in _GLOBAL if key in values)
        if name in _HEAD_LINKS and _HEAD_LINKS[name][1] in values:
            where, key, beside = _HEAD_LINKS[name]
            self._of_head(where, _link(tag, key, beside, values))
        elif name == "meta":
            self._of_head("Metas", {key: values[key] for key in _META if key in values})
        elif name == "html":
            for key in ("lang", "xml:lang"):
                if key in values:
                    self._of_head("Metas", {"name": f"HTML@/{key}", "content": values[key]})
        elif name == "base" and "href" in values:
            self._head["Base"] = values["href"]  # the last one stays
        elif name == "a":
            self._anchors.append((_link(tag, *_LINKS["a"], values) if "href" in values else {}, []))
        elif name in _LINKS and _LINKS[name][0] in values:
            self._links.append(_link(tag, *_LINKS[name], values))
        bare = (key for key in _BARE_LINKS.get(name, ()) if key in values)
        self._links.extend({"path": f"{tag}@/{key}", "url": _cut(values[key])} for key in bare)

    def _of_head(self, where: str, entry: dict[str, str]) -> None:
        entries = self._head.setdefault(where, [])
        assert isinstance(entries, list)
        entries.append(entry)

    def html(self) -> str:
        """Return the page."""
        return "".join(self._written)

    def metadata(self) -> str:
        """Return what a WAT says of the page, as JSON."""
        return as_json({"Head": self._head, "Links": self._links} if self._links else {"Head": self._head})


def _link(tag: str, key: str, beside: Iterable[str], values: Mapping[str, str]) -> dict[str, str]:
    return {"path": f"{tag}@/{key}", "url": _cut(values[key])} | {
        name: values[name] for name in beside if name in values
    }


def _cut(url: str) -> str:
    """Return a URL as a WAT has it: of a data URL, which can be long, only what comes before the data."""
    return url[: url.find(",", 0, _LONGEST_TEXT) + 1 or _LONGEST_TEXT] if url.startswith("data:") else url


def as_json(value: object) -> str:
    """Return JSON as a WAT has it: no blanks, every character as it is."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
