"""Near-duplicates by pHash: which images have most, and pairs at each distance.

The signals say how many each image has and how far the nearest earlier one is, but not which: the few that are shown
are looked for, in one more pass over the stored pHashes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from align_data.common.progress import Progress, Tick
from align_data.data.layout import Dataset
from align_data.engines.base import Engine
from align_data.stages.audit.near.images import image_pieces, near_image
from align_data.stages.audit.near.values import (
    GROUPS,
    LISTED,
    MEMBERS,
    PAIRS,
    KeepOne,
    NearGroup,
    NearImage,
    NearMethod,
    NearPair,
    candidates_of_part,
)

NEEDED = ("phash", "near_phash", "earlier_phash_distance")


@dataclass(frozen=True)
class _NearCandidate:
    """An image that may be shown, of a group or of a pair."""

    near: int
    url: str
    phash: int
    area: int


@dataclass
class _PartScan:
    """What one part has."""

    distances: Counter[int] = field(default_factory=Counter)
    """Distance to the nearest earlier image → images."""
    centres: list[_NearCandidate] = field(default_factory=list)
    pairs: dict[int, list[_NearCandidate]] = field(default_factory=dict)
    """By distance."""


@dataclass
class _MatchesOfPart:
    """What of one part is near the images that are shown, for each of these."""

    number: list[int]
    members: list[list[tuple[int, NearImage]]]
    itself: list[NearImage | None]
    uids: list[list[str]]


def by_phash(dataset: Dataset, within: int, measured: frozenset[str], engine: Engine, progress: Progress) -> NearMethod:
    """Return near-duplicates within a distance by the signals NEEDED."""
    rows = [part.rows for part in dataset.ingested().parts]
    sides = [name for name in ("width", "height") if name in measured]
    most = candidates_of_part(len(rows))
    scans = engine.map_parts(
        "audit: near-duplicates", lambda part, tick: _scan(dataset, part, within, sides, most, tick), rows, progress
    )
    distances = sum((scan.distances for scan in scans), Counter())
    centres = _centres([candidate for scan in scans for candidate in scan.centres], within)
    pairs = {
        distance: [pair for scan in scans for pair in scan.pairs.get(distance, [])][:PAIRS]
        for distance in range(within + 1)
    }
    wanted = [*((within, 0, centre) for centre in centres), *((d, d, pair) for d in pairs for pair in pairs[d])]
    shown = sorted({*sides, "nsfw"} & measured)
    search = _PhashSearch(tuple(wanted))
    matches = (
        engine.map_parts(
            "audit: their images", lambda part, tick: search.part(dataset, part, shown, tick), rows, progress
        )
        if wanted
        else []
    )
    together = [search.together(matches, at) for at in range(len(wanted))]
    return NearMethod(
        title=f"pHash, within {within} bits",
        signal="earlier_phash_distance",
        unit="bits",
        threshold=within,
        images=distances.total(),
        keep_one=[KeepOne(d, sum(distances[n] for n in range(d + 1))) for d in range(within + 1)],
        groups=[group for group in map(_group, together[: len(centres)]) if group is not None],
        pairs=_pairs(wanted[len(centres) :], together[len(centres) :]),
        notes=("Exact: no pair within the distance is missed.",),
    )


def _scan(dataset: Dataset, part: int, within: int, sides: Sequence[str], most: int, tick: Tick) -> _PartScan:
    scan = _PartScan()
    for piece in image_pieces(dataset, part, [*NEEDED, *sides]):
        images = piece.filter(pl.col("phash").is_not_null(), pl.col("earlier_phash_distance").is_not_null())
        area = pl.col("width").cast(pl.Int64) * pl.col("height") if len(sides) == 2 else pl.lit(0, pl.Int64)
        images = images.with_columns(area=area.fill_null(0))
        scan.distances.update(dict(images.group_by("earlier_phash_distance").len().iter_rows()))
        near = images.filter(pl.col("near_phash") > 0)
        near = near.sort("near_phash", "area", "url", descending=[True, True, False])
        scan.centres += map(_candidate, near.unique("phash", keep="first", maintain_order=True).head(most).to_dicts())
        for distance in range(within + 1):
            found = scan.pairs.setdefault(distance, [])
            if len(found) < PAIRS:
                at = images.filter(pl.col("earlier_phash_distance") == distance).head(PAIRS - len(found))
                found += map(_candidate, at.to_dicts())
        tick(len(piece))
    scan.centres = sorted(scan.centres, key=_most_near)[:most]
    return scan


def _candidate(row: dict[str, int | str]) -> _NearCandidate:
    return _NearCandidate(int(row["near_phash"]), str(row["url"]), int(row["phash"]), int(row["area"]))


def _most_near(candidate: _NearCandidate) -> tuple[int, int, str]:
    """Order by how many images are near; of equally many the larger image first, which is the one that is kept."""
    return -candidate.near, -candidate.area, candidate.url


def _centres(candidates: Sequence[_NearCandidate], within: int) -> list[_NearCandidate]:
    """Return the centres of the largest groups, so far apart that no image is in two."""
    centres: list[_NearCandidate] = []
    for candidate in sorted(candidates, key=_most_near):
        if all(((candidate.phash ^ other.phash) & (2**64 - 1)).bit_count() > 2 * within for other in centres):
            centres.append(candidate)
        if len(centres) == GROUPS:
            break
    return centres


_Match = tuple[int, list[tuple[int, NearImage]], NearImage | None, list[str]]


@dataclass(frozen=True)
class _PhashSearch:
    """What is looked for: images at distances from `least` to `most` of some others. It travels to other machines."""

    wanted: tuple[tuple[int, int, _NearCandidate], ...]

    def part(self, dataset: Dataset, part: int, shown: Sequence[str], tick: Tick) -> _MatchesOfPart:
        """Look in one part."""
        hashes = np.array([candidate.phash for *_, candidate in self.wanted], np.int64).view(np.uint64)
        most, least = (np.array(column) for column in list(zip(*self.wanted, strict=True))[:2])
        urls = [candidate.url for *_, candidate in self.wanted]
        matches = _MatchesOfPart([0] * len(urls), [[] for _ in urls], [None] * len(urls), [[] for _ in urls])
        for piece in image_pieces(dataset, part, ["phash", *shown], texts=True):
            images = piece.filter(pl.col("phash").is_not_null())
            apart = np.bitwise_count(images["phash"].to_numpy().view(np.uint64)[:, None] ^ hashes)
            at_distance = (apart <= most) & (apart >= least)
            is_itself = np.array([images["url"].to_numpy() == url for url in urls]).T
            for at in np.flatnonzero(is_itself.any(axis=0)):
                (row,) = np.flatnonzero(is_itself[:, at])
                matches.itself[at] = near_image(part, images.row(int(row), named=True))
            at_distance &= ~is_itself
            for at in np.flatnonzero(at_distance.any(axis=0)):
                rows = np.flatnonzero(at_distance[:, at])
                matches.number[at] += len(rows)
                matches.uids[at] += images["uid"].gather(rows[: LISTED - len(matches.uids[at])]).to_list()
                rows = rows[np.argsort(-apart[rows, at].astype(int), kind="stable")][: 4 * MEMBERS]
                described = [near_image(part, images.row(int(row), named=True)) for row in rows]
                matches.members[at] += zip(apart[rows, at].tolist(), described, strict=True)
                matches.members[at] = _farthest(matches.members[at])
            tick(len(piece))
        return matches

    def together(self, parts: Sequence[_MatchesOfPart], at: int) -> _Match:
        """Return of one image how many are near it, the farthest of them, itself, and the uids of those near it."""
        members = [member for part in parts for member in part.members[at]]
        itself = next((part.itself[at] for part in parts if part.itself[at] is not None), None)
        uids = [uid for part in parts for uid in part.uids[at]]
        return sum(part.number[at] for part in parts), _farthest(members), itself, uids[:LISTED]


def _farthest(members: Sequence[tuple[int, NearImage]]) -> list[tuple[int, NearImage]]:
    """Return the farthest members, which show best what a group is; of equally far ones the larger first."""
    return sorted(members, key=lambda member: (-member[0], -_area(member[1]), member[1].url))[:MEMBERS]


def _area(image: NearImage) -> int:
    return (image.width or 0) * (image.height or 0)


def _group(match: _Match) -> NearGroup | None:
    number, members, centre, uids = match
    return None if centre is None else NearGroup(number + 1, centre, members, uids)


def _pairs(
    wanted: Sequence[tuple[int, int, _NearCandidate]],
    matches: Sequence[_Match],
) -> list[tuple[str, list[NearPair]]]:
    """Return the pairs of each distance that has any."""
    by_distance: dict[int, list[NearPair]] = {}
    for (distance, *_), (_, members, image, _) in zip(wanted, matches, strict=True):
        if image is not None and members:
            by_distance.setdefault(distance, []).append(NearPair(distance, members[0][1], image))
    return [(_bits(distance), pairs) for distance, pairs in by_distance.items()]


def _bits(distance: int) -> str:
    return "equal pHash" if not distance else "1 bit apart" if distance == 1 else f"{distance} bits apart"
