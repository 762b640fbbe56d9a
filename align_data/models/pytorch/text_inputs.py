"""Texts as transformers' own tokenizers make them, padded to lengths that depend on each text alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoTokenizer

from align_data.common.errors import InputError
from align_data.models.pytorch.folder_files import VOCABULARIES
from align_data.models.pytorch.quiet import quiet

_SHORTEST = 16
"""Tokens that a text is padded to at least."""


class TextInputs:
    """A folder's tokenizer."""

    def __init__(self, folder: Path, max_tokens: int, *, fixed: bool, unused: Sequence[str] = ()) -> None:
        """`fixed` pads every text to `max_tokens`, as its model has been trained with; it takes nothing `unused`."""
        self._folder, self._fixed, self._unused = folder, fixed, unused
        if not any((folder / name).exists() for name in VOCABULARIES):
            raise InputError(f"{folder} has no tokenizer: it takes one of {', '.join(VOCABULARIES)}")
        try:
            with quiet():
                self._tokenizer: Any = AutoTokenizer.from_pretrained(
                    str(folder), trust_remote_code=False, local_files_only=True
                )
        except ImportError as error:
            raise InputError(f"the tokenizer of {folder} needs another package: {_first(error)}") from None
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:  # of every kind, for files may say anything; tokenizers panics, too
            raise InputError(f"the tokenizer of {folder} cannot be used: {_first(error)}") from None
        self.max_tokens = min(max_tokens, int(self._tokenizer.model_max_length))
        if self._tokenizer.pad_token_id is None:
            raise InputError(f"the tokenizer of {folder} does not say what texts are padded with")

    def groups(self, texts: Sequence[str], most: int) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Yield the places of texts of one padded length, at most `most`, and all that a model takes of them.

        What fills up to `most` is the last text again.
        """
        if not texts:
            return
        encoded = self._encoded(texts)
        places: dict[int, list[int]] = {}
        for place, ids in enumerate(encoded["input_ids"]):
            places.setdefault(self._length(len(ids)), []).append(place)
        for length, each in places.items():
            for at in range(0, len(each), most):
                batch = each[at : at + most]
                yield batch, self._padded(encoded, batch + batch[-1:] * (most - len(batch)), length)

    def _length(self, tokens: int) -> int:
        return self.max_tokens if self._fixed else min(self.max_tokens, max(_SHORTEST, 1 << (tokens - 1).bit_length()))

    def _encoded(self, texts: Sequence[str]) -> Any:
        try:
            with quiet():
                return self._tokenizer(list(texts), truncation=True, max_length=self.max_tokens, padding=False)
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:
            raise InputError(f"the tokenizer of {self._folder} cannot be used: {_first(error)}") from None

    def _padded(self, encoded: Any, places: Sequence[int], length: int) -> dict[str, Tensor]:
        chosen = {name: [rows[place] for place in places] for name, rows in encoded.items()}
        with quiet():
            padded = self._tokenizer.pad(chosen, padding="max_length", max_length=length, return_tensors="np")
        taken = {name: rows for name, rows in padded.items() if name not in self._unused}
        return {name: torch.from_numpy(np.asarray(rows, np.int64)) for name, rows in taken.items()}


def _first(error: BaseException) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:300]
