"""A signal that is new to a dataset: it alone is measured, and then it decides, is audited, exported and taken down."""

from __future__ import annotations

import io
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_up_signals
import numpy as np
import oracle
import polars as pl
import pytest
from conftest import read, tree
from made_up_signals import MADE_UP
from PIL import Image
from test_score import plant
from test_shards import fetched, jpeg

from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.decoding.decoder import Decoder
from align_data.engines.base import Engine
from align_data.engines.local import LocalEngine
from align_data.engines.spark import SparkEngine
from align_data.recipes.reading import parse
from align_data.report import audit_html
from align_data.signals import SIGNALS, Piece, Signal
from align_data.stages.audit import survey
from align_data.stages.export import Form, export
from align_data.stages.measure import measure
from align_data.stages.pipeline import Decision, decide_ledger
from align_data.stages.takedown import takedown
from align_data.stages.takedown.lists import TakedownLists
from align_data.storage.store import Store

SCORE = "similarity_made_up"
RECIPE = f"""
name: new
rules:
  - {{signal: opening, in: [text of 1, text of 2, text of 3]}}
  - {{signal: n_spaces, between: [2, 3]}}
  - {{signal: url_length, le: 14}}
  - {{signal: area, ge: 1200}}
  - {{signal: texts_again, le: 2}}
  - {{signal: commonest_ngram, ge: 2}}
  - {{signal: redness, lt: 127.5}}
  - {{signal: tint, in: [red, blue]}}
  - {{signal: {SCORE}, ge: 0.2}}
"""
ROWS = [
    {
        "url": f"http://h/{n % 19}.jpg",
        "alt_text": f"text of {n % 7}" + " and more" * (n % 3 == 0) if n % 5 else f"lone {n}",
        "declared_width": 30,
        "declared_height": 20,
    }
    for n in range(40)
]
IMAGES = {f"http://h/{n}.jpg": jpeg(n, width=41 if n == 5 else 40) for n in range(19) if n % 4}
BROKEN = "http://h/7.jpg"


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Leave no made-up signal behind: some are registered by the tasks of an engine in this process."""
    before = dict(SIGNALS)
    yield
    SIGNALS.clear()
    SIGNALS.update(before)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a dataset as one is that was measured before there were the signals; one image is broken."""
    folder = tmp_path_factory.mktemp("old")
    dataset = fetched(folder / "dataset", ROWS, IMAGES | {BROKEN: b"\xff\xd8\xff\xe0 broken"}, parts=12)
    measure(dataset, LocalEngine(folder / "_work", 1), Silent())
    return folder / "dataset"


def copied(old: Path, folder: Path) -> Dataset:
    return Dataset(Store(shutil.copytree(old, folder / "dataset")))


def opened(dataset: Dataset) -> Dataset:
    """Open a dataset anew, its tables having the columns of the signals that are known now."""
    return Dataset(dataset.store)


def expected(dataset: Dataset) -> dict[str, list[Any]]:
    """Compute every signal from the pairs and the images alone."""
    pairs = read(dataset, "pairs")
    texts, words = Counter(pairs["alt_text"]), Counter[tuple[str, ...]]()
    grams = {text: oracle.words(text.lower()) for text in texts}
    for text in pairs["alt_text"]:
        words.update(zip(grams[text], grams[text][1:], strict=False))
    sound = {url: np.asarray(Image.open(io.BytesIO(c)).convert("RGB")) for url, c in IMAGES.items() if url != BROKEN}
    reds = {url: float(pixels[:, :, 0].mean()) for url, pixels in sound.items()}
    tints = {
        url: ("red", "green", "blue")[int(pixels.reshape(-1, 3).mean(axis=0).argmax())]
        for url, pixels in sound.items()
        if pixels.shape[1] != 41
    }
    rows = list(pairs.select("url", "alt_text").iter_rows())
    return {
        "opening": [text[:9] for _, text in rows],
        "n_spaces": [text.count(" ") for _, text in rows],
        "url_length": [len(url) for url, _ in rows],
        "area": [sound[url].shape[0] * sound[url].shape[1] if url in sound else 600 for url, _ in rows],
        "texts_again": [texts[text] for _, text in rows],
        "commonest_ngram": [max(words[pair] for pair in zip(grams[t], grams[t][1:], strict=False)) for _, t in rows],
        "redness": [reds.get(url) for url, _ in rows],
        "tint": [tints.get(url) for url, _ in rows],
    }


