"""Arms: which pairs of the pool each trains on, by a ledger's masks alone; nothing is measured again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from align_data.common.errors import DatasetError, RecipeError, nearest
from align_data.recipes.plan import Plan
from align_data.train.ablate.pool import Pool

PLAIN = ("none", "recipe", "random", "oracle")
FORMS = (*PLAIN, "without:RULE", "only:RULE", "ledger:NAME", "fraction:SHARE", "fraction:SHARE:none")
EACH = "each"
"""As a rule's name: an arm for each rule in force."""
BASELINES = ("none", "random", "recipe")
"""What the others are compared with, where they are among the arms."""


@dataclass(frozen=True)
class Arm:
    """One choice of pairs."""

    name: str
    kind: str
    of: str = ""
    """The rule, the ledger, or the arm that a fraction is of."""
    share: float = 1.0


def parse(names: Sequence[str], plan: Plan, fractions: Sequence[float] = ()) -> list[Arm]:
    """Return the arms of these names, each once, and those that `fractions` of none and of recipe ask for.

    Raises RecipeError for an unknown arm, and for a rule that the ledger lacks or was decided without.
    """
    fraction = [f"fraction:{share:g}{of}" for share in fractions for of in (":none", "")]
    return list(dict.fromkeys(arm for name in (*names, *fraction) for arm in _arms(name, plan)))


def _arms(name: str, plan: Plan) -> list[Arm]:
    kind, colon, of = name.partition(":")
    if not colon and kind in PLAIN:
        return [Arm(name, kind)]
    if kind in ("without", "only") and of:
        rules = [rule.name for rule in plan.in_force] if of == EACH else [_rule(of, plan)]
        return [Arm(f"{kind}:{rule}", kind, rule) for rule in rules]
    if kind == "ledger" and of:
        return [Arm(name, kind, of)]
    if kind == "fraction" and of:
        return [_fraction(name, of)]
    raise RecipeError(f"there is no arm {name}{nearest(name, PLAIN)}; there are: {', '.join(FORMS)}")


def _rule(name: str, plan: Plan) -> str:
    rule = plan.rule(name)
    if not rule.in_force:
        raise RecipeError(f"the ledger was decided without the rule {rule.name}, so it cannot define an arm")
    return rule.name


def _fraction(name: str, text: str) -> Arm:
    number, _, of = text.partition(":")
    of = of or "recipe"
    try:
        share = float(number)
    except ValueError:
        share = 0
    if not 0 < share <= 1 or of not in ("none", "recipe"):
        raise RecipeError(f"{name} is not an arm; write it as fraction:0.1, of recipe's pairs, or fraction:0.1:none")
    if share == 1:
        return Arm(of, of)
    return Arm(f"fraction:{share:g}" + (":none" if of == "none" else ""), "fraction", of, share)


def uids(arm: Arm, pool: Pool, seed: int) -> list[str]:
    """Return the uids of an arm's pairs, sorted.

    Raises DatasetError where pairs of the arm are pending and the pool does not leave such out, and for an empty arm.
    """
    if arm.kind == "random":
        chosen = _drawn(_rows(Arm("none", "none"), pool), len(uids(Arm("recipe", "recipe"), pool, seed)), seed)
    elif arm.kind == "fraction":
        whole = _rows(Arm(arm.of, arm.of), pool)
        chosen = _drawn(whole, round(arm.share * len(whole)), seed)
    else:
        chosen = _rows(arm, pool)
    if not chosen:
        pending = (
            0 if arm.kind in ("random", "oracle") else _pending(Arm(arm.of, arm.of) if arm.share < 1 else arm, pool)
        )
        advice = f", and {pending:,} pairs are pending and left out" if pending else ""
        raise DatasetError(f"the arm {arm.name} has no pair with an image{advice}: take it out of --arms")
    return chosen


def _drawn(uids: Sequence[str], size: int, seed: int) -> list[str]:
    """Draw `size` uids at random: with one seed, a smaller draw is part of a larger one."""
    order = np.random.default_rng(seed).permutation(len(uids))
    return sorted(uids[place] for place in order[:size])


def _rows(arm: Arm, pool: Pool) -> list[str]:
    if arm.kind == "oracle":
        return _oracle(pool)
    pending = _pending(arm, pool)
    if pending and not pool.drop_pending:
        raise DatasetError(
            f"{pending:,} pairs of the arm {arm.name} are pending: no rule fails them, but some are unknown. Measure "
            "what is missing and filter again, or leave these pairs out: --pending drop"
        )
    fails, open_ = _verdict(arm, pool)
    return pool.rows.filter(~fails & ~open_)["uid"].sort().to_list()


def _pending(arm: Arm, pool: Pool) -> int:
    fails, open_ = _verdict(arm, pool)
    return int(pool.rows.select((~fails & open_).sum()).item())


def _verdict(arm: Arm, pool: Pool) -> tuple[pl.Expr, pl.Expr]:
    """Return whether a pair fails one of the arm's rules, and whether one of these is unknown."""
    suffix = f":{arm.of}" if arm.kind == "ledger" else ""
    mask = ~0
    if arm.kind == "none":
        mask = 0
    elif arm.kind in ("without", "only"):
        bit = pool.plan.rule(arm.of).bit
        mask = bit if arm.kind == "only" else ~bit
    return (pl.col(f"failed{suffix}") & mask) != 0, (pl.col(f"unknown{suffix}") & mask) != 0


def _oracle(pool: Pool) -> list[str]:
    if pool.truth is None:
        raise DatasetError("the arm oracle needs a file that lists the good pairs: --truth FILE")
    return pool.rows.filter(pl.col("uid").is_in(list(pool.truth)))["uid"].sort().to_list()
