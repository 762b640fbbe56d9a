"""What two datasets have in common, against plain dicts; and on two real fetches of a web that changed in between."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import duckdb
import polars as pl
import pytest
from click.testing import CliRunner, Result
from conftest import build, read, rows, write_list
from hostile_web import HOME, Talk, Web, jpeg, serve
from hypothesis import given, settings
from hypothesis import strategies as st

from align_data.cli import main
from align_data.common.errors import AlignDataError, DatasetError, OutputError
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.data.meta import ContentMeta, ImagesMeta
from align_data.engines.local import LocalEngine
from align_data.engines.spark import SparkEngine
from align_data.report import comparison_html
from align_data.stages.compare import (
    ComparedSide,
    DatasetComparison,
    UidFolder,
    compare,
    counting,
    side_of_batch,
    sides,
)
from align_data.stages.ingest import Parts


class Fetched(NamedTuple):
    """What a fetch is planted to have come to."""

    status: str
    sha256: str | None
    width: int | None


FETCHED = st.builds(
    Fetched,
    st.sampled_from(["ok", "ok", "not_kept", "http_404", "timeout", "untried"]),
    st.sampled_from(["a" * 64, "b" * 64, None]),
    st.sampled_from([10, 20]),
)
DAYS = dict[str, Fetched]


def plant(dataset: Dataset, fetched: DAYS) -> None:
    """Write images and content as fetching and looking would; a URL that is not in `fetched` has no row."""
    pairs = dataset.ingested()
    infos: dict[str, list[Any]] = {"images": [], "content": []}
    names = ["url", "status", "reason", "tar", "offset", "sha256", "width", "height"]
    for part in range(len(pairs.parts)):
        urls = list(dict.fromkeys(read_part(dataset, part)["url"]))
        planted = [(url, fetched[url]) for url in urls if url in fetched]
        images = [(url, each.status, None, False, None, None, None) for url, each in planted]
        with dataset.images.writer(part, {}) as writer:
            writer.write(pl.DataFrame(images, dataset.images.contract.polars(), orient="row"))
        content = [
            (url, each.status, None, None, None, each.sha256, each.width if each.sha256 else None, 10)
            for url, each in planted
        ]
        with dataset.content.writer(part, {}, names) as writer:
            writer.write(pl.DataFrame(content, dataset.content.contract.polars(*names), orient="row"))
        for name, of_parts in infos.items():
            of_parts.append(getattr(dataset, name).info(part))
    run = ImagesMeta(run=1, pairs=pairs.fingerprint, asked="all", policy={}, statuses={})
    manifest = dataset.images.commit(infos["images"], run)
    look = ContentMeta(images=manifest.fingerprint, looks={}, open=None, max_pixels=1, seconds=1.0)
    dataset.content.commit(infos["content"], look)


def read_part(dataset: Dataset, part: int) -> pl.DataFrame:
    return pl.read_parquet(dataset.store.path(f"pairs/part-{part:05d}.parquet"))


def fate(a: Fetched | None, b: Fetched | None) -> str | None:
    """Say what became of an image, in words of the specification alone."""
    if a is None or b is None or "untried" in (a.status, b.status):
        return None
    alive = [each.status in ("ok", "not_kept") for each in (a, b)]
    if alive == [True, False]:
        return "gone"
    if alive == [False, True]:
        return "came"
    if alive == [False, False]:
        return "alive in neither"
    if not (a.sha256 and b.sha256):
        return "not looked at in both"
    if a.sha256 == b.sha256:
        return "same bytes"
    return "other bytes, same size" if a.width == b.width else "other bytes, other size"


def outcomes(dataset: Dataset) -> dict[str, str]:
    """Return what the ledger makes of each pair."""
    verdicts = read(dataset, "verdicts/every")
    words = ["dropped" if failed else "pending" if unknown else "kept" for failed, unknown, *_ in verdicts.iter_rows()]
    return dict(zip(read(dataset, "pairs")["uid"], words, strict=True))


def side(dataset: Dataset, ledger: str | None = "every") -> ComparedSide:
    return ComparedSide(Dataset(dataset.store), None, ledger)


def compared(a: ComparedSide, b: ComparedSide, **options: Any) -> DatasetComparison:
    return compare(a, b, LocalEngine(a.dataset.store.work, 2), Silent(), **options)


@given(
    first=rows(max_size=40),
    second=rows(max_size=40),
    parts=st.tuples(st.sampled_from([2, 5, 1000]), st.sampled_from([3, 1000])),
    slice_rows=st.sampled_from([1, 3, 100_000]),
    data=st.data(),
)
@settings(max_examples=25)
def test_two_datasets_against_plain_dicts(
    tmp_path_factory: pytest.TempPathFactory,
    first: list[dict[str, Any]],
    second: list[dict[str, Any]],
    parts: tuple[int, int],
    slice_rows: int,
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("compare")
    datasets, tables, fetched, verdicts = [], [], [], []
    for name, found, part_rows in zip("ab", (first, [*second, *first[::2]]), parts, strict=True):
        dataset = build(folder / name, write_list(folder / f"{name}-lists", found), parts=Parts(rows=part_rows)).dataset
        verdicts.append(outcomes(dataset))
        pairs = read(dataset, "pairs")
        urls = sorted(set(pairs["url"]))
        planted = dict(zip(urls, data.draw(st.lists(FETCHED, min_size=len(urls), max_size=len(urls))), strict=True))
        plant(dataset, planted)
        datasets.append(dataset)
        tables.append({row["uid"]: row for row in pairs.iter_rows(named=True)})
        fetched.append(planted)
    export = UidFolder(str(folder / "uids"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sides, "SLICE", slice_rows)
        result = compared(*map(side, datasets), folder=export)
    a, b = tables
    both = sorted(set(a) & set(b))
    assert result.pairs == {"both": len(both), "only_a": len(set(a) - set(b)), "only_b": len(set(b) - set(a))}
    texts = [
        {url: {r["alt_text"] for r in t.values() if r["url"] == url} for url in f}
        for t, f in zip(tables, fetched, strict=True)
    ]
    shared = set(texts[0]) & set(texts[1])
    assert result.urls == {
        "both": len(shared),
        "only_a": len(set(texts[0]) - shared),
        "only_b": len(set(texts[1]) - shared),
        "other_texts": sum(texts[0][url] != texts[1][url] for url in shared),
    }
    fates = {url: fate(fetched[0][url], fetched[1][url]) for url in shared}
    assert result.images is not None
    assert Counter(result.images) == Counter(each for each in fates.values() if each)
    assert result.gone == Counter(fetched[1][url].status for url, each in fates.items() if each == "gone")
    assert result.came == Counter(fetched[0][url].status for url, each in fates.items() if each == "came")
    words = ("kept", "pending", "dropped")
    assert result.verdicts is not None
    pairs_of = Counter((verdicts[0][uid], verdicts[1][uid]) for uid in both)
    assert result.verdicts == [[pairs_of[x, y] for y in words] for x in words]
    for total, verdict, planted in zip((result.a, result.b), verdicts, fetched, strict=True):
        assert Counter(total.outcomes) == Counter(verdict.values())
        assert total.asked == sum(each.status != "untried" for each in planted.values())
        assert total.alive == sum(each.status in ("ok", "not_kept") for each in planted.values())
    _check_hosts(result, tables, fates, verdicts)
    asked = [
        url for url in shared if fetched[0][url].status in ("ok", "not_kept") and fetched[1][url].status != "untried"
    ]
    assert result.rot is not None
    assert (result.rot.urls, result.rot.still) == (len(asked), sum(fates[url] != "gone" for url in asked))
    assert Counter({row.of: row.urls for row in result.rot.by_host}) == Counter(host_of(url) for url in asked)
    assert (folder / "uids" / "uids.txt").read_text().split() == both
    if both:
        of_parts = duckdb.sql(f"SELECT uid FROM '{folder}/uids/*.parquet' ORDER BY uid").fetchall()
        assert [uid for (uid,) in of_parts] == both


def _check_hosts(
    result: DatasetComparison,
    tables: list[dict[str, dict[str, Any]]],
    fates: dict[str, str | None],
    verdicts: list[dict[str, str]],
) -> None:
    a, b = tables
    every = {**a, **b}
    expected: dict[str, Counter[str]] = {}
    for uid, row in every.items():
        counts = expected.setdefault(host_of(row["url"]), Counter())
        counts["both" if uid in a and uid in b else "only_a" if uid in a else "only_b"] += 1
        if uid in a and uid in b:
            of = fates[row["url"]]
            counts["same"] += of == "same bytes"
            counts["other"] += of is not None and of.startswith("other")
            counts["gone"] += of == "gone"
            counts["changed"] += verdicts[0][uid] != verdicts[1][uid]
    names = ("both", "only_a", "only_b", "same", "other", "gone", "changed")
    assert {row.value: [getattr(row, name) for name in names] for row in result.by["host"].values} == {
        host: [counts[name] for name in names] for host, counts in expected.items()
    }
    sizes = [row.both + row.only_a + row.only_b for row in result.by["host"].values]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == len(every)
    assert (result.by["host"].further, result.by["host"].error) == (0, 0)


def host_of(url: str) -> str:
    host = urlsplit(url).hostname or ""
    return f"[{host}]" if ":" in host else host


def call(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with serve() as served:
        yield served


@pytest.fixture(scope="module")
def fetched_twice(tmp_path_factory: pytest.TempPathFactory, web: Web) -> Path:
    """Fetch one list in January and in June: a web that changed in between."""
    folder = tmp_path_factory.mktemp("twice")
    bodies: dict[int, bytes | None] = {number: jpeg(number) for number in range(10)} | {9: None}

    async def picture(talk: Talk) -> None:
        body = bodies[int(talk.asked.path.split("/")[2])]
        await talk.answer(body or b"", status="200 OK" if body else "404 Not Found")

    web.pages["/image"] = picture
    found = [{"url": web.url(f"/image/{n}"), "alt_text": f"a text of number {n}"} for n in range(10)]
    for name in ("january", "june"):
        if name == "june":
            bodies |= {0: None, 1: None, 2: jpeg(102), 3: jpeg(3, side=80), 9: jpeg(9)}
            found = [*found[:-1], {"url": found[-1]["url"], "alt_text": "another text"}]
        dataset = build(folder / name, write_list(folder / f"{name}-lists", found)).dataset
        call("fetch", dataset.store.url, "--all", "--allow-network", f"{HOME}/32", "--per-host", "16", "--workers", "1")
        call("measure", dataset.store.url)
    return folder


def test_two_fetches_of_a_web_that_changed(fetched_twice: Path, tmp_path: Path) -> None:
    a, b = fetched_twice / "january", fetched_twice / "june"
    said = json.loads(call("compare", a, b, "--json").stdout)
    assert said["pairs"] == {"both": 9, "only_a": 1, "only_b": 1}
    assert said["urls"] == {"both": 10, "only_a": 0, "only_b": 0, "other_texts": 1}
    assert {name: number for name, number in said["images"].items() if number} == {
        "same bytes": 5,
        "other bytes, same size": 1,
        "other bytes, other size": 1,
        "gone": 2,
        "came": 1,
    }
    assert (said["gone"], said["came"]) == ({"http_404": 2}, {"http_404": 1})
    assert (said["rot"]["urls"], said["rot"]["still"]) == (9, 7)
    assert said["rot"]["by_host"] == [{"of": HOME, "urls": 9, "still": 7, "added": None}]
    assert said["rot"]["days"] is not None
    assert said["verdicts"] is None
    call("compare", a, b, "--export-intersection", tmp_path / "same", "--same-images")
    texts = {row[0] for row in _texts(a, tmp_path / "same")}
    assert texts == {f"a text of number {number}" for number in range(4, 9)}


def _texts(dataset: Path, uids: Path) -> list[tuple[str]]:
    query = f"SELECT alt_text FROM '{dataset}/pairs/*.parquet' JOIN '{uids}/*.parquet' USING (uid)"
    return duckdb.sql(query).fetchall()


def test_the_uids_are_a_list_that_a_dataset_is_filtered_by(fetched_twice: Path, tmp_path: Path) -> None:
    a, b = tmp_path / "a", fetched_twice / "june"
    shutil.copytree(fetched_twice / "january", a)
    call("compare", a, b, "--export-intersection", tmp_path / "both")
    recipe = tmp_path / "both.yaml"
    recipe.write_text("name: both\nrules:\n- {signal: list_both, eq: 1}\n")
    call("measure", a, "--list", f"both={tmp_path / 'both' / 'uids.txt'}", "--match", "uid")
    call("filter", a, "--recipe", recipe)
    kept = json.loads(call("audit", a, "--recipe", "both", "--json").stdout)["kept"]
    assert kept == 9


def test_table_and_page_say_the_same(fetched_twice: Path, tmp_path: Path) -> None:
    a, b = fetched_twice / "january", fetched_twice / "june"
    page = tmp_path / "compare.html"
    said = call("compare", a, b, "--recipe", "every", "--html", page).stdout
    assert "1 of the URLs in both have not the same texts" in said
    assert "of 9 URLs alive in A, 7 are alive in B" in said
    content = page.read_text()
    assert "Of 9 URLs alive in A 7 are alive in B" in content
    assert "<script" not in content
    for id_ in ("common", "images", "rot", "verdicts", "by"):
        assert f'<h2 id="{id_}">' in content
        assert f'href="#{id_}"' in content


def test_hostile_values_are_escaped(tmp_path: Path) -> None:
    found = [{"url": "http://a.example/<script>", "alt_text": "<b>[red]"}]
    one = build(tmp_path / "one", write_list(tmp_path / "1", found)).dataset
    two = build(tmp_path / "<i>[bold]", write_list(tmp_path / "2", found)).dataset
    content = comparison_html(compared(side(one), side(two)))
    assert "<i>" not in content
    assert "&lt;i&gt;[bold]" in content
    assert "<i>[bold]" in call("compare", one.store.url, two.store.url).stdout.replace("\n", "")


def test_two_batches_of_one(tmp_path: Path) -> None:
    found = [{"url": f"http://a.example/{number}", "alt_text": "a text"} for number in range(8)]
    dataset = build(tmp_path / "d", write_list(tmp_path / "1", found[:6])).dataset
    with pytest.raises(DatasetError, match="has one batch; add another: align-data add"):
        side_of_batch(dataset, "1")
    second = [*found[4:], {"url": "http://a.example/0", "alt_text": "another text"}]
    call("add", dataset.store.url, *write_list(tmp_path / "2", second), "--as", "two")
    said = json.loads(call("compare", dataset.store.url, "--batches", "1", "two", "--json").stdout)
    assert said["pairs"] == {"both": 0, "only_a": 6, "only_b": 3}
    assert said["urls"] == {"both": 1, "only_a": 5, "only_b": 2, "other_texts": 1}
    assert (said["a"]["merged"], said["b"]["merged"]) == (0, 2)
    assert said["images"] is said["rot"] is None
    assert [note for note in said["notes"] if "language" not in note] == [
        "two batches of one dataset have one image for a URL, so images are not compared"
    ]
    table = call("compare", dataset.store.url, "--batches", "1", "two").stdout
    assert "2 rows of the batch merged" in table
    with pytest.raises(DatasetError, match=r"has no batch tow \(did you mean two\?\)"):
        side_of_batch(Dataset(dataset.store), "tow")


def test_links_rot_by_the_batch_that_they_came_with(tmp_path: Path) -> None:
    found = [{"url": f"http://a.example/{number}", "alt_text": "a text"} for number in range(9)]
    a = build(tmp_path / "a", write_list(tmp_path / "1", found[:6])).dataset
    call("add", a.store.url, *write_list(tmp_path / "2", found[4:]), "--as", "two")
    b = build(tmp_path / "b", write_list(tmp_path / "3", found)).dataset
    lost = (0, 1, 2, 8)
    for dataset, gone in ((a := Dataset(a.store), ()), (b, lost)):
        plant(
            dataset,
            {row["url"]: Fetched("http_410" if n in gone else "ok", "a" * 64, 1) for n, row in enumerate(found)},
        )
    rot = compared(side(a, None), side(b, None)).rot
    assert rot is not None
    assert [(row.of, row.urls, row.still, row.added is not None) for row in rot.by_batch] == [
        ("1", 6, 3, False),
        ("two", 3, 2, True),
    ]


def test_what_was_taken_down_is_in_no_other_count(tmp_path: Path) -> None:
    found = [{"url": f"http://a.example/{number}", "alt_text": "a text"} for number in range(5)]
    one, two = (build(tmp_path / name, write_list(tmp_path / f"{name}-l", found)).dataset for name in "ab")
    uid = read(one, "pairs")["uid"][0]
    (tmp_path / "uids").write_text(uid)
    call("takedown", one.store.url, "--uids", tmp_path / "uids")
    result = compared(side(Dataset(one.store), None), side(two, None))
    assert result.pairs == {"both": 4, "only_a": 0, "only_b": 1}
    assert (result.a.pairs, result.a.taken_down, result.b.taken_down) == (4, 1, 0)


def test_values_beyond_the_limit_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "NAMED", 2)
    hosts = {"a": 5, "b": 4, "c": 3, "d": 1}
    found = [{"url": f"http://{h}.example/{n}", "alt_text": "a text"} for h, many in hosts.items() for n in range(many)]
    one = build(tmp_path / "a", write_list(tmp_path / "1", found), parts=Parts(rows=4)).dataset
    two = build(tmp_path / "b", write_list(tmp_path / "2", found)).dataset
    by_host = compared(side(one), side(two)).by["host"]
    for row in by_host.values:
        assert row.value is not None
        assert row.both <= hosts[row.value[0]] <= row.both + by_host.error
    assert by_host.error > 0
    assert sum(row.both for row in by_host.values) + by_host.further_pairs == len(found)


def test_a_log_that_is_damaged_is_told(fetched_twice: Path, tmp_path: Path) -> None:
    b = shutil.copytree(fetched_twice / "june", tmp_path / "b")
    entries = (b / "_log").glob("2*.json")
    (entry,) = [path for path in entries if "images" in json.loads(path.read_text())["tables"]]
    whole = json.loads(call("compare", fetched_twice / "january", b, "--json").stdout)
    entry.write_text(entry.read_text().replace('"began": "2', '"began": "1'))
    said = json.loads(call("compare", fetched_twice / "january", b, "--json").stdout)
    assert whole["rot"]["days"] is not None
    assert said["rot"]["days"] is None
    assert any(entry.name in note and "cannot be understood" in note for note in said["notes"])


@pytest.fixture
def two(tmp_path: Path) -> tuple[Dataset, Dataset]:
    found = [{"url": f"http://a.example/{number}", "alt_text": "a text"} for number in range(3)]
    one, other = (build(tmp_path / name, write_list(tmp_path / f"{name}-l", found)).dataset for name in "ab")
    return one, other


def test_what_cannot_be_compared_is_a_sentence(tmp_path: Path, two: tuple[Dataset, Dataset]) -> None:
    a, b = (dataset.store.url for dataset in two)
    (tmp_path / "link").symlink_to(a)
    for words, sentence in (
        ((a, f"{a}/"), "name two datasets"),
        ((a, tmp_path / "link"), "name two datasets"),
        ((a, tmp_path), "is not a dataset"),
        ((a, tmp_path / "nowhere"), "is not a dataset"),
        ((a,), "name two datasets"),
        ((a, b, "--batches", "1", "2"), "name two datasets"),
        ((a, "--batches", "1", "1"), "has one batch"),
        ((a, b, "--by", "colour"), "--by takes host, language, script, and not colour"),
        ((a, b, "--recipe", "nothing"), "has no ledger nothing"),
        ((a, b, "--same-images"), "name a folder there"),
        ((a, "--batches", "1", "2", "--export-intersection", tmp_path / "x"), "no pair is in two batches"),
        ((a, b, "--export-intersection", a), "is not empty"),
        ((a, b, "--html", tmp_path), "directory"),
    ):
        said = CliRunner().invoke(main, ["compare", *map(str, words)])
        assert said.exit_code != 0
        assert sentence in said.output
        assert "unforeseen" not in said.output
    assert not (tmp_path / "x").exists()
    notes = compared(*map(side, two)).notes
    assert any("no images have been fetched" in note for note in notes)


def test_a_folder_of_uids_is_written_once_and_finished_after_a_kill(
    tmp_path: Path, two: tuple[Dataset, Dataset]
) -> None:
    folder = tmp_path / "uids"
    folder.mkdir()
    (folder / "part-00007.parquet").write_bytes(b"of a run that was killed")
    result = compared(*map(side, two), folder=UidFolder(str(folder)))
    assert sorted(path.name for path in folder.iterdir()) == ["part-00000.parquet", "uids.txt"]
    assert result.exported is not None
    assert result.exported.uids == 3
    with pytest.raises(OutputError, match="is not empty"):
        compared(*map(side, two), folder=UidFolder(str(folder)))
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(AlignDataError):
        compared(*map(side, two), folder=UidFolder(str(file)))
    assert file.read_text() == "mine"


def test_spark_compares_alike(tmp_path: Path, spark: SparkEngine) -> None:
    found = [{"url": f"http://a.example/{number}", "alt_text": f"text {number % 7}"} for number in range(60)]
    a = build(tmp_path / "a", write_list(tmp_path / "1", found[:50]), parts=Parts(rows=10)).dataset
    b = build(tmp_path / "b", write_list(tmp_path / "2", found[20:]), parts=Parts(rows=15)).dataset
    here = compared(side(a), side(b), folder=UidFolder(str(tmp_path / "here")))
    there = compare(side(a), side(b), spark, Silent(), folder=UidFolder(str(tmp_path / "there")))
    differ = {"exported"}
    assert {k: v for k, v in here.to_json().items() if k not in differ} == {
        k: v for k, v in there.to_json().items() if k not in differ
    }
    assert (tmp_path / "here" / "uids.txt").read_bytes() == (tmp_path / "there" / "uids.txt").read_bytes()
