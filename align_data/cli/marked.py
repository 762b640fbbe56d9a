"""A ledger against marks by hand, as a table."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from align_data.stages.audit import DRAW, MarkedAudit, Share


def render_marked(out: Console, audit: MarkedAudit) -> None:
    """Print precision and recall of each rule, and of the whole ledger last."""
    whole = audit.whole
    table = Table(
        title=f"By the label {escape(audit.label)}: {whole.keep:,} marked keep, {whole.drop:,} drop, "
        f"{whole.unsure:,} unsure",
        title_justify="left",
    )
    table.add_column("rule")
    for name in ("precision", "95 %", "recall", "95 %", "drops of keep", "of unsure", "unknown"):
        table.add_column(name, justify="right")
    for rule in (*audit.rules, whole):
        cells = [*_cells(rule.precision), *_cells(rule.recall)]
        numbers = (rule.keep_dropped, rule.unsure_dropped, rule.unknown)
        name = "all rules" if rule.rule is None else escape(rule.rule)
        table.add_row(name, *cells, *(f"{number:,}" for number in numbers))
    out.print(table)
    out.print(
        "Precision: of the marked pairs that the rule drops, those marked drop. Recall: of those marked drop, those "
        f"that it drops. Unsure ones are in neither. {DRAW}"
    )


def _cells(share: Share) -> tuple[str, str]:
    """Return a share in numbers, and its interval; of no pairs neither."""
    if not share.of:
        return "-", ""
    low, high = share.interval
    return f"{share.number:,} of {share.of:,}: {share.number / share.of:.1%}", f"{low:.1%} to {high:.1%}"
