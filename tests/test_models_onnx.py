"""Encoders in ONNX: equal to the model that they were exported from, and a sentence for everything that is wrong."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("onnxruntime")
pytest.importorskip("torch")

import onnx
import onnxruntime
import torch
from onnx import TensorProto
from onnx_models import hostile_model
from tiny_models import TEXTS, card_text, export_clip, linear_encoder, tiny_clip
from tokenizers import Tokenizer

from align_data.common.errors import AlignDataError, InputError, SignalError
from align_data.decoding.inputs.card import parse_card_of
from align_data.models import extras
from align_data.models.encoder import BATCH, Encoder
from align_data.models.heads import HeadCard
from align_data.models.onnx import folder as onnx_folder
from align_data.models.onnx import session as onnx_session
from align_data.models.onnx.card import EncoderCard, read_encoder_card
from align_data.models.onnx.folder import OnnxEncoder, OnnxFiles
from align_data.models.onnx.trial import _tried
from align_data.models.opening import open_model


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    export_clip(folder)
    return folder


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try encoders in this process: what a child says is the same, half a second later."""

    def check(files: OnnxFiles) -> None:
        _tried(OnnxEncoder(files, "cpu", threads=1, rows=1), files)

    monkeypatch.setattr(OnnxFiles, "check", check)


def pixels(encoder: Encoder, count: int, seed: int = 0) -> list[Any]:
    shape = (encoder.preparation.height, encoder.preparation.width, 3)
    chance = np.random.default_rng(seed)
    return [chance.integers(0, 256, shape, np.uint8) for _ in range(count)]


def opened(folder: Path) -> Any:
    return open_model(str(folder), "cpu")


def test_embeddings_are_those_of_the_model_that_was_exported(clip: Path) -> None:
    encoder, model = opened(clip), tiny_clip()
    images = pixels(encoder, 5)
    values = (np.stack(images) / 255 - [0.5, 0.4, 0.3]) / [0.25, 0.3, 0.5]
    tokenizer = Tokenizer.from_file(str(clip / "tokenizer.json"))
    tokenizer.enable_truncation(16)
    with torch.inference_mode():
        tensor = torch.from_numpy(values.transpose(0, 3, 1, 2).astype(np.float32))
        wanted = torch.nn.functional.normalize(model.get_image_features(pixel_values=tensor).pooler_output)
        assert np.abs(encoder.images(images) - wanted.numpy()).max() < 1e-5
        rows = [torch.tensor([tokenizer.encode(text).ids]) for text in TEXTS]
        features = [model.get_text_features(input_ids=row).pooler_output for row in rows]
        wanted = torch.nn.functional.normalize(torch.cat(features))
    assert np.abs(encoder.texts(TEXTS) - wanted.numpy()).max() < 1e-5
    assert np.allclose(np.linalg.norm(encoder.texts(TEXTS), axis=1), 1, atol=1e-6)
    assert encoder.device == "CPUExecutionProvider"
    assert encoder.identity.kind == "onnx"


@pytest.fixture(scope="session")
def encoder(clip: Path) -> Any:
    return opened(clip)


@settings(max_examples=8)
@given(st.integers(1, 2 * BATCH), st.integers(0, 5))
def test_a_vector_does_not_depend_on_its_batch(encoder: Any, count: int, seed: int) -> None:
    images = pixels(encoder, count, seed)
    texts = [TEXTS[(seed + number) % len(TEXTS)] for number in range(count)]
    for embed, rows in ((encoder.images, images), (encoder.texts, texts)):
        together = embed(rows)
        alone = np.concatenate([embed([row]) for row in (rows[0], rows[-1])])
        assert np.array_equal(together[[0, -1]], alone)


def test_no_rows_are_no_vectors(encoder: Any) -> None:
    assert encoder.images([]).shape == encoder.texts([]).shape == (0, 24)


def test_a_fixed_batch_is_heeded(tmp_path: Path, here: None) -> None:
    one, many = opened(linear_encoder(tmp_path / "one", rows=1)), opened(linear_encoder(tmp_path / "many"))
    images = pixels(one, 5)
    assert np.abs(one.images(images) - many.images(images)).max() < 1e-6


