"""Write a small web of pictures that nobody here drew: emoji of three designers, under their own words, with noise.

    python examples/emoji_web.py --out web --images 6000 --pictures http://127.0.0.1:8808

writes what tiny_web.py writes, for the same server: web/pairs.parquet and web/_truth.parquet, web/pictures, and the
evaluation pictures in web/evaluation. Pictures and words are those of four packages, which npm fetches into
web/packages, 150 MB; `emoji_packages.py` names their licences, which are those of the pictures that are written. What
is made here is where an emoji lies on which ground, how large the picture is, and the noise: SHARES of the images, by
what was counted in the alt-texts of the web, and some that nobody has counted.

Two things are held out of the list: one designer (--held-out), and a tenth of the emoji. web/evaluation.parquet has the
held-out designer's pictures of emoji that the list has, web/evaluation_emoji.parquet other designers' pictures of emoji
that it has not.

    python examples/emoji_web.py --out web --languages all

gives half of the captions in English, and the others in nine languages more.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from emoji_packages import Emoji
    from PIL.Image import Image

COUNTED = {"file_name": 0.092, "one_token": 0.066, "slug": 0.043, "digits": 0.020, "entity": 0.019, "url": 0.001}
"""Shares of 35,643 alt-texts of the web of 2024 that were counted to be so."""
CHOSEN = {"other_caption": 0.10, "boilerplate": 0.08, "thumbnail": 0.06, "banner": 0.05}
"""Shares that nobody has counted: as the tiny web has them, and a tenth of captions that belong to another picture."""
SHARES = COUNTED | CHOSEN
RULES = {
    "file_name": "rarest_ngram",
    "one_token": "rarest_ngram",
    "slug": "n_words",
    "digits": "rarest_ngram",
    "url": "rarest_ngram",
    "boilerplate": "images_per_text",
    "thumbnail": "min_side",
    "banner": "aspect",
}
"""The rule of `align` that should catch each noise: none knows of entities, or of what a picture shows."""
FORMS = ("{name}", "{name}, {first}, {second}", "{name} – {first}, {second}", "{name} ({first}, {second})")
"""Of captions; the first is shorter than three words for many emoji, and true."""
TEXTS = {
    "file_name": ("IMG_{number}.jpg", "DSC{number}.JPG", "image {number}.png", "Screenshot_{number}.jpeg"),
    "one_token": ("{snake}_{number}_x", "{snake}.{number}.large"),
    "slug": ("{slug}-emoji", "{slug}-icon-free"),
    "digits": ("{date} 10.{number}", "{number} 2 of 40"),
    "url": ("https://shop{number}.example/{slug}?id={number}",),
    "boilerplate": (
        "1920x1080",
        "alt img",
        "click to enlarge",
        "image not available at the moment",
        "icon",
        "More ...",
    ),
}
"""What is said of a picture that its kind of noise has no words for."""
ADDRESS = "https://pictures.emoji.example"
CELLS = 9
"""Cells a side of the pattern in a ground: as fine as what a pHash sees, so that no two hash alike."""


@dataclass(frozen=True)
class Picture:
    """One file: its path below the web's folder, and what it shows."""

    path: str
    emoji: Emoji
    designer: str
    width: int
    height: int


@dataclass(frozen=True)
class Row:
    """One row of the list, and the truth about it."""

    text: str
    language: str
    kind: str
    picture: Picture


class EmojiWeb:
    """Makes rows from a seed, about emoji that designers drew."""

    def __init__(self, seed: int, emoji: Sequence[Emoji], designers: Sequence[str], languages: Sequence[str]) -> None:
        self._random = Random(f"{seed} rows")
        self._emoji, self._designers = emoji, designers
        self._languages = languages
        # English is half of the web's text, as far as that is known.
        self._weights = [max(1, len(languages) - 1), *[1] * (len(languages) - 1)]
        self.rows: list[Row] = []

    def add(self, kind: str) -> None:
        """Add an image of a kind, and its text."""
        emoji = self._random.choice(self._emoji)
        language = self._random.choices(self._languages, self._weights)[0]
        other = self._random.choice([one for one in self._emoji if one is not emoji])
        text = self._text(kind, other if kind == "other_caption" else emoji, language)
        path = f"pictures/img{self._random.randint(1, 40)}/emoji/{len(self.rows):06d}.jpg"
        picture = Picture(path, emoji, self._random.choice(self._designers), *self._size(kind))
        self.rows.append(Row(text, language, kind, picture))

    def _text(self, kind: str, emoji: Emoji, language: str) -> str:
        if kind == "entity":
            return f"{emoji.names[language]} &amp; {emoji.keywords[language][0]}"
        if kind not in TEXTS:
            return caption(emoji, language, self._random.choice(FORMS))
        number, words = self._random.randrange(10**8), re.findall("[a-z]+", emoji.names["en"].lower())
        date = f"20{number % 25:02d}-{number % 12 + 1:02d}-{number % 28 + 1:02d}"
        texts = {"number": number, "date": date, "snake": "_".join(words), "slug": "-".join(words)}
        return self._random.choice(TEXTS[kind]).format_map(texts)

    def _size(self, kind: str) -> tuple[int, int]:
        """Return a size that no rule minds, or of a thumbnail or a banner: one that a rule does."""
        side = self._random.randint(210, 420)
        if kind == "thumbnail":
            side = self._random.choice((48, 64, 100, 150, 199, 200))
        width, height = side, round(side * self._random.uniform(1, 1.6))
        if kind == "banner":
            height = round(side * self._random.choice((3, 3.2, 3.5)))
        return (width, height) if self._random.random() < 0.5 else (height, width)

    def shuffled(self) -> list[Row]:
        """Return all rows in a random order."""
        return self._random.sample(self.rows, len(self.rows))


