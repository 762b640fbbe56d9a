"""The main job, its stages in order: what the command line, a cluster job and Python call alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from align_data.common.progress import Progress
from align_data.content.plan import Sight
from align_data.data.columns import lacking
from align_data.data.layout import Dataset
from align_data.engines.base import Engine
from align_data.recipes.plan import Plan
from align_data.recipes.reading import override_all
from align_data.signals import SIGNALS, find
from align_data.sources.lists import Choice, Reading
from align_data.stages.audit import Audit, audit
from align_data.stages.decision import Decision, decide_ledger
from align_data.stages.ingest import Account, Parts, ingest
from align_data.stages.measure import MeasureReport, measure


@dataclass(frozen=True)
class PipelineResult:
    """What each stage of the main job returned."""

    account: Account
    measured: MeasureReport
    audit: Audit


@dataclass(frozen=True)
class Intake:
    """What goes into a dataset."""

    inputs: Sequence[str]
    choice: Choice = field(default_factory=Choice)
    parts: Parts = field(default_factory=Parts)
    reading: Reading = field(default_factory=Reading)


def run(intake: Intake, decision: Decision, dataset: Dataset, engine: Engine, progress: Progress) -> PipelineResult:
    """Ingest, measure what the recipe needs, filter, audit; finished work is not repeated."""
    overridden = override_all(decision.recipe, decision.overrides, decision.off)  # before hours of work
    dataset.ledger(decision.ledger)
    account = ingest(intake.inputs, dataset, engine, progress, intake.choice, intake.parts, intake.reading)
    signals = Plan.unresolved(overridden, decision.overrides, decision.off).signals
    able = [name for name in signals if lacking(dataset, find(name)) is None]
    measured = measure(dataset, engine, progress, able)
    decide_ledger(decision, dataset, engine, progress)
    return PipelineResult(account, measured, audit(dataset, decision.ledger))


def measure_images(dataset: Dataset, engine: Engine, progress: Progress, sight: Sight) -> MeasureReport:
    """Put what a fetch has seen of images, with this sight, beside the pairs: every signal of the image."""
    detector = sight.nsfw is not None
    able = [s.name for s in SIGNALS.values() if s.group == "image" and lacking(dataset, s, detector) is None]
    return measure(dataset, engine, progress, able, sight=sight)
