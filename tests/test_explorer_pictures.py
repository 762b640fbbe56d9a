"""Pictures of the explorer: by address, small, kept, blurred by the ledger's own threshold; what is none is a sentence."""

from __future__ import annotations

import io
import re
import shutil
from html import unescape
from pathlib import Path

import polars as pl
import pytest

pytest.importorskip("starlette", reason="needs the extra view")

from conftest import read
from explorer_server import browser, client_of, explored, opened, watched
from PIL import Image
from starlette.testclient import TestClient
from test_shards import fetched, jpeg

from align_data.common.progress import Silent
from align_data.data.columns import identities
from align_data.data.image_pairs import image_pairs
from align_data.data.layout import Dataset
from align_data.data.meta import SignalsMeta
from align_data.engines.local import LocalEngine
from align_data.explorer import picture_cache
from align_data.explorer.opened import Explorer
from align_data.recipes.plan import Plan
from align_data.recipes.reading import parse
from align_data.report.page import BLUR, blur_of
from align_data.stages.decision import Decision, decide_ledger
from align_data.stages.takedown import takedown
from align_data.stages.takedown.lists import TakedownLists
from align_data.storage.store import Store
from align_data.storage.tables import Table
from align_data.storage.tars import Place

RULES = """
name: small
rules:
- {signal: width, ge: 60}
- {name: decodable, signal: decodable, eq: true}
- {name: nsfw, signal: nsfw, lt: 0.2}
"""
NO_IMAGE, GONE = "http://h/3.jpg", "http://h/nothing.jpg"
NSFW = {"http://h/1.jpg": 0.1, "http://h/2.jpg": 0.3}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("pictures")
    rows = [{"url": f"http://h/{n}.jpg", "alt_text": f"text {n}"} for n in range(20)]
    rows += [{"url": "http://h/0.jpg", "alt_text": "the same image"}, {"url": GONE, "alt_text": "no image"}]
    images = {row["url"]: jpeg(n, 40 + 20 * n, 200) for n, row in enumerate(rows[:20])} | {
        NO_IMAGE: b"\xff\xd8\xff no image"
    }
    dataset = fetched(folder / "dataset", rows, images, parts=8)
    _plant_nsfw(dataset)
    decide_ledger(Decision(parse(RULES, "r.yaml")), dataset, LocalEngine(folder / "w", 2), Silent())
    return dataset


def _plant_nsfw(dataset: Dataset) -> None:
    table: Table[SignalsMeta] = dataset.measured("image")
    parts = range(len(dataset.ingested().parts))
    names = [*table.columns(0), "nsfw"]
    frames = []
    for part in parts:
        urls = pl.concat(list(dataset.pairs.pieces(part, ["url"])))["url"].to_list()
        frame = pl.concat(list(table.pieces(part, names[:-1])))
        frames.append(frame.with_columns(pl.Series("nsfw", [NSFW.get(url, 0.0) for url in urls], pl.Float64)))
    table.retract()
    for part, frame in zip(parts, frames, strict=True):
        with table.writer(part, {}, names) as writer:
            writer.write(frame)
    meta = SignalsMeta(signals=identities(dataset, names, anew=True), pairs=dataset.ingested().fingerprint)
    table.commit([table.info(part) for part in parts], meta)


@pytest.fixture
def explorer(dataset: Dataset) -> Explorer:
    return opened(dataset)


@pytest.fixture
def client(explorer: Explorer) -> TestClient:
    return client_of(explorer)


def uid_of(dataset: Dataset, url: str) -> str:
    return str(read(dataset, "pairs").filter(url=url)["uid"][0])


def shown(text: str) -> list[str]:
    """Return the addresses of the pictures of a page, below the token."""
    return [unescape(address) for address in re.findall(r'<img src="/[\w-]+/([^"]+)"', text)]


