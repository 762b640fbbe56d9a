"""The pages of the docs as tests see them: their fenced blocks, and how a page's commands are run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from align_data.cli import main

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted(DOCS.rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]
_FENCE = re.compile(r"^( *)```(\S.*)?$")
_NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
_AFTER = re.compile(r"^<!-- run after: (\S+) -->$", re.MULTILINE)
_FILE = re.compile(r"# ([\w.-]+\.\w+)\n")
RUN = ("console", "python")
SHOWN = ("yaml", "text")
"""Languages of blocks that are never run; one that begins with `# NAME.EXT` is written as that file."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and why it is not run, if a comment before it says so."""

    language: str
    text: str
    line: int
    not_run: str | None


def name(page: Path) -> str:
    """Return a page's path from the root."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """Return a page's fenced blocks, in order."""
    found: list[Block] = []
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), 1))
    above = ""
    for number, line in lines:
        if (fence := _FENCE.match(line)) and fence[2]:
            indent = len(fence[1])
            body = [inner[indent:] for _, inner in _until_closed(lines)]
            reason = _NOT_RUN.fullmatch(above.strip())
            found.append(Block(fence[2], "\n".join(body) + "\n", number, reason[1] if reason else None))
        above = line or above
    return found


def _until_closed(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    for number, line in lines:
        if line.strip() == "```":
            return
        yield number, line


def after(page: Path) -> Path | None:
    """Return the page in whose folder this one goes on."""
    match = _AFTER.search(page.read_text(encoding="utf-8"))
    return DOCS / match[1] if match else None


def runs(page: Path) -> bool:
    """Tell whether a page has blocks that are run."""
    return any(block.language in RUN and block.not_run is None for block in blocks(page))


def run(page: Path, folder: Path) -> None:
    """Run a page's blocks in a folder, in order; each command must succeed and print the lines shown below it."""
    if not (folder / "examples").exists():
        shutil.copytree(ROOT / "examples", folder / "examples")
    namespace: dict[str, Any] = {}
    with chdir(folder), ExitStack() as servers:
        for block in blocks(page):
            where = f"{name(page)}:{block.line}"
            if block.not_run is not None:
                continue
            if block.language in SHOWN and (file := _FILE.match(block.text)):
                Path(file[1]).write_text(block.text, encoding="utf-8")
            elif block.language == "python":
                exec(compile(block.text, where, "exec"), namespace)
            elif block.language == "console":
                for command, shown in commands(block):
                    _check(f"{where}: {command}", _printed(shlex.split(command), servers), shown)


def commands(block: Block) -> list[tuple[str, list[str]]]:
    """Return the commands of a console block, each with the lines shown below it."""
    found: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line.strip():
            found[-1][1].append(line.strip())
    return found


def _printed(words: list[str], servers: ExitStack) -> str:
    tool, *arguments = words
    if arguments[-1:] == ["&"]:
        assert tool == "python"
        server = servers.enter_context(
            subprocess.Popen([sys.executable, *arguments[:-1]], stdout=subprocess.PIPE, text=True)
        )
        servers.callback(server.kill)
        assert server.stdout is not None
        assert "serving" in server.stdout.readline()
        return ""
    if tool == "python":
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout
    assert tool == "align-data", f"{tool} is not a tool that pages run"
    result = CliRunner().invoke(main, arguments, prog_name="align-data", catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def _check(where: str, printed: str, shown: list[str]) -> None:
    """Find the shown lines among the printed ones, in their order."""
    remaining = iter(line.strip() for line in printed.splitlines())
    missing = [line for line in shown if line not in remaining]
    assert not missing, f"{where}\nprinted\n{printed}"