def caption(emoji: Emoji, language: str, form: str) -> str:
    """Say what an emoji is by its own name and keywords."""
    first, second = emoji.keywords[language][:2]
    return form.format(name=emoji.names[language], first=first, second=second)


def split(emoji: Sequence[Emoji], number: int | None, seed: int) -> tuple[list[Emoji], list[Emoji]]:
    """Return emoji for the list, and a tenth that is held out; of so many in all, or of all there are."""
    chosen = Random(f"{seed} emoji").sample(list(emoji), min(number or len(emoji), len(emoji)))
    held_out = max(1, len(chosen) // 10)
    return chosen[held_out:], chosen[:held_out]


def make(
    images: int, seed: int, shares: Mapping[str, float], emoji: Sequence[Emoji], designers: Sequence[str],
    languages: Sequence[str],
) -> list[Row]:  # fmt: skip
    """Return the rows of a web of so many images; what is no noise has a true caption."""
    web = EmojiWeb(seed, emoji, designers, languages)
    for kind, share in shares.items():
        for _ in range(round(images * share)):
            web.add(kind)
    while len(web.rows) < images:
        web.add("caption")
    return web.shuffled()


def make_evaluation(
    name: str, seed: int, emoji: Sequence[Emoji], designers: Sequence[str], languages: Sequence[str]
) -> list[Row]:
    """Return one picture of each emoji, with a caption that has its name and keywords; languages in turn."""
    random = Random(f"{seed} {name}")
    rows = []
    for number, one in enumerate(emoji):
        size = (random.randint(230, 420), random.randint(230, 420))
        picture = Picture(f"evaluation/{name}_{number:04d}.jpg", one, random.choice(designers), *size)
        language = languages[number % len(languages)]
        rows.append(Row(caption(one, language, FORMS[1]), language, "evaluation", picture))
    return rows


def draw(picture: Picture, sprite: Image) -> bytes:
    """Return the JPEG of an emoji somewhere on a ground; a path is drawn to the same bytes always."""
    from PIL import Image as images  # noqa: N813, PLC0415  the list alone does without

    random = Random(f"{picture.path} {picture.emoji.code}")
    base = [random.randint(90, 230) for _ in range(3)]
    cells = bytes(
        min(255, max(0, channel + by)) for by in random.choices(range(-20, 21), k=CELLS * CELLS) for channel in base
    )
    size = picture.width, picture.height
    ground = images.frombytes("RGB", (CELLS, CELLS), cells).resize(size, images.Resampling.BILINEAR)
    side = max(8, round(min(size) * random.uniform(0.55, 0.95)))
    placed = sprite.resize((side, side), images.Resampling.BICUBIC)
    corner = (random.randint(0, picture.width - side), random.randint(0, picture.height - side))
    ground.paste(placed, corner, placed)
    file = BytesIO()
    ground.save(file, "JPEG", quality=85)
    return file.getvalue()


def write_pictures(rows: Sequence[Row], sprites: Mapping[tuple[str, str], Image], out: Path) -> None:
    """Draw every row's picture, in place of those of an earlier web."""
    for earlier in (*out.glob("pictures/img*/emoji/*.jpg"), *out.glob("evaluation/*_[0-9]*.jpg")):
        earlier.unlink()
    for row in rows:
        path = out / row.picture.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw(row.picture, sprites[row.picture.designer, row.picture.emoji.code]))


