"""The page itself: numbers and charts put into a template, everything escaped, and nothing fetched from anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from itertools import chain
from typing import TYPE_CHECKING, Any

import polars as pl
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from align_data.common.secrets import mask_url
from align_data.data.ledger import OUTCOMES
from align_data.decoding.augmenting.augmentations import AUGMENTATIONS
from align_data.recipes.operators import text
from align_data.recipes.plan import Plan, PlannedRule
from align_data.report import ablation_charts, calibration_charts, charts
from align_data.report.comparison_tables import comparison_values
from align_data.report.crawl_steps import crawl_steps
from align_data.report.shares import share
from align_data.report.svg import svg
from align_data.report.thumbnails import Pictures, SamplePictures
from align_data.signals import Signal
from align_data.stages.audit.curves import Curve
from align_data.stages.audit.diff import Diff
from align_data.stages.audit.image_outcomes import AGREEMENT
from align_data.stages.audit.leaves import Comparison, of_rule
from align_data.stages.audit.sampling import KINDS, SampledPair
from align_data.stages.audit.survey import Survey

if TYPE_CHECKING:
    from align_data.selection import Selected
    from align_data.stages.calibrate import CalibrationReport
    from align_data.stages.compare import DatasetComparison
    from align_data.train.ablate.differences import Difference
    from align_data.train.ablate.results import Ablation
    from align_data.train.search import SearchResults  # Pillow, which counting does not need

LONGEST = 5_000
"""Characters of a text that are shown: some are megabytes long."""
BLUR = 0.5
"""The nsfw score above which a picture is blurred, unless a rule sets another."""
_BACKTICKS = re.compile("`([^`]+)`")


def page(survey: Survey, pictures: SamplePictures, dataset: str) -> str:
    """Return the audit page of a survey as HTML, with the thumbnails of its samples; `dataset` is the dataset's URL."""
    rules = [_Section(survey, rule) for rule in survey.plan.rules]
    return _render(
        "audit.html.j2",
        survey=survey,
        audit=survey.audit,
        funnel=_funnel(survey),
        crawled=crawl_steps(survey.audit.origin),
        overlaps=charts.overlaps(survey.overlaps, [rule.name for rule in survey.plan.recipe.rules]),
        shown=charts.COMBINATIONS,
        sections=rules,
        kinds=KINDS,
        pictures=pictures,
        dropped_unseen=_dropped_unseen(survey, pictures),
        dataset=shlex.quote(dataset),
        blur=blur_of(survey.plan),
        agreement=AGREEMENT,
    )


def diff_page(diff: Diff, pictures: SamplePictures, plans: Iterable[Plan]) -> str:
    """Return what two ledgers, of these plans, decide otherwise as a page."""
    blur = min(map(blur_of, plans))
    return _render("diff.html.j2", diff=diff, pictures=pictures, blur=blur, outcomes=OUTCOMES)


def comparison_page(comparison: DatasetComparison) -> str:
    """Return what two datasets have in common as a page."""
    return _render("comparison.html.j2", **comparison_values(comparison))


def ablation_page(ablation: Ablation) -> str:
    """Return an ablation as a page: arms, differences, and quality against size where there are fractions."""
    against: dict[str, list[Difference]] = {}
    for difference in ablation.differences:
        if difference.metric is None:
            against.setdefault(difference.against, []).append(difference)
    main = ablation.metrics[0] if ablation.metrics else None
    lines = ablation.lines if main is not None else {}
    return _render(
        "ablation.html.j2",
        ablation=ablation,
        forest=ablation_charts.forest(ablation, main) if main is not None else None,
        differences=[ablation_charts.differences(group, ablation.names) for group in against.values()],
        sizes=[ablation_charts.sizes(ablation, of, main) for of in lines.values()] if main is not None else [],
    )


def search_page(search: SearchResults, pictures: Pictures, query: Pictures) -> str:
    """Return what a search found as a page; `pictures` are by uid, those of the query's images (`query`) by name."""
    return _render("search.html.j2", search=search, pictures=pictures, query=query)


def selected_page(selected: Selected, plan: Plan, title: str, pictures: SamplePictures) -> str:
    """Return pairs of a selection as a page."""
    return _render("selected.html.j2", selected=selected, title=title, pictures=pictures, blur=blur_of(plan))


def calibration_page(report: CalibrationReport, pictures: SamplePictures) -> str:
    """Return a calibration as a page, with the thumbnails of the nearest random pairs."""
    calibration = report.calibration
    return _render(
        "calibration.html.j2",
        report=report,
        verdict=report.verdict,
        notes=report.notes,
        at=calibration.at_threshold,
        abouts={kind: augmentation.about for kind, augmentation in AUGMENTATIONS.items()},
        copies=calibration_charts.found_copies(calibration),
        pairs=calibration_charts.false_pairs(calibration),
        pictures=pictures,
        blur=BLUR,
    )


def _render(template: str, **values: Any) -> str:
    """Return a page; none has a script, or loads anything."""
    style = Markup(stylesheet())  # noqa: S704 - ours
    return environment().get_template(template).render({"style": style, "style_source": _source(style), **values})


