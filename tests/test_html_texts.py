"""Texts that are HTML still: counted at ingest, and decoded and stripped where that is wanted, against Python's own decoder."""

from __future__ import annotations

import html
import json
from collections import Counter
from pathlib import Path
from typing import Any

import oracle
import polars as pl
import pytest
from click.testing import CliRunner, Result
from conftest import texts as hostile_texts
from conftest import tree
from crawled_rows import row, write_rows
from hypothesis import given
from hypothesis import strategies as st

from align_data.cli import main
from align_data.common.hashing import keys, uid
from align_data.data.html_texts import Rewriting, rewritten
from align_data.data.layout import Dataset
from align_data.signals import SIGNALS, Piece
from align_data.storage.store import Store

ENTITIES = Rewriting(decode_entities=True)
MARKUP = Rewriting(strip_markup=True)
BOTH = Rewriting(decode_entities=True, strip_markup=True)
REFERENCES = [
    "&amp;",
    "&lt;",
    "&#39;",
    "&#x27;",
    "&nbsp;",
    "&eacute;",
    "&#128512;",
    "&#0;",
    "&#128;",
    "&nGt;",
    "&#xD800;",
]
PLAIN = ["Q&A", "&copy", "&bogus;", "& ;", "&#;", "&#xg;", "a;", "é", "中", " ", "<3", "&&"]


def rewrite(found: list[str], rewriting: Rewriting = BOTH) -> tuple[list[str], Counter[str]]:
    counts: Counter[str] = Counter()
    return rewritten(pl.Series("alt_text", found, pl.String), rewriting, counts).to_list(), counts


@given(st.lists(st.lists(st.sampled_from(REFERENCES + PLAIN), max_size=6), max_size=8))
def test_references_are_decoded_as_python_decodes_them(pieces: list[list[str]]) -> None:
    found = [" ".join(each) for each in pieces]
    truth = [" ".join(html.unescape(piece) if piece in REFERENCES else piece for piece in each) for each in pieces]
    decoded, counts = rewrite(found, ENTITIES)
    assert decoded == truth
    assert counts["entities"] == sum(a != b for a, b in zip(found, truth, strict=True))


def test_every_name_of_html_is_decoded_once() -> None:
    names = [f"&{name}" for name in html.entities.html5 if name.endswith(";")]
    assert rewrite(names, ENTITIES)[0] == [html.unescape(name) for name in names]
    assert rewrite(["&amp;lt; &amp;amp;amp;"], ENTITIES)[0] == ["&lt; &amp;amp;"]


PLANTED = {
    "<b>": "",
    "</em>": "",
    "<span class='x > y' data-a=\"<b>\">": "",
    "<WBR>": "",
    "<br>": " ",
    "<BR/>": " ",
    "</p >": " ",
    '<img src="a.png" alt=x>': " ",
    "<p title=\"it's>": " ",
    "<!-- <b> > -->": " ",
    "<!---->": " ",
    "<script>if (a<b) x('</b>')</script>": " ",
    "<STYLE media=all>p{}</Style >": " ",
    "<PERSON>": "<PERSON>",
    "<bold>": "<bold>",
    "< b>": "< b>",
    "<3": "<3",
    "a<b": "a<b",
    "1 > 0": "1 > 0",
    "<>": "<>",
    "<!-- open": "<!-- open",
    "\u017fpan<\u017fpan>": "\u017fpan<\u017fpan>",  # it is s but for case, to Unicode
}


@given(
    st.lists(
        st.lists(st.sampled_from([each for each in PLANTED if "open" not in each] + ["word"]), max_size=6), max_size=8
    )
)
def test_planted_tags_are_stripped_and_nothing_else(pieces: list[list[str]]) -> None:
    # A piece that leaves < open would take the next one's > for its own.
    found = [" . ".join(each) for each in pieces]
    truth = [" . ".join(PLANTED.get(piece, piece) for piece in each) for each in pieces]
    stripped, counts = rewrite(found, MARKUP)
    assert stripped == truth
    assert counts["markup"] == sum(a != b for a, b in zip(found, truth, strict=True))


