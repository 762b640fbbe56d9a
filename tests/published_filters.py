"""Published filters in plain Python, each as its own code or text has it, without our code and without a recipe.

A row has what the source looks at, under the names of our signals. `edges` are values on both sides of each number that
the source states, and on it.
"""

from __future__ import annotations

import math
import random
import re
import statistics
import unicodedata
from collections import Counter
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
    off: tuple[str, ...] = ()
    """Rules that are looked at apart: which of equal pairs they keep is not the source's to say."""
    derived: Callable[[Row], Row] = lambda _: {}
    """What follows from a row's other values."""
    meeting: Sequence[Row] = ()
    """Edges that decide only where other values meet them."""
    relative: bool = False
    """Whether it chooses among the pool, so that no edge decides alone."""

    def rows(self, seed: int, number: int = 150) -> list[Row]:
        """Return rows: the kept one, each edge alone, edges crossed by twos and threes, and some more."""
        draw = random.Random(seed)
        if self.relative:
            drawn = [{name: draw.choice(values) for name, values in self.edges.items()} for _ in range(2 * number)]
        else:
            few = min(3, len(self.edges))
            drawn = [{name: value} for name, values in self.edges.items() for value in values]
            crossed = (draw.sample(sorted(self.edges), draw.randint(1, few)) for _ in range(number))
            drawn += [{name: draw.choice(self.edges[name]) for name in names} for names in crossed]
        together = [{**self.kept_row, **values} for values in ({}, *drawn, *self.meeting)]
        return [{**row, **self.derived(row)} for row in together]


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


COSINES = tuple(round(0.0011 * n - 0.4, 4) for n in range(1000))
"""Scores of so many levels that few of some hundred rows tie."""


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
    return PublishedFilter(_top(signal, share), {signal: 0.69}, {signal: COSINES}, relative=True)


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


# --- Conceptual Captions (Sharma et al. 2018), with thresholds that the paper leaves open as a user might set them ---


def _cc3m(row: Row) -> bool:
    image = row["format"] == "jpeg" and row["min_side"] > 400 and row["aspect"] <= 2 and row["nsfw"] < 0.5
    speech = row["n_determiners"] and row["n_nouns"] and row["n_prepositions"] and row["noun_ratio"] <= 0.8
    form = (
        row["unique_words"] >= 0.5
        and row["word_repeat"] <= 0.2
        and row["first_capital"]
        and row["capital_words"] <= 0.5
    )
    words = row["rarest_word_wikipedia"] >= 5 and not row["list_profanity"] and not row["list_boilerplate"]
    return bool(image and speech and form and words and -0.5 <= row["polarity"] <= 0.5)


PUBLISHED["cc3m"] = PublishedFilter(
    each(_cc3m),
    {
        "format": "jpeg",
        "min_side": 600,
        "aspect": 1.5,
        "nsfw": 0.0,
        "n_determiners": 1,
        "n_nouns": 2,
        "n_prepositions": 1,
        "noun_ratio": 0.4,
        "unique_words": 1.0,
        "word_repeat": 0.0,
        "first_capital": True,
        "capital_words": 0.1,
        "rarest_word_wikipedia": 100,
        "list_profanity": 0,
        "polarity": 0.0,
        "list_boilerplate": 0,
    },
    {
        "format": ["jpeg", "png", "webp"],
        "min_side": beside(400),
        "aspect": beside(2.0, 0.001),
        "nsfw": beside(0.5, 0.001),
        "n_determiners": [0, 1, 2],
        "n_nouns": [0, 1, 2],
        "n_prepositions": [0, 1, 2],
        "noun_ratio": beside(0.8, 0.001),
        "unique_words": beside(0.5, 0.001),
        "word_repeat": beside(0.2, 0.001),
        "first_capital": [True, False],
        "capital_words": beside(0.5, 0.001),
        "rarest_word_wikipedia": beside(5),
        "list_profanity": [0, 1],
        "polarity": [-0.501, -0.5, 0.0, 0.5, 0.501],
        "list_boilerplate": [0, 1],
    },
    overrides=(
        "nsfw.lt=0.5",
        "noun_ratio.le=0.8",
        "unique_words.ge=0.5",
        "word_repeat.le=0.2",
        "capital_words.le=0.5",
        "polarity.between=-0.5,0.5",
    ),
)


