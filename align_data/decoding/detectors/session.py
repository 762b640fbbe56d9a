"""ONNX sessions of the process that decodes images."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable
from typing import Any, TypeVar

from align_data.common.errors import InputError, SignalError
from align_data.common.user_files import read_user_file

# onnxruntime reports to its makers from each process that opens a model, unless this stands here before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

MAX_MODEL = 2**31
"""Bytes of an .onnx file, at most: a larger one cannot have its weights in it."""
EXTRAS = {"onnxruntime": "nsfw", "nudenet": "nudenet"}
"""The extra that brings each package."""
T = TypeVar("T")


def read_file(path: str, kind: str) -> bytes:
    """Return a file that the user has named; InputError where it cannot be read, or is too large for a model."""
    return read_user_file(path, f"the {kind}", MAX_MODEL)


def session(model: bytes, name: str) -> Any:
    """Open a model on one thread; from bytes, so that exactly what was hashed is run."""
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised; the rest is not for the user
    return loud(
        lambda: onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]),
        f"{name} is not an ONNX model that can be opened (its weights must be in the file itself)",
    )


def loud(action: Callable[[], T], failure: str) -> T:
    """Return action(), with any error of onnxruntime's as one sentence."""
    try:
        return action()
    except Exception as error:  # onnxruntime's errors have no base of their own
        # '[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : what it says, often in several lines'
        raise InputError(f"{failure}: {str(error).partition(chr(10))[0].split(' : ', 3)[-1]}") from error


def need(package: str, what: str) -> None:
    """Raise SignalError where a package is not installed that `what`, the signals in words, would take."""
    if importlib.util.find_spec(package) is None:
        extra = EXTRAS[package]
        raise SignalError(f"{what} {package}, the extra {extra}: pip install 'align-data[{extra}]'")
