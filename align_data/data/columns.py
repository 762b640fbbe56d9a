"""Measured columns: which are stored, whether they are up to date, and all columns of a pair side by side."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from align_data.common.errors import DatasetError
from align_data.data.labels import fingerprint as marks_fingerprint
from align_data.data.labels import label_of, marks_of
from align_data.data.layout import Dataset
from align_data.data.meta import PairsMeta, SignalsMeta
from align_data.decoding.detectors.detector import Detector
from align_data.decoding.detectors.nsfw import NsfwModel
from align_data.decoding.inspected import identities as looks
from align_data.signals import Piece, Signal, by_current_name, checks, find, is_signal
from align_data.signals.base import CHOSEN, DETECTORS, OPEN
from align_data.signals.contracts import groups
from align_data.signals.families import OF_LISTS
from align_data.signals.user_lists import MATCHES
from align_data.storage.tables import Manifest, Table

NO_CHOICE: Mapping[str, int] = {}
"""How far signals look where nobody chose: as they did before, or as is usual."""


NO_MARKS: Mapping[str, pl.DataFrame] = {}


def _fingerprint(table: Table[Any]) -> str | None:
    manifest = table.committed()
    return manifest.fingerprint if manifest is not None and table.whole(manifest) else None


def identities(
    dataset: Dataset, names: Iterable[str], *, anew: bool = False, within: Mapping[str, int] = NO_CHOICE
) -> dict[str, Any]:
    """Return for each signal what must be equal for a stored value to be its: definition, images, references.

    Which model or library measured it is as it is stored: who reads a value need have neither. With `anew` it is what
    is installed here, which is what measuring again would take. How far a signal looks is as it is stored too, but
    for those that `within` names.
    """
    signals = [find(name) for name in names]
    before = _stored(dataset, signals)
    stored = {} if anew else before
    content: dict[str, Any] = {}
    checked: dict[str, Mapping[str, Any]] = {}
    if any(signal.content for signal in signals):
        content = {"images": _fingerprint(dataset.images), "content": _fingerprint(dataset.content)}
        checked = _looks(dataset)
    kinds = {signal.reference for signal in signals if signal.reference is not None}
    references = {kind: _fingerprint(dataset.reference(kind)) for kind in kinds}
    return {
        signal.name: {
            **signal.identity(stored.get(signal.name)),
            **({**content, "look": checked.get(signal.check or "")} if signal.content else {}),
            **({signal.reference: references[signal.reference]} if signal.reference is not None else {}),
            **_distance(signal, {**within_of(before), **within}),
            **(scored_by(dataset, **_said(dataset, signal)) if signal.kind == "score" else {}),
            **(compared_by(dataset, signal.group, stored.get(signal.name, {}).get("run")) if _near(signal) else {}),
            **({"list": listed_by(dataset, signal)} if signal.kind == "list" else {}),
            **({} if (label := label_of(signal.name)) is None else {"marks": marks_fingerprint(dataset, label)}),
        }
        for signal in signals
    }


def within_of(identities: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Return how far signals look by their identities: only those that look no further than so."""
    reach = {name: find(name).within for name in identities if is_signal(name)}
    return {name: int(identities[name].get("within", usual)) for name, usual in reach.items() if usual is not None}


def _distance(signal: Signal, within: Mapping[str, int]) -> dict[str, int]:
    """Return what a signal's identity says of how far it looks: where that is not as usual."""
    distance = within.get(signal.name, signal.within)
    return {} if distance is None or distance == signal.within else {"within": distance}


def _stored(dataset: Dataset, signals: Iterable[Signal]) -> dict[str, Any]:
    """Return the identities that are stored of signals: of those that are measured."""
    identities: dict[str, Any] = {}
    for group in {signal.group for signal in signals}:
        manifest = dataset.measured(group).committed()
        identities |= manifest.meta.signals if manifest is not None else {}
    return identities


def check_identities(nsfw: NsfwModel | None, detectors: Sequence[Detector] = ()) -> dict[str, Mapping[str, Any] | None]:
    """Return what decides the values of each check of images; None for a detector that nobody chose."""
    own = {check: of[0].identity() for check, of in checks().items() if of and of[0].function is not None}
    chosen = {detector.name: detector.identity() for detector in detectors}
    return looks(nsfw, own, {name: chosen.get(name) for name in DETECTORS})


