"""From rows to pairs: rejected, cleaned, merged, cut into parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import polars as pl
import pytest
from conftest import SCHEMA, Built, rows, tree
from hypothesis import given, settings
from hypothesis import strategies as st

from align_data.common import flat_texts
from align_data.common.sorting import argsort
from align_data.data.pairs import clean, keyed, merge, normalise, pieces
from align_data.stages.ingest import Parts
from align_data.storage.tables import PIECE_ROWS


@given(rows())
@settings(max_examples=40)
def test_pairs_are_the_oracles(job: Callable[..., Built], found: list[dict[str, Any]]) -> None:
    built = job(found)
    expected, rejected = oracle.merge(found)
    assert built.table("pairs").select("url", "alt_text", "copies", *list(SCHEMA)[2:]).to_dicts() == [
        {name: pair[name] for name in ("url", "alt_text", "copies", *list(SCHEMA)[2:])} for pair in expected
    ]
    assert built.table("pairs")["uid"].to_list() == [oracle.uid(p["url"], p["alt_text"]) for p in expected]
    assert built.table("rejected")["reason"].to_list() == [row["reason"] for row in rejected]
    account = built.account
    assert account.rows == len(found) == account.pairs + account.merged + account.rejected
    assert account.rejected == len(rejected) == sum(account.reasons.values())


@given(rows(min_size=1), st.integers(1, 4), st.integers(1, 30))
@settings(max_examples=15)
def test_order_and_number_of_files_never_change_a_byte(
    job: Callable[..., Built], found: list[dict[str, Any]], files: int, part_rows: int
) -> None:
    tables = ("pairs", "measured", "counts", "verdicts")
    parts = Parts(rows=part_rows)
    one = job(found, parts=parts)
    other = job(found[::-1], files=files, parts=parts)
    assert tree(_folder(one), *tables) == tree(_folder(other), *tables)


def _folder(built: Built) -> Any:
    return Path(built.dataset.store.root)


@given(rows(min_size=1), st.data())
def test_merging_some_first_changes_nothing(found: list[dict[str, Any]], data: st.DataObject) -> None:
    frame = pl.DataFrame(found, SCHEMA).with_columns(row=pl.int_range(pl.len(), dtype=pl.Int64))
    pairs = keyed(clean(frame)[0])
    cut = data.draw(st.integers(0, len(pairs)))
    some = pl.concat([merge(pairs[:cut]), merge(pairs[cut:])])
    assert merge(some).equals(merge(pairs))


@pytest.mark.parametrize(("block", "step"), [(3, 50), (2**16, 1)])
def test_every_character_up_to_u_3100_is_normalised_as_the_oracle_does_wherever_it_stands(
    block: int, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flat_texts, "BLOCK", block)
    characters = [chr(point) for point in [*range(0x3100), 0xFEFF, 0xFF21, 0x1F600, 0x2F800]]
    texts = [
        form.format(c) for c in characters[::step] for form in ("{}", "a{}b", "{}b", "a{}", "a {} b", "\xe9{}e\u0301")
    ]
    texts += ["", " ", "  ", "a ", " b", "a  b", "a b"]
    expected = [oracle.normalise(text) for text in texts]
    # One by one too: what stands in other rows must not decide.
    assert normalise(pl.Series("alt_text", [*texts, None])).to_list() == [*expected, ""]
    for text, wanted in list(zip(texts, expected, strict=True))[::97]:
        assert normalise(pl.Series("alt_text", ["plain", text, "", text, "plain"])).to_list() == [
            "plain", wanted, "", wanted, "plain",
        ]  # fmt: skip


def test_every_character_of_a_url_is_judged_as_the_oracle_does_wherever_it_stands() -> None:
    forms = ("http://a{}b/", "https://{}", "http://{}/p", "{}http://a", "http://a/{}", "http://a@{}", "HTTP://a?{}")
    urls = [form.format(chr(point)) for point in [*range(0x180), *range(0x2000, 0x2030), 0x3000] for form in forms]
    urls += [
        "",
        " ",
        "http://",
        "http:///a",
        "https:/a",
        "http://@",
        "http://@a",
        "ftp://a",
        "httpsx://a",
        "http://[::1]/",
    ]
    frame = pl.DataFrame({"row": range(len(urls)), "url": urls, "alt_text": ["a"] * len(urls)})
    accepted, rejected = clean(frame)
    reasons = [oracle.reject_reason(url, "a") for url in urls]
    assert rejected.select("row", "reason").rows() == [(n, why) for n, why in enumerate(reasons) if why is not None]
    assert accepted.select("row", "url").rows() == [
        (n, oracle.strip_url(url)) for n, (url, why) in enumerate(zip(urls, reasons, strict=True)) if why is None
    ]
    alone = [clean(frame[n : n + 1])[1]["reason"].to_list() for n in range(0, len(urls), 53)]
    assert alone == [[why] if why is not None else [] for why in reasons[::53]]


@given(st.lists(st.sampled_from([0, 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1, 7 << 40]) | st.integers(0, 2**64 - 1)))
def test_keys_are_sorted_as_numpy_sorts_them(keys: list[int]) -> None:
    for array in (np.array(keys * 3, np.uint64), np.array(keys * 3, np.uint64).view(np.int64)):
        order, ordered = argsort(array)
        assert ordered.tolist() == sorted(array.tolist())
        assert array[order].tolist() == ordered.tolist()


@given(st.lists(st.integers(0, 5), max_size=20), st.data())
def test_pieces_depend_on_the_rows_alone(sizes: list[int], data: st.DataObject) -> None:
    frame = pl.DataFrame(
        {"url": ["u" * s for s in sizes], "alt_text": ["t"] * len(sizes)}, {"url": pl.String, "alt_text": pl.String}
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sizes)), max_size=4)))
    frames = [frame[i:j] for i, j in zip([0, *cuts], [*cuts, len(sizes)], strict=True)]
    whole = [piece.to_dicts() for piece in pieces([frame])]
    assert [piece.to_dicts() for piece in pieces(frames)] == whole
    assert [row for piece in whole for row in piece] == frame.to_dicts()


def test_a_piece_ends_at_its_rows_and_at_its_bytes() -> None:
    rows_ = pl.DataFrame({"url": ["u"], "alt_text": ["t"]}).select(pl.all().repeat_by(PIECE_ROWS + 5).explode())
    assert [len(piece) for piece in pieces([rows_])] == [PIECE_ROWS, 5]
    heavy = pl.DataFrame({"url": ["u"] * 9, "alt_text": ["x" * 8_000_000] * 9})
    assert [len(piece) for piece in pieces([heavy])] == [4, 4, 1]


def test_parts_are_ranges_of_the_urls_hash(job: Callable[..., Built]) -> None:
    found = [dict.fromkeys(SCHEMA) | {"url": f"http://a/{i}", "alt_text": "a"} for i in range(1000)]
    built = job(found, parts=Parts(rows=100))
    manifest = built.dataset.pairs.committed()
    splits = manifest.meta.splits
    assert len(manifest.parts) == 10 == len(splits) + 1
    for number, (low, high) in enumerate(zip(["0" * 16, *splits], [*splits, "g"], strict=True)):
        uids = pl.concat(built.dataset.pairs.pieces(number, ["uid"]))["uid"]
        assert all(low <= uid[:16] < high for uid in uids)


def test_a_hot_url_is_one_part_and_counted(job: Callable[..., Built]) -> None:
    found = [dict.fromkeys(SCHEMA) | {"url": "http://hot/1", "alt_text": f"text {i}"} for i in range(3000)]
    found += [dict.fromkeys(SCHEMA) | {"url": f"http://cold/{i}", "alt_text": "text 1"} for i in range(50)]
    built = job(found, parts=Parts(rows=100), memory=40_000)
    corpus = pl.concat([built.table("pairs"), built.table("measured/corpus")], how="horizontal")
    assert corpus.filter(pl.col("url") == "http://hot/1")["texts_per_image"].unique().to_list() == [3000]
    assert corpus.filter(pl.col("alt_text") == "text 1")["images_per_text"].unique().to_list() == [51]
