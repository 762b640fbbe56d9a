"""Names say what they are: hardly a binding has a name without content, and no two classes share one."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "align_data"
WORDS = (
    "found some one ones made given what said told each every asked shown there here gone known good bad other others "
    "rest left done held kept wanted both first last more most few many way right wrong looked seen called"
)
CONTENTLESS = frozenset(WORDS.split())
MOST = 0.02  # of a room's bindings


def bindings(tree: ast.AST) -> Iterator[str]:
    """Every name that the code gives to something: variables, attributes, parameters, functions and classes."""
    for node in ast.walk(tree):
        match node:
            # Assignments, fields of a class, targets of for, with, := and comprehensions
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name):
                yield name
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name
            case ast.MatchMapping(rest=str(name)) | ast.alias(asname=str(name)):
                yield name
            case _:
                pass


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def rooms() -> dict[str, list[Path]]:
    parts: dict[str, list[Path]] = defaultdict(list)
    for path in modules():
        parts[path.relative_to(PACKAGE).parts[0]].append(path)
    return parts


def counted(paths: list[Path]) -> tuple[int, Counter[str]]:
    names = Counter[str]()
    for path in paths:
        names.update(name.strip("_") for name in bindings(ast.parse(path.read_text())))
    return names.total(), Counter({name: names[name] for name in CONTENTLESS & names.keys()})


def test_every_kind_of_binding_is_counted() -> None:
    code = """
import a as bad
from b import c as _ones
held: int = 0
found, (some, *last) = e()
self.known = few = 1
for one in f(): pass
with g() as here, h() as there: pass
try: pass
except E as wrong: pass
(told := 1)
[1 for gone in i()]
lambda asked: asked
match j:
    case {"k": other, **rest}: pass
    case [first, *more]: pass
    case str() as kept: pass
    case said: pass
def given(shown, /, left, *many, both=1, **most): pass
async def looked(): pass
class Seen:
    done: int
    way = 2
use(good, right=every, each=j.called)
"""
    bound = {name.strip("_").lower() for name in bindings(ast.parse(code))} & CONTENTLESS
    assert CONTENTLESS - bound == {"good", "right", "every", "each", "called", "made", "what", "wanted", "others"}


@pytest.mark.parametrize("room", sorted(rooms()))
def test_hardly_a_name_of_a_room_is_contentless(room: str) -> None:
    total, empty = counted(rooms()[room])
    assert empty.total() <= MOST * total, empty.most_common()


def test_hardly_a_name_of_the_package_is_contentless() -> None:
    total, empty = counted(modules())
    assert empty.total() <= MOST * total, empty.most_common()


def test_no_two_classes_share_a_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(PACKAGE)))
    shared = {name: paths for name, paths in places.items() if len(paths) > 1}
    assert not shared
