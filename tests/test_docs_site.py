"""The site is built without a warning, and neither needs nor asks the network."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from docs_pages import DOCS

pytest.importorskip("sphinx")
ASSETS = {
    "script": "src",
    "link": "href",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
    "object": "data",
    "base": "href",
}
"""What a browser asks for by itself: element → attribute."""
REMOTE = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
IN_CSS = re.compile(r"(?:url\(|@import)\s*[\"']?\s*(?:https?:)?//", re.IGNORECASE)
GENERATED = ("cli", "signals", "reference/tables", "reference/recipes", "reference/python")


class Assets(HTMLParser):
    """Collects what a page makes a browser ask for, and the text of its links to other pages."""

    def __init__(self) -> None:
        super().__init__()
        self.assets: list[str] = []
        self.pages: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.assets += [value for key in (ASSETS.get(tag), "srcset") if key and (value := values.get(key))]
        if tag == "a" and (target := values.get("href")):
            self.pages.append(target)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    options = ["-W", "--keep-going", "--quiet", "--nitpicky", "-d", str(out / "doctrees")]
    command = [sys.executable, "-m", "sphinx", *options, "-b", "html", str(DOCS), str(out / "html")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out / "html"


def test_every_page_is_in_the_site(site: Path) -> None:
    pages = {
        page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.rglob("*.md") if "_build" not in page.parts
    }
    assert pages <= {page.relative_to(site).with_suffix("").as_posix() for page in site.rglob("*.html")}
    assert pages >= set(GENERATED)


def test_the_site_asks_no_network(site: Path) -> None:
    count = 0
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        found = Assets()
        found.feed(text)
        count += len(found.assets)
        assert [asset for asset in found.assets if REMOTE.match(asset)] == [], page.name
        assert not IN_CSS.search(text), page.name
    assert count > 100
    for style in site.rglob("*.css"):
        assert not IN_CSS.search(style.read_text(encoding="utf-8")), style.name


def test_remote_assets_would_be_seen() -> None:
    remote = Assets()
    remote.feed('<script src="https://a/b.js"></script><link href="//a/b.css"><img src="_static/a.png">')
    assert [bool(REMOTE.match(asset)) for asset in remote.assets] == [True, True, False]
    assert IN_CSS.search('@import url("https://a/b.css")')
    assert not IN_CSS.search('url("../a.woff")')


def test_python_is_documented_from_its_docstrings(site: Path) -> None:
    page = (site / "reference" / "python.html").read_text(encoding="utf-8")
    for name in ("align_data.open", "verdicts", "audit", "save", "AlignDataError"):
        assert name in page
