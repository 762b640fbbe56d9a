"""Write a small web of our own making: scenes with true captions, and every noise that the rules exist for.

    python examples/tiny_web.py --out web --images 5000 --seed 7 --rate boilerplate=0.10

writes web/pairs.parquet, a list as a crawl gives it, and web/_truth.parquet, which says of every row what it was made
as: its kind (`caption` or a noise), the rule that should catch it, and the scene. The pipeline never reads the truth.

    python examples/tiny_web.py --out web --images 2000 --pictures http://127.0.0.1:8808

also draws the pictures, into web/pictures, for `python examples/tiny_server.py web` to serve at the addresses in the
list, and evaluation pictures into web/evaluation, of scenes that no caption of the web is about; the list of these,
each with a flawless caption, is web/evaluation.parquet. Then there are also the noises that only a picture can have,
and the truth says how large each picture truly is.

    python examples/tiny_web.py --out web --images 2000 --archives

also puts the images on pages, and the pages in archives as a crawl of the web has them: web/warc and web/wat.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from random import Random

import polars as pl

COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "black", "white")
TEXTURES = ("plain", "striped", "dotted", "checked", "wavy")
SHAPES = ("circle", "square", "triangle", "star", "ring", "cross")
NUMBERS = ("one", "two", "three", "four", "five")
PLACES = ("in a row", "in a column", "in a circle", "on a diagonal", "all over the picture")
GROUNDS = ("grey", "pink", "brown", "light", "dark")


@dataclass(frozen=True)
class Scene:
    """What a picture shows: some equal shapes in an arrangement on a ground."""

    number: int
    texture: str
    colour: str
    shape: str
    place: str
    ground: str

    @property
    def things(self) -> str:
        """The shapes in words, with their adjectives."""
        plural = "" if self.number == 1 else "es" if self.shape == "cross" else "s"
        return f"{self.texture} {self.colour} {self.shape}{plural}"


@dataclass(frozen=True)
class Picture:
    """One file: its path below the web's folder, what it shows, and how it is spoilt, if it is."""

    path: str
    scene: Scene
    width: int
    height: int
    kind: str = "caption"
    source: Picture | None = None
    """The evaluation picture that it is a copy of."""

    @property
    def decodable(self) -> bool:
        """Whether there is a picture at all."""
        return self.kind not in ("gone", "cut_off", "web_page")


CAPTIONS = (
    "{count} {things} {place} on a {ground} background",
    "a picture of {count} {things} on a {ground} background",
    "there are {count} {things} {place}",
    "A drawing that shows {count} {things} {place}.",
    "{things} {place} on a {ground} background",
    "Simple graphic: {count} {things} on a {ground} background",
    "we see {count} {things} arranged {place}",
    "{count} {things}, {place}, on a {ground} background",
)

NOISE = {
    "boilerplate": 0.08,
    "file_name": 0.05,
    "short": 0.06,
    "stuffed": 0.04,
    "random_tokens": 0.05,
    "thumbnail": 0.06,
    "banner": 0.05,
    "other_language": 0.04,
    "duplicate": 0.03,
    "broken_url": 0.02,
}
"""Share of the images that are made so, unless a rate is given."""
PICTURE_NOISE = dict.fromkeys(
    ("gone", "cut_off", "web_page", "small_inside", "wide_inside", "large_inside", "exposed", "test_copy"), 0.02
)
"""The same for noise in the pictures alone, under flawless captions."""
MOST_SCENES = 10_000
"""Of evaluation: a third of all there are."""
MANY_TEXTS = 1_050
"""Texts of the one image that has very many."""

RULES = {
    "boilerplate": "images_per_text",
    "file_name": "rarest_ngram",
    "short": "n_words",
    "stuffed": "n_words",
    "random_tokens": "rarest_ngram",
    "thumbnail": "min_side",
    "banner": "aspect",
    "many_texts": "texts_per_image",
    "other_language": "language",
    "gone": "decodable",
    "cut_off": "decodable",
    "web_page": "decodable",
    "small_inside": "min_side",
    "wide_inside": "aspect",
    "exposed": "nsfw",
    "test_copy": "eval_distance",
}
"""The rule that should catch each noise; none is to catch a picture that only its declared size speaks against."""

