"""The account of a crawl in a dataset: it goes on in that of the rows, wherever it is shown."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import oracle
import pytest
from click.testing import CliRunner, Result
from conftest import SCHEMA, Built, manifest_of, read, write_list
from crawled_rows import row, write_crawl
from made_archives import make_archives

from align_data.cli import main
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.sources.crawl.account import CrawlAccount
from align_data.sources.crawl.accounts import TOTAL, account_name
from align_data.sources.crawl.reasons import REFUSED, SKIPPED
from align_data.storage.manifests import checked, unchecked
from align_data.storage.store import Store

RECIPE = "name: open\nrules:\n  - {signal: n_words, ge: 2}\n  - {signal: page_opt_out, eq: false}\n"


def call(*arguments: Any, code: int = 0) -> Result:
    """Call the command line."""
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def rows_of(number: int, first: int = 0) -> list[dict[str, Any]]:
    """Return rows of which every fifth is that of the one before again, and every seventh has no URL that is one."""
    return [
        row(
            url=f"ftp://i.example/{n}" if n % 7 == 3 else f"http://i.example/{n - (n % 5 == 4)}",
            crawl_offset=n,
            robots="noai" if n % 3 else "",
        )
        for n in range(first, first + number)
    ]


def crawled(dataset: Path) -> dict[str, Any] | None:
    """Return what the manifest of `pairs` has of a crawl."""
    meta = unchecked(manifest_of(dataset, "pairs").read_bytes(), "")["meta"]
    return meta.get("crawl")


def audited(tmp_path: Path) -> tuple[dict[str, Any], str]:
    """Decide and audit a dataset; return the audit as JSON and as it is printed."""
    recipe = tmp_path / "open.yaml"
    recipe.write_text(RECIPE)
    call("measure", tmp_path / "dataset")
    call("filter", tmp_path / "dataset", "--recipe", recipe)
    as_json = call("audit", tmp_path / "dataset", "--recipe", "open", "--json")
    return json.loads(as_json.stdout), call("audit", tmp_path / "dataset", "--recipe", "open").stdout


def test_the_account_goes_from_records_to_pairs(tmp_path: Path) -> None:
    total = write_crawl(tmp_path / "rows", {"a.warc": rows_of(20), "b.warc": rows_of(15, 100), "c.warc": []})
    call("ingest", tmp_path / "rows", "--out", tmp_path / "dataset")
    data, printed = audited(tmp_path)
    of = data["crawl"]
    expected = total.account.to_json()
    assert {name: of[name] for name in expected} == expected
    assert (of["archives"], of["other_rows"], of["unread"], of["cut_short"]) == (3, 0, 0, 0)
    assert of["records"] == of["pages"] + sum(of["skipped"].values()) + sum(of["damaged"].values())
    assert of["images"] + of["further_texts"] == of["rows"] + sum(of["refused"].values()) + of["repeated"]
    assert of["rows"] == 35 == of["pairs"] + of["merged"] + of["rejected"]
    assert of["reasons"] == {"url_not_http": 5}
    assert of["merged"] > 0
    assert [record["offset"] for record in of["lost"]] == [77, 154, 231]
    assert data["pairs"] == of["pairs"]
    account = total.account
    lines = printed.splitlines()
    assert lines[0] == "3 archives"
    assert lines[1] == (
        f"{account.records} records = {account.pages} pages + {account.skipped.total()} skipped (30 request, "
        "6 not_html) + 6 damaged (6 gzip)"
    )
    assert lines[2] == (
        f"{account.images} images + 3 further texts = 35 rows + {account.refused.total()} refused (42 alt_missing, "
        "9 alt_empty, 6 data_url) + 36 repeated on their page"
    )
    assert lines[3].startswith("35 rows in = ")


def _planted(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a planted row as a list has it that ingest reads; the truth about robots is words."""
    values = {name: row.get(name) for name in (*SCHEMA, *oracle.PROVENANCE)}
    return values | {"robots": ", ".join(row["robots"])}


