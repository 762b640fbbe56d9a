"""What a dataset keeps of a crawl: where a pair is from, and what its page asks for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import oracle
import polars as pl
import pytest
from click.testing import CliRunner
from conftest import SCHEMA, Built, build, read, tree, write_list
from crawled_rows import row, write_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from align_data.cli import main
from align_data.common.opt_outs import DIRECTIVES
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.data.pairs import BESIDE, clean, keyed, merge
from align_data.engines.local import LocalEngine
from align_data.engines.spark import SparkEngine
from align_data.fetching.opt_outs import robots_tag
from align_data.signals import find
from align_data.signals.page import opts_out
from align_data.sources.crawl.pages.directives import robots_text
from align_data.sources.lists import Choice, units
from align_data.sources.lists.inputs import find as find_lists
from align_data.stages.ingest import Parts, ingest
from align_data.storage.store import Store

RECIPE = "name: open\nrules:\n  - {signal: n_words, ge: 2}\n  - {signal: page_opt_out, eq: false}\n"
PROVENANCE = ("crawl_file", "crawl_offset", "text_from", "robots")
WIDE = {**SCHEMA, "crawl_file": pl.String, "crawl_offset": pl.Int64, "text_from": pl.String, "robots": pl.String}
words = st.sampled_from([*sorted(DIRECTIVES), "noarchive", "index", "all", "max-snippet:-1", "noaim", "NoAI", " none "])
agents = st.sampled_from(["", "", "", "googlebot: ", "robots: ", "*:", "align-data/1.0 : ", "noai: "])
directives = st.none() | st.lists(st.builds("{}{}".format, agents, words), max_size=3).map(", ".join)


def rows_of(urls: int) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Draw rows of a few pairs, many of them equal."""
    fixed = st.fixed_dictionaries(
        {
            "url": st.integers(1, urls).map("http://i.example/{}".format),
            "alt_text": st.sampled_from(["a dog", "a cat"]),
            "declared_width": st.none() | st.sampled_from([1, 2]),
            "declared_height": st.just(None),
            "page_url": st.none() | st.sampled_from(["http://p/1", "http://p/2"]),
            "declared_language": st.none() | st.just("en"),
            "license": st.none(),
            "source_uid": st.none(),
            "crawl_file": st.none() | st.sampled_from(["a.warc.gz", "b.warc.gz"]),
            "crawl_offset": st.none() | st.integers(0, 3),
            "text_from": st.none() | st.sampled_from(["alt", "title"]),
            "robots": directives,
        }
    )
    return st.lists(fixed, min_size=1, max_size=30)


@given(directives)
@settings(max_examples=200)
def test_a_page_opts_out_by_the_words_that_the_oracle_knows(robots: str | None) -> None:
    found = opts_out(pl.Series([robots], dtype=pl.String)).item()
    assert found == (None if robots is None else oracle.opts_out(robots))
    # What one directive says to all or to us, the header that fetching reads says too.
    if robots is not None and "," not in robots:
        assert found == (robots_tag([robots]) is not None)


@given(
    st.lists(st.lists(st.builds("{}{}".format, agents, words), max_size=3).map(", ".join), max_size=3),
    st.lists(
        st.tuples(st.sampled_from(["robots", "Robots ", "googlebot", "align-data", "author", None]),
                  st.lists(words, max_size=3).map(", ".join) | st.none()),
        max_size=3,
    ),
)  # fmt: skip
@settings(max_examples=300)
def test_what_a_page_says_in_several_places_is_read_from_its_one_text(
    headers: list[str], metas: list[tuple[str | None, str | None]]
) -> None:
    """Whoever a header spoke to, what a meta element says behind it is not said to that one."""
    said = robots_tag(headers) is not None
    for name, content in metas:
        for_us = (name or "").strip().lower() in ("robots", "align-data")
        said |= for_us and any(word.split(":")[0].strip() in DIRECTIVES for word in (content or "").lower().split(","))
    assert opts_out(pl.Series([robots_text(headers, metas)], dtype=pl.String)).item() == said


def test_the_signal_says_its_words() -> None:
    assert [word for word in DIRECTIVES if not re.search(rf"\b{word}\b", find("page_opt_out").about)] == []


