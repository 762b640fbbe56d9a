"""Scores that somebody has published: a column of a list, joined to the pairs, against an oracle in plain Python."""

from __future__ import annotations

import json
import math
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import Built, Crash, Crashes, read, tree, write_list
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import answer, call
from test_score import plant

from align_data.common.errors import AlignDataError, DatasetError, InputError
from align_data.common.progress import Silent
from align_data.data.columns import available, identities
from align_data.data.html_texts import Rewriting
from align_data.data.layout import Dataset
from align_data.engines.base import Engine
from align_data.engines.local import LocalEngine
from align_data.engines.spark import SparkEngine
from align_data.recipes.reading import parse
from align_data.sources.lists import Reading
from align_data.stages.ingest import Parts, ingest
from align_data.stages.pipeline import Decision, decide_ledger
from align_data.stages.score.by_list import By, ListScored, ScoreList, score_by_list
from align_data.stages.takedown import read as read_lists
from align_data.stages.takedown import takedown
from align_data.storage.store import Store

Row = dict[str, Any]
LIST = {"url": pl.String, "text": pl.String, "clip": pl.String}


def dataset_of(folder: Path, rows: list[Row], part_rows: int = 4, rewriting: Rewriting = Rewriting()) -> Dataset:  # noqa: B008
    dataset = Dataset(Store(folder / "dataset"))
    inputs = write_list(folder / "lists", rows, files=2)
    ingest(inputs, dataset, engine_of(dataset), Silent(), parts=Parts(rows=part_rows), rewriting=rewriting)
    return dataset


def engine_of(dataset: Dataset) -> LocalEngine:
    return LocalEngine(dataset.store.work, 2)


def scored(
    dataset: Dataset, *files: Path, by: By | None = None, engine: Engine | None = None, **options: Any
) -> ListScored:
    family = options.pop("family", "similarity")
    scores = ScoreList(tuple(map(str, files)), options.pop("column", "clip"), by, **options)
    return score_by_list(scores, dataset, "clip", family, engine or engine_of(dataset), Silent())


def stored(dataset: Dataset, signal: str = "similarity_clip", group: str = "score.clip") -> dict[str, float | None]:
    return dict(zip(read(dataset, "pairs")["uid"], read(dataset, f"measured/{group}")[signal], strict=True))


def balanced(done: ListScored) -> bool:
    listed = done.listed
    parts = (listed.taken, listed.repeated, listed.contradicting, listed.without_pair, listed.rejected)
    return listed.rows == sum(parts) and listed.rejected == sum(listed.reasons.values())


# --- against an oracle ---


def canonical(text: str | None) -> str:
    return " ".join(unicodedata.normalize("NFC", text or "").split())


def read_number(value: str | None) -> float | str:
    """Return a value as a number, or why it is none."""
    if value is None or not value.strip():
        return "score_missing"
    try:
        number = float(value)
    except ValueError:
        return "score_not_a_number"
    if not math.isfinite(number):
        return "score_not_a_number"
    return "score_too_large" if abs(number) > 2**53 / 10**6 else number


def oracle(pairs: pl.DataFrame, rows: list[Row], by: By) -> tuple[list[float | None], Counter[str]]:
    """Return the score of each pair, and what becomes of each row."""
    ends: Counter[str] = Counter()
    said: dict[Any, list[int]] = {}
    for row in rows:
        url, number = (row["url"] or "").strip(), read_number(row["clip"])
        if not url.startswith("http://"):
            ends["url_not_http" if url else "url_missing"] += 1
        elif isinstance(number, str):
            ends[number] += 1
        else:
            key = url if by == "url" else (url, canonical(row["text"]))
            said.setdefault(key, []).append(round(number * 10**6))
    keys = [url if by == "url" else (url, text) for url, text in pairs.select("url", "alt_text").iter_rows()]
    for key, numbers in said.items():
        agree = len(set(numbers)) == 1
        end = "without_pair" if key not in keys else "repeated" if agree else "contradicting"
        ends[end] += len(numbers) - (end == "repeated")
        ends["taken"] += end == "repeated"
    ends["contradicted_pairs"] = sum(len(set(said.get(key, ()))) > 1 for key in keys)
    return [said[key][0] / 10**6 if len(set(said.get(key, ()))) == 1 else None for key in keys], +ends