@pytest.mark.parametrize("rows", [0, 1025, 2**40])
def test_a_batch_that_cannot_be_is_a_sentence(tmp_path: Path, here: None, rows: int) -> None:
    folder = linear_encoder(tmp_path / "m")
    model = onnx.load(str(folder / "image.onnx"))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = rows
    (folder / "image.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(
        SignalError, match=rf"image\.onnx takes {rows:,} rows at once; it can only be 1 to 1,024, or any"
    ):
        open_model(str(folder), "cpu")


@pytest.mark.parametrize("value", ["[" + "x, " * 5000 + "x]", "0x" + "f" * 5000, "9" * 4000])
def test_a_long_value_of_a_card_is_not_shown_whole(tmp_path: Path, value: str) -> None:
    (tmp_path / "card.yaml").write_text(f"dim: {value}")
    with pytest.raises(InputError, match="dim takes the length of the embeddings; here it has ") as caught:
        read_encoder_card(str(tmp_path / "card.yaml"))
    assert max(map(len, str(caught.value).splitlines())) < 400


def test_the_digest_is_of_weights_tokenizer_and_card(clip: Path, tmp_path: Path) -> None:
    def digest(change: Callable[[Path], Any]) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        shutil.copytree(clip, folder)
        change(folder)
        return OnnxFiles.read(str(folder)).digest

    def reweigh(folder: Path) -> None:
        model = onnx.load(str(folder / "image.onnx"))
        model.producer_name = "another"
        onnx.save(model, str(folder / "image.onnx"))

    changes = {
        "none": lambda folder: None,
        "remarks": lambda folder: (folder / "card.yaml").write_text(card_text(about="a remark")),
        "card": lambda folder: (folder / "card.yaml").write_text(card_text(resample="bilinear")),
        "tokenizer": lambda folder: (folder / "tokenizer.json").write_text("{}"),
        "weights": reweigh,
        "no texts": lambda folder: [(folder / name).unlink() for name in ("text.onnx", "tokenizer.json")],
    }
    digests = {name: digest(change) for name, change in changes.items()}
    assert digests["none"] == digests["remarks"]
    assert len(set(digests.values())) == len(changes) - 1


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"dim": 5}, r"image\.onnx gives embeddings of 4 dimensions, but its card says 5"),
        ({"size": 9}, r"image\.onnx takes \[any, 3, 8, 8\], but its card's size and layout give it \[rows, 3, 9, 9\]"),
        ({"layout": "nhwc"}, r"but its card's size and layout give it \[rows, 8, 8, 3\]"),
        ({"normalise": False}, r"gives embeddings of a length of [\d.]+, and not 1: its card must say normalise: true"),
        ({"image_input": "image"}, r"has no input image, which its card names; it has: pixel_values"),
        ({"image_output": "vectors"}, r"has no output vectors, which its card names; it has: image_embeds"),
        ({"dim": 0}, r"card\.yaml, line \d+: dim takes the length of the embeddings; here it has 0"),
        ({"dim": None}, r"card\.yaml, line 1: the key dim is missing"),
        ({"colour": 1}, r"card\.yaml, line \d+: there is no key colour; allowed are: size, "),
        ({"max_tokens": 1}, r"card\.yaml, line \d+: max_tokens takes the most tokens that a text may have"),
        ({"resize": "shortest", "resize_to": [9, 8]}, r"resize_to takes one side where resize is shortest"),
        ({"size": 2000}, r"size has more than the 2,097,152 pixels that an encoder may see"),
        ({"size": 16, "resize_to": 9}, r"resize_to \(9, 9\) is below size"),
    ],
)  # fmt: skip
def test_a_card_that_lies_is_a_sentence(tmp_path: Path, here: None, changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(AlignDataError, match=sentence):
        opened(linear_encoder(tmp_path / "m", **changed)) if "dim" not in changed else _lying(tmp_path / "m", changed)


def _lying(folder: Path, changed: dict[str, Any]) -> None:
    linear_encoder(folder)
    text = (folder / "card.yaml").read_text().replace("dim: 4\n", "")
    (folder / "card.yaml").write_text(text + "".join(f"{k}: {v}\n" for k, v in changed.items() if v is not None))
    opened(folder)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ({"bias": float("nan")}, r"gives 1 of 1 embeddings that are not numbers \(NaN or infinite\)"),
        ({"bias": float("inf")}, r"gives 1 of 1 embeddings that are not numbers"),
        ({"kind": TensorProto.FLOAT16}, r"an input pixel_values of type tensor\(float16\); it can only be tensor"),
        ({"extra": "more"}, r"has 2 inputs \(pixel_values, more\); it takes one"),
        ({"extra": "more", "name": "image"}, r"has 2 inputs \(image, more\): its card must say which is used"),
    ],
)
def test_a_model_that_is_no_encoder_is_a_sentence(
    tmp_path: Path, here: None, model: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SignalError, match=sentence):
        opened(linear_encoder(tmp_path / "m", **model))


