"""What nobody can count before a run: each number with where it was measured."""

from __future__ import annotations

from align_data.stages.forecast.figures import Figure, assumed

_RESULTS = "benchmarks/RESULTS.md"
_SCALING = "docs/explanation/scaling.md"

ALIVE = assumed(0.66, "images/URL", f"{_SCALING}: 62 to 70 % of old links answered")
"""Of URLs, those that still have an image."""
FETCHED_BYTES = assumed(130_000, "bytes/image", f"{_SCALING}: sizes sampled")
RESIZED_BYTES = assumed(33_000, "bytes/image", f"{_SCALING}: 25 to 41 kB, shorter side 256")
URL_SECONDS = assumed(0.5, "seconds/URL", f"{_RESULTS}: names 300 ms, HTTP 100 ms, robots.txt before")
"""From the name to the last byte: what a connection is busy with a URL."""
FETCH_CORE_SECONDS = assumed(0.00206, "core-seconds/URL", f"{_RESULTS}: a real-like web")
IMAGE_CORE_SECONDS = assumed(0.00259, "core-seconds/image", f"{_RESULTS}: 5,000 photographs")
"""Size, hashes, decoding and pHash of one image."""
EXPORT_CORE_SECONDS = assumed(0.00308, "core-seconds/image", f"{_RESULTS}: build of a real-like web, less its fetch")
ARCHIVE_BYTES = {
    "wat": assumed(21e6, "bytes/core-second", f"{_RESULTS}: mixed WATs"),
    "warc": assumed(17e6, "bytes/core-second", f"{_RESULTS}: mixed WARCs"),
}
"""Kind of archive → bytes, as they are stored, that a core reads a second."""
TEXT_CORE_SECONDS = assumed(3.2e-6, "core-seconds/pair", f"{_RESULTS}: all that needs no image, without languages")
LANGUAGE_CORE_SECONDS = assumed(11.6e-6, "core-seconds/pair", f"{_RESULTS}: all that needs no image, languages too")
EXECUTOR_CORES, EXECUTOR_MEMORY = 4, 8 * 2**30
"""An executor as docs/explanation/scaling.md has them: 3 GB of JVM and 5 of overhead."""
SPARK_FACTOR = assumed(2.65, "", f"{_RESULTS}: Spark against the local engine, without start-up")

_PEAKS = ((1e6, 0.73e9), (3e6, 1.06e9), (1e7, 2.22e9), (1e8, 3.52e9))
"""Pairs → peak bytes of the text half on one machine with 4 GB for the tasks (benchmarks/RESULTS.md)."""


def text_memory(pairs: float, limit: int) -> Figure:
    """Return the peak memory of the text half: between what was measured, linear."""
    sizes = [(0.0, 0.25e9), *_PEAKS]
    at = next((i for i, (number, _) in enumerate(sizes) if number >= pairs), len(sizes))
    if at == 0:
        peak = sizes[0][1]
    elif at == len(sizes):
        peak = sizes[-1][1]
    else:
        (lower, low), (upper, high) = sizes[at - 1], sizes[at]
        peak = low + (high - low) * (pairs - lower) / (upper - lower)
    return assumed(min(peak, limit + 0.5e9), "bytes", f"{_RESULTS}: peaks of 1 M to 100 M pairs, linear between")
