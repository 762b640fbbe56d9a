"""The command line: option parsing and messages, one module a command, loaded when it is called."""

from __future__ import annotations

import gc
import importlib
import tempfile
import traceback
from typing import Any

import click

from align_data import __version__
from align_data.cli import streams
from align_data.common.errors import AlignDataError, OutputError, encodable, nearest, printable
from align_data.common.secrets import mask

# What `align-data --help` shows, without loading the modules of the commands.
GROUPS = {
    "Build a dataset": {
        "run": "Ingest, measure, filter and audit in one go.",
        "build": "Go from lists to verified shards in one go.",
        "plan": "Forecast what a run will come to and cost, before it.",
        "crawl": "Read WARC and WAT archives of a web crawl into rows of images.",
        "ingest": "Read lists of image URLs and alt-texts into a dataset.",
        "add": "Add another batch of lists to a dataset.",
        "measure": "Measure the signals that can be measured and are not yet.",
        "filter": "Apply a recipe: decide every pair, and record why.",
        "fetch": "Fetch the images that pairs still need, politely and safely.",
        "export": "Write the kept pairs: shards with images, metadata, or uids.",
        "verify": "Check every file of an export against its manifest.",
    },
    "Understand the filters": {
        "audit": "Show what each rule of a recipe did.",
        "view": "Open a dataset in the browser: move thresholds, look at pairs, take them along.",
        "select": "Take pairs along: their uids as a list, or a ledger of their own.",
        "label": "Mark pairs by hand: keep, drop or unsure.",
        "why": "Explain one pair: its values, every rule's verdict, the reasons.",
        "sweep": "Count what other thresholds would keep, without measuring or filtering again.",
        "diff": "Compare two ledgers: which pairs differ, and by which rules.",
        "compare": "Compare two datasets, or two batches: pairs, images, link rot.",
        "recipes": "List the built-in recipes, or show one.",
        "signals": "List the signals, or show one.",
    },
    "Measure with models": {
        "model": "Add models by name, such as a detector; list or remove them.",
        "embed": "Store an embedding of each image, for scores and near-duplicates.",
        "score": "Score how well image and text match, or the image alone by a head.",
        "neighbours": "Find near-duplicates by embedding, or copies of evaluation images.",
        "calibrate": "Propose a threshold for near-duplicates by an encoder.",
    },
    "Keep pairs out": {
        "eval-index": "Hash or embed evaluation images, so that copies can be kept out.",
        "takedown": "Remove pairs from a dataset and its exports, permanently.",
    },
    "Train and evaluate models": {
        "train": "Train a small dual encoder on exported shards.",
        "evaluate": "Evaluate a model on the pairs of exported shards.",
        "search": "Search exported shards for the images or texts nearest to a query.",
        "ablate": "Train the same model on different selections of pairs, to see which filter pays.",
    },
}
COMMANDS = {name: about for group in GROUPS.values() for name, about in group.items()}


class _Commands(click.Group):
    """A group whose commands are modules of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        gc.disable()  # what is imported stays: to look through it for garbage costs a tenth of the start
        try:
            command = importlib.import_module(f"align_data.cli.{cmd_name.replace('-', '_')}").command
        finally:
            gc.enable()
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        for word in args:
            if not encodable(word):
                ctx.fail(f"an argument is not UTF-8: {word.encode('utf-8', 'backslashreplace').decode()}")
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            commands = ", ".join(COMMANDS)
            ctx.fail(f"there is no command {args[0]}{nearest(args[0], COMMANDS)}; the commands are: {commands}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        width = max(map(len, COMMANDS))
        for title, group in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), about) for name, about in group.items()])

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Parse the options; --help and --version print here, where invoke() hears of nothing."""
        try:
            streams.prepare()
            return super().make_context(*args, **extra)
        except (OutputError, OSError) as error:
            raise click.ClickException(_refused(error) if isinstance(error, OSError) else str(error)) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command; whatever a user can mend becomes one sentence here, and has no secret in it."""
        try:
            returned = super().invoke(ctx)
            streams.finish()
        except AlignDataError as error:
            raise click.ClickException(printable(str(error))) from error
        except OSError as error:
            raise click.ClickException(_refused(error)) from error
        except KeyboardInterrupt:
            click.echo("Stopped. Finished work is kept: run the same command again to continue.", err=True)
            ctx.exit(INTERRUPTED)
        except click.ClickException as error:
            error.message = mask(error.message)  # type: ignore[misc]  # final only to those who make no error
            raise
        except (click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            raise click.ClickException(_unforeseen(error)) from error
        return returned


INTERRUPTED = 130
"""The exit code after Ctrl-C: 128 and the signal's number, as shells have it."""


def _refused(error: OSError) -> str:
    """Say what the system refused: to write standard output, or what the error names."""
    unwritten = streams.unwritten(error)
    return mask(str(unwritten) if unwritten else f"{error.filename or 'the system'}: {error.strerror or error}")


def _unforeseen(error: Exception) -> str:
    """Keep the traceback for us, and return what the user should know."""
    with tempfile.NamedTemporaryFile("w", prefix="align-data-", suffix=".log", delete=False, encoding="utf-8") as log:
        log.write(mask("".join(traceback.format_exception(error))))
    message = mask(" ".join(str(error).split()))[:200]
    return (
        f"unforeseen, {type(error).__name__}: {message}; either a table of the dataset has been tampered with, or this "
        f"is our mistake: please report it with {log.name}"
    )


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="align-data")
def main() -> None:
    """Build image-text training sets from the web's alt-text, and explain every pair that is dropped.

    \b
    Start with a list of image URLs and alt-texts (`align-data ingest --help` names the formats):
      align-data run list.parquet --recipe align --out my-dataset
      align-data why my-dataset --recipe align --text "a text from the list"
    """
