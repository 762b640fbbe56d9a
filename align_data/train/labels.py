"""What a user says of pairs: labels and languages; and the classes and prompt templates of zero-shot classification."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import polars as pl

from align_data.common.errors import InputError, nearest
from align_data.common.user_files import read_lines

TEMPLATES = ("a photo of a {}",)
"""Where none are given."""
_READERS: dict[str, Callable[[str], pl.DataFrame]] = {
    ".parquet": lambda file: pl.read_parquet(file, glob=False),
    ".csv": lambda file: pl.read_csv(file, infer_schema=False, glob=False),
    ".json": lambda file: pl.read_json(file, infer_schema_length=None),
    ".jsonl": lambda file: pl.read_ndjson(file, infer_schema_length=None),
}


def read_classes(file: str) -> tuple[str, ...]:
    """Return the classes, one per line; InputError if there are none, or duplicates."""
    classes = _lines(file, "classes")
    if not classes:
        raise InputError(f"{file} has no classes: write the name of one on each line")
    twice = next((name for place, name in enumerate(classes) if name in classes[:place]), None)
    if twice is not None:
        raise InputError(f"{file} has the class {twice!r} twice: each name stands for one class")
    return classes


def read_templates(file: str) -> tuple[str, ...]:
    """Return the prompt templates, one per line, each with one {}; InputError if there are none, or one lacks it."""
    templates = _lines(file, "templates")
    if not templates:
        raise InputError(f"{file} has no templates: write one on each line, such as {TEMPLATES[0]}")
    return checked_templates(templates, f"{file}: ")


def checked_templates(templates: Iterable[str], where: str = "") -> tuple[str, ...]:
    """Return prompt templates, each once; InputError for one that has not exactly one {}."""
    distinct = tuple(dict.fromkeys(templates))
    for template in distinct:
        if template.count("{}") != 1:
            raise InputError(f"{where}the template {template!r} must contain {{}} exactly once")
    return distinct


def _lines(file: str, what: str) -> tuple[str, ...]:
    return tuple(line for _, line in read_lines(file, f"the {what} in"))


def read_labels(file: str, column: str = "label") -> dict[str, str]:
    """Return the label of each pair by uid, or by URL where the file has no column uid; null is no label.

    Parquet, CSV, JSON (a list of objects) or JSON lines; `column` has the labels. Raises InputError for a file that is
    none of these, or in which one pair has two labels.
    """
    ending = Path(file).suffix.lower()
    if ending not in _READERS:
        raise InputError(f"{file}: {column}s are read from {', '.join(_READERS)}, by the ending of the name")
    try:
        rows = _READERS[ending](file)
    except (OSError, pl.exceptions.PolarsError, ValueError) as error:
        raise InputError(f"cannot read the {column}s in {file}: {' '.join(str(error).split())[:200]}") from error
    key = next((name for name in ("uid", "url") if name in rows.columns), None)
    if key is None or column not in rows.columns:
        raise InputError(f"{file} has the columns {', '.join(rows.columns)}: {column}s need uid or url, and {column}")
    try:
        rows = rows.select(pl.col(key, column).cast(pl.String)).drop_nulls().unique(maintain_order=True)
    except pl.exceptions.PolarsError:
        raise InputError(f"{file}: uid, url and {column} must be texts or numbers, not lists") from None
    twice = rows.filter(pl.col(key).is_duplicated())
    if len(twice):
        one, other = twice.filter(pl.col(key) == twice[key][0])[column][:2]
        raise InputError(f"{file} labels {twice[key][0]} both {one!r} and {other!r}: give one {column} each")
    return dict(rows.iter_rows())


def of_images(
    labels: Mapping[str, str], uids: Iterable[str], urls: Iterable[str], image_of: Iterable[int]
) -> dict[int, str]:
    """Return the label of each image by its number, where a pair of it has one.

    Raises InputError where the labels are of other pairs, or where two pairs of an image have different ones.
    """
    by_image: dict[int, str] = {}
    for uid, url, image in zip(uids, urls, image_of, strict=True):
        label = labels.get(uid, labels.get(url))
        if label is not None and by_image.setdefault(image, label) != label:
            raise InputError(
                f"the image of {uid} is labelled {by_image[image]!r} and {label!r}: an image has one class"
            )
    if not by_image:
        raise InputError(
            f"none of the {len(labels):,} labels matches a pair in the shards: labels are matched by uid or url"
        )
    return by_image


def numbers(labels: Iterable[str], classes: tuple[str, ...]) -> list[int]:
    """Return the index of each label among the classes; InputError for a label that is not one of them."""
    places = {name: place for place, name in enumerate(classes)}
    indices = []
    for label in labels:
        if label not in places:
            raise InputError(f"the label {label!r} is not one of the {len(classes):,} classes{nearest(label, classes)}")
        indices.append(places[label])
    return indices