@pytest.mark.parametrize(("text", "expected"), PLANTED.items())
def test_a_tag_between_words(text: str, expected: str) -> None:
    assert rewrite([f"x{text}y"], MARKUP)[0] == [f"x{expected}y"]


def test_a_tag_that_the_end_of_the_text_cuts_off() -> None:
    found = ['see <a href="http://a', "see <a href", "a <b c", 'x<img src="y']
    assert rewrite(found, MARKUP)[0] == ["see ", "see <a href", "a <b c", "x "]


def test_references_come_before_tags() -> None:
    assert rewrite(["&lt;b&gt;big&lt;/b&gt; &amp;lt;i&gt;"])[0] == ["big &lt;i>"]


@given(st.lists(hostile_texts | st.text("<>/b &;#amp\"'=!-x1", max_size=30), max_size=10))
def test_what_is_counted_is_what_would_change(found: list[str]) -> None:
    untouched, seen = rewrite(found, Rewriting())
    assert untouched == found
    for rewriting, kind in ((ENTITIES, "entities"), (MARKUP, "markup")):
        changed = rewrite(found, rewriting)[0]
        assert seen[kind] == sum(a != b for a, b in zip(found, changed, strict=True))
    piece = Piece(pl.DataFrame({"alt_text": pl.Series(found, dtype=pl.String)}))
    for kind in ("entities", "markup"):
        assert seen[kind] == (SIGNALS[kind].measure(piece) > 0).sum()


