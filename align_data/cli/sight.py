"""Options that say how images are looked at, for the commands that do."""

from __future__ import annotations

from typing import Any

import click

from align_data.cli.options import Number, names, together
from align_data.common.bits import WIDTH
from align_data.common.errors import SignalError, nearest
from align_data.common.placed_models import NAME
from align_data.content.plan import CHUNK, Sight
from align_data.data.references import FEW_EVALUATION, NEAR_EVALUATION
from align_data.decoding.detectors.detector import Detector
from align_data.decoding.detectors.nsfw import NUDENET, NsfwModel
from align_data.decoding.inspected import MAX_PIXELS, SECONDS
from align_data.signals import SIGNALS
from align_data.signals.base import DETECTORS
from align_data.signals.copies import FARTHEST, WITHIN

SIGHT = ("nsfw_model", "nsfw_card", "detect", "only_open", "max_pixels", "image_seconds")
"""Their names."""
DETECT = ("texture", *DETECTORS)
sight_options = together(
    click.option(
        "--nsfw-model",
        metavar="NAME|FILE",
        help="Model for the signal nsfw: nudenet, the name of one that `align-data model` has, or an ONNX classifier.",
    ),
    click.option(
        "--nsfw-card", metavar="NAME|FILE", help="Card that describes the model: gantman, opennsfw or a YAML file."
    ),
    click.option(
        "--detect",
        multiple=True,
        metavar="CHECK[,CHECK...]",
        callback=names,
        help="Further checks, which cost more: texture, text, faces; the last two by models of `align-data model`.",
    ),
    click.option(
        "--only-open",
        metavar="LEDGER",
        help="Measure nsfw, text and faces only on pairs that this ledger does not drop.",
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

near_options = together(
    click.option(
        "--phash-within",
        type=click.IntRange(0, FARTHEST),
        metavar="BITS",
        help=f"Bits by which the pHashes of near-copies differ at most, 0 to {FARTHEST} (default: as measured before, "
        f"or {WITHIN}).",
    ),
    click.option(
        "--eval-within",
        type=click.IntRange(0, WIDTH),
        metavar="BITS",
        help="Bits up to which eval_distance is measured, and none beyond (default: as measured before, or all "
        f"{WIDTH}; of more than {FEW_EVALUATION:,} evaluation images {NEAR_EVALUATION}).",
    ),
)
"""Options that say how far images are compared with others."""


def sight_of(options: dict[str, Any], chunk: int = CHUNK) -> Sight:
    """Take these options out of a command's."""
    model, card = options.pop("nsfw_model"), options.pop("nsfw_card")
    if card is not None and model is None:
        raise SignalError("--nsfw-card describes --nsfw-model: give that too")
    choice = NsfwModel(_by_name(model), card) if model is not None else None
    if choice is not None:
        choice.check()
    detectors, texture = _detectors(options.pop("detect"))
    return Sight(
        nsfw=choice,
        detectors=detectors,
        texture=texture,
        only_open=options.pop("only_open"),
        max_pixels=options.pop("max_pixels"),
        seconds=options.pop("image_seconds"),
        chunk=chunk,
        within={**_within("copies", options, "phash_within"), **_within("image", options, "eval_within")},
    )


def _within(group: str, options: dict[str, Any], name: str) -> dict[str, int]:
    """Take out of a command's options how far the signals of a group look; nothing where nobody says it."""
    distance = options.pop(name, None)
    names = [signal.name for signal in SIGNALS.values() if signal.group == group and signal.within is not None]
    return {} if distance is None else dict.fromkeys(names, distance)


def _by_name(model: str) -> str:
    """Return the file of a model that is given by its name; anything else as it is."""
    if not NAME.fullmatch(model) or model == NUDENET:
        return model
    from align_data.models.named.available import added  # noqa: PLC0415 - for those who name one

    return str(added(model).folder / "model.onnx")


def _detectors(detect: tuple[str, ...]) -> tuple[tuple[Detector, ...], bool]:
    """Return the detectors that are chosen, each tried on an image, and whether texture is."""
    for name in detect:
        if name not in DETECT:
            raise SignalError(f"--detect takes {', '.join(DETECT)}, not {name}{nearest(name, DETECT)}")
    models = [name for name in DETECTORS if name in detect]
    if not models:
        return (), "texture" in detect
    from align_data.models.named.available import added  # noqa: PLC0415 - for those who choose one

    detectors = tuple(Detector(name, str(added(name).folder)) for name in models)
    for detector in detectors:
        detector.check()
    return detectors, "texture" in detect
