"""Near-duplicates by embedding, from the table neighbours/NAME: which earlier image each is nearest to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from align_data.common.progress import Progress, Tick
from align_data.data.calibration import read_calibration
from align_data.data.layout import Dataset
from align_data.data.meta import NeighboursMeta
from align_data.engines.base import Engine
from align_data.stages.audit.near.images import SHOWN, image_pieces, near_image, uids_by_part
from align_data.stages.audit.near.values import (
    CANDIDATES,
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

_STEPS = (0.999, 0.995, 0.99, 0.98, 0.97, 0.96, 0.95, 0.94, 0.93, 0.92, 0.91, 0.9)
Edge = tuple[float, str, str]
"""Cosine, uid of the earlier image, uid of the image."""


@dataclass
class _PartEdges:
    """What one part has of edges."""

    at_least: Counter[float] = field(default_factory=Counter)
    """Threshold → images with an earlier one that is so near."""
    children: Counter[str] = field(default_factory=Counter)
    """Uid of an image → images within the threshold whose nearest earlier one it is."""
    within: list[Edge] = field(default_factory=list)
    beyond: list[Edge] = field(default_factory=list)
    """Nearest to the threshold on either side."""


def by_embedding(
    dataset: Dataset, name: str, measured: frozenset[str], engine: Engine, progress: Progress
) -> NearMethod | None:
    """Return near-duplicates by the embeddings `name`; None where the table has not been finished."""
    manifest, pairs = dataset.neighbours(name).committed(), dataset.ingested()
    if manifest is None or not dataset.neighbours(name).whole(manifest):
        return None
    meta, rows = manifest.meta, [part.rows for part in manifest.parts]
    steps = sorted({meta.threshold, *(step for step in _STEPS if step >= meta.floor)}, reverse=True)
    most = candidates_of_part(len(rows))
    scan = _EdgeScan(dataset, name, meta.threshold, tuple(steps), most)
    parts = engine.map_parts("audit: near-duplicates", scan.part, rows, progress, "edges")
    candidates = Counter[str]()
    for part in parts:
        candidates.update(part.children)
    wanted = frozenset(uid for uid, _ in sorted(candidates.items(), key=lambda item: (-item[1], item[0]))[:CANDIDATES])
    hung = engine.map_parts("audit: groups", lambda part, tick: scan.hung(part, wanted, tick), rows, progress, "edges")
    groups = _largest(hung)
    chosen = {
        "the least near that are within the threshold": sorted(edge for part in parts for edge in part.within)[:PAIRS],
        "the nearest beyond it": sorted((edge for part in parts for edge in part.beyond), reverse=True)[:PAIRS],
    }
    edges = [edge for group in groups for edge in group.members] + [edge for of in chosen.values() for edge in of]
    uids = {uid for _, *both in edges for uid in both} | {group.centre for group in groups}
    shown = [signal for signal in SHOWN if signal in measured]
    images = _described(dataset, uids_by_part(pairs.meta.splits, uids), shown, engine, progress)
    return NearMethod(
        title=f"embeddings {name}, cosine from {meta.threshold:g}",
        signal=f"earlier_similarity_{name}",
        unit="cosine",
        threshold=meta.threshold,
        images=meta.images,
        keep_one=[KeepOne(step, sum(part.at_least[step] for part in parts)) for step in steps],
        groups=[shown_group for group in groups if (shown_group := group.shown(images)) is not None],
        pairs=[(kind, near) for kind, of in chosen.items() if (near := _pairs(of, images))],
        notes=tuple(_notes(dataset, name, meta)),
    )


@dataclass(frozen=True)
class _EdgeScan:
    """What is looked for in all parts. It travels to other machines."""

    dataset: Dataset
    name: str
    threshold: float
    steps: tuple[float, ...]
    most: int

    def part(self, part: int, tick: Tick) -> _PartEdges:
        """Count the edges of a part."""
        counts = _PartEdges()
        for edges in self._pieces(part, tick):
            counts.at_least.update({step: int((edges["similarity"] >= step).sum()) for step in self.steps})
            near = edges.filter(pl.col("similarity") >= self.threshold)
            counts.children.update(dict(near.group_by("earlier").len().iter_rows()))
            beyond = edges.filter(pl.col("similarity") < self.threshold)
            counts.within = sorted([*counts.within, *_edges(near.sort(*_ORDER).head(PAIRS))])[:PAIRS]
            last = _edges(beyond.sort(*_ORDER, descending=True).head(PAIRS))
            counts.beyond = sorted([*counts.beyond, *last], reverse=True)[:PAIRS]
        counts.children = Counter(
            dict(sorted(counts.children.items(), key=lambda item: (-item[1], item[0]))[: self.most])
        )
        return counts

    def hung(self, part: int, wanted: frozenset[str], tick: Tick) -> _Hung:
        """Return what hangs on the images `wanted` by the edges of a part."""
        hung = _Hung()
        uids = pl.Series("earlier", sorted(wanted), pl.String)
        for edges in self._pieces(part, tick):
            near = edges.filter(pl.col("similarity") >= self.threshold)
            own = near.filter(pl.col("earlier").is_in(uids.implode()))
            hung.children.update(dict(own.group_by("earlier").len().iter_rows()))
            for earlier, children in own.group_by("earlier").agg(pl.col("uid").head(LISTED)).iter_rows():
                hung.uids.setdefault(earlier, []).extend(children)
            for edge in _edges(own.sort(*_ORDER).group_by("earlier", maintain_order=True).head(MEMBERS)):
                hung.members.setdefault(edge[1], []).append(edge)
            hung.parents.update(
                dict(near.filter(pl.col("uid").is_in(uids.implode())).select("uid", "earlier").iter_rows())
            )
        hung.members = {uid: sorted(edges)[:MEMBERS] for uid, edges in hung.members.items()}
        return hung

    def _pieces(self, part: int, tick: Tick) -> Iterator[pl.DataFrame]:
        for piece in self.dataset.neighbours(self.name).pieces(part, list(_ORDER)):
            yield piece
            tick(len(piece))


_ORDER = ("similarity", "earlier", "uid")


def _edges(frame: pl.DataFrame) -> list[Edge]:
    return list(frame.select(_ORDER).iter_rows())


@dataclass
class _Hung:
    """What hangs on some images by the edges of one part."""

    children: Counter[str] = field(default_factory=Counter)
    members: dict[str, list[Edge]] = field(default_factory=dict)
    """The farthest of the children."""
    uids: dict[str, list[str]] = field(default_factory=dict)
    """The children, or LISTED of them from each piece."""
    parents: dict[str, str] = field(default_factory=dict)
    """Those of the images themselves that hang on others."""


@dataclass(frozen=True)
class _UidGroup:
    """A group by uids."""

    images: int
    centre: str
    members: list[Edge]
    others: list[str]

    def shown(self, images: Mapping[str, NearImage]) -> NearGroup | None:
        """Return the group with its images; None where its centre is not there any more."""
        members = [(value, images[uid]) for value, _, uid in self.members if uid in images]
        return NearGroup(self.images, images[self.centre], members, self.others) if self.centre in images else None


def _largest(parts: Sequence[_Hung]) -> list[_UidGroup]:
    """Return the largest groups: images that hang on each other are in one, each below its first."""
    children = sum((part.children for part in parts), Counter[str]())
    parents = {uid: parent for part in parts for uid, parent in part.parents.items() if parent in children}
    below: dict[str, list[str]] = {}
    for uid in children:
        root, steps = uid, 0
        while root in parents and steps < len(parents):  # earlier and earlier; of a damaged table perhaps in a circle
            root, steps = parents[root], steps + 1
        below.setdefault(root, []).append(uid)
    sizes = {root: 1 + sum(children[uid] for uid in uids) for root, uids in below.items()}
    groups = []
    for root in sorted(sizes, key=lambda uid: (-sizes[uid], uid))[:GROUPS]:
        members = sorted(edge for part in parts for uid in below[root] for edge in part.members.get(uid, []))
        others = [uid for part in parts for above in below[root] for uid in part.uids.get(above, [])]
        groups.append(_UidGroup(sizes[root], root, members[:MEMBERS], others[:LISTED]))
    return groups


def _described(
    dataset: Dataset, uids: Mapping[int, set[str]], signals: Sequence[str], engine: Engine, progress: Progress
) -> dict[str, NearImage]:
    """Return images by uid."""
    places = sorted(uids)

    def read(place: int, tick: Tick) -> list[NearImage]:
        part = places[place]
        images = []
        for piece in image_pieces(dataset, part, signals, texts=True):
            rows = piece.filter(pl.col("uid").is_in(list(uids[part])))
            images += [near_image(part, row) for row in rows.iter_rows(named=True)]
        tick(1)
        return images

    parts = engine.map_parts("audit: their images", read, [1] * len(places), progress, "parts")
    return {image.uid: image for part in parts for image in part}


def _pairs(edges: Iterable[Edge], images: Mapping[str, NearImage]) -> list[NearPair]:
    return [
        NearPair(value, images[earlier], images[uid])
        for value, earlier, uid in edges
        if earlier in images and uid in images
    ]


def _notes(dataset: Dataset, name: str, meta: NeighboursMeta) -> Iterator[str]:
    """Yield what is known of how good the comparison is, as sentences."""
    recall = meta.recall
    if recall is None:
        yield "The recall was not measured."
    elif not recall.pairs:
        yield f"Recall: the {recall.images:,} sampled images have no pair within {meta.threshold:g}."
    else:
        yield (
            f"Measured recall {recall.among / recall.pairs:.4f}: {recall.among:,} of the {recall.pairs:,} pairs within "
            f"{meta.threshold:g} that {recall.images:,} sampled images have. Every cosine is exact."
        )
    embedded = dataset.embedded(name).committed()
    calibration = read_calibration(dataset, name, embedded.meta.model) if embedded is not None else None
    if calibration is None:
        yield f"The threshold is not calibrated: align-data calibrate {name} DATASET says what it finds."
    elif calibration.threshold is None:
        yield f"Calibrated: no threshold is shown to find at most {calibration.promise}."
    else:
        at = calibration.at(meta.threshold)
        here = f"; this one finds {_rounded(at.high)} at most" if at is not None else ""
        yield (f"Calibrated: from {calibration.threshold:g} on at most {calibration.promise}{here}.")


def _rounded(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
