"""Reports to look at: one HTML file each that needs no network, of what was counted or found."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from itertools import chain
from types import ModuleType
from typing import TYPE_CHECKING

from align_data.common.errors import AlignDataError
from align_data.common.secrets import mask
from align_data.data.ledger import open_ledger

if TYPE_CHECKING:
    from align_data.common.progress import Progress
    from align_data.data.layout import Dataset
    from align_data.recipes.plan import Plan
    from align_data.report.thumbnails import PicturedImage, SamplePictures
    from align_data.selection import Selected
    from align_data.stages.audit.diff import Diff
    from align_data.stages.audit.survey import Survey
    from align_data.stages.calibrate import CalibrationReport
    from align_data.stages.compare import DatasetComparison
    from align_data.train.ablate import Ablation
    from align_data.train.search import SearchResults  # Pillow, which counting does not need


def audit_html(survey: Survey, dataset: Dataset, progress: Progress, *, pictures: bool = True) -> str:
    """Return the audit page of a survey; with thumbnails of its samples, where their images have been fetched."""
    page = drawing()
    near = chain.from_iterable(method.pictured() for method in survey.near)
    sampled = chain.from_iterable([*survey.samples.values(), *survey.pictured.values()])
    images: list[PicturedImage] = [*sampled, *near]
    shown = _pictures(dataset, images if pictures else [], progress)
    html: str = page.page(survey, shown, mask(dataset.store.url))
    return html


def diff_html(diff: Diff, dataset: Dataset, progress: Progress, *, pictures: bool = True) -> str:
    """Return what two ledgers decide otherwise as a page."""
    page = drawing()
    samples = [*diff.only_a.samples, *diff.only_b.samples]
    plans = [open_ledger(dataset, name).plan for name in (diff.a, diff.b)]
    html: str = page.diff_page(diff, _pictures(dataset, samples if pictures else [], progress), plans)
    return html


def comparison_html(comparison: DatasetComparison) -> str:
    """Return what two datasets have in common as a page."""
    page: str = drawing().comparison_page(comparison)
    return page


def selected_html(
    selected: Selected, plan: Plan, title: str, dataset: Dataset, progress: Progress, *, pictures: bool = True
) -> str:
    """Return pairs of a selection as a page of pictures; the title says what was asked."""
    page = drawing()
    shown = _pictures(dataset, selected.pairs if pictures else [], progress)
    html: str = page.selected_page(selected, plan, title, shown)
    return html


def ablation_html(ablation: Ablation) -> str:
    """Return what an ablation found as a page."""
    page: str = drawing().ablation_page(ablation)
    return page


def search_html(search: SearchResults) -> str:
    """Return what a search found as a page of pictures."""
    page = drawing()
    from align_data.report.thumbnails import of_images  # noqa: PLC0415 - Pillow, which counting does not need

    query = {part.name: part.image for part in search.query if part.image is not None}
    hits = {hit.uid: image for hit, image in zip(search.hits, search.images, strict=True)}
    html: str = page.search_page(search, of_images(hits), of_images(query))
    return html


def calibration_html(report: CalibrationReport, dataset: Dataset, progress: Progress, *, pictures: bool = True) -> str:
    """Return a calibration as a page; with thumbnails of the nearest random pairs."""
    images = [image for pair in report.nearest for image in (pair.first, pair.second)]
    html: str = drawing().calibration_page(report, _pictures(dataset, images if pictures else [], progress))
    return html


def drawing() -> ModuleType:
    """Return what makes pages; AlignDataError where the extra is not installed."""
    try:
        return import_module("align_data.report.page")
    except ImportError as error:
        raise AlignDataError(f"reports need {error.name}: pip install 'align-data[report]'") from None


def _pictures(dataset: Dataset, images: Iterable[PicturedImage], progress: Progress) -> SamplePictures:
    from align_data.report.thumbnails import pictures  # noqa: PLC0415 - Pillow, which counting does not need

    return pictures(dataset, images, progress)


__all__ = [
    "ablation_html",
    "audit_html",
    "calibration_html",
    "comparison_html",
    "diff_html",
    "drawing",
    "search_html",
    "selected_html",
]
