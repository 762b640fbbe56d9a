"""Published filters in plain Python, each as its own code or text has it, without our code and without a recipe.

A row has what the source looks at, under the names of our signals. `edges` are values on both sides of each number that
the source states, and on it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
Keep = Callable[[Sequence[Row]], list[bool]]


@dataclass(frozen=True)
class PublishedFilter:
    """A filter, a row that it keeps, and values with which it may not."""

    keep: Keep
    """The rows of a pool → whether each is kept."""
    kept_row: Row
    edges: Mapping[str, Sequence[Any]]
    overrides: tuple[str, ...] = ()
    """What the recipe is told of numbers that the source does not state, as --set takes it."""

    def rows(self, seed: int, number: int = 150) -> list[Row]:
        """Return rows: the kept one, each edge alone, and edges crossed."""
        draw = random.Random(seed)
        alone = [{**self.kept_row, name: value} for name, values in self.edges.items() for value in values]
        crossed = [
            {**self.kept_row, **{name: draw.choice(self.edges[name]) for name in draw.sample(sorted(self.edges), k)}}
            for k in (draw.randint(1, len(self.edges)) for _ in range(number))
        ]
        return [dict(self.kept_row), *alone, *crossed]


PUBLISHED: dict[str, PublishedFilter] = {}


def each(test: Callable[[Row], bool]) -> Keep:
    """Return a filter that looks at one row at a time."""
    return lambda rows: [test(row) for row in rows]


def highest(
    rows: Sequence[Row], score: Callable[[Row], float], number: int, of: Sequence[bool] | None = None
) -> list[bool]:
    """Tell which rows are among the highest `number`, of those that `of` has; equal ones stay together."""
    able = of or [True] * len(rows)
    values = sorted((score(row) for row, is_able in zip(rows, able, strict=True) if is_able), reverse=True)
    if not number or not values:
        return [False] * len(rows)
    least = values[min(number, len(values)) - 1]
    return [is_able and score(row) >= least for row, is_able in zip(rows, able, strict=True)]


def beside(number: float, step: float = 1) -> tuple[float, float, float]:
    """Return a number and its neighbours."""
    return (number - step, number, number + step)


COSINES = tuple(round(0.011 * n - 0.4, 3) for n in range(100))
"""Scores of many levels, with ties where more rows than these are drawn."""


# --- ALIGN (Jia et al. 2021), with near-duplicates of evaluation images by cosine ---


def _align_eval(row: Row) -> bool:
    if row["n_words"] < 3 or row["n_words"] > 20:
        return False
    if row["images_per_text"] > 10 or row["texts_per_image"] > 1000:
        return False
    if not row["decodable"] or not row["min_side"] > 200 or not row["aspect"] < 3:
        return False
    return not row["nsfw"] >= 0.5 and not row["eval_similarity_dedup"] > 0.975


PUBLISHED["align-eval"] = PublishedFilter(
    each(_align_eval),
    {
        "n_words": 8,
        "images_per_text": 1,
        "rarest_ngram": 1,
        "texts_per_image": 1,
        "decodable": True,
        "min_side": 400,
        "aspect": 1.5,
        "nsfw": 0.0,
        "eval_similarity_dedup": 0.4,
    },
    {
        "n_words": [2, 3, 4, 19, 20, 21],
        "images_per_text": beside(10),
        "texts_per_image": beside(1000),
        "decodable": [True, False],
        "min_side": beside(200),
        "aspect": beside(3.0, 0.001),
        "nsfw": beside(0.5, 0.001),
        "eval_similarity_dedup": beside(0.975, 0.000001),
    },
)


# --- LAION-Aesthetics V1 (laion-prepro): WHERE aesthetic > 7 AND punsafe < 0.5 AND pwatermark < 0.8 ---

PUBLISHED["laion-aesthetics"] = PublishedFilter(
    each(lambda row: row["head_aesthetic"] > 7 and row["head_punsafe"] < 0.5 and row["head_pwatermark"] < 0.8),
    {"head_aesthetic": 7.5, "head_punsafe": 0.1, "head_pwatermark": 0.1},
    {
        "head_aesthetic": [6.0, 7.0, 7.000001],
        "head_punsafe": beside(0.5, 0.000001),
        "head_pwatermark": beside(0.8, 0.000001),
    },
)


# --- DataComp (Gadre et al. 2023) ---

PUBLISHED["commonpool-safety"] = PublishedFilter(
    each(lambda r: not (r["head_detoxify"] > 0.1 or r["head_nsfw"] > 0.1 or r["eval_similarity_isc"] > 0.604169)),
    {"head_detoxify": 0.0, "head_nsfw": 0.0, "eval_similarity_isc": 0.3},
    {
        "head_detoxify": beside(0.1, 0.000001),
        "head_nsfw": beside(0.1, 0.000001),
        "eval_similarity_isc": beside(0.604169, 0.000001),
    },
)
PUBLISHED["datacomp-laion2b"] = PublishedFilter(
    each(lambda row: row["language_cld3"] == "en" and row["similarity_b32"] >= 0.28),
    {"language_cld3": "en", "similarity_b32": 0.3},
    {"language_cld3": ["en", "de", "und"], "similarity_b32": beside(0.28, 0.000001)},
)


def _top(signal: str, share: tuple[int, int]) -> Keep:
    """The highest share of the pool by one score, rounded up; share is numerator and denominator."""
    return lambda rows: highest(rows, lambda row: row[signal], -(-len(rows) * share[0] // share[1]))


def _of_one_score(signal: str, share: tuple[int, int]) -> PublishedFilter:
    return PublishedFilter(_top(signal, share), {signal: 0.69}, {signal: COSINES})


PUBLISHED["datacomp-clip"] = _of_one_score("similarity_l14", (3, 10))
PUBLISHED["dfn"] = _of_one_score("similarity_dfn", (15, 100))
PUBLISHED["t-mars"] = _of_one_score("similarity_masked", (1, 2))
PUBLISHED["siglip2"] = _of_one_score("similarity_webli", (1, 10))


def datacomps_clip_score(scores: Sequence[float], fraction: float) -> list[bool]:
    """What baselines/apply_filter.py does of a fraction: get_threshold, and then >=."""
    threshold = sorted(scores, reverse=True)[int(len(scores) * fraction)]
    return [score >= threshold for score in scores]


# --- BLIP's filter, MMC4's images ---

PUBLISHED["blip-capfilt"] = PublishedFilter(
    each(lambda row: row["decodable"] and row["min_side"] > 256 and row["itm_blip"] > 1 - row["itm_blip"]),
    {"decodable": True, "min_side": 300, "itm_blip": 0.9},
    {"decodable": [True, False], "min_side": beside(256), "itm_blip": beside(0.5, 0.000001)},
)


def _mmc4(row: Row) -> bool:
    too_small, too_long = row["min_side"] < 150, row["aspect"] > 2
    unsafe, repeated, far = row["head_nsfw"] > 0.1, row["images_per_phash"] > 10, row["similarity_l14"] < 0.15
    return not (too_small or too_long or unsafe or repeated or far)


PUBLISHED["mmc4"] = PublishedFilter(
    each(_mmc4),
    {"min_side": 200, "aspect": 1.0, "images_per_phash": 1, "head_nsfw": 0.0, "similarity_l14": 0.2},
    {
        "min_side": beside(150),
        "aspect": beside(2.0, 0.001),
        "images_per_phash": beside(10),
        "head_nsfw": beside(0.1, 0.000001),
        "similarity_l14": beside(0.15, 0.000001),
    },
)


def datacomps_basic_filter(language: Callable[[str], str], text: str, width: int, height: int) -> bool:
    """What baselines/apply_filter.py does of one row: load_uids_with_basic_filter_helper, and get_fasttext_language."""
    words, characters = len(text.split()), len(text)
    shorter, longer = min(width, height), max(width, height)
    english = language(text.replace("\n", " ")) == "en"
    return english and words > 2 and characters > 5 and shorter >= 200 and longer / shorter <= 3.0
