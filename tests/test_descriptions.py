"""Descriptions chosen without class names: the method in plain Python, and planted truth."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from test_evaluate import DIM, Fake, call, fake, opened, random_unit, rows, uid_of, write_shards

from align_data.common.errors import InputError
from align_data.common.progress import Silent
from align_data.train.descriptions import WEIGHTS, Described, described, read_descriptions
from align_data.train.evaluate import evaluate
from align_data.train.metrics import unit
from align_data.train.zero_shot import Classes

__all__ = ["fake"]


class Told(Fake):
    """Its texts have the vectors that it is given, and others none."""

    def __init__(self, vectors: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.vectors = vectors

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([self.vectors[text] for text in texts], np.float32)


def chosen_by(images: np.ndarray, answers: np.ndarray, classes: int, seed: int) -> set[int]:
    """Return the few images, as the definition draws them."""
    random = np.random.default_rng(seed)
    few: set[int] = set()
    for place in range(classes):
        own = [row for row in range(len(images)) if answers[row] == place]
        few |= {int(row) for row in random.permutation(own)[: min(5, len(own) // 2)]}
    return few


@pytest.mark.parametrize(("classes", "pool", "number"), [(7, 20, 80), (3, 4, 17), (2, 1, 9)])
def test_it_is_the_method_in_plain_python(classes: int, pool: int, number: int) -> None:
    images, prompts, texts = random_unit(number, 8, 1), random_unit(classes, 8, 2), random_unit(pool, 8, 3)
    answers = np.arange(number) % classes
    model = Told({f"description {n}": vector for n, vector in enumerate(texts)})
    names = [f"n{place}" for place in range(classes)]
    found = described(model, images, answers, names, prompts, list(model.vectors), seed=4)

    few = chosen_by(images, answers, classes, 4)
    similarity = [[float(a @ b) for b in texts.astype(float)] for a in images.astype(float)]
    table = [
        [np.mean([similarity[row][d] for row in few if answers[row] == place]) for d in range(pool)]
        for place in range(classes)
    ]
    right = dict.fromkeys(WEIGHTS, 0.0)
    alone = 0
    for row in sorted({*range(number)} - few):
        named = [float(images[row].astype(float) @ prompt) for prompt in prompts.astype(float)]
        among = sorted(range(classes), key=lambda place: -named[place])[:5]
        alone += among[0] == answers[row]
        own: dict[int, float] = {}
        for place in among:
            telling = [
                np.mean([max(0.0, table[place][d] - table[other][d]) for other in among if other != place])
                for d in range(pool)
            ]
            best = sorted(range(pool), key=lambda d: -telling[d])[:5]
            own[place] = sum(similarity[row][d] for d in best) / len(best)
        for weight in WEIGHTS:
            value = {place: weight * named[place] + own[place] for place in among}
            greatest = [place for place in among if value[place] > max(value.values()) - 1e-9]  # they may share all
            right[weight] += (answers[row] in greatest) / len(greatest)
    tried = number - len(few)
    assert (found.images, found.few, found.pool) == (tried, len(few), pool)
    assert (found.likely, found.chosen) == (min(5, classes), min(5, pool))
    assert found.prompts_alone.value == pytest.approx(alone / tried)
    assert [(each.w_cls, each.top_1.value) for each in found.weights] == [
        (weight, pytest.approx(count / tried)) for weight, count in right.items()
    ]


def planted(knowing: bool) -> Described:
    """Six classes with blind prompts; of thirty descriptions five know each class, or none knows any."""
    vectors = random_unit(6, DIM, 5)
    images = unit(np.repeat(vectors, 30, axis=0) + 0.05 * random_unit(180, DIM, 6))
    texts = np.repeat(vectors, 5, axis=0) if knowing else random_unit(30, DIM, 7) * 0
    model = Told({f"d{n}": vector for n, vector in enumerate(texts)})
    blind = np.repeat(random_unit(1, DIM, 8), 6, axis=0)
    answers = np.repeat(np.arange(6), 30)
    return described(model, images, answers, "abcdef", blind, list(model.vectors), seed=0)


def test_descriptions_that_know_are_chosen_and_random_ones_know_nothing() -> None:
    found = planted(knowing=True)
    assert found.weights[0].w_cls == 0
    assert found.prompts_alone.value == pytest.approx(1 / 5 * 5 / 6)  # of five classes that are level, one of six never
    for each in found.weights:  # the prompts say nothing, at whatever weight
        assert each.top_1.value == pytest.approx(5 / 6)
    assert found.weights[0].random.high < 0.5


def test_descriptions_that_say_nothing_are_at_chance_among_the_likely() -> None:
    found = planted(knowing=False)
    for each in found.weights:
        assert each.top_1.value == each.random.value == pytest.approx(1 / 6)


def test_more_weight_comes_to_the_prompts_alone(tmp_path: Path) -> None:
    model = Fake(blur=1.0)
    names = tuple(f"c{n}" for n in range(4))
    labels = {f"http://h/{n}.png": f"c{n % 4}" for n in range(60)}
    asked = Classes(labels, names, ("a {}",), tuple(f"thing {n}" for n in range(90, 130)))
    shot = evaluate(model, opened(tmp_path, rows(60)), Silent(), classes=asked).zero_shot
    assert shot is not None
    assert shot.described is not None
    assert (shot.described.images, shot.described.few) == (40, 20)
    assert shot.images == 60
    again = evaluate(model, opened(tmp_path, rows(60)), Silent(), classes=asked).zero_shot
    assert again == shot


def test_bad_descriptions_are_sentences(tmp_path: Path) -> None:
    file = tmp_path / "descriptions.txt"
    for content, says in (
        ("", "has no descriptions"),
        ("with whiskers\nlike a Cat\n", "'like a Cat' names the class 'cat': describe classes without their names"),
    ):
        file.write_text(content)
        with pytest.raises(InputError, match=re.escape(says)):
            read_descriptions(str(file), ("dog", "cat"))
    file.write_text("it is located\nround\nround\n")
    assert read_descriptions(str(file), ("dog", "cat")) == ("it is located", "round")
    with pytest.raises(InputError, match="the class 'b' has 1 labelled images"):
        described(Told({}), random_unit(3, 4), np.array([0, 0, 1]), "ab", random_unit(2, 4), ["d"], 0)


@pytest.mark.usefixtures("fake")
def test_the_command_prints_the_sweep(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", rows(40))
    labels = "".join(f"{uid_of(n, n)},c{n % 4}\n" for n in range(40))
    (tmp_path / "labels.csv").write_text(f"uid,label\n{labels}")
    (tmp_path / "classes.txt").write_text("c0\nc1\nc2\nc3\n")
    (tmp_path / "descriptions.txt").write_text("number 4\nnumber 5\nnumber 6\n")
    asked = ("evaluate", "model", shards, "--descriptions", tmp_path / "descriptions.txt")
    classes = ("--labels", tmp_path / "labels.csv", "--classes", tmp_path / "classes.txt")
    found = json.loads(call(*asked, *classes, "--json").stdout)["zero_shot"]["described"]
    assert [each["w_cls"] for each in found["weights"]] == list(WEIGHTS)
    assert (found["pool"], found["chosen"], found["images"]) == (3, 3, 20)
    shown = call(*asked, *classes).stdout
    assert "3 of 3 descriptions" in shown
    assert re.search(r"│ 0.25 +│", shown)
    assert "--descriptions needs the names of the classes" in call(*asked, code=2).stderr
