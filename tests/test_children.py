"""What parent and child say to each other, whatever a child says; and what a child that decodes cannot do."""

from __future__ import annotations

import base64
import os
import pickle
import platform
import random
import socket
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import evil_child
import pytest
from hypothesis import given
from hypothesis import strategies as st

from align_data import __version__
from align_data.common import workers
from align_data.common.errors import AlignDataError, DatasetError, EngineError, InputError, arrived, departing
from align_data.common.workers import Child, ChildDiedError, frames
from align_data.common.workers.frames import FrameError
from align_data.common.workers.values import WrongValueError, of, plain
from align_data.decoding import decoder as decoding
from align_data.decoding.decoder import Decoder, Decoding
from align_data.decoding.inspected import ImageChecks, ImageLimits, Inspected, answered
from align_data.engines import spark
from align_data.exports.making import Making
from align_data.exports.shard import How, Shard
from align_data.exports.shard_format import ShardJob
from align_data.fetching.client import Policy
from align_data.fetching.guard import Guard
from align_data.fetching.limits import Limits
from align_data.fetching.worker import ChunkTask, FetchSettings, Row
from align_data.fetching.worker_replies import replies
from align_data.report.thumbnails import of_images
from align_data.storage.store import Store
from align_data.storage.tars import Place

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inside: st.lists(inside, max_size=6).map(tuple) | st.dictionaries(st.text(), inside, max_size=6),
    max_leaves=20,
)


def wired(value: Any, *, bounded: bool = True) -> Any:
    """Return a value as it comes out at the other end of a pipe."""
    return frames.value(frames.frame(value)[frames.LENGTH.size :], bounded=bounded)


# --- the codec ---


@given(PLAIN)
def test_plain_values_come_through(value: Any) -> None:
    assert wired(value) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_an_error(body: bytes) -> None:
    with suppress(FrameError):
        frames.value(body)


def test_what_is_not_plain_is_not_sent() -> None:
    for value in (object(), {1, 2}, Path("x"), 2**64, Store("/tmp")):
        with pytest.raises((TypeError, OverflowError)):
            frames.frame(value)


@dataclass(frozen=True)
class Inner:
    names: frozenset[str]
    many: tuple[tuple[int, int], ...]
    kind: Literal["a", "b"] = "a"


class Pair(NamedTuple):
    one: int
    other: float | None


@dataclass(frozen=True)
class Outer:
    inner: Inner
    where: Path
    pair: Pair
    limits: dict[str, int]
    store: Store | None = None


OUTER = Outer(Inner(frozenset("xy"), ((1, 2), (3, 4)), "b"), Path("/a/b"), Pair(1, None), {"h": 3})


def test_records_come_through() -> None:
    assert of(Outer, wired(plain(OUTER))) == OUTER
    settings = FetchSettings(Policy(Guard.of(["10.0.0.0/8"]), proxy="http://p"), Limits(3, 2, {"h": 7}), Store("/tmp/x", "/w"), frozenset({"b"}))  # fmt: skip
    back = of(FetchSettings, wired(plain(settings)))
    assert (back.policy, back.limits, back.banned, back.max_tar) == (settings.policy, settings.limits, settings.banned, settings.max_tar)  # fmt: skip
    assert (back.store.url, back.store.work) == (settings.store.url, settings.store.work)
    making = Making(
        Store("/tmp/o"), ShardJob(Store("/tmp/x"), "parquet", How("crop", 16), ("phash",), "align"), "digest"
    )
    assert plain(of(Making, wired(plain(making)))) == plain(making)
    shard = Shard("a.tar", 1, 7, ((0, 1), (2, 3)))
    assert of(Shard, wired(plain(shard))) == shard


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, tuple) else ()
    for key, each in items:
        yield from leaves(each, (*path, key))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    inside = changed(value[path[0]], path[1:], new)
    if isinstance(value, dict):
        return {**value, path[0]: inside}
    return (*value[: path[0]], inside, *value[path[0] + 1 :])


def test_a_value_of_the_wrong_type_anywhere_is_noticed() -> None:
    good = wired(plain(OUTER))
    for path in leaves(good):
        for new in (b"bytes", [1], {"no": b"1"}, (1, 2, 3, 4, 5, 6, 7)):
            if path and path[0] == "store":
                continue
            with pytest.raises(WrongValueError):
                of(Outer, changed(good, path, new))
    for path in (("inner", "many", 0, 0), ("limits", "h"), ("pair", 0)):
        for new in (True, 2**63, -(2**63) - 1, 1.0, None):
            with pytest.raises(WrongValueError):
                of(Outer, changed(good, path, new))
    with pytest.raises(WrongValueError):
        of(Outer, changed(good, ("inner", "kind"), "c"))