def measured(dataset: Dataset) -> pl.DataFrame:
    return pl.concat([read(dataset, f"measured/{group}") for group in ("text", "corpus", "image")], how="horizontal")


def use(dataset: Dataset, engine: Engine, folder: Path) -> dict[str, bytes]:
    """Decide, audit, export and take down by signals that were just measured; return all files."""
    values = expected(dataset)
    plant(dataset, "made_up", [n / 40 for n in range(40)])
    decide_ledger(Decision(parse(RECIPE, "new.yaml")), dataset, engine, Silent())
    tests = {
        "opening": lambda v: v in ("text of 1", "text of 2", "text of 3"),
        "n_spaces": lambda v: 2 <= v <= 3,
        "url_length": lambda v: v <= 14,
        "area": lambda v: v >= 1200,
        "texts_again": lambda v: v <= 2,
        "commonest_ngram": lambda v: v >= 2,
        "redness": lambda v: v < 127.5,
        "tint": lambda v: v in ("red", "blue"),
    }
    verdicts = read(dataset, "verdicts/new")
    for bit, (name, passes) in enumerate(tests.items()):
        failed = [value is not None and not passes(value) for value in values[name]]
        assert [mask >> bit & 1 == 1 for mask in verdicts["failed"]] == failed, name
        assert [mask >> bit & 1 == 1 for mask in verdicts["unknown"]] == [value is None for value in values[name]], name
        assert any(failed), name
        assert not all(failed), name
    counted = survey(dataset, "new", engine, Silent())
    page = audit_html(counted, dataset, Silent())
    assert [name for name in (*values, SCORE) if not re.search(rf"\b{re.escape(name)}\b", page)] == []
    for format_ in ("metadata", "parquet"):
        out = Store(folder / format_)
        off = list(tests)  # keep some pairs, whatever they are
        export(dataset, "new", out, Form(format_), engine, Silent(), without=off, drop_pending=True)
        shards = [pl.read_parquet(file) for file in sorted((folder / format_).rglob("*.parquet"))]
        rows = pl.concat([shard for shard in shards if "url" in shard.columns])
        assert {*values, SCORE} <= {*rows.columns}
        by_uid = dict(zip(read(dataset, "pairs")["uid"], zip(*values.values(), strict=True), strict=True))
        assert len(rows)
        assert dict(zip(rows["uid"], rows.select(*values).iter_rows(), strict=True)).items() <= by_uid.items()
    gone = read(dataset, "pairs")["uid"][3]
    takedown(dataset, TakedownLists({"uids": [gone]}, {"uids": ""}), [], engine, Silent())
    values["opening"][3] = ""
    after = measured(dataset)
    assert after["opening"].to_list() == values["opening"]
    assert after["n_spaces"].to_list() == values["n_spaces"]
    return tree(folder)


