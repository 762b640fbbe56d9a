"""Texture, text and faces: planted truth, by tiny models that read blocks of colour, and by the real ones where they are."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from conftest import read
from in_process import decode_here
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps
from test_content import Counted, Pool
from test_shards import fetched

from align_data.cli import main
from align_data.common.errors import InputError, SignalError
from align_data.common.progress import Silent
from align_data.content.plan import Sight
from align_data.decoding.detectors import detector as detectors
from align_data.decoding.detectors.detector import Detector
from align_data.decoding.detectors.faces import FaceDetector
from align_data.decoding.detectors.ocr import TextDetector, covered
from align_data.decoding.inspected import Check, ImageChecks, columns_of
from align_data.engines.local import LocalEngine
from align_data.recipes.reading import parse
from align_data.signals import SIGNALS
from align_data.signals.base import Piece
from align_data.signals.texture import texture
from align_data.stages.measure import measure
from align_data.stages.pipeline import Decision, decide_ledger

pytest.importorskip("onnxruntime")
onnx_models = pytest.importorskip("onnx_models")

PHOTOGRAPHS = Path(__file__).resolve().parents[2] / "shared" / "data" / "images" / "photos"
COLOURS = {"a": (0, 0, 255), "b": (0, 255, 0), "c": (255, 0, 0)}


# --- texture ---


def scene(seed: int = 1, size: tuple[int, int] = (200, 150)) -> Image.Image:
    chance = np.random.default_rng(seed)
    small = Image.fromarray(chance.integers(0, 256, (size[1] // 10, size[0] // 10, 3), np.uint8))
    return small.resize(size, Image.Resampling.NEAREST)


def test_blur_falls_with_every_blur_and_is_counted_by_hand() -> None:
    values = [texture(scene().filter(ImageFilter.GaussianBlur(radius)))["blur"] for radius in (0, 1, 2, 4)]
    assert values == sorted(values, reverse=True)
    assert texture(Image.new("RGB", (32, 32), "red"))["blur"] == 0
    # one white pixel in the middle of 5 x 5: of nine inner pixels one is -1020, four are 255, four are 0
    dot = Image.new("RGB", (5, 5))
    dot.putpixel((2, 2), (255, 255, 255))
    laplacian = [-1020, *[255] * 4, *[0] * 4]
    assert texture(dot)["blur"] == pytest.approx(np.var(laplacian), rel=1e-12)
    assert texture(Image.new("RGB", (2, 9)))["blur"] is None


@pytest.mark.parametrize("levels", [1, 2, 4, 16, 256])
def test_the_entropy_of_equally_many_greys_is_the_logarithm_of_their_number(levels: int) -> None:
    greys = np.repeat(np.arange(levels) * 256 // levels, 256 // levels).astype(np.uint8)
    image = Image.fromarray(np.random.default_rng(1).permutation(np.tile(greys, (16, 1)), axis=1)).convert("RGB")
    assert texture(image)["entropy"] == pytest.approx(math.log2(levels), abs=1e-6)


@pytest.mark.parametrize("size", [(200, 150), (256, 256), (1000, 700), (300, 2000)])
@pytest.mark.parametrize("shares", [(0, 0, 0, 0), (0.1, 0.1, 0.1, 0.1), (0.25, 0, 0.25, 0), (0, 0.3, 0, 0)])
@pytest.mark.parametrize("colours", [("white",) * 4, ("black", "navy", "black", "white")])
def test_a_planted_border_is_measured(size: Any, shares: Any, colours: Any) -> None:
    image = scene(2, size)
    left, top, right, bottom = (round(share * side) for share, side in zip(shares, (*size, *size), strict=True))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, left - 1, size[1]), fill=colours[0]) if left else None
    draw.rectangle((size[0] - right, 0, *size), fill=colours[2]) if right else None
    draw.rectangle((0, 0, size[0], top - 1), fill=colours[1]) if top else None
    draw.rectangle((0, size[1] - bottom, *size), fill=colours[3]) if bottom else None
    inner = (size[0] - left - right) * (size[1] - top - bottom)
    # A row of the small picture that is half border is none: of 256 rows one a side, or two columns of 38.
    assert texture(image)["border"] == pytest.approx(1 - inner / math.prod(size), abs=0.04)
    assert (texture(image)["border"] == 0) == (not any(shares))


def test_a_plain_picture_is_all_border_and_a_jpegs_noise_is_no_picture() -> None:
    assert texture(Image.new("RGB", (30, 20), "green")) == {"blur": 0, "entropy": 0, "border": 1}
    framed = Image.new("RGB", (240, 180), (250, 250, 250))
    framed.paste(scene(3, (160, 100)), (40, 40))
    file = io.BytesIO()
    framed.save(file, "JPEG", quality=90)
    assert texture(Image.open(file).convert("RGB"))["border"] == pytest.approx(1 - 160 * 100 / (240 * 180), abs=0.06)
    for size in ((1, 1), (1, 500), (500, 1), (2, 2), (3, 3), (5000, 3)):
        values = texture(Image.new("RGB", size, "red"))
        assert (values["entropy"], values["border"]) == (0, 1)


# --- tiny models ---


def written(words: dict[tuple[int, int], str], size: tuple[int, int] = (320, 160)) -> Image.Image:
    """Draw lines of blocks, 16 x 24 pixels a character, on white; a blank is a grey block."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for (x, y), word in words.items():
        for number, character in enumerate(word):
            colour = COLOURS.get(character, (90, 90, 0))
            draw.rectangle((x + 16 * number, y, x + 16 * number + 15, y + 23), fill=colour)
    return image


