"""What a file of a crawl is, by its name: an archive that is read, a list of archives, or what is not read and why."""

from __future__ import annotations

import re

from align_data.sources.files.patterns import plain

ARCHIVES = re.compile(r"\.(?:warc|wat)(?:\.gz)?$")
"""How the names of archives end that are read."""
LISTS = re.compile(r"\.paths(?:\.gz)?$")
"""How the names of lists of archives end, as Common Crawl has them."""
_READ = "read are .warc, .warc.gz and .wat.gz"
_REFUSED = (
    (re.compile(r"\.wet(?:\.gz)?$"), "is a WET file, which has a page's text and not its images: take the WARC or WAT"),
    (re.compile(r"\.arc(?:\.gz)?$"), "is an ARC file, which WARC replaced in 2009: convert it, with warcio recompress"),
    (re.compile(r"\.(?:warc|wat)\.(?:zst|zstd)$"), "is compressed with Zstandard: make it .warc.gz of it"),
    (re.compile(r"\.(?:wacz|zip)$"), "is a ZIP file: unpack it, the archives are in its folder archive"),
)
_MAGIC = (
    (b"\x28\xb5\x2f\xfd", _REFUSED[2][1]),
    (b"PK\x03\x04", _REFUSED[3][1]),
    (b"filedesc://", _REFUSED[1][1]),
)


def is_archive(path: str) -> bool:
    """Tell whether a file is an archive that is read, by its name."""
    return ARCHIVES.search(_lower(path)) is not None


def is_paths(path: str) -> bool:
    """Tell whether a file is a list of archives' paths, by its name."""
    return LISTS.search(_lower(path)) is not None


def refusal(path: str) -> str | None:
    """Return why a file is not read, by its name, as the end of a sentence; None where the name does not say."""
    return next((why for pattern, why in _REFUSED if pattern.search(_lower(path))), None)


def refusal_of_content(head: bytes) -> str | None:
    """Return why a file of these first bytes, inflated if it is gzip, is not read; None for a WARC or WAT file."""
    if head.startswith(b"WARC/") or not head:
        return None
    return next((why for magic, why in _MAGIC if head.startswith(magic)), f"is not a WARC or WAT file: {_READ}")


def _lower(path: str) -> str:
    return plain(path).lower()
