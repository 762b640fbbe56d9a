"""Texts to tokens: WordPiece, learnt from the run's own texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

PAD, UNKNOWN, FIRST, LAST = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
Ids = NDArray[np.int64]


def learn(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Learn at most so many WordPiece tokens from texts, lower-cased, as BERT's are."""
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = [PAD, UNKNOWN, FIRST, LAST]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary, special_tokens=specials, limit_alphabet=vocabulary // 2, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    places = [(name, specials.index(name)) for name in (FIRST, LAST)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{FIRST} $A {LAST}", special_tokens=places)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str], most: int) -> list[Ids]:
    """Return the ids of each text, at most `most`; the last one stays the one that ends a text."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(most)
    return [np.array(one.ids, np.int64) for one in tokenizer.encode_batch(list(texts))]


def padded(some: Sequence[Ids], pad: int = 0) -> tuple[Ids, Ids]:
    """Return ids as one array, as long as the longest text, and which of them are tokens: both (texts, tokens)."""
    length = max(len(one) for one in some)
    ids, mask = np.full((len(some), length), pad, np.int64), np.zeros((len(some), length), np.int64)
    for row, one in enumerate(some):
        ids[row, : len(one)] = one
        mask[row, : len(one)] = 1
    return ids, mask
