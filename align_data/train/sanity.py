"""Two numbers that tell at a glance whether a model has learnt anything, and whether it cheats."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np

from align_data.common.errors import InputError
from align_data.train.embed import image_key
from align_data.train.metrics import ranks
from align_data.train.model import Dual
from align_data.train.preprocessing import centre
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
    images_seen = set()
    for sample in islice(shards, 8 * _PAIRS):
        key = image_key(sample.url, sample.uid)
        if sample.alt_text in texts or key in images_seen or len(texts) == _PAIRS:
            continue
        try:
            texts[sample.alt_text] = centre(sample.image, model.side)
        except InputError:
            continue
        images_seen.add(key)
    if not texts:
        return Sanity(0, 0.0, 0.0)
    images = model.images(np.stack(list(texts.values())))
    texts_embedded, rows = model.texts(list(texts)), np.arange(len(texts))
    orders = (rows, np.random.default_rng(0).permutation(rows))
    recall, shuffled_recall = (
        float(ranks(images, texts_embedded, rows, order, space=model.space).hits(1).mean()) for order in orders
    )
    return Sanity(len(texts), recall, shuffled_recall)
