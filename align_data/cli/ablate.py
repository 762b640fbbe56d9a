"""align-data ablate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from align_data.cli import render
from align_data.cli.evaluate import classes_of
from align_data.cli.model_options import extra, setting_options, settings_of
from align_data.cli.options import (
    dataset_argument,
    former_names,
    json_option,
    ledger_option,
    local_folder,
    names,
    note,
    print_json,
    progress,
)
from align_data.cli.pages import write_page
from align_data.cli.tables import console
from align_data.common.errors import AlignDataError, nearest
from align_data.engines.resources import Resources
from align_data.report import ablation_html, drawing
from align_data.stages.session import session
from align_data.train.labels import TEMPLATES
from align_data.train.settings import OBJECTIVES

PAGE = "ablation.html"
_ARMS = ("none", "recipe", "random")
KEEP = 0.3
"""As in DataComp's strongest baseline of one model, CLIP score (L/14 30 %), arXiv 2304.14108."""


def shares(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[float, ...]:
    """Read shares from 0 to 1, split at commas."""
    fractions = []
    for value in names(ctx, param, values):
        try:
            share = float(value)
        except ValueError:
            share = 0
        if not 0 < share <= 1:
            raise click.BadParameter(
                f"{value!r} is not a share between 0 and 1; write shares as 0.25,0.5,1", ctx, param
            )
        fractions.append(share)
    return tuple(fractions)


def objectives_of(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Read names of objectives, split at commas."""
    objectives = names(ctx, param, values)
    for name in objectives:
        if name not in OBJECTIVES:
            raise click.BadParameter(
                f"there is no objective {name}{nearest(name, OBJECTIVES)}; there are: {', '.join(OBJECTIVES)}",
                ctx,
                param,
            )
    return tuple(dict.fromkeys(objectives))


@click.command("ablate", short_help="Train the same model on different selections of pairs, to see which filter pays.")
@dataset_argument
@ledger_option
@click.option("--eval", "evaluation", required=True, metavar="SHARDS", help="Exported shards to evaluate on.")
@click.option(
    "--arms",
    multiple=True,
    metavar="ARM[,ARM...]",
    callback=names,
    help=(
        "Training sets to compare: none, recipe, random, oracle, without:RULE, only:RULE, ledger:NAME, "
        "fraction:SHARE; 'each' as RULE makes one arm per rule (default: none,recipe,random)."
    ),
)
@click.option(
    "--fractions",
    multiple=True,
    metavar="SHARE[,SHARE...]",
    callback=shares,
    help="Also train on random shares of none and of recipe.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    help="Runs per arm, with consecutive seeds from --seed.",
)
@click.option(
    "--objectives",
    multiple=True,
    metavar="NAME[,NAME...]",
    callback=objectives_of,
    help=f"Train every arm with each of these objectives: {', '.join(OBJECTIVES)}.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Rounds of training: from the second on, on what the model of the round before keeps of all pairs.",
)
@click.option(
    "--keep",
    type=click.FloatRange(0, 1, min_open=True),
    default=KEEP,
    show_default=True,
    help="Share of the pool, the most similar pairs, that a round keeps for the next.",
)
@click.option(
    "--truth",
    metavar="FILE",
    help="Pairs known to be good, for the arm oracle and for how much noise each model detects: Parquet or CSV.",
)
@click.option("--labels", metavar="FILE", help="Classes of the evaluation pairs, as align-data evaluate takes them.")
@click.option(
    "--classes", metavar="FILE", help="Classes for zero-shot classification, one per line; requires --labels."
)
@click.option("--templates", metavar="FILE", help=f"Prompts for each class, one a line; '{TEMPLATES[0]}' unless given.")
@click.option("--pending", type=click.Choice(["drop"]), help="Leave out pairs for which a rule of the arm is unknown.")
@click.option("--jobs", type=click.IntRange(1, 256), default=1, show_default=True, help="Models to train in parallel.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("ablation"), show_default=True,
    metavar="FOLDER", callback=local_folder, help="Local folder for the results; finished runs in it are reused.",
)  # fmt: skip
@setting_options
@json_option
def command(dataset: str, ledger: str, evaluation: str, out: Path, as_json: bool, **options: Any) -> None:
    """Train the same model on different selections of pairs, to see which filter pays.

    Each arm selects pairs by the ledger's verdicts; nothing is measured again. none: every pair whose image was fetched
    and can be decoded. recipe: the pairs that the ledger keeps. random: as many pairs as recipe, a new draw from none
    for each seed. without:RULE: all rules but one. only:RULE: one rule alone. ledger:NAME: the pairs that another
    ledger keeps. fraction:0.1: a tenth of recipe; fraction:0.1:none: a tenth of none. oracle: the pairs that --truth
    lists, by uid or by url and alt_text; in a file with a column kind, its captions.

    All arms see the same number of samples, and with --objectives each objective has the same pairs, seeds and samples;
    an option of one objective is for that one alone. --rounds trains, scores every pair by the model, keeps the most
    similar, and trains anew on these.

    Pairs of the evaluation set, by uid, URL or a copy of the image, are in no
    arm. Intervals are over seeds. Writes results.json to FOLDER and, with the extra report, ablation.html. Needs the
    extra train.

    \b
    Examples:
      align-data ablate laion --recipe align --eval shards-eval
      align-data ablate laion --recipe align --eval shards-eval --arms none,recipe,without:each --seeds 3 --jobs 4
      align-data ablate laion --recipe align --eval shards-eval --fractions 0.25,0.5,1
      align-data ablate laion --recipe align --eval shards-eval --arms recipe --objectives softmax,sigmoid
      align-data ablate laion --recipe align --eval shards-eval --arms none,recipe --rounds 3 --keep 0.3
    """
    from align_data.train.ablate import AblationRequest, ablate, trainer  # noqa: PLC0415
    from align_data.train.ablate.runs import Trainer  # noqa: PLC0415

    objectives = options.pop("objectives")
    if objectives and options["objective"] is not None:
        raise click.UsageError("--objectives lists every objective: leave --objective out")
    settings = settings_of(options, objectives)
    with extra():
        side = trainer.side(settings[0])
    former_names(arm.partition(":")[2] for arm in options["arms"])
    classes = classes_of((), *(options.pop(name) for name in ("labels", "classes", "templates")))
    picked = {name: options.pop(name) for name in ("fractions", "seeds", "truth", "rounds", "keep", "jobs")}
    design = AblationRequest(
        ledger, evaluation, options.pop("arms") or _ARMS, settings=settings, side=side, classes=classes,
        drop_pending=options.pop("pending") == "drop", **picked,
    )  # fmt: skip
    drawn = _drawn()
    work = Trainer(trainer.fit, trainer.judge, trainer.rate)
    with session(dataset, Resources(), progress(), reads=True) as (opened, engine, steps):
        results = ablate(opened, design, out, engine, steps, work)
    if drawn:
        write_page(str(out / PAGE), ablation_html(results))
    if as_json:
        print_json(results.to_json())
    else:
        render.ablation(console(), results)
    if len(results.failures) == len(results.runs):
        raise AlignDataError(f"every run failed; the first error: {results.failures[0].failure}")


def _drawn() -> bool:
    """Tell, before anything is trained, whether there will be a page."""
    try:
        drawing()
    except AlignDataError as error:
        note(f"{PAGE} will not be written: {error}")
        return False
    return True
