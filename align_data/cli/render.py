"""Reports for people: tables and sentences on standard output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from align_data.common.secrets import mask, mask_url
from align_data.recipes.operators import OPERATORS, figure

if TYPE_CHECKING:  # each command needs one of them
    from align_data.data.meta import AccountMeta
    from align_data.sources.crawl.account import CrawlAccount
    from align_data.stages.audit import Audit, Diff, NearMethod, RuleAudit, Swept, SweptTable
    from align_data.stages.audit.diff import OnlyKept
    from align_data.stages.audit.origin import CrawlOrigin
    from align_data.stages.ingest import Account, Rejected
    from align_data.stages.score.by_list import ListScored
    from align_data.stages.why import Why
    from align_data.train.ablate import Ablation

_ALT = "alt"
"""What a text is from that needs no word."""
_DETAIL = 80
"""Characters of an example that are shown."""
_COLORS = {"pass": "green", "fail": "red", "unknown": "yellow", "off": "dim"}
_COLORS |= {"kept": "green", "dropped": "red", "pending": "yellow"}


def account(account: Account | AccountMeta) -> str:
    """Return the account of an ingest as a sentence."""
    return (
        f"{account.rows:,} rows in = {account.pairs:,} pairs + {account.merged:,} merged"
        f" + {account.rejected:,} rejected{_reasons(account.reasons)}"
        + (f" + {account.refused_tombstone:,} refused_tombstone" if account.refused_tombstone else "")
        + (" (already ingested)" if account.already else "")
    )


def _reasons(reasons: Mapping[str, int]) -> str:
    return f" ({', '.join(f'{number:,} {reason}' for reason, number in reasons.items())})" if reasons else ""


def listed_scores(scored: ListScored) -> list[str]:
    """Return what became of the pairs and of the rows of a list, as sentences."""
    listed = scored.listed
    without = scored.pairs - scored.scored - listed.contradicted_pairs
    contradicted = f", {listed.contradicted_pairs:,} have rows that contradict" if listed.contradicted_pairs else ""
    of_pairs = (
        f"{scored.signal}: {scored.scored:,} of {scored.pairs:,} pairs have a score, {without:,} have no row"
        f"{contradicted}{' (all scored before)' if scored.already else ''}"
    )
    of_rows = (
        f"{listed.rows:,} rows in = {listed.taken:,} taken + {listed.repeated:,} repeated + {listed.contradicting:,} "
        f"contradicting + {listed.without_pair:,} without a pair + {listed.rejected:,} rejected"
        f"{_reasons(listed.reasons)}; joined by {scored.by}"
    )
    return [of_pairs, of_rows]


def crawl_account(archives: int, account: CrawlAccount) -> list[str]:
    """Return the account of archives as sentences."""
    further = f" + {account.further_texts:,} further texts" if account.further_texts else ""
    of_records = (
        f"{account.records:,} records = {account.pages:,} pages + {account.skipped.total():,} skipped"
        f"{_frequent_first(account.skipped)} + {account.damaged.total():,} damaged{_frequent_first(account.damaged)}"
    )
    of_images = (
        f"{account.images:,} images{further} = {account.rows:,} rows + {account.refused.total():,} refused"
        f"{_frequent_first(account.refused)} + {account.repeated:,} repeated on their page"
    )
    return [f"{archives:,} archives" if archives != 1 else "1 archive", of_records, of_images]


def _frequent_first(reasons: Mapping[str, int]) -> str:
    return _reasons(dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))))


def _origin(out: Console, origin: CrawlOrigin) -> None:
    """Print what became of a crawl, and then of its rows and those of other lists."""
    crawl, ingested = origin.crawl, origin.ingested
    archives, *lines = crawl_account(crawl.archives, crawl.account)
    archives += f", {crawl.cut_short:,} of them cut short" if crawl.cut_short else ""
    archives += f"; {crawl.unread:,} more could not be read" if crawl.unread else ""
    if origin.other_rows:
        lines.append(
            f"{crawl.rows:,} rows of the crawl + {origin.other_rows:,} of other lists = {ingested.rows:,} rows in"
        )
    for line in [archives, *lines, account(ingested)]:
        out.print(escape(line), soft_wrap=True)


def rejected(url: str, account: Account, row: Rejected) -> str:
    """Return where the rejected rows lie, and one of the most frequent reason, as a sentence."""
    detail = visible(mask(row.detail))
    cause = f": {detail[:_DETAIL]}{'…' if len(detail) > _DETAIL else ''}" if detail else ""
    return (
        f"the rejected rows are in {mask(url.rstrip('/'))}/rejected; most frequent is {row.reason} "
        f"({account.reasons[row.reason]:,}), such as row {row.row:,} of {row.source}{cause}"
    )


def visible(text: str) -> str:
    """Return a stranger's text without what would steer a terminal."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _print_dim(out: Console, line: str) -> None:
    # without markup, in which a backslash at the end of a URL would take the closing tag for itself
    out.print(line, style="dim", markup=False, soft_wrap=True)


