"""Two numbers that tell at a glance whether a model has learnt anything, and whether it cheats."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np

from align_data.errors import InputError
from align_data.train.model import Dual
from align_data.train.pictures import centre
from align_data.train.shards import Shards

_PAIRS = 256


@dataclass(frozen=True)
class Sanity:
    """How often an image's nearest text is its own."""

    pairs: int
    """Of training, each with a text and an image of its own."""
    recall: float
    shuffled: float
    """With the texts in another order: as often as chance has it, or the images are not looked at."""

    @property
    def chance(self) -> float:
        """What guessing would give."""
        return 1 / max(1, self.pairs)


def check(model: Dual, shards: Shards) -> Sanity:
    """Look at the first pairs of the shards."""
    texts: dict[str, np.ndarray] = {}
    urls = set()
    for sample in islice(shards, 8 * _PAIRS):
        if sample.alt_text in texts or sample.url in urls or len(texts) == _PAIRS:
            continue
        try:
            texts[sample.alt_text] = centre(sample.image, model.side)
        except InputError:
            continue
        urls.add(sample.url)
    if not texts:
        return Sanity(0, 0.0, 0.0)
    images = model.images(np.stack(list(texts.values())))
    found = images @ model.texts(list(texts)).T
    # Equal scores share the first place: a tower that gives every image the same embedding is no better than chance.
    best = found == found.max(axis=1, keepdims=True)
    order = np.random.default_rng(0).permutation(len(texts))
    right, wrong = (
        float(np.mean(best[np.arange(len(best)), at] / best.sum(axis=1))) for at in (np.arange(len(best)), order)
    )
    return Sanity(len(texts), right, wrong)
