"""A chart with all that a page shows of it: the drawing, what it is in words, and its figures as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from align_data.report.vega_lite import Spec

Cell = str | int | float | None
"""Of a table: text as it is shown, a number, or None where there is none."""


@dataclass(frozen=True)
class Figures:
    """The numbers that a chart draws, as a table whose first column names the rows."""

    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Chart:
    """A chart of a page."""

    about: str
    """What it shows, for those who do not see it: its alternative text."""
    drawing: Spec
    figures: Figures
    title: str = ""

    @property
    def spec(self) -> Spec:
        """The drawing as Vega-Lite, with what it shows in words."""
        return {**self.drawing, "description": self.about}
