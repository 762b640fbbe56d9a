"""Fetching against img2dataset, measuring images against bare decoding: in turn, as whole processes; prints a table.

    python benchmarks/pictures.py --images 5000 --runs 3
    python benchmarks/pictures.py --images 20000 --photographs FOLDER --img2dataset none

A server in a process of its own holds its pictures in memory and answers on 127.0.0.1: drawn ones, which are hard to
decode, or the JPEGs of a folder. img2dataset writes webdataset with resizing, re-encoding and EXIF off; bare decoding
reads the size and takes imagehash's pHash, in as many processes.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import multiprocessing
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image
from text_half import Cost, call

HERE = Path(__file__).resolve().parent
PROCESSES = 2
CONNECTIONS = 16
"""To the one host that there is, for each process: img2dataset counts by process, we count all of them."""
_KINDS = 64
NONE = "none"
_NOT_THERE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
"""The answer for all but pictures, such as robots.txt."""

IMG2DATASET = """
import os, sys
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else it asks the network at every start
from img2dataset import download
if __name__ == "__main__":
    source, out, threads, processes = sys.argv[1:]
    download(url_list=source, input_format="parquet", url_col="url", caption_col="alt_text", output_folder=out,
             output_format="webdataset", processes_count=int(processes), thread_count=int(threads), resize_mode="no",
             disable_all_reencoding=True, extract_exif=False, enable_wandb=False, number_sample_per_shard=1250)
"""

BARE = """
import io, sys, tarfile
from multiprocessing import Pool
from pathlib import Path
import imagehash
from PIL import Image

def look(place):
    path, offset, size = place
    with open(path, "rb") as file:
        file.seek(offset)
        content = file.read(size)
    with Image.open(io.BytesIO(content)) as image:
        return image.size, str(imagehash.phash(image))

if __name__ == "__main__":
    folder, processes = Path(sys.argv[1]), int(sys.argv[2])
    places = []
    for path in sorted(folder.rglob("*.tar")):
        with tarfile.open(path) as tar:
            places += [(str(path), member.offset_data, member.size) for member in tar]
    with Pool(processes) as pool:
        found = pool.map(look, places, chunksize=64)
    assert len(found) == len(places) > 0
"""


def pictures() -> list[bytes]:
    """Draw JPEGs of 50 to 200 kB, some hundred pixels a side."""
    chance = np.random.default_rng(1)
    found: list[bytes] = []
    while len(found) < _KINDS:
        side = int(chance.integers(300, 700))
        noise = chance.integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8)
        out = io.BytesIO()
        Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC).save(out, "JPEG", quality=88)
        if 50_000 <= len(out.getvalue()) <= 200_000:
            found.append(out.getvalue())
    return found


class _Answers(asyncio.Protocol):
    """Answers /NUMBER.jpg with one of the pictures, on a connection that stays open."""

    answers: tuple[bytes, ...] = ()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._asked = b""

    def data_received(self, data: bytes) -> None:
        self._asked += data
        while b"\r\n\r\n" in self._asked:
            head, _, self._asked = self._asked.partition(b"\r\n\r\n")
            number = head.split(b" ", 2)[1].rpartition(b"/")[2].partition(b".")[0]
            answer = self.answers[int(number) % len(self.answers)] if number.isdigit() else _NOT_THERE
            self._transport.write(answer)
            if b"connection: close" in head.lower():
                self._transport.close()


def _serve(port: Any, ready: Event, photographs: Path | None) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
    bodies = pictures() if photographs is None else [file.read_bytes() for file in sorted(photographs.glob("*.jpg"))]
    _Answers.answers = tuple(head % len(body) + body for body in bodies)

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(_Answers, "127.0.0.1", 0)
        port.value = server.sockets[0].getsockname()[1]
        ready.set()
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def server(photographs: Path | None = None) -> Iterator[int]:
    """Serve pictures until the end of the block; gives the port."""
    context = multiprocessing.get_context("spawn")
    port, ready = context.Value("i", 0), context.Event()
    process = context.Process(target=_serve, args=(port, ready, photographs), daemon=True)
    process.start()
    ready.wait(120)
    try:
        yield port.value
    finally:
        process.kill()


def once(folder: Path, source: Path, img2dataset: str, log: Path) -> dict[str, Cost]:
    """Run each contender once."""
    tool = str(Path(sys.executable).parent / "align-data")
    dataset, theirs = folder / "dataset", folder / "img2dataset"
    shutil.rmtree(dataset, ignore_errors=True)
    shutil.rmtree(theirs, ignore_errors=True)
    call([tool, "ingest", str(source), "--out", str(dataset)], log)
    limits = ["--per-host", str(CONNECTIONS * PROCESSES), "--workers", str(PROCESSES)]
    arguments = ["--all", "--allow-network", "127.0.0.0/8", *limits]
    costs = {"fetch": call([tool, "fetch", str(dataset), *arguments], log)}
    for name, script in (("theirs", IMG2DATASET), ("bare", BARE)):
        (folder / f"{name}.py").write_text(script)
    line = [img2dataset, str(folder / "theirs.py"), str(source), str(theirs), str(CONNECTIONS), str(PROCESSES)]
    if img2dataset != NONE:
        costs["img2dataset"] = call(line, log)
    measure = [tool, "measure", str(dataset), "--workers", str(PROCESSES), "--signals", "decodable,width,height,phash"]
    costs["measure"] = call(measure, log)
    costs["bare decoding"] = call([sys.executable, str(folder / "bare.py"), str(dataset), str(PROCESSES)], log)
    return costs


def main() -> None:
    """Run all contenders in turn, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path, default=HERE / "data" / "pictures")
    parser.add_argument("--img2dataset", default=sys.executable, help=f"a Python that has img2dataset, or {NONE}")
    parser.add_argument("--photographs", type=Path, help="a folder of JPEGs, in place of drawn pictures")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    source, log = options.work / "list.parquet", options.work / "log.txt"
    runs: list[dict[str, Cost]] = []
    with server(options.photographs) as port:
        urls = [f"http://127.0.0.1:{port}/{number}.jpg" for number in range(options.images)]
        texts = [f"a text of number {number}" for number in range(options.images)]
        pl.DataFrame({"url": urls, "alt_text": texts}).write_parquet(source)
        for number in range(options.runs):
            runs.append(once(options.work, source, options.img2dataset, log))
            print(f"run {number + 1}: " + ", ".join(f"{k} {c.seconds:.2f} s" for k, c in runs[-1].items()), flush=True)
    print(f"\n{time.strftime('%Y-%m-%d')}, {options.images:,} images, medians of {options.runs}")
    for name in runs[0]:
        costs = [run[name] for run in runs]
        middle = statistics.median(c.seconds for c in costs)
        peak = max(c.memory for c in costs)
        cpu = statistics.median(c.cpu for c in costs)
        rate = f"{options.images / middle:6,.0f} images/s"
        print(f"{name:14} {middle:6.2f} s, {cpu:6.2f} s of CPU, {rate}, peak {peak:.2f} GB")
    for ours, theirs in (("fetch", "img2dataset"), ("measure", "bare decoding")):
        if theirs not in runs[0]:
            continue
        ratio = statistics.median(run[theirs].seconds / run[ours].seconds for run in runs)
        print(f"{ours} at {ratio:.2f} x the rate of {theirs}, median of the runs' ratios")


if __name__ == "__main__":
    main()
