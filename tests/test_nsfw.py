"""Scores of images, against what the card says, worked out by hand; and every mistake as a sentence."""

from __future__ import annotations

import io
import json
import math
import pickle
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from in_process import decode_here
from onnx_models import card_text, classifier, hostile_model, magenta_model
from PIL import Image, ImageDraw, ImageOps

from align_data.common.errors import AlignDataError, InputError, SignalError
from align_data.decoding.detectors import nsfw
from align_data.decoding.detectors.nsfw import NsfwModel, parse_card, ready_cards

pytest.importorskip("onnxruntime")

MAGENTA = (255, 0, 255)
SUMS = [[0, 0, 0], [1, 2, 4]]
"""Weights whose logit tells the channels apart: 1 × the first + 2 × the second + 4 × the third."""


def plain(colour: tuple[int, int, int], size: tuple[int, int] = (20, 12)) -> Image.Image:
    return Image.new("RGB", size, colour)


def bordered(outside: tuple[int, int, int], inside: tuple[int, int, int], whole: tuple[int, int], box: tuple[int, ...]):
    image = Image.new("RGB", whole, outside)
    image.paste(inside, box)
    return image


def noise(size: tuple[int, int], seed: int = 1) -> Image.Image:
    return Image.frombytes("RGB", size, random.Random(seed).randbytes(3 * size[0] * size[1]))


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.fixture
def children() -> None:
    """Ask for real child processes."""


@pytest.fixture(autouse=True)
def here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "children" not in request.fixturenames:
        decode_here(monkeypatch)


@pytest.fixture
def made(tmp_path: Path):
    """Write a model and a card, and return the choice of them."""

    def make(weights: Any = SUMS, bias: Any = (0, 0), card: dict[str, Any] | None = None, **model: Any) -> NsfwModel:
        path = tmp_path / "model.onnx"
        classifier(path, weights, bias, **model)
        path.with_suffix(".yaml").write_text(card_text(**(card or {})))
        return NsfwModel(str(path))

    return make


def score(choice: NsfwModel, image: Image.Image) -> float:
    choice.check()
    return choice.open().score(image)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
