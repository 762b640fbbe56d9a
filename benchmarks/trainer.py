"""The trainer against a bare loop: the same model, channels_last, a fused AdamW, bf16 on a GPU, batches on the device.

    python benchmarks/trainer.py --images 5000 --steps 300 --runs 3

`bare`: nothing but forward, backward, clipping and step. `held`: all images fit, and are decoded once, before.
`windows`: they do not, and are decoded while the model trains. On a GPU machine: --size b3-mini --batch 256 --side 300.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import shutil
import statistics
import tarfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import torch
from PIL import Image, ImageDraw
from text_half import HERE

from align_data.common.progress import Silent
from align_data.train import loop
from align_data.train.batches import Feed
from align_data.train.model import SIZES, build, device_of
from align_data.train.objectives.registry import objective_of
from align_data.train.pixel_tensors import crops, normalised
from align_data.train.placing import Placing
from align_data.train.settings import TrainSettings
from align_data.train.shards import Shards
from align_data.train.tokens import learn

_EACH = 500
"""Pairs a shard."""
COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "black", "white")
SHAPES = ("circle", "square")
KINDS = ("bare", "held", "windows")


class Run(NamedTuple):
    """What a run took: seconds, the share of them waiting for data, and bytes at most."""

    seconds: float
    waiting: float
    peak_memory: int


def write(folder: Path, images: int, side: int) -> None:
    """Write shards of shapes on noise, JPEGs as an export has them; in processes, each shard by its own number."""
    folder.mkdir(parents=True)
    with ProcessPoolExecutor() as processes:
        list(processes.map(partial(_shard, folder, images, side), range(math.ceil(images / _EACH))))


def _shard(folder: Path, images: int, side: int, shard: int) -> None:
    random = Random(shard)
    with tarfile.open(folder / f"{shard:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(shard * _EACH, min((shard + 1) * _EACH, images)):
            _add(tar, number, random, side)


def _add(tar: tarfile.TarFile, number: int, random: Random, side: int) -> None:
    noise = Image.frombytes("RGB", (side // 8, side // 8), random.randbytes(3 * (side // 8) ** 2))
    image = noise.resize((side, side), Image.Resampling.BICUBIC)
    colour, shape = random.choice(COLOURS), random.choice(SHAPES)
    draw, box = ImageDraw.Draw(image), (side // 4, side // 4, 3 * side // 4, 3 * side // 4)
    (draw.ellipse if shape == "circle" else draw.rectangle)(box, fill=colour)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    text = f"a picture of a {colour} {shape}, number {random.randrange(1000)}"
    known = {"uid": f"{number:032x}", "url": f"http://shapes.example/{number}", "alt_text": text}
    for ending, content in (("jpg", file.getvalue()), ("txt", text.encode()), ("json", json.dumps(known).encode())):
        member = tarfile.TarInfo(f"{known['uid']}.{ending}")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))


def bare(shards: Path, settings: TrainSettings) -> float:
    """Return the seconds of a loop that waits for nothing."""
    device, side = device_of(None), SIZES[settings.size].side
    with closing(Feed(Shards.open(str(shards)), side, settings, os.cpu_count() or 1)) as feed:
        feed.read(Silent())
        tokenizer = learn(list(feed.texts), settings.vocabulary)
        feed.begin(tokenizer)
        model = build(settings.size, side, tokenizer.get_vocab_size(), settings.max_tokens, settings.temperature)
        objective = objective_of(settings, {}, model.config.projection_dim)
        towers = loop.Towers(model.train(), objective).to(device)  # which lays the image tower out
        if settings.size == "tiny":
            torch.set_num_threads(1)  # as `train` does
        steps = torch.optim.AdamW(towers.parameters(), lr=settings.learning_rate, fused=True)
        ready = []
        for batch, _ in Placing(device).each(islice(feed.epoch(0), 32)):
            pixels = normalised(crops(batch.images, side, batch.corners, batch.mirrored))
            ready.append((pixels, batch.ids, batch.mask, batch.keys))
    _synchronise()
    began = time.monotonic()
    for inputs in islice(cycle(ready), settings.steps):
        steps.zero_grad()
        towers(*inputs).backward()
        torch.nn.utils.clip_grad_norm_(towers.parameters(), settings.clip)
        steps.step()
    _synchronise()
    return time.monotonic() - began


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def once(kind: str, shards: Path, work: Path, settings: dict[str, Any]) -> Run:
    """Train for some steps."""
    if kind == "bare":
        return Run(bare(shards, TrainSettings(**settings)), 0.0, 0)
    out = work / "model"
    shutil.rmtree(out, ignore_errors=True)
    chosen = TrainSettings(**{**settings, **({"memory": settings["memory"] // 40} if kind == "windows" else {})})
    trained = loop.train(Shards.open(str(shards)), out, chosen, Silent())
    assert trained is not None
    return Run(trained.seconds, trained.waiting, trained.peak_memory or 0)


def main() -> None:
    """Run it some times, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--side", type=int, default=256, help="pixels of the images in the shards")
    parser.add_argument("--work", type=Path, default=HERE / "data" / "trainer")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    write(options.work / "shards", options.images, options.side)
    resized = SIZES[options.size].side * 346 // 289 + 1
    settings = {
        "size": options.size,
        "batch": options.batch,
        "samples": options.batch * options.steps,
        "memory": max(80, 2 * 3 * resized**2 * options.images // 10**6),
    }
    runs: list[dict[str, Run]] = []
    for number in range(options.runs):
        order = KINDS[number % 3 :] + KINDS[: number % 3]
        runs.append({kind: once(kind, options.work / "shards", options.work, settings) for kind in order})
        said = (f"{kind} {options.batch * options.steps / run.seconds:,.0f}/s" for kind, run in runs[-1].items())
        print(f"run {number + 1}: {', '.join(said)}", flush=True)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPUs"
    print(f"\n{time.strftime('%Y-%m-%d')}, {options.size}, batch {options.batch}, {options.images:,} images, {device}")
    for kind in KINDS:
        rate = statistics.median(options.batch * options.steps / run[kind].seconds for run in runs)
        ratio = statistics.median(run["bare"].seconds / run[kind].seconds for run in runs)
        waiting = statistics.median(run[kind].waiting for run in runs)
        most = max(run[kind].peak_memory for run in runs) / 2**30
        print(
            f"{kind}: {rate:,.0f} pairs/s, {ratio:.2f} of bare, {waiting:.1%} waiting for data, {most:.1f} GiB at most"
        )


if __name__ == "__main__":
    main()
