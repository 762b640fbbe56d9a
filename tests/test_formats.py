"""Formats that are images only where they are asked for: kept by fetch, measured, and exported as JPEG."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import hostile_images as hostile
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import read
from hostile_web import PAGES, Talk, serve
from PIL import Image
from test_decoding import bits_apart
from test_fetch import POLICY, dataset_of, run
from test_viewer import PICTURE, all_accounted_for, seen, shown

from align_data.cli import main
from align_data.common.progress import Silent
from align_data.decoding.inspected import MAX_PIXELS, ImageChecks
from align_data.decoding.inspection import inspect
from align_data.engines.local import LocalEngine
from align_data.stages.measure import measure
from align_data.storage.image_formats import OPTIONAL, optional, sniff


def psd(image: Image.Image) -> bytes:
    """Return a Photoshop file of one flat picture."""
    planes = np.asarray(image).transpose(2, 0, 1).tobytes()
    sizes = image.height.to_bytes(4, "big") + image.width.to_bytes(4, "big")
    return b"8BPS\0\1" + bytes(6) + b"\0\3" + sizes + b"\0\x08\0\3" + bytes(12) + b"\0\0" + planes


FILES = {
    "ico": hostile.file(PICTURE, "ICO", sizes=[PICTURE.size]),
    "jpeg2000": hostile.file(PICTURE, "JPEG2000"),
    "ppm": hostile.file(PICTURE, "PPM"),
    "psd": psd(PICTURE),
    "qoi": hostile.file(PICTURE, "QOI"),
}


def test_every_optional_format_is_tried() -> None:
    assert set(FILES) == set(OPTIONAL)
    assert optional(["qoi", "no", "ico"]) == ("ico", "qoi")
    for damaged in (None, 3, "ico", {"ico": 1}):
        assert optional(damaged) == ()


@pytest.mark.parametrize("name", FILES)
def test_it_is_an_image_only_where_it_is_asked_for(name: str) -> None:
    content = FILES[name]
    assert sniff(content) is None
    assert sniff(content, set(OPTIONAL) - {name}) is None
    assert seen(content).status == "not_an_image"
    asked = inspect(content, ImageChecks(), MAX_PIXELS, None, (name,))
    plain = seen(hostile.file(PICTURE, "PNG"))
    assert (asked.status, asked.format, asked.width, asked.height) == ("ok", name, *PICTURE.size)
    assert bits_apart(asked.phash, plain.phash) <= 2
    assert np.corrcoef(np.asarray(shown(content)).ravel(), np.asarray(PICTURE).ravel())[0, 1] > 0.97


def test_every_mutated_one_is_accounted_for(tmp_path: Path) -> None:
    all_accounted_for(list(FILES.values()), 150, tmp_path, formats=tuple(OPTIONAL))


def test_fetch_keeps_them_and_measure_knows_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def give(talk: Talk) -> None:
        await talk.answer(FILES[talk.asked.path.rpartition("/")[2]])

    monkeypatch.setitem(PAGES, "/format", give)
    with serve() as web:
        names = {web.url(f"/format/{name}"): name for name in FILES}
        dataset = dataset_of(tmp_path, [*names, web.url("/good/1")])

        def statuses(*formats: str) -> set[str]:
            _, rows = run(dataset, replace(POLICY, formats=formats))
            assert set(rows["status"]) <= {"ok", "not_an_image"}
            return {names.get(url, "jpeg") for url in rows.filter(rows["tar"].is_not_null())["url"]}

        assert statuses() == {"jpeg"}
        asked = len(web.seen.asked)
        assert statuses() == {"jpeg"}
        assert len(web.seen.asked) == asked  # which they were is final
        assert statuses("ico") == {"jpeg", "ico"}
        assert statuses(*OPTIONAL) == {"jpeg", *FILES}
        assert statuses() == {"jpeg", *FILES}
        measure(dataset, LocalEngine(dataset.store.work, 1), Silent(), ["decodable", "format", "phash"])
    content = read(dataset, "content")
    assert set(content["status"]) == {"ok"}
    assert set(content["format"]) == {"jpeg", *FILES}


def test_a_format_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["fetch", str(tmp_path), "--all", "--formats", "ico,jpeg200"])
    assert result.exit_code == 2
    assert "there is no jpeg200 (did you mean jpeg2000?); there are: ico, jpeg2000" in " ".join(result.output.split())
