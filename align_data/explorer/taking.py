"""Taking pairs along: a selection kept as a ledger by a button, its uids as a list, and the command of each."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from align_data.common.errors import DatasetError
from align_data.data.layout import Dataset
from align_data.explorer.changes import posted
from align_data.explorer.opened import Explorer
from align_data.explorer.rendering import WRITTEN, explorer_of, root_of, words_of
from align_data.explorer.thresholds import what_if
from align_data.recipes.plan import Plan
from align_data.selection import PairSelection, uids
from align_data.selection.draft import RECIPE, Draft, Words
from align_data.signals.families import check_name
from align_data.signals.label import LABEL
from align_data.stages.selected import keep_as_ledger, selected_uids
from align_data.stages.session import writing

NAME = "name"
"""Field of a form: what the ledger is called."""


def decided(explorer: Explorer, draft: Draft) -> tuple[Dataset, Plan]:
    """Return the plan that decides, and the dataset to read by it: the ledger's, or the draft's as of `filter`."""
    if not draft.moved:
        return explorer.dataset(), draft.ledger.plan
    return what_if(explorer, draft.ledger.name).as_filter(draft.plan)


def select_command(explorer: Explorer, command: str, draft: Draft, selection: PairSelection, *more: str) -> str:
    """Return the command line that does something with the pairs of a selection."""
    words = [(name, value) for name, value in (*draft.words, *selection.words) if name != RECIPE]
    # As one word each, for a value can begin with a dash.
    options = [f"--{name}={value}" for name, value in words]
    return shlex.join(["align-data", command, explorer.name, "--recipe", draft.ledger.name, *options, *more])


def take_commands(explorer: Explorer, draft: Draft, selection: PairSelection, samples: int) -> tuple[str, str]:
    """Return the command lines that show pairs of a selection, and that list the uids of all."""
    shows = select_command(explorer, "audit", draft, selection, "--samples", str(samples))
    return shows, select_command(explorer, "select", draft, selection, "--uids", "uids.txt")


def _uids(request: Request) -> Response:
    """Answer with the uids of a selection, a line each, as they are chosen."""
    explorer, words = explorer_of(request), words_of(request)
    draft, selection = explorer.draft(words), PairSelection.from_words(words)
    dataset, plan = decided(explorer, draft)
    chosen = uids(dataset, draft.ledger, plan, selection, explorer.progress)

    def lines() -> Iterator[str]:
        for piece in chosen:
            if len(piece):
                yield "\n".join(piece.to_list()) + "\n"

    headers = {"content-disposition": 'attachment; filename="uids.txt"'}
    return StreamingResponse(lines(), media_type="text/plain; charset=utf-8", headers=headers)


def _keep(request: Request, form: Words) -> Response:
    """Keep a selection as a ledger, as `align-data select --as` does; the pairs of that ledger are shown next."""
    explorer = explorer_of(request)
    if not dict(form).get(RECIPE):
        raise DatasetError(f"of which ledger are the pairs? Send {RECIPE}=LEDGER with them")
    draft, selection = explorer.draft(form), PairSelection.from_words(form)
    name = check_name(dict(form).get(NAME, "").strip(), LABEL)
    (of_draft, plan), dataset = decided(explorer, draft), explorer.dataset()
    with writing(dataset.store, shlex.split(select_command(explorer, "select", draft, selection, "--as", name))[1:]):
        chosen = selected_uids(of_draft, draft, plan, selection, explorer.engine, explorer.progress)
        keep_as_ledger(dataset, draft, selection, name, chosen, explorer.engine, explorer.progress)
    words = urlencode([(RECIPE, name), ("outcome", "kept")])
    return RedirectResponse(f"{root_of(request)}/pairs?{words}{WRITTEN}", 303)


ROUTES = [Route("/pairs/uids.txt", _uids), posted("/pairs/keep", _keep)]
