"""A signal or a format that is defined wrongly says so, where it is defined; none is taken for another in silence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from align_data.common.errors import DatasetError, DefinitionError
from align_data.common.registry import registry
from align_data.exports import webdataset
from align_data.exports.formats import FORMATS as EXPORTS
from align_data.exports.scrub import ExportFolder, scrub_shard
from align_data.signals import SIGNALS
from align_data.sources.lists.registry import FORMATS as LISTS
from align_data.storage.store import Store


def test_two_of_one_name_are_refused() -> None:
    assert list(registry("signals", [("b", 1), ("a", 2)]).items()) == [("b", 1), ("a", 2)]
    with pytest.raises(DefinitionError, match="two signals are called a"):
        registry("signals", [("a", 1), ("b", 2), ("a", 1)])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "rwo"}, "the signal n_words has the kind 'rwo', not row, corpus, image, score"),
        ({"type": "int23"}, "has the type 'int23', not int32, int64"),
        ({"group": "txt"}, "has the group 'txt', not text, caption, corpus, image or copies"),
        ({"name": "N Emoji/.."}, "'N Emoji/..' is not a signal's name"),
        ({"needs": "alt_text"}, "needs tuples of columns"),
        ({"measure": None}, "has no measure"),
        ({"type": "string", "erased_by_takedown": None}, "holds text: say whether a takedown erases it"),
    ],
)
def test_a_signal_is_checked_where_it_is_defined(change: dict[str, Any], says: str) -> None:
    with pytest.raises(DefinitionError, match=says.replace(".", r"\.")):
        replace(SIGNALS["n_words"], **change)


@pytest.mark.parametrize("endings", [("orc",), ".orc"])
def test_an_input_format_has_endings_with_a_dot(endings: Any) -> None:
    with pytest.raises(DefinitionError, match="has the endings"):
        replace(LISTS["parquet"], endings=endings)


@pytest.mark.parametrize("ending", ["", ".zip"])
def test_a_shard_is_called_as_its_format_says(ending: str) -> None:
    with pytest.raises(DefinitionError, match=f"would call a shard 00000{ending}, which is not of its own form"):
        replace(EXPORTS["webdataset"], ending=ending)


def test_a_shard_that_a_format_did_not_scrub_ends_the_takedown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "00000.tar").write_bytes(b"")
    idle = replace(webdataset.FORMAT, scrub=lambda store, name, uids: [("a", 0), ("b", 1)])
    monkeypatch.setattr("align_data.exports.scrub.format_called", lambda _: idle)
    export = ExportFolder(Store(tmp_path), {"format": "idle", "shards": [{"name": "00000.tar", "pairs": 2}]})
    assert scrub_shard(export, "00000.tar", ["c"], lambda _: None).pairs == 2
    with pytest.raises(DatasetError, match=r"00000\.tar still has 1 of the 1 pairs to remove: the format"):
        scrub_shard(export, "00000.tar", ["a"], lambda _: None)
