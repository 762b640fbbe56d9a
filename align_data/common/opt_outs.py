"""The words by which a page or a server asks that it not be used so: one table, for crawling, fetching and signals."""

from __future__ import annotations

DIRECTIVES = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
"""Of X-Robots-Tag and of a page's meta robots, those that ask it; 'none' is short for 'noindex, nofollow'."""
FOR_US = frozenset({"*", "robots", "align-data"})
"""Whom a directive such as 'robots: noai' may name that speaks to everyone, or to us."""
