"""The MIT-licensed MobileNet v2 of GantMan's nsfw_model inside npm's nsfwjs: as a classifier, and as an encoder."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

from align_data.models.named.packages import Package, PackageFile
from align_data.models.named.tfjs import converted

_FOLDER = "dist/models/mobilenet_v2"
_MODEL = PackageFile(
    f"{_FOLDER}/model.min.js", 106_679, "c32f104fd562b08cdff5ed69dfe1209643afa47e792fb12751d2949aa61a397a"
)
_WEIGHTS = PackageFile(
    f"{_FOLDER}/group1-shard1of1.min.js",
    3_493_394,
    "ef2e0a63f7d2c4960b37b024b669313f65d3c45cd59e9042636c55b39de53517",
)
PACKAGE = Package(
    "npm",
    "nsfwjs",
    "4.3.0",
    "4496790efc9bdc6f3e85a826a8e482c1fa1e9db4b3d18c095e98cc0c73cfb12f",
    "MIT",
    (_MODEL, _WEIGHTS),
)
SCORES, FEATURES = "dense_3", "flatten_1"
"""The layers whose outputs are the probabilities of the five classes, and 1,280 features of an image."""


def classifier(files: Mapping[str, bytes]) -> bytes:
    """Return the classifier as an ONNX file, from the package's files."""
    return _onnx(files, SCORES)


def encoder(files: Mapping[str, bytes]) -> bytes:
    """Return what the classifier sees in an image, 1,280 features, as an ONNX file."""
    return _onnx(files, FEATURES)


def _onnx(files: Mapping[str, bytes], layer: str) -> bytes:
    model = _literal(files[_MODEL.path].decode())
    text = re.search(r'exports="([A-Za-z0-9+/=]+)"', files[_WEIGHTS.path].decode())
    assert text is not None, "its bytes are pinned"
    (group,) = model["weightsManifest"]
    return converted(model["modelTopology"], group["weights"], base64.b64decode(text[1]), layer)


def _literal(script: str) -> Any:
    """Return the value of the one object literal in a minified module; these bytes are known, so no more is needed."""
    start = script.index("exports={modelTopology") + len("exports=")
    literal = script[start : script.rindex("},{}]},{},[1])")]
    literal = re.sub(r"([{,])([A-Za-z_]\w*):", r'\1"\2":', literal)
    literal = re.sub(r"([:\[,]-?)\.(?=\d)", r"\g<1>0.", literal)
    return json.loads(literal.replace("!0", "true").replace("!1", "false"))
