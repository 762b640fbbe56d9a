"""What is seen in images of every kind, against Pillow, imagehash and hashlib; and that no bytes take a run down."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hostile_images as hostile
import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from align_data.common.errors import DatasetError, EngineError, SignalError
from align_data.common.workers import Child, ChildDiedError, lending
from align_data.decoding import decoder as decoding
from align_data.decoding import restarted
from align_data.decoding.decoder import Decoder, Decoding, Item
from align_data.decoding.inspected import MAX_PIXELS, STATUSES, Check, ImageChecks, ImageLimits, Inspected
from align_data.decoding.inspection import inspect
from align_data.storage.image_formats import EXTENSIONS, sniff
from align_data.storage.store import Store
from align_data.storage.tars import Place

ALL, HEADER = ImageChecks(), ImageChecks(pixels=False)


@pytest.fixture(autouse=True)
def no_limit_of_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as in the child


def upright(content: bytes) -> Image.Image:
    """Return the image as Pillow shows it, all of it turned by EXIF; where EXIF is nonsense, as it lies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(io.BytesIO(content))
        image.load()
        try:
            return ImageOps.exif_transpose(image)
        except Exception:
            return image


def phash(image: Image.Image) -> int:
    """Return an image's hash as imagehash prints it, as a signed integer of 64 bits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = int(str(imagehash.phash(image)), 16)
    return value - 2**64 if value >= 2**63 else value


def bits_apart(one: int | None, other: int | None) -> int:
    assert one is not None
    assert other is not None
    return bin((one ^ other) % 2**64).count("1")


def check(content: bytes, seen: Inspected) -> None:
    """Assert what holds for whatever bytes there are."""
    assert seen.status in STATUSES
    assert (seen.reason is None) == (seen.status == "ok")
    assert (seen.status == "ok") == (seen.decodable is True)
    assert (seen.phash is None) == (seen.decodable is False)
    assert seen.bytes == len(content)
    assert seen.sha256 == hashlib.sha256(content).hexdigest()
    assert seen.md5 == hashlib.md5(content).hexdigest()
    assert (seen.width is None) == (seen.height is None)
    for side in (seen.width, seen.height):
        assert side is None or 0 < side < 2**31
    if seen.reason is not None:
        assert seen.reason.isprintable()
        assert "0x" not in seen.reason  # an address would be another one in the next run
        assert len(seen.reason) <= 250
    pickle.loads(pickle.dumps(seen))


def named(made: dict[str, Any]) -> Any:
    return pytest.mark.parametrize("name", list(made))


# --- what is seen of good images ---


@named(hostile.good())
def test_good_images(name: str) -> None:
    content = hostile.good()[name]
    seen = inspect(content, ALL, MAX_PIXELS)
    check(content, seen)
    assert seen.status == "ok", seen.reason
    assert (seen.width, seen.height) == (hostile.WIDTH, hostile.HEIGHT) == upright(content).size
    assert seen.format == name.partition("/")[0]
    if name not in hostile.DEEP:
        assert seen.phash == phash(upright(content))
    # One and the same picture, in whatever way it is stored; 1 bit, 32 colours and lightness are near.
    plain = phash(hostile.picture())
    assert bits_apart(seen.phash, plain) <= (16 if "1 bit" in name else 8 if re.search("palette|gif|lab", name) else 2)


@named(hostile.good())
def test_a_header_is_seen_without_decoding(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = hostile.good()[name]
    whole = inspect(content, ALL, MAX_PIXELS)
    decoded = []

    def load(self: Image.Image) -> None:
        decoded.append(self)

    for plugin in {type(Image.open(io.BytesIO(content))), Image.Image}:
        monkeypatch.setattr(plugin, "load", load)
    seen = inspect(content, HEADER, MAX_PIXELS)
    assert not decoded
    assert seen == whole._replace(decodable=None, phash=None)


def test_what_is_not_asked_for_is_not_given() -> None:
    content = hostile.good()["png/rgb"]
    seen = inspect(content, ImageChecks(header=False), MAX_PIXELS)
    assert (seen.sha256, seen.md5, seen.nsfw) == (None, None, None)
    assert seen.phash is not None
    assert inspect(content, ImageChecks(header=False, pixels=False), MAX_PIXELS).decodable is None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", hostile.ORIENTED)
def test_images_are_upright(format_: str, orientation: int) -> None:
    content = hostile.oriented(format_, orientation)
    seen = inspect(content, ALL, MAX_PIXELS)
    check(content, seen)
    expected = (hostile.HEIGHT, hostile.WIDTH) if orientation >= 5 else (hostile.WIDTH, hostile.HEIGHT)
    assert (seen.width, seen.height) == expected == upright(content).size
    header = inspect(content, HEADER, MAX_PIXELS)
    assert (header.width, header.height) == expected
    assert seen.phash == phash(upright(content))
    # And as if it had been turned for real.
    turn = [None, None, 0, 3, 1, 5, 4, 6, 2][orientation]
    real = hostile.picture() if turn is None else hostile.picture().transpose(Image.Transpose(turn))
    apart = bits_apart(seen.phash, phash(real))
    assert apart == 0 if format_ in hostile.LOSSLESS else apart <= 4


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_tiff_that_xmp_turns_is_upright(orientation: int) -> None:
    xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()
    content = hostile.file(hostile.picture(), "TIFF", tiffinfo={700: xmp})
    assert sizes(content) == {upright(content).size}


def sizes(content: bytes) -> set[tuple[int | None, int | None]]:
    """Return the size by the header alone and with all pixels."""
    return {(seen.width, seen.height) for seen in (inspect(content, looks, MAX_PIXELS) for looks in (ALL, HEADER))}


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
@named(hostile.strange_exif())
def test_strange_exif_does_no_harm(format_: str, name: str) -> None:
    content = hostile.with_exif(format_, hostile.strange_exif()[name])
    seen = inspect(content, ALL, MAX_PIXELS)
    check(content, seen)
    assert seen.status == "ok", seen.reason
    assert sizes(content) == {upright(content).size}
    assert seen.phash == phash(upright(content))


@given(st.sampled_from(["II", "MM"]), st.integers(0, 14), st.integers(0, 3), st.binary(min_size=4, max_size=4))
def test_sizes_agree_whatever_the_orientation_is(order: str, kind: int, count: int, value: bytes) -> None:
    """The header's size is that of the upright image, for TIFFs too, which Pillow turns itself, and for any tag."""
    big = order == "MM"
    block = order.encode() + (b"\0*" if big else b"*\0")
    for number, width in ((8, 4), (1, 2), (0x112, 2), (kind, 2), (count, 4)):
        block += number.to_bytes(width, "big" if big else "little")
    block += value + bytes(4)
    for format_ in ("JPEG", "PNG"):
        content = hostile.with_exif(format_, block)
        assert sizes(content) == {upright(content).size}
    tags = hostile.tiff_tags(30, 20, t274=(kind, count, int.from_bytes(value, "little")))
    content = hostile.tiff(tags, bytes(range(256)) * 4)
    if inspect(content, ALL, MAX_PIXELS).decodable:
        assert sizes(content) == {upright(content).size}