pair_urls = st.sampled_from([f"http://a/{n}" for n in range(6)])
pair_texts = st.sampled_from(["a dog", "a  dog ", "cafe\u0301", "café", "", "two\tdogs"])
of_pairs = st.lists(st.fixed_dictionaries({"url": pair_urls, "alt_text": pair_texts}), min_size=1, max_size=20)
numbers = st.sampled_from(["0.25", "0.25", "0.2500004", "0.3", "-1", "1e-9", "25.5", "9007199255", "1e300", " 0.25 "])
values = st.none() | numbers | st.sampled_from(["", "NaN", "inf", "-inf", "UNLIKELY", "0,3"])
strange_urls = st.sampled_from([None, "", "ftp://a/1", " http://a/1 ", "http://elsewhere/1"])
of_list = st.lists(
    st.fixed_dictionaries({"url": pair_urls | strange_urls, "text": st.none() | pair_texts, "clip": values}),
    max_size=40,
)


@settings(max_examples=25)
@given(of_pairs, of_list, st.sampled_from(["pair", "url"]))
def test_scores_and_account_are_the_oracles(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[Row], rows: list[Row], by: By
) -> None:
    folder = tmp_path_factory.mktemp("listed")
    dataset = dataset_of(folder, pairs)
    halves = [folder / "0.parquet", folder / "1.parquet"]
    for number, path in enumerate(halves):
        pl.DataFrame(rows[number::2], LIST).write_parquet(path)
    done = scored(dataset, *halves, by=by)
    expected, ends = oracle(read(dataset, "pairs"), rows, by)
    assert list(stored(dataset).values()) == expected
    listed = done.listed.dump()
    told = Counter({name: listed[name] for name in ("taken", "repeated", "contradicting", "without_pair")})
    told["contradicted_pairs"] = listed["contradicted_pairs"]
    assert +(told + Counter(listed["reasons"])) == ends
    assert balanced(done)
    assert done.scored == sum(value is not None for value in expected)
    assert {example.reason for example in done.examples} == set(listed["reasons"])


# --- formats, and what tells whose a row is ---

PAIRS = [{"url": f"http://a/{n}", "alt_text": f"text {n}"} for n in range(12)]
ROWS = [{"url": f"http://a/{n}", "text": f"text {n}", "clip": n / 10 if n % 5 else None} for n in range(10)]


