"""Languages of texts of COYO's shape: texts a second of CPU, by column and by text; prints a table."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
from text_half import HERE

from align_data.data.pairs import normalise
from align_data.signals import find, language
from align_data.signals.base import Piece

AIM = 100_000
PIECE = 100_000


def at_once(texts: pl.Series) -> None:
    """Measure the languages as `align-data measure` does."""
    measure = find("language").measure
    assert measure is not None
    for start in range(0, len(texts), PIECE):
        measure(Piece(texts[start : start + PIECE].to_frame("alt_text")))


def one_by_one(texts: pl.Series) -> None:
    """Give each text to the library."""
    for text in texts:
        language._predict(text)


def rate(function: Callable[[pl.Series], None], texts: pl.Series) -> float:
    """Return how many texts a second of CPU time a function does."""
    began = time.process_time()
    function(texts)
    return len(texts) / (time.process_time() - began)


def main() -> None:
    """Run in turn."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--list", type=Path, default=HERE / "data" / "languages", help="a folder of Parquet files")
    options = parser.parse_args()
    if not options.list.is_dir():
        options.list.parent.mkdir(exist_ok=True)
        subprocess.run([sys.executable, str(HERE / "coyo_shape.py"), "1000000", str(options.list)], check=True)
    captions = pl.read_parquet(min(options.list.glob("*.parquet")), columns=["text"], n_rows=options.texts)["text"]
    texts = normalise(captions.fill_null(""))
    at_once(texts[:1000])
    one_by_one(texts[:1000])
    ways = {"a column at once": at_once, "one text at a time": one_by_one}
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(options.runs):
        for way, function in ways.items():
            rates[way].append(rate(function, texts))
    print("| languages | texts a second of CPU (min - max) |\n|---|---|")
    for way, seen in rates.items():
        aim = f", aimed at: {AIM:,}" if way == "a column at once" else ""
        print(f"| {way} | {statistics.median(seen):,.0f} ({min(seen):,.0f} - {max(seen):,.0f}{aim}) |")


if __name__ == "__main__":
    main()
