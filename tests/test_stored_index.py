"""A search with stored embeddings: the answers of one without, and no more embedded than has to be."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_evaluate import Fake, Row, call, fake, image, rows, text, uid_of, write_shards

from align_data.common.errors import AlignDataError, DatasetError
from align_data.common.progress import Silent
from align_data.train.search import SearchResults, search
from align_data.train.shards import Shards
from align_data.train.stored_index import Kind

__all__ = ["fake"]


class Counting(Fake):
    """Counts what it embeds."""

    def __init__(self, digest: str = "fake", **how: Any) -> None:
        super().__init__(**how)
        self.digest = digest  # type: ignore[misc]
        self.embedded = {"images": 0, "texts": 0}

    def images(self, pixels: np.ndarray) -> np.ndarray:
        self.embedded["images"] += len(pixels)
        return super().images(pixels)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        self.embedded["texts"] += len(texts)
        return super().texts(texts)

    def spent(self) -> tuple[int, int]:
        """Return the images and texts embedded since it was last asked."""
        counts = self.embedded["images"], self.embedded["texts"]
        self.embedded = {"images": 0, "texts": 0}
        return counts


def look(model: Fake, shards: Path, index: Path | None, *, code: int = 3, **how: Any) -> SearchResults:
    folder = None if index is None else str(index)
    return search(model, Shards.open(str(shards)), [text(f"a {code}")], Silent(), index=folder, **how)


def answers(results: SearchResults) -> dict[str, Any]:
    return {**results.to_json(), "embedded": None, "pictures": results.images}


@settings(max_examples=20)
@given(st.integers(0, 63), st.integers(0, 63), st.sampled_from(["images", "texts"]), st.integers(1, 60), st.booleans())
def test_answers_are_those_of_numpy_and_of_a_search_that_stores_nothing(
    tmp_path: Path, code: int, other: int, kind: Kind, top: int, constant: bool
) -> None:
    shards = tmp_path / "shards"
    if not shards.exists():
        write_shards(shards, [Row(n % 41, f"{n % 37} of {n % 3}") for n in range(150)], 40)
    model = Fake(blur=0.7, constant=constant)
    asked = [image(code), text(f"a {other}", 0.5)]
    stored, without = (
        search(model, Shards.open(str(shards)), asked, Silent(), kind=kind, top=top, index=index)
        for index in (str(tmp_path / f"index {constant}"), None)
    )
    assert answers(stored) == answers(without)

    vector = model.images(np.array([[[colour(code)] * 8] * 8], np.uint8))[0].astype(float) + model.table[other] / 2
    vector /= np.linalg.norm(vector)
    keys = [n % 41 if kind == "images" else (n % 37, n % 3) for n in range(150)]
    shown = [0 if constant else n % 41 for n in range(150)]
    own = model.images(np.array([[[colour(at)] * 8] * 8 for at in shown], np.uint8))
    every = (own if kind == "images" else model.table[[n % 37 for n in range(150)]]) @ vector
    firsts = sorted({keys.index(key) for key in keys}, key=lambda n: -round(every[n], 9))[:top]
    assert [hit.score for hit in stored.hits] == pytest.approx([every[n] for n in firsts], abs=1e-6)
    assert [hit.pairs for hit in stored.hits] == [keys.count(keys[n]) for n in firsts]
    assert {hit.uid for hit in stored.hits} == {uid_of(n % 41, n) for n in firsts}


def colour(code: int) -> tuple[int, int, int]:
    return 16 * (code // 16) + 8, 16 * (code % 16) + 8, 128


def test_a_second_search_embeds_its_query_alone(tmp_path: Path) -> None:
    shards, index = write_shards(tmp_path / "shards", rows(50), 20), tmp_path / "index"
    model = Counting()
    assert look(model, shards, index).embedded == 50
    assert model.spent() == (50, 1)
    again = look(model, shards, index, code=7)
    assert (again.embedded, again.pairs, model.spent()) == (0, 50, (0, 1))
    assert again.hits[0].uid == uid_of(7, 7)
    assert look(model, shards, index, kind="texts").embedded == 50  # texts are apart
    assert model.spent() == (0, 51)
    assert look(model, shards, index, kind="texts").embedded == look(model, shards, index).embedded == 0


def test_what_changed_or_came_is_embedded_and_what_went_is_gone(tmp_path: Path) -> None:
    shards, index = write_shards(tmp_path / "shards", rows(60), 20), tmp_path / "index"
    model = Counting()
    look(model, shards, index)
    look(model, shards, index, kind="texts")
    look(Counting("other"), shards, index)
    model.spent()

    write_shards(tmp_path / "new", [Row(n, f"the new {n}") for n in range(100, 107)])
    shutil.copy(tmp_path / "new" / "00000.tar", shards / "00005.tar")
    came = look(model, shards, index, code=103)
    assert (came.embedded, came.pairs, came.hits[0].alt_text) == (7, 67, "the new 103")

    write_shards(tmp_path / "changed", [Row(n, f"changed {n}") for n in range(200, 220)])
    shutil.copy(tmp_path / "changed" / "00000.tar", shards / "00001.tar")
    assert {"the number 7", "the number 25"} <= texts_in(index)
    changed = look(model, shards, index, code=205)
    assert (changed.embedded, changed.pairs, changed.hits[0].alt_text) == (20, 67, "changed 205")
    assert model.spent() == (27, 2)

    (shards / "00000.tar").unlink()
    gone = look(model, shards, index)
    assert (gone.embedded, gone.pairs) == (0, 47)
    assert answers(gone) == answers(look(model, shards, None))
    # By whatever model, of texts and of images.
    assert texts_in(index) == {hit.alt_text for hit in look(model, shards, None, top=99).hits}


def texts_in(index: Path) -> set[str]:
    return set(pl.concat(pl.read_parquet(file, columns=["alt_text"]) for file in index.rglob("*.parquet"))["alt_text"])


def test_each_model_has_its_own(tmp_path: Path) -> None:
    shards, index = write_shards(tmp_path / "shards", rows(30)), tmp_path / "index"
    one, other, larger = Counting("one"), Counting("other", blur=0.5), Counting("one")
    larger.side = 16  # type: ignore[misc]
    look(one, shards, index)
    assert look(other, shards, index).embedded == 30
    assert look(one, shards, index).embedded == look(other, shards, index).embedded == 0
    assert answers(look(other, shards, index)) == answers(look(other, shards, None))
    with pytest.raises(AssertionError, match="8"):  # images of another size are made for it
        look(larger, shards, index)


def test_corrupt_shards_and_images_are_named_each_time(tmp_path: Path) -> None:
    broken = Row(59, "broken", b"\x89PNG\r\n\x1a\n no picture")
    shards, index = write_shards(tmp_path / "shards", [*rows(59), broken], 20), tmp_path / "index"
    whole = (shards / "00001.tar").read_bytes()
    (shards / "00001.tar").write_bytes(whole[:5000])
    for _ in range(2):
        found = look(Fake(), shards, index)
        assert (list(found.undecodable), list(found.skipped), found.pairs) == ([uid_of(59, 59)], ["00001.tar"], 39)
        assert answers(found) == answers(look(Fake(), shards, None))
    (shards / "00001.tar").write_bytes(whole)
    mended = look(Fake(), shards, index)
    assert (mended.embedded, mended.pairs, mended.skipped) == (20, 59, {})
    (shards / "00001.tar").write_bytes(whole[:5000])
    assert answers(look(Fake(), shards, index)) == answers(look(Fake(), shards, None))


def test_nothing_to_search_is_a_sentence(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", [Row(1, "a 1", b"no image")])
    for _ in range(2):
        with pytest.raises(DatasetError, match="images that cannot be decoded"):
            look(Fake(), shards, tmp_path / "index")


def test_a_damaged_index_is_embedded_anew_or_a_sentence(tmp_path: Path) -> None:
    shards, index = write_shards(tmp_path / "shards", rows(40)), tmp_path / "index"
    look(Fake(), shards, index)
    (stored,) = index.rglob("*.parquet")
    content = stored.read_bytes()
    for cut in (content[:-20], content[: len(content) // 2], b""):
        stored.write_bytes(cut)
        assert look(Fake(), shards, index).embedded == 40
        assert stored.read_bytes() == content
    middle = len(content) // 2
    stored.write_bytes(content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :])
    with pytest.raises(AlignDataError, match="damaged, remove it and search again"):
        look(Fake(), shards, index)
    stored.unlink()
    assert look(Fake(), shards, index).embedded == 40


def test_two_do_not_write_at_once_and_both_may_read(tmp_path: Path) -> None:
    shards, index = write_shards(tmp_path / "shards", rows(9)), tmp_path / "index"
    look(Fake(), shards, index)
    with (index / ".lock").open("rb+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert look(Fake(), shards, index).embedded == 0
        with pytest.raises(DatasetError, match="another align-data process is working in"):
            look(Fake(), shards, index, kind="texts")


def test_an_export_is_known_by_its_manifest_wherever_it_lies(tmp_path: Path) -> None:
    shards, index = write_shards(tmp_path / "shards", rows(40), 20), tmp_path / "index"
    facts = [
        {"name": file.name, "bytes": file.stat().st_size, "sha256": sha256(file.read_bytes()).hexdigest(), "pairs": 20}
        for file in sorted(shards.iterdir())
    ]
    (shards / "manifest.json").write_text(json.dumps({"shards": facts}))
    look(Fake(), shards, index)
    copied = tmp_path / "copied"
    shutil.copytree(shards, copied)
    assert look(Fake(), copied, index).embedded == 0
    facts[1]["sha256"] = "0" * 64
    (copied / "manifest.json").write_text(json.dumps({"shards": facts}))
    found = look(Fake(), copied, index)
    assert (found.pairs, list(found.skipped)) == (20, ["00001.tar"])


def test_a_folder_behind_a_url_does_too(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", rows(30))
    model = Counting()
    for embedded in (30, 0):
        found = search(model, Shards.open(str(shards)), [text("a 3")], Silent(), index=f"memory://{tmp_path}/index")
        assert (found.embedded, found.hits[0].uid) == (embedded, uid_of(3, 3))


@pytest.mark.usefixtures("fake")
def test_the_command_stores_and_finds_again(tmp_path: Path) -> None:
    shards, index, page = write_shards(tmp_path / "shards", rows(50), 20), tmp_path / "index", tmp_path / "page.html"
    asked = ("search", "model", shards, "--text", "number 7", "--top", 3, "--index", index)
    said, again = (json.loads(call(*asked, "--json").stdout) for _ in range(2))
    assert (said["embedded"], again["embedded"]) == (50, 0)
    assert said["hits"] == again["hits"]
    call(*asked, "--html", page)
    assert page.read_text().count("data:image/png") == 3
    (tmp_path / "file").write_text("")
    refused = call(*asked[:-1], tmp_path / "file" / "index", code=1)
    assert "cannot write" in refused.stderr
