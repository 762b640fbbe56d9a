"""Small ONNX classifiers whose scores can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CARD: dict[str, Any] = {
    "size": 8,
    "layout": "nchw",
    "channels": "rgb",
    "scale": 1 / 255,
    "resize": "squash",
    "resample": "bilinear",
    "classes": ["safe", "unsafe"],
    "unsafe": ["unsafe"],
    "output": "softmax",
}


def card_text(**changed: Any) -> str:
    """Return CARD as YAML, with keys changed, added, or left out where None."""
    card = {**CARD, **changed}
    return "".join(f"{key}: {_yaml(value)}\n" for key, value in card.items() if value is not None)


def _yaml(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)


def classifier(
    path: Path,
    weights: Sequence[Sequence[float]],
    bias: Sequence[float],
    *,
    layout: str = "nchw",
    sides: tuple[int | str, int | str] = (8, 8),
    batch: int | str = "batch",
    inputs: int = 1,
    outputs: int = 1,
    external: bool = False,
) -> None:
    """Write the model that gives, for each class, the channels' means times its weights, plus its bias.

    `weights` has a row for each class; `sides` are height and width.
    """
    shape = [batch, 3, *sides] if layout == "nchw" else [batch, *sides, 3]
    nodes = [
        helper.make_node("GlobalAveragePool", ["planes"], ["means"]),
        helper.make_node("Flatten", ["means"], ["row"]),
        helper.make_node("Gemm", ["row", "weights", "bias"], ["out"], transB=1),
    ]
    if layout == "nchw":
        nodes.insert(0, helper.make_node("Identity", ["image"], ["planes"]))
    else:
        nodes.insert(0, helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]))
    given = [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)]
    given += [helper.make_tensor_value_info(f"more{n}", TensorProto.FLOAT, [1]) for n in range(1, inputs)]
    taken = [helper.make_tensor_value_info("out", TensorProto.FLOAT, [batch, len(bias)])]
    for n in range(1, outputs):
        nodes.append(helper.make_node("Identity", ["out"], [f"out{n}"]))
        taken.append(helper.make_tensor_value_info(f"out{n}", TensorProto.FLOAT, [batch, len(bias)]))
    held = [
        numpy_helper.from_array(np.array(weights, np.float32), "weights"),
        numpy_helper.from_array(np.array(bias, np.float32), "bias"),
    ]
    model = _model(nodes, given, taken, held)
    more = {"save_as_external_data": True, "size_threshold": 0, "location": "weights.bin"} if external else {}
    onnx.save(model, str(path), **more)


def hostile_model(path: Path, kind: str) -> None:
    """Write a model that takes what a classifier takes, and is endless, large, of other operators, or reads a file."""
    one = numpy_helper.from_array(np.array(10**12, np.int64), "times")
    nodes = {
        "endless": [helper.make_node("Loop", ["times", ""], ["out"], body=_counting())],
        "large": [helper.make_node("ConstantOfShape", ["sides"], ["ones"]), helper.make_node("ReduceSum", ["ones"], ["out"])],
        "of other operators": [helper.make_node("Evil", ["image"], ["out"], domain="com.evil")],
        "of other files": [helper.make_node("Identity", ["weights"], ["out"])],
    }[kind]  # fmt: skip
    held = {"endless": [one], "large": [numpy_helper.from_array(np.array([10**12], np.int64), "sides")]}.get(kind, [])
    if kind == "of other files":
        elsewhere = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[2])
        elsewhere.data_location = TensorProto.EXTERNAL
        elsewhere.external_data.add(key="location", value="../../../../../../../etc/passwd")
        held = [elsewhere]
    given = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 8, 8])]
    taken = [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)]
    model = _model(nodes, given, taken, held)
    model.opset_import.add(domain="com.evil", version=1)
    path.write_bytes(model.SerializeToString())


def _counting() -> Any:
    """Return the body of a loop that scans its counter, so that nothing of it can be left out."""
    given = [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("go", TensorProto.BOOL, [])]  # fmt: skip
    nodes = [
        helper.make_node("Identity", ["go"], ["on"]),
        helper.make_node("Cast", ["i"], ["each"], to=TensorProto.FLOAT),
    ]
    taken = [helper.make_tensor_value_info("on", TensorProto.BOOL, []), helper.make_tensor_value_info("each", TensorProto.FLOAT, [])]  # fmt: skip
    return helper.make_graph(nodes, "body", given, taken)


def magenta_model(path: Path) -> None:
    """Write a model that scores how magenta an image is, and its card beside it.

    The mean m of min(red, blue) - green is 1 for (255, 0, 255) and 0.5 for purple. The score is the logistic function of
    40 × (m - 0.65): above 0.99 if nine tenths are magenta and the rest is no green, below 0.01 where m is below 0.53.
    """
    nodes = [
        helper.make_node("Split", ["image"], ["red", "green", "blue"], axis=1, num_outputs=3),
        helper.make_node("Min", ["red", "blue"], ["both"]),
        helper.make_node("Sub", ["both", "green"], ["magenta"]),
        helper.make_node("GlobalAveragePool", ["magenta"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["row"]),
        helper.make_node("Gemm", ["row", "weights", "bias"], ["logits"], transB=1),
    ]
    held = [
        numpy_helper.from_array(np.array([[0], [40]], np.float32), "weights"),
        numpy_helper.from_array(np.array([0, -26], np.float32), "bias"),
    ]
    given = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 32, 32])]
    taken = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])]
    onnx.save(_model(nodes, given, taken, held), str(path))
    card = card_text(size=32, classes=["other", "magenta"], unsafe=["magenta"])
    path.with_suffix(".yaml").write_text(card)


def _model(nodes: list[Any], given: list[Any], taken: list[Any], held: list[Any]) -> Any:
    graph = helper.make_graph(nodes, "classifier", given, taken, held)
    # An old format, which every onnxruntime of the last years reads.
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _saved(
    nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any], constants: Sequence[Any]
) -> onnx.ModelProto:
    graph = helper.make_graph(list(nodes), "tiny", list(inputs), list(outputs), list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _floats(name: str, values: Any) -> Any:
    return numpy_helper.from_array(np.asarray(values, np.float32), name)


def tiny_text_models() -> dict[str, bytes]:
    """Return models that take dark pixels for text, and read a line by its blocks of colour: a, b and c.

    Both take blue, green, red from -1 to 1. Each 8 columns are a character: a for blue, b for green and c for red; what
    has none of these colours is the gap between two.
    """
    floats = TensorProto.FLOAT
    image = helper.make_tensor_value_info("x", floats, [1, 3, "h", "w"])
    dark = [
        helper.make_node("ReduceMin", ["x"], ["least"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["least", "slope"], ["steep"]),
        helper.make_node("Add", ["steep", "bias"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["map"]),
    ]
    place = helper.make_tensor_value_info("map", floats, [1, 1, "h", "w"])
    detection = _saved(dark, [image], [place], [_floats("slope", -40.0), _floats("bias", -20.0)])
    read = [
        helper.make_node("AveragePool", ["x"], ["blocks"], kernel_shape=[48, 8], strides=[48, 8]),
        helper.make_node("Conv", ["blocks", "colours", "gap"], ["logits"]),
        helper.make_node("Squeeze", ["logits", "height"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["rows"], perm=[0, 2, 1]),
        helper.make_node("Softmax", ["rows"], ["characters"], axis=2),
    ]
    # A colour has more in its own channel than in the others; the gap wins where no channel stands out.
    colours = [[0, 0, 0], [40, -20, -20], [-20, 40, -20], [-20, -20, 40], [0, 0, 0]]
    constants = [
        _floats("colours", np.reshape(colours, (5, 3, 1, 1))),
        _floats("gap", [10, 0, 0, 0, -90]),
        numpy_helper.from_array(np.array([2]), "height"),
    ]
    line = helper.make_tensor_value_info("x", floats, [1, 3, 48, "w"])
    says = helper.make_tensor_value_info("characters", floats, [1, "n", 5])
    recognition = _saved(read, [line], [says], constants)
    entry = recognition.metadata_props.add()
    entry.key, entry.value = "character", "a\nb\nc"
    return {"detection.onnx": detection.SerializeToString(), "recognition.onnx": recognition.SerializeToString()}


def tiny_face_model(side: int = 32) -> dict[str, bytes]:
    """Return a model that takes each pure red cell of 4 x 4 pixels for the middle of a face of `side` pixels."""
    floats = TensorProto.FLOAT
    image = helper.make_tensor_value_info("pixels", floats, [1, 3, "h", "w"])
    size = float(np.log(side / 4))
    nodes = [
        helper.make_node("AveragePool", ["pixels"], ["cells"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Conv", ["cells", "redness", "bias"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["heat"]),
        helper.make_node("Conv", ["cells", "none", "size"], ["scales"]),
        helper.make_node("Conv", ["cells", "none", "middle"], ["offsets"]),
    ]
    constants = [
        _floats("redness", np.reshape([1, -1, -1], (1, 3, 1, 1))),
        _floats("bias", [-200]),
        _floats("none", np.zeros((2, 3, 1, 1))),
        _floats("size", [size, size]),
        _floats("middle", [0, 0]),
    ]
    outputs = [helper.make_tensor_value_info(name, floats, None) for name in ("heat", "scales", "offsets")]
    return {"model.onnx": _saved(nodes, [image], outputs, constants).SerializeToString()}
