"""Options that say how images are looked at, for the commands that do."""

from __future__ import annotations

from typing import Any

import click

from align_data.cli.options import Number, together
from align_data.common.errors import SignalError
from align_data.content.plan import CHUNK, Sight
from align_data.decoding.inspected import MAX_PIXELS, SECONDS
from align_data.decoding.nsfw import NsfwModel

SIGHT = ("nsfw_model", "nsfw_card", "only_open", "max_pixels", "image_seconds")
"""Their names."""
sight_options = together(
    click.option(
        "--nsfw-model", metavar="FILE|nudenet", help="Model for the signal nsfw: an ONNX classifier, or nudenet."
    ),
    click.option(
        "--nsfw-card", metavar="NAME|FILE", help="Card that describes the model: gantman, opennsfw or a YAML file."
    ),
    click.option(
        "--only-open",
        metavar="LEDGER",
        help="Measure the expensive signal nsfw only on pairs that this ledger does not drop.",
    ),
    click.option(
        "--max-pixels",
        type=click.IntRange(1),
        default=MAX_PIXELS,
        show_default=True,
        help="Images with more pixels are not decoded, and count as not decodable.",
    ),
    click.option(
        "--image-seconds",
        type=Number(0.1, 3600),
        default=SECONDS,
        show_default=True,
        help="Time limit for decoding one image, in seconds.",
    ),
)
"""Options that say how images are looked at."""


def sight_of(options: dict[str, Any], chunk: int = CHUNK) -> Sight:
    """Take these options out of a command's."""
    model, card = options.pop("nsfw_model"), options.pop("nsfw_card")
    if card is not None and model is None:
        raise SignalError("--nsfw-card describes --nsfw-model: give that too")
    choice = NsfwModel(model, card) if model is not None else None
    if choice is not None:
        choice.check()
    return Sight(
        nsfw=choice,
        only_open=options.pop("only_open"),
        max_pixels=options.pop("max_pixels"),
        seconds=options.pop("image_seconds"),
        chunk=chunk,
    )