@pytest.mark.parametrize("kind", [AlignDataError, InputError, DatasetError])
def test_errors_travel_by_name(kind: type[AlignDataError]) -> None:
    error = arrived(*wired(departing(kind("what\n\x1b[2J \ud800"))))
    assert type(error) is kind
    assert str(error) == "what\n\\x1b[2J \\ud800"


def test_an_error_of_no_kind_does_not_arrive() -> None:
    for name, text in (("SystemExit", ""), ("object", ""), ("InputError", "x" * 10**6)):
        with pytest.raises(ValueError, match="not an error"):
            arrived(name, text)


def test_an_error_of_spark_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or a URL that an error names can have the mark of our errors in it."""
    monkeypatch.setenv("ALIGN_DATA_MARK", str(tmp_path / "run"))
    bombs = [
        pickle.dumps(evil_child.Command()),
        b"[" * 100_000,
        b"[1, 2]",
        b'["SystemExit", ""]',
        b'["InputError"]',
        b"7",
    ]
    for bomb in bombs:
        said = f"cannot read {spark._MARK}{base64.b64encode(bomb).decode()} of the table"
        assert isinstance(spark._translated(said, tmp_path / "log"), EngineError)
    assert not (tmp_path / "run").exists()
    with pytest.raises(RuntimeError) as caught, spark._reported(__version__):
        raise InputError("no such list")
    error = spark._translated(str(caught.value), tmp_path / "log")
    assert (type(error), str(error)) == (InputError, "no such list")


# --- a child that says what it likes ---


@given(PLAIN)
def test_whatever_is_seen_makes_sense_or_is_an_error(said: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of either kind
        answered(said, 5)


@pytest.mark.parametrize("name", evil_child.WRONG_FIELDS)
def test_a_wrong_field_of_what_is_seen(name: str) -> None:
    right = tuple(evil_child.seen(5).values())
    assert answered(right, 5) == Inspected(**evil_child.seen(5))
    with pytest.raises(ValueError):  # noqa: PT011
        answered(tuple(evil_child.seen(5, **evil_child.WRONG_FIELDS[name]).values()), 5)


@pytest.fixture
def evil(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let each child be one that has been taken over; return the file that is there if something was run."""
    monkeypatch.setattr(workers, "_BOOT", "from evil_child import serve; serve()")
    monkeypatch.setattr(workers, "_END_SECONDS", 0.3)
    monkeypatch.setenv("ALIGN_DATA_MARK", str(tmp_path / "run"))
    return tmp_path / "run"


def looked(folder: Path, names: list[str], **limits: Any) -> list[Inspected]:
    items = []
    for name in names:
        (folder / name.replace("/", "")).write_bytes(name.encode())
        items.append((Place(name, 0, len(name)), ImageChecks()))
    with closing(Decoder(Decoding(Store(folder), limits=ImageLimits(**limits)))) as one:
        return [seen for item in items for seen in one.look([item])]


@pytest.mark.parametrize("name", ["half a frame", "garbage", "nothing before the end", "status of no kind", "an error"])
def test_what_a_child_has_said_of_the_images_before_stays(evil: Path, tmp_path: Path, name: str) -> None:
    with closing(Decoder(Decoding(Store(tmp_path)))) as one:
        seen = [
            look for look, _ in one.inspect_each([(each, ImageChecks()) for each in (b"good", b"good", name.encode())])
        ]
        again = [look for look, _ in one.inspect_each([(b"good", ImageChecks()), (b"good", ImageChecks())])]
    assert seen[:2] == again == [Inspected(**evil_child.seen(4))] * 2
    assert (seen[2].status, seen[2].decodable) == ("crashed", False)


def test_whatever_a_child_answers_is_the_status_of_one_image(evil: Path, tmp_path: Path) -> None:
    names = [
        name for each in random.Random(2).sample(evil_child.NAMES, len(evil_child.NAMES)) for name in (each, "good")
    ]
    tracemalloc.start()
    try:
        seen = looked(tmp_path, names)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not evil.exists()
    assert peak < 80 * 2**20
    for name, each in zip(names, seen, strict=True):
        if name == "good":
            assert each == Inspected(**evil_child.seen(4))
        else:
            how = "exit 0" if name == "half a frame" else workers.BAD_ANSWER
            assert each == Inspected("crashed", f"the decoder ended by {how}", bytes=len(name), decodable=False), name