def _looks(dataset: Dataset) -> dict[str, Mapping[str, Any]]:
    """Return how images were checked, by today's definitions; nothing of a detector, which `content` tells."""
    manifest = dataset.content.committed()
    if manifest is None:
        return {}
    kept = manifest.meta.looks
    today = {check: look for check, look in check_identities(None).items() if look is not None}
    return {check: {**(kept.get(check) or {}), "version": look["version"]} for check, look in today.items()}


def scored_by(dataset: Dataset, model: str | None, **said: Any) -> dict[str, Any]:
    """Return what a score follows from, beside its pairs: the model, the images, and what tells which can be decoded.

    `said` is what else says it, as `_said` has it.

    Not every check of the images: a detector's score of them leaves this one what it is. A classifier of texts, which
    has labels, sees none, and neither does a list that has scores in a column.
    """
    if "labels" in said or "column" in said:
        return {"model": model, **said}
    identity = {"model": model, **said, "images": _fingerprint(dataset.images)}
    content = dataset.content.committed()
    if content is None:
        return {**identity, "pixels": None}
    checked = content.meta
    return {
        **identity,
        "pixels": checked.looks.get("pixels"),
        "max_pixels": checked.max_pixels,
        "seconds": checked.seconds,
    }


def compared_by(dataset: Dataset, group: str, run: Any) -> dict[str, Any]:
    """Return what the values of near.NAME and eval.NAME follow from, beside pairs: images, embeddings, index.

    `run` is how they were compared: of two ways both are right, but not together.
    """
    family, _, name = group.partition(".")
    embedded = dataset.embedded(name).committed()
    index = {"evaluation": _fingerprint(dataset.evaluations(name))} if family == "eval" else {}
    model = embedded.meta.model if embedded is not None else None
    return {**scored_by(dataset, model), "embedded": _fingerprint(dataset.embedded(name)), **index, "run": run}


def listed_by(dataset: Dataset, signal: Signal) -> dict[str, Any] | None:
    """Return what tells the list that a signal is measured by, and how, from another; None where there is none."""
    manifest = dataset.user_list(list_of(signal)).committed()
    if manifest is None or not dataset.user_list(list_of(signal)).whole(manifest):
        return None
    meta = manifest.meta
    seed = {"seed": meta.seed} if signal.counted is not None else {}
    per = {} if meta.per is None else {"per": meta.per, "per_version": find(meta.per).version}
    return {"sha256": meta.sha256, "match": meta.match, **seed, **per}


def list_of(signal: Signal) -> str:
    """Return the name of the list that a signal is measured by."""
    return signal.group.partition(".")[2]


def _near(signal: Signal) -> bool:
    return signal.kind == "near"


_SAID = ("model", "vectors", "head", "labels", "column", "by")
"""What of a score's identity says who said it: a model's weights, embeddings, head and labels, where it has these.

Of a list the model is the digest of its files, which have it in a column and are joined by pair, url or uid.
"""


def _said(dataset: Dataset, signal: Signal) -> dict[str, Any]:
    """Return who said the scores that are stored: any model's are right, but not two models' together."""
    manifest = dataset.measured(signal.group).committed()
    identity = manifest.meta.signals.get(signal.name, {}) if manifest is not None else {}
    return {"model": None, **{key: identity[key] for key in _SAID if key in identity}}


def lacking(dataset: Dataset, signal: Signal, chosen: Container[str] = (), *, to_fetch: bool = False) -> str | None:
    """Say why a signal cannot be measured in this dataset, as the end of a sentence; None if it can.

    `chosen` has the checks that the user chose of those that are taken only then, `to_fetch` tells that the images will
    be there.
    """
    why = signal.missing()
    if signal.kind == "list":
        why = _classes_missing(dataset, list_of(signal))
    by_list = signal.kind == "list" and signal.name in measured_by_lists(dataset, [list_of(signal)])
    unmarked = signal.kind == "derived" and not _readable(dataset, signal)
    if (signal.kind in OPEN and not by_list) or unmarked or not _declared(dataset, signal):
        return _here(dataset, signal.lacks)
    if why is not None or signal.kind != "image":
        return why
    if signal.reference is not None and dataset.reference(signal.reference).committed() is None:
        return _here(dataset, signal.lacks)
    if not (to_fetch or signal.without_images) and dataset.images.committed() is None:
        return f"need the images: align-data fetch {shlex.quote(dataset.store.url)} --recipe LEDGER"
    if signal.check in CHOSEN and signal.check not in chosen and not taken(dataset, signal.check):
        return _here(dataset, signal.lacks)
    return None


