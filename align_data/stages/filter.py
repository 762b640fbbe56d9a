"""Filter: a recipe applied to the measured columns, as a ledger."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from align_data.common.errors import DatasetError, RecipeError
from align_data.common.progress import Progress, Tick
from align_data.data.columns import available, columns, identities
from align_data.data.layout import Dataset
from align_data.data.ledger import Masks, Plan, Vocabulary, add_masks, count_masks, taken_down, vocabulary
from align_data.data.tombstones import fingerprint, of_part
from align_data.data.top_fraction import resolve
from align_data.engines.base import Engine
from align_data.recipes.model import Recipe, masks, override
from align_data.recipes.model import overridden as rule_of
from align_data.storage.tables import Manifest, PartInfo, Table, digest, frame


def plan(
    dataset: Dataset,
    recipe: Recipe,
    engine: Engine,
    progress: Progress,
    overrides: Sequence[str] = (),
    off: Sequence[str] = (),
) -> Plan:
    """Return the recipe as it will decide on this dataset: overridden, rules taken out, shares resolved.

    Raises RecipeError for an override or a rule that is not the recipe's, DatasetError for stale signals.
    """
    recipe = overridden(recipe, overrides, off)
    in_force = [rule for rule in recipe.rules if rule.name not in off]
    measured = available(dataset, dataset.ingested(), [rule.signal for rule in in_force])
    unmeasured = dict.fromkeys(rule.signal for rule in in_force if rule.signal not in measured)
    vocabularies = {
        rule.name: _resolve(dataset, rule.top_k)
        for rule in in_force
        if rule.top_k is not None and rule.signal in measured
    }
    # A rule that is unknown everywhere needs no threshold, but a plan must be able to decide.
    found = Plan(recipe, tuple(overrides), tuple(dict.fromkeys(off)), vocabularies, tuple(unmeasured))
    # Those that are taken out too: a report shows what they would be.
    shares = {r.name: [r.value] for r in recipe.rules if r.op == "top_fraction" and r.signal in measured}
    tops = resolve(dataset, found, frozenset(measured), shares, engine, progress)
    return replace(found, tops={name: top for name, (top,) in tops.items()})


def overridden(recipe: Recipe, overrides: Sequence[str], off: Sequence[str]) -> Recipe:
    """Return the recipe with the overrides in force; RecipeError for one that makes no sense."""
    for name in off:
        recipe.position(name)
    done: set[str] = set()
    for assignment in overrides:
        recipe = override(recipe, assignment)
        name = rule_of(assignment)
        if name in done:
            raise RecipeError(f"--set gives {name} two tests; a rule has one: between takes two numbers")
        if name in off:
            raise RecipeError(f"{name} is both set and taken out")
        done.add(name)
    return recipe


def _resolve(dataset: Dataset, top_k: int) -> Vocabulary:
    table = dataset.classes("ngrams")
    if table.committed() is None:
        url = table.store.url
        raise DatasetError(f"{url} lacks {table.name}; measure again: align-data measure {shlex.quote(url)}")
    return vocabulary(top_k, [row for piece in table.pieces(0, ["count", "keys"]) for row in piece.rows()])


def decide(dataset: Dataset, plan: Plan, name: str, engine: Engine, progress: Progress) -> Manifest:
    """Write the ledger `name`: for every pair the masks of the rules that it fails and of those that are unknown.

    A pair that was taken down fails by a bit of its own.
    """
    pairs = dataset.ingested()
    table = dataset.ledger(name)
    signals = sorted({rule.signal for rule in plan.recipe.rules} & available(dataset, pairs, plan.signals))
    measured = identities(dataset, signals)
    # What the verdicts follow from: equal facts, equal bytes.
    meta: dict[str, Any] = {"plan": plan.dump(), "pairs": pairs.fingerprint, "signals": measured}
    facts = {"ledger": digest(meta)}
    gone = fingerprint(dataset)
    if gone is not None:  # beside it: a takedown makes nothing stale that was fetched or measured by this ledger
        facts["tombstones"] = gone
    before = table.committed()
    if before is not None and _identity(before.meta) == _identity(facts) and table.whole(before):
        return before
    if before is not None and _asked(before.meta["plan"]) != _asked(meta["plan"]):
        progress.say(f"the ledger {name} was decided otherwise and is replaced; --as keeps both")
    table.retract()

    def write(part: int, tick: Tick) -> tuple[PartInfo, Masks]:
        if table.facts(part) != facts:
            return _write(dataset, plan, table, part, signals, facts, tick)
        return table.info(part), count_masks(table.pieces(part, ["failed", "unknown"]))  # a killed run's

    done = engine.map_parts("filter", write, [part.rows for part in pairs.parts], progress)
    total: Masks = {}
    for _, found in done:
        add_masks(total, found)
    # Kept with the ledger, so that an audit of any size reads nothing else.
    counts = [[failed, unknown, number] for (failed, unknown), number in sorted(total.items())]
    return table.commit([info for info, _ in done], {**meta, **facts, "masks": counts})


def _identity(facts: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return what two ledgers have in common that are equal."""
    return facts.get("ledger"), facts.get("tombstones")


def _asked(plan: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what of a plan the user asked for."""
    return plan["recipe"], plan["overrides"], plan["off"]


def _write(
    dataset: Dataset, plan: Plan, table: Table, part: int, signals: Sequence[str], facts: Mapping[str, str], tick: Tick
) -> tuple[PartInfo, Masks]:
    """Write one part; return it with its masks counted."""
    failed, unknown = masks(plan.deciding, plan.off, signals)
    found: Masks = {}
    gone = of_part(dataset, dataset.ingested(), part).implode() if "tombstones" in facts else None
    with table.writer(part, facts) as writer:
        # The uids go through as they are stored: deciding is mostly writing them.
        uid_pieces = dataset.pairs.arrow_pieces(part, ["uid"])
        # Of the signals there may be none; a column of pairs keeps the number of rows.
        for uids, piece in zip(uid_pieces, columns(dataset, part, ["copies"], signals), strict=True):
            verdicts = piece.select(failed, unknown, "copies")
            if gone is not None:
                taken = frame(uids)["uid"].is_in(gone)
                verdicts = verdicts.with_columns(taken_down(verdicts["failed"], taken))
            found = count_masks([verdicts], found)
            both = verdicts.to_arrow()
            writer.write(uids.append_column("failed", both["failed"]).append_column("unknown", both["unknown"]))
            tick(len(uids))
    assert writer.info is not None
    return writer.info, found