def test_text_is_read_where_it_stands() -> None:
    text = TextDetector(onnx_models.tiny_text_models())
    lines = text.read(written({(32, 96): "abc", (64, 24): "cabab"}))
    assert [line.text for line in lines] == ["cabab", "abc"]
    for line, box in zip(lines, ((64, 24, 144, 48), (32, 96, 80, 120)), strict=True):
        assert line.left < box[0] < box[2] < line.right
        assert line.top < box[1] < box[3] < line.bottom
        assert max(abs(a - b) for a, b in zip(line[:4], box, strict=True)) < 20
    values = text.measure(written({(32, 96): "abc", (64, 24): "cabab"}))
    assert (values["image_text"], values["text_words"]) == ("cabab abc", 2)
    assert values["text_area"] == pytest.approx(covered([line[:4] for line in lines], (320, 160)))
    assert text.measure(Image.new("RGB", (99, 33), "white")) == {"image_text": "", "text_area": 0, "text_words": 0}


def test_text_that_runs_upwards_is_read_too() -> None:
    text = TextDetector(onnx_models.tiny_text_models())
    lying = written({(64, 64): "abcbac"})
    assert text.measure(lying.transpose(Image.Transpose.ROTATE_270))["image_text"] == "abcbac"


def test_a_character_alone_and_what_is_not_sure_are_no_text() -> None:
    text = TextDetector(onnx_models.tiny_text_models())
    assert text.read(written({(64, 64): "a"})) == []
    assert text.read(written({(64, 64): "------"})) == []


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (31, 33), (5, 4000), (2000, 1500)])
def test_any_size_of_picture_is_looked_at(size: tuple[int, int]) -> None:
    for colour in ("white", "blue", "red"):
        image = Image.new("RGB", size, colour)
        values = {**TextDetector(onnx_models.tiny_text_models()).measure(image), **FaceDetector(onnx_models.tiny_face_model()).measure(image)}  # fmt: skip
        assert 0 <= values["text_area"] <= 1
        assert 0 <= values["face_area"] <= 1
        assert values["text_words"] == len(values["image_text"].split())


def test_faces_are_counted_once_each() -> None:
    faces = FaceDetector(onnx_models.tiny_face_model())
    image = Image.new("RGB", (320, 160), "white")
    draw = ImageDraw.Draw(image)
    for x, y in ((40, 40), (160, 80), (280, 120)):
        draw.rectangle((x, y, x + 7, y + 7), fill="red")  # four cells, of one face
    boxes = sorted(faces.boxes(image))
    assert boxes[0] == pytest.approx((26, 26, 58, 58))
    values = faces.measure(image)
    assert values["n_faces"] == 3
    assert values["face_area"] == pytest.approx(3 * 32 * 32 / (320 * 160), abs=0.005)
    assert faces.measure(Image.new("RGB", (64, 64), "white")) == {"n_faces": 0, "face_area": 0}


def test_what_boxes_cover_counts_once_where_they_overlap() -> None:
    assert covered([], (10, 10)) == 0
    assert covered([(0, 0, 5, 10), (2, 0, 5, 10)], (10, 10)) == pytest.approx(0.5)
    assert covered([(-5, -5, 50, 50)], (10, 10)) == 1


# --- the pair ---