@given(rows_of(3), st.data())
def test_merging_is_of_any_order_and_never_loses_an_opt_out(found: list[dict[str, Any]], data: st.DataObject) -> None:
    def merged(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
        frame = pl.DataFrame(rows, WIDE).with_columns(row=pl.int_range(pl.len(), dtype=pl.Int64))
        return merge(keyed(clean(frame)[0], BESIDE))

    whole, cut = merged(found), data.draw(st.integers(0, len(found)))
    assert merged(data.draw(st.permutations(found))).equals(whole)
    assert merge(pl.concat([merged(part) for part in (found[:cut], found[cut:]) if part])).equals(whole)
    expected, _ = oracle.merge(found, BESIDE)
    assert whole.select("url", "alt_text", "copies", *BESIDE).to_dicts() == [
        {name: pair[name] for name in ("url", "alt_text", "copies", *BESIDE)} for pair in expected
    ]
    for pair in whole.to_dicts():
        equal = [row for row in found if (row["url"], row["alt_text"]) == (pair["url"], pair["alt_text"])]
        assert {name: pair[name] for name in BESIDE} in [{name: row[name] for name in BESIDE} for row in equal]
        assert oracle.opts_out(pair["robots"]) == any(oracle.opts_out(row["robots"]) for row in equal)


def test_a_dataset_keeps_where_its_pairs_are_from(tmp_path: Path) -> None:
    rows = [
        row(url=f"http://i.example/{n % 13}", alt_text=f"text {n % 2}", page_url=f"http://p/{n}", crawl_offset=n * 10,
            position=n, crawl_file="b.warc.gz" if n % 2 else "a.warc.gz", license="cc0" if n % 5 == 0 else None,
            robots=["", "noai, nofollow", "noarchive", None][n % 4], declared_width=n % 2 or None,
            text_from="title" if n % 6 == 0 else "alt", title="A Title", caption="A Caption")
        for n in range(49)
    ]  # fmt: skip
    rows.append(row(url="http://i.example/alone", robots=None))
    folder = write_rows(tmp_path / "rows", {"a": rows[::2], "b": rows[1::2]})
    (folder / "_account.json").write_text("{}")
    (folder / "_accounts").mkdir()
    (folder / "_accounts" / "a.parquet").write_text("not a list")
    built = build(tmp_path / "dataset", [str(folder)], RECIPE)
    plain = [{**dict.fromkeys(WIDE), **{name: each[name] for name in WIDE if name in each}} for each in rows]
    expected, _ = oracle.merge(plain, BESIDE)
    pairs = built.table("pairs")
    assert pairs.columns == ["uid", "url", "alt_text", "copies", *BESIDE]
    assert pairs.select("uid", *BESIDE).to_dicts() == [{name: p[name] for name in ("uid", *BESIDE)} for p in expected]
    assert built.account.rows == 50 == built.account.pairs + built.account.merged
    truth = [None if p["robots"] is None else oracle.opts_out(p["robots"]) for p in expected]
    assert {*truth} == {True, False, None}
    assert built.table("measured/text")["page_opt_out"].to_list() == truth
    assert [mask >> 1 for mask in built.table("verdicts/open")["failed"]] == [int(value is True) for value in truth]
    assert [mask >> 1 for mask in built.table("verdicts/open")["unknown"]] == [int(value is None) for value in truth]


def test_a_list_that_is_of_no_crawl_has_none_of_its_columns(job: Callable[..., Built], tmp_path: Path) -> None:
    found = [dict.fromkeys(SCHEMA) | {"url": f"http://a/{n}", "alt_text": "a dog"} for n in range(9)]
    built = job(found)
    assert built.table("pairs").columns == ["uid", "url", "alt_text", "copies", *list(SCHEMA)[2:]]
    assert "page_opt_out" not in built.table("measured/text").columns
    assert "provenance" not in (Path(built.dataset.store.root) / "_manifests/pairs.json").read_text()
    # Nor has one of lines, whose keys are not known before they are read.
    lines = tmp_path / "list.jsonl"
    lines.write_text("".join(json.dumps(each) + "\n" for each in found))
    assert tree(Path(build(tmp_path / "lines", [str(lines)]).dataset.store.root), "pairs") == tree(
        Path(built.dataset.store.root), "pairs"
    )


def test_a_rule_on_what_no_list_says_is_unknown_and_says_what_it_needs(tmp_path: Path) -> None:
    found = [dict.fromkeys(SCHEMA) | {"url": "http://a/1", "alt_text": "a dog"}]
    built = build(tmp_path / "dataset", write_list(tmp_path, found), RECIPE)
    assert (built.audit.pending, built.audit.rules[1].unknown) == (1, 1)
    assert any("page_opt_out needs a list that says what its pages ask of robots" in note for note in built.audit.notes)
    shown = CliRunner().invoke(main, ["measure", str(tmp_path / "dataset"), "--signals", "page_opt_out"])
    assert shown.exit_code == 1
    assert "page_opt_out cannot be measured: it would need a list that says" in shown.output


def test_lists_of_a_crawl_and_others_are_one_dataset(tmp_path: Path) -> None:
    folder = write_rows(tmp_path / "rows", {"a": [row(robots="noimageai"), row(url="http://i.example/2", robots="")]})
    found = [dict.fromkeys(SCHEMA) | {"url": f"http://i.example/{n}.jpg", "alt_text": "a dog"} for n in (1, 3)]
    found[0] |= {"declared_width": 1, "page_url": "http://a"}  # of the smallest tuple, and without a word on robots
    built = build(tmp_path / "dataset", [str(folder), *write_list(tmp_path / "lists", found)], RECIPE)
    pairs = {pair["url"]: pair for pair in built.table("pairs").to_dicts()}
    assert [pairs["http://i.example/1.jpg"][name] for name in ("copies", "page_url", "robots", "crawl_file")] == [
        2, "http://p.example/", "noimageai", "a.warc.gz",
    ]  # fmt: skip
    assert [pairs["http://i.example/3.jpg"][name] for name in PROVENANCE] == [None] * 4
    opted = dict(zip(built.table("pairs")["url"], built.table("measured/text")["page_opt_out"], strict=True))
    assert opted == {"http://i.example/1.jpg": True, "http://i.example/2": False, "http://i.example/3.jpg": None}


def test_other_texts_of_an_image_never_become_its_alt_text_in_silence(tmp_path: Path) -> None:
    folder = write_rows(tmp_path / "rows", {"a": [row(title="A Title", caption="A Caption", alt_text="an alt")]})
    sources = find_lists([str(folder)])
    (unit,), notes = units(sources, Choice())
    assert unit.columns["alt_text"] == "alt_text"
    assert "(not title, caption: a crawl with --text alt,title,caption makes rows of them)" in notes[0]
    built = build(tmp_path / "dataset", [str(folder)], RECIPE)
    assert built.table("pairs").select("alt_text", "text_from").rows() == [("an alt", "alt")]
    # Who takes another column's texts has none that say to be of alt.
    (unit,), notes = units(sources, Choice(alt_text="title"))
    assert "text_from" not in unit.columns
    assert "alt_text from title" in notes[0]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_rows_of_a_crawl_are_known_in_any_format(tmp_path: Path, ending: str) -> None:
    rows = [row(url=f"http://i.example/{n}", crawl_offset=2**40 + n, robots="noai" if n else "") for n in range(3)]
    frame = pl.DataFrame(rows).select("url", "alt_text", *PROVENANCE)
    file = tmp_path / f"rows.{ending}"
    {"csv": frame.write_csv, "jsonl": frame.write_ndjson, "parquet": frame.write_parquet}[ending](file)
    built = build(tmp_path / "dataset", [str(file)], RECIPE)
    pairs = built.table("pairs").sort("url")
    assert pairs["crawl_offset"].to_list() == [2**40 + n for n in range(3)]
    # In CSV nothing and the empty text are one: whether that page has no directives is not known.
    assert pairs["robots"].to_list() == ["" if ending != "csv" else None, "noai", "noai"]


def test_an_opt_out_that_few_lines_of_json_have_is_not_lost(tmp_path: Path) -> None:
    lines = [{"url": f"http://i.example/{n}", "alt_text": "a dog", "crawl_file": "a.warc.gz"} for n in range(300)]
    lines[250]["robots"] = "noai"
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    built = build(tmp_path / "dataset", [str(tmp_path / "rows.jsonl")], RECIPE)
    opted_out = built.table("pairs").filter(built.table("measured/text")["page_opt_out"])
    assert opted_out["url"].to_list() == ["http://i.example/250"]


@pytest.mark.parametrize(
    ("name", "values", "note"),
    [
        ("robots", [True, False], "(robots is bool, so robots is left empty)"),
        ("robots", [["noai"], []], "so robots is left empty)"),
        ("robots", [1, 2], "(robots is int64, so robots is left empty)"),
        ("crawl_file", [1.5, 2.5], "(crawl_file is double, so crawl_file is left empty)"),
        ("crawl_offset", ["a", "b"], "so crawl_offset is left empty)"),
        ("crawl_offset", [1.0, 2.0], "(crawl_offset is double, so crawl_offset is left empty)"),
        ("text_from", [b"alt", b"\xff"], None),
        ("crawl_offset", [-1, 5], None),
        ("robots", [None, None], None),
    ],
)
def test_other_lists_may_have_columns_that_are_only_called_so(
    tmp_path: Path, name: str, values: list[Any], note: str | None
) -> None:
    pl.DataFrame({"url": ["http://a/1", "http://a/2"], "alt_text": ["a", "b"], name: values}).write_parquet(
        tmp_path / "list.parquet"
    )
    _, notes = units(find_lists([str(tmp_path / "list.parquet")]), Choice())
    assert note is None or note in notes[0]
    built = build(tmp_path / "dataset", [str(tmp_path / "list.parquet")], RECIPE)
    assert built.account.pairs == 2
    pairs = built.table("pairs")
    assert (name in pairs.columns) == (note is None)
    if note is None:
        kept = {"text_from": ["alt", None], "crawl_offset": [None, 5], "robots": [None, None]}[name]
        assert pairs.sort("url")[name].to_list() == kept


def test_a_list_may_have_two_columns_that_are_called_so(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("url,alt_text,robots,robots\nhttp://a/1,a dog,noai,1\n")
    built = build(tmp_path / "dataset", [str(tmp_path / "list.csv")], RECIPE)
    assert "robots" not in built.table("pairs").columns


def test_spark_keeps_the_same_of_a_crawl(tmp_path: Path, spark: SparkEngine) -> None:
    rows = [
        row(
            url=f"http://i.example/{n % 40}", crawl_offset=n, page_url=f"http://p/{n}", robots=["", "noai", None][n % 3]
        )
        for n in range(300)
    ]
    folder = write_rows(tmp_path / "rows", {"a": rows[::3], "b": rows[1::3], "c": rows[2::3]})
    trees = []
    for name, engine in (("local", LocalEngine(tmp_path / "_work", 2)), ("spark", spark)):
        dataset = Dataset(Store(tmp_path / name))
        ingest([str(folder)], dataset, engine, Silent(), parts=Parts(rows=20))
        trees.append(tree(tmp_path / name, "pairs", "_manifests"))
    assert trees[0] == trees[1]
    assert len(trees[0]) > 3


def test_why_says_where_a_pair_is_from(tmp_path: Path) -> None:
    rows = [
        row(page_url="http://p.example/x", crawl_offset=4096, robots="noai, nofollow", text_from="title"),
        row(url="http://i.example/2.jpg", robots="", crawl_file="b\x1b[31m.warc.gz"),
    ]
    build(tmp_path / "dataset", [str(write_rows(tmp_path / "rows", {"a": rows}))], RECIPE)
    dataset = str(tmp_path / "dataset")
    shown = CliRunner().invoke(main, ["why", dataset, "--url", "http://i.example/1.jpg"])
    lines = [line.strip() for line in shown.output.splitlines()]
    for line in (
        "page      http://p.example/x", "record    byte 4096 of a.warc.gz", "robots    noai, nofollow", "text from title",
    ):  # fmt: skip
        assert line in lines
    assert any(line.startswith("fail") and "page_opt_out is true" in line for line in lines)
    shown = CliRunner().invoke(main, ["why", dataset, "--url", "http://i.example/2.jpg"])
    assert "byte 0 of b\N{REPLACEMENT CHARACTER}[31m.warc.gz" in shown.output
    assert not re.search(r"text from|robots ", shown.output)
    as_json = CliRunner().invoke(main, ["why", dataset, "--url", "http://i.example/1.jpg", "--json"])
    assert json.loads(as_json.stdout)[0]["provenance"] == {
        "page_url": "http://p.example/x",
        "crawl_file": "a.warc.gz",
        "crawl_offset": 4096,
        "text_from": "title",
        "robots": "noai, nofollow",
    }


def test_a_takedown_erases_where_a_pair_is_from(tmp_path: Path) -> None:
    rows = [row(url=f"http://i.example/{n}", crawl_offset=n + 5, robots="noai") for n in range(4)]
    built = build(tmp_path / "dataset", [str(write_rows(tmp_path / "rows", {"a": rows}))], RECIPE)
    gone = tmp_path / "gone.txt"
    gone.write_text("http://i.example/2\n")
    shown = CliRunner().invoke(main, ["takedown", str(tmp_path / "dataset"), "--urls", str(gone)])
    assert shown.exit_code == 0, shown.output
    pairs = read(built.dataset, "pairs")
    kept = pairs.select("url", *PROVENANCE, "page_url").sort("url").rows()
    assert kept == [
        ("", None, None, "alt", None, None),
        *((f"http://i.example/{n}", "a.warc.gz", n + 5, "alt", "noai", "http://p.example/") for n in (0, 1, 3)),
    ]
    assert not any(b"i.example/2" in file for file in tree(tmp_path / "dataset", "pairs").values())


def test_an_export_of_metadata_says_where_pairs_are_from(tmp_path: Path) -> None:
    rows = [row(url=f"http://i.example/{n}", crawl_offset=n, robots="" if n else "noai") for n in range(4)]
    build(tmp_path / "dataset", [str(write_rows(tmp_path / "rows", {"a": rows}))], RECIPE)
    command = ["export", str(tmp_path / "dataset"), "--recipe", "open", "--format", "metadata"]
    shown = CliRunner().invoke(main, [*command, "--out", str(tmp_path / "out")])
    assert shown.exit_code == 0, shown.output
    (file,) = (tmp_path / "out").rglob("*.parquet")
    exported = pl.read_parquet(file).sort("url")
    assert exported.select("crawl_file", "crawl_offset", "text_from", "robots", "page_opt_out").rows() == [
        ("a.warc.gz", n, "alt", "", False) for n in (1, 2, 3)
    ]
