"""An image's URL on a page, made absolute as browsers do (WHATWG's URL standard), or the reason why it is none."""

from __future__ import annotations

import re

from ada_url import check_url, join_url, normalize_url

MAX_URL = 2_048
"""Characters; what is longer is hardly ever an address."""

# What browsers strip, and all other white space, as ingest does.
_ENDS = "".join(letter for letter in map(chr, range(0x3001)) if letter <= " " or letter.isspace())
_DROPPED = str.maketrans("", "", "\t\n\r")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_REFUSED_SCHEMES = {scheme: f"{scheme}_url" for scheme in ("data", "javascript", "blob", "cid", "about")}
# As data/pairs has it: with a host, and at most one @ before it; and no backslash, which ends a host in browsers.
_ABSOLUTE = re.compile(r"https?://(?:[^/?#@\\]*@)?[^/?#@:\\\s][^/?#@\\]*(?:[/?#]|$)", re.IGNORECASE | re.ASCII)
_SRCSET = re.compile(r"\s\d+(?:\.\d+)?[wx]\s*(?:$|,\s*\S*/)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

# Nearly all URLs are plain enough for one expression to tell what the standard's algorithm would return: nothing to be
# encoded, no capital in the host, no dot segment, no default port; and no punycode, which is looked for apart.
_HOST = r"(?:[a-z0-9-]+\.)+[a-z][a-z0-9-]*"
_PLAIN_ABSOLUTE = re.compile(rf"https?://{_HOST}(?::[0-9]{{1,4}})?(?:[/?#][!-\[\]-z|}}~]*)?")
_FIRST = r"-A-Za-z0-9_~!$&()*+,;=@"
_PATH = rf"(?:/(?:[{_FIRST}:][{_FIRST}:.%]*)?)"
_PLAIN_RELATIVE = re.compile(
    rf"(?:(?P<host>//{_HOST}{_PATH}+)|(?P<root>(?!//){_PATH}+)|[{_FIRST}][{_FIRST}.%]*{_PATH}*)"
    rf"(?:\?[{_FIRST}:.%/?]*)?"
)
_PLAIN_PAGE = re.compile(rf"https?://{_HOST}{_PATH}+(?:\?[{_FIRST}:.%/?]*)?")
_PUNYCODE = "xn--"


class Base:
    """What the relative URLs of a page are resolved against: its first base, if that is http(s), else its own URL."""

    __slots__ = ("_before", "href")

    def __init__(self, page_url: str, href: str | None = None) -> None:
        self.href = _http(page_url)
        if href is not None:
            self.href = _http(href, self.href) or self.href
        # In a URL that the standard has written, the first slash behind the host begins the path.
        scheme, slash = self.href.find(":") + 1, self.href.find("/", len("https://"))
        path = self.href.partition("?")[0].partition("#")[0]
        self._before = {
            "host": self.href[:scheme],
            "root": self.href[:slash],
            None: path[: path.rfind("/") + 1],
        }

    def resolve(self, value: str | None) -> tuple[str, str]:
        """Return an attribute's value as an absolute http(s) URL and "", or "" and the reason why it is refused.

        An absolute one stays as it is, but for white space around it, and the tabs and line ends that browsers drop.
        """
        if value is None:
            return "", "url_missing"
        if value.startswith("data:"):
            return "", "data_url"
        if len(value) <= MAX_URL and _PUNYCODE not in value:
            if _PLAIN_ABSOLUTE.fullmatch(value):
                return value, ""
            plain = _PLAIN_RELATIVE.fullmatch(value)
            if plain and self.href:
                url = self._before[plain.lastgroup] + value
                return (url, "") if len(url) <= MAX_URL else ("", "url_too_long")
        return self._resolve_any(value)

    def _resolve_any(self, value: str) -> tuple[str, str]:
        written = value.strip(_ENDS)
        url = written.translate(_DROPPED) if _CONTROL.search(written) else written
        reason = _refusal(written, url)
        if reason:
            return "", reason
        if _ABSOLUTE.match(url) and not _CONTROL.search(url):
            return (url, "") if check_url(url) else ("", "url_invalid")
        try:
            url = join_url(self.href, url) if self.href else normalize_url(url)
        except ValueError:
            return "", "url_invalid"
        if not url.startswith(("http://", "https://")):
            return "", "not_http"
        return (url, "") if len(url) <= MAX_URL else ("", "url_too_long")


def _refusal(written: str, url: str) -> str | None:
    """Return why a value cannot be the URL of an image on the web, by its form; `url` is it without line ends."""
    if not url:
        return "url_missing"
    scheme = _SCHEME.match(url)
    if scheme and scheme[1].lower() not in {"http", "https"}:
        return _REFUSED_SCHEMES.get(scheme[1].lower(), "not_http")
    if "{{" in url:
        return "template_url"
    if len(url) > MAX_URL:
        return "url_too_long"
    return "srcset_as_url" if _SRCSET.search(written) else None


def _http(url: str, base: str = "") -> str:
    """Return a URL as the standard writes it; "" if it is not http(s)."""
    if len(url) > MAX_URL:
        return ""
    if _PLAIN_PAGE.fullmatch(url) and _PUNYCODE not in url:
        return url
    try:
        href = join_url(base, url) if base else normalize_url(url)
    except ValueError:
        return ""
    return href if href.startswith(("http://", "https://")) else ""
