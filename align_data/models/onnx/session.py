"""An .onnx file as onnxruntime runs it: opened from the bytes that were hashed, on a provider that is really used."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from align_data.common.errors import SignalError
from align_data.decoding.detectors.session import loud  # and what keeps onnxruntime from reporting to its makers

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
MAX_ROWS = 1024
"""Rows that a model may want at once, at most."""


def versions() -> dict[str, str]:
    """Return the versions of the libraries that run an encoder in ONNX."""
    installed = {}
    for package in ("onnxruntime", "onnxruntime-gpu", "tokenizers"):
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return installed


def provider_of(device: str | None, available: Sequence[str]) -> str:
    """Return the provider for a device (cpu, cuda, cuda:N); None is a GPU where there is one.

    SignalError for a device that onnxruntime has no provider for: it would run on the CPU and say nothing.
    """
    kind, _, number = (device or "").partition(":")
    if device is None:
        return CUDA if CUDA in available else CPU
    if kind == "cpu" and not number:
        return CPU
    if kind != "cuda" or not (number == "" or number.isdecimal()):
        raise SignalError(f"there is no device {device} for an encoder in ONNX: it takes cpu, cuda or cuda:NUMBER")
    if CUDA not in available:
        has = ", ".join(available)
        raise SignalError(
            f"the device {device} cannot be used: this onnxruntime has no {CUDA}, only {has}; "
            "the package onnxruntime-gpu has it"
        )
    return CUDA


class OnnxModel:
    """One .onnx file of an encoder: named tensors in, one array out."""

    def __init__(self, content: bytes, file: str, device: str | None, threads: int) -> None:
        onnxruntime = importlib.import_module("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4  # what goes wrong is raised; the rest is not for the user
        provider = provider_of(device, onnxruntime.get_available_providers())
        number = {"device_id": int((device or "").partition(":")[2] or 0)}
        providers = [CPU] if provider == CPU else [(provider, number), CPU]
        self.file = file
        self._session = loud(
            lambda: onnxruntime.InferenceSession(content, options, providers=providers),
            f"{file} is not an ONNX model that can be opened (its weights must be in the file itself)",
        )
        self.provider = str(self._session.get_providers()[0])
        if device is not None and self.provider != provider:
            raise SignalError(f"the device {device} cannot be used: onnxruntime fell back to {self.provider}")
        self.inputs = {tensor.name: tensor for tensor in self._session.get_inputs()}
        self.outputs = [tensor.name for tensor in self._session.get_outputs()]

    def named(self, names: Sequence[str], name: str | None, kind: str, usual: str) -> str:
        """Return the name of an input or output: the card's, or the usual or only one; SignalError where unclear."""
        if name is not None:
            if name not in names:
                raise SignalError(f"{self.file} has no {kind} {name}, which its card names; it has: {', '.join(names)}")
            return name
        if usual in names:
            return usual
        if len(names) != 1:
            raise SignalError(
                f"{self.file} has {len(names)} {kind}s ({', '.join(names)}): its card must say which is used"
            )
        return names[0]

    def input_type(self, name: str, allowed: Sequence[str]) -> str:
        """Return the type of an input; SignalError where it is not one of those allowed."""
        kind = str(self.inputs[name].type)
        if kind not in allowed:
            raise SignalError(f"{self.file} has an input {name} of type {kind}; it can only be {' or '.join(allowed)}")
        return kind

    def shape(self, name: str) -> list[int | str]:
        """Return the shape that an input declares, 'any' where it does not."""
        return [side if isinstance(side, int) else "any" for side in self.inputs[name].shape]

    def rows(self, declared: Sequence[int | str], usual: int) -> int:
        """Return how many rows go through together: as an input declares, or as usual; SignalError for too many."""
        fixed = declared[0]
        if not isinstance(fixed, int):
            return usual
        if not 1 <= fixed <= MAX_ROWS:
            raise SignalError(f"{self.file} takes {fixed:,} rows at once; it can only be 1 to {MAX_ROWS:,}, or any")
        return fixed

    def run(self, tensors: dict[str, NDArray[Any]], output: str, dim: int) -> NDArray[np.float32]:
        """Return one output, (rows, dim); SignalError or InputError where it cannot be had."""
        array = np.asarray(loud(lambda: self._session.run([output], tensors)[0], f"{self.file} cannot be run"))
        rows = len(next(iter(tensors.values())))
        if array.dtype.kind != "f" or array.ndim != 2 or len(array) != rows:
            raise SignalError(
                f"{self.file} gives {array.dtype} of the shape {list(array.shape)} for {rows} rows; "
                "an encoder gives one vector of floats for each"
            )
        if array.shape[1] != dim:
            raise SignalError(
                f"{self.file} gives embeddings of {array.shape[1]:,} dimensions, but its card says {dim:,}"
            )
        return array.astype(np.float32, copy=False)