_BOILERPLATE = (
    "1920x1080",
    "alt img",
    "Brightly & Sons, your shop for shapes",
    "click to enlarge picture",
    "image not available at the moment",
    "please enable JavaScript to see this picture",
)
_ADDRESS = "https://{}.tiny.example/{}.png"
_KEYWORDS = ("buy", "cheap", "best", "sale", "online", "shop", "free", "shipping", "new", "hot", "deal", "price", "top")
_LANGUAGES: dict[str, Callable[[Scene], str]] = {
    "de": lambda s: f"Ein Bild mit {_word('zwei drei vier fünf sechs', s.number)} Formen auf dunklem Hintergrund",
    "fr": lambda s: f"Une image avec {_word('deux trois quatre cinq six', s.number)} formes sur un fond clair",
    "ru": lambda s: f"На картинке {_word('две три четыре пять шесть', s.number)} фигуры на светлом фоне",
    "zh": lambda s: f"图片上有{_word('二 三 四 五 六', s.number)}个形状在灰色的背景上",
}


def _word(words: str, number: int) -> str:
    return words.split()[number - 1]


@dataclass
class Row:
    """One row of the list, and the truth about it."""

    url: str
    text: str
    width: int
    height: int
    kind: str
    rule: str | None
    scene: Scene
    picture: Picture | None
    """What lies at the URL; None where that is broken."""


def _scene(random: Random) -> Scene:
    return Scene(random.randint(1, 5), *map(random.choice, (TEXTURES, COLOURS, SHAPES, PLACES, GROUNDS)))


def describe(scene: Scene, form: str) -> str:
    """Return what a scene shows, in one of the forms of captions."""
    return form.format(count=NUMBERS[scene.number - 1], things=scene.things, place=scene.place, ground=scene.ground)