def test_16_bits_do_not_all_become_white() -> None:
    """Every hash of a deep image is that of the same picture in 8 bits, and two pictures stay two."""
    for seed in range(5):
        grey = hostile.picture(seed=seed).convert("L")
        plain = phash(grey)
        values = np.asarray(grey)
        deep = {
            "png": hostile.png16(grey),
            "tiff": hostile.file(Image.fromarray(values.astype(np.uint16) * 257), "TIFF"),
            "int32": hostile.file(Image.fromarray(values.astype(np.int32) * 70_000 - 9_000_000), "TIFF"),
            "float": hostile.file(Image.fromarray(values.astype(np.float32) / 255), "TIFF"),
            "small int32": hostile.file(Image.fromarray(values.astype(np.int32)), "TIFF"),
        }
        for name, content in deep.items():
            assert bits_apart(inspect(content, ALL, MAX_PIXELS).phash, plain) <= 2, name


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38])
def test_pixels_that_are_no_numbers(value: float) -> None:
    values = np.asarray(hostile.picture().convert("L")).astype(np.float32)
    values[3:9, 5:20] = value
    values[40:50, 5:20] = -value
    content = hostile.file(Image.fromarray(values), "TIFF")
    check(content, inspect(content, ALL, MAX_PIXELS))


def test_the_format_is_the_bytes_own_whatever_the_name() -> None:
    for name, content in hostile.good().items():
        assert sniff(content) == name.partition("/")[0]
        assert sniff(content) in EXTENSIONS
    for content in hostile.NO_IMAGE.values():
        assert sniff(content) is None


