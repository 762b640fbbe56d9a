"""The text half of ALIGN by hand, in Spark SQL: what the Spark engine is measured against.

    python benchmarks/spark_sql.py text-half|ngrams LIST OUT TOP_K

text-half does the whole job, ngrams counts unigrams and bigrams alone, from the list's texts. Tuned as a good engineer
would: distinct texts are tokenised once and weighted, n-grams are 64-bit hashes and not strings, codegen and adaptive
execution as they come. Texts are taken as they are, without NFC: less than the same job.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

from pyspark.sql import SparkSession

from align_data.engines.java import java_home

RUN = r"[\\p{L}\\p{Nd}][\\p{L}\\p{M}\\p{Nd}]*"
WORD = rf"{RUN}(?:[''’‐‑-]{RUN})*".replace("''", "\\'")
WORDS = f"transform(regexp_extract_all(lower(alt_text), '({WORD})', 1), t -> xxhash64(t))"
BIGRAMS = (
    "CASE WHEN size(h) > 1 THEN transform(sequence(1, size(h) - 1), i -> xxhash64(h[i - 1], h[i])) ELSE array() END"
)
EVERY = f"concat(h, {BIGRAMS})"


def ngrams(spark: SparkSession, source: str, out: str) -> None:
    """Count unigrams and bigrams, natively: explode and group."""
    spark.read.parquet(source).createOrReplaceTempView("list")
    spark.sql(
        f"""SELECT k, count(*) c FROM (SELECT explode({EVERY}) k FROM (SELECT {WORDS} h
        FROM (SELECT coalesce(text, '') alt_text FROM list))) GROUP BY k"""
    ).write.parquet(f"{out}/ngrams")


def text_half(spark: SparkSession, source: str, out: str, top_k: int) -> None:
    """Do the whole job; each step that is used twice is written and read again, as on a cluster."""

    def step(name: str, sql: str) -> None:
        began = time.monotonic()
        spark.sql(sql).write.parquet(f"{out}/{name}")
        spark.read.parquet(f"{out}/{name}").createOrReplaceTempView(name)
        print(f"{name:10} {time.monotonic() - began:6.1f} s", flush=True)

    spark.read.parquet(source).createOrReplaceTempView("list")
    step(
        "pairs",
        """SELECT url, alt_text, count(*) copies, min(struct(width, height)) size FROM (SELECT url,
        trim(regexp_replace(coalesce(text, ''), '\\\\s+', ' ')) alt_text, width, height FROM list)
        WHERE url RLIKE '^https?://' GROUP BY url, alt_text""",
    )
    step(
        "texts",
        f"""SELECT xxhash64(alt_text) id, alt_text, images_per_text, {WORDS} h
        FROM (SELECT alt_text, count(*) images_per_text FROM pairs GROUP BY alt_text)""",
    )
    step("ngrams", f"SELECT k, sum(n) c FROM (SELECT images_per_text n, explode({EVERY}) k FROM texts) GROUP BY k")
    classes = sorted(spark.sql("SELECT c, count(*) n FROM ngrams GROUP BY c").collect(), reverse=True)
    size, sizes = 0, []
    for row in classes:
        size += row.n
        sizes.append((abs(size - top_k), -size, row.c))
    threshold = min(sizes)[2]
    step(
        "rarest",
        f"""SELECT id, min(c) rarest_ngram FROM (SELECT id, explode({EVERY}) k FROM texts) JOIN ngrams USING (k)
        GROUP BY id""",
    )
    step("images", "SELECT url, count(*) texts_per_image FROM pairs GROUP BY url")
    step(
        "verdicts",
        f"""SELECT url, alt_text, copies, size.width declared_width, size.height declared_height,
        CAST(size(h) AS INT) n_words, images_per_text, texts_per_image,
        coalesce(rarest_ngram, {2**63 - 1}) rarest_ngram,
        CAST(size(h) NOT BETWEEN 3 AND 20 AS BIGINT) + 2 * CAST(images_per_text > 10 AS BIGINT)
        + 4 * CAST(coalesce(rarest_ngram, {2**63 - 1}) < {threshold} AS BIGINT)
        + 8 * CAST(texts_per_image > 1000 AS BIGINT) failed
        FROM pairs JOIN texts USING (alt_text) JOIN images USING (url) LEFT JOIN rarest USING (id)""",
    )


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["text-half", "ngrams"])
    parser.add_argument("source")
    parser.add_argument("out", type=Path)
    parser.add_argument("top_k", type=int)
    parser.add_argument("--master", default="local[2]")
    options = parser.parse_args()
    shutil.rmtree(options.out, ignore_errors=True)
    java_home()
    spark = (
        SparkSession.builder.master(options.master)
        .config("spark.driver.memory", "8g")
        .config("spark.sql.shuffle.partitions", "16")
        .config("spark.log.level", "ERROR")
        .getOrCreate()
    )
    began = time.monotonic()
    if options.what == "ngrams":
        ngrams(spark, options.source, str(options.out))
    else:
        text_half(spark, options.source, str(options.out), options.top_k)
    print(f"all        {time.monotonic() - began:6.1f} s", file=sys.stderr, flush=True)
    spark.stop()


if __name__ == "__main__":
    main()
