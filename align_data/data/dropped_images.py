"""A sample of the images that a ledger drops: of each rule some, for people who want to see what was removed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from align_data.common.hashing import xxh3
from align_data.common.progress import Progress
from align_data.data.layout import Dataset
from align_data.data.ledger import Ledger
from align_data.recipes.plan import PlannedRule

SOME = 6
"""Images of a rule for which further parts are looked through: as many as an audit shows."""


@dataclass(frozen=True)
class DroppedImages:
    """Images that only pairs which a ledger drops have."""

    urls: Mapping[int, frozenset[str]]
    """Part → those of them that lie in it."""
    parts: int
    """As many parts, from the first, were looked through."""
    rules: Mapping[str, int]
    """Rule → how many of the images have a pair that fails it; in the ledger's order."""


class _Image(NamedTuple):
    part: int
    failed: int
    """The rules that a pair of it fails, as bits."""


Images = dict[str, _Image]
"""URL → its image; those first that are to be taken first."""


def dropped_images(dataset: Dataset, ledger: Ledger, number: int, progress: Progress) -> DroppedImages:
    """Return `number` images, or all there are, about as many of each rule: the same each time, and of few parts.

    A part is a range of a hash, so the first parts are as good as any; further ones are looked through until each rule
    has some. An image of a pair that a rule alone drops comes before others of the rule.
    """
    rules = {rule.bit: rule.name for rule in ledger.plan.in_force if _fails(ledger, rule)}
    quota = math.ceil(number / max(1, len(rules)))
    of_rules: dict[int, Images] = {bit: {} for bit in rules}
    every: Images = {}
    parts = 0
    with progress.step("fetch: sample", ledger.parts, "parts") as tick:
        while parts < ledger.parts and not _enough(of_rules, every, number, quota):
            dropped = _dropped(dataset, ledger.name, parts)
            for bit, images in of_rules.items():
                of_rule = dropped.filter(pl.col("failed") & bit != 0).with_columns(shared=pl.col("alone") != bit)
                images.update(_first(of_rule, parts, quota - len(images)))
            every.update(_first(dropped.with_columns(shared=pl.lit(value=False)), parts, number - len(every)))
            parts += 1
            tick(1)
    taken = _taken(list(of_rules.values()), every, number, quota)
    urls: dict[int, set[str]] = defaultdict(set)
    for url, image in taken.items():
        urls[image.part].add(url)
    counts = {name: sum(image.failed & bit != 0 for image in taken.values()) for bit, name in rules.items()}
    return DroppedImages({part: frozenset(urls[part]) for part in sorted(urls)}, parts, counts)


def _fails(ledger: Ledger, rule: PlannedRule) -> bool:
    return any(failed > 0 and failed & rule.bit for failed, _ in ledger.masks)


def _enough(of_rules: Mapping[int, Images], every: Images, number: int, quota: int) -> bool:
    return len(every) >= number and all(len(images) >= min(quota, SOME) for images in of_rules.values())


def _dropped(dataset: Dataset, ledger: str, part: int) -> pl.DataFrame:
    """Return the images of a part that no pair has which is not dropped.

    `failed` has the rules that a pair of it fails, `alone` those of the pair with fewest, `order` is the sample's.
    """
    pieces = zip(dataset.pairs.pieces(part, ["url"]), dataset.ledger(ledger).pieces(part, ["failed"]), strict=True)
    frames = [pairs.with_columns(masks["failed"]).filter(pl.col("failed") >= 0) for pairs, masks in pieces]
    rows = pl.concat(frames) if frames else pl.DataFrame(schema={"url": pl.String, "failed": pl.Int64})
    images = rows.filter(pl.col("url") != "").group_by("url").agg(
        pl.col("failed").bitwise_or(),
        pl.col("failed").sort_by(pl.col("failed").bitwise_count_ones()).first().alias("alone"),
        (pl.col("failed") == 0).any().alias("needed"),
    )  # fmt: skip
    return images.filter(~pl.col("needed")).with_columns(order=xxh3(pl.col("url") + "\nof dropped"))


def _first(images: pl.DataFrame, part: int, number: int) -> Images:
    """Return the first of some images: those that a rule alone drops before others, then in the order of the sample."""
    first = images.sort("shared", "order", "url").head(max(0, number))
    return {url: _Image(part, failed) for url, failed in first.select("url", "failed").iter_rows()}


def _taken(of_rules: Sequence[Images], every: Images, number: int, quota: int) -> Images:
    """Return the images of the sample: of each rule its share, the rarest first, and others for what is lacking."""
    taken: Images = {}
    for images in sorted(of_rules, key=len):
        fresh = [url for url in images if url not in taken]
        more = min(quota - (len(images) - len(fresh)), number - len(taken))
        taken.update({url: images[url] for url in fresh[: max(0, more)]})
    fresh = [url for url in every if url not in taken]
    taken.update({url: every[url] for url in fresh[: number - len(taken)]})
    return taken
