"""Near-duplicates by embedding: how near the nearest image is. Their names end in that of a table embedded/NAME."""

from __future__ import annotations

from functools import partial

from align_data.signals.base import Signal, Type
from align_data.signals.families import Family

NONE = -1
"""The stored similarity that stands for 'no image is as near as the floor'."""

FLOORED = ("earlier_similarity", "nearest_similarity")
"""What the names of signals begin with that are NONE below the floor of their comparison."""


def _near(
    name: str,
    *,
    prefix: str,
    group: str,
    type_: Type,
    unit: str,
    about: str,
    source: str,
    none: int | None = None,
    erased: bool | None = None,
) -> Signal:
    lacks = f"need the neighbours: align-data neighbours {name} DATASET"
    if group == "eval":
        lacks += " --eval-index FILE"
    return Signal(
        name=f"{prefix}_{name}",
        kind="near",
        group=f"{group}.{name}",
        type=type_,
        unit=unit,
        about=about.format(name=name),
        source=source,
        needs=(),
        nullable=True,
        repeats=type_ == "string",
        lacks=lacks,
        null="their images have no embedding" + (", or no other image is so near" if type_ == "string" else ""),
        none=none,
        erased_by_takedown=erased,
    )


def _family(prefix: str, group: str, type_: Type, unit: str, about: str, source: str, **more: int | bool) -> Family:
    signal = partial(
        _near,
        prefix=prefix,
        group=group,
        type_=type_,
        unit=unit,
        about=about,
        source=source,
        **more,  # type: ignore[arg-type]
    )
    return Family(prefix, group, signal)


_ORDER = "earlier is the larger, then the one with the smaller SHA-256, then with the smaller key of its URL"

FAMILIES = (
    _family(
        "earlier_similarity",
        "near",
        "float64",
        "cosine",
        f"Highest cosine to an earlier image of the pool by embedded/{{name}}; {_ORDER}. So lt T keeps the first of "
        "images that are nearer than T.",
        "ours, for SemDeDup's (Abbas et al. 2023) and ALIGN's appendix A's thresholds",
        none=NONE,
    ),
    _family(
        "nearest_similarity",
        "near",
        "float64",
        "cosine",
        "Highest cosine to any other image of the pool by embedded/{name}.",
        "SemDeDup (Abbas et al. 2023)",
        none=NONE,
    ),
    _family(
        "nearest_duplicate",
        "near",
        "string",
        "uid",
        "The first pair of the image that is so near; of several the earliest.",
        "ours",
        erased=True,
    ),
    _family(
        "near_duplicates",
        "near",
        "int64",
        "images",
        "How many other images of the pool are at least as near as align-data neighbours --threshold.",
        "ours",
    ),
    _family(
        "eval_similarity",
        "eval",
        "float64",
        "cosine",
        "Highest cosine to an evaluation image by embedded/{name}.",
        "ALIGN appendix A, which dropped from 0.975 on by its own network; DataComp",
    ),
    _family(
        "eval_nearest",
        "eval",
        "string",
        "name",
        "The evaluation image that is so near; of several the first by name.",
        "ours",
        erased=True,
    ),
)
