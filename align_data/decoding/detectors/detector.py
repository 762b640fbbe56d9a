"""Detectors beside the signal nsfw: models in the place for models that look at decoded images, by their names.

A model's files are pinned when they are put there; here they are read once, hashed, and opened in the confined process
that decodes images. One that raises costs its own values only.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from align_data.common.errors import SignalError
from align_data.common.workers import ChildDiedError
from align_data.common.workers.trial import try_model
from align_data.common.workers.values import plain
from align_data.decoding.detectors.nsfw import TRIAL_SECONDS
from align_data.decoding.detectors.session import need, read_file

if TYPE_CHECKING:
    from PIL.Image import Image

TRIAL = "align_data.decoding.worker:detector_trial"
FILES: Mapping[str, tuple[str, ...]] = {"text": ("detection.onnx", "recognition.onnx"), "faces": ("model.onnx",)}
"""The files of each detector."""
_OPENED = {
    "text": "align_data.decoding.detectors.ocr:TextDetector",
    "faces": "align_data.decoding.detectors.faces:FaceDetector",
}
_VERSIONS = {"text": "1", "faces": "1"}
"""Raised when the code around the same model gives other values."""


class OpenDetector(Protocol):
    """A model that is opened."""

    def measure(self, image: Image) -> Mapping[str, Any]:
        """Return the values of its columns for an upright RGB image."""
        ...


@dataclass(frozen=True)
class Detector:
    """A detector, and the folder of its files."""

    name: str
    folder: str

    def identity(self) -> dict[str, Any]:
        """Return what decides the values."""
        files = {file: hashlib.sha256(content).hexdigest() for file, content in self._files().items()}
        need("onnxruntime", f"the detector {self.name} needs")
        return {"version": _VERSIONS[self.name], "onnxruntime": metadata.version("onnxruntime"), **files}

    def loaded(self) -> LoadedDetector:
        """Read the files; InputError says what is wrong with one."""
        return LoadedDetector(self.name, self._files())

    def check(self, seconds: float = TRIAL_SECONDS) -> None:
        """Raise InputError or SignalError if this detector cannot look at images here; a trial image tells."""
        need("onnxruntime", f"the detector {self.name} needs")
        try:
            try_model(TRIAL, {"detector": plain(self.loaded())}, seconds)
        except ChildDiedError as died:
            how = f"took more than {seconds:g} s" if died.slow else f"ended its process with {died.how}"
            raise SignalError(f"the detector {self.name} in {self.folder} {how} on a trial image") from None

    def _files(self) -> dict[str, bytes]:
        return {name: read_file(str(Path(self.folder) / name), f"model {self.name}") for name in FILES[self.name]}


@dataclass(frozen=True)
class LoadedDetector:
    """A detector as it travels to the process that opens it."""

    name: str
    files: Mapping[str, bytes]

    def open(self) -> OpenDetector:
        """Open the model, to run on one thread."""
        module, _, kind = _OPENED[self.name].partition(":")
        opened: OpenDetector = getattr(importlib.import_module(module), kind)(self.files)
        return opened
