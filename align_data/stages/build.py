"""From lists to verified shards: every stage in order, with images looked at as they arrive."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from align_data.common.errors import RecipeError
from align_data.common.progress import Progress
from align_data.content.plan import Sight
from align_data.data.accounts import Account
from align_data.data.columns import lacking, need
from align_data.data.layout import Dataset
from align_data.data.references import ReferenceFiles
from align_data.engines.base import Engine
from align_data.fetching.client import Policy
from align_data.fetching.keeping import Keeping
from align_data.fetching.limits import Limits
from align_data.recipes.plan import Plan
from align_data.recipes.planned import decidable
from align_data.signals import find
from align_data.stages.audit import Audit, audit
from align_data.stages.decision import Decision, decide_ledger
from align_data.stages.export import Exported, Form, check_free, export
from align_data.stages.fetch import FetchReport, fetch
from align_data.stages.pipeline import Intake, measure_images, run
from align_data.stages.verify import ExportCheck, verify
from align_data.storage.store import Store

if TYPE_CHECKING:
    from align_data.stages.crawl import CrawlReport


@dataclass(frozen=True)
class Fetching:
    """How images are fetched, looked at and stored."""

    policy: Policy
    limits: Limits
    sight: Sight = field(default_factory=Sight)
    keeping: Keeping = field(default_factory=Keeping)
    references: ReferenceFiles = field(default_factory=ReferenceFiles)


@dataclass(frozen=True)
class Exporting:
    """Where the kept pairs go, in what form, and how many files are verified at once."""

    out: Store
    form: Form
    verifiers: int = 1


@dataclass(frozen=True)
class BuildResult:
    """What each stage from lists to shards returned."""

    account: Account
    crawled: CrawlReport | None
    fetched: FetchReport
    audit: Audit
    exported: Exported
    check: ExportCheck


def build(
    intake: Intake,
    decision: Decision,
    fetching: Fetching,
    exporting: Exporting,
    dataset: Dataset,
    engine: Engine,
    progress: Progress,
) -> BuildResult:
    """Go from lists to verified shards; finished work is not repeated.

    Pairs whose image could not be had are left out. Before anything is read, raises RecipeError for a rule that would
    leave every pair pending, and OutputError for a folder that holds something else than an export.
    """
    check_free(exporting.out)
    _check_decidable(decision, dataset, fetching)
    ran = run(intake, decision, dataset, engine, progress)
    _check_decidable(decision, dataset, fetching)  # and what only the lists could tell
    fetching.references.give(dataset)
    fetched = fetch(
        dataset,
        decision.ledger,
        fetching.policy,
        fetching.limits,
        engine,
        progress,
        sight=fetching.sight,
        keeping=fetching.keeping,
        drop_failing=True,
    )
    measure_images(dataset, engine, progress, fetching.sight)
    decide_ledger(decision, dataset, engine, progress)
    exported = export(dataset, decision.ledger, exporting.out, exporting.form, engine, progress, drop_pending=True)
    check = verify(exporting.out, exporting.verifiers, progress)
    return BuildResult(ran.account, ran.crawled, fetched, audit(dataset, decision.ledger), exported, check)


def _check_decidable(decision: Decision, dataset: Dataset, fetching: Fetching) -> None:
    """Refuse rules that cannot pass, for what they compare neither the lists nor the images give."""
    plan = Plan.unresolved(decision.recipe, off=decision.off)
    lacks = {
        name: why
        for name in plan.signals
        if not fetching.references.have(find(name))
        and (why := lacking(dataset, find(name), fetching.sight.chosen, to_fetch=True)) is not None
    }
    reasons = {}
    for rule in plan.in_force:
        missing = {column for column in rule.columns if any(name in lacks for name in plan.behind([column]))}
        if not decidable(rule.planned, missing):
            first = next(lacks[name] for name in plan.behind(missing) if name in lacks)
            reasons[rule.name] = need([rule.name], first)
    if reasons:
        raise RecipeError(f"no pair could pass: {'; '.join(reasons.values())}; or --without {','.join(reasons)}")
