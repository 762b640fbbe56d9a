"""Generate a list of COYO's shape: 88 % distinct URLs, 76 % distinct texts, words from a Zipf vocabulary of 2 M.

    python benchmarks/coyo_shape.py 10000000 data/10m

Every row is a function of its number, so that any size is made in pieces, and the same again anywhere.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

VOCABULARY = 2_000_000
FILE_ROWS = 1_000_000
PIECE = 250_000

Numbers = NDArray[np.uint64]


def mix(numbers: Numbers) -> Numbers:
    """Scramble 64-bit numbers (the finaliser of splitmix64)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def uniform(numbers: Numbers, stream: int) -> NDArray[np.float64]:
    """Return one number from [0, 1) for each, independent from stream to stream."""
    return (mix(numbers * np.uint64(16) + np.uint64(stream)) >> np.uint64(11)).astype(np.float64) / 2**53


@cache
def vocabulary() -> pl.Series:
    """Return four forms of each word behind one another: plain, capitalised, with a comma, at the end of a sentence."""
    random = np.random.default_rng(1)
    rank = np.arange(VOCABULARY)
    lengths = np.clip(2.2 + 0.45 * np.log2(rank + 2) + random.normal(0, 1.6, VOCABULARY), 1, 16).astype(np.int64)
    letters = (random.integers(0, 26, int(lengths.sum())) + ord("a")).astype(np.uint8)
    ends = np.append(0, np.cumsum(lengths))
    plain = pl.Series(pa.LargeStringArray.from_buffers(VOCABULARY, pa.py_buffer(ends), pa.py_buffer(letters)))
    word, place = pl.col("word"), pl.int_range(pl.len())
    frame = pl.DataFrame({"word": plain}).select(
        pl.when(place % 37 == 11)
        .then(word.str.head(3) + "-" + word)
        .when(place % 53 == 12)
        .then(word + "'s")
        .when(place % 83 == 17)
        .then(word + "é")
        .otherwise(word)
        .alias("word")
    )
    forms = frame.select(
        word,
        capitalised=word.str.head(1).str.to_uppercase() + word.str.slice(1),
        comma=word + ",",
        end=word.str.head(1).str.to_uppercase() + word.str.slice(1) + ".",
    )
    return pl.concat([forms[name] for name in forms.columns]).rechunk()


@cache
def zipf() -> NDArray[np.float64]:
    """Return the distribution function of the words' ranks."""
    weights: NDArray[np.float64] = np.cumsum(1 / np.arange(1, VOCABULARY + 1) ** 1.02)
    share: NDArray[np.float64] = weights / weights[-1]
    return share


def texts(ids: Numbers) -> pl.Series:
    """Return the text of each id: a log-normal number of words, mean 8 to 9, at most 60."""
    noise = np.sqrt(-2 * np.log(1 - uniform(ids, 7))) * np.cos(2 * np.pi * uniform(ids, 8))
    lengths = np.clip(np.exp(np.log(7.6) + 0.5 * noise), 1, 60).astype(np.int64)
    ends = np.append(0, np.cumsum(lengths))
    place = np.arange(ends[-1]) - np.repeat(ends[:-1], lengths)
    words = np.repeat(ids, lengths) * np.uint64(64) + place.astype(np.uint64)
    rank = np.searchsorted(zipf(), uniform(words, 9))
    form = np.array([0, 0, 0, 0, 0, 0, 1, 1, 2, 3])[(uniform(words, 10) * 10).astype(np.int64)]
    chosen = vocabulary().gather(rank + form * VOCABULARY).to_arrow(compat_level=pl.CompatLevel.oldest())
    return pl.Series(pa.LargeListArray.from_arrays(pa.array(ends), chosen)).list.join(" ")


def piece(first: int, stop: int, rows: int) -> pl.DataFrame:
    """Return the rows from `first` up to `stop` of a list of so many rows."""
    row = np.arange(first, stop, dtype=np.uint64)
    again = (uniform(row, 2) * rows).astype(np.uint64)
    row = np.where(uniform(row, 1) < 0.01, again, row)  # whole duplicates
    hot_url = (uniform(row, 4) ** 3 * (rows // 25)).astype(np.uint64) + np.uint64(1 << 40)
    url = np.where(uniform(row, 3) < 0.15, hot_url, row)
    hot_text = (uniform(row, 6) ** 4 * (rows // 15)).astype(np.uint64) + np.uint64(1 << 41)
    text = np.where(uniform(row, 5) < 0.28, hot_text, row)
    parts = pl.DataFrame(
        {
            "host": mix(url) % np.uint64(50_000),
            "folder": mix(url + np.uint64(7)),
            "file": mix(url + np.uint64(8)) >> np.uint64(36),
        }
    )
    urls = parts.select(
        pl.format("https://img{}.example-{}.com/photos/{}/{}.jpg", pl.col("host") % 7, "host", "folder", "file")
    ).to_series()
    return pl.DataFrame(
        {
            "url": urls,
            "text": texts(text),
            "width": (100 + uniform(url, 11) ** 2 * 1900).astype(np.int32),
            "height": (100 + uniform(url, 12) ** 2 * 1900).astype(np.int32),
        }
    )


def write(rows: int, out: Path) -> None:
    """Write the list as Parquet files of a million rows, snappy, as COYO's are."""
    out.mkdir(parents=True, exist_ok=True)
    for number in range(-(-rows // FILE_ROWS)):
        first, stop = number * FILE_ROWS, min(rows, (number + 1) * FILE_ROWS)
        frames = [piece(at, min(at + PIECE, stop), rows) for at in range(first, stop, PIECE)]
        table = pl.concat(frames).to_arrow(compat_level=pl.CompatLevel.oldest())
        # Renamed when whole: a list that is there is complete.
        path = out / f"{number:05d}.parquet"
        pq.write_table(table, path.with_suffix(".tmp"), compression="snappy", use_dictionary=False)
        path.with_suffix(".tmp").rename(path)


if __name__ == "__main__":
    write(int(sys.argv[1]), Path(sys.argv[2]))