def _cc12m(row: Row) -> bool:
    if row["format"] != "jpeg" or row["min_side"] <= 400 or row["aspect"] > 2.5:
        return False
    if row["n_words"] not in range(3, 257) or row["n_nouns"] == 0 or row["n_determiners"] == 0:
        return False
    return row["word_repeat"] <= 0.2 and row["rarest_word_wikipedia"] >= 20


PUBLISHED["cc12m"] = PublishedFilter(
    each(_cc12m),
    {
        "format": "jpeg",
        "min_side": 600,
        "aspect": 1.5,
        "n_words": 8,
        "n_nouns": 2,
        "n_determiners": 1,
        "word_repeat": 0.0,
        "rarest_word_wikipedia": 100,
    },
    {
        "format": ["jpeg", "png"],
        "min_side": beside(400),
        "aspect": beside(2.5, 0.001),
        "n_words": [2, 3, 255, 256, 257],
        "n_nouns": [0, 1],
        "n_determiners": [0, 1],
        "word_repeat": beside(0.2, 0.001),
        "rarest_word_wikipedia": beside(20),
    },
)


# --- SBU, RedCaps, WIT, Wukong, YFCC15M ---

PUBLISHED["sbu"] = PublishedFilter(
    each(lambda row: row["list_sbu_terms"] >= 2 and row["n_prepositions"] >= 1 and 4 <= row["n_words"] <= 40),
    {"list_sbu_terms": 3, "n_prepositions": 1, "n_words": 10},
    {"list_sbu_terms": beside(2), "n_prepositions": [0, 1], "n_words": [3, 4, 40, 41]},
    overrides=("n_words.between=4,40",),
)


def _redcaps(row: Row) -> bool:
    known_host, profane = row["list_redcaps_hosts"] > 0, row["list_redcaps"] > 0
    return known_host and not profane and not row["nsfw"] > 0.9 and not row["n_faces"]


PUBLISHED["redcaps"] = PublishedFilter(
    each(_redcaps),
    {"list_redcaps_hosts": 1, "list_redcaps": 0, "nsfw": 0.0, "n_faces": 0},
    {"list_redcaps_hosts": [0, 1], "list_redcaps": [0, 1, 2], "nsfw": beside(0.9, 0.001), "n_faces": [0, 1]},
)
PUBLISHED["wit"] = PublishedFilter(
    each(lambda row: row["min_side"] >= 100 and not row["list_wit_phrases"] and not row["face_area"] > 0.1),
    {"min_side": 300, "list_wit_phrases": 0, "face_area": 0.0},
    {"min_side": beside(100), "list_wit_phrases": [0, 1], "face_area": beside(0.1, 0.001)},
)


def _wukong(row: Row) -> bool:
    image = row["min_side"] > 200 and row["aspect"] < 3
    return image and row["han_characters"] > 0 and not row["rows_per_text"] > 10 and not row["list_wukong"]


PUBLISHED["wukong"] = PublishedFilter(
    each(_wukong),
    {"min_side": 300, "aspect": 1.5, "han_characters": 5, "rows_per_text": 1, "list_wukong": 0},
    {
        "min_side": beside(200),
        "aspect": beside(3.0, 0.001),
        "han_characters": [0, 1],
        "rows_per_text": beside(10),
        "list_wukong": [0, 1],
    },
)
PUBLISHED["yfcc15m"] = PublishedFilter(
    each(lambda row: row["list_yfcc15m"] == 1), {"list_yfcc15m": 1}, {"list_yfcc15m": [0, 1]}
)


# --- LAION (rvencu/crawlingathome-gpu-hcloud; the posts) ---


def _laion_unsafe(row: Row) -> bool:
    tag = {2: "NSFW", 1: "UNSURE", 0: "UNLIKELY"}[row["head_nsfw_top2"]]
    return tag in ("NSFW", "UNSURE") and row["list_underage"] > 0


_SAFETY = [{"head_nsfw_top2": tag, "list_underage": words} for tag in (0, 1, 2) for words in (0, 1, 2)]
PUBLISHED["laion-400m"] = PublishedFilter(
    each(lambda r: r["n_chars"] >= 5 and r["bytes"] >= 5000 and r["similarity_b32"] >= 0.3 and not _laion_unsafe(r)),
    {"n_chars": 20, "bytes": 9000, "similarity_b32": 0.4, "head_nsfw_top2": 2, "list_underage": 0},
    {
        "n_chars": beside(5),
        "bytes": beside(5000),
        "similarity_b32": beside(0.3, 0.000001),
        "head_nsfw_top2": [0, 1, 2],
        "list_underage": [0, 1, 2],
    },
    meeting=_SAFETY,
)


