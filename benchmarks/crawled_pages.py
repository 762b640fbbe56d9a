"""Pages of our own making with planted truth: of every image element, what row it makes, or why it makes none.

`modern` pages are as a content management system writes them, about 95 kB with 36 images, lazily loaded and responsive
ones among them; `linked` pages have many links, `plain` ones text, and both few images; `odd` pages have one image of
everything that is refused or unusual. Words are drawn from lists of our own making in several scripts. Nothing is
parsed: a page's truth is written down as the page is, so it shares no code with what reads it.
"""

from __future__ import annotations

import base64
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
from crawl_archives import Page
from crawl_html import Html
from made_words import SYLLABLES, Words
from planted_truth import PlantedImage, PlantedPage, Truth, in_wat, row

_LANGUAGES = ("en",) * 10 + tuple(SYLLABLES)


class PageMaker:
    """Makes pages from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._words = {language: Words(self._random, language) for language in SYLLABLES}
        self._pages = 0

    def page(self, kind: str) -> PlantedPage:
        """Make a page of a kind: modern, linked, plain or odd."""
        self._pages += 1
        language = self._random.choice(_LANGUAGES)
        writing = _Writing(self._random, self._words[language], f"site{self._pages}.example", language)
        getattr(writing, kind)()
        return writing.finish()

    def other(self) -> PlantedPage:
        """Make an answer that is not a page of images: not HTML, not found, or moved."""
        self._pages += 1
        url = f"https://site{self._pages}.example/file"
        body = self._words["en"].text(200).encode()
        content_type, status, reason = self._random.choice(
            (
                ("application/pdf", 200, "not_html"),
                ("text/plain", 200, "not_html"),
                ("text/html", 404, "not_200"),
                ("text/html", 301, "not_200"),
            )
        )
        metadata = Html().metadata() if content_type == "text/html" else ""
        page = Page(url, body, metadata, content_type, status)
        return PlantedPage(page, (), {}, skipped=reason)


class _Writing:
    """A page in the making, and its truth."""

    def __init__(self, random: Random, words: Words, host: str, language: str) -> None:
        self._random, self._words, self._host, self._language = random, words, host, language
        self._url = f"https://www.{host}/blog/post-{random.getrandbits(24):x}.html"
        self._folder = self._url.rpartition("/")[0]
        self._base = self._url
        self._html = Html()
        self._images: list[PlantedImage] = []
        self._facts: dict[str, Any] = {"page_url": self._url, "declared_language": language, "status": 200}
        self._facts |= {"license": None, "robots": ()}
        self._charset = "utf-8"
        self._headers: tuple[tuple[str, str], ...] = ()
        self._number = 0

    # --- addresses

    def _name(self, ending: str = "jpg") -> str:
        self._number += 1
        return f"{self._random.getrandbits(60):x}-{self._number}.{ending}"

    def _address(self) -> tuple[str, str]:
        """Return a URL as the page writes it, and what it means."""
        name, cdn, site = self._name(), f"https://cdn.{self._host}", f"https://www.{self._host}"
        return self._random.choice(
            (
                (f"{cdn}/uploads/2024/05/{name}", f"{cdn}/uploads/2024/05/{name}"),
                (f"{cdn}/i/{name}?w=640&h=480&q=a,b", f"{cdn}/i/{name}?w=640&h=480&q=a,b"),
                (f"//cdn.{self._host}/{name}", f"{cdn}/{name}"),
                (f"/media/{name}", f"{site}/media/{name}"),
                (name, f"{self._folder}/{name}"),
                (f"../img/./{name}", f"{site}/img/{name}"),
            )
        )

    # --- the parts of a page

    def _head(self, styles: int = 0, scripts: int = 0, metas: Sequence[Mapping[str, str]] = ()) -> None:
        html, text = self._html, self._words.text
        html.markup("<!DOCTYPE html>\n")
        html.open("html", {"lang": self._language})
        html.open("head")
        html.open("meta", {"charset": self._charset})
        html.element("title", text(7))
        html.open("meta", {"name": "description", "content": text(20)})
        html.open("meta", {"property": "og:image", "content": f"https://cdn.{self._host}/og.jpg"})
        for meta in metas:
            html.open("meta", meta)
        html.open("link", {"rel": "canonical", "href": self._url})
        html.open("link", {"rel": "stylesheet", "href": "/theme/style.css", "type": "text/css"})
        html.markup(f"<style>{''.join(self._rule(number) for number in range(styles))}</style>")
        html.open("script", {"src": "/theme/main.js", "async": ""})
        html.close("script")
        if scripts:
            html.markup(f"<script>window.state=[{','.join(self._state() for _ in range(scripts))}]</script>")
        html.close("head")
        html.open("body", {"class": "single post"})

    def _rule(self, number: int) -> str:
        random = self._random
        name, colour = f"block-{random.getrandbits(20):x}-{number}", f"#{random.getrandbits(24):06x}"
        return f".{name}{{margin:{number % 17}px;padding:{number % 9}px 4px;color:{colour}}}\n"

    def _state(self) -> str:
        random, text = self._random, self._words.text(5)
        if random.random() < 0.05:
            text = f'<img src=\\"/s/{random.getrandbits(30):x}.jpg\\" alt=\\"in a script\\">'
        numbers = f"[{random.random()},{random.random()}]"
        return f'{{"id":{random.getrandbits(40)},"t":"{text}","u":"/p/{random.getrandbits(30):x}","f":{numbers}}}'

    def _menu(self, items: int) -> None:
        for number in range(items):
            self._html.open("li", {"class": f"menu-item menu-item-{number} menu-item-type-custom"})
            self._html.element(
                "a", self._words.text(2), {"href": f"/c/{self._random.getrandbits(24):x}", "class": "nav-link"}
            )
            self._html.close("li")
            self._html.markup("\n")

    def _card(self, number: int, show: str) -> None:
        html, target = self._html, f"/post/{self._random.getrandbits(40):x}"
        html.open("div", {"class": f"card card-{number} shadow-sm mb-4"})
        html.open("a", {"href": target, "rel": "bookmark", "title": self._words.text(5)})
        getattr(self, show)()
        html.close("a")
        html.markup('<div class="card-body"><h3 class="h5">')
        html.element("a", self._words.text(7), {"href": target})
        html.markup('</h3><p class="text-muted small">')
        html.text(self._words.text(60))
        html.markup("</p></div></div>\n")

    def _license(self) -> None:
        target = self._random.choice(("https://creativecommons.org/licenses/by/4.0/", "/about/license"))
        self._html.element("a", "license", {"rel": "license", "href": target})
        self._facts["license"] = f"https://www.{self._host}{target}" if target.startswith("/") else target

    # --- kinds of pages

    def modern(self) -> None:
        """Write a page of about 95 kB with 36 cards."""
        self._head(styles=330, scripts=160)
        self._menu(40)
        shows = ("_uploaded", "_lazy", "_picture", "_figure", "_pixel", "_decorative")
        for number, show in enumerate(self._random.choices(shows, (36, 14, 12, 12, 10, 16), k=36)):
            self._card(number, show)
        if self._random.random() < 0.3:
            self._license()
        self._html.markup("</body></html>")

    def plain(self) -> None:
        """Write a page of text with a few images."""
        self._head(styles=4)
        for _ in range(self._random.randint(4, 30)):
            self._html.element("p", self._words.text(self._random.randint(20, 120)))
            if self._random.random() < 0.2:
                getattr(self, self._random.choice(("_uploaded", "_figure", "_pixel")))()
        self._html.markup("</body></html>")

    def linked(self) -> None:
        """Write a page of many links and few images, as the front of a newspaper or a shop has."""
        self._head(styles=120, scripts=30)
        self._menu(self._random.randint(60, 260))
        for number in range(self._random.randint(2, 12)):
            self._card(number, self._random.choice(("_uploaded", "_lazy", "_figure", "_decorative", "_pixel")))
        self._html.markup("</body></html>")

    def odd(self) -> None:
        """Write a page with one image of everything, in Russian as Windows has it."""
        self._charset = "windows-1251" if self._language == "ru" else "utf-8"
        self._robots()
        if self._random.random() < 0.3:
            self._other_base()
        for refusal in _REFUSED:
            self._refused(*refusal)
        for show in self._random.sample(_ODD, len(_ODD)):
            getattr(self, show)()
        self._license()
        self._html.markup("</body></html>")

    def _robots(self) -> None:
        """Begin the page with directives for robots, in its head or in a header."""
        directives = self._random.choice(("noai, noimageai", "NOAI", "index, follow", "noimageindex"))
        self._facts["robots"] = tuple(directive.strip().lower() for directive in directives.split(","))
        if self._random.random() < 0.5:
            self._headers = (("X-Robots-Tag", directives),)
            self._head()
        else:
            self._head(metas=[{"name": "robots", "content": directives}])

    def _other_base(self) -> None:
        self._html.open("base", {"href": "/blog/"})
        self._base = f"{self._folder}/"

    # --- kinds of images

    def _alt(self, least: int = 2, most: int = 14) -> str:
        end = self._random.choice(("", "", "", " & more", ' "quoted"', " <b>", " 100 %"))
        return self._words.text(self._random.randint(least, most)) + end

    def _image(self, attributes: Mapping[str, str], fate: Truth | str, **spelt: str) -> None:
        """Write an image element, and what becomes of it; `fate` is what an archive with HTML knows."""
        self._html.open("img", attributes, **spelt)
        self._images.append(PlantedImage(fate, in_wat(attributes, fate)))

    def _uploaded(self) -> None:
        name, alt, cdn = (
            self._random.getrandbits(60),
            self._alt(),
            f"https://cdn.{self._host}/wp-content/uploads/2023/05",
        )
        url, sizes = f"{cdn}/{name:x}-1024x683.jpg", ((300, 200), (768, 512), (1024, 683), (1536, 1024))
        candidates = [f"{cdn}/{name:x}-{width}x{height}.jpg {width}w" for width, height in sizes]
        attributes = {"class": f"attachment-large size-large wp-image-{name % 9999}", "src": url, "alt": alt}
        attributes |= {"width": "1024", "height": "683", "loading": "lazy", "srcset": ", ".join(candidates)}
        attributes["sizes"] = "(max-width: 1024px) 100vw, 1024px"
        best = candidates[-1].split()[0]
        self._image(attributes, row(url, alt, declared_width=1024, declared_height=683, url_best=best))

    def _lazy(self) -> None:
        """An image behind a placeholder, and the same for browsers without scripts."""
        written, url = f"/media/{(name := self._name('webp'))}", f"https://www.{self._host}/media/{name}"
        alt, best = self._alt(), f"/media/2x-{name}"
        attributes = {
            "src": _PLACEHOLDER,
            "data-src": written,
            "data-srcset": f"{best} 2x",
            "alt": alt,
            "class": "lazyload",
        }
        self._image(attributes, row(url, alt, url_from="data-src", url_best=f"https://www.{self._host}{best}"))
        self._html.open("noscript")
        self._image({"src": written, "alt": alt}, row(url, alt))
        self._html.close("noscript")

    def _picture(self) -> None:
        html, (written, url), alt, title = self._html, self._address(), self._alt(), self._words.text(3)
        html.open("picture")
        html.open("source", {"type": "image/avif", "srcset": f"/i/{self._name('avif')} 1x, /i/{self._name('avif')} 2x"})
        html.open("source", {"type": "image/webp", "srcset": f"/i/{self._name('webp')}"})
        self._image({"src": written, "alt": alt, "title": title}, row(url, alt, title=title))
        html.close("picture")

    def _figure(self) -> None:
        html, (written, url), alt, caption = self._html, self._address(), self._alt(), self._words.text(12)
        html.open("figure", {"class": "wp-block-image"})
        self._image({"src": written, "alt": alt, "width": "100%"}, row(url, alt, caption=caption))
        html.element("figcaption", caption)
        html.close("figure")

    def _pixel(self) -> None:
        self._image({"src": f"pix/{self._name('gif')}", "width": "1", "height": "1"}, "alt_missing")

    def _decorative(self) -> None:
        self._image({"src": self._address()[0], "alt": self._random.choice(("", " ", "\n\t"))}, "alt_empty")

    def _refused(self, url: str, reason: str) -> None:
        self._image({"src": url, "alt": self._alt()}, reason)

    def _without_source(self) -> None:
        self._image({"alt": self._alt(), "class": "broken"}, "url_missing")

    def _blank_source(self) -> None:
        self._image({"src": "  ", "alt": self._alt()}, "url_missing")

    def _very_long(self) -> None:
        self._image({"src": f"https://cdn.{self._host}/{'a' * 3000}.jpg", "alt": self._alt()}, "url_too_long")

    def _spaced_text(self) -> None:
        """A text with white space and entities, a URL with white space around it and a line break inside."""
        written, url = self._address()
        words = self._words.text(2)
        spelt = f"&#10; {words}\t &amp;amp; &lt;3 &quot;so&quot;&nbsp; "
        value = f'\n {words}\t &amp; <3 "so"\u00a0 '
        attributes = {"src": f" {written[:-3]}\n{written[-3:]}\t", "alt": value}
        self._image(attributes, row(url, f'{" ".join(words.split())} &amp; <3 "so"'), alt=spelt)

    def _upper_case(self) -> None:
        (written, url), alt = self._address(), self._words.text(3)
        self._html.markup(f"<IMG ALT='{alt}' SRC={written.replace('&', '&amp;')} >")
        self._html.note("img", {"src": written, "alt": alt})  # as a WAT has it
        self._images.append(PlantedImage(row(url, alt), row(url, alt)))

    def _twice(self) -> None:
        (written, url), alt = self._address(), self._alt()
        for _ in range(2):
            self._image({"src": written, "alt": alt}, row(url, alt))
        self._image({"src": written, "alt": alt + " again"}, row(url, f"{alt} again"))

    def _by_srcset(self) -> None:
        """An image whose only address is its largest candidate."""
        names, alt = [self._name("webp") for _ in range(3)], self._alt()
        candidates = ", ".join(f"/s/{name} {width}w" for name, width in zip(names, (320, 1280, 640), strict=True))
        url = f"https://www.{self._host}/s/{names[1]}"
        self._image({"srcset": candidates, "alt": alt}, row(url, alt, url_from="srcset", url_best=url))

    def _by_query(self) -> None:
        alt, query = self._alt(), f"?image={self._name()}"
        self._image({"src": query, "alt": alt}, row(f"{self._base}{query}", alt))

    def _by_source(self) -> None:
        """An image whose only address is that of its picture's source."""
        name, alt = self._name("webp"), self._alt()
        self._html.open("picture")
        self._html.open("source", {"srcset": f"/p/{name}"})
        self._image(
            {"src": _PLACEHOLDER, "alt": alt}, row(f"https://www.{self._host}/p/{name}", alt, url_from="source")
        )
        self._html.close("picture")

    def _hidden(self) -> None:
        """Images in a comment and in a script are none."""
        self._html.markup(
            '<!-- <img src="/c.jpg" alt="in a comment"> --><script>"<img src=/s.jpg alt=script>"</script>'
        )

    def _in_template(self) -> None:
        """An image in a template is none; the parser that writes WATs does not know templates."""
        (written, url), alt = self._address(), self._alt()
        self._html.open("template")
        self._html.open("img", {"src": written, "alt": alt})
        self._html.close("template")
        self._images.append(PlantedImage(None, row(url, alt)))

    def finish(self) -> PlantedPage:
        """Return the page with its truth."""
        body = self._html.html().encode(self._charset)
        page = Page(self._url, body, self._html.metadata(), f"text/html; charset={self._charset}", 200, self._headers)
        return PlantedPage(page, tuple(self._images), self._facts, {"charset": self._charset})