def _classes_missing(dataset: Dataset, name: str) -> str | None:
    """Say why the signal whose classes have a list each cannot be measured here; None if it can, or there is none."""
    manifest = dataset.user_list(name).committed()
    return None if manifest is None or manifest.meta.per is None else find(manifest.meta.per).missing()


def measured_by_lists(dataset: Dataset, names: Iterable[str]) -> list[str]:
    """Return the signals that these lists of the user's measure; none of one that is not there."""
    manifests = {name: dataset.user_list(name).committed() for name in names}
    return [
        f"{prefix}_{name}"
        for name, manifest in manifests.items()
        if manifest is not None
        for prefix in MATCHES[manifest.meta.match].prefixes
    ]


def measurable(dataset: Dataset, names: Iterable[str], chosen: Container[str] = ()) -> list[str]:
    """Return those of these signals that can be measured in this dataset."""
    signals = [signal for signal in map(find, names) if signal.kind != "derived"]
    return [signal.name for signal in signals if lacking(dataset, signal, chosen) is None]


def _declared(dataset: Dataset, signal: Signal) -> bool:
    """Tell whether the pairs have the columns that a signal needs: some are there only where an input has them.

    Before there are pairs they may come to have them.
    """
    optional = {column.name for column in dataset.pairs.contract.columns if column.optional}
    needed = optional.intersection(signal.needs)
    pairs = dataset.pairs.committed() if needed else None
    return pairs is None or needed <= set(pairs.meta.provenance)


def _here(dataset: Dataset, lacks: str | None) -> str | None:
    """Return what a signal lacks with the dataset's place in the commands."""
    return None if lacks is None else re.sub(r"\bDATASET\b", lambda _: shlex.quote(dataset.store.url), lacks)


def need(names: Sequence[str], why: str) -> str:
    """Put the names of signals before what `lacking` says of each, in the singular or plural."""
    return f"{', '.join(names)} {why.replace('need ', 'needs ', 1) if len(names) == 1 else why}"


def taken(dataset: Dataset, check: str) -> bool:
    """Tell whether a check of images has been taken of this dataset's."""
    manifest = dataset.content.committed()
    return manifest is not None and manifest.meta.looks.get(check) is not None


def part_facts(table: Table[SignalsMeta], part: int) -> dict[str, Any]:
    """Return what the footer of a part of measured signals says, these under their names of now; {} for no part."""
    facts = table.facts(part) or {}
    return {**facts, "signals": by_current_name(facts["signals"])} if "signals" in facts else facts


def fresh(
    dataset: Dataset,
    group: str,
    pairs: Manifest[PairsMeta],
    *,
    anew: bool = False,
    within: Mapping[str, int] = NO_CHOICE,
) -> list[str]:
    """Return the signals of a group that are measured from these pairs and by today's definitions.

    With `anew` only those that what is installed here would measure alike, and that look as far as `within` says.
    """
    manifest = dataset.measured(group).committed()
    if manifest is None or manifest.meta.pairs != pairs.fingerprint or not dataset.measured(group).whole(manifest):
        return []
    stored = manifest.meta.signals
    today = identities(dataset, [name for name in stored if is_signal(name)], anew=anew, within=within)
    equal = [name for name in today if today[name] == stored[name]]
    return [name for name in equal if all(table.whole(table.committed()) for table in dataset.behind(name))]


def available(dataset: Dataset, pairs: Manifest[PairsMeta], required: Iterable[str] | None = None) -> set[str]:
    """Return all signals that are measured.

    Raises DatasetError for a `required` signal, or any if None, that is stale: measured from other pairs, before
    images were fetched, or by a definition that has changed.
    """
    required = None if required is None else set(required)
    measured: set[str] = set()
    for group in dataset.groups():
        manifest = dataset.measured(group).committed()
        if manifest is None:
            _unfinished(dataset, group, required)
            continue
        current = fresh(dataset, group, pairs)
        stale = [n for n in manifest.meta.signals if n not in current and (required is None or n in required)]
        if stale:
            raise DatasetError(
                f"{', '.join(stale)} of {dataset.store.url} were measured before the last fetch, from other pairs or "
                f"by an earlier definition, or some of their files are missing; {_again(dataset, group, stale)}"
            )
        measured.update(current)
    return measured | {name for name in required or () if is_signal(name) and _readable(dataset, find(name))}