def test_from_archives_to_pairs_all_is_as_it_was_planted(tmp_path: Path) -> None:
    """Of pages that two archives have, and some that one has alone."""
    names = [f"CC-MAIN-20251127010000-20251127040000-0000{n}.warc.gz" for n in range(3)]
    made = [
        make_archives(tmp_path / "archives", pages, seed=seed, name=name)
        for name, pages, seed in zip(names, (12, 8, 6), (5, 5, 9), strict=True)
    ]
    call("crawl", *(archives.warc for archives in made), "--out", tmp_path / "rows", "--engine", "local")
    call("ingest", tmp_path / "rows", "--out", tmp_path / "dataset")
    data, _ = audited(tmp_path)
    planted = [_planted(row) for archives in made for row in archives.of_warc.rows]
    columns = (*oracle.OTHER_COLUMNS, *oracle.PROVENANCE)
    expected, rejected = oracle.merge(planted, columns)
    assert rejected == []
    pairs = read(Dataset(Store(tmp_path / "dataset")), "pairs").to_dicts()
    compared = [name for name in ("uid", "url", "alt_text", "copies", *columns) if name != "robots"]
    assert [[pair[name] for name in compared] for pair in pairs] == [
        [pair[name] for name in compared] for pair in expected
    ]
    opted_out = [oracle.opts_out(pair["robots"]) for pair in expected]
    assert read(Dataset(Store(tmp_path / "dataset")), "measured/text")["page_opt_out"].to_list() == opted_out
    assert any(opted_out)
    assert any(pair["copies"] > 1 for pair in pairs)
    refused, skipped = Counter[str](), Counter[str]()
    for archives in made:
        refused.update(archives.of_warc.refused)
        skipped.update(archives.of_warc.skipped)
    of = data["crawl"]
    assert of["records"] == sum(archives.records for archives in made)
    assert of["pages"] == sum(archives.of_warc.pages for archives in made)
    assert of["images"] == sum(archives.of_warc.images for archives in made)
    assert (of["rows"], of["pairs"], of["merged"]) == (len(planted), len(pairs), len(planted) - len(pairs))
    assert (of["refused"], of["repeated"]) == (dict(refused), sum(archives.of_warc.repeated for archives in made))
    assert {reason: of["skipped"][reason] for reason in skipped} == dict(skipped)
    assert of["damaged"] == {}


def test_rows_of_a_crawl_beside_lists_are_told_apart(tmp_path: Path) -> None:
    first = write_crawl(tmp_path / "one", {"a.warc": rows_of(10)}, cut_short=["a.warc"])
    second = write_crawl(tmp_path / "two", {"a.warc": rows_of(6, 50), "b.warc": rows_of(4, 70)}, unread=["c.warc.gz"])
    found = [dict.fromkeys(SCHEMA) | {"url": f"http://l.example/{n}", "alt_text": "a dog"} for n in range(8)]
    lists = write_list(tmp_path / "lists", found, 2)
    told = call("ingest", tmp_path / "one", tmp_path / "two", *lists, "--out", tmp_path / "dataset")
    assert "20 of the 28 rows in are of a crawl, 8 of other lists" in told.output
    assert f"{tmp_path / 'two'}: archives of its crawl that could not be read: 1" in told.output
    data, printed = audited(tmp_path)
    together = CrawlAccount()
    for total in (first, second):
        together.add(total.account)
    assert {name: data["crawl"][name] for name in together.to_json()} == together.to_json()
    assert [data["crawl"][name] for name in ("archives", "cut_short", "unread", "other_rows")] == [3, 1, 1, 8]
    assert data["crawl"]["rows"] + 8 == 28 == sum(data["crawl"][name] for name in ("pairs", "merged", "rejected"))
    lines = printed.splitlines()
    assert lines[0] == "3 archives, 1 of them cut short; 1 more could not be read"
    assert lines[3] == "20 rows of the crawl + 8 of other lists = 28 rows in"
    assert lines[4].startswith("28 rows in = ")


