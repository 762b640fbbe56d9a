"""Text in a picture, by PP-OCRv4's two networks in ONNX: one says where text is, the other reads a line of it.

What is around the networks is small: lines are upright boxes about connected pixels of text, widened as the network was
trained for, and each box is read from left to right, or from top to bottom where it is much higher than wide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from align_data.decoding.detectors.session import session
from align_data.decoding.inspected import MAX_TEXT

if TYPE_CHECKING:
    from PIL.Image import Image

Floats = NDArray[np.float32]

DETECTION, RECOGNITION = "detection.onnx", "recognition.onnx"
LONGEST_SIDE, SHORTEST_SIDE = 736, 32
"""Pixels of the picture as the first network sees it: no more, and no fewer, a side."""
_MULTIPLE = 32
_TEXT, _LINE, _READ = 0.3, 0.5, 0.6
"""The least probability of a pixel of text, of a line's pixels on average, and of a line's characters on average."""
_WIDENED = 1.6
"""A line's box is widened by its area over its outline, times this: the network marks the middle of a line."""
_SMALLEST = 3
"""Pixels of a line's box as it is marked, at least."""
MAX_LINES = 200
"""Lines of a picture that are read, the largest first."""
_SHORTEST_LINE = 2
"""Characters: a line of one is most often an edge or a corner."""
_HEIGHT, _WIDEST = 48, 1920
"""Pixels of a line as the second network sees it."""


class TextLine(NamedTuple):
    """A line of text: its box in pixels of the picture, and what it says."""

    left: float
    top: float
    right: float
    bottom: float
    text: str


class TextDetector:
    """Reads what is written in pictures."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._detection = session(files[DETECTION], "the model of where text is")
        self._recognition = session(files[RECOGNITION], "the model that reads text")
        listed = self._recognition.get_modelmeta().custom_metadata_map.get("character", "")
        self._characters = ["", *listed.split("\n"), " "]

    def measure(self, image: Image) -> dict[str, Any]:
        """Return image_text, text_area and text_words of an upright RGB image."""
        lines = self.read(image)
        text = " ".join(line.text for line in lines)[:MAX_TEXT].strip()
        return {
            "image_text": text,
            "text_area": covered([line[:4] for line in lines], image.size),
            "text_words": len(text.split()),
        }

    def read(self, image: Image) -> list[TextLine]:
        """Return the lines that are read with confidence, from the top, and then from the left."""
        lines = []
        for box in self._boxes(image):
            text = self._text(image, box).strip()
            if len(text) >= _SHORTEST_LINE:
                lines.append(TextLine(*box, text))
        return sorted(lines, key=lambda line: (line.top, line.left))

    def _boxes(self, image: Image) -> list[tuple[float, float, float, float]]:
        """Return the boxes about lines of text, the largest first."""
        from PIL import Image as Pillow  # noqa: PLC0415 - in the child process alone
        from scipy import ndimage  # noqa: PLC0415 - imagehash brings it

        scale = min(1.0, LONGEST_SIDE / max(image.size))
        width, height = (max(SHORTEST_SIDE, round(side * scale / _MULTIPLE) * _MULTIPLE) for side in image.size)
        pixels = np.asarray(image.resize((width, height), Pillow.Resampling.BILINEAR), np.float32)
        (maps,) = self._detection.run(None, {"x": _normal(pixels)})
        probability = maps[0, 0]
        labels, _ = ndimage.label(probability > _TEXT, np.ones((3, 3)))
        boxes = []
        for number, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
            high, wide = rows.stop - rows.start, columns.stop - columns.start
            inside = labels[rows, columns] == number
            if min(high, wide) < _SMALLEST or probability[rows, columns][inside].mean() < _LINE:
                continue
            margin = high * wide * _WIDENED / (2 * (high + wide))
            boxes.append(
                (
                    max(0.0, (columns.start - margin) * image.width / width),
                    max(0.0, (rows.start - margin) * image.height / height),
                    min(float(image.width), (columns.stop + margin) * image.width / width),
                    min(float(image.height), (rows.stop + margin) * image.height / height),
                )
            )
        boxes.sort(key=lambda box: (-(box[2] - box[0]) * (box[3] - box[1]), box))
        return boxes[:MAX_LINES]

    def _text(self, image: Image, box: tuple[float, float, float, float]) -> str:
        """Return what a box says, '' where the network is not sure of it."""
        from PIL import Image as Pillow  # noqa: PLC0415 - in the child process alone

        left, top, right, bottom = box
        line = image.crop((int(left), int(top), int(np.ceil(right)), int(np.ceil(bottom))))
        if line.height >= 1.5 * line.width:
            line = line.transpose(Pillow.Transpose.ROTATE_90)
        width = min(_WIDEST, max(_HEIGHT, round(line.width * _HEIGHT / line.height)))
        pixels = np.asarray(line.resize((width, _HEIGHT), Pillow.Resampling.BILINEAR), np.float32)
        (rows,) = self._recognition.run(None, {"x": _normal(pixels)})
        return "".join(self._decoded(rows[0]))

    def _decoded(self, rows: Floats) -> Iterator[str]:
        """Yield the characters of a line: repeated ones once, but where the network sees a gap between them."""
        best, certain = rows.argmax(axis=1), rows.max(axis=1)
        new = (best != 0) & np.concatenate([[True], best[1:] != best[:-1]])
        if new.any() and certain[new].mean() >= _READ:
            for number in best[new]:
                character = self._characters[number] if number < len(self._characters) else ""
                yield character if character.isprintable() else ""


def _normal(pixels: Floats) -> Floats:
    """Return RGB pixels, 0 to 255, as both networks take them: blue first, -1 to 1."""
    normal: Floats = (pixels[:, :, ::-1].transpose(2, 0, 1) / np.float32(127.5) - np.float32(1))[np.newaxis]
    return np.ascontiguousarray(normal)


_GRID = 256


def covered(boxes: list[tuple[float, float, float, float]], size: tuple[int, int]) -> float:
    """Return the share of a picture that boxes cover, counted on 256 x 256 points: where two overlap once."""
    grid = np.zeros((_GRID, _GRID), bool)
    points = (np.arange(_GRID) + 0.5) / _GRID
    for left, top, right, bottom in boxes:
        x = points * size[0]
        y = points * size[1]
        grid[np.ix_((y >= top) & (y < bottom), (x >= left) & (x < right))] = True
    return float(grid.mean())