def test_an_answer_after_the_end_answers_nothing(evil: Path, tmp_path: Path) -> None:
    names = ["good", "a result after the end", "good", "good"]
    assert looked(tmp_path, names) == [Inspected(**evil_child.seen(len(name))) for name in names]


def test_a_child_that_says_nothing_is_ended(evil: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "SLACK", 0.3)
    good, silent, closed, last = looked(tmp_path, ["good", "silence", "closed pipes", "good"], seconds=0.1)
    assert good == last == Inspected(**evil_child.seen(4))
    assert silent == Inspected("hung", "not finished after 0.1 s", bytes=7, decodable=False)
    assert closed == Inspected("crashed", f"the decoder ended by {workers.BAD_ANSWER}", bytes=12, decodable=False)


def test_a_page_goes_without_the_pictures_of_such_a_child(evil: Path) -> None:
    assert of_images({name: name.encode() for name in ("pickle", "4 GiB", "garbage", "an error", "good")}) == {}
    assert not evil.exists()


class Saying:
    """A child that says what it is told to."""

    def __init__(self, said: list[Any]) -> None:
        self._said, self.ended = said, False

    def ask(self, task: Any) -> Iterator[Any]:
        yield from map(wired, self._said)

    def misbehaved(self) -> ChildDiedError:
        self.ended = True
        return ChildDiedError("wrong")


ROW = Row("ok", None, False, "bytes/part-00000/001-00005.tar", 512, 3)
TASK = ChunkTask(5, "bytes/part-00000/001-00005", ["a", "b"], ["http://a/", "http://b/"])
NOT = Row("http_404", "Not Found", False)
RIGHT = [{"ok": 1, "http_404": 1}, (5, (ROW, NOT))]


def test_what_a_fetching_child_says_is_taken_where_it_can_be() -> None:
    assert list(replies(Saying(RIGHT), [TASK])) == [Counter(RIGHT[0]), (5, [ROW, NOT])]  # type: ignore[arg-type]
    apart = [(5, (ROW,)), {}, (5, (NOT._replace(reason=None),))]
    assert list(replies(Saying(apart), [TASK])) == [Counter(), (5, [ROW, NOT._replace(reason=None)])]  # type: ignore[arg-type]


WRONG = {
    "rows missing": [(5, (ROW,))],
    "rows too many": [(5, (ROW, NOT, NOT))],
    "rows twice": [RIGHT[1], RIGHT[1]],
    "another chunk's": [(6, (ROW, NOT))],
    "a tar elsewhere": [(5, (ROW._replace(tar="../x.tar"), NOT))],
    "a tar of another chunk": [(5, (ROW._replace(tar="bytes/part-00000/001-00006.tar"), NOT))],
    "a place below 0": [(5, (ROW._replace(offset=-1), NOT))],
    "a place that is half": [(5, (ROW._replace(size=None), NOT))],
    "ok without a place": [(5, (Row("ok", None, False), NOT))],
    "a place without ok": [(5, (ROW._replace(status="dns"), NOT))],
    "a status of its own": [(5, (ROW, NOT._replace(status="fine")))],
    "a reason that a terminal obeys": [(5, (ROW, NOT._replace(reason="\x1b[2J")))],
    "a reason that is long": [(5, (ROW, NOT._replace(reason="x" * 301)))],
    "counts of a status of its own": [{"fine": 1}],
    "counts that are no numbers": [{"ok": "1"}],
    "counts without end": [{"ok": 2**62}],
    "nothing": [],
    "a text": ["x"],
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_ends_a_fetching_child(name: str) -> None:
    child = Saying(WRONG[name])
    with pytest.raises(ChildDiedError):
        list(replies(child, [TASK]))  # type: ignore[arg-type]
    assert child.ended


@given(st.lists(PLAIN, max_size=3))
def test_whatever_a_fetching_child_says(said: list[Any]) -> None:
    with pytest.raises(ChildDiedError):
        list(replies(Saying(said), [TASK]))  # type: ignore[arg-type]


# --- what a child knows and can ---

SECRETS = ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS", "MY_PASSWORD", "http_proxy")


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "planted-secret")


