"""A layers model of TensorFlow.js as ONNX: the layers that MobileNet v2 and its classifier are made of."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from align_data.common.errors import InputError, SignalError

OPSET, IR_VERSION = 17, 9
INPUT = "input"
Floats = NDArray[np.float32]


def converted(topology: Mapping[str, Any], manifest: Sequence[Mapping[str, Any]], content: bytes, output: str) -> bytes:
    """Return layers, from the first to the one called `output`, as an ONNX file.

    It takes (n, height, width, channels), as the model of TensorFlow.js does. `manifest` says of each weight where it
    lies in `content`. Raises InputError where these do not fit together, or for a layer that is not known here.
    """
    if importlib.util.find_spec("onnx") is None:
        raise SignalError("to convert a model needs onnx, in the extra nsfw: pip install 'align-data[nsfw]'")
    try:
        return _Graph(_weights(manifest, content)).build(topology["model_config"]["config"]["layers"], output)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"not a layers model of TensorFlow.js that is known here: {error}") from error


def _weights(manifest: Sequence[Mapping[str, Any]], content: bytes) -> dict[str, Floats]:
    """Return each weight by name; of those stored in 8 bits by their scale and least value."""
    weights, at = {}, 0
    for weight in manifest:
        shape, stored = weight["shape"], weight.get("quantization")
        kind = np.dtype("float32" if stored is None else stored["dtype"])
        values = np.frombuffer(content, kind, int(np.prod(shape)), at).astype(np.float32)
        at += values.size * kind.itemsize
        if stored is not None:
            values = values * np.float32(stored["scale"]) + np.float32(stored["min"])
        weights[weight["name"]] = values.reshape(shape)
    if at != len(content):
        raise InputError(f"the weights have {len(content):,} bytes, and not the {at:,} that the model says")
    return weights


class _Graph:
    """The graph as it grows, a layer after another. Inside it channels are first, as ONNX has them."""

    def __init__(self, weights: Mapping[str, Floats]) -> None:
        self._onnx = importlib.import_module("onnx")
        self.weights = weights
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def build(self, layers: Sequence[Mapping[str, Any]], output: str) -> bytes:
        helper, floats = self._onnx.helper, self._onnx.TensorProto.FLOAT
        shape = ["n", *layers[0]["config"]["batch_input_shape"][1:]]
        for layer in layers:
            inputs = [source[0] for source in layer["inbound_nodes"][0]] if layer["inbound_nodes"] else [INPUT]
            _LAYERS[layer["class_name"]](self, layer["name"], inputs, layer["config"])
            if layer["name"] == output:
                break
        graph = helper.make_graph(
            self._nodes,
            "layers",
            [helper.make_tensor_value_info(INPUT, floats, shape)],
            [helper.make_tensor_value_info(output, floats, ["n", None])],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        self._onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))

    def node(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, values: Any) -> str:
        self._constants.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def weight(self, layer: str, name: str, axes: Sequence[int] | None = None) -> str:
        values = self.weights[f"{layer}/{name}"]
        return self.constant(f"{layer}/{name}", values if axes is None else values.transpose(axes))

    def activated(self, layer: str, linear: str, activation: str) -> None:
        operator = {"linear": "Identity", "relu": "Relu", "softmax": "Softmax"}[activation]
        self.node(operator, [linear], layer, **({"axis": 1} if operator == "Softmax" else {}))


_PADDING = {"same": "SAME_UPPER", "valid": "VALID"}
Config = Mapping[str, Any]


def _input(graph: _Graph, layer: str, inputs: Sequence[str], _: Config) -> None:
    graph.node("Transpose", inputs, layer, perm=[0, 3, 1, 2])


def _zero_padding(graph: _Graph, layer: str, inputs: Sequence[str], config: Config) -> None:
    (top, bottom), (left, right) = config["padding"]
    pads = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
    graph.node("Pad", [*inputs, graph.constant(f"{layer}/pads", pads)], layer)


def _conv(graph: _Graph, layer: str, inputs: Sequence[str], config: Config) -> None:
    if config["use_bias"] or config["activation"] != "linear":
        raise InputError(f"the layer {layer} has a bias or an activation, which is not known here")
    options = {"strides": config["strides"], "auto_pad": _PADDING[config["padding"]]}
    graph.node("Conv", [*inputs, graph.weight(layer, "kernel", (3, 2, 0, 1))], layer, **options)


def _depthwise_conv(graph: _Graph, layer: str, inputs: Sequence[str], config: Config) -> None:
    if config["use_bias"] or config["activation"] != "linear" or config["depth_multiplier"] != 1:
        raise InputError(f"the layer {layer} has a bias, an activation or a multiplier, which is not known here")
    kernel = graph.weight(layer, "depthwise_kernel", (2, 3, 0, 1))
    options = {"strides": config["strides"], "auto_pad": _PADDING[config["padding"]]}
    channels = graph.weights[f"{layer}/depthwise_kernel"].shape[2]
    graph.node("Conv", [*inputs, kernel], layer, group=channels, **options)


def _batch_normalization(graph: _Graph, layer: str, inputs: Sequence[str], config: Config) -> None:
    weights = [graph.weight(layer, name) for name in ("gamma", "beta", "moving_mean", "moving_variance")]
    graph.node("BatchNormalization", [*inputs, *weights], layer, epsilon=config["epsilon"])


def _relu(graph: _Graph, layer: str, inputs: Sequence[str], config: Config) -> None:
    low = graph.constant(f"{layer}/low", np.float32(0))
    high = graph.constant(f"{layer}/high", np.float32(config["max_value"]))
    graph.node("Clip", [*inputs, low, high], layer)


def _add(graph: _Graph, layer: str, inputs: Sequence[str], _: Config) -> None:
    graph.node("Add", inputs, layer)


def _average_pooling(graph: _Graph, layer: str, inputs: Sequence[str], config: Config) -> None:
    options = {"strides": config["strides"], "auto_pad": _PADDING[config["padding"]]}
    graph.node("AveragePool", inputs, layer, kernel_shape=config["pool_size"], **options)


def _flatten(graph: _Graph, layer: str, inputs: Sequence[str], _: Config) -> None:
    channels_last = graph.node("Transpose", inputs, f"{layer}/channels_last", perm=[0, 2, 3, 1])
    graph.node("Flatten", [channels_last], layer)


def _dropout(graph: _Graph, layer: str, inputs: Sequence[str], _: Config) -> None:
    graph.node("Identity", inputs, layer)


def _dense(graph: _Graph, layer: str, inputs: Sequence[str], config: Config) -> None:
    weights = [graph.weight(layer, name) for name in ("kernel", "bias")]
    graph.activated(layer, graph.node("Gemm", [*inputs, *weights], f"{layer}/linear"), config["activation"])


_LAYERS: Mapping[str, Callable[[_Graph, str, Sequence[str], Config], None]] = {
    "InputLayer": _input,
    "ZeroPadding2D": _zero_padding,
    "Conv2D": _conv,
    "DepthwiseConv2D": _depthwise_conv,
    "BatchNormalization": _batch_normalization,
    "ReLU": _relu,
    "Add": _add,
    "AveragePooling2D": _average_pooling,
    "Flatten": _flatten,
    "Dropout": _dropout,
    "Dense": _dense,
}
"""How a layer of each class becomes nodes."""
