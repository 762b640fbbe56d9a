"""The emoji web, from made-up packages of the same shape: the truth is true of the list and of the pictures."""

from __future__ import annotations

import contextlib
import gzip
import html
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("vl_convert")
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
sys.path.insert(0, str(EXAMPLES))
import emoji_packages as packages  # noqa: E402
import emoji_web  # noqa: E402

NUMBER = 40
"""Emoji that all have, of the made-up packages."""
CODES = [f"1F6{number:02X}" for number in range(NUMBER)]
COLOURS = {code: (number * 6, 255 - number * 6, (number * 83) % 256) for number, code in enumerate(CODES)}
BASE = "http://127.0.0.1:9"


def listed() -> list[dict[str, object]]:
    """Return emoji.json: what all drew, one with a variation selector, and three that somebody lacks."""
    rows = [
        {
            "unified": code,
            "sheet_x": number % 8,
            "sheet_y": number // 8,
            "has_img_google": True,
            "has_img_twitter": True,
        }
        for number, code in enumerate(CODES)
    ]
    rows[0]["unified"] = f"{CODES[0]}-FE0F"
    undrawn = dict(rows[1], unified="1F900", has_img_twitter=False)
    return [*rows, undrawn, dict(rows[1], unified="1F901"), dict(rows[1], unified="1F902")]


def annotations(language: str) -> dict[str, object]:
    """Return one language's words; 1F902 has too few keywords in one language."""
    found = {}
    for code in (*CODES, "1F900", "1F901", "1F902"):
        name = f"{language} thing {code.lower()}"
        few = code == "1F902" and language == "th"
        found[chr(int(code, 16))] = {
            "tts": [name],
            "default": [name, "one"] if few else ["one", name, f"two {language}"],
        }
    return {"annotations": {"annotations": found}}


