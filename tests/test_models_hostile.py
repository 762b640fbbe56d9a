"""Folders and names of transformers' models that are damaged, that lie, or are not there: each is a sentence."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("transformers")

import huggingface_hub
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from tiny_transformers import save_model

from align_data.common.errors import AlignDataError, InputError
from align_data.models.opening import open_model


class Clip(NamedTuple):
    folder: Path
    model: Any
    opened: Any


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    folder = tmp_path_factory.mktemp("clip")
    return Clip(folder, save_model("clip", folder), open_model(str(folder), "cpu"))


def pixels(seed: int = 3) -> list[Any]:
    return [np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)]


@pytest.fixture
def folder(clip: Clip, tmp_path: Path) -> Path:
    copy = tmp_path / "m"
    shutil.copytree(clip.folder, copy)
    return copy


def edited(name: str, **changed: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        mapping = json.loads((folder / name).read_text())
        for key, value in changed.items():
            *way, last = key.split("__")
            inner = mapping
            for step in way:
                inner = inner[step]
            inner[last] = value
        (folder / name).write_text(json.dumps(mapping))

    return change


def written(name: str, content: bytes | None) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        if content is not None:
            (folder / name).write_bytes(content)

    return change


def sparse(name: str) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, 20 * 10**9)


class _Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("evil"),))


def _pickled(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights | {"logit_scale": _Evil()}, folder / "pytorch_model.bin")


def _outside(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    index = {"metadata": {}, "weight_map": {"logit_scale": "../model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _indexed_nothing(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text("{}")


def _indexed_missing(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"logit_scale": "other.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _fifo(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")


def _not_numbers(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["visual_projection.weight"] = torch.full_like(weights["visual_projection.weight"], float("nan"))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


HOSTILE: list[tuple[Callable[[Path], Any], str]] = [
    (sparse("model.safetensors"), r"model\.safetensors has 20,000,000,000 bytes; at most 17,179,869,184 are read"),
    (sparse("tokenizer.json"), r"tokenizer\.json has 20,000,000,000 bytes; at most"),
    (sparse("config.json"), r"config\.json has 20,000,000,000 bytes; at most"),
    (_fifo, r"model\.safetensors: it is not a regular file"),
    (_pickled, r"m cannot be opened as CLIPModel: Weights only load failed"),
    (_outside, r"index\.json names '\.\./model\.safetensors', which is not a file of the folder"),
    (_indexed_missing, r"cannot read the model's file .*other\.safetensors: No such file"),
    (_indexed_nothing, r"index\.json names no file"),
    (written("model.safetensors", None), r"m has no weights: it takes model\.safetensors, pytorch_model\.bin or several"),
    (written("model.safetensors", b"garbage" * 10_000), r"m cannot be opened as CLIPModel: "),
    (written("config.json", b"{"), r"config\.json is not JSON: "),
    (written("config.json", b"[" * 100_000), r"config\.json is not JSON: "),
    (written("config.json", b"[]"), r"config\.json is not a mapping"),
    (edited("config.json", model_type="bert"), r"a model of the type bert; known are: clip, siglip, "),
    (edited("config.json", model_type=["clip"]), r"a model of the type \['clip'\]; known are"),
    (edited("config.json", model_type="siglip"), r"m cannot be opened as SiglipModel: "),
    (edited("config.json", text_config__hidden_size=2**40), r"hidden_size is 1,099,511,627,776, which no model has"),
    (edited("config.json", text_config__num_hidden_layers=10**6), r"num_hidden_layers is 1,000,000, which no model has"),
    (edited("config.json", text_config__vocab_size=2**24), r"config\.json describes [\d,]+ weights, but their files have"),
    (edited("config.json", vision_config__image_size=2**20), r"config\.json describes [\d,]+ weights, but"),
    (edited("config.json", text_config__vocab_size=-5), r"m cannot be opened as CLIPModel: "),
    (edited("config.json", text_config__vocab_size=190), r"m cannot be opened as CLIPModel: 1 weights are missing or of another shape, the first: text_model"),
    (edited("config.json", text_config__hidden_size="32"), r"m cannot be used: Validation error for field 'hidden_size'"),
    (edited("config.json", text_config__max_position_embeddings="x"), r"max_position_embeddings takes a number above 1"),
    (edited("config.json", text_config=None), r"config\.json describes 63,202,945 weights, but"),
    (written("preprocessor_config.json", None), r"m has no preprocessor_config\.json: it does not say how images"),
    (edited("preprocessor_config.json", image_processor_type="EvilImageProcessor"), r"images are prepared by EvilImageProcessor; known are: CLIP, "),
    (edited("preprocessor_config.json", size={"shortest_edge": 10**9}), r"size takes 1 to 4,096; here it has 1000000000"),
    (edited("preprocessor_config.json", size="x"), r"preprocessor_config\.json is not how images are prepared: "),
    (edited("preprocessor_config.json", crop_size={"height": 0, "width": 32}), r"crop_size takes 1 to 4,096; here it has 0"),
    (edited("preprocessor_config.json", crop_size={"height": 2000, "width": 2000}), r"images come out larger than the 2,097,152 pixels"),
    (edited("preprocessor_config.json", image_processor_type="ViltImageProcessor", size={"shortest_edge": 4000}), r"images come out larger than"),
    (edited("preprocessor_config.json", image_processor_type="Siglip2ImageProcessor", patch_size=4096, max_num_patches=9), r"images come out larger"),
    (written("adapter_config.json", b"{}"), r"m has adapter_config\.json: it is an adapter of another model"),
    (edited("preprocessor_config.json", do_resize=False), r"do_resize is false"),
    (edited("preprocessor_config.json", do_center_crop=False), r"images come out in sizes of their own"),
    (edited("preprocessor_config.json", image_std=[0, 0, 0]), r"do not make numbers of pixels"),
    (edited("preprocessor_config.json", image_mean=[0.5]), r"preprocessor_config\.json is not how images are prepared"),
    (edited("preprocessor_config.json", resample=77), r"preprocessor_config\.json is not how images are prepared"),
    (edited("preprocessor_config.json", crop_size={"height": 30, "width": 30}), r"m cannot be run: "),
    (written("tokenizer.json", None), r"m has no tokenizer: it takes one of tokenizer\.json, vocab\.json, "),
    (edited("preprocessor_config.json", image_std=[0, 0, 0]), r"image_mean, image_std and rescale_factor do not make numbers"),
    (edited("config.json", model_type="x" * 10**5), r"a model of the type x{100}; known are"),
    (written("tokenizer.json", b"{"), r"the tokenizer of .*m cannot be used: "),
    (written("tokenizer.json", b"\xff"), r"the tokenizer of .*m cannot be used: "),
    (_not_numbers, r"m gives 1 of 1 embeddings that are not numbers \(NaN or infinite\)"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:divide by zero", "ignore:invalid value")
@pytest.mark.parametrize(("change", "sentence"), HOSTILE, ids=[sentence[:40] for _, sentence in HOSTILE])
def test_a_hostile_folder_is_a_sentence(
    folder: Path, change: Callable[[Path], Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(folder)
    monkeypatch.chdir(folder.parent)
    with pytest.raises(AlignDataError, match=sentence) as caught:
        open_model(str(folder), "cpu")
    assert len(str(caught.value).splitlines()) == 1
    assert not Path("evil").exists()


def test_code_beside_a_model_is_not_run(folder: Path, clip: Clip) -> None:
    (folder / "evil.py").write_text("import pathlib; pathlib.Path(__file__).with_name('ran').touch()")
    mapping = {
        "AutoConfig": "evil.C",
        "AutoModel": "evil.M",
        "AutoTokenizer": ["evil.T", None],
        "AutoImageProcessor": "evil.P",
    }
    for name in ("config.json", "preprocessor_config.json", "tokenizer_config.json"):
        edited(name, auto_map=mapping)(folder)
    opened: Any = open_model(str(folder), "cpu")
    assert np.array_equal(opened.images(pixels()), clip.opened.images(pixels()))
    assert np.array_equal(opened.texts(["a dog"]), clip.opened.texts(["a dog"]))
    assert not (folder / "ran").exists()


def test_weights_and_kernels_of_elsewhere_are_not_taken(folder: Path, clip: Clip) -> None:
    other = {name: tensor + 1 for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(other, folder / "other.safetensors", {"format": "pt"})
    elsewhere = {"transformers_weights": "other.safetensors", "_attn_implementation": "nobody/kernels"}
    edited("config.json", **elsewhere, text_config___attn_implementation="nobody/kernels")(folder)
    opened: Any = open_model(str(folder), "cpu")
    assert np.array_equal(opened.images(pixels()), clip.opened.images(pixels()))


def test_the_digest_is_of_weights_tokenizer_and_settings(folder: Path, clip: Clip) -> None:
    before = clip.opened.identity
    (folder / "README.md").write_text("a remark")
    assert open_model(str(folder), "cpu").identity == before
    assert before.kind == "clip"
    assert {"torch", "transformers"} <= before.versions.keys()
    digests = {before.digest}
    for name, change in {
        "preprocessor_config.json": {"resample": 2},
        "tokenizer_config.json": {"model_max_length": 20},
        "config.json": {"logit_scale_init_value": 1.0},
    }.items():
        edited(name, **change)(folder)
        digests.add(open_model(str(folder), "cpu").identity.digest)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    digests.add(open_model(str(folder), "cpu").identity.digest)
    assert len(digests) == 5


def test_weights_of_pytorch_are_read_as_weights_alone(folder: Path, clip: Clip) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(clip.model.state_dict(), folder / "pytorch_model.bin")
    opened: Any = open_model(str(folder), "cpu")
    assert np.array_equal(opened.images(pixels()), clip.opened.images(pixels()))


def test_a_device_that_is_not_there_is_a_sentence(clip: Clip) -> None:
    for device in ("cuda:99", "teapot"):
        with pytest.raises(InputError, match=f"the device {device} cannot be used: "):
            open_model(str(clip.folder), device)


# --- names of the hub ---


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let the hub be a port that nobody listens on, and its cache be empty."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    api = huggingface_hub.HfApi
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api(endpoint="http://127.0.0.1:9"))
    download = huggingface_hub.snapshot_download

    def local(name: str, **options: Any) -> str:
        assert options["local_files_only"], "a download tries again for half a minute"
        return download(name, **options, cache_dir=str(tmp_path / "hub"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", local)
    return tmp_path / "hub"


def test_a_name_without_a_network_is_a_sentence(no_network: Path) -> None:
    with pytest.raises(InputError, match=rf"the model org/name@{COMMIT} cannot be had from the hub: .*refused"):
        open_model(f"org/name@{COMMIT}")


@pytest.mark.parametrize("spec", ["org/name", "org/name@main", "org/name@", "org/name@0123"])
def test_a_name_that_is_not_pinned_is_a_sentence(no_network: Path, spec: str) -> None:
    with pytest.raises(
        InputError,
        match=rf"there is no folder {spec}, and as a name of the hub it is not pinned: give it as org/name@COMMIT, a commit of 40 digits$",
    ):
        open_model(spec)


def test_a_name_that_is_here_needs_no_network(no_network: Path, clip: Clip) -> None:
    snapshot = no_network / "models--org--name" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    blobs = no_network / "models--org--name" / "blobs"
    shutil.copytree(clip.folder, blobs)
    for file in blobs.iterdir():  # as the hub's cache has them
        (snapshot / file.name).symlink_to(file)
    opened = open_model(f"org/name@{COMMIT}", "cpu")
    assert opened.identity == clip.opened.identity
