"""The pages of the docs as tests see them: their fenced blocks, and how a page's commands are run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from align_data.cli import main

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted(DOCS.rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]
_FENCE = re.compile(r"^( *)(?:```|~~~|:::)(\S.*)?$")
_NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
_AFTER = re.compile(r"^<!-- run after: (\S+) -->$", re.MULTILINE)
_FILE = re.compile(r"# ([\w.-]+\.\w+)\n")
RUN = ("console", "python")
SHOWN = ("yaml", "text")
"""Languages of blocks that are never run; one that begins with `# NAME.EXT` is written as that file."""
DIRECTIVES = ("{toctree}", "{include}", "{eval-rst}")
PATIENCE = 90
"""Seconds after which a port is taken for never free."""


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
    parsed: list[Block] = []
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), 1))
    above = ""
    for number, line in lines:
        if fence := _FENCE.match(line):
            indent = len(fence[1])
            body = [inner[indent:] for _, inner in _until_closed(lines)]
            reason = _NOT_RUN.fullmatch(above.strip())
            parsed.append(Block(fence[2] or "", "\n".join(body) + "\n", number, reason[1] if reason else None))
        above = line or above
    return parsed


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
            if block.language in SHOWN and (file := file_of(block)):
                Path(file).write_text(block.text, encoding="utf-8")
            elif block.language == "python":
                exec(compile(block.text, where, "exec"), namespace)
            elif block.language == "console":
                for command, expected in commands(block):
                    _check(f"{where}: {command}", _printed(shlex.split(command), servers), expected)


def file_of(block: Block) -> str | None:
    """Return the file that a block is written as, if it names one."""
    match = _FILE.match(block.text)
    return match[1] if match else None


def commands(block: Block) -> list[tuple[str, list[str]]]:
    """Return the commands of a console block, each with the lines shown below it."""
    parsed: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            parsed.append((line[2:], []))
        elif line.strip():
            parsed[-1][1].append(line.strip())
    return parsed


def _printed(words: list[str], servers: ExitStack) -> str:
    tool, *arguments = words
    if arguments[-1:] == ["&"]:
        assert tool == "python"
        servers.enter_context(_served(arguments[:-1]))
        return ""
    if tool == "python":
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout
    assert tool == "align-data", f"{tool} is not a tool that pages run"
    result = CliRunner().invoke(main, arguments, prog_name="align-data", catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@contextmanager
def _served(arguments: list[str]) -> Iterator[None]:
    """Run a server until the page ends. Its port is in the page's URLs, so another user of it is waited for."""
    deadline = time.monotonic() + PATIENCE
    line = ""
    while "serving" not in line:
        server = subprocess.Popen(
            [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        line = server.stdout.readline()
        if "serving" not in line:
            error = server.communicate()[1]
            assert "Address already in use" in error, error
            assert time.monotonic() < deadline, "the port stays in use"
            time.sleep(0.5)
    try:
        yield
    finally:
        server.kill()
        server.communicate()


def _pattern(line: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, line.split("..."))))


def _check(where: str, printed: str, expected: list[str]) -> None:
    """Find the shown lines among the printed ones, in their order; `...` in one stands for anything."""
    remaining = iter(line.strip() for line in printed.splitlines())
    missing = [line for line in expected if not any(_pattern(line).fullmatch(candidate) for candidate in remaining)]
    assert not missing, f"{where}\nprinted\n{printed}"
