"""A pair: its picture, what each rule says of it and why, what it is like, and all that is known of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from align_data.data.image_pairs import image_pairs
from align_data.data.layout import Dataset
from align_data.explorer.alike import near_images, same_image, same_text, scored
from align_data.explorer.marks import label_of, marks_of
from align_data.explorer.pictures import ImageOfPair, addresses, usable
from align_data.explorer.rendering import explorer_of, page, words_of
from align_data.explorer.taking import decided
from align_data.recipes.model import Rule
from align_data.recipes.plan import Plan
from align_data.report.page import blur_of
from align_data.selection import Condition
from align_data.selection.draft import Draft
from align_data.selection.selection import WHERE
from align_data.signals import find, is_signal
from align_data.stages.why import RuleVerdict, Why, verdicts_by, why

SHARED = {
    "alt_text": "with this text",
    "url": "of this image",
    "sha256": "whose images have these bytes",
    "host": "from the host {}",
    "language": "in the language {}",
    "script": "in the script {}",
    "eval_nearest": "nearest to the evaluation image {}",
}
"""What pairs may share with this one, by column, and how a link to them is called."""
LONGEST_VALUE = 60
"""Characters of a value that a link is called by."""


def _pair(request: Request) -> Response:
    """Explain one pair, by the draft too where the address has one; what it is like follows, for it is looked for."""
    explorer, words = explorer_of(request), words_of(request)
    draft, uid = explorer.draft(words), request.path_params["uid"]
    (dataset, plan), label = decided(explorer, draft), label_of(words)
    (explained,) = why(dataset, draft.ledger.name, uid=uid, limit=1, same_text=0)
    image = _image_of(dataset, explained)
    drafted = verdicts_by(dataset, plan, uid) if draft.moved and image.url else None
    return page(
        request,
        "pair.html.j2",
        draft,
        why=explained,
        drafted=drafted,
        rules=list(_rules(draft, plan, explained, drafted[1] if drafted is not None else [])),
        image=image,
        values=[(name, find(name) if is_signal(name) else None, value) for name, value in explained.values.items()],
        pictures=addresses(request, dataset, [image] if image.url and usable(explained.values) else []),
        blur=blur_of(draft.ledger.plan),
        label=label,
        mark=marks_of(explorer, label, [explained.uid])[explained.uid] if explained.url else None,
        like=list(_selections(draft, image, explained)),
        command=shlex.join(["align-data", "why", explorer.name, explained.uid, "--recipe", draft.ledger.name]),
    )


def _rules(
    draft: Draft, plan: Plan, explained: Why, drafted: Sequence[RuleVerdict]
) -> Iterator[tuple[Rule, RuleVerdict, Rule, RuleVerdict | None]]:
    """Yield each rule with its verdict by the ledger, and by the draft where there is one."""
    by_draft = {verdict.rule: verdict for verdict in drafted}
    for verdict in explained.verdicts:
        rule, now = draft.ledger.plan.rule(verdict.rule).rule, plan.rule(verdict.rule).rule
        yield rule, verdict, now, by_draft.get(verdict.rule)


def _selections(draft: Draft, image: ImageOfPair, explained: Why) -> Iterator[tuple[str, str]]:
    """Yield what other pairs may share with this one, in words, and the part of an address that asks for them."""
    if not image.url:
        return
    values = {name: str(value) for name, value in explained.values.items() if name in SHARED and value is not None}
    columns = {"alt_text": image.alt_text, **values}
    if explained.url == image.url:  # one with a secret in it is shown nowhere, and in no address
        columns["url"] = image.url
    for column, value in columns.items():
        about = SHARED[column].format(value[:LONGEST_VALUE])
        yield about, urlencode([*draft.words, (WHERE, str(Condition.equal(column, value)))])


def _alike(request: Request) -> Response:
    """Answer with what a pair is like."""
    explorer = explorer_of(request)
    draft, dataset = explorer.draft(words_of(request)), explorer.dataset()
    (explained,) = why(dataset, draft.ledger.name, uid=request.path_params["uid"], limit=1, same_text=0)
    image = _image_of(dataset, explained)
    kinds = {
        "Other texts of this image": same_image(dataset, image),
        "Other images with this text": same_text(dataset, image, explained),
        "Images near this one": near_images(dataset, image, explained.values),
    }
    if "nsfw" in explained.values:
        kinds = {kind: scored(dataset, neighbours) for kind, neighbours in kinds.items()}
    images = [neighbour.image for neighbours in kinds.values() for neighbour in neighbours]
    return page(
        request,
        "pair_alike.html.j2",
        draft,
        kinds={kind: neighbours for kind, neighbours in kinds.items() if neighbours} if image.url else {},
        pictures=addresses(request, dataset, images),
        blur=blur_of(draft.ledger.plan),
    )


def _image_of(dataset: Dataset, explained: Why) -> ImageOfPair:
    """Return the image of a pair by its URL as it is stored, which what explains it may mask."""
    ((part, url),) = image_pairs(dataset, explained.uid).filter(uid=explained.uid).select("part", "url").rows()
    return ImageOfPair(part, explained.uid, url, explained.alt_text, explained.values.get("nsfw"))


ROUTES = [Route("/pair/{uid}", _pair), Route("/pair/{uid}/alike", _alike)]
