"""The rarest n-gram of a text, against a plain count, however long the text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

from conftest import Built

from align_data.data.ngrams import Ngram, rarest


def ngrams(text: str) -> list[str]:
    words = text.lower().split()
    return [*words, *map(" ".join, pairwise(words))]


def test_a_text_of_many_words_among_others(job: Callable[..., Built]) -> None:
    texts = ["a b", "b a", "a b c", "x", "a", " ".join(f"w{n % 4000}" for n in range(9000)), "zz a b", "a a a"]
    built = job([{"url": f"http://a/{n}", "alt_text": text} for n, text in enumerate(texts)])
    counts = Counter(ngram for text in texts for ngram in ngrams(text))
    asked = [*texts, "", "b never"]
    expected = []
    for text in asked:
        seen = [(counts[ngram], ngram) for ngram in ngrams(text)]
        expected.append(Ngram(min(seen)[1], min(seen)[0]) if seen else None)
    assert rarest(built.dataset, asked) == expected
