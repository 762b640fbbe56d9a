"""WordNet's first synsets: those of a plain reading of its files, and DataComp's question of a list of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hostile_texts import HOSTILE
from hypothesis import given
from hypothesis import strategies as st

from align_data.common import placed_models
from align_data.common.errors import SignalError
from align_data.signals import find
from align_data.signals.base import Piece
from align_data.signals.wordnet import WordNet

PLACED = {name: placed_models.lookup(name) for name in ("wordnet", "in21k")}
"""The models where the user has them: each test has a place of its own."""
PARTS = ("noun", "verb", "adj", "adv")
LEMMAS: dict[str, dict[str, list[int]]] = {
    "noun": {"dog": [2084071, 10114209], "bus": [2924116], "man": [10287213], "run": [7460104], "leaf": [11609475],
             "ad": [7248801], "es": [13642415], "dress": [3236735], "hot_dog": [7697537]},
    "verb": {"run": [1926311], "dog": [2001858], "dress": [46534], "be": [2604760], "e": [5]},
    "adj": {"good": [1123148], "fine": [2081114], "e": [7]},
    "adv": {"well": [11093], "good": [11094]},
}  # fmt: skip
EXCEPTIONS = {"noun": {"mice": ["mouse"], "leaves": ["leave", "leaf"], "es": ["e"]}, "verb": {"ran": ["run"], "is": ["be"]}, "adj": {"better": ["good", "well"]}, "adv": {}}  # fmt: skip
ENDINGS = {
    "noun": ["s>", "ses>s", "ves>f", "xes>x", "zes>z", "ches>ch", "shes>sh", "men>man", "ies>y"],
    "verb": ["s>", "ies>y", "es>e", "es>", "ed>e", "ed>", "ing>e", "ing>"],
    "adj": ["er>", "est>", "er>e", "est>e"],
    "adv": [],
}


def files() -> dict[str, bytes]:
    """The database in its own format: licence, then lemma, part, synsets, pointers, senses and offsets."""
    made = {}
    for part in PARTS:
        lines = ["  1 This software and database is being provided to you  "]
        for lemma, synsets in sorted(LEMMAS[part].items()):
            pointers = ["@", "~"][: len(lemma) % 3]
            senses = " ".join(f"{offset:08}" for offset in synsets)
            fields = [lemma, part[0], len(synsets), len(pointers), *pointers, len(synsets), 1, senses]
            lines.append(" ".join(map(str, fields)) + "  ")
        made[f"index.{part}"] = "\n".join(lines).encode() + b"\n"
        made[f"{part}.exc"] = "".join(f"{form} {' '.join(of)}\n" for form, of in EXCEPTIONS[part].items()).encode()
    return made


def synsets(word: str) -> list[int]:
    """All synsets of a word, by the recipe of NLTK 3.8's morphy: exceptions, else endings until a form is known."""
    result = []
    for part in PARTS:
        known, form = LEMMAS[part], word.lower()
        if form in EXCEPTIONS[part]:
            forms = [form, *EXCEPTIONS[part][form]]
        else:
            forms, tried = [form], [form]
            while tried and not any(candidate in known for candidate in forms):
                pairs = [rule.split(">") for rule in ENDINGS[part]]
                tried = [each[: -len(old)] + new for each in tried for old, new in pairs if each.endswith(old)]
                forms = forms + tried
            if forms == [form]:  # the first round is asked together with the word itself
                forms += [form[: -len(o)] + n for o, n in (r.split(">") for r in ENDINGS[part]) if form.endswith(o)]
        result += [offset for form in dict.fromkeys(forms) if form in known for offset in known[form]]
    return result


stems = st.sampled_from([*(lemma for part in PARTS for lemma in LEMMAS[part]), "mice", "leaves", "x", "", "ran", "better", "is"])  # fmt: skip
endings = st.lists(st.sampled_from(["s", "es", "ed", "ing", "er", "est", "men", "ies", "ves", "S", "."]), max_size=4)
some_words = st.builds(lambda stem, ends: stem + "".join(ends), stems, endings)