def _laion_5b(row: Row) -> bool:
    if row["n_chars"] < 5 or row["bytes"] < 5000 or row["width"] * row["height"] > 89478484:
        return False
    if row["format"] not in ("jpeg", "png", "webp") or _laion_unsafe(row):
        return False
    english = row["language_cld3"] == "en"
    return row["similarity_b32"] >= 0.28 if english else row["similarity_mclip"] >= 0.26


_LAION_ROW = {
    "n_chars": 20,
    "format": "jpeg",
    "bytes": 9000,
    "width": 1,
    "height": 9000,
    "language_cld3": "en",
    "similarity_b32": 0.4,
    "head_nsfw_top2": 2,
    "list_underage": 0,
}
_LAION_EDGES = {
    "n_chars": beside(5),
    "format": ["jpeg", "png", "webp", "gif"],
    "bytes": beside(5000),
    "width": [1, 1000, 89478],
    "height": [1000, 1001, 89478484, 89478485],
    "language_cld3": ["en", "de", "und"],
    "similarity_b32": beside(0.28, 0.000001),
    "head_nsfw_top2": [0, 1, 2],
    "list_underage": [0, 1],
}
PUBLISHED["laion-2b-en"] = PublishedFilter(
    each(lambda row: row["language_cld3"] == "en" and _laion_5b(row)), _LAION_ROW, _LAION_EDGES, meeting=_SAFETY
)
PUBLISHED["laion-multi"] = PublishedFilter(
    each(_laion_5b),
    {**_LAION_ROW, "similarity_mclip": 0.1},
    {**_LAION_EDGES, "similarity_mclip": [*beside(0.26, 0.000001), 0.27]},
    meeting=[
        *_SAFETY,
        *(
            {"language_cld3": language, "similarity_b32": b32, "similarity_mclip": mclip}
            for language in ("en", "de", "und")
            for b32 in beside(0.28, 0.000001)
            for mclip in beside(0.26, 0.000001)
        ),
    ],
)


# --- Re-LAION ---

PUBLISHED["re-laion"] = PublishedFilter(
    each(lambda row: not row["blocked"] and not (row["head_punsafe"] > 0.95 and row["list_relaion"])),
    {"blocked": False, "head_punsafe": 0.99, "list_relaion": 0},
    {"blocked": [False, True], "head_punsafe": beside(0.95, 0.000001), "list_relaion": [0, 1]},
)
PUBLISHED["re-laion-safe"] = PublishedFilter(
    each(lambda row: not row["blocked"] and not row["head_punsafe"] > 0.45),
    {"blocked": False, "head_punsafe": 0.1},
    {"blocked": [False, True], "head_punsafe": beside(0.45, 0.000001)},
)


# --- COYO-700M but for its last step, which keeps one of each pair of pHash and text ---


def _coyo(row: Row) -> bool:
    if row["n_words_whitespace"] < 3 or row["n_words_whitespace"] > 256 or row["n_chars"] <= 5 or row["n_chars"] > 1000:
        return False
    if row["rows_per_text"] > 10 or row["language_cld3"] != "en" or not row["n_nouns"] or row["list_coyo"]:
        return False
    if not row["decodable"] or row["bytes"] < 5000 or row["aspect"] > 3.0 or row["min_side"] < 200:
        return False
    return row["nsfw"] <= 0.5 and row["eval_distance"] != 0


PUBLISHED["coyo"] = PublishedFilter(
    each(_coyo),
    {
        "n_words_whitespace": 8,
        "n_chars": 50,
        "rows_per_text": 1,
        "language_cld3": "en",
        "decodable": True,
        "bytes": 9000,
        "min_side": 400,
        "aspect": 1.5,
        "nsfw": 0.0,
        "eval_distance": 12,
        "n_nouns": 2,
        "list_coyo": 0,
    },
    {
        "n_words_whitespace": [2, 3, 256, 257],
        "n_chars": [5, 6, 1000, 1001],
        "rows_per_text": beside(10),
        "language_cld3": ["en", "de", "und"],
        "decodable": [True, False],
        "bytes": beside(5000),
        "min_side": beside(200),
        "aspect": beside(3.0, 0.001),
        "nsfw": beside(0.5, 0.001),
        "eval_distance": [0, 1, 65],
        "n_nouns": [0, 1],
        "list_coyo": [0, 1],
    },
    off=("one_of_each",),
)