def write_lists(rows: Sequence[Row], evaluation: Mapping[str, Sequence[Row]], served_at: str, out: Path) -> None:
    """Write the list, the truth beside it, and the lists of evaluation pictures by their names."""
    out.mkdir(parents=True, exist_ok=True)
    listed = _listed(rows, served_at).with_columns(
        width=pl.Series([row.picture.width for row in rows]),
        height=pl.Series([row.picture.height for row in rows]),
    )
    listed.write_parquet(out / "pairs.parquet")
    truth: dict[str, list[str | None]] = {
        "kind": [row.kind for row in rows],
        "rule": [RULES.get(row.kind) for row in rows],
        "language": [row.language for row in rows],
        "emoji": [row.picture.emoji.code for row in rows],
        "designer": [row.picture.designer for row in rows],
    }
    columns = [pl.Series(name, values, pl.String) for name, values in truth.items()]
    listed.with_columns(columns).write_parquet(out / "_truth.parquet")
    for name, held_out in evaluation.items():
        languages = pl.Series([row.language for row in held_out], dtype=pl.String)
        _listed(held_out, served_at).with_columns(language=languages).write_parquet(out / f"{name}.parquet")


def _listed(rows: Sequence[Row], served_at: str) -> pl.DataFrame:
    urls = [f"{served_at}/{row.picture.path.removeprefix('pictures/')}" for row in rows]
    return pl.DataFrame({"url": urls, "alt_text": [row.text for row in rows]}, schema=dict.fromkeys(
        ("url", "alt_text"), pl.String))  # fmt: skip


def _share(text: str) -> tuple[str, float]:
    kind, _, share = text.partition("=")
    if kind not in SHARES or not 0 <= float(share) <= 1:
        raise argparse.ArgumentTypeError(f"{text}: one of {', '.join(SHARES)}, '=' and a share from 0 to 1")
    return kind, float(share)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--images", type=int, default=6000, help="how many images (default 6000)")
    parser.add_argument("--emoji", type=int, help="of how many emoji, those held out among them (default all)")
    parser.add_argument("--seed", type=int, default=7, help="the same seed gives the same web (default 7)")
    parser.add_argument("--rate", type=_share, action="append", default=[], help="a noise's share, as slug=0.1")
    parser.add_argument("--languages", choices=("en", "all"), default="en", help="of the captions (default en)")
    parser.add_argument(
        "--held-out", choices=("google", "twitter", "openmoji"), default="twitter",
        help="the designer that only the evaluation has (default twitter)",
    )  # fmt: skip
    parser.add_argument("--pictures", metavar="BASE", help="also draw the pictures, for a server at this address")
    parser.add_argument("--packages", type=Path, help="where npm's archives lie, or will (default OUT/packages)")
    options = parser.parse_args()
    options.shares = SHARES | dict(options.rate)
    for module, called in (("PIL", "pillow"), ("vl_convert", "vl-convert-python")):
        if find_spec(module) is None:
            parser.error(f"emoji are cut and drawn by {called}: pip install {called}")
    from emoji_packages import FEWEST  # noqa: PLC0415  it imports these

    if options.images < 1:
        parser.error(f"--images {options.images}: at least 1")
    if options.emoji is not None and options.emoji < FEWEST:
        parser.error(f"--emoji {options.emoji}: at least {FEWEST}, of which a tenth is held out")
    if (total := sum(options.shares.values())) > 1:
        parser.error(f"the rates add up to {total:.2f}, more than 1")
    return options


def main() -> None:
    """Read the options and write the web."""
    options = _options()
    from emoji_packages import DESIGNERS, LANGUAGES, PackageError, read_emoji, read_sprites, take  # noqa: PLC0415

    folder = options.packages or options.out / "packages"
    languages = LANGUAGES if options.languages == "all" else LANGUAGES[:1]
    try:
        take(folder)
        emoji, unseen = split(read_emoji(folder), options.emoji, options.seed)
        sprites = read_sprites(folder, [*emoji, *unseen]) if options.pictures else {}
        shown = [designer for designer in DESIGNERS if designer != options.held_out]
        rows = make(options.images, options.seed, options.shares, emoji, shown, languages)
        evaluation = {
            "evaluation": make_evaluation("designer", options.seed, emoji, [options.held_out], languages),
            "evaluation_emoji": make_evaluation("emoji", options.seed, unseen, shown, languages),
        }
        write_lists(rows, evaluation, (options.pictures or ADDRESS).rstrip("/"), options.out)
        print(f"{len(rows):,} rows about {len(emoji):,} emoji in {options.out / 'pairs.parquet'}")
        if options.pictures:
            held_out = [row for rows in evaluation.values() for row in rows]
            write_pictures([*rows, *held_out], sprites, options.out)
            others = options.out / "evaluation"
            print(f"their pictures in {options.out / 'pictures'}, {len(held_out)} others in {others}")
    except PackageError as error:
        sys.exit(f"Error: {error}")
    except OSError as error:
        sys.exit(f"Error: cannot write {error.filename}: {error.strerror}; --out and --packages are folders to write")


if __name__ == "__main__":
    main()
