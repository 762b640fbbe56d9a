"""Sentences of words of our own making, in several scripts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from random import Random

SYLLABLES: Mapping[str, str] = {
    "en": "ba den fi gor hu lan mi nor pel ra sto tun ver wil yo zet ing er ly tion able",
    "de": "bau der für grö haus käl lich mut nüs stra ung zeit schö wer ß",
    "ru": "ба ве го да жи зо ка лу ми но пра ре ста ти у фа чи ый ость",
    "el": "αλ βη γο δι ελ θα κα λο μα νι πο ρα σι το φω ος",
    "ar": "با تي جو دا رم سل عن فا كت لا مو نور ها وا ية",
    "hi": "का की गा चा ता दि ना पा बा मा या रा ला सा ही",
    "ja": "あ か さ た な は ま や ら わ 山 川 空 花 木 日 本 カ メ ラ",
    "ko": "가 나 다 라 마 바 사 아 자 차 하 한 국 사진 집",
}
_JOINED = ("ja",)
"""Languages that put no blank between words."""


class Words:
    """Sentences of made-up words, some of them far more frequent than others."""

    def __init__(self, random: Random, language: str, size: int = 4000) -> None:
        self._random, self._between = random, "" if language in _JOINED else " "
        syllables = SYLLABLES[language].split()
        lengths = random.choices((1, 2, 3, 4), (2, 5, 4, 1), k=size)
        self._words = ["".join(random.choices(syllables, k=length)) for length in lengths]
        self._weights = list(itertools.accumulate(1 / rank for rank in range(3, size + 3)))

    def text(self, number: int) -> str:
        """Return so many words."""
        return self._between.join(self._random.choices(self._words, cum_weights=self._weights, k=number))
