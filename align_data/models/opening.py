"""Opening what the user calls MODEL: each of its forms is an encoder or a pair scorer, or a sentence."""

from __future__ import annotations

from pathlib import Path

from align_data.common.errors import InputError
from align_data.common.placed_models import lookup
from align_data.models.encoder import Encoder, PairScorer
from align_data.models.extras import need
from align_data.models.named.available import AVAILABLE, added
from align_data.models.onnx.folder import CARD, IMAGE, OnnxEncoder, OnnxFiles
from align_data.models.pytorch.folder_files import CONFIG, check_small_files, read_config
from align_data.models.pytorch.hub import NAME, downloaded

FORMS = (
    f"a folder with {IMAGE} and {CARD}, a folder of transformers or of `align-data train`, a name on the Hugging Face "
    "hub with its revision (org/name@REVISION), open_clip:ARCHITECTURE@FILE, or a name of `align-data model`"
)
_OPEN_CLIP = "open_clip:"


def open_model(spec: str, device: str | None = None) -> Encoder | PairScorer:
    """Open a model on a device (cpu, cuda, cuda:N; None is a GPU where there is one).

    InputError or SignalError says what is wrong with it; a stranger's .onnx is tried in a child process first.
    """
    if spec.startswith(_OPEN_CLIP):
        return _open_clip(spec, device)
    try:
        folder = Path(spec).is_dir()
    except ValueError:  # a NUL
        folder = False
    if not folder and NAME.fullmatch(spec) and not Path(spec).exists():
        return _transformers(downloaded(spec), device)
    if not folder:
        spec = _placed(spec)
    if any((Path(spec) / name).exists() for name in (CARD, IMAGE)):
        files = OnnxFiles.read(spec)
        files.check()
        return OnnxEncoder(files, device)
    if (Path(spec) / CONFIG).exists():
        return _transformers(Path(spec), device)
    raise InputError(f"{spec} holds no model: it takes {FORMS}")


def _placed(spec: str) -> str:
    """Return the folder of a model by its name; InputError where there is none."""
    if spec in AVAILABLE or lookup(spec) is not None:
        return str(added(spec).folder)
    raise InputError(f"there is no model {spec!r}: it takes {FORMS}")


def _transformers(folder: Path, device: str | None) -> Encoder | PairScorer:
    need("models", "torch", "transformers", "tokenizers")
    from align_data.models.pytorch.align import AlignEncoder, is_trained_here  # noqa: PLC0415 - PyTorch takes seconds to load
    from align_data.models.pytorch.device import torch_device  # noqa: PLC0415
    from align_data.models.pytorch.encoders import TransformersEncoder, TransformersScorer  # noqa: PLC0415
    from align_data.models.pytorch.transformers_folder import open_folder  # noqa: PLC0415

    chosen = torch_device(device)
    check_small_files(folder)
    config = read_config(folder)
    if is_trained_here(folder, config):
        return AlignEncoder(folder, config, chosen)
    opened = open_folder(folder, config, chosen)
    return TransformersScorer(opened, chosen) if opened.family.scorer else TransformersEncoder(opened, chosen)


def _open_clip(spec: str, device: str | None) -> Encoder:
    need("open-clip", "torch", "open_clip")
    from align_data.models.pytorch.device import torch_device  # noqa: PLC0415
    from align_data.models.pytorch.open_clip import OpenClipEncoder  # noqa: PLC0415

    return OpenClipEncoder(spec, torch_device(device))