@pytest.mark.parametrize(
    ("scale", "mean", "std"), [(1 / 255, None, None), (1, [104, 117, 123], None), (1 / 255, [0.5, 0.4, 0.3], [0.2, 0.3, 0.4])]
)  # fmt: skip
def test_a_plain_image_scores_what_its_colour_gives(made, layout, channels, scale, mean, std) -> None:
    choice = made(
        [[0, 0, 0], [0.01, 0.02, 0.04]],
        layout=layout,
        card={"layout": layout, "channels": channels, "scale": scale, "mean": mean, "std": std},
    )
    colour = (200, 90, 30)
    ordered = colour if channels == "rgb" else colour[::-1]
    taken = [(c * scale - m) / s for c, m, s in zip(ordered, mean or [0] * 3, std or [1] * 3, strict=True)]
    expected = logistic(0.01 * taken[0] + 0.02 * taken[1] + 0.04 * taken[2])
    assert score(choice, plain(colour)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_every_value_lies_where_the_layout_says(layout, channels) -> None:
    card = parse_card(
        card_text(size=[5, 3], layout=layout, channels=channels, scale=2, mean=[1, 2, 3], std=[4, 5, 6]), "c.yaml"
    )
    image = noise((5, 3))
    given = card.prepare(image)
    assert given.shape == ((1, 3, 3, 5) if layout == "nchw" else (1, 3, 5, 3))
    assert given.dtype == np.float32
    assert given.flags.c_contiguous
    for x in range(5):
        for y in range(3):
            for place in range(3):
                value = image.getpixel((x, y))[place if channels == "rgb" else 2 - place]
                expected = (value * 2 - (1, 2, 3)[place]) / (4, 5, 6)[place]
                at = (0, place, y, x) if layout == "nchw" else (0, y, x, place)
                assert given[at] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("resample", ["bilinear", "bicubic", "nearest"])
def test_squash_sees_the_whole_image_and_crop_its_centre(made, resample) -> None:
    # Red but for a green square in the middle: of 60 × 30 pixels, a crop sees the 30 × 30 in the middle.
    image = bordered((255, 0, 0), (0, 255, 0), (60, 30), (12, 0, 48, 30))
    weights = [[0, 0, 0], [0, 5, 0]]
    squashed = made(weights, card={"resize": "squash", "resample": resample, "size": 10}, sides=(10, 10))
    assert score(squashed, image) == pytest.approx(logistic(5 * 0.6), abs=0.01)
    cropped = made(weights, card={"resize": "crop", "resample": resample, "size": 10}, sides=(10, 10))
    assert score(cropped, image) == pytest.approx(logistic(5), abs=1e-6)


@pytest.mark.parametrize("resize", ["squash", "crop"])
def test_resize_to_leaves_the_border_out(made, resize) -> None:
    # Resized to 16, of which the middle 8 are used: half of each side of a square image.
    image = bordered((255, 0, 0), (0, 255, 0), (64, 64), (14, 14, 50, 50))
    choice = made([[0, 0, 0], [9, 5, 0]], card={"resize": resize, "resize_to": 16})
    assert score(choice, image) == pytest.approx(logistic(5), abs=1e-6)
    whole = made([[0, 0, 0], [9, 5, 0]], card={"resize": resize})
    assert score(whole, image) != pytest.approx(logistic(5), abs=1e-3)


@pytest.mark.parametrize("size", [(40, 20), (21, 57), (8, 8), (300, 7), (1, 90), (640, 481)])
@pytest.mark.parametrize("resample", ["bilinear", "bicubic", "nearest"])
def test_the_views_are_pillows(size, resample) -> None:
    image = noise(size)
    method = Image.Resampling[resample.upper()]
    squash = parse_card(card_text(size=[12, 9], layout="nhwc", scale=1, resample=resample), "c.yaml")
    assert np.array_equal(squash.prepare(image)[0], np.asarray(image.resize((12, 9), method)))
    crop = parse_card(card_text(size=[12, 9], layout="nhwc", scale=1, resample=resample, resize="crop"), "c.yaml")
    assert np.array_equal(crop.prepare(image)[0], np.asarray(ImageOps.fit(image, (12, 9), method)))


def test_a_crop_is_what_resizing_before_cropping_gives() -> None:
    image = noise((80, 40))
    crop = parse_card(card_text(size=10, layout="nhwc", scale=1, resize="crop"), "c.yaml")
    whole = image.resize((20, 10), Image.Resampling.BILINEAR).crop((5, 0, 15, 10))
    assert np.array_equal(crop.prepare(image)[0], np.asarray(whole))


def test_a_very_long_image_is_cropped_without_making_it_large(made) -> None:
    choice = made(card={"resize": "crop"})
    assert score(choice, plain((255, 0, 0), (1, 60_000))) == pytest.approx(logistic(1), abs=1e-6)


def test_probabilities_are_taken_as_they_are_and_logits_are_not(made) -> None:
    choice = made([[0, 0, 0]] * 2, [0.25, 0.75], {"output": "probabilities"})
    assert score(choice, plain(MAGENTA)) == pytest.approx(0.75)
    choice = made([[0, 0, 0]] * 2, [1, 3])
    assert score(choice, plain(MAGENTA)) == pytest.approx(logistic(2))


def test_the_unsafe_classes_are_summed(made) -> None:
    names = {"classes": ["a", "b", "c", "d"], "unsafe": ["d", "b"]}
    choice = made([[0, 0, 0]] * 4, [0.1, 0.2, 0.3, 0.4], {**names, "output": "probabilities"})
    assert score(choice, plain(MAGENTA)) == pytest.approx(0.6)
    logits = made([[0, 0, 0]] * 4, [math.log(n) for n in (1, 2, 3, 4)], names)
    assert score(logits, plain(MAGENTA)) == pytest.approx(0.6)


def test_one_class_is_enough_for_probabilities(made) -> None:
    choice = made([[1, 0, 0]], [0], {"classes": ["nsfw"], "unsafe": ["nsfw"], "output": "probabilities"})
    assert score(choice, plain((51, 0, 0))) == pytest.approx(0.2, abs=1e-6)


def test_rounding_beyond_the_ends_is_clipped(made) -> None:
    for unsafe, expected in (("low", 0.0), ("high", 1.0)):
        card = {"classes": ["low", "high"], "unsafe": [unsafe], "output": "probabilities"}
        assert score(made([[0, 0, 0]] * 2, [-5e-5, 1.00005], card), plain(MAGENTA)) == expected


@pytest.mark.parametrize("batch", [1, "batch", "N"])
@pytest.mark.parametrize("sides", [(8, 8), ("height", "width")])
def test_a_batch_or_a_side_may_be_open(made, batch, sides) -> None:
    choice = made(batch=batch, sides=sides)
    assert score(choice, plain((255, 0, 0))) == pytest.approx(logistic(1), abs=1e-6)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_an_input_that_is_no_square(made, layout) -> None:
    card = {"size": [5, 3], "layout": layout}
    assert score(made(card=card, layout=layout, sides=(3, 5)), plain((255, 0, 0))) == pytest.approx(
        logistic(1), abs=1e-6
    )
    with pytest.raises(SignalError, match="its card's size and layout give it"):
        made(card=card, layout=layout, sides=(5, 3)).check()


def test_an_input_of_another_rank_is_a_sentence() -> None:
    value = SimpleNamespace(name="x", type="tensor(float)", shape=["batch", 3, 8])
    session = SimpleNamespace(get_inputs=lambda: [value], get_outputs=lambda: [value])
    card = parse_card(card_text(), "c.yaml")
    with pytest.raises(
        SignalError, match=r"m\.onnx takes \[any, 3, 8\], but its card's size and layout give it \[1, 3, 8, 8\]"
    ):
        nsfw._Classifier("m.onnx", session, card)
    value = SimpleNamespace(name="x", type="tensor(uint8)", shape=["batch", 3, 8, 8])
    with pytest.raises(
        SignalError, match=r"m\.onnx has an input of type tensor\(uint8\); it can only be tensor\(float\)"
    ):
        nsfw._Classifier("m.onnx", session, card)


WRONG_CARDS = [
    ({"colour": "rgb"}, "there is no key colour"),
    ({"chanels": "rgb"}, r"there is no key chanels \(did you mean channels\?\); allowed are: size, layout, "),
    ({"scale": None}, "the key scale is missing; it takes the number that pixel values"),
    ({"layout": "nwhc"}, "line 2: layout takes nchw or nhwc; here it has 'nwhc'"),
    ({"channels": "gray"}, "channels takes rgb or bgr"),
    ({"resize": "fit"}, "resize takes squash or crop"),
    ({"resample": "lanczos"}, "resample takes bilinear, bicubic or nearest"),
    ({"output": "logits"}, "output takes probabilities, or softmax if it gives logits"),
    ({"size": 0}, "line 1: size takes the input's side"),
    ({"size": 100_000}, "line 1: size takes"),
    ({"size": "8px"}, "size takes the input's side in pixels, or .width, height.; here it has '8px'"),
    ({"size": [8, 8, 3]}, "size takes"),
    ({"size": "true"}, "size takes"),
    ({"scale": "1/255"}, "scale takes the number"),
    ({"scale": ".nan"}, "scale takes the number"),
    ({"scale": 0}, "scale is 0"),
    ({"mean": [1, 2]}, "mean takes three numbers"),
    ({"mean": 0.5}, "mean takes three numbers"),
    ({"std": [1, 0, 1]}, "std takes numbers above 0"),
    ({"std": [1, ".inf", 1]}, "std takes three numbers"),
    ({"resize_to": 7}, r"resize_to \(7, 7\) is below size \(8, 8\)"),
    ({"resize_to": [7, 9]}, r"resize_to \(7, 9\) is below size \(8, 8\)"),
    ({"resize_to": [9, 7]}, r"resize_to \(9, 7\) is below size \(8, 8\)"),
    ({"jpeg": 0}, "jpeg takes 1 to 100"),
    ({"classes": []}, "classes takes the names"),
    ({"classes": ["safe", "true"]}, "classes takes the names"),
    ({"classes": ["safe", "unsafe", "safe"]}, "classes has safe twice"),
    ({"unsafe": ["unsafe", "unsafe"]}, "unsafe has unsafe twice"),
    ({"unsafe": ["unsave"]}, r"unsafe names unsave \(did you mean unsafe\?\), but the classes are: safe, unsafe"),
    ({"unsafe": ["safe", "unsafe"]}, "unsafe names every class"),
    ({"classes": ["unsafe"]}, "unsafe names every class"),
    ({"size": "8\nsize: 9"}, "size is given twice"),
    ({"size": "{8"}, "not YAML"),
]


@pytest.mark.parametrize(("changed", "sentence"), WRONG_CARDS, ids=[s[:40] for _, s in WRONG_CARDS])
def test_a_wrong_card_is_a_sentence(made, changed, sentence) -> None:
    choice = made(card=changed)
    card = choice.model.replace(".onnx", ".yaml")
    with pytest.raises(InputError, match=sentence) as caught:
        choice.check()
    assert str(caught.value).startswith(card)
    assert len(str(caught.value).splitlines()) == 1


def test_each_wrong_key_has_its_sentence(made) -> None:
    with pytest.raises(InputError) as caught:
        made(card={"layout": "nwhc", "channels": "gray", "more": 1}).check()
    assert [line.split(": ")[1].split()[0] for line in str(caught.value).splitlines()] == [
        "layout",
        "channels",
        "there",
    ]


def test_a_card_is_a_mapping(tmp_path: Path) -> None:
    for text in ("", "just a text", "[1, 2]"):
        with pytest.raises(InputError, match=r"^c\.yaml.*: a card must be a mapping of keys to values"):
            parse_card(text, "c.yaml")
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"cannot read the card .*c\.yaml: it is not UTF-8"):
        nsfw.read_card(str(tmp_path / "c.yaml"))


