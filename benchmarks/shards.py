"""Export against a bare copy of tars, and against bare decoding, resizing and encoding; in turn, as whole processes.

    python benchmarks/shards.py --images 5000 --runs 3

Pictures are served, fetched and measured once. Both bare scripts work in as many processes: one copies the members of
the dataset's tars with tarfile, one shrinks them with Pillow as the export does.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

import polars as pl
from pictures import HERE, PROCESSES, server
from text_half import Cost, call

from align_data.decoding.render import RESAMPLING, SUBSAMPLING, How

SIZE = 256

COPY = """
import io, sys, tarfile
from multiprocessing import Pool
from pathlib import Path

def copy(path):
    with tarfile.open(path) as source, tarfile.open(out / path.name, "w", format=tarfile.USTAR_FORMAT) as target:
        for member in source:
            target.addfile(member, source.extractfile(member))

folder, out, processes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
if __name__ == "__main__":
    out.mkdir()
    with Pool(processes) as pool:
        pool.map(copy, sorted(folder.rglob("*.tar")), chunksize=1)
"""

SHRINK = """
import io, sys, tarfile
from multiprocessing import Pool
from pathlib import Path
from PIL import Image

def shrink(path):
    with tarfile.open(path) as source, tarfile.open(out / path.name, "w", format=tarfile.USTAR_FORMAT) as target:
        for member in source:
            with Image.open(source.extractfile(member)) as image:
                ratio = size / min(image.size)
                small = image.convert("RGB").resize((round(image.width * ratio), round(image.height * ratio)), resample)
                content = io.BytesIO()
                small.save(content, "JPEG", quality=quality, subsampling=subsampling)
            member.size = len(content.getvalue())
            content.seek(0)
            target.addfile(member, content)

folder, out, processes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
size, resample, quality = (int(value) for value in sys.argv[4:7])
subsampling = sys.argv[7]
if __name__ == "__main__":
    out.mkdir()
    with Pool(processes) as pool:
        pool.map(shrink, sorted(folder.rglob("*.tar")), chunksize=1)
"""


def prepare(work: Path, images: int, log: Path) -> Path:
    """Make a dataset of so many pictures, fetched, measured and decided."""
    tool, dataset = str(Path(sys.executable).parent / "align-data"), work / "dataset"
    with server() as port:
        urls = [f"http://127.0.0.1:{port}/{number}.jpg" for number in range(images)]
        texts = [f"a text of number {number}" for number in range(images)]
        pl.DataFrame({"url": urls, "alt_text": texts}).write_parquet(work / "list.parquet")
        (work / "all.yaml").write_text("name: all\nrules:\n  - {signal: decodable, eq: true, source: chosen}\n")
        call([tool, "ingest", str(work / "list.parquet"), "--out", str(dataset)], log)
        network = ["--allow-network", "127.0.0.0/8", "--per-host", "16", "--chunk", str(-(-images // 8))]
        call([tool, "fetch", str(dataset), "--all", *network], log)
    call([tool, "measure", str(dataset)], log)
    call([tool, "filter", str(dataset), "--recipe", str(work / "all.yaml")], log)
    return dataset


def once(work: Path, dataset: Path, images: int, log: Path) -> dict[str, Cost]:
    """Run each contender once."""
    tool, shard = str(Path(sys.executable).parent / "align-data"), str(-(-images // 8))
    for name, script in (("copy", COPY), ("shrink", SHRINK)):
        (work / f"bare_{name}.py").write_text(script)
    outs = {name: work / f"out-{name}" for name in ("export", "copy", "export resized", "shrink")}
    for out in outs.values():
        shutil.rmtree(out, ignore_errors=True)
    export = [tool, "export", str(dataset), "--recipe", "all", "--shard-size", shard, "--workers", str(PROCESSES)]
    bare = [str(dataset / "bytes"), "{out}", str(PROCESSES)]
    settings = [str(SIZE), str(int(RESAMPLING[How().resampling])), str(How().quality), SUBSAMPLING]
    lines = {
        "export": [*export, "--out", str(outs["export"])],
        "copy": [sys.executable, str(work / "bare_copy.py"), *bare],
        "export resized": [*export, "--resize", "shortest", "--size", str(SIZE), "--out", str(outs["export resized"])],
        "shrink": [sys.executable, str(work / "bare_shrink.py"), *bare, *settings],
    }
    costs = {}
    for name, line in lines.items():
        os.sync()  # else the next one waits for the disk to write what this one left in memory
        costs[name] = call([word.format(out=outs[name]) for word in line], log)
    return costs


def main() -> None:
    """Run all contenders in turn, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path, default=HERE / "data" / "shards")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    log = options.work / "log.txt"
    dataset = prepare(options.work, options.images, log)
    runs: list[dict[str, Cost]] = []
    for number in range(options.runs):
        runs.append(once(options.work, dataset, options.images, log))
        print(f"run {number + 1}: " + ", ".join(f"{k} {c.seconds:.2f} s" for k, c in runs[-1].items()), flush=True)
    print(f"\n{time.strftime('%Y-%m-%d')}, {options.images:,} images, medians of {options.runs}")
    for name in runs[0]:
        middle = statistics.median(run[name].seconds for run in runs)
        print(f"{name:14} {middle:6.2f} s, {options.images / middle:6,.0f} images/s")
    for ours, bare in (("export", "copy"), ("export resized", "shrink")):
        ratio = statistics.median(run[bare].seconds / run[ours].seconds for run in runs)
        print(f"{ours} at {ratio:.2f} x the rate of the bare {bare}, median of the runs' ratios")


if __name__ == "__main__":
    main()
