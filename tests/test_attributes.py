"""Captions with one attribute wrong: found as plain Python finds them, and scored as the definition of each score says."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_evaluate import DIM, Fake, Row, call, code_of, dot, fake, opened, random_unit, rows, write_shards

from align_data.common.errors import InputError
from align_data.common.progress import Silent
from align_data.train.attributes import OneWrong, one_wrong, read_attributes
from align_data.train.evaluate import evaluate
from align_data.train.metrics import unit

__all__ = ["fake"]

KINDS = (("red", "blue"), ("one", "two"))


class Reader(Fake):
    """Embeds a text as the sum of its words' vectors, but for those it is blind to, and image n as the n-th caption."""

    def __init__(self, captions: Sequence[str], blind: Sequence[str] = ()) -> None:
        super().__init__()
        words = sorted({word for caption in [*captions, "red blue one two"] for word in re.findall(r"\w+", caption)})
        self.vectors = dict(zip(words, random_unit(len(words), DIM, 3), strict=True))
        self.captions, self.blind, self.asked = captions, {*blind}, []

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        words = ([word for word in re.findall(r"\w+", text) if word not in self.blind] for text in texts)
        return unit(np.array([sum(self.vectors[word] for word in some) for some in words], np.float32))

    def images(self, pixels: np.ndarray) -> np.ndarray:
        return self.texts([self.captions[code_of(image[4, 4])] for image in pixels])


def judged(images: Sequence[Sequence[float]], texts: Sequence[Sequence[float]]) -> OneWrong:
    """Evaluate two pairs whose captions are counterparts."""
    rows = np.arange(2)
    arrays = (np.pad(np.array(some, np.float32), ((0, 0), (0, DIM - 2))) for some in (images, texts))
    return one_wrong(Reader(["a dog"]), (("red", "blue"),), ["a red dog", "a blue dog"], *arrays, rows, rows, 0)


few = st.lists(st.integers(-2, 2).map(lambda value: value / 4), min_size=2, max_size=2)


@given(st.tuples(few, few), st.tuples(few, few))
def test_scores_are_the_means_over_all_orders_of_equal_ones(images: Any, texts: Any) -> None:
    value = {(i, c): dot(images[i], texts[c]) for i in range(2) for c in range(2)}
    right: dict[str, list[bool]] = {"text": [], "image": [], "group": []}
    for shuffled in itertools.permutations(value):
        place = {pair: at for at, pair in enumerate(sorted(shuffled, key=lambda pair: -value[pair]))}  # stable
        right["text"].append(place[0, 0] < place[0, 1] and place[1, 1] < place[1, 0])
        right["image"].append(place[0, 0] < place[1, 0] and place[1, 1] < place[0, 1])
        right["group"].append(right["text"][-1] and right["image"][-1])
    found = judged(images, texts).counterparts
    assert found is not None
    assert found.couples == 1
    for name, orders in right.items():
        assert getattr(found, name).value == pytest.approx(float(Fraction(sum(orders), len(orders))))


SCENES = ["a red dog", "A blue dog.", "one red cat", "two red cat", "two blue cat", "a bluebird", "red red", "blue red"]


def test_counterparts_and_replacements_are_those_that_plain_python_finds(tmp_path: Path) -> None:
    model = Reader([scene.lower() for scene in SCENES])
    model.vectors |= {"A": model.vectors["a"]}
    shards = opened(tmp_path, [Row(n, scene) for n, scene in enumerate(SCENES)])
    model.asked.clear()
    found = evaluate(model, shards, Silent(), attributes=KINDS).attributes
    assert found is not None
    assert found.counterparts is not None
    assert found.replaced is not None
    words = [re.findall(r"\w+", scene.lower()) for scene in SCENES]
    couples = 0
    for one, other in itertools.combinations(words, 2):
        differ = [(a, b) for a, b in zip(one, other, strict=False) if a != b]
        couples += len(one) == len(other) and len(differ) == 1 and any({*differ[0]} == {*kind} for kind in KINDS)
    assert found.counterparts.couples == couples == 4
    wrong = model.asked[-found.replaced.captions :]
    with_words = [scene for scene in SCENES if scene != "a bluebird"]
    assert len(wrong) == len(with_words) == 7
    swap = {"red": "blue", "blue": "red", "one": "two", "two": "one"}
    for scene, made in zip(with_words, wrong, strict=True):
        options = [
            scene[: m.start()] + swap[m[0]] + scene[m.end() :] for m in re.finditer(r"\b(red|blue|one|two)\b", scene)
        ]
        assert made in options


