"""What the text half will come to: distinct pairs and URLs, what each rule drops, which URLs are to be fetched.

A sample of URLs has all pairs of each, and a sample of texts all pairs of each. So what is counted by URL is right in
the first, and what is counted by text in the second; but few of either are those with very many pairs, which can have
a large share of the pool. These are frequent in the other sample, and counted there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import polars as pl

from align_data.recipes.plan import Plan, PlannedRule
from align_data.signals.text import HOST
from align_data.stages.forecast.figures import Clusters, Figure
from align_data.stages.forecast.lists import TextKey, text_key
from align_data.stages.forecast.trial import FREQUENT, OF_TEXT, OF_URL, Trial, counted_by


@dataclass(frozen=True)
class RuleForecast:
    """How many pairs fail a rule, None where no sample tells; and of how many it is unknown before a fetch."""

    rule: str
    test: str
    fail: Figure | None
    unknown: Figure


@dataclass(frozen=True)
class Side:
    """A sample of a pool: its pairs with their masks, the key of their `cluster`, and whether they are `frequent`.

    Frequent are those whose other key, the text in a sample of URLs, is there so often that this tells of the pool.
    """

    pairs: pl.DataFrame
    share: float
    rows: Figure

    @cached_property
    def _clusters(self) -> Clusters:
        grouped = self.pairs.group_by("cluster", maintain_order=True).agg(pl.col("copies").sum())
        return Clusters(grouped["copies"].cast(pl.Float64).to_numpy(), self.share, self.rows)

    def total(self, of: pl.Expr, unit: str = "pairs") -> Figure:
        """Return the pool's total of a number that each pair has."""
        numbers = self.pairs.select("cluster", of.cast(pl.Float64).alias("of"))
        grouped = numbers.group_by("cluster", maintain_order=True).agg(pl.col("of").sum())
        return self._clusters.total(grouped["of"].to_numpy(), unit)

    def without(self, rows_of_largest: float, frequent: Figure) -> Side:
        """Return what of it is in smaller clusters; `frequent` are the pool's rows that are in larger ones."""
        pairs = self.pairs.filter(pl.len().over("cluster") < rows_of_largest)
        return Side(pairs, self.share, self.rows.plus(frequent.times(-1)))