def test_a_text_of_megabytes_of_what_looks_like_html_is_read_once() -> None:
    """Whatever stays open in it: nothing is looked for to the end again and again."""
    size = 2**20
    for piece in (
        "<script>",
        '<b ">',
        "<!--",
        "<b =",
        "&#",
        "<a \"'>",
        "<style>x",
        "<b '",
        "<script><style></style>",
        "<!--<b>",
    ):
        rewrite([piece * (size // len(piece))])
    assert rewrite(["&#" + "1" * size + ";"])[0] == ["\N{REPLACEMENT CHARACTER}"]


# --- through the command ---


ROWS = [
    {"url": "http://a/1", "text": "Cats &amp; <b>dogs</b>"},
    {"url": "http://a/1", "text": "Cats & dogs"},
    {"url": "http://a/2", "text": "caf&eacute;&nbsp;&#x0A; <br/>noir"},
    {"url": "http://a/3", "text": "plain"},
    {"url": "ftp://a/4", "text": "&amp; <b>"},
]


def call(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    assert "unforeseen" not in result.output
    return result


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    path = tmp_path / "list.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in ROWS))
    return path


def pairs(place: Path) -> pl.DataFrame:
    table = Dataset(Store(place)).pairs
    return pl.concat(list(table.pieces(0, ["uid", "url", "alt_text", "copies"])))


def test_the_account_names_what_is_html_and_how_to_mend_it(listed: Path, tmp_path: Path) -> None:
    told = call("ingest", listed, "--out", tmp_path / "out")
    sentence = "2 texts contain markup, 2 entities: --strip-markup and --decode-entities, with another --out"
    assert sentence in told.stderr
    assert set(pairs(tmp_path / "out")["alt_text"]) == {oracle.normalise(each["text"]) for each in ROWS[:4]}
    (tmp_path / "plain.jsonl").write_text(json.dumps(ROWS[3]))
    assert "contain" not in call("ingest", tmp_path / "plain.jsonl", "--out", tmp_path / "plain").stderr


@pytest.mark.parametrize(
    ("options", "texts", "counts"),
    [
        (["--decode-entities"], {"Cats & <b>dogs</b>", "Cats & dogs", "café <br/>noir", "plain"}, (2, 2)),
        (["--strip-markup"], {"Cats &amp; dogs", "Cats & dogs", "caf&eacute;&nbsp;&#x0A; noir", "plain"}, (2, 2)),
        (["--decode-entities", "--strip-markup"], {"Cats & dogs", "café noir", "plain"}, (2, 2)),
    ],
)
def test_a_pair_is_of_its_text_as_it_is_stored(
    listed: Path, tmp_path: Path, options: list[str], texts: set[str], counts: tuple[int, int]
) -> None:
    said = json.loads(call("ingest", listed, "--out", tmp_path / "out", *options, "--json").stdout)
    assert (said["entities"], said["markup"]) == counts
    assert said["rows"] == said["pairs"] + said["merged"] + said["rejected"] == 5
    stored = pairs(tmp_path / "out")
    assert set(stored["alt_text"]) == texts
    assert stored["copies"].sum() == 4
    identity = stored["url"] + "\0" + stored["alt_text"]
    assert stored["uid"].to_list() == uid(keys(stored["url"]), keys(identity)).to_list()
    manifest = Dataset(Store(tmp_path / "out")).pairs.committed()
    assert manifest is not None
    assert manifest.meta.rewriting == [option.removeprefix("--").replace("-", "_") for option in options]


def test_a_dataset_goes_on_with_the_options_that_it_was_made_with(listed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    call("ingest", listed, "--out", out, "--decode-entities")
    before = tree(out)
    again = json.loads(call("ingest", listed, "--out", out, "--decode-entities", "--json").stdout)
    assert (again["already"], again["entities"]) == (True, 2)
    for options in ([], ["--strip-markup"], ["--decode-entities", "--strip-markup"]):
        refused = call("ingest", listed, "--out", out, *options, code=1)
        assert "pairs of these inputs, read with --decode-entities: choose another --out" in refused.output
    assert tree(out) == before
    call("ingest", listed, "--out", tmp_path / "plain")
    refused = call("ingest", listed, "--out", tmp_path / "plain", "--strip-markup", code=1)
    assert "read without --decode-entities and --strip-markup: choose another --out" in refused.output


def test_what_a_killed_run_left_is_not_taken_up_with_other_options(
    listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(self: object, *_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("align_data.storage.tables.Table.commit", die)
        CliRunner().invoke(main, ["ingest", str(listed), "--out", str(tmp_path / "out"), "--decode-entities"])
    assert list((tmp_path / "out" / "pairs").glob("part-*"))
    call("ingest", listed, "--out", tmp_path / "out")
    call("ingest", listed, "--out", tmp_path / "fresh")
    assert pairs(tmp_path / "out").equals(pairs(tmp_path / "fresh"))
    assert "Cats &amp; <b>dogs</b>" in pairs(tmp_path / "out")["alt_text"].to_list()


def test_a_manifest_of_a_version_that_did_not_look_says_nothing_of_it(listed: Path, tmp_path: Path) -> None:
    from align_data.data.meta import AccountMeta  # noqa: PLC0415

    said: dict[str, Any] = {"rows": 1, "pairs": 1, "merged": 0, "rejected": 0, "reasons": {}, "already": False}
    assert AccountMeta.model_validate(said).entities is None


def test_rows_of_a_crawl_go_the_same_way(tmp_path: Path) -> None:
    texts = {"http://i.example/1": "Fish &amp; <i>chips</i>", "http://i.example/2": "plain"}
    write_rows(tmp_path / "rows", {"a": [row(url=url, alt_text=text) for url, text in texts.items()]})
    recipe = tmp_path / "few.yaml"
    recipe.write_text("name: few\nrules:\n  - {signal: n_words, ge: 2}\n")
    options = ["--recipe", recipe, "--decode-entities", "--strip-markup"]
    told = call("run", tmp_path / "rows", "--out", tmp_path / "out", *options)
    assert "entities decoded in 1 text\n" in told.stderr
    assert "markup stripped from 1 text\n" in told.stderr
    assert set(pairs(tmp_path / "out")["alt_text"]) == {"Fish & chips", "plain"}