def test_who_knows_is_right_and_who_does_not_see_it_is_at_chance(tmp_path: Path) -> None:
    scenes = [f"{n} {colour} {thing}" for n in ("one", "two") for colour in ("red", "blue") for thing in "abcdefg"]
    shards = opened(tmp_path, [Row(n, scene) for n, scene in enumerate(scenes)])
    knows = evaluate(Reader(scenes), shards, Silent(), attributes=KINDS)
    blind = evaluate(Reader(scenes, ["red", "blue"]), shards, Silent(), attributes=KINDS[:1])
    for found, figures in ((knows, (1, 1, 1, 1)), (blind, (0.5, 0.25, 0.25, 1 / 6))):
        assert found.attributes is not None
        assert found.attributes.replaced is not None
        couples = found.attributes.counterparts
        assert couples is not None
        measured = (found.attributes.replaced.right, couples.text, couples.image, couples.group)
        assert [figure.value for figure in measured] == pytest.approx(figures)
        assert couples.couples in (14, 28)
    half = evaluate(Reader(scenes, ["red", "blue"]), shards, Silent(), attributes=KINDS).attributes
    assert half is not None
    assert half.replaced is not None
    assert [(kind.words, kind.right.value) for kind in half.replaced.kinds] == [
        (("red", "blue"), pytest.approx(0.5)),
        (("one", "two"), pytest.approx(1)),
    ]
    assert sum(kind.captions for kind in half.replaced.kinds) == half.replaced.captions == 28
    assert not [note for note in knows.notes if "attribute" in note or "group" in note]
    assert [note.partition(" is not beyond chance")[0] for note in blind.notes[-2:]] == [
        "with one attribute replaced",
        "the group score",
    ]
    again = evaluate(Reader(scenes), shards, Silent(), attributes=KINDS)
    assert again == knows


def test_a_caption_that_is_right_too_is_no_wrong_one(tmp_path: Path) -> None:
    scenes = ["a red dog", "a blue dog", "a cat"]
    some = [Row(0, scenes[0]), Row(0, scenes[1]), Row(2, scenes[2])]
    found = evaluate(Reader(scenes), opened(tmp_path, some), Silent(), attributes=KINDS).attributes
    assert found == OneWrong(2, None, None)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "has no attributes"),
        ("# red, blue\n", "has no attributes"),
        ("red, light blue\n", "line 1: 'light blue' is not one word"),
        ("red, blue\nred, Red ,\n", "line 2: one word has nothing to be replaced by"),
        ("red, blue\nBLUE, green\n", "'blue' is in lines 1 and 2"),
        ("red, <b>\n", "'<b>' is not one word"),
    ],
)
def test_bad_attributes_are_sentences(tmp_path: Path, content: str, says: str) -> None:
    file = tmp_path / "attributes.txt"
    file.write_text(content)
    with pytest.raises(InputError, match=re.escape(says)):
        read_attributes(str(file))


def test_attributes_are_lines_of_words(tmp_path: Path) -> None:
    file = tmp_path / "attributes.txt"
    file.write_text("# of the scenes\nRed, blue,,red\n\nein, ZWEI, drei\n", encoding="utf-8")
    assert read_attributes(str(file)) == (("red", "blue"), ("ein", "zwei", "drei"))


@pytest.mark.usefixtures("fake")
def test_the_command_prints_them(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", [*rows(8), Row(20, "a red 20"), Row(21, "a blue 20")])
    (tmp_path / "attributes.txt").write_text("red, blue\n")
    (tmp_path / "others.txt").write_text("nah, fern\n")
    asked = ("evaluate", "model", shards, "--attributes")
    said = json.loads(call(*asked, tmp_path / "attributes.txt", "--json").stdout)["attributes"]
    assert (said["replaced"]["captions"], said["counterparts"]["couples"]) == (2, 1)
    shown = " ".join(call(*asked, tmp_path / "attributes.txt").stdout.split())
    assert "preferred in 50.0% (50.0% to 50.0%) of 2 captions" in shown  # it sees numbers alone
    assert "red, blue │ 2 │ 50.0% (50.0% to 50.0%)" in shown
    assert "1 couples of counterparts: text score" in shown
    nothing = call(*asked, tmp_path / "others.txt").stdout
    assert "no caption has a word of these kinds" in nothing
    assert "no two captions differ" in nothing
    assert "cannot read the attributes in" in call(*asked, tmp_path / "absent.txt", code=1).stderr
