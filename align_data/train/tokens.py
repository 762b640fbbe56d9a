"""Texts to tokens: WordPiece, learnt from the run's own texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

PAD, UNKNOWN, CLS, SEP = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
SPECIAL = [PAD, UNKNOWN, CLS, SEP]
Ids = NDArray[np.int64]


def learn(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """Learn at most so many WordPiece tokens from texts, lower-cased, as BERT's are: the same from the same texts."""
    teacher = _tokenizer(models.WordPiece(unk_token=UNKNOWN))
    signs = Counter(sign for text in texts for sign in teacher.normalizer.normalize_str(text) if not sign.isspace())
    alphabet = sorted(sorted(signs, key=lambda sign: (-signs[sign], sign))[: (vocabulary - len(SPECIAL)) // 4])
    # The library numbers the signs inside of words as they come out of a hash table, and ties between merges fall by
    # number. Given here as if they were special, they have their numbers before.
    inside = [f"##{sign}" for sign in alphabet]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary,
        special_tokens=[*SPECIAL, *inside],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    teacher.train_from_iterator(texts, trainer)
    tokenizer = _tokenizer(models.WordPiece(teacher.get_vocab(), unk_token=UNKNOWN))
    places = [(name, SPECIAL.index(name)) for name in (CLS, SEP)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{CLS} $A {SEP}", special_tokens=places)
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def _tokenizer(model: models.WordPiece) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> list[Ids]:
    """Return the ids of each text, at most `most`; the last one stays the one that ends a text."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    return [np.array(encoding.ids, np.int64) for encoding in tokenizer.encode_batch(list(texts))]


def padded(sequences: Sequence[Ids], pad: int = 0) -> tuple[Ids, Ids]:
    """Return ids as one array, as long as the longest text, and which of them are tokens: both (texts, tokens)."""
    length = max(len(sequence) for sequence in sequences)
    ids, mask = np.full((len(sequences), length), pad, np.int64), np.zeros((len(sequences), length), np.int64)
    for row, one in enumerate(sequences):
        ids[row, : len(one)] = one
        mask[row, : len(one)] = 1
    return ids, mask