_PLACEHOLDER = "data:image/svg+xml;base64," + base64.b64encode(b'<svg width="10" height="10"/>').decode()
_REFUSED = (
    ("data:image/gif;base64,R0lGODlhAQABAAAAACw=", "data_url"),
    ("DATA:image/gif;base64,R0lGODlhAQABAAAAACw=", "data_url"),
    ("javascript:void(0)", "javascript_url"),
    ("blob:https://site.example/7d4c", "blob_url"),
    ("cid:part1.7@site.example", "cid_url"),
    ("about:blank", "about_url"),
    ("{{ item.src }}", "template_url"),
    ("ftp://files.example/1.jpg", "not_http"),
)
_ODD = (
    "_uploaded",
    "_lazy",
    "_picture",
    "_figure",
    "_pixel",
    "_decorative",
    "_without_source",
    "_blank_source",
    "_very_long",
    "_spaced_text",
    "_upper_case",
    "_twice",
    "_by_srcset",
    "_by_query",
    "_by_source",
    "_hidden",
    "_in_template",
)


def pages(seed: int, mix: Mapping[str, int], number: int) -> Iterator[PlantedPage]:
    """Make pages, of kinds in proportion to a mix."""
    maker, random = PageMaker(seed), Random(seed + 1)
    for kind in random.choices(tuple(mix), tuple(mix.values()), k=number):
        yield maker.other() if kind == "other" else maker.page(kind)


def repeated(planted_pages: Sequence[PlantedPage]) -> Iterator[PlantedPage]:
    """Repeat pages for ever, at other URLs each time: gigabytes of a few hundred pages."""
    for number in itertools.count():
        for planted in planted_pages:
            yield planted.at(f"{planted.page.url.removesuffix('.html')}-{number}.html")
