"""The docs fail with the code: what is generated, what must be documented, where links lead, how long README is."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from docs_pages import DOCS, PAGES, ROOT

from align_data import __version__
from align_data.cli import COMMANDS, main
from align_data.data.layout import contracts
from align_data.recipes.needs import NEEDS, hardest
from align_data.recipes.operators import OPERATORS
from align_data.recipes.reading import builtin, load
from align_data.signals import SIGNALS
from align_data.sources.lists import FORMATS

README = (ROOT / "README.md").read_text(encoding="utf-8")
MOST_WORDS = 700


def text(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_generated_files_are_what_make_docs_writes() -> None:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert len(module.generated()) == 7
    for path, content in module.generated().items():
        assert path.read_text(encoding="utf-8") == content, f"{path.name} is old: make docs"
    assert module.old() == []


def test_every_command_signal_operator_recipe_format_and_table_is_documented() -> None:
    cli, signals, recipes, tables = map(text, ("cli.md", "signals.md", "reference/recipes.md", "reference/tables.md"))
    guides = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "tutorial.md", *DOCS.glob("how-to/*.md")))
    for name in COMMANDS:
        assert f"## align-data {name}\n" in cli
        assert f"align-data {name}" in guides
    for name, signal in SIGNALS.items():
        assert f"| `{name}` |" in signals
        assert signal.about.endswith(".")
        assert signal.source
        assert signal.unit
    for operator in OPERATORS:
        assert f"| `{operator}` |" in recipes
        assert f"`{operator}`" in text("how-to/recipes.md")
    for recipe in builtin():
        assert f"## {recipe}\n" in recipes
        assert f"`{recipe}`" in text("how-to/recipes.md")
    for input_format in FORMATS.values():
        assert input_format.title in text("how-to/own-list.md")
    for contract in contracts():
        assert f"## {contract.table}\n" in tables


def test_the_changelog_knows_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{__version__}]" in changelog
    assert "## [Unreleased]" in changelog


def test_readme_is_short() -> None:
    assert len(README.split()) <= MOST_WORDS


def test_the_guide_lists_recipes_by_what_they_need() -> None:
    rows = re.findall(r"^\| (?:the )?([a-z ]+) \| (`.*`) \|$", text("how-to/recipes.md"), re.MULTILINE)
    by_need = {need: re.findall("`([^`]+)`", names) for need, names in rows if need in NEEDS}
    assert by_need == {need: [name for name in builtin() if hardest(load(name)) == need] for need in NEEDS}


def test_readme_counts_the_recipes() -> None:
    assert f"[{len(builtin())} come along](docs/reference/recipes.md)" in README


def test_a_decision_has_its_context_and_what_follows() -> None:
    pages = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    assert len(pages) >= 15
    for number, page in enumerate(pages, 1):
        assert page.name.startswith(f"{number:04d}-")
        headings = re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences"], page.name


PATH = re.compile(r"(?<![\w/.-])((?:[a-z_-]+/)+[a-z_0-9-]+\.(?:py|yaml|md|json))\b")
NEW = {
    "align_data/exports/zipped.py",
    "align_data/signals/contrast.py",
    "align_data/sources/lists/orc.py",
    "align_data/train/objectives/soft_margin.py",
    "tests/test_orc.py",
}
"""Files that CONTRIBUTING's examples add."""


def test_files_that_the_docs_name_exist() -> None:
    named = set()
    for page in (*PAGES, ROOT / "Makefile"):
        if page.name != "LOG.md":  # a lab book is of its day
            named |= set(PATH.findall(page.read_text(encoding="utf-8")))
    roots = (ROOT, ROOT / "align_data")
    ours = {path for path in named if any((root / path.partition("/")[0]).is_dir() for root in roots)}
    assert len(ours) > 40
    assert named >= NEW  # a newcomer who has added them still passes
    assert {path for path in ours if not any((root / path).exists() for root in roots)} <= NEW


def test_links_in_the_docs_lead_somewhere() -> None:
    for page in [
        *PAGES,
        ROOT / "CHANGELOG.md",
        *(ROOT / "benchmarks").glob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
    ]:
        for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"


REAL = ROOT.parent / "shared" / "data" / "urls"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real lists are not in the repository, and not here")
def test_the_real_audit_in_the_docs_is_the_real_one(tmp_path: Path) -> None:
    (shown,) = re.findall(r"<!-- laion_10000 -->\n```text\n(.*?)```", text("how-to/own-list.md"), re.DOTALL)
    arguments = ["run", str(REAL / "laion_10000.parquet"), "--recipe", "align", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    printed = {line.strip() for line in result.stdout.splitlines()}
    assert [line for line in shown.splitlines() if line.strip() not in printed] == []
