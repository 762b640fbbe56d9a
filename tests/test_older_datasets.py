"""Datasets of other versions of the format: those of the first commits, and of versions to come."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from conftest import SCHEMA, Built, manifest_of, read, tree

import align_data
from align_data.cli import main
from align_data.data.layout import Dataset
from align_data.data.meta import LedgerMeta
from align_data.signals import SIGNALS
from align_data.storage.contracts import Column
from align_data.storage.store import Store
from align_data.storage.tables import MANIFESTS, Table

RECIPE = """
name: every
rules:
  - {signal: n_words, between: [2, 4], source: chosen}
  - {signal: rarest_ngram, ge: 1, source: chosen}
"""
ROWS = [
    {**dict.fromkeys(SCHEMA), "url": f"http://a/{n}", "alt_text": f"a text {n % 5}", "declared_width": 300}
    for n in range(12)
]


def aged(dataset: Path) -> None:
    """Rewrite a dataset as the first commits wrote it: format 1, no checksums, no seals, a ledger with fewer entries."""
    for path in dataset.rglob("part-*.parquet"):
        table = pq.read_table(path)
        facts = (pq.read_metadata(path).metadata or {}).get(b"align_data.facts")
        pq.write_table(table.replace_schema_metadata({b"align_data": facts} if facts else None), path)
    beside_parts(dataset)
    for path in dataset.rglob("_manifest.json"):
        manifest = json.loads(path.read_text())
        del manifest["checksum"]
        manifest["format"] = 1
        for number, part in enumerate(manifest["parts"]):
            del part["footer"]
            part["bytes"] = (path.parent / f"part-{number:05d}.parquet").stat().st_size
        if manifest["table"].startswith("verdicts/"):
            manifest["meta"] = {name: manifest["meta"][name] for name in ("plan", "masks")}
        path.write_text(json.dumps(manifest))


def beside_parts(dataset: Path) -> None:
    """Put the manifests of a dataset into the folders of their tables, where earlier versions wrote them."""
    for path in (dataset / MANIFESTS).rglob("*.json"):
        path.rename(dataset / path.relative_to(dataset / MANIFESTS).with_suffix("") / "_manifest.json")
    shutil.rmtree(dataset / MANIFESTS, ignore_errors=True)


def to_come(dataset: Path) -> None:
    """Let all manifests be of a format that there is not yet."""
    for path in (dataset / MANIFESTS).rglob("*.json"):
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps({**manifest, "format": 4, "align_data": "9.0", "meta": [], "parts": "elsewhere"}))


@pytest.fixture
def place(job: Callable[..., Built], tmp_path: Path) -> Path:
    recipe = tmp_path / "every.yaml"
    recipe.write_text(RECIPE)
    return Path(job(ROWS, recipe=str(recipe)).dataset.store.root)


def commands(dataset: Path, folder: Path, ledger: str = "every") -> list[list[str]]:
    """Return all commands that read a dataset."""
    (folder / "uids.txt").write_text("0" * 32)
    there, export = str(dataset), ["--out", str(folder / "out")]
    return [
        ["measure", there],
        ["filter", there, "--recipe", str(folder / "every.yaml")],
        ["audit", there, "--recipe", ledger],
        ["why", there, "--recipe", ledger, "--text", "a text 1"],
        ["sweep", there, "--recipe", ledger, "--signal", "n_words"],
        ["diff", there, ledger, ledger],
        ["export", there, "--recipe", ledger, "--format", "metadata", *export],
        ["export", there, "--recipe", ledger, "--format", "webdataset", *export],
        ["fetch", there, "--recipe", ledger],
        ["takedown", there, "--uids", str(folder / "uids.txt"), "--dry-run"],
        ["score", str(folder), there, "--as", "x"],
    ]


def run(command: Sequence[str]) -> Result:
    result = CliRunner().invoke(main, list(command))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    assert "unforeseen" not in result.output, (command, result.output)
    assert result.exit_code in (0, 1), result.output
    return result


def test_every_command_on_a_dataset_of_the_first_commits_works_or_says_why(place: Path, tmp_path: Path) -> None:
    dataset = Dataset(Store(place))
    pairs, verdicts = read(dataset, "pairs"), read(dataset, "verdicts/every")
    aged(place)
    for command in commands(place, tmp_path):
        result = run(command)
        if command[0] == "measure":
            assert result.exit_code == 0
        elif command[0] not in ("score", "takedown"):
            assert result.exit_code == 1
            assert "verdicts/every/_manifest.json is not a manifest as align-data" in result.output
            assert ": the entry is missing; " in result.output
            assert f"or remove {place}/verdicts/every and decide again: align-data filter" in result.output
    # What it says helps.
    shutil.rmtree(place / "verdicts" / "every")
    assert run(["filter", str(place), "--recipe", str(tmp_path / "every.yaml")]).exit_code == 0
    for command in commands(place, tmp_path)[2:7]:
        assert run(command).exit_code == 0
    assert read(dataset, "verdicts/every").equals(verdicts)
    assert read(dataset, "pairs").equals(pairs)


def test_every_command_on_a_dataset_of_a_later_format_says_which_version_reads_it(place: Path, tmp_path: Path) -> None:
    to_come(place)
    for command in commands(place, tmp_path):
        result = run(command)
        assert result.exit_code == 1
        assert "has format 4; align-data" in result.output
        assert "use the version that wrote it (9.0)" in result.output


@pytest.mark.parametrize(
    ("table", "entry"),
    [
        *(("pairs", entry) for entry in ("account", "splits")),
        *(("measured/text", entry) for entry in ("signals", "pairs")),
        ("counts/ngrams", "pairs"),
        *(("verdicts/every", entry) for entry in ("plan", "pairs", "ledger", "masks")),
    ],
)
def test_a_manifest_that_lacks_an_entry_is_a_sentence(place: Path, tmp_path: Path, table: str, entry: str) -> None:
    path = manifest_of(place, table)
    manifest = json.loads(path.read_text())
    del manifest["meta"][entry]
    del manifest["checksum"]
    path.write_text(json.dumps({**manifest, "format": 1}))
    assert any(f"{entry}: the entry is missing" in run(command).output for command in commands(place, tmp_path))


REDEFINED = ("n_words", "rarest_ngram")
"""Signals of the archived datasets that have another definition now."""


def define_as_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let signals have the versions that the archived datasets have, so that their format alone is old."""
    for name in REDEFINED:
        monkeypatch.setitem(SIGNALS, name, replace(SIGNALS[name], version=1))


