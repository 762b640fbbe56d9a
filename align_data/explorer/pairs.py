"""Pairs: those of a selection with pictures and texts, and what narrows it."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from align_data.common.errors import RecipeError, printable
from align_data.common.secrets import mask
from align_data.data.ledger import OUTCOMES
from align_data.explorer import pair_form
from align_data.explorer.chips import PAGE, chips
from align_data.explorer.marks import label_of, marks_of
from align_data.explorer.pair_form import EQUAL, PairForm, SentForm
from align_data.explorer.pictures import addresses, usable
from align_data.explorer.rendering import explorer_of, page, root_of, words_of
from align_data.explorer.taking import decided, take_commands
from align_data.recipes.plan import Plan
from align_data.report.page import blur_of
from align_data.selection import CLASSES, PairSelection, Selected, frequent, select, unheard_of
from align_data.selection.askable import OF_PAIRS, Askable
from align_data.selection.conditions import ConditionError
from align_data.selection.draft import Draft, Words
from align_data.selection.margin import Margin
from align_data.selection.selection import SELECTABLE, SIDES
from align_data.signals import find, is_signal

SHOWN = 24
"""Pairs on a page."""
CHANGES = [f"{before}-{after}" for before in OUTCOMES for after in OUTCOMES if before != after]
OFFERED = 300
"""Values of a class that its field offers, at most."""
_BESIDE = ("nsfw", "decodable")
"""What says how a picture is shown."""


def _pairs(request: Request) -> Response:
    """Show a selection; what cannot be understood is said, and stays in the form as it was typed."""
    explorer, words = explorer_of(request), words_of(request)
    draft, label = explorer.draft(words), label_of(words)
    dataset, plan = decided(explorer, draft)
    askable = Askable.of(dataset, plan)
    at, selected, selection, problem = _page_of(words), Selected(0, []), PairSelection(), None
    try:
        selection = PairSelection.from_words(words)
        beside = [name for name in _BESIDE if name in askable.names]
        start = (at - 1) * SHOWN
        selected = select(
            dataset, draft.ledger, plan, selection, explorer.engine, explorer.progress,
            start=start, number=SHOWN, beside=beside, askable=askable,
        )  # fmt: skip
    except (ConditionError, RecipeError) as error:
        problem = printable(mask(str(error)))
    entries = [(name, value) for name, value in words if name != PAGE]
    empty = problem is None and not selected.total
    return page(
        request,
        "pairs.html.j2",
        draft,
        status=200 if problem is None else 400,
        problem=problem,
        selection=selection,
        selected=selected,
        unheard=list(unheard_of(dataset, draft.ledger, selection, explorer.progress)) if empty else [],
        commands=take_commands(explorer, draft, selection, SHOWN),
        chips=list(chips(words)),
        pictures=addresses(request, dataset, [pair for pair in selected.pairs if usable(pair.values)]),
        blur=blur_of(draft.ledger.plan),
        marks=marks_of(explorer, label, [pair.uid for pair in selected.pairs if pair.url]),
        label=label,
        at=at,
        pages=-(-selected.total // SHOWN),
        query=lambda **changed: urlencode([*entries, *changed.items()]),
        unshown=(*OF_PAIRS, *_BESIDE),
        **_form(askable, draft, words),
    )


def _form(askable: Askable, draft: Draft, words: Words) -> dict[str, object]:
    """Return what the form shows."""
    columns = [*askable.names, *sorted(askable.computed - {*askable.names})]
    numbers = [name for name in columns if name in askable.readable | askable.computed and _ordered(name)]
    return {
        "ledgers": [draft.ledger.name] if draft.moved else askable.dataset.ledgers(),
        "form": PairForm.of(words, columns, numbers),
        "word": _words_by_name(words),
        "names": pair_form,
        "columns": columns,
        "numbers": numbers,
        "listed": CLASSES,
        "equal": [name for name in EQUAL if name in columns],
        "unmeasured": list(_unmeasured(askable)),
        "rules": [rule.name for rule in askable.plan.in_force],
        "thresholds": list(_thresholds(askable.plan)),
        "outcomes": SELECTABLE,
        "sides": SIDES,
        "changes": CHANGES if draft.moved else [],
    }


def _words_by_name(words: Words) -> dict[str, list[str]]:
    """Return the values of each name of an address."""
    values: dict[str, list[str]] = {}
    for name, value in words:
        values.setdefault(name, []).append(value.strip())
    return values


def _page_of(words: Words) -> int:
    number = next((value for name, value in words if name == PAGE), "1")
    return max(1, int(number)) if number.isascii() and number.isdecimal() and len(number) < 10 else 1


def _ordered(name: str) -> bool:
    """Tell whether values of a column that is read can be greater or less: those of scores and ranks are numbers."""
    return find(name).number if is_signal(name) else True


def _unmeasured(askable: Askable) -> Iterator[str]:
    """Yield how each column that would have a field of its own can be asked about."""
    for name in EQUAL:
        try:
            askable.check(name)
        except ConditionError as error:
            yield str(error)


def _thresholds(plan: Plan) -> Iterator[str]:
    """Yield the rules, or tests of rules, that pairs can be near to."""
    for rule in plan.in_force:
        names = [rule.name] if len(rule.tests) == 1 else [f"{rule.name}.{test.signal}" for test in rule.tests]
        for name in dict.fromkeys(names):
            try:
                Margin.of(PairSelection(nearest=name), plan)
            except ConditionError:
                continue
            yield name


def _values(request: Request) -> Response:
    """Answer with the values that a column has, as those that its field offers, the most frequent first."""
    explorer, words = explorer_of(request), words_of(request)
    draft = explorer.draft(words)
    column = next((value for name, value in words if name == "column" and value in CLASSES), CLASSES[0])
    key = ("values", explorer.identity(), draft.ledger.name, column)
    values = explorer.cached(
        key, lambda: frequent(explorer.dataset(), draft.ledger, column, explorer.progress)[:OFFERED]
    )
    return page(request, "values.html.j2", draft, values=values)


def _find(request: Request) -> Response:
    """Lead from a form to the address that asks for the same."""
    return RedirectResponse(f"{root_of(request)}/pairs?{urlencode(SentForm(words_of(request)).words())}", 303)


ROUTES = [
    Route("/pairs", _pairs),
    Route("/pairs/find", _find),
    Route("/pairs/values", _values),
]