@given(some_words)
def test_the_first_synset_is_that_of_a_plain_reading(word: str) -> None:
    assert WordNet(files()).first_synset(word) == next(iter(synsets(word)), None)


@pytest.fixture
def placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIGN_DATA_MODELS", str(tmp_path / "models"))
    placed_models.put("wordnet", files(), {"about": "of a test"})
    # n07248801 is an ad; of run the verb's offset is listed, and the noun's is the first.
    placed_models.put("in21k", {"synsets.txt": b"n02084071\nn07248801\nn01926311\nn01123148\n"}, {"about": "of a test"})


def measured(texts: list[str]) -> list[Any]:
    measure = find("has_hypernym_in21k").measure
    assert measure is not None
    return measure(Piece(pl.DataFrame({"alt_text": pl.Series(texts, dtype=pl.String)}))).to_list()


def test_a_text_has_one_where_a_word_between_blanks_has(placed: None) -> None:
    texts = {
        "two DOGS": True,
        "two dogs,": False,  # with its comma it is no word of WordNet
        "ran": True,  # a verb alone, whose synset is listed
        "a run": False,  # its first synset is the noun's
        "better": True,  # good, whose offset is listed: DataComp compares offsets whatever the part of speech
        "hot_dog": False,
        "ads ads": True,
        "": False,
        "x" * 101 + " dog": True,
        "esesesesed" * 9 + " " + "s" * 10**6: False,
    }
    assert measured([*texts, *texts]) == [*texts.values()] * 2
    assert measured([]) == []
    listed = {2084071, 7248801, 1926311, 1123148}
    odd = [f"{left} {right}" for left in ("dogs", "", "mice", "leaves") for right in HOSTILE]
    assert measured(odd) == [any((of := synsets(word)) and of[0] in listed for word in text.split(" ")) for text in odd]


def test_without_a_model_a_sentence_says_how_to_get_it(placed: None) -> None:
    signal = find("has_hypernym_in21k")
    assert signal.missing() is None
    assert signal.identity() == {"version": 1} | {name: placed_models.digest(name) for name in ("wordnet", "in21k")}
    placed_models.remove("in21k")
    assert signal.missing() == "need the model in21k: align-data model add in21k"
    placed_models.remove("wordnet")
    assert signal.missing() == (
        "need the models wordnet and in21k: align-data model add wordnet, then align-data model add in21k"
    )


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"index.noun": b"dog n\n"},
        {"index.noun": b"dog n 1 0 1 0 x\n"},
        {"index.noun": b"dog n 1 0 1 0\n"},
        {"noun.exc": b"\n"},
        {"index.adv": b"\xff"},
    ],
)
def test_what_is_no_database_is_a_sentence(damaged: dict[str, bytes]) -> None:
    with pytest.raises(SignalError, match="the model wordnet is not WordNet's database"):
        WordNet(files() | damaged if damaged else {})


def test_what_is_no_list_of_synsets_is_a_sentence(placed: None) -> None:
    placed_models.remove("in21k")
    placed_models.put("in21k", {"synsets.txt": b"n02084071\ndog\n"}, {"about": "of a test"})
    with pytest.raises(SignalError, match="the model in21k is not a list of synsets such as n02084071"):
        measured(["a dog"])


@pytest.mark.skipif(None in PLACED.values(), reason="needs the models: align-data model add wordnet, and in21k")
def test_imagenet_has_dogs_and_no_love(monkeypatch: pytest.MonkeyPatch) -> None:
    wordnet = PLACED["wordnet"]
    assert wordnet is not None
    monkeypatch.setenv("ALIGN_DATA_MODELS", str(wordnet.folder.parent))
    assert measured(["my Dogs", "love", "the of and", "benches", "mice!"]) == [True, False, False, True, False]