def test_an_encoder_of_images_alone_has_no_texts(tmp_path: Path, here: None) -> None:
    encoder = opened(linear_encoder(tmp_path / "m"))
    assert encoder.images(pixels(encoder, 2)).shape == (2, 4)
    with pytest.raises(SignalError, match=r"m embeds images alone: it has no text\.onnx"):
        encoder.texts(["a"])


def test_an_image_that_is_like_nothing_is_zero(tmp_path: Path, here: None) -> None:
    encoder = opened(linear_encoder(tmp_path / "m"))
    assert not encoder.images([np.zeros((8, 8, 3), np.uint8)]).any()


def _replace(name: str, content: bytes | None) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)

    return change


def _sparse(name: str) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, 20 * 10**9)


def _fifo(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return change


def _linked(name: str, target: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(target)

    return change


def _card(**changed: Any) -> Callable[[Path], None]:
    return lambda folder: (folder / "card.yaml").write_text(card_text(**changed)) and None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_sparse("image.onnx"), r"image\.onnx has 20,000,000,000 bytes; at most 2,147,483,648 are read"),
        (_sparse("tokenizer.json"), r"tokenizer\.json has 20,000,000,000 bytes; at most"),
        (_sparse("card.yaml"), r"card\.yaml has 20,000,000,000 bytes; at most"),
        (_fifo("text.onnx"), r"cannot read the encoder's file .*text\.onnx: it is not a regular file"),
        (_fifo("card.yaml"), r"cannot read the card .*card\.yaml: it is not a regular file"),
        (_linked("image.onnx", "/dev/zero"), r"image\.onnx: it is not a regular file"),
        (_linked("tokenizer.json", "/etc/hostname"), r"tokenizer\.json is not a tokenizer that can be used"),
        (_linked("image.onnx", "nowhere"), r"has no image\.onnx: it takes image\.onnx and card\.yaml"),
        (_replace("image.onnx", b"garbage"), r"image\.onnx is not an ONNX model that can be opened"),
        (_replace("text.onnx", b""), r"text\.onnx is not an ONNX model that can be opened"),
        (_replace("text.onnx", None), r"has no text\.onnx: texts need both text\.onnx and tokenizer\.json"),
        (_replace("tokenizer.json", None), r"has no tokenizer\.json: texts need both"),
        (_replace("card.yaml", None), r"has no card\.yaml: it takes image\.onnx and card\.yaml"),
        (_replace("tokenizer.json", b"{"), r"tokenizer\.json is not a tokenizer that can be used"),
        (_replace("tokenizer.json", b"\xff\xfe"), r"tokenizer\.json is not a tokenizer that can be used"),
        (_replace("tokenizer.json", b'{"version": "1.0", "model": {"type": "WordPiece", "vocab": {}}}'), r"tokenizer\.json is not a tokenizer that can be used"),
        (_card(max_tokens=None), r"card\.yaml: the key max_tokens is missing, which text\.onnx needs"),
        (_card(max_tokens=17), r"text\.onnx cannot be run: .*"),
        (_card(pad_token=None), r"tokenizer\.json does not say what texts are padded with: the card needs the key pad_token"),
        (_card(pad_token="pad"), r"tokenizer\.json has no token 'pad', which the card has as pad_token"),
        (_card(dim=25), r"image\.onnx gives embeddings of 24 dimensions, but its card says 25"),
        (_card(text_input="ids"), r"text\.onnx has no input ids, which its card names; it has: input_ids, attention_mask"),
        (_card(text_mask="mask"), r"text\.onnx has no input mask, which its card names"),
    ],
)  # fmt: skip
def test_a_hostile_folder_is_a_sentence(
    clip: Path, tmp_path: Path, here: None, change: Callable[[Path], None], sentence: str
) -> None:
    folder = tmp_path / "m"
    shutil.copytree(clip, folder)
    change(folder)
    with pytest.raises(AlignDataError, match=sentence) as caught:
        opened(folder)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("kind", ["endless", "large", "of other operators", "of other files"])
