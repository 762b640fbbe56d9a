"""Damage: a file of a dataset or an export is damaged, and a command that reads it runs.

Nothing may be told wrong: the command says that and where something is wrong, or all that it says and writes is as if
nothing were.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from torture.commands import READERS, STAGES, WHOLE, Command, but_models
from torture.damages import DAMAGES, KEPT, OUTSIDE
from torture.process import Ended, run
from torture.trials import Outcome
from torture.world import Tree, World, differences, tree, world

_PASSED_OVER = re.compile(f"^{OUTSIDE}/|^dataset/takedowns/")
"""Files that are judged otherwise: those outside, and receipts, which are what a takedown prints."""


@dataclass(frozen=True)
class _Undamaged:
    """What a command does where nothing is damaged."""

    ended: Ended
    tree: Tree
    reads: tuple[str, ...]
    """The files that it opens."""


class Damage:
    """Damages files, and judges what commands make of that."""

    FAILURES = frozenset({"unforeseen", "silent", "crash", "hang", "outside"})

    def __init__(self, there: World, commands: Sequence[Command]) -> None:
        self._world, self._commands = there, commands
        self._state = [stage.name for stage in there.stages].index(WHOLE)
        self._undamaged = cache(self._look)

    def _look(self, command: Command) -> _Undamaged:
        with self._world.place(self._state) as place:
            files = [path for path in sorted(place.rglob("*")) if path.is_file()]
            for path in files:
                os.utime(path, (0, path.stat().st_mtime))
            ended = run(command.arguments, place)
            if ended.code != 0:
                raise RuntimeError(f"{command.line}: ended with {ended.code}: {ended.err}")
            read = [path for path in files if not path.exists() or path.stat().st_atime > 0]
            locks = {above / ".lock" for path in read for above in path.parents} & set(files)  # which have no content
            reads = tuple(path.relative_to(place).as_posix() for path in sorted({*read, *locks}))
            return _Undamaged(ended, tree(place), reads)

    def trial(self, chance: Random) -> Outcome:
        """Damage one file that a command reads, and run it."""
        command = chance.choice(self._commands)
        undamaged = self._undamaged(command)
        kinds: dict[str, list[str]] = {}
        for name in undamaged.reads:
            kinds.setdefault(re.sub(r"\d+", "N", name), []).append(name)
        victim = chance.choice(kinds[chance.choice(sorted(kinds))])
        with self._world.place(self._state) as place:
            (place / OUTSIDE).mkdir()
            (place / OUTSIDE / KEPT).write_text("somebody else's", encoding="utf-8")
            (place / OUTSIDE / f"{KEPT}.tar").write_bytes(bytes(10240))
            damage, did = None, None
            while did is None:
                damage = chance.choice(list(DAMAGES))
                did = DAMAGES[damage](place / victim, place, chance)
            verdict, why = self._judged(command, undamaged, place, victim)
        return Outcome(str(damage), verdict, f"{damage} {victim} {did}: {command.line}: {why}")

    def _judged(self, command: Command, undamaged: _Undamaged, place: Path, victim: str) -> tuple[str, str]:
        before, others = tree(place), _others(place)
        ended = run(command.arguments, place)
        if ended.code is None:
            return "hang", ""
        said = " ".join((ended.err + ended.out).split())
        if ended.code < 0 or "Traceback" in said:
            return "crash", f"{ended.code} {said[-300:]}"
        if "unforeseen" in said:
            return "unforeseen", said[said.index("unforeseen") :][:300]
        if (now := _others(place)) != others:
            return "outside", ", ".join(differences(others, now))
        if ended.code != 0:
            return ("sentence" if _names(said, victim) else "vague"), said[-300:]
        wrong = self._wrong(command, undamaged, ended, before, tree(place))
        if not wrong:
            return "equal", ""
        page = place / "page.html"
        told = ended.err + (page.read_text(encoding="utf-8") if page.is_file() and "page.html" in wrong else "")
        if _names(told, victim) and not _names(undamaged.ended.err, victim):
            return "told", said[:300]
        return "silent", ", ".join(wrong[:5])

    def _wrong(self, command: Command, undamaged: _Undamaged, ended: Ended, before: Tree, after: Tree) -> list[str]:
        """Return what the command has written or said otherwise; what is damaged may stay so, or be made again."""
        other = [name for name in differences(after, undamaged.tree) if not _PASSED_OVER.search(name)]
        wrong = [name for name in other if after.get(name) != before.get(name)]
        expected, said = _said(undamaged.ended), _said(ended)
        if not command.says_what_it_did and said != expected:
            wrong += [
                f"{key} is {str(said.get(key))[:80]}, not {str(expected.get(key))[:80]}"
                for key in sorted(said.keys() | expected.keys())
                if said.get(key) != expected.get(key)
            ]
        return wrong


def _others(place: Path) -> Tree:
    """Return what no command may touch: what lies outside, and what somebody has put where our files are."""
    return {
        name: content
        for name, content in tree(place).items()
        if name.startswith(f"{OUTSIDE}/") or name.endswith(f"/{KEPT}")
    }


def _names(said: str, victim: str) -> bool:
    """Tell whether a text names a file, or its folder as a table's name."""
    path = Path(victim)
    words = {path.name, str(path.parent)} if path.name[0] != "_" else {victim, str(path.parent)}
    return any(word in said for word in words)


def _said(ended: Ended) -> dict[str, Any]:
    """Return a command's JSON, as a dictionary, without what files were before: that follows from the damage."""
    try:
        said = json.loads(ended.out, object_hook=lambda entry: {k: v for k, v in entry.items() if k != "before"})
    except ValueError:
        said = ended.out
    return said if isinstance(said, dict) else {"": said}


@contextmanager
def damage(models: bool = False) -> Iterator[Damage]:
    """Give the machine, with `models` also for what uses them."""
    with world(but_models(STAGES, models)) as there:
        yield Damage(there, but_models(READERS, models))