# --- DataComp's other baselines ---


def _caption_filter(row: Row) -> bool:
    return bool(row["language"] == "en" and row["n_words_fasttext"] > 1 and row["n_chars"] > 5)


def _datacomp_1b(rows: Sequence[Row]) -> list[bool]:
    tops = _top("similarity_l14", (3, 10))(rows)
    return [top and _caption_filter(row) and row["head_in1k_cluster"] == 1 for top, row in zip(tops, rows, strict=True)]


_IMAGE_BASED: Row = {"language": "en", "n_words_fasttext": 5, "n_chars": 30, "head_in1k_cluster": 1}
_IMAGE_EDGES: Mapping[str, Sequence[Any]] = {
    "language": ["en", "de", "und"],
    "n_words_fasttext": beside(1),
    "n_chars": beside(5),
    "head_in1k_cluster": [0, 1],
}
PUBLISHED["datacomp-text"] = PublishedFilter(
    each(lambda row: row["language"] == "en" and row["has_hypernym_in21k"]),
    {"language": "en", "has_hypernym_in21k": True},
    {"language": ["en", "de", "und"], "has_hypernym_in21k": [True, False]},
)
PUBLISHED["datacomp-image"] = PublishedFilter(
    each(lambda row: _caption_filter(row) and row["head_in1k_cluster"] == 1), _IMAGE_BASED, _IMAGE_EDGES
)
PUBLISHED["datacomp-1b"] = PublishedFilter(
    _datacomp_1b,
    {**_IMAGE_BASED, "similarity_l14": 0.69},
    {
        **{name: [*values, *[_IMAGE_BASED[name]] * 9] for name, values in _IMAGE_EDGES.items()},
        "similarity_l14": COSINES,
    },
    relative=True,
)


# --- Sieve, HYPE, s-CLIPLoss and NormSim, M-FLYT ---


def _minmax(values: Sequence[float]) -> list[float]:
    return [(value - min(values)) / (max(values) - min(values)) for value in values]


def _standard(values: Sequence[float]) -> list[float]:
    mean, deviation = statistics.fmean(values), statistics.pstdev(values)
    return [(value - mean) / deviation for value in values]


def _by_scores(rows: Sequence[Row], scores: Sequence[float], number: int) -> list[bool]:
    return highest([{"score": round(score, 6)} for score in scores], lambda row: row["score"], number)


def _sieve(rows: Sequence[Row]) -> list[bool]:
    alignment, clip = (_minmax([row[name] for row in rows]) for name in ("similarity_sieve", "similarity_l14"))
    fused = [0.5 * ours + 0.5 * theirs for ours, theirs in zip(alignment, clip, strict=True)]
    return _by_scores(rows, fused, math.ceil(len(rows) / 5))


PUBLISHED["sieve"] = PublishedFilter(
    _sieve,
    {"similarity_sieve": 0.69, "similarity_l14": 0.69},
    {"similarity_sieve": COSINES, "similarity_l14": COSINES[:500]},
    relative=True,
)


def _hype(rows: Sequence[Row]) -> list[bool]:
    scores = [
        row["head_specificity_image"]
        + row["head_specificity_text"]
        - row["head_hyperbolic_distance"]
        + row["similarity_clip"]
        + row["head_in1k"]
        for row in rows
    ]
    return _by_scores(rows, scores, math.ceil(len(rows) / 5))


_HYPE = ("head_specificity_image", "head_specificity_text", "head_hyperbolic_distance", "similarity_clip", "head_in1k")
PUBLISHED["hype"] = PublishedFilter(
    _hype,
    dict.fromkeys(_HYPE, 0.25),
    dict.fromkeys(_HYPE, COSINES),
    overrides=("hype.top_fraction=0.2",),
    relative=True,
)


