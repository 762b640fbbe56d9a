"""Retrieval in each language, among its pairs alone, as Crossmodal-3600 reports it (Thapliyal et al., EMNLP 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from align_data.common.errors import InputError
from align_data.models.spaces import SPHERE, Space
from align_data.train.embed import Embedded, image_key
from align_data.train.metrics import Retrieval, distinct, retrieval


@dataclass(frozen=True)
class OfLanguage:
    """The pairs of a language, and retrieval among them alone."""

    pairs: int
    retrieval: Retrieval


def by_language(
    embedded: Embedded, languages: Mapping[str, str], seed: int, space: Space = SPHERE
) -> dict[str, OfLanguage]:
    """Return what is retrieved in each language, in the order of their names; pairs without one are left out.

    `languages` has uid or URL → language; InputError where it is of other pairs. Chance differs with their number.
    """
    rows_of: dict[str, list[int]] = {}
    for row, (uid, url) in enumerate(zip(embedded.uids, embedded.urls, strict=True)):
        language = languages.get(uid, languages.get(url))
        if language is not None:
            rows_of.setdefault(language, []).append(row)
    if not rows_of:
        raise InputError(
            f"none of the {len(languages):,} languages matches a pair in the shards: they are matched by uid or url"
        )
    return {
        language: OfLanguage(len(rows), _among(embedded, rows, seed, space))
        for language, rows in sorted(rows_of.items())
    }


def _among(embedded: Embedded, rows: list[int], seed: int, space: Space) -> Retrieval:
    image_rows, image_of = distinct(image_key(embedded.urls[row], embedded.uids[row]) for row in rows)
    text_rows, text_of = distinct(embedded.alt_texts[row] for row in rows)
    own = np.array(rows)
    images, texts = embedded.images[own[image_rows]], embedded.texts[own[text_rows]]
    return retrieval(images, texts, image_of, text_of, seed=seed, space=space)
