"""SECURITY.md: each promise has an id of its own, and names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
PROMISED = TEXT.partition("## What is promised")[2].partition("## What is not promised")[0]
PROMISES = {
    match[1]: match[2] for match in re.finditer(r"^- \*\*([A-Z]\d+)\*\* (.*?)(?=^- \*\*|^#|\Z)", PROMISED, re.M | re.S)
}


def test_every_promise_has_an_id_of_its_own() -> None:
    ids = re.findall(r"\*\*([A-Z]\d+)\*\*", PROMISED)
    assert len(ids) == len(set(ids)) == len(PROMISES) == len(re.findall(r"^- ", PROMISED, re.M))
    assert len(ids) >= 15


@pytest.mark.parametrize("promise", PROMISES)
def test_every_promise_is_held_by_tests_that_exist(promise: str) -> None:
    named = re.findall(r"`(tests/[a-z_0-9]+\.py)::(\w+)`", PROMISES[promise])
    assert named, "no test holds it"
    for file, name in named:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        there = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert name.startswith("test_")
        assert name in there, f"{file} has no {name}"


def test_how_to_report_is_said_and_no_address_is_made_up() -> None:
    assert "security advisory" in " ".join(TEXT.split())
    assert "@" not in TEXT.replace("user:password@", "")
