"""A few trials of each machine of `make torture`; and that the machines notice what they are for."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from torture import accounts, damage, fuzz, kill, lists
from torture.commands import READERS, STAGES, but_models
from torture.process import Death, Ended, call, run
from torture.trials import Machine, Outcome, table, trials
from torture.world import World, world

# Seeds whose first trials hold; a seed that shows a fault belongs here when that is mended.
KILL, DAMAGE, FUZZ, ACCOUNTS = (1, 6), (10, 10), (2, 6), (1, 2)


@pytest.fixture(scope="module")
def there() -> Iterator[World]:
    with world(but_models(STAGES)) as made:
        yield made


def holds(name: str, machine: Machine, seed: int, number: int) -> str:
    """Run the first trials of a seed, none of which may fail; return their table."""
    report = trials(name, machine, seed, range(1, number + 1))
    assert report.failures == []
    assert report.table.total() == number
    return table(report)


def test_what_was_killed_goes_on_to_the_same_bytes(there: World) -> None:
    assert "same" in holds("kill", kill.Kill(there), *KILL)


def test_of_damaged_files_nothing_wrong_is_told(there: World) -> None:
    assert "sentence" in holds("damage", damage.Damage(there, but_models(READERS)), *DAMAGE)


def test_every_mutated_image_and_row_is_accounted_for() -> None:
    with fuzz.fuzz() as machine:
        assert "accounted" in holds("fuzz", machine, *FUZZ)


def test_hostile_rows_are_counted_as_they_are() -> None:
    with accounts.accounts() as machine:
        assert "as counted" in holds("accounts", machine, *ACCOUNTS)


# --- a machine that could not fail would show nothing ---


def test_a_process_is_killed_before_or_after_a_change_of_a_file(tmp_path: Path) -> None:
    def write(death: Death | None) -> tuple[Ended, int]:
        for file in tmp_path.iterdir():
            file.unlink()
        ended = call(_write, (5,), tmp_path, death)
        return ended, len(list(tmp_path.iterdir()))

    ended, files = write(None)
    assert (ended.code, ended.killed, ended.changes, files) == (0, False, 5, 5)
    ended, files = write(Death(3))
    assert (ended.code, ended.killed, files) == (-signal.SIGKILL, True, 2)
    ended, files = write(Death(3, after=0.05))
    assert (ended.code, ended.killed, files) == (-signal.SIGALRM, True, 3)


def _write(number: int) -> None:
    for n in range(number):
        Path(str(n)).write_text("x")
        time.sleep(0.2 if n == 2 else 0)


def test_what_does_not_end_hangs_and_memory_is_counted(tmp_path: Path) -> None:
    assert call(_sleep, (60,), tmp_path, limit=0.5).code is None
    few, many = (call(_hold, (size,), tmp_path) for size in (1, 300_000_000))
    assert 250_000_000 < many.peak - few.peak < 400_000_000


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


def _hold(size: int) -> None:
    assert len(b"x" * size) == size


ENDS: dict[str, Ended] = {
    "hang": Ended(None, "", ""),
    "crash": Ended(-signal.SIGSEGV, "", ""),
    "unforeseen": Ended(1, "", "Error: unforeseen, KeyError"),
    "silent": Ended(0, '{"kept": 1}', ""),
    "vague": Ended(1, "", "Error: something is wrong"),
}


@pytest.mark.parametrize("verdict", [*ENDS, "outside"])
def test_damage_tells_ends_apart(there: World, monkeypatch: pytest.MonkeyPatch, verdict: str) -> None:
    machine = damage.Damage(there, [command for command in READERS if command.name == "audit"])
    machine._undamaged(machine._commands[0])

    def pretend(arguments: list[str], folder: Path, *_: Any) -> Ended:
        (folder / "outside" / "kept").unlink() if verdict == "outside" else None
        return ENDS.get(verdict, ENDS["vague"])

    monkeypatch.setattr(damage, "run", pretend)
    outcome = machine.trial(Random(1))
    assert outcome.verdict == verdict
    assert (verdict in machine.FAILURES) == (verdict != "vague")


def test_kill_sees_a_file_that_differs(there: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def pretend(arguments: list[str], folder: Path, death: Death | None = None) -> Ended:
        ended = run(arguments, folder)
        (folder / "left").write_text("over")
        return ended

    monkeypatch.setattr(kill, "run", pretend)
    machine = kill.Kill(there)
    assert machine.trial(Random(3)).verdict == "differs"


@pytest.mark.parametrize(
    ("content", "between"),
    [
        ("url,text\nhttp://h1,a\nhttp://h2,b\n", (2, 3)),
        ('url,text\nhttp://h1,"a\nhttp://h2,b\n', (2, 3)),
        ("url,text\r\n\r\n", (0, 1)),
    ],
)
def test_rows_are_counted_by_their_lines(tmp_path: Path, content: str, between: tuple[int, int]) -> None:
    (tmp_path / "list.csv").write_text(content, newline="")
    assert lists.rows(tmp_path / "list.csv") == between


def test_fuzz_sees_rows_that_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.csv").write_text("url,text\nhttp://h1,a\n")
    assert fuzz._ingested(tmp_path / "list.csv", "").verdict == "accounted"
    (tmp_path / "list.csv").write_text("url,text\n" + "http://h1,a\n" * 3)
    account = json.dumps({"rows": 1, "pairs": 1, "merged": 0, "rejected": 0})

    def kept(*_: object) -> Ended:
        return Ended(0, account, "")

    monkeypatch.setattr(fuzz, "run", kept)
    assert fuzz._ingested(tmp_path / "list.csv", "") == Outcome(
        "csv", "miscounted", "csv, 45 bytes: 1 rows where 3 to 4 are"
    )


def test_accounts_see_a_row_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts._Truth, "add", _but_the_first(accounts._Truth.add))
    with accounts.accounts() as machine:
        assert machine.trial(Random(1)).verdict == "miscounted"


def _but_the_first(add: Callable[..., None]) -> Callable[..., None]:
    def call(truth: Any, file: str, number: int, row: Any) -> None:
        if (file[0], number) != ("0", 1):
            add(truth, file, number, row)

    return call