@dataclass(frozen=True)
class TextForecast:
    """What is told of pairs by two samples of a pool: of URLs, and of texts."""

    plan: Plan
    of_urls: Side
    of_texts: Side | None
    """None where no rule counts over the pool, or the sample of URLs has all of it."""

    @property
    def whole(self) -> bool:
        """Whether the sample has all of the pool, so that everything is counted."""
        return self.of_urls.share >= 1

    @cached_property
    def pairs(self) -> Figure:
        """Distinct pairs."""
        return self.of_urls.total(pl.col("copies") > 0)

    @cached_property
    def urls(self) -> Figure:
        """Distinct URLs."""
        return self.of_urls.total(_FIRST, "URLs")

    @cached_property
    def rules(self) -> list[RuleForecast]:
        """Each rule in force."""
        return [
            RuleForecast(rule.name, rule.request, self._fail(rule), self.of_urls.total(_has("unknown", rule.bit)))
            for rule in self.plan.in_force
        ]

    @cached_property
    def untold(self) -> list[str]:
        """Rules that a sample cannot tell: their thresholds or counts are of the pool as a whole."""
        return [rule.name for rule in self.plan.in_force if self.kind(rule) is None]

    @cached_property
    def dropped(self) -> Figure:
        """Pairs that the rules drop which can be told before anything is fetched."""
        if self.whole:
            return self.of_urls.total(_has("failed", self._bits("row")))
        passing = self._passing
        for kind in ("text", "url"):
            passing = passing.times(self._pass(kind))
        return self.pairs.plus(passing.times(-1))

    @cached_property
    def open_urls(self) -> Figure:
        """URLs of pairs that are not dropped before anything is fetched: what a fetch asks for."""
        return self._open(pl.lit(True))

    def open_hosts(self, number: int) -> list[tuple[str, Figure]]:
        """Return the hosts of most URLs to be fetched, with how many these are."""
        hosts = self.of_urls.pairs.filter(self._opening).select(_HOST).to_series().value_counts(sort=True)
        hosts = hosts.sort("count", "host", descending=[True, False]).head(number)
        return [(host, self._open(_HOST.eq(host))) for host in hosts["host"].to_list()]

    @property
    def openings(self) -> pl.DataFrame:
        """A pair of each URL of the sample that is to be fetched, in the order of their hashes."""
        return self.of_urls.pairs.filter(self._opening)

    def kind(self, rule: PlannedRule) -> str | None:
        """Return what tells a rule: its row, or the pairs of its URL or of its text; None where no sample does."""
        if self.whole:
            return "row"
        kinds = counted_by(self.plan, rule.columns)
        if rule.threshold is not None or (kinds and not (kinds <= {*OF_TEXT} or kinds <= {*OF_URL})):
            return None
        return "text" if kinds & {*OF_TEXT} else "url" if kinds else "row"

    def _fail(self, rule: PlannedRule) -> Figure | None:
        kind = self.kind(rule)
        if kind in ("text", "url"):
            return self._failing(kind, _has("failed", rule.bit))
        return None if kind is None else self.of_urls.total(_has("failed", rule.bit))

    def _failing(self, kind: str, fails: pl.Expr) -> Figure:
        """Return how many pairs fail by what is counted by text or by URL: the rare ones, and the frequent ones."""
        assert self.of_texts is not None
        sample_of_kind, opposite = (self.of_texts, self.of_urls) if kind == "text" else (self.of_urls, self.of_texts)
        frequent = opposite.total(pl.when("frequent").then("copies").otherwise(0), "rows")
        rare = sample_of_kind.without(FREQUENT / opposite.share, frequent)
        return rare.total(fails).plus(opposite.total(fails & pl.col("frequent")))

    @cached_property
    def _passing(self) -> Figure:
        """Pairs that pass the rules on their row."""
        return self.of_urls.total(~_has("failed", self._bits("row")))

    def _pass(self, kind: str) -> Figure:
        """The share of these that pass the rules on counts of this kind, taken as independent of the other kind."""
        if not (bits := self._bits(kind)) or not self._passing.value:
            return Figure(1.0, "", "counted")
        fail = self._failing(kind, _has("failed", bits) & ~_has("failed", self._bits("row")))
        return Figure(1 - fail.value / self._passing.value, "", "sampled", (fail.error or 0) / self._passing.value)

    def _bits(self, *kinds: str) -> int:
        return self.plan.bits(rule.name for rule in self.plan.in_force if self.kind(rule) in kinds)

    @property
    def _opening(self) -> pl.Expr:
        """Whether a pair is the first of its URL that is not dropped by its row, or by the pairs of the URL."""
        is_open = ~_has("failed", self._bits("row", "url"))
        return is_open & (is_open.cum_sum().over("cluster") == 1)

    def _open(self, among: pl.Expr) -> Figure:
        return self.of_urls.total(self._opening & among, "URLs").times(self._pass("text"))


def side(trial: Trial, cluster: TextKey | None, opposite: TextKey | None, share: float, rows: Figure) -> Side:
    """Return a sample whose clusters are texts by this key, or URLs for None; and what else can be frequent in it."""
    verdicts = trial.verdicts
    keyed = verdicts.with_columns(_key(verdicts, cluster).alias("cluster"), _key(verdicts, opposite).alias("opposite"))
    frequent = (pl.len().over("opposite") >= FREQUENT) & (share < 1)
    return Side(keyed.with_columns(frequent.alias("frequent")), share, rows)


def _key(verdicts: pl.DataFrame, by: TextKey | None) -> pl.Series:
    return verdicts["url"] if by is None else text_key(verdicts["alt_text"], by)


def _has(column: str, bits: int) -> pl.Expr:
    return pl.col(column) & bits != 0


_FIRST = pl.int_range(pl.len()).over("cluster") == 0
"""Whether a pair is the first of its cluster."""
_HOST = pl.col("url").str.extract(HOST, 1).str.to_lowercase().fill_null("").alias("host")
