"""Faces in a picture, by CenterFace in ONNX: their number, and the share of the picture that their boxes cover."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from align_data.decoding.detectors.ocr import covered
from align_data.decoding.detectors.session import session

if TYPE_CHECKING:
    from PIL.Image import Image

Floats = NDArray[np.float32]
Box = tuple[float, float, float, float]

MODEL = "model.onnx"
LONGEST_SIDE = 640
"""Pixels of the picture as the network sees it, a side at most; multiples of 32."""
_STRIDE, _MULTIPLE = 4, 32
FACE = 0.5
"""The least score of a face."""
_SAME = 0.3
"""Of two boxes that share more of what they cover together than this, the one with the lower score is no other face."""
MAX_FACES = 1000


class FaceDetector:
    """Sees faces in pictures."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._session = session(files[MODEL], "the model of faces")
        self._input = self._session.get_inputs()[0].name

    def measure(self, image: Image) -> dict[str, Any]:
        """Return n_faces and face_area of an upright RGB image."""
        boxes = self.boxes(image)
        return {"n_faces": len(boxes), "face_area": covered(boxes, image.size)}

    def boxes(self, image: Image) -> list[Box]:
        """Return a box for each face, the surest first: left, top, right, bottom in pixels."""
        from PIL import Image as Pillow  # noqa: PLC0415 - in the child process alone

        scale = min(1.0, LONGEST_SIDE / max(image.size))
        width, height = (max(_MULTIPLE, round(side * scale / _MULTIPLE) * _MULTIPLE) for side in image.size)
        pixels = np.asarray(image.resize((width, height), Pillow.Resampling.BILINEAR), np.float32)
        maps = self._session.run(None, {self._input: np.ascontiguousarray(pixels.transpose(2, 0, 1)[np.newaxis])})
        heat, scales, offsets = (maps[place][0] for place in range(3))
        down, across = np.nonzero(heat[0] > FACE)
        order = np.argsort(-heat[0, down, across], kind="stable")[:MAX_FACES]
        down, across = down[order], across[order]
        high, wide = (_STRIDE * np.exp(scales[side, down, across]) for side in (0, 1))
        y, x = (_STRIDE * (place + offsets[side, down, across] + 0.5) for side, place in ((0, down), (1, across)))
        boxes = np.stack([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2], axis=1).astype(np.float64)
        boxes = np.clip(boxes, 0, [width, height, width, height])
        ratio = np.array([image.width / width, image.height / height] * 2)
        return [tuple((boxes[place] * ratio).tolist()) for place in _distinct(boxes)]


def _distinct(boxes: NDArray[np.float64]) -> list[int]:
    """Return which boxes, the best first, are of another face than all before."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    for place in np.flatnonzero(area > 0).tolist():
        others = boxes[kept]
        low = np.maximum(others[:, :2], boxes[place, :2])
        high = np.minimum(others[:, 2:], boxes[place, 2:])
        shared = np.prod(np.clip(high - low, 0, None), axis=1)
        if not (shared > _SAME * (area[kept] + area[place] - shared)).any():
            kept.append(place)
    return kept
