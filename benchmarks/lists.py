"""Matching texts with 500,000 entries: MB a second of CPU by way to match; and balancing against MetaCLIP's loop.

Texts are of made-up words as uneven as those of a language, or a Parquet file's. Entries are a share of their words and
of pairs of neighbours, filled up with others: with a quarter, real texts have about the 3.5 entries of MetaCLIP's.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import numpy as np
import polars as pl
from made_words import Words

from align_data.data.pairs import normalise
from align_data.signals import Piece
from align_data.signals.user_lists import MATCHES, NO_ENTRY, Draws, ListRows, PhraseList, balance

PIECE = 100_000
AIM = 50
THRESHOLDS = (20, 200, 2_000, 20_000)


def captions(number: int) -> pl.Series:
    """Return texts of 3 to 17 made-up words, every third with a mark."""
    random = Random(18)
    words = Words(random, "en", 200_000)
    texts = (words.text(random.randint(3, 17)) for _ in range(number))
    return pl.Series([text.replace(" ", ", ", 1) + "." if n % 3 == 0 else text for n, text in enumerate(texts)])


def entries(texts: pl.Series, number: int, share: float) -> pl.Series:
    """Return a share of the words of the texts and of a third of all neighbours, filled up with runs of other words."""
    split = texts.str.split(" ").to_list()
    words = dict.fromkeys(word for text in split for word in text if word)
    pairs = dict.fromkeys(" ".join(pair) for text in split[::3] for pair in itertools.pairwise(text) if all(pair))
    random = Random(19)
    others = Words(random, "en", 200_000)
    sampled = (entry for entry in itertools.chain(words, pairs) if random.random() < share)
    listed = dict.fromkeys(itertools.islice(sampled, number))
    while len(listed) < number:
        listed[others.text(random.randint(1, 4))] = None
    return pl.Series(list(listed)).sample(fraction=1, shuffle=True, seed=0)


def pieces(texts: pl.Series) -> Iterator[Piece]:
    """Yield the texts as `align-data measure` takes them."""
    for start in range(0, len(texts), PIECE):
        of = texts[start : start + PIECE]
        uids = pl.Series([f"{start + n:032x}" for n in range(len(of))])
        yield Piece(pl.DataFrame({"alt_text": of, "uid": uids}))


def megabytes(texts: pl.Series) -> float:
    """Return how large texts are in UTF-8."""
    return int(texts.str.len_bytes().sum()) / 1e6


def seconds(texts: pl.Series, of: PhraseList) -> float:
    """Return the CPU time that counting occurrences and entries takes."""
    took = 0.0
    for piece in pieces(texts):
        began = time.process_time()
        for measure in of.columns.values():
            measure(piece)
        took += time.process_time() - began
    return took


def speeds(texts: pl.Series, listed: pl.Series, runs: int) -> None:
    """Print a row of the table for each way to match."""
    size = megabytes(texts)
    none = pl.Series([""]).new_from_index(0, len(listed))
    for match in ("padded", "word", "substring"):
        began = time.process_time()
        made = MATCHES[match].make(ListRows(none, listed, none, none), 0)
        built = time.process_time() - began
        assert isinstance(made, PhraseList)
        rates = [size / seconds(texts, made) for _ in range(runs)]
        matched = sum(int(made.columns["entries"](piece).sum()) for piece in pieces(texts)) / len(texts)
        print(
            f"| {match} | {len(listed):,} | {statistics.median(rates):.1f} ({min(rates):.1f} - {max(rates):.1f}) | "
            f"{built:.1f} | {matched:.1f} |"
        )


def loop(draws: Sequence[Draws], counts: dict[int, int], threshold: float) -> np.ndarray:
    """Return which pairs MetaCLIP's algorithm 1 keeps, pair by pair and entry by entry."""
    kept = []
    for of in draws:
        numbers = zip(of.entries.tolist(), of.draws.tolist(), strict=True)
        for length in of.lengths.tolist():
            each = [draw < min(1, threshold / counts[entry]) for entry, draw in itertools.islice(numbers, length)]
            kept.append(any(each))
    return np.array(kept)


def compare(texts: pl.Series, listed: pl.Series) -> None:
    """Print how many pairs the threshold and the loop keep, and how many rows differ."""
    none = pl.Series([""]).new_from_index(0, len(listed))
    made = MATCHES["padded"].make(ListRows(none, listed, none, none), 0)
    draws = [made.draws(piece) for piece in pieces(texts)]
    keys, places, totals = np.unique(
        np.concatenate([of.entries for of in draws]), return_inverse=True, return_counts=True
    )
    counts = dict(zip(keys.tolist(), totals.tolist(), strict=True))
    lengths = np.concatenate([of.lengths for of in draws])
    values = balance(totals[places], lengths, np.concatenate([of.draws for of in draws]))
    print(f"\n{len(texts):,} texts, {(values == NO_ENTRY).sum():,} without an entry\n")
    print("| t | kept by balance_NAME | by MetaCLIP's loop | rows that differ |\n|---|---|---|---|")
    for threshold in THRESHOLDS:
        below, by_loop = values < threshold, loop(draws, counts, threshold)
        print(f"| {threshold:,} | {below.sum():,} | {by_loop.sum():,} | {(below != by_loop).sum():,} |")


def main() -> None:
    """Run in turn."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=300_000)
    parser.add_argument("--entries", type=int, default=500_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--texts", type=Path, help="a Parquet file, whose column --column has texts")
    parser.add_argument("--column", default="TEXT")
    options = parser.parse_args()
    if options.texts is None:
        texts = captions(options.pairs)
    else:
        texts = normalise(pl.read_parquet(options.texts)[options.column].fill_null(""))
        texts = pl.concat([texts] * -(-options.pairs // len(texts)))[: options.pairs]
    print(f"{len(texts):,} texts of {megabytes(texts):.1f} MB\n")
    print(f"| match | entries | MB a second of CPU (aimed at: {AIM}) | seconds to build | entries a text |")
    print("|---|---|---|---|---|")
    listed = entries(texts, options.entries, 1)
    speeds(texts, listed, options.runs)
    for number in (100, 10_000):
        speeds(texts, listed[:number], options.runs)
    listed = entries(texts, options.entries, 1 / 4)
    speeds(texts, listed, options.runs)
    compare(texts, listed)


if __name__ == "__main__":
    main()
