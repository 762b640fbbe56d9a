"""The tiny web's pictures and their server: what the truth says of the pictures is so, and they can be had."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import polars as pl
import pytest

Image = pytest.importorskip("PIL.Image")
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
sys.path.insert(0, str(EXAMPLES))
import tiny_pictures  # noqa: E402
import tiny_web  # noqa: E402
from tiny_server import serve  # noqa: E402

IMAGES, SEED = 500, 5
RATES = tiny_web.NOISE | tiny_web.PICTURE_NOISE | {"test_copy": 0.1}
UNDECODABLE = ("gone", "cut_off", "web_page")


def script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def make(out: Path, address: str) -> None:
    options = ["--images", str(IMAGES), "--seed", str(SEED), "--rate", "test_copy=0.1", "--pictures", address]
    made = script("tiny_web.py", "--out", str(out), *options)
    assert made.returncode == 0, made.stderr


@dataclass
class Served:
    """A web of pictures and where it is served."""

    folder: Path
    address: str

    @property
    def truth(self) -> pl.DataFrame:
        """What every row was made as, with the declared sizes."""
        listed = pl.read_parquet(self.folder / "pairs.parquet").select(declared_width="width", declared_height="height")
        return pl.concat([pl.read_parquet(self.folder / "_truth.parquet"), listed], how="horizontal")

    @property
    def once(self) -> pl.DataFrame:
        """The truth, a row for each image that has a URL."""
        return self.truth.filter(pl.col("kind") != "broken_url").unique("url", keep="first", maintain_order=True)

    def file(self, url: str) -> Path:
        """Where the picture of a URL is to be."""
        assert url.startswith(self.address + "/")
        return self.folder / "pictures" / url.removeprefix(self.address + "/")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The server is there first: the list says where it is."""
    folder = tmp_path_factory.mktemp("served") / "web"
    with serve(folder) as address:
        assert not folder.exists()
        make(folder, address)
        yield Served(folder, address)


def decoded(path: Path) -> Image.Image | None:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except OSError:
        return None


def get(connection: HTTPConnection, path: str, method: str = "GET") -> tuple[int, bytes]:
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, answer.read()


def connect(address: str) -> HTTPConnection:
    return HTTPConnection(urlsplit(address).netloc, timeout=10)


def test_the_truths_sizes_are_the_pictures(served: Served) -> None:
    for row in served.once.iter_rows(named=True):
        image = decoded(served.file(row["url"]))
        assert (image is None) == (row["kind"] in UNDECODABLE), row
        assert (image.size if image else (None, None)) == (row["width"], row["height"]), row
        if image and not row["kind"].endswith("_inside"):
            assert image.size == (row["declared_width"], row["declared_height"])
    broken = served.truth.filter(pl.col("kind") == "broken_url")
    assert broken["width"].null_count() == broken["height"].null_count() == len(broken) == 10


def test_each_noise_is_what_its_rule_minds(served: Served) -> None:
    truth = served.truth
    sides = pl.min_horizontal("width", "height"), pl.max_horizontal("width", "height")
    declared = pl.min_horizontal("declared_width", "declared_height")
    true_rule = (
        pl.when(sides[0] <= 200)
        .then(pl.lit("min_side"))
        .when(sides[1] >= 3 * sides[0])
        .then(pl.lit("aspect"))
        .when(pl.col("width").is_null())
        .then(pl.lit("decodable"))
    )
    had = truth.filter(pl.col("kind") != "broken_url").with_columns(measured=true_rule)
    by_picture = had.filter(
        pl.col("rule").is_in(["min_side", "aspect", "decodable"]) | pl.col("measured").is_not_null()
    )
    assert by_picture["rule"].to_list() == by_picture["measured"].to_list()
    kinds = dict(had.group_by("kind").len().iter_rows())
    assert kinds["test_copy"] == 50
    assert {kinds[kind] for kind in tiny_web.PICTURE_NOISE if kind != "test_copy"} == {10}
    assert had.filter(pl.col("kind").is_in(["small_inside", "wide_inside"])).select((declared == 480).all()).item()
    large = had.filter(pl.col("kind") == "large_inside")
    assert large.select(((declared <= 200) & pl.col("rule").is_null()).all()).item()
    assert not served.file(had.filter(pl.col("kind") == "gone")["url"][0]).exists()
    assert b"<html>" in served.file(had.filter(pl.col("kind") == "web_page")["url"][0]).read_bytes()


