"""The trainer where things go wrong: broken images and files, disks that go away, models that do not fit."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click import BadParameter
from PIL import ExifTags, Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from test_train import COLOURS, Stopping, asked, metrics, pairs, picture, run, weights, write
from transformers import AlignModel

from align_data.cli import main
from align_data.common.errors import DatasetError, OutputError, TrainError
from align_data.common.progress import Silent
from align_data.storage.store import Store
from align_data.train.batches import Feed
from align_data.train.loop import train
from align_data.train.model import SIZES, Dual, build
from align_data.train.preprocessing import resized
from align_data.train.search import Part, query
from align_data.train.shards import Shards


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("edges") / "shards", pairs(150))


@pytest.fixture(scope="module")
def model(squares: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edges") / "model"
    run(squares, folder, samples=64, max_tokens=16)
    return folder


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Feed, "window", property(lambda self: 2 * self.settings.batch))


# --- going on ---


@pytest.mark.usefixtures("windows")
def test_broken_images_stand_for_the_same_pairs_wherever_a_run_goes_on(tmp_path: Path) -> None:
    some = [one._replace(image=b"GIF89a") if n % 3 == 0 else one for n, one in enumerate(pairs(170))]
    shards = write(tmp_path / "shards", some)
    options = {"batch": 8, "samples": 8 * 50, "checkpoint": 3}
    whole = run(shards, tmp_path / "whole", **options)
    for after in (5, 8, 10, 3):
        with pytest.raises(KeyboardInterrupt):
            run(shards, tmp_path / "stopped", Stopping(after), **options)
    run(shards, tmp_path / "stopped", **options)
    assert metrics(tmp_path / "stopped") == metrics(tmp_path / "whole")
    assert weights(tmp_path / "stopped") == weights(tmp_path / "whole")
    assert 1 < whole.undecodable <= 57  # each once, however many epochs there were


def test_what_is_dropped_out_is_the_same_when_a_run_goes_on(
    squares: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = {**SIZES["tiny"].text, "hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.3}
    monkeypatch.setitem(SIZES, "tiny", replace(SIZES["tiny"], text=text))
    run(squares, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(squares, tmp_path / "stopped", Stopping(6))
    torch.manual_seed(99)
    run(squares, tmp_path / "stopped")
    assert weights(tmp_path / "stopped") == weights(tmp_path / "whole")


class Unmounting(Silent):
    """Takes the shards away after some steps."""

    def __init__(self, folder: Path, after: int) -> None:
        self.folder, self.left = folder, after

    @contextmanager
    def step(self, title: str, total: int | None, unit: str) -> Iterator[Any]:
        def tick(done: int, *_: Any) -> None:
            self.left -= title == "train" and done > 0
            if self.left == 0:
                shutil.rmtree(self.folder)

        yield tick


@pytest.mark.usefixtures("windows")
def test_shards_that_go_away_are_a_sentence_and_the_run_goes_on_where_they_are_back(
    squares: str, tmp_path: Path
) -> None:
    shards = tmp_path / "shards"
    shutil.copytree(squares, shards)
    with pytest.raises(TrainError, match=r"has no batch left at step \d+: .*No such file.*; run it again"):
        run(str(shards), tmp_path / "m", Unmounting(shards, 3), samples=32 * 40)
    shutil.copytree(squares, shards)
    run(str(shards), tmp_path / "m", samples=32 * 40)


def test_shards_with_other_content_are_another_run(squares: str, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    shutil.copytree(squares, shards)
    trained = run(str(shards), tmp_path / "m", samples=64)
    moved = tmp_path / "moved"
    shards.rename(moved)
    assert run(str(moved), tmp_path / "m", samples=64) == trained  # the same, wherever it is
    shutil.rmtree(moved)
    write(moved, pairs(140))
    with pytest.raises(OutputError, match="a run with other shards"):
        run(str(moved), tmp_path / "m", samples=64)


def test_two_at_once_are_a_sentence(squares: str, tmp_path: Path) -> None:
    with Store(tmp_path / "m").lock(), pytest.raises(DatasetError, match="another align-data process is working"):
        run(squares, tmp_path / "m", samples=64)
    run(squares, tmp_path / "m", samples=64)


# --- damaged folders ---


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("checkpoint.pt", _flipped),
        ("checkpoint.pt", lambda content: content[:-100]),
        ("run.json", lambda _: b"[1, 2]"),
        ("run.json", lambda _: b"{"),
        ("tokenizer.json", lambda _: b"{}"),
        ("metrics.jsonl", lambda content: b"{}\n" + content),
        ("metrics.jsonl", lambda content: b"x\n" + content),
        ("trained.json", lambda _: b"{"),
    ],
)
def test_a_damaged_file_of_a_run_is_a_sentence(
    squares: str, tmp_path: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(squares, tmp_path / "m", Stopping(6))
    path = tmp_path / "m" / name
    path.write_bytes(damage(path.read_bytes() if path.exists() else b""))
    with pytest.raises(TrainError, match=rf"{name} cannot be read: .*to start over"):
        run(squares, tmp_path / "m")


def test_a_checkpoint_that_is_something_else_is_a_sentence(squares: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(squares, tmp_path / "m", Stopping(6))
    state = torch.load(tmp_path / "m" / "checkpoint.pt")
    for other in ([1, 2], {**state, "position": (1, 2, 3, 4, 5, 6, 7, 8)}, {"model": state["model"]}):
        torch.save(other, tmp_path / "m" / "checkpoint.pt")
        with pytest.raises(TrainError, match=r"cannot be read: .*to start over"):
            run(squares, tmp_path / "m")


def test_no_room_for_the_model_is_a_sentence(squares: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: File too large (os error 27)")

    with monkeypatch.context() as patch:
        patch.setattr(AlignModel, "save_pretrained", full)
        with pytest.raises(OutputError, match=r"cannot write .*No space left"):
            run(squares, tmp_path / "m", samples=64)
    run(squares, tmp_path / "m", samples=64)


# --- models ---


def test_a_model_whose_weights_do_not_fit_is_no_model(model: Path, tmp_path: Path) -> None:
    for name, change in (("missing", lambda w: w.popitem()), ("shape", lambda w: w.update(temperature=torch.ones(3)))):
        folder = tmp_path / name
        shutil.copytree(model, folder)
        held = load_file(folder / "model.safetensors")
        change(held)
        save_file(held, folder / "model.safetensors", {"format": "pt"})
        with pytest.raises(
            TrainError, match=rf"{name} is not a model that can be opened \(1 weights are missing or of"
        ):
            Dual.load(str(folder))
    config = json.loads((model / "config.json").read_text())
    shutil.copytree(model, tmp_path / "bert")
    (tmp_path / "bert" / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    with pytest.raises(TrainError, match="it is a model of the type bert"):
        Dual.load(str(tmp_path / "bert"))


@pytest.mark.parametrize("name", ["../elsewhere.safetensors", "/etc/elsewhere.safetensors", "sub/x.safetensors"])
def test_a_models_index_names_files_of_its_folder_only(model: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "sharded"
    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(weights, "model-00001-of-00001.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    Dual.load(str(folder))
    index["weight_map"] = {**index["weight_map"], next(iter(weights)): name}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(TrainError, match="which is not a file of the folder"):
        Dual.load(str(folder))


def test_a_model_that_goes_on_with_larger_images_stays_with_them(squares: str, model: Path, tmp_path: Path) -> None:
    (model / "preprocessor_config.json").write_text('{"crop_size": 32}')
    run(squares, tmp_path / "m", samples=64, init=str(model), image_size=48)
    assert Dual.load(str(tmp_path / "m")).side == 48
    run(squares, tmp_path / "n", samples=64, init=str(tmp_path / "m"))
    assert Dual.load(str(tmp_path / "n")).side == 48


@pytest.mark.parametrize("side", [16, 33, 512, 640])
def test_images_of_any_size_are_one_vector(side: int) -> None:
    built = build("tiny", side, 200, 64, 0.1)
    with torch.inference_mode():
        found = built.eval().get_image_features(pixel_values=torch.rand(2, 3, side, side)).pooler_output
        before = built.vision_model(torch.rand(1, 3, side, side)).last_hidden_state
    assert found.shape == (2, 96)
    assert max(before.shape[2:]) <= built.config.vision_config.hidden_dim


def test_long_texts_are_cut_to_what_the_model_takes(model: Path, tmp_path: Path) -> None:
    long = [one._replace(alt_text=f"{one.alt_text} and so on" * 20) for one in pairs(64)]
    trained = run(write(tmp_path / "shards", long), tmp_path / "m", samples=64, init=str(model))
    assert trained.steps == 2


@pytest.mark.parametrize(
    "options",
    [
        {"vocabulary": 10**12},
        {"batch": 10**19},
        {"memory": 10**20},
        {"samples": 10**30},
        {"learning_rate": 1e300},
        {"learning_rate": float("nan")},
    ],
)
def test_numbers_beyond_reason_are_refused(options: dict[str, Any], tmp_path: Path, squares: str) -> None:
    line = [item for name, value in options.items() for item in (f"--{name.replace('_', '-')}", str(value))]
    with pytest.raises(BadParameter):
        main(["train", squares, "--out", str(tmp_path / "m"), *line], standalone_mode=False)


def test_a_device_without_memory_is_refused(squares: str, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="the device meta cannot be used"):
        train(Shards.open(squares), tmp_path / "d", asked(), Silent(), device="meta")


# --- tars of others, and images as they were fetched ---


def tar_of(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            if name.endswith("/"):
                info = tarfile.TarInfo(name.rstrip("/"))
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_keys_that_begin_anew_in_every_shard_are_different_pairs(tmp_path: Path) -> None:
    for shard, colour in (("a", "red"), ("b", "blue")):
        content = {"000.jpg": picture(colour, "white"), "000.txt": colour.encode()}
        tar_of(tmp_path / f"{shard}.tar", content)
    assert [(one.uid, one.alt_text) for one in Shards.open(str(tmp_path))] == [("a/000", "red"), ("b/000", "blue")]


@pytest.mark.parametrize("folder", ["./", "./some.folder/", "some.folder/", "/x/"])
def test_members_can_lie_in_folders(tmp_path: Path, folder: str) -> None:
    content = {folder: b"", f"{folder}1.jpg": picture("red", "blue"), f"{folder}1.txt": b"one"}
    content |= {f"{folder}2.png": picture("red", "blue"), f"{folder}2.txt": b"two"}
    tar_of(tmp_path / "a.tar", content)
    found = list(Shards.open(str(tmp_path)))
    assert [one.alt_text for one in found] == ["one", "two"]
    assert len({one.uid for one in found}) == 2


def drawn(turn: int = 1, mode: str = "RGB") -> bytes:
    """A picture whose left is red and whose right is blue, as a viewer sees it."""
    image = Image.new("RGB", (60, 60), COLOURS["red"])
    image.paste(COLOURS["blue"], (30, 0, 60, 60))
    out = io.BytesIO()
    if mode == "I;16":
        grey = np.repeat(np.linspace(0, 65_535, 60).astype(np.uint16)[None], 60, axis=0)
        Image.fromarray(grey).save(out, "PNG")
        return out.getvalue()
    lying = image.transpose(Image.Transpose.ROTATE_90) if turn == 6 else image
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    lying.save(out, "PNG", exif=exif)
    return out.getvalue()


def test_images_are_seen_as_a_viewer_sees_them() -> None:
    assert np.array_equal(resized(drawn(6), 32), resized(drawn(), 32))
    grey = resized(drawn(mode="I;16"), 32).astype(int)
    assert grey[:, :8].mean() < 40
    assert grey[:, -8:].mean() > 215


def test_a_query_is_prepared_as_what_is_searched(model: Path) -> None:
    dual = Dual.load(str(model))
    upright, lying = (query(dual, [Part("image", "x.png", 1.0, drawn(turn))]) for turn in (1, 6))
    assert upright @ lying > 0.9999  # one is a JPEG now


def test_a_weight_that_is_no_number_is_refused(squares: str, model: Path) -> None:
    with pytest.raises(BadParameter, match="nan"):
        main(["search", str(model), squares, "--text", "x", "--text-weight", "nan"], standalone_mode=False)