# --- what is seen of bad ones ---


@named(hostile.NO_IMAGE)
def test_what_is_no_image(name: str) -> None:
    content = hostile.NO_IMAGE[name]
    for looks in (ALL, HEADER):
        seen = inspect(content, looks, MAX_PIXELS)
        check(content, seen)
        assert (seen.status, seen.format, seen.width) == ("not_an_image", None, None)


@named(hostile.broken())
def test_what_is_broken(name: str) -> None:
    content = hostile.broken()[name]
    seen = inspect(content, ALL, MAX_PIXELS)
    check(content, seen)
    assert seen.status in ("broken", "memory")
    again = inspect(content, ALL, MAX_PIXELS)
    assert again == seen  # the reason too: a table's bytes are the same in every run
    if " cut at " in name and inspect(content, HEADER, MAX_PIXELS).decodable is None:
        assert (seen.width, seen.height) == (hostile.WIDTH, hostile.HEIGHT)


def test_most_of_a_cut_image_still_has_its_size() -> None:
    for name in ("jpeg/rgb", "png/rgb", "gif/plain", "bmp/rgb", "tiff/rgb"):
        whole = hostile.good()[name]
        seen = inspect(whole[: len(whole) // 2], ALL, MAX_PIXELS)
        assert (seen.status, seen.width, seen.height) == ("broken", hostile.WIDTH, hostile.HEIGHT), name


@named(hostile.too_large())
def test_what_is_too_large_is_not_decoded(name: str) -> None:
    content, width, height = hostile.too_large()[name]
    for looks in (ALL, HEADER):
        seen = inspect(content, looks, MAX_PIXELS)
        check(content, seen)
        assert (seen.status, seen.width, seen.height) == ("too_many_pixels", width, height)


@pytest.mark.parametrize("format_", hostile.ORIENTED)
def test_the_edge_of_max_pixels(format_: str) -> None:
    content, pixels = hostile.oriented(format_, 6), hostile.WIDTH * hostile.HEIGHT
    assert inspect(content, ALL, pixels).status == "ok"
    seen = inspect(content, ALL, pixels - 1)
    assert seen.status == "too_many_pixels"
    assert (seen.width, seen.height) == (hostile.HEIGHT, hostile.WIDTH)


@pytest.mark.parametrize("sides", [(1, 30_000), (30_000, 1), (1, 1)])
def test_long_thin_images(sides: tuple[int, int]) -> None:
    content = hostile.empty_png(*sides)
    seen = inspect(content, ALL, MAX_PIXELS)
    check(content, seen)
    assert (seen.status, seen.width, seen.height) == ("ok", *sides)


@named(hostile.polyglots())
def test_polyglots_are_what_they_begin_as(name: str) -> None:
    content = hostile.polyglots()[name]
    seen = inspect(content, ALL, MAX_PIXELS)
    check(content, seen)
    assert (seen.status, seen.format) == ("ok", name.partition("/")[0])


@given(st.sampled_from(sorted(hostile.MAGIC.values())) | st.just(b""), st.binary(max_size=400))
@settings(max_examples=300)
def test_random_bytes_end_as_a_status(magic: bytes, rest: bytes) -> None:
    check(magic + rest, inspect(magic + rest, ALL, 10**6))


@given(st.sampled_from(sorted(hostile.good())), st.randoms(use_true_random=False), st.integers(1, 30))
@settings(max_examples=600)
def test_mutated_images_end_as_a_status(name: str, chance: random.Random, changes: int) -> None:
    content = bytearray(hostile.good()[name])
    for _ in range(changes):
        at = chance.randrange(min(len(content), chance.choice([40, 300, 10**6]))) if content else 0
        match chance.randrange(5):
            case 0:
                content[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                content[at : at + 1] = bytes([(*content, 0)[at] ^ 1 << chance.randrange(8)])
            case 2:
                del content[at : at + chance.choice([1, 2, 100])]
            case 3:
                content[at:at] = chance.randbytes(chance.choice([1, 4, 50]))
            case 4:
                content[at : at + 4] = chance.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"])
    check(bytes(content), inspect(bytes(content), ALL, 10**6))


class Scorer:
    """A detector that gives the same score to all images, or fails."""

    def __init__(self, answer: float | Exception) -> None:
        self.answer = answer
        self.given: list[Image.Image] = []

    def score(self, image: Image.Image) -> float:
        self.given.append(image)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@named(hostile.good())
def test_the_detector_is_given_the_upright_rgb_image(name: str) -> None:
    scorer = Scorer(0.25)
    content = hostile.good()[name]
    assert inspect(content, ImageChecks(nsfw=True), MAX_PIXELS, scorer).nsfw == 0.25
    (image,) = scorer.given
    assert (image.mode, image.size) == ("RGB", (hostile.WIDTH, hostile.HEIGHT))
    assert np.ptp(np.asarray(image)) > 100  # not all white, not all black


def test_the_detector_is_given_turned_images() -> None:
    for format_ in hostile.ORIENTED:
        scorer = Scorer(0.5)
        inspect(hostile.oriented(format_, 8), ImageChecks(nsfw=True), MAX_PIXELS, scorer)
        assert scorer.given[0].size == (hostile.HEIGHT, hostile.WIDTH)


@pytest.mark.parametrize("error", [SignalError("gives nan"), MemoryError(), ValueError("\ud800 <x at 0x7f12>")])
def test_an_image_without_a_score_is_still_an_image(error: Exception) -> None:
    content = hostile.good()["png/rgb"]
    plain = inspect(content, ALL, MAX_PIXELS)
    seen = inspect(content, ImageChecks(nsfw=True), MAX_PIXELS, Scorer(error))
    assert seen.status == "unscored"
    assert seen.reason is not None
    assert seen.reason.isprintable()
    assert seen._replace(status="ok", reason=None) == plain


# --- in a child process ---


@pytest.fixture
def items(tmp_path: Path) -> Callable[..., list[Item]]:
    """Write images to files, and return them as what a decoder is asked."""

    def make(contents: Sequence[bytes], looks: ImageChecks = ALL) -> list[Item]:
        found = []
        for number, content in enumerate(contents):
            (tmp_path / f"{number}.bin").write_bytes(content)
            found.append((Place(f"{number}.bin", 0, len(content)), looks))
        return found

    return make


@pytest.fixture
def decoder(tmp_path: Path) -> Iterator[Callable[..., Decoder]]:
    made: list[Decoder] = []

    def make(**options: Any) -> Decoder:
        made.append(Decoder(Decoding(Store(tmp_path), limits=ImageLimits(**options))))
        return made[-1]

    yield make
    for each in made:
        each.close()


def pid_of(decoder: Decoder) -> int:
    assert decoder._child is not None
    return decoder._child._process.pid


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno != errno.ESRCH
    return True


def test_the_child_sees_what_we_see(items: Any, decoder: Any) -> None:
    contents = [*hostile.good().values(), *hostile.NO_IMAGE.values(), *hostile.broken().values()]
    contents += [content for content, _, _ in hostile.too_large().values()]
    random.Random(3).shuffle(contents)
    seen = list(decoder().look(items(contents)))
    assert seen == [inspect(content, ALL, MAX_PIXELS) for content in contents]


def test_one_decoder_for_many_questions(items: Any, decoder: Any) -> None:
    contents = list(hostile.good().values())
    asked = items(contents)
    expected = [inspect(content, ALL, MAX_PIXELS) for content in contents]
    one = decoder()
    assert list(one.look([])) == []
    assert [seen for item in asked for seen in one.look([item])] == expected
    pid = pid_of(one)
    assert list(one.look(asked)) == expected
    assert pid_of(one) == pid
    # A question that nobody waits for to the end must not answer the next one.
    for number in (1, 3):
        answers = one.look(asked)
        for _ in range(number):
            next(answers)
        answers.close()
        assert list(one.look(asked[::-1])) == expected[::-1]
    assert not lives(pid)


def test_a_failure_elsewhere_ends_it(items: Any, decoder: Any) -> None:
    one = decoder()

    def failed() -> None:
        raise EngineError("elsewhere")

    with pytest.raises(EngineError, match="elsewhere"):
        list(one.look(items(list(hostile.good().values())), failed))
    assert one._child is None


def test_memory(items: Any, decoder: Any) -> None:
    """An image that is allowed, but for which there is no memory: a status, and its neighbours come out right."""
    small, large = hostile.good()["jpeg/rgb"], hostile.empty_png(8000, 4000, colour=2)
    first, between, last = decoder(memory=64 * 2**20).look(items([small, large, small]))
    assert first == last == inspect(small, ALL, MAX_PIXELS)
    assert between.status in ("memory", "crashed")
    assert between.decodable is False
    assert (between.width, between.height, between.format) == (8000, 4000, "png")
    assert between.sha256 == hashlib.sha256(large).hexdigest()


def test_a_hang(items: Any, decoder: Any) -> None:
    """An image of allowed size that a decoder does not get to the end of."""
    small, slow = hostile.good()["webp/lossy"], hostile.slow_jpeg(8192, scans=5000)
    before = signal.signal(signal.SIGALRM, signal.SIG_IGN)  # as whoever started us may have left it
    try:
        first, between, last = decoder(seconds=0.7).look(items([small, slow, small]))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert first == last == inspect(small, ALL, MAX_PIXELS)
    assert (between.status, between.decodable, between.phash) == ("hung", False, None)
    assert between.reason == "not finished after 0.7 s"
    assert (between.width, between.height, between.md5) == (8192, 8192, hashlib.md5(slow).hexdigest())


class Poisoned(Child):
    """A child that ends by a signal at the images called so, as often as `times` says."""

    folder = Path()
    places: tuple[str, ...] = ()
    how = signal.SIGSEGV
    times = 10**6
    at: Callable[[ImageChecks], bool] = staticmethod(lambda looks: True)
    started = 0

    def __init__(self, handler: str, setup: Any, **options: Any) -> None:
        type(self).started += 1
        super().__init__(handler, setup, **{**options, "borrows": False})

    def ask_each(self, task: Any, makers: Any, seconds: float) -> Iterator[Any]:
        bad = [(self.folder / place).read_bytes() for place in self.places]
        for number, (content, looks) in enumerate(task):
            if content in bad and type(self).times and type(self).at(ImageChecks(**looks)):
                if number:
                    yield from super().ask_each(task[:number], makers[:number], seconds)
                type(self).times -= 1
                os.kill(self._process.pid, self.how)
                raise ChildDiedError(self._how())
        yield from super().ask_each(task, makers, seconds)


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., type[Poisoned]]:
    def make(**options: Any) -> type[Poisoned]:
        options["folder"] = tmp_path
        kind = type("Poisoned", (Poisoned,), {k: staticmethod(v) if callable(v) and k == "at" else v for k, v in options.items()})  # fmt: skip
        monkeypatch.setattr(decoding, "Child", kind)
        return kind

    return make


def test_a_crash(items: Any, decoder: Any, poisoned: Any) -> None:
    contents = list(hostile.good().values())[:4]
    expected = [inspect(content, ALL, MAX_PIXELS) for content in contents]
    poisoned(places=("0.bin", "2.bin"), at=lambda looks: looks.pixels)
    seen = list(decoder().look(items(contents)))
    for number in (0, 2):  # the header is seen all the same
        verdict = {"status": "crashed", "reason": "the decoder ended by SIGSEGV", "decodable": False}
        expected[number] = expected[number]._replace(**verdict, phash=None)
    assert seen == expected


def test_a_crash_that_even_the_header_brings_about(items: Any, decoder: Any, poisoned: Any) -> None:
    contents = list(hostile.good().values())[:4]
    expected = [inspect(content, ALL, MAX_PIXELS) for content in contents]
    bad = range(1, 3)
    kind = poisoned(places=tuple(f"{n}.bin" for n in bad))
    seen = list(decoder().look(items(contents)))
    assert [seen[0], seen[3]] == [expected[0], expected[3]]
    for number in bad:
        how = "the decoder ended by SIGSEGV"
        assert seen[number] == Inspected("crashed", how, bytes=len(contents[number]), decodable=False)
    assert kind.started <= 3 * len(bad) + 1


def test_a_crash_of_the_detector_alone(items: Any, decoder: Any, poisoned: Any) -> None:
    contents = list(hostile.good().values())[:3]
    poisoned(places=("1.bin",), at=lambda looks: looks.nsfw)
    seen = list(decoder().look(items(contents, ImageChecks(nsfw=True))))
    expected = [inspect(content, ALL, MAX_PIXELS) for content in contents]
    expected[1] = expected[1]._replace(status="unscored", reason="no score: the decoder ended by SIGSEGV")
    assert seen == expected


def test_a_detector_that_crashes_in_a_later_run_says_nothing_against_the_image(
    items: Any, decoder: Any, poisoned: Any
) -> None:
    contents = list(hostile.good().values())[:2]
    poisoned(places=("1.bin",), at=lambda looks: looks.nsfw)
    later = ImageChecks(header=False, pixels=False, nsfw=True)
    _, crashed = decoder().look(items(contents, later))
    assert (crashed.status, crashed.reason) == ("unscored", "no score: the decoder ended by SIGSEGV")
    assert (crashed.decodable, crashed.phash, crashed.sha256) == (True, None, None)


def test_a_further_check_that_crashes_takes_nothing_but_its_own_value(
    items: Any, poisoned: Any, tmp_path: Path
) -> None:
    contents = list(hostile.good().values())[:3]
    poisoned(places=("1.bin",), at=lambda looks: "redness" in looks.checks)
    redness = Check("redness", "made_up_signals:redness", {"redness": "float64"})
    one = Decoder(Decoding(Store(tmp_path), checks=(redness,)))
    try:
        seen = list(one.look(items(contents, ImageChecks(checks=("redness",)))))
    finally:
        one.close()
    plain = [inspect(content, ALL, MAX_PIXELS) for content in contents]
    assert [each._replace(further={}) for each in (seen[0], seen[2])] == [plain[0], plain[2]]
    assert all(0 <= each.further["redness"] <= 255 for each in (seen[0], seen[2]))
    assert seen[1] == plain[1]._replace(status="unscored", reason="no redness: the decoder ended by SIGSEGV")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_a_child_that_ends_once_by_chance(items: Any, decoder: Any, poisoned: Any, how: signal.Signals) -> None:
    contents = list(hostile.good().values())[:8]
    kind = poisoned(places=("2.bin",), times=1, how=how)
    assert list(decoder().look(items(contents))) == [inspect(content, ALL, MAX_PIXELS) for content in contents]
    assert kind.started == 2


def test_what_is_slow_is_not_tried_again(items: Any, decoder: Any, poisoned: Any) -> None:
    contents = list(hostile.good().values())[:4]
    kind = poisoned(places=("2.bin",), times=1, how=signal.SIGALRM)
    expected = [inspect(content, ALL, MAX_PIXELS) for content in contents]
    expected[2] = expected[2]._replace(status="hung", reason="not finished after 30 s", decodable=False, phash=None)
    assert list(decoder().look(items(contents))) == expected
    assert kind.started == 2


def test_a_child_killed_from_outside(items: Any, decoder: Any) -> None:
    small, slow = hostile.good()["gif/plain"], hostile.slow_jpeg(4096, scans=700)
    one = decoder()
    seen = []
    for number, each in enumerate(one.look(items([small, slow, small]))):
        if number == 0:
            killed = pid_of(one)
            os.kill(killed, signal.SIGKILL)
        seen.append(each)
    assert pid_of(one) != killed
    assert seen == [inspect(content, ALL, MAX_PIXELS) for content in (small, slow, small)]


def test_children_that_are_all_killed_are_not_the_images_fault(
    items: Any, decoder: Any, poisoned: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restarted, "_KILLED", 5)
    contents = list(hostile.good().values())
    poisoned(places=tuple(f"{n}.bin" for n in range(len(contents))), how=signal.SIGKILL)
    with pytest.raises(EngineError, match="too little memory"):
        list(decoder().look(items(contents)))


def ends(_: Any) -> None:
    """Stand for a handler that cannot be made."""
    os._exit(3)


def test_where_no_child_works(items: Any, decoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "HANDLER", "test_decoding:ends")
    with pytest.raises(EngineError, match="no child process can decode images here: each ends with exit 3"):
        list(decoder().look(items([hostile.good()["png/rgb"]])))


def test_bytes_that_are_gone_are_a_sentence(items: Any, decoder: Any, tmp_path: Path) -> None:
    asked = items(list(hostile.good().values())[:3])
    (tmp_path / "1.bin").write_bytes(b"short")
    with pytest.raises(DatasetError, match=r"1\.bin ends before byte .*; the dataset is damaged"):
        list(decoder().look(asked))
    (tmp_path / "1.bin").unlink()
    with pytest.raises(DatasetError, match=r"cannot read 1\.bin: No such file or directory; the dataset is damaged"):
        list(decoder().look(asked))


def test_nothing_is_left_when_it_is_closed(items: Any, decoder: Any) -> None:
    one = decoder()
    answers = one.look(items(list(hostile.good().values())))
    next(answers)
    pid = pid_of(one)
    assert lives(pid)
    one.close()
    assert not lives(pid)
    one.close()


def test_a_child_ends_with_its_parent(items: Any, tmp_path: Path) -> None:
    """However the parent ends, and even while the child is busy."""
    ((place, _),) = items([hostile.slow_jpeg(8192, scans=5000)])
    code = (
        "import os, sys, threading, time\n"
        "from align_data.decoding.decoder import Decoder, Decoding\n"
        "from align_data.decoding.inspected import ImageChecks, ImageLimits\n"
        "from align_data.storage.store import Store\n"
        "from align_data.storage.tars import Place\n"
        f"one = Decoder(Decoding(Store({str(tmp_path)!r}), limits=ImageLimits(seconds=3)))\n"
        "one._started()\n"
        "print(one._child._process.pid, flush=True)\n"
        f"list(one.look([({place!r}, ImageChecks())]))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    ended = threading.Event()
    for _ in range(200):
        if not lives(child):
            break
        ended.wait(0.05)
    assert not lives(child)


@pytest.mark.parametrize("most", [lending.MOST, 20_000, 0])
def test_bytes_that_are_lent_and_others_are_the_same(
    items: Any, decoder: Any, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(lending, "MOST", most)
    contents = [*list(hostile.good().values())[:20], b"", b"x"] * 2  # more than are asked of a child together
    assert list(decoder().look(items(contents))) == [inspect(content, ALL, MAX_PIXELS) for content in contents]


def test_a_large_image_is_asked_by_itself(items: Any, decoder: Any) -> None:
    small, large = hostile.good()["png/rgb"], hostile.bmp(2000, 1500, bytes(9_000_000))
    seen = list(decoder().look(items([small, large, small])))
    assert seen == [inspect(content, ALL, MAX_PIXELS) for content in (small, large, small)]
