"""Why a record is not a page, and why an image makes no row: each reason's word, and the sentence it stands for."""

from __future__ import annotations

DAMAGED = {
    "encoding": "the page's bytes are not what its Content-Encoding says, nor are they plain",
    "gzip": "a gzip member that cannot be inflated, or whose checksum is wrong",
    "header": "no WARC header where a record should begin, or one without an end or WARC-Type",
    "http_header": "a response that does not begin as HTTP does",
    "json": "a record of a WAT that is not JSON, or whose values are not of the types that a WAT has",
    "junk": "bytes between two gzip members that belong to neither, or a member of more than 1 GiB without a record",
    "length": "Content-Length is absent, not a number, or not where the record ends",
    "record_too_large": "a record of more than 16 MiB, which is passed over",
    "truncated": "the record that the archive breaks off in",
}
"""Reasons of records that cannot be read."""

SKIPPED = {
    "continuation": "a further piece of a record, which is not put together",
    "conversion": "a record of another form of a page, such as its text",
    "metadata": "a record of what the crawler noted",
    "not_200": "a response with another status than 200",
    "not_html": "a response that is neither HTML nor XHTML",
    "other_kind": "a record of a WARC-Type that the standard does not have",
    "page_crashed": "a page on which the process that parsed it broke down",
    "page_too_costly": "a page that took too much time or memory to parse",
    "page_too_large": "a page of more than 16 MiB when it is decoded",
    "request": "a record of the crawler's request",
    "resource": "a record of a file that is not from an HTTP response",
    "revisit": "a record of a page that the crawler had already",
    "warcinfo": "the record that describes the archive",
}
"""Reasons of records that are not pages."""
GIVEN_UP = ("page_too_costly", "page_crashed")
"""Of these, the reasons of pages that were to be read."""

REFUSED = {
    "about_url": "its address begins with about:, which names no image",
    "alt_empty": "its alt is empty or white space, as for decoration",
    "alt_missing": "it has no alt",
    "alt_too_long": "its alt has more than 2,097,152 characters",
    "blob_url": "its address begins with blob:, which holds in the browser that made it alone",
    "caption_empty": "its figure's figcaption has no text",
    "caption_missing": "it is in no figure, or in one without a figcaption",
    "caption_too_long": "its figure's figcaption has more than 10,000 characters",
    "cid_url": "its address begins with cid:, which is a part of an e-mail",
    "data_url": "its address begins with data: and is a picture itself, nearly always a placeholder",
    "images_over_limit": "10,000 images are before it on its page",
    "javascript_url": "its address begins with javascript:, which is a program",
    "not_http": "its address is neither http nor https",
    "srcset_as_url": "its address is a list of candidates, as srcset has them",
    "template_url": "its address has {{ in it, which a template should have filled in",
    "title_empty": "its title is empty or white space",
    "title_missing": "it has no title",
    "title_too_long": "its title has more than 2,097,152 characters",
    "url_invalid": "its address is not a URL, by the standard that browsers follow",
    "url_missing": "it has no address, or a blank one",
    "url_too_long": "its address has more than 2,048 characters",
}
"""Reasons of images that make no row; alt, title and caption where rows are made of that text."""
