"""An encoder in a folder: image.onnx, text.onnx and tokenizer.json where it embeds texts, and card.yaml.

The files may be a stranger's: each is opened in a confined child process first, with one image and one text.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from align_data.common.errors import InputError, SignalError
from align_data.common.user_files import check_user_file, read_user_file
from align_data.common.workers import ChildDiedError
from align_data.common.workers.trial import try_model
from align_data.decoding.detectors.session import MAX_MODEL
from align_data.decoding.inputs.preparation import Pixels, Preparation
from align_data.models.encoder import BATCH, ModelIdentity, Vectors
from align_data.models.extras import need
from align_data.models.onnx.card import EncoderCard, read_encoder_card
from align_data.models.onnx.session import OnnxModel, versions
from align_data.models.spaces import SPHERE
from align_data.models.vectors import check_pixels, in_batches, stacked, unit

IMAGE, TEXT, TOKENIZER, CARD = "image.onnx", "text.onnx", "tokenizer.json", "card.yaml"
MAX_TOKENIZER = 2**26
TRIAL = "align_data.models.onnx.trial:handler"
TRIAL_SECONDS = 120.0
"""What an encoder may take to be opened, and again for the first image and text, on one thread."""


@dataclass(frozen=True)
class OnnxFiles:
    """The files of an encoder, read."""

    folder: str
    card: EncoderCard
    image: bytes
    text: bytes | None = None
    tokenizer: bytes | None = None

    @classmethod
    def read(cls, folder: str) -> OnnxFiles:
        """Read a folder; InputError says what is missing or wrong, before a file that is too large is read."""
        paths = {name: Path(folder) / name for name in (CARD, IMAGE, TEXT, TOKENIZER)}
        for name in (CARD, IMAGE):
            if not paths[name].exists():
                raise InputError(f"the encoder {folder} has no {name}: it takes {IMAGE} and {CARD}, and for texts "
                                 f"{TEXT} and {TOKENIZER}")  # fmt: skip
        card = read_encoder_card(str(paths[CARD]))
        limits = {IMAGE: MAX_MODEL, TEXT: MAX_MODEL, TOKENIZER: MAX_TOKENIZER}
        present = [name for name in limits if paths[name].exists()]
        for name in present:
            check_user_file(str(paths[name]), "the encoder's file", limits[name])
        if len(present) == 2:
            missing = TOKENIZER if TEXT in present else TEXT
            raise InputError(f"the encoder {folder} has no {missing}: texts need both {TEXT} and {TOKENIZER}")
        if TEXT in present and card.max_tokens is None:
            raise InputError(f"{paths[CARD]}: the key max_tokens is missing, which {TEXT} needs")
        contents = {name: read_user_file(str(paths[name]), "the encoder's file", limits[name]) for name in present}
        return cls(folder, card, contents[IMAGE], contents.get(TEXT), contents.get(TOKENIZER))

    @property
    def digest(self) -> str:
        """The SHA-256 of all that decides what the encoder says."""
        digest = hashlib.sha256(self.card.identity().encode())
        for content in (self.image, self.text, self.tokenizer):
            digest.update(b"" if content is None else hashlib.sha256(content).digest())
        return digest.hexdigest()

    def check(self, seconds: float = TRIAL_SECONDS) -> None:
        """Raise InputError or SignalError if the encoder cannot be used here; it is tried in a child process."""
        need("onnx", "onnxruntime", *([] if self.text is None else ["tokenizers"]))
        try:
            try_model(TRIAL, {"folder": self.folder, "digest": self.digest}, seconds)
        except ChildDiedError as died:
            raise SignalError(f"the encoder {self.folder} {_ended(died, seconds)}") from None


def _ended(died: ChildDiedError, seconds: float) -> str:
    if died.slow:
        return f"was not opened, or did not embed an image and a text, within {seconds:g} s"
    return f"ended the process that tried it with {died.how}: it is damaged, or needs more memory than is available"


class OnnxEncoder:
    """An encoder in ONNX, used as its card says."""

    space = SPHERE

    def __init__(
        self, files: OnnxFiles, device: str | None = None, *, threads: int | None = None, rows: int = BATCH
    ) -> None:
        threads = threads or len(os.sched_getaffinity(0))
        self._card, self._folder = files.card, files.folder
        self._image = _ImageModel(OnnxModel(files.image, _path(files, IMAGE), device, threads), files.card, rows)
        self._text = None
        if files.text is not None and files.tokenizer is not None:
            model = OnnxModel(files.text, _path(files, TEXT), device, threads)
            self._text = _TextModel(model, files.card, files.tokenizer, _path(files, TOKENIZER), rows)
        self.identity = ModelIdentity("onnx", files.digest, versions())
        self.device = self._image.model.provider
        self.dim = files.card.dim
        self.preparation: Preparation = files.card.preparation

    def images(self, pixels: Sequence[Pixels], /) -> Vectors:
        """Embed images as `preparation` makes them."""
        check_pixels(pixels, self.preparation)
        raw = stacked(in_batches(pixels, self._image.run, self._image.rows), self.dim)
        return unit(raw, self._image.model.file, normalise=self._card.normalise)

    def texts(self, texts: Sequence[str], /) -> Vectors:
        """Embed texts; SignalError for an encoder of images alone."""
        if self._text is None:
            raise SignalError(f"the encoder {self._folder} embeds images alone: it has no {TEXT}")
        raw = self._text.vectors(texts)
        return unit(raw, self._text.model.file, normalise=self._card.normalise)


def _path(files: OnnxFiles, name: str) -> str:
    return str(Path(files.folder) / name)


class _ImageModel:
    """image.onnx."""

    def __init__(self, model: OnnxModel, card: EncoderCard, rows: int) -> None:
        self.model = model
        self._input = model.named(list(model.inputs), card.image_input, "input", "pixel_values")
        self._output = model.named(model.outputs, card.image_output, "output", "image_embeds")
        self._normalise, self._dim = card.normalisation, card.dim
        model.input_type(self._input, ["tensor(float)"])
        declared, shape = model.shape(self._input), card.shape
        if len(declared) != 4 or any(
            fixed not in ("any", side) for side, fixed in zip(shape[1:], declared[1:], strict=True)
        ):
            takes, gives = (", ".join(map(str, sides)) for sides in (declared, ("rows", *shape[1:])))
            raise SignalError(f"{model.file} takes [{takes}], but its card's size and layout give it [{gives}]")
        if len(model.inputs) > 1:
            raise SignalError(f"{model.file} has {len(model.inputs)} inputs ({', '.join(model.inputs)}); it takes one")
        self.rows = model.rows(declared, rows)

    def run(self, pixels: Sequence[Pixels]) -> NDArray[np.float32]:
        return self.model.run({self._input: self._normalise(pixels)}, self._output, self._dim)


class _TextModel:
    """text.onnx and its tokenizer."""

    def __init__(self, model: OnnxModel, card: EncoderCard, tokenizer: bytes, file: str, rows: int) -> None:
        from align_data.models.tokens import TextTokenizer  # noqa: PLC0415 - images need no tokenizers

        assert card.max_tokens is not None
        names = list(model.inputs)
        self.model, self._dim = model, card.dim
        self._ids = model.named(names, card.text_input, "input", "input_ids")
        self._output = model.named(model.outputs, card.text_output, "output", "text_embeds")
        mask = card.text_mask
        if mask is None:
            mask = "attention_mask" if "attention_mask" in names else None
        else:
            mask = model.named(names, mask, "input", mask)
        self._mask, self._types = mask, "token_type_ids" if "token_type_ids" in names else None
        used = {self._ids, self._mask, self._types}
        if unknown := [name for name in names if name not in used]:
            raise SignalError(f"{model.file} has an input {unknown[0]}, of which the card does not say what it takes")
        kinds = ("tensor(int64)", "tensor(int32)")
        self._kinds = {name: _NUMPY[model.input_type(name, kinds)] for name in names}
        declared = model.shape(self._ids)
        if len(declared) != 2 or declared[1] not in ("any", card.max_tokens):
            takes = ", ".join(map(str, declared))
            raise SignalError(
                f"{model.file} takes [{takes}], but its card's max_tokens gives it [rows, {card.max_tokens}]"
            )
        if card.padding == "longest" and declared[1] != "any":
            raise SignalError(f"{model.file} takes texts of {declared[1]} tokens only: its card must say padding: max")
        self.rows = model.rows(declared, rows)
        self._tokenizer = TextTokenizer(
            tokenizer, file, card.max_tokens,
            pad_token=card.pad_token, longest=card.padding == "longest", lower_case=card.lower_case,
        )  # fmt: skip

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        encoded = self._tokenizer.encode(texts)
        out = np.empty((len(texts), self._dim), np.float32)
        for length, places in self._tokenizer.by_length(encoded).items():
            ids = [encoded[place] for place in places]
            out[places] = stacked(in_batches(ids, partial(self._run, length=length), self.rows), self._dim)
        return out

    def _run(self, ids: Sequence[Any], length: int) -> NDArray[np.float32]:
        tokens, mask = self._tokenizer.padded(ids, length)
        tensors = {self._ids: tokens}
        if self._mask is not None:
            tensors[self._mask] = mask
        if self._types is not None:
            tensors[self._types] = np.zeros_like(tokens)
        typed = {name: tensor.astype(self._kinds[name]) for name, tensor in tensors.items()}
        return self.model.run(typed, self._output, self._dim)


_NUMPY = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
