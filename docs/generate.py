"""Write the pages that follow from the code, and schemas/recipe.schema.json.

`make docs` runs it; with --check, as in `make docs-check`, it writes nothing and fails where a file is old.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import click

import align_data
from align_data.cli import COMMANDS, main
from align_data.common import errors
from align_data.data.layout import contracts
from align_data.decoding.inspected import STATUSES as LOOKING
from align_data.fetching.outcome import STATUSES as FETCHING
from align_data.fetching.outcome import retryable
from align_data.recipes.model import Recipe
from align_data.recipes.needs import NEEDS, hardest, words
from align_data.recipes.operators import OPERATORS
from align_data.recipes.reading import builtin, load
from align_data.recipes.schema import json_schema
from align_data.signals import SHOWN, SIGNALS
from align_data.sources.crawl.reasons import DAMAGED, REFUSED, SKIPPED

EVERYWHERE = (
    "Every command that reports has `--json`, on standard output.",
    "Exit codes: 0 done, 1 failed with a sentence that says what to do, 2 wrong options, 130 stopped by Ctrl-C.",
    "Results go to standard output, everything else to standard error; results that cannot be written are a 1.",
    "",
    "`--memory` takes a number and a unit, KB, MB, GB or TB (also KiB and so on), each 1,024 of the one before.",
    "",
    'Shells complete commands and options: `eval "$(_ALIGN_DATA_COMPLETE=bash_source align-data)"` in `~/.bashrc`,',
    "`zsh_source` in place of `bash_source` in `~/.zshrc`, and for fish",
    "`_ALIGN_DATA_COMPLETE=fish_source align-data | source` in `~/.config/fish/config.fish`.",
)
ROOT = Path(__file__).resolve().parent.parent


def cli() -> str:
    """Return the reference of the command line: every command's help, as it prints it."""
    context = click.Context(main, info_name="align-data", terminal_width=100, help_option_names=["-h", "--help"])
    commands = {name: main.get_command(context, name) for name in COMMANDS}
    lines = ["# The command line", "", "Made by `make docs` from the commands' own help.", "", *EVERYWHERE, ""]
    short = [
        (f"[`{name}`](#align-data-{name})", command.get_short_help_str(200))
        for name, command in commands.items()
        if command
    ]
    lines += [*table(["command", "what it does"], short), ""]
    for name, command in commands.items():
        assert command is not None
        command._help_option = None  # click keeps it as it was first asked for, perhaps by a command without a parent
        inner = click.Context(command, info_name=name, parent=context)
        lines += [f"## align-data {name}", "", "```text", command.get_help(inner), "```", ""]
    return "\n".join(lines)


def signals() -> str:
    """Return the reference of the signals, and of the statuses of an image."""
    rows = []
    for signal in [*SIGNALS.values(), *SHOWN]:
        none = f" Without one: {signal.none}, shown as none." if signal.none is not None else ""
        rows.append((f"`{signal.name}`", signal.kind, signal.type, signal.unit, f"{signal.about}{none}", signal.source))
    lines = [
        "# Signals",
        "",
        "Made by `make docs` from the definitions in `align_data/signals/`. A signal's name is its column, its key in",
        "a recipe and its name everywhere else. Null means that it is not measured for a pair, and nothing else.",
        "",
        *table(["signal", "kind", "type", "unit", "definition", "source"], rows),
        "",
    ]
    for title, statuses in (("fetching (`images`)", FETCHING), ("looking into the bytes (`content`)", LOOKING)):
        again = {status: "yes" if statuses is FETCHING and retryable(status) else "no" for status in statuses}
        lines += [
            f"## Statuses of {title}",
            "",
            *table(
                ["status", "meaning", "asked again"],
                ((f"`{status}`", meaning, again[status]) for status, meaning in statuses.items()),
            ),
            "",
        ]
    return "\n".join(lines)


def tables() -> str:
    """Return the reference of the tables: every contract."""
    lines = [
        "# Tables",
        "",
        "Made by `make docs` from the contracts that tables are checked against. A table is a folder of Parquet",
        "files; [what a dataset is](dataset.md) says how they lie together.",
        "",
    ]
    for contract in contracts():
        rows = ((f"`{c.name}`", c.type, "yes" if c.nullable else "no", c.about) for c in contract.columns)
        lines += [f"## {contract.table}", "", contract.about, ""]
        lines += [*table(["column", "type", "null", "meaning"], rows), ""]
    return "\n".join(lines)


