"""The dataset card of an export: README.md, whose head tells Hugging Face's libraries which files are which split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from align_data.exports.formats import format_called
from align_data.exports.manifest import loaded_files, shards_by_split

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
_LARGER = ((10**8, "10M<n<100M"), (10**9, "100M<n<1B"), (10**10, "1B<n<10B"), (10**11, "10B<n<100B"))
_TYPES = {"double": "float64", "float": "float32", "large_string": "string"}
"""Arrow's names of types → those of Hugging Face."""


def value_type(arrow: str) -> str:
    """Return what Hugging Face calls an Arrow type."""
    return _TYPES.get(arrow, arrow)


def card(manifest: Mapping[str, Any]) -> str:
    """Return the card of an export."""
    head = yaml.safe_dump(_head(manifest), sort_keys=False, allow_unicode=True, width=1_000)
    return f"---\n{head}---\n\n" + "\n".join(_lines(manifest)) + "\n"


def license_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields on the licence: Hugging Face asks for a name where it knows no licence."""
    name = manifest["card"]["license"]
    return {"license": name} if name else {"license": "other", "license_name": "unknown"}


def _head(manifest: Mapping[str, Any]) -> dict[str, Any]:
    pairs = manifest["exported"]
    category = next((name for limit, name in (*_SIZES, *_LARGER) if pairs < limit), "n>1T")
    loader = format_called(manifest["format"]).loader
    files = [
        {"split": split.replace("-", "_"), "path": paths} for split, paths in loaded_files(manifest).items()
    ]  # no dash is allowed in the names of splits
    features = _features(manifest)
    return {
        "pretty_name": f"Image-text pairs, {manifest['ledger']}",
        **license_of(manifest),
        "task_categories": ["image-to-text", "text-to-image", "zero-shot-image-classification"],
        "tags": ["align-data", "alt-text", "image-text", *([loader] if loader else [])],
        "size_categories": [category],
        **({"configs": [{"config_name": "default", "data_files": files}]} if loader else {}),
        **({"dataset_info": {"config_name": "default", "features": features}} if features else {}),
    }


def _features(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the columns of tars, whose types would be guessed from five samples; Parquet has its own."""
    if not format_called(manifest["format"]).tars:
        return []
    columns = manifest["card"]["columns"]
    fields = [name for name in _JSON if name in columns]
    types = sorted({type_ for shard in manifest["shards"] for type_ in shard.get("types", ())})
    signals = [_value(name, type_) for name, type_ in columns.items() if name in manifest["signals"]]
    inside = [*(_value(name, columns[name]) for name in fields), _value("sha256", "string")]
    return [
        *({"name": type_, "dtype": "image"} for type_ in types),
        {"name": "txt", "dtype": "string"},
        {"name": "json", "struct": [*inside, {"name": "signals", "struct": signals}, _value("recipe", "string")]},
        *(_value(name, "string") for name in ("__key__", "__url__")),
    ]


_JSON = ("uid", "url", "alt_text", "original_width", "original_height", "width", "height")


def _value(name: str, arrow: str) -> dict[str, str]:
    return {"name": name, "dtype": value_type(arrow)}


def _lines(manifest: Mapping[str, Any]) -> Iterator[str]:
    facts = manifest["card"]
    yield f"# Image-text pairs chosen by the recipe {manifest['ledger']}\n"
    yield (
        f"{manifest['exported']:,} pairs of an image and its alt-text, kept by the rules below and written by "
        "align-data. `manifest.json` names every file with its SHA-256."
    )
    yield "\n## Splits\n"
    yield from _table(("split", "pairs", "shards", "bytes"), _counts(manifest))
    yield "\n## Recipe\n"
    yield " ".join(
        filter(None, [facts["title"] or manifest["ledger"], f"({facts['paper']})" if facts["paper"] else ""])
    )
    yield ""
    yield from (f"- {rule}" for rule in facts["rules"])
    yield "\n## Licence\n"
    yield (
        f"{facts['license']}, as whoever exported the set said."
        if facts["license"]
        else "Not known. The images and texts belong to whoever published them; their URLs are in the set."
    )
    if manifest.get("takedowns"):
        removed = sum(entry["pairs"] for entry in manifest["takedowns"])
        yield f"\n## Takedowns\n\n{removed:,} pairs were taken down after the export."


def _counts(manifest: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    for split, shards in shards_by_split(manifest).items():
        pairs, size = (sum(shard[key] for shard in shards) for key in ("pairs", "bytes"))
        yield split, f"{pairs:,}", f"{len(shards):,}", f"{size:,}"


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |"
