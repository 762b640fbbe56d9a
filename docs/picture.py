"""Take docs/report.png, README's picture of the audit page, of a tiny web; without Chromium it stays as it is.

`make picture` runs it. The picture is of the same numbers each time; its pixels depend on the browser and its fonts.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WIDTH, HEIGHT, SCALE = 1180, 1860, 1
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]
TOOL = [sys.executable, "-c", "from align_data.cli import main; main()"]
RULES = ["--recipe", "align", "--set", "rarest_ngram.ge=3", "--without", "decodable,nsfw,eval_distance"]


def page(folder: Path) -> Path:
    """Make the page."""
    web, dataset, html = folder / "web", folder / "dataset", folder / "report.html"
    for command in (
        [sys.executable, str(ROOT / "examples" / "tiny_web.py"), "--out", str(web), "--images", "5000"],
        [*TOOL, "run", str(web / "pairs.parquet"), *RULES, "--out", str(dataset)],
        [*TOOL, "measure", str(dataset), "--signals", "script,host"],
        [*TOOL, "audit", str(dataset), "--recipe", "align", "--html", str(html)],
    ):
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own
    return html


def take(html: Path, start: str, height: int, out: Path) -> None:
    """Take a picture of so much of a page, from an element on; without Chromium it stays as it is."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        print(f"there is no Chromium here: {out.name} stays as it is")
        return
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - of the extra test

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser, args=FLAGS)
        tab = opened.new_page(viewport={"width": WIDTH, "height": height}, device_scale_factor=SCALE)
        tab.goto(html.as_uri())
        tab.wait_for_function(
            "document.querySelectorAll('.chart svg').length == document.querySelectorAll('.chart').length"
        )
        top = tab.evaluate(f"document.querySelector('{start}').getBoundingClientRect().top + scrollY")
        clip = {"x": 0, "y": top, "width": WIDTH, "height": height}
        tab.screenshot(path=str(out), clip=clip, full_page=True)
        opened.close()


def main() -> None:
    """Take the picture: how the rules agree and the first curves, what one would look at first."""
    with tempfile.TemporaryDirectory() as folder:
        take(page(Path(folder)), "#rules", HEIGHT, ROOT / "docs" / "report.png")


if __name__ == "__main__":
    main()
