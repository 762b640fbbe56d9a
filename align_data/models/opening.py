"""Opening what the user calls MODEL: each of its forms is an encoder or a pair scorer, or a sentence."""

from __future__ import annotations

from pathlib import Path

from align_data.common.errors import InputError
from align_data.models.encoder import Encoder, PairScorer
from align_data.models.onnx_folder import CARD, IMAGE, OnnxEncoder, OnnxFiles

FORMS = (
    f"a folder with {IMAGE} and {CARD}, a folder of transformers or of `align-data train`, a name on the Hugging Face "
    "hub with its revision (org/name@REVISION), or open_clip:ARCHITECTURE@FILE"
)


def open_model(spec: str, device: str | None = None) -> Encoder | PairScorer:
    """Open a model on a device (cpu, cuda, cuda:N; None is a GPU where there is one).

    InputError or SignalError says what is wrong with it; a stranger's .onnx is tried in a child process first.
    """
    try:
        folder = Path(spec).is_dir()
    except ValueError:  # a NUL
        folder = False
    if not folder:
        raise InputError(f"there is no model {spec!r}: it takes {FORMS}")
    names = (CARD, IMAGE)
    if any((Path(spec) / name).exists() for name in names):
        files = OnnxFiles.read(spec)
        files.check()
        return OnnxEncoder(files, device)
    raise InputError(f"{spec} holds no model: it takes {FORMS}")
