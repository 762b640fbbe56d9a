"""align-data export."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, Literal

import click

from align_data.cli.lines import counted
from align_data.cli.options import (
    F,
    dataset_argument,
    former_names,
    json_option,
    ledger_option,
    names,
    note,
    print_json,
    progress,
    resource_options,
    resources,
    tell,
    together,
    typed_options,
)
from align_data.common.errors import DatasetError
from align_data.decoding.render import RESAMPLING
from align_data.exports.formats import FORMATS, described
from align_data.exports.shard_names import DEFAULT, ShardNames
from align_data.stages.export import SHARD, Exported, Form, How, Split, export
from align_data.stages.session import session
from align_data.storage.store import Store


def splits(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[Split, ...]:
    """Read NAME=SHARE."""
    parsed = []
    for value in values:
        name, _, share = value.partition("=")
        valid = re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) and re.fullmatch(r"0?\.\d+", share) and name != "train"
        if not valid or float(share) == 0:
            raise click.BadParameter(f"{value!r} is not a split; write it as val=0.01 (the rest is train)", ctx, param)
        parsed.append(Split(name, float(share)))
    if sum(split.share for split in parsed) >= 1 or len({split.name for split in parsed}) < len(parsed):
        raise click.BadParameter("splits need distinct names, and shares that add up to less than 1", ctx, param)
    return tuple(parsed)


def shard_names(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Refuse a pattern that names no shards."""
    try:
        ShardNames.of(value, (), next((ending for ending in (".tar", ".parquet") if value.endswith(ending)), ""))
    except DatasetError as error:
        raise click.BadParameter(str(error), ctx, param) from None
    return value


shard_options = together(
    click.option(
        "--size", type=click.IntRange(1, 16_384), default=256, show_default=True, help="Target size in pixels."
    ),
    click.option(
        "--resize",
        type=click.Choice(["keep", "shortest", "crop"]),
        default="keep",
        show_default=True,
        help="shortest: shrink the shorter side to --size. crop: cut a square of --size from the centre.",
    ),
    click.option(
        "--resample",
        type=click.Choice(list(RESAMPLING)),
        default="bicubic",
        show_default=True,
        help="What shrinks images. bicubic: as CLIP's preprocessing. area: as img2dataset, softer and faster.",
    ),
    click.option(
        "--encode",
        type=click.Choice(["jpeg", "webp", "keep"]),
        default="jpeg",
        show_default=True,
        help="The type of all images; what has it already is not encoded again. keep: each stays the type that it is, "
        "which some readers of tars cannot read.",
    ),
    click.option(
        "--quality",
        type=click.IntRange(1, 100),
        default=95,
        show_default=True,
        help="Quality of what is encoded again.",
    ),
    click.option("--shard-size", type=click.IntRange(1), default=SHARD, show_default=True, help="Pairs per shard."),
    click.option(
        "--split",
        "splits",
        multiple=True,
        metavar="NAME=SHARE",
        callback=splits,
        help="Put this share of the images, chosen by hash, into shards of this name; the rest goes to train.",
    ),
    click.option(
        "--shard-names",
        default=DEFAULT,
        show_default=True,
        metavar="PATTERN",
        callback=shard_names,
        help="What shards are called, by split, number and count: {:08d} as DataComp does, {split}/{:05d} for a folder "
        "a split. The default is what Hugging Face's libraries look for.",
    ),
    click.option(
        "--license", metavar="NAME", default="", help="The licence of the set, for its card, such as cc-by-4.0."
    ),
    click.option(
        "--strip-credentials",
        is_flag=True,
        help="Remove user:password@ and signing parameters (X-Amz-Signature, sig, token, ...) from the exported URLs. "
        "They may then differ from the dataset's, so join by uid: uids stay the same.",
    ),
)
"""Options that say how shards are made."""


def format_option(*formats: str) -> Callable[[F], F]:
    """Return the option that chooses among these formats."""
    return click.option(
        "--format", "form", type=click.Choice(formats), default="webdataset", show_default=True, help=described(formats)
    )