def test_new_signals_are_measured_alone_and_then_used(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = copied(old, tmp_path)
    before, content = measured(dataset), read(dataset, "content")
    checks: list[Any] = []
    look = Decoder.look

    def watched(self: Decoder, items: Any, *arguments: Any) -> Any:
        checks.extend(looks for _, looks in items)
        return look(self, items, *arguments)

    monkeypatch.setattr(Decoder, "look", watched)
    calls = Counter[str]()

    def counting(signal: Signal) -> Signal:
        measure_ = signal.measure
        assert measure_ is not None

        def call(piece: Piece) -> pl.Series:
            calls[signal.name] += 1
            return measure_(piece)

        return replace(signal, measure=call)

    for signal in [*SIGNALS.values(), *MADE_UP.values()]:
        monkeypatch.setitem(SIGNALS, signal.name, counting(signal) if signal.group == "text" else signal)
    dataset = opened(dataset)
    done = measure(dataset, LocalEngine(tmp_path / "_work", 1), Silent())
    assert {*MADE_UP} <= {*done.measured}
    assert {*calls} == {"opening", "n_spaces", "url_length"}
    # Every image that can be decoded was opened once, for the new checks alone.
    assert {(each.header, each.pixels, each.nsfw, each.checks) for each in checks} == {
        (False, False, False, ("redness", "tint"))
    }
    assert len(checks) == len(IMAGES) - 1  # but the broken one
    for name, values in expected(dataset).items():
        assert measured(dataset)[name].to_list() == values, name
    assert measured(dataset).select(before.columns).equals(before)
    failed = read(dataset, "content").filter(pl.col("status") == "unscored")
    assert failed.select("url", "reason").rows() == [("http://h/5.jpg", "no tint: RuntimeError: not this one")]
    unlike = read(dataset, "content").select(content.columns).filter(pl.col("url") != "http://h/5.jpg")
    assert unlike.equals(content.filter(pl.col("url") != "http://h/5.jpg"))
    files = tree(tmp_path / "dataset", "content", "measured")
    assert measure(dataset, LocalEngine(tmp_path / "_work", 1), Silent()).measured == []
    assert tree(tmp_path / "dataset", "content", "measured") == files
    use(dataset, LocalEngine(tmp_path / "_work", 1), tmp_path / "dataset")


def test_a_version_that_lacks_a_signal_leaves_it_in_peace(old: Path, tmp_path: Path) -> None:
    dataset = copied(old, tmp_path)
    with made_up_signals.registered():
        measure(opened(dataset), LocalEngine(tmp_path / "_work", 1), Silent())
        files = tree(tmp_path / "dataset", "content", "measured")
    assert measure(opened(dataset), LocalEngine(tmp_path / "_work", 1), Silent()).measured == []
    assert tree(tmp_path / "dataset", "content", "measured") == files


@pytest.mark.parametrize("version", [1, 2])
def test_a_check_is_taken_again_only_by_another_version(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    dataset = copied(old, tmp_path)
    monkeypatch.setitem(SIGNALS, "redness", replace(MADE_UP["redness"], version=1))
    measure(opened(dataset), LocalEngine(tmp_path / "_work", 1), Silent())
    checks: list[Any] = []
    look = Decoder.look

    def watched(self: Decoder, items: Any, *arguments: Any) -> Any:
        checks.extend(looks.checks for _, looks in items)
        return look(self, items, *arguments)

    monkeypatch.setattr(Decoder, "look", watched)
    monkeypatch.setitem(SIGNALS, "redness", replace(MADE_UP["redness"], version=version))
    measure(opened(dataset), LocalEngine(tmp_path / "_work", 1), Silent())
    assert checks == [("redness",)] * (len(IMAGES) - 1 if version == 2 else 0)


def test_text_must_say_whether_it_goes_and_a_check_of_its_own_needs_its_function() -> None:
    with pytest.raises(TypeError, match="holds text: say whether a takedown erases it"):
        replace(MADE_UP["opening"], erased_by_takedown=None)
    with pytest.raises(TypeError, match="needs a function exactly where it has a check of its own"):
        replace(MADE_UP["redness"], function=None)


@pytest.mark.spark
def test_spark_measures_new_signals_alike(old: Path, tmp_path: Path, spark: SparkEngine) -> None:
    files = {}
    for name, engine in (("local", LocalEngine(tmp_path / "_work", 1)), ("spark", spark)):
        dataset = copied(old, tmp_path / name)
        with made_up_signals.registered():
            dataset = opened(dataset)
            measure(dataset, made_up_signals.knowing(engine), Silent())
            files[name] = use(dataset, made_up_signals.knowing(engine), tmp_path / name / "dataset")
    assert files["local"].keys() == files["spark"].keys()
    assert [name for name in files["local"] if files["local"][name] != files["spark"][name]] == []
