"""Captions with one attribute wrong, made of an evaluation's own pairs, and how often a model prefers the true ones.

A user says which words are of one kind, such as colours. Two tests:

- *replaced*: one such word of a caption is replaced by another of its kind, drawn at random. Right where the image is
  nearer to its own caption.
- *counterparts*: two captions of the evaluation that differ in one such word alone, each with its image. Winoground's
  text score (Thrush et al., CVPR 2022) asks whether each image is nearer to its own caption, the image
  score whether each caption is nearer to its own image, and the group score both.

Where scores are equal a test counts as its expectation over all orders of the equal ones, as in `metrics`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import comb
from typing import NamedTuple

import numpy as np

from align_data.common.errors import InputError
from align_data.common.user_files import read_lines
from align_data.models.spaces import Space
from align_data.train.embed import TwoTowers, sound
from align_data.train.metrics import BootstrapEstimate, Rows, Values, Vectors, estimates, scores

_WORD = re.compile(r"\w+")

Kinds = tuple[tuple[str, ...], ...]
"""Words of one kind, folded."""


@dataclass(frozen=True)
class KindReplaced:
    """Captions in which a word of one kind was replaced."""

    words: tuple[str, ...]
    captions: int
    right: BootstrapEstimate


@dataclass(frozen=True)
class Replaced:
    """Captions with one word replaced."""

    captions: int
    """With their images; a caption of several images is taken with the first."""
    right: BootstrapEstimate
    kinds: tuple[KindReplaced, ...]
    """Those of which there are any; they share the captions."""
    chance: float = 1 / 2


@dataclass(frozen=True)
class Counterparts:
    """Captions of the evaluation that differ in one word, with their images."""

    couples: int
    text: BootstrapEstimate
    image: BootstrapEstimate
    group: BootstrapEstimate
    chance: float = 1 / 4
    """Of the text score and of the image score."""
    group_chance: float = 1 / 6


@dataclass(frozen=True)
class OneWrong:
    """What a model makes of captions with one attribute wrong; None where the evaluation has none."""

    kinds: int
    replaced: Replaced | None
    counterparts: Counterparts | None


class _Place(NamedTuple):
    """A word of a kind in a caption."""

    text: int
    kind: int
    word: str
    start: int
    stop: int
    frame: tuple[str, ...]
    """The caption's words, folded, without this one."""


def read_attributes(file: str) -> Kinds:
    """Return the words of each kind: one kind a line, its words separated by commas; InputError for what is none.

    Lines that begin with # are passed over.
    """
    kinds: list[tuple[str, ...]] = []
    of_kind: dict[str, int] = {}
    for number, line in read_lines(file, "the attributes in"):
        if line.startswith("#"):
            continue
        words = tuple(dict.fromkeys(word.strip().casefold() for word in line.split(",") if word.strip()))
        odd = next((word for word in words if not _WORD.fullmatch(word)), None)
        if odd is not None:
            raise InputError(f"{file}, line {number}: {odd!r} is not one word: separate single words by commas")
        if len(words) < 2:
            raise InputError(f"{file}, line {number}: one word has nothing to be replaced by: write two or more")
        for word in words:
            if of_kind.setdefault(word, number) != number:
                raise InputError(f"{file}: {word!r} is in lines {of_kind[word]} and {number}: give each word one kind")
        kinds.append(words)
    if not kinds:
        raise InputError(f"{file} has no attributes: write the words of a kind on each line, such as red, green, blue")
    return tuple(kinds)


def one_wrong(
    model: TwoTowers,
    kinds: Kinds,
    captions: Sequence[str],
    images: Vectors,
    texts: Vectors,
    image_of: Rows,
    text_of: Rows,
    seed: int,
) -> OneWrong:
    """Return how a model tells captions (t,) and their embeddings (t, d) from such with one attribute wrong.

    `image_of` and `text_of` (n,) say which images and texts are pairs, as in `metrics`. `seed` draws the words, and one
    counterpart a word where there are several.
    """
    random = np.random.default_rng(seed)
    own_image = dict(zip(text_of[::-1].tolist(), image_of[::-1].tolist(), strict=True))  # the first
    true = set(zip(image_of.tolist(), text_of.tolist(), strict=True))
    places = [place for text, caption in enumerate(captions) for place in _places(text, caption, kinds)]
    replaced, of_kind = _replaced(model, kinds, captions, places, images, texts, own_image, true, random)
    couples = _couples(places, own_image, true, random)
    return OneWrong(
        len(kinds),
        _by_kind(kinds, replaced, of_kind, seed) if len(replaced) else None,
        None if not couples else _counterparts(np.array(couples), images, texts, own_image, seed, model.space),
    )