def _share(number: int, whole: int) -> str:
    return f"{number / whole:.1%}" if whole else "-"


def audit(out: Console, audit: Audit, *, told: bool = False) -> None:
    """Print an audit: the rules in order, what remains, and the notes.

    And before it where the rows are from, unless the accounts have been `told`.
    """
    table = Table(
        title=f"{escape(audit.title)}: ledger {escape(audit.recipe)}, {audit.pairs:,} pairs",
        title_justify="left",
    )
    if audit.origin is not None and not told:
        _origin(out, audit.origin)
    table.add_column("rule", no_wrap=True)
    table.add_column("test", overflow="fold")
    for name in ("fail", "fail only this", "unknown", "left after"):
        table.add_column(name, justify="right", no_wrap=name != "fail only this")
    for rule in audit.rules:
        mark = " *" if rule.chosen else ""
        if rule.off:
            table.add_row(escape(rule.rule), "[dim]taken out[/dim]", "", "", "", f"{rule.left_after:,}")
            continue
        table.add_row(
            escape(rule.rule),
            escape(_test(rule)) + mark,
            f"{rule.fail:,} ({_share(rule.fail, audit.pairs)})",
            f"{rule.fail_only:,}",
            f"{rule.unknown:,}",
            f"{rule.left_after:,}",
        )
    out.print(table)
    for name in ("kept", "dropped", "pending"):
        number = getattr(audit, name)
        out.print(f"[{_COLORS[name]}]{name:8}[/] {number:>14,}  {_share(number, audit.pairs):>6} of all pairs")
    for line in audit.overrides:
        out.print(escape(f"in force: {line}"))
    for line in audit.notes:
        # Not wrapped: a command in it is to be copied.
        out.print(escape(("* " if line.startswith("chosen") else "") + line), soft_wrap=True)


def swept(out: Console, sweep: Swept) -> None:
    """Print what each threshold would keep."""
    name = sweep.rule if sweep.of_class is None else f"{sweep.rule}, class {sweep.of_class}"
    table = Table(title=f"{escape(name)}: kept and pending with every other rule in force", title_justify="left")
    for name in (f"{sweep.signal} {sweep.op}", "kept", "pending"):
        table.add_column(escape(name), justify="right")
    for point in sweep.values:
        table.add_row(escape(_value(point.value)), f"{point.kept:,}", f"{point.pending:,}")
    out.print(table)
    for change in sweep.changes or []:
        out.print(escape(f"  {change.before} -> {change.after}  {change.value!s:>8}  {change.alt_text[:90]!r}"))
        _print_dim(out, f"      {change.uid}  {change.url[:90]}")


def _value(value: Any) -> str:
    """Return a threshold as a table shows it."""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def swept_table(out: Console, swept: SweptTable) -> None:
    """Print what each combination of two thresholds would keep; and what would be pending, where anything is."""
    rows, columns = swept.rows, swept.columns
    tables = [("kept", swept.kept), *([("pending", swept.pending)] if any(map(any, swept.pending)) else [])]
    for outcome, numbers in tables:
        down, across = (" ".join(filter(None, (side.signal, side.op, side.of_class))) for side in (rows, columns))
        title = f"{outcome} by {down} (down) and {across} (across), with every other rule in force"
        out.print(
            f"[italic]{escape(title)}[/]", soft_wrap=True
        )  # which would be wrapped to as little as a narrow table
        table = Table()
        for heading in (down, *map(_value, columns.values)):
            table.add_column(escape(heading), justify="right")
        for value, line in zip(rows.values, numbers, strict=True):
            table.add_row(escape(_value(value)), *(f"{number:,}" for number in line))
        out.print(table)


