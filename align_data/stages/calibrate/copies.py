"""Near-copies of images, embedded: they are made in child processes, slightly ahead of the model."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from queue import SimpleQueue

import numpy as np

from align_data.common.errors import DatasetError
from align_data.common.progress import Tick
from align_data.data.layout import Dataset
from align_data.data.model_inputs import embedded_by, limits_of
from align_data.decoding.augmenting.augmentations import AUGMENTATIONS
from align_data.decoding.augmenting.augmenter import Augmenter
from align_data.decoding.inputs.preparation import Pixels
from align_data.decoding.inspected import ImageLimits
from align_data.models.encoder import BATCH, Encoder
from align_data.stages.calibrate.curve import Doubles, Halves, cosines_of
from align_data.storage.tars import DAMAGED, Place, TarReader

_Copies = list[Pixels] | None


def copy_cosines(
    dataset: Dataset, places: Sequence[Place], vectors: Halves, encoder: Encoder, children: int, tick: Tick
) -> dict[str, Doubles]:
    """Return the cosine of each image to its copies, by kind; NaN for an image that cannot be decoded after all."""
    cosines = np.full((len(places), len(AUGMENTATIONS)), np.nan)
    copies = _copies(dataset, places, encoder, children)
    for start in range(0, len(places), BATCH):
        batch = [next(copies) for _ in places[start : start + BATCH]]
        usable = [at for at, of_image in enumerate(batch) if of_image is not None]
        pixels = [each for of_image in batch if of_image is not None for each in of_image]
        embedded = embedded_by(encoder, encoder.images, pixels)
        rows = np.repeat(start + np.array(usable, np.intp), len(AUGMENTATIONS))
        near = cosines_of(vectors[rows], embedded.astype(np.float16))
        cosines[start + np.array(usable, np.intp)] = near.reshape(-1, len(AUGMENTATIONS))
        tick(len(batch))
    return dict(zip(AUGMENTATIONS, cosines.T, strict=True))


def _copies(dataset: Dataset, places: Sequence[Place], encoder: Encoder, children: int) -> Iterator[_Copies]:
    """Yield the copies of each image, in order."""
    looked = limits_of(dataset)
    limits = ImageLimits(max_pixels=looked.max_pixels, seconds=looked.seconds)
    tools: SimpleQueue[tuple[TarReader, Augmenter]] = SimpleQueue()
    ahead: deque[Future[_Copies]] = deque()

    def make(place: Place) -> _Copies:
        reader, augmenter = tools.get()
        try:
            return augmenter.copies(_read(reader, place))
        finally:
            tools.put((reader, augmenter))

    with ExitStack() as stack:
        for _ in range(children):
            tool = TarReader(dataset.store), Augmenter(encoder.preparation, limits)
            for closes in tool:
                stack.enter_context(closing(closes))
            tools.put(tool)
        threads = ThreadPoolExecutor(children)
        stack.callback(threads.shutdown, cancel_futures=True)
        for place in places:
            ahead.append(threads.submit(make, place))
            if len(ahead) > BATCH:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _read(reader: TarReader, place: Place) -> bytes:
    try:
        return reader.read(place)
    except OSError as error:
        raise DatasetError(f"{place.tar}, at {place.offset:,}: {error.strerror or error}; {DAMAGED}") from error
