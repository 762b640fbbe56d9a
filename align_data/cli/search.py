"""align-data search."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from align_data.cli.model_options import device_option, load_model, lost, model_argument, shards_argument
from align_data.cli.options import Number, json_option, print_json, progress
from align_data.cli.pages import before_page, write_page
from align_data.cli.tables import console
from align_data.common.errors import InputError
from align_data.report import search_html
from align_data.train.search import Part, SearchResults, search
from align_data.train.shards import Shards
from align_data.train.stored_index import Kind


@click.command("search", short_help="Search exported shards for the images or texts nearest to a query.")
@model_argument
@shards_argument
@click.option("--text", "texts", multiple=True, metavar="TEXT", help="Text to search for.")
@click.option("--image", "images", multiple=True, metavar="FILE", help="Image to search for.")
@click.option("--minus-text", "minus_texts", multiple=True, metavar="TEXT", help="Text to subtract from the query.")
@click.option("--minus-image", "minus_images", multiple=True, metavar="FILE", help="Image to subtract from the query.")
@click.option(
    "--text-weight",
    type=Number(0, 1000, min_open=True),
    default=1.0,
    show_default=True,
    help="Weight of a text, relative to an image.",
)
@click.option(
    "--find", "kind", type=click.Choice(get_args(Kind)), default="images", show_default=True, help="What to search."
)
@click.option("--top", type=click.IntRange(1, 1000), default=20, show_default=True, help="Number of results.")
@click.option(
    "--index",
    metavar="FOLDER",
    help="Store the embeddings in this folder, or fsspec URL, and embed only the shards that are new to it.",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write a page with the pictures to this file, or fsspec URL.",
)
@device_option
@json_option
def command(
    model: str,
    shards: str,
    texts: tuple[str, ...],
    images: tuple[str, ...],
    minus_texts: tuple[str, ...],
    minus_images: tuple[str, ...],
    text_weight: float,
    kind: Kind,
    top: int,
    index: str | None,
    html: str | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Search exported shards for the images or texts nearest to a query of texts and images.

    MODEL is a folder that align-data train wrote, a checkpoint of transformers, or org/name@COMMIT of the Hugging
    Face hub; SHARDS is a folder that align-data export wrote, or a folder of WebDataset tars. The query is the sum
    of all texts and images, minus those of --minus-text and --minus-image, as vectors of unit length. The search is
    exact: all pairs are compared.

    With --index the embeddings are kept, and the next search by the same model embeds its query alone. Shards that
    changed or came are embedded anew, and what is stored of shards that are no more is removed: so each SHARDS takes
    a folder of its own, which may serve several models.

    \b
    Examples:
      align-data search model shards --text "a red circle" --html found.html
      align-data search model shards --image photo.jpg --text "in the snow" --top 50
      align-data search model shards --image photo.jpg --minus-text "a dog"
      align-data search model shards --image photo.jpg --find texts
      align-data search model shards --text "a red circle" --index index
    """
    if not texts and not images:
        raise click.UsageError("give a query: --text or --image")
    parts = [
        *(_image(file, 1.0) for file in images),
        *(_text(text, text_weight) for text in texts),
        *(_image(file, -1.0) for file in minus_images),
        *(_text(text, -text_weight) for text in minus_texts),
    ]
    if html is not None:
        before_page(html)
    opened = Shards.open(shards)
    results = search(
        load_model(model, device),
        opened,
        parts,
        progress(),
        kind=kind,
        top=top,
        index=index,
        pictures=html is not None,
    )
    if html is not None:
        write_page(html, search_html(results))
    if as_json:
        print_json(results.to_json())
    elif html is None:
        _print(console(), results)
    lost(results.undecodable, results.skipped)


def _text(text: str, weight: float) -> Part:
    if not text.strip():
        raise click.UsageError("a query text is empty")
    return Part("text", text, weight)


def _image(file: str, weight: float) -> Part:
    try:
        return Part("image", file, weight, Path(file).read_bytes())
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        raise InputError(f"cannot read the image {file}: {getattr(error, 'strerror', None) or error}") from error


def _print(out: Console, results: SearchResults) -> None:
    table = Table(title=f"The {results.kind} nearest to the query, of {results.pairs:,} pairs", title_justify="left")
    table.add_column("", justify="right")
    table.add_column("score", justify="right")
    table.add_column("alt_text", overflow="fold")
    table.add_column("uid", no_wrap=True)
    for rank, hit in enumerate(results.hits, 1):
        duplicates = f" (and {hit.pairs - 1:,} more)" if hit.pairs > 1 else ""
        table.add_row(
            f"{rank:,}", f"{hit.score:.3f}", escape(hit.alt_text[:200] or "(no text)") + duplicates, escape(hit.uid)
        )
    out.print(table)