def diff(out: Console, difference: Diff) -> None:
    """Print what two ledgers decide otherwise."""
    for name, number, pending in (
        ("kept by both", difference.both, ""),
        (f"only by {difference.a}", difference.only_a.pairs, _pending(difference.only_a, difference.b)),
        (f"only by {difference.b}", difference.only_b.pairs, _pending(difference.only_b, difference.a)),
        ("dropped by both", difference.both_drop, ""),
        ("kept by neither, pending", difference.undecided, "; pending in one or both"),
    ):
        share = _share(number, difference.pairs)
        out.print(escape(f"{name:30} {number:>14,}  {share:>6} of all pairs{pending}"), soft_wrap=True)
    if difference.added is not None:
        added = difference.added
        out.print(
            escape(
                f"{added.pairs:,} pairs were added between the two, and are in no other count; {added.ledger} has "
                f"{added.kept:,} kept, {added.pending:,} pending, {added.dropped:,} dropped"
            ),
            soft_wrap=True,
        )
    _outcomes(out, difference)
    _compared_rules(out, difference)
    for only, opposite in ((difference.only_a, difference.b), (difference.only_b, difference.a)):
        if only.by:
            table = Table(title=escape(f"Why {opposite} does not keep what {only.ledger} keeps"), title_justify="left")
            table.add_column(escape(f"rule of {opposite}"))
            for name in ("fail", "fail only this", "unknown"):
                table.add_column(name, justify="right")
            for by in only.by:
                table.add_row(escape(by.rule), f"{by.fail:,}", f"{by.fail_only:,}", f"{by.unknown:,}")
            out.print(table)
        for sample in only.samples:
            out.print(escape(f"  only {only.ledger}: {sample.alt_text[:90]!r}"), soft_wrap=True)
            _print_dim(out, f"      {sample.uid}  {mask_url(sample.url)[:90]}")


def ablation(out: Console, results: Ablation) -> None:
    """Print the arms with their intervals, and whether they differ."""
    of = f"{results.setup.seeds:,} seeds, {results.setup.evaluation_pairs:,} pairs to evaluate on"
    table = Table(title=f"Arms of {escape(results.setup.ledger)}: {of}; mean and 95 % interval", title_justify="left")
    table.add_column("arm", no_wrap=True)
    compared = results.headline
    metrics = compared if len(compared) > 1 else results.metrics
    for name in ("pairs", *metrics):
        table.add_column(name, justify="right")
    for name in results.names:
        cells = [results.shown(name, metric) for metric in metrics]
        table.add_row(escape(name), f"{results.size(name):,}", *cells)
    out.print(table)
    for line in results.notes:
        out.print(escape(line), soft_wrap=True)
    for difference in results.differences:
        out.print(escape(difference.sentence), style=None if difference.distinguishable else "dim", soft_wrap=True)
    for run in results.failures:
        out.print(
            escape(f"failed: {results.title(run)}: {run.failure}"),
            style="red",
            soft_wrap=True,
        )


def _pending(only: OnlyKept, other: str) -> str:
    return f"; {only.pending:,} of them pending in {other}" if only.pending else ""


def _compared_rules(out: Console, difference: Diff) -> None:
    """Print what the two ledgers ask for by the rules in which they differ."""
    differing = [rule for rule in difference.rules if rule.a != rule.b]
    if not differing:
        return
    table = Table(title="What they ask for otherwise", title_justify="left")
    for name in ("rule", difference.a, difference.b):
        table.add_column(escape(name))
    for rule in differing:
        table.add_row(*(escape(words or "no such rule") for words in (rule.rule, rule.a, rule.b)))
    out.print(table)


def _outcomes(out: Console, difference: Diff) -> None:
    """Print how many pairs have each outcome in one ledger and in the other."""
    from align_data.data.ledger import OUTCOMES  # noqa: PLC0415 - ingest needs no audit

    table = Table(
        title=f"Outcomes in {escape(difference.a)} (down) and {escape(difference.b)} (across)", title_justify="left"
    )
    table.add_column(escape(difference.a))
    for name in OUTCOMES:
        table.add_column(f"{name} in {escape(difference.b)}", justify="right")
    for name, numbers in zip(OUTCOMES, difference.outcomes, strict=True):
        table.add_row(name, *(f"{number:,}" for number in numbers))
    out.print(table)


