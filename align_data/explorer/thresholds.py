"""Thresholds: every value of every rule in a form, and what becomes of the pool as they are moved together."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import yaml
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from align_data.common.errors import DatasetError, RecipeError
from align_data.data.ledger import filter_command, open_ledger
from align_data.explorer.changes import posted
from align_data.explorer.fields import RULE, Field, PanelForm, by_class, fields
from align_data.explorer.opened import Explorer
from align_data.explorer.rendering import WRITTEN, explorer_of, page, root_of, words_of
from align_data.recipes.plan import Plan
from align_data.report import charts
from align_data.selection.draft import RECIPE, Draft, Words
from align_data.stages.audit.leaves import of_rule
from align_data.stages.audit.what_if import WhatIf
from align_data.stages.decision import Decision, decide_ledger
from align_data.stages.session import writing

NAME, WHOLE = "name", "whole"
"""Fields of forms: what a new ledger is called; that all pairs are counted."""


def what_if(explorer: Explorer, ledger: str) -> WhatIf:
    """Return the pool of a ledger, held while the dataset stays as it is."""
    key = ("what if", explorer.identity(), ledger)
    return explorer.cached(key, lambda: WhatIf(explorer.dataset(), ledger, explorer.engine, explorer.progress))


def _thresholds(request: Request) -> Response:
    explorer = explorer_of(request)
    draft = explorer.draft(words_of(request))
    shown = _shown(explorer, what_if(explorer, draft.ledger.name), draft, whole=False)
    return page(request, "thresholds.html.j2", draft, **shown)


def _moved(request: Request) -> Response:
    """Answer a form that was touched with the numbers, and with the fields and sliders as they are now."""
    explorer = explorer_of(request)
    words = words_of(request)
    ledger = explorer.draft([(name, value) for name, value in words if name == RECIPE]).ledger
    # The address is that of the draft before: what differs from it is what was touched.
    address = parse_qsl(urlsplit(request.headers.get("hx-current-url", "")).query)
    shown = Draft.of(ledger, address if dict(address).get(RECIPE, ledger.name) == ledger.name else [])
    pool = what_if(explorer, ledger.name)
    form = PanelForm(shown, words, pool.own_curves)
    draft = form.draft()
    values = _shown(explorer, pool, draft, whole=(WHOLE, "1") in words)
    before = {rule.name: list(fields(rule, form.curves)) for rule in shown.plan.rules}
    sliders = {field.name for of in before.values() for field in of if form.by_slider(field)}
    reshaped = {rule for rule, of in values["fields"].items() if _names(of) != _names(before[rule])}
    answer = page(request, "thresholds_moved.html.j2", draft, sliders=sliders, reshaped=reshaped, **values)
    answer.headers["hx-replace-url"] = f"{root_of(request)}/thresholds?{draft.query}"
    return answer


def _names(of_rule: Sequence[Field]) -> list[str]:
    return [field.name for field in of_rule]


def _charts(request: Request) -> Response:
    """Answer with the histograms as a draft has them."""
    explorer = explorer_of(request)
    draft = explorer.draft(words_of(request))
    pool = what_if(explorer, draft.ledger.name)
    plan = pool.resolved(draft.plan)
    curves = pool.curves(plan)
    drawn = {
        rule.name: [
            (leaf.name, leaf.class_words, charts.distribution(curves[leaf.name]))
            for leaf in of_rule(rule)
            if leaf.name in curves
        ]
        for rule in plan.rules
    }
    return page(request, "thresholds_charts.html.j2", draft, charts=drawn)


def _shown(explorer: Explorer, pool: WhatIf, draft: Draft, *, whole: bool) -> dict[str, Any]:
    """Return what both the page and its fragment show."""
    curves = pool.own_curves
    return {
        "moved": pool.count(draft.plan, whole=whole),
        "fields": {rule.name: list(fields(rule, curves)) for rule in draft.plan.rules},
        "another": {rule.name: by_class(rule) for rule in draft.plan.rules},
        "new_name": (new_name := _new_name(explorer, draft)),
        "command": filter_command(explorer.name, new_name, draft.plan),
        "rule_box": RULE,
    }


def _new_name(explorer: Explorer, draft: Draft) -> str:
    """Return the ledger's name, or where it is moved one that no ledger has."""
    if not draft.moved:
        return draft.ledger.name
    names = set(explorer.dataset().ledgers())
    return next(name for n in range(2, len(names) + 3) if (name := f"{draft.ledger.name}-{n}") not in names)


def _recipe(request: Request) -> Response:
    """Answer with the draft as a recipe's file: what was moved is `chosen`, what was taken out is not in it."""
    explorer = explorer_of(request)
    draft = explorer.draft(words_of(request))
    plan, name = draft.plan, _new_name(explorer, draft)
    data = {key: value for key, value in {**plan.recipe.dump(), "name": name}.items() if value != ""}
    data["rules"] = [rule for rule in data["rules"] if rule["name"] not in plan.off]
    if not data["rules"]:
        raise RecipeError("every rule is taken out, and a recipe has at least one: put one back before you save it")
    content = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)
    headers = {"content-disposition": f'attachment; filename="{name}.yaml"'}
    return Response(content, media_type="application/yaml", headers=headers)


def _decide(request: Request, form: Words) -> Response:
    """Write a ledger, as `align-data filter` would; never over another that was decided otherwise."""
    explorer = explorer_of(request)
    draft = explorer.draft(form)
    name = dict(form).get(NAME, "").strip()
    dataset, plan = explorer.dataset(), draft.plan
    if name in dataset.ledgers() and _request(open_ledger(dataset, name).plan) != _request(plan):
        raise DatasetError(f"there is a ledger {name}, which was decided otherwise: choose another name")
    dataset.ledger(name)  # DatasetError for what cannot be a name
    with writing(dataset.store, shlex.split(filter_command(explorer.name, name, plan))[1:]):
        decide_ledger(
            Decision(plan.recipe, plan.overrides, plan.off, name), dataset, explorer.engine, explorer.progress
        )
    return RedirectResponse(f"{root_of(request)}/thresholds?{urlencode({RECIPE: name})}{WRITTEN}", 303)


def _request(plan: Plan) -> tuple[Any, ...]:
    """Return what tells one plan from another: what is asked, not how it was spelled."""
    return (plan.recipe.model_copy(update={"name": ""}), set(plan.off))


ROUTES = [
    Route("/thresholds", _thresholds),
    Route("/thresholds/moved", _moved),
    Route("/thresholds/charts", _charts),
    Route("/thresholds/recipe.yaml", _recipe),
    posted("/thresholds/decide", _decide),
]