@pytest.mark.parametrize(
    ("alt_text", "image_text", "share"),
    [
        ("Summer sale, 50 % off", "SUMMERSALE 50% OFF", 1.0),  # of 'summer', 'sale' and 'off'
        ("a dog on the beach", "Visit the Beach", 2 / 3),
        ("a dog on the beach", "", 0.0),
        ("a dog on the beach", None, None),
        ("", "something", 0.0),
        ("a an 12", "a an 12", 0.0),
        (None, "x", 0.0),
        ("Crème brûlée!", "CRÈME  BRÛLÉE", 1.0),
        ("dog dog cat", "dog", 2 / 3),
        ("日本語の本", "日本語の本です", 1.0),
    ],
)
def test_the_share_of_a_texts_words_that_are_read(alt_text: Any, image_text: Any, share: Any) -> None:
    frame = pl.DataFrame({"alt_text": [alt_text, "dog"], "image_text": [image_text, "a dog"]}, {"alt_text": pl.String, "image_text": pl.String})  # fmt: skip
    overlap = SIGNALS["text_overlap"].measure
    assert overlap is not None
    values = overlap(Piece(frame)).to_list()
    assert values == [share if share is None else pytest.approx(share, abs=1e-6), 1.0]


# --- through measure ---


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    decode_here(monkeypatch)


@pytest.fixture
def models(tmp_path: Path) -> Callable[..., tuple[Detector, ...]]:
    def make(**changed: dict[str, bytes]) -> tuple[Detector, ...]:
        files = {"text": onnx_models.tiny_text_models(), "faces": onnx_models.tiny_face_model()} | changed
        for name, contents in files.items():
            (tmp_path / "models" / name).mkdir(parents=True, exist_ok=True)
            for file, content in contents.items():
                (tmp_path / "models" / name / file).write_bytes(content)
        return tuple(Detector(name, str(tmp_path / "models" / name)) for name in ("text", "faces"))

    return make


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def pictures() -> dict[str, Any]:
    face = Image.new("RGB", (320, 160), "white")
    face.paste((255, 0, 0), (160, 80, 164, 84))
    return {
        "http://a/text": png(written({(64, 24): "babab"})),
        "http://a/face": png(face),
        "http://a/plain": png(Image.new("RGB", (320, 160), "white")),
        "http://a/broken": b"\x89PNG\r\n\x1a\nbroken",
        "http://a/gone": "http_404",
    }


SEEN = ("blur", "entropy", "border", "text_area", "text_words", "image_text", "text_overlap", "n_faces", "face_area")


def test_they_are_signals_of_every_pair_only_where_they_are_chosen(here: None, tmp_path: Path, models: Any) -> None:
    pool = Pool(tmp_path, pictures())
    plain = measure(pool.dataset, pool.engine, Silent(), sight=Sight())
    assert not set(SEEN) & set(plain.measured)
    assert plain.missing["n_faces"] == "need --detect faces, and the model: align-data model add faces"
    assert not set(SEEN) & set(pool.dataset.content.columns(0))
    with pytest.raises(SignalError, match="n_faces cannot be measured: it would need --detect faces"):
        measure(pool.dataset, pool.engine, Silent(), ["n_faces"])

    sight = Sight(detectors=models(), texture=True)
    chosen = measure(pool.dataset, pool.engine, Silent(), sight=sight)
    assert set(chosen.measured) >= set(SEEN)
    assert pool.column("image_text") == {"http://a/text": "babab", "http://a/face": "", "http://a/plain": "", "http://a/broken": None, "http://a/gone": None}  # fmt: skip
    assert [pool.column("n_faces")[url] for url in pictures()] == [0, 1, 0, None, None]
    assert pool.column("border")["http://a/plain"] == 1
    assert pool.column("text_words")["http://a/text"] == 1
    # Nothing is measured twice, with them or without, and what is stored stays.
    assert measure(pool.dataset, pool.engine, Silent(), sight=sight).measured == []
    assert measure(pool.dataset, pool.engine, Silent()).measured == []
    assert pool.column("n_faces")["http://a/face"] == 1

    recipe = parse("{name: faces, rules: [{signal: n_faces, le: 0, source: x}, {signal: text_area, lt: 0.01, source: x}]}", "f.yaml")  # fmt: skip
    decide_ledger(Decision(recipe), pool.dataset, pool.engine, Silent())


def test_a_new_image_gets_texture_and_keeps_what_detectors_saw(here: None, tmp_path: Path, models: Any) -> None:
    pool = Pool(tmp_path, pictures())
    measure(pool.dataset, pool.engine, Silent(), sight=Sight(detectors=models(), texture=True))
    pool.fetch(**{"http://a/gone": png(written({(64, 24): "aba"}))})
    measure(pool.dataset, pool.engine, Silent())  # by nobody's detector
    assert pool.column("image_text") == {"http://a/text": "babab", "http://a/face": "", "http://a/plain": "", "http://a/broken": None, "http://a/gone": None}  # fmt: skip
    assert pool.column("n_faces")["http://a/face"] == 1
    assert pool.column("entropy")["http://a/gone"] > 0
    progress = Counted()
    measure(pool.dataset, pool.engine, progress, sight=Sight(detectors=models()))
    assert pool.column("image_text")["http://a/gone"] == "aba"
    assert progress.looked == {"ok": 1}


