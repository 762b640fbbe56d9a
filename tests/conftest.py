"""What the tests share: hostile texts, small pools, and the job run on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

import forked
import polars as pl
import pytest
from hostile_texts import HOSTILE
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from align_data.common import workers
from align_data.common.progress import Silent
from align_data.data.layout import Dataset
from align_data.engines.local import MEMORY, LocalEngine
from align_data.engines.spark import SparkEngine
from align_data.recipes.model import Recipe
from align_data.recipes.reading import load, parse
from align_data.stages.audit import Audit
from align_data.stages.ingest import Account, Parts
from align_data.stages.pipeline import Decision, Intake, run
from align_data.storage import confined
from align_data.storage.store import Store

settings.register_profile(
    "suite",
    deadline=None,  # no test asserts a time
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    max_examples=40,
    derandomize=True,
)
settings.load_profile("suite")

characters = st.sampled_from(HOSTILE) | st.characters(exclude_categories=["Cs", "Cn", "Co"])
texts = st.text(characters, max_size=40)
few_words = st.lists(st.sampled_from(["a", "A", "b", "b-c", "don't", "Don’t", "é", "日本", "1", "İ", ""]), max_size=7)
pool_texts = few_words.map(" ".join) | texts
urls = st.builds(
    "{}://{}{}/{}".format,
    st.sampled_from(["http", "https", "HTTP"]),
    st.sampled_from(["a.example", "B.example:8080", "u:p@c.example", "[::1]"]),
    st.sampled_from(["", "/x", "?q=a@b", "#f"]),
    st.integers(0, 6),
)
bad_urls = st.sampled_from(
    [None, "", " ", "/a.png", "data:image/png;base64,xx", "ftp://a/1", "http://", "http://a\0b/1"]
)


@st.composite
def rows(draw: Any, min_size: int = 0, max_size: int = 40) -> list[dict[str, Any]]:
    """Draw the rows of a list, with duplicates and rows that are no pairs."""
    row = st.fixed_dictionaries(
        {
            "url": urls | urls | urls | bad_urls,
            "alt_text": pool_texts | st.none(),
            "declared_width": st.none() | st.sampled_from([1, 200, 201, 600]),
            "declared_height": st.none() | st.sampled_from([1, 200, 201, 600]),
            "page_url": st.none() | st.sampled_from(["", "http://p/1", "http://p/é"]),
            "declared_language": st.none() | st.sampled_from(["en", "de"]),
            "license": st.none() | st.just("cc0"),
            "source_uid": st.none() | st.sampled_from(["1", "10", "2"]),
        }
    )
    found = draw(st.lists(row, min_size=min_size, max_size=max_size))
    again = draw(st.lists(st.sampled_from(found), max_size=10)) if found else []
    return found + again


SCHEMA = {
    "url": pl.String,
    "alt_text": pl.String,
    "declared_width": pl.Int32,
    "declared_height": pl.Int32,
    "page_url": pl.String,
    "declared_language": pl.String,
    "license": pl.String,
    "source_uid": pl.String,
}

EVERY_RULE = """
name: every
rules:
  - {signal: n_words, between: [2, 4]}
  - {signal: images_per_text, le: 2}
  - {signal: texts_per_image, le: 3}
  - {signal: rarest_ngram, ge: 2}
  - {signal: min_side, gt: 200}
  - {signal: aspect, lt: 3}
  - {signal: script, in: [Latin, Han]}
  - {signal: n_chars, ge: 3}
  - {signal: n_words_whitespace, ge: 1}
  - {signal: nsfw, lt: 0.5}
