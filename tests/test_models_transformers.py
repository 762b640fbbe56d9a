"""Models of transformers: pixels, embeddings and scores are those of the library's own pipeline."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

pytest.importorskip("transformers")

import torch
import transformers
from tiny_models import TEXTS
from tiny_transformers import ARCHITECTURES, processor, save_model

from align_data.decoding.opening import loaded, orientation
from align_data.decoding.render import opaque, turned
from align_data.models.opening import open_model
from align_data.models.pytorch import encoders

ENCODERS = [name for name in ARCHITECTURES if name not in ("blip", "vilt")]
SCORERS = ["blip", "vilt"]
BATCH = 12


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run fewer rows together than usual: each is as many as all, and test_models_align has whole batches."""
    monkeypatch.setattr(encoders, "BATCH", BATCH)


def noise(size: tuple[int, int], seed: int = 1) -> Image.Image:
    chance = np.random.default_rng(seed)
    return Image.fromarray(chance.integers(0, 256, (size[1], size[0], 3), np.uint8))


def _files() -> dict[str, bytes]:
    """Return images of every shape and kind, as files."""
    shapes = [(1, 1), (7, 5), (32, 32), (33, 32), (100, 75), (75, 100), (641, 480), (120, 31)]
    images: dict[str, tuple[Image.Image, dict[str, Any]]] = {str(size): (noise(size), {}) for size in shapes}
    images["grey"] = noise((50, 31)).convert("L"), {}
    transparent = noise((50, 31))
    transparent.putalpha(noise((50, 31), 2).convert("L"))
    images["alpha"] = transparent, {}
    images["palette"] = noise((50, 31)).quantize(16), {}
    exif = Image.Exif()
    exif[0x0112] = 6
    images["turned"] = noise((50, 31)), {"format": "JPEG", "exif": exif}
    files = {}
    for name, (image, options) in images.items():
        file = io.BytesIO()
        image.save(file, **{"format": "PNG", **options})
        files[name] = file.getvalue()
    return files


FILES = _files()


def upright(content: bytes) -> Image.Image:
    """Return an image as the decoder hands it to a model."""
    with Image.open(io.BytesIO(content)) as image:
        turn = orientation(image, content)
        return turned(opaque(loaded(image)).convert("RGB"), turn)


def original(content: bytes, name: str) -> Image.Image:
    """Return an image as users of the library open it; for processors that want RGB alone, it is RGB already."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    return image if getattr(processor(name), "do_convert_rgb", False) else upright(content)


class Tiny:
    """A model in a folder, opened by us, and the library's own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.model = save_model(name, folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket.socket, "connect", None)  # a folder is opened without asking anybody
            self.opened: Any = open_model(str(folder), "cpu")
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.processor = getattr(transformers, ARCHITECTURES[name].split("Model")[0].split("For")[0] + "Processor")(
            processor(name), self.tokenizer
        )

    def inputs(self, images: list[Any], texts: list[str]) -> Any:
        """Return what the library makes of them, padded as its documentation pads them."""
        padding: dict[str, Any] = {"padding": True, "truncation": True, "max_length": 24}
        if self.name == "siglip":
            padding["padding"] = "max_length"
        elif self.name in ("align", "siglip2"):
            padding = {"truncation": True}  # its own are the processor's defaults
        images_only = {"max_num_patches": 30, "patch_size": 4} if self.name == "siglip2" else {}
        return self.processor(images=images, text=texts, return_tensors="pt", **padding, **images_only)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Tiny]:
    built: dict[str, Tiny] = {}

    def build(name: str) -> Tiny:
        if name not in built:
            built[name] = Tiny(name, tmp_path_factory.mktemp(name))
        return built[name]

    return build


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_pixels_are_those_of_the_librarys_processor(tiny: Any, name: str) -> None:
    model = tiny(name)
    ours = model.opened._pixels
    for kind, content in FILES.items():
        wanted = processor(name)(original(content, name), return_tensors="np")
        tensors = ours.tensors([model.opened.preparation.apply(upright(content))])
        for key, array in wanted.items():
            seen = tensors[key].numpy()[:1]
            if name == "vilt":  # our canvas is larger
                height, width = array.shape[-2:]
                assert int(tensors["pixel_mask"][0].sum()) == height * width
                seen = seen[..., :height, :width]
            assert np.array_equal(seen, array), (kind, key)