@pytest.fixture
def confined() -> Iterator[Callable[..., tuple[str, Any]]]:
    """Do something in a child that is confined as those that decode; skip where the kernel does not enforce it."""

    def act(needs: str, name: str, *arguments: Any) -> tuple[str, Any]:
        with closing(Child("confined:handler", 2**28)) as child:
            enforced, came = child.ask((name, *arguments), 60)
            if needs not in ("", *enforced):
                pytest.skip(f"this kernel does not enforce what is needed here: {needs}")
            return came

    return act


def test_linux_of_today_enforces_all(confined: Any) -> None:
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("only Linux on x86_64 and aarch64 has all of it")
    with closing(Child("confined:handler", 2**28)) as child:
        enforced, _ = child.ask(("limits",), 60)
    assert {"privileges", "network"} <= set(enforced)  # Landlock may be switched off


def test_no_secret_reaches_what_decodes(confined: Any, secrets: None) -> None:
    _, names = confined("", "environment")
    assert not set(names) & set(SECRETS)
    assert "PATH" in names
    done, content = confined("", "environment of the process")
    assert done == "done"
    assert b"planted-secret" not in content


def test_a_decoder_has_no_secret_and_no_privileges(secrets: None, tmp_path: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("reads /proc")
    with closing(Decoder(Decoding(Store(tmp_path)))) as one:
        process = Path(f"/proc/{one._started()._process.pid}")
        assert b"planted-secret" not in (process / "environ").read_bytes()
        assert "NoNewPrivs:\t1" in (process / "status").read_text()


def test_whoever_writes_to_an_object_store_has_its_credentials(secrets: None) -> None:
    with closing(Child("confined:handler", 2**28, environment=True)) as child:
        _, (_, names) = child.ask(("environment",), 60)
    assert set(SECRETS) <= set(names)


@pytest.mark.parametrize("how", ["tcp", "udp", "local", "io_uring"])
def test_no_network(confined: Any, tmp_path: Path, how: str) -> None:
    kind = {"udp": socket.SOCK_DGRAM}.get(how, socket.SOCK_STREAM)
    with socket.socket(socket.AF_UNIX if how == "local" else socket.AF_INET, kind) as listener:
        listener.settimeout(0.2)
        listener.bind(str(tmp_path / "s") if how == "local" else ("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            listener.listen()
        where = {"local": [str(tmp_path / "s")], "io_uring": []}.get(how, [listener.getsockname()[1]])
        assert confined("network", how, *where) == ("refused", "PermissionError")
        with pytest.raises(TimeoutError):
            listener.recv(1) if how == "udp" else listener.accept()


def test_no_other_programs_and_processes(confined: Any) -> None:
    assert confined("network", "exec", "/bin/su") == ("refused", "PermissionError")
    assert confined("network", "fork") == ("refused", "PermissionError")
    assert confined("network", "kill", os.getpid(), 0) == ("refused", "PermissionError")


def test_no_files(confined: Any, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    for name, path in (
        ("read", "/etc/passwd"),
        ("read", tmp_path / "secret"),
        ("read", f"/proc/{os.getpid()}/environ"),
        ("write", tmp_path / "new"),
        ("unlink", tmp_path / "secret"),
        ("list", tmp_path),
    ):
        assert confined("files", name, str(path)) == ("refused", "PermissionError"), (name, path)
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
    assert confined("files", "read", os.__file__)[0] == "done"  # its own code: modules are imported late


def test_limits(confined: Any) -> None:
    assert confined("", "limits") == ("done", ((0, 0), (0, 0)))
    assert confined("", "hold", 2**30) == ("refused", "MemoryError")
    for name in ("burn", "sleep"):
        with pytest.raises(ChildDiedError) as died:
            confined("", name, 0.2)
        assert died.value.slow
        assert died.value.how.startswith("SIG")


def test_a_setup_that_fails_is_its_error() -> None:
    with closing(Child("confined:nothing", None)) as child, pytest.raises(AlignDataError, match="no attribute"):
        list(child.ask(None))


def test_a_child_ends_with_its_pipes() -> None:
    child = Child("confined:handler", 2**28)
    child.begin(60)
    process = child._process
    assert process.stdin is not None
    threading.Timer(0.0, process.stdin.close).start()
    assert process.wait(30) == 0
    child.close()
