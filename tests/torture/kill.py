"""Kill: a stage dies at a change of a file, perhaps again and again; run to its end, it has left the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

from torture.commands import STAGES, but_models
from torture.process import Death, run
from torture.trials import Outcome
from torture.world import World, differences, tree, world

DEATHS = 3
"""Of one stage, at most."""


class Kill:
    """Kills stages."""

    FAILURES = frozenset({"differs", "fails"})

    def __init__(self, there: World) -> None:
        self._world = there

    def trial(self, chance: Random) -> Outcome:
        """Kill a stage, run it again until it has finished, and compare."""
        stages = self._world.stages
        (number,) = chance.choices(range(len(stages)), [0.2 if stage.model else 1 for stage in stages])
        stage, changes = stages[number], self._world.changes[number]
        arguments = [*stage.arguments, "--workers", str(chance.choice((1, 2)))]
        deaths = [_death(chance, changes) for _ in range(chance.randint(1, DEATHS))]
        what = f"{' '.join(arguments)}, killed {', then '.join(map(str, deaths))}"
        with self._world.place(number) as place:
            killed = [run(arguments, place, death) for death in deaths]
            last = run(arguments, place)
            odd = [ended for ended in (*killed, last) if ended.code != 0 and not ended.killed]
            if odd or last.code != 0:
                return Outcome(stage.name, "fails", f"{what}: {(odd or [last])[0].err.strip()[-300:]}")
            wrong = differences(tree(place), tree(self._world.states[number + 1]))
        if wrong:
            return Outcome(stage.name, "differs", f"{what}: {', '.join(wrong[:5])}")
        return Outcome(stage.name, "same" if any(ended.killed for ended in killed) else "not killed", what)


def _death(chance: Random, changes: int) -> Death:
    return Death(chance.randint(1, max(1, changes)), chance.choice((0, 0, chance.uniform(0.0001, 0.02))))


@contextmanager
def kill(models: bool = False) -> Iterator[Kill]:
    """Give the machine, with `models` also for what trains and uses them."""
    with world(but_models(STAGES, models)) as there:
        yield Kill(there)
