"""align-data train."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from align_data.cli.model_options import device_option, extra, setting_options, settings_of, shards_argument
from align_data.cli.options import json_option, local_folder, note, print_json, progress, tell
from align_data.train.shards import Shards

if TYPE_CHECKING:
    from align_data.train.loop import Trained


@click.command("train", short_help="Train a small dual encoder on exported shards.")
@shards_argument
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    callback=local_folder,
    help="Folder for the model, on this machine: PyTorch's checkpoints are files.",
)
@setting_options
@click.option("--workers", type=click.IntRange(1, 1024), help="Decoding threads (default: one per processor, up to 8).")
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    help="PyTorch threads on a CPU (default: PyTorch's own; 1 for the model tiny).",
)
@device_option
@json_option
def command(shards: str, out: Path, as_json: bool, **options: Any) -> None:
    """Train a small dual encoder on the shards that `align-data export` wrote, as the ALIGN paper does.

    The same settings and shards give the same model on the same machine. To resume a stopped run from its last
    checkpoint, repeat the command. Under torchrun, the processes share each batch.

    \b
    Examples:
      align-data train shards --out model
      align-data train shards/train --out model --samples 200000 --batch 128 --seed 3
      torchrun --nproc-per-node 8 -m align_data train shards --out model --preset paper-ablation --batch 2048
    """
    (settings,) = settings_of(options)  # what is left of the options is how, not what
    with extra():
        from align_data.train.loop import train  # noqa: PLC0415 - PyTorch takes seconds to load
    trained = train(Shards.open(shards), out, settings, progress(), **options)
    if trained is None:  # the first process of torchrun speaks for all
        return
    if as_json:
        print_json(asdict(trained))
        return
    _say(trained)


def _say(trained: Trained) -> None:
    sane, learnt = trained.sanity, dict(trained.objective.get("learnt", {}))
    if trained.temperature is not None:
        learnt = {"temperature": trained.temperature, **learnt}
    tell(
        f"{trained.steps:,} steps of {trained.batch:,} pairs in {trained.seconds:,.0f} s "
        f"({trained.steps * trained.batch / trained.seconds:,.0f} pairs/s, {trained.waiting:.1%} of the time waiting "
        f"for data); {trained.parameters:,} weights"
        + ("" if trained.peak_memory is None else f", {trained.peak_memory / 2**30:.1f} GiB of memory at most")
    )
    tell(
        f"{trained.objective['name']}: loss from {trained.first_loss:.3f} to {trained.last_loss:.3f}"
        + "".join(f", {name} {value:.3f}" for name, value in learnt.items())
    )
    tell(
        f"R@1 of {sane.pairs:,} training pairs: {sane.recall:.1%}; with shuffled texts {sane.shuffled:.1%}, and "
        f"chance is {sane.chance:.1%}"
    )
    for name, why in trained.skipped.items():
        note(f"skipped the corrupt shard {name}: {why}")
    if trained.undecodable:
        note(f"{trained.undecodable:,} images could not be decoded; other pairs replaced them")
    note(f"next: align-data evaluate {shlex.quote(str(trained.model))} SHARDS")
