"""What `banned` keeps of an image that was taken down: a hash of its SHA-256, so it does not reveal the request."""

from __future__ import annotations

import hashlib


def ban(sha256: str) -> str:
    """Return what the table `banned` has of bytes with this SHA-256: the SHA-256 of its 64 lower-case digits."""
    return hashlib.sha256(sha256.encode()).hexdigest()
