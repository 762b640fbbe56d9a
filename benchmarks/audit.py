"""The audit page of a decided ledger against measuring what is on it, as whole processes.

    python benchmarks/audit.py --pairs 10000000 --runs 3

The list has COYO's shape. Everything that needs no image is measured, with languages and without; then the page is
made. It may take 3 s whatever it is of, which a page of a thousand pairs shows, and beyond that a tenth of measuring
without languages; and at most 3 GB. The page itself may have 1.5 MB, and be open in Chromium in 1 s.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import time
from pathlib import Path

from text_half import HERE, SIGNALS, Cost, call

BARE = f"{SIGNALS},script,host"
"""Without languages, which cost the most by far."""
FIXED = 1_000
"""Pairs of the dataset whose page shows what every page takes."""
TOOL = str(Path(sys.executable).parent / "align-data")


def page(dataset: Path, log: Path) -> Cost:
    """Make the page."""
    out = dataset.parent / "report.html"
    return call([TOOL, "audit", str(dataset), "--recipe", "text-half", "--html", str(out)], log)


def measured(dataset: Path, log: Path, more: list[str]) -> Cost:
    """Measure, and decide."""
    cost = call([TOOL, "measure", str(dataset), *more], log)
    call([TOOL, "filter", str(dataset), "--recipe", str(HERE / "text_half.yaml")], log)
    return cost


def once(dataset: Path, small: Path, log: Path) -> dict[str, Cost]:
    """Measure without languages and with all there is, and make the page of each."""
    costs = {"page of a thousand pairs": page(small, log)}
    for name, more in (("measure without languages", ["--signals", BARE]), ("measure", [])):
        for folder in ("measured", "counts", "verdicts"):
            shutil.rmtree(dataset / folder, ignore_errors=True)
        costs[name] = measured(dataset, log, more)
        costs[name.replace("measure", "page")] = page(dataset, log)
    sweep = [TOOL, "sweep", str(dataset), "--recipe", "text-half", "--signal", "images_per_text", "--values", "9,10,11"]
    costs["sweep"] = call(sweep, log)
    return costs


def opened(page: Path) -> list[float] | None:
    """Return the seconds until a page is laid out, of five times that it is opened; None where there is no Chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - of the extra test

    seconds = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(5):
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            began = time.monotonic()
            tab.goto(page.as_uri())
            tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            seconds.append(time.monotonic() - began)
            tab.close()
        browser.close()
    return seconds


def main() -> None:
    """Run it some times, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path, default=HERE / "data" / "audit")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    log, dataset, small = options.work / "log.txt", options.work / "dataset", options.work / "small" / "dataset"
    for pairs, out in ((options.pairs, dataset), (FIXED, small)):
        source = out.parent / "list"
        # In a process of its own: what this one holds would count as its children's peak.
        call([sys.executable, str(HERE / "coyo_shape.py"), str(pairs), str(source)], log)
        call([TOOL, "ingest", str(source), "--out", str(out)], log)
    measured(small, log, ["--signals", BARE])
    runs = []
    for number in range(options.runs):
        runs.append(once(dataset, small, log))
        print(f"run {number + 1}: " + ", ".join(f"{k} {c.seconds:.1f} s" for k, c in runs[-1].items()), flush=True)
    print(f"\n{time.strftime('%Y-%m-%d')}, {options.pairs:,} pairs, medians of {options.runs}")
    for name in runs[0]:
        middle = statistics.median(run[name].seconds for run in runs)
        print(f"{name:26} {middle:7.1f} s, {max(run[name].memory for run in runs):.2f} GB")
    for of, to in (("page", "measure"), ("page without languages", "measure without languages")):
        whole = statistics.median(run[of].seconds / run[to].seconds for run in runs)
        fixed = "page of a thousand pairs"
        grown = statistics.median((run[of].seconds - run[fixed].seconds) / run[to].seconds for run in runs)
        print(f"{of}: {whole:.1%} of {to}, {grown:.1%} beyond what every page takes")
    html = options.work / "report.html"
    print(f"the page is {html.stat().st_size:,} bytes")
    if seconds := opened(html.resolve()):
        print(f"the page is open in {statistics.median(seconds):.2f} s")


if __name__ == "__main__":
    main()