def sheet() -> bytes:
    """Return sprites, each of one colour, with a margin of another."""
    image = Image.new("RGBA", (8 * 66, 5 * 66), "white")
    for number, code in enumerate(CODES):
        left, top = 66 * (number % 8) + 1, 66 * (number // 8) + 1
        image.paste(COLOURS[code], (left, top, left + 64, top + 64))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def svg(code: str) -> bytes:
    colour = "#{:02x}{:02x}{:02x}".format(*COLOURS.get(code, (0, 0, 0)))
    return f'<svg viewBox="0 0 72 72" xmlns="http://www.w3.org/2000/svg"><rect width="72" height="72" fill="{colour}"/></svg>'.encode()


def content() -> dict[packages.NpmPackage, dict[str, bytes]]:
    """Return the files of the four packages."""
    pages = {f"annotations/{language}/annotations.json": annotations(language) for language in packages.LANGUAGES}
    drawn = [*CODES, "1F900", "1F902"]
    return {
        packages.GOOGLE: {"emoji.json": json.dumps(listed()).encode(), "img/google/sheets/64.png": sheet()},
        packages.TWITTER: {"img/twitter/sheets/64.png": sheet()},
        packages.OPENMOJI: {f"color/svg/{code}.svg": svg(code) for code in drawn},
        packages.CLDR: {path: json.dumps(page).encode() for path, page in pages.items()},
    }


def pack(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def pack_all(folder: Path, files: dict[packages.NpmPackage, dict[str, bytes]]) -> Path:
    folder.mkdir(exist_ok=True)
    for package, of in files.items():
        pack(folder / package.archive, {f"package/{name}": data for name, data in of.items()})
    return folder


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_all(tmp_path_factory.mktemp("packages"), content())


@dataclass(frozen=True)
class Ended:
    """How the script ended in this process."""

    returncode: int
    stderr: str


def script(out: Path, archives: Path, *arguments: str) -> Ended:
    options = ["--out", str(out), "--packages", str(archives), *arguments]
    error = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stderr(error),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        patch.setattr(sys, "argv", ["emoji_web.py", *options])
        try:
            emoji_web.main()
        except SystemExit as end:  # what the interpreter makes of it
            said = isinstance(end.code, str)
            return Ended(1 if said else end.code or 0, f"{error.getvalue()}{end.code if said else ''}")
    return Ended(0, error.getvalue())


def make(out: Path, archives: Path, *arguments: str) -> pl.DataFrame:
    made = script(out, archives, *arguments)
    assert made.returncode == 0, made.stderr
    return pl.read_parquet(out / "_truth.parquet")


def test_only_what_all_drew_and_all_languages_name_is_taken(archives: Path) -> None:
    found = packages.read_emoji(archives)
    assert [emoji.code for emoji in found] == CODES
    assert found[1].names["ja"] == "ja thing 1f601"
    assert found[1].keywords["ja"] == ("one", "two ja")  # without the name


def test_a_sprite_is_cut_without_its_margin(archives: Path) -> None:
    emoji = packages.read_emoji(archives)
    sprites = packages.read_sprites(archives, emoji)
    assert sprites.keys() == {(designer, code) for designer in packages.DESIGNERS for code in CODES}
    for (_, code), sprite in sprites.items():
        assert sprite.getcolors() == [(sprite.width * sprite.height, (*COLOURS[code], 255))]


def test_the_truth_is_true_of_the_list_and_of_the_pictures(tmp_path: Path, archives: Path) -> None:
    truth = make(tmp_path, archives, "--images", "200", "--pictures", f"{BASE}/")
    rows = pl.read_parquet(tmp_path / "pairs.parquet")
    assert truth.select(rows.columns).equals(rows)
    assert rows["url"].n_unique() == len(rows) == 200
    planted = {kind: round(200 * share) for kind, share in emoji_web.SHARES.items() if round(200 * share)}
    planted["caption"] = 200 - sum(planted.values())
    assert Counter(truth["kind"].to_list()) == planted
    assert set(truth["designer"]) == {"google", "openmoji"}
    for row in truth.iter_rows(named=True):
        about = [code for code in CODES if f"en thing {code.lower()}" in html.unescape(row["alt_text"])]
        match row["kind"]:
            case "caption" | "thumbnail" | "banner" | "entity":
                assert about == [row["emoji"]]
            case "other_caption":
                assert len(about) == 1
                assert about != [row["emoji"]]
            case _:
                assert not about
        sides = sorted((row["width"], row["height"]))
        assert (sides[0] <= 200) == (row["kind"] == "thumbnail")
        assert (sides[1] >= 3 * sides[0]) == (row["kind"] == "banner")
        assert ("&amp;" in row["alt_text"]) == (row["kind"] == "entity")
        with Image.open(tmp_path / "pictures" / row["url"].removeprefix(f"{BASE}/")) as image:
            assert image.size == (row["width"], row["height"])
            apart = np.abs(np.asarray(image, np.int16) - COLOURS[row["emoji"]]).max(axis=2)
        assert (apart < 16).mean() > 0.05, row  # the sprite is plain, and the ground is seldom of its colour


def test_a_designer_and_a_tenth_of_the_emoji_are_held_out(tmp_path: Path, archives: Path) -> None:
    truth = make(tmp_path, archives, "--images", "100", "--held-out", "google", "--pictures", BASE)
    assert set(truth["designer"]) == {"twitter", "openmoji"}
    seen, unseen = (pl.read_parquet(tmp_path / f"{name}.parquet") for name in ("evaluation", "evaluation_emoji"))
    assert len(seen) == NUMBER * 9 // 10
    assert len(unseen) == NUMBER // 10
    codes = {text.split(",")[0].split()[-1].upper() for text in unseen["alt_text"]}
    assert len(codes) == NUMBER // 10
    assert not codes & set(truth["emoji"])
    for code in codes:
        assert not truth["alt_text"].str.contains(code.lower()).any()
    assert {text.split(",")[0].split()[-1].upper() for text in seen["alt_text"]} == set(CODES) - codes
    assert set(truth["emoji"]) <= set(CODES) - codes
    files = {f"{BASE}/{path.relative_to(tmp_path)}" for path in (tmp_path / "evaluation").iterdir()}
    assert files == {*seen["url"], *unseen["url"]}


def test_half_of_many_languages_is_english(tmp_path: Path, archives: Path) -> None:
    truth = make(tmp_path, archives, "--images", "2000", "--languages", "all")
    assert set(truth["language"]) == set(packages.LANGUAGES)
    assert 0.45 < truth.select((pl.col("language") == "en").mean()).item() < 0.55
    for row in truth.filter(kind="caption").iter_rows(named=True):
        assert row["alt_text"].startswith(f"{row['language']} thing {row['emoji'].lower()}")
    evaluation = pl.read_parquet(tmp_path / "evaluation.parquet")
    assert set(evaluation["language"]) == set(packages.LANGUAGES)


def test_the_same_seed_is_the_same_web_and_another_is_not(tmp_path: Path, archives: Path) -> None:
    def files(name: str) -> dict[str, bytes]:
        found = (path for path in (tmp_path / name).rglob("*") if path.is_file())
        return {path.relative_to(tmp_path / name).as_posix(): path.read_bytes() for path in found}

    options = ["--images", "30", "--pictures", BASE]
    make(tmp_path / "a", archives, *options)
    # another process, with other hashes
    command = [sys.executable, EXAMPLES / "emoji_web.py", "--out", tmp_path / "b", "--packages", archives, *options]
    subprocess.run(command, check=True, capture_output=True)
    make(tmp_path / "c", archives, *options, "--seed", "8")
    assert files("a") == files("b")
    assert files("a") != files("c")


def test_an_earlier_webs_pictures_are_gone(tmp_path: Path, archives: Path) -> None:
    for images in ("40", "30"):
        make(tmp_path, archives, "--images", images, "--pictures", BASE)
    assert len(list((tmp_path / "pictures").rglob("*.jpg"))) == 30


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--rate", "cats=1"], "cats=1: one of file_name, "),
        (["--rate", "slug=0.9"], "the rates add up to 1.39, more than 1"),
        (["--images", "0"], "--images 0: at least 1"),
        (["--emoji", "19"], "--emoji 19: at least 20"),
    ],
)
def test_an_option_that_means_nothing_is_refused(
    tmp_path: Path, archives: Path, options: list[str], words: str
) -> None:
    refused = script(tmp_path, archives, *options)
    assert refused.returncode == 2
    assert words in refused.stderr


