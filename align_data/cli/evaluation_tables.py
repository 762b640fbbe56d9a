"""What `align-data evaluate` prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from align_data.train.attributes import OneWrong
from align_data.train.by_language import OfLanguage
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
    found = shot.reliability
    out.print(
        f"expected calibration error: {found.ece:.1%} (a calibrated model's on so many images: "
        f"{found.calibrated_low:.1%} to {found.calibrated_high:.1%})"
    )
    table = _table(None, ("confidence", "images", "mean", "right"))
    for each in found.bins:
        if each.predictions:
            table.add_row(
                f"{each.above:.0%} to {each.up_to:.0%}",
                f"{each.predictions:,}",
                f"{each.confidence:.1%}",
                f"{each.accuracy:.1%}",
            )
    out.print(table)


def _languages(languages: dict[str, OfLanguage]) -> Table:
    table = _table(
        "By language, among its pairs alone",
        ("language", "pairs", "image to text R@1", "by chance", "text to image R@1", "by chance"),
    )
    for language, own in languages.items():
        both = (own.retrieval.image_to_text, own.retrieval.text_to_image)
        shares = [cell for found in both for cell in (_share(found.r_at_1), f"{found.chance:.2%}")]
        table.add_row(escape(language), f"{own.pairs:,}", *shares)
    return table


def _print_attributes(out: Console, found: OneWrong) -> None:
    if found.replaced is None:
        out.print("one attribute replaced: no caption has a word of these kinds")
    else:
        out.print(
            f"one attribute replaced: the true caption is preferred in {_share(found.replaced.right)} of "
            f"{found.replaced.captions:,} captions (chance {found.replaced.chance:.2%})"
        )
    if found.counterparts is None:
        out.print("counterparts: no two captions differ in one such word alone")
    else:
        both = found.counterparts
        out.print(
            f"{both.couples:,} couples of counterparts: text score {_share(both.text)}, image {_share(both.image)} "
            f"(chance {both.chance:.2%}), group {_share(both.group)} (chance {both.group_chance:.2%})"
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