def make_evaluation(images: int, seed: int, number: int | None = None) -> list[Picture]:
    """Return the evaluation pictures for a web of so many images, a hundredth unless given, of scenes all different."""
    random = Random(f"{seed} evaluation")
    scenes: dict[Scene, None] = {}  # a set that keeps its order
    while len(scenes) < (number or min(max(10, images // 100), 1_000)):
        scenes[_scene(random)] = None
    sizes = [(random.randint(320, 800), random.randint(320, 800)) for _ in scenes]
    return [
        Picture(f"evaluation/{i:06d}.jpg", scene, *size, "evaluation")
        for i, (scene, size) in enumerate(zip(scenes, sizes, strict=True))
    ]


class Web:
    """Makes rows from a seed; with an address where the pictures will be served, for a web with pictures."""

    def __init__(self, seed: int, served_at: str | None = None, evaluation: Sequence[Picture] = ()) -> None:
        self._random = Random(seed)
        self._served_at = served_at
        self._evaluation = evaluation
        self._held_out = {picture.scene for picture in evaluation}
        self.rows: list[Row] = []

    def scene(self) -> Scene:
        """Draw a scene that no evaluation picture shows."""
        while (scene := _scene(self._random)) in self._held_out:
            pass
        return scene

    def caption(self, scene: Scene) -> str:
        """Describe a scene truly, in one of many forms."""
        return describe(scene, self._random.choice(CAPTIONS))

    def add(
        self,
        kind: str,
        text: str,
        scene: Scene,
        width: int = 0,
        height: int = 0,
        *,
        url: str | None = None,
        path: str | None = None,
        inside: tuple[int, int] | None = None,
        source: Picture | None = None,
    ) -> None:
        """Add a row; without a size it gets one that no rule minds, and the picture has that unless it has another."""
        if not width:
            width, height = self._size()
        picture = None
        if url is None:
            path = path or f"img{self._random.randint(1, 40)}/scenes/{len(self.rows):06d}"
            picture = Picture(f"pictures/{path}.jpg", scene, *(inside or (width, height)), kind, source)
            url = f"{self._served_at}/{path}.jpg" if self._served_at else _ADDRESS.format(*path.split("/", 1))
        self.rows.append(Row(url, text, width, height, kind, RULES.get(kind), scene, picture))

    def _size(self) -> tuple[int, int]:
        width, height = (self._random.randint(201, 900) for _ in range(2))
        return min(width, 3 * height - 1), min(height, 3 * width - 1)

    def add_image(self, kind: str) -> None:
        """Add one image of a kind."""
        scene = self.scene()
        getattr(self, f"_{kind}")(scene)

    def _caption(self, scene: Scene) -> None:
        self.add("caption", self.caption(scene), scene)

    def _boilerplate(self, scene: Scene) -> None:
        self.add("boilerplate", self._random.choice(_BOILERPLATE), scene)

    def _file_name(self, scene: Scene) -> None:
        day, number = self._random.randint(1, 10**6), self._random.randint(1, 10**8)
        self.add("file_name", self._random.choice(("IMG_{}_{}.jpg", "dsc {} {}.jpeg")).format(day, number), scene)

    def _short(self, scene: Scene) -> None:
        self.add("short", self._random.choice((scene.shape, f"{scene.colour} {scene.shape}", "")), scene)

    def _stuffed(self, scene: Scene) -> None:
        words = (*self._random.choices(_KEYWORDS, k=self._random.randint(18, 60)), scene.colour, scene.shape, "picture")
        self.add("stuffed", " ".join(words), scene)

    def _random_tokens(self, scene: Scene) -> None:
        letters = "abcdefghijklmnopqrstuvwxyz0123456789"
        tokens = ("".join(self._random.choices(letters, k=self._random.randint(6, 12))) for _ in range(5))
        self.add("random_tokens", " ".join(tokens), scene)

    def _thumbnail(self, scene: Scene) -> None:
        side = self._random.choice((32, 64, 100, 150, 199, 200))
        width, height = self._random.sample((side, min(side * 2, 300)), 2)
        self.add("thumbnail", self.caption(scene), scene, width, height)

    def _banner(self, scene: Scene) -> None:
        side = self._random.choice((201, 240, 300))
        width, height = self._random.sample((side, round(side * self._random.choice((3, 3.5, 6)))), 2)
        self.add("banner", self.caption(scene), scene, width, height)

    def _other_language(self, scene: Scene) -> None:
        self.add("other_language", self._random.choice(tuple(_LANGUAGES.values()))(scene), scene)

    def _duplicate(self, scene: Scene) -> None:
        self.add("caption", self.caption(scene), scene)
        again = replace(self.rows[-1], kind="duplicate")
        self.rows.extend(again for _ in range(self._random.randint(1, 3)))

    def _broken_url(self, scene: Scene) -> None:
        broken = ("", "/scenes/1.png", "data:image/png;base64,iVBORw0KGgo=", "ftp://tiny.example/1.png", "javascript:0")
        self.add("broken_url", self.caption(scene), scene, url=self._random.choice(broken))

    def _gone(self, scene: Scene) -> None:
        self.add("gone", self.caption(scene), scene)

    def _cut_off(self, scene: Scene) -> None:
        self.add("cut_off", self.caption(scene), scene)

    def _web_page(self, scene: Scene) -> None:
        self.add("web_page", self.caption(scene), scene)

    def _exposed(self, scene: Scene) -> None:
        self.add("exposed", self.caption(scene), scene)

    def _small_inside(self, scene: Scene) -> None:
        side = self._random.choice((48, 100, 150, 199, 200))
        width, height = self._random.sample((side, round(side * self._random.uniform(1, 2))), 2)
        self.add("small_inside", self.caption(scene), scene, 640, 480, inside=(width, height))

    def _wide_inside(self, scene: Scene) -> None:
        side = self._random.choice((201, 240, 300))
        width, height = self._random.sample((side, round(side * self._random.choice((3, 3.5, 4.5)))), 2)
        self.add("wide_inside", self.caption(scene), scene, 640, 480, inside=(width, height))

    def _large_inside(self, scene: Scene) -> None:
        width, height = self._random.choice(((100, 80), (64, 64), (150, 200)))
        self.add("large_inside", self.caption(scene), scene, width, height, inside=self._size())

    def _test_copy(self, _: Scene) -> None:
        source, scale = self._random.choice(self._evaluation), self._random.uniform(0.7, 1.3)
        size = (round(scale * source.width), round(scale * source.height))
        self.add("test_copy", self.caption(source.scene), source.scene, *size, source=source)

    def add_many_texts(self) -> None:
        """Add the one image that very many texts point to."""
        scene = self.scene()
        texts: dict[str, None] = {}  # a set that keeps its order
        while len(texts) < MANY_TEXTS:
            texts[self.caption(self.scene())] = None  # captions of other scenes: only their number tells
        for text in texts:
            self.add("many_texts", text, scene, 640, 480, path="img1/scenes/popular")

    def shuffled(self) -> list[Row]:
        """Return all rows in a random order."""
        return self._random.sample(self.rows, len(self.rows))


def make(
    images: int, seed: int, rates: dict[str, float], served_at: str | None = None, evaluation: int | None = None
) -> list[Row]:
    """Return the rows of a web of so many images; the noise in pictures is for where they will be served."""
    web = Web(seed, served_at, make_evaluation(images, seed, evaluation) if served_at else ())
    for kind, rate in rates.items():
        for _ in range(round(images * rate)):
            web.add_image(kind)
    for _ in range(images - sum(round(images * rate) for rate in rates.values()) - 1):
        web.add_image("caption")
    web.add_many_texts()
    return web.shuffled()


def write(rows: list[Row], out: Path, sizes: bool = False) -> None:
    """Write the list, and the truth beside it, with the pictures' true sizes if there are any."""
    out.mkdir(parents=True, exist_ok=True)
    listed = pl.DataFrame(
        {
            "url": [row.url for row in rows],
            "alt_text": [row.text for row in rows],
            "width": [row.width for row in rows],
            "height": [row.height for row in rows],
        }
    )
    truth = listed.select("url", "alt_text").with_columns(
        kind=pl.Series([row.kind for row in rows]),
        rule=pl.Series([row.rule for row in rows], dtype=pl.String),
        scene=pl.Series([json.dumps(asdict(row.scene)) for row in rows]),
    )
    if sizes:
        pictures = [row.picture if row.picture and row.picture.decodable else None for row in rows]
        truth = truth.with_columns(
            width=pl.Series([picture and picture.width for picture in pictures], dtype=pl.Int64),
            height=pl.Series([picture and picture.height for picture in pictures], dtype=pl.Int64),
        )
    listed.write_parquet(out / "pairs.parquet")
    truth.write_parquet(out / "_truth.parquet")


def write_evaluation(pictures: Sequence[Picture], seed: int, served_at: str, out: Path) -> None:
    """Write the list of the evaluation pictures, each with a caption that says all that its scene is."""
    random = Random(f"{seed} captions")
    whole = [form for form in CAPTIONS if all(f"{{{word}}}" in form for word in ("count", "place", "ground"))]
    texts = [describe(picture.scene, random.choice(whole)) for picture in pictures]
    urls = [f"{served_at}/{picture.path}" for picture in pictures]
    pl.DataFrame({"url": urls, "alt_text": texts}).write_parquet(out / "evaluation.parquet")


def write_all_pictures(rows: list[Row], evaluation: list[Picture], out: Path) -> None:
    """Draw every picture of the rows, and the evaluation pictures, in place of those of an earlier web."""
    for earlier in (*out.glob("pictures/img*/scenes/*.jpg"), *out.glob("evaluation/[0-9]*.jpg")):
        earlier.unlink()
    from tiny_pictures import write_pictures  # noqa: PLC0415  needs Pillow, which the list alone does without

    once = {row.picture.path: row.picture for row in rows if row.picture}
    write_pictures([*once.values(), *evaluation], out)


def _rate(text: str) -> tuple[str, float]:
    kind, _, rate = text.partition("=")
    if kind not in NOISE | PICTURE_NOISE or not 0 <= float(rate) <= 1:
        kinds = ", ".join(NOISE | PICTURE_NOISE)
        raise argparse.ArgumentTypeError(f"{text}: one of {kinds}, '=' and a share from 0 to 1")
    return kind, float(rate)


def main() -> None:
    """Read the options and write the web."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--images", type=int, default=5000, help="how many images (default 5000)")
    parser.add_argument("--seed", type=int, default=7, help="the same seed gives the same web (default 7)")
    parser.add_argument("--rate", type=_rate, action="append", default=[], help="a noise's share, as boilerplate=0.1")
    parser.add_argument("--pictures", metavar="BASE", help="also draw the pictures, for a server at this address")
    parser.add_argument("--evaluation", type=int, help="how many evaluation pictures (default a hundredth of --images)")
    parser.add_argument("--archives", action="store_true", help="also put the images on pages in WARC and WAT files")
    options = parser.parse_args()
    rates = NOISE | (PICTURE_NOISE if options.pictures else {}) | dict(options.rate)
    if not options.pictures and (unseen := rates.keys() & PICTURE_NOISE.keys()):
        parser.error(f"{', '.join(sorted(unseen))}: noise in pictures, so it needs --pictures")
    if options.pictures and find_spec("PIL") is None:
        parser.error("--pictures needs Pillow: pip install pillow")
    if sum(rates.values()) > 1:
        parser.error(f"the rates add up to {sum(rates.values()):.2f}, more than 1")
    if options.evaluation is not None and not 1 <= options.evaluation <= MOST_SCENES:
        parser.error(
            f"--evaluation {options.evaluation}: from 1 to {MOST_SCENES:,}, or the web would have no scene left"
        )
    served_at = options.pictures and options.pictures.rstrip("/")
    rows = make(options.images, options.seed, rates, served_at, options.evaluation)
    write(rows, options.out, sizes=bool(served_at))
    print(f"{len(rows):,} rows about {options.images:,} images in {options.out / 'pairs.parquet'}")
    if options.archives:
        from tiny_crawl import write_archives  # noqa: PLC0415  archives are for those who ask

        pages, archives = write_archives(rows, options.seed, served_at, options.out)
        folders = f"{options.out / 'warc'}, and their WATs in {options.out / 'wat'}"
        print(f"{pages:,} pages with them in {archives} archives in {folders}")
    if served_at:
        evaluation = make_evaluation(options.images, options.seed, options.evaluation)
        write_evaluation(evaluation, options.seed, served_at, options.out)
        write_all_pictures(rows, evaluation, options.out)
        print(f"their pictures in {options.out / 'pictures'}, {len(evaluation)} others in {options.out / 'evaluation'}")


if __name__ == "__main__":
    main()
