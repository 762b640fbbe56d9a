"""From lists to verified shards by one command: what the stages one by one come to, and a refusal before the work."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner, Result
from conftest import write_list
from hostile_web import HOME, Talk, Web, jpeg, serve

from align_data.cli import main

RECIPE = """
name: small
rules:
  - {signal: n_words, ge: 3}
  - {signal: decodable, eq: true}
  - {signal: min_side, gt: 40}
"""
NETWORK = ["--allow-network", f"{HOME}/32", "--per-host", "16", "--workers", "1"]
SHAPE = ["--resize", "shortest", "--size", "64"]
TRUTH = {"kept": range(6), "small": range(6, 8), "gone": range(8, 10), "brief": range(10, 12)}
"""What becomes of each image: kept, too small, not there, or never asked for, as its text is too short."""


async def picture(talk: Talk) -> None:
    number = int(talk.asked.path.split("/")[2])
    if number in TRUTH["gone"]:
        await talk.answer(b"", status="404 Not Found")
    else:
        await talk.answer(jpeg(number, 32 if number in TRUTH["small"] else 100))


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with serve() as served:
        served.pages["/image"] = picture
        yield served


def lists(folder: Path, web: Web) -> list[str]:
    (folder / "small.yaml").write_text(RECIPE)
    texts = {number: "brief" if number in TRUTH["brief"] else f"a picture of number {number}" for number in range(12)}
    return write_list(
        folder / "lists", [{"url": web.url(f"/image/{n}"), "alt_text": text} for n, text in texts.items()]
    )


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def images(shards: Path) -> dict[str, bytes]:
    """Return the bytes of each text's image."""
    members: dict[str, dict[str, bytes]] = {}
    for path in shards.rglob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                stem, _, ending = member.name.partition(".")
                file = tar.extractfile(member)
                assert file is not None
                members.setdefault(stem, {})[ending] = file.read()
    return {parts["txt"].decode(): parts["jpg"] for parts in members.values()}


@pytest.mark.parametrize("resample", ["bicubic", "area"])
def test_build_comes_to_what_the_stages_come_to(web: Web, tmp_path: Path, resample: str) -> None:
    inputs, recipe = lists(tmp_path, web), tmp_path / "small.yaml"
    built = call(
        "build",
        *inputs,
        "--recipe",
        recipe,
        "--out",
        tmp_path / "a",
        "--shards",
        tmp_path / "sa",
        *SHAPE,
        "--resample",
        resample,
        *NETWORK,
        "--json",
    )
    assert built.exit_code == 0, built.output
    result: dict[str, Any] = json.loads(built.stdout)
    assert result["check"]["whole"]
    assert result["exported"]["pairs"] == len(TRUTH["kept"])
    assert result["fetched"]["statuses"] == {"ok": 6, "not_kept": 2, "http_404": 2, "untried": 2}
    stages = [
        ["run", *inputs, "--recipe", recipe, "--out", tmp_path / "b"],
        ["fetch", tmp_path / "b", "--recipe", "small", *NETWORK],
        ["measure", tmp_path / "b"],
        ["filter", tmp_path / "b", "--recipe", recipe],
        [
            "export",
            tmp_path / "b",
            "--recipe",
            "small",
            "--out",
            tmp_path / "sb",
            *SHAPE,
            "--resample",
            resample,
            "--pending",
            "drop",
        ],
    ]
    for stage in stages:
        done = call(*stage)
        assert done.exit_code == 0, done.output
    assert images(tmp_path / "sa") == images(tmp_path / "sb")
    assert sorted(images(tmp_path / "sa")) == [f"a picture of number {n}" for n in TRUTH["kept"]]
    verdicts = [pl.read_parquet(tmp_path / name / "verdicts" / "small" / "*.parquet") for name in "ab"]
    assert verdicts[0].equals(verdicts[1])


def test_a_finished_build_is_not_repeated(web: Web, tmp_path: Path) -> None:
    words = [
        "build",
        *lists(tmp_path, web),
        "--recipe",
        tmp_path / "small.yaml",
        "--out",
        tmp_path / "d",
        "--shards",
        tmp_path / "s",
    ]
    assert call(*words, *NETWORK).exit_code == 0
    web.seen.forget()
    before = {path: path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file()}
    again = call(*words, *NETWORK)
    assert again.exit_code == 0, again.output
    assert not web.seen.asked
    assert {path: path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file()} == before


def test_rules_that_no_image_decides_are_refused_before_the_work(web: Web, tmp_path: Path) -> None:
    inputs = lists(tmp_path, web)
    web.seen.forget()
    refused = call("build", *inputs, "--recipe", "align", "--out", tmp_path / "d", "--shards", tmp_path / "s", *NETWORK)
    assert refused.exit_code == 1
    assert "no pair could pass" in refused.output
    assert "--without nsfw,eval_distance" in refused.output
    assert not web.seen.asked
    assert not (tmp_path / "s").exists()


def test_a_folder_of_something_else_is_refused_before_the_work(web: Web, tmp_path: Path) -> None:
    inputs = lists(tmp_path, web)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "thesis.txt").write_text("mine")
    web.seen.forget()
    words = ["build", *inputs, "--recipe", tmp_path / "small.yaml", "--out", tmp_path / "d", "--shards", tmp_path / "s"]
    refused = call(*words, *NETWORK)
    assert refused.exit_code == 1
    assert "is not empty, and no export" in refused.output
    assert not web.seen.asked
    assert not (tmp_path / "d" / "pairs").exists()
    assert "a folder of its own" in call(*words[:-1], f"{tmp_path / 'd'}/", *NETWORK).output


def test_pages_that_opt_out_are_left_out_where_the_list_tells_them_and_else_refused(web: Web, tmp_path: Path) -> None:
    (inputs,) = lists(tmp_path, web)
    recipe = tmp_path / "open.yaml"
    recipe.write_text(f"{RECIPE}  - {{signal: page_opt_out, eq: false}}\n".replace("name: small", "name: open"))
    web.seen.forget()
    refused = call("build", inputs, "--recipe", recipe, "--out", tmp_path / "a", "--shards", tmp_path / "sa", *NETWORK)
    assert refused.exit_code == 1
    assert "no pair could pass: page_opt_out needs a list that says what its pages ask of robots" in refused.output
    assert not web.seen.asked
    told = (
        pl.read_parquet(inputs)
        .with_row_index("n")
        .with_columns(robots=pl.when(pl.col("n") < 2).then(pl.lit("noai")).otherwise(pl.lit("")))
    )
    told.drop("n").write_parquet(tmp_path / "told.parquet")
    built = call(
        "build", tmp_path / "told.parquet", "--recipe", recipe, "--out", tmp_path / "b", "--shards", tmp_path / "sb",
        *NETWORK,
    )  # fmt: skip
    assert built.exit_code == 0, built.output
    assert sorted(images(tmp_path / "sb")) == [f"a picture of number {n}" for n in TRUTH["kept"] if n >= 2]
    assert not {"/image/0", "/image/1"} & {asked.path for asked in web.seen.asked}
