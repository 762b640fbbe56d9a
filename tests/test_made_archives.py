"""The archives that the tests are made of, read by libraries that share no code with them."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import html5lib
import pytest
from made_archives import BROWSERTRIX, COMMON_CRAWL, STYLES, WGET, PageMaker, Style, make_archives
from warcio.archiveiterator import ArchiveIterator

HTML = "{http://www.w3.org/1999/xhtml}"


def records(path: Path) -> list[tuple[Any, bytes]]:
    with path.open("rb") as file:
        return [(record, record.content_stream().read()) for record in ArchiveIterator(file, check_digests="raise")]


def kinds(path: Path) -> list[str]:
    return [record.rec_type for record, _ in records(path)]


def test_a_warc_of_common_crawl_is_triples_of_records_and_a_wat_has_one_for_each(tmp_path: Path) -> None:
    made = make_archives(tmp_path, 12)
    assert kinds(made.warc) == ["warcinfo", *["request", "response", "metadata"] * 12]
    assert kinds(made.wat) == ["warcinfo", *["metadata"] * made.records]


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_every_offset_of_a_wat_is_where_that_record_lies(tmp_path: Path, style: Style) -> None:
    made = make_archives(tmp_path, 6, style=style)
    whole = made.warc.read_bytes()
    offsets = []
    for record, content in records(made.wat)[1:]:
        about = json.loads(content)
        at, length = int(about["Container"]["Offset"]), int(about["Container"]["Gzip-Metadata"]["Deflate-Length"])
        one = gzip.decompress(whole[at : at + length])
        head = about["Envelope"]["WARC-Header-Metadata"]
        assert f"WARC-Record-ID: {head['WARC-Record-ID']}\r\n".encode() in one
        assert about["Container"]["Filename"] == made.warc.name
        assert record.rec_headers["WARC-Refers-To"] == head["WARC-Record-ID"]
        if head["WARC-Type"] == "response":
            offsets.append(at)
    assert {row["crawl_offset"] for row in made.of_warc.rows} <= set(offsets)
    assert len(offsets) == 6


@pytest.mark.parametrize("style", [COMMON_CRAWL, WGET], ids=["common-crawl", "wget"])  # warcio reads no zstd
def test_the_planted_truth_is_what_html5lib_and_urljoin_see(tmp_path: Path, style: Style) -> None:
    maker = PageMaker(3)
    planted = [maker.page(kind) for kind in ("modern", "odd", "plain", "odd", "odd", "plain")]
    made = make_archives(tmp_path, planted, style=style)
    responses = [content for record, content in records(made.warc) if record.rec_type == "response"]
    for page, content in zip(planted, responses, strict=True):
        tree = html5lib.parse(content, transport_encoding=page.warc_only["charset"])
        images = [
            each for each in tree.iter(f"{HTML}img") if each not in set(tree.findall(f".//{HTML}template//{HTML}img"))
        ]
        fates = [image.warc for image in page.images if image.warc is not None]
        assert len(images) == len(fates)
        base = next((each.get("href") for each in tree.iter(f"{HTML}base")), "")
        base = urljoin(page.page.url, base)
        for image, fate in zip(images, fates, strict=True):
            alt = image.get("alt")
            if fate in ("alt_missing", "alt_empty"):
                assert (alt is None, alt is not None and not alt.strip()) == (
                    fate == "alt_missing",
                    fate == "alt_empty",
                )
                continue
            if isinstance(fate, str):
                continue
            assert fate["alt_text"] == " ".join(alt.split())
            assert fate["title"] == image.get("title")
            if fate["url_from"] in ("src", "data-src"):
                written = re.sub(r"[\t\n\r]", "", image.get(fate["url_from"]).strip())
                assert fate["url"] == urljoin(base, written)


def test_a_wat_says_of_images_what_was_planted(tmp_path: Path) -> None:
    maker = PageMaker(5)
    planted = [maker.page("odd") for _ in range(3)]
    made = make_archives(tmp_path, planted)
    pages = iter(planted)
    for _, content in records(made.wat)[1:]:
        payload = json.loads(content)["Envelope"]["Payload-Metadata"]
        if "HTTP-Response-Metadata" not in payload:
            continue
        page = next(pages)
        links = payload["HTTP-Response-Metadata"]["HTML-Metadata"]["Links"]
        images = [link for link in links if link["path"] == "IMG@/src"]
        fates = [image.wat for image in page.images if image.wat is not None]
        assert len(images) == len(fates)
        for image, fate in zip(images, fates, strict=True):
            if fate == "alt_missing":
                assert "alt" not in image
            elif fate == "alt_empty":
                assert image["alt"].strip() == ""
            elif not isinstance(fate, str):
                assert fate["alt_text"] == " ".join(image["alt"].split())
        (license_,) = (link["url"] for link in links if link.get("rel") == "license")
        assert page.facts["license"] == urljoin(page.page.url, license_)
    assert next(pages, None) is None


def test_the_account_of_the_truth_adds_up(tmp_path: Path) -> None:
    made = make_archives(tmp_path, 40)
    for expected in (made.of_warc, made.of_wat):
        assert expected.pages + expected.skipped.total() == 40
        assert expected.images == len(expected.rows) + expected.refused.total() + expected.repeated
        assert expected.repeated > 0
    reasons = "alt_missing alt_empty url_missing data_url javascript_url blob_url cid_url about_url template_url not_http url_too_long"
    assert set(made.of_warc.refused) == set(reasons.split())


def test_equal_seeds_make_equal_archives(tmp_path: Path) -> None:
    first, again, other = (
        make_archives(tmp_path / name, 3, seed=seed) for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert first.warc.read_bytes() == again.warc.read_bytes() != other.warc.read_bytes()
    assert first.wat.read_bytes() == again.wat.read_bytes() != other.wat.read_bytes()


def test_styles_differ_where_crawlers_do(tmp_path: Path) -> None:
    texts = {}
    for name, style in (("cc", COMMON_CRAWL), ("wget", WGET), ("browsertrix", BROWSERTRIX)):
        texts[name] = gzip.decompress(make_archives(tmp_path / name, 4, style=style).warc.read_bytes())
    assert b"\r\nX-Crawler-content-encoding: gzip\r\n" in texts["cc"]
    assert b"\r\nContent-Encoding:" not in texts["cc"]
    assert b"\r\nWARC-Target-URI: <https://" in texts["wget"]
    assert b"\r\nTransfer-Encoding: chunked\r\n" in texts["wget"]
    for encoding in (b"gzip", b"br", b"deflate", b"zstd"):
        assert b"\r\nContent-Encoding: " + encoding in texts["browsertrix"]
    assert texts["browsertrix"].startswith(b"WARC/1.1\r\n")
