"""The main job, its stages in order: what the command line, a cluster job and Python call alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from align_data.common.errors import InputError
from align_data.common.progress import Progress
from align_data.content.plan import Sight
from align_data.data.columns import lacking, measurable
from align_data.data.html_texts import Rewriting
from align_data.data.layout import Dataset
from align_data.engines.base import Engine
from align_data.recipes.overrides import override_all
from align_data.recipes.plan import Plan
from align_data.signals import SIGNALS
from align_data.sources.crawl.inputs import ArchiveSelection
from align_data.sources.crawl.settings import CrawlSettings
from align_data.sources.inputs import divide
from align_data.sources.lists import Choice, Reading
from align_data.stages.audit import Audit, audit
from align_data.stages.decision import Decision, decide_ledger
from align_data.stages.ingest import Account, Parts, ingest
from align_data.stages.measure import MeasureReport, measure
from align_data.storage.store import Store

if TYPE_CHECKING:
    from align_data.stages.crawl import CrawlReport


@dataclass(frozen=True)
class PipelineResult:
    """What each stage of the main job returned."""

    account: Account
    crawled: CrawlReport | None
    """None where no input is an archive."""
    measured: MeasureReport
    audit: Audit


@dataclass(frozen=True)
class Intake:
    """What goes into a dataset."""

    inputs: Sequence[str]
    choice: Choice = field(default_factory=Choice)
    parts: Parts = field(default_factory=Parts)
    reading: Reading = field(default_factory=Reading)
    selection: ArchiveSelection | None = None
    """Which archives are read; None for all that the inputs name."""
    crawling: CrawlSettings = field(default_factory=CrawlSettings)
    rewriting: Rewriting = field(default_factory=Rewriting)


def run(intake: Intake, decision: Decision, dataset: Dataset, engine: Engine, progress: Progress) -> PipelineResult:
    """Ingest, measure what the recipe needs, filter, audit; finished work is not repeated."""
    overridden = override_all(decision.recipe, decision.overrides, decision.off)  # before hours of work
    dataset.ledger(decision.ledger)
    inputs, crawled = crawl_inputs(intake, dataset, engine, progress)
    account = ingest(inputs, dataset, engine, progress, intake.choice, intake.parts, intake.reading, intake.rewriting)
    signals = Plan.unresolved(overridden, decision.overrides, decision.off).signals
    measured = measure(dataset, engine, progress, measurable(dataset, signals))
    decide_ledger(decision, dataset, engine, progress)
    return PipelineResult(account, crawled, measured, audit(dataset, decision.ledger))


def crawl_inputs(
    intake: Intake, dataset: Dataset, engine: Engine, progress: Progress
) -> tuple[Sequence[str], CrawlReport | None]:
    """Read the archives among the inputs; return the lists, with the rows of the archives, and what became of these.

    Raises InputError where an archive cannot be read, and for options on archives where no input is one.
    """
    archives, lists = divide(intake.inputs)
    if not archives:
        if intake.selection is not None:
            raise InputError("--from, --prefix, --sample and --text are for archives, and no input is one: omit them")
        return intake.inputs, None
    from align_data.stages.crawl import crawl  # noqa: PLC0415 - for those who have archives

    rows = rows_beside(dataset)
    with rows.lock():
        selection = intake.selection or ArchiveSelection()
        crawled = crawl(archives, selection, rows, engine, progress, intake.crawling)
    if crawled.total.unread:
        unread = crawled.total.unread
        first = "the first: " if len(unread) > 1 else ""
        raise InputError(
            f"{len(unread):,} of {len(unread) + crawled.total.archives:,} archives could not be read: {first}"
            f"{unread[0].sentence}; run the command again to try these, or leave them out"
        )
    return [*lists, rows.url], crawled


def rows_beside(dataset: Dataset) -> Store:
    """Return the folder for the rows of archives: beside the dataset, since a takedown erases what is in it."""
    store = dataset.store
    return Store(f"{store.root if store.local else store.url}-rows", store.work)


def measure_images(dataset: Dataset, engine: Engine, progress: Progress, sight: Sight) -> MeasureReport:
    """Put what a fetch has seen of images, with this sight, beside the pairs: every signal of the image."""
    of_images = [signal for signal in SIGNALS.values() if signal.group in ("image", "copies")]
    able = [signal.name for signal in of_images if lacking(dataset, signal, sight.chosen) is None]
    return measure(dataset, engine, progress, able, sight=sight)