def _places(text: int, caption: str, kinds: Kinds) -> Iterator[_Place]:
    words = [(match[0].casefold(), *match.span()) for match in _WORD.finditer(caption)]
    for at, (word, start, stop) in enumerate(words):
        for number, kind in enumerate(kinds):
            if word in kind:
                frame = tuple("" if place == at else other for place, (other, *_) in enumerate(words))
                yield _Place(text, number, word, start, stop, frame)


def _replaced(
    model: TwoTowers,
    kinds: Kinds,
    captions: Sequence[str],
    places: Sequence[_Place],
    images: Vectors,
    texts: Vectors,
    own_image: dict[int, int],
    true: set[tuple[int, int]],
    random: np.random.Generator,
) -> tuple[Values, Rows]:
    """Return for one word of each caption whether the true one is preferred, a half where they are level; its kind."""
    numbers = {caption.casefold(): text for text, caption in enumerate(captions)}
    of_text: dict[int, list[_Place]] = {}
    for place in places:
        of_text.setdefault(place.text, []).append(place)
    rows, wrong, of_kind = [], [], []
    for text, own in of_text.items():
        place = own[random.integers(len(own))]
        others = [word for word in kinds[place.kind] if word != place.word]
        word = others[random.integers(len(others))]
        caption = captions[text][: place.start] + word + captions[text][place.stop :]
        if (own_image[text], numbers.get(caption.casefold(), -1)) not in true:  # else it is right too
            rows.append(text)
            wrong.append(caption)
            of_kind.append(place.kind)
    if not rows:
        return np.zeros(0), np.zeros(0, np.int64)
    made = sound(model.texts(wrong))
    own_images = images[[own_image[text] for text in rows]]
    margins = [
        float(np.diff(scores(own_images[row : row + 1], np.stack([made[row], texts[text]]), model.space))[0, 0])
        for row, text in enumerate(rows)
    ]
    return (np.sign(margins) + 1) / 2, np.array(of_kind)


def _by_kind(kinds: Kinds, right: Values, of_kind: Rows, seed: int) -> Replaced:
    (share,) = estimates([(right, np.mean)], seed)
    own = [(words, right[of_kind == kind]) for kind, words in enumerate(kinds)]
    parts = [KindReplaced(words, len(some), estimates([(some, np.mean)], seed)[0]) for words, some in own if len(some)]
    return Replaced(len(right), share, tuple(parts))


def _couples(
    places: Sequence[_Place], own_image: dict[int, int], true: set[tuple[int, int]], random: np.random.Generator
) -> list[tuple[int, int]]:
    """Return texts that differ in one word of a kind, one drawn for each such word; neither is of the other's image."""
    alike: dict[tuple[int, tuple[str, ...]], dict[str, int]] = {}
    for place in places:
        alike.setdefault((place.kind, place.frame), {}).setdefault(place.word, place.text)
    couples: dict[tuple[int, int], None] = {}
    for of_word in alike.values():
        for text in of_word.values():
            others = [
                other
                for other in of_word.values()
                if other != text and (own_image[text], other) not in true and (own_image[other], text) not in true
            ]
            if others:
                other = others[random.integers(len(others))]
                couples[min(text, other), max(text, other)] = None
    return list(couples)


def _counterparts(
    couples: Rows, images: Vectors, texts: Vectors, own_image: dict[int, int], seed: int, space: Space
) -> Counterparts:
    image_rows = np.array([[own_image[text] for text in couple] for couple in couples.tolist()])
    every = np.stack(
        [scores(images[own], texts[couple], space) for own, couple in zip(image_rows, couples, strict=True)]
    )
    right = {"text": [_two(s[0, 0], s[0, 1]) * _two(s[1, 1], s[1, 0]) for s in every]}
    right["image"] = [_two(s[0, 0], s[1, 0]) * _two(s[1, 1], s[0, 1]) for s in every]
    right["group"] = [_all_above(np.diagonal(s), np.array([s[0, 1], s[1, 0]])) for s in every]
    text, image, group = estimates([(np.array(values), np.mean) for values in right.values()], seed)
    return Counterparts(len(couples), text, image, group)


def _two(true: float, wrong: float) -> float:
    """Return 1 where the true score is greater, a half where they are level."""
    return float(np.sign(true - wrong) + 1) / 2


def _all_above(true: Values, wrong: Values) -> float:
    """Return in which share of the orders of equal scores all true ones are before all wrong ones."""
    least, greatest = true.min(), wrong.max()
    if least != greatest:
        return float(least > greatest)
    level = int((true == least).sum()), int((wrong == greatest).sum())
    return 1 / comb(sum(level), level[0])
