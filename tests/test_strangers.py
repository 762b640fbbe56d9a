"""Datasets and exports that came from somebody else: no name in them leads out, and nothing damaged passes for whole."""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ablate_fakes
import polars as pl
import pytest
from click import ClickException
from conftest import manifest_of, read
from test_img2dataset import Sample, planted, take, write_shard
from test_shards import RECIPE, fetched, flat, jpeg, run

from align_data.cli import main
from align_data.common.errors import AlignDataError, DatasetError, InputError, TrainError
from align_data.common.progress import Silent
from align_data.data.image_table import image_places
from align_data.data.layout import Dataset
from align_data.data.tombstones import write
from align_data.engines.local import LocalEngine
from align_data.exports.formats import SHARD
from align_data.recipes.reading import parse
from align_data.report.thumbnails import pictures
from align_data.stages.audit import survey
from align_data.stages.eval_index import index
from align_data.stages.export import Split
from align_data.stages.measure import Sight, measure
from align_data.stages.pipeline import Decision, decide_ledger
from align_data.stages.takedown import TakedownLists, TakedownReport, takedown
from align_data.stages.takedown.plan import fresh
from align_data.stages.verify import verify
from align_data.stages.why import why
from align_data.storage import names
from align_data.storage.manifests import checked
from align_data.storage.store import Store
from align_data.train.ablate import runs
from align_data.train.settings import TrainSettings
from align_data.train.shards import Shards

TARS = [
    "../sentinel/secret.tar",
    "/etc/passwd",
    "a/../../b",
    "bytes/../../sentinel/secret.tar",
    "bytes/part-00000/../../../sentinel/secret.tar",
    "bytes/part-00000/001-00000.tar\0",
    "bytes/part-00000/001-00000.tar\n",
    "../other/bytes/part-00000/001-00000.tar",
    "bytes/part-00009/001-00000.tar",
    "bytes/part-00000/" + "9" * 5_000 + ".tar",
    "",
]
SHARDS = [*TARS, "val/00000.tar", "train/../00000.tar", "00000.parquet", "manifest.json", ".00000.tar", 5, None]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of two parts, three exports of it, and a folder beside them that nobody may touch."""
    folder = tmp_path_factory.mktemp("strangers") / "base"
    rows = [{"url": f"http://h/{n}.jpg", "alt_text": f"text of {n}"} for n in range(24)]
    dataset = fetched(folder / "dataset", rows, {row["url"]: jpeg(n) for n, row in enumerate(rows)}, parts=12)
    assert len(dataset.ingested().parts) == 2
    run(dataset, folder / "webdataset", flat(shard_size=8))
    run(dataset, folder / "parquet", flat("parquet", shard_size=8, splits=(Split("val", 0.3),)))
    run(dataset, folder / "metadata", flat("metadata"))
    (folder / "sentinel").mkdir()
    shutil.copy(next((folder / "dataset" / "bytes").rglob("*.tar")), folder / "sentinel" / "secret.tar")
    (folder / "sentinel" / "own.txt").write_text("mine")
    return folder


class Place:
    """A copy of all of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dataset = Dataset(Store(folder / "dataset"))
        self.pairs = read(self.dataset, "pairs")

    @property
    def exports(self) -> list[str]:
        return [str(self.folder / name) for name in ("webdataset", "parquet", "metadata")]

    def engine(self) -> LocalEngine:
        return LocalEngine(self.folder / "_work", 1)

    def takedown(self, folders: Sequence[str] = (), **asked: Any) -> TakedownReport:
        options = {name: asked.pop(name) for name in ("copies", "forget_counts", "dry_run") if name in asked}
        lists = TakedownLists({kind: tuple(some) for kind, some in asked.items()}, dict.fromkeys(asked, ""))
        return takedown(self.dataset, lists, folders, self.engine(), Silent(), **options)

    def tree(self, *inside: str) -> dict[str, bytes]:
        below = self.folder.joinpath(*inside)
        return {p.relative_to(below).as_posix(): p.read_bytes() for p in below.rglob("*") if p.is_file()}

    def rewrite(self, name: str, part: int, change: Callable[[pl.DataFrame], pl.DataFrame], same: bool = False) -> None:
        """Change a part, and let the manifest say that it is so; with `same` nothing made of it becomes stale."""
        table = getattr(self.dataset, name)
        manifest, facts, columns = table.committed(), table.facts(part), table.columns(part)
        rows = change(pl.concat(list(table.pieces(part, columns))))
        table.retract()
        with table.writer(part, facts or {}, columns) as writer:
            writer.write(rows)
        parts = list(manifest.parts)
        parts[part] = replace(writer.info, sha256=parts[part].sha256, xxh3=parts[part].xxh3) if same else writer.info
        table.commit(parts, manifest.meta)


