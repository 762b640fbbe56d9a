"""What a reader of an audit's counts must know, and the commands that decide what is pending."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from align_data.data.columns import lacking, need
from align_data.data.layout import Dataset
from align_data.data.ledger import Masks, filter_command
from align_data.recipes.plan import Plan, PlannedRule
from align_data.signals import find, is_signal


@dataclass(frozen=True)
class DatasetState:
    """What the notes follow from beside the ledger: the dataset's place, and what it lacks."""

    url: str = "DATASET"
    unmeasured: Mapping[str, str | None] = field(default_factory=dict)
    """Signal that is not measured → why it cannot be, as the end of a sentence; None if it can."""
    untried: bool = False
    """Whether there are images that have never been requested."""


def state_of(dataset: Dataset, plan: Plan) -> DatasetState:
    """Return what the notes on a ledger of this dataset follow from."""
    unmeasured = {signal: lacking(dataset, find(signal)) for signal in plan.unmeasured if is_signal(signal)}
    images = dataset.images.committed()
    return DatasetState(dataset.store.url, unmeasured, images is None or bool(images.meta.statuses.get("untried")))


def notes(name: str, plan: Plan, living: Masks, state: DatasetState) -> Iterator[str]:
    """Yield the sentences; `living` are the pairs that were not taken down, by their masks."""
    rules = plan.in_force
    yield from plan.scales_in_force()
    yield from (rule.threshold.sentence(rule.name) for rule in rules if rule.threshold is not None)
    if chosen := [rule.name for rule in rules if rule.rule.chosen]:
        yield f"chosen, not published: the thresholds of {', '.join(chosen)}"
    missing = {rule.name: [name for name in plan.signals_of([rule]) if name in plan.unmeasured] for rule in rules}
    if unmeasured := {name: signals for name, signals in missing.items() if signals}:
        yield _unmeasured(name, list(unmeasured.values()), state)
    waiting = _waiting(plan, living)
    for rule in rules:
        if rule.name in waiting and rule.name not in unmeasured:
            yield f"of the pending, {rule.name} is unknown for {waiting[rule.name]:,} pairs: {_why_null(rule)}"
    yield from _ways_out(name, plan, rules, waiting, state)


def _why_null(rule: PlannedRule) -> str:
    """Return why a rule can be unknown where all that it compares is measured, as the end of a sentence."""
    signals = [signal for test in rule.tests for signal in (test.definition, test.by) if signal is not None]
    reasons = {signal.name: signal.null for signal in signals if signal.nullable}
    if len(reasons) < 2:
        return next(iter(reasons.values()), signals[0].null)
    return "; ".join(f"{name}: {null}" for name, null in reasons.items())


def _waiting(plan: Plan, living: Masks) -> dict[str, int]:
    """Return for each rule that is unknown for pending pairs, for how many."""
    waiting = {
        rule.name: sum(number for (failed, unknown), number in living.items() if not failed and unknown & rule.bit)
        for rule in plan.rules
    }
    return {name: number for name, number in waiting.items() if number}


def _ways_out(
    name: str, plan: Plan, rules: Sequence[PlannedRule], waiting: Mapping[str, int], state: DatasetState
) -> Iterator[str]:
    """Say how pending pairs come to be decided: by looking at their images, and without what is unknown."""
    url = shlex.quote(state.url)
    if state.untried and any(rule.name in waiting and _needs_images(plan, rule, state) for rule in rules):
        yield (
            f"to measure the images of pending pairs: align-data fetch {url} --recipe {name}; then: align-data measure "
            f"{url}; and filter again"
        )
    if waiting:
        without = filter_command(state.url, f"{name}-less", plan, list(waiting))
        yield f"to decide without the unknown rules: {without}"


def _needs_images(plan: Plan, rule: PlannedRule, state: DatasetState) -> bool:
    """Tell whether a rule waits for images: not for measurements that can be made without them."""
    waits = [name for name in plan.signals_of([rule]) if find(name).content]
    return any(name not in state.unmeasured or state.unmeasured[name] is not None for name in waits)


def _unmeasured(ledger: str, missing: Sequence[Sequence[str]], state: DatasetState) -> str:
    """Return which signals of some rules are not measured, and how to get them."""
    names = list(dict.fromkeys(name for of_rule in missing for name in of_rule))
    requested = [name for name in names if find(name).on_request and not state.unmeasured.get(name)]
    by_name = f" --signals {','.join(requested)}" if requested else ""
    can = f"can be: run align-data measure {shlex.quote(state.url)}"
    reasons: dict[str, list[str]] = {}
    for name in names:
        how = f"{can}{by_name if name in requested else ''}, then filter again"
        why = (state.unmeasured.get(name) or how).replace("--recipe LEDGER", f"--recipe {ledger}")
        reasons.setdefault(why, []).append(name)
    needs = "; ".join(need(signals, why) for why, signals in reasons.items())
    return f"not measured, so {'its rule is' if len(missing) == 1 else 'their rules are'} unknown: {needs}"
