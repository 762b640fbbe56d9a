"""Groups: near-duplicates, shared texts, hosts and whatever else divides the pool, the largest first."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from align_data.explorer.opened import Explorer
from align_data.explorer.pictures import addresses
from align_data.explorer.rendering import explorer_of, page, words_of
from align_data.report.page import blur_of
from align_data.selection import Condition, PairSelection, select
from align_data.selection.askable import OUTCOME
from align_data.selection.draft import Draft
from align_data.selection.selection import WHERE
from align_data.stages.audit import survey
from align_data.stages.audit.dimensions import DIMENSIONS


def _groups(request: Request) -> Response:
    """Show the page; the tables follow, for they take a scan of the pool."""
    return page(request, "groups.html.j2", explorer_of(request).draft(words_of(request)))


def _tables(request: Request) -> Response:
    explorer = explorer_of(request)
    draft = explorer.draft(words_of(request))
    dataset = explorer.dataset()
    surveyed = explorer.cached(
        ("groups", explorer.identity(), draft.ledger.name),
        lambda: survey(dataset, draft.ledger.name, explorer.engine, explorer.progress, samples=0),
    )
    near = list(chain.from_iterable(method.pictured() for method in surveyed.near))
    outcomes = explorer.cached(
        ("outcomes of groups", explorer.identity(), draft.ledger.name),
        lambda: _outcomes(explorer, draft, {image.uid for image in near}),
    )
    return page(
        request,
        "groups_tables.html.j2",
        draft,
        survey=surveyed,
        pictures=addresses(request, dataset, near),
        blur=blur_of(draft.ledger.plan),
        pairs_of=pairs_of,
        these_pairs=these_pairs,
        outcomes=outcomes,
    )


def _outcomes(explorer: Explorer, draft: Draft, uids: Collection[str]) -> dict[str, str]:
    """Return what the ledger makes of each of some pairs; nothing of those that were taken down."""
    if not uids:
        return {}
    selection = PairSelection(where=(Condition.equal("uid", *sorted(uids)),))
    selected = select(
        explorer.dataset(), draft.ledger, draft.ledger.plan, selection, explorer.engine, explorer.progress,
        number=len(uids),
    )  # fmt: skip
    return {pair.uid: pair.outcome for pair in selected.pairs}


def pairs_of(draft: Draft, column: str, label: str, *outcomes: str) -> str:
    """Return the address, below the root, of the pairs of a group: those with a text or URL, or in a class.

    `outcomes` are those that are meant, where not all are.
    """
    conditions = [*_conditions(column, label), *([str(Condition.equal(OUTCOME, *outcomes))] if outcomes else [])]
    return f"pairs?{urlencode([*draft.words, *((WHERE, condition) for condition in conditions)])}"


def these_pairs(draft: Draft, uids: Sequence[str]) -> str:
    """Return the address, below the root, of the pairs with these uids."""
    return f"pairs?{urlencode([*draft.words, (WHERE, str(Condition.equal('uid', *uids)))])}"


def _conditions(column: str, label: str) -> list[str]:
    """Return what holds of a group's pairs, by how a table calls it."""
    dimension = next((dimension for dimension in DIMENSIONS if dimension.signal == column), None)
    if dimension is None:
        return [str(Condition.equal(column, label))]
    if label == dimension.label(None):
        return [f"{column}=null"]
    if not dimension.edges:
        return [str(Condition.equal(column, "" if label == dimension.label("") else label))]
    ends = [None, *dimension.edges, None]
    low, high = next(ends[n : n + 2] for n in range(len(ends) - 1) if dimension.label(n) == label)
    return [f"{column}{op}{end}" for op, end in ((">=", low), ("<", high)) if end is not None]


ROUTES = [Route("/groups", _groups), Route("/groups/tables", _tables)]