def _readable(dataset: Dataset, signal: Signal) -> bool:
    """Tell whether a signal is computed where it is read; of a label, whether there is one of its name."""
    label = label_of(signal.name)
    return signal.kind == "derived" and (label is None or marks_fingerprint(dataset, label) is not None)


def _unfinished(dataset: Dataset, group: str, required: Collection[str] | None) -> None:
    """Raise DatasetError where a required group has parts and no manifest.

    Where all are required, the scores of a model that has not finished are not missed.
    """
    table = dataset.measured(group)
    everything = required is None and group in groups()
    names = [column.name for column in table.contract.columns if everything or column.name in (required or ())]
    if names and table.uncommitted:
        raise DatasetError(
            f"{dataset.store.path(table.name)} has parts but no manifest: it is lost, or measuring did not finish; "
            f"{_again(dataset, group, names)}"
        )


def _again(dataset: Dataset, group: str, stale: Iterable[str]) -> str:
    url, name = dataset.store.url, group.partition(".")[2]
    if group in groups():
        reasons = dict.fromkeys(why for n in stale if is_signal(n) and (why := find(n).missing()) is not None)
        return f"measure them again: align-data measure {shlex.quote(url)}" + "".join(
            f" ({need(list(stale), r)})" for r in reasons
        )
    folder = dataset.store.path(dataset.measured(group).name)
    if group.partition(".")[0] in OF_LISTS:
        again = f"align-data measure {shlex.quote(url)}"
        if name not in dataset.user_lists():
            again += f" --list {name}=FILE"
        return f"measure them again: {again}; or do without, and remove {folder}"
    if group.startswith(("near.", "eval.")):
        index = " --eval-index FILE" if group.startswith("eval.") else ""
        return (
            f"compare them again: align-data neighbours {name} {shlex.quote(url)}{index}; or do without, and remove "
            f"{folder}"
        )
    for signal, identity in _written(dataset, group).items():
        if "column" in identity:
            how = f"--column {shlex.quote(identity['column'])} --as {name} --family {signal.partition('_')[0]}"
            return (
                f"take them from their list again: align-data score FILE... {shlex.quote(url)} {how}; or do without, "
                f"and remove {folder}"
            )
    return (
        f"score them again: align-data score MODEL {shlex.quote(url)} --as {name}; or do without, and remove {folder}"
    )


def _written(dataset: Dataset, group: str) -> dict[str, Any]:
    """Return the identities of a group's signals; where it is not finished, those of a part that is there."""
    table = dataset.measured(group)
    manifest = table.committed()
    if manifest is not None:
        return manifest.meta.signals
    parts = range(len(dataset.ingested().parts))
    return next((facts["signals"] for part in parts if "signals" in (facts := part_facts(table, part))), {})


def columns(dataset: Dataset, part: int, pairs: Sequence[str], signals: Iterable[str]) -> Iterator[pl.DataFrame]:
    """Yield the pieces of one part: columns of `pairs` and signals side by side, row for row.

    Signals that are stored nowhere are computed.
    """
    names = list(signals)
    computed = [signal for signal in map(find, names) if signal.kind == "derived"]
    needed = {column for signal in computed for column in signal.needs}.difference(pairs)
    beside = [*pairs, *sorted(needed)]
    streams = [dataset.pairs.pieces(part, beside)] if beside else []
    streams += [dataset.measured(group).pieces(part, stored) for group, stored in by_group(names).items()]
    marked = marks_of(dataset, part, computed)
    for frames in zip(*streams, strict=True):
        yield with_computed(pl.concat(frames, how="horizontal"), computed, marked).drop(needed)


def with_computed(
    frame: pl.DataFrame, signals: Iterable[Signal], marked: Mapping[str, pl.DataFrame] = NO_MARKS
) -> pl.DataFrame:
    """Return a frame with those of the signals that are stored nowhere, computed from its columns and from marks."""
    piece, computed = Piece(frame, marks=marked), [signal for signal in signals if signal.kind == "derived"]
    return frame.with_columns(signal.measure(piece).alias(signal.name) for signal in computed if signal.measure)


def by_group(signals: Iterable[str]) -> dict[str, list[str]]:
    """Return the signals by group; of those that are stored."""
    names: dict[str, list[str]] = {}
    for signal in map(find, signals):
        if signal.kind != "derived":
            names.setdefault(signal.group, []).append(signal.name)
    return names