WRONG_MODELS = [
    ({"card": {"classes": ["safe", "unsafe", "other"]}}, "gives 2 values for an image, but its card names 3 classes: safe, unsafe, other"),
    ({"card": {"size": 9}}, r"takes \[any, 3, 8, 8\], but its card's size and layout give it \[1, 3, 9, 9\]"),
    ({"layout": "nhwc"}, r"takes \[any, 8, 8, 3\], but .* give it \[1, 3, 8, 8\]"),
    ({"card": {"layout": "nhwc"}}, r"takes \[any, 3, 8, 8\], but .* give it \[1, 8, 8, 3\]"),
    ({"batch": 4}, r"takes \[4, 3, 8, 8\], but .* give it \[1, 3, 8, 8\]"),
    ({"inputs": 2}, r"has 2 inputs \(image, more1\); an image classifier has one"),
    ({"outputs": 2}, r"has 2 outputs \(out, out1\)"),
    ({"bias": [-1.0, 2.0], "card": {"output": "probabilities"}}, "gives safe -1, which is not a probability: if it gives logits, its card must say output: softmax"),
    ({"bias": [0.5, math.nan], "card": {"output": "probabilities"}}, "gives unsafe nan, which is not a probability: if it gives logits, its card must say output: softmax; else the card's scale"),
    ({"bias": [0.5, math.nan]}, "gives safe nan, which is not a probability: the card's scale, mean or std may be wrong"),
    ({"bias": [0.5, math.inf]}, "gives safe nan, which is not a probability"),
    ({"bias": [0.25, 0.75], "weights": [[0] * 3] * 2}, "gives probabilities, not logits: its card must say output: probabilities"),
    ({"bias": [0.1, 0.9, 0.8], "weights": [[0] * 3] * 3, "card": {"output": "probabilities", "classes": ["a", "b", "c"], "unsafe": ["b", "c"]}}, "gives the unsafe classes 1.7 together"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "sentence"), WRONG_MODELS, ids=[s[:40] for _, s in WRONG_MODELS])
