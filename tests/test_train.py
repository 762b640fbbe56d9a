"""The trainer: its loss and gradients against slow ones, its order, its restarts, and what becomes of bad input."""

from __future__ import annotations

import io
import json
import math
import random
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from align_data.cli import main
from align_data.common.errors import AlignDataError, DatasetError, OutputError, TrainError
from align_data.common.progress import Silent
from align_data.models.pytorch.align_pixels import resized_side
from align_data.train.batches import Feed, Rank
from align_data.train.loop import Trained, train
from align_data.train.model import SIZES, Dual, build
from align_data.train.optimizers import learning_rate, optimizer
from align_data.train.pixel_tensors import crops, normalised
from align_data.train.preprocessing import centre, sided
from align_data.train.sanity import check
from align_data.train.settings import PRESETS, TrainSettings
from align_data.train.shards import Sample, Shards
from align_data.train.tokens import encode, learn, padded

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}


def picture(inner: str, outer: str, side: int = 40) -> bytes:
    image = Image.new("RGB", (side, side), COLOURS[outer])
    image.paste(COLOURS[inner], (side // 4, side // 4, 3 * side // 4, 3 * side // 4))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    return file.getvalue()


def pairs(number: int, shuffled: bool = False) -> list[Sample]:
    """Return squares on grounds, each truly captioned, or each captioned as some other is."""
    chance = random.Random(3)
    kinds = [(chance.choice(list(COLOURS)), chance.choice(list(COLOURS))) for _ in range(number)]
    told = chance.sample(kinds, number) if shuffled else kinds
    return [
        Sample(f"{n:032x}", f"http://h/{n}", f"a {inner} square on {outer} ground", picture(*kind))
        for n, (kind, (inner, outer)) in enumerate(zip(kinds, told, strict=True))
    ]


def write(folder: Path, samples: Sequence[Sample], each: int = 60) -> str:
    folder.mkdir(parents=True)
    for number, start in enumerate(range(0, len(samples), each)):
        with tarfile.open(folder / f"{number:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for sample in samples[start : start + each]:
                known = {"uid": sample.uid, "url": sample.url, "alt_text": sample.alt_text}
                members = {"jpg": sample.image, "txt": sample.alt_text.encode(), "json": json.dumps(known).encode()}
                for extension, content in members.items():
                    member = tarfile.TarInfo(f"{sample.uid}.{extension}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return str(folder)


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("squares") / "shards", pairs(300))


def asked(**more: Any) -> TrainSettings:
    return TrainSettings(**{"batch": 32, "samples": 32 * 12, "vocabulary": 200, "checkpoint": 4, "seed": 5, **more})


def run(shards: str, out: Path, progress: Any = None, **more: Any) -> Trained:
    trained = train(Shards.open(shards), out, asked(**more), progress or Silent(), workers=2)
    assert trained is not None
    return trained


# --- the order of pairs ---


def feed_of(shards: str, memory: int = 2_000, rank: Rank = Rank(), **more: Any) -> Feed:  # noqa: B008
    chosen = asked(memory=memory, **more)
    feed = Feed(Shards.open(shards), 16, chosen, 2, rank)
    feed.read(Silent())
    feed.begin(learn(list(feed.texts), 200))
    return feed


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Pairs whose text says which they are."""
    samples = [
        one._replace(alt_text=" ".join(str(n)), image=picture("red", "blue", 24)) for n, one in enumerate(pairs(150))
    ]
    return write(tmp_path_factory.mktemp("numbered") / "shards", samples, 40)


def seen(feed: Feed, epoch: int, skip: int = 0) -> list[list[str]]:
    tokens = feed._tokenizer
    return [[tokens.decode(ids.tolist()).replace(" ", "") for ids in batch.ids] for batch in feed.epoch(epoch, skip)]


# A megabyte holds 1,000,000 / (2 * 3 * 19 * 19) = 461 pairs, so that all fit; the smallest window is one batch.
@pytest.fixture(params=["held", "windows"])
def little(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "windows":
        monkeypatch.setattr(Feed, "window", property(lambda self: 2 * self.settings.batch))
    return str(request.param)


def test_an_epoch_has_every_pair_at_most_once_and_all_but_a_part_of_a_batch(numbered: str, little: str) -> None:
    feed = feed_of(numbered)
    epochs = [seen(feed, n) for n in range(3)]
    for batches in epochs:
        counts = Counter(text for batch in batches for text in batch)
        assert max(counts.values()) == 1
        assert len(counts) == 150 // 32 * 32
        assert counts.keys() <= {str(n) for n in range(150)}
    assert epochs[0] != epochs[1] != epochs[2]
    assert seen(feed, 1) == epochs[1]
    assert seen(feed, 1, skip=3) == epochs[1][3:]
    feed.close()


def test_ranks_share_each_batch(numbered: str, little: str) -> None:
    alone = feed_of(numbered)
    ranks = [feed_of(numbered, rank=Rank(n, 2)) for n in range(2)]
    whole = list(alone.epoch(1, 1))
    halves = [list(feed.epoch(1, 1)) for feed in ranks]
    assert len(whole) == 3 == len(halves[0]) == len(halves[1])
    for batch, *shares in zip(whole, *halves, strict=True):
        for number, share in enumerate(shares):
            for of_pixels in ("images", "corners", "mirrored"):
                assert np.array_equal(getattr(batch, of_pixels)[number::2], getattr(share, of_pixels))
            assert np.array_equal(batch.ids[number::2, : share.ids.shape[1]], share.ids)
    for feed in (alone, *ranks):
        feed.close()


def test_what_says_left_or_right_is_not_mirrored() -> None:
    texts = ["a cat left of a dog", "Right here", "leftovers brightly lit", "ein Hund links", "图片左边", "plain"]
    assert sided(texts).tolist() == [True, True, False, True, True, False]


@given(st.integers(16, 40), st.integers(0, 99))
def test_crops_are_cut_and_mirrored(side: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    large = resized_side(side)
    assert large / side == pytest.approx(346 / 289, abs=0.5 / side)
    images = chance.integers(0, 256, (3, large, large, 3)).astype(np.uint8)
    corners = chance.integers(0, large - side + 1, (3, 2))
    mirrored = np.array([True, False, True])
    found = crops(torch.from_numpy(images), side, torch.from_numpy(corners), torch.from_numpy(mirrored)).numpy()
    assert found.shape == (3, side, side, 3)
    for n, (row, column) in enumerate(corners.tolist()):
        for y, x in chance.integers(0, side, (5, 2)).tolist():
            across = side - 1 - x if mirrored[n] else x
            assert (found[n, y, x] == images[n, row + y, column + across]).all()
    pixels = normalised(torch.from_numpy(found))
    assert pixels.is_contiguous(memory_format=torch.channels_last)  # as the tower's weights are
    assert np.allclose(pixels.numpy(), found.transpose(0, 3, 1, 2) / 127.5 - 1, atol=1e-6)


# --- the model ---


@pytest.mark.parametrize(("size", "millions"), [("tiny", 0.26), ("small", 5), ("b3-mini", 13.6), ("b7-base", 150)])
def test_every_size_can_be_built_and_both_towers_are_as_wide(size: str, millions: float) -> None:
    side = SIZES[size].side
    with torch.device("meta"):
        model = build(size, side, 1_000, 64, 1.0)
        images = model.get_image_features(pixel_values=torch.zeros(2, 3, side, side)).pooler_output
    assert images.shape == (2, model.text_projection.out_features) == (2, model.config.projection_dim)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad) / 1e6
    assert trained == pytest.approx(millions, rel=0.25)


def test_batch_norm_follows_as_pytorch_means_it() -> None:
    model = build("tiny", 32, 200, 64, 1.0)
    assert {m.momentum for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {0.1}


@given(st.lists(st.text(max_size=40), min_size=1, max_size=6))
@settings(max_examples=30)
def test_tokens_of_any_text_begin_and_end_as_texts_do(texts: list[str]) -> None:
    tokenizer = learn([*texts, "a red square"], 300)
    ids, mask = padded(encode(tokenizer, texts, 16))
    assert ids.shape == mask.shape
    assert ids.shape[1] <= 16
    lengths = mask.sum(axis=1)
    assert (ids[:, 0] == tokenizer.token_to_id("[CLS]")).all()
    assert (ids[np.arange(len(ids)), lengths - 1] == tokenizer.token_to_id("[SEP]")).all()
    assert (ids[mask == 0] == tokenizer.token_to_id("[PAD]")).all()
    assert tokenizer.get_vocab_size() <= 300


def test_the_same_texts_teach_the_same_tokens() -> None:
    code = "from align_data.train.tokens import learn; print(learn([f'a{n % 7}b {n % 11}c x{n % 9}yz' for n in range(500)], 120).to_str())"
    found = {subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)}
    assert len(found) == 1


@given(st.integers(1, 400), st.floats(0, 0.9))
def test_the_learning_rate_rises_and_falls(steps: int, warm_up: float) -> None:
    chosen = TrainSettings(batch=2, samples=2 * steps, warm_up=warm_up, learning_rate=0.5)
    rates = [learning_rate(step, chosen) for step in range(steps)]
    top = rates.index(max(rates))
    assert all(0 < rate <= 0.5 for rate in rates)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    if steps > 20 and warm_up < 0.8:
        assert max(rates) == pytest.approx(0.5)
        assert rates[-1] < 0.5 / 2


@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_what_is_no_weight_does_not_decay(name: str) -> None:
    model = build("tiny", 32, 200, 64, 1.0)
    found = optimizer(model, TrainSettings(optimizer=name, weight_decay=0.3))
    decays = {id(p): group["weight_decay"] for group in found.param_groups for p in group["params"]}
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert decays[id(parameter)] == (0.3 if parameter.ndim > 1 else 0.0), parameter_name
    assert decays[id(model.temperature)] == 0.0


# --- whole runs ---


class Stopping(Silent):
    """Stops the run after some steps, as somebody would who pulls the plug."""

    def __init__(self, after: int) -> None:
        self.left = after

    @contextmanager
    def step(self, title: str, total: int | None, unit: str) -> Iterator[Any]:
        def tick(done: int, *_: Any) -> None:
            if title == "train" and done:
                self.left -= 1
                if self.left < 0:
                    raise KeyboardInterrupt

        yield tick


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in ("seconds", "waiting")} for line in lines]


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_a_run_that_is_stopped_goes_on_as_if_it_had_not_been(squares: str, tmp_path: Path, little: str) -> None:
    whole = run(squares, tmp_path / "whole")
    for after in (2, 3, 7):
        with pytest.raises(KeyboardInterrupt):
            run(squares, tmp_path / "stopped", Stopping(after))
        assert not (tmp_path / "stopped" / "trained.json").exists()
    stopped = run(squares, tmp_path / "stopped")
    assert metrics(tmp_path / "stopped") == metrics(tmp_path / "whole")
    assert [line["step"] for line in metrics(tmp_path / "whole")] == [1, 10, 12]
    assert weights(tmp_path / "stopped") == weights(tmp_path / "whole")
    assert (stopped.first_loss, stopped.last_loss) == (whole.first_loss, whole.last_loss)
    assert not (tmp_path / "stopped" / "checkpoint.pt").exists()
    assert run(squares, tmp_path / "stopped") == stopped  # and one that has ended is not made again


def test_the_seed_decides(squares: str, tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        run(squares, tmp_path / name, seed=seed, samples=32 * 3)
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")


@pytest.mark.parametrize(("name", "rate"), [("adamw", 0.003), ("lamb", 0.02)])
def test_the_loss_begins_at_the_logarithm_of_the_batch_and_falls(
    squares: str, tmp_path: Path, name: str, rate: float
) -> None:
    trained = run(squares, tmp_path / "m", samples=32 * 60, optimizer=name, learning_rate=rate, temperature=0.2)
    assert trained.first_loss == pytest.approx(math.log(32), abs=0.3)
    assert trained.last_loss < trained.first_loss - 0.3
    assert trained.steps == 60


def right(folder: Path, samples: Sequence[Sample]) -> float:
    """Return how often the caption nearest to a picture is one that is true of it."""
    model = Dual.load(str(folder), "cpu")
    texts = sorted({sample.alt_text for sample in samples})
    images = model.images(np.stack([centre(sample.image, model.side) for sample in samples]))
    best = (images @ model.texts(texts).T).argmax(axis=1)
    return float(np.mean([texts[at] == sample.alt_text for at, sample in zip(best.tolist(), samples, strict=True)]))


def test_true_captions_teach_and_shuffled_ones_do_not(tmp_path: Path) -> None:
    true, shuffled = (write(tmp_path / f"{kind}", pairs(300, kind)) for kind in (False, True))
    common = {"samples": 32 * 90, "temperature": 0.2, "learning_rate": 0.002, "flip": False}
    run(true, tmp_path / "m-true", **common)
    run(shuffled, tmp_path / "m-shuffled", **common)
    fresh = pairs(300)[:100]
    assert right(tmp_path / "m-true", fresh) > 0.6
    assert right(tmp_path / "m-shuffled", fresh) < 0.3  # of 16 captions


def test_a_model_can_be_the_beginning_of_another(squares: str, tmp_path: Path) -> None:
    first = run(squares, tmp_path / "first", samples=32 * 60, learning_rate=0.003)
    second = run(squares, tmp_path / "second", init=str(tmp_path / "first"), samples=32 * 4)
    assert second.first_loss < first.first_loss - 0.3
    before = Dual.load(str(tmp_path / "first"))
    folder = tmp_path / "first"
    (folder / "preprocessor_config.json").write_text('{"crop_size": {"height": 48, "width": 48}}')
    assert Dual.load(str(folder)).side == 48
    assert Dual.load(str(folder)).digest == before.digest != Dual.load(str(tmp_path / "second")).digest
    embedded = before.texts(["a red square", "x"])
    assert np.linalg.norm(embedded, axis=1) == pytest.approx([1, 1], abs=1e-5)
    assert before.texts([]).shape == (0, before.dim) == before.images(np.empty((0, 32, 32, 3), np.uint8)).shape


# --- bad input ---


def test_shards_of_every_form_are_read(tmp_path: Path) -> None:
    some = pairs(30)
    tars = Shards.open(write(tmp_path / "tars", some, 7))
    assert list(tars) == some
    images = [{"bytes": one.image, "path": None} for one in some]
    columns = {name: [getattr(one, name) for one in some] for name in ("uid", "url", "alt_text")}
    (tmp_path / "parquet").mkdir()
    pq.write_table(pa.table({**columns, "image": images}), tmp_path / "parquet" / "00000.parquet")
    assert list(Shards.open(str(tmp_path / "parquet"))) == some
    fsspec.filesystem("memory").put(str(tmp_path / "tars"), "/of-test-train", recursive=True)
    assert list(Shards.open("memory://of-test-train")) == some
    distinct = [one._replace(url="", alt_text=f"{one.alt_text} {n}") for n, one in enumerate(some)]
    nameless = Shards.open(write(tmp_path / "nameless", distinct))
    assert (
        check(Dual(build("tiny", 32, 200, 64, 0.1), learn(["a"], 200), 32, torch.device("cpu")), nameless).pairs == 30
    )
    few = {some[3].uid, some[29].uid, "f" * 32}
    assert [one.uid for one in Shards.open(str(tmp_path / "tars"), only=few)] == [some[3].uid, some[29].uid]


def test_a_corrupt_shard_is_skipped_and_named(tmp_path: Path) -> None:
    folder = Path(write(tmp_path / "shards", pairs(180)))
    content = (folder / "00001.tar").read_bytes()
    (folder / "00001.tar").write_bytes(content[: len(content) // 2])
    trained = run(str(folder), tmp_path / "m", samples=32 * 3)
    assert trained.skipped.keys() == {"00001.tar"}
    assert "00001.tar is truncated" in trained.skipped["00001.tar"]
    manifest = {
        "shards": [{"name": f"{n:05d}.tar", "bytes": (folder / f"{n:05d}.tar").stat().st_size} for n in range(3)]
    }
    manifest["shards"][2]["bytes"] += 10_240
    (folder / "manifest.json").write_text(json.dumps(manifest))
    shards = Shards.open(str(folder))
    assert len(list(shards)) == 60
    assert f"00002.tar has {manifest['shards'][2]['bytes'] - 10_240:,} bytes, not" in shards.skipped["00002.tar"]
    for tar in folder.glob("*.tar"):
        tar.write_bytes(b"no tar at all")
    with pytest.raises(TrainError, match=r"has 0 pairs, less than a batch of 32: .*Corrupt: .*00000\.tar"):
        run(str(folder), tmp_path / "none")


def test_an_image_that_cannot_be_decoded_has_its_place_taken(tmp_path: Path, little: str) -> None:
    some = pairs(100)
    some[7], some[99] = some[7]._replace(image=b"GIF89a"), some[99]._replace(image=some[99].image[:50])
    trained = run(write(tmp_path / "shards", some), tmp_path / "m", samples=32 * 6)
    assert 1 <= trained.undecodable <= 4  # in windows, a pair can be left out of an epoch, and comes again in the next
    with pytest.raises(TrainError, match=r"no image of .* can be decoded"):
        run(write(tmp_path / "bad", [one._replace(image=b"x") for one in some]), tmp_path / "bad-m")


def test_bad_input_is_a_sentence(squares: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="has no shards: give the folder that `align-data export` wrote"):
        Shards.open(str(tmp_path / "empty"))
    with pytest.raises(TrainError, match=r"has 2 pairs of the selection, less than a batch of 32: .* smaller --batch"):
        train(Shards.open(squares, [f"{n:032x}" for n in (1, 2)]), tmp_path / "few", asked(), Silent())
    with pytest.raises(TrainError, match="less than one batch"):
        run(squares, tmp_path / "m", samples=31)
    with pytest.raises(TrainError, match="the device nonsense cannot be used"):
        train(Shards.open(squares), tmp_path / "d", asked(), Silent(), device="nonsense")
    with pytest.raises(TrainError, match="is not a model that can be opened"):
        Dual.load(str(tmp_path / "empty"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match="is not empty, and not a training run's folder"):
        run(squares, tmp_path / "mine")
    run(squares, tmp_path / "m", samples=64)
    with pytest.raises(OutputError, match="a run with other samples, seed: choose another --out"):
        run(squares, tmp_path / "m", samples=96, seed=8)


def test_a_loss_that_is_no_number_is_a_sentence(squares: str, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"the loss is (nan|inf) at step \d+: a lower --learning-rate"):
        run(squares, tmp_path / "m", learning_rate=1e30, clip=1e30, warm_up=0)


def test_no_room_for_a_checkpoint_is_a_sentence(squares: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(state: Any, path: str) -> None:
        Path(path).write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match=r"cannot write .*checkpoint\.pt: No space left on device"):
        run(squares, tmp_path / "m")
    monkeypatch.undo()
    (tmp_path / "m" / "checkpoint.pt").write_bytes(b"half")
    with pytest.raises(TrainError, match=r"checkpoint\.pt cannot be read: .*remove it to start over"):
        run(squares, tmp_path / "m")


def test_every_preset_is_settings() -> None:
    for name, values in PRESETS.items():
        assert TrainSettings(**values).steps >= 1_000_000, name


def test_the_command_says_what_it_did(squares: str, tmp_path: Path) -> None:
    line = ["train", squares, "--out", str(tmp_path / "m"), "--samples", "128", "--batch", "32", "--no-flip"]
    result = CliRunner().invoke(main, line)
    assert result.exit_code == 0, result.output
    assert "4 steps of 32 pairs in" in result.stdout
    assert "with shuffled texts" in result.stdout
    assert f"the logarithm of the batch is {math.log(32):.3f}" in result.stderr
    again = CliRunner().invoke(main, [*line, "--json"])
    assert json.loads(again.stdout)["steps"] == 4
    for wrong, said in (
        (["--batch", "1"], "--batch"),
        (["--warm-up", "nan"], "--warm-up"),
        (["--size", "huge"], "--size"),
    ):
        failed = CliRunner().invoke(main, ["train", squares, "--out", str(tmp_path / "n"), *wrong])
        assert (failed.exit_code, said in failed.stderr) == (2, True)
    missing = CliRunner().invoke(main, ["train", str(tmp_path / "nothing"), "--out", str(tmp_path / "n")])
    assert (missing.exit_code, "has no shards" in missing.stderr) == (1, True)
    with pytest.raises(AlignDataError):
        Shards.open("nonsense://x")
