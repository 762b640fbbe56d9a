"""How fast `embed` is against the same model on tensors in memory, in one run; and which half limits it.

    python benchmarks/embed.py [--images 500] [--rounds 3] [--width 192] [--children 1]

A ViT of random weights, by transformers, and JPEGs that are drawn here; each image once. Beside the wall clock stand
the processor seconds of this process (the model, and what embed adds to it) and of its children (decoding): on two
cores the halves run side by side, so the slower one limits, and CPU seconds do not depend on who else works there.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

from align_data.common.progress import Silent
from align_data.data.image_table import image_urls
from align_data.data.layout import Dataset
from align_data.data.meta import ImagesMeta
from align_data.decoding.inspected import ImageLimits
from align_data.decoding.preparing.preparer import Preparer
from align_data.decoding.render import upright
from align_data.engines.local import LocalEngine
from align_data.models.encoder import BATCH
from align_data.models.sharing import SharedModel
from align_data.stages.embed import embed
from align_data.stages.ingest import ingest
from align_data.stages.measure import measure
from align_data.storage.store import Store
from align_data.storage.tars import TarWriter
from align_data.train.tokens import learn

SIDE = 224


class Spent(NamedTuple):
    """What a piece of work took."""

    wall: float
    own: float
    children: float


def spent(work: Callable[[], Any]) -> Spent:
    """Return the seconds of some work: by the clock, and of the processor here and in children that have ended."""
    began, own, children = time.perf_counter(), _cpu(resource.RUSAGE_SELF), _cpu(resource.RUSAGE_CHILDREN)
    work()
    return Spent(
        time.perf_counter() - began, _cpu(resource.RUSAGE_SELF) - own, _cpu(resource.RUSAGE_CHILDREN) - children
    )


def _cpu(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def jpeg(number: int) -> bytes:
    """Draw a picture of 500 x 375 that is as hard to decode as a photograph."""
    chance = np.random.default_rng(number)
    coarse = Image.fromarray(chance.integers(0, 255, (24, 32, 3), np.uint8)).resize(
        (500, 375), Image.Resampling.BICUBIC
    )
    grain = chance.normal(0, 6, (375, 500, 3))
    out = io.BytesIO()
    Image.fromarray((np.asarray(coarse) + grain).clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=85)
    return out.getvalue()


def model_folder(folder: Path, width: int, layers: int) -> str:
    """Write a CLIP of random weights: its image half a ViT with patches of 16."""
    folder.mkdir()
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=learn(["a dog", "two cats"], 100), **special)
    tokenizer.save_pretrained(folder)
    text = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"vocab_size": 100, "max_position_embeddings": 16, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    vision = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers}
    vision |= {"num_attention_heads": width // 32, "image_size": SIDE, "patch_size": 16}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=256)).save_pretrained(folder)
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": SIDE},
        "crop_size": {"height": SIDE, "width": SIDE},
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return str(folder)


def dataset_of(folder: Path, images: list[bytes]) -> Dataset:
    """Make a dataset whose images are there."""
    urls = [f"http://a.example/{number}.jpg" for number in range(len(images))]
    pl.DataFrame({"url": urls, "alt_text": [f"picture {number}" for number in range(len(urls))]}).write_parquet(
        folder / "list.parquet"
    )
    dataset = Dataset(Store(folder / "dataset"))
    engine = LocalEngine(folder / "work", 2)
    ingest([str(folder / "list.parquet")], dataset, engine, Silent())
    content, pairs, infos = dict(zip(urls, images, strict=True)), dataset.ingested(), []
    for part in range(len(pairs.parts)):
        rows = []
        with TarWriter(dataset.store, f"bytes/part-{part:05d}/001-00000", limit=2**30) as tars:
            for key, url in image_urls(dataset, part, None).select("key", "url").iter_rows():
                place = tars.add(f"{key}.jpg", io.BytesIO(content[url]), len(content[url]))
                rows.append((url, "ok", None, False, place.tar, place.offset, place.size))
        with dataset.images.writer(part, {"pairs": pairs.parts[part].identity}) as writer:
            writer.write(pl.DataFrame(rows, dataset.images.contract.polars(), orient="row"))
        assert writer.info is not None
        infos.append(writer.info)
    dataset.images.commit(infos, ImagesMeta(run=1, pairs=pairs.fingerprint, asked="all", policy={}, statuses={}))
    measure(dataset, engine, Silent(), ["decodable", "sha256"])
    return dataset


def main() -> None:
    """Measure, and print a line for each part of the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--children", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        _measured(Path(place), options)


def _measured(folder: Path, options: argparse.Namespace) -> None:
    images = [jpeg(number) for number in range(options.images)]
    shared = SharedModel.open(model_folder(folder / "model", options.width, options.layers), options.device)
    torch.set_num_threads(1)
    encoder, dataset = shared.encoder, dataset_of(folder, images)
    pixels = [encoder.preparation.apply(upright(content)) for content in images]
    encoder.images(pixels[:BATCH])
    rounds: dict[str, list[Spent]] = {"model": [], "decoding": [], "embed": []}

    def alone() -> None:
        for at in range(0, len(pixels), BATCH):
            encoder.images(pixels[at : at + BATCH])

    def decoded() -> None:
        preparer = Preparer(encoder.preparation, ImageLimits())
        for _ in preparer.prepare(images):
            pass
        preparer.close()

    engine = LocalEngine(folder / "work", 1)
    for number in range(options.rounds):
        rounds["model"].append(spent(alone))
        rounds["embed"].append(
            spent(lambda name=f"round-{number}": embed(shared, dataset, name, engine, Silent(), options.children))  # type: ignore[misc]
        )
        rounds["decoding"].append(spent(decoded))
    for name, times in rounds.items():
        wall, own, children = (statistics.median(column) for column in zip(*times, strict=True))
        rate = len(images) / wall
        print(f"{name:9} {rate:7.1f} images/s  {wall:6.2f} s  {own:6.2f} CPU s here  {children:6.2f} in children")
    ratios = [model.wall / embedded.wall for model, embedded in zip(rounds["model"], rounds["embed"], strict=True)]
    cpu = [model.own / embedded.own for model, embedded in zip(rounds["model"], rounds["embed"], strict=True)]
    print(
        f"embed / model: {statistics.median(ratios):.3f} by the clock, {statistics.median(cpu):.3f} by CPU seconds here"
    )
    print(f"on {encoder.device}, {os.cpu_count()} cores, {options.children} children", file=sys.stderr)


if __name__ == "__main__":
    main()
