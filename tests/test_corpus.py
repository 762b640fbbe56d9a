"""The corpus signals and the ledger over whole pools, against the oracle and under tiny budgets."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import caption_oracle
import numpy as np
import oracle
import polars as pl
from conftest import EVERY_RULE, SCHEMA, Built, manifest_of, pool_texts, rows, tree
from hypothesis import given, settings
from hypothesis import strategies as st

from align_data.common.progress import Silent
from align_data.engines.local import LocalEngine
from align_data.signals import SIGNALS
from align_data.signals.corpus import NO_NGRAM, folded
from align_data.signals.script import SCRIPTS
from align_data.stages.ingest import Parts
from align_data.stages.measure import Ranges, measure
from align_data.stages.measure.images import texts_per_image

RECIPE = EVERY_RULE + "  - {signal: rows_per_text, le: 2}\n"


def expected_values(found: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Any]:
    """Return each pair's signals by the oracle, and the n-gram counts."""
    pairs, _ = oracle.merge(found)
    return oracle.signals(pairs, SCRIPTS), oracle.ngram_counts(pair["alt_text"] for pair in pairs)


@given(rows(max_size=60), st.integers(1, 20), st.sampled_from([2_000, 100_000, 2**32]))
@settings(max_examples=40)
def test_signals_ledger_and_audit_are_the_oracles(
    job: Callable[..., Built], found: list[dict[str, Any]], part_rows: int, memory: int
) -> None:
    built = job(found, recipe=RECIPE, parts=Parts(rows=part_rows), memory=memory)
    values, counts = expected_values(found)
    measured = [built.table(f"measured/{group}") for group in ("text", "corpus", "image")]
    ours = pl.concat(measured, how="horizontal").to_dicts()
    assert ours == [{name: v[name] for name in ours[0]} for v in values] if values else not ours

    rules = [(r.name, r.signal, r.op, r.value) for r in built.recipe.rules]
    ledger = oracle.ledger(values, rules, set())
    assert built.table("verdicts/every").select("failed", "unknown").rows() == ledger
    audit = oracle.audit(ledger, len(rules))
    mine = built.audit.to_json()
    assert {k: mine[k] for k in ("pairs", "kept", "dropped", "pending", "overlap")} == {
        k: audit[k] for k in ("pairs", "kept", "dropped", "pending", "overlap")
    }
    for line, expected in zip(mine["rules"], audit["rules"], strict=True):
        assert {k: line[k] for k in ("fail", "fail_only", "unknown", "left_after")} == {
            k: expected[k] for k in ("fail", "fail_only", "unknown", "left_after")
        }

    stored = sorted(built.table("counts/ngrams")["count"].to_list())
    assert stored == sorted(counts.values())
    classes = built.table("counts/ngrams-classes")
    assert dict(classes.iter_rows()) == {c: stored.count(c) for c in set(stored)}


def pool(number: int) -> list[dict[str, Any]]:
    """Return rows with hot and cold URLs, texts and words."""
    random = np.random.default_rng(3)
    words = [f"w{int(i)}" for i in random.zipf(1.4, number * 6) % 5000]
    return [
        dict.fromkeys(SCHEMA)
        | {
            "url": f"http://a/{int(random.integers(0, number) if random.random() < 0.8 else random.integers(0, 5))}",
            "alt_text": " ".join(words[i * 6 : i * 6 + int(random.integers(0, 7))]),
            "declared_width": 300,
        }
        for i in range(number)
    ]


def test_tiny_parts_ranges_and_budgets_give_the_identical_ledger(job: Callable[..., Built], tmp_path: Path) -> None:
    found = pool(8_000)
    found += found[:400] + found[:120] * 10
    plain = job(found, recipe=RECIPE, workers=1)
    tiny = job(found, recipe=RECIPE, files=7, parts=Parts(rows=480), memory=25_000)
    assert tiny.table("verdicts/every").equals(plain.table("verdicts/every"))
    assert tiny.table("measured/corpus").equals(plain.table("measured/corpus"))
    assert len(tiny.dataset.pairs.committed().parts) == 20

    # And 512 ranges, by measuring again.
    for name in ("measured", "counts"):
        shutil.rmtree(tiny.dataset.store.path(name))
    engine = LocalEngine(tmp_path / "work", 2, 25_000)
    rules = ["images_per_text", "texts_per_image", "rarest_ngram", "rows_per_text"]
    measure(tiny.dataset, engine, Silent(), rules, Ranges(ngrams=14, texts=14))
    assert len(tiny.dataset.counts("ngrams").committed().parts) > 512
    assert tiny.table("measured/corpus").equals(plain.table("measured/corpus"))
    assert tiny.table("counts/ngrams").sort("key").equals(plain.table("counts/ngrams"))