@pytest.mark.parametrize("below", [(), ("web",)])
def test_a_file_in_place_of_the_folder_is_a_sentence(tmp_path: Path, archives: Path, below: tuple[str, ...]) -> None:
    (tmp_path / "file").write_text("mine")
    refused = script(tmp_path.joinpath("file", *below), archives)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert line.startswith(f"Error: cannot write {tmp_path}/file")
    assert "--out and --packages are folders to write" in line
    assert (tmp_path / "file").read_text() == "mine"


def test_without_npm_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    refused = script(tmp_path / "web", tmp_path / "none")
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert line.startswith("Error: emoji-datasource-google 16.0.0 is fetched by npm, which is not installed here; ")
    assert "npm pack emoji-datasource-google@16.0.0" in line


@pytest.mark.parametrize(
    ("does", "words"),
    [
        (
            "printf 'npm error code ENET\\nnpm error errno 7\\nnpm error network\\nnpm error a log is in x' >&2; exit 1",
            "npm could not fetch openmoji 17.0.0: npm error network; with a network,",
        ),
        ("exit 0", "npm could not fetch openmoji 17.0.0: it wrote no archive; with a network,"),
        ('echo other > "$5/openmoji-17.0.0.tgz"', "is not what was published: its SHA-256 is "),
    ],
)
def test_what_npm_could_not_fetch_is_a_sentence(
    tmp_path: Path, archives: Path, monkeypatch: pytest.MonkeyPatch, does: str, words: str
) -> None:
    folder = shutil.copytree(archives, tmp_path / "packages")
    (folder / packages.OPENMOJI.archive).unlink()
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(f"#!/bin/sh\n{does}\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}:{os.environ['PATH']}")
    refused = script(tmp_path / "web", folder)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert words in line
    assert not (folder / packages.OPENMOJI.archive).exists()