def recipes() -> str:
    """Return the reference of operators, and of the recipes that come with the package: every rule with its source."""
    tests = (
        (f"`{operator.name}`", f"`{operator.signal}`" if operator.signal else "", operator.about)
        for operator in OPERATORS.values()
    )
    lines = [
        "# Recipes",
        "",
        "Made by `make docs` from the files in `filters/`. A threshold that no source states is `chosen`, or",
        "`unspecified`: then who uses the recipe has to set it.",
        "[Write a recipe](../how-to/recipes.md) says how to make one of your own.",
        "",
        "## Operators",
        "",
        *table(["operator", "only of", "meaning"], tests),
        "",
    ]
    loaded = [load(name) for name in builtin()]
    ordered = sorted(loaded, key=lambda recipe: NEEDS.index(hardest(recipe)))
    overview = ((f"[`{r.name}`](#{r.name})", r.title, str(len(r.rules)), words(r), _open(r)) for r in ordered)
    lines += ["## Recipes by what they need", "", *table(["recipe", "title", "rules", "needs", "thresholds"], overview)]
    lines += [""]
    for recipe in loaded:
        lines += _recipe(recipe)
    return "\n".join(lines)


def _open(recipe: Recipe) -> str:
    chosen, unset = sum(rule.chosen for rule in recipe.rules), sum(rule.unspecified for rule in recipe.rules)
    parts = [f"{number} {word}" for number, word in ((chosen, "chosen"), (unset, "unspecified")) if number]
    return ", ".join(parts) or "all published"


def _recipe(recipe: Recipe) -> list[str]:
    scores = (
        (f"`{name}`", score.words(), score.source, score.note or "") for name, score in (recipe.scores or {}).items()
    )
    rules = ((f"`{rule.name}`", rule.sentence(), rule.source, rule.note or "") for rule in recipe.rules)
    return [
        f"## {recipe.name}",
        "",
        *(line for text in (recipe.title, recipe.paper, recipe.note) if text for line in (_cell(text), "")),
        *([*table(["score", "is", "source", "note"], scores), ""] if recipe.scores else []),
        *table(["rule", "passes if", "source", "note"], rules),
        "",
    ]


def crawl() -> str:
    """Return the reference of what a crawl's account counts: every reason."""
    lines = [
        "# Reasons of a crawl's account",
        "",
        "Made by `make docs` from `align_data/sources/crawl/reasons.py`. A record is a page, skipped or damaged; an",
        "image is a row, refused, or repeated on its page. [What a pair is](../explanation/pairs.md) says what is",
        "asked of them.",
        "",
    ]
    for title, reasons in (("Damaged records", DAMAGED), ("Skipped records", SKIPPED), ("Refused images", REFUSED)):
        rows = ((f"`{reason}`", about) for reason, about in reasons.items())
        lines += [f"## {title}", "", *table(["reason", "meaning"], rows), ""]
    return "\n".join(lines)


def python() -> str:
    """Return the reference of the Python door: what `align_data.open` returns, and the errors."""
    opened = inspect.signature(align_data.open, eval_str=True).return_annotation
    audit = inspect.signature(opened.audit, eval_str=True).return_annotation
    raised = sorted(
        (kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, errors.AlignDataError)),
        key=lambda kind: (kind is not errors.AlignDataError, kind.__name__),
    )
    lines = [
        "# Python",
        "",
        "Made by `make docs` from the code. [Work in a notebook](../how-to/notebooks.md) shows it at work.",
        "",
        "```{eval-rst}",
        ".. autofunction:: align_data.open",
        "",
    ]
    request = inspect.signature(opened.sweep, eval_str=True).parameters["request"].annotation
    for shown in (opened, audit, request):
        lines += [
            f".. autoclass:: {shown.__module__}.{shown.__name__}",
            "   :members:",
            "   :exclude-members: __init__",
            "",
        ]
    lines += ["```", "", "## Errors", "", "Every error that a user can cause or mend is an `AlignDataError`.", ""]
    lines += ["```{eval-rst}"]
    for kind in raised:
        lines += [f".. autoexception:: {kind.__module__}.{kind.__name__}", ""]
    return "\n".join([*lines[:-1], "```", ""])


def table(titles: list[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [titles, ["---"] * len(titles), *(map(_cell, row) for row in rows)]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _cell(text: str) -> str:
    return " ".join(text.replace("|", r"\|").split())


def generated() -> dict[Path, str]:
    """Return every generated file's path and content."""
    return {
        ROOT / "docs" / "cli.md": cli(),
        ROOT / "docs" / "signals.md": signals(),
        ROOT / "docs" / "reference" / "tables.md": tables(),
        ROOT / "docs" / "reference" / "recipes.md": recipes(),
        ROOT / "docs" / "reference" / "python.md": python(),
        ROOT / "docs" / "reference" / "crawl.md": crawl(),
        ROOT / "schemas" / "recipe.schema.json": json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n",
    }


def old() -> list[str]:
    """Return the names of the files that are not what the code says."""
    return [
        str(path.relative_to(ROOT))
        for path, content in generated().items()
        if not path.exists() or path.read_text(encoding="utf-8") != content
    ]


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        if names := old():
            sys.exit(f"old, and written anew by make docs: {', '.join(names)}")
    else:
        for path, content in generated().items():
            path.write_text(content, encoding="utf-8")