def test_every_format_and_type_says_the_same(tmp_path: Path) -> None:
    frame = pl.DataFrame(ROWS)
    frame.write_parquet(tmp_path / "a.parquet")
    frame.with_columns(pl.col("clip").cast(pl.Float32)).write_parquet(tmp_path / "b.parquet")
    frame.with_columns(pl.col("clip").cast(pl.Decimal(10, 3))).write_parquet(tmp_path / "c.parquet")
    frame.with_columns(pl.col("clip").cast(pl.String).cast(pl.Categorical)).write_parquet(tmp_path / "d.parquet")
    frame.write_csv(tmp_path / "e.csv")
    frame.write_csv(tmp_path / "f.tsv", separator="\t")
    frame.write_csv(tmp_path / "g.csv", separator=";")
    frame.write_ndjson(tmp_path / "h.jsonl")
    frame.write_ipc(tmp_path / "i.arrow")
    (tmp_path / "j.json").write_text(json.dumps([{**row, "clip": row["clip"] and str(row["clip"])} for row in ROWS]))
    dataset = dataset_of(tmp_path, PAIRS)
    expected = {f"http://a/{n}": ROWS[n]["clip"] if n < 10 else None for n in range(12)}
    for path in sorted(tmp_path.glob("*.*")):
        done = scored(dataset, path, by="pair")
        assert dict(zip(read(dataset, "pairs")["url"], stored(dataset).values(), strict=True)) == expected, path
        assert done.listed.dump() == {
            "rows": 10,
            "taken": 8,
            "repeated": 0,
            "contradicting": 0,
            "without_pair": 0,
            "rejected": 2,
            "reasons": {"score_missing": 2},
            "contradicted_pairs": 0,
        }, path


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_truth_values_are_one_and_zero(tmp_path: Path, ending: str) -> None:
    dataset, path = dataset_of(tmp_path, PAIRS), tmp_path / f"list.{ending}"
    frame = pl.DataFrame(ROWS).with_columns(clip=pl.Series([n % 3 == 0 for n in range(10)]))
    {"parquet": frame.write_parquet, "csv": frame.write_csv, "jsonl": frame.write_ndjson}[ending](path)
    scored(dataset, path, family="head")
    values = dict(zip(read(dataset, "pairs")["url"], read(dataset, "measured/head.clip")["head_clip"], strict=True))
    assert values == {f"http://a/{n}": float(n % 3 == 0) if n < 10 else None for n in range(12)}


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_without_texts_rows_are_of_every_text_of_their_url(tmp_path: Path, ending: str) -> None:
    dataset = dataset_of(tmp_path, [*PAIRS, {"url": "http://a/1", "alt_text": "another"}])
    frame = pl.DataFrame({"image_url": ["http://a/1", "http://a/2"], "clip": [0.5, 0.25]})
    path = tmp_path / f"list.{ending}"
    {"parquet": frame.write_parquet, "csv": frame.write_csv, "jsonl": frame.write_ndjson}[ending](path)
    done = scored(dataset, path)
    assert (done.by, done.scored, done.listed.taken) == ("url", 3, 2)
    with pytest.raises(InputError, match="no column found for alt_text"):
        scored(dataset, path, by="pair")
    with_texts = tmp_path / "texts.parquet"
    pl.DataFrame(ROWS).write_parquet(with_texts)
    with pytest.raises(InputError, match=r"texts.parquet has texts and .* has not: choose --by url"):
        scored(dataset, path, with_texts)


def test_our_uid_is_enough(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, PAIRS)
    uids = read(dataset, "pairs")["uid"].to_list()
    frame = pl.DataFrame({"uid": [uids[3].upper(), uids[5], "f" * 32, "short", None], "clip": [1, 2, 3, 4, 5]})
    frame.write_csv(tmp_path / "uids.csv")
    done = scored(dataset, tmp_path / "uids.csv", by="uid", family="head")
    assert done.signal == "head_clip"
    expected = dict.fromkeys(uids) | {uids[3]: 1.0, uids[5]: 2.0}
    assert stored(dataset, "head_clip", "head.clip") == expected
    assert (done.listed.without_pair, done.listed.reasons) == (1, {"uid_invalid": 2})


def test_texts_are_rewritten_as_those_of_the_pairs_were(tmp_path: Path) -> None:
    raw = "salt &amp; <b>pepper</b>"
    dataset = dataset_of(tmp_path, [{"url": "http://a/1", "alt_text": raw}], rewriting=Rewriting(True, True))
    pl.DataFrame({"url": ["http://a/1"], "text": [raw], "clip": [0.5]}).write_parquet(tmp_path / "l.parquet")
    assert scored(dataset, tmp_path / "l.parquet").scored == 1


def test_named_columns_and_encodings_are_ingests(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, [{"url": "http://a/1", "alt_text": "café"}])
    (tmp_path / "l.csv").write_bytes("where;what;clip\nhttp://a/1;café;0.5\n".encode("latin-1"))
    how = {"url": "where", "alt_text": "what", "reading": Reading(";", "latin-1")}
    assert scored(dataset, tmp_path / "l.csv", **how).scored == 1


# --- again, killed, taken down, on Spark ---