def changed(package: packages.NpmPackage, path: str, data: bytes | None) -> dict[packages.NpmPackage, dict[str, bytes]]:
    files = content()
    if data is None:
        del files[package][path]
    else:
        files[package][path] = data
    return files


@pytest.mark.parametrize(
    ("package", "path", "data", "words"),
    [
        (packages.TWITTER, "img/twitter/sheets/64.png", None, "it has no file img/twitter/sheets/64.png"),
        (packages.TWITTER, "img/twitter/sheets/64.png", b"GIF89a", "is no sheet of emoji-datasource-twitter 16.0.0: "),
        (packages.OPENMOJI, "../../.profile", b"", "it has a path that leads out of it, 'package/../../.profile'"),
        (packages.GOOGLE, "emoji.json", b"{}", "cldr-annotations-full 48.2.0 have 0 emoji in common, of at least 20: fetch them anew"),
        (packages.GOOGLE, "emoji.json", b"[1]", "is not that of emoji-datasource-google 16.0.0 (TypeError: "),
        (packages.GOOGLE, "emoji.json", b"[" * 100_000, "is not that of emoji-datasource-google 16.0.0 (Recursion"),
        (packages.CLDR, "annotations/th/annotations.json", None, "it has no file annotations/th/annotations.json"),
        (packages.CLDR, "annotations/th/annotations.json", b"\xff", "is not that of cldr-annotations-full 48.2.0 ("),
        (packages.OPENMOJI, f"color/svg/{CODES[3]}.svg", b"<svg", f"color/svg/{CODES[3]}.svg in openmoji-17.0.0.tgz is no"),
        (packages.OPENMOJI, f"color/svg/{CODES[3]}.svg", b"<svg><image/></svg>", "it refers to other files"),
    ],
)  # fmt: skip
def test_a_package_that_is_not_as_it_should_be_is_a_sentence(
    tmp_path: Path, package: packages.NpmPackage, path: str, data: bytes | None, words: str
) -> None:
    folder = pack_all(tmp_path / "packages", changed(package, path, data))
    refused = script(tmp_path / "web", folder, "--pictures", BASE)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert line.startswith("Error: ")
    assert words in line
    assert not (tmp_path / ".profile").exists()


def test_a_cell_outside_of_the_sheet_is_a_sentence(tmp_path: Path) -> None:
    far = listed()
    far[2]["sheet_x"] = 99
    folder = pack_all(tmp_path, changed(packages.GOOGLE, "emoji.json", json.dumps(far).encode()))
    with pytest.raises(packages.PackageError, match=r"has no cell \(99, 0\) for 1F602"):
        packages.read_sprites(folder, packages.read_emoji(folder))


@pytest.mark.parametrize("data", [b"", b"no gzip", gzip.compress(b"no tar" * 500)], ids=["empty", "no gzip", "no tar"])
def test_a_damaged_archive_is_a_sentence(tmp_path: Path, archives: Path, data: bytes) -> None:
    folder = shutil.copytree(archives, tmp_path / "packages")
    (folder / packages.CLDR.archive).write_bytes(data)
    with pytest.raises(packages.PackageError, match=r"cldr-annotations-full-48\.2\.0\.tgz"):
        packages.read_emoji(folder)


def test_a_package_that_unpacks_without_end_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "LARGEST", 10_000)
    with pytest.raises(packages.PackageError, match="it unpacks to more than 0 MB"):
        packages.read_emoji(pack_all(tmp_path, content()))
