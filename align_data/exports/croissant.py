"""The Croissant description of an export: its files with their hashes, and what the columns are, as JSON-LD.

The format is MLCommons Croissant 1.0; search engines for data sets and `mlcroissant` read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from align_data.exports.card import license_of
from align_data.exports.formats import format_called
from align_data.exports.manifest import loaded_files

_CR = (
    *("citeAs", "column", "extract", "field", "fileObject", "fileProperty", "fileSet", "format", "includes"),
    *("isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex"),
    *("repeated", "replace", "separator", "source", "subField", "transform"),
)
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{name: f"cr:{name}" for name in _CR},
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}
"""What the standard's own documents begin with."""
_PARQUET = "application/x-parquet"
_MIME = {"jpg": "image/jpeg", "tif": "image/tiff"}
_TYPES = {"bool": "sc:Boolean", "double": "sc:Float", "float": "sc:Float"}


def croissant(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of an export."""
    format_ = format_called(manifest["format"])
    sets, records = _tar_records(manifest) if format_.tars else _parquet_records(manifest)
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": f"image-text-pairs-{manifest['ledger']}",
        "description": f"{manifest['exported']:,} pairs of an image and its alt-text, kept by {manifest['ledger']}.",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "license": license_of(manifest)["license"],
        "distribution": [*_shards(manifest), *(sets if format_.loader else ())],
        "recordSet": records if format_.loader else [],
    }


def _shards(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the shards that are files, each with its hash."""
    format_ = format_called(manifest["format"])
    if format_.member is not None:
        return []
    encoding = "application/x-tar" if format_.tars else _PARQUET
    return [
        {
            "@type": "cr:FileObject",
            "@id": shard["name"],
            "name": shard["name"],
            "contentUrl": shard["name"],
            "contentSize": f"{shard['bytes']} B",
            "encodingFormat": encoding,
            "sha256": shard["sha256"],
        }
        for shard in manifest["shards"]
    ]


def _tar_records(manifest: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """Return the files in tars, and a set of records of each kind of them: the image, and the text, by uid."""
    tars = [{"@id": shard["name"]} for shard in manifest["shards"]]
    sets, records = [], []
    for ending in (*_types(manifest), "txt"):
        kind, encoding = ("sc:Text", "text/plain") if ending == "txt" else ("sc:ImageObject", _mime(ending))
        sets.append({**_file_set(ending, encoding, [f"*.{ending}"]), "containedIn": tars})
        uid = {"fileProperty": "filename"}, {"transform": {"regex": rf"^(.*)\.{ending}$"}}
        records.append(
            {
                "@type": "cr:RecordSet",
                "@id": f"{ending}-files",
                "field": [
                    _field(f"{ending}-files/uid", "sc:Text", ending, *uid),
                    _field(f"{ending}-files/content", kind, ending, {"fileProperty": "content"}),
                ],
            }
        )
    return sets, records


def _parquet_records(manifest: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """Return the Parquet files, and the records that their rows are."""
    tables = [path for paths in loaded_files(manifest).values() for path in paths if path.endswith(".parquet")]
    columns = {name: _type(arrow) for name, arrow in manifest["card"]["columns"].items()}
    fields = [_field(f"pairs/{name}", kind, "tables", {"column": name}) for name, kind in columns.items()]
    records = {"@type": "cr:RecordSet", "@id": "pairs", "field": fields}
    return [_file_set("tables", _PARQUET, tables)], [records]


def _file_set(name: str, encoding: str, includes: list[str]) -> dict[str, Any]:
    return {"@type": "cr:FileSet", "@id": name, "name": name, "encodingFormat": encoding, "includes": includes}


def _field(
    name: str, kind: str, source: str, extract: Mapping[str, str], more: Mapping[str, Any] = {}
) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": name,
        "name": name,
        "dataType": kind,
        "source": {"fileSet": {"@id": source}, "extract": extract, **more},
    }


def _types(manifest: Mapping[str, Any]) -> list[str]:
    return sorted({type_ for shard in manifest["shards"] for type_ in shard.get("types", ())})


def _mime(ending: str) -> str:
    return _MIME.get(ending, f"image/{ending}")


def _type(arrow: str) -> str:
    return _TYPES.get(arrow, "sc:Integer" if arrow.startswith("int") else "sc:Text")