"""


_LONGEST = ["spark", "test_cluster", "test_fetch", "test_shards", "test_takedown", "test_train", "test_img2dataset"]
"""What takes longest comes first, so that all processes end at about the same time."""


def _group(nodeid: str) -> str:
    """Return what runs in one process: a file, for its tests share what it has made, or all that share a JVM."""
    file, _, name = nodeid.partition("::")
    stem = Path(file).stem
    return "spark" if name.startswith("test_spark_") or stem.startswith("test_spark") else stem


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by what takes longest."""
    turns = {group: turn for turn, group in enumerate(_LONGEST)}
    items.sort(key=lambda item: turns.get(_group(item.nodeid), len(turns)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share out groups, in place of files; marks of a group are not seen by xdist 3.8 where pytest is 9.2."""
    from xdist.scheduler import LoadFileScheduling  # noqa: PLC0415 - only with that plugin

    class Groups(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    return Groups(config, log) if config.option.dist == "loadfile" else None


@pytest.fixture(autouse=True)
def unshared(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let no test know of hosts what another has learnt, for their servers have the same addresses, nor of models."""
    base = tmp_path_factory.getbasetemp()
    monkeypatch.setenv("ALIGN_DATA_SHARED", str(base / f"shared-{uuid4().hex}"))
    monkeypatch.setenv("ALIGN_DATA_MODELS", str(base / f"models-{uuid4().hex}"))


@dataclass
class Built:
    """A dataset that the whole job has been run on."""

    dataset: Dataset
    account: Account
    audit: Audit
    recipe: Recipe

    def table(self, name: str) -> pl.DataFrame:
        """Read a whole table."""
        return read(self.dataset, name)


def read(dataset: Dataset, name: str) -> pl.DataFrame:
    """Read all parts of a table, in order."""
    parts = sorted(Path(dataset.store.path(name)).glob("part-*.parquet"))
    return pl.concat([pl.read_parquet(part) for part in parts])


def write_list(folder: Path, found: Sequence[dict[str, Any]], files: int = 1) -> list[str]:
    """Write rows as Parquet lists."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(files):
        path = folder / f"{number}.parquet"
        pl.DataFrame(found[number::files], SCHEMA).write_parquet(path)
        paths.append(str(path))
    return paths


def build(
    out: Path,
    inputs: Sequence[str],
    recipe: str | Recipe = EVERY_RULE,
    overrides: Sequence[str] = (),
    parts: Parts = Parts(),  # noqa: B008
    workers: int = 2,
    memory: int = MEMORY,
) -> Built:
    """Run the whole job."""
    loaded = (
        recipe if isinstance(recipe, Recipe) else load(recipe) if "\n" not in recipe else parse(recipe, "test.yaml")
    )
    store = Store(out)
    engine = LocalEngine(store.work, workers, memory)
    decision = Decision(loaded, overrides)
    done = run(Intake(inputs, parts=parts), decision, Dataset(store), engine, Silent())
    return Built(Dataset(store), done.account, done.audit, loaded)


SPARK = {
    "spark.master": "local[2]",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.executorEnv.PYTHONPATH": str(Path(__file__).parent),  # for what a test defines
}
_SHORT_LIVED = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""For a JVM that lives for seconds: it compiles as fast as it can, not as well, and collects in one thread."""


@pytest.fixture(scope="session", autouse=True)
def _processes() -> Iterator[None]:
    """Let child processes begin without their imports, and JVMs without what pays after minutes only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "subprocess", forked)
        patch.setenv("JDK_JAVA_OPTIONS", _SHORT_LIVED)
        yield


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkEngine]:
    """Give the engine that all tests in this process share, for a JVM takes long to start and to warm up."""
    pytest.importorskip("pyspark")
    engine = SparkEngine(SPARK)
    yield engine
    engine.stop()


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Built]:
    """Run the job on rows, in a folder of its own each time."""
    number = 0

    def call(found: Sequence[dict[str, Any]], files: int = 1, **options: Any) -> Built:
        nonlocal number
        number += 1
        folder = tmp_path / str(number)
        return build(folder / "dataset", write_list(folder / "lists", found, files), **options)

    return call


def tree(folder: Path, *names: str) -> dict[str, bytes]:
    """Return the content of every file under some tables of a dataset, all but hidden ones and the log."""
    found = {}
    for name in names or ("",):
        for path in sorted((folder / name).rglob("*")):
            inside = path.relative_to(folder).as_posix()
            if path.is_file() and not inside.startswith(("_log", "_work", ".")):
                found[inside] = path.read_bytes()
    return found


def manifest_of(dataset: Path, table: str) -> Path:
    """Return the file of a table's manifest."""
    return dataset / "_manifests" / f"{table}.json"


class Crash(BaseException):
    """Stands for the end of the process at the moment when a file would have appeared or gone."""


class Crashes:
    """Counts files that appear, and with `removals` those that go; crashes just before or just after one of them."""

    def __init__(self, patch: pytest.MonkeyPatch, before: bool = False, removals: bool = False) -> None:
        self.left, self.seen, self._before, self._lock = -1, 0, before, Lock()
        patch.setattr(confined, "appear", self._wrapped(confined.appear))
        if removals:
            patch.setattr(Store, "remove", self._wrapped(Store.remove))
            patch.setattr(Store, "clear", self._wrapped(Store.clear))

    def _wrapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            with self._lock:  # tars appear in several threads
                self.left, self.seen = self.left - 1, self.seen + 1
                now = self.left == 0
            if now and self._before:
                raise Crash
            result = function(*arguments)
            if now:
                raise Crash
            return result

        return call

    def everywhere(self, work: Callable[[int], Any], least: int) -> Iterator[int]:
        """Do work 0 undisturbed; then, for the n-th of its files, work n with a crash there, and again; yield each n."""
        work(0)
        files = self.seen
        assert files > least
        for number in range(1, files + 1):
            self.left = number
            with pytest.raises(Crash):
                work(number)
            self.left = -1
            work(number)
            yield number
