"""The trainer's feed: training from shards against the same loop on batches that lie in memory, in turn.

    python benchmarks/trainer.py --images 5000 --steps 300 --runs 3

`held`: all images fit, and are decoded once, before. `windows`: they do not, and are decoded while the model trains.
On a GPU machine: --size b3-mini --batch 256 --side 300.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import statistics
import tarfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Any

import torch
from PIL import Image, ImageDraw
from text_half import HERE
from tokenizers import Tokenizer

from align_data.common.progress import Silent
from align_data.train import loop
from align_data.train.batches import Feed, TrainingBatch
from align_data.train.model import SIZES
from align_data.train.settings import TrainSettings
from align_data.train.shards import Shards

COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "black", "white")
SHAPES = ("circle", "square")


def write(folder: Path, images: int, side: int) -> None:
    """Write shards of shapes on noise, JPEGs as an export has them."""
    random = Random(7)
    folder.mkdir(parents=True)
    for start in range(0, images, 500):
        with tarfile.open(folder / f"{start // 500:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for number in range(start, min(start + 500, images)):
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


class Ready(Feed):
    """Batches that were made before, again and again: what a loop costs that waits for nothing."""

    def begin(self, tokenizer: Tokenizer, tokens: int | None = None) -> None:
        """Make them."""
        super().begin(tokenizer, tokens)
        self._ready = list(islice(super().epoch(0), 32))

    def epoch(self, number: int, skip: int = 0) -> Iterator[TrainingBatch]:  # noqa: ARG002
        """Yield the same batches without end."""
        return cycle(self._ready)


def once(kind: str, shards: Path, work: Path, settings: dict[str, Any]) -> loop.Trained:
    """Train for some steps."""
    out = work / "model"
    shutil.rmtree(out, ignore_errors=True)
    chosen = TrainSettings(**{**settings, **({"memory": settings["memory"] // 40} if kind == "windows" else {})})
    loop.Feed = Ready if kind == "in memory" else Feed  # type: ignore[attr-defined]
    trained = loop.train(Shards.open(str(shards)), out, chosen, Silent())
    assert trained is not None
    return trained


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
    kinds = ("in memory", "held", "windows")
    runs: list[dict[str, loop.Trained]] = []
    for number in range(options.runs):
        order = kinds[number % 3 :] + kinds[: number % 3]
        runs.append({kind: once(kind, options.work / "shards", options.work, settings) for kind in order})
        said = (f"{kind} {options.batch * options.steps / run.seconds:,.0f}/s" for kind, run in runs[-1].items())
        print(f"run {number + 1}: {', '.join(said)}", flush=True)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPUs"
    print(f"\n{time.strftime('%Y-%m-%d')}, {options.size}, batch {options.batch}, {options.images:,} images, {device}")
    for kind in kinds:
        rate = statistics.median(options.batch * options.steps / run[kind].seconds for run in runs)
        ratio = statistics.median(run["in memory"].seconds / run[kind].seconds for run in runs)
        waiting = statistics.median(run[kind].waiting for run in runs)
        print(f"{kind}: {rate:,.0f} pairs/s, {ratio:.2f} of in memory, {waiting:.1%} of the time waiting for data")


if __name__ == "__main__":
    main()
