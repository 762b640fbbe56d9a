"""Take the pictures of the pages that the documents show, of a tiny web; without Chromium they stay as they are.

`make pictures` and `make docs` run it. The pictures are of the same numbers each time; their pixels depend on the
browser and its fonts.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
EXAMPLES = DOCS.parent / "examples"
PORT = 8813
"""Of the server of pictures: it is in the addresses that the pages show."""
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]
TOOL = [sys.executable, "-c", "from align_data.cli import main; main()"]
RULES = ["--recipe", "align", "--set", "rarest_ngram.ge=3", "--without", "nsfw,eval_distance"]


@contextmanager
def running(*command: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a command while the context is open."""
    process = subprocess.Popen(command, text=True, **options)  # noqa: S603 - our own
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def call(*command: str) -> None:
    """Run a command; CalledProcessError where it fails."""
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own


def make(folder: Path) -> None:
    """Make a dataset with pictures, and its page."""
    web, dataset = str(folder / "web"), str(folder / "scenes")
    tiny_web, tiny_server = (str(EXAMPLES / f"tiny_{name}.py") for name in ("web", "server"))
    call(sys.executable, tiny_web, "--out", web, "--images", "5000", "--pictures", f"http://127.0.0.1:{PORT}")
    call(*TOOL, "run", f"{web}/pairs.parquet", *RULES, "--out", dataset)
    with running(sys.executable, tiny_server, web, "--port", str(PORT), "--seconds", "300", stderr=subprocess.DEVNULL):
        call(*TOOL, "fetch", dataset, "--recipe", "align", "--allow-network", "127.0.0.0/8")
    call(*TOOL, "measure", dataset)
    call(*TOOL, "measure", dataset, "--signals", "script,host")
    call(*TOOL, "filter", dataset, *RULES)
    call(*TOOL, "audit", dataset, "--recipe", "align", "--html", str(folder / "report.html"))


class Camera:
    """A browser that takes pictures."""

    def __init__(self, browser: Any) -> None:
        self._browser = browser

    def take(self, url: str, out: Path, start: str, size: tuple[int, int], *, scheme: str = "light") -> None:
        """Take a picture of so much of a page, from an element on."""
        from PIL import Image  # noqa: PLC0415 - of the extra test

        width, height = size
        tab = self._browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        tab.goto(url)
        tab.wait_for_load_state("networkidle")
        charts = "[...document.querySelectorAll('.histogram .chart')]"  # which the explorer draws in the browser
        tab.wait_for_function(f"{charts}.every(of => of.querySelector('svg'))")
        top = tab.evaluate(f"document.querySelector('{start}').getBoundingClientRect().top + scrollY")
        clip = {"x": 0, "y": top, "width": width, "height": height}
        taken = Image.open(BytesIO(tab.screenshot(clip=clip, full_page=True))).convert("RGB")
        taken.quantize(256, method=Image.Quantize.FASTOCTREE).save(out, optimize=True)
        tab.close()


@contextmanager
def camera() -> Iterator[Camera | None]:
    """Open a browser; None where there is no Chromium, so that pictures stay as they are."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("there is no Chromium here: the pictures stay as they are")
        yield None
        return
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - of the extra test

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield Camera(browser)
        browser.close()


@contextmanager
def explorer(folder: Path) -> Iterator[str]:
    """Serve the dataset's explorer; yields its link."""
    view = [*TOOL, "view", "scenes", "--recipe", "align", "--no-browser", "--json"]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "env": {**os.environ, "PYTHONUNBUFFERED": "1"}}
    with running(*view, cwd=folder, **quiet) as process:
        assert process.stdout is not None
        said = ""
        while "}" not in said:
            said += process.stdout.readline()
        yield json.loads(said)["link"]


def main() -> None:
    """Take the pictures."""
    with tempfile.TemporaryDirectory() as name, camera() as browser:
        if browser is None:
            return
        folder = Path(name)
        make(folder)
        page = (folder / "report.html").as_uri()
        browser.take(page, DOCS / "report.png", "#rules", (1180, 1860))
        browser.take(page, DOCS / "report-phone.png", "#verdict", (390, 1200), scheme="dark")
        moved = "thresholds?recipe=align&set=n_words.between=4,20&set=aspect.lt=2.5"
        pairs = "pairs?recipe=align&but=aspect&but=decodable&where=decodable=true&nearest=aspect"
        with explorer(folder) as link:
            browser.take(link + moved, DOCS / "view-thresholds.png", "main", (1180, 1100))
            browser.take(link + pairs, DOCS / "view-pairs.png", "main", (1180, 1000), scheme="dark")


if __name__ == "__main__":
    main()