def test_the_same_files_are_nothing_to_do_and_others_are(tmp_path: Path) -> None:
    dataset, path = dataset_of(tmp_path, PAIRS), tmp_path / "l.parquet"
    pl.DataFrame(ROWS).write_parquet(path)
    first = scored(dataset, path)
    files = tree(Path(dataset.store.url), "measured", "_manifests")
    again = scored(dataset, path)
    assert again.already
    assert again.listed == first.listed
    assert tree(Path(dataset.store.url), "measured", "_manifests") == files
    pl.DataFrame(ROWS[:5]).write_parquet(path)
    assert not scored(dataset, path).already
    assert stored(dataset) != first
    assert not scored(dataset, path, by="url").already
    assert "similarity_clip" in available(dataset, dataset.ingested())
    # Nothing of images, which may come and go.
    identity = identities(dataset, ["similarity_clip"])["similarity_clip"]
    assert {"model", "column", "by"} <= identity.keys()
    assert not {"images", "pixels", "max_pixels"} & identity.keys()
    next(Path(dataset.store.url, "measured/score.clip").glob("part-*")).unlink()
    again_by = "FILE.* --column clip --as clip --family similarity; or do without"
    opened = Dataset(Store(dataset.store.url))
    with pytest.raises(DatasetError, match=again_by):
        available(opened, opened.ingested(), ["similarity_clip"])


def test_a_killed_run_leaves_nothing_that_is_taken_for_a_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, path = dataset_of(tmp_path, PAIRS), tmp_path / "l.parquet"
    pl.DataFrame(ROWS).write_parquet(path)
    scored(dataset, path)
    whole = tree(Path(dataset.store.url), "measured")
    pl.DataFrame([{**row, "clip": 0.125} for row in ROWS]).write_parquet(tmp_path / "other.parquet")
    crashes = Crashes(monkeypatch)
    for number in (1, 2, 3):
        crashes.left = number
        with pytest.raises(Crash):
            scored(Dataset(Store(dataset.store.url)), tmp_path / "other.parquet")
        crashes.left = -1
        opened = Dataset(Store(dataset.store.url))
        assert "similarity_clip" not in available(opened, opened.ingested(), ["n_words"])
        with pytest.raises(
            DatasetError, match="did not finish; take them from their list again: align-data score FILE"
        ):
            available(opened, opened.ingested(), ["similarity_clip"])
        scored(opened, path)
        assert tree(Path(dataset.store.url), "measured") == whole


def test_what_is_taken_down_gets_no_score_and_others_keep_theirs(tmp_path: Path) -> None:
    dataset, path = dataset_of(tmp_path, PAIRS), tmp_path / "l.parquet"
    pl.DataFrame(ROWS).write_parquet(path)
    scored(dataset, path)
    before, dead = stored(dataset), read(dataset, "pairs").filter(pl.col("url") == "http://a/3")["uid"].item()
    (tmp_path / "uids.txt").write_text(dead + "\n")
    takedown(dataset, read_lists({"uids": [str(tmp_path / "uids.txt")]}), [], engine_of(dataset), Silent())
    assert scored(dataset, path).already
    assert available(dataset, dataset.ingested(), ["similarity_clip"]) >= {"similarity_clip"}
    pl.DataFrame(ROWS).write_parquet(tmp_path / "copy.parquet")
    listed = tmp_path / "uids.parquet"
    pl.DataFrame({"uid": list(before), "clip": [0.5] * len(before)}).write_parquet(listed)
    done = scored(dataset, listed, by="uid")
    assert stored(dataset) == {uid: None if uid == dead else 0.5 for uid in before}
    assert done.listed.without_pair == 1


@pytest.mark.spark
def test_spark_writes_the_same_files(tmp_path: Path, spark: SparkEngine) -> None:
    path = tmp_path / "l.parquet"
    twice = [*ROWS, *ROWS[:4], {**ROWS[6], "clip": 0.9}, {"url": "http://b/1", "text": "", "clip": 0.5}]
    pl.DataFrame(twice).write_parquet(path)
    for name, engine in (("spark", spark), ("local", None)):
        done = scored(dataset_of(tmp_path / name, PAIRS), path, engine=engine)
        assert (done.scored, done.listed.repeated, done.listed.contradicting, done.listed.without_pair) == (7, 3, 2, 1)
    local, other = (tree(tmp_path / name / "dataset", "measured", "_manifests") for name in ("local", "spark"))
    assert local == other


class Heard(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)