CORPUS = ["images_per_text", "rows_per_text", "rarest_ngram"]


@given(
    rows(min_size=1),
    st.integers(0, 40),
    st.permutations(CORPUS),
    st.integers(1, 3),
    st.sampled_from([1, 5, 100]),
    st.integers(1, 40),
)
@settings(max_examples=25)
def test_rows_are_counted_alone_and_beside_the_others(
    job: Callable[..., Built],
    tmp_path_factory: Any,
    found: list[dict[str, Any]],
    again: int,
    order: list[str],
    first: int,
    part_rows: int,
    pairs: int,
) -> None:
    found = found + found[:again]
    built = job(found, recipe="name: a\nrules:\n  - {signal: n_chars, ge: 1}\n", parts=Parts(rows=part_rows))
    engine = LocalEngine(tmp_path_factory.mktemp("work"), 2, 2_000)
    for asked in (order[:first], order[first:]):
        measure(built.dataset, engine, Silent(), asked, Ranges(ngrams=pairs, texts=pairs))
    values, _ = expected_values(found)
    ours = built.table("measured/corpus").to_dicts()
    assert ours == [{name: v[name] for name in ours[0]} for v in values] if values else not ours
    assert not built.dataset.store.exists("counts/rows")


FOLDED = ["App Store", "app store", "APP-STORE!", "app store 2", "App store (31)", "appstore", "", "...", "é", "É", "e"]


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from(FOLDED) | pool_texts), min_size=1, max_size=40),
    st.sampled_from([["images_per_folded_text"], ["rows_per_text", "images_per_folded_text"], [*CORPUS, "caption"]]),
    st.sampled_from([1, 5, 100]),
)
@settings(max_examples=15)
def test_folded_texts_are_counted_alone_and_beside_others(
    job: Callable[..., Built], rows_: list[tuple[int, str]], others: list[str], part_rows: int
) -> None:
    listed = [dict.fromkeys(SCHEMA) | {"url": f"http://a/{url}", "alt_text": text} for url, text in rows_]
    built = job(listed, recipe="name: a\nrules:\n  - {signal: n_chars, ge: 1}\n", parts=Parts(rows=part_rows))
    engine = LocalEngine(built.dataset.store.work, 2, 2_000)
    measure(built.dataset, engine, Silent(), [*others, "images_per_folded_text"], Ranges(ngrams=3, texts=3))
    folded = [caption_oracle.folded(text) for text in built.table("pairs")["alt_text"]]
    counts = Counter(folded)
    assert built.table("measured/corpus")["images_per_folded_text"].to_list() == [counts[text] for text in folded]
    assert not built.dataset.store.exists("counts/folded")


def test_what_folding_makes_one_text() -> None:
    assert folded(
        pl.Series(["App Store", "app-store!", "Photo 12 of 100", "ph\u00adoto 1 (of 9)", "❤️", "½", ""])
    ).to_list() == [*("app store", "app store", "photo 0 of 0", "photo 0 of 0", "", "", "")]


@given(st.lists(pool_texts | st.sampled_from(FOLDED), min_size=1, max_size=20))
def test_folding_is_the_oracles(texts: list[str]) -> None:
    normal = [oracle.normalise(text) for text in texts]
    assert folded(pl.Series(normal, dtype=pl.String)).to_list() == [caption_oracle.folded(text) for text in normal]