def test_only_open_leaves_the_others_and_a_wider_ledger_goes_on(here: None, tmp_path: Path, models: Any) -> None:
    pool = Pool(tmp_path, pictures())
    measure(pool.dataset, pool.engine, Silent(), sight=Sight(texture=True))
    for name, least in (("narrow", 0.05), ("wide", 0)):
        rule = f"{{name: {name}, rules: [{{signal: entropy, ge: {least}, source: x}}]}}"
        decide_ledger(Decision(parse(rule, f"{name}.yaml")), pool.dataset, pool.engine, Silent())
    seen = {}
    for name in ("narrow", "wide"):
        progress = Counted()
        sight = Sight(detectors=models()[1:], only_open=name)
        measure(pool.dataset, pool.engine, progress, sight=sight)
        seen[name] = {url for url, faces in pool.column("n_faces").items() if faces is not None}
        assert measure(pool.dataset, pool.engine, Silent(), sight=sight).measured == []
    assert seen["narrow"] == {"http://a/text"}
    assert seen["wide"] == {"http://a/text", "http://a/face", "http://a/plain"}


def test_what_is_taken_of_every_image_is_all_but_what_costs_much(models: Any) -> None:
    further = [Check("texture", "m:f", {"blur": "float64"}), Check("text", "", {"text_words": "int32"}, costly=True)]
    looks = ImageChecks(nsfw=True, checks=("texture", "text"))
    assert looks.of_any(further) == ImageChecks(nsfw=False, checks=("texture",))
    assert columns_of(further) == {"blur": "float64", "text_words": "int32"}
    assert columns_of(further, ["text"]) == {"text_words": "int32"}


def test_another_model_measures_again_and_its_hash_is_kept(here: None, tmp_path: Path, models: Any) -> None:
    pool = Pool(tmp_path, pictures())
    measure(pool.dataset, pool.engine, Silent(), sight=Sight(detectors=models()[1:]))
    area = pool.column("face_area")["http://a/face"]
    again = measure(pool.dataset, pool.engine, Silent(), sight=Sight(detectors=models(faces=onnx_models.tiny_face_model(64))[1:]))  # fmt: skip
    assert {"n_faces", "face_area"} <= set(again.measured)
    assert pool.column("face_area")["http://a/face"] == pytest.approx(4 * area, rel=0.1)
    manifest = pool.dataset.content.committed()
    assert manifest is not None
    assert set(manifest.meta.looks["faces"] or {}) == {"version", "onnxruntime", "model.onnx", "pillow"}


def test_a_detector_that_raises_costs_its_values_alone(
    here: None, tmp_path: Path, models: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: FaceDetector, image: Image.Image) -> Any:
        if image.getpixel((162, 82)) == (255, 0, 0):
            raise RuntimeError("not this one")
        return {"n_faces": 2**40, "face_area": 0.0}

    monkeypatch.setattr(FaceDetector, "measure", fail)
    pool = Pool(tmp_path, pictures())
    measure(pool.dataset, pool.engine, Silent(), sight=Sight(detectors=models()))
    content = pl.concat(
        pool.dataset.content.pieces(0, ["url", "status", "reason", "n_faces", "image_text", "decodable"])
    )
    rows = {row["url"]: row for row in content.to_dicts()}
    assert rows["http://a/face"] | {"url": ""} == {"url": "", "status": "unscored", "reason": "no faces: RuntimeError: not this one", "n_faces": None, "image_text": "", "decodable": True}  # fmt: skip
    assert rows["http://a/plain"]["reason"].startswith(
        "no faces: ValueError: 1099511627776 is not a value of the type int32"
    )
    assert rows["http://a/text"]["image_text"] == "babab"
    assert rows["http://a/broken"]["status"] == "broken"