def test_a_dataset_of_lists_alone_says_nothing_of_a_crawl(tmp_path: Path) -> None:
    found = [dict.fromkeys(SCHEMA) | {"url": f"http://l.example/{n}", "alt_text": "a dog"} for n in range(8)]
    call("ingest", *write_list(tmp_path / "lists", found), "--out", tmp_path / "dataset")
    data, printed = audited(tmp_path)
    assert "crawl" not in data
    assert "origin" not in data
    assert not re.search("archive|records", printed)


def test_single_tables_of_a_crawl_come_with_their_own_accounts(tmp_path: Path) -> None:
    write_crawl(tmp_path / "rows", {"a.warc": rows_of(10), "b.warc": rows_of(6, 50), "c.warc": rows_of(3, 90)})
    files = [tmp_path / "rows" / "data" / f"{name}.parquet" for name in ("a.warc", "c.warc")]
    call("ingest", *files, "--out", tmp_path / "dataset")
    of = crawled(tmp_path / "dataset")
    assert of is not None
    assert (of["archives"], of["rows"], of["skipped"]["request"]) == (2, 13, 5 + 15)


def test_a_crawl_that_has_not_finished_is_taken_only_by_its_files(tmp_path: Path) -> None:
    write_crawl(tmp_path / "rows", {"a.warc": rows_of(10)}, finished=False)
    refused = call("ingest", f"{tmp_path / 'rows'}/", "--out", tmp_path / "dataset", code=1)
    assert "is of a crawl that has not finished: run align-data crawl again" in refused.output
    told = call("ingest", tmp_path / "rows" / "data" / "*.parquet", "--out", tmp_path / "dataset")
    assert "its crawl has not finished" in told.output
    of = crawled(tmp_path / "dataset")
    assert of is not None
    assert of["rows"] == 10


def _other_rows(folder: Path) -> None:
    write_crawl(folder / "more", {"a.warc": rows_of(11)})
    (folder / "more" / "data" / "a.warc.parquet").replace(folder / "data" / "a.warc.parquet")