def _scliploss_normsim(rows: Sequence[Row]) -> list[bool]:
    first = highest(rows, lambda row: row["similarity_scliploss"], math.ceil(len(rows) * 3 / 10))
    return highest(rows, lambda row: row["eval_similarity_normsim"], math.ceil(len(rows) / 5), of=first)


PUBLISHED["s-cliploss-normsim"] = PublishedFilter(
    _scliploss_normsim,
    {"similarity_scliploss": 0.69, "eval_similarity_normsim": 0.69},
    {"similarity_scliploss": COSINES, "eval_similarity_normsim": COSINES},
    relative=True,
)
_FLYT = {
    "similarity_dfn_ft": 0.80,
    "head_flyt": 0.65,
    "similarity_dfn": 0.60,
    "eval_similarity_normsim": 0.55,
    "similarity_scliploss": 0.51,
    "head_hyperbolic_distance": -0.45,
    "head_in1k": 0.36,
    "similarity_l14": 0.21,
    "head_cc2m": 0.17,
    "similarity_b32": 0.08,
    "head_specificity_image": 0.02,
    "head_specificity_text": -0.05,
}


def _m_flyt(rows: Sequence[Row]) -> list[bool]:
    columns = {name: _standard([row[name] for row in rows]) for name in _FLYT}
    mixed = [sum(weight * columns[name][n] for name, weight in _FLYT.items()) for n in range(len(rows))]
    return _by_scores(rows, mixed, math.ceil(len(rows) / 5))


PUBLISHED["m-flyt"] = PublishedFilter(
    _m_flyt,
    dict.fromkeys(_FLYT, 0.25),
    dict.fromkeys(_FLYT, COSINES),
    overrides=("m_flyt.top_fraction=0.2",),
    relative=True,
)


# --- MetaCLIP: what balancing draws is the signal's; SemDeDup ---

PUBLISHED["metaclip-1"] = PublishedFilter(
    each(lambda row: row["language"] == "en" and row["entries_metaclip"] > 0 and row["balance_metaclip"] < 20000),
    {"language": "en", "entries_metaclip": 3, "balance_metaclip": 12.5},
    {"language": ["en", "de"], "entries_metaclip": [0, 1], "balance_metaclip": beside(20000.0, 0.000001)},
)


def _metaclip_2(row: Row) -> bool:
    t = {"en": 170000, "de": 900}.get(row["language"], 100)
    return row["entries_metaclip2"] > 0 and row["balance_metaclip2"] < t


PUBLISHED["metaclip-2"] = PublishedFilter(
    each(_metaclip_2),
    {"language": "en", "entries_metaclip2": 3, "balance_metaclip2": 500.0},
    {
        "language": ["en", "de", "fr", "zh"],
        "entries_metaclip2": [0, 1],
        "balance_metaclip2": [*beside(100.0, 0.000001), *beside(900.0, 0.000001), *beside(170000.0, 0.000001)],
    },
    overrides=("balanced.lt.de=900", "balanced.lt.else=100"),
    off=("one_text",),
)
PUBLISHED["semdedup"] = PublishedFilter(
    each(lambda row: not row["earlier_similarity_semdedup"] > 1 - 0.05),
    {"earlier_similarity_semdedup": 0.3},
    {"earlier_similarity_semdedup": beside(0.95, 0.000001)},
    overrides=("earlier_similarity_semdedup.le=0.95",),
)


# --- OBELICS, config_filter_web_documents.yaml and web_document_filtering.py: the node level ---


def _obelics(row: Row) -> bool:
    if row["format"] not in {"jpg", "jpeg", "png", "webp"}:
        return False
    width, height, words = row["width"], row["height"], row["n_words_obelics"]
    if not (150 <= width <= 20000 and 150 <= height <= 20000 and 1 / 2 <= width / height <= 2):
        return False
    if words < 4 or words > 1000 or row["char_repetition_10"] > 0.1 or row["word_repetition_5"] > 0.1:
        return False
    if row["special_characters"] > 0.3 or row["stop_words"] < 0.3 or row["list_flagged"] / words > 0.01:
        return False
    runs_and_marks = row["n_runs_and_marks"]
    if runs_and_marks == 0 or (runs_and_marks >= 12 and row["punctuation"] < 0.001):
        return False
    return row["list_common"] / words >= 0.8