@pytest.fixture
def place(base: Path, tmp_path: Path) -> Place:
    shutil.copytree(base, tmp_path / "place")
    return Place(tmp_path / "place")


# Names in tables.


@pytest.mark.parametrize("tar", TARS, ids=range(len(TARS)))
def test_no_tar_that_a_table_names_leads_out(place: Place, tar: str) -> None:
    """Whether the manifest vouches for the table or not."""
    url = place.pairs["url"][0]

    def change(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(pl.when(pl.col("url") == url).then(pl.lit(tar)).otherwise("tar").alias("tar"))

    place.rewrite("images", 0, change, same=True)
    outside = place.tree("sentinel")
    said = r"row 1 of .*images/part-00000.parquet: .* is not the name of a tar of this part's images"
    for read_it in (
        lambda: run(place.dataset, place.folder / "again"),
        lambda: measure(place.dataset, place.engine(), Silent(), sight=Sight(max_pixels=10_000)),
        lambda: why(place.dataset, None, url=url),
        lambda: pictures(place.dataset, [s for p in range(2) for s in samples_of(place, p)], Silent()),
        lambda: place.takedown(urls=[url]),
    ):
        with pytest.raises(DatasetError) as raised:
            read_it()
        assert "\n" not in str(raised.value)
        assert len(str(raised.value)) < 1_000
    place.rewrite("images", 0, lambda rows: rows)  # vouched for
    for ask in ({"urls": [url]}, {"uids": [place.pairs["uid"][0]]}):
        with pytest.raises(DatasetError, match=said):
            place.takedown(**ask)
    assert place.dataset.store.names("takedowns") == []
    (wrong,) = place.takedown(sha256=["0" * 64]).receipt.unread  # which no fetch stores from now on
    assert re.search(said, wrong)
    assert place.tree("sentinel") == outside


def samples_of(place: Place, part: int) -> list[Any]:
    found = survey(place.dataset, "some", place.engine(), Silent())
    return [sample for some in found.samples.values() for sample in some if sample.part == part]


@pytest.mark.parametrize(("column", "value"), [("offset", -512), ("offset", 0), ("offset", 7), ("size", -1)])
def test_a_place_that_cannot_be_is_a_sentence(place: Place, column: str, value: int) -> None:
    place.rewrite("images", 1, lambda rows: rows.with_columns(pl.lit(value, pl.Int64).alias(column)))
    with pytest.raises(DatasetError, match=rf"row 1 of .*images/part-00001.parquet: .*{column} {value}.* is not where"):
        image_places(place.dataset, 1)


@pytest.mark.parametrize(("column", "more"), [("offset", 512), ("offset", 10**9 * 512), ("size", 1), ("size", 10**12)])
def test_a_place_at_which_no_image_begins_is_a_sentence(place: Place, column: str, more: int) -> None:
    place.rewrite("images", 0, lambda rows: rows.with_columns(pl.col(column) + more), same=True)
    with pytest.raises(DatasetError, match=r"bytes/part-00000/.*; the dataset is damaged"):
        run(place.dataset, place.folder / "again")


def test_a_tar_that_is_a_link_is_neither_read_nor_removed(place: Place) -> None:
    for part in (0, 1):
        for tar in (place.folder / "dataset" / f"bytes/part-0000{part}").iterdir():
            moved = place.folder / "sentinel" / f"{part}-{tar.name}"
            tar.rename(moved)
            tar.symlink_to(moved)
    outside = place.tree("sentinel")
    with pytest.raises(DatasetError, match="is a link"):
        run(place.dataset, place.folder / "again")
    with pytest.raises(DatasetError, match="is a link"):
        place.takedown(urls=place.pairs["url"].to_list())
    assert place.tree("sentinel") == outside


@pytest.mark.parametrize("member", ["../x.jpg", "/etc/passwd", "link", "device", "long"])
def test_a_member_that_we_never_write_is_a_sentence(place: Place, member: str) -> None:
    images = image_places(place.dataset, 0)
    tar = place.folder / "dataset" / images["tar"][0]
    with tarfile.open(tar, "a") as file:
        called = {"link": "0" * 16 + ".jpg", "device": "0" * 16 + ".jpg", "long": "a" * 300}
        info = tarfile.TarInfo(called.get(member, member))
        info.type = {"link": tarfile.SYMTYPE, "device": tarfile.CHRTYPE}.get(member, tarfile.REGTYPE)
        info.linkname = "/etc/passwd" if member == "link" else ""
        file.addfile(info)
    before = place.tree()
    with pytest.raises(DatasetError, match=r"is damaged|is not the name of an image"):
        place.takedown(urls=images["url"][:1].to_list())
    assert place.tree() == before


# Names in exports.


@pytest.mark.parametrize("name", SHARDS, ids=range(len(SHARDS)))
@pytest.mark.parametrize("what", ["shard", "split", "index", "index row"])
def test_no_name_in_an_export_leads_out(place: Place, what: str, name: Any) -> None:
    folder = place.folder / "webdataset"
    manifest = json.loads((folder / "manifest.json").read_text())
    index = pl.read_parquet(folder / "index.pq")
    if what == "shard":
        manifest["shards"][0]["name"] = name
    elif what == "split":
        manifest["splits"] = {str(name): 0.5}
    elif what == "index":
        manifest["index"]["name"] = name
    else:
        index.with_columns(shard=pl.lit(str(name))).write_parquet(folder / "index.pq")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    before = place.tree()
    with pytest.raises(DatasetError):
        place.takedown([str(folder)], uids=index["uid"][:1].to_list())
    if what != "index row":
        with pytest.raises(DatasetError):
            verify(Store(folder), 1, Silent())
    if what == "shard" and name not in ("val/00000.tar", "00000.parquet"):
        with pytest.raises(DatasetError):
            Shards.open(str(folder))
    assert place.tree() == before


@pytest.mark.parametrize("name", ["00000.tar", "index.pq", "sizes.json", "manifest.json", "_rows"])
def test_a_link_in_an_export_is_not_written_through(place: Place, name: str) -> None:
    folder, target = place.folder / "webdataset", place.folder / "sentinel" / name
    if name == "_rows":
        target.mkdir()
        (target / "own.txt").write_text("mine")
    else:
        (folder / name).rename(target)
    (folder / name).symlink_to(target)
    outside, uids = place.tree("sentinel"), pl.read_parquet(folder / "index.pq")["uid"][:1].to_list()
    try:
        report = place.takedown([str(folder)], uids=uids)
    except DatasetError as error:
        assert "is a link" in str(error)  # noqa: PT017 - either way says it
    else:
        assert "is a link" in report.receipt.shards[0].note
    assert place.tree("sentinel") == outside


def test_a_split_that_is_a_link_is_not_swept(place: Place) -> None:
    folder, target = place.folder / "parquet" / "val", place.folder / "sentinel" / "val"
    folder.rename(target)
    folder.symlink_to(target)
    (target / ".own.00000000.tmp").write_text("mine")
    outside = place.tree("sentinel")
    uids = pl.read_parquet(place.folder / "parquet" / "index.pq")["uid"].to_list()
    try:
        report = place.takedown([str(place.folder / "parquet")], uids=uids)
    except DatasetError as error:
        assert "is a link" in str(error)  # noqa: PT017
    else:
        assert "is a link" in report.receipt.shards[0].note
    assert place.tree("sentinel") == outside


# Notes of a takedown that a stranger has begun.

PLAN = {"number": 1, "request": "", "asked": {}, "rejected": {}, "banned": [], "shards": [], "manifests": {}}


@pytest.mark.parametrize(
    "plan",
    [
        [],
        5,
        {},
        {**PLAN, "number": "../../x"},
        {**PLAN, "number": -1},
        {**PLAN, "rejected": {"../x": [1]}},
        {**PLAN, "rejected": {"0": ["x"]}},
        {**PLAN, "banned": [5]},
        {**PLAN, "shards": [5]},
        {**PLAN, "manifests": {"../sentinel/own.txt": "0"}},
        {**PLAN, "forget": {"../../sentinel": [1]}},
        {**PLAN, "more": 1},
    ],
)
def test_a_plan_that_is_none_of_ours_is_a_sentence(place: Place, plan: Any) -> None:
    (place.folder / "dataset" / "_takedown").mkdir()
    content = checked(plan) if isinstance(plan, dict) else json.dumps(plan).encode()
    (place.folder / "dataset" / "_takedown" / "plan.json").write_bytes(content)
    before = place.tree()
    with pytest.raises(DatasetError, match=r"plan.json (is not a note of a takedown|.*the takedown cannot go on)"):
        place.takedown(uids=["0" * 32])
    assert place.tree() == before


@pytest.mark.parametrize("key", ["tars", "unnamed", "files"])
@pytest.mark.parametrize("name", ["../sentinel/secret.tar", "../sentinel", "bytes/part-00001/001-00000.tar", "pairs"])
def test_a_note_that_names_other_files_is_a_sentence(place: Place, key: str, name: str) -> None:
    note = {"pairs": 1, "images": 1, key: [name] if key == "unnamed" else {name: None}}
    folder = place.folder / "dataset" / "_takedown"
    write(fresh(place.dataset), place.pairs["uid"][:1].to_list())
    (folder / "plan.json").write_bytes(checked(PLAN))
    (folder / "part-00000.json").write_bytes(checked(note))
    outside, tars = place.tree("sentinel"), place.tree("dataset", "bytes")
    with pytest.raises(DatasetError, match=r"part-00000.json is not a note of a takedown: it names the file"):
        place.takedown(uids=["0" * 32])
    assert (place.tree("sentinel"), place.tree("dataset", "bytes")) == (outside, tars)
    assert set(place.tree("dataset", "bytes")) == set(tars)


def test_what_lies_beside_the_tars_and_is_none_of_ours_stays(place: Place) -> None:
    for name in ("notes.txt", "images.tar", "sub"):
        (place.folder / "dataset" / "bytes" / "part-00000" / name).mkdir()
        (place.folder / "dataset" / "bytes" / "part-00000" / name / "own.txt").write_text("mine")
    place.takedown(urls=place.pairs["url"].to_list())
    left = {name for name in place.tree("dataset", "bytes") if not name.startswith("part-00001")}
    assert {Path(name).parent.name for name in left} == {"notes.txt", "images.tar", "sub"}


# Bytes of images against their SHA-256.


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def test_a_flipped_byte_of_an_image_goes_nowhere(place: Place) -> None:
    row = image_places(place.dataset, 1).row(2, named=True)
    flip(place.folder / "dataset" / row["tar"], row["offset"] + row["size"] - 20)
    said = rf"{row['tar']}, at {row['offset']:,}: the bytes are not those that were measured.*remove its folders"
    with pytest.raises(DatasetError, match=said):
        run(place.dataset, place.folder / "again")
    with pytest.raises(DatasetError, match=said):  # all is looked at again
        measure(place.dataset, place.engine(), Silent(), sight=Sight(max_pixels=1))
    (sample,) = [sample for sample in every_sample(place) if sample.url == row["url"]][:1]
    shown = pictures(place.dataset, [sample], Silent())
    assert dict(shown) == {}
    assert "not those that were measured" in shown.lost[0]


def every_sample(place: Place) -> list[Any]:
    found = survey(place.dataset, "some", place.engine(), Silent(), 100)
    return [sample for some in found.samples.values() for sample in some]


def test_a_page_says_which_pictures_are_missing(place: Place) -> None:
    pytest.importorskip("jinja2")
    tars = place.folder / "dataset" / "bytes" / "part-00000"
    shutil.rmtree(tars)
    page = place.folder / "page.html"
    main(["audit", str(place.folder / "dataset"), "--recipe", "some", "--html", str(page)], standalone_mode=False)
    assert "pictures could not be read, the first: cannot read bytes/part-00000/" in page.read_text()


def test_a_flipped_byte_of_a_shard_is_not_trained_on(place: Place) -> None:
    whole = {sample.uid for sample in Shards.open(str(place.folder / "webdataset"))}
    content = (place.folder / "webdataset" / "00001.tar").read_bytes()
    with tarfile.open(place.folder / "webdataset" / "00001.tar") as tar:
        member = tar.getmembers()[0]
    flip(place.folder / "webdataset" / "00001.tar", member.offset_data + member.size - 20)
    shards = Shards.open(str(place.folder / "webdataset"))
    left = {sample.uid for sample in shards}
    assert "has the SHA-256" in shards.skipped["00001.tar"]
    assert len(left) == len(whole) - 8
    (place.folder / "webdataset" / "00001.tar").write_bytes(content)
    assert {sample.uid for sample in Shards.open(str(place.folder / "webdataset"))} == whole


# Damage and takedown.

TABLES = ["pairs", "images", "content", "measured/text", "measured/image", "verdicts/some", "rejected"]


def damage(place: Place, table: str, how: str) -> None:
    file = place.folder / "dataset" / table / "part-00000.parquet"
    if how == "cut":
        file.write_bytes(file.read_bytes()[:-9])
    elif how == "flip":
        flip(file, file.stat().st_size // 3)
    elif how == "gone":
        file.unlink()
    else:
        other = file.with_name("part-00001.parquet")
        if not other.exists():
            pytest.skip("it has one part")
        mine = file.read_bytes()
        file.write_bytes(other.read_bytes())
        other.write_bytes(mine)


@pytest.mark.parametrize("how", ["cut", "gone", "swapped"])
@pytest.mark.parametrize("table", TABLES)
def test_a_damaged_table_never_passes_for_a_takedown(place: Place, table: str, how: str) -> None:
    urls = place.pairs["url"].to_list()
    whole = {path: path.read_bytes() for path in (place.folder / "dataset" / table).iterdir()}
    damage(place, table, how)
    (place.folder / "list.txt").write_text("\n".join(urls))
    line = ["takedown", str(place.folder / "dataset"), "--urls", str(place.folder / "list.txt"), "--shards"]
    with pytest.raises((ClickException, AlignDataError), match=f"could not be read.*{table}/part-0000"):
        main([*line, str(place.folder / "metadata")], standalone_mode=False)
    receipts = [json.loads((place.folder / "dataset" / "takedowns" / name).read_text())
                for name in place.dataset.store.names("takedowns")]  # fmt: skip
    assert all(f"{table}/part-0000" in receipt["unread"][0] for receipt in receipts)
    assert len(receipts) == (how != "swapped" or table == "rejected")
    for path, content in whole.items():  # mended from a copy, but for what the takedown wrote itself
        if not path.exists() or (path.name == "part-00000.parquet") or how == "swapped":
            path.write_bytes(content)
    report = place.takedown([str(place.folder / "metadata")], urls=urls)
    assert report.receipt.unread == []
    assert set(read(place.dataset, "pairs")["url"]) == {""}
    assert not list((place.folder / "dataset" / "bytes").rglob("*.tar"))
    assert pl.read_parquet(place.folder / "metadata" / "*.parquet").is_empty()
    main([*line, str(place.folder / "metadata")], standalone_mode=False)  # and now it says so


def test_a_flipped_byte_of_a_hashed_table_is_looked_into_by_nothing(place: Place) -> None:
    """In whatever byte: what is searched for could be what has changed."""
    url = place.pairs["url"][0]
    sha256 = pl.concat([image_places(place.dataset, 0)]).filter(pl.col("url") == url)["sha256"].item()
    for table, ask in (("pairs", {"urls": [url]}), ("images", {"urls": [url]}), ("content", {"urls": [url]})):
        file = place.folder / "dataset" / table / "part-00000.parquet"
        content = file.read_bytes()
        for at in range(5, len(content), len(content) // 5):
            flip(file, at)
            with pytest.raises(DatasetError, match="could not be read"):
                place.takedown(**ask)
            file.write_bytes(content)
    file = place.folder / "dataset" / "content" / "part-00000.parquet"
    flip(file, 100)
    assert place.takedown(sha256=[sha256]).receipt.unread
    assert (
        place.takedown(sha256=[sha256], dry_run=True).receipt.unread if place.dataset.tombstones.committed() else True
    )


@pytest.mark.parametrize("table", ["pairs", "images", "content", "measured/text", "verdicts/some", "tombstones"])
@pytest.mark.parametrize(
    "content", [b"", b"[]", b"5", b"{", b'{"format": 1}', b'{"format": 1, "parts": 5, "meta": {}, "table": ""}']
)
def test_a_damaged_manifest_is_a_sentence_and_nothing_changes(place: Place, table: str, content: bytes) -> None:
    place.takedown(uids=place.pairs["uid"][-1:].to_list())
    manifest_of(place.folder / "dataset", table).write_bytes(content)
    before = place.tree()
    with pytest.raises(DatasetError):
        place.takedown(urls=place.pairs["url"][:1].to_list())
    assert place.tree() == before


@pytest.mark.parametrize("what", ["nested", "folder", "pipe", "link"])
def test_whatever_stands_beside_the_shards_verify_names_it_and_goes_on(place: Place, what: str) -> None:
    folder = place.folder / "parquet"
    (folder / "val" / "00000.parquet").write_bytes(b"of no use")
    file = folder / "train" / "00000_stats.json"
    file.unlink()
    if what == "nested":
        file.write_text("[" * 100_000)
    elif what == "folder":
        file.mkdir()
    elif what == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to(place.folder / "sentinel" / "own.txt")
    wrong = verify(Store(folder), 1, Silent()).differs
    assert {"train/00000_stats.json", "val/00000.parquet"} <= set(wrong)
    uid = pl.read_parquet(folder / "train" / "*.parquet")["uid"][0]
    with pytest.raises(DatasetError, match=r"train/00000_stats\.json"):
        place.takedown([str(folder)], uids=[uid])


@pytest.mark.parametrize("change", [{"exported": 3}, {"without_image": "x"}, {"takedowns": 3}, {"without_image": 5}])
def test_an_export_that_miscounts_is_not_written_anew(place: Place, change: dict[str, Any]) -> None:
    file = place.folder / "webdataset" / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_bytes()), **change}))
    before = place.tree()
    with pytest.raises(DatasetError, match=f"counts the pairs otherwise|{next(iter(change))} is"):
        place.takedown([str(file.parent)], uids=place.pairs["uid"][:1].to_list())
    assert place.tree() == before