@pytest.fixture
def format_2_redefined(tmp_path: Path) -> Path:
    """Give a folder with a dataset of format 2, as version 0.1.0 wrote it, its list and its recipe."""
    shutil.unpack_archive(Path(__file__).with_name("format_2.zip"), tmp_path)
    return tmp_path


@pytest.fixture
def format_2(format_2_redefined: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the same where the signals are defined as they were."""
    define_as_then(monkeypatch)
    return format_2_redefined


def test_values_by_an_earlier_definition_are_told_to_be_measured_again(format_2_redefined: Path) -> None:
    folder = format_2_redefined
    dataset = Dataset(Store(folder / "dataset"))
    former = read(dataset, "verdicts/every")
    _, by_recipe, of_counts, *of_ledger = commands(folder / "dataset", folder)
    for command in (by_recipe, of_ledger[0], of_ledger[1]):
        told = run(command)
        assert told.exit_code == 1, command
        assert "n_words" in told.output
        assert (
            f"by an earlier definition, or some of their files are missing; measure them again: align-data measure {folder / 'dataset'}"
            in " ".join(told.output.split())
        )
    assert "align-data measure" in (told := run(of_counts).output)
    assert "then filter again" in " ".join(told.split())
    assert "measured again" not in told  # they were not
    # What it says helps, and texts without the characters that were redefined have the values that they had.
    measured = run(["measure", str(folder / "dataset")])
    assert all(name in measured.output.partition("already measured")[0] for name in REDEFINED)
    for command in (by_recipe, of_counts, *of_ledger[:2]):
        assert run(command).exit_code == 0
    assert read(dataset, "verdicts/every").equals(former.drop("uid"))


def test_a_dataset_of_format_2_is_known_again_and_nothing_is_done_twice(format_2: Path) -> None:
    place, recipe = str(format_2 / "dataset"), str(format_2 / "every.yaml")
    before = tree(format_2 / "dataset")
    # Unpacked, the list has another time of change, so that its content tells.
    assert "already" in run(["ingest", str(format_2 / "list.parquet"), "--out", place]).output
    (format_2 / "list.parquet").write_bytes((format_2 / "list.parquet").read_bytes().replace(b"text", b"TEXT"))
    changed = run(["ingest", str(format_2 / "list.parquet"), "--out", place])
    assert (changed.exit_code, "choose another --out" in changed.output) == (1, True)
    assert run(["filter", place, "--recipe", recipe]).exit_code == 0
    assert tree(format_2 / "dataset") == before


def test_every_command_works_on_a_dataset_of_format_2(format_2: Path) -> None:
    dataset = Dataset(Store(format_2 / "dataset"))
    former = read(dataset, "verdicts/every")
    assert former["uid"].equals(read(dataset, "pairs")["uid"])
    for command in commands(format_2 / "dataset", format_2):
        result = run(command)
        assert result.exit_code == 0 or command[0] in ("score", "takedown", "fetch", "export"), (command, result.output)
        assert "manifest" not in result.output
        assert "damaged" not in result.output
    # Fetching has made the values of images stale.
    assert run(["measure", dataset.store.url]).exit_code == 0
    opened = align_data.open(format_2 / "dataset").verdicts("every").collect()
    assert opened.select("uid", "failed", "unknown").equals(former)


def test_a_takedown_from_a_dataset_of_format_2_marks_its_rows_and_drops_the_uids_of_ledgers(format_2: Path) -> None:
    dataset = Dataset(Store(format_2 / "dataset"))
    former = read(dataset, "verdicts/every")
    (format_2 / "uids.txt").write_text(former["uid"][4])
    taken = run(["takedown", dataset.store.url, "--uids", str(format_2 / "uids.txt")])
    assert taken.exit_code == 0, taken.output
    now = read(dataset, "verdicts/every")
    assert now.columns == ["failed", "unknown"]
    assert [row for row, failed in enumerate(now["failed"]) if failed < 0] == [4]
    assert read(dataset, "pairs")["url"][4] == ""


def test_a_ledger_of_format_2_that_belongs_to_other_pairs_is_refused(format_2: Path) -> None:
    """By its uids: earlier ledgers have nothing else that says whose they are."""
    dataset = Dataset(Store(format_2 / "dataset"))
    table = dataset.ledger("every")
    former, manifest = read(dataset, "verdicts/every"), table.committed()
    uid = Column("uid", "string", nullable=False, about="The pair.")
    old = Table(
        dataset.store, table.name, replace(table.contract, columns=(uid, *table.contract.columns)), LedgerMeta
    )  # fmt: skip
    with old.writer(0, table.facts(0)) as writer:
        writer.write(former.with_columns(former["uid"].reverse()))
    table.commit([writer.info], manifest.meta)
    (format_2 / "uids.txt").write_text(former["uid"][4])
    refused = run(["takedown", dataset.store.url, "--uids", str(format_2 / "uids.txt")])
    assert refused.exit_code == 1
    assert "is beside other pairs" in refused.output