def test_every_picture_of_a_page_is_a_small_image_that_is_kept(
    dataset: Dataset, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = client.get("pairs").text
    addresses = shown(text)
    images = read(dataset, "pairs").filter(~pl.col("url").is_in([GONE, NO_IMAGE])).unique("url", keep="first")
    assert {re.findall(r"picture/(\w+)", address)[0] for address in addresses} == set(images["uid"])
    assert "data:image" not in text
    answers = [client.get(address) for address in addresses]
    for answer in answers:
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["cache-control"] == "no-store"  # a browser would show it after a takedown
        with Image.open(io.BytesIO(answer.content)) as image:
            image.load()
            assert max(image.size) <= 144
    monkeypatch.setattr(picture_cache.TarReader, "read", lambda *_: 1 // 0)  # nothing is read again
    assert [client.get(address).content for address in addresses] == [answer.content for answer in answers]


def test_a_picture_that_nobody_asked_for_before_is_found_by_its_uid(dataset: Dataset, client: TestClient) -> None:
    assert client.get(f"picture/{uid_of(dataset, 'http://h/5.jpg')}").headers["content-type"] == "image/jpeg"


@pytest.mark.parametrize("uid", ["none", "0" * 32, "f" * 32, "%3Cscript%3E", "g", "\u202e"])
def test_what_is_no_pair_is_a_sentence(client: TestClient, uid: str) -> None:
    answer = client.get(f"picture/{uid}")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text.startswith("No picture: ")


def test_a_pair_without_a_picture_says_so(client: TestClient) -> None:
    assert client.get("pairs").text.count("Its image is not usable") == len([NO_IMAGE, GONE])
    assert client.get("pairs").text.count("<article") == client.get("pairs").text.count("<img ") + len([NO_IMAGE, GONE])
    assert "align-data fetch" in client.get("pairs", params={"where": f"url={GONE}"}).text


@pytest.mark.parametrize(("url", "reason"), [(NO_IMAGE, "decoded"), (GONE, "fetched")])
def test_an_image_that_is_none_says_why(dataset: Dataset, client: TestClient, url: str, reason: str) -> None:
    answer = client.get(f"picture/{uid_of(dataset, url)}")
    assert answer.status_code == 404
    assert reason in answer.text


def test_what_is_kept_has_a_limit(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_cache, "KEPT_BYTES", 10_000)
    monkeypatch.setattr(picture_cache, "KEPT_PLACES", 4)
    explorer = opened(dataset)
    client = client_of(explorer)
    for address in shown(client.get("pairs").text):
        assert client.get(address).status_code == 200
        cache = explorer.pictures
        assert sum(len(content) for _, content in cache._thumbnails.values()) == cache._bytes <= 10_000
        assert len(cache._places) <= 4


def test_a_picture_of_what_is_taken_down_is_forgotten(tmp_path: Path, dataset: Dataset) -> None:
    copy = Dataset(Store(shutil.copytree(dataset.store.root, tmp_path / "copy")))
    client, uid = client_of(opened(copy)), uid_of(copy, "http://h/5.jpg")
    assert client.get(f"picture/{uid}").status_code == 200
    takedown(copy, TakedownLists({"uids": (uid,)}, {"uids": ""}), [], LocalEngine(tmp_path / "w", 2), Silent())
    assert client.get(f"picture/{uid}").status_code == 404


def test_nothing_is_kept_of_a_request_that_began_before_a_takedown(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Dataset(Store(shutil.copytree(dataset.store.root, tmp_path / "copy")))
    explorer, uid = opened(copy), uid_of(copy, "http://h/5.jpg")
    client, read_image = client_of(explorer), picture_cache.TarReader.read
    client.get("pairs")  # which keeps where its image lies

    def slowly(reader: picture_cache.TarReader, place: Place) -> bytes:
        content = read_image(reader, place)
        takedown(copy, TakedownLists({"uids": (uid,)}, {"uids": ""}), [], LocalEngine(tmp_path / "w", 2), Silent())
        client.get("pairs")
        return content

    with monkeypatch.context() as patch:
        patch.setattr(picture_cache.TarReader, "read", slowly)
        client.get(f"picture/{uid}")
    assert not explorer.pictures._thumbnails
    assert client.get(f"picture/{uid}").status_code == 404


def test_the_pairs_of_an_image_are_those_with_its_url(dataset: Dataset) -> None:
    pairs = read(dataset, "pairs")
    for uid, url in pairs.select("uid", "url").iter_rows():
        found = image_pairs(dataset, uid)
        assert sorted(found["uid"]) == sorted(pairs.filter(url=url)["uid"])
        for part, piece, row, of in found.select("part", "piece", "row", "uid").iter_rows():
            assert dataset.pairs.piece(part, piece, ["uid"])["uid"][row] == of


@pytest.mark.parametrize(
    ("rules", "least"),
    [
        ("- {signal: nsfw, lt: 0.2}", 0.2),
        ("- {signal: nsfw, le: 0.7}", 0.7),
        ("- {signal: n_words, ge: 3}", BLUR),
        ("- {signal: nsfw, lt: 0.4}\n- {name: b, signal: nsfw, lt: 0.3}", 0.3),
    ],
)
def test_a_ledger_blurs_from_the_least_score_that_it_drops(dataset: Dataset, rules: str, least: float) -> None:
    assert blur_of(Plan.unresolved(parse(f"name: a\nrules:\n{rules}\n", "r.yaml"), [], [])) == least


def test_pages_blur_by_the_ledgers_own_threshold(dataset: Dataset, client: TestClient) -> None:
    hidden = re.findall(r"<details class=\"unseen\">.*?picture/(\w+)", client.get("pairs").text, re.DOTALL)
    assert hidden == [uid_of(dataset, "http://h/2.jpg")]  # 0.3, and not 0.1
    assert 'class="unseen"' in client.get(f"pair/{hidden[0]}").text


def test_a_browser_fetches_a_blurred_picture_when_it_is_asked_for(dataset: Dataset) -> None:
    blurred = uid_of(dataset, "http://h/2.jpg")
    with explored(opened(dataset)) as link, browser() as chromium:
        page = chromium.new_page()
        problems, asked = watched(page), list[str]()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{link}pairs", wait_until="networkidle")
        assert page.locator("article img").count() == len(read(dataset, "pairs")) - 2
        assert not [url for url in asked if blurred in url]
        page.get_by_text("nsfw 0.3: show").click()
        page.wait_for_function("document.querySelector('details.unseen img').naturalWidth > 0")
        assert problems == []


def test_a_browser_says_in_its_place_that_a_picture_cannot_be_read(tmp_path: Path, dataset: Dataset) -> None:
    copy = Dataset(Store(shutil.copytree(dataset.store.root, tmp_path / "copy")))
    shutil.rmtree(tmp_path / "copy" / "bytes")
    with explored(opened(copy)) as link, browser() as chromium:
        page = chromium.new_page()
        page.goto(f"{link}pairs?where=n_words%3D2", wait_until="networkidle")
        page.get_by_text("No picture: its bytes cannot be read").first.wait_for()
        assert page.locator("article > img").count() == 0
