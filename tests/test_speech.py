"""Parts of speech: the tags of many texts at once are those of a perceptron that reads one word after the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner, Result
from hostile_texts import HOSTILE
from hypothesis import given
from hypothesis import strategies as st

from align_data.cli import main
from align_data.common import placed_models
from align_data.common.errors import InputError, SignalError
from align_data.signals import find, speech, tagger
from align_data.signals.base import Piece
from align_data.signals.tagger import Tagger

PLACED = placed_models.lookup("pos")
"""The model where the user has it: each test has a place of its own."""
NAMES = ("n_nouns", "n_determiners", "n_prepositions", "noun_ratio")
TAGS = ["DT", "IN", "NN", "VB"]
WORDS = ["the", "The", "dog", "dog-like", "-", "on", "runs", "1999", "12", "٣", "Ünder", "s"]


def features(words: list[str], place: int, tag_before: str, tag_second: str) -> list[str]:
    """What the perceptron knows of a word, as its author describes it."""

    def normal(word: str) -> str:
        if "-" in word and not word.startswith("-"):
            return "!HYPHEN"
        if word[0].isdigit():
            return "!YEAR" if len(word) == 4 and word.isdigit() else "!DIGITS"
        return word.lower()

    around = ["-START-", "-START2-", *map(normal, words), "-END-", "-END2-"]
    second, before, this, after, second_after = around[place : place + 5]
    return [
        "bias",
        f"i suffix {words[place][-3:]}",
        f"i pref1 {words[place][0]}",
        f"i-1 tag {tag_before}",
        f"i-2 tag {tag_second}",
        f"i tag+i-2 tag {tag_before} {tag_second}",
        f"i word {this}",
        f"i-1 tag+i word {tag_before} {this}",
        f"i-1 word {before}",
        f"i-1 suffix {before[-3:]}",
        f"i-2 word {second}",
        f"i+1 word {after}",
        f"i+1 suffix {after[-3:]}",
        f"i+2 word {second_after}",
    ]


def by_hand(model: dict[str, Any], words: list[str]) -> list[str]:
    """Tag one text, word by word."""
    tags = ["-START2-", "-START-"]
    for place, word in enumerate(words):
        sums = dict.fromkeys(model["tags"], 0)
        for feature in features(words, place, tags[-1], tags[-2]):
            for tag, weight in model["weights"].get(feature, {}).items():
                sums[tag] += weight
        tags.append(model["words"].get(word) or max(model["tags"], key=lambda tag: (sums[tag], tag)))
    return tags[2:]


texts_of_words = st.lists(st.lists(st.sampled_from(WORDS), max_size=7), max_size=9)
possible_features = sorted(
    {
        feature
        for words in ([a, b, c, d, e] for a in WORDS[:3] for b in WORDS for c in WORDS for d in WORDS[2:4] for e in "s")
        for place in range(5)
        for before in (*TAGS, "-START-")
        for feature in features(words, place, before, "NN")
    }
)
weights = st.dictionaries(
    st.sampled_from(possible_features),
    st.dictionaries(st.sampled_from(TAGS), st.integers(-3, 3), max_size=3),
    max_size=60,
)


@given(weights, st.dictionaries(st.sampled_from(WORDS), st.sampled_from(TAGS), max_size=3), texts_of_words)
def test_tags_are_those_of_one_word_after_the_other(
    weights: dict[str, dict[str, int]], words: dict[str, str], texts: list[list[str]]
) -> None:
    model = {"tags": TAGS, "words": words, "weights": weights}
    trained = Tagger(json.dumps(model).encode())
    tags = trained.tag(pl.Series(texts, dtype=pl.List(pl.String)))
    assert [trained.tags[tag] for tag in tags] == [tag for text in texts for tag in by_hand(model, text)]


TOKENS = {
    "": [],
    "A dog's tail isn't 1,000.5 m": ["A", "dog", "'s", "tail", "is", "n't", "1,000.5", "m"],
    "the mother-in-law of the U.S. (left), and they’ll": [
        "the", "mother-in-law", "of", "the", "U.S.", "(", "left", ")", ",", "and", "they", "’ll",
    ],
    "can't stop": ["ca", "n't", "stop"],
    "e\u0301te\u0301 -- 犬☕": ["e\u0301te\u0301", "-", "-", "犬", "☕"],
}  # fmt: skip


def test_tokens_are_the_treebanks() -> None:
    assert speech.tokens(pl.Series(list(TOKENS))).to_list() == list(TOKENS.values())


MODEL = {
    "tags": TAGS,
    "words": {"the": "DT", "on": "IN", ",": "IN"},
    "weights": {"bias": {"NN": 1}, "i word runs": {"VB": 5}, "i-1 tag+i word DT runs": {"NN": 7}},
}


@pytest.fixture
def placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALIGN_DATA_MODELS", str(tmp_path / "models"))
    placed_models.put("pos", {"tagger.json": json.dumps(MODEL).encode()}, {"about": "of a test"})
    return tmp_path


def run(*arguments: Any, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def measured(name: str, texts: list[str]) -> list[Any]:
    measure = find(name).measure
    assert measure is not None
    return measure(Piece(pl.DataFrame({"alt_text": pl.Series(texts, dtype=pl.String)}))).to_list()


def test_counts_are_of_words_by_class(placed: Path) -> None:
    # Signs are no words, be their tag what it may; digits are words, and never nouns.
    texts = ["the runs on the dog", "runs", "", "☕ , 12", "runs", "the dog 犬"]
    assert measured("n_nouns", texts) == [2, 0, 0, 0, 0, 2]
    assert measured("n_determiners", texts) == [2, 0, 0, 0, 0, 1]
    assert measured("n_prepositions", texts) == [1, 0, 0, 0, 0, 0]
    assert measured("noun_ratio", texts) == [2 / 5, 0, 0, 0, 0, 2 / 3]
    assert [measured(name, []) for name in NAMES] == [[]] * 4


def test_a_text_has_the_same_counts_in_any_company(placed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [
        *HOSTILE,
        HOSTILE,
        "the dog " * 2000,
        *["the", "runs", "on", "the", "dog", ",", "the", "runs"],
        "",
        HOSTILE[::-1],
    ]
    alone = [[measured(name, [text])[0] for text in texts] for name in NAMES]
    monkeypatch.setattr(tagger, "BATCH", 7)
    assert [measured(name, texts) for name in NAMES] == alone
    assert alone[0][texts.index("the dog " * 2000)] == speech.MOST_TOKENS // 2


def test_without_the_model_a_sentence_says_how_to_get_it(placed: Path) -> None:
    digest = placed_models.digest("pos")
    assert [find(name).identity() for name in NAMES] == [{"version": 1, "pos": digest}] * 4
    (placed_models.place() / "pos" / "tagger.json").write_text("{}")
    with pytest.raises(InputError, match="has other files than were put there: align-data model remove pos"):
        placed_models.contents("pos")
    placed_models.remove("pos")
    assert {find(name).missing() for name in NAMES} == {"need the model pos: align-data model add pos"}
    with pytest.raises(InputError, match="align-data model add pos puts it there"):
        placed_models.contents("pos")
    (placed / "list.csv").write_text("url,alt_text\nhttp://a.example/1,the dog\n")
    run("ingest", placed / "list.csv", "--out", placed / "pool")
    refused = run("measure", placed / "pool", "--signals", "n_nouns", code=1)
    assert "n_nouns cannot be measured: it would need the model pos: align-data model add pos" in refused.stderr
    (placed / "mixed.yaml").write_text(
        "name: mixed\nrules:\n- {signal: n_nouns, ge: 1}\n- {signal: word_repeat, le: 1}\n"
    )
    pending = " ".join(run("filter", placed / "pool", "--recipe", placed / "mixed.yaml").stderr.split())
    assert f"word_repeat can be: run align-data measure {placed / 'pool'} --signals word_repeat, then" in pending
    assert "n_nouns needs the model pos: align-data model add pos" in pending
    group = run("measure", placed / "pool", "--signals", "caption")  # what of it can be measured
    assert "word_repeat" in group.stdout
    assert "n_nouns, n_determiners, n_prepositions, noun_ratio need the model pos" in " ".join(group.stderr.split())


@pytest.mark.parametrize(
    "files",
    [
        {"weights.json": b"{}"},
        {"tagger.json": b"{}"},
        {"tagger.json": b"["},
        {"tagger.json": b"[]"},
        {"tagger.json": json.dumps(MODEL | {"weights": {"i-1 tag+i word DT": {"NN": 1}}}).encode()},
        {"tagger.json": json.dumps(MODEL | {"weights": {"bias": {"XY": 1}}}).encode()},
        {"tagger.json": json.dumps(MODEL | {"weights": {"bias": {"NN": "many"}}}).encode()},
    ],
)
def test_what_is_no_tagger_is_a_sentence(files: dict[str, bytes], placed: Path) -> None:
    placed_models.remove("pos")
    placed_models.put("pos", files, {"about": "of a test"})
    with pytest.raises(SignalError, match="the model pos is not a tagger of parts of speech"):
        measured("n_nouns", ["the dog"])


def test_it_is_measured_where_it_is_named_alone(placed: Path) -> None:
    (placed / "list.csv").write_text("url,alt_text\nhttp://a.example/1,the dog runs\n")
    run("ingest", placed / "list.csv", "--out", placed / "pool")
    run("measure", placed / "pool")
    assert not (placed / "pool" / "measured" / "caption").exists()
    rules = "- {signal: n_nouns, ge: 1}\n- {signal: noun_ratio, lt: 1}\n- {signal: n_words, ge: 1}\n"
    (placed / "nouns.yaml").write_text(f"name: nouns\nrules:\n{rules}")
    pending = run("filter", placed / "pool", "--recipe", placed / "nouns.yaml")
    advice = f"run align-data measure {placed / 'pool'} --signals n_nouns,noun_ratio, then filter again"
    assert advice in " ".join(pending.stderr.split())
    run("measure", placed / "pool", "--signals", "n_nouns,noun_ratio")
    assert "1 kept" in run("filter", placed / "pool", "--recipe", placed / "nouns.yaml").output
    table = pl.read_parquet(next((placed / "pool" / "measured" / "caption").glob("*.parquet")))
    assert table.to_dicts() == [{"n_nouns": 1, "noun_ratio": 1 / 3}]


@pytest.mark.skipif(PLACED is None, reason="needs the model: align-data model add pos")
def test_captions_have_the_nouns_that_a_reader_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PLACED is not None
    monkeypatch.setenv("ALIGN_DATA_MODELS", str(PLACED.folder.parent))
    captions = [
        "A man in a red hat sits on the old bench",
        "very old and red",
        "IMG 1234",
        "Dogs and cats playing",
    ]
    assert measured("n_nouns", captions) == [3, 0, 1, 2]
    assert measured("n_determiners", captions) == [3, 0, 0, 0]
    assert measured("n_prepositions", captions) == [2, 0, 0, 0]
