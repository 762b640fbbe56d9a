"""The docs fail with the code: what is generated, what README shows, and what must be documented."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from align_data import __version__
from align_data.cli import COMMANDS
from align_data.recipes.operators import OPERATORS
from align_data.recipes.reading import builtin
from align_data.signals import SIGNALS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_generated_files_are_what_make_docs_writes() -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for path, content in module.generated().items():
        assert path.read_text(encoding="utf-8") == content, f"{path.name} is old: make docs"


def test_every_command_signal_operator_and_recipe_is_documented() -> None:
    cli, signals = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("cli.md", "signals.md"))
    for name in COMMANDS:
        assert f"## align-data {name}\n" in cli
        assert f"align-data {name}" in README
    for name, signal in SIGNALS.items():
        assert f"| `{name}` |" in signals
        assert signal.about.endswith(".")
        assert signal.source
        assert signal.unit
    for operator in OPERATORS:
        assert operator in README
    for recipe in builtin():
        assert f"`{recipe}`" in README


def test_the_changelog_knows_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{__version__}]" in changelog
    assert "## [Unreleased]" in changelog


def test_links_in_the_docs_lead_somewhere() -> None:
    for page in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "benchmarks").glob("*.md"),
    ]:
        for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"


def blocks() -> list[tuple[str, list[str]]]:
    """Return the commands of README's console blocks, each with the lines shown below it."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line.strip())
    return found


def test_readmes_commands_run_and_print_what_it_shows(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    recipes = dict(re.findall(r"```yaml\n# (\w+\.yaml)\n(.*?)```", README, re.DOTALL))
    assert {"mine.yaml", "best.yaml"} <= recipes.keys()
    for name, recipe in recipes.items():
        (tmp_path / name).write_text(recipe, encoding="utf-8")
    tools = {
        "python": [sys.executable],
        "align-data": [sys.executable, "-c", "from align_data.cli import main; main()"],
    }
    assert len(blocks()) > 8
    with ExitStack() as servers:
        _run_all(tools, tmp_path, servers)


def _run_all(tools: dict[str, list[str]], folder: Path, servers: ExitStack) -> None:
    for command, shown in blocks():
        name, *arguments = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', command)]
        if arguments[-1] == "&":
            line = [*tools[name], *arguments[:-1]]
            server = servers.enter_context(subprocess.Popen(line, cwd=folder, stdout=subprocess.PIPE, text=True))
            servers.callback(server.kill)
            assert server.stdout is not None
            assert "serving" in server.stdout.readline()
            continue
        done = subprocess.run([*tools[name], *arguments], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        printed = {line.strip() for line in done.stdout.splitlines()}
        missing = [line for line in shown if line and line not in printed]
        assert not missing, f"{command}\nprinted\n{done.stdout}"


REAL = ROOT.parent / "shared" / "data" / "urls"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real lists are not in the repository, and not here")
def test_the_real_audit_in_readme_is_the_real_one(tmp_path: Path) -> None:
    (shown,) = re.findall(r"<!-- laion_10000 -->\n```text\n(.*?)```", README, re.DOTALL)
    arguments = ["run", str(REAL / "laion_10000.parquet"), "--recipe", "align", "--out", str(tmp_path / "out")]
    code = "from align_data.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    printed = {line.strip() for line in done.stdout.splitlines()}
    assert [line for line in shown.splitlines() if line.strip() not in printed] == []
