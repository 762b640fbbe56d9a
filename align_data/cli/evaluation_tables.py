"""What `align-data evaluate` prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from align_data.train.attributes import OneWrong
from align_data.train.by_language import OfLanguage
from align_data.train.descriptions import Described
from align_data.train.evaluate import ModelEvaluation
from align_data.train.metrics import BootstrapEstimate, Direction
from align_data.train.zero_shot import ZeroShot


def print_evaluation(out: Console, evaluation: ModelEvaluation) -> None:
    """Print all figures, but for the notes."""
    columns = {
        "image to text": evaluation.retrieval.image_to_text,
        "text to image": evaluation.retrieval.text_to_image,
        "captions shuffled": evaluation.shuffled,
    }
    table = _table(f"{evaluation.pairs:,} pairs; 95 % intervals over the queries", ("", *columns))
    for figure, cell in _FIGURES.items():
        table.add_row(figure, *(cell(direction) for direction in columns.values()))
    out.print(table)
    if evaluation.neighbours is not None:
        near = evaluation.neighbours
        out.print(
            f"nearest other image of the same class: {_share(near.r_at_1)} of {near.images:,} images in "
            f"{near.classes:,} classes (chance {near.chance:.2%})"
        )
    if evaluation.zero_shot is not None:
        _print_zero_shot(out, evaluation.zero_shot)
    if evaluation.languages is not None:
        out.print(_languages(evaluation.languages))
    if evaluation.attributes is not None:
        _print_attributes(out, evaluation.attributes)
    shuffled = evaluation.shuffled
    out.print(f"R@1 with captions shuffled: {_share(shuffled.r_at_1)}; chance is {shuffled.chance:.2%}")


def _print_zero_shot(out: Console, shot: ZeroShot) -> None:
    out.print(
        f"zero-shot: top-1 {_share(shot.top_1)}, top-5 {_share(shot.top_5)} of {shot.images:,} images in "
        f"{shot.classes:,} classes, {shot.templates:,} templates (chance {shot.chance:.2%})"
    )
    calibration = shot.reliability
    out.print(
        f"expected calibration error: {calibration.ece:.1%} (a calibrated model's on so many images: "
        f"{calibration.calibrated_low:.1%} to {calibration.calibrated_high:.1%})"
    )
    table = _table(None, ("confidence", "images", "mean", "right"))
    for interval in calibration.bins:
        if interval.predictions:
            table.add_row(
                f"{interval.above:.0%} to {interval.up_to:.0%}",
                f"{interval.predictions:,}",
                f"{interval.confidence:.1%}",
                f"{interval.accuracy:.1%}",
            )
    out.print(table)
    if shot.described is not None:
        _print_described(out, shot.described)


def _print_described(out: Console, described: Described) -> None:
    out.print(
        f"{described.chosen} of {described.pool:,} descriptions without class names for each of the {described.likely} "
        f"most likely classes, chosen by {described.few:,} images and tried on {described.images:,} others: top-1 by "
        f"the prompts alone is {_share(described.prompts_alone)}"
    )
    table = _table(None, ("weight of the prompts", "descriptions chosen", "drawn at random"))
    for weighted in described.weights:
        table.add_row(f"{weighted.w_cls:g}", _share(weighted.top_1), _share(weighted.random))
    out.print(table)


def _languages(languages: dict[str, OfLanguage]) -> Table:
    table = _table(
        "By language, among its pairs alone",
        ("language", "pairs", "image to text R@1", "by chance", "text to image R@1", "by chance"),
    )
    for language, own in languages.items():
        directions = (own.retrieval.image_to_text, own.retrieval.text_to_image)
        shares = [cell for direction in directions for cell in (_share(direction.r_at_1), f"{direction.chance:.2%}")]
        table.add_row(escape(language), f"{own.pairs:,}", *shares)
    return table


def _print_attributes(out: Console, wrong: OneWrong) -> None:
    if wrong.replaced is None:
        out.print("one attribute replaced: no caption has a word of these kinds")
    else:
        out.print(
            f"one attribute replaced: the true caption is preferred in {_share(wrong.replaced.right)} of "
            f"{wrong.replaced.captions:,} captions (chance {wrong.replaced.chance:.2%})"
        )
        table = _table(None, ("one of", "captions", "true one preferred"))
        for kind in wrong.replaced.kinds:
            table.add_row(escape(", ".join(kind.words)), f"{kind.captions:,}", _share(kind.right))
        out.print(table)
    if wrong.counterparts is None:
        out.print("counterparts: no two captions differ in one such word alone")
    else:
        couples = wrong.counterparts
        out.print(
            f"{couples.couples:,} couples of counterparts: text score {_share(couples.text)}, image "
            f"{_share(couples.image)} (chance {couples.chance:.2%}), group {_share(couples.group)} (chance "
            f"{couples.group_chance:.2%})"
        )


def _table(title: str | None, columns: Sequence[str]) -> Table:
    """Return a table whose first column is names."""
    table = Table(title=title, title_justify="left")
    for place, name in enumerate(columns):
        table.add_column(name, justify="right" if place else "left", no_wrap=bool(place))
    return table


def _share(estimate: BootstrapEstimate) -> str:
    return f"{estimate.value:.1%} ({estimate.low:.1%} to {estimate.high:.1%})"


def _rank(estimate: BootstrapEstimate) -> str:
    return f"{estimate.value:,.1f} ({estimate.low:,.1f} to {estimate.high:,.1f})"


_FIGURES: dict[str, Callable[[Direction], str]] = {
    "queries": lambda direction: f"{direction.queries:,}",
    "among": lambda direction: f"{direction.gallery:,}",
    "R@1": lambda direction: _share(direction.r_at_1),
    "R@5": lambda direction: _share(direction.r_at_5),
    "R@10": lambda direction: _share(direction.r_at_10),
    "median rank": lambda direction: _rank(direction.median_rank),
    "R@1 by chance": lambda direction: f"{direction.chance:.2%}",
}