PUBLISHED["obelics"] = PublishedFilter(
    each(_obelics),
    {
        "format": "jpeg",
        "width": 300,
        "height": 300,
        "n_words_obelics": 200,
        "char_repetition_10": 0.0,
        "word_repetition_5": 0.0,
        "special_characters": 0.2,
        "stop_words": 0.4,
        "punctuation": 0.05,
        "n_runs_and_marks": 210,
        "list_flagged": 0,
        "list_common": 200,
    },
    {
        "format": ["jpeg", "png", "webp", "gif"],
        "width": [149, 150, 151, 300, 600, 601],
        "height": [149, 150, 151, 300, 600, 601],
        "n_words_obelics": [3, 4, 11, 12, 199, 200, 201, 250, 251],
        "char_repetition_10": beside(0.1, 0.001),
        "word_repetition_5": beside(0.1, 0.001),
        "special_characters": beside(0.3, 0.001),
        "stop_words": beside(0.3, 0.001),
        "punctuation": [0.0, 0.000999, 0.001],
        "n_runs_and_marks": [1, 11, 12, 13],
        "list_flagged": [0, 1, 2, 3, 10, 11],
        "list_common": [3, 4, 159, 160, 161],
    },
    meeting=[
        *({"width": w, "height": h} for w in beside(150) for h in beside(150)),
        *({"width": w, "height": h} for w in (10_000, *beside(20_000)) for h in (10_000, *beside(20_000))),
        *({"n_words_obelics": n, "list_common": n} for n in (3, 4, 5, 999, 1000, 1001)),
        *({"n_runs_and_marks": n, "punctuation": p} for n in (1, 11, 12, 13) for p in (0.0, 0.001)),
        {"n_runs_and_marks": 0, "punctuation": 0.0},
        *({"n_words_obelics": n, "list_common": n, "list_flagged": f} for n in (99, 100, 101) for f in (0, 1, 2)),
        *({"n_words_obelics": n, "list_common": c} for n in (4, 5, 10) for c in (3, 4, 5, 7, 8, 9)),
    ],
    derived=lambda row: {"aspect": max(row["width"], row["height"]) / min(row["width"], row["height"])},
)


def _special(character: str) -> bool:
    """OBELICS lists its special characters; here they are whatever is neither a letter nor a mark, as almost all are."""
    return unicodedata.category(character)[0] not in "LM"


def _stripped_words(text: str) -> list[str]:
    words = re.split(r"[ \n\t]", text.lower())
    bare = [[n for n, character in enumerate(word) if not _special(character)] for word in words]
    return [word[inside[0] : inside[-1] + 1] for word, inside in zip(words, bare, strict=True) if inside]


def _repeated_characters(text: str, length: int) -> float:
    counts = sorted(Counter(text[n : n + length] for n in range(len(text) - length + 1)).values(), reverse=True)
    repeated = min(int(math.sqrt(len(counts))), sum(count > 1 for count in counts))
    return sum(counts[:repeated]) / sum(counts) if counts else 0.0


def _repeated_words(words: Sequence[str], length: int) -> float:
    counts = Counter(tuple(words[n : n + length]) for n in range(len(words) - length + 1)).values()
    return sum(count for count in counts if count > 1) / sum(counts) if counts else 0.0


def obelics_text_rules(text: str) -> dict[str, bool]:
    """What OBELICS's filter says of a paragraph, by our rules' names; of stop words and lists nothing."""
    words = _stripped_words(text)
    marks = re.findall(r"[\w']+|[,;:?!.]", text)
    return {
        "n_words_obelics": 4 <= len(words) <= 1000,
        "char_repetition_10": _repeated_characters(text, 10) <= 0.1,
        "word_repetition_5": _repeated_words(words, 5) <= 0.1,
        "special_characters": sum(map(_special, text)) / max(1, len(text)) <= 0.3,
        "punctuation": bool(marks)
        and (len(marks) < 12 or sum(mark in ",;:?!." for mark in marks) / len(marks) >= 0.001),
    }


def datacomps_basic_filter(language: Callable[[str], str], text: str, width: int, height: int) -> bool:
    """What baselines/apply_filter.py does of one row: load_uids_with_basic_filter, and get_fasttext_language."""
    words, characters = len(text.split()), len(text)
    shorter, longer = min(width, height), max(width, height)
    english = language(text.replace("\n", " ")) == "en"
    return english and words > 2 and characters > 5 and shorter >= 200 and longer / shorter <= 3.0
