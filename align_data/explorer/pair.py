"""A pair: its picture, what each rule says of it and why, what it is like, and all that is known of it."""

from __future__ import annotations

import shlex

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from align_data.data.image_pairs import image_pairs
from align_data.data.layout import Dataset
from align_data.explorer.marks import label_of, marks_of
from align_data.explorer.pictures import ImageOfPair, addresses, usable
from align_data.explorer.rendering import explorer_of, page, words_of
from align_data.report.page import blur_of
from align_data.stages.why import Why, why


def _pair(request: Request) -> Response:
    """Explain one pair."""
    explorer, words = explorer_of(request), words_of(request)
    draft, uid = explorer.draft(words), request.path_params["uid"]
    dataset, label = explorer.dataset(), label_of(words)
    (explained,) = why(dataset, draft.ledger.name, uid=uid, limit=1)
    rules = {rule.name: rule.rule for rule in draft.ledger.plan.rules}
    image = _image_of(dataset, explained)
    return page(
        request,
        "pair.html.j2",
        draft,
        why=explained,
        rules=rules,
        image=image,
        pictures=addresses(request, dataset, [image] if image.url and usable(explained.values) else []),
        blur=blur_of(draft.ledger.plan),
        label=label,
        mark=marks_of(explorer, label, [explained.uid])[explained.uid] if explained.url else None,
        command=shlex.join(["align-data", "why", explorer.name, "--uid", explained.uid, "--recipe", draft.ledger.name]),
    )


def _image_of(dataset: Dataset, explained: Why) -> ImageOfPair:
    """Return the image of a pair by its URL as it is stored, which what explains it may mask."""
    ((part, url),) = image_pairs(dataset, explained.uid).filter(uid=explained.uid).select("part", "url").rows()
    return ImageOfPair(part, explained.uid, url, explained.alt_text, explained.values.get("nsfw"))


ROUTES = [Route("/pair/{uid}", _pair)]