def test_sizes_that_say_otherwise_are_told_and_written_anew(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    folder = place.folder / "webdataset"
    sizes = folder / "sizes.json"
    sizes.write_text(json.dumps(dict.fromkeys(json.loads(sizes.read_bytes()), 99)))
    (place.folder / "list.txt").write_text(place.pairs["uid"][0])
    line = [
        "takedown",
        str(place.folder / "dataset"),
        "--uids",
        str(place.folder / "list.txt"),
        "--shards",
        str(folder),
    ]
    main(line, standalone_mode=False)
    assert f"{sizes} differs from the manifest" in " ".join(capsys.readouterr().err.split())
    assert verify(Store(folder), 1, Silent()).whole


def test_a_table_that_has_lost_its_manifest_is_not_passed_over(place: Place) -> None:
    folder, url = place.folder / "dataset", place.pairs["url"][0]
    measure(place.dataset, place.engine(), Silent())
    decide_ledger(Decision(parse(RECIPE, "some.yaml")), place.dataset, place.engine(), Silent())
    place.takedown(sha256=["0" * 64], uids=place.pairs["uid"][-1:].to_list())
    export = ["export", "--recipe", "some", "--format", "metadata", "--out", str(folder / "m")]
    decide = ["filter", "--recipe", "coyo"]
    for table, said, line in (
        ("measured/text", "has parts but no manifest.*measure them again", export),
        ("measured/text", "has parts but no manifest.*measure them again", decide),
        ("tombstones", "has lost its manifest, _manifests/tombstones.json", decide),
        ("banned", "has lost its manifest, _manifests/banned.json", ["fetch", "--all"]),
        ("counts/texts", "has no manifest", []),
        ("counts/texts-classes", "has no manifest", []),
    ):
        file = manifest_of(folder, table)
        content = file.read_bytes()
        file.unlink()
        before = place.tree("dataset")
        with pytest.raises((ClickException, AlignDataError), match=said):
            main([line[0], str(folder), *line[1:]], standalone_mode=False) if line else place.takedown(
                urls=[url], forget_counts=True
            )
        after = place.tree("dataset")
        changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        assert {name for name in changed if not name.startswith("_log/")} <= {".lock"}  # the log has failures too
        file.write_bytes(content)


def test_tombstones_that_have_gone_are_missed(place: Place) -> None:
    place.takedown(uids=place.pairs["uid"][:2].to_list())
    shutil.rmtree(place.folder / "dataset" / "tombstones")
    before = place.tree()
    with pytest.raises(DatasetError, match="has fewer than the 2 tombstones of the last receipt"):
        place.takedown(uids=place.pairs["uid"][3:4].to_list())
    assert place.tree() == before


FORMS = {name: form for name, form in vars(names).items() if isinstance(form, names.NamePattern)} | {"SHARD": SHARD}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_no_form_of_a_name_has_a_way_out(form: names.NamePattern) -> None:
    strange = [
        "..",
        ".",
        "a/..",
        "../a.tar",
        "a\\b.tar",
        "x" * 300,
        "\u0661" * 5 + ".tar",
        "val\n",
        b"00000.tar",
        5,
        None,
    ]
    for bad in [*(tar for tar in TARS if "00009" not in tar), *strange]:
        with pytest.raises(DatasetError, match=r"^here: .* is not the name of"):
            form.check(bad, "here")


# img2dataset's output that a stranger has made.


def negative(name: str) -> bytes:
    """A member's header that says a size below zero, at which some readers go back for ever."""
    info = tarfile.TarInfo(name)
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (-1024).to_bytes(12, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize("kind", ["parquet", "tar", "file", "folder"])
def test_a_link_out_of_the_shards_that_are_adopted_is_refused(tmp_path: Path, kind: str) -> None:
    form = "webdataset" if kind in ("parquet", "tar") else "files"
    planted(form, tmp_path / "shards")
    name = {"parquet": "00000.parquet", "tar": "00000.tar", "file": "00000/000000000.jpg", "folder": "00000"}[kind]
    file, moved = tmp_path / "shards" / name, tmp_path / "elsewhere"
    file = file if file.exists() else next((tmp_path / "shards" / "00000").glob("*.jpg"))
    file.rename(moved)
    file.symlink_to(moved)
    with pytest.raises(InputError, match=r"is a link that leads out of"):
        take(tmp_path / "shards", tmp_path / "dataset")
    file.unlink()
    file.symlink_to(moved.rename(file.with_name("inside")).name)  # one that stays inside is a file's other name
    if kind in ("parquet", "tar"):
        assert take(tmp_path / "shards", tmp_path / "again").adopted.statuses["ok"] > 0


@pytest.mark.parametrize("name", ["00000.parquet", "00000.tar"])
def test_a_pipe_among_the_shards_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    planted("webdataset", tmp_path)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name} is neither a file nor a folder"):
        take(tmp_path, tmp_path / "dataset")


@pytest.mark.parametrize("what", ["link", "device", "up", "negative", "sparse"])
def test_what_is_no_plain_member_is_no_image(tmp_path: Path, what: str) -> None:
    secret = jpeg(77)
    (tmp_path / "secret.jpg").write_bytes(secret)
    write_shard(tmp_path / "shards", 0, [Sample("http://h/0.jpg", "a", data=None)], "webdataset")
    info = tarfile.TarInfo("000000000.jpg" if what != "up" else "../../000000000.jpg")
    info.type = {"link": tarfile.SYMTYPE, "device": tarfile.CHRTYPE, "sparse": tarfile.GNUTYPE_SPARSE}.get(what, b"0")
    info.linkname = str(tmp_path / "secret.jpg") if what == "link" else ""
    info.size = len(secret) if what in ("up", "sparse") else 0
    content = negative("000000000.jpg") if what == "negative" else info.tobuf()
    body = secret + bytes(-len(secret) % 512) if info.size else b""
    (tmp_path / "shards" / "00000.tar").write_bytes(content + body + bytes(10_240))
    taken = take(tmp_path / "shards", tmp_path / "dataset")
    assert taken.images["http://h/0.jpg"]["data"] is None
    assert not [f for f in (tmp_path / "dataset").rglob("*") if f.is_file() and secret[50:90] in f.read_bytes()]


@pytest.mark.parametrize("reader", ["train", "evaluation", "takedown"])
def test_a_member_of_a_size_below_zero_ends_the_reading(place: Place, reader: str) -> None:
    file = place.folder / "only" / "00000.tar"
    file.parent.mkdir()
    file.write_bytes(bytes(0) + negative("a" * 32 + ".jpg") + bytes(10_240))
    if reader == "train":
        shards = Shards.open(str(file.parent))
        assert list(shards) == []
        assert "00000.tar" in shards.skipped
    elif reader == "evaluation":
        with pytest.raises(InputError, match="cannot read the tar"):
            index([str(file)], str(place.folder / "out.parquet"), 1, Silent())
    else:
        images = image_places(place.dataset, 0)
        shutil.copy(file, place.folder / "dataset" / images["tar"][0])
        with pytest.raises(DatasetError, match=r"could not be read: cannot read .*\.tar|is not the name"):
            place.takedown(urls=images["url"][:1].to_list())


@pytest.mark.parametrize(
    "content", [b"", b"5", b"[]", b"{}", b'{"metrics": 5, "facts": {}}', b'{"metrics": {"a": "x"}}']
)
def test_a_run_that_is_no_result_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    cell = runs.Cell("none", ("0" * 32,), TrainSettings(), "key")
    job = runs.AblationJob("pool", "evaluation", tmp_path, ablate_fakes.fit, ablate_fakes.judge, threads=1)
    assert runs.stored(job, cell) is None
    Store(tmp_path).write_bytes("runs/key.json", content)
    with pytest.raises(TrainError, match=r"runs/key.json is not a run's result"):
        runs.stored(job, cell)


@pytest.mark.parametrize(
    "entry", [{"name": "../x.tar"}, {"name": "00000.tar", "pairs": "5"}, {"name": "00000.tar", "sha256": 5}, 5]
)
def test_a_manifest_of_shards_that_is_none_is_a_sentence(tmp_path: Path, entry: Any) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"shards": [entry]}))
    with pytest.raises(DatasetError):
        Shards.open(str(tmp_path))
