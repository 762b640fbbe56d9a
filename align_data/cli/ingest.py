"""align-data ingest."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from align_data.cli import render
from align_data.cli.list_options import list_options, reading
from align_data.cli.options import json_option, note, print_json, progress, resource_options, resources, tell, together
from align_data.data.html_texts import Rewriting
from align_data.sources import img2dataset
from align_data.sources.lists import Choice, Source, find, registry
from align_data.stages.ingest import PART_ROWS, Parts, example, ingest
from align_data.stages.session import session

if TYPE_CHECKING:
    from align_data.stages.adopt import Adopted


intake_options = together(
    list_options,
    click.option(
        "--decode-entities",
        is_flag=True,
        help="Replace character references of HTML that are left in texts, such as &amp; and &#39;, once.",
    ),
    click.option(
        "--strip-markup",
        is_flag=True,
        help="Remove tags of HTML and comments from texts, after decoding entities where both are wanted.",
    ),
    click.option("--part-rows", type=click.IntRange(1), default=PART_ROWS, hidden=True),
)
"""Options that say how inputs are read."""


def rewriting(options: dict[str, Any]) -> Rewriting:
    """Take what is done to texts out of a command's options."""
    return Rewriting(options.pop("decode_entities"), options.pop("strip_markup"))


@click.command("ingest", short_help="Read lists of image URLs and alt-texts into a dataset.")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--out", required=True, metavar="DATASET", help="The dataset's folder or fsspec URL.")
@click.option(
    "--from",
    "tool",
    type=click.Choice(["img2dataset"]),
    help=("INPUT is a folder of finished output of this tool (webdataset, parquet or files); take its images too."),
)
@intake_options
@resource_options
@json_option
def command(inputs: tuple[str, ...], out: str, tool: str | None, as_json: bool, **options: Any) -> None:
    """Read lists of image URLs and alt-texts into a dataset.

    INPUT is a file, a folder, a pattern such as 'lists/*.{parquet,csv}' or an fsspec URL; FORMATS. Columns are found
    by their usual names; a list without a header line, such as Conceptual Captions', is recognised by its values.

    In CSV, a quotation mark inside a quoted value is doubled or escaped by a backslash. A row that does neither is
    rejected; a value that spans lines which look like rows stops the ingest, and --multiline or --no-multiline decides.
    In TSV, quotation marks are ordinary characters.

    Every row becomes a pair, is merged with an equal pair, or is rejected with a reason. The command prints the account
    and writes rejected rows to DATASET/rejected. Repeating it with the same inputs does nothing.

    With --from img2dataset the images are imported too: what that tool fetched is stored in DATASET/images and
    DATASET/bytes as if by align-data fetch, and what failed is recorded with its reason, so that fetch retries only
    what can have changed. Only shards with a _stats.json are imported.

    \b
    Examples:
      align-data ingest cc3m.tsv --out cc3m
      align-data ingest 'laion/*.parquet' --url-col URL --text-col TEXT --out laion
      align-data ingest --from img2dataset cc3m-images --out cc3m
    """
    choice = Choice(options.pop("url_col"), options.pop("text_col"))
    parts, text, html = Parts(rows=options.pop("part_rows")), reading(options), rewriting(options)
    if tool is not None and choice.url is not None:
        raise click.UsageError("img2dataset names the URL column url: omit --url-col")
    shards: list[Source] = []
    if tool is not None:
        inputs, choice, shards = _shards(inputs, choice)
    adopted = None
    with session(out, resources(options), progress(), create=True) as (dataset, engine, steps):
        account = ingest(inputs, dataset, engine, steps, choice, parts, text, html)
        if tool is not None:
            from align_data.stages.adopt import adopt  # noqa: PLC0415 - what it knows of fetching others do not need

            adopted = adopt(shards, choice, dataset, engine, steps)
        rejected = example(dataset, account)
    if as_json:
        print_json(asdict(account) | ({} if adopted is None else {"images": asdict(adopted)}))
        return
    tell(render.account(account))
    if rejected is not None:
        note(render.rejected(out, account, rejected))
    if adopted is not None:
        tell(_images(adopted))
    note(f"next: align-data measure {shlex.quote(out)}")


command.help = (command.help or "").replace("FORMATS", registry.described())


def _shards(folders: tuple[str, ...], choice: Choice) -> tuple[tuple[str, ...], Choice, list[Source]]:
    """Return img2dataset's finished shards as inputs, which columns are what in them, and as files."""
    paths, notes = img2dataset.finished(folders)
    for sentence in notes:
        note(sentence)
    sources = find(paths)
    return tuple(paths), img2dataset.choice(sources[0], choice.alt_text), sources


def _images(adopted: Adopted) -> str:
    """Return what became of the images as a sentence."""
    ordered = sorted(adopted.statuses.items(), key=lambda item: (item[0] != "ok", -item[1]))
    return f"images: {', '.join(f'{number:,} {status}' for status, number in ordered) or 'none'}"