def _source(inline: str) -> str:
    """Return what stands in a policy for the page's own style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()}'"


@cache
def stylesheet() -> str:
    """Return the style of every page, of reports and of the explorer."""
    return files("align_data.report").joinpath("static", "style.css").read_text("utf-8")


@cache
def environment(package: str = "align_data.report") -> Environment:
    """Return the templates of a package, and those of reports, escaping all that they are given."""
    reports = PackageLoader("align_data.report", "templates")
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "templates"), reports]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        n=_number,
        many=_many,
        share=share,
        signed=_signed,
        spec=_spec,
        svg=svg,
        width=_width,
        clock=_clock,
        url=mask_url,
        cut=_cut,
        code=_code,
    )
    return environment


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def _many(number: int, word: str) -> str:
    """Return a number of things, in the singular where it is one."""
    return f"{number:,} {word}" + ("" if number == 1 else "s")


def _signed(value: float) -> str:
    return f"{value:+,.0f}".replace("-", "−")


def _code(text: str) -> Markup:
    """Return a text of ours with what stands between backticks as code."""
    return Markup(_BACKTICKS.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped


def _cut(text: str) -> str:
    """Return a text, cut where it is too long for a page, with its length."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} [...] ({len(text):,} characters)"


def _width(number: float, whole: float) -> str:
    """Return a bar's width in percent; what is not nothing is never drawn as nothing."""
    return f"{max(0.01, 100 * number / whole):.2f}" if number and whole else "0"


def _clock(seconds: float) -> str:
    return f"{seconds:,.1f} s" if seconds < 600 else f"{seconds / 60:,.0f} min"


def _spec(spec: Mapping[str, Any]) -> Markup:
    """Return a chart as JSON that no text in it can end: a browser reads it, and runs nothing of it."""
    content = json.dumps(spec, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")
    return Markup(content.replace(">", "\\u003e"))  # noqa: S704 - nothing is left to escape


def _value(value: Any, signal: Signal) -> str:
    """Return a signal's value as a reader should see it."""
    if value is None:
        return "not measured"
    value = signal.shown(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return _number(value) if isinstance(value, int | float) else str(value)


def blur_of(plan: Plan) -> float:
    """Return the nsfw score from which pictures are blurred: the least that a plan's rules drop, or BLUR."""
    tests = [test for rule in plan.rules for test in rule.tests if test.signal == "nsfw"]
    bounds = [bound.value for test in tests for bound in test.bounds if not bound.lower]
    return float(min(bounds, default=BLUR))


def _dropped_unseen(survey: Survey, pictures: SamplePictures) -> bool:
    """Whether pairs are dropped, and no picture of one is shown."""
    samples = [sample for (_, kind), of_kind in survey.samples.items() if kind != "kept" for sample in of_kind]
    shown = (*samples, *chain.from_iterable(survey.pictured.values()))
    return survey.audit.dropped > 0 and not any(sample.url in pictures for sample in shown)


class _LeafSection:
    """What the page shows of one test."""

    def __init__(self, survey: Survey, leaf: Comparison) -> None:
        self.plain, self.test = leaf.plain, f"{leaf.test.op} {text(leaf.test.value, ',')}"
        self.words = f", {leaf.class_words}" if leaf.class_words else ""
        self.signal = leaf.test.definition
        self.curve: Curve | None = survey.curves.get(leaf.name)
        self.distribution = charts.distribution(self.curve) if self.curve is not None else None
        self.sweeps = charts.sweeps(survey, leaf, self.curve) if self.curve is not None and self.distribution else []
        self.samples = {kind: survey.samples.get((leaf.name, kind), []) for kind in KINDS}

    @property
    def none(self) -> int:
        """Pairs whose value stands for 'has none'."""
        if self.curve is None or self.curve.scale is None or self.signal.none is None:
            return 0
        bin_of_none = int(self.curve.scale.place(pl.Series([self.signal.none]))[0])
        return int(self.curve.counts[:, bin_of_none].sum())

    def value(self, sample: SampledPair) -> str:
        """Return the value that the test compares of a pair."""
        return _value(sample.values.get(self.signal.name), self.signal)


class _Section:
    """What the page shows of one rule."""

    def __init__(self, survey: Survey, planned: PlannedRule) -> None:
        self.rule = planned.rule
        self.audit = survey.audit.rules[planned.position]
        self.became = planned.threshold if planned.in_force else None
        self.plain = planned.plain
        self.leaves = [_LeafSection(survey, leaf) for leaf in of_rule(planned)]
        self.classes = sum(1 for _ in of_rule(planned, None))
        self.random = survey.samples.get((planned.name, "random"), [])
        self.pictured = survey.pictured.get(planned.name, [])
        self._compared = {test.signal: test.definition for test in planned.tests}
        self._compared |= {test.by.name: test.by for test in planned.tests if test.by is not None}

    @property
    def sampled(self) -> bool:
        """Whether there are samples."""
        return bool(self.random or self.pictured) or any(any(leaf.samples.values()) for leaf in self.leaves)

    def value(self, sample: SampledPair) -> str:
        """Return what the rule compares of a pair, by name where it is several values."""
        shown = {name: _value(sample.values.get(name), signal) for name, signal in self._compared.items()}
        named = [f"{name} {value}" for name, value in shown.items()]
        return ", ".join(named if len(named) > 1 else shown.values())


def _funnel(survey: Survey) -> list[tuple[str, int, str]]:
    """Return the steps from the input's rows to what is kept: name, number, kind."""
    account, audit = survey.account, survey.audit
    refused = account["refused_tombstone"]
    lines = [
        ("rows in", account["rows"], "rows"),
        ("rejected: no pair can be made of them", account["rejected"], "lost"),
        ("merged: the same URL and text again", account["merged"], "lost"),
        *([("refused: taken down before it came again", refused, "lost")] if refused else []),
        ("pairs", audit.pairs, "pairs"),
    ]
    lines += [(f"left after {rule.rule}", rule.left_after, "left") for rule in audit.rules if not rule.off]
    if audit.taken_down:
        lines.append(("taken down", audit.taken_down, "lost"))
    return [
        *lines,
        ("dropped", audit.dropped, "lost"),
        ("pending", audit.pending, "pending"),
        ("kept", audit.kept, "kept"),
    ]