def test_without_merged_rows_a_texts_rows_are_its_pairs(job: Callable[..., Built]) -> None:
    found = pool(400)
    once = [found[at] for at in {oracle.uid(row["url"], row["alt_text"]): at for at, row in enumerate(found)}.values()]
    for rows_, merged in ((once, False), (once + once[:1], True)):
        built = job(rows_, recipe="name: a\nrules:\n  - {signal: rows_per_text, le: 10}\n", parts=Parts(rows=90))
        assert (built.account.merged > 0) is merged
        assert built.dataset.store.exists("counts/texts") is not merged  # which would be counted twice
        pairs, _ = oracle.merge(rows_)
        assert built.table("measured/corpus")["rows_per_text"].to_list() == oracle.rows_per_text(pairs)


def test_a_killed_measure_goes_on_with_more_signals_than_it_began(job: Callable[..., Built]) -> None:
    found = pool(600) + pool(600)[:50]
    built = job(found, recipe="name: a\nrules:\n  - {signal: rows_per_text, le: 10}\n", parts=Parts(rows=200))
    built.dataset.measured("corpus").retract()  # as if killed with all parts written, and none committed
    measure(built.dataset, LocalEngine(built.dataset.store.work), Silent(), CORPUS)
    values, _ = expected_values(found)
    ours = built.table("measured/corpus").to_dicts()
    assert ours == [{name: v[name] for name in ours[0]} for v in values]


def test_a_text_without_words_has_no_rare_ngram(job: Callable[..., Built]) -> None:
    built = job([dict.fromkeys(SCHEMA) | {"url": "http://a/1", "alt_text": "!!"}])
    assert built.table("measured/corpus")["rarest_ngram"].to_list() == [NO_NGRAM]


def test_urls_that_share_a_key_are_not_merged(job: Callable[..., Built], monkeypatch: Any) -> None:
    """Two URLs of one 64-bit key: made by hand, for there is no such pair to be had."""
    built = job([dict.fromkeys(SCHEMA) | {"url": f"http://a/{i % 2}", "alt_text": f"t{i}"} for i in range(6)])
    uids = [f"{'0' * 16}{i:016x}" for i in range(6)]
    frame = pl.DataFrame({"uid": uids, "url": ["http://a/0", "http://a/1"] * 2 + ["http://a/0", "http://a/2"]})
    monkeypatch.setattr(built.dataset.pairs, "pieces", lambda part, columns: iter([frame[:4], frame[4:]]))
    assert texts_per_image(built.dataset.pairs, 0).take(6).tolist() == [3, 2, 3, 2, 3, 1]


def test_nothing_is_measured_twice_and_stale_signals_are_measured_again(
    job: Callable[..., Built], monkeypatch: Any
) -> None:
    built = job(pool(500), recipe=EVERY_RULE)
    dataset, store = built.dataset, built.dataset.store
    engine = LocalEngine(store.work)
    folder = Path(store.root)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("part-*.parquet")}
    again = measure(dataset, engine, Silent(), [r.signal for r in built.recipe.rules if r.signal != "nsfw"])
    assert again.measured == []
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("part-*.parquet")} == before

    more = measure(dataset, engine, Silent(), ["host", "n_words"])
    assert (more.measured, more.before) == (["host"], ["n_words"])
    assert set(built.table("measured/text").columns) == {"n_words", "n_words_whitespace", "n_chars", "script", "host"}

    # A definition that has changed: the group's column is stale, the others stay.
    monkeypatch.setitem(SIGNALS, "n_chars", dataclasses.replace(SIGNALS["n_chars"], version=2))
    changed = measure(dataset, engine, Silent(), ["n_chars", "script"])
    assert (changed.measured, changed.before) == (["n_chars"], ["script"])


def test_the_whole_dataset_is_the_same_bytes_on_one_thread_and_on_four(job: Callable[..., Built]) -> None:
    found = pool(3000)
    one = job(found, workers=1, parts=Parts(rows=500))
    four = job(found, workers=4, parts=Parts(rows=500), memory=200_000)
    assert tree(Path(one.dataset.store.root)) == tree(Path(four.dataset.store.root))
    assert json.loads(manifest_of(Path(one.dataset.store.root), "pairs").read_text())["rows"] == one.account.pairs
