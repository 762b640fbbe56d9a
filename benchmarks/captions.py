"""The statistics and defects of a million texts: CPU seconds of each alone, and of all together, on one core."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import polars as pl
from text_half import HERE

from align_data.data.pairs import normalise
from align_data.signals import SIGNALS, Signal, caption
from align_data.signals.base import Piece

AIM = 10.0
"""Seconds a million texts."""
PIECE = 100_000


def seconds(signals: Sequence[Signal], pairs: pl.DataFrame) -> float:
    """Return the CPU seconds that a million pairs take, piece by piece as `align-data measure` goes."""
    began = time.process_time()
    for start in range(0, len(pairs), PIECE):
        piece = Piece(pairs[start : start + PIECE])
        for signal in signals:
            assert signal.measure is not None
            signal.measure(piece)
    return (time.process_time() - began) * 1_000_000 / len(pairs)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--list", type=Path, default=HERE / "data" / "captions", help="a folder of Parquet files")
    parser.add_argument("--columns", default="url,text", help="what its URLs and texts are called")
    parser.add_argument("--signals", default=",".join(signal.name for signal in caption.SIGNALS))
    options = parser.parse_args()
    if not options.list.exists():
        options.list.parent.mkdir(exist_ok=True)
        subprocess.run([sys.executable, str(HERE / "coyo_shape.py"), "1000000", str(options.list)], check=True)
    files = sorted(options.list.glob("*.parquet")) if options.list.is_dir() else [options.list]
    url, text = options.columns.split(",")
    rows = pl.read_parquet(files[0], columns=[url, text], n_rows=options.pairs)
    rows = pl.concat([rows] * -(-options.pairs // len(rows)))[: options.pairs]  # a short list is repeated
    texts = normalise(rows[text].fill_null("").alias("alt_text"))
    pairs = pl.DataFrame([rows[url].fill_null("").alias("url"), texts])
    signals = [SIGNALS[name] for name in options.signals.split(",")]
    by_name = {signal.name: [signal] for signal in signals}
    seconds(signals, pairs[:1000])
    code_points = int(texts.str.len_chars().sum())
    print(f"{len(pairs):,} texts of {code_points / len(pairs):.0f} code points\n")
    print("| signal | CPU seconds a million |\n|---|---|")
    for name, of in {**by_name, "all together": signals, "n_words": [SIGNALS["n_words"]]}.items():
        print(f"| `{name}` | {statistics.median(seconds(of, pairs) for _ in range(options.runs)):.2f} |", flush=True)
    print(f"\naimed at: {AIM:.0f} for all together")


if __name__ == "__main__":
    main()