def test_only_the_exposed_are_magenta(served: Served) -> None:
    for row in served.once.filter(pl.col("width").is_not_null()).iter_rows(named=True):
        image = decoded(served.file(row["url"]))
        assert image is not None
        far = (
            channel.point(lambda value, of=of: 255 * (abs(value - of) > 40))
            for channel, of in zip(image.split(), (255, 0, 255), strict=True)
        )
        near = Image.merge("RGB", list(far)).convert("L").histogram()[0] / (image.width * image.height)
        assert near >= 0.9 if row["kind"] == "exposed" else near < 0.05, (row, near)


def test_copies_of_evaluation_pictures_hash_like_them_and_nothing_else_does(served: Served) -> None:
    imagehash = pytest.importorskip("imagehash")
    evaluation = {path.name: imagehash.phash(decoded(path)) for path in (served.folder / "evaluation").iterdir()}
    assert len(evaluation) == 10
    sources = {json.dumps(asdict(each.scene)): Path(each.path).name for each in tiny_web.make_evaluation(IMAGES, SEED)}
    near = {True: [], False: []}
    for row in served.once.filter(pl.col("width").is_not_null()).iter_rows(named=True):
        found = imagehash.phash(decoded(served.file(row["url"])))
        if copy := row["kind"] == "test_copy":
            near[copy].append(found - evaluation[sources[row["scene"]]] <= 6)
        else:
            assert row["scene"] not in sources
            near[copy].append(min(found - each for each in evaluation.values()) <= 6)
    assert sum(near[True]) >= 0.99 * len(near[True])
    assert sum(near[False]) <= 0.01 * len(near[False])


def test_the_list_of_evaluation_pictures_is_served_with_captions_that_say_all(served: Served) -> None:
    listed = pl.read_parquet(served.folder / "evaluation.parquet")
    pictures = tiny_web.make_evaluation(IMAGES, SEED)
    assert len(listed) == len(pictures) == 10
    assert len({picture.scene for picture in tiny_web.make_evaluation(IMAGES, SEED, 300)}) == 300
    connection = connect(served.address)
    for (url, text), picture in zip(listed.select("url", "alt_text").iter_rows(), pictures, strict=True):
        assert get(connection, urlsplit(url).path) == (200, (served.folder / picture.path).read_bytes())
        scene = picture.scene
        said = (tiny_web.NUMBERS[scene.number - 1], scene.texture, scene.colour, scene.shape, scene.place, scene.ground)
        assert all(word in text for word in said), text
    connection.close()


