"""The text half of ALIGN by hand, in DuckDB SQL: what align-data is measured against.

    python benchmarks/duckdb_sql.py LIST OUT TOP_K [--variant normalising|raw|plain]

normalising: the same result, tuned as a good engineer would: distinct texts are tokenised once and weighted, n-grams
    are 64-bit hashes and not strings, insertion order is given up, each thread writes its own file. It makes neither
    uids nor sorted parts.
raw: the same with texts as they are, without NFC and white space collapsed, and only bigrams joined back: a pair of
    words is never more frequent than its words. Less than the same job.
plain: as most would write it: texts as they are, words split at blanks, n-grams as strings, unigrams and bigrams
    counted and joined back, only the ledger written. Less than the same job, and other words.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

import duckdb

RUN = r"[\p{L}\p{Nd}][\p{L}\p{M}\p{Nd}]*"
WORD = rf"{RUN}(?:[''’‐‑-]{RUN})*"  # the apostrophe doubled for SQL
NORMAL = r"trim(regexp_replace(nfc_normalize(text), '\s+', ' ', 'g'))"
BIGRAMS = "list_transform(range(1, len(h)), lambda i: hash(h[i], h[i + 1]))"
VARIANTS = ("normalising", "raw", "plain")


def statements(source: str, out: Path, top_k: int, variant: str) -> list[tuple[str, str]]:
    """Return the steps of a variant by name."""
    if variant == "plain":
        return plain(source, out, top_k)
    raw = variant == "raw"
    every = f"list_concat(h, {BIGRAMS})"
    asked = f"CASE WHEN len(h) > 1 THEN {BIGRAMS} ELSE h END" if raw else every
    return [
        (
            "pairs",
            f"""CREATE TABLE pairs AS
            SELECT url, alt_text, count(*) copies, min(struct_pack(width := width, height := height)) size
            FROM (SELECT url, {"text" if raw else NORMAL} alt_text, width, height
              FROM read_parquet('{source}/*.parquet'))
            WHERE url ~ '^https?://' GROUP BY ALL""",
        ),
        (
            "texts",
            f"""CREATE TABLE texts AS
            SELECT row_number() OVER () id, alt_text, n images_per_text,
              list_transform(regexp_extract_all(lower(alt_text), '{WORD}'), lambda t: hash(t)) h
            FROM (SELECT alt_text, count(*) n FROM pairs GROUP BY 1)""",
        ),
        (
            "ngrams",
            f"""CREATE TABLE ngrams AS SELECT k, sum(n)::BIGINT c
            FROM (SELECT images_per_text n, unnest({every}) k FROM texts) GROUP BY 1""",
        ),
        (
            "vocabulary",
            f"""CREATE TABLE vocabulary AS SELECT c threshold
            FROM (SELECT c, sum(n) OVER (ORDER BY c DESC) size FROM (SELECT c, count(*) n FROM ngrams GROUP BY 1))
            ORDER BY abs(size - {top_k}), size DESC LIMIT 1""",
        ),
        (
            "rarest",
            f"""CREATE TABLE rarest AS SELECT id, min(c) rarest_ngram
            FROM (SELECT id, unnest({asked}) k FROM texts) JOIN ngrams USING (k) GROUP BY 1""",
        ),
        ("images", "CREATE TABLE images AS SELECT url, count(*) texts_per_image FROM pairs GROUP BY 1"),
        (
            "write",
            f"""COPY (SELECT url, alt_text, copies, size.width declared_width, size.height declared_height,
              len(h)::INT n_words, images_per_text, texts_per_image, coalesce(rarest_ngram, {2**63 - 1}) rarest_ngram,
              (len(h) NOT BETWEEN 3 AND 20)::BIGINT + 2 * (images_per_text > 10)::BIGINT
              + 4 * (coalesce(rarest_ngram, {2**63 - 1}) < (SELECT threshold FROM vocabulary))::BIGINT
              + 8 * (texts_per_image > 1000)::BIGINT failed
            FROM pairs JOIN texts USING (alt_text) JOIN images USING (url) LEFT JOIN rarest USING (id))
            TO '{out}/verdicts' (FORMAT parquet, PER_THREAD_OUTPUT true, COMPRESSION snappy)""",
        ),
        ("write counts", f"COPY ngrams TO '{out}/ngrams.parquet' (FORMAT parquet)"),
    ]


def plain(source: str, out: Path, top_k: int) -> list[tuple[str, str]]:
    """Return the steps of the plain variant."""
    ngrams = "list_concat(w, list_transform(range(1, len(w)), lambda i: w[i] || ' ' || w[i + 1]))"
    return [
        (
            "pairs",
            f"""CREATE TABLE pairs AS SELECT url, text alt_text, count(*) copies
            FROM read_parquet('{source}/*.parquet') WHERE url ~ '^https?://' GROUP BY ALL""",
        ),
        (
            "texts",
            """CREATE TABLE texts AS
            SELECT row_number() OVER () id, alt_text, n images_per_text, string_split(lower(alt_text), ' ') w
            FROM (SELECT alt_text, count(*) n FROM pairs GROUP BY 1)""",
        ),
        (
            "ngrams",
            f"""CREATE TABLE ngrams AS SELECT k, sum(n)::BIGINT c
            FROM (SELECT images_per_text n, unnest({ngrams}) k FROM texts) GROUP BY 1""",
        ),
        (
            "vocabulary",
            f"CREATE TABLE vocabulary AS SELECT min(c) threshold FROM (FROM ngrams ORDER BY c DESC LIMIT {top_k})",
        ),
        (
            "rarest",
            f"""CREATE TABLE rarest AS SELECT id, min(c) rarest_ngram
            FROM (SELECT id, unnest({ngrams}) k FROM texts) JOIN ngrams USING (k) GROUP BY 1""",
        ),
        ("images", "CREATE TABLE images AS SELECT url, count(*) texts_per_image FROM pairs GROUP BY 1"),
        (
            "write",
            f"""COPY (SELECT url, alt_text, copies, len(w)::INT n_words, images_per_text, texts_per_image, rarest_ngram,
              (len(w) NOT BETWEEN 3 AND 20)::BIGINT + 2 * (images_per_text > 10)::BIGINT
              + 4 * (rarest_ngram < (SELECT threshold FROM vocabulary))::BIGINT
              + 8 * (texts_per_image > 1000)::BIGINT failed
            FROM pairs JOIN texts USING (alt_text) JOIN images USING (url) JOIN rarest USING (id))
            TO '{out}/verdicts' (FORMAT parquet, PER_THREAD_OUTPUT true)""",
        ),
    ]


def main() -> None:
    """Run all steps and print their times."""
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("out", type=Path)
    parser.add_argument("top_k", type=int)
    parser.add_argument("--variant", choices=VARIANTS, default="normalising")
    options = parser.parse_args()
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    connection = duckdb.connect()
    connection.execute(f"SET preserve_insertion_order = false; SET temp_directory = '{options.out}/tmp'")
    for name, sql in statements(options.source, options.out, options.top_k, options.variant):
        began = time.monotonic()
        connection.execute(sql)
        print(f"{name:13} {time.monotonic() - began:6.1f} s", flush=True)


if __name__ == "__main__":
    main()