def embeddings(model: Tiny, inputs: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    with torch.inference_mode():
        if model.name == "flava":  # as FlavaForPreTraining takes them for its contrastive loss
            outputs = model.model(**inputs, skip_multimodal_encoder=True)
            images = model.model.image_projection(outputs.image_embeddings)[:, 0]
            texts = model.model.text_projection(outputs.text_embeddings)[:, 0]
            images, texts = (torch.nn.functional.normalize(each, dim=-1) for each in (images, texts))
        else:
            outputs = model.model(**inputs)
            images, texts = outputs.image_embeds, outputs.text_embeds
    return images.numpy(), texts.numpy()


@pytest.mark.parametrize("name", ENCODERS)
def test_embeddings_are_those_of_the_librarys_pipeline(tiny: Any, name: str) -> None:
    model = tiny(name)
    contents = list(FILES.values())
    images, texts = embeddings(model, model.inputs([original(content, name) for content in contents], TEXTS))
    prepared = [model.opened.preparation.apply(upright(content)) for content in contents]
    ours, our_texts = model.opened.images(prepared), model.opened.texts(TEXTS)
    assert np.abs(ours - images).max() < 1e-5
    assert np.abs(our_texts - texts).max() < 1e-5
    assert np.abs(ours @ our_texts.T - images @ texts.T).max() < 1e-5
    assert min(np.abs(ours[0] - ours[4]).max(), np.abs(our_texts[0] - our_texts[1]).max()) > 1e-3  # they tell apart
    assert model.opened.dim == images.shape[1]


@pytest.mark.parametrize("name", SCORERS)
def test_scores_are_those_of_the_librarys_pipeline(tiny: Any, name: str) -> None:
    model = tiny(name)
    contents = list(FILES.values())
    texts = [TEXTS[number % len(TEXTS)] for number in range(len(contents))]
    ours = model.opened.scores([model.opened.preparation.apply(upright(content)) for content in contents], texts)
    with torch.inference_mode():
        for content, text, score in zip(contents, texts, ours.tolist(), strict=True):
            output = model.model(**model.inputs([original(content, name)], [text]))
            wanted = output.itm_score.softmax(dim=-1)[0, 1] if name == "blip" else output.logits[0, 0].sigmoid()
            assert score == pytest.approx(float(wanted), abs=1e-5)
    assert np.ptp(ours) > 1e-3


def many(model: Any) -> tuple[list[Any], list[str]]:
    """Return images and texts for a whole batch and two rows."""
    numbers = range(BATCH + 2)
    images = [model.preparation.apply(noise((20 + number, 90 - number), number)) for number in numbers]
    return images, [TEXTS[number % len(TEXTS)] for number in numbers]


@pytest.mark.parametrize("name", ENCODERS)
def test_a_vector_does_not_depend_on_its_batch(tiny: Any, name: str) -> None:
    model = tiny(name).opened
    for embed, rows in zip((model.images, model.texts), many(model), strict=True):
        together = embed(rows)
        assert np.array_equal(together[-1], embed(rows[-1:])[0])
        assert np.array_equal(together[3:6], embed(rows[5:2:-1])[::-1])
        assert embed([]).shape == (0, model.dim)


@pytest.mark.parametrize("name", SCORERS)
def test_a_score_does_not_depend_on_its_batch(tiny: Any, name: str) -> None:
    model = tiny(name).opened
    images, texts = many(model)
    together = model.scores(images, texts)
    assert together[-1] == model.scores(images[-1:], texts[-1:])[0]
    assert np.array_equal(together[3:6], model.scores(images[5:2:-1], texts[5:2:-1])[::-1])
    assert model.scores([], []).shape == (0,)


def test_texts_of_sentencepiece_are_those_of_the_librarys_tokenizer(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    pytest.importorskip("google.protobuf")
    model = save_model("siglip", tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    pieces = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text for text in TEXTS if text] * 20), model_writer=pieces, vocab_size=60,
        pad_id=-1, bos_id=-1, eos_id=1, unk_id=2, minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    (tmp_path / "spiece.model").write_bytes(pieces.getvalue())
    tokenizer = transformers.SiglipTokenizer(str(tmp_path / "spiece.model"))
    tokenizer.save_pretrained(tmp_path)
    texts = ["A dog!", *TEXTS]
    inputs = tokenizer(texts, padding="max_length", max_length=24, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        wanted = torch.nn.functional.normalize(model.get_text_features(**inputs).pooler_output, dim=-1).numpy()
    opened: Any = open_model(str(tmp_path), "cpu")
    assert np.abs(opened.texts(texts) - wanted).max() < 1e-5
    assert np.abs(wanted[0] - wanted[1]).max() < 1e-6  # it has no capitals and no punctuation
