"""Write docs/explanation/ablation.md, its pictures and README's table from finished ablations.

The first is what `make ablate` did, the second what `make ablate-each` did: every rule left out once; the third what
`make ablate-sizes` did: less of the raw and of the filtered pairs.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pictures import DOCS, camera

WRITTEN = (
    "Written by `python docs/ablation.py` from what `make ablate`, `make ablate-each` and `make ablate-sizes` found on "
    "the tiny web (`examples/tiny_web.py`), whose noise is known; the emoji by hand; [the lab book](../LOG.md) has "
    "what led here."
)
WHAT_FOLLOWS = (
    "Arms of exactly the recipe's pairs are one run with it: no arm has pairs without an image or copies of evaluation "
    "images, so `decodable` and `eval_distance` have nothing left to drop. A rule marked * is not shown to be useless: "
    "`thumbnail` and `banner`, which `min_side` and `aspect` catch, have true captions on the tiny web."
)
AS_MANY = (
    "`fraction:0.25` is a quarter of the recipe's pairs, `fraction:0.25:none` a quarter of all. More raw pairs change "
    "nothing that three seeds could show; a tenth as many filtered ones cannot be told from all the raw ones."
)
BY_HAND = "## On pictures that nobody here drew"
"""Where the part of the page begins that is written by hand, and stays as it is."""
ROOT, PAGE = DOCS.parent, DOCS / "explanation"
RUN, EACH, SIZES = (ROOT / "ablation" / name for name in ("out", "each", "sizes"))


def points(by: dict[str, Any]) -> str:
    """Return a mean with its interval, in points."""
    return f"{100 * by['mean']:+.1f} ({100 * by['low']:+.1f} to {100 * by['high']:+.1f})".replace("-", "−")


def table(found: dict[str, Any], against: list[str]) -> list[str]:
    """Return the arms: pairs, the metric, and differences."""
    lines = [
        f"| arm | pairs | {found['metric']} | " + " | ".join(f"against {base}" for base in against) + " |",
        "|---|---|---|" + "---|" * len(against),
    ]
    for arm in found["arms"]:
        by = arm["metrics"][found["metric"]]
        cells = [
            next((points(d) + ("" if d["distinguishable"] else " *") for d in found["differences"]
                  if (d["arm"], d["against"]) == (arm["arm"], base)), "")
            for base in against
        ]  # fmt: skip
        mean = f"{100 * by['mean']:.1f} ± {100 * (by['high'] - by['mean']):.1f}"
        lines.append(f"| `{arm['arm']}` | {arm['pairs']:,} | {mean} | " + " | ".join(cells) + " |")
    return lines


def seconds(found: dict[str, Any]) -> str:
    """Say what training took."""
    runs = [run["facts"] for arm in found["arms"] for run in arm["runs"] if run["failure"] is None]
    each = sorted(run["seconds"] for run in runs)
    return f"{len(runs)} runs of {runs[0]['steps']:,} steps, {each[len(each) // 2]:.0f} s of training in the median"


def section(found: dict[str, Any], against: list[str]) -> list[str]:
    """Return an ablation's table, and what it is of."""
    leaks, settings = found["leaks"], found["settings"]
    how = (
        f"Mean of {found['metric']} (both directions) in percent and 95 % t-intervals over {found['seeds']} seeds; "
        "differences in points, paired by seed; * marks one whose interval has 0 in it: not distinguishable."
    )
    what = (
        f"{found['pairs']:,} pairs, of which {found['pool']:,} have an image and are in no way in the evaluation set "
        f"({leaks['pairs']:,} were: {leaks['uid']} by uid, {leaks['url']} by URL, {leaks['phash']} by pHash); "
        f"evaluated on {found['evaluation_pairs']:,} held-out scenes. Model `{settings['size']}`, batch "
        f"{settings['batch']}, {settings['samples']:,} samples seen by every arm. {seconds(found)}."
    )
    return [*table(found, against), "", how, "", what, ""]


def main() -> None:
    """Write all three."""
    page = PAGE / "ablation.md"
    by_hand = "".join(page.read_text(encoding="utf-8").partition(BY_HAND)[1:])
    run, each, sizes = (json.loads((folder / "results.json").read_text()) for folder in (RUN, EACH, SIZES))
    lines = [
        "# Does the filter pay?",
        "",
        WRITTEN,
        "",
        *section(run, ["none", "random"]),
        "![The arms, and their differences](ablation.png)",
        "",
        "## Without each rule",
        "",
        *section(each, ["none", "recipe"]),
        WHAT_FOLLOWS,
        "",
        "## Quality against size",
        "",
        *section(sizes, ["none", "recipe"]),
        AS_MANY,
        "",
        "![R@1 against the number of pairs, raw and filtered](ablation-sizes.png)",
        "",
        by_hand,
    ]
    page.write_text("\n".join(lines), encoding="utf-8")
    readme = ROOT / "README.md"
    shown = "\n".join(table(run, ["none", "random"]))
    pattern = r"(?<=<!-- ablation -->\n).*?(?=<!-- /ablation -->)"
    readme.write_text(re.sub(pattern, lambda _: f"{shown}\n", readme.read_text(), flags=re.DOTALL), encoding="utf-8")
    with camera() as browser:
        if browser is not None:
            for run, start, height, out in ((RUN, "#arms", 1240, "ablation"), (SIZES, "#sizes", 420, "ablation-sizes")):
                html = (run / "ablation.html").as_uri()
                browser.take(html, PAGE / f"{out}.png", start, (1180, height))


if __name__ == "__main__":
    main()
