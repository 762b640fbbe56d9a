"""Take docs/report.png, README's picture of the audit page, of a tiny web; without Chromium it stays as it is.

`make docs` runs it. The picture is of the same numbers each time; its pixels depend on the browser and its fonts.
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


def main() -> None:
    """Take the picture."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        print("there is no Chromium here: docs/report.png stays as it is")
        return
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - of the extra test

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        html = page(Path(folder))
        opened = playwright.chromium.launch(executable_path=browser, args=FLAGS)
        tab = opened.new_page(viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=SCALE)
        tab.goto(html.as_uri())
        tab.wait_for_function(
            "document.querySelectorAll('.chart svg').length == document.querySelectorAll('.chart').length"
        )
        # The verdict, how the rules agree and the first curves: what one would look at first.
        top = tab.evaluate("document.querySelector('#rules').getBoundingClientRect().top + scrollY")
        tab.screenshot(
            path=str(ROOT / "docs" / "report.png"),
            clip={"x": 0, "y": top, "width": WIDTH, "height": HEIGHT},
            full_page=True,
        )
        opened.close()


if __name__ == "__main__":
    main()