def test_a_list_in_place_of_a_model_and_one_without_a_score_are_said(tmp_path: Path) -> None:
    dataset, path = dataset_of(tmp_path, PAIRS), tmp_path / "l.parquet"
    plant(dataset, "clip", [0.5] * len(PAIRS))
    pl.DataFrame(ROWS).write_parquet(path)
    for column, said in (
        ("clip", "from decoded images, and is scored anew from a list: the two"),
        ("url", "no row of"),
    ):
        heard = Heard()
        score_by_list(ScoreList((str(path),), column), dataset, "clip", "similarity", engine_of(dataset), heard)
        assert sum(said in sentence for sentence in heard.sentences) == 1


# --- in recipes, and the command ---


def test_recipes_test_them_like_any_score(tmp_path: Path) -> None:
    dataset, path = dataset_of(tmp_path, PAIRS), tmp_path / "l.parquet"
    pl.DataFrame(ROWS).write_parquet(path)
    scored(dataset, path)
    rule = "name: best\ntitle: t\nrules:\n  - {signal: similarity_clip, top_fraction: 0.25, source: chosen}\n"
    decide_ledger(Decision(parse(rule, "best.yaml")), dataset, engine_of(dataset), Silent())
    verdicts = read(dataset, "verdicts/best")
    values = stored(dataset)
    best = sorted((value for value in values.values() if value is not None), reverse=True)[:2]
    for uid, failed, unknown in zip(values, verdicts["failed"], verdicts["unknown"], strict=True):
        assert (bool(failed), bool(unknown)) == (
            values[uid] is not None and values[uid] not in best,
            values[uid] is None,
        )


def test_the_command(tmp_path: Path, job: Callable[..., Built]) -> None:
    dataset = job(PAIRS).dataset.store.url
    for number in range(2):
        pl.DataFrame(ROWS[number::2]).write_csv(tmp_path / f"{number}.csv")
    done = call("score", tmp_path / "0.csv", tmp_path / "1.csv", dataset, "--column", "clip", "--as", "x")
    assert "similarity_x: 8 of 12 pairs have a score, 4 have no row\n" in done.stdout
    rows = "10 rows in = 8 taken + 0 repeated + 0 contradicting + 0 without a pair + 2 rejected (2 score_missing)"
    assert f"{rows}; joined by pair" in done.stdout
    again = answer("score", tmp_path / "*.csv", dataset, "--column", "clip", "--as", "x")
    assert (again["already"], again["rows"], again["rejected"]) == (True, 10, 2)
    itm = answer("score", tmp_path / "*.csv", dataset, "--column", "clip", "--as", "x", "--family", "itm")
    assert itm["signal"] == "itm_x"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--as", "x"], 2, "2 models: score by one at a time"),
        (["--as", "x", "--by", "url"], 2, "--by goes with lists: give --column COLUMN too"),
        (["--column", "clip"], 2, "Missing option '--as'"),
        (["--column", "clip", "--as", "x", "--head", "h.npz"], 2, "--head goes with models, and --column with lists"),
        (["--column", "", "--as", "x"], 1, "--column is empty"),
        (["--column", "clop", "--as", "x"], 1, "has no column clop (did you mean clip?)"),
        (["--column", "clip", "--as", "X"], 1, "'X' is not a valid score name"),
    ],
)
def test_what_the_command_refuses_is_a_sentence(
    options: list[str], code: int, said: str, tmp_path: Path, job: Callable[..., Built]
) -> None:
    for number in range(2):
        pl.DataFrame(ROWS).write_csv(tmp_path / f"{number}.csv")
    dataset, files = job(PAIRS).dataset.store.url, [tmp_path / "0.csv", tmp_path / "1.csv"]
    refused = call("score", *files, dataset, *options, code=code).output
    assert said in " ".join(refused.split())


def test_lists_that_cannot_have_scores_are_a_sentence(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, PAIRS)
    frame = pl.DataFrame(ROWS).with_columns(clip=pl.concat_list("clip"))
    frame.write_parquet(tmp_path / "nested.parquet")
    with pytest.raises(
        InputError, match=r"nested.parquet: the column clip holds large_list<.*>, not a number for each row"
    ):
        scored(dataset, tmp_path / "nested.parquet")
    (tmp_path / "bare.csv").write_text("http://a/1,text 1,0.5\nhttp://a/2,text 2,0.5\n")
    with pytest.raises(AlignDataError, match="has no column clip"):
        scored(dataset, tmp_path / "bare.csv")
