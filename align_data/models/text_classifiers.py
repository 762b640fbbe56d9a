"""Classifiers of texts that travel: opened once in a process, also on the executors of Spark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from align_data.common.errors import SignalError
from align_data.models.extras import need
from align_data.models.pytorch.folder_files import CONFIG, read_config
from align_data.models.pytorch.hub import NAME, downloaded

if TYPE_CHECKING:  # PyTorch takes seconds to load
    from align_data.models.pytorch.classifiers import TextClassifier

_ARCHITECTURE = "ForSequenceClassification"


def is_text_classifier(spec: str) -> bool:
    """Tell whether MODEL, a folder of transformers or a name on the hub, has the config of a classifier of texts."""
    try:
        folder = _folder(spec)
        if not (folder / CONFIG).is_file():
            return False
    except ValueError:  # a NUL
        return False
    architectures = read_config(folder).get("architectures")
    return isinstance(architectures, list) and str(architectures[:1]).endswith(f"{_ARCHITECTURE}']")


def _folder(spec: str) -> Path:
    return downloaded(spec) if NAME.fullmatch(spec) and not Path(spec).exists() else Path(spec)


@lru_cache(maxsize=1)
def _opened(spec: str, device: str | None, labels: Sequence[str]) -> TextClassifier:
    need("models", "torch", "transformers", "tokenizers")
    from align_data.models.pytorch.classifiers import TextClassifier  # noqa: PLC0415 - PyTorch takes seconds to load

    return TextClassifier(_folder(spec), device, labels)


@dataclass(frozen=True)
class SharedClassifier:
    """A classifier of texts by its name. It travels to other machines, which must come to the same weights."""

    spec: str
    """MODEL, as the user named it."""
    device: str | None
    labels: tuple[str, ...]
    """Those that count."""
    digest: str

    @staticmethod
    def open(spec: str, device: str | None, labels: Sequence[str]) -> SharedClassifier:
        """Open a classifier; SignalError, or another of its kind, where that cannot be done."""
        _opened.cache_clear()
        classifier = _opened(spec, device, tuple(labels))
        return SharedClassifier(spec, device, classifier.labels, classifier.identity.digest)

    @property
    def classifier(self) -> TextClassifier:
        """The classifier itself; SignalError where other weights lie there than those that the run began with."""
        classifier = _opened(self.spec, self.device, self.labels)
        if classifier.identity.digest != self.digest:
            raise SignalError(
                f"the classifier {self.spec} is not the one that the run began with: every machine needs the same files"
            )
        return classifier