def _test(rule: RuleAudit) -> str:
    """Return a rule's test with its big number in groups of three, behind its signal if the rule has another name."""
    op, _, value = rule.test.partition(" ")
    test = f"{op} {int(value):,}" if op == "top_k" else rule.test
    signal = rule.signal.partition(", ")[0]
    return test if signal == rule.rule or op.partition(".")[0] not in OPERATORS else f"{signal} {test}"


def overlap(out: Console, audit: Audit) -> None:
    """Print how many pairs fail both of two rules."""
    rules = [i for i, rule in enumerate(audit.rules) if rule.fail]
    table = Table(title="Pairs that fail both rules; on the diagonal, that fail the rule", title_justify="left")
    table.add_column("")
    for i in rules:
        table.add_column(escape(audit.rules[i].rule), justify="right")
    for i in rules:
        table.add_row(escape(audit.rules[i].rule), *(f"{audit.overlap[i][j]:,}" for j in rules))
    out.print(table)


_GROUPS = 3
"""Of near-duplicates, that are printed."""


def near_duplicates(out: Console, methods: Sequence[NearMethod]) -> None:
    """Print what keeping the first of near-duplicates drops, and the largest groups, of each method."""
    if not methods:
        out.print(
            "\nNo near-duplicates are measured: align-data measure finds them by pHash, align-data neighbours by model"
        )
    for method in methods:
        ordinal = "bits, at most" if method.unit == "bits" else "cosine, at least"
        out.print(f"\nNear-duplicates by {escape(method.title)}, of {method.images:,} images", soft_wrap=True)
        table = Table()
        table.add_column(ordinal, justify="right")
        table.add_column("dropped by keeping the first", justify="right")
        for entry in method.keep_one:
            table.add_row(f"{entry.threshold:g}", f"{entry.images:,}")
        out.print(table)
        for group in method.groups[:_GROUPS]:
            out.print(escape(f"  {group.images:,} images like {mask_url(group.centre.url)[:90]}"), soft_wrap=True)
        for note in method.notes:
            _print_dim(out, f"  {note}")


def examples(out: Console, by_rule: dict[str, list[dict[str, Any]]]) -> None:
    """Print samples of what each rule alone drops."""
    for rule, rows in by_rule.items():
        if rows:
            out.print(f"\n[bold]{escape(rule)}[/bold] alone drops, for example:")
        for row in rows:
            value = row["value"]
            if isinstance(value, dict):
                value = ", ".join(f"{name} {figure(of)}" for name, of in value.items())
            out.print(escape(f"  {figure(value):>10}  {row['alt_text'][:90]!r}"), soft_wrap=True)
            _print_dim(out, f"              {row['uid']}  {row['url'][:90]}")


def _provenance(origin: Mapping[str, Any]) -> Iterator[str]:
    """Yield where a pair is from."""
    if origin.get("text_from", _ALT) != _ALT:
        yield f"text from {origin['text_from']}"
    if "page_url" in origin:
        yield f"page      {origin['page_url']}"
    if "crawl_file" in origin:
        at = f"byte {origin['crawl_offset']} of " if "crawl_offset" in origin else ""
        yield f"record    {at}{origin['crawl_file']}"
    if origin.get("robots"):
        yield f"robots    {origin['robots']}"


def why(out: Console, why: Why) -> None:
    """Print what is known of one pair."""
    out.print(f"[bold]{escape(why.uid)}[/bold]  [{_COLORS.get(why.outcome, 'dim')}]{why.outcome}[/]", soft_wrap=True)
    out.print(escape(f"  url       {why.url}"), soft_wrap=True)
    out.print(escape(f"  alt_text  {why.alt_text!r}"), soft_wrap=True)
    for line in _provenance(why.provenance):
        out.print(escape(f"  {visible(line)}"), soft_wrap=True)
    values = ", ".join(f"{name} {figure(value)}" for name, value in why.values.items() if value is not None)
    if values:
        out.print(escape(f"  measured  {values}"), soft_wrap=True)
    for verdict in why.verdicts:
        out.print(f"  [{_COLORS[verdict.verdict]}]{verdict.verdict:8}[/] {escape(verdict.sentence)}", soft_wrap=True)
    for line in why.explanations:
        out.print(escape(f"  {line}"), soft_wrap=True)
    if why.picture is not None:
        out.print(escape(f"  picture   {why.picture['tar']}"), soft_wrap=True)
    for url in why.others:
        out.print(escape(f"  same text {url}"), soft_wrap=True)
