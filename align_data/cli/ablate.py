"""align-data ablate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from align_data.cli import render
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
from align_data.common.errors import AlignDataError
from align_data.engines.resources import Resources
from align_data.report import ablation_html, drawing
from align_data.stages.session import session

PAGE = "ablation.html"
_ARMS = ("none", "recipe", "random")


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
@click.option("--truth", metavar="FILE", help="Pairs known to be good, for the arm oracle: Parquet or CSV.")
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

    All arms see the same number of samples. Pairs of the evaluation set, by uid, URL or a copy of the image, are in no
    arm. Intervals are over seeds. Writes results.json to FOLDER and, with the extra report, ablation.html. Needs the
    extra train.

    \b
    Examples:
      align-data ablate laion --recipe align --eval shards-eval
      align-data ablate laion --recipe align --eval shards-eval --arms none,recipe,without:each --seeds 3 --jobs 4
      align-data ablate laion --recipe align --eval shards-eval --fractions 0.25,0.5,1
    """
    from align_data.train.ablate import AblationRequest, ablate, trainer  # noqa: PLC0415

    (settings,) = settings_of(options)
    with extra():
        side = trainer.side(settings)
    former_names(arm.partition(":")[2] for arm in options["arms"])
    picked = {name: options.pop(name) for name in ("fractions", "seeds", "truth", "jobs")}
    design = AblationRequest(
        ledger, evaluation, options.pop("arms") or _ARMS, settings=settings, side=side,
        drop_pending=options.pop("pending") == "drop", **picked,
    )  # fmt: skip
    drawn = _drawn()
    with session(dataset, Resources(), progress(), reads=True) as (opened, engine, steps):
        results = ablate(opened, design, out, engine, steps, fit=trainer.fit, judge=trainer.judge)
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