def test_a_hostile_model_is_tried_in_a_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    folder = linear_encoder(tmp_path / "m")
    hostile_model(folder / "image.onnx", kind)
    monkeypatch.setattr(onnx_folder, "OnnxEncoder", None)  # nothing is opened in this process
    files = OnnxFiles.read(str(folder))
    with pytest.raises(AlignDataError) as caught:
        files.check(seconds=2)
    said = str(caught.value)
    assert len(said.splitlines()) == 1
    assert {
        "endless": "did not embed an image and a text, within 2 s",
        "large": "cannot be run",
        "of other operators": "is not an ONNX model that can be opened",
        "of other files": "its weights must be in the file itself",
    }[kind] in said


def test_weights_in_another_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = linear_encoder(tmp_path / "m")
    model = onnx.load(str(folder / "image.onnx"))
    onnx.save(model, str(folder / "image.onnx"), save_as_external_data=True, size_threshold=0, location="w.bin")
    monkeypatch.chdir(folder)  # where onnxruntime looks for them
    with pytest.raises(InputError, match="its weights must be in the file itself"):
        opened(folder)


def test_what_changes_while_it_is_tried_is_refused(tmp_path: Path) -> None:
    files = OnnxFiles.read(str(linear_encoder(tmp_path / "m")))
    linear_encoder(tmp_path / "m", bias=1.0)
    with pytest.raises(InputError, match="changed while it was tried"):
        files.check()


def test_a_gpu_that_is_not_there_is_a_sentence(tmp_path: Path, here: None) -> None:
    folder = linear_encoder(tmp_path / "m")
    for device, sentence in {
        "cuda": r"the device cuda cannot be used: this onnxruntime has no CUDAExecutionProvider, only .*CPU",
        "cuda:1": r"the device cuda:1 cannot be used",
        "mps": r"there is no device mps for an encoder in ONNX: it takes cpu, cuda or cuda:NUMBER",
        "cuda:x": r"there is no device cuda:x",
    }.items():
        with pytest.raises(SignalError, match=sentence):
            open_model(str(folder), device)


def test_a_provider_that_onnxruntime_falls_back_from_is_a_sentence(
    tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Session(onnxruntime.InferenceSession):  # what is there when CUDA's libraries are not
        def __init__(self, content: bytes, options: Any, providers: Any) -> None:
            super().__init__(content, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [onnx_session.CUDA, onnx_session.CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    folder = linear_encoder(tmp_path / "m")
    with pytest.raises(
        SignalError, match="the device cuda cannot be used: onnxruntime fell back to CPUExecutionProvider"
    ):
        open_model(str(folder), "cuda")
    assert open_model(str(folder)).device == "CPUExecutionProvider"  # nobody asked for another


def test_a_missing_package_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = linear_encoder(tmp_path / "m")
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        SignalError, match=r"this model needs onnxruntime, of the extra onnx: pip install 'align-data\[onnx\]'"
    ):
        opened(folder)


@pytest.mark.parametrize("spec", ["", "nowhere", "a\0b", "/etc/hostname"])
def test_what_is_no_model_is_a_sentence(spec: str) -> None:
    with pytest.raises(InputError, match=r"it takes a folder with image\.onnx and card\.yaml, "):
        open_model(spec)


def test_an_empty_folder_holds_no_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no model: it takes a folder with"):
        open_model(str(tmp_path))


def test_every_key_of_a_card_is_documented() -> None:
    page = (Path(__file__).parent.parent / "docs/reference/models.md").read_text()
    encoder, _, head = page.partition("## A head")
    for card, text in ((EncoderCard, encoder), (HeadCard, head)):
        assert [key for key in card.model_fields if f"`{key}`" not in text] == []


def test_the_documented_cards_are_cards(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs/reference/models.md").read_text()
    encoder, head = (block.partition("```")[0] for block in page.split("```yaml")[1:])
    assert parse_card_of(EncoderCard, encoder, "card.yaml").dim == 512
    assert parse_card_of(HeadCard, head, "head.yaml").range == (-5, 15)
