"""What a page declares: its host, its language, its licence, and where its text is from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from hostile_texts import HOSTILE
from hypothesis import given
from hypothesis import strategies as st

from align_data.cli import main
from align_data.signals import find
from align_data.signals.base import Piece

NAMES = {
    "page_host": "page_url",
    "page_language": "declared_language",
    "page_license": "license",
    "text_source": "text_from",
}
CC = "https://creativecommons.org/"
LICENSES = {
    None: None,
    "": None,
    " ": None,
    f"{CC}licenses/by/4.0/": "cc-by",
    f"{CC}licenses/by-nc-sa/2.0/deed.de": "cc-by-nc-sa",
    "HTTP://www.CreativeCommons.org/licenses/by-ND/3.0": "cc-by-nd",
    f"{CC}licenses/sampling+/1.0/": "cc-sampling+",
    f"{CC}licenses/by": "cc-by",
    f"{CC}licenses/bye/4.0/": "other",
    f"{CC}publicdomain/zero/1.0/": "cc0",
    f"{CC}publicdomain/mark/1.0/": "public-domain",
    "CC BY-SA 4.0": "cc-by-sa",
    "cc_by": "cc-by",
    "CC0": "cc0",
    "cc-zero": "cc0",
    "cc0-like": "other",
    "Public Domain Mark 1.0": "public-domain",
    "cc": "other",
    "by": "other",
    "GPL-3.0": "other",
    "/imprint#license": "other",
}
LANGUAGES = {
    None: None,
    "": None,
    "en": "en",
    " EN-us": "en",
    "zh_Hant_TW": "zh",
    "x-default": None,
    "e": None,
    "english": "english",
    "en,de": None,
    "languages": None,
    "日本語": None,
}


def measured(name: str, values: list[Any]) -> list[Any]:
    measure = find(name).measure
    assert measure is not None
    return measure(Piece(pl.DataFrame({NAMES[name]: pl.Series(values, dtype=pl.String)}))).to_list()


@pytest.mark.parametrize(("name", "cases"), [("page_license", LICENSES), ("page_language", LANGUAGES)])
def test_what_is_declared_is_named_alike(name: str, cases: dict[str | None, str | None]) -> None:
    assert dict(zip(cases, measured(name, list(cases)), strict=True)) == cases


terms = st.sets(st.sampled_from(["nc", "nd", "sa"])).map(sorted).map(lambda further: "-".join(["by", *further]))


@given(terms, st.sampled_from(["1.0", "2.5", "4.0"]), st.sampled_from("-_ "))
def test_a_licence_is_the_same_as_a_link_and_as_a_code(of: str, version: str, between: str) -> None:
    code = f"CC{between}{of.upper()}{between}{version}"
    link = f"//creativecommons.org/licenses/{of}/{version}/legalcode"
    assert measured("page_license", [code, link]) == [f"cc-{of}"] * 2


def test_the_host_of_the_page_is_found_as_the_images_is() -> None:
    urls = ["http://A.Example:80/x", "https://user@b.example", "https://[::1]/", "HTTP://c.example?q", "https://bücher.example/"]  # fmt: skip
    host = find("host").measure
    assert host is not None
    assert measured("page_host", [*urls, None, "not a URL"]) == [*host(Piece(pl.DataFrame({"url": urls}))), None, None]


@given(st.lists(st.none() | st.text(HOSTILE, max_size=12), max_size=9))
def test_any_text_has_some_answer(values: list[str | None]) -> None:
    for name in NAMES:
        answers = measured(name, values)
        assert len(answers) == len(values)
        assert all(answer is None for answer, value in zip(answers, values, strict=True) if value is None)


def test_a_list_that_says_it_and_one_that_does_not(tmp_path: Path) -> None:
    def run(*arguments: Any, code: int = 0) -> str:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == code, result.output
        return " ".join(result.output.split())

    rows = ["http://a.example/1,a dog,https://p.example/x,en-GB,CC-BY 4.0", "http://a.example/2,a cat,,,"]
    (tmp_path / "list.csv").write_text("\n".join(["url,alt_text,page_url,lang,license", *rows]) + "\n")
    pool = tmp_path / "pool"
    run("ingest", tmp_path / "list.csv", "--out", pool)
    run("measure", pool, "--signals", "page_host,page_language,page_license")
    pairs = pl.read_parquet(next((pool / "pairs").glob("*.parquet")), columns=["url"])
    table = pairs.hstack(pl.read_parquet(next((pool / "measured" / "caption").glob("*.parquet"))))
    assert table.sort("url").rows() == [
        ("http://a.example/1", "p.example", "en", "cc-by"),
        ("http://a.example/2", None, None, None),
    ]
    refused = run("measure", pool, "--signals", "text_source", code=1)
    assert "text_source cannot be measured: it would need a list that says where its texts are from" in refused