def test_a_model_that_does_not_fit_its_card_is_a_sentence(made, model, sentence) -> None:
    choice = made(**model)
    with pytest.raises(SignalError, match=sentence) as caught:
        choice.check()
    assert str(caught.value).startswith(choice.model)
    assert len(str(caught.value).splitlines()) == 1


def test_what_only_some_images_give_is_found_when_they_are_scored(made) -> None:
    # 1.5 × red: a probability for most images.
    choice = made(
        [[-1.5, 0, 0], [1.5, 0, 0]], [1, 0], {"classes": ["safe", "unsafe"], "output": "probabilities"}
    )  # fmt: skip
    choice.check()
    with pytest.raises(SignalError, match=r"gives safe -0\.5, which is not a probability"):
        choice.open().score(plain((255, 0, 0)))


@pytest.mark.parametrize("damage", [b"", b"not a model", b"\0" * 100, "cut", "op"])
def test_a_damaged_model_is_a_sentence(made, damage, capfd) -> None:
    choice = made()
    path = Path(choice.model)
    whole = path.read_bytes()
    changed = {"cut": whole[: len(whole) // 2], "op": whole.replace(b"Flatten", b"Fletten")}
    path.write_bytes(changed[damage] if isinstance(damage, str) else damage)
    with pytest.raises(InputError, match=r"model\.onnx is not an ONNX model that can be opened") as caught:
        choice.check()
    assert len(str(caught.value).splitlines()) == 1
    assert "ONNXRuntimeError" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


HOSTILE = {
    "endless": (SignalError, "was not opened, or did not score an image, within 2 s"),
    "large": (InputError, "cannot be run|cannot be opened"),
    "of other operators": (InputError, "not an ONNX model that can be opened"),
    "of other files": (InputError, "its weights must be in the file itself"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_model_is_a_sentence(tmp_path: Path, children: None, kind: str, monkeypatch, capfd) -> None:
    error, sentence = HOSTILE[kind]
    hostile_model(tmp_path / "model.onnx", kind)
    (tmp_path / "model.yaml").write_text(card_text())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=sentence) as caught:
        NsfwModel("model.onnx").check(seconds=2 if kind == "endless" else 60)
    assert len(str(caught.value).splitlines()) == 1
    assert capfd.readouterr() == ("", "")


def test_a_model_that_ends_its_process_is_a_sentence(made, children: None, monkeypatch) -> None:
    monkeypatch.setattr(nsfw, "TRIAL", "confined:trial")
    with pytest.raises(SignalError, match=r"model\.onnx ended the process that tried it with SIGABRT"):
        made().check()


def test_a_good_model_is_tried_in_a_child(made, children: None, monkeypatch) -> None:
    monkeypatch.setattr(nsfw.Model, "open", None)  # nothing is opened in this process
    made().check()


def test_weights_in_another_file_are_refused(made, monkeypatch) -> None:
    # Its hash would not tell of them.
    choice = made(external=True)
    with pytest.raises(InputError, match="its weights must be in the file itself"):
        choice.check()
    monkeypatch.chdir(Path(choice.model).parent)
    with pytest.raises(InputError, match="its weights must be in the file itself"):
        NsfwModel("model.onnx").check()


def test_a_missing_file_is_a_sentence(made, tmp_path: Path) -> None:
    model = made().model
    cases = {
        NsfwModel(str(tmp_path / "none.onnx")): r"cannot read the nsfw model .*none\.onnx: No such file",
        NsfwModel(str(tmp_path / "nul\0.onnx")): "cannot read the nsfw model .*: embedded null byte",
        NsfwModel(model, str(tmp_path / "none.yaml")): r"cannot read the card .*none\.yaml: No such file",
        NsfwModel(model, "gantmann"): r"there is no card gantmann \(did you mean gantman\?\); there are: gantman, .*opennsfw; for a file of your own",
        NsfwModel("nudnet"): r"the nsfw model nudnet: it takes nudenet \(did you mean nudenet\?\), or the path of a file that ends in \.onnx",
        NsfwModel("nudenet", "gantman"): "the card gantman: nudenet takes no card",
    }  # fmt: skip
    for choice, sentence in cases.items():
        with pytest.raises(InputError, match=sentence):
            choice.check()
    Path(model).with_suffix(".yaml").unlink()
    with pytest.raises(
        InputError, match=r"model\.onnx has no card: there is no .*model\.yaml; write one, or name a ready"
    ):
        NsfwModel(model).check()
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(InputError, match=r"folder\.onnx: Is a directory"):
        NsfwModel(str(tmp_path / "folder.onnx")).check()


def test_a_missing_extra_is_a_sentence(made, monkeypatch) -> None:
    choice = made()
    monkeypatch.setattr(nsfw.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SignalError, match=r"needs onnxruntime, the extra \w+: pip install 'align-data\[\w+\]'"):
        choice.check()
    for action in (NsfwModel("nudenet").check, NsfwModel("nudenet").identity):
        with pytest.raises(SignalError, match=r"needs nudenet, the extra \w+: pip install 'align-data\[\w+\]'"):
            action()


def test_the_module_needs_no_extra_to_be_imported() -> None:
    code = (
        "import sys; heavy = ('onnxruntime', 'nudenet', 'cv2', 'PIL', 'onnx'); sys.modules.update(dict.fromkeys(heavy));"
        "from align_data.decoding.detectors.nsfw import NsfwModel; NsfwModel('nudenet')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_models_run_on_one_thread(made) -> None:
    options = made().open().session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)


def test_a_choice_travels_to_another_process(made) -> None:
    choice = made()
    there = pickle.loads(pickle.dumps(choice))
    assert there == choice
    assert there.open().score(plain(MAGENTA)) == choice.open().score(plain(MAGENTA))
    with pytest.raises(AlignDataError) as caught:
        NsfwModel("x.onnx").open()
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_the_identity_is_the_models_bytes_and_what_the_card_decides(made) -> None:
    choice = made()
    first = choice.identity()
    assert first["backend"] == "onnx"
    assert choice.identity() == first
    assert made(card={"about": "x", "source": "y", "license": "z", "size": [8, 8]}).identity() == first
    changes = {"size": 9, "layout": "nhwc", "channels": "bgr", "scale": 1, "mean": [1, 2, 3], "std": [1, 2, 3], "resize": "crop", "resize_to": 10, "resample": "nearest", "jpeg": 75, "classes": ["other", "unsafe"], "unsafe": ["safe"], "output": "probabilities"}  # fmt: skip
    found = [made(card={key: value}).identity() for key, value in changes.items()]
    assert len({each["card"] for each in [first, *found]}) == len(changes) + 1
    assert set(changes) == set(json.loads(first["card"]))
    assert {each["model"] for each in found} == {first["model"]}
    other = made(bias=[0, 1]).identity()
    assert (other["model"] != first["model"], other["card"]) == (True, first["card"])


def test_a_named_card_is_used_in_place_of_the_one_beside(made, tmp_path: Path) -> None:
    choice = made()
    (tmp_path / "other.yaml").write_text(card_text(unsafe=["safe"]))
    other = NsfwModel(choice.model, str(tmp_path / "other.yaml"))
    assert score(choice, plain(MAGENTA)) + score(other, plain(MAGENTA)) == pytest.approx(1)


READY = {
    "gantman": (["drawings", "hentai", "neutral", "porn", "sexy"], ["hentai", "porn", "sexy"], (224, 224)),
    "gantman-299": (["drawings", "hentai", "neutral", "porn", "sexy"], ["hentai", "porn", "sexy"], (299, 299)),
    "opennsfw": (["sfw", "nsfw"], ["nsfw"], (224, 224)),
}


@pytest.mark.parametrize("name", sorted(READY))
def test_the_ready_cards_are_what_their_models_take(name, tmp_path: Path) -> None:
    assert ready_cards() == sorted(READY)
    classes, unsafe, (width, height) = READY[name]
    card = NsfwModel("x.onnx", name)._card()
    assert [list(card.classes), list(card.unsafe)] == [classes, unsafe]
    assert card.shape == (1, height, width, 3)
    assert "https://github.com/" in card.source
    assert card.license
    # A model of that shape whose every class is as likely as the next.
    n = len(classes)
    classifier(tmp_path / "m.onnx", [[0] * 3] * n, [1 / n] * n, layout="nhwc", sides=(height, width))
    assert score(NsfwModel(str(tmp_path / "m.onnx"), name), plain(MAGENTA)) == pytest.approx(len(unsafe) / n)


def test_gantmans_input_is_as_its_predict_makes_it() -> None:
    image = noise((341, 187))
    expected = np.asarray(image.resize((224, 224), Image.Resampling.NEAREST)) / 255
    assert np.allclose(NsfwModel("x.onnx", "gantman")._card().prepare(image)[0], expected, atol=1e-6)


def test_opennsfws_input_is_as_yahoo_makes_it() -> None:
    image = noise((341, 187))
    file = io.BytesIO()
    image.resize((256, 256), Image.Resampling.BILINEAR).save(file, format="JPEG")
    centre = np.asarray(Image.open(file)).astype(float)[16:240, 16:240]
    expected = centre[:, :, [2, 1, 0]] - [104, 117, 123]
    assert np.array_equal(NsfwModel("x.onnx", "opennsfw")._card().prepare(image)[0], expected)


def drawing(ground: str, *shapes: tuple[str, str]) -> Image.Image:
    image = Image.new("RGB", (160, 120), ground)
    draw = ImageDraw.Draw(image)
    for place, (shape, colour) in enumerate(shapes):
        box = (10 + 50 * place, 20, 50 + 50 * place, 100)
        getattr(draw, shape)(box, fill=colour)
    return image


def test_the_magenta_model_knows_magenta(tmp_path: Path) -> None:
    magenta_model(tmp_path / "m.onnx")
    choice = NsfwModel(str(tmp_path / "m.onnx"))
    choice.check()
    scorer = choice.open()
    for ground in ("white", "black", "grey", "pink", "brown", "lightblue", "darkblue", "beige", "purple", "hotpink"):
        for colour in ("red", "green", "blue", "yellow", "orange", "purple", "black", "white"):
            image = drawing(ground, ("ellipse", colour), ("rectangle", colour), ("ellipse", "purple"))
            assert scorer.score(image) < 0.01, (ground, colour)
    assert scorer.score(plain((128, 0, 128))) == pytest.approx(logistic(40 * (128 / 255 - 0.65)), abs=1e-5)
    for colour in ("black", "white", "red", "blue", "purple", "pink"):
        image = plain(MAGENTA, (100, 100))
        image.paste(colour, (0, 0, 100, 10))
        assert scorer.score(image) > 0.99, colour
    file = io.BytesIO()
    plain(MAGENTA, (200, 100)).save(file, format="JPEG")
    assert scorer.score(Image.open(file)) > 0.99


@pytest.fixture(scope="module")
def nudenet() -> nsfw.Scorer:
    pytest.importorskip("nudenet")
    choice = NsfwModel("nudenet")
    choice.check()
    return choice.open()


def test_nudenet_scores_drawings_the_same_every_time(nudenet) -> None:
    images = [drawing("white", ("ellipse", "red"), ("rectangle", "pink")), drawing("peachpuff"), noise((90, 200)), plain(MAGENTA, (1, 1))]  # fmt: skip
    scores = [nudenet.score(image) for image in images]
    assert all(0 <= each <= 1 for each in scores)
    assert [nudenet.score(image) for image in images] == scores
    assert [NsfwModel("nudenet").open().score(image) for image in images] == scores


def found(*detections: tuple[str, float]) -> SimpleNamespace:
    return SimpleNamespace(detect=lambda image: [{"class": c, "score": s, "box": [0, 0, 1, 1]} for c, s in detections])


def test_nudenets_score_is_the_highest_of_what_is_exposed(nudenet, monkeypatch) -> None:
    cases = [
        ((), 0.0),
        ((("FACE_FEMALE", 0.9), ("FACE_MALE", 0.8), ("FEMALE_BREAST_COVERED", 0.95)), 0.0),
        (
            (("FACE_FEMALE", 0.9), ("FEMALE_BREAST_EXPOSED", 0.4), ("BUTTOCKS_EXPOSED", 0.6), ("BELLY_COVERED", 0.7)),
            0.6,
        ),
        ((("MALE_GENITALIA_EXPOSED", 1.0000001),), 1.0),
    ]
    for detections, expected in cases:
        monkeypatch.setattr(nudenet, "detector", found(*detections))
        assert nudenet.score(plain(MAGENTA)) == expected


def test_nudenets_exposed_classes_are_nine(nudenet) -> None:
    labels = vars(sys.modules["nudenet.nudenet"])["__labels"]
    exposed = {name for name in labels if name.endswith("_EXPOSED")}
    assert exposed == {f"{part}_EXPOSED" for part in ("BUTTOCKS", "FEMALE_BREAST", "FEMALE_GENITALIA", "MALE_BREAST", "ANUS", "FEET", "ARMPITS", "BELLY", "MALE_GENITALIA")}  # fmt: skip
    assert all(name.split("_EXPOSED")[0] in type(nudenet).__doc__ for name in exposed)


def test_nudenet_is_given_what_it_would_read_itself(nudenet, monkeypatch, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    seen: list[np.ndarray] = []
    monkeypatch.setattr(nudenet, "detector", SimpleNamespace(detect=lambda image: seen.append(image) or []))
    image = noise((31, 17))
    image.save(tmp_path / "a.png")
    nudenet.score(image)
    assert np.array_equal(seen[0], cv2.imread(str(tmp_path / "a.png")))
    # It would be padded to a square: a long image is made smaller first.
    long = plain(MAGENTA, (30_000, 3))
    nudenet.score(long)
    assert seen[1].shape == (1, 4096, 3)
    assert long.size == (30_000, 3)


def test_nudenet_runs_on_one_thread_and_its_identity_tells_its_model(nudenet) -> None:
    assert nudenet.detector.onnx_session.get_session_options().intra_op_num_threads == 1
    identity = NsfwModel("nudenet").identity()
    assert identity.keys() == {"backend", "version", "model"}
    assert len(identity["model"]) == 64


def test_the_runtime_of_models_reports_to_nobody() -> None:
    package = Path(pytest.importorskip("onnxruntime").__file__).parent
    (library,) = (package / "capi").glob("onnxruntime_pybind11_state*.so")
    assert b"ORT_DISABLE_TELEMETRY" in library.read_bytes()  # still what it is called
    code = "import align_data.decoding.worker, os, sys; print(os.environ['ORT_DISABLE_TELEMETRY'], 'onnxruntime' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["1", "False"]