@click.command("export", short_help="Write the kept pairs: shards with images, metadata, or uids.")
@dataset_argument
@ledger_option
@click.option("--out", required=True, metavar="FOLDER", help="New or empty folder, or fsspec URL.")
@format_option(*FORMATS)
@shard_options
@click.option(
    "--dry-run", is_flag=True, help="Report how many pairs, shards and bytes would be written; write nothing."
)
@click.option(
    "--uid",
    type=click.Choice(["align-data", "source"]),
    default="align-data",
    show_default=True,
    help="For --format uids: align-data's uids, or the ids of the input.",
)
@click.option(
    "--pending",
    type=click.Choice(["drop"]),
    help="Leave out pairs for which a rule is unknown, and those without a usable image.",
)
@click.option("--without", multiple=True, metavar="RULE[,RULE...]", callback=names, help="Ignore these rules.")
@resource_options
@json_option
def command(
    dataset: str, ledger: str, out: str, pending: str | None, without: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Write the kept pairs of a ledger: shards with their images, their metadata, or their uids.

    While pairs are pending because a signal is not measured, nothing is exported: measure it, or give --pending drop or
    --without RULE. Images are turned upright and lose their EXIF; if nothing has to change, the bytes stay as fetched.

    \b
    Examples:
      align-data export laion --recipe align --out shards --size 256 --resize shortest --split val=0.01
      align-data export laion --recipe align-text --format metadata --out kept
      align-data export commonpool --recipe datacomp-basic --format uids --uid source --out subset
    """
    _check_uids(options["form"])
    former_names(without)
    chosen = form_of(options)
    form = replace(chosen, source_uid=options.pop("uid") == "source", dry_run=options.pop("dry_run"))
    with session(dataset, resources(options), progress(), reads=True) as (opened, engine, steps):
        target = Store(out, options.get("work"))
        result = export(opened, ledger, target, form, engine, steps, without=without, drop_pending=pending == "drop")
    if as_json:
        print_json(asdict(result))
        return
    print_exported(result, form, out)
    if not form.dry_run:
        note(f"next: align-data verify {shlex.quote(out)}")


def _how(encode: str, resize: Any, size: int, quality: int, resample: Any) -> How:
    """Return how images are exported; what is kept and cannot stay becomes JPEG."""
    encoder: Literal["webp", "jpeg"] = "webp" if encode == "webp" else "jpeg"
    return How(resize, size, quality, encoder, resample, one_type=encode != "keep")


def form_of(options: dict[str, Any]) -> Form:
    """Take the options on shards out of a command's; one that would have no effect is refused."""
    _check(options["form"])
    return Form(
        format=options.pop("form"),
        how=_how(options.pop("encode"), *(options.pop(name) for name in ("resize", "size", "quality", "resample"))),
        shard_size=options.pop("shard_size"),
        splits=options.pop("splits"),
        shard_names=options.pop("shard_names"),
        license=options.pop("license"),
        strip_credentials=options.pop("strip_credentials"),
    )


def _check(form: str) -> None:
    """Refuse options that would have no effect: a user who gives one relies on it."""
    if not FORMATS[form].images and (
        idle := typed_options("size", "resize", "resample", "quality", "encode", "shard_size", "splits")
    ):
        raise click.UsageError(f"{idle[0]} applies to shards with images, which --format {form} does not write")
    if click.get_current_context().params["resize"] == "keep" and (idle := typed_options("size", "resample")):
        raise click.UsageError(f"{idle[0]} needs --resize shortest or crop; otherwise images keep their size")


def _check_uids(form: str) -> None:
    """Refuse options that only exports of uids have, or do not have."""
    if form == "uids" and typed_options("strip_credentials"):
        raise click.UsageError("--strip-credentials applies to URLs, which --format uids does not write")
    if form == "uids" and (idle := typed_options("shard_names", "license")):
        raise click.UsageError(f"{idle[0]} applies to shards and their card, which --format uids does not write")
    if form != "uids" and typed_options("uid"):
        raise click.UsageError(f"--uid applies to --format uids, not {form}")


def print_exported(result: Exported, form: Form, out: str) -> None:
    """Say what was written, or would be, and what was left out."""
    sentence = f"{counted(result.pairs, 'pairs')} in {counted(len(result.files), 'files')} in {out}"
    if form.dry_run:
        sentence = f"would write {counted(result.pairs, 'pairs')}, {counted(len(result.files), 'files')}"
        sentence += f", {result.bytes:,} bytes as fetched" if result.bytes else ""
    omitted = [f"{result.pending:,} pending ones left out"] if result.pending else []
    omitted += [f"{result.without_image:,} without a usable image left out"] if result.without_image else []
    tell("; ".join([sentence, *omitted]))
    if len(result.types) > 1:
        note(
            f"the images are of {len(result.types)} types ({', '.join(result.types)}): load_dataset(FOLDER) reads them "
            "all, load_dataset('webdataset') only one; export with --encode jpeg for any reader"
        )