def test_a_takedown_takes_out_what_was_read(here: None, tmp_path: Path, models: Any) -> None:
    images = {url: content for url, content in pictures().items() if isinstance(content, bytes)}
    rows = [{"url": url, "alt_text": "what babab says"} for url in images]
    dataset = fetched(tmp_path / "dataset", rows, images)
    measure(dataset, LocalEngine(tmp_path / "work", 1), Silent(), sight=Sight(detectors=models(), texture=True))
    assert 0.333333 in read(dataset, "measured/image")["text_overlap"].to_list()  # 'what' and 'says' are not read
    (tmp_path / "urls.txt").write_text("http://a/text\n")
    done = CliRunner().invoke(main, ["takedown", str(tmp_path / "dataset"), "--urls", str(tmp_path / "urls.txt")])
    assert done.exit_code == 0, done.output
    for table in ("content", "measured/image"):
        files = list((tmp_path / "dataset" / table).rglob("*.parquet"))
        assert files
        for file in files:
            assert b"babab" not in file.read_bytes(), file
            assert "babab" not in pl.read_parquet(file)["image_text"].to_list()


# --- hostile models, in real children ---


def test_a_model_that_is_none_is_a_sentence(tmp_path: Path, models: Any) -> None:
    for name, content in {"noise": b"\x07" * 999, "empty": b""}.items():
        (text, faces) = models(faces={"model.onnx": content})
        with pytest.raises((InputError, SignalError), match=r"the model of faces|the detector faces"):
            faces.check()
        assert name
    text.check()
    (tmp_path / "models" / "text" / "recognition.onnx").unlink()
    with pytest.raises(InputError, match=r"cannot read the model text .*recognition\.onnx: No such file"):
        text.check()


def test_a_model_of_another_kind_is_a_sentence(models: Any) -> None:
    text, faces = models(text={"recognition.onnx": onnx_models.tiny_face_model()["model.onnx"]}, faces={"model.onnx": onnx_models.tiny_text_models()["detection.onnx"]})  # fmt: skip
    with pytest.raises((InputError, SignalError), match="the detector faces"):
        faces.check()
    del text


def test_the_option_says_what_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIGN_DATA_MODELS", str(tmp_path))
    odd = CliRunner().invoke(main, ["measure", "x", "--detect", "text,fases"])
    assert "--detect takes texture, text, faces, not fases (did you mean faces?)" in odd.output
    absent = CliRunner().invoke(main, ["measure", "x", "--detect", "text"])
    assert f"the model text is not in {tmp_path}: align-data model add text puts it there" in absent.output


# --- the real ones, where ALIGN_DATA_MODELS_TEST has them: `ALIGN_DATA_MODELS=FOLDER align-data model add text` ---

REAL = os.environ.get("ALIGN_DATA_MODELS_TEST")
real = pytest.mark.skipif(REAL is None, reason="ALIGN_DATA_MODELS_TEST names no folder of added models")


def real_files(name: str) -> dict[str, bytes]:
    return {file: (Path(str(REAL)) / name / file).read_bytes() for file in detectors.FILES[name]}


@real
def test_drawn_words_are_read() -> None:
    text = TextDetector(real_files("text"))
    sentences = ("SUMMER SALE", "fifty percent off", "Keep calm", "www.example.com", "Chapter 12")
    for number, sentence in enumerate(sentences):
        for size in (20, 32, 48):
            font = ImageFont.load_default(size)
            image = Image.new("RGB", (640, 320), [(240, 240, 230), (30, 60, 90)][number % 2])
            draw = ImageDraw.Draw(image)
            draw.text((50, 80), sentence, fill=[(0, 0, 0), (255, 255, 255)][number % 2], font=font)
            left, top, right, bottom = draw.textbbox((50, 80), sentence, font=font)
            values = text.measure(image)
            assert values["image_text"].lower().replace(" ", "") == sentence.lower().replace(" ", "")
            area = (right - left) * (bottom - top) / (640 * 320)
            assert 0.7 * area <= values["text_area"] <= 2.5 * area


@real
@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="the photographs are not in the repository, and not here")
def test_photographs_have_the_faces_and_the_text_that_people_see() -> None:
    text, faces = TextDetector(real_files("text")), FaceDetector(real_files("faces"))

    def seen(name: str) -> dict[str, Any]:
        image = ImageOps.exif_transpose(Image.open(PHOTOGRAPHS / f"{name}.jpg")).convert("RGB")
        return {**text.measure(image), **faces.measure(image)}

    assert "losmocanos.com" in seen("0074216764592579")["image_text"].lower()
    assert "ZK-AHS" in seen("00b6269cf7ccd74a")["image_text"]
    for name in ("0006400c1c224e19", "00416784a9cb1756", "010c974fd28419f6"):
        values = seen(name)
        assert (values["n_faces"], values["text_words"]) == (0, 0)
    assert seen("01044f592ea5025c")["n_faces"] == 1
