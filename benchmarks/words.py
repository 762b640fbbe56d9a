"""What words cost: the counts of words of a million texts, by language, and what ingest looks for in them."""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import polars as pl

from align_data.data.html_texts import Rewriting, rewritten
from align_data.data.pairs import normalise
from align_data.signals import SIGNALS
from align_data.signals.base import Piece

PIECE = 100_000
COUNTS = ("n_words", "n_words_whitespace", "n_words_fasttext", "n_words_icu")
LANGUAGES = {
    "English": ["A photograph of the old town hall at night", "Blue women's running shoes, size 38"],
    "German": ["Schöne Grüße aus München für die Straße", "Ein Bär läuft über die Brücke nach Hause"],
    "Persian": ["می‌خواهم کتاب‌ها را در خانه بخوانم", "این یک متن فارسی است برای سنجش"],
    "Japanese": ["夜の東京タワーを公園から撮影した写真", "桜の木の下で眠っている三毛猫"],
}


def seconds(work: Callable[[pl.Series], object], texts: pl.Series, runs: int) -> float:
    """Return the CPU seconds that a million texts take, piece by piece as a stage goes; the median of the runs."""
    work(texts[:1000])
    times = []
    for _ in range(runs):
        began = time.process_time()
        for start in range(0, len(texts), PIECE):
            work(texts[start : start + PIECE])
        times.append(time.process_time() - began)
    return statistics.median(times) * 1_000_000 / len(texts)


def counted(name: str) -> Callable[[pl.Series], object]:
    """Return what measures a signal of the text."""
    measure = SIGNALS[name].measure
    assert measure is not None
    return lambda texts: measure(Piece(pl.DataFrame({"alt_text": texts})))


def looked_at(rewriting: Rewriting) -> Callable[[pl.Series], object]:
    """Return what ingest does with texts beside making them canonical."""
    return lambda texts: rewritten(texts, rewriting, Counter())


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--list", type=Path, help="a Parquet file, for its own texts too")
    parser.add_argument("--column", default="TEXT", help="what its texts are called")
    options = parser.parse_args()
    pools = {name: pl.Series(texts) for name, texts in LANGUAGES.items()}
    if options.list is not None:
        pools[options.list.stem] = normalise(pl.read_parquet(options.list, columns=[options.column]).to_series())
    works = {name: counted(name) for name in COUNTS if SIGNALS[name].missing() is None}
    works |= {
        "normalise": normalise,
        "look for HTML": looked_at(Rewriting()),
        "--decode-entities --strip-markup": looked_at(Rewriting(decode_entities=True, strip_markup=True)),
    }
    print(f"| CPU seconds a million | {' | '.join(pools)} |\n|---{'|---' * len(pools)}|")
    for name, work in works.items():
        times = []
        for pool in pools.values():
            texts = pl.concat([pool] * -(-options.texts // len(pool)))[: options.texts].rechunk()
            times.append(f"{seconds(work, texts, options.runs):.2f}")
        print(f"| {name} | {' | '.join(times)} |", flush=True)


if __name__ == "__main__":
    main()
