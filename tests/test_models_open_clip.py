"""Models of open_clip: pixels, embeddings and refusals are those of the library's own pipeline."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("transformers")

import torch
import transformers
from tiny_models import TEXTS

from align_data.common.errors import AlignDataError, SignalError
from align_data.models import extras
from align_data.models.encoder import BATCH
from align_data.models.opening import open_model
from align_data.train.tokens import learn

try:
    import open_clip
except Exception as error:  # its torchvision may be built for another PyTorch
    open_clip = None
    missing = f"open_clip cannot be imported: {error}"
else:
    missing = ""
needs_open_clip = pytest.mark.skipif(open_clip is None, reason=missing or "it is there")

SHAPES = [(1, 1), (7, 5), (32, 32), (33, 32), (35, 32), (100, 75), (75, 101), (641, 480), (1500, 30), (3, 400)]
ARCHITECTURE = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


def noise(size: tuple[int, int], seed: int = 1) -> Image.Image:
    chance = np.random.default_rng(seed)
    return Image.fromarray(chance.integers(0, 256, (size[1], size[0], 3), np.uint8))


@pytest.fixture(scope="module")
def architecture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("architectures")
    (folder / "tiny-ViT.json").write_text(json.dumps(ARCHITECTURE))
    text = {**ARCHITECTURE["text_cfg"], "vocab_size": 200, "hf_tokenizer_name": "nobody/nothing"}  # type: ignore[dict-item]
    (folder / "tiny-SigLIP.json").write_text(json.dumps({**ARCHITECTURE, "text_cfg": text}))
    before = dict(open_clip.factory._MODEL_CONFIGS)
    open_clip.add_model_config(folder)
    yield "tiny-ViT"
    open_clip.factory._MODEL_CONFIGS.clear()
    open_clip.factory._MODEL_CONFIGS.update(before)


@pytest.fixture(scope="module")
def weights(architecture: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = open_clip.create_model(architecture)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    file = tmp_path_factory.mktemp("weights") / "open_clip_model.pt"
    torch.save(model.state_dict(), file)
    return file


def opened(architecture: str, weights: Path) -> Any:
    return open_model(f"open_clip:{architecture}@{weights}", "cpu")


@needs_open_clip
@pytest.mark.parametrize(
    "written", [None, {"resize_mode": "squash", "mean": [0.5] * 3, "std": [0.5] * 3}, {"interpolation": "bilinear"}]
)
def test_pixels_and_embeddings_are_those_of_the_librarys_pipeline(
    architecture: str, weights: Path, tmp_path: Path, written: dict[str, Any] | None
) -> None:
    file = tmp_path / weights.name
    file.symlink_to(weights)
    if written is not None:
        (tmp_path / "open_clip_config.json").write_text(json.dumps({"preprocess_cfg": written}))
    ours = opened(architecture, file)
    model, _, transform = open_clip.create_model_and_transforms(
        architecture,
        pretrained=str(weights),
        **{f"image_{key}": value for key, value in (written or {}).items()},
    )
    model.eval()
    images = [noise(size) for size in SHAPES]
    pixels = [ours.preparation.apply(image) for image in images]
    inputs = torch.stack([transform(image) for image in images])
    assert np.array_equal(ours._normalise(pixels), inputs.numpy())
    with torch.inference_mode():
        wanted = model.encode_image(inputs, normalize=True).numpy()
        wanted_texts = model.encode_text(open_clip.get_tokenizer(architecture)(TEXTS), normalize=True).numpy()
    assert np.abs(ours.images(pixels) - wanted).max() < 1e-5
    assert np.abs(ours.texts(TEXTS) - wanted_texts).max() < 1e-5
    assert min(np.abs(wanted[0] - wanted[4]).max(), np.abs(wanted_texts[0] - wanted_texts[1]).max()) > 1e-3
    assert (ours.dim, ours.device, ours.identity.kind) == (24, "cpu", "open_clip")


@needs_open_clip
def test_texts_of_a_tokenizer_beside_the_weights_are_the_librarys(architecture: str, tmp_path: Path) -> None:
    model = open_clip.create_model("tiny-SigLIP")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    torch.save(model.state_dict(), tmp_path / "w.pt")
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=learn(TEXTS[:4], 200), pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(tmp_path)
    ours = opened("tiny-SigLIP", tmp_path / "w.pt")
    tokens = open_clip.tokenizer.HFTokenizer(str(tmp_path), context_length=20)(TEXTS)
    with torch.inference_mode():
        wanted = model.eval().encode_text(tokens, normalize=True).numpy()
    assert np.abs(ours.texts(TEXTS) - wanted).max() < 1e-5
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(AlignDataError, match=r"the tokenizer of .* cannot be used: "):
        opened("tiny-SigLIP", tmp_path / "w.pt")


@needs_open_clip
def test_a_vector_does_not_depend_on_its_batch(architecture: str, weights: Path) -> None:
    model = opened(architecture, weights)
    images = [model.preparation.apply(noise((40, 50), number)) for number in range(BATCH + 2)]
    texts = [TEXTS[number % len(TEXTS)] for number in range(BATCH + 2)]
    for embed, rows in ((model.images, images), (model.texts, texts)):
        together = embed(rows)
        assert np.array_equal(together[-1], embed(rows[-1:])[0])
        assert np.array_equal(together[3:6], embed(rows[5:2:-1])[::-1])
        assert embed([]).shape == (0, 24)


@needs_open_clip
def test_the_digest_is_of_weights_architecture_and_pixels(architecture: str, weights: Path, tmp_path: Path) -> None:
    file = tmp_path / weights.name
    file.write_bytes(weights.read_bytes())
    digests = [opened(architecture, weights).identity.digest, opened(architecture, file).identity.digest]
    assert digests[0] == digests[1]
    state = torch.load(file, weights_only=True)
    state["logit_scale"] = state["logit_scale"] + 1
    torch.save(state, file)
    digests.append(opened(architecture, file).identity.digest)
    (tmp_path / "open_clip_config.json").write_text('{"preprocess_cfg": {"interpolation": "bilinear"}}')
    digests.append(opened(architecture, file).identity.digest)
    assert len(set(digests)) == 3


@needs_open_clip
def test_an_architecture_of_several_preparations_needs_its_config(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"")
    with pytest.raises(
        AlignDataError, match=r"weights of ViT-L-14 are published for 2 ways to prepare images: put your open_clip"
    ):
        opened("ViT-L-14", tmp_path / "w.pt")


class _Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("evil"),))


def _config(**written: Any) -> Callable[[Path], Any]:
    return lambda file: (file.parent / "open_clip_config.json").write_text(json.dumps({"preprocess_cfg": written}))


HOSTILE: list[tuple[str, Callable[[Path], Any], str]] = [
    ("tiny-ViT", lambda file: file.write_bytes(b"garbage"), r"w\.pt cannot be opened as tiny-ViT: "),
    ("tiny-ViT", lambda file: torch.save({"logit_scale": _Evil()}, file), r"cannot be opened as tiny-ViT: Weights only load"),
    ("tiny-ViT", lambda file: torch.save({"logit_scale": torch.ones(())}, file), r"cannot be opened as tiny-ViT: Error.* in loading state_dict"),
    ("tiny-ViT", lambda file: os.truncate(file, 20 * 10**9), r"w\.pt has 20,000,000,000 bytes; at most 17,179,869,184 are read"),
    ("tiny-ViT", lambda file: file.unlink(), r"cannot read the model's file .*w\.pt: No such file"),
    ("tiny-ViT", _config(resize_mode="longest"), r"by resize_mode 'longest' .* cannot be prepared"),
    ("tiny-ViT", _config(std=[0, 0, 0]), r"open_clip_config\.json: mean and std take three numbers"),
    ("tiny-ViT", _config(mean="abc"), r"open_clip_config\.json: mean and std take three numbers"),
    ("tiny-ViT", lambda file: (file.parent / "open_clip_config.json").write_text("{"), r"open_clip_config\.json is not JSON"),
    ("tiny-ViT", lambda file: (file.parent / "open_clip_config.json").write_text("{}"), r"has no mapping preprocess_cfg"),
    ("ViT-B-23", lambda file: None, r"open_clip has no architecture 'ViT-B-23' \(did you mean ViT-B-32\?\)"),
    ("ViT-B-16-SigLIP", lambda file: None, r"texts for ViT-B-16-SigLIP need the tokenizer of .*SigLIP.*: put its"),
    ("roberta-ViT-B-32", lambda file: None, r"the text tower of roberta-ViT-B-32 is built from the hub's roberta-base"),
]  # fmt: skip


@needs_open_clip
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@pytest.mark.parametrize(("arch", "change", "sentence"), HOSTILE, ids=[row[2][:40] for row in HOSTILE])
def test_what_is_hostile_is_a_sentence(
    architecture: str, weights: Path, tmp_path: Path, arch: str, change: Any, sentence: str, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "w.pt"
    file.write_bytes(weights.read_bytes())
    change(file)
    with pytest.raises(AlignDataError, match=sentence) as caught:
        opened(arch, file)
    assert len(str(caught.value).splitlines()) == 1
    assert not Path("evil").exists()


@pytest.mark.parametrize("spec", ["open_clip:", "open_clip:ViT-B-32", "open_clip:ViT-B-32@w.npz", "open_clip:@w.pt"])
def test_what_is_not_an_architecture_and_a_file_is_a_sentence(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: SimpleNamespace())
    with pytest.raises(AlignDataError, match=r"it takes open_clip:ARCHITECTURE@FILE, a file that ends in") as caught:
        open_model(spec)
    assert str(caught.value).startswith(f"{spec}: ")  # and not as if it were a user and a password


def test_a_library_that_is_missing_or_broken_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            extras.importlib.util, "find_spec", lambda name: None if name == "open_clip" else SimpleNamespace()
        )
        with pytest.raises(
            SignalError, match=r"needs open_clip, of the extra open-clip: pip install 'align-data\[open-clip\]'"
        ):
            open_model("open_clip:ViT-B-32@w.pt")
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: SimpleNamespace())
    monkeypatch.setitem(sys.modules, "open_clip", None)  # as Python has what cannot be imported
    with pytest.raises(SignalError, match=r"open_clip is installed, but cannot be imported: "):
        open_model("open_clip:ViT-B-32@w.pt")