def _changed(name: str, **values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for file in (name, TOTAL):
            content = unchecked((folder / file).read_bytes(), "")
            (folder / file).write_bytes(checked({**content, **values}))

    return change


def _written(content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for name in (TOTAL, account_name("a.warc")):
            (folder / name).write_bytes(content)

    return write


DAMAGES = {
    "no account": lambda folder: (folder / account_name("a.warc")).unlink() or (folder / TOTAL).write_bytes(b"{}"),
    "other rows": _other_rows,
    "not JSON": _written(b"\xff{"),
    "deep": _written(b"[" * 100_000),
    "empty": _written(b""),
    "unbalanced": _changed(account_name("a.warc"), records=10**9),
    "negative": _changed(account_name("a.warc"), repeated=-1),
    "no number": _changed(account_name("a.warc"), pages="4"),
    "a reason": _changed(account_name("a.warc"), refused={"<script>": 11}),
    "huge": _changed(account_name("a.warc"), images=10**30),
    "lost": _changed(account_name("a.warc"), lost=[{"archive": 1}]),
    "a lost reason": _changed(account_name("a.warc"), lost=[{"archive": "a", "offset": 1, "reason": "x" * 10**6}]),
    "no list": _changed(account_name("a.warc"), cut_short=7, lost=None, table=None),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_account_that_is_not_of_these_rows_is_told_and_left_out(tmp_path: Path, damage: str) -> None:
    write_crawl(tmp_path / "rows", {"a.warc": rows_of(10)})
    DAMAGES[damage](tmp_path / "rows")
    told = call("ingest", tmp_path / "rows" / "data" / "*.parquet", "--out", tmp_path / "dataset")
    assert "a.warc.parquet: no account of the crawl fits its rows" in told.output
    assert crawled(tmp_path / "dataset") is None
    assert Dataset(Store(tmp_path / "dataset")).ingested().rows > 0


@pytest.mark.parametrize("archives", [{}, {"a.warc": []}])
def test_archives_without_an_image_are_an_empty_dataset_and_none_a_sentence(
    tmp_path: Path, archives: dict[str, list[dict[str, Any]]]
) -> None:
    write_crawl(tmp_path / "rows", archives)
    told = call("ingest", tmp_path / "rows", "--out", tmp_path / "dataset", code=0 if archives else 1)
    if not archives:
        assert "is of a crawl that could not read any archive: run align-data crawl again" in told.output
        return
    assert "0 rows in = 0 pairs + 0 merged + 0 rejected" in told.output
    data, _ = audited(tmp_path)
    assert (data["pairs"], data["crawl"]["rows"], data["crawl"]["pages"]) == (0, 0, 4)


class _Cells(HTMLParser):
    """Collects the texts of a page's rows of tables."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self._inside = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("th", "td")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.rows[-1][-1] += data


def test_the_page_shows_the_account_with_a_sentence_for_each_reason(tmp_path: Path) -> None:
    pytest.importorskip("vl_convert")
    total = write_crawl(tmp_path / "rows", {"a.warc": rows_of(20), "b.warc": rows_of(10, 60)}, cut_short=["b.warc"])
    lists = write_list(tmp_path / "lists", [dict.fromkeys(SCHEMA) | {"url": "http://l.example/", "alt_text": "a dog"}])
    call("ingest", tmp_path / "rows", *lists, "--out", tmp_path / "dataset")
    audited(tmp_path)
    call("audit", tmp_path / "dataset", "--recipe", "open", "--html", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    cells = _Cells()
    cells.feed(page[: page.index('<h2 id="rules"')])
    shown = {cell[0]: cell[1] for cell in cells.rows if len(cell) > 1}
    account = total.account
    assert shown["records"] == str(account.records)
    assert shown["pages: HTML that a server answered with status 200"] == str(account.pages)
    assert shown[f"skipped request: {SKIPPED['request']}"] == str(account.skipped["request"])
    assert shown[f"refused alt_missing: {REFUSED['alt_missing']}"] == str(account.refused["alt_missing"])
    assert shown["rows"] == "30"
    assert shown["rows in"] == "31"
    text = " ".join(re.sub(r"<[^>]*>", "", page).split())
    assert "2 archives were read. 1 of them is cut short. 1 of the 31 rows in are of other lists." in text
    assert "From rows to what is kept" in text


def test_the_page_of_lists_alone_is_without_a_crawl(tmp_path: Path, job: Callable[..., Built]) -> None:
    pytest.importorskip("vl_convert")
    from align_data.engines.local import LocalEngine  # noqa: PLC0415
    from align_data.report import audit_html  # noqa: PLC0415
    from align_data.stages.audit import survey  # noqa: PLC0415

    built = job([dict.fromkeys(SCHEMA) | {"url": "http://l.example/", "alt_text": "a dog"}])
    surveyed = survey(built.dataset, "every", LocalEngine(tmp_path / "_work", 1), Silent())
    assert "archives" not in audit_html(surveyed, built.dataset, Silent())


@pytest.mark.parametrize("named", ["archives", "archives/*.warc.gz", "archives/a.warc.gz"])
def test_archives_are_no_lists_and_a_sentence_says_what_makes_some(tmp_path: Path, named: str) -> None:
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / "a.warc.gz").write_bytes(b"\x1f\x8b")
    told = call("ingest", tmp_path / named, "--out", tmp_path / "dataset", code=1)
    assert "is of archives of a crawl, and not a list: align-data crawl makes rows of them" in told.output


def test_a_takedown_leaves_the_account_as_it_was(tmp_path: Path) -> None:
    write_crawl(tmp_path / "rows", {"a.warc": rows_of(20)})
    call("ingest", tmp_path / "rows", "--out", tmp_path / "dataset")
    before, _ = audited(tmp_path)
    (tmp_path / "gone.txt").write_text("http://i.example/1\n")
    call("takedown", tmp_path / "dataset", "--urls", tmp_path / "gone.txt")
    after = json.loads(call("audit", tmp_path / "dataset", "--recipe", "open", "--json").stdout)
    assert after["taken_down"] == 1
    assert after["crawl"] == before["crawl"]