def test_the_same_web_is_the_same_bytes_wherever_it_is_served_and_whoever_draws(served: Served, tmp_path: Path) -> None:
    def contents(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.jpg"))}

    (stale := tmp_path / "pictures" / "img1" / "scenes" / "999999.jpg").parent.mkdir(parents=True)
    stale.write_bytes(b"of an earlier web")
    make(tmp_path, "http://127.0.0.1:1/")
    first = contents(served.folder)
    assert contents(tmp_path) == first
    rows = tiny_web.make(IMAGES, SEED, RATES, served.address)
    assert [row.url for row in rows] == served.truth["url"].to_list()
    pictures = [row.picture for row in rows if row.picture and row.kind != "many_texts"][:150]
    for processes in (1, 2):
        tiny_pictures.write_pictures(pictures, tmp_path / str(processes), processes)
        drawn = contents(tmp_path / str(processes))
        assert len(drawn) > 100
        assert drawn.items() <= first.items()


@pytest.mark.parametrize("place", tiny_web.PLACES)
@pytest.mark.parametrize("number", range(1, 6))
def test_a_picture_shows_as_many_shapes_as_its_scene_says(number: int, place: str) -> None:
    random = Random(number)
    for shape in tiny_web.SHAPES:
        scene = tiny_web.Scene(number, random.choice(tiny_web.TEXTURES), "orange", shape, place, "dark")
        size = random.choice([(160, 160), (120, 220), (220, 120)])
        picture = tiny_pictures.draw(tiny_web.Picture(f"{shape}.jpg", scene, *size))
        red, _, blue = picture.split()
        bright = {
            i for i, (r, b) in enumerate(zip(red.tobytes(), blue.tobytes(), strict=True)) if r > 130 and b < r / 2
        }
        assert len(bright) > 0.01 * size[0] * size[1]
        found = sorted(pieces(bright, size[0]), reverse=True)
        assert len([each for each in found if each > found[0] / 2]) == number, (scene, found)


def pieces(pixels: set[int], width: int) -> Iterator[int]:
    """The sizes of the connected pieces of these pixels, which are emptied."""
    while pixels:
        size, queue = 0, deque([pixels.pop()])
        while queue:
            size, at = size + 1, queue.popleft()
            beside = pixels & {at - 1, at + 1, at - width, at + width}
            pixels -= beside
            queue.extend(beside)
        yield size


def test_every_picture_is_served_and_what_is_gone_is_not(served: Served) -> None:
    connection = connect(served.address)
    for url, kind in served.once.select("url", "kind").iter_rows():
        status, body = get(connection, urlsplit(url).path)
        assert status == (404 if kind == "gone" else 200), url
        assert kind == "gone" or body == served.file(url).read_bytes()
    socket = connection.sock
    url = served.once.filter(pl.col("kind") == "caption")["url"][0]
    assert get(connection, urlsplit(url).path + "?size=1", "HEAD") == (200, b"")
    assert get(connection, urlsplit(url).path.replace("/scenes", "/%73cenes"))[0] == 200
    assert connection.sock is socket  # one connection for all of them
    connection.close()


def test_nothing_else_is_served(served: Served) -> None:
    link = served.folder / "pictures" / "link"
    link.symlink_to(served.folder / "pairs.parquet")
    connection = connect(served.address)
    outside = [
        "/../pairs.parquet",
        "/%2e%2e/pairs.parquet",
        "/img1/../../pairs.parquet",
        "/evaluation/../pairs.parquet",
        "/evaluation//../evaluation.parquet",
        "/evaluation/",
        "/..%2fpairs.parquet",
        "/link",
    ]
    absolute = str(served.folder / "pairs.parquet")
    for path in [
        *outside,
        absolute,
        f"/{absolute}",
        "/",
        "/img1",
        "/img1/scenes/",
        "/%00",
        "/" + 300 * "a",
        "//[",
        "/%ff",
    ]:
        assert get(connection, path)[0] == 404, path
    assert get(connection, "/", "POST")[0] == 501
    connection.close()
    link.unlink()


def test_after_its_block_a_server_is_gone_also_for_those_connected(tmp_path: Path) -> None:
    with serve(tmp_path) as address:
        connection = connect(address)
        assert get(connection, "/1.jpg")[0] == 404
        (tmp_path / "pictures").mkdir()
        (tmp_path / "pictures" / "1.jpg").write_bytes(b"1")
        assert get(connection, "/1.jpg") == (200, b"1")
    with pytest.raises((ConnectionError, RemoteDisconnected)):
        get(connection, "/1.jpg")
    connection.close()
    with pytest.raises(ConnectionRefusedError):
        get(connect(address), "/1.jpg")


def test_the_server_as_a_command_says_where_it_is_and_ends(tmp_path: Path) -> None:
    ended = script("tiny_server.py", str(tmp_path), "--port", "0", "--seconds", "0.1")
    assert ended.returncode == 0
    assert ended.stdout.startswith(f"serving {tmp_path} on http://127.0.0.1:")
    assert ended.stderr == ""
    with serve(tmp_path) as address:
        refused = script("tiny_server.py", str(tmp_path), "--port", address.rpartition(":")[2])
    assert refused.returncode == 2
    assert "cannot listen on port" in refused.stderr


def test_noise_in_pictures_needs_pictures(tmp_path: Path) -> None:
    refused = script("tiny_web.py", "--out", str(tmp_path / "web"), "--rate", "gone=0.1")
    assert refused.returncode == 2
    assert "gone: noise in pictures, so it needs --pictures" in refused.stderr
    assert not (tmp_path / "web").exists()
