"""Texts to the ids of tokens, by the file tokenizer.json that comes with a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from align_data.common.errors import InputError

Ids = NDArray[np.int64]
T = TypeVar("T")
_SHORTEST = 16
"""Tokens that a text is padded to at least."""


class TextTokenizer:
    """A tokenizer with the padding that its model has been trained with."""

    def __init__(
        self,
        content: bytes,
        file: str,
        max_tokens: int,
        *,
        longest: bool,
        pad_token: str | None = None,
        pad_id: int | None = None,
        lower_case: bool = False,
    ) -> None:
        """Read a tokenizer of `file`; texts are filled up with a token, a number, or what the file itself says."""
        self._file, self._max, self._longest, self._lower_case = file, max_tokens, longest, lower_case
        self._tokenizer = self._loud(lambda: Tokenizer.from_str(content.decode()))
        self._pad = self._pad_id(pad_token) if pad_id is None else pad_id
        self._tokenizer.no_padding()
        self._loud(lambda: self._tokenizer.enable_truncation(max_tokens))

    def _pad_id(self, token: str | None) -> int:
        padding = self._tokenizer.padding
        if token is None and padding is not None:
            return int(padding["pad_id"])
        if token is None:
            raise InputError(f"{self._file} does not say what texts are padded with: the card needs the key pad_token")
        number = self._tokenizer.token_to_id(token)
        if number is None:
            raise InputError(f"{self._file} has no token {token!r}, which the card has as pad_token")
        return int(number)

    def by_length(self, encoded: Sequence[Ids]) -> dict[int, list[int]]:
        """Return the places of the texts that are padded to each length.

        That is a power of two that a text fits in, or all that it may have: by the text alone, as its embedding must.
        """
        places: dict[int, list[int]] = {}
        for place, ids in enumerate(encoded):
            fitting = min(self._max, max(_SHORTEST, 1 << (len(ids) - 1).bit_length()))
            places.setdefault(fitting if self._longest else self._max, []).append(place)
        return places

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Return the ids of each text, at most as many as the model takes."""
        prepared = [text.lower() for text in texts] if self._lower_case else list(texts)
        encodings = self._loud(lambda: self._tokenizer.encode_batch(prepared))
        return [np.array(encoding.ids, np.int64) for encoding in encodings]

    def padded(self, encoded: Sequence[Ids], length: int) -> tuple[Ids, Ids]:
        """Return ids as one array, and 1 for each token and 0 for padding: both (texts, length)."""
        ids, mask = np.full((len(encoded), length), self._pad, np.int64), np.zeros((len(encoded), length), np.int64)
        for row, text in enumerate(encoded):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
        return ids, mask

    def _loud(self, action: Callable[[], T]) -> T:
        """Return action(), with any error of the library as a sentence: it raises Exception itself, and panics."""
        try:
            return action()
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:
            message = str(error).partition("\n")[0] or type(error).__name__
            raise InputError(f"{self._file} is not a tokenizer that can be used: {message[:300]}") from None
