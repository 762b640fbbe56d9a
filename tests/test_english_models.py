"""What becomes of the packages of English words: the files that signals read, and nothing that a pickle could run."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
from typing import Any

import pytest

from align_data.models.named import available, english
from align_data.signals.tagger import Tagger
from align_data.signals.wordnet import WordNet

WEIGHTS = {"bias": {"NN": 0.001, "DT": -1.5}, "i word the": {"DT": 43.407}, "i word über": {"NN": 2.0}}


def pickled(value: Any) -> dict[str, bytes]:
    return {english.TAGGER.files[0].path: pickle.dumps(value, protocol=2)}  # as the package has it


def test_the_tagger_becomes_json_in_thousandths() -> None:
    made = english.tagger_files(pickled((WEIGHTS, {"cat": "NN"}, {"NN", "DT"})))
    assert json.loads(made["tagger.json"]) == {
        "tags": ["DT", "NN"],
        "words": {"cat": "NN"},
        "weights": {"bias": {"DT": -1500, "NN": 1}, "i word the": {"DT": 43407}, "i word über": {"NN": 2000}},
    }
    assert Tagger(made["tagger.json"]).tags == ["NN", "DT"]


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("evil",)


@pytest.mark.parametrize("value", [Evil(), (WEIGHTS, {}, {"NN": Evil()}), (WEIGHTS, {}, frozenset({"NN"}))])
def test_a_pickle_runs_nothing(value: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pickle.UnpicklingError, match="the tagger's file names"):
        english.tagger_files(pickled(value))
    assert list(tmp_path.iterdir()) == []


def test_wordnet_is_its_indexes_exceptions_and_notice() -> None:
    database = io.BytesIO()
    with tarfile.open(fileobj=database, mode="w:gz") as archive:
        for part in ("noun", "verb", "adj", "adv"):
            content = b"  1 licence\ndog n 2 1 @ 2 1 02084071 10114209  \n"
            info = tarfile.TarInfo(f"dict/index.{part}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    paths = [file.path for file in english.WORDNET.files]
    contents = [database.getvalue(), b"the notice", b"mice mouse\n", b"", b"", b""]
    made = english.wordnet_files(dict(zip(paths, contents, strict=True)))
    assert made["LICENSE"] == b"the notice"
    assert WordNet(made).first_synset("Dogs") == 2084071


def test_licences_are_those_of_the_packages() -> None:
    names = {"pos": "MIT", "wordnet": "WordNet 3.0", "in21k": "Apache-2.0"}
    assert {name: available.available(name).origin["license"] for name in names} == names
